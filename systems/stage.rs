//! The schedule: one step is clamp → sample → forward → backward → update → evaluate → measure → react → record → checkpoint → report.
//!
//! A model is evaluated and kept before its first step too, so the second half of the schedule is also one of its own, `Begin`.

use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use bevy_ecs::schedule::{LogLevel, ScheduleBuildSettings, ScheduleLabel, SingleThreadedExecutor};

/// One step of every active cohort; with [`StridePlugin`](crate::stride::StridePlugin) several, where nothing is due between them.
#[derive(ScheduleLabel, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Step;

/// What is done before the first step: evaluate, measure, record, checkpoint and report where they are due.
#[derive(ScheduleLabel, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Begin;

/// The stages of a step, in their order; a plugin each.
#[derive(SystemSet, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Compiles interventions that changed.
    Clamp,
    /// Draws each member's next sequences.
    Sample,
    /// From sequences to losses.
    Forward,
    /// From losses to gradients.
    Backward,
    /// From gradients to new parameters; strides take further steps here.
    Update,
    /// Measures each evaluator's sequences where due.
    Evaluate,
    /// Measures that are not of the evaluators.
    Measure,
    /// What follows from the measures: the place for systems of your own.
    React,
    /// Writes rows.
    Record,
    /// Keeps checkpoints, and recovery points.
    Checkpoint,
    /// Tells how far everything is, and lets those go that are done.
    Report,
}

/// Sets up both schedules.
pub struct StagePlugin;

impl Plugin for StagePlugin {
    fn build(&self, app: &mut App) {
        use Stage::*;
        let mut step = schedule(Step);
        step.configure_sets((Clamp, Sample, Forward, Backward, Update, Evaluate, Measure, React, Record, Checkpoint, Report).chain());
        let mut begin = schedule(Begin);
        begin.configure_sets((Clamp, Evaluate, Measure, React, Record, Checkpoint, Report).chain());
        app.add_schedule(step).add_schedule(begin);
    }
}

/// A schedule that refuses two systems whose order is open while one writes what the other reads.
///
/// Systems run one after another: each spreads its own work over the cohorts, which is where the work is.
fn schedule(label: impl ScheduleLabel) -> Schedule {
    let mut schedule = Schedule::new(label);
    schedule.set_executor(SingleThreadedExecutor::new());
    schedule.set_build_settings(ScheduleBuildSettings { ambiguity_detection: LogLevel::Error, ..Default::default() });
    schedule
}
