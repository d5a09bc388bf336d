//! Whether all of a dataset is there. For what was never written, and for what a virtual dataset does not find, HDF5 reads the fill value, mostly
//! zeros, and says nothing.

use crate::hdf5_library::{Mapping, mappings};
use hdf5::dataset::{ExternalFile, Layout};
use hdf5::{Dataset, File, Result};
use std::env;
use std::path::{Path, PathBuf};

/// How many virtual datasets may be behind one another: two that are made of each other would go on for ever.
const BEHIND: usize = 16;

/// What of a dataset is not there, as a sentence about it; nothing where all is. Values of a chunk, or of a dataset that is not chunked, count as
/// written if one of them is: the file does not say more.
///
/// # Errors
/// HDF5 cannot say.
pub(crate) fn missing(dataset: &Dataset) -> Result<Option<String>> {
    missing_behind(dataset, BEHIND)
}

fn missing_behind(dataset: &Dataset, behind: usize) -> Result<Option<String>> {
    let list = dataset.create_plist()?;
    match list.get_layout()? {
        Layout::Compact => Ok(None),
        Layout::Contiguous => {
            let files = list.get_external()?;
            if files.is_empty() {
                Ok((dataset.storage_size() == 0).then(|| "was never written".into()))
            } else {
                let bytes = dataset.size() as u64 * dataset.dtype()?.size() as u64;
                Ok(external(&files, bytes, Path::new(&dataset.filename())))
            }
        }
        Layout::Chunked => {
            let chunk = list.get_chunk()?.unwrap_or_default();
            let chunks: usize = dataset.shape().iter().zip(&chunk).map(|(size, chunk)| size.div_ceil((*chunk).max(1))).product();
            let there = dataset.num_chunks().ok_or("the number of its chunks cannot be told")?;
            Ok(match there {
                0 => Some("was never written".into()),
                some if some < chunks => Some(format!("was written only in part: {some} of its {chunks} chunks are there")),
                _ => None,
            })
        }
        Layout::Virtual => virtual_parts(dataset, behind),
    }
}

/// What of a virtual dataset is not there.
fn virtual_parts(dataset: &Dataset, behind: usize) -> Result<Option<String>> {
    if behind == 0 {
        return Ok(Some(format!("is virtual, and so are the {BEHIND} behind it, one after another")));
    }
    let (mappings, different) = mappings(dataset)?;
    let Some(different) = different else {
        return Ok(Some("is virtual without a fixed size, so that it cannot be said whether all of it is there; copy it into an ordinary one".into()));
    };
    let (all, given) = (dataset.size() as u64, mappings.iter().filter_map(|mapping| mapping.values).sum::<u64>());
    if different < all {
        return Ok(Some(format!("is virtual, and only {different} of its {all} values come from other datasets")));
    }
    if given > different {
        return Ok(Some(format!("is virtual, and {} of its values come from several places at once", given - different)));
    }
    let from = dataset.filename();
    for mapping in &mappings {
        if let Some(what) = missing_source(mapping, Path::new(&from), behind)? {
            return Ok(Some(format!("is virtual, and its source \"{}\" in {} {what}", mapping.dataset, mapping.file)));
        }
    }
    Ok(None)
}

/// What is wrong with the source of a part of a virtual dataset in the file `from`.
fn missing_source(mapping: &Mapping, from: &Path, behind: usize) -> Result<Option<String>> {
    let places = source_places(&mapping.file, from);
    let Some(file) = places.iter().find_map(|place| File::open(place).ok()) else {
        let there = places.iter().find(|place| place.exists());
        return Ok(Some(match there {
            Some(place) => format!("cannot be read: {} does not open as HDF5", place.display()),
            None => "is not there: no such file, neither beside this one, nor in the current folder, nor in HDF5_VDS_PREFIX".into(),
        }));
    };
    let source = match file.dataset(&mapping.dataset) {
        Ok(source) => source,
        Err(error) => return Ok(Some(format!("cannot be opened: {error}"))),
    };
    let shape = source.get_shape()?;
    let holds = match &mapping.ends {
        None => source.size() as u64 == mapping.values.unwrap_or_default(),
        Some(ends) => ends.len() == shape.len() && ends.iter().zip(&shape).all(|(&end, &size)| end <= size as u64),
    };
    if !holds {
        return Ok(Some(format!("does not hold what is taken from it: it is of shape {shape:?}")));
    }
    missing_behind(&source, behind - 1)
}

/// Where HDF5 looks for the source of a virtual dataset, in its order: in the folders of HDF5_VDS_PREFIX, beside the file, in the current folder, and
/// beside the file that the file is a link to. A path from the root on is taken first, then its last part is looked for like that.
fn source_places(name: &str, from: &Path) -> Vec<PathBuf> {
    if name == "." {
        return vec![from.to_owned()];
    }
    let (mut places, mut name) = (Vec::new(), Path::new(name));
    if name.is_absolute() {
        places.push(name.to_owned());
        name = name.file_name().map_or(name, Path::new);
    }
    let folder = from.parent().unwrap_or(Path::new(""));
    if let Some(prefixes) = env::var_os("HDF5_VDS_PREFIX") {
        places.extend(env::split_paths(&prefixes).map(|prefix| from_origin(&prefix, folder).join(name)));
    }
    places.push(folder.join(name));
    places.push(name.to_owned());
    places.extend(from.canonicalize().ok().and_then(|real| Some(real.parent()?.join(name))));
    places
}

/// A path in which `${ORIGIN}` is the folder of the file.
fn from_origin(path: &Path, folder: &Path) -> PathBuf {
    path.strip_prefix("${ORIGIN}").map_or_else(|_| path.to_owned(), |rest| folder.join(rest))
}

/// What is wrong with the files that hold the values of a dataset, so many bytes together. HDF5 looks for them in HDF5_EXTFILE_PREFIX or in the
/// current folder, and takes for zeros what a short one lacks.
fn external(files: &[ExternalFile], bytes: u64, from: &Path) -> Option<String> {
    let folder = from.parent().unwrap_or(Path::new(""));
    let prefix = env::var_os("HDF5_EXTFILE_PREFIX").map_or(PathBuf::new(), |prefix| from_origin(Path::new(&prefix), folder));
    let mut rest = bytes;
    for file in files {
        // A size of 0 is one without a limit.
        let wanted = if file.size == 0 { rest } else { rest.min(file.size as u64) };
        rest -= wanted;
        let end = file.offset as u64 + wanted;
        let path = prefix.join(&file.name);
        match path.metadata() {
            Err(error) => return Some(format!("keeps its values in {}: {error}", path.display())),
            Ok(found) if found.len() < end => {
                return Some(format!("keeps its values in {}, which ends after {} of {end} bytes", path.display(), found.len()));
            }
            Ok(_) => {}
        }
    }
    (rest > 0).then(|| format!("keeps its values in other files, which have no room for {rest} of its {bytes} bytes"))
}
