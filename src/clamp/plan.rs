//! A plan at work: forward passes, one after another, each with its clamps.

use super::donor::Running;
use super::mask::shifted;
use super::{Clamp, New, inputs, pattern};
use crate::experiment::{Action, Entries, InputName, InterventionSpec, Moment, PassSpec};
use crate::gate::Gate;
use crate::site::{Axes, Place, Site};
use crate::transformer::{Architecture, Tokens, Transformer};
use bevy_ecs::component::Component;
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;

/// Whose forward pass it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase<'a> {
    /// A step of training.
    Training,
    /// An evaluator's, by name, in a run or in a replay.
    Evaluator(&'a str, bool),
}

impl Phase<'_> {
    pub(super) fn has(self, intervention: &InterventionSpec) -> bool {
        let named = |wanted: &str| intervention.during.iter().any(|name| name == wanted);
        intervention.during.is_empty()
            || match self {
                Phase::Training => named("training"),
                Phase::Evaluator(name, replay) => named("evaluation") || named(name) || replay && named("replay"),
            }
    }
}

/// When an intervention's measures crossed their thresholds: sequences seen at its beginning and its end.
#[derive(Component, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moments {
    /// Its `from`.
    pub began: Option<u64>,
    /// Its `until`.
    pub ended: Option<u64>,
}

/// The moment of a forward pass.
#[derive(Clone, Debug, Default)]
pub struct Now {
    /// Sequences seen.
    pub sequences: u64,
    /// For each member, the moments of its interventions.
    pub moments: Vec<Vec<Moments>>,
}

/// One member's interventions, in the order of its experiment.
#[derive(Clone, Copy)]
pub struct Clamped<'a> {
    /// What is clamped.
    pub specs: &'a [InterventionSpec],
    /// The further passes.
    pub passes: &'a [PassSpec],
}

/// The forward passes of a cohort, or of an evaluator, and what is clamped in each.
#[derive(Component, Default)]
pub struct Plan {
    /// A pass comes after those that it reads.
    pub(super) passes: Vec<Pass>,
    /// Whose logits count, where no `continue_in` holds.
    pub(super) main: usize,
}

pub(super) struct Pass {
    pub(super) spec: Option<PassSpec>,
    pub(super) running: Option<Arc<Running>>,
    pub(super) input: Option<InputName>,
    pub(super) clamps: Vec<Planned>,
}

/// One action at one place, for those members that have it.
pub(super) struct Planned {
    pub(super) rank: usize,
    pub(super) place: Place,
    pub(super) action: Action,
    pub(super) detach: bool,
    pub(super) entries: Vec<Option<Entries>>,
    pub(super) mask: Option<Tensor>,
    pub(super) when: Vec<Option<When>>,
    /// The pass that it reads.
    pub(super) source: Option<usize>,
    /// A pattern or vector that never changes.
    pub(super) constant: Option<Tensor>,
    /// The heads whose values become zero, where that is all there is to it.
    pub(super) silences: Option<Arc<[bool]>>,
    /// The heads and attending tokens that are given a pattern, `[K, H, T]`, where that is all there is to it.
    pub(super) gives: Option<Arc<[bool]>>,
    /// The entries that become something else whatever they are, where they are the same for all members and sequences.
    pub(super) replaces: Option<Arc<[bool]>>,
}

pub(super) struct When {
    pub(super) index: usize,
    pub(super) from: Moment,
    pub(super) until: Option<Moment>,
    pub(super) ramp: u64,
    pub(super) strength: f64,
}

impl When {
    fn strength(&self, sequences: u64, moments: &[Moments]) -> f64 {
        let own = moments.get(self.index).copied().unwrap_or_default();
        let reached = |moment: &Moment, crossed: Option<u64>| match moment {
            Moment::Sequences(count) => (sequences >= *count).then_some(*count),
            Moment::Crossing(_) => crossed,
        };
        let over = self.until.as_ref().is_some_and(|until| reached(until, own.ended).is_some());
        match reached(&self.from, own.began) {
            Some(began) if !over && self.ramp > 0 => self.strength * ((sequences - began) as f64 / self.ramp as f64).min(1.0),
            Some(_) if !over => self.strength,
            _ => 0.0,
        }
    }
}

impl Plan {
    /// Whether nothing is ever clamped.
    pub fn is_empty(&self) -> bool {
        self.passes.is_empty()
    }

    /// Whether what becomes of a sequence now depends on the others, because something reads their mean or the next one of them. Such sequences go
    /// through a forward pass all together: those of a whole evaluator, or of a whole batch.
    pub fn couples_sequences(&self, now: &Now) -> bool {
        let acts = |clamp: &Planned| clamp.strengths(now).iter().any(|&strength| strength > 0.0);
        self.passes.iter().any(|pass| {
            pass.input == Some(InputName::NextSequence)
                || pass.clamps.iter().any(|clamp| clamp.reads_other_sequences() && acts(clamp))
                || pass.running.as_ref().is_some_and(|running| running.plan.couples_sequences(&running.now()))
        })
    }

