//! The tables that grow with a run, with a row's columns given by name.

use super::table::{Table, repeated};
use crate::Result;
use crate::metrics::Metrics;
use crate::run_folder::RunFolder;
use arrow::array::{ArrayRef, Float32Array, Float64Array, Int64Array};
use bevy_ecs::component::Component;
use std::sync::Arc;

/// Steps that are gathered before they are journalled.
const GATHERED: usize = 256;

/// The open tables of a run.
#[derive(Component)]
pub struct RunLog {
    run_id: String,
    train: Table,
    timing: Table,
    eval: Table,
    eval_examples: Option<Table>,
    steps: Steps,
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

impl RunLog {
    /// The tables of a new run, with `examples` that of the examples too.
    pub fn create(folder: &RunFolder, examples: bool) -> Result<Self> {
        Self::open(folder, examples, |name| Table::create(folder, name))
    }

    /// The tables as they were when `from` sequences had been seen.
    pub fn resume(folder: &RunFolder, examples: bool, from: u64, warnings: &mut Vec<String>) -> Result<Self> {
        Self::open(folder, examples, |name| Table::resume(folder, name, from, warnings))
    }

    fn open(folder: &RunFolder, examples: bool, mut open: impl FnMut(&str) -> Result<Table>) -> Result<Self> {
        Ok(Self {
            run_id: folder.run_id().into(),
            train: open("train")?,
            timing: open("timing")?,
            eval: open("eval")?,
            eval_examples: if examples { Some(open("eval_examples")?) } else { None },
            steps: Steps::default(),
        })
    }

    /// A row of `train`.
    pub fn step(&mut self, sequences: u64, loss: f64, grad_norm: f64, grad_spread: Option<f64>, learning_rate: f64) -> Result<()> {
        let steps = &mut self.steps;
        steps.sequences.push(sequences as i64);
        steps.loss.push(loss);
        steps.grad_norm.push(grad_norm);
        steps.grad_spread.push(grad_spread);
        steps.learning_rate.push(learning_rate);
        if steps.sequences.len() >= GATHERED { self.journal_steps() } else { Ok(()) }
    }

    fn journal_steps(&mut self) -> Result<()> {
        let steps = std::mem::take(&mut self.steps);
        if steps.sequences.is_empty() {
            return Ok(());
        }
        self.train.append(vec![
            repeated(&self.run_id, steps.sequences.len()),
            Arc::new(Int64Array::from(steps.sequences)),
            Arc::new(Float64Array::from(steps.loss)),
            Arc::new(Float64Array::from(steps.grad_norm)),
            Arc::new(Float64Array::from(steps.grad_spread)),
            Arc::new(Float64Array::from(steps.learning_rate)),
        ])
    }

    /// A row of `timing`.
    pub fn time(&mut self, sequences: u64, seconds: f64) -> Result<()> {
        self.timing.append(vec![
            repeated(&self.run_id, 1),
            Arc::new(Int64Array::from(vec![sequences as i64])),
            Arc::new(Float64Array::from(vec![seconds])),
        ])
    }

    /// A row of `eval`, and its examples' rows.
    pub fn evaluation(&mut self, sequences: u64, evaluator: &str, metrics: &Metrics) -> Result<()> {
        let common = |count: usize| -> Vec<ArrayRef> {
            let sequences = Int64Array::from(vec![sequences as i64; count]);
            vec![repeated(&self.run_id, count), Arc::new(sequences), repeated(evaluator, count)]
        };
        let mut row = common(1);
        row.extend(metrics.means().map(|mean| Arc::new(Float64Array::from(vec![mean])) as ArrayRef));
        self.eval.append(row)?;
        if let Some(table) = &mut self.eval_examples {
            let mut rows = common(metrics.len());
            rows.push(Arc::new(Int64Array::from_iter_values(0..metrics.len() as i64)));
            rows.extend(metrics.columns().map(|column| Arc::new(Float32Array::from(column.clone())) as ArrayRef));
            table.append(rows)?;
        }
        Ok(())
    }

    /// Makes all rows last.
    pub fn sync(&mut self) -> Result<()> {
        self.journal_steps()?;
        [&mut self.train, &mut self.timing, &mut self.eval].into_iter().chain(&mut self.eval_examples).try_for_each(Table::sync)
    }

    /// Seals all tables, for good.
    pub fn finish(mut self) -> Result<()> {
        self.journal_steps()?;
        [self.train, self.timing, self.eval].into_iter().chain(self.eval_examples).try_for_each(Table::finish)
    }
}
