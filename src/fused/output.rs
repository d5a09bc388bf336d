//! From the last stream to the loss at the query, and back.

use super::norm::Normalised;
use super::scene::View;
use crate::ops::Real;
use crate::ops::in_widest_vectors;
use crate::ops::matrix::{Matrix, product};

/// What the output leaves for the backward pass.
#[derive(Default)]
pub(super) struct Output<T> {
    normalised: Normalised<T>,
    /// Logits `[C, B]`, sequences side by side; then their gradient.
    logits: Vec<T>,
}

/// e to the logits `[C, B]` less each sequence's largest, and their sums over the classes.
#[inline(always)]
fn exponentials<T: Real>(logits: &mut [T], largest: &[T], totals: &mut [T]) {
    for row in logits.chunks_exact_mut(largest.len()) {
        for ((logit, &largest), total) in row.iter_mut().zip(largest).zip(&mut *totals) {
            *logit = (*logit - largest).exponential();
            *total += *logit;
        }
    }
}

impl<T: Real> Output<T> {
    /// The mean cross-entropy, in nats, of a stream `[B, D]`; the gradient of the logits is known at once.
    pub fn forward(&mut self, view: &View<T>, stream: &[T]) -> T {
        let View { sizes, places, weights, drawn, .. } = view;
        let width = sizes.width;
        self.normalised.forward(places.norm, weights, stream);
        let (weight, bias) = (weights[places.unembedding.0], weights[places.unembedding.1]);
        let (classes, sequences) = (bias.len(), stream.len() / width);
        self.logits.resize(classes * sequences, T::zero());
        let rows = Matrix::rows(self.normalised.rows(), sequences, width);
        product(Matrix::rows(weight, classes, width), rows.transposed(), &mut self.logits, false);
        let mut largest = vec![T::neg_infinity(); sequences];
        for (row, &bias) in self.logits.chunks_exact_mut(sequences).zip(bias) {
            for (logit, largest) in row.iter_mut().zip(&mut largest) {
                *logit += bias;
                // Not a number counts as the largest: the loss becomes it.
                *largest = if *largest >= *logit { *largest } else { *logit };
            }
        }
        let targets: Vec<usize> = drawn.targets(sizes.pairs).collect();
        let of_targets: Vec<T> = targets.iter().enumerate().map(|(sequence, &target)| self.logits[target * sequences + sequence]).collect();
        let mut totals = vec![T::zero(); sequences];
        in_widest_vectors(|| exponentials(&mut self.logits, &largest, &mut totals));
        let count = T::of(sequences as f64);
        let losses = largest.iter().zip(&totals).zip(&of_targets).map(|((&largest, &total), &target)| largest + total.ln() - target);
        let loss = losses.sum::<T>() / count;
        let shares: Vec<T> = totals.iter().map(|&total| (total * count).recip()).collect();
        for row in self.logits.chunks_exact_mut(sequences) {
            row.iter_mut().zip(&shares).for_each(|(grad, &share)| *grad *= share);
        }
        for (sequence, target) in targets.into_iter().enumerate() {
            self.logits[target * sequences + sequence] -= count.recip();
        }
        loss
    }

    /// The logits `[B, C]` of a stream `[B, D]`.
    pub fn logits(&mut self, view: &View<T>, stream: &[T]) -> Vec<T> {
        let View { sizes, places, weights, .. } = view;
        self.normalised.forward(places.norm, weights, stream);
        let (weight, bias) = (weights[places.unembedding.0], weights[places.unembedding.1]);
        let mut logits = bias.repeat(sizes.sequences);
        let rows = Matrix::rows(self.normalised.rows(), sizes.sequences, sizes.width);
        product(rows, Matrix::rows(weight, bias.len(), sizes.width).transposed(), &mut logits, true);
        logits
    }

    /// The gradients of the unembedding and the last norm; that of the stream is written to `grad_stream`, with room in `rows`.
    pub fn backward(
        &self,
        view: &View<T>,
        stream: &[T],
        (grad_stream, rows): (&mut Vec<T>, &mut Vec<T>),
        grads: &mut [&mut [T]],
    ) -> candle_core::Result<()> {
        let View { sizes, places, weights, .. } = view;
        let width = sizes.width;
        let (weight, sequences) = (weights[places.unembedding.0], stream.len() / width);
        let classes = weight.len() / width;
        let grad_logits = Matrix::rows(&self.logits, classes, sequences);
        for (grad, row) in grads[places.unembedding.1].iter_mut().zip(self.logits.chunks_exact(sequences)) {
            *grad = row.iter().copied().sum();
        }
        product(grad_logits, Matrix::rows(self.normalised.rows(), sequences, width), grads[places.unembedding.0], false);
        rows.resize(sequences * width, T::zero());
        product(grad_logits.transposed(), Matrix::rows(weight, classes, width), rows, false);
        grad_stream.clear();
        grad_stream.resize(sequences * width, T::zero());
        self.normalised.backward(places.norm, weights, stream, rows, grad_stream, grads)
    }
}
