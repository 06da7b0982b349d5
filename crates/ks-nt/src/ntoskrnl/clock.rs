//! Time as drivers ask for it: since the start, of day, in ticks, and busy.

use super::block::Block;
use super::scheduler;
use crate::exports;
use crate::exports::Export;

pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    KeQuerySystemTime, KeQuerySystemTimePrecise, KeQueryInterruptTime, KeQueryInterruptTimePrecise, KeQueryTickCount,
    KeQueryTimeIncrement, KeQueryUnbiasedInterruptTime, KeQueryUnbiasedInterruptTimePrecise,
);

pub(crate) const HAL_EXPORTS: &[Export] = exports!(Hal: KeQueryPerformanceCounter, KeStallExecutionProcessor);

/// Length of one tick: 64 of them make a second.
pub(crate) const TIME_INCREMENT: u32 = 156_250;

/// Units of the performance counter in a second.
const COUNTER_FREQUENCY: i64 = 10_000_000;

/// 100-ns units from 1601, where system time starts, to 1970.
const UNIX_EPOCH: i64 = 116_444_736_000_000_000;

fn read(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec; the clocks asked for exist on every Linux.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec.wrapping_mul(10_000_000).wrapping_add(time.tv_nsec / 100)
}

/// When every virtual time begins, as time of day: 2020-01-01.
const VIRTUAL_EPOCH: i64 = UNIX_EPOCH + 1_577_836_800 * 10_000_000;

/// Time since the start of the machine, in 100-ns units; never runs backwards.
pub(crate) fn machine_time() -> i64 {
    read(libc::CLOCK_MONOTONIC)
}

/// As [`machine_time`], as drivers see it: in virtual time the time since that began.
pub(crate) fn interrupt_time() -> i64 {
    scheduler::now().unwrap_or_else(machine_time)
}

/// Time of day in UTC, in 100-ns units since the start of 1601.
pub(crate) fn system_time() -> i64 {
    match scheduler::now() {
        Some(now) => VIRTUAL_EPOCH.wrapping_add(now),
        None => read(libc::CLOCK_REALTIME).wrapping_add(UNIX_EPOCH),
    }
}

/// Ticks since the start of the machine.
pub(crate) fn tick_count() -> i64 {
    interrupt_time() / i64::from(TIME_INCREMENT)
}

/// The instant on the clock of [`interrupt_time`] that a due time means: negative ones are relative, others are system
/// time.
pub(crate) fn deadline(due: i64) -> i64 {
    let now = interrupt_time();
    if due < 0 { now.saturating_sub(due) } else { now.saturating_add(due.saturating_sub(system_time())) }
}

pub(crate) unsafe extern "win64" fn KeQueryPerformanceCounter(frequency: Block) -> i64 {
    if let Some(frequency) = frequency.optional() {
        frequency.put(0, COUNTER_FREQUENCY);
    }
    interrupt_time()
}

pub(crate) unsafe extern "win64" fn KeQuerySystemTime(time: Block) {
    time.put(0, system_time());
}

pub(crate) unsafe extern "win64" fn KeQuerySystemTimePrecise(time: Block) {
    time.put(0, system_time());
}

pub(crate) unsafe extern "win64" fn KeQueryInterruptTime() -> i64 {
    interrupt_time()
}

pub(crate) unsafe extern "win64" fn KeQueryInterruptTimePrecise(counter: Block) -> i64 {
    let now = interrupt_time();
    if let Some(counter) = counter.optional() {
        counter.put(0, now);
    }
    now
}

pub(crate) unsafe extern "win64" fn KeQueryTickCount(count: Block) {
    count.put(0, tick_count());
}

pub(crate) unsafe extern "win64" fn KeQueryTimeIncrement() -> u32 {
    TIME_INCREMENT
}

// CLOCK_MONOTONIC does not count the time that the machine slept: it is the unbiased one already.
pub(crate) unsafe extern "win64" fn KeQueryUnbiasedInterruptTime() -> i64 {
    interrupt_time()
}

pub(crate) unsafe extern "win64" fn KeQueryUnbiasedInterruptTimePrecise(counter: Block) -> i64 {
    // SAFETY: the same contract.
    unsafe { KeQueryInterruptTimePrecise(counter) }
}

/// Busy, because it is called at every level.
pub(crate) unsafe extern "win64" fn KeStallExecutionProcessor(microseconds: u32) {
    if scheduler::is_virtual() {
        // What is computed takes no time there, and nothing else is allowed to wait so.
        return;
    }
    let end = interrupt_time().saturating_add(i64::from(microseconds) * 10);
    while interrupt_time() < end {
        std::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_due_time_is_relative_when_negative_and_of_day_otherwise() {
        let before = interrupt_time();
        assert!(deadline(-10_000) >= before + 10_000);
        assert!(deadline(0) < before, "the year 1601 is over");
        let soon = deadline(system_time() + 36_000_000_000);
        assert!(soon > before + 35_000_000_000, "an hour from now by the clock on the wall");
        assert_eq!(deadline(i64::MIN), i64::MAX);
    }
}
