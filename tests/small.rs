//! Small runs of the base experiment, with something more in them.

use crate::program::{BASE, Program, runs};
use arrow::array::{Array, Float64Array, RecordBatch, StringArray};
use optogen::log::read_table;
use std::fs;
use std::path::{Path, PathBuf};

/// An experiment file that adds to the base experiment, made small.
pub fn file(home: &Path, name: &str, more: &str) -> String {
    file_of(home, name, more, 40)
}

/// The same with so many sequences an evaluator.
pub fn file_of(home: &Path, name: &str, more: &str, sequences: usize) -> String {
    let path = home.join(format!("{name}.toml"));
    let base = fs::canonicalize(BASE).expect("the base experiment");
    let text = format!(
        "extends = {base:?}\n{more}\n[train]\nsequences = 2048\noptimiser = {{ name = \"adam\", rate = 1e-3 }}\n\
         [evaluation]\nevery = 512\nsequences = {sequences}\n[checkpoint]\nevery = 512\nrecovery_seconds = 0.02\n"
    );
    fs::write(&path, text).expect("an experiment file");
    path.display().to_string()
}

/// The folder of the one run that an experiment makes.
pub fn run(program: &Program, home: &Path, name: &str, more: &str) -> PathBuf {
    run_of(program, home, name, more, 40)
}

/// The same with so many sequences an evaluator.
pub fn run_of(program: &Program, home: &Path, name: &str, more: &str, sequences: usize) -> PathBuf {
    let (file, out) = (file_of(home, name, more, sequences), home.join(name));
    program.succeed(&["run", &file, "--out", out.to_str().expect("text"), "--quiet"]);
    runs(&out).remove(0)
}

/// A column of a table, batch by batch.
pub fn column<A: Array + Clone + 'static>(run: &Path, table: &str, name: &str) -> Vec<A> {
    let batches = read_table(&run.join(format!("{table}.parquet"))).expect(table);
    let of = |batch: &RecordBatch| batch.column_by_name(name).expect(name).as_any().downcast_ref::<A>().expect(name).clone();
    batches.iter().map(of).collect()
}

/// A column of numbers.
pub fn numbers(run: &Path, table: &str, name: &str) -> Vec<f64> {
    column::<Float64Array>(run, table, name).iter().flat_map(|column| column.values().to_vec()).collect()
}

/// A column of texts.
pub fn texts(run: &Path, table: &str, name: &str) -> Vec<String> {
    let columns = column::<StringArray>(run, table, name);
    columns.iter().flat_map(|column| (0..column.len()).map(|row| column.value(row).to_owned()).collect::<Vec<_>>()).collect()
}

/// An intervention that never acts.
pub const LATER: &str = "[[intervention]]\nsite = \"v\"\nlayers = [1]\naction = \"zero\"\nfrom = 1_000_000\n";
/// A hook.
pub const LOOK: &str = "[[hook]]\ntable = \"attention\"\nsite = \"pattern\"\nat = \"query\"\nreduce = \"mean_over_sequences\"\n";
