//! The tables and keys of an experiment file.

use super::{HookSpec, InterventionSpec, MeasureSpec, PassSpec};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// One experiment: data, model, training, evaluation, and, with `[sweep]`, a run for each value of a grid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// Names the runs; letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Where sequences come from.
    pub data: DataSpec,
    /// The transformer.
    #[serde(default)]
    pub model: ModelSpec,
    /// How it is trained.
    pub train: TrainSpec,
    /// The three seeds.
    #[serde(default)]
    pub seeds: SeedSpec,
    /// When evaluators run and on how many sequences.
    pub evaluation: EvaluationSpec,
    /// The evaluators, each a fixed set of sequences.
    #[serde(default, rename = "evaluator")]
    pub evaluators: Vec<EvaluatorSpec>,
    /// When checkpoints are kept.
    #[serde(default)]
    pub checkpoint: CheckpointSpec,
    /// What is measured at every evaluation beside the metrics.
    #[serde(default, skip_serializing_if = "MeasureSpec::is_default")]
    pub measures: MeasureSpec,
    /// Further forward passes, to copy from.
    #[serde(default, rename = "pass", skip_serializing_if = "Vec::is_empty")]
    pub passes: Vec<PassSpec>,
    /// What is clamped.
    #[serde(default, rename = "intervention", skip_serializing_if = "Vec::is_empty")]
    pub interventions: Vec<InterventionSpec>,
    /// What is looked at.
    #[serde(default, rename = "hook", skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<HookSpec>,
    /// The checkpoint from which training goes on; absent: it begins with parameters drawn from the init seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ParentSpec>,
    /// Values to sweep over; absent in the experiment of a single run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<SweepSpec>,
}

/// `[data]`: the class bank, how it is split, and how sequences are drawn from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSpec {
    /// An HDF5 file, or `"one_hot"` for a bank of one exemplar a class, its one-hot vector. Absent: the embedded Omniglot bank.
    /// A relative path is looked for in the experiment file's folder, then in the current directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bank: Option<PathBuf>,
    /// Dataset in the file, of shape `[classes, exemplars, features]`.
    #[serde(default = "defaults::dataset")]
    pub dataset: String,
    /// Classes in order: the first `train` are trained on, and so on. Must add up to the bank's.
    pub classes: Split,
    /// Exemplars of every class, likewise.
    pub exemplars: Split,
    /// Labels drawn anew for each sequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relabel: Option<RelabelSpec>,
    /// Class samplers; each training sequence comes from one, chosen by weight.
    pub mixture: Vec<MixtureSpec>,
    /// Exponent α of the class distribution rank^-α over the training classes; 0 is uniform.
    #[serde(default)]
    pub zipf: f64,
    /// The query and its bursty copies share one exemplar, distractors another.
    #[serde(default)]
    pub match_exemplars: bool,
    /// The query's label is put on one random item of the context.
    #[serde(default)]
    pub random_query_label: bool,
    /// Standard deviation of Gaussian noise added to the features.
    #[serde(default)]
    pub noise: f64,
}

/// How many go to training, validation and test, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// For training.
    pub train: usize,
    /// For validation.
    #[serde(default)]
    pub val: usize,
    /// For test.
    #[serde(default)]
    pub test: usize,
}

/// `data.relabel`: labels 0..n-1 given by an unordered pair of labels a sequence, in random order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelabelSpec {
    /// How many labels there are, n.
    pub labels: usize,
    /// How the n(n-1)/2 pairs are split; must add up. Absent: all are trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairs: Option<Split>,
    /// Seed of that split.
    #[serde(default = "defaults::relabel_seed")]
    pub seed: u64,
}

