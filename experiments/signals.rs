//! SIGTERM, SIGINT and SIGUSR1 ask a run to finish its step, keep everything and stop; a second SIGINT stops at once.

use optogen::{Error, Result};
use optogen_systems::run::StopRequest;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;

/// From now on, signals make the request.
pub fn listen(stop: &StopRequest) -> Result<()> {
    let refused = |error: std::io::Error| Error::Invalid(format!("signals cannot be listened to: {error}"));
    flag::register_conditional_shutdown(SIGINT, 130, stop.0.clone()).map_err(refused)?;
    for signal in [SIGTERM, SIGINT, SIGUSR1] {
        flag::register(signal, stop.0.clone()).map_err(refused)?;
    }
    Ok(())
}
