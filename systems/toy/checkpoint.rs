//! checkpoint: keeps toy models as transformers are kept. A checkpoint holds the vectors, named by their letters, and what they should be, as `true/a` and so on.

use crate::checkpoint::{Kept, checkpoint};
use crate::run::StopRequest;
use crate::stage::{Begin, Stage, Step};
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use optogen::checkpoint::Checkpoint;
use optogen::components::{MemberOf, Progress};
use optogen::toy::{Measures, ToyModel};

/// Adds the system to both schedules.
pub struct CheckpointPlugin;

impl Plugin for CheckpointPlugin {
    fn build(&self, app: &mut App) {
        app.init_resource::<StopRequest>();
        app.add_systems(Step, keep.in_set(Stage::Checkpoint).after(checkpoint));
        app.add_systems(Begin, keep.in_set(Stage::Checkpoint).after(checkpoint));
    }
}

fn keep(mut runs: Query<(&MemberOf, Kept), With<Measures>>, cohorts: Query<(&ToyModel, &Progress)>, stop: Res<StopRequest>) {
    for (cohort, kept) in &mut runs {
        let Ok((model, progress)) = cohorts.get(cohort.0) else { continue };
        kept.keep(progress, &stop, false, |run| {
            Ok(Checkpoint {
                run_id: run.run_id.clone(),
                sequences: progress.sequences,
                steps: progress.sequences,
                experiment: run.toml.clone(),
                parameters: model.parameters()?,
                optimiser: Vec::new(),
                moments: Vec::new(),
                tables: Default::default(),
            })
        });
    }
}
