//! clamp: makes the vectors that are clamped what they should be, before the first step and after each.

use super::update::update;
use crate::stage::{Begin, Stage, Step};
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use optogen::components::{Active, Interventions, Members, Progress};
use optogen::toy::{Clamp, ToyModel};
use optogen::transformer::Transformer;

/// Adds the system to both schedules.
pub struct ClampPlugin;

impl Plugin for ClampPlugin {
    fn build(&self, app: &mut App) {
        // What is measured after a step is what the next one begins with.
        app.add_systems(Step, clamp.in_set(Stage::Update).after(update));
        app.add_systems(Begin, clamp.in_set(Stage::Clamp));
    }
}

type Clamped<'a> = (&'a mut ToyModel, &'a Progress, &'a Members);

fn clamp(mut cohorts: Query<Clamped, (With<Active>, Without<Transformer>)>, lists: Query<&Interventions>, clamps: Query<&Clamp>) {
    for (mut model, progress, members) in &mut cohorts {
        for list in lists.iter_many(members.iter()).flatten() {
            for clamp in clamps.iter_many(list.iter()).flatten() {
                clamp.hold(&mut model, progress.sequences);
            }
        }
    }
}
