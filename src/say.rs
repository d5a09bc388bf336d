//! What is printed. Nobody who reads it, a closed terminal or a full disk behind it is no failure of a run: its rows and its exit code say how it went.

use std::fmt::Display;
use std::io::Write;

/// A line for whoever watches, on standard error: progress, warnings, errors.
pub fn note(line: impl Display) {
    // In one piece, so that lines of several processes do not mix.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// What was asked for, on standard output, as it stands.
pub fn answer(text: impl Display) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.to_string().as_bytes()).and_then(|()| out.flush());
}
