//! `asan`: tests of unsafe code, and the fuzz targets, under AddressSanitizer.
//!
//! The stable compiler has the sanitizer's runtime; the switch that it calls unstable turns it on. The standard library is
//! not built anew, so what goes wrong inside of it is seen only at its calls of the allocator.

use std::fs;
use std::process::{Command, ExitCode};

use crate::fuzz;
use crate::repo::{self, Outcome};

/// The platform is named so that the flags do not reach build scripts and macros.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// How long each fuzz target runs beyond its corpus.
const FUZZ_SECONDS: u32 = 5;

/// What is run.
struct Suite {
    package: &'static str,
    /// Options of the sanitizer.
    options: &'static str,
    /// Test programs that cannot run so, and why.
    left_out: &'static [(&'static str, &'static str)],
}

/// Tests ask for memory that no machine has, and want to be told so.
const SUITES: &[Suite] = &[
    Suite { package: "ks-mem", options: "allocator_may_return_null=1:detect_leaks=1", left_out: &[] },
    Suite {
        package: "ks-nt",
        // Faults of drivers are its business, on stacks of its own; a driver that is ended in the middle frees nothing.
        options: "allocator_may_return_null=1:detect_leaks=0:handle_segv=0:handle_sigbus=0:handle_sigill=0:\
                  handle_sigfpe=0:handle_abort=0:use_sigaltstack=0:detect_stack_use_after_return=0",
        left_out: &[
            ("fault_path", "its driver host may map less than the sanitizer's allocator wants"),
            (
                "image_machine",
                "its routine that copies is instrumented, and is given addresses that the sanitizer has no shadow of",
            ),
        ],
    },
];

/// `cargo xtask asan`.
pub fn run(arguments: &[String]) -> ExitCode {
    repo::exit("asan", repo::no_arguments(arguments).and_then(|()| check()))
}

/// Runs every suite, then the fuzz targets; the first report of the sanitizer ends its program, and what it is part of.
pub fn check() -> Outcome {
    for suite in SUITES {
        suite.run()?;
    }
    fuzz::under_asan(FUZZ_SECONDS)?;
    println!("asan: fuzz targets: no report");
    Ok(())
}

impl Suite {
    fn run(&self) -> Outcome {
        let mut command: Command = repo::cargo(&["test", "--quiet", "--locked", "--target", PLATFORM]);
        command.args(["--package", self.package, "--lib"]);
        for program in self.programs()? {
            command.args(["--test", &program]);
        }
        command
            .env("RUSTC_BOOTSTRAP", "1")
            // A report names functions without it.
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("CARGO_PROFILE_TEST_DEBUG", "0")
            .env("RUSTFLAGS", "-Zsanitizer=address")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env("CARGO_TARGET_DIR", repo::output_dir("asan")?)
            .env("ASAN_OPTIONS", self.options);
        repo::run(&mut command)?;
        println!("asan: {}: no report", self.package);
        Ok(())
    }

    /// The test programs that run.
    fn programs(&self) -> Outcome<Vec<String>> {
        for (program, reason) in self.left_out {
            println!("asan: {}: without the program {program}: {reason}", self.package);
        }
        let dir = repo::root().join("crates").join(self.package).join("tests");
        let entries = fs::read_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let files = entries.flatten().map(|entry| entry.path());
        let mut programs: Vec<_> = files
            .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
            .filter(|name| !self.left_out.iter().any(|(left_out, _)| left_out == name))
            .collect();
        programs.sort();
        Ok(programs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_exists() {
        for suite in SUITES {
            for (program, _) in suite.left_out {
                let file = format!("crates/{}/tests/{program}.rs", suite.package);
                assert!(repo::root().join(&file).exists(), "{file}");
            }
            assert!(!suite.programs().unwrap().is_empty());
        }
    }
}
