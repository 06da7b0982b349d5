//! Routines that build whole requests.

#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "each routine trusts its caller's addresses, as its documentation page says"
)]

use core::ptr;

use ks_abi::kernel::{
    DO_BUFFERED_IO, DO_DIRECT_IO, DeviceIoControlParameters, DeviceObject, IRP_BUFFERED_IO, IRP_DEALLOCATE_BUFFER,
    IRP_INPUT_OPERATION, IRP_MJ_DEVICE_CONTROL, IRP_MJ_INTERNAL_DEVICE_CONTROL, IRP_MJ_READ, IRP_MJ_WRITE,
    IRP_READ_OPERATION, IRP_SYNCHRONOUS_API, IRP_WRITE_OPERATION, IoStatusBlock, Irp, ReadWriteParameters,
    SL_INVOKE_ON_CANCEL, SL_INVOKE_ON_ERROR, SL_INVOKE_ON_SUCCESS,
};
use ks_abi::pointer::Ptr64;
use ks_abi::status::{NtStatus, STATUS_MORE_PROCESSING_REQUIRED, STATUS_PENDING};

use super::driver_memory::{allocate_pool, field, get, put, set_field};
use super::io_request::{IoAllocateIrp, IoFreeIrp, IofCallDriver, adopt, build, disown, irp_bytes, next_location};
use super::scheduler::Changed;
use super::{mdl, thread};
use crate::exports;
use crate::exports::Export;
use ks_io::{CancelCell, CancelTarget};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Exports of this file.
pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    IoBuildDeviceIoControlRequest, IoBuildSynchronousFsdRequest, IoBuildAsynchronousFsdRequest,
    IoForwardIrpSynchronously, IoForwardAndCatchIrp,
);

const TAG: u32 = u32::from_le_bytes(*b"IoSB");
const METHOD_BUFFERED: u32 = 0;
const METHOD_NEITHER: u32 = 3;

/// Gives a request a system buffer with a copy of `length` bytes, in room for `room`.
unsafe fn set_system_buffer(irp: *mut Irp, from: *const u8, length: usize, room: usize) -> bool {
    let buffer = allocate_pool(room.max(1), TAG);
    if buffer.is_null() {
        return false;
    }
    buffer.write_bytes(0, room);
    if !from.is_null() {
        buffer.copy_from(from, length);
    }
    set_field!(irp, system_buffer, Ptr64(buffer as u64));
    set_field!(irp, flags, field!(irp, flags) | IRP_BUFFERED_IO | IRP_DEALLOCATE_BUFFER);
    true
}

unsafe fn set_locked_buffer(irp: *mut Irp, address: u64, length: u32, operation: u32) -> bool {
    let list = mdl::IoAllocateMdl(address, length, 0, 0, irp);
    if list.is_null() {
        return false;
    }
    mdl::MmProbeAndLockPages(list, 0, operation);
    true
}

pub(crate) unsafe extern "win64" fn IoBuildDeviceIoControlRequest(
    code: u32,
    device: *mut DeviceObject,
    input: *const u8,
    input_length: u32,
    output: *mut u8,
    output_length: u32,
    internal: u8,
    event: u64,
    status: *mut IoStatusBlock,
) -> *mut Irp {
    let irp = IoAllocateIrp(field!(device, stack_size), 0);
    if irp.is_null() {
        return irp;
    }
    let stack = next_location(irp);
    set_field!(
        stack,
        major_function,
        if internal != 0 { IRP_MJ_INTERNAL_DEVICE_CONTROL } else { IRP_MJ_DEVICE_CONTROL }
    );
    let mut parameters = DeviceIoControlParameters {
        output_buffer_length: output_length,
        input_buffer_length: input_length,
        io_control_code: code,
        ..Default::default()
    };
    let (input_bytes, output_bytes) = (input_length as usize, output_length as usize);
    let ready = match code & 3 {
        METHOD_BUFFERED => {
            if !output.is_null() {
                set_field!(irp, flags, IRP_INPUT_OPERATION);
                set_field!(irp, user_buffer, Ptr64(output as u64));
            }
            let room = input_bytes.max(output_bytes);
            room == 0 || set_system_buffer(irp, input, input_bytes, room)
        }
        METHOD_NEITHER => {
            set_field!(irp, user_buffer, Ptr64(output as u64));
            parameters.type3_input_buffer = Ptr64(input as u64);
            true
        }
        // The output buffer of METHOD_IN_DIRECT is read by the driver, that of METHOD_OUT_DIRECT written.
        method => {
            (input.is_null() || set_system_buffer(irp, input, input_bytes, input_bytes))
                && (output.is_null() || set_locked_buffer(irp, output as u64, output_length, method - 1))
        }
    };
    let mut location = get(stack);
    location.set_device_io_control(parameters);
    put(stack, location);
    if !ready {
        IoFreeIrp(irp);
        return ptr::null_mut();
    }
    end_by_itself(irp, event, status);
    irp
}

