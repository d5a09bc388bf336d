//! Runs that an earlier version of the program wrote are shown, gone on with and evaluated again. (What it wrote: `tests/data/version_0_1`.)

use optogen::checkpoint::{Checkpoint, list};
use optogen::log::read_run_status;
use optogen_tests::files::{copy_folder, unlock};
use optogen_tests::program::{Program, contents, numbers, rows};
use std::fs;
use std::path::{Path, PathBuf};

const PROGRAM: Program = Program(env!("CARGO_BIN_EXE_optogen"));
const RUNS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/version_0_1");
const RUN: &str = "run=version-0-1-5cb32b25";

/// A copy of a run, under the name that it had.
fn copy(of: &str, out: &Path) -> PathBuf {
    let run = out.join(RUN);
    copy_folder(&Path::new(RUNS).join(of), &run);
    run
}

/// Products may be added up in another order on another CPU.
fn assert_near(one: &[f64], other: &[f64]) {
    assert_eq!(one.len(), other.len());
    for (one, other) in one.iter().zip(other) {
        assert!((one - other).abs() < 1e-4 * one.abs().max(1.0), "{one} and {other}");
    }
}

fn resume(run: &Path, out: &Path) -> String {
    let file = run.join("experiment.toml");
    let output = PROGRAM.run(&["run", file.to_str().unwrap(), "--out", out.to_str().unwrap(), "--resume", "--quiet"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(fs::read_dir(out).unwrap().count(), 1, "it is the same run");
    said
}

#[test]
fn a_killed_run_of_version_0_1_goes_on_to_its_end() {
    let (home, finished) = (tempfile::tempdir().unwrap(), Path::new(RUNS).join("finished"));
    let run = copy("killed", home.path());
    assert_eq!(resume(&run, home.path()), "");
    for table in ["train", "eval", "eval_examples", "heads", "timing"] {
        assert_eq!(rows(&run, table), rows(&finished, table), "{table}");
    }
    for (table, column) in [("train", "sequences"), ("train", "loss"), ("eval", "loss"), ("eval_examples", "prob"), ("heads", "entropy")] {
        assert_near(&numbers(&run, table, column, None), &numbers(&finished, table, column, None));
    }
    let status = read_run_status(&run.join("run.parquet")).unwrap();
    assert_eq!((status.status.as_str(), status.tables.0["train"].rows), ("finished", 300));
    let last = |run: &Path| Checkpoint::read(&list(&run.join("checkpoints")).unwrap().pop().unwrap().1).unwrap();
    let (own, theirs) = (last(&run), last(&finished));
    assert_eq!((own.steps, own.tables.len(), theirs.tables.len()), (theirs.steps, 6, 0));
    for ((name, own), (_, theirs)) in own.parameters.iter().zip(&theirs.parameters) {
        let far = (own - theirs).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(far < 1e-4, "{name}: {far}");
    }
    assert!(!run.join("journal").exists());
}

#[test]
fn a_finished_run_of_version_0_1_is_shown_and_evaluated_again() {
    let home = tempfile::tempdir().unwrap();
    let (out, again) = (home.path().join("out"), home.path().join("again"));
    let run = copy("finished", &out);
    let before = contents(&run, "eval");
    assert_eq!(resume(&run, &out), "");
    assert_eq!(contents(&run, "eval"), before);
    assert!(Path::new(&run.join("losses.png")).exists());
    PROGRAM.succeed(&["replay", run.to_str().unwrap(), "--out", again.to_str().unwrap(), "--quiet"]);
    let replayed = again.join(RUN);
    let at = |run: &Path| numbers(run, "eval", "loss", None);
    let kept: Vec<f64> = at(&run).chunks(2).enumerate().filter(|(index, _)| index % 2 == 0).flat_map(|(_, pair)| pair.to_vec()).collect();
    assert_near(&at(&replayed), &kept);
    assert_eq!(PROGRAM.run(&["verify", run.to_str().unwrap()]).status.code(), Some(0));
    // A table that is gone is noticed without any checksum.
    fs::remove_file(run.join("heads.parquet")).unwrap();
    let said = resume(&run, &out);
    assert!(said.contains("it was finished, and now heads is not there"), "{said}");
}

/// Version 0.1 knew a run by the path of its bank, as it was typed.
#[test]
fn a_run_that_was_known_by_a_path_goes_on_under_its_name() {
    let home = tempfile::tempdir().unwrap();
    copy_folder(&Path::new(RUNS).join("by_path"), home.path());
    let run = home.path().join("runs/run=small-6164987c");
    fs::create_dir(home.path().join("runs")).unwrap();
    fs::rename(home.path().join("run"), &run).unwrap();
    let started = |arguments: &[&str]| {
        let output = PROGRAM.run_in(home.path(), arguments);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = started(&["replay", "runs", "--out", "replayed", "--quiet"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(numbers(&home.path().join("replayed/run=small-6164987c"), "eval", "sequences", None), [0.0, 3200.0]);
    let (code, said) = started(&["run", "small.toml", "--out", "runs"]);
    assert!(code == Some(2) && said.contains("run=small-6164987c: a run is there already; go on with --resume"), "{said}");
    let (code, said) = started(&["run", "small.toml", "--out", "runs", "--resume", "--quiet"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("small-6164987c: what its inputs held was not recorded when it began"), "{said}");
    assert_eq!(fs::read_dir(home.path().join("runs")).unwrap().count(), 1, "it is the same run");
    assert_eq!(numbers(&run, "train", "sequences", None), (0..200).map(|step| f64::from(32 * step)).collect::<Vec<_>>());
    assert_eq!(read_run_status(&run.join("run.parquet")).unwrap().status, "finished");
    // From now on what it reads is known, and another bank makes another run.
    assert_eq!(started(&["run", "small.toml", "--out", "runs", "--resume", "--quiet"]), (Some(0), String::new()));
    let file = hdf5::File::append(home.path().join("bank.h5")).unwrap();
    let mut values: Vec<f32> = file.dataset("feat").unwrap().read_raw().unwrap();
    values[0] += 1.0;
    file.dataset("feat").unwrap().write_raw(&values).unwrap();
    drop(file);
    unlock(&home.path().join("bank.h5"));
    assert_eq!(started(&["run", "small.toml", "--out", "runs", "--resume", "--quiet"]).0, Some(0));
    assert_eq!(fs::read_dir(home.path().join("runs")).unwrap().count(), 2, "it is another run");
}
