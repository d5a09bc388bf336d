//! What a run is known by: its experiment as canonical text, as one flat row, and as a short name.

use super::{Experiment, Schedule};
use crate::components::Run;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// The value of one column of the run table; the column's type is the same in every run, and what is not given is null.
#[derive(Clone, Debug, PartialEq)]
pub enum FlatValue {
    /// A name, a path, or a list as JSON.
    Text(Option<String>),
    /// A count or a seed.
    Whole(Option<u64>),
    /// A number.
    Number(Option<f64>),
    /// Yes or no.
    Flag(Option<bool>),
}

impl Experiment {
    /// The experiment as TOML, defaults filled in; [`parse`](super::parse) reads it back to the same.
    pub fn to_toml(&self) -> String {
        canonical(self)
    }

    /// `NAME-` and eight hexadecimal digits of the SHA-256 of [`to_toml`](Self::to_toml) without `checkpoint.recovery_seconds`, which changes
    /// nothing in the results. Where files are named, a run is that of the experiment [`by_content`](super::by_content).
    pub fn run_id(&self) -> String {
        let mut experiment = self.clone();
        experiment.checkpoint.recovery_seconds = 0.0;
        name_of(&self.name, &experiment.to_toml())
    }

    /// The run of this name that it is of, nothing said of its inputs; the name of an experiment that names no files is [`run_id`](Self::run_id).
    pub fn run(&self, run_id: String) -> Run {
        let (toml, columns, checkpoints) = (self.to_toml(), self.flat(), Schedule::checkpoint(self));
        let recovery_seconds = self.checkpoint.recovery_seconds;
        Run { run_id, toml, columns, checkpoints, recovery_seconds, inputs: Vec::new(), source: None }
    }

