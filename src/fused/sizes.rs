//! The sizes of a step, and where a token's numbers lie.

use super::lanes::LANES;
use crate::ops::Real;
use crate::transformer::Architecture;

/// Sizes that a step works with.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    /// B.
    pub sequences: usize,
    /// P, the query among them.
    pub pairs: usize,
    /// 2P − 1.
    pub tokens: usize,
    /// D.
    pub width: usize,
    /// H.
    pub heads: usize,
    /// D / H.
    pub head_width: usize,
    /// Eights of heads; the last may hold heads that are not there, whose weights are zero.
    pub groups: usize,
    pub causal: bool,
}

impl Sizes {
    pub fn new(architecture: &Architecture, sequences: usize, pairs: usize) -> Self {
        let Architecture { width, heads, causal, .. } = *architecture;
        let (head_width, groups) = (width / heads, heads.div_ceil(LANES));
        Self { sequences, pairs, tokens: 2 * pairs - 1, width, heads, head_width, groups, causal }
    }

    /// Vectors that hold a token's queries, keys or values.
    #[inline(always)]
    pub fn vectors(&self) -> usize {
        self.groups * self.head_width
    }

    /// Numbers that hold them.
    #[inline(always)]
    pub fn padded(&self) -> usize {
        self.vectors() * LANES
    }

    /// How many tokens token `t` sees.
    #[inline(always)]
    pub fn seen(&self, t: usize) -> usize {
        if self.causal { t + 1 } else { self.tokens }
    }

    /// Calls `visit` with each dimension of the model's width, counted head by head, and with its place among the padded numbers: eight heads side
    /// by side, dimension after dimension.
    #[inline(always)]
    fn each_place(&self, mut visit: impl FnMut(usize, usize)) {
        for head in 0..self.heads {
            for i in 0..self.head_width {
                visit(head * self.head_width + i, ((head / LANES) * self.head_width + i) * LANES + head % LANES);
            }
        }
    }

    /// Rows of a weight `[parts·D, D]` in the order of the lanes, `[parts·padded, D]`; zero for heads that are not there.
    pub fn rows_into_lanes<T: Real>(&self, parts: usize, from: &[T], to: &mut [T]) {
        if self.padded() > self.width {
            to.fill(T::zero());
        }
        for part in 0..parts {
            self.each_place(|own, padded| {
                let row = (part * self.padded() + padded) * self.width;
                to[row..row + self.width].copy_from_slice(&from[(part * self.width + own) * self.width..][..self.width]);
            });
        }
    }

    /// The transpose of `rows_into_lanes`.
    pub fn rows_from_lanes<T: Copy>(&self, parts: usize, from: &[T], to: &mut [T]) {
        for part in 0..parts {
            self.each_place(|own, padded| {
                let row = (part * self.padded() + padded) * self.width;
                to[(part * self.width + own) * self.width..][..self.width].copy_from_slice(&from[row..row + self.width]);
            });
        }
    }
}

/// Which row of a stream holds a token.
#[derive(Clone, Copy)]
pub(super) enum Rows<'a> {
    /// Every token has one, sequence by sequence.
    Each,
    /// Tokens that are alike share one: the first block's, where no position tells them apart.
    Shared(&'a [u32]),
}

impl Rows<'_> {
    /// The row of a token, counted over all sequences.
    #[inline(always)]
    pub fn of(self, token: usize) -> usize {
        match self {
            Rows::Each => token,
            Rows::Shared(rows) => rows[token] as usize,
        }
    }
}
