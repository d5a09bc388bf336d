//! What the paper shows, in numbers, beside what our runs show: printed numbers as they are, and those read off a figure (±0.02) with a ~.

use super::additivity::{LEARNED, learning_time};
use super::clamps::CLAMPS;
use super::heads::{final_strengths, strongest, table_2};
use super::wiring::preserved_accuracies;
use super::{ANALYSIS, Runs, TRAIN};
use crate::figures::Product;
use crate::figures::tables::{Column, Table};
use crate::logs::{Run, first_below, value_at};
use optogen::Result;

/// Losses: figure, folder, evaluator, sequences seen, and the published loss.
const LOSSES: &[(&str, &str, &str, f64, f64)] = &[
    ("3a", "main", "fsl_train", 5e4, 0.79),
    ("3a", "main", "fsl_train", 1e5, 0.74),
    ("3a", "main", "fsl_train", 1.5e5, 0.70),
    ("3a", "main", "fsl_train", 2e5, 0.60),
    ("3a", "main", "fsl_train", 2.5e5, 0.37),
    ("3a", "main", "fsl_train", 3e5, 0.20),
    ("3a", "main", "fsl_train", 4e5, 0.075),
    ("3a", "main", "fsl_train", 1e6, 0.005),
    ("3a", "main", "fsl_test_class", 1e6, 0.12),
    ("3a", "main", "fsl_val_rl", 1e6, 0.03),
    ("5b", "one_head", "fsl_train", 1e5, 0.73),
    ("5b", "one_head", "fsl_train", 2e5, 0.65),
    ("5b", "one_head", "fsl_train", 3e5, 0.32),
    ("5b", "previous_token", "fsl_train", 1.5e5, 0.56),
    ("5b", "previous_token", "fsl_train", 2.5e5, 0.20),
    ("5b", "layer_1", "fsl_train", 2e4, 1.53),
    ("5b", "layer_1", "fsl_train", 5e4, 0.82),
    ("5b", "layer_1", "fsl_train", 1e5, 0.16),
    ("5b", "match", "fsl_train", 2e4, 0.63),
    ("5b", "match", "fsl_train", 5e4, 0.14),
    ("5b", "copy", "fsl_train", 2e4, 0.59),
    ("5b", "copy", "fsl_train", 5e4, 0.22),
    ("5b", "copy", "fsl_train", 1e5, 0.09),
    ("5b", "layer_1_copy", "fsl_train", 2e4, 0.43),
    ("5b", "layer_1_copy", "fsl_train", 5e4, 0.10),
];

/// Induction strengths of the heads of layer 2 at the end, the strongest first.
const STRENGTHS: [f64; 8] = [0.8452, 0.7359, 0.7083, 0.5703, 0.5533, 0.4181, 0.2888, 0.1039];
/// Accuracies of each head alone, the best first.
const ALONE: [f64; 8] = [0.9802, 0.7651, 0.7517, 0.6465, 0.5885, 0.4285, 0.4032, 0.2916];
/// P(a head right, given the strongest wrong), the best first.
const ADDED: [f64; 7] = [0.7167, 0.6478, 0.5641, 0.4610, 0.3297, 0.2408, 0.1661];
/// Figure 6: classes and labels of normal training, and the sequences until the loss is below .35.
const MORE_DATA: &[(&str, usize, f64)] = &[
    ("one_head_classes", 50, 2.8e5),
    ("one_head_classes", 100, 3.6e5),
    ("one_head_classes", 200, 4.0e5),
    ("one_head_labels", 10, 8.3e5),
    ("one_head_labels", 15, 1.35e6),
];
/// Table 1: heads of layer 1 ablated, what is kept, accuracy.
const PRESERVED: &[(&[usize], &str, f64)] = &[
    (&[1, 2, 5], "patterns", 0.99853),
    (&[1, 2, 5], "values", 0.69869),
    (&[0, 3, 4, 6, 7], "patterns", 0.34267),
    (&[0, 3, 4, 6, 7], "values", 0.99319),
];

/// A row: a landmark, as published and as it is here, seed by seed.
struct Landmark {
    figure: &'static str,
    what: String,
    published: String,
    ours: Vec<f64>,
    /// In place of numbers, and from how many seeds.
    words: Option<(String, usize)>,
}

impl Landmark {
    fn of(figure: &'static str, what: impl Into<String>, published: String, ours: Vec<f64>) -> Self {
        Self { figure, what: what.into(), published, ours, words: None }
    }

    fn seeds(&self) -> usize {
        self.words.as_ref().map_or(self.ours.len(), |(_, seeds)| *seeds)
    }

    fn mean(&self) -> f64 {
        self.ours.iter().sum::<f64>() / self.ours.len() as f64
    }

    fn least(&self) -> f64 {
        self.ours.iter().copied().fold(f64::NAN, f64::min)
    }

    fn most(&self) -> f64 {
        self.ours.iter().copied().fold(f64::NAN, f64::max)
    }

