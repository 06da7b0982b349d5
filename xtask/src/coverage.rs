//! `coverage`: docs/coverage.md, joined from docs/coverage-names.txt and the tags in the code.
//!
//! A tag is a line comment beside the item that implements a name:
//! `ks-coverage: NAME STATE [test=FUNCTION[,FUNCTION]]` after the slashes, where STATE is `done`, `partial` or
//! `not-implemented`; `minidriver`, of an item of the vocabulary that the class driver only carries to the driver which has
//! it; or `ks-coverage: NAME refused REASON`, of what has no meaning here and answers so. A done row and a minidriver's
//! name a test, and that test must exist and, when `--ran` tells which tests ran and passed, must be among them. A
//! name without a tag is "not implemented yet".

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use crate::repo::{self, Outcome};

const MARK: &str = "// ks-coverage: ";
const NAMES: &str = "docs/coverage-names.txt";
const TABLE: &str = "docs/coverage.md";

/// How far a name is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Done,
    /// A minidriver answers, raises or runs it; the class driver has nothing to do but to carry it there.
    Minidriver,
    /// It has no meaning here, for a reason.
    Refused,
    Partial,
    NotImplemented,
    /// No tag at all.
    Untagged,
}

impl State {
    /// Tests show what is said of it.
    pub fn is_shown(self) -> bool {
        matches!(self, State::Done | State::Minidriver)
    }

    const ALL: [State; 6] =
        [State::Done, State::Minidriver, State::Refused, State::Partial, State::NotImplemented, State::Untagged];

    fn text(self) -> &'static str {
        match self {
            State::Done => "done",
            State::Minidriver => "the minidriver's",
            State::Refused => "refused",
            State::Partial => "partial",
            State::NotImplemented => "answers not implemented",
            State::Untagged => "not implemented yet",
        }
    }
}

/// A line of the list of names.
pub struct Name {
    pub kind: String,
    tier: String,
    group: String,
    pub name: String,
}

/// A tag found in the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    pub file: String,
    pub line: usize,
    pub name: String,
    pub state: State,
    pub tests: Vec<String>,
    /// Why a refused name is.
    pub reason: String,
}

/// `cargo xtask coverage [--check] [--ran FILE]`.
pub fn run(arguments: &[String]) -> ExitCode {
    let mut words = arguments.iter();
    let mut is_check = false;
    let mut ran = None;
    while let Some(word) = words.next() {
        match word.as_str() {
            "--check" => is_check = true,
            "--ran" => ran = words.next(),
            _ => return repo::exit("coverage", repo::no_arguments(arguments)),
        }
    }
    let outcome = if is_check { check(ran.map(Path::new)) } else { write() };
    repo::exit("coverage", outcome)
}

/// Writes the table, and fails when a tag does not hold.
fn write() -> Outcome {
    let (names, tags) = collect()?;
    repo::write(&repo::root().join(TABLE), &table(&names, &tags))?;
    println!("coverage: wrote {TABLE}: {}", totals(&names, &tags));
    let faults = faults(&names, &tags, &test_functions()?, None);
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}

/// Fails when the table is stale or a tag does not hold; `ran` lists the tests that passed, one a line.
pub fn check(ran: Option<&Path>) -> Outcome {
    let (names, tags) = collect()?;
    let known = test_functions()?;
    let passed = match ran {
        Some(path) => Some(last_segments(&repo::read(path)?)),
        None => None,
    };
    let mut faults = faults(&names, &tags, &known, passed.as_ref());
    let path = repo::root().join(TABLE);
    if repo::read(&path).unwrap_or_default() != table(&names, &tags) {
        faults.push(format!("{TABLE} is stale; run: cargo xtask coverage"));
    }
    if faults.is_empty() {
        println!("coverage: {}", totals(&names, &tags));
        Ok(())
    } else {
        Err(faults.join("\n"))
    }
}

/// The names that the code says work in part.
pub fn partial() -> Outcome<BTreeSet<String>> {
    let (_, tags) = collect()?;
    Ok(tags.into_iter().filter(|tag| tag.state == State::Partial).map(|tag| tag.name).collect())
}

