//! Whether the sequences that training and evaluators ask for exist: enough classes, exemplars and label pairs, and labels that the model has.

use super::{Checked, at_least_one, not_negative, positive, require, utf8};
use crate::experiment::{DataSpec, EvaluatorSpec, Experiment, MixtureSpec, Positions, RelabelName, RelabelSpec, Split, SplitName};
use std::collections::HashSet;

/// Rows of the learned table of positions.
const LEARNED_POSITIONS: usize = 32;

/// The splits of classes, exemplars and label pairs, each by itself.
pub(super) fn splits(data: &DataSpec) -> Checked {
    for (key, split) in [("data.classes", data.classes), ("data.exemplars", data.exemplars)] {
        // Indices are 32 bits wide.
        let largest = u32::MAX as usize;
        require([split.train, split.val, split.test].iter().all(|&count| count <= largest) && split.total() <= largest, key, || {
            "more than 2^32 of them".into()
        })?;
        at_least_one(split.train as u64, format!("{key}.train"))?;
    }
    data.relabel.as_ref().map_or(Ok(()), label_pairs)
}

fn label_pairs(relabel: &RelabelSpec) -> Checked {
    let labels = relabel.labels;
    require((2..=u32::MAX as usize).contains(&labels), "data.relabel.labels", || {
        format!("{labels} labels make no pair; at least 2 are needed")
    })?;
    let Some(pairs) = relabel.pairs else { return Ok(()) };
    let Split { train, val, test } = pairs;
    let (given, possible) = (train as u128 + val as u128 + test as u128, labels as u128 * (labels as u128 - 1) / 2);
    require(given == possible, "data.relabel.pairs", || {
        format!("train {train} + val {val} + test {test} = {given}, but {labels} labels make {possible} pairs")
    })?;
    let needed = labels.div_ceil(2);
    require(train >= needed, "data.relabel.pairs.train", || {
        format!("every one of the {labels} labels is to be seen in training, which takes at least {needed} pairs, not {train}")
    })
}

/// The training sequences.
pub(super) fn training(experiment: &Experiment) -> Checked {
    let data = &experiment.data;
    not_negative(data.noise, "data.noise")?;
    not_negative(data.zipf, "data.zipf")?;
    let rarest = (data.classes.train as f64).powf(-data.zipf);
    require(rarest.is_normal(), "data.zipf", || format!("with an exponent of {} the rarest classes never appear", data.zipf))?;
    let Some(first) = data.mixture.first() else {
        return require(false, "data.mixture", || "at least one [[data.mixture]] is needed".into());
    };
    let relabel = if data.relabel.is_some() { RelabelName::Train } else { RelabelName::None };
    for (index, mixture) in data.mixture.iter().enumerate() {
        let key = format!("data.mixture.{index}");
        positive(mixture.weight, format!("{key}.weight"))?;
        require(mixture.context == first.context, format!("{key}.context"), || {
            format!("is {}, but the first mixture's is {}; all must be equal", mixture.context, first.context)
        })?;
        class_sampler(experiment, mixture, SplitName::Train, &key)?;
        labels(experiment, mixture, SplitName::Train, relabel, "model.outputs", "training")?;
    }
    Ok(())
}

/// The evaluators' sequences.
pub(super) fn evaluators(experiment: &Experiment) -> Checked {
    let mut names = HashSet::new();
    for (index, evaluator) in experiment.evaluators.iter().enumerate() {
        let key = format!("evaluator.{index}");
        let name = &evaluator.name;
        super::name(name, format!("{key}.name"))?;
        require(names.insert(name), format!("{key}.name"), || format!("another evaluator is called \"{name}\" too"))?;
        match &evaluator.file {
            Some(file) => {
                utf8(file, format!("{key}.file"))?;
                alone(evaluator, &key)?;
            }
            None => drawn(experiment, evaluator, &key)?,
        }
    }
    Ok(())
}

