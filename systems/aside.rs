//! evaluate, aside: on a thread that has nothing else to do, while training goes on.
//!
//! Where fewer cohorts step than there are threads, a copy of a model is measured beside its next steps. What was measured is recorded some steps
//! later, with the number of sequences that it is of, so that the tables are the same to the byte. Nothing is measured aside that an intervention
//! waits for; a program with systems that act on evaluations in the step in which they are due does without this plugin.

use crate::clamp::now;
use crate::elsewhere::Elsewhere;
use crate::evaluate::evaluate;
use crate::measuring::{Measuring, Way};
use crate::run::StopRequest;
use crate::spread::threads;
use crate::stage::{Begin, Stage, Step};
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use bevy_ecs::system::SystemParam;
use optogen::Result;
use optogen::bank::ClassBank;
use optogen::clamp::{Moments, Plan};
use optogen::components::*;
use optogen::experiment::Moment;
use optogen::transformer::Transformer;

/// Adds the systems to both schedules.
pub struct AsidePlugin;

impl Plugin for AsidePlugin {
    fn build(&self, app: &mut App) {
        app.init_resource::<StopRequest>().insert_resource(Aside);
        app.add_systems(Step, (bring_in, send_out).chain().in_set(Stage::Evaluate).before(evaluate));
        app.add_systems(Begin, (bring_in, send_out).chain().in_set(Stage::Evaluate).before(evaluate));
    }
}

/// Programs with this let threads that have nothing else to do journal rows and write checkpoints, too.
#[derive(Resource)]
struct Aside;

/// Whether there is a thread that has nothing else to do, in a program that gives it something.
#[derive(SystemParam)]
pub(crate) struct Spare<'w, 's> {
    aside: Option<Res<'w, Aside>>,
    active: Query<'w, 's, (), With<Active>>,
}

impl Spare<'_, '_> {
    pub fn is_there(&self) -> bool {
        self.aside.is_some() && self.active.iter().count() < threads()
    }
}

/// A model that is being measured aside: the sequences it had seen, and what is measured, an evaluator after another.
#[derive(Component)]
pub struct Underway {
    pub(crate) since: u64,
    measured: Elsewhere<Vec<Result<Measured>>>,
}

/// Whether the next step does something that needs all rows before it, or measures the model anew.
fn settles_next(model: &Model, run: &Run, progress: &Progress) -> bool {
    let next = progress.sequences + progress.batch as u64;
    next >= progress.total || model.evaluations.due(next) || run.checkpoints.due(next)
}

type Waiting<'a> = (Entity, &'a Underway, &'a Model, &'a Run, &'a Status, &'a Evaluators, &'a MemberOf);

/// Takes up what is done, and waits for what must be recorded before the next step.
fn bring_in(
    mut commands: Commands,
    models: Query<Waiting>,
    cohorts: Query<(&Progress, &Trouble)>,
    mut evaluations: Query<&mut Evaluation>,
    stop: Res<StopRequest>,
) {
    for (entity, underway, model, run, status, evaluators, cohort) in &models {
        let in_training =
            cohorts.get(cohort.0).is_ok_and(|(progress, trouble)| trouble.error().is_none() && !settles_next(model, run, progress));
        let goes_on = in_training && *status == Status::Running && !stop.made();
        let measured = &underway.measured;
        let Some(measured) = (if goes_on { measured.done() } else { Some(measured.wait()) }) else { continue };
        for (evaluator, measured) in evaluators.iter().zip(measured) {
            if let Ok(mut evaluation) = evaluations.get_mut(evaluator) {
                evaluation.0 = Some(measured);
            }
        }
        commands.entity(entity).remove::<Underway>();
    }
}

type Measurable<'a> = (Entity, &'a Model, &'a Run, &'a Status, &'a Evaluators, &'a MemberOf);
type Asked<'a> = (&'a Evaluator, Option<&'a StreamOf>, &'a Plan, &'a Evaluation);

/// Sends models that are due to be measured aside.
#[allow(clippy::too_many_arguments)]
fn send_out(
    mut commands: Commands,
    models: Query<Measurable, Without<Underway>>,
    cohorts: Query<(&Members, &Progress, &Transformer)>,
    spare: Spare,
    evaluators: Query<Asked>,
    banks: Query<&ClassBank>,
    lists: Query<&Interventions>,
    moments: Query<&Moments>,
    stop: Res<StopRequest>,
) -> bevy_ecs::error::Result {
    if !spare.is_there() || stop.made() {
        return Ok(());
    }
    for (entity, model, run, status, list, cohort) in &models {
        let Ok((members, progress, transformer)) = cohorts.get(cohort.0) else { continue };
        let sequences = progress.sequences;
        let needed = sequences >= progress.total || settles_next(model, run, progress);
        if *status != Status::Running || !model.evaluations.due(sequences) || needed || waited_for(model) {
            continue;
        }
        let now = now(sequences, std::iter::once(entity), &lists, &moments);
        let measures = model.experiment.measures.clone();
        let mut asked = Vec::new();
        for (evaluator, bank, plan, evaluation) in evaluators.iter_many(list.iter()).flatten() {
            let Way::Fused(fusible) = Way::of(transformer, plan, &now, &measures) else { break };
            let Some(fusible) = fusible.alone() else { break };
            if evaluation.0.is_none() {
                asked.push((evaluator.clone(), bank.and_then(|bank| banks.get(bank.0).ok()).cloned(), fusible));
            }
        }
        if asked.len() < list.iter().count() {
            continue;
        }
        let copy = transformer.copy_of(members.iter().position(|member| member == entity).unwrap_or_default())?;
        let measured = Elsewhere::start(move || {
            let each = asked.into_iter().map(|(evaluator, bank, fusible)| {
                // The next batches of a model in training are drawn first.
                rayon::yield_now();
                let way = Way::Fused(fusible);
                Measuring { transformer: &copy, sequences, bank: bank.as_ref(), measures: &measures, way }.measure(&evaluator)
            });
            each.collect()
        });
        commands.entity(entity).insert(Underway { since: sequences, measured });
    }
    Ok(())
}

/// Whether an intervention begins or ends with a measure.
fn waited_for(model: &Model) -> bool {
    let crossing = |moment: &Moment| matches!(moment, Moment::Crossing(_));
    model.experiment.interventions.iter().any(|own| crossing(&own.from) || own.until.as_ref().is_some_and(crossing))
}
