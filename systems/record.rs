//! record: writes the rows of a step, of the evaluations and of the hooks.
//!
//! A program that measures aside journals rows aside, too.

use crate::aside::Spare;
use crate::elsewhere::{Elsewhere, Task};
use crate::run::{Clock, fail};
use crate::stage::{Begin, Stage, Step};
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use optogen::Result;
use optogen::components::*;
use optogen::log::RunLog;
use optogen::steps::Steps;

/// Adds the systems: steps' rows to a step, evaluations' and looks' to both schedules.
pub struct RecordPlugin;

impl Plugin for RecordPlugin {
    fn build(&self, app: &mut App) {
        app.add_systems(Step, (record_steps, record_evaluations, record_looks, journal).chain().in_set(Stage::Record));
        app.add_systems(Begin, (record_evaluations, record_looks, journal).chain().in_set(Stage::Record));
    }
}

fn record_steps(cohorts: Query<(&Members, &Steps, &Trouble), With<Active>>, mut models: Query<&mut RunLog>) {
    for (members, steps, trouble) in &cohorts {
        if trouble.error().is_some() {
            continue;
        }
        for (index, member) in members.iter().enumerate() {
            let Ok(mut log) = models.get_mut(member) else { continue };
            for numbers in steps.just_read() {
                let (Some(&loss), Some(&norm), Some(&rate)) =
                    (numbers.loss.get(index), numbers.grad_norm.get(index), numbers.learning_rate.get(index))
                else {
                    continue;
                };
                let spread = numbers.grad_spread.as_ref().and_then(|spread| spread.get(index)).copied();
                log.step(numbers.sequences, loss, norm, spread, rate);
                // A run ends with the step in which it diverged, also where that was not known at once.
                if !(loss.is_finite() && norm.is_finite()) {
                    break;
                }
            }
        }
    }
}

fn record_evaluations(
    mut models: Query<(&mut RunLog, &mut Status, &Evaluators, &Clock)>,
    mut evaluators: Query<(&Evaluator, &mut Evaluation)>,
) {
    for (mut log, mut status, list, clock) in &mut models {
        let mut write = || -> Result<()> {
            let mut at = None;
            for evaluator in list.iter() {
                let Ok((evaluator, mut evaluation)) = evaluators.get_mut(evaluator) else { continue };
                if let Some(measured) = evaluation.0.take() {
                    let measured = measured?;
                    log.evaluation(measured.sequences, &evaluator.name, measured.metrics);
                    if let Some(heads) = measured.heads {
                        log.heads(measured.sequences, &evaluator.name, heads);
                    }
                    at = Some(measured.sequences);
                }
            }
            if let Some(sequences) = at {
                log.time(sequences, clock.seconds());
            }
            Ok(())
        };
        fail(&mut status, write());
    }
}

pub(crate) fn record_looks(mut models: Query<(&mut RunLog, &mut Status, &Hooks)>, mut hooks: Query<(&Hook, &mut Looked)>) {
    for (mut log, mut status, list) in &mut models {
        let mut write = || -> Result<()> {
            for entity in list.iter() {
                let Ok((hook, mut looked)) = hooks.get_mut(entity) else { continue };
                if looked.0.is_empty() {
                    continue;
                }
                for rows in std::mem::take(&mut looked.0) {
                    log.look(&hook.spec.table, rows?);
                }
            }
            Ok(())
        };
        fail(&mut status, write());
    }
}

/// Rows on their way to the journals.
#[derive(Component, Default)]
pub(crate) struct Journalling(pub Task);

/// Journals what was recorded.
pub(crate) fn journal(mut models: Query<(&RunLog, &mut Journalling, &mut Status)>, spare: Spare) {
    let aside = spare.is_there();
    for (log, mut journalling, mut status) in &mut models {
        let journalled = journalling.0.settle(false);
        fail(&mut status, journalled);
        // Rows can wait for a later step.
        if journalling.0.is_underway() {
            continue;
        }
        let Some(waiting) = log.waiting() else { continue };
        if aside {
            journalling.0 = Task::begun(Elsewhere::start(move || waiting.journal()));
        } else {
            fail(&mut status, waiting.journal());
        }
    }
}
