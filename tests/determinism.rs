//! The same experiment gives the same bytes: on any number of threads, beside any neighbours, alone or in a cohort.

use optogen_tests::program::{BASE, Program, contents, final_weights, rows, runs};
use std::path::Path;

const PROGRAM: Program = Program(env!("CARGO_BIN_EXE_optogen"));

/// A short run, with some more arguments.
fn short(out: &Path, more: &[&str]) {
    let mut all = vec!["run", BASE, "--out", out.to_str().unwrap(), "--quiet"];
    for set in ["train.sequences=2048", "evaluation.every=512", "evaluation.sequences=50", "checkpoint.every=1024"] {
        all.extend(["--set", set]);
    }
    all.extend(more);
    PROGRAM.succeed(&all);
}

fn assert_same(a: &Path, b: &Path) {
    assert_eq!(a.file_name(), b.file_name());
    assert_eq!(final_weights(a), final_weights(b), "{}", a.display());
    for table in ["train", "eval", "eval_examples"] {
        assert_eq!(contents(a, table), contents(b, table), "{table} of {}", a.display());
    }
}

#[test]
fn threads_and_neighbours_change_nothing() {
    let home = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "two"].map(|name| home.path().join(name));
    short(&one, &["--threads", "1"]);
    short(&two, &["--threads", "2", "--grid", "seeds.init=5,6,7"]);
    let (one, two) = (runs(&one), runs(&two));
    assert_eq!((one.len(), two.len()), (1, 3));
    let same = two.iter().find(|run| run.file_name() == one[0].file_name()).unwrap();
    assert_same(&one[0], same);
    assert_ne!(final_weights(&two[0]), final_weights(&two[1]));
    assert_eq!((rows(same, "train"), rows(same, "eval"), rows(same, "eval_examples")), (64, 5 * 4, 5 * 4 * 50));
}

/// One model on two threads is measured beside its own steps, and on one thread between them.
#[test]
fn a_model_measured_aside_has_the_same_tables() {
    let home = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "two"].map(|name| home.path().join(name));
    for (out, threads) in [(&one, "1"), (&two, "2")] {
        short(
            out,
            &["--threads", threads, "--set", "evaluation.every=96", "--set", "evaluation.sequences=700", "--set", "checkpoint.every=192"],
        );
    }
    let (one, two) = (&runs(&one)[0], &runs(&two)[0]);
    assert_same(one, two);
    assert_eq!(contents(one, "heads"), contents(two, "heads"));
    assert_eq!((rows(two, "eval"), rows(two, "timing")), (23 * 4, 23));
    // Checkpoints were written aside, too; some fall on an evaluation.
    let manifests = |run: &Path| -> Vec<String> {
        let mut folders: Vec<_> = std::fs::read_dir(run.join("checkpoints")).unwrap().map(|entry| entry.unwrap().path()).collect();
        folders.sort();
        folders.iter().map(|folder| std::fs::read_to_string(folder.join("manifest.json")).unwrap()).collect()
    };
    assert_eq!(manifests(one).len(), 1 + 2048 / 192 + 1);
    assert_eq!(manifests(one), manifests(two));
}

/// Three models stacked, with their own seeds and rates, are each as if alone; micro-batches, decay and clipping included.
#[test]
fn a_cohort_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let [alone, stacked] = ["alone", "stacked"].map(|name| home.path().join(name));
    let more = [
        "--grid",
        "seeds.init=5,6,7",
        "--grid",
        "train.optimiser.rate=1e-3,1e-4",
        "--set",
        "train.micro_batch=8",
        "--set",
        "train.weight_decay=0.01",
        "--set",
        "train.optimiser.name=\"warmup_decay\"",
        "--set",
        "train.optimiser.warmup=20",
    ];
    short(&alone, &[&more[..], &["--cohort", "1"]].concat());
    short(&stacked, &[&more[..], &["--cohort", "6"]].concat());
    let (alone, stacked) = (runs(&alone), runs(&stacked));
    assert_eq!(alone.len(), 6);
    for (alone, stacked) in alone.iter().zip(&stacked) {
        assert_same(alone, stacked);
    }
}

/// Batches of 32 and of 64 see the same sequences: without a step in between, the losses of two small batches average to that of a large one.
#[test]
fn a_batch_of_64_is_two_of_32() {
    let home = tempfile::tempdir().unwrap();
    let [small, large] = ["small", "large"].map(|name| home.path().join(name));
    short(&small, &["--set", "train.batch=32", "--set", "train.optimiser.rate=1e-30"]);
    short(&large, &["--set", "train.batch=64", "--set", "train.optimiser.rate=1e-30"]);
    let losses = |out: &Path| -> Vec<f64> {
        let batches = optogen::log::read_table(&runs(out)[0].join("train.parquet")).unwrap();
        let column = |batch: &arrow::array::RecordBatch| {
            let column = batch.column_by_name("loss").unwrap().as_any().downcast_ref::<arrow::array::Float64Array>().unwrap().clone();
            column.values().to_vec()
        };
        batches.iter().flat_map(column).collect()
    };
    let (small, large) = (losses(&small), losses(&large));
    assert_eq!((small.len(), large.len()), (64, 32));
    for (pair, large) in small.chunks_exact(2).zip(large) {
        assert!(((pair[0] + pair[1]) / 2.0 - large).abs() < 1e-6, "{pair:?} and {large}");
    }
}
