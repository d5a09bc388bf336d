//! `optogen replay`: evaluates the checkpoints of runs again, with further interventions, hooks and measures.

use crate::changed::IN_A_REPLAY;
use crate::cli::ReplayArguments;
use crate::device;
use crate::evaluators::evaluators;
use crate::identity::Identity;
use crate::inputs::{Inputs, Purpose, Resolved};
use crate::logs::source_run;
use crate::outcome::{Outcome, quoted, tell};
use crate::run::{check_checkpoint, warn};
use crate::search::Asked;
use bevy_ecs::prelude::*;
use candle_core::Device;
use optogen::bank::ClassBank;
use optogen::checkpoint::{Checkpoint, list};
use optogen::components::{Evaluator, Model, Run, Source, Status};
use optogen::experiment::{Experiment, Input, by_content, check_bank};
use optogen::log::{Closing, RunLog, RunRow, Tallies, read_run_status, write_run_row};
use optogen::look::writing;
use optogen::run_folder::RunFolder;
use optogen::transformer::{Parameters, Transformer};
use optogen::{Error, Result, durable};
use optogen_systems::clamp::{ClampPlugin, DonorShelf, check_interventions};
use optogen_systems::evaluate::EvaluatePlugin;
use optogen_systems::look::LookPlugin;
use optogen_systems::record::RecordPlugin;
use optogen_systems::run::Clock;
use optogen_systems::spawn::{place, recall, spawn_measured};
use optogen_systems::stage::{Begin, StagePlugin};
use optogen_systems::weigh::WeighPlugin;
use optogen_systems::{app, use_threads};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Replays the runs that the arguments name; returns the exit code.
///
/// # Errors
/// A folder holds no run, or a run cannot be evaluated.
pub fn replay(arguments: &ReplayArguments) -> Result<u8> {
    let device = device::device(&arguments.common.device)?;
    use_threads(arguments.common.threads());
    let mut runs = Vec::new();
    for folder in &arguments.folders {
        runs.extend(runs_in(folder)?);
    }
    let mut outcomes = Vec::new();
    for run in &runs {
        outcomes.extend(replay_run(run, arguments, &device)?);
    }
    tell(&outcomes, arguments.common.quiet)
}

/// The run folders that a folder is or holds.
fn runs_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let is_run = |path: &PathBuf| path.join("experiment.toml").is_file();
    if is_run(&folder.to_owned()) {
        return Ok(vec![folder.to_owned()]);
    }
    let runs: Vec<PathBuf> = durable::entries(folder)?.into_iter().filter(is_run).collect();
    match runs.is_empty() {
        true => {
            Err(Error::Invalid(format!("{}: neither a run folder nor a folder that holds some (run=ID/experiment.toml)", folder.display())))
        }
        false => Ok(runs),
    }
}

/// What is replayed of a run: its experiment, changed or not, with its evaluators.
struct Variant {
    run_id: String,
    experiment: Experiment,
    evaluators: Vec<Evaluator>,
    /// As its folder has it.
    written: Experiment,
    inputs: Vec<Input>,
}

/// How a variant's replay went: its name, its folder and its status.
type Replayed = (String, PathBuf, Status);

/// The status of a variant that was replayed to the end.
const REPLAYED: &str = "replayed";

/// Variants that are evaluated side by side. A group is finished before the next begins: what it measured leaves memory, and an interrupted
/// replay that is resumed has little to do again.
const GROUP: usize = 16;

