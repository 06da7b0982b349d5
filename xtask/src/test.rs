//! `test`: every check and every test of the repository, in order, with one line a step.
//!
//! A failing step does not hide the next one: all are run and the failures are listed at the end, except that the long ones
//! (models, mutate, counts, asan, fuzz) wait until everything else is right, unless `--keep-going` is given.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use crate::repo::{self, Outcome};
use crate::{
    asan, counts, coverage, drivers, fuzz, imports, layers, links, mission, models, mutate, setup, unsafe_code,
};

const FLOOR: &str = "tests-floor.toml";

/// What the command line asks for.
#[derive(Default)]
struct Wish {
    quick: bool,
    keep_going: bool,
    write_floor: bool,
}

/// How a step ended.
enum End {
    Passed,
    Failed(String),
    NotRun(&'static str),
}

struct Step {
    name: &'static str,
    end: End,
    took: Duration,
}

/// What `cargo test` reported, summed over all test programs.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
    /// The tests that passed, by path.
    names: Vec<String>,
}

/// `cargo xtask test [--quick] [--keep-going] [--write-floor]`.
pub fn run(arguments: &[String]) -> ExitCode {
    let mut wish = Wish::default();
    for word in arguments {
        match word.as_str() {
            "--quick" => wish.quick = true,
            "--keep-going" => wish.keep_going = true,
            "--write-floor" => wish.write_floor = true,
            _ => return repo::exit("test", Err(format!("unknown argument '{word}'"))),
        }
    }
    let mut steps = Vec::new();
    let mut tally = Tally::default();
    run_steps(&wish, &mut steps, &mut tally);
    summarise(&steps, &tally)
}

fn run_steps(wish: &Wish, steps: &mut Vec<Step>, tally: &mut Tally) {
    if !step(steps, "setup", setup::for_tests) {
        return;
    }
    step(steps, "format", format);
    step(steps, "layers", layers::check);
    step(steps, "links", links::check);
    step(steps, "unsafe", unsafe_code::check);
    step(steps, "drivers", drivers::check);
    step(steps, "clippy", clippy);
    step(steps, "doc", doc);
    step(steps, "tests", || {
        let list = repo::output_dir("test")?.join("passed.txt");
        let outcome = cargo_test(tally, &["test", "--workspace", "--locked", "--no-fail-fast"]);
        repo::write(&list, &(tally.names.join("\n") + "\n"))?;
        outcome
    });
    step(steps, "symphonia", || {
        // With the whole workspace chosen, what it depends on is what the tests have built already.
        let of_it = ["--workspace", "--features", "ks-filters/symphonia", "--test", "compressed", "--locked"];
        repo::run(&mut repo::cargo(&[&["clippy", "--quiet"], &of_it[..], &["--", "--deny=warnings"]].concat()))?;
        cargo_test(tally, &[&["test"], &of_it[..]].concat())
    });
    step(steps, "floor", || floor(tally, wish));
    step(steps, "imports", imports::check);
    step(steps, "coverage", || coverage::check(Some(&passed_list()?)));
    step(steps, "mission", || mission::check(Some(&passed_list()?)));
    let is_right = steps.iter().all(|step| matches!(step.end, End::Passed));
    let obstacle = if wish.quick {
        Some("--quick")
    } else if is_right || wish.keep_going {
        None
    } else {
        Some("an earlier step failed; --keep-going runs it all the same")
    };
    for (name, verb, arguments) in [
        ("models", models::run as fn(&[String]) -> ExitCode, &[][..]),
        ("mutate", mutate::run, &["--sample", "20"][..]),
        ("counts", counts::run, &[][..]),
        ("asan", asan::run, &[][..]),
        ("fuzz", fuzz::run, &["--seconds", "60"][..]),
    ] {
        if let Some(reason) = obstacle {
            steps.push(Step { name, end: End::NotRun(reason), took: Duration::ZERO });
            continue;
        }
        let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
        step(steps, name, || match verb(&arguments) {
            code if code == ExitCode::SUCCESS => Ok(()),
            _ => Err("see its output above".to_owned()),
        });
    }
}

fn step(steps: &mut Vec<Step>, name: &'static str, action: impl FnOnce() -> Outcome) -> bool {
    println!("== {name}");
    let start = Instant::now();
    let outcome = action();
    let took = start.elapsed();
    let end = match outcome {
        Ok(()) => End::Passed,
        Err(message) => {
            println!("{message}");
            End::Failed(message)
        }
    };
    let is_right = matches!(end, End::Passed);
    let word = if is_right { "ok" } else { "FAILED" };
    println!("== {name}: {word} ({:.1} s)", took.as_secs_f64());
    steps.push(Step { name, end, took });
    is_right
}

fn format() -> Outcome {
    repo::run(&mut repo::cargo(&["fmt", "--all", "--", "--check"]))?;
    repo::run(&mut repo::cargo(&["fmt", "--manifest-path=fuzz/Cargo.toml", "--", "--check"]))
}

