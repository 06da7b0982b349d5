//! `counts`: how many instructions a property call, the hop of a frame and the set-up of a filter take, compared with the kept numbers.
//!
//! Time is noise on a shared machine; instructions under valgrind repeat. Each count is the difference of runs of
//! our benchmark program, so that its start is not in it. Another compiler makes other code: numbers are compared only with
//! the same `rustc`.

use std::path::Path;
use std::process::{Command, ExitCode};

use crate::repo::{self, Outcome};
use crate::setup::{self, Need};

/// Where the numbers are kept.
const KEPT: &str = "bench/counts.toml";

/// A rise by more than this fails.
const MOST_RISE: f64 = 0.05;

const NEEDS: &[Need] = &[Need { probe: "valgrind", package: "valgrind" }];

/// What is counted.
struct Case {
    name: &'static str,
    what: &'static str,
    /// Runs, and those that are taken off; what is left was done so many times.
    runs: &'static [&'static str],
    less: &'static [&'static str],
    times: u32,
}

const CASES: &[Case] = &[
    Case {
        name: "property_get",
        what: "a property of four bytes read by a client",
        runs: &["property_get 12000"],
        less: &["property_get 2000"],
        times: 10_000,
    },
    Case {
        name: "frame_hop",
        what: "a frame through one filter more, without the set-up of that",
        runs: &["graph 11 4096 25000", "graph 3 4096 5000"],
        less: &["graph 11 4096 5000", "graph 3 4096 25000"],
        times: 8 * 20_000,
    },
    Case {
        name: "filter_setup",
        what: "one filter more in a pipe, from its open to its close, with 64 frames",
        runs: &["graph 11 4096 64"],
        less: &["graph 3 4096 64"],
        times: 8,
    },
];

/// The compiler and the numbers that were counted with it.
#[derive(Debug, PartialEq)]
struct Counts {
    rustc: String,
    instructions: Vec<(String, f64)>,
}

/// `cargo xtask counts [--update]`.
pub fn run(arguments: &[String]) -> ExitCode {
    let outcome = match arguments {
        [] => check(),
        [word] if word == "--update" => update(),
        _ => repo::no_arguments(arguments),
    };
    repo::exit("counts", outcome)
}

/// Fails when a count has risen.
pub fn check() -> Outcome {
    let kept = parse(&repo::read(&repo::root().join(KEPT))?)?;
    let now = count()?;
    if kept.rustc != now.rustc {
        println!("counts: not compared: {KEPT} is of rustc {}, this is {}", kept.rustc, now.rustc);
        return Ok(());
    }
    let risen = risen(&kept, &now)?;
    if risen.is_empty() { Ok(()) } else { Err(risen.join("\n")) }
}

fn update() -> Outcome {
    let now = count()?;
    repo::write(&repo::root().join(KEPT), &text(&now))?;
    println!("counts: wrote {KEPT}");
    Ok(())
}

/// The counts that are more than [`MOST_RISE`] above the kept ones, each as a sentence.
fn risen(kept: &Counts, now: &Counts) -> Outcome<Vec<String>> {
    let mut risen = Vec::new();
    for (name, count) in &now.instructions {
        let before = kept.instructions.iter().find(|(kept, _)| kept == name).map(|(_, count)| *count);
        let before = before.ok_or_else(|| format!("{KEPT} has no {name}; run: cargo xtask counts --update"))?;
        let change = count / before - 1.0;
        let percent = change * 100.0;
        println!("counts: {name}: {count:.0} instructions, kept {before:.0} ({percent:+.1} %)");
        if change > MOST_RISE {
            risen.push(format!("{name} takes {count:.0} instructions, {percent:.1} % more than the kept {before:.0}"));
        } else if change < -MOST_RISE {
            println!("counts: {name} has become cheaper; keep it so: cargo xtask counts --update");
        }
    }
    Ok(risen)
}

fn count() -> Outcome<Counts> {
    setup::install_packages(NEEDS)?;
    // What is counted converts no picture, and this crate takes longer to optimise than all the rest.
    let fast = "profile.release.package.yuv.opt-level=0";
    let build =
        ["build", "--quiet", "--release", "--locked", "--config", fast, "--package=ks-testkit", "--bin", "ks-bench"];
    repo::run(&mut repo::cargo(&build))?;
    let program = repo::target_dir().join("release").join("ks-bench");
    let mut instructions = Vec::new();
    for case in CASES {
        let sum = |runs: &[&str]| runs.iter().map(|run| executed(&program, run)).sum::<Outcome<u64>>();
        let each = (sum(case.runs)? as f64 - sum(case.less)? as f64) / f64::from(case.times);
        instructions.push((case.name.to_owned(), each));
    }
    Ok(Counts { rustc: rustc()?, instructions })
}

