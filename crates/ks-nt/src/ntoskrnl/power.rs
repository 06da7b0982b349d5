//! Power, as a device without hardware meets it: it is on.

#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "each routine trusts its caller's addresses, as its documentation page says"
)]

use core::mem::transmute;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use ks_abi::kernel::{
    DeviceObject, IRP_MJ_POWER, IRP_MN_SET_POWER, IoStackLocation, IoStatusBlock, Irp, SL_INVOKE_ON_CANCEL,
    SL_INVOKE_ON_ERROR, SL_INVOKE_ON_SUCCESS,
};
use ks_abi::pointer::Ptr64;
use ks_abi::status::{
    NtStatus, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER_2, STATUS_MORE_PROCESSING_REQUIRED,
    STATUS_NOT_SUPPORTED, STATUS_PENDING, STATUS_SUCCESS,
};

use super::driver_memory::{field, get, put, put_optional, set_field};
use super::io_device::IoGetAttachedDevice;
use super::io_request::{IoAllocateIrp, IoFreeIrp, IofCallDriver, next_location};
use crate::exports;
use crate::exports::Export;
use crate::host;

/// Exports of this file.
pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    PoCallDriver, PoStartNextPowerIrp, PoRequestPowerIrp, PoSetPowerState, PoRegisterSystemState,
    PoUnregisterSystemState, PoSetSystemState, PoRegisterDeviceForIdleDetection, PoRegisterPowerSettingCallback,
    PoUnregisterPowerSettingCallback, PoStartDeviceBusy, PoEndDeviceBusy, PoSetDeviceBusyEx, PoCreatePowerRequest,
    PoSetPowerRequest, PoClearPowerRequest, PoDeletePowerRequest, PoGetSystemWake, PoSetSystemWake,
);

pub(crate) unsafe extern "win64" fn PoCallDriver(device: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    IofCallDriver(device, irp)
}

/// The next request of a device goes when the one before has ended, as since Windows Vista, where this does nothing.
pub(crate) unsafe extern "win64" fn PoStartNextPowerIrp(_irp: *mut Irp) {}

/// What is called when a request of `PoRequestPowerIrp` ends.
type Ended = unsafe extern "win64" fn(*mut DeviceObject, u8, u32, u64, *mut IoStatusBlock);

struct Request {
    device: *mut DeviceObject,
    /// The top of the stack that it goes to, where it is one of those that go one at a time.
    waits_at: Option<u64>,
    minor: u8,
    state: u32,
    routine: u64,
    context: u64,
}

/// The requests that wait for the one before, by the top of the device stack that has one on its way.
static ON_THEIR_WAY: Mutex<BTreeMap<u64, VecDeque<u64>>> = Mutex::new(BTreeMap::new());

/// Whom to tell that a device's power is as it was asked for.
pub(crate) struct PowerEnded {
    device: u64,
    minor: u8,
    state: u32,
    routine: u64,
    context: u64,
}

impl PowerEnded {
    /// Calls the routine, if there is one, with what the request ended with.
    pub(crate) fn tell(self, status: NtStatus) {
        if self.routine == 0 {
            return;
        }
        let mut block = IoStatusBlock { status, ..Default::default() };
        // SAFETY: the driver has given the address as that of a REQUEST_POWER_COMPLETE routine.
        let routine = unsafe { transmute::<u64, Ended>(self.routine) };
        // SAFETY: what the driver gave with it, and a block that lives until the routine returns.
        unsafe {
            routine(self.device as *mut DeviceObject, self.minor, self.state, self.context, &raw mut block);
        }
    }
}

unsafe extern "win64" fn ended(_device: *mut DeviceObject, irp: *mut Irp, request: u64) -> NtStatus {
    let request = Box::from_raw(request as *mut Request);
    let mut status = field!(irp, io_status);
    if request.routine != 0 {
        let routine: Ended = transmute::<u64, Ended>(request.routine);
        routine(request.device, request.minor, request.state, request.context, &raw mut status);
    }
    IoFreeIrp(irp);
    if let Some(top) = request.waits_at {
        let mut on_their_way = ON_THEIR_WAY.lock().unwrap_or_else(PoisonError::into_inner);
        let next = on_their_way.get_mut(&top).and_then(VecDeque::pop_front);
        if next.is_none() {
            on_their_way.remove(&top);
        }
        drop(on_their_way);
        if let Some(next) = next {
            let _ = IofCallDriver(top as *mut DeviceObject, next as *mut Irp);
        }
    }
    STATUS_MORE_PROCESSING_REQUIRED
}

