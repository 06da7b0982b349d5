//! Threads as a driver knows them: the object of each thread that runs its code, and the threads it starts.
//!
//! A thread's object is a block that begins with a DISPATCHER_HEADER; its address is what `KeGetCurrentThread` returns
//! and what `gs:[188h]` holds. A thread of the engine that calls into a driver has one too.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use ks_abi::NtStatus;

use super::block::Block;
use super::dispatcher::{self, Kind, signal};
use super::{irql, scheduler};
use crate::exports;
use crate::exports::Export;
use crate::machine::Place;
use crate::report::{self, BugCheck};
use crate::running;

pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    PsCreateSystemThread, IoCreateSystemThread, PsTerminateSystemThread, KeGetCurrentThread, PsGetCurrentThread,
    PsGetCurrentThreadId, PsGetThreadId, PsIsSystemThread, PsIsThreadTerminating, KeSetPriorityThread,
    KeQueryPriorityThread, KeSetBasePriorityThread, KeSetActualBasePriorityThread, KeQueryRuntimeThread,
    PsGetThreadExitStatus,
);

/// Size of a thread's object. What is behind the header is nobody's business but this file's.
const THREAD_BYTES: usize = 2048;
const PRIORITY: usize = 0x40;
const BASE_PRIORITY: usize = 0x44;
const EXIT_STATUS: usize = 0x48;
const NUMBER: usize = 0x50;
const IS_SYSTEM: usize = 0x58;
/// Where a driver's thread begins, and its number in the machine that this runs on.
const ROUTINE: usize = 0x60;
const MACHINE_NUMBER: usize = 0x68;
/// The process that every thread here belongs to: System, as a driver's own threads do.
pub(crate) const PROCESS_NUMBER: u64 = 4;
/// Priority of a new thread.
const NORMAL_PRIORITY: i32 = 8;
const STACK_BYTES: usize = 1 << 20;

struct Registered {
    /// References that a driver or a handle has.
    references: u32,
    /// The thread runs, or was not started yet.
    runs: bool,
    /// Keeps the memory; the block is its address.
    _memory: Box<[u64; THREAD_BYTES / 8]>,
}

/// Every thread object that is alive.
static THREADS: Mutex<BTreeMap<Block, Registered>> = Mutex::new(BTreeMap::new());

fn threads() -> std::sync::MutexGuard<'static, BTreeMap<Block, Registered>> {
    THREADS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The calling thread's object; it ends with the thread.
struct Current(Block);

impl Drop for Current {
    fn drop(&mut self) {
        over(self.0, NtStatus::STATUS_SUCCESS);
    }
}

thread_local! {
    static CURRENT: OnceLock<Current> = const { OnceLock::new() };
}

fn make() -> Block {
    // System numbers of threads are multiples of 4, and none is 0.
    static NEXT_NUMBER: AtomicU64 = AtomicU64::new(8);
    let mut memory = Box::new([0u64; THREAD_BYTES / 8]);
    // SAFETY: the memory is as large as a thread's object and lives until its last reference goes.
    let block = unsafe { Block::at(memory.as_mut_ptr().cast()) };
    dispatcher::initialize(block, Kind::THREAD, THREAD_BYTES / 2, 0);
    block.put(PRIORITY, NORMAL_PRIORITY);
    block.put(BASE_PRIORITY, NORMAL_PRIORITY);
    block.put(EXIT_STATUS, NtStatus::STATUS_PENDING.0);
    block.put(NUMBER, NEXT_NUMBER.fetch_add(4, Ordering::Relaxed));
    threads().insert(block, Registered { references: 0, runs: true, _memory: memory });
    block
}

/// The object of the calling thread, made when it is first asked for.
pub(crate) fn current() -> Block {
    // A thread whose locals are gone runs no driver code; it is nobody.
    CURRENT.try_with(|current| current.get_or_init(|| Current(make())).0).unwrap_or(Block::NULL)
}

/// Makes the calling thread fit to run driver code.
pub(crate) fn prepare() {
    crate::machine::enter_thread();
}

/// Adds a reference to a thread's object; false if there is no such thread.
pub(crate) fn reference(thread: Block) -> bool {
    match threads().get_mut(&thread) {
        Some(registered) => {
            registered.references += 1;
            true
        }
        None => false,
    }
}

/// Takes a reference back; false if there is none to take.
pub(crate) fn dereference(thread: Block) -> bool {
    let mut threads = threads();
    let Some(registered) = threads.get_mut(&thread).filter(|registered| registered.references > 0) else {
        return false;
    };
    registered.references -= 1;
    forget_unused(threads, thread);
    true
}

/// The thread of this object ended, or never began.
fn over(thread: Block, status: NtStatus) {
    ended(thread, status);
    let mut threads = threads();
    if let Some(registered) = threads.get_mut(&thread) {
        registered.runs = false;
    }
    forget_unused(threads, thread);
}

