//! Spin locks: plain, queued, and for readers and writers.
//!
//! A KSPIN_LOCK is one word of the driver's memory: who holds it, and whether somebody sleeps for it. A processor of
//! Windows that spins cannot be preempted; a thread here can, so who spins in vain for long goes to sleep on the word.

use std::sync::atomic::{AtomicU64, Ordering};

use super::block::Block;
use super::{irql, scheduler};
use crate::exports;
use crate::exports::Export;
use crate::report::{self, BugCheck, system_thread};

pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    KeInitializeSpinLock, KeAcquireSpinLockRaiseToDpc, KeAcquireSpinLockRaiseToSynch, KeReleaseSpinLock,
    KeAcquireSpinLockAtDpcLevel, KeReleaseSpinLockFromDpcLevel, KeTryToAcquireSpinLockAtDpcLevel, KeTestSpinLock,
    KeAcquireSpinLockForDpc, KeReleaseSpinLockForDpc,
    KeAcquireInStackQueuedSpinLock, KeReleaseInStackQueuedSpinLock, KeAcquireInStackQueuedSpinLockAtDpcLevel,
    KeReleaseInStackQueuedSpinLockFromDpcLevel, KeAcquireInStackQueuedSpinLockForDpc,
    KeReleaseInStackQueuedSpinLockForDpc, KeAcquireInStackQueuedSpinLockRaiseToSynch,
);

/// The lock is held; the upper half says by which thread.
const HELD: u64 = 1;
/// Somebody sleeps on the lower half.
const SLEEPERS: u64 = 2;
/// Looks at the lock before a thread yields, and then before it sleeps.
const SPINS: u32 = 100;
const YIELDS: u32 = 20;

fn held_by_me() -> u64 {
    system_thread() << 32 | HELD
}

fn owner(word: u64) -> u64 {
    word >> 32
}

fn try_acquire(word: &AtomicU64) -> bool {
    word.compare_exchange(0, held_by_me(), Ordering::Acquire, Ordering::Relaxed).is_ok()
}

/// Acquires a lock without a change of level.
pub(crate) fn acquire(lock: Block, routine: &'static str) {
    let word = lock.u64(0);
    if !try_acquire(word) {
        acquire_contended(word, lock, routine);
    }
}

#[cold]
fn acquire_contended(word: &AtomicU64, lock: Block, routine: &'static str) {
    if word.load(Ordering::Relaxed) & HELD != 0 && owner(word.load(Ordering::Relaxed)) == system_thread() {
        report::misuse(
            BugCheck::SPIN_LOCK_ALREADY_OWNED,
            routine,
            format!("the calling thread holds the spin lock at {:#x} already", lock.address()),
        );
        return;
    }
    if scheduler::is_virtual() {
        // Who holds it is ready to run: nobody waits with a spin lock held.
        while !try_acquire(word) {
            scheduler::yield_now();
        }
        return;
    }
    for _ in 0..SPINS {
        std::hint::spin_loop();
        if word.load(Ordering::Relaxed) == 0 && try_acquire(word) {
            return;
        }
    }
    for _ in 0..YIELDS {
        std::thread::yield_now();
        if try_acquire(word) {
            return;
        }
    }
    // From here on the lock is acquired with the mark of sleepers: there may be others.
    loop {
        let now = word.load(Ordering::Relaxed);
        if now & HELD == 0 {
            let mine = held_by_me() | SLEEPERS;
            if word.compare_exchange_weak(now, mine, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                return;
            }
        } else if now & SLEEPERS != 0
            || word.compare_exchange_weak(now, now | SLEEPERS, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            sleep(word, (HELD | SLEEPERS) as u32);
        }
    }
}

/// Sleeps while the lower half of the word is `expected`.
fn sleep(word: &AtomicU64, expected: u32) {
    // SAFETY: a futex call on a word that the driver keeps mapped while it uses the lock; a wake-up without reason is
    // allowed for.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
            expected,
            std::ptr::null::<libc::timespec>(),
        );
    }
}

