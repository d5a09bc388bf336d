//! forward: from sequences to the mean loss of each micro-batch, every value through the gate.
//!
//! Where the fused step can be taken, it makes the gradients in the same go, and `backward` takes them up.

use crate::clamp::now;
use crate::spread::spread;
use crate::stage::{Stage, Step};
use crate::workspace::with_workspace;
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use candle_core::Tensor;
use optogen::Result;
use optogen::batch::{Batch, joined};
use optogen::clamp::{Fusible, Moments, Now, Plan};
use optogen::components::{Active, Interventions, Losses, Members, Progress, Trouble};
use optogen::fused::Fused;
use optogen::gate::Gate;
use optogen::ops;
use optogen::transformer::{Tokens, Transformer};

/// Adds the system.
pub struct ForwardPlugin;

impl Plugin for ForwardPlugin {
    fn build(&self, app: &mut App) {
        app.add_systems(Step, forward.in_set(Stage::Forward));
    }
}

type Cohort<'a> = (&'a Members, &'a Progress, &'a Transformer, Option<&'a mut Fused>, &'a Batch, &'a Plan, &'a mut Losses, &'a mut Trouble);

pub(crate) fn forward(mut cohorts: Query<Cohort, With<Active>>, lists: Query<&Interventions>, moments: Query<&Moments>) {
    spread(cohorts.iter_mut(), |(members, progress, transformer, fused, batch, plan, mut losses, mut trouble)| {
        trouble.guard(|| {
            let now = now(progress.sequences, members.iter(), &lists, &moments);
            // The fused step is for whole batches in which nothing is clamped but values and patterns of heads.
            if let (Some(mut fused), [whole]) = (fused, &batch.parts[..])
                && let Some(fusible) = plan.fusible(transformer.architecture().layers, &now)
            {
                *losses = Losses::Fused(fused_step(&mut fused, transformer, whole, fusible)?);
                return Ok(());
            }
            *losses = Losses::Graph(if batch.parts.len() > 1 && plan.couples_sequences(&now) {
                losses_of_coupled(&batch.parts, transformer, plan, &now)?
            } else {
                let each = batch.parts.iter().map(|part| {
                    let logits = plan.forward(transformer, part, &now, &mut Gate::closed())?;
                    Ok(ops::cross_entropy(&logits, &part.targets()?)?)
                });
                each.collect::<Result<_>>()?
            });
            Ok(())
        });
    });
}

/// The losses of micro-batches whose sequences depend on each other: the batch goes through as a whole, and each has its own part of the answers.
fn losses_of_coupled(parts: &[Tokens], transformer: &Transformer, plan: &Plan, now: &Now) -> Result<Vec<Tensor>> {
    let logits = plan.forward(transformer, &joined(parts)?, now, &mut Gate::closed())?;
    let mut first = 0;
    let each = parts.iter().map(|part| {
        let count = part.labels.dim(1)?;
        let own = logits.narrow(1, first, count)?.contiguous()?;
        first += count;
        Ok(ops::cross_entropy(&own, &part.targets()?)?)
    });
    each.collect()
}

/// The mean losses of a batch; the gradients are left in `fused`.
pub(crate) fn fused_step(fused: &mut Fused, transformer: &Transformer, whole: &Tokens, fusible: Fusible) -> Result<Vec<f32>> {
    let clamps = fusible.clamps(whole)?;
    Ok(with_workspace(|workspace| fused.step(workspace, transformer, whole, &clamps))?)
}
