//! Sentences: the program optogen, and the experiment files of the papers.

pub mod branch;
pub mod changed;
pub mod cli;
pub mod device;
pub mod draw;
pub mod evaluators;
pub mod figures;
pub mod identity;
pub mod import;
pub mod inputs;
pub mod logs;
pub mod outcome;
pub mod picture;
pub mod plot;
pub mod replay;
pub mod run;
pub mod search;
mod signals;
pub mod sites;
pub mod table;
pub mod toy;
pub mod verify;

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
        Command::Verify(arguments) => verify::verify(arguments),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            optogen::say::note(format!("error: {error}"));
            ExitCode::from(code_of(&error))
        }
    }
}

/// 2: what was asked for is wrong; 74: the disk or the file system failed, or what it kept is damaged; 3: a fault of this program.
fn code_of(error: &Error) -> u8 {
    match error {
        Error::Invalid(_) | Error::Input { .. } | Error::InUse(_) => 2,
        Error::File { .. } | Error::Damaged { .. } => 74,
        _ => 3,
    }
}

/// Keeps Linux from giving the allocator huge pages, most of which would stay empty: half of a run's memory, and no faster.
fn keep_pages_small() {
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_thp_disable(true);
}
