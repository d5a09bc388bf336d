//! sample, ahead: on a thread that has nothing else to do.
//!
//! Where fewer cohorts step than there are threads, the batches of the next steps are drawn beside them. Sequences are what their numbers say,
//! whoever draws them; a batch that is not there in time is drawn where it is needed. A program whose systems change streams while models train
//! does without this plugin.

use crate::sample::{Source, Sources, draw, sample};
use crate::spread::threads;
use crate::stage::{Stage, Step};
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use candle_core::Device;
use optogen::Result;
use optogen::bank::ClassBank;
use optogen::components::{Active, Members, Progress};
use optogen::sampler::SequenceSampler;
use optogen::transformer::{Tokens, Transformer};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Adds the system.
pub struct AheadPlugin;

impl Plugin for AheadPlugin {
    fn build(&self, app: &mut App) {
        app.add_systems(Step, draw_ahead.in_set(Stage::Sample).after(sample));
    }
}

/// Steps whose batches are kept, as far as their features do not take more than so many bytes.
const STEPS: usize = 48;
const BYTES: usize = 4 << 20;

/// A cohort's next batches.
#[derive(Component)]
pub struct Ahead(Arc<Drawing>);

/// What the cohort and whoever draws for it share.
struct Drawing {
    sources: Vec<(SequenceSampler, ClassBank)>,
    batch: u64,
    batches: Mutex<Batches>,
}

#[derive(Default)]
struct Batches {
    /// Each with the number of its first sequence, without gaps.
    drawn: VecDeque<(u64, Result<Vec<Tokens>>)>,
    /// What the cohort takes next.
    next: u64,
    is_drawing: bool,
}

impl Batches {
    /// Whether they take one `share`-th of the room that there is.
    fn take_up(&self, share: usize) -> bool {
        let parts = self.drawn.iter().flat_map(|(_, parts)| parts.iter().flatten());
        let bytes: usize = parts.map(|part| part.features.elem_count() * part.features.dtype().size_in_bytes()).sum();
        share * self.drawn.len() >= STEPS || share * bytes >= BYTES
    }
}

impl Ahead {
    /// How many batches are there.
    pub fn count(&self) -> usize {
        self.0.lock().drawn.len()
    }

    /// The batch that begins with a sequence, if it is there; what lies before it is let go.
    pub(crate) fn take(&self, first: u64) -> Option<Result<Vec<Tokens>>> {
        let mut batches = self.0.lock();
        batches.next = first + self.0.batch;
        while batches.drawn.front().is_some_and(|(other, _)| *other < first) {
            batches.drawn.pop_front();
        }
        batches.drawn.pop_front_if(|(other, _)| *other == first).map(|(_, parts)| parts)
    }
}

impl Drawing {
    fn lock(&self) -> MutexGuard<'_, Batches> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws batches behind those that are there, as many as there is room for.
    fn draw(&self, mut progress: Progress) {
        let (own, mut room): (Vec<Source>, _) = (self.sources.iter().map(|(sampler, bank)| (sampler, bank)).collect(), Vec::new());
        loop {
            let mut batches = self.lock();
            let last = batches.drawn.back().map_or(0, |(last, _)| last + self.batch);
            // The cohort may have gone on by itself.
            progress.sequences = last.max(batches.next);
            if progress.sequences >= progress.total || batches.take_up(1) {
                batches.is_drawing = false;
                return;
            }
            drop(batches);
            let parts = draw(&own, &progress, &mut room, &Device::Cpu);
            self.lock().drawn.push_back((progress.sequences, parts));
        }
    }
}

type Cohort<'a> = (Entity, &'a Members, &'a Progress, &'a Transformer, Option<&'a Ahead>);

fn draw_ahead(mut commands: Commands, cohorts: Query<Cohort, With<Active>>, sources: Sources) {
    if cohorts.iter().count() >= threads() {
        return;
    }
    for (entity, members, progress, transformer, ahead) in &cohorts {
        let Some(Ahead(drawing)) = ahead else {
            if let (true, Ok(own)) = (transformer.parameters().device().is_cpu(), sources.of(members)) {
                let sources = own.into_iter().map(|(sampler, bank)| (sampler.clone(), bank.clone())).collect();
                commands.entity(entity).insert(Ahead(Arc::new(Drawing {
                    sources,
                    batch: progress.batch as u64,
                    batches: Mutex::default(),
                })));
            }
            continue;
        };
        let mut batches = drawing.lock();
        if batches.is_drawing || batches.take_up(2) || progress.sequences + drawing.batch >= progress.total {
            continue;
        }
        batches.is_drawing = true;
        let (drawing, progress) = (drawing.clone(), *progress);
        rayon::spawn(move || drawing.draw(progress));
    }
}
