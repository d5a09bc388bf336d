//! What identifies the numbers that an experiment reads: SHA-256 of the numbers themselves, with their shape and type, in whatever file they lie and
//! however they are linked or packed there.

use crate::Result;
use crate::bank::{ClassBank, Features};
use crate::ops::look;
use crate::toy::Vector;
use candle_core::{DType, Device};
use half::f16;
use sha2::{Digest, Sha256};

/// Of the features of a bank; nothing of one-hot vectors, which come from no file.
///
/// # Errors
/// The features cannot be brought to the host.
pub fn of_bank(bank: &ClassBank) -> Result<Option<String>> {
    let Features::Table(table) = &bank.rows else { return Ok(None) };
    let (table, shape) = (table.to_device(&Device::Cpu)?, [bank.classes, bank.exemplars, bank.features]);
    let content = match table.dtype() {
        DType::F16 => look(&table, |numbers: &[f16]| Ok(Content::new("bank f16", &shape).with(numbers, f16::to_le_bytes)))?,
        _ => look(&table, |numbers: &[f32]| Ok(Content::new("bank f32", &shape).with(numbers, f32::to_le_bytes)))?,
    };
    Ok(Some(content.digest()))
}

/// Of an evaluator's sequences: examples `[n, pairs, features]` and labels `[n, pairs]`.
pub fn of_sequences(examples: &[f32], labels: &[u32], shape: [usize; 3]) -> String {
    Content::new("sequences", &shape).with(examples, f32::to_le_bytes).with(labels, u32::to_le_bytes).digest()
}

/// Of the vectors of a toy model, what they should be and what they are at first.
pub fn of_vectors(vectors: &[Vector]) -> String {
    let lengths: Vec<usize> = vectors.iter().map(|vector| vector.now.len()).collect();
    let names: String = vectors.iter().map(|vector| vector.name).collect();
    let begun = Content::new(&format!("vectors {names}"), &lengths);
    let both = |content: Content, vector: &Vector| content.with(&vector.truth, f32::to_le_bytes).with(&vector.now, f32::to_le_bytes);
    vectors.iter().fold(begun, both).digest()
}

/// Of several contents together.
pub fn of_all<'a>(contents: impl IntoIterator<Item = &'a str>) -> String {
    let together: Vec<&str> = contents.into_iter().collect();
    Content::new(&together.join(" "), &[]).digest()
}

/// What has been read so far.
struct Content(Sha256);

impl Content {
    fn new(kind: &str, shape: &[usize]) -> Self {
        Self(Sha256::new_with_prefix(format!("{kind} {shape:?}\n")))
    }

    /// With these numbers behind those before, least significant byte first.
    fn with<T: Copy, const BYTES: usize>(mut self, numbers: &[T], bytes: impl Fn(T) -> [u8; BYTES]) -> Self {
        let mut piece = Vec::new();
        for numbers in numbers.chunks(1 << 14) {
            piece.clear();
            numbers.iter().for_each(|&number| piece.extend_from_slice(&bytes(number)));
            self.0.update(&piece);
        }
        self
    }

    fn digest(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shape_type_and_every_number_count() {
        let bank = |exemplars: usize, last: f32| {
            let values = vec![1.0, 2.0, 3.0, last];
            of_bank(&ClassBank::new("any name", 4 / exemplars, exemplars, 1, values, &Device::Cpu).unwrap()).unwrap().unwrap()
        };
        // Recorded: whoever changes it gives every run that reads a file a new name.
        assert_eq!(bank(2, 4.0), "7f4ab4ec610678f63fcdf8306bba609984daa2ba7e412f86d4b69d37d95ccdb0");
        assert_ne!(bank(2, 4.0), bank(1, 4.0));
        assert_ne!(bank(2, 4.0), bank(2, 5.0));
        let halves = [1.0, 2.0, 3.0, 4.0].map(f16::from_f32).to_vec();
        assert_ne!(bank(2, 4.0), of_bank(&ClassBank::new("b", 2, 2, 1, halves, &Device::Cpu).unwrap()).unwrap().unwrap());
        assert_eq!(of_bank(&ClassBank::one_hot(3)).unwrap(), None);

        let sequences = of_sequences(&[1.0; 4], &[0, 1], [1, 2, 2]);
        assert_ne!(sequences, of_sequences(&[1.0; 4], &[1, 1], [1, 2, 2]));
        assert_ne!(sequences, of_sequences(&[1.0; 4], &[0, 1], [2, 1, 2]));

        let vector = |name: char, truth: f32, now: f32| Vector { name, truth: vec![truth], now: vec![now] };
        assert_ne!(of_vectors(&[vector('a', 1.0, 2.0)]), of_vectors(&[vector('a', 2.0, 1.0)]));
        assert_ne!(of_vectors(&[vector('a', 1.0, 2.0)]), of_vectors(&[vector('b', 1.0, 2.0)]));
        assert_ne!(of_all(["ab", "cd"]), of_all(["cd", "ab"]));
    }

    /// Longer than a piece.
    #[test]
    fn pieces_make_no_difference() {
        let numbers: Vec<f32> = (0..40_000).map(|number| number as f32).collect();
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let whole = Content::new("sequences", &[1]).with(&bytes, |byte| [byte]).digest();
        assert_eq!(Content::new("sequences", &[1]).with(&numbers, f32::to_le_bytes).digest(), whole);
    }
}
