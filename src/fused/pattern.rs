//! How the heads of a block attended in a pass.

use super::lanes::{LANES, Lanes};
use super::sizes::Sizes;
use crate::ops::Real;

/// The patterns of a block in which every token attends, where the pass left them.
pub struct Pattern<'a, T> {
    pub(super) sizes: Sizes,
    /// `[B, T, groups, T]`.
    pub(super) lanes: &'a [Lanes<T>],
}

impl<T: Real> Pattern<'_, T> {
    /// H.
    pub fn heads(&self) -> usize {
        self.sizes.heads
    }

    /// How much token `t` of a sequence attends to token `s`.
    #[inline(always)]
    pub fn at(&self, sequence: usize, head: usize, t: usize, s: usize) -> T {
        let Sizes { tokens, groups, .. } = self.sizes;
        // What a token does not see was never written.
        if s < self.sizes.seen(t) {
            self.lanes[((sequence * tokens + t) * groups + head / LANES) * tokens + s][head % LANES]
        } else {
            T::zero()
        }
    }
}
