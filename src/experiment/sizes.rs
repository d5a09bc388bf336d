//! What an experiment takes at the very least, held key by key against the memory that there is, before anything is made of it.
//!
//! What is known only with the class bank, the device or all runs together is asked where that is known.

use super::check::{Checked, Fault};
use super::{EvaluatorSpec, Experiment, MixtureSpec, RelabelName, SplitName};
use crate::memory::{Budget, product};
use crate::metrics::Metrics;
use crate::transformer::Architecture;
use std::path::Path;

/// Bytes of a number of a model.
const NUMBER: u128 = 4;
/// Bytes of an item of a drawn sequence: its class, exemplar, label and type.
const ITEM: u128 = 13;
/// Bytes of the names of a layer's parameters, and of what is kept of each beside its numbers.
const LAYER: u128 = 512;
/// Bytes of a pair of labels that is held out.
const HELD_OUT: u128 = 24;
/// Bytes of a measure of two heads' weights.
const WEIGHT: u128 = 64;

/// That so many bytes can be had.
pub(crate) fn fits(budget: &Budget, bytes: u128, key: impl Into<String>, what: impl FnOnce() -> String) -> Checked {
    budget.fits(bytes, what).map_err(|message| Fault { key: key.into(), message })
}

/// The first key that asks for more than there is.
pub(super) fn first_too_large(experiment: &Experiment, budget: &Budget) -> Checked {
    model_fits(experiment, budget)?;
    training(experiment, budget)?;
    evaluators(experiment, budget)?;
    schedules(experiment, budget)
}

/// That the parameters of a model can be held, whatever its exemplars are.
///
/// # Errors
/// The first key, on the way from the smallest model to this one, that makes them too many.
pub fn model_fits(experiment: &Experiment, budget: &Budget) -> Result<(), Fault> {
    let one_hot = experiment.data.bank.as_deref() == Some(Path::new("one_hot"));
    let features = if one_hot { experiment.data.classes.total() } else { 1 };
    let whole = Architecture::new(experiment, features, one_hot);
    let least = || Architecture { layers: 1, hidden: None, features: 1, outputs: 1, ..whole.clone() };
    let parameters = |of: Architecture| NUMBER.saturating_mul(of.parameter_count());
    let Architecture { layers, width, outputs, .. } = whole;
    fits(budget, parameters(least()), "model.width", || format!("the parameters of a layer of width {width}"))?;
    let key = match (experiment.model.outputs, &experiment.data.relabel) {
        (Some(_), _) => "model.outputs",
        (None, Some(_)) => "data.relabel.labels",
        (None, None) => "data.classes.train",
    };
    fits(budget, parameters(Architecture { outputs, ..least() }), key, || format!("the parameters of {outputs} outputs"))?;
    let bytes = parameters(Architecture { features, ..least() });
    fits(budget, bytes, "data.classes", || format!("the embeddings of {features} one-hot classes"))?;
    if let Some(hidden) = whole.hidden {
        let bytes = parameters(Architecture { hidden: whole.hidden, ..least() });
        fits(budget, bytes, "model.mlp_ratio", || format!("the parameters of an MLP of {hidden} hidden units"))?;
    }
    let bytes = parameters(whole).saturating_add(LAYER.saturating_mul(layers as u128));
    fits(budget, bytes, "model.layers", || format!("the parameters of {layers} layers"))?;
    let pairs_of_heads = product(&[experiment.model.heads, experiment.model.heads, layers, layers.saturating_sub(1)]) / 2;
    let bytes = if experiment.measures.weights { pairs_of_heads.saturating_mul(3 * WEIGHT) } else { 0 };
    fits(budget, bytes, "measures.weights", || format!("the measures of {pairs_of_heads} pairs of heads"))
}

/// Classes, labels, and the sequences of a step.
fn training(experiment: &Experiment, budget: &Budget) -> Checked {
    let data = &experiment.data;
    if data.zipf != 0.0 {
        let bytes = product(&[data.classes.train, size_of::<u64>()]);
        fits(budget, bytes, "data.classes.train", || format!("the shares of {} classes", data.classes.train))?;
    }
    if let Some((relabel, pairs)) = data.relabel.as_ref().and_then(|relabel| Some((relabel, relabel.pairs?))) {
        let held_out = pairs.val as u128 + pairs.test as u128;
        fits(budget, HELD_OUT * held_out, "data.relabel.pairs", || format!("{held_out} pairs of labels that are held out"))?;
        let bytes = product(&[relabel.labels, size_of::<usize>()]);
        fits(budget, bytes, "data.relabel.labels", || format!("the pairs of {} labels", relabel.labels))?;
    }
    let Some(first) = data.mixture.first() else { return Ok(()) };
    let (batch, context) = (experiment.train.batch, first.context);
    let key = if batch > context { "train.batch" } else { "data.mixture.0.context" };
    fits(budget, items(batch, first), key, || format!("the {batch} sequences of a step, each with a context of {context},"))
}

/// Bytes of so many drawn sequences.
fn items(sequences: usize, sampler: &MixtureSpec) -> u128 {
    ITEM.saturating_mul(product(&[sequences])).saturating_mul(sampler.context as u128 + 1)
}

