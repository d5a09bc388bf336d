//! record: writes what was measured of toy models; the rows of their steps are written as everybody's are.

use crate::record::{journal, record_looks};
use crate::run::Clock;
use crate::stage::{Begin, Stage, Step};
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use optogen::components::{MemberOf, Progress, Status};
use optogen::log::RunLog;
use optogen::toy::Measures;

/// Adds the system to both schedules.
pub struct RecordPlugin;

impl Plugin for RecordPlugin {
    fn build(&self, app: &mut App) {
        app.add_systems(Step, record_measures.in_set(Stage::Record).after(record_looks).before(journal));
        app.add_systems(Begin, record_measures.in_set(Stage::Record).after(record_looks).before(journal));
    }
}

type Recorded<'a> = (&'a mut Measures, &'a MemberOf, &'a Clock, &'a mut RunLog, &'a Status);

fn record_measures(mut runs: Query<Recorded>, cohorts: Query<&Progress>) {
    for (mut measures, cohort, clock, mut log, status) in &mut runs {
        let Ok(&Progress { sequences, total, .. }) = cohorts.get(cohort.0) else { continue };
        let seen = std::mem::take(&mut measures.seen);
        if *status != Status::Running {
            continue;
        }
        for one in &seen {
            log.measure(sequences, one.measure, one.vector.map(String::from), one.value);
        }
        // A step takes less time than a row of `timing` is worth.
        if sequences == 0 || sequences == total {
            log.time(sequences, clock.seconds());
        }
    }
}
