//! Where the vectors of a toy model come from.

use super::{ToyExperiment, ToyKind, ToyModel, ToyStart, Vector};
use crate::checkpoint::Checkpoint;
use crate::seeds::stream;
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use rand_distr::{Distribution, StandardNormal};
use std::path::Path;

/// Vectors of these letters and dimensions, what they should be and what they are at first drawn from standard normals; a stream each, so that
/// none depends on another.
pub fn drawn_vectors(dimensions: &[(char, usize)], truth: u64, init: u64) -> Vec<Vector> {
    let draw = |seed: u64, purpose: &str, name: char, count: usize| -> Vec<f32> {
        let mut random = stream(seed, &format!("toy {purpose} {name}"), 0);
        (0..count).map(|_| <StandardNormal as Distribution<f64>>::sample(&StandardNormal, &mut random) as f32).collect()
    };
    let one =
        |&(name, count): &(char, usize)| Vector { name, truth: draw(truth, "true", name, count), now: draw(init, "init", name, count) };
    dimensions.iter().map(one).collect()
}

/// An experiment's vectors from `read`, which gives one by its name: `true/a`, `init/a`, …
///
/// # Errors
/// Those of `read`; the two vectors of a letter are of different lengths, or one is empty. `file` is how messages call where they are from.
pub fn given_vectors(experiment: &ToyExperiment, file: &str, read: impl Fn(&str) -> Result<Vec<f32>>) -> Result<Vec<Vector>> {
    let one = |&name: &char| {
        let (truth, now) = (read(&format!("true/{name}"))?, read(&format!("init/{name}"))?);
        if truth.len() != now.len() || truth.is_empty() {
            let (should, is) = (truth.len(), now.len());
            return Err(Error::Invalid(format!("{file}: true/{name} and init/{name} are of {should} and {is} dimensions")));
        }
        Ok(Vector { name, truth, now })
    };
    experiment.toy.kind.letters().iter().map(one).collect()
}

impl ToyModel {
    /// The model of an experiment, of these vectors.
    ///
    /// # Errors
    /// They are not as many as its kind has.
    pub fn new(experiment: &ToyExperiment, vectors: Vec<Vector>) -> Result<Self> {
        let toy = &experiment.toy;
        let wrong = |vectors: Vec<Vector>| Error::Internal(format!("toy.kind: {} vectors do not make this kind", vectors.len()));
        Ok(match toy.kind {
            ToyKind::TensorProduct => Self::TensorProduct(vectors.try_into().map_err(wrong)?),
            ToyKind::Coopetition => {
                Self::Coopetition { vectors: vectors.try_into().map_err(wrong)?, alpha: toy.alpha(), mu1: toy.mu1(), mu2: toy.mu2() }
            }
        })
    }
}

impl ToyModel {
    /// Its vectors as they are kept in a checkpoint: each by its letter, and what it should be as `true/` and its letter.
    pub fn parameters(&self) -> Result<Vec<(String, Tensor)>> {
        let tensor = |numbers: &Vec<f32>| Tensor::from_slice(numbers, numbers.len(), &Device::Cpu);
        let now = self.vectors().iter().map(|vector| Ok((vector.name.to_string(), tensor(&vector.now)?)));
        let truth = self.vectors().iter().map(|vector| Ok((format!("true/{}", vector.name), tensor(&vector.truth)?)));
        now.chain(truth).collect()
    }
}

impl ToyStart {
    /// Where a checkpoint of the experiment's run stands.
    ///
    /// # Errors
    /// A vector is missing in it; `path` is how the message calls it.
    pub fn from_checkpoint(experiment: &ToyExperiment, checkpoint: &Checkpoint, path: &Path) -> Result<Self> {
        let read = |name: String| -> Result<Vec<f32>> {
            let found = checkpoint.parameters.iter().find(|(own, _)| *own == name);
            let (_, tensor) = found.ok_or_else(|| Error::damaged(path, format!("its checkpoint has no vector {name}")))?;
            Ok(tensor.to_vec1()?)
        };
        let one = |&name: &char| Ok(Vector { name, truth: read(format!("true/{name}"))?, now: read(name.to_string())? });
        let vectors = experiment.toy.kind.letters().iter().map(one).collect::<Result<Vec<_>>>()?;
        Ok(Self { steps: checkpoint.sequences, model: ToyModel::new(experiment, vectors)? })
    }

    /// The beginning, with these vectors.
    pub fn initial(experiment: &ToyExperiment, vectors: Vec<Vector>) -> Result<Self> {
        Ok(Self { steps: 0, model: ToyModel::new(experiment, vectors)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_does_not_depend_on_the_others() {
        let few = drawn_vectors(&[('a', 3), ('b', 2)], 7, 8);
        let many = drawn_vectors(&[('a', 5), ('c', 4), ('b', 2)], 7, 9);
        assert_eq!(few[0].truth, many[0].truth[..3]);
        assert_eq!(few[1].truth, many[2].truth);
        assert_ne!(few[1].now, many[2].now);
        let flat: Vec<f32> = drawn_vectors(&[('a', 10_000)], 0, 0).remove(0).now;
        let (mean, square) = (flat.iter().sum::<f32>() / 1e4, flat.iter().map(|x| x * x).sum::<f32>() / 1e4);
        assert!(mean.abs() < 0.03 && (square - 1.0).abs() < 0.05, "{mean} {square}");
    }
}
