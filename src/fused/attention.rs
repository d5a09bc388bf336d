//! The core of attention for eight heads at once, one a lane, so that all its sums are sums of vectors.

use super::clamps::Clamped;
use super::lanes::{LANES, Lanes, all, dot, minus, part, part_mut, plus, softmax, times, weigh};
use super::sizes::Sizes;
use crate::ops::Real;
use std::ops::Range;

/// Who attends, and how.
#[derive(Clone, Copy)]
pub(super) struct Attending<'a, T> {
    sizes: Sizes,
    /// The first token of a sequence that attends: 0, or the query where nobody else is asked.
    first: usize,
    /// 1/√dₕ.
    scale: T,
    clamped: &'a Clamped<T>,
}

/// Queries `[B, attending, vectors]`, and keys and values `[B, T, 2, vectors]`, turned to their positions.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a, T> {
    pub q: &'a [Lanes<T>],
    pub kv: &'a [Lanes<T>],
}

/// A sequence's vectors of one kind, some at a time, so that the compiler keeps their sums in registers.
#[derive(Clone, Copy)]
struct Vectors<'a, T, const W: usize> {
    numbers: &'a [[Lanes<T>; W]],
    /// From one token's to the next.
    stride: usize,
}

impl<'a, T, const W: usize> Vectors<'a, T, W> {
    /// Those of a token at one place of all.
    #[inline(always)]
    fn at(&self, token: usize, place: usize) -> &'a [Lanes<T>; W] {
        &self.numbers[token * self.stride + place]
    }
}

/// What a sequence's tokens ask, are asked for, and say.
#[derive(Clone, Copy)]
struct Sequence<'a, T, const W: usize> {
    queries: Vectors<'a, T, W>,
    keys: Vectors<'a, T, W>,
    values: Vectors<'a, T, W>,
}

impl<'a, T: Real, const W: usize> Sequence<'a, T, W> {
    /// That of some place in a batch.
    #[inline(always)]
    fn of(asked: Asked<'a, T>, sequence: usize, attending: usize, sizes: Sizes) -> Self {
        let each = sizes.vectors() / W;
        let queries = Vectors { numbers: part(some(asked.q), sequence, attending * each), stride: each };
        let kv = part(some(asked.kv), sequence, sizes.tokens * 2 * each);
        Self { queries, keys: Vectors { numbers: kv, stride: 2 * each }, values: Vectors { numbers: &kv[each..], stride: 2 * each } }
    }
}

/// Vectors, some at a time.
#[inline(always)]
fn some<T, const W: usize>(of: &[Lanes<T>]) -> &[[Lanes<T>; W]] {
    of.as_chunks().0
}

#[inline(always)]
fn some_mut<T, const W: usize>(of: &mut [Lanes<T>]) -> &mut [[Lanes<T>; W]] {
    of.as_chunks_mut().0
}

impl<'a, T: Real> Attending<'a, T> {
    /// All tokens of a sequence attend from the `first` on.
    pub fn new(sizes: Sizes, first: usize, clamped: &'a Clamped<T>) -> Self {
        Self { sizes, first, scale: T::of((sizes.head_width as f64).sqrt().recip()), clamped }
    }

    /// How many tokens of a sequence attend.
    pub fn count(&self) -> usize {
        self.sizes.tokens - self.first
    }

    /// Where the vectors of a group's heads lie among a token's, some at a time.
    #[inline(always)]
    fn places<const W: usize>(&self, group: usize) -> Range<usize> {
        let each = self.sizes.head_width / W;
        group * each..(group + 1) * each
    }

    /// Where what token `t` makes of the tokens that it sees is found among that of all tokens that attend.
    #[inline(always)]
    fn seen(&self, t: usize, group: usize) -> Range<usize> {
        let first = ((t - self.first) * self.sizes.groups + group) * self.sizes.tokens;
        first..first + self.sizes.seen(t)
    }

    /// The attending tokens that see token `s`.
    #[inline(always)]
    fn seeing(&self, s: usize) -> Range<usize> {
        let first = if self.sizes.causal { s } else { 0 };
        self.first.max(first)..self.sizes.tokens
    }

