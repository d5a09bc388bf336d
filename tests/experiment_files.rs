//! Experiment files with interventions: what can be said, and how mistakes are named.

use optogen_tests::program::{BASE, Program};
use optogen_tests::small::{file, run};
use std::fs;

const PROGRAM: Program = Program(env!("CARGO_BIN_EXE_optogen"));

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
            "pass.other.donor: no checkpoint folder nowhere; looked at\n  ",
        ),
    ] {
        let said = intervention(keys);
        assert!(said.starts_with(message), "{said}\ninstead of\n{message}");
    }
    let narrow = run(&PROGRAM, home.path(), "narrow", "name = \"a\"\n[model]\nwidth = 32\n").join("checkpoints/at-000000000512");
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
