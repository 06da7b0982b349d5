//! Work items: a driver's routines that worker threads call at PASSIVE_LEVEL.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::block::Block;
use super::scheduler::{self, Changed, Rest};
use super::{clock, irql, pool, thread};
use crate::exports;
use crate::exports::Export;
use crate::report::{self, BugCheck, Call};

pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    ExQueueWorkItem, IoAllocateWorkItem, IoQueueWorkItem, IoQueueWorkItemEx, IoTryQueueWorkItem, IoFreeWorkItem,
    IoInitializeWorkItem, IoUninitializeWorkItem, IoSizeofWorkItem,
);

/// A WORK_QUEUE_ITEM: a list entry whose first link is null while the item is in no queue, the routine, its parameter.
const LINK: usize = 0;
const ROUTINE: usize = 16;
const PARAMETER: usize = 24;

/// An IO_WORKITEM, which no driver looks into: a WORK_QUEUE_ITEM, the driver's routine, the object, the context, and
/// the form of the routine.
const IO_ROUTINE: usize = 32;
const IO_OBJECT: usize = 40;
const IO_CONTEXT: usize = 48;
const IO_FORM: usize = 56;
const IO_BYTES: usize = 64;
const TAG: u32 = u32::from_le_bytes(*b"IoWi");

/// Forms of a routine: (device, context), and (object, context, item).
const PLAIN: u64 = 0;
const EXTENDED: u64 = 1;

/// Which worker takes an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Queue {
    /// One after the other, undisturbed by delayed work.
    Critical,
    /// As many at a time as the items need: one may wait for another.
    Delayed,
}

/// Threads for delayed work at most. An item that blocks keeps its thread.
const DELAYED_WORKERS: usize = 16;

struct Workers {
    queue: VecDeque<Block>,
    idle: usize,
    threads: usize,
    /// Items whose routines run.
    running: usize,
}

struct Pool {
    workers: Mutex<Workers>,
    work: Changed,
    /// No item is queued or runs.
    done: Changed,
    most: usize,
    name: &'static str,
}

