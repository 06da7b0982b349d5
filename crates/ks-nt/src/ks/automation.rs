//! Automation tables of a driver, made into handlers that call its routines.

use crate::ks::address::{Address, Routine, status};
use crate::ks::descriptor::MOST_ENTRIES;
use crate::ks::engine_file;
use crate::ks::events;
use crate::ks::irp::{FILTER_NODE, LentIrp, Target};
use crate::ks::rt_audio::Exchange;
use crate::ntoskrnl::object_manager;
use ks_abi::kernel::{
    IRP_MJ_DEVICE_CONTROL, KsAutomationTable, KsEventItem, KsEventSet, KsMethodItem, KsMethodSet, KsPropertyItem,
    KsPropertyMembersList, KsPropertySet, KsPropertyValues,
};
use ks_abi::{
    Guid, IoControlCode, KSPROPERTY_STREAM_ALLOCATOR, KSPROPERTY_STREAM_MASTERCLOCK, KSPROPERTY_STREAM_QUALITY,
    KSPROPERTY_TYPE_TOPOLOGY, KSPROPERTY_TYPE_UNSERIALIZERAW, KSPROPSETID_Stream, KsIdentifier, KspNode, NtStatus,
    STATUS_DEVICE_REMOVED, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_HANDLE, STATUS_SUCCESS,
};
use ks_mem::Block;
use ks_stream::{
    AddEvent, AutomationTable, EventItem, EventSet, Handler, MethodItem, MethodSet, PropertyCall, PropertyItem,
    PropertyMembers, PropertySet, PropertyValues,
};
use std::mem::offset_of;
use std::sync::Arc;

/// Finds the hosted object that a request on an engine object is for.
pub(crate) type Finder<T> = Arc<dyn Fn(&T) -> Option<Target> + Send + Sync>;

/// The most bytes that a handler is given to answer into. A client may offer more; nothing is allocated for that.
const MOST_DATA_BYTES: usize = 16 << 20;
const MOST_MEMBER_BYTES: u64 = 1 << 20;
/// FILE_GENERIC_READ and FILE_GENERIC_WRITE: what a driver may do with an object that its client names.
const NAMED_ACCESS: u32 = 0x0012_019f;

/// Makes a handler of a routine of the driver's.
pub(crate) type MakeHandler<T> = Box<dyn Fn(Entry) -> Handler<T>>;

/// The most sets of one table that are looked at.
pub(crate) const MOST_SETS: u32 = MOST_ENTRIES;

/// Which buffer holds what the handler wants.
#[derive(Clone, Copy, PartialEq)]
enum Verb {
    Get,
    Set,
    /// The data goes both ways.
    Method,
    /// Raw serialization: as GET, or as SET, as the request says.
    Support,
}

/// A handler of the driver's with the tables that it stands in.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) routine: Routine,
    pub(crate) set: Address,
    pub(crate) item: Address,
    verb: Verb,
}

impl Entry {
    /// Is it the one that reads a property?
    pub(crate) fn is_get(&self) -> bool {
        self.verb == Verb::Get
    }
}

/// The handlers of a KSAUTOMATION_TABLE; an empty table at NULL.
pub(crate) fn table<T: 'static>(address: Address, finder: Finder<T>) -> AutomationTable<T> {
    if address.is_null() {
        return AutomationTable::default();
    }
    let table: KsAutomationTable = address.read();
    let make: MakeHandler<T> = Box::new({
        let finder = finder.clone();
        move |entry| handler(entry, &finder)
    });
    AutomationTable {
        properties: property_sets(
            table.property_sets_count,
            Address(table.property_sets.0),
            table.property_item_size as usize,
            None,
            &make,
        ),
        methods: method_sets(
            table.method_sets_count,
            Address(table.method_sets.0),
            table.method_item_size as usize,
            None,
            &make,
        ),
        events: sets(table.event_sets_count, table.event_sets.0, size_of::<KsEventSet>(), |set| {
            event_set(set, table.event_item_size as usize, &finder)
        }),
    }
}

