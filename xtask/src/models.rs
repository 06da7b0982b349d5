//! `models`: the model checker over the shipping code, and the breakages that it must find.
//!
//! A crate with `tests/models.rs` is copied below `target/models`, with the crates it stands on, and built there with
//! `--cfg shuttle`, so that neither the work tree nor its build is touched. The models must pass on the clean copy.
//! Then each patch of the crate's `breakages/` is applied in turn; the copy must still compile, and its models fail: the
//! one that a line `Model: NAME` of the patch names, or any of them. With names of breakages only those are planted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::repo::{self, Outcome};

/// Crates with models, and every crate that the copy needs, in order.
const MODELLED: [&str; 3] = ["ks-mem", "ks-io", "ks-stream"];
const COPIED: [&str; 5] = ["ks-abi", "ks-mem", "ks-io", "ks-stream", "ks-client"];

/// `cargo xtask models`.
pub fn run(arguments: &[String]) -> ExitCode {
    repo::exit("models", check(arguments))
}

fn check(only: &[String]) -> Outcome {
    let mut unknown: Vec<_> = only.iter().collect();
    for name in MODELLED {
        let known = breakages(name)?;
        unknown.retain(|wanted| known.iter().all(|breakage| breakage.name != **wanted));
    }
    if let Some(first) = unknown.first() {
        return Err(format!("no breakage is named {first}: they are the files of crates/*/breakages"));
    }
    let copy = copy_workspace()?;
    for name in MODELLED {
        if !copy.join("crates").join(name).join("tests/models.rs").is_file() {
            continue;
        }
        if only.is_empty() {
            build(&copy, name)?;
            match models(&copy, name, None)? {
                Verdict::Passed(count) => println!("models: {name}: clean: {count} models pass"),
                Verdict::Failed { by, said } => return Err(format!("{name}: clean: failed by {by}\n{said}")),
            }
        }
        for breakage in breakages(name)?.iter().filter(|one| only.is_empty() || only.contains(&one.name)) {
            must_be_caught(&copy, name, breakage)?;
        }
    }
    Ok(())
}

fn must_be_caught(copy: &Path, name: &str, breakage: &Breakage) -> Outcome {
    let label = format!("{name}: {}", breakage.name);
    let file = copy.join(&breakage.file);
    let clean = repo::read(&file)?;
    let broken = breakage.apply(&clean).map_err(|error| format!("{label}: {error}"))?;
    repo::write(&file, &broken)?;
    let verdict = build(copy, name).and_then(|()| models(copy, name, breakage.model.as_deref()));
    // The next breakage, and the next run, start from the clean copy whatever happened.
    repo::write(&file, &clean)?;
    match verdict.map_err(|error| format!("{label}: {error}"))? {
        Verdict::Failed { by, .. } => println!("models: {label}: caught by {by}"),
        Verdict::Passed(_) => return Err(format!("{label}: no model noticed this breakage")),
    }
    Ok(())
}

/// How the models of a crate ended.
enum Verdict {
    /// All passed; how many there are.
    Passed(usize),
    /// Some did not: which, and what they said.
    Failed { by: String, said: String },
}

fn cargo(copy: &Path, name: &str, rest: &[&str]) -> Command {
    let mut command = repo::cargo(&["test", "--quiet", "--package", name, "--test", "models"]);
    command.args(rest).current_dir(copy);
    command.env("RUSTFLAGS", "--cfg shuttle").env("CARGO_TARGET_DIR", copy.join("target"));
    command.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_PROFILE_TEST_DEBUG", "0");
    // Each breakage changes a line of what was just built.
    command.env("CARGO_INCREMENTAL", "1");
    command.env("RUST_BACKTRACE", "0").env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("SHUTTLE_RANDOM_SEED");
    command
}

fn build(copy: &Path, name: &str) -> Outcome {
    repo::output(&mut cargo(copy, name, &["--no-run"])).map(drop)
}

fn models(copy: &Path, name: &str, only: Option<&str>) -> Outcome<Verdict> {
    let mut command = cargo(copy, name, &["--no-fail-fast"]);
    command.args(only);
    let done = command.output().map_err(|error| format!("{}: {error}", repo::shown(&command)))?;
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    if !done.status.success() {
        return Ok(Verdict::Failed { by: failed(&said), said });
    }
    match passed(&said) {
        0 => Err(format!("{name} has no model, or its models were not built")),
        count => Ok(Verdict::Passed(count)),
    }
}

