//! The optimisers, all descending.

use crate::experiment::{OptimiserName, OptimiserSpec};
use crate::gradients::Gradients;
use crate::numbers::Numbers;
use crate::ops::{self, Adam};
use crate::transformer::Parameters;
use bevy_ecs::component::Component;
use candle_core::{Device, Result, Tensor, Var};
use std::f64::consts::PI;

/// The gradient's norm to which `warmup_decay` clips.
const CLIP: f64 = 5.0;

/// The optimiser of a cohort: Adam's moments, where it has them, and how many steps were done.
#[derive(Component)]
pub struct Optimiser {
    specs: Vec<OptimiserSpec>,
    step: u64,
    moments: Vec<(Var, Var)>,
    /// The rates as they lie on a GPU, brought there when they change.
    #[cfg(any(feature = "cuda", test))]
    there: Option<(Vec<f64>, Tensor)>,
}

impl OptimiserSpec {
    /// The learning rate of a step, counted from 0.
    ///
    /// `warmup_decay`: linear from 1e-5 to the peak, then 1e-5 + (peak − 1e-5)·√(1 − steps/decay).
    /// `cosine`: linear from 1e-6 to the peak, then peak·½(1 + cos(π·steps/(decay − warm-up))).
    pub fn rate_at(&self, step: u64) -> f64 {
        let (warmup, decay) = self.schedule_steps().map_or((0.0, 0.0), |(warmup, decay)| (warmup as f64, decay as f64));
        let (step, peak) = (step as f64, self.rate);
        let warming = |start: f64| start + (peak - start) * step / warmup;
        match self.name {
            OptimiserName::Adam | OptimiserName::Sgd => peak,
            OptimiserName::WarmupDecay if step < warmup => warming(1e-5),
            OptimiserName::WarmupDecay => 1e-5 + (peak - 1e-5) * (1.0 - ((step - warmup) / decay).min(1.0)).sqrt(),
            OptimiserName::Cosine if step < warmup => warming(1e-6),
            OptimiserName::Cosine => peak * 0.5 * (1.0 + (PI * ((step - warmup) / (decay - warmup)).min(1.0)).cos()),
        }
    }
}

impl Optimiser {
    /// A new one; `specs` [K], one a member, of the same name.
    pub fn new(specs: Vec<OptimiserSpec>, parameters: &Parameters) -> Result<Self> {
        let needs_moments = specs.first().is_some_and(|spec| spec.name != OptimiserName::Sgd);
        let zeros = |var: &Var| Ok((Var::from_tensor(&var.zeros_like()?)?, Var::from_tensor(&var.zeros_like()?)?));
        let moments = if needs_moments { parameters.iter().map(|(_, var)| zeros(var)).collect::<Result<_>>()? } else { Vec::new() };
        Ok(Self {
            specs,
            step: 0,
            moments,
            #[cfg(any(feature = "cuda", test))]
            there: None,
        })
    }

    /// Steps done.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The learning rate of the next step, for each member [K].
    pub fn rates(&self) -> Vec<f64> {
        self.specs.iter().map(|spec| spec.rate_at(self.step)).collect()
    }

    /// Takes a step; returns the norms of the gradients [K], before clipping.
    pub fn descend(&mut self, parameters: &Parameters, gradients: &Gradients) -> Result<Numbers> {
        #[cfg(feature = "cuda")]
        if gradients.iter().all(ops::cuda::takes) {
            return self.descend_there(parameters, gradients);
        }
        let rates = self.rates();
        self.step += 1;
        let scales = if self.clips() {
            let norms = Numbers::read(vec![gradients.norms()?])?.remove(0);
            norms.into_iter().map(|norm| if norm > CLIP { CLIP / norm } else { 1.0 }).collect()
        } else {
            vec![1.0; rates.len()]
        };
        let with = Adam { rates: &rates, scales: &scales, correction: ops::correction(self.step) };
        let mut squares = vec![0.0; rates.len()];
        for (index, ((_, parameter), gradient)) in parameters.iter().zip(gradients.iter()).enumerate() {
            let own = match self.moments.get(index) {
                Some((first, second)) => ops::adam(parameter, first, second, gradient, with)?,
                None => ops::descend(parameter, gradient, &rates, &scales)?,
            };
            squares.iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
        }
        Numbers::Here(squares).root()
    }

    fn clips(&self) -> bool {
        self.specs.first().is_some_and(|spec| spec.name == OptimiserName::WarmupDecay)
    }

    /// The same on a GPU, without waiting for it: the norms stay there, and what is clipped is decided there. A member whose norm is not finite stays
    /// where it is.
    #[cfg(any(feature = "cuda", test))]
    fn descend_there(&mut self, parameters: &Parameters, gradients: &Gradients) -> Result<Numbers> {
        let norms = ops::cuda::norms(gradients.iter())?;
        let rates = self.rates();
        self.step += 1;
        let there = match self.there.take() {
            Some((own, there)) if own == rates => there,
            _ => Tensor::from_vec(rates.iter().map(|&rate| rate as f32).collect::<Vec<_>>(), rates.len(), norms.device())?,
        };
        let by = ops::cuda::Descent { rates: &there, clip: self.clips().then_some((&norms, CLIP)) };
        let correction = ops::correction(self.step);
        for (index, ((_, parameter), gradient)) in parameters.iter().zip(gradients.iter()).enumerate() {
            match self.moments.get(index) {
                Some((first, second)) => ops::cuda::adam(parameter, (first, second), gradient, by, correction)?,
                None => ops::cuda::descend(parameter, gradient, by)?,
            }
        }
        self.there = Some((rates, there));
        Ok(Numbers::There(norms))
    }

