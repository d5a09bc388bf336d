//! Every sequence that there is: all ordered pairs of classes, all ordered pairs of labels, both queries (Singh et al. 2024, appendix C: 50 classes
//! and 8 pairs of labels make 78,400).

use super::relabel::Labelling;
use super::{ItemType, Sequences, invalid};
use crate::Result;
use crate::experiment::{EvaluatorSpec, Experiment, RelabelName, SplitName};
use std::ops::Range;

/// The sequences of an evaluator with `exhaustive = true`, which are numbered and made when they are wanted.
///
/// In the order of the published analysis, the first slowest: whether the query is of the first class or of the second; the pair of labels,
/// each of the evaluator's pairs in ascending order (01, 02, 12, 03, …), then each the other way round; the first class; the second.
#[derive(Clone, Debug)]
pub struct Exhaustive {
    classes: Range<usize>,
    exemplar: u32,
    labels: Vec<[u32; 2]>,
}

impl Exhaustive {
    /// Pairs of a sequence, the query's among them.
    pub const PAIRS: usize = 3;

    /// The sequences of an evaluator.
    ///
    /// # Errors
    /// [`Invalid`](crate::Error::Invalid) where there are no pairs of labels.
    pub fn new(experiment: &Experiment, evaluator: &EvaluatorSpec) -> Result<Self> {
        let (data, place) = (&experiment.data, format!("evaluator \"{}\"", evaluator.name));
        let relabel = evaluator.relabel.unwrap_or(RelabelName::Train);
        let Labelling::Pairs(pairs) = Labelling::new(relabel, data.relabel.as_ref(), &place)? else {
            return Err(invalid(format!("{place}: exhaustive needs pairs of labels")));
        };
        let mut labels: Vec<[u32; 2]> = (0..pairs.count()).map(|rank| pairs.of_rank(rank)).collect();
        labels.sort_unstable_by_key(|[a, b]| (*b, *a));
        labels.extend(labels.clone().into_iter().map(|[a, b]| [b, a]));
        let exemplars = data.exemplars.range(evaluator.exemplars.unwrap_or(SplitName::Train));
        let classes = data.classes.range(evaluator.classes.unwrap_or(SplitName::Train));
        Ok(Self { classes, exemplar: exemplars.start as u32, labels })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        2 * self.labels.len() * self.class_pairs()
    }

    /// One more than the largest label.
    pub fn labels(&self) -> usize {
        self.labels.iter().flatten().max().map_or(0, |&label| label as usize + 1)
    }

    fn class_pairs(&self) -> usize {
        self.classes.len() * self.classes.len().saturating_sub(1)
    }

    /// The sequences with these numbers.
    pub fn sequences(&self, numbers: Range<usize>) -> Sequences {
        let items = numbers.len() * Self::PAIRS;
        let mut sequences = Sequences { pairs: Self::PAIRS, exemplars: vec![self.exemplar; items], ..Sequences::default() };
        for number in numbers {
            let (rest, pair) = (number / self.class_pairs(), number % self.class_pairs());
            let (query, labels) = (rest / self.labels.len(), self.labels[rest % self.labels.len()]);
            let (first, second) = (pair / (self.classes.len() - 1), pair % (self.classes.len() - 1));
            // The second is another class than the first.
            let classes = [first, second + usize::from(second >= first)].map(|class| (self.classes.start + class) as u32);
            let mut types = [ItemType::Distractor as u8; 2];
            types[query] = ItemType::Bursty as u8;
            sequences.classes.extend([classes[0], classes[1], classes[query]]);
            sequences.labels.extend([labels[0], labels[1], labels[query]]);
            sequences.types.extend([types[0], types[1], ItemType::Query as u8]);
        }
        sequences
    }
}
