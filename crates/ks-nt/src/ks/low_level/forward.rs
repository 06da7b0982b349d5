//! Passing requests on: to the next device of a stack, and to the device of a file object.

use super::dispatch::complete;
use super::header::DeviceHeader;
use super::request::DriverIrp;
use crate::exports;
use crate::exports::Export;
use crate::ks::address::Address;
use crate::ks::kernel;
use crate::ntoskrnl::scheduler::Changed;
use ks_abi::kernel::{
    FileObject, IRP_MN_REMOVE_DEVICE, IoStackLocation, Irp, KsStackUse, SL_INVOKE_ON_CANCEL, SL_INVOKE_ON_ERROR,
    SL_INVOKE_ON_SUCCESS,
};
use ks_abi::{NtStatus, Ptr64, STATUS_INVALID_DEVICE_REQUEST, STATUS_MORE_PROCESSING_REQUIRED};
use std::mem::offset_of;
use std::sync::{Mutex, PoisonError};

pub(crate) const EXPORTS: &[Export] = exports!(Ks:
    KsForwardIrp, KsForwardAndCatchIrp, KsDefaultForwardIrp, KsDefaultDispatchPnp, KsDefaultDispatchPower,
);

/// Bytes of a location that a copy takes over: all before the completion routine.
const COPIED: usize = offset_of!(IoStackLocation, completion_routine);
const LOCATION_BYTES: usize = size_of::<IoStackLocation>();

/// Has the next driver see this location as its own.
pub(in crate::ks) fn skip(irp: DriverIrp) {
    let at = offset_of!(Irp, current_location);
    irp.address().put(at, irp.address().get::<i8>(at) + 1);
    irp.address().put(offset_of!(Irp, current_stack_location), irp.stack().at(LOCATION_BYTES).0);
}

/// Is there a location for another driver?
fn has_next(irp: DriverIrp) -> bool {
    irp.address().get::<i8>(offset_of!(Irp, current_location)) > 1
}

fn next(irp: DriverIrp) -> Address {
    Address(irp.stack().0.wrapping_sub(LOCATION_BYTES as u64))
}

fn copy(irp: DriverIrp) {
    let (from, to) = (irp.stack(), next(irp));
    to.write_bytes(&from.bytes(COPIED));
    to.put(offset_of!(IoStackLocation, control), 0u8);
    to.put(offset_of!(IoStackLocation, completion_routine), 0u64);
}

/// The device that a file object's requests go to.
pub(super) fn related_device(file: Address) -> Option<Address> {
    if file.is_null() || file.follow(offset_of!(FileObject, device_object)).is_null() {
        return None;
    }
    kernel::related_device(file).some()
}

// ks-coverage: KsForwardIrp done test=requests_are_passed_on_and_caught
pub(crate) unsafe extern "win64" fn KsForwardIrp(irp: Address, file: Address, reuse: u8) -> NtStatus {
    let request = DriverIrp::new(irp);
    let Some(device) = related_device(file) else { return complete(irp, STATUS_INVALID_DEVICE_REQUEST) };
    if reuse != 0 {
        request.stack().put(offset_of!(IoStackLocation, file_object), Ptr64(file.0));
        skip(request);
    } else if has_next(request) {
        copy(request);
        next(request).put(offset_of!(IoStackLocation, file_object), Ptr64(file.0));
    } else {
        return complete(irp, STATUS_INVALID_DEVICE_REQUEST);
    }
    kernel::call_driver(device, irp)
}

/// What a thread waits for while a request is with another driver.
#[derive(Default)]
struct Caught {
    done: Mutex<bool>,
    changed: Changed,
}

unsafe extern "win64" fn caught(_device: u64, _irp: u64, waiting: u64) -> NtStatus {
    // SAFETY: the context is that of the call below, which waits for this one.
    let waiting = unsafe { &*(waiting as *const Caught) };
    let mut done = waiting.done.lock().unwrap_or_else(PoisonError::into_inner);
    *done = true;
    // Under the lock: who waits gives this up as soon as it has it.
    waiting.changed.notify_all();
    drop(done);
    STATUS_MORE_PROCESSING_REQUIRED
}

