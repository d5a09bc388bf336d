//! Vectors of toy models in an HDF5 file: `true/a`, `init/a` and so on, at its top or in a group of it.

use crate::hdf5_file::File;
use optogen::Result;
use optogen::toy::{ToyExperiment, Vector, given_vectors};
use std::path::Path;

/// Reads the vectors that an experiment needs, of float16, float32 or float64.
///
/// # Errors
/// [`Error::Input`](optogen::Error::Input) if the file is not there or not HDF5, a vector is not there (the message lists what is) or not all of it, has
/// other than one axis, or holds a value that is not finite; [`Error::File`](optogen::Error::File) if the disk fails.
pub fn read_toy_vectors(path: &Path, experiment: &ToyExperiment) -> Result<Vec<Vector>> {
    let file = File::open(path)?;
    let group = experiment.toy.group.as_ref().map_or(String::new(), |group| format!("{group}/"));
    given_vectors(experiment, &path.display().to_string(), |name| {
        let name = format!("{group}{name}");
        let (dataset, shape) = file.dataset(&name)?;
        if shape.len() != 1 {
            return Err(file.wrong(format!("dataset \"{name}\" is of shape {shape:?}; a vector has one axis")));
        }
        file.floats(&dataset, &name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use optogen::experiment::{Changes, load_as};

    #[test]
    fn vectors_are_read_by_their_letters_and_what_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (path, toml) = (folder.path().join("v.h5"), folder.path().join("t.toml"));
        let file = hdf5::File::create(&path).unwrap();
        for (group, lengths) in [("good", [2, 3, 4, 4]), ("unlike", [2, 3, 4, 5])] {
            for (name, length) in [("init/a", lengths[0]), ("init/b", lengths[1]), ("init/c", lengths[2]), ("true/c", lengths[3])] {
                let values: Vec<f64> = (0..length).map(|entry| entry as f64 + 0.5).collect();
                file.new_dataset::<f64>().shape([length]).create(format!("{group}/{name}").as_str()).unwrap().write_raw(&values).unwrap();
            }
            for (name, length) in [("true/a", lengths[0]), ("true/b", lengths[1])] {
                let values = vec![1.0_f32; length];
                file.new_dataset::<f32>().shape([length]).create(format!("{group}/{name}").as_str()).unwrap().write_raw(&values).unwrap();
            }
        }
        file.close().unwrap();
        let read = |more: &str| {
            let text = format!("name = \"t\"\n[toy]\nkind = \"tensor_product\"\nsteps = 1\nvectors = \"v.h5\"\n{more}\n");
            std::fs::write(&toml, text).unwrap();
            let own = load_as::<ToyExperiment>(&toml, None, &Changes::default()).unwrap().remove(0);
            assert_eq!(own.toy.vectors, Some(path.clone()), "found beside the experiment file");
            read_toy_vectors(&path, &own)
        };
        let vectors = read("group = \"good\"").unwrap();
        assert_eq!(vectors.iter().map(|vector| vector.name).collect::<String>(), "abc");
        assert_eq!((&vectors[0].truth[..], &vectors[2].now[..]), (&[1.0, 1.0][..], &[0.5, 1.5, 2.5, 3.5][..]));
        let message = |more: &str| read(more).unwrap_err().to_string();
        assert!(message("group = \"unlike\"").ends_with("v.h5: true/c and init/c are of 5 and 4 dimensions"));
        let nothing = message("");
        assert!(nothing.contains("v.h5: dataset \"true/a\" is not there; there are: "), "{nothing}");
        assert!(nothing.contains("\"good/true/a\" [2]"), "{nothing}");
    }
}
