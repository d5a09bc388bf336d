//! From exemplars and labels to the residual stream's first value, and back.
//!
//! Where no position tells tokens apart, tokens of one exemplar or label are one row: the first block normalises and projects each once.

use super::scene::View;
use super::sizes::{Rows, Sizes};
use crate::ops::Real;
use crate::ops::matrix::{Matrix, product, transpose};

/// One member's part of a batch.
pub(super) struct Drawn<'a, T> {
    /// Features of the distinct exemplars `[U, E]`.
    pub features: &'a [T],
    /// Which of them each pair holds `[B, P]`.
    pub examples: &'a [u32],
    /// The label of each pair `[B, P]`.
    pub labels: &'a [u32],
}

impl<T> Drawn<'_, T> {
    /// The label of each sequence's query.
    pub fn targets(&self, pairs: usize) -> impl Iterator<Item = usize> {
        self.labels.iter().skip(pairs - 1).step_by(pairs).map(|&label| label as usize)
    }
}

/// What the input leaves for the backward pass.
#[derive(Default)]
pub(super) struct Input<T> {
    /// Distinct exemplars, U.
    distinct: usize,
    /// The row of each token.
    rows: Vec<u32>,
    /// Labels that have a row, those of rows U, U + 1, …
    labels: Vec<u32>,
    /// For each label, its row while the batch is gone through.
    row_of_label: Vec<u32>,
    /// The example embedding's weight by columns `[E, D]`, since products read it in that order.
    by_columns: Vec<T>,
    /// Embedded exemplars `[U, D]`, or their gradient.
    embedded: Vec<T>,
    shared: bool,
}

const NONE: u32 = u32::MAX;

/// Column of a table `[D, columns]`.
fn column<T: Copy>(table: &[T], columns: usize, index: usize) -> impl Iterator<Item = T> {
    table[index..].iter().step_by(columns).copied()
}

