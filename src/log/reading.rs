//! Reading tables back: every byte that is believed was checked before, so that rows are those that were written, or there are none.
//!
//! A file says of each row group its SHA-256 (in the footer's metadata), and of the footer, right before it, the footer's. Files of version 0.1 have
//! neither: they are read as they are.

use super::row_groups::{metadata, place};
use super::schema::{check_version, schema};
use crate::checksum::sha256;
use crate::foreign::guarded;
use crate::{Error, Result};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::ParquetMetaData;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;

/// Stands before the SHA-256 of a footer, which stands before the footer.
pub(super) const SEAL: &[u8] = b"OPTOGEN1";
/// The footer's metadata of this name holds the SHA-256 of each row group, in their order.
pub(super) const GROUPS: &str = "optogen.row_groups";
/// What a Parquet file begins and ends with.
pub(super) const MAGIC: &[u8] = b"PAR1";

/// All rows of a Parquet file.
///
/// # Errors
/// [`Error::Damaged`] if it holds anything that was not written.
pub fn read_table(path: &Path) -> Result<Vec<RecordBatch>> {
    Sealed::open(path)?.whole().map(|(_, rows)| rows)
}

/// All rows of a file that says that it is this table, whatever its columns.
pub(super) fn read_named(path: &Path, table: &str) -> Result<Vec<RecordBatch>> {
    let (found, rows) = Sealed::open(path)?.whole()?;
    check_version(path, table, &found)?;
    Ok(rows)
}

/// All rows of a table of a run.
///
/// # Errors
/// As [`read_table`]; the file is another table, or of another run, or has not the columns that the table has. [`Error::Input`] if a newer version of this program wrote it.
pub fn read_run_table(path: &Path, table: &str, run_id: &str) -> Result<Vec<RecordBatch>> {
    let (found, rows) = Sealed::open(path)?.whole()?;
    check(path, table, run_id, &found, &rows)?;
    Ok(rows)
}

/// The rows of a table as far as they are what was written, and what is wrong with the rest.
///
/// # Errors
/// [`Error::Input`] if a newer version of this program wrote it; the disk failed.
pub(super) fn salvage(path: &Path, table: &str, run_id: &str) -> Result<(Vec<RecordBatch>, Option<Error>)> {
    let salvaged = Sealed::open(path).and_then(|sealed| {
        let fault = sealed.fault();
        let (found, rows) = sealed.read()?;
        check(path, table, run_id, &found, &rows)?;
        Ok((rows, fault))
    });
    match salvaged {
        Err(error @ Error::Damaged { .. }) => Ok((Vec::new(), Some(error))),
        salvaged => salvaged,
    }
}

/// Whether rows are those of a table of a run: the same columns in the same order, nothing null that must be there, one run.
fn check(path: &Path, table: &str, run_id: &str, found: &Schema, rows: &[RecordBatch]) -> Result<()> {
    check_version(path, table, found)?;
    let expected = schema(table);
    let named = |schema: &Schema| schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect::<Vec<_>>();
    let (own, other) = (named(&expected), named(found));
    if own != other {
        let what = format!("its columns are {}, those of the table {table} are {}", other.join(", "), own.join(", "));
        return Err(Error::damaged(path, what));
    }
    for batch in rows {
        for (field, column) in expected.fields().iter().zip(batch.columns()) {
            if !field.is_nullable() && column.null_count() > 0 {
                return Err(Error::damaged(path, format!("its column {} has nulls", field.name())));
            }
        }
        let own = batch.column(0).as_string_opt::<i32>();
        if let Some(other) = own.and_then(|own| own.iter().flatten().find(|own| *own != run_id)) {
            return Err(Error::damaged(path, format!("it has rows of the run {other}, this is {run_id}")));
        }
    }
    Ok(())
}

/// A file that was read and whose checksums were compared.
struct Sealed<'a> {
    path: &'a Path,
    file: Bytes,
    metadata: ParquetMetaData,
    /// So many row groups, from the first on, are what was written.
    whole: usize,
}

impl<'a> Sealed<'a> {
    fn open(path: &'a Path) -> Result<Self> {
        let file = Bytes::from(fs::read(path).map_err(Error::file(path))?);
        let damaged = |what: &dyn std::fmt::Display| Error::damaged(path, format!("not a readable Parquet file: {what}"));
        let footer = footer(&file).ok_or_else(|| damaged(&"it is cut off, or no Parquet file at all"))?;
        let before = &file[..file.len() - footer.len()];
        let sealed = before.len().checked_sub(SEAL.len() + 32).map(|start| before[start..].split_at(SEAL.len()));
        let sealed = sealed.filter(|(seal, _)| *seal == SEAL).map(|(_, hash)| hash);
        if sealed.is_some_and(|hash| hash != Sha256::digest(footer).as_slice()) {
            return Err(damaged(&"its footer is not what was written"));
        }
        let metadata = guarded(|| metadata(&file)).ok_or_else(|| damaged(&"its reader gave up"))?.map_err(|error| damaged(&error))?;
        let sums = metadata.file_metadata().key_value_metadata().into_iter().flatten().find(|entry| entry.key == GROUPS);
        let whole = match (sums.and_then(|entry| entry.value.as_deref()), sealed) {
            (Some(sums), Some(_)) => {
                let sums = sums.split(',').filter(|sum| !sum.is_empty());
                let bytes = metadata.row_groups().iter().map(|group| {
                    let place = place(group);
                    file.get(place.start as usize..place.end as usize)
                });
                if sums.clone().count() != metadata.num_row_groups() {
                    return Err(damaged(&"its footer is not what was written"));
                }
                bytes.zip(sums).take_while(|(bytes, sum)| bytes.is_some_and(|bytes| sha256(bytes) == *sum)).count()
            }
            (None, None) => metadata.num_row_groups(),
            _ => return Err(damaged(&"its footer is not what was written")),
        };
        Ok(Self { path, file, metadata, whole })
    }

    /// What is wrong, if anything is.
    fn fault(&self) -> Option<Error> {
        let all = self.metadata.num_row_groups();
        let what = || format!("row group {} of {all} is not what was written", self.whole + 1);
        (self.whole < all).then(|| Error::damaged(self.path, what()))
    }

    /// All rows, if nothing is wrong.
    fn whole(self) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        self.fault().map_or_else(|| self.read(), Err)
    }

    /// The rows of the groups that are what was written.
    fn read(self) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        let damaged = |what: &dyn std::fmt::Display| Error::damaged(self.path, format!("not a readable Parquet file: {what}"));
        let read = guarded(|| -> std::result::Result<_, arrow::error::ArrowError> {
            let builder = ParquetRecordBatchReaderBuilder::try_new(self.file.clone())?;
            let schema = builder.schema().clone();
            let reader = builder.with_row_groups((0..self.whole).collect()).with_batch_size(1 << 14).build()?;
            Ok((schema, reader.collect::<std::result::Result<Vec<_>, _>>()?))
        });
        read.ok_or_else(|| damaged(&"its reader gave up"))?.map_err(|error| damaged(&error))
    }
}

/// The footer of a Parquet file: its metadata, their length, and the magic bytes.
fn footer(file: &[u8]) -> Option<&[u8]> {
    let rest = file.strip_prefix(MAGIC)?.strip_suffix(MAGIC)?;
    let (rest, length) = rest.split_last_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    rest.len().checked_sub(length)?;
    file.get(file.len() - length - 8..)
}
