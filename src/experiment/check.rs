//! Whether an experiment makes sense as a whole, before anything is written: the model, training, seeds and schedules here, the sequences in
//! `check/sequences.rs`.

mod interventions;
mod sequences;

use super::{CheckpointSpec, EvaluationSpec, Experiment, ModelSpec, OptimiserName, Positions, TrainSpec};
use crate::{Error, Result};
use std::fmt;
use std::path::Path;

pub use sequences::beyond_outputs;

/// Something that cannot be run, and the key that says so.
#[derive(Debug)]
pub struct Fault {
    /// Dotted, items of lists by number.
    pub key: String,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        write!(out, "{}: {}", self.key, self.message)
    }
}

/// Whether something makes sense.
pub(crate) type Checked = Result<(), Fault>;

/// Whether an experiment that did not come from a file makes sense; [`load`](super::load) and [`parse`](super::parse) have asked already.
///
/// # Errors
/// [`Error::Invalid`] with the first key that cannot be as it is, and why.
pub fn check(experiment: &Experiment) -> Result<()> {
    first_fault(experiment).map_err(|fault| Error::Invalid(fault.to_string()))
}

/// Whether the splits add up to a bank of so many classes and exemplars a class. `bank_name` is how the message calls it.
///
/// # Errors
/// [`Error::Invalid`] that says what adds up to what.
pub fn check_bank(experiment: &Experiment, bank_name: &str, classes: usize, exemplars: usize) -> Result<()> {
    let data = &experiment.data;
    for (key, split, held, what) in
        [("classes", data.classes, classes, "classes"), ("exemplars", data.exemplars, exemplars, "exemplars of each class")]
    {
        if split.total() != held {
            return Err(Error::Invalid(format!(
                "data.{key}: train {} + val {} + test {} = {}, but {bank_name} holds {held} {what}",
                split.train,
                split.val,
                split.test,
                split.total()
            )));
        }
    }
    Ok(())
}

/// The first thing that is wrong.
pub(super) fn first_fault(experiment: &Experiment) -> Checked {
    name(&experiment.name, "name")?;
    if let Some(bank) = &experiment.data.bank {
        utf8(bank, "data.bank")?;
    }
    if let Some(parent) = &experiment.parent {
        utf8(&parent.checkpoint, "parent.checkpoint")?;
    }
    model(&experiment.model)?;
    training(&experiment.train)?;
    seeds(experiment)?;
    schedules(&experiment.evaluation, &experiment.checkpoint)?;
    sequences::splits(&experiment.data)?;
    sequences::training(experiment)?;
    sequences::evaluators(experiment)?;
    interventions::interventions(experiment)?;
    interventions::measures(experiment)?;
    interventions::hooks(experiment)
}

pub(crate) fn require(holds: bool, key: impl Into<String>, message: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Fault { key: key.into(), message: message() }) }
}

pub(crate) fn at_least_one(number: u64, key: impl Into<String>) -> Checked {
    require(number >= 1, key, || "must be at least 1".into())
}

/// Tables hold whole numbers of 64 bits with a sign.
pub(crate) fn below_2_63(number: u64, key: impl Into<String>) -> Checked {
    require(i64::try_from(number).is_ok(), key, || format!("must be below 2^63, not {number}"))
}

pub(crate) fn positive(number: f64, key: impl Into<String>) -> Checked {
    require(number > 0.0 && number.is_finite(), key, || format!("must be a positive number, not {number}"))
}

pub(crate) fn not_negative(number: f64, key: impl Into<String>) -> Checked {
    require(number >= 0.0 && number.is_finite(), key, || format!("must be 0 or a positive number, not {number}"))
}

/// Names become parts of file names and of columns.
pub(crate) fn name(name: &str, key: impl Into<String>) -> Checked {
    let fine = name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.chars().all(|other| other.is_ascii_alphanumeric() || "-_.".contains(other))
        && name.len() <= 100;
    require(fine, key, || {
        format!(
            "{name:?} is no name: one begins with a letter or digit, holds letters, digits, \"-\", \"_\" and \".\" alone, and is at most 100 long"
        )
    })
}

pub(crate) fn utf8(path: &Path, key: impl Into<String>) -> Checked {
    require(path.to_str().is_some_and(|path| !path.is_empty()), key, || format!("{} is not a path in UTF-8", path.display()))
}