/// The distance of the items of a table whose driver says their size, 0 for the usual one; `None` for one that cannot be.
pub(crate) fn item_stride(said: u32, usual: usize) -> Option<usize> {
    match said as usize {
        0 => Some(usual),
        said if said.is_multiple_of(8) && said >= usual => Some(said),
        _ => None,
    }
}

/// The property sets of an array. Of the one that is `wanted` there is only that item, and of the others none: enough
/// to answer one request.
pub(crate) fn property_sets<T>(
    count: u32,
    array: Address,
    stride: usize,
    wanted: Option<&KsIdentifier>,
    make: &MakeHandler<T>,
) -> Vec<PropertySet<T>> {
    sets(count, array.0, size_of::<KsPropertySet>(), |address| {
        let set: KsPropertySet = address.read();
        let guid: Guid = Address(set.set.0).some()?.read();
        let items = items(set.properties_count, Address(set.property_item.0), stride, guid, wanted)
            .map(|item| property_item(address, item, make))
            .collect();
        Some(PropertySet { set: guid, items })
    })
}

/// The method sets of an array, see [`property_sets`].
pub(crate) fn method_sets<T>(
    count: u32,
    array: Address,
    stride: usize,
    wanted: Option<&KsIdentifier>,
    make: &MakeHandler<T>,
) -> Vec<MethodSet<T>> {
    sets(count, array.0, size_of::<KsMethodSet>(), |address| {
        let set: KsMethodSet = address.read();
        let guid: Guid = Address(set.set.0).some()?.read();
        let items = items(set.methods_count, Address(set.method_item.0), stride, guid, wanted)
            .filter_map(|item| method_item(address, item, make))
            .collect();
        Some(MethodSet { set: guid, items })
    })
}

/// The items of a set that are asked for. The first word of every item is its identifier.
fn items<'a>(
    count: u32,
    array: Address,
    stride: usize,
    set: Guid,
    wanted: Option<&'a KsIdentifier>,
) -> impl Iterator<Item = Address> + 'a {
    let count = if array.is_null() || wanted.is_some_and(|wanted| wanted.set != set) { 0 } else { count };
    (0..count.min(MOST_ENTRIES) as usize)
        .map(move |at| array.at(at * stride))
        .filter(move |item| wanted.is_none_or(|wanted| item.get::<u32>(0) == wanted.id))
}

/// The sets of one kind.
fn sets<S>(count: u32, start: u64, stride: usize, make: impl Fn(Address) -> Option<S>) -> Vec<S> {
    let count = if start == 0 { 0 } else { count.min(MOST_ENTRIES) };
    (0..count as usize).filter_map(|at| make(Address(start).at(at * stride))).collect()
}

fn method_item<T>(set: Address, address: Address, make: &MakeHandler<T>) -> Option<MethodItem<T>> {
    let item: KsMethodItem = address.read();
    let routine = Routine::optional(Address(item.method_handler.0), "a method's handler")?;
    Some(MethodItem {
        id: item.method_id,
        handler: make(Entry { routine, set, item: address, verb: Verb::Method }),
        min_method_bytes: (item.min_method as usize).max(size_of::<KsIdentifier>()),
        min_data_bytes: item.min_data as usize,
        kind: item.flags,
    })
}

fn event_set<T: 'static>(address: Address, stride: usize, finder: &Finder<T>) -> Option<EventSet<T>> {
    let set: KsEventSet = address.read();
    let guid: Guid = Address(set.set.0).some()?.read();
    let item = |at: usize| -> EventItem<T> {
        let place = Address(set.event_item.0).at(at * stride);
        let item: KsEventItem = place.read();
        let (add, remove, ask) = (finder.clone(), finder.clone(), finder.clone());
        let support = Routine::optional(Address(item.support_handler.0), "an event's support handler");
        let supported = move |routine: Routine| -> AddEvent<T> {
            Box::new(move |object, request| match ask(object) {
                Some(target) => events::supported(target, routine, (address, place), request),
                None => STATUS_DEVICE_REMOVED,
            })
        };
        EventItem {
            id: item.event_id,
            min_data_bytes: item.data_input as usize,
            add: Some(Box::new(move |object, request| match add(object) {
                Some(target) => events::added(target, address, place, request),
                None => STATUS_DEVICE_REMOVED,
            })),
            remove: Some(Box::new(move |object, token| {
                if let Some(target) = remove(object) {
                    events::removed(&target, token);
                }
            })),
            support: support.map(supported),
        }
    };
    let items = (0..set.events_count.min(MOST_ENTRIES) as usize).map(item).collect();
    Some(EventSet { set: guid, items })
}

