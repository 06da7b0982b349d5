//! A global allocator that counts, for tests and benchmarks that show how little is allocated.
//!
//! A test program makes it its own with `#[global_allocator] static COUNTING: CountingAllocator = CountingAllocator;`.
//! It lives here because an allocator cannot be written without `unsafe`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

static COUNT: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static OF_THIS_THREAD: Cell<Allocations> = const { Cell::new(Allocations { count: 0, bytes: 0 }) };
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

fn count(bytes: usize) {
    let bytes = bytes as u64;
    COUNT.fetch_add(1, Ordering::Relaxed);
    BYTES.fetch_add(bytes, Ordering::Relaxed);
    // A thread that is ending has no count any more.
    let _ = OF_THIS_THREAD.try_with(|counted| {
        let Allocations { count, bytes: before } = counted.get();
        counted.set(Allocations { count: count + 1, bytes: before.wrapping_add(bytes) });
    });
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
        count(bytes);
        // SAFETY: `memory` came from `System` through this allocator, with this layout, and the caller promises that
        // `bytes` is not zero and does not overflow.
        unsafe { System.realloc(memory, layout, bytes) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: `memory` came from `System` through this allocator, with this layout.
        unsafe { System.dealloc(memory, layout) }
    }
}
