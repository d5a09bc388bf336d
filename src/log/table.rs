//! A growing table: rows go to a journal, and are sealed now and then into one Parquet file.
//!
//! Readers always find a whole Parquet file (see `parquet_file.rs`). A journal that was cut off still gives every complete batch (see `journal.rs`).
//! What is not sealed yet is kept in memory, too, mostly encoded: the journal is read when a run is resumed, and never else.

use super::journal::{self, Journal};
use super::parquet_file::{append_parquet, rewrite_parquet, write_growing};
use super::row_groups::Growing;
use super::saved::SavedRows;
use super::tally::{RowHash, Tally};
use crate::run_folder::RunFolder;
use crate::{Error, Result};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::datatypes::SchemaRef;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Sealing may take this share of the time.
const SEALING_SHARE: u32 = 50;

/// A table of a run, open for rows.
pub struct Table {
    name: String,
    run_id: String,
    schema: SchemaRef,
    sealed: PathBuf,
    journal_path: PathBuf,
    journal: Journal,
    growing: Growing,
    hash: RowHash,
    sealed_rows: u64,
    journal_rows: u64,
    last_seal: Instant,
    seal_took: Duration,
}

impl Table {
    /// A new table; it can be read at once.
    pub fn create(folder: &RunFolder, name: &str) -> Result<Self> {
        Self::with_rows(folder, name, &[])
    }

    /// The table as it was when `from` sequences had been seen: rows from there on go.
    pub fn resume(folder: &RunFolder, saved: &SavedRows, from: u64) -> Result<Self> {
        Self::with_rows(folder, saved.table(), &saved.before(from)?)
    }

    fn with_rows(folder: &RunFolder, name: &str, rows: &[RecordBatch]) -> Result<Self> {
        let (schema, sealed, journal_path) = (super::schema(name), folder.table(name), journal::path(folder, name));
        fs::create_dir_all(folder.journals()).map_err(Error::file(&folder.journals()))?;
        let (mut growing, mut hash) = (Growing::new(schema.clone()), RowHash::default());
        for batch in rows {
            growing.push(batch)?;
            hash.push(batch)?;
        }
        write_growing(&sealed, &schema, &mut growing)?;
        let (run_id, sealed_rows) = (folder.run_id().to_owned(), hash.tally().rows);
        let journal = Journal::create(&journal_path, name, &run_id, sealed_rows, &schema)?;
        journal::remove_unframed(folder, name)?;
        let (last_seal, seal_took) = (Instant::now(), Duration::ZERO);
        let name = name.to_owned();
        Ok(Self { name, run_id, schema, sealed, journal_path, journal, growing, hash, sealed_rows, journal_rows: 0, last_seal, seal_took })
    }

    /// Appends rows, a column each; `run_id` included.
    pub fn append(&mut self, columns: Vec<ArrayRef>) -> Result<()> {
        let batch = RecordBatch::try_new(self.schema.clone(), columns)?;
        self.journal.append(&batch)?;
        self.journal_rows += batch.num_rows() as u64;
        self.growing.push(&batch)?;
        self.hash.push(&batch)?;
        if self.growing.has_whole() && self.may_seal() { self.seal() } else { Ok(()) }
    }

    /// All rows, counted and hashed.
    pub fn tally(&self) -> Tally {
        self.hash.tally()
    }

    /// The rows of before so many sequences had been seen; without their hash in `timing`, whose rows are no function of the run.
    ///
    /// # Errors
    /// There are rows of later moments.
    pub fn tally_before(&self, sequences: u64) -> Result<Tally> {
        let tally = self.hash.tally_before(sequences).ok_or_else(|| {
            Error::Internal(format!("the table {} has rows of more than the {sequences} sequences that were seen", self.name))
        })?;
        Ok(if super::schema::holds_times(&self.name) { Tally { sha256: None, ..tally } } else { tally })
    }

    /// Whether sealing does not cost much of the time: it takes the longer, the more is sealed already.
    fn may_seal(&self) -> bool {
        self.last_seal.elapsed() >= self.seal_took * SEALING_SHARE
    }

    /// Makes all rows last; in a run that goes on they are sealed, where that does not cost much of the time.
    pub fn sync(&mut self, goes_on: bool) -> Result<()> {
        if goes_on && self.journal_rows > 0 && self.may_seal() { self.seal() } else { self.journal.sync() }
    }

    /// Seals all rows into the Parquet file.
    pub fn seal(&mut self) -> Result<()> {
        let start = Instant::now();
        self.journal.flush()?;
        append_parquet(&self.sealed, &self.schema, &mut self.growing)?;
        self.sealed_rows += std::mem::take(&mut self.journal_rows);
        self.journal = Journal::create(&self.journal_path, &self.name, &self.run_id, self.sealed_rows, &self.schema)?;
        (self.last_seal, self.seal_took) = (Instant::now(), start.elapsed());
        Ok(())
    }