/// An evaluator that is read from a file has no keys on how to draw it.
fn alone(evaluator: &EvaluatorSpec, key: &str) -> Checked {
    let EvaluatorSpec {
        name,
        file: _,
        exhaustive,
        classes,
        exemplars,
        relabel,
        context,
        burstiness,
        distractor,
        support,
        unique,
        random_query_label,
        noise,
    } = evaluator;
    let given = [
        ("exhaustive", *exhaustive),
        ("classes", classes.is_some()),
        ("exemplars", exemplars.is_some()),
        ("relabel", relabel.is_some()),
        ("context", context.is_some()),
        ("burstiness", burstiness.is_some()),
        ("distractor", distractor.is_some()),
        ("support", support.is_some()),
        ("unique", unique.is_some()),
        ("random_query_label", random_query_label.is_some()),
        ("noise", noise.is_some()),
    ];
    given.into_iter().try_for_each(|(other, given)| {
        require(!given, format!("{key}.{other}"), || {
            format!("the sequences of \"{name}\" are read from its file; take \"{other}\" or \"file\" out")
        })
    })
}

fn drawn(experiment: &Experiment, evaluator: &EvaluatorSpec, key: &str) -> Checked {
    let data = &experiment.data;
    let Some(first) = data.mixture.first() else { return Ok(()) };
    let sampler = evaluator.sampler(first);
    let classes = evaluator.classes.unwrap_or(SplitName::Train);
    let exemplars = evaluator.exemplars.unwrap_or(SplitName::Train);
    for (what, split, part) in [("classes", data.classes, classes), ("exemplars", data.exemplars, exemplars)] {
        let word = word(part);
        require(!split.range(part).is_empty(), format!("{key}.{what}"), || format!("there are no {word} {what}: data.{what}.{word} is 0"))?;
    }
    evaluator.noise.map_or(Ok(()), |noise| not_negative(noise, format!("{key}.noise")))?;
    class_sampler(experiment, &sampler, classes, key)?;

    let relabel = relabelling(data, evaluator);
    let pairs = match relabel {
        RelabelName::None | RelabelName::ZeroOne => None,
        RelabelName::Flip => {
            require(sampler.has_distractor(), format!("{key}.relabel"), || {
                "\"flip\" swaps the labels of query and distractor, and there is no distractor; it needs burstiness and distractor = true"
                    .into()
            })?;
            None
        }
        RelabelName::Train | RelabelName::All => Some(1),
        RelabelName::Val => Some(data.relabel.as_ref().and_then(|relabel| relabel.pairs).map_or(0, |pairs| pairs.val)),
        RelabelName::Test => Some(data.relabel.as_ref().and_then(|relabel| relabel.pairs).map_or(0, |pairs| pairs.test)),
    };
    require(pairs.is_none() || data.relabel.is_some(), format!("{key}.relabel"), || {
        "needs the label pairs of [data.relabel], which is not given; without it there are \"none\", \"01\" and \"flip\"".into()
    })?;
    require(pairs != Some(0), format!("{key}.relabel"), || {
        let part = if relabel == RelabelName::Val { "val" } else { "test" };
        format!("there are no {part} pairs of labels: data.relabel.pairs.{part} is 0")
    })?;
    drawn_labels(experiment, evaluator, first, key)?;
    if evaluator.exhaustive { exhaustive(experiment, evaluator, &sampler, relabel, &format!("{key}.exhaustive")) } else { Ok(()) }
}

fn relabelling(data: &DataSpec, evaluator: &EvaluatorSpec) -> RelabelName {
    evaluator.relabel.unwrap_or(if data.relabel.is_some() { RelabelName::Train } else { RelabelName::None })
}

fn drawn_labels(experiment: &Experiment, evaluator: &EvaluatorSpec, first: &MixtureSpec, key: &str) -> Checked {
    let (sampler, classes) = (evaluator.sampler(first), evaluator.classes.unwrap_or(SplitName::Train));
    labels(experiment, &sampler, classes, relabelling(&experiment.data, evaluator), key, &format!("the evaluator \"{}\"", evaluator.name))
}

/// Which labels of an evaluator that is drawn the model has no outputs for, if there are any.
pub fn beyond_outputs(experiment: &Experiment, evaluator: &EvaluatorSpec) -> Option<String> {
    let first = experiment.data.mixture.first().filter(|_| evaluator.file.is_none())?;
    drawn_labels(experiment, evaluator, first, "").err().map(|fault| fault.message)
}

