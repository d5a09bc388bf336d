//! sample: draws each member's next sequences and looks their features up.

use crate::spread::spread;
use crate::stage::{Stage, Step};
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use optogen::bank::ClassBank;
use optogen::batch::{Batch, tokens};
use optogen::components::{Active, FedBy, Members, Progress, Stream, StreamOf, Trouble};
use optogen::sampler::{SequenceSampler, Sequences};
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
            let own = members.iter().map(|member| {
                let (stream, of) = streams.get(models.get(member).map_err(lost)?.stream()).map_err(lost)?;
                Ok((&stream.0, banks.get(of.0).map_err(lost)?))
            });
            let own: Vec<(&SequenceSampler, &ClassBank)> = own.collect::<Result<_>>()?;
            // All members of a cohort are of one bank, and all have noise or none.
            let Some(&(sampler, bank)) = own.first() else { return Ok(()) };
            let mut noises = vec![Vec::new(); if sampler.noise_scale() > 0.0 { own.len() } else { 0 }];
            let noise = noises.iter_mut().map(Some).chain(std::iter::repeat_with(|| None));
            // A large cohort's members are drawn side by side.
            spread(own.into_iter().zip(&mut batch.drawn).zip(noise), |(((sampler, bank), drawn), noise)| {
                sampler.fill(progress.sequences, progress.batch, drawn);
                if let Some(noise) = noise {
                    sampler.noise(progress.sequences, progress.batch, bank.features, noise);
                }
            });
            let device = transformer.parameters().device();
            let parts = (0..progress.batch)
                .step_by(progress.micro_batch)
                .map(|first| tokens(bank, &batch.drawn, first..first + progress.micro_batch, &noises, device));
            batch.parts = parts.collect::<Result<_>>()?;
            Ok(())
        });
    });
}
