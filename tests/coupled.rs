//! Interventions that read other sequences, by `mean`, `resample` or `input = "next_sequence"`: over the whole evaluator, and in training over the whole
//! batch, however these are cut.

use arrow::array::{Float32Array, Int64Array};
use optogen_tests::program::{Program, contents, runs};
use optogen_tests::small::{column, file_of, numbers, run_of, texts};
use std::path::Path;

const PROGRAM: Program = Program(env!("CARGO_BIN_EXE_optogen"));

/// One more than what is measured at a time.
const MANY: usize = 251;

/// Looks at what the last layer gives at the query, and at the logits there.
const LOOKS: &str = "[[hook]]\ntable = \"stream\"\nsite = \"resid_post\"\nlayers = [1]\nat = \"query\"\nduring = \"fsl_train\"\n\
    [[hook]]\ntable = \"logits\"\nsite = \"unembedding\"\nat = \"query\"\nduring = \"fsl_train\"\n";

/// An intervention on all that the logits at the query are made of.
fn at_the_end(action: &str) -> String {
    format!(
        "name = \"a\"\n[[intervention]]\nsite = \"resid_post\"\nlayers = [1]\nat = \"query\"\naction = {action}\nduring = \"evaluation\"\n{LOOKS}"
    )
}

/// What a hook saw at its last look: the values of each sequence.
fn seen(run: &Path, table: &str, sequences: usize) -> Vec<Vec<f32>> {
    let all: Vec<f32> = column::<Float32Array>(run, table, "value").iter().flat_map(|own| own.values().to_vec()).collect();
    let numbers: Vec<i64> = column::<Int64Array>(run, table, "example").iter().flat_map(|own| own.values().to_vec()).collect();
    let looks = 5;
    let last = all.len() - all.len() / looks;
    let mut each = vec![Vec::new(); sequences];
    all[last..].iter().zip(&numbers[last..]).for_each(|(value, example)| each[*example as usize].push(*value));
    each
}

fn alike(a: &[f32], b: &[f32], most: f32) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= most * b.abs().max(1.0))
}

/// A metric of each sequence of an evaluator, at the last evaluation.
fn examples(run: &Path, metric: &str, sequences: usize) -> Vec<f32> {
    let evaluators = texts(run, "eval_examples", "evaluator");
    let all = column::<Float32Array>(run, "eval_examples", metric).iter().flat_map(|own| own.values().to_vec()).collect::<Vec<_>>();
    let own: Vec<f32> = evaluators.iter().zip(all).filter(|(name, _)| *name == "fsl_train").map(|(_, value)| value).collect();
    own[own.len() - sequences..].to_vec()
}

#[test]
fn each_sequence_gets_the_value_of_the_next_one_of_the_evaluator() {
    let home = tempfile::tempdir().unwrap();
    let run = |name: &str, more: &str, sequences| run_of(&PROGRAM, home.path(), name, more, sequences);
    let plain = run("plain", &format!("name = \"a\"\n{LOOKS}"), MANY);
    let resampled = run("resampled", &at_the_end("\"resample\""), MANY);
    let pass = format!("{}[[pass]]\nname = \"next\"\ninput = \"next_sequence\"\n", at_the_end("{ copy = { pass = \"next\" } }"));
    let copied = run("copied", &pass, MANY);
    let before = seen(&plain, "logits", MANY);
    assert_eq!((before.len(), before[0].len()), (MANY, 5));
    for clamped in [&resampled, &copied] {
        let after = seen(clamped, "logits", MANY);
        for (example, logits) in after.iter().enumerate() {
            assert!(alike(logits, &before[(example + 1) % MANY], 1e-6), "{example}: {logits:?}");
        }
        assert!(after.iter().zip(&before).all(|(after, before)| !alike(after, before, 1e-6)), "none is left as it was");
        // Hooks see what is evaluated.
        let labels = examples(clamped, "prob", MANY);
        for (logits, prob) in after.iter().zip(labels) {
            let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let total: f32 = logits.iter().map(|logit| (logit - most).exp()).sum();
            assert!(logits.iter().any(|logit| ((logit - most).exp() / total - prob).abs() < 1e-6), "{prob} of {logits:?}");
        }
    }
    // Of a larger evaluator, only the last sequence has another next one.
    let larger = run("larger", &at_the_end("\"resample\""), 300);
    let (small, large) = (examples(&resampled, "loss", MANY), examples(&larger, "loss", 300));
    assert!(alike(&small[..MANY - 1], &large[..MANY - 1], 1e-6));
    assert_ne!(small[MANY - 1], large[MANY - 1]);
    // A replay does what the run did.
    let again = home.path().join("again");
    PROGRAM.succeed(&["replay", resampled.to_str().unwrap(), "--out", again.to_str().unwrap(), "--quiet"]);
    for table in ["eval", "eval_examples", "heads", "logits"] {
        assert_eq!(contents(&resampled, table), contents(&runs(&again)[0], table), "{table}");
    }
}