/// All variants of a run, group by group, each in one pass over the checkpoints.
fn replay_run(run: &Path, arguments: &ReplayArguments, device: &Device) -> Result<Vec<Outcome>> {
    let kept = source_run(run)?;
    let asked = arguments.on_top.experiments(run)?;
    IN_A_REPLAY.check(&asked)?;
    let reader = Inputs::new(device, &arguments.also.data, Purpose::Evaluating)?;
    let checkpoints = spread(list(&run.join("checkpoints"))?, arguments.spread);
    let Some((first_at, first)) = checkpoints.first() else {
        return Err(Error::Invalid(format!("{}: there are no checkpoints to replay", run.display())));
    };
    let read = |path: &Path| match &kept {
        Some(kept) => Checkpoint::read_of(&kept.status().run_id, path),
        None => Checkpoint::read(path),
    };
    let first_read = read(first)?;
    let mut world_app = app(|app| {
        app.add_plugins((StagePlugin, ClampPlugin, EvaluatePlugin, LookPlugin, WeighPlugin, RecordPlugin));
    });
    let world = world_app.world_mut();
    let mut bank: Option<(Entity, ClassBank)> = None;
    let (mut variants, mut idle): (Vec<Variant>, _) = (Vec::new(), Vec::new());
    let last = checkpoints.last().map_or(0, |(at, _)| *at);
    for written in &asked.written.experiments {
        let Resolved { experiment, inputs, bank: read, given, donors } = reader.find(written, &asked)?;
        let architecture = first_read.architecture(&experiment, first)?;
        check_checkpoint(&first_read, &architecture, first)?;
        // It is the same for all: what a model was trained on cannot be changed.
        if let Some(read) = read.filter(|_| bank.is_none()) {
            bank = Some((world.spawn(read.clone()).id(), read));
        }
        if let Some((_, bank)) = &bank {
            check_bank(&experiment, &bank.name, bank.classes, bank.exemplars)?;
        }
        // Many sets of interventions are looked at with the same sequences.
        let same = variants.iter().find(|other| same_sequences(&other.experiment, &experiment));
        let own = match same {
            Some(other) => other.evaluators.clone(),
            None => evaluators(&experiment, &architecture, bank.as_ref().map(|(_, bank)| bank), &given)?,
        };
        idle.extend(check_interventions(&experiment, &architecture, &own, true, &donors, *first_at..=last)?);
        world.get_resource_or_init::<DonorShelf>().0.extend(donors);
        let sizes: Vec<_> = own.iter().map(|one| (one.name.clone(), one.count(), one.pairs())).collect();
        writing(&experiment, &architecture, &sizes, Some(checkpoints.len() as u64))?;
        let (run_id, written) = named(&experiment, &inputs, &asked, asked.written.settled(written), arguments);
        variants.push(Variant { run_id, experiment, evaluators: own, written, inputs });
    }
    let source = Source { run_id: source_id(&asked), checkpoints: BTreeMap::new() };

    warn(idle);
    let bank = bank.map(|(entity, _)| entity);
    let (mut outcomes, mut waiting) = (Vec::new(), Vec::new());
    for variant in variants {
        let folder = RunFolder::open(&arguments.out, &variant.run_id, arguments.resume)?;
        if is_done(&folder, last, &manifests(&checkpoints)) {
            let (run_id, folder) = (variant.run_id, folder.path().to_owned());
            outcomes.push(Outcome { run_id, folder, status: Status::Finished, again: again(run, arguments) });
        } else {
            waiting.push((variant, folder));
        }
    }
    while !waiting.is_empty() {
        let group = waiting.drain(..waiting.len().min(GROUP)).collect();
        let group = replay_group(world, group, (&checkpoints, &read), bank, &source, arguments, device)?;
        outcomes.extend(group.into_iter().map(|(run_id, folder, status)| Outcome { run_id, folder, status, again: again(run, arguments) }));
    }
    Ok(outcomes)
}

/// The command that replays a run's variants again, those that were replayed to the end left out.
fn again(run: &Path, arguments: &ReplayArguments) -> String {
    let on_top = &arguments.on_top;
    let mut words = vec!["optogen replay".to_owned(), quoted(run.display())];
    let mut option = |name: &str, value: String| words.extend([name.to_owned(), quoted(value)]);
    on_top.with.iter().for_each(|file| option("--with", file.display().to_string()));
    on_top.scale.iter().for_each(|scale| option("--scale", scale.clone()));
    on_top.sets.iter().for_each(|set| option("--set", set.clone()));
    on_top.grids.iter().for_each(|grid| option("--grid", grid.clone()));
    arguments.spread.iter().for_each(|spread| option("--spread", spread.to_string()));
    arguments.also.data.iter().for_each(|folder| option("--data", folder.display().to_string()));
    option("--out", arguments.out.display().to_string());
    words.push("--resume".into());
    words.join(" ")
}

/// The name of a variant, and its experiment as its folder has it: without changes it is that of the run itself.
fn named(
    experiment: &Experiment,
    inputs: &[Input],
    asked: &Asked<Experiment>,
    settled: Experiment,
    arguments: &ReplayArguments,
) -> (String, Experiment) {
    if !arguments.on_top.is_empty() {
        let identity = Identity::of(&arguments.out, experiment, inputs, settled);
        return (identity.run_id, identity.former.unwrap_or_else(|| experiment.clone()));
    }
    let run_id = source_id(asked);
    let now = by_content(experiment, inputs).run_id() == run_id;
    (run_id, if now { experiment.clone() } else { settled })
}

/// The name of the run that is replayed.
fn source_id(asked: &Asked<Experiment>) -> String {
    asked.run.as_ref().map_or_else(String::new, |run| run.run_id.clone())
}

/// SHA-256 of the manifests of checkpoints, by sequences seen; of those that have none, nothing.
fn manifests(checkpoints: &[(u64, PathBuf)]) -> BTreeMap<u64, String> {
    checkpoints.iter().filter_map(|(at, path)| Some((*at, Checkpoint::sha256(path).ok()?))).collect()
}

/// Whether a variant was replayed before, at these checkpoints. A row that cannot be read is of no replay that was finished.
fn is_done(folder: &RunFolder, last: u64, manifests: &BTreeMap<u64, String>) -> bool {
    let row = folder.table("run");
    let same = |checkpoints: &BTreeMap<u64, String>| checkpoints == manifests;
    row.exists()
        && read_run_status(&row)
            .is_ok_and(|row| row.status == REPLAYED && row.sequences == last && row.checkpoints.as_ref().is_none_or(same))
}

