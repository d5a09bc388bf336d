//! A run is known by what it reads, wherever that lies; and what was done to a model stays true of it afterwards.

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::Schema;
use optogen::checkpoint::Checkpoint;
use optogen::log::{read_run_status, read_table, write_parquet};
use optogen_tests::files::{bank, copy_folder, experiment};
use optogen_tests::program::{Program, contents, final_weights, numbers, runs};
use optogen_tests::small::texts;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const PROGRAM: Program = Program(env!("CARGO_BIN_EXE_optogen"));

/// A home with `exp/small.toml` and its bank.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        experiment(&home.at("exp"), "small", "");
        bank(&home.at("exp/bank.h5"), 1, false);
        home
    }

    /// Without links in it, as the program remembers it.
    fn root(&self) -> PathBuf {
        self.0.path().canonicalize().unwrap()
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    /// Runs the program in a folder of it; returns the exit code and what it said.
    fn said(&self, folder: &str, arguments: &[&str]) -> (Option<i32>, String) {
        let output = PROGRAM.run_in(&self.at(folder), arguments);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).trim_end().replace(&format!("{}/", self.root().display()), "~/"))
    }

    fn succeed(&self, folder: &str, arguments: &[&str]) -> String {
        let (code, said) = self.said(folder, arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
        said
    }

    /// The refusal of the program, started at home, which must write nothing to `nothing`.
    fn refused(&self, arguments: &[&str]) -> String {
        let (code, said) = self.said("", &[arguments, &["--out", "nothing"]].concat());
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert!(!self.at("nothing").exists(), "{arguments:?}: something was written");
        said
    }

    /// The only run in a folder.
    fn run(&self, out: &str) -> PathBuf {
        let mut all = runs(&self.at(out));
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }
}

fn run_id(run: &Path) -> String {
    run.file_name().unwrap().to_str().unwrap().strip_prefix("run=").unwrap().to_owned()
}

/// Writes a run's row anew, with another text in a column, or without it.
fn rewrite(run: &Path, name: &str, value: Option<&str>) {
    let path = run.join("run.parquet");
    let batch = read_table(&path).unwrap().remove(0);
    let (mut fields, mut columns) = (Vec::new(), Vec::<ArrayRef>::new());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        match value {
            _ if field.name() != name => columns.push(column.clone()),
            Some(value) => columns.push(Arc::new(StringArray::from(vec![value]))),
            None => continue,
        }
        fields.push(field.clone());
    }
    let marked = HashMap::from([("optogen".to_owned(), "run/1".to_owned())]);
    let schema = Arc::new(Schema::new_with_metadata(fields, marked));
    write_parquet(&path, &schema, &[RecordBatch::try_new(schema.clone(), columns).unwrap()]).unwrap();
}

#[test]
fn one_experiment_is_one_run_however_it_is_spelled() {
    let home = Home::new();
    home.succeed("", &["run", "exp/small.toml", "--out", "runs", "--quiet"]);
    let run = home.run("runs");
    let written = fs::metadata(run.join("run.parquet")).unwrap().modified().unwrap();
    let (file, out, own) = (home.at("exp/small.toml"), home.at("runs"), run.join("experiment.toml"));
    let (file, out, own) = (file.to_str().unwrap(), out.to_str().unwrap(), own.to_str().unwrap());
    for (folder, file) in [("exp", "small.toml"), ("runs", file), ("", "./exp/../exp/small.toml"), ("exp", own)] {
        let said = home.succeed(folder, &["run", file, "--out", out, "--resume", "--quiet"]);
        assert_eq!(said, "", "{file}: it is only shown");
    }
    // Another file with the same numbers, packed in another way.
    fs::create_dir(home.at("other")).unwrap();
    bank(&home.at("other/packed.h5"), 1, true);
    home.succeed("", &["run", file, "--set", "data.bank=other/packed.h5", "--out", out, "--resume", "--quiet"]);
    assert_eq!(home.run("runs"), run);
    assert_eq!(fs::metadata(run.join("run.parquet")).unwrap().modified().unwrap(), written);

    let inputs = read_run_status(&run.join("run.parquet")).unwrap().inputs.unwrap();
    assert_eq!((inputs.len(), inputs[0].key.as_str(), &inputs[0].path), (1, "data.bank", &home.at("exp/bank.h5")));
    assert_eq!(inputs[0].sha256.as_ref().unwrap().len(), 64);
    assert_eq!(texts(&run, "run", "data.bank"), [home.at("exp/bank.h5").to_str().unwrap()]);
    let message = home.refused(&["run", file, "--grid", "data.bank=other/packed.h5,exp/bank.h5"]);
    assert_eq!(message, format!("error: the sweep asks for the same run twice ({}): all that it reads is the same", run_id(&run)));
}