#[test]
fn the_mean_is_over_the_whole_evaluator() {
    let home = tempfile::tempdir().unwrap();
    let plain = run_of(&PROGRAM, home.path(), "plain", &format!("name = \"a\"\n{LOOKS}"), MANY);
    let clamped = run_of(&PROGRAM, home.path(), "clamped", &at_the_end("\"mean\""), MANY);
    let before = seen(&plain, "stream", MANY);
    let mean = |dimension: usize| before.iter().map(|own| f64::from(own[dimension])).sum::<f64>() / MANY as f64;
    let mean: Vec<f32> = (0..64).map(|dimension| mean(dimension) as f32).collect();
    for (example, own) in seen(&clamped, "stream", MANY).iter().enumerate() {
        assert!(alike(own, &mean, 1e-5), "{example}: {own:?}");
    }
    // So all sequences with one right label have one loss.
    let mut losses = examples(&clamped, "loss", MANY);
    losses.sort_by(f32::total_cmp);
    losses.dedup_by(|a, b| (*a - *b).abs() < 1e-6);
    assert_eq!(losses.len(), 5);
}

#[test]
fn in_training_they_are_over_the_whole_batch_however_it_is_divided() {
    let home = tempfile::tempdir().unwrap();
    let more = "name = \"a\"\n[[pass]]\nname = \"next\"\ninput = \"next_sequence\"\n\
        [[intervention]]\nsite = \"v\"\nlayers = [0]\nheads = [1, 2]\naction = \"mean\"\nduring = \"training\"\n\
        [[intervention]]\nsite = \"attn_out\"\nlayers = [1]\nstrength = 0.5\naction = \"resample\"\nduring = \"training\"\n\
        [[intervention]]\nsite = \"k\"\nlayers = [1]\nheads = [0]\naction = { copy = { pass = \"next\" } }\nduring = \"training\"\n\
        [[hook]]\ntable = \"looked\"\nsite = \"z\"\nlayers = [1]\nat = \"query\"\nduring = \"training\"\nreduce = \"mean_and_deviation\"\n\
        [[hook]]\ntable = \"slope\"\nsite = \"v\"\nlayers = [0]\nat = \"query\"\nduring = \"training\"\ngradient = true\n";
    let file = file_of(home.path(), "coupled", more, 20);
    let run = |micro_batch: &str| {
        let out = home.path().join(format!("by-{micro_batch}"));
        let set = format!("train.micro_batch={micro_batch}");
        PROGRAM.succeed(&["run", &file, "--out", out.to_str().unwrap(), "--quiet", "--set", &set]);
        runs(&out).remove(0)
    };
    let (whole, divided) = (run("32"), run("8"));
    let first = |run: &Path, name: &str| numbers(run, "train", name)[0];
    for name in ["loss", "grad_norm"] {
        let (whole, divided) = (first(&whole, name), first(&divided, name));
        assert!((whole - divided).abs() < 1e-5 * whole, "{name}: {whole}, of micro-batches {divided}");
    }
    assert!(first(&divided, "grad_spread") > 0.0);
    let (whole_loss, divided_loss) = (numbers(&whole, "train", "loss"), numbers(&divided, "train", "loss"));
    assert_eq!(whole_loss.len(), 64);
    assert!(whole_loss.iter().zip(&divided_loss).all(|(a, b)| (a - b).abs() < 1e-3), "they go the same way");
    for table in ["looked", "slope"] {
        let of = |run: &Path| column::<Float32Array>(run, table, "value").iter().flat_map(|own| own.values().to_vec()).collect::<Vec<_>>();
        let (whole, divided) = (of(&whole), of(&divided));
        let look = whole.len() / 4;
        assert!(alike(&divided[..look], &whole[..look], 1e-5), "{table}");
        assert!(whole[..look].iter().any(|value| *value != 0.0));
    }
}

