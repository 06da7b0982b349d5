//! I/O request packets: their memory, their way down a device stack and up again, and their cancellation.

#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "each routine trusts its caller's addresses, as its documentation page says"
)]

use core::mem::{size_of, transmute};
use core::ptr;
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering::SeqCst};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use ks_abi::kernel::{
    DeviceObject, DriverObject, IO_TYPE_IRP, IRP_ASSOCIATED_IRP, IRP_BUFFERED_IO, IRP_DEALLOCATE_BUFFER,
    IRP_INPUT_OPERATION, IRP_MJ_PNP, IRP_MJ_POWER, IRP_MN_CANCEL_STOP_DEVICE, IRP_MN_SURPRISE_REMOVAL, IoStackLocation,
    IoStatusBlock, Irp, Mdl, SL_INVOKE_ON_CANCEL, SL_INVOKE_ON_ERROR, SL_INVOKE_ON_SUCCESS, SL_PENDING_RETURNED,
};
use ks_abi::pointer::Ptr64;
use ks_abi::status::{NtStatus, STATUS_MORE_PROCESSING_REQUIRED, STATUS_PENDING};

use super::block::Block;
use super::driver_memory::{allocate_pool, field, free_pool, get, put, put_optional, set_field};
use super::{event, mdl, spin_lock};
use crate::exports;
use crate::exports::Export;
use crate::report::{self, BugCheck};

/// Exports of this file.
pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    IoAllocateIrp, IoAllocateIrpEx, IoInitializeIrp, IoReuseIrp, IoFreeIrp, IoMakeAssociatedIrp, IofCallDriver,
    IoCallDriver, IofCompleteRequest, IoCompleteRequest, IoCancelIrp, IoAcquireCancelSpinLock, IoReleaseCancelSpinLock,
    IoSetCompletionRoutineEx, IoGetTopLevelIrp, IoSetTopLevelIrp, IoIs32bitProcess, IoGetRequestorProcessId,
    IoGetRequestorSessionId, IoIsOperationSynchronous,
);

const TAG: u32 = u32::from_le_bytes(*b"Irp ");
/// Most stack locations of a request.
const MOST_STACK: i8 = 100;

/// Dispatch routine of a driver.
pub(crate) type Dispatch = unsafe extern "win64" fn(*mut DeviceObject, *mut Irp) -> NtStatus;
/// Completion routine.
type Completion = unsafe extern "win64" fn(*mut DeviceObject, *mut Irp, u64) -> NtStatus;
/// Cancel routine.
type Cancel = unsafe extern "win64" fn(*mut DeviceObject, *mut Irp);

/// Called when a request has gone all the way up.
pub(crate) type Completed = Box<dyn FnOnce(*mut Irp) + Send>;

/// Who made a request, and so who takes it when it is complete.
enum Owner {
    /// The driver, by `IoAllocateIrp`: a completion routine of its own must stop it.
    Driver,
    /// One of the routines that build requests: it ends by itself.
    Built,
    /// The kernel, for itself.
    #[allow(dead_code, reason = "for whoever hosts the driver")]
    Kernel(Completed),
}

static OWNERS: LazyLock<Mutex<HashMap<usize, Owner>>> = LazyLock::new(Mutex::default);

fn owners() -> MutexGuard<'static, HashMap<usize, Owner>> {
    OWNERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has `completed` take a request when it is complete: the engine's requests, and the kernel's own. `irp` stays the
/// caller's; nothing here frees it.
#[allow(dead_code, reason = "for whoever hosts the driver")]
pub(crate) fn adopt(irp: *mut Irp, completed: Completed) {
    owners().insert(irp as usize, Owner::Kernel(completed));
}

/// Forgets a request that was adopted and has not completed.
#[allow(dead_code, reason = "for whoever hosts the driver")]
pub(crate) fn disown(irp: *mut Irp) {
    owners().remove(&(irp as usize));
}

/// A request that ends by itself: its event is set, its buffers are given back, its memory is freed.
pub(super) fn build(irp: *mut Irp) {
    owners().insert(irp as usize, Owner::Built);
}

/// Bytes of a request with this many stack locations.
#[doc(alias = "IoSizeOfIrp")]
pub(crate) const fn irp_bytes(stack: i8) -> usize {
    size_of::<Irp>() + stack as usize * size_of::<IoStackLocation>()
}

