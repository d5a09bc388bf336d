//! Models, cohorts, streams and evaluators as entities, and how they hang together.
//!
//! ```text
//!  ClassBank ◀─ StreamOf ── Stream ─ Feeds ─▶ Model ── MemberOf ─▶ Cohort
//!                     Evaluator ─ EvaluatorOf ─▶ ┤
//!           Intervention ─ InterventionOn ─▶ ────┤
//!                               Hook ─ HookOf ─▶ ┘
//! ```
//! A **cohort** is the models of one shape that step together: their parameters are stacked, and what a step hands on lies on the cohort, a component
//! a system. On a CPU a cohort is usually one model, and cohorts run on separate threads. Despawning a model takes its stream,
//! evaluators, interventions and hooks along.

use crate::bank::ClassBank;
use crate::batch::{joined, tokens};
use crate::experiment::{Experiment, FlatValue, HookSpec, Input, InterventionSpec, Schedule};
use crate::heads::HeadMeasures;
use crate::metrics::Metrics;
use crate::sampler::{Exhaustive, SequenceSampler, Sequences};
use crate::transformer::Tokens;
use crate::{Cause, Error, Result};
use bevy_ecs::prelude::{Component, Entity};
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// What a run is known by, whatever it is that learns in it: all that its folder, its row and its checkpoints say of the experiment.
#[derive(Component, Clone, Debug)]
pub struct Run {
    /// Its name, in every table.
    pub run_id: String,
    /// The experiment as TOML.
    pub toml: String,
    /// Every key of the experiment and its value: columns of the run table.
    pub columns: Vec<(String, FlatValue)>,
    /// When its checkpoints are kept.
    pub checkpoints: Schedule,
    /// Seconds between recovery points.
    pub recovery_seconds: f64,
    /// The files and checkpoints that the experiment names, and what they held when they were read.
    pub inputs: Vec<Input>,
    /// Of a replay, what is replayed.
    pub source: Option<Source>,
}

/// The run whose checkpoints are replayed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Its name.
    pub run_id: String,
    /// The checkpoints that were evaluated, by sequences seen: SHA-256 of the manifest of each.
    pub checkpoints: BTreeMap<u64, String>,
}

/// One transformer.
#[derive(Component, Debug)]
pub struct Model {
    /// What it does.
    pub experiment: Experiment,
    /// When its evaluators run.
    pub evaluations: Schedule,
}

/// How a model fares.
#[derive(Component, Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is in training.
    Running,
    /// All its sequences are seen.
    Finished,
    /// Its loss is no longer a number; its rows are kept.
    Diverged,
    /// It was asked to stop, and can be resumed.
    Interrupted,
    /// It could not go on.
    Failed {
        /// Why.
        why: String,
        /// Whose it is to mend.
        cause: Cause,
    },
}

impl From<&Error> for Status {
    fn from(error: &Error) -> Self {
        Self::Failed { why: error.to_string(), cause: error.cause() }
    }
}

/// The cohort that a model steps with.
#[derive(Component)]
#[relationship(relationship_target = Members)]
pub struct MemberOf(pub Entity);

/// The models of a cohort, in the order in which they are stacked.
#[derive(Component, Default)]
#[relationship_target(relationship = MemberOf)]
pub struct Members(Vec<Entity>);

/// The class bank that a stream or an evaluator draws from.
#[derive(Component)]
#[relationship(relationship_target = DrawnFrom)]
pub struct StreamOf(pub Entity);

/// Whoever draws from a bank.
#[derive(Component, Default)]
#[relationship_target(relationship = StreamOf)]
pub struct DrawnFrom(Vec<Entity>);

/// The model that a stream feeds.
#[derive(Component)]
#[relationship(relationship_target = FedBy)]
pub struct Feeds(pub Entity);

/// The stream that feeds a model.
#[derive(Component)]
#[relationship_target(relationship = Feeds, linked_spawn)]
pub struct FedBy(Entity);

impl FedBy {
    /// That stream.
    pub fn stream(&self) -> Entity {
        self.0
    }
}

/// The model that an evaluator measures.
#[derive(Component)]
#[relationship(relationship_target = Evaluators)]
pub struct EvaluatorOf(pub Entity);

/// The evaluators of a model, in the order of its experiment.
#[derive(Component, Default)]
#[relationship_target(relationship = EvaluatorOf, linked_spawn)]
pub struct Evaluators(Vec<Entity>);

/// The model in which an intervention acts.
#[derive(Component)]
#[relationship(relationship_target = Interventions)]
pub struct InterventionOn(pub Entity);

/// The interventions in a model, in the order of its experiment.
#[derive(Component, Default)]
#[relationship_target(relationship = InterventionOn, linked_spawn)]
pub struct Interventions(Vec<Entity>);

/// The model at which a hook looks.
#[derive(Component)]
#[relationship(relationship_target = Hooks)]
pub struct HookOf(pub Entity);

/// The hooks of a model, in the order of its experiment.
#[derive(Component, Default)]
#[relationship_target(relationship = HookOf, linked_spawn)]
pub struct Hooks(Vec<Entity>);

/// What is clamped: change it, add one or take one away, and the next forward pass goes by it.
#[derive(Component, Clone, Debug)]
pub struct Intervention(pub InterventionSpec);

/// What is looked at, and when.
#[derive(Component, Clone, Debug)]
pub struct Hook {
    /// As the experiment has it.
    pub spec: HookSpec,
    /// When it looks.
    pub looks: Schedule,
}

/// What a hook saw in this step, until it is recorded.
#[derive(Component, Default)]
pub struct Looked(pub Vec<Result<crate::look::Rows>>);