    /// Seals all rows, for good: the file is written anew, without what sealing left between.
    pub fn finish(&mut self) -> Result<()> {
        rewrite_parquet(&self.sealed, &self.schema, &mut self.growing)?;
        fs::remove_file(&self.journal_path).map_err(Error::file(&self.journal_path))?;
        if let Some(folder) = self.journal_path.parent() {
            // The last table takes the folder along; until then it is not empty.
            let _ = fs::remove_dir(folder);
        }
        Ok(())
    }
}

/// A column of one string, over and over.
pub(super) fn repeated(text: &str, count: usize) -> ArrayRef {
    let offsets = OffsetBuffer::from_repeated_length(text.len(), count);
    Arc::new(StringArray::new(offsets, Buffer::from_vec(text.as_bytes().repeat(count)), None))
}

#[cfg(test)]
mod tests {
    use super::super::read_table;
    use super::*;
    use arrow::array::{Float64Array, Int64Array};
    use std::path::Path;

    fn columns(from: i64, count: i64) -> Vec<ArrayRef> {
        let seconds: Vec<f64> = (from..from + count).map(|row| row as f64 / 2.0).collect();
        vec![
            repeated("a", count as usize),
            Arc::new(Int64Array::from_iter_values(from..from + count)),
            Arc::new(Float64Array::from(seconds)),
        ]
    }

    fn sequences(path: &Path) -> Vec<i64> {
        let rows = read_table(path).unwrap();
        rows.iter().flat_map(|batch| batch.column(1).as_any().downcast_ref::<Int64Array>().unwrap().values().to_vec()).collect()
    }

    fn range(end: i64) -> Vec<i64> {
        (0..end).collect()
    }

    fn resumed(folder: &RunFolder, from: u64) -> (Table, Vec<String>) {
        let mut warnings = Vec::new();
        let saved = SavedRows::read(folder, "timing", &mut warnings).unwrap();
        (Table::resume(folder, &saved, from).unwrap(), warnings)
    }

    #[test]
    fn a_table_is_readable_from_the_start_and_whole_at_the_end() {
        let out = tempfile::tempdir().unwrap();
        let folder = RunFolder::open(out.path(), "a", false).unwrap();
        let mut table = Table::create(&folder, "timing").unwrap();
        assert_eq!(sequences(&folder.table("timing")), range(0));
        table.append(columns(0, 10)).unwrap();
        table.seal().unwrap();
        assert_eq!(sequences(&folder.table("timing")), range(10));
        table.append(columns(10, 5)).unwrap();
        table.sync(false).unwrap();
        assert_eq!(sequences(&folder.table("timing")), range(10));
        assert_eq!(SavedRows::read(&folder, "timing", &mut Vec::new()).unwrap().tally_before(15).unwrap(), table.tally());
        table.finish().unwrap();
        assert_eq!(sequences(&folder.table("timing")), range(15));
        assert!(!folder.journals().exists());
    }

    #[test]
    fn resuming_forgets_what_came_later_and_doubles_nothing() {
        let out = tempfile::tempdir().unwrap();
        let folder = RunFolder::open(out.path(), "a", false).unwrap();
        let mut table = Table::create(&folder, "timing").unwrap();
        table.append(columns(0, 10)).unwrap();
        table.journal.flush().unwrap();
        let journal = journal::path(&folder, "timing");
        let unsealed = fs::read(&journal).unwrap();
        table.seal().unwrap();
        // As after a crash between sealing and emptying the journal.
        drop(table);
        fs::write(&journal, unsealed).unwrap();
        let (table, warnings) = resumed(&folder, 7);
        assert!(warnings.is_empty());
        assert_eq!(table.tally().rows, 7);
        drop(table);
        assert_eq!(sequences(&folder.table("timing")), range(7));
    }

    #[test]
    fn a_damaged_table_is_set_aside_and_named() {
        let out = tempfile::tempdir().unwrap();
        let folder = RunFolder::open(out.path(), "a", false).unwrap();
        Table::create(&folder, "timing").unwrap().append(columns(0, 4)).unwrap();
        fs::write(folder.table("timing"), "garbage").unwrap();
        let (table, warnings) = resumed(&folder, 9);
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("timing.parquet: not a readable Parquet file: "), "{}", warnings[0]);
        assert!(folder.path().join("damaged/timing.parquet.0").exists());
        assert_eq!(table.tally().rows, 4, "the journal begins where the table does");
    }

    /// Rows of a journal that come after others that are gone are of no use.
    #[test]
    fn there_is_no_gap_between_a_table_and_its_journal() {
        let out = tempfile::tempdir().unwrap();
        let folder = RunFolder::open(out.path(), "a", false).unwrap();
        let mut table = Table::create(&folder, "timing").unwrap();
        table.append(columns(0, 10)).unwrap();
        table.seal().unwrap();
        table.append(columns(10, 5)).unwrap();
        table.sync(false).unwrap();
        drop(table);
        fs::remove_file(folder.table("timing")).unwrap();
        let (table, warnings) = resumed(&folder, 15);
        assert_eq!(table.tally().rows, 0);
        assert!(warnings[0].ends_with("timing.journal: its rows come after 10 others, of which 10 are gone"), "{warnings:?}");
    }
}
