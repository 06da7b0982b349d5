//! Cancel-safe queues: the driver has the queue and its lock, these routines the races of cancellation.

#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "each routine trusts its caller's addresses, as its documentation page says"
)]

use core::ptr;
use std::sync::atomic::Ordering::SeqCst;

use ks_abi::kernel::{DeviceObject, Irp, SL_PENDING_RETURNED};
use ks_abi::pointer::Ptr64;
use ks_abi::status::{NtStatus, STATUS_SUCCESS};

use super::driver_memory::{field, set_field};
use super::io_request::{IoReleaseCancelSpinLock, cancel_routine, current_location};
use crate::exports;
use crate::exports::Export;

/// Exports of this file.
pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    IoCsqInitialize, IoCsqInitializeEx, IoCsqInsertIrp, IoCsqInsertIrpEx, IoCsqRemoveIrp, IoCsqRemoveNextIrp,
);

type Insert = unsafe extern "win64" fn(*mut Csq, *mut Irp);
type InsertEx = unsafe extern "win64" fn(*mut Csq, *mut Irp, u64) -> NtStatus;
type Remove = unsafe extern "win64" fn(*mut Csq, *mut Irp);
type Peek = unsafe extern "win64" fn(*mut Csq, *mut Irp, u64) -> *mut Irp;
type Acquire = unsafe extern "win64" fn(*mut Csq, *mut u8);
type Release = unsafe extern "win64" fn(*mut Csq, u8);

const TYPE_CSQ: u32 = 1;
const TYPE_CONTEXT: u32 = 2;
const TYPE_CSQ_EX: u32 = 3;

/// A cancel-safe queue.
#[doc(alias = "IO_CSQ")]
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Csq {
    kind: u32,
    insert: Insert,
    remove: Remove,
    peek: Peek,
    acquire: Acquire,
    release: Release,
    complete_cancelled: Remove,
    reserved: u64,
}

/// What finds one request of a queue.
#[doc(alias = "IO_CSQ_IRP_CONTEXT")]
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Context {
    kind: u32,
    irp: *mut Irp,
    queue: *mut Csq,
}

pub(crate) unsafe extern "win64" fn IoCsqInitialize(
    queue: *mut Csq,
    insert: Insert,
    remove: Remove,
    peek: Peek,
    acquire: Acquire,
    release: Release,
    complete_cancelled: Remove,
) -> NtStatus {
    queue.write(Csq { kind: TYPE_CSQ, insert, remove, peek, acquire, release, complete_cancelled, reserved: 0 });
    STATUS_SUCCESS
}

/// As `IoCsqInitialize`; the insert routine takes a context and may refuse.
pub(crate) unsafe extern "win64" fn IoCsqInitializeEx(
    queue: *mut Csq,
    insert: Insert,
    remove: Remove,
    peek: Peek,
    acquire: Acquire,
    release: Release,
    complete_cancelled: Remove,
) -> NtStatus {
    queue.write(Csq { kind: TYPE_CSQ_EX, insert, remove, peek, acquire, release, complete_cancelled, reserved: 0 });
    STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn IoCsqInsertIrp(queue: *mut Csq, irp: *mut Irp, context: *mut Context) {
    let _ = IoCsqInsertIrpEx(queue, irp, context, 0);
}

/// Queues a request and marks it pending. One that is cancelled already completes at once.
pub(crate) unsafe extern "win64" fn IoCsqInsertIrpEx(
    queue: *mut Csq,
    irp: *mut Irp,
    context: *mut Context,
    insert_context: u64,
) -> NtStatus {
    let csq = *queue;
    let mut level = 0;
    (csq.acquire)(queue, &raw mut level);
    let key = if context.is_null() {
        queue as u64
    } else {
        context.write(Context { kind: TYPE_CONTEXT, irp, queue });
        context as u64
    };
    set_field!(irp, driver_context, {
        let [first, second, third, _] = field!(irp, driver_context);
        [first, second, third, Ptr64(key)]
    });
    if csq.kind == TYPE_CSQ_EX {
        let insert = core::mem::transmute::<Insert, InsertEx>(csq.insert);
        let status = insert(queue, irp, insert_context);
        if !status.is_success() {
            (csq.release)(queue, level);
            return status;
        }
    } else {
        (csq.insert)(queue, irp);
    }
    let stack = current_location(irp);
    set_field!(stack, control, field!(stack, control) | SL_PENDING_RETURNED);
    cancel_routine(irp).swap(cancel as *mut (), SeqCst);
    let cancelled = field!(irp, cancel) != 0 && !cancel_routine(irp).swap(ptr::null_mut(), SeqCst).is_null();
    if cancelled {
        (csq.remove)(queue, irp);
        forget(irp);
    }
    (csq.release)(queue, level);
    if cancelled {
        (csq.complete_cancelled)(queue, irp);
    }
    STATUS_SUCCESS
}

/// Unlinks the context of a request that left its queue.
unsafe fn forget(irp: *mut Irp) {
    let key = field!(irp, driver_context)[3].0 as *mut Context;
    if !key.is_null() && (*key).kind == TYPE_CONTEXT {
        (*key).irp = ptr::null_mut();
    }
}

unsafe extern "win64" fn cancel(_device: *mut DeviceObject, irp: *mut Irp) {
    IoReleaseCancelSpinLock(field!(irp, cancel_irql));
    let key = field!(irp, driver_context)[3].0 as *mut Context;
    let queue = if (*key).kind == TYPE_CONTEXT { (*key).queue } else { key.cast() };
    let csq = *queue;
    let mut level = 0;
    (csq.acquire)(queue, &raw mut level);
    (csq.remove)(queue, irp);
    forget(irp);
    (csq.release)(queue, level);
    (csq.complete_cancelled)(queue, irp);
}

/// The next request that matches; one that is being cancelled is left to its cancel routine.
pub(crate) unsafe extern "win64" fn IoCsqRemoveNextIrp(queue: *mut Csq, peek_context: u64) -> *mut Irp {
    let csq = *queue;
    let mut level = 0;
    (csq.acquire)(queue, &raw mut level);
    let mut irp = (csq.peek)(queue, ptr::null_mut(), peek_context);
    while !irp.is_null() && cancel_routine(irp).swap(ptr::null_mut(), SeqCst).is_null() {
        irp = (csq.peek)(queue, irp, peek_context);
    }
    if !irp.is_null() {
        (csq.remove)(queue, irp);
        forget(irp);
    }
    (csq.release)(queue, level);
    irp
}

/// The request of a context; NULL if it left the queue or is being cancelled.
pub(crate) unsafe extern "win64" fn IoCsqRemoveIrp(queue: *mut Csq, context: *mut Context) -> *mut Irp {
    let csq = *queue;
    let mut level = 0;
    (csq.acquire)(queue, &raw mut level);
    let mut irp = (*context).irp;
    if !irp.is_null() && cancel_routine(irp).swap(ptr::null_mut(), SeqCst).is_null() {
        irp = ptr::null_mut();
    }
    if !irp.is_null() {
        (csq.remove)(queue, irp);
        (*context).irp = ptr::null_mut();
    }
    (csq.release)(queue, level);
    irp
}
