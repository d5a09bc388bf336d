//! The published code's own files: imported, replayed, and the same losses.

use arrow::array::{Array, Float32Array};
use candle_core::DType;
use optogen::log::read_table;
use optogen_tests::program::{Program, runs};
use optogen_tests::reference::{CASES, Case};
use std::path::{Path, PathBuf};

const PROGRAM: Program = Program(env!("CARGO_BIN_EXE_optogen"));
const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/published");

/// Of each model and each of its interventions, grafts included.
#[test]
fn imported_models_have_the_published_losses() {
    let mut count = 0;
    for case in CASES {
        for clamp in Case::open(case).members("clamps") {
            let home = tempfile::tempdir().unwrap();
            let at = |name: &str| home.path().join(name).display().to_string();
            let (imported, replayed) = (at("imported"), at("replayed"));
            let [mut config, checkpoint, data] =
                [&format!(".{clamp}.json"), ".eqx", "_eval_data.h5"].map(|ending| format!("{FILES}/{case}{ending}"));
            if clamp.starts_with("graft") {
                config = at("graft.json");
                write_graft(&clamp, &config);
            }
            let files = ["--config", &config, "--checkpoint", &checkpoint, "--eval-data", &data];
            PROGRAM.succeed(&[&["import"], &files[..], &["--out", &imported]].concat());
            PROGRAM.succeed(&["replay", &imported, "--out", &replayed, "--quiet"]);
            let run = &runs(replayed.as_ref())[0];
            let mut losses = Vec::new();
            for batch in read_table(&run.join("eval_examples.parquet")).unwrap() {
                let loss = batch.column_by_name("loss").unwrap();
                losses.extend(loss.as_any().downcast_ref::<Float32Array>().unwrap().values().to_vec());
            }
            let published: Vec<f32> = Case::open(case).tensor(&format!("clamps/{clamp}/metrics/loss"), DType::F32).to_vec1().unwrap();
            assert_eq!(losses.len(), published.len());
            for (ours, theirs) in losses.iter().zip(&published) {
                assert!((ours - theirs).abs() < 1e-5 * theirs.max(1.0), "{case} {clamp}: {ours}, published {theirs}");
            }
            count += 1;
        }
    }
    assert_eq!(count, 30);
}

/// The config of a graft, as a user of the published code has it.
fn write_graft(clamp: &str, path: &str) {
    let text = std::fs::read_to_string(format!("{FILES}/induction.none.json")).unwrap();
    let mut config: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
    let layer = if clamp == "graft_in" { "till_layer" } else { "from_layer" };
    config.insert(format!("opto_{clamp}_model_ckpt"), format!("{FILES}/donor_a.eqx").into());
    config.insert(format!("opto_{clamp}_model_cfg"), format!("{FILES}/donor_a.json").into());
    config.insert(format!("opto_{clamp}_model_{layer}"), 0.into());
    std::fs::write(path, serde_json::to_string(&config).unwrap()).unwrap();
}

/// Imports the induction model with a changed config and files of the test's own; returns what is said and the run folder.
fn import(home: &Path, changes: &[(&str, serde_json::Value)], checkpoint: &str, data: &str) -> (String, PathBuf) {
    let text = std::fs::read_to_string(format!("{FILES}/induction.none.json")).unwrap();
    let mut config: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
    config.extend(changes.iter().map(|(key, value)| (key.to_string(), value.clone())));
    let (file, out) = (home.join("config.json"), home.join("imported"));
    std::fs::write(&file, serde_json::to_string(&config).unwrap()).unwrap();
    let [file, to] = [&file, &out].map(|path| path.to_str().unwrap());
    let output = PROGRAM.run(&["import", "--config", file, "--checkpoint", checkpoint, "--eval-data", data, "--out", to]);
    let said = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    (said, runs(&out).remove(0))
}

/// The losses of an imported run's evaluators, by evaluator.
fn replayed(home: &Path, run: &Path) -> Vec<f64> {
    let out = home.join("replayed");
    PROGRAM.succeed(&["replay", run.to_str().unwrap(), "--out", out.to_str().unwrap(), "--quiet"]);
    optogen_tests::program::numbers(&runs(&out)[0], "eval", "loss", Some(("evaluator", "probe")))
}

/// At a temperature of 1, frozen scores are the model's own, whether all heads are named or some.
#[test]
fn temperatures_of_all_heads_are_imported() {
    let (checkpoint, data) = (format!("{FILES}/induction.eqx"), format!("{FILES}/induction_eval_data.h5"));
    let losses = |temperature: f64, count: usize| {
        let home = tempfile::tempdir().unwrap();
        let heads: Vec<String> = (0..count).map(|head| format!("1:{head}:{temperature}")).collect();
        let (_, run) = import(home.path(), &[("opto_set_head_temperature", heads.into())], &checkpoint, &data);
        let text = std::fs::read_to_string(run.join("experiment.toml")).unwrap();
        assert_eq!(
            (text.matches("temperature-1.").count(), text.matches("frozen-1").count()),
            (count, usize::from((1..8).contains(&count)))
        );
        replayed(home.path(), &run)
    };
    let none = losses(1.0, 0);
    assert_eq!(none.len(), 1);
    assert!((losses(1.0, 8)[0] - none[0]).abs() < 1e-6);
    assert!((losses(0.01, 8)[0] - none[0]).abs() > 1e-3, "and they do something");
}

