//! EX_SPIN_LOCKs: held by many readers or one writer, in one LONG of the driver's memory.

use std::sync::atomic::{AtomicU32, Ordering};

use super::block::Block;
use super::{irql, scheduler};
use crate::exports;
use crate::exports::Export;
use crate::report::{self, BugCheck};

pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    ExAcquireSpinLockExclusive, ExReleaseSpinLockExclusive, ExAcquireSpinLockExclusiveAtDpcLevel,
    ExReleaseSpinLockExclusiveFromDpcLevel, ExAcquireSpinLockShared, ExReleaseSpinLockShared,
    ExAcquireSpinLockSharedAtDpcLevel, ExReleaseSpinLockSharedFromDpcLevel, ExTryConvertSharedSpinLockExclusive,
    ExTryAcquireSpinLockExclusiveAtDpcLevel, ExTryAcquireSpinLockSharedAtDpcLevel,
);

/// A writer holds the lock.
const WRITER: u32 = 1 << 31;
/// A writer waits: no new reader comes in, so that it is not kept out for ever.
const WRITER_WAITS: u32 = 1 << 30;
const READERS: u32 = WRITER_WAITS - 1;

fn spin_until(mut attempt: impl FnMut() -> bool) {
    let mut spins = 0u32;
    while !attempt() {
        spins += 1;
        if scheduler::is_virtual() || spins.is_multiple_of(100) {
            scheduler::yield_now();
        } else {
            std::hint::spin_loop();
        }
    }
}

fn try_exclusive(word: &AtomicU32) -> bool {
    let now = word.load(Ordering::Relaxed);
    now & (WRITER | READERS) == 0 && word.compare_exchange(now, WRITER, Ordering::Acquire, Ordering::Relaxed).is_ok()
}

fn try_shared(word: &AtomicU32) -> bool {
    let now = word.load(Ordering::Relaxed);
    now & (WRITER | WRITER_WAITS) == 0
        && word.compare_exchange(now, now + 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
}

fn acquire_exclusive(word: &AtomicU32) {
    spin_until(|| {
        let taken = try_exclusive(word);
        if !taken {
            word.fetch_or(WRITER_WAITS, Ordering::Relaxed);
        }
        taken
    });
}

fn release_exclusive(lock: Block, routine: &'static str) {
    if lock.u32(0).fetch_and(!WRITER, Ordering::Release) & WRITER == 0 {
        not_held(lock, routine);
    }
}

fn release_shared(lock: Block, routine: &'static str) {
    let word = lock.u32(0);
    if word.load(Ordering::Relaxed) & READERS == 0 {
        not_held(lock, routine);
    } else {
        word.fetch_sub(1, Ordering::Release);
    }
}

#[cold]
fn not_held(lock: Block, routine: &'static str) {
    report::misuse(
        BugCheck::SPIN_LOCK_NOT_OWNED,
        routine,
        format!("the spin lock at {:#x} is not held that way", lock.address()),
    );
}

pub(crate) unsafe extern "win64" fn ExAcquireSpinLockExclusive(lock: Block) -> u8 {
    let before = irql::raise(irql::DISPATCH, "ExAcquireSpinLockExclusive");
    acquire_exclusive(lock.u32(0));
    before
}

pub(crate) unsafe extern "win64" fn ExReleaseSpinLockExclusive(lock: Block, irql: u8) {
    release_exclusive(lock, "ExReleaseSpinLockExclusive");
    irql::lower(irql, "ExReleaseSpinLockExclusive");
}

pub(crate) unsafe extern "win64" fn ExAcquireSpinLockExclusiveAtDpcLevel(lock: Block) {
    acquire_exclusive(lock.u32(0));
}

pub(crate) unsafe extern "win64" fn ExReleaseSpinLockExclusiveFromDpcLevel(lock: Block) {
    release_exclusive(lock, "ExReleaseSpinLockExclusiveFromDpcLevel");
}

pub(crate) unsafe extern "win64" fn ExAcquireSpinLockShared(lock: Block) -> u8 {
    let before = irql::raise(irql::DISPATCH, "ExAcquireSpinLockShared");
    spin_until(|| try_shared(lock.u32(0)));
    before
}

pub(crate) unsafe extern "win64" fn ExReleaseSpinLockShared(lock: Block, irql: u8) {
    release_shared(lock, "ExReleaseSpinLockShared");
    irql::lower(irql, "ExReleaseSpinLockShared");
}

pub(crate) unsafe extern "win64" fn ExAcquireSpinLockSharedAtDpcLevel(lock: Block) {
    spin_until(|| try_shared(lock.u32(0)));
}

pub(crate) unsafe extern "win64" fn ExReleaseSpinLockSharedFromDpcLevel(lock: Block) {
    release_shared(lock, "ExReleaseSpinLockSharedFromDpcLevel");
}

/// Makes the only reader the writer; not zero if it was the only one.
pub(crate) unsafe extern "win64" fn ExTryConvertSharedSpinLockExclusive(lock: Block) -> i32 {
    let word = lock.u32(0);
    let now = word.load(Ordering::Relaxed);
    let converted = now & READERS == 1
        && word.compare_exchange(now, (now - 1) | WRITER, Ordering::Acquire, Ordering::Relaxed).is_ok();
    i32::from(converted)
}

pub(crate) unsafe extern "win64" fn ExTryAcquireSpinLockExclusiveAtDpcLevel(lock: Block) -> u32 {
    u32::from(try_exclusive(lock.u32(0)))
}

pub(crate) unsafe extern "win64" fn ExTryAcquireSpinLockSharedAtDpcLevel(lock: Block) -> u32 {
    u32::from(try_shared(lock.u32(0)))
}
