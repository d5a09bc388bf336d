//! clamp: compiles interventions into plans where they changed, and notes when a measure crosses a threshold that one waits for.

use crate::idle::{Occasion, idle};
use crate::memory::{Load, forward_bytes};
use crate::stage::{Begin, Stage, Step};
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use candle_core::Device;
use optogen::clamp::{Clamped, Donors, Moments, Now, Phase, Plan};
use optogen::components::*;
use optogen::experiment::{Experiment, InterventionSpec, Moment};
use optogen::log::RunLog;
use optogen::memory::Budget;
use optogen::transformer::{Architecture, Transformer};
use optogen::{Error, Result};
use std::ops::RangeInclusive;

/// Adds the systems to both schedules.
pub struct ClampPlugin;

impl Plugin for ClampPlugin {
    fn build(&self, app: &mut App) {
        app.init_resource::<DonorShelf>();
        app.add_systems(Step, (compile.in_set(Stage::Clamp), watch.in_set(Stage::Measure)));
        app.add_systems(Begin, (compile.in_set(Stage::Clamp), watch.in_set(Stage::Measure)));
    }
}

/// The other models that take part in passes.
#[derive(Resource, Default)]
pub struct DonorShelf(pub Donors);

/// The moments of the interventions of models, for a forward pass after so many sequences.
pub(crate) fn now(sequences: u64, models: impl Iterator<Item = Entity>, lists: &Query<&Interventions>, moments: &Query<&Moments>) -> Now {
    let own = |model: Entity| {
        let list = lists.get(model).into_iter().flat_map(|list| list.iter());
        list.map(|intervention| moments.get(intervention).copied().unwrap_or_default()).collect()
    };
    Now { sequences, moments: models.map(own).collect() }
}

type Edited = Or<(Changed<Intervention>, Changed<InterventionOn>)>;
type Fresh = Or<(Added<Transformer>, Added<Evaluator>)>;
type Trained<'a> = (&'a Members, &'a Transformer, &'a mut Plan, &'a mut Trouble);
type Measuring<'a> = (&'a Evaluator, &'a EvaluatorOf, &'a mut Plan, &'a mut Evaluation);

#[allow(clippy::too_many_arguments)]
fn compile(
    edited: Query<(), Edited>,
    fresh: Query<(), Fresh>,
    mut removed: RemovedComponents<Intervention>,
    interventions: Query<&Intervention>,
    models: Query<(&Model, &MemberOf, Option<&Interventions>, Has<Replayed>)>,
    mut cohorts: Query<Trained, Without<Evaluator>>,
    shapes: Query<&Transformer>,
    mut evaluators: Query<Measuring, Without<Transformer>>,
    shelf: Res<DonorShelf>,
) {
    if edited.is_empty() && fresh.is_empty() && removed.read().next().is_none() {
        return;
    }
    let specs = |list: Option<&Interventions>| -> Vec<InterventionSpec> {
        let list = list.into_iter().flat_map(|list| list.iter());
        list.filter_map(|entity| Some(interventions.get(entity).ok()?.0.clone())).collect()
    };
    for (members, transformer, mut plan, mut trouble) in &mut cohorts {
        let own: Vec<_> = models.iter_many(members.iter()).flatten().collect();
        let lists: Vec<_> = own.iter().map(|(_, _, list, _)| specs(*list)).collect();
        let clamped: Vec<_> =
            lists.iter().zip(&own).map(|(specs, (model, ..))| Clamped { specs, passes: &model.experiment.passes }).collect();
        let pairs = own.first().and_then(|(model, ..)| model.experiment.data.mixture.first()).map_or(1, |mixture| mixture.context + 1);
        let parameters = transformer.parameters();
        trouble.guard(|| {
            *plan = Plan::compile(&clamped, transformer.architecture(), Phase::Training, &shelf.0, pairs, parameters.device())?;
            Ok(())
        });
    }
    for (evaluator, of, mut plan, mut evaluation) in &mut evaluators {
        let Ok((model, cohort, list, replayed)) = models.get(of.0) else { continue };
        let Ok(transformer) = shapes.get(cohort.0) else { continue };
        let own = specs(list);
        let clamped = Clamped { specs: &own, passes: &model.experiment.passes };
        let phase = Phase::Evaluator(&evaluator.name, replayed);
        let device = transformer.parameters().device();
        match Plan::compile(&[clamped], transformer.architecture(), phase, &shelf.0, evaluator.pairs(), device) {
            Ok(compiled) => *plan = compiled,
            Err(error) => evaluation.0 = Some(Err(error)),
        }
    }
}

