//! Which exemplar of its class each item of a sequence is.

use super::ItemType;
use crate::seeds::below;
use rand::Rng;
use std::ops::Range;

/// Draws exemplars uniformly from a split.
#[derive(Clone, Debug)]
pub(super) struct ExemplarSampler {
    /// The split; not empty.
    pub(super) exemplars: Range<usize>,
    /// The query and its bursty copies share one exemplar, the distractors another (drawn independently, so they can be of one number).
    pub(super) matched: bool,
}

impl ExemplarSampler {
    /// Fills the exemplars of one sequence, whose types are given.
    pub(super) fn draw(&self, random: &mut impl Rng, types: &[u8], exemplars: &mut [u32]) {
        let mut one = || (self.exemplars.start as u64 + below(random, self.exemplars.len() as u64)) as u32;
        let (query, distractor) = if self.matched { (one(), one()) } else { (0, 0) };
        for (exemplar, &item) in exemplars.iter_mut().zip(types) {
            *exemplar = match item {
                _ if !self.matched || item == ItemType::Other as u8 => one(),
                item if item == ItemType::Distractor as u8 => distractor,
                _ => query,
            };
        }
    }
}