    /// The mean, and from where to where the seeds go.
    fn told(&self) -> String {
        if let Some((words, _)) = &self.words {
            return words.clone();
        }
        match self.ours.len() {
            0 => String::new(),
            1 => short(self.ours[0]),
            _ => format!("{} ({}–{})", short(self.mean()), short(self.least()), short(self.most())),
        }
    }
}

/// Counts as 0.28M, all else with three digits, or six where all but few are right.
fn short(value: f64) -> String {
    match value {
        _ if value.is_nan() => "never".into(),
        1e3.. => format!("{:.3}M", value / 1e6),
        _ if value > 0.999 && value < 1.0 => format!("{value:.6}"),
        _ => format!("{value:.3}"),
    }
}

/// The table of landmarks, as far as there are runs for them.
pub fn landmarks(runs: &Runs) -> Result<Product> {
    let mut all = Vec::new();
    losses(runs, &mut all)?;
    heads(runs, &mut all)?;
    clamps(runs, &mut all)?;
    ablations(runs, &mut all)?;
    // A folder without runs gives a row without numbers, which says nothing.
    all.retain(|landmark| !landmark.ours.is_empty() || landmark.words.is_some());
    Ok(Product::Table(Table::of([
        ("figure", Column::Names(all.iter().map(|one| one.figure.to_owned()).collect())),
        ("landmark", Column::Names(all.iter().map(|one| one.what.clone()).collect())),
        ("published", Column::Names(all.iter().map(|one| one.published.clone()).collect())),
        ("ours", Column::Names(all.iter().map(Landmark::told).collect())),
        ("mean", Column::Numbers(all.iter().map(Landmark::mean).collect())),
        ("least", Column::Numbers(all.iter().map(Landmark::least).collect())),
        ("most", Column::Numbers(all.iter().map(Landmark::most).collect())),
        ("seeds", Column::Whole(all.iter().map(|one| Some(one.seeds() as i64)).collect())),
    ])))
}

fn losses(runs: &Runs, all: &mut Vec<Landmark>) -> Result<()> {
    for &(figure, folder, evaluator, sequences, published) in LOSSES {
        let mut ours = Vec::new();
        for run in runs.of(folder)? {
            ours.extend(value_at(&run.loss(evaluator)?, sequences));
        }
        let what = format!("{folder}: loss of {evaluator} at {}k", sequences / 1e3);
        all.push(Landmark::of(figure, what, format!("~{published}"), ours));
    }
    Ok(())
}

fn heads(runs: &Runs, all: &mut Vec<Landmark>) -> Result<()> {
    let whole = runs.of("main_analysis")?;
    let strengths = whole.iter().map(final_strengths).collect::<Result<Vec<_>>>()?;
    ranked(all, "3b", "induction strength", &STRENGTHS, strengths);
    let table = table_2(&whole, runs.of("only_head")?)?;
    let seeds = distinct(table.iter().map(|row| row.seed));
    let of_seeds = |value: fn(&super::heads::Alone) -> f64, all: bool| -> Vec<Vec<f64>> {
        let of = |seed: &i64| table.iter().filter(|row| row.seed == *seed && (all || !row.strongest)).map(value).collect();
        seeds.iter().map(of).collect()
    };
    ranked(all, "4a, table 2", "accuracy of a head alone", &ALONE, of_seeds(|row| row.accuracy, true));
    ranked(all, "table 2", "P(a head right, given the strongest wrong)", &ADDED, of_seeds(|row| row.given, false));
    let best = whole.iter().zip(seeds_strongest(&whole)?).map(|(run, head)| {
        let alone = table.iter().filter(|row| row.seed == run.seed());
        f64::from(alone.max_by(|a, b| a.accuracy.total_cmp(&b.accuracy)).is_some_and(|row| row.head == head))
    });
    let best = if table.is_empty() { Vec::new() } else { best.collect() };
    all.push(Landmark::of("4a", "the strongest head is the best alone (share of seeds)", "=1".into(), best));
    let mut least_without = Vec::new();
    for seed in distinct(runs.of("without_head")?.iter().map(Run::seed)) {
        let without = runs.of("without_head")?;
        let accuracies = without.iter().filter(|run| run.seed() == seed).map(|run| run.last(ANALYSIS, "acc"));
        least_without.push(accuracies.collect::<Result<Vec<_>>>()?.into_iter().fold(f64::INFINITY, f64::min));
    }
    all.push(Landmark::of("4a", "accuracy without a head, the worst", "~.99".into(), least_without));

    let alone = runs.of("single_head")?;
    let mut times = [Vec::new(), Vec::new()];
    for seed in distinct(alone.iter().map(Run::seed)) {
        let of_seed = alone.iter().filter(|run| run.seed() == seed).map(learning_time).collect::<Result<Vec<_>>>()?;
        times[0].push(of_seed.iter().copied().fold(f64::INFINITY, f64::min));
        times[1].push(of_seed.into_iter().fold(0.0, f64::max));
    }
    let [first, last] = times;
    all.push(Landmark::of("4b", "trained alone, the first head to learn, at", "~0.31M".into(), first));
    all.push(Landmark::of("4b", "trained alone, the last head to learn, at", "~0.615M".into(), last));
    Ok(())
}

