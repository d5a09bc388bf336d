//! The published code's own files: imported, replayed, and the same losses.

use arrow::array::{Array, Float32Array};
use candle_core::DType;
use optogen::log::read_table;
use optogen_tests::program::{Program, runs};
use optogen_tests::reference::{CASES, Case};

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
