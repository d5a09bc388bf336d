//! Where files and checkpoints that experiments name are looked for, and how one that has what is wanted is told from one that has not.

use optogen::experiment::{Changes, Described, Input, Written, by_content, load_written};
use optogen::log::{RunStatus, read_run_status};
use optogen::say::note;
use optogen::{Error, Result};
use std::path::{Component, Path, PathBuf};

/// So many of the last parts of a path are looked for in other folders: `run=ID/checkpoints/at-…`, and what it lies in.
const PARTS: usize = 4;

/// Digits of SHA-256 that messages show.
const SHOWN: usize = 12;

/// Experiments as they are written, and the run, if it is there already, whose experiments they are.
pub struct Asked<D> {
    /// The experiments.
    pub written: Written<D>,
    /// That run.
    pub run: Option<KnownRun>,
}

/// A run that is there: what its experiment names, and what its row says that this held.
pub struct KnownRun {
    /// Its folder.
    pub folder: PathBuf,
    /// Its row; without inputs where that was written before they were.
    pub row: RunStatus,
    /// Its name: its folder's, or, where that was renamed, its experiment's.
    pub run_id: String,
    paths: Vec<(String, PathBuf)>,
}

impl<D: Described> Asked<D> {
    /// The experiments of a file, which may be that of a run that is there. A row that cannot be read is named; nothing is known of its inputs then.
    ///
    /// # Errors
    /// The file is not as it should be.
    pub fn of_file(file: &Path, changes: &Changes) -> Result<Self> {
        let written = load_written(file, None, changes)?;
        let folder = file.parent().unwrap_or(Path::new(""));
        let is_run = file.ends_with("experiment.toml") && folder.join("run.parquet").is_file();
        let known = is_run.then(|| KnownRun::read::<D>(folder)).transpose().unwrap_or_else(|error| {
            note(format!("warning: {error}; what its inputs held is not compared"));
            None
        });
        Ok(Self { written, run: known })
    }

    /// The experiments that a run's own becomes with `more` and changes on top.
    ///
    /// # Errors
    /// A file is not as it should be, or the run's row is damaged.
    pub fn of_run(folder: &Path, more: Option<&Path>, changes: &Changes) -> Result<Self> {
        let written = load_written(&folder.join("experiment.toml"), more, changes)?;
        Ok(Self { written, run: Some(KnownRun::read::<D>(folder)?) })
    }

    /// Where an input is looked for.
    pub fn wanted<'a>(&'a self, key: &'a str, path: &'a Path, what: &'a str) -> Wanted<'a> {
        let known = self.run.as_ref().and_then(|run| run.input(key, path));
        let run = self.run.as_ref().map(|run| run.folder.as_path());
        Wanted { key, path, what, folders: &self.written.folders, run, known, sha256: known.and_then(|input| input.sha256.as_deref()) }
    }
}

impl KnownRun {
    /// What is known of the run in a folder; of one that has no row yet, where its inputs are.
    ///
    /// # Errors
    /// Its experiment or its row cannot be read.
    pub fn read<D: Described>(folder: &Path) -> Result<Self> {
        let own = load_written::<D>(&folder.join("experiment.toml"), None, &Changes::default())?;
        let mut experiment = own.experiments.into_iter().next().ok_or_else(|| Error::Internal("an experiment file without one".into()))?;
        Self::of(folder, &mut experiment)
    }

    /// The same, of a run whose experiment was read already.
    ///
    /// # Errors
    /// Its row cannot be read.
    pub fn of<D: Described>(folder: &Path, experiment: &mut D) -> Result<Self> {
        let row = folder.join("run.parquet");
        let row = if row.exists() { read_run_status(&row)? } else { RunStatus::default() };
        let folder = absolute(folder);
        let name = folder.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix("run="));
        let own = || by_content(experiment, row.inputs.as_deref().unwrap_or_default()).run_id();
        let run_id = name.map_or_else(own, str::to_owned);
        let paths = experiment.paths().into_iter().map(|(key, path)| (key, path.clone())).collect();
        Ok(Self { folder, row, run_id, paths })
    }

    /// What its row says of an input that the run names in the same way.
    pub fn input(&self, key: &str, path: &Path) -> Option<&Input> {
        let same = self.paths.iter().any(|(own, named)| own == key && named == path);
        self.recorded(key).filter(|_| same)
    }

    /// What its row says of an input.
    pub fn recorded(&self, key: &str) -> Option<&Input> {
        self.row.inputs.iter().flatten().find(|input| input.key == key)
    }
}

/// An input that is looked for.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// The key that names it.
    pub key: &'a str,
    /// As it is named.
    pub path: &'a Path,
    /// What is looked for: a file, a checkpoint folder.
    pub what: &'a str,
    /// Folders to look in for the whole path.
    pub folders: &'a [PathBuf],
    /// The run that it is an input of.
    pub run: Option<&'a Path>,
    /// What that run's row says of it.
    pub known: Option<&'a Input>,
    /// What it must hold.
    pub sha256: Option<&'a str>,
}

/// What was found.
pub struct Found<T> {
    /// Where; absolute.
    pub path: PathBuf,
    /// What was read there.
    pub value: T,
    /// Its content.
    pub sha256: String,
}