/// The list of names, and the tags in the code.
pub fn collect() -> Outcome<(Vec<Name>, Vec<Tag>)> {
    let root = repo::root();
    let names = parse_names(&repo::read(&root.join(NAMES))?)?;
    let mut tags = Vec::new();
    for path in repo::rust_files(&root.join("crates"))? {
        tags.extend(parse_tags(&repo::relative(&path), &repo::read(&path)?)?);
    }
    Ok((names, tags))
}

fn parse_names(text: &str) -> Outcome<Vec<Name>> {
    let mut names = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut parts = line.split(" | ").map(str::to_owned);
        let (Some(kind), Some(tier), Some(group), Some(name), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(format!("{NAMES}: not 'kind | tier | group | name': {line}"));
        };
        names.push(Name { kind, tier, group, name });
    }
    Ok(names)
}

fn parse_tags(file: &str, text: &str) -> Outcome<Vec<Tag>> {
    let mut tags = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some(body) = line.trim_start().strip_prefix(MARK) else {
            continue;
        };
        let line = index + 1;
        let wrong = || {
            format!(
                "{file}:{line}: a tag reads 'NAME done|minidriver|partial|not-implemented [test=FUNCTION]' or 'NAME refused REASON': {body}"
            )
        };
        let mut words = body.split_whitespace();
        let name = words.next().ok_or_else(wrong)?.to_owned();
        let state = match words.next().ok_or_else(wrong)? {
            "done" => State::Done,
            "minidriver" => State::Minidriver,
            "refused" => State::Refused,
            "partial" => State::Partial,
            "not-implemented" => State::NotImplemented,
            _ => return Err(wrong()),
        };
        if state == State::Refused {
            let reason = words.collect::<Vec<_>>().join(" ");
            if reason.is_empty() {
                return Err(wrong());
            }
            tags.push(Tag { file: file.to_owned(), line, name, state, tests: Vec::new(), reason });
            continue;
        }
        let tests = match words.next() {
            None => Vec::new(),
            Some(word) => {
                let list = word.strip_prefix("test=").ok_or_else(wrong)?;
                list.split(',').map(str::to_owned).collect()
            }
        };
        if words.next().is_some() {
            return Err(wrong());
        }
        tags.push(Tag { file: file.to_owned(), line, name, state, tests, reason: String::new() });
    }
    Ok(tags)
}

/// The names of all functions under a test attribute, in the whole tree.
fn test_functions() -> Outcome<BTreeSet<String>> {
    let root = repo::root();
    let mut found = BTreeSet::new();
    for dir in ["crates", "xtask"] {
        for path in repo::rust_files(&root.join(dir))? {
            test_functions_of(&repo::read(&path)?, &mut found);
        }
    }
    Ok(found)
}

/// Adds the names of the functions of a file that are tests.
pub fn test_functions_of(text: &str, found: &mut BTreeSet<String>) {
    let mut is_test = false;
    for line in text.lines().map(str::trim_start) {
        if line.starts_with("#[test]") {
            is_test = true;
        } else if is_test && let Some((_, rest)) = line.split_once("fn ") {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            found.insert(rest[..end.unwrap_or(rest.len())].to_owned());
            is_test = false;
        }
    }
}

/// The functions that a list of test paths names.
pub fn last_segments(list: &str) -> BTreeSet<String> {
    list.lines().map(|path| path.rsplit("::").next().unwrap_or(path).trim().to_owned()).collect()
}

fn faults(names: &[Name], tags: &[Tag], known: &BTreeSet<String>, passed: Option<&BTreeSet<String>>) -> Vec<String> {
    let listed: BTreeSet<_> = names.iter().map(|name| name.name.as_str()).collect();
    let mut seen: BTreeMap<&str, &Tag> = BTreeMap::new();
    let mut faults = Vec::new();
    for tag in tags {
        let Tag { file, line, name, .. } = tag;
        if !listed.contains(name.as_str()) {
            faults.push(format!("{file}:{line}: {name} is not in {NAMES}"));
        }
        if let Some(first) = seen.insert(name, tag)
            && crate_of(&first.file) == crate_of(file)
        {
            faults.push(format!("{file}:{line}: {name} is tagged at {}:{} too", first.file, first.line));
        }
        if tag.state.is_shown() && tag.tests.is_empty() {
            faults.push(format!("{file}:{line}: {name} is {} but names no test", tag.state.text()));
        }
        for test in &tag.tests {
            if !known.contains(test) {
                faults.push(format!("{file}:{line}: {name}: there is no test {test}"));
            } else if passed.is_some_and(|passed| !passed.contains(test)) {
                faults.push(format!("{file}:{line}: {name}: test {test} did not run and pass"));
            }
        }
    }
    faults
}

