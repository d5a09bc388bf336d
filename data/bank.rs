//! Class banks: from an HDF5 file, one-hot, or the embedded one, as the experiment says.

use crate::constant::{constant_rows, first_few};
use crate::embedded::{EMBEDDED_PATH, embedded};
use crate::hdf5_file::File;
use candle_core::Device;
use optogen::bank::ClassBank;
use optogen::experiment::DataSpec;
use optogen::{Error, Result, say};
use std::collections::HashMap;
use std::path::Path;

/// The bank that an experiment names, whose file lies in `experiment_dir`.
///
/// A path is looked for in that folder first and then in the current one. The embedded bank is used where none is named, and where
/// `data/omniglot_small.h5` is and there is no such file.
///
/// # Errors
/// As [`read_bank`].
pub fn load_bank(data: &DataSpec, experiment_dir: &Path, device: &Device) -> Result<ClassBank> {
    let Some(path) = &data.bank else { return embedded(&data.dataset, device) };
    if path == Path::new("one_hot") {
        return Ok(ClassBank::one_hot(data.classes.total()));
    }
    let beside = experiment_dir.join(path);
    if beside.exists() {
        read_bank(&beside, &data.dataset, device)
    } else if path.exists() {
        read_bank(path, &data.dataset, device)
    } else if path == Path::new(EMBEDDED_PATH) {
        embedded(&data.dataset, device)
    } else {
        let looked = if beside == *path {
            format!("data.bank: no file {}", path.display())
        } else {
            format!(
                "data.bank: no file {}, neither in the experiment file's folder ({}) nor in the current one",
                path.display(),
                experiment_dir.display()
            )
        };
        Err(Error::Invalid(looked))
    }
}

/// Reads a bank from a float16, float32 or float64 dataset `[classes, exemplars, features]`.
///
/// # Errors
/// [`Error::Input`] if the file is not there or not HDF5, if the dataset is not there (those that are, are listed), or not all of it is, is of another
/// shape or type, is cut short, holds a value that is not finite, or exemplars of two classes that are the same value in every feature;
/// [`Error::File`] if the disk fails.
pub fn read_bank(path: &Path, dataset: &str, device: &Device) -> Result<ClassBank> {
    bank_of(&File::open(path)?, &path.display().to_string(), dataset, device)
}

/// The bank in an open file, under this name.
pub(crate) fn bank_of(file: &File, name: &str, dataset_name: &str, device: &Device) -> Result<ClassBank> {
    let (dataset, shape) = file.dataset(dataset_name)?;
    let &[classes, exemplars, features] = &shape[..] else {
        return Err(file.wrong(format!("dataset \"{dataset_name}\" is of shape {shape:?}; a class bank is [classes, exemplars, features]")));
    };
    if shape.contains(&0) {
        return Err(file.wrong(format!("dataset \"{dataset_name}\" of shape {shape:?} is empty")));
    }
    match file.halves(&dataset, dataset_name)? {
        Some(halves) => {
            check_exemplars(file, dataset_name, &constant_rows(&halves, features), exemplars)?;
            ClassBank::new(name, classes, exemplars, features, halves, device)
        }
        None => {
            let floats = file.floats(&dataset, dataset_name)?;
            check_exemplars(file, dataset_name, &constant_rows(&floats, features), exemplars)?;
            ClassBank::new(name, classes, exemplars, features, floats, device)
        }
    }
}

