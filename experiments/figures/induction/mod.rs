//! The figures and tables of "What needs to go right for an induction head?" (Singh et al. 2024, arXiv 2404.07129).
//!
//! Where runs differ in their seed alone, the first seed's line is thick and the others' are thin and pale beside it; where lines are heads, which
//! have nothing to do with each other between seeds, every seed has a panel of its own. Layers are counted from 1 in what a reader sees, as in the
//! paper, and from 0 in the code.

mod additivity;
mod clamps;
mod emergence;
mod grafts;
mod heads;
mod landmarks;
mod wiring;

use super::{Entry, Runs};
use crate::draw::{Axis, Colour, Look, Panel, Series, faded};
use crate::logs::{Points, Run};
use optogen::Result;
use std::path::Path;

/// The evaluator with every sequence of the training distribution.
const ANALYSIS: &str = "analysis";
/// The evaluator of the training distribution.
const TRAIN: &str = "fsl_train";
/// The layer in which induction heads form.
const LAYER: usize = 1;

/// All figures and tables, in the paper's order.
pub const ENTRIES: &[Entry] = &[
    Entry { name: "figure_3a", needs: &["main"], make: emergence::losses },
    Entry { name: "figure_3b", needs: &["main_analysis"], make: emergence::strengths },
    Entry { name: "figure_4a", needs: &["main_analysis", "only_head", "without_head"], make: heads::accuracies },
    Entry { name: "figure_4b", needs: &["main", "single_head"], make: heads::alone },
    Entry { name: "figure_5b", needs: &["one_head", "previous_token", "layer_1", "match", "copy", "layer_1_copy"], make: clamps::dynamics },
    Entry {
        name: "figure_6",
        needs: &[
            "one_head_classes",
            "one_head_labels",
            "layer_1_copy_classes",
            "layer_1_copy_labels",
            "match_classes",
            "match_labels",
            "layer_1_classes",
            "layer_1_labels",
        ],
        make: clamps::data,
    },
    Entry { name: "figure_7", needs: &["main", "graft"], make: grafts::frozen },
    Entry {
        name: "figure_8",
        needs: &["one_head", "previous_token", "previous_token_other", "previous_token_some", "previous_token_all"],
        make: grafts::previous_token,
    },
    Entry { name: "figure_10", needs: &["previous_token", "match", "progress"], make: grafts::progress },
    Entry { name: "figure_11", needs: &["main_analysis", "only_head", "pairs_ablation"], make: wiring::diagrams },
    Entry { name: "figure_12", needs: &["main", "direct_path"], make: wiring::direct_paths },
    Entry { name: "figure_13", needs: &["main_analysis", "only_head", "without_head"], make: heads::losses },
    Entry { name: "figure_14", needs: &["main_analysis", "adding_heads"], make: additivity::adding },
    Entry { name: "figure_15", needs: &["strength"], make: additivity::strengths },
    Entry { name: "figure_16a", needs: &["main_analysis", "only_head", "match_one_head"], make: additivity::perfected },
    Entry { name: "figure_16b", needs: &["main_analysis", "match_one_head"], make: additivity::mistakes },
    Entry { name: "figure_16c", needs: &["main_analysis", "match_one_head"], make: additivity::accuracies_by_output },
    Entry { name: "figure_17", needs: &["main", "pair_heads"], make: additivity::pairs },
    Entry { name: "figure_18", needs: &["main_analysis", "only_head", "single_head"], make: additivity::seeds },
    Entry { name: "section_3", needs: &["main_analysis", "layer_0_cut"], make: wiring::layer_cut },
    Entry { name: "table_1", needs: &["preserve_ablation"], make: wiring::preserved },
    Entry { name: "table_2", needs: &["main_analysis", "only_head"], make: heads::additive },
    Entry { name: "table_3", needs: &["main_analysis", "match_one_head"], make: additivity::copying },
    Entry { name: "landmarks", needs: &["main"], make: landmarks::landmarks },
];

/// Folders of replays: of which runs, and of how many checkpoints (all, if it is not said).
const REPLAYS: &[(&str, &str, Option<usize>)] = &[
    ("main_analysis", "main", None),
    ("layer_0_cut", "main", Some(1)),
    ("only_head", "main", Some(1)),
    ("without_head", "main", Some(1)),
    ("preserve_ablation", "main", Some(1)),
    ("pairs_ablation", "main", Some(1)),
    ("adding_heads", "main", Some(1)),
    ("match_one_head", "main", Some(1)),
    ("direct_path", "main", None),
    ("progress", "one_head", None),
];

/// The command that makes the runs of a folder.
pub fn command(folder: &str, root: &Path) -> String {
    let (file, out) = (format!("{folder}.toml"), root.join(folder));
    match REPLAYS.iter().find(|replay| replay.0 == folder) {
        None => {
            let donors = if folder == "graft" { " --grid pass.finished.donor=RUN,…" } else { "" };
            format!("optogen run experiments/induction/{file}{donors} --out {} --resume", out.display())
        }
        Some((_, of, spread)) => {
            let spread = spread.map_or_else(String::new, |count| format!(" --spread {count}"));
            let of = root.join(of);
            format!("optogen replay {} --with experiments/induction/replays/{file}{spread} --out {} --resume", of.display(), out.display())
        }
    }
}

/// A metric of a replay, on every sequence of the training distribution where it has that evaluator, else on a sample.
fn analysed(run: &Run, metric: &str) -> Result<Points> {
    run.curve(ANALYSIS, metric).or_else(|_| run.curve(TRAIN, metric))
}

fn sequences() -> Axis {
    Axis::of("# sequences seen")
}

/// The runs by their seeds, the first seed first.
fn by_seed(runs: Vec<Run>) -> Vec<(i64, Vec<Run>)> {
    let mut groups: Vec<(i64, Vec<Run>)> = Vec::new();
    for run in runs {
        match groups.iter_mut().find(|(seed, _)| *seed == run.seed()) {
            Some((_, group)) => group.push(run),
            None => groups.push((run.seed(), vec![run])),
        }
    }
    groups
}

/// A line for each run, all of one name: the first seed's thick, the others' behind it.
fn lines<'a>(
    name: &str,
    runs: impl IntoIterator<Item = &'a Run>,
    colour: Colour,
    points: impl Fn(&Run) -> Result<Points>,
) -> Result<Vec<Series>> {
    let line = |(number, run): (usize, &Run)| {
        let line = Series::line(name, points(run)?, colour).of_seed(Some(run.seed()));
        Ok(match number {
            0 => line,
            _ => Series { colour: faded(colour, 0.5), ..line.look(Look::Line(1.7)).unnamed() },
        })
    };
    runs.into_iter().enumerate().map(line).collect()
}

/// Thick lines before thin ones, so that these do not lie on them.
fn thick_first(mut series: Vec<Series>) -> Vec<Series> {
    series.sort_by_key(|series| !series.in_legend);
    series
}

/// The title of a seed's panel; no title where there is no other.
fn seed_title(seed: i64, seeds: usize) -> String {
    if seeds > 1 { format!("Seed {seed}") } else { String::new() }
}

/// Panels of which the last alone has a legend.
fn one_legend(mut panels: Vec<Panel>) -> Vec<Panel> {
    let last = panels.len().saturating_sub(1);
    panels.iter_mut().take(last).for_each(|panel| panel.legend = Default::default());
    panels
}
