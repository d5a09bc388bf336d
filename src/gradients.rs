//! Gradients of a cohort's parameters, and what is measured on them.

use crate::numbers::Numbers;
use crate::ops::{self, for_real, look};
use crate::transformer::Parameters;
use bevy_ecs::component::Component;
use candle_core::{Device, Result, Tensor};

/// One gradient a parameter, in their order, each `[K, …]`.
#[derive(Component, Default)]
pub struct Gradients(Vec<Tensor>);

impl Gradients {
    /// Gradients of a loss; members do not touch each other's, so their losses are simply added up.
    ///
    /// # Shapes
    /// `losses` [K].
    pub fn of(losses: &Tensor, parameters: &Parameters) -> Result<Self> {
        let store = losses.sum_all()?.backward()?;
        let own = parameters.iter().map(|(_, var)| match store.get(var) {
            Some(gradient) => gradient.contiguous(),
            None => var.zeros_like(),
        });
        Ok(Self(own.collect::<Result<_>>()?))
    }

    /// Takes up gradients, one a parameter, in their order.
    pub fn set(&mut self, gradients: &[Tensor]) {
        self.0.clear();
        self.0.extend_from_slice(gradients);
    }

    /// One gradient a parameter, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Tensor> {
        self.0.iter()
    }

    /// The mean over micro-batches, and for each member √Σ mean (g − ḡ)², their spread over all parameters.
    pub fn mean(parts: &[Gradients]) -> Result<(Self, Numbers)> {
        let count = parts.len() as f64;
        let mean = |index: usize| parts[1..].iter().try_fold(parts[0].0[index].clone(), |sum, part| sum + &part.0[index])? / count;
        let mean = Self((0..parts[0].0.len()).map(mean).collect::<Result<_>>()?);
        let mut squares = None;
        for part in parts {
            let away: Result<Vec<_>> = part.0.iter().zip(&mean.0).map(|(part, mean)| part - mean).collect();
            add(&mut squares, Self(away?).squares()?.over(count)?)?;
        }
        Ok((mean, total(squares)?.root()?))
    }

    /// Adds the gradient of λ·Σ‖θ‖₂, which is λθ/‖θ‖ for each array and 0 where it is zero; returns that penalty for each member.
    ///
    /// `decays` [K] holds λ.
    pub fn add_norm_penalty(&mut self, parameters: &Parameters, decays: &[f64]) -> Result<Numbers> {
        let mut penalties = None;
        for ((_, var), gradient) in parameters.iter().zip(&mut self.0) {
            let (factors, penalty) = norm_penalty(squares(var)?.root()?, decays, var)?;
            *gradient = (&*gradient + var.broadcast_mul(&factors)?)?;
            add(&mut penalties, penalty)?;
        }
        total(penalties)
    }

    /// The norm of each member's gradient over all parameters [K].
    pub fn norms(&self) -> Result<Numbers> {
        self.squares()?.root()
    }

    fn squares(&self) -> Result<Numbers> {
        #[cfg(feature = "cuda")]
        if self.0.first().is_some_and(crate::ops::cuda::takes) {
            return Ok(Numbers::There(crate::ops::cuda::norms(&self.0)?.sqr()?));
        }
        let mut all = None;
        for gradient in &self.0 {
            add(&mut all, squares(gradient)?)?;
        }
        total(all)
    }
}

fn add(sum: &mut Option<Numbers>, more: Numbers) -> Result<()> {
    match sum {
        Some(sum) => sum.add(&more),
        None => {
            *sum = Some(more);
            Ok(())
        }
    }
}

fn total(sum: Option<Numbers>) -> Result<Numbers> {
    sum.ok_or_else(|| candle_core::Error::Msg("a cohort without parameters".into()))
}

/// With what an array is multiplied for the gradient of λ‖θ‖, `[K, 1, …]`, and that penalty, from its norms.
fn norm_penalty(norms: Numbers, decays: &[f64], of: &Tensor) -> Result<(Tensor, Numbers)> {
    let mut shape = vec![1; of.rank()];
    shape[0] = decays.len();
    match norms {
        Numbers::Here(norms) => {
            let factors = decays.iter().zip(&norms).map(|(decay, &norm)| if norm > 0.0 { decay / norm } else { 0.0 });
            let factors = Tensor::from_vec(factors.collect::<Vec<f64>>(), shape, &Device::Cpu)?.to_dtype(of.dtype())?;
            Ok((factors, Numbers::Here(decays.iter().zip(&norms).map(|(decay, norm)| decay * norm).collect())))
        }
        // Where the norm is zero so is the array, whatever the factor.
        Numbers::There(norms) => {
            let decays = Tensor::from_slice(decays, decays.len(), norms.device())?.to_dtype(norms.dtype())?;
            let factors = (&decays / norms.maximum(1e-30)?)?.reshape(shape)?.to_dtype(of.dtype())?;
            Ok((factors, Numbers::There((decays * norms)?)))
        }
    }
}

/// Σx² of each member [K], added up in a fixed order.
fn squares(x: &Tensor) -> Result<Numbers> {
    let members = x.dims()[0];
    if !x.device().is_cpu() {
        return Numbers::of(&x.reshape((members, ()))?.sqr()?.sum(1)?);
    }
    for_real!(x, T => look(x, |x: &[T]| {
        Ok(Numbers::Here(x.chunks_exact(x.len() / members).map(ops::squares).collect()))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The penalty is the same wherever the norms are, and nothing is divided by zero.
    #[test]
    fn the_penalty_is_the_same_here_and_there() {
        let of = Tensor::new(&[[3f32, 4.0], [0.0, 0.0]], &Device::Cpu).unwrap();
        let there = Numbers::There(Tensor::new(&[5f32, 0.0], &Device::Cpu).unwrap());
        for norms in [squares(&of).unwrap().root().unwrap(), there] {
            let (factors, penalty) = norm_penalty(norms, &[0.5, 0.5], &of).unwrap();
            assert_eq!(of.broadcast_mul(&factors).unwrap().to_vec2::<f32>().unwrap(), [[0.3, 0.4], [0.0, 0.0]]);
            assert_eq!(Numbers::read(vec![penalty]).unwrap(), [[2.5, 0.0]]);
        }
    }
}
