//! One sequence's vectors, and the room for what attention makes of them.

use super::lanes::{LANES, Lanes};
use super::sizes::Sizes;
use crate::ops::Real;

/// Room for one sequence.
#[derive(Default)]
pub(super) struct Room<T> {
    /// Of all tokens that attend.
    queries: Vec<Lanes<T>>,
    keys: Vec<Lanes<T>>,
    values: Vec<Lanes<T>>,
    /// The gradients of scores, for each token that attends and each that it sees.
    scores: Vec<Lanes<T>>,
    /// Vectors of one token: a sum, and what is turned back.
    sum: Vec<Lanes<T>>,
    turned: Vec<Lanes<T>>,
}

/// A sequence's vectors, token after token.
#[derive(Clone, Copy)]
pub(super) struct Vectors<'a, T> {
    pub numbers: &'a [Lanes<T>],
    pub stride: usize,
}

impl<'a, T> Vectors<'a, T> {
    /// Some of a token's vectors, from `place` on.
    #[inline(always)]
    pub fn at<const W: usize>(&self, token: usize, place: usize) -> &'a [Lanes<T>; W] {
        some(self.numbers, token * self.stride + place)
    }
}

#[inline(always)]
fn some<T, const W: usize>(of: &[T], first: usize) -> &[T; W] {
    of[first..].first_chunk().expect("the vectors of a head lie together")
}

#[inline(always)]
pub(super) fn some_mut<T, const W: usize>(of: &mut [T], first: usize) -> &mut [T; W] {
    of[first..].first_chunk_mut().expect("the vectors of a head lie together")
}

/// What a sequence's tokens ask, are asked for, and say.
#[derive(Clone, Copy)]
pub(super) struct Sequence<'a, T> {
    pub queries: Vectors<'a, T>,
    pub keys: Vectors<'a, T>,
    pub values: Vectors<'a, T>,
}

/// Where a sequence's vectors are put, if they do not stay where they are.
pub(super) struct Gathered<'r, T> {
    pub queries: &'r mut [Lanes<T>],
    pub keys: &'r mut [Lanes<T>],
    pub values: &'r mut [Lanes<T>],
}

/// Where gradients come together.
pub(super) struct Slopes<'r, T> {
    pub scores: &'r mut [Lanes<T>],
    pub sum: &'r mut [Lanes<T>],
    pub turned: &'r mut [Lanes<T>],
}

impl<T: Real> Room<T> {
    /// Room for a sequence of which so many tokens attend.
    pub fn split(&mut self, sizes: Sizes, attending: usize) -> (Gathered<'_, T>, Slopes<'_, T>) {
        let (tokens, vectors) = (sizes.tokens, sizes.vectors());
        let room = |room: &mut Vec<Lanes<T>>, count: usize| room.resize(count, [T::zero(); LANES]);
        room(&mut self.queries, attending * vectors);
        room(&mut self.keys, tokens * vectors);
        room(&mut self.values, tokens * vectors);
        room(&mut self.scores, attending * sizes.groups * tokens);
        room(&mut self.sum, vectors);
        room(&mut self.turned, vectors);
        let Self { queries, keys, values, scores, sum, turned } = self;
        (Gathered { queries, keys, values }, Slopes { scores, sum, turned })
    }
}
