//! What is refused of a driver's descriptors when its device starts: absurd counts, NULLs, addresses of nothing.

use crate::ks::address::Address;
use crate::ks::descriptor::{MOST_ENTRIES, MOST_NODES, MOST_PINS, MOST_RANGE_BYTES, node_descriptor, pin_descriptor};
use ks_abi::kernel::{
    KsAutomationTable, KsDeviceDescriptor, KsFilterDescriptor, KsNodeDescriptor, KsPinDescriptorEx, KsPropertyItem,
    KsPropertySet,
};
use ks_abi::{Guid, KSDATARANGE_ATTRIBUTES, KsDataFormat, KsIdentifier, KsPinCommunication, KsPinDataFlow};
use std::mem::offset_of;

/// A sentence that says what is wrong.
type Wrong = String;

fn wrong(what: &str, why: impl std::fmt::Display) -> Result<(), Wrong> {
    Err(format!("{what} {why}"))
}

/// A count and its array.
fn list(what: &str, count: u32, most: u32, start: Address, stride: usize) -> Result<(), Wrong> {
    if count > most {
        return wrong(what, format!("has {count} entries; no driver has more than {most}"));
    }
    if count > 0 && start.is_null() {
        return wrong(what, format!("has {count} entries at NULL"));
    }
    if count > 0 && !start.is_readable(count as usize * stride) {
        return wrong(what, format!("lies at {:#x}, where nothing can be read", start.0));
    }
    Ok(())
}

fn optional(what: &str, address: Address, bytes: usize) -> Result<(), Wrong> {
    if !address.is_null() && !address.is_readable(bytes) {
        return wrong(what, format!("lies at {:#x}, where nothing can be read", address.0));
    }
    Ok(())
}

/// Checks a KSDEVICE_DESCRIPTOR and everything below it.
pub(crate) fn device(descriptor: Address) -> Result<(), Wrong> {
    if descriptor.is_null() {
        // A driver may describe its device later, filter factory by filter factory.
        return Ok(());
    }
    optional("the device descriptor", descriptor, offset_of!(KsDeviceDescriptor, version))?;
    let count = descriptor.get(offset_of!(KsDeviceDescriptor, filter_descriptors_count));
    let filters = descriptor.follow(offset_of!(KsDeviceDescriptor, filter_descriptors));
    list("FilterDescriptors of the device descriptor", count, MOST_ENTRIES, filters, 8)?;
    optional("Dispatch of the device descriptor", descriptor.follow(0), 13 * 8)?;
    (0..count as usize).try_for_each(|at| filter(filters.follow(8 * at), at))
}

/// Checks a KSFILTER_DESCRIPTOR and everything below it.
pub(crate) fn filter(descriptor: Address, index: usize) -> Result<(), Wrong> {
    let name = format!("filter descriptor {index}");
    if descriptor.is_null() {
        return wrong(&name, "is NULL");
    }
    optional(&name, descriptor, size_of::<KsFilterDescriptor>())?;
    let filter: KsFilterDescriptor = descriptor.read();
    let what = |field: &str| format!("{field} of {name}");
    optional(&what("Dispatch"), Address(filter.dispatch.0), 4 * 8)?;
    automation(&what("AutomationTable"), Address(filter.automation_table.0))?;
    optional(&what("ReferenceGuid"), Address(filter.reference_guid.0), size_of::<Guid>())?;
    optional(&what("ComponentId"), Address(filter.component_id.0), 16)?;
    let stride = |count: u32, bytes: u32, least: usize, field: &str| {
        if count > 0 && ((bytes as usize) < least || !bytes.is_multiple_of(8) || bytes > 1 << 16) {
            return wrong(&what(field), format!("is {bytes}; it is a multiple of 8, and at least {least}"));
        }
        Ok(())
    };
    let (pins, bytes) = (filter.pin_descriptors_count, filter.pin_descriptor_size);
    stride(pins, bytes, size_of::<KsPinDescriptorEx>(), "PinDescriptorSize")?;
    list(&what("PinDescriptors"), pins, MOST_PINS, Address(filter.pin_descriptors.0), bytes as usize)?;
    let (nodes, bytes) = (filter.node_descriptors_count, filter.node_descriptor_size);
    stride(nodes, bytes, size_of::<KsNodeDescriptor>(), "NodeDescriptorSize")?;
    list(&what("NodeDescriptors"), nodes, MOST_NODES, Address(filter.node_descriptors.0), bytes as usize)?;
    list(&what("Categories"), filter.categories_count, MOST_ENTRIES, Address(filter.categories.0), size_of::<Guid>())?;
    list(&what("Connections"), filter.connections_count, MOST_ENTRIES, Address(filter.connections.0), 16)?;
    for id in 0..pins {
        if let Some(descriptor) = pin_descriptor(descriptor, id) {
            pin(descriptor, &format!("pin descriptor {id} of {name}"))?;
        }
    }
    for id in 0..nodes {
        if let Some(node) = node_descriptor(descriptor, id) {
            automation(&format!("AutomationTable of node {id} of {name}"), node.follow(0))?;
            let guid = size_of::<Guid>();
            optional(
                &format!("Type of node {id} of {name}"),
                node.follow(offset_of!(KsNodeDescriptor, node_type)),
                guid,
            )?;
            optional(&format!("Name of node {id} of {name}"), node.follow(offset_of!(KsNodeDescriptor, name)), guid)?;
        }
    }
    Ok(())
}

