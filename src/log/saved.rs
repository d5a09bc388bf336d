//! The rows that a run's tables hold when it is opened again: sealed ones, and behind them those of the journal.

use super::tally::{RowHash, Tally, sequences_of};
use super::{journal, reading};
use crate::run_folder::RunFolder;
use crate::{Error, Result, durable};
use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use std::collections::BTreeMap;

/// The rows of one table.
pub struct SavedRows {
    table: String,
    /// Whether there was a file of sealed rows.
    is_there: bool,
    rows: Vec<RecordBatch>,
}

impl SavedRows {
    /// Reads them as far as they are what was written. A damaged file is set aside, and named in `warnings`.
    ///
    /// # Errors
    /// A newer version of this program wrote the table; the disk failed.
    pub fn read(folder: &RunFolder, table: &str, warnings: &mut Vec<String>) -> Result<Self> {
        let sealed = folder.table(table);
        let mut own = Self { table: table.into(), is_there: sealed.exists(), rows: Vec::new() };
        if own.is_there {
            let (salvaged, fault) = reading::salvage(&sealed, table, folder.run_id())?;
            own.rows = salvaged;
            if let Some(fault) = fault {
                warnings.push(durable::set_aside(&sealed, folder.path(), &fault)?);
            }
        }
        let count = |rows: &[RecordBatch]| rows.iter().map(|batch| batch.num_rows() as u64).sum::<u64>();
        let sealed_rows = count(&own.rows);
        let (path, journal) = match journal::of(folder, table) {
            (path, Err(error @ Error::Damaged { .. })) => {
                warnings.push(durable::set_aside(&path, folder.path(), &error)?);
                return Ok(own);
            }
            (path, journal) => (path, journal?),
        };
        let Some(journal) = journal else { return Ok(own) };
        if let Some(gone) = journal.sealed_rows.checked_sub(sealed_rows).filter(|gone| *gone > 0) {
            warnings.push(format!("{}: its rows come after {} others, of which {gone} are gone", path.display(), journal.sealed_rows));
            return Ok(own);
        }
        warnings.extend(journal.fault.map(|fault| fault.to_string()));
        let mut doubled = (sealed_rows - journal.sealed_rows) as usize;
        for batch in journal.rows {
            let skipped = doubled.min(batch.num_rows());
            doubled -= skipped;
            own.rows.push(batch.slice(skipped, batch.num_rows() - skipped));
        }
        Ok(own)
    }

    /// The table's name.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// The rows of before so many sequences had been seen.
    pub(super) fn before(&self, sequences: u64) -> Result<Vec<RecordBatch>> {
        let kept = |batch: &RecordBatch| {
            let keep: BooleanArray = sequences_of(batch)?.iter().map(|&at| Some((at as u64) < sequences)).collect();
            Ok(filter_record_batch(batch, &keep)?)
        };
        self.rows.iter().map(kept).collect()
    }

    /// Those rows, counted and hashed.
    pub(super) fn tally_before(&self, sequences: u64) -> Result<Tally> {
        let mut hash = RowHash::default();
        self.before(sequences)?.iter().try_for_each(|batch| hash.push(batch))?;
        Ok(hash.tally())
    }

    /// All rows, counted and hashed.
    pub(super) fn tally(&self) -> Result<Tally> {
        let mut hash = RowHash::default();
        self.rows.iter().try_for_each(|batch| hash.push(batch))?;
        Ok(hash.tally())
    }
}

/// The rows of all tables of a run.
pub struct SavedTables(pub(super) Vec<SavedRows>);

impl SavedTables {
    /// Reads them, as [`SavedRows::read`].
    ///
    /// # Errors
    /// As there.
    pub fn read(folder: &RunFolder, tables: &[String], warnings: &mut Vec<String>) -> Result<Self> {
        Ok(Self(tables.iter().map(|table| SavedRows::read(folder, table, warnings)).collect::<Result<_>>()?))
    }

    /// What keeps a run from going on where so many sequences had been seen, when its tables held these rows: one of them has not got them.
    ///
    /// # Errors
    /// Arrow refused.
    pub fn missing_at(&self, sequences: u64, tallies: &BTreeMap<String, Tally>) -> Result<Option<String>> {
        for saved in &self.0 {
            let Some(wanted) = tallies.get(&saved.table) else { continue };
            if let Some(what) = differs(&saved.table, wanted, &saved.tally_before(sequences)?) {
                return Ok(Some(what));
            }
        }
        Ok(None)
    }

    /// In what the tables of a run that ended are not those that it wrote.
    ///
    /// # Errors
    /// Arrow refused.
    pub fn fault(&self, tallies: &BTreeMap<String, Tally>) -> Result<Option<String>> {
        for saved in &self.0 {
            let Some(wanted) = tallies.get(&saved.table) else {
                // Runs of version 0.1 do not say what their tables held.
                if saved.is_there {
                    continue;
                }
                return Ok(Some(format!("{} is not there", saved.table)));
            };
            if let Some(what) = differs(&saved.table, wanted, &saved.tally()?) {
                return Ok(Some(what));
            }
        }
        Ok(None)
    }
}

/// In what a table's rows differ from those that were written, if they do.
pub(super) fn differs(table: &str, wanted: &Tally, found: &Tally) -> Option<String> {
    if found.rows != wanted.rows {
        return Some(format!("{table} has {} of {} rows", found.rows, wanted.rows));
    }
    let other = wanted.sha256.is_some() && wanted.sha256 != found.sha256;
    other.then(|| format!("{table} has {} rows that are not those that were written", wanted.rows))
}
