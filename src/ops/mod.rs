//! Fused operations of the transformer, each with its own backward pass on the CPU.
//!
//! Every operation has a composed twin of plain candle operations, which runs on other devices; tests hold both to the
//! same numbers and gradients. Attention has its steps, too, for whoever stands inside. A fused operation works on one
//! thread: models are small and many, so threads are spent on models.

mod adam;
mod attention;
mod attention_steps;
#[cfg(test)]
mod check;
mod cross_entropy;
#[cfg(any(feature = "cuda", test))]
pub(crate) mod cuda;
mod eights;
mod gelu;
mod heads;
pub(crate) mod kept;
pub(crate) mod layer_norm;
pub(crate) mod lend;
mod linear;
pub(crate) mod matrix;
mod tokens;
mod widest;

pub use adam::{Adam, adam, correction, descend};
pub use attention::{attention, attention_and_pattern, attention_composed};
pub use attention_steps::{pattern, rotated, scores, split, weighted};
pub use cross_entropy::{cross_entropy, cross_entropy_composed};
pub(crate) use gelu::bend;
pub use gelu::{gelu, gelu_composed};
pub use heads::Heads;
pub(crate) use heads::angles;
pub use layer_norm::{layer_norm, layer_norm_composed};
pub use linear::{Plus, linear, linear_composed};
pub use matrix::keep_products_plain;
pub use tokens::{interleave, pick, tokens};
pub(crate) use widest::in_widest_vectors;

use candle_core::{CpuStorage, Layout, Result, Storage, Tensor, WithDType, bail};
use std::ops::{Add, Mul, Sub};
use wide::{f32x8, f64x8};

/// f32, in which models train, and f64, in which gradients are checked.
pub trait Real: WithDType + num_traits::Float + std::iter::Sum + Default {
    /// Eight numbers in registers.
    type Eight: Copy + From<[Self; 8]> + Into<[Self; 8]> + Add<Output = Self::Eight> + Sub<Output = Self::Eight> + Mul<Output = Self::Eight>;

    /// The nearest number of this type.
    fn of(value: f64) -> Self {
        <Self as WithDType>::from_f64(value)
    }

    /// a·b + c, eight at once, each rounded once.
    fn fused(a: Self::Eight, b: Self::Eight, c: Self::Eight) -> Self::Eight;

    /// eˣ to within two units in the last place, of plain operations, so that a loop over it runs in vector registers.
    fn exponential(self) -> Self;

    /// Eight rows of eight numbers, rows taken for columns.
    fn turned(square: [[Self; 8]; 8]) -> [[Self; 8]; 8] {
        std::array::from_fn(|row| std::array::from_fn(|column| square[column][row]))
    }
}

impl Real for f32 {
    type Eight = f32x8;

    #[inline(always)]
    fn fused(a: f32x8, b: f32x8, c: f32x8) -> f32x8 {
        a.mul_add(b, c)
    }

    /// 2ᵏ eʳ with k = round(x / ln 2), and a polynomial for eʳ (Cody & Waite 1980; the coefficients are Cephes').
    #[inline(always)]
    fn exponential(self) -> f32 {
        // Adding this leaves the nearest integer in the lowest bits.
        const ROUND: f32 = 12_582_912.0;
        let x = self.clamp(-87.3, 88.3);
        let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
        let k = shifted - ROUND;
        let r = k.mul_add(2.121_944_4e-4, k.mul_add(-0.693_359_4, x));
        let mut sum = 1.987_569_1e-4f32;
        for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
            sum = sum.mul_add(r, coefficient);
        }
        let power = f32::from_bits((shifted.to_bits().wrapping_add(127)) << 23);
        let value = (sum.mul_add(r * r, r) + 1.0) * power;
        if self < -87.3 { 0.0 } else { value }
    }

    /// In eight registers.
    #[inline(always)]
    fn turned(square: [[f32; 8]; 8]) -> [[f32; 8]; 8] {
        f32x8::transpose(square.map(f32x8::new)).map(f32x8::to_array)
    }
}

