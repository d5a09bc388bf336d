//! `optogen figures`: what is drawn from logs, what stands in the tables, and what is said where there are no runs.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Float64Type;
use optogen::log::read_table;
use optogen_tests::program::Program;
use optogen_tests::synthetic::{STRENGTHS, Synthetic, kept, only};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const PROGRAM: Program = Program(env!("CARGO_BIN_EXE_optogen"));
const SEEDS: [u64; 2] = [5, 6];

fn seed(seed: u64) -> String {
    format!("seeds.init={seed}")
}

/// All runs of the paper, as it would like them to be, and the figures made of them; they stay in `target/tmp/paper`, to be looked at.
fn paper() -> &'static Path {
    static PAPER: OnceLock<PathBuf> = OnceLock::new();
    PAPER.get_or_init(|| {
        let runs = Path::new(env!("CARGO_TARGET_TMPDIR")).join("paper");
        let _ = std::fs::remove_dir_all(&runs);
        for (number, init) in SEEDS.into_iter().enumerate() {
            let late = 1.5e4 * number as f64;
            emergence(&runs, init, late);
            heads(&runs, init, late);
            clamps(&runs, init, late);
            appendix(&runs, init, late);
        }
        let figures = runs.join("figures");
        PROGRAM.succeed(&["figures", "induction", runs.to_str().unwrap(), "--out", figures.to_str().unwrap()]);
        runs
    })
}

fn emergence(runs: &Path, init: u64, late: f64) {
    let whole = Synthetic { sets: vec![seed(init)], falls: 2.2e5 + late, ..Default::default() };
    let main = whole.write(&runs.join("main"));
    graft(runs, &main, late);
    let sets = vec![seed(init), "measures.weights=true".into()];
    Synthetic { sets, falls: 2.2e5 + late, heads: true, ..Default::default() }.write(&runs.join("main_analysis"));
    let more = (only(0, &[]), kept("pattern"));
    let cut = Synthetic { more: &(more.0 + &more.1), sets: vec![seed(init)], accuracy: Some(0.98), ..Default::default() };
    cut.write(&runs.join("layer_0_cut"));
}

/// A run with another seed's first layer.
fn graft(runs: &Path, donor: &Path, late: f64) {
    let more = format!(
        "[[pass]]\nname = \"finished\"\ndonor = \"{}/checkpoints/1000000\"\n\
         [[intervention]]\nsite = \"resid_post\"\nlayers = [0]\naction = {{ copy = {{ pass = \"finished\" }} }}\n",
        donor.display()
    );
    Synthetic { more: &more, falls: 5e4 + late, until: (600_000, 5_000), ..Default::default() }.write(&runs.join("graft"));
}

fn heads(runs: &Path, init: u64, late: f64) {
    for (head, strength) in STRENGTHS.into_iter().enumerate() {
        let others: Vec<usize> = (0..8).filter(|other| *other != head).collect();
        let last = (1_000_000, 1_000_000);
        let of = |more: &str, accuracy: f64, falls: f64, until, folder: &str| {
            // What is right where another is wrong is seen in single sequences.
            let examples = ["only_head", "match_one_head"].contains(&folder);
            Synthetic { more, sets: vec![seed(init)], falls, examples, accuracy: Some(accuracy), until, ..Default::default() }
                .write(&runs.join(folder));
        };
        of(&only(1, &[head]), 0.2 + 0.92 * strength, 1e6 * (1.3 - strength), last, "only_head");
        of(&only(1, &others), 1.0, 1e5, last, "without_head");
        of(&only(1, &[head]), 1.0, 3e5 + 4e5 * (0.85 - strength) + late, (1_000_000, 20_000), "single_head");
        of(&only(1, &[head]), 0.3 + 0.8 * strength, 3e5, last, "match_one_head");
        if head != 3 {
            of(&only(1, &[3, head]), 1.0, 2.8e5 + 1e5 * (0.85 - strength) + late, (1_000_000, 20_000), "pair_heads");
        }
    }
    let order = [3, 1, 2, 7, 5, 0, 4, 6];
    for begin in [0, 1] {
        for end in begin + 1..8 {
            let falls = 2.2e5 + 1e6 / (end - begin) as f64;
            let sets = vec![seed(init)];
            let more = only(1, &order[begin..end]);
            Synthetic { more: &more, sets, falls, until: (1_000_000, 1_000_000), ..Default::default() }.write(&runs.join("adding_heads"));
        }
    }
}

