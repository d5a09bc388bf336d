//! measure: how far each vector is from what it should be, and each mechanism, where that is due.

use crate::stage::{Begin, Stage, Step};
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use optogen::components::{Evaluators, MemberOf, Model, Progress, Status};
use optogen::toy::{Measures, ToyModel};

/// Adds the system to both schedules.
pub struct MeasurePlugin;

impl Plugin for MeasurePlugin {
    fn build(&self, app: &mut App) {
        app.add_systems(Step, measure.in_set(Stage::Measure));
        app.add_systems(Begin, measure.in_set(Stage::Measure));
    }
}

type Measured<'a> = (&'a MemberOf, &'a Status, &'a mut Measures);

/// A run of a toy model is none of a transformer, nor has it evaluators.
type Toy = (Without<Model>, Without<Evaluators>);

fn measure(mut runs: Query<Measured, Toy>, cohorts: Query<(&ToyModel, &Progress)>) {
    for (cohort, status, mut measures) in &mut runs {
        let Ok((model, progress)) = cohorts.get(cohort.0) else { continue };
        let &Progress { sequences, total, .. } = progress;
        let due = measures.when.due(sequences) || sequences == total;
        // A model that stops where it stands was perhaps measured there.
        if *status == Status::Running && due && measures.last != Some(sequences) {
            measures.seen = model.measures();
            measures.last = Some(sequences);
        }
    }
}
