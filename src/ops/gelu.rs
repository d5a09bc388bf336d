//! GELU in its tanh form (Hendrycks & Gimpel 2016, section 2), as the published code has it.

use super::{Real, for_real, in_widest_vectors, like, look, slice};
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

/// GELU of rows plus a bias, with what the rows are replaced by: its slope there.
///
/// Not inlined: as arguments the compiler knows that the slices do not overlap.
#[inline(never)]
pub(crate) fn bend<T: Real>(rows: &mut [T], bias: &[T], y: &mut [T]) {
    in_widest_vectors(|| bend_rows(rows, bias, y));
}

#[inline(always)]
fn bend_rows<T: Real>(rows: &mut [T], bias: &[T], y: &mut [T]) {
    for (row, y) in rows.chunks_exact_mut(bias.len()).zip(y.chunks_exact_mut(bias.len())) {
        row.iter_mut().zip(y).zip(bias).for_each(|((x, y), &bias)| (*y, *x) = gelu_and_slope(*x + bias));
    }
}

/// GELU of one number, and its slope there.
///
/// With u = √(2/π)(x + 0.044715x³) and the logistic function σ, ½(1 + tanh u) = σ(2u), of which one exponential gives both ends to rounding.
#[inline(always)]
fn gelu_and_slope<T: Real>(x: T) -> (T, T) {
    let square = x * x;
    let power = (x * square.mul_add(T::of(2.0 * SLOPE * CUBIC), T::of(2.0 * SLOPE))).exponential();
    let rest = (power + T::one()).recip();
    let share = if power > T::one() { T::one() - rest } else { power * rest };
    let y = x * share;
    (y, (y * rest).mul_add(square.mul_add(T::of(6.0 * SLOPE * CUBIC), T::of(2.0 * SLOPE)), share))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Both widths of vectors, bit by bit, also at the ends; and the slope is that of the numbers.
    #[test]
    fn sixteen_at_a_time_are_the_same_numbers() {
        let rows: Vec<f32> = (0..2 * 37).map(|i| (i as f32 - 36.5) * 0.31).chain([-90.0, 90.0, 0.0]).collect();
        let bias = [0.125; 77];
        let bent = |bend: fn(&mut [f32], &[f32], &mut [f32])| {
            let (mut slopes, mut y) = (rows.clone(), vec![0.0; rows.len()]);
            bend(&mut slopes, &bias, &mut y);
            (slopes, y)
        };
        let (slopes, y) = bent(bend_rows);
        let bits = |(a, b): &(Vec<f32>, Vec<f32>)| a.iter().chain(b).map(|number| number.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&bent(bend)), bits(&(slopes.clone(), y.clone())));
        assert_eq!((y[74], slopes[74], y[75], slopes[75]), (0.0, 0.0, 90.125, 1.0));
        for (row, slope) in rows.iter().zip(slopes).filter(|(row, _)| row.abs() < 10.0) {
            let x = f64::from(row + 0.125);
            let difference = (gelu_and_slope(x + 1e-6).0 - gelu_and_slope(x - 1e-6).0) / 2e-6;
            assert!((f64::from(slope) - difference).abs() < 1e-6, "at {x}: {slope}, not {difference}");
        }
    }
}
