//! Every option by the distribution that it gives, over 20,000 sequences and more, and every refusal by its message.

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
const ZIPF: &str = "classes = { train = 5 }\nexemplars = { train = 1 }\nzipf = 1.3";

/// Shares of five classes under `ZIPF`.
fn zipf_shares() -> [f64; 5] {
    let weights = [1.0, 2.0, 3.0, 4.0, 5.0].map(|rank: f64| rank.powf(-1.3));
    weights.map(|weight| weight / weights.iter().sum::<f64>())
}

#[test]
fn training_and_evaluators_draw_uniformly_from_their_splits() {
    let sequences = draw(&training(FIVE, "context = 2\nburstiness = 1"), N);
    assert_shares(sequences.classes.iter().copied(), equally(0..5));
    assert_shares(sequences.exemplars.iter().copied(), equally(0..2));
    let sequences = draw(&evaluator(FIVE, "classes = \"val\"\nexemplars = \"val\"").unwrap(), N);
    assert_shares(sequences.classes.iter().copied(), equally(5..9));
    assert_shares(sequences.exemplars.iter().copied(), equally(2..6));
    let sequences = draw(&evaluator(FIVE, "classes = \"all\"\nexemplars = \"all\"").unwrap(), N);
    assert_shares(sequences.classes.iter().copied(), equally(0..9));
    assert_shares(sequences.exemplars.iter().copied(), equally(0..6));
}

#[test]
fn query_distractor_and_rest_follow_the_zipf_distribution_with_and_without_support() {
    let p = zipf_shares();
    for support in [true, false] {
        let sequences = draw(&training(ZIPF, &format!("context = 3\nburstiness = 1\nsupport = {support}")), N);
        let outcomes = each(&sequences).map(|[classes, _, _, types]| {
            [ItemType::Query, ItemType::Distractor, ItemType::Other].map(|item| of(item, &classes, &types) as usize)
        });
        let mut shares = Vec::new();
        for (query, distractor) in (0..25).map(|pair| (pair / 5, pair % 5)).filter(|(query, distractor)| query != distractor) {
            let pair = p[query] * p[distractor] / (1.0 - p[query]);
            for rest in (0..5).filter(|&rest| support || (rest != query && rest != distractor)) {
                let share = if support { p[rest] } else { p[rest] / (1.0 - p[query] - p[distractor]) };
                shares.push(([query, distractor, rest], pair * share));
            }
        }
        assert_shares(outcomes, shares);
    }
}

#[test]
fn an_evaluator_is_uniform_where_training_is_zipfian() {
    let sequences = draw(&evaluator(ZIPF, "").unwrap(), N);
    assert_shares(sequences.classes.iter().copied(), equally(0..5));
}

#[test]
fn without_support_and_bursts_only_the_query_is_excluded() {
    let sequences = draw(&training(FIVE, "context = 1\nburstiness = 0\nsupport = false"), N);
    let pairs = (0..25u32).map(|pair| vec![pair / 5, pair % 5]).filter(|pair| pair[0] != pair[1]);
    assert_shares(each(&sequences).map(|[classes, ..]| classes), equally(pairs));
}

#[test]
fn the_unique_rest_is_drawn_without_replacement_and_without_query() {
    let p = zipf_shares();
    let sequences = draw(&training(ZIPF, "context = 2\nburstiness = 0\nunique = true"), N);
    let mut shares = Vec::new();
    for (a, b, query) in (0..125).map(|three| (three / 25, three / 5 % 5, three % 5)) {
        if a != b && b != query && a != query {
            let in_order = |a: usize, b: usize| p[a] / (1.0 - p[query]) * p[b] / (1.0 - p[query] - p[a]);
            shares.push((vec![a as u32, b as u32, query as u32], p[query] * (in_order(a, b) + in_order(b, a)) / 2.0));
        }
    }
    assert_shares(each(&sequences).map(|[classes, ..]| classes), shares);
    // With a distractor as well, and every class in use.
    let sequences = draw(&training(ZIPF, "context = 5\nburstiness = 1\nunique = true"), 1000);
    for [mut classes, ..] in each(&sequences) {
        classes.truncate(5);
        classes.sort_unstable();
        assert_eq!(classes, [0, 1, 2, 3, 4]);
    }
}

