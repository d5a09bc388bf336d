//! What there is in an HDF5 file: its datasets, also those behind links, and where a name leads.

use crate::hdf5_library::{link_value, until_zero};
use hdf5::{Group, IndexType, IterationOrder, LinkType, LocationInfo, LocationType};
use std::fmt;

/// How deep groups are looked into.
const DEPTH: usize = 8;

/// How many datasets a message lists.
const LISTED: usize = 12;

/// A dataset, or a link that leads nowhere.
pub(crate) struct Entry {
    name: String,
    what: What,
}

enum What {
    Dataset(Vec<usize>),
    /// HDF5 cannot open it.
    Unreadable,
    /// A link, and its target.
    Dangling(String),
}

impl fmt::Display for Entry {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let name = &self.name;
        match &self.what {
            What::Dataset(shape) => write!(out, "\"{name}\" {shape:?}"),
            What::Unreadable => write!(out, "\"{name}\" (cannot be opened)"),
            What::Dangling(target) => write!(out, "\"{name}\" (a link to {target}, which is not there)"),
        }
    }
}

/// All datasets of a group and the groups below it, by name.
pub(crate) fn entries(group: &Group) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut seen = Vec::new();
    add_entries(group, "", DEPTH, &mut seen, &mut found);
    found
}

/// Groups that were seen are left out, since links can lead in circles.
fn add_entries(group: &Group, prefix: &str, depth: usize, seen: &mut Vec<LocationInfo>, found: &mut Vec<Entry>) {
    for (link, info) in group.links(IndexType::Name, IterationOrder::Native).unwrap_or_default() {
        let name = format!("{prefix}{link}");
        match group.loc_info_by_name(&link) {
            Ok(place) if place.loc_type == LocationType::Group => {
                let again = seen.iter().any(|other| (other.fileno, other.token) == (place.fileno, place.token));
                if depth > 0 && !again {
                    seen.push(place);
                    if let Ok(below) = group.group(&link) {
                        add_entries(&below, &format!("{name}/"), depth - 1, seen, found);
                    }
                }
            }
            Ok(place) if place.loc_type == LocationType::Dataset => {
                let shape = group.dataset(&link).and_then(|dataset| dataset.get_shape());
                found.push(Entry { name, what: shape.map_or(What::Unreadable, What::Dataset) });
            }
            Ok(_) => {}
            Err(_) => {
                let what = target(group, &link, info.link_type).map_or(What::Unreadable, What::Dangling);
                found.push(Entry { name, what });
            }
        }
    }
}

/// Where a soft or external link leads, in words.
fn target(group: &Group, link: &str, kind: LinkType) -> Option<String> {
    let value = link_value(group, link).ok()?;
    match kind {
        LinkType::Hard => None,
        LinkType::Soft => Some(format!("\"{}\"", until_zero(&value))),
        LinkType::External => {
            // A byte of flags, the file, the path in it.
            let file = until_zero(value.get(1..)?);
            let path = until_zero(value.get(file.len() + 2..)?);
            Some(format!("\"{path}\" in {file}"))
        }
    }
}

/// What is under a name.
pub(crate) enum Place {
    /// An object of this kind.
    Object(LocationType),
    /// Nothing.
    Nothing,
    /// A link on the way, and where it leads: nothing is there.
    Dangling(String, String),
    /// An object that HDF5 cannot open.
    Unreadable,
}

/// Where a name leads from a group.
pub(crate) fn place(group: &Group, name: &str) -> Place {
    if let Ok(info) = group.loc_info_by_name(name) {
        return Place::Object(info.loc_type);
    }
    let mut at = group.clone();
    let mut way = String::new();
    for part in name.split('/').filter(|part| !part.is_empty()) {
        way = format!("{way}{}{part}", if way.is_empty() { "" } else { "/" });
        match at.loc_info_by_name(part) {
            Ok(info) if info.loc_type == LocationType::Group => match at.group(part) {
                Ok(below) => at = below,
                Err(_) => return Place::Unreadable,
            },
            Ok(_) => return Place::Nothing,
            Err(_) => {
                let links = at.links(IndexType::Name, IterationOrder::Native).unwrap_or_default();
                return match links.into_iter().find(|(link, _)| link == part) {
                    None => Place::Nothing,
                    Some((_, info)) => target(&at, part, info.link_type).map_or(Place::Unreadable, |target| Place::Dangling(way, target)),
                };
            }
        }
    }
    Place::Nothing
}

/// "; did you mean …?", where one of the names is near.
pub(crate) fn did_you_mean<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> String {
    let nearest = names.map(|other| (strsim::jaro_winkler(name, other), other)).max_by(|a, b| a.0.total_cmp(&b.0));
    nearest.filter(|(likeness, _)| *likeness > 0.7).map(|(_, other)| format!("; did you mean \"{other}\"?")).unwrap_or_default()
}

/// "; did you mean …?; there are: …", with shapes; of many the ones most alike.
pub(crate) fn suggestion(name: &str, there: &[Entry]) -> String {
    let opens = there.iter().filter(|entry| !matches!(entry.what, What::Dangling(_)));
    let nearest = did_you_mean(name, opens.map(|entry| entry.name.as_str()));
    let mut there: Vec<_> = there.iter().collect();
    if there.len() > LISTED {
        there.sort_by(|a, b| strsim::jaro_winkler(name, &b.name).total_cmp(&strsim::jaro_winkler(name, &a.name)));
    }
    let list: Vec<String> = there.iter().take(LISTED).map(ToString::to_string).collect();
    let more = match there.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{nearest}; there are: {}{more}", list.join(", "))
}
