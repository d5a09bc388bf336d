//! What a fused pass can clamp: the values of heads, which it takes away, and their patterns, which it gives.

use super::lanes::{LANES, Lanes};
use super::sizes::Sizes;
use crate::ops::{Real, look};
use candle_core::{Result, Tensor};
use std::sync::Arc;

/// For each layer, which heads of each member `[K, H]` have no values; none where all have.
pub type Silenced = Vec<Option<Arc<[bool]>>>;

/// All that is clamped in a pass.
#[derive(Clone, Default)]
pub struct Clamps {
    /// Heads without values.
    pub silenced: Silenced,
    /// Patterns that heads are given, the later over the earlier.
    pub given: Vec<Given>,
}

/// A pattern for some heads of a layer.
#[derive(Clone)]
pub struct Given {
    /// The layer.
    pub layer: usize,
    /// Who is given it, `[K, H, T]`: the heads of each member, and the attending tokens.
    pub rows: Arc<[bool]>,
    /// How they attend, the same for all heads, `[K or 1, B or 1, 1, T or 1, T]`.
    pub pattern: Tensor,
}

/// What is clamped in one layer of one member, eights of heads side by side.
#[derive(Default)]
pub(super) struct Clamped<T> {
    /// For each eight, 1 for heads that are heard, 0 for those without values.
    pub heard: Vec<Lanes<T>>,
    /// For each token and eight, 1 for heads that attend as they do, 0 for those that are given a pattern; empty where none is.
    pub free: Vec<Lanes<T>>,
    /// The patterns given, `[B, T, groups, T]`, zero for those that are free.
    pub patterns: Vec<Lanes<T>>,
}

impl Clamps {
    /// One layer of one member.
    pub(super) fn of_layer<T: Real>(
        &self,
        layer: usize,
        (member, members): (usize, usize),
        sizes: Sizes,
        clamped: &mut Clamped<T>,
    ) -> Result<()> {
        clamped.clear(sizes.groups);
        if let Some(silenced) = self.silenced.get(layer).and_then(Option::as_ref) {
            for head in (0..sizes.heads).filter(|head| silenced[(member * sizes.heads + head) % silenced.len()]) {
                clamped.heard[head / LANES][head % LANES] = T::zero();
            }
        }
        for given in self.given.iter().filter(|given| given.layer == layer) {
            let each = given.rows.len() / members;
            clamped.give(sizes, &given.rows[member * each..(member + 1) * each], &given.pattern, member)?;
        }
        Ok(())
    }
}

impl<T: Real> Clamped<T> {
    fn clear(&mut self, groups: usize) {
        self.heard.clear();
        self.heard.resize(groups, [T::one(); LANES]);
        self.free.clear();
        self.patterns.clear();
    }

    fn give(&mut self, sizes: Sizes, rows: &[bool], pattern: &Tensor, member: usize) -> Result<()> {
        let Sizes { sequences, tokens, groups, .. } = sizes;
        self.free.resize(tokens * groups, [T::one(); LANES]);
        self.patterns.resize(sequences * tokens * groups * tokens, [T::zero(); LANES]);
        let &[members, of_sequences, _, attending, attended] = pattern.dims() else { candle_core::bail!("a pattern has five dimensions") };
        // What there is one of is the same for all.
        let step = |count: usize, size: usize| if count == 1 { 0 } else { size };
        look(&pattern.contiguous()?, |numbers: &[T]| {
            for row in (0..rows.len()).filter(|&row| rows[row]) {
                let (head, t) = (row / tokens, row % tokens);
                self.free[t * groups + head / LANES][head % LANES] = T::zero();
                for sequence in 0..sequences {
                    let of_member = step(members, of_sequences * attending * attended) * member;
                    let from = of_member + step(of_sequences, attending * attended) * sequence + step(attending, attended) * t;
                    let to = ((sequence * tokens + t) * groups + head / LANES) * tokens;
                    for (lanes, &number) in self.patterns[to..to + tokens].iter_mut().zip(&numbers[from..from + attended]) {
                        lanes[head % LANES] = number;
                    }
                }
            }
            Ok(())
        })
    }
}
