//! Gradients of a cohort's parameters, and what is measured on them.

use crate::ops::{dot, for_real, look};
use crate::transformer::Parameters;
use bevy_ecs::component::Component;
use candle_core::{Device, Result, Tensor, WithDType};

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
    pub fn mean(parts: &[Gradients]) -> Result<(Self, Vec<f64>)> {
        let count = parts.len() as f64;
        let mean = |index: usize| parts[1..].iter().try_fold(parts[0].0[index].clone(), |sum, part| sum + &part.0[index])? / count;
        let mean = Self((0..parts[0].0.len()).map(mean).collect::<Result<_>>()?);
        let mut squares = vec![0.0; mean.members()];
        for part in parts {
            let away: Result<Vec<_>> = part.0.iter().zip(&mean.0).map(|(part, mean)| part - mean).collect();
            for (sum, square) in squares.iter_mut().zip(Self(away?).squares()?) {
                *sum += square / count;
            }
        }
        Ok((mean, squares.iter().map(|square| square.sqrt()).collect()))
    }

    /// Adds the gradient of λ·Σ‖θ‖₂, which is λθ/‖θ‖ for each array and 0 where it is zero; returns that penalty for each member.
    ///
    /// `decays` [K] holds λ.
    pub fn add_norm_penalty(&mut self, parameters: &Parameters, decays: &[f64]) -> Result<Vec<f64>> {
        let mut penalties = vec![0.0; decays.len()];
        for ((_, var), gradient) in parameters.iter().zip(&mut self.0) {
            let norms: Vec<f64> = squares(var)?.iter().map(|square| square.sqrt()).collect();
            let factors = decays.iter().zip(&norms).map(|(decay, &norm)| if norm > 0.0 { decay / norm } else { 0.0 });
            let mut shape = vec![1; var.rank()];
            shape[0] = decays.len();
            let factors = Tensor::from_vec(factors.collect::<Vec<f64>>(), shape, &Device::Cpu)?.to_dtype(var.dtype())?;
            *gradient = (&*gradient + var.broadcast_mul(&factors.to_device(var.device())?)?)?;
            penalties.iter_mut().zip(decays.iter().zip(&norms)).for_each(|(sum, (decay, norm))| *sum += decay * norm);
        }
        Ok(penalties)
    }

    /// The norm of each member's gradient over all parameters [K].
    pub fn norms(&self) -> Result<Vec<f64>> {
        Ok(self.squares()?.into_iter().map(f64::sqrt).collect())
    }

    fn members(&self) -> usize {
        self.0.first().map_or(0, |gradient| gradient.dims()[0])
    }

    fn squares(&self) -> Result<Vec<f64>> {
        let mut all = vec![0.0; self.members()];
        for gradient in &self.0 {
            all.iter_mut().zip(squares(gradient)?).for_each(|(sum, square)| *sum += square);
        }
        Ok(all)
    }
}

/// Numbers whose squares are added up as they are, before the sum goes on in f64.
const LINE: usize = 256;

/// Σx² of each member [K], added up in a fixed order.
fn squares(x: &Tensor) -> Result<Vec<f64>> {
    let members = x.dims()[0];
    if !x.device().is_cpu() {
        return x.reshape((members, ()))?.sqr()?.sum(1)?.to_dtype(candle_core::DType::F64)?.to_vec1();
    }
    for_real!(x, T => look(x, |x: &[T]| {
        // A line of squares is added up as it is, lines in f64.
        let square = |own: &[T]| own.chunks(LINE).map(|line| WithDType::to_f64(dot(line, line))).sum();
        Ok(x.chunks_exact(x.len() / members).map(square).collect())
    }))
}
