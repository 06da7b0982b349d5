//! Rundown protection: who uses an object, and waiting until nobody does and nobody will.
//!
//! An EX_RUNDOWN_REF is one word: uses in steps of 2, and bit 0 once the rundown has begun. Zero is a new one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::block::Block;
use super::dispatcher::Turn;
use super::{irql, pool};
use crate::exports;
use crate::exports::Export;
use crate::report::{self, BugCheck};

pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    ExInitializeRundownProtection, ExReInitializeRundownProtection, ExAcquireRundownProtection,
    ExAcquireRundownProtectionEx, ExReleaseRundownProtection, ExReleaseRundownProtectionEx,
    ExWaitForRundownProtectionRelease, ExRundownCompleted,
    ExAllocateCacheAwareRundownProtection, ExFreeCacheAwareRundownProtection, ExSizeOfRundownProtectionCacheAware,
    ExInitializeRundownProtectionCacheAware, ExReInitializeRundownProtectionCacheAware,
    ExAcquireRundownProtectionCacheAware, ExAcquireRundownProtectionCacheAwareEx,
    ExReleaseRundownProtectionCacheAware, ExReleaseRundownProtectionCacheAwareEx,
    ExWaitForRundownProtectionReleaseCacheAware, ExRundownCompletedCacheAware,
);

const RUNDOWN: u64 = 1;
const USE: u64 = 2;

/// Who waits for the last release. An entry is there while its thread waits.
static WAITING: Mutex<BTreeMap<Block, Arc<Turn>>> = Mutex::new(BTreeMap::new());

fn waiting() -> std::sync::MutexGuard<'static, BTreeMap<Block, Arc<Turn>>> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn uses(protection: Block) -> &'static AtomicU64 {
    protection.u64(0)
}

fn acquire(protection: Block, count: u32) -> u8 {
    let step = u64::from(count) * USE;
    let acquired = uses(protection).fetch_update(Ordering::Acquire, Ordering::Relaxed, |now| {
        (now & RUNDOWN == 0).then_some(now.wrapping_add(step))
    });
    u8::from(acquired.is_ok())
}

fn release(protection: Block, count: u32, routine: &'static str) {
    let step = u64::from(count) * USE;
    let released = uses(protection).fetch_update(Ordering::AcqRel, Ordering::Relaxed, |now| now.checked_sub(step));
    match released {
        // The last one after the rundown began lets its thread go; the word may be gone from here on.
        Ok(before) if before == step | RUNDOWN => {
            if let Some(turn) = waiting().remove(&protection) {
                turn.grant();
            }
        }
        Ok(_) => {}
        Err(now) => report::misuse(
            BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION,
            routine,
            format!(
                "releases the rundown protection at {:#x} {count} times, but it is acquired {} times",
                protection.address(),
                now / USE
            ),
        ),
    }
}

fn wait(protection: Block, routine: &'static str) {
    irql::at_most(irql::APC, routine);
    let turn = Turn::new();
    {
        let mut waiting = waiting();
        let before = uses(protection).fetch_or(RUNDOWN, Ordering::AcqRel);
        if before & !RUNDOWN == 0 {
            return;
        }
        waiting.insert(protection, Arc::clone(&turn));
    }
    turn.wait();
}

pub(crate) unsafe extern "win64" fn ExInitializeRundownProtection(protection: Block) {
    uses(protection).store(0, Ordering::Release);
}

/// After a rundown: the object may be used again.
pub(crate) unsafe extern "win64" fn ExReInitializeRundownProtection(protection: Block) {
    uses(protection).store(0, Ordering::Release);
}

pub(crate) unsafe extern "win64" fn ExAcquireRundownProtection(protection: Block) -> u8 {
    acquire(protection, 1)
}

pub(crate) unsafe extern "win64" fn ExAcquireRundownProtectionEx(protection: Block, count: u32) -> u8 {
    acquire(protection, count)
}

pub(crate) unsafe extern "win64" fn ExReleaseRundownProtection(protection: Block) {
    release(protection, 1, "ExReleaseRundownProtection");
}

pub(crate) unsafe extern "win64" fn ExReleaseRundownProtectionEx(protection: Block, count: u32) {
    release(protection, count, "ExReleaseRundownProtectionEx");
}

pub(crate) unsafe extern "win64" fn ExWaitForRundownProtectionRelease(protection: Block) {
    wait(protection, "ExWaitForRundownProtectionRelease");
}

/// Says that the rundown is over: every later acquire fails.
pub(crate) unsafe extern "win64" fn ExRundownCompleted(protection: Block) {
    uses(protection).store(RUNDOWN, Ordering::Release);
}

/// A cache-aware protection has a word for each processor in Windows; here it is one word as any other.
const CACHE_AWARE_BYTES: usize = 64;

pub(crate) unsafe extern "win64" fn ExAllocateCacheAwareRundownProtection(_pool_type: u32, tag: u32) -> Block {
    pool::allocate(CACHE_AWARE_BYTES, tag, pool::Contents::Zeros)
}

pub(crate) unsafe extern "win64" fn ExFreeCacheAwareRundownProtection(protection: Block) {
    pool::free(protection, 0, "ExFreeCacheAwareRundownProtection");
}

pub(crate) unsafe extern "win64" fn ExSizeOfRundownProtectionCacheAware() -> usize {
    CACHE_AWARE_BYTES
}

pub(crate) unsafe extern "win64" fn ExInitializeRundownProtectionCacheAware(protection: Block, _bytes: usize) {
    uses(protection).store(0, Ordering::Release);
}

pub(crate) unsafe extern "win64" fn ExReInitializeRundownProtectionCacheAware(protection: Block) {
    uses(protection).store(0, Ordering::Release);
}

pub(crate) unsafe extern "win64" fn ExAcquireRundownProtectionCacheAware(protection: Block) -> u8 {
    acquire(protection, 1)
}

pub(crate) unsafe extern "win64" fn ExAcquireRundownProtectionCacheAwareEx(protection: Block, count: u32) -> u8 {
    acquire(protection, count)
}

pub(crate) unsafe extern "win64" fn ExReleaseRundownProtectionCacheAware(protection: Block) {
    release(protection, 1, "ExReleaseRundownProtectionCacheAware");
}

pub(crate) unsafe extern "win64" fn ExReleaseRundownProtectionCacheAwareEx(protection: Block, count: u32) {
    release(protection, count, "ExReleaseRundownProtectionCacheAwareEx");
}

pub(crate) unsafe extern "win64" fn ExWaitForRundownProtectionReleaseCacheAware(protection: Block) {
    wait(protection, "ExWaitForRundownProtectionReleaseCacheAware");
}

pub(crate) unsafe extern "win64" fn ExRundownCompletedCacheAware(protection: Block) {
    uses(protection).store(RUNDOWN, Ordering::Release);
}
