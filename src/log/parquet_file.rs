//! One Parquet file a table, whole at every moment, also for a reader that looks twice.
//!
//! A Parquet file ends in a footer that says where everything lies, so it cannot simply grow. Polars asks for a file's size, opens it, and may open it
//! again to read the rows; where the file was replaced in between, it would look for the footer in the wrong place. So a table that grows keeps every
//! byte that it had, the old footer included: new rows and a footer for all of them follow. Whatever of the file a reader knows stays true.

use crate::{Error, Result, durable};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::{FileMetaData, ParquetMetaData, ParquetMetaDataReader, ParquetMetaDataWriter, RowGroupMetaData};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// Old footers are dead weight: with so many row groups a file is written anew.
const MOST_ROW_GROUPS: usize = 32;

/// All rows of a Parquet file.
///
/// # Errors
/// It is damaged, or not a table of ours.
pub fn read_table(path: &Path) -> Result<Vec<RecordBatch>> {
    batches(path)?.collect()
}

/// The rows of a Parquet file, some at a time.
fn batches(path: &Path) -> Result<impl Iterator<Item = Result<RecordBatch>> + '_> {
    let file = File::open(path).map_err(Error::file(path))?;
    let damaged = move |error: &dyn std::fmt::Display| Error::damaged(path, format!("not a readable Parquet file: {error}"));
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(|builder| builder.with_batch_size(1 << 14).build());
    Ok(reader.map_err(|error| damaged(&error))?.map(move |batch| batch.map_err(|error| damaged(&error))))
}

/// Writes a whole Parquet file: zstd, floats split into byte streams, strings as dictionaries, page checksums by the format's default.
///
/// # Errors
/// It cannot be written.
pub fn write_parquet(path: &Path, schema: &SchemaRef, rows: &[RecordBatch]) -> Result<()> {
    durable::write_file(path, |file| encode(file, schema, rows.iter().cloned().map(Ok)))
}

/// Writes a Parquet file anew, as one row group, with more rows at its end.
pub(super) fn rewrite_parquet(path: &Path, schema: &SchemaRef, more: &[RecordBatch]) -> Result<()> {
    let old = batches(path)?;
    durable::write_file(path, |file| encode(file, schema, old.chain(more.iter().cloned().map(Ok))))
}

/// Adds rows to a Parquet file of `write_parquet`; see the head of this file.
pub(super) fn append_parquet(path: &Path, schema: &SchemaRef, rows: &[RecordBatch]) -> Result<()> {
    if rows.iter().all(|batch| batch.num_rows() == 0) {
        return Ok(());
    }
    let old = metadata(&File::open(path).map_err(Error::file(path))?)?;
    if old.num_row_groups() >= MOST_ROW_GROUPS {
        return rewrite_parquet(path, schema, rows);
    }
    let mut fresh = Vec::new();
    encode(&mut fresh, schema, rows.iter().cloned().map(Ok))?;
    let old_bytes = fs::read(path).map_err(Error::file(path))?;
    let new = metadata(&Bytes::copy_from_slice(&fresh))?;
    let moved = new.row_groups().iter().map(|group| moved(group, old_bytes.len() as i64));
    let groups = old.row_groups().iter().cloned().map(Ok).chain(moved).collect::<Result<Vec<_>>>()?;
    let head = old.file_metadata();
    let merged = FileMetaData::new(
        head.version(),
        groups.iter().map(RowGroupMetaData::num_rows).sum(),
        head.created_by().map(str::to_owned),
        head.key_value_metadata().cloned(),
        head.schema_descr_ptr(),
        head.column_orders().cloned(),
    );
    durable::write_file(path, |file| {
        file.write_all(&old_bytes).and_then(|()| file.write_all(&fresh)).map_err(Error::file(path))?;
        Ok(ParquetMetaDataWriter::new(file, &ParquetMetaData::new(merged, groups)).finish()?)
    })
}

fn metadata(file: &impl parquet::file::reader::ChunkReader) -> Result<ParquetMetaData> {
    Ok(ParquetMetaDataReader::new().parse_and_finish(file)?)
}

/// A row group that lies so many bytes further on.
fn moved(group: &RowGroupMetaData, by: i64) -> Result<RowGroupMetaData> {
    let columns = group.columns().iter().map(|column| {
        let further = |offset: Option<i64>| offset.map(|offset| offset + by);
        let moved = column.clone().into_builder().set_data_page_offset(column.data_page_offset() + by);
        Ok(moved.set_dictionary_page_offset(further(column.dictionary_page_offset())).build()?)
    });
    let columns = columns.collect::<Result<_>>()?;
    let offset = group.file_offset().map_or(by, |offset| offset + by);
    Ok(group.clone().into_builder().set_column_metadata(columns).set_file_offset(offset).build()?)
}

fn encode(to: impl Write + Send, schema: &SchemaRef, rows: impl Iterator<Item = Result<RecordBatch>>) -> Result<()> {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        // Places of pages would have to be moved when the file grows, and nobody needs them in small tables.
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true);
    for field in schema.fields() {
        let column = ColumnPath::from(field.name().as_str());
        properties = match field.data_type() {
            DataType::Float32 | DataType::Float64 => {
                properties.set_column_dictionary_enabled(column.clone(), false).set_column_encoding(column, Encoding::BYTE_STREAM_SPLIT)
            }
            DataType::Int64 => {
                properties.set_column_dictionary_enabled(column.clone(), false).set_column_encoding(column, Encoding::DELTA_BINARY_PACKED)
            }
            _ => properties,
        };
    }
    let mut writer = ArrowWriter::try_new(to, schema.clone(), Some(properties.build()))?;
    for batch in rows {
        // Journals carry one more entry of metadata than the table.
        writer.write(&RecordBatch::try_new(schema.clone(), batch?.columns().to_vec())?)?;
    }
    writer.close()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, Float64Array, Int64Array};
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
        for turn in 0..10 {
            let before = fs::read(&path).unwrap();
            append_parquet(&path, &schema, &[rows(turn * 7, 3), rows(turn * 7 + 3, 4)]).unwrap();
            let after = fs::read(&path).unwrap();
            assert!(after.starts_with(&before));
            assert_eq!(sequences(&read_table(&path).unwrap()), (0..7 * (turn + 1)).collect::<Vec<_>>());
            // The size of before, and the bytes of after.
            fs::write(folder.path().join("stale"), &after[..before.len()]).unwrap();
            assert_eq!(sequences(&read_table(&folder.path().join("stale")).unwrap()), (0..7 * turn).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_file_of_many_row_groups_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("timing.parquet");
        let schema = crate::log::schema("timing");
        write_parquet(&path, &schema, &[]).unwrap();
        for turn in 0..100 {
            append_parquet(&path, &schema, &[rows(turn, 1)]).unwrap();
            assert!(metadata(&File::open(&path).unwrap()).unwrap().num_row_groups() <= MOST_ROW_GROUPS);
        }
        assert_eq!(sequences(&read_table(&path).unwrap()), (0..100).collect::<Vec<_>>());
    }
}
