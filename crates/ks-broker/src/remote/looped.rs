//! Looped pins across processes: what KSPROPSETID_RtAudio shares between a client and the driver of its pin.
//!
//! An answer with addresses leaves the process of the driver as places in an announced region, and has addresses again
//! where it arrives. An event that a client registers stands in the process of the driver under the client's own handle until
//! it is unregistered or its pin is closed: the driver is asked with the same handle both times.

use super::event::{Distant, Notified, Tells};
use super::file::RemoteFile;
use super::peer::Inner;
use super::serve::Lent;
use ks_abi::{
    IoControlCode, KSPROPERTY_RTAUDIO_BUFFER, KSPROPERTY_RTAUDIO_BUFFER_WITH_NOTIFICATION,
    KSPROPERTY_RTAUDIO_CLOCKREGISTER, KSPROPERTY_RTAUDIO_GETPOSITIONFUNCTION, KSPROPERTY_RTAUDIO_PACKETVREGISTER,
    KSPROPERTY_RTAUDIO_POSITIONREGISTER, KSPROPERTY_RTAUDIO_REGISTER_NOTIFICATION_EVENT,
    KSPROPERTY_RTAUDIO_UNREGISTER_NOTIFICATION_EVENT, KSPROPERTY_TYPE_GET, KSPROPERTY_TYPE_SET, KSPROPSETID_RtAudio,
    KsProperty, KsRtAudioBuffer, KsRtAudioHwRegister, KsRtAudioPacketVRegister, NtStatus, STATUS_DEVICE_PROTOCOL_ERROR,
    STATUS_DEVICE_REMOVED, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_HANDLE,
    STATUS_NOT_SUPPORTED,
};
use ks_io::sync::{Arc, Mutex};
use ks_io::{Aspect, EventKind, FileObject, Irp, Refusal, Session, Signal};
use ks_mem::{Frame, RegionOwner};
use ks_wire::{Embedded, FramePart};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use zerocopy::FromBytes;

/// Where a KSRTAUDIO_NOTIFICATION_EVENT_PROPERTY has its handle.
const EVENT: usize = size_of::<KsProperty>();
/// The most answers with addresses that a file object gets: a buffer and three pages of registers, and no more.
const MOST_MAPPED: usize = 16;
/// The most events that the other side has registered at a time.
const MOST_REGISTERED: usize = 1 << 12;

/// The property of KSPROPSETID_RtAudio that a request gets or sets.
fn property(code: IoControlCode, input: &[u8], verbs: u32) -> Option<u32> {
    if code != IoControlCode::KS_PROPERTY {
        return None;
    }
    // A message has it at any address.
    let (property, _) = KsProperty::read_from_prefix(input).ok()?;
    (property.set == KSPROPSETID_RtAudio && property.flags & verbs != 0).then_some(property.id)
}

/// Does a request ask for the address of a routine of the driver's?
pub(super) fn asks_for_routine(input: &[u8]) -> bool {
    let verbs = KSPROPERTY_TYPE_GET | KSPROPERTY_TYPE_SET;
    property(IoControlCode::KS_PROPERTY, input, verbs) == Some(KSPROPERTY_RTAUDIO_GETPOSITIONFUNCTION)
}

/// An answer that has addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mapped {
    Buffer,
    Register,
    Packets,
}

impl Mapped {
    /// What the answer of a request will have.
    pub(super) fn of(code: IoControlCode, input: &[u8]) -> Option<Mapped> {
        match property(code, input, KSPROPERTY_TYPE_GET)? {
            KSPROPERTY_RTAUDIO_BUFFER | KSPROPERTY_RTAUDIO_BUFFER_WITH_NOTIFICATION => Some(Mapped::Buffer),
            KSPROPERTY_RTAUDIO_POSITIONREGISTER | KSPROPERTY_RTAUDIO_CLOCKREGISTER => Some(Mapped::Register),
            KSPROPERTY_RTAUDIO_PACKETVREGISTER => Some(Mapped::Packets),
            _ => None,
        }
    }

