//! `optogen replay`: evaluates every checkpoint of a run.

use crate::cli::ReplayArguments;
use crate::device;
use crate::evaluators::evaluators;
use crate::outcome::{Outcome, tell};
use candle_core::Device;
use optogen::checkpoint::{Checkpoint, list};
use optogen::components::Status;
use optogen::experiment::{Experiment, check_bank, load};
use optogen::log::{RunLog, RunRow, write_run_row};
use optogen::run_folder::RunFolder;
use optogen::transformer::{Parameters, Transformer};
use optogen::{Error, Result, durable};
use optogen_systems::evaluate::EvaluatePlugin;
use optogen_systems::record::RecordPlugin;
use optogen_systems::run::Clock;
use optogen_systems::spawn::{place, spawn_measured};
use optogen_systems::stage::{Begin, StagePlugin};
use optogen_systems::{app, use_threads};
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
    let outcomes = runs.iter().map(|run| replay_run(run, arguments, &device)).collect::<Result<Vec<_>>>()?;
    tell(&outcomes, &arguments.out, arguments.common.quiet)
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

fn replay_run(run: &Path, arguments: &ReplayArguments, device: &Device) -> Result<Outcome> {
    let experiment = one(load(&run.join("experiment.toml"), &[], &[])?)?;
    let run_id = run_id_of(run, &experiment);
    let checkpoints = list(&run.join("checkpoints"))?;
    let Some((_, first)) = checkpoints.first() else {
        return Err(Error::Invalid(format!("{}: there are no checkpoints to replay", run.display())));
    };
    let architecture = Checkpoint::read(first)?.architecture(&experiment, first)?;
    let drawn = experiment.evaluators.iter().any(|evaluator| evaluator.file.is_none());
    let bank = if drawn { Some(optogen_data::load_bank(&experiment.data, Path::new("."), device)?) } else { None };
    if let Some(bank) = &bank {
        check_bank(&experiment, &bank.name, bank.classes, bank.exemplars)?;
    }
    let evaluators = evaluators(&experiment, &architecture, bank.as_ref(), device)?;

    let mut app = app(|app| {
        app.add_plugins((StagePlugin, EvaluatePlugin, RecordPlugin));
    });
    let world = app.world_mut();
    let folder = RunFolder::open(&arguments.out, &run_id, false)?;
    let file = folder.path().join("experiment.toml");
    durable::write_file(&file, |to| to.write_all(experiment.to_toml().as_bytes()).map_err(Error::file(&file)))?;
    let log = RunLog::create(&folder, &experiment)?;
    let bank = bank.map(|bank| world.spawn(bank).id());
    let model = spawn_measured(world, bank, run_id.clone(), experiment.clone(), evaluators);
    world.entity_mut(model).insert((log, Clock::new(0.0)));
    let mut status = Status::Finished;
    let mut sequences = 0;
    for (at, path) in checkpoints {
        match Checkpoint::read(&path) {
            Ok(checkpoint) => {
                let parameters = Parameters::stack(&[checkpoint.parameters], device)?;
                place(world, model, Transformer::new(architecture.clone(), parameters)?, checkpoint.sequences);
                world.run_schedule(Begin);
                sequences = at;
            }
            Err(error) => status = Status::Failed(error.to_string()),
        }
    }
    if let Some(failed @ Status::Failed(_)) = world.get::<Status>(model) {
        status = failed.clone();
    }
    if let Some(log) = world.entity_mut(model).take::<RunLog>() {
        log.finish()?;
    }
    let seconds = world.get::<Clock>(model).map_or(0.0, Clock::seconds);
    let started = world.get::<Clock>(model).map(|clock| clock.started.clone()).unwrap_or_default();
    let row = RunRow {
        status: "replayed".into(),
        sequences,
        version: env!("CARGO_PKG_VERSION").into(),
        revision: env!("OPTOGEN_REVISION").into(),
        device: device::describe(device),
        threads: arguments.common.threads(),
        started,
        seconds,
        message: None,
    };
    write_run_row(&folder, &experiment, &row)?;
    Ok(Outcome { run_id, folder: folder.path().to_owned(), status })
}

fn one(mut experiments: Vec<Experiment>) -> Result<Experiment> {
    match (experiments.pop(), experiments.is_empty()) {
        (Some(experiment), true) => Ok(experiment),
        _ => Err(Error::Invalid("a run folder holds the experiment of one run".into())),
    }
}

/// The run's name as its folder has it; a folder that was renamed has the experiment's.
fn run_id_of(run: &Path, experiment: &Experiment) -> String {
    let name = run.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix("run="));
    name.map_or_else(|| experiment.run_id(), str::to_owned)
}
