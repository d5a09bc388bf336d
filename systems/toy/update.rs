//! update: a step down the slopes, until the loss is small enough.

use crate::spread::spread;
use crate::stage::{Stage, Step};
use crate::update::read_numbers;
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use optogen::components::{Active, Progress};
use optogen::toy::{Descent, Slopes, ToyModel};
use optogen::transformer::Transformer;

/// Adds the system.
pub struct UpdatePlugin;

impl Plugin for UpdatePlugin {
    fn build(&self, app: &mut App) {
        app.add_systems(Step, update.in_set(Stage::Update).before(read_numbers));
    }
}

type Cohort<'a> = (&'a mut ToyModel, &'a Descent, &'a Slopes, &'a mut Progress);

pub(super) fn update(mut cohorts: Query<Cohort, (With<Active>, Without<Transformer>)>) {
    spread(cohorts.iter_mut(), |(mut model, descent, slopes, mut progress)| {
        if descent.until_loss.is_some_and(|enough| slopes.loss < enough) {
            // What it is now is what it ends with: its total is where it stands.
            progress.total = progress.sequences;
            return;
        }
        for (vector, slopes) in model.vectors_mut().iter_mut().zip(&slopes.slopes) {
            for (entry, slope) in vector.now.iter_mut().zip(slopes) {
                *entry = (f64::from(*entry) - descent.rate * slope) as f32;
            }
        }
        progress.sequences += 1;
    });
}
