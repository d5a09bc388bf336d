//! From embedded exemplars and labels to the residual stream's first value: x₁ l₁ x₂ l₂ … x_query, with added positions.

use super::kept::{Constant, kept};
use super::{Real, for_real, like, look, slice, zeros};
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use std::marker::PhantomData;

/// Exemplars and labels interleaved, the query's label left out; positions added.
///
/// # Shapes
/// `embedded` [K, U, D], the distinct exemplars of a batch; `labels` [K, D, C], the label embedding; `examples` u32 [K, B, P], which exemplar;
/// `targets` u32 [K, B, P], which label; `positions` [K, D, 32] or [K, D, T], added where given → [K, B, 2P−1, D].
pub fn tokens(embedded: &Tensor, labels: &Tensor, positions: Option<&Tensor>, examples: &Tensor, targets: &Tensor) -> Result<Tensor> {
    if !embedded.device().is_cpu() {
        #[cfg(feature = "cuda")]
        if super::cuda::takes(embedded) {
            return super::cuda::tokens(embedded, labels, positions, examples, targets);
        }
        let examples = pick(embedded, examples)?;
        let labels = pick(&labels.transpose(1, 2)?.contiguous()?, targets)?;
        let tokens = interleave(&examples, &labels)?;
        return match positions {
            Some(positions) => tokens.broadcast_add(&at_tokens(positions, tokens.dim(2)?)?),
            None => Ok(tokens),
        };
    }
    let (members, sequences, pairs) = examples.dims3()?;
    let op = Picks { members, sequences, pairs, examples: examples.flatten_all()?.to_vec1()?, labels: targets.flatten_all()?.to_vec1()? };
    for_real!(embedded, T => match positions {
        Some(positions) => embedded.apply_op3(labels, positions, Tokens::<T>(op, PhantomData)),
        None => embedded.apply_op2(labels, Tokens::<T>(op, PhantomData)),
    })
}

/// Rows of a table, for each member: `[K, N, D]` by u32 `[K, B, P]` → `[K, B, P, D]`.
pub fn pick(table: &Tensor, index: &Tensor) -> Result<Tensor> {
    let (members, rows, width) = table.dims3()?;
    let (_, sequences, pairs) = index.dims3()?;
    let first = (kept(Constant::Numbers(members), index.device())? * rows as f64)?.reshape((members, 1, 1))?;
    let index = index.broadcast_add(&first)?.flatten_all()?;
    table.flatten_to(1)?.index_select(&index, 0)?.reshape((members, sequences, pairs, width))
}

/// `[K, B, P, D]` exemplars and labels → `[K, B, 2P−1, D]`, the last label left out.
pub fn interleave(examples: &Tensor, labels: &Tensor) -> Result<Tensor> {
    let (members, sequences, pairs, width) = examples.dims4()?;
    let both = Tensor::stack(&[examples, labels], 3)?.reshape((members, sequences, 2 * pairs, width))?;
    both.narrow(2, 0, 2 * pairs - 1)?.contiguous()
}

/// A table of positions `[K, D, ≥T]` as `[K, 1, T, D]`.
pub fn at_tokens(positions: &Tensor, tokens: usize) -> Result<Tensor> {
    positions.narrow(2, 0, tokens)?.transpose(1, 2)?.contiguous()?.unsqueeze(1)
}

/// Which exemplar and which label stands at each pair.
struct Picks {
    members: usize,
    sequences: usize,
    pairs: usize,
    examples: Vec<u32>,
    labels: Vec<u32>,
}

struct Tokens<T>(Picks, PhantomData<T>);

impl Picks {
    /// Calls `visit` with member, token, and the row of the stream, for each exemplar or label token.
    fn visit(&self, labels: bool, mut visit: impl FnMut(usize, usize, usize)) {
        let (pairs, tokens) = (self.pairs, 2 * self.pairs - 1);
        let (index, last, shift) = if labels { (&self.labels, pairs - 1, 1) } else { (&self.examples, pairs, 0) };
        for sequence in 0..self.members * self.sequences {
            for pair in 0..last {
                let picked = index[sequence * pairs + pair] as usize;
                visit(sequence / self.sequences, picked, sequence * tokens + 2 * pair + shift);
            }
        }
    }
}

