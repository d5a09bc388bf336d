//! Interventions and passes that cannot act. It is said at the start, since a run in which nothing was clamped looks like one in which clamping did
//! nothing.

use optogen::clamp::{Phase, Plan};
use optogen::experiment::{Action, Experiment, InputName, InterventionSpec, Moment};
use std::ops::RangeInclusive;

/// What holds in training or in one evaluator, and how many sequences there are in it, of a batch or of the evaluator.
pub(crate) struct Occasion<'a> {
    pub phase: Phase<'a>,
    pub plan: Plan,
    pub sequences: usize,
}

impl Occasion<'_> {
    fn name(&self) -> String {
        match self.phase {
            Phase::Training => "in training".into(),
            Phase::Evaluator(name, _) => format!("in evaluator \"{name}\""),
        }
    }

    fn reads(&self, pass: &str) -> bool {
        self.plan.passes_read().any(|read| read == pass)
    }
}

/// A line for each pass and intervention that cannot act between two moments, in sequences seen. In a replay what is meant for training alone is passed
/// over, in a run what is meant for replays.
pub(crate) fn idle(experiment: &Experiment, occasions: &[Occasion], replayed: bool, seen: &RangeInclusive<u64>) -> Vec<String> {
    let is_read = |pass: &str| occasions.iter().any(|occasion| occasion.reads(pass));
    let mut lines = Vec::new();
    for pass in &experiment.passes {
        let name = &pass.name;
        if !is_read(name) {
            lines.push(format!(
                "pass \"{name}\" changes nothing: no intervention reads it, as action = {{ copy = {{ pass = \"{name}\" }} }} does"
            ));
        } else if pass.input == Some(InputName::NextSequence) {
            lines.extend(single(occasions.iter().filter(|occasion| occasion.reads(name)), replayed, |places| {
                format!("pass \"{name}\" reads no other sequences {places}: there is only one")
            }));
        }
    }
    for (index, one) in experiment.interventions.iter().enumerate() {
        let meant = |word: &str| !one.during.is_empty() && one.during.iter().all(|name| name == word);
        let elsewhere = meant(if replayed { "training" } else { "replay" });
        if elsewhere || one.pass.as_deref().is_some_and(|pass| !is_read(pass)) {
            continue;
        }
        let own: Vec<&Occasion> = occasions.iter().filter(|occasion| occasion.plan.interventions().any(|other| other == index)).collect();
        if let Some(why) = why_never(experiment, one, &own, replayed, seen) {
            lines.push(format!("intervention \"{}\" never acts: {why}", one.title()));
        } else if matches!(one.action, Action::Mean | Action::Resample) {
            lines.extend(single(own.into_iter(), replayed, |places| {
                format!("intervention \"{}\" changes nothing {places}: there is only one sequence", one.title())
            }));
        }
    }
    lines
}

/// Why an intervention never acts, if it does not; `own` are those occasions on which it is there at all.
fn why_never(
    experiment: &Experiment,
    one: &InterventionSpec,
    own: &[&Occasion],
    replayed: bool,
    seen: &RangeInclusive<u64>,
) -> Option<String> {
    if one.strength == 0.0 {
        return Some("its strength is 0".into());
    }
    if one.action.leaves_all_as_it_is() {
        return Some(format!("\"{}\" leaves the entries as they are", one.action.name()));
    }
    if own.is_empty() {
        return Some(match &one.pass {
            Some(pass) => format!("pass \"{pass}\" is not read while it holds"),
            None => "no sequence has the entries that it chooses".into(),
        });
    }
    let (start, end) = (*seen.start(), *seen.end());
    let is_evaluated = own.iter().any(|occasion| occasion.phase != Phase::Training);
    // The last step begins a batch before the end, at which only evaluators are left.
    let last = if is_evaluated { end } else { end.saturating_sub(experiment.train.batch as u64) };
    let [begins, ends] =
        if replayed { ["the first checkpoint is at", "the last checkpoint is at"] } else { ["the run begins at", "the run ends at"] };
    if let Moment::Sequences(from) = one.from
        && (from > last || one.ramp > 0 && from == last)
    {
        return Some(format!("it begins after {from} sequences, and {ends} {end}"));
    }
    match one.until {
        Some(Moment::Sequences(until)) if until <= start => Some(format!("it ends after {until} sequences, and {begins} {start}")),
        _ => None,
    }
}

/// A line about those occasions on which there is a single sequence, if there are any.
fn single<'a>(occasions: impl Iterator<Item = &'a Occasion<'a>>, replayed: bool, line: impl FnOnce(String) -> String) -> Option<String> {
    let alone = |occasion: &&Occasion| occasion.sequences == 1 && !(replayed && occasion.phase == Phase::Training);
    let places: Vec<String> = occasions.filter(alone).map(Occasion::name).collect();
    (!places.is_empty()).then(|| line(places.join(", ")))
}
