//! Interventions at work: which entries of a value are replaced, by what, and which passes that takes.
//!
//! A [`Plan`] is compiled from the interventions of a cohort's models when these change. For each forward pass it becomes a list of [`Clamp`]s, which
//! the [`Gate`](crate::gate::Gate) applies. Everything downstream reads what they put there; gradients flow through it and not through what it replaced.

mod compile;
mod donor;
mod fusible;
mod inputs;
mod mask;
mod pattern;
mod plan;

pub use donor::{Donor, Donors};
pub use fusible::Fusible;
pub use plan::{Clamped, Moments, Now, Phase, Plan};

use crate::site::Place;
use candle_core::{Result, Tensor};
use std::sync::Arc;

/// One replacement in one forward pass.
pub struct Clamp {
    /// Where.
    pub place: Place,
    /// Which entries, u8, of a shape that broadcasts to the value's; all of them where there is none.
    pub mask: Option<Tensor>,
    /// What takes their place.
    pub new: New,
    /// How much of it, `[K, 1, …]`; wholly where there is none.
    pub strength: Option<Tensor>,
    /// Whether gradients stop there.
    pub detach: bool,
    /// Where it makes the values of whole heads zero and does nothing else: for each member, which heads. The fused attention knows how to.
    pub silences: Option<Arc<[bool]>>,
    /// Where what takes their place does not depend on the value: for each entry `[1, 1, …]`, in order, whether it is one of them; one alone stands for
    /// all. A value whose entries are all replaced is not computed.
    pub replaces: Option<Arc<[bool]>>,
}

/// What takes the place of entries.
pub enum New {
    /// A number.
    Constant(f64),
    /// These, of a shape that broadcasts to the value's.
    Given(Tensor),
    /// The value times a number.
    Scaled(f64),
    /// The value plus these.
    Plus(Tensor),
    /// The mean over the sequences of the pass.
    Mean,
    /// The next sequence's; the last one gets the first's.
    NextSequence,
    /// What an earlier place of this pass has, a number of tokens before.
    Earlier(Place, usize),
}

impl Clamp {
    /// The place of its own pass that it reads.
    pub(crate) fn reads_earlier(&self) -> Option<Place> {
        match self.new {
            New::Earlier(place, _) => Some(place),
            _ => None,
        }
    }

    /// The value with its entries replaced; `earlier` are values of this pass.
    pub fn apply(&self, value: &Tensor, earlier: &[(Place, Tensor)]) -> Result<Tensor> {
        let new = match &self.new {
            New::Constant(number) => Tensor::full(*number, (), value.device())?.to_dtype(value.dtype())?.broadcast_as(value.shape())?,
            New::Given(given) => given.broadcast_as(value.shape())?,
            New::Scaled(factor) => (value * *factor)?,
            New::Plus(vector) => value.broadcast_add(vector)?,
            New::Mean => value.mean_keepdim(1)?.broadcast_as(value.shape())?,
            New::NextSequence => inputs::rolled(value)?,
            New::Earlier(place, shift) => {
                let Some((_, from)) = earlier.iter().rev().find(|(seen, _)| seen == place) else {
                    candle_core::bail!("{} was not kept for a later site to copy", place.0.name())
                };
                mask::shifted(from, *shift)?
            }
        };
        let new = if self.detach { new.detach() } else { new };
        let new = match &self.strength {
            Some(strength) => (value + (new - value)?.broadcast_mul(&strength.to_dtype(value.dtype())?)?)?,
            None => new,
        };
        let replaced = match &self.mask {
            Some(mask) => mask.broadcast_as(value.shape())?.where_cond(&new, value)?,
            None => new,
        };
        replaced.contiguous()
    }
}

/// u8 flags as a tensor.
fn flags(flags: Vec<u8>, shape: &[usize], device: &candle_core::Device) -> Result<Tensor> {
    Tensor::from_vec(flags, shape, device)
}
