//! Events on a driver's own lists, guarded by a lock of the driver's.
//!
//! An entry is pool memory that the driver sees as a KSEVENT_ENTRY; it lives until it is disabled, discarded, or its file
//! object's events are freed.

use super::cancelable_queue::List;
use super::property;
use super::request::{AnsweredBy, DataFlow, DataIn, DriverIrp};
use crate::exports;
use crate::exports::Export;
use crate::ks::address::{Address, Routine, status};
use crate::ks::automation;
use crate::ks::kernel::{self, ListLock};
use crate::ks::notification::{Buffering, Notification};
use crate::ks::objects::{self, Object};
use ks_abi::kernel::{
    Irp, KSEVENT_ENTRY_BUFFERED, KSEVENT_ENTRY_DELETED, KSEVENT_ENTRY_ONESHOT, KsEventEntry, KsEventItem, KsEventSet,
    KsListEntryLocation,
};
use ks_abi::{
    Guid, KSEVENT_TYPE_BASICSUPPORT, KSEVENT_TYPE_ENABLE, KSEVENT_TYPE_ENABLEBUFFERED, KSEVENT_TYPE_ONESHOT,
    KSEVENT_TYPE_QUERYBUFFER, KSEVENT_TYPE_SETSUPPORT, KSEVENT_TYPE_TOPOLOGY, KsEventData, KsIdentifier, KsQueryBuffer,
    NtStatus, Ptr64, STATUS_BUFFER_TOO_SMALL, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_BUFFER_SIZE,
    STATUS_INVALID_PARAMETER, STATUS_NOT_FOUND, STATUS_PROPSET_NOT_FOUND, STATUS_SUCCESS, STATUS_UNSUCCESSFUL,
};
use ks_stream::{AutomationTable, EventBuffer, PropertySet, answer_property};
use std::mem::offset_of;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) const EXPORTS: &[Export] =
    exports!(Ks: KsEnableEvent, KsEnableEventWithAllocator, KsDisableEvent, KsFreeEventList);

const TAG: u32 = u32::from_le_bytes(*b"KsEv");
const ENTRY_BYTES: usize = size_of::<KsEventEntry>();
/// The most bytes that a driver may ask for behind an entry.
const MOST_EXTRA_BYTES: u32 = 1 << 16;
/// The most entries of a list that are looked at.
const MOST_LISTED: usize = 4096;

/// An enabled event of a driver's own list.
pub(crate) struct ListedEvent {
    entry: Address,
    notification: Notification,
    oneshot: bool,
    spent: AtomicBool,
    /// What a buffered event was raised with and its client has not fetched.
    buffer: Option<Mutex<EventBuffer>>,
}

impl Drop for ListedEvent {
    fn drop(&mut self) {
        kernel::free_pool(self.entry.0);
    }
}

impl ListedEvent {
    /// Tells the client. A one-shot event is told once, and stays until it is disabled. STATUS_INSUFFICIENT_RESOURCES: the
    /// buffer has no room for the data; the client is told all the same.
    pub(crate) fn raise(&self, data: &[u8]) -> NtStatus {
        if self.oneshot && self.spent.swap(true, Ordering::SeqCst) {
            return STATUS_SUCCESS;
        }
        let kept = self.buffer().map_or(Ok(0), |mut buffer| {
            let waiting = buffer.bytes();
            buffer.keep(data, waiting)
        });
        self.notification.tell(self.entry);
        kept.err().unwrap_or(STATUS_SUCCESS)
    }

