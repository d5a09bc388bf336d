//! Puts a toy model into the world: a run, a cohort of it alone, and an entity for each intervention.

use bevy_ecs::prelude::*;
use optogen::components::{Active, InterventionOn, MemberOf, Progress, Status, Trouble};
use optogen::steps::Steps;
use optogen::toy::{Clamp, Descent, Measures, Slopes, ToyExperiment, ToyStart};

/// Spawns it; it steps from then on. Returns its run.
pub fn spawn_toy(world: &mut World, experiment: &ToyExperiment, start: ToyStart) -> Entity {
    let progress = Progress { sequences: start.steps, total: experiment.toy.steps, batch: 1, micro_batch: 1 };
    let descent = Descent { rate: experiment.toy.rate, until_loss: experiment.toy.until_loss };
    let cohort = world.spawn((start.model, descent, progress, Slopes::default(), Steps::default(), Trouble::default(), Active)).id();
    let measures = Measures { when: experiment.evaluations(), seen: Vec::new(), last: None };
    let run = world.spawn((experiment.run(), measures, Status::Running, MemberOf(cohort))).id();
    for intervention in &experiment.interventions {
        world.spawn((Clamp(intervention.clone()), InterventionOn(run)));
    }
    run
}
