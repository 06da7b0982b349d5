//! Remove locks: how many requests a device has in hand, and the removal that waits for them.

use std::sync::atomic::Ordering;

use ks_abi::NtStatus;

use super::block::Block;
use super::dispatcher::{self, Alertable, Kind, Rule};
use super::{event, irql};
use crate::exports;
use crate::exports::Export;
use crate::report::{self, BugCheck};

pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    IoInitializeRemoveLockEx, IoAcquireRemoveLockEx, IoReleaseRemoveLockEx, IoReleaseRemoveLockAndWaitEx,
);

/// An IO_REMOVE_LOCK of a release build; a checked one has more behind, which is not used.
const REMOVED: usize = 0;
const COUNT: usize = 4;
const EVENT: usize = 8;
const BYTES: usize = 32;

pub(crate) unsafe extern "win64" fn IoInitializeRemoveLockEx(
    lock: Block,
    _tag: u32,
    _minutes: u32,
    _high_watermark: u32,
    _bytes: u32,
) {
    lock.clear(BYTES);
    // The device itself is the first user.
    lock.i32(COUNT).store(1, Ordering::Release);
    dispatcher::initialize(lock.field(EVENT), Kind::NOTIFICATION_EVENT, 24, 0);
}

fn release(lock: Block, routine: &'static str) -> i32 {
    let left = lock.i32(COUNT).fetch_sub(1, Ordering::AcqRel) - 1;
    if left == 0 {
        event::set(lock.field(EVENT));
    } else if left < 0 {
        report::misuse(
            BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION,
            routine,
            format!("the remove lock at {:#x} is released more often than it was acquired", lock.address()),
        );
    }
    left
}

pub(crate) unsafe extern "win64" fn IoAcquireRemoveLockEx(
    lock: Block,
    _tag: Block,
    _file: Block,
    _line: u32,
    _bytes: u32,
) -> NtStatus {
    irql::at_most(irql::DISPATCH, "IoAcquireRemoveLockEx");
    lock.i32(COUNT).fetch_add(1, Ordering::AcqRel);
    if lock.u8(REMOVED).load(Ordering::Acquire) != 0 {
        release(lock, "IoAcquireRemoveLockEx");
        return NtStatus::STATUS_DELETE_PENDING;
    }
    NtStatus::STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn IoReleaseRemoveLockEx(lock: Block, _tag: Block, _bytes: u32) {
    release(lock, "IoReleaseRemoveLockEx");
}

/// Releases the caller's use and the device's own, and waits for the others.
pub(crate) unsafe extern "win64" fn IoReleaseRemoveLockAndWaitEx(lock: Block, _tag: Block, _bytes: u32) {
    const ROUTINE: &str = "IoReleaseRemoveLockAndWaitEx";
    irql::at_most(irql::PASSIVE, ROUTINE);
    lock.u8(REMOVED).store(1, Ordering::Release);
    release(lock, ROUTINE);
    if release(lock, ROUTINE) > 0 {
        let _signalled = dispatcher::wait(ROUTINE, &[lock.field(EVENT)], Rule::Any, Alertable::No, None);
    }
}
