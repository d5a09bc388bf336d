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

#[cfg(test)]
mod tests {
    use crate::hdf5_file::File;
    use std::path::Path;

    /// What is said of a name in a file of links of all kinds.
    fn said(name: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let file = hdf5::File::create(folder.path().join(name)).unwrap();
            let group = file.create_group("layers/last").unwrap();
            group.new_dataset::<f32>().shape([2, 3]).create("raw").unwrap();
            file
        };
        write("bank.h5");
        let file = write("links.h5");
        file.link_soft("/layers/last/raw", "soft").unwrap();
        file.link_external("bank.h5", "/layers/last/raw", "feat").unwrap();
        file.link_external("bank.h5", "/layers", "others").unwrap();
        file.link_soft("/nothing", "dangling").unwrap();
        file.link_external("nowhere.h5", "/feat", "gone").unwrap();
        // Round and round.
        file.group("layers").unwrap().link_hard("/layers", "above").unwrap();
        drop(file);
        let path = folder.path().join("links.h5");
        let message = File::open(&path).unwrap().dataset(name).err().map_or(String::new(), |error| error.to_string());
        message.replace(&format!("{}/", folder.path().display()), "")
    }

    #[test]
    fn datasets_behind_links_are_there() {
        for name in ["feat", "soft", "/soft", "others/last/raw", "layers/above/last/raw"] {
            assert_eq!(said(name), "", "{name}");
        }
        assert_eq!(
            said("fea"),
            "links.h5: dataset \"fea\" is not there; did you mean \"feat\"?; there are: \
             \"dangling\" (a link to \"/nothing\", which is not there), \"feat\" [2, 3], \
             \"gone\" (a link to \"/feat\" in nowhere.h5, which is not there), \"layers/last/raw\" [2, 3], \"others/last/raw\" [2, 3], \
             \"soft\" [2, 3]"
        );
        assert!(said("layers").starts_with("links.h5: dataset \"layers\" is not there; "));
    }

    #[test]
    fn a_link_that_leads_nowhere_is_named_with_its_target() {
        assert_eq!(
            said("dangling"),
            "links.h5: dataset \"dangling\" is not there: \"dangling\" is a link to \"/nothing\", which does not open"
        );
        assert_eq!(
            said("gone/feat"),
            "links.h5: dataset \"gone/feat\" is not there: \"gone\" is a link to \"/feat\" in nowhere.h5, which does not open"
        );
    }

    #[test]
    fn an_empty_file_is_said_to_be_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty.h5");
        hdf5::File::create(&path).unwrap();
        let message = File::open(&path).unwrap().dataset("feat").unwrap_err().to_string();
        assert!(message.ends_with("empty.h5: dataset \"feat\" is not there, nor is any other"), "{message}");
    }

    #[test]
    fn a_dataset_of_a_newer_format_is_there() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/hdf5/written_by_2.0.h5");
        let file = File::open(&path).unwrap();
        if hdf5::library_version().0 >= 2 {
            assert_eq!(file.dataset("feat").unwrap().1, [40, 2, 16]);
        } else {
            let message = file.dataset("fea").unwrap_err().to_string();
            assert!(message.ends_with("did you mean \"feat\"?; there are: \"feat\" (cannot be opened)"), "{message}");
            let message = file.dataset("feat").unwrap_err().to_string();
            let (major, minor, patch) = hdf5::library_version();
            let known = format!("its format is not known to HDF5 {major}.{minor}.{patch}, which this program has (");
            assert!(message.contains(&format!(": dataset \"feat\" is there, but cannot be opened: {known}")), "{message}");
            assert!(message.contains("it needs HDF5 2.0 or later"), "{message}");
        }
    }
}
