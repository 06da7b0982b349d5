//! Automation tables of a driver, made into handlers that call its routines.

use crate::ks::address::{Address, Routine, status};
use crate::ks::descriptor::MOST_ENTRIES;
use crate::ks::filter::mode_byte;
use crate::ks::irp::{FILTER_NODE, LentIrp, Target};
use ks_abi::kernel::{
    IRP_MJ_DEVICE_CONTROL, KsAutomationTable, KsPropertyItem, KsPropertyMembersList, KsPropertySet, KsPropertyValues,
};
use ks_abi::{
    Guid, IoControlCode, KsIdentifier, NtStatus, STATUS_DEVICE_REMOVED, STATUS_INSUFFICIENT_RESOURCES, STATUS_SUCCESS,
};
use ks_mem::Block;
use ks_stream::{AutomationTable, Handler, PropertyCall, PropertyItem, PropertyMembers, PropertySet, PropertyValues};
use std::sync::Arc;

/// Finds the hosted object that a request on an engine object is for.
pub(crate) type Finder<T> = Arc<dyn Fn(&T) -> Option<Target> + Send + Sync>;

/// The most bytes that a handler is given to answer into. A client may offer more; nothing is allocated for that.
const MOST_DATA_BYTES: usize = 16 << 20;
const MOST_MEMBER_BYTES: u64 = 1 << 20;

/// Which buffer holds what the handler wants.
#[derive(Clone, Copy, PartialEq)]
enum Verb {
    Get,
    Set,
}

/// The handlers of a KSAUTOMATION_TABLE; an empty table at NULL.
pub(crate) fn table<T: 'static>(address: Address, finder: Finder<T>) -> AutomationTable<T> {
    if address.is_null() {
        return AutomationTable::default();
    }
    let table: KsAutomationTable = address.read();
    let properties = (0..table.property_sets_count.min(MOST_ENTRIES) as usize)
        .filter_map(|at| {
            let set = Address(table.property_sets.0).at(at * size_of::<KsPropertySet>());
            property_set(set, table.property_item_size as usize, &finder)
        })
        .collect();
    AutomationTable { properties, ..AutomationTable::default() }
}

fn property_set<T: 'static>(address: Address, stride: usize, finder: &Finder<T>) -> Option<PropertySet<T>> {
    let set: KsPropertySet = address.read();
    let guid: Guid = Address(set.set.0).some()?.read();
    let items = (0..set.properties_count.min(MOST_ENTRIES) as usize)
        .map(|at| property_item(address, Address(set.property_item.0).at(at * stride), finder))
        .collect();
    Some(PropertySet { set: guid, items })
}

fn property_item<T: 'static>(set: Address, address: Address, finder: &Finder<T>) -> PropertyItem<T> {
    let item: KsPropertyItem = address.read();
    let handler = |routine: u64, verb: Verb, name| -> Option<Handler<T>> {
        let routine = Routine::optional(Address(routine), name)?;
        let finder = finder.clone();
        Some(Box::new(move |object: &T, call: &mut PropertyCall<'_>| match finder(object) {
            Some(target) => run(&target, routine, set, address, verb, call),
            None => STATUS_DEVICE_REMOVED,
        }))
    };
    let relations = (0..item.relations_count.min(MOST_ENTRIES) as usize)
        .filter(|_| !item.relations.is_null())
        .map(|at| Address(item.relations.0).get::<KsIdentifier>(at * size_of::<KsIdentifier>()))
        .collect();
    PropertyItem {
        get: handler(item.get_property_handler.0, Verb::Get, "a property's get handler"),
        set: handler(item.set_property_handler.0, Verb::Set, "a property's set handler"),
        min_property_bytes: (item.min_property as usize).max(size_of::<KsIdentifier>()),
        min_data_bytes: item.min_data as usize,
        values: Address(item.values.0).some().map(values),
        relations,
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

/// Calls a property handler with a request of its own.
///
/// Decision: when a GET handler is called, Information is the room that the client offers; a handler that leaves it
/// alone has filled all of it.
fn run(
    target: &Target,
    routine: Routine,
    set: Address,
    item: Address,
    verb: Verb,
    call: &mut PropertyCall<'_>,
) -> NtStatus {
    let room = call.answer_limit().min(MOST_DATA_BYTES);
    let bytes = if verb == Verb::Get { room } else { call.data().len() };
    let block = |bytes: usize| Block::zeroed(bytes.max(8), 16).map_err(|_| STATUS_INSUFFICIENT_RESOURCES);
    let (request, data) = match (block(call.request().len()), block(bytes)) {
        (Ok(request), Ok(data)) => (request, data),
        _ => return STATUS_INSUFFICIENT_RESOURCES,
    };
    request.write_bytes(0, call.request());
    if verb == Verb::Set {
        data.write_bytes(0, call.data());
    }
    let irp = match LentIrp::lend_to_node(target.clone(), FILTER_NODE, IRP_MJ_DEVICE_CONTROL, 0) {
        Ok(irp) => irp,
        Err(status) => return status,
    };
    let address = if bytes > 0 { data.address() } else { 0 };
    irp.set_parameter(0, call.answer_limit() as u64);
    irp.set_parameter(1, call.request().len() as u64);
    irp.set_parameter(2, u64::from(IoControlCode::KS_PROPERTY.0));
    irp.set_parameter(3, request.address());
    irp.set_requestor_mode(mode_byte(call.origin().mode()));
    irp.set_buffers(address, address);
    irp.set_driver_context(0, set.0);
    irp.set_driver_context(3, item.0);
    irp.set_information(if verb == Verb::Get { room as u64 } else { 0 });
    let answer = irp.outcome(status(routine.call3(irp.address(), request.address(), address)));
    let information = usize::try_from(irp.information()).unwrap_or(0);
    if verb == Verb::Set || !answer.is_success() {
        // Of a failure only the size that a size query learns is kept.
        call.set_information(if answer.is_warning() || answer.is_success() { information } else { 0 });
        return answer;
    }
    let mut filled = vec![0; information.min(bytes)];
    data.read_bytes(0, &mut filled);
    let kept = call.answer(&filled);
    if kept == STATUS_SUCCESS { answer } else { kept }
}
