//! Sentences: the program optogen, and the experiment files of the papers.

pub mod branch;
pub mod cli;
pub mod device;
pub mod draw;
pub mod evaluators;
pub mod figures;
pub mod import;
pub mod logs;
pub mod outcome;
pub mod picture;
pub mod plot;
pub mod replay;
pub mod run;
mod signals;
pub mod sites;
pub mod table;
pub mod toy;

use bevy_app::App;
use clap::Parser;
use cli::{Command, CommandLine};
use optogen::{Error, Result};
use std::process::ExitCode;

/// The program: reads the command line, does it, and exits with a code that says how it went. `extend` may add plugins to what trains: this is
/// where a program of your own begins (`experiments/examples/`).
pub fn program(extend: impl Fn(&mut App)) -> ExitCode {
    // SAFETY: nothing has been started yet.
    unsafe { optogen_systems::keep_operations_whole() };
    keep_pages_small();
    let command_line = CommandLine::parse();
    // Many runs have many tables open; where more is not allowed, the system's own message says so.
    let _ = rlimit::increase_nofile_limit(1 << 20);
    let result: Result<u8> = match &command_line.command {
        Command::Run(arguments) => run::run(arguments, &extend),
        Command::Import(arguments) => import::import(arguments),
        Command::Replay(arguments) => replay::replay(arguments),
        Command::Branch(arguments) => branch::branch(arguments, &extend),
        Command::Figures(arguments) => figures::figures(arguments),
        Command::Plot(arguments) => plot::plot(arguments),
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

/// Keeps Linux from giving the allocator huge pages, most of which would stay empty: half of a run's memory, and no faster.
fn keep_pages_small() {
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_thp_disable(true);
}
