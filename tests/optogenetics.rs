//! Interventions and hooks in whole runs: on schedules, resumed, replayed and branched.

use arrow::array::{Array, Float32Array, Float64Array, Int64Array, RecordBatch, StringArray};
use optogen::log::read_table;
use optogen_tests::program::{BASE, Program, contents, final_weights, rows, runs};
use std::fs;
use std::path::{Path, PathBuf};

const PROGRAM: Program = Program(env!("CARGO_BIN_EXE_optogen"));

/// An experiment file that adds to the base experiment, made small.
fn file(home: &Path, name: &str, more: &str) -> String {
    file_of(home, name, more, 40)
}

/// The same with so many sequences an evaluator.
fn file_of(home: &Path, name: &str, more: &str, sequences: usize) -> String {
    let path = home.join(format!("{name}.toml"));
    let base = fs::canonicalize(BASE).unwrap();
    let text = format!(
        "extends = {base:?}\n{more}\n[train]\nsequences = 2048\noptimiser = {{ name = \"adam\", rate = 1e-3 }}\n\
         [evaluation]\nevery = 512\nsequences = {sequences}\n[checkpoint]\nevery = 512\nrecovery_seconds = 0.02\n"
    );
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// The folder of the one run that an experiment makes.
fn run(home: &Path, name: &str, more: &str) -> PathBuf {
    run_of(home, name, more, 40)
}

fn run_of(home: &Path, name: &str, more: &str, sequences: usize) -> PathBuf {
    let (file, out) = (file_of(home, name, more, sequences), home.join(name));
    PROGRAM.succeed(&["run", &file, "--out", out.to_str().unwrap(), "--quiet"]);
    runs(&out).remove(0)
}

fn column<A: Array + Clone + 'static>(run: &Path, table: &str, name: &str) -> Vec<A> {
    let batches = read_table(&run.join(format!("{table}.parquet"))).unwrap();
    let of = |batch: &RecordBatch| batch.column_by_name(name).unwrap().as_any().downcast_ref::<A>().unwrap().clone();
    batches.iter().map(of).collect()
}

fn numbers(run: &Path, table: &str, name: &str) -> Vec<f64> {
    column::<Float64Array>(run, table, name).iter().flat_map(|column| column.values().to_vec()).collect()
}

fn texts(run: &Path, table: &str, name: &str) -> Vec<String> {
    let columns = column::<StringArray>(run, table, name);
    columns.iter().flat_map(|column| (0..column.len()).map(|row| column.value(row).to_owned()).collect::<Vec<_>>()).collect()
}

const LATER: &str = "[[intervention]]\nsite = \"v\"\nlayers = [1]\naction = \"zero\"\nfrom = 1_000_000\n";
const LOOK: &str = "[[hook]]\ntable = \"attention\"\nsite = \"pattern\"\nat = \"query\"\nreduce = \"mean_over_sequences\"\n";

#[test]
fn what_never_acts_and_who_only_looks_change_no_byte() {
    let home = tempfile::tempdir().unwrap();
    let plain = run(home.path(), "plain", "name = \"a\"");
    let idle = run(home.path(), "idle", &format!("name = \"a\"\n{LATER}\n{LOOK}every = 1_000_000\n"));
    let looking =
        run(home.path(), "looking", &format!("name = \"a\"\n{LOOK}every = 64\nduring = [\"training\", \"evaluation\"]\ngradient = true\n"));
    for other in [&idle, &looking] {
        assert_eq!(final_weights(&plain), final_weights(other));
        assert_eq!(numbers(&plain, "train", "loss"), numbers(other, "train", "loss"));
        assert_eq!(numbers(&plain, "eval", "loss"), numbers(other, "eval", "loss"));
        assert_eq!(numbers(&plain, "heads", "induction_strength"), numbers(other, "heads", "induction_strength"));
    }
    // 2 layers, 8 heads, 5 tokens; 32 looks at training, 33 at each of 4 evaluators. The idle hook looks at the first and the last moment.
    assert_eq!((rows(&looking, "attention"), rows(&idle, "attention")), (80 * (32 + 33 * 4), 80 * 2 * 4));
    let acting = run(home.path(), "acting", "name = \"a\"\n[[intervention]]\nsite = \"v\"\nlayers = [1]\naction = \"zero\"\nfrom = 1024\n");
    let (before, after) = (numbers(&plain, "train", "loss"), numbers(&acting, "train", "loss"));
    assert_eq!(before[..32], after[..32], "until it begins");
    assert_ne!(before[32..], after[32..]);
}

