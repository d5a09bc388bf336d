//! forward: from vectors to the loss and its slopes, by their formulas.

use crate::spread::spread;
use crate::stage::{Stage, Step};
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use optogen::components::{Active, Progress};
use optogen::numbers::Numbers;
use optogen::steps::{StepNumbers, Steps};
use optogen::toy::{Descent, Slopes, ToyModel};
use optogen::transformer::Transformer;

/// Adds the system.
pub struct ForwardPlugin;

impl Plugin for ForwardPlugin {
    fn build(&self, app: &mut App) {
        app.add_systems(Step, forward.in_set(Stage::Forward));
    }
}

type Cohort<'a> = (&'a ToyModel, &'a Descent, &'a Progress, &'a mut Slopes, &'a mut Steps);

fn forward(mut cohorts: Query<Cohort, (With<Active>, Without<Transformer>)>) {
    spread(cohorts.iter_mut(), |(model, descent, progress, mut slopes, mut steps)| {
        *slopes = model.slopes();
        let norm = slopes.slopes.iter().flatten().map(|slope| slope.powi(2)).sum::<f64>().sqrt();
        steps.unread.push(StepNumbers {
            sequences: progress.sequences,
            loss: Numbers::Here(vec![slopes.loss]),
            grad_norm: Numbers::Here(vec![norm]),
            grad_spread: None,
            learning_rate: vec![descent.rate],
        });
    });
}
