//! Semaphores.

use std::sync::atomic::Ordering;

use super::block::Block;
use super::dispatcher::{self, Kind, initialize, signal};
use super::irql;
use crate::exports;
use crate::exports::Export;
use crate::report::{self, BugCheck};

pub(crate) const EXPORTS: &[Export] =
    exports!(Ntoskrnl: KeInitializeSemaphore, KeReleaseSemaphore, KeReadStateSemaphore);

/// Size of a KSEMAPHORE.
const SEMAPHORE_BYTES: usize = 32;
/// Offset of the greatest count.
const LIMIT: usize = 24;

pub(crate) unsafe extern "win64" fn KeInitializeSemaphore(semaphore: Block, count: i32, limit: i32) {
    initialize(semaphore, Kind::SEMAPHORE, SEMAPHORE_BYTES, count);
    semaphore.put(LIMIT, limit);
}

pub(crate) unsafe extern "win64" fn KeReleaseSemaphore(
    semaphore: Block,
    _increment: i32,
    adjustment: i32,
    _wait: u8,
) -> i32 {
    irql::at_most(irql::DISPATCH, "KeReleaseSemaphore");
    let mut dispatcher = dispatcher::lock();
    let before = signal(semaphore).load(Ordering::Acquire);
    let limit = semaphore.get::<i32>(LIMIT);
    match before.checked_add(adjustment).filter(|after| adjustment >= 0 && *after <= limit) {
        Some(after) => {
            signal(semaphore).store(after, Ordering::Release);
            dispatcher.signalled(semaphore);
        }
        None => {
            drop(dispatcher);
            report::misuse(
                BugCheck::KMODE_EXCEPTION_NOT_HANDLED,
                "KeReleaseSemaphore",
                format!(
                    "STATUS_SEMAPHORE_LIMIT_EXCEEDED: {before} and {adjustment} are more than the limit of {limit}"
                ),
            );
        }
    }
    before
}

pub(crate) unsafe extern "win64" fn KeReadStateSemaphore(semaphore: Block) -> i32 {
    signal(semaphore).load(Ordering::Acquire)
}