/// All sequences that there are can be made where a sequence is two classes, two labels, and which of them is asked for.
fn exhaustive(experiment: &Experiment, evaluator: &EvaluatorSpec, sampler: &MixtureSpec, relabel: RelabelName, key: &str) -> Checked {
    let data = &experiment.data;
    let MixtureSpec { context, burstiness, .. } = *sampler;
    require(context == 2 && burstiness == 1 && sampler.has_distractor(), key, || {
        format!(
            "needs a context of 2, the query's class once and a distractor; here: {context}, {burstiness} times, distractor = {}",
            sampler.distractor
        )
    })?;
    let exemplars = data.exemplars.range(evaluator.exemplars.unwrap_or(SplitName::Train)).len();
    require(exemplars == 1, key, || format!("needs one exemplar of each class, and there are {exemplars}"))?;
    require(!matches!(relabel, RelabelName::None | RelabelName::Flip), key, || {
        "needs labels by pairs: relabel = \"train\", \"val\", \"test\", \"all\" or \"01\"".into()
    })?;
    let chance = evaluator.random_query_label == Some(true) || evaluator.noise.unwrap_or(data.noise) > 0.0;
    require(!chance, key, || "leaves nothing to chance: neither random_query_label nor noise".into())
}

/// A context long enough and a split with enough classes for what one class sampler asks.
fn class_sampler(experiment: &Experiment, sampler: &MixtureSpec, part: SplitName, key: &str) -> Checked {
    let &MixtureSpec { context, burstiness, support, unique, .. } = sampler;
    at_least_one(context as u64, format!("{key}.context"))?;
    let tokens = context.saturating_mul(2).saturating_add(1);
    require(experiment.model.positions != Positions::Learned || tokens <= LEARNED_POSITIONS, format!("{key}.context"), || {
        format!("{context} pairs and the query make {tokens} tokens, and there are {LEARNED_POSITIONS} learned positions")
    })?;
    let (bursty, whose) = match sampler.has_distractor() {
        true => (burstiness.saturating_mul(2), "of the query's class and as many of a distractor's"),
        false => (burstiness, "of the query's class"),
    };
    require(bursty <= context, format!("{key}.burstiness"), || {
        format!("{burstiness} items {whose} do not fit into a context of {context}")
    })?;

    let (named, rest) = (1 + usize::from(sampler.has_distractor()), context - bursty);
    let classes = experiment.data.classes.range(part).len();
    let (needed, key) = match rest {
        0 => (named, key.to_owned()),
        rest if unique => (named + rest, format!("{key}.unique")),
        _ if !support => (named + 1, format!("{key}.support")),
        _ => (named, key.to_owned()),
    };
    require(classes >= needed, key, || {
        let distractor = match (named, needed - named) {
            (1, _) => "",
            (_, 0) => " and the distractor",
            _ => ", the distractor",
        };
        let others = match needed - named {
            0 => String::new(),
            1 => " and 1 other item of the context".into(),
            others => format!(" and {others} other items of the context"),
        };
        format!("the query{distractor}{others} need {needed} different classes, and data.classes has {classes} ({})", word(part))
    })
}

/// Labels are rows of the label embedding and outputs of the model: each must be below their number.
fn labels(experiment: &Experiment, sampler: &MixtureSpec, part: SplitName, relabel: RelabelName, key: &str, whose: &str) -> Checked {
    let has_rest = sampler.context > sampler.burstiness.saturating_mul(1 + usize::from(sampler.has_distractor()));
    let pair_labels = match relabel {
        RelabelName::None | RelabelName::Flip => 0,
        RelabelName::ZeroOne => 2,
        _ => experiment.data.relabel.as_ref().map_or(0, |relabel| relabel.labels),
    };
    // Items that are neither query, bursty nor distractor keep the number of their class, also where the others are relabelled.
    let class_labels = if pair_labels == 0 || has_rest { experiment.data.classes.range(part).end } else { 0 };
    let (needed, outputs) = (pair_labels.max(class_labels), experiment.outputs());
    require(needed <= outputs, key, || {
        let which = match (class_labels > pair_labels, pair_labels) {
            (true, 0) => format!("each class its number ({} classes)", word(part)),
            (true, _) => format!("items of the context that are not relabelled, each the number of its class ({} classes)", word(part)),
            _ => "the relabelling".into(),
        };
        format!("{whose} has labels up to {}: {which}; the model has {outputs} outputs (model.outputs)", needed - 1)
    })
}

fn word(part: SplitName) -> &'static str {
    match part {
        SplitName::Train => "train",
        SplitName::Val => "val",
        SplitName::Test => "test",
        SplitName::All => "all",
    }
}
