//! Whatever happens to the files of a run, its rows and weights are those that it made, or somebody is told.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use optogen::log::{read_run_status, read_table, write_parquet};
use optogen_tests::files::copy_folder;
use optogen_tests::program::{BASE, Program, contents, final_weights, runs};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

const PROGRAM: Program = Program(env!("CARGO_BIN_EXE_optogen"));
const TABLES: [&str; 4] = ["train", "eval", "eval_examples", "heads"];

/// A run of 100 steps, evaluated six times, with six checkpoints.
fn arguments(out: &Path) -> Vec<String> {
    let mut all = vec!["run".to_owned(), BASE.into(), "--out".into(), out.display().to_string(), "--quiet".into(), "--resume".into()];
    for set in [
        "train.sequences=3200",
        "evaluation.every=640",
        "evaluation.sequences=20",
        "checkpoint.every=640",
        "checkpoint.recovery_seconds=0.01",
        "model.width=16",
    ] {
        all.extend(["--set".into(), set.into()]);
    }
    all
}

fn run(arguments: &[String]) -> Output {
    PROGRAM.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// That run, finished, in a folder that stays as it is.
fn finished() -> &'static Path {
    static RUN: OnceLock<PathBuf> = OnceLock::new();
    RUN.get_or_init(|| {
        let out = tempfile::tempdir().unwrap().keep();
        assert!(run(&arguments(&out)).status.success());
        runs(&out).remove(0)
    })
}

/// The same, killed on the way, with rows in its journals.
fn killed() -> &'static Path {
    static RUN: OnceLock<PathBuf> = OnceLock::new();
    RUN.get_or_init(|| {
        for moment in (20..).step_by(5) {
            let out = tempfile::tempdir().unwrap().keep();
            let all = arguments(&out);
            let mut child = PROGRAM.start(&all.iter().map(String::as_str).collect::<Vec<_>>());
            std::thread::sleep(Duration::from_millis(moment));
            child.kill().unwrap();
            child.wait().unwrap();
            let Some(run) = fs::read_dir(&out).ok().and_then(|mut all| Some(all.next()?.unwrap().path())) else { continue };
            let journal = run.join("journal/train.journal");
            let checkpoints = fs::read_dir(run.join("checkpoints")).map_or(0, |all| all.count());
            if checkpoints > 2 && fs::metadata(&journal).is_ok_and(|journal| journal.len() > 1500) {
                return run;
            }
            let status = read_run_status(&run.join("run.parquet")).map(|row| row.status);
            assert_ne!(status.ok().as_deref(), Some("finished"), "it was done before it was killed at the right moment");
        }
        unreachable!()
    })
}

/// A copy of a run in an OUT of its own.
fn copy(run: &Path) -> (tempfile::TempDir, PathBuf) {
    let out = tempfile::tempdir().unwrap();
    let own = out.path().join(run.file_name().unwrap());
    copy_folder(run, &own);
    (out, own)
}

/// Resumes a copy of a run to which something was done; its rows and weights must be those of the run, and the words be said.
fn comes_back(run: &Path, what: &str, change: impl FnOnce(&Path)) -> String {
    let (out, own) = copy(run);
    change(&own);
    let output = self::run(&arguments(out.path()));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{what}: {said}");
    assert_eq!(final_weights(finished()), final_weights(&own), "{what}: {said}");
    for table in TABLES {
        assert_eq!(contents(finished(), table), contents(&own, table), "{what}, {table}: {said}");
    }
    assert_eq!(read_run_status(&own.join("run.parquet")).unwrap().status, "finished");
    let verified = PROGRAM.run(&["verify", own.to_str().unwrap()]);
    assert_eq!(verified.status.code(), Some(0), "{what}: {}", String::from_utf8_lossy(&verified.stdout));
    said
}

