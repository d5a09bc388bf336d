//! Verbs: what happens at each step, one file and one plugin a step.

pub mod backward;
pub mod checkpoint;
pub mod clamp;
pub mod evaluate;
pub mod forward;
pub mod look;
pub mod record;
pub mod report;
pub mod retire;
pub mod run;
pub mod sample;
pub mod spawn;
pub mod stage;
pub mod update;
pub mod weigh;

use bevy_app::{App, Plugin};
use bevy_tasks::{ComputeTaskPool, TaskPoolBuilder};

/// Everything of a step that trains, up to evaluation; add what is to be written and told.
pub struct TrainingPlugins;

impl Plugin for TrainingPlugins {
    fn build(&self, app: &mut App) {
        app.add_plugins((
            stage::StagePlugin,
            clamp::ClampPlugin,
            sample::SamplePlugin,
            forward::ForwardPlugin,
            backward::BackwardPlugin,
            update::UpdatePlugin,
            evaluate::EvaluatePlugin,
            look::LookPlugin,
            weigh::WeighPlugin,
        ));
    }
}

/// What keeps runs: rows, checkpoints, and the end of each.
pub struct KeepingPlugins;

impl Plugin for KeepingPlugins {
    fn build(&self, app: &mut App) {
        app.add_plugins((record::RecordPlugin, checkpoint::CheckpointPlugin, retire::RetirePlugin));
    }
}

/// An app of some plugins, ready to be driven by hand.
pub fn app(plugins: impl FnOnce(&mut App)) -> App {
    let mut app = App::empty();
    plugins(&mut app);
    app.finish();
    app.cleanup();
    app
}

/// Spreads the work over so many threads, the caller's included. Only the first call counts.
pub fn use_threads(threads: usize) {
    // The caller works too. A pool of one thread is not used at all by bevy, so two are the least where there is more than the caller.
    let pool = if threads < 2 { 1 } else { (threads - 1).max(2) };
    ComputeTaskPool::get_or_init(|| TaskPoolBuilder::new().num_threads(pool).thread_name("optogen".into()).build());
}

#[cfg(test)]
mod tests {
    use super::*;
    use bevy_ecs::prelude::*;

    /// Two systems of one schedule that touch the same thing have a stated order.
    #[test]
    fn no_two_systems_are_ambiguous() {
        use_threads(1);
        let mut app = app(|app| {
            app.add_plugins((TrainingPlugins, KeepingPlugins, report::ReportPlugin { quiet: false }));
        });
        app.world_mut().schedule_scope(stage::Step, |world, schedule| schedule.initialize(world).map(drop)).unwrap();
        app.world_mut().schedule_scope(stage::Begin, |world, schedule| schedule.initialize(world).map(drop)).unwrap();
    }

    /// … and the test above would notice.
    #[test]
    fn an_ambiguity_is_an_error() {
        fn also_moves_on(mut cohorts: Query<&mut optogen::components::Progress>) {
            cohorts.iter_mut().for_each(|mut progress| progress.sequences += 1);
        }
        let mut app = app(|app| {
            app.add_plugins(TrainingPlugins).add_systems(stage::Step, also_moves_on.in_set(stage::Stage::Update));
        });
        let ambiguous = app.world_mut().schedule_scope(stage::Step, |world, schedule| schedule.initialize(world).map(drop));
        assert!(ambiguous.is_err());
    }
}
