//! Where two experiments differ: every key of either, so that none can be forgotten.

use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// A key in which two experiments differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Dotted; items of lists of tables by number.
    pub key: String,
    /// Its value in the one, as JSON; absent: it has no such key.
    pub one: Option<String>,
    /// Its value in the other, likewise.
    pub other: Option<String>,
}

impl Difference {
    /// Whether the key is one of these, or below one of them.
    pub fn is_below(&self, keys: &[&str]) -> bool {
        let below = |key: &&str| self.key.strip_prefix(*key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        keys.iter().any(below)
    }
}

/// The keys in which two experiments differ, defaults filled in, in alphabetical order.
pub fn differences<D: Serialize>(one: &D, other: &D) -> Vec<Difference> {
    let (mut ones, mut others) = (BTreeMap::new(), BTreeMap::new());
    for (experiment, leaves) in [(one, &mut ones), (other, &mut others)] {
        // An experiment that was read is plain text, numbers, lists and tables.
        flatten(String::new(), serde_json::to_value(experiment).unwrap_or_default(), leaves);
    }
    let keys: std::collections::BTreeSet<String> = ones.keys().chain(others.keys()).cloned().collect();
    let difference = |key: String| Difference { one: ones.get(&key).cloned(), other: others.get(&key).cloned(), key };
    keys.into_iter().map(difference).filter(|difference| difference.one != difference.other).collect()
}

fn flatten(key: String, value: Value, leaves: &mut BTreeMap<String, String>) {
    let below = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
    match value {
        Value::Object(table) => table.into_iter().for_each(|(name, value)| flatten(below(&name), value, leaves)),
        Value::Array(items) if !items.is_empty() && items.iter().all(Value::is_object) => {
            items.into_iter().enumerate().for_each(|(index, item)| flatten(below(&index.to_string()), item, leaves));
        }
        leaf => _ = leaves.insert(key, leaf.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Experiment;
    use crate::experiment::read::tests::with;

    #[test]
    fn every_key_of_either_is_compared() {
        let experiment = |sets: &[&str]| -> Experiment { with(sets, &[]).unwrap().remove(0) };
        let base = experiment(&[]);
        assert_eq!(differences(&base, &experiment(&["train.sequences=600000"])), []);
        let changed = ["model.heads=4", "data.mixture.0.weight=2", "train.micro_batch=8", "evaluation.every=", "evaluation.at=[1,2]"];
        let told = differences(&base, &experiment(&changed));
        let told: Vec<(&str, Option<&str>, Option<&str>)> =
            told.iter().map(|one| (one.key.as_str(), one.one.as_deref(), one.other.as_deref())).collect();
        let expected = [
            ("data.mixture.0.weight", Some("1.0"), Some("2.0")),
            ("evaluation.at", None, Some("[1,2]")),
            ("evaluation.every", Some("5000"), None),
            ("model.heads", Some("8"), Some("4")),
            ("train.micro_batch", None, Some("8")),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_key_is_below_whole_names_alone() {
        let difference = |key: &str| Difference { key: key.into(), one: None, other: None };
        assert!(difference("evaluator.0.noise").is_below(&["evaluator"]) && difference("name").is_below(&["name"]));
        assert!(!difference("evaluators").is_below(&["evaluator"]) && !difference("evaluation.every").is_below(&["evaluation.e"]));
    }
}