/// What `verify` says of a copy of the finished run to which something was done.
fn verified(change: impl FnOnce(&Path)) -> (Option<i32>, String) {
    let (_out, own) = copy(finished());
    change(&own);
    let output = PROGRAM.run(&["verify", own.to_str().unwrap()]);
    (output.status.code(), String::from_utf8(output.stdout).unwrap().replace(&format!("{}/", own.display()), ""))
}

/// Numbers that look drawn and are the same each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

fn cut(path: &Path, length: usize) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..length]).unwrap();
}

fn flip(path: &Path, at: usize, bit: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1 << bit;
    fs::write(path, bytes).unwrap();
}

fn length(path: &Path) -> usize {
    fs::metadata(path).unwrap().len() as usize
}

#[test]
fn rows_that_are_gone_are_made_again() {
    let gone = |file: &'static str| move |run: &Path| fs::remove_file(run.join(file)).unwrap();
    for file in ["train.parquet", "eval.parquet", "journal/train.journal", "journal/eval_examples.journal", "heads.parquet"] {
        comes_back(killed(), file, gone(file));
    }
    comes_back(killed(), "all journals", |run| fs::remove_dir_all(run.join("journal")).unwrap());
    // A run that was finished is no longer, and says why.
    for table in TABLES {
        let said = comes_back(
            finished(),
            table,
            gone(match table {
                "train" => "train.parquet",
                "eval" => "eval.parquet",
                "heads" => "heads.parquet",
                _ => "eval_examples.parquet",
            }),
        );
        assert!(said.contains(&format!("it was finished, and now {table} has 0 of ")), "{said}");
    }
    let said = comes_back(finished(), "the row and the rows of steps", |run| {
        fs::remove_file(run.join("run.parquet")).unwrap();
        fs::remove_file(run.join("train.parquet")).unwrap();
    });
    let words = "at the checkpoint after 3200 sequences, train has 0 of 100 rows; going on from 0 sequences, which makes them again";
    assert!(said.contains(words), "{said}");
}

#[test]
fn files_cut_anywhere_come_back() {
    let mut chance = Chance(1);
    for file in ["train.parquet", "eval_examples.parquet", "journal/train.journal", "journal/eval.journal"] {
        for _ in 0..4 {
            let at = chance.below(length(&killed().join(file)));
            comes_back(killed(), &format!("{file} cut at {at}"), |run| cut(&run.join(file), at));
        }
    }
}

#[test]
fn flipped_bits_come_back_from_a_killed_run() {
    let mut chance = Chance(2);
    for file in ["train.parquet", "eval_examples.parquet", "journal/train.journal", "journal/eval_examples.journal"] {
        for _ in 0..5 {
            let (at, bit) = (chance.below(length(&killed().join(file))), chance.below(8));
            comes_back(killed(), &format!("bit {bit} of byte {at} of {file}"), |run| flip(&run.join(file), at, bit));
        }
    }
}

/// In a file of tables only what a growing file left behind may be changed without anybody being told; a finished file has nothing of that kind.
#[test]
fn every_flipped_bit_of_a_finished_run_is_named() {
    let mut chance = Chance(3);
    for table in ["train", "eval", "eval_examples", "heads", "timing", "run"] {
        let file = format!("{table}.parquet");
        for _ in 0..12 {
            let (at, bit) = (chance.below(length(&finished().join(&file))), chance.below(8));
            let (code, said) = verified(|run| flip(&run.join(&file), at, bit));
            assert_eq!(code, Some(74), "bit {bit} of byte {at} of {file}: {said}");
            assert!(said.starts_with(&format!("{file}: ")) && said.ends_with(": 1 fault\n"), "{said}");
        }
    }
    for file in ["manifest.json", "model.safetensors", "optimiser.safetensors", "experiment.toml"] {
        let path = format!("checkpoints/at-000000001280/{file}");
        for _ in 0..4 {
            let (at, bit) = (chance.below(length(&finished().join(&path))), chance.below(8));
            let (code, said) = verified(|run| flip(&run.join(&path), at, bit));
            assert_eq!(code, Some(74), "bit {bit} of byte {at} of {path}: {said}");
            assert!(said.starts_with("checkpoints/at-000000001280/"), "{said}");
        }
    }
    let (code, said) = verified(|_| ());
    assert_eq!((code, said.ends_with(" files: 0 faults\n")), (Some(0), true), "{said}");
    let (at, bit) = (chance.below(length(&finished().join("eval.parquet"))), chance.below(8));
    comes_back(finished(), &format!("bit {bit} of byte {at} of eval.parquet"), |run| flip(&run.join("eval.parquet"), at, bit));
}

