//! The memory of a pass.

use super::block::{Block, Grads};
use super::clamps::Clamped;
use super::input::Input;
use super::output::Output;
use crate::ops::Real;

/// The memory of a pass. One does for all models that a thread works on, one after another, whatever their sizes: so it stays in the thread's cache.
#[derive(Default)]
pub struct Workspace<T: Real = f32> {
    pub(super) input: Input<T>,
    /// The residual stream before each block, and after the last.
    pub(super) streams: Vec<Vec<T>>,
    pub(super) blocks: Vec<Block<T>>,
    pub(super) clamped: Vec<Clamped<T>>,
    pub(super) output: Output<T>,
    pub(super) grads: Grads<T>,
}

impl<T: Real> Workspace<T> {
    /// Has room for so many blocks.
    pub(super) fn reserve(&mut self, blocks: usize) {
        if self.blocks.len() < blocks {
            self.blocks.resize_with(blocks, Block::default);
            self.streams.resize_with(blocks + 1, Vec::new);
        }
    }
}
