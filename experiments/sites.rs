//! `optogen sites`: every site of a model, and who stands there.

use crate::cli::SitesArguments;
use crate::toy;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use optogen::experiment::{Changes, Experiment, load};
use optogen::site::{Axes, Site};
use optogen::transformer::Architecture;
use optogen::{Result, say};

/// Prints the sites of an experiment's model; returns the exit code.
///
/// # Errors
/// The experiment is not as it should be.
pub fn sites(arguments: &SitesArguments) -> Result<u8> {
    toy::refuse(&arguments.file)?;
    let experiments = load(&arguments.file, &Changes { scale: arguments.scale.as_deref(), sets: &arguments.sets, grids: &[] })?;
    if let Some(experiment) = experiments.first() {
        say::answer(listed(experiment));
    }
    Ok(0)
}

/// The sites as a table, a line each. Shapes: K models of a cohort, B sequences.
fn listed(experiment: &Experiment) -> String {
    let architecture = Architecture::new(experiment, 0, false);
    let pairs = experiment.data.mixture.first().map_or(0, |mixture| mixture.context) + 1;
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["site", "TransformerLens", "layers", "shape", "interventions and hooks"]);
    for site in Site::all().filter(|site| site.is_in(&architecture)) {
        let layers = if site.in_blocks() { format!("0-{}", architecture.layers - 1) } else { String::new() };
        table.add_row([
            site.name().to_owned(),
            site.lens_name().unwrap_or_default().to_owned(),
            layers,
            shape(site, &architecture, pairs),
            who(site, experiment),
        ]);
    }
    table.column_iter_mut().for_each(|column| _ = column.set_padding((0, 2)));
    format!("{}\n", table.trim_fmt())
}

fn shape(site: Site, architecture: &Architecture, pairs: usize) -> String {
    let (tokens, heads) = (2 * pairs - 1, architecture.heads);
    let size = site.last_dimension(architecture).unwrap_or(tokens);
    match site.axes() {
        Axes::Tokens => format!("[K, B, {tokens}, {size}]"),
        Axes::Pairs => format!("[K, B, {pairs}, {size}]"),
        Axes::Positions => format!("[K, {tokens}, {size}]"),
        Axes::HeadsSideBySide => format!("[K, B, {tokens}, {heads}·{}]", size / heads),
        Axes::Heads | Axes::Attention => format!("[K, B, {heads}, {tokens}, {size}]"),
    }
}

fn who(site: Site, experiment: &Experiment) -> String {
    let interventions = experiment.interventions.iter().filter(|one| one.site == site).map(|one| match &one.pass {
        Some(pass) => format!("{} (in pass {pass})", one.title()),
        None => one.title(),
    });
    let hooks = experiment.hooks.iter().filter(|hook| hook.site == site).map(|hook| format!("hook {}", hook.table));
    interventions.chain(hooks).collect::<Vec<_>>().join(", ")
}
