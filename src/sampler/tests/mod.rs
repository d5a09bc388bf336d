//! Every option by the distribution that it gives, over 20,000 sequences and more, and every refusal by its message. Here: what all of them share,
//! noise, and what a sequence does and does not depend on.

mod classes;
mod exhaustive;
mod labels;
mod refusals;

use super::*;
use std::collections::BTreeMap;

const N: usize = 40_000;

/// An experiment with this `[data]` and this text after it.
fn experiment(data: &str, rest: &str) -> Experiment {
    let text = format!(
        "name = \"test\"\n[train]\nsequences = 1\noptimiser = {{ name = \"adam\", rate = 1e-3 }}\n[evaluation]\nevery = 1\n[data]\n{data}\n{rest}"
    );
    toml::from_str(&text).unwrap()
}

fn training(data: &str, mixture: &str) -> SequenceSampler {
    SequenceSampler::training(&experiment(data, &format!("[[data.mixture]]\n{mixture}"))).unwrap()
}

fn evaluator(data: &str, keys: &str) -> Result<SequenceSampler> {
    let rest = format!("[[data.mixture]]\ncontext = 2\nburstiness = 1\n[[evaluator]]\nname = \"probe\"\n{keys}");
    let experiment = experiment(data, &rest);
    SequenceSampler::evaluator(&experiment, &experiment.evaluators[0])
}

fn draw(sampler: &SequenceSampler, count: usize) -> Sequences {
    let mut sequences = Sequences::default();
    sampler.fill(0, count, &mut sequences);
    sequences
}

/// Classes, exemplars, labels and types of each sequence.
fn each(sequences: &Sequences) -> impl Iterator<Item = [Vec<u32>; 4]> {
    let Sequences { pairs, classes, exemplars, labels, types } = sequences;
    (0..types.len() / pairs).map(move |sequence| {
        let items = sequence * pairs..(sequence + 1) * pairs;
        [
            classes[items.clone()].to_vec(),
            exemplars[items.clone()].to_vec(),
            labels[items.clone()].to_vec(),
            types[items].iter().map(|&item| item.into()).collect(),
        ]
    })
}

/// The class (or exemplar, or label) of the first item of a type.
fn of(item: ItemType, values: &[u32], types: &[u32]) -> u32 {
    values[types.iter().position(|&other| other == item as u32).unwrap()]
}

/// Pearson's test at the 99.99 % quantile (by Wilson & Hilferty 1931): outcomes with their expected shares, and no others.
#[track_caller]
fn assert_shares<T: Ord + std::fmt::Debug>(outcomes: impl Iterator<Item = T>, shares: impl IntoIterator<Item = (T, f64)>) {
    let mut counts = BTreeMap::<T, f64>::new();
    outcomes.for_each(|outcome| *counts.entry(outcome).or_default() += 1.0);
    let total: f64 = counts.values().sum();
    assert!(total >= 20_000.0, "only {total} outcomes");
    let (mut chi_square, mut outcomes, mut sum) = (0.0, 0.0, 0.0);
    for (outcome, share) in shares {
        let count = counts.remove(&outcome).unwrap_or(0.0);
        chi_square += (count - total * share).powi(2) / (total * share);
        (outcomes, sum) = (outcomes + 1.0, sum + share);
    }
    assert!(counts.is_empty(), "not expected: {counts:?}");
    assert!((sum - 1.0).abs() < 1e-9, "the expected shares add up to {sum}");
    let freedom: f64 = outcomes - 1.0;
    let bound = freedom * (1.0 - 2.0 / (9.0 * freedom) + 3.72 * (2.0 / (9.0 * freedom)).sqrt()).powi(3);
    assert!(chi_square < bound, "χ² = {chi_square:.1} with {freedom} degrees of freedom (bound {bound:.1})");
}

fn equally<T>(outcomes: impl IntoIterator<Item = T>) -> Vec<(T, f64)> {
    let outcomes: Vec<T> = outcomes.into_iter().collect();
    let share = 1.0 / outcomes.len() as f64;
    outcomes.into_iter().map(|outcome| (outcome, share)).collect()
}

const FIVE: &str = "classes = { train = 5, val = 4 }\nexemplars = { train = 2, val = 4 }";
const RELABEL: &str =
    "classes = { train = 50 }\nexemplars = { train = 1 }\nrelabel = { labels = 5, pairs = { train = 7, val = 2, test = 1 } }";

