//! The interrupt request level of a thread, and its critical and guarded regions.
//!
//! The level is one number a thread. Up to DISPATCH_LEVEL it is `ks_io::Level`, so that the engine's own rules hold for
//! a driver's calls; what is above (device interrupts, which no software driver has) is remembered beside it. There is
//! no exclusion: a thread at DISPATCH_LEVEL and others really run at once, as on a machine with several processors.

use std::cell::Cell;

use ks_io::Level;

use crate::exports;
use crate::exports::Export;
use crate::report::{self, BugCheck};

pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    KeGetCurrentIrql, KfRaiseIrql, KeRaiseIrql, KfLowerIrql, KeLowerIrql, KeRaiseIrqlToDpcLevel,
    KeRaiseIrqlToSynchLevel, KeEnterCriticalRegion, KeLeaveCriticalRegion, KeEnterGuardedRegion, KeLeaveGuardedRegion,
    KeAreApcsDisabled, KeAreAllApcsDisabled,
);

/// PASSIVE_LEVEL
pub(crate) const PASSIVE: u8 = 0;
/// APC_LEVEL
pub(crate) const APC: u8 = 1;
/// DISPATCH_LEVEL
pub(crate) const DISPATCH: u8 = 2;
/// SYNCH_LEVEL
pub(crate) const SYNCH: u8 = 12;
/// HIGH_LEVEL
pub(crate) const HIGH: u8 = 15;

thread_local! {
    /// The level while it is above DISPATCH_LEVEL, else 0.
    static ABOVE: Cell<u8> = const { Cell::new(0) };
    static CRITICAL_REGIONS: Cell<u32> = const { Cell::new(0) };
    static GUARDED_REGIONS: Cell<u32> = const { Cell::new(0) };
}

/// The level of the calling thread.
#[inline]
pub(crate) fn current() -> u8 {
    match Level::current() {
        Level::Dispatch => DISPATCH.max(ABOVE.try_with(Cell::get).unwrap_or(0)),
        below => below as u8,
    }
}

/// Sets the level of the calling thread and returns what it was. What a write of `cr8` does.
#[inline]
pub(crate) fn set(irql: u8) -> u8 {
    let before = current();
    let level = match irql {
        PASSIVE => Level::Passive,
        APC => Level::Apc,
        _ => Level::Dispatch,
    };
    level.set_current();
    let _ = ABOVE.try_with(|above| above.set(if irql > DISPATCH { irql.min(HIGH) } else { 0 }));
    before
}

/// Reports a call above the highest level that `routine` allows.
#[inline]
pub(crate) fn at_most(highest: u8, routine: &'static str) {
    if current() > highest {
        too_high(highest, routine);
    }
}

#[cold]
fn too_high(highest: u8, routine: &'static str) {
    report::misuse(
        BugCheck::IRQL_NOT_LESS_OR_EQUAL,
        routine,
        format!("called at level {}, but {highest} is the highest at which it may be called", current()),
    );
}

pub(crate) fn raise(new: u8, routine: &'static str) -> u8 {
    let before = current();
    if new < before {
        report::misuse(
            BugCheck::IRQL_NOT_GREATER_OR_EQUAL,
            routine,
            format!("raises the level from {before} down to {new}"),
        );
    }
    set(new)
}

pub(crate) fn lower(new: u8, routine: &'static str) {
    let before = current();
    if new > before {
        report::misuse(
            BugCheck::IRQL_NOT_LESS_OR_EQUAL,
            routine,
            format!("lowers the level from {before} up to {new}"),
        );
    }
    set(new);
}

/// Regions that the calling thread has entered and not left: critical ones, guarded ones.
pub(crate) fn regions() -> (u32, u32) {
    (CRITICAL_REGIONS.get(), GUARDED_REGIONS.get())
}

/// Enters a critical region for the driver.
pub(crate) fn enter_critical_region() {
    CRITICAL_REGIONS.set(CRITICAL_REGIONS.get().saturating_add(1));
}

/// Leaves a critical region for the driver.
pub(crate) fn leave_critical_region(routine: &'static str) {
    leave(&CRITICAL_REGIONS, routine);
}

/// Enters a guarded region for the driver.
pub(crate) fn enter_guarded_region() {
    GUARDED_REGIONS.set(GUARDED_REGIONS.get().saturating_add(1));
}

/// Leaves a guarded region for the driver.
pub(crate) fn leave_guarded_region(routine: &'static str) {
    leave(&GUARDED_REGIONS, routine);
}

/// Has the calling thread in no region: after a routine that forgot to leave one.
pub(crate) fn leave_all_regions() {
    CRITICAL_REGIONS.set(0);
    GUARDED_REGIONS.set(0);
}

pub(crate) unsafe extern "win64" fn KeGetCurrentIrql() -> u8 {
    current()
}

pub(crate) unsafe extern "win64" fn KfRaiseIrql(new: u8) -> u8 {
    raise(new, "KeRaiseIrql")
}

pub(crate) unsafe extern "win64" fn KeRaiseIrql(new: u8, old: super::block::Block) {
    old.put(0, raise(new, "KeRaiseIrql"));
}

pub(crate) unsafe extern "win64" fn KeLowerIrql(new: u8) {
    lower(new, "KeLowerIrql");
}

pub(crate) unsafe extern "win64" fn KfLowerIrql(new: u8) {
    lower(new, "KeLowerIrql");
}

pub(crate) unsafe extern "win64" fn KeRaiseIrqlToDpcLevel() -> u8 {
    raise(DISPATCH, "KeRaiseIrqlToDpcLevel")
}

pub(crate) unsafe extern "win64" fn KeRaiseIrqlToSynchLevel() -> u8 {
    raise(SYNCH, "KeRaiseIrqlToSynchLevel")
}

fn leave(regions: &'static std::thread::LocalKey<Cell<u32>>, routine: &'static str) {
    match regions.get() {
        0 => report::misuse(
            BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION,
            routine,
            "leaves a region that this thread has not entered",
        ),
        entered => regions.set(entered - 1),
    }
}

pub(crate) unsafe extern "win64" fn KeEnterCriticalRegion() {
    at_most(APC, "KeEnterCriticalRegion");
    enter_critical_region();
}

pub(crate) unsafe extern "win64" fn KeLeaveCriticalRegion() {
    leave_critical_region("KeLeaveCriticalRegion");
}

pub(crate) unsafe extern "win64" fn KeEnterGuardedRegion() {
    at_most(APC, "KeEnterGuardedRegion");
    enter_guarded_region();
}

pub(crate) unsafe extern "win64" fn KeLeaveGuardedRegion() {
    leave_guarded_region("KeLeaveGuardedRegion");
}

pub(crate) unsafe extern "win64" fn KeAreApcsDisabled() -> u8 {
    u8::from(current() >= APC || CRITICAL_REGIONS.get() + GUARDED_REGIONS.get() > 0)
}

pub(crate) unsafe extern "win64" fn KeAreAllApcsDisabled() -> u8 {
    u8::from(current() >= APC || GUARDED_REGIONS.get() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_sees_the_level_that_a_driver_set() {
        assert_eq!(set(DISPATCH), PASSIVE);
        assert_eq!(Level::current(), Level::Dispatch);
        assert_eq!(set(SYNCH), DISPATCH);
        assert_eq!((current(), Level::current()), (SYNCH, Level::Dispatch));
        set(PASSIVE);
        let guard = Level::Dispatch.raise();
        assert_eq!(current(), DISPATCH, "a level that the engine raised is the driver's too");
        drop(guard);
        assert_eq!(current(), PASSIVE);
    }
}
