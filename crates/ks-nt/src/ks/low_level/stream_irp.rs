//! Stream requests that reach a driver's own pin: their headers copied, checked, and their frames described by MDLs.

use super::request::{DataFlow, DriverIrp, MOST_BYTES};
use crate::exports;
use crate::exports::Export;
use crate::ks::address::Address;
use crate::ks::kernel;
use ks_abi::kernel::{
    Irp, KSPROBE_ALLOCATEMDL, KSPROBE_ALLOWFORMATCHANGE, KSPROBE_MODIFY, KSPROBE_PROBEANDLOCK, KSPROBE_STREAMWRITE,
    KSPROBE_SYSTEMADDRESS,
};
use ks_abi::{
    IoControlCode, KSSTREAM_HEADER_OPTIONSF_TYPECHANGED, KsReset, KsStreamHeader, NtStatus,
    STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_PARAMETER,
    STATUS_SUCCESS,
};
use ks_stream::{Direction, check_header};
use std::mem::offset_of;

pub(crate) const EXPORTS: &[Export] = exports!(Ks: KsProbeStreamIrp, KsAllocateExtraData, KsAcquireResetValue);

const HEADER: usize = size_of::<KsStreamHeader>();
const TAG: u32 = u32::from_le_bytes(*b"KsEx");
/// The most headers of one request.
const MOST_HEADERS: usize = 4096;

/// IoReadAccess, IoWriteAccess, IoModifyAccess
const READ_ACCESS: u64 = 0;
const WRITE_ACCESS: u64 = 1;
const MODIFY_ACCESS: u64 = 2;

/// The header list of a request, wherever it lies; each header says its own size.
struct Headers {
    list: Address,
    bytes: usize,
}

impl Headers {
    /// Place and value of each header. Sizes were checked when the list was copied.
    fn iter(&self) -> impl Iterator<Item = (Address, KsStreamHeader)> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            if self.bytes.saturating_sub(at) < HEADER {
                return None;
            }
            let place = self.list.at(at);
            let header: KsStreamHeader = place.read();
            at += (header.size as usize).max(HEADER);
            Some((place, header))
        })
    }
}

/// May a write bring a new format in place of data?
#[derive(Clone, Copy, PartialEq, Eq)]
enum FormatChange {
    Allowed,
    Refused,
}

/// Checks a list: with a header size all have that size, and without one each says its own.
fn check(
    list: Address,
    bytes: usize,
    direction: Direction,
    header_bytes: u32,
    format_change: FormatChange,
) -> NtStatus {
    if bytes < HEADER {
        return STATUS_INVALID_BUFFER_SIZE;
    }
    let first: KsStreamHeader = list.read();
    if format_change == FormatChange::Allowed && first.options_flags & KSSTREAM_HEADER_OPTIONSF_TYPECHANGED != 0 {
        // A lone header that is not extended: its data are a format.
        let lone = bytes == HEADER && first.size as usize == HEADER && first.data_used <= first.frame_extent;
        return if lone { STATUS_SUCCESS } else { STATUS_INVALID_BUFFER_SIZE };
    }
    if header_bytes != 0 && !bytes.is_multiple_of(header_bytes as usize) {
        return STATUS_INVALID_BUFFER_SIZE;
    }
    let (mut at, mut index) = (0, 0);
    while at < bytes {
        if bytes - at < HEADER || index >= MOST_HEADERS {
            return STATUS_INVALID_BUFFER_SIZE;
        }
        let header: KsStreamHeader = list.get(at);
        let size = if header_bytes == 0 { header.size } else { header_bytes };
        if (size as usize) < HEADER || size as usize > bytes - at {
            return STATUS_INVALID_BUFFER_SIZE;
        }
        if let Err(refusal) = check_header(index, &header, direction, size) {
            return refusal.status;
        }
        at += size as usize;
        index += 1;
    }
    STATUS_SUCCESS
}

