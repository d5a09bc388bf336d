//! The tables that grow with a run, with a row's columns given by name.

use super::saved::{SavedRows, SavedTables};
use super::table::{Table, repeated};
use super::tally::Tally;
use crate::heads::HeadMeasures;
use crate::look::Rows;
use crate::metrics::Metrics;
use crate::run_folder::RunFolder;
use crate::weights::Weight;
use crate::{Error, Result};
use arrow::array::{ArrayRef, Float32Array, Float64Array, Int64Array, StringArray};
use bevy_ecs::component::Component;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

/// Rows of `train` and of `measures` that are gathered before they go to the journal together.
const GATHERED: usize = 256;

/// The open tables of a run.
#[derive(Component)]
pub struct RunLog {
    run_id: Arc<str>,
    tables: Tables,
    steps: Steps,
    measures: Measures,
}

/// Rows of a table that is not among them are not kept.
#[derive(Clone)]
struct Tables(Arc<Vec<Open>>);

/// Columns of rows, made by whoever journals them.
type Columns = Box<dyn FnOnce() -> Vec<ArrayRef> + Send>;

/// A table, shared with whoever journals its rows, or makes them last.
struct Open {
    name: String,
    /// Rows on their way to the journal.
    waiting: Mutex<Vec<Columns>>,
    /// Some could not be journalled.
    lost: AtomicBool,
    table: Mutex<Table>,
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Open {
    /// Journals what waits. Taken while the table is held, so that rows keep their order.
    fn journal(&self, mut table: MutexGuard<'_, Table>) -> Result<()> {
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        let journalled = waiting.into_iter().try_for_each(|columns| table.append(columns()));
        self.lost.fetch_or(journalled.is_err(), Ordering::Relaxed);
        journalled
    }
}

impl Tables {
    fn journal(&self) -> Result<()> {
        self.0.iter().try_for_each(|open| open.journal(lock(&open.table)))
    }
}

/// Rows on their way to the journals, for whoever has time.
pub struct Waiting(Tables);

impl Waiting {
    /// Journals them, but for those of a table that somebody else is at work on: they go on waiting.
    pub fn journal(self) -> Result<()> {
        self.0.0.iter().try_for_each(|open| match open.table.try_lock() {
            Ok(table) => open.journal(table),
            Err(TryLockError::Poisoned(poisoned)) => open.journal(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Ok(()),
        })
    }
}

/// Rows that were journalled, to be made to last while others are written.
pub struct Lasting(Tables);

impl Lasting {
    /// Makes them last. Tables of a run that does not go on are sealed when they are closed.
    pub fn sync(self, goes_on: bool) -> Result<()> {
        self.0.0.iter().try_for_each(|open| lock(&open.table).sync(goes_on))
    }
}

/// A table that gets no more rows.
pub struct Closing(Tables, usize);

impl Closing {
    /// Seals it for good; its name, and what it holds then.
    pub fn finish(self) -> Result<(String, Tally)> {
        let open = &self.0.0[self.1];
        let mut table = lock(&open.table);
        table.finish()?;
        Ok((open.name.clone(), table.tally()))
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
        Self::of(folder, tables.iter().map(|name| Ok((name.clone(), Table::create(folder, name)?))))
    }

    /// The tables as they were when `from` sequences had been seen.
    pub fn resume(folder: &RunFolder, saved: &SavedTables, from: u64) -> Result<Self> {
        let open = |saved: &SavedRows| Ok((saved.table().to_owned(), Table::resume(folder, saved, from)?));
        Self::of(folder, saved.0.iter().map(open))
    }

    fn of(folder: &RunFolder, tables: impl Iterator<Item = Result<(String, Table)>>) -> Result<Self> {
        let open = |(name, table)| Open { name, waiting: Mutex::default(), lost: AtomicBool::new(false), table: Mutex::new(table) };
        let tables = Tables(Arc::new(tables.map(|table| table.map(open)).collect::<Result<_>>()?));
        Ok(Self { run_id: folder.run_id().into(), tables, steps: Steps::default(), measures: Measures::default() })
    }

    /// What each table holds of before so many sequences had been seen, of the rows that were journalled.
    ///
    /// # Errors
    /// A table has rows of later moments.
    pub fn tallies_before(&self, sequences: u64) -> Result<BTreeMap<String, Tally>> {
        self.tables.0.iter().map(|open| Ok((open.name.clone(), lock(&open.table).tally_before(sequences)?))).collect()
    }

