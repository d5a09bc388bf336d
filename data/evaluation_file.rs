//! Evaluation files: fixed sequences of evaluators with their features, in the published layout: `NAME/examples` and `NAME/labels`.

use crate::constant::{constant_rows, first_few};
use crate::hdf5_contents::did_you_mean;
use crate::hdf5_file::File;
use optogen::{Error, Result, say};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The sequences of one evaluator.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluationSet {
    /// The evaluator's.
    pub name: String,
    /// Features, `[n, pairs, features]`.
    pub examples: Vec<f32>,
    /// Labels, `[n, pairs]`; the last of a sequence is the target.
    pub labels: Vec<u32>,
    /// Sequences.
    pub n: usize,
    /// Pairs a sequence, context and query.
    pub pairs: usize,
    /// Length of an example.
    pub features: usize,
}

/// The evaluators in a file.
///
/// # Errors
/// If it is not there or not HDF5.
pub fn evaluation_names(path: &Path) -> Result<Vec<String>> {
    File::open(path)?.top_names()
}

/// Reads one evaluator's sequences: examples of float16, float32 or float64, labels of any integer type.
///
/// # Errors
/// [`Error::Input`] if the file is not there or not HDF5, has no such evaluator (those that it has are listed), or if examples and labels are not
/// all there, are of other shapes or types, do not belong together, hold a value that is not finite or is no label, or a sequence that is one
/// value throughout; [`Error::File`] if the disk fails.
pub fn read_evaluation(path: &Path, name: &str) -> Result<EvaluationSet> {
    let file = File::open(path)?;
    if !file.contains(name) {
        let names = file.top_names()?;
        let nearest = did_you_mean(name, names.iter().map(String::as_str));
        let there = if names.is_empty() { "it is empty".into() } else { format!("there are: {}", names.join(", ")) };
        return Err(file.wrong(format!("no evaluator \"{name}\"{nearest}; {there}")));
    }
    let (examples_name, labels_name) = (format!("{name}/examples"), format!("{name}/labels"));
    let (examples, shape) = file.dataset(&examples_name)?;
    let &[n, pairs, features] = &shape[..] else {
        return Err(file.wrong(format!("dataset \"{examples_name}\" is of shape {shape:?}; examples are [sequences, pairs, features]")));
    };
    if shape.contains(&0) {
        return Err(file.wrong(format!("dataset \"{examples_name}\" of shape {shape:?} is empty")));
    }
    let (labels, labels_shape) = file.dataset(&labels_name)?;
    if labels_shape != [n, pairs] {
        return Err(file.wrong(format!("dataset \"{labels_name}\" is of shape {labels_shape:?}, but its examples need [{n}, {pairs}]")));
    }
    let (examples, labels) = (file.floats(&examples, &examples_name)?, file.whole_numbers(&labels, &labels_name)?);
    check_examples(&file, &examples_name, &constant_rows(&examples, features), pairs)?;
    Ok(EvaluationSet { name: name.into(), examples, labels, n, pairs, features })
}

/// Sequences that are one value throughout, in which nothing can be told apart, are refused; of single examples there is a line.
fn check_examples(file: &File, dataset: &str, constant: &[(usize, f32)], pairs: usize) -> Result<()> {
    let whole = |rows: &&[(usize, f32)]| pairs > 1 && rows.len() == pairs && rows.iter().all(|(_, value)| *value == rows[0].1);
    let sequences: Vec<usize> =
        constant.chunk_by(|(one, _), (next, _)| one / pairs == next / pairs).filter(whole).map(|rows| rows[0].0 / pairs).collect();
    if !sequences.is_empty() {
        return Err(file.wrong(format!(
            "dataset \"{dataset}\" is one value throughout, so that nothing can be told apart, in sequence {}; was that ever written?",
            first_few(sequences.iter())
        )));
    }
    if !constant.is_empty() {
        let list = first_few(constant.iter().map(|&(row, value)| format!("sequence {} pair {} ({value})", row / pairs, row % pairs)));
        say::note(file.warning(format!("dataset \"{dataset}\": one value in every feature: {list}; were they ever written?")));
    }
    Ok(())
}

