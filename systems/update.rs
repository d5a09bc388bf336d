//! update: from gradients to new parameters, and the counter moves on. A model whose loss is no longer a number stops here, alone.

use crate::spread::spread;
use crate::stage::{Stage, Step};
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use optogen::components::{Active, Members, Progress, Status, StepNumbers, Trouble};
use optogen::gradients::Gradients;
use optogen::optimiser::Optimiser;
use optogen::transformer::Transformer;

/// Adds the systems.
pub struct UpdatePlugin;

impl Plugin for UpdatePlugin {
    fn build(&self, app: &mut App) {
        app.add_systems(Step, (update, stop_diverged).chain().in_set(Stage::Update));
    }
}

/// What a step of the optimiser takes.
pub type Cohort<'a> = (&'a Transformer, &'a Gradients, &'a mut Optimiser, &'a mut StepNumbers, &'a mut Progress, &'a mut Trouble);

/// One step of every active cohort's optimiser.
pub fn update(mut cohorts: Query<Cohort, With<Active>>) {
    spread(cohorts.iter_mut(), |(transformer, gradients, mut optimiser, mut numbers, mut progress, mut trouble)| {
        trouble.guard(|| {
            numbers.learning_rate = optimiser.rates();
            optimiser.descend(transformer.parameters(), gradients, &numbers.grad_norm)?;
            progress.sequences += progress.batch as u64;
            Ok(())
        });
    });
}

fn stop_diverged(cohorts: Query<(&Members, &StepNumbers), With<Active>>, mut models: Query<&mut Status>) {
    for (members, numbers) in &cohorts {
        for (member, (loss, norm)) in members.iter().zip(numbers.loss.iter().zip(&numbers.grad_norm)) {
            if !(loss.is_finite() && norm.is_finite())
                && let Ok(mut status) = models.get_mut(member)
                && *status == Status::Running
            {
                *status = Status::Diverged;
            }
        }
    }
}
