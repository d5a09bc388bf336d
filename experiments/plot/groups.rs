//! Sequences of an evaluator in groups: what they are is drawn again from the experiment, whose seeds say it.

use super::By;
use crate::draw::{CLEARLY_APART, Colour, viridis};
use crate::evaluators::evaluators;
use crate::logs::Run;
use candle_core::Device;
use optogen::bank::ClassBank;
use optogen::components::{Evaluator, EvaluatorSequences};
use optogen::{Error, Result};
use optogen_systems::spawn::architecture;
use std::path::Path;

/// More groups cannot be told apart.
const MOST: usize = 10;

/// Sequences that have something in common.
pub struct Group {
    /// What.
    pub name: String,
    /// How it is drawn.
    pub colour: Colour,
    /// The sequences' numbers.
    pub members: Vec<usize>,
}

/// An evaluator of a run, drawn again, and the bank that it is drawn from.
fn drawn_again(run: &Run, name: &str) -> Result<(Evaluator, ClassBank)> {
    let mut experiment = run.experiment.clone();
    experiment.evaluators.retain(|evaluator| evaluator.name == name);
    let bank = optogen_data::load_bank(&experiment.data, Path::new("."), &Device::Cpu)?;
    let drawn = evaluators(&experiment, &architecture(&experiment, &bank), Some(&bank), &Device::Cpu)?.pop();
    let lost = || Error::Invalid(format!("{}: there is no evaluator \"{name}\"", run.folder.display()));
    Ok((drawn.ok_or_else(lost)?, bank))
}

/// The labels of an evaluator's sequences, `[sequence · pair]`, and how many each has, the query's last.
///
/// # Errors
/// There is no such evaluator, or its bank or file is gone.
pub fn labels(run: &Run, name: &str) -> Result<(Vec<u32>, usize)> {
    let (evaluator, _) = drawn_again(run, name)?;
    let mut labels = Vec::new();
    for chunk in evaluator.sequences.iter() {
        match chunk {
            EvaluatorSequences::Drawn { sequences, .. } => labels.extend(&sequences.labels),
            EvaluatorSequences::Exhaustive(exhaustive, numbers) => labels.extend(exhaustive.sequences(numbers.clone()).labels),
            EvaluatorSequences::Given(tokens) => labels.extend(tokens.labels.flatten_all()?.to_vec1::<u32>()?),
        }
    }
    Ok((labels, evaluator.pairs()))
}

/// The sequences of an evaluator.
#[derive(Default)]
pub struct Drawn {
    pairs: usize,
    /// `[sequence · pair]`, the query's last.
    labels: Vec<u32>,
    /// Classes in the bank `[sequence · pair]`; none where they were read from a file.
    classes: Vec<u32>,
    /// Cosine similarity of the features of each sequence's first two exemplars.
    similarities: Vec<f64>,
}

impl Drawn {
    /// Draws an evaluator's sequences again.
    ///
    /// # Errors
    /// There is no such evaluator, or its bank or file is gone.
    pub fn of(run: &Run, name: &str) -> Result<Self> {
        let (evaluator, bank) = drawn_again(run, name)?;
        let mut all = Self { pairs: evaluator.pairs(), ..Self::default() };
        for chunk in evaluator.sequences.iter() {
            match chunk {
                EvaluatorSequences::Drawn { sequences, .. } => all.classes.extend(&sequences.classes),
                EvaluatorSequences::Exhaustive(exhaustive, numbers) => all.classes.extend(exhaustive.sequences(numbers.clone()).classes),
                EvaluatorSequences::Given(_) => {}
            }
            let tokens = chunk.tokens(Some(&bank), &Device::Cpu)?;
            all.labels.extend(tokens.labels.flatten_all()?.to_vec1::<u32>()?);
            let features = optogen::ops::pick(&tokens.features, &tokens.examples)?.squeeze(0)?.to_vec3::<f32>()?;
            all.similarities.extend(features.iter().map(|exemplars| cosine(&exemplars[0], &exemplars[1])));
        }
        Ok(all)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.labels.len() / self.pairs
    }

    /// The labels of a sequence, the query's last.
    pub fn labels(&self, sequence: usize) -> &[u32] {
        &self.labels[sequence * self.pairs..][..self.pairs]
    }

    /// The classes of a sequence, the query's last; nothing where they are not known.
    pub fn classes(&self, sequence: usize) -> &[u32] {
        self.classes.get(sequence * self.pairs..(sequence + 1) * self.pairs).unwrap_or_default()
    }

