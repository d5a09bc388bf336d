//! A run as its folder has it, for whoever reads it afterwards: nothing in it is believed that is not what the run wrote.

use super::reading::read_run_table;
use super::run_row::{RunStatus, read_run_status};
use super::saved::differs;
use super::tally::RowHash;
use crate::{Error, Result};
use arrow::array::RecordBatch;
use std::path::{Path, PathBuf};

/// A run's folder, with its row.
#[derive(Debug, Default)]
pub struct KeptRun {
    folder: PathBuf,
    status: RunStatus,
}

impl KeptRun {
    /// Reads the row of a run.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the row is not what was written, or of another run than the folder's name says, or if `experiment.toml` was changed since.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("run.parquet");
        let status = read_run_status(&path)?;
        if let Some(named) = folder.file_name().and_then(|name| name.to_str()?.strip_prefix("run=")).filter(|named| *named != status.run_id)
        {
            return Err(Error::damaged(&path, format!("the row of the run {}, in the folder of {named}", status.run_id)));
        }
        let path = folder.join("experiment.toml");
        if path.exists() {
            let text = std::fs::read_to_string(&path).map_err(Error::file(&path))?;
            if let Some((line, own)) = first_difference(&text, &status.experiment) {
                let message =
                    format!("changed since the run, whose row says `{own}` in line {line}; put that back, or run what it says now");
                return Err(Error::damaged(&path, message));
            }
        }
        Ok(Self { folder: folder.to_owned(), status })
    }

    /// How the run stood when its row was written.
    pub fn status(&self) -> &RunStatus {
        &self.status
    }

    /// All rows of one of its tables.
    ///
    /// # Errors
    /// [`Error::Damaged`] if they are not those that the run wrote; [`Error::File`] if there is no such table.
    pub fn table(&self, name: &str) -> Result<Vec<RecordBatch>> {
        let path = self.folder.join(format!("{name}.parquet"));
        let rows = read_run_table(&path, name, &self.status.run_id)?;
        if let Some(wanted) = self.status.tables.0.get(name) {
            let mut hash = RowHash::default();
            rows.iter().try_for_each(|batch| hash.push(batch))?;
            if let Some(what) = differs(name, wanted, &hash.tally()) {
                return Err(Error::damaged(&path, format!("the run's row says something else: {what}")));
            }
        }
        Ok(rows)
    }
}

/// The first line in which an experiment is not what it was, and what it was; `recovery_seconds` changes nothing in the results.
fn first_difference<'a>(now: &str, then: &'a str) -> Option<(usize, &'a str)> {
    let (mut now, mut then) = (now.lines(), then.lines());
    for number in 1.. {
        match (now.next(), then.next()) {
            (None, None) => break,
            (Some(a), Some(b)) if a == b || a.starts_with("recovery_seconds") && b.starts_with("recovery_seconds") => {}
            (_, then) => return Some((number, then.unwrap_or_default())),
        }
    }
    None
}
