//! A thread that is halted where it is, to tell what a routine does that never returns.
//!
//! The thread gets a signal, on which it writes down where it is and what it has in hand, and waits for the end of the
//! process: this is for a report, after which nothing goes on.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, Ordering};

use super::fault::{Place, Registers};
use super::handler::{self, MOST_CALLERS};
use crate::ntoskrnl::irql;
use crate::report::{self, InHand};
use crate::running;

/// What a thread was doing when it was halted.
#[derive(Clone, Copy, Debug)]
pub struct Halted {
    /// The system's number of the thread.
    pub thread: u64,
    /// The instruction that it would have run next.
    pub at: Place,
    /// What the driver has in hand on it.
    pub in_hand: Option<InHand>,
    /// Its registers.
    pub registers: Registers,
    /// Its level.
    pub irql: u8,
    callers: [Option<Place>; MOST_CALLERS],
}

impl Halted {
    /// Places in images that its stack names, nearest first: the return addresses of the driver's calls are among them.
    pub fn callers(&self) -> impl Iterator<Item = Place> {
        self.callers.into_iter().flatten()
    }
}

/// The thread that is to halt; 0 while none is.
static WANTED: AtomicU64 = AtomicU64::new(0);
/// An eventfd that is written when it has.
static NEWS: AtomicI32 = AtomicI32::new(-1);
/// Set (release) by the thread that halts when it has written [`HALTED`], read (acquire) by who halts it.
static IS_HALTED: AtomicBool = AtomicBool::new(false);

struct Written(UnsafeCell<MaybeUninit<Halted>>);

// SAFETY: written by the one thread that is wanted, once, before `IS_HALTED`; read after it.
unsafe impl Sync for Written {}

static HALTED: Written = Written(UnsafeCell::new(MaybeUninit::uninit()));

/// Halts a thread of this process for good, once a process. `None`: it did not within `most_ms`, or another was halted.
pub fn halt(thread: u64, most_ms: i32) -> Option<Halted> {
    if WANTED.load(Ordering::Relaxed) != 0 || thread == report::system_thread() {
        return None;
    }
    // SAFETY: makes a descriptor.
    let news = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    NEWS.store(news, Ordering::Relaxed);
    // Release: the thread that finds its number finds the descriptor.
    WANTED.compare_exchange(0, thread, Ordering::Release, Ordering::Relaxed).ok()?;
    signal(thread);
    let mut wait = libc::pollfd { fd: news, events: libc::POLLIN, revents: 0 };
    // SAFETY: one descriptor is given.
    unsafe { libc::poll(&raw mut wait, 1, most_ms) };
    // SAFETY: it was written before the flag, and is not written again.
    IS_HALTED.load(Ordering::Acquire).then(|| unsafe { HALTED.0.get().cast::<Halted>().read() })
}

/// Takes what a thread was doing, on that thread and in its signal handler, and ends the process.
type Teller = fn(&Halted) -> !;

static TELLER: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());

/// Names who tells of a routine that does not return, where somebody outside of the process asks by SIGABRT, because
/// nothing in it answers.
pub fn set_hang_teller(teller: fn(&Halted) -> !) {
    TELLER.store(teller as *mut (), Ordering::Release);
}

/// Another process has asked what does not return: the thread that computes most is to tell. False: nobody wants to know.
/// In the signal handler; true also on the thread itself, which goes on with [`stay`] then.
pub(super) fn ask_busiest() -> bool {
    if TELLER.load(Ordering::Acquire).is_null() {
        return false;
    }
    let Some(thread) = running::busiest_thread() else { return false };
    if WANTED.compare_exchange(0, thread, Ordering::Release, Ordering::Relaxed).is_err() {
        return true;
    }
    if thread != report::system_thread() {
        signal(thread);
    }
    true
}

fn signal(thread: u64) {
    // SAFETY: takes no argument.
    let process = unsafe { libc::getpid() };
    // SAFETY: a thread that is gone is refused.
    unsafe { libc::syscall(libc::SYS_tgkill, process, thread as libc::pid_t, libc::SIGABRT) };
}

/// Is the calling thread the one that is to halt? In the signal handler.
pub(super) fn is_wanted() -> bool {
    WANTED.load(Ordering::Acquire) == report::system_thread()
}

/// Writes down what the calling thread does, and waits for the end. In the signal handler.
pub(super) fn stay(at: Place, registers: Registers) -> ! {
    let mut callers = [None; MOST_CALLERS];
    for (place, caller) in callers.iter_mut().zip(handler::callers_above(registers.general[4], 0)) {
        *place = Some(caller);
    }
    let halted = Halted {
        thread: report::system_thread(),
        at,
        in_hand: report::in_hand(),
        registers,
        irql: irql::current(),
        callers,
    };
    let teller = TELLER.load(Ordering::Acquire);
    if NEWS.load(Ordering::Relaxed) < 0 && !teller.is_null() {
        // Nobody in this process waits for it.
        // SAFETY: only `set_hang_teller` stores here, and only this type.
        let teller = unsafe { std::mem::transmute::<*mut (), Teller>(teller) };
        teller(&halted);
    }
    // SAFETY: only the wanted thread comes here, once, and nobody reads before the flag.
    unsafe { HALTED.0.get().cast::<Halted>().write(halted) };
    IS_HALTED.store(true, Ordering::Release);
    let one = 1_u64;
    // SAFETY: an eventfd takes eight bytes; any other descriptor is refused.
    unsafe { libc::write(NEWS.load(Ordering::Relaxed), (&raw const one).cast(), 8) };
    loop {
        // SAFETY: no descriptor is given: it waits.
        unsafe { libc::poll(std::ptr::null_mut(), 0, -1) };
    }
}
