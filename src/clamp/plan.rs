//! From the interventions of a cohort's models to forward passes, one after another, each with its clamps.

use super::donor::{Donors, Running};
use super::mask::{Entries, shifted};
use super::{Clamp, New, inputs, pattern};
use crate::experiment::{Action, CLEAN, GradientName, InputName, InterventionSpec, Moment, PassSpec};
use crate::gate::{Gate, Place};
use crate::site::{Axes, Site};
use crate::transformer::{Architecture, Tokens, Transformer};
use crate::{Error, Result};
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
    fn has(self, intervention: &InterventionSpec) -> bool {
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
    passes: Vec<Pass>,
    /// Whose logits count, where no `continue_in` holds.
    main: usize,
}

struct Pass {
    spec: Option<PassSpec>,
    running: Option<Arc<Running>>,
    input: Option<InputName>,
    clamps: Vec<Planned>,
}

/// One action at one place, for those members that have it.
struct Planned {
    rank: usize,
    place: Place,
    action: Action,
    detach: bool,
    entries: Vec<Option<Entries>>,
    mask: Option<Tensor>,
    when: Vec<Option<When>>,
    /// The pass that it reads.
    source: Option<usize>,
    /// A pattern or vector that never changes.
    constant: Option<Tensor>,
    /// The heads whose values become zero, where that is all there is to it.
    silences: Option<Arc<[bool]>>,
}

struct When {
    index: usize,
    from: Moment,
    until: Option<Moment>,
    ramp: u64,
    strength: f64,
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
    /// Compiles the interventions that hold in a phase; `pairs` is the number of exemplars of a sequence.
    ///
    /// # Errors
    /// A donor does not fit.
    pub fn compile(
        members: &[Clamped],
        architecture: &Architecture,
        phase: Phase,
        donors: &Donors,
        pairs: usize,
        device: &Device,
    ) -> Result<Self> {
        let mut plan = Self::default();
        let holding = |member: &Clamped| member.specs.iter().any(|spec| phase.has(spec));
        if !members.iter().any(holding) {
            return Ok(plan);
        }
        let mut build = Builder { plan: &mut plan, members, architecture, phase, donors, pairs, device };
        let main = build.pass(None)?;
        plan.main = main;
        Ok(plan)
    }

    /// Whether nothing is ever clamped.
    pub fn is_empty(&self) -> bool {
        self.passes.is_empty()
    }

    /// Logits at the query `[K, B, C]`. The clamps and looks that the gate has already come last, in the pass that gives the logits.
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
            let logits = match &pass.running {
                Some(running) => {
                    let now = Now { sequences: running.donor.sequences, moments: Vec::new() };
                    running.plan.forward(&running.transformer, own_input, &now, gate)?
                }
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

struct Builder<'a> {
    plan: &'a mut Plan,
    members: &'a [Clamped<'a>],
    architecture: &'a Architecture,
    phase: Phase<'a>,
    donors: &'a Donors,
    pairs: usize,
    device: &'a Device,
}