// ks-coverage: KsForwardAndCatchIrp done test=requests_are_passed_on_and_caught
pub(crate) unsafe extern "win64" fn KsForwardAndCatchIrp(
    device: Address,
    irp: Address,
    file: u64,
    stack_use: u32,
) -> NtStatus {
    let request = DriverIrp::new(irp);
    let (current, place) = (request.address().get::<i8>(offset_of!(Irp, current_location)), request.stack());
    let reuse = KsStackUse(stack_use) == KsStackUse::REUSE_CURRENT_LOCATION;
    if !reuse && !has_next(request) {
        return STATUS_INVALID_DEVICE_REQUEST;
    }
    // A reused location is given back as it was: its routine is that of whoever sent the request here.
    let saved = place.bytes(LOCATION_BYTES);
    if KsStackUse(stack_use) == KsStackUse::COPY_TO_NEW_LOCATION {
        copy(request);
    }
    if reuse {
        skip(request);
    }
    let to = next(request);
    let waiting = Caught::default();
    to.put(offset_of!(IoStackLocation, file_object), Ptr64(file));
    to.put(offset_of!(IoStackLocation, control), SL_INVOKE_ON_SUCCESS | SL_INVOKE_ON_ERROR | SL_INVOKE_ON_CANCEL);
    to.put(offset_of!(IoStackLocation, completion_routine), Ptr64(caught as *const () as u64));
    to.put(offset_of!(IoStackLocation, context), Ptr64(std::ptr::from_ref(&waiting) as u64));
    let _ = kernel::call_driver(device, irp);
    ks_io::deferred::drain_before_wait();
    let mut done = waiting.done.lock().unwrap_or_else(PoisonError::into_inner);
    while !*done {
        done = waiting.changed.wait(&waiting.done, done);
    }
    drop(done);
    if reuse {
        irp.put(offset_of!(Irp, current_location), current);
        irp.put(offset_of!(Irp, current_stack_location), place.0);
        place.write_bytes(&saved);
    }
    request.status()
}

/// The device below, as the device header has it.
fn below(device: Address, irp: Address) -> Result<Address, NtStatus> {
    let next = DeviceHeader::of_device(device).and_then(|header| header.pnp().some());
    next.ok_or_else(|| complete(irp, STATUS_INVALID_DEVICE_REQUEST))
}

// ks-coverage: KsDefaultForwardIrp done test=stack_depth_power_and_pnp_follow_the_headers
pub(crate) unsafe extern "win64" fn KsDefaultForwardIrp(device: Address, irp: Address) -> NtStatus {
    match below(device, irp) {
        Ok(next) => {
            skip(DriverIrp::new(irp));
            kernel::call_driver(next, irp)
        }
        Err(status) => status,
    }
}

/// Decision: after a removal the device is taken off its stack and deleted, and its header is freed.
// ks-coverage: KsDefaultDispatchPnp done test=stack_depth_power_and_pnp_follow_the_headers
pub(crate) unsafe extern "win64" fn KsDefaultDispatchPnp(device: Address, irp: Address) -> NtStatus {
    let next = match below(device, irp) {
        Ok(next) => next,
        Err(status) => return status,
    };
    let request = DriverIrp::new(irp);
    let minor: u8 = request.stack().get(offset_of!(IoStackLocation, minor_function));
    skip(request);
    let answer = kernel::call_driver(next, irp);
    if minor == IRP_MN_REMOVE_DEVICE {
        super::header::free_device_header(device);
        kernel::detach_and_delete(next, device);
    }
    answer
}

// ks-coverage: KsDefaultDispatchPower done test=stack_depth_power_and_pnp_follow_the_headers
pub(crate) unsafe extern "win64" fn KsDefaultDispatchPower(device: Address, irp: Address) -> NtStatus {
    if let Some(header) = DeviceHeader::of_device(device) {
        header.dispatch_power(irp);
    }
    let next = match below(device, irp) {
        Ok(next) => next,
        Err(status) => return status,
    };
    skip(DriverIrp::new(irp));
    kernel::call_power_driver(next, irp)
}
