//! `mutate`: every row of docs/coverage.md that says done has a test that notices when the row answers
//! STATUS_NOT_IMPLEMENTED.
//!
//! The tree is copied below `target/mutate`, and every function under a tag of a done row is given a switch; requests
//! get theirs where they reach their object. So one build has all mutants, and a variable of the environment chooses
//! one for a run. The tests that the row names must pass without it, and one of them must fail with it.

mod rewrite;
mod suite;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::coverage::{self, Tag};
use crate::repo::{self, Outcome};
use rewrite::Rewritten;
use suite::{Suite, Verdict};

/// What the command line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wish {
    names: Vec<String>,
    sample: Option<usize>,
    seed: Option<u64>,
}

/// A row to be tried: its name and its tests.
#[derive(Clone, Debug)]
struct Row {
    name: String,
    tests: Vec<String>,
}

/// `cargo xtask mutate [NAME...] [--sample N] [--seed S]`.
pub fn run(arguments: &[String]) -> ExitCode {
    repo::exit("mutate", wish(arguments).and_then(|wish| mutate(&wish)))
}

fn wish(arguments: &[String]) -> Outcome<Wish> {
    let mut wish = Wish::default();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
        match word.as_str() {
            "--sample" => {
                let count = number().filter(|count| *count > 0).ok_or("--sample takes a number above 0")?;
                wish.sample = Some(usize::try_from(count).unwrap_or(usize::MAX));
            }
            "--seed" => wish.seed = Some(number().ok_or("--seed takes a number")?),
            word if word.starts_with('-') => return Err(format!("unknown argument '{word}'")),
            name => wish.names.push(name.to_owned()),
        }
    }
    if wish.seed.is_some() && wish.sample.is_none() {
        return Err("--seed goes with --sample".to_owned());
    }
    Ok(wish)
}

fn mutate(wish: &Wish) -> Outcome {
    let (names, tags) = coverage::collect()?;
    let done: Vec<Tag> = tags.into_iter().filter(|tag| tag.state.is_shown()).collect();
    let mut tests: BTreeMap<&str, BTreeSet<&String>> = BTreeMap::new();
    for tag in &done {
        tests.entry(&tag.name).or_default().extend(&tag.tests);
    }
    let mut rows: Vec<Row> = tests
        .into_iter()
        .map(|(name, tests)| Row { name: name.to_owned(), tests: tests.into_iter().cloned().collect() })
        .collect();
    if !wish.names.is_empty() {
        if let Some(name) = wish.names.iter().find(|name| !rows.iter().any(|row| row.name == **name)) {
            return Err(format!("no row {name} is done"));
        }
        rows.retain(|row| wish.names.contains(&row.name));
    }
    if let Some(count) = wish.sample {
        let seed = wish.seed.unwrap_or_else(new_seed);
        println!("mutate: {count} of {} rows; again: cargo xtask mutate --sample {count} --seed {seed}", rows.len());
        rows = draw(rows, count, seed);
    }
    let kinds = names.iter().map(|name| (name.name.as_str(), name.kind.as_str())).collect();
    let copy = repo::output_dir("mutate")?;
    let rewritten = copy_tree(&copy, &done, &kinds)?;
    for (function, names) in &rewritten.no_answer {
        println!("mutate: {}: {function} has no status to answer, so it panics", names.join(", "));
    }
    let wanted: BTreeSet<String> = rows.iter().flat_map(|row| row.tests.iter().cloned()).collect();
    let mut suite = Suite::build(&copy, &wanted)?;
    suite.must_pass_unchanged()?;
    let mut survivors = Vec::new();
    for row in &rows {
        match suite.tried(&row.name, &row.tests)? {
            Verdict::Caught(how) => println!("mutate: {}: {how}", row.name),
            Verdict::Survived => {
                println!("mutate: {}: SURVIVED {}", row.name, row.tests.join(", "));
                survivors.push(row.name.as_str());
            }
        }
    }
    println!("mutate: {} rows, {} survivors", rows.len(), survivors.len());
    if survivors.is_empty() { Ok(()) } else { Err(format!("no test of these rows notices: {}", survivors.join(", "))) }
}

fn new_seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_secs())
}

/// So many rows without repetition, always the same for one seed.
fn draw(mut rows: Vec<Row>, count: usize, seed: u64) -> Vec<Row> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for index in 0..count.min(rows.len()) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let rest = (rows.len() - index) as u64;
        rows.swap(index, index + usize::try_from(state % rest).unwrap_or(0));
    }
    rows.truncate(count);
    rows
}

