//! report, second half: tells how far everything is: a bar on a terminal, a line now and then in a log file.

use crate::stage::{Begin, Stage, Step};
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use optogen::components::{Active, Members, Progress, Status};
use optogen::say;
use optogen::steps::Steps;
use optogen::toy::ToyModel;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Adds the system; `quiet` leaves it out.
pub struct ReportPlugin {
    /// Say nothing.
    pub quiet: bool,
}

impl Plugin for ReportPlugin {
    fn build(&self, app: &mut App) {
        if !self.quiet {
            app.insert_resource(Display::new());
            app.add_systems(Step, report.in_set(Stage::Report).after(crate::retire::rest));
            app.add_systems(Begin, report.in_set(Stage::Report).after(crate::retire::rest));
        }
    }
}

/// How often a bar is drawn, and a line written.
const BAR: Duration = Duration::from_millis(100);
const LINE: Duration = Duration::from_secs(10);

#[derive(Resource)]
struct Display {
    /// On a terminal.
    bar: Option<ProgressBar>,
    last: Option<Instant>,
    began: Option<(Instant, u64)>,
}

impl Display {
    fn new() -> Self {
        let style =
            ProgressStyle::with_template("{bar:32.cyan/blue} {percent:>3}%  {msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        let draw = || ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr()).with_style(style.progress_chars("━╸─"));
        Self { bar: std::io::stderr().is_terminal().then(draw), last: None, began: None }
    }
}

type Told<'a> = (&'a Members, &'a Progress, &'a Steps, Has<Active>, Has<ToyModel>);

/// What is said of all models together when none goes on.
fn how_it_ended(models: &Query<&Status>) -> &'static str {
    if models.iter().any(|status| *status == Status::Interrupted) {
        "interrupted"
    } else if models.iter().all(|status| *status == Status::Finished) {
        "done"
    } else {
        // The end of the program says which, and why.
        "ended, not all of them well"
    }
}

fn report(mut display: ResMut<Display>, cohorts: Query<Told>, models: Query<&Status>) {
    let now = Instant::now();
    let done = cohorts.iter().all(|(.., active, _)| !active);
    let pause = if display.bar.is_some() { BAR } else { LINE };
    if display.last.is_some_and(|last| now - last < pause) && !done {
        return;
    }
    let sum = |of: fn(&Progress) -> u64| cohorts.iter().map(|(members, progress, ..)| members.len() as u64 * of(progress)).sum::<u64>();
    let (seen, total) = (sum(|progress| progress.sequences), sum(|progress| progress.total));
    let (began, first) = *display.began.get_or_insert((now, seen));
    let rate = (seen - first) as f64 / (now - began).as_secs_f64().max(1e-9);
    let known = cohorts.iter().filter(|cohort| cohort.3).filter_map(|(_, _, steps, ..)| steps.last());
    let losses: Vec<f64> = known.flat_map(|step| step.loss.iter().copied()).collect();
    let counted = if cohorts.iter().all(|(.., toy)| toy) { "steps" } else { "sequences" };
    let mut message = format!("{seen} of {total} {counted}");
    if seen > first {
        // Of a run that would take longer than there is time to speak of, nothing is said.
        let left = Duration::try_from_secs_f64(total.saturating_sub(seen) as f64 / rate).map(HumanDuration);
        let left = left.map_or_else(|_| String::new(), |left| format!(", {left} left"));
        message += &format!(", {rate:.0} a second{}", if done { format!(", {}", how_it_ended(&models)) } else { left });
    }
    if !losses.is_empty() {
        message += &format!(", loss {:.4}", losses.iter().sum::<f64>() / losses.len() as f64);
    }
    if losses.len() > 1 {
        message += &format!(" (mean of {} models)", losses.len());
    }
    match &display.bar {
        Some(bar) => {
            bar.set_length(total);
            bar.set_position(seen);
            bar.set_message(message);
            if done {
                bar.finish();
            }
        }
        None => say::note(message),
    }
    display.last = Some(now);
}
