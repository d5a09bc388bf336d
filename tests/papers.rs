//! The papers' experiment files: each does what its header says, at the scale of a test, and the analyses agree with each other.

use arrow::array::{Array, Float64Array};
use optogen::experiment::{Changes, load, parse};
use optogen::log::read_table;
use optogen_tests::program::{Program, contents, runs};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

const PROGRAM: Program = Program(env!("CARGO_BIN_EXE_optogen"));
const EXPERIMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../experiments");

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The experiment files in the folders of `experiments/`; parts, which are no experiments by themselves, left out.
fn experiment_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::from(EXPERIMENTS)];
    while let Some(folder) = folders.pop() {
        for path in runs(&folder) {
            if path.is_dir() && !path.ends_with("parts") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "toml") && folder != Path::new(EXPERIMENTS) {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// The smoke runs of a home, each made when it is first asked for.
struct Smoke {
    home: tempfile::TempDir,
}

impl Smoke {
    fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    fn out(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The folder of the runs of an experiment file of the induction heads.
    fn run(&self, name: &str) -> PathBuf {
        self.run_file(&PathBuf::from(format!("{EXPERIMENTS}/induction/{name}.toml")))
    }

    fn run_file(&self, file: &Path) -> PathBuf {
        let out = self.out(file.file_stem().unwrap().to_str().unwrap());
        if !out.exists() {
            let donor = std::fs::read_to_string(file).unwrap().contains("donor = \"RUN\"");
            let donor = donor.then(|| format!("pass.finished.donor={}", runs(&self.run("main"))[0].display()));
            let mut arguments = vec!["run", text(file), "--scale", "smoke", "--out", text(&out), "--quiet"];
            arguments.extend(donor.iter().flat_map(|set| ["--set", set]));
            PROGRAM.succeed(&arguments);
        }
        out
    }

    /// Replays of the runs that a file's header names.
    fn replay(&self, file: &Path, more: &[&str]) -> PathBuf {
        let header = std::fs::read_to_string(file).unwrap();
        let of = header.split("optogen replay runs/paper/").nth(1).and_then(|rest| rest.split_whitespace().next());
        let of = self.run(of.unwrap_or_else(|| panic!("{}: no command in its header", file.display())));
        let out = self.out(file.file_stem().unwrap().to_str().unwrap());
        let arguments = ["replay", text(&of), "--with", text(file), "--scale", "smoke", "--out", text(&out), "--quiet"];
        PROGRAM.succeed(&[&arguments, more].concat());
        out
    }

    fn replay_named(&self, name: &str, more: &[&str]) -> PathBuf {
        self.replay(&PathBuf::from(format!("{EXPERIMENTS}/induction/replays/{name}.toml")), more)
    }
}

/// The values of a metric of a run or replay, in the order of its rows.
fn values(run: &Path, table: &str, column: &str) -> Vec<f64> {
    let batches = read_table(&run.join(format!("{table}.parquet"))).unwrap();
    let of = |batch: &arrow::array::RecordBatch| {
        let column = batch.column_by_name(column).unwrap();
        column.as_any().downcast_ref::<Float64Array>().unwrap().iter().map(Option::unwrap).collect::<Vec<_>>()
    };
    batches.iter().flat_map(of).collect()
}

/// Each variant of a replay by what `key` says of its experiment, with the last accuracy and loss on all sequences.
fn by<K: std::hash::Hash + Eq>(out: &Path, key: impl Fn(&optogen::experiment::Experiment) -> K) -> HashMap<K, (f64, f64)> {
    let one = |run: PathBuf| {
        let experiment = parse(&std::fs::read_to_string(run.join("experiment.toml")).unwrap(), "experiment.toml").unwrap();
        let last = |column: &str| *values(&run, "eval", column).last().unwrap();
        (key(&experiment), (last("acc"), last("loss")))
    };
    runs(out).into_iter().map(one).collect()
}

#[test]
fn every_experiment_file_runs_at_smoke_scale() {
    let smoke = Smoke::new();
    let files = experiment_files();
    assert!(files.len() > 30, "{}", files.len());
    for file in files {
        let out = match file.parent().is_some_and(|folder| folder.ends_with("replays")) {
            true => smoke.replay(&file, &[]),
            false => smoke.run_file(&file),
        };
        assert!(!runs(&out).is_empty(), "{}", file.display());
    }
}

#[test]
fn every_scale_of_every_file_says_how_much_is_done() {
    let folder = PathBuf::from(format!("{EXPERIMENTS}/induction"));
    let runs_at = |name: &str, scale: &'static str| {
        load(&folder.join(name), &Changes { scale: Some(scale), ..Changes::default() }).unwrap_or_else(|error| panic!("{error}"))
    };
    for file in experiment_files().iter().filter(|file| file.parent() == Some(&folder)) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let sequences = ["full", "laptop", "smoke"].map(|scale| {
            let runs = runs_at(name, scale);
            runs.iter().map(|run| run.train.total()).sum::<u64>()
        });
        assert!(sequences.is_sorted_by(|more, less| more > less), "{name}: {sequences:?}");
    }
    let main_text = [
        ("main.toml", 3, 1_000_000),
        ("single_head.toml", 24, 1_000_000),
        ("one_head.toml", 3, 600_000),
        ("previous_token.toml", 3, 600_000),
        ("layer_1.toml", 3, 600_000),
        ("match.toml", 3, 600_000),
        ("copy.toml", 3, 600_000),
        ("layer_1_copy.toml", 3, 600_000),
        ("one_head_classes.toml", 9, 2_000_000),
        ("one_head_labels.toml", 9, 2_000_000),
        ("layer_1_copy_classes.toml", 9, 300_000),
        ("layer_1_copy_labels.toml", 9, 300_000),
        ("match_classes.toml", 9, 300_000),
        ("match_labels.toml", 9, 300_000),
        ("layer_1_classes.toml", 9, 300_000),
        ("layer_1_labels.toml", 9, 300_000),
    ];
    for (name, count, sequences) in main_text {
        let runs = runs_at(name, "full");
        assert_eq!((runs.len(), runs[0].train.sequences), (count, sequences), "{name}");
        let mut seeds: Vec<u64> = runs.iter().map(|run| run.seeds.init).collect();
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds, [5, 6, 7], "{name}");
    }
}

