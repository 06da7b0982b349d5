//! `bench`: not there yet.

use std::process::ExitCode;

/// `cargo xtask bench`.
pub fn run(_arguments: &[String]) -> ExitCode {
    eprintln!("xtask bench: not there yet");
    ExitCode::FAILURE
}
