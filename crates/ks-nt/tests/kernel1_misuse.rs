//! Rules of the kernel that driver code breaks on purpose: each is reported, by its bug check and in a sentence.

mod support;

use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use ks_nt::ntoskrnl::{pool, unload};
use ks_nt::report::{self, BugCheck, Report};
use support::Driver;

/// What a routine of `misuse.c` breaks: the bug check of the first report, and words of its sentence.
const RULES: &[(&str, BugCheck, &str)] = &[
    ("a_wait_at_dispatch", BugCheck::IRQL_NOT_LESS_OR_EQUAL, "waits at level 2"),
    ("a_wait_for_nothing", BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION, "no dispatcher object"),
    ("a_wait_for_too_many", BugCheck::MAXIMUM_WAIT_OBJECTS_EXCEEDED, "4 objects with room for 3"),
    ("raising_down", BugCheck::IRQL_NOT_GREATER_OR_EQUAL, "from 2 down to 1"),
    ("lowering_up", BugCheck::IRQL_NOT_LESS_OR_EQUAL, "from 0 up to 1"),
    ("a_spin_lock_that_is_not_held", BugCheck::SPIN_LOCK_NOT_OWNED, "is not held"),
    ("a_spin_lock_that_is_held_already", BugCheck::SPIN_LOCK_ALREADY_OWNED, "holds the spin lock"),
    ("a_mutex_of_nobody", BugCheck::THREAD_NOT_MUTEX_OWNER, "does not own"),
    ("a_fast_mutex_twice", BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION, "would wait for itself"),
    ("a_semaphore_over_its_limit", BugCheck::KMODE_EXCEPTION_NOT_HANDLED, "limit of 2"),
    ("a_resource_of_another", BugCheck::RESOURCE_NOT_OWNED, "does not own"),
    ("a_region_that_was_not_entered", BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION, "has not entered"),
    ("a_second_free", BugCheck::BAD_POOL_CALLER, "('Test') was freed before"),
    ("a_free_of_the_stack", BugCheck::BAD_POOL_CALLER, "is no block of the pool"),
    ("a_free_of_the_middle", BugCheck::BAD_POOL_CALLER, "is inside of the block"),
    ("a_free_under_another_tag", BugCheck::BAD_POOL_CALLER, "allocated as 'Test' and is freed as 'Uest'"),
    ("an_allocation_without_a_tag", BugCheck::BAD_POOL_CALLER, "a tag of zero"),
    ("paged_pool_at_dispatch", BugCheck::IRQL_NOT_LESS_OR_EQUAL, "called at level 2, but 1 is the highest"),
    ("a_free_of_a_timer_that_is_set", BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION, "a timer that is set is in it"),
    ("a_dpc_that_changes_the_level", BugCheck::IRQL_UNEXPECTED_VALUE, "returned at level 0"),
    ("a_dpc_that_was_not_initialized", BugCheck::TIMER_OR_DPC_INVALID, "was not initialized"),
    ("a_timer_initialized_while_it_is_set", BugCheck::TIMER_OR_DPC_INVALID, "is initialized again"),
    ("a_work_item_queued_twice", BugCheck::WORKER_INVALID, "is queued already"),
    ("a_thread_that_keeps_a_mutex", BugCheck::THREAD_TERMINATE_HELD_MUTEX, "acquired 1 times"),
    ("a_rundown_released_too_often", BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION, "acquired 0 times"),
    ("a_remove_lock_released_too_often", BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION, "more often than"),
    ("a_delay_at_dispatch", BugCheck::IRQL_NOT_LESS_OR_EQUAL, "called at level 2, but 1 is the highest"),
];

#[test]
fn a_broken_rule_is_reported_and_no_other_is() {
    static REPORTS: Mutex<Vec<Report>> = Mutex::new(Vec::new());
    let take = || std::mem::take(&mut *REPORTS.lock().unwrap_or_else(PoisonError::into_inner));
    report::set_reporter(Some(Arc::new(|report| {
        REPORTS.lock().unwrap_or_else(PoisonError::into_inner).push(report.clone());
    })));
    let driver = Driver::of_tests("kernel1/misuse.c");
    let breaks: Vec<_> = driver.image().exports().filter_map(|name| name.strip_prefix("breaks_")).collect();
    assert!(breaks.iter().all(|name| RULES.iter().any(|(rule, ..)| rule == name)), "a routine has no rule: {breaks:?}");
    let mut wrong = Vec::new();
    for (name, code, words) in RULES {
        driver.call(&format!("breaks_{name}"), [0; 4]);
        let reports = take();
        if reports.first().is_none_or(|report| report.code != *code || !report.what.contains(words)) {
            wrong.push(format!("{name}: {reports:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    assert_eq!(pool::leaks(), [], "a broken rule keeps nothing");
    driver.call("leak", [0; 4]);
    let leaks: Vec<_> = pool::leaks().iter().map(|leak| (leak.name(), leak.blocks, leak.bytes)).collect();
    assert_eq!(leaks, [("Leak".to_owned(), 2, 5100), ("Reak".to_owned(), 1, 24)]);

    unload::left_behind();
    driver.call("leave_behind", [0; 4]);
    let left = unload::left_behind();
    assert_eq!((left.timers, left.work_items), (1, 0));
    assert!(left.threads >= 1, "the thread waits for an event that nobody sets");
    assert_eq!(unload::left_behind().timers, 0, "the timers are cancelled");
    // The thread runs code of the image, which goes at the end of this test.
    driver.call("end_what_was_left", [0; 4]);
    report::set_reporter(None);
}

/// Set in the process in which a routine that does not come back is called.
const CHILD: &str = "USERKS_TEST_ENDS";

#[test]
fn what_stops_windows_ends_the_process_with_a_report() {
    if let Ok(name) = std::env::var(CHILD) {
        Driver::of_tests("kernel1/kernel.c").call(&format!("ends_{name}"), [0; 4]);
        unreachable!("{name} came back");
    }
    for (name, words) in [
        ("KeBugCheck", "KeBugCheck: the driver stops the machine (MANUALLY_INITIATED_CRASH (0xE2), level 0)"),
        ("KeBugCheckEx", "0x1, 0x2, 0x3, 0x4 (bug check 0xDEADBEEF, level 0)"),
        ("ExRaiseStatus", "STATUS_INSUFFICIENT_RESOURCES (0xC000009A) is raised (KMODE_EXCEPTION_NOT_HANDLED (0x1E)"),
        ("ExRaiseAccessViolation", "STATUS_ACCESS_VIOLATION (0xC0000005) is raised"),
        ("ExRaiseDatatypeMisalignment", "STATUS_DATATYPE_MISALIGNMENT (0x80000002) is raised"),
    ] {
        let test = "what_stops_windows_ends_the_process_with_a_report";
        let mut child = Command::new(std::env::current_exe().unwrap());
        let output = child.args([test, "--exact", "--nocapture"]).env(CHILD, name).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(words), "{name}: {said}");
        assert!(!said.contains("came back"), "{name}: {said}");
    }
}
