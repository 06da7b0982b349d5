//! `fuzz`: runs each target of `fuzz/targets` from its kept corpus, then lets it find its planted bug.
//!
//! libFuzzer is linked into the targets and the coverage counters come from flags that the stable compiler takes, so that
//! neither a nightly toolchain nor a cargo plug-in is needed. Targets run side by side, one a processor if nothing else is asked for.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::thread;

use crate::repo::{self, Outcome};

/// The platform is named so that the flags do not reach build scripts and macros.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// Inline counters with their code addresses, compared values, and the cfg that fuzzers set.
const COVERAGE_FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing";

/// What a planted bug says when it strikes.
const PLANTED: &str = "planted bug";

/// Ten minutes a target; the tests give each a minute.
const DEFAULT_SECONDS: u32 = 600;

/// A search is a matter of luck: a planted bug may take so many times as long as a target runs.
const PLANTED_PATIENCE: u32 = 10;

/// What the command line asks for.
struct Wish {
    targets: Vec<String>,
    seconds: u32,
    planted: bool,
    /// How many targets run at a time.
    jobs: usize,
}

/// The builds of the targets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Build {
    Plain,
    Planted,
    /// Under AddressSanitizer.
    Asan,
}

impl Build {
    fn name(self) -> &'static str {
        match self {
            Build::Plain => "plain",
            Build::Planted => "planted",
            Build::Asan => "asan",
        }
    }
}

/// Runs each target from its corpus for so many seconds under AddressSanitizer.
pub fn under_asan(seconds: u32) -> Outcome {
    build(Build::Asan)?;
    each(&targets()?, processors(), |target| fuzz_target(Build::Asan, target, seconds))
}

/// `cargo xtask fuzz [TARGET...] [--seconds S] [--jobs N] [--no-planted]`.
pub fn run(arguments: &[String]) -> ExitCode {
    repo::exit("fuzz", wish(arguments).and_then(|wish| fuzz(&wish)))
}

fn wish(arguments: &[String]) -> Outcome<Wish> {
    let known = targets()?;
    let mut wish = Wish { targets: Vec::new(), seconds: DEFAULT_SECONDS, planted: true, jobs: processors() };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--no-planted" => wish.planted = false,
            "--jobs" => {
                let number = words.next().and_then(|word| word.parse().ok());
                wish.jobs = number.filter(|jobs| *jobs > 0).ok_or("--jobs takes a number above 0")?;
            }
            "--seconds" => {
                let number = words.next().and_then(|word| word.parse().ok());
                wish.seconds = number.filter(|seconds| *seconds > 0).ok_or("--seconds takes a number above 0")?;
            }
            name if known.iter().any(|target| target == name) => wish.targets.push(name.to_owned()),
            name => return Err(format!("no target '{name}'; there are {}", known.join(", "))),
        }
    }
    if wish.targets.is_empty() {
        wish.targets = known;
    }
    Ok(wish)
}

fn fuzz_dir() -> PathBuf {
    repo::root().join("fuzz")
}

/// The names of all targets.
fn targets() -> Outcome<Vec<String>> {
    let files = repo::rust_files(&fuzz_dir().join("targets"))?;
    Ok(files.iter().filter_map(|file| file.file_stem()).map(|name| name.to_string_lossy().into_owned()).collect())
}

