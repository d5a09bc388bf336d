//! Reading HDF5 with messages that name the file and the dataset, and the ones that are there.
//!
//! The library's own printing of errors is off, as `hdf5` leaves it: its text is part of the messages here.

use half::f16;
use hdf5::types::{FloatSize, TypeDescriptor};
use hdf5::{Dataset, Group};
use optogen::{Error, Result};
use std::fmt::Display;
use std::fs::TryLockError;
use std::path::{Path, PathBuf};

/// How deep groups are looked into for the datasets of a file: a link to a group above would go on for ever.
const DEPTH: usize = 8;

/// How many datasets a message lists.
const LISTED: usize = 12;

/// An open file, and the path that messages call it.
pub(crate) struct File {
    path: PathBuf,
    file: hdf5::File,
}

impl File {
    /// Opens a file for reading.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Self::open_as(path, path)
    }

    /// Opens the file `place`, which messages call `path`.
    pub(crate) fn open_as(place: &Path, path: &Path) -> Result<Self> {
        // What the system says about a missing or unreadable file is clearer than what HDF5 makes of it.
        let opened = std::fs::File::open(place).map_err(Error::file(path))?;
        if opened.metadata().map_err(Error::file(path))?.is_dir() {
            return Err(Error::damaged(path, "a folder, not an HDF5 file"));
        }
        // In place of HDF5's own lock, which the program switches off: it refuses every file of a file system that knows no locks.
        if let Err(TryLockError::WouldBlock) = opened.try_lock_shared() {
            return Err(Error::input(path, "another process is writing to it"));
        }
        let file = hdf5::File::open(place).map_err(|error| Error::damaged(path, format!("not a readable HDF5 file: {error}")))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// An error about this file.
    pub(crate) fn damaged(&self, message: impl Into<String>) -> Error {
        Error::damaged(&self.path, message)
    }

    /// The names at the top, in alphabetical order.
    pub(crate) fn top_names(&self) -> Result<Vec<String>> {
        self.file.member_names().map_err(|error| self.damaged(format!("its contents cannot be listed: {error}")))
    }

    /// Whether something of this name is there.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.file.link_exists(name)
    }

    /// A dataset, and its shape.
    pub(crate) fn dataset(&self, name: &str) -> Result<(Dataset, Vec<usize>)> {
        // Asking for a name that is not there and for one that is damaged fail alike: the list tells them apart.
        let dataset = match self.file.dataset(name) {
            Ok(dataset) => dataset,
            Err(error) => {
                let mut there = Vec::new();
                list_datasets(&self.file, DEPTH, &mut there);
                let message = match &there[..] {
                    [] => format!("dataset \"{name}\" is not there, nor is any other ({error})"),
                    there if there.iter().any(|(other, _)| same_name(other, name)) => {
                        format!("dataset \"{name}\" cannot be opened: {error}")
                    }
                    there => format!("dataset \"{name}\" is not there{}", suggestion(name, there)),
                };
                return Err(self.damaged(message));
            }
        };
        let shape = dataset.get_shape().map_err(|error| self.damaged(format!("dataset \"{name}\" has no readable shape: {error}")))?;
        Ok((dataset, shape))
    }

    /// The values of a dataset as they are stored where it is of float16, all finite; nothing where it is of another type.
    pub(crate) fn halves(&self, dataset: &Dataset, name: &str) -> Result<Option<Vec<f16>>> {
        if !matches!(self.element_type(dataset, name)?, TypeDescriptor::Float(FloatSize::U2)) {
            return Ok(None);
        }
        let values = dataset.read_raw::<f16>().map_err(|error| self.unreadable(name, &error))?;
        self.all_finite(&values, f16::is_finite, dataset, name)?;
        Ok(Some(values))
    }

    /// The values of a float16, float32 or float64 dataset, all finite.
    pub(crate) fn floats(&self, dataset: &Dataset, name: &str) -> Result<Vec<f32>> {
        let read = match self.element_type(dataset, name)? {
            TypeDescriptor::Float(FloatSize::U2) => dataset.read_raw::<f16>().map(|values| values.into_iter().map(f32::from).collect()),
            TypeDescriptor::Float(FloatSize::U4) => dataset.read_raw::<f32>(),
            TypeDescriptor::Float(FloatSize::U8) => {
                dataset.read_raw::<f64>().map(|values| values.into_iter().map(|value| value as f32).collect())
            }
            other => return Err(self.damaged(format!("dataset \"{name}\" holds {other}, not float16, float32 or float64"))),
        };
        let values: Vec<f32> = read.map_err(|error| self.unreadable(name, &error))?;
        self.all_finite(&values, f32::is_finite, dataset, name)?;
        Ok(values)
    }

    fn all_finite<T: Copy + Display>(&self, values: &[T], finite: fn(T) -> bool, dataset: &Dataset, name: &str) -> Result<()> {
        let Some(index) = values.iter().position(|&value| !finite(value)) else { return Ok(()) };
        let place = position(index, &dataset.shape());
        Err(self.damaged(format!("dataset \"{name}\" holds {} at {place:?}; every value must be finite in float32", values[index])))
    }

    /// The values of a dataset of whole numbers from 0 to 2³²-1, of any integer type.
    pub(crate) fn whole_numbers(&self, dataset: &Dataset, name: &str) -> Result<Vec<u32>> {
        // HDF5 clips what the wider type cannot hold, which is out of range here as well.
        let convert = |values: &mut dyn Iterator<Item = i128>| -> Result<Vec<u32>> {
            let number = |(index, value)| {
                u32::try_from(value).map_err(|_| {
                    let place = position(index, &dataset.shape());
                    self.damaged(format!("dataset \"{name}\" holds {value} at {place:?}, which is no label"))
                })
            };
            values.enumerate().map(number).collect()
        };
        match self.element_type(dataset, name)? {
            TypeDescriptor::Integer(_) => {
                let values = dataset.read_raw::<i64>().map_err(|error| self.unreadable(name, &error))?;
                convert(&mut values.into_iter().map(i128::from))
            }
            TypeDescriptor::Unsigned(_) => {
                let values = dataset.read_raw::<u64>().map_err(|error| self.unreadable(name, &error))?;
                convert(&mut values.into_iter().map(i128::from))
            }
            other => Err(self.damaged(format!("dataset \"{name}\" holds {other}, not whole numbers"))),
        }
    }

    fn element_type(&self, dataset: &Dataset, name: &str) -> Result<TypeDescriptor> {
        let element_type = dataset.dtype().and_then(|dtype| dtype.to_descriptor());
        element_type.map_err(|error| self.damaged(format!("dataset \"{name}\" is of a type that cannot be read: {error}")))
    }

    fn unreadable(&self, name: &str, error: &hdf5::Error) -> Error {
        self.damaged(format!("dataset \"{name}\" cannot be read: {error}"))
    }
}

