//! A growing table: rows go to a journal, an Arrow IPC stream, and are sealed now and then into one Parquet file.
//!
//! Readers always find a whole Parquet file (see `parquet_file.rs`). A journal that was cut off still gives
//! every complete batch. The journal says how many rows were sealed before its first, so that a crash between sealing and emptying it doubles nothing.
//! What is not sealed yet is kept in memory, too, mostly encoded: the journal is read when a run is resumed, and never else.

use super::parquet_file::{append_parquet, read_table, rewrite_parquet, write_growing};
use super::row_groups::Growing;
use crate::run_folder::RunFolder;
use crate::{Error, Result, durable};
use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where the journal says how many rows were sealed before it.
const SEALED: &str = "sealed_rows";
/// Sealing may take this share of the time.
const SEALING_SHARE: u32 = 50;

/// A table of a run, open for rows.
pub struct Table {
    schema: SchemaRef,
    sealed: PathBuf,
    journal: PathBuf,
    stream: StreamWriter<BufWriter<File>>,
    growing: Growing,
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

    /// The table as it was when `from` sequences had been seen: rows from there on go. What is damaged is set aside, and named in `warnings`.
    pub fn resume(folder: &RunFolder, name: &str, from: u64, warnings: &mut Vec<String>) -> Result<Self> {
        let (sealed, journal) = (folder.table(name), journal_path(folder, name));
        let mut rows = Vec::new();
        if sealed.exists() {
            match read_table(&sealed) {
                Ok(batches) => rows = batches,
                Err(error) => warnings.push(durable::set_aside(&sealed, folder.path(), &error)?),
            }
        }
        let sealed_rows = count(&rows);
        match read_journal(&journal, sealed_rows) {
            Ok(batches) => rows.extend(batches),
            Err(error) => warnings.push(durable::set_aside(&journal, folder.path(), &error)?),
        }
        let kept = rows.iter().map(|batch| before(batch, from)).collect::<Result<Vec<_>>>()?;
        Self::with_rows(folder, name, &kept)
    }

    fn with_rows(folder: &RunFolder, name: &str, rows: &[RecordBatch]) -> Result<Self> {
        let (schema, sealed, journal) = (super::schema(name), folder.table(name), journal_path(folder, name));
        fs::create_dir_all(folder.journals()).map_err(Error::file(&folder.journals()))?;
        let mut growing = Growing::new(schema.clone());
        rows.iter().try_for_each(|batch| growing.push(batch))?;
        write_growing(&sealed, &schema, &mut growing)?;
        let sealed_rows = count(rows);
        let stream = new_journal(&journal, &schema, sealed_rows)?;
        let (last_seal, seal_took) = (Instant::now(), Duration::ZERO);
        Ok(Self { schema, sealed, journal, stream, growing, sealed_rows, journal_rows: 0, last_seal, seal_took })
    }

    /// Appends rows, a column each; `run_id` included.
    pub fn append(&mut self, columns: Vec<ArrayRef>) -> Result<()> {
        let batch = RecordBatch::try_new(self.schema.clone(), columns)?;
        self.stream.write(&batch).map_err(Error::written(&self.journal))?;
        self.journal_rows += batch.num_rows() as u64;
        self.growing.push(&batch)?;
        if self.growing.has_whole() && self.may_seal() { self.seal() } else { Ok(()) }
    }

    /// Whether sealing does not cost much of the time: it takes the longer, the more is sealed already.
    fn may_seal(&self) -> bool {
        self.last_seal.elapsed() >= self.seal_took * SEALING_SHARE
    }

    /// Makes all rows last; in a run that goes on they are sealed, where that does not cost much of the time.
    pub fn sync(&mut self, goes_on: bool) -> Result<()> {
        if goes_on && self.journal_rows > 0 && self.may_seal() {
            return self.seal();
        }
        self.stream.flush().map_err(Error::written(&self.journal))?;
        self.stream.get_ref().get_ref().sync_data().map_err(Error::file(&self.journal))
    }

    /// Seals all rows into the Parquet file.
    pub fn seal(&mut self) -> Result<()> {
        let start = Instant::now();
        self.stream.flush().map_err(Error::written(&self.journal))?;
        append_parquet(&self.sealed, &self.schema, &mut self.growing)?;
        self.sealed_rows += std::mem::take(&mut self.journal_rows);
        self.stream = new_journal(&self.journal, &self.schema, self.sealed_rows)?;
        (self.last_seal, self.seal_took) = (Instant::now(), start.elapsed());
        Ok(())
    }

    /// Seals all rows, for good: the file is written anew, without what sealing left between.
    pub fn finish(&mut self) -> Result<()> {
        rewrite_parquet(&self.sealed, &self.schema, &mut self.growing)?;
        fs::remove_file(&self.journal).map_err(Error::file(&self.journal))?;
        if let Some(folder) = self.journal.parent() {
            // The last table takes the folder along; until then it is not empty.
            let _ = fs::remove_dir(folder);
        }
        Ok(())
    }
}

fn journal_path(folder: &RunFolder, name: &str) -> PathBuf {
    folder.journals().join(format!("{name}.arrow"))
}

