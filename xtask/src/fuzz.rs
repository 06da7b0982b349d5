//! `fuzz`: not there yet.

use std::process::ExitCode;

/// `cargo xtask fuzz`.
pub fn run(_arguments: &[String]) -> ExitCode {
    eprintln!("xtask fuzz: not there yet");
    ExitCode::FAILURE
}
