//! Deferred procedure calls: queued at any level, run at DISPATCH_LEVEL, one at a time, on a thread of their own.
//!
//! That thread is the one processor that runs DPCs; it expires the timers too, so that a DPC that takes long delays
//! both, as it does in Windows. Threaded DPCs run at PASSIVE_LEVEL on a second one.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::block::Block;
use super::dispatcher::{self, Dispatcher, Turn};
use super::scheduler::{self, Rest, Sleeper};
use super::{clock, irql, thread, timer};
use crate::exports;
use crate::exports::Export;
use crate::report::{self, BugCheck, Call};

pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    KeInitializeDpc, KeInitializeThreadedDpc, KeInsertQueueDpc, KeRemoveQueueDpc, KeRemoveQueueDpcEx,
    KeFlushQueuedDpcs, KeSetImportanceDpc, KeSetTargetProcessorDpc, KeSetTargetProcessorDpcEx,
    KeGenericCallDpc, KeSignalCallDpcDone, KeSignalCallDpcSynchronize, KeIpiGenericCall, KeIsExecutingDpc,
    KeShouldYieldProcessor, KeQueryDpcWatchdogInformation,
);

/// The type byte of an ordinary DPC and of a threaded one.
const DPC: u8 = 0x13;
const THREADED_DPC: u8 = 0x18;
const DPC_BYTES: usize = 64;

const IMPORTANCE: usize = 1;
const NUMBER: usize = 2;
const ROUTINE: usize = 24;
const CONTEXT: usize = 32;
const ARGUMENTS: [usize; 2] = [40, 48];
/// Not null while the DPC is queued.
const QUEUED: usize = 56;

const MEDIUM_IMPORTANCE: u32 = 1;
const HIGH_IMPORTANCE: u32 = 2;

type Routine = unsafe extern "win64" fn(dpc: Block, context: usize, argument_1: usize, argument_2: usize);

/// Which thread runs a DPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Ordinary,
    Threaded,
}

impl Which {
    fn of(dpc: Block) -> Self {
        if dpc.get::<u8>(0) == THREADED_DPC { Self::Threaded } else { Self::Ordinary }
    }
}

/// The DPCs that wait for one thread, and that thread.
#[derive(Default)]
pub(crate) struct Processor {
    /// With the number of their queueing, which tells who came before a flush.
    queue: VecDeque<(u64, Block)>,
    running: Option<u64>,
    queued: u64,
    flushes: Vec<(u64, Arc<Turn>)>,
    thread: Option<Sleeper>,
}

impl Processor {
    pub(crate) const fn new() -> Self {
        Self { queue: VecDeque::new(), running: None, queued: 0, flushes: Vec::new(), thread: None }
    }

    pub(crate) fn blocks(&self) -> impl Iterator<Item = Block> {
        self.queue.iter().map(|(_, dpc)| *dpc)
    }

    fn is_done(&self, number: u64) -> bool {
        self.running.is_none_or(|running| running > number) && self.queue.iter().all(|(queued, _)| *queued > number)
    }

    fn grant_flushes(&mut self) {
        let flushes = std::mem::take(&mut self.flushes);
        for (number, turn) in flushes {
            if self.is_done(number) {
                turn.grant();
            } else {
                self.flushes.push((number, turn));
            }
        }
    }
}

/// Queues a DPC; false if it is queued already.
pub(crate) fn queue(dispatcher: &mut Dispatcher, dpc: Block, arguments: [usize; 2]) -> bool {
    if !dpc.word(QUEUED).load(Ordering::Acquire).is_null() {
        return false;
    }
    dpc.put(ARGUMENTS[0], arguments[0]);
    dpc.put(ARGUMENTS[1], arguments[1]);
    dpc.word(QUEUED).store(dpc.pointer(), Ordering::Release);
    let which = Which::of(dpc);
    let processor = dispatcher.processor(which);
    processor.queued += 1;
    let entry = (processor.queued, dpc);
    if u32::from(dpc.get::<u8>(IMPORTANCE)) == HIGH_IMPORTANCE {
        processor.queue.push_front(entry);
    } else {
        processor.queue.push_back(entry);
    }
    notify(dispatcher, which);
    true
}

/// Wakes the thread that runs DPCs and expires timers, which starts when it is first needed.
pub(crate) fn notify(dispatcher: &mut Dispatcher, which: Which) {
    match dispatcher.processor(which).thread.clone() {
        Some(thread) => dispatcher.wake(thread),
        None => {
            let name = match which {
                Which::Ordinary => "nt-dpc",
                Which::Threaded => "nt-threaded-dpc",
            };
            match scheduler::spawn_own(name, move || run(which)) {
                Ok(thread) => dispatcher.processor(which).thread = Some(thread),
                Err(error) => report::bug_check(
                    BugCheck::TIMER_OR_DPC_INVALID,
                    [0; 4],
                    "KeInsertQueueDpc",
                    format!("the machine refuses the thread that runs DPCs: {error}"),
                ),
            }
        }
    }
}