#[test]
fn analyses_agree_where_they_look_at_the_same() {
    let smoke = Smoke::new();
    // Enough steps for the heads to differ.
    let main = format!("{EXPERIMENTS}/induction/main.toml");
    let out = smoke.out("main");
    PROGRAM.succeed(&[
        "run",
        &main,
        "--scale",
        "smoke",
        "--out",
        text(&out),
        "--quiet",
        "--set",
        "train.sequences=6400",
        "--set",
        "train.optimiser.rate=1e-3",
        "--set",
        "checkpoint.every=3200",
    ]);
    let analysis = runs(&smoke.replay_named("main_analysis", &[])).remove(0);
    let strengths = values(&analysis, "heads", "induction_strength");
    assert_eq!(strengths.len(), 3 * 2 * 8, "checkpoints, layers, heads");
    let whole = (*values(&analysis, "eval", "acc").last().unwrap(), *values(&analysis, "eval", "loss").last().unwrap());

    let heads = |name: &'static str| {
        move |experiment: &optogen::experiment::Experiment| {
            let one = experiment.interventions.iter().find(|one| one.name.as_deref() == Some(name)).unwrap();
            one.heads.of(8)
        }
    };
    let only = by(&smoke.replay_named("only_head", &["--spread", "1"]), heads("only"));
    assert_eq!(only.len(), 8);
    let without = by(&smoke.replay_named("without_head", &["--spread", "1"]), heads("without"));
    assert_eq!(without.len(), 8);
    let adding = smoke.replay_named("adding_heads", &["--spread", "1"]);
    let out_of = |experiment: &optogen::experiment::Experiment| {
        experiment.interventions.iter().enumerate().filter(|(_, one)| one.strength == 1.0).map(|(head, _)| head).collect::<Vec<_>>()
    };
    let sets = by(&adding, out_of);
    assert_eq!(sets.len(), 4, "heads 0 and 1, each in or out; the others out");
    assert_eq!(sets[&vec![1, 2, 3, 4, 5, 6, 7]], only[&vec![1, 2, 3, 4, 5, 6, 7]]);
    assert_eq!(sets[&vec![0, 2, 3, 4, 5, 6, 7]], only[&vec![0, 2, 3, 4, 5, 6, 7]]);
    assert_ne!(only[&vec![1, 2, 3, 4, 5, 6, 7]], only[&vec![0, 2, 3, 4, 5, 6, 7]]);
    let nothing = |a: (f64, f64), b: (f64, f64)| (a.1 - b.1).abs() < 1e-9;
    assert!(!nothing(without[&vec![0]], whole));

    // What layer 0 writes into the output is cut the same way in both files; with the layer's values kept nothing else changes.
    let cut = by(&smoke.replay_named("layer_0_cut", &["--spread", "1"]), |_| ())[&()];
    let direct = smoke.replay_named("direct_path", &[]);
    let layers = |experiment: &optogen::experiment::Experiment| experiment.interventions[2].layers.of(2);
    let direct = by(&direct, layers);
    assert_eq!(direct[&vec![0]], cut);
    assert!(!nothing(cut, whole));
    // Without layer 1 the query does not know its context: of the two labels there, half are right by the symmetry of all sequences.
    let blind = smoke.replay_named("direct_path", &["--spread", "1", "--set", "intervention.cut.layers=[0,1]", "--set", "name=blind"]);
    let blind = runs(&blind).into_iter().find(|run| run.to_str().unwrap().contains("blind")).unwrap();
    assert_eq!(values(&blind, "eval", "in_context_acc"), [0.5]);
}

