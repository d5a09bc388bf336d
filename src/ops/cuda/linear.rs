//! Linear layers and GELU. The products are cuBLAS's; candle's own backward would also compute the gradient of the features, which nobody needs.

use super::Argument::{Size, Tensor as Given};
use super::{attach, launch, tensor};
use crate::ops::Plus;
use candle_core::backend::BackendStorage;
use candle_core::{Result, Storage, Tensor, bail};

/// As [`crate::ops::linear`].
pub(crate) fn linear(x: &Tensor, weight: &Tensor, plus: Plus) -> Result<Tensor> {
    let (members, outputs, inputs) = weight.dims3()?;
    let rows = x.elem_count() / members / inputs;
    let mut shape = x.dims().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = outputs;
    }
    let count = members * rows * outputs;
    let product = product(&x.reshape((members, rows, inputs))?, &weight.transpose(1, 2)?)?;
    let backward = move |given: &[&Tensor], grad: &Tensor| {
        // Detached: what the gradients were made of is not to be kept for them.
        let (x, weight) = (given[0].detach().reshape((members, rows, inputs))?, given[1].detach());
        let own = grad.detach().reshape((members, rows, outputs))?;
        let grad_x = if given[0].track_op() { Some(own.matmul(&weight)?.reshape(given[0].shape())?) } else { None };
        let mut gradients = vec![grad_x, Some(own.transpose(1, 2)?.matmul(&x)?)];
        if let Some(third) = given.get(2) {
            gradients.push(match (third.track_op(), third.rank()) {
                (false, _) => None,
                (true, 2) => {
                    let given = [Given(grad), Size(rows), Size(outputs)];
                    let [grad_bias] = launch("bias_backward", members * outputs, grad.device(), [members * outputs], &given)?;
                    Some(tensor(grad_bias, third.shape()))
                }
                (true, _) => Some(grad.clone()),
            });
        }
        Ok(gradients)
    };
    match plus {
        Plus::Nothing => attach("linear", &[x, weight], product, shape, backward),
        Plus::Bias(bias) => {
            let product = tensor(product, count);
            let given = [Given(&product), Given(bias), Size(rows), Size(outputs)];
            let [sum] = launch("add_bias", count, x.device(), [count], &given)?;
            attach("linear", &[x, weight, bias], sum, shape, backward)
        }
        Plus::Residual(residual) => {
            let product = tensor(product, count);
            let [sum] = launch("add_residual", count, x.device(), [count], &[Given(&product), Given(residual)])?;
            attach("linear", &[x, weight, residual], sum, shape, backward)
        }
    }
}

/// `[K, M, N]` by `[K, N, O]`.
fn product(a: &Tensor, b: &Tensor) -> Result<Storage> {
    let ((members, m, k), (_, _, n)) = (a.dims3()?, b.dims3()?);
    let ((a, a_at), (b, b_at)) = (a.storage_and_layout(), b.storage_and_layout());
    match (&*a, &*b) {
        (Storage::Cuda(a), Storage::Cuda(b)) => Ok(Storage::Cuda(a.matmul(b, (members, m, n, k), a_at, b_at)?)),
        (Storage::Cpu(a), Storage::Cpu(b)) => Ok(Storage::Cpu(a.matmul(b, (members, m, n, k), a_at, b_at)?)),
        _ => bail!("a product of tensors on different devices"),
    }
}

/// As [`crate::ops::gelu`].
pub(crate) fn gelu(x: &Tensor) -> Result<Tensor> {
    let count = x.elem_count();
    let [y] = launch("gelu", count, x.device(), [count], &[Given(x)])?;
    attach("gelu", &[x], y, x.shape(), move |inputs, grad| {
        let [grad_x] = launch("gelu_backward", count, grad.device(), [count], &[Given(inputs[0]), Given(grad)])?;
        Ok(vec![Some(tensor(grad_x, inputs[0].shape()))])
    })
}