fn new_journal(path: &Path, schema: &SchemaRef, sealed_rows: u64) -> Result<StreamWriter<BufWriter<File>>> {
    let mut metadata = schema.metadata().clone();
    metadata.insert(SEALED.to_string(), sealed_rows.to_string());
    let schema = Schema::new_with_metadata(schema.fields().clone(), metadata);
    // The header is there before the name is, so a journal without one is damaged.
    let folder = path.parent().unwrap_or(Path::new("."));
    let temporary = durable::temporary_file(folder).map_err(Error::file(path))?;
    let file = BufWriter::new(temporary.reopen().map_err(Error::file(path))?);
    let mut stream = StreamWriter::try_new(file, &schema).map_err(Error::written(path))?;
    stream.flush().map_err(Error::written(path))?;
    temporary.persist(path).map_err(|error| Error::File { path: path.to_owned(), source: error.error })?;
    durable::sync_folder(folder)?;
    Ok(stream)
}

/// The complete batches of a journal, without the rows that are sealed already; none where there is no journal.
fn read_journal(path: &Path, sealed_rows: u64) -> Result<Vec<RecordBatch>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let file = File::open(path).map_err(Error::file(path))?;
    let damaged = |error: &dyn std::fmt::Display| Error::damaged(path, format!("not a readable journal: {error}"));
    let reader = StreamReader::try_new(BufReader::new(file), None).map_err(|error| damaged(&error))?;
    let before: u64 = reader.schema().metadata().get(SEALED).and_then(|rows| rows.parse().ok()).ok_or_else(|| damaged(&"no header"))?;
    let mut doubled = sealed_rows.saturating_sub(before) as usize;
    let mut rows = Vec::new();
    // A batch that was cut off ends it: everything before it is whole.
    for batch in reader.map_while(std::result::Result::ok) {
        let skipped = doubled.min(batch.num_rows());
        doubled -= skipped;
        rows.push(batch.slice(skipped, batch.num_rows() - skipped));
    }
    Ok(rows)
}

fn before(batch: &RecordBatch, from: u64) -> Result<RecordBatch> {
    let sequences = batch.column_by_name("sequences").and_then(|column| column.as_any().downcast_ref::<Int64Array>());
    let Some(sequences) = sequences else { return Err(Error::Internal("a table has no column of sequences".into())) };
    let keep: BooleanArray = sequences.values().iter().map(|&sequences| Some((sequences as u64) < from)).collect();
    Ok(filter_record_batch(batch, &keep)?)
}

fn count(batches: &[RecordBatch]) -> u64 {
    batches.iter().map(|batch| batch.num_rows() as u64).sum()
}

/// A column of one string, over and over.
pub(super) fn repeated(text: &str, count: usize) -> ArrayRef {
    let offsets = OffsetBuffer::from_repeated_length(text.len(), count);
    Arc::new(StringArray::new(offsets, Buffer::from_vec(text.as_bytes().repeat(count)), None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Float64Array;

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
        assert_eq!(count(&read_journal(&journal_path(&folder, "timing"), 10).unwrap()), 5);
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
        table.stream.flush().unwrap();
        let journal = journal_path(&folder, "timing");
        let unsealed = fs::read(&journal).unwrap();
        table.seal().unwrap();
        // As after a crash between sealing and emptying the journal.
        drop(table);
        fs::write(&journal, unsealed).unwrap();
        let mut warnings = Vec::new();
        let table = Table::resume(&folder, "timing", 7, &mut warnings).unwrap();
        assert!(warnings.is_empty());
        drop(table);
        assert_eq!(sequences(&folder.table("timing")), range(7));
    }

    #[test]
    fn a_journal_cut_anywhere_gives_its_complete_batches() {
        let out = tempfile::tempdir().unwrap();
        let folder = RunFolder::open(out.path(), "a", false).unwrap();
        let mut table = Table::create(&folder, "timing").unwrap();
        table.append(columns(0, 4)).unwrap();
        table.stream.flush().unwrap();
        let journal = journal_path(&folder, "timing");
        let first = fs::metadata(&journal).unwrap().len() as usize;
        table.append(columns(4, 4)).unwrap();
        table.stream.flush().unwrap();
        let whole = fs::read(&journal).unwrap();
        drop(table);
        for cut in first..=whole.len() {
            fs::write(&journal, &whole[..cut]).unwrap();
            let rows = count(&read_journal(&journal, 0).unwrap());
            assert_eq!(rows, if cut == whole.len() { 8 } else { 4 }, "cut at {cut} of {}", whole.len());
        }
    }

    #[test]
    fn a_damaged_table_is_set_aside_and_named() {
        let out = tempfile::tempdir().unwrap();
        let folder = RunFolder::open(out.path(), "a", false).unwrap();
        Table::create(&folder, "timing").unwrap().append(columns(0, 4)).unwrap();
        fs::write(folder.table("timing"), "garbage").unwrap();
        let mut warnings = Vec::new();
        Table::resume(&folder, "timing", 9, &mut warnings).unwrap();
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("timing.parquet: not a readable Parquet file: "), "{}", warnings[0]);
        assert!(folder.path().join("damaged/timing.parquet.0").exists());
    }
}
