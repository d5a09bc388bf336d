//! Runs as their logs have them: what figures, views and tables are made of.

use arrow::array::{Array, AsArray, Float64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use optogen::checkpoint::{Checkpoint, list};
use optogen::experiment::{Action, Described, Experiment, parse};
use optogen::log::{KeptRun, read_table};
use optogen::site::Site;
use optogen::{Error, Result, durable};
use std::path::{Path, PathBuf};

/// A curve: sequences seen, and a value.
pub type Points = Vec<(f64, f64)>;

/// The rows of a table.
pub struct Rows {
    path: PathBuf,
    batches: Vec<RecordBatch>,
}

impl Rows {
    /// Reads a Parquet file.
    ///
    /// # Errors
    /// It is not there, or damaged.
    pub fn read(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_owned(), batches: read_table(path)? })
    }

    /// The rows of one of a run's tables.
    ///
    /// # Errors
    /// It is not there, or its rows are not those that the run wrote.
    pub fn of(run: &KeptRun, folder: &Path, table: &str) -> Result<Self> {
        Ok(Self { path: folder.join(format!("{table}.parquet")), batches: run.table(table)? })
    }

    /// A column of numbers; null is not a number.
    ///
    /// # Errors
    /// There is no such column.
    pub fn numbers(&self, name: &str) -> Result<Vec<f64>> {
        let mut all = Vec::new();
        for batch in &self.batches {
            let column = cast(self.column(batch, name)?, &DataType::Float64)?;
            let column: &Float64Array = column.as_primitive::<Float64Type>();
            all.extend(column.iter().map(|value| value.unwrap_or(f64::NAN)));
        }
        Ok(all)
    }

    /// A column of names; null is empty.
    ///
    /// # Errors
    /// There is no such column.
    pub fn names(&self, name: &str) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for batch in &self.batches {
            let column = cast(self.column(batch, name)?, &DataType::Utf8)?;
            all.extend(column.as_string::<i32>().iter().map(|value| value.unwrap_or_default().to_owned()));
        }
        Ok(all)
    }

    /// Whether there is such a column; a table without rows has none.
    pub fn has(&self, name: &str) -> bool {
        self.batches.iter().any(|batch| batch.column_by_name(name).is_some())
    }

    fn column<'a>(&self, batch: &'a RecordBatch, name: &str) -> Result<&'a dyn Array> {
        let found = batch.column_by_name(name).map(|column| column as &dyn Array);
        found.ok_or_else(|| Error::damaged(&self.path, format!("has no column {name} as it should be")))
    }
}

/// A run of a transformer.
pub struct Run {
    /// Its folder.
    pub folder: PathBuf,
    /// Its name.
    pub id: String,
    /// How it stands: `running`, `finished`, `replayed`…
    pub status: String,
    /// What was run.
    pub experiment: Experiment,
    kept: KeptRun,
}

impl Run {
    /// Reads the run's own row.
    ///
    /// # Errors
    /// It is not there, damaged, or of something else than a transformer.
    pub fn read(folder: &Path) -> Result<Self> {
        let kept = KeptRun::open(folder)?;
        let own = kept.status();
        let experiment = parse(&own.experiment, &format!("{}: experiment", folder.join("run.parquet").display()))?;
        Ok(Self { folder: folder.to_owned(), id: own.run_id.clone(), status: own.status.clone(), experiment, kept })
    }

    /// A run in no folder.
    #[cfg(test)]
    pub fn unread(experiment: Experiment) -> Self {
        Self { folder: "run=a".into(), id: "a".into(), status: "finished".into(), experiment, kept: KeptRun::default() }
    }

    /// One of its tables.
    ///
    /// # Errors
    /// It is not there, or its rows are not those that the run wrote.
    pub fn table(&self, name: &str) -> Result<Rows> {
        Rows::of(&self.kept, &self.folder, name)
    }

    /// The seed of its first parameters.
    pub fn seed(&self) -> i64 {
        self.experiment.seeds.init as i64
    }

    /// How a metric went, at one evaluator.
    ///
    /// # Errors
    /// There is no such evaluator or metric in `eval`.
    pub fn curve(&self, evaluator: &str, metric: &str) -> Result<Points> {
        let eval = self.table("eval")?;
        let (evaluators, sequences, values) = (eval.names("evaluator")?, eval.numbers("sequences")?, eval.numbers(metric)?);
        let points: Points = evaluators
            .iter()
            .zip(sequences.into_iter().zip(values))
            .filter(|(name, _)| *name == evaluator)
            .map(|(_, point)| point)
            .collect();
        match points.is_empty() {
            true => Err(Error::Invalid(format!(
                "{}: its eval table has no evaluator \"{evaluator}\"{}",
                self.folder.display(),
                listed(&evaluators)
            ))),
            false => Ok(points),
        }
    }

    /// The loss at one evaluator.
    ///
    /// # Errors
    /// There is no such evaluator.
    pub fn loss(&self, evaluator: &str) -> Result<Points> {
        self.curve(evaluator, "loss")
    }

    /// A metric at the last evaluation.
    ///
    /// # Errors
    /// There is no such evaluator or metric.
    pub fn last(&self, evaluator: &str, metric: &str) -> Result<f64> {
        Ok(self.curve(evaluator, metric)?.last().map_or(f64::NAN, |point| point.1))
    }

