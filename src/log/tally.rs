//! What a table holds, in a few bytes: how many rows, and a hash of them. Rows are a function of the run, so a checkpoint says which it comes after, and a run's
//! row which there are at its end.
//!
//! The hash is SHA-256 of the rows one after another, whatever batches or files they are in: of each the values of its columns but for `run_id`, numbers in
//! eight or four bytes with the lowest first, texts behind their length; a byte before each says whether it is there (1) or null (0).

use crate::checksum::hexadecimal;
use crate::{Error, Result};
use arrow::array::{Array, ArrayRef, AsArray, Float32Array, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type};
use bevy_ecs::component::Component;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Rows, counted and hashed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    /// How many.
    pub rows: u64,
    /// Their hash; none where rows hold times, which are no function of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// The rows of each table of a run whose tables are closed.
#[derive(Component, Clone, Debug, Default, PartialEq, Eq)]
pub struct Tallies(pub BTreeMap<String, Tally>);

/// The rows of a growing table, and those before the latest moment in it.
#[derive(Clone, Default)]
pub(super) struct RowHash {
    all: Rows,
    /// Those of fewer sequences than the most that any row has.
    before: Rows,
    latest: i64,
    bytes: Vec<u8>,
}

#[derive(Clone, Default)]
struct Rows {
    count: u64,
    hash: Sha256,
}

impl Rows {
    fn push(&mut self, bytes: &[u8]) {
        self.count += 1;
        self.hash.update(bytes);
    }

    fn tally(&self) -> Tally {
        Tally { rows: self.count, sha256: Some(hexadecimal(&self.hash.clone().finalize())) }
    }
}

impl RowHash {
    /// Adds rows.
    pub fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        let sequences = sequences_of(batch)?;
        let columns = columns_of(batch)?;
        let mut first = 0;
        let mut bytes = std::mem::take(&mut self.bytes);
        // Rows of one moment go to the hash together.
        for row in 0..=batch.num_rows() {
            if row < batch.num_rows() && row > first && sequences[row] == sequences[first] {
                continue;
            }
            if row > first {
                bytes.clear();
                (first..row).for_each(|row| columns.iter().for_each(|column| column.write(row, &mut bytes)));
                self.push_moment(sequences[first], (row - first) as u64, &bytes);
            }
            first = row;
        }
        self.bytes = bytes;
        Ok(())
    }

    fn push_moment(&mut self, sequences: i64, count: u64, bytes: &[u8]) {
        if sequences > self.latest {
            self.before = self.all.clone();
            self.latest = sequences;
        }
        let late = (sequences < self.latest).then_some(&mut self.before);
        for rows in std::iter::once(&mut self.all).chain(late) {
            rows.push(bytes);
            rows.count += count - 1;
        }
    }

    /// All rows.
    pub fn tally(&self) -> Tally {
        self.all.tally()
    }

    /// The rows before so many sequences had been seen; nothing where there are rows of later moments, which nobody can have written yet.
    pub fn tally_before(&self, sequences: u64) -> Option<Tally> {
        match (self.latest as u64).cmp(&sequences) {
            std::cmp::Ordering::Less => Some(self.all.tally()),
            std::cmp::Ordering::Equal => Some(self.before.tally()),
            std::cmp::Ordering::Greater => None,
        }
    }
}

/// Which sequences the rows are of.
pub(super) fn sequences_of(batch: &RecordBatch) -> Result<&[i64]> {
    let column = batch.column_by_name("sequences").and_then(|column| column.as_primitive_opt::<Int64Type>());
    Ok(column.ok_or_else(|| Error::Internal("a table has no column of sequences".into()))?.values())
}

/// The columns that are hashed.
fn columns_of(batch: &RecordBatch) -> Result<Vec<Column<'_>>> {
    let fields = batch.schema_ref().fields().iter().zip(batch.columns()).filter(|(field, _)| field.name() != "run_id");
    fields.map(|(field, array)| Column::of(field, array)).collect()
}

