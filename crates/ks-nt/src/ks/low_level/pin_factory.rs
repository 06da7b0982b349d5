//! Pin factories and topologies that a driver has as plain structures, without a filter of AVStream's behind them.

use super::request::{AnsweredBy, Captured, DataIn, DriverIrp};
use crate::exports;
use crate::exports::Export;
use crate::ks::address::{Address, Routine, status};
use crate::ks::descriptor;
use ks_abi::kernel::KsPinDescriptor;
use ks_abi::{
    Guid, KSINSTANCE_INDETERMINATE, KsMultipleItem, KsPinCommunication, KsPinDataFlow, KsPinInterface, KsPinMedium,
    KsTopology, KsTopologyConnection, KspPin, NtStatus, STATUS_BUFFER_OVERFLOW, STATUS_INVALID_BUFFER_SIZE,
    STATUS_INVALID_PARAMETER, STATUS_NO_MATCH, STATUS_SUCCESS,
};
use ks_io::{Aspect, Refusal};
use ks_stream::{
    DataRange, DescribePin, Framing, PinFactories, PinFlags, PinId, Topology, answer_pin_property,
    answer_topology_property, first_match,
};
use std::borrow::Cow;

pub(crate) const EXPORTS: &[Export] = exports!(Ks:
    KsPinPropertyHandler, KsPinDataIntersection, KsPinDataIntersectionEx, KsTopologyPropertyHandler,
);

/// An array of KSPIN_DESCRIPTORs, or of structures that start with one.
pub(super) struct Descriptors(Vec<Plain>);

struct Plain(Address);

impl Descriptors {
    pub(super) fn new(count: u32, first: Address, stride: usize) -> Descriptors {
        let count = if first.is_null() { 0 } else { count.min(descriptor::MOST_PINS) };
        Descriptors((0..count as usize).map(|at| Plain(first.at(at * stride))).collect())
    }
}

impl PinFactories for Descriptors {
    fn name(&self) -> Cow<'_, str> {
        "the driver's filter".into()
    }

    fn count(&self) -> u32 {
        self.0.len() as u32
    }

    fn factory(&self, id: PinId) -> Option<&dyn DescribePin> {
        self.0.get(id as usize).map(|pin| pin as &dyn DescribePin)
    }

    fn ranges(&self, id: PinId) -> Vec<DataRange> {
        self.factory(id).map_or_else(Vec::new, |pin| pin.data_ranges().into_owned())
    }

    /// The driver counts its pins itself.
    fn instances(&self, _id: PinId) -> u32 {
        0
    }
}

impl Plain {
    fn read(&self) -> KsPinDescriptor {
        self.0.read()
    }
}

impl DescribePin for Plain {
    fn data_flow(&self) -> KsPinDataFlow {
        self.read().data_flow
    }

    fn communication(&self) -> KsPinCommunication {
        self.read().communication
    }

    fn interfaces(&self) -> Cow<'_, [KsPinInterface]> {
        descriptor::interfaces(&self.read())
    }

    fn mediums(&self) -> Cow<'_, [KsPinMedium]> {
        descriptor::mediums(&self.read())
    }

    fn data_ranges(&self) -> Cow<'_, [DataRange]> {
        descriptor::ranges(&self.read()).into_iter().map(|(_, range)| range).collect::<Vec<_>>().into()
    }

    fn category(&self) -> Option<Guid> {
        descriptor::category(&self.read())
    }

    fn name(&self) -> Option<Cow<'_, str>> {
        descriptor::name(&self.read())
    }

    fn flags(&self) -> PinFlags {
        PinFlags::empty()
    }

    fn instances_possible(&self) -> u32 {
        KSINSTANCE_INDETERMINATE
    }

    fn instances_necessary(&self) -> u32 {
        0
    }

    fn framing(&self) -> Option<Framing> {
        None
    }
}

/// A KSTOPOLOGY in the driver's memory.
pub(super) struct Plan(pub(super) KsTopology);

impl Topology for Plan {
    fn categories(&self) -> Cow<'_, [Guid]> {
        descriptor::array(Address(self.0.categories.0), self.0.categories_count).into()
    }

    fn nodes(&self) -> Cow<'_, [Guid]> {
        descriptor::array(Address(self.0.topology_nodes.0), self.0.topology_nodes_count).into()
    }

    fn connections(&self) -> Cow<'_, [KsTopologyConnection]> {
        descriptor::array(Address(self.0.topology_connections.0), self.0.topology_connections_count).into()
    }

    fn node_name(&self, node: u32) -> Option<Cow<'_, str>> {
        let names = Address(self.0.topology_nodes_names.0).some();
        let own =
            names.map(|names| names.get::<Guid>(node as usize * size_of::<Guid>())).filter(|name| !name.is_null());
        let name = own.or_else(|| self.nodes().get(node as usize).copied())?;
        Some(crate::ks::media_names::text(name).into())
    }
}

// ks-coverage: KsPinPropertyHandler done test=pin_and_topology_properties_come_from_plain_structures
pub(crate) unsafe extern "win64" fn KsPinPropertyHandler(
    irp: Address,
    property: Address,
    data: Address,
    count: u32,
    pins: Address,
) -> NtStatus {
    let pins = Descriptors::new(count, pins, size_of::<KsPinDescriptor>());
    DriverIrp::new(irp).answer(Captured { request: property, data }, DataIn::No, |parts| {
        (answer_pin_property(&pins, parts), AnsweredBy::Table)
    })
}

