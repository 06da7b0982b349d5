//! The event engine: enabling, disabling and raising events of an object.
//!
//! Source: nf-ks-ksenableevent, nf-ks-ksdisableevent, ns-ks-kseventdata, ni-ks-ioctl_ks_enable_event.

use ks_abi::{
    Guid, IoControlCode, KSEVENT_TYPE_BASICSUPPORT, KSEVENT_TYPE_ENABLE, KSEVENT_TYPE_ENABLEBUFFERED,
    KSEVENT_TYPE_ONESHOT, KSEVENT_TYPE_QUERYBUFFER, KSEVENT_TYPE_SETSUPPORT, KSEVENT_TYPE_TOPOLOGY,
    KSEVENTF_EVENT_HANDLE, KsEvent, KsEventData, STATUS_BUFFER_TOO_SMALL, STATUS_INVALID_BUFFER_SIZE,
    STATUS_INVALID_PARAMETER, STATUS_NOT_FOUND, STATUS_NOT_IMPLEMENTED, STATUS_PROPSET_NOT_FOUND, STATUS_SUCCESS,
    STATUS_UNSUCCESSFUL,
};
use ks_io::sync::Mutex;
use ks_io::{Dispatched, Event, Irp};
use zerocopy::{FromBytes, IntoBytes};

/// The events that an object can raise, as (set, item).
pub(crate) type EventTable = [(Guid, u32)];

/// The enabled events of one object. All of them go when its file object is closed.
#[derive(Debug, Default)]
pub(crate) struct EventList {
    entries: Mutex<Vec<EventEntry>>,
}

#[derive(Debug)]
#[doc(alias = "KSEVENT_ENTRY")]
struct EventEntry {
    /// The client's address of its KSEVENTDATA: the identity of the event.
    token: u64,
    client: u64,
    set: Guid,
    id: u32,
    oneshot: bool,
    event: Event,
}

/// The most events that one object holds.
const MOST_EVENTS: usize = 256;

/// What a request may ask for and no object answers yet: buffered events, and events of nodes.
const NOT_BUILT: u32 = KSEVENT_TYPE_ENABLEBUFFERED | KSEVENT_TYPE_QUERYBUFFER | KSEVENT_TYPE_TOPOLOGY;

impl EventList {
    /// Answers IOCTL_KS_ENABLE_EVENT. Without input it is the question which sets there are.
    // ks-coverage: KsEnableEvent done test=an_enabled_event_signals_until_it_is_disabled
    // ks-coverage: IOCTL_KS_ENABLE_EVENT done test=an_enabled_event_signals_until_it_is_disabled
    #[doc(alias = "KsEnableEvent")]
    pub(crate) fn enable(&self, mut irp: Irp, table: &EventTable) -> Dispatched {
        let token = irp.output_token();
        let parts = irp.parts();
        let request = match KsEvent::read_from_prefix(parts.input) {
            Ok((request, _)) => request,
            Err(_) if parts.input.is_empty() => KsEvent::new(Guid::NULL, 0, KSEVENT_TYPE_SETSUPPORT),
            Err(_) => return irp.done(STATUS_INVALID_BUFFER_SIZE),
        };
        let known_set = table.iter().any(|(set, _)| *set == request.set);
        let known = table.contains(&(request.set, request.id));
        let oneshot = request.flags & KSEVENT_TYPE_ONESHOT != 0;
        let status = match request.flags {
            KSEVENT_TYPE_SETSUPPORT if request.set.is_null() => {
                let mut sets: Vec<Guid> = table.iter().map(|(set, _)| *set).collect();
                sets.dedup();
                parts.output.answer(sets.as_slice().as_bytes())
            }
            _ if !known_set => STATUS_PROPSET_NOT_FOUND,
            KSEVENT_TYPE_SETSUPPORT => STATUS_SUCCESS,
            _ if !known => STATUS_NOT_FOUND,
            KSEVENT_TYPE_BASICSUPPORT => STATUS_SUCCESS,
            KSEVENT_TYPE_ENABLE | KSEVENT_TYPE_ONESHOT => match KsEventData::read_from_prefix(parts.output.data()) {
                Err(_) => STATUS_BUFFER_TOO_SMALL,
                Ok((data, _)) if data.notification_type != KSEVENTF_EVENT_HANDLE || data.data != [0, 0] => {
                    STATUS_INVALID_PARAMETER
                }
                Ok((data, _)) => match parts.file.upgrade().and_then(|file| file.event_by_handle(data.object)) {
                    None => ks_abi::STATUS_INVALID_HANDLE,
                    Some(event) => {
                        let client = parts.origin.client();
                        self.add(EventEntry { token, client, set: request.set, id: request.id, oneshot, event })
                    }
                },
            },
            flags if flags & NOT_BUILT != 0 => STATUS_NOT_IMPLEMENTED,
            _ => STATUS_INVALID_PARAMETER,
        };
        irp.done(status)
    }

    fn add(&self, entry: EventEntry) -> ks_abi::NtStatus {
        let mut entries = self.entries.lock();
        if entries.len() >= MOST_EVENTS {
            return ks_abi::STATUS_INSUFFICIENT_RESOURCES;
        }
        entries.push(entry);
        STATUS_SUCCESS
    }

    /// Answers IOCTL_KS_DISABLE_EVENT: the one whose KSEVENTDATA stands at the input's address, or all of the client's
    /// when there is no input.
    // ks-coverage: KsDisableEvent done test=an_enabled_event_signals_until_it_is_disabled,no_input_disables_every_event_of_the_object
    // ks-coverage: IOCTL_KS_DISABLE_EVENT done test=an_enabled_event_signals_until_it_is_disabled,no_input_disables_every_event_of_the_object
    #[doc(alias = "KsDisableEvent")]
    pub(crate) fn disable(&self, mut irp: Irp) -> Dispatched {
        let token = irp.input_token();
        let parts = irp.parts();
        let (client, all) = (parts.origin.client(), parts.input.is_empty());
        let mut entries = self.entries.lock();
        let before = entries.len();
        entries.retain(|entry| entry.client != client || !(all || entry.token == token));
        let found = all || entries.len() < before;
        drop(entries);
        irp.done(if found { STATUS_SUCCESS } else { STATUS_UNSUCCESSFUL })
    }

    /// Raises every enabled event of this set and item.
    // ks-coverage: KsGenerateEventList done test=an_enabled_event_signals_until_it_is_disabled
    #[doc(alias = "KsGenerateEventList")]
    pub(crate) fn generate(&self, set: Guid, id: u32) {
        let mut entries = self.entries.lock();
        entries.retain(|entry| {
            let hit = entry.set == set && entry.id == id;
            if hit {
                entry.event.set();
            }
            !(hit && entry.oneshot)
        });
    }

    /// Forgets every event.
    // ks-coverage: KsFreeEventList done test=closing_a_pin_frees_its_events
    #[doc(alias = "KsFreeEventList")]
    pub(crate) fn free(&self) {
        self.entries.lock().clear();
    }
}

/// True for the codes that this file answers.
pub(crate) fn is_event_code(code: IoControlCode) -> bool {
    matches!(code, IoControlCode::KS_ENABLE_EVENT | IoControlCode::KS_DISABLE_EVENT)
}
