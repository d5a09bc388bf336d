//! HDF5 files as users have them: what is not all there is refused, what is there is found, and the embedded bank needs no disk.

use optogen_tests::files::unlock;
use optogen_tests::program::{BASE, Program, runs};
use std::fs;
use std::path::Path;
use std::process::Command;

const PROGRAM: Program = Program(env!("CARGO_BIN_EXE_optogen"));
const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/hdf5");

/// Classes, exemplars and features of the bank that `EXPERIMENT` wants.
const SHAPE: [usize; 3] = [40, 2, 16];

const EXPERIMENT: &str = r#"
name = "small"
[data]
bank = "bank.h5"
dataset = "feat"
classes = { train = 20, val = 10, test = 10 }
exemplars = { train = 1, val = 1, test = 0 }
relabel = { labels = 5 }
mixture = [{ context = 2, burstiness = 1 }]
[model]
layers = 2
width = 16
heads = 2
[train]
sequences = 64
batch = 32
optimiser = { name = "adam", rate = 1e-3 }
[evaluation]
every = 64
sequences = 10
[[evaluator]]
name = "e"
"#;

fn values(count: usize) -> Vec<f32> {
    (0..count).map(|index| (index as f32 * 0.7).sin()).collect()
}

/// A folder with `small.toml` and, beside it, a `bank.h5`.
fn folder(bank: impl FnOnce(&hdf5::File)) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("small.toml"), EXPERIMENT).unwrap();
    bank(&hdf5::File::create(home.path().join("bank.h5")).unwrap());
    home
}

fn whole(file: &hdf5::File) {
    file.new_dataset::<f32>().shape(SHAPE).create("feat").unwrap().write_raw(&values(1280)).unwrap();
}

/// What the program says to `small.toml` in a folder, as an error of the input; nothing may be written.
fn said(home: &Path, more: &[&str]) -> String {
    let out = home.join("out");
    let message = PROGRAM.refused(2, &[&["run", home.join("small.toml").to_str().unwrap(), "--out", out.to_str().unwrap()], more].concat());
    assert!(!out.exists(), "{message}: and yet something was written");
    message.replace(&format!("{}/", home.display()), "")
}

fn succeeds(home: &Path, more: &[&str]) {
    let out = home.join("out");
    PROGRAM.succeed(&[&["run", home.join("small.toml").to_str().unwrap(), "--out", out.to_str().unwrap(), "--quiet"], more].concat());
    assert_eq!(runs(&out).len(), 1);
}

const ZEROS: &str = "for what is not there HDF5 reads a fill value, mostly zeros";

#[test]
fn what_hdf5_leaves_out_of_a_bank_is_refused() {
    let never = folder(|file| _ = file.new_dataset::<f32>().shape(SHAPE).create("feat").unwrap());
    assert_eq!(said(never.path(), &[]), format!("error: bank.h5: dataset \"feat\" was never written; {ZEROS}"));

    let half = folder(|file| {
        let dataset = file.new_dataset::<f32>().chunk([1, 2, 16]).shape([20.., 2.., 16..]).create("feat").unwrap();
        dataset.write_raw(&values(640)).unwrap();
        dataset.resize(SHAPE).unwrap();
    });
    let part = "was written only in part: 20 of its 40 chunks are there";
    assert_eq!(said(half.path(), &[]), format!("error: bank.h5: dataset \"feat\" {part}; {ZEROS}"));

    // Written as far as the file says, but not by whoever made it.
    let blank = folder(|file| {
        let values = [values(640), vec![0.0; 640]].concat();
        file.new_dataset::<f32>().shape(SHAPE).create("feat").unwrap().write_raw(&values).unwrap();
    });
    assert_eq!(
        said(blank.path(), &[]),
        "error: bank.h5: dataset \"feat\" holds 40 exemplars of several classes whose every feature is 0, and which nothing can tell apart: \
         class 20 exemplar 0, class 20 exemplar 1, class 21 exemplar 0, class 21 exemplar 1, class 22 exemplar 0 and 35 more; \
         were they ever written?"
    );
}

