//! What is told at the end: a table of final metrics, a picture of the losses for each run, and who failed.

use crate::logs::Rows;
use crate::picture::{Curve, losses};
use crate::table::{Row, final_metrics};
use optogen::Result;
use optogen::components::Status;
use optogen::log::KeptRun;
use optogen::metrics::Metrics;
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
}

/// What a run's line in the table says, where it did not come to its end.
fn early(status: &Status) -> Option<&'static str> {
    match status {
        Status::Finished => None,
        Status::Running => Some("running"),
        Status::Diverged => Some("diverged"),
        Status::Interrupted => Some("interrupted"),
        Status::Failed(_) => Some("failed"),
    }
}

/// A word of a command as a shell reads it.
pub fn quoted(word: impl std::fmt::Display) -> String {
    let word = word.to_string();
    let plain = |letter: char| letter.is_alphanumeric() || "-_./=,:+@%".contains(letter);
    if !word.is_empty() && word.chars().all(plain) { word } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

/// Draws and prints; returns the exit code.
pub fn tell(outcomes: &[Outcome], quiet: bool) -> Result<u8> {
    let (mut rows, mut pictures) = (Vec::new(), Vec::new());
    for outcome in outcomes {
        let curves = Curves::read(&outcome.folder)?;
        // Single points, as of a replay of one checkpoint, are no curves.
        if curves.evaluators.iter().any(|(_, points)| points.len() > 1) {
            losses(&outcome.folder, &outcome.run_id, &curves.losses())?;
            pictures.push(outcome.folder.join("losses.png"));
        }
        rows.extend(curves.last(outcome));
    }
    if !quiet {
        print!("{}", final_metrics(&rows, std::io::stdout().is_terminal()));
        pictures.iter().for_each(|picture| println!("{}", picture.display()));
    }
    Ok(exit_code(outcomes))
}

/// Says who failed, why, and what can be done; returns the exit code.
pub fn exit_code(outcomes: &[Outcome]) -> u8 {
    let mut code = 0;
    for Outcome { run_id, status, again, .. } in outcomes {
        let line = match status {
            // It would diverge in the same step again.
            Status::Diverged => format!(
                "{run_id}: its loss was no longer a number, and would not be one if it ran again; its rows up to there are kept\n  \
                 a lower rate, a longer warm-up or other interventions make another run, which may do better"
            ),
            Status::Failed(message) => format!("{run_id}: {message}\n  again: {again}"),
            _ => continue,
        };
        eprintln!("failed: {line}");
        code = 1;
    }
    if outcomes.iter().any(|outcome| outcome.status == Status::Interrupted) {
        eprintln!("interrupted; go on with the same command and --resume");
        return 75;
    }
    code
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
    use super::quoted;

    #[test]
    fn words_are_quoted_where_a_shell_would_read_them_otherwise() {
        assert_eq!(quoted("runs/run=a-1"), "runs/run=a-1");
        assert_eq!(quoted("my runs/it's"), "'my runs/it'\\''s'");
        assert_eq!(quoted(""), "''");
    }
}