/// A row for each rank of the heads, which have no names that seeds share.
fn ranked(all: &mut Vec<Landmark>, figure: &'static str, what: &str, published: &[f64], mut seeds: Vec<Vec<f64>>) {
    seeds.iter_mut().for_each(|values| values.sort_by(|a, b| b.total_cmp(a)));
    for (rank, published) in published.iter().enumerate() {
        let ours = seeds.iter().filter_map(|values| values.get(rank).copied()).collect();
        all.push(Landmark::of(figure, format!("{what}, rank {}", rank + 1), format!("={published:.4}"), ours));
    }
}

fn seeds_strongest(whole: &[Run]) -> Result<Vec<usize>> {
    whole.iter().map(|run| Ok(strongest(&final_strengths(run)?))).collect()
}

fn clamps(runs: &Runs, all: &mut Vec<Landmark>) -> Result<()> {
    let mut order = Vec::new();
    for (_, folder, _) in CLAMPS {
        let found = runs.of(folder)?;
        let times = found.iter().map(|run| Ok(first_below(&run.loss(TRAIN)?, LEARNED).unwrap_or(f64::NAN))).collect::<Result<Vec<_>>>()?;
        let row = Landmark::of("5b", format!("{folder}: learned (loss below .4 ln 2) at"), String::new(), times);
        if !found.is_empty() {
            order.push((row.mean(), found.len(), folder));
        }
        all.push(row);
    }
    if order.len() == CLAMPS.len() {
        order.sort_by(|a, b| a.0.total_cmp(&b.0));
        let seeds = order.iter().map(|own| own.1).min().unwrap_or_default();
        let words = order.into_iter().map(|(.., folder)| folder).collect::<Vec<_>>().join(", ");
        let published = "layer_1_copy, match, copy, layer_1, previous_token, one_head".to_owned();
        all.push(Landmark { words: Some((words, seeds)), ..Landmark::of("5b", "clamps by when they have learned", published, Vec::new()) });
    }
    for &(folder, value, published) in MORE_DATA {
        let found = runs.of(folder)?;
        let varied = |run: &Run| {
            let data = &run.experiment.data;
            if folder.ends_with("classes") { data.classes.train } else { data.relabel.as_ref().map_or(0, |relabel| relabel.labels) }
        };
        let times = found.iter().filter(|run| varied(run) == value);
        let times = times.map(|run| Ok(first_below(&run.loss(TRAIN)?, 0.35).unwrap_or(f64::NAN))).collect::<Result<Vec<_>>>()?;
        let kind = folder.trim_start_matches("one_head_");
        all.push(Landmark::of("6", format!("{value} {kind}: loss below .35 at"), format!("~{}M", published / 1e6), times));
    }
    Ok(())
}

fn ablations(runs: &Runs, all: &mut Vec<Landmark>) -> Result<()> {
    for (folder, what, published) in
        [("main_analysis", "accuracy", "=.999987"), ("layer_0_cut", "accuracy without layer 1's way to the output", "=.999860")]
    {
        let ours = runs.of(folder)?.iter().map(|run| run.last(ANALYSIS, "acc")).collect::<Result<Vec<_>>>()?;
        all.push(Landmark::of("§3", what, published.into(), ours));
    }
    let preserved = preserved_accuracies(runs)?;
    for (heads, kept, published) in PRESERVED {
        let ours = preserved.iter().filter(|row| row.heads == *heads && row.kept == *kept).map(|row| row.accuracy).collect();
        let what = format!("heads {heads:?} of layer 1 ablated, {kept} kept: accuracy");
        all.push(Landmark::of("table 1", what, format!("={published}"), ours));
    }
    Ok(())
}

fn distinct(seeds: impl Iterator<Item = i64>) -> Vec<i64> {
    let mut all: Vec<i64> = seeds.collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_told_by_their_mean_and_spread() {
        let of = |ours: Vec<f64>| Landmark::of("3a", "loss", "~.7".into(), ours);
        assert_eq!(of(vec![0.5, 0.75, 1.0]).told(), "0.750 (0.500–1.000)");
        assert_eq!(of(vec![3.1e5]).told(), "0.310M");
        assert_eq!(of(vec![0.99986]).told(), "0.999860");
        assert_eq!(of(vec![f64::NAN]).told(), "never");
    }

    #[test]
    fn heads_are_compared_by_rank() {
        let mut all = Vec::new();
        ranked(&mut all, "3b", "strength", &[0.8, 0.5], vec![vec![0.1, 0.9], vec![0.7, 0.3]]);
        assert_eq!(all.iter().map(|one| one.ours.clone()).collect::<Vec<_>>(), [vec![0.9, 0.7], vec![0.1, 0.3]]);
        assert_eq!((all[1].what.as_str(), all[1].published.as_str()), ("strength, rank 2", "=0.5000"));
    }
}
