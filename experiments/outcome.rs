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
}

/// Draws and prints; returns the exit code.
pub fn tell(outcomes: &[Outcome], out: &Path, quiet: bool) -> Result<u8> {
    let (mut rows, mut pictures) = (Vec::new(), Vec::new());
    for outcome in outcomes {
        let curves = Curves::read(&outcome.folder)?;
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

    fn last<'a>(&'a self, run: &'a str) -> impl Iterator<Item = Row> + 'a {
        self.evaluators
            .iter()
            .filter_map(move |(name, points)| Some(Row { run: run.into(), evaluator: name.clone(), metrics: points.last()?.1 }))
    }
}