/// The current stack location.
pub(crate) unsafe fn current_location(irp: *mut Irp) -> *mut IoStackLocation {
    field!(irp, current_stack_location).0 as *mut IoStackLocation
}

/// The location of the next lower driver.
pub(crate) unsafe fn next_location(irp: *mut Irp) -> *mut IoStackLocation {
    current_location(irp).wrapping_sub(1)
}

/// The cell that cancel routines are exchanged in.
pub(crate) unsafe fn cancel_routine<'a>(irp: *mut Irp) -> &'a AtomicPtr<()> {
    AtomicPtr::from_ptr((&raw mut (*irp).cancel_routine).cast())
}

pub(crate) unsafe extern "win64" fn IoInitializeIrp(irp: *mut Irp, bytes: u16, stack: i8) {
    irp.cast::<u8>().write_bytes(0, bytes.into());
    set_field!(irp, packet_type, IO_TYPE_IRP as i16);
    set_field!(irp, packet_size, bytes);
    set_field!(irp, stack_count, stack);
    set_field!(irp, current_location, stack + 1);
    let list = Ptr64(&raw mut (*irp).thread_list_entry as u64);
    set_field!(irp, thread_list_entry.next, list);
    set_field!(irp, thread_list_entry.previous, list);
    set_field!(irp, current_stack_location, Ptr64(irp as u64 + irp_bytes(stack) as u64));
}

unsafe fn allocate(stack: i8) -> *mut Irp {
    if !(0..=MOST_STACK).contains(&stack) {
        return ptr::null_mut();
    }
    let irp = allocate_pool(irp_bytes(stack), TAG).cast::<Irp>();
    if !irp.is_null() {
        IoInitializeIrp(irp, irp_bytes(stack) as u16, stack);
        owners().insert(irp as usize, Owner::Driver);
    }
    irp
}

pub(crate) unsafe extern "win64" fn IoAllocateIrp(stack: i8, _charge_quota: u8) -> *mut Irp {
    allocate(stack)
}

pub(crate) unsafe extern "win64" fn IoAllocateIrpEx(_device: *mut DeviceObject, stack: i8, _charge: u8) -> *mut Irp {
    allocate(stack)
}

pub(crate) unsafe extern "win64" fn IoReuseIrp(irp: *mut Irp, status: NtStatus) {
    let (bytes, stack, flags) = (field!(irp, packet_size), field!(irp, stack_count), field!(irp, allocation_flags));
    IoInitializeIrp(irp, bytes, stack);
    set_field!(irp, allocation_flags, flags);
    set_field!(irp, io_status.status, status);
}

pub(crate) unsafe extern "win64" fn IoFreeIrp(irp: *mut Irp) {
    if owners().remove(&(irp as usize)).is_none() {
        report::misuse(
            BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION,
            "IoFreeIrp",
            format!("{irp:?} is no request that was allocated, or was freed before"),
        );
        return;
    }
    set_field!(irp, packet_type, 0);
    free_pool(irp.cast());
}

/// A request on behalf of a master, which completes when the count that its driver wrote into it is used up.
pub(crate) unsafe extern "win64" fn IoMakeAssociatedIrp(master: *mut Irp, stack: i8) -> *mut Irp {
    let irp = allocate(stack);
    if !irp.is_null() {
        build(irp);
        set_field!(irp, flags, IRP_ASSOCIATED_IRP);
        set_field!(irp, system_buffer, Ptr64(master as u64));
        set_field!(irp, thread, field!(master, thread));
    }
    irp
}

pub(crate) unsafe extern "win64" fn IoCallDriver(device: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    IofCallDriver(device, irp)
}

