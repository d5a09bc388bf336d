//! Files that tests make: class banks, and experiments that read them.

use std::fs;
use std::path::{Path, PathBuf};

/// Writes a class bank of 10 classes, 2 exemplars and 8 features, dataset `feat`, packed or not; another seed makes another.
pub fn bank(path: &Path, seed: u32, packed: bool) {
    let value = |index: u32| ((index.wrapping_mul(2_654_435_761).wrapping_add(seed * 40_503) >> 8) % 1000) as f32 / 500.0 - 1.0;
    let values: Vec<f32> = (0..10 * 2 * 8).map(value).collect();
    let file = hdf5::File::create(path).expect("a file");
    let dataset = file.new_dataset::<f32>().shape([10, 2, 8]);
    let dataset = if packed { dataset.chunk([5, 1, 8]).deflate(4).create("feat") } else { dataset.create("feat") };
    dataset.expect("a dataset").write_raw(&values).expect("written");
    // Objects that are still open would keep it from being written when it is closed.
    file.flush().expect("flushed");
    drop(file);
    unlock(path);
}

/// Makes a file that HDF5 wrote one that nobody holds a lock on: a program that another test starts meanwhile inherits it, and its lock with it.
pub fn unlock(path: &Path) {
    let copy = path.with_extension("copy");
    fs::copy(path, &copy).expect("a copy");
    fs::rename(&copy, path).expect("in its place");
}

/// Copies a folder and all that is in it.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let to = to.join(path.file_name().expect("a name"));
        if path.is_dir() { copy_folder(&path, &to) } else { _ = fs::copy(&path, &to).expect("a copy") }
    }
}

/// Writes an experiment that reads `bank.h5` beside it, with something more in it; 640 sequences, evaluated and kept at 0, 320 and 640.
pub fn experiment(folder: &Path, name: &str, more: &str) -> PathBuf {
    let text = format!(
        "name = {name:?}\n{more}\n[data]\nbank = \"bank.h5\"\ndataset = \"feat\"\nclasses = {{ train = 6, val = 2, test = 2 }}\n\
         exemplars = {{ train = 2 }}\nrelabel = {{ labels = 5 }}\n[[data.mixture]]\ncontext = 2\nburstiness = 1\n\
         [model]\nwidth = 16\nheads = 2\n[train]\nsequences = 640\noptimiser = {{ name = \"adam\", rate = 1e-3 }}\n\
         [evaluation]\nevery = 320\nsequences = 40\n[[evaluator]]\nname = \"own\"\n[checkpoint]\nevery = 320\n"
    );
    fs::create_dir_all(folder).expect("a folder");
    let path = folder.join(format!("{name}.toml"));
    fs::write(&path, text).expect("an experiment file");
    path
}
