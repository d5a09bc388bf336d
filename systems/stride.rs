//! update, and some more steps at once: where nothing is due that anybody would see between them.
//!
//! A model that takes its next steps while its parameters are in the cache takes them sooner than one that waits until all others have taken
//! theirs. These follow a step that ran through the stages; whatever is due after a step, or before the next, finds the model where it would have
//! been. A program with systems of its own that look at every step does without this plugin.

use crate::ahead::Ahead;
use crate::backward::{decays, differentiate};
use crate::clamp::now;
use crate::forward::fused_step;
use crate::profile::Profile;
use crate::run::StopRequest;
use crate::sample::{Sources, next_batch};
use crate::spread::each;
use crate::stage::{Stage, Step};
use crate::update::{descend, read_numbers, update};
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use bevy_ecs::query::QueryData;
use bevy_ecs::system::SystemParam;
use optogen::batch::Batch;
use optogen::clamp::{Moments, Plan};
use optogen::components::*;
use optogen::fused::Fused;
use optogen::gradients::Gradients;
use optogen::numbers::Numbers;
use optogen::optimiser::Optimiser;
use optogen::steps::{StepNumbers, Steps};
use optogen::transformer::Transformer;
use optogen::{Error, Result};
use std::time::{Duration, Instant};

/// Adds the system.
pub struct StridePlugin;

impl Plugin for StridePlugin {
    fn build(&self, app: &mut App) {
        app.init_resource::<StopRequest>().init_resource::<Length>();
        app.add_systems(Step, stride.in_set(Stage::Update).after(update).before(read_numbers));
    }
}

/// Steps that are taken at once, and how long they may take, so that everything else goes on.
const STEPS: u32 = 16;
const TIME: Duration = Duration::from_millis(50);

/// How many steps all cohorts take next: as many each, so that they end together.
#[derive(Resource)]
struct Length(u32);

impl Default for Length {
    fn default() -> Self {
        Self(1)
    }
}

/// What a step takes.
#[derive(QueryData)]
#[query_data(mutable)]
struct Stepping {
    members: &'static Members,
    progress: &'static mut Progress,
    transformer: &'static Transformer,
    plan: &'static Plan,
    fused: &'static mut Fused,
    ahead: Option<&'static Ahead>,
    batch: &'static mut Batch,
    gradients: &'static mut Gradients,
    optimiser: &'static mut Optimiser,
    steps: &'static mut Steps,
    trouble: &'static mut Trouble,
}

/// What says when something is due, and what is clamped.
#[derive(SystemParam)]
struct Conditions<'w, 's> {
    models: Query<'w, 's, &'static Model>,
    runs: Query<'w, 's, (&'static Run, Option<&'static Hooks>)>,
    hooks: Query<'w, 's, &'static Hook>,
    lists: Query<'w, 's, &'static Interventions>,
    moments: Query<'w, 's, &'static Moments>,
}

impl Conditions<'_, '_> {
    /// Whether anything is done with one of a cohort's models when so many sequences have been seen.
    fn are_due(&self, members: &Members, sequences: u64) -> bool {
        let is_due = |(run, hooks): (&Run, Option<&Hooks>)| {
            let mut hooks = self.hooks.iter_many(hooks.into_iter().flat_map(|hooks| hooks.iter())).flatten();
            run.checkpoints.due(sequences) || hooks.any(|hook| hook.looks.due(sequences))
        };
        self.models.iter_many(members.iter()).flatten().any(|model| model.evaluations.due(sequences))
            || self.runs.iter_many(members.iter()).flatten().any(is_due)
    }
}

fn stride(
    mut cohorts: Query<Stepping, With<Active>>,
    conditions: Conditions,
    sources: Sources,
    stop: Res<StopRequest>,
    mut length: ResMut<Length>,
    profile: Option<ResMut<Profile>>,
) {
    let (begin, steps) = (Instant::now(), length.0);
    let laps = each(cohorts.iter_mut().collect(), |mut cohort| {
        let (mut laps, decays) = (Laps::new(), decays(cohort.members, &conditions.models));
        for _ in 0..steps {
            if stop.made() || cohort.trouble.error().is_some() {
                break;
            }
            match cohort.step(&conditions, &sources, &decays, &mut laps) {
                Ok(true) => laps.steps += 1,
                Ok(false) => break,
                Err(error) => cohort.trouble.guard(|| Err(error)),
            }
        }
        laps
    });
    let (took, taken) = (begin.elapsed(), laps.iter().map(|laps| laps.steps).max().unwrap_or_default());
    if taken > 0 {
        length.0 = ((TIME.as_secs_f64() / took.as_secs_f64() * f64::from(taken)) as u32).clamp(1, STEPS);
    }
    if let Some(mut profile) = profile {
        profile.divide(took, taken, laps.iter().flat_map(|laps| laps.times));
    }
}

impl SteppingItem<'_, '_> {
    /// One step, if nothing is due before it or after it, and it can be fused.
    fn step(&mut self, conditions: &Conditions, sources: &Sources, decays: &[f64], laps: &mut Laps) -> Result<bool> {
        let &Progress { sequences, total, batch, micro_batch } = &*self.progress;
        // What is measured aside is waited for in the step before the next one that is due: it ends a stride.
        let next = sequences + batch as u64;
        let is_quiet = next < total && !conditions.are_due(self.members, sequences) && !conditions.are_due(self.members, next);
        if !is_quiet || micro_batch < batch || !self.steps.unread.iter().all(is_finite) {
            return Ok(false);
        }
        let now = now(sequences, self.members.iter(), &conditions.lists, &conditions.moments);
        let Some(fusible) = self.plan.fusible(self.transformer.architecture().layers, &now) else { return Ok(false) };
        laps.begin();
        next_batch(self.members, &self.progress, self.transformer, self.ahead, &mut self.batch, sources)?;
        laps.end(Stage::Sample);
        let [whole] = &self.batch.parts[..] else { return Err(Error::Internal("a batch is gone".into())) };
        let losses = Losses::Fused(fused_step(&mut self.fused, self.transformer, whole, fusible)?);
        laps.end(Stage::Forward);
        let step = differentiate(sequences, losses, Some(&self.fused), decays, self.transformer, &mut self.gradients)?;
        self.steps.unread.push(step);
        laps.end(Stage::Backward);
        descend(self.transformer, &self.gradients, &mut self.optimiser, &mut self.steps, &mut self.progress)?;
        laps.end(Stage::Update);
        Ok(true)
    }
}

/// Whether a step's numbers are numbers; one that is not is the model's last.
fn is_finite(step: &StepNumbers<Numbers>) -> bool {
    let are_finite = |numbers: &Numbers| matches!(numbers, Numbers::Here(numbers) if numbers.iter().all(|number| number.is_finite()));
    are_finite(&step.loss) && are_finite(&step.grad_norm)
}

/// How long a cohort's steps took, stage by stage.
struct Laps {
    last: Instant,
    times: [(Stage, Duration); 4],
    steps: u32,
}

impl Laps {
    fn new() -> Self {
        let times = [Stage::Sample, Stage::Forward, Stage::Backward, Stage::Update].map(|stage| (stage, Duration::ZERO));
        Self { last: Instant::now(), times, steps: 0 }
    }

    fn begin(&mut self) {
        self.last = Instant::now();
    }

    fn end(&mut self, stage: Stage) {
        let now = Instant::now();
        let own = self.times.iter_mut().filter(|(other, _)| *other == stage);
        own.for_each(|(_, time)| *time += now - self.last);
        self.last = now;
    }
}
