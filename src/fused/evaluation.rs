//! A forward pass for evaluation: logits at the query and, where they are asked for, the pattern of every head.

use super::scene::{Plan, Scene};
use super::{Clamps, Workspace};
use crate::ops::Real;
use crate::transformer::{Tokens, Transformer};
use candle_core::{Result, Tensor, bail};

/// Such passes of one model.
pub struct FusedEvaluation<T: Real = f32> {
    plan: Plan<T>,
}

impl<T: Real> FusedEvaluation<T> {
    /// Passes of one model.
    ///
    /// # Errors
    /// The parameters are of another type, not on the CPU, or of several models.
    pub fn new(transformer: &Transformer) -> Result<Self> {
        if transformer.parameters().members() != 1 {
            bail!("models are evaluated one by one")
        }
        Ok(Self { plan: Plan::new(transformer)? })
    }

    /// Logits `[1, B, C]` and, with `patterns`, that of each layer, `[1, B, H, T, T]`.
    pub fn forward(
        &mut self,
        workspace: &mut Workspace<T>,
        transformer: &Transformer,
        input: &Tokens,
        clamps: &Clamps,
        patterns: bool,
    ) -> Result<(Tensor, Vec<Tensor>)> {
        let sizes = self.plan.sizes(input)?;
        let scene = Scene::new(transformer, input)?;
        let view = scene.of_member(&self.plan, sizes, 0)?;
        let (layers, mut seen) = (view.places.blocks.len(), Vec::new());
        workspace.reserve(layers);
        view.clamp(clamps, &mut workspace.clamped)?;
        // Nothing is kept for a backward pass, so all blocks use the memory of one.
        let Workspace { input: embedding, streams, blocks, clamped, output, grads } = workspace;
        let [below, above, ..] = &mut streams[..] else { bail!("a transformer without blocks") };
        let block = &mut blocks[0];
        embedding.forward(&view, below);
        for (layer, clamped) in clamped.iter().enumerate() {
            let query_alone = layer + 1 == layers && !patterns;
            block.forward(view.block(layer, embedding, query_alone, clamped), below, above, &mut grads.scratch);
            if patterns {
                let shape = (1, sizes.sequences, sizes.heads, sizes.tokens, sizes.tokens);
                seen.push(Tensor::from_vec(block.pattern(sizes), shape, input.features.device())?);
            }
            std::mem::swap(below, above);
        }
        let width = sizes.width;
        if patterns {
            above.clear();
            below.chunks_exact(sizes.tokens * width).for_each(|own| above.extend_from_slice(&own[own.len() - width..]));
            std::mem::swap(below, above);
        }
        let logits = output.logits(&view, below);
        let classes = logits.len() / sizes.sequences;
        Ok((Tensor::from_vec(logits, (1, sizes.sequences, classes), input.features.device())?, seen))
    }
}
