//! What Windows would stop for is reported, and names the routine. One test: the reporter is the process's.

mod support;

use std::sync::{Arc, Mutex};

use ks_nt::report;
use support::Driver;

#[test]
fn misuse_of_requests_objects_and_lists_is_reported() {
    let reports: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
    let taken = reports.clone();
    report::set_reporter(Some(Arc::new(move |report: &report::Report| {
        let report = (report.routine.to_owned(), report.what.clone());
        taken.lock().expect("nothing panics under it").push(report);
    })));
    let driver = Driver::of_tests("kernel2/misuse.c");
    for (test, expected) in [
        (
            "completed_without_a_keeper",
            &[("IofCompleteRequest", "no completion routine kept"), ("IofCompleteRequest", "a second time")][..],
        ),
        ("completed_as_pending", &[("IofCompleteRequest", "STATUS_PENDING")]),
        ("completed_with_a_cancel_routine", &[("IofCompleteRequest", "cancel routine still set")]),
        ("freed_twice", &[("IoFreeIrp", "was freed before")]),
        ("dereferenced_too_often", &[("ObfDereferenceObject", "more often"), ("IoDeleteDevice", "deleted before")]),
        ("freed_with_locked_pages", &[("MmUnlockPages", "not locked"), ("IoFreeMdl", "still locked")]),
        (
            "probed_where_nothing_is",
            &[("ProbeForRead", "STATUS_ACCESS_VIOLATION"), ("ProbeForWrite", "STATUS_DATATYPE_MISALIGNMENT")],
        ),
    ] {
        driver.run_test(test);
        let reports = std::mem::take(&mut *reports.lock().expect("nothing panics under it"));
        assert_eq!(reports.len(), expected.len(), "{test}: {reports:?}");
        for ((routine, what), (expected_routine, part)) in reports.iter().zip(expected) {
            assert!(routine == expected_routine && what.contains(part), "{test}: {routine}: {what}");
        }
    }
    report::set_reporter(None);
}
