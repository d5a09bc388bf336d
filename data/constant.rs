//! Exemplars that are one value in every feature: what a bank looks like where its values were never written, though its file does not say so.

use std::fmt::Display;

/// How many of them a message lists.
const LISTED: usize = 5;

/// The rows of a table that are one value in every column, and the value. A single column says nothing.
pub(crate) fn constant_rows<T: Copy + PartialEq + Into<f32>>(values: &[T], columns: usize) -> Vec<(usize, f32)> {
    if columns < 2 {
        return Vec::new();
    }
    let rows = values.chunks_exact(columns).enumerate();
    // Minus zero is zero.
    rows.filter(|(_, row)| row.iter().all(|value| *value == row[0])).map(|(index, row)| (index, row[0].into() + 0.0)).collect()
}

/// The first few of a list, and how many more there are.
pub(crate) fn first_few(all: impl ExactSizeIterator<Item = impl Display>) -> String {
    let more = all.len().saturating_sub(LISTED);
    let few: Vec<String> = all.take(LISTED).map(|one| one.to_string()).collect();
    if more == 0 { few.join(", ") } else { format!("{} and {more} more", few.join(", ")) }
}
