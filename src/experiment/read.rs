//! From an experiment file and the command line to the experiments of single runs, checked, before anything is written.

use super::check::{Fault, first_fault};
use super::full_names::{full_names, take_apart};
use super::scale::{self, Scale};
use super::sizes::first_too_large;
use super::source::Sources;
use super::sweep::{self, Axis};
use super::tree;
use super::{Experiment, wording};
use crate::memory::Budget;
use crate::{Error, Result, checkpoint};
use serde::de::DeserializeOwned;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

/// What the command line says about an experiment file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Changes<'a> {
    /// One of the file's `[scale]` tables, whose keys count in place of the file's; absent, or `"full"`: the file as it stands.
    pub scale: Option<&'a str>,
    /// `KEY=VALUE`: dotted keys, items of lists by number (`data.mixture.0.burstiness=2`), values as in TOML, where a text needs no quotes
    /// (`model.positions=learned`). Without a value (`evaluation.every=`) the key is taken out of the file. A key of the file's sweep that is set
    /// is no longer swept over.
    pub sets: &'a [String],
    /// `KEY=VALUE,VALUE,…`, which join the file's `[sweep]`; the same key replaces the file's values.
    pub grids: &'a [String],
}

/// What an experiment file can describe, a transformer in training or a toy model: all of it is read, checked and named in the same way.
pub trait Described: DeserializeOwned {
    /// The lists that grow where one file extends another.
    const GROWING: &'static [&'static str];

    /// The first key that asks for more than fits into memory.
    ///
    /// # Errors
    /// That fault.
    fn first_too_large(&self, budget: &Budget) -> Result<(), Fault>;

    /// The first thing in it that is wrong.
    ///
    /// # Errors
    /// That fault.
    fn first_fault(&self) -> Result<(), Fault>;

    /// The run's name.
    fn run_id(&self) -> String;

    /// The files that it names.
    fn paths(&mut self) -> Vec<&mut PathBuf>;
}

impl Described for Experiment {
    const GROWING: &'static [&'static str] = &["pass", "intervention", "hook"];

    fn first_too_large(&self, budget: &Budget) -> Result<(), Fault> {
        first_too_large(self, budget)
    }

    fn first_fault(&self) -> Result<(), Fault> {
        first_fault(self)
    }

    fn run_id(&self) -> String {
        Experiment::run_id(self)
    }

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        let files = self.evaluators.iter_mut().filter_map(|evaluator| evaluator.file.as_mut());
        let donors = self.passes.iter_mut().filter_map(|pass| pass.donor.as_mut());
        let parent = self.parent.iter_mut().map(|parent| &mut parent.checkpoint);
        self.data.bank.iter_mut().chain(files).chain(donors).chain(parent).collect()
    }
}

/// Reads an experiment file; one experiment a run, each without `[sweep]`, in the order of the grid with its first key slowest.
///
/// A relative `data.bank`, evaluator's `file` or pass's `donor` or `parent.checkpoint` is looked for in the experiment file's folder first; if it is there, the path begins with that
/// folder from then on.
///
/// # Errors
/// [`Error::File`] if the file cannot be read; [`Error::Invalid`] with line, column and key of what is wrong in it or does not fit into memory, or with
/// the option.
pub fn load(path: &Path, changes: &Changes) -> Result<Vec<Experiment>> {
    load_as(path, None, changes)
}

/// As [`load`], with what a second file says on top of the first.
///
/// # Errors
/// As in [`load`].
pub fn load_with(path: &Path, more: Option<&Path>, changes: &Changes) -> Result<Vec<Experiment>> {
    load_as(path, more, changes)
}

/// As [`load_with`], of whatever the file describes.
///
/// # Errors
/// As in [`load`].
pub fn load_as<D: Described>(path: &Path, more: Option<&Path>, changes: &Changes) -> Result<Vec<D>> {
    let mut files = Vec::new();
    lay(path, &mut Vec::new(), &mut files)?;
    if let Some(more) = more {
        let mut own = Vec::new();
        lay(more, &mut Vec::new(), &mut own)?;
        files.extend(own);
    }
    let names: Vec<String> = files.iter().map(|(path, _)| path.display().to_string()).collect();
    let texts: Vec<(&str, &str)> = names.iter().map(String::as_str).zip(files.iter().map(|(_, text)| text.as_str())).collect();
    let mut experiments = expand_within(&texts, changes, &Budget::here())?;
    for (path, _) in files.iter().rev() {
        let folder = path.parent().unwrap_or(Path::new(""));
        experiments.iter_mut().for_each(|experiment| settle_paths(experiment, folder));
    }
    Ok(experiments)
}