/// How many tests passed, by the harness's own count.
fn passed(said: &str) -> usize {
    let count = |line: &str| line.strip_prefix("test result: ok. ")?.split(' ').next()?.parse::<usize>().ok();
    said.lines().filter_map(count).sum()
}

/// The tests that the harness lists as failed.
fn failed(said: &str) -> String {
    let mut names: Vec<_> = said
        .lines()
        .skip_while(|line| *line != "failures:")
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| !line.is_empty() && line.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':'))
        .collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() { "the end of the test process".to_owned() } else { names.join(", ") }
}

/// Brings the copy up to date; files that did not change keep their time, so cargo rebuilds only what did.
fn copy_workspace() -> Outcome<PathBuf> {
    let copy = repo::output_dir("models")?;
    let manifest = repo::read(&repo::root().join("Cargo.toml"))?;
    update(&copy.join("Cargo.toml"), &narrowed(&manifest))?;
    // The versions that the work tree is built with; cargo takes out the packages that the copy does not have.
    fs::copy(repo::root().join("Cargo.lock"), copy.join("Cargo.lock"))
        .map_err(|error| format!("Cargo.lock: {error}"))?;
    for name in COPIED {
        let from = repo::root().join("crates").join(name);
        let to = copy.join("crates").join(name);
        update(&to.join("Cargo.toml"), &repo::read(&from.join("Cargo.toml"))?)?;
        mirror(&from, &to)?;
    }
    Ok(copy)
}

/// The workspace manifest with only the copied crates as members.
fn narrowed(manifest: &str) -> String {
    let members = COPIED.map(|name| format!("\"crates/{name}\"")).join(", ");
    let mut text = String::new();
    for line in manifest.lines() {
        match line.split('=').next().map(str::trim) {
            Some("members") => text += &format!("members = [{members}]"),
            Some("default-members" | "exclude") => continue,
            _ => text += line,
        }
        text += "\n";
    }
    text
}

/// Makes the Rust files below `to` those below `from`.
fn mirror(from: &Path, to: &Path) -> Outcome {
    let below = |dir: &Path| -> Outcome<Vec<PathBuf>> {
        let files = if dir.is_dir() { repo::rust_files(dir)? } else { Vec::new() };
        Ok(files.iter().filter_map(|file| file.strip_prefix(dir).ok().map(Path::to_path_buf)).collect())
    };
    let wanted = below(from)?;
    for stale in below(to)?.iter().filter(|file| !wanted.contains(file)) {
        fs::remove_file(to.join(stale)).map_err(|error| format!("{}: {error}", stale.display()))?;
    }
    for file in &wanted {
        update(&to.join(file), &repo::read(&from.join(file))?)?;
    }
    Ok(())
}

fn update(path: &Path, text: &str) -> Outcome {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    }
    repo::write(path, text)
}

/// A patch of one file that breaks it in one line.
#[derive(Debug)]
struct Breakage {
    name: String,
    /// The model that must fail; `None`: any.
    model: Option<String>,
    /// The file, from the root of the repository.
    file: String,
    /// What each hunk replaces, and by what.
    hunks: Vec<(String, String)>,
}

fn breakages(name: &str) -> Outcome<Vec<Breakage>> {
    let dir = repo::root().join("crates").join(name).join("breakages");
    let Ok(entries) = fs::read_dir(&dir) else { return Ok(Vec::new()) };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "patch"));
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            Breakage::parse(name, &repo::read(path)?).ok_or_else(|| format!("{}: not a patch", path.display()))
        })
        .collect()
}

impl Breakage {
    /// Reads a unified diff of one file; what stands before it says why it is a breakage.
    fn parse(name: String, patch: &str) -> Option<Self> {
        let head = patch.lines().take_while(|line| !line.starts_with("--- a/"));
        let model = head.filter_map(|line| line.strip_prefix("Model: ")).next().map(|name| name.trim().to_owned());
        let mut lines = patch.lines().skip_while(|line| !line.starts_with("--- a/"));
        let file = lines.next()?.strip_prefix("--- a/")?.to_owned();
        let mut hunks: Vec<(String, String)> = Vec::new();
        for line in lines.skip(1) {
            if line.starts_with("@@") {
                hunks.push((String::new(), String::new()));
                continue;
            }
            let (old, new) = hunks.last_mut()?;
            // An editor may have taken the one blank of an empty context line.
            let (mark, text) = if line.is_empty() { (" ", "") } else { line.split_at_checked(1)? };
            let text = format!("{text}\n");
            match mark {
                " " => {
                    *old += &text;
                    *new += &text;
                }
                "-" => *old += &text,
                "+" => *new += &text,
                _ => return None,
            }
        }
        let sound = !hunks.is_empty() && hunks.iter().all(|(old, new)| !old.is_empty() && old != new);
        sound.then_some(Self { name, model, file, hunks })
    }