    /// Where in an answer its addresses stand, and how many bytes are at each. `None`: the answer is none.
    fn pieces(self, answer: &[u8]) -> Option<Vec<(usize, u32)>> {
        match self {
            Mapped::Buffer => {
                let (buffer, _) = KsRtAudioBuffer::read_from_prefix(answer).ok()?;
                Some(vec![(0, buffer.actual_buffer_size)])
            }
            Mapped::Register => {
                let (register, _) = KsRtAudioHwRegister::read_from_prefix(answer).ok()?;
                Some(vec![(0, register.width.div_ceil(8))])
            }
            Mapped::Packets => {
                let whole = answer.len() >= size_of::<KsRtAudioPacketVRegister>();
                whole.then(|| vec![(0, 8), (8, 8), (16, 8)])
            }
        }
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

fn put(bytes: &mut [u8], at: usize, value: u64) {
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = value.to_le_bytes();
    }
}

/// Why an answer does not leave its process.
pub(super) fn not_shared() -> Refusal {
    let reason = "the driver answers with memory that no other process can map: pages of MmAllocatePagesForMdlEx that are \
                  mapped for user mode can be";
    Refusal::new(STATUS_NOT_SUPPORTED, Aspect::Device, reason)
}

impl Inner {
    /// Makes the addresses of an answer to a client of this side's engine places in one announced region.
    pub(super) fn places_for_addresses(&self, mapped: Mapped, client: u64, answer: &mut [u8]) -> Result<u64, NtStatus> {
        let mut region = None;
        for (at, bytes) in mapped.pieces(answer).ok_or(STATUS_DEVICE_PROTOCOL_ERROR)? {
            let address = number(answer, at).unwrap_or_default();
            let frame = self.io.regions().resolve_for(client, address, bytes as usize).filter(Frame::is_shared);
            let part = self.memory.place(&frame.ok_or(STATUS_NOT_SUPPORTED)?, &self.sender).map_err(|error| {
                self.break_off(error);
                STATUS_DEVICE_REMOVED
            })?;
            if *region.get_or_insert(part.region) != part.region {
                return Err(STATUS_NOT_SUPPORTED);
            }
            put(answer, at, part.offset);
        }
        self.registered.mapped.store(true, Ordering::Relaxed);
        region.ok_or(STATUS_DEVICE_PROTOCOL_ERROR)
    }

    /// Makes the places of an answer addresses of this process, which the client that asked can name from then on as long as
    /// the file object is open. An error is the other side's fault.
    pub(super) fn addresses_for_places(
        &self,
        mapped: Mapped,
        irp: &Irp,
        region: u64,
        answer: &mut [u8],
    ) -> Result<(), NtStatus> {
        let file = irp.file_object().and_then(|file| file.object_as::<RemoteFile>()).ok_or(STATUS_DEVICE_REMOVED)?;
        for (at, bytes) in mapped.pieces(answer).ok_or(STATUS_DEVICE_PROTOCOL_ERROR)? {
            let offset = number(answer, at).unwrap_or_default();
            let frame = self.memory.find(FramePart { region, offset, bytes }).ok().flatten();
            let frame = frame.ok_or(STATUS_DEVICE_PROTOCOL_ERROR)?;
            self.io.regions().register_for(RegionOwner::Client(irp.origin().client()), frame.region());
            put(answer, at, frame.address());
            if !file.keep(frame, MOST_MAPPED) {
                return Err(STATUS_DEVICE_PROTOCOL_ERROR);
            }
        }
        Ok(())
    }

