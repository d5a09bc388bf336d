//! The program as a process: what it is started under, what is done to it from outside, and how it ends.

use bevy_app::App;
use bevy_ecs::prelude::*;
use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use optogen::log::read_run_status;
use optogen::run_folder::RunFolder;
use optogen_systems::stage::{Stage, Step};
use optogen_tests::program::{BASE, Program, contents, rows, runs};
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const PROGRAM: Program = Program(env!("CARGO_BIN_EXE_optogen"));
const BANK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/omniglot_small.h5");

/// A run of so many sequences, 32 a step.
fn of<'a>(sequences: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let sets = ["evaluation.every=640", "evaluation.sequences=20", "checkpoint.every=640", sequences];
    let sets: Vec<&str> = sets.into_iter().flat_map(|set| ["--set", set]).collect();
    [&["run", BASE, "--out", out, "--threads", "2"], &sets[..], more].concat()
}

/// One of a second or less.
fn short<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    of("train.sequences=1280", out, more)
}

/// One of many seconds, with recovery points all the time.
fn long<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let often = ["--quiet", "--set", "checkpoint.every=640000", "--set", "checkpoint.recovery_seconds=0.05"];
    of("train.sequences=640000", out, &[&often, more].concat())
}

/// Waits for a recovery point of the one run below a folder.
fn wait_for_recovery_point(out: &Path) {
    wait("a recovery point", || out.exists() && runs(out).first().is_some_and(|run| run.join("recovery").exists()));
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM.0);
    command.args(arguments);
    command
}

/// The program as a shell starts it that did something before.
fn after(shell: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{shell}; exec \"$0\" \"$@\""), PROGRAM.0]).args(arguments);
    command
}

/// Its exit code, and what it says on standard error.
fn ended(output: Output) -> (i32, String) {
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn status(run: &Path) -> String {
    read_run_status(&run.join("run.parquet")).unwrap().status
}

/// Waits for something to come about.
fn wait(what: &str, is: impl Fn() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}: not within a minute");
        sleep(Duration::from_millis(10));
    }
}

fn send(signal: &str, child: &Child) {
    assert!(Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status().unwrap().success());
}

/// The folders of a sweep over two seeds, without starting it.
fn two_seeds(out: &Path) -> (PathBuf, PathBuf, [&'static str; 2]) {
    let grid = ["--grid", "seeds.init=5,6"];
    let elsewhere = tempfile::tempdir().unwrap();
    PROGRAM.succeed(&of("train.sequences=1280", elsewhere.path().to_str().unwrap(), &[&["--quiet"], &grid[..]].concat()));
    let names: Vec<PathBuf> = runs(elsewhere.path()).iter().map(|run| out.join(run.file_name().unwrap())).collect();
    (names[0].clone(), names[1].clone(), grid)
}

// Output.

/// A pipe that nobody reads, and a disk that is full.
fn unheard() -> [(&'static str, Stdio); 2] {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    [("closed pipe", writer.into()), ("full disk", File::options().write(true).open("/dev/full").unwrap().into())]
}

#[test]
fn what_nobody_reads_fails_no_run() {
    for both in [false, true] {
        for (name, output) in unheard() {
            let home = tempfile::tempdir().unwrap();
            let mut command = command(&short(home.path().to_str().unwrap(), &["--profile"]));
            // Either both go there, or one and the other to nobody.
            match both {
                true => command.stderr(output).stdout(File::options().write(true).open("/dev/full").unwrap()),
                false => command.stderr(output).stdout(Stdio::null()),
            };
            assert_eq!(command.status().unwrap().code(), Some(0), "{name}");
            let run = &runs(home.path())[0];
            assert_eq!((status(run).as_str(), rows(run, "train"), rows(run, "eval")), ("finished", 40, 3 * 4), "{name}");
            assert!(run.join("losses.png").exists(), "{name}");
        }
    }
}

#[test]
fn nor_does_it_fail_any_other_command() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name).display().to_string();
    let [out, again, plots] = ["out", "again", "plots"].map(at);
    let (out, again, plots) = (out.as_str(), again.as_str(), plots.as_str());
    PROGRAM.succeed(&short(out, &["--quiet"]));
    for arguments in [
        &["--help"][..],
        &["sites", BASE],
        &["replay", out, "--out", again, "--resume"],
        &["plot", out, "--view", "curves", "--out", plots],
    ] {
        for (name, output) in unheard() {
            assert_eq!(command(arguments).stdout(output).stderr(Stdio::null()).status().unwrap().code(), Some(0), "{arguments:?}, {name}");
        }
    }
    // Nor does it hide that there is something wrong.
    for (name, output) in unheard() {
        assert_eq!(command(&["run", "none.toml"]).stderr(output).status().unwrap().code(), Some(2), "{name}");
    }
}

