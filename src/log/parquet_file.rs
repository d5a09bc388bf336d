//! One Parquet file a table, whole at every moment, also for a reader that looks twice.
//!
//! A Parquet file ends in a footer that says where everything lies, so it cannot simply grow. Polars asks for a file's size, opens it, and may open it
//! again to read the rows; where the file was replaced in between, it would look for the footer in the wrong place. So a table that grows keeps every
//! byte that it had, the old footer included: new rows and a footer for all of them follow. Whatever of the file a reader knows stays true.
//!
//! A file vouches for itself: see `reading.rs`.

use super::reading::{GROUPS, MAGIC, SEAL};
use super::row_groups::{Growing, file_of, metadata, moved, place};
use crate::checksum::sha256;
use crate::{Error, Result, durable};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use parquet::file::metadata::{FileMetaData, KeyValue, ParquetMetaData, ParquetMetaDataWriter, RowGroupMetaData};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Old footers and old last groups are dead weight: once they have come to so many bytes, and to as many as what is alive, a file is written anew.
const MOST_DEAD: u64 = if cfg!(test) { 1 << 14 } else { 1 << 22 };

/// Writes a whole Parquet file (see [`super::row_groups`]).
///
/// # Errors
/// It cannot be written.
pub fn write_parquet(path: &Path, schema: &SchemaRef, rows: &[RecordBatch]) -> Result<()> {
    let mut all = Growing::new(schema.clone());
    rows.iter().try_for_each(|batch| all.push(batch))?;
    write_growing(path, schema, &mut all)
}

/// Writes a whole Parquet file of rows that go on growing.
pub(super) fn write_growing(path: &Path, schema: &SchemaRef, rows: &mut Growing) -> Result<()> {
    durable::write_file(path, |file| {
        file.write_all(MAGIC).map_err(Error::file(path))?;
        Ending { path, groups: Vec::new(), length: MAGIC.len() as u64 }.write(file, schema, rows)
    })?;
    rows.written();
    Ok(())
}

/// Adds to a Parquet file what has grown since it was written; it keeps every byte it has: see the head of this file.
pub(super) fn append_parquet(path: &Path, schema: &SchemaRef, rows: &mut Growing) -> Result<()> {
    let mut old = Old::open(path, rows.filed().len())?;
    let alive: u64 = old.whole.iter().map(place).map(|place| place.end - place.start).sum();
    if old.length.saturating_sub(alive) > MOST_DEAD.max(alive) {
        return rewrite_parquet(path, schema, rows);
    }
    durable::write_file(path, |file| {
        io::copy(&mut old.file, file).map_err(Error::file(path))?;
        Ending { path, groups: old.whole, length: old.length }.write(file, schema, rows)
    })?;
    rows.written();
    Ok(())
}

/// The same, without what growing left in the file: it becomes the one that `write_parquet` would have written.
pub(super) fn rewrite_parquet(path: &Path, schema: &SchemaRef, rows: &mut Growing) -> Result<()> {
    let mut old = Old::open(path, rows.filed().len())?;
    durable::write_file(path, |file| {
        file.write_all(MAGIC).map_err(Error::file(path))?;
        let (mut groups, mut length) = (Vec::new(), MAGIC.len() as u64);
        for group in &old.whole {
            let place = place(group);
            old.file.seek(SeekFrom::Start(place.start)).map_err(Error::file(path))?;
            let mut bytes = vec![0; (place.end - place.start) as usize];
            old.file.read_exact(&mut bytes).map_err(Error::file(path))?;
            if rows.filed().get(groups.len()) != Some(&sha256(&bytes)) {
                return Err(Error::damaged(path, format!("row group {} is not what was written", groups.len() + 1)));
            }
            groups.push(moved(group, length, groups.len())?);
            file.write_all(&bytes).map_err(Error::file(path))?;
            length += bytes.len() as u64;
        }
        Ending { path, groups, length }.write(file, schema, rows)
    })?;
    rows.written();
    Ok(())
}

