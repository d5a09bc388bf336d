//! The query's attention to every token, from a hook at the patterns.

use super::groups::{Drawn, Group};
use super::{evaluator, thinned};
use crate::cli::PlotArguments;
use crate::draw::{Axis, BLACK, Figure, Legend, Look, Panel, Series};
use crate::logs::{Points, Run};
use optogen::experiment::{HookSpec, Reduction, TokenSelection};
use optogen::site::Site;
use optogen::{Error, Result};
use std::collections::BTreeMap;

/// Head, token attended to, group: the sum and the number of sequences at each moment.
type Sums = BTreeMap<(usize, usize, usize), BTreeMap<u64, (f64, f64)>>;

/// A row for each head, a column for each token, a line for each group of sequences.
pub fn attention(run: &Run, arguments: &PlotArguments) -> Result<Figure> {
    let hook = hook(run, arguments)?;
    let evaluator = evaluator(run, arguments)?;
    let table = run.table(&hook.table)?;
    let layers = table.numbers("layer")?;
    let layer = arguments.layer.map_or_else(|| layers.iter().copied().fold(0.0, f64::max), |layer| layer as f64);
    let (during, statistics) = (table.names("during")?, table.names("statistic")?);
    let [sequences, heads, examples, at, to, values] =
        ["sequences", "head", "example", "at", "to", "value"].map(|name| table.numbers(name));
    let (sequences, heads, examples, at, to, values) = (sequences?, heads?, examples?, at?, to?, values?);
    let query = at.iter().copied().fold(0.0, f64::max);
    let groups = match arguments.by {
        Some(by) => Drawn::of(run, &evaluator, &arguments.also.data)?.groups(by)?,
        None => vec![Group { name: "all".into(), colour: BLACK, members: Vec::new() }],
    };
    let group_of = members(&groups);
    let mut sums = Sums::new();
    for row in 0..values.len() {
        let kind = matches!(statistics[row].as_str(), "value" | "mean");
        if layers[row] != layer || at[row] != query || during[row] != evaluator || !kind {
            continue;
        }
        let group = if arguments.by.is_some() { group_of.get(examples[row] as usize).copied().flatten() } else { Some(0) };
        let Some(group) = group else { continue };
        let sum = sums.entry((heads[row] as usize, to[row] as usize, group)).or_default().entry(sequences[row] as u64).or_default();
        *sum = (sum.0 + values[row], sum.1 + 1.0);
    }
    if sums.is_empty() {
        let (table, folder) = (&hook.table, run.folder.display());
        return Err(Error::Invalid(format!("{folder}: the table {table} has no rows of evaluator \"{evaluator}\" at layer {layer}")));
    }
    Ok(panels(&sums, &groups, run, layer as usize, arguments))
}

fn panels(sums: &Sums, groups: &[Group], run: &Run, layer: usize, arguments: &PlotArguments) -> Figure {
    let tokens = sums.keys().map(|key| key.1 + 1).max().unwrap_or(0);
    let mut heads: Vec<usize> = sums.keys().map(|key| key.0).collect();
    heads.dedup();
    let title = arguments.by.map_or_else(String::new, super::name_of);
    let mut rows = Vec::new();
    for &head in &heads {
        let mut row = Vec::new();
        for token in 0..tokens {
            let line = |(number, group): (usize, &Group)| {
                let moments = sums.get(&(head, token, number))?;
                let points: Points = moments.iter().map(|(at, (sum, count))| (*at as f64, sum / count)).collect();
                Some(Series::line(&group.name, thinned(points, arguments), group.colour).of_seed(Some(run.seed())).look(Look::Line(3.0)))
            };
            let series: Vec<Series> = groups.iter().enumerate().filter_map(line).collect();
            let axes =
                Panel::new(Axis::of(if head == heads[heads.len() - 1] { "sequences seen" } else { "" }), Axis::of("").between(0.0, 1.0));
            let panel = axes.titled(&format!("head {head} → {}", token_name(token, tokens))).with(series);
            row.push(if token + 1 == tokens && arguments.by.is_some() { panel.legend(Legend::Names(title.clone())) } else { panel });
        }
        rows.push(row);
    }
    let size = (420 * tokens as u32 + 360, 340 * rows.len() as u32 + 120);
    Figure { title: format!("Attention of the query in layer {layer}"), rows, size }
}

/// x1, l1, x2, l2, … and the query.
fn token_name(token: usize, tokens: usize) -> String {
    match token {
        _ if token + 1 == tokens => "query".into(),
        _ if token.is_multiple_of(2) => format!("x{}", token / 2 + 1),
        _ => format!("l{}", token / 2 + 1),
    }
}

/// To which group each sequence belongs.
fn members(groups: &[Group]) -> Vec<Option<usize>> {
    let count = groups.iter().flat_map(|group| &group.members).max().map_or(0, |most| most + 1);
    let mut all = vec![None; count];
    for (number, group) in groups.iter().enumerate() {
        group.members.iter().for_each(|&sequence| all[sequence] = Some(number));
    }
    all
}

/// The hook that looks at the query's patterns.
fn hook<'a>(run: &'a Run, arguments: &PlotArguments) -> Result<&'a HookSpec> {
    let grouped = arguments.by.is_some();
    let looks = |hook: &&HookSpec| {
        let at_query = hook.at == TokenSelection::All || hook.at == TokenSelection::Role(optogen::experiment::Role::Query);
        let kept = match hook.reduce {
            Reduction::None => true,
            Reduction::MeanOverSequences | Reduction::MeanAndDeviation => !grouped,
            _ => false,
        };
        hook.site == Site::Pattern && at_query && kept && !hook.gradient
    };
    run.experiment.hooks.iter().find(looks).ok_or_else(|| {
        let reduce = if grouped { "\"none\"" } else { "\"mean_over_sequences\"" };
        let folder = run.folder.display();
        Error::Invalid(format!(
            "{folder}: the view attention needs a table of a [[hook]] with site = \"pattern\", at = \"query\", during = \"evaluation\" and reduce = {reduce}; \
             `optogen replay` can write it too"
        ))
    })
}