/// The crate of a file.
fn crate_of(file: &str) -> &str {
    file.split('/').nth(1).unwrap_or_default()
}

/// One tag a name: a routine can be there for clients and for drivers, in two crates. Its state is that of the one that does
/// less, its tests are those of both.
fn merged(tags: &[Tag]) -> BTreeMap<&str, Tag> {
    let mut merged: BTreeMap<&str, Tag> = BTreeMap::new();
    for tag in tags {
        match merged.get_mut(tag.name.as_str()) {
            None => _ = merged.insert(&tag.name, tag.clone()),
            Some(other) => {
                if tag.state > other.state {
                    other.state = tag.state;
                    other.reason.clone_from(&tag.reason);
                }
                other.file += ", ";
                other.file += &tag.file;
                let new: Vec<_> = tag.tests.iter().filter(|test| !other.tests.contains(test)).cloned().collect();
                other.tests.extend(new);
            }
        }
    }
    merged
}

fn table(names: &[Name], tags: &[Tag]) -> String {
    let tags = merged(tags);
    let state = |name: &Name| tags.get(name.name.as_str()).map_or(State::Untagged, |tag| tag.state);
    let mut text = "# Coverage\n\n\
        Generated by `cargo xtask coverage` from the `ks-coverage` tags in the code; do not edit.\n\
        A row is done only when the test it names ran and passed. \"The minidriver's\" are items that the class driver\n\
        carries to the driver which brings them, sizes checked, and refuses by their status where none does: the test has such\n\
        a driver. \"Refused\" has no meaning here, for the reason that stands beside it, and answers so. \"Answers not implemented\" stands for STATUS_NOT_IMPLEMENTED to the caller;\n\
        \"not implemented yet\" has no tag in the code.\n\
        Tier of a function: A a normal driver or client needs it, B some drivers do, C rare or legacy.\n\n\
        | what | tier |"
        .to_owned();
    for column in State::ALL {
        let _ = write!(text, " {} |", column.text());
    }
    text += " all |\n|---|---|---:|---:|---:|---:|---:|---:|\n";
    let mut classes: Vec<(&str, &str)> = Vec::new();
    for name in names {
        let class = (name.kind.as_str(), name.tier.as_str());
        if !classes.contains(&class) {
            classes.push(class);
        }
    }
    classes.sort();
    for (kind, tier) in classes {
        let members: Vec<_> = names.iter().filter(|name| name.kind == kind && name.tier == tier).collect();
        let _ = write!(text, "| {kind} | {tier} |");
        for column in State::ALL {
            let _ = write!(text, " {} |", members.iter().filter(|name| state(name) == column).count());
        }
        let _ = writeln!(text, " {} |", members.len());
    }
    let mut heading = None;
    for name in names {
        let here = Some((name.kind.as_str(), name.group.as_str()));
        if heading != here {
            heading = here;
            let _ = write!(
                text,
                "\n## {}: {}\n\n| name | tier | state | file | tests |\n|---|---|---|---|---|\n",
                name.kind, name.group
            );
        }
        let tag = tags.get(name.name.as_str());
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            name.name,
            name.tier,
            tag.filter(|tag| tag.state == State::Refused)
                .map_or_else(|| state(name).text().to_owned(), |tag| format!("refused: {}", tag.reason)),
            tag.map_or("", |tag| tag.file.as_str()),
            tag.map_or(String::new(), |tag| tag.tests.join(", ")),
        );
    }
    text
}

