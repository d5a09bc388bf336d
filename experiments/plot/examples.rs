//! Single sequences of an evaluator: their metrics through training, and which are the worst at the end.

use super::curves::chosen;
use super::groups::{Drawn, Group};
use super::{evaluator, integrated, thinned, with_baselines};
use crate::cli::PlotArguments;
use crate::draw::{Axis, BLACK, Figure, Legend, Look, Panel, Series, faded};
use crate::figures::tables::{Column, Table};
use crate::logs::{Points, Run};
use optogen::metrics::Metrics;
use optogen::{Error, Result};

/// So many sequences, if it is not said.
const WORST: usize = 20;

/// Each sequence's curve.
struct Traces {
    curves: Vec<Points>,
}

impl Traces {
    fn read(run: &Run, evaluator: &str, metric: &str) -> Result<Self> {
        let folder = run.folder.display();
        if !run.experiment.evaluation.examples {
            return Err(Error::Invalid(format!("{folder}: it keeps no single sequences; evaluation.examples = true writes them")));
        }
        let table = run.table("eval_examples")?;
        let (evaluators, sequences) = (table.names("evaluator")?, table.numbers("sequences")?);
        let (examples, values) = (table.numbers("example")?, table.numbers(metric)?);
        let mut curves: Vec<Points> = Vec::new();
        for row in (0..values.len()).filter(|&row| evaluators[row] == evaluator) {
            let example = examples[row] as usize;
            if example >= values.len() {
                return Err(Error::damaged(&run.folder.join("eval_examples.parquet"), format!("has a sequence {example} of fewer")));
            }
            if curves.len() <= example {
                curves.resize(example + 1, Points::new());
            }
            curves[example].push((sequences[row], values[row]));
        }
        match curves.is_empty() {
            true => Err(Error::Invalid(format!("{folder}: its eval_examples table has no evaluator \"{evaluator}\""))),
            false => Ok(Self { curves }),
        }
    }

    fn last(&self, sequence: usize) -> f64 {
        self.curves[sequence].last().map_or(f64::NAN, |point| point.1)
    }

    /// The worst at the end, the worst first: of a loss the highest, of all else the lowest.
    fn worst(&self, metric: &str, count: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..self.curves.len()).collect();
        let badness = |sequence: &usize| if metric == "loss" { self.last(*sequence) } else { -self.last(*sequence) };
        all.sort_by(|a, b| badness(b).total_cmp(&badness(a)));
        all.truncate(count);
        all
    }

    /// The mean over some sequences.
    fn mean(&self, members: &[usize]) -> Points {
        let curves: Vec<&Points> = members.iter().filter_map(|&member| self.curves.get(member)).collect();
        let shortest = curves.iter().map(|curve| curve.len()).min().unwrap_or(0);
        let at = |moment: usize| (curves[0][moment].0, curves.iter().map(|curve| curve[moment].1).sum::<f64>() / curves.len() as f64);
        (0..shortest).map(at).collect()
    }
}

/// The mean of each group, and the worst sequences one by one.
pub fn traces(run: &Run, arguments: &PlotArguments) -> Result<Figure> {
    let metric = chosen(arguments, "loss", &Metrics::NAMES)?;
    let evaluator = evaluator(run, arguments)?;
    let traces = Traces::read(run, &evaluator, metric)?;
    let groups = match arguments.by {
        Some(by) => Drawn::of(run, &evaluator)?.groups(by)?,
        None => vec![Group { name: "mean".into(), colour: BLACK, members: (0..traces.curves.len()).collect() }],
    };
    let shown = |points| integrated(thinned(points, arguments), arguments);
    let mut series = Vec::new();
    for group in &groups {
        series.push(Series::line(&group.name, shown(traces.mean(&group.members)), group.colour).of_seed(Some(run.seed())));
    }
    for sequence in traces.worst(metric, arguments.worst.unwrap_or(WORST)) {
        let colour = groups.iter().find(|group| group.members.contains(&sequence)).map_or(BLACK, |group| group.colour);
        let line = Series::line(&format!("sequence {sequence}"), shown(traces.curves[sequence].clone()), faded(colour, 0.4));
        series.push(line.of_seed(Some(run.seed())).look(Look::Line(1.4)).unnamed());
    }
    let label = if arguments.integrated { format!("{metric}, integrated") } else { metric.to_owned() };
    let panel = with_baselines(Panel::new(Axis::of("sequences seen"), Axis::of(&label)).with(series), arguments);
    let legend = Legend::Names(arguments.by.map_or_else(String::new, super::name_of));
    Ok(Figure::of(&format!("{evaluator}: the worst sequences"), panel.legend(legend)))
}

/// The worst sequences at the last evaluation.
pub fn worst(run: &Run, arguments: &PlotArguments) -> Result<Table> {
    let metric = chosen(arguments, "loss", &Metrics::NAMES)?;
    let evaluator = evaluator(run, arguments)?;
    let traces = Traces::read(run, &evaluator, metric)?;
    let drawn = Drawn::of(run, &evaluator)?;
    let worst = traces.worst(metric, arguments.worst.unwrap_or(WORST));
    let numbers = |numbers: &[u32]| numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    let texts = |of: &dyn Fn(usize) -> String| Column::Names(worst.iter().map(|&sequence| of(sequence)).collect());
    Ok(Table::of([
        ("sequence", Column::Whole(worst.iter().map(|&sequence| Some(sequence as i64)).collect())),
        (metric, Column::Numbers(worst.iter().map(|&sequence| traces.last(sequence)).collect())),
        ("classes, the query's last", texts(&|sequence| numbers(drawn.classes(sequence)))),
        ("labels, the query's last", texts(&|sequence| numbers(drawn.labels(sequence)))),
        ("similarity", Column::Numbers(worst.iter().map(|&sequence| drawn.similarity(sequence)).collect())),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_have_the_highest_loss_or_the_lowest_of_all_else() {
        let of = |last: f64| vec![(0.0, 1.0), (10.0, last)];
        let traces = Traces { curves: vec![of(0.5), of(2.0), of(1.0)] };
        assert_eq!(traces.worst("loss", 2), [1, 2]);
        assert_eq!(traces.worst("prob", 2), [0, 2]);
        assert_eq!(traces.mean(&[0, 1]), [(0.0, 1.0), (10.0, 1.25)]);
    }
}
