//! Events of a driver: entries that it is lent, and what raises them.

use crate::exports;
use crate::exports::Export;
use crate::ks::address::{Address, Routine, status};
use crate::ks::client_event::ClientEvent;
use crate::ks::irp::{FILTER_NODE, LentIrp, Target};
use crate::ks::kernel::ListLock;
use crate::ks::misuse;
use crate::ks::objects::{self, Object};
use crate::ntoskrnl::event;
use crate::ntoskrnl::object_manager::OpenHandle;
use ks_abi::kernel::{
    IRP_MJ_DEVICE_CONTROL, KSEVENT_ENTRY_BUFFERED, KSEVENT_ENTRY_ONESHOT, KsEventEntry, KsEventItem, KsEventSet,
};
use ks_abi::{
    Guid, IoControlCode, KSEVENT_TYPE_ONESHOT, KSEVENT_TYPE_TOPOLOGY, KsEventData, KseNode, NtStatus, Ptr64,
    STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER, STATUS_SUCCESS,
};
use ks_io::Level;
use ks_mem::Block;
use ks_stream::{BuiltInEvent, EventRequest, EventToken};
use std::collections::BTreeMap;
use std::mem::offset_of;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use zerocopy::FromBytes;

pub(crate) const EXPORTS: &[Export] = exports!(Ks:
    KsAddEvent, KsDefaultAddEventHandler, KsGenerateEvents, KsGenerateEvent, KsGenerateDataEvent, KsGenerateEventList,
    KsDiscardEvent,
);

const ENTRY_BYTES: usize = size_of::<KsEventEntry>();
/// The most bytes that a driver may ask for behind an entry.
const MOST_EXTRA_BYTES: u32 = 1 << 16;
/// The most bytes that an event is raised with.
const MOST_DATA_BYTES: u32 = 1 << 16;
/// The most entries of a driver's own list that are looked at.
const MOST_LISTED: usize = 4096;

/// An event that a client has enabled, as a driver is lent it.
pub(crate) struct HostedEvent {
    entry: Block,
    /// The client's KSEVENTDATA, copied.
    _data: Block,
    target: Target,
    token: EventToken,
    /// Is the entry on its object's list? One whose driver has an AddHandler is when that has put it there.
    listed: AtomicBool,
    /// The client's event as an object of the driver's world: its handle, and its address, which the entry has too.
    client: Option<(OpenHandle, u64)>,
}

/// Entries by the address of their object and their number on it, so that those of an object stand in their order.
static EVENTS: Mutex<BTreeMap<(u64, u64), Arc<HostedEvent>>> = Mutex::new(BTreeMap::new());

fn events() -> MutexGuard<'static, BTreeMap<(u64, u64), Arc<HostedEvent>>> {
    EVENTS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn address(target: &Target) -> u64 {
    match target {
        Target::Filter(filter) => filter.address(),
        Target::Pin(pin) => pin.address(),
    }
}

fn file_object(target: &Target) -> u64 {
    match target {
        Target::Filter(filter) => filter.file_object(),
        Target::Pin(pin) => pin.file_object(),
    }
}

/// Raises one enabled event of an object, which may be gone.
fn raise(target: &Target, token: EventToken, data: &[u8]) -> NtStatus {
    match target {
        Target::Filter(filter) => {
            filter.engine().map_or(STATUS_SUCCESS, |filter| filter.generate_data_event(token, data))
        }
        Target::Pin(pin) => pin.engine().map_or(STATUS_SUCCESS, |pin| pin.generate_data_event(token, data)),
    }
}

impl HostedEvent {
    fn raise(&self, data: &[u8]) -> NtStatus {
        let raised = raise(&self.target, self.token, data);
        if let Some((_, event)) = &self.client
            && raised.is_success()
        {
            // The client's is set; so that the driver sees it.
            event::show_set(*event);
        }
        raised
    }

    fn item(&self) -> Address {
        Address(self.entry.load_u64(offset_of!(KsEventEntry, event_item)))
    }

    fn is(&self, set: Option<Guid>, id: u32) -> bool {
        let own = Address(self.entry.load_u64(offset_of!(KsEventEntry, event_set))).follow(offset_of!(KsEventSet, set));
        self.item().get::<u32>(offset_of!(KsEventItem, event_id)) == id
            && set.is_none_or(|set| own.some().is_some_and(|own| own.read::<Guid>() == set))
    }
}

