//! `models`: not there yet.

use std::process::ExitCode;

/// `cargo xtask models`.
pub fn run(_arguments: &[String]) -> ExitCode {
    eprintln!("xtask models: not there yet");
    ExitCode::FAILURE
}