    /// How a measure of each head of a layer went, head by head.
    ///
    /// # Errors
    /// The run keeps no measures of heads, or not this one, or not at this evaluator.
    pub fn heads(&self, evaluator: &str, layer: usize, measure: &str) -> Result<Vec<Points>> {
        let heads = self.table("heads")?;
        let (evaluators, layers) = (heads.names("evaluator")?, heads.numbers("layer")?);
        let (numbers, sequences, values) = (heads.numbers("head")?, heads.numbers("sequences")?, heads.numbers(measure)?);
        let mut all = vec![Points::new(); self.experiment.model.heads];
        for row in 0..values.len() {
            if evaluators[row] == evaluator && layers[row] == layer as f64 {
                let head = numbers[row] as usize;
                let curve = all.get_mut(head).ok_or_else(|| Error::damaged(&heads.path, format!("has a head {head}")))?;
                curve.push((sequences[row], values[row]));
            }
        }
        match all.iter().all(Vec::is_empty) {
            true => {
                let what = format!("{}: its heads table has no evaluator \"{evaluator}\" at layer {layer}", self.folder.display());
                Err(Error::Invalid(what + &listed(&evaluators)))
            }
            false => Ok(all),
        }
    }

    /// A metric of each sequence of an evaluator, at the last evaluation.
    ///
    /// # Errors
    /// The run keeps no examples.
    pub fn examples(&self, evaluator: &str, metric: &str) -> Result<Vec<f64>> {
        let examples = self.table("eval_examples")?;
        let (evaluators, sequences) = (examples.names("evaluator")?, examples.numbers("sequences")?);
        let values = examples.numbers(metric)?;
        let last = sequences.iter().copied().fold(0.0, f64::max);
        let rows = (0..values.len()).filter(|&row| evaluators[row] == evaluator && sequences[row] == last);
        Ok(rows.map(|row| values[row]).collect())
    }

    /// The heads of a layer whose values no intervention sets to zero in the main pass.
    pub fn active(&self, layer: usize) -> Vec<usize> {
        let model = &self.experiment.model;
        let silent: Vec<usize> = (self.experiment.interventions.iter())
            .filter(|one| one.site == Site::Value && one.action == Action::Zero && one.pass.is_none() && one.strength > 0.0)
            .filter(|one| one.layers.of(model.layers).contains(&layer))
            .flat_map(|one| one.heads.of(model.heads))
            .collect();
        (0..model.heads).filter(|head| !silent.contains(head)).collect()
    }
}

/// A run whose checkpoints are gone on from or evaluated again, held against its row; where there is none, against the experiment in its checkpoints.
///
/// # Errors
/// [`Error::Damaged`] if the row is not what was written, or its experiment was changed since.
pub fn source_run(folder: &Path) -> Result<Option<KeptRun>> {
    if folder.join("run.parquet").is_file() {
        return KeptRun::open(folder).map(Some);
    }
    if let Some((_, last)) = list(&folder.join("checkpoints"))?.pop() {
        let (path, then) = (folder.join("experiment.toml"), Checkpoint::read(&last)?.experiment);
        let now = std::fs::read_to_string(&path).map_err(Error::input_file(&path))?;
        if wherever_inputs_lie(&now, &path)? != wherever_inputs_lie(&then, &last)? {
            return Err(Error::damaged(&path, format!("not the experiment of the run's checkpoints ({})", last.display())));
        }
    }
    Ok(None)
}

/// An experiment without what changes nothing in the results: where its inputs lie, and how often it is kept.
fn wherever_inputs_lie(text: &str, path: &Path) -> Result<String> {
    let mut experiment = parse(text, &path.display().to_string())?;
    experiment.paths().into_iter().for_each(|(_, path)| *path = "input".into());
    experiment.checkpoint.recovery_seconds = 0.0;
    Ok(experiment.to_toml())
}

/// The run folders that a folder is or holds; those whose row is not written yet are left out.
///
/// # Errors
/// The folder cannot be read.
pub fn folders_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let has_row = |path: &PathBuf| path.join("run.parquet").is_file();
    match has_row(&folder.to_owned()) {
        true => Ok(vec![folder.to_owned()]),
        false if folder.is_dir() => Ok(durable::entries(folder)?.into_iter().filter(has_row).collect()),
        false => Ok(Vec::new()),
    }
}

/// The runs of transformers that a folder is or holds, by their seed and name.
///
/// # Errors
/// A run cannot be read.
pub fn runs_in(folder: &Path) -> Result<Vec<Run>> {
    let mut runs = folders_in(folder)?.iter().map(|folder| Run::read(folder)).collect::<Result<Vec<_>>>()?;
    runs.sort_by(|a, b| (a.seed(), &a.id).cmp(&(b.seed(), &b.id)));
    Ok(runs)
}

/// The first value of a curve at or after so many sequences.
pub fn value_at(points: &[(f64, f64)], sequences: f64) -> Option<f64> {
    points.iter().find(|point| point.0 >= sequences).map(|point| point.1)
}

/// After how many sequences a curve is first below a value.
pub fn first_below(points: &[(f64, f64)], value: f64) -> Option<f64> {
    points.iter().find(|point| point.1 < value).map(|point| point.0)
}

fn listed(names: &[String]) -> String {
    let mut distinct: Vec<&str> = names.iter().map(String::as_str).collect();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.is_empty() { "; it is empty".into() } else { format!("; there is {}", distinct.join(", ")) }
}