/// The life of a thread that runs DPCs.
fn run(which: Which) {
    thread::prepare();
    loop {
        let mut dispatcher = dispatcher::lock();
        let next_due = match which {
            Which::Ordinary => timer::expire(&mut dispatcher, clock::interrupt_time()),
            Which::Threaded => None,
        };
        let processor = dispatcher.processor(which);
        let Some((number, dpc)) = processor.queue.pop_front() else {
            if scheduler::is_ending() {
                processor.thread = None;
                return;
            }
            drop(dispatcher);
            // Whoever has work wakes this thread, and a spare wake-up costs a look.
            if scheduler::rest(next_due) == Rest::InVain && end_if_idle(which) {
                return;
            }
            continue;
        };
        processor.running = Some(number);
        let routine = dpc.get::<usize>(ROUTINE);
        let context = dpc.get(CONTEXT);
        let [first, second] = ARGUMENTS.map(|argument| dpc.get(argument));
        dpc.word(QUEUED).store(std::ptr::null_mut(), Ordering::Release);
        drop(dispatcher);
        call(which, dpc, routine, [context, first, second]);
        let mut dispatcher = dispatcher::lock();
        let processor = dispatcher.processor(which);
        processor.running = None;
        processor.grant_flushes();
    }
}

/// Whether the thread that runs these may end: the next DPC or timer starts another.
fn end_if_idle(which: Which) -> bool {
    let mut dispatcher = dispatcher::lock();
    let is_idle = dispatcher.processor(which).queue.is_empty()
        && (which == Which::Threaded || dispatcher.timers().blocks().next().is_none());
    if is_idle {
        dispatcher.processor(which).thread = None;
    }
    is_idle
}

thread_local! {
    /// The calling thread runs a DPC.
    static EXECUTES: Cell<bool> = const { Cell::new(false) };
}

/// When the DPC that runs now began, in 100-ns units; 0: none runs.
static BEGUN: AtomicI64 = AtomicI64::new(0);

/// How long the DPC that runs now has been running, in milliseconds: what a watchdog asks.
pub fn running_ms() -> Option<u64> {
    let begun = Some(BEGUN.load(Ordering::Relaxed)).filter(|&begun| begun != 0)?;
    Some((clock::machine_time().saturating_sub(begun) / 10_000).max(0).cast_unsigned())
}

fn call(which: Which, dpc: Block, routine: usize, arguments: [usize; 3]) {
    if routine == 0 {
        report::misuse(
            BugCheck::TIMER_OR_DPC_INVALID,
            "KeInsertQueueDpc",
            format!("the DPC at {:#x} has no routine: it was not initialized", dpc.address()),
        );
        return;
    }
    let level = if which == Which::Ordinary { irql::DISPATCH } else { irql::PASSIVE };
    irql::set(level);
    // SAFETY: the driver gave this address as the routine of the DPC.
    let routine: Routine = unsafe { std::mem::transmute(routine) };
    let begun = BEGUN.swap(clock::machine_time().max(1), Ordering::Relaxed);
    EXECUTES.set(true);
    let call = Call::unnoted(if which == Which::Ordinary { "a DPC" } else { "a threaded DPC" });
    // SAFETY: as the driver asked for; the level is the one that is documented.
    unsafe { routine(dpc, arguments[0], arguments[1], arguments[2]) };
    drop(call);
    EXECUTES.set(false);
    BEGUN.store(begun, Ordering::Relaxed);
    let after = irql::set(irql::PASSIVE);
    if after != level {
        report::misuse(
            BugCheck::IRQL_UNEXPECTED_VALUE,
            "KeInsertQueueDpc",
            format!("a DPC routine was called at level {level} and returned at level {after}"),
        );
    }
}

fn initialize(dpc: Block, kind: u8, routine: usize, context: usize) {
    dpc.clear(DPC_BYTES);
    dpc.put(0, kind);
    dpc.put(IMPORTANCE, MEDIUM_IMPORTANCE as u8);
    dpc.put(ROUTINE, routine);
    dpc.put(CONTEXT, context);
}

pub(crate) unsafe extern "win64" fn KeInitializeDpc(dpc: Block, routine: usize, context: usize) {
    initialize(dpc, DPC, routine, context);
}

pub(crate) unsafe extern "win64" fn KeInitializeThreadedDpc(dpc: Block, routine: usize, context: usize) {
    initialize(dpc, THREADED_DPC, routine, context);
}

pub(crate) unsafe extern "win64" fn KeInsertQueueDpc(dpc: Block, argument_1: usize, argument_2: usize) -> u8 {
    u8::from(queue(&mut dispatcher::lock(), dpc, [argument_1, argument_2]))
}