// ks-coverage: KsTopologyPropertyHandler done test=pin_and_topology_properties_come_from_plain_structures
pub(crate) unsafe extern "win64" fn KsTopologyPropertyHandler(
    irp: Address,
    property: Address,
    data: Address,
    topology: Address,
) -> NtStatus {
    let topology = Plan(topology.read());
    DriverIrp::new(irp).answer(Captured { request: property, data }, DataIn::No, |parts| {
        (answer_topology_property(&topology, parts), AnsweredBy::Table)
    })
}

/// Where the ranges of a KSMULTIPLE_ITEM list start.
fn range_places(list: Address, bytes: usize) -> Vec<usize> {
    let mut places = Vec::new();
    let mut at = size_of::<KsMultipleItem>();
    while let Ok((_, next)) = ks_stream::DataFormat::parse(&list.at(at).bytes(bytes.saturating_sub(at))) {
        places.push(at);
        at += next;
    }
    places
}

/// Runs the request's ranges over a factory's; `ask` is given the addresses of both. A size that was asked for is found,
/// too.
fn intersect(
    irp: DriverIrp,
    request: Address,
    pins: &Descriptors,
    ask: impl Fn(Address, Address) -> NtStatus,
) -> NtStatus {
    irp.set_information(0);
    let bytes = irp.parameters().input_buffer_length as usize;
    let Some(list_bytes) = bytes.checked_sub(size_of::<KspPin>()) else { return STATUS_INVALID_BUFFER_SIZE };
    let pin: KspPin = request.read();
    let Some(factory) = pins.0.get(pin.pin_id as usize) else { return STATUS_INVALID_PARAMETER };
    let own = descriptor::ranges(&factory.read());
    let list = request.at(size_of::<KspPin>());
    let places = range_places(list, list_bytes);
    let found = first_match(pins, pin.pin_id, &list.bytes(list_bytes), |(theirs, ours), _, _| {
        let (Some(theirs), Some((ours, _))) = (places.get(theirs), own.get(ours)) else {
            return Err(Refusal::new(STATUS_NO_MATCH, Aspect::Driver, "the driver's ranges have changed"));
        };
        match ask(list.at(*theirs), *ours) {
            found if found == STATUS_BUFFER_OVERFLOW || found.is_success() => Ok(found),
            other => Err(Refusal::new(other, Aspect::Driver, "the intersect handler refuses")),
        }
    });
    found.unwrap_or_else(|refusal| refusal.status)
}

// ks-coverage: KsPinDataIntersection done test=pin_and_topology_properties_come_from_plain_structures
pub(crate) unsafe extern "win64" fn KsPinDataIntersection(
    irp: Address,
    pin: Address,
    data: u64,
    count: u32,
    pins: Address,
    handler: Address,
) -> NtStatus {
    let Some(handler) = Routine::optional(handler, "an intersect handler") else { return STATUS_INVALID_PARAMETER };
    let pins = Descriptors::new(count, pins, size_of::<KsPinDescriptor>());
    intersect(DriverIrp::new(irp), pin, &pins, |range, _| status(handler.call4(irp.0, pin.0, range.0, data)))
}

/// Without a handler the factory's own range is the answer, where it has no format block.
// ks-coverage: KsPinDataIntersectionEx done test=pin_and_topology_properties_come_from_plain_structures
pub(crate) unsafe extern "win64" fn KsPinDataIntersectionEx(
    irp: Address,
    pin: Address,
    data: u64,
    count: u32,
    pins: Address,
    descriptor_bytes: u32,
    handler: Address,
    context: u64,
) -> NtStatus {
    if (descriptor_bytes as usize) < size_of::<KsPinDescriptor>() {
        return STATUS_INVALID_PARAMETER;
    }
    let pins = Descriptors::new(count, pins, descriptor_bytes as usize);
    let request = DriverIrp::new(irp);
    let room = request.parameters().output_buffer_length;
    let handler = Routine::optional(handler, "an intersect handler");
    intersect(request, pin, &pins, |range, matching| match handler {
        Some(handler) => {
            let mut size = 0u32;
            let place = std::ptr::from_mut(&mut size) as u64;
            let answer = handler.call8(context, irp.0, pin.0, range.0, matching.0, u64::from(room), data, place);
            request.set_information(u64::from(size));
            status(answer)
        }
        None => default_answer(request, range, matching, Address(data)),
    })
}

fn default_answer(irp: DriverIrp, range: Address, matching: Address, data: Address) -> NtStatus {
    let parse = |at: Address| {
        let bytes: u32 = at.get(0);
        DataRange::parse(&at.bytes(bytes.min(descriptor::MOST_RANGE_BYTES) as usize)).map(|(range, _)| range)
    };
    let (Ok(range), Ok(matching)) = (parse(range), parse(matching)) else { return STATUS_NO_MATCH };
    let format = match crate::ks::intersect::default_handler(&range, &matching) {
        Ok(format) => format,
        Err(refusal) => return refusal.status,
    };
    let room = irp.parameters().output_buffer_length as usize;
    irp.set_information(format.bytes().len() as u64);
    match room {
        0 => STATUS_BUFFER_OVERFLOW,
        room if room < format.bytes().len() => {
            irp.set_information(0);
            ks_abi::STATUS_BUFFER_TOO_SMALL
        }
        _ => {
            data.write_bytes(format.bytes());
            STATUS_SUCCESS
        }
    }
}
