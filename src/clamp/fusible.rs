//! What of a plan a fused pass can do by itself: values of heads taken away, and patterns given that do not depend on the model.

use super::plan::{Now, Plan, Planned};
use crate::experiment::{Action, Entries};
use crate::fused::{Clamps, Given, Silenced};
use crate::site::Site;
use crate::transformer::{Architecture, Tokens};
use std::sync::Arc;

/// What is clamped in a pass that can be fused.
pub struct Fusible<'a> {
    silenced: Silenced,
    given: Vec<(usize, &'a Arc<[bool]>, &'a Planned)>,
}

impl Fusible<'_> {
    /// The same by itself, where it does not depend on the sequences.
    pub fn alone(self) -> Option<Fusible<'static>> {
        self.given.is_empty().then(|| Fusible { silenced: self.silenced, given: Vec::new() })
    }

    /// What is clamped for these sequences.
    pub fn clamps(&self, input: &Tokens) -> candle_core::Result<Clamps> {
        let of = |(layer, rows, planned): &(usize, &Arc<[bool]>, &Planned)| {
            let pattern = planned.own_pattern(input)?;
            Ok(Given { layer: *layer, rows: (*rows).clone(), pattern: pattern.to_dtype(input.features.dtype())? })
        };
        Ok(Clamps { silenced: self.silenced.clone(), given: self.given.iter().map(of).collect::<candle_core::Result<_>>()? })
    }
}

impl Plan {
    /// What is clamped now, where that is something that a fused pass can do: values of heads taken away, patterns given.
    pub fn fusible(&self, layers: usize, now: &Now) -> Option<Fusible<'_>> {
        let mut all = Fusible { silenced: vec![None; layers], given: Vec::new() };
        if self.passes.is_empty() {
            return Some(all);
        }
        let main = &self.passes[self.main];
        // Another model may give the logits.
        let held = |clamp: &Planned| clamp.strengths(now).iter().any(|&strength| strength > 0.0);
        let handed_over = self.passes.iter().flat_map(|pass| &pass.clamps).any(|clamp| clamp.hands_over() && held(clamp));
        if main.running.is_some() || main.input.is_some() || handed_over {
            return None;
        }
        for clamp in &main.clamps {
            let strengths = clamp.strengths(now);
            if strengths.iter().all(|&strength| strength == 0.0) {
                continue;
            }
            let whole = clamp.when.iter().zip(&strengths).all(|(when, &strength)| when.is_none() || strength == 1.0);
            let layer = clamp.place.1.filter(|_| whole)?;
            if let Some(own) = &clamp.silences {
                all.silenced[layer] = Some(match all.silenced[layer].take() {
                    Some(others) => others.iter().zip(own.iter()).map(|(a, b)| a | b).collect(),
                    None => own.clone(),
                });
            } else {
                all.given.push((layer, clamp.gives.as_ref()?, clamp));
            }
        }
        Some(all)
    }
}

impl Planned {
    /// For each member, which heads' values become zero at all tokens.
    pub(super) fn silences(&self, heads: usize) -> Option<Arc<[bool]>> {
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

    /// For each member, each head and each attending token, whether it is given a pattern that does not depend on the model.
    pub(super) fn gives(&self, architecture: &Architecture, tokens: usize) -> Option<Arc<[bool]>> {
        let whole = |entries: &Entries| entries.to.is_all() && !entries.depend_on_labels();
        let own = matches!(self.action, Action::PreviousToken { .. } | Action::Induction { .. } | Action::Match { .. });
        if self.place.0 != Site::Pattern || !own || !self.entries.iter().flatten().all(whole) {
            return None;
        }
        let of = |entries: &Option<Entries>| {
            let heads = entries.as_ref().map_or(Vec::new(), |entries| entries.heads.of(architecture.heads));
            let at = move |t: usize| entries.as_ref().is_some_and(|entries| entries.at.may_hold(t, tokens, t));
            (0..architecture.heads)
                .flat_map(|head| (0..tokens).map(|t| heads.contains(&head) && at(t)).collect::<Vec<_>>())
                .collect::<Vec<_>>()
        };
        let rows: Arc<[bool]> = self.entries.iter().flat_map(of).collect();
        // These two attend to labels, which in a causal model the query alone sees all of.
        let sees = |t: usize| !architecture.causal || t + 1 == tokens || matches!(self.action, Action::PreviousToken { .. });
        rows.iter().enumerate().all(|(row, given)| !given || sees(row % tokens)).then_some(rows)
    }
}