fn forget_unused(mut threads: std::sync::MutexGuard<'_, BTreeMap<Block, Registered>>, thread: Block) {
    let unused = threads.get(&thread).is_some_and(|registered| registered.references == 0 && !registered.runs);
    if unused {
        let gone = threads.remove(&thread);
        drop(threads);
        dispatcher::lock().thread_ended(thread);
        drop(gone);
    }
}

/// A thread that a driver started and that has not ended.
#[derive(Debug, Clone, Copy)]
pub struct SystemThread {
    /// The routine that it began with.
    pub routine: Place,
    /// Processor time that it has taken, in milliseconds.
    pub processor_ms: u64,
}

/// The threads that drivers started and that have not ended: one that has said so runs no code of a driver any more.
pub fn system_threads() -> Vec<SystemThread> {
    let runs = |(thread, registered): &(&Block, &Registered)| {
        registered.runs && thread.get::<u8>(IS_SYSTEM) != 0 && signal(**thread).load(Ordering::Acquire) == 0
    };
    let threads = threads();
    let told = threads.iter().filter(runs).map(|(thread, _)| SystemThread {
        routine: Place::of(thread.get(ROUTINE)),
        processor_ms: running::processor_time_ns(thread.get(MACHINE_NUMBER)).unwrap_or(0) / 1_000_000,
    });
    told.collect()
}

/// Signals that a thread is over; the first call counts.
fn ended(thread: Block, status: NtStatus) {
    let mut dispatcher = dispatcher::lock();
    if signal(thread).load(Ordering::Acquire) == 0 {
        thread.put(EXIT_STATUS, status.0);
        signal(thread).store(1, Ordering::Release);
        dispatcher.signalled(thread);
    }
}

thread_local! {
    /// Stack pointer to which the calling thread returns when it terminates; 0 in a thread that no driver started.
    static EXIT_FRAME: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    static EXIT_WITH: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// Calls a driver's routine so that [`leave_routine`] can return for it, from however deep.
#[unsafe(naked)]
unsafe extern "C" fn enter_routine(routine: usize, context: usize, frame: *mut usize) {
    std::arch::naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov [rdx], rsp",
        "sub rsp, 40",
        "mov rcx, rsi",
        "call rdi",
        "add rsp, 40",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
    )
}

/// Returns from the [`enter_routine`] that left this stack pointer.
#[unsafe(naked)]
unsafe extern "C" fn leave_routine(frame: usize) -> ! {
    std::arch::naked_asm!(
        "mov rsp, rdi",
        "cld",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
    )
}

/// Starts a thread that runs a driver's routine; the caller has a reference to its object.
pub(crate) fn start(routine: usize, context: usize) -> Result<Block, NtStatus> {
    let thread = make();
    thread.put(IS_SYSTEM, 1u8);
    thread.put(ROUTINE, routine as u64);
    reference(thread);
    let spawned = scheduler::spawn("nt-system", STACK_BYTES, move || {
        CURRENT.with(|current| {
            current.get_or_init(|| Current(thread));
        });
        prepare();
        thread.put(MACHINE_NUMBER, report::system_thread());
        report::in_thread("a system thread");
        report::note("system thread starts", [thread.address() as u64, routine as u64]);
        // SAFETY: the driver gave the routine and its context; the cell is this thread's own.
        unsafe { enter_routine(routine, context, EXIT_FRAME.with(std::cell::Cell::as_ptr)) };
        leave(thread);
    });
    if spawned.is_err() {
        dereference(thread);
        over(thread, NtStatus::STATUS_INSUFFICIENT_RESOURCES);
        return Err(NtStatus::STATUS_INSUFFICIENT_RESOURCES);
    }
    Ok(thread)
}

/// The end of a system thread, back on our own frame.
fn leave(thread: Block) {
    irql_and_locks_at_end(thread);
    irql::set(irql::PASSIVE);
    report::note("system thread ends", [thread.address() as u64, 0]);
    ended(thread, NtStatus(EXIT_WITH.get()));
}

fn irql_and_locks_at_end(thread: Block) {
    let level = irql::current();
    if level != irql::PASSIVE {
        report::misuse(
            BugCheck::IRQL_UNEXPECTED_VALUE,
            "PsTerminateSystemThread",
            format!("the thread ends at level {level}"),
        );
    }
    let held = dispatcher::lock().mutexes_held(thread);
    if held > 0 {
        report::misuse(
            BugCheck::THREAD_TERMINATE_HELD_MUTEX,
            "PsTerminateSystemThread",
            format!("the thread ends, but has not released mutexes that it acquired {held} times"),
        );
    }
}

pub(crate) unsafe extern "win64" fn PsCreateSystemThread(
    handle: Block,
    _access: u32,
    _attributes: Block,
    _process: Block,
    client_id: Block,
    routine: usize,
    context: usize,
) -> NtStatus {
    irql::at_most(irql::PASSIVE, "PsCreateSystemThread");
    if routine == 0 {
        return NtStatus::STATUS_INVALID_PARAMETER;
    }
    match start(routine, context) {
        Ok(thread) => {
            if let Some(client_id) = client_id.optional() {
                client_id.put(0, PROCESS_NUMBER);
                client_id.put(8, thread.get::<u64>(NUMBER));
            }
            handle.put(0, super::thread_handle::open(thread));
            NtStatus::STATUS_SUCCESS
        }
        Err(status) => status,
    }
}