#[test]
fn a_moved_bank_is_found_and_a_replaced_one_is_not_taken_for_it() {
    let home = Home::new();
    home.succeed("", &["run", "exp/small.toml", "--out", "runs", "--quiet"]);
    let run = home.run("runs");
    let (own, file) = (run.to_str().unwrap(), run.join("experiment.toml"));
    let replay = |out: &str, more: &[&str]| {
        home.succeed("exp", &[&["replay", own, "--out", home.at(out).to_str().unwrap(), "--quiet"], more].concat());
        assert_eq!(contents(&home.run(out), "eval"), contents(&run, "eval"), "{out}");
    };
    replay("again", &[]);

    fs::create_dir_all(home.at("kept/exp")).unwrap();
    fs::rename(home.at("exp/bank.h5"), home.at("kept/exp/bank.h5")).unwrap();
    let replays = ["replay", own];
    assert!(home.refused(&replays).contains("~/exp/bank.h5: not there"));
    // Other numbers lie where it was, and where it is looked for first.
    bank(&home.at("exp/bank.h5"), 2, false);
    for arguments in [&replays[..], &["branch", own, "--at", "320"], &["run", file.to_str().unwrap()]] {
        let message = home.refused(arguments);
        assert!(
            message.starts_with("error: data.bank: no file ~/exp/bank.h5 that holds what it held when it was read (sha256 "),
            "{message}"
        );
        assert!(message.contains("\n  ~/exp/bank.h5: holds something else (sha256 "), "{message}");
        assert!(message.ends_with("\n--data DIR looks in one more folder"), "{message}");
    }
    assert_eq!(home.refused(&["replay", own, "--data", "nowhere"]), "error: --data nowhere: there is no such folder");
    let kept = home.at("kept");
    let kept = kept.to_str().unwrap();
    replay("from_data", &["--data", home.at("exp").to_str().unwrap(), "--data", kept]);
    home.succeed("", &["branch", own, "--at", "320", "--out", "branch", "--quiet", "--data", "kept/exp"]);
    assert_eq!(final_weights(&home.run("branch")), final_weights(&run));
    let worst = ["plot", own, "--view", "worst", "--worst", "3", "--out", "plots"];
    let (code, said) = home.said("", &worst);
    assert!(code == Some(2) && said.starts_with("error: data.bank: no file ~/exp/bank.h5 that holds"), "{said}");
    home.succeed("", &[&worst[..], &["--data", "kept"]].concat());
    let (_, said) = home.said("", &["plot", own, "--view", "curves", "--out", "plots", "--data", "kept"]);
    assert!(said.starts_with("error: --data says nothing in the view curves"), "{said}");
    for beside in [home.at("runs/bank.h5"), run.join("bank.h5")] {
        fs::copy(home.at("kept/exp/bank.h5"), &beside).unwrap();
        replay(&format!("beside_{}", beside.components().count()), &[]);
        fs::remove_file(&beside).unwrap();
    }
    // For the experiment file it is another run.
    home.succeed("", &["run", "exp/small.toml", "--out", "runs", "--quiet"]);
    assert_eq!(runs(&home.at("runs")).len(), 2);
}