/// A hook's numbers are those of the standing measures.
#[test]
fn hooks_keep_what_they_are_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let more = format!(
        "name = \"a\"\n{LOOK}during = \"fsl_train\"\n\
         [[hook]]\ntable = \"entropy\"\nsite = \"attn.hook_pattern\"\nlayers = [1]\nat = \"query\"\nreduce = \"entropy\"\nduring = \"fsl_train\"\n\
         [[hook]]\ntable = \"first\"\nsite = \"z\"\nlayers = [0]\nheads = [3]\nat = [-1]\nexamples = 2\nduring = \"fsl_train\"\nevery = \"checkpoint\"\n\
         [[hook]]\ntable = \"spread\"\nsite = \"resid_post\"\nlayers = [1]\nat = \"query\"\ndimensions = [0, 5]\n\
         reduce = {{ quantiles = [0.0, 0.5, 1.0] }}\nduring = \"fsl_train\"\n"
    );
    let more = format!(
        "{more}[[hook]]\ntable = \"raw\"\nsite = \"z\"\nlayers = [1]\nheads = [2]\nat = \"query\"\nduring = \"fsl_train\"\n\
         [[hook]]\ntable = \"deviation\"\nsite = \"z\"\nlayers = [1]\nheads = [2]\nat = \"query\"\nduring = \"fsl_train\"\n\
         reduce = \"mean_and_deviation\"\n\
         [[hook]]\ntable = \"norm\"\nsite = \"z\"\nlayers = [1]\nheads = [2]\nat = \"query\"\nduring = \"fsl_train\"\nreduce = \"norm\"\n\
         [[hook]]\ntable = \"slope\"\nsite = \"unembedding\"\nat = \"query\"\nduring = \"fsl_train\"\ngradient = true\n"
    );
    let run = run_of(home.path(), "hooks", &more, 300);
    let heads_of = |name: &str| -> Vec<f64> {
        let (evaluator, values) = (texts(&run, "heads", "evaluator"), numbers(&run, "heads", name));
        evaluator.into_iter().zip(values).filter(|(evaluator, _)| evaluator == "fsl_train").map(|(_, value)| value).collect()
    };
    let value = |table: &str| -> Vec<f32> {
        column::<Float32Array>(&run, table, "value").iter().flat_map(|column| column.values().to_vec()).collect()
    };
    let attention = value("attention");
    let to_labels: Vec<f32> = attention.chunks_exact(5).map(|row| row[1] + row[3]).collect();
    assert_eq!(to_labels.len(), 5 * 16);
    for (own, measured) in to_labels.iter().zip(heads_of("to_labels")) {
        assert!((f64::from(*own) - measured).abs() < 1e-5, "{own} and {measured}");
    }
    let measured: Vec<f64> = heads_of("entropy").chunks_exact(16).flat_map(|both| both[8..].to_vec()).collect();
    for (own, measured) in value("entropy").iter().zip(&measured) {
        assert!((f64::from(*own) - measured).abs() < 1e-5, "{own} and {measured}");
    }
    assert_eq!(rows(&run, "first"), 5 * 2 * 8, "looks · examples · dimensions of the head");
    let spread = value("spread");
    assert_eq!(spread.len(), 5 * 2 * 3);
    assert!(spread.chunks_exact(3).all(|q| q[0] <= q[1] && q[1] <= q[2] && q[0] < q[2]));
    // Looks · dimensions · examples, from which mean, deviation and norm follow.
    let raw = value("raw");
    assert_eq!(raw.len(), 5 * 8 * 300);
    let near = |a: f64, b: f32| assert!((a - f64::from(b)).abs() < 1e-5 * a.abs().max(0.1), "{a} and {b}");
    for (own, both) in raw.chunks_exact(300).zip(value("deviation").chunks_exact(2)) {
        let mean = own.iter().map(|&x| f64::from(x)).sum::<f64>() / 300.0;
        near(mean, both[0]);
        near((own.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / 300.0).sqrt(), both[1]);
    }
    for (look, norm) in raw.chunks_exact(8 * 300).zip(value("norm")) {
        let of = |example: usize| (0..8).map(|d| f64::from(look[d * 300 + example]).powi(2)).sum::<f64>().sqrt();
        near((0..300).map(of).sum::<f64>() / 300.0, norm);
    }
    // The loss of 300 sequences, in two chunks: the slope of the right logit is (probability − 1) / 300, that of the others positive.
    let evaluators = texts(&run, "eval_examples", "evaluator");
    let probabilities =
        column::<Float32Array>(&run, "eval_examples", "prob").iter().flat_map(|own| own.values().to_vec()).collect::<Vec<_>>();
    let own = evaluators.iter().zip(probabilities).filter(|(evaluator, _)| *evaluator == "fsl_train").map(|(_, value)| value);
    let own: Vec<f32> = own.collect();
    let slopes = value("slope");
    assert_eq!((own.len(), slopes.len()), (5 * 300, 5 * 5 * 300));
    for (look, probabilities) in slopes.chunks_exact(5 * 300).zip(own.chunks_exact(300)) {
        for (example, probability) in probabilities.iter().enumerate() {
            let least = (0..5).map(|label| look[label * 300 + example]).min_by(f32::total_cmp).unwrap();
            assert!((least - (probability - 1.0) / 300.0).abs() < 1e-6, "{least}, probability {probability}");
        }
    }
}

