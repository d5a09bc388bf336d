//! Cross-entropy at the query; a thread makes a sequence's.

use super::Argument::{Size, Tensor as Given};
use super::{attach, launch, tensor};
use candle_core::{Result, Tensor};

/// Up to so many classes: a thread goes through a row alone, which takes it too long where there are many.
#[cfg(feature = "cuda")]
pub(crate) const FEW_CLASSES: usize = 1024;

/// As [`crate::ops::cross_entropy`].
pub(crate) fn cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let (members, sequences, classes) = logits.dims3()?;
    let (rows, device) = (members * sequences, logits.device());
    let [losses, sums] = launch("cross_entropy", rows, device, [rows, 2 * rows], &[Given(logits), Given(targets), Size(classes)])?;
    let (losses, sums) = (tensor(losses, rows), tensor(sums, (rows, 2)));
    let [means] = launch("mean", members, device, [members], &[Given(&losses), Size(sequences)])?;
    let targets = targets.clone();
    attach("cross_entropy", &[logits], means, members, move |inputs, grad| {
        let count = inputs[0].elem_count();
        let given = [Given(inputs[0]), Given(&sums), Given(&targets), Given(grad), Size(sequences), Size(classes)];
        let [grad_logits] = launch("cross_entropy_backward", count, grad.device(), [count], &given)?;
        Ok(vec![Some(tensor(grad_logits, inputs[0].shape()))])
    })
}