    /// The broken text. A hunk is found by its lines, wherever they moved, and must be found once.
    fn apply(&self, clean: &str) -> Outcome<String> {
        let mut text = clean.to_owned();
        for (old, new) in &self.hunks {
            match text.matches(old.as_str()).count() {
                1 => text = text.replace(old.as_str(), new),
                count => return Err(format!("the patch fits {count} places of {}", self.file)),
            }
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str = "Why.\n\n--- a/x/y.rs\n+++ b/x/y.rs\n@@ -1,3 +1,3 @@\n one\n-two\n+three\n four\n";

    #[test]
    fn a_patch_is_applied_where_its_lines_are() {
        let breakage = Breakage::parse("b".to_owned(), PATCH).unwrap();
        assert_eq!((breakage.file.as_str(), breakage.model.as_deref()), ("x/y.rs", None));
        assert_eq!(breakage.apply("zero\none\ntwo\nfour\n").unwrap(), "zero\none\nthree\nfour\n");
    }

    #[test]
    fn a_patch_names_the_model_that_must_fail_and_the_crate_has_it() {
        let named = PATCH.replace("Why.", "Why.\nModel: a_b");
        assert_eq!(Breakage::parse("b".to_owned(), &named).unwrap().model.as_deref(), Some("a_b"));
        for name in MODELLED {
            let tests = repo::root().join("crates").join(name).join("tests");
            let text =
                || repo::rust_files(&tests).unwrap().iter().map(|file| repo::read(file).unwrap()).collect::<String>();
            for model in breakages(name).unwrap().into_iter().filter_map(|breakage| breakage.model) {
                assert!(text().contains(&format!("fn {model}()")), "{model}");
            }
        }
    }

    #[test]
    fn a_patch_that_fits_nowhere_or_twice_is_refused() {
        let breakage = Breakage::parse("b".to_owned(), PATCH).unwrap();
        assert!(breakage.apply("one\nfour\n").unwrap_err().contains("fits 0 places"));
        assert!(breakage.apply("one\ntwo\nfour\none\ntwo\nfour\n").unwrap_err().contains("fits 2 places"));
    }

    #[test]
    fn what_is_no_patch_is_not_taken_for_one() {
        for text in ["", "--- a/x\n", "--- a/x\n+++ b/x\n", "--- a/x\n+++ b/x\n@@ -1 +1 @@\n same\n"] {
            assert!(Breakage::parse("b".to_owned(), text).is_none(), "{text}");
        }
    }

    #[test]
    fn every_committed_breakage_fits_its_file() {
        for breakage in MODELLED.iter().flat_map(|name| breakages(name).unwrap()) {
            let file = repo::root().join(&breakage.file);
            breakage.apply(&repo::read(&file).unwrap()).unwrap();
        }
    }

    #[test]
    fn every_crate_with_models_is_checked() {
        for entry in fs::read_dir(repo::root().join("crates")).unwrap() {
            let dir = entry.unwrap().path();
            let name = dir.file_name().unwrap().to_string_lossy().into_owned();
            if dir.join("tests/models.rs").exists() {
                assert!(MODELLED.contains(&name.as_str()) && COPIED.contains(&name.as_str()), "{name}");
            }
        }
    }

    #[test]
    fn the_copy_has_its_own_members_and_the_same_rest() {
        let text = narrowed("[workspace]\nmembers = [\"crates/*\"]\nexclude = [\"fuzz\"]\n[profile.release]\n");
        assert_eq!(
            text,
            "[workspace]\nmembers = [\"crates/ks-abi\", \"crates/ks-mem\", \"crates/ks-io\", \"crates/ks-stream\", \
             \"crates/ks-client\"]\n[profile.release]\n"
        );
    }

    #[test]
    fn the_harness_is_read() {
        assert_eq!(passed("running 2 tests\ntest result: ok. 2 passed; 0 failed;\n"), 2);
        let said =
            "failures:\n\n---- a_b stdout ----\n    note: x\n\nfailures:\n    a_b\n    c::d\n\ntest result: FAILED";
        assert_eq!(failed(said), "a_b, c::d");
        assert_eq!(failed("killed"), "the end of the test process");
    }
}
