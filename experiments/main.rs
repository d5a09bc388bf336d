//! The program `optogen`.

use optogen_systems::aside::AsidePlugin;
use std::process::ExitCode;

fn main() -> ExitCode {
    // No system here acts on evaluations but those that the plugin knows of.
    optogen_experiments::program(|app| _ = app.add_plugins(AsidePlugin))
}
