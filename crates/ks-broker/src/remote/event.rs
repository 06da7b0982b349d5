//! Events of one side that are set by the other.

use super::peer::Inner;
use ks_abi::{
    IoControlCode, KSEVENT_TYPE_ENABLE, KSEVENT_TYPE_ENABLEBUFFERED, KSEVENT_TYPE_ONESHOT, KSEVENTF_EVENT_HANDLE,
    KSEVENTF_SEMAPHORE_HANDLE, KsEvent, KsEventData, NtStatus, STATUS_INSUFFICIENT_RESOURCES, USERKS_EVENT_PIN_FAILED,
    USERKS_EVENTSET_PIN,
};
use ks_io::sync::{Mutex, Weak};
use ks_io::{Event, EventObserver, Semaphore};
use ks_wire::{Message, WireError};
use std::collections::HashMap;
use zerocopy::{FromBytes, IntoBytes};

/// The most events that the other side can set.
const MOST_EVENTS: usize = 1 << 16;
/// Where the handle stands in a KSEVENTDATA.
const HANDLE: u32 = 8;

/// Events of this side, by the number that the other sets them under.
#[derive(Default)]
pub(super) struct Events {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    events: HashMap<u64, (Notified, Tells)>,
    last: u64,
}

/// What the other side does to an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Set,
    Clear,
    Pulse,
}

/// What is signalled when the other side sets an event.
#[derive(Debug, Clone)]
pub(super) enum Notified {
    Event(Event),
    /// It is released by so much.
    Semaphore(Semaphore, u32),
}

impl Notified {
    fn change(&self, change: Change) {
        match (self, change) {
            (Notified::Event(event), Change::Set) => event.set(),
            (Notified::Event(event), Change::Clear) => event.clear(),
            (Notified::Event(event), Change::Pulse) => event.pulse(),
            // What was released stays released.
            (Notified::Semaphore(..), Change::Clear) => {}
            (Notified::Semaphore(semaphore, adjustment), Change::Set | Change::Pulse) => {
                // A full one has as much to take as its client has asked for.
                let _ = semaphore.release(*adjustment);
            }
        }
    }
}

/// What an event tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tells {
    /// That streaming failed for good, which the end of the other side is too.
    Failure,
    /// The rest.
    Other,
}

impl Events {
    pub(super) fn add(&self, event: Notified, tells: Tells) -> Result<u64, NtStatus> {
        let mut state = self.state.lock();
        if state.events.len() >= MOST_EVENTS {
            return Err(STATUS_INSUFFICIENT_RESOURCES);
        }
        state.last += 1;
        let number = state.last;
        state.events.insert(number, (event, tells));
        Ok(number)
    }

    pub(super) fn change(&self, number: u64, change: Change) -> Result<(), WireError> {
        let event = self.state.lock().events.get(&number).cloned();
        event.ok_or(WireError::Protocol("an unknown event was changed"))?.0.change(change);
        Ok(())
    }

    /// The other side is gone: whoever waits for a failure hears of it.
    pub(super) fn fail(&self) {
        let events = std::mem::take(&mut self.state.lock().events);
        for (event, tells) in events.values() {
            if *tells == Tells::Failure {
                event.change(Change::Set);
            }
        }
    }

    pub(super) fn forget(&self, number: u64) -> Result<(), WireError> {
        let event = self.state.lock().events.remove(&number);
        event.map(drop).ok_or(WireError::Protocol("an unknown event was forgotten"))
    }
}

/// What a request that enables an event has notified.
pub(super) struct Enabled {
    /// Where in the data the handle stands.
    pub(super) offset: u32,
    pub(super) handle: u64,
    /// By how much it is released, for a semaphore.
    pub(super) adjustment: Option<u32>,
    pub(super) tells: Tells,
}

/// The object that a request has notified by its handle. The reserved members and the adjustment are the engine's to
/// check where the event is; what it would refuse is left for it to see.
pub(super) fn enabled_event(code: IoControlCode, input: &[u8], data: &[u8]) -> Option<Enabled> {
    const ENABLES: u32 = KSEVENT_TYPE_ENABLE | KSEVENT_TYPE_ONESHOT | KSEVENT_TYPE_ENABLEBUFFERED;
    if code != IoControlCode::KS_ENABLE_EVENT {
        return None;
    }
    let (request, _) = KsEvent::read_from_prefix(input).ok()?;
    let (event, _) = KsEventData::read_from_prefix(data).ok()?;
    if request.flags & ENABLES == 0 {
        return None;
    }
    let adjustment = match event.notification_type {
        KSEVENTF_EVENT_HANDLE => None,
        KSEVENTF_SEMAPHORE_HANDLE => Some(semaphore_adjustment(&event)?),
        _ => return None,
    };
    let tells = match (request.set, request.id) {
        (USERKS_EVENTSET_PIN, USERKS_EVENT_PIN_FAILED) => Tells::Failure,
        _ => Tells::Other,
    };
    Some(Enabled { offset: HANDLE, handle: event.object, adjustment, tells })
}

/// By how much event data releases its semaphore, if its members are in order.
fn semaphore_adjustment(event: &KsEventData) -> Option<u32> {
    let adjustment = u32::try_from((event.data[0] >> 32) as i32).ok()?;
    (event.data[0] as u32 == 0 && event.data[1] == 0 && adjustment > 0).then_some(adjustment)
}

/// Event data that names an event where it named a semaphore: what the other side sets, this side releases.
pub(super) fn name_an_event(data: &mut [u8]) {
    if let Ok((mut event, _)) = KsEventData::read_from_prefix(data) {
        event.notification_type = KSEVENTF_EVENT_HANDLE;
        event.data = [0, 0];
        data[..size_of::<KsEventData>()].copy_from_slice(event.as_bytes());
    }
}

/// Stands for an event of the other side: what happens to it here happens to that there.
pub(super) struct Distant {
    pub(super) peer: Weak<Inner>,
    pub(super) number: u64,
}

impl EventObserver for Distant {
    fn event_set(&self) {
        if let Some(peer) = self.peer.upgrade() {
            peer.send(&Message::SetEvent { number: self.number });
        }
    }

    fn event_cleared(&self) {
        if let Some(peer) = self.peer.upgrade() {
            peer.send(&Message::ClearEvent { number: self.number });
        }
    }

    fn event_pulsed(&self) {
        if let Some(peer) = self.peer.upgrade() {
            peer.send(&Message::PulseEvent { number: self.number });
        }
    }
}

impl Drop for Distant {
    fn drop(&mut self) {
        if let Some(peer) = self.peer.upgrade() {
            peer.send(&Message::ForgetEvent { number: self.number });
        }
    }
}