impl Builder<'_> {
    /// The index of a pass, compiled with all that it reads; none is the main one.
    fn pass(&mut self, spec: Option<&PassSpec>) -> Result<usize> {
        if let Some(known) = self.plan.passes.iter().position(|pass| pass.spec.as_ref() == spec) {
            return Ok(known);
        }
        let mut clamps: Vec<Planned> = Vec::new();
        let mut handed_over = Vec::new();
        let clean = spec.is_some_and(|spec| spec.name == CLEAN);
        for (member, interventions) in self.members.iter().enumerate() {
            let defined = spec.is_none_or(|spec| interventions.passes.contains(spec));
            let mut own: Vec<(usize, &InterventionSpec)> = interventions.specs.iter().enumerate().collect();
            own.retain(|(_, one)| defined && !clean && one.pass.as_deref() == spec.map(|spec| spec.name.as_str()) && self.phase.has(one));
            own.sort_by_key(|(index, one)| (one.order.unwrap_or(0), *index));
            for (rank, (index, one)) in own.into_iter().enumerate() {
                let layers =
                    if one.site.in_blocks() { one.layers.of(self.architecture.layers).into_iter().map(Some).collect() } else { vec![None] };
                let source = one.action.source().map(|name| self.named(interventions, name)).transpose()?;
                for layer in layers {
                    let place = (one.site, layer);
                    if let Action::ContinueIn(name) = &one.action {
                        handed_over.push((member, index, one, place, name.clone()));
                        continue;
                    }
                    self.add(&mut clamps, member, index, one, rank, place, source)?;
                }
            }
        }
        clamps.sort_by_key(|clamp| clamp.rank);
        for clamp in &mut clamps {
            clamp.mask = self.mask(clamp)?;
            clamp.silences = clamp.silences(self.architecture.heads);
        }
        let running = spec.and_then(|spec| spec.donor.as_deref()).map(|path| self.running(path)).transpose()?;
        self.plan.passes.push(Pass { spec: spec.cloned(), running, input: spec.and_then(|spec| spec.input), clamps });
        let own = self.plan.passes.len() - 1;
        for (member, index, one, place, name) in handed_over {
            self.hand_over(own, member, index, one, place, &name)?;
        }
        Ok(own)
    }

    /// A pass that an intervention of a member names.
    fn named(&mut self, member: &Clamped, name: &str) -> Result<usize> {
        let clean = PassSpec { name: CLEAN.into(), input: None, donor: None };
        let known = member.passes.iter().find(|pass| pass.name == name);
        let spec = known.or((name == CLEAN).then_some(&clean)).cloned();
        let spec = spec.ok_or_else(|| Error::Invalid(format!("there is no pass \"{name}\"")))?;
        self.pass(Some(&spec))
    }

    #[allow(clippy::too_many_arguments)]
    fn add(
        &self,
        clamps: &mut Vec<Planned>,
        member: usize,
        index: usize,
        one: &InterventionSpec,
        rank: usize,
        place: Place,
        source: Option<usize>,
    ) -> Result<()> {
        let detach = one.gradient == GradientName::Detach;
        let same = |clamp: &&mut Planned| {
            clamp.rank == rank && clamp.place == place && clamp.action == one.action && clamp.detach == detach && clamp.source == source
        };
        let found = clamps.iter_mut().find(same);
        let clamp = match found {
            Some(clamp) => clamp,
            None => {
                let count = self.members.len();
                clamps.push(Planned {
                    rank,
                    place,
                    action: one.action.clone(),
                    detach,
                    entries: vec![None; count],
                    mask: None,
                    when: (0..count).map(|_| None).collect(),
                    source,
                    constant: self.constant(&one.action)?,
                    silences: None,
                });
                let last = clamps.len() - 1;
                &mut clamps[last]
            }
        };
        if let Some(running) = source.and_then(|source| self.plan.passes[source].running.as_ref()) {
            self.fits(running, clamp.reads().unwrap_or(place), &one.title())?;
        }
        clamp.entries[member] = Some(Entries {
            site: one.site,
            heads: one.heads.clone(),
            at: one.at.clone(),
            to: one.to.clone(),
            dimensions: one.dimensions.clone(),
        });
        clamp.when[member] = Some(When { index, from: one.from.clone(), until: one.until.clone(), ramp: one.ramp, strength: one.strength });
        Ok(())
    }

    fn constant(&self, action: &Action) -> Result<Option<Tensor>> {
        Ok(match action {
            Action::PreviousToken { strength } => Some(pattern::previous_token(2 * self.pairs - 1, *strength, self.device)?),
            Action::Add(vector) => Some(Tensor::from_slice(vector, vector.len(), self.device)?),
            _ => None,
        })
    }

    /// The chosen entries of all members: none where all of them are, `[1, …]` where all members choose alike, else `[K, …]`.
    fn mask(&self, clamp: &Planned) -> Result<Option<Tensor>> {
        let Some(first) = clamp.entries.iter().flatten().next() else { return Ok(None) };
        if clamp.entries.iter().all(|entries| entries.as_ref() == Some(first)) {
            return if first.is_everything() { Ok(None) } else { Ok(Some(first.mask(self.architecture, self.pairs, self.device)?)) };
        }
        let nothing = first.mask(self.architecture, self.pairs, self.device)?.zeros_like()?;
        let each = clamp.entries.iter().map(|entries| match entries {
            Some(entries) => Ok(entries.mask(self.architecture, self.pairs, self.device)?),
            None => Ok(nothing.clone()),
        });
        Ok(Some(Tensor::cat(&each.collect::<Result<Vec<_>>>()?, 0)?))
    }

    fn running(&self, path: &std::path::Path) -> Result<Arc<Running>> {
        let donor = self.donors.get(path)?.clone();
        let copies = self.members.len();
        let transformer = donor.transformer(copies, self.device)?;
        let own = Clamped { specs: &donor.experiment.interventions, passes: &donor.experiment.passes };
        let plan = Plan::compile(&vec![own; copies], &donor.architecture, self.phase, self.donors, self.pairs, self.device)?;
        if donor.architecture.features != self.architecture.features || donor.architecture.outputs < self.architecture.outputs {
            return Err(Error::Invalid(format!(
                "pass.donor: {}: it reads exemplars of {} features and {} labels, this model {} and {}",
                path.display(),
                donor.architecture.features,
                donor.architecture.outputs,
                self.architecture.features,
                self.architecture.outputs
            )));
        }
        Ok(Arc::new(Running { donor, transformer, plan }))
    }

    /// Whether what is copied from a donor has the shape of what it replaces.
    fn fits(&self, running: &Running, place: Place, title: &str) -> Result<()> {
        let (own, other) = (self.architecture, &running.donor.architecture);
        let (site, layer) = place;
        let heads = matches!(site.axes(), Axes::Heads | Axes::Attention | Axes::HeadsSideBySide);
        let there = site.is_in(other) && layer.is_none_or(|layer| layer < other.layers);
        let alike = site.last_dimension(own) == site.last_dimension(other) && (!heads || own.heads == other.heads);
        if there && alike {
            return Ok(());
        }
        let shape = |architecture: &Architecture| {
            format!("{} layers, width {}, {} heads", architecture.layers, architecture.width, architecture.heads)
        };
        Err(Error::Invalid(format!(
            "intervention \"{title}\": \"{}\" of the donor does not fit: it has {}, this model {}",
            site.name(),
            shape(other),
            shape(own)
        )))
    }

    fn hand_over(&mut self, own: usize, member: usize, index: usize, one: &InterventionSpec, place: Place, name: &str) -> Result<()> {
        let target = self.named(&self.members[member], name)?;
        let copy = InterventionSpec { action: Action::ContinueIn(name.to_owned()), ..one.clone() };
        let mut clamps = std::mem::take(&mut self.plan.passes[target].clamps);
        self.add(&mut clamps, member, index, &copy, 0, place, Some(own))?;
        for clamp in &mut clamps {
            clamp.mask = self.mask(clamp)?;
        }
        if let Some(running) = &self.plan.passes[target].running {
            self.fits(running, place, &one.title())?;
        }
        self.plan.passes[target].clamps = clamps;
        Ok(())
    }
}