impl Wanted<'_> {
    /// The places where it may be, in order: below the folders of the experiment's files, below the current one, where it was found before; then the
    /// ends of its path beside the run, and below the folders of `--data`. The number of the first kind comes with them.
    fn places(&self, data: &[PathBuf]) -> (Vec<PathBuf>, usize) {
        let mut places: Vec<PathBuf> = self.folders.iter().map(|folder| folder.join(self.path)).collect();
        places.push(self.path.to_owned());
        places.extend(self.known.map(|known| known.path.clone()));
        let named = places.len();
        let beside = self.run.into_iter().flat_map(|run| [Some(run), run.parent()]).flatten();
        for folder in beside.chain(data.iter().map(PathBuf::as_path)) {
            places.extend(ends(self.path).into_iter().map(|end| folder.join(end)));
        }
        let mut distinct: Vec<PathBuf> = Vec::new();
        let mut kept = named;
        for (index, place) in places.into_iter().enumerate() {
            let place = std::path::absolute(&place).unwrap_or(place);
            if !distinct.contains(&place) {
                distinct.push(place);
            } else if index < named {
                kept -= 1;
            }
        }
        (distinct, kept)
    }

    /// The first place that is there and, where it is known, holds what it should. The inner error is that there is none.
    ///
    /// # Errors
    /// What is there, and may be anything, cannot be read.
    pub fn find<T>(&self, data: &[PathBuf], mut read: impl FnMut(&Path) -> Result<(PathBuf, T, String)>) -> Result<Result<Found<T>>> {
        let (places, named) = self.places(data);
        let mut seen = Vec::new();
        for (index, place) in places.iter().enumerate() {
            if !place.exists() {
                seen.push("not there".to_owned());
                continue;
            }
            match read(place) {
                Ok((path, value, sha256)) if self.sha256.is_none_or(|wanted| wanted == sha256) => {
                    if index >= named {
                        let unknown = if self.sha256.is_none() { ", whatever it holds: that is not recorded" } else { "" };
                        note(format!("{}: {} is {}{unknown}", self.key, self.path.display(), path.display()));
                    }
                    return Ok(Ok(Found { path: absolute(&path), value, sha256 }));
                }
                Ok((_, _, sha256)) => seen.push(format!("holds something else ({})", shown(&sha256))),
                Err(error) if self.sha256.is_none() => return Err(error),
                Err(error) => seen.push(format!("cannot be read: {error}")),
            }
        }
        Ok(Err(self.nowhere(&places, &seen)))
    }

    fn nowhere(&self, places: &[PathBuf], seen: &[String]) -> Error {
        let Self { key, path, what, .. } = self;
        let wanted = self.sha256.map_or(String::new(), |sha256| format!(" that holds what it held when it was read ({})", shown(sha256)));
        let message = format!("{key}: no {what} {}{wanted}", path.display());
        match places {
            [only] if only == path && !only.exists() => Error::Invalid(message),
            _ => {
                let lines = places.iter().zip(seen).map(|(place, what)| format!("\n  {}: {what}", place.display()));
                Error::Invalid(format!("{message}; looked at{}\n--data DIR looks in one more folder", lines.collect::<String>()))
            }
        }
    }
}

/// The ends of a path, the longest first.
fn ends(path: &Path) -> Vec<PathBuf> {
    let parts: Vec<&std::ffi::OsStr> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect();
    let longest = if path.is_relative() { parts.len() } else { parts.len().min(PARTS) };
    (1..=longest).rev().map(|count| parts[parts.len() - count..].iter().collect()).collect()
}

/// A path that leads to the same from everywhere; as it is where that cannot be written down.
pub fn absolute(path: &Path) -> PathBuf {
    path.canonicalize().ok().filter(|path| path.to_str().is_some()).unwrap_or_else(|| path.to_owned())
}

/// The beginning of a content.
pub fn shown(sha256: &str) -> String {
    format!("sha256 {}…", sha256.get(..SHOWN).unwrap_or(sha256))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_a_path_are_looked_for_the_longest_first() {
        let of = |path: &str| ends(Path::new(path)).into_iter().map(|end| end.display().to_string()).collect::<Vec<_>>();
        assert_eq!(of("/a/b/c/d/bank.h5"), ["b/c/d/bank.h5", "c/d/bank.h5", "d/bank.h5", "bank.h5"]);
        assert_eq!(of("../exp/./bank.h5"), ["exp/bank.h5", "bank.h5"]);
    }

    #[test]
    fn places_are_looked_at_in_order_and_once() {
        let (folders, data) = (["/exp".into(), "/exp".into()], ["/data".into()]);
        let known = Input { key: "data.bank".into(), path: "/old/bank.h5".into(), sha256: None };
        let wanted = Wanted {
            key: "data.bank",
            path: Path::new("/old/bank.h5"),
            what: "file",
            folders: &folders,
            run: Some(Path::new("/runs/run=a")),
            known: Some(&known),
            sha256: None,
        };
        let (places, named) = wanted.places(&data);
        let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
        let expected = ["/old/bank.h5", "/runs/run=a/old/bank.h5", "/runs/run=a/bank.h5", "/runs/old/bank.h5", "/runs/bank.h5"];
        assert_eq!((&places[..5], named), (&expected.map(String::from)[..], 1));
        assert_eq!(places[5..], ["/data/old/bank.h5", "/data/bank.h5"]);
    }
}