    /// What couples sequences, at whatever moment, as it is written: `mean`, `resample` or `next_sequence`.
    pub fn coupling(&self) -> Option<&'static str> {
        self.passes.iter().find_map(|pass| {
            let by_input = (pass.input == Some(InputName::NextSequence)).then_some("next_sequence");
            let by_clamp = || pass.clamps.iter().find(|clamp| clamp.reads_other_sequences()).map(|clamp| clamp.action.name());
            by_input.or_else(by_clamp).or_else(|| pass.running.as_ref()?.plan.coupling())
        })
    }

    /// The further passes that something reads, by name.
    pub fn passes_read(&self) -> impl Iterator<Item = &str> {
        self.passes.iter().filter_map(|pass| Some(pass.spec.as_ref()?.name.as_str()))
    }

    /// The interventions of the first member that have entries here, by number; one is given for each of its places.
    pub fn interventions(&self) -> impl Iterator<Item = usize> {
        let all = self.passes.iter().flat_map(|pass| &pass.clamps);
        all.filter(|clamp| clamp.has_entries()).filter_map(|clamp| Some(clamp.when.first()?.as_ref()?.index))
    }

    /// Logits at the query `[K, B, C]`, of sequences that are all there are where they are coupled. The clamps and looks that the gate has already come last, in the pass that gives the logits.
    pub fn forward(&self, transformer: &Transformer, input: &Tokens, now: &Now, gate: &mut Gate) -> candle_core::Result<Tensor> {
        let strengths: Vec<Vec<Vec<f64>>> =
            self.passes.iter().map(|pass| pass.clamps.iter().map(|clamp| clamp.strengths(now)).collect()).collect();
        let holds = |pass: usize, clamp: usize| strengths[pass][clamp].iter().any(|&strength| strength > 0.0);
        let hands_over =
            |pass: usize| self.passes[pass].clamps.iter().enumerate().any(|(index, clamp)| clamp.hands_over() && holds(pass, index));
        let Some(last) = (0..self.passes.len()).rev().find(|&pass| pass == self.main || hands_over(pass)) else {
            return transformer.forward(input, gate);
        };
        // What a pass must keep for those after it, and which passes that leads to.
        let mut kept: Vec<Option<Vec<Place>>> = self.passes.iter().map(|_| None).collect();
        kept[last] = Some(Vec::new());
        for pass in (0..=last).rev() {
            if kept[pass].is_none() {
                continue;
            }
            for (index, clamp) in self.passes[pass].clamps.iter().enumerate() {
                if let (true, Some(source), Some(place)) = (holds(pass, index), clamp.source, clamp.reads()) {
                    kept[source].get_or_insert_default().push(place);
                }
            }
        }
        let mut values: HashMap<(usize, Place), Tensor> = HashMap::new();
        let mut embedded = None;
        for (index, pass) in self.passes[..=last].iter().enumerate() {
            let Some(keep) = &kept[index] else { continue };
            let changed;
            let own_input = match pass.input {
                Some(how) => {
                    changed = inputs::changed(input, how)?;
                    &changed
                }
                None => input,
            };
            let clamps = pass.clamps.iter().enumerate().filter(|(clamp, _)| holds(index, *clamp));
            let clamps = clamps
                .map(|(clamp, planned)| planned.clamp(&strengths[index][clamp], own_input, &values, transformer.architecture()))
                .collect::<candle_core::Result<Vec<_>>>()?;
            let mut own_gate = Gate::closed();
            let gate = if index == last { &mut *gate } else { &mut own_gate };
            gate.put_first(clamps);
            gate.keep(keep.iter().copied());
            if index < last {
                gate.leave_unread();
            }
            let logits = match &pass.running {
                Some(running) => running.plan.forward(&running.transformer, own_input, &running.now(), gate)?,
                None if pass.input.is_none() => transformer.forward_sharing(input, &mut embedded, gate)?,
                None => transformer.forward(own_input, gate)?,
            };
            if index == last {
                return Ok(logits);
            }
            for (place, value) in gate.take_kept() {
                // Another model is not trained.
                let value = if pass.running.is_some() { value.detach() } else { value };
                values.insert((index, place), value);
            }
        }
        candle_core::bail!("a forward pass without a last one")
    }
}

impl Planned {
    /// The pattern that it gives, where that does not depend on the model.
    pub(super) fn own_pattern(&self, input: &Tokens) -> candle_core::Result<Tensor> {
        match (&self.action, &self.constant) {
            (Action::PreviousToken { .. }, Some(constant)) => Ok(constant.clone()),
            (Action::Induction { strength }, _) => pattern::induction(input, *strength),
            (Action::Match { temperature }, _) => pattern::matched(input, *temperature),
            _ => candle_core::bail!("a pattern is gone"),
        }
    }

    /// Whether it chooses anything, as far as that does not depend on labels.
    fn has_entries(&self) -> bool {
        let chosen = |mask: &Tensor| mask.flatten_all()?.to_device(&Device::Cpu)?.to_vec1::<u8>();
        // A mask that cannot be read is no reason to say that nothing is chosen.
        self.mask.as_ref().is_none_or(|mask| chosen(mask).map_or(true, |chosen| chosen.contains(&1)))
    }

