//! What stands behind [`Services`](crate::Services): either the machine's clock and threads that run side by side, or a
//! clock and an order of threads that a seed decides.
//!
//! Everything that blocks in this crate blocks in [`Core::park`], so a scheduler sees every wait.

mod real;
mod replay;
mod threads;
mod virtual_time;

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::deferred;
use crate::level::Level;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::time::{Ticks, Time};
use crate::timer::{Expiry, TimerId, WasSet};
use crate::wait::WaitNode;
use crate::work::{Work, WorkQueue};

use real::Real;
use virtual_time::Virtual;
pub(crate) use virtual_time::leave;

/// What a panicking thread leaves.
pub(crate) type Panic = Box<dyn Any + Send + 'static>;

/// Why [`Core::park`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParkOutcome {
    /// Unparked, or for no reason: the caller looks whether it got what it waits for.
    Woken,
    /// The deadline passed.
    TimedOut,
    /// Virtual time only: nothing can ever run again.
    Deadlock,
}

/// One scheduler and what is counted about it. Events, mutexes and timers keep it alive; threads end when the last
/// `Services` is gone.
pub(crate) struct Core {
    scheduler: Scheduler,
    work_panics: AtomicU64,
    work_lost: AtomicU64,
}

enum Scheduler {
    Real(Real),
    Virtual(Virtual),
}

impl Core {
    pub(crate) fn real() -> Arc<Self> {
        Self::new(Scheduler::Real(Real::new()))
    }

    pub(crate) fn virtual_time(seed: u64) -> Arc<Self> {
        let core = Self::new(Scheduler::Virtual(Virtual::new(seed)));
        if let Scheduler::Virtual(scheduler) = &core.scheduler {
            scheduler.register_creator(&core);
        }
        core
    }

    fn new(scheduler: Scheduler) -> Arc<Self> {
        Arc::new(Self { scheduler, work_panics: AtomicU64::new(0), work_lost: AtomicU64::new(0) })
    }

    #[inline]
    pub(crate) fn now(&self) -> Time {
        match &self.scheduler {
            Scheduler::Real(scheduler) => scheduler.now(),
            Scheduler::Virtual(scheduler) => scheduler.now(),
        }
    }

    /// Makes the calling thread's node fit for [`park`](Self::park), before others can see it.
    pub(crate) fn prepare(self: &Arc<Self>, node: &WaitNode) {
        if let Scheduler::Virtual(scheduler) = &self.scheduler {
            node.slot.store(scheduler.current(self), Ordering::Relaxed);
        }
    }

    /// Blocks the calling thread, whose node it is, until `unpark` of the node (even an earlier one) or the deadline.
    /// `on` says what for.
    pub(crate) fn park(&self, node: &WaitNode, deadline: Option<Time>, on: &'static str) -> ParkOutcome {
        match &self.scheduler {
            Scheduler::Real(scheduler) => scheduler.park(deadline),
            Scheduler::Virtual(scheduler) => scheduler.park(node, deadline, on),
        }
    }

    pub(crate) fn unpark(&self, node: &WaitNode) {
        match &self.scheduler {
            Scheduler::Real(_) => node.thread.unpark(),
            Scheduler::Virtual(scheduler) => scheduler.unpark(node),
        }
    }

    /// A place where another thread might as well run. Only virtual time makes use of it, as its seed decides.
    #[inline]
    pub(crate) fn preempt(&self) {
        if let Scheduler::Virtual(scheduler) = &self.scheduler {
            scheduler.preempt();
        }
    }

    pub(crate) fn yield_now(self: &Arc<Self>) {
        match &self.scheduler {
            Scheduler::Real(_) => crate::sync::thread::yield_now(),
            Scheduler::Virtual(scheduler) => scheduler.yield_now(self),
        }
    }

