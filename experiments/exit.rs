//! How the program ends: its exit codes, and what it says of its own faults.

use optogen::foreign::is_guarded;
use optogen::{Cause, Error, say};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::set_hook;

/// Some runs failed.
pub const SOME_FAILED: u8 = 1;
/// A run was interrupted, and can be resumed: what batch systems take for "try again later".
pub const INTERRUPTED: u8 = 75;

/// What is said of a fault of this program.
pub const FAULT: &str = "this is a fault of optogen, not of what it was asked for; please report it where you have optogen from, with the lines above, \
    the command and the experiment file";

/// The exit code of an error: 2, what was asked for is wrong; 74, the disk or the file system failed, or what it kept is damaged; 3, a fault of this
/// program.
pub fn code_of(cause: Cause) -> u8 {
    match cause {
        Cause::Request => 2,
        Cause::Disk => 74,
        Cause::Program => 3,
    }
}

/// Says what went wrong; returns the exit code.
pub(crate) fn refused(error: &Error) -> u8 {
    say::note(format!("error: {error}"));
    if error.cause() == Cause::Program {
        say::note(FAULT);
    }
    code_of(error.cause())
}

/// From now on a panic, on whatever thread, is said in words and ends the program with the code of a fault. What waits for a thread that panicked would
/// wait for ever; and what other runs had not yet kept, `--resume` makes again.
pub(crate) fn end_on_panics() {
    set_hook(Box::new(|panic| {
        // It becomes an error.
        if is_guarded() {
            return;
        }
        let place = panic.location().map_or_else(String::new, |location| format!(" ({location})"));
        say::note(format!("error: {}{place}", panic.payload_as_str().unwrap_or("a panic without a message")));
        // With RUST_BACKTRACE=1.
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            say::note(backtrace);
        }
        say::note(FAULT);
        signal_hook::low_level::exit(code_of(Cause::Program).into());
    }));
}
