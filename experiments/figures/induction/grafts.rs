//! Appendix D: which layer 1 training goes on from, which heads attend to the previous token, and the clamps as measures of progress.

use super::clamps::before;
use super::{Runs, TRAIN, analysed, lines, sequences, thick_first};
use crate::draw::{Axis, BLACK, Colour, Figure, Legend, Panel, Series};
use crate::figures::Product;
use crate::logs::Run;
use optogen::Result;
use optogen::experiment::Action;
use plotters::style::RGBColor;

const ORANGE: Colour = RGBColor(255, 127, 0);
const RED: Colour = RGBColor(227, 26, 28);
const GREEN: Colour = RGBColor(51, 160, 44);
const BLUE: Colour = RGBColor(31, 120, 180);
const VIOLET: Colour = RGBColor(152, 78, 163);

/// Figure 7: embeddings and layer 1 taken, and kept, from finished models.
pub fn frozen(runs: &Runs) -> Result<Product> {
    let grafted = runs.of("graft")?;
    let mut donors: Vec<String> = grafted.iter().map(donor).collect();
    donors.sort();
    donors.dedup();
    let mut series = lines("standard training", &runs.of("main")?, BLACK, |run| Ok(before(run.loss(TRAIN)?, 6e5)))?;
    for (name, colour) in donors.iter().zip([RED, GREEN, BLUE, VIOLET].into_iter().cycle()) {
        let alike = grafted.iter().filter(|run| donor(run) == *name);
        series.extend(lines(&format!("layer 1 of {name}"), alike, colour, |run| Ok(before(run.loss(TRAIN)?, 6e5)))?);
    }
    let panel = Panel::new(sequences(), Axis::of("Loss")).with(thick_first(series)).legend(Legend::Names(String::new()));
    Ok(Figure::of("Loss with embeddings and layer 1 of finished models", panel).into())
}

/// Whose layers a run begins with: the seed of the donor, or what its path is called.
fn donor(run: &Run) -> String {
    let Some(path) = run.experiment.passes.iter().find_map(|pass| pass.donor.as_ref()) else { return "no donor".into() };
    let seed = path.ancestors().find_map(|folder| Run::read(folder).ok()).map(|donor| format!("seed {}", donor.seed()));
    seed.unwrap_or_else(|| path.display().to_string())
}

/// Figure 8: which heads of layer 1 attend to the previous token.
pub fn previous_token(runs: &Runs) -> Result<Product> {
    let folders = [
        ("none", "one_head", BLACK),
        ("one head", "previous_token", ORANGE),
        ("another head", "previous_token_other", RED),
        ("three heads", "previous_token_some", GREEN),
        ("all heads", "previous_token_all", BLUE),
    ];
    let mut series = Vec::new();
    for (name, folder, colour) in folders {
        let found = runs.of(folder)?;
        let name = found.first().and_then(clamped_heads).unwrap_or_else(|| name.into());
        series.extend(lines(&name, &found, colour, |run| Ok(before(run.loss(TRAIN)?, 8e5)))?);
    }
    let panel = Panel::new(sequences(), Axis::of("Loss")).with(thick_first(series)).legend(Legend::Names("Clamped in\nlayer 1".into()));
    Ok(Figure::of("Loss with heads of layer 1 clamped to the previous token", panel).into())
}

/// The heads of layer 1 that are clamped to the previous token, as a name.
fn clamped_heads(run: &Run) -> Option<String> {
    let one = run.experiment.interventions.iter().find(|one| matches!(one.action, Action::PreviousToken { .. }))?;
    let heads = one.heads.of(run.experiment.model.heads);
    let numbers: Vec<String> = heads.iter().map(usize::to_string).collect();
    Some(match heads.len() {
        1 => format!("head {}", numbers[0]),
        all if all == run.experiment.model.heads => "all heads".into(),
        _ => format!("heads {}", numbers.join(", ")),
    })
}

/// Figure 10: clamps while training, beside the same clamps as measures of the progress of a run that was trained without.
pub fn progress(runs: &Runs) -> Result<Product> {
    let mut clamped = Vec::new();
    for (name, folder, colour) in [("1", "previous_token", ORANGE), ("1, 2, 3qk, 4\n(match)", "match", GREEN)] {
        clamped.extend(lines(name, &runs.of(folder)?, colour, |run| Ok(before(run.loss(TRAIN)?, 6e5)))?);
    }
    let (mut composite, mut copy) = (Vec::new(), Vec::new());
    for run in runs.of("progress")? {
        let has = |wanted: fn(&Action) -> bool| run.experiment.interventions.iter().any(|one| wanted(&one.action));
        if has(|action| matches!(action, Action::Induction { .. } | Action::Match { .. })) {
            copy.push(run);
        } else if has(|action| matches!(action, Action::PreviousToken { .. })) {
            composite.push(run);
        }
    }
    let mut measured: Vec<Series> = Vec::new();
    for (name, replays, colour) in
        [("composite sub-circuit\n(steps 2, 3qkv, 4, 5)", composite, ORANGE), ("copy sub-circuit\n(steps 3v, 5)", copy, GREEN)]
    {
        measured.extend(lines(name, &replays, colour, |run| Ok(before(analysed(run, "loss")?, 6e5)))?);
    }
    let panel = |title: &str, series, legend: &str| {
        let axes = Panel::new(sequences().between(0.0, 6e5), Axis::of("Loss").between(0.0, 2.0)).titled(title);
        axes.with(thick_first(series)).legend(Legend::Names(legend.into()))
    };
    let panels =
        vec![panel("Clamping while training", clamped, "\"Clamped\" steps"), panel("Measures of progress", measured, "Progress of")];
    Ok(Figure { size: (2000, 780), ..Figure::side_by_side("Clamps, and the same clamps as measures of progress", panels, 2) }.into())
}
