//! The core of attention for eight heads at once, one a lane, so that all its sums are sums of vectors.

use super::clamps::Clamped;
use super::lanes::{self, LANES, Lanes, add, all, dot, minus, part, part_mut, plus, softmax, times, weigh};
use super::sequence::{Gathered, Room, Sequence, Slopes, Vectors, some_mut};
use super::sizes::{Rows, Sizes};
use crate::ops::Real;
use std::ops::Range;

/// Where queries, keys and values are found, and who attends.
#[derive(Clone, Copy)]
pub(super) struct Attending<'a, T> {
    pub sizes: Sizes,
    /// The first token of a sequence that attends: 0, or the query where nobody else is asked.
    pub first: usize,
    /// Keys and values.
    pub rows: Rows<'a>,
    /// Queries; `None`: one a sequence.
    pub query_rows: Option<Rows<'a>>,
    /// Cosine and sine of the rotary positions, token by token, pair by pair; empty where there are none.
    pub turns: &'a [(T, T)],
    pub clamped: &'a Clamped<T>,
}

/// Queries `[rows, vectors]`, and keys and values `[rows, 2, vectors]`.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a, T> {
    pub q: &'a [Lanes<T>],
    pub kv: &'a [Lanes<T>],
}

impl<T: Real> Attending<'_, T> {
    /// How many tokens of a sequence attend.
    pub fn count(&self) -> usize {
        self.sizes.tokens - self.first
    }

    /// Whether tokens share rows, so that a row's gradient is a sum.
    pub fn shares(&self) -> bool {
        matches!(self.rows, Rows::Shared(_))
    }

    /// Whether the gradient of a query or a key can be written where it belongs at once.
    fn is_plain(&self) -> bool {
        self.turns.is_empty() && !self.shares()
    }

    fn scale(&self) -> T {
        T::of((self.sizes.head_width as f64).sqrt().recip())
    }

    #[inline(always)]
    fn query_row(&self, sequence: usize, t: usize) -> usize {
        self.query_rows.map_or(sequence, |rows| rows.of(sequence * self.sizes.tokens + t))
    }

    /// Where the vectors of a group's heads lie among a token's, some at a time.
    #[inline(always)]
    fn places<const W: usize>(&self, group: usize) -> impl Iterator<Item = usize> {
        (0..self.sizes.head_width / W).map(move |part| group * self.sizes.head_width + part * W)
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

    /// The vectors of a token turned to its position, or back with `direction` −1.
    #[inline(always)]
    fn turn(&self, t: usize, from: &[Lanes<T>], to: &mut [Lanes<T>], direction: T) {
        let Sizes { head_width, groups, .. } = self.sizes;
        let turns = part(self.turns, t, head_width / 2);
        for group in 0..groups {
            lanes::turn(part(from, group, head_width), part_mut(to, group, head_width), turns, direction);
        }
    }

    /// A sequence's vectors: queries and keys turned, in `room`; those that lie beside each other as they are, where they are.
    #[inline(always)]
    fn sequence<'k>(&self, sequence: usize, Asked { q, kv }: Asked<'k, T>, room: &'k mut Gathered<'_, T>) -> Sequence<'k, T> {
        let (tokens, vectors) = (self.sizes.tokens, self.sizes.vectors());
        let plain = self.is_plain();
        if !plain {
            for t in 0..tokens {
                let row = self.rows.of(sequence * tokens + t);
                let (key, to) = (part(kv, 2 * row, vectors), part_mut(room.keys, t, vectors));
                if self.turns.is_empty() { to.copy_from_slice(key) } else { self.turn(t, key, to, T::one()) }
            }
            for t in self.first..tokens {
                let (query, to) = (part(q, self.query_row(sequence, t), vectors), part_mut(room.queries, t - self.first, vectors));
                if self.turns.is_empty() { to.copy_from_slice(query) } else { self.turn(t, query, to, T::one()) }
            }
        }
        if self.shares() {
            for t in 0..tokens {
                let row = self.rows.of(sequence * tokens + t);
                part_mut(room.values, t, vectors).copy_from_slice(part(kv, 2 * row + 1, vectors));
            }
        }
        let own = part(kv, sequence, if self.shares() { 0 } else { tokens * 2 * vectors });
        Sequence {
            queries: Vectors { numbers: if plain { part(q, sequence, self.count() * vectors) } else { room.queries }, stride: vectors },
            keys: if plain { Vectors { numbers: own, stride: 2 * vectors } } else { Vectors { numbers: room.keys, stride: vectors } },
            values: if self.shares() {
                Vectors { numbers: room.values, stride: vectors }
            } else {
                Vectors { numbers: &own[vectors..], stride: 2 * vectors }
            },
        }
    }

    /// The products of an attending token's vectors with those of each token that it sees.
    #[inline(always)]
    fn dots<const W: usize>(&self, group: usize, t: usize, of: Vectors<T>, with: Vectors<T>, products: &mut [Lanes<T>]) {
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

    /// How many vectors of a head are gone through together, so that the compiler keeps their sums in registers.
    fn together(&self) -> usize {
        match self.sizes.head_width {
            width if width % 8 == 0 => 8,
            width if width % 2 == 0 => 2,
            _ => 1,
        }
    }

    /// softmax(q kᵀ/√dh) v → `z` [B, attending, vectors], `pattern` [B, attending, groups, T].
    pub fn forward(&self, asked: Asked<T>, z: &mut [Lanes<T>], pattern: &mut [Lanes<T>], room: &mut Room<T>) {
        match self.together() {
            8 => self.forward_by::<8>(asked, z, pattern, room),
            2 => self.forward_by::<2>(asked, z, pattern, room),
            _ => self.forward_by::<1>(asked, z, pattern, room),
        }
    }

    fn forward_by<const W: usize>(&self, asked: Asked<T>, z: &mut [Lanes<T>], pattern: &mut [Lanes<T>], room: &mut Room<T>) {
        let Sizes { sequences, tokens, groups, .. } = self.sizes;
        let (vectors, scale) = (self.sizes.vectors(), [self.scale(); LANES]);
        let (mut places, _) = room.split(self.sizes, self.count());
        for sequence in 0..sequences {
            let (z, pattern) = (part_mut(z, sequence, self.count() * vectors), part_mut(pattern, sequence, self.count() * groups * tokens));
            let own = self.sequence(sequence, asked, &mut places);
            // One thing after another for all tokens, so that a core finds much to do that does not wait for anything.
            for t in self.first..tokens {
                for group in 0..groups {
                    self.dots::<W>(group, t, own.queries, own.keys, &mut pattern[self.seen(t, group)]);
                }
            }
            for t in self.first..tokens {
                for group in 0..groups {
                    let pattern = &mut pattern[self.seen(t, group)];
                    pattern.iter_mut().for_each(|score| *score = times(*score, scale));
                    softmax(pattern);
                    self.give(sequence, t, group, pattern);
                }
            }
            for t in self.first..tokens {
                for group in 0..groups {
                    let (pattern, heard) = (&pattern[self.seen(t, group)], self.clamped.heard[group]);
                    for place in self.places::<W>(group) {
                        let terms = pattern.iter().enumerate().map(|(s, &weight)| (times(weight, heard), own.values.at(s, place)));
                        weigh::<T, W>(some_mut(z, (t - self.first) * vectors + place), terms);
                    }
                }
            }
        }
    }

    /// Writes the gradients of queries, and of keys and values, or adds them to what is there, where rows are shared.
    pub fn backward(&self, asked: Asked<T>, pattern: &[Lanes<T>], grad_z: &[Lanes<T>], grads: [&mut [Lanes<T>]; 2], room: &mut Room<T>) {
        match self.together() {
            8 => self.backward_by::<8>(asked, pattern, grad_z, grads, room),
            2 => self.backward_by::<2>(asked, pattern, grad_z, grads, room),
            _ => self.backward_by::<1>(asked, pattern, grad_z, grads, room),
        }
    }

    fn backward_by<const W: usize>(
        &self,
        asked: Asked<T>,
        pattern: &[Lanes<T>],
        grad_z: &[Lanes<T>],
        [grad_q, grad_kv]: [&mut [Lanes<T>]; 2],
        room: &mut Room<T>,
    ) {
        let Sizes { sequences, tokens, groups, .. } = self.sizes;
        let vectors = self.sizes.vectors();
        let (mut places, mut slopes) = room.split(self.sizes, self.count());
        for sequence in 0..sequences {
            let own = self.sequence(sequence, asked, &mut places);
            let pattern = part(pattern, sequence, self.count() * groups * tokens);
            let grad_z = Vectors { numbers: part(grad_z, sequence, self.count() * vectors), stride: vectors };
            for t in self.first..tokens {
                self.slope_scores::<W>(t, own, pattern, grad_z, slopes.scores);
            }
            for t in self.first..tokens {
                let grad_query = part_mut(grad_q, self.query_row(sequence, t), vectors);
                self.backward_query::<W>(t, own, grad_query, &mut slopes);
            }
            for s in 0..tokens {
                let row = self.rows.of(sequence * tokens + s);
                self.backward_key::<W>(s, own, pattern, grad_z, part_mut(grad_kv, row, 2 * vectors), &mut slopes);
            }
        }
    }

    /// The gradients of an attending token's scores.
    #[inline(always)]
    fn slope_scores<const W: usize>(&self, t: usize, own: Sequence<T>, pattern: &[Lanes<T>], grad_z: Vectors<T>, scores: &mut [Lanes<T>]) {
        let (Sizes { groups, .. }, scale) = (self.sizes, self.scale());
        for group in 0..groups {
            let (pattern, scores) = (&pattern[self.seen(t, group)], &mut scores[self.seen(t, group)]);
            self.dots::<W>(group, t, grad_z, own.values, scores);
            let mut mean = [T::zero(); LANES];
            for (&weight, slope) in pattern.iter().zip(scores.iter_mut()) {
                *slope = times(*slope, self.clamped.heard[group]);
                mean = plus(mean, times(weight, *slope));
            }
            // A pattern that is given does not depend on scores.
            let scale = self.clamped.free.get(t * groups + group).map_or([scale; LANES], |&free| all(free, |free| free * scale));
            for (&weight, score) in pattern.iter().zip(scores) {
                *score = times(times(weight, minus(*score, mean)), scale);
            }
        }
    }

    /// The gradient of an attending token's query, from those of its scores.
    #[inline(always)]
    fn backward_query<const W: usize>(&self, t: usize, own: Sequence<T>, grad_query: &mut [Lanes<T>], room: &mut Slopes<T>) {
        let to = if self.is_plain() { &mut *grad_query } else { &mut *room.sum };
        for group in 0..self.sizes.groups {
            let scores = &room.scores[self.seen(t, group)];
            for place in self.places::<W>(group) {
                weigh::<T, W>(some_mut(to, place), scores.iter().enumerate().map(|(s, &score)| (score, own.keys.at(s, place))));
            }
        }
        if !self.is_plain() {
            self.give_back(t, room.sum, grad_query, room.turned);
        }
    }

    /// The gradients of a token's key and its value, side by side, from those of the scores.
    #[inline(always)]
    fn backward_key<const W: usize>(
        &self,
        s: usize,
        own: Sequence<T>,
        pattern: &[Lanes<T>],
        grad_z: Vectors<T>,
        grad_kv: &mut [Lanes<T>],
        room: &mut Slopes<T>,
    ) {
        let (grad_key, grad_value) = grad_kv.split_at_mut(self.sizes.vectors());
        let place_of = |t: usize, group: usize| self.seen(t, group).start + s;

        let to = if self.shares() { &mut *room.sum } else { &mut *grad_value };
        for group in 0..self.sizes.groups {
            let weight = |t: usize| times(pattern[place_of(t, group)], self.clamped.heard[group]);
            for place in self.places::<W>(group) {
                weigh::<T, W>(some_mut(to, place), self.seeing(s).map(|t| (weight(t), grad_z.at(t - self.first, place))));
            }
        }
        if self.shares() {
            add(grad_value, room.sum);
        }

        let to = if self.is_plain() { &mut *grad_key } else { &mut *room.sum };
        for group in 0..self.sizes.groups {
            let score = |t: usize| room.scores[place_of(t, group)];
            for place in self.places::<W>(group) {
                weigh::<T, W>(some_mut(to, place), self.seeing(s).map(|t| (score(t), own.queries.at(t - self.first, place))));
            }
        }
        if !self.is_plain() {
            self.give_back(s, room.sum, grad_key, room.turned);
        }
    }

    /// The gradient of a query or key from that of the same turned.
    #[inline(always)]
    fn give_back(&self, t: usize, sum: &[Lanes<T>], grad: &mut [Lanes<T>], turned: &mut [Lanes<T>]) {
        match (self.turns.is_empty(), self.shares()) {
            (true, _) => add(grad, sum),
            (false, false) => self.turn(t, sum, grad, -T::one()),
            (false, true) => {
                self.turn(t, sum, turned, -T::one());
                add(grad, turned);
            }
        }
    }
}