/// Exemplars that are one value in every feature are refused where two classes have the same, which nothing can tell apart; where they can be told
/// apart, there is a line about them.
fn check_exemplars(file: &File, dataset: &str, constant: &[(usize, f32)], exemplars: usize) -> Result<()> {
    let place = |row: usize| format!("class {} exemplar {}", row / exemplars, row % exemplars);
    let mut class_of = HashMap::new();
    let of_two_classes = |&&(row, value): &&(usize, f32)| *class_of.entry(value.to_bits()).or_insert(row / exemplars) != row / exemplars;
    if let Some(&(_, value)) = constant.iter().find(of_two_classes) {
        let same: Vec<usize> = constant.iter().filter(|(_, other)| *other == value).map(|(row, _)| *row).collect();
        return Err(file.wrong(format!(
            "dataset \"{dataset}\" holds {} exemplars of several classes whose every feature is {value}, and which nothing can tell apart: {}; \
             were they ever written?",
            same.len(),
            first_few(same.iter().map(|&row| place(row)))
        )));
    }
    if !constant.is_empty() {
        let list = first_few(constant.iter().map(|&(row, value)| format!("{} ({value})", place(row))));
        say::note(file.warning(format!("dataset \"{dataset}\": one value in every feature: {list}; were they ever written?")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::DType;
    use hdf5::H5Type;
    use optogen::bank::Features;
    use std::path::PathBuf;

    /// A file with one dataset `features/feat`, compressed as published banks are.
    fn bank_file<T: H5Type>(path: &Path, values: &[T], shape: &[usize]) {
        let file = hdf5::File::create(path).unwrap();
        let group = file.create_group("features").unwrap();
        group.new_dataset::<T>().chunk(shape).shuffle().deflate(4).shape(shape).create("feat").unwrap().write_raw(values).unwrap();
    }

    fn values(bank: &ClassBank) -> Vec<f32> {
        let Features::Table(rows) = &bank.rows else { panic!("not a table") };
        rows.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    fn data(bank: Option<&str>) -> DataSpec {
        let bank = bank.map_or(String::new(), |bank| format!("bank = \"{bank}\""));
        toml::from_str(&format!("{bank}\nclasses = {{ train = 3, test = 2 }}\nexemplars = {{ train = 1 }}\nmixture = []")).unwrap()
    }

    #[test]
    fn every_float_type_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bank.h5");
        let given: Vec<f32> = (0..12).map(|value| value as f32 / 4.0 - 1.0).collect();
        let half: Vec<half::f16> = given.iter().map(|&value| half::f16::from_f32(value)).collect();
        let double: Vec<f64> = given.iter().map(|&value| value.into()).collect();
        let read = || {
            let bank = read_bank(&path, "features/feat", &Device::Cpu).unwrap();
            assert_eq!((bank.classes, bank.exemplars, bank.features), (2, 3, 2));
            assert_eq!(bank.name, path.display().to_string());
            values(&bank)
        };
        bank_file(&path, &half, &[2, 3, 2]);
        assert_eq!(read(), given);
        assert_eq!(read_bank(&path, "features/feat", &Device::Cpu).unwrap().bytes(), 2 * 12);
        bank_file(&path, &given, &[2, 3, 2]);
        assert_eq!(read(), given);
        bank_file(&path, &double, &[2, 3, 2]);
        assert_eq!(read(), given);
    }

    #[test]
    fn bad_banks_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bank.h5");
        let refusal =
            |dataset| read_bank(&path, dataset, &Device::Cpu).unwrap_err().to_string().replace(&path.display().to_string(), "bank.h5");
        assert_eq!(refusal("features/feat"), "bank.h5: No such file or directory (os error 2)");
        bank_file(&path, &[0.0f32; 12], &[2, 3, 2]);
        assert_eq!(
            refusal("features/feet"),
            "bank.h5: dataset \"features/feet\" is not there; did you mean \"features/feat\"?; there are: \"features/feat\" [2, 3, 2]"
        );
        assert_eq!(
            refusal("features"),
            "bank.h5: dataset \"features\" is not there; did you mean \"features/feat\"?; there are: \"features/feat\" [2, 3, 2]"
        );
        bank_file(&path, &[0.0f32; 12], &[4, 3]);
        assert_eq!(
            refusal("features/feat"),
            "bank.h5: dataset \"features/feat\" is of shape [4, 3]; a class bank is [classes, exemplars, features]"
        );
        bank_file(&path, &[0i32; 12], &[2, 3, 2]);
        assert_eq!(refusal("features/feat"), "bank.h5: dataset \"features/feat\" holds int32, not float16, float32 or float64");
        bank_file(&path, &[0.0, 1.0, 2.0, f64::NEG_INFINITY], &[2, 1, 2]);
        assert_eq!(
            refusal("features/feat"),
            "bank.h5: dataset \"features/feat\" holds -inf at [1, 0, 1]; every value must be finite in float32"
        );
        assert_eq!(
            read_bank(folder.path(), "x", &Device::Cpu).unwrap_err().to_string(),
            format!("{}: a folder, not an HDF5 file", folder.path().display())
        );
        std::fs::write(&path, "not at all").unwrap();
        assert!(refusal("features/feat").starts_with("bank.h5: not a readable HDF5 file: "), "{}", refusal("features/feat"));
        std::fs::write(&path, "").unwrap();
        assert!(refusal("features/feat").starts_with("bank.h5: not a readable HDF5 file: "));
    }

    #[test]
    fn exemplars_that_cannot_be_told_apart_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bank.h5");
        let read = |values: &[f32], shape| {
            bank_file(&path, values, shape);
            read_bank(&path, "features/feat", &Device::Cpu)
        };
        // Class 1 is half empty, and class 2 altogether.
        let half = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0, -0.0, 0.0, 0.0, 0.0, 0.0];
        let message = read(&half, &[3, 2, 2]).unwrap_err().to_string();
        assert_eq!(
            message.replace(&path.display().to_string(), "bank.h5"),
            "bank.h5: dataset \"features/feat\" holds 3 exemplars of several classes whose every feature is 0, and which nothing can tell apart: \
             class 1 exemplar 1, class 2 exemplar 0, class 2 exemplar 1; were they ever written?"
        );
        let empty = read(&[0.0; 40], &[10, 2, 2]).unwrap_err().to_string();
        assert!(empty.contains(" holds 20 exemplars ") && empty.contains("class 2 exemplar 0 and 15 more; "), "{empty}");
        bank_file(&path, &[half::f16::ONE; 8], &[2, 2, 2]);
        assert!(read_bank(&path, "features/feat", &Device::Cpu).unwrap_err().to_string().contains(" whose every feature is 1, "));
        // One of a kind, a class each, and banks of a single feature: all can be told apart as well as can be.
        assert_eq!(read(&half[..8], &[2, 2, 2]).unwrap().classes, 2);
        assert_eq!(read(&[1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0], &[2, 2, 2]).unwrap().classes, 2);
        assert_eq!(read(&[0.0; 8], &[4, 2, 1]).unwrap().features, 1);
    }

    #[test]
    fn of_many_datasets_the_likeliest_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bank.h5");
        let file = hdf5::File::create(&path).unwrap();
        for name in (0..40).map(|layer| format!("layer{layer}/feat")) {
            file.new_dataset::<f32>().shape([1, 1, 1]).create(name.as_str()).unwrap();
        }
        drop(file);
        let message = read_bank(&path, "layer37/fat", &Device::Cpu).unwrap_err().to_string();
        assert!(message.contains("did you mean \"layer37/feat\"?; there are: \"layer37/feat\" [1, 1, 1], "), "{message}");
        assert!(message.ends_with(" and 28 more"), "{message}");
    }

    #[test]
    fn truncated_and_damaged_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bank.h5");
        let noise: Vec<f32> = (0..20_000u32).map(|value| (value.wrapping_mul(2_654_435_761) >> 8) as f32).collect();
        bank_file(&path, &noise, &[100, 2, 100]);
        let whole = std::fs::read(&path).unwrap();
        let refusal = || read_bank(&path, "features/feat", &Device::Cpu).unwrap_err().to_string();
        for part in [100, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..part]).unwrap();
            let message = refusal();
            assert!(message.contains("bank.h5: not a readable HDF5 file: "), "{message}");
        }
        let mut damaged = whole.clone();
        let middle = whole.len() / 2;
        damaged[middle..middle + 64].fill(0xA5);
        std::fs::write(&path, &damaged).unwrap();
        let message = refusal();
        assert!(message.contains("bank.h5: dataset \"features/feat\" cannot be read: "), "{message}");
    }

    #[test]
    fn a_bank_is_looked_for_beside_the_experiment_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        std::fs::create_dir(&path).unwrap();
        let path = path.join("omniglot_small.h5");
        let file = hdf5::File::create(&path).unwrap();
        let own = file.new_dataset::<f32>().shape([1, 1, 2]).create("efficientnet_lite0/224/feat").unwrap();
        own.write_raw(&[7.0f32, 8.0]).unwrap();
        drop((own, file));
        let named = data(Some(EMBEDDED_PATH));
        let bank = load_bank(&named, folder.path(), &Device::Cpu).unwrap();
        assert_eq!(values(&bank), [7.0, 8.0]);
        let elsewhere = PathBuf::from("/nowhere");
        for (spec, folder) in [(&named, elsewhere.as_path()), (&data(None), folder.path())] {
            let bank = load_bank(spec, folder, &Device::Cpu).unwrap();
            assert_eq!((bank.name.as_str(), bank.classes, bank.exemplars, bank.features), (EMBEDDED_PATH, 1936, 5, 512));
        }
        let absolute = data(Some(path.to_str().unwrap()));
        assert_eq!(load_bank(&absolute, &elsewhere, &Device::Cpu).unwrap().classes, 1);
    }

    #[test]
    fn one_hot_takes_its_size_from_the_split() {
        let bank = load_bank(&data(Some("one_hot")), Path::new("."), &Device::Cpu).unwrap();
        assert_eq!((bank.classes, bank.exemplars, bank.features), (5, 1, 5));
        assert!(matches!(bank.rows, Features::OneHot));
    }

    #[test]
    fn a_bank_that_is_nowhere_says_where_it_was_looked_for() {
        let message = load_bank(&data(Some("no/bank.h5")), Path::new("/exp"), &Device::Cpu).unwrap_err().to_string();
        assert_eq!(message, "data.bank: no file no/bank.h5, neither in the experiment file's folder (/exp) nor in the current one");
        let message = load_bank(&data(Some("/no/bank.h5")), Path::new("/exp"), &Device::Cpu).unwrap_err().to_string();
        assert_eq!(message, "data.bank: no file /no/bank.h5");
        let spec = DataSpec { dataset: "efficientnet_lite0/224/feats".into(), ..data(None) };
        let message = load_bank(&spec, Path::new("/exp"), &Device::Cpu).unwrap_err().to_string();
        assert_eq!(
            message,
            "data/omniglot_small.h5: dataset \"efficientnet_lite0/224/feats\" is not there; did you mean \"efficientnet_lite0/224/feat\"?; \
             there are: \"class_names\" [1936], \"efficientnet_lite0/224/feat\" [1936, 5, 512]"
        );
    }
}
