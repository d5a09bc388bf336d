//! What belongs to a model's run beside its network: its clock, who may stop it, and what its row in the run table says.

use crate::checkpoint::Writing;
use crate::record::Journalling;
use bevy_ecs::prelude::*;
use chrono::{DateTime, SecondsFormat, Utc};
use optogen::Result;
use optogen::components::Status;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

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
        Self { started: utc(SystemTime::now()), before, since: now, last_recovery: now }
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

/// A time in UTC, as ISO 8601 to the second, also where the clock is wrong: before 1970, or so far off that there is no such date.
fn utc(time: SystemTime) -> String {
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let since = time.duration_since(SystemTime::UNIX_EPOCH).map(seconds);
    // Of the second that has begun, as after 1970.
    let since = since.unwrap_or_else(|error| -seconds(error.duration() + Duration::from_nanos(999_999_999)));
    let date = DateTime::<Utc>::from_timestamp(since, 0).map(|date| date.to_rfc3339_opts(SecondsFormat::Secs, true));
    date.unwrap_or_else(|| format!("{since} seconds after 1970"))
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
        *status = Status::from(&error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_clock_is_too_wrong_for_a_date() {
        let epoch = SystemTime::UNIX_EPOCH;
        let (day, second) = (Duration::from_secs(86_400), Duration::from_secs(1));
        assert_eq!(utc(epoch + 20_000 * day + second / 2), "2024-10-04T00:00:00Z");
        assert_eq!(utc(epoch), "1970-01-01T00:00:00Z");
        assert_eq!(utc(epoch - second / 2), "1969-12-31T23:59:59Z");
        assert_eq!(utc(epoch - 20_000 * day), "1915-03-31T00:00:00Z");
        assert_eq!(utc(epoch + 3_000_000 * day), "+10183-09-21T00:00:00Z");
        assert_eq!(utc(epoch + Duration::from_secs(1 << 60)), "1152921504606846976 seconds after 1970");
    }
}
