//! Bad input is answered with its place, its key and what would be right, before anything is written.

use optogen_tests::program::{BASE, Program, runs};
use std::fs;
use std::path::Path;

const PROGRAM: Program = Program(env!("CARGO_BIN_EXE_optogen"));
const BANK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/omniglot_small.h5");

/// What the program says to an experiment file; nothing may be written.
fn said(file: &Path, more: &[&str]) -> String {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    let message = PROGRAM.refused(2, &[&["run", file.to_str().unwrap(), "--out", out.to_str().unwrap()], more].concat());
    assert!(!out.exists(), "{message}: and yet something was written");
    message
}

/// What it says to the base experiment with one line changed, and where in the changed file something stands.
fn said_to(line: &str, replacement: &str, fault: &str) -> (String, String) {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("mine.toml");
    let text = fs::read_to_string(BASE).unwrap();
    assert!(text.contains(line), "{line}");
    let text = text.replacen(line, replacement, 1);
    fs::write(&file, &text).unwrap();
    let before = &text[..text.find(fault).unwrap()];
    let place = format!("{}:{}", before.matches('\n').count() + 1, before.len() - before.rfind('\n').map_or(0, |end| end + 1) + 1);
    (said(&file, &[]).replace(&format!("{}/", home.path().display()), ""), place)
}

#[test]
fn mistakes_in_the_file_are_named_with_their_place() {
    for (line, replacement, fault, message) in [
        ("width     = 64", "widht     = 64", "widht", "error: mine.toml:PLACE: unknown key \"widht\" in [model]; did you mean \"width\"?"),
        (
            "width     = 64",
            "width     = \"64\"",
            "\"64\"",
            "error: mine.toml:PLACE: model.width: expected a whole number from 0 on, found the text \"64\"",
        ),
        (
            "heads     = 8",
            "heads     = 64",
            "heads     = 64",
            "error: mine.toml:PLACE: model.heads: rope rotates pairs of dimensions, and a width of 64 over 64 heads gives the odd head size 1",
        ),
        (
            "test = 100",
            "test = 101",
            "test",
            "error: data.classes: train 50 + val 1786 + test 101 = 1937, but data/omniglot_small.h5 holds 1936 classes",
        ),
        (
            "train = 50, val = 1786",
            "train = 1, val = 1835",
            "[[data.mixture]]",
            "error: mine.toml:PLACE: data.mixture.0: the query and the distractor need 2 different classes, and data.classes has 1 (train)",
        ),
        (
            "[[evaluator]]\nname    = \"fsl_train\"",
            "[[evaluator]]\nname    = \"fsl_train\"\nunique = true\ncontext = 200",
            "unique = true",
            "error: mine.toml:PLACE: evaluator.0.unique: the query, the distractor and 198 other items of the context need 200 different \
             classes, and data.classes has 50 (train)",
        ),
        ("[data]", "[data", "\n# Without", "error: mine.toml:PLACE: this is not TOML: unclosed table, expected `]`"),
    ] {
        let (said, place) = said_to(line, replacement, fault);
        assert_eq!(said, message.replace("PLACE", &place));
    }
}

#[test]
fn files_that_are_not_there_or_damaged_are_named() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name).display().to_string();
    let base = Path::new(BASE);
    assert_eq!(said(&home.path().join("none.toml"), &[]), format!("error: {}: No such file or directory (os error 2)", at("none.toml")));
    let bank = |path: &str| said(base, &["--set", &format!("data.bank={path}")]);
    assert_eq!(bank(&at("none.h5")), format!("error: data.bank: no file {}", at("none.h5")));
    fs::write(at("text.h5"), "not HDF5 at all").unwrap();
    assert!(bank(&at("text.h5")).starts_with(&format!("error: {}: not a readable HDF5 file: ", at("text.h5"))));
    let whole = fs::read(BANK).unwrap();
    fs::write(at("half.h5"), &whole[..whole.len() / 2]).unwrap();
    let message = bank(&at("half.h5"));
    assert!(
        message.starts_with(&format!("error: {}: not a readable HDF5 file: ", at("half.h5"))) && message.contains("truncated"),
        "{message}"
    );
    let message = said(base, &["--set", &format!("data.bank={BANK}"), "--set", "data.dataset=efficientnet/224/feat"]);
    assert_eq!(
        message,
        format!(
            "error: {BANK}: dataset \"efficientnet/224/feat\" is not there; did you mean \"efficientnet_lite0/224/feat\"?; \
             there are: \"class_names\" [1936], \"efficientnet_lite0/224/feat\" [1936, 5, 512]"
        )
    );
    let message = said(base, &["--set", &format!("evaluator.0={{ name = \"mine\", file = \"{BANK}\" }}")]);
    assert!(message.starts_with(&format!("error: {BANK}: no evaluator \"mine\"")), "{message}");
}

