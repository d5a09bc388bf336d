//! `optogen branch`: goes on from a checkpoint of a run, with other interventions.

use crate::changed::IN_A_BRANCH;
use crate::cli::{BranchArguments, RunArguments};
use crate::logs::source_run;
use crate::run::train;
use crate::search::absolute;
use bevy_app::App;
use optogen::checkpoint::{Checkpoint, list};
use optogen::experiment::ParentSpec;
use optogen::{Error, Result};

/// Branches as the arguments say; returns the exit code.
///
/// # Errors
/// There is no such checkpoint, the experiment cannot go on from it, or a key was changed that makes another model of it.
pub fn branch(arguments: &BranchArguments, extend: impl Fn(&mut App)) -> Result<u8> {
    source_run(&arguments.run)?;
    let mut asked = arguments.on_top.experiments(&arguments.run)?;
    IN_A_BRANCH.check(&asked)?;
    let checkpoints = list(&arguments.run.join("checkpoints"))?;
    let Some((_, checkpoint)) = checkpoints.iter().find(|(at, _)| *at == arguments.at) else {
        let near = checkpoints.iter().min_by_key(|(at, _)| at.abs_diff(arguments.at));
        let near = near.map_or("there is none".into(), |(at, _)| format!("the nearest of {} is at {at}", checkpoints.len()));
        let begun =
            "; a branch that has begun needs it no more, and goes on with optogen run OUT/run=ID/experiment.toml --out OUT --resume";
        let begun = if arguments.resume { begun } else { "" };
        return Err(Error::Invalid(format!("--at {}: no such checkpoint in {}; {near}{begun}", arguments.at, arguments.run.display())));
    };
    let checkpoint = absolute(checkpoint);
    let (run_id, sha256) = (Checkpoint::read(&checkpoint)?.run_id, Checkpoint::sha256(&checkpoint)?);
    for experiment in &mut asked.written.experiments {
        let (checkpoint, run_id, sha256) = (checkpoint.clone(), Some(run_id.clone()), Some(sha256.clone()));
        experiment.parent = Some(ParentSpec { checkpoint, run_id, sha256 });
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
        also: arguments.also.clone(),
        common: arguments.common.clone(),
    };
    train(&asked, &run, extend)
}
