//! Classes, types and exemplars of the items of a sequence.

use super::*;

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
