//! A batch: the sequences that a cohort's members see in one step, as tensors.

use crate::Result;
use crate::bank::ClassBank;
use crate::sampler::Sequences;
use crate::transformer::Tokens;
use bevy_ecs::component::Component;
use candle_core::{DType, Device, Tensor};
use std::ops::Range;

/// What `sample` leaves for `forward`: the batch in micro-batches, one where it is not split.
#[derive(Component, Default)]
pub struct Batch {
    /// The micro-batches.
    pub parts: Vec<Tokens>,
    /// Each member's sequences, kept so that their memory is used again.
    pub drawn: Vec<Sequences>,
}

/// Some sequences of each member as the transformer reads them.
///
/// An exemplar that occurs several times is embedded once, so that a batch holds each member's distinct exemplars; with noise every item is distinct.
/// `noises` holds the members' noise `[sequence · pair · feature]`, or nothing.
pub fn tokens(bank: &ClassBank, members: &[Sequences], range: Range<usize>, noises: &[Vec<f32>], device: &Device) -> Result<Tokens> {
    let count = members.len();
    let pairs = members.first().map_or(0, |sequences| sequences.pairs);
    let items = range.start * pairs..range.end * pairs;
    let (mut distinct, mut index): (Vec<Vec<u32>>, Vec<u32>) = (Vec::with_capacity(count), Vec::with_capacity(count * items.len()));
    let mut keyed: Vec<(u32, u32)> = Vec::with_capacity(items.len());
    for sequences in members {
        let rows = items.clone().map(|item| bank.row(sequences.classes[item], sequences.exemplars[item]));
        if noises.is_empty() {
            keyed.clear();
            keyed.extend(rows.zip(0..));
            keyed.sort_unstable();
            let (first, mut own) = (index.len(), Vec::with_capacity(items.len()));
            index.resize(first + items.len(), 0);
            for &(row, item) in &keyed {
                if own.last() != Some(&row) {
                    own.push(row);
                }
                index[first + item as usize] = own.len() as u32 - 1;
            }
            distinct.push(own);
        } else {
            index.extend(0..items.len() as u32);
            distinct.push(rows.collect());
        }
    }
    // Members are as long as the longest: row 0 fills up, and nobody points there.
    let longest = distinct.iter().map(Vec::len).max().unwrap_or(0);
    let rows: Vec<u32> = distinct
        .into_iter()
        .flat_map(|mut rows| {
            rows.resize(longest, 0);
            rows
        })
        .collect();
    let mut features = bank.gather(&Tensor::from_vec(rows, count * longest, device)?)?.reshape((count, longest, bank.features))?;
    if !noises.is_empty() {
        let noise: Vec<f32> =
            noises.iter().flat_map(|noise| noise[items.start * bank.features..items.end * bank.features].iter().copied()).collect();
        features = (features + Tensor::from_vec(noise, (count, longest, bank.features), device)?)?;
    }
    let labels: Vec<u32> = members.iter().flat_map(|sequences| sequences.labels[items.clone()].iter().copied()).collect();
    let shape = (count, range.len(), pairs);
    Ok(Tokens { features, examples: Tensor::from_vec(index, shape, device)?, labels: Tensor::from_vec(labels, shape, device)? })
}

/// Sequences whose features are given, as one member's tokens.
///
/// # Shapes
/// `examples` [B, P, E], `labels` [B, P].
pub fn given_tokens(examples: &Tensor, labels: &Tensor, device: &Device) -> Result<Tokens> {
    let (sequences, pairs, features) = examples.dims3()?;
    let index: Vec<u32> = (0..(sequences * pairs) as u32).collect();
    Ok(Tokens {
        features: examples.to_dtype(DType::F32)?.reshape((1, sequences * pairs, features))?.to_device(device)?,
        examples: Tensor::from_vec(index, (1, sequences, pairs), device)?,
        labels: labels.to_dtype(DType::U32)?.unsqueeze(0)?.contiguous()?.to_device(device)?,
    })
}

/// Parts of a batch, or of an evaluator, as one, in their order.
pub fn joined(parts: &[Tokens]) -> Result<Tokens> {
    let mut features_before = 0u32;
    let mut examples = Vec::with_capacity(parts.len());
    for part in parts {
        // Each part counts its own distinct exemplars from 0.
        examples.push(part.examples.broadcast_add(&Tensor::new(features_before, part.examples.device())?)?);
        features_before += part.features.dim(1)? as u32;
    }
    let all = |of: fn(&Tokens) -> &Tensor| Tensor::cat(&parts.iter().map(of).collect::<Vec<_>>(), 1);
    Ok(Tokens { features: all(|part| &part.features)?, examples: Tensor::cat(&examples, 1)?, labels: all(|part| &part.labels)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequences(classes: &[u32], labels: &[u32]) -> Sequences {
        let count = classes.len();
        Sequences { pairs: 2, classes: classes.to_vec(), exemplars: vec![0; count], labels: labels.to_vec(), types: vec![0; count] }
    }

    fn bank() -> ClassBank {
        ClassBank::new("test", 4, 1, 2, vec![0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5], &Device::Cpu).unwrap()
    }

    #[test]
    fn exemplars_are_kept_once_and_found_again() {
        let members = [sequences(&[3, 1, 1, 3], &[0, 1, 1, 0]), sequences(&[2, 0, 1, 2], &[1, 0, 0, 1])];
        let tokens = tokens(&bank(), &members, 0..2, &[], &Device::Cpu).unwrap();
        assert_eq!(tokens.features.dims(), [2, 3, 2]);
        let picked = crate::ops::pick(&tokens.features, &tokens.examples).unwrap();
        let classes: Vec<f32> = picked.narrow(3, 0, 1).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(classes, [3.0, 1.0, 1.0, 3.0, 2.0, 0.0, 1.0, 2.0]);
        assert_eq!(tokens.targets().unwrap().to_vec2::<u32>().unwrap(), [[1, 0], [0, 1]]);
    }

    #[test]
    fn parts_of_a_batch_are_joined_again() {
        let members = [sequences(&[3, 1, 1, 3, 0, 0], &[0, 1, 1, 0, 2, 3]), sequences(&[2, 0, 1, 2, 3, 1], &[1, 0, 0, 1, 3, 2])];
        let of = |range| tokens(&bank(), &members, range, &[], &Device::Cpu).unwrap();
        let (whole, parts) = (of(0..3), joined(&[of(0..1), of(1..3)]).unwrap());
        let exemplars =
            |input: &Tokens| crate::ops::pick(&input.features, &input.examples).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(exemplars(&parts), exemplars(&whole));
        assert_eq!(parts.labels.to_vec3::<u32>().unwrap(), whole.labels.to_vec3::<u32>().unwrap());
    }

    #[test]
    fn a_part_of_a_batch_with_noise_has_its_own_noise() {
        let members = [sequences(&[3, 1, 1, 3], &[0, 1, 1, 0])];
        let noise = vec![(0..8).map(|x| x as f32 * 10.0).collect()];
        let tokens = tokens(&bank(), &members, 1..2, &noise, &Device::Cpu).unwrap();
        assert_eq!(tokens.features.to_vec3::<f32>().unwrap(), [[[41.0, 51.5], [63.0, 73.5]]]);
    }
}
