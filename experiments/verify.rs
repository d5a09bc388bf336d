//! `optogen verify`: holds everything in run folders against its checksums.

use crate::cli::VerifyArguments;
use crate::logs::folders_in;
use optogen::checkpoint::{Checkpoint, folder_at, list};
use optogen::experiment::{Input, parse};
use optogen::log::{KeptRun, RunStatus, check_journal};
use optogen::say::answer;
use optogen::{Error, Result, content, durable};
use optogen_data::read_evaluation;
use std::path::Path;

/// What is damaged has the exit code of a disk that failed.
const DAMAGED: u8 = 74;

/// Verifies the runs that the arguments name; returns the exit code.
///
/// # Errors
/// A folder holds no run.
pub fn verify(arguments: &VerifyArguments) -> Result<u8> {
    let mut all = Verified::default();
    let mut runs = 0;
    for folder in &arguments.folders {
        let found = folders_in(folder)?;
        if found.is_empty() {
            return Err(Error::Invalid(format!(
                "{}: neither a run folder nor a folder that holds some (run=ID/run.parquet)",
                folder.display()
            )));
        }
        for run in found {
            all.run(&run)?;
            runs += 1;
        }
    }
    for fault in &all.faults {
        answer(format!("{fault}\n"));
    }
    let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let (runs, files, faults) = (count(runs, "run"), count(all.files, "file"), count(all.faults.len(), "fault"));
    answer(format!("{runs}, {files}: {faults}\n"));
    Ok(if all.faults.is_empty() { 0 } else { DAMAGED })
}

/// What was looked at, and what is wrong with it.
#[derive(Default)]
struct Verified {
    files: usize,
    faults: Vec<String>,
}

impl Verified {
    /// Looks at a file, and once more where something is wrong: a run that goes on may have replaced it in between. What it let go is nobody's fault.
    fn look<T>(&mut self, path: &Path, look: impl Fn() -> Result<T>) -> Option<T> {
        self.files += 1;
        match look().or_else(|_| look()) {
            Ok(seen) => Some(seen),
            Err(_) if !path.exists() => None,
            Err(error) => {
                self.faults.push(error.to_string());
                None
            }
        }
    }

    fn run(&mut self, folder: &Path) -> Result<()> {
        let Some(run) = self.look(folder, || KeptRun::open(folder)) else { return Ok(()) };
        for table in run.status().tables.0.keys().filter(|table| !folder.join(format!("{table}.parquet")).exists()) {
            self.faults.push(format!("{}: the table {table} is gone", folder.display()));
        }
        self.missing(folder, run.status());
        for path in durable::entries(folder)? {
            if let Some(table) = table_name(&path, "parquet").filter(|table| table != "run") {
                self.look(&path, || run.table(&table));
            }
        }
        for input in run.status().inputs.iter().flatten() {
            self.input(folder, input);
        }
        for path in durable::entries(&folder.join("journal"))? {
            if let Some(table) = table_name(&path, "journal") {
                self.look(&path, || check_journal(&path, &table, &run.status().run_id));
            }
        }
        for checkpoints in ["checkpoints", "recovery"] {
            for (_, path) in list(&folder.join(checkpoints))? {
                self.look(&path, || Checkpoint::read_of(&run.status().run_id, &path));
            }
        }
        Ok(())
    }
}

impl Verified {
    /// What a run's folder has not got, and should.
    fn missing(&mut self, folder: &Path, status: &RunStatus) {
        let mut gone = |what: String| self.faults.push(format!("{}: {what} is gone", folder.display()));
        if !folder.join("experiment.toml").exists() {
            gone("experiment.toml".into());
        }
        let last = folder_at(&folder.join("checkpoints"), status.sequences);
        if status.status == "finished" && !last.exists() {
            gone(format!("the checkpoint after {} sequences, its last,", status.sequences));
        }
        // A toy model's has no evaluators.
        let writes = parse(&status.experiment, "run.parquet").is_ok_and(|experiment| experiment.evaluation.write);
        if writes && status.source_run.is_none() && status.status != "imported" && !folder.join("evaluation.h5").exists() {
            gone("evaluation.h5".into());
        }
    }

    /// What the run reads of its own folder, such as imported sequences; what lies elsewhere is compared whenever it is read.
    fn input(&mut self, folder: &Path, Input { key, path, sha256 }: &Input) {
        let path = folder.join(path);
        let (Some(recorded), true) = (sha256, path.starts_with(folder)) else { return };
        let part = |before: &str, after: &str| key.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
        let content = || match (part("evaluator.", ".file"), part("pass.", ".donor")) {
            (Some(evaluator), _) => {
                let set = read_evaluation(&path, evaluator)?;
                Ok(content::of_sequences(&set.examples, &set.labels, [set.n, set.pairs, set.features]))
            }
            (_, Some(_)) => Checkpoint::read(&path).and_then(|_| Checkpoint::sha256(&path)),
            _ => Ok(recorded.clone()),
        };
        let compared = || match content()? == *recorded {
            true => Ok(()),
            false => Err(Error::damaged(&path, format!("{key} holds something else than it held when the run began"))),
        };
        self.files += 1;
        if let Err(error) = compared() {
            self.faults.push(error.to_string());
        }
    }
}

/// The name of the table that a file holds.
fn table_name(path: &Path, extension: &str) -> Option<String> {
    let own = path.extension().is_some_and(|own| own == extension);
    path.file_stem().filter(|_| own).map(|name| name.to_string_lossy().into_owned())
}
