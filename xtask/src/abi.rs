//! `abi`: not there yet.

use std::process::ExitCode;

/// `cargo xtask abi`.
pub fn run(_arguments: &[String]) -> ExitCode {
    eprintln!("xtask abi: not there yet");
    ExitCode::FAILURE
}