    fn reads_other_sequences(&self) -> bool {
        matches!(self.action, Action::Mean | Action::Resample)
    }

    pub(super) fn hands_over(&self) -> bool {
        matches!(self.action, Action::ContinueIn(_))
    }

    pub(super) fn strengths(&self, now: &Now) -> Vec<f64> {
        let moments = |member: usize| now.moments.get(member).map_or(&[][..], Vec::as_slice);
        let each = self.when.iter().enumerate();
        each.map(|(member, when)| when.as_ref().map_or(0.0, |when| when.strength(now.sequences, moments(member)))).collect()
    }

    /// The entries that become something else whatever they are, where they are the same for all members and sequences.
    pub(super) fn replaces(&self) -> candle_core::Result<Option<Arc<[bool]>>> {
        let reads_value =
            matches!(self.action, Action::Scale(_) | Action::Temperature(_) | Action::Mean | Action::Resample | Action::Add(_));
        let by_label = self.entries.iter().flatten().any(Entries::depend_on_labels);
        Ok(match &self.mask {
            _ if reads_value || by_label => None,
            None => Some([true].into()),
            Some(mask) if mask.dim(0)? == 1 => {
                let mask = mask.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<u8>()?;
                Some(mask.into_iter().map(|chosen| chosen > 0).collect())
            }
            Some(_) => None,
        })
    }

    /// The place that it reads in its source, or earlier in its own pass.
    pub(super) fn reads(&self) -> Option<Place> {
        let (site, layer) = self.place;
        match &self.action {
            Action::Copy(copy) => {
                let site = copy.site.unwrap_or(site);
                Some((site, if site.in_blocks() { copy.layer.or(layer) } else { None }))
            }
            Action::FrozenTemperature(_) | Action::ContinueIn(_) => Some(self.place),
            Action::CopyFromHead(head) => Some((Site::Scores, Some(head.layer))),
            _ => None,
        }
    }

    /// The clamp of one forward pass.
    fn clamp(
        &self,
        strengths: &[f64],
        input: &Tokens,
        values: &HashMap<(usize, Place), Tensor>,
        architecture: &Architecture,
    ) -> candle_core::Result<Clamp> {
        let dtype = input.features.dtype();
        let source = || {
            let key = self.source.zip(self.reads());
            key.and_then(|key| values.get(&key).cloned())
                .ok_or_else(|| candle_core::Error::Msg("a pass did not keep what is copied".into()))
        };
        let constant = || self.constant.as_ref().map(|constant| constant.to_dtype(dtype)).transpose();
        let new = match &self.action {
            Action::Zero => New::Constant(0.0),
            Action::Set(number) => New::Constant(*number),
            Action::Forbid => New::Constant(pattern::NEVER),
            Action::Scale(factor) => New::Scaled(*factor),
            Action::Temperature(temperature) => New::Scaled(1.0 / temperature),
            Action::Mean => New::Mean,
            Action::Resample => New::NextSequence,
            Action::Add(_) => New::Plus(constant()?.ok_or_else(|| candle_core::Error::Msg("a vector is gone".into()))?),
            Action::PreviousToken { .. } | Action::Induction { .. } | Action::Match { .. } => {
                New::Given(self.own_pattern(input)?.to_dtype(dtype)?)
            }
            Action::Copy(copy) => match (self.source, self.reads()) {
                (None, Some(place)) => New::Earlier(place, copy.shift),
                _ => New::Given(shifted(&source()?, copy.shift)?),
            },
            Action::ContinueIn(_) => New::Given(source()?),
            Action::FrozenTemperature(temperature) => New::Given((source()? / *temperature)?),
            Action::CopyFromHead(head) => {
                New::Given(pattern::copied_from_head(&source()?, head.head, &input.labels, architecture.outputs)?)
            }
        };
        let by_label = match self.entries.iter().flatten().next() {
            Some(entries) => entries.by_label(&input.labels)?,
            None => None,
        };
        let mask = match (self.mask.clone(), by_label) {
            (Some(mask), Some(by_label)) => Some(mask.broadcast_mul(&by_label)?),
            (mask, by_label) => mask.or(by_label),
        };
        let full = self.when.iter().zip(strengths).all(|(when, &strength)| when.is_none() || strength == 1.0);
        let strength = if full {
            None
        } else {
            let rank = if self.place.0.axes() == Axes::Positions {
                3
            } else if matches!(self.place.0.axes(), Axes::Heads | Axes::Attention) {
                5
            } else {
                4
            };
            let mut shape = vec![1; rank];
            shape[0] = strengths.len();
            Some(Tensor::from_slice(strengths, shape, input.features.device())?)
        };
        let silences = self.silences.clone().filter(|_| strength.is_none());
        let replaces = self.replaces.clone().filter(|_| strength.is_none());
        Ok(Clamp { place: self.place, mask, new, strength, detach: self.detach, silences, replaces })
    }
}