/// `[[data.mixture]]`: one class sampler.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixtureSpec {
    /// Pairs in the context; the same in every mixture.
    pub context: usize,
    /// How often the query's class appears in the context, and the distractor's.
    pub burstiness: usize,
    /// Its share; weights need not add up to one.
    #[serde(default = "defaults::one")]
    pub weight: f64,
    /// Another class appears as often as the query's. Without burstiness there is none.
    #[serde(default = "defaults::yes")]
    pub distractor: bool,
    /// Whether the rest of the context may hold the query's or distractor's class.
    #[serde(default = "defaults::yes")]
    pub support: bool,
    /// The rest of the context is without repetition, and without query and distractor.
    #[serde(default)]
    pub unique: bool,
}

/// `[model]`: the transformer's shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSpec {
    /// Blocks.
    pub layers: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Attention heads a layer.
    pub heads: usize,
    /// How positions enter.
    pub positions: Positions,
    /// Time scale of rotary and sinusoidal positions.
    pub time: f64,
    /// Hidden width of the MLP over the model's width; absent: attention only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mlp_ratio: Option<f64>,
    /// LayerNorm before each half block and before the unembedding.
    pub norms: bool,
    /// A token sees itself and those before it.
    pub causal: bool,
    /// Output classes; absent: the relabelling's labels, else the training classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outputs: Option<usize>,
    /// Multiplies every linear weight at initialisation.
    pub init_rescale: f64,
}

/// How positions enter the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// Queries and keys rotated per head (Su et al. 2021), interleaved pairs.
    Rope,
    /// A learned table of 32 positions, added.
    Learned,
    /// Sine at even and cosine at odd dimensions, added.
    Sinusoidal,
}

/// `[train]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSpec {
    /// How many sequences are seen in all; rounded up to whole batches.
    pub sequences: u64,
    /// Sequences a step.
    #[serde(default = "defaults::batch")]
    pub batch: usize,
    /// Splits a batch; losses and gradients are averaged and the spread of the gradients is logged. Where interventions read other sequences (`mean`,
    /// `resample`, `next_sequence`), these are those of the whole batch, which then takes the memory of a whole one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micro_batch: Option<usize>,
    /// The optimiser.
    pub optimiser: OptimiserSpec,
    /// λ of the added loss λ·Σ‖θ‖₂, each array's norm, not squared, biases and norms included.
    #[serde(default)]
    pub weight_decay: f64,
}

/// `train.optimiser`. Schedules count optimiser steps, not sequences.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimiserSpec {
    /// Which.
    pub name: OptimiserName,
    /// Learning rate; the peak where there is a schedule.
    pub rate: f64,
    /// Steps of warm-up (`warmup_decay` and `cosine` alone; 4000 if absent there).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup: Option<u64>,
    /// `warmup_decay`: steps of decay after the warm-up; `cosine`: the step at which the rate is 0 (1,000,000 if absent there).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decay: Option<u64>,
}

/// The optimisers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimiserName {
    /// Adam (Kingma & Ba 2015): β .9, .999, ε 1e-8 outside the root, bias-corrected.
    Adam,
    /// Gradient descent.
    Sgd,
    /// Gradients clipped to global norm 5, Adam, linear warm-up from 1e-5, then square-root decay to 1e-5.
    WarmupDecay,
    /// Adam, linear warm-up from 1e-6, then a cosine to 0.
    Cosine,
}

/// `[seeds]`: three that must differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SeedSpec {
    /// Of the initial parameters.
    pub init: u64,
    /// Of the training sequences.
    pub train: u64,
    /// Of the evaluators' sequences.
    pub eval: u64,
}

/// `[evaluation]`: exactly one of `every`, `at`, `logarithmic`; the end is always evaluated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationSpec {
    /// From 0 on, each so many sequences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// At these counts; those beyond the end are not reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Vec<u64>>,
    /// At 0 and at so many counts evenly spaced in their logarithm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logarithmic: Option<usize>,
    /// Sequences an evaluator.
    #[serde(default = "defaults::evaluation_sequences")]
    pub sequences: usize,
    /// Whether every sequence's metrics are logged (`eval_examples.parquet`), not only their means.
    #[serde(default = "defaults::yes")]
    pub examples: bool,
    /// Writes the evaluators' sequences to `evaluation.h5` in the run folder.
    #[serde(default)]
    pub write: bool,
}