fn clippy() -> Outcome {
    repo::run(&mut repo::cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--quiet",
        "--",
        "--deny=warnings",
    ]))
}

/// Builds the documentation, in which no link may be broken.
fn doc() -> Outcome {
    let mut command = repo::cargo(&["doc", "--workspace", "--no-deps", "--locked", "--quiet"]);
    repo::run(command.env("RUSTDOCFLAGS", "--deny=warnings"))
}

/// Runs all tests with their output on the terminal, and adds up what their runners say.
fn cargo_test(tally: &mut Tally, arguments: &[&str]) -> Outcome {
    let mut command = repo::cargo(arguments);
    let shown = repo::shown(&command);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(|error| format!("{shown}: {error}"))?;
    if let Some(output) = child.stdout.take() {
        let mut terminal = std::io::stdout().lock();
        for line in BufReader::new(output).lines() {
            let line = line.map_err(|error| format!("{shown}: {error}"))?;
            tally.add(&line);
            let _ = writeln!(terminal, "{line}");
        }
    }
    let status = child.wait().map_err(|error| format!("{shown}: {error}"))?;
    if !status.success() {
        return Err(format!("{shown} ended with {status}; {} failed", tally.failed));
    }
    if tally.ignored > 0 {
        return Err(format!("{} tests are ignored; none may be", tally.ignored));
    }
    Ok(())
}

impl Tally {
    /// Reads a line of a test runner's output.
    fn add(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... ok")) {
            let name = name.strip_suffix(" - should panic").unwrap_or(name);
            self.names.push(name.to_owned());
        }
        let Some(rest) = line.strip_prefix("test result: ") else {
            return;
        };
        if !rest.contains("; 0 filtered out") {
            // A test program that a test started for one of its own tests; that test is counted already.
            return;
        }
        let counts = rest.split_once(". ").map_or(rest, |(_, counts)| counts);
        for part in counts.split("; ") {
            let (count, what) = part.split_once(' ').unwrap_or((part, ""));
            let count = count.parse::<u64>().unwrap_or(0);
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.ignored += count,
                _ => {}
            }
        }
    }
}

fn passed_list() -> Outcome<PathBuf> {
    Ok(repo::output_dir("test")?.join("passed.txt"))
}

/// Compares the number of tests with the committed floor.
fn floor(tally: &Tally, wish: &Wish) -> Outcome {
    let path = repo::root().join(FLOOR);
    let ran = tally.passed + tally.failed;
    if wish.write_floor {
        repo::write(&path, &floor_text(ran))?;
    }
    let least = parse_floor(&repo::read(&path)?).ok_or_else(|| format!("{FLOOR} has no line 'tests = NUMBER'"))?;
    if ran < least {
        return Err(format!("{ran} tests ran, {FLOOR} asks for at least {least}"));
    }
    println!("floor: {ran} tests ran, at least {least} must");
    Ok(())
}

fn floor_text(tests: u64) -> String {
    format!(
        "# The least number of tests that `cargo xtask test` must run; fewer is a failure.\n\
         # `cargo xtask test --write-floor` raises it to what ran.\n\
         tests = {tests}\n"
    )
}

fn parse_floor(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("tests = "))?;
    line.trim().parse().ok()
}

fn summarise(steps: &[Step], tally: &Tally) -> ExitCode {
    println!("\n== summary");
    let mut is_right = true;
    for step in steps {
        let seconds = step.took.as_secs_f64();
        match &step.end {
            End::Passed => println!("{:<9} ok       {seconds:>6.1} s", step.name),
            End::NotRun(reason) => println!("{:<9} not run  {reason}", step.name),
            End::Failed(message) => {
                is_right = false;
                let first = message.lines().next().unwrap_or_default();
                println!("{:<9} FAILED   {seconds:>6.1} s  {first}", step.name);
            }
        }
    }
    let total: Duration = steps.iter().map(|step| step.took).sum();
    println!("{:<9}          {:>6.1} s", "total", total.as_secs_f64());
    println!("\n{} passed, {} failed", tally.passed, tally.failed);
    if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runners_closing_lines_are_summed() {
        let mut tally = Tally::default();
        for line in [
            "test pin::a_pin_closes ... ok",
            "test other - should panic ... ok",
            "test third ... FAILED",
            "test result: FAILED. 2 passed; 1 failed; 3 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out; finished in 0.00s",
        ] {
            tally.add(line);
        }
        assert_eq!((tally.passed, tally.failed, tally.ignored), (6, 1, 3));
        assert_eq!(tally.names, ["pin::a_pin_closes", "other"]);
    }

    #[test]
    fn the_floor_is_read_back_as_written() {
        assert_eq!(parse_floor(&floor_text(17)), Some(17));
        assert_eq!(parse_floor("nothing"), None);
    }
}