    pub(crate) fn queue_work(self: &Arc<Self>, queue: WorkQueue, work: Arc<dyn Work>) {
        let refused = match &self.scheduler {
            Scheduler::Real(scheduler) => scheduler.queue_work(self, queue, work),
            Scheduler::Virtual(scheduler) => scheduler.queue_work(self, queue, work),
        };
        if refused.is_err() {
            self.work_lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn replace_worker(self: &Arc<Self>, queue: WorkQueue) {
        if let Scheduler::Real(scheduler) = &self.scheduler {
            scheduler.replace_worker(self, queue);
        }
    }

    pub(crate) fn has_queued_work(&self, queue: WorkQueue) -> bool {
        match &self.scheduler {
            Scheduler::Real(scheduler) => scheduler.has_queued_work(queue),
            Scheduler::Virtual(scheduler) => scheduler.has_queued_work(queue),
        }
    }

    pub(crate) fn timer_insert(self: &Arc<Self>) -> TimerId {
        match &self.scheduler {
            Scheduler::Real(scheduler) => scheduler.timer_insert(self),
            Scheduler::Virtual(scheduler) => scheduler.timer_insert(self),
        }
    }

    pub(crate) fn timer_set(&self, id: TimerId, expiry: &Expiry, due: Time, period: Option<Ticks>) -> WasSet {
        match &self.scheduler {
            Scheduler::Real(scheduler) => scheduler.timer_set(id, expiry, due, period),
            Scheduler::Virtual(scheduler) => scheduler.timer_set(id, expiry, due, period),
        }
    }

    /// When a timer expires that is due at `due` and may be so much later.
    pub(crate) fn coalesced(&self, due: Time, tolerance: Ticks) -> Time {
        match &self.scheduler {
            Scheduler::Real(_) => crate::timer::coalesced(due, tolerance),
            Scheduler::Virtual(_) => due,
        }
    }

    pub(crate) fn timer_cancel(&self, id: TimerId) -> WasSet {
        match &self.scheduler {
            Scheduler::Real(scheduler) => scheduler.timer_cancel(id),
            Scheduler::Virtual(scheduler) => scheduler.timer_cancel(id),
        }
    }

    pub(crate) fn timer_remove(&self, id: TimerId) {
        match &self.scheduler {
            Scheduler::Real(scheduler) => scheduler.timer_remove(id),
            Scheduler::Virtual(scheduler) => scheduler.timer_remove(id),
        }
    }

    /// Starts a thread that this scheduler knows.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        name: &str,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<crate::sync::thread::JoinHandle<()>> {
        match &self.scheduler {
            Scheduler::Real(_) => spawn_os_thread(name, body),
            Scheduler::Virtual(scheduler) => scheduler.spawn(self, name, body),
        }
    }

    /// Lets queued work finish and the threads end. Called on one of them it leaves them to end on their own.
    pub(crate) fn shut_down(self: &Arc<Self>) {
        match &self.scheduler {
            Scheduler::Real(scheduler) => scheduler.shut_down(),
            Scheduler::Virtual(scheduler) => scheduler.shut_down(self),
        }
    }

    pub(crate) fn deadlock_report(&self) -> Option<String> {
        match &self.scheduler {
            Scheduler::Real(_) => None,
            Scheduler::Virtual(scheduler) => scheduler.deadlock_report(),
        }
    }

    pub(crate) fn work_panics(&self) -> u64 {
        self.work_panics.load(Ordering::Relaxed)
    }

    pub(crate) fn work_lost(&self) -> u64 {
        self.work_lost.load(Ordering::Relaxed)
    }

    /// Runs one item on a worker. A panic ends the item, not the worker.
    fn run_work(&self, work: Arc<dyn Work>) {
        self.count_panic(catch_unwind(AssertUnwindSafe(|| work.run())));
    }

    /// Does what an expired timer does: at DISPATCH level, or on a worker.
    fn expire(self: &Arc<Self>, expiry: Expiry, now: Time) {
        let dpc = match expiry {
            Expiry::Call(dpc) => dpc,
            Expiry::Queue(queue, work) => return self.queue_work(queue, work),
        };
        {
            let _dispatch = Level::Dispatch.raise();
            self.count_panic(catch_unwind(AssertUnwindSafe(|| dpc.expired(now))));
        }
        // An object whose last reference went here is closed where that may wait.
        if let Some(rest) = deferred::take_rest() {
            self.queue_work(WorkQueue::Delayed, rest);
        }
    }

    fn count_panic(&self, result: Result<(), Panic>) {
        if result.is_err() {
            self.work_panics.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn spawn_os_thread(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<crate::sync::thread::JoinHandle<()>> {
    crate::sync::thread::Builder::new().name(name.to_owned()).spawn(body)
}
