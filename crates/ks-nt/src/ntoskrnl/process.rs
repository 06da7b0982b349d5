//! The process and the processors as a driver sees them: one of the first, those of the machine of the second.

use std::sync::OnceLock;

use ks_abi::NtStatus;

use super::block::Block;
use super::dispatcher::{self, Kind};
use super::thread::{self, PROCESS_NUMBER};
use crate::exports;
use crate::exports::{Export, Module, Target};

pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    PsGetCurrentProcess, IoGetCurrentProcess, PsGetCurrentProcessId, PsGetProcessId, PsGetThreadProcess,
    PsGetThreadProcessId, PsGetCurrentThreadProcess, PsGetCurrentThreadProcessId, PsIsSystemProcess,
    IoIsSystemThread, IoThreadToProcess, ExGetPreviousMode, KeStackAttachProcess, KeUnstackDetachProcess,
    KeQueryActiveProcessorCount, KeQueryActiveProcessorCountEx, KeQueryMaximumProcessorCount,
    KeQueryMaximumProcessorCountEx, KeQueryActiveProcessors, KeQueryActiveGroupCount, KeQueryMaximumGroupCount,
    KeQueryGroupAffinity, KeGetCurrentProcessorNumber, KeGetCurrentProcessorNumberEx, KeGetProcessorIndexFromNumber,
    KeGetProcessorNumberFromIndex, KeGetCurrentNodeNumber, KeQueryHighestNodeNumber,
    KeSetSystemAffinityThread, KeSetSystemAffinityThreadEx, KeRevertToUserAffinityThread,
    KeRevertToUserAffinityThreadEx, KeSetSystemGroupAffinityThread, KeRevertToUserGroupAffinityThread,
    KeSetIdealProcessorThread,
);

/// Variables, not routines: an import of one is its address.
pub(crate) const DATA_EXPORTS: &[Export] = &[
    Export {
        module: Module::Ntoskrnl,
        name: "PsInitialSystemProcess",
        target: Target::Data((&raw const INITIAL_PROCESS).cast()),
    },
    Export {
        module: Module::Ntoskrnl,
        name: "KeNumberProcessors",
        target: Target::Data((&raw const NUMBER_OF_PROCESSORS).cast()),
    },
];

const PROCESS_WORDS: usize = 256;

/// The process object; only its header is ever looked at.
#[repr(C, align(16))]
struct Process([std::sync::atomic::AtomicU64; PROCESS_WORDS]);

static PROCESS: Process = Process([const { std::sync::atomic::AtomicU64::new(0) }; PROCESS_WORDS]);

/// What the variable PsInitialSystemProcess holds.
struct Pointer(*const Process);

// SAFETY: the address of a static, which is never written.
unsafe impl Sync for Pointer {}

static INITIAL_PROCESS: Pointer = Pointer(&raw const PROCESS);

// A variable cannot ask the machine, which is done by the routines. One processor is what no driver is surprised by.
static NUMBER_OF_PROCESSORS: u8 = 1;

/// The process object.
pub(crate) fn current() -> Block {
    static READY: OnceLock<()> = OnceLock::new();
    // SAFETY: a static of atomics, larger than what is written to it.
    let process = unsafe { Block::at(INITIAL_PROCESS.0.cast_mut().cast()) };
    READY.get_or_init(|| dispatcher::initialize(process, Kind::PROCESS, 24, 0));
    process
}

/// Processors of the machine, as far as one group of them goes.
pub(crate) fn processors() -> u32 {
    static COUNT: OnceLock<u32> = OnceLock::new();
    *COUNT.get_or_init(|| std::thread::available_parallelism().map_or(1, |count| count.get().min(64) as u32))
}

fn affinity() -> u64 {
    match processors() {
        64 => u64::MAX,
        count => (1 << count) - 1,
    }
}

fn current_processor() -> u32 {
    // SAFETY: no arguments; a failure is negative.
    let number = unsafe { libc::sched_getcpu() };
    u32::try_from(number).unwrap_or(0) % processors()
}

pub(crate) unsafe extern "win64" fn PsGetCurrentProcess() -> Block {
    current()
}

pub(crate) unsafe extern "win64" fn IoGetCurrentProcess() -> Block {
    current()
}

pub(crate) unsafe extern "win64" fn PsGetCurrentProcessId() -> u64 {
    PROCESS_NUMBER
}

pub(crate) unsafe extern "win64" fn PsGetProcessId(_process: Block) -> u64 {
    PROCESS_NUMBER
}

pub(crate) unsafe extern "win64" fn PsGetThreadProcess(_thread: Block) -> Block {
    current()
}

pub(crate) unsafe extern "win64" fn PsGetThreadProcessId(_thread: Block) -> u64 {
    PROCESS_NUMBER
}

pub(crate) unsafe extern "win64" fn PsGetCurrentThreadProcess() -> Block {
    current()
}

pub(crate) unsafe extern "win64" fn PsGetCurrentThreadProcessId() -> u64 {
    PROCESS_NUMBER
}

