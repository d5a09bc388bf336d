//! A forward pass for evaluation: logits at the query and, where they are asked for, the pattern of every head.

use super::Silenced;
use super::block::{Block, Scratch};
use super::input::Input;
use super::lanes::Lanes;
use super::output::Output;
use super::scene::{Plan, Scene};
use crate::ops::Real;
use crate::transformer::{Tokens, Transformer};
use candle_core::{Result, Tensor, bail};

/// The memory of such passes. All blocks use that of one, since nothing is kept for a backward pass.
pub struct FusedEvaluation<T: Real = f32> {
    plan: Plan<T>,
    input: Input<T>,
    below: Vec<T>,
    above: Vec<T>,
    block: Block<T>,
    heard: Vec<Vec<Lanes<T>>>,
    output: Output<T>,
    scratch: Scratch<T>,
}

impl<T: Real> FusedEvaluation<T> {
    /// Memory for passes of one model.
    ///
    /// # Errors
    /// The parameters are of another type, not on the CPU, or of several models.
    pub fn new(transformer: &Transformer) -> Result<Self> {
        if transformer.parameters().members() != 1 {
            bail!("models are evaluated one by one")
        }
        Ok(Self {
            plan: Plan::new(transformer)?,
            input: Input::default(),
            below: Vec::new(),
            above: Vec::new(),
            block: Block::default(),
            heard: Vec::new(),
            output: Output::default(),
            scratch: Scratch::default(),
        })
    }

    /// Logits `[1, B, C]` and, with `patterns`, that of each layer, `[1, B, H, T, T]`.
    pub fn forward(
        &mut self,
        transformer: &Transformer,
        input: &Tokens,
        silenced: &Silenced,
        patterns: bool,
    ) -> Result<(Tensor, Vec<Tensor>)> {
        let sizes = self.plan.sizes(input)?;
        let scene = Scene::new(transformer, input)?;
        let view = scene.of_member(&self.plan, sizes, 0)?;
        view.hear(silenced, 0, &mut self.heard);
        self.input.forward(&view, &mut self.below);
        let (layers, mut seen) = (self.heard.len(), Vec::new());
        for layer in 0..layers {
            let query_alone = layer + 1 == layers && !patterns;
            let at = view.block(layer, &self.input, query_alone, &self.heard[layer]);
            self.block.forward(at, &self.below, &mut self.above, &mut self.scratch);
            if patterns {
                let shape = (1, sizes.sequences, sizes.heads, sizes.tokens, sizes.tokens);
                seen.push(Tensor::from_vec(self.block.pattern(sizes), shape, input.features.device())?);
            }
            std::mem::swap(&mut self.below, &mut self.above);
        }
        let width = sizes.width;
        if patterns {
            self.above.clear();
            self.below.chunks_exact(sizes.tokens * width).for_each(|own| self.above.extend_from_slice(&own[own.len() - width..]));
            std::mem::swap(&mut self.below, &mut self.above);
        }
        let logits = self.output.logits(&view, &self.below);
        let classes = logits.len() / sizes.sequences;
        Ok((Tensor::from_vec(logits, (1, sizes.sequences, classes), input.features.device())?, seen))
    }
}