#[test]
fn what_cannot_be_resumed_is_told_with_its_differences() {
    let home = Home::new();
    let begin = |more: &[&str]| home.said("", &[&["run", "exp/small.toml", "--out", "runs", "--resume"], more].concat()).1;
    assert_eq!(begin(&["--quiet"]), "", "nothing else is there");
    let first = home.run("runs");
    rewrite(&first, "status", Some("interrupted"));
    let said = begin(&["--quiet", "--set", "train.sequences=960"]);
    let (first, second) = (run_id(&first), runs(&home.at("runs")).into_iter().find(|run| *run != first).map(|run| run_id(&run)).unwrap());
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], format!("--resume: nothing to go on with in runs; {second} begins"));
    let differs = "it differs in train.sequences (640 there, 960 here)";
    assert_eq!(lines[1..], [format!("  {first} is there, interrupted after 640 sequences; {differs}")]);
    bank(&home.at("exp/bank.h5"), 2, false);
    let said = begin(&["--quiet"]);
    assert!(said.contains(&format!("  {first} is there, interrupted after 640 sequences; it differs in data.bank (sha256 ")), "{said}");
    assert_eq!(said.matches("sha256").count(), 2, "{said}");
    let other = home.said("", &["run", "exp/small.toml", "--out", "elsewhere", "--resume"]).1;
    assert!(other.starts_with("--resume: nothing to go on with in elsewhere; small-"), "{other}");
}

#[test]
fn a_branch_goes_on_without_its_parent() {
    let home = Home::new();
    home.succeed("", &["run", "exp/small.toml", "--out", "runs", "--quiet"]);
    let parent = home.run("runs");
    home.succeed("", &["branch", parent.to_str().unwrap(), "--at", "320", "--out", "branches", "--quiet"]);
    let branch = home.run("branches");
    let whole = final_weights(&branch);
    // As if it had been interrupted after its first checkpoint.
    fs::remove_dir_all(branch.join("checkpoints/at-000000000640")).unwrap();
    fs::remove_dir_all(branch.join("recovery")).ok();
    rewrite(&branch, "status", Some("interrupted"));
    let own = branch.join("checkpoints/at-000000000320");
    assert!(own.is_dir());
    fs::rename(&parent, home.at("moved")).unwrap();
    let file = branch.join("experiment.toml");
    let again = ["run", file.to_str().unwrap(), "--out", "branches", "--resume", "--quiet"];
    home.succeed("", &again);
    assert_eq!((home.run("branches"), final_weights(&branch)), (branch.clone(), whole.clone()));
    // Without a checkpoint of its own it needs it, wherever that lies now.
    let message = home.refused(&["run", file.to_str().unwrap()]);
    let place = "checkpoints/at-000000000320 that holds what it held when it was read (sha256 ";
    assert!(message.contains("error: parent.checkpoint: no checkpoint folder ~/runs/") && message.contains(place), "{message}");
    fs::create_dir(home.at("old")).unwrap();
    fs::rename(home.at("moved"), home.at("old").join(parent.file_name().unwrap())).unwrap();
    home.succeed("", &["run", file.to_str().unwrap(), "--out", "anew", "--data", "old", "--quiet"]);
    assert_eq!((run_id(&home.run("anew")), final_weights(&home.run("anew"))), (run_id(&branch), whole));
}

