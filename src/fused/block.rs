//! One block, forward and backward, on the rows of its stream.

use super::attention::{Asked, Attending};
use super::clamps::Clamped;
use super::lanes::{LANES, Lanes, part_mut};
use super::norm::Normalised;
use super::pattern::Pattern;
use super::places::{BlockPlaces, MlpPlaces};
use super::sizes::{Rows, Sizes};
use super::standing::Standing;
use super::weights::{InLanes, Weights};
use crate::ops::Real;
use crate::ops::bend;
use crate::ops::matrix::{Matrix, product, spaced_product};
use candle_core::Result;

/// What a block leaves for its backward pass.
#[derive(Default)]
pub(super) struct Block<T> {
    normalised: Normalised<T>,
    weights: InLanes<T>,
    /// Queries, keys and values of tokens.
    q: Vec<T>,
    kv: Vec<T>,
    pattern: Vec<Lanes<T>>,
    z: Vec<T>,
    /// The stream between attention and MLP, where there is an MLP.
    middle: Vec<T>,
    mlp: Mlp<T>,
}

#[derive(Default)]
struct Mlp<T> {
    normalised: Normalised<T>,
    /// What comes out of the bend, and its slope there.
    hidden: Vec<T>,
    slopes: Vec<T>,
}

/// Gradients on their way, with room that all blocks use in turn.
#[derive(Default)]
pub(super) struct Grads<T> {
    pub stream: Vec<T>,
    pub rows: Vec<T>,
    below: Vec<T>,
    z: Vec<T>,
    q: Vec<T>,
    kv: Vec<T>,
    hidden: Vec<T>,
    qkv_weight: Vec<T>,
    projection: Vec<T>,
    pub scratch: Scratch<T>,
}

/// Room that all passes use in turn.
#[derive(Default)]
pub(super) struct Scratch<T> {
    /// Queries, keys and values of rows that tokens share, or the gradients of one sequence's.
    q: Vec<T>,
    kv: Vec<T>,
    /// The gradients of one sequence's scores.
    scores: Vec<Lanes<T>>,
    weights: Weights<T>,
}

/// Where a block stands.
#[derive(Clone, Copy)]
pub(super) struct At<'a, T> {
    pub sizes: Sizes,
    pub places: &'a BlockPlaces,
    pub weights: &'a [&'a [T]],
    pub rows: Rows<'a>,
    /// Nobody but the query attends.
    pub query_alone: bool,
    pub turns: &'a [(T, T)],
    pub clamped: &'a Clamped<T>,
}

impl<'a, T: Real> At<'a, T> {
    /// Queries are made of the queries' rows alone, where those lie evenly.
    fn even_queries(&self) -> bool {
        self.query_alone && matches!(self.rows, Rows::Each)
    }

    /// The first token of a sequence that attends.
    fn first(&self) -> usize {
        if self.query_alone { self.sizes.tokens - 1 } else { 0 }
    }

    fn attending(&self) -> Attending<'a, T> {
        Attending::new(self.sizes, self.first(), self.clamped)
    }

    fn standing(&self) -> Standing<'a, T> {
        Standing { sizes: self.sizes, first: self.first(), turns: self.turns }
    }

    /// The rows of which queries are made, and how far each begins after the one before.
    fn query_span(&self, rows: usize) -> (usize, usize, usize) {
        let Sizes { sequences, tokens, width, .. } = self.sizes;
        if self.even_queries() { (sequences, (tokens - 1) * width, tokens * width) } else { (rows, 0, width) }
    }

    /// Queries, and keys and values, of rows, from the weights by columns.
    fn ask(&self, qkv: &[T], normalised: &[T], [q, kv]: [&mut Vec<T>; 2]) {
        let (width, padded) = (self.sizes.width, self.sizes.padded());
        let rows = normalised.len() / width;
        let (queries, offset, stride) = self.query_span(rows);
        q.resize(queries * padded, T::zero());
        kv.resize(rows * 2 * padded, T::zero());
        let query_rows = Matrix::spaced(&normalised[offset..], queries, width, stride);
        product(query_rows, Matrix::spaced(qkv, width, padded, 3 * padded), q, false);
        let all_rows = Matrix::rows(normalised, rows, width);
        product(all_rows, Matrix::spaced(&qkv[padded..], width, 2 * padded, 3 * padded), kv, false);
    }

    /// Whether the rows after the block are those before it.
    fn keeps_rows(&self) -> bool {
        !self.query_alone && matches!(self.rows, Rows::Each)
    }

    /// The rows of the stream that attending tokens add to, in the order of the rows after the block.
    fn rows_below(&self) -> impl Iterator<Item = usize> {
        let (Sizes { sequences, tokens, .. }, first, rows) = (self.sizes, self.first(), self.rows);
        (0..sequences).flat_map(move |sequence| (first..tokens).map(move |t| rows.of(sequence * tokens + t)))
    }
}

