//! Tensors whose numbers are overwritten in place, several at once.

use super::Real;
use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor, bail};
use std::any::Any;
use std::cell::RefCell;

/// Lends the numbers of several tensors, contiguous, of one type and on the CPU, to be overwritten; no two may be the same.
///
/// # Errors
/// A tensor is of another type, on another device, or not contiguous; or what the work gives.
pub(crate) fn overwrite<T: Real>(tensors: &[&Tensor], work: &mut dyn FnMut(&mut [&mut [T]]) -> Result<()>) -> Result<()> {
    lend(tensors, Vec::with_capacity(tensors.len()), work)
}

type Work<'w, T> = &'w mut dyn FnMut(&mut [&mut [T]]) -> Result<()>;

/// Candle lends one tensor at a time, so each is lent within the loan of the one before.
fn lend<T: Real>(tensors: &[&Tensor], mut lent: Vec<&mut [T]>, work: Work<T>) -> Result<()> {
    match tensors {
        [] => work(&mut lent),
        [first, rest @ ..] => first.inplace_op1(&Lend { rest, loan: RefCell::new(Some((lent, work))) }),
    }
}

/// What is lent already, and what is to be done with it.
type Loan<'l, 'w, T> = RefCell<Option<(Vec<&'l mut [T]>, Work<'w, T>)>>;

struct Lend<'t, 'l, 'w, T> {
    rest: &'t [&'t Tensor],
    loan: Loan<'l, 'w, T>,
}

impl<T: Real> InplaceOp1 for Lend<'_, '_, '_, T> {
    fn name(&self) -> &'static str {
        "overwrite"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let Some((mut lent, work)) = self.loan.borrow_mut().take() else { bail!("a tensor was lent twice") };
        lent.push(numbers(storage, layout)?);
        lend(self.rest, lent, work)
    }
}

/// The numbers of a whole contiguous tensor.
fn numbers<'a, T: Real>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [T]> {
    let Some((start, end)) = layout.contiguous_offsets() else { bail!("a tensor to be overwritten is not contiguous") };
    let numbers: &mut dyn Any = match storage {
        CpuStorage::F32(numbers) => numbers,
        CpuStorage::F64(numbers) => numbers,
        _ => bail!("a tensor to be overwritten is neither F32 nor F64"),
    };
    match numbers.downcast_mut::<Vec<T>>() {
        Some(numbers) => Ok(&mut numbers[start..end]),
        None => bail!("tensors that are overwritten together differ in type"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn several_tensors_are_overwritten_at_once() {
        let tensors = [1f32, 2.0, 3.0].map(|number| Tensor::full(number, 2, &Device::Cpu).unwrap().copy().unwrap());
        overwrite::<f32>(&tensors.each_ref(), &mut |lent| {
            let sum = lent.iter().map(|numbers| numbers[0]).sum();
            lent[1].fill(sum);
            Ok(())
        })
        .unwrap();
        assert_eq!(tensors.map(|tensor| tensor.to_vec1::<f32>().unwrap()), [[1.0; 2], [6.0; 2], [3.0; 2]]);
        let double = Tensor::zeros(2, candle_core::DType::F64, &Device::Cpu).unwrap();
        let message = overwrite::<f32>(&[&double], &mut |_| Ok(())).unwrap_err().to_string();
        assert!(message.contains("differ in type"), "{message}");
    }
}
