//! A global allocator that lets chosen allocations fail, for tests of what happens then.
//!
//! Only those fail that are marked by [`fallible`](crate::fallible()): the rest of Rust's end the process. A test program
//! makes it its own with `#[global_allocator] static FAULTY: FaultyAllocator = FaultyAllocator;`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::Location;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

type Site = &'static Location<'static>;

thread_local! {
    /// Where the marked allocation stands that this thread is making.
    static MARKED: Cell<Option<Site>> = const { Cell::new(None) };
    /// The largest allocation without a mark that this thread made while it was watched.
    static LARGEST_UNMARKED: Cell<usize> = const { Cell::new(0) };
}

/// How many marked allocations succeed before one fails, and one more; 0: none fails.
static UNTIL_FAULT: AtomicU64 = AtomicU64::new(0);

/// Places that are marked, more than there are. A place is kept by its address: the allocator may not allocate.
const MOST_SITES: usize = 256;
static REACHED: [AtomicPtr<Location<'static>>; MOST_SITES] = [const { AtomicPtr::new(ptr::null_mut()) }; MOST_SITES];
static FAILED: [AtomicPtr<Location<'static>>; MOST_SITES] = [const { AtomicPtr::new(ptr::null_mut()) }; MOST_SITES];

/// The system's allocator, some of whose allocations fail.
#[derive(Clone, Copy, Debug, Default)]
pub struct FaultyAllocator;

/// Lets the `nth` marked allocation of the process from now on fail, and no other; the first is 1.
pub fn fail_allocation(nth: u64) {
    UNTIL_FAULT.store(nth, Ordering::SeqCst);
}

/// Lets no allocation fail any more. True when one did.
pub fn end_faults() -> bool {
    UNTIL_FAULT.swap(0, Ordering::SeqCst) == 0
}

/// The places of this program that made a marked allocation, and those where one failed, as `file:line`.
pub fn fault_sites() -> (Vec<String>, Vec<String>) {
    (listed(&REACHED), listed(&FAILED))
}

/// The largest allocation without a mark that the calling thread makes in `work`.
pub fn largest_unmarked<T>(work: impl FnOnce() -> T) -> (T, usize) {
    LARGEST_UNMARKED.set(0);
    let result = work();
    (result, LARGEST_UNMARKED.get())
}

fn listed(sites: &[AtomicPtr<Location<'static>>]) -> Vec<String> {
    let known = sites.iter().map(|site| site.load(Ordering::SeqCst)).take_while(|site| !site.is_null());
    // SAFETY: what is stored is the address of a `&'static Location` that is not changed.
    let mut list: Vec<_> =
        known.map(|site| unsafe { &*site }).map(|at| format!("{}:{}", at.file(), at.line())).collect();
    list.sort();
    list.dedup();
    list
}

/// Keeps a place in a list that has it already or has room.
fn keep(sites: &[AtomicPtr<Location<'static>>], site: Site) {
    let site = ptr::from_ref(site).cast_mut();
    for place in sites {
        match place.compare_exchange(ptr::null_mut(), site, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => return,
            Err(there) if there == site => return,
            Err(_) => {}
        }
    }
}

/// The mark of one allocation; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Marked(Option<Site>);

pub(crate) fn mark(site: Site) -> Marked {
    Marked(MARKED.try_with(|marked| marked.replace(Some(site))).ok().flatten())
}

impl Drop for Marked {
    fn drop(&mut self) {
        let _ = MARKED.try_with(|marked| marked.set(self.0));
    }
}

/// Whether the allocation that is asked for fails.
fn fails(bytes: usize) -> bool {
    let Some(site) = MARKED.try_with(Cell::get).ok().flatten() else {
        let _ = LARGEST_UNMARKED.try_with(|largest| largest.set(largest.get().max(bytes)));
        return false;
    };
    keep(&REACHED, site);
    let before = UNTIL_FAULT.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    let strikes = before == Ok(1);
    if strikes {
        keep(&FAILED, site);
    }
    strikes
}

// SAFETY: every call that does not fail goes on to `System` with the arguments it came with, so `System`'s promises are
// ours; a null pointer is what an allocator gives that has no memory. Deciding allocates nothing.
unsafe impl GlobalAlloc for FaultyAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if fails(layout.size()) {
            return ptr::null_mut();
        }
        // SAFETY: the caller promises a layout that is not empty, as `System` asks.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if fails(layout.size()) {
            return ptr::null_mut();
        }
        // SAFETY: the caller promises a layout that is not empty, as `System` asks.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        if fails(bytes) {
            return ptr::null_mut();
        }
        // SAFETY: `memory` came from `System` through this allocator, with this layout, and the caller promises that
        // `bytes` is not zero and does not overflow.
        unsafe { System.realloc(memory, layout, bytes) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: `memory` came from `System` through this allocator, with this layout.
        unsafe { System.dealloc(memory, layout) }
    }
}