fn fuzz(wish: &Wish) -> Outcome {
    build(Build::Plain)?;
    each(&wish.targets, wish.jobs, |target| fuzz_target(Build::Plain, target, wish.seconds))?;
    if wish.planted {
        build(Build::Planted)?;
        let patience = wish.seconds.saturating_mul(PLANTED_PATIENCE);
        each(&wish.targets, wish.jobs, |target| find_planted_bug(target, patience))?;
    }
    Ok(())
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Runs `action` for every target, so many at a time, and gathers the failures.
fn each(targets: &[String], jobs: usize, action: impl Fn(&str) -> Outcome + Sync) -> Outcome {
    let open = Mutex::new(targets.iter().collect::<VecDeque<_>>());
    let next = || open.lock().ok().and_then(|mut open| open.pop_front());
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..jobs.min(targets.len()) {
            scope.spawn(|| {
                while let Some(target) = next() {
                    if let Err(message) = action(target)
                        && let Ok(mut failures) = failures.lock()
                    {
                        failures.push(format!("{target}: {message}"));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap_or_default();
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

/// Builds all targets and puts the programs where the other build does not overwrite them.
fn build(build: Build) -> Outcome {
    let work = repo::output_dir("fuzz")?;
    let mut target_dir = work.clone();
    let mut flags = COVERAGE_FLAGS.to_owned();
    let mut command =
        repo::cargo(&["build", "--quiet", "--release", "--target", PLATFORM, "--manifest-path=fuzz/Cargo.toml"]);
    match build {
        Build::Plain => {}
        // The flags are the same, so that only what has the bugs is built anew.
        Build::Planted => drop(command.args(["--features", "planted-bug"])),
        Build::Asan => {
            flags += " -Zsanitizer=address";
            // The other builds may be under way.
            target_dir = repo::output_dir("fuzz/sanitized")?;
            // It runs for seconds, and what is instrumented takes long to optimise.
            command.env("RUSTC_BOOTSTRAP", "1").env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
        }
    }
    // A report names functions without it.
    command.env("CARGO_PROFILE_RELEASE_DEBUG", "0");
    command.env("RUSTFLAGS", flags).env_remove("CARGO_ENCODED_RUSTFLAGS").env("CARGO_TARGET_DIR", &target_dir);
    repo::run(&mut command)?;
    let programs = work.join(build.name());
    fs::create_dir_all(&programs).map_err(|error| format!("{}: {error}", programs.display()))?;
    for target in targets()? {
        let built = target_dir.join(PLATFORM).join("release").join(&target);
        fs::copy(&built, programs.join(&target)).map_err(|error| format!("{}: {error}", built.display()))?;
    }
    Ok(())
}

fn fuzz_target(build: Build, target: &str, seconds: u32) -> Outcome {
    let run = Run::start(build, target, &[format!("-max_total_time={seconds}")])?;
    println!("fuzz: {target}: {}: {}", build.name(), run.figures());
    if !run.ended_well {
        return Err(format!("{}\n  input kept in {}", run.complaint(), run.dir.display()));
    }
    if run.last_cover == 0 {
        return Err("no coverage counters: the flags do not reach the code".to_owned());
    }
    if run.executions == 0 {
        return Err("nothing was executed".to_owned());
    }
    Ok(())
}

/// The planted bug must not be in the corpus, and must be found from it.
fn find_planted_bug(target: &str, seconds: u32) -> Outcome {
    let seeds = Run::start(Build::Planted, target, &["-runs=0".to_owned()])?;
    if !seeds.ended_well {
        return Err(format!("a file of the corpus fails already: {}", seeds.complaint()));
    }
    let run = Run::start(Build::Planted, target, &[format!("-max_total_time={seconds}")])?;
    if run.ended_well {
        return Err(format!("the planted bug was not found in {seconds} s: {}", run.figures()));
    }
    if !run.log.contains(PLANTED) {
        return Err(format!("found another bug than the planted one: {}", run.complaint()));
    }
    println!("fuzz: {target}: planted bug found after {} executions", run.executions);
    Ok(())
}

/// A finished run of one target.
struct Run {
    dir: PathBuf,
    log: String,
    ended_well: bool,
    executions: u64,
    first_cover: u64,
    last_cover: u64,
}

impl Run {
    fn start(build: Build, target: &str, limits: &[String]) -> Outcome<Run> {
        let work = repo::output_dir("fuzz")?;
        let dir = work.join(format!("{target}-{}", build.name()));
        let found = dir.join("corpus");
        if build == Build::Planted {
            let _ = fs::remove_dir_all(&dir);
        }
        fs::create_dir_all(&found).map_err(|error| format!("{}: {error}", found.display()))?;
        let log = dir.join("log");
        let file = File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let both = file.try_clone().map_err(|error| format!("{}: {error}", log.display()))?;
        let mut command = Command::new(work.join(build.name()).join(target));
        command
            .args(["-print_final_stats=1", "-timeout=25", "-rss_limit_mb=2048", "-max_len=4096"])
            .args(limits)
            .arg(found)
            .arg(fuzz_dir().join("corpus").join(target))
            .current_dir(&dir)
            .env("RUST_BACKTRACE", "0")
            // Every input starts and ends threads; an arena for each would only be fragmented.
            .env("MALLOC_ARENA_MAX", "1")
            // A request may claim any length; what is freed is kept from use, but not more of it than the limit allows.
            .env("ASAN_OPTIONS", "allocator_may_return_null=1:detect_leaks=0:quarantine_size_mb=64")
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(both);
        let status = command.status().map_err(|error| format!("{}: {error}", repo::shown(&command)))?;
        let log = read_log(&log)?;
        let covers = numbers_after(&log, "cov: ");
        Ok(Run {
            dir,
            ended_well: status.success(),
            executions: numbers_after(&log, "stat::number_of_executed_units: ").last().copied().unwrap_or(0),
            first_cover: covers.first().copied().unwrap_or(0),
            last_cover: covers.last().copied().unwrap_or(0),
            log,
        })
    }

    fn figures(&self) -> String {
        format!("{} executions, coverage {} -> {}", self.executions, self.first_cover, self.last_cover)
    }

    /// What the program said when it died: the panic, or libFuzzer's own line.
    fn complaint(&self) -> String {
        let lines: Vec<_> = self.log.lines().collect();
        let start = lines.iter().position(|line| {
            ["panicked at", "ERROR: libFuzzer", "ERROR: AddressSanitizer"].iter().any(|mark| line.contains(mark))
        });
        let shown = start.map_or(&lines[lines.len().saturating_sub(5)..], |start| &lines[start..]);
        let text: Vec<String> = shown.iter().take(6).map(|line| line.chars().take(500).collect()).collect();
        text.join("\n  ")
    }
}

/// The log has raw bytes of inputs in it.
fn read_log(path: &Path) -> Outcome<String> {
    let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn numbers_after(log: &str, mark: &str) -> Vec<u64> {
    log.lines()
        .filter_map(|line| line.split_once(mark))
        .filter_map(|(_, rest)| rest.split_whitespace().next()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_the_fuzzers_log() {
        let log = "#9\tINITED cov: 575 ft: 1\n#10\tNEW cov: 580 ft: 2\nstat::number_of_executed_units: 443932\n";
        assert_eq!(numbers_after(log, "cov: "), [575, 580]);
        assert_eq!(numbers_after(log, "stat::number_of_executed_units: "), [443_932]);
    }

    #[test]
    fn every_target_has_a_corpus() {
        for target in targets().unwrap() {
            let corpus = fuzz_dir().join("corpus").join(&target);
            assert!(fs::read_dir(&corpus).is_ok_and(|mut files| files.next().is_some()), "{target}");
        }
    }

    #[test]
    fn an_unknown_target_is_refused() {
        assert!(wish(&["no_such_target".to_owned()]).is_err());
    }
}
