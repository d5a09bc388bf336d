//! Appendices F and G: heads added one by one, clamped strengths, perfect matching by each head, pairs of heads, and other seeds.

use super::heads::{complementary, final_strengths, only};
use super::{ANALYSIS, LAYER, Runs, TRAIN, by_seed, one_legend, seed_title, sequences};
use crate::draw::{Axis, BLACK, CLEARLY_APART, DARK, Figure, Legend, Look, Panel, Series, Shape, cool_warm};
use crate::figures::Product;
use crate::logs::{Run, first_below};
use optogen::Result;
use optogen::experiment::Action;
use plotters::style::WHITE;
use std::f64::consts::LN_2;

/// The loss below which a run has learned.
pub const LEARNED: f64 = 0.4 * LN_2;

/// Figure 14: more and more heads of layer 2 active.
pub fn adding(runs: &Runs) -> Result<Product> {
    let whole = runs.of("main_analysis")?;
    let mut rows = Vec::new();
    for (seed, replays) in by_seed(runs.of("adding_heads")?) {
        let sets: Vec<(Vec<usize>, f64)> =
            replays.iter().map(|run| Ok((run.active(LAYER), run.last(ANALYSIS, "loss")?))).collect::<Result<_>>()?;
        let (with, without): (Vec<_>, Vec<_>) = sets.into_iter().partition({
            let first = beginning(&replays);
            move |(heads, _)| first.is_none_or(|first| heads.contains(&first))
        });
        let mut row = Vec::new();
        for (mut sets, begin) in [(with, "the first"), (without, "the second")] {
            sets.sort_by_key(|(heads, _)| heads.len());
            let Some(head) = sets.first().and_then(|(heads, _)| heads.first()) else { continue };
            let points = sets.iter().map(|(heads, loss)| (heads.len() as f64, *loss)).collect();
            let mut panel = Panel::new(Axis::of("# heads active").whole(1..=7).between(0.0, 8.0), Axis::of("Loss"))
                .titled(&format!("Seed {seed}: beginning with {begin}, head {head}"))
                .with(vec![Series::dots(&format!("from head {head}"), points, BLACK, Shape::Disc).of_seed(Some(seed)).unnamed()])
                .legend(Legend::Names(String::new()));
            if let Some(run) = whole.iter().find(|run| run.seed() == seed) {
                panel = panel.level(run.last(ANALYSIS, "loss")?, "all heads");
            }
            row.push(panel);
        }
        rows.push(one_legend(row));
    }
    let size = (2000, 560 * rows.len() as u32 + 120);
    Ok(Figure { title: "Loss with more and more heads of layer 2".into(), rows, size }.into())
}

/// The head with which one of the two orders begins: sets with it have all different sizes, and those without it as well.
fn beginning(replays: &[Run]) -> Option<usize> {
    let sets: Vec<Vec<usize>> = replays.iter().map(|run| run.active(LAYER)).collect();
    let heads = replays.first().map_or(0, |run| run.experiment.model.heads);
    (0..heads).find(|head| splits(&sets, *head))
}

fn splits(sets: &[Vec<usize>], head: usize) -> bool {
    let distinct = |with: bool| {
        let mut sizes: Vec<usize> = sets.iter().filter(|set| set.contains(&head) == with).map(Vec::len).collect();
        let count = sizes.len();
        sizes.sort_unstable();
        sizes.dedup();
        count > 0 && sizes.len() == count
    };
    distinct(true) && distinct(false)
}

/// Figure 15: the attention of the induction head clamped to various strengths.
pub fn strengths(runs: &Runs) -> Result<Product> {
    let found = runs.of("strength")?;
    let first = found.first().map(Run::seed);
    let mut panels = Vec::new();
    for (title, evaluator) in [("Train", "fsl_train"), ("Test (relabel)", "fsl_val_rl"), ("Test (exemplar)", "fsl_test_class")] {
        let mut series = Vec::new();
        for run in found.iter().filter(|run| first == Some(run.seed())) {
            let clamped = run.experiment.interventions.iter().find_map(|one| match one.action {
                Action::Induction { strength } => Some(strength),
                _ => None,
            });
            let Some(strength) = clamped else { continue };
            let name = format!("{:.3}", 2.0 * strength - 1.0);
            series.push(Series::line(&name, run.loss(evaluator)?, cool_warm(strength)).of_seed(first));
        }
        series.sort_by(|a, b| a.name.cmp(&b.name));
        let legend = Legend::Scale { title: "Clamped\nstrength".into(), range: (-1.0, 1.0), colour: cool_warm };
        panels.push(
            Panel::new(sequences(), Axis::of("Loss").between(0.0, 2.0)).titled(title).with(series).level(LN_2, "ln 2").legend(legend),
        );
    }
    Ok(Figure { size: (2100, 720), ..Figure::side_by_side("Loss with the match clamped to various strengths", one_legend(panels), 3) }
        .into())
}