fn clamps(runs: &Path, init: u64, late: f64) {
    let previous = "[[intervention]]\nname = \"previous\"\nsite = \"pattern\"\nlayers = [0]\nheads = HEADS\naction = { previous_token = { strength = 1.0 } }\n";
    let induction = "[[intervention]]\nname = \"match\"\nsite = \"pattern\"\nlayers = [1]\nheads = [3]\nat = \"query\"\naction = { induction = { strength = 1.0 } }\n";
    let of = |folder: &str, more: &str, falls: f64, sets: &[&str]| {
        let sets = std::iter::once(seed(init)).chain(sets.iter().map(|set| (*set).to_owned())).collect();
        let until = if falls > 1e6 { (2_000_000, 20_000) } else { (800_000, 10_000) };
        Synthetic { more, sets, falls: falls + late, until, ..Default::default() }.write(&runs.join(folder));
    };
    let falls = [("one_head", 2.8e5), ("layer_1", 7e4), ("match", 3e4), ("copy", 3.5e4), ("layer_1_copy", 2e4)];
    for (folder, falls) in falls {
        of(folder, if folder == "match" { induction } else { "" }, falls, &[]);
        for (folder, sets, later) in [
            (format!("{folder}_classes"), ["data.classes.train=50", "data.classes.val=1786"], 1.0),
            (format!("{folder}_classes"), ["data.classes.train=100", "data.classes.val=1736"], 1.3),
            (format!("{folder}_classes"), ["data.classes.train=200", "data.classes.val=1636"], 1.5),
            (format!("{folder}_labels"), ["data.relabel.labels=5", "data.relabel.pairs.train=8"], 1.0),
            (format!("{folder}_labels"), ["data.relabel.labels=10", "data.relabel.pairs.train=43"], 3.0),
            (format!("{folder}_labels"), ["data.relabel.labels=15", "data.relabel.pairs.train=103"], 5.0),
        ] {
            of(&folder, "", falls * later, &sets);
        }
    }
    for (folder, heads, falls) in [
        ("previous_token", "[2]", 1.9e5),
        ("previous_token_other", "[6]", 2e5),
        ("previous_token_some", "[1, 2, 5]", 1.8e5),
        ("previous_token_all", "\"all\"", 4e5),
    ] {
        of(folder, &previous.replace("HEADS", heads), falls, &[]);
    }
    of("progress", &previous.replace("HEADS", "[2]"), 2.2e5, &[]);
    of("progress", induction, 2.1e5, &[]);
}

