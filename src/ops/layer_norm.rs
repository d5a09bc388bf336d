//! LayerNorm (Ba et al. 2016) with gain and bias, ε = 1e-5.

use super::{Real, dot, for_real, like, look, slice, sum, zeros};
use candle_core::{CpuStorage, CustomOp3, D, Layout, Result, Shape, Tensor};
use std::marker::PhantomData;

const EPSILON: f64 = 1e-5;

/// (x − mean) / √(variance + ε) · gain + bias over the last dimension, for each member of the cohort.
///
/// # Shapes
/// `x` [K, …, D], `gain` and `bias` [K, D] → [K, …, D].
pub fn layer_norm(x: &Tensor, gain: &Tensor, bias: &Tensor) -> Result<Tensor> {
    if !x.device().is_cpu() {
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
    let mut partial = [T::zero(); 8];
    let lanes = row.chunks_exact(8);
    let tail: T = lanes.remainder().iter().map(|&x| (x - mean) * (x - mean)).sum();
    for x in lanes {
        for lane in 0..8 {
            partial[lane] += (x[lane] - mean) * (x[lane] - mean);
        }
    }
    let variance = (super::folded(partial) + tail) / count;
    (mean, (variance + T::of(EPSILON)).sqrt().recip())
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
            let (gain, bias) = (&gain[member * width..][..width], &bias[member * width..][..width]);
            let rows = x[member * each..][..each].chunks_exact(width);
            for (row, out) in rows.zip(y[member * each..][..each].chunks_exact_mut(width)) {
                let (mean, scale) = moments(row);
                for i in 0..width {
                    out[i] = (row[i] - mean) * scale * gain[i] + bias[i];
                }
            }
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
        let count = T::of(width as f64);
        let mut grad_x: Vec<T> = zeros(x.elem_count());
        let mut grad_gain: Vec<T> = zeros(members * width);
        let mut grad_bias: Vec<T> = zeros(members * width);
        let each = x.elem_count() / members;
        // With x̂ the normalised row and g = gradient·gain: ∂x = scale·(g − mean(g) − x̂·mean(g x̂)).
        let (mut normalised, mut scaled) = (zeros::<T>(width), zeros::<T>(width));
        look(x, |x: &[T]| {
            look(gain, |gain: &[T]| {
                look(&grad.contiguous()?, |grad: &[T]| {
                    for member in 0..members {
                        let lanes = member * width..(member + 1) * width;
                        let (gain, grad_gain, grad_bias) = (&gain[lanes.clone()], &mut grad_gain[lanes.clone()], &mut grad_bias[lanes]);
                        for start in (member * each..(member + 1) * each).step_by(width) {
                            let (row, grad) = (&x[start..start + width], &grad[start..start + width]);
                            let (mean, scale) = moments(row);
                            for i in 0..width {
                                normalised[i] = (row[i] - mean) * scale;
                                scaled[i] = grad[i] * gain[i];
                                grad_gain[i] += grad[i] * normalised[i];
                                grad_bias[i] += grad[i];
                            }
                            let (a, b) = (sum(&scaled) / count, dot(&scaled, &normalised) / count);
                            for (i, out) in grad_x[start..start + width].iter_mut().enumerate() {
                                *out = scale * (scaled[i] - a - normalised[i] * b);
                            }
                        }
                    }
                    Ok(())
                })
            })
        })?;
        let grad_x = if x.track_op() { Some(like(x, grad_x)?) } else { None };
        Ok((grad_x, Some(like(gain, grad_gain)?), Some(like(bias, grad_bias)?)))
    }
}
