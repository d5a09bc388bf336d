//! One schema a table; its version stands in the metadata.

use crate::metrics::Metrics;
use crate::{Error, Result, heads};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// The tables that grow with a run.
pub const TABLES: [&str; 8] = ["train", "timing", "eval", "eval_examples", "heads", "weights", "measures", "notes"];

/// The schema of one of `TABLES`, or of a hook's table; every table begins with `run_id` and `sequences`.
///
/// | table | a row for each | columns |
/// |---|---|---|
/// | `train` | step, `sequences` before it | loss (nats, penalty included), grad_norm (before clipping), grad_spread (null without micro-batches), learning_rate |
/// | `timing` | evaluation | seconds since the run began, interruptions left out |
/// | `eval` | evaluation and evaluator | the mean of each metric |
/// | `eval_examples` | evaluation, evaluator and example | each metric |
/// | `heads` | evaluation, evaluator, layer and head | each measure of heads (induction_strength is null where no sequence has a right label in its context); attribution (null where it is not asked for) |
/// | `weights` | evaluation, measure and head | from_layer, from_head (null for one head alone), layer, head, value |
/// | `measures` | measure of a toy model, and vector | measure, vector (null for the whole model), value |
/// | `notes` | moment that a system noted | note, value |
/// | a hook's | look and entry | during, layer, head, example, at, to, dimension (null where it does not apply), statistic, value |
pub fn schema(table: &str) -> SchemaRef {
    let column = |name: &str, kind: DataType| Field::new(name, kind, false);
    let mut fields = vec![column("run_id", DataType::Utf8), column("sequences", DataType::Int64)];
    match table {
        "train" => fields.extend([
            column("loss", DataType::Float64),
            column("grad_norm", DataType::Float64),
            Field::new("grad_spread", DataType::Float64, true),
            column("learning_rate", DataType::Float64),
        ]),
        "timing" => fields.push(column("seconds", DataType::Float64)),
        "eval" => {
            fields.push(column("evaluator", DataType::Utf8));
            fields.extend(Metrics::NAMES.map(|name| column(name, DataType::Float64)));
        }
        "eval_examples" => {
            fields.extend([column("evaluator", DataType::Utf8), column("example", DataType::Int64)]);
            fields.extend(Metrics::NAMES.map(|name| column(name, DataType::Float32)));
        }
        "heads" => {
            fields.extend([column("evaluator", DataType::Utf8), column("layer", DataType::Int64), column("head", DataType::Int64)]);
            // The first version had a number everywhere.
            fields.extend(heads::NAMES.map(|name| Field::new(name, DataType::Float64, name == "induction_strength")));
            fields.push(Field::new("attribution", DataType::Float64, true));
        }
        "measures" => fields.extend([
            column("measure", DataType::Utf8),
            Field::new("vector", DataType::Utf8, true),
            column("value", DataType::Float64),
        ]),
        "notes" => fields.extend([column("note", DataType::Utf8), column("value", DataType::Float64)]),
        "weights" => {
            fields.push(column("measure", DataType::Utf8));
            fields.extend(["from_layer", "from_head"].map(|name| Field::new(name, DataType::Int64, true)));
            fields.extend([column("layer", DataType::Int64), column("head", DataType::Int64), column("value", DataType::Float64)]);
        }
        _ => {
            fields.push(column("during", DataType::Utf8));
            fields.extend(["layer", "head", "example", "at", "to", "dimension"].map(|name| Field::new(name, DataType::Int64, true)));
            fields.extend([column("statistic", DataType::Utf8), column("value", DataType::Float32)]);
        }
    }
    Arc::new(Schema::new_with_metadata(fields, version(table)))
}

/// Whether a table's rows are times, which are no function of the run.
pub(super) fn holds_times(table: &str) -> bool {
    table == "timing"
}

/// The version of a table that is written, and the newest that is read.
fn newest(table: &str) -> u32 {
    // In the first version an induction strength was a number also where there is none.
    if table == "heads" { 2 } else { 1 }
}

/// What marks a file as this version of a table.
pub(super) fn version(table: &str) -> HashMap<String, String> {
    HashMap::from([("optogen".to_string(), format!("{table}/{}", newest(table)))])
}

/// Whether a file is this table, in a version that can be read.
///
/// # Errors
/// [`Error::Damaged`] if it is another table or none; [`Error::Input`] if a newer version of this program wrote it.
pub(super) fn check_version(path: &Path, table: &str, found: &Schema) -> Result<()> {
    let marked = found.metadata().get("optogen").and_then(|mark| mark.rsplit_once('/'));
    let Some((name, version)) = marked.and_then(|(name, version)| Some((name, version.parse::<u32>().ok()?))) else {
        return Err(Error::damaged(path, "not a table of optogen"));
    };
    if name != table {
        return Err(Error::damaged(path, format!("it is the table {name}, not {table}")));
    }
    let newest = newest(table);
    if version > newest {
        let message = format!("version {version} of the table {table}; this program reads versions up to {newest}: use a newer optogen");
        return Err(Error::input(path, message));
    }
    Ok(())
}
