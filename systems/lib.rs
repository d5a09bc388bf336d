//! Verbs: what happens at each step, one file and one plugin a step.

pub mod backward;
pub mod evaluate;
pub mod forward;
pub mod sample;
pub mod spawn;
pub mod stage;
pub mod update;

use bevy_app::App;
use bevy_tasks::{ComputeTaskPool, TaskPoolBuilder};

/// An app that trains: every stage of a step.
pub fn training_app() -> App {
    let mut app = App::empty();
    app.add_plugins((
        stage::StagePlugin,
        sample::SamplePlugin,
        forward::ForwardPlugin,
        backward::BackwardPlugin,
        update::UpdatePlugin,
        evaluate::EvaluatePlugin,
    ));
    app.finish();
    app.cleanup();
    app
}

/// Spreads the work over so many threads, the caller's included. Only the first call counts.
pub fn use_threads(threads: usize) {
    ComputeTaskPool::get_or_init(|| TaskPoolBuilder::new().num_threads(threads.saturating_sub(1)).thread_name("optogen".into()).build());
}