    /// The products of an attending token's vectors with those of each token that it sees.
    #[inline(always)]
    fn dots<const W: usize>(&self, group: usize, t: usize, of: Vectors<T, W>, with: Vectors<T, W>, products: &mut [Lanes<T>]) {
        for (part, place) in self.places::<W>(group).enumerate() {
            let own = *of.at(t - self.first, place);
            for (s, product) in products.iter_mut().enumerate() {
                let so_far = if part == 0 { [T::zero(); LANES] } else { *product };
                *product = dot::<T, W>(so_far, &own, with.at(s, place));
            }
        }
    }

    /// Puts patterns that are given in the place of those that were found.
    #[inline(always)]
    fn give(&self, sequence: usize, t: usize, group: usize, pattern: &mut [Lanes<T>]) {
        let Sizes { tokens, groups, .. } = self.sizes;
        let Some(&free) = self.clamped.free.get(t * groups + group) else { return };
        let given = &self.clamped.patterns[((sequence * tokens + t) * groups + group) * tokens..];
        pattern.iter_mut().zip(given).for_each(|(own, &given)| *own = plus(times(*own, free), given));
    }

    /// How many vectors of a head are gone through together.
    fn together(&self) -> usize {
        match self.sizes.head_width {
            width if width % 8 == 0 => 8,
            width if width % 2 == 0 => 2,
            _ => 1,
        }
    }

    /// softmax(q kᵀ/√dₕ) v → `z` [B, attending, vectors], `pattern` [B, attending, groups, T].
    pub fn forward(&self, asked: Asked<T>, z: &mut [Lanes<T>], pattern: &mut [Lanes<T>]) {
        match self.together() {
            8 => self.forward_by::<8>(asked, z, pattern),
            2 => self.forward_by::<2>(asked, z, pattern),
            _ => self.forward_by::<1>(asked, z, pattern),
        }
    }

    fn forward_by<const W: usize>(&self, asked: Asked<T>, z: &mut [Lanes<T>], pattern: &mut [Lanes<T>]) {
        let Sizes { sequences, tokens, groups, .. } = self.sizes;
        let each = self.sizes.vectors() / W;
        for sequence in 0..sequences {
            let z = part_mut(some_mut::<T, W>(z), sequence, self.count() * each);
            let pattern = part_mut(pattern, sequence, self.count() * groups * tokens);
            let own = Sequence::<T, W>::of(asked, sequence, self.count(), self.sizes);
            // One thing after another for all tokens, so that a core finds much to do that does not wait for anything.
            for t in self.first..tokens {
                for group in 0..groups {
                    self.dots(group, t, own.queries, own.keys, &mut pattern[self.seen(t, group)]);
                }
            }
            for t in self.first..tokens {
                for group in 0..groups {
                    let pattern = &mut pattern[self.seen(t, group)];
                    pattern.iter_mut().for_each(|score| *score = times(*score, [self.scale; LANES]));
                    softmax(pattern);
                    self.give(sequence, t, group, pattern);
                }
            }
            for t in self.first..tokens {
                for group in 0..groups {
                    let (pattern, heard) = (&pattern[self.seen(t, group)], self.clamped.heard[group]);
                    for place in self.places::<W>(group) {
                        let terms = pattern.iter().enumerate().map(|(s, &weight)| (times(weight, heard), own.values.at(s, place)));
                        weigh(&mut z[(t - self.first) * each + place], terms);
                    }
                }
            }
        }
    }

    /// Writes the gradients of one sequence's queries, and of its keys and values, with room in `scores`.
    pub fn backward(
        &self,
        sequence: usize,
        asked: Asked<T>,
        (pattern, grad_z): (&[Lanes<T>], &[Lanes<T>]),
        grads: [&mut [Lanes<T>]; 2],
        scores: &mut Vec<Lanes<T>>,
    ) {
        match self.together() {
            8 => self.backward_by::<8>(sequence, asked, (pattern, grad_z), grads, scores),
            2 => self.backward_by::<2>(sequence, asked, (pattern, grad_z), grads, scores),
            _ => self.backward_by::<1>(sequence, asked, (pattern, grad_z), grads, scores),
        }
    }

