//! The sampler: sequences as indices into the class bank, each drawn from its own stream of random numbers.
//!
//! Classes first, then exemplars, then labels; features are looked up last, by whoever needs them. No array here is larger than the classes of a
//! split, but for label pairs that are held out.

mod classes;
mod exemplars;
mod exhaustive;
mod relabel;

use crate::experiment::{EvaluatorSpec, Experiment, MixtureSpec, RelabelName, SplitName};
use crate::seeds::{Streams, below, uniform};
use crate::{Error, Result};
use classes::{ClassDistribution, ClassSampler};
use exemplars::ExemplarSampler;
pub use exhaustive::Exhaustive;
use rand_distr::{Distribution, StandardNormal};
use relabel::Labelling;

/// What an item of a sequence is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ItemType {
    /// Neither of the others.
    Other = 0,
    /// Of the query's class, in the context.
    Bursty = 1,
    /// Of another class that appears as often as the query's.
    Distractor = 2,
    /// The last item, whose label is asked for.
    Query = 3,
}

/// Sequences as indices: every vector is `[sequence · pair]`, and the last pair of a sequence is the query, its label the target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequences {
    /// Pairs a sequence, context and query.
    pub pairs: usize,
    /// Class in the bank.
    pub classes: Vec<u32>,
    /// Exemplar of the class.
    pub exemplars: Vec<u32>,
    /// Label.
    pub labels: Vec<u32>,
    /// [`ItemType`].
    pub types: Vec<u8>,
}

/// Draws the training sequences of an experiment, or those of one evaluator.
///
/// Sequence number n is the same whatever the batch it is drawn in.
#[derive(Clone, Debug)]
pub struct SequenceSampler {
    sequences: Streams,
    noises: Streams,
    /// Class samplers, each with the sum of the weights up to its own.
    mixture: Vec<(f64, ClassSampler)>,
    distribution: ClassDistribution,
    /// The bank's number of the distribution's first class.
    first_class: u32,
    exemplars: ExemplarSampler,
    labelling: Labelling,
    random_query_label: bool,
    noise: f64,
    pairs: usize,
}

impl SequenceSampler {
    /// The sampler of the training sequences.
    ///
    /// # Errors
    /// [`Error::Invalid`] where no such sequences exist: fewer classes than a context needs, a context shorter than its bursts, …
    pub fn training(experiment: &Experiment) -> Result<Self> {
        let data = &experiment.data;
        let sampling = Sampling {
            place: "data",
            classes: SplitName::Train,
            exemplars: SplitName::Train,
            relabel: if data.relabel.is_some() { RelabelName::Train } else { RelabelName::None },
            mixture: &data.mixture,
            zipf: data.zipf,
            random_query_label: data.random_query_label,
            noise: data.noise,
        };
        sampling.sampler(experiment, Streams::new(experiment.seeds.train, "sequences"), Streams::new(experiment.seeds.train, "noise"))
    }

    /// The sampler of an evaluator's sequences; classes are uniform there. An evaluator that reads a file has none.
    ///
    /// # Errors
    /// As [`SequenceSampler::training`].
    pub fn evaluator(experiment: &Experiment, evaluator: &EvaluatorSpec) -> Result<Self> {
        let (data, name) = (&experiment.data, &evaluator.name);
        let place = format!("evaluator \"{name}\"");
        if let Some(file) = &evaluator.file {
            return Err(invalid(format!("{place}: its sequences are read from {}, not drawn", file.display())));
        }
        let first = data.mixture.first().ok_or_else(|| invalid("data.mixture: at least one class sampler is needed".into()))?;
        let recipe = MixtureSpec {
            context: evaluator.context.unwrap_or(first.context),
            burstiness: evaluator.burstiness.unwrap_or(first.burstiness),
            weight: 1.0,
            distractor: evaluator.distractor.unwrap_or(true),
            support: evaluator.support.unwrap_or(true),
            unique: evaluator.unique.unwrap_or(false),
        };
        let default_labels = if data.relabel.is_some() { RelabelName::Train } else { RelabelName::None };
        let sampling = Sampling {
            place: &place,
            classes: evaluator.classes.unwrap_or(SplitName::Train),
            exemplars: evaluator.exemplars.unwrap_or(SplitName::Train),
            relabel: evaluator.relabel.unwrap_or(default_labels),
            mixture: &[recipe],
            zipf: 0.0,
            random_query_label: evaluator.random_query_label.unwrap_or(false),
            noise: evaluator.noise.unwrap_or(data.noise),
        };
        let streams = |purpose| Streams::new(experiment.seeds.eval, &format!("{purpose} of evaluator {name}"));
        sampling.sampler(experiment, streams("sequences"), streams("noise"))
    }

    /// Pairs a sequence, context and query.
    pub fn pairs(&self) -> usize {
        self.pairs
    }

    /// One more than the largest label that a sequence can carry.
    pub fn labels(&self) -> usize {
        let classes = self.first_class as usize + self.distribution.classes();
        self.labelling.labels(classes, self.mixture.iter().any(|(_, sampler)| sampler.has_rest()))
    }

    /// Standard deviation of the noise on the features; 0 if there is none.
    pub fn noise_scale(&self) -> f64 {
        self.noise
    }

