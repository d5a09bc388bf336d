//! LayerNorm; a thread makes a row.

use super::Argument::{Size, Tensor as Given};
use super::{attach, launch, tensor};
use candle_core::{Result, Tensor};

/// As [`crate::ops::layer_norm`].
pub(crate) fn layer_norm(x: &Tensor, gain: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (members, width) = gain.dims2()?;
    let rows = x.elem_count() / width;
    let sizes = [Size(width), Size(rows / members)];
    let [y, moments] =
        launch("layer_norm", rows, x.device(), [x.elem_count(), 2 * rows], &[Given(x), Given(gain), Given(bias), sizes[0], sizes[1]])?;
    let moments = tensor(moments, (rows, 2));
    attach("layer_norm", &[x, gain, bias], y, x.shape(), move |inputs, grad| {
        let (x, gain) = (inputs[0], inputs[1]);
        let (on, sizes) = (x.device(), [Size(width), Size(rows / members)]);
        let grad_x = if x.track_op() {
            let given = [Given(x), Given(&moments), Given(gain), Given(grad), sizes[0], sizes[1]];
            let [grad_x] = launch("layer_norm_backward", rows, on, [x.elem_count()], &given)?;
            Some(tensor(grad_x, x.shape()))
        } else {
            None
        };
        let given = [Given(x), Given(&moments), Given(grad), sizes[0], sizes[1]];
        let [grad_gain, grad_bias] = launch("layer_norm_parameters", members * width, on, [members * width; 2], &given)?;
        Ok(vec![grad_x, Some(tensor(grad_gain, (members, width))), Some(tensor(grad_bias, (members, width)))])
    })
}
