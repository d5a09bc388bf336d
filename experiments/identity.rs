//! Which run of an output folder an experiment is: the one that reads the same, wherever its inputs lie, and whatever the folder is called.

use crate::search::shown;
use optogen::experiment::{Changes, Described, Difference, Input, by_content, differences, load_written, same_content};
use optogen::log::{RunStatus, read_run_status};
use optogen::say::note;
use optogen::{Result, durable};
use std::path::Path;

/// So many unfinished runs are told, and so many keys of each.
const TOLD: (usize, usize) = (3, 5);

/// An experiment as a run.
pub struct Identity<D> {
    /// The run's name.
    pub run_id: String,
    /// Where it goes on under the name that it had before runs were known by what they read: its experiment as its folder has it.
    pub former: Option<D>,
    /// Whether the run is there already.
    pub there: bool,
}

impl<D: Described> Identity<D> {
    /// The run of an experiment, whose inputs are found, in `out`. `settled` is the experiment with its paths as they were before runs were known by the
    /// content of their inputs: a run that is there under the name that it had then goes on under it.
    pub fn of(out: &Path, resolved: &D, inputs: &[Input], settled: D) -> Self {
        let there = |run_id: &str| out.join(format!("run={run_id}")).is_dir();
        let run_id = by_content(resolved, inputs).run_id();
        let former = settled.run_id();
        if !there(&run_id) && there(&former) {
            let row = read_run_status(&out.join(format!("run={former}/run.parquet"))).unwrap_or_default();
            match row.inputs {
                Some(recorded) if !same_content(&recorded, inputs) => {}
                recorded => {
                    if recorded.is_none() {
                        note(format!("{former}: what its inputs held was not recorded when it began; that they are the same is not known"));
                    }
                    return Self { run_id: former, former: Some(settled), there: true };
                }
            }
        }
        Self { there: there(&run_id), run_id, former: None }
    }

    /// It as it was asked for.
    pub fn launched<'a>(&'a self, experiment: &'a D, inputs: &'a [Input]) -> Launched<'a, D> {
        Launched { run_id: &self.run_id, there: self.there, experiment, inputs }
    }
}

/// An experiment that was asked for, by the content of its inputs.
pub struct Launched<'a, D> {
    /// Its run.
    pub run_id: &'a str,
    /// Whether it is there already.
    pub there: bool,
    /// It.
    pub experiment: &'a D,
    /// Its inputs.
    pub inputs: &'a [Input],
}

/// Says of runs that were to be resumed and are not there that they begin, and how unfinished runs of the same name differ.
///
/// # Errors
/// The output folder cannot be read.
pub fn tell_what_begins<D: Described>(out: &Path, launched: &[Launched<D>], quiet: bool) -> Result<()> {
    let fresh: Vec<&Launched<D>> = launched.iter().filter(|one| !one.there).collect();
    let Some(first) = fresh.first() else { return Ok(()) };
    let mut others = Vec::new();
    for folder in durable::entries(out)? {
        let known = |run_id: &str| launched.iter().any(|one| one.run_id == run_id);
        let Some(run_id) = folder.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix("run=")) else { continue };
        if known(run_id) || !fresh.iter().any(|one| name_in(one.run_id) == name_in(run_id)) {
            continue;
        }
        // What cannot be read is told when it is resumed.
        let Ok(row) = read_run_status(&folder.join("run.parquet")) else { continue };
        let Ok(own) = load_written::<D>(&folder.join("experiment.toml"), None, &Changes::default()) else { continue };
        if ["running", "interrupted"].contains(&row.status.as_str())
            && let Some(difference) = own.experiments.first().and_then(|own| least_difference(own, &row, &fresh))
        {
            others.push((run_id.to_owned(), row, difference));
        }
    }
    if others.is_empty() && quiet {
        return Ok(());
    }
    others.sort_by_key(|(_, _, differences)| differences.len());
    let (count, run_id) = (fresh.len(), first.run_id);
    let what = if count == 1 { format!("{run_id} begins") } else { format!("{count} runs begin, {run_id} the first") };
    note(format!("--resume: nothing to go on with in {}; {what}", out.display()));
    for (run_id, row, differences) in others.iter().take(TOLD.0) {
        let keys: Vec<String> = differences.iter().take(TOLD.1).map(told).collect();
        let more = differences.len().saturating_sub(TOLD.1);
        let more = if more > 0 { format!(", and in {more} more") } else { String::new() };
        note(format!("  {run_id} is there, {} after {} sequences; it differs in {}{more}", row.status, row.sequences, keys.join(", ")));
    }
    Ok(())
}

/// The keys in which a run differs from the experiment that it differs least from.
fn least_difference<D: Described>(own: &D, row: &RunStatus, fresh: &[&Launched<D>]) -> Option<Vec<Difference>> {
    let own = by_content(own, row.inputs.as_deref().unwrap_or_default());
    let from = |one: &&Launched<D>| {
        let mut all = differences(&own, &by_content(one.experiment, one.inputs));
        all.retain(|difference| !difference.is_below(&["checkpoint.recovery_seconds"]));
        all
    };
    fresh.iter().map(from).min_by_key(Vec::len)
}

fn told(difference: &Difference) -> String {
    let value = |value: &Option<String>| match value {
        None => "nothing".to_owned(),
        Some(value) => value.trim_matches('"').strip_prefix("sha256:").map_or_else(|| value.clone(), shown),
    };
    format!("{} ({} there, {} here)", difference.key, value(&difference.one), value(&difference.other))
}

/// An experiment's name in its run's.
fn name_in(run_id: &str) -> &str {
    run_id.rsplit_once('-').map_or(run_id, |(name, _)| name)
}
