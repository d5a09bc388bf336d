//! `[[hook]]` and `[measures]`: what is looked at, when, and what of it is kept.

use super::intervention::one_or_many;
use super::{Entries, Selection, TokenSelection};
use crate::site::Site;
use serde::{Deserialize, Serialize};

/// `[measures]`: what is measured at every evaluation beside the metrics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MeasureSpec {
    /// How each head attends, to `heads.parquet`.
    pub heads: bool,
    /// What the weights say of each pair of heads and of each head by itself, to `weights.parquet`.
    pub weights: bool,
    /// How much of the right answer each head contributes directly, in `heads.parquet`.
    pub attribution: bool,
    /// The megabytes that hooks may write in all; more is an error before the first step.
    pub hook_megabytes: f64,
}

impl Default for MeasureSpec {
    fn default() -> Self {
        Self { heads: true, weights: false, attribution: false, hook_megabytes: 1000.0 }
    }
}

impl MeasureSpec {
    /// Whether nothing is asked for but the usual.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// `[[hook]]`: chosen entries of a site are written to a table of their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookSpec {
    /// The table's name.
    pub table: String,
    /// Where, by our name or TransformerLens'.
    pub site: Site,
    /// In which layers.
    #[serde(default, skip_serializing_if = "Selection::is_all")]
    pub layers: Selection,
    /// Of which heads.
    #[serde(default, skip_serializing_if = "Selection::is_all")]
    pub heads: Selection,
    /// At which tokens; at `scores` and `pattern`, of the tokens that attend.
    #[serde(default, skip_serializing_if = "TokenSelection::is_all")]
    pub at: TokenSelection,
    /// At `scores` and `pattern`, the tokens that are attended to.
    #[serde(default, skip_serializing_if = "TokenSelection::is_all")]
    pub to: TokenSelection,
    /// Which numbers of the last dimension.
    #[serde(default, skip_serializing_if = "Selection::is_all")]
    pub dimensions: Selection,
    /// Whose sequences: `"training"` (the batch of a step, before it), `"evaluation"` (every evaluator), or evaluators by name.
    #[serde(default = "evaluation", deserialize_with = "one_or_many")]
    pub during: Vec<String>,
    /// When: `"evaluation"`, `"checkpoint"`, or each so many sequences.
    #[serde(default, skip_serializing_if = "is_default")]
    pub every: Cadence,
    /// Only the first so many sequences of the batch or evaluator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub examples: Option<usize>,
    /// What is kept of the entries.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reduce: Reduction,
    /// The gradient of the mean loss with respect to the entries, in place of their values.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gradient: bool,
}

impl HookSpec {
    /// The entries, as they are chosen. (Keys that are not known are refused, which rules out one flattened table for hooks and interventions.)
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
}

/// When a hook looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cadence {
    /// With the evaluations.
    #[default]
    Evaluation,
    /// With the checkpoints that are kept.
    Checkpoint,
    /// Each so many sequences, from 0 on.
    Sequences(u64),
}

/// What is kept of the entries of a site.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// Every entry of every sequence.
    #[default]
    None,
    /// The mean over sequences.
    MeanOverSequences,
    /// Mean and standard deviation over sequences.
    MeanAndDeviation,
    /// The entropy of each distribution over the last dimension, in nats, and its mean over sequences.
    Entropy,
    /// The Euclidean norm over the last dimension, and its mean over sequences.
    Norm,
    /// These quantiles over sequences, from 0 to 1.
    Quantiles(Vec<f64>),
}

fn evaluation() -> Vec<String> {
    vec!["evaluation".into()]
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl<'de> Deserialize<'de> for Cadence {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Cadence;

            fn expecting(&self, to: &mut std::fmt::Formatter) -> std::fmt::Result {
                to.write_str("\"evaluation\", \"checkpoint\" or a number of sequences")
            }

            fn visit_i64<E: serde::de::Error>(self, count: i64) -> Result<Cadence, E> {
                u64::try_from(count).map(Cadence::Sequences).map_err(|_| E::custom(format!("{count} is no number of sequences")))
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Cadence, E> {
                match word {
                    "evaluation" => Ok(Cadence::Evaluation),
                    "checkpoint" => Ok(Cadence::Checkpoint),
                    _ => Err(E::custom(format!("\"{word}\" is neither \"evaluation\" nor \"checkpoint\" nor a number of sequences"))),
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl Serialize for Cadence {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Cadence::Evaluation => serializer.serialize_str("evaluation"),
            Cadence::Checkpoint => serializer.serialize_str("checkpoint"),
            Cadence::Sequences(count) => serializer.serialize_u64(*count),
        }
    }
}
