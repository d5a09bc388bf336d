//! backward: from losses to gradients, averaged over micro-batches, the norm penalty's included.

use crate::spread::spread;
use crate::stage::{Stage, Step};
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use optogen::Result;
use optogen::components::{Active, Losses, Members, Model, Progress, StepNumbers, Trouble};
use optogen::gradients::Gradients;
use optogen::transformer::Transformer;

/// Adds the system.
pub struct BackwardPlugin;

impl Plugin for BackwardPlugin {
    fn build(&self, app: &mut App) {
        app.add_systems(Step, backward.in_set(Stage::Backward));
    }
}

type Cohort<'a> = (&'a Members, &'a Progress, &'a Transformer, &'a mut Losses, &'a mut Gradients, &'a mut StepNumbers, &'a mut Trouble);

fn backward(mut cohorts: Query<Cohort, With<Active>>, models: Query<&Model>) {
    spread(cohorts.iter_mut(), |(members, progress, transformer, mut losses, mut gradients, mut numbers, mut trouble)| {
        trouble.guard(|| {
            let parameters = transformer.parameters();
            // Taken, so that the activations are given back as soon as their gradients are known.
            let losses = std::mem::take(&mut losses.0);
            numbers.sequences = progress.sequences;
            numbers.loss = vec![0.0; members.len()];
            for part in &losses {
                let part: Vec<f32> = part.to_vec1()?;
                numbers.loss.iter_mut().zip(part).for_each(|(mean, loss)| *mean += f64::from(loss) / losses.len() as f64);
            }
            let parts = losses.iter().map(|part| Ok(Gradients::of(part, parameters)?)).collect::<Result<Vec<_>>>()?;
            drop(losses);
            numbers.grad_spread.clear();
            *gradients = match <[Gradients; 1]>::try_from(parts) {
                Ok([whole]) => whole,
                Err(parts) => {
                    let (mean, spread) = Gradients::mean(&parts)?;
                    numbers.grad_spread = spread;
                    mean
                }
            };
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
