//! The experiment file as a tree in which every key and value knows where it was given: find, set and take out by dotted key.

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// A value and where it stands.
pub(super) type Value<'a> = Spanned<DeValue<'a>>;

/// A part of a dotted key and where it stands; equal if the names are.
pub(super) type Part = Spanned<String>;

/// The parts of a key that stands at `start`; items of a list go by index: `data.mixture.0.weight`.
pub(super) fn parts(key: &str, start: usize) -> Vec<Part> {
    let mut start = start;
    let part = |name: &str| {
        let span = start..start + name.len();
        start = span.end + 1;
        Spanned::new(span, name.trim().to_owned())
    };
    key.split('.').map(part).collect()
}

/// Sets `path` to `value`, making the tables on the way.
///
/// # Errors
/// What is wrong with the path: an index that is not there, or a key below something that is no table.
pub(super) fn set<'a>(table: &mut DeTable<'a>, path: &[Part], value: Value<'a>) -> Result<(), String> {
    let [name, rest @ ..] = path else { return Err("the key is empty".into()) };
    let (span, name) = (name.span(), name.get_ref());
    let key = Spanned::new(span.clone(), DeString::from(name.clone()));
    if rest.is_empty() {
        // The old key goes as well: it knows the place of the old value.
        table.remove(name.as_str());
        table.insert(key, value);
        return Ok(());
    }
    if !table.contains_key(name.as_str()) {
        table.insert(key, Spanned::new(span, DeValue::Table(DeTable::new())));
    }
    match table.get_mut(name.as_str()).map(Spanned::get_mut) {
        Some(DeValue::Table(inner)) => set(inner, rest, value),
        Some(DeValue::Array(items)) => {
            let [index, rest @ ..] = rest else { unreachable!("checked above") };
            let count = items.len();
            let named: Vec<String> = items.iter().filter_map(name_of).map(str::to_owned).collect();
            let named = if named.is_empty() { String::new() } else { format!(", or by name: {}", named.join(", ")) };
            let item = position(items, index.get_ref()).and_then(|index| items.get_mut(index));
            match item.map(|item| (item.get_mut(), rest)) {
                Some((DeValue::Table(inner), [_, ..])) => set(inner, rest, value),
                Some((item, [])) => {
                    *item = value.into_inner();
                    Ok(())
                }
                Some(_) => Err(format!("{name}.{index} is not a table")),
                None if count == 0 => Err(format!("{name} is an empty list, it has no item {index}")),
                None => Err(format!("{name} has no item {index}; its items go by number, from 0 to {}{named}", count - 1)),
            }
        }
        _ => Err(format!("{name} is neither a table nor a list")),
    }
}

/// The item of a list by number, or by its `name` or `table`.
fn position(items: &[Value], index: &str) -> Option<usize> {
    index.parse().ok().or_else(|| items.iter().position(|item| name_of(item) == Some(index)))
}

fn name_of<'t>(item: &'t Value) -> Option<&'t str> {
    let DeValue::Table(table) = item.get_ref() else { return None };
    ["name", "table"].iter().find_map(|key| table.get(*key)?.get_ref().as_str())
}

/// Lays a table over another: what it says counts, tables are laid over each other in turn, and the lists of `added` grow.
pub(super) fn merge<'a>(below: &mut DeTable<'a>, above: DeTable<'a>, added: &[&str]) {
    for (key, value) in above {
        let name = key.get_ref().to_string();
        match (below.get_mut(name.as_str()).map(Spanned::get_mut), value.get_ref()) {
            (Some(DeValue::Table(inner)), DeValue::Table(_)) => {
                if let DeValue::Table(outer) = value.into_inner() {
                    merge(inner, outer, &[]);
                }
            }
            (Some(DeValue::Array(items)), DeValue::Array(_)) if added.contains(&name.as_str()) => {
                if let DeValue::Array(more) = value.into_inner() {
                    more.into_iter().for_each(|item| items.push(item));
                }
            }
            _ => {
                below.remove(name.as_str());
                below.insert(key, value);
            }
        }
    }
}

/// Takes out what stands at `path`; false if nothing did.
pub(super) fn take_out(table: &mut DeTable, path: &[Part]) -> bool {
    let Some((name, above)) = path.split_last() else { return false };
    let mut table = table;
    let mut steps = above.iter();
    while let Some(step) = steps.next() {
        let mut value = table.get_mut(step.get_ref().as_str()).map(Spanned::get_mut);
        if let Some(DeValue::Array(items)) = value {
            let index = steps.next().and_then(|index| position(items, index.get_ref()));
            value = index.and_then(|index| items.get_mut(index)).map(Spanned::get_mut);
        }
        let Some(DeValue::Table(inner)) = value else { return false };
        table = inner;
    }
    table.remove(name.get_ref().as_str()).is_some()
}

/// Where `path` was given, or the part of it that was.
pub(super) fn place_of(table: &DeTable, path: &[Part]) -> Option<usize> {
    let (name, rest) = path.split_first()?;
    let (key, value) = table.get_key_value(name.get_ref().as_str())?;
    let deeper = match (value.get_ref(), rest) {
        (DeValue::Table(inner), _) => place_of(inner, rest),
        (DeValue::Array(items), [index, rest @ ..]) => {
            position(items, index.get_ref()).and_then(|index| items.get(index)).and_then(|item| {
                let DeValue::Table(inner) = item.get_ref() else { return Some(item.span().start) };
                place_of(inner, rest).or(Some(item.span().start))
            })
        }
        _ => None,
    };
    deeper.or(Some(key.span().start))
}

/// The path to the innermost key or value that stands at `offset`, and the value there.
pub(super) fn at<'t, 'a>(table: &'t DeTable<'a>, offset: usize) -> Option<(Vec<String>, &'t DeValue<'a>)> {
    table.iter().find_map(|(key, value)| {
        let found = if key.span().contains(&offset) { Some((Vec::new(), value.get_ref())) } else { below(value, offset) };
        found.map(|(path, value)| (std::iter::once(key.get_ref().to_string()).chain(path).collect(), value))
    })
}

fn below<'t, 'a>(value: &'t Value<'a>, offset: usize) -> Option<(Vec<String>, &'t DeValue<'a>)> {
    let deeper = match value.get_ref() {
        DeValue::Table(table) => at(table, offset),
        DeValue::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
            below(item, offset).map(|(path, value)| (std::iter::once(index.to_string()).chain(path).collect(), value))
        }),
        _ => None,
    };
    // The second: an empty text has an empty span.
    let here = value.span().contains(&offset) || value.span().start == offset;
    deeper.or_else(|| here.then(|| (Vec::new(), value.get_ref())))
}

/// The same value, standing `by` further on.
pub(super) fn shifted<'a>(value: Value<'a>, by: usize) -> Value<'a> {
    let span = value.span().start + by..value.span().end + by;
    let value = match value.into_inner() {
        DeValue::Array(items) => DeValue::Array(items.into_iter().map(|item| shifted(item, by)).collect()),
        DeValue::Table(table) => {
            let entry = |(key, value): (Spanned<DeString<'a>>, Value<'a>)| {
                let span = key.span().start + by..key.span().end + by;
                (Spanned::new(span, key.into_inner()), shifted(value, by))
            };
            DeValue::Table(table.into_iter().map(entry).collect())
        }
        scalar => scalar,
    };
    Spanned::new(span, value)
}

/// A path as it is written.
pub(super) fn dotted(path: &[Part]) -> String {
    path.iter().map(|part| part.get_ref().as_str()).collect::<Vec<_>>().join(".")
}
