//! What belongs to a model's run beside its network: its clock, who may stop it, and what its row in the run table says.

use crate::checkpoint::Writing;
use crate::record::Journalling;
use bevy_ecs::prelude::*;
use optogen::Result;
use optogen::components::Status;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime};

/// A run's time.
#[derive(Component, Debug)]
#[require(Journalling, Writing)]
pub struct Clock {
    /// When it began for the first time, in UTC, as ISO 8601.
    pub started: String,
    /// Seconds that it ran before this process.
    before: f64,
    since: Instant,
    last_recovery: Instant,
}

impl Clock {
    /// A run that ran for `before` seconds already.
    pub fn new(before: f64) -> Self {
        let now = Instant::now();
        let started = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        Self { started, before, since: now, last_recovery: now }
    }

    /// Seconds so far, interruptions left out.
    pub fn seconds(&self) -> f64 {
        self.before + self.since.elapsed().as_secs_f64()
    }

    /// Seconds since something was kept from which the run could go on.
    pub fn unkept_seconds(&self) -> f64 {
        self.last_recovery.elapsed().as_secs_f64()
    }

    /// Something was kept.
    pub fn kept(&mut self) {
        self.last_recovery = Instant::now();
    }
}

/// Set from outside, by a signal: finish the step, keep everything, and stop.
#[derive(Resource, Clone, Default)]
pub struct StopRequest(pub Arc<AtomicBool>);

impl StopRequest {
    /// Whether it was made.
    pub fn made(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What computes, for the runs' rows.
#[derive(Resource, Clone, Debug, Default)]
pub struct Provenance {
    /// The program's version.
    pub version: String,
    /// The git revision that it was built from.
    pub revision: String,
    /// The device.
    pub device: String,
    /// Threads.
    pub threads: usize,
}

/// A model that could not write, or not be measured, stops alone.
pub(crate) fn fail(status: &mut Status, result: Result<()>) {
    if let Err(error) = result
        && *status == Status::Running
    {
        *status = Status::Failed(error.to_string());
    }
}