/// What marks a file as a version of a table.
fn marked(table: &str, version: u32) -> HashMap<String, String> {
    HashMap::from([("optogen".to_owned(), format!("{table}/{version}"))])
}

/// Writes a table anew with something changed in it.
fn rewritten(run: &Path, table: &str, change: impl Fn(&Schema, Vec<ArrayRef>) -> (Schema, Vec<ArrayRef>)) {
    let path = run.join(format!("{table}.parquet"));
    let rows = read_table(&path).unwrap().remove(0);
    let own = Schema::new_with_metadata(rows.schema().fields().clone(), marked(table, 1));
    let (schema, columns) = change(&own, rows.columns().to_vec());
    let schema: SchemaRef = Arc::new(schema);
    write_parquet(&path, &schema, &[RecordBatch::try_new(schema.clone(), columns).unwrap()]).unwrap();
}

#[test]
fn tables_that_are_not_the_run_s_are_not_believed() {
    let swapped = |schema: &Schema, mut columns: Vec<ArrayRef>| {
        let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
        fields.swap(2, 3);
        columns.swap(2, 3);
        (Schema::new_with_metadata(fields, schema.metadata().clone()), columns)
    };
    let short = |schema: &Schema, mut columns: Vec<ArrayRef>| {
        let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
        fields.pop();
        columns.pop();
        (Schema::new_with_metadata(fields, schema.metadata().clone()), columns)
    };
    let nulls = |schema: &Schema, mut columns: Vec<ArrayRef>| {
        let fields: Vec<_> = schema.fields().iter().map(|field| Field::clone(field).with_nullable(true)).collect();
        columns[2] = arrow::array::new_null_array(fields[2].data_type(), columns[2].len());
        (Schema::new_with_metadata(fields, schema.metadata().clone()), columns)
    };
    let fewer = |schema: &Schema, columns: Vec<ArrayRef>| {
        (schema.clone(), columns.iter().map(|column| column.slice(0, column.len() / 2)).collect())
    };
    type Change<'a> = &'a dyn Fn(&Schema, Vec<ArrayRef>) -> (Schema, Vec<ArrayRef>);
    let changes: [(&str, Change, &str); 4] = [
        ("order", &swapped, "train.parquet: its columns are run_id Utf8, sequences Int64, grad_norm Float64, loss Float64, "),
        (
            "missing",
            &short,
            "train.parquet: its columns are run_id Utf8, sequences Int64, loss Float64, grad_norm Float64, grad_spread Float64, those of",
        ),
        ("nulls", &nulls, "train.parquet: its column loss has nulls"),
        ("fewer", &fewer, "train.parquet: the run's row says something else: train has 50 of 100 rows"),
    ];
    for (what, change, words) in changes {
        let (code, said) = verified(|run| rewritten(run, "train", change));
        assert!(code == Some(74) && said.contains(words), "{what}: {said}");
        comes_back(finished(), what, |run| rewritten(run, "train", change));
        comes_back(killed(), what, |run| rewritten(run, "train", change));
    }
    let other = |run: &Path| {
        rewritten(run, "train", |schema, mut columns| {
            columns[0] = Arc::new(arrow::array::StringArray::from(vec!["another"; columns[0].len()]));
            (schema.clone(), columns)
        })
    };
    let (code, said) = verified(other);
    assert!(code == Some(74) && said.contains("train.parquet: it has rows of the run another, this is induction-base-"), "{said}");
    comes_back(killed(), "another run's", other);
    let (code, said) = verified(|run| _ = fs::copy(run.join("eval.parquet"), run.join("train.parquet")).unwrap());
    assert!(code == Some(74) && said.contains("train.parquet: it is the table eval, not train"), "{said}");

    // What a newer version wrote is left as it is.
    let newer = |run: &Path| {
        rewritten(run, "train", |schema, columns| (Schema::new_with_metadata(schema.fields().clone(), marked("train", 2)), columns))
    };
    for run in [finished(), killed()] {
        let (out, own) = copy(run);
        newer(&own);
        let before = fs::read(own.join("train.parquet")).unwrap();
        let output = self::run(&arguments(out.path()));
        let said = String::from_utf8_lossy(&output.stderr);
        let words = "train.parquet: version 2 of the table train; this program reads versions up to 1: use a newer optogen";
        assert!(output.status.code() != Some(0) && said.contains(words), "{said}");
        assert_eq!(fs::read(own.join("train.parquet")).unwrap(), before);
    }
}

