//! Descent in place: parameters and moments are overwritten, nothing is allocated.

use super::lend::overwrite;
use super::{Real, for_real, look};
use candle_core::{Result, Tensor, Var};

const BETA: (f64, f64) = (0.9, 0.999);
const EPSILON: f64 = 1e-8;

/// One step of Adam (Kingma & Ba 2015, algorithm 1), the same for all members but for what is listed here per member.
#[derive(Clone, Copy, Debug)]
pub struct Adam<'a> {
    /// Learning rates [K].
    pub rates: &'a [f64],
    /// Factors of the gradient [K], below one where it is clipped.
    pub scales: &'a [f64],
    /// Steps done, this one included.
    pub step: u64,
}

impl Adam<'_> {
    /// 1 − β₁ᵗ and 1 − β₂ᵗ.
    pub(crate) fn correction(&self) -> (f64, f64) {
        (1.0 - BETA.0.powf(self.step as f64), 1.0 - BETA.1.powf(self.step as f64))
    }
}

/// m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g², θ ← θ − rate·m̂/(√v̂ + ε).
///
/// # Shapes
/// All [K, …].
pub fn adam(parameter: &Var, first: &Var, second: &Var, grad: &Tensor, with: Adam) -> Result<()> {
    let correction = with.correction();
    if !grad.device().is_cpu() {
        let column = |numbers: Vec<f64>| {
            let mut shape = vec![1; grad.rank()];
            shape[0] = numbers.len();
            Tensor::from_vec(numbers, shape, grad.device())?.to_dtype(grad.dtype())
        };
        let grad = grad.broadcast_mul(&column(with.scales.to_vec())?)?;
        first.set(&((first.as_tensor() * BETA.0)? + (&grad * (1.0 - BETA.0))?)?)?;
        second.set(&((second.as_tensor() * BETA.1)? + (grad.sqr()? * (1.0 - BETA.1))?)?)?;
        let root = ((second.as_tensor() / correction.1)?.sqrt()? + EPSILON)?;
        let step = first.div(&root)?.broadcast_mul(&column(with.rates.iter().map(|rate| rate / correction.0).collect())?)?;
        return parameter.set(&parameter.sub(&step)?);
    }
    for_real!(grad, T => look(&grad.contiguous()?, |grad: &[T]| {
        overwrite(&[parameter, first, second], &mut |lent| {
            let [parameter, first, second] = lent else { candle_core::bail!("Adam overwrites three tensors") };
            adam_in_place(parameter, first, second, grad, with);
            Ok(())
        })
    }))
}

/// One pass over gradient, moments and parameter, since that is what it costs.
fn adam_in_place<T: Real>(parameter: &mut [T], first: &mut [T], second: &mut [T], grad: &[T], with: Adam) {
    let correction = with.correction();
    let each = grad.len() / with.rates.len();
    let (root, epsilon) = (T::of(correction.1).sqrt().recip(), T::of(EPSILON));
    let keep = (T::of(BETA.0), T::of(BETA.1));
    let take = (T::of(1.0 - BETA.0), T::of(1.0 - BETA.1));
    for (member, (&rate, &scale)) in with.rates.iter().zip(with.scales).enumerate() {
        let own = member * each..(member + 1) * each;
        let (rate, scale) = (T::of(rate / correction.0), T::of(scale));
        let moments = first[own.clone()].iter_mut().zip(&mut second[own.clone()]);
        for ((p, &g), (m, v)) in parameter[own.clone()].iter_mut().zip(&grad[own]).zip(moments) {
            let g = scale * g;
            *m = keep.0 * *m + take.0 * g;
            *v = keep.1 * *v + take.1 * (g * g);
            *p -= rate * *m / (v.sqrt() * root + epsilon);
        }
    }
}

/// θ ← θ − rate·scale·g: gradient descent.
pub fn descend(parameter: &Var, grad: &Tensor, rates: &[f64], scales: &[f64]) -> Result<()> {
    let factors: Vec<f64> = rates.iter().zip(scales).map(|(rate, scale)| rate * scale).collect();
    if !grad.device().is_cpu() {
        let mut shape = vec![1; grad.rank()];
        shape[0] = factors.len();
        let factors = Tensor::from_vec(factors, shape, grad.device())?.to_dtype(grad.dtype())?;
        return parameter.set(&parameter.sub(&grad.broadcast_mul(&factors)?)?);
    }
    for_real!(grad, T => look(&grad.contiguous()?, |grad: &[T]| {
        overwrite(&[parameter], &mut |lent: &mut [&mut [T]]| {
            let each = grad.len() / factors.len();
            for ((parameter, grad), &factor) in lent[0].chunks_exact_mut(each).zip(grad.chunks_exact(each)).zip(&factors) {
                let factor = T::of(factor);
                parameter.iter_mut().zip(grad).for_each(|(p, &g)| *p -= factor * g);
            }
            Ok(())
        })
    }))
}