/// Wakes one thread. The word may be gone by now: the address only names a queue.
fn wake(word: *const u64) {
    // SAFETY: a wake-up reads nothing at the address.
    unsafe {
        libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, 1);
    }
}

/// Releases a lock without a change of level.
pub(crate) fn release(lock: Block, routine: &'static str) {
    let word = lock.u64(0);
    let now = word.load(Ordering::Relaxed);
    if now & HELD == 0 || owner(now) != system_thread() {
        report::misuse(
            BugCheck::SPIN_LOCK_NOT_OWNED,
            routine,
            match now & HELD {
                0 => format!("the spin lock at {:#x} is not held", lock.address()),
                _ => format!("the spin lock at {:#x} is held by thread {}", lock.address(), owner(now)),
            },
        );
        return;
    }
    if word.swap(0, Ordering::Release) & SLEEPERS != 0 {
        wake(word.as_ptr());
    }
}

fn at_dispatch(routine: &'static str) {
    if irql::current() < irql::DISPATCH {
        report::misuse(
            BugCheck::IRQL_NOT_GREATER_OR_EQUAL,
            routine,
            format!("called at level {}, below DISPATCH_LEVEL", irql::current()),
        );
    }
}

pub(crate) unsafe extern "win64" fn KeInitializeSpinLock(lock: Block) {
    lock.u64(0).store(0, Ordering::Release);
}

pub(crate) unsafe extern "win64" fn KeAcquireSpinLockRaiseToDpc(lock: Block) -> u8 {
    scheduler::preempt();
    let before = irql::raise(irql::DISPATCH, "KeAcquireSpinLock");
    acquire(lock, "KeAcquireSpinLock");
    before
}

pub(crate) unsafe extern "win64" fn KeAcquireSpinLockRaiseToSynch(lock: Block) -> u8 {
    let before = irql::raise(irql::SYNCH, "KeAcquireSpinLockRaiseToSynch");
    acquire(lock, "KeAcquireSpinLockRaiseToSynch");
    before
}

pub(crate) unsafe extern "win64" fn KeReleaseSpinLock(lock: Block, irql: u8) {
    release(lock, "KeReleaseSpinLock");
    irql::lower(irql, "KeReleaseSpinLock");
}

pub(crate) unsafe extern "win64" fn KeAcquireSpinLockAtDpcLevel(lock: Block) {
    at_dispatch("KeAcquireSpinLockAtDpcLevel");
    acquire(lock, "KeAcquireSpinLockAtDpcLevel");
}

pub(crate) unsafe extern "win64" fn KeReleaseSpinLockFromDpcLevel(lock: Block) {
    at_dispatch("KeReleaseSpinLockFromDpcLevel");
    release(lock, "KeReleaseSpinLockFromDpcLevel");
}

pub(crate) unsafe extern "win64" fn KeTryToAcquireSpinLockAtDpcLevel(lock: Block) -> u8 {
    at_dispatch("KeTryToAcquireSpinLockAtDpcLevel");
    u8::from(try_acquire(lock.u64(0)))
}

/// Whether the lock is free.
pub(crate) unsafe extern "win64" fn KeTestSpinLock(lock: Block) -> u8 {
    u8::from(lock.u64(0).load(Ordering::Acquire) & HELD == 0)
}

/// For a routine that runs as a DPC, threaded or not: the level it has is the level it gets back.
pub(crate) unsafe extern "win64" fn KeAcquireSpinLockForDpc(lock: Block) -> u8 {
    let before = irql::raise(irql::DISPATCH.max(irql::current()), "KeAcquireSpinLockForDpc");
    acquire(lock, "KeAcquireSpinLockForDpc");
    before
}

pub(crate) unsafe extern "win64" fn KeReleaseSpinLockForDpc(lock: Block, irql: u8) {
    release(lock, "KeReleaseSpinLockForDpc");
    irql::lower(irql, "KeReleaseSpinLockForDpc");
}