unsafe fn end_by_itself(irp: *mut Irp, event: u64, status: *mut IoStatusBlock) {
    set_field!(irp, flags, field!(irp, flags) | IRP_SYNCHRONOUS_API);
    set_field!(irp, user_event, Ptr64(event));
    set_field!(irp, user_iosb, Ptr64(status as u64));
    set_field!(irp, thread, Ptr64(thread::KeGetCurrentThread().address() as u64));
    build(irp);
}

unsafe fn build_transfer(
    major: u8,
    device: *mut DeviceObject,
    buffer: *mut u8,
    length: u32,
    offset: *const i64,
) -> *mut Irp {
    let irp = IoAllocateIrp(field!(device, stack_size), 0);
    if irp.is_null() {
        return irp;
    }
    let stack = next_location(irp);
    set_field!(stack, major_function, major);
    if major != IRP_MJ_READ && major != IRP_MJ_WRITE {
        return irp;
    }
    let reads = major == IRP_MJ_READ;
    set_field!(irp, flags, if reads { IRP_READ_OPERATION } else { IRP_WRITE_OPERATION });
    let device_flags = field!(device, flags);
    let ready = if buffer.is_null() {
        true
    } else if device_flags & DO_BUFFERED_IO != 0 {
        if reads {
            set_field!(irp, flags, field!(irp, flags) | IRP_INPUT_OPERATION);
            set_field!(irp, user_buffer, Ptr64(buffer as u64));
        }
        let copied = if reads { 0 } else { length as usize };
        set_system_buffer(irp, buffer, copied, length as usize)
    } else if device_flags & DO_DIRECT_IO != 0 {
        set_locked_buffer(irp, buffer as u64, length, u32::from(reads))
    } else {
        set_field!(irp, user_buffer, Ptr64(buffer as u64));
        true
    };
    if !ready {
        IoFreeIrp(irp);
        return ptr::null_mut();
    }
    let mut location = get(stack);
    let byte_offset = if offset.is_null() { 0 } else { get(offset) };
    location.set_read_write(ReadWriteParameters { length, byte_offset, ..Default::default() });
    put(stack, location);
    irp
}

pub(crate) unsafe extern "win64" fn IoBuildSynchronousFsdRequest(
    major: u32,
    device: *mut DeviceObject,
    buffer: *mut u8,
    length: u32,
    offset: *const i64,
    event: u64,
    status: *mut IoStatusBlock,
) -> *mut Irp {
    let irp = build_transfer(major as u8, device, buffer, length, offset);
    if !irp.is_null() {
        end_by_itself(irp, event, status);
    }
    irp
}

/// The driver takes the request back in a completion routine, and frees its buffers.
pub(crate) unsafe extern "win64" fn IoBuildAsynchronousFsdRequest(
    major: u32,
    device: *mut DeviceObject,
    buffer: *mut u8,
    length: u32,
    offset: *const i64,
    status: *mut IoStatusBlock,
) -> *mut Irp {
    let irp = build_transfer(major as u8, device, buffer, length, offset);
    if !irp.is_null() {
        set_field!(irp, user_iosb, Ptr64(status as u64));
        set_field!(irp, thread, Ptr64(thread::KeGetCurrentThread().address() as u64));
    }
    irp
}

/// What a thread waits for while a request is with another driver.
struct Waiting {
    done: std::sync::Mutex<bool>,
    changed: Changed,
}

impl Waiting {
    fn wait(&self) {
        ks_io::deferred::drain_before_wait();
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        while !*done {
            done = self.changed.wait(&self.done, done);
        }
    }

    fn set(&self) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        *done = true;
        // Under the lock: who waits may give this up as soon as it has it.
        self.changed.notify_all();
    }
}

unsafe extern "win64" fn caught(_device: *mut DeviceObject, _irp: *mut Irp, waiting: u64) -> NtStatus {
    (*(waiting as *const Waiting)).set();
    STATUS_MORE_PROCESSING_REQUIRED
}

/// Sends a request on with a copy of the current location, and waits until it comes back up. Whether it could be sent.
pub(crate) unsafe extern "win64" fn IoForwardIrpSynchronously(device: *mut DeviceObject, irp: *mut Irp) -> u8 {
    if field!(irp, current_location) <= 1 {
        return 0;
    }
    let waiting = Waiting { done: false.into(), changed: Changed::new() };
    let mut location = get(super::io_request::current_location(irp));
    location.control = SL_INVOKE_ON_SUCCESS | SL_INVOKE_ON_ERROR | SL_INVOKE_ON_CANCEL;
    location.completion_routine = Ptr64(caught as *const () as u64);
    location.context = Ptr64(&raw const waiting as u64);
    put(next_location(irp), location);
    let _ = IofCallDriver(device, irp);
    waiting.wait();
    1
}

