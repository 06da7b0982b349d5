//! Repository checks, tests, benchmarks and fuzzing: `cargo xtask help`.
//!
//! One module a verb; each has `run(args)`, which prints what it does and answers with the exit code.
#![forbid(unsafe_code)]
#![allow(unreachable_pub, reason = "a binary: `pub` marks what a module offers to the other verbs")]

mod abi;
mod asan;
mod bench;
mod counts;
mod coverage;
mod drivers;
mod fuzz;
mod imports;
mod layers;
mod links;
mod mission;
mod models;
mod mutate;
mod repo;
mod setup;
mod test;
mod unsafe_code;

use std::process::ExitCode;

/// One word of the command line, and what carries it out.
struct Verb {
    name: &'static str,
    arguments: &'static str,
    summary: &'static str,
    run: fn(&[String]) -> ExitCode,
}

const VERBS: &[Verb] = &[
    Verb {
        name: "setup",
        arguments: "",
        summary: "install what the tests need, or print the command that does",
        run: setup::run,
    },
    Verb {
        name: "test",
        arguments: "[--quick] [--keep-going] [--write-floor]",
        summary: "every check and every test; --quick leaves out the long steps: asan, models, mutate, counts, fuzz",
        run: test::run,
    },
    Verb {
        name: "abi",
        arguments: "[--json]",
        summary: "the layouts of ks-abi, with the headers' spelling",
        run: abi::run,
    },
    Verb {
        name: "models",
        arguments: "[BREAKAGE...]",
        summary: "model-check ks-mem, ks-io and ks-stream, and the planted breakages; with names only those",
        run: models::run,
    },
    Verb { name: "layers", arguments: "", summary: "a crate depends only on crates of lower layers", run: layers::run },
    Verb { name: "links", arguments: "", summary: "the files that the documents name exist", run: links::run },
    Verb {
        name: "unsafe",
        arguments: "",
        summary: "unsafe code stands only where the design allows it",
        run: unsafe_code::run,
    },
    Verb {
        name: "coverage",
        arguments: "[--check] [--ran FILE]",
        summary: "write docs/coverage.md from the tags in the code, or check it",
        run: coverage::run,
    },
    Verb {
        name: "mission",
        arguments: "",
        summary: "docs/mission.md names tests that exist for each requirement",
        run: mission::run,
    },
    Verb {
        name: "mutate",
        arguments: "[NAME...] [--sample N [--seed S]]",
        summary: "the tests of a done row fail when it answers \"not implemented\"",
        run: mutate::run,
    },
    Verb {
        name: "imports",
        arguments: "[--check]",
        summary: "write docs/imports.md from the exports of ks-nt, or check it",
        run: imports::run,
    },
    Verb {
        name: "drivers",
        arguments: "[NAME...] [--commit]",
        summary: "build the sample drivers; --commit writes those of the repository",
        run: drivers::run,
    },
    Verb {
        name: "asan",
        arguments: "",
        summary: "the tests of ks-mem and ks-nt, and the fuzz targets, under AddressSanitizer",
        run: asan::run,
    },
    Verb {
        name: "counts",
        arguments: "[--update]",
        summary: "instructions of a property call and of a frame's hop, compared with the kept numbers",
        run: counts::run,
    },
    Verb {
        name: "fuzz",
        arguments: "[TARGET...] [--seconds S] [--jobs N] [--no-planted]",
        summary: "fuzz each target, then let it find its planted bug",
        run: fuzz::run,
    },
    Verb {
        name: "bench",
        arguments: "[GOAL...] [--rounds N] [--json] [--write] [--gate]",
        summary: "ours against the peers, interleaved; --write into docs/performance.md, --gate fails on a missed goal",
        run: bench::run,
    },
];

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let name = words.next().unwrap_or_else(|| "help".to_owned());
    let rest: Vec<String> = words.collect();
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        print!("{}", help());
        return ExitCode::SUCCESS;
    }
    match VERBS.iter().find(|verb| verb.name == name) {
        Some(verb) if rest.iter().any(|word| word == "--help" || word == "-h") => {
            println!("cargo xtask {} {}\n  {}", verb.name, verb.arguments, verb.summary);
            ExitCode::SUCCESS
        }
        Some(verb) => (verb.run)(&rest),
        None => {
            eprintln!("xtask: no verb '{name}'\n\n{}", help());
            ExitCode::from(2)
        }
    }
}

fn help() -> String {
    let mut text = "cargo xtask VERB\n\n".to_owned();
    for verb in VERBS {
        text += &format!("  {:<9} {}\n", verb.name, verb.summary);
        if !verb.arguments.is_empty() {
            text += &format!("  {:<9}   {}\n", "", verb.arguments);
        }
    }
    text
}
