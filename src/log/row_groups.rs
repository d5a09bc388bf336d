//! The row groups of a table's file: cut at the same rows whenever the table was sealed, so that a file's bytes depend on its rows alone.

use crate::Result;
use crate::checksum::sha256;
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, SchemaRef};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use std::ops::Range;

/// Rows of a group; only the last may have fewer. In tests so few that there are several.
pub(super) const GROUP: usize = if cfg!(test) { 16 } else { 1 << 14 };

/// What a file's footer says.
pub(super) fn metadata(file: &impl parquet::file::reader::ChunkReader) -> Result<ParquetMetaData> {
    Ok(ParquetMetaDataReader::new().parse_and_finish(file)?)
}

/// A row group that was encoded, in a file of its own.
pub(super) struct Encoded {
    file: Bytes,
    pub metadata: RowGroupMetaData,
    /// SHA-256 of its bytes.
    pub sha256: String,
}

impl Encoded {
    fn new(schema: &SchemaRef, rows: &RecordBatch) -> Result<Self> {
        let file = Bytes::from(file_of(schema, Some(rows))?);
        let metadata = metadata(&file)?.row_group(0).clone();
        let Range { start, end } = place(&metadata);
        let sha256 = sha256(&file[start as usize..end as usize]);
        Ok(Self { file, metadata, sha256 })
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        let Range { start, end } = place(&self.metadata);
        &self.file[start as usize..end as usize]
    }
}

/// Pieces of a group that are kept before they are put together: a row by itself takes a hundred times its bytes.
const PIECES: usize = if cfg!(test) { 3 } else { 256 };

/// Rows that become row groups as they come.
pub(super) struct Growing {
    schema: SchemaRef,
    /// Fewer than make a whole group.
    rows: Vec<RecordBatch>,
    /// Whole groups that are in no file yet.
    whole: Vec<Encoded>,
    /// SHA-256 of those that are in the file.
    filed: Vec<String>,
}

impl Growing {
    pub fn new(schema: SchemaRef) -> Self {
        Self { schema, rows: Vec::new(), whole: Vec::new(), filed: Vec::new() }
    }

    /// Adds rows; what is a whole group then is encoded, once and for all.
    pub fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        // Journals carry one more entry of metadata than the table.
        self.rows.push(RecordBatch::try_new(self.schema.clone(), batch.columns().to_vec())?);
        let count: usize = self.rows.iter().map(RecordBatch::num_rows).sum();
        if count < GROUP && self.rows.len() < PIECES {
            return Ok(());
        }
        let all = concat_batches(&self.schema, &self.rows)?;
        self.rows.clear();
        for first in (0..count).step_by(GROUP) {
            let rows = all.slice(first, GROUP.min(count - first));
            if rows.num_rows() == GROUP {
                self.whole.push(Encoded::new(&self.schema, &rows)?);
            } else {
                self.rows.push(rows);
            }
        }
        Ok(())
    }

    /// SHA-256 of the whole groups with which the file begins.
    pub fn filed(&self) -> &[String] {
        &self.filed
    }

    /// Whether there are whole groups that are in no file.
    pub fn has_whole(&self) -> bool {
        !self.whole.is_empty()
    }

    /// All groups that are in no file, but perhaps for the last.
    pub fn groups(&mut self) -> Result<(&[Encoded], Option<Encoded>)> {
        if self.rows.is_empty() {
            return Ok((&self.whole, None));
        }
        let rows = concat_batches(&self.schema, &self.rows)?;
        let last = if rows.num_rows() > 0 { Some(Encoded::new(&self.schema, &rows)?) } else { None };
        self.rows = vec![rows];
        Ok((&self.whole, last))
    }

    /// They are in the file now.
    pub fn written(&mut self) {
        self.filed.extend(self.whole.drain(..).map(|group| group.sha256));
    }
}

/// A whole file of one row group, or of none.
///
/// zstd, floats split into byte streams, strings as dictionaries.
pub(super) fn file_of(schema: &SchemaRef, group: Option<&RecordBatch>) -> Result<Vec<u8>> {
    let mut properties = WriterProperties::builder()
        // More than the first level saves a fiftieth, and takes ten megabytes while it works.
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
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
