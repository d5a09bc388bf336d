//! The journal of a table: rows on the disk that are in no Parquet file yet.
//!
//! An Arrow IPC stream in frames, each with its length and CRC-32, so that no byte reaches Arrow's reader that was not written. What a killed writer cut off
//! ends the journal; every frame before it is whole. The first frame says of which table and run it is, and how many rows were sealed before it, so that
//! a crash between sealing and emptying it doubles nothing.
//!
//! ```text
//! "OPTOGEN JOURNAL\n"   length u32, CRC-32 u32, {"table":…,"run_id":…,"sealed_rows":…}   length, CRC-32, bytes of the stream   …
//! ```

use crate::foreign::guarded;
use crate::run_folder::RunFolder;
use crate::{Error, Result, durable};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, BufWriter, Cursor, Read, Write};
use std::path::{Path, PathBuf};

const MAGIC: &[u8] = b"OPTOGEN JOURNAL\n";

/// The journal of a table.
pub(super) fn path(folder: &RunFolder, table: &str) -> PathBuf {
    folder.journals().join(format!("{table}.journal"))
}

/// The journal that version 0.1 wrote.
fn unframed_path(folder: &RunFolder, table: &str) -> PathBuf {
    folder.journals().join(format!("{table}.arrow"))
}

/// What a journal begins with.
#[derive(Serialize, Deserialize)]
struct Header {
    table: String,
    run_id: String,
    sealed_rows: u64,
}

/// A journal, open for rows.
pub(super) struct Journal {
    path: PathBuf,
    stream: StreamWriter<Frames>,
}

impl Journal {
    /// A new journal, in place of one of that name. It is there with its header or not at all.
    pub fn create(path: &Path, table: &str, run_id: &str, sealed_rows: u64, schema: &SchemaRef) -> Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let temporary = durable::temporary_file(folder).map_err(Error::file(path))?;
        let mut file = BufWriter::new(temporary.reopen().map_err(Error::file(path))?);
        let header = Header { table: table.into(), run_id: run_id.into(), sealed_rows };
        let header = serde_json::to_vec(&header).map_err(|error| Error::Internal(error.to_string()))?;
        file.write_all(MAGIC).and_then(|()| write_frame(&mut file, &header)).map_err(Error::file(path))?;
        let mut stream = StreamWriter::try_new(Frames { file, bytes: Vec::new() }, schema)?;
        stream.get_mut().end().and_then(|()| stream.get_mut().file.flush()).map_err(Error::file(path))?;
        temporary.persist(path).map_err(|error| Error::File { path: path.to_owned(), source: error.error })?;
        durable::sync_folder(folder)?;
        Ok(Self { path: path.to_owned(), stream })
    }

    /// Appends rows as a frame.
    pub fn append(&mut self, rows: &RecordBatch) -> Result<()> {
        self.stream.write(rows)?;
        self.stream.get_mut().end().map_err(Error::file(&self.path))
    }

    /// Hands all frames to the system.
    pub fn flush(&mut self) -> Result<()> {
        self.stream.get_mut().file.flush().map_err(Error::file(&self.path))
    }

    /// Makes all frames last.
    pub fn sync(&mut self) -> Result<()> {
        self.flush()?;
        self.stream.get_mut().file.get_ref().sync_data().map_err(Error::file(&self.path))
    }
}

/// What Arrow writes, gathered until a frame is ended.
struct Frames {
    file: BufWriter<File>,
    bytes: Vec<u8>,
}

impl Frames {
    fn end(&mut self) -> io::Result<()> {
        write_frame(&mut self.file, &self.bytes)?;
        self.bytes.clear();
        Ok(())
    }
}

impl Write for Frames {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_frame(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| io::Error::other("a frame of more than 4 GB"))?.to_le_bytes();
    to.write_all(&length)?;
    to.write_all(&checksum(&length, bytes).to_le_bytes())?;
    to.write_all(bytes)
}

