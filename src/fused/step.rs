//! The step of training: losses, then gradients.

use super::Silenced;
use super::block::{Block, Grads};
use super::borrow::part;
use super::input::Input;
use super::lanes::Lanes;
use super::output::Output;
use super::scene::{Plan, Scene, View};
use crate::ops::Real;
use crate::ops::lend::overwrite;
use crate::transformer::{Tokens, Transformer};
use bevy_ecs::component::Component;
use candle_core::{Result, Tensor};

/// The memory of a cohort's steps.
#[derive(Component)]
pub struct Fused<T: Real = f32> {
    plan: Plan<T>,
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
    heard: Vec<Vec<Lanes<T>>>,
    output: Output<T>,
    grads: Grads<T>,
}

impl<T: Real> Fused<T> {
    /// Memory for the steps of a cohort, and its gradients.
    ///
    /// # Errors
    /// The parameters are of another type, or not on the CPU.
    pub fn new(transformer: &Transformer) -> Result<Self> {
        let parameters = transformer.parameters();
        let plan = Plan::new(transformer)?;
        let members = (0..parameters.members()).map(|_| Member {
            streams: (0..=plan.architecture.layers).map(|_| Vec::new()).collect(),
            blocks: (0..plan.architecture.layers).map(|_| Block::default()).collect(),
            ..Member::default()
        });
        let gradients = parameters.iter().map(|(_, var)| Tensor::zeros(var.shape(), var.dtype(), var.device()));
        Ok(Self { members: members.collect(), gradients: gradients.collect::<Result<_>>()?, plan })
    }

    /// One gradient a parameter, in their order, each `[K, …]`; the next backward pass overwrites them.
    pub fn gradients(&self) -> &[Tensor] {
        &self.gradients
    }

    /// The mean loss of each member `[K]`, in nats.
    pub fn forward(&mut self, transformer: &Transformer, input: &Tokens, silenced: &Silenced) -> Result<Vec<T>> {
        let sizes = self.plan.sizes(input)?;
        let scene = Scene::new(transformer, input)?;
        let each = self.members.iter_mut().enumerate().map(|(index, member)| {
            let view = scene.of_member(&self.plan, sizes, index)?;
            view.hear(silenced, index, &mut member.heard);
            Ok(member.forward(&view))
        });
        each.collect()
    }

    /// The gradients of the mean losses of the forward pass before.
    pub fn backward(&mut self, transformer: &Transformer, input: &Tokens) -> Result<()> {
        let sizes = self.plan.sizes(input)?;
        let scene = Scene::new(transformer, input)?;
        let Self { members, plan, gradients } = self;
        let count = members.len();
        overwrite(&gradients.iter().collect::<Vec<_>>(), &mut |lent: &mut [&mut [T]]| {
            for (index, member) in members.iter_mut().enumerate() {
                let mut of: Vec<&mut [T]> = Vec::with_capacity(lent.len());
                for whole in lent.iter_mut() {
                    let own = part(whole.len(), index, count);
                    of.push(&mut whole[own]);
                }
                member.backward(&scene.of_member(plan, sizes, index)?, &mut of)?;
            }
            Ok(())
        })
    }
}

impl<T: Real> Member<T> {
    fn forward(&mut self, view: &View<T>) -> T {
        self.input.forward(view, &mut self.streams[0]);
        let layers = self.blocks.len();
        for (layer, block) in self.blocks.iter_mut().enumerate() {
            let at = view.block(layer, &self.input, layer + 1 == layers, &self.heard[layer]);
            let (below, above) = self.streams.split_at_mut(layer + 1);
            block.forward(at, &below[layer], &mut above[0], &mut self.grads.scratch);
        }
        self.output.forward(view, &self.streams[layers])
    }

    fn backward(&mut self, view: &View<T>, of: &mut [&mut [T]]) -> Result<()> {
        let layers = self.blocks.len();
        let Grads { stream, rows, .. } = &mut self.grads;
        self.output.backward(view, &self.streams[layers], (stream, rows), of)?;
        for (layer, block) in self.blocks.iter_mut().enumerate().rev() {
            let at = view.block(layer, &self.input, layer + 1 == layers, &self.heard[layer]);
            block.backward(at, &self.streams[layer], &mut self.grads, of)?;
        }
        self.input.backward(view, &self.grads.stream, of);
        Ok(())
    }
}
