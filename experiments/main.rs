//! The program `optogen`.

use std::process::ExitCode;

fn main() -> ExitCode {
    optogen_experiments::program(|_| {})
}