fn checksum(length: &[u8], bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(length);
    hasher.update(bytes);
    hasher.finalize()
}

/// What a journal holds.
pub(super) struct Journalled {
    /// How many rows were sealed before its first.
    pub sealed_rows: u64,
    /// The rows of all frames that are whole.
    pub rows: Vec<RecordBatch>,
    /// What is wrong behind them, if anything is. A frame that was cut off is not: that is how a killed writer leaves it.
    pub fault: Option<Error>,
}

/// Reads the journal of a table; nothing where there is none.
///
/// # Errors
/// [`Error::Damaged`] if not even its beginning is whole, or it is of another table or run.
fn read(path: &Path, table: &str, run_id: &str) -> Result<Option<Journalled>> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(Error::file(path))?,
    };
    let Some(rest) = bytes.strip_prefix(MAGIC) else { return Err(Error::damaged(path, "not a journal")) };
    let (stream, fault) = frames(rest);
    let mut frames = stream.into_iter();
    let header = frames.next().and_then(|header| serde_json::from_slice::<Header>(header).ok());
    let header = header.ok_or_else(|| Error::damaged(path, "the beginning of this journal is not what was written"))?;
    if (header.table.as_str(), header.run_id.as_str()) != (table, run_id) {
        return Err(Error::damaged(path, format!("the journal of the table {} of the run {}", header.table, header.run_id)));
    }
    let stream: Vec<u8> = frames.flatten().copied().collect();
    let rows = if stream.is_empty() { Vec::new() } else { batches(path, Cursor::new(stream))? };
    let fault = fault.map(|at| Error::damaged(path, format!("from byte {} on it is not what was written", at + MAGIC.len())));
    Ok(Some(Journalled { sealed_rows: header.sealed_rows, rows, fault }))
}

/// Whether the journal of a table of a run is what was written, but perhaps for an end that was cut off.
///
/// # Errors
/// [`Error::Damaged`] that says where it is not.
pub fn check_journal(path: &Path, table: &str, run_id: &str) -> Result<()> {
    read(path, table, run_id)?.and_then(|journal| journal.fault).map_or(Ok(()), Err)
}

/// All frames that are whole, and where one begins that is not what was written.
fn frames(mut bytes: &[u8]) -> (Vec<&[u8]>, Option<usize>) {
    let (mut all, length) = (Vec::new(), bytes.len());
    while let Some((head, rest)) = bytes.split_first_chunk::<8>() {
        let ([a, b, c, d, ..], crc) = (*head, u32::from_le_bytes([head[4], head[5], head[6], head[7]]));
        let size = [a, b, c, d];
        let Some((frame, rest)) = rest.split_at_checked(u32::from_le_bytes(size) as usize) else { break };
        if checksum(&size, frame) != crc {
            return (all, Some(length - bytes.len()));
        }
        all.push(frame);
        bytes = rest;
    }
    (all, None)
}

fn batches(path: &Path, stream: impl Read) -> Result<Vec<RecordBatch>> {
    let read = guarded(|| StreamReader::try_new(stream, None).and_then(|reader| reader.collect::<Result<Vec<_>, _>>()));
    let damaged = |error: &dyn std::fmt::Display| Error::damaged(path, format!("not a readable journal: {error}"));
    read.ok_or_else(|| damaged(&"its reader gave up"))?.map_err(|error| damaged(&error))
}

/// What the journal of a table holds, if there is one, and where it lies.
pub(super) fn of(folder: &RunFolder, table: &str) -> (PathBuf, Result<Option<Journalled>>) {
    let (own, old) = (path(folder, table), unframed_path(folder, table));
    if own.exists() || !old.exists() {
        let read = read(&own, table, folder.run_id());
        return (own, read);
    }
    let read = read_unframed(&old);
    (old, read)
}

