//! forward: from sequences to the mean loss of each micro-batch, every value through the cohort's gate.

use crate::stage::{SINGLY, Stage, Step};
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use optogen::Result;
use optogen::batch::Batch;
use optogen::components::{Active, Losses, Trouble};
use optogen::gate::Gate;
use optogen::ops;
use optogen::transformer::Transformer;

/// Adds the system.
pub struct ForwardPlugin;

impl Plugin for ForwardPlugin {
    fn build(&self, app: &mut App) {
        app.add_systems(Step, forward.in_set(Stage::Forward));
    }
}

type Cohort<'a> = (&'a Transformer, &'a Batch, &'a mut Gate, &'a mut Losses, &'a mut Trouble);

fn forward(mut cohorts: Query<Cohort, With<Active>>) {
    cohorts.par_iter_mut().batching_strategy(SINGLY).for_each(|(transformer, batch, mut gate, mut losses, mut trouble)| {
        trouble.guard(|| {
            let each = batch.parts.iter().map(|part| {
                let logits = transformer.forward(part, &mut gate)?;
                Ok(ops::cross_entropy(&logits, &part.targets()?)?)
            });
            losses.0 = each.collect::<Result<_>>()?;
            Ok(())
        });
    });
}
