//! The event engine: enabling, disabling, raising and querying events of an object.
//!
//! Source: nf-ks-ksenableevent, nf-ks-ksdisableevent, ns-ks-kseventdata, ns-ks-ksquerybuffer, ni-ks-ioctl_ks_enable_event.

mod buffer;
mod notification;

use crate::automation::{AutomationTable, EventItem};
use crate::callback;
use crate::property;
pub use buffer::EventBuffer;
use ks_abi::{
    Guid, IoControlCode, KSEVENT_TYPE_BASICSUPPORT, KSEVENT_TYPE_ENABLE, KSEVENT_TYPE_ENABLEBUFFERED,
    KSEVENT_TYPE_ONESHOT, KSEVENT_TYPE_QUERYBUFFER, KSEVENT_TYPE_SETSUPPORT, KSEVENT_TYPE_TOPOLOGY, KsEvent,
    KsEventData, KsQueryBuffer, NtStatus, STATUS_BUFFER_TOO_SMALL, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_PARAMETER, STATUS_NOT_FOUND,
    STATUS_PROPSET_NOT_FOUND, STATUS_SUCCESS, STATUS_UNSUCCESSFUL,
};
use ks_io::sync::Mutex;
use ks_io::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use ks_io::{Dispatched, Event, Irp, IrpParts, Origin};
use notification::Notification;
use zerocopy::FromBytes;

/// The events that an object can raise by the class driver, as (set, item).
pub(crate) type EventTable = [(Guid, u32)];

/// The enabled events of one object. Its owner frees all of them when the file object is cleaned up.
///
/// AVStream's objects have one each; a driver without AVStream keeps one in an object of its own and has [`answer`] serve its
/// clients.
#[derive(Debug, Default)]
pub struct EventList {
    entries: Mutex<Vec<EventEntry>>,
    next: AtomicU64,
    /// Bytes that wait in the buffers of all entries; changed under the lock of the entries.
    buffered_bytes: AtomicUsize,
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
    /// `KSEVENTDATA.NotificationType`.
    notification_type: u32,
    /// The minidriver's table has an item for it.
    is_minidrivers: bool,
    /// The topology node that it was enabled on.
    node: Option<u32>,
    /// The handle that it was enabled by, and ends with.
    by: EnabledBy,
    oneshot: bool,
    /// A one-shot event that was raised: for its client it is gone; it stays for the minidriver to be told, who may be
    /// raising it where it cannot be called.
    spent: AtomicBool,
    notification: Notification,
    /// What a buffered event was raised with and its client has not fetched.
    buffer: Option<EventBuffer>,
}

/// Number of an enabled event on its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventToken(u64);

impl EventToken {
    /// Of no event.
    pub(crate) const NONE: EventToken = EventToken(0);

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
    notified: Option<Event>,
    origin: &'a Origin,
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

    /// Who asks.
    pub fn origin(&self) -> &Origin {
        self.origin
    }

    /// The event object that is set each time; `None` for a semaphore, or where nothing is.
    pub fn event_object(&self) -> Option<&Event> {
        self.notified.as_ref()
    }

    /// Does the client fetch what the event is raised with by KSEVENT_TYPE_QUERYBUFFER?
    pub fn is_buffered(&self) -> bool {
        self.identifier.flags & KSEVENT_TYPE_ENABLEBUFFERED != 0
    }
}

/// An enabled event of an object that its minidriver's table has no item for: the class driver agreed to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuiltInEvent {
    /// Its number on the object.
    pub token: EventToken,
    /// Its set.
    pub set: Guid,
    /// Its item in the set.
    pub id: u32,
    /// How its client is notified, `KSEVENTF_*`.
    pub notification_type: u32,
    /// Is it raised once?
    pub is_oneshot: bool,
    /// Does its client fetch what it is raised with?
    pub is_buffered: bool,
}

