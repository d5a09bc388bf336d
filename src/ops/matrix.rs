//! Matrices in memory and their products, on one thread.

use super::Real;
use gemm::{Parallelism, gemm};

/// Keeps products from copying their left sides to where a large matrix would be read faster: ours are small, and lie in the cache as they are.
pub fn keep_products_plain() {
    gemm::set_lhs_packing_threshold_single_thread(usize::MAX);
}

/// A matrix in memory, by rows or by columns.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T> {
    numbers: &'a [T],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// Row after row.
    pub(crate) fn rows(numbers: &'a [T], rows: usize, columns: usize) -> Self {
        Self::spaced(numbers, rows, columns, columns)
    }

    /// Row after row, each beginning `row_stride` numbers after the one before.
    pub(crate) fn spaced(numbers: &'a [T], rows: usize, columns: usize, row_stride: usize) -> Self {
        assert!(columns <= row_stride || rows < 2, "rows lie on each other");
        let end = if rows == 0 { 0 } else { (rows - 1) * row_stride + columns };
        Self { numbers: &numbers[..end], rows, columns, row_stride, column_stride: 1 }
    }

    /// The same numbers, columns taken for rows.
    pub(crate) fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, row_stride: self.column_stride, column_stride: self.row_stride, ..self }
    }
}

/// c = a b, or c += a b; c by rows.
pub(crate) fn product<T: Real>(a: Matrix<T>, b: Matrix<T>, c: &mut [T], add: bool) {
    assert!(c.len() == a.rows * b.columns);
    let row_stride = b.columns;
    spaced_product(a, b, c, row_stride, add);
}

/// The same, each row of c beginning `row_stride` numbers after the one before.
pub(crate) fn spaced_product<T: Real>(a: Matrix<T>, b: Matrix<T>, c: &mut [T], row_stride: usize, add: bool) {
    assert!(a.columns == b.rows && (b.columns <= row_stride || a.rows < 2));
    assert!(a.rows == 0 || c.len() >= (a.rows - 1) * row_stride + b.columns);
    // SAFETY: the slices hold all that the strides reach (`Matrix::spaced`, the assertions); c is borrowed alone, and its rows do not overlap.
    unsafe {
        gemm(
            a.rows,
            b.columns,
            a.columns,
            c.as_mut_ptr(),
            1,
            row_stride as isize,
            add,
            a.numbers.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.numbers.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            T::one(),
            T::one(),
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// `from`, of `columns` columns, by columns: in squares, which fit into vector registers, and what is left over one by one.
pub(crate) fn transpose<T: Real>(from: &[T], columns: usize, to: &mut [T]) {
    const SIDE: usize = 8;
    assert!(columns > 0 && from.len() == to.len() && from.len().is_multiple_of(columns));
    let rows = from.len() / columns;
    let (even_rows, even_columns) = (rows - rows % SIDE, columns - columns % SIDE);
    // Two squares below each other fill a cache line.
    for band in (0..even_rows).step_by(2 * SIDE) {
        for left in (0..even_columns).step_by(SIDE) {
            for top in (band..even_rows.min(band + 2 * SIDE)).step_by(SIDE) {
                let square = std::array::from_fn(|row| {
                    let row = from[(top + row) * columns + left..].first_chunk();
                    *row.expect("the square lies inside")
                });
                for (column, turned) in T::turned(square).iter().enumerate() {
                    to[(left + column) * rows + top..][..SIDE].copy_from_slice(turned);
                }
            }
        }
    }
    for row in 0..rows {
        let first = if row < even_rows { even_columns } else { 0 };
        for column in first..columns {
            to[column * rows + row] = from[row * columns + column];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_of_rows_that_lie_apart() {
        let a = [1.0, 2.0, 9.0, 3.0, 4.0, 9.0];
        let b = [1.0, 0.0, 1.0, 1.0];
        let mut c = [1.0, 1.0, 7.0, 1.0, 1.0];
        spaced_product(Matrix::spaced(&a, 2, 2, 3), Matrix::rows(&b, 2, 2), &mut c, 3, true);
        assert_eq!(c, [4.0, 3.0, 7.0, 8.0, 5.0]);
        let mut c = [0.0; 4];
        product(Matrix::spaced(&a, 2, 2, 3).transposed(), Matrix::rows(&b, 2, 2), &mut c, false);
        assert_eq!(c, [4.0, 3.0, 6.0, 4.0]);
    }

    #[test]
    fn a_transpose_of_any_size() {
        for (rows, columns) in [(1, 5), (16, 16), (37, 18), (64, 512)] {
            let from: Vec<f32> = (0..rows * columns).map(|number| number as f32).collect();
            let mut to = vec![0.0; from.len()];
            transpose(&from, columns, &mut to);
            assert!((0..rows).all(|row| (0..columns).all(|column| to[column * rows + row] == from[row * columns + column])));
        }
    }
}
