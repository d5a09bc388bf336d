//! record: writes the rows of a step and of the evaluations.

use crate::run::{Clock, fail};
use crate::stage::{Begin, Stage, Step};
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use optogen::Result;
use optogen::components::{Active, Evaluation, Evaluator, Evaluators, MemberOf, Members, Progress, Status, StepNumbers, Trouble};
use optogen::log::RunLog;

/// Adds the systems: steps' rows to a step, evaluations' to both schedules.
pub struct RecordPlugin;

impl Plugin for RecordPlugin {
    fn build(&self, app: &mut App) {
        app.add_systems(Step, (record_steps, record_evaluations).chain().in_set(Stage::Record));
        app.add_systems(Begin, record_evaluations.in_set(Stage::Record));
    }
}

fn record_steps(cohorts: Query<(&Members, &StepNumbers, &Trouble), With<Active>>, mut models: Query<(&mut RunLog, &mut Status)>) {
    for (members, numbers, trouble) in &cohorts {
        if trouble.error().is_some() {
            continue;
        }
        for (index, member) in members.iter().enumerate() {
            let Ok((mut log, mut status)) = models.get_mut(member) else { continue };
            let (Some(&loss), Some(&norm), Some(&rate)) =
                (numbers.loss.get(index), numbers.grad_norm.get(index), numbers.learning_rate.get(index))
            else {
                continue;
            };
            let spread = numbers.grad_spread.get(index).copied();
            fail(&mut status, log.step(numbers.sequences, loss, norm, spread, rate));
        }
    }
}

fn record_evaluations(
    mut models: Query<(&mut RunLog, &mut Status, &Evaluators, &MemberOf, &Clock)>,
    cohorts: Query<&Progress>,
    mut evaluators: Query<(&Evaluator, &mut Evaluation)>,
) {
    for (mut log, mut status, list, cohort, clock) in &mut models {
        let Ok(progress) = cohorts.get(cohort.0) else { continue };
        let mut write = || -> Result<()> {
            let mut measured = false;
            for evaluator in list.iter() {
                let Ok((evaluator, mut evaluation)) = evaluators.get_mut(evaluator) else { continue };
                if let Some(metrics) = evaluation.0.take() {
                    log.evaluation(progress.sequences, &evaluator.name, &metrics?)?;
                    measured = true;
                }
            }
            if measured { log.time(progress.sequences, clock.seconds()) } else { Ok(()) }
        };
        fail(&mut status, write());
    }
}
