//! What is told at the end: a table of final metrics, a picture of the losses for each run, and who failed. What cannot be shown of one run keeps the
//! others from nothing.

use crate::exit::{FAULT, INTERRUPTED, SOME_FAILED, code_of};
use crate::logs::Rows;
use crate::picture::{Curve, losses};
use crate::table::{Row, final_metrics};
use optogen::components::Status;
use optogen::log::KeptRun;
use optogen::metrics::Metrics;
use optogen::{Cause, Result, say};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// How a run ended.
pub struct Outcome {
    /// Its name.
    pub run_id: String,
    /// Its folder.
    pub folder: PathBuf,
    /// How it fares.
    pub status: Status,
    /// The command that tries again.
    pub again: String,
    /// Whether its tables are of now: not where it could not be opened, or was not begun.
    pub opened: bool,
}

/// What a run's line in the table says, where it did not come to its end.
fn early(status: &Status) -> Option<&'static str> {
    match status {
        Status::Finished => None,
        Status::Running => Some("running"),
        Status::Diverged => Some("diverged"),
        Status::Interrupted => Some("interrupted"),
        Status::Failed { .. } => Some("failed"),
    }
}

/// A word of a command as a shell reads it.
pub fn quoted(word: impl std::fmt::Display) -> String {
    let word = word.to_string();
    let plain = |letter: char| letter.is_alphanumeric() || "-_./=,:+@%".contains(letter);
    if !word.is_empty() && word.chars().all(plain) { word } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

/// Draws and prints; returns the exit code.
pub fn tell(outcomes: &[Outcome], quiet: bool) -> u8 {
    let (mut rows, mut pictures) = (Vec::new(), Vec::new());
    let causes = show_each(outcomes, |outcome| {
        let curves = Curves::read(&outcome.folder)?;
        rows.extend(curves.last(outcome));
        // Single points, as of a replay of one checkpoint, are no curves.
        if curves.evaluators.iter().any(|(_, points)| points.len() > 1) {
            losses(&outcome.folder, &outcome.run_id, &curves.losses())?;
            pictures.push(outcome.folder.join("losses.png"));
        }
        Ok(())
    });
    if !quiet {
        say::answer(final_metrics(&rows, std::io::stdout().is_terminal()));
        pictures.iter().for_each(|picture| say::answer(format!("{}\n", picture.display())));
    }
    exit_code(outcomes, &causes)
}

/// Shows each run that was opened; returns whose it is to mend what could not be shown.
pub fn show_each(outcomes: &[Outcome], mut show: impl FnMut(&Outcome) -> Result<()>) -> Vec<Cause> {
    let mut causes = Vec::new();
    for outcome in outcomes.iter().filter(|outcome| outcome.opened) {
        match show(outcome) {
            Ok(()) => {}
            // Its tables need not be whole.
            Err(_) if matches!(outcome.status, Status::Failed { .. }) => {}
            Err(error) => {
                say::note(format!("{}: not shown: {error}", outcome.run_id));
                causes.push(error.cause());
            }
        }
    }
    causes
}

/// Says who failed, why, and what can be done; returns the exit code. `causes`: whose it is to mend what failed beside the runs.
pub fn exit_code(outcomes: &[Outcome], causes: &[Cause]) -> u8 {
    let (mut causes, mut failed) = (causes.to_vec(), false);
    for Outcome { run_id, status, again, .. } in outcomes {
        let line = match status {
            // It would diverge in the same step again.
            Status::Diverged => format!(
                "{run_id}: its loss was no longer a number, and would not be one if it ran again; its rows up to there are kept\n  \
                 a lower rate, a longer warm-up or other interventions make another run, which may do better"
            ),
            Status::Failed { why, cause } => {
                causes.push(*cause);
                format!("{run_id}: {why}\n  again: {again}")
            }
            _ => continue,
        };
        say::note(format!("failed: {line}"));
        failed = true;
    }
    if causes.contains(&Cause::Program) {
        say::note(FAULT);
    }
    if outcomes.iter().any(|outcome| outcome.status == Status::Interrupted) {
        say::note("interrupted; go on with the same command and --resume");
        return INTERRUPTED;
    }
    // Of what went wrong, a batch system has most use for that the disk did.
    match causes.contains(&Cause::Disk) {
        true => code_of(Cause::Disk),
        false if failed => SOME_FAILED,
        false => causes.first().map_or(0, |cause| code_of(*cause)),
    }
}

/// The rows of a run's `eval.parquet`, by evaluator.
struct Curves {
    evaluators: Vec<(String, Vec<Point>)>,
}

/// Sequences seen, and the metrics.
type Point = (f64, [f64; 8]);

impl Curves {
    fn read(folder: &Path) -> Result<Self> {
        let mut evaluators: Vec<(String, Vec<Point>)> = Vec::new();
        let rows = Rows::of(&KeptRun::open(folder)?, folder, "eval")?;
        let (sequences, names) = (rows.numbers("sequences")?, rows.names("evaluator")?);
        let metrics = Metrics::NAMES.iter().map(|name| rows.numbers(name)).collect::<Result<Vec<_>>>()?;
        for (row, (sequences, name)) in sequences.into_iter().zip(names).enumerate() {
            let point = (sequences, std::array::from_fn(|metric| metrics[metric][row]));
            match evaluators.iter_mut().find(|(other, _)| *other == name) {
                Some((_, points)) => points.push(point),
                None => evaluators.push((name, vec![point])),
            }
        }
        Ok(Self { evaluators })
    }

    fn losses(&self) -> Vec<Curve> {
        let curve = |(name, points): &(String, Vec<Point>)| Curve {
            name: name.clone(),
            points: points.iter().map(|(sequences, metrics)| (*sequences, metrics[0])).collect(),
        };
        self.evaluators.iter().map(curve).collect()
    }

    fn last<'a>(&'a self, run: &'a Outcome) -> impl Iterator<Item = Row> + 'a {
        self.evaluators.iter().filter_map(move |(name, points)| {
            let (sequences, metrics) = *points.last()?;
            let early = early(&run.status).map(|how| (how, sequences as u64));
            Some(Row { run: run.run_id.clone(), evaluator: name.clone(), metrics, early })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use optogen::Error;

    fn outcome(status: Status) -> Outcome {
        Outcome { run_id: "a".into(), folder: "out/run=a".into(), status, again: String::new(), opened: true }
    }

    #[test]
    fn what_failed_makes_the_code() {
        let failed = |error: Error| outcome(Status::from(&error));
        let full = || failed(Error::file(Path::new("train.parquet"))(std::io::Error::from_raw_os_error(28)));
        let busy = || failed(Error::InUse("out/run=a".into()));
        let code = |outcomes: &[Outcome], causes: &[Cause]| exit_code(outcomes, causes);
        assert_eq!(code(&[outcome(Status::Finished)], &[]), 0);
        assert_eq!(code(&[outcome(Status::Finished), outcome(Status::Diverged)], &[]), 1);
        assert_eq!(code(&[busy(), failed(Error::Internal("gone".into()))], &[]), 1);
        assert_eq!(code(&[busy(), full()], &[]), 74);
        assert_eq!(code(&[full(), outcome(Status::Interrupted)], &[Cause::Disk]), 75);
        assert_eq!(code(&[outcome(Status::Finished)], &[Cause::Disk]), 74);
        assert_eq!(code(&[outcome(Status::Finished)], &[Cause::Program]), 3);
    }

    #[test]
    fn what_cannot_be_shown_of_one_run_keeps_nobody_from_the_others() {
        let runs = [outcome(Status::Finished), outcome(Status::Finished), Outcome { opened: false, ..outcome(Status::Finished) }];
        let mut asked = 0;
        let causes = show_each(&runs, |run| {
            asked += 1;
            if asked == 1 { Err(Error::damaged(&run.folder.join("eval.parquet"), "not a table")) } else { Ok(()) }
        });
        assert_eq!((asked, causes), (2, vec![Cause::Disk]));
    }

    #[test]
    fn words_are_quoted_where_a_shell_would_read_them_otherwise() {
        assert_eq!(quoted("runs/run=a-1"), "runs/run=a-1");
        assert_eq!(quoted("my runs/it's"), "'my runs/it'\\''s'");
        assert_eq!(quoted(""), "''");
    }
}
