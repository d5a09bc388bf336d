//! `optogen import`: a run of the published code becomes a run folder of ours.

use crate::cli::ImportArguments;
use crate::identity::Identity;
use crate::search::absolute;
use candle_core::Device;
use optogen::checkpoint::{Checkpoint, folder_at};
use optogen::components::Run;
use optogen::experiment::{
    BANK_KEY, EMBEDDED_BANK, EMBEDDED_SHA256, EvaluatorSpec, Experiment, Input, OptimiserName, beyond_outputs, donor_key, evaluator_key,
};
use optogen::log::{RunRow, write_run_row};
use optogen::run_folder::RunFolder;
use optogen::say::{self, note};
use optogen::transformer::Architecture;
use optogen::{Error, Result, content, durable};
use optogen_data::reference::{Graft, PublishedCheckpoint, read_config, read_eqx};
use optogen_data::{evaluation_names, read_evaluation};
use optogen_systems::run::Clock;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The name of the evaluation file in a run folder.
const EVALUATION: &str = "evaluation.h5";

/// Imports what the arguments name; returns the exit code.
///
/// # Errors
/// A file is not what the published code writes, holds what is not supported, or does not fit the config. Nothing is written then. Evaluators with labels
/// beyond the model's outputs are left out.
pub fn import(arguments: &ImportArguments) -> Result<u8> {
    let (mut experiment, grafts) = read_config(&arguments.config)?;
    if let Some(file) = &arguments.eval_data {
        experiment.evaluators = evaluation_names(file)?.into_iter().map(|name| EvaluatorSpec::from_file(name, EVALUATION.into())).collect();
    }
    let features = features(&experiment, arguments.eval_data.as_deref())?;
    leave_out_evaluators(&mut experiment, arguments.eval_data.as_deref())?;
    let architecture = Architecture::new(&experiment, features, experiment.data.bank.as_deref() == Some(Path::new("one_hot")));
    let read = |path: &PathBuf| read_checkpoint(path, &architecture, experiment.train.optimiser.name);
    let published = arguments.checkpoints.iter().map(read).collect::<Result<Vec<_>>>()?;

    let donors = grafts.iter().map(|graft| read_graft(graft, features)).collect::<Result<Vec<_>>>()?;
    for pass in experiment.passes.iter_mut().filter(|pass| grafts.iter().any(|graft| graft.pass == pass.name)) {
        // Beside the run's experiment file.
        pass.donor = Some(Path::new("donors").join(&pass.name));
    }

    let named = experiment.clone();
    let mut inputs = Vec::from_iter(bank_of(&mut experiment));
    inputs.extend(evaluations_of(&experiment, arguments.eval_data.as_deref())?);
    for (graft, donor) in grafts.iter().zip(&donors) {
        inputs.push(donor_of(&graft.pass, donor)?);
    }
    let identity = Identity::of(&arguments.out, &experiment, &inputs, named);
    let folder = RunFolder::open(&arguments.out, &identity.run_id, false)?;
    for (graft, donor) in grafts.iter().zip(donors) {
        donor.write(&folder.path().join("donors").join(&graft.pass))?;
    }
    let file = folder.path().join("experiment.toml");
    durable::write_file(&file, |to| to.write_all(experiment.to_toml().as_bytes()).map_err(Error::file(&file)))?;
    if let Some(from) = &arguments.eval_data {
        let bytes = fs::read(from).map_err(Error::input_file(from))?;
        let to = folder.path().join(EVALUATION);
        durable::write_file(&to, |file| file.write_all(&bytes).map_err(Error::file(&to)))?;
    }
    let mut sequences = 0;
    for published in published {
        let checkpoint = checkpoint(&experiment, identity.run_id.clone(), published);
        checkpoint.write(&folder_at(&folder.checkpoints(), checkpoint.sequences))?;
        sequences = sequences.max(checkpoint.sequences);
    }
    let row = RunRow {
        status: "imported".into(),
        sequences,
        version: env!("CARGO_PKG_VERSION").into(),
        revision: env!("OPTOGEN_REVISION").into(),
        device: "cpu".into(),
        threads: 1,
        started: Clock::new(0.0).started,
        ..RunRow::default()
    };
    write_run_row(&folder, &Run { inputs, ..experiment.run(identity.run_id) }, &row)?;
    say::answer(format!("{}\n", folder.path().display()));
    Ok(0)
}

/// A checkpoint, with a line where its numbers had to be rounded.
fn read_checkpoint(path: &Path, architecture: &Architecture, optimiser: OptimiserName) -> Result<PublishedCheckpoint> {
    let published = read_eqx(path, architecture, optimiser)?;
    if published.rounded {
        note(format!("warning: {}: its numbers are in float64 (JAX with x64), and are rounded to float32", path.display()));
    }
    Ok(published)
}

