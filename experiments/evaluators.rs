//! The evaluators of an experiment, drawn from its bank or read from files.

use candle_core::{Device, Tensor};
use optogen::bank::ClassBank;
use optogen::batch::given_tokens;
use optogen::components::{Evaluator, EvaluatorSequences};
use optogen::content;
use optogen::experiment::{EvaluatorSpec, Experiment};
use optogen::transformer::Architecture;
use optogen::{Error, Result};
use optogen_data::{EvaluationSet, read_evaluation, write_evaluation};
use optogen_systems::spawn::{EVALUATION_CHUNK, drawn_evaluator};
use std::collections::HashMap;
use std::path::Path;

/// An evaluator whose sequences were read from a file.
#[derive(Clone)]
pub struct Given {
    evaluator: Evaluator,
    /// Length of an example.
    pub features: usize,
    /// The largest label.
    largest: u32,
}

/// All evaluators of an experiment, in its order; `bank` may be absent where none is drawn from it, and `given` are those that come from files, by name.
///
/// # Errors
/// An evaluator's sequences cannot be drawn or read, or do not fit the model.
pub fn evaluators(
    experiment: &Experiment,
    architecture: &Architecture,
    bank: Option<&ClassBank>,
    given: &HashMap<String, Given>,
) -> Result<Vec<Evaluator>> {
    let one = |spec: &EvaluatorSpec| match (&spec.file, bank) {
        (Some(file), _) => given_evaluator(spec, file, architecture, given),
        (None, Some(bank)) => drawn_evaluator(experiment, spec, bank),
        (None, None) => Err(Error::Internal(format!("evaluator \"{}\" draws from a class bank, and there is none", spec.name))),
    };
    experiment.evaluators.iter().map(one).collect()
}

fn given_evaluator(spec: &EvaluatorSpec, file: &Path, architecture: &Architecture, given: &HashMap<String, Given>) -> Result<Evaluator> {
    let Some(Given { evaluator, features, largest }) = given.get(&spec.name) else {
        return Err(Error::Internal(format!("evaluator \"{}\" was not read from {}", spec.name, file.display())));
    };
    let refused = |what: String| Err(Error::input(file, format!("evaluator \"{}\" {what}", spec.name)));
    if *features != architecture.features {
        return refused(format!("has exemplars of {features} features, the model reads {}", architecture.features));
    }
    if *largest as usize >= architecture.outputs {
        return refused(format!("has a label {largest}, the model has {} outputs", architecture.outputs));
    }
    Ok(evaluator.clone())
}

/// Reads an evaluator's sequences from a file; with their content.
///
/// # Errors
/// The file has no such evaluator, or cannot be read.
pub fn read_given(name: &str, file: &Path, device: &Device) -> Result<(Given, String)> {
    let set = read_evaluation(file, name)?;
    let sha256 = content::of_sequences(&set.examples, &set.labels, [set.n, set.pairs, set.features]);
    let largest = set.labels.iter().copied().max().unwrap_or(0);
    let examples = Tensor::from_vec(set.examples, (set.n, set.pairs, set.features), &Device::Cpu)?;
    let labels = Tensor::from_vec(set.labels, (set.n, set.pairs), &Device::Cpu)?;
    let chunk = |first: usize| {
        let count = EVALUATION_CHUNK.min(set.n - first);
        let tokens = given_tokens(&examples.narrow(0, first, count)?, &labels.narrow(0, first, count)?, device)?;
        Ok(EvaluatorSequences::Given(tokens))
    };
    let sequences = (0..set.n).step_by(EVALUATION_CHUNK).map(chunk).collect::<Result<_>>()?;
    let evaluator = Evaluator { name: name.to_owned(), sequences };
    Ok((Given { evaluator, features: set.features, largest }, sha256))
}

/// Writes evaluators' sequences to a file, from which they can be read again.
pub fn write_evaluators(path: &Path, evaluators: &[Evaluator], bank: &ClassBank) -> Result<()> {
    let set = |evaluator: &Evaluator| -> Result<EvaluationSet> {
        let (mut examples, mut labels, mut pairs) = (Vec::new(), Vec::new(), 0);
        for chunk in evaluator.sequences.iter() {
            let tokens = chunk.tokens(Some(bank), &Device::Cpu)?;
            let picked = optogen::ops::pick(&tokens.features, &tokens.examples)?.to_device(&Device::Cpu)?;
            examples.extend(picked.flatten_all()?.to_vec1::<f32>()?);
            labels.extend(tokens.labels.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<u32>()?);
            pairs = tokens.labels.dim(2)?;
        }
        let n = labels.len() / pairs.max(1);
        Ok(EvaluationSet { name: evaluator.name.clone(), examples, labels, n, pairs, features: bank.features })
    };
    write_evaluation(path, &evaluators.iter().map(set).collect::<Result<Vec<_>>>()?)
}
