//! Tells the program which git revision it is built from, for the runs' rows.

use std::process::Command;

fn main() {
    let output = Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=12"]).output();
    let revision = output.ok().filter(|output| output.status.success()).and_then(|output| String::from_utf8(output.stdout).ok());
    println!("cargo:rustc-env=OPTOGEN_REVISION={}", revision.as_deref().map_or("unknown", str::trim));
    println!("cargo:rerun-if-changed=../.git/logs/HEAD");
    println!("cargo:rerun-if-changed=build.rs");
}