/// Whatever says how a model came to be.
#[test]
fn a_replay_changes_nothing_of_what_was_trained() {
    let home = Home::new();
    home.succeed("", &["run", "exp/small.toml", "--out", "runs", "--quiet"]);
    let run = home.run("runs");
    let own = run.to_str().unwrap();
    for (key, value, has, asked) in [
        ("model.heads", "4", "2", "4"),
        ("model.layers", "1", "2", "1"),
        ("model.causal", "false", "true", "false"),
        ("model.time", "5", "10000.0", "5.0"),
        ("model.positions", "sinusoidal", "\"rope\"", "\"sinusoidal\""),
        ("model.norms", "false", "true", "false"),
        ("model.outputs", "7", "nothing", "7"),
        ("model.init_rescale", "2", "1.0", "2.0"),
        ("train.sequences", "5", "640", "5"),
        ("train.batch", "64", "32", "64"),
        ("train.optimiser.rate", "1", "0.001", "1.0"),
        ("train.weight_decay", "0.5", "0.0", "0.5"),
        ("seeds.init", "9", "5", "9"),
        ("seeds.train", "9", "0", "9"),
        ("checkpoint.every", "32", "320", "32"),
        ("checkpoint.recovery_seconds", "5", "60.0", "5.0"),
        ("evaluation.every", "32", "320", "32"),
        ("evaluation.write", "true", "false", "true"),
        ("data.noise", "0.5", "0.0", "0.5"),
        ("data.zipf", "1", "0.0", "1.0"),
        ("data.dataset", "eat", "\"feat\"", "\"eat\""),
        ("data.classes.train", "5", "6", "5"),
        ("data.mixture.0.weight", "2", "1.0", "2.0"),
        ("data.bank", "one_hot", &format!("{:?}", home.at("exp/bank.h5")), "\"one_hot\""),
        ("parent", "{ checkpoint = \"x\" }", "nothing", "\"x\""),
    ] {
        let message =
            home.refused(&["replay", own, "--set", &format!("{key}={value}")]).replace("~/", &format!("{}/", home.root().display()));
        let key = if key == "parent" { "parent.checkpoint" } else { key };
        assert!(message.starts_with(&format!("error: {key}: the run has {has}, not {asked}; ")), "{message}");
        assert!(message.contains(&format!("({}): of its experiment only name, intervention, ", run_id(&run))), "{message}");
    }
    let with = home.at("with.toml");
    fs::write(&with, "[model]\ncausal = false\n[train]\nbatch = 64\n").unwrap();
    let message = home.refused(&["replay", own, "--with", with.to_str().unwrap()]);
    assert!(message.contains("model.causal: the run has true, not false; train.batch: the run has 32, not 64; "), "{message}");

    // What is evaluated may be another.
    fs::write(&with, "[[intervention]]\nsite = \"v\"\nlayers = [1]\naction = \"zero\"\n[measures]\nweights = true\n").unwrap();
    bank(&home.at("exp/copy.h5"), 1, true);
    for set in [
        "name=other",
        "seeds.eval=9",
        "evaluation.sequences=20",
        "evaluation.examples=false",
        "evaluator.own.classes=test",
        "data.bank=copy.h5",
        "train.batch=32",
    ] {
        let out = set.replace(['.', '='], "_");
        let arguments = ["replay", own, "--with", with.to_str().unwrap(), "--set", set, "--quiet", "--out"];
        home.succeed("exp", &[&arguments[..], &[home.at(&out).to_str().unwrap()]].concat());
        assert_eq!(numbers(&home.run(&out), "eval", "sequences", None), [0.0, 320.0, 640.0]);
    }
    bank(&home.at("exp/copy.h5"), 2, true);
    let message = home.refused(&["replay", own, "--set", &format!("data.bank={}", home.at("exp/copy.h5").display())]);
    assert!(message.contains("data.bank: no file ~/exp/copy.h5 that holds what it held when it was read"), "{message}");
}

#[test]
fn a_branch_changes_nothing_of_the_model() {
    let home = Home::new();
    home.succeed("", &["run", "exp/small.toml", "--out", "runs", "--quiet"]);
    let run = home.run("runs");
    let branch = ["branch", run.to_str().unwrap(), "--at", "320", "--set"];
    for set in ["model.causal=false", "model.time=5", "model.positions=sinusoidal", "model.heads=4", "model.init_rescale=2", "seeds.init=9"]
    {
        let message = home.refused(&[&branch[..], &[set]].concat());
        let key = set.split('=').next().unwrap();
        assert!(
            message.starts_with(&format!("error: {key}: the run has ")) && message.contains("a branch goes on with the model"),
            "{message}"
        );
    }
    let message = home.refused(&[&branch[..], &["data.relabel.labels=6"]].concat());
    assert!(message.contains("its checkpoint is of another model"), "{message}");
    for set in ["train.optimiser.rate=1e-2", "seeds.train=9", "train.sequences=960"] {
        home.succeed("", &[&branch[..], &[set, "--out", "branches", "--quiet"]].concat());
    }
    assert_eq!(runs(&home.at("branches")).len(), 3);
    let row = |name: &str| texts(&runs(&home.at("branches"))[0], "run", name).remove(0);
    assert_eq!(row("parent.run_id"), run_id(&run));
}

