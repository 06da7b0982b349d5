//! Objects below AVStream that a driver has freed and uses again: each use is reported, with the routine and the object.

mod support;

use ks_nt::report::{self, Report};
use std::sync::{Arc, Mutex, PoisonError};
use support::Driver;

static REPORTS: Mutex<Vec<Report>> = Mutex::new(Vec::new());
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs a routine of `freed.c`; what was reported.
fn reported(rule: &str) -> Vec<String> {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    report::set_reporter(Some(Arc::new(|report| {
        REPORTS.lock().unwrap_or_else(PoisonError::into_inner).push(report.clone());
    })));
    Driver::of_tests("low_level/freed.c").call(&format!("breaks_{rule}"), [0; 4]);
    let reports = std::mem::take(&mut *REPORTS.lock().unwrap_or_else(PoisonError::into_inner));
    reports.into_iter().map(|report| report.what).collect()
}

fn is_one_of_a_dead(kind: &str, reports: &[String]) {
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert!(reports[0].contains(&format!("is no living {kind}")), "{reports:?}");
}

#[test]
fn a_default_clock_that_was_freed_is_none_any_more() {
    is_one_of_a_dead("KSDEFAULTCLOCK", &reported("a_clock_that_was_freed"));
}

#[test]
fn a_header_that_was_freed_is_none_any_more() {
    is_one_of_a_dead("KSOBJECT_HEADER", &reported("an_object_header_that_was_freed"));
}

#[test]
fn an_event_that_was_discarded_is_none_any_more() {
    is_one_of_a_dead("KSEVENT_ENTRY", &reported("an_event_that_was_discarded"));
}
