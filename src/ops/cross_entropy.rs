//! Cross-entropy at the query.

use super::{Real, for_real, largest, like, look, slice, sum_of_exponentials, zeros};
use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor};
use std::sync::OnceLock;

/// −log softmax(logits)[target], averaged over each member's sequences.
///
/// # Shapes
/// `logits` [K, B, C], `targets` u32 [K, B] → [K], in nats.
pub fn cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    if !logits.device().is_cpu() {
        #[cfg(feature = "cuda")]
        if super::cuda::takes(logits) && logits.dim(D::Minus1)? <= super::cuda::FEW_CLASSES {
            return super::cuda::cross_entropy(logits, targets);
        }
        return cross_entropy_composed(logits, targets);
    }
    let targets = targets.flatten_all()?.to_vec1::<u32>()?;
    for_real!(logits, T => logits.apply_op1(CrossEntropy::<T> { targets, sums: OnceLock::new() }))
}

/// The same of plain operations.
pub fn cross_entropy_composed(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let log_probabilities = candle_nn::ops::log_softmax(logits, D::Minus1)?;
    log_probabilities.gather(&targets.unsqueeze(2)?, 2)?.squeeze(2)?.mean(1)?.neg()
}

struct CrossEntropy<T> {
    targets: Vec<u32>,
    /// What the forward pass leaves for the backward pass: `log_sum` of each row.
    sums: OnceLock<Vec<(T, T)>>,
}

/// The row's maximum and log Σ exp(x − maximum).
fn log_sum<T: Real>(row: &[T]) -> (T, T) {
    let maximum = largest(row);
    (maximum, sum_of_exponentials(row, maximum).ln())
}

impl<T: Real> CustomOp1 for CrossEntropy<T> {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, at: &Layout) -> Result<(CpuStorage, Shape)> {
        let (members, sequences, classes) = at.shape().dims3()?;
        let logits = slice::<T>(logits, at)?;
        let sums: Vec<(T, T)> = logits.chunks_exact(classes).map(log_sum).collect();
        let each = logits.chunks_exact(classes).zip(&sums).zip(&self.targets);
        let losses: Vec<T> = each.map(|((row, &(maximum, log)), &target)| maximum + log - row[target as usize]).collect();
        // The operation is applied once, so the cell is empty.
        let _ = self.sums.set(sums);
        let count = T::of(sequences as f64);
        let means = losses.chunks_exact(sequences).map(|losses| losses.iter().copied().sum::<T>() / count).collect();
        Ok((T::to_cpu_storage_owned(means), members.into()))
    }

    fn bwd(&self, logits: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (_, sequences, classes) = logits.dims3()?;
        let Some(sums) = self.sums.get() else { candle_core::bail!("backward before forward in cross-entropy") };
        let mut result = zeros::<T>(logits.elem_count());
        look(logits, |logits: &[T]| {
            look(&grad.contiguous()?, |grad: &[T]| {
                for (sequence, (row, out)) in logits.chunks_exact(classes).zip(result.chunks_exact_mut(classes)).enumerate() {
                    let share = grad[sequence / sequences] / T::of(sequences as f64);
                    let (maximum, log) = sums[sequence];
                    out.iter_mut().zip(row).for_each(|(out, &x)| *out = share * (x - maximum - log).exponential());
                    out[self.targets[sequence] as usize] -= share;
                }
                Ok(())
            })
        })?;
        Ok(Some(like(logits, result)?))
    }
}
