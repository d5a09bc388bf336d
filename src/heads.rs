//! How each head attends, measured on sequences: the standing measures of `heads.parquet`.
//!
//! | measure | of the attention pattern, mean over sequences |
//! |---|---|
//! | `induction_strength` | the query's attention to labels equal to its own, less that to the other labels (Singh et al. 2024, §3), of those sequences that have a label equal to the query's in their context; null where none has. A pattern clamped to strength s has 2s − 1 |
//! | `previous_token` | attention of label tokens to the token before, their exemplar (Olsson et al. 2022, §2) |
//! | `itself` | attention of label tokens to themselves |
//! | `entropy` | entropy of the query's attention, in nats |
//! | `to_labels` | the query's attention to all labels |
//! | `to_exemplars` | the query's attention to the exemplars of the context |

use candle_core::{DType, Device, Result, Tensor};

/// The measures' names.
pub const NAMES: [&str; 6] = ["induction_strength", "previous_token", "itself", "entropy", "to_labels", "to_exemplars"];

/// How many sequences were measured, and how many of them have the query's label in their context: of those there is an induction strength.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counts {
    all: usize,
    answerable: usize,
}

/// Sums of the measures over sequences, head by head.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeadMeasures {
    heads: usize,
    sums: Vec<[f64; 6]>,
    /// Of each layer.
    sequences: Vec<Counts>,
    attributions: Vec<f64>,
    attributed: usize,
}

impl HeadMeasures {
    /// Adds the sequences of a layer's patterns.
    ///
    /// # Shapes
    /// `pattern` [B, H, T, T], `labels` u32 [B, P].
    pub fn append(&mut self, layer: usize, pattern: &Tensor, labels: &Tensor) -> Result<()> {
        let (_, heads, tokens, _) = pattern.dims4()?;
        let pattern = pattern.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.contiguous()?;
        crate::ops::look(&pattern, |numbers: &[f32]| {
            let at = |sequence, head, t, s| numbers[((sequence * heads + head) * tokens + t) * tokens + s];
            self.append_each(layer, heads, at, labels)
        })
    }

    /// The same of patterns of which `at` tells, for a sequence and a head, how much a token attends to another.
    pub fn append_each(
        &mut self,
        layer: usize,
        heads: usize,
        at: impl Fn(usize, usize, usize, usize) -> f32,
        labels: &Tensor,
    ) -> Result<()> {
        let (sequences, pairs) = labels.dims2()?;
        self.heads = heads;
        self.sums.resize(self.sums.len().max((layer + 1) * heads), [0.0; 6]);
        self.sequences.resize(self.sequences.len().max(layer + 1), Counts::default());
        let labels: Vec<u32> = labels.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()?;
        let answerable = labels.chunks_exact(pairs).filter(|labels| is_answerable(labels)).count();
        let counts = &mut self.sequences[layer];
        *counts = Counts { all: counts.all + sequences, answerable: counts.answerable + answerable };
        for (sequence, labels) in labels.chunks_exact(pairs).enumerate() {
            for (head, sums) in self.sums[layer * heads..][..heads].iter_mut().enumerate() {
                for (sum, value) in sums.iter_mut().zip(measures(|t, s| at(sequence, head, t, s), labels)) {
                    *sum += value;
                }
            }
        }
        Ok(())
    }

    /// Adds the attributions of all heads, layer by layer, of so many sequences (see [`crate::weights::attribution`]).
    pub fn attribute(&mut self, means: &[f64], sequences: usize) {
        self.attributions.resize(means.len(), 0.0);
        self.attributions.iter_mut().zip(means).for_each(|(sum, mean)| *sum += mean * sequences as f64);
        self.attributed += sequences;
    }

    /// Adds other sequences of the same model.
    pub fn add(&mut self, other: &HeadMeasures) {
        self.heads = other.heads;
        self.sums.resize(other.sums.len(), [0.0; 6]);
        self.sequences.resize(other.sequences.len(), Counts::default());
        self.attributions.resize(other.attributions.len(), 0.0);
        self.sums.iter_mut().flatten().zip(other.sums.iter().flatten()).for_each(|(sum, more)| *sum += more);
        for (counts, more) in self.sequences.iter_mut().zip(&other.sequences) {
            *counts = Counts { all: counts.all + more.all, answerable: counts.answerable + more.answerable };
        }
        self.attributions.iter_mut().zip(&other.attributions).for_each(|(sum, more)| *sum += more);
        self.attributed += other.attributed;
    }

    /// The attribution of each head, in the order of `rows`, where it was measured.
    pub fn attributions(&self) -> impl Iterator<Item = Option<f64>> + '_ {
        (0..self.sums.len()).map(|index| self.attributions.get(index).map(|sum| sum / self.attributed as f64))
    }

    /// Layer, head and the means of the measures; none where no sequence has such a measure.
    pub fn rows(&self) -> impl Iterator<Item = (usize, usize, [Option<f64>; 6])> + '_ {
        self.sums.iter().enumerate().map(|(index, sums)| {
            let layer = index / self.heads;
            let Counts { all, answerable } = self.sequences[layer];
            let counts = [answerable, all, all, all, all, all];
            let mean = |measure: usize| (counts[measure] > 0).then(|| sums[measure] / counts[measure] as f64);
            (layer, index % self.heads, std::array::from_fn(mean))
        })
    }

    /// The largest value of a measure over all heads that have it.
    pub fn largest(&self, measure: &str) -> Option<f64> {
        let index = NAMES.iter().position(|name| *name == measure)?;
        self.rows().filter_map(|(.., values)| values[index]).max_by(f64::total_cmp)
    }
}