    fn buffer(&self) -> Option<MutexGuard<'_, EventBuffer>> {
        Some(self.buffer.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn is(&self, set: Option<Guid>, id: u32) -> bool {
        let item = self.entry.follow(offset_of!(KsEventEntry, event_item));
        let own = self.entry.follow(offset_of!(KsEventEntry, event_set)).follow(offset_of!(KsEventSet, set));
        item.get::<u32>(offset_of!(KsEventItem, event_id)) == id
            && set.is_none_or(|set| own.some().is_some_and(|own| own.read::<Guid>() == set))
    }
}

/// A set and an item of it, at their addresses.
fn find(count: u32, sets: Address, stride: usize, wanted: &KsIdentifier) -> Result<(Address, Address), NtStatus> {
    let mut status = STATUS_PROPSET_NOT_FOUND;
    for at in 0..count.min(automation::MOST_SETS) as usize {
        let place = sets.at(at * size_of::<KsEventSet>());
        let set: KsEventSet = place.read();
        if set.set.is_null() || Address(set.set.0).read::<Guid>() != wanted.set || set.event_item.is_null() {
            continue;
        }
        status = STATUS_NOT_FOUND;
        let items = (0..set.events_count.min(automation::MOST_SETS) as usize)
            .map(|at| Address(set.event_item.0).at(at * stride));
        for item in items {
            if item.get::<u32>(offset_of!(KsEventItem, event_id)) == wanted.id {
                return Ok((place, item));
            }
        }
    }
    Err(status)
}

/// Which sets there are; the question and its answer are those of properties.
fn set_support(irp: DriverIrp, count: u32, sets: Address) -> NtStatus {
    let captured = match irp.capture(DataFlow::Out, None) {
        Ok(captured) => captured,
        Err(status) => return status,
    };
    let known = (0..count.min(automation::MOST_SETS) as usize).filter_map(|at| {
        let set: KsEventSet = sets.get(at * size_of::<KsEventSet>());
        Some(PropertySet::<()> { set: Address(set.set.0).some()?.read(), items: Vec::new() })
    });
    let table = AutomationTable::of_properties(known.collect());
    irp.answer(captured, DataIn::No, |parts| (answer_property(&(), parts, &[&table]), AnsweredBy::Table))
}

/// The sets of an enable request, and the driver's list.
struct Tables {
    count: u32,
    sets: Address,
    list: List,
    lock: ListLock,
    allocator: Address,
    item_bytes: u32,
}

fn enable(irp: Address, tables: &Tables) -> NtStatus {
    let request = DriverIrp::new(irp);
    request.set_information(0);
    let Some(stride) = automation::item_stride(tables.item_bytes, size_of::<KsEventItem>()) else {
        return STATUS_INVALID_PARAMETER;
    };
    let event = match property::identifier(request) {
        Ok(event) => event,
        Err(status) => return status,
    };
    let verb = event.flags & !KSEVENT_TYPE_TOPOLOGY;
    match verb {
        KSEVENT_TYPE_SETSUPPORT => return set_support(request, tables.count, tables.sets),
        KSEVENT_TYPE_QUERYBUFFER => return query(request, tables).unwrap_or_else(|status| status),
        _ => {}
    }
    let (set, item) = match find(tables.count, tables.sets, stride, &event) {
        Ok(found) => found,
        Err(status) => return status,
    };
    match verb {
        KSEVENT_TYPE_BASICSUPPORT => basic_support(request, tables, set, item),
        verb if enables(verb) => enable_one(request, tables, set, item, verb).unwrap_or_else(|status| status),
        _ => STATUS_INVALID_PARAMETER,
    }
}

/// Asks the item's SupportHandler whether it is supported; one without is.
// ks-coverage: KSEVENT_SET_IRP_STORAGE done test=events_are_enabled_on_a_drivers_own_lists
fn basic_support(irp: DriverIrp, tables: &Tables, set: Address, item: Address) -> NtStatus {
    let handler = item.follow(offset_of!(KsEventItem, support_handler));
    let Some(handler) = Routine::optional(handler, "an event's support handler") else { return STATUS_SUCCESS };
    let allocator = Routine::optional(tables.allocator, "an allocator of an event's buffers");
    let captured = match irp.capture(DataFlow::Out, allocator) {
        Ok(captured) => captured,
        Err(status) => return status,
    };
    irp.set_storage(0, set.0);
    if tables.item_bytes != 0 {
        irp.set_storage(3, item.0);
    }
    status(handler.call3(irp.address().0, captured.request.0, captured.data.0))
}

/// Do these flags enable an event? Buffering may be added to either kind; alone it enables until disabled.
fn enables(verb: u32) -> bool {
    const BUFFERED: u32 = KSEVENT_TYPE_ENABLEBUFFERED;
    let kind = verb & !BUFFERED;
    matches!(kind, KSEVENT_TYPE_ENABLE | KSEVENT_TYPE_ONESHOT) || verb == BUFFERED
}

/// Answers KSEVENT_TYPE_QUERYBUFFER: the oldest data that an event on the list was raised with.
fn query(irp: DriverIrp, tables: &Tables) -> Result<NtStatus, NtStatus> {
    if (irp.parameters().input_buffer_length as usize) < size_of::<KsQueryBuffer>() {
        return Err(STATUS_INVALID_BUFFER_SIZE);
    }
    let captured = irp.capture(DataFlow::Out, None)?;
    let query: KsQueryBuffer = captured.request.read();
    if !query.reserved.is_null() {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let file = irp.file_object();
    let wanted = tables.lock.with(|| {
        let mut entries = tables.list.entries(KsListEntryLocation::HEAD).take(MOST_LISTED).map(|entry| entry.0);
        let named = entries.find_map(|entry| {
            let own = entry.get::<u64>(offset_of!(KsEventEntry, event_data)) == query.event_data.0;
            match objects::find(entry) {
                Some(Object::ListedEvent(event)) if own && is_of(entry, file) => Some(event),
                _ => None,
            }
        });
        named.filter(|event| event.is(Some(query.event.set), query.event.id))
    });
    let event = wanted.ok_or(STATUS_NOT_FOUND)?;
    let mut buffer = event.buffer().ok_or(STATUS_INVALID_PARAMETER)?;
    Ok(irp.answer(captured, DataIn::No, |parts| (Ok(buffer.fetch(parts.output).0), AnsweredBy::Table)))
}

// ks-coverage: KSEVENT_ENTRY_IRP_STORAGE done test=events_are_enabled_on_a_drivers_own_lists
// ks-coverage: KSEVENT_ITEM_IRP_STORAGE done test=events_are_enabled_on_a_drivers_own_lists
fn enable_one(irp: DriverIrp, tables: &Tables, set: Address, item: Address, verb: u32) -> Result<NtStatus, NtStatus> {
    let least = item.get::<u32>(offset_of!(KsEventItem, data_input)).max(size_of::<KsEventData>() as u32);
    if irp.parameters().output_buffer_length < least {
        return Err(STATUS_BUFFER_TOO_SMALL);
    }
    let extra: u32 = item.get(offset_of!(KsEventItem, extra_entry_data));
    if extra > MOST_EXTRA_BYTES {
        return Err(STATUS_INSUFFICIENT_RESOURCES);
    }
    // The data stays where it is for the client, whose address names the event; a handler is given the copy.
    let identity = irp.client_output();
    let allocator = Routine::optional(tables.allocator, "an allocator of an event's buffers");
    let captured = irp.capture(DataFlow::In, allocator)?;
    let mode: u8 = irp.address().get(offset_of!(Irp, requestor_mode));
    let buffering = Buffering::of(verb);
    let notification = Notification::of(captured.data, mode, buffering)?;
    let entry = kernel::allocate_pool(ENTRY_BYTES + extra as usize, TAG).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
    entry.write_bytes(&vec![0; ENTRY_BYTES + extra as usize]);
    let oneshot = verb & KSEVENT_TYPE_ONESHOT != 0;
    let buffered = buffering == Buffering::Yes;
    let flag = |is: bool, flag: u32| if is { flag } else { 0 };
    let values = KsEventEntry {
        object: Ptr64(notification.object()),
        event_data: Ptr64(identity.0),
        notification_type: captured.data.get(offset_of!(KsEventData, notification_type)),
        event_set: Ptr64(set.0),
        event_item: Ptr64(item.0),
        file_object: Ptr64(irp.file_object().0),
        flags: flag(oneshot, KSEVENT_ENTRY_ONESHOT) | flag(buffered, KSEVENT_ENTRY_BUFFERED),
        ..KsEventEntry::default()
    };
    entry.put(0, values);
    // In no list: a driver may take it out of one anyway.
    entry.put(0, entry.0);
    entry.put(8, entry.0);
    let buffer = buffered.then(Mutex::default);
    let event = ListedEvent { entry, notification, oneshot, spent: AtomicBool::new(false), buffer };
    objects::insert(entry.0, Object::ListedEvent(Arc::new(event)));
    if tables.item_bytes != 0 {
        irp.set_storage(3, item.0);
    }
    irp.set_storage(0, entry.0);
    match Routine::optional(item.follow(offset_of!(KsEventItem, add_handler)), "an event's add handler") {
        Some(handler) => {
            let answer = status(handler.call3(irp.address().0, captured.data.0, entry.0));
            if answer.is_error() {
                drop(objects::remove(entry.0));
            }
            Ok(answer)
        }
        None => {
            tables.lock.with(|| tables.list.insert_before(List(entry)));
            Ok(STATUS_SUCCESS)
        }
    }
}

/// Takes the first entry of the list that `chosen` says, and marks it as going.
fn take(list: List, lock: &ListLock, chosen: impl Fn(Address) -> bool) -> Option<Address> {
    const FLAGS: usize = offset_of!(KsEventEntry, flags);
    lock.with(|| {
        let mut entries = list.entries(KsListEntryLocation::HEAD).take(MOST_LISTED).map(|entry| entry.0);
        let found = entries.find(|entry| entry.get::<u32>(FLAGS) & KSEVENT_ENTRY_DELETED == 0 && chosen(*entry))?;
        found.put(FLAGS, found.get::<u32>(FLAGS) | KSEVENT_ENTRY_DELETED);
        Some(found)
    })
}

/// An entry goes: its RemoveHandler takes it out of the list, or this does.
fn remove(entry: Address, lock: &ListLock) {
    let item = entry.follow(offset_of!(KsEventEntry, event_item));
    match Routine::optional(item.follow(offset_of!(KsEventItem, remove_handler)), "an event's remove handler") {
        Some(handler) => {
            handler.call2(entry.follow(offset_of!(KsEventEntry, file_object)).0, entry.0);
        }
        None => lock.with(|| List(entry).remove()),
    }
    drop(objects::remove(entry.0));
}

fn is_of(entry: Address, file: Address) -> bool {
    entry.follow(offset_of!(KsEventEntry, file_object)) == file
}

// ks-coverage: KsEnableEvent done test=events_are_enabled_on_a_drivers_own_lists
pub(crate) unsafe extern "win64" fn KsEnableEvent(
    irp: Address,
    count: u32,
    sets: Address,
    list: Address,
    lock_type: u32,
    lock: Address,
) -> NtStatus {
    let lock = ListLock::new(lock_type, lock);
    enable(irp, &Tables { count, sets, list: List(list), lock, allocator: Address::NULL, item_bytes: 0 })
}

// ks-coverage: KsEnableEventWithAllocator done test=events_are_enabled_on_a_drivers_own_lists
pub(crate) unsafe extern "win64" fn KsEnableEventWithAllocator(
    irp: Address,
    count: u32,
    sets: Address,
    list: Address,
    lock_type: u32,
    lock: Address,
    allocator: Address,
    item_bytes: u32,
) -> NtStatus {
    let lock = ListLock::new(lock_type, lock);
    enable(irp, &Tables { count, sets, list: List(list), lock, allocator, item_bytes })
}

// ks-coverage: KsDisableEvent done test=events_are_enabled_on_a_drivers_own_lists
pub(crate) unsafe extern "win64" fn KsDisableEvent(
    irp: Address,
    list: Address,
    lock_type: u32,
    lock: Address,
) -> NtStatus {
    let request = DriverIrp::new(irp);
    request.set_information(0);
    let (parameters, file) = (request.parameters(), request.file_object());
    let lock = ListLock::new(lock_type, lock);
    if parameters.input_buffer_length == 0 {
        free_all(file, List(list), &lock);
        return STATUS_SUCCESS;
    }
    if (parameters.input_buffer_length as usize) < size_of::<KsEventData>() {
        return STATUS_INVALID_BUFFER_SIZE;
    }
    let identity = request.client_input().0;
    let found = take(List(list), &lock, |entry| {
        is_of(entry, file) && entry.get::<u64>(offset_of!(KsEventEntry, event_data)) == identity
    });
    match found {
        Some(entry) => {
            remove(entry, &lock);
            STATUS_SUCCESS
        }
        None => STATUS_UNSUCCESSFUL,
    }
}

fn free_all(file: Address, list: List, lock: &ListLock) {
    while let Some(entry) = take(list, lock, |entry| is_of(entry, file)) {
        remove(entry, lock);
    }
}

// ks-coverage: KsFreeEventList done test=events_are_enabled_on_a_drivers_own_lists
pub(crate) unsafe extern "win64" fn KsFreeEventList(file: Address, list: Address, lock_type: u32, lock: Address) {
    free_all(file, List(list), &ListLock::new(lock_type, lock));
}
