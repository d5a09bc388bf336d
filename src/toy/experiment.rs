//! A toy experiment as it is written in a file.

use crate::components::Run;
use crate::experiment::{CheckpointSpec, FlatValue, Schedule, SweepSpec, canonical, json, name_of, number, text, word};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// One toy model: which, from where, what is clamped, and, with `[sweep]`, a run for each value of a grid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToyExperiment {
    /// Names the runs; letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// The model and its descent.
    pub toy: ToySpec,
    /// The seeds of drawn vectors; not where they are given in a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seeds: Option<ToySeeds>,
    /// When the measures are taken.
    #[serde(default)]
    pub evaluation: ToyEvaluationSpec,
    /// When checkpoints are kept, counted in steps.
    #[serde(default)]
    pub checkpoint: CheckpointSpec,
    /// What is clamped.
    #[serde(default, rename = "intervention", skip_serializing_if = "Vec::is_empty")]
    pub interventions: Vec<ToyIntervention>,
    /// Values to sweep over; absent in the experiment of a single run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<SweepSpec>,
}

/// `[toy]`: the model and its descent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToySpec {
    /// Which.
    pub kind: ToyKind,
    /// How long the vectors are; 20 each, and 160 for d, if absent. Not where they are given in a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<Dimensions>,
    /// An HDF5 file that holds `true/a`, `init/a` and so on; absent: they are drawn. A relative path is looked for in the experiment file's folder,
    /// then in the current directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vectors: Option<PathBuf>,
    /// In the file, the group that holds them; absent: the file itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Steps of gradient descent.
    pub steps: u64,
    /// Its rate.
    #[serde(default = "one")]
    pub rate: f64,
    /// Training ends as soon as the loss is below this; absent: it goes through all steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_loss: Option<f64>,
    /// `coopetition`: weight of the cost of both mechanisms at once; .1 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// `coopetition`: what is added to the loss of mechanism 1, so that it alone can never bring the product to 0; 0 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mu1: Option<f64>,
    /// `coopetition`: likewise for mechanism 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mu2: Option<f64>,
}

/// The toy models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToyKind {
    /// a⊗b⊗c.
    TensorProduct,
    /// a⊗b⊗c and d⊗b⊗c, each of which would do.
    Coopetition,
}

/// `toy.dimensions`: how long each vector is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dimensions {
    /// Of a.
    pub a: usize,
    /// Of b.
    pub b: usize,
    /// Of c.
    pub c: usize,
    /// Of d, which only `coopetition` has; 160 if absent there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub d: Option<usize>,
}

/// `[seeds]` of drawn vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToySeeds {
    /// Of the vectors that training begins with.
    pub init: u64,
    /// Of the vectors that they should become; that of `init` if absent.
    #[serde(default, rename = "true", skip_serializing_if = "Option::is_none")]
    pub truth: Option<u64>,
}

/// `[evaluation]`: at most one of `every`, `at`, `logarithmic`, counted in steps; every step if there is none. The end is always measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToyEvaluationSpec {
    /// From 0 on, each so many steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// At these counts; those beyond the end are not reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Vec<u64>>,
    /// At 0 and at so many counts evenly spaced in their logarithm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logarithmic: Option<usize>,
}

/// `[[intervention]]`: a vector, or its first entries, are what they should be, whatever the gradients say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToyIntervention {
    /// The vector's letter.
    pub vector: char,
    /// Only its first so many entries; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<usize>,
    /// From when so many steps are done.
    #[serde(default)]
    pub from: u64,
    /// Until so many steps are done, when the entries are left to learn; absent: to the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

impl ToyKind {
    /// The letters of its vectors.
    pub fn letters(self) -> &'static [char] {
        match self {
            Self::TensorProduct => &['a', 'b', 'c'],
            Self::Coopetition => &['a', 'b', 'c', 'd'],
        }
    }
}

impl Default for Dimensions {
    fn default() -> Self {
        Self { a: 20, b: 20, c: 20, d: None }
    }
}

impl ToySpec {
    /// The letters and dimensions of drawn vectors.
    pub fn dimensions(&self) -> Vec<(char, usize)> {
        let Dimensions { a, b, c, d } = self.dimensions.unwrap_or_default();
        self.kind.letters().iter().copied().zip([a, b, c, d.unwrap_or(160)]).collect()
    }

    /// α, with the default filled in.
    pub fn alpha(&self) -> f64 {
        self.alpha.unwrap_or(0.1)
    }

