//! Reading HDF5 with messages that name the file and the dataset, and the ones that are there.
//!
//! The library's own printing of errors is off, as `hdf5` leaves it: its text is part of the messages here.

use crate::hdf5_contents::{Place, entries, place, suggestion};
use crate::hdf5_formats::{explained, missing_filters};
use crate::{hdf5_library, hdf5_whole};
use half::f16;
use hdf5::types::{FloatSize, TypeDescriptor};
use hdf5::{Dataset, H5Type, LocationType};
use optogen::memory::{Budget, product, size};
use optogen::{Error, Result};
use std::fmt::Display;
use std::fs::TryLockError;
use std::path::{Path, PathBuf};

/// An open file, and the path that messages call it.
pub(crate) struct File {
    path: PathBuf,
    file: hdf5::File,
}

impl File {
    /// Opens a file for reading.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        // What the system says about a missing or unreadable file is clearer than what HDF5 makes of it.
        let opened = std::fs::File::open(path).map_err(Error::input_file(path))?;
        if opened.metadata().map_err(Error::file(path))?.is_dir() {
            return Err(Error::input(path, "a folder, not an HDF5 file"));
        }
        // In place of HDF5's own lock, which the program switches off: it refuses every file of a file system that knows no locks.
        if let Err(TryLockError::WouldBlock) = opened.try_lock_shared() {
            return Err(Error::input(path, "another process is writing to it"));
        }
        Self::opened(path, 0, || hdf5::File::open(path))
    }

    /// Opens a file that lies in memory, and that messages call `path`.
    pub(crate) fn open_image(image: &[u8], path: &str) -> Result<Self> {
        Self::opened(Path::new(path), image.len(), || hdf5_library::open_image(path, image))
    }

    /// Of which HDF5 keeps so many bytes.
    fn opened(path: &Path, kept: usize, open: impl FnOnce() -> hdf5::Result<hdf5::File>) -> Result<Self> {
        if let Some(room) = hdf5_library::lacking_room(kept) {
            let room = size(room as u128);
            return Err(Error::input(path, format!("HDF5 wants {room} of memory to read it, and the system gives this program no more")));
        }
        let file = open().map_err(|error| Error::input(path, format!("not a readable HDF5 file: {}", explained(&error))))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// An error about this file.
    pub(crate) fn wrong(&self, message: impl Into<String>) -> Error {
        Error::input(&self.path, message)
    }

    /// A line about something in this file that may be meant so.
    pub(crate) fn warning(&self, message: impl Display) -> String {
        format!("warning: {}: {message}", self.path.display())
    }

    /// The names at the top, in alphabetical order.
    pub(crate) fn top_names(&self) -> Result<Vec<String>> {
        self.file.member_names().map_err(|error| self.wrong(format!("its contents cannot be listed: {error}")))
    }

    /// Whether something of this name is there.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.file.link_exists(name)
    }

    /// A dataset, and its shape.
    pub(crate) fn dataset(&self, name: &str) -> Result<(Dataset, Vec<usize>)> {
        let dataset = self.file.dataset(name).map_err(|error| self.no_dataset(name, &error))?;
        let shape = dataset.get_shape().map_err(|error| self.wrong(format!("dataset \"{name}\" has no readable shape: {error}")))?;
        Ok((dataset, shape))
    }

    /// Why a dataset does not open: HDF5 fails alike where the name is wrong and where what it names cannot be read.
    fn no_dataset(&self, name: &str, error: &hdf5::Error) -> Error {
        let why = match place(&self.file, name) {
            Place::Object(LocationType::Dataset) | Place::Unreadable => {
                format!("dataset \"{name}\" is there, but cannot be opened: {}", explained(error))
            }
            Place::Dangling(link, target) => {
                format!("dataset \"{name}\" is not there: \"{link}\" is a link to {target}, which does not open")
            }
            Place::Object(_) | Place::Nothing => match &entries(&self.file)[..] {
                [] => format!("dataset \"{name}\" is not there, nor is any other"),
                there => format!("dataset \"{name}\" is not there{}", suggestion(name, there)),
            },
        };
        self.wrong(why)
    }

    /// The values of a dataset, all of which must be there.
    fn read<T: H5Type>(&self, dataset: &Dataset, name: &str) -> Result<Vec<T>> {
        let unreadable = |why: String| self.wrong(format!("dataset \"{name}\" cannot be read: {why}"));
        match hdf5_whole::missing(dataset) {
            Ok(None) => {}
            Ok(Some(missing)) => {
                let zeros = "for what is not there HDF5 reads a fill value, mostly zeros";
                return Err(self.wrong(format!("dataset \"{name}\" {missing}; {zeros}")));
            }
            Err(error) => return Err(unreadable(explained(&error))),
        }
        dataset.read_raw().map_err(|error| unreadable(missing_filters(dataset).unwrap_or_else(|| explained(&error))))
    }

    /// The values of a dataset as they are stored where it is of float16, all finite; nothing where it is of another type.
    pub(crate) fn halves(&self, dataset: &Dataset, name: &str) -> Result<Option<Vec<f16>>> {
        if !matches!(self.element_type(dataset, name)?, TypeDescriptor::Float(FloatSize::U2)) {
            return Ok(None);
        }
        self.fits(dataset, name, size_of::<f16>())?;
        let values = self.read::<f16>(dataset, name)?;
        self.all_finite(&values, f16::is_finite, dataset, name)?;
        Ok(Some(values))
    }

    /// The values of a float16, float32 or float64 dataset, all finite.
    pub(crate) fn floats(&self, dataset: &Dataset, name: &str) -> Result<Vec<f32>> {
        let element_type = self.element_type(dataset, name)?;
        let stored = if let TypeDescriptor::Float(FloatSize::U4) = element_type { 0 } else { element_type.size() };
        self.fits(dataset, name, stored + size_of::<f32>())?;
        let values: Vec<f32> = match element_type {
            TypeDescriptor::Float(FloatSize::U2) => self.read::<f16>(dataset, name)?.into_iter().map(f32::from).collect(),
            TypeDescriptor::Float(FloatSize::U4) => self.read(dataset, name)?,
            TypeDescriptor::Float(FloatSize::U8) => self.read::<f64>(dataset, name)?.into_iter().map(|value| value as f32).collect(),
            other => return Err(self.wrong(format!("dataset \"{name}\" holds {other}, not float16, float32 or float64"))),
        };
        self.all_finite(&values, f32::is_finite, dataset, name)?;
        Ok(values)
    }

    fn all_finite<T: Copy + Display>(&self, values: &[T], finite: fn(T) -> bool, dataset: &Dataset, name: &str) -> Result<()> {
        let Some(index) = values.iter().position(|&value| !finite(value)) else { return Ok(()) };
        let place = position(index, &dataset.shape());
        Err(self.wrong(format!("dataset \"{name}\" holds {} at {place:?}; every value must be finite in float32", values[index])))
    }

    /// The values of a dataset of whole numbers from 0 to 2³²-1, of any integer type.
    pub(crate) fn whole_numbers(&self, dataset: &Dataset, name: &str) -> Result<Vec<u32>> {
        // HDF5 clips what the wider type cannot hold, which is out of range here as well.
        let convert = |values: &mut dyn Iterator<Item = i128>| -> Result<Vec<u32>> {
            let number = |(index, value)| {
                u32::try_from(value).map_err(|_| {
                    let place = position(index, &dataset.shape());
                    self.wrong(format!("dataset \"{name}\" holds {value} at {place:?}, which is no label"))
                })
            };
            values.enumerate().map(number).collect()
        };
        self.fits(dataset, name, size_of::<u64>() + size_of::<u32>())?;
        match self.element_type(dataset, name)? {
            TypeDescriptor::Integer(_) => convert(&mut self.read::<i64>(dataset, name)?.into_iter().map(i128::from)),
            TypeDescriptor::Unsigned(_) => convert(&mut self.read::<u64>(dataset, name)?.into_iter().map(i128::from)),
            other => Err(self.wrong(format!("dataset \"{name}\" holds {other}, not whole numbers"))),
        }
    }

    /// That there is memory for a dataset, of which so many bytes an element are needed: the number of elements is only what the header says.
    fn fits(&self, dataset: &Dataset, name: &str, bytes: usize) -> Result<()> {
        let shape = dataset.shape();
        let wanted = product(&shape).saturating_mul(bytes as u128);
        let fits = Budget::here().fits(wanted, || format!("the values of dataset \"{name}\" of shape {shape:?}"));
        fits.map_err(|message| Error::input(&self.path, message))
    }

    fn element_type(&self, dataset: &Dataset, name: &str) -> Result<TypeDescriptor> {
        let element_type = dataset.dtype().and_then(|dtype| dtype.to_descriptor());
        element_type.map_err(|error| self.wrong(format!("dataset \"{name}\" is of a type that cannot be read: {error}")))
    }
}

/// Coordinates of the element at a flat index.
pub(crate) fn position(index: usize, shape: &[usize]) -> Vec<usize> {
    let mut rest = index;
    let mut place = Vec::with_capacity(shape.len());
    for size in shape.iter().rev() {
        place.push(rest % size);
        rest /= size;
    }
    place.reverse();
    place
}
