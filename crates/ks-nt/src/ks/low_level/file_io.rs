//! Reads, writes and information of a file object, by the fast routines of its driver or by a packet.
//!
//! Source: nf-ks-ksreadfile, nf-ks-kswritefile, nf-ks-ksqueryinformationfile, nf-ks-kssetinformationfile.

use super::dispatch::fast;
use crate::exports;
use crate::exports::Export;
use crate::ks::address::{Address, Routine};
use crate::ks::kernel;
use crate::ntoskrnl::device_file::{self, Transfer};
use ks_abi::kernel::{
    DeviceObject, DriverObject, FileObject, IRP_MJ_QUERY_INFORMATION, IRP_MJ_SET_INFORMATION, IoStackLocation,
    IoStatusBlock, Irp,
};
use ks_abi::{NtStatus, Ptr64, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_PARAMETER};
use ks_mem::Block;
use std::mem::offset_of;

pub(crate) const EXPORTS: &[Export] =
    exports!(Ks: KsReadFile, KsWriteFile, KsQueryInformationFile, KsSetInformationFile);

/// The most bytes of one information.
const MOST_BYTES: u32 = 16 << 20;
/// FO_SYNCHRONOUS_IO
const SYNCHRONOUS: u32 = 2;
/// FileBasicInformation and FileStandardInformation
const BASIC: u32 = 4;
const STANDARD: u32 = 5;

/// A routine of the fast half of the driver of a device.
fn fast_routine(device: Address, at: usize) -> Option<Routine> {
    let driver = device.follow(offset_of!(DeviceObject, driver_object)).some()?;
    let table = driver.follow(offset_of!(DriverObject, fast_io_dispatch)).some()?;
    Routine::optional(table.follow(at), "a fast routine of a driver")
}

/// A file that is read and written in order goes on behind what was moved.
fn advance(file: Address, answer: &IoStatusBlock) {
    const OFFSET: usize = offset_of!(FileObject, current_byte_offset);
    if file.get::<u32>(offset_of!(FileObject, flags)) & SYNCHRONOUS != 0 && answer.status.is_success() {
        file.put(OFFSET, file.get::<i64>(OFFSET).wrapping_add(answer.information.cast_signed()));
    }
}

/// Reads or writes at the position of the file. Without an event it waits for the end.
///
/// Decision: everybody who calls runs in kernel mode, so the fast routine is tried for a kernel requestor only.
fn transfer(file: Address, event: u64, answer: Address, mode: u8, mut transfer: Transfer) -> NtStatus {
    let Some(device) = file.some().and_then(|file| kernel::related_device(file).some()) else {
        return STATUS_INVALID_PARAMETER;
    };
    transfer.offset = file.get(offset_of!(FileObject, current_byte_offset));
    let at = if transfer.writes { fast::WRITE } else { fast::READ };
    if let Some(routine) = fast_routine(device, at).filter(|_| mode == 0) {
        let offset = std::ptr::from_ref(&transfer.offset) as u64;
        let (length, key, buffer) = (transfer.length.into(), transfer.key.into(), transfer.buffer);
        if routine.call8(file.0, offset, length, 1, key, buffer, answer.0, device.0) as u8 != 0 {
            let ended: IoStatusBlock = answer.read();
            advance(file, &ended);
            kernel::set_event(event);
            return ended.status;
        }
    }
    if event != 0 {
        // SAFETY: the device is that of an open file, and the buffer, the event and the place of the answer are the
        // caller's until the end.
        return unsafe { device_file::start_transfer(device.0, file.0, mode, &transfer, event, answer.0) };
    }
    // SAFETY: as above.
    let ended = unsafe { device_file::transfer_at(device.0, file.0, mode, &transfer) };
    advance(file, &ended);
    answer.put_optional(ended);
    ended.status
}

