//! Our side of `cargo xtask bench`: `ks-bench [--unmetered] CASE ARGUMENTS` does the work and prints one line of JSON about it. Where
//! a case needs a second process, this program is started again to serve filters to the first.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use ks_testkit::bench::{self, BenchError};

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "--unmetered") {
        words.remove(0);
        bench::read_no_clocks();
    }
    let outcome = match words.split_first() {
        Some((first, rest)) if first == bench::DRIVER_HOST => return bench::host_driver(rest).into(),
        Some((first, rest)) if first == bench::SERVE => bench::serve(rest).map(|()| None),
        _ => bench::run(&words).map(Some),
    };
    match outcome {
        Ok(reading) => {
            reading.iter().for_each(|reading| println!("{reading}"));
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