/// A model whose checkpoints are looked at afterwards.
#[derive(Component)]
pub struct Replayed;

/// Training sequences, each a function of its number alone.
#[derive(Component)]
pub struct Stream(pub SequenceSampler);

/// A fixed set of sequences, drawn once or read from a file.
#[derive(Component, Clone)]
pub struct Evaluator {
    /// Its name in the logs.
    pub name: String,
    /// The sequences, in chunks that fit the cache.
    pub sequences: Arc<[EvaluatorSequences]>,
}

impl Evaluator {
    /// Exemplars of a sequence, the query among them.
    pub fn pairs(&self) -> usize {
        match self.sequences.first() {
            Some(EvaluatorSequences::Drawn { sequences, .. }) => sequences.pairs,
            Some(EvaluatorSequences::Given(tokens)) => tokens.labels.dims().last().copied().unwrap_or(1),
            Some(EvaluatorSequences::Exhaustive(..)) => Exhaustive::PAIRS,
            None => 1,
        }
    }

    /// How many sequences it has.
    pub fn count(&self) -> usize {
        let each = self.sequences.iter().map(|chunk| match chunk {
            EvaluatorSequences::Drawn { sequences, .. } => sequences.labels.len() / sequences.pairs,
            EvaluatorSequences::Given(tokens) => tokens.labels.dims().get(1).copied().unwrap_or(0),
            EvaluatorSequences::Exhaustive(_, numbers) => numbers.len(),
        });
        each.sum()
    }

    /// All sequences in one chunk, for forward passes in which they depend on each other.
    ///
    /// # Errors
    /// There is no bank where one is needed.
    pub fn together(&self, bank: Option<&ClassBank>, device: &Device) -> Result<Arc<[EvaluatorSequences]>> {
        if self.sequences.len() < 2 {
            return Ok(self.sequences.clone());
        }
        let parts = self.sequences.iter().map(|chunk| chunk.tokens(bank, device)).collect::<Result<Vec<_>>>()?;
        Ok([EvaluatorSequences::Given(joined(&parts)?)].into())
    }
}

/// A chunk of an evaluator's sequences.
#[derive(Clone)]
pub enum EvaluatorSequences {
    /// Drawn from the bank: features are looked up when they are needed.
    Drawn {
        /// The sequences.
        sequences: Sequences,
        /// Noise on the features `[sequence · pair · feature]`; empty where there is none.
        noise: Vec<f32>,
    },
    /// Some of all that there are, made when they are needed.
    Exhaustive(Arc<Exhaustive>, Range<usize>),
    /// Read from a file, with features.
    Given(Tokens),
}

impl EvaluatorSequences {
    /// The sequences as tokens; `bank` is needed where they are not given with features.
    ///
    /// # Errors
    /// There is no bank.
    pub fn tokens(&self, bank: Option<&ClassBank>, device: &Device) -> Result<Tokens> {
        let bank = || bank.ok_or_else(|| Error::Internal("an evaluator has no class bank".into()));
        let all = |sequences: &Sequences| 0..sequences.labels.len() / sequences.pairs;
        match self {
            Self::Given(tokens) => Ok(tokens.clone()),
            Self::Drawn { sequences, noise } => {
                let noises = if noise.is_empty() { &[][..] } else { std::slice::from_ref(noise) };
                tokens(bank()?, std::slice::from_ref(sequences), all(sequences), noises, device)
            }
            Self::Exhaustive(exhaustive, numbers) => {
                let sequences = exhaustive.sequences(numbers.clone());
                tokens(bank()?, std::slice::from_ref(&sequences), all(&sequences), &[], device)
            }
        }
    }
}

/// What an evaluator measured, until it is recorded.
#[derive(Component, Default)]
pub struct Evaluation(pub Option<Result<Measured>>);

/// What is measured on the sequences of an evaluator.
pub struct Measured {
    /// Sequences that the model had seen.
    pub sequences: u64,
    /// The metrics of each.
    pub metrics: Metrics,
    /// How each head attends, where that is asked for.
    pub heads: Option<HeadMeasures>,
}

impl Measured {
    /// A metric's mean over sequences, or the largest value of a measure of heads.
    pub fn value(&self, measure: &str) -> Option<f64> {
        match Metrics::NAMES.iter().position(|name| *name == measure) {
            Some(index) => Some(self.metrics.means()[index]),
            None => self.heads.as_ref()?.largest(measure),
        }
    }
}

/// Steps are still to be done by this cohort.
#[derive(Component)]
pub struct Active;

/// How far a cohort is.
#[derive(Component, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Sequences seen.
    pub sequences: u64,
    /// Sequences to be seen.
    pub total: u64,
    /// Sequences a step.
    pub batch: usize,
    /// Sequences a micro-batch.
    pub micro_batch: usize,
}

/// What `forward` leaves for `backward`: mean losses `[K]`.
#[derive(Component)]
pub enum Losses {
    /// Of each micro-batch, with candle's graph behind them.
    Graph(Vec<Tensor>),
    /// Of the whole batch, by the fused step.
    Fused(Vec<f32>),
}

impl Default for Losses {
    fn default() -> Self {
        Self::Graph(Vec::new())
    }
}

/// The first thing that went wrong in a cohort; it takes no further step.
#[derive(Component, Default)]
pub struct Trouble(Option<Error>);

impl Trouble {
    /// Does something fallible, unless there is trouble already.
    pub fn guard(&mut self, work: impl FnOnce() -> Result<()>) {
        if self.0.is_none() {
            self.0 = work().err();
        }
    }

    /// What went wrong.
    pub fn error(&self) -> Option<&Error> {
        self.0.as_ref()
    }
}