fn appendix(runs: &Path, init: u64, late: f64) {
    let last = (1_000_000, 1_000_000);
    let of = |folder: &str, more: &str, accuracy: Option<f64>, falls: f64, until: (u64, u64)| {
        Synthetic { more, sets: vec![seed(init)], accuracy, falls: falls + late, until, ..Default::default() }.write(&runs.join(folder));
    };
    of("direct_path", &(only(0, &[]) + &kept("pattern") + &kept("v")), None, 2.6e5, (1_000_000, 50_000));
    of("direct_path", &only(1, &[]), None, 6e5, (1_000_000, 50_000));
    for (alone, kept_site, accuracy) in
        [(&[0, 3, 4, 6, 7][..], "pattern", 0.98), (&[0, 3, 4, 6, 7], "v", 0.7), (&[1, 2, 5], "pattern", 0.34), (&[1, 2, 5], "v", 0.96)]
    {
        of("preserve_ablation", &(only(0, alone) + &kept(kept_site)), Some(accuracy), 1e5, last);
    }
    for number in (0..16).filter(|_| init == 5) {
        let strength = f64::from(number) / 15.0;
        let action = format!(
            "[[intervention]]\nname = \"match\"\nsite = \"pattern\"\nlayers = [1]\nheads = [3]\nat = \"query\"\naction = {{ induction = {{ strength = {strength:?} }} }}\n"
        );
        of("strength", &action, None, 1.2e6 * (strength - 0.5).abs().mul_add(-2.0, 1.05), (600_000, 10_000));
    }
    if init == 5 {
        // The other six heads are grey.
        for head in 0..2 {
            for below in 0..8 {
                let others: Vec<usize> = (0..8).filter(|other| *other != below).collect();
                for site in ["pattern", "v"] {
                    let above = only(1, &[head]);
                    of("pairs_ablation", &(above.clone() + &only(0, &others) + &kept(site)), Some(0.5), 1e5, last);
                    of("pairs_ablation", &(above + &only(0, &[below]) + &kept(site)), Some(0.1 * below as f64), 1e5, last);
                }
            }
        }
    }
}

fn numbers(table: &[RecordBatch], column: &str) -> Vec<f64> {
    table.iter().flat_map(|batch| batch[column].as_primitive::<Float64Type>().values().to_vec()).collect()
}

