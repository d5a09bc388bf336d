//! Descent in place: parameters and moments are overwritten, nothing is allocated.

use super::lend::overwrite;
use super::{Real, for_real, in_widest_vectors, look, squares};
use candle_core::{DType, Result, Tensor, Var};

const BETA: (f64, f64) = (0.9, 0.999);
const EPSILON: f64 = 1e-8;

/// One step of Adam (Kingma & Ba 2015, algorithm 1), the same for all members but for what is listed here per member.
#[derive(Clone, Copy, Debug)]
pub struct Adam<'a> {
    /// Learning rates [K].
    pub rates: &'a [f64],
    /// Factors of the gradient [K], below one where it is clipped.
    pub scales: &'a [f64],
    /// What [`correction`] gives.
    pub correction: (f64, f64),
}

/// 1 − β₁ᵗ and 1 − β₂ᵗ after t steps, that which is corrected included.
pub fn correction(steps: u64) -> (f64, f64) {
    (1.0 - BETA.0.powf(steps as f64), 1.0 - BETA.1.powf(steps as f64))
}

/// m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g², θ ← θ − rate·m̂/(√v̂ + ε).
///
/// Returns Σg² of each member [K], before it is scaled: where the gradient is large, reading it once more would cost as much as the step.
///
/// # Shapes
/// All [K, …].
pub fn adam(parameter: &Var, first: &Var, second: &Var, grad: &Tensor, with: Adam) -> Result<Vec<f64>> {
    let correction = with.correction;
    if !grad.device().is_cpu() {
        let column = |numbers: Vec<f64>| {
            let mut shape = vec![1; grad.rank()];
            shape[0] = numbers.len();
            Tensor::from_vec(numbers, shape, grad.device())?.to_dtype(grad.dtype())
        };
        let squares = composed_squares(grad)?;
        let grad = grad.broadcast_mul(&column(with.scales.to_vec())?)?;
        first.set(&((first.as_tensor() * BETA.0)? + (&grad * (1.0 - BETA.0))?)?)?;
        second.set(&((second.as_tensor() * BETA.1)? + (grad.sqr()? * (1.0 - BETA.1))?)?)?;
        let root = ((second.as_tensor() / correction.1)?.sqrt()? + EPSILON)?;
        let step = first.div(&root)?.broadcast_mul(&column(with.rates.iter().map(|rate| rate / correction.0).collect())?)?;
        parameter.set(&parameter.sub(&step)?)?;
        return Ok(squares);
    }
    for_real!(grad, T => look(&grad.contiguous()?, |grad: &[T]| {
        let mut squares = Vec::new();
        overwrite(&[parameter, first, second], &mut |lent| {
            let [parameter, first, second] = lent else { candle_core::bail!("Adam overwrites three tensors") };
            squares = adam_in_place(parameter, first, second, grad, with);
            Ok(())
        })?;
        Ok(squares)
    }))
}

fn composed_squares(grad: &Tensor) -> Result<Vec<f64>> {
    grad.flatten_from(1)?.sqr()?.sum(1)?.to_dtype(DType::F64)?.to_vec1()
}

/// Numbers that are gone through together: their squares are added up while they are in the cache.
const PIECE: usize = 4096;

/// One pass over gradient, moments and parameter, since that is what it costs.
fn adam_in_place<T: Real>(parameter: &mut [T], first: &mut [T], second: &mut [T], grad: &[T], with: Adam) -> Vec<f64> {
    let each = grad.len() / with.rates.len();
    let root = T::of(with.correction.1).sqrt().recip();
    let of_member = |(member, (&rate, &scale)): (usize, (&f64, &f64))| {
        let rule = Rule { rate: T::of(rate / with.correction.0), scale: T::of(scale), root };
        let mut sum = 0.0;
        for start in (member * each..(member + 1) * each).step_by(PIECE) {
            let piece = start..(start + PIECE).min((member + 1) * each);
            rule.descend(&mut parameter[piece.clone()], &mut first[piece.clone()], &mut second[piece.clone()], &grad[piece.clone()]);
            sum += squares(&grad[piece]);
        }
        sum
    };
    with.rates.iter().zip(with.scales).enumerate().map(of_member).collect()
}