/// A client enables an event of the driver's: it is given an entry, and its AddHandler is asked.
pub(crate) fn added(target: Target, set: Address, item: Address, request: &EventRequest<'_>) -> NtStatus {
    let extra: u32 = item.get(offset_of!(KsEventItem, extra_entry_data));
    let block = |bytes: usize| Block::zeroed(bytes.max(8), 16).map_err(|_| STATUS_INSUFFICIENT_RESOURCES);
    let made = (extra <= MOST_EXTRA_BYTES)
        .then(|| Some((block(ENTRY_BYTES + extra as usize).ok()?, block(request.data().len()).ok()?)))
        .flatten();
    let Some((entry, data)) = made else { return STATUS_INSUFFICIENT_RESOURCES };
    data.write_bytes(0, request.data());
    let client = match request.event_object().map(|event| ClientEvent::open_with_address(event.clone())).transpose() {
        Ok(client) => client,
        Err(status) => return status,
    };
    if let Some((handle, _)) = &client {
        // Never the client's number, which may be a handle of the driver's own.
        data.store_u64(offset_of!(KsEventData, object), handle.handle());
    }
    let kind = KsEventData::read_from_prefix(request.data()).map_or(0, |(data, _)| data.notification_type);
    let file = file_object(&target);
    let oneshot = if request.event().flags & KSEVENT_TYPE_ONESHOT != 0 { KSEVENT_ENTRY_ONESHOT } else { 0 };
    let buffered = if request.is_buffered() { KSEVENT_ENTRY_BUFFERED } else { 0 };
    let values = KsEventEntry {
        object: Ptr64(client.as_ref().map_or(0, |(_, event)| *event)),
        event_data: Ptr64(data.address()),
        notification_type: kind,
        event_set: Ptr64(set.0),
        event_item: Ptr64(item.0),
        file_object: Ptr64(file),
        flags: oneshot | buffered,
        ..KsEventEntry::default()
    };
    entry.write(0, &values);
    // In no list: a driver may take it out of one anyway.
    entry.store_u64(0, entry.address());
    entry.store_u64(8, entry.address());
    let (entry_address, data_address) = (entry.address(), data.address());
    let key = (address(&target), request.token().number());
    let handler = Routine::optional(item.follow(offset_of!(KsEventItem, add_handler)), "an event's add handler");
    let listed = AtomicBool::new(handler.is_none());
    let event =
        Arc::new(HostedEvent { entry, _data: data, target: target.clone(), token: request.token(), listed, client });
    objects::insert(entry_address, Object::Event(event.clone()));
    events().insert(key, event);
    let Some(handler) = handler else { return STATUS_SUCCESS };
    let answer = match (
        LentIrp::lend_to_node(target, node(request), IRP_MJ_DEVICE_CONTROL, request.origin().mode()),
        block(request.request().len()),
    ) {
        (Ok(irp), Ok(copy)) => {
            copy.write_bytes(0, request.request());
            irp.set_parameter(0, request.data().len() as u64);
            irp.set_parameter(1, request.request().len() as u64);
            irp.set_parameter(2, u64::from(IoControlCode::KS_ENABLE_EVENT.0));
            irp.set_parameter(3, copy.address());
            irp.set_buffers(copy.address(), data_address);
            irp.set_driver_context(0, entry_address);
            irp.outcome(status(handler.call3(irp.address(), data_address, entry_address)))
        }
        _ => STATUS_INSUFFICIENT_RESOURCES,
    };
    if !answer.is_success() {
        forget(key);
    }
    answer
}

/// A client asks whether an event of the driver's is supported: the item's SupportHandler is asked.
pub(crate) fn supported(
    target: Target,
    handler: Routine,
    (set, item): (Address, Address),
    request: &EventRequest<'_>,
) -> NtStatus {
    let copy = |bytes: &[u8]| {
        let block = Block::zeroed(bytes.len().max(8), 16).ok()?;
        block.write_bytes(0, bytes);
        Some(block)
    };
    let lent = LentIrp::lend_to_node(target, node(request), IRP_MJ_DEVICE_CONTROL, request.origin().mode());
    let (Ok(irp), Some(identifier), Some(data)) = (lent, copy(request.request()), copy(request.data())) else {
        return STATUS_INSUFFICIENT_RESOURCES;
    };
    irp.set_parameter(0, request.data().len() as u64);
    irp.set_parameter(1, request.request().len() as u64);
    irp.set_parameter(2, u64::from(IoControlCode::KS_ENABLE_EVENT.0));
    irp.set_parameter(3, identifier.address());
    irp.set_buffers(identifier.address(), data.address());
    irp.set_driver_context(0, set.0);
    irp.set_driver_context(3, item.0);
    irp.outcome(status(handler.call3(irp.address(), identifier.address(), data.address())))
}