fn lanes<T>(numbers: &[T]) -> &[Lanes<T>] {
    numbers.as_chunks::<LANES>().0
}

fn lanes_mut<T>(numbers: &mut [T]) -> &mut [Lanes<T>] {
    numbers.as_chunks_mut::<LANES>().0
}

impl<T: Real> Block<T> {
    /// `stream` [rows, D] → `out` [B·T or B, D].
    pub fn forward(&mut self, at: At<T>, stream: &[T], out: &mut Vec<T>, scratch: &mut Scratch<T>) {
        let (sizes, places) = (at.sizes, at.places);
        let (width, padded) = (sizes.width, sizes.padded());
        let attending = at.attending();
        let count = sizes.sequences * attending.count();
        self.normalised.forward(places.norm, at.weights, stream);

        let Scratch { q, kv, weights, .. } = scratch;
        let qkv = self.weights.take_qkv(sizes, at.weights[places.qkv], weights);
        match at.rows {
            Rows::Each => {
                at.ask(qkv, self.normalised.rows(), [&mut self.q, &mut self.kv]);
                at.standing().turn_all([lanes_mut(&mut self.q), lanes_mut(&mut self.kv)], T::one());
            }
            Rows::Shared(of_tokens) => {
                at.ask(qkv, self.normalised.rows(), [&mut *q, &mut *kv]);
                self.q.resize(count * padded, T::zero());
                self.kv.resize(of_tokens.len() * 2 * padded, T::zero());
                at.standing().bring(of_tokens, [lanes(q), lanes(kv)], [lanes_mut(&mut self.q), lanes_mut(&mut self.kv)]);
            }
        }

        self.z.resize(count * padded, T::zero());
        self.pattern.resize(count * sizes.groups * sizes.tokens, [T::zero(); LANES]);
        attending.forward(Asked { q: lanes(&self.q), kv: lanes(&self.kv) }, lanes_mut(&mut self.z), &mut self.pattern);

        let middle = if places.mlp.is_some() { &mut self.middle } else { &mut *out };
        middle.resize(count * width, T::zero());
        if at.keeps_rows() {
            middle.copy_from_slice(stream);
        } else {
            for (own, row) in middle.chunks_exact_mut(width).zip(at.rows_below()) {
                own.copy_from_slice(&stream[row * width..][..width]);
            }
        }
        let projection = self.weights.take_projection(sizes, at.weights[places.projection], weights);
        product(Matrix::rows(&self.z, count, padded), Matrix::rows(projection, padded, width), middle, true);
        if let Some(places) = &places.mlp {
            self.mlp.forward(places, at.weights, &self.middle, out, weights);
        }
    }

