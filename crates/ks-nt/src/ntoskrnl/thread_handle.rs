//! Handles of threads: what `PsCreateSystemThread` gives, until it is closed.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::block::Block;
use super::thread;

/// Where handles of threads begin, as handles of the kernel's own do.
const FIRST: u64 = 0xFFFF_FFFF_8000_0000;

#[derive(Default)]
struct Handles {
    threads: BTreeMap<u64, Block>,
    opened: u64,
}

static HANDLES: Mutex<Handles> = Mutex::new(Handles { threads: BTreeMap::new(), opened: 0 });

fn handles() -> MutexGuard<'static, Handles> {
    HANDLES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a handle, which owns the caller's reference to the thread.
pub(super) fn open(thread: Block) -> u64 {
    let mut handles = handles();
    handles.opened += 1;
    let handle = FIRST + handles.opened * 4;
    handles.threads.insert(handle, thread);
    handle
}

/// The thread of a handle, with a reference for the caller.
pub(crate) fn reference(handle: u64) -> Option<Block> {
    let thread = handles().threads.get(&handle).copied()?;
    thread::reference(thread).then_some(thread)
}

/// Closes a handle; false if it is none of a thread.
pub(crate) fn close(handle: u64) -> bool {
    let closed = handles().threads.remove(&handle);
    closed.is_some_and(thread::dereference)
}
