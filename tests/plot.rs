//! `optogen plot`: views of a short run, and what they ask for where it is not there.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use optogen::log::read_table;
use optogen_tests::program::{BASE, Program, runs};
use optogen_tests::synthetic::Synthetic;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const PROGRAM: Program = Program(env!("CARGO_BIN_EXE_optogen"));

const HOOK: &str =
    "[[hook]]\ntable = \"attention\"\nsite = \"pattern\"\nlayers = [1]\nat = \"query\"\nduring = \"fsl_train\"\nreduce = \"none\"\n";

/// A short run with a hook at the patterns; it stays in `target/tmp/plot`.
fn run() -> &'static Path {
    static RUN: OnceLock<PathBuf> = OnceLock::new();
    RUN.get_or_init(|| {
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plot");
        let _ = std::fs::remove_dir_all(&home);
        std::fs::create_dir_all(&home).unwrap();
        let file = home.join("hook.toml");
        std::fs::write(&file, format!("extends = {BASE:?}\nname = \"looked-at\"\n{HOOK}")).unwrap();
        let sets =
            ["train.sequences=6400", "evaluation.every=1600", "evaluation.sequences=60", "checkpoint.every=", "train.optimiser.rate=1e-3"];
        let mut arguments = vec!["run", file.to_str().unwrap(), "--quiet", "--out", home.to_str().unwrap()];
        sets.iter().for_each(|set| arguments.extend(["--set", set]));
        PROGRAM.succeed(&arguments);
        runs(&home).into_iter().find(|path| path.is_dir()).unwrap()
    })
}

/// A view of the run, with more options: where its files are.
fn view(name: &str, more: &[&str]) -> tempfile::TempDir {
    let out = tempfile::tempdir().unwrap();
    let arguments = ["plot", run().to_str().unwrap(), "--view", name, "--out", out.path().to_str().unwrap()];
    PROGRAM.succeed(&[&arguments[..], more].concat());
    out
}

fn refused(run: &Path, name: &str, more: &[&str]) -> String {
    let arguments = ["plot", run.to_str().unwrap(), "--view", name, "--out", "/nowhere/at/all"];
    PROGRAM.refused(2, &[&arguments[..], more].concat())
}

fn svg(out: &tempfile::TempDir, name: &str) -> String {
    let png = std::fs::read(out.path().join(format!("{name}.png"))).unwrap();
    assert_eq!(png[..8], *b"\x89PNG\r\n\x1a\n");
    std::fs::read_to_string(out.path().join(format!("{name}.svg"))).unwrap()
}

fn rows(out: &tempfile::TempDir, name: &str) -> Vec<RecordBatch> {
    read_table(&out.path().join(format!("{name}.parquet"))).unwrap()
}

fn numbers(batches: &[RecordBatch], column: &str) -> Vec<f64> {
    batches.iter().flat_map(|batch| batch[column].as_primitive::<Float64Type>().values().to_vec()).collect()
}

#[test]
fn curves_have_a_panel_for_each_evaluator() {
    let out = view("curves", &["--metric", "acc", "--baseline", "a guess=0.2", "--every", "3000"]);
    let svg = svg(&out, "curves");
    for text in ["fsl_train", "fsl_val_rl", "fsl_test_class", "a guess", "a label of the context", "sequences seen", "acc"] {
        assert!(svg.contains(&format!("\n{text}\n")), "{text}");
    }
    assert_eq!(numbers(&rows(&out, "curves"), "x")[..3], [0.0, 3200.0, 6400.0]);
}

#[test]
fn curves_are_integrated() {
    let curve = numbers(&rows(&view("curves", &["--evaluator", "fsl_train"]), "curves"), "y");
    let area = numbers(&rows(&view("curves", &["--evaluator", "fsl_train", "--integrated"]), "curves"), "y");
    assert_eq!(curve.len(), 5);
    let expected: f64 = curve.windows(2).map(|pair| 1600.0 * (pair[0] + pair[1]) / 2.0).sum();
    assert!((area[4] - expected).abs() < 1e-6 * expected, "{} {expected}", area[4]);
}

#[test]
fn heads_have_a_line_each() {
    let out = view("heads", &["--layer", "1", "--metric", "previous_token"]);
    assert!(svg(&out, "heads").contains("layer 1\n"));
    let heads = read_table(&run().join("heads.parquet")).unwrap();
    let logged = numbers(&heads, "previous_token");
    let drawn = numbers(&rows(&out, "heads"), "y");
    assert_eq!(drawn.len(), 8 * 5);
    assert!(drawn.iter().all(|value| logged.contains(value)));
}

