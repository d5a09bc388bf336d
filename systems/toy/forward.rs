//! forward: from vectors to the loss and its slopes, by their formulas.

use crate::spread::spread;
use crate::stage::{Stage, Step};
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use optogen::components::{Active, Progress, StepNumbers};
use optogen::toy::{Descent, Slopes, ToyModel};
use optogen::transformer::Transformer;

/// Adds the system.
pub struct ForwardPlugin;

impl Plugin for ForwardPlugin {
    fn build(&self, app: &mut App) {
        app.add_systems(Step, forward.in_set(Stage::Forward));
    }
}

type Cohort<'a> = (&'a ToyModel, &'a Descent, &'a Progress, &'a mut Slopes, &'a mut StepNumbers);

fn forward(mut cohorts: Query<Cohort, (With<Active>, Without<Transformer>)>) {
    spread(cohorts.iter_mut(), |(model, descent, progress, mut slopes, mut numbers)| {
        *slopes = model.slopes();
        numbers.sequences = progress.sequences;
        numbers.loss = vec![slopes.loss];
        numbers.grad_norm = vec![slopes.slopes.iter().flatten().map(|slope| slope.powi(2)).sum::<f64>().sqrt()];
        numbers.learning_rate = vec![descent.rate];
    });
}
