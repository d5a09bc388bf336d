//! checkpoint: keeps models where their schedules say so, and recovery points every so many seconds and before a stop.

use crate::aside::Underway;
use crate::clamp::now;
use crate::run::{Clock, StopRequest, fail};
use crate::spread::spread;
use crate::stage::{Begin, Stage, Step};
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use bevy_ecs::query::QueryData;
use optogen::Result;
use optogen::checkpoint::{Checkpoint, folder_at, keep_recovery_point};
use optogen::clamp::Moments;
use optogen::components::{Interventions, MemberOf, Members, Model, Progress, Run, Status};
use optogen::log::RunLog;
use optogen::optimiser::Optimiser;
use optogen::run_folder::RunFolder;
use optogen::steps::Steps;
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

/// What keeping a run takes, whatever learns in it.
#[derive(QueryData)]
#[query_data(mutable)]
pub(crate) struct Kept {
    run: &'static Run,
    folder: &'static RunFolder,
    log: &'static mut RunLog,
    status: &'static mut Status,
    clock: &'static mut Clock,
}

impl KeptItem<'_, '_> {
    /// Keeps the run as it is, where that is due; what there is to keep is asked for only then.
    pub(crate) fn keep(mut self, progress: &Progress, stop: &StopRequest, state: impl FnOnce(&Run) -> Result<Checkpoint>) {
        let &Progress { sequences, total, .. } = progress;
        let due = self.run.checkpoints.due(sequences) || sequences >= total;
        let recovery = stop.made() || self.clock.unkept_seconds() >= self.run.recovery_seconds;
        if *self.status != Status::Running || !(due || recovery) {
            return;
        }
        let keep = || -> Result<()> {
            let checkpoint = state(self.run)?;
            // The rows up to here are on the disk before the checkpoint is: a resumed run misses none.
            self.log.sync()?;
            if due {
                checkpoint.write(&folder_at(&self.folder.checkpoints(), sequences))
            } else {
                keep_recovery_point(self.folder, &checkpoint)
            }
        };
        let kept = keep();
        self.clock.kept();
        fail(&mut self.status, kept);
    }
}

pub(crate) fn checkpoint(
    mut models: Query<(Entity, &MemberOf, Has<Underway>, Kept), With<Model>>,
    cohorts: Query<(&Members, &Progress, &Transformer, &Optimiser, &Steps)>,
    lists: Query<&Interventions>,
    moments: Query<&Moments>,
    stop: Res<StopRequest>,
) {
    spread(models.iter_mut(), |(entity, cohort, underway, kept)| {
        let Ok((members, progress, transformer, optimiser, steps)) = cohorts.get(cohort.0) else { return };
        // A run that went on from here would miss the rows of steps that were not read yet, and of an evaluation that is underway.
        if underway || !steps.all_read() {
            return;
        }
        kept.keep(progress, &stop, |run| {
            let member = members.iter().position(|member| member == entity).unwrap_or_default();
            Ok(Checkpoint {
                run_id: run.run_id.clone(),
                sequences: progress.sequences,
                steps: optimiser.step(),
                experiment: run.toml.clone(),
                parameters: transformer.parameters().of_member(member)?,
                optimiser: optimiser.of_member(transformer.parameters(), member)?,
                moments: now(progress.sequences, std::iter::once(entity), &lists, &moments).moments.pop().unwrap_or_default(),
            })
        });
    });
}