    /// Gives the driver a handle of its own engine for an event that a client registers or takes back, in the input of the
    /// request.
    pub(super) fn registered_event(
        &self,
        session: &Arc<Session>,
        file: u64,
        embedded: Embedded,
        input: &mut Cow<'_, [u8]>,
    ) -> Result<Option<Registration>, NtStatus> {
        let Embedded::Registered(offset, event) = embedded else { return Ok(None) };
        let at = offset as usize;
        let key = (file, number(input, at).ok_or(STATUS_INVALID_BUFFER_SIZE)?);
        // Made in any case: dropping it tells the other side that its number is free.
        let distant = (event != 0).then(|| {
            let observer = Box::new(Distant { peer: self.me.clone(), number: event });
            self.io.services().observed_event(EventKind::Notification, Signal::Clear, observer)
        });
        let known = self.registered.handle(key);
        let (handle, ends_with) = match (known, distant) {
            (Some(handle), None) => (handle, Some(Ends::Success)),
            // Registered twice: the driver sees the handle that it knows.
            (Some(handle), Some(_)) => (handle, None),
            (None, None) => (0, None),
            (None, Some(event)) => {
                let lent = Lent::event(session, &event)?;
                let handle = lent.handle();
                self.registered.add(key, lent)?;
                (handle, Some(Ends::Failure))
            }
        };
        put(input.to_mut(), at, handle);
        Ok(ends_with.map(|ends_with| Registration { key, ends_with }))
    }

    /// A request that registers or takes back an event has ended.
    pub(super) fn registration_ended(&self, registration: Registration, status: NtStatus) {
        let ended = if status.is_success() { Ends::Success } else { Ends::Failure };
        if ended == registration.ends_with {
            drop(self.registered.remove(registration.key));
        }
    }
}

/// What a request does to a registration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Registration {
    key: (u64, u64),
    /// How the request has to end for the event to be registered no more.
    ends_with: Ends,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    Success,
    Failure,
}

/// What clients of the other side have of looped pins here: events, by file object and by the client's handle.
#[derive(Default)]
pub(super) struct Registered {
    events: Mutex<BTreeMap<(u64, u64), Lent>>,
    /// Addresses of this side were answered with.
    mapped: AtomicBool,
}

impl Registered {
    fn handle(&self, key: (u64, u64)) -> Option<u64> {
        self.events.lock().get(&key).map(Lent::handle)
    }

    fn add(&self, key: (u64, u64), event: Lent) -> Result<(), NtStatus> {
        let mut registered = self.events.lock();
        if registered.len() >= MOST_REGISTERED {
            drop(registered);
            return Err(STATUS_INSUFFICIENT_RESOURCES);
        }
        let before = registered.insert(key, event);
        drop(registered);
        drop(before);
        Ok(())
    }

    fn remove(&self, key: (u64, u64)) -> Option<Lent> {
        self.events.lock().remove(&key)
    }

    /// A file object is closed: its events go.
    pub(super) fn forget(&self, file: u64) {
        let mut registered = self.events.lock();
        let mut of_file = registered.split_off(&(file, 0));
        let mut others = file.checked_add(1).map_or_else(BTreeMap::new, |next| of_file.split_off(&(next, 0)));
        registered.append(&mut others);
        drop(registered);
        drop(of_file);
    }

    /// The connection has ended.
    pub(super) fn clear(&self) {
        let registered = std::mem::take(&mut *self.events.lock());
        drop(registered);
    }
}

impl RemoteFile {
    /// The event that a request registers or takes back; its handle stays in the input as the name of the registration.
    pub(super) fn registers(
        events: &super::event::Events,
        file: &FileObject,
        code: IoControlCode,
        input: &[u8],
    ) -> Result<Option<Embedded>, NtStatus> {
        let Some(id) = property(code, input, KSPROPERTY_TYPE_GET | KSPROPERTY_TYPE_SET) else { return Ok(None) };
        let Some(handle) = number(input, EVENT) else { return Ok(None) };
        let event = match id {
            KSPROPERTY_RTAUDIO_REGISTER_NOTIFICATION_EVENT => {
                let event = file.event_by_handle(handle).ok_or(STATUS_INVALID_HANDLE)?;
                events.add(Notified::Event(event), Tells::Other)?
            }
            KSPROPERTY_RTAUDIO_UNREGISTER_NOTIFICATION_EVENT => 0,
            _ => return Ok(None),
        };
        Ok(Some(Embedded::Registered(EVENT as u32, event)))
    }
}

/// A file object is closed: the other side hears of memory that went with it. Frames of circuits are left for the next
/// announcement.
pub(super) fn retire(peer: &Inner) {
    if peer.registered.mapped.load(Ordering::Relaxed)
        && let Err(error) = peer.memory.retire(&peer.sender)
    {
        peer.break_off(error);
    }
}
