//! What belongs nowhere else: the end of everything, floating point, processor features, the stack.

use ks_abi::NtStatus;

use super::block::Block;
use super::irql;
use crate::exports;
use crate::exports::Export;
use crate::report::{self, BugCheck};

pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    KeBugCheck, KeBugCheckEx, KeRegisterBugCheckCallback, KeDeregisterBugCheckCallback,
    KeRegisterBugCheckReasonCallback, KeDeregisterBugCheckReasonCallback,
    KeSaveFloatingPointState, KeRestoreFloatingPointState, KeSaveExtendedProcessorState,
    KeRestoreExtendedProcessorState, KeGetRecommendedSharedDataAlignment, ExIsProcessorFeaturePresent,
    IoGetStackLimits, IoGetInitialStack, IoGetRemainingStackSize, KeExpandKernelStackAndCallout,
    KeExpandKernelStackAndCalloutEx, KeInvalidateAllCaches, KeFlushIoBuffers,
    ExRaiseStatus, ExRaiseAccessViolation, ExRaiseDatatypeMisalignment, ExRaiseHardError, ExVerifySuite,
);

pub(crate) const HAL_EXPORTS: &[Export] = exports!(Hal: KeFlushWriteBuffer);

pub(crate) unsafe extern "win64" fn KeBugCheck(code: u32) {
    report::bug_check(BugCheck(code), [0; 4], "KeBugCheck", "the driver stops the machine");
}

pub(crate) unsafe extern "win64" fn KeBugCheckEx(code: u32, first: u64, second: u64, third: u64, fourth: u64) {
    let what = format!("the driver stops the machine: {first:#x}, {second:#x}, {third:#x}, {fourth:#x}");
    report::bug_check(BugCheck(code), [first, second, third, fourth], "KeBugCheckEx", what);
}

/// State of a KBUGCHECK_CALLBACK_RECORD and of a KBUGCHECK_REASON_CALLBACK_RECORD: 0 is empty, 1 registered.
const CALLBACK_STATE: usize = 56;
const REASON_STATE: usize = 44;

fn register(record: Block, state: usize) -> u8 {
    let registered = record.get::<u8>(state) == 1;
    record.put(state, 1u8);
    u8::from(!registered)
}

fn deregister(record: Block, state: usize) -> u8 {
    let registered = record.get::<u8>(state) == 1;
    record.put(state, 0u8);
    u8::from(registered)
}

// Decision: the callbacks are not called. Who reads a report has the driver's process as it was; there is no dump to
// add to, and code of a driver that broke a rule is not run again.
pub(crate) unsafe extern "win64" fn KeRegisterBugCheckCallback(
    record: Block,
    _routine: Block,
    _buffer: Block,
    _bytes: u32,
    _component: Block,
) -> u8 {
    register(record, CALLBACK_STATE)
}

pub(crate) unsafe extern "win64" fn KeDeregisterBugCheckCallback(record: Block) -> u8 {
    deregister(record, CALLBACK_STATE)
}

pub(crate) unsafe extern "win64" fn KeRegisterBugCheckReasonCallback(
    record: Block,
    _routine: Block,
    _reason: u32,
    _component: Block,
) -> u8 {
    register(record, REASON_STATE)
}

pub(crate) unsafe extern "win64" fn KeDeregisterBugCheckReasonCallback(record: Block) -> u8 {
    deregister(record, REASON_STATE)
}

