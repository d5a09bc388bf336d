//! `[[pass]]` and `[[intervention]]`: what is clamped, where, when, and to what.

use super::selection::{Entries, Selection, TokenSelection};
use crate::site::Site;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `[[pass]]`: one more forward pass, from which interventions may copy values. `"clean"`, the same model on the same input without any
/// intervention, is always there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PassSpec {
    /// Its name.
    pub name: String,
    /// What it reads; the same sequences if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<InputName>,
    /// The folder of a checkpoint, or of a run, which stands for its last checkpoint: another model, which is not trained and keeps its own interventions; this model if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub donor: Option<PathBuf>,
}

/// Other inputs, made of the batch's own sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputName {
    /// The query's label in the context and the first other label there are exchanged.
    SwappedLabels,
    /// The query shows the exemplar of the first item of the context with another label.
    SwappedQuery,
    /// Each sequence is the next one, and the last is the first: of the whole evaluator, in training of the batch (see [`Action::Mean`]).
    NextSequence,
}

/// `[[intervention]]`: chosen entries of a site are replaced, before anything downstream reads them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InterventionSpec {
    /// Names it in messages and in the logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The pass in which it acts; the main one, which gives the logits, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<String>,
    /// Where, by our name or TransformerLens'.
    pub site: Site,
    /// In which layers.
    #[serde(default, skip_serializing_if = "Selection::is_all")]
    pub layers: Selection,
    /// For which heads.
    #[serde(default, skip_serializing_if = "Selection::is_all")]
    pub heads: Selection,
    /// At which tokens; at `scores` and `pattern`, of the tokens that attend.
    #[serde(default, skip_serializing_if = "TokenSelection::is_all")]
    pub at: TokenSelection,
    /// At `scores` and `pattern`, the tokens that are attended to.
    #[serde(default, skip_serializing_if = "TokenSelection::is_all")]
    pub to: TokenSelection,
    /// Which numbers of the last dimension: neurons of `mlp_pre` and `mlp_post`, dimensions elsewhere.
    #[serde(default, skip_serializing_if = "Selection::is_all")]
    pub dimensions: Selection,
    /// What takes the entries' place.
    pub action: Action,
    /// Whether gradients flow into what takes their place.
    #[serde(default, skip_serializing_if = "is_default")]
    pub gradient: GradientName,
    /// How much: 0 leaves the entries as they are, 1 replaces them, and between lies what lies between.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub strength: f64,
    /// `"training"`, `"evaluation"` (every evaluator, in a run and in a replay), `"replay"`, or evaluators by name; always if absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub during: Vec<String>,
    /// From this moment on.
    #[serde(default, skip_serializing_if = "is_default")]
    pub from: Moment,
    /// Until this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Moment>,
    /// Sequences from the beginning over which the strength grows in a straight line.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ramp: u64,
    /// Settles who comes later, and so wins, where two write the same entries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<i64>,
}

/// What takes the place of the chosen entries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Zero.
    Zero,
    /// This number.
    Set(f64),
    /// The value times a number.
    Scale(f64),
    /// The value plus a vector over the last dimension.
    Add(Vec<f64>),
    /// The mean over sequences: all those of the evaluator, in training those of the batch. These go through the model together, however they are
    /// divided elsewhere (`train.micro_batch`, or what is measured at a time), so that the mean does not depend on that.
    Mean,
    /// The value that the next sequence has, and the last that of the first: of the same sequences as with `mean`.
    Resample,
    /// What another pass has there, or an earlier site of this one.
    Copy(CopySpec),
    /// `scores`: −10⁹, so that nothing is attended to.
    Forbid,
    /// `scores`: divided by a temperature.
    Temperature(f64),
    /// `scores`: those of the clean pass, divided by a temperature.
    FrozenTemperature(f64),
    /// `pattern`: `strength` on the token before, the rest on the token itself; the first token on itself.
    PreviousToken {
        /// Attention to the token before, from 0 to 1.
        strength: f64,
    },
    /// `pattern` of the query: `strength` shared among the labels equal to the query's, the rest among the other labels.
    Induction {
        /// Attention to the right labels, from 0 to 1.
        strength: f64,
    },
    /// `pattern` of the query over the labels: softmax of the cosine similarity of each exemplar's features with the query's, over a temperature.
    Match {
        /// 0 is the most similar alone.
        temperature: f64,
    },
    /// `logits` of the query: each label in the context gets the score by which a head attends to it (log-sum-exp where it stands there more than
    /// once), the others −10⁹.
    CopyFromHead(HeadSpec),
    /// `resid_post`: the value is handed to a pass with a donor, whose later layers give the logits.
    ContinueIn(String),
}

/// Where `copy` takes values from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopySpec {
    /// The pass; this one if absent, and then the site must be an earlier one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<String>,
    /// The site; the same if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Site>,
    /// The layer; the same if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<usize>,
    /// Each token gets what the token so many before it has; those without one keep their own.
    #[serde(default, skip_serializing_if = "is_default")]
    pub shift: usize,
}