    /// The pattern of the forward pass before, in which every token attended.
    pub fn pattern(&self, sizes: Sizes) -> Pattern<'_, T> {
        Pattern { sizes, lanes: &self.pattern }
    }

    /// From the gradient of what comes out of the block, `grads.stream`, to that of what went in, in its place.
    pub fn backward(&mut self, at: At<T>, stream: &[T], grads: &mut Grads<T>, of: &mut [&mut [T]]) -> Result<()> {
        let (sizes, places) = (at.sizes, at.places);
        let (width, padded) = (sizes.width, sizes.padded());
        let rows = stream.len() / width;
        if let Some(places) = &places.mlp {
            self.mlp.backward(places, at.weights, &self.middle, grads, of)?;
        }
        let Scratch { q, kv, scores, weights } = &mut grads.scratch;
        let attending = at.attending();
        let count = sizes.sequences * attending.count();

        grads.z.resize(count * padded, T::zero());
        let grad_out = Matrix::rows(&grads.stream, count, width);
        let projection = self.weights.projection(sizes, weights);
        product(grad_out, Matrix::rows(projection, width, padded), &mut grads.z, false);
        grads.projection.resize(padded * width, T::zero());
        product(Matrix::rows(&self.z, count, padded).transposed(), grad_out, &mut grads.projection, false);
        weights.projection_from_lanes(sizes, &grads.projection, of[places.projection]);

        let (queries, offset, stride) = at.query_span(rows);
        for (room, size) in [(&mut grads.q, queries * padded), (&mut grads.kv, rows * 2 * padded)] {
            room.resize(size, T::zero());
        }
        let asked = Asked { q: lanes(&self.q), kv: lanes(&self.kv) };
        let (of_q, of_kv) = (attending.count() * sizes.vectors(), sizes.tokens * 2 * sizes.vectors());
        let (grad_q, grad_kv, grad_z) = (lanes_mut(&mut grads.q), lanes_mut(&mut grads.kv), lanes(&grads.z));
        match at.rows {
            Rows::Each => {
                for sequence in 0..sizes.sequences {
                    let own = [part_mut(grad_q, sequence, of_q), part_mut(grad_kv, sequence, of_kv)];
                    attending.backward(sequence, asked, (&self.pattern, grad_z), own, scores);
                }
                at.standing().turn_all([grad_q, grad_kv], -T::one());
            }
            Rows::Shared(of_tokens) => {
                grad_q.fill([T::zero(); LANES]);
                grad_kv.fill([T::zero(); LANES]);
                q.resize(of_q * LANES, T::zero());
                kv.resize(of_kv * LANES, T::zero());
                let (q, kv) = (lanes_mut(q), lanes_mut(kv));
                for (sequence, of_tokens) in of_tokens.chunks_exact(sizes.tokens).enumerate() {
                    attending.backward(sequence, asked, (&self.pattern, grad_z), [q, kv], scores);
                    at.standing().give_back(of_tokens, [q, kv], [grad_q, grad_kv]);
                }
            }
        }

        grads.qkv_weight.resize(3 * padded * width, T::zero());
        let (grad_q_weight, grad_kv_weight) = grads.qkv_weight.split_at_mut(padded * width);
        let (grad_q, grad_kv) = (Matrix::rows(&grads.q, queries, padded), Matrix::rows(&grads.kv, rows, 2 * padded));
        let query_rows = Matrix::spaced(&self.normalised.rows()[offset..], queries, width, stride);
        product(grad_q.transposed(), query_rows, grad_q_weight, false);
        product(grad_kv.transposed(), Matrix::rows(self.normalised.rows(), rows, width), grad_kv_weight, false);
        sizes.rows_from_lanes(3, &grads.qkv_weight, of[places.qkv]);

        let (q_weight, kv_weight) = self.weights.qkv(sizes);
        grads.rows.resize(rows * width, T::zero());
        product(grad_kv, Matrix::rows(kv_weight, 2 * padded, width), &mut grads.rows, false);
        spaced_product(grad_q, Matrix::rows(q_weight, padded, width), &mut grads.rows[offset..], stride, true);

        if !at.keeps_rows() {
            grads.below.clear();
            grads.below.resize(rows * width, T::zero());
            for (own, row) in grads.stream.chunks_exact(width).zip(at.rows_below()) {
                let to = &mut grads.below[row * width..][..width];
                to.iter_mut().zip(own).for_each(|(to, &own)| *to += own);
            }
            std::mem::swap(&mut grads.stream, &mut grads.below);
        }
        self.normalised.backward(places.norm, at.weights, stream, &grads.rows, &mut grads.stream, of)
    }
}

/// Rows that go through an MLP together: what they are in between stays in the cache. In tests so few that there are several pieces.
const PIECE: usize = if cfg!(test) { 7 } else { 256 };

