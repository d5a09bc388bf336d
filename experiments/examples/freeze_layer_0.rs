//! A worked example: the program with one system more. From the moment at which the induction strength of a head passes .5, layer 0 stays as it is;
//! the moment is noted in `notes.parquet`.
//!
//!   cargo run --release --example freeze_layer_0 -- run experiments/induction/base.toml --out runs/frozen

use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use candle_core::Tensor;
use optogen::components::{Evaluation, EvaluatorOf, MemberOf, Progress};
use optogen::log::RunLog;
use optogen::transformer::Transformer;
use optogen_experiments::program;
use optogen_systems::stage::{Stage, Step};
use optogen_systems::update::update;
use std::process::ExitCode;

fn main() -> ExitCode {
    program(|app| _ = app.add_plugins(FreezePlugin))
}

/// Induction strength of a head from which layer 0 is frozen.
const ENOUGH: f64 = 0.5;

struct FreezePlugin;

impl Plugin for FreezePlugin {
    fn build(&self, app: &mut App) {
        app.add_systems(Step, (notice.in_set(Stage::React), hold.in_set(Stage::Update).after(update)));
    }
}

/// What layer 0 was at that moment. It lies on the cohort, which on a CPU is one model.
#[derive(Component)]
struct Frozen(Vec<(String, Tensor)>);

/// After the evaluations: has a head come far enough?
fn notice(
    mut commands: Commands,
    evaluations: Query<(&EvaluatorOf, &Evaluation)>,
    mut models: Query<(&MemberOf, &mut RunLog)>,
    cohorts: Query<(&Progress, &Transformer), Without<Frozen>>,
) -> Result {
    for (of, evaluation) in &evaluations {
        let Some(Ok(measured)) = &evaluation.0 else { continue };
        let Some(strength) = measured.value("induction_strength").filter(|&strength| strength > ENOUGH) else { continue };
        let Ok((cohort, mut log)) = models.get_mut(of.0) else { continue };
        let Ok((progress, transformer)) = cohorts.get(cohort.0) else { continue };
        let layer_0 = transformer.parameters().iter().filter(|(name, _)| name.starts_with("transformer/blocks/0/"));
        let copies = layer_0.map(|(name, var)| Ok((name.to_owned(), var.as_tensor().copy()?)));
        commands.entity(cohort.0).insert(Frozen(copies.collect::<candle_core::Result<_>>()?));
        log.note(progress.sequences, "frozen at an induction strength of", strength);
        return Ok(());
    }
    Ok(())
}

/// After the update: back to what it was.
fn hold(cohorts: Query<(&Transformer, &Frozen)>) -> Result {
    for (transformer, frozen) in &cohorts {
        for (name, var) in transformer.parameters().iter() {
            if let Some((_, value)) = frozen.0.iter().find(|(own, _)| own == name) {
                var.set(value)?;
            }
        }
    }
    Ok(())
}
