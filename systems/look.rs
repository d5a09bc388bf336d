//! look: hooks look at the values of forward passes of their own, so that looking never changes what is trained or evaluated.

use crate::clamp::now;
use crate::forward::forward;
use crate::stage::{Begin, Stage, Step};
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use candle_core::Tensor;
use optogen::bank::ClassBank;
use optogen::batch::{Batch, joined};
use optogen::clamp::{Moments, Now, Plan};
use optogen::components::*;
use optogen::gate::Gate;
use optogen::look::Rows;
use optogen::ops;
use optogen::site::Place;
use optogen::transformer::{Tokens, Transformer};
use optogen::{Error, Result};

/// Adds the systems: training batches before their step, evaluators' sequences in both schedules.
pub struct LookPlugin;

impl Plugin for LookPlugin {
    fn build(&self, app: &mut App) {
        app.add_systems(Step, look_at_training.in_set(Stage::Forward).after(forward));
        app.add_systems(Step, look_at_evaluators.in_set(Stage::Evaluate).after(crate::evaluate::evaluate));
        app.add_systems(Begin, look_at_evaluators.in_set(Stage::Evaluate).after(crate::evaluate::evaluate));
    }
}

type Trained<'a> = (&'a Members, &'a Progress, &'a Transformer, &'a Batch, &'a Plan);

fn look_at_training(
    mut hooks: Query<(&Hook, &HookOf, &mut Looked)>,
    models: Query<&MemberOf>,
    cohorts: Query<Trained, With<Active>>,
    lists: Query<&Interventions>,
    moments: Query<&Moments>,
) {
    for (hook, of, mut looked) in &mut hooks {
        let Ok((members, progress, transformer, batch, plan)) = models.get(of.0).and_then(|cohort| cohorts.get(cohort.0)) else { continue };
        if !hook.spec.during.iter().any(|name| name == "training") || !hook.looks.due(progress.sequences) {
            continue;
        }
        let member = members.iter().position(|member| member == of.0).unwrap_or_default();
        let now = now(progress.sequences, members.iter(), &lists, &moments);
        let look = || -> Result<Rows> {
            // The parts of a batch that was split are looked at as one, and go through as one where their sequences depend on each other.
            let mut seen = Seen::default();
            if batch.parts.len() > 1 && plan.couples_sequences(&now) {
                seen.add(look_at(hook, transformer, &joined(&batch.parts)?, plan, &now)?, member)?;
            } else {
                for part in &batch.parts {
                    seen.add(look_at(hook, transformer, part, plan, &now)?, member)?;
                }
            }
            seen.rows(hook, transformer, progress.sequences, "training")
        };
        looked.0.push(look());
    }
}

type Evaluated<'a> = (&'a Evaluator, Option<&'a StreamOf>, &'a Plan);

#[allow(clippy::too_many_arguments)]
fn look_at_evaluators(
    mut hooks: Query<(&Hook, &HookOf, &mut Looked)>,
    models: Query<(&Evaluators, &MemberOf, &Status)>,
    cohorts: Query<(&Members, &Progress, &Transformer)>,
    evaluators: Query<Evaluated>,
    banks: Query<&ClassBank>,
    lists: Query<&Interventions>,
    moments: Query<&Moments>,
) {
    for (hook, of, mut looked) in &mut hooks {
        let Ok((list, cohort, Status::Running)) = models.get(of.0) else { continue };
        let Ok((members, progress, transformer)) = cohorts.get(cohort.0) else { continue };
        if !hook.looks.due(progress.sequences) {
            continue;
        }
        for (evaluator, bank, plan) in evaluators.iter_many(list.iter()).flatten() {
            if !hook.spec.during.iter().any(|name| name == "evaluation" || *name == evaluator.name) {
                continue;
            }
            let bank = bank.and_then(|bank| banks.get(bank.0).ok());
            let now = now(progress.sequences, std::iter::once(of.0), &lists, &moments);
            let member = members.iter().position(|member| member == of.0).unwrap_or_default();
            looked.0.push(transformer.alone(member, |alone| {
                let mut seen = Seen::default();
                let device = alone.parameters().device();
                let coupled = plan.couples_sequences(&now);
                let chunks = if coupled { evaluator.together(bank, device)? } else { evaluator.sequences.clone() };
                for chunk in chunks.iter() {
                    let input = chunk.tokens(bank, device)?;
                    seen.add(look_at(hook, alone, &input, plan, &now)?, 0)?;
                }
                seen.rows(hook, alone, progress.sequences, &evaluator.name)
            }));
        }
    }
}

/// One forward pass; the values `[K, …]` at the hook's places, or their gradients.
fn look_at(hook: &Hook, transformer: &Transformer, input: &Tokens, plan: &Plan, now: &Now) -> Result<Vec<(Place, Tensor)>> {
    let places = hook.spec.entries().places(transformer.architecture().layers);
    if !hook.spec.gradient {
        let mut gate = Gate::looking_at(places);
        plan.forward(transformer, input, now, &mut gate)?;
        return Ok(gate.take_seen());
    }
    let mut gate = Gate::probing(places);
    let logits = plan.forward(transformer, input, now, &mut gate)?;
    let gradients = ops::cross_entropy(&logits, &input.targets()?)?.sum_all()?.backward()?;
    let of = |(place, probe): (Place, candle_core::Var)| match gradients.get(&probe) {
        Some(gradient) => Ok((place, gradient.clone())),
        None => Ok((place, probe.zeros_like()?)),
    };
    gate.take_probes().into_iter().map(of).collect()
}

/// What was seen of one member, chunk by chunk.
#[derive(Default)]
struct Seen(Vec<(Place, Vec<Tensor>)>);

impl Seen {
    fn add(&mut self, values: Vec<(Place, Tensor)>, member: usize) -> Result<()> {
        for (place, value) in values {
            let own = value.get(member)?.detach();
            match self.0.iter_mut().find(|(other, _)| *other == place) {
                Some((_, chunks)) => chunks.push(own),
                None => self.0.push((place, vec![own])),
            }
        }
        Ok(())
    }

    fn rows(self, hook: &Hook, transformer: &Transformer, sequences: u64, during: &str) -> Result<Rows> {
        let mut rows = Rows::new(sequences, during);
        for (place, chunks) in self.0 {
            let whole = match chunks.len() {
                1 => chunks.into_iter().next().ok_or_else(|| Error::Internal("a hook saw nothing".into()))?,
                // Positions are the same for all sequences.
                _ if hook.spec.site.axes() == optogen::site::Axes::Positions => chunks[0].clone(),
                _ if hook.spec.gradient => {
                    // Of the mean loss of all sequences, not of those of a chunk.
                    let total: usize = chunks.iter().map(|chunk| chunk.dims()[0]).sum();
                    let share = |chunk: &Tensor| chunk * (chunk.dims()[0] as f64 / total as f64);
                    Tensor::cat(&chunks.iter().map(share).collect::<candle_core::Result<Vec<_>>>()?, 0)?
                }
                _ => Tensor::cat(&chunks, 0)?,
            };
            rows.add(&hook.spec, transformer.architecture(), place, &whole)?;
        }
        Ok(rows)
    }
}
