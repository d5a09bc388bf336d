//! Descent in place: parameters and moments are overwritten, nothing is allocated.

use super::{Real, for_real, slice};
use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, Var, WithDType, bail};
use std::cell::RefCell;
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
    for_real!(grad, T => first.inplace_op2(&grad, &First::<T> { second, parameter, grad: &grad, with, correction, number: PhantomData }))
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

/// One pass over gradient, moments and parameter, since that is what it costs. Candle lends one tensor at a time to be overwritten, so each of
/// the three borrows the next.
struct First<'a, T> {
    second: &'a Var,
    parameter: &'a Var,
    grad: &'a Tensor,
    with: Adam<'a>,
    correction: (f64, f64),
    number: PhantomData<T>,
}

struct Second<'a, T> {
    outer: &'a First<'a, T>,
    first: RefCell<&'a mut [T]>,
}

struct Third<'a, T> {
    outer: &'a First<'a, T>,
    first: RefCell<&'a mut [T]>,
    second: RefCell<&'a mut [T]>,
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

impl<T: Real> InplaceOp2 for First<'_, T> {
    fn name(&self) -> &'static str {
        "adam, first moment"
    }

    fn cpu_fwd(&self, first: &mut CpuStorage, at: &Layout, _: &CpuStorage, _: &Layout) -> Result<()> {
        self.second.inplace_op2(self.grad, &Second { outer: self, first: RefCell::new(slice_mut(first, at)?) })
    }
}

impl<T: Real> InplaceOp2 for Second<'_, T> {
    fn name(&self) -> &'static str {
        "adam, second moment"
    }

    fn cpu_fwd(&self, second: &mut CpuStorage, at: &Layout, _: &CpuStorage, _: &Layout) -> Result<()> {
        let mut first = self.first.borrow_mut();
        let second = RefCell::new(slice_mut(second, at)?);
        self.outer.parameter.inplace_op2(self.outer.grad, &Third { outer: self.outer, first: RefCell::new(&mut first), second })
    }
}

impl<T: Real> InplaceOp2 for Third<'_, T> {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn cpu_fwd(&self, parameter: &mut CpuStorage, parameter_at: &Layout, grad: &CpuStorage, grad_at: &Layout) -> Result<()> {
        let (parameter, grad) = (slice_mut::<T>(parameter, parameter_at)?, slice::<T>(grad, grad_at)?);
        let (mut first, mut second) = (self.first.borrow_mut(), self.second.borrow_mut());
        let Adam { rates, scales, .. } = self.outer.with;
        let each = grad.len() / rates.len();
        let (root, epsilon) = (T::of(self.outer.correction.1).sqrt().recip(), T::of(EPSILON));
        let keep = (T::of(BETA.0), T::of(BETA.1));
        let take = (T::of(1.0 - BETA.0), T::of(1.0 - BETA.1));
        for (member, (&rate, &scale)) in rates.iter().zip(scales).enumerate() {
            let own = member * each..(member + 1) * each;
            let (rate, scale) = (T::of(rate / self.outer.correction.0), T::of(scale));
            let moments = first[own.clone()].iter_mut().zip(&mut second[own.clone()]);
            for ((p, &g), (m, v)) in parameter[own.clone()].iter_mut().zip(&grad[own]).zip(moments) {
                let g = scale * g;
                *m = keep.0 * *m + take.0 * g;
                *v = keep.1 * *v + take.1 * (g * g);
                *p -= rate * *m / (v.sqrt() * root + epsilon);
            }
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