/// An intervention may hold for one evaluator alone.
#[test]
fn one_evaluator_alone_can_be_clamped() {
    let home = tempfile::tempdir().unwrap();
    let plain = run(home.path(), "plain", "name = \"a\"");
    let clamp = "name = \"a\"\n[[intervention]]\nsite = \"v\"\nlayers = [1]\naction = \"zero\"\nduring = \"fsl_val_rl\"\n";
    let clamped = run(home.path(), "clamped", clamp);
    assert_eq!(final_weights(&plain), final_weights(&clamped));
    let (before, after) = (numbers(&plain, "eval", "loss"), numbers(&clamped, "eval", "loss"));
    for ((evaluator, before), after) in texts(&plain, "eval", "evaluator").into_iter().zip(before).zip(after) {
        assert_eq!(before != after, evaluator == "fsl_val_rl", "{evaluator}");
    }
}

/// A clamp that waits for a measure, fades in and ends: the same bytes however often it is killed.
#[test]
fn schedules_and_thresholds_survive_kills() {
    let home = tempfile::tempdir().unwrap();
    let more = "name = \"a\"\n[[intervention]]\nname = \"waits\"\nsite = \"pattern\"\nlayers = [1]\nheads = [3]\nat = \"query\"\n\
        action = { induction = { strength = 0.9 } }\nfrom = { evaluator = \"fsl_train\", measure = \"loss\", below = 1.4 }\nramp = 640\n\
        [[intervention]]\nname = \"ends\"\nsite = \"v\"\nlayers = [0]\nheads = [0]\naction = \"zero\"\n\
        until = { evaluator = \"fsl_train\", measure = \"induction_strength\", above = -0.5 }\nduring = \"training\"\n\
        [[hook]]\ntable = \"attention\"\nsite = \"pattern\"\nat = \"query\"\nreduce = \"mean_over_sequences\"\nevery = 64\n\
        during = [\"training\", \"evaluation\"]\n";
    let whole = run(home.path(), "whole", more);
    let plain = run(home.path(), "plain", "name = \"a\"");
    assert_ne!(final_weights(&whole), final_weights(&plain));
    let crossed = numbers(&whole, "eval", "loss").iter().step_by(4).position(|&loss| loss < 1.4).expect("the threshold is crossed");
    assert!((1..4).contains(&crossed), "crossed at evaluation {crossed}");
    let manifest = fs::read_to_string(whole.join("checkpoints/at-000000002048/manifest.json")).unwrap();
    assert!(manifest.contains(&format!("\"began\": {}", crossed * 512)) && manifest.contains("\"ended\": 0"), "{manifest}");
    assert_eq!(texts(&whole, "notes", "note"), ["\"ends\" ends", "\"waits\" begins"]);
    let (file, out) = (file(home.path(), "whole", more), home.path().join("torn"));
    let arguments = ["run", &file, "--out", out.to_str().unwrap(), "--quiet", "--resume"];
    for milliseconds in [60, 75, 90] {
        let mut child = PROGRAM.start(&arguments);
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    PROGRAM.succeed(&arguments);
    let torn = &runs(&out)[0];
    assert_eq!(final_weights(&whole), final_weights(torn));
    for table in ["train", "eval", "eval_examples", "heads", "notes", "attention"] {
        assert_eq!(contents(&whole, table), contents(torn, table), "{table}");
    }
    // Going on exactly where a threshold was crossed crosses it once more, in the same evaluation.
    let at = whole.join(format!("checkpoints/at-{:012}", crossed * 512));
    for entry in fs::read_dir(torn.join("checkpoints")).unwrap().chain(fs::read_dir(torn.join("recovery")).into_iter().flatten()) {
        let path = entry.unwrap().path();
        if path.file_name() != at.file_name() {
            fs::remove_dir_all(path).unwrap();
        }
    }
    fs::remove_file(torn.join("run.parquet")).unwrap();
    PROGRAM.succeed(&arguments);
    assert_eq!(final_weights(&whole), final_weights(torn));
    for table in ["train", "eval", "heads", "notes", "attention"] {
        assert_eq!(contents(&whole, table), contents(torn, table), "{table}, from the crossing on");
    }
    // A replay clamps each checkpoint as the run did then.
    let again = home.path().join("again");
    PROGRAM.succeed(&["replay", whole.to_str().unwrap(), "--out", again.to_str().unwrap(), "--quiet"]);
    assert_eq!(contents(&whole, "eval"), contents(&runs(&again)[0], "eval"));
}

/// Many sets of interventions in one pass over the checkpoints, each with tables of its own.
#[test]
fn replays_take_further_interventions() {
    let home = tempfile::tempdir().unwrap();
    let own = run(home.path(), "own", "name = \"a\"");
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
    let own = run(home.path(), "own", "name = \"a\"");
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
    fs::write(&manifest, fs::read_to_string(&manifest).unwrap() + "\n").unwrap();
    let again = home.path().join("again");
    let message = PROGRAM.refused(2, &["run", branch.join("experiment.toml").to_str().unwrap(), "--out", again.to_str().unwrap()]);
    assert!(message.contains("at-000000001024: not the checkpoint of parent.sha256: it is ") && !again.exists(), "{message}");
    let message = PROGRAM.refused(2, &["branch", run, "--at", "1024", "--out", again.to_str().unwrap(), "--set", "train.sequences=1024"]);
    assert!(message.contains("1024 sequences seen; to go on, train.sequences must be more (it is 1024)"), "{message}");
    let message = PROGRAM.refused(2, &["branch", run, "--at", "1000", "--out", out_text]);
    assert_eq!(message, format!("error: --at 1000: no such checkpoint in {run}; the nearest of 5 is at 1024"));
}

#[test]
fn sites_are_listed_with_who_stands_there() {
    let listed = PROGRAM.succeed(&["sites", &BASE.replace("base.toml", "layer_1.toml")]);
    let line = |site: &str| listed.lines().find(|line| line.starts_with(site)).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(line("pattern "), "pattern attn.hook_pattern 0-1 [K, B, 8, 5, 5] patterns");
    assert_eq!(line("v "), "v attn.hook_v 0-1 [K, B, 8, 5, 8] only-1.3");
    assert_eq!(line("logits"), "logits [K, B, 3, 5]");
    assert!(!listed.contains("mlp"));
}

/// Nothing is written where an intervention or a hook cannot be as it is.
#[test]
fn mistakes_in_interventions_are_named() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    let said = |more: &str| {
        let file = file(home.path(), "mine", more);
        let message = PROGRAM.refused(2, &["run", &file, "--out", out.to_str().unwrap()]);
        assert!(!out.exists(), "{message}");
        message.replace(&format!("{}/", home.path().display()), "").replace("error: ", "")
    };
    let intervention = |keys: &str| said(&format!("[[intervention]]\n{keys}"));
    for (keys, message) in [
        (
            "site = \"patern\"\naction = \"zero\"",
            "mine.toml:3:8: intervention.0.site: there is no site \"patern\"; did you mean \"pattern\"? (`optogen sites FILE` lists them all)",
        ),
        ("site = \"v\"\nlayers = [2]\naction = \"zero\"", "mine.toml:4:1: intervention.0.layers: there is no layer 2: they are 0 to 1"),
        ("site = \"v\"\nheads = [8]\naction = \"zero\"", "mine.toml:4:1: intervention.0.heads: there is no head 8: they are 0 to 7"),
        ("site = \"v\"\nheads = { except = [0,1,2,3,4,5,6,7] }\naction = \"zero\"", "mine.toml:4:1: intervention.0.heads: chooses nothing"),
        (
            "site = \"embedding\"\nlayers = [0]\naction = \"zero\"",
            "mine.toml:4:1: intervention.0.layers: \"embedding\" belongs to no layer",
        ),
        (
            "site = \"mlp_out\"\naction = \"zero\"",
            "mine.toml:3:1: intervention.0.site: this model has no \"mlp_out\": it has no MLP (model.mlp_ratio)",
        ),
        ("site = \"v\"\naction = \"zer\"", "mine.toml:4:10: intervention.0.action: unknown value \"zer\"; did you mean \"zero\"?"),
        ("site = \"v\"\naction = \"zero\"\nstrength = 1.5", "mine.toml:5:1: intervention.0.strength: must be from 0 to 1, not 1.5"),
        (
            "site = \"v\"\naction = { previous_token = { strength = 1.0 } }",
            "mine.toml:4:1: intervention.0.action: \"previous_token\" is an action at \"pattern\", not at \"v\"",
        ),
        (
            "site = \"pattern\"\naction = { induction = { strength = 1.0 } }",
            "mine.toml:4:1: intervention.0.action: \"induction\" is an action on the query alone; write at = \"query\"",
        ),
        (
            "site = \"v\"\nat = \"lables\"\naction = \"zero\"",
            "mine.toml:4:6: intervention.0.at: unknown value \"lables\"; did you mean \"labels\"?",
        ),
        (
            "site = \"v\"\nduring = \"trainig\"\naction = \"zero\"",
            "mine.toml:4:1: intervention.0.during: unknown value \"trainig\"; did you mean \"training\"?",
        ),
        (
            "site = \"v\"\naction = { copy = { pass = \"claen\" } }",
            "mine.toml:4:1: intervention.0.action: there is no [[pass]] called \"claen\"; did you mean \"clean\"?",
        ),
        (
            "site = \"embedding\"\naction = { copy = { site = \"ln_final\" } }",
            "mine.toml:4:1: intervention.0.action: within one pass only earlier sites can be copied, and \"ln_final\" is not earlier than \"embedding\"",
        ),
        (
            "site = \"q\"\naction = { copy = { pass = \"clean\", site = \"pattern\" } }",
            "mine.toml:4:1: intervention.0.action: \"pattern\" has another shape than \"q\"",
        ),
        (
            "site = \"v\"\nname = \"one\"\nheads = [0, 1]\naction = \"zero\"\n[[intervention]]\nsite = \"v\"\nname = \"two\"\nheads = [1]\naction = \"mean\"",
            "mine.toml:7:1: intervention.1: \"two\" and \"one\" (intervention.0) write the same entries of \"v\"; give them an order \
             (order = 1, order = 2: the later wins)",
        ),
        (
            "site = \"v\"\naction = \"zero\"\nfrom = { evaluator = \"fsl_trian\", measure = \"loss\", below = 1.0 }",
            "mine.toml:5:10: intervention.0.from.evaluator: unknown value \"fsl_trian\"; did you mean \"fsl_train\"?",
        ),
        (
            "site = \"resid_post\"\nlayers = [0]\naction = { copy = { pass = \"other\" } }\n[[pass]]\nname = \"other\"\ndonor = \"nowhere\"",
            "pass.donor: there is no checkpoint folder nowhere",
        ),
    ] {
        let said = intervention(keys);
        assert!(said.starts_with(message), "{said}\ninstead of\n{message}");
    }
    let narrow = run(home.path(), "narrow", "name = \"a\"\n[model]\nwidth = 32\n").join("checkpoints/at-000000000512");
    let graft = "site = \"resid_post\"\nlayers = [0]\naction = { copy = { pass = \"other\" } }\n[[pass]]\nname = \"other\"\n";
    assert_eq!(
        intervention(&format!("{graft}donor = {narrow:?}")),
        "intervention \"copy at resid_post\": \"resid_post\" of the donor does not fit: it has 2 layers, width 32, 8 heads, this model 2 layers, \
         width 64, 8 heads"
    );
    assert_eq!(
        said("[measures]\nheads = false\nattribution = true"),
        "mine.toml:4:1: measures.attribution: goes to the table of heads, and measures.heads is false"
    );
    let nobody = intervention("site = \"v\"\naction = \"zero\"\nduring = []");
    assert_eq!(nobody, "mine.toml:5:10: intervention.0.during: is an empty list; leave it out, or name somebody");
    let from_block = "[[intervention]]\nsite = \"ln_final\"\naction = { copy = { site = \"resid_post\", layer = 0 } }\n";
    PROGRAM.succeed(&["sites", &file(home.path(), "after", from_block)]);
    let hook = |keys: &str| said(&format!("[[hook]]\n{keys}"));
    assert_eq!(
        hook("table = \"train\"\nsite = \"v\""),
        "mine.toml:3:1: hook.0.table: \"train\" is a table of every run; choose another name"
    );
    assert_eq!(
        hook(
            "table = \"all\"\nsite = \"resid_post\"\nevery = 32\nduring = [\"training\", \"evaluation\"]\n[measures]\nhook_megabytes = 20.0"
        ),
        "the hooks would write up to 96 MB (all 7966720 rows), and measures.hook_megabytes is 20; look at less, less often, reduce, or raise it"
    );
}

