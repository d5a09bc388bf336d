//! `optogen plot`: ways to look at any runs, whatever they were for.

mod attention;
mod curves;
mod examples;
mod groups;

use crate::cli::PlotArguments;
use crate::draw::{Figure, Level, Panel};
use crate::figures::numbers;
use crate::figures::tables::Table;
use crate::logs::{Points, Run, runs_in};
use clap::ValueEnum;
use optogen::{Error, Result, say};

/// A way to look at runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum View {
    /// A metric against the sequences seen: a panel for each evaluator, a line for each run.
    Curves,
    /// A measure of heads against the sequences seen: a panel for each run and layer, a line for each head.
    Heads,
    /// The query's attention to each token: a row for each head, a column for each token, a line for each group of sequences.
    Attention,
    /// A metric of single sequences: the mean of each group, and the worst sequences of all.
    Traces,
    /// The worst sequences at the last evaluation, as a table.
    Worst,
}

/// By what sequences are grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// The classes in the context, in any order.
    ClassPair,
    /// The labels in the context, in any order.
    LabelPair,
    /// Where in the context the right label stands.
    Position,
    /// The right label.
    Output,
    /// Cosine similarity of the features of the first two exemplars, in fifths.
    Similarity,
}

/// What a view makes.
enum Drawn {
    Figure(Box<Figure>),
    Table(Table),
}

/// Draws a view; returns the exit code.
///
/// # Errors
/// A run does not have what the view needs, or an option says nothing in this view.
pub fn plot(arguments: &PlotArguments) -> Result<u8> {
    refuse_what_says_nothing(arguments)?;
    let mut runs = Vec::new();
    for folder in &arguments.runs {
        let found = runs_in(folder)?;
        if found.is_empty() {
            return Err(Error::Invalid(format!(
                "{}: neither a run folder nor a folder that holds some (run=ID/run.parquet)",
                folder.display()
            )));
        }
        runs.extend(found);
    }
    let drawn = match arguments.view {
        View::Curves => curves::curves(&runs, arguments)?,
        View::Heads => curves::heads(&runs, arguments)?,
        View::Attention => attention::attention(one(&runs, arguments)?, arguments)?,
        View::Traces => examples::traces(one(&runs, arguments)?, arguments)?,
        View::Worst => {
            let table = examples::worst(one(&runs, arguments)?, arguments)?;
            say::answer(table.markdown());
            return write(Drawn::Table(table), arguments);
        }
    };
    write(Drawn::Figure(Box::new(drawn)), arguments)
}

fn write(drawn: Drawn, arguments: &PlotArguments) -> Result<u8> {
    std::fs::create_dir_all(&arguments.out).map_err(Error::file(&arguments.out))?;
    let name = name_of(arguments.view);
    match drawn {
        Drawn::Figure(figure) => {
            figure.save(&arguments.out, &name)?;
            numbers(&figure).save_rows(&arguments.out, &name)?;
            say::answer(format!("{}\n", arguments.out.join(format!("{name}.png")).display()));
        }
        Drawn::Table(table) => {
            table.save(&arguments.out, &name)?;
            say::answer(format!("{}\n", arguments.out.join(format!("{name}.md")).display()));
        }
    }
    Ok(0)
}

fn name_of(value: impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// An option that was given and that the view does not read is an error.
fn refuse_what_says_nothing(arguments: &PlotArguments) -> Result<()> {
    use View::{Attention, Curves, Heads, Traces, Worst};
    let options: [(&str, bool, &[View]); 8] = [
        ("--data", !arguments.also.data.is_empty(), &[Attention, Traces, Worst]),
        ("--metric", arguments.metric.is_some(), &[Curves, Heads, Traces, Worst]),
        ("--by", arguments.by.is_some(), &[Attention, Traces]),
        ("--layer", arguments.layer.is_some(), &[Attention, Heads]),
        ("--worst", arguments.worst.is_some(), &[Traces, Worst]),
        ("--baseline", !arguments.baselines.is_empty(), &[Curves, Heads, Traces]),
        ("--every", arguments.every.is_some(), &[Curves, Heads, Attention, Traces]),
        ("--integrated", arguments.integrated, &[Curves, Traces]),
    ];
    for (option, given, views) in options {
        if given && !views.contains(&arguments.view) {
            let names: Vec<String> = views.iter().map(|view| name_of(*view)).collect();
            let view = name_of(arguments.view);
            return Err(Error::Invalid(format!("{option} says nothing in the view {view}; it is for {}", names.join(", "))));
        }
    }
    Ok(())
}

/// The only run.
fn one<'a>(runs: &'a [Run], arguments: &PlotArguments) -> Result<&'a Run> {
    match runs {
        [run] => Ok(run),
        _ => Err(Error::Invalid(format!("the view {} is of one run, and these are {}", name_of(arguments.view), runs.len()))),
    }
}

