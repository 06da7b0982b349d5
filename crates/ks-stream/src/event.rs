//! The event engine: enabling, disabling and raising events of an object.
//!
//! Source: nf-ks-ksenableevent, nf-ks-ksdisableevent, ns-ks-kseventdata, ni-ks-ioctl_ks_enable_event.

use crate::automation::{AutomationTable, EventItem};
use crate::property;
use ks_abi::{
    Guid, IoControlCode, KSEVENT_TYPE_BASICSUPPORT, KSEVENT_TYPE_ENABLE, KSEVENT_TYPE_ENABLEBUFFERED,
    KSEVENT_TYPE_ONESHOT, KSEVENT_TYPE_QUERYBUFFER, KSEVENT_TYPE_SETSUPPORT, KSEVENT_TYPE_TOPOLOGY,
    KSEVENTF_EVENT_HANDLE, KsEvent, KsEventData, NtStatus, STATUS_BUFFER_TOO_SMALL, STATUS_INVALID_BUFFER_SIZE,
    STATUS_INVALID_PARAMETER, STATUS_NOT_FOUND, STATUS_NOT_IMPLEMENTED, STATUS_PROPSET_NOT_FOUND, STATUS_SUCCESS,
    STATUS_UNSUCCESSFUL,
};
use ks_io::sync::Mutex;
use ks_io::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use ks_io::{Dispatched, Event, Irp, IrpParts};
use zerocopy::FromBytes;

/// The events that an object can raise by the class driver, as (set, item).
pub(crate) type EventTable = [(Guid, u32)];

/// The enabled events of one object. All of them go when its file object is closed.
#[derive(Debug, Default)]
pub(crate) struct EventList {
    entries: Mutex<Vec<EventEntry>>,
    next: AtomicU64,
}

#[derive(Debug)]
#[doc(alias = "KSEVENT_ENTRY")]
struct EventEntry {
    token: EventToken,
    /// The client's address of its KSEVENTDATA: the identity of the event.
    address: u64,
    client: u64,
    set: Guid,
    id: u32,
    oneshot: bool,
    /// A one-shot event that was raised: for its client it is gone; it stays for the minidriver to be told, who may be
    /// raising it where it cannot be called.
    spent: AtomicBool,
    event: Event,
}

/// Number of an enabled event on its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventToken(u64);

impl EventToken {
    /// The number.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// An event that a client wants to enable, as the minidriver is asked.
#[derive(Debug)]
pub struct EventRequest<'a> {
    identifier: KsEvent,
    token: EventToken,
    request: &'a [u8],
    data: &'a [u8],
}

impl EventRequest<'_> {
    /// Set, item and flags.
    pub fn event(&self) -> KsEvent {
        self.identifier
    }

    /// What names the event once it is enabled.
    pub fn token(&self) -> EventToken {
        self.token
    }

    /// The request bytes, `KSEVENT` included.
    pub fn request(&self) -> &[u8] {
        self.request
    }

    /// The event data, `KSEVENTDATA` included.
    pub fn data(&self) -> &[u8] {
        self.data
    }
}

/// The most events that one object holds.
const MOST_EVENTS: usize = 256;

/// What a request may ask for and no object answers yet: buffered events, and events of nodes.
const NOT_BUILT: u32 = KSEVENT_TYPE_ENABLEBUFFERED | KSEVENT_TYPE_QUERYBUFFER | KSEVENT_TYPE_TOPOLOGY;

/// Where an event stands that a request asks for.
enum Known<'t, T> {
    NoSet,
    NoItem,
    BuiltIn,
    Drivers(&'t EventItem<T>),
}

fn find<'t, T>(request: &KsEvent, built_in: &EventTable, own: Option<&'t AutomationTable<T>>) -> Known<'t, T> {
    let sets = || own.into_iter().flat_map(|table| &table.events).filter(|set| set.set == request.set);
    if let Some(item) = sets().flat_map(|set| &set.items).find(|item| item.id == request.id) {
        return Known::Drivers(item);
    }
    if built_in.contains(&(request.set, request.id)) {
        return Known::BuiltIn;
    }
    let known = sets().next().is_some() || built_in.iter().any(|(set, _)| *set == request.set);
    if known { Known::NoItem } else { Known::NoSet }
}

