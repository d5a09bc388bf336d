//! `optogen run`: trains the networks of an experiment file.

use crate::cli::RunArguments;
use crate::evaluators::{evaluators, write_evaluators};
use crate::identity::{Identity, tell_what_begins};
use crate::inputs::{Inputs, Purpose, Resolved};
use crate::outcome::{Outcome, quoted, tell};
use crate::search::Asked;
use crate::{device, exit, open_files, signals, toy};
use bevy_app::App;
use bevy_ecs::prelude::*;
use candle_core::Device;
use optogen::bank::ClassBank;
use optogen::checkpoint::{Checkpoint, forget_recovery_points_after, latest_verified, list};
use optogen::components::{Active, Evaluator, Run, Status};
use optogen::experiment::{DataSpec, Experiment, Input, ParentSpec, TrainSpec, check_bank, has_table};
use optogen::log::{RunLog, RunStatus, SavedTables, read_run_status};
use optogen::look::writing;
use optogen::run_folder::{RunFolder, refuse_existing};
use optogen::transformer::{Architecture, check_shapes};
use optogen::{Error, Result, durable, say};
use optogen_systems::clamp::{DonorShelf, check_interventions};
use optogen_systems::profile::{Profile, ProfilePlugin};
use optogen_systems::report::ReportPlugin;
use optogen_systems::retire::write_row;
use optogen_systems::run::{Clock, Provenance, StopRequest};
use optogen_systems::runs_memory::RunsMemory;
use optogen_systems::spawn::{StartingPoint, architecture, check_training, cohort_memory, form_cohorts, spawn_model};
use optogen_systems::stage::{Begin, Step};
use optogen_systems::toy::ToyPlugins;
use optogen_systems::{KeepingPlugins, TrainingPlugins, app, use_threads};
use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Runs everything that the arguments ask for; returns the exit code.
///
/// # Errors
/// The experiment, its data or the output folder are not as they should be. Nothing is written then, but for folders of runs that are.
pub fn run(arguments: &RunArguments, extend: impl Fn(&mut App)) -> Result<u8> {
    if has_table(&arguments.file, "toy")? {
        return toy::run(arguments, extend);
    }
    train(&Asked::of_file(&arguments.file, &arguments.changes())?, arguments, extend)
}

/// Trains these experiments as the arguments say.
pub(crate) fn train(asked: &Asked<Experiment>, arguments: &RunArguments, extend: impl Fn(&mut App)) -> Result<u8> {
    let device = device::device(&arguments.common.device)?;
    let mut app = app_for(arguments, &device, extend)?;
    let world = app.world_mut();
    let plans = plan(world, asked, &device, arguments)?;
    let runs = start_each(plans, arguments, |trained, found| start(world, trained, found))?;
    let models: Vec<Entity> = runs.iter().filter_map(Started::entity).collect();
    let size = arguments.cohort.map_or(if device.is_cpu() { 1 } else { usize::MAX }, |size| size as usize);
    if !arguments.common.quiet {
        for cohort in cohort_memory(world, &models, size)? {
            say::note(cohort.told());
        }
    }
    form_cohorts(world, &models, size, &device)?;
    let outcomes = step_to_the_end(world, runs, &arguments.out)?;
    // Models and bank make room for the pictures.
    drop(app);
    Ok(tell(&outcomes, arguments.common.quiet))
}

/// An app in which everything happens that is to happen to runs, whatever learns in them.
pub(crate) fn app_for(arguments: &RunArguments, device: &Device, extend: impl Fn(&mut App)) -> Result<App> {
    use_threads(arguments.common.threads());
    let stop = StopRequest::default();
    signals::listen(&stop)?;
    let mut app = app(|app| {
        app.add_plugins((TrainingPlugins, ToyPlugins, KeepingPlugins, ReportPlugin { quiet: arguments.common.quiet }));
        extend(app);
        if arguments.profile {
            app.add_plugins(ProfilePlugin);
        }
    });
    let world = app.world_mut();
    world.insert_resource(stop);
    world.insert_resource(Provenance {
        version: env!("CARGO_PKG_VERSION").into(),
        revision: env!("OPTOGEN_REVISION").into(),
        device: device::describe(device),
        threads: arguments.common.threads(),
    });
    Ok(app)
}

