//! Which labels a sequence carries: each class its own number, a pair of labels drawn anew for each sequence, or query and distractor swapped.

use super::{ItemType, invalid};
use crate::Result;
use crate::experiment::{RelabelName, RelabelSpec, Split};
use crate::seeds::{below, stream};
use rand::Rng;
use std::collections::HashMap;

/// How often a split of the label pairs is drawn before giving up.
const DRAWS: u64 = 1000;

/// Labels the items of a sequence.
#[derive(Clone, Debug)]
pub(super) enum Labelling {
    /// Each class its own number.
    Classes,
    /// Query and bursty items get one label of a pair, distractors the other, in random order; other items keep their class's number.
    Pairs(LabelPairs),
    /// Query and bursty items get the distractor's class, distractors the query's; other items keep their class's number.
    Flip,
}

/// A set of unordered pairs of labels, from which one is drawn for each sequence.
#[derive(Clone, Debug)]
pub(super) enum LabelPairs {
    /// Every pair of `labels` labels but those with these numbers (ascending; see [`pair`]). Pairs held out are few, those left may be many.
    AllBut { labels: u64, held_out: Vec<u64> },
    /// The pairs with these numbers.
    Of(Vec<u64>),
}

impl Labelling {
    /// What an evaluator's `relabel` (or training's) means in an experiment with this `[data] relabel`.
    pub(super) fn new(name: RelabelName, spec: Option<&RelabelSpec>, place: &str) -> Result<Self> {
        let pairs = match name {
            RelabelName::None => return Ok(Self::Classes),
            RelabelName::Flip => return Ok(Self::Flip),
            RelabelName::ZeroOne => LabelPairs::Of(vec![0]),
            RelabelName::All => LabelPairs::AllBut { labels: relabelled(spec, place)?.labels as u64, held_out: Vec::new() },
            RelabelName::Train | RelabelName::Val | RelabelName::Test => {
                let spec = relabelled(spec, place)?;
                let (held_out, val) = held_out_pairs(spec)?;
                let (part, name) = match name {
                    RelabelName::Val => (LabelPairs::Of(held_out[..val].to_vec()), "val"),
                    RelabelName::Test => (LabelPairs::Of(held_out[val..].to_vec()), "test"),
                    _ => {
                        let mut held_out = held_out;
                        held_out.sort_unstable();
                        (LabelPairs::AllBut { labels: spec.labels as u64, held_out }, "train")
                    }
                };
                if part.count() == 0 {
                    return Err(invalid(format!("{place}: relabel = \"{name}\", but data.relabel.pairs gives no pairs to {name}")));
                }
                part
            }
        };
        Ok(Self::Pairs(pairs))
    }

    /// One more than the largest label of a sequence, whose classes are below `classes` and which may hold other items if `has_rest`.
    pub(super) fn labels(&self, classes: usize, has_rest: bool) -> usize {
        let of_pairs = match self {
            Self::Pairs(LabelPairs::AllBut { labels, .. }) => *labels as usize,
            Self::Pairs(LabelPairs::Of(pairs)) => pairs.iter().map(|&number| pair(number)[1] as usize + 1).max().unwrap_or(0),
            Self::Classes | Self::Flip => return classes,
        };
        if has_rest { of_pairs.max(classes) } else { of_pairs }
    }

    /// Labels one sequence; its last item is the query.
    pub(super) fn label(&self, random: &mut impl Rng, classes: &[u32], types: &[u8], labels: &mut [u32]) {
        labels.copy_from_slice(classes);
        let query_class = classes[classes.len() - 1];
        let [query, distractor] = match self {
            Self::Classes => return,
            Self::Pairs(pairs) => pairs.draw(random),
            Self::Flip => match types.iter().position(|&item| item == ItemType::Distractor as u8) {
                Some(distractor) => [classes[distractor], query_class],
                None => return,
            },
        };
        for (label, &item) in labels.iter_mut().zip(types) {
            if item == ItemType::Query as u8 || item == ItemType::Bursty as u8 {
                *label = query;
            } else if item == ItemType::Distractor as u8 {
                *label = distractor;
            }
        }
    }
}

