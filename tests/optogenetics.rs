//! Interventions and hooks in whole runs: on schedules, resumed, beside nothing that they change.

use arrow::array::{Float32Array, Float64Array, Int64Array};
use optogen_tests::program::{BASE, Program, contents, final_weights, rows, runs};
use optogen_tests::small::{LATER, LOOK, column, file, numbers, run, run_of, texts};
use std::fs;
use std::path::Path;

const PROGRAM: Program = Program(env!("CARGO_BIN_EXE_optogen"));

#[test]
fn what_never_acts_and_who_only_looks_change_no_byte() {
    let home = tempfile::tempdir().unwrap();
    let plain = run(&PROGRAM, home.path(), "plain", "name = \"a\"");
    let idle = run(&PROGRAM, home.path(), "idle", &format!("name = \"a\"\n{LATER}\n{LOOK}every = 1_000_000\n"));
    let looking = run(
        &PROGRAM,
        home.path(),
        "looking",
        &format!("name = \"a\"\n{LOOK}every = 64\nduring = [\"training\", \"evaluation\"]\ngradient = true\n"),
    );
    for other in [&idle, &looking] {
        assert_eq!(final_weights(&plain), final_weights(other));
        assert_eq!(numbers(&plain, "train", "loss"), numbers(other, "train", "loss"));
        assert_eq!(numbers(&plain, "eval", "loss"), numbers(other, "eval", "loss"));
        assert_eq!(numbers(&plain, "heads", "induction_strength"), numbers(other, "heads", "induction_strength"));
    }
    // 2 layers, 8 heads, 5 tokens; 32 looks at training, 33 at each of 4 evaluators. The idle hook looks at the first and the last moment.
    assert_eq!((rows(&looking, "attention"), rows(&idle, "attention")), (80 * (32 + 33 * 4), 80 * 2 * 4));
    let acting = run(
        &PROGRAM,
        home.path(),
        "acting",
        "name = \"a\"\n[[intervention]]\nsite = \"v\"\nlayers = [1]\naction = \"zero\"\nfrom = 1024\n",
    );
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
    let run = run_of(&PROGRAM, home.path(), "hooks", &more, 300);
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

/// Where no right label is in the context there is none to attend to: of such an evaluator the strength is null, and no threshold is crossed.
#[test]
fn an_evaluator_that_cannot_be_answered_from_its_context_has_no_induction_strength() {
    let home = tempfile::tempdir().unwrap();
    let more = "name = \"a\"\n[model]\noutputs = 50\n[[evaluator]]\nname = \"known\"\nrelabel = \"none\"\n\
        [[evaluator]]\nname = \"elsewhere\"\nrelabel = \"none\"\nburstiness = 0\nsupport = false\n\
        [[intervention]]\nsite = \"v\"\naction = \"zero\"\nfrom = { evaluator = \"elsewhere\", measure = \"induction_strength\", above = -2.0 }\n";
    let run = run(&PROGRAM, home.path(), "elsewhere", more);
    let columns = column::<Float64Array>(&run, "heads", "induction_strength");
    let strengths: Vec<Option<f64>> = columns.iter().flat_map(|own| own.iter().collect::<Vec<_>>()).collect();
    let evaluators = texts(&run, "heads", "evaluator");
    assert_eq!(strengths.len(), 5 * 2 * 16);
    for (evaluator, strength) in evaluators.iter().zip(strengths) {
        assert_eq!(strength.is_none(), evaluator == "elsewhere", "{evaluator}: {strength:?}");
    }
    assert!(numbers(&run, "heads", "to_labels").iter().all(|attention| (0.0..=1.0).contains(attention)));
    assert_eq!(rows(&run, "notes"), 0);
}

/// An intervention may hold for one evaluator alone.
#[test]
fn one_evaluator_alone_can_be_clamped() {
    let home = tempfile::tempdir().unwrap();
    let plain = run(&PROGRAM, home.path(), "plain", "name = \"a\"");
    let clamp = "name = \"a\"\n[[intervention]]\nsite = \"v\"\nlayers = [1]\naction = \"zero\"\nduring = \"fsl_val_rl\"\n";
    let clamped = run(&PROGRAM, home.path(), "clamped", clamp);
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
    let whole = run(&PROGRAM, home.path(), "whole", more);
    let plain = run(&PROGRAM, home.path(), "plain", "name = \"a\"");
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
    assert!(!runs(&again)[0].join("train.parquet").exists());
    assert_eq!(contents(&whole, "eval"), contents(&runs(&again)[0], "eval"));
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
