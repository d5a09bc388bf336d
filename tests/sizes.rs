//! Counts that no machine has the memory for are refused with their key and size, before anything is allocated or written.

use optogen_tests::files::unlock;
use optogen_tests::program::{BASE, Program, runs};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const PROGRAM: Program = Program(env!("CARGO_BIN_EXE_optogen"));
const TOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/toy/tensor_product.toml");
const PUBLISHED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/published");

/// What the program says to some arguments and an output folder, in which nothing may be written; what the machine has is left out.
fn said(arguments: &[&str]) -> String {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    let message = PROGRAM.refused(2, &[arguments, &["--out", out.to_str().unwrap()]].concat());
    assert!(!out.exists(), "{message}: and yet something was written");
    let (message, rest) = message.split_once(", and ").unwrap_or_else(|| panic!("{message}: of no size"));
    assert!(rest.contains("memory") || rest.contains("ulimit"), "{rest}");
    message.to_owned()
}

/// What it says to a file with some keys set.
fn said_to(file: &str, sets: &[&str]) -> String {
    said(&[&["run", file], &sets.iter().flat_map(|set| ["--set", set]).collect::<Vec<_>>()[..]].concat())
}

#[test]
fn a_model_that_does_not_fit_is_refused_by_the_key_that_makes_it_large() {
    for (sets, key, what) in [
        (&["model.mlp_ratio=1e9"][..], "model.mlp_ratio", "the parameters of an MLP of 64000000000 hidden units take 33.0 TB"),
        (&["model.layers=4294967296"], "model.layers", "the parameters of 4294967296 layers take 285.9 TB"),
        (&["model.layers=18446744073709551615"], "model.layers", "the parameters of 18446744073709551615 layers take 1.2 YB"),
        (&["model.width=8000000"], "model.width", "the parameters of a layer of width 8000000 take 1.0 PB"),
        (&["model.outputs=1000000000000"], "model.outputs", "the parameters of 1000000000000 outputs take 516.0 TB"),
        (&["data.relabel={ labels = 1000000000000 }"], "data.relabel.labels", "the parameters of 1000000000000 outputs take 516.0 TB"),
        (
            &["data.bank=one_hot", "data.classes={ train = 4000000000000 }", "data.exemplars={ train = 1 }"],
            "data.classes",
            "the embeddings of 4000000000000 one-hot classes take 1.0 PB",
        ),
        (&["train.batch=1000000000000"], "train.batch", "the 1000000000000 sequences of a step, each with a context of 2, take 39.0 TB"),
        (
            &["data.mixture.0.context=1000000000000"],
            "data.mixture.0.context",
            "the 32 sequences of a step, each with a context of 1000000000000, take 416.0 TB",
        ),
    ] {
        let last = sets.iter().find(|set| set.starts_with(key) || key.starts_with(set.split_once('=').unwrap().0)).unwrap();
        assert_eq!(said_to(BASE, sets), format!("error: --set {last}: {key}: {what}"));
    }
}

#[test]
fn evaluators_that_do_not_fit_are_refused_where_they_stand() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("mine.toml");
    let text = fs::read_to_string(BASE).unwrap();
    let file = |line: &str, replacement: &str| {
        assert!(text.contains(line), "{line}");
        fs::write(&path, text.replacen(line, replacement, 1)).unwrap();
        said_to(path.to_str().unwrap(), &[]).replace(&format!("{}/", home.path().display()), "")
    };
    let place = |line: &str| text[..text.find(line).unwrap()].matches('\n').count() + 1;
    let line = "sequences = 1_000 ";
    assert_eq!(
        file(line, "sequences = 1_000_000_000_000 "),
        format!("error: mine.toml:{}:1: evaluation.sequences: 1000000000000 sequences for each of 4 evaluators take 284.0 TB", place(line))
    );
    let line = "name    = \"fsl_val_rl\"";
    assert_eq!(
        file(line, &format!("{line}\ncontext = 1_000_000_000_000")),
        format!("error: mine.toml:{}:1: evaluator.1.context: 1000 sequences with a context of 1000000000000 take 13.0 PB", place(line) + 1)
    );
    let line = "relabel   = { labels = 5, pairs = { train = 8, val = 2, test = 0 } }";
    let many = "relabel = { labels = 300_000_000 }";
    let changed = text.replacen(line, many, 1).replacen("heads     = 8\n", "heads     = 8\noutputs = 1_000_000\n", 1);
    fs::write(&path, changed).unwrap();
    let message = said_to(path.to_str().unwrap(), &["evaluator.1={ name = \"all\", exhaustive = true, relabel = \"all\" }"]);
    assert!(message.contains("evaluator.1.exhaustive: all 440999998530000000000 sequences of \"all\" take "), "{message}");
}