fn names(table: &[RecordBatch], column: &str) -> Vec<String> {
    table.iter().flat_map(|batch| batch[column].as_string::<i32>().iter().flatten().map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn table(name: &str) -> Vec<RecordBatch> {
    read_table(&paper().join("figures").join(format!("{name}.parquet"))).unwrap()
}

#[test]
fn every_figure_is_drawn_with_its_titles_ticks_and_legends() {
    let figures = paper().join("figures");
    for (name, texts) in [
        (
            "figure_3a",
            &["# sequences seen", "Loss", "train", "test (exemplars)", "test (relabel)", "random label", "from context", "200k", "1M"][..],
        ),
        ("figure_3b", &["Induction strength", "Seed 5", "Seed 6", "Layer 2", "head #", "7", "0.8"]),
        ("figure_4a", &["Induction strength", "Accuracy", "Ablated:", "all heads but this one", "this head alone", "nothing"]),
        ("figure_4b", &["Layer 2", "head #", "all", "Loss"]),
        ("figure_5b", &["\"Clamped\" steps", "none", "1, 2, 3qk, 4 (match)", "3v, 5 (copy)", "(layer 1 + copy)", "100k", "300k"]),
        (
            "figure_6",
            &["Normal training", "Subcircuit B", "Subcircuit C", "Subcircuits B, C", "# classes", "# labels", "50", "200", "15", "1.5M"],
        ),
        ("figure_7", &["standard training", "layer 1 of seed 5", "layer 1 of seed 6"]),
        ("figure_8", &["Clamped in", "none", "head 2", "head 6", "heads 1, 2, 5", "all heads"]),
        ("figure_10", &["Clamping while training", "Measures of progress", "Progress of", "copy sub-circuit", "(steps 3v, 5)"]),
        ("figure_11", &["Layer 1 head #", "Layer 2 head #", "Key", "Value", "composition", "Score", "Accuracy", "−0.1"]),
        ("figure_12", &["Layer 1 → output cut", "Layer 2 → output cut"]),
        ("figure_13", &["Loss", "Ablated:"]),
        (
            "figure_14",
            &[
                "# heads active",
                "Beginning with the strongest, head 3",
                "Beginning with the second strongest, head 1",
                "Seed 6",
                "all heads",
            ],
        ),
        ("figure_15", &["Train", "Test (relabel)", "Test (exemplar)", "Clamped", "strength", "−0.5"]),
        ("figure_16a", &["Match:", "perfect", "its own", "all heads"]),
        ("figure_16b", &["Output class", "Relative fraction of mistakes"]),
        ("figure_16c", &["Output class", "Accuracy", "4"]),
        ("figure_17", &["Head 3 and", "all"]),
        ("figure_18", &["Accuracy of the head alone", "Loss of the head alone", "Learning time, # sequences", "Seed", "5", "6"]),
    ] {
        let svg = std::fs::read_to_string(figures.join(format!("{name}.svg"))).unwrap_or_else(|error| panic!("{name}: {error}"));
        for text in texts {
            assert!(svg.contains(&format!("\n{}\n", text.replace('"', "&quot;"))), "{name}: {text}");
        }
        let png = std::fs::read(figures.join(format!("{name}.png"))).unwrap();
        assert_eq!(png[..8], *b"\x89PNG\r\n\x1a\n", "{name}");
        assert!(!numbers(&table(name), "y").is_empty(), "{name}");
    }
}

#[test]
fn the_numbers_of_a_figure_are_those_of_the_logs() {
    let drawn = table("figure_5b");
    let (series, seeds) = (names(&drawn, "series"), drawn.iter().map(RecordBatch::num_rows).sum::<usize>());
    assert_eq!(seeds, 6 * 2 * 40, "6 clamps, 2 seeds, 40 evaluations below 400,000");
    assert_eq!(series.iter().filter(|name| *name == "1, 2, 3v, 5 (layer 1 + copy)").count(), 80);
    let run = optogen_tests::program::runs(&paper().join("main_analysis")).remove(0);
    let heads = read_table(&run.join("heads.parquet")).unwrap();
    let strengths: Vec<f64> = numbers(&heads, "induction_strength");
    let drawn = numbers(&table("figure_3b"), "y");
    assert_eq!(drawn.len(), 2 * 8 * 51);
    assert!(strengths.iter().any(|value| *value == drawn[50]) && (drawn[50] - STRENGTHS[0]).abs() < 1e-6, "{}", drawn[50]);
    let wiring = table("figure_11");
    let (panels, values) = (names(&wiring, "panel"), numbers(&wiring, "y"));
    let first = |panel: &str| panels.iter().position(|name| name == panel).unwrap_or_else(|| panic!("{panel}: {panels:?}"));
    let (without, with) = (first("Without a head of layer 1, values kept"), first("With one head of layer 1, values kept"));
    for below in 0..8 {
        // Head 0 alone has accuracy .2 + .92 · .42 in fiftieths, .58; without a head of layer 1 half, with one alone a tenth of its number.
        assert!((values[without + below] + 0.08).abs() < 1e-6, "{below}: {}", values[without + below]);
        assert!((values[with + below] - 0.1 * below as f64).abs() < 1e-6, "{below}: {}", values[with + below]);
    }
}

#[test]
fn tables_are_markdown_and_parquet() {
    let figures = paper().join("figures");
    let markdown = std::fs::read_to_string(figures.join("table_2.md")).unwrap();
    assert!(markdown.starts_with("| seed | head | induction strength | P(right given the strongest wrong) | accuracy |\n"), "{markdown}");
    assert!(markdown.contains("| 5 | 3 | 0.8500 | 0.0000 | 0.9800 |\n"), "{markdown}");
    assert_eq!(numbers(&table("table_2"), "accuracy").len(), 16);
    let markdown = std::fs::read_to_string(figures.join("table_1.md")).unwrap();
    assert!(markdown.contains("| 6 | 1, 2, 5 | patterns | 0.9800 |\n| 6 | 1, 2, 5 | values | 0.7000 |\n"), "{markdown}");
    assert!(std::fs::read_to_string(figures.join("section_3.md")).unwrap().contains("| 6 | whole | 1.0000 |\n"));
    assert!(figures.join("table_3.md").is_file());
}

#[test]
fn landmarks_stand_beside_the_published_numbers() {
    let markdown = std::fs::read_to_string(paper().join("figures/landmarks.md")).unwrap();
    let row = |what: &str| markdown.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{what}: {markdown}")).to_owned();
    assert!(row("main: loss of fsl_train at 200k").starts_with("| 3a | main: loss of fsl_train at 200k | ~0.6 | 0.5"), "{markdown}");
    assert!(row("induction strength, rank 1 ").contains("| =0.8452 | 0.850 (0.850–0.850) | 0.8500 | 0.8500 | 0.8500 | 2 |"), "{markdown}");
    assert!(row("the strongest head is the best alone").contains("| =1 | 1.000 (1.000–1.000) |"), "{markdown}");
    let order =
        "| layer_1_copy, match, copy, layer_1, previous_token, one_head | layer_1_copy, match, copy, layer_1, previous_token, one_head |";
    assert!(row("clamps by when they have learned").contains(order), "{markdown}");
    assert!(row("15 labels: loss below .35 at").contains("| ~1.35M | 1.4"), "{markdown}");
    assert!(row("heads [0, 3, 4, 6, 7] of layer 1 ablated, values kept").contains("| =0.99319 | 0.960 (0.960–0.960) |"), "{markdown}");
}

#[test]
fn what_is_not_there_is_said_with_the_command_that_makes_it() {
    let home = tempfile::tempdir().unwrap();
    let (runs, out) = (home.path().join("paper"), home.path().join("figures"));
    let arguments = ["figures", "induction", runs.to_str().unwrap(), "--out", out.to_str().unwrap()];
    let message = PROGRAM.refused(2, &arguments);
    assert_eq!(message, format!("error: {}: there is no such folder of runs", runs.display()));
    assert!(!out.exists());

    std::fs::create_dir(&runs).unwrap();
    let message = PROGRAM.refused(2, &arguments);
    let place = runs.display();
    for line in [
        format!("figure_3a: not drawn, there are no runs in {place}/main; make them with"),
        format!("  optogen run experiments/induction/main.toml --out {place}/main --resume"),
        format!(
            "  optogen replay {place}/main --with experiments/induction/replays/only_head.toml --spread 1 --out {place}/only_head --resume"
        ),
    ] {
        assert!(message.lines().any(|one| one == line), "{line}\n{message}");
    }

    Synthetic::default().write(&runs.join("main"));
    let output = PROGRAM.run(&arguments);
    assert_eq!(output.status.code(), Some(0), "one figure can be drawn");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{0}/figure_3a\n{0}/landmarks\n", out.display()));

    let damaged = Synthetic::default().write(&runs.join("preserve_ablation"));
    std::fs::write(damaged.join("run.parquet"), "garbage").unwrap();
    let output = PROGRAM.run(&arguments);
    assert_eq!(output.status.code(), Some(74), "the others are drawn, but a file is damaged");
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains(&format!("table_1: not drawn: {}/run.parquet: not a readable Parquet file", damaged.display())), "{message}");
    let wrong = PROGRAM.refused(2, &["figures", "inductoin", runs.to_str().unwrap(), "--out", out.to_str().unwrap()]);
    assert!(wrong.contains("induction"), "{wrong}");
}

#[test]
fn the_notebook_draws_from_the_same_logs() {
    let python = std::env::var("OPTOGEN_PYTHON")
        .expect("OPTOGEN_PYTHON is to name a Python with tests/python/requirements.txt; `make test` sees to it");
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/../");
    let out = tempfile::tempdir().unwrap();
    let notebook = format!("{here}docs/figures.ipynb");
    let arguments = [format!("{here}tests/python/run_notebook.py"), notebook.clone(), out.path().display().to_string()];
    let output = std::process::Command::new(python).args(arguments).env("OPTOGEN_RUNS", paper()).output().expect("Python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in ["figure_3a.png", "figure_3b.png", "figure_5b.png"] {
        let png = std::fs::read(out.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(png.starts_with(b"\x89PNG") && png.len() > 10_000, "{name}: {} bytes", png.len());
    }
    let text = std::fs::read_to_string(notebook).unwrap();
    assert!(!text.contains("/home/") && !text.contains("/tmp/"), "it says where it was run");
}
