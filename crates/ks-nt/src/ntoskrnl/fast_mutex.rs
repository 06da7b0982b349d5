//! Fast and guarded mutexes, and push locks: small locks that no wait for several objects knows.
//!
//! A FAST_MUTEX is made by the header (a count of 1 and an unset event), so its layout and its count are Windows' own.
//! A guarded mutex is the same structure, acquired in a guarded region instead of at APC_LEVEL.

use std::sync::atomic::Ordering;

use super::block::Block;
use super::dispatcher::{self, Alertable, Kind, Rule};
use super::{event, irql, thread};
use crate::exports;
use crate::exports::Export;
use crate::report::{self, BugCheck};

pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    ExInitializeFastMutex, ExAcquireFastMutex, ExReleaseFastMutex, ExTryToAcquireFastMutex, ExAcquireFastMutexUnsafe,
    ExReleaseFastMutexUnsafe, ExEnterCriticalRegionAndAcquireFastMutexUnsafe,
    ExReleaseFastMutexUnsafeAndLeaveCriticalRegion,
    KeInitializeGuardedMutex, KeAcquireGuardedMutex, KeReleaseGuardedMutex, KeTryToAcquireGuardedMutex,
    KeAcquireGuardedMutexUnsafe, KeReleaseGuardedMutexUnsafe,
);

/// 1 while free, 0 while held, less while threads wait.
const COUNT: usize = 0;
const OWNER: usize = 8;
const CONTENTION: usize = 16;
const EVENT: usize = 24;
const OLD_IRQL: usize = 48;
const BYTES: usize = 56;

fn initialize(mutex: Block) {
    mutex.clear(BYTES);
    mutex.i32(COUNT).store(1, Ordering::Release);
    dispatcher::initialize(mutex.field(EVENT), Kind::SYNCHRONIZATION_EVENT, 24, 0);
}

fn acquire(mutex: Block, routine: &'static str) {
    let me = thread::current();
    if mutex.word(OWNER).load(Ordering::Relaxed) == me.pointer() {
        report::misuse(
            BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION,
            routine,
            format!("the calling thread holds the mutex at {:#x} already, and would wait for itself", mutex.address()),
        );
        return;
    }
    if mutex.i32(COUNT).fetch_sub(1, Ordering::Acquire) != 1 {
        mutex.u32(CONTENTION).fetch_add(1, Ordering::Relaxed);
        let _signalled = dispatcher::wait(routine, &[mutex.field(EVENT)], Rule::Any, Alertable::No, None);
    }
    mutex.word(OWNER).store(me.pointer(), Ordering::Relaxed);
}

fn try_acquire(mutex: Block) -> bool {
    let taken = mutex.i32(COUNT).compare_exchange(1, 0, Ordering::Acquire, Ordering::Relaxed).is_ok();
    if taken {
        mutex.word(OWNER).store(thread::current().pointer(), Ordering::Relaxed);
    }
    taken
}

fn release(mutex: Block, routine: &'static str) {
    let owner = mutex.word(OWNER).load(Ordering::Relaxed);
    if owner != thread::current().pointer() {
        report::misuse(
            BugCheck::THREAD_NOT_MUTEX_OWNER,
            routine,
            format!("releases the mutex at {:#x}, which the calling thread does not own", mutex.address()),
        );
        return;
    }
    mutex.word(OWNER).store(std::ptr::null_mut(), Ordering::Relaxed);
    if mutex.i32(COUNT).fetch_add(1, Ordering::Release) < 0 {
        event::set(mutex.field(EVENT));
    }
}

pub(crate) unsafe extern "win64" fn ExInitializeFastMutex(mutex: Block) {
    initialize(mutex);
}

pub(crate) unsafe extern "win64" fn ExAcquireFastMutex(mutex: Block) {
    irql::at_most(irql::APC, "ExAcquireFastMutex");
    let before = irql::set(irql::APC.max(irql::current()));
    acquire(mutex, "ExAcquireFastMutex");
    mutex.put(OLD_IRQL, u32::from(before));
}

pub(crate) unsafe extern "win64" fn ExReleaseFastMutex(mutex: Block) {
    let before = mutex.get::<u32>(OLD_IRQL) as u8;
    release(mutex, "ExReleaseFastMutex");
    irql::lower(before, "ExReleaseFastMutex");
}

pub(crate) unsafe extern "win64" fn ExTryToAcquireFastMutex(mutex: Block) -> u8 {
    irql::at_most(irql::APC, "ExTryToAcquireFastMutex");
    let taken = try_acquire(mutex);
    if taken {
        let before = irql::set(irql::APC.max(irql::current()));
        mutex.put(OLD_IRQL, u32::from(before));
    }
    u8::from(taken)
}

/// For who is at APC_LEVEL or in a critical region already.
pub(crate) unsafe extern "win64" fn ExAcquireFastMutexUnsafe(mutex: Block) {
    irql::at_most(irql::APC, "ExAcquireFastMutexUnsafe");
    acquire(mutex, "ExAcquireFastMutexUnsafe");
}

pub(crate) unsafe extern "win64" fn ExReleaseFastMutexUnsafe(mutex: Block) {
    release(mutex, "ExReleaseFastMutexUnsafe");
}

pub(crate) unsafe extern "win64" fn ExEnterCriticalRegionAndAcquireFastMutexUnsafe(mutex: Block) {
    irql::at_most(irql::APC, "ExEnterCriticalRegionAndAcquireFastMutexUnsafe");
    irql::enter_critical_region();
    acquire(mutex, "ExEnterCriticalRegionAndAcquireFastMutexUnsafe");
}

pub(crate) unsafe extern "win64" fn ExReleaseFastMutexUnsafeAndLeaveCriticalRegion(mutex: Block) {
    release(mutex, "ExReleaseFastMutexUnsafeAndLeaveCriticalRegion");
    irql::leave_critical_region("ExReleaseFastMutexUnsafeAndLeaveCriticalRegion");
}

pub(crate) unsafe extern "win64" fn KeInitializeGuardedMutex(mutex: Block) {
    initialize(mutex);
}

pub(crate) unsafe extern "win64" fn KeAcquireGuardedMutex(mutex: Block) {
    irql::at_most(irql::APC, "KeAcquireGuardedMutex");
    irql::enter_guarded_region();
    acquire(mutex, "KeAcquireGuardedMutex");
}

pub(crate) unsafe extern "win64" fn KeReleaseGuardedMutex(mutex: Block) {
    release(mutex, "KeReleaseGuardedMutex");
    irql::leave_guarded_region("KeReleaseGuardedMutex");
}

pub(crate) unsafe extern "win64" fn KeTryToAcquireGuardedMutex(mutex: Block) -> u8 {
    irql::at_most(irql::APC, "KeTryToAcquireGuardedMutex");
    let taken = try_acquire(mutex);
    if taken {
        irql::enter_guarded_region();
    }
    u8::from(taken)
}

/// For who is in a guarded region already.
pub(crate) unsafe extern "win64" fn KeAcquireGuardedMutexUnsafe(mutex: Block) {
    irql::at_most(irql::APC, "KeAcquireGuardedMutexUnsafe");
    acquire(mutex, "KeAcquireGuardedMutexUnsafe");
}

pub(crate) unsafe extern "win64" fn KeReleaseGuardedMutexUnsafe(mutex: Block) {
    release(mutex, "KeReleaseGuardedMutexUnsafe");
}