/// The node that an event is enabled on.
fn node(request: &EventRequest<'_>) -> u32 {
    let node = KseNode::read_from_prefix(request.request()).ok();
    node.filter(|_| request.event().flags & KSEVENT_TYPE_TOPOLOGY != 0).map_or(FILTER_NODE, |(node, _)| node.node_id)
}

fn forget(key: (u64, u64)) -> Option<Arc<HostedEvent>> {
    let event = events().remove(&key)?;
    drop(objects::remove(event.entry.address()));
    Some(event)
}

/// An event is enabled no more: the driver's RemoveHandler hears of it, and the entry goes.
pub(crate) fn removed(target: &Target, token: EventToken) {
    let key = (address(target), token.number());
    let Some(event) = events().get(&key).cloned() else { return };
    let handler = event.item().follow(offset_of!(KsEventItem, remove_handler));
    if let Some(handler) = Routine::optional(handler, "an event's remove handler") {
        let file = event.entry.load_u64(offset_of!(KsEventEntry, file_object));
        handler.call2(file, event.entry.address());
    }
    drop(forget(key));
}

fn find(entry: Address, routine: &'static str) -> Option<Arc<HostedEvent>> {
    match objects::find(entry) {
        Some(Object::Event(event)) => Some(event),
        _ => {
            misuse::dead(routine, "KSEVENT_ENTRY", entry.0);
            None
        }
    }
}

/// Puts an entry on its object's list, where KsGenerateEvents finds it.
// ks-coverage: KsAddEvent done test=an_event_is_raised_with_its_object_once_it_was_added
// ks-coverage: KsFilterAddEvent done test=an_event_is_raised_with_its_object_once_it_was_added
// ks-coverage: KsPinAddEvent done test=an_event_is_raised_with_its_object_once_it_was_added
pub(crate) unsafe extern "win64" fn KsAddEvent(object: Address, entry: Address) {
    let Some(event) = find(entry, "KsAddEvent") else { return };
    if address(&event.target) != object.0 {
        return misuse::dead("KsAddEvent", "object that the event was enabled on", object.0);
    }
    event.listed.store(true, Ordering::SeqCst);
}

// ks-coverage: KsDefaultAddEventHandler done test=every_inline_function_of_the_headers_works_on_living_objects
pub(crate) unsafe extern "win64" fn KsDefaultAddEventHandler(_irp: u64, _data: u64, entry: Address) -> NtStatus {
    match find(entry, "KsDefaultAddEventHandler") {
        Some(event) => {
            event.listed.store(true, Ordering::SeqCst);
            STATUS_SUCCESS
        }
        None => STATUS_INVALID_PARAMETER,
    }
}

/// What a driver raises an event with; a client that has enabled it buffered fetches it.
fn data_of(bytes: u32, data: u64) -> Vec<u8> {
    if data == 0 { Vec::new() } else { Address(data).bytes(bytes.min(MOST_DATA_BYTES) as usize) }
}

// ks-coverage: KsGenerateEvents done test=every_inline_function_of_the_headers_works_on_living_objects,a_driver_raises_events_of_the_class_drivers_sets_by_id_and_by_choice
pub(crate) unsafe extern "win64" fn KsGenerateEvents(
    object: Address,
    set: Address,
    id: u32,
    data_bytes: u32,
    data: u64,
    callback: Address,
    context: u64,
) {
    let set: Option<Guid> = set.some().map(Address::read);
    let target = match objects::find(object) {
        Some(Object::Filter(filter)) => Target::Filter(filter),
        Some(Object::Pin(pin)) => Target::Pin(pin),
        _ => return misuse::dead("KsGenerateEvents", "KSFILTER or KSPIN", object.0),
    };
    let data = data_of(data_bytes, data);
    let callback = Routine::optional(callback, "the callback of KsGenerateEvents");
    let range = (object.0, 0)..=(object.0, u64::MAX);
    let own: Vec<_> = events().range(range).map(|(_, event)| event.clone()).filter(|event| event.is(set, id)).collect();
    let agreed = |entry: u64| {
        callback.is_none_or(|callback| {
            let _level = (Level::current() < Level::Dispatch).then(|| Level::Dispatch.raise());
            callback.call2(context, entry) as u8 != 0
        })
    };
    for event in own.into_iter().filter(|event| event.listed.load(Ordering::SeqCst)) {
        if agreed(event.entry.address()) {
            let _ = event.raise(&data);
        }
    }
    // Those of the class driver's own sets have no entry: one is made for who chooses.
    let built_in = match &target {
        Target::Filter(filter) => filter.engine().map(|filter| filter.built_in_events(set, id)),
        Target::Pin(pin) => pin.engine().map(|pin| pin.built_in_events(set, id)),
    };
    for event in built_in.into_iter().flatten() {
        let wanted = callback.is_none() || Shown::new(&event, &target).is_some_and(|shown| agreed(shown.entry()));
        if wanted {
            let _ = raise(&target, event.token, &data);
        }
    }
}

