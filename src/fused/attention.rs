//! The core of attention for eight heads at once, one a lane, so that all its sums are sums of vectors.

use super::sizes::{LANES, Lanes, Rows, Sizes};
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
    /// 1 for heads that are heard, 0 for those without values; an eight after another.
    pub heard: &'a [Lanes<T>],
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

#[inline(always)]
fn add_product<T: Real>(sum: &mut Lanes<T>, a: &Lanes<T>, b: &Lanes<T>) {
    for lane in 0..LANES {
        sum[lane] += a[lane] * b[lane];
    }
}

#[inline(always)]
fn dot<'a, T: Real>(a: &[Lanes<T>], b: impl IntoIterator<Item = &'a Lanes<T>>) -> Lanes<T> {
    let mut sum = [T::zero(); LANES];
    for (a, b) in a.iter().zip(b) {
        add_product(&mut sum, a, b);
    }
    sum
}

/// softmax of scores, lane by lane.
#[inline(always)]
fn softmax<T: Real>(scores: &mut [Lanes<T>]) {
    let mut largest = [T::neg_infinity(); LANES];
    for score in scores.iter() {
        for lane in 0..LANES {
            largest[lane] = if score[lane] > largest[lane] { score[lane] } else { largest[lane] };
        }
    }
    let mut total = [T::zero(); LANES];
    for score in scores.iter_mut() {
        for lane in 0..LANES {
            score[lane] = (score[lane] - largest[lane]).exponential();
            total[lane] += score[lane];
        }
    }
    for score in scores.iter_mut() {
        for lane in 0..LANES {
            score[lane] /= total[lane];
        }
    }
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

    fn query_row(&self, sequence: usize, t: usize) -> usize {
        self.query_rows.map_or(sequence, |rows| rows.of(sequence * self.sizes.tokens + t))
    }

    /// Copies the vectors of a token, turned to its position, or back with `direction` −1.
    #[inline(always)]
    fn turn(&self, t: usize, vectors: &mut [Lanes<T>], direction: T) {
        let pairs = self.sizes.head_width / 2;
        let Some(turns) = self.turns.get(t * pairs..(t + 1) * pairs) else { return };
        for head in vectors.chunks_exact_mut(self.sizes.head_width) {
            for (pair, &(cosine, sine)) in head.chunks_exact_mut(2).zip(turns) {
                let sine = direction * sine;
                for lane in 0..LANES {
                    let (a, b) = (pair[0][lane], pair[1][lane]);
                    pair[0][lane] = a * cosine - b * sine;
                    pair[1][lane] = a * sine + b * cosine;
                }
            }
        }
    }

    /// The keys of a sequence, turned.
    fn gather_keys(&self, sequence: usize, kv: &[Lanes<T>], keys: &mut [Lanes<T>]) {
        let vectors = self.sizes.vectors();
        for (t, key) in keys.chunks_exact_mut(vectors).enumerate() {
            let row = self.rows.of(sequence * self.sizes.tokens + t);
            key.copy_from_slice(&kv[2 * row * vectors..][..vectors]);
            self.turn(t, key, T::one());
        }
    }

    fn value<'k>(&self, sequence: usize, s: usize, kv: &'k [Lanes<T>]) -> &'k [Lanes<T>] {
        let vectors = self.sizes.vectors();
        &kv[(2 * self.rows.of(sequence * self.sizes.tokens + s) + 1) * vectors..][..vectors]
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
                    *score = dot(&room.query[own.clone()], &key[own.clone()]).map(|score| score * scale);
                }
                softmax(pattern);
                let z = &mut z[own.clone()];
                z.fill([T::zero(); LANES]);
                for (s, weight) in pattern.iter().enumerate() {
                    let weight = std::array::from_fn(|lane| weight[lane] * self.heard[group][lane]);
                    for (z, value) in z.iter_mut().zip(&self.value(sequence, s, kv)[own.clone()]) {
                        add_product(z, &weight, value);
                    }
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
                self.backward_token(sequence, t, (grad_z, pattern, kv), room);
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
    fn backward_token(
        &self,
        sequence: usize,
        t: usize,
        (grad_z, pattern, kv): (&[Lanes<T>], &[Lanes<T>], &[Lanes<T>]),
        room: &mut Room<T>,
    ) {
        let Sizes { tokens, head_width, .. } = self.sizes;
        let (vectors, scale) = (self.sizes.vectors(), self.scale());
        for (group, pattern) in pattern.chunks_exact(tokens).enumerate() {
            let own = group * head_width..(group + 1) * head_width;
            let (heard, grad_z, pattern) = (&self.heard[group], &grad_z[own.clone()], &pattern[..self.sizes.seen(t)]);
            let mut mean = [T::zero(); LANES];
            for (s, weight) in pattern.iter().enumerate() {
                let slope = dot(grad_z, &self.value(sequence, s, kv)[own.clone()]);
                let slope = std::array::from_fn(|lane| slope[lane] * heard[lane]);
                add_product(&mut mean, weight, &slope);
                room.slopes[s] = slope;
                let weight = std::array::from_fn(|lane| weight[lane] * heard[lane]);
                let at = s * vectors;
                for (grad, z) in room.grad_values[at + own.start..at + own.end].iter_mut().zip(grad_z) {
                    add_product(grad, &weight, z);
                }
            }
            for (s, weight) in pattern.iter().enumerate() {
                let score: Lanes<T> = std::array::from_fn(|lane| weight[lane] * (room.slopes[s][lane] - mean[lane]) * scale);
                let at = s * vectors;
                let keys = room.keys[at + own.start..at + own.end].iter().zip(&mut room.grad_keys[at + own.start..at + own.end]);
                let queries = room.query[own.clone()].iter().zip(&mut room.grad_query[own.clone()]);
                for ((key, grad_key), (query, grad_query)) in keys.zip(queries) {
                    add_product(grad_query, &score, key);
                    add_product(grad_key, &score, query);
                }
            }
        }
    }
}

fn add<T: Real>(to: &mut [Lanes<T>], from: &[Lanes<T>]) {
    for (to, from) in to.iter_mut().zip(from) {
        for lane in 0..LANES {
            to[lane] += from[lane];
        }
    }
}
