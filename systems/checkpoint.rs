//! checkpoint: keeps models where their schedules say so, and recovery points every so many seconds and before a stop.
//!
//! A program that measures aside writes aside, too: training goes on while a checkpoint is on its way to the disk.

use crate::aside::{Spare, Underway};
use crate::clamp::now;
use crate::elsewhere::{Elsewhere, Task};
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
    writing: &'static mut Writing,
}

/// A checkpoint on its way to the disk.
#[derive(Component, Default)]
pub(crate) struct Writing(pub Task);

impl KeptItem<'_, '_> {
    /// Whether a checkpoint is due.
    fn is_due(&self, &Progress { sequences, total, .. }: &Progress) -> bool {
        self.run.checkpoints.due(sequences) || sequences >= total
    }

    /// Whether a recovery point is.
    fn has_to_recover(&self, stop: &StopRequest) -> bool {
        stop.made() || self.clock.unkept_seconds() >= self.run.recovery_seconds
    }

    /// Whether there is anything to do.
    fn has_to_do(&self, progress: &Progress, stop: &StopRequest) -> bool {
        self.writing.0.is_underway() || self.is_due(progress) || self.has_to_recover(stop)
    }

    /// Keeps the run as it is, where that is due; what there is to keep is asked for only then. With `aside` another thread writes it.
    pub(crate) fn keep(mut self, progress: &Progress, stop: &StopRequest, aside: bool, state: impl FnOnce(&Run) -> Result<Checkpoint>) {
        let &Progress { sequences, total, .. } = progress;
        let (due, recovery) = (self.is_due(progress), self.has_to_recover(stop));
        let ends = *self.status != Status::Running || sequences >= total || stop.made();
        // One after another; a recovery point can wait for a later step.
        let written = self.writing.0.settle(due || ends);
        fail(&mut self.status, written);
        if *self.status != Status::Running || !(due || recovery) || self.writing.0.is_underway() {
            return;
        }
        let prepare = || -> Result<_> {
            let (mut checkpoint, lasting) = (state(self.run)?, self.log.lasting()?);
            checkpoint.tables = self.log.tallies_before(sequences)?;
            let (checkpoints, recovery) = (self.folder.checkpoints(), self.folder.recovery());
            Ok(move || -> Result<()> {
                // The rows up to here are on the disk before the checkpoint is: a resumed run misses none.
                lasting.sync(!ends)?;
                if due { checkpoint.write(&folder_at(&checkpoints, sequences)) } else { keep_recovery_point(&recovery, &checkpoint) }
            })
        };
        let kept = match prepare() {
            Ok(write) if aside && !ends => {
                self.writing.0 = Task::begun(Elsewhere::write(write));
                Ok(())
            }
            Ok(write) => write(),
            Err(error) => Err(error),
        };
        self.clock.kept();
        fail(&mut self.status, kept);
    }
}

type Trained<'a> = (&'a Members, &'a Progress, &'a Transformer, &'a Optimiser, &'a Steps);

pub(crate) fn checkpoint(
    mut models: Query<(Entity, &MemberOf, Option<&Underway>, Kept), With<Model>>,
    cohorts: Query<Trained>,
    lists: Query<&Interventions>,
    moments: Query<&Moments>,
    stop: Res<StopRequest>,
    spare: Spare,
) {
    let aside = spare.is_there();
    let kept = models.iter_mut().filter_map(|(entity, cohort, underway, kept)| {
        let trained = cohorts.get(cohort.0).ok()?;
        let (_, progress, _, _, steps) = trained;
        // A run that went on from here would miss the rows of steps that were not read yet, and of an earlier evaluation that is underway. One that
        // is of this moment would be made again.
        let missing = underway.is_some_and(|underway| underway.since < progress.sequences) || !steps.all_read();
        (!missing && kept.has_to_do(progress, &stop)).then_some((entity, trained, kept))
    });
    spread(kept, |(entity, (members, progress, transformer, optimiser, _), kept)| {
        kept.keep(progress, &stop, aside, |run| {
            let member = members.iter().position(|member| member == entity).unwrap_or_default();
            Ok(Checkpoint {
                run_id: run.run_id.clone(),
                sequences: progress.sequences,
                steps: optimiser.step(),
                experiment: run.toml.clone(),
                parameters: transformer.parameters().of_member(member)?,
                optimiser: optimiser.of_member(transformer.parameters(), member)?,
                moments: now(progress.sequences, std::iter::once(entity), &lists, &moments).moments.pop().unwrap_or_default(),
                tables: Default::default(),
            })
        });
    });
}
