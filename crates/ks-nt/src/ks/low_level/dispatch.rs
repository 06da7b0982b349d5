//! Dispatch routines of `ks.sys` for a driver's major functions, and the routines that fill a dispatch table.

use super::header::{DeviceHeader, ObjectHeader};
use super::request::DriverIrp;
use crate::exports;
use crate::exports::Export;
use crate::ks::address::{Address, Routine, status};
use crate::ks::kernel;
use ks_abi::kernel::{
    DriverObject, FileObject, IRP_MJ_CLEANUP, IRP_MJ_CLOSE, IRP_MJ_CREATE, IRP_MJ_DEVICE_CONTROL, IRP_MJ_FLUSH_BUFFERS,
    IRP_MJ_QUERY_SECURITY, IRP_MJ_READ, IRP_MJ_SET_SECURITY, IRP_MJ_WRITE, IoStackLocation, KSDISPATCH_FASTIO,
    KsDispatchTable, UnicodeString,
};
use ks_abi::{
    IoControlCode, NtStatus, STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_PARAMETER, STATUS_OBJECT_NAME_NOT_FOUND,
    STATUS_PROPSET_NOT_FOUND, STATUS_SUCCESS,
};
use std::mem::offset_of;

pub(crate) const EXPORTS: &[Export] = exports!(Ks:
    KsSetMajorFunctionHandler, KsDispatchIrp, KsDispatchInvalidDeviceRequest, KsDefaultDeviceIoCompletion,
    KsDispatchFastIoDeviceControlFailure, KsDispatchFastReadFailure,
);

/// Offsets of FAST_IO_DISPATCH.
pub(super) mod fast {
    pub(in super::super) const READ: usize = 16;
    pub(in super::super) const WRITE: usize = 24;
    pub(in super::super) const QUERY_BASIC_INFO: usize = 32;
    pub(in super::super) const QUERY_STANDARD_INFO: usize = 40;
    pub(super) const DEVICE_CONTROL: usize = 80;
}

/// Completes a request that a routine of ours answers.
pub(in crate::ks) fn complete(irp: Address, status: NtStatus) -> NtStatus {
    DriverIrp::new(irp).set_status(status);
    kernel::complete_request(irp.0);
    status
}

/// Where the routine of a major function stands in a dispatch table.
fn table_offset(major: u8) -> Option<usize> {
    Some(match major {
        IRP_MJ_DEVICE_CONTROL => offset_of!(KsDispatchTable, device_io_control),
        IRP_MJ_READ => offset_of!(KsDispatchTable, read),
        IRP_MJ_WRITE => offset_of!(KsDispatchTable, write),
        IRP_MJ_FLUSH_BUFFERS => offset_of!(KsDispatchTable, flush),
        IRP_MJ_CLOSE => offset_of!(KsDispatchTable, close),
        IRP_MJ_QUERY_SECURITY => offset_of!(KsDispatchTable, query_security),
        IRP_MJ_SET_SECURITY => offset_of!(KsDispatchTable, set_security),
        _ => return None,
    })
}

/// The name of a file object, as the create request has it.
pub(super) fn file_name(file: Address) -> String {
    let name: UnicodeString = file.get(offset_of!(FileObject, file_name));
    let bytes = Address(name.buffer.0).bytes(usize::from(name.length) & !1);
    // What follows the class is parameters and no text; the class is found in front of it.
    let units: Vec<u16> = bytes.as_chunks().0.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
    String::from_utf16_lossy(&units)
}

fn create(device: Address, irp: Address) -> NtStatus {
    let request = DriverIrp::new(irp);
    let file = request.file_object();
    let name = if file.is_null() { String::new() } else { file_name(file) };
    let parent = if file.is_null() { file } else { file.follow(offset_of!(FileObject, related_file_object)) };
    let wanted = match parent.some() {
        Some(parent) => ObjectHeader::of_file(parent).and_then(|header| header.items().find(&name)),
        None => DeviceHeader::of_device(device).and_then(|header| header.items().find(&name)),
    };
    match wanted {
        Some(wanted) => {
            request.set_storage(0, wanted.item.0);
            status(wanted.routine.call2(device.0, irp.0))
        }
        None => complete(irp, STATUS_OBJECT_NAME_NOT_FOUND),
    }
}

fn dispatch(device: Address, irp: Address) -> NtStatus {
    let request = DriverIrp::new(irp);
    let major = request.stack().get::<u8>(offset_of!(IoStackLocation, major_function));
    if major == IRP_MJ_CREATE {
        return create(device, irp);
    }
    let header = ObjectHeader::of_file(request.file_object());
    let routine = header
        .as_ref()
        .zip(table_offset(major))
        .and_then(|(header, at)| Routine::optional(header.table().follow(at), "a routine of a dispatch table"));
    match routine {
        Some(routine) => status(routine.call2(device.0, irp.0)),
        // Everybody can let go of what was never made.
        None if matches!(major, IRP_MJ_CLOSE | IRP_MJ_CLEANUP) => complete(irp, STATUS_SUCCESS),
        None => complete(irp, STATUS_INVALID_DEVICE_REQUEST),
    }
}

unsafe extern "win64" fn dispatch_major(device: Address, irp: Address) -> NtStatus {
    dispatch(device, irp)
}

