//! backward: from losses to gradients, averaged over micro-batches, the norm penalty's included.

use crate::spread::spread;
use crate::stage::{Stage, Step};
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use bevy_ecs::query::QueryData;
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

/// The factors of the norm penalty of a cohort's members; none where all are zero.
pub(crate) fn decays(members: &Members, models: &Query<&Model>) -> Vec<f64> {
    let decays: Vec<f64> = models.iter_many(members.iter()).flatten().map(|model| model.experiment.train.weight_decay).collect();
    if decays.iter().any(|&decay| decay > 0.0) { decays } else { Vec::new() }
}

fn backward(mut cohorts: Query<Cohort, With<Active>>, models: Query<&Model>) {
    // What a fused step has left is only taken up, for which no thread need be woken.
    let (work, left): (Vec<_>, Vec<_>) = cohorts
        .iter_mut()
        .map(|cohort| (decays(cohort.0.0, &models), cohort))
        .partition(|(decays, cohort)| !decays.is_empty() || matches!(*cohort.2, Losses::Graph(_)));
    left.into_iter().for_each(of_cohort);
    spread(work.into_iter(), of_cohort);
}

fn of_cohort((decays, cohort): (Vec<f64>, <Cohort as QueryData>::Item<'_, '_>)) {
    let ((_, progress, transformer), fused, mut losses, mut gradients, mut steps, mut trouble) = cohort;
    trouble.guard(|| {
        // Taken, so that the activations are given back as soon as their gradients are known.
        let losses = std::mem::take(&mut *losses);
        steps.unread.push(differentiate(progress.sequences, losses, fused, &decays, transformer, &mut gradients)?);
        Ok(())
    });
}

/// From losses to gradients; `decays` is empty where there are none. Returns what is known of the step after so many sequences.
pub(crate) fn differentiate(
    sequences: u64,
    losses: Losses,
    fused: Option<&Fused>,
    decays: &[f64],
    transformer: &Transformer,
    gradients: &mut Gradients,
) -> Result<StepNumbers<Numbers>> {
    let parameters = transformer.parameters();
    let (mut loss, grad_spread) = match (losses, fused) {
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
        (Losses::Fused(_), None) => return Err(Error::Internal("the memory of the fused step is gone".into())),
    };
    if !decays.is_empty() {
        loss.add(&gradients.add_norm_penalty(parameters, decays)?)?;
    }
    // The norm is found by the optimiser, which goes through the gradients anyway.
    Ok(StepNumbers { sequences, loss, grad_norm: Numbers::Here(Vec::new()), grad_spread, learning_rate: Vec::new() })
}

/// The mean over micro-batches, for each member.
fn mean_losses(parts: &[Tensor]) -> Result<Numbers> {
    let count = parts.len() as f64;
    let [first, rest @ ..] = parts else { return Err(Error::Internal("a batch is gone".into())) };
    let mut mean = Numbers::of(first)?.over(count)?;
    for part in rest {
        mean.add(&Numbers::of(part)?.over(count)?)?;
    }
    Ok(mean)
}
