//! From the interventions of models to a plan: which passes there are, in which order, and what is clamped in each for which member.

use super::donor::{Donors, Running};
use super::pattern;
use super::plan::{Clamped, Pass, Phase, Plan, Planned, When};
use crate::experiment::{Action, CLEAN, Entries, GradientName, InterventionSpec, PassSpec};
use crate::site::{Axes, Place};
use crate::transformer::Architecture;
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use std::sync::Arc;

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
                let source = one.action.source().map(|name| self.named(interventions, name)).transpose()?;
                for place in one.entries().places(self.architecture.layers) {
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
            clamp.gives = clamp.gives(self.architecture, 2 * self.pairs - 1);
            clamp.replaces = clamp.replaces()?;
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
        let spec = spec.ok_or_else(|| Error::Internal(format!("there is no pass \"{name}\"")))?;
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
        let entries = one.entries();
        // Roles that depend on labels are found in every forward pass, for all members alike.
        let by_label = |other: &Entries| entries.depend_on_labels() || other.depend_on_labels();
        let alike = |other: &Entries| !by_label(other) || (&other.at, &other.to) == (&entries.at, &entries.to);
        let same = |clamp: &&mut Planned| {
            let who = (clamp.rank, clamp.place, clamp.detach, clamp.source);
            who == (rank, place, detach, source) && clamp.action == one.action && clamp.entries.iter().flatten().all(alike)
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
                    gives: None,
                    replaces: None,
                });
                let last = clamps.len() - 1;
                &mut clamps[last]
            }
        };
        if let Some(running) = source.and_then(|source| self.plan.passes[source].running.as_ref()) {
            self.fits(running, clamp.reads().unwrap_or(place), &one.title())?;
        }
        clamp.entries[member] = Some(entries);
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
