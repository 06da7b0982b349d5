//! Process pins: what a filter-centric driver asks of them inside of its process callback, and how the pins of a splitter
//! relate.

use crate::exports;
use crate::exports::Export;
use crate::ks::address::Address;
use crate::ks::misuse::misuse;
use crate::ks::objects;
use crate::report::BugCheck;
use ks_stream::{CopyRelationship, ProcessPins};
use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr;

pub(crate) const EXPORTS: &[Export] = exports!(Ks: KsProcessPinUpdate, KsPinGetCopyRelationships);

thread_local! {
    /// The process pins of the callback that this thread is in, the innermost one; null outside of any.
    static RUNNING: Cell<*const ProcessPins<'static>> = const { Cell::new(ptr::null()) };
}

/// This thread is in a process callback, until it is dropped.
pub(crate) struct Running<'p> {
    before: *const ProcessPins<'static>,
    /// The pins live longer than this.
    pins: PhantomData<&'p ()>,
}

impl<'p> Running<'p> {
    pub(crate) fn enter(pins: &'p ProcessPins<'_>) -> Running<'p> {
        Running { before: RUNNING.replace(ptr::from_ref(pins).cast()), pins: PhantomData }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        RUNNING.set(self.before);
    }
}

/// Takes from a process pin what the driver has used of it, and writes into it what comes next.
// ks-coverage: KsProcessPinUpdate done test=an_update_takes_what_was_used_and_gives_what_comes_next,a_driver_updates_process_pins_and_sees_which_outputs_follow
pub(crate) unsafe extern "win64" fn KsProcessPinUpdate(pin: Address) -> u8 {
    const NAME: &str = "KsProcessPinUpdate";
    let running = RUNNING.get();
    // SAFETY: it is null, or `Running::enter` put it there on this thread out of a reference that lives until the guard
    // takes it away; the pins are used on this thread only, as long as the callback runs.
    let running = unsafe { running.as_ref() };
    match running.and_then(|pins| pins.update_at(pin.0)) {
        Some(may_process) => u8::from(may_process),
        None => {
            let reason = format!("{:#x} is no process pin of a process callback that runs on this thread", pin.0);
            misuse(BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION, NAME, reason);
            0
        }
    }
}

pub(crate) unsafe extern "win64" fn KsPinGetCopyRelationships(pin: Address, source: Address, branch: Address) {
    let pin = objects::pin(pin, "KsPinGetCopyRelationships").and_then(|pin| pin.engine());
    let first = || pin.as_ref().and_then(|pin| pin.first_branch()).map_or(0, |first| first.address());
    let (copied, delegated) = match pin.as_ref().and_then(|pin| pin.copy_relationship()) {
        Some(CopyRelationship::Copied) => (first(), 0),
        Some(CopyRelationship::Delegated) => (0, first()),
        None => (0, 0),
    };
    source.put_optional(copied);
    branch.put_optional(delegated);
}