impl<T: Real> Tokens<T> {
    fn forward(&self, embedded: (&[T], &Shape), labels: (&[T], &Shape), positions: Option<(&[T], &Shape)>) -> Result<(CpuStorage, Shape)> {
        let picks = &self.0;
        let (_, rows, width) = embedded.1.dims3()?;
        let classes = labels.1.dims3()?.2;
        let tokens = 2 * picks.pairs - 1;
        let mut stream = zeros::<T>(picks.members * picks.sequences * tokens * width);
        picks.visit(false, |member, row, at| {
            stream[at * width..][..width].copy_from_slice(&embedded.0[(member * rows + row) * width..][..width]);
        });
        picks.visit(true, |member, label, at| {
            let column = labels.0[member * width * classes + label..].iter().step_by(classes);
            stream[at * width..][..width].iter_mut().zip(column).for_each(|(to, &from)| *to = from);
        });
        if let Some((positions, shape)) = positions {
            let (_, _, places) = shape.dims3()?;
            if places < tokens {
                candle_core::bail!("{tokens} tokens, but a table of {places} positions");
            }
            for (row, to) in stream.chunks_exact_mut(width).enumerate() {
                let (member, t) = (row / (tokens * picks.sequences), row % tokens);
                let column = positions[member * width * places + t..].iter().step_by(places);
                to.iter_mut().zip(column).for_each(|(to, &from)| *to += from);
            }
        }
        Ok((T::to_cpu_storage_owned(stream), (picks.members, picks.sequences, tokens, width).into()))
    }

    fn backward(&self, embedded: &Tensor, labels: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (_, rows, width) = embedded.dims3()?;
        let classes = labels.dim(2)?;
        let (mut grad_embedded, mut grad_labels) = (zeros::<T>(embedded.elem_count()), zeros::<T>(labels.elem_count()));
        look(grad, |grad: &[T]| {
            self.0.visit(false, |member, row, at| {
                let to = &mut grad_embedded[(member * rows + row) * width..][..width];
                to.iter_mut().zip(&grad[at * width..][..width]).for_each(|(to, &g)| *to += g);
            });
            self.0.visit(true, |member, label, at| {
                let column = grad_labels[member * width * classes + label..].iter_mut().step_by(classes);
                column.zip(&grad[at * width..][..width]).for_each(|(to, &g)| *to += g);
            });
            Ok(())
        })?;
        Ok((Some(like(embedded, grad_embedded)?), Some(like(labels, grad_labels)?)))
    }
}

impl<T: Real> CustomOp2 for Tokens<T> {
    fn name(&self) -> &'static str {
        "tokens"
    }

    fn cpu_fwd(&self, x: &CpuStorage, x_at: &Layout, l: &CpuStorage, l_at: &Layout) -> Result<(CpuStorage, Shape)> {
        self.forward((slice(x, x_at)?, x_at.shape()), (slice(l, l_at)?, l_at.shape()), None)
    }

    fn bwd(&self, embedded: &Tensor, labels: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.backward(embedded, labels, &grad.contiguous()?)
    }
}

impl<T: Real> CustomOp3 for Tokens<T> {
    fn name(&self) -> &'static str {
        "tokens"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_at: &Layout,
        l: &CpuStorage,
        l_at: &Layout,
        p: &CpuStorage,
        p_at: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward((slice(x, x_at)?, x_at.shape()), (slice(l, l_at)?, l_at.shape()), Some((slice(p, p_at)?, p_at.shape())))
    }

    fn bwd(
        &self,
        embedded: &Tensor,
        labels: &Tensor,
        positions: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let (grad_embedded, grad_labels) = self.backward(embedded, labels, &grad)?;
        if !positions.track_op() {
            return Ok((grad_embedded, grad_labels, None));
        }
        let (_, width, places) = positions.dims3()?;
        let (sequences, tokens) = (self.0.sequences, 2 * self.0.pairs - 1);
        let mut grad_positions = zeros::<T>(positions.elem_count());
        look(&grad, |grad: &[T]| {
            for (row, from) in grad.chunks_exact(width).enumerate() {
                let (member, t) = (row / (tokens * sequences), row % tokens);
                let column = grad_positions[member * width * places + t..].iter_mut().step_by(places);
                column.zip(from).for_each(|(to, &g)| *to += g);
            }
            Ok(())
        })?;
        Ok((grad_embedded, grad_labels, Some(like(positions, grad_positions)?)))
    }
}
