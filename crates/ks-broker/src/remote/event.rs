//! Events of one side that are set by the other.

use super::peer::Inner;
use ks_abi::{
    IoControlCode, KSEVENT_TYPE_ENABLE, KSEVENT_TYPE_ONESHOT, KSEVENTF_EVENT_HANDLE, KsEvent, KsEventData, NtStatus,
    STATUS_INSUFFICIENT_RESOURCES,
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
    events: HashMap<u64, Event>,
    last: u64,
}

impl Events {
    pub(super) fn add(&self, event: Event) -> Result<u64, NtStatus> {
        let mut state = self.state.lock();
        if state.events.len() >= MOST_EVENTS {
            return Err(STATUS_INSUFFICIENT_RESOURCES);
        }
        state.last += 1;
        let number = state.last;
        state.events.insert(number, event);
        Ok(number)
    }

    pub(super) fn set(&self, number: u64) -> Result<(), WireError> {
        let event = self.state.lock().events.get(&number).cloned();
        event.ok_or(WireError::Protocol("an unknown event was set"))?.set();
        Ok(())
    }

    pub(super) fn forget(&self, number: u64) -> Result<(), WireError> {
        let event = self.state.lock().events.remove(&number);
        event.map(drop).ok_or(WireError::Protocol("an unknown event was forgotten"))
    }
}

/// The handle of an event that a request enables, and where in the data it stands.
pub(super) fn enabled_event(code: IoControlCode, input: &[u8], data: &[u8]) -> Option<(u32, u64)> {
    if code != IoControlCode::KS_ENABLE_EVENT {
        return None;
    }
    let (request, _) = KsEvent::read_from_prefix(input).ok()?;
    let (event, _) = KsEventData::read_from_prefix(data).ok()?;
    let enables = request.flags & (KSEVENT_TYPE_ENABLE | KSEVENT_TYPE_ONESHOT) != 0;
    (enables && event.notification_type == KSEVENTF_EVENT_HANDLE).then_some((HANDLE, event.object))
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
