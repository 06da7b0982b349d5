//! Create requests for pins, clocks, allocators and nodes: what stands behind the class in the name, checked.

use super::pin_factory::Descriptors;
use super::request::{DataFlow, DriverIrp};
use crate::exports;
use crate::exports::Export;
use crate::ks::address::Address;
use ks_abi::kernel::{FileObject, KsPinDescriptor, UnicodeString};
use ks_abi::{
    KsAllocatorFramingEx, KsTopology, NtStatus, STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_PARAMETER, STATUS_SUCCESS,
};
use ks_io::{AccessMask, Refusal, RequestorMode};
use ks_stream::{validate_allocator_create, validate_clock_create, validate_node_create};
use std::mem::offset_of;

pub(crate) const EXPORTS: &[Export] = exports!(Ks:
    KsValidateConnectRequest, KsValidateAllocatorCreateRequest, KsValidateClockCreateRequest,
    KsValidateTopologyNodeCreateRequest, KsValidateAllocatorFramingEx,
);

/// The class in the name of a create request, and what stands behind it.
pub(super) fn class_and_parameters(irp: DriverIrp) -> Result<(String, Vec<u8>), NtStatus> {
    let file = irp.file_object().some().ok_or(STATUS_INVALID_PARAMETER)?;
    let name: UnicodeString = file.get(offset_of!(FileObject, file_name));
    let bytes = Address(name.buffer.0).bytes(name.length.into());
    let units: Vec<u16> = bytes.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
    let slash = u16::from(b'\\');
    let start = usize::from(units.first() == Some(&slash));
    let end = units.iter().skip(1).position(|unit| *unit == slash).map_or(units.len(), |at| at + 1);
    let parameters = bytes.get(2 * (end + 1)..).unwrap_or_default();
    Ok((String::from_utf16_lossy(&units[start..end]), parameters.to_vec()))
}

/// What stands behind the class of a create request, as an aligned copy that the I/O manager frees with the request.
fn parameters(irp: DriverIrp) -> Result<(Address, Vec<u8>), NtStatus> {
    let (_, parameters) = class_and_parameters(irp)?;
    if let Some(copy) = irp.system_buffer().some() {
        return Ok((copy, parameters));
    }
    let copy = irp.allocate_system_buffer(parameters.len().max(8), DataFlow::Room)?;
    copy.write_bytes(&parameters);
    Ok((copy, parameters))
}

/// The copy of the parameters, if `check` finds them right.
fn checked<T>(irp: Address, check: impl FnOnce(&[u8]) -> Result<T, Refusal>) -> Result<Address, NtStatus> {
    let (copy, bytes) = parameters(DriverIrp::new(irp))?;
    match check(&bytes) {
        Ok(_) => Ok(copy),
        Err(refusal) => Err(refusal.status),
    }
}

fn give(checked: Result<Address, NtStatus>, result: Address) -> NtStatus {
    match checked {
        Ok(copy) => {
            result.put(0, copy.0);
            STATUS_SUCCESS
        }
        Err(status) => status,
    }
}

/// The checks are those of AVStream's own creates, in their order. Access is the driver's matter, and so are instances.
// ks-coverage: KsValidateConnectRequest done test=create_requests_are_validated
pub(crate) unsafe extern "win64" fn KsValidateConnectRequest(
    irp: Address,
    count: u32,
    pins: Address,
    result: Address,
) -> NtStatus {
    let pins = Descriptors::new(count, pins, size_of::<KsPinDescriptor>());
    let everything = AccessMask(AccessMask::GENERIC_READ.0 | AccessMask::GENERIC_WRITE.0);
    let check = |bytes: &[u8]| ks_stream::validate::connect(&pins, bytes, everything, RequestorMode::Kernel);
    give(checked(irp, check), result)
}

// ks-coverage: KsValidateTopologyNodeCreateRequest done test=create_requests_are_validated
pub(crate) unsafe extern "win64" fn KsValidateTopologyNodeCreateRequest(
    irp: Address,
    topology: Address,
    result: Address,
) -> NtStatus {
    let nodes: u32 = topology.get(offset_of!(KsTopology, topology_nodes_count));
    give(checked(irp, |bytes| validate_node_create(bytes, nodes)), result)
}

// ks-coverage: KsValidateClockCreateRequest done test=create_requests_are_validated
pub(crate) unsafe extern "win64" fn KsValidateClockCreateRequest(irp: Address, result: Address) -> NtStatus {
    give(checked(irp, validate_clock_create), result)
}

// ks-coverage: KsValidateAllocatorCreateRequest done test=create_requests_are_validated
pub(crate) unsafe extern "win64" fn KsValidateAllocatorCreateRequest(irp: Address, result: Address) -> NtStatus {
    give(checked(irp, validate_allocator_create), result)
}

/// FILE_*_ALIGNMENT is one less than a power of two.
fn is_mask(alignment: u32) -> bool {
    alignment.checked_add(1).is_some_and(u32::is_power_of_two)
}

/// Decision: the framing fits its buffer, has items, and each of them asks for a memory that the pin's framing lists,
/// within its range of frame sizes.
// ks-coverage: KsValidateAllocatorFramingEx done test=create_requests_are_validated
pub(crate) unsafe extern "win64" fn KsValidateAllocatorFramingEx(
    framing: Address,
    bytes: u32,
    own: Address,
) -> NtStatus {
    const ITEM: usize = offset_of!(KsAllocatorFramingEx, framing_item);
    let item_bytes = size_of::<KsAllocatorFramingEx>() - ITEM;
    if (bytes as usize) < ITEM {
        return STATUS_INVALID_BUFFER_SIZE;
    }
    let items = |list: Address| -> Vec<ks_abi::KsFramingItem> {
        let count = list.get::<u32>(0).min(crate::ks::descriptor::MOST_ENTRIES) as usize;
        (0..count).map(|at| list.get(ITEM + at * item_bytes)).collect()
    };
    let count = framing.get::<u32>(0) as usize;
    if count == 0 {
        return STATUS_INVALID_PARAMETER;
    }
    if count.checked_mul(item_bytes).is_none_or(|wanted| wanted > bytes as usize - ITEM) {
        return STATUS_INVALID_BUFFER_SIZE;
    }
    let offered = items(own);
    let fits = |item: &ks_abi::KsFramingItem| {
        is_mask(item.file_alignment)
            && offered.iter().any(|own| {
                let (wanted, range) = (item.framing_range.range, own.framing_range.range);
                own.memory_type == item.memory_type
                    && wanted.min_frame_size <= wanted.max_frame_size
                    && wanted.min_frame_size <= range.max_frame_size
                    && wanted.max_frame_size >= range.min_frame_size
            })
    };
    if items(framing).iter().all(fits) { STATUS_SUCCESS } else { STATUS_INVALID_PARAMETER }
}