    fn table(&self, name: &str) -> Option<&Open> {
        self.tables.0.iter().find(|open| open.name == name)
    }

    /// Rows of a table, by column, without `run_id`.
    fn append(&self, table: &str, columns: impl FnOnce() -> Vec<ArrayRef> + Send + 'static) {
        let Some(open) = self.table(table) else { return };
        let run_id = self.run_id.clone();
        lock(&open.waiting).push(Box::new(move || {
            let mut columns = columns();
            columns.insert(0, repeated(&run_id, columns.first().map_or(0, |column| column.len())));
            columns
        }));
    }

    /// Rows that wait for whoever journals them, if there are any.
    pub fn waiting(&self) -> Option<Waiting> {
        self.tables.0.iter().any(|open| !lock(&open.waiting).is_empty()).then(|| Waiting(self.tables.clone()))
    }

    /// Journals all rows so far.
    fn journal_all(&mut self) -> Result<()> {
        self.gather_steps();
        self.gather_measures();
        self.tables.journal()
    }

    /// A row of `train`.
    pub fn step(&mut self, sequences: u64, loss: f64, grad_norm: f64, grad_spread: Option<f64>, learning_rate: f64) {
        let steps = &mut self.steps;
        steps.sequences.push(sequences as i64);
        steps.loss.push(loss);
        steps.grad_norm.push(grad_norm);
        steps.grad_spread.push(grad_spread);
        steps.learning_rate.push(learning_rate);
        if steps.sequences.len() >= GATHERED {
            self.gather_steps();
        }
    }

    fn gather_steps(&mut self) {
        let steps = std::mem::take(&mut self.steps);
        if steps.sequences.is_empty() {
            return;
        }
        self.append("train", || {
            vec![
                Arc::new(Int64Array::from(steps.sequences)),
                Arc::new(Float64Array::from(steps.loss)),
                Arc::new(Float64Array::from(steps.grad_norm)),
                Arc::new(Float64Array::from(steps.grad_spread)),
                Arc::new(Float64Array::from(steps.learning_rate)),
            ]
        });
    }

    /// A row of `timing`.
    pub fn time(&mut self, sequences: u64, seconds: f64) {
        self.append("timing", move || {
            vec![Arc::new(Int64Array::from(vec![sequences as i64])), Arc::new(Float64Array::from(vec![seconds]))]
        });
    }

    /// A row of `eval`, and its examples' rows.
    pub fn evaluation(&mut self, sequences: u64, evaluator: &str, metrics: Metrics) {
        let (metrics, evaluator): (_, Arc<str>) = (Arc::new(metrics), evaluator.into());
        let common = move |count: usize| -> Vec<ArrayRef> {
            vec![Arc::new(Int64Array::from(vec![sequences as i64; count])), repeated(&evaluator, count)]
        };
        self.append("eval", {
            let (common, metrics) = (common.clone(), metrics.clone());
            move || {
                let means = metrics.means().map(|mean| Arc::new(Float64Array::from(vec![mean])) as ArrayRef);
                common(1).into_iter().chain(means).collect()
            }
        });
        self.append("eval_examples", move || {
            let numbers = Arc::new(Int64Array::from_iter_values(0..metrics.len() as i64)) as ArrayRef;
            let each = metrics.columns().map(|column| Arc::new(Float32Array::from(column.clone())) as ArrayRef);
            common(metrics.len()).into_iter().chain([numbers]).chain(each).collect()
        });
    }

