//! checkpoint: keeps models where their schedules say so, and recovery points every so many seconds and before a stop.

use crate::clamp::now;
use crate::run::{Clock, StopRequest, fail};
use crate::spread::spread;
use crate::stage::{Begin, Stage, Step};
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use optogen::Result;
use optogen::checkpoint::{Checkpoint, folder_at, keep_recovery_point};
use optogen::clamp::Moments;
use optogen::components::{Interventions, MemberOf, Members, Model, Progress, Status, Steps};
use optogen::log::RunLog;
use optogen::optimiser::Optimiser;
use optogen::run_folder::RunFolder;
use optogen::transformer::Transformer;

/// Adds the system to both schedules.
pub struct CheckpointPlugin;

impl Plugin for CheckpointPlugin {
    fn build(&self, app: &mut App) {
        app.init_resource::<StopRequest>();
        app.add_systems(Step, checkpoint.in_set(Stage::Checkpoint));
        app.add_systems(Begin, checkpoint.in_set(Stage::Checkpoint));
    }
}

type Kept<'a> = (Entity, &'a Model, &'a MemberOf, &'a RunFolder, &'a mut RunLog, &'a mut Status, &'a mut Clock);

fn checkpoint(
    mut models: Query<Kept>,
    cohorts: Query<(&Members, &Progress, &Transformer, &Optimiser, &Steps)>,
    lists: Query<&Interventions>,
    moments: Query<&Moments>,
    stop: Res<StopRequest>,
) {
    spread(models.iter_mut(), |(entity, model, cohort, folder, mut log, mut status, mut clock)| {
        let Ok((members, progress, transformer, optimiser, steps)) = cohorts.get(cohort.0) else { return };
        let due = model.checkpoints.due(progress.sequences);
        let recovery = stop.made() || clock.unkept_seconds() >= model.experiment.checkpoint.recovery_seconds;
        // A run that went on from here would miss the rows of steps that were not read yet.
        if *status != Status::Running || !(due || recovery) || !steps.all_read() {
            return;
        }
        let mut keep = || -> Result<()> {
            let member = members.iter().position(|member| member == entity).unwrap_or_default();
            let checkpoint = Checkpoint {
                run_id: model.run_id.clone(),
                sequences: progress.sequences,
                steps: optimiser.step(),
                experiment: model.experiment.to_toml(),
                parameters: transformer.parameters().of_member(member)?,
                optimiser: optimiser.of_member(transformer.parameters(), member)?,
                moments: now(progress.sequences, std::iter::once(entity), &lists, &moments).moments.pop().unwrap_or_default(),
            };
            // The rows up to here are on the disk before the checkpoint is: a resumed run misses none.
            log.sync()?;
            if due {
                checkpoint.write(&folder_at(&folder.checkpoints(), progress.sequences))
            } else {
                keep_recovery_point(folder, &checkpoint)
            }
        };
        let kept = keep();
        clock.kept();
        fail(&mut status, kept);
    });
}
