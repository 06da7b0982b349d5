//! What a thread needs before it can run driver code: a stack for the fault handler, and a processor block behind `gs`.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::ptr;

use super::handler;
use crate::image::Mapping;
use crate::ntoskrnl::thread::current as current_thread;

const PAGE_BYTES: u64 = 4096;
const SIGNAL_STACK_BYTES: u64 = 64 * 1024;
const KPCR_BYTES: u64 = 3 * PAGE_BYTES;

// A thread's mapping: a page that nobody may touch, the signal stack above it, the KPCR.
const SIGNAL_STACK: u64 = PAGE_BYTES;
const KPCR: u64 = SIGNAL_STACK + SIGNAL_STACK_BYTES;
const ALL_BYTES: u64 = KPCR + KPCR_BYTES;

// The fields of the KPCR that code reads without a call, by the headers.
const KPCR_SELF: u64 = 0x18;
const KPCR_CURRENT_PRCB: u64 = 0x20;
const KPCR_USED_SELF: u64 = 0x30;
const KPCR_MAJOR_VERSION: u64 = 0x60;
const KPCR_PRCB: u64 = 0x180;
const KPCR_CURRENT_THREAD: u64 = 0x188;

const ARCH_SET_GS: libc::c_int = 0x1001;

thread_local! {
    /// Address of the thread's KPCR; 0 while it has none.
    static ENTERED: Cell<u64> = const { Cell::new(0) };
    /// Where the thread's stack lies, and the bytes of the guard below it.
    static STACK: Cell<(u64, u64, u64)> = const { Cell::new((0, 0, 0)) };
    static BLOCKS: RefCell<Option<Blocks>> = const { RefCell::new(None) };
}

/// The memory of a thread that runs driver code; the thread gets its former signal stack back at its end.
struct Blocks {
    _mapping: Mapping,
    former_stack: libc::stack_t,
}

impl Drop for Blocks {
    fn drop(&mut self) {
        ENTERED.set(0);
        // SAFETY: sets what the kernel gave for this thread before; the stack that is replaced is not in use.
        unsafe { libc::sigaltstack(&raw const self.former_stack, ptr::null_mut()) };
    }
}

/// Makes the calling thread one that can run driver code. Cheap when it is one already; every path that enters a driver
/// calls it first.
///
/// # Panics
/// When the system has no memory for the thread's blocks, as at the start of a thread.
#[inline]
pub fn enter_thread() {
    if ENTERED.get() == 0 {
        prepare();
    }
}

/// The stack of the calling thread, if it has entered. Safe to call in a signal handler.
pub(super) fn stack() -> Option<Range<u64>> {
    let (start, end, _) = STACK.get();
    (ENTERED.get() != 0).then_some(start..end)
}

/// Is a fault at `address` the end of the calling thread's stack? Whatever of the stack is within its bounds can be read
/// and written, so that a fault there is at its growing end too. Safe to call in a signal handler.
pub(super) fn is_end_of_stack(address: u64) -> bool {
    let (start, end, guard) = STACK.get();
    ENTERED.get() != 0 && (start.saturating_sub(guard)..end).contains(&address)
}

#[cold]
fn prepare() {
    handler::install();
    let mapping = Mapping::new(ALL_BYTES, None).expect("invariant: a new thread finds memory for its blocks");
    let base = mapping.address();
    let nothing = crate::image::Protection::default();
    let _ = mapping.protect(0..SIGNAL_STACK, nothing);

    let stack = libc::stack_t {
        ss_sp: ptr::with_exposed_provenance_mut((base + SIGNAL_STACK) as usize),
        ss_flags: 0,
        ss_size: SIGNAL_STACK_BYTES as usize,
    };
    let mut former_stack = libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
    // SAFETY: the stack is memory of the mapping, which lives until the former stack is set again.
    unsafe { libc::sigaltstack(&raw const stack, &raw mut former_stack) };

    let kpcr = base + KPCR;
    let blocks = Blocks { _mapping: mapping, former_stack };
    // A thread that is ending cannot keep anything: it gets the block for the rest of its life.
    let mut blocks = Some(blocks);
    let is_kept = BLOCKS.try_with(|place| place.replace(blocks.take())).is_ok();
    if !is_kept {
        std::mem::forget(blocks);
    }
    ENTERED.set(kpcr);
    let words = [
        (KPCR_SELF, kpcr),
        (KPCR_CURRENT_PRCB, kpcr + KPCR_PRCB),
        (KPCR_USED_SELF, kpcr),
        (KPCR_MAJOR_VERSION, 1 << 16 | 1),
        (KPCR_CURRENT_THREAD, current_thread().address() as u64),
    ];
    for (offset, value) in words {
        let place = ptr::with_exposed_provenance_mut::<u64>((kpcr + offset) as usize);
        // SAFETY: the place is in the KPCR, which is new and this thread's.
        unsafe { place.write_volatile(value) };
    }
    // SAFETY: nothing in a Linux process uses gs.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_SET_GS, kpcr) };
    STACK.set(bounds());
}

/// Asks the C library where this thread's stack is, and how large the guard below it.
fn bounds() -> (u64, u64, u64) {
    let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: takes no precondition.
    let this = unsafe { libc::pthread_self() };
    // SAFETY: fills the attributes in when it returns 0.
    if unsafe { libc::pthread_getattr_np(this, attributes.as_mut_ptr()) } != 0 {
        return (0, 0, 0);
    }
    let (mut start, mut bytes) = (ptr::null_mut(), 0);
    // SAFETY: the attributes were filled in.
    unsafe { libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut start, &raw mut bytes) };
    let mut guard = 0;
    // SAFETY: the attributes were filled in.
    unsafe { libc::pthread_attr_getguardsize(attributes.as_ptr(), &raw mut guard) };
    // SAFETY: as above; they are not used again.
    unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) };
    // The first thread's guard is the system's, which the C library does not know.
    (start as u64, start as u64 + bytes as u64, (guard as u64).max(PAGE_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gs(offset: u64) -> u64 {
        let value;
        // SAFETY: the thread has entered, so that gs points to its KPCR.
        unsafe { std::arch::asm!("mov {}, gs:[{}]", out(reg) value, in(reg) offset, options(nostack, readonly)) };
        value
    }

    #[test]
    fn each_thread_finds_its_own_blocks_behind_gs() {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn(move || {
                    enter_thread();
                    enter_thread();
                    assert_eq!(gs(0x18), ENTERED.get());
                    assert_eq!(gs(0x188), current_thread().address() as u64);
                    assert_eq!(gs(0x184) & 0xFFFF, 0, "the processor's number");
                    gs(0x18)
                })
            })
            .collect();
        let blocks: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(blocks.iter().all(|block| *block != 0));
    }

    #[test]
    fn the_stack_of_a_thread_is_known() {
        enter_thread();
        static ELSEWHERE: u8 = 0;
        let local = 0_u8;
        let stack = stack().unwrap();
        assert!(stack.contains(&(&raw const local as u64)));
        assert!(!stack.contains(&(&raw const ELSEWHERE as u64)));
        assert!(is_end_of_stack(stack.start - 1) && !is_end_of_stack(stack.end));
        assert!(!is_end_of_stack(&raw const ELSEWHERE as u64));
    }
}
