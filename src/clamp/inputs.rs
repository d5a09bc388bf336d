//! Other inputs for other passes, made of a batch's own sequences.

use crate::experiment::InputName;
use crate::transformer::Tokens;
use candle_core::{Device, Result, Tensor};

/// The input of a pass.
pub(super) fn changed(input: &Tokens, how: InputName) -> Result<Tokens> {
    let mut changed = input.clone();
    match how {
        InputName::NextSequence => {
            changed.examples = rolled(&input.examples)?;
            changed.labels = rolled(&input.labels)?;
        }
        InputName::SwappedLabels => {
            changed.labels = each_sequence(&input.labels, &input.labels, |labels, _| {
                let (context, query) = labels.split_at_mut(labels.len() - 1);
                let Some(other) = context.iter().copied().find(|&label| label != query[0]) else { return };
                for label in context {
                    match *label {
                        label_of_query if label_of_query == query[0] => *label = other,
                        label_of_other if label_of_other == other => *label = query[0],
                        _ => {}
                    }
                }
            })?;
        }
        InputName::SwappedQuery => {
            changed.examples = each_sequence(&input.examples, &input.labels, |examples, labels| {
                let last = labels.len() - 1;
                if let Some(other) = labels[..last].iter().position(|&label| label != labels[last]) {
                    examples[last] = examples[other];
                }
            })?;
        }
    }
    Ok(changed)
}

/// `[K, B, …]` in which each sequence is the next one, the last the first.
pub(super) fn rolled(value: &Tensor) -> Result<Tensor> {
    let sequences = value.dim(1)?;
    match sequences {
        0 | 1 => Ok(value.clone()),
        _ => Tensor::cat(&[value.narrow(1, 1, sequences - 1)?, value.narrow(1, 0, 1)?], 1),
    }
}

/// Changes numbers `[K, B, P]` sequence by sequence, with the labels at hand.
fn each_sequence(numbers: &Tensor, labels: &Tensor, change: impl Fn(&mut [u32], &[u32])) -> Result<Tensor> {
    let pairs = labels.dim(2)?;
    let read = |numbers: &Tensor| numbers.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<u32>();
    let (mut changed, labels) = (read(numbers)?, read(labels)?);
    changed.chunks_exact_mut(pairs).zip(labels.chunks_exact(pairs)).for_each(|(own, labels)| change(own, labels));
    Tensor::from_vec(changed, numbers.shape(), numbers.device())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_changed_each_by_itself() {
        let whole = |numbers: Vec<u32>| Tensor::from_vec(numbers, (1, 2, 4), &Device::Cpu).unwrap();
        let input = Tokens {
            features: Tensor::zeros((1, 8, 1), candle_core::DType::F32, &Device::Cpu).unwrap(),
            examples: whole(vec![0, 1, 2, 3, 4, 5, 6, 7]),
            labels: whole(vec![9, 8, 7, 9, 5, 5, 5, 5]),
        };
        let flat = |numbers: &Tensor| numbers.flatten_all().unwrap().to_vec1::<u32>().unwrap();
        let labels = changed(&input, InputName::SwappedLabels).unwrap();
        assert_eq!(flat(&labels.labels), [8, 9, 7, 9, 5, 5, 5, 5]);
        assert_eq!(flat(&labels.examples), flat(&input.examples));
        let query = changed(&input, InputName::SwappedQuery).unwrap();
        assert_eq!(flat(&query.examples), [0, 1, 2, 1, 4, 5, 6, 7]);
        let next = changed(&input, InputName::NextSequence).unwrap();
        assert_eq!(flat(&next.examples), [4, 5, 6, 7, 0, 1, 2, 3]);
        assert_eq!(flat(&next.labels), [5, 5, 5, 5, 9, 8, 7, 9]);
    }
}