fn handler<T: 'static>(entry: Entry, finder: &Finder<T>) -> Handler<T> {
    let finder = finder.clone();
    Box::new(move |object: &T, call: &mut PropertyCall<'_>| match finder(object) {
        Some(target) => run(&target, entry, call),
        None => STATUS_DEVICE_REMOVED,
    })
}

fn property_item<T>(set: Address, address: Address, make: &MakeHandler<T>) -> PropertyItem<T> {
    let item: KsPropertyItem = address.read();
    let own = |routine: u64, verb: Verb, name| {
        let routine = Routine::optional(Address(routine), name)?;
        Some(make(Entry { routine, set, item: address, verb }))
    };
    let relations = (0..item.relations_count.min(MOST_ENTRIES) as usize)
        .filter(|_| !item.relations.is_null())
        .map(|at| Address(item.relations.0).get::<KsIdentifier>(at * size_of::<KsIdentifier>()))
        .collect();
    PropertyItem {
        get: own(item.get_property_handler.0, Verb::Get, "a property's get handler"),
        set: own(item.set_property_handler.0, Verb::Set, "a property's set handler"),
        min_property_bytes: (item.min_property as usize).max(size_of::<KsIdentifier>()),
        min_data_bytes: item.min_data as usize,
        values: Address(item.values.0).some().map(values),
        relations,
        support: own(item.support_handler.0, Verb::Support, "a property's support handler"),
        serialized_bytes: item.serialized_size,
        ..PropertyItem::new(item.property_id)
    }
}

fn values(address: Address) -> PropertyValues {
    let values: KsPropertyValues = address.read();
    let member = |at: usize| {
        let list: KsPropertyMembersList = Address(values.members_list.0).get(at * size_of::<KsPropertyMembersList>());
        let head = list.members_header;
        let bytes = (u64::from(head.members_size) * u64::from(head.members_count)).min(MOST_MEMBER_BYTES);
        let members = if list.members.is_null() { Vec::new() } else { Address(list.members.0).bytes(bytes as usize) };
        PropertyMembers { kind: head.members_flags, flags: head.flags, member_bytes: head.members_size, members }
    };
    let count = if values.members_list.is_null() { 0 } else { values.members_list_count.min(MOST_ENTRIES) };
    PropertyValues { value_type: values.prop_type_set, members: (0..count as usize).map(member).collect() }
}

