//! The row groups of a table's file: cut at the same rows whenever the table was sealed, so that a file's bytes depend on its rows alone.

use crate::{Error, Result};
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, SchemaRef};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use std::fs::File;
use std::ops::Range;
use std::path::Path;

/// Rows of a group; only the last may have fewer. In tests so few that there are several.
pub(super) const GROUP: usize = if cfg!(test) { 16 } else { 1 << 14 };

/// The rows of a Parquet file, some at a time: of all groups, or of those from one on.
pub(super) fn batches(path: &Path, from_group: usize) -> Result<impl Iterator<Item = Result<RecordBatch>> + '_> {
    let file = File::open(path).map_err(Error::file(path))?;
    let damaged = move |error: &dyn std::fmt::Display| Error::damaged(path, format!("not a readable Parquet file: {error}"));
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(|builder| {
        let groups = from_group..builder.metadata().num_row_groups();
        builder.with_row_groups(groups.collect()).with_batch_size(1 << 14).build()
    });
    Ok(reader.map_err(|error| damaged(&error))?.map(move |batch| batch.map_err(|error| damaged(&error))))
}

/// What a file's footer says.
pub(super) fn metadata(file: &impl parquet::file::reader::ChunkReader) -> Result<ParquetMetaData> {
    Ok(ParquetMetaDataReader::new().parse_and_finish(file)?)
}

/// A row group that was encoded, in a file of its own.
pub(super) struct Encoded {
    file: Vec<u8>,
    pub metadata: RowGroupMetaData,
}

impl Encoded {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        let Range { start, end } = place(&self.metadata);
        &self.file[start as usize..end as usize]
    }
}

/// Rows in groups, each encoded by itself.
pub(super) fn encode(schema: &SchemaRef, rows: &[RecordBatch]) -> Result<Vec<Encoded>> {
    // Journals carry one more entry of metadata than the table.
    let own = |batch: &RecordBatch| Ok(RecordBatch::try_new(schema.clone(), batch.columns().to_vec())?);
    let rows: Vec<RecordBatch> = rows.iter().map(own).collect::<Result<_>>()?;
    let all = concat_batches(schema, &rows)?;
    let groups = (0..all.num_rows()).step_by(GROUP).map(|first| all.slice(first, GROUP.min(all.num_rows() - first)));
    groups
        .map(|group| {
            let file = file_of(schema, Some(&group))?;
            let metadata = metadata(&Bytes::copy_from_slice(&file))?.row_group(0).clone();
            Ok(Encoded { file, metadata })
        })
        .collect()
}

/// A whole file of one row group, or of none.
///
/// zstd, floats split into byte streams, strings as dictionaries, page checksums by the format's default.
pub(super) fn file_of(schema: &SchemaRef, group: Option<&RecordBatch>) -> Result<Vec<u8>> {
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
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut file, schema.clone(), Some(properties.build()))?;
    group.map_or(Ok(()), |group| writer.write(group))?;
    writer.close()?;
    Ok(file)
}

/// The bytes of a file in which a row group lies.
pub(super) fn place(group: &RowGroupMetaData) -> Range<u64> {
    let columns = group.columns().iter().map(|column| column.byte_range());
    let ends = columns.clone().map(|(start, length)| start + length).max();
    columns.map(|(start, _)| start).min().unwrap_or_default()..ends.unwrap_or_default()
}

/// What a footer says of a row group that begins at `start`, as number `ordinal`.
pub(super) fn moved(group: &RowGroupMetaData, start: u64, ordinal: usize) -> Result<RowGroupMetaData> {
    let by = start as i64 - place(group).start as i64;
    let columns = group.columns().iter().map(|column| {
        let further = |offset: Option<i64>| offset.map(|offset| offset + by);
        let moved = column.clone().into_builder().set_data_page_offset(column.data_page_offset() + by);
        Ok(moved.set_dictionary_page_offset(further(column.dictionary_page_offset())).build()?)
    });
    let columns = columns.collect::<Result<_>>()?;
    let moved = group.clone().into_builder().set_column_metadata(columns).set_file_offset(start as i64);
    Ok(moved.set_ordinal(i32::try_from(ordinal).unwrap_or(i32::MAX)).build()?)
}