/// Removes the journal that version 0.1 wrote, whose rows are in the table now.
pub(super) fn remove_unframed(folder: &RunFolder, table: &str) -> Result<()> {
    let path = unframed_path(folder, table);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file(&path)(error)),
        _ => Ok(()),
    }
}

/// The stream without frames. A batch that was cut off ends it.
fn read_unframed(path: &Path) -> Result<Option<Journalled>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(Error::file(path))?,
    };
    let damaged = |error: &dyn std::fmt::Display| Error::damaged(path, format!("not a readable journal: {error}"));
    let read = guarded(|| -> Result<_> {
        let reader = StreamReader::try_new(io::BufReader::new(file), None).map_err(|error| damaged(&error))?;
        let sealed_rows = reader.schema().metadata().get("sealed_rows").and_then(|rows| rows.parse().ok());
        Ok(Journalled {
            sealed_rows: sealed_rows.ok_or_else(|| damaged(&"no header"))?,
            rows: reader.map_while(std::result::Result::ok).collect(),
            fault: None,
        })
    });
    read.ok_or_else(|| damaged(&"its reader gave up"))?.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, Int64Array};
    use std::sync::Arc;

    fn rows(from: i64, count: i64) -> RecordBatch {
        let seconds = Float64Array::from_iter_values((from..from + count).map(|row| row as f64 / 2.0));
        let sequences = Int64Array::from_iter_values(from..from + count);
        let run_id = crate::log::table::repeated("a", count as usize);
        RecordBatch::try_new(crate::log::schema("timing"), vec![run_id, Arc::new(sequences), Arc::new(seconds)]).unwrap()
    }

    /// A journal of two batches of four rows, and where its first batch ends.
    fn written(path: &Path) -> (Vec<u8>, usize) {
        let mut journal = Journal::create(path, "timing", "a", 7, &crate::log::schema("timing")).unwrap();
        journal.append(&rows(0, 4)).unwrap();
        journal.flush().unwrap();
        let first = fs::metadata(path).unwrap().len() as usize;
        journal.append(&rows(4, 4)).unwrap();
        journal.sync().unwrap();
        (fs::read(path).unwrap(), first)
    }

    fn count(path: &Path) -> usize {
        read(path, "timing", "a").unwrap().unwrap().rows.iter().map(RecordBatch::num_rows).sum()
    }

    #[test]
    fn a_journal_cut_anywhere_gives_its_complete_batches() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("timing.journal");
        assert!(read(&path, "timing", "a").unwrap().is_none());
        let (whole, first) = written(&path);
        for cut in first..=whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(count(&path), if cut == whole.len() { 8 } else { 4 }, "cut at {cut} of {}", whole.len());
            let read = read(&path, "timing", "a").unwrap().unwrap();
            assert_eq!((read.sealed_rows, read.fault.is_none()), (7, true));
        }
    }

    /// Rows are those that were written, or fewer; never others.
    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("timing.journal");
        let (whole, _) = written(&path);
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(&path, &flipped).unwrap();
            if let Ok(Some(read)) = read(&path, "timing", "a") {
                let whole = [rows(0, 4), rows(4, 4)];
                let read: Vec<_> = read.rows.iter().map(|batch| batch.columns().to_vec()).collect();
                assert!(read.len() < 2 && read.iter().zip(&whole).all(|(read, whole)| read == whole.columns()), "byte {at}");
            }
        }
    }

    #[test]
    fn a_journal_of_another_run_or_table_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("timing.journal");
        written(&path);
        for (table, run_id) in [("timing", "b"), ("notes", "a")] {
            let error = read(&path, table, run_id).err().unwrap().to_string();
            assert!(error.ends_with("timing.journal: the journal of the table timing of the run a"), "{error}");
        }
        fs::write(&path, "garbage").unwrap();
        assert!(read(&path, "timing", "a").err().unwrap().to_string().ends_with("timing.journal: not a journal"));
    }
}
