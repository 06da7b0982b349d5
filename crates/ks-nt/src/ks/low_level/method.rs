//! Methods over a driver's own requests.

use super::property::{self, Own};
use super::request::{DataFlow, DataIn, DriverIrp, MOST_BYTES};
use crate::exports;
use crate::exports::Export;
use crate::ks::address::{Address, Routine};
use crate::ks::automation;
use ks_abi::kernel::{KsFastMethodItem, KsMethodItem, KsMethodSet};
use ks_abi::{
    Guid, KSMETHOD_TYPE_MODIFY, KSMETHOD_TYPE_NONE, KSMETHOD_TYPE_READ, KSMETHOD_TYPE_SEND, KSMETHOD_TYPE_SOURCE,
    KSMETHOD_TYPE_TOPOLOGY, KSMETHOD_TYPE_WRITE, KsIdentifier, NtStatus, STATUS_INVALID_PARAMETER,
};
use ks_stream::{AutomationTable, MethodSet, answer_method};

pub(crate) const EXPORTS: &[Export] = exports!(Ks:
    KsMethodHandler, KsMethodHandlerWithAllocator, KsFastMethodHandler, KsDispatchSpecificMethod,
);

/// Which way the data of a method goes: what its item says, and room for an answer where the question is another.
fn flow(method: &KsIdentifier, sets: &[MethodSet<Own>]) -> (u32, DataFlow) {
    if method.flags & !KSMETHOD_TYPE_TOPOLOGY != KSMETHOD_TYPE_SEND {
        return (KSMETHOD_TYPE_NONE, DataFlow::Out);
    }
    let mut items = sets.iter().filter(|set| set.set == method.set).flat_map(|set| &set.items);
    let kind = items.find(|item| item.id == method.id).map_or(KSMETHOD_TYPE_NONE, |item| item.kind);
    let flow = match kind & (KSMETHOD_TYPE_MODIFY | KSMETHOD_TYPE_SOURCE) {
        KSMETHOD_TYPE_READ => DataFlow::In,
        KSMETHOD_TYPE_WRITE => DataFlow::Out,
        KSMETHOD_TYPE_MODIFY => DataFlow::InOut,
        _ => DataFlow::Room,
    };
    (kind, flow)
}

// ks-coverage: KSMETHOD_TYPE_IRP_STORAGE done test=property_and_method_tables_answer_a_drivers_own_requests
fn handle(irp: Address, count: u32, sets: Address, allocator: Address, item_bytes: u32) -> NtStatus {
    let irp = DriverIrp::new(irp);
    irp.set_information(0);
    let Some(stride) = automation::item_stride(item_bytes, size_of::<KsMethodItem>()) else {
        return STATUS_INVALID_PARAMETER;
    };
    let method = match property::identifier(irp) {
        Ok(method) => method,
        Err(status) => return status,
    };
    let methods = automation::method_sets(count, sets, stride, Some(&method), &Own::maker());
    let (kind, flow) = flow(&method, &methods);
    let allocator = Routine::optional(allocator, "an allocator of a method's buffers");
    let mut captured = match irp.capture(flow, allocator) {
        Ok(captured) => captured,
        Err(status) => return status,
    };
    if kind & KSMETHOD_TYPE_SOURCE != 0 && !captured.data.is_null() {
        // The handler works on the caller's own buffer.
        captured.data = irp.user_buffer();
    }
    irp.set_storage(2, u64::from(kind));
    let table = AutomationTable { methods, ..AutomationTable::default() };
    let data_in = if matches!(flow, DataFlow::In | DataFlow::InOut) { DataIn::Yes } else { DataIn::No };
    Own::new(irp, captured, item_bytes != 0).answer(data_in, |own, parts| answer_method(own, parts, &[&table]))
}

pub(crate) unsafe extern "win64" fn KsMethodHandler(irp: Address, count: u32, sets: Address) -> NtStatus {
    handle(irp, count, sets, Address::NULL, 0)
}

// ks-coverage: KsMethodHandlerWithAllocator done test=property_and_method_tables_answer_a_drivers_own_requests
pub(crate) unsafe extern "win64" fn KsMethodHandlerWithAllocator(
    irp: Address,
    count: u32,
    sets: Address,
    allocator: Address,
    item_bytes: u32,
) -> NtStatus {
    handle(irp, count, sets, allocator, item_bytes)
}

// ks-coverage: KsFastMethodHandler done test=property_and_method_tables_answer_a_drivers_own_requests
pub(crate) unsafe extern "win64" fn KsFastMethodHandler(
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
    let method: KsIdentifier = request.read();
    if method.flags & !KSMETHOD_TYPE_TOPOLOGY != KSMETHOD_TYPE_SEND {
        return 0;
    }
    let set = (0..count.min(automation::MOST_SETS)).map(|at| sets.at(at as usize * size_of::<KsMethodSet>()));
    let set = set
        .map(|at| at.read::<KsMethodSet>())
        .find(|set| !set.set.is_null() && Address(set.set.0).read::<Guid>() == method.set);
    let Some(set) = set.filter(|set| !set.fast_io_table.is_null()) else { return 0 };
    let item = (0..set.fast_io_count.min(automation::MOST_SETS))
        .map(|at| Address(set.fast_io_table.0).get::<KsFastMethodItem>(at as usize * size_of::<KsFastMethodItem>()))
        .find(|item| item.method_id == method.id);
    let Some(item) = item else { return 0 };
    property::fast(
        item.method_handler.0,
        method,
        [file, request.0, request_bytes.into(), data, data_bytes.into(), io_status.0],
    )
}

/// Calls a handler with the request that KsMethodHandler captured before.
// ks-coverage: KsDispatchSpecificMethod done test=property_and_method_tables_answer_a_drivers_own_requests
pub(crate) unsafe extern "win64" fn KsDispatchSpecificMethod(irp: Address, handler: Address) -> NtStatus {
    property::dispatch_specific(irp, handler, "a handler for KsDispatchSpecificMethod")
}
