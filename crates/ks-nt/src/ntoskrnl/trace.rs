//! Registration with the system's tracing (ETW, WPP, WMI), which succeeds and leads nowhere.

#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "each routine trusts its caller's addresses, as its documentation page says"
)]

use ks_abi::guid::Guid;
use ks_abi::status::{NtStatus, STATUS_INVALID_PARAMETER, STATUS_NOT_SUPPORTED, STATUS_SUCCESS};

use super::driver_memory::{get, put, put_optional};
use super::random::random_bytes;
use crate::exports;
use crate::exports::Export;

/// Exports of this file.
pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    EtwRegister, EtwRegisterClassicProvider, EtwUnregister, EtwSetInformation, EtwWrite, EtwWriteEx, EtwWriteTransfer,
    EtwWriteString, EtwEventEnabled, EtwProviderEnabled, EtwActivityIdControl, WmiTraceMessage, WmiTraceMessageVa,
    WmiQueryTraceInformation, IoWMIRegistrationControl, IoWMIWriteEvent, IoWMIAllocateInstanceIds,
    IoWMISuggestInstanceName, IoWMIDeviceObjectToProviderId,
);

/// Handle of every provider: nobody listens to any.
const PROVIDER: u64 = 1;

pub(crate) unsafe extern "win64" fn EtwRegister(
    id: *const Guid,
    _enabled: u64,
    _context: u64,
    handle: *mut u64,
) -> NtStatus {
    if id.is_null() || handle.is_null() {
        return STATUS_INVALID_PARAMETER;
    }
    put(handle, PROVIDER);
    STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn EtwRegisterClassicProvider(
    id: *const Guid,
    _kind: u32,
    enabled: u64,
    context: u64,
    handle: *mut u64,
) -> NtStatus {
    EtwRegister(id, enabled, context, handle)
}

pub(crate) unsafe extern "win64" fn EtwUnregister(_handle: u64) -> NtStatus {
    STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn EtwSetInformation(
    _handle: u64,
    _class: u32,
    _data: *const u8,
    _bytes: u32,
) -> NtStatus {
    STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn EtwWrite(
    _handle: u64,
    _event: *const u8,
    _activity: *const Guid,
    _count: u32,
    _data: *const u8,
) -> NtStatus {
    STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn EtwWriteEx(
    _handle: u64,
    _event: *const u8,
    _filter: u64,
    _flags: u32,
    _activity: *const Guid,
    _related: *const Guid,
    _count: u32,
    _data: *const u8,
) -> NtStatus {
    STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn EtwWriteTransfer(
    _handle: u64,
    _event: *const u8,
    _activity: *const Guid,
    _related: *const Guid,
    _count: u32,
    _data: *const u8,
) -> NtStatus {
    STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn EtwWriteString(
    _handle: u64,
    _level: u8,
    _keyword: u64,
    _activity: *const Guid,
    _text: *const u16,
) -> NtStatus {
    STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn EtwEventEnabled(_handle: u64, _event: *const u8) -> u8 {
    0
}

pub(crate) unsafe extern "win64" fn EtwProviderEnabled(_handle: u64, _level: u8, _keyword: u64) -> u8 {
    0
}

/// Gives (1, 3, 5: makes) or takes an activity's identifier; a thread here has none of its own.
pub(crate) unsafe extern "win64" fn EtwActivityIdControl(control: u32, id: *mut Guid) -> NtStatus {
    match control {
        1 => put(id, Guid::NULL),
        3 | 5 => put(id, Guid::from_u128(u128::from_le_bytes(random_bytes()))),
        2 | 4 => {
            let _ = get(id);
        }
        _ => return STATUS_INVALID_PARAMETER,
    }
    STATUS_SUCCESS
}

/// Its further arguments are not looked at.
pub(crate) unsafe extern "win64" fn WmiTraceMessage(
    _logger: u64,
    _flags: u32,
    _id: *const Guid,
    _number: u16,
) -> NtStatus {
    STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn WmiTraceMessageVa(
    _logger: u64,
    _flags: u32,
    _id: *const Guid,
    _number: u16,
    _arguments: *const u64,
) -> NtStatus {
    STATUS_SUCCESS
}

/// There is no session to tell of.
pub(crate) unsafe extern "win64" fn WmiQueryTraceInformation(
    _class: u32,
    _to: *mut u8,
    _room: u32,
    needed: *mut u32,
    _buffer: *const u8,
) -> NtStatus {
    put_optional(needed, 0);
    STATUS_NOT_SUPPORTED
}

pub(crate) unsafe extern "win64" fn IoWMIRegistrationControl(device: u64, _action: u32) -> NtStatus {
    if device == 0 { STATUS_INVALID_PARAMETER } else { STATUS_SUCCESS }
}

/// Nobody consumes the event. One that is not taken stays the driver's to free, so it is refused.
pub(crate) unsafe extern "win64" fn IoWMIWriteEvent(_event: *mut u8) -> NtStatus {
    STATUS_NOT_SUPPORTED
}

pub(crate) unsafe extern "win64" fn IoWMIAllocateInstanceIds(
    _id: *const Guid,
    _count: u32,
    first: *mut u32,
) -> NtStatus {
    put(first, 1);
    STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn IoWMISuggestInstanceName(
    _device: u64,
    _link: *const u8,
    _combine: u8,
    _name: *mut u8,
) -> NtStatus {
    STATUS_NOT_SUPPORTED
}

pub(crate) unsafe extern "win64" fn IoWMIDeviceObjectToProviderId(device: u64) -> u32 {
    device as u32
}
