//! Sections 3.1 and appendices F and G: what each head of layer 2 does alone, and what the others do without it.

use super::{ANALYSIS, LAYER, Runs, TRAIN, by_seed, seed_title, sequences};
use crate::draw::{Axis, BLACK, DARK, Figure, Legend, Look, Panel, Series, Shape};
use crate::figures::Product;
use crate::figures::tables::{Column, Table};
use crate::logs::Run;
use optogen::{Error, Result};
use plotters::style::WHITE;

/// Figure 4a: accuracy at the end of training with one head of layer 2 alone, and without it.
pub fn accuracies(runs: &Runs) -> Result<Product> {
    after_ablations(runs, "acc", "Accuracy", (0.2, 1.05))
}

/// Figure 13: the same for the loss.
pub fn losses(runs: &Runs) -> Result<Product> {
    after_ablations(runs, "loss", "Loss", (-0.1, 2.2))
}

fn after_ablations(runs: &Runs, metric: &str, label: &str, range: (f64, f64)) -> Result<Product> {
    let ablations = [
        ("all heads but this one", Shape::Disc, by_seed(runs.of("only_head")?)),
        ("this head alone", Shape::Triangle, by_seed(runs.of("without_head")?)),
    ];
    let whole = runs.of("main_analysis")?;
    let mut panels = Vec::new();
    for run in &whole {
        let strengths = final_strengths(run)?;
        let mut series = Vec::new();
        for (name, shape, seeds) in &ablations {
            let replays = seeds.iter().find(|(seed, _)| *seed == run.seed()).map_or(&[][..], |(_, replays)| replays);
            for replay in replays {
                let head = if *shape == Shape::Disc { only(replay)? } else { removed(replay)? };
                let at = (strengths[head], replay.last(ANALYSIS, metric)?);
                let name = format!("{name}, head {head}");
                series.push(Series::dots(&name, vec![at], DARK[head % DARK.len()], *shape).of_seed(Some(run.seed())).unnamed());
            }
            series.push(Series::dots(name, Vec::new(), WHITE, *shape));
        }
        let panel = Panel::new(strength_axis(&strengths), Axis::of(label).between(range.0, range.1))
            .titled(&seed_title(run.seed(), whole.len()))
            .with(series)
            .level(run.last(ANALYSIS, metric)?, "nothing")
            .legend(Legend::Names("Ablated:".into()));
        panels.push(panel);
    }
    let title = format!("{label} at the end of training after various ablations in layer 2");
    Ok(Figure::alike(&title, panels, 3).into())
}

/// Figure 4b: training with a single head of layer 2.
pub fn alone(runs: &Runs) -> Result<Product> {
    let (main, seeds) = (runs.of("main")?, by_seed(runs.of("single_head")?));
    let mut panels = Vec::new();
    for (seed, group) in &seeds {
        let mut series = Vec::new();
        for run in group {
            let head = only(run)?;
            series.push(Series::line(&head.to_string(), run.loss(TRAIN)?, DARK[head % DARK.len()]).of_seed(Some(*seed)));
        }
        series.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(all) = main.iter().find(|run| run.seed() == *seed) {
            series.push(Series::line("all", all.loss(TRAIN)?, BLACK).look(Look::Dashes(3.0)).of_seed(Some(*seed)));
        }
        let panel = Panel::new(sequences(), Axis::of("Loss"))
            .titled(&seed_title(*seed, seeds.len()))
            .with(series)
            .legend(Legend::Names("Layer 2\nhead #".into()));
        panels.push(panel);
    }
    Ok(Figure::alike("Loss when training with a single head of layer 2", panels, 3).into())
}

/// Table 2: how often a head alone is right where the strongest one alone is wrong, and how often at all.
pub fn additive(runs: &Runs) -> Result<Product> {
    complementary(&runs.of("main_analysis")?, runs.of("only_head")?)
}

/// A head of layer 2 alone.
pub struct Alone {
    /// The run's seed.
    pub seed: i64,
    /// The head.
    pub head: usize,
    /// Whether none is stronger.
    pub strongest: bool,
    /// Its induction strength.
    pub strength: f64,
    /// How often it is right where the strongest is wrong.
    pub given: f64,
    /// How often it is right.
    pub accuracy: f64,
}

