//! Section 3: the losses of a whole run, and the heads that form in it.

use super::{ANALYSIS, LAYER, Runs, lines, seed_title, sequences, thick_first};
use crate::draw::{Axis, CLEARLY_APART, DARK, Figure, Legend, Panel, Series};
use crate::figures::Product;
use optogen::Result;
use std::f64::consts::LN_2;

/// Figure 3a: losses on sequences like those trained on, of other classes, and with other pairs of labels.
pub fn losses(runs: &Runs) -> Result<Product> {
    let main = runs.of("main")?;
    let mut series = Vec::new();
    let evaluators = [("train", "fsl_train"), ("test (exemplars)", "fsl_test_class"), ("test (relabel)", "fsl_val_rl")];
    for ((name, evaluator), colour) in evaluators.into_iter().zip(CLEARLY_APART) {
        series.extend(lines(name, &main, colour, |run| run.loss(evaluator))?);
    }
    let panel = Panel::new(sequences(), Axis::of("Loss"))
        .with(thick_first(series))
        .level(LN_2, "random label\nfrom context")
        .legend(Legend::Names(String::new()));
    Ok(Figure::of("Losses while an induction head forms", panel).into())
}

/// Figure 3b: induction strength of each head of layer 2 through time.
pub fn strengths(runs: &Runs) -> Result<Product> {
    let replays = runs.of("main_analysis")?;
    let panel = |run: &crate::logs::Run| {
        let heads = run.heads(ANALYSIS, LAYER, "induction_strength")?;
        let line = |(head, points)| Series::line(&format!("{head}"), points, DARK[head % DARK.len()]).of_seed(Some(run.seed()));
        Ok(Panel::new(sequences(), Axis::of("Induction strength").between(-0.05, 1.0))
            .titled(&seed_title(run.seed(), replays.len()))
            .with(heads.into_iter().enumerate().map(line).collect())
            .legend(Legend::Names("Layer 2\nhead #".into())))
    };
    let panels = replays.iter().map(panel).collect::<Result<_>>()?;
    Ok(Figure::alike("Induction strength of every head of layer 2", panels, 3).into())
}
