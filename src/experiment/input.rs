//! The files and checkpoints that an experiment names: what identifies a run is what they hold, not where they lie.

use super::Described;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What experiments call the class bank that is inside the program; it is found where no such file is, and its name says what it holds.
pub const EMBEDDED_BANK: &str = "data/omniglot_small.h5";

/// The content of that bank.
pub const EMBEDDED_SHA256: &str = "b75a05fe8306c0b1414463e91211e166f91f88b433e53bd54005f55c2df2684c";

/// A file or a checkpoint's folder that an experiment names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// By which key, as in [`Described::paths`].
    pub key: String,
    /// Where it was found.
    pub path: PathBuf,
    /// SHA-256 of what was read of it, as in [`content`](crate::content); of a checkpoint, of its manifest. Absent: it was not needed, and is not known.
    pub sha256: Option<String>,
}

/// The experiment with what its inputs hold, `sha256:` and 64 digits, in place of where they lie, as far as that is known: its
/// [`run_id`](Described::run_id) is that of the run, however its paths are spelled. The embedded bank keeps its name.
pub fn by_content<D: Described>(experiment: &D, inputs: &[Input]) -> D {
    let mut named = experiment.clone();
    let mut known = Vec::new();
    for (key, path) in named.paths() {
        let content = inputs.iter().find(|input| input.key == key).and_then(|input| input.sha256.as_deref());
        if let Some(content) = content.filter(|content| *path != Path::new(EMBEDDED_BANK) || *content != EMBEDDED_SHA256) {
            *path = format!("sha256:{content}").into();
            known.push(key);
        }
    }
    known.iter().for_each(|key| named.forget_origin(key));
    named
}

/// Whether nothing is known that these hold differently.
pub fn same_content(some: &[Input], others: &[Input]) -> bool {
    let other = |input: &Input| others.iter().find(|other| other.key == input.key)?.sha256.as_deref();
    some.iter().all(|input| match (input.sha256.as_deref(), other(input)) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::read::tests::with;
    use crate::experiment::{Experiment, ParentSpec};

    fn input(key: &str, sha256: &str) -> Input {
        Input { key: key.into(), path: "somewhere".into(), sha256: (!sha256.is_empty()).then(|| sha256.to_owned()) }
    }

    fn named(set: &str) -> Experiment {
        with(&[set], &[]).unwrap().remove(0)
    }

    #[test]
    fn a_run_is_known_by_what_its_inputs_hold() {
        let (one, other) = (named("data.bank=exp/bank.h5"), named("data.bank=./bank.h5"));
        assert_ne!(one.run_id(), other.run_id());
        let content = [input("data.bank", "ab12")];
        let id = |experiment: &Experiment, inputs: &[Input]| by_content(experiment, inputs).run_id();
        assert_eq!(id(&one, &content), id(&other, &content));
        assert_ne!(id(&one, &content), id(&one, &[input("data.bank", "cd34")]));
        assert_eq!(by_content(&one, &content).data.bank, Some("sha256:ab12".into()));
        assert_eq!(id(&one, &[input("data.bank", "")]), one.run_id(), "what is not known is as it is written");
        let one_hot = named("data.bank=one_hot");
        assert_eq!(id(&one_hot, &content), one_hot.run_id());
    }

    #[test]
    fn the_embedded_bank_keeps_its_name() {
        let embedded = named(&format!("data.bank={EMBEDDED_BANK}"));
        assert_eq!(by_content(&embedded, &[input("data.bank", EMBEDDED_SHA256)]), embedded);
        assert_ne!(by_content(&embedded, &[input("data.bank", "ab12")]), embedded, "a file of that name holds something else");
    }

    #[test]
    fn where_a_parent_came_from_does_not_matter_once_it_is_known() {
        let plain = named("train.batch=8");
        let with_parent = |checkpoint: &str, run_id: Option<&str>, sha256: Option<&str>| {
            let [run_id, sha256] = [run_id, sha256].map(|text| text.map(str::to_owned));
            Experiment { parent: Some(ParentSpec { checkpoint: checkpoint.into(), run_id, sha256 }), ..plain.clone() }
        };
        let (written, branched) = (with_parent("a/at-1", None, None), with_parent("/b/at-1", Some("run"), Some("ab12")));
        let content = [input("parent.checkpoint", "ab12")];
        assert_eq!(by_content(&written, &content), by_content(&branched, &content));
        assert_eq!(by_content(&branched, &[]), branched);
    }

    #[test]
    fn only_what_is_known_of_both_can_differ() {
        assert!(same_content(&[input("a", "1"), input("b", "")], &[input("a", "1"), input("b", "2"), input("c", "3")]));
        assert!(!same_content(&[input("a", "1")], &[input("a", "2")]));
    }
}
