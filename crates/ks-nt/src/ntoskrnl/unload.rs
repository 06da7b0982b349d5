//! What a driver leaves behind when it is unloaded, besides memory: timers that are set and threads that run.

use super::{dispatcher, dpc, irql, thread, work_item};

pub use super::thread::{SystemThread, system_threads};

/// What would call into an image that is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeftBehind {
    /// Timers that were set. They are cancelled.
    pub timers: usize,
    /// System threads that have not ended; [`system_threads`] names them.
    pub threads: usize,
    /// Work items that wait for a worker, or whose routines run.
    pub work_items: usize,
}

/// How long, in 100-ns units, the work items of a driver that was unloaded may take to end: Windows waits for those that have a device.
const GRACE: i64 = 5_000_000;

/// Cancels every timer, waits until the DPCs in hand have run, and tells what there was.
///
/// Called by the host when the driver's unload routine returned, on a thread at PASSIVE_LEVEL.
pub fn left_behind() -> LeftBehind {
    let timers = {
        let mut dispatcher = dispatcher::lock();
        let timers = dispatcher.timers().blocks().count();
        dispatcher.give_up(0, usize::MAX);
        timers
    };
    if irql::current() < irql::DISPATCH {
        dpc::flush(dpc::Which::Ordinary, "unload");
        dpc::flush(dpc::Which::Threaded, "unload");
    }
    LeftBehind { timers, threads: thread::system_threads().len(), work_items: work_item::left_after(GRACE) }
}