/// Steps until no run has a step to do.
pub(crate) fn step_to_the_end(world: &mut World, runs: Vec<Started>, out: &Path) -> Result<Vec<Outcome>> {
    for entity in runs.iter().filter_map(Started::entity) {
        if let (Err(error), Some(mut status)) = (write_row(world, entity), world.get_mut::<Status>(entity)) {
            *status = Status::from(&error);
        }
    }
    world.run_schedule(Begin);
    let mut active = world.query_filtered::<(), With<Active>>();
    while active.iter(world).next().is_some() {
        world.run_schedule(Step);
    }
    if let Some(profile) = world.get_resource::<Profile>() {
        say::note(profile.told().trim_end());
    }
    let outcome = |run: Started| {
        let status = match &run.begun {
            Ok(entity) => entity.and_then(|entity| world.get::<Status>(entity).cloned()).unwrap_or(Status::Finished),
            Err(error) => Status::from(error),
        };
        let file = run.folder.join("experiment.toml");
        // One that could not be opened may have none.
        let again = match run.begun.is_ok() {
            true => format!("optogen run {} --out {} --resume", quoted(file.display()), quoted(out.display())),
            false => "the same command and --resume".into(),
        };
        Outcome { run_id: run.run_id, folder: run.folder, status, again, opened: run.begun.is_ok() }
    };
    Ok(runs.into_iter().map(outcome).collect())
}

/// A run that can be done, checked before anything is written.
pub(crate) struct Plan<P> {
    pub(crate) run_id: String,
    /// The names of its tables.
    pub(crate) tables: Vec<String>,
    pub(crate) what: P,
}

/// What it takes to begin one that trains a transformer.
struct Trained {
    experiment: Experiment,
    identity: Identity<Experiment>,
    inputs: Vec<Input>,
    bank: Entity,
    evaluators: Vec<Evaluator>,
    parent: Option<Checkpoint>,
}

fn plan(world: &mut World, asked: &Asked<Experiment>, device: &Device, arguments: &RunArguments) -> Result<Vec<Plan<Trained>>> {
    let mut memory = RunsMemory::new(device.is_cpu());
    let reader = Inputs::new(device, &arguments.also.data, Purpose::Training)?;
    let (mut banks, mut known): (Vec<(DataSpec, Entity)>, HashSet<String>) = Default::default();
    let (mut plans, mut idle) = (Vec::new(), Vec::new());
    for written in &asked.written.experiments {
        let Resolved { mut experiment, mut inputs, bank, given, donors } = reader.find(written, asked)?;
        let bank = bank.ok_or_else(|| Error::Internal("a run without a class bank".into()))?;
        let data = &experiment.data;
        let same = |other: &DataSpec| other.bank == data.bank && other.dataset == data.dataset && other.classes == data.classes;
        let entity = match banks.iter().find(|(other, _)| same(other)) {
            Some((_, entity)) => *entity,
            None => {
                memory.add_bank(&bank);
                let entity = world.spawn(bank.clone()).id();
                banks.push((data.clone(), entity));
                entity
            }
        };
        check_bank(&experiment, &bank.name, bank.classes, bank.exemplars)?;
        check_training(&experiment)?;
        let architecture = architecture(&experiment, &bank);
        let identity = Identity::of(&arguments.out, &experiment, &inputs, asked.written.settled(written));
        if !known.insert(identity.run_id.clone()) {
            let message = format!("the sweep asks for the same run twice ({}): all that it reads is the same", identity.run_id);
            return Err(Error::Invalid(message));
        }
        if !is_finished(&identity.run_id, arguments) {
            memory.add(&experiment, &architecture).map_err(|message| Error::input(&arguments.file, message))?;
        }
        let evaluators = evaluators(&experiment, &architecture, Some(&bank), &given)?;
        let mut parent = None;
        if !has_checkpoints(&arguments.out, &identity.run_id)
            && let Some(spec) = &mut experiment.parent
        {
            reader.parent(spec, asked, &mut inputs)?;
            parent = Some(read_parent(spec, &experiment.train, &architecture)?);
        }
        let seen = parent.as_ref().map_or(0, |parent| parent.sequences)..=experiment.train.total();
        idle.extend(check_interventions(&experiment, &architecture, &evaluators, false, &donors, seen)?);
        world.get_resource_or_init::<DonorShelf>().0.extend(donors);
        let sizes: Vec<_> = evaluators.iter().map(|one| (one.name.clone(), one.count(), one.pairs())).collect();
        for hook in writing(&experiment, &architecture, &sizes, None)? {
            if !arguments.common.quiet {
                say::note(hook.told());
            }
        }
        let (run_id, tables) = (identity.run_id.clone(), experiment.tables());
        plans.push(Plan { run_id, tables, what: Trained { experiment, identity, inputs, bank: entity, evaluators, parent } });
    }
    if arguments.resume {
        let launched: Vec<_> = plans.iter().map(|Plan { what, .. }| what.identity.launched(&what.experiment, &what.inputs)).collect();
        tell_what_begins(&arguments.out, &launched, arguments.common.quiet)?;
    }
    warn(idle);
    Ok(plans)
}

