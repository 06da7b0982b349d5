//! EX_TIMERs: allocated by the system, with periods in 100-ns units and a delete that may wait for the callback.

use super::block::Block;
use super::dispatcher::Kind;
use super::{dpc, irql, pool, timer};
use crate::exports;
use crate::exports::Export;
use crate::report::{self, BugCheck};

pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl: ExAllocateTimer, ExSetTimer, ExCancelTimer, ExDeleteTimer);

/// The object: a KTIMER first, so that a driver can wait for it; then a KDPC, the callback and its context.
const DPC: usize = timer::TIMER_BYTES;
const CALLBACK: usize = DPC + 64;
const CONTEXT: usize = CALLBACK + 8;
const DELETE_CALLBACK: usize = CONTEXT + 8;
const DELETE_CONTEXT: usize = DELETE_CALLBACK + 8;
const BYTES: usize = DELETE_CONTEXT + 8;
const TAG: u32 = u32::from_le_bytes(*b"ExTm");

/// The attribute that asks for a timer which stays signalled.
const EX_TIMER_NOTIFICATION: u32 = 1 << 31;

type Callback = unsafe extern "win64" fn(timer: Block, context: usize);

fn delete_finally(timer: Block) {
    let (callback, context) = (timer.get::<usize>(DELETE_CALLBACK), timer.get(DELETE_CONTEXT));
    pool::free(timer, TAG, "ExDeleteTimer");
    if callback != 0 {
        // SAFETY: the driver gave this address as its EXT_DELETE_CALLBACK, which takes the context.
        let callback: unsafe extern "win64" fn(usize) = unsafe { std::mem::transmute(callback) };
        // SAFETY: as the driver asked for, when the timer is gone.
        unsafe { callback(context) };
    }
}

unsafe extern "win64" fn expired(_dpc: Block, timer: usize, _argument_1: usize, _argument_2: usize) {
    // SAFETY: the timer lives until a delete waited for its DPCs.
    let timer = unsafe { Block::at(timer as *mut u8) };
    let callback = timer.get::<usize>(CALLBACK);
    if callback != 0 {
        // SAFETY: the driver gave this address as its EXT_CALLBACK.
        let callback: Callback = unsafe { std::mem::transmute(callback) };
        // SAFETY: as the driver asked for, at DISPATCH_LEVEL.
        unsafe { callback(timer, timer.get(CONTEXT)) };
    }
}

pub(crate) unsafe extern "win64" fn ExAllocateTimer(callback: usize, context: usize, attributes: u32) -> Block {
    irql::at_most(irql::DISPATCH, "ExAllocateTimer");
    let memory = pool::allocate(BYTES, TAG, pool::Contents::Zeros);
    if memory.is_null() {
        return memory;
    }
    let kind = match attributes & EX_TIMER_NOTIFICATION {
        0 => Kind::SYNCHRONIZATION_TIMER,
        _ => Kind::NOTIFICATION_TIMER,
    };
    timer::make(memory, kind);
    // SAFETY: the block has room for a DPC there.
    unsafe { dpc::KeInitializeDpc(memory.field(DPC), expired as *const () as usize, memory.address()) };
    memory.put(CALLBACK, callback);
    memory.put(CONTEXT, context);
    memory
}

pub(crate) unsafe extern "win64" fn ExSetTimer(timer: Block, due: i64, period: i64, _parameters: Block) -> u8 {
    irql::at_most(irql::DISPATCH, "ExSetTimer");
    let dpc = if timer.get::<usize>(CALLBACK) != 0 { timer.field(DPC) } else { Block::NULL };
    u8::from(timer::set(timer, due, period.max(0), dpc))
}

pub(crate) unsafe extern "win64" fn ExCancelTimer(timer: Block, _parameters: Block) -> u8 {
    irql::at_most(irql::DISPATCH, "ExCancelTimer");
    u8::from(timer::cancel(timer))
}

/// Frees a timer. `wait` returns when no callback runs any more; the delete callback of the parameters is called then.
pub(crate) unsafe extern "win64" fn ExDeleteTimer(timer: Block, cancel: u8, wait: u8, parameters: Block) -> u8 {
    if cancel == 0 && wait != 0 {
        report::misuse(
            BugCheck::TIMER_OR_DPC_INVALID,
            "ExDeleteTimer",
            "asks to wait for a timer that it does not ask to cancel",
        );
    }
    if let Some(parameters) = parameters.optional() {
        timer.put(DELETE_CALLBACK, parameters.get::<usize>(8));
        timer.put(DELETE_CONTEXT, parameters.get::<usize>(16));
    }
    // Decision: a timer that is not to be cancelled is, too: its memory goes now, and an expiration that the driver can
    // no longer see is worth nothing.
    let was_set = timer::cancel(timer);
    if irql::current() < irql::DISPATCH {
        dpc::flush(dpc::Which::Ordinary, "ExDeleteTimer");
        delete_finally(timer);
    } else {
        // Who cannot wait has it done when the DPCs before are over.
        delete_later(timer);
    }
    u8::from(was_set)
}

unsafe extern "win64" fn delete_dpc(_dpc: Block, timer: usize, _argument_1: usize, _argument_2: usize) {
    // SAFETY: the driver gave the timer up, and every DPC of it ran before this one.
    delete_finally(unsafe { Block::at(timer as *mut u8) });
}

fn delete_later(timer: Block) {
    let dpc = timer.field(DPC);
    let mut dispatcher = super::dispatcher::lock();
    dpc::remove(&mut dispatcher, dpc);
    // SAFETY: the block has room for a DPC there, and it is queued no more.
    unsafe { dpc::KeInitializeDpc(dpc, delete_dpc as *const () as usize, timer.address()) };
    dpc::queue(&mut dispatcher, dpc, [0; 2]);
}
