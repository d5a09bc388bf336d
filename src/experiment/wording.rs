//! Messages about keys and values in a researcher's words: what was expected, what was found, and the nearest right name.

use super::tree;
use toml::de::{DeTable, DeValue};

/// The candidate that `name` is most likely a slip of, if one is near enough to be that.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let slips = |candidate: &str| strsim::osa_distance(&name.to_lowercase(), &candidate.to_lowercase());
    let nearest = candidates.into_iter().min_by_key(|candidate| slips(candidate))?;
    (slips(nearest) <= 1.max(name.chars().count().max(nearest.chars().count()) * 2 / 5)).then_some(nearest)
}

/// `; did you mean "width"?`, or all candidates where none is near.
pub(super) fn suggestion(name: &str, candidates: &[&str]) -> String {
    match nearest(name, candidates.iter().copied()) {
        Some(nearest) => format!("; did you mean \"{nearest}\"?"),
        None => format!("; known are {}", quoted(candidates)),
    }
}

/// An unknown key of the table at `path`.
pub(super) fn unknown_key(name: &str, path: &[String], known: &[&str]) -> String {
    format!("unknown key \"{name}\"{}{}", in_table(path), suggestion(name, known))
}

/// What serde says about the value at `offset`, in our words. serde gives its names and types in backticks, as text only.
pub(super) fn explained(message: &str, table: &DeTable, offset: usize) -> String {
    let (path, value) = tree::at(table, offset).map_or((Vec::new(), None), |(path, value)| (path, Some(value)));
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let key = path.join(".");
    match (message, &names[..]) {
        (text, [unknown, known @ ..]) if text.starts_with("unknown field") => {
            unknown_key(unknown, &path[..path.len().saturating_sub(1)], known)
        }
        (text, [unknown, known @ ..]) if text.starts_with("unknown variant") => {
            let likely = nearest(unknown, known.iter().copied()).map_or(String::new(), |name| format!("; did you mean \"{name}\"?"));
            format!("{key}: unknown value \"{unknown}\"{likely} (known are {})", quoted(known))
        }
        (text, [missing, ..]) if text.starts_with("missing field") => format!("missing key \"{missing}\"{}", in_table(&path)),
        _ => {
            let expected = match message.rsplit_once(", expected ").map(|(_, expected)| expected) {
                Some("usize" | "u64") => "a whole number from 0 on",
                Some("f64") => "a number",
                Some("a boolean") => "true or false",
                Some("path string") => "a path in quotes",
                Some("a string") => "a text in quotes",
                Some("a sequence") => "a list",
                Some(structure) if structure.starts_with("struct") || structure == "a map" => "a table",
                None if message.starts_with("wanted") => "a text in quotes",
                _ => return format!("{key}: {message}"),
            };
            let found = value.map_or("something else".into(), described);
            format!("{key}: expected {expected}, found {found}")
        }
    }
}

/// A value as it is called in messages.
pub(super) fn described(value: &DeValue) -> String {
    match value {
        DeValue::String(text) => format!("the text {text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(date) => format!("the date {date}"),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

/// ` in [model]`, ` in [[data.mixture]]`; nothing at the top.
fn in_table(path: &[String]) -> String {
    let names: Vec<&str> = path.iter().map(String::as_str).filter(|part| part.parse::<usize>().is_err()).collect();
    match path.last() {
        None => String::new(),
        Some(last) if last.parse::<usize>().is_ok() => format!(" in [[{}]]", names.join(".")),
        Some(_) => format!(" in [{}]", names.join(".")),
    }
}

/// `"a", "b"`.
pub(super) fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_near() {
        let names = ["layers", "width", "heads", "positions"];
        assert_eq!(nearest("widht", names), Some("width"));
        assert_eq!(nearest("Layer", names), Some("layers"));
        assert_eq!(nearest("zebra", names), None);
        assert_eq!(nearest("w", []), None);
        assert_eq!(suggestion("zebra", &["a", "bcd"]), "; known are \"a\", \"bcd\"");
    }
}
