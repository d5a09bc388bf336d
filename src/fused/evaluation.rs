//! A forward pass for evaluation: logits at the query and, where somebody looks at them, the patterns of all heads.

use super::scene::{Plan, Scene};
use super::{Clamps, Pattern, Workspace};
use crate::ops::Real;
use crate::transformer::{Tokens, Transformer};
use candle_core::{Result, Tensor, bail};

/// What is shown the patterns of a layer.
pub type Look<'l, T> = &'l mut dyn FnMut(usize, Pattern<T>) -> Result<()>;

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

    /// Logits `[1, B, C]`; `look`, if there is one, is shown the patterns of each layer.
    pub fn forward(
        &mut self,
        workspace: &mut Workspace<T>,
        transformer: &Transformer,
        input: &Tokens,
        clamps: &Clamps,
        mut look: Option<Look<T>>,
    ) -> Result<Tensor> {
        let sizes = self.plan.sizes(input)?;
        let scene = Scene::new(transformer, input)?;
        let view = scene.of_member(&self.plan, sizes, 0)?;
        let layers = view.places.blocks.len();
        workspace.reserve(layers);
        view.clamp(clamps, &mut workspace.clamped)?;
        // Nothing is kept for a backward pass, so all blocks use the memory of one.
        let Workspace { input: embedding, streams, blocks, clamped, output, grads } = workspace;
        let [below, above, ..] = &mut streams[..] else { bail!("a transformer without blocks") };
        let block = &mut blocks[0];
        embedding.forward(&view, below);
        for (layer, clamped) in clamped.iter().enumerate() {
            let query_alone = layer + 1 == layers && look.is_none();
            block.forward(view.block(layer, embedding, query_alone, clamped), below, above, &mut grads.scratch);
            if let Some(look) = &mut look {
                look(layer, block.pattern(sizes))?;
            }
            std::mem::swap(below, above);
        }
        let width = sizes.width;
        if look.is_some() {
            above.clear();
            below.chunks_exact(sizes.tokens * width).for_each(|own| above.extend_from_slice(&own[own.len() - width..]));
            std::mem::swap(below, above);
        }
        let logits = output.logits(&view, below);
        let classes = logits.len() / sizes.sequences;
        Tensor::from_vec(logits, (1, sizes.sequences, classes), input.features.device())
    }
}