    /// μ₁, likewise.
    pub fn mu1(&self) -> f64 {
        self.mu1.unwrap_or(0.0)
    }

    /// μ₂, likewise.
    pub fn mu2(&self) -> f64 {
        self.mu2.unwrap_or(0.0)
    }
}

impl ToyExperiment {
    /// The seeds of what vectors should be, and of what they are at first; 1 if the file has none.
    pub fn seeds(&self) -> (u64, u64) {
        let ToySeeds { init, truth } = self.seeds.unwrap_or(ToySeeds { init: 1, truth: None });
        (truth.unwrap_or(init), init)
    }

    /// When the measures are taken.
    pub fn evaluations(&self) -> Schedule {
        let ToyEvaluationSpec { every, at, logarithmic } = &self.evaluation;
        let every = if at.is_none() && logarithmic.is_none() { every.or(Some(1)) } else { *every };
        Schedule::new(1, self.toy.steps, every, at.as_deref(), *logarithmic)
    }

    /// The experiment as TOML, from which it is read again.
    pub fn to_toml(&self) -> String {
        canonical(self)
    }

    /// As [`Experiment::run_id`](crate::experiment::Experiment::run_id).
    pub fn run_id(&self) -> String {
        let mut experiment = self.clone();
        experiment.checkpoint.recovery_seconds = 0.0;
        name_of(&self.name, &experiment.to_toml())
    }

    /// Its run, nothing said of its inputs.
    pub fn run(&self) -> Run {
        let CheckpointSpec { every, at, logarithmic, recovery_seconds } = &self.checkpoint;
        let checkpoints = Schedule::new(1, self.toy.steps, *every, at.as_deref(), *logarithmic);
        let (run_id, toml, columns) = (self.run_id(), self.to_toml(), self.flat());
        Run { run_id, toml, columns, checkpoints, recovery_seconds: *recovery_seconds, inputs: Vec::new(), source: None }
    }

    /// The tables that its run writes.
    pub fn tables(&self) -> Vec<String> {
        ["train", "timing", "measures", "notes"].map(str::to_owned).into()
    }

    /// Every key, dotted, and its value with defaults filled in, as [`Experiment::flat`](crate::experiment::Experiment::flat).
    pub fn flat(&self) -> Vec<(String, FlatValue)> {
        let Self { toy, evaluation, checkpoint, .. } = self;
        let drawn = toy.vectors.is_none();
        let of_coopetition = |value: f64| number((toy.kind == ToyKind::Coopetition).then_some(value));
        let whole = |value: Option<u64>| FlatValue::Whole(value);
        let dimension =
            |letter: char| whole(toy.dimensions().iter().find(|(own, _)| drawn && *own == letter).map(|(_, dimension)| *dimension as u64));
        let list = |at: &Option<Vec<u64>>| at.as_ref().map_or(FlatValue::Text(None), json);
        let (truth, init) = self.seeds();
        [
            ("name", text(&self.name)),
            ("toy.kind", word(&toy.kind)),
            ("toy.dimensions.a", dimension('a')),
            ("toy.dimensions.b", dimension('b')),
            ("toy.dimensions.c", dimension('c')),
            ("toy.dimensions.d", dimension('d')),
            ("toy.vectors", FlatValue::Text(toy.vectors.as_ref().map(|path| path.display().to_string()))),
            ("toy.group", FlatValue::Text(toy.group.clone())),
            ("toy.steps", whole(Some(toy.steps))),
            ("toy.rate", number(toy.rate)),
            ("toy.until_loss", number(toy.until_loss)),
            ("toy.alpha", of_coopetition(toy.alpha())),
            ("toy.mu1", of_coopetition(toy.mu1())),
            ("toy.mu2", of_coopetition(toy.mu2())),
            ("seeds.init", whole(drawn.then_some(init))),
            ("seeds.true", whole(drawn.then_some(truth))),
            ("evaluation.every", whole(evaluation.every)),
            ("evaluation.at", list(&evaluation.at)),
            ("evaluation.logarithmic", whole(evaluation.logarithmic.map(|count| count as u64))),
            ("checkpoint.every", whole(checkpoint.every)),
            ("checkpoint.at", list(&checkpoint.at)),
            ("checkpoint.logarithmic", whole(checkpoint.logarithmic.map(|count| count as u64))),
            ("checkpoint.recovery_seconds", number(checkpoint.recovery_seconds)),
            ("intervention", json(&self.interventions)),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }
}

fn one() -> f64 {
    1.0
}
