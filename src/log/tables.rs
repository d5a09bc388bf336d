//! The tables that grow with a run, with a row's columns given by name.

use super::table::{Table, repeated};
use crate::Result;
use crate::heads::HeadMeasures;
use crate::look::Rows;
use crate::metrics::Metrics;
use crate::run_folder::RunFolder;
use crate::weights::Weight;
use arrow::array::{ArrayRef, Float32Array, Float64Array, Int64Array, StringArray};
use bevy_ecs::component::Component;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

/// Rows of `train` and of `measures` that are gathered before they are journalled.
const GATHERED: usize = 256;

/// The open tables of a run.
#[derive(Component)]
pub struct RunLog {
    run_id: String,
    tables: Tables,
    steps: Steps,
    measures: Measures,
}

/// By name; rows of a table that is not among them are not kept. Each is shared with whoever makes its rows last.
type Tables = Arc<Vec<(String, Mutex<Table>)>>;

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Rows that were journalled, to be made to last while others are written.
pub struct Lasting(Tables);

impl Lasting {
    /// Makes them last.
    pub fn sync(self) -> Result<()> {
        self.0.iter().try_for_each(|(_, table)| lock(table).sync())
    }
}

/// Rows of `train`, by column.
#[derive(Default)]
struct Steps {
    sequences: Vec<i64>,
    loss: Vec<f64>,
    grad_norm: Vec<f64>,
    grad_spread: Vec<Option<f64>>,
    learning_rate: Vec<f64>,
}

/// Rows of `measures`, by column.
#[derive(Default)]
struct Measures {
    sequences: Vec<i64>,
    measure: Vec<&'static str>,
    vector: Vec<Option<String>>,
    value: Vec<f64>,
}

impl RunLog {
    /// The tables of these names, new.
    pub fn create(folder: &RunFolder, tables: &[String]) -> Result<Self> {
        Self::open(folder, tables, |name| Table::create(folder, name))
    }

    /// The tables as they were when `from` sequences had been seen.
    pub fn resume(folder: &RunFolder, tables: &[String], from: u64, warnings: &mut Vec<String>) -> Result<Self> {
        Self::open(folder, tables, |name| Table::resume(folder, name, from, warnings))
    }

    fn open(folder: &RunFolder, tables: &[String], mut open: impl FnMut(&str) -> Result<Table>) -> Result<Self> {
        let tables = tables.iter().map(|name| Ok((name.clone(), Mutex::new(open(name)?)))).collect::<Result<Vec<_>>>()?;
        Ok(Self { run_id: folder.run_id().into(), tables: Arc::new(tables), steps: Steps::default(), measures: Measures::default() })
    }

    fn table(&self, name: &str) -> Option<&Mutex<Table>> {
        self.tables.iter().find(|(own, _)| own == name).map(|(_, table)| table)
    }

    /// Rows of a table, without `run_id`.
    fn append(&mut self, table: &str, mut columns: Vec<ArrayRef>) -> Result<()> {
        let Some(table) = self.table(table) else { return Ok(()) };
        columns.insert(0, repeated(&self.run_id, columns.first().map_or(0, |column| column.len())));
        lock(table).append(columns)
    }

    /// A row of `train`.
    pub fn step(&mut self, sequences: u64, loss: f64, grad_norm: f64, grad_spread: Option<f64>, learning_rate: f64) -> Result<()> {
        let steps = &mut self.steps;
        steps.sequences.push(sequences as i64);
        steps.loss.push(loss);
        steps.grad_norm.push(grad_norm);
        steps.grad_spread.push(grad_spread);
        steps.learning_rate.push(learning_rate);
        let rows = steps.sequences.len();
        if self.has_gathered("train", rows) { self.journal_steps() } else { Ok(()) }
    }

    /// Whether so many rows of a table are to be journalled. While others are made to last, more are gathered.
    fn has_gathered(&self, table: &str, rows: usize) -> bool {
        let is_free = || self.table(table).is_none_or(|table| !matches!(table.try_lock(), Err(TryLockError::WouldBlock)));
        rows >= 64 * GATHERED || rows >= GATHERED && is_free()
    }

    fn journal_steps(&mut self) -> Result<()> {
        let steps = std::mem::take(&mut self.steps);
        if steps.sequences.is_empty() {
            return Ok(());
        }
        self.append(
            "train",
            vec![
                Arc::new(Int64Array::from(steps.sequences)),
                Arc::new(Float64Array::from(steps.loss)),
                Arc::new(Float64Array::from(steps.grad_norm)),
                Arc::new(Float64Array::from(steps.grad_spread)),
                Arc::new(Float64Array::from(steps.learning_rate)),
            ],
        )
    }

    /// A row of `timing`.
    pub fn time(&mut self, sequences: u64, seconds: f64) -> Result<()> {
        self.append("timing", vec![Arc::new(Int64Array::from(vec![sequences as i64])), Arc::new(Float64Array::from(vec![seconds]))])
    }

