//! evaluate: measures each evaluator's sequences where its model's schedule says so, evaluators side by side.

use crate::clamp::now;
use crate::spread::{each, spread};
use crate::stage::{Begin, Stage, Step};
use crate::workspace::with_workspace;
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use candle_core::{DType, Tensor};
use optogen::bank::ClassBank;
use optogen::clamp::{Moments, Now, Plan};
use optogen::components::*;
use optogen::experiment::MeasureSpec;
use optogen::fused::FusedEvaluation;
use optogen::gate::Gate;
use optogen::heads::HeadMeasures;
use optogen::metrics::Metrics;
use optogen::site::{Place, Site};
use optogen::transformer::{Tokens, Transformer};
use optogen::weights::attribution;
use optogen::{Error, Result};

/// Adds the system to both schedules.
pub struct EvaluatePlugin;

impl Plugin for EvaluatePlugin {
    fn build(&self, app: &mut App) {
        app.add_systems(Step, evaluate.in_set(Stage::Evaluate));
        app.add_systems(Begin, evaluate.in_set(Stage::Evaluate));
    }
}

type Measuring<'a> = (&'a Evaluator, &'a EvaluatorOf, Option<&'a StreamOf>, &'a Plan, &'a mut Evaluation, &'a mut EvaluationMemory);

pub(crate) fn evaluate(
    mut evaluators: Query<Measuring>,
    models: Query<(&Model, &Status, &MemberOf)>,
    cohorts: Query<(&Members, &Progress, &Transformer)>,
    banks: Query<&ClassBank>,
    lists: Query<&Interventions>,
    moments: Query<&Moments>,
) {
    spread(evaluators.iter_mut(), |(evaluator, of, bank, plan, mut evaluation, mut memory)| {
        let Ok((model, Status::Running, cohort)) = models.get(of.0) else { return };
        let Ok((members, progress, transformer)) = cohorts.get(cohort.0) else { return };
        // What could not be compiled is not measured.
        if model.evaluations.due(progress.sequences) && !matches!(evaluation.0, Some(Err(_))) {
            let member = members.iter().position(|member| member == of.0).unwrap_or_default();
            let bank = bank.and_then(|bank| banks.get(bank.0).ok());
            let now = now(progress.sequences, std::iter::once(of.0), &lists, &moments);
            let measures = &model.experiment.measures;
            evaluation.0 = Some(transformer.alone(member, |alone| measure(evaluator, bank, alone, plan, &now, measures, &mut memory.0)));
        }
    });
}

/// Chunks that are measured one after another. An evaluator of more is spread over threads in blocks of so many, and what they measure is put
/// together in their order, so that the sums do not depend on the threads.
const BLOCK: usize = 16;

/// The metrics that a transformer has on all sequences of an evaluator and, where that is asked for, how each head attends and what it adds.
fn measure(
    evaluator: &Evaluator,
    bank: Option<&ClassBank>,
    transformer: &Transformer,
    plan: &Plan,
    now: &Now,
    measures: &MeasureSpec,
    memory: &mut Option<FusedEvaluation>,
) -> Result<Measured> {
    let chunks = &evaluator.sequences;
    if chunks.len() <= BLOCK {
        return measure_block(chunks, bank, transformer, plan, now, measures, memory);
    }
    let blocks = each(chunks.chunks(BLOCK).collect(), |block| measure_block(block, bank, transformer, plan, now, measures, &mut None));
    let mut all = Measured { metrics: Metrics::default(), heads: measures.heads.then(HeadMeasures::default) };
    for block in blocks {
        let block = block?;
        all.metrics.extend(block.metrics);
        if let (Some(heads), Some(more)) = (&mut all.heads, &block.heads) {
            heads.add(more);
        }
    }
    Ok(all)
}

fn measure_block(
    chunks: &[EvaluatorSequences],
    bank: Option<&ClassBank>,
    transformer: &Transformer,
    plan: &Plan,
    now: &Now,
    measures: &MeasureSpec,
    memory: &mut Option<FusedEvaluation>,
) -> Result<Measured> {
    let heads = measures.heads;
    let mut measured = Measured { metrics: Metrics::default(), heads: heads.then(HeadMeasures::default) };
    for chunk in chunks {
        let input = chunk.tokens(bank, transformer.parameters().device())?;
        let (logits, patterns) = pass(transformer, &input, plan, now, heads, memory)?;
        let labels = input.labels.squeeze(0)?;
        measured.metrics.append(&logits.squeeze(0)?, &labels)?;
        if let Some(heads) = &mut measured.heads {
            for (layer, pattern) in patterns.iter().enumerate() {
                heads.append(layer, &pattern.squeeze(0)?, &labels)?;
            }
            if measures.attribution {
                heads.attribute(&attributions(transformer, &input, plan, now)?, labels.dim(0)?);
            }
        }
    }
    Ok(measured)
}

/// Logits `[1, B, C]` and, where they are wanted, the pattern of each layer; fused where that is possible.
fn pass(
    transformer: &Transformer,
    input: &Tokens,
    plan: &Plan,
    now: &Now,
    patterns: bool,
    memory: &mut Option<FusedEvaluation>,
) -> Result<(Tensor, Vec<Tensor>)> {
    let (layers, parameters) = (transformer.architecture().layers, transformer.parameters());
    if parameters.device().is_cpu()
        && parameters.dtype() == DType::F32
        && let Some(silenced) = plan.silenced_alone(layers, now)
    {
        let fused = match memory {
            Some(fused) => fused,
            None => memory.insert(FusedEvaluation::new(transformer)?),
        };
        return Ok(with_workspace(|workspace| fused.forward(workspace, transformer, input, &silenced, patterns))?);
    }
    let mut gate = Gate::looking_at((0..layers).filter(|_| patterns).map(|layer| (Site::Pattern, Some(layer))));
    let logits = plan.forward(transformer, input, now, &mut gate)?;
    Ok((logits, gate.take_seen().into_iter().map(|(_, pattern)| pattern).collect()))
}

/// What each head adds to the right answer, layer by layer; by a forward pass of its own, since looking there takes the composed way.
fn attributions(transformer: &Transformer, input: &Tokens, plan: &Plan, now: &Now) -> Result<Vec<f64>> {
    let layers = transformer.architecture().layers;
    let last = (Site::ResidualPost, Some(layers - 1));
    let mut gate = Gate::looking_at((0..layers).map(|layer| (Site::Z, Some(layer))).chain([last]));
    plan.forward(transformer, input, now, &mut gate)?;
    let seen = gate.take_seen();
    let at = |place: Place| -> Result<_> {
        let found = seen.iter().find(|(own, _)| *own == place).map(|(_, value)| value.squeeze(0));
        Ok(found.ok_or_else(|| Error::Invalid(format!("{} was not seen", place.0.name())))??)
    };
    let (last, labels) = (at(last)?, input.labels.squeeze(0)?);
    let mut all = Vec::new();
    for layer in 0..layers {
        all.extend(attribution(transformer, layer, &at((Site::Z, Some(layer)))?, &last, &labels)?);
    }
    Ok(all)
}
