//! Weights in the order in which products read them.
//!
//! Parameters change at every step, so this is done anew in each pass.

use super::sizes::Sizes;
use crate::ops::Real;
use crate::ops::matrix::transpose;

/// A block's weights in the order of the lanes, kept from its forward to its backward pass.
#[derive(Default)]
pub(super) struct InLanes<T> {
    /// Queries, keys and values `[3·padded, D]`.
    qkv: Vec<T>,
    /// The projection by columns, `[padded, D]`.
    projection: Vec<T>,
}

/// Room for weights that are used at once.
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

impl<T: Real> InLanes<T> {
    /// Queries, keys and values `[3·D, D]` in the order of the lanes; returned by columns, `[D, 3·padded]`.
    pub fn take_qkv<'r>(&mut self, sizes: Sizes, weight: &[T], room: &'r mut Weights<T>) -> &'r [T] {
        let qkv = some(&mut self.qkv, 3 * sizes.padded() * sizes.width);
        sizes.rows_into_lanes(3, weight, qkv);
        room.by_columns(qkv, sizes.width)
    }

    /// The projection `[D, D]`, its columns in the order of the lanes; returned by columns, `[padded, D]`.
    pub fn take_projection(&mut self, sizes: Sizes, weight: &[T], room: &mut Weights<T>) -> &[T] {
        let projection = some(&mut self.projection, sizes.padded() * sizes.width);
        sizes.rows_into_lanes(1, room.by_columns(weight, sizes.width), projection);
        projection
    }

    /// The weights of queries `[padded, D]`, and of keys and values `[2·padded, D]`.
    pub fn qkv(&self, sizes: Sizes) -> (&[T], &[T]) {
        self.qkv[..3 * sizes.padded() * sizes.width].split_at(sizes.padded() * sizes.width)
    }

    /// The projection by rows, `[D, padded]`.
    pub fn projection<'r>(&self, sizes: Sizes, room: &'r mut Weights<T>) -> &'r [T] {
        room.by_columns(&self.projection[..sizes.padded() * sizes.width], sizes.width)
    }
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

    /// The gradient of the projection `[D, D]`, from that of the weight in the order of the lanes, by columns.
    pub fn projection_from_lanes(&mut self, sizes: Sizes, by_columns: &[T], grad: &mut [T]) {
        let own = some(&mut self.one, grad.len());
        sizes.rows_from_lanes(1, by_columns, own);
        transpose(own, sizes.width, grad);
    }
}