/// Instructions of a whole run: the fewer of two, because a thread that waits for its turn spends some of its own.
fn executed(program: &Path, case: &str) -> Outcome<u64> {
    let once = || {
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--fair-sched=yes"]);
        command.arg(program).arg("--unmetered").args(case.split(' '));
        let done = command.output().map_err(|error| format!("{}: {error}", repo::shown(&command)))?;
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        if !done.status.success() {
            return Err(format!("{} ended with {}\n{said}", repo::shown(&command), done.status));
        }
        collected(&said).ok_or_else(|| format!("{} told no count\n{said}", repo::shown(&command)))
    };
    Ok(once()?.min(once()?))
}

/// The number in valgrind's line `Collected : NUMBER`.
fn collected(said: &str) -> Option<u64> {
    let line = said.lines().find(|line| line.contains("Collected"))?;
    line.rsplit(':').next()?.split_whitespace().next()?.parse().ok()
}

fn rustc() -> Outcome<String> {
    let told = repo::output(Command::new("rustc").arg("--version"))?;
    Ok(told.trim().trim_start_matches("rustc ").to_owned())
}

fn text(counts: &Counts) -> String {
    let mut text =
        "# Instructions, counted by `cargo xtask counts` with valgrind; a rise of more than 5 % fails the tests.\n\
                    # `cargo xtask counts --update` writes this file.\n"
            .to_owned();
    text += &format!("rustc = \"{}\"\n", counts.rustc);
    for (name, count) in &counts.instructions {
        let what = CASES.iter().find(|case| case.name == name).map_or("", |case| case.what);
        text += &format!("# {what}\n{name} = {count:.1}\n");
    }
    text
}

fn parse(text: &str) -> Outcome<Counts> {
    let mut counts = Counts { rustc: String::new(), instructions: Vec::new() };
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.split_once(" = ").ok_or_else(|| format!("{KEPT}: not 'name = value': {line}"))?;
        if name == "rustc" {
            value.trim_matches('"').clone_into(&mut counts.rustc);
        } else {
            let count = value.parse::<f64>().ok().filter(|count| *count > 0.0);
            let count = count.ok_or_else(|| format!("{KEPT}: not a number above 0: {line}"))?;
            counts.instructions.push((name.to_owned(), count));
        }
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(get: f64, hop: f64) -> Counts {
        let instructions = vec![("property_get".to_owned(), get), ("frame_hop".to_owned(), hop)];
        Counts { rustc: "1.95.0 (a 2026-04-14)".to_owned(), instructions }
    }

    #[test]
    fn a_rise_of_more_than_five_percent_is_told_by_name() {
        assert!(risen(&counts(100.0, 200.0), &counts(104.9, 150.0)).unwrap().is_empty());
        let told = risen(&counts(100.0, 200.0), &counts(100.0, 211.0)).unwrap();
        assert!(told.len() == 1 && told[0].starts_with("frame_hop takes 211 instructions, 5.5 % more"), "{told:?}");
    }

    #[test]
    fn a_count_that_was_not_kept_asks_for_an_update() {
        let kept = Counts { instructions: vec![("frame_hop".to_owned(), 1.0)], ..counts(1.0, 1.0) };
        assert!(risen(&kept, &counts(1.0, 1.0)).unwrap_err().contains("--update"));
    }

    #[test]
    fn the_kept_file_is_read_as_it_is_written() {
        let written = counts(683.5, 410.0);
        assert_eq!(parse(&text(&written)).unwrap(), written);
        assert!(parse("property_get = none").is_err());
    }

    #[test]
    fn the_committed_file_has_every_case() {
        let kept = parse(&repo::read(&repo::root().join(KEPT)).unwrap()).unwrap();
        assert!(CASES.iter().all(|case| kept.instructions.iter().any(|(name, _)| name == case.name)));
    }

    #[test]
    fn valgrinds_count_is_read() {
        assert_eq!(collected("==7== Events    : Ir\n==7== Collected : 123456\n"), Some(123_456));
        assert_eq!(collected("nothing"), None);
    }
}