/// Notes the moments at which measures first cross the thresholds of interventions.
pub(crate) fn watch(
    mut waiting: Query<(&Intervention, &InterventionOn, &mut Moments)>,
    mut models: Query<(&Evaluators, &MemberOf, &mut RunLog)>,
    cohorts: Query<&Progress>,
    evaluators: Query<(&Evaluator, &Evaluation)>,
) {
    for (intervention, on, mut moments) in &mut waiting {
        let Ok((list, cohort, mut log)) = models.get_mut(on.0) else { continue };
        let Ok(progress) = cohorts.get(cohort.0) else { continue };
        let crossed = |moment: &Moment| -> Option<f64> {
            let Moment::Crossing(crossing) = moment else { return None };
            let (_, evaluation) =
                evaluators.iter_many(list.iter()).flatten().find(|(evaluator, _)| evaluator.name == crossing.evaluator)?;
            let value = evaluation.0.as_ref()?.as_ref().ok()?.value(&crossing.measure)?;
            crossing.is_crossed(value).then_some(value)
        };
        let began = if moments.began.is_none() { crossed(&intervention.0.from) } else { None };
        let ended = if moments.ended.is_none() { intervention.0.until.as_ref().and_then(crossed) } else { None };
        if let Some(value) = began {
            moments.began = Some(progress.sequences);
            log.note(progress.sequences, &format!("\"{}\" begins", intervention.0.title()), value);
        }
        if let Some(value) = ended {
            moments.ended = Some(progress.sequences);
            log.note(progress.sequences, &format!("\"{}\" ends", intervention.0.title()), value);
        }
    }
}

/// Whether everything that an experiment clamps can be done, before anything is written. `seen` are the sequences seen at the beginning and at the end of
/// the run, or at the first and the last checkpoint that are replayed. Returns a line for each pass and intervention that cannot act.
///
/// # Errors
/// A donor is not there or does not fit; or sequences that depend on each other are more than fit into memory together.
pub fn check_interventions(
    experiment: &Experiment,
    architecture: &Architecture,
    evaluators: &[Evaluator],
    replayed: bool,
    donors: &Donors,
    seen: RangeInclusive<u64>,
) -> Result<Vec<String>> {
    let clamped = [Clamped { specs: &experiment.interventions, passes: &experiment.passes }];
    let occasion = |phase, pairs, sequences| -> Result<Occasion> {
        Ok(Occasion { phase, plan: Plan::compile(&clamped, architecture, phase, donors, pairs, &Device::Cpu)?, sequences })
    };
    let pairs = experiment.data.mixture.first().map_or(1, |mixture| mixture.context + 1);
    let mut occasions = vec![occasion(Phase::Training, pairs, experiment.train.batch)?];
    for evaluator in evaluators {
        let own = occasion(Phase::Evaluator(&evaluator.name, replayed), evaluator.pairs(), evaluator.count())?;
        if let Some(coupling) = own.plan.coupling() {
            let needed = forward_bytes(architecture, Load { sequences: own.sequences, pairs: evaluator.pairs() });
            let what = || {
                let Occasion { sequences, .. } = own;
                format!("evaluator \"{}\": the {sequences} sequences that go through the model together for \"{coupling}\"", evaluator.name)
            };
            let refused = |message| Error::Invalid(format!("{message}; give it fewer, or clamp during others alone"));
            Budget::here().fits(needed.into(), what).map_err(refused)?;
        }
        occasions.push(own);
        // What a run leaves to its replays is not taken for something that never acts.
        if !replayed && experiment.interventions.iter().any(|one| one.during.iter().any(|name| name == "replay")) {
            occasions.push(occasion(Phase::Evaluator(&evaluator.name, true), evaluator.pairs(), evaluator.count())?);
        }
    }
    Ok(idle(experiment, &occasions, replayed, &seen))
}
