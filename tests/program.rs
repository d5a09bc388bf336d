//! The program, as a user starts it.

use arrow::util::display::array_value_to_string;
use optogen::log::read_table;
use sha2::{Digest, Sha256};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// The base experiment.
pub const BASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../experiments/induction/base.toml");

/// Lets a program hear signals, also where these tests run in the background, in which a shell has SIGINT ignored, or under nohup.
pub fn listening(command: &mut Command) -> &mut Command {
    // SAFETY: between fork and exec only a disposition is set, for which no memory is taken.
    unsafe {
        command.pre_exec(|| {
            for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2, libc::SIGXCPU] {
                libc::signal(signal, libc::SIG_DFL);
            }
            Ok(())
        })
    }
}

/// The program `optogen`.
pub struct Program(pub &'static str);

impl Program {
    /// Runs it to the end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        Command::new(self.0).args(arguments).output().expect("the program starts")
    }

    /// Runs it to the end, started in this folder.
    pub fn run_in(&self, folder: &Path, arguments: &[&str]) -> Output {
        Command::new(self.0).current_dir(folder).args(arguments).output().expect("the program starts")
    }

    /// Starts it.
    pub fn start(&self, arguments: &[&str]) -> Child {
        let mut command = Command::new(self.0);
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        listening(&mut command).spawn().expect("the program starts")
    }

    /// Runs it, which must go well.
    pub fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs it, which must be refused with this exit code; returns the message.
    pub fn refused(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
        message.trim_end().to_owned()
    }
}

/// The run folders below a folder, in order.
pub fn runs(out: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(out).expect("a folder of runs").map(|entry| entry.expect("an entry").path()).collect();
    all.sort();
    all
}

/// SHA-256 of the last checkpoint's weights.
pub fn final_weights(run: &Path) -> String {
    let last = optogen::checkpoint::list(&run.join("checkpoints")).expect("checkpoints").pop().expect("a checkpoint").1;
    hexadecimal(&std::fs::read(last.join("model.safetensors")).expect("weights"))
}

/// SHA-256 of a table's rows, whatever the file's parts.
pub fn contents(run: &Path, table: &str) -> String {
    let mut text = String::new();
    for batch in read_table(&run.join(format!("{table}.parquet"))).expect(table) {
        for row in 0..batch.num_rows() {
            for column in batch.columns() {
                text += &array_value_to_string(column, row).expect("a value");
                text.push('\t');
            }
            text.push('\n');
        }
    }
    hexadecimal(text.as_bytes())
}

/// How many rows a table has.
pub fn rows(run: &Path, table: &str) -> usize {
    read_table(&run.join(format!("{table}.parquet"))).expect(table).iter().map(|batch| batch.num_rows()).sum()
}

/// A column of numbers of a table, in the rows where another column has this text (null is empty).
pub fn numbers(run: &Path, table: &str, column: &str, of: Option<(&str, &str)>) -> Vec<f64> {
    let mut all = Vec::new();
    for batch in read_table(&run.join(format!("{table}.parquet"))).expect(table) {
        let at = |name: &str| batch.column_by_name(name).expect(name);
        for row in 0..batch.num_rows() {
            if of.is_none_or(|(name, text)| array_value_to_string(at(name), row).expect(name) == text) {
                all.push(array_value_to_string(at(column), row).expect(column).parse().unwrap_or(f64::NAN));
            }
        }
    }
    all
}

fn hexadecimal(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
