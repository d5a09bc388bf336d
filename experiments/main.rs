//! The program `optogen`: reads the command line, does it, and exits with a code that says how it went.

use clap::Parser;
use optogen::{Error, Result};
use optogen_experiments::cli::{Command, CommandLine};
use optogen_experiments::{branch, import, replay, run, sites};
use std::process::ExitCode;

fn main() -> ExitCode {
    let command_line = CommandLine::parse();
    let result: Result<u8> = match &command_line.command {
        Command::Run(arguments) => run::run(arguments),
        Command::Import(arguments) => import::import(arguments),
        Command::Replay(arguments) => replay::replay(arguments),
        Command::Branch(arguments) => branch::branch(arguments),
        Command::Sites(arguments) => sites::sites(arguments),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(code_of(&error))
        }
    }
}

/// What was asked for wrongly, a file that is not there included, is 2; what went wrong on the way is 1.
fn code_of(error: &Error) -> u8 {
    match error {
        Error::Invalid(_) | Error::File { .. } | Error::Damaged { .. } | Error::InUse(_) => 2,
        _ => 1,
    }
}
