//! Pin factories, nodes and connections that a driver adds to one open filter, and automation tables that it merges.
//!
//! A filter's descriptor is replaced by a copy in the filter's bag that has more in it, so that whoever reads the
//! descriptor sees the new entries like the old ones.

use crate::exports;
use crate::exports::Export;
use crate::ks::address::Address;
use crate::ks::automation_tables;
use crate::ks::check;
use crate::ks::descriptor::{MOST_ENTRIES, MOST_NODES, MOST_PINS};
use crate::ks::filter::HostedFilter;
use crate::ks::kernel;
use crate::ks::misuse::misuse;
use crate::ks::objects;
use crate::report::BugCheck;
use ks_abi::kernel::{
    KsAutomationTable, KsEventSet, KsFilterDescriptor, KsMethodSet, KsNodeDescriptor, KsPinDescriptorEx, KsPropertySet,
};
use ks_abi::{
    KsTopologyConnection, NtStatus, Ptr64, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER, STATUS_SUCCESS,
};
use zerocopy::{FromBytes, IntoBytes};

pub(crate) const EXPORTS: &[Export] = exports!(Ks:
    KsFilterCreatePinFactory, KsFilterCreateNode, KsFilterAddTopologyConnections, KsMergeAutomationTables,
);

const TAG: u32 = u32::from_le_bytes(*b"KsEd");

/// An array with more behind it, in the filter's bag.
fn extended(filter: &HostedFilter, array: u64, bytes: usize, more: &[u8]) -> Result<Address, NtStatus> {
    let copy = kernel::allocate_pool(bytes + more.len(), TAG).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
    copy.write_bytes(&Address(array).bytes(bytes));
    copy.at(bytes).write_bytes(more);
    filter.keep(copy.0);
    Ok(copy)
}

/// Replaces the filter's descriptor.
fn replace(filter: &HostedFilter, descriptor: &KsFilterDescriptor) -> Result<(), NtStatus> {
    let copy = kernel::allocate_pool(size_of::<KsFilterDescriptor>(), TAG).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
    copy.write_bytes(descriptor.as_bytes());
    filter.keep(copy.0);
    filter.set_descriptor(copy);
    Ok(())
}

/// One more element of an array of descriptors with a stride.
fn append(
    filter: &HostedFilter,
    place: (u64, u32, u32),
    own: usize,
    element: Address,
) -> Result<(Address, u32), NtStatus> {
    let (array, count, stride) = place;
    let stride = if count == 0 { own as u32 } else { stride.max(own as u32) };
    let mut more = element.bytes(own);
    more.resize(stride as usize, 0);
    Ok((extended(filter, array, count as usize * stride as usize, &more)?, stride))
}

fn outcome(result: Result<(), NtStatus>) -> NtStatus {
    result.map_or_else(|status| status, |()| STATUS_SUCCESS)
}

