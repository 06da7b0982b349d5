//! `asan`: tests of unsafe code under AddressSanitizer.
//!
//! The stable compiler has the sanitizer's runtime; the switch that it calls unstable turns it on. The standard library is
//! not built anew, so what goes wrong inside of it is seen only at its calls of the allocator.

use std::process::{Command, ExitCode};

use crate::repo::{self, Outcome};

/// The platform is named so that the flags do not reach build scripts and macros.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// What is run: the arguments of `cargo test`, and the options of the sanitizer.
struct Suite {
    arguments: &'static [&'static str],
    options: &'static str,
}

const SUITES: &[Suite] = &[Suite { arguments: &["--package=ks-mem", "--lib", "--tests"], options: "detect_leaks=1" }];

/// `cargo xtask asan`.
pub fn run(arguments: &[String]) -> ExitCode {
    repo::exit("asan", repo::no_arguments(arguments).and_then(|()| check()))
}

/// Runs every suite; the first report of the sanitizer ends its program, and the suite with it.
pub fn check() -> Outcome {
    let work = repo::output_dir("asan")?;
    for suite in SUITES {
        let mut command: Command = repo::cargo(&["test", "--quiet", "--locked", "--target", PLATFORM]);
        command
            .args(suite.arguments)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTFLAGS", "-Zsanitizer=address")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env("CARGO_TARGET_DIR", &work)
            .env("ASAN_OPTIONS", suite.options);
        repo::run(&mut command)?;
        println!("asan: {}: no report", suite.arguments.join(" "));
    }
    Ok(())
}