#[test]
fn a_replay_that_is_resumed_does_what_is_missing() {
    let smoke = Smoke::new();
    let out = smoke.replay_named("without_head", &[]);
    let all = runs(&out);
    let row = |run: &PathBuf| run.join("run.parquet");
    let before: Vec<_> = all.iter().map(|run| (contents(run, "eval"), std::fs::metadata(row(run)).unwrap().modified().unwrap())).collect();
    let file = format!("{EXPERIMENTS}/induction/replays/without_head.toml");
    let main = smoke.out("main");
    let again = ["replay", text(&main), "--with", &file, "--scale", "smoke", "--out", text(&out), "--quiet"];
    let message = PROGRAM.refused(2, &again);
    assert!(message.contains("a run is there already; go on with --resume"), "{message}");

    // One was interrupted before its row was written, one left rows behind.
    std::fs::remove_file(row(&all[2])).unwrap();
    std::fs::remove_file(row(&all[5])).unwrap();
    std::fs::remove_file(all[5].join("eval.parquet")).unwrap();
    PROGRAM.succeed(&[&again[..], &["--resume"]].concat());
    for (index, (run, (rows, modified))) in all.iter().zip(before).enumerate() {
        assert_eq!(contents(run, "eval"), rows, "{}", run.display());
        let same = std::fs::metadata(row(run)).unwrap().modified().unwrap() == modified;
        assert_eq!(same, ![2, 5].contains(&index), "{}", run.display());
    }
}

#[test]
fn the_analysis_set_gives_the_same_on_any_number_of_threads() {
    let smoke = Smoke::new();
    let (main, base) = (smoke.out("more_classes"), format!("{EXPERIMENTS}/induction/main.toml"));
    let classes = "data.classes={ train = 20, val = 1816, test = 100 }";
    PROGRAM.succeed(&["run", &base, "--scale", "smoke", "--set", classes, "--out", text(&main), "--quiet"]);
    let file = format!("{EXPERIMENTS}/induction/replays/main_analysis.toml");
    let replay = |threads: &str| {
        let out = smoke.out(threads);
        PROGRAM.succeed(&["replay", text(&main), "--with", &file, "--spread", "1", "--threads", threads, "--out", text(&out), "--quiet"]);
        runs(&out).remove(0)
    };
    let (one, two) = (replay("1"), replay("2"));
    for table in ["eval", "heads", "weights"] {
        assert_eq!(contents(&one, table), contents(&two, table), "{table}");
    }
}

#[test]
fn an_unknown_scale_is_refused_before_anything_is_written() {
    let out = tempfile::tempdir().unwrap();
    let main = format!("{EXPERIMENTS}/induction/main.toml");
    let message = PROGRAM.refused(2, &["run", &main, "--scale", "labtop", "--out", text(&out.path().join("runs"))]);
    assert!(message.ends_with("has no such scale; did you mean \"laptop\"? (known are \"laptop\", \"smoke\", \"full\")"), "{message}");
    assert!(!out.path().join("runs").exists());
}