#[test]
fn a_terminal_that_is_closed_fails_no_run() {
    let home = tempfile::tempdir().unwrap();
    // Nobody else has it open, not even the programs that other tests start at this moment.
    let terminal = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let end = File::options().write(true).custom_flags(OFlag::O_NOCTTY.bits()).open(ptsname_r(&terminal).unwrap()).unwrap();
    let arguments = of("train.sequences=64000", home.path().to_str().unwrap(), &["--set", "checkpoint.every=64000"]);
    let mut child = command(&arguments).stdout(Stdio::null()).stderr(end).spawn().unwrap();
    wait("a bar", || fs::read_dir(home.path()).is_ok_and(|runs| runs.flatten().any(|run| run.path().join("train.parquet").exists())));
    drop(terminal);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let run = &runs(home.path())[0];
    assert_eq!((status(run).as_str(), rows(run, "train")), ("finished", 2000));
}

// Faults of the program itself.

fn a_reader_of_its_own() {
    panic!("a reader of its own making");
}

/// Not a test: what the next one starts, in this program's own clothes.
#[test]
fn a_program_that_panics() {
    let (Ok(out), Ok(place)) = (std::env::var("OPTOGEN_TEST_PANICS_IN"), std::env::var("OPTOGEN_TEST_PANICS_ON")) else { return };
    let panics = move |app: &mut App| {
        let in_a_thread = place == "a thread";
        app.add_systems(
            Step,
            (move || match in_a_thread {
                // Nobody looks after it.
                true => _ = std::thread::spawn(a_reader_of_its_own).join(),
                false => panic!("a head too many"),
            })
            .in_set(Stage::React),
        );
    };
    let arguments = [&["optogen"], &short(&out, &["--quiet"])[..]].concat();
    let _ = optogen_experiments::program_with(arguments.into_iter().map(Into::into), panics);
}

#[test]
fn a_panic_anywhere_is_said_to_be_a_fault_of_the_program() {
    for (place, message) in [("a system", "error: a head too many ("), ("a thread", "error: a reader of its own making (")] {
        let home = tempfile::tempdir().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "a_program_that_panics", "--nocapture"]).env_remove("RUST_BACKTRACE");
        command.env("OPTOGEN_TEST_PANICS_IN", home.path()).env("OPTOGEN_TEST_PANICS_ON", place);
        let (code, said) = ended(command.output().unwrap());
        assert_eq!(code, 3, "{said}");
        assert!(said.contains(message) && said.contains("process.rs:"), "{said}");
        assert!(said.contains("this is a fault of optogen, not of what it was asked for; please report it"), "{said}");
        assert_eq!(status(&runs(home.path())[0]), "running", "{place}: it ended at once");
    }
}

// Signals.

#[test]
fn a_replay_asked_to_stop_finishes_a_checkpoint_and_the_rest_is_done_later() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name).display().to_string();
    let (out, whole, torn) = (at("out"), at("whole"), at("torn"));
    PROGRAM.succeed(&of("train.sequences=320", &out, &["--quiet", "--set", "checkpoint.every=64"]));
    let replay = |to: &str| {
        let more = ["--set", "evaluation.sequences=4000", "--threads", "2", "--quiet", "--resume"];
        command(&[&["replay", out.as_str(), "--out", to], &more[..]].concat())
    };
    let mut child = replay(&torn).stderr(Stdio::null()).spawn().unwrap();
    wait("a replay", || fs::read_dir(&torn).is_ok_and(|runs| runs.flatten().any(|run| run.path().join("timing.parquet").exists())));
    send("TERM", &child);
    assert_eq!(child.wait().unwrap().code(), Some(75));
    let run = &runs(torn.as_ref())[0];
    let row = read_run_status(&run.join("run.parquet")).unwrap();
    assert_eq!(row.status, "interrupted");
    assert!(row.sequences < 320, "it was done before the signal: {}", row.sequences);
    // What was measured is there, whole checkpoints of it.
    assert_eq!(rows(run, "eval") % 4, 0);
    for to in [&torn, &whole] {
        assert_eq!(replay(to).status().unwrap().code(), Some(0));
    }
    let whole = &runs(whole.as_ref())[0];
    assert_eq!(status(run), "replayed");
    for table in ["eval", "eval_examples", "heads"] {
        assert_eq!(contents(run, table), contents(whole, table), "{table}");
    }
}

