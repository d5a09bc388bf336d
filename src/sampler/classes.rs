//! Which classes a sequence holds: the query's from the class distribution, its bursty copies and the distractor's in the context, and the rest.

use super::{ItemType, invalid};
use crate::Result;
use crate::experiment::MixtureSpec;
use crate::seeds::below;
use rand::Rng;
use std::ops::Range;

/// How likely each class of a split is.
///
/// Weights are whole numbers, so that classes can be cut out exactly, and a draw without some of them needs neither retries nor a row of masks.
#[derive(Clone, Debug)]
pub(super) enum ClassDistribution {
    /// So many classes, equally likely.
    Uniform(u64),
    /// Class c stands for the stretch from bound c to bound c + 1.
    Zipf(Vec<u64>),
}

impl ClassDistribution {
    /// rank^-exponent over so many classes, the first class of rank 1 (Chan et al. 2022, section 2); exponent 0 is uniform.
    pub(super) fn zipf(classes: usize, exponent: f64) -> Self {
        if exponent == 0.0 {
            return Self::Uniform(classes as u64);
        }
        // The largest weight, such that the sum stays below 2⁶³: relative errors of rare classes are then far below what can be counted.
        let scale = (1u64 << 62) as f64 / classes as f64;
        let heaviest = (1.0f64).max((classes as f64).powf(-exponent));
        let weight = |rank: usize| ((scale * (rank as f64).powf(-exponent) / heaviest) as u64).max(1);
        let mut bounds = vec![0];
        bounds.extend((1..=classes).scan(0, |sum, rank| {
            *sum += weight(rank);
            Some(*sum)
        }));
        Self::Zipf(bounds)
    }

    pub(super) fn classes(&self) -> usize {
        match self {
            Self::Uniform(classes) => *classes as usize,
            Self::Zipf(bounds) => bounds.len() - 1,
        }
    }

    /// The stretch of `0..total` that stands for a class.
    fn stretch(&self, class: u32) -> Range<u64> {
        match self {
            Self::Uniform(_) => u64::from(class)..u64::from(class) + 1,
            Self::Zipf(bounds) => bounds[class as usize]..bounds[class as usize + 1],
        }
    }

    /// A class that is none of `excluded`, which is in ascending order and leaves at least one.
    pub(super) fn draw(&self, excluded: &[u32], random: &mut impl Rng) -> u32 {
        let total = match self {
            Self::Uniform(classes) => *classes,
            Self::Zipf(bounds) => bounds[bounds.len() - 1],
        };
        let cut: u64 = excluded.iter().map(|&class| self.stretch(class)).map(|stretch| stretch.end - stretch.start).sum();
        let mut position = below(random, total - cut);
        for stretch in excluded.iter().map(|&class| self.stretch(class)) {
            if position >= stretch.start {
                position += stretch.end - stretch.start;
            }
        }
        match self {
            Self::Uniform(_) => position as u32,
            Self::Zipf(bounds) => bounds.partition_point(|&bound| bound <= position) as u32 - 1,
        }
    }
}

/// Draws the classes and item types of one sequence.
#[derive(Clone, Debug)]
pub(super) struct ClassSampler {
    burstiness: usize,
    distractor: bool,
    support: bool,
    unique: bool,
    /// Items of the context that are neither bursty nor distractors.
    rest: usize,
}

impl ClassSampler {
    /// `place` says in messages where the recipe stands; `classes` is how many there are to draw from.
    pub(super) fn new(spec: &MixtureSpec, classes: usize, place: &str) -> Result<Self> {
        let MixtureSpec { context, burstiness, support, unique, .. } = *spec;
        let distractor = spec.distractor && burstiness > 0;
        let bursts = if distractor { burstiness.saturating_mul(2) } else { burstiness };
        let Some(rest) = context.checked_sub(bursts) else {
            let what = if distractor { "the query's class and a distractor" } else { "the query's class" };
            return Err(invalid(format!("{place}: a context of {context} is too short for {what} {burstiness} times (needs {bursts})")));
        };
        let named = 1 + usize::from(distractor);
        let needed = named + if unique { rest } else { usize::from(rest > 0 && !support) };
        if classes < needed {
            let why = match (rest, unique, support) {
                (1.., true, _) => {
                    format!(" ({rest} items without repetition beside the query{})", if distractor { " and the distractor" } else { "" })
                }
                (1.., false, false) => " (one that the rest of the context may hold)".into(),
                _ => String::new(),
            };
            return Err(invalid(format!("{place}: needs {needed} classes{why}, and there are {classes}")));
        }
        Ok(Self { burstiness, distractor, support, unique, rest })
    }

    /// Whether a context holds items that are neither bursty nor distractors.
    pub(super) fn has_rest(&self) -> bool {
        self.rest > 0
    }

    /// Fills `classes` (numbered from 0 within the split) and `types` of one sequence, the query last. `excluded` is scratch.
    pub(super) fn draw(
        &self,
        distribution: &ClassDistribution,
        random: &mut impl Rng,
        classes: &mut [u32],
        types: &mut [u8],
        excluded: &mut Vec<u32>,
    ) {
        let query = distribution.draw(&[], random);
        excluded.clear();
        excluded.push(query);
        let mut next = 0;
        let mut place = |class: u32, item: ItemType| {
            (classes[next], types[next]) = (class, item as u8);
            next += 1;
        };
        (0..self.burstiness).for_each(|_| place(query, ItemType::Bursty));
        if self.distractor {
            let distractor = distribution.draw(excluded, random);
            exclude(excluded, distractor);
            (0..self.burstiness).for_each(|_| place(distractor, ItemType::Distractor));
        }
        if self.support && !self.unique {
            excluded.clear();
        }
        for _ in 0..self.rest {
            let class = distribution.draw(excluded, random);
            place(class, ItemType::Other);
            if self.unique {
                exclude(excluded, class);
            }
        }
        place(query, ItemType::Query);
        // Fisher & Yates, over the context alone.
        for last in (1..classes.len() - 1).rev() {
            let other = below(random, last as u64 + 1) as usize;
            classes.swap(last, other);
            types.swap(last, other);
        }
    }
}

/// Adds a class to an ascending list.
fn exclude(excluded: &mut Vec<u32>, class: u32) {
    excluded.insert(excluded.partition_point(|&other| other < class), class);
}
