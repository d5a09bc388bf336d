//! Appendix E and figure 12: what the heads of layer 1 do for those of layer 2, and what each layer adds to the output.

use super::heads::only;
use super::{ANALYSIS, LAYER, Runs, TRAIN, analysed, lines, sequences};
use crate::draw::{Axis, CLEARLY_APART, Figure, Heat, Legend, Panel, blue_white_red};
use crate::figures::Product;
use crate::figures::tables::{Column, Table};
use crate::logs::{Points, Run};
use optogen::Result;
use optogen::experiment::Action;
use optogen::site::Site;

/// What of a clean pass is kept when heads are ablated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Patterns,
    Values,
}

/// What a replay keeps of the clean pass, if it keeps one of the two alone.
fn kept(run: &Run) -> Option<Kept> {
    let copies = |site: Site| {
        run.experiment.interventions.iter().any(|one| one.site == site && one.pass.is_none() && matches!(one.action, Action::Copy(_)))
    };
    match (copies(Site::Pattern), copies(Site::Value)) {
        (true, false) => Some(Kept::Patterns),
        (false, true) => Some(Kept::Values),
        _ => None,
    }
}

/// The heads of the first layer that are silent.
fn silent_below(run: &Run) -> Vec<usize> {
    let active = run.active(0);
    (0..run.experiment.model.heads).filter(|head| !active.contains(head)).collect()
}

/// Figure 11: accuracy without one head of layer 1, and with it alone, for each head of layer 2 alone; and scores of composition.
pub fn diagrams(runs: &Runs) -> Result<Product> {
    let whole = runs.of("main_analysis")?;
    let Some(first) = whole.first() else { return Ok(Figure::of("", Panel::default()).into()) };
    let heads = first.experiment.model.heads;
    let empty = || vec![vec![f64::NAN; heads]; heads];
    let mut alone = vec![f64::NAN; heads];
    let [mut without_values, mut without_patterns, mut with_values, mut with_patterns] = [empty(), empty(), empty(), empty()];
    let replays = runs.of("pairs_ablation")?.into_iter().chain(runs.of("only_head")?);
    for replay in replays.filter(|replay| replay.seed() == first.seed()) {
        let (head, accuracy) = (only(&replay)?, replay.last(ANALYSIS, "acc")?);
        match (&silent_below(&replay)[..], &replay.active(0)[..], kept(&replay)) {
            ([], _, _) => alone[head] = accuracy,
            (&[below], _, Some(Kept::Values)) => without_values[head][below] = accuracy,
            (&[below], _, Some(Kept::Patterns)) => without_patterns[head][below] = accuracy,
            (_, &[below], Some(Kept::Values)) => with_values[head][below] = accuracy,
            (_, &[below], Some(Kept::Patterns)) => with_patterns[head][below] = accuracy,
            _ => {}
        }
    }
    for table in [&mut without_values, &mut without_patterns] {
        table.iter_mut().zip(&alone).for_each(|(row, alone)| row.iter_mut().for_each(|value| *value -= alone));
    }
    let (keys, values) = (composition(first, "k_composition")?, composition(first, "v_composition")?);
    let panel = |title: &str, values, range, legend: Option<&str>| {
        let legend = legend.map_or(Legend::None, |title| Legend::Scale { title: title.into(), range, colour: blue_white_red });
        let (x, y) = (Axis::of("Layer 1 head #").whole(0..heads), Axis::of("Layer 2 head #").whole(0..heads));
        Panel { heat: Some(Heat { values, range, colour: blue_white_red }), ..Panel::new(x, y).titled(title).legend(legend) }
    };
    let (change, share, score) = ((-0.16, 0.16), (0.0, 1.0), (0.09, 0.16));
    let rows = vec![
        vec![
            panel("Without a head of layer 1,\nvalues kept", without_values, change, Some("Change of\naccuracy")),
            panel("With one head of layer 1,\nvalues kept", with_values, share, Some("Accuracy")),
            panel("Key\ncomposition", keys, score, Some("Score")),
        ],
        vec![
            panel("Without a head of layer 1,\npatterns kept", without_patterns, change, Some("Change of\naccuracy")),
            panel("With one head of layer 1,\npatterns kept", with_patterns, share, Some("Accuracy")),
            panel("Value\ncomposition", values, score, Some("Score")),
        ],
    ];
    Ok(Figure { title: "What heads of layer 1 do for each head of layer 2 alone".into(), rows, size: (2120, 1500) }.into())
}

/// Scores of composition of the heads of layer 1 with those of layer 2, at the last checkpoint.
fn composition(run: &Run, wanted: &str) -> Result<Vec<Vec<f64>>> {
    let heads = run.experiment.model.heads;
    let mut scores = vec![vec![f64::NAN; heads]; heads];
    let weights = run.table("weights")?;
    let (measures, layers) = (weights.names("measure")?, weights.numbers("layer")?);
    let (from, to, values) = (weights.numbers("from_head")?, weights.numbers("head")?, weights.numbers("value")?);
    // Later evaluations stand below and win.
    for row in (0..values.len()).filter(|&row| measures[row] == wanted && layers[row] == LAYER as f64) {
        scores[to[row] as usize][from[row] as usize] = values[row];
    }
    Ok(scores)
}