/// `[[evaluator]]`: a fixed set of sequences, drawn once from the eval seed, or read from a file. Classes are equally likely here, also where
/// the training classes follow a Zipf distribution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluatorSpec {
    /// Its name in the logs.
    pub name: String,
    /// An HDF5 file that holds `NAME/examples` and `NAME/labels`, found as `data.bank` is; no other key but `name` may then be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Not drawn, but every sequence that there is: all ordered pairs of classes and of labels, and both queries, in the order of
    /// [`Exhaustive`](crate::sampler::Exhaustive). For two pairs in the context, one of the query's class, one exemplar a class, and labels by pairs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exhaustive: bool,
    /// Which classes; `train` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<SplitName>,
    /// Which exemplars; `train` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exemplars: Option<SplitName>,
    /// Which label pairs; absent: `train` where the experiment relabels, else `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relabel: Option<RelabelName>,
    /// Pairs in the context; the first mixture's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<usize>,
    /// As in a mixture; the first mixture's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burstiness: Option<usize>,
    /// As in a mixture; true if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distractor: Option<bool>,
    /// As in a mixture; true if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub support: Option<bool>,
    /// As in a mixture; false if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique: Option<bool>,
    /// As in `[data]`; false if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random_query_label: Option<bool>,
    /// As in `[data]`; the training noise if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<f64>,
}

/// A part of the classes or exemplars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SplitName {
    /// Those trained on.
    Train,
    /// Those for validation.
    Val,
    /// Those for test.
    Test,
    /// All of them.
    All,
}

/// Which labels an evaluator's sequences carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelabelName {
    /// Each class its own number.
    None,
    /// Pairs seen in training.
    Train,
    /// Pairs held out for validation.
    Val,
    /// Pairs held out for test.
    Test,
    /// Any pair.
    All,
    /// Always the pair of labels 0 and 1.
    #[serde(rename = "01")]
    ZeroOne,
    /// The labels of the query's and the distractor's class swapped, target included.
    Flip,
}

/// `[checkpoint]`: at most one of `every`, `at`, `logarithmic`; the end is always kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointSpec {
    /// From 0 on, each so many sequences.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// At these counts; those beyond the end are not reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Vec<u64>>,
    /// At 0 and at so many counts evenly spaced in their logarithm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logarithmic: Option<usize>,
    /// Seconds between recovery points, from which `--resume` goes on; two are kept.
    pub recovery_seconds: f64,
}

/// `[parent]`: training goes on from a checkpoint, with the same order of the data. `optogen branch` writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParentSpec {
    /// The checkpoint's folder, found as `data.bank` is.
    pub checkpoint: PathBuf,
    /// The run that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// SHA-256 of its manifest, which names that of every file; refused if it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// `[sweep]`: one run for each combination of the grid's values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepSpec {
    /// Key, dotted, to its values: `grid = { "seeds.init" = [5, 6, 7] }`.
    pub grid: toml::Table,
}

impl Default for ModelSpec {
    fn default() -> Self {
        Self {
            layers: 2,
            width: 64,
            heads: 8,
            positions: Positions::Rope,
            time: 10_000.0,
            mlp_ratio: None,
            norms: true,
            causal: true,
            outputs: None,
            init_rescale: 1.0,
        }
    }
}

impl Default for SeedSpec {
    fn default() -> Self {
        Self { init: 5, train: 0, eval: 1 }
    }
}

impl Default for CheckpointSpec {
    fn default() -> Self {
        Self { every: None, at: None, logarithmic: None, recovery_seconds: 60.0 }
    }
}

mod defaults {
    pub fn dataset() -> String {
        "efficientnet_lite0/224/feat".into()
    }
    pub fn relabel_seed() -> u64 {
        20
    }
    pub fn one() -> f64 {
        1.0
    }
    pub fn yes() -> bool {
        true
    }
    pub fn batch() -> usize {
        32
    }
    pub fn evaluation_sequences() -> usize {
        1000
    }
}