    /// Rows of `heads`.
    pub fn heads(&mut self, sequences: u64, evaluator: &str, measures: HeadMeasures) {
        let evaluator = evaluator.to_owned();
        self.append("heads", move || {
            let rows: Vec<_> = measures.rows().collect();
            let whole = |of: fn(&(usize, usize, [Option<f64>; 6])) -> usize| -> ArrayRef {
                Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| of(row) as i64)))
            };
            let mut columns = vec![
                Arc::new(Int64Array::from(vec![sequences as i64; rows.len()])) as ArrayRef,
                repeated(&evaluator, rows.len()),
                whole(|row| row.0),
                whole(|row| row.1),
            ];
            columns.extend((0..6).map(|index| Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.2[index]))) as ArrayRef));
            columns.push(Arc::new(Float64Array::from_iter(measures.attributions())));
            columns
        });
    }

    /// Rows of `weights`.
    pub fn weights(&mut self, sequences: u64, rows: Vec<Weight>) {
        self.append("weights", move || {
            let whole = |of: &dyn Fn(&Weight) -> Option<usize>| -> ArrayRef {
                Arc::new(Int64Array::from_iter(rows.iter().map(|row| of(row).map(|number| number as i64))))
            };
            vec![
                Arc::new(Int64Array::from(vec![sequences as i64; rows.len()])),
                Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.measure))),
                whole(&|row| Some(row.from?.0)),
                whole(&|row| Some(row.from?.1)),
                whole(&|row| Some(row.layer)),
                whole(&|row| Some(row.head)),
                Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.value))),
            ]
        });
    }

    /// A row of `notes`: something that happened, with a number.
    pub fn note(&mut self, sequences: u64, note: &str, value: f64) {
        let note = note.to_owned();
        self.append("notes", move || {
            vec![Arc::new(Int64Array::from(vec![sequences as i64])), repeated(&note, 1), Arc::new(Float64Array::from(vec![value]))]
        });
    }

    /// Rows of a hook's table.
    pub fn look(&mut self, table: &str, rows: Rows) {
        self.append(table, move || {
            let count = rows.len();
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
            ]
        });
    }

    /// A row of `measures`: what is measured of a toy model, or of one of its vectors.
    pub fn measure(&mut self, sequences: u64, measure: &'static str, vector: Option<String>, value: f64) {
        let measures = &mut self.measures;
        measures.sequences.push(sequences as i64);
        measures.measure.push(measure);
        measures.vector.push(vector);
        measures.value.push(value);
        if measures.sequences.len() >= GATHERED {
            self.gather_measures();
        }
    }

    fn gather_measures(&mut self) {
        let measures = std::mem::take(&mut self.measures);
        if measures.sequences.is_empty() {
            return;
        }
        self.append("measures", || {
            vec![
                Arc::new(Int64Array::from(measures.sequences)),
                Arc::new(StringArray::from(measures.measure)),
                Arc::new(StringArray::from(measures.vector)),
                Arc::new(Float64Array::from(measures.value)),
            ]
        });
    }

    /// Journals all rows so far, and gives them to be made to last.
    ///
    /// # Errors
    /// They could not be journalled, now or before: whoever went on from here would miss them.
    pub fn lasting(&mut self) -> Result<Lasting> {
        self.journal_all()?;
        if let Some(open) = self.tables.0.iter().find(|open| open.lost.load(Ordering::Relaxed)) {
            return Err(Error::Invalid(format!("rows of {} could not be written", open.name)));
        }
        Ok(Lasting(self.tables.clone()))
    }

    /// The tables, with all rows so far, to be sealed for good; in any order, or side by side.
    pub fn close(mut self) -> Result<Vec<Closing>> {
        self.journal_all()?;
        Ok((0..self.tables.0.len()).map(|index| Closing(self.tables.clone(), index)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Array;

    fn log(out: &std::path::Path) -> RunLog {
        RunLog::create(&RunFolder::open(out, "a", false).unwrap(), &["timing".to_owned(), "notes".to_owned()]).unwrap()
    }

    #[test]
    fn rows_wait_for_a_table_that_is_being_worked_on_and_keep_their_order() {
        let out = tempfile::tempdir().unwrap();
        let mut log = log(out.path());
        assert!(log.waiting().is_none());
        log.time(0, 0.5);
        let tables = log.tables.clone();
        let held = lock(&tables.0[0].table);
        log.waiting().unwrap().journal().unwrap();
        assert!(log.waiting().is_some());
        drop(held);
        log.time(32, 1.0);
        log.waiting().unwrap().journal().unwrap();
        assert!(log.waiting().is_none());
        log.close().unwrap().into_iter().for_each(|table| _ = table.finish().unwrap());
        let rows = super::super::read_table(&out.path().join("run=a/timing.parquet")).unwrap();
        let sequences: Vec<i64> =
            rows.iter().flat_map(|rows| rows.column(1).as_any().downcast_ref::<Int64Array>().unwrap().values().to_vec()).collect();
        assert_eq!(sequences, [0, 32]);
    }

    /// A checkpoint after them would claim that they are there.
    #[test]
    fn rows_that_were_lost_are_not_said_to_last() {
        let out = tempfile::tempdir().unwrap();
        let mut log = log(out.path());
        log.append("notes", Vec::new);
        assert!(log.waiting().unwrap().journal().is_err());
        assert!(log.waiting().is_none());
        let error = log.lasting().err().unwrap().to_string();
        assert_eq!(error, "rows of notes could not be written");
    }
}