    /// A copy of one member's moments on the CPU, named `first/…` and `second/…`.
    pub fn of_member(&self, parameters: &Parameters, member: usize) -> Result<Vec<(String, Tensor)>> {
        let mut all = Vec::with_capacity(2 * self.moments.len());
        for ((name, _), (first, second)) in parameters.iter().zip(&self.moments) {
            for (which, var) in [("first", first), ("second", second)] {
                all.push((format!("{which}/{name}"), var.get(member)?.to_device(&Device::Cpu)?.copy()?));
            }
        }
        Ok(all)
    }

    /// Takes up a state: the step, and each member's moments as `of_member` gives them.
    ///
    /// # Errors
    /// A moment is missing or of another shape.
    pub fn restore(&mut self, parameters: &Parameters, step: u64, members: &[Vec<(String, Tensor)>]) -> crate::Result<()> {
        self.step = step;
        for ((name, _), (first, second)) in parameters.iter().zip(&self.moments) {
            for (which, var) in [("first", first), ("second", second)] {
                let name = format!("{which}/{name}");
                let of = |state: &Vec<(String, Tensor)>| state.iter().find(|entry| entry.0 == name).map(|entry| entry.1.clone());
                let parts: Vec<Tensor> = members.iter().filter_map(of).collect();
                if parts.len() != members.len() || parts.iter().any(|part| part.dims() != &var.dims()[1..]) {
                    return Err(crate::Error::Invalid(format!("the optimiser's {name} is missing or of another shape")));
                }
                var.set(&Tensor::stack(&parts, 0)?.to_device(var.device())?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: OptimiserName, warmup: u64, decay: u64) -> OptimiserSpec {
        OptimiserSpec { name, rate: 1e-3, warmup: Some(warmup), decay: Some(decay) }
    }

    fn assert_near(a: f64, b: f64) {
        assert!((a - b).abs() <= 1e-12, "{a} is not {b}");
    }

    #[test]
    fn warmup_decay_rises_linearly_and_falls_with_the_square_root() {
        let spec = spec(OptimiserName::WarmupDecay, 100, 400);
        assert_near(spec.rate_at(0), 1e-5);
        assert_near(spec.rate_at(50), (1e-5 + 1e-3) / 2.0);
        assert_near(spec.rate_at(100), 1e-3);
        assert_near(spec.rate_at(400), 1e-5 + 0.5 * (1e-3 - 1e-5));
        assert_near(spec.rate_at(500), 1e-5);
        assert_near(spec.rate_at(5000), 1e-5);
    }

    /// Clipped and not, with the kernels for GPUs and without.
    #[test]
    fn a_step_is_the_same_here_and_there() {
        if !ops::cuda::can_be_tested() {
            return;
        }
        for name in [OptimiserName::WarmupDecay, OptimiserName::Sgd] {
            let entry = |number: f32| vec![("weight".to_owned(), Tensor::full(number, 600, &Device::Cpu).unwrap())];
            let own = || Parameters::stack(&[entry(1.0), entry(2.0)], &Device::Cpu).unwrap();
            let (here, there) = (own(), own());
            let specs = vec![spec(name, 2, 400), OptimiserSpec { rate: 3e-3, ..spec(name, 2, 400) }];
            let mut optimisers = [&here, &there].map(|parameters| Optimiser::new(specs.clone(), parameters).unwrap());
            for _ in 0..4 {
                let mut gradients = Gradients::default();
                gradients.set(&[Tensor::new(&[[0.1f32], [0.5]], &Device::Cpu)
                    .unwrap()
                    .broadcast_as((2, 600))
                    .unwrap()
                    .contiguous()
                    .unwrap()]);
                let norms = optimisers[0].descend(&here, &gradients).unwrap();
                let others = optimisers[1].descend_there(&there, &gradients).unwrap();
                for (norm, other) in Numbers::read(vec![norms]).unwrap()[0].iter().zip(&Numbers::read(vec![others]).unwrap()[0]) {
                    assert!((norm - other).abs() < 1e-5 * norm, "{name:?}: {norm}, {other}");
                }
            }
            for ((_, here), (_, there)) in here.iter().zip(there.iter()) {
                let away: f32 = (here.as_tensor() - there.as_tensor()).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap();
                assert!(away < 1e-6, "{name:?}: {away}");
                assert_ne!(here.to_vec2::<f32>().unwrap()[0][0], 1.0);
            }
        }
    }

    #[test]
    fn cosine_reaches_zero_at_the_decay_step() {
        let spec = spec(OptimiserName::Cosine, 100, 500);
        assert_near(spec.rate_at(0), 1e-6);
        assert_near(spec.rate_at(100), 1e-3);
        assert_near(spec.rate_at(300), 5e-4);
        assert_near(spec.rate_at(500), 0.0);
        assert_near(spec.rate_at(9999), 0.0);
    }
}