/// "; did you mean …?", where one of the names is near.
pub(crate) fn did_you_mean<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> String {
    let nearest = names.map(|other| (strsim::jaro_winkler(name, other), other)).max_by(|a, b| a.0.total_cmp(&b.0));
    nearest.filter(|(likeness, _)| *likeness > 0.7).map(|(_, other)| format!("; did you mean \"{other}\"?")).unwrap_or_default()
}

/// "; did you mean …?; there are: …", with shapes; of many the ones most alike.
fn suggestion(name: &str, there: &[(String, Vec<usize>)]) -> String {
    let nearest = did_you_mean(name, there.iter().map(|(name, _)| name.as_str()));
    let mut there: Vec<_> = there.iter().collect();
    if there.len() > LISTED {
        there.sort_by(|a, b| strsim::jaro_winkler(name, &b.0).total_cmp(&strsim::jaro_winkler(name, &a.0)));
    }
    let list: Vec<String> = there.iter().take(LISTED).map(|(name, shape)| format!("\"{name}\" {shape:?}")).collect();
    let more = match there.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{nearest}; there are: {}{more}", list.join(", "))
}

fn same_name(a: &str, b: &str) -> bool {
    a.trim_matches('/') == b.trim_matches('/')
}

/// Adds the datasets of a group and those below it, with their shapes.
fn list_datasets(group: &Group, depth: usize, found: &mut Vec<(String, Vec<usize>)>) {
    for dataset in group.datasets().unwrap_or_default() {
        found.push((dataset.name().trim_start_matches('/').to_owned(), dataset.shape()));
    }
    if depth > 0 {
        group.groups().unwrap_or_default().iter().for_each(|group| list_datasets(group, depth - 1, found));
    }
}

/// Coordinates of the element at a flat index.
fn position(index: usize, shape: &[usize]) -> Vec<usize> {
    let mut rest = index;
    let mut place = Vec::with_capacity(shape.len());
    for size in shape.iter().rev() {
        place.push(rest % size);
        rest /= size;
    }
    place.reverse();
    place
}