/// Checks a KSPIN_DESCRIPTOR_EX.
pub(crate) fn pin(descriptor: Address, name: &str) -> Result<(), Wrong> {
    let pin: KsPinDescriptorEx = descriptor.read();
    let plain = pin.pin_descriptor;
    let what = |field: &str| format!("{field} of {name}");
    optional(&what("Dispatch"), Address(pin.dispatch.0), 10 * 8)?;
    automation(&what("AutomationTable"), Address(pin.automation_table.0))?;
    let identifier = size_of::<KsIdentifier>();
    list(&what("Interfaces"), plain.interfaces_count, MOST_ENTRIES, Address(plain.interfaces.0), identifier)?;
    list(&what("Mediums"), plain.mediums_count, MOST_ENTRIES, Address(plain.mediums.0), identifier)?;
    list(&what("DataRanges"), plain.data_ranges_count, MOST_ENTRIES, Address(plain.data_ranges.0), 8)?;
    optional(&what("Category"), Address(plain.category.0), size_of::<Guid>())?;
    optional(&what("Name"), Address(plain.name.0), size_of::<Guid>())?;
    optional(&what("AllocatorFraming"), Address(pin.allocator_framing.0), 4)?;
    if !matches!(plain.data_flow, KsPinDataFlow::IN | KsPinDataFlow::OUT) {
        return wrong(&what("DataFlow"), format!("is {}; it is 1 (in) or 2 (out)", plain.data_flow.0));
    }
    if plain.communication.0 > KsPinCommunication::BRIDGE.0 {
        return wrong(&what("Communication"), format!("is {}; the last one is 4", plain.communication.0));
    }
    let mut attributes = false;
    for at in 0..plain.data_ranges_count as usize {
        let range = Address(plain.data_ranges.0).follow(8 * at);
        let name = what(&format!("data range {at}"));
        if std::mem::take(&mut attributes) {
            continue;
        }
        if range.is_null() {
            return wrong(&name, "is NULL");
        }
        optional(&name, range, size_of::<KsDataFormat>())?;
        let head: KsDataFormat = range.read();
        let bytes = head.format_size;
        if bytes < size_of::<KsDataFormat>() as u32 || bytes > MOST_RANGE_BYTES || !range.is_readable(bytes as usize) {
            return wrong(&name, format!("says that it has {bytes} bytes"));
        }
        attributes = head.flags & KSDATARANGE_ATTRIBUTES != 0;
    }
    Ok(())
}

fn automation(what: &str, table: Address) -> Result<(), Wrong> {
    optional(what, table, size_of::<KsAutomationTable>())?;
    if table.is_null() {
        return Ok(());
    }
    let table: KsAutomationTable = table.read();
    let sets = [
        ("PropertySets", table.property_sets_count, table.property_sets, size_of::<KsPropertySet>()),
        ("MethodSets", table.method_sets_count, table.method_sets, 40),
        ("EventSets", table.event_sets_count, table.event_sets, 24),
    ];
    for (field, count, start, bytes) in sets {
        list(&format!("{field} of {what}"), count, MOST_ENTRIES, Address(start.0), bytes)?;
    }
    if table.property_sets_count > 0 && (table.property_item_size as usize) < size_of::<KsPropertyItem>() {
        return wrong(&format!("PropertyItemSize of {what}"), format!("is {}", table.property_item_size));
    }
    for at in 0..table.property_sets_count as usize {
        let set: KsPropertySet = Address(table.property_sets.0).get(at * size_of::<KsPropertySet>());
        let what = format!("property set {at} of {what}");
        if !Address(set.set.0).is_readable(size_of::<Guid>()) {
            return wrong(&what, "has no GUID");
        }
        let (count, items) = (set.properties_count, Address(set.property_item.0));
        list(&what, count, MOST_ENTRIES, items, table.property_item_size as usize)?;
    }
    Ok(())
}
