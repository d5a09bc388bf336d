//! A whole step of training by hand: from sequences to losses and gradients, on the CPU, where nobody looks inside.
//!
//! The transformer's own forward pass ([`crate::transformer`]) goes through the gate and candle's graph, where every value can be clamped and
//! looked at. Most steps need none of that. Here the same formulas run on slices whose memory is used again at every step, and what a step does not
//! need is left out: queries of tokens that nobody reads, and, where no position tells them apart, the first block's work on tokens that
//! are alike. Tests hold both ways to the same losses and gradients.

mod attention;
mod block;
mod borrow;
mod input;
mod lanes;
mod norm;
mod output;
mod places;
mod sizes;
#[cfg(test)]
mod tests;

use crate::ops::lend::overwrite;
use crate::ops::{Real, angles};
use crate::transformer::{Architecture, Tokens, Transformer};
use bevy_ecs::component::Component;
use block::{At, Block, Grads};
use borrow::{Borrowed, part};
use candle_core::{Result, Tensor, bail};
use input::{Drawn, Input};
use lanes::{LANES, Lanes};
use output::Output;
use places::Places;
use sizes::{Rows, Sizes};
use std::sync::Arc;

/// For each layer, which heads of each member `[K, H]` have no values; none where all have.
pub type Silenced = Vec<Option<Arc<[bool]>>>;

/// The memory of a cohort's steps.
#[derive(Component)]
pub struct Fused<T: Real = f32> {
    architecture: Architecture,
    places: Places,
    /// Rotary positions as far as they were needed, with the tokens they are for.
    turns: (usize, Vec<(T, T)>),
    members: Vec<Member<T>>,
    gradients: Vec<Tensor>,
}

/// What the forward pass of one member leaves.
#[derive(Default)]
struct Member<T> {
    input: Input<T>,
    /// The residual stream before each block, and after the last.
    streams: Vec<Vec<T>>,
    blocks: Vec<Block<T>>,
    /// Which heads of each block are heard, in the order of the lanes.
    heard: Vec<Vec<Lanes<T>>>,
    output: Output<T>,
    grads: Grads<T>,
}

impl<T: Real> Fused<T> {
    /// Memory for the steps of a cohort, and its gradients.
    ///
    /// # Errors
    /// The parameters are not on the CPU.
    pub fn new(transformer: &Transformer) -> Result<Self> {
        let (architecture, parameters) = (transformer.architecture().clone(), transformer.parameters());
        if !parameters.device().is_cpu() || parameters.dtype() != T::DTYPE {
            bail!("a fused step is for {:?} on the CPU", T::DTYPE)
        }
        let members = (0..parameters.members()).map(|_| Member {
            streams: (0..=architecture.layers).map(|_| Vec::new()).collect(),
            blocks: (0..architecture.layers).map(|_| Block::default()).collect(),
            ..Member::default()
        });
        Ok(Self {
            places: Places::of(&architecture)?,
            turns: (0, Vec::new()),
            members: members.collect(),
            gradients: parameters.iter().map(|(_, var)| Tensor::zeros(var.shape(), var.dtype(), var.device())).collect::<Result<_>>()?,
            architecture,
        })
    }

    /// One gradient a parameter, in their order, each `[K, …]`; the next backward pass overwrites them.
    pub fn gradients(&self) -> &[Tensor] {
        &self.gradients
    }

    /// The mean loss of each member `[K]`, in nats.
    pub fn forward(&mut self, transformer: &Transformer, input: &Tokens, silenced: &Silenced) -> Result<Vec<T>> {
        let sizes = self.sizes(input)?;
        self.turn_to(sizes.tokens);
        let members = self.members.len();
        let parameters = Borrowed::all(transformer.parameters().iter().map(|(_, var)| var.as_tensor()))?;
        let positions = transformer.positions().map(Borrowed::new).transpose()?;
        let batch = Batch::new(input)?;
        let each = self.members.iter_mut().enumerate().map(|(index, member)| {
            let weights = parameters.iter().map(|one| one.of_member(index, members)).collect::<Result<Vec<_>>>()?;
            let positions = positions.as_ref().map(|positions| positions.of_member(index, members)).transpose()?;
            member.hear(sizes, silenced, index);
            Ok(member.forward(sizes, &self.places, &weights, positions, &self.turns.1, &batch.of_member(index, members)?))
        });
        each.collect()
    }

