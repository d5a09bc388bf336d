//! `optogen replay`: evaluates the checkpoints of runs again, with further interventions, hooks and measures.

use crate::changed::IN_A_REPLAY;
use crate::cli::ReplayArguments;
use crate::evaluators::evaluators;
use crate::identity::Identity;
use crate::inputs::{Inputs, Purpose, Resolved};
use crate::logs::source_run;
use crate::outcome::{Outcome, quoted, tell};
use crate::run::{check_checkpoint, warn};
use crate::search::Asked;
use crate::{device, exit, open_files, signals};
use bevy_ecs::prelude::*;
use candle_core::Device;
use optogen::bank::ClassBank;
use optogen::checkpoint::{Checkpoint, folder_at, list};
use optogen::components::{Evaluator, Model, Run, Source, Status};
use optogen::experiment::{Experiment, Input, by_content, check_bank};
use optogen::log::{Closing, KeptRun, RunLog, RunRow, Tallies, read_run_status, write_run_row};
use optogen::look::writing;
use optogen::run_folder::{RunFolder, refuse_existing};
use optogen::transformer::{Parameters, Transformer};
use optogen::{Cause, Error, Result, durable};
use optogen_systems::clamp::{ClampPlugin, DonorShelf, check_interventions};
use optogen_systems::evaluate::EvaluatePlugin;
use optogen_systems::look::LookPlugin;
use optogen_systems::record::RecordPlugin;
use optogen_systems::run::{Clock, StopRequest};
use optogen_systems::spawn::{place, recall, spawn_measured};
use optogen_systems::stage::{Begin, StagePlugin};
use optogen_systems::weigh::WeighPlugin;
use optogen_systems::{app, use_threads};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Replays the runs that the arguments name; returns the exit code. A run that cannot be replayed keeps the others from nothing. A signal is answered
/// between two checkpoints: what was measured by then is kept, the rest is left to `--resume`.
///
/// # Errors
/// A folder holds no run, or the only run, or the first of several, cannot be evaluated as the arguments say.
pub fn replay(arguments: &ReplayArguments) -> Result<u8> {
    let device = device::device(&arguments.common.device)?;
    use_threads(arguments.common.threads());
    let stop = StopRequest::default();
    signals::listen(&stop)?;
    let mut runs = Vec::new();
    for folder in &arguments.folders {
        runs.extend(runs_in(folder)?);
    }
    let mut outcomes: Vec<Outcome> = Vec::new();
    for run in &runs {
        let outcome =
            |Replayed { run_id, folder, status, opened }| Outcome { run_id, folder, status, again: again(run, arguments), opened };
        let nothing_of_it = |status| {
            let name = run.file_name().unwrap_or_default().display().to_string();
            outcome(Replayed { run_id: name.trim_start_matches("run=").to_owned(), folder: run.clone(), status, opened: false })
        };
        if stop.made() {
            outcomes.push(nothing_of_it(Status::Interrupted));
            continue;
        }
        match replay_run(run, arguments, &device, &stop) {
            Ok(all) => outcomes.extend(all.into_iter().map(outcome)),
            Err(error) if runs.len() == 1 || (outcomes.is_empty() && error.cause() == Cause::Request) => return Err(error),
            Err(error) => outcomes.push(nothing_of_it(Status::from(&error))),
        }
    }
    Ok(tell(&outcomes, arguments.common.quiet))
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

/// How a variant's replay went.
struct Replayed {
    run_id: String,
    folder: PathBuf,
    status: Status,
    /// Whether its tables are of now.
    opened: bool,
}

/// The status of a variant that was replayed to the end.
const REPLAYED: &str = "replayed";

/// Variants that are evaluated side by side. A group is finished before the next begins: what it measured leaves memory, and an interrupted
/// replay that is resumed has little to do again.
const GROUP: usize = 16;

/// All variants of a run, group by group, each in one pass over the checkpoints.
fn replay_run(run: &Path, arguments: &ReplayArguments, device: &Device, stop: &StopRequest) -> Result<Vec<Replayed>> {
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
    for variant in &variants {
        let place = RunFolder::place(&arguments.out, &variant.run_id);
        refuse_other_than_replay(&place)?;
        refuse_to_forget(&place, run)?;
    }
    if !arguments.resume {
        variants.iter().try_for_each(|variant| refuse_existing(&arguments.out, &variant.run_id))?;
    }
    let place = |variant: &Variant| RunFolder::place(&arguments.out, &variant.run_id);
    let manifests = manifests(&checkpoints);
    let (done, rest): (Vec<_>, Vec<_>) = variants.into_iter().partition(|variant| is_done(&place(variant), last, &manifests));
    // All are locked from now on; a group at a time has its tables open.
    let tables: usize = rest.iter().take(GROUP).map(|variant| variant.experiment.tables().len()).sum();
    open_files::allow(&arguments.out, rest.len(), rest.len() + tables, arguments.common.threads())?;
    let replayed = |variant: Variant, status, opened| Replayed { folder: place(&variant), run_id: variant.run_id, status, opened };
    let mut all: Vec<Replayed> = done.into_iter().map(|variant| replayed(variant, Status::Finished, true)).collect();
    let (mut waiting, mut errors) = (Vec::new(), Vec::new());
    for variant in rest {
        match RunFolder::open(&arguments.out, &variant.run_id, arguments.resume) {
            Ok(folder) => waiting.push((variant, folder)),
            Err(error) => {
                all.push(replayed(variant, Status::from(&error), false));
                errors.push(error);
            }
        }
    }
    if errors.len() == all.len() && waiting.is_empty() && !errors.is_empty() {
        let first = errors.swap_remove(0);
        errors.iter().for_each(|error| _ = exit::refused(error));
        return Err(first);
    }
    let shown = Shown { checkpoints: &checkpoints, read: &read, source: &source, bank };
    while !waiting.is_empty() && !stop.made() {
        let group = waiting.drain(..waiting.len().min(GROUP)).collect();
        all.extend(replay_group(world, group, &shown, arguments, device, stop)?);
    }
    all.extend(waiting.into_iter().map(|(variant, _)| replayed(variant, Status::Interrupted, false)));
    Ok(all)
}

/// What was trained or imported is not written over: a replay that changes nothing has the name of its run.
fn refuse_other_than_replay(folder: &Path) -> Result<()> {
    let row = folder.join("run.parquet");
    if !row.exists() {
        return Ok(());
    }
    // One that cannot be read is nobody's, and is set aside.
    let is_replay = read_run_status(&row).is_ok_and(|row| row.status == REPLAYED || row.source_run.is_some());
    match is_replay {
        true => Ok(()),
        false => Err(Error::Invalid(format!("{}: a run itself is there, not a replay of it; choose another --out", folder.display()))),
    }
}

/// What was measured of a checkpoint that is gone since is not thrown away.
fn refuse_to_forget(folder: &Path, run: &Path) -> Result<()> {
    let Ok(row) = read_run_status(&folder.join("run.parquet")) else { return Ok(()) };
    let gone = |at: &u64| !folder_at(&run.join("checkpoints"), *at).exists();
    match row.checkpoints.iter().flat_map(BTreeMap::keys).find(|at| gone(at)) {
        None => Ok(()),
        Some(at) => {
            let message = format!("it was measured after {at} sequences, of which {} has no checkpoint any more", run.display());
            Err(Error::Invalid(format!("{}: {message}; choose another --out", folder.display())))
        }
    }
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
fn is_done(folder: &Path, last: u64, manifests: &BTreeMap<u64, String>) -> bool {
    // One whose tables were damaged since is done again.
    let whole = KeptRun::open(folder).is_ok_and(|kept| kept.status().tables.0.keys().all(|table| kept.table(table).is_ok()));
    if !whole {
        return false;
    }
    let same = |checkpoints: &BTreeMap<u64, String>| checkpoints == manifests;
    read_run_status(&folder.join("run.parquet"))
        .is_ok_and(|row| row.status == REPLAYED && row.sequences == last && row.checkpoints.as_ref().is_none_or(same))
}

/// What variants are shown.
struct Shown<'a> {
    /// The checkpoints of a run, by sequences seen.
    checkpoints: &'a [(u64, PathBuf)],
    /// How one is read and verified.
    read: &'a dyn Fn(&Path) -> Result<Checkpoint>,
    /// The run.
    source: &'a Source,
    /// What its evaluators draw from.
    bank: Option<Entity>,
}

/// A group of variants in one pass over the checkpoints.
fn replay_group(
    world: &mut World,
    group: Vec<(Variant, RunFolder)>,
    &Shown { checkpoints, read, source, bank }: &Shown,
    arguments: &ReplayArguments,
    device: &Device,
    stop: &StopRequest,
) -> Result<Vec<Replayed>> {
    let (mut models, mut all) = (Vec::new(), Vec::new());
    for (Variant { run_id, experiment, evaluators, written, inputs }, folder) in group {
        let run = Run { inputs, source: Some(source.clone()), ..written.run(run_id.clone()) };
        match open_log(&run, &experiment, &folder) {
            Ok(log) => {
                let model = spawn_measured(world, bank, run_id, experiment, evaluators);
                world.entity_mut(model).insert((folder, log, Clock::new(0.0), run));
                models.push(model);
            }
            Err(error) => all.push(Replayed { run_id, folder: folder.path().to_owned(), status: Status::from(&error), opened: false }),
        }
    }
    let (mut sequences, mut end) = (0, Status::Finished);
    for (at, path) in checkpoints {
        if stop.made() {
            end = Status::Interrupted;
            break;
        }
        match read(path).and_then(|checkpoint| show(world, &models, checkpoint, path, device)) {
            Ok(()) => sequences = *at,
            Err(error) => end = Status::from(&error),
        }
    }
    for model in models {
        all.push(finish(world, model, sequences, &end, arguments, device)?);
    }
    Ok(all)
}

/// Writes the experiment and opens the tables.
fn open_log(run: &Run, experiment: &Experiment, folder: &RunFolder) -> Result<RunLog> {
    let file = folder.path().join("experiment.toml");
    durable::write_file(&file, |to| to.write_all(run.toml.as_bytes()).map_err(Error::file(&file)))?;
    // Nothing is trained.
    let tables: Vec<String> = experiment.tables().into_iter().filter(|table| table != "train").collect();
    RunLog::create(folder, &tables)
}

/// Has models measured as they were at a checkpoint.
fn show(world: &mut World, models: &[Entity], checkpoint: Checkpoint, path: &Path, device: &Device) -> Result<()> {
    let Some(first) = models.first() else { return Ok(()) };
    let experiment = world.get::<Model>(*first).map(|model| model.experiment.clone()).ok_or_else(lost)?;
    let architecture = checkpoint.architecture(&experiment, path)?;
    models.iter().for_each(|&model| recall(world, model, &checkpoint.moments_before()));
    let parameters = Parameters::stack(&[checkpoint.parameters], device)?;
    place(world, models, Transformer::new(architecture, parameters)?, checkpoint.sequences);
    world.run_schedule(Begin);
    let manifest = Checkpoint::sha256(path)?;
    for &model in models {
        if let Some(source) = world.get_mut::<Run>(model).and_then(|run| run.into_inner().source.as_mut()) {
            source.checkpoints.insert(checkpoint.sequences, manifest.clone());
        }
    }
    Ok(())
}

fn lost() -> Error {
    Error::Internal("a replayed model is gone".into())
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

/// Closes a variant's tables. How it ended: as it says itself where it failed, else so.
fn finish(
    world: &mut World,
    model: Entity,
    sequences: u64,
    end: &Status,
    arguments: &ReplayArguments,
    device: &Device,
) -> Result<Replayed> {
    let (log, folder, clock) = world.entity_mut(model).take::<(RunLog, RunFolder, Clock)>().ok_or_else(lost)?;
    let own = world.get::<Run>(model).ok_or_else(lost)?;
    let mut status = match world.get::<Status>(model) {
        Some(failed @ Status::Failed { .. }) => failed.clone(),
        _ => end.clone(),
    };
    let tallies = log.close().and_then(|tables| tables.into_iter().map(Closing::finish).collect::<Result<_>>()).map(Tallies);
    if let (Err(error), false) = (&tallies, matches!(status, Status::Failed { .. })) {
        status = Status::from(error);
    }
    let (word, message) = match &status {
        Status::Failed { why, .. } => ("failed", Some(why.clone())),
        Status::Interrupted => ("interrupted", None),
        _ => (REPLAYED, None),
    };
    let row = RunRow {
        status: word.into(),
        sequences,
        version: env!("CARGO_PKG_VERSION").into(),
        revision: env!("OPTOGEN_REVISION").into(),
        device: device::describe(device),
        threads: arguments.common.threads(),
        started: clock.started.clone(),
        seconds: clock.seconds(),
        tables: tallies.ok(),
        message,
    };
    if let (Err(error), false) = (write_run_row(&folder, own, &row), matches!(status, Status::Failed { .. })) {
        status = Status::from(&error);
    }
    let replayed = Replayed { run_id: own.run_id.clone(), folder: folder.path().to_owned(), status, opened: true };
    world.despawn(model);
    Ok(replayed)
}
