//! The logs as a user reads them, with polars, pandas, DuckDB and pyarrow: during a run, after a kill, and at the end.

use optogen_tests::program::{BASE, Program, runs};
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

const PROGRAM: Program = Program(env!("CARGO_BIN_EXE_optogen"));
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/python/read_logs.py");

fn python() -> String {
    std::env::var("OPTOGEN_PYTHON").expect("OPTOGEN_PYTHON is to name a Python with tests/python/requirements.txt; `make test` sees to it")
}

/// What the four readers agree on, a table each: its rows, and its digest where it has no times in it.
fn read(out: &Path, more: &[&str]) -> serde_json::Value {
    let output = Command::new(python()).arg(SCRIPT).arg(out).args(more).output().expect("Python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one line of JSON")
}

fn arguments(out: &str) -> Vec<&str> {
    let mut all = vec!["run", BASE, "--out", out, "--quiet", "--resume", "--grid", "seeds.init=5,6"];
    for set in ["train.sequences=210000", "evaluation.every=7000", "evaluation.sequences=100", "checkpoint.recovery_seconds=0.5"] {
        all.extend(["--set", set]);
    }
    all
}

#[test]
fn all_readers_agree_during_a_run_after_a_kill_and_at_the_end() {
    let home = tempfile::tempdir().unwrap();
    let [whole, torn] = ["whole", "torn"].map(|name| home.path().join(name));
    // The first import takes long on a cold disk, and the run is to go on while it is read.
    let warm = Command::new(python()).args(["-c", "import duckdb, pandas, polars, pyarrow.parquet"]).status().expect("Python starts");
    assert!(warm.success());
    let mut child = PROGRAM.start(&arguments(torn.to_str().unwrap()));
    let evaluations = |out: &Path| runs(out).iter().all(|run| run.join("eval.parquet").exists() && run.join("run.parquet").exists());
    while !(torn.exists() && evaluations(&torn)) {
        sleep(Duration::from_millis(20));
    }
    let during = read(&torn, &["growing"]);
    assert!(child.try_wait().unwrap().is_none(), "it was done before it was read");
    assert_eq!(during["run"]["rows"], 2);
    child.kill().unwrap();
    child.wait().unwrap();
    let after = read(&torn, &[]);
    let rows = |report: &serde_json::Value| report["eval"]["rows"].as_u64().unwrap();
    assert!(rows(&during) <= rows(&after) && rows(&after) < 2 * 31 * 4, "{during} then {after}");
    PROGRAM.succeed(&arguments(torn.to_str().unwrap()));
    PROGRAM.succeed(&arguments(whole.to_str().unwrap()));
    let (whole, torn) = (read(&whole, &[]), read(&torn, &[]));
    assert_eq!((&whole["train"]["rows"], &whole["eval"]["rows"]), (&(2 * 6563).into(), &(2 * 31 * 4).into()));
    for table in ["train", "eval", "eval_examples"] {
        assert_eq!(whole[table], torn[table], "{table}");
    }
}