/// Whether the query's label, the last, is in the context.
fn is_answerable(labels: &[u32]) -> bool {
    labels.split_last().is_some_and(|(query, context)| context.contains(query))
}

/// The measures of one pattern; the induction strength of one that cannot be answered from the context adds nothing.
#[inline(always)]
fn measures(at: impl Fn(usize, usize) -> f32, labels: &[u32]) -> [f64; 6] {
    let context = labels.len() - 1;
    let tokens = 2 * context + 1;
    let at = |t: usize, s: usize| f64::from(at(t, s));
    let (mut strength, mut previous, mut itself, mut to_labels, mut to_exemplars) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for pair in 0..context {
        let (exemplar, label) = (2 * pair, 2 * pair + 1);
        let attended = at(tokens - 1, label);
        strength += if labels[pair] == labels[context] { attended } else { -attended };
        to_labels += attended;
        to_exemplars += at(tokens - 1, exemplar);
        previous += at(label, exemplar) / context as f64;
        itself += at(label, label) / context as f64;
    }
    let strength = if is_answerable(labels) { strength } else { 0.0 };
    let entropy = (0..tokens).map(|s| at(tokens - 1, s)).filter(|&p| p > 0.0).map(|p| -p * p.ln()).sum();
    [strength, previous, itself, entropy, to_labels, to_exemplars]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_pattern_has_its_measures() {
        // x₁ l₁ x₂ l₂ x_query; the query's label is the second.
        let rows: [[f32; 5]; 5] = [
            [1.0, 0.0, 0.0, 0.0, 0.0],
            [0.75, 0.25, 0.0, 0.0, 0.0],
            [0.0, 0.0, 1.0, 0.0, 0.0],
            [0.0, 0.0, 0.25, 0.75, 0.0],
            [0.125, 0.125, 0.0, 0.5, 0.25],
        ];
        let pattern = Tensor::new(&rows, &Device::Cpu).unwrap().reshape((1, 1, 5, 5)).unwrap();
        let mut measures = HeadMeasures::default();
        let labels = Tensor::new(&[[7u32, 9, 9]], &Device::Cpu).unwrap();
        measures.append(1, &pattern, &labels).unwrap();
        measures.append(1, &pattern, &labels).unwrap();
        let (layer, head, values) = measures.rows().last().unwrap();
        let entropy = 2.0 * 0.125 * 8f64.ln() + 0.5 * 2f64.ln() + 0.25 * 4f64.ln();
        assert_eq!((layer, head), (1, 0));
        for (value, expected) in values.into_iter().zip([0.375, 0.5, 0.5, entropy, 0.625, 0.125]) {
            assert!((value.unwrap() - expected).abs() < 1e-7, "{values:?}");
        }
        assert_eq!(measures.rows().count(), 2);
        let (mut apart, mut half) = (HeadMeasures::default(), HeadMeasures::default());
        half.append(1, &pattern, &labels).unwrap();
        half.attribute(&[0.0, 2.0], 1);
        (0..2).for_each(|_| apart.add(&half));
        assert_eq!(apart.rows().last(), measures.rows().last());
        assert_eq!(apart.attributions().collect::<Vec<_>>(), [Some(0.0), Some(2.0)]);
        let mut one = HeadMeasures::default();
        one.append(0, &Tensor::cat(&[&pattern, &pattern], 1).unwrap(), &labels).unwrap();
        assert_eq!((one.largest("previous_token"), one.largest("loss")), (Some(0.5), None));
    }

    #[test]
    fn there_is_no_induction_strength_where_no_right_label_is_in_the_context() {
        let pattern = Tensor::new(&[[[[0f32; 5], [0.0; 5], [0.0; 5], [0.0; 5], [0.0, 0.25, 0.0, 0.5, 0.25]]]], &Device::Cpu).unwrap();
        let of = |sequences: &[[u32; 3]]| {
            let mut all = HeadMeasures::default();
            for labels in sequences {
                all.append(0, &pattern, &Tensor::new(&[*labels], &Device::Cpu).unwrap()).unwrap();
            }
            all
        };
        let (right, none) = ([7, 9, 9], [7, 8, 9]);
        let row = |measures: &HeadMeasures| measures.rows().next().unwrap().2;
        assert_eq!(row(&of(&[none, none]))[0], None);
        assert_eq!(of(&[none]).largest("induction_strength"), None);
        assert_eq!((of(&[none]).largest("to_labels"), row(&of(&[none]))[4]), (Some(0.75), Some(0.75)));
        // The mean is over those sequences that have one.
        let mixed = of(&[none, right, none]);
        assert_eq!((row(&mixed)[0], mixed.largest("induction_strength")), (Some(0.25), Some(0.25)));
        let mut apart = of(&[none]);
        apart.add(&of(&[right]));
        assert_eq!(row(&apart)[0], Some(0.25));
    }
}
