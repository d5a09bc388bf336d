//! What all passes of a transformer have in common, and one pass's view of its parameters and its batch.

use super::block::At;
use super::borrow::Borrowed;
use super::clamps::{Clamped, Clamps};
use super::input::{Drawn, Input};
use super::places::Places;
use super::sizes::{Rows, Sizes};
use crate::ops::{Real, angles};
use crate::transformer::{Architecture, Tokens, Transformer};
use candle_core::{Result, bail};

/// What stays the same from pass to pass.
pub(super) struct Plan<T> {
    pub architecture: Architecture,
    pub places: Places,
    /// Rotary positions as far as they were needed, with the tokens they are for.
    turns: (usize, Vec<(T, T)>),
}

impl<T: Real> Plan<T> {
    /// # Errors
    /// The parameters are of another type, or not on the CPU.
    pub fn new(transformer: &Transformer) -> Result<Self> {
        let (architecture, parameters) = (transformer.architecture().clone(), transformer.parameters());
        if !parameters.device().is_cpu() || parameters.dtype() != T::DTYPE {
            bail!("a fused step is for {:?} on the CPU", T::DTYPE)
        }
        Ok(Self { places: Places::of(&architecture)?, turns: (0, Vec::new()), architecture })
    }

    /// Sizes of a pass over some sequences, with angles for their tokens.
    pub fn sizes(&mut self, input: &Tokens) -> Result<Sizes> {
        let (_, sequences, pairs) = input.examples.dims3()?;
        let sizes = Sizes::new(&self.architecture, sequences, pairs);
        let heads = self.architecture.attention_heads();
        if let Some(time) = heads.rotary.filter(|_| self.turns.0 < sizes.tokens) {
            let all = angles(sizes.tokens, sizes.head_width, time);
            self.turns = (sizes.tokens, all.map(|angle| (T::of(angle.cos()), T::of(angle.sin()))).collect());
        }
        Ok(sizes)
    }
}

/// The parameters and the batch of all members, borrowed for a pass.
pub(super) struct Scene<'a> {
    parameters: Vec<Borrowed<'a>>,
    positions: Option<Borrowed<'a>>,
    features: Borrowed<'a>,
    examples: Borrowed<'a>,
    labels: Borrowed<'a>,
    members: usize,
}

impl<'a> Scene<'a> {
    pub fn new(transformer: &'a Transformer, input: &'a Tokens) -> Result<Self> {
        Ok(Self {
            parameters: Borrowed::all(transformer.parameters().iter().map(|(_, var)| var.as_tensor()))?,
            positions: transformer.positions().map(Borrowed::new).transpose()?,
            features: Borrowed::new(&input.features)?,
            examples: Borrowed::new(&input.examples)?,
            labels: Borrowed::new(&input.labels)?,
            members: transformer.parameters().members(),
        })
    }

    /// One member's view.
    pub fn of_member<'s, T: Real>(&'s self, plan: &'s Plan<T>, sizes: Sizes, member: usize) -> Result<View<'s, T>> {
        let members = self.members;
        Ok(View {
            member: (member, members),
            sizes,
            places: &plan.places,
            turns: &plan.turns.1,
            weights: self.parameters.iter().map(|one| one.of_member(member, members)).collect::<Result<_>>()?,
            positions: self.positions.as_ref().map(|positions| positions.of_member(member, members)).transpose()?,
            drawn: Drawn {
                features: self.features.of_member(member, members)?,
                examples: self.examples.of_member(member, members)?,
                labels: self.labels.of_member(member, members)?,
            },
        })
    }
}

/// What one member's pass reads.
pub(super) struct View<'a, T> {
    /// Which it is, of how many.
    member: (usize, usize),
    pub sizes: Sizes,
    pub places: &'a Places,
    pub turns: &'a [(T, T)],
    /// One parameter after another, in the architecture's order.
    pub weights: Vec<&'a [T]>,
    /// What positions add, `[D, ≥T]`.
    pub positions: Option<&'a [T]>,
    pub drawn: Drawn<'a, T>,
}

impl<T: Real> View<'_, T> {
    /// Where a block stands; with `query_alone` nobody but the query attends.
    pub fn block<'s>(&'s self, layer: usize, input: &'s Input<T>, query_alone: bool, clamped: &'s Clamped<T>) -> At<'s, T> {
        let rows = if layer == 0 { input.rows() } else { Rows::Each };
        At { sizes: self.sizes, places: &self.places.blocks[layer], weights: &self.weights, rows, query_alone, turns: self.turns, clamped }
    }

    /// What is clamped in each layer.
    pub fn clamp(&self, clamps: &Clamps, clamped: &mut Vec<Clamped<T>>) -> Result<()> {
        clamped.resize_with(self.places.blocks.len(), Clamped::default);
        clamped.iter_mut().enumerate().try_for_each(|(layer, clamped)| clamps.of_layer(layer, self.member, self.sizes, clamped))
    }
}
