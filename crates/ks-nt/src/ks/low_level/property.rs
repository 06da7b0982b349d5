//! Properties over a driver's own requests.

use super::request::{AnsweredBy, Captured, DataFlow, DataIn, DriverIrp, MOST_BYTES};
use crate::exports;
use crate::exports::Export;
use crate::ks::address::{Address, Routine, status};
use crate::ks::automation::{self, Entry, MakeHandler};
use crate::ntoskrnl::device_file;
use crate::ntoskrnl::file::ControlRequest;
use ks_abi::kernel::{Irp, KsFastPropertyItem, KsPropertyItem, KsPropertySet};
use ks_abi::{
    Guid, KSPROPERTY_TYPE_GET, KSPROPERTY_TYPE_GETPAYLOADSIZE, KSPROPERTY_TYPE_SERIALIZESET,
    KSPROPERTY_TYPE_SERIALIZESIZE, KSPROPERTY_TYPE_SET, KSPROPERTY_TYPE_TOPOLOGY, KSPROPERTY_TYPE_UNSERIALIZERAW,
    KSPROPERTY_TYPE_UNSERIALIZESET, KsIdentifier, NtStatus, STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_PARAMETER,
    STATUS_SUCCESS,
};
use ks_io::{IrpParts, Refusal};
use ks_stream::{AutomationTable, PropertyCall, answer_property};
use std::cell::Cell;
use std::mem::offset_of;

pub(crate) const EXPORTS: &[Export] = exports!(Ks:
    KsPropertyHandler, KsPropertyHandlerWithAllocator, KsFastPropertyHandler, KsDispatchSpecificProperty,
);

/// A request whose handler is called with the driver's own packet.
pub(super) struct Own {
    irp: DriverIrp,
    captured: Captured,
    /// Items have a size that the driver said, so it may ask for its item.
    sized_items: bool,
    /// A handler of the driver's was called: data and Information are its own.
    handled: Cell<bool>,
}

impl Own {
    pub(super) fn new(irp: DriverIrp, captured: Captured, sized_items: bool) -> Own {
        Own { irp, captured, sized_items, handled: Cell::new(false) }
    }