/// An event of the class driver's as a callback of KsGenerateEvents is shown it: an entry with its set, item and data.
struct Shown(Block);

impl Shown {
    const SET: usize = ENTRY_BYTES;
    const ITEM: usize = Shown::SET + size_of::<KsEventSet>();
    const GUID: usize = Shown::ITEM + size_of::<KsEventItem>();
    const DATA: usize = Shown::GUID + size_of::<Guid>();

    /// Decision: the data tells how the client is notified, and nothing of its objects, which are not the driver's.
    fn new(event: &BuiltInEvent, target: &Target) -> Option<Shown> {
        let block = Block::zeroed(Shown::DATA + size_of::<KsEventData>(), 16).ok()?;
        let at = |offset: usize| Ptr64(block.address() + offset as u64);
        let oneshot = if event.is_oneshot { KSEVENT_ENTRY_ONESHOT } else { 0 };
        let buffered = if event.is_buffered { KSEVENT_ENTRY_BUFFERED } else { 0 };
        let entry = KsEventEntry {
            event_data: at(Shown::DATA),
            notification_type: event.notification_type,
            event_set: at(Shown::SET),
            event_item: at(Shown::ITEM),
            file_object: Ptr64(file_object(target)),
            flags: oneshot | buffered,
            ..KsEventEntry::default()
        };
        block.write(0, &entry);
        // In no list, as an entry of the driver's own.
        block.store_u64(0, block.address());
        block.store_u64(8, block.address());
        let set =
            KsEventSet { set: at(Shown::GUID), events_count: 1, event_item: at(Shown::ITEM), ..KsEventSet::default() };
        block.write(Shown::SET, &set);
        let data_input = size_of::<KsEventData>() as u32;
        block.write(Shown::ITEM, &KsEventItem { event_id: event.id, data_input, ..KsEventItem::default() });
        block.write(Shown::GUID, &event.set);
        let data = KsEventData { notification_type: event.notification_type, ..KsEventData::default() };
        block.write(Shown::DATA, &data);
        Some(Shown(block))
    }

    fn entry(&self) -> u64 {
        self.0.address()
    }
}

pub(crate) unsafe extern "win64" fn KsGenerateEvent(entry: Address) -> NtStatus {
    if let Some(Object::ListedEvent(event)) = objects::find(entry) {
        return event.raise(&[]);
    }
    match find(entry, "KsGenerateEvent") {
        Some(event) => event.raise(&[]),
        None => STATUS_INVALID_PARAMETER,
    }
}

// ks-coverage: KsGenerateDataEvent done test=what_an_event_of_a_drivers_own_list_was_raised_with_is_fetched
pub(crate) unsafe extern "win64" fn KsGenerateDataEvent(entry: Address, bytes: u32, data: u64) -> NtStatus {
    if let Some(Object::ListedEvent(event)) = objects::find(entry) {
        return event.raise(&data_of(bytes, data));
    }
    match find(entry, "KsGenerateDataEvent") {
        Some(event) => event.raise(&data_of(bytes, data)),
        None => STATUS_INVALID_PARAMETER,
    }
}

/// Raises the entries of a driver's own list, with its lock held.
pub(crate) unsafe extern "win64" fn KsGenerateEventList(
    set: Address,
    id: u32,
    list: Address,
    lock_type: u32,
    lock: Address,
) {
    let set: Option<Guid> = set.some().map(Address::read);
    ListLock::new(lock_type, lock).with(|| {
        let mut link = if list.is_null() { list } else { list.follow(0) };
        for _ in 0..MOST_LISTED {
            if link == list || link.is_null() {
                return;
            }
            let entry = link;
            link = link.follow(0);
            match objects::find(entry) {
                Some(Object::Event(event)) if event.is(set, id) => {
                    let _ = event.raise(&[]);
                }
                Some(Object::ListedEvent(event)) if event.is(set, id) => _ = event.raise(&[]),
                _ => {}
            }
        }
    });
}

// ks-coverage: KsDiscardEvent done test=an_event_that_was_discarded_is_none_any_more
pub(crate) unsafe extern "win64" fn KsDiscardEvent(entry: Address) {
    if let Some(Object::ListedEvent(_)) = objects::find(entry) {
        drop(objects::remove(entry.0));
        return;
    }
    if let Some(event) = find(entry, "KsDiscardEvent") {
        drop(forget((address(&event.target), event.token.number())));
    }
}
