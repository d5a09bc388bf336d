//! The run's own row: its whole experiment, where and with what it ran, and how it ended.

use super::parquet_file::write_parquet;
use super::reading::read_named;
use super::schema::version;
use super::tally::Tallies;
use crate::components::Run;
use crate::experiment::{FlatValue, Input};
use crate::run_folder::RunFolder;
use crate::{Error, Result};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Field, Float64Type, Int64Type, Schema};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What stands in `run.parquet` beside the experiment.
#[derive(Clone, Debug, Default)]
pub struct RunRow {
    /// `running`, `finished`, `diverged`, `interrupted` or `failed`.
    pub status: String,
    /// Why it failed.
    pub message: Option<String>,
    /// Sequences seen.
    pub sequences: u64,
    /// The program's version.
    pub version: String,
    /// The git revision that the program was built from.
    pub revision: String,
    /// What it computes on.
    pub device: String,
    /// Threads it may use.
    pub threads: usize,
    /// When it began, in UTC, as ISO 8601.
    pub started: String,
    /// Seconds it has run, interruptions left out.
    pub seconds: f64,
    /// What its tables hold, once they are closed.
    pub tables: Option<Tallies>,
}

/// Writes the row of a run, `run.parquet`: beside what stands in `row` and the experiment, its `inputs` as a JSON list of key, path and SHA-256, and of
/// a replay the `source_run` and the `checkpoints` that were evaluated, JSON from sequences to the SHA-256 of the manifest.
pub fn write_run_row(folder: &RunFolder, run: &Run, row: &RunRow) -> Result<()> {
    let tables = row.tables.as_ref().map(|tables| to_json(&tables.0)).transpose()?;
    let text = |value: Option<&str>| Arc::new(StringArray::from(vec![value])) as ArrayRef;
    let whole = |value: u64| Arc::new(Int64Array::from(vec![value as i64])) as ArrayRef;
    let mut columns: Vec<(String, ArrayRef)> = [
        ("run_id", text(Some(folder.run_id()))),
        ("status", text(Some(&row.status))),
        ("message", text(row.message.as_deref())),
        ("sequences", whole(row.sequences)),
        ("version", text(Some(&row.version))),
        ("revision", text(Some(&row.revision))),
        ("device", text(Some(&row.device))),
        ("threads", whole(row.threads as u64)),
        ("started", text(Some(&row.started))),
        ("seconds", Arc::new(Float64Array::from(vec![row.seconds])) as ArrayRef),
        ("tables", text(tables.as_deref())),
        ("experiment", text(Some(&run.toml))),
        ("inputs", text(Some(&to_json(&run.inputs)?))),
        ("source_run", text(run.source.as_ref().map(|source| source.run_id.as_str()))),
        ("checkpoints", text(run.source.as_ref().map(|source| to_json(&source.checkpoints)).transpose()?.as_deref())),
    ]
    .map(|(name, column)| (name.to_owned(), column))
    .into();
    columns.extend(run.columns.iter().map(|(key, value)| (key.clone(), column(value.clone()))));
    let fields: Vec<Field> = columns.iter().map(|(name, column)| Field::new(name, column.data_type().clone(), true)).collect();
    let schema = Arc::new(Schema::new_with_metadata(fields, version("run")));
    let batch = RecordBatch::try_new(schema.clone(), columns.into_iter().map(|(_, column)| column).collect())?;
    write_parquet(&folder.table("run"), &schema, &[batch])
}

fn column(value: FlatValue) -> ArrayRef {
    match value {
        FlatValue::Text(value) => Arc::new(StringArray::from(vec![value])),
        FlatValue::Whole(value) => Arc::new(Int64Array::from(vec![value.map(|value| value as i64)])),
        FlatValue::Number(value) => Arc::new(Float64Array::from(vec![value])),
        FlatValue::Flag(value) => Arc::new(BooleanArray::from(vec![value])),
    }
}

/// How a run stood when its row was written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunStatus {
    /// The run's name.
    pub run_id: String,
    /// As in [`RunRow`].
    pub status: String,
    /// Sequences seen.
    pub sequences: u64,
    /// Seconds it had run.
    pub seconds: f64,
    /// What its tables held when they were closed; nothing while it runs, and of runs of version 0.1.
    pub tables: Tallies,
    /// The experiment as TOML.
    pub experiment: String,
    /// Its inputs; absent: it was written before they were, and nothing is known of them.
    pub inputs: Option<Vec<Input>>,
    /// Of a replay, the run that was replayed; absent in other runs, and in replays of version 0.1.
    pub source_run: Option<String>,
    /// Of a replay, the checkpoints that were evaluated, as in [`Source`](crate::components::Source); absent where that is not known.
    pub checkpoints: Option<BTreeMap<u64, String>>,
}

/// Reads that from `run.parquet`.
///
/// # Errors
/// [`Error::Damaged`] if it is no run's row, or not what was written; [`Error::Input`] if a newer version of this program wrote it.
pub fn read_run_status(path: &Path) -> Result<RunStatus> {
    let batches = read_named(path, "run")?;
    let damaged = || Error::damaged(path, "not a run's row");
    let [row] = &batches[..] else { return Err(damaged()) };
    let text = |name: &str| row.column_by_name(name)?.as_string_opt::<i32>().filter(|column| column.len() == 1 && column.is_valid(0));
    let text = |name: &str| text(name).map(|column| column.value(0).to_owned());
    let seconds = row.column_by_name("seconds").and_then(|column| column.as_primitive_opt::<Float64Type>()).map(|column| column.value(0));
    let sequences = row.column_by_name("sequences").and_then(|column| column.as_primitive_opt::<Int64Type>()).map(|column| column.value(0));
    Ok(RunStatus {
        run_id: text("run_id").ok_or_else(damaged)?,
        status: text("status").ok_or_else(damaged)?,
        sequences: sequences.ok_or_else(damaged)? as u64,
        seconds: seconds.ok_or_else(damaged)?,
        tables: Tallies(from_json(text("tables"), path)?.unwrap_or_default()),
        experiment: text("experiment").ok_or_else(damaged)?,
        inputs: from_json(text("inputs"), path)?,
        source_run: text("source_run"),
        checkpoints: from_json(text("checkpoints"), path)?,
    })
}

fn to_json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::Internal(format!("a run's row: {error}")))
}

/// What a column holds as JSON; nothing where it is null, or not there.
fn from_json<T: DeserializeOwned>(text: Option<String>, path: &Path) -> Result<Option<T>> {
    let parsed = text.map(|text| serde_json::from_str(&text).map_err(|error| Error::damaged(path, format!("{text:?}: {error}"))));
    parsed.transpose()
}
