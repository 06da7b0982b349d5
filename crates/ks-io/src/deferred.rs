//! Deferral without a thread hop: deliveries that a thread made inside the engine wait on that thread's own list.
//!
//! A delivery is a client's notification, the next hop of a frame, or the close of an object whose last reference went
//! away. Made while the thread is inside the engine, it runs when the outermost engine call unwinds, with no lock held,
//! and also before the thread waits, as far as it holds no ranked mutex. Made outside, it runs at once.

use crate::dispatch::Dispatch;
use crate::file_object::FileObject;
use crate::irp::Body;
use crate::request::PendingRequest;
use crate::scheduler::Core;
use crate::sync::{Arc, thread_local};
use crate::work::{Work, WorkQueue};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

pub(crate) enum Delivery {
    Client(Arc<PendingRequest>, Box<Body>),
    Work(Arc<dyn Work>),
    Close { object: Arc<dyn Dispatch>, parent: Option<Arc<FileObject>> },
}

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// How many deliveries are on the list: most calls find none and look no further.
    static WAITING: Cell<usize> = const { Cell::new(0) };
    static LIST: RefCell<VecDeque<Delivery>> = const { RefCell::new(VecDeque::new()) };
    static BEFORE_WAIT: Cell<Option<Arc<dyn Work>>> = const { Cell::new(None) };
}

/// Marks that the thread is inside the engine; the outermost one drains the list when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Inside(());

/// Enters the engine on this thread.
#[inline]
pub fn enter() -> Inside {
    DEPTH.with(|depth| depth.set(depth.get() + 1));
    Inside(())
}

impl Drop for Inside {
    #[inline]
    fn drop(&mut self) {
        // Deliveries made while draining join the list, because the depth is still 1.
        if DEPTH.with(Cell::get) == 1 {
            drain();
        }
        DEPTH.with(|depth| depth.set(depth.get() - 1));
    }
}

/// Runs `work` when the thread leaves the engine, or now if it is outside.
pub fn run_later(work: Arc<dyn Work>) {
    push(Delivery::Work(work));
}

pub(crate) fn push(delivery: Delivery) {
    let inside = DEPTH.try_with(Cell::get).unwrap_or(0) > 0;
    if inside {
        LIST.with(|list| list.borrow_mut().push_back(delivery));
        WAITING.with(|waiting| waiting.set(waiting.get() + 1));
    } else {
        deliver(delivery);
    }
}

/// Empties the list; called by every wait, contended mutex and synchronous request of this thread, also by those that
/// wait outside of the services (a hosted driver's).
///
/// A thread that holds a ranked mutex must not run what may take another: clients hear of their requests, and the rest
/// stays until the mutex is released and the thread waits again or leaves the engine.
pub fn drain_before_wait() {
    if crate::lock::holds_ranked() {
        sort_out(None)
    } else {
        drain()
    }
    run_before_wait();
}

/// As [`drain_before_wait`], where a worker can be asked: work that must not run here runs there, because somebody may
/// wait for it.
pub(crate) fn before_wait(core: &Arc<Core>) {
    if WAITING.with(Cell::get) > 0 {
        if crate::lock::holds_ranked() { sort_out(Some(core)) } else { deliver_all() }
    }
    run_before_wait();
}

/// Has `work` run once, when this thread is about to wait: it may hand over to another thread what must not stand still
/// meanwhile. `None` takes it back.
pub fn set_before_wait(work: Option<Arc<dyn Work>>) {
    let _ = BEFORE_WAIT.try_with(|waiting| waiting.set(work));
}

fn run_before_wait() {
    if let Some(work) = BEFORE_WAIT.try_with(Cell::take).ok().flatten() {
        work.run();
    }
}

/// Takes from the list what the thread may or need not run itself while it holds a ranked mutex.
#[cold]
fn sort_out(core: Option<&Arc<Core>>) {
    let list = LIST.with(RefCell::take);
    let mut kept = VecDeque::new();
    for delivery in list {
        match (delivery, core) {
            (Delivery::Client(pending, body), _) => pending.finish(body),
            (Delivery::Work(work), Some(core)) => core.queue_work(WorkQueue::Delayed, work),
            (other, _) => kept.push_back(other),
        }
    }
    LIST.with(|list| {
        let mut list = list.borrow_mut();
        // What a client's waker added comes after what was there.
        kept.append(&mut list);
        *list = kept;
        WAITING.with(|waiting| waiting.set(list.len()));
    });
}

#[inline]
fn drain() {
    if WAITING.with(Cell::get) > 0 {
        deliver_all();
    }
}

#[inline(never)]
fn deliver_all() {
    while let Some(delivery) = LIST.with(|list| list.borrow_mut().pop_front()) {
        WAITING.with(|waiting| waiting.set(waiting.get() - 1));
        deliver(delivery);
    }
}

fn deliver(delivery: Delivery) {
    match delivery {
        Delivery::Client(pending, body) => pending.finish(body),
        Delivery::Work(work) => work.run(),
        Delivery::Close { object, parent } => {
            object.close();
            // The parent may be closed only after its child: drop it now, not before.
            drop(parent);
        }
    }
}
