//! backward: from losses to gradients, averaged over micro-batches, the norm penalty's included.

use crate::spread::spread;
use crate::stage::{Stage, Step};
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use candle_core::Tensor;
use optogen::components::{Active, Losses, Members, Model, Progress, Trouble};
use optogen::fused::Fused;
use optogen::gradients::Gradients;
use optogen::numbers::Numbers;
use optogen::steps::{StepNumbers, Steps};
use optogen::transformer::Transformer;
use optogen::{Error, Result};

/// Adds the system.
pub struct BackwardPlugin;

impl Plugin for BackwardPlugin {
    fn build(&self, app: &mut App) {
        app.add_systems(Step, backward.in_set(Stage::Backward));
    }
}

type Cohort<'a> =
    ((&'a Members, &'a Progress, &'a Transformer), Option<&'a Fused>, &'a mut Losses, &'a mut Gradients, &'a mut Steps, &'a mut Trouble);

fn backward(mut cohorts: Query<Cohort, With<Active>>, models: Query<&Model>) {
    spread(cohorts.iter_mut(), |((members, progress, transformer), fused, mut losses, mut gradients, mut steps, mut trouble)| {
        trouble.guard(|| {
            let parameters = transformer.parameters();
            // Taken, so that the activations are given back as soon as their gradients are known.
            let (mut loss, grad_spread) = match (std::mem::take(&mut *losses), fused) {
                (Losses::Fused(losses), Some(fused)) => {
                    gradients.set(fused.gradients());
                    (Numbers::Here(losses.into_iter().map(f64::from).collect()), None)
                }
                (Losses::Graph(losses), _) => {
                    let loss = mean_losses(&losses)?;
                    let mut parts = losses.iter().map(|part| Ok(Gradients::of(part, parameters)?)).collect::<Result<Vec<_>>>()?;
                    drop(losses);
                    let mut spread = None;
                    *gradients = if parts.len() == 1 {
                        parts.remove(0)
                    } else {
                        let (mean, own) = Gradients::mean(&parts)?;
                        spread = Some(own);
                        mean
                    };
                    (loss, spread)
                }
                (Losses::Fused(_), None) => return Err(Error::Invalid("the memory of the fused step is gone".into())),
            };
            let decays: Vec<f64> = models.iter_many(members.iter()).flatten().map(|model| model.experiment.train.weight_decay).collect();
            if decays.iter().any(|&decay| decay > 0.0) {
                loss.add(&gradients.add_norm_penalty(parameters, &decays)?)?;
            }
            let grad_norm = gradients.norms()?;
            steps.unread.push(StepNumbers { sequences: progress.sequences, loss, grad_norm, grad_spread, learning_rate: Vec::new() });
            Ok(())
        });
    });
}

/// The mean over micro-batches, for each member.
fn mean_losses(parts: &[Tensor]) -> Result<Numbers> {
    let count = parts.len() as f64;
    let [first, rest @ ..] = parts else { return Err(Error::Invalid("a batch is gone".into())) };
    let mut mean = Numbers::of(first)?.over(count)?;
    for part in rest {
        mean.add(&Numbers::of(part)?.over(count)?)?;
    }
    Ok(mean)
}
