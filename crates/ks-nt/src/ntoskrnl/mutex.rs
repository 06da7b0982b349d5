//! Mutexes: owned by a thread, which may acquire one again and again.

use std::sync::atomic::Ordering;

use super::block::Block;
use super::dispatcher::{self, Kind, MUTEX_ABANDONED, MUTEX_APC_DISABLE, MUTEX_OWNER, initialize, signal};
use super::{irql, thread};
use crate::exports;
use crate::exports::Export;
use crate::report::{self, BugCheck};

pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    KeInitializeMutex, KeReleaseMutex, KeReadStateMutex, KeInitializeMutant, KeReleaseMutant, KeReadStateMutant,
);

/// Size of a KMUTEX.
const MUTEX_BYTES: usize = 56;

fn make(mutex: Block) {
    mutex.clear(MUTEX_BYTES);
    initialize(mutex, Kind::MUTEX, MUTEX_BYTES, 1);
    mutex.put_empty_list(24);
}

/// Makes a mutex whose owner is in a critical region. The level of a mutex is ignored, as it is documented to be.
pub(crate) unsafe extern "win64" fn KeInitializeMutex(mutex: Block, _level: u32) {
    make(mutex);
    mutex.put(MUTEX_APC_DISABLE, 1u8);
}

/// Makes a mutex whose owner is in no critical region, and which the caller may own from the start.
pub(crate) unsafe extern "win64" fn KeInitializeMutant(mutex: Block, initial_owner: u8) {
    make(mutex);
    if initial_owner != 0 {
        // It is signalled and nobody else knows it: this wait takes it at once.
        let _taken =
            dispatcher::wait("KeInitializeMutant", &[mutex], dispatcher::Rule::Any, dispatcher::Alertable::No, Some(0));
    }
}

fn release(mutex: Block, routine: &'static str) -> i32 {
    irql::at_most(irql::DISPATCH, routine);
    let mut dispatcher = dispatcher::lock();
    let owner = mutex.get_block(MUTEX_OWNER);
    if owner != thread::current() {
        drop(dispatcher);
        report::misuse(
            BugCheck::THREAD_NOT_MUTEX_OWNER,
            routine,
            format!("releases the mutex at {:#x}, which the calling thread does not own", mutex.address()),
        );
        return signal(mutex).load(Ordering::Acquire);
    }
    let leaves_region = mutex.get::<u8>(MUTEX_APC_DISABLE) != 0;
    let before = signal(mutex).load(Ordering::Acquire);
    dispatcher.mutex_released(owner);
    if before == 0 {
        mutex.put_block(MUTEX_OWNER, Block::NULL);
        mutex.put(MUTEX_ABANDONED, 0u8);
        signal(mutex).store(1, Ordering::Release);
        dispatcher.signalled(mutex);
    } else {
        signal(mutex).store(before.saturating_add(1), Ordering::Release);
    }
    drop(dispatcher);
    if leaves_region {
        irql::leave_critical_region(routine);
    }
    before
}

/// Zero says that the mutex is free now; less than zero that the caller owns it still.
pub(crate) unsafe extern "win64" fn KeReleaseMutex(mutex: Block, _wait: u8) -> i32 {
    release(mutex, "KeReleaseMutex")
}

// Decision: an abandoning release is one by the owner; no thread that owns a mutex ends unreported.
pub(crate) unsafe extern "win64" fn KeReleaseMutant(mutex: Block, _increment: i32, _abandoned: u8, _wait: u8) -> i32 {
    release(mutex, "KeReleaseMutant")
}

pub(crate) unsafe extern "win64" fn KeReadStateMutex(mutex: Block) -> i32 {
    signal(mutex).load(Ordering::Acquire)
}

pub(crate) unsafe extern "win64" fn KeReadStateMutant(mutex: Block) -> i32 {
    signal(mutex).load(Ordering::Acquire)
}
