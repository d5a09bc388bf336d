//! Being killed and resumed changes nothing.

use optogen_tests::program::{BASE, Program, contents, final_weights, listening, runs};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

const PROGRAM: Program = Program(env!("CARGO_BIN_EXE_optogen"));

/// A run of some seconds that keeps recovery points all the time.
fn arguments(out: &str) -> Vec<&str> {
    let mut all = vec!["run", BASE, "--out", out, "--resume", "--quiet"];
    for set in [
        "train.sequences=120000",
        "evaluation.every=3000",
        "evaluation.sequences=100",
        "checkpoint.every=40000",
        "checkpoint.recovery_seconds=0.03",
    ] {
        all.extend(["--set", set]);
    }
    all
}

#[test]
fn a_run_killed_at_ten_random_moments_ends_in_the_same_bytes() {
    let home = tempfile::tempdir().unwrap();
    let (whole, torn) = (home.path().join("whole"), home.path().join("torn"));
    PROGRAM.succeed(&arguments(whole.to_str().unwrap()));
    // Truly random moments: a failure's are in its message.
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
    let mut moments = Vec::new();
    while moments.len() < 10 {
        let mut child = PROGRAM.start(&arguments(torn.to_str().unwrap()));
        let moment = Duration::from_millis(40 + u64::from(now() / 1000 % 260));
        sleep(moment);
        assert!(child.try_wait().unwrap().is_none(), "it was done before the tenth kill; killed after {moments:?}");
        child.kill().unwrap();
        child.wait().unwrap();
        moments.push(moment);
    }
    PROGRAM.succeed(&arguments(torn.to_str().unwrap()));
    let (whole, torn) = (&runs(&whole)[0], &runs(&torn)[0]);
    assert_eq!(final_weights(whole), final_weights(torn), "killed after {moments:?}");
    for table in ["train", "eval", "eval_examples"] {
        assert_eq!(contents(whole, table), contents(torn, table), "{table}; killed after {moments:?}");
    }
    for left in ["journal", "damaged"] {
        assert!(!torn.join(left).exists(), "{left}: {:?}; killed after {moments:?}", std::fs::read_dir(torn.join(left)));
    }
}

/// Waits until a run has taken steps and kept a moment from which it could go on.
fn until_steps_are_kept(out: &std::path::Path) {
    let kept = || {
        let run = std::fs::read_dir(out).ok()?.next()?.ok()?.path();
        optogen::checkpoint::list(&run.join("recovery")).ok()?.pop().filter(|(at, _)| *at > 0)
    };
    while kept().is_none() {
        sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_run_asked_to_stop_saves_and_exits_with_the_resumable_code() {
    for signal in ["TERM", "USR1", "INT", "HUP", "USR2", "XCPU"] {
        let home = tempfile::tempdir().unwrap();
        let out = home.path().to_str().unwrap();
        let mut child = PROGRAM.start(&arguments(out));
        until_steps_are_kept(home.path());
        let sent = std::process::Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        assert_eq!(child.wait().unwrap().code(), Some(75), "{signal}");
        let run = &runs(home.path())[0];
        assert_eq!(optogen::log::read_run_status(&run.join("run.parquet")).unwrap().status, "interrupted");
        PROGRAM.succeed(&arguments(out));
        assert_eq!(optogen::log::read_run_status(&run.join("run.parquet")).unwrap().status, "finished");
    }
}

#[test]
fn who_is_interrupted_does_not_say_that_all_is_done() {
    let home = tempfile::tempdir().unwrap();
    let mut arguments = arguments(home.path().to_str().unwrap());
    arguments.retain(|argument| *argument != "--quiet");
    let mut command = std::process::Command::new(PROGRAM.0);
    let child =
        listening(&mut command).args(&arguments).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    until_steps_are_kept(home.path());
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(75), "{said}");
    let progress = said.lines().rfind(|line| line.contains(" sequences")).unwrap();
    assert!(progress.contains(" a second, interrupted"), "{said}");
    assert!(!said.contains("done"), "{said}");
}