/// Figure 12: how much the loss grows when a layer's way to the output is cut, through training.
pub fn direct_paths(runs: &Runs) -> Result<Product> {
    let (main, replays) = (runs.of("main")?, runs.of("direct_path")?);
    let mut rows = Vec::new();
    for (layer, title) in [(0, "Layer 1 → output cut"), (1, "Layer 2 → output cut")] {
        let cut = replays.iter().filter(|run| run.active(layer).is_empty());
        let series = lines("loss", cut, CLEARLY_APART[0], |run| {
            let whole = main.iter().find(|one| one.seed() == run.seed()).map(|one| one.loss(TRAIN)).transpose()?;
            Ok(difference(&analysed(run, "loss")?, &whole.unwrap_or_default()))
        })?;
        rows.push(vec![Panel::new(sequences(), Axis::of("Change of the training loss")).titled(title).with(series)]);
    }
    Ok(Figure { title: "What each layer adds to the output".into(), rows, size: (1600, 1400) }.into())
}

/// One curve less another, at the points of the second, the first taken as straight between its points.
fn difference(curve: &[(f64, f64)], other: &[(f64, f64)]) -> Points {
    let between = |x: f64| {
        let after = curve.iter().position(|point| point.0 >= x)?;
        let (right, left) = (curve[after], curve[after.saturating_sub(1)]);
        if right.0 <= left.0 {
            return Some(right.1);
        }
        Some(left.1 + (right.1 - left.1) * (x - left.0) / (right.0 - left.0))
    };
    other.iter().filter_map(|&(x, y)| Some((x, between(x)? - y))).collect()
}

/// The result before section 3.1: nothing is lost when layer 1 does not write to the output.
pub fn layer_cut(runs: &Runs) -> Result<Product> {
    let (whole, cut) = (runs.of("main_analysis")?, runs.of("layer_0_cut")?);
    let (mut seeds, mut names, mut accuracies) = (Vec::new(), Vec::new(), Vec::new());
    for (name, replays) in [("whole", whole), ("layer 1 → output cut; queries, keys and values of layer 2 kept", cut)] {
        for run in replays {
            seeds.push(Some(run.seed()));
            names.push(name.to_owned());
            accuracies.push(run.last(ANALYSIS, "acc")?);
        }
    }
    Ok(Product::Table(Table::of([
        ("seed", Column::Whole(seeds)),
        ("model", Column::Names(names)),
        ("accuracy", Column::Numbers(accuracies)),
    ])))
}

/// Heads of layer 1 ablated with something of layer 2 kept.
pub struct Preserved {
    /// The run's seed.
    pub seed: i64,
    /// The heads of layer 1.
    pub heads: Vec<usize>,
    /// `patterns` or `values`.
    pub kept: &'static str,
    /// What remains.
    pub accuracy: f64,
}

/// Heads of layer 1 ablated, with the patterns or the values of layer 2 kept, in order.
///
/// # Errors
/// A replay cannot be read.
pub fn preserved_accuracies(runs: &Runs) -> Result<Vec<Preserved>> {
    let mut rows = Vec::new();
    for run in runs.of("preserve_ablation")? {
        let Some(kept) = kept(&run) else { continue };
        let kept = if kept == Kept::Patterns { "patterns" } else { "values" };
        rows.push(Preserved { seed: run.seed(), heads: silent_below(&run), kept, accuracy: run.last(ANALYSIS, "acc")? });
    }
    rows.sort_by(|a, b| (a.seed, &a.heads, a.kept).cmp(&(b.seed, &b.heads, b.kept)));
    Ok(rows)
}

/// Table 1 as a table.
pub fn preserved(runs: &Runs) -> Result<Product> {
    let rows = preserved_accuracies(runs)?;
    let names = |heads: &[usize]| heads.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    Ok(Product::Table(Table::of([
        ("seed", Column::Whole(rows.iter().map(|row| Some(row.seed)).collect())),
        ("heads of layer 1 ablated", Column::Names(rows.iter().map(|row| names(&row.heads)).collect())),
        ("kept", Column::Names(rows.iter().map(|row| row.kept.to_owned()).collect())),
        ("accuracy", Column::Numbers(rows.iter().map(|row| row.accuracy).collect())),
    ])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_subtracted_where_the_second_has_points() {
        let (cut, whole) = ([(0.0, 2.0), (100.0, 1.0), (200.0, 4.0)], [(0.0, 1.0), (50.0, 1.0), (150.0, 0.5), (300.0, 0.0)]);
        assert_eq!(difference(&cut, &whole), [(0.0, 1.0), (50.0, 0.5), (150.0, 2.0)]);
        assert_eq!(difference(&[], &whole), []);
    }
}
