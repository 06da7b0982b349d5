//! The three mutexes of the class driver, taken and given back by a driver.

use crate::exports;
use crate::exports::Export;
use crate::ks::address::Address;
use crate::ks::misuse;
use crate::ks::objects::{self, Object};
use crate::report::BugCheck;
use ks_io::{Level, RankedMutex};
use std::cell::Cell;

pub(crate) const EXPORTS: &[Export] = exports!(Ks:
    KsAcquireControl, KsReleaseControl, KsPinAcquireProcessingMutex, KsPinReleaseProcessingMutex,
    KsFilterAcquireProcessingMutex, KsFilterReleaseProcessingMutex,
);

/// Takes a mutex for the driver, or reports why that would never return.
pub(crate) fn acquire(mutex: &RankedMutex, routine: &'static str) {
    if Level::current() > Level::Apc {
        return misuse::misuse(
            BugCheck::IRQL_NOT_LESS_OR_EQUAL,
            routine,
            format!("waits for the {} mutex at DISPATCH_LEVEL", mutex.name()),
        );
    }
    if mutex.is_held_by_current() {
        return misuse::misuse(
            BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION,
            routine,
            format!("the thread holds the {} mutex already and would wait for itself", mutex.name()),
        );
    }
    mutex.acquire();
}

thread_local! {
    /// How often the thread has taken the device mutex that it held already.
    static NESTED: Cell<u32> = const { Cell::new(0) };
}

/// Takes the device mutex for the driver.
///
/// Decision: a thread that has it may take it again, because drivers take it in routines that are called with it.
pub(crate) fn acquire_device(mutex: &RankedMutex) {
    if mutex.is_held_by_current() {
        return NESTED.set(NESTED.get() + 1);
    }
    acquire(mutex, "KsAcquireDevice");
}

/// Gives the device mutex back for the driver.
pub(crate) fn release_device(mutex: &RankedMutex) {
    match NESTED.get() {
        0 => release(mutex, "KsReleaseDevice"),
        nested => NESTED.set(nested - 1),
    }
}

/// Gives a mutex back for the driver.
pub(crate) fn release(mutex: &RankedMutex, routine: &'static str) {
    if !mutex.is_held_by_current() {
        return misuse::misuse(
            BugCheck::THREAD_NOT_MUTEX_OWNER,
            routine,
            format!("the thread does not hold the {} mutex", mutex.name()),
        );
    }
    mutex.release();
}

/// Runs `with` on the filter control mutex of a filter or pin.
fn control(object: Address, routine: &'static str, with: impl FnOnce(&RankedMutex)) {
    let filter = match objects::find(object) {
        Some(Object::Filter(filter)) => filter.engine(),
        Some(Object::Pin(pin)) => pin.filter().engine(),
        _ => return misuse::dead(routine, "KSFILTER or KSPIN", object.0),
    };
    if let Some(filter) = filter {
        with(filter.control());
    }
}

// ks-coverage: KsPinAcquireControl done test=every_inline_function_of_the_headers_works_on_living_objects
// ks-coverage: KsFilterAcquireControl done test=mutexes_keep_other_threads_of_a_driver_out
pub(crate) unsafe extern "win64" fn KsAcquireControl(object: Address) {
    control(object, "KsAcquireControl", |mutex| acquire(mutex, "KsAcquireControl"));
}

// ks-coverage: KsReleaseControl done test=every_inline_function_of_the_headers_works_on_living_objects
// ks-coverage: KsFilterReleaseControl done test=every_inline_function_of_the_headers_works_on_living_objects
// ks-coverage: KsPinReleaseControl done test=every_inline_function_of_the_headers_works_on_living_objects
pub(crate) unsafe extern "win64" fn KsReleaseControl(object: Address) {
    control(object, "KsReleaseControl", |mutex| release(mutex, "KsReleaseControl"));
}

// ks-coverage: KsPinAcquireProcessingMutex done test=mutexes_keep_other_threads_of_a_driver_out
pub(crate) unsafe extern "win64" fn KsPinAcquireProcessingMutex(pin: Address) {
    if let Some(pin) = objects::pin(pin, "KsPinAcquireProcessingMutex").and_then(|pin| pin.engine()) {
        acquire(pin.processing_mutex(), "KsPinAcquireProcessingMutex");
    }
}

// ks-coverage: KsPinReleaseProcessingMutex done test=every_inline_function_of_the_headers_works_on_living_objects
pub(crate) unsafe extern "win64" fn KsPinReleaseProcessingMutex(pin: Address) {
    if let Some(pin) = objects::pin(pin, "KsPinReleaseProcessingMutex").and_then(|pin| pin.engine()) {
        release(pin.processing_mutex(), "KsPinReleaseProcessingMutex");
    }
}

// ks-coverage: KsFilterAcquireProcessingMutex done test=mutexes_keep_other_threads_of_a_driver_out
pub(crate) unsafe extern "win64" fn KsFilterAcquireProcessingMutex(filter: Address) {
    let filter = objects::filter(filter, "KsFilterAcquireProcessingMutex").and_then(|filter| filter.engine());
    if let Some(mutex) = filter.as_ref().and_then(|filter| filter.processing_mutex()) {
        acquire(mutex, "KsFilterAcquireProcessingMutex");
    }
}

// ks-coverage: KsFilterReleaseProcessingMutex done test=mutexes_keep_other_threads_of_a_driver_out
pub(crate) unsafe extern "win64" fn KsFilterReleaseProcessingMutex(filter: Address) {
    let filter = objects::filter(filter, "KsFilterReleaseProcessingMutex").and_then(|filter| filter.engine());
    if let Some(mutex) = filter.as_ref().and_then(|filter| filter.processing_mutex()) {
        release(mutex, "KsFilterReleaseProcessingMutex");
    }
}
