//! sample: draws each member's next sequences and looks their features up.

use crate::ahead::Ahead;
use crate::spread::spread;
use crate::stage::{Stage, Step};
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use bevy_ecs::system::SystemParam;
use candle_core::Device;
use optogen::bank::ClassBank;
use optogen::batch::{Batch, tokens};
use optogen::components::{Active, FedBy, Members, Progress, Stream, StreamOf, Trouble};
use optogen::sampler::{SequenceSampler, Sequences};
use optogen::transformer::{Tokens, Transformer};
use optogen::{Error, Result};

/// Adds the system.
pub struct SamplePlugin;

impl Plugin for SamplePlugin {
    fn build(&self, app: &mut App) {
        app.add_systems(Step, sample.in_set(Stage::Sample));
    }
}

type Cohort<'a> = (&'a Members, &'a Progress, &'a Transformer, Option<&'a Ahead>, &'a mut Batch, &'a mut Trouble);

pub(crate) fn sample(mut cohorts: Query<Cohort, With<Active>>, sources: Sources) {
    spread(cohorts.iter_mut(), |(members, progress, transformer, ahead, mut batch, mut trouble)| {
        trouble.guard(|| next_batch(members, progress, transformer, ahead, &mut batch, &sources));
    });
}

/// A cohort's next sequences.
pub(crate) fn next_batch(
    members: &Members,
    progress: &Progress,
    transformer: &Transformer,
    ahead: Option<&Ahead>,
    Batch { parts, drawn }: &mut Batch,
    sources: &Sources,
) -> Result<()> {
    *parts = match ahead.and_then(|ahead| ahead.take(progress.sequences)) {
        Some(parts) => parts?,
        None => draw(&sources.of(members)?, progress, drawn, transformer.parameters().device())?,
    };
    Ok(())
}

/// Where a member's sequences come from.
pub(crate) type Source<'a> = (&'a SequenceSampler, &'a ClassBank);

/// Where the sequences of models come from.
#[derive(SystemParam)]
pub(crate) struct Sources<'w, 's> {
    models: Query<'w, 's, &'static FedBy>,
    streams: Query<'w, 's, (&'static Stream, &'static StreamOf)>,
    banks: Query<'w, 's, &'static ClassBank>,
}

impl Sources<'_, '_> {
    /// Those of a cohort's members.
    pub fn of(&self, members: &Members) -> Result<Vec<Source<'_>>> {
        let lost = |_| Error::Internal("a model has lost its stream or its class bank".into());
        let own = members.iter().map(|member| {
            let (stream, of) = self.streams.get(self.models.get(member).map_err(lost)?.stream()).map_err(lost)?;
            Ok((&stream.0, self.banks.get(of.0).map_err(lost)?))
        });
        own.collect()
    }
}

/// The next batch, in micro-batches; `drawn` is room for its sequences.
pub(crate) fn draw(own: &[Source], progress: &Progress, drawn: &mut Vec<Sequences>, device: &Device) -> Result<Vec<Tokens>> {
    let &Progress { sequences, batch, micro_batch, .. } = progress;
    drawn.resize_with(own.len(), Sequences::default);
    // All members of a cohort are of one bank, and all have noise or none.
    let Some(&(sampler, bank)) = own.first() else { return Ok(Vec::new()) };
    let mut noises = vec![Vec::new(); if sampler.noise_scale() > 0.0 { own.len() } else { 0 }];
    let noise = noises.iter_mut().map(Some).chain(std::iter::repeat_with(|| None));
    // A large cohort's members are drawn side by side.
    spread(own.iter().zip(&mut *drawn).zip(noise), |((&(sampler, bank), drawn), noise)| {
        sampler.fill(sequences, batch, drawn);
        if let Some(noise) = noise {
            sampler.noise(sequences, batch, bank.features, noise);
        }
    });
    let parts = (0..batch).step_by(micro_batch).map(|first| tokens(bank, drawn, first..first + micro_batch, &noises, device));
    parts.collect()
}
