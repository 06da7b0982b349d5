//! Events of one side that are set by the other.

use super::peer::Inner;
use ks_abi::{
    IoControlCode, KSEVENT_TYPE_ENABLE, KSEVENT_TYPE_ONESHOT, KSEVENTF_EVENT_HANDLE, KsEvent, KsEventData, NtStatus,
    STATUS_INSUFFICIENT_RESOURCES, USERKS_EVENT_PIN_FAILED, USERKS_EVENTSET_PIN,
};
use ks_io::sync::{Mutex, Weak};
use ks_io::{Event, EventObserver};
use ks_wire::{Message, WireError};
use std::collections::HashMap;
use zerocopy::FromBytes;

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
    events: HashMap<u64, (Event, Tells)>,
    last: u64,
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
    pub(super) fn add(&self, event: Event, tells: Tells) -> Result<u64, NtStatus> {
        let mut state = self.state.lock();
        if state.events.len() >= MOST_EVENTS {
            return Err(STATUS_INSUFFICIENT_RESOURCES);
        }
        state.last += 1;
        let number = state.last;
        state.events.insert(number, (event, tells));
        Ok(number)
    }

    pub(super) fn set(&self, number: u64) -> Result<(), WireError> {
        let event = self.state.lock().events.get(&number).cloned();
        event.ok_or(WireError::Protocol("an unknown event was set"))?.0.set();
        Ok(())
    }

    /// The other side is gone: whoever waits for a failure hears of it.
    pub(super) fn fail(&self) {
        let events = std::mem::take(&mut self.state.lock().events);
        for (event, tells) in events.values() {
            if *tells == Tells::Failure {
                event.set();
            }
        }
    }

    pub(super) fn forget(&self, number: u64) -> Result<(), WireError> {
        let event = self.state.lock().events.remove(&number);
        event.map(drop).ok_or(WireError::Protocol("an unknown event was forgotten"))
    }
}

/// The handle of an event that a request enables, where in the data it stands, and what the event tells.
pub(super) fn enabled_event(code: IoControlCode, input: &[u8], data: &[u8]) -> Option<(u32, u64, Tells)> {
    if code != IoControlCode::KS_ENABLE_EVENT {
        return None;
    }
    let (request, _) = KsEvent::read_from_prefix(input).ok()?;
    let (event, _) = KsEventData::read_from_prefix(data).ok()?;
    let enables = request.flags & (KSEVENT_TYPE_ENABLE | KSEVENT_TYPE_ONESHOT) != 0;
    let tells = match (request.set, request.id) {
        (USERKS_EVENTSET_PIN, USERKS_EVENT_PIN_FAILED) => Tells::Failure,
        _ => Tells::Other,
    };
    (enables && event.notification_type == KSEVENTF_EVENT_HANDLE).then_some((HANDLE, event.object, tells))
}

/// Stands for an event of the other side: being set here, it is set there.
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
}

impl Drop for Distant {
    fn drop(&mut self) {
        if let Some(peer) = self.peer.upgrade() {
            peer.send(&Message::ForgetEvent { number: self.number });
        }
    }
}