/// The evaluators, one by one, and all of them.
fn evaluators(experiment: &Experiment, budget: &Budget) -> Checked {
    let (mut all, mut drawn, sequences) = (0u128, 0, experiment.evaluation.sequences);
    for (index, evaluator) in experiment.evaluators.iter().enumerate() {
        let bytes = evaluator_bytes(experiment, evaluator, 0);
        if evaluator.exhaustive {
            let count = exhaustive_count(experiment, evaluator);
            fits(budget, bytes, format!("evaluator.{index}.exhaustive"), || format!("all {count} sequences of \"{}\"", evaluator.name))?;
        }
        if let (Some(context), false) = (evaluator.context.filter(|&context| context > sequences), evaluator.exhaustive) {
            fits(budget, bytes, format!("evaluator.{index}.context"), || format!("{sequences} sequences with a context of {context}"))?;
        }
        (all, drawn) = (all.saturating_add(bytes), drawn + usize::from(evaluator.file.is_none()));
    }
    fits(budget, all, "evaluation.sequences", || match drawn {
        1 => format!("the {sequences} sequences of an evaluator"),
        _ => format!("{sequences} sequences for each of {drawn} evaluators"),
    })
}

/// Bytes that an evaluator takes at least, what it measures of its sequences included; `features` of them where its noise is drawn beforehand.
/// Nothing for one that is read from a file, which is asked when it is read.
pub fn evaluator_bytes(experiment: &Experiment, evaluator: &EvaluatorSpec, features: usize) -> u128 {
    let measured = product(&[Metrics::NAMES.len(), size_of::<f32>()]);
    let (Some(first), None) = (experiment.data.mixture.first(), &evaluator.file) else { return 0 };
    if evaluator.exhaustive {
        let count = exhaustive_count(experiment, evaluator);
        let labels = label_pairs(experiment, evaluator).saturating_mul(2 * size_of::<[u32; 2]>() as u128);
        return count.saturating_mul(measured).saturating_add(labels);
    }
    let (sampler, sequences) = (evaluator.sampler(first), experiment.evaluation.sequences);
    let noisy = evaluator.noise.unwrap_or(experiment.data.noise) > 0.0;
    let noise = if noisy { feature_bytes(experiment, evaluator, features) } else { 0 };
    items(sequences, &sampler).saturating_add(noise).saturating_add(measured.saturating_mul(sequences as u128))
}

/// Bytes of the features of an evaluator's items, each by itself. Nothing for one that is read from a file.
pub fn feature_bytes(experiment: &Experiment, evaluator: &EvaluatorSpec, features: usize) -> u128 {
    let (Some(first), None) = (experiment.data.mixture.first(), &evaluator.file) else { return 0 };
    let sequences = if evaluator.exhaustive { exhaustive_count(experiment, evaluator) } else { experiment.evaluation.sequences as u128 };
    let pairs = evaluator.sampler(first).context.saturating_add(1);
    NUMBER.saturating_mul(product(&[pairs, features])).saturating_mul(sequences)
}

/// Unordered pairs of labels that an evaluator has.
fn label_pairs(experiment: &Experiment, evaluator: &EvaluatorSpec) -> u128 {
    let Some(relabel) = &experiment.data.relabel else { return 1 };
    let all = product(&[relabel.labels, relabel.labels.saturating_sub(1)]) / 2;
    match (evaluator.relabel.unwrap_or(RelabelName::Train), relabel.pairs) {
        (RelabelName::Train, Some(pairs)) => pairs.train as u128,
        (RelabelName::Val, Some(pairs)) => pairs.val as u128,
        (RelabelName::Test, Some(pairs)) => pairs.test as u128,
        (RelabelName::Train | RelabelName::All, _) => all,
        _ => 1,
    }
}

/// All sequences that there are of an evaluator: ordered pairs of classes and of labels, and either query.
fn exhaustive_count(experiment: &Experiment, evaluator: &EvaluatorSpec) -> u128 {
    let classes = experiment.data.classes.range(evaluator.classes.unwrap_or(SplitName::Train)).len();
    product(&[4, classes, classes.saturating_sub(1)]).saturating_mul(label_pairs(experiment, evaluator))
}

/// Lists of the counts at which something is due, of which there are no more than steps.
fn schedules(experiment: &Experiment, budget: &Budget) -> Checked {
    let steps = experiment.train.sequences / experiment.train.batch.max(1) as u64;
    let named = [("evaluation", experiment.evaluation.logarithmic), ("checkpoint", experiment.checkpoint.logarithmic)];
    named.into_iter().try_for_each(|(table, count)| logarithmic_fits(budget, table, count, steps))
}

/// The list of `logarithmic` counts of a table.
pub(crate) fn logarithmic_fits(budget: &Budget, table: &str, count: Option<usize>, steps: u64) -> Checked {
    let counts = count.map_or(0, |count| (count as u64).min(steps));
    fits(budget, u128::from(counts) * size_of::<u64>() as u128, format!("{table}.logarithmic"), || format!("{counts} counts"))
}
