//! Toy models: they go through the same schedule as the transformers, are kept by the same plugins, and learn by systems of their own.

mod checkpoint;
mod clamp;
mod forward;
mod measure;
mod record;
mod spawn;
mod update;

pub use spawn::spawn_toy;

use bevy_app::{App, Plugin};

/// Everything of a step that is a toy model's own; beside [`TrainingPlugins`](crate::TrainingPlugins) and
/// [`KeepingPlugins`](crate::KeepingPlugins).
pub struct ToyPlugins;

impl Plugin for ToyPlugins {
    fn build(&self, app: &mut App) {
        app.add_plugins((
            forward::ForwardPlugin,
            update::UpdatePlugin,
            clamp::ClampPlugin,
            measure::MeasurePlugin,
            record::RecordPlugin,
            checkpoint::CheckpointPlugin,
        ));
    }
}
