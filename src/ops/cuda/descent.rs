//! Norms of gradients and the steps that descend, without leaving the device.

use super::Argument::{self, Number, Size, Tensor as Given};
use super::{launch, tensor};
use candle_core::{Result, Tensor, Var, bail};

/// Partial sums of a member's squares.
const LANES: usize = 256;

/// For each member the root of the sum of squares over all of its numbers, `[K]`.
pub(crate) fn norms<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<Tensor> {
    let mut sums: Option<(Tensor, usize)> = None;
    for numbers in tensors {
        let members = numbers.dim(0)?;
        let before = Argument::maybe(sums.as_ref().map(|sums| &sums.0));
        let given = [before, Given(numbers), Size(LANES), Size(numbers.elem_count() / members)];
        let [after] = launch("squares", members * LANES, numbers.device(), [members * LANES], &given)?;
        sums = Some((tensor(after, (members, LANES)), members));
    }
    let Some((sums, members)) = sums else { bail!("a norm of nothing") };
    let [norms] = launch("root_of_sum", members, sums.device(), [members], &[Given(&sums), Size(LANES)])?;
    Ok(tensor(norms, members))
}

/// How far each member of a cohort descends.
#[derive(Clone, Copy)]
pub(crate) struct Descent<'a> {
    /// Learning rates `[K]`.
    pub rates: &'a Tensor,
    /// Norms of the gradients `[K]`, and to which they are clipped.
    pub clip: Option<(&'a Tensor, f64)>,
}

impl<'a> Descent<'a> {
    fn arguments(self, each: usize) -> [Argument<'a>; 4] {
        let (norms, clip) = self.clip.map_or((Argument::Nothing, 0.0), |(norms, clip)| (Given(norms), clip));
        [Given(self.rates), norms, Size(each), Number(clip)]
    }
}

/// As [`crate::ops::adam`]; `correction` is 1 − β₁ᵗ and 1 − β₂ᵗ.
pub(crate) fn adam(parameter: &Var, moments: (&Var, &Var), grad: &Tensor, by: Descent, correction: (f64, f64)) -> Result<()> {
    let (count, members) = (grad.elem_count(), grad.dim(0)?);
    let [rates, norms, each, clip] = by.arguments(count / members);
    let corrections = (Number(1.0 / correction.0), Number(1.0 / correction.1.sqrt()));
    let overwritten = [Given(parameter), Given(moments.0), Given(moments.1)];
    let given = [&overwritten[..], &[Given(grad), rates, norms, each, clip, corrections.0, corrections.1]].concat();
    launch("adam", count, grad.device(), [], &given).map(|[]| ())
}

/// As [`crate::ops::descend`].
pub(crate) fn descend(parameter: &Var, grad: &Tensor, by: Descent) -> Result<()> {
    let (count, members) = (grad.elem_count(), grad.dim(0)?);
    let [rates, norms, each, clip] = by.arguments(count / members);
    launch("descend", count, grad.device(), [], &[Given(parameter), Given(grad), rates, norms, each, clip]).map(|[]| ())
}
