//! backward: from losses to gradients, averaged over micro-batches, the norm penalty's included.

use crate::spread::spread;
use crate::stage::{Stage, Step};
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use candle_core::Tensor;
use optogen::batch::Batch;
use optogen::components::{Active, Losses, Members, Model, Progress, StepNumbers, Trouble};
use optogen::fused::Fused;
use optogen::gradients::Gradients;
use optogen::transformer::Transformer;
use optogen::{Error, Result};

/// Adds the system.
pub struct BackwardPlugin;

impl Plugin for BackwardPlugin {
    fn build(&self, app: &mut App) {
        app.add_systems(Step, backward.in_set(Stage::Backward));
    }
}

type Cohort<'a> = (
    (&'a Members, &'a Progress, &'a Transformer, &'a Batch),
    Option<&'a mut Fused>,
    &'a mut Losses,
    &'a mut Gradients,
    &'a mut StepNumbers,
    &'a mut Trouble,
);

fn backward(mut cohorts: Query<Cohort, With<Active>>, models: Query<&Model>) {
    spread(cohorts.iter_mut(), |((members, progress, transformer, batch), fused, mut losses, mut gradients, mut numbers, mut trouble)| {
        trouble.guard(|| {
            let parameters = transformer.parameters();
            numbers.sequences = progress.sequences;
            numbers.grad_spread.clear();
            // Taken, so that the activations are given back as soon as their gradients are known.
            match (std::mem::take(&mut *losses), fused) {
                (Losses::Fused(losses), Some(mut fused)) => {
                    numbers.loss = losses.into_iter().map(f64::from).collect();
                    let whole = batch.parts.first().ok_or_else(|| Error::Invalid("a batch is gone".into()))?;
                    fused.backward(transformer, whole)?;
                    gradients.set(fused.gradients());
                }
                (Losses::Graph(losses), _) => {
                    numbers.loss = mean_losses(&losses, members.len())?;
                    let parts = losses.iter().map(|part| Ok(Gradients::of(part, parameters)?)).collect::<Result<Vec<_>>>()?;
                    drop(losses);
                    *gradients = match <[Gradients; 1]>::try_from(parts) {
                        Ok([whole]) => whole,
                        Err(parts) => {
                            let (mean, spread) = Gradients::mean(&parts)?;
                            numbers.grad_spread = spread;
                            mean
                        }
                    };
                }
                (Losses::Fused(_), None) => return Err(Error::Invalid("the memory of the fused step is gone".into())),
            }
            let decays: Vec<f64> = models.iter_many(members.iter()).flatten().map(|model| model.experiment.train.weight_decay).collect();
            if decays.iter().any(|&decay| decay > 0.0) {
                let penalties = gradients.add_norm_penalty(parameters, &decays)?;
                numbers.loss.iter_mut().zip(penalties).for_each(|(loss, penalty)| *loss += penalty);
            }
            numbers.grad_norm = gradients.norms()?;
            Ok(())
        });
    });
}

/// The mean over micro-batches, for each member.
fn mean_losses(parts: &[Tensor], members: usize) -> Result<Vec<f64>> {
    let mut means = vec![0.0; members];
    for part in parts {
        let part: Vec<f32> = part.to_vec1()?;
        means.iter_mut().zip(part).for_each(|(mean, loss)| *mean += f64::from(loss) / parts.len() as f64);
    }
    Ok(means)
}
