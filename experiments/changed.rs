//! What of a run's experiment can be another afterwards, when its checkpoints are evaluated again, and when it goes on from one.

use crate::search::{Asked, KnownRun};
use optogen::experiment::{BANK_KEY, Changes, Difference, Experiment, differences, load_written};
use optogen::{Error, Result};

/// In a replay: what is evaluated and looked at. All else says how the model came to be, and stays as it was.
pub const IN_A_REPLAY: Allowed = Allowed {
    keys: &["name", "intervention", "pass", "hook", "measures", "evaluator", "evaluation.sequences", "evaluation.examples", "seeds.eval"],
    why: "a replay evaluates the model as it was trained",
};

/// In a branch, which trains on: all but what makes another model of the parameters, or says where they began.
pub const IN_A_BRANCH: Allowed = Allowed {
    keys: &[
        "name",
        "data",
        "train",
        "seeds.train",
        "seeds.eval",
        "evaluation",
        "evaluator",
        "checkpoint",
        "measures",
        "pass",
        "intervention",
        "hook",
    ],
    why: "a branch goes on with the model that was trained",
};

/// Keys that may be changed, those below them too.
pub struct Allowed {
    keys: &'static [&'static str],
    why: &'static str,
}

impl Allowed {
    /// That the experiments that a run's own has become differ from it in these keys alone.
    ///
    /// # Errors
    /// One differs in another.
    pub fn check(&self, asked: &Asked<Experiment>) -> Result<()> {
        let Some(run) = &asked.run else { return Ok(()) };
        let own = load_written::<Experiment>(&run.folder.join("experiment.toml"), None, &Changes::default())?;
        let Some(own) = own.experiments.first() else { return Ok(()) };
        for experiment in &asked.written.experiments {
            let refused: Vec<Difference> =
                differences(own, experiment).into_iter().filter(|one| !one.is_below(self.keys) && !self.is_known_bank(one, run)).collect();
            if !refused.is_empty() {
                return Err(Error::Invalid(self.refusal(&refused, run)));
            }
        }
        Ok(())
    }

    /// Whether a bank is named in another way, and what it must hold is known.
    fn is_known_bank(&self, difference: &Difference, run: &KnownRun) -> bool {
        let a_file = difference.other.as_ref().is_some_and(|bank| bank != "\"one_hot\"");
        difference.key == BANK_KEY && a_file && run.recorded(BANK_KEY).is_some_and(|bank| bank.sha256.is_some())
    }

    fn refusal(&self, differences: &[Difference], run: &KnownRun) -> String {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".into());
        let told = |one: &Difference| format!("{}: the run has {}, not {}", one.key, value(&one.one), value(&one.other));
        let told: Vec<String> = differences.iter().map(told).collect();
        format!("{}; {} ({}): of its experiment only {} can be changed", told.join("; "), self.why, run.run_id, self.keys.join(", "))
    }
}