impl Planned {
    /// For each member, which heads' values become zero at all tokens.
    fn silences(&self, heads: usize) -> Option<Arc<[bool]>> {
        let whole = |entries: &Entries| entries.at.is_all() && entries.dimensions.is_all();
        if self.place.0 != Site::Value || self.action != Action::Zero || !self.entries.iter().flatten().all(whole) {
            return None;
        }
        let of = |entries: &Option<Entries>| {
            let own = entries.as_ref().map_or(Vec::new(), |entries| entries.heads.of(heads));
            (0..heads).map(move |head| own.contains(&head)).collect::<Vec<_>>()
        };
        Some(self.entries.iter().flat_map(of).collect())
    }

    fn hands_over(&self) -> bool {
        matches!(self.action, Action::ContinueIn(_))
    }

    fn strengths(&self, now: &Now) -> Vec<f64> {
        let moments = |member: usize| now.moments.get(member).map_or(&[][..], Vec::as_slice);
        let each = self.when.iter().enumerate();
        each.map(|(member, when)| when.as_ref().map_or(0.0, |when| when.strength(now.sequences, moments(member)))).collect()
    }

    /// The place that it reads in its source, or earlier in its own pass.
    fn reads(&self) -> Option<Place> {
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
            Action::PreviousToken { .. } => New::Given(constant()?.ok_or_else(|| candle_core::Error::Msg("a pattern is gone".into()))?),
            Action::Copy(copy) => match (self.source, self.reads()) {
                (None, Some(place)) => New::Earlier(place, copy.shift),
                _ => New::Given(shifted(&source()?, copy.shift)?),
            },
            Action::ContinueIn(_) => New::Given(source()?),
            Action::FrozenTemperature(temperature) => New::Given((source()? / *temperature)?),
            Action::Induction { strength } => New::Given(pattern::induction(input, *strength)?.to_dtype(dtype)?),
            Action::Match { temperature } => New::Given(pattern::matched(input, *temperature)?.to_dtype(dtype)?),
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
        Ok(Clamp { place: self.place, mask, new, strength, detach: self.detach, silences })
    }
}
