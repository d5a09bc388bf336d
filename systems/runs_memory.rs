//! What all runs of a command take together, held against the memory that there is, before anything of them is made.

use crate::spawn::EVALUATION_CHUNK;
use optogen::bank::ClassBank;
use optogen::experiment::{EvaluatorSpec, Experiment, OptimiserName, evaluator_bytes, feature_bytes};
use optogen::memory::{Budget, product, size};
use optogen::transformer::Architecture;

/// What the runs of a command take on this machine together, at the very least.
pub struct RunsMemory {
    budget: Budget,
    on_cpu: bool,
    runs: usize,
    /// Bytes of class banks.
    banks: u128,
    /// Of parameters; with gradients and the optimiser's moments on a CPU.
    models: u128,
    /// Of evaluators, and of what they measure.
    evaluators: u128,
    /// Of the values of the largest pass on a CPU.
    values: u128,
    /// Of the evaluators' features, where those of a run are written.
    written: u128,
}

impl RunsMemory {
    /// No runs yet; `on_cpu`: they are trained there, and not only drawn.
    pub fn new(on_cpu: bool) -> Self {
        Self { budget: Budget::here(), on_cpu, runs: 0, banks: 0, models: 0, evaluators: 0, values: 0, written: 0 }
    }

    /// A bank that was read since.
    pub fn add_bank(&mut self, bank: &ClassBank) {
        self.banks += if self.on_cpu { bank.bytes() as u128 } else { 0 };
    }

    /// One more run, before anything of it is made.
    ///
    /// # Errors
    /// What all of them take does not fit. The message begins with the key that takes most of it.
    pub fn add(&mut self, experiment: &Experiment, architecture: &Architecture) -> Result<(), String> {
        let copies = match (self.on_cpu, experiment.train.optimiser.name) {
            (false, _) => 1,
            (true, OptimiserName::Sgd) => 2,
            (true, _) => 4,
        };
        self.runs += 1;
        self.models = self.models.saturating_add(architecture.parameter_count().saturating_mul(4 * copies));
        let features = architecture.features;
        let of_all = |bytes: fn(&Experiment, &EvaluatorSpec, usize) -> u128| {
            experiment.evaluators.iter().fold(0, |sum: u128, evaluator| sum.saturating_add(bytes(experiment, evaluator, features)))
        };
        self.evaluators = self.evaluators.saturating_add(of_all(evaluator_bytes));
        self.written = self.written.max(if experiment.evaluation.write { of_all(feature_bytes) } else { 0 });
        let values = if self.on_cpu { least_values(experiment, architecture).saturating_mul(4) } else { 0 };
        self.values = self.values.max(values);
        self.check()
    }

    fn check(&self) -> Result<(), String> {
        let mut parts = vec![(self.evaluators, "evaluation.sequences", "evaluators"), (self.banks, "data.bank", "class banks")];
        // Evaluators are written before there are steps.
        if self.written > self.models.saturating_add(self.values) {
            parts.push((self.written, "evaluation.write", "features that are written"));
        } else {
            let what = if self.on_cpu { "parameters, gradients and optimiser" } else { "parameters" };
            parts.extend([(self.models, "model", what), (self.values, "train.batch", "values of a pass")]);
        }
        let sum = parts.iter().fold(0, |sum: u128, part| sum.saturating_add(part.0));
        let key = parts.iter().max_by_key(|part| part.0).map_or("", |part| part.1);
        self.budget.fits(sum, || {
            let each = parts.iter().filter(|part| part.0 > 0).map(|(bytes, _, what)| format!("{what} ({})", size(*bytes)));
            let runs = if self.runs == 1 { "a run".into() } else { format!("{} runs", self.runs) };
            format!("{key}: the {} of {runs}", each.collect::<Vec<_>>().join(", "))
        })
    }
}

/// Numbers that a pass of one model surely keeps: the streams and patterns below the last layer, of which the query alone may be asked for, and the
/// logits. Where something is clamped, they may not be computed.
fn least_values(experiment: &Experiment, architecture: &Architecture) -> u128 {
    let Architecture { layers, width, heads, outputs, .. } = *architecture;
    let Some(first) = experiment.data.mixture.first() else { return 0 };
    let below = if experiment.interventions.is_empty() { layers.saturating_sub(1) } else { 0 };
    let of = |layers: usize, sequences: usize, context: usize| {
        let tokens = context.saturating_mul(2).saturating_add(1);
        let of_token = product(&[heads, tokens]).saturating_add(width as u128);
        let values = product(&[layers, tokens]).saturating_mul(of_token).saturating_add(outputs as u128);
        values.saturating_mul(sequences as u128)
    };
    let train = &experiment.train;
    let step = of(below, train.micro_batch.unwrap_or(train.batch), first.context);
    let chunk = experiment.evaluation.sequences.min(EVALUATION_CHUNK);
    let drawn = experiment.evaluators.iter().filter(|evaluator| evaluator.file.is_none());
    // The blocks of an evaluation use the memory of one.
    let evaluations = drawn.map(|evaluator| of(below.min(1), chunk, evaluator.sampler(first).context));
    evaluations.fold(step, u128::max)
}