/// KLOCK_QUEUE_HANDLE: a link, the lock, and the level before.
const QUEUE_LOCK: usize = 8;
const QUEUE_IRQL: usize = 16;

// Decision: who waits is served in no order; the handle remembers the lock and the level, as drivers may read it.
fn acquire_queued(lock: Block, handle: Block, level: u8, routine: &'static str) {
    let before = irql::raise(level, routine);
    acquire(lock, routine);
    handle.put(0, 0usize);
    handle.put_block(QUEUE_LOCK, lock);
    handle.put(QUEUE_IRQL, before);
}

fn release_queued(handle: Block, routine: &'static str) {
    release(handle.get_block(QUEUE_LOCK), routine);
}

pub(crate) unsafe extern "win64" fn KeAcquireInStackQueuedSpinLock(lock: Block, handle: Block) {
    scheduler::preempt();
    acquire_queued(lock, handle, irql::DISPATCH, "KeAcquireInStackQueuedSpinLock");
}

pub(crate) unsafe extern "win64" fn KeAcquireInStackQueuedSpinLockRaiseToSynch(lock: Block, handle: Block) {
    acquire_queued(lock, handle, irql::SYNCH, "KeAcquireInStackQueuedSpinLockRaiseToSynch");
}

pub(crate) unsafe extern "win64" fn KeReleaseInStackQueuedSpinLock(handle: Block) {
    release_queued(handle, "KeReleaseInStackQueuedSpinLock");
    irql::lower(handle.get(QUEUE_IRQL), "KeReleaseInStackQueuedSpinLock");
}

pub(crate) unsafe extern "win64" fn KeAcquireInStackQueuedSpinLockAtDpcLevel(lock: Block, handle: Block) {
    at_dispatch("KeAcquireInStackQueuedSpinLockAtDpcLevel");
    acquire_queued(lock, handle, irql::current(), "KeAcquireInStackQueuedSpinLockAtDpcLevel");
}

pub(crate) unsafe extern "win64" fn KeReleaseInStackQueuedSpinLockFromDpcLevel(handle: Block) {
    at_dispatch("KeReleaseInStackQueuedSpinLockFromDpcLevel");
    release_queued(handle, "KeReleaseInStackQueuedSpinLockFromDpcLevel");
}

pub(crate) unsafe extern "win64" fn KeAcquireInStackQueuedSpinLockForDpc(lock: Block, handle: Block) {
    let level = irql::DISPATCH.max(irql::current());
    acquire_queued(lock, handle, level, "KeAcquireInStackQueuedSpinLockForDpc");
}

pub(crate) unsafe extern "win64" fn KeReleaseInStackQueuedSpinLockForDpc(handle: Block) {
    release_queued(handle, "KeReleaseInStackQueuedSpinLockForDpc");
    irql::lower(handle.get(QUEUE_IRQL), "KeReleaseInStackQueuedSpinLockForDpc");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    struct Shared {
        lock: AtomicU64,
        count: std::cell::UnsafeCell<u64>,
    }

    // SAFETY: the count is used under the lock only, which is what the test is about.
    unsafe impl Sync for Shared {}

    #[test]
    fn a_contended_lock_lets_one_thread_in_at_a_time() {
        let shared = Arc::new(Shared { lock: AtomicU64::new(0), count: 0.into() });
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || {
                    // SAFETY: the word lives as long as the threads.
                    let lock = unsafe { Block::at(shared.lock.as_ptr().cast()) };
                    for _ in 0..20_000 {
                        acquire(lock, "test");
                        // SAFETY: under the lock.
                        unsafe { *shared.count.get() += 1 };
                        release(lock, "test");
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        // SAFETY: the threads are gone.
        assert_eq!(unsafe { *shared.count.get() }, 80_000);
        assert_eq!(shared.lock.load(Ordering::Relaxed), 0);
    }
}