/// Calls a property's or method's handler with a request of its own.
///
/// Decision: when a GET handler is called, Information is the room that the client offers; a handler that leaves it
/// alone has filled all of it.
fn run(target: &Target, entry: Entry, call: &mut PropertyCall<'_>) -> NtStatus {
    let verb = match entry.verb {
        Verb::Support if call.property().flags & KSPROPERTY_TYPE_UNSERIALIZERAW != 0 => Verb::Set,
        Verb::Support => Verb::Get,
        verb => verb,
    };
    let room = call.answer_limit().min(MOST_DATA_BYTES);
    let bytes = match verb {
        Verb::Get | Verb::Support => room,
        Verb::Set => call.data().len(),
        Verb::Method => room.max(call.data().len()),
    };
    let block = |bytes: usize| Block::zeroed(bytes.max(8), 16).map_err(|_| STATUS_INSUFFICIENT_RESOURCES);
    let (request, data) = match (block(call.request().len()), block(bytes)) {
        (Ok(request), Ok(data)) => (request, data),
        _ => return STATUS_INSUFFICIENT_RESOURCES,
    };
    request.write_bytes(0, call.request());
    if verb != Verb::Get {
        data.write_bytes(0, call.data());
    }
    let named = match NamedObject::of(call, verb) {
        Ok(named) => named,
        Err(status) => return status,
    };
    if let Some(named) = &named {
        data.store_u64(0, named.0);
    }
    let exchange = match Exchange::begin(target, call, &request) {
        Ok(exchange) => exchange,
        Err(status) => return status,
    };
    let irp = match LentIrp::lend_to_node(target.clone(), node(call), IRP_MJ_DEVICE_CONTROL, call.origin().mode()) {
        Ok(irp) => irp,
        Err(status) => return status,
    };
    let address = if bytes > 0 { data.address() } else { 0 };
    let code = if verb == Verb::Method { IoControlCode::KS_METHOD } else { IoControlCode::KS_PROPERTY };
    irp.set_parameter(0, call.answer_limit() as u64);
    irp.set_parameter(1, call.request().len() as u64);
    irp.set_parameter(2, u64::from(code.0));
    irp.set_parameter(3, request.address());
    irp.set_buffers(address, address);
    irp.set_driver_context(0, entry.set.0);
    irp.set_driver_context(3, entry.item.0);
    irp.set_information(if verb == Verb::Get { room as u64 } else { 0 });
    let routine = entry.routine.answering(call.property());
    let answer = irp.outcome(status(routine.call3(irp.address(), request.address(), address)));
    let information = usize::try_from(irp.information()).unwrap_or(0);
    exchange.end(call, answer, &data, information.min(bytes));
    if verb == Verb::Set || !answer.is_success() || (verb == Verb::Method && information == 0) {
        // Of a failure only the size that a size query learns is kept.
        call.set_information(if answer.is_warning() || answer.is_success() { information } else { 0 });
        return answer;
    }
    let mut filled = vec![0; information.min(bytes)];
    data.read_bytes(0, &mut filled);
    let kept = call.answer(&filled);
    if kept == STATUS_SUCCESS { answer } else { kept }
}

/// A handle of the drivers' world for the object that a client names in the data of a request, open while the handler
/// runs: the client's own number means nothing to `ObReferenceObjectByHandle`.
struct NamedObject(u64);

impl NamedObject {
    /// Properties of a stream that begin with a handle: the quality manager, the allocator and the master clock.
    /// `None`: the request names nothing. STATUS_INVALID_HANDLE: nothing of the client's.
    fn of(call: &PropertyCall<'_>, verb: Verb) -> Result<Option<NamedObject>, NtStatus> {
        const WITH_HANDLE: [u32; 3] =
            [KSPROPERTY_STREAM_ALLOCATOR, KSPROPERTY_STREAM_QUALITY, KSPROPERTY_STREAM_MASTERCLOCK];
        let property = call.property();
        if verb != Verb::Set || property.set != KSPROPSETID_Stream || !WITH_HANDLE.contains(&property.id) {
            return Ok(None);
        }
        let handle = call.data().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        if handle == 0 {
            return Ok(None);
        }
        let file = call.file_object().and_then(|own| own.file_by_handle(handle));
        let file = file.filter(|file| !file.is_cleaned_up()).ok_or(STATUS_INVALID_HANDLE)?;
        engine_file::lend(&file, NAMED_ACCESS).map(|handle| Some(NamedObject(handle)))
    }
}

impl Drop for NamedObject {
    fn drop(&mut self) {
        // A driver that keeps the object has referenced it.
        let _ = object_manager::close(self.0);
    }
}

/// The node that a request names.
fn node(call: &PropertyCall<'_>) -> u32 {
    if call.property().flags & KSPROPERTY_TYPE_TOPOLOGY == 0 {
        return FILTER_NODE;
    }
    let at = offset_of!(KspNode, node_id);
    let bytes = call.request().get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(FILTER_NODE, u32::from_le_bytes)
}
