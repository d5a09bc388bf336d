//! The program `optogen`.

use optogen_systems::ahead::AheadPlugin;
use optogen_systems::aside::AsidePlugin;
use optogen_systems::stride::StridePlugin;
use std::process::ExitCode;

fn main() -> ExitCode {
    // No system here acts on evaluations but those that the plugin knows of, and none changes a stream.
    optogen_experiments::program(|app| _ = app.add_plugins((AheadPlugin, AsidePlugin, StridePlugin)))
}
