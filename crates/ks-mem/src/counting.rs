//! A global allocator that counts, for tests and benchmarks that show how little is allocated, and how much is held.
//!
//! A test program makes it its own with `#[global_allocator] static COUNTING: CountingAllocator = CountingAllocator;`.
//! It lives here because an allocator cannot be written without `unsafe`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

static COUNT: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);
static FREED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static OF_THIS_THREAD: Cell<Allocations> = const { Cell::new(Allocations { count: 0, bytes: 0 }) };
    static HELD: Cell<Held> = const { Cell::new(Held { now: 0, peak: 0 }) };
}

/// Bytes that this thread allocated less those that it freed, and the most that was. What one thread allocates another
/// may free, so the first number can be below zero.
#[derive(Clone, Copy)]
struct Held {
    now: i64,
    peak: i64,
}

/// The system's allocator, counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct CountingAllocator;

/// How much was allocated, ever: nothing is taken off when memory is freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocations {
    /// Calls that allocate or reallocate.
    pub count: u64,
    /// Bytes they asked for.
    pub bytes: u64,
}

impl Allocations {
    /// By all threads, since the program began; zero when the program has another allocator.
    #[must_use]
    pub fn of_the_process() -> Self {
        Self { count: COUNT.load(Ordering::Relaxed), bytes: BYTES.load(Ordering::Relaxed) }
    }

    /// By the calling thread.
    #[must_use]
    pub fn of_this_thread() -> Self {
        OF_THIS_THREAD.try_with(Cell::get).unwrap_or_default()
    }

    /// What was allocated after `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self { count: self.count - earlier.count, bytes: self.bytes - earlier.bytes }
    }
}

/// Bytes that are allocated and not freed, by all threads; zero when the program has another allocator. While other
/// threads allocate it is an estimate.
#[must_use]
pub fn held_by_the_process() -> u64 {
    BYTES.load(Ordering::Relaxed).wrapping_sub(FREED.load(Ordering::Relaxed))
}

/// The most bytes that the calling thread held at any moment of `work`, beyond what it held before; zero when the program
/// has another allocator.
pub fn peak_of_this_thread<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let outer = HELD.try_with(Cell::get).unwrap_or(Held { now: 0, peak: 0 });
    let _ = HELD.try_with(|held| held.set(Held { now: outer.now, peak: outer.now }));
    let result = work();
    let inner = HELD.try_with(Cell::get).unwrap_or(outer);
    let _ = HELD.try_with(|held| held.set(Held { now: inner.now, peak: inner.peak.max(outer.peak) }));
    (result, u64::try_from(inner.peak - outer.now).unwrap_or(0))
}

/// Bytes more, or fewer, are held.
fn hold(bytes: i64) {
    let _ = HELD.try_with(|held| {
        let Held { now, peak } = held.get();
        let now = now.wrapping_add(bytes);
        held.set(Held { now, peak: peak.max(now) });
    });
}

fn count(bytes: usize) {
    // The size of an allocation is at most isize::MAX.
    hold(bytes as i64);
    let bytes = bytes as u64;
    COUNT.fetch_add(1, Ordering::Relaxed);
    BYTES.fetch_add(bytes, Ordering::Relaxed);
    // A thread that is ending has no count any more.
    let _ = OF_THIS_THREAD.try_with(|counted| {
        let Allocations { count, bytes: before } = counted.get();
        counted.set(Allocations { count: count + 1, bytes: before.wrapping_add(bytes) });
    });
}

fn uncount(bytes: usize) {
    hold(-(bytes as i64));
    FREED.fetch_add(bytes as u64, Ordering::Relaxed);
}

// SAFETY: every call goes on to `System` with the arguments it came with, so `System`'s promises are ours. Counting
// allocates nothing: the counters are statics and a thread-local without initialiser or destructor.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller promises a layout that is not empty, as `System` asks.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller promises a layout that is not empty, as `System` asks.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // The old memory is freed only after it was copied.
        count(bytes);
        uncount(layout.size());
        // SAFETY: `memory` came from `System` through this allocator, with this layout, and the caller promises that
        // `bytes` is not zero and does not overflow.
        unsafe { System.realloc(memory, layout, bytes) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        uncount(layout.size());
        // SAFETY: `memory` came from `System` through this allocator, with this layout.
        unsafe { System.dealloc(memory, layout) }
    }
}
