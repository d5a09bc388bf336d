//! A whole step by hand: from sequences to losses and gradients, or to logits and patterns, on the CPU, where nobody changes anything inside but the values
//! and patterns of heads.
//!
//! The transformer's own forward pass ([`crate::transformer`]) goes through the gate and candle's graph, where every value can be clamped and
//! looked at. Most steps need none of that. Here the same formulas run on slices whose memory is used again at every step, and what a step does not
//! need is left out: queries of tokens that nobody reads, and, where no position tells them apart, the first block's work on tokens that
//! are alike. Tests hold both ways to the same losses and gradients.

mod attention;
mod block;
mod borrow;
mod clamps;
mod evaluation;
mod input;
mod lanes;
mod norm;
mod output;
mod pattern;
mod places;
mod scene;
mod sizes;
mod standing;
mod step;
#[cfg(test)]
mod tests;
mod weights;
mod workspace;

pub use clamps::{Clamps, Given, Silenced};
pub use evaluation::FusedEvaluation;
pub use pattern::Pattern;
pub use step::Fused;
pub use workspace::Workspace;