    /// Cosine similarity of the features of the first two exemplars.
    pub fn similarity(&self, sequence: usize) -> f64 {
        self.similarities[sequence]
    }

    /// The sequences in groups, in order.
    ///
    /// # Errors
    /// They do not have what they are to be grouped by, or there would be too many groups.
    pub fn groups(&self, by: By) -> Result<Vec<Group>> {
        let sorted = |numbers: &[u32]| {
            let mut numbers = numbers.to_vec();
            numbers.sort_unstable();
            numbers
        };
        let context = self.pairs - 1;
        let key = |sequence: usize| -> Vec<u32> {
            let labels = self.labels(sequence);
            match by {
                By::ClassPair => sorted(&self.classes(sequence)[..context]),
                By::LabelPair => sorted(&labels[..context]),
                By::Position => {
                    labels[..context].iter().position(|label| *label == labels[context]).map(|pair| pair as u32).into_iter().collect()
                }
                By::Output => vec![labels[context]],
                By::Similarity => Vec::new(),
            }
        };
        match by {
            By::Similarity => Ok(self.fifths()),
            By::ClassPair if self.classes.is_empty() => {
                Err(Error::Invalid("--by class-pair: the sequences come from a file, which does not say their classes".into()))
            }
            _ => named(&(0..self.count()).map(key).collect::<Vec<_>>(), by),
        }
    }

    /// Fifths of the sequences, from the least similar exemplars to the most.
    fn fifths(&self) -> Vec<Group> {
        let mut all: Vec<(f64, usize)> = (0..self.count()).map(|sequence| (self.similarity(sequence), sequence)).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        let size = all.len().div_ceil(5).max(1);
        let group = |(number, part): (usize, &[(f64, usize)])| Group {
            name: format!("{:.2} – {:.2}", part[0].0, part[part.len() - 1].0),
            colour: viridis(number as f64 / 4.0 * 0.9),
            members: part.iter().map(|one| one.1).collect(),
        };
        all.chunks(size).enumerate().map(group).collect()
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    product(a, b) / (product(a, a) * product(b, b)).sqrt()
}

/// A group for each distinct key.
fn named(keys: &[Vec<u32>], by: By) -> Result<Vec<Group>> {
    let mut distinct = keys.to_vec();
    distinct.sort();
    distinct.dedup();
    if distinct.len() > MOST {
        let name = super::name_of(by);
        return Err(Error::Invalid(format!("--by {name}: there are {} groups, and more than {MOST} cannot be told apart", distinct.len())));
    }
    let group = |(number, key): (usize, &Vec<u32>)| Group {
        name: key.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
        colour: if distinct.len() > CLEARLY_APART.len() {
            viridis(number as f64 / (distinct.len() - 1) as f64)
        } else {
            CLEARLY_APART[number]
        },
        members: (0..keys.len()).filter(|sequence| keys[*sequence] == *key).collect(),
    };
    Ok(distinct.iter().enumerate().map(group).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn() -> Drawn {
        let (labels, classes) = (vec![3, 1, 1, 1, 3, 1], vec![7, 9, 9, 9, 7, 9]);
        Drawn { pairs: 3, labels, classes, similarities: vec![1.0, cosine(&[1.0, 0.0], &[0.0, 2.0])] }
    }

    #[test]
    fn sequences_are_grouped_by_what_they_hold() {
        let of = |by: By| drawn().groups(by).unwrap().into_iter().map(|group| (group.name, group.members)).collect::<Vec<_>>();
        assert_eq!(of(By::LabelPair), [("1, 3".to_owned(), vec![0, 1])]);
        assert_eq!(of(By::ClassPair), [("7, 9".to_owned(), vec![0, 1])]);
        assert_eq!(of(By::Position), [("0".to_owned(), vec![1]), ("1".to_owned(), vec![0])]);
        assert_eq!(of(By::Output), [("1".to_owned(), vec![0, 1])]);
        assert_eq!(of(By::Similarity), [("0.00 – 0.00".to_owned(), vec![1]), ("1.00 – 1.00".to_owned(), vec![0])]);
    }

    #[test]
    fn too_many_groups_and_unknown_classes_are_refused() {
        let keys: Vec<Vec<u32>> = (0..11).map(|number| vec![number]).collect();
        let message = named(&keys, By::ClassPair).err().unwrap().to_string();
        assert_eq!(message, "--by class-pair: there are 11 groups, and more than 10 cannot be told apart");
        let message = Drawn { classes: Vec::new(), ..drawn() }.groups(By::ClassPair).err().unwrap().to_string();
        assert!(message.contains("does not say their classes"), "{message}");
    }
}
