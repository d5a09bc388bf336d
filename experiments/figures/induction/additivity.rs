//! Appendices F and G: heads added one by one, clamped strengths, perfect matching by each head, pairs of heads, and other seeds.

use super::heads::{complementary, final_strengths, only};
use super::{ANALYSIS, LAYER, Runs, TRAIN, by_seed, one_legend, seed_title, sequences};
use crate::draw::{Axis, BLACK, CLEARLY_APART, DARK, Figure, Legend, Look, Panel, Series, Shape, cool_warm, faded};
use crate::figures::Product;
use crate::logs::{Run, first_below};
use optogen::experiment::Action;
use optogen::sampler::Exhaustive;
use optogen::{Error, Result};
use plotters::style::WHITE;
use std::f64::consts::LN_2;

/// The loss below which a run has learned.
pub const LEARNED: f64 = 0.4 * LN_2;

/// Figure 14: more and more heads of layer 2 active, in the order of their strength, with the strongest and without it.
pub fn adding(runs: &Runs) -> Result<Product> {
    let whole = runs.of("main_analysis")?;
    let mut rows = Vec::new();
    for (seed, replays) in by_seed(runs.of("adding_heads")?) {
        let Some(run) = whole.iter().find(|run| run.seed() == seed) else { continue };
        let order = by_strength(&final_strengths(run)?);
        let sets: Vec<(Vec<usize>, f64)> =
            replays.iter().map(|run| Ok((run.active(LAYER), run.last(ANALYSIS, "loss")?))).collect::<Result<_>>()?;
        let mut row = Vec::new();
        for (begin, which) in [(0, "strongest"), (1, "second strongest")] {
            let loss = |end: usize| {
                let mut wanted = order[begin..end].to_vec();
                wanted.sort_unstable();
                sets.iter().find(|(heads, _)| *heads == wanted).map(|(_, loss)| ((end - begin) as f64, *loss))
            };
            let points = (begin + 1..order.len()).filter_map(loss).collect();
            let head = order[begin];
            let panel = Panel::new(Axis::of("# heads active").whole(1..order.len()).between(0.0, order.len() as f64), Axis::of("Loss"))
                .titled(&format!("Beginning with the {which}, head {head}"))
                .with(vec![Series::dots(&format!("from head {head}"), points, BLACK, Shape::Disc).of_seed(Some(seed)).unnamed()])
                .level(run.last(ANALYSIS, "loss")?, "all heads");
            row.push(panel.legend(Legend::Names(format!("Seed {seed}"))));
        }
        rows.push(one_legend(row));
    }
    let size = (2000, 560 * rows.len() as u32 + 120);
    Ok(Figure { title: "Loss with more and more heads of layer 2".into(), rows, size }.into())
}

/// The heads, the strongest first.
fn by_strength(strengths: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..strengths.len()).collect();
    order.sort_by(|&a, &b| strengths[b].total_cmp(&strengths[a]));
    order
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
    Ok(Figure { size: (2100, 720), ..Figure::alike("Loss with the match clamped to various strengths", panels, 3) }.into())
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
    Ok(Figure::alike("Accuracy of heads alone when their match is made perfect", panels, 3).into())
}

/// Figure 16, middle: on which labels a head that matches perfectly is wrong.
pub fn mistakes(runs: &Runs) -> Result<Product> {
    by_output(runs, "Relative fraction of mistakes", |right, count, all_right, all| (count - right) / (all - all_right))
}

/// Figure 16, right: how often it is right, label by label.
pub fn accuracies_by_output(runs: &Runs) -> Result<Product> {
    by_output(runs, "Accuracy", |right, count, _, _| right / count)
}

/// A number for each head and label, of the right answers and of the sequences with this label, and with any.
fn by_output(runs: &Runs, label: &str, number: fn(f64, f64, f64, f64) -> f64) -> Result<Product> {
    let (whole, seeds) = (runs.of("main_analysis")?, by_seed(runs.of("match_one_head")?));
    let mut panels = Vec::new();
    for (seed, replays) in &seeds {
        let strengths = whole.iter().find(|run| run.seed() == *seed).map(final_strengths).transpose()?.unwrap_or_default();
        let (mut series, mut outputs) = (Vec::new(), 0);
        for replay in replays {
            let (head, right, targets) = (only(replay)?, replay.examples(ANALYSIS, "acc")?, targets(replay)?);
            outputs = targets.iter().max().map_or(0, |most| *most as usize + 1);
            let (mut rights, mut counts) = (vec![0.0; outputs], vec![0.0; outputs]);
            for (target, right) in targets.iter().zip(&right) {
                rights[*target as usize] += right;
                counts[*target as usize] += 1.0;
            }
            let (all_right, all) = (rights.iter().sum(), counts.iter().sum());
            let at = |output: usize| (output as f64, number(rights[output], counts[output], all_right, all));
            let colour = faded(DARK[head % DARK.len()], strengths.get(head).copied().unwrap_or(1.0).clamp(0.25, 1.0));
            series.push(Series::line(&head.to_string(), (0..outputs).map(at).collect(), colour).of_seed(Some(*seed)));
        }
        series.sort_by(|a, b| a.name.cmp(&b.name));
        let panel = Panel::new(Axis::of("Output class").whole(0..outputs), Axis::of(label).between(0.0, 1.0));
        panels.push(panel.titled(&seed_title(*seed, seeds.len())).with(series).legend(Legend::Names("Layer 2\nhead #".into())));
    }
    Ok(Figure::alike("What heads that match perfectly copy, by output", panels, 3).into())
}

/// The right label of each sequence of the evaluator with all of them.
fn targets(run: &Run) -> Result<Vec<u32>> {
    let evaluator = run.experiment.evaluators.iter().find(|evaluator| evaluator.name == ANALYSIS && evaluator.exhaustive);
    let Some(evaluator) = evaluator else {
        return Err(Error::Invalid(format!("{}: it has no evaluator \"{ANALYSIS}\" with exhaustive = true", run.folder.display())));
    };
    let all = Exhaustive::new(&run.experiment, evaluator)?;
    Ok(all.sequences(0..all.count()).labels.chunks(Exhaustive::PAIRS).map(|labels| labels[Exhaustive::PAIRS - 1]).collect())
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
    Ok(Figure::alike("Loss when training with two heads of layer 2", panels, 3).into())
}

/// Figure 18: what a head's strength has to do with what it can do alone, over seeds.
pub fn seeds(runs: &Runs) -> Result<Product> {
    // Further seeds lie in folders of their own, if they were run.
    let both = |name: &str, more: &str| -> Result<Vec<Run>> { Ok(runs.of(name)?.into_iter().chain(runs.of(more)?).collect()) };
    let whole = both("main_analysis", "seeds_analysis")?;
    let alone = by_seed(both("only_head", "seeds_only_head")?);
    let trained = by_seed(both("single_head", "seeds_single_head")?);
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
    Ok(Figure { size: (2000, 760), ..Figure::alike("Induction strength of heads and what they can do", panels, 3) }.into())
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
    fn heads_are_added_in_the_order_of_their_strength() {
        assert_eq!(by_strength(&[0.4, 0.7, -0.1, 0.8]), [3, 1, 0, 2]);
    }
}