/// A handle that enables events of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EnabledBy {
    /// The object's own.
    Object,
    /// That of a node object of this node; the second number is of the node object alone.
    Node(u32, u64),
}

/// The most events that one object holds.
const MOST_EVENTS: usize = 256;

// What minidrivers raise; the class driver knows nothing that they would be raised by.
// ks-coverage: KSEVENT_CONNECTION_POSITIONUPDATE minidriver test=a_minidriver_raises_every_event_that_the_class_driver_does_not
// ks-coverage: KSEVENTSETID_ExtendedCameraControl done test=extended_controls_of_a_camera_tell_by_their_own_events_that_they_are_done
// ks-coverage: KSEVENT_CONNECTION_PRIORITY minidriver test=a_minidriver_raises_every_event_that_the_class_driver_does_not
// ks-coverage: KSEVENT_DEVICE_LOST minidriver test=a_minidriver_raises_every_event_that_the_class_driver_does_not
// ks-coverage: KSEVENT_DEVICE_PREEMPTED minidriver test=a_minidriver_raises_every_event_that_the_class_driver_does_not
// ks-coverage: KSEVENT_DEVICE_THERMAL_HIGH done test=a_device_is_cooled_and_its_clients_hear_how_hot_it_is
// ks-coverage: KSEVENT_DEVICE_THERMAL_LOW done test=a_device_is_cooled_and_its_clients_hear_how_hot_it_is
// ks-coverage: KSEVENT_PINCAPS_FORMATCHANGE minidriver test=a_minidriver_raises_every_event_that_the_class_driver_does_not
// ks-coverage: KSEVENT_PINCAPS_JACKINFOCHANGE minidriver test=a_minidriver_raises_every_event_that_the_class_driver_does_not
// ks-coverage: KSEVENT_VOLUMELIMIT_CHANGED minidriver test=a_minidriver_raises_every_event_that_the_class_driver_does_not
// ks-coverage: KSEVENT_DYNAMIC_FORMAT_CHANGE done test=a_minidriver_raises_every_event_that_the_class_driver_does_not,a_decoder_is_asked_before_its_stream_changes_and_its_output_follows_while_it_runs
// ks-coverage: KSEVENT_CONTROL_CHANGE minidriver test=a_minidriver_raises_every_event_that_the_class_driver_does_not
// ks-coverage: KSEVENT_LOOPEDSTREAMING_POSITION minidriver test=a_looped_driver_tells_each_client_when_it_plays_its_position
// ks-coverage: KSEVENT_VIDCAPTOSTI_EXT_TRIGGER minidriver test=a_minidriver_raises_every_event_that_the_class_driver_does_not
// ks-coverage: KSEVENT_VIDCAP_AUTO_UPDATE minidriver test=a_minidriver_raises_every_event_that_the_class_driver_does_not
// ks-coverage: KSEVENT_VIDCAP_SEARCH minidriver test=a_minidriver_raises_every_event_that_the_class_driver_does_not
// ks-coverage: KSEVENT_CAMERACONTROL_FOCUS minidriver test=a_minidriver_raises_every_event_that_the_class_driver_does_not
// ks-coverage: KSEVENT_CAMERACONTROL_ZOOM minidriver test=a_minidriver_raises_every_event_that_the_class_driver_does_not
// ks-coverage: KSEVENT_PHOTO_SAMPLE_SCANNED minidriver test=a_minidriver_raises_every_event_that_the_class_driver_does_not

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

/// Does an event request name a topology node? One that queries a buffer has the address of its event in that place.
pub(crate) fn is_for_node(request: &[u8]) -> bool {
    let flags = request.get(20..24).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes);
    flags & KSEVENT_TYPE_TOPOLOGY != 0 && flags & KSEVENT_TYPE_QUERYBUFFER == 0
}

