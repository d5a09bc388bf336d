//! profile: how the time of a run divides among the stages of its steps.

use crate::stage::{Stage, Step};
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use std::time::{Duration, Instant};

/// Stamps the time between the stages; nothing is measured without it.
pub struct ProfilePlugin;

/// The stages in their order.
const STAGES: [(Stage, &str); 12] = [
    (Stage::Clamp, "clamp"),
    (Stage::Sample, "sample"),
    (Stage::Forward, "forward"),
    (Stage::Backward, "backward"),
    (Stage::Update, "update"),
    (Stage::Evaluate, "evaluate"),
    (Stage::Measure, "measure"),
    (Stage::React, "react"),
    (Stage::Record, "record"),
    (Stage::Checkpoint, "checkpoint"),
    (Stage::Report, "report"),
    // What lies between two steps.
    (Stage::Clamp, "between steps"),
];

/// The time of each stage so far.
#[derive(Resource)]
pub struct Profile {
    last: Instant,
    times: [Duration; STAGES.len()],
    steps: u64,
}

impl Plugin for ProfilePlugin {
    fn build(&self, app: &mut App) {
        app.insert_resource(Profile { last: Instant::now(), times: Default::default(), steps: 0 });
        let between = STAGES.len() - 1;
        app.add_systems(Step, (move |mut profile: ResMut<Profile>| profile.stamp(between)).before(Stage::Clamp));
        for (index, (stage, _)) in STAGES[..between].iter().enumerate() {
            let stamp = move |mut profile: ResMut<Profile>| profile.stamp(index);
            match STAGES[..between].get(index + 1) {
                Some((next, _)) => app.add_systems(Step, stamp.after(*stage).before(*next)),
                None => app.add_systems(Step, stamp.after(*stage)),
            };
        }
    }
}

impl Profile {
    fn stamp(&mut self, stage: usize) {
        let now = Instant::now();
        // What lies before the first step is not between two.
        if self.steps > 0 || stage + 1 < STAGES.len() {
            self.times[stage] += now - self.last;
        }
        self.last = now;
        self.steps += u64::from(stage == 0);
    }

    /// Divides the time that some steps took at once among the stages, as the cohorts' times do.
    pub(crate) fn divide(&mut self, took: Duration, steps: u32, times: impl Iterator<Item = (Stage, Duration)>) {
        let mut shares = [0.0; STAGES.len()];
        for (stage, time) in times {
            if let Some(index) = STAGES.iter().position(|(other, _)| *other == stage) {
                shares[index] += time.as_secs_f64();
            }
        }
        let all: f64 = shares.iter().sum();
        if all > 0.0 {
            self.times.iter_mut().zip(shares).for_each(|(time, share)| *time += took.mul_f64(share / all));
            // It is no other stage's any more.
            self.last += took;
        }
        self.steps += u64::from(steps);
    }

    /// The stages with seconds, microseconds a step and share, the longest first.
    pub fn told(&self) -> String {
        let total: f64 = self.times.iter().map(Duration::as_secs_f64).sum();
        let mut rows: Vec<(&str, f64)> = STAGES.iter().zip(self.times).map(|((_, name), time)| (*name, time.as_secs_f64())).collect();
        rows.sort_by(|a, b| b.1.total_cmp(&a.1));
        let line = |(name, seconds): &(&str, f64)| {
            let (each, share) = (seconds * 1e6 / self.steps.max(1) as f64, 100.0 * seconds / total.max(1e-9));
            format!("{name:14} {seconds:9.3} s {each:10.1} µs a step {share:6.1} %\n")
        };
        format!("{} steps, all models together\n{}", self.steps, rows.iter().map(line).collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stages_are_stamped_in_their_order() {
        let mut app = crate::app(|app| {
            app.add_plugins((crate::TrainingPlugins, crate::KeepingPlugins, ProfilePlugin));
        });
        (0..3).for_each(|_| app.world_mut().run_schedule(Step));
        let told = app.world().resource::<Profile>().told();
        assert!(told.starts_with("3 steps, all models together\n"), "{told}");
        assert_eq!(told.lines().count(), 13);
        assert!(told.contains("backward ") && told.contains("between steps "), "{told}");
    }

    #[test]
    fn the_time_of_steps_at_once_is_divided() {
        let mut profile = Profile { last: Instant::now(), times: Default::default(), steps: 1 };
        let times = [(Stage::Sample, 1), (Stage::Forward, 5), (Stage::Forward, 2)].map(|(stage, time)| (stage, Duration::from_secs(time)));
        profile.divide(Duration::from_secs(4), 3, times.into_iter());
        assert_eq!(profile.steps, 4);
        assert_eq!(profile.times.map(|time| time.as_secs_f64())[..4], [0.0, 0.5, 3.5, 0.0]);
    }
}
