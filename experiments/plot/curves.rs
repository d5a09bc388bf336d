//! Metrics and measures of heads through training, runs over each other.

use super::{evaluators, integrated, thinned, with_baselines};
use crate::cli::PlotArguments;
use crate::draw::{Axis, CLEARLY_APART, DARK, Figure, Legend, Look, Panel, Series};
use crate::logs::{Points, Run};
use optogen::metrics::Metrics;
use optogen::{Error, Result, heads};

/// A metric, a panel for each evaluator, a line for each run.
pub fn curves(runs: &[Run], arguments: &PlotArguments) -> Result<Figure> {
    let metric = chosen(arguments, "loss", &Metrics::NAMES)?;
    let evaluators = evaluators(runs, arguments);
    if evaluators.is_empty() {
        return Err(Error::Invalid("these runs have no evaluator in common; say which with --evaluator".into()));
    }
    let names = names(runs);
    let mut panels = Vec::new();
    for evaluator in &evaluators {
        let mut series = Vec::new();
        for ((run, name), colour) in runs.iter().zip(&names).zip(CLEARLY_APART.into_iter().cycle()) {
            let points = integrated(thinned(run.curve(evaluator, metric)?, arguments), arguments);
            series.push(Series::line(name, points, colour).of_seed(Some(run.seed())).look(Look::Line(3.0)));
        }
        let label = if arguments.integrated { format!("{metric}, integrated") } else { metric.to_owned() };
        let mut panel = with_baselines(Panel::new(Axis::of("sequences seen"), Axis::of(&label)).titled(evaluator).with(series), arguments);
        if let (false, Some((at, name))) = (arguments.integrated, runs.first().and_then(|run| baseline(run, metric))) {
            panel = panel.level(at, name);
        }
        panels.push(panel.legend(Legend::Names(String::new())));
    }
    Ok(Figure::alike(metric, panels, 3))
}

/// What is reached by who knows the labels in the context and not which of them is right.
fn baseline(run: &Run, metric: &str) -> Option<(f64, &'static str)> {
    let context = run.experiment.data.mixture.first()?.context as f64;
    match metric {
        "loss" => Some((context.ln(), "a label of the context")),
        "acc" | "prob" | "in_context_acc" | "in_context_prob" => Some((1.0 / context, "a label of the context")),
        _ => None,
    }
}

/// What tells the runs apart: their seed where that does, else their name.
pub fn names(runs: &[Run]) -> Vec<String> {
    let mut seeds: Vec<i64> = runs.iter().map(Run::seed).collect();
    seeds.sort_unstable();
    seeds.dedup();
    let by_seed = seeds.len() == runs.len() && runs.iter().all(|run| run.experiment.name == runs[0].experiment.name);
    runs.iter().map(|run| if by_seed && runs.len() > 1 { format!("seed {}", run.seed()) } else { run.id.clone() }).collect()
}

/// A measure of heads, a panel for each run and layer, a line for each head.
pub fn heads(runs: &[Run], arguments: &PlotArguments) -> Result<Figure> {
    let measure = chosen(arguments, "induction_strength", &heads::NAMES)?;
    let mut panels = Vec::new();
    for (run, name) in runs.iter().zip(names(runs)) {
        if !run.experiment.measures.heads {
            return Err(Error::Invalid(format!(
                "{}: it keeps no measures of heads; measures.heads = true writes them",
                run.folder.display()
            )));
        }
        let evaluator = super::evaluator(run, arguments)?;
        let layers = run.experiment.model.layers;
        if let Some(layer) = arguments.layer.filter(|layer| *layer >= layers) {
            return Err(Error::Invalid(format!("{}: there is no layer {layer}; there are {layers}, counted from 0", run.folder.display())));
        }
        for layer in (0..layers).filter(|layer| arguments.layer.is_none_or(|wanted| wanted == *layer)) {
            let line = |(head, points): (usize, Points)| {
                let points = thinned(points, arguments);
                Series::line(&head.to_string(), points, DARK[head % DARK.len()]).of_seed(Some(run.seed())).look(Look::Line(3.0))
            };
            let series = run.heads(&evaluator, layer, measure)?.into_iter().enumerate().map(line).collect();
            let panel = Panel::new(Axis::of("sequences seen"), Axis::of(measure)).titled(&format!("{name}, layer {layer}")).with(series);
            panels.push(with_baselines(panel, arguments).legend(Legend::Names("Head".into())));
        }
    }
    let across = if arguments.layer.is_some() { 3 } else { 2 };
    Ok(Figure::alike(measure, panels, across))
}

/// The metric that is asked for, if it is one of these.
pub fn chosen<'a>(arguments: &'a PlotArguments, usual: &'a str, names: &[&str]) -> Result<&'a str> {
    let metric = arguments.metric.as_deref().unwrap_or(usual);
    match names.contains(&metric) {
        true => Ok(metric),
        false => Err(Error::Invalid(format!("--metric {metric}: there is no such measure; there are {}", names.join(", ")))),
    }
}