/// A run with other seeds.
fn another(out: &Path) -> PathBuf {
    let mut all = arguments(out);
    all.extend(["--set".into(), "seeds.init=6".into()]);
    assert!(run(&all).status.success());
    runs(out).remove(0)
}

#[test]
fn checkpoints_are_of_their_run_and_moment() {
    let home = tempfile::tempdir().unwrap();
    let other = another(&home.path().join("other"));
    let (one, another) = ("checkpoints/at-000000001280", "checkpoints/at-000000001920");
    let put = |from: PathBuf| {
        move |run: &Path| {
            fs::remove_dir_all(run.join(one)).unwrap();
            copy_folder(&from, &run.join(one));
        }
    };
    let (foreign, later) = (put(other.join(one)), put(finished().join(another)));
    let replayed = |run: &Path| {
        let out = tempfile::tempdir().unwrap();
        PROGRAM.run(&["replay", run.to_str().unwrap(), "--out", out.path().to_str().unwrap(), "--quiet"])
    };
    for (change, words) in [
        (&foreign as &dyn Fn(&Path), "a checkpoint of the run induction-base-"),
        (&later, "it is a checkpoint after 1920 sequences, in the folder of one after 1280"),
    ] {
        let (code, said) = verified(change);
        assert!(code == Some(74) && said.starts_with(one) && said.contains(words), "{said}");
        let (_out, own) = copy(finished());
        change(&own);
        let output = replayed(&own);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() != Some(0) && said.contains(words), "{said}");
        let out = tempfile::tempdir().unwrap();
        let said = PROGRAM.refused(74, &["branch", own.to_str().unwrap(), "--at", "1280", "--out", out.path().to_str().unwrap()]);
        assert!(said.contains(words), "{said}");
    }
    // As the latest, it is set aside, and the run goes on from the one before.
    let said = comes_back(finished(), "another run's checkpoint", |run| {
        fs::remove_file(run.join("run.parquet")).unwrap();
        let last = "checkpoints/at-000000003200";
        fs::remove_dir_all(run.join(last)).unwrap();
        copy_folder(&other.join(last), &run.join(last));
    });
    assert!(said.contains("at-000000003200: a checkpoint of the run induction-base-") && said.contains("it was set aside"), "{said}");
    // The row and the tables of another run are not this one's.
    let (code, said) = verified(|run| _ = fs::copy(other.join("run.parquet"), run.join("run.parquet")).unwrap());
    assert!(code == Some(74) && said.contains("run.parquet: the row of the run induction-base-"), "{said}");
}

