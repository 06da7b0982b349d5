//! Events of clients, as a driver sees them: objects of the kernel that it references by a handle and sets by address.

use crate::ntoskrnl::block::Block as KernelBlock;
use crate::ntoskrnl::event;
use crate::ntoskrnl::object_manager::{self, EventChange, Kind, Object, OpenHandle};
use ks_abi::kernel::KEvent;
use ks_abi::{NtStatus, STATUS_INSUFFICIENT_RESOURCES};
use ks_io::Event;
use ks_mem::Block;
use std::sync::{Arc, Mutex, PoisonError};

/// EVENT_ALL_ACCESS: a client can do with its event what it likes.
const ALL_ACCESS: u32 = 0x1F_0003;
/// The most events that a pin has registered.
const MOST_REGISTERED: usize = 64;

/// An event of a client of the engine's, as an object that a driver has a handle of. What the driver sets, clears and pulses
/// is set, cleared and pulsed for the client; what it reads and waits for is the KEVENT only, because the client's event may
/// be in another process.
pub(crate) struct ClientEvent {
    event: Event,
    object: Block,
}

impl ClientEvent {
    /// A handle for the event; whoever needs the object longer references it.
    pub(crate) fn open(event: Event) -> Result<OpenHandle, NtStatus> {
        let object = Block::zeroed(size_of::<KEvent>(), 16).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        // SAFETY: the memory is as large as a KEVENT, and lives as long as the object that is published below.
        event::initialize_for_another(unsafe { KernelBlock::at(object.address() as *mut u8) });
        Ok(OpenHandle::new(Arc::new(ClientEvent { event, object }), ALL_ACCESS))
    }

    /// The same, and the address of the KEVENT, which is good as long as the handle is.
    pub(crate) fn open_with_address(event: Event) -> Result<(OpenHandle, u64), NtStatus> {
        let handle = ClientEvent::open(event)?;
        let address = object_manager::by_handle(handle.handle()).map_or(0, |object| object.address() as u64);
        Ok((handle, address))
    }

    /// The client's.
    pub(crate) fn event(&self) -> &Event {
        &self.event
    }
}

impl Object for ClientEvent {
    fn kind(&self) -> Kind {
        Kind::Event
    }

    fn address(&self) -> *mut u8 {
        self.object.address() as *mut u8
    }

    fn was_changed(&self, change: EventChange) {
        match change {
            EventChange::Set => self.event.set(),
            EventChange::Clear => self.event.clear(),
            EventChange::Pulse => self.event.pulse(),
        }
    }
}

/// Events that clients have registered with a pin: by the client's handle, the one that the driver knows. Each handle is good
/// until the event is taken back or the pin is closed.
#[derive(Default)]
pub(crate) struct ClientEvents(Mutex<Vec<(u64, OpenHandle)>>);

impl ClientEvents {
    fn with<T>(&self, work: impl FnOnce(&mut Vec<(u64, OpenHandle)>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The driver's handle for an event that is registered.
    pub(crate) fn handle(&self, theirs: u64) -> Option<u64> {
        self.with(|events| events.iter().find(|(known, _)| *known == theirs).map(|(_, own)| own.handle()))
    }

    /// Is there room for another?
    pub(crate) fn has_room(&self) -> bool {
        self.with(|events| events.len() < MOST_REGISTERED)
    }

    /// The driver has taken an event.
    pub(crate) fn add(&self, theirs: u64, own: OpenHandle) {
        self.with(|events| events.push((theirs, own)));
    }

    /// The driver has given an event back.
    pub(crate) fn remove(&self, theirs: u64) {
        let gone = self.with(|events| {
            let at = events.iter().position(|(known, _)| *known == theirs)?;
            Some(events.remove(at))
        });
        drop(gone);
    }

    /// The pin is closed.
    pub(crate) fn forget(&self) {
        let gone = self.with(std::mem::take);
        drop(gone);
    }
}
