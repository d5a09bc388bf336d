//! Every message about an experiment file, with its place; sweeps; and the experiment files that come with the project.

use super::*;
use crate::experiment::{EvaluatorSpec, Positions, RelabelName, Split, SplitName};

/// Line and column matter to the tests below.
pub(crate) const BASE: &str = r#"name = "base"
[data]
classes = { train = 50, val = 1786, test = 100 }
exemplars = { train = 1, val = 4 }
relabel = { labels = 5, pairs = { train = 8, val = 2 } }
[[data.mixture]]
context = 2
burstiness = 1
[model]
width = 64
positions = "rope"
[train]
sequences = 600_000
optimiser = { name = "adam", rate = 1e-5 }
[seeds]
init = 5
[evaluation]
every = 5_000
[[evaluator]]
name = "fsl_train"
classes = "train"
relabel = "train"
"#;

/// The message that `BASE` gives with one line of it replaced by another text.
fn refused(line: &str, replacement: &str) -> String {
    assert!(BASE.contains(line), "{line}");
    expand(&BASE.replacen(line, replacement, 1), "f.toml", &Changes::default()).map(|_| ()).unwrap_err().to_string()
}

pub(crate) fn with(sets: &[&str], grids: &[&str]) -> Result<Vec<Experiment>> {
    let strings = |options: &[&str]| options.iter().map(|&option| option.into()).collect::<Vec<String>>();
    expand(BASE, "f.toml", &Changes { sets: &strings(sets), grids: &strings(grids), ..Changes::default() })
}

