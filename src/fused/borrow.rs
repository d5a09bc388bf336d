//! The numbers of a tensor, borrowed.

use candle_core::{Result, Storage, Tensor, WithDType, bail};
use parking_lot::RwLockReadGuard;
use std::ops::Range;

/// The numbers of a contiguous CPU tensor `[K, …]`.
pub(super) struct Borrowed<'a>(RwLockReadGuard<'a, Storage>, Range<usize>);

impl<'a> Borrowed<'a> {
    pub fn new(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        match layout.contiguous_offsets() {
            Some((start, end)) => Ok(Self(storage, start..end)),
            None => bail!("a fused step was given a tensor that is not contiguous"),
        }
    }

    pub fn all(tensors: impl Iterator<Item = &'a Tensor>) -> Result<Vec<Self>> {
        tensors.map(Self::new).collect()
    }

    /// A member's numbers.
    pub fn of_member<N: WithDType>(&self, member: usize, members: usize) -> Result<&[N]> {
        let Storage::Cpu(storage) = &*self.0 else { bail!("a fused step was given a tensor of another device") };
        Ok(&N::cpu_storage_as_slice(storage)?[self.1.clone()][part(self.1.len(), member, members)])
    }
}

/// A member's part of the numbers of all.
pub(super) fn part(count: usize, member: usize, members: usize) -> Range<usize> {
    let each = count / members;
    member * each..(member + 1) * each
}
