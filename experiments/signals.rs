//! Signals that ask a run to finish its step, keep everything and stop: a user's (Ctrl-C, `kill`, a terminal that closes) and a batch system's, which warns
//! some time before it kills. A second SIGINT stops at once.

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use optogen::{Error, Result};
use optogen_systems::run::StopRequest;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU, SIGXFSZ};
use signal_hook::flag;
use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What asks.
const ASKING: [c_int; 6] = [SIGTERM, SIGINT, SIGUSR1, SIGHUP, SIGUSR2, SIGXCPU];

/// From now on, signals make the request; not those that whoever started the program has it ignore, as `nohup` does.
///
/// # Errors
/// They cannot be listened to.
pub fn listen(stop: &StopRequest) -> Result<()> {
    let refused = |error: std::io::Error| Error::Internal(format!("signals cannot be listened to: {error}"));
    for signal in ASKING {
        if is_ignored(signal).map_err(refused)? {
            continue;
        }
        if signal == SIGINT {
            flag::register_conditional_shutdown(signal, 130, stop.0.clone()).map_err(refused)?;
        }
        flag::register(signal, stop.0.clone()).map_err(refused)?;
    }
    Ok(())
}

/// Whether a signal is ignored. The system says so only to who changes it: it is as it was afterwards.
fn is_ignored(signal: c_int) -> std::io::Result<bool> {
    let signal = Signal::try_from(signal)?;
    let ignored = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: nothing is called on the signal, or what was called on it before.
    let before = unsafe { sigaction(signal, &ignored)? };
    unsafe { sigaction(signal, &before)? };
    Ok(matches!(before.handler(), SigHandler::SigIgn))
}

/// A file that comes to the size allowed (`ulimit -f`) is an error that names it, not the end of the program.
pub fn survive_size_limits() {
    // Where that is refused, it ends the program as before.
    let _ = flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
}
