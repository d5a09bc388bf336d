//! Metrics and measures of heads through training, runs over each other.

use super::groups::labels;
use super::{evaluators, integrated, thinned, with_baselines};
use crate::cli::PlotArguments;
use crate::draw::{Axis, CLEARLY_APART, DARK, Figure, Legend, Look, Panel, Series};
use crate::logs::{Points, Run};
use optogen::experiment::Experiment;
use optogen::metrics::Metrics;
use optogen::{Error, Result, heads, say};
use std::path::PathBuf;

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
        if !arguments.integrated {
            for at in guesses(runs, evaluator, metric, &arguments.also.data) {
                panel = panel.level(at, "a label of the context");
            }
        }
        panels.push(panel.legend(Legend::Names(String::new())));
    }
    Ok(Figure::alike(metric, panels, 3))
}

/// What is reached at an evaluator by who knows the labels in the context and not which of them is right: the mean over its own sequences. There is one
/// for all runs, unless they have different sequences.
fn guesses(runs: &[Run], evaluator: &str, metric: &str, data: &[PathBuf]) -> Vec<f64> {
    let mut levels: Vec<f64> = Vec::new();
    let mut drawn: Vec<&Run> = Vec::new();
    for run in runs {
        if drawn.iter().any(|other| same_sequences(run, other, evaluator)) {
            continue;
        }
        drawn.push(run);
        match labels(run, evaluator, data) {
            Ok((labels, pairs)) => levels.extend(guess(&labels, pairs, metric)),
            Err(error) => {
                say::note(format!("{evaluator}: what a label of the context gets is left out, since its sequences are gone: {error}"))
            }
        }
    }
    // What cannot be told apart in the picture is one line.
    levels.sort_by(f64::total_cmp);
    levels.dedup_by(|a, b| (*a - *b).abs() <= 1e-3 * b.abs());
    levels
}

/// Whether two runs have the same sequences at an evaluator.
fn same_sequences(one: &Run, other: &Run, evaluator: &str) -> bool {
    let of = |run: &Run| {
        let Experiment { data, evaluation, evaluators, seeds, .. } = &run.experiment;
        let own = evaluators.iter().find(|own| own.name == evaluator);
        (data.clone(), evaluation.sequences, own.cloned(), seeds.eval)
    };
    of(one) == of(other)
}

/// The mean of a metric over sequences of so many labels each, the query's last, for who guesses among the different labels of the context; none where
/// no sequence can be answered from its context, or the metric is of something else.
fn guess(labels: &[u32], pairs: usize, metric: &str) -> Option<f64> {
    // How many different labels there are in the context, where the right one is among them.
    let choices = |labels: &[u32]| -> Option<f64> {
        let (query, context) = labels.split_last()?;
        let mut distinct = context.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        context.contains(query).then_some(distinct.len() as f64)
    };
    let all: Vec<Option<f64>> = labels.chunks_exact(pairs).map(choices).collect();
    let mean = |of: fn(f64) -> f64| all.iter().flatten().map(|&count| of(count)).sum::<f64>() / all.len() as f64;
    all.iter().flatten().next()?;
    match metric {
        // Who guesses in the context is infinitely wrong where the right label is elsewhere.
        "loss" => all.iter().all(Option::is_some).then(|| mean(f64::ln)),
        "acc" | "prob" | "in_context_acc" | "in_context_prob" => Some(mean(f64::recip)),
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

/// What each head contributes directly to the right answer, a column of the heads' table on request.
const ATTRIBUTION: &str = "attribution";

/// A measure of heads, a panel for each run and layer, a line for each head.
pub fn heads(runs: &[Run], arguments: &PlotArguments) -> Result<Figure> {
    let names_of_measures: Vec<&str> = heads::NAMES.iter().copied().chain([ATTRIBUTION]).collect();
    let measure = chosen(arguments, "induction_strength", &names_of_measures)?;
    let mut panels = Vec::new();
    for (run, name) in runs.iter().zip(names(runs)) {
        if !run.experiment.measures.heads {
            return Err(Error::Invalid(format!(
                "{}: it keeps no measures of heads; measures.heads = true writes them",
                run.folder.display()
            )));
        }
        if measure == ATTRIBUTION && !run.experiment.measures.attribution {
            return Err(Error::Invalid(format!(
                "{}: it keeps no attributions; measures.attribution = true writes them",
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

#[cfg(test)]
mod tests {
    use super::{guess, guesses};
    use crate::logs::Run;
    use optogen::experiment::{Changes, load};

    fn run(sets: &[&str]) -> Run {
        let sets: Vec<String> = sets.iter().map(|&set| set.into()).collect();
        let base = concat!(env!("CARGO_MANIFEST_DIR"), "/induction/base.toml");
        let experiment = load(base.as_ref(), &Changes { sets: &sets, ..Changes::default() }).unwrap().remove(0);
        Run::unread(experiment)
    }

    /// The level is of the evaluator's own context, not of that of training, and there is one where all runs have its sequences.
    #[test]
    fn the_level_of_a_guess_is_that_of_the_evaluator() {
        let long = "evaluator.0={ name = \"long\", context = 8, burstiness = 4, distractor = true }";
        let runs = [run(&[long]), run(&[long, "seeds.init=7"])];
        assert_eq!(guesses(&runs, "long", "acc", &[]), [0.5]);
        let loss = guesses(&runs, "fsl_val_rl", "loss", &[]);
        assert!(loss.len() == 1 && (loss[0] - 2f64.ln()).abs() < 1e-9, "{loss:?}");
        let shorter = run(&["evaluator.0={ name = \"long\", context = 1, burstiness = 1, distractor = false }"]);
        assert_eq!(guesses(&[run(&[long]), shorter], "long", "acc", &[]), [0.5, 1.0]);
        // Sequences that are gone have no level.
        let gone = run(&["evaluator.0={ name = \"long\", file = \"/nowhere.h5\" }"]);
        assert!(guesses(&[gone], "long", "acc", &[]).is_empty());
    }

    #[test]
    fn who_guesses_chooses_among_the_different_labels_of_the_context() {
        // Eight items with two labels, four with each: one in two.
        let two = [3, 3, 1, 1, 3, 1, 3, 1, 1];
        assert_eq!((guess(&two, 9, "acc"), guess(&two, 9, "loss")), (Some(0.5), Some(2f64.ln())));
        // Two different labels in one sequence, four in the other.
        let mixed = [3, 3, 1, 1, 1, 5, 6, 7, 8, 5];
        assert_eq!((guess(&mixed, 5, "prob"), guess(&mixed, 5, "loss")), (Some(0.375), Some((2f64.ln() + 4f64.ln()) / 2.0)));
        assert_eq!(guess(&mixed, 5, "use_context_prob"), None);
        // The right label is nowhere in the context, or in that of one of two.
        assert_eq!((guess(&[3, 1, 2], 3, "acc"), guess(&[3, 1, 2], 3, "loss")), (None, None));
        assert_eq!((guess(&[3, 1, 2, 3, 1, 1], 3, "acc"), guess(&[3, 1, 2, 3, 1, 1], 3, "loss")), (Some(0.25), None));
    }
}
