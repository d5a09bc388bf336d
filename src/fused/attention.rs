//! The core of attention for eight heads at once, one a lane, so that all its sums are sums of vectors.

use super::clamps::Clamped;
use super::lanes::{self, LANES, Lanes, accumulate, add, all, dot, minus, plus, softmax, times};
use super::sizes::{Rows, Sizes};
use crate::ops::Real;

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

/// Room for one sequence.
#[derive(Default)]
pub(super) struct Room<T> {
    query: Vec<Lanes<T>>,
    keys: Vec<Lanes<T>>,
    grad_query: Vec<Lanes<T>>,
    grad_keys: Vec<Lanes<T>>,
    grad_values: Vec<Lanes<T>>,
    slopes: Vec<Lanes<T>>,
}

fn fill<T: Real>(room: &mut Vec<Lanes<T>>, count: usize) {
    room.clear();
    room.resize(count, [T::zero(); LANES]);
}

impl<T: Real> Attending<'_, T> {
    /// How many tokens of a sequence attend.
    pub fn count(&self) -> usize {
        self.sizes.tokens - self.first
    }

    fn scale(&self) -> T {
        T::of((self.sizes.head_width as f64).powf(-0.5))
    }

    #[inline(always)]
    fn query_row(&self, sequence: usize, t: usize) -> usize {
        self.query_rows.map_or(sequence, |rows| rows.of(sequence * self.sizes.tokens + t))
    }

    /// Copies the vectors of a token, turned to its position, or back with `direction` −1.
    #[inline(always)]
    fn turn(&self, t: usize, vectors: &mut [Lanes<T>], direction: T) {
        let pairs = self.sizes.head_width / 2;
        let Some(turns) = self.turns.get(t * pairs..(t + 1) * pairs) else { return };
        for head in vectors.chunks_exact_mut(self.sizes.head_width) {
            lanes::turn(head, turns, direction);
        }
    }

    /// The keys of a sequence, turned.
    #[inline(always)]
    fn gather_keys(&self, sequence: usize, kv: &[Lanes<T>], keys: &mut [Lanes<T>]) {
        let vectors = self.sizes.vectors();
        for (t, key) in keys.chunks_exact_mut(vectors).enumerate() {
            let row = self.rows.of(sequence * self.sizes.tokens + t);
            key.copy_from_slice(&kv[2 * row * vectors..][..vectors]);
            self.turn(t, key, T::one());
        }
    }

    #[inline(always)]
    fn value<'k>(&self, sequence: usize, s: usize, kv: &'k [Lanes<T>]) -> &'k [Lanes<T>] {
        let vectors = self.sizes.vectors();
        &kv[(2 * self.rows.of(sequence * self.sizes.tokens + s) + 1) * vectors..][..vectors]
    }

    /// Puts patterns that are given in the place of those that were found.
    #[inline(always)]
    fn give(&self, sequence: usize, t: usize, group: usize, pattern: &mut [Lanes<T>]) {
        let Sizes { tokens, groups, .. } = self.sizes;
        let Some(&free) = self.clamped.free.get(t * groups + group) else { return };
        let given = &self.clamped.patterns[((sequence * tokens + t) * groups + group) * tokens..];
        pattern.iter_mut().zip(given).for_each(|(own, &given)| *own = plus(times(*own, free), given));
    }

    /// softmax(q kᵀ/√dh) v.
    ///
    /// `q` [rows, vectors], `kv` [rows, 2, vectors] → `z` [B, attending, vectors], `pattern` [B, attending, groups, T].
    pub fn forward(&self, q: &[Lanes<T>], kv: &[Lanes<T>], z: &mut [Lanes<T>], pattern: &mut [Lanes<T>], room: &mut Room<T>) {
        let Sizes { tokens, head_width, groups, .. } = self.sizes;
        let (vectors, scale) = (self.sizes.vectors(), self.scale());
        fill(&mut room.query, vectors);
        fill(&mut room.keys, tokens * vectors);
        let outputs = z.chunks_exact_mut(vectors).zip(pattern.chunks_exact_mut(groups * tokens));
        for (token, (z, pattern)) in outputs.enumerate() {
            let (sequence, t) = (token / self.count(), self.first + token % self.count());
            if t == self.first {
                self.gather_keys(sequence, kv, &mut room.keys);
            }
            room.query.copy_from_slice(&q[self.query_row(sequence, t) * vectors..][..vectors]);
            self.turn(t, &mut room.query, T::one());
            for (group, pattern) in pattern.chunks_exact_mut(tokens).enumerate() {
                let own = group * head_width..(group + 1) * head_width;
                let pattern = &mut pattern[..self.sizes.seen(t)];
                for (key, score) in room.keys.chunks_exact(vectors).zip(pattern.iter_mut()) {
                    *score = all(dot(&room.query[own.clone()], &key[own.clone()]), |score| score * scale);
                }
                softmax(pattern);
                self.give(sequence, t, group, pattern);
                let z = &mut z[own.clone()];
                z.fill([T::zero(); LANES]);
                for (s, &weight) in pattern.iter().enumerate() {
                    accumulate(z, times(weight, self.clamped.heard[group]), &self.value(sequence, s, kv)[own.clone()]);
                }
            }
        }
    }

    /// Adds the gradients of queries, keys and values to `grad_q` and `grad_kv`.
    #[allow(clippy::too_many_arguments)]
    pub fn backward(
        &self,
        q: &[Lanes<T>],
        kv: &[Lanes<T>],
        pattern: &[Lanes<T>],
        grad_z: &[Lanes<T>],
        grad_q: &mut [Lanes<T>],
        grad_kv: &mut [Lanes<T>],
        room: &mut Room<T>,
    ) {
        let Sizes { tokens, groups, .. } = self.sizes;
        let vectors = self.sizes.vectors();
        fill(&mut room.query, vectors);
        fill(&mut room.keys, tokens * vectors);
        fill(&mut room.slopes, tokens);
        let of_sequences = grad_z.chunks_exact(self.count() * vectors).zip(pattern.chunks_exact(self.count() * groups * tokens));
        for (sequence, (grad_z, pattern)) in of_sequences.enumerate() {
            self.gather_keys(sequence, kv, &mut room.keys);
            fill(&mut room.grad_keys, tokens * vectors);
            fill(&mut room.grad_values, tokens * vectors);
            let of_tokens = grad_z.chunks_exact(vectors).zip(pattern.chunks_exact(groups * tokens));
            for (t, (grad_z, pattern)) in (self.first..).zip(of_tokens) {
                let row = self.query_row(sequence, t) * vectors;
                room.query.copy_from_slice(&q[row..row + vectors]);
                self.turn(t, &mut room.query, T::one());
                fill(&mut room.grad_query, vectors);
                self.backward_token(sequence, t, grad_z, pattern, kv, room);
                self.turn(t, &mut room.grad_query, -T::one());
                add(&mut grad_q[row..row + vectors], &room.grad_query);
            }
            for t in 0..tokens {
                let own = t * vectors..(t + 1) * vectors;
                self.turn(t, &mut room.grad_keys[own.clone()], -T::one());
                let row = 2 * self.rows.of(sequence * tokens + t) * vectors;
                add(&mut grad_kv[row..row + vectors], &room.grad_keys[own.clone()]);
                add(&mut grad_kv[row + vectors..row + 2 * vectors], &room.grad_values[own]);
            }
        }
    }

    /// One attending token: the gradients of its query, and its part in those of keys and values.
    #[inline(always)]
    fn backward_token(&self, sequence: usize, t: usize, grad_z: &[Lanes<T>], pattern: &[Lanes<T>], kv: &[Lanes<T>], room: &mut Room<T>) {
        let Sizes { tokens, head_width, groups, .. } = self.sizes;
        let (vectors, scale) = (self.sizes.vectors(), self.scale());
        let Room { query, keys, grad_query, grad_keys, grad_values, slopes } = room;
        for (group, pattern) in pattern.chunks_exact(tokens).enumerate() {
            let own = group * head_width..(group + 1) * head_width;
            let (heard, grad_z, pattern) = (self.clamped.heard[group], &grad_z[own.clone()], &pattern[..self.sizes.seen(t)]);
            let mut mean = [T::zero(); LANES];
            for (s, ((&weight, slope), grad)) in
                pattern.iter().zip(slopes.iter_mut()).zip(grad_values.chunks_exact_mut(vectors)).enumerate()
            {
                *slope = times(dot(grad_z, &self.value(sequence, s, kv)[own.clone()]), heard);
                mean = plus(mean, times(weight, *slope));
                accumulate(&mut grad[own.clone()], times(weight, heard), grad_z);
            }
            // A pattern that is given does not depend on scores.
            let scale = self.clamped.free.get(t * groups + group).map_or([scale; LANES], |&free| all(free, |free| free * scale));
            let (query, grad_query) = (&query[own.clone()], &mut grad_query[own.clone()]);
            let of_keys = keys.chunks_exact(vectors).zip(grad_keys.chunks_exact_mut(vectors));
            for ((&weight, &slope), (key, grad_key)) in pattern.iter().zip(slopes.iter()).zip(of_keys) {
                let score = times(times(weight, minus(slope, mean)), scale);
                accumulate(grad_query, score, &key[own.clone()]);
                accumulate(&mut grad_key[own.clone()], score, query);
            }
        }
    }
}