/// Noise, of as many numbers as the bank has features, and several runs are known only when the bank is.
#[test]
fn what_all_runs_take_is_held_against_memory_together() {
    let limited = |kilobytes: usize, sets: &[&str]| {
        let home = tempfile::tempdir().unwrap();
        let out = home.path().join("out").display().to_string();
        let output = under(kilobytes, &[&["run", BASE, "--quiet", "--threads", "2", "--out", &out], sets].concat());
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(!Path::new(&out).exists());
        message.replace(BASE, "BASE")
    };
    let message = limited(2_000_000, &["--set", "evaluation.sequences=1000000", "--set", "evaluator.0.noise=0.5"]);
    assert!(
        message.starts_with(
            "error: BASE: evaluation.sequences: the evaluators (6.4 GB), class banks (9.9 MB), parameters, gradients and optimiser (1.1 MB)"
        ) && message.contains(" of a run take 6.4 GB, and ")
            && message.contains("left of what ulimit -v allows"),
        "{message}"
    );
    let message = limited(400_000, &["--set", "evaluation.sequences=400000", "--grid", "seeds.init=10,11,12,13"]);
    let found = ["of 2 runs take 239.", "of 3 runs take 354.", "of 4 runs take 469."].iter().any(|taken| message.contains(taken));
    assert!(message.starts_with("error: BASE: evaluation.sequences: the ") && found, "{message}");

    let message = limited(2_000_000, &["--set", "evaluation.sequences=400000", "--set", "evaluation.write=true"]);
    let written =
        "evaluation.write: the evaluators (113.6 MB), class banks (9.9 MB), features that are written (9.8 GB) of a run take 10.0 GB, and ";
    assert!(message.starts_with(&format!("error: BASE: {written}")), "{message}");

    let hook = "hook=[{ table = \"attention\", site = \"pattern\" }]";
    let sets = ["evaluation.sequences=100000", "measures.hook_megabytes=1e9", hook];
    let message = limited(2_000_000, &sets.iter().flat_map(|set| ["--set", set]).collect::<Vec<_>>());
    assert!(message.starts_with("error: hook.0 (attention): the 160000000 rows of a look take 17.3 GB, and "), "{message}");
}

#[test]
fn a_grid_of_too_many_runs_is_refused() {
    let values = (0..1000).map(|value| value.to_string()).collect::<Vec<_>>().join(",");
    let grids: Vec<String> = ["seeds.init", "seeds.train", "seeds.eval", "data.noise"].map(|key| format!("{key}={values}")).into();
    let message = said(&[&["run", BASE], &grids.iter().flat_map(|grid| ["--grid", grid]).collect::<Vec<_>>()[..]].concat());
    assert!(message.starts_with(&format!("error: {BASE}: sweep.grid: the experiments of 1000000000000 runs take ")), "{message}");
}

#[test]
fn a_toy_model_that_does_not_fit_is_refused() {
    assert_eq!(
        said_to(TOY, &["toy.dimensions.c=9223372036854775808"]),
        "error: --set toy.dimensions.c=9223372036854775808: toy.dimensions.c: the vectors of 9223372036854775808 dimensions take 147.6 EB"
    );
}

/// However many counts are asked for, there are no more than steps.
#[test]
fn a_long_list_of_counts_is_no_longer_than_there_are_steps() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().to_str().unwrap();
    let sets = ["train.sequences=320", "evaluation.sequences=10", "checkpoint.logarithmic=1000000000000", "checkpoint.every="];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    PROGRAM.succeed(&[&["run", BASE, "--quiet", "--out", out], &sets[..]].concat());
    let checkpoints = optogen::checkpoint::list(&runs(home.path())[0].join("checkpoints")).unwrap();
    assert_eq!(checkpoints.len(), 11, "0, and one of each of ten steps");
    let message =
        said_to(BASE, &["evaluation.every=", "evaluation.logarithmic=1000000000000000000", "train.sequences=9000000000000000000"]);
    assert!(message.ends_with("evaluation.logarithmic: 281250000000000000 counts take 2.2 EB"), "{message}");
}