#[test]
fn the_context_is_shuffled_and_types_say_what_is_what() {
    let sequences = draw(&training(FIVE, "context = 5\nburstiness = 2"), N);
    let mut orders = Vec::new();
    for (other, bursty) in (0..5u32).flat_map(|other| (0..32u32).map(move |bits| (other, bits))) {
        if bursty.count_ones() == 2 && bursty & (1 << other) == 0 {
            let item = |place| {
                if place == other {
                    0
                } else if bursty & (1u32 << place) > 0 {
                    1
                } else {
                    2
                }
            };
            orders.push((0..5).map(item).chain([3]).collect::<Vec<u32>>());
        }
    }
    assert_eq!(orders.len(), 30);
    assert_shares(each(&sequences).map(|[.., types]| types), equally(orders));
    for [classes, _, labels, types] in each(&sequences) {
        let distractor = of(ItemType::Distractor, &classes, &types);
        assert_ne!(distractor, classes[5]);
        for (class, item) in classes.iter().zip(&types) {
            assert!([true, *class == classes[5], *class == distractor, true][*item as usize]);
        }
        assert_eq!(labels, classes);
    }
}

#[test]
fn without_a_distractor_the_rest_is_drawn_freely() {
    let sequences = draw(&training(FIVE, "context = 3\nburstiness = 1\ndistractor = false"), N);
    assert!(sequences.types.iter().all(|&item| item != ItemType::Distractor as u8));
    let rest = each(&sequences).map(|[classes, _, _, types]| [classes[3], of(ItemType::Other, &classes, &types)]);
    assert_shares(rest, equally((0..25).map(|pair| [pair / 5, pair % 5])));
}

#[test]
fn mixtures_are_chosen_by_weight() {
    let recipe = |burstiness, weight| format!("[[data.mixture]]\ncontext = 4\nburstiness = {burstiness}\nweight = {weight}\n");
    let recipes = [recipe(0, 1.0), recipe(1, 0.0), recipe(2, 3.5), recipe(1, 0.5)].concat();
    let sequences = draw(&SequenceSampler::training(&experiment(FIVE, &recipes)).unwrap(), N);
    let bursty = each(&sequences).map(|[.., types]| types.iter().filter(|&&item| item == 1).count());
    assert_shares(bursty, [(0, 0.2), (1, 0.1), (2, 0.7)]);
}

#[test]
fn exemplars_are_matched_or_independent() {
    let data = "classes = { train = 9 }\nexemplars = { train = 3 }";
    let three = |sequences: &Sequences| -> Vec<[u32; 3]> {
        let items = [ItemType::Query, ItemType::Bursty, ItemType::Distractor];
        each(sequences).map(|[_, exemplars, _, types]| items.map(|item| of(item, &exemplars, &types))).collect()
    };
    let mixture = "context = 5\nburstiness = 2";
    let free = draw(&training(data, mixture), N);
    assert_shares(three(&free).into_iter(), equally((0..27).map(|three| [three / 9, three / 3 % 3, three % 3])));
    let matched = draw(&training(&format!("{data}\nmatch_exemplars = true"), mixture), N);
    assert_shares(three(&matched).into_iter(), equally((0..9).map(|two| [two / 3, two / 3, two % 3])));
    let mut rest = Vec::new();
    for [_, exemplars, _, types] in each(&matched) {
        let distractor = of(ItemType::Distractor, &exemplars, &types);
        for (exemplar, item) in exemplars.iter().zip(&types) {
            assert!([true, *exemplar == exemplars[5], *exemplar == distractor, true][*item as usize]);
        }
        rest.push([of(ItemType::Other, &exemplars, &types), exemplars[5], distractor]);
    }
    assert_shares(rest.into_iter(), equally((0..27).map(|three| [three / 9, three / 3 % 3, three % 3])));
}

const RELABEL: &str =
    "classes = { train = 50 }\nexemplars = { train = 1 }\nrelabel = { labels = 5, pairs = { train = 7, val = 2, test = 1 } }";

#[test]
fn label_pairs_are_split_and_drawn_in_both_orders() {
    let pairs_of = |split: &str| -> Vec<[u32; 2]> {
        let sequences = draw(&evaluator(RELABEL, &format!("context = 5\nburstiness = 2\nrelabel = \"{split}\"")).unwrap(), N);
        each(&sequences)
            .map(|[classes, _, labels, types]| {
                let (query, distractor) = (labels[5], of(ItemType::Distractor, &labels, &types));
                for ((class, label), item) in classes.iter().zip(&labels).zip(&types) {
                    assert_eq!(*label, [*class, query, distractor, query][*item as usize]);
                }
                [query, distractor]
            })
            .collect()
    };
    let mut all = Vec::new();
    for (split, count) in [("train", 7), ("val", 2), ("test", 1)] {
        let pairs = pairs_of(split);
        let mut seen = pairs.clone();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 2 * count, "{split}");
        if split == "train" {
            assert_eq!(seen.iter().map(|pair| pair[0]).collect::<std::collections::BTreeSet<_>>().len(), 5);
        }
        all.extend(seen.clone());
        assert_shares(pairs.into_iter(), equally(seen));
    }
    all.sort_unstable();
    let every: Vec<[u32; 2]> = (0..25).map(|pair| [pair / 5, pair % 5]).filter(|[a, b]| a != b).collect();
    assert_eq!(all, every, "each pair is in one split, in both orders");
    assert_shares(pairs_of("all").into_iter(), equally(every));
}