    fn backward_by<const W: usize>(
        &self,
        sequence: usize,
        asked: Asked<T>,
        (pattern, grad_z): (&[Lanes<T>], &[Lanes<T>]),
        [grad_q, grad_kv]: [&mut [Lanes<T>]; 2],
        scores: &mut Vec<Lanes<T>>,
    ) {
        let Sizes { tokens, groups, .. } = self.sizes;
        let each = self.sizes.vectors() / W;
        let own = Sequence::<T, W>::of(asked, sequence, self.count(), self.sizes);
        let pattern = part(pattern, sequence, self.count() * groups * tokens);
        let grad_z = Vectors { numbers: part(some::<T, W>(grad_z), sequence, self.count() * each), stride: each };
        scores.resize(pattern.len(), [T::zero(); LANES]);
        self.slope_scores(own, pattern, grad_z, scores);
        self.slope_queries(own, scores, some_mut(grad_q));
        self.slope_keys_and_values(own, (pattern, scores), grad_z, some_mut(grad_kv));
    }

    /// The gradients of scores.
    #[inline(always)]
    fn slope_scores<const W: usize>(&self, own: Sequence<T, W>, pattern: &[Lanes<T>], grad_z: Vectors<T, W>, scores: &mut [Lanes<T>]) {
        let groups = self.sizes.groups;
        for t in self.first..self.sizes.tokens {
            for group in 0..groups {
                let (pattern, scores) = (&pattern[self.seen(t, group)], &mut scores[self.seen(t, group)]);
                self.dots(group, t, grad_z, own.values, scores);
                let mut mean = [T::zero(); LANES];
                for (&weight, slope) in pattern.iter().zip(scores.iter_mut()) {
                    *slope = times(*slope, self.clamped.heard[group]);
                    mean = plus(mean, times(weight, *slope));
                }
                // A pattern that is given does not depend on scores.
                let scale =
                    self.clamped.free.get(t * groups + group).map_or([self.scale; LANES], |&free| all(free, |free| free * self.scale));
                for (&weight, score) in pattern.iter().zip(scores) {
                    *score = times(times(weight, minus(*score, mean)), scale);
                }
            }
        }
    }

    /// The gradients of queries, from those of scores.
    #[inline(always)]
    fn slope_queries<const W: usize>(&self, own: Sequence<T, W>, scores: &[Lanes<T>], grad_q: &mut [[Lanes<T>; W]]) {
        for t in self.first..self.sizes.tokens {
            for group in 0..self.sizes.groups {
                let scores = &scores[self.seen(t, group)];
                for place in self.places::<W>(group) {
                    let terms = scores.iter().enumerate().map(|(s, &score)| (score, own.keys.at(s, place)));
                    weigh(&mut grad_q[(t - self.first) * own.queries.stride + place], terms);
                }
            }
        }
    }

    /// The gradients of keys and values, side by side, from those of scores and of what comes out.
    #[inline(always)]
    fn slope_keys_and_values<const W: usize>(
        &self,
        own: Sequence<T, W>,
        (pattern, scores): (&[Lanes<T>], &[Lanes<T>]),
        grad_z: Vectors<T, W>,
        grad_kv: &mut [[Lanes<T>; W]],
    ) {
        for s in 0..self.sizes.tokens {
            for group in 0..self.sizes.groups {
                let (heard, place_of) = (self.clamped.heard[group], |t: usize| self.seen(t, group).start + s);
                for place in self.places::<W>(group) {
                    let values = self.seeing(s).map(|t| (times(pattern[place_of(t)], heard), grad_z.at(t - self.first, place)));
                    weigh(&mut grad_kv[(2 * s + 1) * own.queries.stride + place], values);
                    let keys = self.seeing(s).map(|t| (scores[place_of(t)], own.queries.at(t - self.first, place)));
                    weigh(&mut grad_kv[2 * s * own.queries.stride + place], keys);
                }
            }
        }
    }
}
