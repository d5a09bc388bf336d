//! `optogen branch`: goes on from a checkpoint of a run, with other interventions.

use crate::cli::{BranchArguments, RunArguments};
use crate::logs::source_run;
use crate::replay::run_id_of;
use crate::run::train;
use bevy_app::App;
use optogen::checkpoint::{Checkpoint, list};
use optogen::experiment::ParentSpec;
use optogen::{Error, Result};

/// Branches as the arguments say; returns the exit code.
///
/// # Errors
/// There is no such checkpoint, or the experiment cannot go on from it.
pub fn branch(arguments: &BranchArguments, extend: impl Fn(&mut App)) -> Result<u8> {
    source_run(&arguments.run)?;
    let mut experiments = arguments.on_top.experiments(&arguments.run)?;
    let checkpoints = list(&arguments.run.join("checkpoints"))?;
    let Some((_, checkpoint)) = checkpoints.iter().find(|(at, _)| *at == arguments.at) else {
        let near = checkpoints.iter().min_by_key(|(at, _)| at.abs_diff(arguments.at));
        let near = near.map_or("there is none".into(), |(at, _)| format!("the nearest of {} is at {at}", checkpoints.len()));
        return Err(Error::Invalid(format!("--at {}: no such checkpoint in {}; {near}", arguments.at, arguments.run.display())));
    };
    let checkpoint = checkpoint.canonicalize().map_err(Error::file(checkpoint))?;
    for experiment in &mut experiments {
        experiment.parent = Some(ParentSpec {
            run_id: Some(run_id_of(&arguments.run, experiment)),
            sha256: Some(Checkpoint::sha256(&checkpoint)?),
            checkpoint: checkpoint.clone(),
        });
    }
    let run = RunArguments {
        file: arguments.run.join("experiment.toml"),
        out: arguments.out.clone(),
        scale: None,
        sets: Vec::new(),
        grids: Vec::new(),
        resume: arguments.resume,
        profile: false,
        cohort: None,
        common: arguments.common.clone(),
    };
    train(experiments, &run, extend)
}
