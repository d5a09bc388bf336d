//! sample: draws each member's next sequences and looks their features up.

use crate::spread::spread;
use crate::stage::{Stage, Step};
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use optogen::bank::ClassBank;
use optogen::batch::{Batch, tokens};
use optogen::components::{Active, FedBy, Members, Progress, Stream, StreamOf, Trouble};
use optogen::sampler::Sequences;
use optogen::transformer::Transformer;
use optogen::{Error, Result};

/// Adds the system.
pub struct SamplePlugin;

impl Plugin for SamplePlugin {
    fn build(&self, app: &mut App) {
        app.add_systems(Step, sample.in_set(Stage::Sample));
    }
}

type Cohort<'a> = (&'a Members, &'a Progress, &'a Transformer, &'a mut Batch, &'a mut Trouble);

fn sample(mut cohorts: Query<Cohort, With<Active>>, models: Query<&FedBy>, streams: Query<(&Stream, &StreamOf)>, banks: Query<&ClassBank>) {
    spread(cohorts.iter_mut(), |(members, progress, transformer, mut batch, mut trouble)| {
        trouble.guard(|| {
            let lost = |_| Error::Invalid("a model has lost its stream or its class bank".into());
            batch.drawn.resize_with(members.len(), Sequences::default);
            let mut noises = Vec::new();
            let mut bank = None;
            for (member, drawn) in members.iter().zip(&mut batch.drawn) {
                let (stream, of) = streams.get(models.get(member).map_err(lost)?.stream()).map_err(lost)?;
                let its_bank = banks.get(of.0).map_err(lost)?;
                stream.0.fill(progress.sequences, progress.batch, drawn);
                if stream.0.noise_scale() > 0.0 {
                    let mut noise = Vec::new();
                    stream.0.noise(progress.sequences, progress.batch, its_bank.features, &mut noise);
                    noises.push(noise);
                }
                bank = Some(its_bank);
            }
            let Some(bank) = bank else { return Ok(()) };
            let device = transformer.parameters().device();
            let parts = (0..progress.batch)
                .step_by(progress.micro_batch)
                .map(|first| tokens(bank, &batch.drawn, first..first + progress.micro_batch, &noises, device));
            batch.parts = parts.collect::<Result<_>>()?;
            Ok(())
        });
    });
}
