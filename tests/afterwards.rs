//! What is done with runs afterwards: replays, branches, further measures.

use arrow::array::Int64Array;
use optogen_tests::program::{BASE, Program, final_weights, rows, runs};
use optogen_tests::small::{column, numbers, run, texts};
use std::fs;

const PROGRAM: Program = Program(env!("CARGO_BIN_EXE_optogen"));

/// Many sets of interventions in one pass over the checkpoints, each with tables of its own.
#[test]
fn replays_take_further_interventions() {
    let home = tempfile::tempdir().unwrap();
    let own = run(&PROGRAM, home.path(), "own", "name = \"a\"");
    let with = home.path().join("with.toml");
    let text = "name = \"only\"\n[[intervention]]\nname = \"only\"\nsite = \"v\"\nlayers = [1]\nheads = { except = [0] }\naction = \"zero\"\n\
        [sweep.grid]\n\"intervention.only.heads\" = [{ except = [0] }, { except = [3] }, []]\n";
    fs::write(&with, text.replace(", []", "")).unwrap();
    let out = home.path().join("replayed");
    let (run, with) = (own.to_str().unwrap(), with.to_str().unwrap());
    PROGRAM.succeed(&["replay", run, "--with", with, "--out", out.to_str().unwrap(), "--spread", "3", "--quiet"]);
    let all = runs(&out);
    assert_eq!(all.len(), 2);
    for replayed in &all {
        let sequences: Vec<i64> =
            column::<Int64Array>(replayed, "eval", "sequences").iter().flat_map(|column| column.values().to_vec()).collect();
        assert_eq!(sequences, [0, 0, 0, 0, 1024, 1024, 1024, 1024, 2048, 2048, 2048, 2048]);
        assert_ne!(numbers(replayed, "eval", "loss")[..4], numbers(&own, "eval", "loss")[..4]);
    }
    assert_ne!(numbers(&all[0], "eval", "loss"), numbers(&all[1], "eval", "loss"));
    let (each, out) = (BASE.replace("base", "replays/only_head"), home.path().join("each"));
    PROGRAM.succeed(&["replay", run, "--with", &each, "--out", out.to_str().unwrap(), "--spread", "1", "--quiet"]);
    assert_eq!(runs(&out).len(), 8);
    // An intervention that is not for replays leaves the run's own numbers.
    let out = home.path().join("training");
    PROGRAM.succeed(&[
        "replay",
        run,
        "--with",
        with,
        "--set",
        "intervention.only.during=training",
        "--set",
        "sweep=",
        "--out",
        out.to_str().unwrap(),
        "--quiet",
    ]);
    assert_eq!(numbers(&runs(&out)[0], "eval", "loss"), numbers(&own, "eval", "loss"));
    let message = PROGRAM.refused(2, &["replay", run, "--with", with, "--set", "intervention.onyl.during=training", "--out", "/nowhere"]);
    assert_eq!(
        message,
        "error: --set intervention.onyl.during=training: intervention has no item onyl; its items go by number, from 0 to 0, or by name: only"
    );
}

#[test]
fn a_branch_goes_on_as_its_parent_did() {
    let home = tempfile::tempdir().unwrap();
    let own = run(&PROGRAM, home.path(), "own", "name = \"a\"");
    let out = home.path().join("branch");
    let (run, out_text) = (own.to_str().unwrap(), out.to_str().unwrap());
    PROGRAM.succeed(&["branch", run, "--at", "1024", "--out", out_text, "--quiet"]);
    let branch = &runs(&out)[0];
    assert_eq!(final_weights(&own), final_weights(branch));
    assert_eq!(numbers(&own, "train", "loss")[32..], numbers(branch, "train", "loss"));
    let row = |name: &str| texts(branch, "run", name).remove(0);
    assert_eq!(row("parent.run_id"), own.file_name().unwrap().to_str().unwrap().strip_prefix("run=").unwrap());
    assert_eq!(row("parent.sha256"), optogen::checkpoint::Checkpoint::sha256(&own.join("checkpoints/at-000000001024")).unwrap());
    let with = home.path().join("with.toml");
    fs::write(&with, "[[intervention]]\nsite = \"v\"\nlayers = [1]\nheads = [3]\naction = \"zero\"\n").unwrap();
    PROGRAM.succeed(&["branch", run, "--at", "1024", "--with", with.to_str().unwrap(), "--out", out_text, "--quiet"]);
    assert_eq!(runs(&out).len(), 2);
    let manifest = own.join("checkpoints/at-000000001024/manifest.json");
    let whole = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, format!("{whole}\n")).unwrap();
    let again = home.path().join("again");
    let message = PROGRAM.refused(2, &["run", branch.join("experiment.toml").to_str().unwrap(), "--out", again.to_str().unwrap()]);
    assert!(
        message.contains("parent.checkpoint: no checkpoint folder ") && message.contains("at-000000001024: holds something else"),
        "{message}"
    );
    let branched = ["branch", run, "--at", "1024", "--out", again.to_str().unwrap(), "--set", "train.sequences=1024"];
    assert!(PROGRAM.refused(74, &branched).ends_with("at-000000001024/manifest.json: it is not what was written"));
    assert!(!again.exists());
    fs::write(&manifest, whole).unwrap();
    let message = PROGRAM.refused(2, &branched);
    assert!(message.contains("1024 sequences seen; to go on, train.sequences must be more (it is 1024)"), "{message}");
    let message = PROGRAM.refused(2, &["branch", run, "--at", "1000", "--out", out_text]);
    assert_eq!(message, format!("error: --at 1000: no such checkpoint in {run}; the nearest of 5 is at 1024"));
}

#[test]
fn weights_and_attributions_are_measured_on_request() {
    let home = tempfile::tempdir().unwrap();
    let run = run(&PROGRAM, home.path(), "weights", "name = \"a\"\n[measures]\nweights = true\nattribution = true\n");
    assert_eq!(rows(&run, "weights"), 5 * (3 * 64 + 2 * 16));
    let attribution = numbers(&run, "heads", "attribution");
    assert_eq!(attribution.len(), 5 * 4 * 16);
    assert!(attribution.iter().all(|value| value.is_finite() && *value != 0.0));
    let measured = texts(&run, "weights", "measure").into_iter().zip(numbers(&run, "weights", "value"));
    let composition: Vec<f64> = measured.filter(|(measure, _)| measure == "k_composition").map(|(_, value)| value).collect();
    assert!(composition.len() == 5 * 64 && composition.iter().all(|value| (0.0..1.0).contains(value)), "{composition:?}");
}
