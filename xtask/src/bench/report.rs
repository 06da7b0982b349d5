//! Results as a table for people and as JSON for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Result;

impl Result {
    /// Ours to the peer, round by round, in ascending order.
    pub fn ratios(&self) -> Vec<f64> {
        let mut ratios: Vec<f64> = self.ours.iter().zip(&self.peer).map(|(ours, peer)| ours / peer).collect();
        ratios.sort_by(f64::total_cmp);
        ratios
    }

    /// Whether the median ratio is within the gate; a case that is not there yet is not.
    pub fn is_met(&self) -> bool {
        median(&self.ratios()).is_some_and(|ratio| ratio <= self.goal.gate) && self.copies == 0
    }

    pub fn verdict(&self) -> &'static str {
        if self.ours.is_empty() {
            "NOT YET"
        } else if self.copies > 0 {
            "MISSED (copies)"
        } else if self.goal.gate.is_infinite() {
            "reported"
        } else if self.is_met() {
            "met"
        } else {
            "MISSED"
        }
    }
}

/// The middle of sorted values.
pub fn median(sorted: &[f64]) -> Option<f64> {
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *sorted.get(sorted.len() / 2 - 1)?;
    Some(f64::midpoint(lower, upper))
}

/// The middle of values.
pub fn median_of(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    median(&sorted)
}

/// One line a goal: nanoseconds of both sides, the ratio, the gate and the verdict.
pub fn table(results: &[Result]) -> String {
    let number = |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |value| format!("{value:.digits$}"));
    let mut text = format!(
        "{:<6} {:>11} {:>11} {:>7} {:>15} {:>6}  {:<8} what (values in ns where nothing else is said)\n",
        "goal", "ours", "peer", "ratio", "min .. max", "gate", "verdict"
    );
    for result in results {
        let ratios = result.ratios();
        let range = match (ratios.first(), ratios.last()) {
            (Some(min), Some(max)) => format!("{min:.3} .. {max:.3}"),
            _ => "-".to_owned(),
        };
        let _ = writeln!(
            text,
            "{:<6} {:>11} {:>11} {:>7} {:>15} {:>6}  {:<8} {}{}",
            result.goal.id,
            number(median_of(&result.ours), 1),
            number(median_of(&result.peer), 1),
            number(median(&ratios), 3),
            range,
            number(Some(result.goal.gate).filter(|gate| gate.is_finite()), 3),
            result.verdict(),
            result.goal.what,
            match result.goal.ours.reduce.unit() {
                "" => String::new(),
                unit => format!(" [{unit}]"),
            }
        );
        if !result.goal.note.is_empty() {
            let _ = writeln!(text, "{:>70}({})", "", result.goal.note);
        }
    }
    text
}

/// The list that `--json` prints; `ours` and `peer` are medians in nanoseconds.
pub fn json(results: &[Result]) -> String {
    let rows: Vec<Value> = results
        .iter()
        .map(|result| {
            let ratios = result.ratios();
            json!({
                "goal": result.goal.id,
                "what": result.goal.what,
                "ours": median_of(&result.ours),
                "peer": median_of(&result.peer),
                "ratio_median": median(&ratios),
                "ratio_min": ratios.first(),
                "ratio_max": ratios.last(),
                "gate": Some(result.goal.gate).filter(|gate| gate.is_finite()),
                "verdict": result.verdict(),
            })
        })
        .collect();
    format!("{:#}", Value::from(rows))
}

#[cfg(test)]
mod tests {
    use super::super::goals::GOALS;
    use super::*;

    fn result(ours: &[f64], peer: &[f64], copies: u64) -> Result {
        Result { goal: &GOALS[0], ours: ours.to_vec(), peer: peer.to_vec(), copies }
    }

    #[test]
    fn the_gate_looks_at_the_median_of_the_rounds() {
        assert!(result(&[1.0, 9.0, 1.0], &[4.0, 4.0, 4.0], 0).is_met());
        assert!(!result(&[9.0, 9.0, 1.0], &[4.0, 4.0, 4.0], 0).is_met());
    }

    #[test]
    fn a_copy_misses_the_goal() {
        assert_eq!(result(&[1.0], &[4.0], 1).verdict(), "MISSED (copies)");
    }

    #[test]
    fn a_case_that_is_not_there_is_shown_and_not_met() {
        let absent = result(&[], &[], 0);
        assert!(!absent.is_met());
        assert!(table(std::slice::from_ref(&absent)).contains("NOT YET"));
        assert!(json(&[absent]).contains("\"ours\": null"));
    }

    #[test]
    fn a_missed_gate_is_printed_as_missed() {
        assert!(table(&[result(&[9.0], &[4.0], 0)]).contains("MISSED"));
    }
}