#[test]
fn training_relabels_by_its_pairs_and_the_split_has_its_own_seed() {
    let drawn = |data: &str| -> std::collections::BTreeSet<u32> {
        each(&draw(&training(data, "context = 2\nburstiness = 1"), 2000)).map(|[_, _, labels, _]| labels[0] * 5 + labels[1]).collect()
    };
    let base = drawn(RELABEL);
    assert_eq!(base.len(), 14);
    assert_eq!(base, drawn(&format!("{RELABEL}\nmatch_exemplars = true\n")));
    let seeded = |seed| drawn(&RELABEL.replace("labels = 5,", &format!("labels = 5, seed = {seed},")));
    assert_eq!(base, seeded(20));
    let splits: std::collections::BTreeSet<_> = (0..20).map(seeded).collect();
    assert!(splits.len() > 10, "{} different splits of 20", splits.len());
}

#[test]
fn a_split_is_drawn_again_until_training_holds_every_label() {
    // Three pairs of ten leave a label out in most draws.
    for seed in 0..50 {
        let spec = format!("relabel = {{ labels = 5, seed = {seed}, pairs = {{ train = 3, val = 7 }} }}");
        let sampler = training(&format!("classes = {{ train = 50 }}\nexemplars = {{ train = 1 }}\n{spec}"), "context = 2\nburstiness = 1");
        let mut labels = draw(&sampler, 500).labels;
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels, [0, 1, 2, 3, 4]);
    }
}

#[test]
fn many_labels_need_no_table_of_pairs() {
    let data = "classes = { train = 50 }\nexemplars = { train = 1 }\nrelabel = { labels = 1_000_000 }";
    let sequences = draw(&training(data, "context = 2\nburstiness = 1"), N);
    let tenths = each(&sequences).map(|[_, _, labels, _]| {
        assert_ne!(labels[0], labels[1]);
        [labels[0] / 100_000, labels[1] / 100_000]
    });
    assert_shares(tenths, equally((0..100).map(|pair| [pair / 10, pair % 10])));
}

#[test]
fn zero_one_and_flip() {
    let zero_one = draw(&evaluator(FIVE, "relabel = \"01\"").unwrap(), N);
    assert_shares(
        each(&zero_one).map(|[_, _, labels, types]| [labels[2], of(ItemType::Distractor, &labels, &types)]),
        equally([[0, 1], [1, 0]]),
    );
    assert!(each(&zero_one).all(|[_, _, labels, types]| of(ItemType::Bursty, &labels, &types) == labels[2]));

    let flip = draw(&evaluator(FIVE, "relabel = \"flip\"\ncontext = 5\nburstiness = 2").unwrap(), N);
    for [classes, _, labels, types] in each(&flip) {
        let (query, distractor) = (classes[5], of(ItemType::Distractor, &classes, &types));
        for ((class, label), item) in classes.iter().zip(&labels).zip(&types) {
            assert_eq!(*label, [*class, distractor, query, distractor][*item as usize]);
        }
    }
    assert_shares(each(&flip).map(|[_, _, labels, _]| labels[5]), equally(0..5));
}

#[test]
fn the_query_label_is_put_on_one_random_context_item() {
    let data = "classes = { train = 10 }\nexemplars = { train = 1 }\nrandom_query_label = true";
    let sequences = draw(&training(data, "context = 4\nburstiness = 0\nunique = true"), N);
    let places = each(&sequences).map(|[classes, _, labels, _]| {
        let changed: Vec<usize> = (0..5).filter(|&place| classes[place] != labels[place]).collect();
        assert_eq!(changed.len(), 1);
        assert_eq!(labels[changed[0]], classes[4]);
        changed[0]
    });
    assert_shares(places, equally(0..4));
    // After relabelling, so that it is the label asked for that is put there.
    let sampler = evaluator(RELABEL, "burstiness = 0\nrandom_query_label = true").unwrap();
    assert!(each(&draw(&sampler, 1000)).all(|[_, _, labels, _]| labels[2] < 5 && labels[..2].contains(&labels[2])));
}

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