#[test]
fn attention_has_a_panel_for_each_head_and_token_and_a_line_for_each_group() {
    let all = view("attention", &["--evaluator", "fsl_train"]);
    let shown = svg(&all, "attention");
    for text in ["head 0 → x1", "head 7 → query", "head 3 → l2"] {
        assert!(shown.contains(&format!("\n{text}\n")), "{text}");
    }
    let drawn = numbers(&rows(&all, "attention"), "y");
    assert_eq!(drawn.len(), 8 * 5 * 5);
    // Five tokens of a head at the first evaluation share all of its attention.
    let total: f64 = (0..5).map(|token| drawn[5 * token]).sum();
    assert!((total - 1.0).abs() < 1e-4, "{total}");

    let grouped = view("attention", &["--by", "position"]);
    assert!(svg(&grouped, "attention").contains("\nposition\n"));
    let drawn = numbers(&rows(&grouped, "attention"), "y");
    assert_eq!(drawn.len(), 2 * 8 * 5 * 5);
    for by in ["label-pair", "output", "similarity"] {
        view("attention", &["--by", by]);
    }
}

#[test]
fn traces_and_the_worst_are_of_single_sequences() {
    let out = view("traces", &["--by", "label-pair", "--worst", "3"]);
    let batches = rows(&out, "traces");
    let series: Vec<String> = batches
        .iter()
        .flat_map(|batch| batch["series"].as_string::<i32>().iter().flatten().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert_eq!(series.iter().filter(|name| name.starts_with("sequence ")).count(), 3 * 5);
    assert!(series.contains(&"0, 1".to_owned()) || series.contains(&"0, 2".to_owned()), "{series:?}");

    let out = view("worst", &["--worst", "4"]);
    let table = std::fs::read_to_string(out.path().join("worst.md")).unwrap();
    assert!(table.starts_with("| sequence | loss | classes, the query's last | labels, the query's last | similarity |\n"), "{table}");
    let batches = rows(&out, "worst");
    let losses = numbers(&batches, "loss");
    assert!(losses.len() == 4 && losses.windows(2).all(|pair| pair[0] >= pair[1]), "{losses:?}");
    // They are the worst of the log.
    let examples = read_table(&run().join("eval_examples.parquet")).unwrap();
    let worst = batches[0]["sequence"].as_primitive::<Int64Type>().value(0);
    let mut highest = (0.0f32, -1);
    for batch in &examples {
        for row in 0..batch.num_rows() {
            let last = batch["sequences"].as_primitive::<Int64Type>().value(row) == 6400;
            let loss = batch["loss"].as_primitive::<arrow::datatypes::Float32Type>().value(row);
            if last && batch["evaluator"].as_string::<i32>().value(row) == "fsl_train" && loss > highest.0 {
                highest = (loss, batch["example"].as_primitive::<Int64Type>().value(row));
            }
        }
    }
    assert_eq!((f64::from(highest.0), highest.1), (losses[0], worst));
}

#[test]
fn what_a_view_does_not_find_is_said_with_the_key_that_writes_it() {
    let home = tempfile::tempdir().unwrap();
    let plain = Synthetic { until: (20_000, 10_000), ..Default::default() }.write(home.path());
    let message = refused(&plain, "attention", &[]);
    assert!(message.contains("the view attention needs a table of a [[hook]] with site = \"pattern\", at = \"query\""), "{message}");
    assert!(message.contains("reduce = \"mean_over_sequences\""), "{message}");
    let unwritten = ["evaluation.examples=false", "measures.heads=false"].map(String::from).to_vec();
    let silent = Synthetic { sets: unwritten, until: (20_000, 10_000), ..Default::default() }.write(home.path());
    assert!(refused(&silent, "traces", &[]).ends_with("it keeps no single sequences; evaluation.examples = true writes them"));
    assert!(refused(&silent, "heads", &[]).ends_with("it keeps no measures of heads; measures.heads = true writes them"));
    let message = refused(run(), "curves", &["--evaluator", "fsl_trian"]);
    assert!(message.contains("no evaluator \"fsl_trian\"; there is fsl_test_class, fsl_train, fsl_train_valex, fsl_val_rl"), "{message}");
    let message = refused(run(), "curves", &["--metric", "accuracy"]);
    assert!(message.starts_with("error: --metric accuracy: there is no such measure; there are loss, acc, prob,"), "{message}");
    let message = refused(run(), "curves", &["--by", "output"]);
    assert_eq!(message, "error: --by says nothing in the view curves; it is for attention, traces");
    let message = refused(run(), "attention", &["--by", "class-pair"]);
    assert!(message.ends_with("groups, and more than 10 cannot be told apart"), "{message}");
    let message = refused(home.path(), "worst", &[]);
    assert_eq!(message, "error: the view worst is of one run, and these are 2");
    let message = refused(Path::new("/nowhere"), "worst", &[]);
    assert!(message.starts_with("error: /nowhere: neither a run folder nor a folder that holds some"), "{message}");
    assert!(refused(run(), "heads", &["--layer", "2"]).ends_with("there is no layer 2; there are 2, counted from 0"));
}
