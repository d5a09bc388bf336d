//! A LayerNorm, or nothing where there is none, with what it leaves for the backward pass.

use super::places::NormPlaces;
use crate::ops::Real;
use crate::ops::layer_norm::{normalise, slope};

/// The normalised rows, and the mean and scale of each.
#[derive(Default)]
pub(super) struct Normalised<T> {
    rows: Vec<T>,
    moments: Vec<(T, T)>,
}

impl<T: Real> Normalised<T> {
    /// Normalises the rows of a stream.
    pub fn forward(&mut self, places: Option<NormPlaces>, weights: &[&[T]], stream: &[T]) {
        self.rows.resize(stream.len(), T::zero());
        match places {
            Some((gain, bias)) => normalise(stream, weights[gain], weights[bias], &mut self.rows, &mut self.moments),
            None => self.rows.copy_from_slice(stream),
        }
    }

    /// The rows.
    pub fn rows(&self) -> &[T] {
        &self.rows
    }

    /// Adds the gradient of the stream to `grad_stream`, given that of the rows; writes those of gain and bias.
    pub fn backward(
        &self,
        places: Option<NormPlaces>,
        weights: &[&[T]],
        stream: &[T],
        grad_rows: &[T],
        grad_stream: &mut [T],
        grads: &mut [&mut [T]],
    ) -> candle_core::Result<()> {
        let Some((gain, bias)) = places else {
            grad_stream.iter_mut().zip(grad_rows).for_each(|(to, &from)| *to += from);
            return Ok(());
        };
        let Ok([grad_gain, grad_bias]) = grads.get_disjoint_mut([gain, bias]) else {
            candle_core::bail!("gain and bias of a LayerNorm are one parameter")
        };
        grad_gain.fill(T::zero());
        grad_bias.fill(T::zero());
        slope(stream, self.moments.iter().copied(), weights[gain], grad_rows, grad_stream, (grad_gain, grad_bias));
        Ok(())
    }
}