// ks-coverage: KsProbeStreamIrp done test=stream_requests_are_probed
pub(crate) unsafe extern "win64" fn KsProbeStreamIrp(irp: Address, flags: u32, header_bytes: u32) -> NtStatus {
    let irp = DriverIrp::new(irp);
    let writes = flags & KSPROBE_STREAMWRITE != 0;
    let modifies = flags & KSPROBE_MODIFY != 0;
    let bytes = irp.parameters().output_buffer_length;
    if bytes > MOST_BYTES || (header_bytes != 0 && (header_bytes as usize) < HEADER) {
        return STATUS_INVALID_BUFFER_SIZE;
    }
    if irp.system_buffer().is_null() {
        let from = irp.user_buffer();
        if from.is_null() {
            return STATUS_INVALID_BUFFER_SIZE;
        }
        let flow = if writes { DataFlow::In } else { DataFlow::InOut };
        let copy = match irp.allocate_system_buffer((bytes as usize).max(8), flow) {
            Ok(copy) => copy,
            Err(status) => return status,
        };
        copy.write_bytes(&from.bytes(bytes as usize));
        let direction = if writes { Direction::Write } else { Direction::Read };
        let allowed = writes && flags & KSPROBE_ALLOWFORMATCHANGE != 0;
        let format_change = if allowed { FormatChange::Allowed } else { FormatChange::Refused };
        let checked = check(copy, bytes as usize, direction, header_bytes, format_change);
        if checked != STATUS_SUCCESS {
            return checked;
        }
    }
    let headers = Headers { list: irp.system_buffer(), bytes: bytes as usize };
    if flags & KSPROBE_ALLOCATEMDL == 0 {
        return STATUS_SUCCESS;
    }
    let mdls = offset_of!(Irp, mdl_address);
    if irp.address().follow(mdls).is_null() {
        for (_, header) in headers.iter().filter(|(_, header)| header.frame_extent != 0) {
            let (data, extent) = (Address(header.data.0), header.frame_extent);
            if !kernel::chain_mdl(irp.address(), data, extent) {
                return STATUS_INSUFFICIENT_RESOURCES;
            }
        }
    }
    if flags & KSPROBE_PROBEANDLOCK == 0 {
        return STATUS_SUCCESS;
    }
    let access = match (modifies, writes) {
        (true, _) => MODIFY_ACCESS,
        (false, true) => READ_ACCESS,
        (false, false) => WRITE_ACCESS,
    };
    let mut mdl = irp.address().follow(mdls);
    while !mdl.is_null() {
        kernel::lock_mdl(mdl, access, flags & KSPROBE_SYSTEMADDRESS != 0);
        mdl = mdl.follow(0);
    }
    STATUS_SUCCESS
}

// ks-coverage: KsAllocateExtraData done test=stream_requests_are_probed
pub(crate) unsafe extern "win64" fn KsAllocateExtraData(irp: Address, extra: u32, result: Address) -> NtStatus {
    let irp = DriverIrp::new(irp);
    let list = irp.system_buffer();
    if !extra.is_multiple_of(8) || extra > MOST_BYTES || list.is_null() {
        return STATUS_INVALID_PARAMETER;
    }
    let headers = Headers { list, bytes: irp.parameters().output_buffer_length as usize };
    let parts: Vec<_> = headers.iter().map(|(place, header)| (place, (header.size as usize).max(HEADER))).collect();
    let bytes = parts.iter().map(|(_, size)| size + extra as usize).sum::<usize>();
    if bytes > MOST_BYTES as usize {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let Some(copy) = kernel::allocate_pool(bytes.max(8), TAG) else { return STATUS_INSUFFICIENT_RESOURCES };
    let mut at = 0;
    for (place, size) in parts {
        copy.at(at).write_bytes(&place.bytes(size));
        copy.at(at + size).write_bytes(&vec![0; extra as usize]);
        at += size + extra as usize;
    }
    result.put(0, copy.0);
    STATUS_SUCCESS
}

// ks-coverage: KsAcquireResetValue done test=stream_requests_are_probed
pub(crate) unsafe extern "win64" fn KsAcquireResetValue(irp: Address, result: Address) -> NtStatus {
    let parameters = DriverIrp::new(irp).parameters();
    if parameters.io_control_code != IoControlCode::KS_RESET_STATE.0 {
        return STATUS_INVALID_DEVICE_REQUEST;
    }
    if (parameters.input_buffer_length as usize) < size_of::<KsReset>() {
        return STATUS_INVALID_BUFFER_SIZE;
    }
    let value: u32 = Address(parameters.type3_input_buffer.0).read();
    if ![KsReset::BEGIN.0, KsReset::END.0].contains(&value) {
        return STATUS_INVALID_PARAMETER;
    }
    result.put(0, value);
    STATUS_SUCCESS
}
