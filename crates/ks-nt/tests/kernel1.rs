//! The kernel's levels, locks, waits, timers, threads, memory and lists, called from driver code.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::mem::ManuallyDrop;
use std::path::Path;

use ks_nt::exports;
use support::Driver;

/// The drivers whose tests have the names of what they call.
const DRIVERS: &[&str] = &["levels", "waits", "timers", "threads", "mutexes", "memory", "kernel", "handles"];

/// The files of the kernel that these drivers test.
const FILES: &[&str] = &[
    "clock",
    "contiguous",
    "device_queue",
    "dpc",
    "event",
    "event_handle",
    "ex_timer",
    "fast_mutex",
    "irql",
    "kernel",
    "lists",
    "lookaside",
    "mutex",
    "pool",
    "process",
    "reader_writer_lock",
    "remove_lock",
    "resource",
    "rundown",
    "semaphore",
    "spin_lock",
    "thread",
    "timer",
    "wait",
    "work_item",
];

/// Runs the tests of a driver, which stays mapped: a thread of it may be about to return to the kernel.
#[track_caller]
fn run(source: &str) {
    ManuallyDrop::new(Driver::of_tests(source)).run_all_tests();
}

/// What a file exports, read from its source: identifiers in `exports!` lists and in `name:` fields that are exported.
fn exported(file: &str) -> BTreeSet<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/ntoskrnl/{file}.rs"));
    let source = fs::read_to_string(source).unwrap();
    let words = source.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let defined =
        |word: &&str| source.contains(&format!("fn {word}(")) || source.contains(&format!("name: \"{word}\""));
    words.filter(|word| exports::find(word).is_some()).filter(defined).map(str::to_owned).collect()
}

#[test]
fn every_exported_name_is_called_by_a_test_of_its_name() {
    let drivers = DRIVERS.iter().map(|name| Driver::of_tests(&format!("kernel1/{name}.c")));
    let tests: BTreeSet<String> = drivers
        .flat_map(|driver| driver.image().exports().map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|name| name.strip_prefix("test_").or(name.strip_prefix("ends_")).map(str::to_owned))
        .collect();
    let names: BTreeSet<String> = FILES.iter().flat_map(|file| exported(file)).collect();
    let untested: Vec<_> = names.difference(&tests).collect();
    assert!(untested.is_empty(), "{} of {} names have no test: {untested:?}", untested.len(), names.len());
    assert!(names.len() >= 300, "only {} names", names.len());
    println!("{} names", names.len());
}

#[test]
fn levels_rise_and_fall_and_spin_locks_exclude() {
    run("kernel1/levels.c");
}

#[test]
fn threads_wait_for_events_mutexes_and_semaphores() {
    run("kernel1/waits.c");
}

#[test]
fn timers_expire_and_dpcs_run_at_dispatch_level() {
    run("kernel1/timers.c");
}

#[test]
fn system_threads_and_work_items_run_a_drivers_routines() {
    run("kernel1/threads.c");
}

#[test]
fn mutexes_resources_rundowns_and_remove_locks_keep_others_out() {
    run("kernel1/mutexes.c");
}

#[test]
fn the_pool_and_the_lists_over_it_keep_what_they_are_given() {
    run("kernel1/memory.c");
}

#[test]
fn clocks_stacks_and_processor_features_are_told() {
    run("kernel1/kernel.c");
}

#[test]
fn events_and_threads_have_handles_and_device_queues_keep_order() {
    run("kernel1/handles.c");
}
