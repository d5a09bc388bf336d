//! A toy model in the world: an entity for the run, a cohort of it alone, on which [`ToyModel`] lies, and an entity for each intervention.

use super::{Measure, ToyIntervention, ToyModel};
use crate::experiment::Schedule;
use bevy_ecs::prelude::Component;

/// How a toy model's cohort descends: θ ← θ − rate · slope.
#[derive(Component, Clone, Copy, Debug, PartialEq)]
pub struct Descent {
    /// The rate.
    pub rate: f64,
    /// The loss below which no step is taken any more.
    pub until_loss: Option<f64>,
}

/// On a toy run: when it is measured, and what was measured in this step, until it is recorded.
#[derive(Component, Clone, Debug)]
pub struct Measures {
    /// When.
    pub when: Schedule,
    /// What was measured.
    pub seen: Vec<Measure>,
    /// After how many steps it was measured last.
    pub last: Option<u64>,
}

/// What is clamped in a toy model: change it, add one or take one away, and the next step goes by it.
#[derive(Component, Clone, Debug, PartialEq)]
pub struct Clamp(pub ToyIntervention);

/// Where a toy run begins: its model, and how many steps that has behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct ToyStart {
    /// Steps done.
    pub steps: u64,
    /// The model as it is then.
    pub model: ToyModel,
}

impl Clamp {
    /// Makes the entries what they should be, if it holds when so many steps are done.
    pub fn hold(&self, model: &mut ToyModel, steps: u64) {
        let ToyIntervention { vector, first, from, until } = self.0;
        if steps < from || until.is_some_and(|until| steps >= until) {
            return;
        }
        for own in model.vectors_mut().iter_mut().filter(|own| own.name == vector) {
            let count = first.unwrap_or(own.now.len()).min(own.now.len());
            own.now[..count].copy_from_slice(&own.truth[..count]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::{Vector, drawn_vectors};

    #[test]
    fn a_clamp_holds_its_entries_while_it_lasts() {
        let vectors: [Vector; 3] = drawn_vectors(&[('a', 3), ('b', 3), ('c', 3)], 0, 1).try_into().unwrap();
        let free = ToyModel::TensorProduct(vectors);
        let clamp = Clamp(ToyIntervention { vector: 'b', first: Some(2), from: 5, until: Some(7) });
        for (steps, holds) in [(4, false), (5, true), (6, true), (7, false)] {
            let mut model = free.clone();
            clamp.hold(&mut model, steps);
            let (own, before) = (&model.vectors()[1], &free.vectors()[1]);
            assert_eq!(own.now[..2] == own.truth[..2], holds, "{steps}");
            assert_eq!(own.now[2], before.now[2]);
            assert_eq!((&model.vectors()[0], &model.vectors()[2]), (&free.vectors()[0], &free.vectors()[2]));
        }
    }
}