impl Real for f64 {
    type Eight = f64x8;

    #[inline(always)]
    fn fused(a: f64x8, b: f64x8, c: f64x8) -> f64x8 {
        a.mul_add(b, c)
    }

    #[inline(always)]
    fn exponential(self) -> f64 {
        self.exp()
    }
}

/// Evaluates an expression with `$T` standing for the tensor's type of number.
macro_rules! for_real {
    ($tensor:expr, $T:ident => $body:expr) => {
        match $tensor.dtype() {
            candle_core::DType::F32 => {
                type $T = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $T = f64;
                $body
            }
            other => candle_core::bail!("a transformer of {other:?} is not supported, only of F32 and F64"),
        }
    };
}
pub(crate) use for_real;

/// The numbers of a contiguous CPU tensor.
fn slice<'a, T: WithDType>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&T::cpu_storage_as_slice(storage)?[start..end]),
        None => bail!("a fused operation was given a tensor that is not contiguous"),
    }
}

/// Looks at the numbers of a contiguous CPU tensor.
pub(crate) fn look<T: WithDType, R>(tensor: &Tensor, look: impl FnOnce(&[T]) -> Result<R>) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => look(slice(storage, layout)?),
        _ => bail!("a fused operation was given a tensor of another device"),
    }
}

/// Looks at the numbers of three.
fn look_at_three<T: WithDType>(tensors: [&Tensor; 3], work: impl FnOnce([&[T]; 3]) -> Result<()>) -> Result<()> {
    let [a, b, c] = tensors;
    look(a, |a| look(b, |b| look(c, |c| work([a, b, c]))))
}

/// A tensor like another, of new numbers.
fn like<T: WithDType>(tensor: &Tensor, numbers: Vec<T>) -> Result<Tensor> {
    Tensor::from_vec(numbers, tensor.shape(), tensor.device())
}

/// Zeros, to be overwritten.
fn zeros<T: Real>(count: usize) -> Vec<T> {
    vec![T::zero(); count]
}

/// Σ aᵢbᵢ with sixteen fixed partial sums, which the compiler keeps in vector registers; the order of addition never changes.
#[inline(always)]
pub(crate) fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    let mut partial = [T::zero(); 16];
    let ((a, rest_a), (b, rest_b)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    for (a, b) in a.iter().zip(b) {
        for lane in 0..16 {
            partial[lane] = a[lane].mul_add(b[lane], partial[lane]);
        }
    }
    // Heads of eight dimensions are common.
    let ((a, last_a), (b, last_b)) = (rest_a.as_chunks::<8>(), rest_b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            partial[lane] = a[lane].mul_add(b[lane], partial[lane]);
        }
    }
    folded(partial) + last_a.iter().zip(last_b).map(|(&a, &b)| a * b).sum()
}

/// Numbers whose squares are added up as they are, before the sum goes on in f64.
const LINE: usize = 256;

/// Σx², in a fixed order.
pub(crate) fn squares<T: Real>(x: &[T]) -> f64 {
    x.chunks(LINE).map(|line| WithDType::to_f64(square(line))).sum()
}

/// Σx² of a line, in four partial sums of eight lanes, so that none waits for another.
#[inline(always)]
fn square<T: Real>(line: &[T]) -> T {
    let mut partial = [T::Eight::from([T::zero(); 8]); 4];
    let (whole, tail) = line.as_chunks::<32>();
    for x in whole {
        for (partial, &x) in partial.iter_mut().zip(x.as_chunks::<8>().0) {
            *partial = T::fused(x.into(), x.into(), *partial);
        }
    }
    let [a, b, c, d] = partial;
    total::<T>((a + b) + (c + d)) + tail.iter().map(|&x| x * x).sum::<T>()
}