#[test]
fn a_signal_that_is_ignored_from_the_start_stays_so() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    let mut child = after("trap '' HUP", &long(out.to_str().unwrap(), &[])).spawn().unwrap();
    wait_for_recovery_point(&out);
    send("HUP", &child);
    sleep(Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none(), "as nohup has it, it goes on");
    send("TERM", &child);
    assert_eq!(child.wait().unwrap().code(), Some(75));
    assert_eq!(status(&runs(&out)[0]), "interrupted");
}

// Files.

/// Every file and folder below one.
fn all_below(folder: &Path) -> Vec<PathBuf> {
    let mut all = vec![folder.to_owned()];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all.extend(all_below(&path)) } else { all.push(path) }
    }
    all
}

#[test]
fn files_follow_the_umask_and_the_setgid_bit() {
    for (umask, file, folder) in [("022", 0o644, 0o755), ("077", 0o600, 0o700), ("002", 0o664, 0o2775)] {
        let home = tempfile::tempdir().unwrap();
        let out = home.path().join("out");
        fs::create_dir(&out).unwrap();
        // A group that is not the process' own, where that may be.
        let is_of_a_group = folder & 0o2000 != 0 && chown(&out, None, Some(12_345)).is_ok();
        fs::set_permissions(&out, fs::Permissions::from_mode(folder)).unwrap();
        let more = ["--set", "evaluation.write=true", "--set", "checkpoint.recovery_seconds=0.01", "--set", "checkpoint.every=3200"];
        let arguments = of("train.sequences=32000", out.to_str().unwrap(), &[&["--quiet", "--resume"], &more[..]].concat());
        let start = || after(&format!("umask {umask}"), &arguments).spawn().unwrap();
        let check = |wanted: &[&str]| {
            let run = &runs(&out)[0];
            for path in all_below(run) {
                let is = fs::metadata(&path).unwrap();
                let mode = is.permissions().mode() & 0o7777;
                assert_eq!(mode, if is.is_dir() { folder } else { file }, "umask {umask}: {} is {mode:o}", path.display());
                assert_eq!(is.gid() == 12_345, is_of_a_group, "{}: of group {}", path.display(), is.gid());
            }
            wanted.iter().for_each(|name| assert!(run.join(name).exists(), "{name}"));
        };
        // While it is at work, also what it has under temporary names: it is killed.
        let mut child = start();
        wait("a recovery point", || {
            runs(&out).first().is_some_and(|run| run.join("recovery").exists() && run.join("journal/train.journal").exists())
        });
        child.kill().unwrap();
        child.wait().unwrap();
        check(&["lock", "journal/train.journal", "train.parquet", "evaluation.h5", "run.parquet", "experiment.toml"]);
        assert_eq!(start().wait().unwrap().code(), Some(0));
        check(&["losses.png", "losses.svg", "checkpoints/at-000000032000/model.safetensors", "checkpoints/at-000000032000/manifest.json"]);
    }
}

/// A library that has flock fail as on a file system without locks; nothing where there is no C compiler.
fn without_locks(home: &Path) -> Option<PathBuf> {
    let (source, library) = (home.join("flock.c"), home.join("flock.so"));
    fs::write(&source, "#include <errno.h>\nint flock(int file, int how) { errno = ENOLCK; return -1; }\n").unwrap();
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status();
    compiled.is_ok_and(|status| status.success()).then_some(library)
}