/// Each head alone beside the strongest alone, seed by seed.
///
/// # Errors
/// A replay has more than one head, or keeps no examples.
pub fn table_2(whole: &[Run], alone: Vec<Run>) -> Result<Vec<Alone>> {
    let mut rows = Vec::new();
    for (seed, replays) in by_seed(alone) {
        let Some(run) = whole.iter().find(|run| run.seed() == seed) else { continue };
        let strengths = final_strengths(run)?;
        let best = strongest(&strengths);
        let mut by_head =
            replays.iter().map(|replay| Ok((only(replay)?, replay.examples(ANALYSIS, "acc")?))).collect::<Result<Vec<_>>>()?;
        by_head.sort_by_key(|(head, _)| *head);
        let reference = by_head.iter().find(|(head, _)| *head == best).map(|(_, right)| right.clone()).unwrap_or_default();
        rows.extend(by_head.into_iter().map(|(head, right)| Alone {
            seed,
            head,
            strongest: head == best,
            strength: strengths[head],
            given: right_where_wrong(&right, &reference),
            accuracy: mean(&right),
        }));
    }
    Ok(rows)
}

/// Table 2 as a table.
pub fn complementary(whole: &[Run], alone: Vec<Run>) -> Result<Product> {
    let rows = table_2(whole, alone)?;
    let numbers = |of: fn(&Alone) -> f64| Column::Numbers(rows.iter().map(of).collect());
    Ok(Product::Table(Table::of([
        ("seed", Column::Whole(rows.iter().map(|row| Some(row.seed)).collect())),
        ("head", Column::Whole(rows.iter().map(|row| Some(row.head as i64)).collect())),
        ("induction strength", numbers(|row| row.strength)),
        ("P(right given the strongest wrong)", numbers(|row| row.given)),
        ("accuracy", numbers(|row| row.accuracy)),
    ])))
}

/// Induction strength of each head of layer 2 at the last checkpoint.
pub fn final_strengths(run: &Run) -> Result<Vec<f64>> {
    let heads = run.heads(ANALYSIS, LAYER, "induction_strength")?;
    Ok(heads.iter().map(|points| points.last().map_or(f64::NAN, |point| point.1)).collect())
}

/// An axis for induction strengths, which goes below 0 where a head attends to the wrong label.
pub fn strength_axis(strengths: &[f64]) -> Axis {
    let least = strengths.iter().copied().fold(0.0, f64::min);
    Axis::of("Induction strength").between((10.0 * least).floor() / 10.0, 1.0)
}

/// The head with the greatest strength, among those that have one.
pub fn strongest(strengths: &[f64]) -> usize {
    (0..strengths.len()).filter(|&head| !strengths[head].is_nan()).max_by(|&a, &b| strengths[a].total_cmp(&strengths[b])).unwrap_or(0)
}

/// The share of right answers among those sequences at which another is wrong.
fn right_where_wrong(right: &[f64], other: &[f64]) -> f64 {
    let there: Vec<f64> = right.iter().zip(other).filter(|(_, other)| **other == 0.0).map(|(right, _)| *right).collect();
    mean(&there)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The only head of layer 2 that is active.
pub fn only(run: &Run) -> Result<usize> {
    match run.active(LAYER)[..] {
        [head] => Ok(head),
        ref heads => Err(Error::Invalid(format!("{}: heads {heads:?} of layer {LAYER} are active, not one", run.folder.display()))),
    }
}

/// The only head of layer 2 that is not active.
fn removed(run: &Run) -> Result<usize> {
    let active = run.active(LAYER);
    let silent: Vec<usize> = (0..run.experiment.model.heads).filter(|head| !active.contains(head)).collect();
    match silent[..] {
        [head] => Ok(head),
        ref heads => Err(Error::Invalid(format!("{}: heads {heads:?} of layer {LAYER} are silent, not one", run.folder.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_add_to_the_strongest_where_it_is_wrong() {
        let (right, strongest_right) = ([1.0, 0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0, 0.0]);
        assert_eq!(right_where_wrong(&right, &strongest_right), 2.0 / 3.0);
        assert_eq!(right_where_wrong(&strongest_right, &strongest_right), 0.0);
        assert!(right_where_wrong(&right, &[1.0; 5]).is_nan(), "nothing to be right at");
        assert_eq!(strongest(&[0.4, 0.73, -0.9, 0.7]), 1);
        assert_eq!(strongest(&[f64::NAN, -0.2, -0.1]), 2);
        assert_eq!([&[0.02, 0.9][..], &[0.5, -0.12]].map(|all| strength_axis(all).from), [Some(0.0), Some(-0.2)]);
    }
}
