//! What goes wrong on the way: a run that diverges, a file that is damaged.

use arrow::array::{Array, Float64Array, StringArray};
use optogen::log::{read_run_status, read_table};
use optogen_tests::program::{BASE, Program, contents, final_weights, rows, runs};
use std::fs;

const PROGRAM: Program = Program(env!("CARGO_BIN_EXE_optogen"));

fn short<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["run", BASE, "--out", out, "--quiet"];
    for set in ["train.sequences=3200", "evaluation.every=640", "evaluation.sequences=20", "checkpoint.every=640"] {
        all.extend(["--set", set]);
    }
    all.extend(more);
    all
}

#[test]
fn a_run_that_diverges_stops_alone_and_keeps_its_rows() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().to_str().unwrap();
    let message = PROGRAM.refused(1, &short(out, &["--set", "train.optimiser.name=sgd", "--grid", "train.optimiser.rate=1e-3,1e30"]));
    let all = runs(home.path());
    let status = |run: &std::path::PathBuf| read_run_status(&run.join("run.parquet")).unwrap().status;
    let diverged: Vec<_> = all.iter().filter(|run| status(run) == "diverged").collect();
    let finished: Vec<_> = all.iter().filter(|run| status(run) == "finished").collect();
    assert_eq!((diverged.len(), finished.len()), (1, 1));
    assert_eq!(rows(finished[0], "train"), 100);
    let steps = rows(diverged[0], "train");
    assert!((1..100).contains(&steps), "{steps} steps");
    let last = read_table(&diverged[0].join("train.parquet")).unwrap().pop().unwrap();
    let loss = last.column_by_name("loss").unwrap().as_any().downcast_ref::<Float64Array>().unwrap();
    let norm = last.column_by_name("grad_norm").unwrap().as_any().downcast_ref::<Float64Array>().unwrap();
    let end = loss.len() - 1;
    assert!(!(loss.value(end).is_finite() && norm.value(end).is_finite()), "the row that shows it is there");
    let run_id = diverged[0].file_name().unwrap().to_str().unwrap().strip_prefix("run=").unwrap();
    // The same command would end in the same way.
    assert!(
        message.contains(&format!("failed: {run_id}: its loss was no longer a number, and would not be one if it ran again")),
        "{message}"
    );
    assert!(!message.contains("again: ") && message.contains("a lower rate"), "{message}");
}

/// What was measured of it before is not taken for how it ended.
#[test]
fn a_run_that_diverged_is_marked_in_the_table() {
    let home = tempfile::tempdir().unwrap();
    let mut arguments =
        short(home.path().to_str().unwrap(), &["--set", "train.optimiser.name=sgd", "--grid", "train.optimiser.rate=1e30,1e-3"]);
    arguments.retain(|argument| *argument != "--quiet");
    let output = PROGRAM.run(&arguments);
    let table = String::from_utf8(output.stdout).unwrap();
    let row = |status: &str| table.lines().position(|line| line.contains(status)).unwrap_or_else(|| panic!("{status}: {table}"));
    assert!(row(" finished ") < row(" diverged; at 0 "), "{table}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(", ended, not all of them well") && !said.contains(", done"), "{said}");
}

/// The command that is advised for a replay that failed does the replay again, and no training.
#[test]
fn a_failed_replay_is_advised_to_be_replayed() {
    let home = tempfile::tempdir().unwrap();
    let [out, again] = ["out", "once more"].map(|name| home.path().join(name).display().to_string());
    PROGRAM.succeed(&short(&out, &[]));
    let run = runs(out.as_ref())[0].display().to_string();
    let weights = format!("{run}/checkpoints/at-000000001280/model.safetensors");
    let whole = fs::read(&weights).unwrap();
    fs::write(&weights, &whole[1..]).unwrap();
    let arguments = ["replay", &run, "--out", &again, "--set", "evaluation.sequences=10", "--spread", "6", "--quiet"];
    let message = PROGRAM.refused(74, &arguments);
    let advised = format!("again: optogen replay {run} --set evaluation.sequences=10 --spread 6 --out '{again}' --resume");
    assert!(message.contains("at-000000001280") && message.contains(&advised), "{message}");
    fs::write(&weights, whole).unwrap();
    let line = advised.replace("again: optogen", env!("CARGO_BIN_EXE_optogen"));
    let status = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
    assert_eq!(status.status.code(), Some(0), "{}", String::from_utf8_lossy(&status.stderr));
    assert_eq!(read_run_status(&runs(again.as_ref())[0].join("run.parquet")).unwrap().status, "replayed");
}

/// The evaluators' sequences, written and read back, give the same metrics.
#[test]
fn an_evaluation_file_is_read_back() {
    let home = tempfile::tempdir().unwrap();
    let [out, again] = ["out", "again"].map(|name| home.path().join(name).display().to_string());
    let noisy = ["--set", "evaluator.1.noise=0.5", "--set", "evaluation.write=true"];
    PROGRAM.succeed(&short(&out, &noisy));
    let run = &runs(out.as_ref())[0];
    let file = run.join("evaluation.h5").display().to_string();
    let read: Vec<String> = ["fsl_train", "fsl_val_rl", "fsl_train_valex", "fsl_test_class"]
        .iter()
        .enumerate()
        .flat_map(|(index, name)| ["--set".into(), format!("evaluator.{index}={{ name = \"{name}\", file = \"{file}\" }}")])
        .collect();
    PROGRAM.succeed(&short(&again, &read.iter().map(String::as_str).collect::<Vec<_>>()));
    let read = &runs(again.as_ref())[0];
    assert_eq!(final_weights(run), final_weights(read));
    let losses = |run: &std::path::Path| -> Vec<(String, f64)> {
        let of = |batch: &arrow::array::RecordBatch| {
            let names = batch.column_by_name("evaluator").unwrap().as_any().downcast_ref::<StringArray>().unwrap().clone();
            let loss = batch.column_by_name("loss").unwrap().as_any().downcast_ref::<Float64Array>().unwrap().clone();
            (0..batch.num_rows()).map(move |row| (names.value(row).to_owned(), loss.value(row))).collect::<Vec<_>>()
        };
        read_table(&run.join("eval.parquet")).unwrap().iter().flat_map(of).collect()
    };
    assert_eq!(losses(run), losses(read));
    assert_eq!(losses(run).len(), 6 * 4);
}

/// Damaged files are set aside and the run goes on from an earlier point, to the same bytes.
#[test]
fn a_damaged_checkpoint_is_set_aside() {
    let home = tempfile::tempdir().unwrap();
    let [whole, torn] = ["whole", "torn"].map(|name| home.path().join(name).display().to_string());
    PROGRAM.succeed(&short(&whole, &[]));
    PROGRAM.succeed(&short(&torn, &[]));
    let (whole, run) = (&runs(whole.as_ref())[0], &runs(torn.as_ref())[0]);
    let weights = run.join("checkpoints/at-000000003200/model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&weights, bytes).unwrap();
    fs::remove_file(run.join("run.parquet")).unwrap();
    let output = PROGRAM.run(&short(&torn, &["--resume"]));
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{message}");
    assert!(message.contains("at-000000003200/model.safetensors: not the") && message.contains("set aside"), "{message}");
    assert_eq!(final_weights(whole), final_weights(run));
    for table in ["train", "eval", "eval_examples"] {
        assert_eq!(contents(whole, table), contents(run, table), "{table}");
    }
    assert!(run.join("damaged").exists());
}