impl EventList {
    /// Answers IOCTL_KS_ENABLE_EVENT on `object`, whose minidriver has the table `own`. Without input it is the question
    /// which sets there are. A request to a node comes with the node's table and number.
    // ks-coverage: KsEnableEvent done test=an_enabled_event_signals_until_it_is_disabled,what_a_buffered_event_was_raised_with_is_fetched_in_order
    // ks-coverage: IOCTL_KS_ENABLE_EVENT done test=an_enabled_event_signals_until_it_is_disabled
    #[doc(alias = "KsEnableEvent")]
    pub(crate) fn enable<T: 'static>(
        &self,
        object: &T,
        irp: Irp,
        built_in: &EventTable,
        own: Option<&AutomationTable<T>>,
    ) -> Dispatched {
        self.enable_by(EnabledBy::Object, object, irp, built_in, own)
    }

    /// [`EventList::enable`] by a handle of the object, or of a node of it with the node's table.
    pub(crate) fn enable_by<T: 'static>(
        &self,
        by: EnabledBy,
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
        let status = match request.flags & !KSEVENT_TYPE_TOPOLOGY {
            KSEVENT_TYPE_SETSUPPORT => {
                let drivers = own.into_iter().flat_map(|table| &table.events).map(|set| set.set);
                property::set_support(request.set, parts.output, drivers.chain(built_in.iter().map(|(set, _)| *set)))
            }
            KSEVENT_TYPE_QUERYBUFFER => self.query(parts),
            _ if matches!(known, Known::NoSet) => STATUS_PROPSET_NOT_FOUND,
            _ if matches!(known, Known::NoItem) => STATUS_NOT_FOUND,
            KSEVENT_TYPE_BASICSUPPORT => match known {
                Known::Drivers(EventItem { support: Some(support), .. }) => {
                    let request = EventRequest {
                        identifier: request,
                        token: EventToken::NONE,
                        request: parts.input,
                        data: parts.output.data(),
                        notified: None,
                        origin: parts.origin,
                    };
                    callback::answer(object, || support(object, &request))
                }
                _ => STATUS_SUCCESS,
            },
            flags if enables(flags) => {
                let item = if let Known::Drivers(item) = known { Some(item) } else { None };
                self.make_room(object, own);
                self.enable_one(by, object, &parts, request, item, address)
            }
            _ => STATUS_INVALID_PARAMETER,
        };
        irp.done(status)
    }

    fn enable_one<T: 'static>(
        &self,
        by: EnabledBy,
        object: &T,
        parts: &IrpParts<'_>,
        identifier: KsEvent,
        item: Option<&EventItem<T>>,
        address: u64,
    ) -> NtStatus {
        let bytes = parts.output.data();
        if item.is_some_and(|item| bytes.len() < item.min_data_bytes) {
            return STATUS_BUFFER_TOO_SMALL;
        }
        let Ok((data, _)) = KsEventData::read_from_prefix(bytes) else { return STATUS_BUFFER_TOO_SMALL };
        let buffered = identifier.flags & KSEVENT_TYPE_ENABLEBUFFERED != 0;
        let notification = match Notification::of(&data, buffered, parts.file) {
            Ok(notification) => notification,
            Err(status) => return status,
        };
        let node = match (by, identifier.flags & KSEVENT_TYPE_TOPOLOGY) {
            (EnabledBy::Node(node, _), _) => Some(node),
            (EnabledBy::Object, 0) => None,
            (EnabledBy::Object, _) => crate::automation::node_of(parts.input),
        };
        let notified = notification.event();
        let token = EventToken(self.next.fetch_add(1, Ordering::Relaxed) + 1);
        let entry = EventEntry {
            token,
            address,
            client: parts.origin.client(),
            set: identifier.set,
            id: identifier.id,
            notification_type: data.notification_type,
            is_minidrivers: item.is_some(),
            node,
            by,
            oneshot: identifier.flags & KSEVENT_TYPE_ONESHOT != 0,
            spent: AtomicBool::new(false),
            notification,
            buffer: buffered.then(EventBuffer::default),
        };
        {
            let mut entries = self.entries.lock();
            if entries.len() >= MOST_EVENTS {
                return STATUS_INSUFFICIENT_RESOURCES;
            }
            // It is there before the minidriver agrees, who may raise it at once.
            entries.push(entry);
        }
        let origin = parts.origin;
        let request = EventRequest { identifier, token, request: parts.input, data: bytes, notified, origin };
        let status = item
            .and_then(|item| item.add.as_ref())
            .map_or(STATUS_SUCCESS, |add| callback::answer(object, || add(object, &request)));
        if !status.is_success() {
            drop(self.take(|entry| entry.token == token));
        }
        status
    }

    /// One-shot events that were raised, and whose data their client has fetched, make room for others.
    fn make_room<T: 'static>(&self, object: &T, own: Option<&AutomationTable<T>>) {
        // Of those on nodes the object's own table knows nothing; they go with the object.
        let gone = self.take(|entry| {
            let fetched = entry.buffer.as_ref().is_none_or(EventBuffer::is_empty);
            entry.spent.load(Ordering::Relaxed) && fetched && entry.node.is_none()
        });
        tell(object, |_| own, &gone);
    }

    /// Answers KSEVENT_TYPE_QUERYBUFFER: the oldest data that an event of this client was raised with. It is taken away
    /// when there is room for it.
    fn query(&self, parts: IrpParts<'_>) -> NtStatus {
        let Ok((query, _)) = KsQueryBuffer::read_from_prefix(parts.input) else { return STATUS_INVALID_BUFFER_SIZE };
        if query.reserved.0 != 0 {
            return STATUS_INVALID_PARAMETER;
        }
        let (client, address) = (parts.origin.client(), query.event_data.0);
        let mut entries = self.entries.lock();
        let found = entries.iter_mut().find(|entry| {
            (entry.client, entry.address) == (client, address)
                && (entry.set, entry.id) == (query.event.set, query.event.id)
        });
        let Some(entry) = found else { return STATUS_NOT_FOUND };
        let Some(buffer) = &mut entry.buffer else { return STATUS_INVALID_PARAMETER };
        let (status, taken) = buffer.fetch(parts.output);
        self.buffered_bytes.fetch_sub(taken, Ordering::Relaxed);
        status
    }

    /// Answers IOCTL_KS_DISABLE_EVENT: the one whose KSEVENTDATA stands at the input's address, or all of the client's
    /// when there is no input.
    // ks-coverage: KsDisableEvent done test=an_enabled_event_signals_until_it_is_disabled,no_input_disables_every_event_of_the_object
    // ks-coverage: IOCTL_KS_DISABLE_EVENT done test=an_enabled_event_signals_until_it_is_disabled,no_input_disables_every_event_of_the_object
    #[doc(alias = "KsDisableEvent")]
    pub(crate) fn disable<T: 'static>(&self, object: &T, irp: Irp, own: Option<&AutomationTable<T>>) -> Dispatched {
        self.disable_with(object, irp, |_| own)
    }

    /// [`EventList::disable`] on an object with nodes: `tables` gives the minidriver's table of the object, or of a node.
    pub(crate) fn disable_with<'t, T: 'static>(
        &self,
        object: &T,
        irp: Irp,
        tables: impl Fn(Option<u32>) -> Option<&'t AutomationTable<T>>,
    ) -> Dispatched {
        self.disable_by(EnabledBy::Object, object, irp, tables)
    }

    /// [`EventList::disable_with`] of what a handle enabled.
    pub(crate) fn disable_by<'t, T: 'static>(
        &self,
        by: EnabledBy,
        object: &T,
        mut irp: Irp,
        tables: impl Fn(Option<u32>) -> Option<&'t AutomationTable<T>>,
    ) -> Dispatched {
        let address = irp.input_token();
        let parts = irp.parts();
        let (client, all) = (parts.origin.client(), parts.input.is_empty());
        let gone = self.take(|entry| entry.by == by && entry.client == client && (all || entry.address == address));
        let found = all || gone.iter().any(|entry| !entry.spent.load(Ordering::Relaxed));
        tell(object, tables, &gone);
        irp.done(if found { STATUS_SUCCESS } else { STATUS_UNSUCCESSFUL })
    }

    /// Raises every enabled event of this set and item.
    // ks-coverage: KsGenerateEventList done test=an_enabled_event_signals_until_it_is_disabled,events_are_enabled_on_a_drivers_own_lists
    #[doc(alias = "KsGenerateEventList")]
    pub fn generate(&self, set: Guid, id: u32) {
        let _ = self.generate_with(set, id, &[]);
    }

    /// [`EventList::generate`], with data for the events that are buffered.
    pub(crate) fn generate_with(&self, set: Guid, id: u32, data: &[u8]) -> NtStatus {
        self.raise(|entry| entry.set == set && entry.id == id, data)
    }

    /// The enabled events of this item that the minidriver's table does not have; `None`: of any set.
    pub(crate) fn built_in(&self, set: Option<Guid>, id: u32) -> Vec<BuiltInEvent> {
        let hit = |entry: &&EventEntry| {
            let meant = entry.id == id && set.is_none_or(|set| entry.set == set);
            meant && !entry.is_minidrivers && !entry.spent.load(Ordering::Relaxed)
        };
        let tell = |entry: &EventEntry| BuiltInEvent {
            token: entry.token,
            set: entry.set,
            id: entry.id,
            notification_type: entry.notification_type,
            is_oneshot: entry.oneshot,
            is_buffered: entry.buffer.is_some(),
        };
        self.entries.lock().iter().filter(hit).map(tell).collect()
    }

    /// Raises one enabled event.
    // ks-coverage: KsGenerateEvent done test=a_driver_raises_one_event_by_its_token,events_are_enabled_on_a_drivers_own_lists
    #[doc(alias = "KsGenerateEvent")]
    pub fn generate_one(&self, token: EventToken) {
        let _ = self.generate_one_with(token, &[]);
    }

    /// [`EventList::generate_one`], with data if it is buffered.
    #[doc(alias = "KsGenerateDataEvent")]
    pub(crate) fn generate_one_with(&self, token: EventToken, data: &[u8]) -> NtStatus {
        self.raise(|entry| entry.token == token, data)
    }

    /// Forgets a one-shot event that was raised: nobody else has to be told of it. Legal at every level.
    #[doc(alias = "KsDiscardEvent")]
    pub(crate) fn forget_spent(&self, token: EventToken) {
        let gone = self.take(|entry| {
            let fetched = entry.buffer.as_ref().is_none_or(EventBuffer::is_empty);
            entry.token == token && fetched && entry.spent.load(Ordering::Relaxed)
        });
        drop(gone);
    }

    /// A one-shot event is raised once. STATUS_INSUFFICIENT_RESOURCES: a buffer has no room for the data; the client is
    /// notified all the same.
    fn raise(&self, hit: impl Fn(&EventEntry) -> bool, data: &[u8]) -> NtStatus {
        let mut status = STATUS_SUCCESS;
        for entry in self.entries.lock().iter_mut().filter(|entry| hit(entry)) {
            if entry.oneshot && entry.spent.swap(true, Ordering::Relaxed) {
                continue;
            }
            if let Some(buffer) = &mut entry.buffer {
                let waiting = self.buffered_bytes.load(Ordering::Relaxed);
                match buffer.keep(data, waiting) {
                    Ok(bytes) => {
                        self.buffered_bytes.fetch_add(bytes, Ordering::Relaxed);
                    }
                    Err(no_room) => status = no_room,
                }
            }
            entry.notification.signal();
        }
        status
    }

    /// Forgets every event that the object's own handle enabled.
    // ks-coverage: KsFreeEventList done test=closing_a_pin_frees_its_events
    #[doc(alias = "KsFreeEventList")]
    pub fn free<T: 'static>(&self, object: &T, own: Option<&AutomationTable<T>>) {
        self.free_with(object, |_| own);
    }

    /// [`EventList::free`] on an object with nodes, see [`EventList::disable_with`].
    pub(crate) fn free_with<'t, T: 'static>(
        &self,
        object: &T,
        tables: impl Fn(Option<u32>) -> Option<&'t AutomationTable<T>>,
    ) {
        self.free_by(EnabledBy::Object, object, tables);
    }

    /// Forgets what a handle enabled, when it is closed.
    pub(crate) fn free_by<'t, T: 'static>(
        &self,
        by: EnabledBy,
        object: &T,
        tables: impl Fn(Option<u32>) -> Option<&'t AutomationTable<T>>,
    ) {
        let gone = self.take(|entry| entry.by == by);
        tell(object, tables, &gone);
    }

    fn take(&self, chosen: impl Fn(&EventEntry) -> bool) -> Vec<EventEntry> {
        let mut entries = self.entries.lock();
        let mut gone = Vec::new();
        for entry in std::mem::take(&mut *entries) {
            if chosen(&entry) {
                let waiting = entry.buffer.as_ref().map_or(0, EventBuffer::bytes);
                self.buffered_bytes.fetch_sub(waiting, Ordering::Relaxed);
                gone.push(entry);
            } else {
                entries.push(entry);
            }
        }
        gone
    }
}