// ks-coverage: KsFilterCreatePinFactory done test=a_driver_adds_factories_and_nodes_to_an_open_filter
pub(crate) unsafe extern "win64" fn KsFilterCreatePinFactory(
    filter: Address,
    pin: Address,
    result: Address,
) -> NtStatus {
    let Some(filter) = objects::filter(filter, "KsFilterCreatePinFactory") else { return STATUS_INVALID_PARAMETER };
    if let Err(wrong) = check::pin(pin, "the new pin descriptor") {
        misuse(BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION, "KsFilterCreatePinFactory", wrong);
        return STATUS_INVALID_PARAMETER;
    }
    let mut descriptor: KsFilterDescriptor = filter.descriptor().read();
    let id = descriptor.pin_descriptors_count;
    if id >= MOST_PINS {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let place = (descriptor.pin_descriptors.0, id, descriptor.pin_descriptor_size);
    outcome(append(&filter, place, size_of::<KsPinDescriptorEx>(), pin).and_then(|(pins, stride)| {
        descriptor.pin_descriptors = Ptr64(pins.0);
        descriptor.pin_descriptor_size = stride;
        descriptor.pin_descriptors_count = id + 1;
        replace(&filter, &descriptor)?;
        result.put_optional(id);
        Ok(())
    }))
}

// ks-coverage: KsFilterCreateNode done test=a_driver_adds_factories_and_nodes_to_an_open_filter
pub(crate) unsafe extern "win64" fn KsFilterCreateNode(filter: Address, node: Address, result: Address) -> NtStatus {
    let Some(filter) = objects::filter(filter, "KsFilterCreateNode") else { return STATUS_INVALID_PARAMETER };
    let mut descriptor: KsFilterDescriptor = filter.descriptor().read();
    let id = descriptor.node_descriptors_count;
    if id >= MOST_NODES {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let place = (descriptor.node_descriptors.0, id, descriptor.node_descriptor_size);
    outcome(append(&filter, place, size_of::<KsNodeDescriptor>(), node).and_then(|(nodes, stride)| {
        descriptor.node_descriptors = Ptr64(nodes.0);
        descriptor.node_descriptor_size = stride;
        descriptor.node_descriptors_count = id + 1;
        replace(&filter, &descriptor)?;
        result.put_optional(id);
        Ok(())
    }))
}

// ks-coverage: KsFilterAddTopologyConnections done test=a_driver_adds_factories_and_nodes_to_an_open_filter
pub(crate) unsafe extern "win64" fn KsFilterAddTopologyConnections(
    filter: Address,
    count: u32,
    connections: Address,
) -> NtStatus {
    let Some(filter) = objects::filter(filter, "KsFilterAddTopologyConnections") else {
        return STATUS_INVALID_PARAMETER;
    };
    let mut descriptor: KsFilterDescriptor = filter.descriptor().read();
    let before = descriptor.connections_count;
    let Some(all) = before.checked_add(count).filter(|all| *all <= MOST_ENTRIES) else {
        return STATUS_INVALID_PARAMETER;
    };
    let bytes = |count: u32| count as usize * size_of::<KsTopologyConnection>();
    let more = connections.bytes(bytes(count));
    outcome(extended(&filter, descriptor.connections.0, bytes(before), &more).and_then(|connections| {
        descriptor.connections = Ptr64(connections.0);
        descriptor.connections_count = all;
        replace(&filter, &descriptor)
    }))
}

/// The sets of two tables, those of the first before those of the second. Items are found set by set in this order, so
/// the first table wins.
fn merged<S: FromBytes + IntoBytes + zerocopy::Immutable>(one: (u64, u32), other: (u64, u32)) -> Vec<u8> {
    let read = |(start, count): (u64, u32)| -> Vec<u8> {
        let count = if start == 0 { 0 } else { count.min(MOST_ENTRIES) };
        Address(start).bytes(count as usize * size_of::<S>())
    };
    [read(one), read(other)].concat()
}

fn same_stride(one: (u32, u32), other: (u32, u32)) -> Option<u32> {
    match (one, other) {
        ((_, stride), (0, _)) | ((0, _), (_, stride)) => Some(stride),
        ((_, stride), (_, other)) => (stride == other).then_some(stride),
    }
}

/// Decision: the merged table and its sets are one piece of pool memory, so that a driver that names no bag frees it by
/// one ExFreePool. A table that is taken out of the bag is freed, as KsDiscard does.
// ks-coverage: KsMergeAutomationTables done test=a_driver_adds_factories_and_nodes_to_an_open_filter,a_driver_merges_tables_and_edits_descriptors_while_it_runs
pub(crate) unsafe extern "win64" fn KsMergeAutomationTables(
    result: Address,
    first: Address,
    second: Address,
    bag: Address,
) -> NtStatus {
    if first.is_null() && second.is_null() {
        return STATUS_SUCCESS;
    }
    let bag = match bag.some() {
        None => None,
        Some(bag) => match objects::bag(bag, "KsMergeAutomationTables") {
            None => return STATUS_INVALID_PARAMETER,
            known => known,
        },
    };
    // Of one table alone a copy is made.
    let read = |table: Address| if table.is_null() { KsAutomationTable::default() } else { table.read() };
    let (one, other) = (read(first), read(second));
    let strides = (
        same_stride(
            (one.property_sets_count, one.property_item_size),
            (other.property_sets_count, other.property_item_size),
        ),
        same_stride((one.method_sets_count, one.method_item_size), (other.method_sets_count, other.method_item_size)),
        same_stride((one.event_sets_count, one.event_item_size), (other.event_sets_count, other.event_item_size)),
    );
    let (Some(property_item_size), Some(method_item_size), Some(event_item_size)) = strides else {
        return STATUS_INVALID_PARAMETER;
    };
    let properties = merged::<KsPropertySet>(
        (one.property_sets.0, one.property_sets_count),
        (other.property_sets.0, other.property_sets_count),
    );
    let methods = merged::<KsMethodSet>(
        (one.method_sets.0, one.method_sets_count),
        (other.method_sets.0, other.method_sets_count),
    );
    let events =
        merged::<KsEventSet>((one.event_sets.0, one.event_sets_count), (other.event_sets.0, other.event_sets_count));
    let head = size_of::<KsAutomationTable>();
    let Some(copy) = kernel::allocate_pool(head + properties.len() + methods.len() + events.len(), TAG) else {
        return STATUS_INSUFFICIENT_RESOURCES;
    };
    let (method_at, event_at) = (head + properties.len(), head + properties.len() + methods.len());
    let place = |at: usize, sets: &[u8]| if sets.is_empty() { Ptr64::NULL } else { Ptr64(copy.at(at).0) };
    let table = KsAutomationTable {
        property_sets_count: (properties.len() / size_of::<KsPropertySet>()) as u32,
        property_item_size,
        property_sets: place(head, &properties),
        method_sets_count: (methods.len() / size_of::<KsMethodSet>()) as u32,
        method_item_size,
        method_sets: place(method_at, &methods),
        event_sets_count: (events.len() / size_of::<KsEventSet>()) as u32,
        event_item_size,
        event_sets: place(event_at, &events),
    };
    copy.write_bytes(&[table.as_bytes(), &properties, &methods, &events].concat());
    automation_tables::tables_changed();
    if let Some(bag) = bag {
        bag.keep(copy.0);
        for input in [first, second].into_iter().filter(|input| !input.is_null()) {
            bag.discard(input.0);
        }
    }
    result.put(0, copy.0);
    STATUS_SUCCESS
}
