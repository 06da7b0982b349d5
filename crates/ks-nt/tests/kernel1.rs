//! The kernel's levels, locks, waits, timers, threads, memory and lists, called from driver code.

mod support;

use support::Driver;

#[test]
fn levels_rise_and_fall_and_spin_locks_exclude() {
    Driver::of_tests("kernel1/levels.c").run_all_tests();
}

#[test]
fn threads_wait_for_events_mutexes_and_semaphores() {
    Driver::of_tests("kernel1/waits.c").run_all_tests();
}

#[test]
fn timers_expire_and_dpcs_run_at_dispatch_level() {
    Driver::of_tests("kernel1/timers.c").run_all_tests();
}

#[test]
fn system_threads_and_work_items_run_a_drivers_routines() {
    Driver::of_tests("kernel1/threads.c").run_all_tests();
}

#[test]
fn mutexes_resources_rundowns_and_remove_locks_keep_others_out() {
    Driver::of_tests("kernel1/mutexes.c").run_all_tests();
}

#[test]
fn the_pool_and_the_lists_over_it_keep_what_they_are_given() {
    Driver::of_tests("kernel1/memory.c").run_all_tests();
}

#[test]
fn clocks_stacks_and_processor_features_are_told() {
    Driver::of_tests("kernel1/kernel.c").run_all_tests();
}