pub(crate) unsafe extern "win64" fn PsIsSystemProcess(process: Block) -> u8 {
    u8::from(process == current())
}

pub(crate) unsafe extern "win64" fn IoIsSystemThread(thread: Block) -> u8 {
    // SAFETY: the same contract.
    unsafe { thread::PsIsSystemThread(thread) }
}

pub(crate) unsafe extern "win64" fn IoThreadToProcess(_thread: Block) -> Block {
    current()
}

/// KernelMode: what calls a driver here is the engine.
pub(crate) unsafe extern "win64" fn ExGetPreviousMode() -> u8 {
    0
}

// There is one address space: to attach to a process is to stay.
pub(crate) unsafe extern "win64" fn KeStackAttachProcess(_process: Block, apc_state: Block) {
    apc_state.put(0, 0u64);
}

pub(crate) unsafe extern "win64" fn KeUnstackDetachProcess(_apc_state: Block) {}

pub(crate) unsafe extern "win64" fn KeQueryActiveProcessorCount(active: Block) -> u32 {
    if let Some(active) = active.optional() {
        active.put(0, affinity());
    }
    processors()
}

/// Every group.
const ALL_PROCESSOR_GROUPS: u16 = 0xFFFF;

pub(crate) unsafe extern "win64" fn KeQueryActiveProcessorCountEx(group: u16) -> u32 {
    if group == 0 || group == ALL_PROCESSOR_GROUPS { processors() } else { 0 }
}

pub(crate) unsafe extern "win64" fn KeQueryMaximumProcessorCount() -> u32 {
    processors()
}

pub(crate) unsafe extern "win64" fn KeQueryMaximumProcessorCountEx(group: u16) -> u32 {
    if group == 0 || group == ALL_PROCESSOR_GROUPS { processors() } else { 0 }
}

pub(crate) unsafe extern "win64" fn KeQueryActiveProcessors() -> u64 {
    affinity()
}

pub(crate) unsafe extern "win64" fn KeQueryActiveGroupCount() -> u16 {
    1
}

pub(crate) unsafe extern "win64" fn KeQueryMaximumGroupCount() -> u16 {
    1
}

pub(crate) unsafe extern "win64" fn KeQueryGroupAffinity(group: u16) -> u64 {
    if group == 0 { affinity() } else { 0 }
}

pub(crate) unsafe extern "win64" fn KeGetCurrentProcessorNumber() -> u32 {
    current_processor()
}

/// Fills a PROCESSOR_NUMBER, which is a group, a number and a reserved byte.
fn put_number(number: Block, index: u32) {
    number.put(0, 0u16);
    number.put(2, index as u8);
    number.put(3, 0u8);
}

pub(crate) unsafe extern "win64" fn KeGetCurrentProcessorNumberEx(number: Block) -> u32 {
    let index = current_processor();
    if let Some(number) = number.optional() {
        put_number(number, index);
    }
    index
}

/// The index of a processor, or INVALID_PROCESSOR_INDEX.
pub(crate) unsafe extern "win64" fn KeGetProcessorIndexFromNumber(number: Block) -> u32 {
    let index = u32::from(number.get::<u8>(2));
    if number.get::<u16>(0) == 0 && index < processors() { index } else { u32::MAX }
}

pub(crate) unsafe extern "win64" fn KeGetProcessorNumberFromIndex(index: u32, number: Block) -> NtStatus {
    if index >= processors() {
        return NtStatus::STATUS_INVALID_PARAMETER;
    }
    put_number(number, index);
    NtStatus::STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn KeGetCurrentNodeNumber() -> u16 {
    0
}

pub(crate) unsafe extern "win64" fn KeQueryHighestNodeNumber() -> u16 {
    0
}

// Decision: a thread runs where the machine's scheduler puts it. What was asked for is told back as if it were so.
pub(crate) unsafe extern "win64" fn KeSetSystemAffinityThread(_affinity: u64) {}

pub(crate) unsafe extern "win64" fn KeSetSystemAffinityThreadEx(_affinity: u64) -> u64 {
    affinity()
}

pub(crate) unsafe extern "win64" fn KeRevertToUserAffinityThread() {}

pub(crate) unsafe extern "win64" fn KeRevertToUserAffinityThreadEx(_affinity: u64) {}

/// A GROUP_AFFINITY is a mask, a group and three reserved words.
pub(crate) unsafe extern "win64" fn KeSetSystemGroupAffinityThread(_new: Block, previous: Block) {
    if let Some(previous) = previous.optional() {
        previous.clear(16);
        previous.put(0, affinity());
    }
}

pub(crate) unsafe extern "win64" fn KeRevertToUserGroupAffinityThread(_previous: Block) {}

/// Returns the ideal processor before, which is always the first.
pub(crate) unsafe extern "win64" fn KeSetIdealProcessorThread(_thread: Block, _processor: u8) -> u8 {
    0
}