#[test]
fn noise_is_gaussian_and_independent_of_the_batch() {
    let sampler = training(&format!("{FIVE}\nnoise = 0.5"), "context = 2\nburstiness = 1");
    assert_eq!(sampler.noise_scale(), 0.5);
    let (mut noise, mut later) = (Vec::new(), Vec::new());
    sampler.noise(0, N, 4, &mut noise);
    assert_eq!(noise.len(), N * 3 * 4);
    sampler.noise(64, 32, 4, &mut later);
    assert_eq!(later, noise[64 * 12..96 * 12]);
    let moment = |power| noise.iter().map(|&value| (f64::from(value) / 0.5).powi(power)).sum::<f64>() / noise.len() as f64;
    for (power, expected, bound) in [(1, 0.0, 0.006), (2, 1.0, 0.009), (3, 0.0, 0.025), (4, 3.0, 0.06)] {
        assert!((moment(power) - expected).abs() < bound, "moment {power} is {}", moment(power));
    }
    // Quarters of the normal distribution, and neighbours uncorrelated.
    assert_shares(noise.iter().map(|&value| (f64::from(value) / 0.5 / 0.674_489_75).floor().clamp(-2.0, 1.0) as i32), equally(-2..2));
    let product = noise.windows(2).map(|pair| f64::from(pair[0] * pair[1]) / 0.25).sum::<f64>() / noise.len() as f64;
    assert!(product.abs() < 0.006, "{product}");
    training(FIVE, "context = 2\nburstiness = 1").noise(0, 2, 4, &mut noise);
    assert_eq!(noise, vec![0.0; 24]);
}

#[test]
fn batches_of_32_and_64_see_the_same_sequences() {
    let recipes = "[[data.mixture]]\ncontext = 6\nburstiness = 2\n[[data.mixture]]\ncontext = 6\nburstiness = 0\nunique = true";
    let sampler = SequenceSampler::training(&experiment("classes = { train = 50 }\nexemplars = { train = 3 }", recipes)).unwrap();
    let batches = |size: usize| {
        let mut batch = Sequences::default();
        let mut all: Vec<[Vec<u32>; 4]> = Vec::new();
        for first in (0..640).step_by(size) {
            sampler.fill(first as u64, size, &mut batch);
            all.extend(each(&batch));
        }
        all
    };
    assert_eq!(batches(32), batches(64));
    assert_eq!(batches(1), batches(64));
}

#[test]
fn seeds_and_names_make_different_sequences() {
    let base = experiment(
        "classes = { train = 50 }\nexemplars = { train = 3 }",
        "[[data.mixture]]\ncontext = 2\nburstiness = 1\n[[evaluator]]\nname = \"a\"\n[[evaluator]]\nname = \"b\"",
    );
    let sets = |seeds| {
        let experiment = Experiment { seeds, ..base.clone() };
        let [a, b] = [0, 1].map(|index| draw(&SequenceSampler::evaluator(&experiment, &experiment.evaluators[index]).unwrap(), 50));
        [draw(&SequenceSampler::training(&experiment).unwrap(), 50), a, b]
    };
    let [train, a, b] = sets(base.seeds);
    assert!(train != a && a != b && train != b);
    let [other_train, same_a, _] = sets(crate::experiment::SeedSpec { train: 9, init: 8, ..base.seeds });
    assert!(train != other_train && a == same_a);
    let [same_train, other_a, _] = sets(crate::experiment::SeedSpec { eval: 9, ..base.seeds });
    assert!(train == same_train && a != other_a);
}

/// Runs of older versions saw these.
#[test]
fn the_first_sequences_are_pinned() {
    let data = "classes = { train = 50, val = 1786, test = 100 }\nexemplars = { train = 1, val = 4 }\nrelabel = { labels = 5, pairs = { train = 8, val = 2 } }";
    let sequences = draw(&training(data, "context = 2\nburstiness = 1"), 3);
    assert_eq!(sequences.classes, [48, 33, 33, 20, 24, 24, 8, 28, 8]);
    assert_eq!(sequences.labels, [4, 2, 2, 0, 2, 2, 2, 3, 2]);
    assert_eq!(sequences.types, [2, 1, 3, 2, 1, 3, 1, 2, 3]);
}

#[test]
fn twelve_thousand_classes_are_cheap() {
    let start = std::time::Instant::now();
    let data = "classes = { train = 12_800 }\nexemplars = { train = 20 }\nzipf = 1.0";
    let sequences = draw(&training(data, "context = 8\nburstiness = 3\nunique = true"), N);
    assert!(start.elapsed().as_secs_f64() < 2.0, "{:?}", start.elapsed());
    let harmonic: f64 = (1..=12_800).map(|rank| 1.0 / f64::from(rank)).sum();
    let rank = |class: u32| class.min(10);
    let shares = (0..11).map(|class| if class < 10 { 1.0 / f64::from(class + 1) } else { harmonic - 7381.0 / 2520.0 } / harmonic);
    assert_shares(each(&sequences).map(|[classes, ..]| rank(classes[8])), (0..11).zip(shares));
}

#[test]
fn labels_says_how_many_a_model_must_know() {
    assert_eq!(training(FIVE, "context = 2\nburstiness = 1").labels(), 5);
    assert_eq!(training(RELABEL, "context = 2\nburstiness = 1").labels(), 5);
    assert_eq!(training(RELABEL, "context = 3\nburstiness = 1").labels(), 50, "other items keep their class's number");
    assert_eq!(evaluator(FIVE, "classes = \"val\"\nrelabel = \"01\"").unwrap().labels(), 2);
    assert_eq!(evaluator(FIVE, "classes = \"val\"\nrelabel = \"flip\"").unwrap().labels(), 9);
}