pub(crate) unsafe extern "win64" fn IoForwardAndCatchIrp(device: *mut DeviceObject, irp: *mut Irp) -> u8 {
    IoForwardIrpSynchronously(device, irp)
}

/// Sends a request of the kernel's own to a device and waits for its end. `prepare` fills the first stack location and
/// whatever else the request needs; the status is STATUS_NOT_SUPPORTED until a driver writes another.
///
/// # Safety
/// The device is alive, and so is what `prepare` puts into the request until the answer.
#[allow(dead_code, reason = "for whoever hosts the driver")]
pub(crate) unsafe fn send_and_wait(device: *mut DeviceObject, prepare: impl FnOnce(*mut Irp)) -> IoStatusBlock {
    send_until_cancelled(device, None, prepare)
}

/// A request that somebody waits for, while it can be cancelled.
struct Cancelable {
    packet: Mutex<Cancel>,
    changed: Changed,
}

/// The packet, 0 when it is over, and how many cancels of it run: it is not freed before they return.
#[derive(Clone, Copy)]
struct Cancel {
    packet: usize,
    running: u32,
}

impl Cancelable {
    fn new(packet: usize) -> Self {
        Self { packet: Mutex::new(Cancel { packet, running: 0 }), changed: Changed::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Cancel> {
        self.packet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The packet is over; waits for cancels that run.
    fn over(&self) {
        let mut cancel = self.lock();
        cancel.packet = 0;
        while cancel.running > 0 {
            cancel = self.changed.wait(&self.packet, cancel);
        }
    }
}

impl CancelTarget for Cancelable {
    fn cancel(&self, _: u64) {
        let packet = {
            let mut cancel = self.lock();
            if cancel.packet == 0 {
                return;
            }
            cancel.running += 1;
            cancel.packet
        };
        crate::machine::enter_thread();
        // SAFETY: the packet is alive while a cancel of it runs.
        unsafe { super::io_request::IoCancelIrp(packet as *mut Irp) };
        self.lock().running -= 1;
        self.changed.notify_all();
    }
}

/// As [`send_and_wait`]; a cancel of what there is a state of cancels the request.
///
/// # Safety
/// As there.
pub(crate) unsafe fn send_until_cancelled(
    device: *mut DeviceObject,
    cancel: Option<&CancelCell>,
    prepare: impl FnOnce(*mut Irp),
) -> IoStatusBlock {
    let stack = field!(device, stack_size);
    let irp = IoAllocateIrp(stack, 0);
    if irp.is_null() {
        return IoStatusBlock { status: NtStatus::STATUS_INSUFFICIENT_RESOURCES, ..Default::default() };
    }
    debug_assert_eq!(usize::from(field!(irp, packet_size)), irp_bytes(stack));
    set_field!(irp, io_status.status, NtStatus::STATUS_NOT_SUPPORTED);
    set_field!(irp, thread, Ptr64(thread::KeGetCurrentThread().address() as u64));
    prepare(irp);
    let waiting = Arc::new(Waiting { done: false.into(), changed: Changed::new() });
    let completed = waiting.clone();
    adopt(irp, Box::new(move |_| completed.set()));
    let cancelable = cancel.map(|cancel| (cancel, Arc::new(Cancelable::new(irp as usize))));
    if let Some((cancel, target)) = &cancelable {
        let target: Weak<dyn CancelTarget> = Arc::<Cancelable>::downgrade(target);
        if cancel.arm(target, 0).is_err() {
            // The driver finds the mark when it would let the request wait.
            set_field!(irp, cancel, 1);
        }
    }
    let returned = IofCallDriver(device, irp);
    // A driver that returns a status without completing keeps its caller waiting in Windows also; a pending one is on
    // its way.
    let _ = returned == STATUS_PENDING;
    waiting.wait();
    if let Some((cancel, target)) = &cancelable {
        cancel.disarm();
        target.over();
    }
    disown(irp);
    let answer = field!(irp, io_status);
    super::driver_memory::free_pool(irp.cast());
    answer
}

/// As [`send_and_wait`], to whoever is on top of a device.
///
/// # Safety
/// `device` is the address of a device object, and what `prepare` puts into the request lives until the answer.
pub(crate) unsafe fn send_and_wait_at_top(device: u64, prepare: impl FnOnce(*mut Irp)) -> IoStatusBlock {
    send_and_wait(super::io_device::IoGetAttachedDevice(device as *mut DeviceObject), prepare)
}