/// Hands a request to a device's driver, in the next stack location.
pub(crate) unsafe extern "win64" fn IofCallDriver(device: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    let location = field!(irp, current_location) - 1;
    if field!(irp, packet_type) != IO_TYPE_IRP as i16 || location <= 0 {
        report::bug_check(
            BugCheck::NO_MORE_IRP_STACK_LOCATIONS,
            [irp as u64, 0, 0, 0],
            "IofCallDriver",
            format!("the request at {irp:?} has no stack location for another driver"),
        );
    }
    set_field!(irp, current_location, location);
    let stack = next_location(irp);
    set_field!(irp, current_stack_location, Ptr64(stack as u64));
    set_field!(stack, device_object, Ptr64(device as u64));
    let driver = field!(device, driver_object).0 as *mut DriverObject;
    if driver.is_null() {
        return answer_as_bus(irp);
    }
    let major = usize::from(field!(stack, major_function));
    let Some(routine) = field!(driver, major_function).get(major).copied().filter(|routine| !routine.is_null()) else {
        return invalid_request(irp);
    };
    let dispatch: Dispatch = transmute::<u64, Dispatch>(routine.0);
    dispatch(device, irp)
}

/// What the bus answers for a physical device of its own: its life and its power go as they are told; a question keeps
/// the status that it came with.
unsafe fn answer_as_bus(irp: *mut Irp) -> NtStatus {
    let stack = current_location(irp);
    let (major, minor) = (field!(stack, major_function), field!(stack, minor_function));
    let life = minor <= IRP_MN_CANCEL_STOP_DEVICE || minor == IRP_MN_SURPRISE_REMOVAL;
    let status = match major {
        IRP_MJ_PNP if life => NtStatus::STATUS_SUCCESS,
        IRP_MJ_PNP => field!(irp, io_status.status),
        IRP_MJ_POWER => NtStatus::STATUS_SUCCESS,
        _ => return invalid_request(irp),
    };
    complete_with(irp, status, field!(irp, io_status.information))
}

/// What a driver without a dispatch routine answers.
pub(crate) unsafe fn invalid_request(irp: *mut Irp) -> NtStatus {
    complete_with(irp, NtStatus::STATUS_INVALID_DEVICE_REQUEST, 0)
}

/// Completes a request.
pub(crate) unsafe fn complete_with(irp: *mut Irp, status: NtStatus, information: u64) -> NtStatus {
    set_field!(irp, io_status.status, status);
    set_field!(irp, io_status.information, information);
    IofCompleteRequest(irp, 0);
    status
}

pub(crate) unsafe extern "win64" fn IoCompleteRequest(irp: *mut Irp, boost: i8) {
    IofCompleteRequest(irp, boost);
}

/// Takes a request up: completion routines run, each for the location of the driver that set it, until one keeps it.
pub(crate) unsafe extern "win64" fn IofCompleteRequest(irp: *mut Irp, _boost: i8) {
    let stack_count = field!(irp, stack_count);
    let wrong = if field!(irp, packet_type) != IO_TYPE_IRP as i16 || field!(irp, current_location) > stack_count + 1 {
        Some((BugCheck::MULTIPLE_IRP_COMPLETE_REQUESTS, "is completed a second time"))
    } else if field!(irp, io_status.status) == STATUS_PENDING {
        Some((BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION, "is completed with STATUS_PENDING"))
    } else if !field!(irp, cancel_routine).is_null() {
        Some((BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION, "is completed with its cancel routine still set"))
    } else {
        None
    };
    if let Some((code, what)) = wrong {
        report::misuse(code, "IofCompleteRequest", format!("the request at {irp:?} {what}"));
        if code == BugCheck::MULTIPLE_IRP_COMPLETE_REQUESTS {
            return;
        }
    }
    loop {
        let location = field!(irp, current_location);
        let finished = current_location(irp);
        if location > stack_count {
            break;
        }
        set_field!(irp, current_location, location + 1);
        set_field!(irp, current_stack_location, Ptr64(finished.wrapping_add(1) as u64));
        let control = field!(finished, control);
        let (routine, context) = (field!(finished, completion_routine), field!(finished, context));
        let pending = control & SL_PENDING_RETURNED;
        set_field!(irp, pending_returned, u8::from(pending != 0));
        let upper = finished.wrapping_add(1);
        let has_upper = location < stack_count;
        let wanted = if field!(irp, cancel) != 0 { control & SL_INVOKE_ON_CANCEL } else { 0 }
            | if field!(irp, io_status.status).is_success() {
                control & SL_INVOKE_ON_SUCCESS
            } else {
                // A warning such as STATUS_DEVICE_BUSY is no success.
                control & SL_INVOKE_ON_ERROR
            };
        set_field!(finished, control, 0);
        set_field!(finished, completion_routine, Ptr64::NULL);
        if wanted != 0 && !routine.is_null() {
            let device = if has_upper { field!(upper, device_object).0 as *mut DeviceObject } else { ptr::null_mut() };
            let routine = transmute::<u64, Completion>(routine.0);
            if routine(device, irp, context.0) == STATUS_MORE_PROCESSING_REQUIRED {
                return;
            }
        } else if pending != 0 && has_upper {
            set_field!(upper, control, field!(upper, control) | SL_PENDING_RETURNED);
        }
    }
    finish(irp);
}