    /// What makes handlers of a table's routines.
    pub(super) fn maker() -> MakeHandler<Own> {
        Box::new(|entry: Entry| Box::new(move |own: &Own, call: &mut PropertyCall<'_>| own.run(entry, call)))
    }

    // ks-coverage: KSMETHOD_SET_IRP_STORAGE done test=property_and_method_tables_answer_a_drivers_own_requests
    // ks-coverage: KSMETHOD_ITEM_IRP_STORAGE done test=property_and_method_tables_answer_a_drivers_own_requests
    fn run(&self, entry: Entry, call: &mut PropertyCall<'_>) -> NtStatus {
        self.handled.set(true);
        let irp = self.irp;
        irp.set_storage(0, entry.set.0);
        if self.sized_items {
            irp.set_storage(3, entry.item.0);
        }
        // As for AVStream's handlers: one that leaves Information alone has filled all of the room.
        irp.set_information(if entry.is_get() { call.answer_limit() as u64 } else { 0 });
        let routine = entry.routine.answering(call.property());
        status(routine.call3(irp.address().0, self.captured.request.0, self.captured.data.0))
    }

    /// What makes handlers of a table's routines for a request that is taken apart: each sends the driver a request of its
    /// own, by the way of the one that is taken apart.
    fn sender() -> MakeHandler<Own> {
        Box::new(|_: Entry| Box::new(|own: &Own, call: &mut PropertyCall<'_>| own.send(call)))
    }

    fn send(&self, call: &mut PropertyCall<'_>) -> NtStatus {
        let request = call.request().to_vec();
        let is_set = call.property().flags & KSPROPERTY_TYPE_SET != 0;
        let mut data = if is_set { call.data().to_vec() } else { vec![0; call.answer_limit()] };
        let asked = ControlRequest {
            code: self.irp.parameters().io_control_code,
            input: request.as_ptr() as u64,
            input_bytes: request.len() as u32,
            output: if data.is_empty() { 0 } else { data.as_mut_ptr() as u64 },
            output_bytes: data.len() as u32,
        };
        let mode: u8 = self.irp.address().get(offset_of!(Irp, requestor_mode));
        let (device, file) = (self.irp.device_object(), self.irp.file_object());
        // SAFETY: the request that is taken apart came to this device, whose driver has it, and the buffers are locals.
        let ended = unsafe { device_file::control_at(device.0, file.0, mode, &asked) };
        let size = usize::try_from(ended.information).unwrap_or(usize::MAX).min(MOST_BYTES as usize);
        match ended.status {
            STATUS_SUCCESS if !is_set => call.answer(&data[..size.min(data.len())]),
            status => {
                call.set_information(size);
                status
            }
        }
    }

    /// Has `answer` find out what the request asks for, and gives the driver's packet what it did not fill itself.
    pub(super) fn answer(
        &self,
        data_in: DataIn,
        answer: impl FnOnce(&Own, IrpParts<'_>) -> Result<NtStatus, Refusal>,
    ) -> NtStatus {
        self.irp.answer(self.captured, data_in, |parts| {
            let status = answer(self, parts);
            (status, if self.handled.get() { AnsweredBy::Driver } else { AnsweredBy::Table })
        })
    }
}

/// Requests that are answered by several calls of handlers.
const TAKEN_APART: u32 = KSPROPERTY_TYPE_SERIALIZESET
    | KSPROPERTY_TYPE_UNSERIALIZESET
    | KSPROPERTY_TYPE_SERIALIZESIZE
    | KSPROPERTY_TYPE_GETPAYLOADSIZE;

/// The identifier at the start of a request's input.
pub(super) fn identifier(irp: DriverIrp) -> Result<KsIdentifier, NtStatus> {
    let parameters = irp.parameters();
    if (parameters.input_buffer_length as usize) < size_of::<KsIdentifier>()
        || parameters.type3_input_buffer.0 == 0 && irp.captured().is_none()
    {
        return Err(STATUS_INVALID_BUFFER_SIZE);
    }
    match irp.captured() {
        Some(captured) => Ok(captured.request.read()),
        None => Ok(Address(parameters.type3_input_buffer.0).read()),
    }
}

fn handle(irp: Address, count: u32, sets: Address, allocator: Address, item_bytes: u32) -> NtStatus {
    let irp = DriverIrp::new(irp);
    irp.set_information(0);
    let stride = match automation::item_stride(item_bytes, size_of::<KsPropertyItem>()) {
        Some(stride) => stride,
        None => return STATUS_INVALID_PARAMETER,
    };
    let property = match identifier(irp) {
        Ok(property) => property,
        Err(status) => return status,
    };
    const BRING_DATA: u32 = KSPROPERTY_TYPE_SET | KSPROPERTY_TYPE_UNSERIALIZERAW | KSPROPERTY_TYPE_UNSERIALIZESET;
    let (data_in, flow) = match property.flags & BRING_DATA {
        0 => (DataIn::No, DataFlow::Out),
        _ => (DataIn::Yes, DataFlow::In),
    };
    let captured = match irp.capture(flow, Routine::optional(allocator, "an allocator of a property's buffers")) {
        Ok(captured) => captured,
        Err(status) => return status,
    };
    // The handlers of a driver's own request answer that request, and no other that is made of it.
    let properties = match property.flags & TAKEN_APART {
        0 => automation::property_sets(count, sets, stride, Some(&property), &Own::maker()),
        _ => automation::property_sets(count, sets, stride, None, &Own::sender()),
    };
    let table = AutomationTable { properties, ..AutomationTable::default() };
    Own::new(irp, captured, item_bytes != 0).answer(data_in, |own, parts| answer_property(own, parts, &[&table]))
}

pub(crate) unsafe extern "win64" fn KsPropertyHandler(irp: Address, count: u32, sets: Address) -> NtStatus {
    handle(irp, count, sets, Address::NULL, 0)
}

// ks-coverage: KsPropertyHandlerWithAllocator done test=property_and_method_tables_answer_a_drivers_own_requests
pub(crate) unsafe extern "win64" fn KsPropertyHandlerWithAllocator(
    irp: Address,
    count: u32,
    sets: Address,
    allocator: Address,
    item_bytes: u32,
) -> NtStatus {
    handle(irp, count, sets, allocator, item_bytes)
}

// ks-coverage: KsFastPropertyHandler done test=property_and_method_tables_answer_a_drivers_own_requests
/// The routine of a fast table for one request; what else there is to check needs a packet.
pub(crate) unsafe extern "win64" fn KsFastPropertyHandler(
    file: u64,
    request: Address,
    request_bytes: u32,
    data: u64,
    data_bytes: u32,
    io_status: Address,
    count: u32,
    sets: Address,
) -> u8 {
    if (request_bytes as usize) < size_of::<KsIdentifier>() || request_bytes > MOST_BYTES {
        return 0;
    }
    let property: KsIdentifier = request.read();
    let set = (0..count.min(automation::MOST_SETS)).map(|at| sets.at(at as usize * size_of::<KsPropertySet>()));
    let set = set
        .map(|at| at.read::<KsPropertySet>())
        .find(|set| !set.set.is_null() && Address(set.set.0).read::<Guid>() == property.set);
    let Some(set) = set.filter(|set| !set.fast_io_table.is_null()) else { return 0 };
    let items = (0..set.fast_io_count.min(automation::MOST_SETS)).map(|at| {
        Address(set.fast_io_table.0).get::<KsFastPropertyItem>(at as usize * size_of::<KsFastPropertyItem>())
    });
    let Some(item) = items.into_iter().find(|item| item.property_id == property.id) else { return 0 };
    let routine = match property.flags & !KSPROPERTY_TYPE_TOPOLOGY {
        KSPROPERTY_TYPE_GET => item.get_property_handler,
        KSPROPERTY_TYPE_SET => item.set_property_handler,
        _ => return 0,
    };
    fast(routine.0, property, [file, request.0, request_bytes.into(), data, data_bytes.into(), io_status.0])
}

/// Calls a fast handler, if there is one.
pub(super) fn fast(routine: u64, request: KsIdentifier, arguments: [u64; 6]) -> u8 {
    let Some(routine) = Routine::optional(Address(routine), "a fast handler") else { return 0 };
    let [file, at, request_bytes, data, data_bytes, io_status] = arguments;
    // IO_STATUS_BLOCK.Information
    Address(io_status).put(8, 0u64);
    routine.answering(request).call6(file, at, request_bytes, data, data_bytes, io_status) as u8
}

/// Calls a handler with the request that KsPropertyHandler captured before.
// ks-coverage: KsDispatchSpecificProperty done test=property_and_method_tables_answer_a_drivers_own_requests
pub(crate) unsafe extern "win64" fn KsDispatchSpecificProperty(irp: Address, handler: Address) -> NtStatus {
    dispatch_specific(irp, handler, "a handler for KsDispatchSpecificProperty")
}

pub(super) fn dispatch_specific(irp: Address, handler: Address, name: &'static str) -> NtStatus {
    let Some(routine) = Routine::optional(handler, name) else { return STATUS_INVALID_PARAMETER };
    match DriverIrp::new(irp).captured() {
        Some(captured) => status(routine.call3(irp.0, captured.request.0, captured.data.0)),
        None => STATUS_INVALID_PARAMETER,
    }
}