/// A dataset of which nothing is there but a header that says how large it is.
fn claim(path: &Path, name: &str, shape: &[usize]) {
    let file = hdf5::File::create(path).unwrap();
    file.new_dataset::<f32>().shape(shape).create(name).unwrap();
    file.close().unwrap();
    unlock(path);
}

#[test]
fn a_file_that_says_it_is_larger_than_memory_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("bank.h5");
    claim(&path, "feat", &[15_728_640, 1_000, 1_000]);
    assert!(fs::metadata(&path).unwrap().len() < 10_000);
    let bank = format!("data.bank={}", path.display());
    let message = said_to(BASE, &[&bank, "data.dataset=feat"]);
    let expected = "the values of dataset \"feat\" of shape [15728640, 1000, 1000] take 62.9 TB";
    assert_eq!(message, format!("error: {}: {expected}", path.display()));

    let vectors = home.path().join("vectors.h5");
    claim(&vectors, "true/a", &[15_728_640_000_000]);
    let sets = [format!("toy.vectors={}", vectors.display()), "toy.dimensions=".into(), "sweep=".into()];
    let message = said_to(TOY, &sets.each_ref().map(String::as_str));
    let expected = "the values of dataset \"true/a\" of shape [15728640000000] take 62.9 TB";
    assert_eq!(message, format!("error: {}: {expected}", vectors.display()));
}

#[test]
fn a_published_config_whose_model_does_not_fit_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("config.json");
    for (name, config, depth, size) in [
        ("induction", "induction.none", 4_294_967_296u64, "285.9 TB"),
        ("learned_positions", "learned_positions.no_prev_token_label", 2_147_483_648, "36.8 TB"),
    ] {
        let mut text = fs::read_to_string(format!("{PUBLISHED}/{config}.json")).unwrap();
        text = text.replacen("\"depth\": 2,", &format!("\"depth\": {depth},"), 1);
        assert!(text.contains(&depth.to_string()));
        fs::write(&path, text).unwrap();
        let [checkpoint, data] = ["eqx", "h5"].map(|kind| match kind {
            "eqx" => format!("{PUBLISHED}/{name}.eqx"),
            _ => format!("{PUBLISHED}/{name}_eval_data.h5"),
        });
        let config = path.to_str().unwrap();
        let message = said(&["import", "--config", config, "--checkpoint", &checkpoint, "--eval-data", &data]);
        assert_eq!(message, format!("error: {config}: depth: the parameters of {depth} layers take {size}"));
    }
}

/// Runs the program with an address space of so many kilobytes.
fn under(kilobytes: usize, arguments: &[&str]) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -c 0; ulimit -v {kilobytes}; exec \"$0\" \"$@\""), PROGRAM.0]).args(arguments);
    command.env("RUST_BACKTRACE", "1").output().expect("a shell")
}

/// However little memory there is, the program runs, or says how much it wanted.
#[test]
fn a_limit_of_memory_is_answered_with_what_was_wanted() {
    let home = tempfile::tempdir().unwrap();
    let (mut went, mut refused) = (0, 0);
    for megabytes in (40..300).step_by(6) {
        if !under(1000 * megabytes, &["--version"]).status.success() {
            continue;
        }
        let out = home.path().join(megabytes.to_string()).display().to_string();
        let sets = ["train.sequences=320", "evaluation.every=320", "evaluation.sequences=100", "checkpoint.every=320"];
        let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
        let output = under(1000 * megabytes, &[&["run", BASE, "--quiet", "--threads", "2", "--out", &out], &sets[..]].concat());
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!message.contains("panicked") && !message.contains("backtrace"), "{megabytes} MB: {message}");
        match output.status.code() {
            Some(0) => went += 1,
            code => {
                refused += 1;
                let said = ["memory", "ulimit", "there is no thread"].iter().any(|word| message.contains(word));
                assert!(matches!(code, Some(1 | 2 | 71 | 74)) && said, "{megabytes} MB: {code:?}, {message}");
            }
        }
    }
    assert!(went > 10 && refused > 0, "{went} runs went, {refused} were refused");
}