/// A file that grows.
struct Old {
    file: File,
    length: u64,
    /// Groups that stay as they are.
    whole: Vec<RowGroupMetaData>,
}

impl Old {
    /// One that begins with so many whole groups.
    fn open(path: &Path, whole: usize) -> Result<Self> {
        let mut file = File::open(path).map_err(Error::file(path))?;
        let length = file.metadata().map_err(Error::file(path))?.len();
        let metadata = metadata(&file).map_err(|error| Error::damaged(path, format!("not a readable Parquet file: {error}")))?;
        let Some(whole) = metadata.row_groups().get(..whole) else {
            return Err(Error::damaged(path, "rows that were written to it are gone"));
        };
        file.rewind().map_err(Error::file(path))?;
        Ok(Self { file, length, whole: whole.to_vec() })
    }
}

/// The end of a file that has come to so many bytes, with these groups in it.
struct Ending<'a> {
    path: &'a Path,
    groups: Vec<RowGroupMetaData>,
    length: u64,
}

impl Ending<'_> {
    /// Writes what has grown, and the footer.
    fn write(mut self, file: &mut impl Write, schema: &SchemaRef, rows: &mut Growing) -> Result<()> {
        let mut sums = rows.filed().to_vec();
        let (whole, last) = rows.groups()?;
        for group in whole.iter().chain(&last) {
            sums.push(group.sha256.clone());
            self.groups.push(moved(&group.metadata, self.length, self.groups.len())?);
            file.write_all(group.bytes()).map_err(Error::file(self.path))?;
            self.length += group.bytes().len() as u64;
        }
        // What a footer of these columns says of the whole file, but for how many rows there are.
        let of_none = metadata(&Bytes::from(file_of(schema, None)?))?;
        let head = of_none.file_metadata();
        let sums = KeyValue::new(GROUPS.to_owned(), sums.join(","));
        let about = head.key_value_metadata().into_iter().flatten().cloned().chain([sums]).collect();
        let head = FileMetaData::new(
            head.version(),
            self.groups.iter().map(RowGroupMetaData::num_rows).sum(),
            head.created_by().map(str::to_owned),
            Some(about),
            head.schema_descr_ptr(),
            head.column_orders().cloned(),
        );
        let mut footer = Vec::new();
        ParquetMetaDataWriter::new(&mut footer, &ParquetMetaData::new(head, self.groups)).finish()?;
        let parts = [SEAL, Sha256::digest(&footer).as_slice(), &footer].concat();
        file.write_all(&parts).map_err(Error::file(self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::super::reading::read_table;
    use super::super::row_groups::GROUP;
    use super::*;
    use arrow::array::{Array, Float64Array, Int64Array};
    use std::fs;
    use std::sync::Arc;

    fn rows(from: i64, count: i64) -> RecordBatch {
        let seconds: Vec<f64> = (from..from + count).map(|row| row as f64 / 2.0).collect();
        let sequences = Arc::new(Int64Array::from_iter_values(from..from + count));
        RecordBatch::try_new(
            crate::log::schema("timing"),
            vec![crate::log::table::repeated("a", count as usize), sequences, Arc::new(Float64Array::from(seconds))],
        )
        .unwrap()
    }

    fn sequences(batches: &[RecordBatch]) -> Vec<i64> {
        batches.iter().flat_map(|batch| batch.column(1).as_any().downcast_ref::<Int64Array>().unwrap().values().to_vec()).collect()
    }

    #[test]
    fn what_a_reader_knows_of_a_growing_file_stays_true() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("timing.parquet");
        let schema = crate::log::schema("timing");
        write_parquet(&path, &schema, &[]).unwrap();
        let mut growing = Growing::new(schema.clone());
        for turn in 0..10 {
            let before = fs::read(&path).unwrap();
            growing.push(&rows(turn * 7, 3)).unwrap();
            growing.push(&rows(turn * 7 + 3, 4)).unwrap();
            append_parquet(&path, &schema, &mut growing).unwrap();
            let after = fs::read(&path).unwrap();
            assert!(after.starts_with(&before));
            assert_eq!(sequences(&read_table(&path).unwrap()), (0..7 * (turn + 1)).collect::<Vec<_>>());
            // The size of before, and the bytes of after.
            fs::write(folder.path().join("stale"), &after[..before.len()]).unwrap();
            assert_eq!(sequences(&read_table(&folder.path().join("stale")).unwrap()), (0..7 * turn).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_file_of_which_most_is_dead_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("timing.parquet");
        let schema = crate::log::schema("timing");
        write_parquet(&path, &schema, &[]).unwrap();
        let (mut anew, mut growing) = (0, Growing::new(schema.clone()));
        for turn in 0..100 {
            let before = fs::read(&path).unwrap();
            growing.push(&rows(turn, 1)).unwrap();
            append_parquet(&path, &schema, &mut growing).unwrap();
            let after = fs::read(&path).unwrap();
            anew += usize::from(!after.starts_with(&before));
            assert!(after.len() < 3 << 14, "{}", after.len());
        }
        assert!((1..10).contains(&anew), "{anew}");
        assert_eq!(sequences(&read_table(&path).unwrap()), (0..100).collect::<Vec<_>>());
    }

    /// Nothing is written over what somebody else put there.
    #[test]
    fn a_file_that_is_not_what_was_written_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("timing.parquet");
        let schema = crate::log::schema("timing");
        let mut growing = Growing::new(schema.clone());
        growing.push(&rows(0, 2 * GROUP as i64)).unwrap();
        write_growing(&path, &schema, &mut growing).unwrap();
        write_parquet(&path, &schema, &[rows(0, 3)]).unwrap();
        for write in [append_parquet, rewrite_parquet] {
            let error = write(&path, &schema, &mut growing).unwrap_err().to_string();
            assert!(error.ends_with("timing.parquet: rows that were written to it are gone"), "{error}");
        }
        fs::write(&path, "garbage").unwrap();
        let error = append_parquet(&path, &schema, &mut growing).unwrap_err().to_string();
        assert!(error.contains("timing.parquet: not a readable Parquet file: "), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"garbage");
    }

    /// However it came about.
    #[test]
    fn a_file_is_its_rows() {
        let folder = tempfile::tempdir().unwrap();
        let [at_once, grown] = ["at_once.parquet", "grown.parquet"].map(|name| folder.path().join(name));
        let schema = crate::log::schema("timing");
        write_parquet(&at_once, &schema, &[rows(0, 3 * GROUP as i64 + 5)]).unwrap();
        for cuts in [vec![1, 16, 31], vec![16, 32, 48], vec![5, 6, 7, 50], vec![]] {
            write_parquet(&grown, &schema, &[]).unwrap();
            let (mut first, mut growing) = (0, Growing::new(schema.clone()));
            for cut in cuts {
                growing.push(&rows(first, cut - first)).unwrap();
                append_parquet(&grown, &schema, &mut growing).unwrap();
                first = cut;
            }
            let last = 3 * GROUP as i64 + 5;
            growing.push(&rows(first, 2)).unwrap();
            growing.push(&rows(first + 2, last - first - 2)).unwrap();
            rewrite_parquet(&grown, &schema, &mut growing).unwrap();
            assert!(fs::read(&grown).unwrap() == fs::read(&at_once).unwrap());
        }
        let groups = metadata(&File::open(&at_once).unwrap()).unwrap();
        assert_eq!(groups.row_groups().iter().map(|group| group.num_rows()).collect::<Vec<_>>(), [16, 16, 16, 5]);
        assert_eq!(groups.row_groups().iter().map(|group| group.ordinal()).collect::<Vec<_>>(), [0, 1, 2, 3].map(Some));
    }
}