/// Whether a run is only shown.
fn is_finished(run_id: &str, arguments: &RunArguments) -> bool {
    let row = RunFolder::place(&arguments.out, run_id).join("run.parquet");
    arguments.resume && row.exists() && read_run_status(&row).is_ok_and(|row| row.status == FINISHED)
}

/// Says what cannot act, also where progress is not wanted: once, however many runs it is of.
pub(crate) fn warn(mut idle: Vec<String>) {
    let mut said = HashSet::new();
    idle.retain(|line| said.insert(line.clone()));
    idle.iter().for_each(|line| say::note(format!("warning: {line}")));
}

/// Whether a run has checkpoints of its own from which it may go on.
fn has_checkpoints(out: &Path, run_id: &str) -> bool {
    let folder = out.join(format!("run={run_id}"));
    ["checkpoints", "recovery"].iter().any(|kind| list(&folder.join(kind)).is_ok_and(|all| !all.is_empty()))
}

/// The checkpoint from which a run goes on that has none of its own.
fn read_parent(parent: &ParentSpec, train: &TrainSpec, architecture: &Architecture) -> Result<Checkpoint> {
    let path = &parent.checkpoint;
    let checkpoint = Checkpoint::read(path)?;
    check_checkpoint(&checkpoint, architecture, path).map_err(|error| Error::Invalid(format!("parent.checkpoint: {error}")))?;
    let (batch, total) = (train.batch as u64, train.total());
    if checkpoint.sequences >= total || !checkpoint.sequences.is_multiple_of(batch) {
        return Err(Error::Invalid(format!(
            "parent.checkpoint: {} sequences seen; to go on, train.sequences must be more (it is {total}), and train.batch ({batch}) divide it",
            checkpoint.sequences
        )));
    }
    Ok(checkpoint)
}

pub(crate) fn check_checkpoint(checkpoint: &Checkpoint, architecture: &Architecture, path: &Path) -> Result<()> {
    let shapes = checkpoint.parameters.iter().map(|(name, tensor)| (name.as_str(), tensor.dims()));
    check_shapes(architecture, shapes, <[usize]>::to_vec)
        .map_err(|error| Error::damaged(path, format!("its checkpoint is of another model: {error}")))
}

/// A run in the world, one that was finished before, or one that could not be begun.
pub(crate) struct Started {
    run_id: String,
    folder: PathBuf,
    begun: Result<Option<Entity>>,
}

impl Started {
    fn entity(&self) -> Option<Entity> {
        self.begun.as_ref().ok().copied().flatten()
    }
}

/// Opens the folder of each run and has it begun by `start`, unless it is finished. One for which that fails keeps the others from nothing.
///
/// # Errors
/// Before a folder is made: a run is there already, and `--resume` is not asked for; more files would be open than are allowed. Afterwards: none of
/// the runs could be begun.
pub(crate) fn start_each<P>(
    plans: Vec<Plan<P>>,
    arguments: &RunArguments,
    mut start: impl FnMut(P, Found) -> Result<Entity>,
) -> Result<Vec<Started>> {
    if !arguments.resume {
        plans.iter().try_for_each(|plan| refuse_existing(&arguments.out, &plan.run_id))?;
    }
    // A lock each, and the journals.
    let kept: Vec<usize> = plans.iter().filter(|plan| !is_finished(&plan.run_id, arguments)).map(|plan| 1 + plan.tables.len()).collect();
    open_files::allow(&arguments.out, kept.len(), kept.iter().sum(), arguments.common.threads())?;
    let mut runs = Vec::new();
    for Plan { run_id, tables, what } in plans {
        let folder = RunFolder::place(&arguments.out, &run_id);
        let found = Found::open(&run_id, &tables, arguments);
        let begun = found.and_then(|found| if found.finished { Ok(None) } else { start(what, found).map(Some) });
        runs.push(Started { run_id, folder, begun });
    }
    if runs.iter().any(|run| run.begun.is_ok()) {
        return Ok(runs);
    }
    let mut errors = runs.into_iter().filter_map(|run| run.begun.err());
    let first = errors.next().unwrap_or_else(|| Error::Internal("an experiment without runs".into()));
    errors.for_each(|error| _ = exit::refused(&error));
    Err(first)
}

