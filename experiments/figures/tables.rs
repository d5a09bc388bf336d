//! Tables as people read them, in Markdown, and as programs do, in Parquet.

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Field, Schema};
use optogen::log::write_parquet;
use optogen::{Error, Result, durable};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// A table, column by column.
pub struct Table {
    columns: Vec<(String, Column)>,
}

/// A column.
pub enum Column {
    /// Texts.
    Names(Vec<String>),
    /// Whole numbers, where there are any.
    Whole(Vec<Option<i64>>),
    /// Numbers; what is not a number is null.
    Numbers(Vec<f64>),
}

impl Table {
    /// A table of these columns, all of one length.
    pub fn of<'a>(columns: impl IntoIterator<Item = (&'a str, Column)>) -> Self {
        Self { columns: columns.into_iter().map(|(name, column)| (name.to_owned(), column)).collect() }
    }

    /// Writes `NAME.md` and `NAME.parquet` in a folder.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn save(&self, folder: &Path, name: &str) -> Result<()> {
        let path = folder.join(format!("{name}.md"));
        durable::write_file(&path, |file| file.write_all(self.markdown().as_bytes()).map_err(Error::file(&path)))?;
        self.save_rows(folder, name)
    }

    /// Writes `NAME.parquet` alone.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save_rows(&self, folder: &Path, name: &str) -> Result<()> {
        let array = |column: &Column| -> ArrayRef {
            match column {
                Column::Names(names) => Arc::new(StringArray::from_iter_values(names)),
                Column::Whole(numbers) => Arc::new(Int64Array::from(numbers.clone())),
                Column::Numbers(numbers) => {
                    Arc::new(Float64Array::from_iter(numbers.iter().map(|number| Some(*number).filter(|number| !number.is_nan()))))
                }
            }
        };
        let arrays: Vec<ArrayRef> = self.columns.iter().map(|(_, column)| array(column)).collect();
        let fields: Vec<Field> =
            self.columns.iter().zip(&arrays).map(|((name, _), array)| Field::new(name, array.data_type().clone(), true)).collect();
        let schema = Arc::new(Schema::new(fields));
        write_parquet(&folder.join(format!("{name}.parquet")), &schema, &[RecordBatch::try_new(schema.clone(), arrays)?])
    }

    /// The table in Markdown, its numbers with four digits behind the point, or six just below 1.
    pub fn markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let mut text = line(self.columns.iter().map(|(name, _)| name.clone()).collect());
        let rule = |column: &Column| if matches!(column, Column::Names(_)) { "---" } else { "---:" };
        text += &format!("|{}|\n", self.columns.iter().map(|(_, column)| rule(column)).collect::<Vec<_>>().join("|"));
        for row in 0..self.columns.first().map_or(0, |(_, column)| column.len()) {
            text += &line(self.columns.iter().map(|(_, column)| column.cell(row)).collect());
        }
        text
    }
}

impl Column {
    fn len(&self) -> usize {
        match self {
            Column::Names(names) => names.len(),
            Column::Whole(numbers) => numbers.len(),
            Column::Numbers(numbers) => numbers.len(),
        }
    }

    fn cell(&self, row: usize) -> String {
        match self {
            Column::Names(names) => names[row].replace('|', "\\|"),
            Column::Whole(numbers) => numbers[row].map_or_else(String::new, |number| number.to_string()),
            Column::Numbers(numbers) if numbers[row].is_nan() => String::new(),
            // Four digits would make almost all of it all.
            Column::Numbers(numbers) if numbers[row] > 0.999 && numbers[row] < 1.0 => format!("{:.6}", numbers[row]),
            Column::Numbers(numbers) => format!("{:.4}", numbers[row]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Rows;

    fn table() -> Table {
        Table::of([
            ("head", Column::Whole(vec![Some(0), None])),
            ("what", Column::Names(vec!["P(right | wrong)".into(), "rest".into()])),
            ("accuracy", Column::Numbers(vec![0.98019135, f64::NAN])),
        ])
    }

    #[test]
    fn people_read_four_digits() {
        let expected = "| head | what | accuracy |\n|---:|---|---:|\n| 0 | P(right \\| wrong) | 0.9802 |\n|  | rest |  |\n";
        assert_eq!(table().markdown(), expected);
    }

    #[test]
    fn programs_read_everything() {
        let folder = tempfile::tempdir().unwrap();
        table().save(folder.path(), "table_2").unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("table_2.md")).unwrap(), table().markdown());
        let rows = Rows::read(&folder.path().join("table_2.parquet")).unwrap();
        assert_eq!(rows.names("what").unwrap(), ["P(right | wrong)", "rest"]);
        let accuracies = rows.numbers("accuracy").unwrap();
        assert!(accuracies[0] == 0.98019135 && accuracies[1].is_nan());
        let message = rows.numbers("acuracy").unwrap_err().to_string();
        assert!(message.ends_with("table_2.parquet: has no column acuracy as it should be"), "{message}");
    }
}
