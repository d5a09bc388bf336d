//! evaluate: measures each evaluator's sequences where its model's schedule says so, evaluators side by side.

use crate::aside::Underway;
use crate::clamp::now;
use crate::measuring::{Measuring, Way};
use crate::spread::spread;
use crate::stage::{Begin, Stage, Step};
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use optogen::bank::ClassBank;
use optogen::clamp::{Moments, Plan};
use optogen::components::*;
use optogen::transformer::Transformer;

/// Adds the system to both schedules.
pub struct EvaluatePlugin;

impl Plugin for EvaluatePlugin {
    fn build(&self, app: &mut App) {
        app.add_systems(Step, evaluate.in_set(Stage::Evaluate));
        app.add_systems(Begin, evaluate.in_set(Stage::Evaluate));
    }
}

type Evaluated<'a> = (&'a Evaluator, &'a EvaluatorOf, Option<&'a StreamOf>, &'a Plan, &'a mut Evaluation);

pub(crate) fn evaluate(
    mut evaluators: Query<Evaluated>,
    models: Query<(&Model, &Status, &MemberOf), Without<Underway>>,
    cohorts: Query<(&Members, &Progress, &Transformer)>,
    banks: Query<&ClassBank>,
    lists: Query<&Interventions>,
    moments: Query<&Moments>,
) {
    // Nobody is woken where nothing is due.
    let due = evaluators.iter_mut().filter_map(|(evaluator, of, bank, plan, evaluation)| {
        let Ok((model, Status::Running, cohort)) = models.get(of.0) else { return None };
        let Ok((members, progress, transformer)) = cohorts.get(cohort.0) else { return None };
        // What could not be compiled is not measured.
        let measured = model.evaluations.due(progress.sequences) && !matches!(evaluation.0, Some(Err(_)));
        measured.then_some((evaluator, of, bank, plan, evaluation, model, members, progress, transformer))
    });
    spread(due, |(evaluator, of, bank, plan, mut evaluation, model, members, progress, transformer)| {
        let member = members.iter().position(|member| member == of.0).unwrap_or_default();
        let bank = bank.and_then(|bank| banks.get(bank.0).ok());
        let now = now(progress.sequences, std::iter::once(of.0), &lists, &moments);
        evaluation.0 = Some(transformer.alone(member, |transformer| {
            let (sequences, measures) = (progress.sequences, &model.experiment.measures);
            let way = Way::of(transformer, plan, &now, measures);
            Measuring { transformer, sequences, bank, measures, way }.measure(evaluator)
        }));
    });
}