/// The message that `BASE` gives with options.
pub(crate) fn refused_with(sets: &[&str], grids: &[&str]) -> String {
    with(sets, grids).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn unknown_keys_and_values_name_the_nearest() {
    assert_eq!(refused("width = 64", "widht = 64"), r#"f.toml:10:1: unknown key "widht" in [model]; did you mean "width"?"#);
    assert_eq!(refused("[seeds]", "[seed]"), r#"f.toml:15:2: unknown key "seed"; did you mean "seeds"?"#);
    assert_eq!(
        refused("burstiness", "bustiness"),
        r#"f.toml:8:1: unknown key "bustiness" in [[data.mixture]]; did you mean "burstiness"?"#
    );
    assert_eq!(refused("train = 8", "trian = 8"), r#"f.toml:5:35: unknown key "trian" in [data.relabel.pairs]; did you mean "train"?"#);
    assert_eq!(refused("init = 5", "zebra = 5"), r#"f.toml:16:1: unknown key "zebra" in [seeds]; known are "init", "train", "eval""#);
    assert_eq!(
        refused(r#""rope""#, r#""learnt""#),
        r#"f.toml:11:13: model.positions: unknown value "learnt"; did you mean "learned"? (known are "rope", "learned", "sinusoidal")"#
    );
    assert_eq!(
        refused(r#"classes = "train""#, r#"classes = "everything""#),
        r#"f.toml:21:11: evaluator.0.classes: unknown value "everything" (known are "train", "val", "test", "all")"#
    );
}

#[test]
fn wrong_types_say_what_is_expected_and_found() {
    let cases = [
        ("width = 64", "width = \"64\"", r#"f.toml:10:9: model.width: expected a whole number from 0 on, found the text "64""#),
        ("width = 64", "width = -64", "f.toml:10:9: model.width: expected a whole number from 0 on, found -64"),
        ("600_000", "6e5", "f.toml:13:13: train.sequences: expected a whole number from 0 on, found 6e5"),
        ("1e-5", "true", "f.toml:14:37: train.optimiser.rate: expected a number, found true"),
        ("width = 64", "norms = 1", "f.toml:10:9: model.norms: expected true or false, found 1"),
        ("\"rope\"", "3", "f.toml:11:13: model.positions: expected a text in quotes, found 3"),
        ("name = \"base\"", "name = 5", "f.toml:1:8: name: expected a text in quotes, found 5"),
        ("every = 5_000", "at = 5", "f.toml:18:6: evaluation.at: expected a list, found 5"),
        ("{ name = \"adam\", rate = 1e-5 }", "\"adam\"", r#"f.toml:14:13: train.optimiser: expected a table, found the text "adam""#),
        ("[data]\n", "[data]\nbank = 5\n", "f.toml:3:8: data.bank: expected a path in quotes, found 5"),
        (", rate = 1e-5", "", r#"f.toml:14:13: missing key "rate" in [train.optimiser]"#),
        ("burstiness = 1\n", "", r#"f.toml:6:1: missing key "burstiness" in [[data.mixture]]"#),
        ("name = \"base\"", "", r#"f.toml:1:1: missing key "name""#),
        ("width = 64", "width = ", "f.toml:10:9: this is not TOML: "),
        ("width = 64", "width = 64\nwidth = 32", "f.toml:11:1: this is not TOML: duplicate key"),
    ];
    for (line, replacement, message) in cases {
        let refused = refused(line, replacement);
        assert!(refused.starts_with(message) && (refused == message || message.contains("TOML")), "{refused}\ninstead of\n{message}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_where_it_stands() {
    let cases = [
        (r#"name = "base""#, r#"name = "a b""#, r#"f.toml:1:1: name: "a b" is no name: "#),
        (r#"name = "base""#, r#"name = ".""#, r#"f.toml:1:1: name: "." is no name: "#),
        ("width = 64", "width = 65", "f.toml:9:2: model.heads: a width of 65 cannot be divided among 8 heads"),
        (
            "width = 64",
            "width = 24",
            "f.toml:9:2: model.heads: rope rotates pairs of dimensions, and a width of 24 over 8 heads gives the odd head size 3",
        ),
        ("width = 64", "layers = 0", "f.toml:10:1: model.layers: must be at least 1"),
        ("width = 64", "heads = 0", "f.toml:10:1: model.heads: must be at least 1"),
        ("width = 64", "time = 0", "f.toml:10:1: model.time: must be a positive number, not 0"),
        ("width = 64", "init_rescale = inf", "f.toml:10:1: model.init_rescale: must be a positive number, not inf"),
        ("width = 64", "mlp_ratio = 0.01", "f.toml:10:1: model.mlp_ratio: 0.01 of a width of 64 leaves the MLP without a hidden unit"),
        ("600_000", "0", "f.toml:13:1: train.sequences: must be at least 1"),
        ("600_000", "600_000\nbatch = 0", "f.toml:14:1: train.batch: must be at least 1"),
        ("600_000", "600_000\nmicro_batch = 5", "f.toml:14:1: train.micro_batch: a batch of 32 cannot be divided into micro-batches of 5"),
        ("600_000", "600_000\nweight_decay = -1.0", "f.toml:14:1: train.weight_decay: must be 0 or a positive number, not -1"),
        ("1e-5", "nan", "f.toml:14:30: train.optimiser.rate: must be a positive number, not NaN"),
        (
            "1e-5",
            "1e-5, warmup = 5",
            "f.toml:14:43: train.optimiser.warmup: only the optimisers \"warmup_decay\" and \"cosine\" have it; take it out, or choose one of them",
        ),
        (
            "\"adam\"",
            "\"cosine\", decay = 4000",
            "f.toml:14:1: train.optimiser: the cosine reaches 0 at step 4000 (decay), before the end of the warm-up at step 4000",
        ),
        ("init = 5", "init = 5\ntrain = 5", "f.toml:17:1: seeds.train: is 5, as seeds.init is; the three seeds must differ"),
        ("init = 5", "init = 1", "f.toml:15:2: seeds.eval: is 1, as seeds.init is; the three seeds must differ"),
        ("every = 5_000", "", "f.toml:17:2: evaluation: needs one of \"every\", \"at\" and \"logarithmic\", and has 0 of them"),
        (
            "every = 5_000",
            "every = 1\nat = [1]",
            "f.toml:17:2: evaluation: needs one of \"every\", \"at\" and \"logarithmic\", and has 2 of them",
        ),
        ("every = 5_000", "every = 0", "f.toml:18:1: evaluation.every: must be at least 1"),
        ("every = 5_000", "at = []", "f.toml:18:1: evaluation.at: is an empty list"),
        ("every = 5_000", "every = 1\nsequences = 0", "f.toml:19:1: evaluation.sequences: must be at least 1"),
        (
            "[seeds]",
            "[checkpoint]\nevery = 1\nlogarithmic = 5\n[seeds]",
            "f.toml:15:2: checkpoint: needs one of \"every\", \"at\" and \"logarithmic\" at most, and has 2 of them",
        ),
        ("train = 50,", "train = 0,", "f.toml:3:13: data.classes.train: must be at least 1"),
        ("labels = 5", "labels = 1", "f.toml:5:13: data.relabel.labels: 1 labels make no pair; at least 2 are needed"),
        (
            "train = 8, val = 2",
            "train = 8, val = 3",
            "f.toml:5:25: data.relabel.pairs: train 8 + val 3 + test 0 = 11, but 5 labels make 10 pairs",
        ),
        (
            "train = 8, val = 2",
            "train = 2, val = 8",
            "f.toml:5:35: data.relabel.pairs.train: every one of the 5 labels is to be seen in training, which takes at least 3 pairs, not 2",
        ),
        ("context = 2", "context = 0", "f.toml:7:1: data.mixture.0.context: must be at least 1"),
        (
            "context = 2",
            "context = 1",
            "f.toml:8:1: data.mixture.0.burstiness: 1 items of the query's class and as many of a distractor's do not fit into a context of 1",
        ),
        ("context = 2", "weight = 0\ncontext = 2", "f.toml:7:1: data.mixture.0.weight: must be a positive number, not 0"),
        (
            "[model]",
            "[[data.mixture]]\ncontext = 3\nburstiness = 1\n[model]",
            "f.toml:10:1: data.mixture.1.context: is 3, but the first mixture's is 2; all must be equal",
        ),
        (
            "train = 50,",
            "train = 1,",
            "f.toml:6:1: data.mixture.0: the query and the distractor need 2 different classes, and data.classes has 1 (train)",
        ),
        ("[data]\n", "[data]\nzipf = -1\n", "f.toml:3:1: data.zipf: must be 0 or a positive number, not -1"),
        ("[data]\n", "[data]\nzipf = 400\n", "f.toml:3:1: data.zipf: with an exponent of 400 the rarest classes never appear"),
        ("[data]\n", "[data]\nnoise = -0.5\n", "f.toml:3:1: data.noise: must be 0 or a positive number, not -0.5"),
        (
            "context = 2",
            "context = 4",
            "f.toml:9:2: model.outputs: training has labels up to 49: items of the context that are not relabelled, each the number of its class (train classes); the model has 5 outputs (model.outputs)",
        ),
    ];
    for (line, replacement, message) in cases {
        let refused = refused(line, replacement);
        assert!(refused == message || message.ends_with(": ") && refused.starts_with(message), "{refused}\ninstead of\n{message}");
    }
}

#[test]
fn evaluators_are_refused_where_they_stand() {
    let more = |keys: &str| refused("relabel = \"train\"\n", keys);
    let cases = [
        ("noise = -1", "f.toml:22:1: evaluator.0.noise: must be 0 or a positive number, not -1"),
        ("exemplars = \"test\"", "f.toml:22:1: evaluator.0.exemplars: there are no test exemplars: data.exemplars.test is 0"),
        ("relabel = \"test\"", "f.toml:22:1: evaluator.0.relabel: there are no test pairs of labels: data.relabel.pairs.test is 0"),
        (
            "relabel = \"flip\"\ndistractor = false",
            "f.toml:22:1: evaluator.0.relabel: \"flip\" swaps the labels of query and distractor, and there is no distractor; it needs burstiness and distractor = true",
        ),
        (
            "relabel = \"none\"",
            "f.toml:19:1: evaluator.0: the evaluator \"fsl_train\" has labels up to 49: each class its number (train classes); the model has 5 outputs (model.outputs)",
        ),
        (
            "burstiness = 2",
            "f.toml:22:1: evaluator.0.burstiness: 2 items of the query's class and as many of a distractor's do not fit into a context of 2",
        ),
        (
            "burstiness = 3\ndistractor = false",
            "f.toml:22:1: evaluator.0.burstiness: 3 items of the query's class do not fit into a context of 2",
        ),
        (
            "context = 100\nburstiness = 0\nunique = true",
            "f.toml:24:1: evaluator.0.unique: the query and 100 other items of the context need 101 different classes, and data.classes has 50 (train)",
        ),
        (
            "file = \"a.h5\"",
            "f.toml:21:1: evaluator.0.classes: the sequences of \"fsl_train\" are read from its file; take \"classes\" or \"file\" out",
        ),
        ("[[evaluator]]\nname = \"fsl_train\"", "f.toml:23:1: evaluator.1.name: another evaluator is called \"fsl_train\" too"),
        (
            "[[evaluator]]\nname = \"a/b\"",
            "f.toml:23:1: evaluator.1.name: \"a/b\" is no name: one begins with a letter or digit, holds letters, digits, \"-\", \"_\" and \".\" alone, and is at most 100 long",
        ),
    ];
    for (keys, message) in cases {
        assert_eq!(more(keys), message);
    }
}

#[test]
fn all_sequences_are_made_where_a_sequence_is_two_classes_and_two_labels() {
    let text = |keys: &str| BASE.replace("relabel = \"train\"\n", &format!("{keys}\nexhaustive = true\n"));
    assert!(parse(&text("relabel = \"train\""), "f.toml").unwrap().evaluators[0].exhaustive);
    for (keys, message) in [
        ("context = 4", "needs a context of 2, the query's class once and a distractor; here: 4, 1 times, distractor = true"),
        ("distractor = false", "needs a context of 2, the query's class once and a distractor; here: 2, 1 times, distractor = false"),
        ("exemplars = \"all\"", "needs one exemplar of each class, and there are 5"),
        ("noise = 0.1", "leaves nothing to chance: neither random_query_label nor noise"),
        ("random_query_label = true", "leaves nothing to chance: neither random_query_label nor noise"),
    ] {
        let with_outputs = text(keys).replace("width = 64", "width = 64\noutputs = 50");
        let refused = parse(&with_outputs, "f.toml").unwrap_err().to_string();
        assert!(refused.ends_with(&format!("evaluator.0.exhaustive: {message}")), "{refused}");
    }
    let none = text("relabel = \"none\"").replace("width = 64", "width = 64\noutputs = 50");
    assert!(parse(&none, "f.toml").unwrap_err().to_string().contains("exhaustive: needs labels by pairs: relabel = \"train\""));
    let file = BASE.replace("classes = \"train\"\nrelabel = \"train\"\n", "file = \"a.h5\"\nexhaustive = true\n");
    assert!(parse(&file, "f.toml").unwrap_err().to_string().contains("read from its file; take \"exhaustive\" or \"file\" out"));
}

#[test]
fn evaluators_without_relabelling() {
    let no_test = BASE.replace("test = 100", "test = 0").replace("classes = \"train\"", "classes = \"test\"");
    let refused = expand(&no_test, "f.toml", &Changes::default()).unwrap_err().to_string();
    assert_eq!(refused, "f.toml:21:1: evaluator.0.classes: there are no test classes: data.classes.test is 0");

    let text = BASE.replace("relabel = { labels = 5, pairs = { train = 8, val = 2 } }\n", "");
    let message = |text: &str| expand(text, "f.toml", &Changes::default()).unwrap_err().to_string();
    assert_eq!(
        message(&text),
        "f.toml:21:1: evaluator.0.relabel: needs the label pairs of [data.relabel], which is not given; without it there are \"none\", \"01\" and \"flip\""
    );
    for scheme in ["01", "flip", "none"] {
        assert!(parse(&text.replace("relabel = \"train\"", &format!("relabel = \"{scheme}\"")), "f.toml").is_ok(), "{scheme}");
    }
    // Labels are the numbers of the classes, and those of test classes are beyond the 50 outputs.
    assert_eq!(
        message(&text.replace("classes = \"train\"\nrelabel = \"train\"", "classes = \"test\"")),
        "f.toml:18:1: evaluator.0: the evaluator \"fsl_train\" has labels up to 1935: each class its number (test classes); the model has 50 outputs (model.outputs)"
    );
    let no_support = text.replace("relabel = \"train\"\n", "context = 1\nburstiness = 0\nsupport = false\n");
    assert!(parse(&no_support, "f.toml").is_ok());
    let one_class = no_support.replace("train = 50", "train = 50, val = 0").replace("val = 0, val = 1786, test = 100", "val = 1");
    assert_eq!(
        message(&one_class.replace("\nclasses = \"train\"", "\nclasses = \"val\"").replace("[model]", "[model]\noutputs = 51")),
        "f.toml:24:1: evaluator.0.support: the query and 1 other item of the context need 2 different classes, and data.classes has 1 (val)"
    );
}

#[test]
fn learned_positions_are_32() {
    let long = |context: &str| with(&["model.positions=learned", "model.outputs=50", context], &[]);
    assert!(long("data.mixture.0.context=15").is_ok());
    assert_eq!(
        long("data.mixture.0.context=16").unwrap_err().to_string(),
        "--set data.mixture.0.context=16: data.mixture.0.context: 16 pairs and the query make 33 tokens, and there are 32 learned positions"
    );
}

#[test]
fn options_set_what_the_file_says() {
    let sets = [
        "model.positions=learned",
        "train.sequences=100",
        "data.mixture.0.weight=2",
        "evaluator.0.relabel=01",
        "checkpoint.at=[32, 64]",
        "evaluation.every=",
        "evaluation.logarithmic=20",
        "name=other",
    ];
    let experiment = with(&sets, &[]).unwrap().remove(0);
    assert_eq!(experiment.model.positions, Positions::Learned);
    assert_eq!(experiment.train.total(), 128, "whole batches");
    assert_eq!(experiment.data.mixture[0].weight, 2.0);
    assert_eq!(experiment.evaluators[0].relabel, Some(RelabelName::ZeroOne));
    assert_eq!(experiment.checkpoint.at, Some(vec![32, 64]));
    assert_eq!((experiment.evaluation.every, experiment.evaluation.logarithmic), (None, Some(20)));
    assert_eq!(experiment.name, "other");

    assert_eq!(refused_with(&["model.widht=3"], &[]), r#"--set model.widht=3: unknown key "widht" in [model]; did you mean "width"?"#);
    assert_eq!(refused_with(&["trian.batch=3"], &[]), r#"--set trian.batch=3: unknown key "trian"; did you mean "train"?"#);
    assert_eq!(
        refused_with(&["train.batch=many"], &[]),
        "--set train.batch=many: train.batch: expected a whole number from 0 on, found the text \"many\""
    );
    assert_eq!(refused_with(&["model.heads=7"], &[]), "--set model.heads=7: model.heads: a width of 64 cannot be divided among 7 heads");
    assert_eq!(
        refused_with(&["evaluator.1.noise=1"], &[]),
        "--set evaluator.1.noise=1: evaluator has no item 1; its items go by number, from 0 to 0, or by name: fsl_train"
    );
    assert_eq!(refused_with(&["model.width.x=1"], &[]), "--set model.width.x=1: width is neither a table nor a list");
    assert_eq!(refused_with(&["model.layers="], &[]), "--set model.layers=: there is no model.layers in f.toml that could be taken out");
    assert_eq!(refused_with(&["model.layers"], &[]), "--set model.layers: expected KEY=VALUE, such as --set train.sequences=100000");
    let missing = refused_with(&["train.batch=8", "train.optimiser=", "train.optimiser.rate=1"], &[]);
    assert_eq!(missing, r#"--set train.optimiser.rate=1: missing key "name" in [train.optimiser]"#);
    let table = refused_with(&["data.relabel={ labels = 5, pears = 1 }"], &[]);
    assert_eq!(table, r#"--set data.relabel={ labels = 5, pears = 1 }: unknown key "pears" in [data.relabel]; did you mean "pairs"?"#);
}

#[test]
fn a_bank_beside_the_file_is_found_there() {
    let folder = tempfile::tempdir().unwrap();
    let (file, bank) = (folder.path().join("f.toml"), folder.path().join("bank.h5"));
    std::fs::write(&file, BASE.replace("[data]\n", "[data]\nbank = \"bank.h5\"\n")).unwrap();
    let load_bank = || load(&file, &Changes::default()).unwrap().remove(0).data.bank;
    assert_eq!(load_bank(), Some("bank.h5".into()), "left for the current directory");
    std::fs::write(&bank, "").unwrap();
    assert_eq!(load_bank(), Some(bank.clone()));
    let missing = load(&folder.path().join("missing.toml"), &Changes::default()).unwrap_err().to_string();
    assert!(missing.ends_with("missing.toml: No such file or directory (os error 2)"), "{missing}");
}

#[test]
fn files_lie_on_top_of_those_they_extend() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let read = |name: &str| load(&folder.path().join(name), &Changes::default());
    write("base.toml", &format!("{BASE}[[intervention]]\nname = \"only\"\nsite = \"v\"\naction = \"zero\"\n"));
    write("short.toml", "extends = \"base.toml\"\ntrain.sequences = 64\nmodel.heads = 4\n");
    write("small.toml", "extends = \"base.toml\"\nmodel = { width = 32, heads = 2 }\n");
    write("both.toml", "extends = [\"short.toml\", \"small.toml\"]\nname = \"both\"\n");
    let both = read("both.toml").unwrap().remove(0);
    assert_eq!((both.name.as_str(), both.train.sequences, both.model.width, both.model.heads), ("both", 64, 32, 2));
    assert_eq!(both.interventions.len(), 1, "what both extend is laid down once");

    let refused = |name: &str| read(name).unwrap_err().to_string().replace(&format!("{}/", folder.path().display()), "");
    write("wrong.toml", "extends = [\"base.toml\", 5]\n");
    assert_eq!(refused("wrong.toml"), "wrong.toml:1:25: extends: expected a path in quotes, or a list of them, found 5");
    write("wrong.toml", "extends = 5\n");
    assert_eq!(refused("wrong.toml"), "wrong.toml:1:11: extends: expected a path in quotes, or a list of them, found 5");
    write("one.toml", "extends = \"other.toml\"\n");
    write("other.toml", "extends = \"one.toml\"\n");
    assert_eq!(refused("one.toml"), "one.toml: extends, by way of others, itself");
    write("one.toml", "extends = \"gone.toml\"\n");
    assert_eq!(refused("one.toml"), "gone.toml: No such file or directory (os error 2)");
}

#[test]
fn a_donor_may_be_a_run_which_stands_for_its_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let (file, run) = (folder.path().join("f.toml"), folder.path().join("run=a"));
    std::fs::write(&file, format!("{BASE}[[pass]]\nname = \"other\"\ndonor = \"run=a\"\n")).unwrap();
    let donor = || load(&file, &Changes::default()).unwrap().remove(0).passes[0].donor.clone();
    assert_eq!(donor(), Some("run=a".into()), "left for the current directory");
    for at in [0, 64, 128] {
        std::fs::create_dir_all(run.join(format!("checkpoints/at-{at:012}"))).unwrap();
    }
    assert_eq!(donor(), Some(run.join("checkpoints/at-000000000128")));
}

#[test]
fn the_base_experiment_is_the_published_one() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../experiments/induction");
    let experiments = load(&folder.join("base.toml"), &Changes::default()).unwrap();
    let [base] = &experiments[..] else { panic!("{} runs", experiments.len()) };
    assert_eq!(base.data.classes, Split { train: 50, val: 1786, test: 100 });
    assert_eq!(base.data.exemplars, Split { train: 1, val: 4, test: 0 });
    assert_eq!((base.model.layers, base.model.width, base.model.heads, base.outputs()), (2, 64, 8, 5));
    assert_eq!((base.train.total(), base.train.batch, base.train.optimiser.rate), (600_000, 32, 1e-5));
    assert_eq!((base.seeds.init, base.seeds.train, base.seeds.eval), (5, 0, 1));
    assert_eq!((base.evaluation.every, base.evaluation.sequences, base.checkpoint.every), (Some(5000), 1000, Some(50_000)));
    let described = |evaluator: &EvaluatorSpec| {
        let exemplars = evaluator.exemplars.unwrap_or(SplitName::Train);
        (evaluator.name.clone(), evaluator.classes.unwrap(), exemplars, evaluator.relabel.unwrap())
    };
    let expected = [
        ("fsl_train", SplitName::Train, SplitName::Train, RelabelName::Train),
        ("fsl_val_rl", SplitName::Train, SplitName::Train, RelabelName::Val),
        ("fsl_train_valex", SplitName::Train, SplitName::Val, RelabelName::Train),
        ("fsl_test_class", SplitName::Test, SplitName::Train, RelabelName::Train),
    ];
    let expected = expected.map(|(name, classes, exemplars, relabel)| (name.to_string(), classes, exemplars, relabel));
    assert_eq!(base.evaluators.iter().map(described).collect::<Vec<_>>(), expected);

    let seeds = load(&folder.join("seeds.toml"), &Changes::default()).unwrap();
    assert_eq!(seeds.iter().map(|run| run.seeds.init).collect::<Vec<_>>(), [5, 6, 7, 8, 9]);
}

#[test]
fn splits_must_add_up_to_the_bank() {
    let base = parse(BASE, "f.toml").unwrap();
    assert!(crate::experiment::check_bank(&base, "bank.h5", 1936, 5).is_ok());
    let message = |classes, exemplars| crate::experiment::check_bank(&base, "bank.h5", classes, exemplars).unwrap_err().to_string();
    assert_eq!(message(1623, 5), "data.classes: train 50 + val 1786 + test 100 = 1936, but bank.h5 holds 1623 classes");
    assert_eq!(message(1936, 20), "data.exemplars: train 1 + val 4 + test 0 = 5, but bank.h5 holds 20 exemplars of each class");
}