fn start(world: &mut World, trained: Trained, found: Found) -> Result<Entity> {
    let Trained { experiment, identity, inputs, bank, evaluators, parent } = trained;
    let (run_id, folder) = (identity.run_id, found.folder.path().to_owned());
    let features = world.get::<ClassBank>(bank).cloned().ok_or_else(|| Error::Internal("a class bank is gone".into()))?;
    if let Some(checkpoint) = &found.checkpoint {
        check_checkpoint(checkpoint, &architecture(&experiment, &features), &folder)?;
    }
    let begin = match (found.checkpoint.clone().or(parent), &experiment.parent) {
        (Some(checkpoint), _) => StartingPoint::from_checkpoint(checkpoint),
        // Its own checkpoints were there, and damaged.
        (None, Some(spec)) => {
            let architecture = architecture(&experiment, &features);
            StartingPoint::from_checkpoint(read_parent(spec, &experiment.train, &architecture)?)
        }
        (None, None) => StartingPoint::initial(&experiment, &features)?,
    };
    let run = Run { inputs, ..identity.former.as_ref().unwrap_or(&experiment).run(run_id.clone()) };
    let kept = found.go_on(&run.toml, begin.sequences)?;
    if experiment.evaluation.write {
        write_evaluators(&folder.join("evaluation.h5"), &evaluators, &features)?;
    }
    let model = spawn_model(world, bank, run_id.clone(), experiment, evaluators, begin)?;
    world.entity_mut(model).insert((kept, run));
    Ok(model)
}

/// The status of a run that has seen all its sequences.
const FINISHED: &str = "finished";

/// A run's folder, and how far the run came in it before.
pub(crate) struct Found {
    pub(crate) folder: RunFolder,
    /// It came to its end, and its tables are as it left them.
    pub(crate) finished: bool,
    /// The latest moment from which it can go on: one that its tables reach.
    pub(crate) checkpoint: Option<Checkpoint>,
    saved: SavedTables,
    seconds: f64,
    warnings: Vec<String>,
}

impl Found {
    /// Opens the folder of a run with these tables.
    pub(crate) fn open(run_id: &str, tables: &[String], arguments: &RunArguments) -> Result<Self> {
        let folder = RunFolder::open(&arguments.out, run_id, arguments.resume)?;
        let mut warnings = Vec::new();
        let RunStatus { status, seconds, tables: tallies, .. } = last_status(&folder, &mut warnings)?;
        let before = warnings.len();
        let saved = SavedTables::read(&folder, tables, &mut warnings)?;
        let mut finished = status == FINISHED && warnings.len() == before;
        if let (true, Some(what)) = (finished, saved.fault(&tallies.0)?) {
            warnings.push(format!("{}: it was finished, and now {what}", folder.path().display()));
            finished = false;
        }
        let missing = |checkpoint: &Checkpoint| saved.missing_at(checkpoint.sequences, &checkpoint.tables);
        let checkpoint = if finished { None } else { latest_verified(&folder, missing, &mut warnings)? };
        Ok(Self { folder, finished, checkpoint, saved, seconds, warnings })
    }

    /// Writes the experiment and opens the tables as they were when `from` sequences had been seen: what a run is kept with.
    pub(crate) fn go_on(self, toml: &str, from: u64) -> Result<(RunFolder, RunLog, Clock)> {
        for warning in self.warnings {
            say::note(format!("warning: {warning}"));
        }
        forget_recovery_points_after(&self.folder.recovery(), from)?;
        let log = RunLog::resume(&self.folder, &self.saved, from)?;
        let file = self.folder.path().join("experiment.toml");
        durable::write_file(&file, |to| to.write_all(toml.as_bytes()).map_err(Error::file(&file)))?;
        Ok((self.folder, log, Clock::new(self.seconds)))
    }
}

/// How the run stood when it was last written down; a damaged row, or one of another run, is set aside.
fn last_status(folder: &RunFolder, warnings: &mut Vec<String>) -> Result<RunStatus> {
    let row = folder.table("run");
    if !row.exists() {
        return Ok(Default::default());
    }
    let read = read_run_status(&row).and_then(|status| match status.run_id == folder.run_id() {
        true => Ok(status),
        false => Err(Error::damaged(&row, format!("the row of the run {}, this is {}", status.run_id, folder.run_id()))),
    });
    read.or_else(|error| match error {
        Error::Damaged { .. } => {
            warnings.push(durable::set_aside(&row, folder.path(), &error)?);
            Ok(Default::default())
        }
        error => Err(error),
    })
}
