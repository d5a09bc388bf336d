//! What cohorts will take, told before they are formed; and what all runs take together, held against the memory that there is.

use crate::spawn::EVALUATION_CHUNK;
use optogen::bank::ClassBank;
use optogen::experiment::{Experiment, OptimiserName, evaluator_bytes};
use optogen::memory::{Budget, product, size};
use optogen::transformer::Architecture;

/// An estimate of a cohort's memory on its device, in bytes: what stays there, and what the values of one micro-batch take until their gradients are known.
#[derive(Clone, Debug, PartialEq)]
pub struct CohortMemory {
    /// How many such cohorts there are.
    pub cohorts: usize,
    /// Models in one.
    pub members: usize,
    /// Their architecture, in words.
    pub shape: String,
    /// Parameters.
    pub parameters: usize,
    /// Their gradients.
    pub gradients: usize,
    /// The optimiser's moments.
    pub optimiser: usize,
    /// Values between the layers, and features.
    pub activations: usize,
    /// The class bank, which all cohorts share.
    pub bank: usize,
}

/// Sequences that go through a cohort together, and how long they are.
#[derive(Clone, Copy)]
pub struct Load {
    /// Of each member, in one micro-batch.
    pub sequences: usize,
    /// Exemplars in each, the query among them.
    pub pairs: usize,
}

impl CohortMemory {
    /// Of `members` models.
    pub fn of(architecture: &Architecture, members: usize, optimiser: OptimiserName, load: Load, bank: usize) -> Self {
        let parameters: usize = architecture.parameters().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        let moments = if optimiser == OptimiserName::Sgd { 0 } else { 2 };
        let bytes = |numbers: usize| 4 * members * numbers;
        let shape = match architecture.hidden {
            None => format!("{} layers of width {}, {} heads", architecture.layers, architecture.width, architecture.heads),
            Some(hidden) => {
                format!("{} layers of width {}, {} heads, an MLP of {hidden}", architecture.layers, architecture.width, architecture.heads)
            }
        };
        Self {
            cohorts: 1,
            members,
            shape,
            parameters: bytes(parameters),
            gradients: bytes(parameters),
            optimiser: bytes(moments * parameters),
            activations: bytes(values(architecture, load)),
            bank,
        }
    }

    /// Bytes of one cohort, the bank left out.
    pub fn total(&self) -> usize {
        self.parameters + self.gradients + self.optimiser + self.activations
    }

    /// A line.
    pub fn told(&self) -> String {
        let megabytes = |bytes: usize| format!("{:.1}", bytes as f64 / 1e6);
        let models = if self.members == 1 { "one model".into() } else { format!("{} models", self.members) };
        let (who, each) = match self.cohorts {
            1 => (format!("cohort of {models}"), ""),
            count => (format!("{count} cohorts of {models}"), "each "),
        };
        format!(
            "{who} ({}): {each}about {} MB: parameters {}, gradients {}, optimiser {}, activations {}; and the class bank {}",
            self.shape,
            megabytes(self.total()),
            megabytes(self.parameters),
            megabytes(self.gradients),
            megabytes(self.optimiser),
            megabytes(self.activations),
            megabytes(self.bank)
        )
    }
}

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
}

impl RunsMemory {
    /// No runs yet; `on_cpu`: they are trained there, and not only drawn.
    pub fn new(on_cpu: bool) -> Self {
        Self { budget: Budget::here(), on_cpu, runs: 0, banks: 0, models: 0, evaluators: 0, values: 0 }
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
        for evaluator in &experiment.evaluators {
            let bytes = evaluator_bytes(experiment, evaluator, architecture.features);
            self.evaluators = self.evaluators.saturating_add(bytes);
        }
        let values = if self.on_cpu { least_values(experiment, architecture).saturating_mul(4) } else { 0 };
        self.values = self.values.max(values);
        self.check()
    }

    fn check(&self) -> Result<(), String> {
        let parts = [
            (self.models, "model", if self.on_cpu { "parameters, gradients and optimiser" } else { "parameters" }),
            (self.evaluators, "evaluation.sequences", "evaluators"),
            (self.values, "train.batch", "values of a pass"),
            (self.banks, "data.bank", "class banks"),
        ];
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

/// Numbers that one member's forward pass leaves for its backward pass.
fn values(architecture: &Architecture, load: Load) -> usize {
    let Architecture { layers, width, heads, hidden, features, outputs, .. } = *architecture;
    let (tokens, items) = (2 * load.pairs - 1, load.sequences * load.pairs);
    let stream = load.sequences * tokens * width;
    let pattern = load.sequences * heads * tokens * tokens;
    // The norm, queries, keys and values, what the heads read, and the stream after it; with an MLP the norm, both sides of GELU, and the stream.
    let attention = 6 * stream + pattern;
    let mlp = hidden.map_or(0, |hidden| 2 * stream + 2 * load.sequences * tokens * hidden);
    items * (features + width) + stream + layers * (attention + mlp) + stream + 2 * load.sequences * outputs
}

#[cfg(test)]
mod tests {
    use super::*;
    use optogen::experiment::Positions;

    /// By hand: 2 layers of width 4, 2 heads, 3 features, 5 classes; 2 sequences of 2 pairs, so 3 tokens.
    #[test]
    fn a_small_cohort_is_told_to_the_byte() {
        let architecture = Architecture {
            layers: 2,
            width: 4,
            heads: 2,
            hidden: None,
            features: 3,
            example_bias: true,
            outputs: 5,
            positions: Positions::Rope,
            time: 100.0,
            norms: true,
            causal: true,
        };
        let load = Load { sequences: 2, pairs: 2 };
        let mut memory = CohortMemory::of(&architecture, 10, OptimiserName::Adam, load, 9_000_000);
        let each = (4 * 3 + 4) + 4 * 5 + 2 * (2 * 4 + 3 * 4 * 4 + 4 * 4) + 2 * 4 + (5 * 4 + 5);
        let values = 4 * (3 + 4) + 24 + 2 * (6 * 24 + 2 * 2 * 9) + 24 + 2 * 2 * 5;
        assert_eq!((memory.parameters, memory.optimiser, memory.activations), (40 * each, 80 * each, 40 * values));
        assert_eq!(memory.total(), 40 * (4 * each + values));
        (memory.parameters, memory.gradients, memory.optimiser, memory.activations) = (1_000_000, 1_000_000, 2_000_000, 12_340_000);
        assert_eq!(
            memory.told(),
            "cohort of 10 models (2 layers of width 4, 2 heads): about 16.3 MB: parameters 1.0, gradients 1.0, optimiser 2.0, activations 12.3; \
             and the class bank 9.0"
        );
        (memory.cohorts, memory.members) = (3, 1);
        assert!(memory.told().starts_with("3 cohorts of one model (2 layers of width 4, 2 heads): each about 16.3 MB: "));
        assert_eq!(CohortMemory::of(&architecture, 1, OptimiserName::Sgd, load, 0).optimiser, 0);
    }
}
