//! What is told at the end: a table of final metrics, a picture of the losses for each run, and who failed.

use crate::picture::{Curve, losses};
use crate::table::{Row, final_metrics};
use arrow::array::{Array, Float64Array, Int64Array, RecordBatch, StringArray};
use optogen::components::Status;
use optogen::log::read_table;
use optogen::metrics::Metrics;
use optogen::{Error, Result};
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
}

/// Draws and prints; returns the exit code.
pub fn tell(outcomes: &[Outcome], out: &Path, quiet: bool) -> Result<u8> {
    let (mut rows, mut pictures) = (Vec::new(), Vec::new());
    for outcome in outcomes {
        let curves = Curves::read(&outcome.folder.join("eval.parquet"))?;
        // Single points, as of a replay of one checkpoint, are no curves.
        if curves.evaluators.iter().any(|(_, points)| points.len() > 1) {
            losses(&outcome.folder, &outcome.run_id, &curves.losses())?;
            pictures.push(outcome.folder.join("losses.png"));
        }
        rows.extend(curves.last(&outcome.run_id));
    }
    if !quiet {
        print!("{}", final_metrics(&rows, std::io::stdout().is_terminal()));
        pictures.iter().for_each(|picture| println!("{}", picture.display()));
    }
    Ok(exit_code(outcomes, out))
}

/// Says who failed, and why; returns the exit code.
pub fn exit_code(outcomes: &[Outcome], out: &Path) -> u8 {
    let mut code = 0;
    for Outcome { run_id, folder, status } in outcomes {
        let why = match status {
            Status::Diverged => "its loss was no longer a number".to_string(),
            Status::Failed(message) => message.clone(),
            _ => continue,
        };
        let file = folder.join("experiment.toml");
        eprintln!("failed: {run_id}: {why}\n  again: optogen run {} --out {} --resume", file.display(), out.display());
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
    fn read(path: &Path) -> Result<Self> {
        let mut evaluators: Vec<(String, Vec<Point>)> = Vec::new();
        for batch in read_table(path)? {
            let (sequences, names) = (column::<Int64Array>(&batch, "sequences", path)?, column::<StringArray>(&batch, "evaluator", path)?);
            let metrics = Metrics::NAMES.map(|name| column::<Float64Array>(&batch, name, path));
            for row in 0..batch.num_rows() {
                let mut values = [f64::NAN; 8];
                for (value, metric) in values.iter_mut().zip(&metrics) {
                    *value = metric.as_ref().map_or(f64::NAN, |metric| metric.value(row));
                }
                let point = (sequences.value(row) as f64, values);
                match evaluators.iter_mut().find(|(name, _)| name == names.value(row)) {
                    Some((_, points)) => points.push(point),
                    None => evaluators.push((names.value(row).to_owned(), vec![point])),
                }
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

    fn last<'a>(&'a self, run: &'a str) -> impl Iterator<Item = Row> + 'a {
        self.evaluators
            .iter()
            .filter_map(move |(name, points)| Some(Row { run: run.into(), evaluator: name.clone(), metrics: points.last()?.1 }))
    }
}

fn column<'a, A: Array + 'static>(batch: &'a RecordBatch, name: &str, path: &Path) -> Result<&'a A> {
    let found = batch.column_by_name(name).and_then(|column| column.as_any().downcast_ref());
    found.ok_or_else(|| Error::damaged(path, format!("has no column {name} as it should be")))
}