#[test]
fn what_cannot_act_is_said_at_the_start() {
    let home = tempfile::tempdir().unwrap();
    let said = |name: &str, more: &str, sequences: usize| -> String {
        let (file, out) = (file_of(home.path(), name, more, sequences), home.path().join(name));
        let output = PROGRAM.run(&["run", &file, "--out", out.to_str().unwrap(), "--quiet"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{said}");
        said
    };
    let more = "name = \"a\"\n[[pass]]\nname = \"unread\"\ninput = \"swapped_labels\"\n[[pass]]\nname = \"read\"\n\
        [[intervention]]\nname = \"late\"\nsite = \"v\"\nlayers = [0]\nheads = [0]\naction = \"zero\"\nfrom = 4096\n\
        [[intervention]]\nname = \"at-the-end\"\nsite = \"v\"\nlayers = [0]\nheads = [1]\naction = \"zero\"\nfrom = 2048\nduring = \"training\"\n\
        [[intervention]]\nname = \"weak\"\nsite = \"v\"\nlayers = [0]\nheads = [2]\naction = \"zero\"\nstrength = 0.0\n\
        [[intervention]]\nname = \"same\"\nsite = \"v\"\nlayers = [0]\nheads = [3]\naction = { scale = 1.0 }\n\
        [[intervention]]\nname = \"nowhere\"\nsite = \"pattern\"\nlayers = [0]\nat = [0]\nto = \"previous\"\naction = \"zero\"\n\
        [[intervention]]\nname = \"within\"\nsite = \"v\"\nlayers = [1]\naction = \"zero\"\npass = \"unread\"\n\
        [[intervention]]\nname = \"other-times\"\nsite = \"v\"\nlayers = [1]\naction = \"zero\"\npass = \"read\"\nduring = \"training\"\n\
        [[intervention]]\nname = \"reads\"\nsite = \"z\"\nlayers = [1]\naction = { copy = { pass = \"read\" } }\nduring = \"evaluation\"\n\
        [[intervention]]\nname = \"alone\"\nsite = \"attn_out\"\nlayers = [1]\naction = \"mean\"\nduring = \"evaluation\"\n\
        [[intervention]]\nname = \"replays\"\nsite = \"k\"\nlayers = [1]\naction = \"zero\"\nduring = \"replay\"\n\
        [[intervention]]\nname = \"acts\"\nsite = \"q\"\nlayers = [1]\naction = \"zero\"\nfrom = 2048\n";
    let expected = "\
warning: pass \"unread\" changes nothing: no intervention reads it, as action = { copy = { pass = \"unread\" } } does
warning: intervention \"late\" never acts: it begins after 4096 sequences, and the run ends at 2048
warning: intervention \"at-the-end\" never acts: it begins after 2048 sequences, and the run ends at 2048
warning: intervention \"weak\" never acts: its strength is 0
warning: intervention \"same\" never acts: \"scale\" leaves the entries as they are
warning: intervention \"nowhere\" never acts: no sequence has the entries that it chooses
warning: intervention \"other-times\" never acts: pass \"read\" is not read while it holds
warning: intervention \"alone\" changes nothing in evaluator \"fsl_train\", in evaluator \"fsl_val_rl\", in evaluator \"fsl_train_valex\", in evaluator \"fsl_test_class\": there is only one sequence
";
    assert_eq!(said("idle", more, 1), expected);
    assert_eq!(said("busy", "name = \"a\"\n[[intervention]]\nsite = \"v\"\naction = \"mean\"\nuntil = 640\n", 2), "");
    // In a replay the checkpoints count, and what is for training alone is passed over.
    let run = runs(&home.path().join("busy")).remove(0);
    let with = home.path().join("with.toml");
    std::fs::write(
        &with,
        "[[intervention]]\nsite = \"k\"\naction = \"zero\"\nfrom = 4096\n[[intervention]]\nsite = \"q\"\naction = \"zero\"\nduring = \"training\"\n",
    )
    .unwrap();
    let out = home.path().join("again");
    let arguments = ["replay", run.to_str().unwrap(), "--with", with.to_str().unwrap(), "--out", out.to_str().unwrap(), "--quiet"];
    let output = PROGRAM.run(&arguments);
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "warning: intervention \"zero at k\" never acts: it begins after 4096 sequences, and the last checkpoint is at 2048\n"
    );
}