/// As `PsCreateSystemThread`; the object that would stay loaded as long as the thread runs is not counted.
pub(crate) unsafe extern "win64" fn IoCreateSystemThread(
    _io_object: Block,
    handle: Block,
    access: u32,
    attributes: Block,
    process: Block,
    client_id: Block,
    routine: usize,
    context: usize,
) -> NtStatus {
    // SAFETY: the same contract.
    unsafe { PsCreateSystemThread(handle, access, attributes, process, client_id, routine, context) }
}

/// Does not return, unless the calling thread is none that a driver started.
pub(crate) unsafe extern "win64" fn PsTerminateSystemThread(status: NtStatus) -> NtStatus {
    irql::at_most(irql::PASSIVE, "PsTerminateSystemThread");
    let frame = EXIT_FRAME.get();
    if frame == 0 {
        return NtStatus::STATUS_INVALID_PARAMETER;
    }
    EXIT_WITH.set(status.0);
    // SAFETY: the frame is that of this thread's `enter_routine`, which has not returned: the driver's routine is what
    // runs here. The frames between are the driver's, and this one, which has nothing to drop.
    unsafe { leave_routine(frame) }
}

pub(crate) unsafe extern "win64" fn KeGetCurrentThread() -> Block {
    current()
}

pub(crate) unsafe extern "win64" fn PsGetCurrentThread() -> Block {
    current()
}

pub(crate) unsafe extern "win64" fn PsGetCurrentThreadId() -> u64 {
    current().get(NUMBER)
}

pub(crate) unsafe extern "win64" fn PsGetThreadId(thread: Block) -> u64 {
    thread.get(NUMBER)
}

pub(crate) unsafe extern "win64" fn PsIsSystemThread(thread: Block) -> u8 {
    thread.get(IS_SYSTEM)
}

pub(crate) unsafe extern "win64" fn PsIsThreadTerminating(thread: Block) -> u8 {
    u8::from(signal(thread).load(Ordering::Acquire) != 0)
}

/// The status with which a thread ended, or STATUS_PENDING.
pub(crate) unsafe extern "win64" fn PsGetThreadExitStatus(thread: Block) -> NtStatus {
    NtStatus(thread.get(EXIT_STATUS))
}

// Decision: priorities are remembered and told, and change nothing: the machine's own scheduler is fair.
pub(crate) unsafe extern "win64" fn KeSetPriorityThread(thread: Block, priority: i32) -> i32 {
    if !(1..32).contains(&priority) {
        report::misuse(
            BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION,
            "KeSetPriorityThread",
            format!("a priority is 1 to 31, not {priority}"),
        );
    }
    thread.i32(PRIORITY).swap(priority, Ordering::AcqRel)
}

pub(crate) unsafe extern "win64" fn KeQueryPriorityThread(thread: Block) -> i32 {
    thread.i32(PRIORITY).load(Ordering::Acquire)
}

/// Sets the base priority relative to that of the process; returns the increment before.
pub(crate) unsafe extern "win64" fn KeSetBasePriorityThread(thread: Block, increment: i32) -> i32 {
    let base = NORMAL_PRIORITY.saturating_add(increment).clamp(1, 31);
    thread.i32(PRIORITY).store(base, Ordering::Release);
    thread.i32(BASE_PRIORITY).swap(base, Ordering::AcqRel) - NORMAL_PRIORITY
}

pub(crate) unsafe extern "win64" fn KeSetActualBasePriorityThread(thread: Block, priority: i32) -> i32 {
    thread.i32(PRIORITY).store(priority, Ordering::Release);
    thread.i32(BASE_PRIORITY).swap(priority, Ordering::AcqRel)
}

/// Time that the thread has run, in ticks. Known for the calling thread, else zero.
pub(crate) unsafe extern "win64" fn KeQueryRuntimeThread(thread: Block, user_time: Block) -> u32 {
    if let Some(user_time) = user_time.optional() {
        user_time.put(0, 0u32);
    }
    if thread != current() {
        return 0;
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    (time.tv_sec * 64 + time.tv_nsec / 15_625_000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn each_thread_has_an_object_of_its_own_that_ends_with_it() {
        let (send, receive) = mpsc::channel();
        let (hold, held) = mpsc::channel::<()>();
        let other = std::thread::spawn(move || {
            send.send(current()).unwrap();
            let _ = held.recv();
        });
        let thread = receive.recv().unwrap();
        assert_ne!(thread, current());
        assert_eq!(Kind::of(thread), Kind::THREAD);
        assert!(reference(thread));
        drop(hold);
        let over = dispatcher::wait("test", &[thread], dispatcher::Rule::Any, dispatcher::Alertable::No, None);
        assert_eq!(over, NtStatus::STATUS_SUCCESS);
        other.join().unwrap();
        assert!(dereference(thread));
        assert!(!reference(thread), "the last reference is gone");
    }
}