#[test]
fn mistakes_on_the_command_line_are_named() {
    let base = Path::new(BASE);
    assert_eq!(
        said(base, &["--set", "model.widht=3"]),
        "error: --set model.widht=3: unknown key \"widht\" in [model]; did you mean \"width\"?"
    );
    let message = said(base, &["--device", "cuda:77"]);
    if candle_core::utils::cuda_is_available() {
        assert!(message.starts_with("error: --device cuda:77: there is no such GPU: "), "{message}");
    } else {
        let rebuild = "`make cuda` builds target/cuda/release/optogen, which computes on GPUs";
        assert_eq!(message, format!("error: --device cuda:77: this program was built for the CPU alone; {rebuild}"));
    }
    assert_eq!(said(base, &["--device", "gpu"]), "error: --device gpu: neither auto nor cpu nor cuda:N");
    assert!(said(base, &["--thread", "2"]).contains("a similar argument exists: '--threads'"));
    assert!(said(base, &["--threads", "0"]).contains("0 is not in 1..=1024"));
    assert_eq!(
        said(base, &["--grid", "seeds.init=5,5"]).replace(BASE, "BASE").split(" (").next().unwrap(),
        "error: BASE: the sweep asks for the same run twice"
    );
    assert_eq!(
        said(base, &["--grid", "seeds.init=5,6", "--grid", "seeds.init=7"]),
        "error: --grid seeds.init=7: seeds.init is swept over twice; give all its values in one: --grid seeds.init=5,6,7"
    );
    let site = |name: &str| said(base, &["--set", &format!("hook=[{{ table = \"t\", site = \"{name}\", layers = [0] }}]")]);
    assert!(site("blocks.1.attn.hook_v").contains("hook.0.site: \"blocks.1.attn.hook_v\" is in layer 1, and layers beside it says [0]"));
    let message = site("blocks.0.hook_v");
    assert!(message.contains("there is no site \"blocks.0.hook_v\"; did you mean \"attn.hook_v\"?"), "{message}");
    let home = tempfile::tempdir().unwrap();
    let (empty, out) = (home.path().display().to_string(), home.path().join("out"));
    assert_eq!(
        PROGRAM.refused(2, &["replay", &empty, "--out", out.to_str().unwrap()]),
        format!("error: {empty}: neither a run folder nor a folder that holds some (run=ID/experiment.toml)")
    );
    assert!(!out.exists());
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file").display().to_string();
    fs::write(&file, "").unwrap();
    let message = PROGRAM.refused(2, &["run", BASE, "--out", &file]);
    assert!(
        message.starts_with(&format!("error: {file}/run=induction-base-")) && message.ends_with("Not a directory (os error 20)"),
        "{message}"
    );
}

/// A short run with some more arguments.
fn short<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let sets = ["--set", "train.sequences=64", "--set", "evaluation.sequences=10", "--set", "evaluation.every=64"];
    [&["run", BASE, "--out", out, "--quiet"], &sets[..], more].concat()
}

#[test]
fn a_run_folder_has_one_writer_and_is_not_overwritten() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().to_str().unwrap();
    let mut first = PROGRAM.start(&["run", BASE, "--out", out, "--quiet"]);
    while runs_now(home.path()).first().is_none_or(|run| !run.join("train.parquet").exists()) {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let run = runs(home.path())[0].display().to_string();
    let message = PROGRAM.refused(2, &["run", BASE, "--out", out, "--resume"]);
    assert_eq!(message, format!("error: {run}: in use by another process (it holds the lock); stop that one, or choose another --out"));
    first.kill().unwrap();
    first.wait().unwrap();
    let message = PROGRAM.refused(2, &["run", BASE, "--out", out]);
    assert_eq!(message, format!("error: {run}: a run is there already; go on with --resume, or choose another --out"));
}

fn runs_now(out: &Path) -> Vec<std::path::PathBuf> {
    if out.exists() { runs(out) } else { Vec::new() }
}

#[test]
fn a_folder_of_another_model_is_not_taken_for_the_run() {
    let home = tempfile::tempdir().unwrap();
    let [wide, narrow] = ["wide", "narrow"].map(|name| home.path().join(name).display().to_string());
    PROGRAM.succeed(&short(&wide, &[]));
    PROGRAM.succeed(&short(&narrow, &["--set", "model.width=32"]));
    let (wide_run, narrow_run) = (&runs(wide.as_ref())[0], &runs(narrow.as_ref())[0]);
    fs::remove_dir_all(narrow_run).unwrap();
    fs::rename(wide_run, narrow_run).unwrap();
    fs::remove_file(narrow_run.join("run.parquet")).unwrap();
    // Nothing in the folder is this run's, and it is made anew.
    let output = PROGRAM.run(&short(&narrow, &["--set", "model.width=32", "--resume"]));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("/train.parquet: it has rows of the run induction-base-"), "{said}");
    assert!(said.contains("/checkpoints/at-000000000064: a checkpoint of the run induction-base-"), "{said}");
    assert!(said.lines().all(|line| line.contains("; it was set aside as ")), "{said}");
    let (_, last) = optogen::checkpoint::list(&narrow_run.join("checkpoints")).unwrap().pop().unwrap();
    let checkpoint = optogen::checkpoint::Checkpoint::read(&last).unwrap();
    assert_eq!(checkpoint.parameters[0].1.dims(), [32, 512]);
}