    /// The gradients of the mean losses of the forward pass before.
    pub fn backward(&mut self, transformer: &Transformer, input: &Tokens) -> Result<()> {
        let sizes = self.sizes(input)?;
        let count = self.members.len();
        let parameters = Borrowed::all(transformer.parameters().iter().map(|(_, var)| var.as_tensor()))?;
        let batch = Batch::new(input)?;
        let Self { members, places, turns, gradients, .. } = self;
        overwrite(&gradients.iter().collect::<Vec<_>>(), &mut |lent: &mut [&mut [T]]| {
            for (index, member) in members.iter_mut().enumerate() {
                let weights = parameters.iter().map(|one| one.of_member(index, count)).collect::<Result<Vec<_>>>()?;
                let mut of: Vec<&mut [T]> = Vec::with_capacity(lent.len());
                for whole in lent.iter_mut() {
                    let own = part(whole.len(), index, count);
                    of.push(&mut whole[own]);
                }
                member.backward(sizes, places, &weights, &turns.1, &batch.of_member(index, count)?, &mut of)?;
            }
            Ok(())
        })
    }

    fn sizes(&self, input: &Tokens) -> Result<Sizes> {
        let (_, sequences, pairs) = input.examples.dims3()?;
        Ok(Sizes::new(&self.architecture, sequences, pairs))
    }

    fn turn_to(&mut self, tokens: usize) {
        let heads = self.architecture.attention_heads();
        if let Some(time) = heads.rotary.filter(|_| self.turns.0 < tokens) {
            let all = angles(tokens, self.architecture.width / heads.count, time);
            self.turns = (tokens, all.map(|angle| (T::of(angle.cos()), T::of(angle.sin()))).collect());
        }
    }
}

/// A batch, borrowed.
struct Batch<'a> {
    features: Borrowed<'a>,
    examples: Borrowed<'a>,
    labels: Borrowed<'a>,
}

impl<'a> Batch<'a> {
    fn new(input: &'a Tokens) -> Result<Self> {
        Ok(Self {
            features: Borrowed::new(&input.features)?,
            examples: Borrowed::new(&input.examples)?,
            labels: Borrowed::new(&input.labels)?,
        })
    }

    fn of_member<T: Real>(&self, member: usize, members: usize) -> Result<Drawn<'_, T>> {
        Ok(Drawn {
            features: self.features.of_member(member, members)?,
            examples: self.examples.of_member(member, members)?,
            labels: self.labels.of_member(member, members)?,
        })
    }
}

impl<T: Real> Member<T> {
    /// Notes which heads have values.
    fn hear(&mut self, sizes: Sizes, silenced: &Silenced, member: usize) {
        self.heard.resize(self.blocks.len(), Vec::new());
        for (layer, heard) in self.heard.iter_mut().enumerate() {
            heard.clear();
            heard.resize(sizes.groups, [T::one(); LANES]);
            let Some(silenced) = silenced.get(layer).and_then(Option::as_ref) else { continue };
            for head in (0..sizes.heads).filter(|head| silenced[(member * sizes.heads + head) % silenced.len()]) {
                heard[head / LANES][head % LANES] = T::zero();
            }
        }
    }

    fn forward(
        &mut self,
        sizes: Sizes,
        places: &Places,
        weights: &[&[T]],
        positions: Option<&[T]>,
        turns: &[(T, T)],
        drawn: &Drawn<T>,
    ) -> T {
        self.input.forward(&sizes, places, weights, positions, drawn, &mut self.streams[0]);
        let layers = self.blocks.len();
        for (layer, block) in self.blocks.iter_mut().enumerate() {
            let rows = if layer == 0 { self.input.rows() } else { Rows::Each };
            let at =
                At { sizes, places: &places.blocks[layer], weights, rows, last: layer + 1 == layers, turns, heard: &self.heard[layer] };
            let (below, above) = self.streams.split_at_mut(layer + 1);
            block.forward(at, &below[layer], &mut above[0], &mut self.grads.room);
        }
        self.output.forward(places, weights, &self.streams[layers], drawn.targets(sizes.pairs), sizes.width)
    }

    fn backward(
        &mut self,
        sizes: Sizes,
        places: &Places,
        weights: &[&[T]],
        turns: &[(T, T)],
        drawn: &Drawn<T>,
        of: &mut [&mut [T]],
    ) -> Result<()> {
        let layers = self.blocks.len();
        let Grads { stream, rows, .. } = &mut self.grads;
        self.output.backward(places, weights, &self.streams[layers], (stream, rows), of, sizes.width)?;
        for (layer, block) in self.blocks.iter_mut().enumerate().rev() {
            let rows = if layer == 0 { self.input.rows() } else { Rows::Each };
            let at =
                At { sizes, places: &places.blocks[layer], weights, rows, last: layer + 1 == layers, turns, heard: &self.heard[layer] };
            block.backward(at, &self.streams[layer], &mut self.grads, of)?;
        }
        self.input.backward(&sizes, places, drawn, &self.grads.stream, of);
        Ok(())
    }
}

/// Σ of rows, written to `sum`.
fn add_up_rows<T: Real>(rows: &[T], sum: &mut [T]) {
    sum.fill(T::zero());
    for row in rows.chunks_exact(sum.len()) {
        sum.iter_mut().zip(row).for_each(|(sum, &x)| *sum += x);
    }
}
