//! The named tests of the copy, built once and run one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::rewrite::VARIABLE;
use crate::coverage;
use crate::repo::{self, Outcome};

/// A mutant may wait for ever; its test then has this long, and ten times what it takes unchanged.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a mutant came out.
pub enum Verdict {
    /// By which test, in words.
    Caught(String),
    Survived,
}

/// One test: its program, and its path in it.
#[derive(Clone, Debug)]
struct Test {
    program: PathBuf,
    package: PathBuf,
    path: String,
    /// How long it may take.
    patience: Duration,
}

/// The named tests, by function; more than one program may have a function of the same name.
pub struct Suite {
    tests: BTreeMap<String, Vec<Test>>,
    copy: PathBuf,
}

/// How a run of one test ended.
#[derive(PartialEq, Eq)]
enum Ended {
    Passed,
    Failed,
    Late,
}

impl Suite {
    /// Builds the test programs that have the named functions.
    pub fn build(copy: &Path, names: &BTreeSet<String>) -> Outcome<Suite> {
        let mut programs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for path in repo::rust_files(&copy.join("crates"))? {
            let mut found = BTreeSet::new();
            coverage::test_functions_of(&repo::read(&path)?, &mut found);
            if found.is_disjoint(names) {
                continue;
            }
            let file = path.strip_prefix(copy).unwrap_or(&path).display().to_string();
            let (package, program) = program_of(&file).ok_or_else(|| format!("{file} is in no test program"))?;
            programs.entry(package).or_default().insert(program);
        }
        let mut suite = Suite { tests: BTreeMap::new(), copy: copy.to_path_buf() };
        for (package, targets) in programs {
            for program in suite.build_package(&package, &targets)? {
                suite.add_tests(&package, &program, names)?;
            }
        }
        match names.iter().find(|name| !suite.tests.contains_key(*name)) {
            Some(name) => Err(format!("no test program has {name}")),
            None => Ok(suite),
        }
    }

    fn build_package(&self, package: &str, targets: &BTreeSet<String>) -> Outcome<Vec<PathBuf>> {
        let mut command = repo::cargo(&[
            "test",
            "--quiet",
            "--no-run",
            "--message-format=json-render-diagnostics",
            "--package",
            package,
        ]);
        for target in targets {
            command.args(target.split(' '));
        }
        command.current_dir(&self.copy).env("CARGO_TARGET_DIR", self.copy.join("target"));
        // Twenty rows run a moment each: what is built fast is worth more than what runs fast.
        command.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_PROFILE_DEV_OPT_LEVEL", "0");
        let messages = repo::output(&mut command)?;
        let mut programs = Vec::new();
        for message in messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let is_test = message["profile"]["test"].as_bool() == Some(true);
            if let (true, Some(path)) = (is_test, message["executable"].as_str()) {
                programs.push(PathBuf::from(path));
            }
        }
        Ok(programs)
    }

    fn add_tests(&mut self, package: &str, program: &Path, names: &BTreeSet<String>) -> Outcome {
        let list = repo::output(Command::new(program).args(["--list", "--format", "terse"]))?;
        for path in list.lines().filter_map(|line| line.strip_suffix(": test")) {
            let name = path.rsplit("::").next().unwrap_or(path);
            if names.contains(name) {
                let test = Test {
                    program: program.to_path_buf(),
                    package: self.copy.join("crates").join(package),
                    path: path.to_owned(),
                    patience: PATIENCE * 30,
                };
                self.tests.entry(name.to_owned()).or_default().push(test);
            }
        }
        Ok(())
    }

    /// Runs every test without a mutant; how long each takes says how long it may take with one.
    pub fn must_pass_unchanged(&mut self) -> Outcome {
        for (name, tests) in &mut self.tests {
            for test in tests {
                let start = Instant::now();
                if run(test, None)? != Ended::Passed {
                    return Err(format!("{name} fails without a mutant, in {}", self.copy.display()));
                }
                test.patience = PATIENCE + start.elapsed() * 10;
            }
        }
        Ok(())
    }

    /// Runs the tests of a row with its mutant until one notices.
    pub fn tried(&self, row: &str, tests: &[String]) -> Outcome<Verdict> {
        for name in tests {
            for test in self.tests.get(name).into_iter().flatten() {
                match run(test, Some(row))? {
                    Ended::Passed => {}
                    Ended::Failed => return Ok(Verdict::Caught(format!("caught by {name}"))),
                    Ended::Late => return Ok(Verdict::Caught(format!("caught by {name}, which did not end"))),
                }
            }
        }
        Ok(Verdict::Survived)
    }
}

fn run(test: &Test, mutant: Option<&str>) -> Outcome<Ended> {
    let mut command = Command::new(&test.program);
    command.args(["--exact", &test.path]).current_dir(&test.package).env("CARGO_MANIFEST_DIR", &test.package);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).env("RUST_BACKTRACE", "0");
    match mutant {
        Some(row) => command.env(VARIABLE, row),
        None => command.env_remove(VARIABLE),
    };
    let shown = repo::shown(&command);
    let mut child = command.spawn().map_err(|error| format!("{shown}: {error}"))?;
    wait(&mut child, test.patience).map_err(|error| format!("{shown}: {error}"))
}

/// Waits for the end, or ends it.
fn wait(child: &mut Child, patience: Duration) -> std::io::Result<Ended> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(if status.success() { Ended::Passed } else { Ended::Failed });
        }
        if start.elapsed() > patience {
            child.kill()?;
            child.wait()?;
            return Ok(Ended::Late);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The package of a file, and the words that make cargo build the test program it is in.
fn program_of(file: &str) -> Option<(String, String)> {
    let mut parts = file.strip_prefix("crates/")?.split('/');
    let (package, place, next) = (parts.next()?, parts.next()?, parts.next()?);
    let program = match place {
        "src" if package == "ks-cli" => "--bins".to_owned(),
        "src" => "--lib".to_owned(),
        "tests" => format!("--test {}", next.strip_suffix(".rs").unwrap_or(next)),
        _ => return None,
    };
    Some((package.to_owned(), program))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_in_the_program_that_its_place_says() {
        let of = |file| program_of(file).map(|(package, program)| format!("{package} {program}"));
        assert_eq!(of("crates/ks-io/src/a/b.rs").as_deref(), Some("ks-io --lib"));
        assert_eq!(of("crates/ks-io/tests/a.rs").as_deref(), Some("ks-io --test a"));
        assert_eq!(of("crates/ks-io/tests/a/b.rs").as_deref(), Some("ks-io --test a"));
        assert_eq!(of("xtask/src/a.rs"), None);
    }

    #[test]
    fn a_program_that_does_not_end_is_ended() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        assert!(wait(&mut child, Duration::ZERO).unwrap() == Ended::Late);
        let mut child = Command::new("false").spawn().unwrap();
        assert!(wait(&mut child, PATIENCE).unwrap() == Ended::Failed);
    }
}