fn model(model: &ModelSpec) -> Checked {
    let &ModelSpec { layers, width, heads, .. } = model;
    at_least_one(layers as u64, "model.layers")?;
    at_least_one(width as u64, "model.width")?;
    at_least_one(heads as u64, "model.heads")?;
    require(width % heads == 0, "model.heads", || format!("a width of {width} cannot be divided among {heads} heads"))?;
    let head_size = width / heads;
    require(model.positions != Positions::Rope || head_size.is_multiple_of(2), "model.heads", || {
        format!("rope rotates pairs of dimensions, and a width of {width} over {heads} heads gives the odd head size {head_size}")
    })?;
    positive(model.time, "model.time")?;
    positive(model.init_rescale, "model.init_rescale")?;
    if let Some(ratio) = model.mlp_ratio {
        positive(ratio, "model.mlp_ratio")?;
        let hidden = width as f64 * ratio;
        require(hidden >= 1.0, "model.mlp_ratio", || format!("{ratio} of a width of {width} leaves the MLP without a hidden unit"))?;
    }
    model.outputs.map_or(Ok(()), |outputs| at_least_one(outputs as u64, "model.outputs"))
}

fn training(train: &TrainSpec) -> Checked {
    at_least_one(train.sequences, "train.sequences")?;
    at_least_one(train.batch as u64, "train.batch")?;
    // Counts are 64-bit integers with a sign in the tables.
    require(train.total() <= i64::MAX as u64, "train.sequences", || "more than 2^63 sequences".into())?;
    if let Some(micro_batch) = train.micro_batch {
        at_least_one(micro_batch as u64, "train.micro_batch")?;
        require(train.batch.is_multiple_of(micro_batch), "train.micro_batch", || {
            format!("a batch of {} cannot be divided into micro-batches of {micro_batch}", train.batch)
        })?;
    }
    not_negative(train.weight_decay, "train.weight_decay")?;

    let optimiser = &train.optimiser;
    positive(optimiser.rate, "train.optimiser.rate")?;
    let Some((warmup, decay)) = optimiser.schedule_steps() else {
        for (key, given) in [("warmup", optimiser.warmup), ("decay", optimiser.decay)] {
            require(given.is_none(), format!("train.optimiser.{key}"), || {
                "only the optimisers \"warmup_decay\" and \"cosine\" have it; take it out, or choose one of them".into()
            })?;
        }
        return Ok(());
    };
    at_least_one(decay, "train.optimiser.decay")?;
    require(optimiser.name != OptimiserName::Cosine || decay > warmup, "train.optimiser", || {
        format!("the cosine reaches 0 at step {decay} (decay), before the end of the warm-up at step {warmup}")
    })
}

fn seeds(experiment: &Experiment) -> Checked {
    let seeds = &experiment.seeds;
    let named = [("init", seeds.init), ("train", seeds.train), ("eval", seeds.eval)];
    for (name, seed) in named {
        below_2_63(seed, format!("seeds.{name}"))?;
    }
    if let Some(relabel) = &experiment.data.relabel {
        below_2_63(relabel.seed, "data.relabel.seed")?;
    }
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        let ((first, value), (second, same)) = (named[one], named[other]);
        require(value != same, format!("seeds.{second}"), || format!("is {same}, as seeds.{first} is; the three seeds must differ"))?;
    }
    Ok(())
}

fn schedules(evaluation: &EvaluationSpec, checkpoint: &CheckpointSpec) -> Checked {
    let given = schedule("evaluation", evaluation.every, evaluation.at.as_deref(), evaluation.logarithmic)?;
    require(given == 1, "evaluation", || format!("needs one of \"every\", \"at\" and \"logarithmic\", and has {given} of them"))?;
    at_least_one(evaluation.sequences as u64, "evaluation.sequences")?;
    let given = schedule("checkpoint", checkpoint.every, checkpoint.at.as_deref(), checkpoint.logarithmic)?;
    require(given <= 1, "checkpoint", || format!("needs one of \"every\", \"at\" and \"logarithmic\" at most, and has {given} of them"))?;
    not_negative(checkpoint.recovery_seconds, "checkpoint.recovery_seconds")
}

/// How many of the three are given.
pub(crate) fn schedule(table: &str, every: Option<u64>, at: Option<&[u64]>, logarithmic: Option<usize>) -> Result<usize, Fault> {
    every.map_or(Ok(()), |every| at_least_one(every, format!("{table}.every")))?;
    logarithmic.map_or(Ok(()), |count| at_least_one(count as u64, format!("{table}.logarithmic")))?;
    require(at.is_none_or(|counts| !counts.is_empty()), format!("{table}.at"), || "is an empty list".into())?;
    Ok(usize::from(every.is_some()) + usize::from(at.is_some()) + usize::from(logarithmic.is_some()))
}