#[test]
fn an_experiment_that_was_changed_after_the_run_is_not_taken_for_it() {
    let (out, own) = copy(finished());
    let file = own.join("experiment.toml");
    let text = fs::read_to_string(&file).unwrap();
    let changed = text.replace("heads = 8", "heads = 4");
    assert_ne!(text, changed);
    fs::write(&file, &changed).unwrap();
    let line = 1 + text.lines().position(|line| line == "heads = 8").unwrap();
    let words = format!(
        "experiment.toml: changed since the run, whose row says `heads = 8` in line {line}; put that back, or run what it says now"
    );
    let (own, again) = (own.to_str().unwrap(), out.path().join("again"));
    let (replay, branch) =
        (["replay", own, "--out", again.to_str().unwrap()], ["branch", own, "--at", "1280", "--out", again.to_str().unwrap()]);
    for arguments in [&replay[..], &branch, &["plot", own, "--view", "curves", "--out", again.to_str().unwrap()]] {
        let said = PROGRAM.refused(74, arguments);
        assert!(said.contains(&words), "{said}");
        assert!(!again.exists());
    }
    // Nor where there is no row that says so, but checkpoints do.
    fs::remove_file(file.with_file_name("run.parquet")).unwrap();
    for arguments in [&replay[..], &branch] {
        let said = PROGRAM.refused(74, arguments);
        assert!(said.contains("experiment.toml: not the experiment of the run's checkpoints (") && !again.exists(), "{said}");
    }
    let (code, said) = verified(|run| fs::write(run.join("experiment.toml"), &changed).unwrap());
    assert!(code == Some(74) && said.starts_with("experiment.toml: changed since the run"), "{said}");
}

#[test]
fn what_is_drawn_is_verified() {
    let (out, own) = copy(finished());
    let file = own.join("eval.parquet");
    flip(&file, length(&file) / 2, 0);
    let plots = out.path().join("plots");
    let said = PROGRAM.refused(74, &["plot", own.to_str().unwrap(), "--view", "curves", "--out", plots.to_str().unwrap()]);
    assert!(said.contains("eval.parquet: "), "{said}");
    assert!(!plots.exists());
}

/// Nor does it where it changes nothing and has the run's name.
#[test]
fn a_replay_is_not_written_over_its_run() {
    let (out, own) = copy(finished());
    let (out, own_text) = (out.path().to_str().unwrap(), own.to_str().unwrap());
    for more in [&[][..], &["--resume"]] {
        let said = PROGRAM.refused(2, &[&["replay", own_text, "--out", out, "--quiet"], more].concat());
        assert!(said.ends_with(": a run itself is there, not a replay of it; choose another --out"), "{said}");
    }
    assert_eq!(contents(&own, "train"), contents(finished(), "train"));
    assert_eq!(contents(&own, "eval"), contents(finished(), "eval"));
    assert_eq!(read_run_status(&own.join("run.parquet")).unwrap().status, "finished");
}

/// A replay that is asked for again is made again where its tables were damaged, and keeps what it has of checkpoints that are gone.
#[test]
fn a_replay_is_repaired_and_forgets_nothing() {
    let (out, own) = copy(finished());
    let again = out.path().join("again");
    let arguments = ["replay", own.to_str().unwrap(), "--out", again.to_str().unwrap(), "--quiet", "--resume"];
    PROGRAM.succeed(&arguments);
    let replayed = runs(&again).remove(0);
    let before = contents(&replayed, "eval");
    cut(&replayed.join("eval.parquet"), 200);
    PROGRAM.succeed(&arguments);
    assert_eq!(contents(&replayed, "eval"), before);
    fs::remove_dir_all(own.join("checkpoints/at-000000001280")).unwrap();
    let said = PROGRAM.refused(2, &arguments);
    assert!(said.contains("it was measured after 1280 sequences, of which "), "{said}");
    assert_eq!(contents(&replayed, "eval"), before);
}

#[test]
fn what_a_folder_has_not_got_is_named() {
    for (gone, words) in [
        ("experiment.toml", "experiment.toml is gone\n"),
        ("checkpoints/at-000000003200", "the checkpoint after 3200 sequences, its last, is gone\n"),
        ("eval.parquet", "the table eval is gone\n"),
    ] {
        let (code, said) = verified(|run| {
            let path = run.join(gone);
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        });
        assert!(code == Some(74) && said.contains(words), "{said}");
    }
}
