//! The tables that grow with a run, with a row's columns given by name.

use super::table::{Table, repeated};
use crate::Result;
use crate::experiment::Experiment;
use crate::heads::HeadMeasures;
use crate::look::Rows;
use crate::metrics::Metrics;
use crate::run_folder::RunFolder;
use crate::weights::Weight;
use arrow::array::{ArrayRef, Float32Array, Float64Array, Int64Array, StringArray};
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
    heads: Option<Table>,
    weights: Option<Table>,
    notes: Table,
    hooks: Vec<(String, Table)>,
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
    /// The tables that an experiment asks for, new.
    pub fn create(folder: &RunFolder, experiment: &Experiment) -> Result<Self> {
        Self::open(folder, experiment, |name| Table::create(folder, name))
    }

    /// The tables as they were when `from` sequences had been seen.
    pub fn resume(folder: &RunFolder, experiment: &Experiment, from: u64, warnings: &mut Vec<String>) -> Result<Self> {
        Self::open(folder, experiment, |name| Table::resume(folder, name, from, warnings))
    }

    fn open(folder: &RunFolder, experiment: &Experiment, mut open: impl FnMut(&str) -> Result<Table>) -> Result<Self> {
        let (examples, heads) = (experiment.evaluation.examples, experiment.measures.heads);
        Ok(Self {
            run_id: folder.run_id().into(),
            train: open("train")?,
            timing: open("timing")?,
            eval: open("eval")?,
            eval_examples: if examples { Some(open("eval_examples")?) } else { None },
            heads: if heads { Some(open("heads")?) } else { None },
            notes: open("notes")?,
            weights: if experiment.measures.weights { Some(open("weights")?) } else { None },
            hooks: experiment.hooks.iter().map(|hook| Ok((hook.table.clone(), open(&hook.table)?))).collect::<Result<_>>()?,
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

    /// Rows of `heads`.
    pub fn heads(&mut self, sequences: u64, evaluator: &str, measures: &HeadMeasures) -> Result<()> {
        let Some(table) = &mut self.heads else { return Ok(()) };
        let rows: Vec<_> = measures.rows().collect();
        let whole = |of: fn(&(usize, usize, [f64; 6])) -> usize| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| of(row) as i64)))
        };
        let mut columns = vec![
            repeated(&self.run_id, rows.len()),
            Arc::new(Int64Array::from(vec![sequences as i64; rows.len()])) as ArrayRef,
            repeated(evaluator, rows.len()),
            whole(|row| row.0),
            whole(|row| row.1),
        ];
        columns.extend((0..6).map(|index| Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.2[index]))) as ArrayRef));
        columns.push(Arc::new(Float64Array::from_iter(measures.attributions())));
        table.append(columns)
    }

    /// Rows of `weights`.
    pub fn weights(&mut self, sequences: u64, rows: &[Weight]) -> Result<()> {
        let Some(table) = &mut self.weights else { return Ok(()) };
        let whole = |of: &dyn Fn(&Weight) -> Option<usize>| -> ArrayRef {
            Arc::new(Int64Array::from_iter(rows.iter().map(|row| of(row).map(|number| number as i64))))
        };
        table.append(vec![
            repeated(&self.run_id, rows.len()),
            Arc::new(Int64Array::from(vec![sequences as i64; rows.len()])),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.measure))),
            whole(&|row| Some(row.from?.0)),
            whole(&|row| Some(row.from?.1)),
            whole(&|row| Some(row.layer)),
            whole(&|row| Some(row.head)),
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.value))),
        ])
    }

    /// A row of `notes`: something that happened, with a number.
    pub fn note(&mut self, sequences: u64, note: &str, value: f64) -> Result<()> {
        self.notes.append(vec![
            repeated(&self.run_id, 1),
            Arc::new(Int64Array::from(vec![sequences as i64])),
            repeated(note, 1),
            Arc::new(Float64Array::from(vec![value])),
        ])
    }

    /// Rows of a hook's table.
    pub fn look(&mut self, table: &str, rows: Rows) -> Result<()> {
        let Some((_, table)) = self.hooks.iter_mut().find(|(name, _)| name == table) else { return Ok(()) };
        let count = rows.len();
        table.append(vec![
            repeated(&self.run_id, count),
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
        ])
    }

    /// Makes all rows last.
    pub fn sync(&mut self) -> Result<()> {
        self.journal_steps()?;
        let always = [&mut self.train, &mut self.timing, &mut self.eval, &mut self.notes].into_iter();
        let asked = self
            .eval_examples
            .iter_mut()
            .chain(&mut self.heads)
            .chain(&mut self.weights)
            .chain(self.hooks.iter_mut().map(|(_, table)| table));
        always.chain(asked).try_for_each(Table::sync)
    }

    /// Seals all tables, for good.
    pub fn finish(mut self) -> Result<()> {
        self.journal_steps()?;
        let always = [self.train, self.timing, self.eval, self.notes].into_iter();
        let asked =
            self.eval_examples.into_iter().chain(self.heads).chain(self.weights).chain(self.hooks.into_iter().map(|(_, table)| table));
        always.chain(asked).try_for_each(Table::finish)
    }
}
