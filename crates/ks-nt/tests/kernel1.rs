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
