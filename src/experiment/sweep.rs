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

#[cfg(test)]
mod tests {
    use crate::experiment::Positions;
    use crate::experiment::parse;
    use crate::experiment::read::tests::{BASE, refused_with, with};
    use crate::experiment::read::{Changes, expand};

    #[test]
    fn a_grid_is_every_combination_with_its_first_key_slowest() {
        let swept = format!("{BASE}[sweep]\ngrid = {{ \"seeds.init\" = [5, 6], \"model.width\" = [32, 64] }}\n");
        let runs = |sets: &[&str], grids: &[&str]| -> Vec<(u64, usize, f64)> {
            let strings = |options: &[&str]| options.iter().map(|&option| option.into()).collect::<Vec<String>>();
            let experiments =
                expand(&swept, "f.toml", &Changes { sets: &strings(sets), grids: &strings(grids), ..Changes::default() }).unwrap();
            assert!(experiments.iter().all(|experiment| experiment.sweep.is_none()));
            experiments.iter().map(|run| (run.seeds.init, run.model.width, run.train.optimiser.rate)).collect()
        };
        assert_eq!(runs(&[], &[]), [(5, 32, 1e-5), (5, 64, 1e-5), (6, 32, 1e-5), (6, 64, 1e-5)]);
        assert_eq!(runs(&[], &["seeds.init=7"]), [(7, 32, 1e-5), (7, 64, 1e-5)], "the command line's grid replaces the file's");
        assert_eq!(runs(&["seeds.init=9", "model.width=16"], &["train.optimiser.rate=1e-4,1e-3"]), [(9, 16, 1e-4), (9, 16, 1e-3)]);
        assert_eq!(runs(&["sweep="], &[]), [(5, 64, 1e-5)]);

        let nested = format!("{BASE}[sweep]\ngrid = {{ seeds.init = [5, 6] }}\n");
        assert_eq!(expand(&nested, "f.toml", &Changes::default()).unwrap().len(), 2, "a dotted key without quotes");
        assert_eq!(with(&[], &["model.positions=rope,learned"]).unwrap()[1].model.positions, Positions::Learned);
        assert_eq!(
            with(&[], &["evaluation.at=[1],[1,2]", "evaluation.every=1"]).unwrap_err().to_string().split(':').next(),
            Some("f.toml")
        );
        let at = with(&["evaluation.every="], &["evaluation.at=[1],[1,2]"]).unwrap();
        assert_eq!((at[0].evaluation.at.clone(), at[1].evaluation.at.clone()), (Some(vec![1]), Some(vec![1, 2])));
    }

    #[test]
    fn a_wrong_grid_is_refused_where_it_stands() {
        let file = |grid: &str| expand(&format!("{BASE}[sweep]\n{grid}\n"), "f.toml", &Changes::default()).unwrap_err().to_string();
        assert_eq!(file("gird = {}"), r#"f.toml:24:1: unknown key "gird" in [sweep]; did you mean "grid"?"#);
        assert_eq!(file("grid = 5"), "f.toml:24:8: sweep.grid: expected a table, found 5");
        assert_eq!(file("grid = { \"seeds.init\" = 5 }"), "f.toml:24:25: sweep.grid: expected a list of values for seeds.init, found 5");
        assert_eq!(
            file("grid = { \"seeds.init\" = [] }"),
            "f.toml:24:25: sweep.grid: expected a list of values for seeds.init, found an empty one"
        );
        assert_eq!(file("grid = { \"model.widht\" = [5, 6] }"), r#"f.toml:24:17: unknown key "widht" in [model]; did you mean "width"?"#);
        assert_eq!(file("grid = { \"model.heads\" = [4, 7] }"), "f.toml:24:17: model.heads: a width of 64 cannot be divided among 7 heads");
        assert_eq!(
            refused_with(&[], &["model.heads=4,7"]),
            "--grid model.heads=4,7: model.heads: a width of 64 cannot be divided among 7 heads"
        );
        assert_eq!(
            refused_with(&["seeds={ init = 3 }"], &["seeds.init=4"]),
            "--set seeds: seeds.init is swept over at the same time; leave one of them out"
        );
        assert_eq!(refused_with(&[], &["seeds.init="]), "--grid seeds.init=: no values are given");
        assert_eq!(
            refused_with(&[], &["seeds.init=7,8", "train.optimiser.rate=1e-3", "seeds.init=9"]),
            "--grid seeds.init=9: seeds.init is swept over twice; give all its values in one: --grid seeds.init=7,8,9"
        );
        assert_eq!(
            refused_with(&[], &["seeds={ init = 7 },{ init = 8 }", "seeds.init=9"]),
            "--grid seeds.init=9: seeds.init is swept over, and so is seeds; leave one of them out"
        );
        assert_eq!(
            file("grid = { \"seeds.init\" = [5, 6], seeds.init = [7, 8] }"),
            "f.toml:24:33: seeds.init is swept over twice; leave one of them out"
        );
        assert!(refused_with(&[], &["seeds.init=7,7"]).starts_with("f.toml: the sweep asks for the same run twice (base-"));
        let swept = format!("{BASE}[sweep]\ngrid = {{ \"seeds.init\" = [5, 6] }}\n");
        assert_eq!(
            parse(&swept, "f.toml").unwrap_err().to_string(),
            "f.toml: a sweep over several runs, where the experiment of one is needed"
        );
    }
}