#[test]
fn a_replay_s_row_names_what_was_replayed() {
    let home = Home::new();
    home.succeed("", &["run", "exp/small.toml", "--out", "runs", "--quiet"]);
    let run = home.run("runs");
    let replay = |more: &[&str]| {
        home.succeed("", &[&["replay", run.to_str().unwrap(), "--set", "name=again", "--out", "again", "--quiet"], more].concat());
        let row = read_run_status(&home.run("again").join("run.parquet")).unwrap();
        (texts(&home.run("again"), "run", "source_run"), row.checkpoints.unwrap().into_iter().collect::<Vec<_>>())
    };
    let sha256 = |at: u64| (at, Checkpoint::sha256(&run.join(format!("checkpoints/at-{at:012}"))).unwrap());
    assert_eq!(replay(&["--spread", "1"]), (vec![run_id(&run)], vec![sha256(640)]));
    // More checkpoints are more to do.
    assert_eq!(replay(&["--resume"]), (vec![run_id(&run)], vec![sha256(0), sha256(320), sha256(640)]));
    let written = || fs::metadata(home.run("again").join("run.parquet")).unwrap().modified().unwrap();
    let before = written();
    replay(&["--resume"]);
    assert_eq!(written(), before);
    let own = read_run_status(&run.join("run.parquet")).unwrap();
    assert_eq!((own.checkpoints, texts(&run, "run", "source_run")), (None, vec![String::new()]));
    let names =
        |run: &Path| read_table(&run.join("run.parquet")).unwrap()[0].schema().fields().iter().map(|one| one.name().clone()).collect();
    let (own, again): (Vec<String>, Vec<String>) = (names(&run), names(&home.run("again")));
    assert_eq!(own, again);
}

#[test]
fn files_of_sequences_and_donors_are_known_by_what_they_hold() {
    let home = Home::new();
    let write = ["--set", "evaluation.write=true", "--set", "name=donor", "--quiet"];
    home.succeed("", &[&["run", "exp/small.toml", "--out", "donors"], &write[..]].concat());
    home.succeed(
        "",
        &[&["run", "exp/small.toml", "--set", "seeds.init=9", "--set", "seeds.eval=7", "--out", "others"], &write[..]].concat(),
    );
    let (donor, other) = (home.run("donors"), home.run("others"));
    fs::copy(donor.join("evaluation.h5"), home.at("exp/sequences.h5")).unwrap();
    let graft =
        "[[intervention]]\nsite = \"resid_post\"\nlayers = [0]\naction = { copy = { pass = \"other\" } }\n[[pass]]\nname = \"other\"\n";
    let file = experiment(&home.at("exp"), "graft", &format!("{graft}donor = \"../finished\"\n"));
    let text = fs::read_to_string(&file).unwrap().replace("name = \"own\"\n", "name = \"own\"\nfile = \"sequences.h5\"\n");
    fs::write(&file, text).unwrap();
    std::os::unix::fs::symlink(&donor, home.at("finished")).unwrap();

    home.succeed("", &["run", "exp/graft.toml", "--out", "runs", "--quiet"]);
    let run = home.run("runs");
    assert_eq!(home.succeed("exp", &["run", "graft.toml", "--out", "../runs", "--resume", "--quiet"]), "");
    let set = format!("pass.other.donor={}", donor.join("checkpoints/at-000000000640").display());
    home.succeed("exp", &["run", "graft.toml", "--set", &set, "--out", "../runs", "--resume", "--quiet"]);
    assert_eq!(home.run("runs"), run, "the folder of a run is its last checkpoint");
    let inputs = read_run_status(&run.join("run.parquet")).unwrap().inputs.unwrap();
    let keys: Vec<&str> = inputs.iter().map(|input| input.key.as_str()).collect();
    assert_eq!(keys, ["data.bank", "evaluator.own.file", "pass.other.donor"]);
    assert_eq!(inputs[2].sha256, Some(Checkpoint::sha256(&donor.join("checkpoints/at-000000000640")).unwrap()));

    let replay = ["replay", run.to_str().unwrap()];
    fs::copy(other.join("evaluation.h5"), home.at("exp/sequences.h5")).unwrap();
    assert!(home.refused(&replay).contains("evaluator.own.file: no file ~/exp/sequences.h5 that holds what it held"));
    fs::copy(donor.join("evaluation.h5"), home.at("exp/sequences.h5")).unwrap();
    let last = donor.join("checkpoints/at-000000000640");
    fs::remove_dir_all(&last).unwrap();
    let (code, said) = home.said("", &["run", "exp/graft.toml", "--set", "seeds.init=8", "--out", "elsewhere", "--quiet"]);
    assert!(code == Some(2) && said.contains("it was finished after 640 sequences, and that checkpoint is gone"), "{said}");
    copy_folder(&other.join("checkpoints/at-000000000640"), &last);
    let message = home.refused(&replay);
    assert!(message.contains("pass.other.donor: no checkpoint folder ~/donors/run="), "{message}");
    assert!(message.contains("at-000000000640: holds something else (sha256 "), "{message}");
    let (code, said) = home.said("", &["run", "exp/graft.toml", "--out", "runs", "--quiet"]);
    assert!(code == Some(74) && said.contains("at-000000000640: a checkpoint of the run donor-"), "{said}");
    let set = format!("pass.other.donor={}", other.display());
    home.succeed("", &["run", "exp/graft.toml", "--set", &set, "--out", "runs", "--quiet"]);
    assert_eq!(runs(&home.at("runs")).len(), 2, "another donor makes another run");
}

