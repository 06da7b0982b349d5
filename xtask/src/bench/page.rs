//! The table of docs/performance.md, written by the program that measured.

use std::time::{SystemTime, UNIX_EPOCH};

use super::Result;
use super::report::{median, median_of};
use crate::repo::{self, Outcome};

const PAGE: &str = "docs/performance.md";
const BEGIN: &str = "<!-- written by cargo xtask bench --write: begin -->";
const END: &str = "<!-- end -->";
const HEAD: &str =
    "| goal | what | ours | peer | ratio (min .. max) | gate | | measured |\n|---|---|---|---|---|---|---|---|";

/// Writes the rows of the goals that were measured; the rows of others stay.
pub fn write(results: &[Result]) -> Outcome {
    let path = repo::root().join(PAGE);
    let text = repo::read(&path)?;
    let page = with_rows(&text, results, &today())?;
    repo::write(&path, &page)?;
    println!("bench: wrote {} rows of {PAGE}", results.len());
    Ok(())
}

fn with_rows(text: &str, results: &[Result], date: &str) -> Outcome<String> {
    let wrong = || format!("{PAGE} has no lines '{BEGIN}' and '{END}'");
    let (before, rest) = text.split_once(BEGIN).ok_or_else(wrong)?;
    let (table, after) = rest.split_once(END).ok_or_else(wrong)?;
    let mut rows: Vec<String> =
        table.lines().filter(|line| line.starts_with("| ")).skip(1).map(str::to_owned).collect();
    for result in results {
        let row = row(result, date);
        let head = format!("| {} |", result.goal.id);
        match rows.iter_mut().find(|row| row.starts_with(&head)) {
            Some(old) => *old = row,
            None => rows.push(row),
        }
    }
    Ok(format!("{before}{BEGIN}\n{HEAD}\n{}\n{END}{after}", rows.join("\n")))
}

fn row(result: &Result, date: &str) -> String {
    let ratios = result.ratios();
    let range = match (median(&ratios), ratios.first(), ratios.last()) {
        (Some(median), Some(least), Some(most)) => format!("{median:.3} ({least:.3} .. {most:.3})"),
        _ => "-".to_owned(),
    };
    let verdict = match result.verdict() {
        verdict if result.is_met() => verdict.to_owned(),
        verdict => format!("**{}**", verdict.to_lowercase()),
    };
    // A figure without a gate is reported only.
    let gate = if result.goal.gate.is_finite() { format!("{:.3}", result.goal.gate) } else { "-".to_owned() };
    format!(
        "| {} | {} | {} | {} | {range} | {gate} | {verdict} | {date} |",
        result.goal.id,
        result.goal.what,
        shown(result, median_of(&result.ours)),
        shown(result, median_of(&result.peer)),
    )
}

/// A value with its unit.
fn shown(result: &Result, value: Option<f64>) -> String {
    match (result.goal.ours.reduce.unit(), value) {
        ("", _) | (_, None) => time(value),
        (unit, Some(value)) => format!("{value:.0} {unit}"),
    }
}

/// Nanoseconds in a unit that leaves two to four digits.
fn time(nanoseconds: Option<f64>) -> String {
    match nanoseconds {
        None => "-".to_owned(),
        Some(ns) if ns < 10_000.0 => format!("{ns:.0} ns"),
        Some(ns) if ns < 10_000_000.0 => format!("{:.1} us", ns / 1e3),
        Some(ns) => format!("{:.1} ms", ns / 1e6),
    }
}

/// The day by the machine's clock, in UTC.
fn today() -> String {
    let days = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() / 86_400);
    let (year, month, day) = civil(days);
    format!("{year}-{month:02}-{day:02}")
}

/// Year, month and day of a day since 1970.
fn civil(days: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (mut year, mut left) = (1970, days);
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if left < length {
            break;
        }
        left -= length;
        year += 1;
    }
    let mut month = 1;
    for length in [31, if is_leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    (year, month, left + 1)
}

#[cfg(test)]
mod tests {
    use super::super::goals::GOALS;
    use super::*;

    #[test]
    fn measured_rows_are_replaced_and_others_stay() {
        let old = format!("text\n{BEGIN}\n{HEAD}\n| 1 | a | old |\n| other | b | stays |\n{END}\nmore\n");
        let result = Result { goal: &GOALS[0], ours: vec![120.0; 5], peer: vec![480.0; 5], copies: 0 };
        let page = with_rows(&old, &[result], "2026-01-02").unwrap();
        assert!(page.starts_with("text\n") && page.ends_with("\nmore\n"), "{page}");
        assert!(page.contains("| 120 ns | 480 ns | 0.250 (0.250 .. 0.250) | 0.333 | met | 2026-01-02 |"), "{page}");
        assert!(page.contains("| other | b | stays |") && !page.contains("old |"), "{page}");
        assert!(with_rows("no marks", &[], "").is_err());
    }

    #[test]
    fn the_committed_page_has_its_marks() {
        let text = repo::read(&repo::root().join(PAGE)).unwrap();
        assert_eq!(with_rows(&text, &[], "").unwrap(), text);
    }

    #[test]
    fn days_become_dates() {
        assert_eq!(
            (civil(0), civil(59), civil(19_782), civil(20_778)),
            ((1970, 1, 1), (1970, 3, 1), (2024, 2, 29), (2026, 11, 21))
        );
    }
}
