//! Sentences: the program optogen, and the experiment files of the papers.

pub mod branch;
pub mod changed;
pub mod cli;
pub mod device;
pub mod draw;
pub mod evaluators;
pub mod exit;
pub mod figures;
pub mod identity;
pub mod import;
pub mod inputs;
pub mod logs;
mod open_files;
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
use optogen::Result;
use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

/// The program: reads the command line, does it, and exits with a code that says how it went. `extend` may add plugins to what trains: this is
/// where a program of your own begins (`experiments/examples/`).
pub fn program(extend: impl Fn(&mut App)) -> ExitCode {
    program_with(env::args_os(), extend)
}

/// The same with a command line of your own, which begins with the program's name.
pub fn program_with(arguments: impl IntoIterator<Item = OsString>, extend: impl Fn(&mut App)) -> ExitCode {
    exit::end_on_panics();
    // SAFETY: nothing has been started yet.
    unsafe {
        optogen_systems::keep_operations_whole();
        switch_hdf5_locks_off();
    }
    keep_pages_small();
    signals::survive_size_limits();
    let command_line = CommandLine::parse_from(arguments);
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
        Err(error) => ExitCode::from(exit::refused(&error)),
    }
}

/// HDF5 locks what it reads, and refuses to read where that fails: on file systems that know no locks, everything. (`BEST_EFFORT`, its remedy, is for one
/// of several errors that say so.) What is read is locked by `optogen_data` where it can be, and what is written lies in a locked folder.
///
/// # Safety
/// The environment changes: no other thread may run yet.
unsafe fn switch_hdf5_locks_off() {
    const LOCKS: &str = "HDF5_USE_FILE_LOCKING";
    if env::var_os(LOCKS).is_none() {
        unsafe { env::set_var(LOCKS, "FALSE") };
    }
}

/// Keeps Linux from giving the allocator huge pages, most of which would stay empty: half of a run's memory, and no faster.
fn keep_pages_small() {
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_thp_disable(true);
}