impl EventList {
    /// Answers IOCTL_KS_ENABLE_EVENT on `object`, whose minidriver has the table `own`. Without input it is the question
    /// which sets there are.
    // ks-coverage: KsEnableEvent done test=an_enabled_event_signals_until_it_is_disabled
    // ks-coverage: IOCTL_KS_ENABLE_EVENT done test=an_enabled_event_signals_until_it_is_disabled
    #[doc(alias = "KsEnableEvent")]
    pub(crate) fn enable<T>(
        &self,
        object: &T,
        mut irp: Irp,
        built_in: &EventTable,
        own: Option<&AutomationTable<T>>,
    ) -> Dispatched {
        let address = irp.output_token();
        let parts = irp.parts();
        let request = match KsEvent::read_from_prefix(parts.input) {
            Ok((request, _)) => request,
            Err(_) if parts.input.is_empty() => KsEvent::new(Guid::NULL, 0, KSEVENT_TYPE_SETSUPPORT),
            Err(_) => return irp.done(STATUS_INVALID_BUFFER_SIZE),
        };
        let known = find(&request, built_in, own);
        let status = match request.flags {
            KSEVENT_TYPE_SETSUPPORT => {
                let drivers = own.into_iter().flat_map(|table| &table.events).map(|set| set.set);
                property::set_support(request.set, parts.output, drivers.chain(built_in.iter().map(|(set, _)| *set)))
            }
            _ if matches!(known, Known::NoSet) => STATUS_PROPSET_NOT_FOUND,
            _ if matches!(known, Known::NoItem) => STATUS_NOT_FOUND,
            KSEVENT_TYPE_BASICSUPPORT => STATUS_SUCCESS,
            flags @ (KSEVENT_TYPE_ENABLE | KSEVENT_TYPE_ONESHOT) => {
                let item = if let Known::Drivers(item) = known { Some(item) } else { None };
                let oneshot = flags == KSEVENT_TYPE_ONESHOT;
                self.enable_one(object, &parts, request, item, address, oneshot)
            }
            flags if flags & NOT_BUILT != 0 => STATUS_NOT_IMPLEMENTED,
            _ => STATUS_INVALID_PARAMETER,
        };
        irp.done(status)
    }

    fn enable_one<T>(
        &self,
        object: &T,
        parts: &IrpParts<'_>,
        identifier: KsEvent,
        item: Option<&EventItem<T>>,
        address: u64,
        oneshot: bool,
    ) -> NtStatus {
        let bytes = parts.output.data();
        if item.is_some_and(|item| bytes.len() < item.min_data_bytes) {
            return STATUS_BUFFER_TOO_SMALL;
        }
        let Ok((data, _)) = KsEventData::read_from_prefix(bytes) else { return STATUS_BUFFER_TOO_SMALL };
        if data.notification_type != KSEVENTF_EVENT_HANDLE || data.data != [0, 0] {
            return STATUS_INVALID_PARAMETER;
        }
        let Some(event) = parts.file.upgrade().and_then(|file| file.event_by_handle(data.object)) else {
            return ks_abi::STATUS_INVALID_HANDLE;
        };
        let token = EventToken(self.next.fetch_add(1, Ordering::Relaxed) + 1);
        let (client, set, id) = (parts.origin.client(), identifier.set, identifier.id);
        let entry = EventEntry { token, address, client, set, id, oneshot, spent: AtomicBool::new(false), event };
        {
            let mut entries = self.entries.lock();
            if entries.len() >= MOST_EVENTS {
                return ks_abi::STATUS_INSUFFICIENT_RESOURCES;
            }
            // It is there before the minidriver agrees, who may raise it at once.
            entries.push(entry);
        }
        let request = EventRequest { identifier, token, request: parts.input, data: bytes };
        let status = item.and_then(|item| item.add.as_ref()).map_or(STATUS_SUCCESS, |add| add(object, &request));
        if !status.is_success() {
            self.entries.lock().retain(|entry| entry.token != token);
        }
        status
    }