#[test]
fn where_files_cannot_be_locked_a_lock_file_stands_in() {
    let home = tempfile::tempdir().unwrap();
    let Some(library) = without_locks(home.path()) else { return };
    let out = home.path().join("out");
    let start = |more: &[&str]| {
        let mut command = command(&long(out.to_str().unwrap(), more));
        command.env("LD_PRELOAD", &library).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    // A class bank in a file, which HDF5 locks too, where it is left to.
    let set = format!("data.bank={BANK}");
    let bank = ["--resume", "--set", &set, "--set", "data.dataset=efficientnet_lite0/224/feat"];
    let mut first = start(&bank);
    wait_for_recovery_point(&out);
    let run = runs(&out)[0].clone();
    let lock = run.join("lock.exclusive");
    assert!(fs::read_to_string(&lock).unwrap().contains(&format!("\"process\": {}", first.id())));

    // A second one is refused.
    let (code, said) = ended(start(&bank).wait_with_output().unwrap());
    let busy = format!("error: {}: in use by another process (it holds the lock); stop that one, or choose another --out\n", run.display());
    assert_eq!((code, said.lines().count()), (2, 2), "{said}");
    assert!(said.ends_with(&busy), "{said}");
    let instead = "files cannot be locked there (No locks available (os error 37)), so a file lock.exclusive in each run folder keeps other processes out";
    assert!(said.starts_with(&format!("warning: {}: {instead}\n", run.display())), "{said}");
    // So is one for which locks do work.
    assert!(PROGRAM.refused(2, &long(out.to_str().unwrap(), &bank)).ends_with(busy.trim_end()));

    // After a crash it is taken over, and given back at the end.
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(lock.exists());
    let next = start(&bank);
    wait("another holder", || fs::read_to_string(&lock).is_ok_and(|text| text.contains(&format!("\"process\": {}", next.id()))));
    // It listens to signals before it opens the folder.
    send("TERM", &next);
    let (code, said) = ended(next.wait_with_output().unwrap());
    assert_eq!(code, 75, "{said}");
    let took = format!("warning: {}: process {} was stopped before it could give it back; taken over", lock.display(), first.id());
    assert!(said.contains(&took), "{said}");
    assert!(!lock.exists());

    // That of another machine is not.
    fs::write(&lock, "{ \"host\": \"elsewhere\", \"process\": 7, \"began\": \"\" }").unwrap();
    let (code, said) = ended(start(&bank).wait_with_output().unwrap());
    assert_eq!(code, 2, "{said}");
    let refused = format!(
        "{}: in use by process 7 on elsewhere; stop that one, or choose another --out; if it is surely gone, remove",
        run.display()
    );
    assert!(said.ends_with(&format!("error: {refused} {}\n", lock.display())), "{said}");
}

#[test]
fn a_file_that_another_process_writes_is_not_read() {
    let home = tempfile::tempdir().unwrap();
    let bank = home.path().join("bank.h5");
    fs::copy(BANK, &bank).unwrap();
    let out = home.path().join("out");
    let set = format!("data.bank={}", bank.display());
    let writing = File::open(&bank).unwrap();
    writing.lock().unwrap();
    let arguments = short(out.to_str().unwrap(), &["--quiet", "--set", &set, "--set", "data.dataset=efficientnet_lite0/224/feat"]);
    assert_eq!(PROGRAM.refused(2, &arguments), format!("error: {}: another process is writing to it", bank.display()));
    assert!(!out.exists());
    writing.unlock().unwrap();
    PROGRAM.succeed(&arguments);
}

// The disk.

#[test]
fn a_run_that_cannot_be_opened_fails_alone() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    let (one, other, grid) = two_seeds(&out);
    let id = |run: &Path| run.file_name().unwrap().to_str().unwrap().strip_prefix("run=").unwrap().to_owned();
    let held = RunFolder::open(&out, &id(&one), false).unwrap();
    let arguments = short(out.to_str().unwrap(), &[&["--quiet", "--resume"], &grid[..]].concat());
    let said = PROGRAM.refused(1, &arguments);
    let busy = format!("{}: in use by another process (it holds the lock); stop that one, or choose another --out", one.display());
    assert_eq!(said, format!("failed: {}: {busy}\n  again: the same command and --resume", id(&one)));
    assert_eq!((status(&other).as_str(), rows(&other, "train")), ("finished", 40));
    drop(held);
    // Where the disk is to blame, the code says so.
    fs::remove_dir_all(&other).unwrap();
    fs::write(one.join("journal"), "a file where there should be a folder").unwrap();
    let said = PROGRAM.refused(74, &arguments);
    assert!(said.starts_with(&format!("failed: {}: {}/journal", id(&one), one.display())) && said.contains("(os error "), "{said}");
    assert_eq!((status(&other).as_str(), rows(&other, "train")), ("finished", 40));
    fs::remove_file(one.join("journal")).unwrap();
    PROGRAM.succeed(&arguments);
    assert_eq!(rows(&one, "train"), 40);
}

#[test]
fn a_sweep_of_which_a_run_is_there_already_is_refused_before_anything_is_written() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    let (one, other, grid) = two_seeds(&out);
    PROGRAM.succeed(&short(out.to_str().unwrap(), &["--quiet", "--resume", "--grid", "seeds.init=5,6"]));
    fs::remove_dir_all(&one).unwrap();
    let said = PROGRAM.refused(2, &short(out.to_str().unwrap(), &grid));
    assert_eq!(said, format!("error: {}: a run is there already; go on with --resume, or choose another --out", other.display()));
    assert!(!one.exists());
}

