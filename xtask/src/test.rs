//! `test`: every check and every test of the repository, in order, with one line a step.
//!
//! A failing step does not hide the next one: all are run and the failures are listed at the end, except that the long ones
//! (asan, models, mutate, counts, fuzz) wait until everything else is right, unless `--keep-going` is given.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::repo::{self, Outcome};
use crate::{coverage, drivers, imports, layers, links, mission, setup, unsafe_code};

const FLOOR: &str = "tests-floor.toml";

/// A verb of this program and its arguments.
type LongStep = (&'static str, &'static [&'static str]);

/// The steps that take minutes. None keeps all processors busy for its whole time, so they run side by side. A fuzz target
/// runs a minute, three of them at a time.
const LONG: &[LongStep] = &[
    ("asan", &[]),
    ("fuzz", &["--seconds", "60", "--jobs", "3"]),
    ("models", &[]),
    ("mutate", &["--sample", "20"]),
    ("counts", &[]),
];

/// What needs the feature. With the whole workspace chosen, what it depends on is what the tests have built already.
const SYMPHONIA: &[&str] = &["--workspace", "--features", "ks-filters/symphonia", "--test", "compressed", "--locked"];

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
    let start = Instant::now();
    run_steps(&wish, &mut steps, &mut tally);
    summarise(&steps, &tally, start.elapsed())
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
    // The crates stand on each other, so their build leaves processors idle; what only reads the code uses them.
    let checked = thread::scope(|scope| {
        let checks = scope.spawn(read_the_code);
        step(steps, "tests", || {
            let list = repo::output_dir("test")?.join("passed.txt");
            let outcome = cargo_test(tally, &["test", "--workspace", "--locked", "--no-fail-fast"]);
            repo::write(&list, &(tally.names.join("\n") + "\n"))?;
            outcome
        });
        let panicked = |_| vec![("clippy", Err("the check itself panicked".to_owned()), Duration::ZERO)];
        checks.join().unwrap_or_else(panicked)
    });
    steps.extend(checked.into_iter().map(|(name, outcome, took)| concluded(name, outcome, took)));
    step(steps, "symphonia", || cargo_test(tally, &[&["test"], SYMPHONIA].concat()));
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
    match obstacle {
        Some(reason) => {
            steps.extend(LONG.iter().map(|(name, _)| Step { name, end: End::NotRun(reason), took: Duration::ZERO }));
        }
        None => side_by_side(steps, LONG),
    }
}

/// Runs each verb as a program of its own, one more at a time than there are processors, and prints what it said when it
/// has ended.
fn side_by_side(steps: &mut Vec<Step>, verbs: &[LongStep]) {
    let names: Vec<&str> = verbs.iter().map(|(name, _)| *name).collect();
    println!("== started: {}", names.join(", "));
    let open = Mutex::new(verbs.iter());
    let next = || open.lock().ok().and_then(|mut open| open.next());
    let ended = Mutex::new(steps);
    let lanes = 1 + thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..lanes.min(verbs.len()) {
            scope.spawn(|| {
                while let Some((name, arguments)) = next() {
                    let start = Instant::now();
                    let (said, outcome) = in_its_own_process(name, arguments);
                    let took = start.elapsed();
                    if let Ok(mut steps) = ended.lock() {
                        println!("== {name}\n{}", said.trim_end());
                        steps.push(concluded(name, outcome, took));
                    }
                }
            });
        }
    });
}

/// What the verb said, and how it ended.
fn in_its_own_process(name: &str, arguments: &[&str]) -> (String, Outcome) {
    let run = || -> Outcome<(String, Outcome)> {
        let program = std::env::current_exe().map_err(|error| format!("the path of this program: {error}"))?;
        let log = repo::output_dir("test")?.join(format!("{name}.log"));
        let wrong = |error| format!("{}: {error}", log.display());
        let file = File::create(&log).map_err(wrong)?;
        let both = file.try_clone().map_err(wrong)?;
        let mut command = Command::new(program);
        command.arg(name).args(arguments).stdin(Stdio::null()).stdout(file).stderr(both);
        let outcome = repo::run(&mut command).map_err(|_| "see its output above".to_owned());
        Ok((String::from_utf8_lossy(&repo::bytes(&log)?).into_owned(), outcome))
    };
    run().unwrap_or_else(|error| (String::new(), Err(error)))
}

fn step(steps: &mut Vec<Step>, name: &'static str, action: impl FnOnce() -> Outcome) -> bool {
    println!("== {name}");
    let start = Instant::now();
    let outcome = action();
    let took = start.elapsed();
    let step = concluded(name, outcome, took);
    let is_right = matches!(step.end, End::Passed);
    steps.push(step);
    is_right
}

/// Prints how a step ended.
fn concluded(name: &'static str, outcome: Outcome, took: Duration) -> Step {
    let end = match outcome {
        Ok(()) => End::Passed,
        Err(message) => {
            println!("{message}");
            End::Failed(message)
        }
    };
    let word = if matches!(end, End::Passed) { "ok" } else { "FAILED" };
    println!("== {name}: {word} ({:.1} s)", took.as_secs_f64());
    Step { name, end, took }
}

fn format() -> Outcome {
    repo::run(&mut repo::cargo(&["fmt", "--all", "--", "--check"]))?;
    repo::run(&mut repo::cargo(&["fmt", "--manifest-path=fuzz/Cargo.toml", "--", "--check"]))
}

/// Clippy over everything, and the documentation, in which no link may be broken. Nothing is printed but what is wrong.
fn read_the_code() -> Vec<(&'static str, Outcome, Duration)> {
    let clippy = ["clippy", "--workspace", "--all-targets", "--locked", "--quiet", "--", "--deny=warnings"];
    let of_symphonia = [&["clippy", "--quiet"], SYMPHONIA, &["--", "--deny=warnings"]].concat();
    let doc = ["doc", "--workspace", "--no-deps", "--locked", "--quiet"];
    let check = |name, commands: &[&[&str]]| {
        let start = Instant::now();
        let outcome = commands.iter().try_for_each(|arguments| {
            let mut command = repo::cargo(arguments);
            // Of its own: cargo locks the one in which the tests are built.
            command.env("CARGO_TARGET_DIR", repo::output_dir("clippy")?).env("RUSTDOCFLAGS", "--deny=warnings");
            repo::output(&mut command).map(drop)
        });
        (name, outcome, start.elapsed())
    };
    vec![check("clippy", &[&clippy, &of_symphonia]), check("doc", &[&doc])]
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

fn summarise(steps: &[Step], tally: &Tally, total: Duration) -> ExitCode {
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