/// Lays a file on top of those that it extends. One that several extend is laid down once, the first time; `above` are those that wait for this one.
fn lay(path: &Path, above: &mut Vec<PathBuf>, files: &mut Vec<(PathBuf, String)>) -> Result<()> {
    let same = |other: &Path| other == path || matches!((other.canonicalize(), path.canonicalize()), (Ok(a), Ok(b)) if a == b);
    if above.iter().any(|other| same(other)) {
        return Err(Error::Invalid(format!("{}: extends, by way of others, itself", path.display())));
    }
    if files.iter().any(|(other, _)| same(other)) {
        return Ok(());
    }
    let text = std::fs::read_to_string(path).map_err(Error::input_file(path))?;
    // What is not TOML, or no path, is told when it is read for good.
    let bases: Vec<PathBuf> = DeTable::parse(&text).ok().map_or(Vec::new(), |table| {
        let beside = |value: &DeValue| value.as_str().map(|base| path.parent().unwrap_or(Path::new("")).join(base));
        match table.get_ref().get("extends").map(Spanned::get_ref) {
            Some(DeValue::Array(list)) => list.iter().filter_map(|base| beside(base.get_ref())).collect(),
            Some(one) => beside(one).into_iter().collect(),
            None => Vec::new(),
        }
    });
    above.push(path.to_owned());
    bases.iter().try_for_each(|base| lay(base, above, files))?;
    above.pop();
    files.push((path.to_owned(), text));
    Ok(())
}

/// Whether an experiment file, or one that it extends, has this table at its top: it tells what kind of experiment is described.
///
/// # Errors
/// [`Error::File`] if a file cannot be read.
pub fn has_table(path: &Path, table: &str) -> Result<bool> {
    let mut files = Vec::new();
    lay(path, &mut Vec::new(), &mut files)?;
    // What is not TOML is told when it is read for good.
    Ok(files.iter().any(|(_, text)| DeTable::parse(text).is_ok_and(|parsed| parsed.get_ref().contains_key(table))))
}

/// One run's experiment from the text of a file, as in a run folder; a sweep is refused. `name` is how messages call the file.
///
/// # Errors
/// [`Error::Invalid`] as in [`load`].
pub fn parse(text: &str, name: &str) -> Result<Experiment> {
    let mut experiments = expand(text, name, &Changes::default())?;
    match (experiments.pop(), experiments.len()) {
        (Some(experiment), 0) => Ok(experiment),
        _ => Err(Error::Invalid(format!("{name}: a sweep over several runs, where the experiment of one is needed"))),
    }
}

/// As [`load`], but from a text, with paths as they are written.
pub(super) fn expand(text: &str, name: &str, changes: &Changes) -> Result<Vec<Experiment>> {
    expand_layers(&[(name, text)], changes)
}

/// Files by name and text, the later on top of the earlier: what it says counts, and its passes, interventions and hooks are added.
pub(crate) fn expand_layers<D: Described>(files: &[(&str, &str)], changes: &Changes) -> Result<Vec<D>> {
    expand_within(files, changes, &Budget::default())
}

