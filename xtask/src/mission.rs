//! `mission`: docs/mission.md names for each requirement of the five pages the tests that show it, and they exist.
//!
//! A row reads `| PAGE.NUMBER | what must hold | tests |`; its last cell is `pending` or a list of `FILE::FUNCTION` in
//! backquotes, the file below `crates/`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use crate::coverage;
use crate::repo::{self, Outcome};

const PAGE: &str = "docs/mission.md";
const PENDING: &str = "pending";

/// How many pages there are; each must have a row.
const PAGES: u32 = 5;

/// A requirement.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    page: u32,
    number: u32,
    what: String,
    /// File below `crates/` and function; none of a pending row.
    tests: Vec<(String, String)>,
}

/// `cargo xtask mission`.
pub fn run(arguments: &[String]) -> ExitCode {
    repo::exit("mission", repo::no_arguments(arguments).and_then(|()| check(None)))
}

/// Fails when a row has no test, or names one that does not exist; `ran` lists the tests that passed, one a line.
pub fn check(ran: Option<&Path>) -> Outcome {
    let rows = parse(&repo::read(&repo::root().join(PAGE))?)?;
    let passed = ran.map(repo::read).transpose()?.map(|list| coverage::last_segments(&list));
    let is_there = |file: &str, test: &str| {
        let text = repo::read(&repo::root().join("crates").join(file)).unwrap_or_default();
        let mut found = BTreeSet::new();
        coverage::test_functions_of(&text, &mut found);
        found.contains(test)
    };
    let faults = faults(&rows, is_there, passed.as_ref());
    let tests: BTreeSet<_> = rows.iter().flat_map(|row| &row.tests).collect();
    println!("mission: {} requirements, {} tests", rows.len(), tests.len());
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}

fn parse(text: &str) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    for line in text.lines() {
        let cells: Vec<_> = line.trim().trim_matches('|').split(" | ").map(str::trim).collect();
        let Some((page, number)) = cells.first().and_then(|cell| cell.split_once('.')) else { continue };
        let (Ok(page), Ok(number)) = (page.parse(), number.parse()) else { continue };
        let wrong = || format!("{PAGE}: not '| PAGE.NUMBER | what must hold | tests |': {line}");
        let [_, what, tests] = cells[..] else { return Err(wrong()) };
        let mut list = Vec::new();
        if tests != PENDING {
            for test in tests.split(", ") {
                let name = test.strip_prefix('`').and_then(|test| test.strip_suffix('`')).ok_or_else(wrong)?;
                let (file, function) = name.split_once("::").ok_or_else(wrong)?;
                list.push((file.to_owned(), function.to_owned()));
            }
        }
        rows.push(Row { page, number, what: what.to_owned(), tests: list });
    }
    Ok(rows)
}

fn faults(rows: &[Row], is_there: impl Fn(&str, &str) -> bool, passed: Option<&BTreeSet<String>>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut last = (0, 0);
    for row in rows {
        let Row { page, number, what, tests } = row;
        let is_next = (*page, *number) == (last.0, last.1 + 1) || (*page, *number) == (last.0 + 1, 1);
        if !is_next {
            faults.push(format!("{PAGE}: {page}.{number} does not follow {}.{}", last.0, last.1));
        }
        last = (*page, *number);
        if what.is_empty() {
            faults.push(format!("{PAGE}: {page}.{number} says nothing"));
        }
        if tests.is_empty() {
            faults.push(format!("{PAGE}: {page}.{number} is pending: it names no test"));
        }
        for (file, test) in tests {
            if !is_there(file, test) {
                faults.push(format!("{PAGE}: {page}.{number}: crates/{file} has no test {test}"));
            } else if passed.is_some_and(|passed| !passed.contains(test)) {
                faults.push(format!("{PAGE}: {page}.{number}: test {test} did not run and pass"));
            }
        }
    }
    if last.0 != PAGES {
        faults.push(format!("{PAGE}: the last row is of page {}, there are {PAGES} pages", last.0));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(lines: &str) -> Vec<Row> {
        parse(lines).unwrap()
    }

    fn faults_of(lines: &str, passed: Option<&str>) -> usize {
        let rest = (2..=PAGES).map(|page| format!("\n| {page}.1 | b | `a/b.rs::holds` |"));
        let lines = lines.to_owned() + &rest.collect::<String>();
        let passed = passed.map(|list| coverage::last_segments(&format!("{list}\nholds")));
        let is_there = |file: &str, test: &str| file == "a/b.rs" && ["it_holds", "holds"].contains(&test);
        faults(&rows(&lines), is_there, passed.as_ref()).len()
    }

    #[test]
    fn a_row_names_tests_that_exist_and_ran() {
        assert_eq!(faults_of("| 1.1 | a | `a/b.rs::it_holds` |", Some("m::it_holds")), 0);
        assert_eq!(faults_of("| 1.1 | a | `a/b.rs::it_holds` |", Some("other")), 1);
        assert_eq!(faults_of("| 1.1 | a | `a/b.rs::it_holds`, `a/c.rs::it_holds` |", None), 1);
    }

    #[test]
    fn a_pending_row_is_a_fault() {
        assert_eq!(faults_of("| 1.1 | a | pending |", None), 1);
    }

    #[test]
    fn numbers_have_no_gap_and_pages_are_not_left_out() {
        assert_eq!(faults_of("| 1.2 | a | `a/b.rs::it_holds` |", None), 1);
        assert_eq!(faults(&rows("| 1.1 | a | `a/b.rs::holds` |"), |_, _| true, None).len(), 1);
    }

    #[test]
    fn a_cell_that_is_no_list_of_tests_is_refused() {
        assert!(parse("| 1.1 | a | soon |").is_err());
        assert!(parse("| 1.1 | a |").is_err());
        assert!(rows("| no. | what must hold | tests |\n|---|---|---|\ntext 1.1 here").is_empty());
    }
}