/// Writes evaluators' sequences: the whole file or none of it.
///
/// # Errors
/// [`Error::File`] if it cannot be written; [`Error::Invalid`] if a set's sizes do not fit its values, or two have the same name.
pub fn write_evaluation(path: &Path, sets: &[EvaluationSet]) -> Result<()> {
    for (index, set) in sets.iter().enumerate() {
        let EvaluationSet { name, n, pairs, features, .. } = set;
        if set.examples.len() != n * pairs * features || set.labels.len() != n * pairs {
            let lengths = format!("{} features and {} labels", set.examples.len(), set.labels.len());
            return Err(Error::Invalid(format!(
                "evaluator \"{name}\": {lengths} do not make {n} sequences of {pairs} pairs of {features} features"
            )));
        }
        if sets[..index].iter().any(|other| other.name == *name) {
            return Err(Error::Invalid(format!("evaluator \"{name}\" is given twice")));
        }
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // As any new file, not for the owner alone as temporary ones are.
    let permissions = std::fs::Permissions::from_mode(0o666);
    let temporary = tempfile::Builder::new().prefix(".writing-").suffix(".h5").permissions(permissions).tempfile_in(folder);
    let temporary = temporary.map_err(Error::file(path))?;
    write_sets(temporary.path(), sets).map_err(|error| Error::file(path)(std::io::Error::other(error.to_string())))?;
    temporary.as_file().sync_all().map_err(Error::file(path))?;
    temporary.persist(path).map_err(|error| Error::file(path)(error.error))?;
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::file(folder))
}