impl<T: Real> Mlp<T> {
    fn forward(&mut self, places: &MlpPlaces, weights: &[&[T]], middle: &[T], out: &mut Vec<T>, room: &mut Weights<T>) {
        let (first_bias, second_bias) = (weights[places.fc1.1], weights[places.fc2.1]);
        let (hidden, width) = (first_bias.len(), second_bias.len());
        let rows = middle.len() / width;
        self.normalised.forward(places.norm, weights, middle);
        self.hidden.resize(rows * hidden, T::zero());
        self.slopes.resize(rows * hidden, T::zero());
        out.resize(rows * width, T::zero());
        let (first, second) = room.both_by_columns((weights[places.fc1.0], width), (weights[places.fc2.0], hidden));
        let (first, second) = (Matrix::rows(first, width, hidden), Matrix::rows(second, hidden, width));
        let bent = self.slopes.chunks_mut(PIECE * hidden).zip(self.hidden.chunks_mut(PIECE * hidden));
        let streams = middle.chunks(PIECE * width).zip(self.normalised.rows().chunks(PIECE * width)).zip(out.chunks_mut(PIECE * width));
        for ((slopes, bent), ((stream, normalised), out)) in bent.zip(streams) {
            let count = stream.len() / width;
            product(Matrix::rows(normalised, count, width), first, slopes, false);
            bend(slopes, first_bias, bent);
            for (out, stream) in out.chunks_exact_mut(width).zip(stream.chunks_exact(width)) {
                out.iter_mut().zip(stream).zip(second_bias).for_each(|((out, &x), &bias)| *out = x + bias);
            }
            product(Matrix::rows(bent, count, hidden), second, out, true);
        }
    }

    /// Adds to `grads.stream` what goes through the MLP.
    fn backward(&self, places: &MlpPlaces, weights: &[&[T]], middle: &[T], grads: &mut Grads<T>, of: &mut [&mut [T]]) -> Result<()> {
        let (hidden, width) = (weights[places.fc1.1].len(), weights[places.fc2.1].len());
        let rows = middle.len() / width;
        let (first, second) = (Matrix::rows(weights[places.fc1.0], hidden, width), Matrix::rows(weights[places.fc2.0], width, hidden));
        add_up_rows(&grads.stream, of[places.fc2.1]);
        of[places.fc1.1].fill(T::zero());
        grads.hidden.resize(PIECE * hidden, T::zero());
        grads.rows.resize(rows * width, T::zero());
        let bent = self.slopes.chunks(PIECE * hidden).zip(self.hidden.chunks(PIECE * hidden));
        let streams = grads.stream.chunks(PIECE * width).zip(self.normalised.rows().chunks(PIECE * width));
        let pieces = bent.zip(streams).zip(grads.rows.chunks_mut(PIECE * width)).enumerate();
        for (piece, (((slopes, bent), (grad_out, normalised)), to)) in pieces {
            let (count, add) = (to.len() / width, piece > 0);
            let grad_out = Matrix::rows(grad_out, count, width);
            product(grad_out.transposed(), Matrix::rows(bent, count, hidden), of[places.fc2.0], add);
            let grad_hidden = &mut grads.hidden[..count * hidden];
            product(grad_out, second, grad_hidden, false);
            for (grad, slopes) in grad_hidden.chunks_exact_mut(hidden).zip(slopes.chunks_exact(hidden)) {
                let sums = of[places.fc1.1].iter_mut();
                grad.iter_mut().zip(slopes).zip(sums).for_each(|((grad, &slope), sum)| {
                    *grad *= slope;
                    *sum += *grad;
                });
            }
            let grad_hidden = Matrix::rows(grad_hidden, count, hidden);
            product(grad_hidden.transposed(), Matrix::rows(normalised, count, width), of[places.fc1.0], add);
            product(grad_hidden, first, to, false);
        }
        self.normalised.backward(places.norm, weights, middle, &grads.rows, &mut grads.stream, of)
    }
}

/// Σ of rows, written to `sum`.
pub(super) fn add_up_rows<T: Real>(rows: &[T], sum: &mut [T]) {
    sum.fill(T::zero());
    for row in rows.chunks_exact(sum.len()) {
        sum.iter_mut().zip(row).for_each(|(sum, &x)| *sum += x);
    }
}
