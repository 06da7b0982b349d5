//! Our side of `cargo xtask bench`: `ks-bench CASE ARGUMENTS` does the work and prints one line of JSON about it.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use ks_testkit::bench::{self, BenchError};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match bench::run(&words) {
        Ok(reading) => {
            println!("{reading}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("ks-bench: {error}");
            match error {
                BenchError::Failed(_) => ExitCode::FAILURE,
                BenchError::Usage => ExitCode::from(2),
                BenchError::NotYet => ExitCode::from(3),
            }
        }
    }
}
