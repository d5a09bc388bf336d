//! evaluate: measures each evaluator's sequences where its model's schedule says so, evaluators side by side.

use crate::stage::{Begin, SINGLY, Stage, Step};
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use optogen::bank::ClassBank;
use optogen::batch::tokens;
use optogen::components::{Evaluation, Evaluator, EvaluatorOf, EvaluatorSequences, MemberOf, Members, Model, Progress, Status, StreamOf};
use optogen::gate::Gate;
use optogen::metrics::Metrics;
use optogen::transformer::Transformer;
use optogen::{Error, Result};

/// Adds the system to both schedules.
pub struct EvaluatePlugin;

impl Plugin for EvaluatePlugin {
    fn build(&self, app: &mut App) {
        app.add_systems(Step, evaluate.in_set(Stage::Evaluate));
        app.add_systems(Begin, evaluate.in_set(Stage::Evaluate));
    }
}

type Measured<'a> = (&'a Evaluator, &'a EvaluatorOf, Option<&'a StreamOf>, &'a mut Evaluation);

fn evaluate(
    mut evaluators: Query<Measured>,
    models: Query<(&Model, &Status, &MemberOf)>,
    cohorts: Query<(&Members, &Progress, &Transformer)>,
    banks: Query<&ClassBank>,
) {
    evaluators.par_iter_mut().batching_strategy(SINGLY).for_each(|(evaluator, of, bank, mut evaluation)| {
        let Ok((model, Status::Running, cohort)) = models.get(of.0) else { return };
        let Ok((members, progress, transformer)) = cohorts.get(cohort.0) else { return };
        if model.evaluations.due(progress.sequences) {
            let member = members.iter().position(|member| member == of.0).unwrap_or_default();
            let bank = bank.and_then(|bank| banks.get(bank.0).ok());
            evaluation.0 = Some(measure(evaluator, bank, transformer, member));
        }
    });
}

/// The metrics of all sequences of an evaluator.
pub fn measure(evaluator: &Evaluator, bank: Option<&ClassBank>, transformer: &Transformer, member: usize) -> Result<Metrics> {
    let alone;
    let transformer = if transformer.parameters().members() == 1 {
        transformer
    } else {
        alone = transformer.of_member(member)?;
        &alone
    };
    let device = transformer.parameters().device();
    let mut metrics = Metrics::default();
    for chunk in &evaluator.sequences {
        let looked_up;
        let input = match (chunk, bank) {
            (EvaluatorSequences::Given(tokens), _) => tokens,
            (EvaluatorSequences::Drawn { sequences, noise }, Some(bank)) => {
                let count = sequences.labels.len() / sequences.pairs;
                let noises = if noise.is_empty() { &[][..] } else { std::slice::from_ref(noise) };
                looked_up = tokens(bank, std::slice::from_ref(sequences), 0..count, noises, device)?;
                &looked_up
            }
            _ => return Err(Error::Invalid(format!("evaluator \"{}\" has no class bank", evaluator.name))),
        };
        let logits = transformer.forward(input, &mut Gate::closed())?;
        metrics.append(&logits.squeeze(0)?, &input.labels.squeeze(0)?)?;
    }
    Ok(metrics)
}