/// What was imported is vouched for, too.
#[test]
fn imported_sequences_are_verified() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| format!("{FILES}/{name}");
    let (_, run) = import(home.path(), &[], &at("induction.eqx"), &at("induction_eval_data.h5"));
    let verified = || {
        let output = PROGRAM.run(&["verify", run.to_str().unwrap()]);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(verified().0, Some(0));
    let file = run.join("evaluation.h5");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let (code, said) = verified();
    assert!(code == Some(74) && said.contains("evaluation.h5: evaluator."), "{said}");
    assert!(said.contains(".file holds something else than it held when the run began"), "{said}");
}

/// An evaluator with labels that the model has no outputs for is left out, and all else imported.
#[test]
fn an_evaluator_beyond_the_outputs_is_left_out() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data.h5");
    let probe = optogen_data::read_evaluation(format!("{FILES}/induction_eval_data.h5").as_ref(), "probe").unwrap();
    let mut far = optogen_data::EvaluationSet { name: "far".into(), ..probe.clone() };
    far.labels[4] = 5;
    optogen_data::write_evaluation(&data, &[far, probe]).unwrap();
    let (said, run) = import(home.path(), &[], &format!("{FILES}/induction.eqx"), data.to_str().unwrap());
    assert_eq!(said, "warning: the evaluator \"far\" has a label 5; the model has 5 outputs; this evaluator is left out");
    assert_eq!(replayed(home.path(), &run).len(), 1);
    assert_eq!(optogen_tests::program::rows(&runs(&home.path().join("replayed"))[0], "eval"), 1);
}

/// The published arrays in float64, as JAX writes them with x64.
fn widened(bytes: &[u8]) -> Vec<u8> {
    let (mut wide, mut rest) = (Vec::new(), bytes);
    while rest.len() > 10 {
        let start = 10 + usize::from(u16::from_le_bytes([rest[8], rest[9]]));
        let header = std::str::from_utf8(&rest[10..start]).unwrap();
        let shape = header.split(['(', ')']).nth(1).unwrap();
        let count: usize = shape.split(',').filter_map(|length| length.trim().parse::<usize>().ok()).product();
        let width: usize = header.split('\'').nth(3).unwrap()[2..].parse().unwrap();
        let end = start + count * width;
        if header.contains("<f4") {
            wide.extend(&rest[..10]);
            wide.extend(header.replace("<f4", "<f8").bytes());
            let numbers = rest[start..end].as_chunks().0.iter();
            wide.extend(numbers.flat_map(|four| f64::from(f32::from_le_bytes(*four)).to_le_bytes()));
        } else {
            wide.extend(&rest[..end]);
        }
        rest = &rest[end..];
    }
    wide
}

#[test]
fn float64_is_rounded_and_said_to_be() {
    let home = tempfile::tempdir().unwrap();
    let (narrow, wide) = (format!("{FILES}/induction.eqx"), home.path().join("wide.eqx"));
    std::fs::write(&wide, widened(&std::fs::read(&narrow).unwrap())).unwrap();
    let data = format!("{FILES}/induction_eval_data.h5");
    let (said, run) = import(home.path(), &[], wide.to_str().unwrap(), &data);
    assert_eq!(said, format!("warning: {}: its numbers are in float64 (JAX with x64), and are rounded to float32", wide.display()));
    let other = tempfile::tempdir().unwrap();
    let (silence, given) = import(other.path(), &[], &narrow, &data);
    assert_eq!(silence, "");
    assert_eq!(optogen_tests::program::final_weights(&run), optogen_tests::program::final_weights(&given));
}

/// An imported checkpoint is the published parameters, bit for bit.
#[test]
fn imported_parameters_are_the_published_ones() {
    for case in CASES {
        let home = tempfile::tempdir().unwrap();
        let out = home.path().display().to_string();
        let [config, checkpoint, data] = [".none.json", ".eqx", "_eval_data.h5"].map(|ending| format!("{FILES}/{case}{ending}"));
        PROGRAM.succeed(&["import", "--config", &config, "--checkpoint", &checkpoint, "--eval-data", &data, "--out", &out]);
        let (at, folder) = optogen::checkpoint::list(&runs(home.path())[0].join("checkpoints")).unwrap().pop().unwrap();
        let checkpoint = optogen::checkpoint::Checkpoint::read(&folder).unwrap();
        assert_eq!((at, checkpoint.sequences), (3200, 3200));
        for ((name, ours), (_, theirs)) in checkpoint.parameters.iter().zip(Case::open(case).parameters("params", DType::F32)) {
            let bits = |tensor: &candle_core::Tensor| -> Vec<u32> {
                tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
            };
            assert_eq!(bits(ours), bits(&theirs), "{case} {name}");
        }
    }
}

/// A run evaluated again on its own checkpoints has the losses that it had.
#[test]
fn a_replay_gives_what_the_run_logged() {
    let home = tempfile::tempdir().unwrap();
    let [out, again] = ["out", "again"].map(|name| home.path().join(name).display().to_string());
    let mut all = vec!["run", optogen_tests::program::BASE, "--out", &out, "--quiet"];
    for set in ["train.sequences=2048", "evaluation.every=1024", "evaluation.sequences=300", "checkpoint.every=1024"] {
        all.extend(["--set", set]);
    }
    PROGRAM.succeed(&all);
    PROGRAM.succeed(&["replay", &out, "--out", &again]);
    let (run, replay) = (&runs(out.as_ref())[0], &runs(again.as_ref())[0]);
    for table in ["eval", "eval_examples"] {
        assert_eq!(optogen_tests::program::contents(run, table), optogen_tests::program::contents(replay, table), "{table}");
    }
}
