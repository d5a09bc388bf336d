//! The numbers of a cohort's steps, on their way to the logs.

use crate::Result;
use crate::numbers::Numbers;
use bevy_ecs::component::Component;

/// The numbers of one step, each `[K]`; `N` is where they lie.
#[derive(Clone, Debug, PartialEq)]
pub struct StepNumbers<N = Vec<f64>> {
    /// Sequences seen before the step.
    pub sequences: u64,
    /// Loss, penalty included.
    pub loss: N,
    /// Norm of the gradient, before clipping.
    pub grad_norm: N,
    /// Spread of the micro-batches' gradients, where a batch is split.
    pub grad_spread: Option<N>,
    /// Learning rate.
    pub learning_rate: Vec<f64>,
}

/// The numbers of a cohort's steps. On a GPU those of many steps are read at once, since it would have nothing to do meanwhile.
#[derive(Component, Debug, Default)]
pub struct Steps {
    /// Those that nobody has read yet, the last step's last.
    pub unread: Vec<StepNumbers<Numbers>>,
    read: Vec<StepNumbers>,
    just_now: bool,
}

impl Steps {
    /// Reads what is unread, or leaves it for later.
    ///
    /// # Errors
    /// The device has failed.
    pub fn read(&mut self, now: bool) -> Result<()> {
        self.just_now = now && !self.unread.is_empty();
        if !self.just_now {
            return Ok(());
        }
        let unread = std::mem::take(&mut self.unread);
        let mut numbers = Vec::with_capacity(3 * unread.len());
        self.read.clear();
        for step in unread {
            let StepNumbers { sequences, loss, grad_norm, grad_spread, learning_rate } = step;
            numbers.extend([loss, grad_norm]);
            let grad_spread = grad_spread.map(|spread| {
                numbers.push(spread);
                Vec::new()
            });
            self.read.push(StepNumbers { sequences, loss: Vec::new(), grad_norm: Vec::new(), grad_spread, learning_rate });
        }
        let mut numbers = Numbers::read(numbers)?.into_iter();
        for step in &mut self.read {
            for place in [&mut step.loss, &mut step.grad_norm].into_iter().chain(&mut step.grad_spread) {
                *place = numbers.next().unwrap_or_default();
            }
        }
        Ok(())
    }

    /// The steps that were read in this one.
    pub fn just_read(&self) -> &[StepNumbers] {
        if self.just_now { &self.read } else { &[] }
    }

    /// The last step whose numbers are known.
    pub fn last(&self) -> Option<&StepNumbers> {
        self.read.last()
    }

    /// Whether a row can be written for every step so far.
    pub fn all_read(&self) -> bool {
        self.unread.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Tensor};

    fn step(sequences: u64, loss: f32, split: bool) -> StepNumbers<Numbers> {
        let there = |number: f32| Numbers::There(Tensor::new(&[number, -number], &Device::Cpu).unwrap());
        let grad_spread = split.then(|| there(loss + 2.0));
        StepNumbers { sequences, loss: there(loss), grad_norm: there(loss + 1.0), grad_spread, learning_rate: vec![0.1, 0.2] }
    }

    /// As on a GPU: nothing is read until it is asked for, then all in their order, once.
    #[test]
    fn steps_are_read_together() {
        let mut steps = Steps::default();
        for (sequences, split) in [(0, false), (32, true)] {
            steps.unread.push(step(sequences, sequences as f32, split));
            steps.read(false).unwrap();
            assert!(!steps.all_read() && steps.just_read().is_empty() && steps.last().is_none());
        }
        steps.read(true).unwrap();
        let last = StepNumbers {
            sequences: 32,
            loss: vec![32.0, -32.0],
            grad_norm: vec![33.0, -33.0],
            grad_spread: Some(vec![34.0, -34.0]),
            learning_rate: vec![0.1, 0.2],
        };
        assert_eq!(steps.just_read()[1], last);
        assert_eq!((steps.just_read()[0].sequences, steps.just_read()[0].grad_spread.clone(), steps.all_read()), (0, None, true));
        // What is known stays known, but is not new any more.
        steps.read(true).unwrap();
        assert_eq!((steps.just_read().len(), steps.last()), (0, Some(&last)));
    }
}
