//! Workers: a driver's work items, one at a time, and a way to wait for the last of them.

use crate::exports;
use crate::exports::Export;
use crate::ks::address::{Address, Routine};
use crate::ks::kernel;
use crate::ks::misuse;
use crate::ks::objects::{self, Object};
use crate::ntoskrnl::scheduler::Changed;
use ks_abi::{NtStatus, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER, STATUS_SUCCESS};
use ks_mem::Block;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) const EXPORTS: &[Export] = exports!(Ks:
    KsRegisterWorker, KsRegisterCountedWorker, KsUnregisterWorker, KsQueueWorkItem, KsIncrementCountedWorker,
    KsDecrementCountedWorker,
);

/// Offsets of WORK_QUEUE_ITEM.
const ROUTINE: usize = 16;
const PARAMETER: usize = 24;
const ITEM_BYTES: usize = 32;
/// MaximumWorkQueue
const QUEUES: u32 = 3;

/// A worker. The block is the work item by which the kernel runs it.
pub(crate) struct Worker {
    block: Block,
    queue: u32,
    /// The item of a counted worker.
    counted: Address,
    count: AtomicU32,
    state: Mutex<State>,
    idle: Changed,
}

#[derive(Default)]
struct State {
    items: VecDeque<Address>,
    running: bool,
    closed: bool,
}

impl Worker {
    fn register(queue: u32, counted: Address, result: Address) -> NtStatus {
        if queue >= QUEUES {
            return STATUS_INVALID_PARAMETER;
        }
        let Ok(block) = Block::zeroed(ITEM_BYTES, 16) else { return STATUS_INSUFFICIENT_RESOURCES };
        block.store_u64(ROUTINE, run as *const () as u64);
        block.store_u64(PARAMETER, block.address());
        let state = Mutex::new(State::default());
        let worker = Arc::new(Worker { block, queue, counted, count: AtomicU32::new(0), state, idle: Changed::new() });
        let address = worker.block.address();
        objects::insert(address, Object::Worker(worker));
        result.put(0, address);
        STATUS_SUCCESS
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self, item: Address) {
        {
            let mut state = self.state();
            state.items.push_back(item);
            if state.running {
                return;
            }
            state.running = true;
        }
        kernel::queue_work_item(self.block.address(), self.queue);
    }
}

/// Runs the items of a worker, on a thread of the kernel's.
unsafe extern "win64" fn run(worker: Address) {
    let Some(Object::Worker(worker)) = objects::find(worker) else { return };
    loop {
        let item = {
            let mut state = worker.state();
            match state.items.pop_front() {
                Some(item) => item,
                None => {
                    state.running = false;
                    worker.idle.notify_all();
                    return;
                }
            }
        };
        // The item may be freed or queued again by its own routine.
        let parameter: u64 = item.get(PARAMETER);
        if let Some(routine) = Routine::optional(item.follow(ROUTINE), "a work item's routine") {
            routine.call1(parameter);
        }
    }
}

fn find(worker: Address, routine: &'static str) -> Option<Arc<Worker>> {
    match objects::find(worker) {
        Some(Object::Worker(worker)) => Some(worker),
        _ => {
            misuse::dead(routine, "KSWORKER", worker.0);
            None
        }
    }
}

// ks-coverage: KsRegisterWorker done test=workers_run_their_items_and_are_waited_for
pub(crate) unsafe extern "win64" fn KsRegisterWorker(queue: u32, result: Address) -> NtStatus {
    Worker::register(queue, Address::NULL, result)
}

// ks-coverage: KsRegisterCountedWorker done test=workers_run_their_items_and_are_waited_for
pub(crate) unsafe extern "win64" fn KsRegisterCountedWorker(queue: u32, item: Address, result: Address) -> NtStatus {
    Worker::register(queue, item, result)
}

/// Waits until the items that were queued have run.
// ks-coverage: KsUnregisterWorker done test=workers_run_their_items_and_are_waited_for
pub(crate) unsafe extern "win64" fn KsUnregisterWorker(worker: Address) {
    let Some(found) = find(worker, "KsUnregisterWorker") else { return };
    ks_io::deferred::drain_before_wait();
    let mut state = found.state();
    state.closed = true;
    while state.running {
        state = found.idle.wait(&found.state, state);
    }
    drop(state);
    drop(objects::remove(worker.0));
}

// ks-coverage: KsQueueWorkItem done test=workers_run_their_items_and_are_waited_for
pub(crate) unsafe extern "win64" fn KsQueueWorkItem(worker: Address, item: Address) -> NtStatus {
    match find(worker, "KsQueueWorkItem") {
        Some(worker) if !worker.state().closed => {
            worker.queue(item);
            STATUS_SUCCESS
        }
        _ => STATUS_INVALID_PARAMETER,
    }
}

// ks-coverage: KsIncrementCountedWorker done test=workers_run_their_items_and_are_waited_for
pub(crate) unsafe extern "win64" fn KsIncrementCountedWorker(worker: Address) -> u32 {
    let Some(worker) = find(worker, "KsIncrementCountedWorker") else { return 0 };
    let count = worker.count.fetch_add(1, Ordering::SeqCst) + 1;
    if count == 1 && !worker.counted.is_null() {
        worker.queue(worker.counted);
    }
    count
}

// ks-coverage: KsDecrementCountedWorker done test=workers_run_their_items_and_are_waited_for
pub(crate) unsafe extern "win64" fn KsDecrementCountedWorker(worker: Address) -> u32 {
    let Some(worker) = find(worker, "KsDecrementCountedWorker") else { return 0 };
    let before = worker.count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.checked_sub(1));
    before.map_or(0, |before| before - 1)
}