/// The bank that a run of the published code read; what it held is not known where it is not there any more, which need not be.
fn bank_of(experiment: &mut Experiment) -> Option<Input> {
    let path = experiment.data.bank.clone().filter(|bank| bank != Path::new("one_hot"))?;
    let there = path.exists() || path == Path::new(EMBEDDED_BANK);
    let read = || content::of_bank(&optogen_data::load_bank(&experiment.data, &Device::Cpu)?);
    let sha256 = if there { read() } else { Ok(None) };
    let sha256 = sha256.unwrap_or_else(|error| {
        note(format!("warning: data.bank: {error}; what it held is not recorded"));
        None
    });
    let path = match &sha256 {
        Some(embedded) if embedded == EMBEDDED_SHA256 => EMBEDDED_BANK.into(),
        Some(_) => absolute(&path),
        None => path,
    };
    experiment.data.bank = Some(path.clone());
    Some(Input { key: BANK_KEY.into(), path, sha256 })
}

/// The sequences of its evaluators, which go into the run folder.
fn evaluations_of(experiment: &Experiment, evaluation: Option<&Path>) -> Result<Vec<Input>> {
    let one = |(evaluator, file): (&EvaluatorSpec, &Path)| {
        let set = read_evaluation(file, &evaluator.name)?;
        let sha256 = Some(content::of_sequences(&set.examples, &set.labels, [set.n, set.pairs, set.features]));
        Ok(Input { key: evaluator_key(&evaluator.name), path: EVALUATION.into(), sha256 })
    };
    evaluation.into_iter().flat_map(|file| experiment.evaluators.iter().map(move |evaluator| (evaluator, file))).map(one).collect()
}

/// A donor, as its checkpoint will be in the run folder.
fn donor_of(pass: &str, donor: &Checkpoint) -> Result<Input> {
    Ok(Input { key: donor_key(pass), path: Path::new("donors").join(pass), sha256: Some(donor.sha256_as_written()?) })
}

fn checkpoint(experiment: &Experiment, run_id: String, published: PublishedCheckpoint) -> Checkpoint {
    Checkpoint {
        run_id,
        sequences: published.sequences,
        steps: published.optimiser.0,
        experiment: experiment.to_toml(),
        parameters: published.parameters,
        optimiser: published.optimiser.1,
        moments: Vec::new(),
        tables: Default::default(),
    }
}

/// Another model that takes part, of exemplars of as many features.
fn read_graft(graft: &Graft, features: usize) -> Result<Checkpoint> {
    let (experiment, grafts) = read_config(&graft.config)?;
    if let Some(own) = grafts.first() {
        let message = format!("opto_{}_model_ckpt: a graft of a model that is itself grafted is not supported", own.pass);
        return Err(Error::input(&graft.config, message));
    }
    let architecture = Architecture::new(&experiment, features, experiment.data.bank.as_deref() == Some(Path::new("one_hot")));
    let published = read_checkpoint(&graft.checkpoint, &architecture, experiment.train.optimiser.name)?;
    Ok(checkpoint(&experiment, experiment.run_id(), published))
}

/// Takes out the evaluators with labels that the model has no outputs for, with a line for each: the published code evaluates them all the same.
fn leave_out_evaluators(experiment: &mut Experiment, evaluation: Option<&Path>) -> Result<()> {
    let mut kept = Vec::new();
    for evaluator in std::mem::take(&mut experiment.evaluators) {
        let why = match evaluation.or(evaluator.file.as_deref()) {
            None => beyond_outputs(experiment, &evaluator),
            Some(file) => {
                let (set, outputs) = (read_evaluation(file, &evaluator.name)?, experiment.outputs());
                let label = set.labels.into_iter().max().filter(|&label| label as usize >= outputs);
                label.map(|label| format!("the evaluator \"{}\" has a label {label}; the model has {outputs} outputs", evaluator.name))
            }
        };
        match why {
            None => kept.push(evaluator),
            Some(why) => note(format!("warning: {why}; this evaluator is left out")),
        }
    }
    experiment.evaluators = kept;
    Ok(())
}

/// Features of an exemplar: as the evaluation file has them, else as the bank has.
fn features(experiment: &Experiment, evaluation: Option<&Path>) -> Result<usize> {
    match (evaluation, experiment.evaluators.first()) {
        (Some(file), Some(first)) => Ok(read_evaluation(file, &first.name)?.features),
        _ => Ok(optogen_data::load_bank(&experiment.data, &Device::Cpu)?.features),
    }
}