// The registers belong to the thread, as in every program: there is nothing to save.
pub(crate) unsafe extern "win64" fn KeSaveFloatingPointState(_save: Block) -> NtStatus {
    irql::at_most(irql::DISPATCH, "KeSaveFloatingPointState");
    NtStatus::STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn KeRestoreFloatingPointState(_save: Block) -> NtStatus {
    NtStatus::STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn KeSaveExtendedProcessorState(_mask: u64, _save: Block) -> NtStatus {
    irql::at_most(irql::DISPATCH, "KeSaveExtendedProcessorState");
    NtStatus::STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn KeRestoreExtendedProcessorState(_save: Block) {}

/// Size of a cache line.
pub(crate) unsafe extern "win64" fn KeGetRecommendedSharedDataAlignment() -> u32 {
    64
}

/// The numbers of the features (PF_...) that a driver may ask for.
pub(crate) unsafe extern "win64" fn ExIsProcessorFeaturePresent(feature: u32) -> u8 {
    u8::from(match feature {
        // compare-exchange of 8 bytes, MMX, SSE, rdtsc, PAE, SSE2, no-execute, fast fail
        2 | 3 | 6 | 8 | 9 | 10 | 12 | 23 => true,
        // compare-exchange of 16 bytes, XSAVE
        14 => is_x86_feature_detected!("cmpxchg16b"),
        13 => is_x86_feature_detected!("sse3"),
        17 => is_x86_feature_detected!("xsave"),
        36 => is_x86_feature_detected!("ssse3"),
        37 => is_x86_feature_detected!("sse4.1"),
        38 => is_x86_feature_detected!("sse4.2"),
        39 => is_x86_feature_detected!("avx"),
        40 => is_x86_feature_detected!("avx2"),
        41 => is_x86_feature_detected!("avx512f"),
        _ => false,
    })
}

/// Lowest address and end of the calling thread's stack.
fn stack() -> (usize, usize) {
    thread_local! {
        static STACK: std::cell::Cell<(usize, usize)> = const { std::cell::Cell::new((0, 0)) };
    }
    let known = STACK.get();
    if known != (0, 0) {
        return known;
    }
    // SAFETY: an all-zero attribute block may be overwritten by the next call.
    let mut attributes: libc::pthread_attr_t = unsafe { std::mem::zeroed() };
    // SAFETY: names the calling thread.
    let thread = unsafe { libc::pthread_self() };
    // SAFETY: fills the attributes, which are destroyed below.
    if unsafe { libc::pthread_getattr_np(thread, &raw mut attributes) } != 0 {
        return (0, usize::MAX);
    }
    let (mut start, mut bytes) = (std::ptr::null_mut(), 0);
    // SAFETY: the attributes were filled.
    unsafe { libc::pthread_attr_getstack(&raw const attributes, &raw mut start, &raw mut bytes) };
    // SAFETY: as above, once.
    unsafe { libc::pthread_attr_destroy(&raw mut attributes) };
    let found = (start as usize, start as usize + bytes);
    STACK.set(found);
    found
}

pub(crate) unsafe extern "win64" fn IoGetStackLimits(low: Block, high: Block) {
    let (start, end) = stack();
    low.put(0, start);
    high.put(0, end);
}

pub(crate) unsafe extern "win64" fn IoGetInitialStack() -> usize {
    stack().1
}

/// Bytes of stack that are left; inline in newer headers.
pub(crate) unsafe extern "win64" fn IoGetRemainingStackSize() -> usize {
    let here = 0u8;
    std::ptr::from_ref(&here) as usize - stack().0
}

type Callout = unsafe extern "win64" fn(parameter: usize);

// Stacks are large here: the routine is called on the one there is.
pub(crate) unsafe extern "win64" fn KeExpandKernelStackAndCallout(
    callout: Callout,
    parameter: usize,
    _bytes: usize,
) -> NtStatus {
    irql::at_most(irql::DISPATCH, "KeExpandKernelStackAndCallout");
    // SAFETY: as the driver asked for.
    unsafe { callout(parameter) };
    NtStatus::STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn KeExpandKernelStackAndCalloutEx(
    callout: Callout,
    parameter: usize,
    bytes: usize,
    _wait: u8,
    _context: Block,
) -> NtStatus {
    // SAFETY: the same contract.
    unsafe { KeExpandKernelStackAndCallout(callout, parameter, bytes) }
}

pub(crate) unsafe extern "win64" fn KeInvalidateAllCaches() -> u8 {
    1
}

/// Memory is coherent: there is nothing to flush.
pub(crate) unsafe extern "win64" fn KeFlushIoBuffers(_mdl: Block, _read: u8, _dma: u8) {}

pub(crate) unsafe extern "win64" fn KeFlushWriteBuffer() {
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
}

/// Exceptions cannot be caught here, so to raise one is to stop.
fn raise(status: NtStatus, routine: &'static str) -> ! {
    let parameters = [u64::from(status.0), 0, 0, 0];
    report::bug_check(BugCheck::KMODE_EXCEPTION_NOT_HANDLED, parameters, routine, format!("{status} is raised"));
}

pub(crate) unsafe extern "win64" fn ExRaiseStatus(status: NtStatus) {
    raise(status, "ExRaiseStatus")
}

pub(crate) unsafe extern "win64" fn ExRaiseAccessViolation() {
    raise(NtStatus::STATUS_ACCESS_VIOLATION, "ExRaiseAccessViolation")
}

pub(crate) unsafe extern "win64" fn ExRaiseDatatypeMisalignment() {
    raise(NtStatus::STATUS_DATATYPE_MISALIGNMENT, "ExRaiseDatatypeMisalignment")
}

/// Nobody is asked: the answer is that the caller goes on.
pub(crate) unsafe extern "win64" fn ExRaiseHardError(
    _status: NtStatus,
    _count: u32,
    _mask: u32,
    _parameters: Block,
    _options: u32,
    response: Block,
) -> NtStatus {
    response.put(0, 0u32);
    NtStatus::STATUS_SUCCESS
}

/// Whether this edition of Windows is of a suite: it is a workstation, of none.
pub(crate) unsafe extern "win64" fn ExVerifySuite(_suite: u32) -> u8 {
    0
}