/// The routine of the fast half of a file object's table; `None` makes the caller send a request.
fn fast_routine(file: Address, at: usize) -> Option<Routine> {
    let header = ObjectHeader::of_file(file)?;
    Routine::optional(header.table().follow(at), "a fast routine of a dispatch table")
}

unsafe extern "win64" fn fast_device_control(
    file: Address,
    wait: u64,
    input: u64,
    input_bytes: u64,
    output: u64,
    output_bytes: u64,
    code: u64,
    io_status: u64,
    device: u64,
) -> u8 {
    let routine = fast_routine(file, offset_of!(KsDispatchTable, fast_device_io_control));
    routine.map_or(0, |routine| {
        routine.call9(file.0, wait, input, input_bytes, output, output_bytes, code, io_status, device) as u8
    })
}

macro_rules! fast_transfers {
    ($($name:ident: $member:ident;)*) => {
        $(
            unsafe extern "win64" fn $name(
                file: Address,
                offset: u64,
                length: u64,
                wait: u64,
                key: u64,
                buffer: u64,
                io_status: u64,
                device: u64,
            ) -> u8 {
                fast_routine(file, offset_of!(KsDispatchTable, $member)).map_or(0, |routine| {
                    routine.call8(file.0, offset, length, wait, key, buffer, io_status, device) as u8
                })
            }
        )*
    };
}

fast_transfers! {
    fast_read: fast_read;
    fast_write: fast_write;
}

// ks-coverage: KsSetMajorFunctionHandler done test=creates_and_requests_are_routed_by_headers_items_and_dispatch_tables
pub(crate) unsafe extern "win64" fn KsSetMajorFunctionHandler(driver: Address, major: u32) -> NtStatus {
    if major & KSDISPATCH_FASTIO != 0 {
        let (at, routine) = match (major & !KSDISPATCH_FASTIO) as u8 {
            IRP_MJ_READ => (fast::READ, fast_read as *const () as u64),
            IRP_MJ_WRITE => (fast::WRITE, fast_write as *const () as u64),
            IRP_MJ_DEVICE_CONTROL => (fast::DEVICE_CONTROL, fast_device_control as *const () as u64),
            _ => return STATUS_INVALID_PARAMETER,
        };
        let table = driver.follow(offset_of!(DriverObject, fast_io_dispatch));
        if table.is_null() {
            return STATUS_INVALID_PARAMETER;
        }
        table.put(at, routine);
        return STATUS_SUCCESS;
    }
    let Ok(number) = u8::try_from(major) else { return STATUS_INVALID_PARAMETER };
    if number != IRP_MJ_CREATE && table_offset(number).is_none() {
        return STATUS_INVALID_PARAMETER;
    }
    driver.put(offset_of!(DriverObject, major_function) + 8 * usize::from(number), dispatch_major as *const () as u64);
    STATUS_SUCCESS
}

// ks-coverage: KsDispatchIrp done test=creates_and_requests_are_routed_by_headers_items_and_dispatch_tables
pub(crate) unsafe extern "win64" fn KsDispatchIrp(device: Address, irp: Address) -> NtStatus {
    dispatch(device, irp)
}

// ks-coverage: KsDispatchInvalidDeviceRequest done test=creates_and_requests_are_routed_by_headers_items_and_dispatch_tables
pub(crate) unsafe extern "win64" fn KsDispatchInvalidDeviceRequest(_device: u64, irp: Address) -> NtStatus {
    DriverIrp::new(irp).set_information(0);
    complete(irp, STATUS_INVALID_DEVICE_REQUEST)
}

/// Decision: a property, method or event finds no set, a reset succeeds, and everything else is no request.
// ks-coverage: KsDefaultDeviceIoCompletion done test=creates_and_requests_are_routed_by_headers_items_and_dispatch_tables
pub(crate) unsafe extern "win64" fn KsDefaultDeviceIoCompletion(_device: u64, irp: Address) -> NtStatus {
    let request = DriverIrp::new(irp);
    request.set_information(0);
    let answer = match IoControlCode(request.parameters().io_control_code) {
        IoControlCode::KS_PROPERTY | IoControlCode::KS_METHOD | IoControlCode::KS_ENABLE_EVENT => {
            STATUS_PROPSET_NOT_FOUND
        }
        IoControlCode::KS_RESET_STATE => STATUS_SUCCESS,
        _ => STATUS_INVALID_DEVICE_REQUEST,
    };
    complete(irp, answer)
}

/// FALSE: the caller makes a request.
// ks-coverage: KsDispatchFastIoDeviceControlFailure done test=creates_and_requests_are_routed_by_headers_items_and_dispatch_tables
pub(crate) unsafe extern "win64" fn KsDispatchFastIoDeviceControlFailure() -> u8 {
    0
}

// ks-coverage: KsDispatchFastReadFailure done test=creates_and_requests_are_routed_by_headers_items_and_dispatch_tables
// ks-coverage: KsDispatchFastWriteFailure done test=creates_and_requests_are_routed_by_headers_items_and_dispatch_tables
pub(crate) unsafe extern "win64" fn KsDispatchFastReadFailure() -> u8 {
    0
}