/// The evaluators that are asked for; else all that all runs have.
fn evaluators(runs: &[Run], arguments: &PlotArguments) -> Vec<String> {
    if !arguments.evaluators.is_empty() {
        return arguments.evaluators.clone();
    }
    let has = |run: &Run, name: &str| run.experiment.evaluators.iter().any(|evaluator| evaluator.name == name);
    let first = runs.first().into_iter().flat_map(|run| &run.experiment.evaluators);
    first.map(|evaluator| evaluator.name.clone()).filter(|name| runs.iter().all(|run| has(run, name))).collect()
}

/// The evaluator that is asked for; else the first.
fn evaluator(run: &Run, arguments: &PlotArguments) -> Result<String> {
    match &evaluators(std::slice::from_ref(run), arguments)[..] {
        [] => Err(Error::Invalid(format!("{}: it has no evaluators", run.folder.display()))),
        [_, _, ..] if !arguments.evaluators.is_empty() => {
            Err(Error::Invalid(format!("the view {} is of one evaluator", name_of(arguments.view))))
        }
        [first, ..] => Ok(first.clone()),
    }
}

/// Points that are at least so far apart, and the last.
fn thinned(points: Points, arguments: &PlotArguments) -> Points {
    let Some(every) = arguments.every else { return points };
    let last = points.last().copied();
    let mut kept = Points::new();
    for point in points {
        if kept.last().is_none_or(|before| point.0 - before.0 >= every as f64) {
            kept.push(point);
        }
    }
    kept.extend(last.filter(|last| kept.last() != Some(last)));
    kept
}

/// The area below a curve up to each of its points.
fn integrated(points: Points, arguments: &PlotArguments) -> Points {
    if !arguments.integrated {
        return points;
    }
    let (mut area, mut before) = (0.0, None::<(f64, f64)>);
    let add = |(x, y): (f64, f64)| {
        area += before.map_or(0.0, |(x0, y0)| (x - x0) * (y + y0) / 2.0);
        before = Some((x, y));
        (x, area)
    };
    points.into_iter().map(add).collect()
}

/// The horizontal lines that are asked for.
fn with_baselines(mut panel: Panel, arguments: &PlotArguments) -> Panel {
    panel.levels.extend(arguments.baselines.iter().map(|(name, at)| Level { at: *at, name: name.clone() }));
    panel
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn arguments(more: &[&str]) -> PlotArguments {
        let line = ["optogen", "plot", "run", "--out", "out"].iter().chain(more).copied();
        match crate::cli::CommandLine::parse_from(line).command {
            crate::cli::Command::Plot(arguments) => arguments,
            _ => unreachable!("it was asked for"),
        }
    }

    #[test]
    fn curves_are_thinned_and_integrated() {
        let points: Points = (0..6).map(|number| (10.0 * f64::from(number), 1.0)).collect();
        let thin = thinned(points.clone(), &arguments(&["--view", "curves", "--every", "20"]));
        assert_eq!(thin.iter().map(|point| point.0).collect::<Vec<_>>(), [0.0, 20.0, 40.0, 50.0]);
        let area = integrated(vec![(0.0, 2.0), (10.0, 1.0), (30.0, 1.0)], &arguments(&["--view", "curves", "--integrated"]));
        assert_eq!(area, [(0.0, 0.0), (10.0, 15.0), (30.0, 35.0)]);
        assert_eq!(integrated(points.clone(), &arguments(&["--view", "curves"])), points);
    }

    #[test]
    fn options_that_say_nothing_are_refused_by_name() {
        let message = refuse_what_says_nothing(&arguments(&["--view", "curves", "--by", "output"])).unwrap_err().to_string();
        assert_eq!(message, "--by says nothing in the view curves; it is for attention, traces");
        assert!(refuse_what_says_nothing(&arguments(&["--view", "traces", "--by", "output", "--worst", "5"])).is_ok());
    }

    #[test]
    fn baselines_have_names() {
        let given = arguments(&["--view", "curves", "--baseline", "chance=0.5", "--baseline", "ln 5=1.609"]).baselines;
        assert_eq!(given, [("chance".to_owned(), 0.5), ("ln 5".to_owned(), 1.609)]);
    }
}