    /// A row of `eval`, and its examples' rows.
    pub fn evaluation(&mut self, sequences: u64, evaluator: &str, metrics: &Metrics) -> Result<()> {
        let common =
            |count: usize| -> Vec<ArrayRef> { vec![Arc::new(Int64Array::from(vec![sequences as i64; count])), repeated(evaluator, count)] };
        let mut row = common(1);
        row.extend(metrics.means().map(|mean| Arc::new(Float64Array::from(vec![mean])) as ArrayRef));
        self.append("eval", row)?;
        if self.table("eval_examples").is_none() {
            return Ok(());
        }
        let mut rows = common(metrics.len());
        rows.push(Arc::new(Int64Array::from_iter_values(0..metrics.len() as i64)));
        rows.extend(metrics.columns().map(|column| Arc::new(Float32Array::from(column.clone())) as ArrayRef));
        self.append("eval_examples", rows)
    }

    /// Rows of `heads`.
    pub fn heads(&mut self, sequences: u64, evaluator: &str, measures: &HeadMeasures) -> Result<()> {
        let rows: Vec<_> = measures.rows().collect();
        let whole = |of: fn(&(usize, usize, [f64; 6])) -> usize| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| of(row) as i64)))
        };
        let mut columns = vec![
            Arc::new(Int64Array::from(vec![sequences as i64; rows.len()])) as ArrayRef,
            repeated(evaluator, rows.len()),
            whole(|row| row.0),
            whole(|row| row.1),
        ];
        columns.extend((0..6).map(|index| Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.2[index]))) as ArrayRef));
        columns.push(Arc::new(Float64Array::from_iter(measures.attributions())));
        self.append("heads", columns)
    }

    /// Rows of `weights`.
    pub fn weights(&mut self, sequences: u64, rows: &[Weight]) -> Result<()> {
        let whole = |of: &dyn Fn(&Weight) -> Option<usize>| -> ArrayRef {
            Arc::new(Int64Array::from_iter(rows.iter().map(|row| of(row).map(|number| number as i64))))
        };
        self.append(
            "weights",
            vec![
                Arc::new(Int64Array::from(vec![sequences as i64; rows.len()])),
                Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.measure))),
                whole(&|row| Some(row.from?.0)),
                whole(&|row| Some(row.from?.1)),
                whole(&|row| Some(row.layer)),
                whole(&|row| Some(row.head)),
                Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.value))),
            ],
        )
    }

    /// A row of `notes`: something that happened, with a number.
    pub fn note(&mut self, sequences: u64, note: &str, value: f64) -> Result<()> {
        self.append(
            "notes",
            vec![Arc::new(Int64Array::from(vec![sequences as i64])), repeated(note, 1), Arc::new(Float64Array::from(vec![value]))],
        )
    }

    /// Rows of a hook's table.
    pub fn look(&mut self, table: &str, rows: Rows) -> Result<()> {
        let count = rows.len();
        self.append(
            table,
            vec![
                Arc::new(Int64Array::from(vec![rows.sequences as i64; count])),
                repeated(&rows.during, count),
                Arc::new(Int64Array::from(rows.layer)),
                Arc::new(Int64Array::from(rows.head)),
                Arc::new(Int64Array::from(rows.example)),
                Arc::new(Int64Array::from(rows.at)),
                Arc::new(Int64Array::from(rows.to)),
                Arc::new(Int64Array::from(rows.dimension)),
                Arc::new(StringArray::from(rows.statistic)),
                Arc::new(Float32Array::from(rows.value)),
            ],
        )
    }

    /// A row of `measures`: what is measured of a toy model, or of one of its vectors.
    pub fn measure(&mut self, sequences: u64, measure: &'static str, vector: Option<String>, value: f64) -> Result<()> {
        let measures = &mut self.measures;
        measures.sequences.push(sequences as i64);
        measures.measure.push(measure);
        measures.vector.push(vector);
        measures.value.push(value);
        let rows = measures.sequences.len();
        if self.has_gathered("measures", rows) { self.journal_measures() } else { Ok(()) }
    }

    fn journal_measures(&mut self) -> Result<()> {
        let measures = std::mem::take(&mut self.measures);
        if measures.sequences.is_empty() {
            return Ok(());
        }
        self.append(
            "measures",
            vec![
                Arc::new(Int64Array::from(measures.sequences)),
                Arc::new(StringArray::from(measures.measure)),
                Arc::new(StringArray::from(measures.vector)),
                Arc::new(Float64Array::from(measures.value)),
            ],
        )
    }

    /// Journals all rows so far, and gives them to be made to last.
    pub fn lasting(&mut self) -> Result<Lasting> {
        self.journal_steps()?;
        self.journal_measures()?;
        Ok(Lasting(self.tables.clone()))
    }

    /// Seals all tables, for good.
    pub fn finish(mut self) -> Result<()> {
        self.journal_steps()?;
        self.journal_measures()?;
        self.tables.iter().try_for_each(|(_, table)| lock(table).finish())
    }
}