impl Pool {
    const fn new(most: usize, name: &'static str) -> Self {
        Self {
            workers: Mutex::new(Workers { queue: VecDeque::new(), idle: 0, threads: 0, running: 0 }),
            work: Changed::new(),
            done: Changed::new(),
            most,
            name,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Workers> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

static CRITICAL: Pool = Pool::new(1, "nt-critical");
static DELAYED: Pool = Pool::new(DELAYED_WORKERS, "nt-delayed");

impl Queue {
    /// The queue that a WORK_QUEUE_TYPE, or a priority as CustomPriorityWorkQueue, asks for.
    fn of(queue_type: u32) -> Self {
        match queue_type {
            0 | 2 | 5 | 6 => Self::Critical,
            _ => Self::Delayed,
        }
    }

    fn pool(self) -> &'static Pool {
        match self {
            Self::Critical => &CRITICAL,
            Self::Delayed => &DELAYED,
        }
    }
}

/// Queues an item; false if it is queued already.
fn queue(item: Block, queue: Queue) -> bool {
    let pool = queue.pool();
    let mut workers = pool.lock();
    if item.get::<usize>(LINK) != 0 && workers.queue.contains(&item) {
        return false;
    }
    item.put_block(LINK, item);
    workers.queue.push_back(item);
    if workers.idle >= workers.queue.len() || workers.threads == pool.most {
        pool.work.notify_one();
        return true;
    }
    workers.threads += 1;
    if scheduler::spawn_own(pool.name, move || run(pool)).is_err() {
        workers.threads -= 1;
        if workers.threads == 0 {
            drop(workers);
            report::misuse(BugCheck::WORKER_INVALID, "ExQueueWorkItem", "the machine refuses a worker thread");
        }
    }
    true
}

/// Gives the items that are queued or run so many 100-ns units to end; how many have not.
pub(crate) fn left_after(most: i64) -> usize {
    let end = clock::interrupt_time().saturating_add(most);
    let left = |queue: &Queue| {
        let pool = queue.pool();
        let mut workers = pool.lock();
        while workers.queue.len() + workers.running > 0 && clock::interrupt_time() < end {
            let rest;
            (workers, rest) = pool.done.rest(&pool.workers, workers, Some(end));
            if rest == Rest::InVain {
                break;
            }
        }
        workers.queue.len() + workers.running
    };
    [Queue::Critical, Queue::Delayed].iter().map(left).sum()
}

fn run(pool: &'static Pool) {
    thread::prepare();
    let mut workers = pool.lock();
    loop {
        let Some(item) = workers.queue.pop_front() else {
            if scheduler::is_ending() {
                workers.threads -= 1;
                return;
            }
            workers.idle += 1;
            let rest;
            (workers, rest) = pool.work.rest(&pool.workers, workers, None);
            workers.idle -= 1;
            if rest == Rest::InVain && workers.queue.is_empty() {
                workers.threads -= 1;
                return;
            }
            continue;
        };
        item.put(LINK, 0usize);
        workers.running += 1;
        let (routine, parameter) = (item.get::<usize>(ROUTINE), item.get::<usize>(PARAMETER));
        drop(workers);
        call(routine, parameter);
        workers = pool.lock();
        workers.running -= 1;
        if workers.running == 0 && workers.queue.is_empty() {
            pool.done.notify_all();
        }
    }
}

fn call(routine: usize, parameter: usize) {
    if routine == 0 {
        report::misuse(BugCheck::WORKER_INVALID, "ExQueueWorkItem", "the work item has no routine");
        return;
    }
    // SAFETY: the driver gave this address as a WORKER_THREAD_ROUTINE.
    let routine: unsafe extern "win64" fn(usize) = unsafe { std::mem::transmute(routine) };
    let _call = Call::of_work_item();
    // SAFETY: with the parameter that the driver gave; the item may be gone by now and is not touched.
    unsafe { routine(parameter) };
    let level = irql::set(irql::PASSIVE);
    let (critical, guarded) = irql::regions();
    if level != irql::PASSIVE || critical + guarded != 0 {
        report::misuse(
            BugCheck::IRQL_UNEXPECTED_VALUE,
            "ExQueueWorkItem",
            format!("a work item's routine returned at level {level}, in {} regions", critical + guarded),
        );
        irql::leave_all_regions();
    }
}

pub(crate) unsafe extern "win64" fn ExQueueWorkItem(item: Block, queue_type: u32) {
    irql::at_most(irql::DISPATCH, "ExQueueWorkItem");
    if !queue(item, Queue::of(queue_type)) {
        already_queued(item, "ExQueueWorkItem");
    }
}

#[cold]
fn already_queued(item: Block, routine: &'static str) {
    report::misuse(
        BugCheck::WORKER_INVALID,
        routine,
        format!("the work item at {:#x} is queued already", item.address()),
    );
}

pub(crate) unsafe extern "win64" fn IoSizeofWorkItem() -> u32 {
    IO_BYTES as u32
}

pub(crate) unsafe extern "win64" fn IoAllocateWorkItem(device: Block) -> Block {
    irql::at_most(irql::DISPATCH, "IoAllocateWorkItem");
    let item = pool::allocate(IO_BYTES, TAG, pool::Contents::Zeros);
    if !item.is_null() {
        item.put_block(IO_OBJECT, device);
    }
    item
}

pub(crate) unsafe extern "win64" fn IoInitializeWorkItem(object: Block, item: Block) {
    item.clear(IO_BYTES);
    item.put_block(IO_OBJECT, object);
}

fn must_be_idle(item: Block, routine: &'static str) {
    let queued = [Queue::Critical, Queue::Delayed].iter().any(|queue| queue.pool().lock().queue.contains(&item));
    if queued {
        report::misuse(
            BugCheck::WORKER_INVALID,
            routine,
            format!("the work item at {:#x} is queued, and is given up", item.address()),
        );
        for queue in [Queue::Critical, Queue::Delayed] {
            queue.pool().lock().queue.retain(|other| *other != item);
        }
    }
}

pub(crate) unsafe extern "win64" fn IoUninitializeWorkItem(item: Block) {
    must_be_idle(item, "IoUninitializeWorkItem");
}

pub(crate) unsafe extern "win64" fn IoFreeWorkItem(item: Block) {
    must_be_idle(item, "IoFreeWorkItem");
    pool::free(item, TAG, "IoFreeWorkItem");
}

unsafe extern "win64" fn call_io_routine(item: usize) {
    // SAFETY: the address of the item itself, which lives until its routine gives it up.
    let item = unsafe { Block::at(item as *mut u8) };
    let (routine, object, context) = (item.get::<usize>(IO_ROUTINE), item.get_block(IO_OBJECT), item.get(IO_CONTEXT));
    if item.get::<u64>(IO_FORM) == EXTENDED {
        // SAFETY: the driver gave this address as an IO_WORKITEM_ROUTINE_EX.
        let routine: unsafe extern "win64" fn(Block, usize, Block) = unsafe { std::mem::transmute(routine) };
        // SAFETY: with what the driver gave.
        unsafe { routine(object, context, item) };
    } else {
        // SAFETY: the driver gave this address as an IO_WORKITEM_ROUTINE.
        let routine: unsafe extern "win64" fn(Block, usize) = unsafe { std::mem::transmute(routine) };
        // SAFETY: with what the driver gave.
        unsafe { routine(object, context) };
    }
}

fn queue_io(item: Block, routine: usize, queue_type: u32, context: usize, form: u64) -> bool {
    irql::at_most(irql::DISPATCH, "IoQueueWorkItem");
    if item.get::<usize>(LINK) != 0 {
        return false;
    }
    item.put(IO_ROUTINE, routine);
    item.put(IO_CONTEXT, context);
    item.put(IO_FORM, form);
    item.put(ROUTINE, call_io_routine as *const () as usize);
    item.put_block(PARAMETER, item);
    queue(item, Queue::of(queue_type))
}

pub(crate) unsafe extern "win64" fn IoQueueWorkItem(item: Block, routine: usize, queue_type: u32, context: usize) {
    if !queue_io(item, routine, queue_type, context, PLAIN) {
        already_queued(item, "IoQueueWorkItem");
    }
}

pub(crate) unsafe extern "win64" fn IoQueueWorkItemEx(item: Block, routine: usize, queue_type: u32, context: usize) {
    if !queue_io(item, routine, queue_type, context, EXTENDED) {
        already_queued(item, "IoQueueWorkItemEx");
    }
}

/// As `IoQueueWorkItemEx`, but an item that is queued already is no mistake.
pub(crate) unsafe extern "win64" fn IoTryQueueWorkItem(
    item: Block,
    routine: usize,
    queue_type: u32,
    context: usize,
) -> u8 {
    u8::from(queue_io(item, routine, queue_type, context, EXTENDED))
}