#[test]
fn what_cannot_be_drawn_is_refused() {
    let refused = |data: &str, mixture: &str| match SequenceSampler::training(&experiment(data, &format!("[[data.mixture]]\n{mixture}"))) {
        Err(Error::Invalid(message)) => message,
        other => panic!("{other:?}"),
    };
    let refused_evaluator = |data: &str, keys: &str| match evaluator(data, keys) {
        Err(Error::Invalid(message)) => message,
        other => panic!("{other:?}"),
    };
    let relabel = |relabel: &str| format!("{FIVE}\nrelabel = {relabel}");
    let two = "context = 2\nburstiness = 1";
    for (message, expected) in [
        (
            refused(FIVE, "context = 3\nburstiness = 2"),
            "data.mixture[0]: a context of 3 is too short for the query's class and a distractor 2 times (needs 4)",
        ),
        (
            refused(FIVE, "context = 1\nburstiness = 2\ndistractor = false"),
            "data.mixture[0]: a context of 1 is too short for the query's class 2 times (needs 2)",
        ),
        (refused("classes = { train = 1 }\nexemplars = { train = 1 }", two), "data.mixture[0]: needs 2 classes, and there are 1"),
        (
            refused("classes = { train = 2 }\nexemplars = { train = 1 }", "context = 3\nburstiness = 1\nsupport = false"),
            "data.mixture[0]: needs 3 classes (one that the rest of the context may hold), and there are 2",
        ),
        (
            refused(FIVE, "context = 6\nburstiness = 1\nunique = true"),
            "data.mixture[0]: needs 6 classes (4 items without repetition beside the query and the distractor), and there are 5",
        ),
        (
            refused("classes = { train = 0, val = 5 }\nexemplars = { train = 1 }", two),
            "data: there are no train classes (data.classes.train is 0)",
        ),
        (refused(FIVE, "context = 2\nburstiness = 1\nweight = 0"), "data.mixture: every weight is 0"),
        (refused(FIVE, "context = 2\nburstiness = 1\nweight = -1"), "data.mixture[0]: weight = -1 is not a share"),
        (
            refused(FIVE, "context = 2\nburstiness = 1\n[[data.mixture]]\ncontext = 3\nburstiness = 1"),
            "data.mixture[1]: context = 3, but it must be 2 as in the first mixture",
        ),
        (refused(&format!("{FIVE}\nzipf = nan"), two), "data.zipf: NaN is not an exponent"),
        (refused(&format!("{FIVE}\nnoise = -0.1"), two), "data: noise -0.1 is not a standard deviation"),
        (
            refused(&format!("{FIVE}\nrandom_query_label = true"), "context = 0\nburstiness = 0"),
            "data: random_query_label needs a context to put the query's label in",
        ),
        (refused(&relabel("{ labels = 1 }"), two), "data.relabel.labels: 1 is not from 2 to 2^30"),
        (
            refused(&relabel("{ labels = 5, pairs = { train = 8, val = 1 } }"), two),
            "data.relabel.pairs: 8 + 1 + 0 = 9, but 5 labels make 10 pairs",
        ),
        (
            refused(&relabel("{ labels = 5, pairs = { train = 2, val = 8 } }"), two),
            "data.relabel.pairs.train: 2 pairs cannot hold all 5 labels, and every label must be seen in training; at least 3 are needed",
        ),
        (
            refused(&relabel("{ labels = 40, pairs = { train = 20, val = 760 } }"), two),
            "data.relabel.pairs.train: in 1000 draws no split into 20, 760 and 0 pairs had all 40 labels in training; give it more pairs",
        ),
        (refused_evaluator(FIVE, "classes = \"test\""), "evaluator \"probe\": there are no test classes (data.classes.test is 0)"),
        (refused_evaluator(FIVE, "exemplars = \"test\""), "evaluator \"probe\": there are no test exemplars (data.exemplars.test is 0)"),
        (
            refused_evaluator(FIVE, "relabel = \"train\""),
            "evaluator \"probe\": relabel needs the label pairs of data.relabel, which is not given (\"01\" and \"flip\" do not)",
        ),
        (
            refused_evaluator(&relabel("{ labels = 5 }"), "relabel = \"val\""),
            "evaluator \"probe\": relabel = \"val\", but data.relabel.pairs gives no pairs to val",
        ),
        (
            refused_evaluator(FIVE, "relabel = \"flip\"\nburstiness = 0"),
            "evaluator \"probe\": relabel = \"flip\" needs a burstiness of at least 1 and a distractor to swap labels with",
        ),
        (refused_evaluator(FIVE, "file = \"e.h5\""), "evaluator \"probe\": its sequences are read from e.h5, not drawn"),
    ] {
        assert_eq!(message, expected);
    }
    let empty = SequenceSampler::training(&experiment(&format!("{FIVE}\nmixture = []"), ""));
    assert_eq!(empty.unwrap_err().to_string(), "data.mixture: at least one class sampler is needed");
}