/// Figure 16, left: accuracy of each head alone, matching by itself and perfectly.
pub fn perfected(runs: &Runs) -> Result<Product> {
    let whole = runs.of("main_analysis")?;
    let kinds = [("perfect", Shape::Square, by_seed(runs.of("match_one_head")?)), ("its own", Shape::Disc, by_seed(runs.of("only_head")?))];
    let mut panels = Vec::new();
    for run in &whole {
        let strengths = final_strengths(run)?;
        let mut series = Vec::new();
        for (name, shape, seeds) in &kinds {
            for replay in seeds.iter().filter(|(seed, _)| *seed == run.seed()).flat_map(|(_, replays)| replays) {
                let head = only(replay)?;
                let at = (strengths[head], replay.last(ANALYSIS, "acc")?);
                let name = format!("{name}, head {head}");
                series.push(Series::dots(&name, vec![at], DARK[head % DARK.len()], *shape).of_seed(Some(run.seed())).unnamed());
            }
            series.push(Series::dots(name, Vec::new(), WHITE, *shape));
        }
        let panel = Panel::new(Axis::of("Induction strength").between(0.0, 1.0), Axis::of("Accuracy").between(0.2, 1.05))
            .titled(&seed_title(run.seed(), whole.len()))
            .with(series)
            .level(run.last(ANALYSIS, "acc")?, "all heads")
            .legend(Legend::Names("Match:".into()));
        panels.push(panel);
    }
    Ok(Figure::side_by_side("Accuracy of heads alone when their match is made perfect", one_legend(panels), 3).into())
}

/// Table 3: table 2 with perfect matching.
pub fn copying(runs: &Runs) -> Result<Product> {
    complementary(&runs.of("main_analysis")?, runs.of("match_one_head")?)
}

/// Figure 17: training with two heads of layer 2.
pub fn pairs(runs: &Runs) -> Result<Product> {
    let (main, seeds) = (runs.of("main")?, by_seed(runs.of("pair_heads")?));
    let mut panels = Vec::new();
    for (seed, group) in &seeds {
        let sets: Vec<Vec<usize>> = group.iter().map(|run| run.active(LAYER)).collect();
        let common: Vec<usize> =
            (sets.first().into_iter().flatten().copied()).filter(|head| sets.iter().all(|set| set.contains(head))).collect();
        let mut series = Vec::new();
        for (run, set) in group.iter().zip(&sets) {
            let Some(&other) = set.iter().find(|head| !common.contains(head)) else { continue };
            series.push(Series::line(&other.to_string(), run.loss(TRAIN)?, DARK[other % DARK.len()]).of_seed(Some(*seed)));
        }
        series.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(all) = main.iter().find(|run| run.seed() == *seed) {
            series.push(Series::line("all", all.loss(TRAIN)?, BLACK).look(Look::Dashes(3.0)).of_seed(Some(*seed)));
        }
        let with = common.first().map_or_else(String::new, |head| format!("Head {head} and"));
        let panel = Panel::new(sequences(), Axis::of("Loss")).titled(&seed_title(*seed, seeds.len())).with(series);
        panels.push(panel.legend(Legend::Names(with)));
    }
    Ok(Figure::side_by_side("Loss when training with two heads of layer 2", one_legend(panels), 3).into())
}

/// Figure 18: what a head's strength has to do with what it can do alone, over seeds.
pub fn seeds(runs: &Runs) -> Result<Product> {
    let (whole, alone, trained) = (runs.of("main_analysis")?, by_seed(runs.of("only_head")?), by_seed(runs.of("single_head")?));
    let of = |seeds: &'_ [(i64, Vec<Run>)], seed: i64, measure: &dyn Fn(&Run) -> Result<f64>| -> Result<Vec<(usize, f64)>> {
        let group = seeds.iter().filter(|(other, _)| *other == seed).flat_map(|(_, group)| group);
        group.map(|run| Ok((only(run)?, measure(run)?))).collect()
    };
    let mut columns = [Vec::new(), Vec::new(), Vec::new()];
    for (run, colour) in whole.iter().zip(CLEARLY_APART.into_iter().cycle()) {
        let strengths = final_strengths(run)?;
        let measured = [
            of(&alone, run.seed(), &|run| run.last(ANALYSIS, "acc"))?,
            of(&alone, run.seed(), &|run| run.last(ANALYSIS, "loss"))?,
            of(&trained, run.seed(), &learning_time)?,
        ];
        for (series, measured) in columns.iter_mut().zip(measured) {
            let points = measured.into_iter().map(|(head, value)| (value, strengths[head])).collect();
            let dots = Series::dots(&run.seed().to_string(), points, colour, Shape::Disc).look(Look::Dots(Shape::Disc, 16.0));
            series.push(dots.of_seed(Some(run.seed())));
        }
    }
    let labels = ["Accuracy of the head alone", "Loss of the head alone", "Learning time, # sequences"];
    let panel = |(series, label)| {
        let axes = Panel::new(Axis::of(label), Axis::of("Induction strength").between(-0.05, 1.0));
        axes.with(series).legend(Legend::Names("Seed".into()))
    };
    let panels = columns.into_iter().zip(labels).map(panel).collect();
    Ok(Figure { size: (2000, 760), ..Figure::side_by_side("Induction strength of heads and what they can do", one_legend(panels), 3) }
        .into())
}

/// After how many sequences a run has learned; its last evaluation if it has not.
pub fn learning_time(run: &Run) -> Result<f64> {
    let loss = run.loss(TRAIN)?;
    Ok(first_below(&loss, LEARNED).or(loss.last().map(|point| point.0)).unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_orders_are_told_apart() {
        let sets = [vec![3], vec![1, 3], vec![1, 2, 3], vec![1], vec![1, 2], vec![1, 2, 7]];
        let found: Vec<usize> = (0..8).filter(|&head| splits(&sets, head)).collect();
        assert_eq!(found, [3]);
    }
}
