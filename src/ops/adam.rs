//! Descent in place: parameters and moments are overwritten, nothing is allocated.

use super::{Real, for_real, slice};
use candle_core::{CpuStorage, InplaceOp2, InplaceOp3, Layout, Result, Tensor, Var, WithDType, bail};
use std::marker::PhantomData;

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

/// m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g², θ ← θ − rate·m̂/(√v̂ + ε).
///
/// # Shapes
/// All [K, …].
pub fn adam(parameter: &Var, first: &Var, second: &Var, grad: &Tensor, with: Adam) -> Result<()> {
    let correction = (1.0 - BETA.0.powf(with.step as f64), 1.0 - BETA.1.powf(with.step as f64));
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
    let grad = grad.contiguous()?;
    for_real!(grad, T => {
        let moment = |beta, square| Moment::<T> { beta, square, scales: with.scales, number: PhantomData };
        first.inplace_op2(&grad, &moment(BETA.0, false))?;
        second.inplace_op2(&grad, &moment(BETA.1, true))?;
        parameter.inplace_op3(first, second, &Step::<T> { rates: with.rates, correction, number: PhantomData })
    })
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
    for_real!(grad, T => parameter.inplace_op2(&grad.contiguous()?, &Descent::<T> { factors: &factors, number: PhantomData }))
}

struct Moment<'a, T> {
    beta: f64,
    square: bool,
    scales: &'a [f64],
    number: PhantomData<T>,
}

struct Step<'a, T> {
    rates: &'a [f64],
    correction: (f64, f64),
    number: PhantomData<T>,
}

struct Descent<'a, T> {
    factors: &'a [f64],
    number: PhantomData<T>,
}

/// The numbers of a whole contiguous CPU tensor, to be overwritten.
fn slice_mut<'a, T: WithDType>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [T]> {
    let Some((start, end)) = layout.contiguous_offsets() else { bail!("a parameter is not contiguous") };
    let numbers: &mut dyn std::any::Any = match storage {
        CpuStorage::F32(numbers) => numbers,
        CpuStorage::F64(numbers) => numbers,
        _ => bail!("a parameter is neither F32 nor F64"),
    };
    match numbers.downcast_mut::<Vec<T>>() {
        Some(numbers) => Ok(&mut numbers[start..end]),
        None => bail!("a parameter and its gradient differ in type"),
    }
}

impl<T: Real> InplaceOp2 for Moment<'_, T> {
    fn name(&self) -> &'static str {
        "moment"
    }

    fn cpu_fwd(&self, moment: &mut CpuStorage, moment_at: &Layout, grad: &CpuStorage, grad_at: &Layout) -> Result<()> {
        let (moment, grad) = (slice_mut::<T>(moment, moment_at)?, slice::<T>(grad, grad_at)?);
        let each = grad.len() / self.scales.len();
        let (keep, take) = (T::of(self.beta), T::of(1.0 - self.beta));
        for ((moment, grad), &scale) in moment.chunks_exact_mut(each).zip(grad.chunks_exact(each)).zip(self.scales) {
            let scale = T::of(scale);
            if self.square {
                moment.iter_mut().zip(grad).for_each(|(m, &g)| *m = keep * *m + take * (scale * g * (scale * g)));
            } else {
                moment.iter_mut().zip(grad).for_each(|(m, &g)| *m = keep * *m + take * (scale * g));
            }
        }
        Ok(())
    }
}

impl<T: Real> InplaceOp3 for Step<'_, T> {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn cpu_fwd(
        &self,
        parameter: &mut CpuStorage,
        parameter_at: &Layout,
        first: &CpuStorage,
        first_at: &Layout,
        second: &CpuStorage,
        second_at: &Layout,
    ) -> Result<()> {
        let parameter = slice_mut::<T>(parameter, parameter_at)?;
        let (first, second) = (slice::<T>(first, first_at)?, slice::<T>(second, second_at)?);
        let each = parameter.len() / self.rates.len();
        let (correction, epsilon) = (T::of(self.correction.1).sqrt().recip(), T::of(EPSILON));
        for (member, &rate) in self.rates.iter().enumerate() {
            let own = member * each..(member + 1) * each;
            let rate = T::of(rate / self.correction.0);
            let moments = first[own.clone()].iter().zip(&second[own.clone()]);
            parameter[own].iter_mut().zip(moments).for_each(|(p, (&m, &v))| *p -= rate * m / (v.sqrt() * correction + epsilon));
        }
        Ok(())
    }
}

impl<T: Real> InplaceOp2 for Descent<'_, T> {
    fn name(&self) -> &'static str {
        "descend"
    }

    fn cpu_fwd(&self, parameter: &mut CpuStorage, parameter_at: &Layout, grad: &CpuStorage, grad_at: &Layout) -> Result<()> {
        let (parameter, grad) = (slice_mut::<T>(parameter, parameter_at)?, slice::<T>(grad, grad_at)?);
        let each = grad.len() / self.factors.len();
        for ((parameter, grad), &factor) in parameter.chunks_exact_mut(each).zip(grad.chunks_exact(each)).zip(self.factors) {
            let factor = T::of(factor);
            parameter.iter_mut().zip(grad).for_each(|(p, &g)| *p -= factor * g);
        }
        Ok(())
    }
}