// ks-coverage: KsReadFile done test=files_are_read_written_and_asked_by_fast_routines_and_packets
pub(crate) unsafe extern "win64" fn KsReadFile(
    file: Address,
    event: u64,
    _port: u64,
    answer: Address,
    buffer: u64,
    length: u32,
    key: u32,
    mode: u8,
) -> NtStatus {
    transfer(file, event, answer, mode, Transfer { writes: false, buffer, length, key, offset: 0 })
}

// ks-coverage: KsWriteFile done test=files_are_read_written_and_asked_by_fast_routines_and_packets
pub(crate) unsafe extern "win64" fn KsWriteFile(
    file: Address,
    event: u64,
    _port: u64,
    answer: Address,
    buffer: u64,
    length: u32,
    key: u32,
    mode: u8,
) -> NtStatus {
    transfer(file, event, answer, mode, Transfer { writes: true, buffer, length, key, offset: 0 })
}

/// Sends the packet of an information request.
fn information(file: Address, major: u8, class: u32, buffer: &Block, length: u32) -> IoStatusBlock {
    const PARAMETERS: usize = offset_of!(IoStackLocation, parameters);
    let device = kernel::related_device(file);
    let prepare = |irp: *mut Irp| {
        // SAFETY: the request was just made, with a location for the driver.
        let stack = Address(unsafe { crate::ntoskrnl::io_request::next_location(irp) } as u64);
        let irp = Address(irp as u64);
        stack.put(offset_of!(IoStackLocation, major_function), major);
        stack.put(PARAMETERS, length);
        stack.put(PARAMETERS + 8, class);
        stack.put(offset_of!(IoStackLocation, file_object), file.0);
        irp.put(offset_of!(Irp, original_file_object), file.0);
        irp.put(offset_of!(Irp, system_buffer), Ptr64(buffer.address()));
    };
    // SAFETY: the device is that of an open file, and the buffer lives until the answer.
    unsafe { crate::ntoskrnl::io_build::send_and_wait_at_top(device.0, prepare) }
}

fn buffer(file: Address, length: u32) -> Result<Block, NtStatus> {
    if file.is_null() {
        return Err(STATUS_INVALID_PARAMETER);
    }
    if length > MOST_BYTES {
        return Err(STATUS_INVALID_BUFFER_SIZE);
    }
    Block::zeroed((length as usize).max(8), 16).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)
}

// ks-coverage: KsQueryInformationFile done test=files_are_read_written_and_asked_by_fast_routines_and_packets
pub(crate) unsafe extern "win64" fn KsQueryInformationFile(
    file: Address,
    result: Address,
    length: u32,
    class: u32,
) -> NtStatus {
    let buffer = match buffer(file, length) {
        Ok(buffer) => buffer,
        Err(status) => return status,
    };
    let device = kernel::related_device(file);
    let at = match class {
        BASIC => Some(fast::QUERY_BASIC_INFO),
        STANDARD => Some(fast::QUERY_STANDARD_INFO),
        _ => None,
    };
    if let Some(routine) = at.and_then(|at| fast_routine(device, at)) {
        let mut ended = IoStatusBlock::default();
        let place = std::ptr::from_mut(&mut ended) as u64;
        if routine.call5(file.0, 1, result.0, place, device.0) as u8 != 0 {
            return ended.status;
        }
    }
    let ended = information(file, IRP_MJ_QUERY_INFORMATION, class, &buffer, length);
    if ended.status.is_success() {
        let mut bytes = vec![0; (ended.information as usize).min(length as usize)];
        buffer.read_bytes(0, &mut bytes);
        result.write_bytes(&bytes);
    }
    ended.status
}

// ks-coverage: KsSetInformationFile done test=files_are_read_written_and_asked_by_fast_routines_and_packets
pub(crate) unsafe extern "win64" fn KsSetInformationFile(
    file: Address,
    value: Address,
    length: u32,
    class: u32,
) -> NtStatus {
    match buffer(file, length) {
        Ok(buffer) => {
            buffer.write_bytes(0, &value.bytes(length as usize));
            information(file, IRP_MJ_SET_INFORMATION, class, &buffer, length).status
        }
        Err(status) => status,
    }
}
