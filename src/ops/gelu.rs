//! GELU in its tanh form (Hendrycks & Gimpel 2016, section 2), as the published code has it.

use super::{Real, for_real, like, look, slice};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use std::marker::PhantomData;

const CUBIC: f64 = 0.044715;
const SLOPE: f64 = 0.797_884_560_802_865_4; // √(2/π)

/// ½x(1 + tanh(√(2/π)(x + 0.044715x³))), element by element.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    if !x.device().is_cpu() {
        #[cfg(feature = "cuda")]
        if super::cuda::takes(x) {
            return super::cuda::gelu(x);
        }
        return gelu_composed(x);
    }
    for_real!(x, T => x.apply_op1(Gelu::<T>(PhantomData)))
}

/// The same of plain operations, whose gradient, unlike that of candle's own GELU, is exact.
pub fn gelu_composed(x: &Tensor) -> Result<Tensor> {
    let inner = ((x + (x.sqr()?.mul(x)? * CUBIC)?)? * SLOPE)?;
    (x * 0.5)?.mul(&(inner.tanh()? + 1.0)?)
}

struct Gelu<T>(PhantomData<T>);

/// tanh(√(2/π)(x + 0.044715x³)) by one exponential; exact to rounding at both ends.
#[inline(always)]
fn bend<T: Real>(x: T) -> T {
    let inner = T::of(SLOPE) * (x + T::of(CUBIC) * x * x * x);
    T::one() - T::of(2.0) / ((inner + inner).exponential() + T::one())
}

/// GELU of one number, and its slope there.
#[inline(always)]
pub(crate) fn gelu_and_slope<T: Real>(x: T) -> (T, T) {
    let half = T::of(0.5);
    let t = bend(x);
    let inner = T::of(SLOPE) * (T::one() + T::of(3.0 * CUBIC) * x * x);
    (half * x * (T::one() + t), half * (T::one() + t + x * (T::one() - t * t) * inner))
}

impl<T: Real> CustomOp1 for Gelu<T> {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, x_at: &Layout) -> Result<(CpuStorage, Shape)> {
        let y: Vec<T> = slice::<T>(x, x_at)?.iter().map(|&x| gelu_and_slope(x).0).collect();
        Ok((T::to_cpu_storage_owned(y), x_at.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let numbers = look(x, |x: &[T]| {
            look(&grad.contiguous()?, |grad: &[T]| Ok(x.iter().zip(grad).map(|(&x, &grad)| grad * gelu_and_slope(x).1).collect::<Vec<T>>()))
        })?;
        Ok(Some(like(x, numbers)?))
    }
}