/// Brings the copy up to date, with its switches. Files that did not change keep their time, so cargo rebuilds only what did.
fn copy_tree(copy: &Path, done: &[Tag], kinds: &BTreeMap<&str, &str>) -> Outcome<Rewritten> {
    let root = repo::root();
    let mut files = Vec::new();
    for dir in ["crates", "drivers", "docs"] {
        files.extend(repo::files(&root.join(dir))?);
    }
    files.extend(["Cargo.toml", "Cargo.lock", "README.md"].map(|name| root.join(name)));
    let mut by_file: BTreeMap<&str, Vec<&Tag>> = BTreeMap::new();
    for tag in done {
        by_file.entry(&tag.file).or_default().push(tag);
    }
    let mut rewritten = Rewritten::default();
    let mut wanted: BTreeSet<PathBuf> = BTreeSet::new();
    for path in &files {
        let name = repo::relative(path);
        let mut bytes = repo::bytes(path)?;
        if name == "Cargo.toml" {
            bytes = String::from_utf8_lossy(&bytes).replace("\"crates/*\", \"xtask\"", "\"crates/*\"").into_bytes();
        } else if name.ends_with(".rs") {
            let text = String::from_utf8(bytes).map_err(|error| format!("{name}: {error}"))?;
            let tags = by_file.get(name.as_str()).map_or(&[][..], Vec::as_slice);
            bytes = rewrite::file(&name, &text, tags, kinds, &mut rewritten)?.into_bytes();
        }
        update(&copy.join(&name), &bytes)?;
        let mode = std::fs::metadata(path).map(|file| file.permissions());
        mode.and_then(|mode| std::fs::set_permissions(copy.join(&name), mode))
            .map_err(|error| format!("{name}: {error}"))?;
        wanted.insert(copy.join(&name));
    }
    let switches = copy.join(rewrite::SWITCHES);
    update(&switches, rewrite::switches(kinds).as_bytes())?;
    wanted.insert(switches);
    for stale in repo::files(&copy.join("crates"))?.iter().filter(|path| !wanted.contains(*path)) {
        std::fs::remove_file(stale).map_err(|error| format!("{}: {error}", stale.display()))?;
    }
    if !rewritten.has_request_switch {
        return Err(format!("{} has no function {}", rewrite::REQUESTS.0, rewrite::REQUESTS.1));
    }
    Ok(rewritten)
}

fn update(path: &Path, bytes: &[u8]) -> Outcome {
    if std::fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let wrong = |error: std::io::Error| format!("{}: {error}", path.display());
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(wrong)?;
    }
    std::fs::write(path, bytes).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn one_seed_draws_one_sample_without_repetition() {
        let rows: Vec<Row> = (0..50).map(|number| Row { name: number.to_string(), tests: Vec::new() }).collect();
        let names = |seed| draw(rows.clone(), 20, seed).into_iter().map(|row| row.name).collect::<Vec<_>>();
        assert_eq!(names(3), names(3));
        assert_ne!(names(3), names(4));
        assert_eq!(names(3).into_iter().collect::<BTreeSet<_>>().len(), 20);
        assert_eq!(draw(rows.clone(), 99, 1).len(), 50);
    }

    #[test]
    fn a_seed_without_a_sample_and_unknown_words_are_refused() {
        assert!(wish(&words("--seed 3")).is_err());
        assert!(wish(&words("--sample 0")).is_err());
        assert!(wish(&words("--all")).is_err());
        let asked = wish(&words("KsGetDevice --sample 2 --seed 9")).unwrap();
        assert_eq!((asked.names, asked.sample, asked.seed), (words("KsGetDevice"), Some(2), Some(9)));
    }

    #[test]
    fn every_done_row_gets_a_switch() {
        let (names, tags) = coverage::collect().unwrap();
        let kinds = names.iter().map(|name| (name.name.as_str(), name.kind.as_str())).collect();
        let mut rewritten = Rewritten::default();
        for tag in tags.iter().filter(|tag| tag.state.is_shown()) {
            let text = repo::read(&repo::root().join(&tag.file)).unwrap();
            rewrite::file(&tag.file, &text, &[tag], &kinds, &mut rewritten).unwrap();
        }
    }
}
