//! The three mutexes of the class driver, taken and given back by a driver.

use crate::exports;
use crate::exports::Export;
use crate::ks::address::Address;
use crate::ks::misuse;
use crate::ks::objects::{self, Object};
use crate::report::BugCheck;
use ks_io::{Level, RankedMutex};
use std::cell::RefCell;

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
    /// The device mutexes that the thread has taken although it held them, by their addresses, once for each time.
    static NESTED: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

fn nest(mutex: &RankedMutex) {
    NESTED.with_borrow_mut(|nested| nested.push(std::ptr::from_ref(mutex).addr()));
}

/// Ends one nesting of this mutex; false when there is none.
fn unnest(mutex: &RankedMutex) -> bool {
    NESTED.with_borrow_mut(|nested| {
        let at = nested.iter().rposition(|known| *known == std::ptr::from_ref(mutex).addr());
        at.map(|at| nested.swap_remove(at)).is_some()
    })
}

/// Takes the device mutex for the driver.
///
/// Decision: a thread that has it may take it again, because drivers take it in routines that are called with it.
pub(crate) fn acquire_device(mutex: &RankedMutex) {
    if mutex.is_held_by_current() {
        return nest(mutex);
    }
    acquire(mutex, "KsAcquireDevice");
}

/// Gives the device mutex back for the driver.
pub(crate) fn release_device(mutex: &RankedMutex) {
    if !unnest(mutex) {
        release(mutex, "KsReleaseDevice");
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

// ks-coverage: KsPinReleaseProcessingMutex done test=mutexes_keep_other_threads_of_a_driver_out
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

#[cfg(test)]
mod tests {
    use super::*;
    use ks_io::{LockRank, Services};

    /// Drivers that are loaded together have a device each.
    #[test]
    fn each_device_mutex_is_nested_for_itself() {
        let services = Services::real();
        let [one, other] = ["one", "other"].map(|name| services.mutex(LockRank::Device, name));
        one.acquire();
        acquire_device(&one);
        acquire_device(&one);
        assert!(!unnest(&other), "nobody has taken the other");
        release_device(&one);
        release_device(&one);
        assert!(one.is_held_by_current(), "taken three times and given back twice");
        release_device(&one);
        assert!(!one.is_held_by_current());
    }
}