/// The request is at its top.
unsafe fn finish(irp: *mut Irp) {
    // One past the end, so that a second completion is seen.
    set_field!(irp, current_location, field!(irp, stack_count) + 2);
    let owner = owners().remove(&(irp as usize));
    match owner {
        Some(Owner::Kernel(completed)) => completed(irp),
        Some(Owner::Built) if field!(irp, flags) & IRP_ASSOCIATED_IRP != 0 => finish_associated(irp),
        Some(Owner::Built) => finish_built(irp),
        Some(Owner::Driver) => {
            owners().insert(irp as usize, Owner::Driver);
            report::misuse(
                BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION,
                "IofCompleteRequest",
                format!("the request at {irp:?} was allocated by IoAllocateIrp, and no completion routine kept it"),
            );
        }
        None => report::misuse(
            BugCheck::MULTIPLE_IRP_COMPLETE_REQUESTS,
            "IofCompleteRequest",
            format!("the request at {irp:?} belongs to nobody"),
        ),
    }
}

/// Counts the master down; its count is in the place of the system buffer.
unsafe fn finish_associated(irp: *mut Irp) {
    let master = field!(irp, system_buffer).0 as *mut Irp;
    let count = std::sync::atomic::AtomicI32::from_ptr((&raw mut (*master).system_buffer).cast());
    free_mdls(irp);
    free_pool(irp.cast());
    if count.fetch_sub(1, SeqCst) == 1 {
        IofCompleteRequest(master, 0);
    }
}

unsafe fn free_mdls(irp: *mut Irp) {
    let mut next = field!(irp, mdl_address).0 as *mut Mdl;
    while !next.is_null() {
        let mdl = next;
        next = field!(mdl, next).0 as *mut Mdl;
        mdl::release(mdl);
    }
}

/// Gives the caller of a complete request what is in its system buffer for it, and frees that buffer and the MDLs.
pub(crate) unsafe fn return_buffers(irp: *mut Irp) {
    let status = field!(irp, io_status);
    let flags = field!(irp, flags);
    let buffer = field!(irp, system_buffer).0 as *mut u8;
    if flags & IRP_BUFFERED_IO != 0 {
        let to = field!(irp, user_buffer).0 as *mut u8;
        if flags & IRP_INPUT_OPERATION != 0 && !status.status.is_error() && !to.is_null() {
            let stack = current_location(irp).wrapping_sub(1);
            to.copy_from(buffer, (status.information as usize).min(output_room(stack)));
        }
        if flags & IRP_DEALLOCATE_BUFFER != 0 && !buffer.is_null() {
            free_pool(buffer);
        }
    }
    set_field!(irp, flags, flags & !(IRP_BUFFERED_IO | IRP_DEALLOCATE_BUFFER));
    free_mdls(irp);
    set_field!(irp, mdl_address, Ptr64::NULL);
}

/// Gives the caller of a built request its data, its status and its event.
unsafe fn finish_built(irp: *mut Irp) {
    let status = field!(irp, io_status);
    return_buffers(irp);
    put_optional(field!(irp, user_iosb).0 as *mut IoStatusBlock, status);
    let user_event = field!(irp, user_event).0 as *mut u8;
    set_field!(irp, packet_type, 0);
    free_pool(irp.cast());
    if !user_event.is_null() {
        event::KeSetEvent(Block::at(user_event), 0, 0);
    }
}

/// Room that a request's caller gave for an answer.
unsafe fn output_room(stack: *const IoStackLocation) -> usize {
    match get(&raw const (*stack).major_function) {
        ks_abi::kernel::IRP_MJ_READ => get(stack).read_write().length as usize,
        _ => get(stack).device_io_control().output_buffer_length as usize,
    }
}