/// Σ aᵢ, as `dot` adds up.
#[inline(always)]
fn sum<T: Real>(a: &[T]) -> T {
    let mut partial = [T::Eight::from([T::zero(); 8]); 2];
    let (whole, last) = a.as_chunks::<16>();
    for a in whole {
        for (partial, &a) in partial.iter_mut().zip(a.as_chunks().0) {
            *partial = *partial + T::Eight::from(a);
        }
    }
    total::<T>(partial[0] + partial[1]) + last.iter().copied().sum()
}

/// The largest of some numbers; not a number if one is not.
#[inline(always)]
fn largest<T: Real>(a: &[T]) -> T {
    let higher = |a: T, b: T| if b > a || b.is_nan() { b } else { a };
    let mut partial = [T::neg_infinity(); 8];
    let lanes = a.chunks_exact(8);
    let tail = lanes.remainder().iter().copied().fold(T::neg_infinity(), higher);
    for a in lanes {
        for lane in 0..8 {
            partial[lane] = higher(partial[lane], a[lane]);
        }
    }
    partial.into_iter().fold(tail, higher)
}

/// Σ e^(aᵢ − by), as `dot` adds up.
#[inline(always)]
fn sum_of_exponentials<T: Real>(a: &[T], by: T) -> T {
    let mut partial = [T::zero(); 16];
    let (whole, last) = a.as_chunks::<16>();
    for a in whole {
        (0..16).for_each(|lane| partial[lane] += (a[lane] - by).exponential());
    }
    folded(partial) + last.iter().map(|&a| (a - by).exponential()).sum()
}

/// eᵃ / Σ eᵃ, in place.
#[inline(always)]
fn softmax<T: Real>(a: &mut [T]) {
    let most = largest(a);
    let mut total = T::zero();
    for a in a.iter_mut() {
        *a = (*a - most).exponential();
        total += *a;
    }
    a.iter_mut().for_each(|a| *a /= total);
}

#[inline(always)]
fn folded<T: Real>(p: [T; 16]) -> T {
    let p: [T; 8] = std::array::from_fn(|lane| p[lane] + p[lane + 8]);
    total::<T>(p.into())
}

/// Σ of eight lanes.
#[inline(always)]
fn total<T: Real>(lanes: T::Eight) -> T {
    let p: [T; 8] = lanes.into();
    ((p[0] + p[4]) + (p[2] + p[6])) + ((p[1] + p[5]) + (p[3] + p[7]))
}

/// y += a·x.
#[inline(always)]
fn accumulate<T: Real>(y: &mut [T], a: T, x: &[T]) {
    let ((y, last_y), (x, last_x)) = (y.as_chunks_mut::<8>(), x.as_chunks::<8>());
    for (y, x) in y.iter_mut().zip(x) {
        for lane in 0..8 {
            y[lane] = a.mul_add(x[lane], y[lane]);
        }
    }
    for (y, &x) in last_y.iter_mut().zip(last_x) {
        *y = a.mul_add(x, *y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_exact_to_two_units() {
        let mut x = -87.0f32;
        while x < 88.0 {
            let (own, exact) = (f64::from(x.exponential()), f64::from(x).exp());
            assert!((own - exact).abs() < 2.4e-7 * exact, "{x}: {own}, not {exact}");
            x += 0.001_37;
        }
        assert_eq!((f32::NEG_INFINITY.exponential(), (-1e20f32).exponential(), 0f32.exponential()), (0.0, 0.0, 1.0));
        assert!(f32::NAN.exponential().is_nan() && f32::INFINITY.exponential() > 1e38);
    }

    #[test]
    fn the_largest_number_is_found_anywhere() {
        for place in 0..19 {
            let mut numbers: Vec<f32> = (0..19).map(|number| -(number as f32)).collect();
            numbers[place] = 7.0;
            assert_eq!(largest(&numbers), 7.0);
            numbers[(place + 3) % 19] = f32::NAN;
            assert!(largest(&numbers).is_nan(), "at {place}");
        }
    }
}
