//! Every sequence that there is, once.

use super::*;
use std::collections::BTreeSet;

fn exhaustive(data: &str, keys: &str) -> Exhaustive {
    let rest = format!("[[data.mixture]]\ncontext = 2\nburstiness = 1\n[[evaluator]]\nname = \"probe\"\nexhaustive = true\n{keys}");
    let experiment = experiment(data, &rest);
    Exhaustive::new(&experiment, &experiment.evaluators[0]).unwrap()
}

const DATA: &str =
    "classes = { train = 50, test = 3 }\nexemplars = { train = 1, val = 1 }\nrelabel = { labels = 5, pairs = { train = 8, val = 2 } }";

#[test]
fn the_analysis_set_of_the_paper_is_78_400_sequences() {
    let all = exhaustive(DATA, "");
    assert_eq!((all.count(), all.labels()), (50 * 49 * 16 * 2, 5));
    let sequences = all.sequences(0..all.count());
    let distinct: BTreeSet<[Vec<u32>; 4]> = each(&sequences).collect();
    assert_eq!(distinct.len(), 78_400);
    let drawn = draw(&evaluator(DATA, "").unwrap(), 5000);
    assert!(each(&drawn).all(|sequence| distinct.contains(&sequence)), "what is drawn is among them");
}

#[test]
fn they_come_in_the_documented_order() {
    let all = exhaustive(DATA, "classes = \"test\"\nexemplars = \"val\"\nrelabel = \"val\"");
    assert_eq!(all.count(), 3 * 2 * 4 * 2);
    let list: Vec<_> = each(&all.sequences(0..all.count())).map(|[classes, exemplars, labels, _]| (classes, exemplars, labels)).collect();
    let pairs: Vec<[u32; 2]> = [0, 6].map(|at| [list[at].2[0], list[at].2[1]]).into();
    assert!(pairs.iter().all(|[a, b]| a < b) && (pairs[0][1], pairs[0][0]) < (pairs[1][1], pairs[1][0]), "{pairs:?}");
    let mut expected = Vec::new();
    for query in 0..2 {
        for [a, b] in [pairs[0], pairs[1], [pairs[0][1], pairs[0][0]], [pairs[1][1], pairs[1][0]]] {
            for first in 50..53 {
                for second in (50..53).filter(|&second| second != first) {
                    let (classes, labels) = ([first, second], [a, b]);
                    expected.push((vec![first, second, classes[query]], vec![1, 1, 1], vec![a, b, labels[query]]));
                }
            }
        }
    }
    assert_eq!(list, expected);
    let part: Vec<_> = each(&all.sequences(7..9)).map(|[classes, exemplars, labels, _]| (classes, exemplars, labels)).collect();
    assert_eq!(part, list[7..9]);
}

#[test]
fn the_pairs_without_a_split_and_the_first_alone() {
    let data = "classes = { train = 4 }\nexemplars = { train = 1 }\nrelabel = { labels = 4 }";
    assert_eq!(exhaustive(data, "").count(), 12 * 12 * 2);
    assert_eq!((exhaustive(data, "relabel = \"01\"").count(), exhaustive(data, "relabel = \"01\"").labels()), (12 * 2 * 2, 2));
}