/// The same, of what fits into memory.
fn expand_within<D: Described>(files: &[(&str, &str)], changes: &Changes, budget: &Budget) -> Result<Vec<D>> {
    let &Changes { scale, sets, grids } = changes;
    let mut sources = Sources::new(files.iter().copied());
    let name = sources.name().to_owned();
    let mut table = Spanned::new(0..0, DeTable::new());
    for (index, (_, text)) in files.iter().enumerate() {
        let start = sources.start(index);
        let layer = DeTable::parse(text).map_err(|error| {
            let place = sources.place(start + error.span().map_or(0, |span| span.start));
            Error::Invalid(format!("{place}: this is not TOML: {}", error.message()))
        })?;
        let layer = Spanned::new(layer.span(), DeValue::Table(layer.into_inner()));
        let DeValue::Table(mut layer) = tree::shifted(layer, start).into_inner() else { continue };
        if let Some(extends) = layer.remove("extends") {
            check_extends(&extends, &sources)?;
        }
        tree::merge(table.get_mut(), layer, D::GROWING);
    }

    let scales = scale::take_scales(table.get_mut(), &sources).map_err(Error::Invalid)?;
    scales.iter().try_for_each(|scale| check_scale::<D>(scale, &table, &sources))?;
    let scale = scale::chosen(&scales, scale, &name).map_err(Error::Invalid)?;
    if let Some(scale) = scale {
        scale.lay_over(table.get_mut(), &sources).map_err(Error::Invalid)?;
    }
    let lists =
        grids.iter().map(|grid| split("--grid", grid).map(|(key, values)| (key, format!("[{values}]")))).collect::<Result<Vec<_>>>()?;

    let mut set_paths: Vec<Vec<tree::Part>> = Vec::new();
    for option in sets {
        let (key, value) = split("--set", option)?;
        let start = sources.add(format!("--set {option}"));
        let path = tree::parts(key, start + "--set ".len());
        if value.trim().is_empty() {
            if !tree::take_out(table.get_mut(), &path) {
                return Err(Error::Invalid(format!("--set {option}: there is no {key} in {name} that could be taken out")));
            }
        } else {
            tree::set(table.get_mut(), &path, sweep::value(value, start + "--set =".len() + key.len()))
                .map_err(|message| Error::Invalid(format!("--set {option}: {message}")))?;
        }
        set_paths.push(path);
    }

    let mut axes = sweep::take_axes(table.get_mut(), &sources).map_err(Error::Invalid)?;
    let scaled = || scale.iter().flat_map(|scale| scale.keys.iter().map(|(path, _)| path));
    axes.retain(|axis| !set_paths.iter().chain(scaled()).any(|path| axis.path.starts_with(path)));
    for (index, (option, (key, list))) in grids.iter().zip(&lists).enumerate() {
        let start = sources.add(format!("--grid {option}"));
        let (key_start, list_start) = (start + "--grid ".len(), start + "--grid ".len() + key.len());
        let axis = Axis { path: tree::parts(key, key_start), values: sweep::values(list, list_start) };
        if axis.values.is_empty() {
            return Err(Error::Invalid(format!("--grid {option}: no values are given")));
        }
        let twice = |(_, (other, _)): &(_, &(&str, String))| tree::parts(other, 0) == axis.path;
        if let Some((_, (_, first))) = grids.iter().zip(&lists).take(index).find(twice) {
            let both = format!("{},{}", first.trim_matches(['[', ']']), list.trim_matches(['[', ']']));
            return Err(Error::Invalid(format!(
                "--grid {option}: {key} is swept over twice; give all its values in one: --grid {key}={both}"
            )));
        }
        match axes.iter_mut().find(|other| other.path == axis.path) {
            Some(other) => *other = axis,
            None => axes.push(axis),
        }
    }
    for (index, axis) in axes.iter().enumerate() {
        let overlaps = |other: &&Axis| axis.path.starts_with(&other.path) || other.path.starts_with(&axis.path);
        if let Some(other) = axes[..index].iter().find(overlaps) {
            let place = axis.path.first().map_or(name.clone(), |part| sources.place(part.span().start));
            let (one, other) = (tree::dotted(&axis.path), tree::dotted(&other.path));
            let both = if one == other { format!("{one} is swept over twice") } else { format!("{one} is swept over, and so is {other}") };
            return Err(Error::Invalid(format!("{place}: {both}; leave one of them out")));
        }
    }
    for axis in &axes {
        if let Some(path) = set_paths.iter().find(|path| axis.path.starts_with(path) || path.starts_with(&axis.path)) {
            let (swept, set) = (tree::dotted(&axis.path), tree::dotted(path));
            return Err(Error::Invalid(format!("--set {set}: {swept} is swept over at the same time; leave one of them out")));
        }
    }

    let runs = axes.iter().fold(1, |runs: u128, axis| runs.saturating_mul(axis.values.len() as u128));
    budget
        .fits(runs.saturating_mul(size_of::<D>() as u128), || format!("the experiments of {runs} runs"))
        .map_err(|message| Error::Invalid(format!("{name}: sweep.grid: {message}")))?;
    let mut experiments = Vec::new();
    let mut known = HashSet::new();
    for combination in sweep::combinations(&axes) {
        let mut table = table.clone();
        for (path, value) in combination {
            tree::set(table.get_mut(), path, value.clone())
                .map_err(|message| Error::Invalid(format!("{}: {message}", sources.place(value.span().start))))?;
        }
        let experiment: D = single(table, &sources, budget)?;
        let run_id = experiment.run_id();
        if !known.insert(run_id.clone()) {
            return Err(Error::Invalid(format!("{name}: the sweep asks for the same run twice ({run_id})")));
        }
        experiments.push(experiment);
    }
    Ok(experiments)
}

