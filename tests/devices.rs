//! A cohort on whatever device is there, a GPU where the program is built for them, has the numbers of its members alone on the CPU, each with clamps of
//! its own. `OPTOGEN_DEVICE` names another device.

use arrow::array::{Array, Float64Array};
use optogen_tests::program::{BASE, Program, runs};
use std::path::Path;

const PROGRAM: Program = Program(env!("CARGO_BIN_EXE_optogen"));

/// How far losses of the same sequences may be apart, relatively, after 96 steps of Adam at a rate of 1e-3: products add up in another order on a GPU, and
/// each step carries on from the last.
const TOLERANCE: f64 = 2e-3;

/// … and in the first step, before anything could add up.
const FIRST: f64 = 2e-5;

/// A column of a table, all rows.
fn column(run: &Path, table: &str, name: &str) -> Vec<f64> {
    let batches = optogen::log::read_table(&run.join(format!("{table}.parquet"))).unwrap();
    let numbers = batches.iter().flat_map(|batch| {
        let column = batch.column_by_name(name).unwrap().as_any().downcast_ref::<Float64Array>().unwrap();
        assert_eq!(column.null_count(), 0);
        column.values().to_vec()
    });
    numbers.collect()
}

/// Runs an experiment alone on the CPU and as one cohort on the device, and compares; returns what was said about the cohort.
fn compare(experiment: &str, models: usize) -> String {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("experiment.toml");
    std::fs::write(&file, format!("extends = \"{BASE}\"\n{experiment}")).unwrap();
    let [alone, cohort] = ["alone", "cohort"].map(|name| home.path().join(name));
    let go = |out: &Path, more: &[&str]| {
        let mut all = vec!["run", file.to_str().unwrap(), "--out", out.to_str().unwrap()];
        for set in ["train.sequences=3072", "train.optimiser.rate=1e-3", "evaluation.every=1024", "evaluation.sequences=50"] {
            all.extend(["--set", set]);
        }
        let output = PROGRAM.run(&[&all[..], more].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{said}");
        said
    };
    go(&alone, &["--device", "cpu", "--cohort", "1", "--quiet"]);
    let device = std::env::var("OPTOGEN_DEVICE").unwrap_or_else(|_| "auto".into());
    let said = go(&cohort, &["--device", &device, "--cohort", "1000"]);
    let (alone, cohort) = (runs(&alone), runs(&cohort));
    assert_eq!((alone.len(), cohort.len()), (models, models));
    for (alone, cohort) in alone.iter().zip(&cohort) {
        assert_eq!(alone.file_name(), cohort.file_name());
        for (table, name) in [("train", "loss"), ("train", "grad_norm"), ("eval", "loss")] {
            let (expected, own) = (column(alone, table, name), column(cohort, table, name));
            assert_eq!(expected.len(), own.len(), "{table} of {}", cohort.display());
            for (row, (expected, own)) in expected.iter().zip(&own).enumerate() {
                let tolerance = if row == 0 { FIRST } else { TOLERANCE };
                let away = (own - expected).abs() / expected.abs();
                assert!(away <= tolerance, "{table}.{name} in row {row} of {}: {own}, alone {expected}", cohort.display());
            }
        }
    }
    let differ = column(&cohort[0], "train", "loss").iter().zip(column(&cohort[1], "train", "loss")).any(|(a, b)| (a - b).abs() > 1e-3);
    assert!(differ, "the members of the cohort are all the same");
    said
}

/// Eight models that differ in which heads are silent; and how much memory they will take is told.
#[test]
fn a_sweep_over_silent_heads_is_one_cohort() {
    let said = compare(
        r#"
        [[intervention]]
        name   = "only"
        site   = "v"
        layers = [1]
        heads  = { except = [0] }
        action = "zero"

        [sweep.grid]
        "intervention.only.heads" = [{ except = [0] }, { except = [1] }, [2, 3], [5]]
        "seeds.init" = [5, 6]
        "#,
        8,
    );
    let line = said.lines().find(|line| line.contains("about")).unwrap_or_else(|| panic!("nothing about memory: {said}"));
    // 66,629 parameters: 512·64 + 64 + 64·5 + 2·(2·64 + 4·64·64) + 2·64 + 5·64 + 5 with 4 bytes for each of 8 members.
    let expected = "cohort of 8 models (2 layers of width 64, 8 heads): about 15.3 MB: parameters 2.1, gradients 2.1, optimiser 4.3, activations 6.8; \
                    and the class bank 9.9";
    assert_eq!(line, expected);
}

/// Patterns are clamped in some heads of each model, which takes the composed way; positions are learned.
#[test]
fn a_sweep_over_clamped_patterns_is_one_cohort() {
    compare(
        r#"
        [model]
        positions = "learned"

        [[intervention]]
        name   = "previous"
        site   = "pattern"
        layers = [0]
        heads  = [0]
        action = { previous_token = { strength = 0.75 } }

        [sweep.grid]
        "intervention.previous.heads" = [[0], [1, 2], "all"]
        "#,
        3,
    );
}

/// Micro-batches, decay of the weights, clipped gradients and an MLP, with rates of the models' own.
#[test]
fn a_sweep_over_rates_is_one_cohort() {
    compare(
        r#"
        [model]
        mlp_ratio = 2
        init_rescale = 3.0

        [train]
        micro_batch  = 8
        weight_decay = 0.01
        optimiser    = { name = "warmup_decay", warmup = 20, decay = 80 }

        [sweep.grid]
        "seeds.init" = [5, 6]
        "train.optimiser.warmup" = [10, 20]
        "#,
        4,
    );
}