    /// Answers IOCTL_KS_DISABLE_EVENT: the one whose KSEVENTDATA stands at the input's address, or all of the client's
    /// when there is no input.
    // ks-coverage: KsDisableEvent done test=an_enabled_event_signals_until_it_is_disabled,no_input_disables_every_event_of_the_object
    // ks-coverage: IOCTL_KS_DISABLE_EVENT done test=an_enabled_event_signals_until_it_is_disabled,no_input_disables_every_event_of_the_object
    #[doc(alias = "KsDisableEvent")]
    pub(crate) fn disable<T>(&self, object: &T, mut irp: Irp, own: Option<&AutomationTable<T>>) -> Dispatched {
        let address = irp.input_token();
        let parts = irp.parts();
        let (client, all) = (parts.origin.client(), parts.input.is_empty());
        let gone = self.take(|entry| entry.client == client && (all || entry.address == address));
        let found = all || gone.iter().any(|entry| !entry.spent.load(Ordering::Relaxed));
        tell(object, own, &gone);
        irp.done(if found { STATUS_SUCCESS } else { STATUS_UNSUCCESSFUL })
    }

    /// Raises every enabled event of this set and item.
    // ks-coverage: KsGenerateEventList done test=an_enabled_event_signals_until_it_is_disabled
    #[doc(alias = "KsGenerateEventList")]
    pub(crate) fn generate(&self, set: Guid, id: u32) {
        self.raise(|entry| entry.set == set && entry.id == id);
    }

    /// Raises one enabled event.
    // ks-coverage: KsGenerateEvent done test=a_driver_raises_one_event_by_its_token
    #[doc(alias = "KsGenerateEvent")]
    pub(crate) fn generate_one(&self, token: EventToken) {
        self.raise(|entry| entry.token == token);
    }

    /// Forgets a one-shot event that was raised: nobody else has to be told of it. Legal at every level.
    #[doc(alias = "KsDiscardEvent")]
    pub(crate) fn forget_spent(&self, token: EventToken) {
        let gone = self.take(|entry| entry.token == token && entry.spent.load(Ordering::Relaxed));
        drop(gone);
    }

    /// A one-shot event is raised once.
    fn raise(&self, hit: impl Fn(&EventEntry) -> bool) {
        for entry in self.entries.lock().iter().filter(|entry| hit(entry)) {
            if !(entry.oneshot && entry.spent.swap(true, Ordering::Relaxed)) {
                entry.event.set();
            }
        }
    }

    /// Forgets every event.
    // ks-coverage: KsFreeEventList done test=closing_a_pin_frees_its_events
    #[doc(alias = "KsFreeEventList")]
    pub(crate) fn free<T>(&self, object: &T, own: Option<&AutomationTable<T>>) {
        let gone = self.take(|_| true);
        tell(object, own, &gone);
    }

    fn take(&self, chosen: impl Fn(&EventEntry) -> bool) -> Vec<EventEntry> {
        let mut entries = self.entries.lock();
        let mut gone = Vec::new();
        for entry in std::mem::take(&mut *entries) {
            if chosen(&entry) { gone.push(entry) } else { entries.push(entry) }
        }
        gone
    }
}

/// Tells the minidriver, with no lock held, of its events that are enabled no more.
fn tell<T>(object: &T, own: Option<&AutomationTable<T>>, gone: &[EventEntry]) {
    for entry in gone {
        let request = KsEvent::new(entry.set, entry.id, 0);
        if let Known::Drivers(EventItem { remove: Some(remove), .. }) = find(&request, &[], own) {
            remove(object, entry.token);
        }
    }
}

/// True for the codes that this file answers.
pub(crate) fn is_event_code(code: IoControlCode) -> bool {
    matches!(code, IoControlCode::KS_ENABLE_EVENT | IoControlCode::KS_DISABLE_EVENT)
}
