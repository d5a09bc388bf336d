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
        return Ok(Some(
            "is virtual without a fixed size, so that it cannot be said whether all of it is there; copy it into an ordinary one".into(),
        ));
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

#[cfg(test)]
mod tests {
    use super::*;
    use hdf5::dataset::{AllocTime, DatasetBuilder};
    use std::fs;

    const SHAPE: [usize; 3] = [4, 2, 3];

    /// A folder with `source.h5`: `whole` [4, 2, 3], `first` and `last` halves of it, and `empty`, which was never written.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let file = File::create(folder.path().join("source.h5")).unwrap();
        let values: Vec<f32> = (0..24).map(|value| value as f32 + 1.0).collect();
        for (name, classes, values) in [("whole", 4, &values[..]), ("first", 2, &values[..12]), ("last", 2, &values[12..])] {
            file.new_dataset::<f32>().shape([classes, 2, 3]).create(name).unwrap().write_raw(values).unwrap();
        }
        file.new_dataset::<f32>().shape(SHAPE).create("empty").unwrap();
        folder
    }

    fn file(folder: &tempfile::TempDir, name: &str) -> File {
        File::create(folder.path().join(name)).unwrap()
    }

    fn said(dataset: &Dataset) -> Option<String> {
        missing(dataset).unwrap()
    }

    /// A virtual dataset of these parts: the first class that it holds, file and dataset, and how many classes.
    fn of_parts(folder: &tempfile::TempDir, name: &str, parts: &[(usize, &str, &str, usize)]) -> Dataset {
        let file = file(folder, name);
        let mut builder = file.new_dataset::<f32>();
        for &(at, file, dataset, classes) in parts {
            builder = builder.virtual_map(file, dataset, [classes, 2, 3], (0..classes, .., ..), SHAPE, (at..at + classes, .., ..));
        }
        builder.shape(SHAPE).create("feat").unwrap()
    }

    #[test]
    fn what_was_never_written_is_missing() {
        let folder = folder();
        let file = file(&folder, "own.h5");
        assert_eq!(said(&file.new_dataset::<f32>().shape(SHAPE).create("late").unwrap()).unwrap(), "was never written");
        let early = file.new_dataset::<f32>().alloc_time(Some(AllocTime::Early)).shape(SHAPE).create("early").unwrap();
        assert_eq!(said(&early), None, "its fill value is in the file");
        let values = [1.0_f32; 24];
        let written = |name: &str, builder: DatasetBuilder| {
            let dataset = builder.empty::<f32>().shape(SHAPE).create(name).unwrap();
            let before = said(&dataset).unwrap();
            dataset.write_raw(&values).unwrap();
            assert_eq!(said(&dataset), None, "{name}");
            before
        };
        assert_eq!(written("contiguous", file.new_dataset_builder()), "was never written");
        assert_eq!(written("chunked", file.new_dataset_builder().chunk([3, 1, 2])), "was never written");
        assert_eq!(written("packed", file.new_dataset_builder().chunk([4, 2, 3]).deflate(4)), "was never written");
        // Of 2 × 2 × 2 chunks those of the classes from 3 on are not there.
        let grown = file.new_dataset::<f32>().chunk([3, 1, 2]).shape([3.., 2.., 3..]).create("grown").unwrap();
        grown.write_raw(&values[..18]).unwrap();
        assert_eq!(said(&grown), None);
        grown.resize(SHAPE).unwrap();
        assert_eq!(said(&grown).unwrap(), "was written only in part: 4 of its 8 chunks are there");
    }

    #[test]
    fn a_virtual_dataset_is_whole_where_all_its_sources_are() {
        let folder = folder();
        let source = folder.path().join("source.h5").display().to_string();
        assert_eq!(said(&of_parts(&folder, "one.h5", &[(0, "source.h5", "whole", 4)])), None);
        assert_eq!(said(&of_parts(&folder, "two.h5", &[(0, &source, "first", 2), (2, "source.h5", "last", 2)])), None);
        let all = file(&folder, "all.h5");
        let all = all.new_dataset::<f32>().virtual_map("source.h5", "whole", SHAPE, .., SHAPE, ..).shape(SHAPE).create("feat").unwrap();
        assert_eq!(said(&all), None);
        // Itself, and another virtual dataset behind it.
        let own = file(&folder, "own.h5");
        own.new_dataset::<f32>().shape(SHAPE).create("raw").unwrap().write_raw(&[1.0_f32; 24]).unwrap();
        let inner = own.new_dataset::<f32>().virtual_map(".", "raw", SHAPE, .., SHAPE, ..).shape(SHAPE).create("inner").unwrap();
        assert_eq!(said(&inner), None);
        assert_eq!(said(&of_parts(&folder, "outer.h5", &[(0, "own.h5", "inner", 4)])), None);
    }

    #[test]
    fn what_a_virtual_dataset_does_not_find_is_missing() {
        let folder = folder();
        let source = |dataset: &str, file: &str| format!("is virtual, and its source \"{dataset}\" in {file} ");
        let gone = of_parts(&folder, "gone.h5", &[(0, "source.h5", "first", 2), (2, "elsewhere.h5", "last", 2)]);
        assert_eq!(
            said(&gone).unwrap(),
            source("last", "elsewhere.h5")
                + "is not there: no such file, neither beside this one, nor in the current folder, nor in HDF5_VDS_PREFIX"
        );
        fs::write(folder.path().join("text.h5"), "no HDF5").unwrap();
        let text = said(&of_parts(&folder, "of_text.h5", &[(0, "text.h5", "whole", 4)])).unwrap();
        assert!(
            text.starts_with(&(source("whole", "text.h5") + "cannot be read: ")) && text.ends_with("text.h5 does not open as HDF5"),
            "{text}"
        );
        let other = said(&of_parts(&folder, "other.h5", &[(0, "source.h5", "hole", 4)])).unwrap();
        assert!(other.starts_with(&(source("hole", "source.h5") + "cannot be opened: ")), "{other}");
        let short = said(&of_parts(&folder, "short.h5", &[(0, "source.h5", "first", 4)])).unwrap();
        assert_eq!(short, source("first", "source.h5") + "does not hold what is taken from it: it is of shape [2, 2, 3]");
        let empty = said(&of_parts(&folder, "of_empty.h5", &[(0, "source.h5", "empty", 4)])).unwrap();
        assert_eq!(empty, source("empty", "source.h5") + "was never written");
        let behind = said(&of_parts(&folder, "behind.h5", &[(0, "of_empty.h5", "feat", 4)])).unwrap();
        assert_eq!(behind, source("feat", "of_empty.h5") + &source("empty", "source.h5") + "was never written");
    }

    #[test]
    fn each_value_of_a_virtual_dataset_comes_from_one_place() {
        let folder = folder();
        let half = said(&of_parts(&folder, "half.h5", &[(1, "source.h5", "first", 2)])).unwrap();
        assert_eq!(half, "is virtual, and only 12 of its 24 values come from other datasets");
        // As many as there are, but classes 1 twice and 3 never.
        let twice = said(&of_parts(&folder, "twice.h5", &[(0, "source.h5", "first", 2), (1, "source.h5", "last", 2)])).unwrap();
        assert_eq!(twice, "is virtual, and only 18 of its 24 values come from other datasets");
        let over = said(&of_parts(&folder, "over.h5", &[(0, "source.h5", "whole", 4), (1, "source.h5", "last", 2)])).unwrap();
        assert_eq!(over, "is virtual, and 12 of its values come from several places at once");
        let circle = said(&of_parts(&folder, "circle.h5", &[(0, ".", "feat", 4)])).unwrap();
        assert!(circle.ends_with("is virtual, and so are the 16 behind it, one after another"), "{circle}");
    }

    #[test]
    fn values_in_other_files_must_be_there() {
        let folder = folder();
        let raw = folder.path().join("raw.bin");
        let name = raw.to_str().unwrap();
        let file = file(&folder, "own.h5");
        let outside = |dataset: &str, size| file.new_dataset::<f32>().external(name, 4, size).shape(SHAPE).create(dataset).unwrap();
        let (dataset, tight) = (outside("feat", 0), outside("tight", 96));
        assert_eq!(said(&dataset).unwrap(), format!("keeps its values in {name}: No such file or directory (os error 2)"));
        fs::write(&raw, [1; 99]).unwrap();
        assert_eq!(said(&dataset).unwrap(), format!("keeps its values in {name}, which ends after 99 of 100 bytes"));
        assert_eq!(said(&tight), said(&dataset));
        fs::write(&raw, [1; 100]).unwrap();
        assert_eq!((said(&dataset), said(&tight)), (None, None));
    }

    #[test]
    fn sources_are_looked_for_where_hdf5_looks() {
        let from = Path::new("/no/where/bank.h5");
        assert_eq!(source_places(".", from), [from]);
        assert_eq!(source_places("a/b.h5", from), [Path::new("/no/where/a/b.h5"), Path::new("a/b.h5")]);
        assert_eq!(source_places("/data/b.h5", from), [Path::new("/data/b.h5"), Path::new("/no/where/b.h5"), Path::new("b.h5")]);
        assert_eq!(from_origin(Path::new("${ORIGIN}/raw"), Path::new("/no/where")), Path::new("/no/where/raw"));
        assert_eq!(from_origin(Path::new("/raw"), Path::new("/no/where")), Path::new("/raw"));
    }
}