/// What a member's step is made with.
struct Rule<T> {
    /// The learning rate, the first moment's correction included.
    rate: T,
    scale: T,
    /// The second moment's correction.
    root: T,
}

impl<T: Real> Rule<T> {
    /// Not inlined: as arguments the compiler knows that the slices do not overlap.
    #[inline(never)]
    fn descend(&self, parameter: &mut [T], first: &mut [T], second: &mut [T], grad: &[T]) {
        in_widest_vectors(|| self.descend_each(parameter, first, second, grad));
    }

    #[inline(always)]
    fn descend_each(&self, parameter: &mut [T], first: &mut [T], second: &mut [T], grad: &[T]) {
        let Self { rate, scale, root } = *self;
        let (keep, take) = ((T::of(BETA.0), T::of(BETA.1)), (T::of(1.0 - BETA.0), T::of(1.0 - BETA.1)));
        let epsilon = T::of(EPSILON);
        for ((p, &g), (m, v)) in parameter.iter_mut().zip(grad).zip(first.iter_mut().zip(second)) {
            let g = scale * g;
            *m = take.0.mul_add(g, keep.0 * *m);
            *v = take.1.mul_add(g * g, keep.1 * *v);
            *p -= rate * *m / v.sqrt().mul_add(root, epsilon);
        }
    }
}

/// θ ← θ − rate·scale·g: gradient descent. Returns Σg² of each member [K], before it is scaled.
pub fn descend(parameter: &Var, grad: &Tensor, rates: &[f64], scales: &[f64]) -> Result<Vec<f64>> {
    let factors: Vec<f64> = rates.iter().zip(scales).map(|(rate, scale)| rate * scale).collect();
    if !grad.device().is_cpu() {
        let mut shape = vec![1; grad.rank()];
        shape[0] = factors.len();
        let factors = Tensor::from_vec(factors, shape, grad.device())?.to_dtype(grad.dtype())?;
        parameter.set(&parameter.sub(&grad.broadcast_mul(&factors)?)?)?;
        return composed_squares(grad);
    }
    for_real!(grad, T => look(&grad.contiguous()?, |grad: &[T]| {
        overwrite(&[parameter], &mut |lent: &mut [&mut [T]]| {
            let each = grad.len() / factors.len();
            for ((parameter, grad), &factor) in lent[0].chunks_exact_mut(each).zip(grad.chunks_exact(each)).zip(&factors) {
                let factor = T::of(factor);
                parameter.iter_mut().zip(grad).for_each(|(p, &g)| *p -= factor * g);
            }
            Ok(())
        })?;
        Ok(grad.chunks_exact(grad.len() / factors.len()).map(squares).collect())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both widths of vectors, bit by bit.
    #[test]
    fn the_widest_vectors_give_the_same_numbers() {
        let rule = Rule { rate: 1e-3f32, scale: 0.7, root: 1.3 };
        let numbers = |by: f32| (0..75).map(|i| (i as f32 - 37.0) * by).collect::<Vec<f32>>();
        let (grad, second) = (numbers(0.013), numbers(0.11).iter().map(|x| x * x).collect::<Vec<_>>());
        let mut wide = [numbers(0.31), numbers(0.017), second];
        let mut narrow = wide.clone();
        let [p, m, v] = &mut wide;
        rule.descend(p, m, v, &grad);
        let [p, m, v] = &mut narrow;
        rule.descend_each(p, m, v, &grad);
        let bits = |of: &[Vec<f32>]| of.iter().flatten().map(|number| number.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&wide), bits(&narrow));
        assert!((narrow[0][0] - (-37.0 * 0.31)).abs() > 1e-6);
    }
}
