//! Labels: relabelling, its splits, and the query's label on a random item.

use super::*;

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