/// A group of variants in one pass over the checkpoints.
fn replay_group(
    world: &mut World,
    group: Vec<(Variant, RunFolder)>,
    (checkpoints, read): (&[(u64, PathBuf)], &dyn Fn(&Path) -> Result<Checkpoint>),
    bank: Option<Entity>,
    source: &Source,
    arguments: &ReplayArguments,
    device: &Device,
) -> Result<Vec<Replayed>> {
    let mut models = Vec::new();
    for (Variant { run_id, experiment, evaluators, written, inputs }, folder) in group {
        let run = Run { inputs, source: Some(source.clone()), ..written.run(run_id.clone()) };
        let file = folder.path().join("experiment.toml");
        durable::write_file(&file, |to| to.write_all(run.toml.as_bytes()).map_err(Error::file(&file)))?;
        // Nothing is trained.
        let tables: Vec<String> = experiment.tables().into_iter().filter(|table| table != "train").collect();
        let log = RunLog::create(&folder, &tables)?;
        let model = spawn_measured(world, bank, run_id, experiment, evaluators);
        world.entity_mut(model).insert((folder, log, Clock::new(0.0), run));
        models.push(model);
    }
    let (mut sequences, mut damaged) = (0, None);
    for (at, path) in checkpoints {
        match read(path) {
            Ok(checkpoint) => {
                let experiment = world.get::<Model>(models[0]).map(|model| model.experiment.clone()).ok_or_else(lost)?;
                let architecture = checkpoint.architecture(&experiment, path)?;
                models.iter().for_each(|&model| recall(world, model, &checkpoint.moments_before()));
                let parameters = Parameters::stack(&[checkpoint.parameters], device)?;
                place(world, &models, Transformer::new(architecture, parameters)?, checkpoint.sequences);
                world.run_schedule(Begin);
                sequences = *at;
                let manifest = Checkpoint::sha256(path)?;
                for &model in &models {
                    if let Some(source) = world.get_mut::<Run>(model).and_then(|run| run.into_inner().source.as_mut()) {
                        source.checkpoints.insert(*at, manifest.clone());
                    }
                }
            }
            Err(error) => damaged = Some(error.to_string()),
        }
    }
    models.into_iter().map(|model| finish(world, model, sequences, damaged.as_ref(), arguments, device)).collect()
}

fn lost() -> Error {
    Error::Invalid("a replayed model is gone".into())
}

/// So many of the checkpoints, evenly spread, the first and the last among them.
fn spread(all: Vec<(u64, PathBuf)>, count: Option<u32>) -> Vec<(u64, PathBuf)> {
    let count = count.map_or(all.len(), |count| (count as usize).min(all.len()));
    let last = all.len().saturating_sub(1);
    let chosen: Vec<usize> =
        (0..count).map(|index| if count == 1 { last } else { (index * last + (count - 1) / 2) / (count - 1) }).collect();
    all.into_iter().enumerate().filter(|(index, _)| chosen.contains(index)).map(|(_, one)| one).collect()
}

fn same_sequences(one: &Experiment, other: &Experiment) -> bool {
    let of = |experiment: &Experiment| {
        (experiment.data.clone(), experiment.evaluators.clone(), experiment.seeds, experiment.evaluation.sequences)
    };
    of(one) == of(other)
}

/// Closes a variant's tables.
fn finish(
    world: &mut World,
    model: Entity,
    sequences: u64,
    damaged: Option<&String>,
    arguments: &ReplayArguments,
    device: &Device,
) -> Result<Replayed> {
    let (log, folder, clock) = world.entity_mut(model).take::<(RunLog, RunFolder, Clock)>().ok_or_else(lost)?;
    let own = world.get::<Run>(model).ok_or_else(lost)?;
    let status = match world.get::<Status>(model) {
        Some(failed @ Status::Failed(_)) => failed.clone(),
        _ => damaged.map_or(Status::Finished, |why| Status::Failed(why.clone())),
    };
    let tallies = log.close()?.into_iter().map(Closing::finish).collect::<Result<_>>()?;
    let message = match &status {
        Status::Failed(why) => Some(why.clone()),
        _ => None,
    };
    let row = RunRow {
        status: if message.is_some() { "failed" } else { REPLAYED }.into(),
        sequences,
        version: env!("CARGO_PKG_VERSION").into(),
        revision: env!("OPTOGEN_REVISION").into(),
        device: device::describe(device),
        threads: arguments.common.threads(),
        started: clock.started.clone(),
        seconds: clock.seconds(),
        tables: Some(Tallies(tallies)),
        message,
    };
    write_run_row(&folder, own, &row)?;
    let replayed = (own.run_id.clone(), folder.path().to_owned(), status);
    world.despawn(model);
    Ok(replayed)
}