/// The one lock of cancellation.
static CANCEL_LOCK: AtomicU64 = AtomicU64::new(0);

fn cancel_lock() -> Block {
    // SAFETY: a static of the size of a spin lock.
    unsafe { Block::at(CANCEL_LOCK.as_ptr().cast()) }
}

pub(crate) unsafe extern "win64" fn IoAcquireCancelSpinLock(level: *mut u8) {
    put(level, spin_lock::KeAcquireSpinLockRaiseToDpc(cancel_lock()));
}

pub(crate) unsafe extern "win64" fn IoReleaseCancelSpinLock(level: u8) {
    spin_lock::KeReleaseSpinLock(cancel_lock(), level);
}

/// Marks a request and calls its cancel routine, which releases the cancel lock. Whether there was one.
pub(crate) unsafe extern "win64" fn IoCancelIrp(irp: *mut Irp) -> u8 {
    let level = spin_lock::KeAcquireSpinLockRaiseToDpc(cancel_lock());
    set_field!(irp, cancel, 1);
    let routine = cancel_routine(irp).swap(ptr::null_mut(), SeqCst);
    if routine.is_null() {
        IoReleaseCancelSpinLock(level);
        return 0;
    }
    call_cancel_routine(irp, routine as u64, level);
    1
}

/// Calls a cancel routine that is no longer in its request; the cancel lock is held since `level`, and it releases it.
unsafe fn call_cancel_routine(irp: *mut Irp, routine: u64, level: u8) {
    set_field!(irp, cancel_irql, level);
    let device = field!(current_location(irp), device_object).0 as *mut DeviceObject;
    let routine: Cancel = transmute::<u64, Cancel>(routine);
    routine(device, irp);
}

/// Takes the cancel lock and calls a cancel routine that was taken out of its request.
pub(crate) unsafe fn run_cancel_routine(irp: *mut Irp, routine: u64) {
    let level = spin_lock::KeAcquireSpinLockRaiseToDpc(cancel_lock());
    call_cancel_routine(irp, routine, level);
}

/// As the inline `IoSetCompletionRoutine`; the device is only held by it.
pub(crate) unsafe extern "win64" fn IoSetCompletionRoutineEx(
    _device: *mut DeviceObject,
    irp: *mut Irp,
    routine: u64,
    context: u64,
    on_success: u8,
    on_error: u8,
    on_cancel: u8,
) -> NtStatus {
    let stack = next_location(irp);
    let when = |wanted: u8, flag: u8| if wanted != 0 { flag } else { 0 };
    let control = when(on_success, SL_INVOKE_ON_SUCCESS)
        | when(on_error, SL_INVOKE_ON_ERROR)
        | when(on_cancel, SL_INVOKE_ON_CANCEL);
    set_field!(stack, completion_routine, Ptr64(routine));
    set_field!(stack, context, Ptr64(context));
    set_field!(stack, control, control);
    NtStatus::STATUS_SUCCESS
}

thread_local! {
    static TOP_LEVEL: Cell<u64> = const { Cell::new(0) };
}

pub(crate) unsafe extern "win64" fn IoGetTopLevelIrp() -> u64 {
    TOP_LEVEL.get()
}

pub(crate) unsafe extern "win64" fn IoSetTopLevelIrp(irp: u64) {
    TOP_LEVEL.set(irp);
}

/// No caller has 32 bits.
pub(crate) unsafe extern "win64" fn IoIs32bitProcess(_irp: *mut Irp) -> u8 {
    0
}

pub(crate) unsafe extern "win64" fn IoGetRequestorProcessId(_irp: *mut Irp) -> u32 {
    super::thread::PROCESS_NUMBER as u32
}

pub(crate) unsafe extern "win64" fn IoGetRequestorSessionId(_irp: *mut Irp, session: *mut u32) -> NtStatus {
    put(session, 0);
    NtStatus::STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn IoIsOperationSynchronous(irp: *mut Irp) -> u8 {
    u8::from(field!(irp, flags) & ks_abi::kernel::IRP_SYNCHRONOUS_API != 0)
}
