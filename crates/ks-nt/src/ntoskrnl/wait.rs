//! Waiting for one object, for several, and for time to pass.

use ks_abi::NtStatus;

use super::block::Block;
use super::dispatcher::{self, Alertable, Rule};
use super::{irql, thread};
use crate::exports;
use crate::exports::Export;
use crate::report::{self, BugCheck};

pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    KeWaitForSingleObject, KeWaitForMultipleObjects, KeWaitForMutexObject, KeDelayExecutionThread, KeAlertThread,
    KeTestAlertThread,
);

/// Objects that a wait has room for without an array of wait blocks.
const THREAD_WAIT_OBJECTS: u32 = 3;
/// Objects that a wait can name at all.
const MAXIMUM_WAIT_OBJECTS: u32 = 64;
/// The value of WAIT_TYPE that asks for every object.
const WAIT_ALL: u32 = 0;

fn alertable(flag: u8) -> Alertable {
    if flag != 0 { Alertable::Yes } else { Alertable::No }
}

fn timeout(due: Block) -> Option<i64> {
    due.optional().map(|due| due.get(0))
}

pub(crate) unsafe extern "win64" fn KeWaitForSingleObject(
    object: Block,
    _reason: u32,
    _mode: u8,
    alert: u8,
    due: Block,
) -> NtStatus {
    dispatcher::wait("KeWaitForSingleObject", &[object], Rule::Any, alertable(alert), timeout(due))
}

pub(crate) unsafe extern "win64" fn KeWaitForMutexObject(
    mutex: Block,
    _reason: u32,
    _mode: u8,
    alert: u8,
    due: Block,
) -> NtStatus {
    dispatcher::wait("KeWaitForMutexObject", &[mutex], Rule::Any, alertable(alert), timeout(due))
}

pub(crate) unsafe extern "win64" fn KeWaitForMultipleObjects(
    count: u32,
    objects: Block,
    wait_type: u32,
    _reason: u32,
    _mode: u8,
    alert: u8,
    due: Block,
    wait_blocks: Block,
) -> NtStatus {
    let room = if wait_blocks.is_null() { THREAD_WAIT_OBJECTS } else { MAXIMUM_WAIT_OBJECTS };
    if count == 0 || count > room {
        report::misuse(
            BugCheck::MAXIMUM_WAIT_OBJECTS_EXCEEDED,
            "KeWaitForMultipleObjects",
            format!("waits for {count} objects with room for {room}"),
        );
        return NtStatus::STATUS_INVALID_PARAMETER_1;
    }
    let objects: Vec<Block> = (0..count as usize).map(|index| objects.get_block(index * 8)).collect();
    let rule = if wait_type == WAIT_ALL { Rule::All } else { Rule::Any };
    dispatcher::wait("KeWaitForMultipleObjects", &objects, rule, alertable(alert), timeout(due))
}

pub(crate) unsafe extern "win64" fn KeDelayExecutionThread(_mode: u8, alert: u8, interval: Block) -> NtStatus {
    irql::at_most(irql::APC, "KeDelayExecutionThread");
    match dispatcher::wait("KeDelayExecutionThread", &[], Rule::Any, alertable(alert), Some(interval.get(0))) {
        NtStatus::STATUS_TIMEOUT => NtStatus::STATUS_SUCCESS,
        ended => ended,
    }
}

/// Ends the alertable wait of a thread; returns whether an alert was pending already.
pub(crate) unsafe extern "win64" fn KeAlertThread(thread: Block, _mode: u8) -> u8 {
    u8::from(dispatcher::lock().alert(thread))
}

/// Takes back a pending alert of the calling thread.
pub(crate) unsafe extern "win64" fn KeTestAlertThread(_mode: u8) -> u8 {
    u8::from(dispatcher::lock().take_alert(thread::current()))
}
