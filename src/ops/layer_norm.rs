//! LayerNorm (Ba et al. 2016) with gain and bias, ε = 1e-5.

use super::eights::by_eights;
use super::{Real, for_real, like, look, slice, sum, zeros};
use candle_core::{CpuStorage, CustomOp3, D, Layout, Result, Shape, Tensor};
use std::marker::PhantomData;

const EPSILON: f64 = 1e-5;

/// (x − mean) / √(variance + ε) · gain + bias over the last dimension, for each member of the cohort.
///
/// # Shapes
/// `x` [K, …, D], `gain` and `bias` [K, D] → [K, …, D].
pub fn layer_norm(x: &Tensor, gain: &Tensor, bias: &Tensor) -> Result<Tensor> {
    if !x.device().is_cpu() {
        #[cfg(feature = "cuda")]
        if super::cuda::takes(x) {
            return super::cuda::layer_norm(x, gain, bias);
        }
        return layer_norm_composed(x, gain, bias);
    }
    for_real!(x, T => x.apply_op3(gain, bias, LayerNorm::<T>(PhantomData)))
}

/// The same of plain operations.
pub fn layer_norm_composed(x: &Tensor, gain: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (members, width) = gain.dims2()?;
    let rows = x.reshape((members, (), width))?;
    let centred = rows.broadcast_sub(&rows.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let normalised = centred.broadcast_div(&(variance + EPSILON)?.sqrt()?)?;
    normalised.broadcast_mul(&gain.unsqueeze(1)?)?.broadcast_add(&bias.unsqueeze(1)?)?.reshape(x.shape())
}

struct LayerNorm<T>(PhantomData<T>);

/// Mean and 1/√(variance + ε) of a row.
#[inline(always)]
fn moments<T: Real>(row: &[T]) -> (T, T) {
    let count = T::of(row.len() as f64);
    let mean = sum(row) / count;
    let (whole, last) = row.as_chunks::<16>();
    let (eight, mut partial) = (T::Eight::from([mean; 8]), [T::Eight::from([T::zero(); 8]); 2]);
    for x in whole {
        for (partial, &x) in partial.iter_mut().zip(x.as_chunks().0) {
            let away = T::Eight::from(x) - eight;
            *partial = T::fused(away, away, *partial);
        }
    }
    let last = last.iter().map(|&x| (x - mean) * (x - mean)).sum();
    let variance = (super::total::<T>(partial[0] + partial[1]) + last) / count;
    (mean, (variance + T::of(EPSILON)).sqrt().recip())
}

/// y = (x − mean)·scale·gain + bias, row by row; mean and scale are kept for the backward pass.
///
/// Those of all rows are found first: each takes long, but none waits for another.
pub(crate) fn normalise<T: Real>(x: &[T], gain: &[T], bias: &[T], y: &mut [T], kept: &mut Vec<(T, T)>) {
    let width = gain.len();
    kept.clear();
    kept.extend(all_moments(x, width));
    for ((row, out), &(mean, scale)) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(&*kept) {
        let (mean, scale) = (T::Eight::from([mean; 8]), T::Eight::from([scale; 8]));
        by_eights(width, |at| {
            at.store(out, T::fused((at.load(row) - mean) * scale, at.load(gain), at.load(bias)));
        });
    }
}

/// Mean and 1/√(variance + ε) of each row.
pub(crate) fn all_moments<T: Real>(x: &[T], width: usize) -> impl Iterator<Item = (T, T)> {
    x.chunks_exact(width).map(moments)
}

/// Adds the gradients of what `normalise` reads to those that are there.
///
/// With x̂ the normalised row and g = gradient·gain: ∂x = scale·(g − mean(g) − x̂·mean(g x̂)).
pub(crate) fn slope<T: Real>(
    x: &[T],
    moments: impl Iterator<Item = (T, T)>,
    gain: &[T],
    grad: &[T],
    grad_x: &mut [T],
    (grad_gain, grad_bias): (&mut [T], &mut [T]),
) {
    let width = gain.len();
    let (count, zero) = (T::of(width as f64), T::Eight::from([T::zero(); 8]));
    let rows = x.chunks_exact(width).zip(grad.chunks_exact(width)).zip(grad_x.chunks_exact_mut(width));
    for (((row, grad), out), (mean, scale)) in rows.zip(moments) {
        let (mean, scale) = (T::Eight::from([mean; 8]), T::Eight::from([scale; 8]));
        let (mut sum, mut product) = (zero, zero);
        by_eights(width, |at| {
            let (normalised, grad) = ((at.load(row) - mean) * scale, at.load(grad));
            let scaled = grad * at.load(gain);
            sum = sum + scaled;
            product = T::fused(scaled, normalised, product);
            at.store(grad_gain, T::fused(grad, normalised, at.load(grad_gain)));
            at.store(grad_bias, at.load(grad_bias) + grad);
        });
        let [sum, product] = [sum, product].map(|eight| T::Eight::from([super::total::<T>(eight) / count; 8]));
        by_eights(width, |at| {
            let (normalised, scaled) = ((at.load(row) - mean) * scale, at.load(grad) * at.load(gain));
            at.store(out, T::fused(scale, scaled - sum - normalised * product, at.load(out)));
        });
    }
}

impl<T: Real> CustomOp3 for LayerNorm<T> {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_at: &Layout,
        gain: &CpuStorage,
        gain_at: &Layout,
        bias: &CpuStorage,
        bias_at: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, gain, bias) = (slice::<T>(x, x_at)?, slice::<T>(gain, gain_at)?, slice::<T>(bias, bias_at)?);
        let (members, width) = gain_at.shape().dims2()?;
        let mut y = zeros(x.len());
        let each = x.len() / members;
        for member in 0..members {
            let (rows, lanes) = (member * each..(member + 1) * each, member * width..(member + 1) * width);
            normalise(&x[rows.clone()], &gain[lanes.clone()], &bias[lanes], &mut y[rows], &mut Vec::new());
        }
        Ok((T::to_cpu_storage_owned(y), x_at.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gain: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (members, width) = gain.dims2()?;
        let mut grad_x: Vec<T> = zeros(x.elem_count());
        let mut grad_gain: Vec<T> = zeros(members * width);
        let mut grad_bias: Vec<T> = zeros(members * width);
        let each = x.elem_count() / members;
        look(x, |x: &[T]| {
            look(gain, |gain: &[T]| {
                look(&grad.contiguous()?, |grad: &[T]| {
                    for member in 0..members {
                        let (rows, lanes) = (member * each..(member + 1) * each, member * width..(member + 1) * width);
                        let x = &x[rows.clone()];
                        let slopes = (&mut grad_gain[lanes.clone()], &mut grad_bias[lanes.clone()]);
                        slope(x, all_moments(x, width), &gain[lanes], &grad[rows.clone()], &mut grad_x[rows], slopes);
                    }
                    Ok(())
                })
            })
        })?;
        let grad_x = if x.track_op() { Some(like(x, grad_x)?) } else { None };
        Ok((grad_x, Some(like(gain, grad_gain)?), Some(like(bias, grad_bias)?)))
    }
}