/// The worked example of a system of one's own.
#[test]
fn the_example_freezes_layer_0() {
    let home = tempfile::tempdir().unwrap();
    // A pattern that is set passes the threshold at once, from sequence 600 on.
    let more = "name = \"a\"\n[[intervention]]\nsite = \"pattern\"\nlayers = [1]\nheads = [3]\nat = \"query\"\n\
        action = { induction = { strength = 0.9 } }\nfrom = 600\n";
    let (file, out) = (file(home.path(), "frozen", more), home.path().join("frozen"));
    let example = Path::new(env!("CARGO_BIN_EXE_optogen")).with_file_name("examples").join("freeze_layer_0");
    let output =
        std::process::Command::new(example).args(["run", &file, "--quiet", "--out"]).arg(&out).output().expect("the example starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let run = &runs(&out)[0];
    assert_eq!(texts(run, "notes", "note"), ["frozen at an induction strength of"]);
    assert!((numbers(run, "notes", "value")[0] - 0.8).abs() < 1e-6);
    let at = |sequences: u64| {
        let folder = optogen::checkpoint::folder_at(&run.join("checkpoints"), sequences);
        let all = optogen::checkpoint::Checkpoint::read(&folder).unwrap().parameters;
        let flat = |tensor: &candle_core::Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        all.into_iter().map(|(name, tensor)| (name, flat(&tensor))).collect::<Vec<_>>()
    };
    let frozen = |name: &str| name.starts_with("transformer/blocks/0/");
    for ((name, before), (_, after)) in at(1024).iter().zip(&at(2048)) {
        assert_eq!(before == after, frozen(name), "{name}");
    }
    assert!(at(512).iter().zip(&at(1024)).all(|((_, before), (_, after))| before != after), "until then it learns");
}

#[test]
fn weights_and_attributions_are_measured_on_request() {
    let home = tempfile::tempdir().unwrap();
    let run = run(home.path(), "weights", "name = \"a\"\n[measures]\nweights = true\nattribution = true\n");
    assert_eq!(rows(&run, "weights"), 5 * (3 * 64 + 2 * 16));
    let attribution = numbers(&run, "heads", "attribution");
    assert_eq!(attribution.len(), 5 * 4 * 16);
    assert!(attribution.iter().all(|value| value.is_finite() && *value != 0.0));
    let measured = texts(&run, "weights", "measure").into_iter().zip(numbers(&run, "weights", "value"));
    let composition: Vec<f64> = measured.filter(|(measure, _)| measure == "k_composition").map(|(_, value)| value).collect();
    assert!(composition.len() == 5 * 64 && composition.iter().all(|value| (0.0..1.0).contains(value)), "{composition:?}");
}

/// Figure 5b in small: the more is given, the sooner the loss falls.
#[test]
fn what_is_given_need_not_be_learned() {
    let home = tempfile::tempdir().unwrap();
    let crossed = |name: &str, sequences: u64| -> i64 {
        let (file, out) = (BASE.replace("base", name), home.path().join(name));
        let length = format!("train.sequences={sequences}");
        let sets = ["--set", &length, "--set", "evaluation.every=2000", "--set", "evaluation.sequences=500"];
        PROGRAM.succeed(&[&["run", &file, "--out", out.to_str().unwrap(), "--quiet"], &sets[..]].concat());
        let run = &runs(&out)[0];
        let sequences: Vec<i64> = column::<Int64Array>(run, "eval", "sequences").iter().flat_map(|own| own.values().to_vec()).collect();
        let own = sequences.into_iter().zip(texts(run, "eval", "evaluator")).zip(numbers(run, "eval", "loss"));
        let mut fsl_train = own.filter(|((_, evaluator), _)| evaluator == "fsl_train");
        fsl_train.find(|(_, loss)| *loss < 0.4 * std::f64::consts::LN_2).map_or(i64::MAX, |((sequences, _), _)| sequences)
    };
    let (layer_1_copy, matching, copy) = (crossed("layer_1_copy", 60_000), crossed("match", 60_000), crossed("copy", 60_000));
    let layer_1 = crossed("layer_1", 90_000);
    let all = (layer_1_copy, matching, copy, layer_1);
    assert!(layer_1_copy < matching && layer_1_copy < copy && matching < layer_1 && copy < layer_1 && layer_1 <= 90_000, "{all:?}");
    // These take more than twice as long.
    assert_eq!((crossed("previous_token", 60_000), crossed("one_head", 60_000)), (i64::MAX, i64::MAX));
}

/// An experiment may build on another; what is wrong is named in the file where it stands.
#[test]
fn files_extend_files() {
    let home = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(home.path().join(name), text).unwrap();
    let path = |name: &str| home.path().join(name).display().to_string();
    write("a.toml", "extends = \"b.toml\"\n");
    write("b.toml", "extends = \"a.toml\"\n");
    let message = PROGRAM.refused(2, &["sites", &path("a.toml")]);
    assert_eq!(message, format!("error: {}: extends, by way of others, itself", path("a.toml")));
    write("c.toml", "extends = \"none.toml\"\n");
    let message = PROGRAM.refused(2, &["sites", &path("c.toml")]);
    assert_eq!(message, format!("error: {}: No such file or directory (os error 2)", path("none.toml")));
    let base = fs::canonicalize(BASE).unwrap();
    write("d.toml", &format!("extends = {base:?}\n[model]\nwidht = 32\n"));
    write("e.toml", "extends = \"d.toml\"\nname = \"e\"\n");
    let message = PROGRAM.refused(2, &["sites", &path("e.toml")]);
    assert_eq!(message, format!("error: {}:3:1: unknown key \"widht\" in [model]; did you mean \"width\"?", path("d.toml")));
}

/// What the README shows can be run.
#[test]
fn the_readme_s_tables_are_understood() {
    let home = tempfile::tempdir().unwrap();
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let blocks: Vec<&str> = readme.split("```toml\n").skip(1).filter_map(|after| after.split("```").next()).collect();
    assert_eq!(blocks.len(), 2);
    for (index, block) in blocks.into_iter().enumerate() {
        PROGRAM.succeed(&["sites", &file(home.path(), &format!("readme{index}"), block)]);
    }
}