/// A column's values, ready to be hashed.
enum Column<'a> {
    Whole(&'a Int64Array),
    Single(&'a Float32Array),
    Double(&'a Float64Array),
    Text(&'a StringArray),
}

impl<'a> Column<'a> {
    fn of(field: &Field, array: &'a ArrayRef) -> Result<Self> {
        Ok(match field.data_type() {
            DataType::Int64 => Self::Whole(array.as_primitive()),
            DataType::Float32 => Self::Single(array.as_primitive()),
            DataType::Float64 => Self::Double(array.as_primitive()),
            DataType::Utf8 => Self::Text(array.as_string()),
            other => return Err(Error::Internal(format!("rows of {other} cannot be hashed (column {})", field.name()))),
        })
    }

    fn write(&self, row: usize, to: &mut Vec<u8>) {
        let valid = match self {
            Self::Whole(column) => column.is_valid(row),
            Self::Single(column) => column.is_valid(row),
            Self::Double(column) => column.is_valid(row),
            Self::Text(column) => column.is_valid(row),
        };
        to.push(u8::from(valid));
        if !valid {
            return;
        }
        match self {
            Self::Whole(column) => to.extend(column.value(row).to_le_bytes()),
            Self::Single(column) => to.extend(column.value(row).to_le_bytes()),
            Self::Double(column) => to.extend(column.value(row).to_le_bytes()),
            Self::Text(column) => {
                let text = column.value(row);
                to.extend((text.len() as u64).to_le_bytes());
                to.extend(text.as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn batch(sequences: &[i64], spreads: &[Option<f64>]) -> RecordBatch {
        let some = || Arc::new(Float64Array::from_iter_values(sequences.iter().map(|&at| at as f64))) as ArrayRef;
        let columns = vec![
            crate::log::table::repeated("a", sequences.len()),
            Arc::new(Int64Array::from(sequences.to_vec())) as ArrayRef,
            some(),
            some(),
            Arc::new(Float64Array::from(spreads.to_vec())),
            some(),
        ];
        RecordBatch::try_new(crate::log::schema("train"), columns).unwrap()
    }

    fn hashed(batches: &[RecordBatch]) -> RowHash {
        let mut hash = RowHash::default();
        batches.iter().for_each(|batch| hash.push(batch).unwrap());
        hash
    }

    #[test]
    fn a_tally_does_not_depend_on_how_rows_are_cut() {
        let (sequences, spreads) = ([0, 32, 32, 64, 64, 96], [None, Some(1.0), None, Some(2.0), Some(3.0), None]);
        let whole = hashed(&[batch(&sequences, &spreads)]);
        for cut in 1..sequences.len() {
            let parts = [batch(&sequences[..cut], &spreads[..cut]), batch(&sequences[cut..], &spreads[cut..])];
            assert_eq!(hashed(&parts).tally(), whole.tally(), "cut at {cut}");
            assert_eq!(hashed(&parts).tally_before(96), whole.tally_before(96), "cut at {cut}");
        }
        assert_eq!(whole.tally_before(97), Some(whole.tally()));
        assert_eq!(whole.tally_before(96), Some(hashed(&[batch(&sequences[..5], &spreads[..5])]).tally()));
        assert_eq!(whole.tally_before(64), None);
        assert_eq!(whole.tally().rows, 6);
    }

    #[test]
    fn every_value_counts_and_a_null_is_none() {
        let all = [&[None, None][..], &[Some(0.0), None], &[None, Some(0.0)], &[Some(-0.0), None]];
        let tallies: Vec<Tally> = all.iter().map(|spreads| hashed(&[batch(&[0, 32], spreads)]).tally()).collect();
        for (index, tally) in tallies.iter().enumerate() {
            assert!(!tallies[..index].contains(tally), "{index}");
        }
        assert_ne!(tallies[0], hashed(&[batch(&[0, 33], &[None, None])]).tally());
        // Recorded: whoever changes it makes every checkpoint one of other rows.
        let known = "cae988af0d9ba9117fe8af37ce3cd08d1225dbaf3e72f9e53c39de7ee479a548";
        assert_eq!(tallies[0].sha256.as_deref(), Some(known));
    }

    /// A row that comes late is one of those before.
    #[test]
    fn rows_out_of_order_are_hashed_as_they_come() {
        let none = [None; 4];
        let late = hashed(&[batch(&[0, 64, 32, 64], &none)]);
        assert_eq!(late.tally_before(64), Some(hashed(&[batch(&[0, 32], &none[..2])]).tally()));
        assert_eq!(late.tally().rows, 4);
    }
}