/// A head of a pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadSpec {
    /// Its layer.
    pub layer: usize,
    /// Its number.
    pub head: usize,
    /// The pass; `"clean"` if absent.
    #[serde(default = "clean", skip_serializing_if = "is_clean")]
    pub pass: String,
}

/// Whether gradients flow into what takes an entry's place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GradientName {
    /// They do, as in the published code; also into other passes.
    #[default]
    Flow,
    /// They do not.
    Detach,
}

/// A moment of training: a number of sequences, or `{ evaluator = …, measure = …, above = … }`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Moment {
    /// When so many sequences have been seen.
    Sequences(u64),
    /// When a measure first crosses a threshold.
    Crossing(CrossingSpec),
}

/// A measure and its threshold: exactly one of `above` and `below`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrossingSpec {
    /// The evaluator.
    pub evaluator: String,
    /// Its metric, the mean over its sequences; or a measure of heads, the largest over all heads.
    pub measure: String,
    /// It is larger than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<f64>,
    /// It is smaller than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<f64>,
}

/// The pass that is always there.
pub const CLEAN: &str = "clean";

impl Default for Moment {
    fn default() -> Self {
        Moment::Sequences(0)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Moment;

            fn expecting(&self, to: &mut std::fmt::Formatter) -> std::fmt::Result {
                to.write_str("a number of sequences, or { evaluator, measure, above or below }")
            }

            fn visit_i64<E: serde::de::Error>(self, count: i64) -> Result<Moment, E> {
                u64::try_from(count).map(Moment::Sequences).map_err(|_| E::custom(format!("{count} is no number of sequences")))
            }

            fn visit_u64<E: serde::de::Error>(self, count: u64) -> Result<Moment, E> {
                Ok(Moment::Sequences(count))
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Moment, A::Error> {
                CrossingSpec::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(Moment::Crossing)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl CrossingSpec {
    /// Whether a value lies beyond the threshold.
    pub fn is_crossed(&self, value: f64) -> bool {
        self.above.is_some_and(|limit| value > limit) || self.below.is_some_and(|limit| value < limit)
    }
}

impl InterventionSpec {
    /// The entries, as they are chosen.
    pub fn entries(&self) -> Entries {
        Entries {
            site: self.site,
            layers: self.layers.clone(),
            heads: self.heads.clone(),
            at: self.at.clone(),
            to: self.to.clone(),
            dimensions: self.dimensions.clone(),
        }
    }

    /// Its name, or its site and action where it has none.
    pub fn title(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("{} at {}", self.action.name(), self.site.name()))
    }
}

impl Action {
    /// As it is written.
    pub fn name(&self) -> &'static str {
        match self {
            Action::Zero => "zero",
            Action::Set(_) => "set",
            Action::Scale(_) => "scale",
            Action::Add(_) => "add",
            Action::Mean => "mean",
            Action::Resample => "resample",
            Action::Copy(_) => "copy",
            Action::Forbid => "forbid",
            Action::Temperature(_) => "temperature",
            Action::FrozenTemperature(_) => "frozen_temperature",
            Action::PreviousToken { .. } => "previous_token",
            Action::Induction { .. } => "induction",
            Action::Match { .. } => "match",
            Action::CopyFromHead(_) => "copy_from_head",
            Action::ContinueIn(_) => "continue_in",
        }
    }

    /// Whether what takes the entries' place is what they are.
    pub fn leaves_all_as_it_is(&self) -> bool {
        match self {
            Action::Scale(factor) | Action::Temperature(factor) => *factor == 1.0,
            Action::Add(vector) => vector.iter().all(|&number| number == 0.0),
            _ => false,
        }
    }

    /// The pass that it reads, where it reads another.
    pub fn source(&self) -> Option<&str> {
        match self {
            Action::Copy(copy) => copy.pass.as_deref(),
            Action::FrozenTemperature(_) => Some(CLEAN),
            Action::CopyFromHead(head) => Some(&head.pass),
            _ => None,
        }
    }
}

fn one() -> f64 {
    1.0
}

fn is_one(number: &f64) -> bool {
    *number == 1.0
}

fn clean() -> String {
    CLEAN.into()
}

fn is_clean(name: &str) -> bool {
    name == CLEAN
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// `"training"` or `["training", "replay"]`.
pub(super) fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Visitor;
    impl<'de> serde::de::Visitor<'de> for Visitor {
        type Value = Vec<String>;

        fn expecting(&self, to: &mut std::fmt::Formatter) -> std::fmt::Result {
            to.write_str("a name or a list of names")
        }

        fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
            Ok(vec![name.into()])
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut names = Vec::new();
            while let Some(name) = list.next_element()? {
                names.push(name);
            }
            if names.is_empty() {
                return Err(serde::de::Error::custom("is an empty list; leave it out, or name somebody"));
            }
            Ok(names)
        }
    }
    deserializer.deserialize_any(Visitor)
}