/// Answers an event request of `object`, whose events are those of `table`, and completes it: IOCTL_KS_ENABLE_EVENT with its
/// queries, and IOCTL_KS_DISABLE_EVENT. Any other request is STATUS_INVALID_DEVICE_REQUEST.
///
/// The handlers of the table are called on this thread, with no lock held. Unlike a property or a method, an event is
/// identified by where its data stands, so the request is taken whole.
#[doc(alias = "KsEnableEvent")]
#[doc(alias = "KsDisableEvent")]
pub fn answer<T: 'static>(events: &EventList, object: &T, irp: Irp, table: &AutomationTable<T>) -> Dispatched {
    match irp.io_control_code() {
        IoControlCode::KS_ENABLE_EVENT => events.enable(object, irp, &[], Some(table)),
        IoControlCode::KS_DISABLE_EVENT => events.disable(object, irp, Some(table)),
        _ => irp.done(STATUS_INVALID_DEVICE_REQUEST),
    }
}

/// Do these flags enable an event? Buffering may be added to either kind; alone it enables until disabled.
fn enables(flags: u32) -> bool {
    const BUFFERED: u32 = KSEVENT_TYPE_ENABLEBUFFERED;
    const ENABLE_AND_BUFFER: u32 = KSEVENT_TYPE_ENABLE | BUFFERED;
    const ONCE_AND_BUFFER: u32 = KSEVENT_TYPE_ONESHOT | BUFFERED;
    matches!(flags, KSEVENT_TYPE_ENABLE | KSEVENT_TYPE_ONESHOT | BUFFERED | ENABLE_AND_BUFFER | ONCE_AND_BUFFER)
}

/// Tells the minidriver, with no lock held, of its events that are enabled no more.
fn tell<'t, T: 'static>(
    object: &T,
    tables: impl Fn(Option<u32>) -> Option<&'t AutomationTable<T>>,
    gone: &[EventEntry],
) {
    for entry in gone {
        let request = KsEvent::new(entry.set, entry.id, 0);
        if let Known::Drivers(EventItem { remove: Some(remove), .. }) = find(&request, &[], tables(entry.node)) {
            let _ = callback::answer(object, || {
                remove(object, entry.token);
                STATUS_SUCCESS
            });
        }
    }
}

/// True for the codes that this file answers.
pub(crate) fn is_event_code(code: IoControlCode) -> bool {
    matches!(code, IoControlCode::KS_ENABLE_EVENT | IoControlCode::KS_DISABLE_EVENT)
}