fn write_sets(path: &Path, sets: &[EvaluationSet]) -> hdf5::Result<()> {
    let file = hdf5::File::create(path)?;
    for set in sets {
        let &EvaluationSet { n, pairs, features, .. } = set;
        let group = file.create_group(&set.name)?;
        group.new_dataset::<f32>().shape([n, pairs, features]).create("examples")?.write_raw(&set.examples)?;
        group.new_dataset::<u32>().shape([n, pairs]).create("labels")?.write_raw(&set.labels)?;
    }
    file.close()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str) -> EvaluationSet {
        let examples = (0..2 * 3 * 4).map(|value| value as f32 / 8.0 - 1.0).collect();
        EvaluationSet { name: name.into(), examples, labels: vec![4, 0, 4, 1, 70_000, 1], n: 2, pairs: 3, features: 4 }
    }

    /// A file with `probe/examples` and `probe/labels` of these types and shapes.
    fn published<E: hdf5::H5Type, L: hdf5::H5Type>(path: &Path, examples: &[E], shape: &[usize], labels: &[L], labels_shape: &[usize]) {
        let file = hdf5::File::create(path).unwrap();
        let group = file.create_group("probe").unwrap();
        group.new_dataset::<E>().shape(shape).create("examples").unwrap().write_raw(examples).unwrap();
        group.new_dataset::<L>().shape(labels_shape).create("labels").unwrap().write_raw(labels).unwrap();
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("evaluation.h5");
        std::fs::write(&path, "an older file").unwrap();
        let sets = [set("icl"), set("train_eval")];
        write_evaluation(&path, &sets).unwrap();
        assert_eq!(evaluation_names(&path).unwrap(), ["icl", "train_eval"]);
        for set in sets {
            assert_eq!(read_evaluation(&path, &set.name).unwrap(), set);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o600, 0o600);
    }

    #[test]
    fn every_float_and_integer_type_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("e.h5");
        let values = [0.5, -2.0, 3.25, 1024.0];
        let half = values.map(half::f16::from_f32);
        published(&path, &half, &[1, 2, 2], &[3u8, 255], &[1, 2]);
        let read = read_evaluation(&path, "probe").unwrap();
        assert_eq!((read.n, read.pairs, read.features), (1, 2, 2));
        assert_eq!((read.examples, read.labels), (values.to_vec(), vec![3, 255]));
        published(&path, &values, &[1, 2, 2], &[3i32, 70_000], &[1, 2]);
        let read = read_evaluation(&path, "probe").unwrap();
        assert_eq!((read.examples, read.labels), (values.to_vec(), vec![3, 70_000]));
        published(&path, &values.map(f64::from), &[1, 2, 2], &[u32::MAX as u64, 0], &[1, 2]);
        let read = read_evaluation(&path, "probe").unwrap();
        assert_eq!((read.examples, read.labels), (values.to_vec(), vec![u32::MAX, 0]));
    }

    #[test]
    fn bad_files_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("e.h5");
        let refusal = |name| read_evaluation(&path, name).unwrap_err().to_string().replace(&path.display().to_string(), "e.h5");
        assert_eq!(refusal("probe"), "e.h5: No such file or directory (os error 2)");
        let good = [0.5f32, -2.0, 3.25, 1024.0];
        published(&path, &good, &[1, 2, 2], &[0i32, 1], &[1, 2]);
        assert_eq!(refusal("prob"), "e.h5: no evaluator \"prob\"; did you mean \"probe\"?; there are: probe");
        published(&path, &good, &[2, 2], &[0i32, 1], &[1, 2]);
        assert_eq!(refusal("probe"), "e.h5: dataset \"probe/examples\" is of shape [2, 2]; examples are [sequences, pairs, features]");
        published(&path, &good, &[2, 1, 2], &[0i32, 1], &[1, 2]);
        assert_eq!(refusal("probe"), "e.h5: dataset \"probe/labels\" is of shape [1, 2], but its examples need [2, 1]");
        published(&path, &good, &[1, 2, 2], &[0i64, -3], &[1, 2]);
        assert_eq!(refusal("probe"), "e.h5: dataset \"probe/labels\" holds -3 at [0, 1], which is no label");
        published(&path, &good, &[1, 2, 2], &[0i64, 1 << 32], &[1, 2]);
        assert_eq!(refusal("probe"), "e.h5: dataset \"probe/labels\" holds 4294967296 at [0, 1], which is no label");
        published(&path, &good, &[1, 2, 2], &[0.0f32, 1.0], &[1, 2]);
        assert_eq!(refusal("probe"), "e.h5: dataset \"probe/labels\" holds float32, not whole numbers");
        published(&path, &[0.5, 1.0, f32::NAN, 0.0], &[1, 2, 2], &[0i32, 1], &[1, 2]);
        assert_eq!(refusal("probe"), "e.h5: dataset \"probe/examples\" holds NaN at [0, 1, 0]; every value must be finite in float32");
        published(&path, &[0.5, 1.0, 0.0, 1e300], &[1, 2, 2], &[0i32, 1], &[1, 2]);
        assert_eq!(refusal("probe"), "e.h5: dataset \"probe/examples\" holds inf at [0, 1, 1]; every value must be finite in float32");
        hdf5::File::create(&path).unwrap().create_group("probe").unwrap();
        assert_eq!(refusal("probe"), "e.h5: dataset \"probe/examples\" is not there, nor is any other");
    }

    #[test]
    fn sequences_of_one_value_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("e.h5");
        // The query of the first sequence is blank, the second is blank altogether.
        let values = [1.0f32, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        published(&path, &values, &[2, 2, 2], &[0i32, 1, 0, 1], &[2, 2]);
        let message = read_evaluation(&path, "probe").unwrap_err().to_string().replace(&path.display().to_string(), "e.h5");
        assert_eq!(
            message,
            "e.h5: dataset \"probe/examples\" is one value throughout, so that nothing can be told apart, in sequence 1; was that ever written?"
        );
        published(&path, &values[..4], &[1, 2, 2], &[0i32, 1], &[1, 2]);
        assert_eq!(read_evaluation(&path, "probe").unwrap().examples, values[..4]);
        // Two blanks that are not the same.
        published(&path, &[3.0f32, 3.0, 0.0, 0.0], &[1, 2, 2], &[0i32, 1], &[1, 2]);
        assert_eq!(read_evaluation(&path, "probe").unwrap().n, 1);
    }

    #[test]
    fn labels_that_were_never_written_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("e.h5");
        let file = hdf5::File::create(&path).unwrap();
        let group = file.create_group("probe").unwrap();
        group.new_dataset::<f32>().shape([1, 1, 2]).create("examples").unwrap().write_raw(&[1.0f32, 2.0]).unwrap();
        group.new_dataset::<i64>().shape([1, 1]).create("labels").unwrap();
        drop((group, file));
        let message = read_evaluation(&path, "probe").unwrap_err().to_string().replace(&path.display().to_string(), "e.h5");
        let zeros = "for what is not there HDF5 reads a fill value, mostly zeros";
        assert_eq!(message, format!("e.h5: dataset \"probe/labels\" was never written; {zeros}"));
    }

    #[test]
    fn sets_that_cannot_be_written_leave_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("e.h5");
        write_evaluation(&path, &[set("icl")]).unwrap();
        let short = EvaluationSet { labels: vec![1], ..set("short") };
        let message = write_evaluation(&path, &[short]).unwrap_err().to_string();
        assert_eq!(message, "evaluator \"short\": 24 features and 1 labels do not make 2 sequences of 3 pairs of 4 features");
        let message = write_evaluation(&path, &[set("icl"), set("icl")]).unwrap_err().to_string();
        assert_eq!(message, "evaluator \"icl\" is given twice");
        // A name that HDF5 cannot hold fails half-way.
        assert!(write_evaluation(&path, &[set("a"), set("b\0")]).is_err());
        assert_eq!(evaluation_names(&path).unwrap(), ["icl"]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let nowhere = folder.path().join("nowhere/e.h5");
        let message = write_evaluation(&nowhere, &[set("a")]).unwrap_err().to_string();
        assert!(message.starts_with(&nowhere.display().to_string()) && message.contains("No such file"), "{message}");
    }
}