/// Takes a DPC out of its queue; false if it is in none, be it that it runs.
pub(crate) fn remove(dispatcher: &mut Dispatcher, dpc: Block) -> bool {
    let processor = dispatcher.processor(Which::of(dpc));
    let Some(place) = processor.queue.iter().position(|(_, queued)| *queued == dpc) else { return false };
    processor.queue.remove(place);
    dpc.word(QUEUED).store(std::ptr::null_mut(), Ordering::Release);
    dispatcher.processor(Which::of(dpc)).grant_flushes();
    true
}

pub(crate) unsafe extern "win64" fn KeRemoveQueueDpc(dpc: Block) -> u8 {
    u8::from(remove(&mut dispatcher::lock(), dpc))
}

pub(crate) unsafe extern "win64" fn KeRemoveQueueDpcEx(dpc: Block, wait_if_active: u8) -> u8 {
    let which = Which::of(dpc);
    let mut dispatcher = dispatcher::lock();
    let removed = remove(&mut dispatcher, dpc);
    drop(dispatcher);
    if wait_if_active != 0 && !removed {
        flush(which, "KeRemoveQueueDpcEx");
    }
    u8::from(removed)
}

/// Waits until what is queued now has run.
pub(crate) fn flush(which: Which, routine: &'static str) {
    if irql::current() > irql::APC {
        irql::at_most(irql::APC, routine);
        return;
    }
    let turn = Turn::new();
    {
        let mut dispatcher = dispatcher::lock();
        let processor = dispatcher.processor(which);
        let last = processor.queued;
        if processor.is_done(last) {
            return;
        }
        processor.flushes.push((last, Arc::clone(&turn)));
    }
    turn.wait();
}

pub(crate) unsafe extern "win64" fn KeFlushQueuedDpcs() {
    flush(Which::Ordinary, "KeFlushQueuedDpcs");
    flush(Which::Threaded, "KeFlushQueuedDpcs");
}

pub(crate) unsafe extern "win64" fn KeSetImportanceDpc(dpc: Block, importance: u32) {
    dpc.put(IMPORTANCE, importance as u8);
}

// There is one processor that runs DPCs: the target is remembered and means nothing.
pub(crate) unsafe extern "win64" fn KeSetTargetProcessorDpc(dpc: Block, number: u8) {
    dpc.put(NUMBER, u16::from(number));
}

pub(crate) unsafe extern "win64" fn KeSetTargetProcessorDpcEx(dpc: Block, processor: Block) -> ks_abi::NtStatus {
    let (group, number) = (processor.get::<u16>(0), processor.get::<u8>(2));
    if group != 0 || u32::from(number) >= super::process::processors() {
        return ks_abi::NtStatus::STATUS_INVALID_PARAMETER;
    }
    dpc.put(NUMBER, u16::from(number));
    ks_abi::NtStatus::STATUS_SUCCESS
}

// Decision: "every processor" is the one that runs DPCs, so that a routine with a barrier finds nobody to wait for.
pub(crate) unsafe extern "win64" fn KeGenericCallDpc(routine: usize, context: usize) {
    let done = [const { std::sync::atomic::AtomicI32::new(1) }; 2];
    let counts = done[0].as_ptr() as usize;
    let mut memory = [0u64; DPC_BYTES / 8];
    // SAFETY: the array is as large as a DPC, and lives until the flush below returned.
    let dpc = unsafe { Block::at(memory.as_mut_ptr().cast()) };
    initialize(dpc, DPC, routine, context);
    queue(&mut dispatcher::lock(), dpc, [counts, counts + 4]);
    flush(Which::Ordinary, "KeGenericCallDpc");
}

pub(crate) unsafe extern "win64" fn KeSignalCallDpcDone(count: Block) {
    count.i32(0).fetch_sub(1, Ordering::AcqRel);
}

pub(crate) unsafe extern "win64" fn KeSignalCallDpcSynchronize(_barrier: Block) -> u8 {
    1
}

pub(crate) unsafe extern "win64" fn KeIpiGenericCall(
    routine: unsafe extern "win64" fn(usize) -> usize,
    context: usize,
) -> usize {
    let before = irql::set(irql::SYNCH + 2);
    // SAFETY: as the driver asked for.
    let answer = unsafe { routine(context) };
    irql::set(before);
    answer
}

pub(crate) unsafe extern "win64" fn KeIsExecutingDpc() -> u8 {
    u8::from(EXECUTES.get())
}

pub(crate) unsafe extern "win64" fn KeShouldYieldProcessor() -> u8 {
    u8::from(!dispatcher::lock().processor(Which::Ordinary).queue.is_empty())
}

/// Limits of zero: nothing watches how long a DPC runs.
pub(crate) unsafe extern "win64" fn KeQueryDpcWatchdogInformation(information: Block) -> ks_abi::NtStatus {
    information.clear(20);
    ks_abi::NtStatus::STATUS_SUCCESS
}