#[test]
fn a_run_whose_disk_is_full_fails_alone_and_its_path_is_named() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    // The signal that comes with the limit is no reason to die, either. A small model's checkpoints are smaller than this, the others' are not.
    let arguments = short(out.to_str().unwrap(), &["--quiet", "--grid", "model.width=16,64"]);
    let (code, said) = ended(after("ulimit -f 400", &arguments).output().unwrap());
    assert_eq!(code, 74, "{said}");
    let all = runs(&out);
    let (failed, finished): (Vec<_>, Vec<_>) = all.iter().partition(|run| status(run) == "failed");
    assert_eq!((failed.len(), finished.len()), (1, 1), "{said}");
    assert!(said.contains(&format!("{}/checkpoints/", failed[0].display())) && said.contains("File too large (os error 27)"), "{said}");
    assert_eq!((status(finished[0]).as_str(), rows(finished[0], "train")), ("finished", 40));
    // What it saw until then is there, and with room it goes on.
    assert!(rows(failed[0], "eval") >= 4);
    PROGRAM.succeed(&short(out.to_str().unwrap(), &["--quiet", "--resume", "--grid", "model.width=16,64"]));
    assert_eq!((status(failed[0]).as_str(), rows(failed[0], "train")), ("finished", 40));
}

#[test]
fn sequences_that_cannot_be_written_are_an_error_with_their_path() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    let arguments = short(out.to_str().unwrap(), &["--quiet", "--set", "evaluation.write=true", "--set", "evaluation.sequences=1000"]);
    let (code, said) = ended(after("ulimit -f 400", &arguments).output().unwrap());
    assert_eq!(code, 74, "{said}");
    assert!(said.starts_with(&format!("error: {}/evaluation.h5: ", runs(&out)[0].display())), "{said}");
}

#[test]
fn a_run_whose_folder_is_removed_fails_alone() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    let more = ["--quiet", "--grid", "seeds.init=5,6", "--set", "checkpoint.every=6400"];
    let arguments = of("train.sequences=64000", out.to_str().unwrap(), &more);
    let child = command(&arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = |run: &PathBuf| run.join("checkpoints/at-000000006400").exists();
    wait("two runs", || out.exists() && runs(&out).len() == 2 && runs(&out).iter().all(begun));
    let all = runs(&out);
    // It may be writing there at this moment.
    wait("a folder gone", || fs::remove_dir_all(&all[0]).is_ok());
    let (code, said) = ended(child.wait_with_output().unwrap());
    assert_eq!(code, 74, "{said}");
    assert!(said.starts_with("failed: ") && said.contains(&format!("{}/", all[0].display())), "{said}");
    assert!(said.contains("No such file or directory (os error 2)"), "{said}");
    assert_eq!((status(&all[1]).as_str(), rows(&all[1], "train")), ("finished", 2000));
}

#[test]
fn a_picture_that_cannot_be_drawn_hides_no_outcome() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    let (one, other, grid) = two_seeds(&out);
    // A folder of that name, with something in it, cannot be replaced by a file.
    fs::create_dir_all(one.join("losses.svg/in the way")).unwrap();
    let output = PROGRAM.run(&short(out.to_str().unwrap(), &grid));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let (code, said) = ended(output);
    assert_eq!(code, 74, "{said}");
    assert!(said.contains(&format!(": not shown: {}/losses.svg: Is a directory (os error 21)", one.display())), "{said}");
    assert!(told.contains(&format!("{}\n", other.join("losses.png").display())), "{told}");
    for run in [&one, &other] {
        assert_eq!(status(run), "finished");
        let id = run.file_name().unwrap().to_str().unwrap().strip_prefix("run=").unwrap();
        assert!(told.contains(id), "{told}");
    }
}

#[test]
fn too_many_open_files_are_refused_with_how_many_are_needed() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    let arguments = short(out.to_str().unwrap(), &["--quiet", "--grid", "seeds.init=5,6,7"]);
    let (code, said) = ended(after("ulimit -n 20", &arguments).output().unwrap());
    assert_eq!(code, 74, "{said}");
    // A lock each, and train, eval, eval_examples, heads, notes, timing.
    assert!(said.starts_with(&format!("error: {}: 3 runs keep 21 files open, which with others makes ", out.display())), "{said}");
    assert!(said.contains("and 20 may be open at a time: raise that with `ulimit -n "), "{said}");
    assert!(!out.exists());
    // As many as it says are enough.
    let needed = said.split("`ulimit -n ").nth(1).unwrap().split('`').next().unwrap().to_owned();
    let (code, said) = ended(after(&format!("ulimit -n {needed}"), &arguments).output().unwrap());
    assert_eq!(code, 0, "{said}");
}