/// Sends a power request to the top of a device's stack, when those that were asked for before have ended; the routine is
/// told its end. One for a device of AVStream's goes by the engine, which holds the streams meanwhile and sends the request
/// itself.
pub(crate) unsafe extern "win64" fn PoRequestPowerIrp(
    device: *mut DeviceObject,
    minor: u8,
    state: u32,
    routine: u64,
    context: u64,
    irp_out: *mut *mut Irp,
) -> NtStatus {
    const WAIT_WAKE: u8 = 0;
    const QUERY_POWER: u8 = 3;
    if ![WAIT_WAKE, IRP_MN_SET_POWER, QUERY_POWER].contains(&minor) {
        return STATUS_INVALID_PARAMETER_2;
    }
    if minor != WAIT_WAKE {
        let ended = PowerEnded { device: device as u64, minor, state, routine, context };
        if let Some(status) = host::request_power(device as u64, minor, state, ended) {
            return status;
        }
    }
    let top = IoGetAttachedDevice(device);
    let irp = IoAllocateIrp(field!(top, stack_size).saturating_add(1), 0);
    if irp.is_null() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    // DevicePowerState is 1 of POWER_STATE_TYPE.
    let parameters = if minor == WAIT_WAKE { [state.into(), 0, 0, 0] } else { [0, 1, state.into(), 0] };
    let waits_at = (minor != WAIT_WAKE).then_some(top as u64);
    let request = Box::new(Request { device, waits_at, minor, state, routine, context });
    let location = IoStackLocation {
        major_function: IRP_MJ_POWER,
        minor_function: minor,
        control: SL_INVOKE_ON_SUCCESS | SL_INVOKE_ON_ERROR | SL_INVOKE_ON_CANCEL,
        parameters,
        completion_routine: Ptr64(ended as *const () as u64),
        context: Ptr64(Box::into_raw(request) as u64),
        ..Default::default()
    };
    put(next_location(irp), location);
    set_field!(irp, io_status.status, STATUS_NOT_SUPPORTED);
    put_optional(irp_out, irp);
    if let Some(top) = waits_at {
        let mut on_their_way = ON_THEIR_WAY.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = on_their_way.get_mut(&top) {
            waiting.push_back(irp as u64);
            return STATUS_PENDING;
        }
        on_their_way.insert(top, VecDeque::new());
    }
    let _ = IofCallDriver(top, irp);
    STATUS_PENDING
}

/// The state before, which was on. `kind`: 0 of the system, 1 of a device.
pub(crate) unsafe extern "win64" fn PoSetPowerState(_device: *mut DeviceObject, _kind: u32, _state: u32) -> u32 {
    1
}

/// A handle that stands for nothing, but is none of NULL.
const TOKEN: u64 = 0x10;

pub(crate) unsafe extern "win64" fn PoRegisterSystemState(handle: u64, _flags: u32) -> u64 {
    if handle == 0 { TOKEN } else { handle }
}

pub(crate) unsafe extern "win64" fn PoUnregisterSystemState(_handle: u64) {}

pub(crate) unsafe extern "win64" fn PoSetSystemState(_flags: u32) {}

/// NULL: there is no idle detection.
pub(crate) unsafe extern "win64" fn PoRegisterDeviceForIdleDetection(
    _device: *mut DeviceObject,
    _conserve: u32,
    _perform: u32,
    _state: u32,
) -> *const u32 {
    core::ptr::null()
}

pub(crate) unsafe extern "win64" fn PoRegisterPowerSettingCallback(
    _device: *mut DeviceObject,
    _setting: *const u8,
    _routine: u64,
    _context: u64,
    handle: *mut u64,
) -> NtStatus {
    put_optional(handle, TOKEN);
    STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn PoUnregisterPowerSettingCallback(_handle: u64) -> NtStatus {
    STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn PoStartDeviceBusy(_idle: *const u32) {}

pub(crate) unsafe extern "win64" fn PoEndDeviceBusy(_idle: *const u32) {}

pub(crate) unsafe extern "win64" fn PoSetDeviceBusyEx(_idle: *const u32) {}

pub(crate) unsafe extern "win64" fn PoCreatePowerRequest(
    request: *mut u64,
    _device: *mut DeviceObject,
    _context: *const u8,
) -> NtStatus {
    put(request, TOKEN);
    STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn PoSetPowerRequest(_request: u64, _kind: u32) -> NtStatus {
    STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn PoClearPowerRequest(_request: u64, _kind: u32) -> NtStatus {
    STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn PoDeletePowerRequest(_request: u64) {}

/// No request of this machine was woken by anything.
pub(crate) unsafe extern "win64" fn PoGetSystemWake(irp: *mut Irp) -> u8 {
    let _ = get(&raw const (*irp).packet_type);
    0
}

pub(crate) unsafe extern "win64" fn PoSetSystemWake(_irp: *mut Irp) {}