impl<T: Real> Input<T> {
    /// Which row holds a token.
    pub fn rows(&self) -> Rows<'_> {
        if self.shared { Rows::Shared(&self.rows) } else { Rows::Each }
    }

    /// The stream `[rows, D]`; `positions` `[D, ≥T]` are added where there are any.
    pub fn forward(&mut self, view: &View<T>, stream: &mut Vec<T>) {
        let View { sizes, places, weights, positions, drawn, .. } = view;
        let width = sizes.width;
        let weight = weights[places.example_weight];
        let features = weight.len() / width;
        self.distinct = drawn.features.len() / features;
        self.shared = positions.is_none();
        self.by_columns.resize(weight.len(), T::zero());
        transpose(weight, features, &mut self.by_columns);
        let table = weights[places.label_table];
        let classes = table.len() / width;
        let rows = if self.shared { self.share(sizes, classes, drawn) } else { sizes.sequences * sizes.tokens };
        stream.resize(rows * width, T::zero());
        self.embedded.resize(self.distinct * width, T::zero());
        let embedded = if self.shared { &mut stream[..self.distinct * width] } else { &mut self.embedded[..] };
        if let Some(bias) = places.example_bias {
            embedded.chunks_exact_mut(width).for_each(|row| row.copy_from_slice(weights[bias]));
        }
        let by_columns = Matrix::rows(&self.by_columns, features, width);
        product(Matrix::rows(drawn.features, self.distinct, features), by_columns, embedded, places.example_bias.is_some());
        match positions {
            None => {
                for (&label, row) in self.labels.iter().zip(stream[self.distinct * width..].chunks_exact_mut(width)) {
                    row.iter_mut().zip(column(table, classes, label as usize)).for_each(|(to, from)| *to = from);
                }
            }
            Some(positions) => {
                let longest = positions.len() / width;
                let embedded = &self.embedded;
                self.each_token(sizes, drawn, |token, content| {
                    let row = &mut stream[token * width..][..width];
                    match content {
                        Content::Example(example) => row.copy_from_slice(&embedded[example * width..][..width]),
                        Content::Label(label) => row.iter_mut().zip(column(table, classes, label)).for_each(|(to, from)| *to = from),
                    }
                    row.iter_mut().zip(column(positions, longest, token % sizes.tokens)).for_each(|(to, from)| *to += from);
                });
            }
        }
    }

    /// Gives every exemplar and every label a row; returns how many there are.
    fn share(&mut self, sizes: &Sizes, classes: usize, drawn: &Drawn<T>) -> usize {
        self.row_of_label.resize(classes, NONE);
        self.labels.clear();
        self.rows.resize(sizes.sequences * sizes.tokens, 0);
        let (mut rows, mut labels, mut row_of_label) =
            (std::mem::take(&mut self.rows), std::mem::take(&mut self.labels), std::mem::take(&mut self.row_of_label));
        self.each_token(sizes, drawn, |token, content| {
            rows[token] = match content {
                Content::Example(example) => example as u32,
                Content::Label(label) => {
                    if row_of_label[label] == NONE {
                        row_of_label[label] = (self.distinct + labels.len()) as u32;
                        labels.push(label as u32);
                    }
                    row_of_label[label]
                }
            };
        });
        labels.iter().for_each(|&label| row_of_label[label as usize] = NONE);
        (self.rows, self.labels, self.row_of_label) = (rows, labels, row_of_label);
        self.distinct + self.labels.len()
    }

    /// Calls `visit` with each token and what it holds; the query's label is left out.
    fn each_token(&self, sizes: &Sizes, drawn: &Drawn<T>, mut visit: impl FnMut(usize, Content)) {
        let (pairs, tokens) = (sizes.pairs, sizes.tokens);
        for (item, (&example, &label)) in drawn.examples.iter().zip(drawn.labels).enumerate() {
            let token = item / pairs * tokens + 2 * (item % pairs);
            visit(token, Content::Example(example as usize));
            if item % pairs < pairs - 1 {
                visit(token + 1, Content::Label(label as usize));
            }
        }
    }

    /// From the stream's gradient to those of the embeddings and of learned positions. The label table's gradient is zero but for the labels
    /// `touched` by the batch before, which are cleared first.
    pub fn backward(&mut self, view: &View<T>, grad_stream: &[T], grads: &mut [&mut [T]], touched: &mut Vec<u32>) {
        let View { sizes, places, drawn, .. } = view;
        let width = sizes.width;
        let features = drawn.features.len() / self.distinct;
        let grad_table = &mut *grads[places.label_table];
        let classes = grad_table.len() / width;
        for &label in &*touched {
            grad_table[label as usize..].iter_mut().step_by(classes).for_each(|number| *number = T::zero());
        }
        touched.clear();
        if self.shared {
            for (&label, row) in self.labels.iter().zip(grad_stream[self.distinct * width..].chunks_exact(width)) {
                grad_table[label as usize..].iter_mut().step_by(classes).zip(row).for_each(|(to, &from)| *to = from);
            }
            touched.extend_from_slice(&self.labels);
        } else {
            let mut embedded = std::mem::take(&mut self.embedded);
            embedded.fill(T::zero());
            self.each_token(sizes, drawn, |token, content| {
                let row = grad_stream[token * width..][..width].iter();
                match content {
                    Content::Example(example) => {
                        embedded[example * width..][..width].iter_mut().zip(row).for_each(|(to, &from)| *to += from)
                    }
                    Content::Label(label) => {
                        touched.push(label as u32);
                        grad_table[label..].iter_mut().step_by(classes).zip(row).for_each(|(to, &from)| *to += from);
                    }
                }
            });
            self.embedded = embedded;
            if let Some(positions) = places.positions {
                let grad = &mut *grads[positions];
                grad.fill(T::zero());
                let longest = grad.len() / width;
                for (token, row) in grad_stream.chunks_exact(width).enumerate() {
                    grad[token % sizes.tokens..].iter_mut().step_by(longest).zip(row).for_each(|(to, &from)| *to += from);
                }
            }
        }
        let grad_embedded = if self.shared { &grad_stream[..self.distinct * width] } else { &self.embedded[..] };
        if let Some(bias) = places.example_bias {
            super::block::add_up_rows(grad_embedded, grads[bias]);
        }
        let by_rows = Matrix::rows(grad_embedded, self.distinct, width);
        product(by_rows.transposed(), Matrix::rows(drawn.features, self.distinct, features), grads[places.example_weight], false);
    }
}

enum Content {
    Example(usize),
    Label(usize),
}