    /// Draws sequences number `first` to `first + count - 1` in place of what was in `sequences`, whose memory is reused.
    pub fn fill(&self, first: u64, count: usize, sequences: &mut Sequences) {
        let (pairs, items) = (self.pairs, count * self.pairs);
        sequences.pairs = pairs;
        for indices in [&mut sequences.classes, &mut sequences.exemplars, &mut sequences.labels] {
            indices.resize(items, 0);
        }
        sequences.types.resize(items, 0);
        let mut excluded = Vec::with_capacity(pairs + 1);
        for sequence in 0..count {
            let items = sequence * pairs..(sequence + 1) * pairs;
            let classes = &mut sequences.classes[items.clone()];
            let types = &mut sequences.types[items.clone()];
            let labels = &mut sequences.labels[items.clone()];
            let random = &mut self.sequences.at(first.wrapping_add(sequence as u64));

            self.class_sampler(random).draw(&self.distribution, random, classes, types, &mut excluded);
            classes.iter_mut().for_each(|class| *class += self.first_class);
            self.exemplars.draw(random, types, &mut sequences.exemplars[items]);
            self.labelling.label(random, classes, types, labels);
            if self.random_query_label {
                labels[below(random, pairs as u64 - 1) as usize] = labels[pairs - 1];
            }
        }
    }

    /// Gaussian noise for the features of the same sequences, `[sequence · pair · feature]`, in place of what was in `noise`.
    pub fn noise(&self, first: u64, count: usize, features: usize, noise: &mut Vec<f32>) {
        let sequence_length = self.pairs * features;
        noise.resize(count * sequence_length, 0.0);
        for (sequence, values) in noise.chunks_exact_mut(sequence_length.max(1)).enumerate() {
            let mut random = self.noises.at(first.wrapping_add(sequence as u64));
            values.iter_mut().for_each(|value| {
                let normal: f64 = StandardNormal.sample(&mut random);
                *value = (self.noise * normal) as f32;
            });
        }
    }

    fn class_sampler(&self, random: &mut impl rand::Rng) -> &ClassSampler {
        let (total, last) = &self.mixture[self.mixture.len() - 1];
        if self.mixture.len() == 1 {
            return last;
        }
        let place = uniform(random) * total;
        self.mixture.iter().find(|(sum, _)| place < *sum).map_or(last, |(_, sampler)| sampler)
    }
}

/// What training and evaluators give to make a sampler.
struct Sampling<'a> {
    /// Where it stands in the experiment file, for messages.
    place: &'a str,
    classes: SplitName,
    exemplars: SplitName,
    relabel: RelabelName,
    mixture: &'a [MixtureSpec],
    zipf: f64,
    random_query_label: bool,
    noise: f64,
}

impl Sampling<'_> {
    fn sampler(&self, experiment: &Experiment, sequences: Streams, noises: Streams) -> Result<SequenceSampler> {
        let Self { place, mixture, noise, .. } = *self;
        let data = &experiment.data;
        let classes = data.classes.range(self.classes);
        let exemplars = data.exemplars.range(self.exemplars);
        for (range, name, what) in [(&classes, self.classes, "classes"), (&exemplars, self.exemplars, "exemplars")] {
            if range.is_empty() {
                let name = format!("{name:?}").to_lowercase();
                return Err(invalid(format!("{place}: there are no {name} {what} (data.{what}.{name} is 0)")));
            }
            if range.end > u32::MAX as usize {
                return Err(invalid(format!("data.{what}: {} are more than 2^32", range.end)));
            }
        }
        if !self.zipf.is_finite() {
            return Err(invalid(format!("data.zipf: {} is not an exponent", self.zipf)));
        }
        if !noise.is_finite() || noise < 0.0 {
            return Err(invalid(format!("{place}: noise {noise} is not a standard deviation")));
        }
        let Some(context) = mixture.first().map(|recipe| recipe.context) else {
            return Err(invalid("data.mixture: at least one class sampler is needed".into()));
        };
        let mut total = 0.0;
        let mut samplers = Vec::with_capacity(mixture.len());
        for (index, recipe) in mixture.iter().enumerate() {
            let place = if place == "data" { format!("data.mixture[{index}]") } else { place.into() };
            if recipe.context != context {
                return Err(invalid(format!("{place}: context = {}, but it must be {context} as in the first mixture", recipe.context)));
            }
            if !recipe.weight.is_finite() || recipe.weight < 0.0 {
                return Err(invalid(format!("{place}: weight = {} is not a share", recipe.weight)));
            }
            let swappable = recipe.distractor && recipe.burstiness > 0;
            if self.relabel == RelabelName::Flip && !swappable {
                return Err(invalid(format!(
                    "{place}: relabel = \"flip\" needs a burstiness of at least 1 and a distractor to swap labels with"
                )));
            }
            let sampler = ClassSampler::new(recipe, classes.len(), &place)?;
            if recipe.weight > 0.0 {
                total += recipe.weight;
                samplers.push((total, sampler));
            }
        }
        if samplers.is_empty() {
            return Err(invalid("data.mixture: every weight is 0".into()));
        }
        if self.random_query_label && context == 0 {
            return Err(invalid(format!("{place}: random_query_label needs a context to put the query's label in")));
        }
        Ok(SequenceSampler {
            sequences,
            noises,
            mixture: samplers,
            distribution: ClassDistribution::zipf(classes.len(), self.zipf),
            first_class: classes.start as u32,
            exemplars: ExemplarSampler { exemplars, matched: data.match_exemplars },
            labelling: Labelling::new(self.relabel, data.relabel.as_ref(), place)?,
            random_query_label: self.random_query_label,
            noise,
            pairs: context + 1,
        })
    }
}

fn invalid(message: String) -> Error {
    Error::Invalid(message)
}

#[cfg(test)]
mod tests;
