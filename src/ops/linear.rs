//! The linear layer of each member of a cohort, with what is added to its output.

use super::matrix::{Matrix, product};
use super::{Real, for_real, like, look, slice, zeros};
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use std::marker::PhantomData;

/// What is added to a linear layer's output.
#[derive(Clone, Copy)]
pub enum Plus<'a> {
    /// Nothing.
    Nothing,
    /// A bias `[K, O]`.
    Bias(&'a Tensor),
    /// The residual stream, of the output's shape.
    Residual(&'a Tensor),
}

/// y = x Wᵀ + …, for each member of the cohort.
///
/// # Shapes
/// `x` [K, …, I], `weight` [K, O, I] → [K, …, O].
pub fn linear(x: &Tensor, weight: &Tensor, plus: Plus) -> Result<Tensor> {
    if !x.device().is_cpu() {
        #[cfg(feature = "cuda")]
        if super::cuda::takes(x) {
            return super::cuda::linear(x, weight, plus);
        }
        return linear_composed(x, weight, plus);
    }
    for_real!(x, T => match plus {
        Plus::Nothing => x.apply_op2(weight, Linear::<T>::new(Third::Nothing)),
        Plus::Bias(bias) => x.apply_op3(weight, bias, Linear::<T>::new(Third::Bias)),
        Plus::Residual(residual) => x.apply_op3(weight, residual, Linear::<T>::new(Third::Residual)),
    })
}

/// The same of plain operations.
pub fn linear_composed(x: &Tensor, weight: &Tensor, plus: Plus) -> Result<Tensor> {
    let (members, outputs, inputs) = weight.dims3()?;
    let mut shape = x.dims().to_vec();
    let product = x.reshape((members, (), inputs))?.matmul(&weight.transpose(1, 2)?)?;
    if let Some(last) = shape.last_mut() {
        *last = outputs;
    }
    match plus {
        Plus::Nothing => product.reshape(shape),
        Plus::Bias(bias) => product.broadcast_add(&bias.unsqueeze(1)?)?.reshape(shape),
        Plus::Residual(residual) => product.reshape(shape)? + residual,
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Third {
    Nothing,
    Bias,
    Residual,
}

struct Linear<T> {
    third: Third,
    number: PhantomData<T>,
}

/// Sizes of one application: members, rows a member, inputs, outputs.
struct Sizes {
    members: usize,
    rows: usize,
    inputs: usize,
    outputs: usize,
}

impl Sizes {
    fn of(x: &[usize], weight: &[usize]) -> Result<Self> {
        let &[members, outputs, inputs] = weight else {
            candle_core::bail!("a linear weight is [members, outputs, inputs], not {weight:?}")
        };
        if x.first() != Some(&members) || x.last() != Some(&inputs) {
            candle_core::bail!("a linear layer of weight {weight:?} was given {x:?}");
        }
        Ok(Self { members, rows: x[1..x.len() - 1].iter().product(), inputs, outputs })
    }
}

impl<T: Real> Linear<T> {
    fn new(third: Third) -> Self {
        Self { third, number: PhantomData }
    }

    fn forward(&self, x: (&[T], &Shape), weight: (&[T], &Shape), third: &[T]) -> Result<(CpuStorage, Shape)> {
        let s = Sizes::of(x.1.dims(), weight.1.dims())?;
        let mut shape = x.1.dims().to_vec();
        shape[x.1.rank() - 1] = s.outputs;
        let mut y = match self.third {
            Third::Nothing => zeros(s.members * s.rows * s.outputs),
            Third::Residual => third.to_vec(),
            Third::Bias => {
                let mut y = Vec::with_capacity(s.members * s.rows * s.outputs);
                for bias in third.chunks_exact(s.outputs) {
                    (0..s.rows).for_each(|_| y.extend_from_slice(bias));
                }
                y
            }
        };
        for member in 0..s.members {
            product(
                Matrix::rows(&x.0[member * s.rows * s.inputs..], s.rows, s.inputs),
                Matrix::rows(&weight.0[member * s.outputs * s.inputs..], s.outputs, s.inputs).transposed(),
                &mut y[member * s.rows * s.outputs..][..s.rows * s.outputs],
                self.third != Third::Nothing,
            );
        }
        Ok((T::to_cpu_storage_owned(y), shape.into()))
    }

    /// Gradients of the input, where it has one, and of the weight.
    fn backward(&self, x: &Tensor, weight: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Tensor)> {
        let s = Sizes::of(x.dims(), weight.dims())?;
        look(grad, |grad: &[T]| {
            let grad_of = |member: usize| Matrix::rows(&grad[member * s.rows * s.outputs..], s.rows, s.outputs);
            // The features come first and need no gradient; computing one would cost a seventh of a step.
            let grad_x = if x.track_op() {
                let mut grad_x = zeros(x.elem_count());
                look(weight, |weight: &[T]| {
                    for member in 0..s.members {
                        let weight = Matrix::rows(&weight[member * s.outputs * s.inputs..], s.outputs, s.inputs);
                        product(grad_of(member), weight, &mut grad_x[member * s.rows * s.inputs..][..s.rows * s.inputs], false);
                    }
                    Ok(())
                })?;
                Some(like(x, grad_x)?)
            } else {
                None
            };
            let mut grad_weight = zeros(weight.elem_count());
            look(x, |x: &[T]| {
                for member in 0..s.members {
                    let x = Matrix::rows(&x[member * s.rows * s.inputs..], s.rows, s.inputs);
                    let size = s.outputs * s.inputs;
                    product(grad_of(member).transposed(), x, &mut grad_weight[member * size..][..size], false);
                }
                Ok(())
            })?;
            Ok((grad_x, like(weight, grad_weight)?))
        })
    }
}

impl<T: Real> CustomOp2 for Linear<T> {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, x_at: &Layout, w: &CpuStorage, w_at: &Layout) -> Result<(CpuStorage, Shape)> {
        self.forward((slice(x, x_at)?, x_at.shape()), (slice(w, w_at)?, w_at.shape()), &[])
    }

    fn bwd(&self, x: &Tensor, weight: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (grad_x, grad_weight) = self.backward(x, weight, &grad.contiguous()?)?;
        Ok((grad_x, Some(grad_weight)))
    }
}

impl<T: Real> CustomOp3 for Linear<T> {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_at: &Layout,
        w: &CpuStorage,
        w_at: &Layout,
        third: &CpuStorage,
        third_at: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward((slice(x, x_at)?, x_at.shape()), (slice(w, w_at)?, w_at.shape()), slice(third, third_at)?)
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        third: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let (grad_x, grad_weight) = self.backward(x, weight, &grad)?;
        let grad_third = match self.third {
            Third::Residual => grad,
            _ => look(&grad, |grad: &[T]| {
                let (members, outputs) = third.dims2()?;
                let mut grad_bias = zeros::<T>(members * outputs);
                for (grad, sum) in grad.chunks_exact(grad.len() / members).zip(grad_bias.chunks_exact_mut(outputs)) {
                    for row in grad.chunks_exact(outputs) {
                        sum.iter_mut().zip(row).for_each(|(sum, &g)| *sum += g);
                    }
                }
                like(third, grad_bias)
            })?,
        };
        Ok((grad_x, Some(grad_weight), third.track_op().then_some(grad_third)))
    }
}