    /// Every key, dotted, and its value with defaults filled in, in an order that does not depend on the values: columns of the run table.
    /// Mixtures and evaluators are JSON.
    pub fn flat(&self) -> Vec<(String, FlatValue)> {
        let Self { name, data, model, train, seeds, evaluation, checkpoint, .. } = self;
        let (relabel, optimiser) = (data.relabel.as_ref(), &train.optimiser);
        let pairs = relabel.and_then(|relabel| relabel.pairs);
        let (steps, parent) = (optimiser.schedule_steps(), self.parent.as_ref());
        [
            ("name", text(name)),
            ("data.bank", FlatValue::Text(data.bank.as_ref().map(|bank| bank.display().to_string()))),
            ("data.dataset", text(&data.dataset)),
            ("data.classes.train", whole(data.classes.train)),
            ("data.classes.val", whole(data.classes.val)),
            ("data.classes.test", whole(data.classes.test)),
            ("data.exemplars.train", whole(data.exemplars.train)),
            ("data.exemplars.val", whole(data.exemplars.val)),
            ("data.exemplars.test", whole(data.exemplars.test)),
            ("data.relabel.labels", whole(relabel.map(|relabel| relabel.labels))),
            ("data.relabel.pairs.train", whole(pairs.map(|pairs| pairs.train))),
            ("data.relabel.pairs.val", whole(pairs.map(|pairs| pairs.val))),
            ("data.relabel.pairs.test", whole(pairs.map(|pairs| pairs.test))),
            ("data.relabel.seed", FlatValue::Whole(relabel.map(|relabel| relabel.seed))),
            ("data.mixture", json(&data.mixture)),
            ("data.zipf", number(data.zipf)),
            ("data.match_exemplars", flag(data.match_exemplars)),
            ("data.random_query_label", flag(data.random_query_label)),
            ("data.noise", number(data.noise)),
            ("model.layers", whole(model.layers)),
            ("model.width", whole(model.width)),
            ("model.heads", whole(model.heads)),
            ("model.positions", word(&model.positions)),
            ("model.time", number(model.time)),
            ("model.mlp_ratio", number(model.mlp_ratio)),
            ("model.norms", flag(model.norms)),
            ("model.causal", flag(model.causal)),
            ("model.outputs", whole(self.outputs())),
            ("model.init_rescale", number(model.init_rescale)),
            ("train.sequences", FlatValue::Whole(Some(train.sequences))),
            ("train.batch", whole(train.batch)),
            ("train.micro_batch", whole(train.micro_batch)),
            ("train.optimiser.name", word(&optimiser.name)),
            ("train.optimiser.rate", number(optimiser.rate)),
            ("train.optimiser.warmup", FlatValue::Whole(steps.map(|(warmup, _)| warmup))),
            ("train.optimiser.decay", FlatValue::Whole(steps.map(|(_, decay)| decay))),
            ("train.weight_decay", number(train.weight_decay)),
            ("seeds.init", FlatValue::Whole(Some(seeds.init))),
            ("seeds.train", FlatValue::Whole(Some(seeds.train))),
            ("seeds.eval", FlatValue::Whole(Some(seeds.eval))),
            ("evaluation.every", FlatValue::Whole(evaluation.every)),
            ("evaluation.at", evaluation.at.as_ref().map_or(FlatValue::Text(None), json)),
            ("evaluation.logarithmic", whole(evaluation.logarithmic)),
            ("evaluation.sequences", whole(evaluation.sequences)),
            ("evaluation.examples", flag(evaluation.examples)),
            ("evaluation.write", flag(evaluation.write)),
            ("evaluator", json(&self.evaluators)),
            ("checkpoint.every", FlatValue::Whole(checkpoint.every)),
            ("checkpoint.at", checkpoint.at.as_ref().map_or(FlatValue::Text(None), json)),
            ("checkpoint.logarithmic", whole(checkpoint.logarithmic)),
            ("checkpoint.recovery_seconds", number(checkpoint.recovery_seconds)),
            ("measures.heads", flag(self.measures.heads)),
            ("measures.weights", flag(self.measures.weights)),
            ("measures.attribution", flag(self.measures.attribution)),
            ("measures.hook_megabytes", number(self.measures.hook_megabytes)),
            ("pass", json(&self.passes)),
            ("intervention", json(&self.interventions)),
            ("hook", json(&self.hooks)),
            ("parent.run_id", FlatValue::Text(parent.and_then(|parent| parent.run_id.clone()))),
            ("parent.checkpoint", FlatValue::Text(parent.map(|parent| parent.checkpoint.display().to_string()))),
            ("parent.sha256", FlatValue::Text(parent.and_then(|parent| parent.sha256.clone()))),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }
}

/// A run's name: the experiment's, and eight hexadecimal digits of the SHA-256 of its text.
pub(crate) fn name_of(name: &str, text: &str) -> String {
    let digits: String = Sha256::digest(text).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{name}-{digits}")
}

/// Tables in the order of the types, defaults written out.
pub(crate) fn canonical(experiment: &impl Serialize) -> String {
    toml::to_string(experiment).expect("an experiment that was checked is plain TOML")
}

pub(crate) fn text(value: &str) -> FlatValue {
    FlatValue::Text(Some(value.to_owned()))
}

pub(crate) fn whole(value: impl Into<Option<usize>>) -> FlatValue {
    FlatValue::Whole(value.into().map(|value| value as u64))
}

pub(crate) fn number(value: impl Into<Option<f64>>) -> FlatValue {
    FlatValue::Number(value.into())
}

fn flag(value: bool) -> FlatValue {
    FlatValue::Flag(Some(value))
}

pub(crate) fn json(value: &impl Serialize) -> FlatValue {
    FlatValue::Text(serde_json::to_string(value).ok())
}

/// The name that stands for the value in an experiment file.
pub(crate) fn word(value: &impl Serialize) -> FlatValue {
    FlatValue::Text(serde_json::to_value(value).ok().and_then(|name| name.as_str().map(str::to_owned)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::parse;
    use crate::experiment::read::tests::BASE;
    use crate::experiment::read::{Changes, expand};

    fn base() -> Experiment {
        parse(BASE, "base.toml").unwrap()
    }

    #[test]
    fn toml_is_read_back_to_the_same_experiment() {
        let base = base();
        assert_eq!(parse(&base.to_toml(), "copy").unwrap(), base);
        let seed = Experiment { seeds: crate::experiment::SeedSpec { init: i64::MAX as u64, ..base.seeds }, ..base };
        assert_eq!(parse(&seed.to_toml(), "copy").unwrap(), seed);
        let beyond = Experiment { seeds: crate::experiment::SeedSpec { init: 1 << 63, ..seed.seeds }, ..seed };
        let message = parse(&beyond.to_toml(), "copy").unwrap_err().to_string();
        assert!(message.ends_with("seeds.init: must be below 2^63, not 9223372036854775808"), "{message}");
    }

    #[test]
    fn the_run_id_is_the_hash_of_what_matters() {
        let base = base();
        // Recorded: whoever changes it gives every run a new name.
        assert_eq!(base.run_id(), "base-cdf7c740");
        let set = |option: &str| expand(BASE, "base.toml", &Changes { sets: &[option.into()], ..Changes::default() }).unwrap()[0].run_id();
        assert_eq!(set("checkpoint.recovery_seconds=5"), base.run_id());
        assert_eq!(set("train.sequences=600000"), base.run_id(), "another spelling of the same value");
        assert_eq!(set("model.width=64"), base.run_id(), "a default written out");
        assert_ne!(set("seeds.init=6"), base.run_id());
    }

    #[test]
    fn the_flat_row_has_every_key_whatever_is_given() {
        let options = [
            "data.bank=bank.h5",
            "model.mlp_ratio=4",
            "model.outputs=50",
            "train.micro_batch=8",
            "train.optimiser.name=cosine",
            "evaluation.at=[1,2]",
            "evaluation.every=",
            "checkpoint.at=[1,2]",
        ];
        let options = options.map(String::from);
        let full = expand(BASE, "base.toml", &Changes { sets: &options, ..Changes::default() }).unwrap().remove(0);
        let names = |experiment: &Experiment| experiment.flat().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(&full), names(&base()));

        let mut given = Vec::new();
        leaves(&toml::from_str(&full.to_toml()).unwrap(), "", &mut given);
        let missing: Vec<_> = given.iter().filter(|key| !names(&full).contains(key)).collect();
        assert!(missing.is_empty(), "keys of the file without a column: {missing:?}");

        let value = |name: &str| full.flat().into_iter().find(|(key, _)| key == name).unwrap().1;
        assert_eq!(value("data.classes.val"), FlatValue::Whole(Some(1786)));
        assert_eq!(value("model.positions"), FlatValue::Text(Some("rope".into())));
        assert_eq!(value("model.mlp_ratio"), FlatValue::Number(Some(4.0)));
        assert_eq!(value("model.norms"), FlatValue::Flag(Some(true)));
        assert_eq!(value("train.optimiser.warmup"), FlatValue::Whole(Some(4000)));
        assert_eq!(value("evaluation.every"), FlatValue::Whole(None));
        assert_eq!(value("evaluation.at"), FlatValue::Text(Some("[1,2]".into())));
        let mixture = r#"[{"context":2,"burstiness":1,"weight":1.0,"distractor":true,"support":true,"unique":false}]"#;
        assert_eq!(value("data.mixture"), FlatValue::Text(Some(mixture.into())));
    }

    fn leaves(table: &toml::Table, above: &str, keys: &mut Vec<String>) {
        for (key, value) in table {
            let key = format!("{above}{key}");
            match value {
                toml::Value::Table(inner) => leaves(inner, &format!("{key}."), keys),
                _ => keys.push(key),
            }
        }
    }
}
