//! Weights in the order in which products read them.
//!
//! Parameters change at every step, so this is done anew in each pass; one room does for all blocks, and stays in the cache.

use super::sizes::Sizes;
use crate::ops::Real;
use crate::ops::matrix::transpose;

/// Room for the weights of one block.
#[derive(Default)]
pub(super) struct Weights<T> {
    one: Vec<T>,
    other: Vec<T>,
}

/// Room for so many numbers, to be overwritten.
fn some<T: Real>(room: &mut Vec<T>, count: usize) -> &mut [T] {
    if room.len() < count {
        room.resize(count, T::zero());
    }
    &mut room[..count]
}

impl<T: Real> Weights<T> {
    /// A weight `[out, in]` of so many columns by columns, `[in, out]`.
    fn by_columns(&mut self, weight: &[T], columns: usize) -> &[T] {
        let to = some(&mut self.one, weight.len());
        transpose(weight, columns, to);
        to
    }

    /// Two weights by columns, each given with how many it has.
    pub fn both_by_columns(&mut self, (first, columns): (&[T], usize), (second, others): (&[T], usize)) -> (&[T], &[T]) {
        let (one, other) = (some(&mut self.one, first.len()), some(&mut self.other, second.len()));
        transpose(first, columns, one);
        transpose(second, others, other);
        (one, other)
    }

    /// Queries, keys and values `[3·D, D]` in the order of the lanes, `[3·padded, D]`.
    pub fn qkv(&mut self, sizes: Sizes, weight: &[T]) -> &[T] {
        let to = some(&mut self.one, 3 * sizes.padded() * sizes.width);
        sizes.rows_into_lanes(3, weight, to);
        to
    }

    /// The same by columns, `[D, 3·padded]`.
    pub fn qkv_by_columns(&mut self, sizes: Sizes, weight: &[T]) -> &[T] {
        let count = self.qkv(sizes, weight).len();
        let to = some(&mut self.other, count);
        transpose(&self.one[..count], sizes.width, to);
        to
    }

    /// The projection `[D, D]`, its columns in the order of the lanes, by columns: `[padded, D]`.
    pub fn projection_by_columns(&mut self, sizes: Sizes, weight: &[T]) -> &[T] {
        self.by_columns(weight, sizes.width);
        let to = some(&mut self.other, sizes.padded() * sizes.width);
        sizes.rows_into_lanes(1, &self.one[..weight.len()], to);
        to
    }

    /// The same by rows, `[D, padded]`.
    pub fn projection(&mut self, sizes: Sizes, weight: &[T]) -> &[T] {
        let count = self.projection_by_columns(sizes, weight).len();
        let to = some(&mut self.one, count);
        transpose(&self.other[..count], sizes.width, to);
        to
    }

    /// The gradient of the projection `[D, D]`, from that of the weight in the order of the lanes, by columns.
    pub fn projection_from_lanes(&mut self, sizes: Sizes, by_columns: &[T], grad: &mut [T]) {
        let own = some(&mut self.one, grad.len());
        sizes.rows_from_lanes(1, by_columns, own);
        transpose(own, sizes.width, grad);
    }
}
