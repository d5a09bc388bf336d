//! What follows from the keys of an experiment file: totals, ranges, and values that may be left out there.

use super::{
    Action, EvaluatorSpec, Experiment, InputName, InterventionSpec, MixtureSpec, OptimiserName, OptimiserSpec, PassSpec, Split, SplitName,
    TrainSpec,
};
use std::path::PathBuf;

impl Split {
    /// Train, validation and test together.
    pub fn total(&self) -> usize {
        self.train.saturating_add(self.val).saturating_add(self.test)
    }

    /// The indices of one part.
    pub fn range(&self, name: SplitName) -> std::ops::Range<usize> {
        match name {
            SplitName::Train => 0..self.train,
            SplitName::Val => self.train..self.train.saturating_add(self.val),
            SplitName::Test => self.train.saturating_add(self.val)..self.total(),
            SplitName::All => 0..self.total(),
        }
    }
}

impl MixtureSpec {
    /// Whether there is a distractor: it appears as often as the query's class, so only where that appears.
    pub fn has_distractor(&self) -> bool {
        self.distractor && self.burstiness > 0
    }
}

impl EvaluatorSpec {
    /// The class sampler, with what is absent filled in.
    pub fn sampler(&self, first_mixture: &MixtureSpec) -> MixtureSpec {
        MixtureSpec {
            context: self.context.unwrap_or(first_mixture.context),
            burstiness: self.burstiness.unwrap_or(first_mixture.burstiness),
            weight: 1.0,
            distractor: self.distractor.unwrap_or(true),
            support: self.support.unwrap_or(true),
            unique: self.unique.unwrap_or(false),
        }
    }
}

impl TrainSpec {
    /// Sequences seen when training ends: `sequences` rounded up to whole batches.
    pub fn total(&self) -> u64 {
        let batch = self.batch as u64;
        self.sequences.div_ceil(batch).saturating_mul(batch)
    }
}

impl Experiment {
    /// Whether what becomes of a sequence in training may depend on the others of its batch.
    pub fn couples_training_sequences(&self) -> bool {
        let couples = |one: &InterventionSpec| {
            let source = one.action.source().or(one.pass.as_deref());
            let next = |pass: &PassSpec| pass.input == Some(InputName::NextSequence) && source == Some(&pass.name);
            matches!(one.action, Action::Mean | Action::Resample) || self.passes.iter().any(next)
        };
        let in_training = |one: &&InterventionSpec| one.during.is_empty() || one.during.iter().any(|name| name == "training");
        self.interventions.iter().filter(in_training).any(couples)
    }
}

impl OptimiserSpec {
    /// Steps of warm-up and of decay with defaults filled in, for the optimisers that have them.
    pub fn schedule_steps(&self) -> Option<(u64, u64)> {
        let scheduled = matches!(self.name, OptimiserName::WarmupDecay | OptimiserName::Cosine);
        scheduled.then(|| (self.warmup.unwrap_or(4000), self.decay.unwrap_or(1_000_000)))
    }
}

impl EvaluatorSpec {
    /// An evaluator that is read from a file.
    pub fn from_file(name: String, file: PathBuf) -> Self {
        Self {
            name,
            file: Some(file),
            exhaustive: false,
            classes: None,
            exemplars: None,
            relabel: None,
            context: None,
            burstiness: None,
            distractor: None,
            support: None,
            unique: None,
            random_query_label: None,
            noise: None,
        }
    }
}

impl Experiment {
    /// The tables that its run writes, hooks' own included.
    pub fn tables(&self) -> Vec<String> {
        let asked = [
            ("train", true),
            ("timing", true),
            ("eval", true),
            ("eval_examples", self.evaluation.examples),
            ("heads", self.measures.heads),
            ("notes", true),
            ("weights", self.measures.weights),
        ];
        let always = asked.into_iter().filter(|(_, asked)| *asked).map(|(name, _)| name.to_owned());
        always.chain(self.hooks.iter().map(|hook| hook.table.clone())).collect()
    }

    /// Output classes of the model: as given, else the labels of the relabelling, else the training classes.
    pub fn outputs(&self) -> usize {
        self.model.outputs.or(self.data.relabel.as_ref().map(|relabel| relabel.labels)).unwrap_or(self.data.classes.train)
    }
}