/// The experiment that a table without a sweep describes.
fn single<D: Described>(table: Spanned<DeTable>, sources: &Sources, budget: &Budget) -> Result<D> {
    let placed = |(at, message): (usize, String)| Error::Invalid(format!("{}: {message}", sources.place(at)));
    let names = full_names(table.get_ref()).map_err(placed)?;
    let mut table = table;
    take_apart(table.get_mut(), &names).map_err(Error::Invalid)?;
    let experiment = D::deserialize(Deserializer::from(table.clone())).map_err(|error| unreadable(&error, table.get_ref(), sources))?;
    experiment.first_too_large(budget).and_then(|()| experiment.first_fault()).map_err(|fault| {
        let place = tree::place_of(table.get_ref(), &tree::parts(&fault.key, 0));
        let place = place.map_or(sources.name().to_owned(), |offset| sources.place(offset));
        Error::Invalid(format!("{place}: {fault}"))
    })?;
    Ok(experiment)
}

/// `extends` is a path or a list of paths.
fn check_extends(extends: &tree::Value, sources: &Sources) -> Result<()> {
    let refused = |value: &tree::Value| {
        let (place, found) = (sources.place(value.span().start), wording::described(value.get_ref()));
        Err(Error::Invalid(format!("{place}: extends: expected a path in quotes, or a list of them, found {found}")))
    };
    match extends.get_ref() {
        DeValue::String(_) => Ok(()),
        DeValue::Array(list) => list.iter().find(|item| !item.get_ref().is_str()).map_or(Ok(()), refused),
        _ => refused(extends),
    }
}

/// Whether a scale's keys exist and have values of their type, also where another is chosen: a slip is found before it is needed.
fn check_scale<'a, D: Described>(scale: &Scale<'a>, table: &Spanned<DeTable<'a>>, sources: &Sources) -> Result<()> {
    let mut table = table.clone();
    scale.lay_over(table.get_mut(), sources).map_err(Error::Invalid)?;
    for axis in sweep::take_axes(table.get_mut(), sources).map_err(Error::Invalid)? {
        if let Some(value) = axis.values.first() {
            // A path that leads nowhere is told when it is swept over.
            let _ = tree::set(table.get_mut(), &axis.path, value.clone());
        }
    }
    // A layer that does not agree is told when the scale is chosen.
    let Ok(names) = full_names(table.get_ref()) else { return Ok(()) };
    let mut table = table;
    take_apart(table.get_mut(), &names).map_err(Error::Invalid)?;
    match D::deserialize(Deserializer::from(table.clone())) {
        Err(error) if error.span().is_some_and(|span| scale.stands_at(span.start)) => Err(unreadable(&error, table.get_ref(), sources)),
        _ => Ok(()),
    }
}

/// What is said about a table that is no experiment.
fn unreadable(error: &toml::de::Error, table: &DeTable, sources: &Sources) -> Error {
    let offset = error.span().map_or(0, |span| span.start);
    let message = wording::explained(error.message(), table, offset);
    Error::Invalid(format!("{}: {message}", sources.place(offset)))
}

fn split<'a>(flag: &str, option: &'a str) -> Result<(&'a str, &'a str)> {
    option
        .split_once('=')
        .filter(|(key, _)| !key.trim().is_empty())
        .ok_or_else(|| Error::Invalid(format!("{flag} {option}: expected KEY=VALUE, such as {flag} train.sequences=100000")))
}

/// Paths that lead to a file in the experiment file's folder begin with that folder; others are left for the current directory. A run's folder
/// stands for its last checkpoint, which the experiment then names.
fn settle_paths(experiment: &mut impl Described, folder: &Path) {
    for path in experiment.paths() {
        let beside: PathBuf = folder.join(&*path);
        if beside.exists() && beside.to_str().is_some() {
            *path = beside;
        }
        if let Some((_, last)) = checkpoint::list(&path.join("checkpoints")).ok().and_then(|mut all| all.pop()) {
            *path = last;
        }
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
pub(super) mod tests;
