//! report, first half: lets go of models that are done, diverged, failed or asked to stop; their tables are sealed and their rows say how it went.

use crate::aside::Underway;
use crate::checkpoint::Writing;
use crate::record::Journalling;
use crate::run::{Clock, Provenance, StopRequest};
use crate::spread::each;
use crate::stage::{Begin, Stage, Step};
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use optogen::Result;
use optogen::components::{Active, MemberOf, Members, Progress, Run, Status, Trouble};
use optogen::log::{Closing, RunLog, RunRow, Tallies, write_run_row};
use optogen::run_folder::RunFolder;
use optogen::steps::Steps;

/// Adds the systems to both schedules.
pub struct RetirePlugin;

impl Plugin for RetirePlugin {
    fn build(&self, app: &mut App) {
        app.init_resource::<StopRequest>().init_resource::<Provenance>();
        app.add_systems(Step, (judge, retire.run_if(any_done), rest).chain().in_set(Stage::Report));
        app.add_systems(Begin, (judge, retire.run_if(any_done), rest).chain().in_set(Stage::Report));
    }
}

/// Who does not go on.
fn judge(
    mut models: Query<(&mut Status, &MemberOf, Has<Underway>)>,
    cohorts: Query<(&Progress, &Trouble, Option<&Steps>)>,
    stop: Res<StopRequest>,
) {
    for (mut status, cohort, underway) in &mut models {
        let Ok((progress, trouble, steps)) = cohorts.get(cohort.0) else { continue };
        if *status != Status::Running {
            continue;
        } else if let Some(error) = trouble.error() {
            *status = Status::from(error);
        } else if progress.sequences >= progress.total {
            *status = Status::Finished;
        } else if stop.made() && !underway && steps.is_none_or(Steps::all_read) {
            *status = Status::Interrupted;
        }
    }
}

/// Whether there are such whose tables are still open.
fn any_done(models: Query<&Status, With<RunLog>>) -> bool {
    models.iter().any(|status| *status != Status::Running)
}

/// Closes the tables of those, and gives their folders back.
fn retire(world: &mut World) {
    let mut done = world.query_filtered::<(Entity, &Status), With<RunLog>>();
    let done: Vec<Entity> = done.iter(world).filter(|(_, status)| **status != Status::Running).map(|(entity, _)| entity).collect();
    for model in done {
        let closed = close(world, model);
        failed(world, model, closed);
        // Also where its tables could not be closed: its row says so, if that can be written.
        let row = write_row(world, model);
        failed(world, model, row);
        world.entity_mut(model).remove::<RunFolder>();
    }
}

/// A model that something went wrong with at the end has failed, of what went wrong with it first.
fn failed(world: &mut World, model: Entity, result: Result<()>) {
    if let (Err(error), Some(mut status)) = (result, world.get_mut::<Status>(model))
        && !matches!(*status, Status::Failed { .. })
    {
        *status = Status::from(&error);
    }
}

fn close(world: &mut World, model: Entity) -> Result<()> {
    let Some(log) = world.entity_mut(model).take::<RunLog>() else { return Ok(()) };
    let journalled = world.get_mut::<Journalling>(model).map_or(Ok(()), |mut journalling| journalling.0.settle(true));
    let written = world.get_mut::<Writing>(model).map_or(Ok(()), |mut writing| writing.0.settle(true));
    failed(world, model, journalled.and(written));
    let tallies = each(log.close()?, Closing::finish).into_iter().collect::<Result<_>>()?;
    world.entity_mut(model).insert(Tallies(tallies));
    Ok(())
}

/// Writes a run's row as it stands.
pub fn write_row(world: &World, model: Entity) -> Result<()> {
    let entity = world.entity(model);
    let (Some(own), Some(status), Some(clock), Some(folder)) =
        (entity.get::<Run>(), entity.get::<Status>(), entity.get::<Clock>(), entity.get::<RunFolder>())
    else {
        return Ok(());
    };
    let progress = entity.get::<MemberOf>().and_then(|cohort| world.get::<Progress>(cohort.0));
    let provenance = world.get_resource::<Provenance>().cloned().unwrap_or_default();
    let (word, message) = match status {
        Status::Running => ("running", None),
        Status::Finished => ("finished", None),
        Status::Diverged => ("diverged", None),
        Status::Interrupted => ("interrupted", None),
        Status::Failed { why, .. } => ("failed", Some(why.clone())),
    };
    let row = RunRow {
        status: word.into(),
        message,
        sequences: progress.map_or(0, |progress| progress.sequences),
        version: provenance.version,
        revision: provenance.revision,
        device: provenance.device,
        threads: provenance.threads,
        started: clock.started.clone(),
        seconds: clock.seconds(),
        tables: entity.get::<Tallies>().cloned(),
    };
    write_run_row(folder, own, &row)
}

/// A cohort none of whose members goes on takes no further step.
pub(crate) fn rest(mut commands: Commands, cohorts: Query<(Entity, &Members), With<Active>>, models: Query<&Status>) {
    for (cohort, members) in &cohorts {
        if !members.iter().any(|member| models.get(member) == Ok(&Status::Running)) {
            commands.entity(cohort).remove::<Active>();
        }
    }
}
