//! Sweeps: the values of `[sweep]` and `--grid`, one run for each combination.

use super::source::Sources;
use super::tree::{self, Part, Value};
use super::wording;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One key of a grid and its values.
pub(super) struct Axis<'a> {
    /// The key.
    pub(super) path: Vec<Part>,
    /// At least one.
    pub(super) values: Vec<Value<'a>>,
}

/// Takes `[sweep]` out of the file's table.
///
/// # Errors
/// A message that begins with the place.
pub(super) fn take_axes<'a>(table: &mut DeTable<'a>, sources: &Sources) -> Result<Vec<Axis<'a>>, String> {
    let mut axes = Vec::new();
    let Some(sweep) = table.remove("sweep") else { return Ok(axes) };
    let not_a_table = |key: &str, value: &Value| {
        format!("{}: {key}: expected a table, found {}", sources.place(value.span().start), wording::described(value.get_ref()))
    };
    let DeValue::Table(inner) = sweep.get_ref() else { return Err(not_a_table("sweep", &sweep)) };
    for (key, grid) in inner {
        if key.get_ref() != "grid" {
            let message = wording::unknown_key(key.get_ref(), &["sweep".into()], &["grid"]);
            return Err(format!("{}: {message}", sources.place(key.span().start)));
        }
        let DeValue::Table(keys) = grid.get_ref() else { return Err(not_a_table("sweep.grid", grid)) };
        add_axes(keys, &[], sources, &mut axes)?;
    }
    Ok(axes)
}

/// Both `"seeds.init" = […]` and, since TOML reads it as a table in a table, `seeds.init = […]`.
fn add_axes<'a>(keys: &DeTable<'a>, above: &[Part], sources: &Sources, axes: &mut Vec<Axis<'a>>) -> Result<(), String> {
    for (key, value) in keys {
        let quote = key.span().len().saturating_sub(key.get_ref().len()) / 2;
        let path = [above, &tree::parts(key.get_ref(), key.span().start + quote)].concat();
        match value.get_ref() {
            DeValue::Table(inner) => add_axes(inner, &path, sources, axes)?,
            DeValue::Array(items) if !items.is_empty() => axes.push(Axis { path, values: items.iter().cloned().collect() }),
            other => {
                let found = if other.is_array() { "an empty one".into() } else { wording::described(other) };
                let place = sources.place(value.span().start);
                return Err(format!("{place}: sweep.grid: expected a list of values for {}, found {found}", tree::dotted(&path)));
            }
        }
    }
    Ok(())
}

/// A value as the command line gives it: TOML, or else a text that needs no quotes there. `start` is where it stands.
pub(super) fn value(text: &str, start: usize) -> Value<'_> {
    match DeValue::parse(text.trim()) {
        Ok(value) => tree::shifted(value, start),
        Err(_) => Spanned::new(start..start + text.len(), DeValue::String(text.trim().into())),
    }
}

/// The values of `--grid KEY=VALUES`, given as `[VALUES]`: a TOML list, or else texts between commas.
pub(super) fn values(list: &str, start: usize) -> Vec<Value<'_>> {
    match DeValue::parse(list).map(|list| tree::shifted(list, start).into_inner()) {
        Ok(DeValue::Array(items)) => items.into_iter().collect(),
        _ => list.trim_matches(['[', ']']).split(',').map(|text| value(text, start)).collect(),
    }
}

/// Every combination of the axes' values, the first axis slowest, as nested loops would go.
pub(super) fn combinations<'t, 'a>(axes: &'t [Axis<'a>]) -> Vec<Vec<(&'t [Part], &'t Value<'a>)>> {
    axes.iter().fold(vec![Vec::new()], |combinations, axis| {
        let longer = |combination: &Vec<_>| -> Vec<Vec<(&'t [Part], &'t Value<'a>)>> {
            axis.values.iter().map(|value| [&combination[..], &[(&axis.path[..], value)]].concat()).collect()
        };
        combinations.iter().flat_map(longer).collect()
    })
}
