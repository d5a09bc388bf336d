//! The step of training: losses and gradients in one go, while the activations are in the cache.

use super::borrow::part;
use super::scene::{Plan, Scene, View};
use super::{Clamps, Workspace};
use crate::ops::Real;
use crate::ops::lend::overwrite;
use crate::transformer::{Tokens, Transformer};
use bevy_ecs::component::Component;
use candle_core::{Result, Tensor};

/// What a cohort's steps leave: its gradients.
#[derive(Component)]
pub struct Fused<T: Real = f32> {
    plan: Plan<T>,
    gradients: Vec<Tensor>,
    /// For each member, the labels whose columns of the label table's gradient are not zero.
    touched: Vec<Vec<u32>>,
}

impl<T: Real> Fused<T> {
    /// Steps of a cohort.
    ///
    /// # Errors
    /// The parameters are of another type, or not on the CPU.
    pub fn new(transformer: &Transformer) -> Result<Self> {
        let parameters = transformer.parameters();
        let plan = Plan::new(transformer)?;
        let gradients = parameters.iter().map(|(_, var)| Tensor::zeros(var.shape(), var.dtype(), var.device()));
        Ok(Self { plan, gradients: gradients.collect::<Result<_>>()?, touched: vec![Vec::new(); parameters.members()] })
    }

    /// The gradients of the last step's mean losses, one a parameter, in their order, each `[K, …]`; the next step overwrites them.
    pub fn gradients(&self) -> &[Tensor] {
        &self.gradients
    }

    /// The mean loss of each member `[K]`, in nats; then `gradients` are theirs.
    pub fn step(&mut self, workspace: &mut Workspace<T>, transformer: &Transformer, input: &Tokens, clamps: &Clamps) -> Result<Vec<T>> {
        let sizes = self.plan.sizes(input)?;
        let scene = Scene::new(transformer, input)?;
        let Self { plan, gradients, touched } = self;
        let (count, mut losses) = (touched.len(), Vec::with_capacity(touched.len()));
        overwrite(&gradients.iter().collect::<Vec<_>>(), &mut |lent: &mut [&mut [T]]| {
            for (index, touched) in touched.iter_mut().enumerate() {
                let view = scene.of_member(plan, sizes, index)?;
                view.clamp(clamps, &mut workspace.clamped)?;
                losses.push(workspace.forward(&view));
                let mut of: Vec<&mut [T]> = Vec::with_capacity(lent.len());
                for whole in lent.iter_mut() {
                    let own = part(whole.len(), index, count);
                    of.push(&mut whole[own]);
                }
                workspace.backward(&view, &mut of, touched)?;
            }
            Ok(())
        })?;
        Ok(losses)
    }
}

impl<T: Real> Workspace<T> {
    fn forward(&mut self, view: &View<T>) -> T {
        let layers = view.places.blocks.len();
        self.reserve(layers);
        self.input.forward(view, &mut self.streams[0]);
        for (layer, block) in self.blocks[..layers].iter_mut().enumerate() {
            let at = view.block(layer, &self.input, layer + 1 == layers, &self.clamped[layer]);
            let (below, above) = self.streams.split_at_mut(layer + 1);
            block.forward(at, &below[layer], &mut above[0], &mut self.grads.scratch);
        }
        self.output.forward(view, &self.streams[layers])
    }

    fn backward(&mut self, view: &View<T>, of: &mut [&mut [T]], touched: &mut Vec<u32>) -> Result<()> {
        let layers = view.places.blocks.len();
        let Self { grads, streams, .. } = self;
        self.output.backward(view, &streams[layers], (&mut grads.stream, &mut grads.rows), of)?;
        for (layer, block) in self.blocks[..layers].iter_mut().enumerate().rev() {
            let at = view.block(layer, &self.input, layer + 1 == layers, &self.clamped[layer]);
            block.backward(at, &streams[layer], grads, of)?;
        }
        self.input.backward(view, &grads.stream, of, touched);
        Ok(())
    }
}
