//! Verbs: what happens at each step, one file and one plugin a step.

pub mod ahead;
mod allocator;
pub mod aside;
pub mod backward;
pub mod checkpoint;
pub mod clamp;
mod elsewhere;
pub mod evaluate;
pub mod forward;
mod idle;
pub mod look;
mod measuring;
pub mod memory;
pub mod profile;
pub mod record;
pub mod report;
pub mod retire;
pub mod run;
pub mod runs_memory;
pub mod sample;
pub mod spawn;
pub mod spread;
pub mod stage;
pub mod stride;
pub mod toy;
pub mod update;
pub mod weigh;
mod workspace;

pub use spread::use_threads;

use bevy_app::{App, Plugin};

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

/// Keeps candle from spreading the small operations of one model over threads of its own, which would wait for each other, spinning, on the
/// cores that other models need, and products from copying what they read.
///
/// # Safety
/// The environment changes: no other thread may run yet. The first thing that `main` does.
pub unsafe fn keep_operations_whole() {
    for threads in ["CANDLE_NUM_THREADS", "RAYON_NUM_THREADS"] {
        // The second is asked for at every product of matrices: for want of it /proc/cpuinfo is read each time. Our own pool is told how many.
        unsafe { std::env::set_var(threads, "1") };
    }
    optogen::ops::keep_products_plain();
}

/// An app of some plugins, ready to be driven by hand.
pub fn app(plugins: impl FnOnce(&mut App)) -> App {
    let mut app = App::empty();
    plugins(&mut app);
    app.finish();
    app.cleanup();
    app
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
            app.add_plugins((TrainingPlugins, toy::ToyPlugins, KeepingPlugins, report::ReportPlugin { quiet: false }));
            app.add_plugins((ahead::AheadPlugin, aside::AsidePlugin, stride::StridePlugin));
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
