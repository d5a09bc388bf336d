//! Exemplars and labels interleaved; a thread makes a number.

use super::Argument::{self, Size, Tensor as Given};
use super::{attach, launch, tensor};
use candle_core::{Result, Tensor, bail};

/// As [`crate::ops::tokens`].
pub(crate) fn tokens(
    embedded: &Tensor,
    labels: &Tensor,
    positions: Option<&Tensor>,
    examples: &Tensor,
    targets: &Tensor,
) -> Result<Tensor> {
    let (members, sequences, pairs) = examples.dims3()?;
    let (_, distinct, width) = embedded.dims3()?;
    let (classes, tokens) = (labels.dim(2)?, 2 * pairs - 1);
    let places = positions.map_or(Ok(tokens), |positions| positions.dim(2))?;
    if places < tokens {
        bail!("{tokens} tokens, but a table of {places} positions");
    }
    let device = embedded.device();
    let count = members * sequences * tokens * width;
    let tensors = [Given(embedded), Given(labels), Argument::maybe(positions), Given(examples), Given(targets)];
    let sizes = [Size(sequences), Size(pairs), Size(distinct), Size(width), Size(classes), Size(places)];
    let [stream] = launch("tokens", count, device, [count], &[&tensors[..], &sizes].concat())?;

    let (examples, targets) = (examples.clone(), targets.clone());
    let backward = move |inputs: &[&Tensor], grad: &Tensor| {
        let (embedded, labels, device) = (inputs[0], inputs[1], grad.device());
        let count = embedded.elem_count();
        let given = [Given(grad), Given(&examples), Size(sequences), Size(pairs), Size(distinct), Size(width)];
        let [grad_embedded] = launch("exemplars_backward", count, device, [count], &given)?;
        let count = labels.elem_count();
        let given = [Given(grad), Given(&targets), Size(sequences), Size(pairs), Size(width), Size(classes)];
        let [grad_labels] = launch("labels_backward", count, device, [count], &given)?;
        let mut gradients = vec![Some(tensor(grad_embedded, embedded.shape())), Some(tensor(grad_labels, labels.shape()))];
        if let Some(positions) = inputs.get(2) {
            gradients.push(if positions.track_op() {
                let count = positions.elem_count();
                let given = [Given(grad), Size(sequences), Size(tokens), Size(width), Size(places)];
                let [grad_positions] = launch("positions_backward", count, device, [count], &given)?;
                Some(tensor(grad_positions, positions.shape()))
            } else {
                None
            });
        }
        Ok(gradients)
    };
    let shape = (members, sequences, tokens, width);
    match positions {
        Some(positions) => attach("tokens", &[embedded, labels, positions], stream, shape, backward),
        None => attach("tokens", &[embedded, labels], stream, shape, backward),
    }
}