impl LabelPairs {
    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        match self {
            Self::AllBut { labels, held_out } => pair_count(*labels) - held_out.len() as u64,
            Self::Of(pairs) => pairs.len() as u64,
        }
    }

    /// A pair, its labels in random order.
    fn draw(&self, random: &mut impl Rng) -> [u32; 2] {
        let choice = below(random, 2 * self.count());
        let [a, b] = self.of_rank(choice / 2);
        if choice % 2 == 1 { [b, a] } else { [a, b] }
    }

    /// The pair a < b with so many before it.
    pub(super) fn of_rank(&self, rank: u64) -> [u32; 2] {
        pair(match self {
            // The rank-th number that is not held out: as many are before it as `held_out[i] - i <= rank` says.
            Self::AllBut { held_out, .. } => {
                let (mut low, mut high) = (0, held_out.len());
                while low < high {
                    let middle = (low + high) / 2;
                    if held_out[middle] - middle as u64 <= rank { low = middle + 1 } else { high = middle }
                }
                rank + low as u64
            }
            Self::Of(pairs) => pairs[rank as usize],
        })
    }
}

/// The pair a < b of number b(b-1)/2 + a: 01, 02, 12, 03, 13, 23, …
fn pair(number: u64) -> [u32; 2] {
    let b = (1 + 8 * number).isqrt().div_ceil(2);
    [(number - b * (b - 1) / 2) as u32, b as u32]
}

fn pair_count(labels: u64) -> u64 {
    labels * (labels - 1) / 2
}

fn relabelled<'a>(spec: Option<&'a RelabelSpec>, place: &str) -> Result<&'a RelabelSpec> {
    let spec = spec.ok_or_else(|| {
        invalid(format!("{place}: relabel needs the label pairs of data.relabel, which is not given (\"01\" and \"flip\" do not)"))
    })?;
    if !(2..=1 << 30).contains(&spec.labels) {
        return Err(invalid(format!("data.relabel.labels: {} is not from 2 to 2^30", spec.labels)));
    }
    Ok(spec)
}

/// The numbers of the pairs held out from training in random order, and how many of them are for validation.
///
/// Drawn again until every label is in some training pair.
fn held_out_pairs(spec: &RelabelSpec) -> Result<(Vec<u64>, usize)> {
    let Some(Split { train, val, test }) = spec.pairs else { return Ok((Vec::new(), 0)) };
    let labels = spec.labels;
    let all = pair_count(labels as u64);
    let given = train as u128 + val as u128 + test as u128;
    if given != u128::from(all) {
        return Err(invalid(format!("data.relabel.pairs: {train} + {val} + {test} = {given}, but {labels} labels make {all} pairs")));
    }
    if train < labels.div_ceil(2) {
        let least = labels.div_ceil(2);
        return Err(invalid(format!(
            "data.relabel.pairs.train: {train} pairs cannot hold all {labels} labels, and every label must be seen in training; at least {least} are needed"
        )));
    }
    for draw in 0..DRAWS {
        let held_out = sample(&mut stream(spec.seed, "label pairs", draw), all, val + test);
        let mut missing = vec![0; labels];
        for label in held_out.iter().flat_map(|&number| pair(number)) {
            missing[label as usize] += 1;
        }
        if missing.iter().all(|&pairs| pairs < labels - 1) {
            return Ok((held_out, val));
        }
    }
    Err(invalid(format!(
        "data.relabel.pairs.train: in {DRAWS} draws no split into {train}, {val} and {test} pairs had all {labels} labels in training; give it more pairs"
    )))
}

/// `count` different numbers below `bound`, in random order: the first steps of a shuffle of which only the entries that moved are kept.
fn sample(random: &mut impl Rng, bound: u64, count: usize) -> Vec<u64> {
    let mut moved: HashMap<u64, u64> = HashMap::new();
    (0..count as u64)
        .map(|place| {
            let other = place + below(random, bound - place);
            let here = moved.get(&place).copied().unwrap_or(place);
            moved.insert(other, here).unwrap_or(other)
        })
        .collect()
}