#[test]
fn a_virtual_bank_is_read_where_its_sources_are() {
    let home = folder(|file| {
        let dataset = file.new_dataset::<f32>().virtual_map("raw.h5", "raw", SHAPE, .., SHAPE, ..);
        dataset.shape(SHAPE).create("feat").unwrap();
    });
    let nowhere = "is not there: no such file, neither beside this one, nor in the current folder, nor in HDF5_VDS_PREFIX";
    let gone = format!("error: bank.h5: dataset \"feat\" is virtual, and its source \"raw\" in raw.h5 {nowhere}; {ZEROS}");
    assert_eq!(said(home.path(), &[]), gone);
    let elsewhere = home.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let raw = hdf5::File::create(elsewhere.join("raw.h5")).unwrap();
    raw.new_dataset::<f32>().shape(SHAPE).create("raw").unwrap().write_raw(&values(1280)).unwrap();
    drop(raw);
    unlock(&elsewhere.join("raw.h5"));
    assert_eq!(said(home.path(), &[]), gone);
    let at = |name: &str| home.path().join(name).display().to_string();
    let found = Command::new(PROGRAM.0)
        .args(["run", &at("small.toml"), "--out", &at("prefixed"), "--quiet"])
        .env("HDF5_VDS_PREFIX", &elsewhere)
        .output()
        .unwrap();
    assert_eq!(found.status.code(), Some(0), "{}", String::from_utf8_lossy(&found.stderr));
    fs::rename(elsewhere.join("raw.h5"), home.path().join("raw.h5")).unwrap();
    succeeds(home.path(), &[]);
}

#[test]
fn what_hdf5_leaves_out_of_an_evaluation_file_is_refused() {
    let home = folder(whole);
    let file = hdf5::File::create(home.path().join("e.h5")).unwrap();
    let group = file.create_group("e").unwrap();
    group.new_dataset::<f32>().shape([20, 3, 16]).create("examples").unwrap().write_raw(&values(960)).unwrap();
    group.new_dataset::<i64>().virtual_map("gone.h5", "l", [20, 3], .., [20, 3], ..).shape([20, 3]).create("labels").unwrap();
    drop((group, file));
    let message =
        said(home.path(), &["--set", &format!("evaluator.0={{ name = \"e\", file = \"{}\" }}", home.path().join("e.h5").display())]);
    let start = "error: e.h5: dataset \"e/labels\" is virtual, and its source \"l\" in gone.h5 is not there: ";
    assert!(message.starts_with(start) && message.ends_with(ZEROS), "{message}");
}

#[test]
fn a_bank_behind_a_link_is_there() {
    let home = folder(whole);
    let links = hdf5::File::create(home.path().join("links.h5")).unwrap();
    links.link_external("bank.h5", "/feat", "feat").unwrap();
    links.link_external("nowhere.h5", "/feat", "gone").unwrap();
    drop(links);
    unlock(&home.path().join("links.h5"));
    let bank = format!("data.bank={}", home.path().join("links.h5").display());
    assert_eq!(
        said(home.path(), &["--set", &bank, "--set", "data.dataset=fea"]),
        "error: links.h5: dataset \"fea\" is not there; did you mean \"feat\"?; there are: \"feat\" [40, 2, 16], \
         \"gone\" (a link to \"/feat\" in nowhere.h5, which is not there)"
    );
    assert_eq!(
        said(home.path(), &["--set", &bank, "--set", "data.dataset=gone"]),
        "error: links.h5: dataset \"gone\" is not there: \"gone\" is a link to \"/feat\" in nowhere.h5, which does not open"
    );
    succeeds(home.path(), &["--set", &bank]);
}

#[test]
fn a_bank_of_a_newer_format_or_a_missing_filter_is_there_but_cannot_be_read() {
    let home = folder(whole);
    let (major, minor, patch) = hdf5::library_version();
    let own = format!("HDF5 {major}.{minor}.{patch}");
    let bank = |name: &str| said(home.path(), &["--set", &format!("data.bank={FILES}/{name}")]);
    if major < 2 {
        let message = bank("written_by_2.0.h5");
        let start = format!("dataset \"feat\" is there, but cannot be opened: its format is not known to {own}, which this program has (");
        assert!(message.contains(&start) && message.contains("it needs HDF5 2.0 or later"), "{message}");
    }
    if !hdf5::filters::lzf_available() {
        let message = bank("lzf.h5");
        let start = format!("dataset \"feat\" cannot be read: it was written with lzf (filter 32000), which {own} does not have here.");
        assert!(message.contains(&start), "{message}");
    }
}

#[test]
fn the_embedded_bank_needs_no_disk() {
    let home = tempfile::tempdir().unwrap();
    let temporary = home.path().join("temporary");
    fs::create_dir(&temporary).unwrap();
    for (name, folder) in [("one", temporary.as_path()), ("other", Path::new("/nonexistent"))] {
        let out = home.path().join(name);
        let sets = ["--set", "train.sequences=32", "--set", "evaluation.every=32", "--set", "evaluation.sequences=4"];
        let output =
            Command::new(PROGRAM.0).args(["run", BASE, "--quiet", "--out"]).arg(&out).args(sets).env("TMPDIR", folder).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(runs(&out).len(), 1);
    }
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0, "nothing is left there");
}
