//! Events.

use std::sync::atomic::Ordering;

use super::block::Block;
use super::dispatcher::{self, Kind, initialize, signal};
use super::object_manager::{self, EventChange};
use super::{irql, scheduler};
use crate::exports;
use crate::exports::Export;
use crate::report::{self, BugCheck};

pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    KeInitializeEvent, KeSetEvent, KeClearEvent, KeResetEvent, KeReadStateEvent, KePulseEvent,
);

/// Size of a KEVENT.
const EVENT_BYTES: usize = 24;

/// Makes a KEVENT; `kind` is an EVENT_TYPE, which is the type byte of the header too.
pub(crate) unsafe extern "win64" fn KeInitializeEvent(event: Block, kind: u32, state: u8) {
    if dispatcher::lock().is_waited_for(event) {
        report::misuse(
            BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION,
            "KeInitializeEvent",
            format!("a thread waits for the event at {:#x}, which is initialized again", event.address()),
        );
    }
    let kind = if kind == 0 { Kind::NOTIFICATION_EVENT } else { Kind::SYNCHRONIZATION_EVENT };
    initialize(event, kind, EVENT_BYTES, i32::from(state != 0));
}

// The priority increment means nothing here. `wait` promises that a wait follows at once: nothing depends on it.
pub(crate) unsafe extern "win64" fn KeSetEvent(event: Block, _increment: i32, _wait: u8) -> i32 {
    irql::at_most(irql::DISPATCH, "KeSetEvent");
    let before = set(event);
    scheduler::preempt();
    before
}

/// The byte of a header that the kernel may use for itself, and what stands there in an event that stands for one of a
/// client.
const OWN_BYTE: usize = 3;
const STANDS_FOR_ANOTHER: u8 = 0x5A;

/// Writes the KEVENT of an object which hears of each change, see [`object_manager::Object::was_changed`].
pub(crate) fn initialize_for_another(event: Block) {
    initialize(event, Kind::NOTIFICATION_EVENT, EVENT_BYTES, 0);
    event.put(OWN_BYTE, STANDS_FOR_ANOTHER);
}

/// Tells the object that an event stands for. A driver can write the mark itself; who it is about, the table knows.
fn tell_other(event: Block, change: EventChange) {
    if event.get::<u8>(OWN_BYTE) == STANDS_FOR_ANOTHER
        && let Some(object) = object_manager::by_address(event.pointer())
    {
        object.was_changed(change);
    }
}

/// Sets an event; returns its state before.
pub(crate) fn set(event: Block) -> i32 {
    tell_other(event, EventChange::Set);
    set_here(event)
}

/// Sets the KEVENT at this address, which stands for an event that was set already.
pub(crate) fn show_set(event: u64) {
    let object = object_manager::by_address(event as *mut u8);
    if let Some(object) = object.filter(|object| object.kind() == object_manager::Kind::Event) {
        // SAFETY: an event of the table is a KEVENT, and lives as long as `object`.
        let event = unsafe { Block::at(object.address()) };
        if event.get::<u8>(OWN_BYTE) == STANDS_FOR_ANOTHER {
            set_here(event);
        }
    }
}

fn set_here(event: Block) -> i32 {
    let mut dispatcher = dispatcher::lock();
    let before = signal(event).swap(1, Ordering::AcqRel);
    if before == 0 {
        dispatcher.signalled(event);
    }
    before
}

pub(crate) unsafe extern "win64" fn KeClearEvent(event: Block) {
    tell_other(event, EventChange::Clear);
    let _dispatcher = dispatcher::lock();
    signal(event).store(0, Ordering::Release);
}

pub(crate) unsafe extern "win64" fn KeResetEvent(event: Block) -> i32 {
    tell_other(event, EventChange::Clear);
    let _dispatcher = dispatcher::lock();
    signal(event).swap(0, Ordering::AcqRel)
}

pub(crate) unsafe extern "win64" fn KeReadStateEvent(event: Block) -> i32 {
    signal(event).load(Ordering::Acquire)
}

/// Lets go who waits now, and leaves the event clear.
pub(crate) unsafe extern "win64" fn KePulseEvent(event: Block, _increment: i32, _wait: u8) -> i32 {
    irql::at_most(irql::DISPATCH, "KePulseEvent");
    tell_other(event, EventChange::Pulse);
    let mut dispatcher = dispatcher::lock();
    let before = signal(event).swap(1, Ordering::AcqRel);
    if before == 0 {
        dispatcher.signalled(event);
    }
    signal(event).store(0, Ordering::Release);
    before
}