fn totals(names: &[Name], tags: &[Tag]) -> String {
    let tags = merged(tags);
    let count = |state| tags.values().filter(|tag| tag.state == state).count();
    format!(
        "{} names, {} done, {} the minidriver's, {} refused, {} partial, {} answer not implemented",
        names.len(),
        count(State::Done),
        count(State::Minidriver),
        count(State::Refused),
        count(State::Partial),
        count(State::NotImplemented)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "# comment\nfunction | A | Pins | KsOne\nfunction | B | Pins | KsTwo\n";

    fn tags(lines: &str) -> Vec<Tag> {
        parse_tags("a.rs", &lines.replace("TAG ", MARK)).unwrap()
    }

    fn faults_of(lines: &str, passed: Option<&str>) -> Vec<String> {
        let known = BTreeSet::from(["it_works".to_owned()]);
        let passed = passed.map(last_segments);
        faults(&parse_names(LIST).unwrap(), &tags(lines), &known, passed.as_ref())
    }

    #[test]
    fn a_done_row_with_a_test_that_ran_is_fine() {
        assert!(faults_of("TAG KsOne done test=it_works", Some("pin::it_works")).is_empty());
    }

    #[test]
    fn a_done_row_without_a_test_or_with_one_that_did_not_run_is_a_fault() {
        assert_eq!(faults_of("TAG KsOne done", None).len(), 1);
        assert_eq!(faults_of("TAG KsOne minidriver", None).len(), 1);
        assert!(faults_of("TAG KsOne minidriver test=it_works", Some("it_works")).is_empty());
        assert_eq!(faults_of("TAG KsOne done test=nowhere", None).len(), 1);
        assert_eq!(faults_of("TAG KsOne done test=it_works", Some("pin::other")).len(), 1);
    }

    #[test]
    fn unknown_and_doubled_names_are_faults() {
        assert_eq!(faults_of("TAG KsThree partial", None).len(), 1);
        assert_eq!(faults_of("TAG KsOne partial\n    TAG KsOne partial", None).len(), 1);
    }

    #[test]
    fn a_name_in_two_crates_is_as_far_as_the_one_that_does_less() {
        let mut both = tags("TAG KsOne done test=it_works");
        both.push(Tag { file: "crates/b/src/c.rs".to_owned(), state: State::Partial, ..both[0].clone() });
        both[0].file = "crates/a/src/a.rs".to_owned();
        let known = BTreeSet::from(["it_works".to_owned()]);
        assert!(faults(&parse_names(LIST).unwrap(), &both, &known, None).is_empty());
        let one = &merged(&both)["KsOne"];
        assert_eq!((one.state, one.file.as_str()), (State::Partial, "crates/a/src/a.rs, crates/b/src/c.rs"));
    }

    #[test]
    fn a_refused_row_says_why() {
        let tags = tags("TAG KsOne refused there is none of it");
        let text = table(&parse_names(LIST).unwrap(), &tags);
        assert!(text.contains("| KsOne | A | refused: there is none of it | a.rs |  |"), "{text}");
        assert!(parse_tags("a.rs", &format!("{MARK}KsOne refused")).is_err());
    }

    #[test]
    fn a_malformed_tag_is_named_with_its_line() {
        let text = format!("\n{MARK}KsOne nearly");
        assert!(parse_tags("a.rs", &text).unwrap_err().starts_with("a.rs:2:"));
    }

    #[test]
    fn the_table_counts_tagged_and_untagged_names() {
        let names = parse_names(LIST).unwrap();
        let text = table(&names, &tags("TAG KsOne done test=it_works"));
        assert!(text.contains("| function | A | 1 | 0 | 0 | 0 | 0 | 0 | 1 |"), "{text}");
        assert!(text.contains("| KsOne | A | done | a.rs | it_works |"), "{text}");
        assert!(text.contains("| KsTwo | B | not implemented yet |  |  |"), "{text}");
    }

    #[test]
    fn test_functions_are_found_below_their_attribute() {
        let mut found = BTreeSet::new();
        test_functions_of("#[test]\n#[cfg(a)]\nfn one() {}\nfn two() {}", &mut found);
        assert_eq!(found, BTreeSet::from(["one".to_owned()]));
    }
}