#[test]
fn vectors_of_a_toy_model_are_known_by_their_numbers() {
    let home = Home::new();
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/toy.h5"), home.at("exp/toy.h5")).unwrap();
    let text = "name = \"t\"\n[toy]\nkind = \"tensor_product\"\nsteps = 10\nvectors = \"toy.h5\"\ngroup = \"tensor_product_seed1\"\n";
    fs::write(home.at("exp/toy.toml"), text).unwrap();
    home.succeed("", &["run", "exp/toy.toml", "--out", "runs", "--quiet"]);
    let run = home.run("runs");
    for (folder, file) in [("exp", "toy.toml"), ("runs", "../exp/toy.toml"), ("runs", run.join("experiment.toml").to_str().unwrap())] {
        let out = home.at("runs");
        home.succeed(folder, &["run", file, "--out", out.to_str().unwrap(), "--resume", "--quiet"]);
        assert_eq!(home.run("runs"), run, "{file}");
    }
    fs::create_dir(home.at("kept")).unwrap();
    fs::rename(home.at("exp/toy.h5"), home.at("kept/toy.h5")).unwrap();
    assert!(home.refused(&["run", "exp/toy.toml"]).starts_with("error: toy.vectors: no file toy.h5; looked at\n  ~/exp/toy.h5: not there"));
    home.succeed("", &["run", "exp/toy.toml", "--data", "kept", "--out", "runs", "--resume", "--quiet"]);
    assert_eq!(home.run("runs"), run);
}

/// The bank inside the program, and the file that it is made of, are one.
#[test]
fn the_embedded_bank_is_the_same_as_its_file() {
    let home = Home::new();
    let base = optogen_tests::program::BASE;
    let short = ["--scale", "smoke", "--set", "data.bank=data/omniglot_small.h5", "--out", "runs", "--quiet"];
    home.succeed("", &[&["run", base], &short[..]].concat());
    let run = home.run("runs");
    fs::create_dir(home.at("data")).unwrap();
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/../data/omniglot_small.h5"), home.at("data/omniglot_small.h5")).unwrap();
    assert_eq!(home.succeed("", &[&["run", base], &short[..], &["--resume"]].concat()), "");
    assert_eq!(home.run("runs"), run);
    // Another file of that name is not it.
    bank(&home.at("data/omniglot_small.h5"), 1, false);
    home.succeed("", &["replay", run.to_str().unwrap(), "--spread", "1", "--out", "again", "--quiet"]);
}
