//! What a driver prints for its debugger.

#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "each routine trusts its caller's addresses, as its documentation page says"
)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use ks_abi::status::{NtStatus, STATUS_SUCCESS};

use super::c_printf::variadic;
use super::code_page;
use super::driver_memory::byte_string;
use super::format::{Flavor, format};
use crate::exports;
use crate::exports::Export;

/// Exports of this file.
pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    DbgPrint, DbgPrintEx, DbgPrintReturnControlC, vDbgPrintEx, vDbgPrintExWithPrefix, DbgQueryDebugFilterState,
    DbgSetDebugFilterState,
);

/// Most characters of one call, as in Windows.
const MOST_LINE: usize = 512;
/// Texts that are kept for a report.
const KEPT: usize = 64;
/// `DPFLTR_DEFAULT_ID`, the component of `DbgPrint`.
const DEFAULT_COMPONENT: u32 = 101;
/// `DPFLTR_INFO_LEVEL`.
const INFO_LEVEL: u32 = 3;

/// One text that a driver printed.
#[doc(alias = "DbgPrintEx")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebugText {
    /// `DPFLTR_*_ID`.
    pub component: u32,
    /// `DPFLTR_*_LEVEL`, or a mask.
    pub level: u32,
    /// The text as printed; not always a whole line.
    pub text: String,
}

/// Takes the texts as they are printed, on the driver's thread and at its level.
type Sink = Arc<dyn Fn(&DebugText) + Send + Sync>;

#[derive(Default)]
struct State {
    sink: Option<Sink>,
    recent: VecDeque<DebugText>,
}

static STATE: Mutex<State> = Mutex::new(State { sink: None, recent: VecDeque::new() });

/// Gives every text that a driver prints from now on to `sink`.
pub fn set_sink(sink: impl Fn(&DebugText) + Send + Sync + 'static) {
    STATE.lock().unwrap_or_else(PoisonError::into_inner).sink = Some(Arc::new(sink));
}

/// The last texts, oldest first; at most 64.
pub fn recent() -> Vec<DebugText> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner).recent.iter().cloned().collect()
}

fn deliver(text: DebugText) {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    if state.recent.len() == KEPT {
        state.recent.pop_front();
    }
    state.recent.push_back(text.clone());
    let sink = state.sink.clone();
    drop(state);
    if let Some(sink) = sink {
        sink(&text);
    }
}

variadic! {
    DbgPrint(*const u8) "lea rdx, [rsp + 16]" => print;
    DbgPrintReturnControlC(*const u8) "lea rdx, [rsp + 16]" => print;
    DbgPrintEx(u32, u32, *const u8) "lea r9, [rsp + 32]" => vDbgPrintEx;
}

unsafe extern "win64" fn print(text: *const u8, arguments: *const u64) -> NtStatus {
    vDbgPrintExWithPrefix(c"".as_ptr().cast(), DEFAULT_COMPONENT, INFO_LEVEL, text, arguments)
}

pub(crate) unsafe extern "win64" fn vDbgPrintEx(
    component: u32,
    level: u32,
    text: *const u8,
    arguments: *const u64,
) -> NtStatus {
    vDbgPrintExWithPrefix(c"".as_ptr().cast(), component, level, text, arguments)
}

/// Decision: nothing is filtered by component and level here; whoever takes the texts may.
pub(crate) unsafe extern "win64" fn vDbgPrintExWithPrefix(
    prefix: *const u8,
    component: u32,
    level: u32,
    text: *const u8,
    arguments: *const u64,
) -> NtStatus {
    let widen = |bytes: Vec<u8>| bytes.into_iter().map(code_page::to_unicode).collect::<Vec<u16>>();
    let mut units = widen(byte_string(prefix));
    units.extend(format(&widen(byte_string(text)), Flavor::Narrow, arguments, MOST_LINE).units);
    units.truncate(MOST_LINE);
    deliver(DebugText { component, level, text: String::from_utf16_lossy(&units) });
    STATUS_SUCCESS
}

/// Everything is on.
pub(crate) unsafe extern "win64" fn DbgQueryDebugFilterState(_component: u32, _level: u32) -> u32 {
    1
}

pub(crate) unsafe extern "win64" fn DbgSetDebugFilterState(_component: u32, _level: u32, _state: u8) -> NtStatus {
    STATUS_SUCCESS
}

/// A text of the kernel itself among those of the driver.
pub(super) fn print_line(text: String) {
    deliver(DebugText { component: DEFAULT_COMPONENT, level: 0, text });
}
