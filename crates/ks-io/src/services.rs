//! The injected services: the clock, work queues, timers, threads, and everything that can be waited on.

use std::any::Any;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::lock::{LockRank, RankedMutex};
use crate::scheduler::{self, Core, ParkOutcome};
use crate::sync::thread;
use crate::sync::{Arc, Mutex};
use crate::time::{Time, TimeSource};
use crate::timer::{Expiry, Timer};
use crate::wait::{
    Event, EventKind, EventObserver, Signal, WaitOutcome, before_blocking, current_node, park_until_granted,
};
use crate::work::{Dpc, Work, WorkQueue};

/// The clock, the work queues and the waits of one engine; a clone is the same services.
///
/// Whoever builds an engine decides once whether it lives in the time of the machine ([`Services::real`]) or in a
/// virtual one ([`Services::virtual_time`]); nothing else in the engine knows.
///
/// When the last clone is dropped, queued work is still done, timers stop, and the threads of the services end; the
/// drop waits for that, unless it happens on one of those threads. Events, mutexes and timers may outlive the services:
/// they work on, but no timer expires any more.
#[derive(Clone)]
pub struct Services {
    shared: Arc<Shared>,
}

struct Shared {
    core: Arc<Core>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.core.shut_down();
    }
}

impl Services {
    /// Services on the machine's clock.
    ///
    /// No thread runs before it is needed; then there are at most four for delayed work (fewer on a smaller machine),
    /// one each for critical and hypercritical work, and one for timers, whatever the number of graphs.
    pub fn real() -> Self {
        Self { shared: Arc::new(Shared { core: Core::real() }) }
    }

    /// Services on a clock that starts at [`Time::ORIGIN`] and jumps whenever every thread waits, with one thread
    /// running at a time in an order that `seed` decides.
    ///
    /// The calling thread takes part from now on. It and the threads that [`spawn`](Self::spawn) starts must block only
    /// through these services; a loop that asks for the time until it changes never ends. The same seed gives the same
    /// interleaving as long as only such threads are involved. Another thread takes part from its first wait.
    ///
    /// When a thread that takes part panics, the seed is told on the standard error output; `KS_SEED` in the environment
    /// is used in place of every seed, so that a failing test runs again in the order that it failed in.
    pub fn virtual_time(seed: u64) -> Self {
        Self { shared: Arc::new(Shared { core: Core::virtual_time(seed) }) }
    }

    fn core(&self) -> &Arc<Core> {
        &self.shared.core
    }

    /// The time now.
    #[doc(alias = "KeQueryPerformanceCounter")]
    #[inline]
    pub fn now(&self) -> Time {
        self.core().now()
    }

    /// Makes an event.
    #[doc(alias = "KeInitializeEvent")]
    pub fn event(&self, kind: EventKind, signal: Signal) -> Event {
        Event::new(Arc::clone(self.core()), kind, signal)
    }

    /// Makes an event that tells `observer` each time it is set.
    pub fn observed_event(&self, kind: EventKind, signal: Signal, observer: Box<dyn EventObserver>) -> Event {
        Event::observed(Arc::clone(self.core()), kind, signal, Some(observer))
    }

    /// Makes a mutex; `name` is what reports call it.
    #[doc(alias = "KeInitializeMutex")]
    pub fn mutex(&self, rank: LockRank, name: &'static str) -> RankedMutex {
        RankedMutex::new(Arc::clone(self.core()), rank, name)
    }

    /// Makes a timer that calls `dpc` at DISPATCH level; it is not set yet.
    #[doc(alias = "KeInitializeTimerEx")]
    pub fn timer(&self, dpc: Arc<dyn Dpc>) -> Timer {
        Timer::new(Arc::clone(self.core()), Expiry::Call(dpc))
    }

    /// Makes a timer that has a worker run `work`, as [`Services::queue_work`] does, without a procedure of its own: for what
    /// has nothing to do at DISPATCH level.
    pub fn work_timer(&self, queue: WorkQueue, work: Arc<dyn Work>) -> Timer {
        Timer::new(Arc::clone(self.core()), Expiry::Queue(queue, work))
    }

    /// Has a worker run `work`, once for each call. Legal at every level; allocates only while a queue grows longer
    /// than it ever was.
    ///
    /// After [`shutdown`](Self::shutdown) the item is dropped, and counted in [`work_lost`](Self::work_lost).
    #[doc(alias = "ExQueueWorkItem")]
    pub fn queue_work(&self, queue: WorkQueue, work: Arc<dyn Work>) {
        self.core().queue_work(queue, work);
    }

    /// Whether an item waits for a worker of this queue: a worker with much to do lets it go first.
    pub fn has_queued_work(&self, queue: WorkQueue) -> bool {
        self.core().has_queued_work(queue)
    }

    /// A worker of this queue will never come back from its item: another thread takes its place, and the end of the
    /// services does not wait for it. Nothing happens under virtual time, where every thread is the scheduler's.
    pub fn replace_worker(&self, queue: WorkQueue) {
        self.core().replace_worker(queue);
    }

    /// Starts a thread of its own, for a test or for a job that waits outside of the engine.
    ///
    /// # Errors
    /// The machine refused another thread.
    #[doc(alias = "PsCreateSystemThread")]
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &str,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<Spawned<T>> {
        let ended = Arc::new(self.event(EventKind::Notification, Signal::Clear));
        let result = Arc::new(Mutex::new(None));
        let (set_ended, put_result) = (Arc::clone(&ended), Arc::clone(&result));
        let thread = self.core().spawn(name, move || {
            let returned = catch_unwind(AssertUnwindSafe(body));
            *put_result.lock() = Some(returned);
            set_ended.set();
        })?;
        Ok(Spawned { ended, result, thread })
    }

    /// Blocks the calling thread until the clock shows `time`; the outcome is [`WaitOutcome::TimedOut`], unless `time` is
    /// [`Time::NEVER`] and virtual time finds a deadlock.
    #[doc(alias = "KeDelayExecutionThread")]
    pub fn delay_until(&self, time: Time) -> WaitOutcome {
        before_blocking(self.core(), "delaying a thread");
        let node = current_node(self.core());
        match park_until_granted(self.core(), &node, Some(time), "a time") {
            ParkOutcome::Deadlock => WaitOutcome::Deadlock,
            _ => WaitOutcome::TimedOut,
        }
    }

    /// Lets another thread run.
    pub fn yield_now(&self) {
        self.core().yield_now();
    }

    /// Does what dropping the last clone does, now. Later work is refused, later settings of timers have no effect.
    pub fn shutdown(&self) {
        self.core().shut_down();
    }

    /// How many items of work, and procedures of timers, panicked. The panic ended the item, not its thread.
    pub fn work_panics(&self) -> u64 {
        self.core().work_panics()
    }

    /// How many items of work came after the shutdown and were dropped.
    pub fn work_lost(&self) -> u64 {
        self.core().work_lost()
    }

    /// Virtual time: who waited for what when it was last found that no thread can ever run again, or that workers go round
    /// at one instant without end.
    pub fn deadlock_report(&self) -> Option<String> {
        self.core().deadlock_report()
    }
}

/// The calling thread takes no part any more in the virtual times in which it did: nobody waits for it, and it has no turn.
///
/// For a thread that can never go on and cannot end either. What it does afterwards no seed decides.
pub fn leave_virtual_time() {
    scheduler::leave();
}

impl TimeSource for Services {
    fn now(&self) -> Time {
        Services::now(self)
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").field("now", &self.now()).finish_non_exhaustive()
    }
}

/// What a thread left: its result, or its panic.
type Returned<T> = Result<T, Box<dyn Any + Send>>;

/// A thread that [`Services::spawn`] started; dropping this lets it run on alone.
#[must_use = "a thread that nobody joins may outlive the test"]
pub struct Spawned<T> {
    ended: Arc<Event>,
    result: Arc<Mutex<Option<Returned<T>>>>,
    thread: thread::JoinHandle<()>,
}

impl<T> Spawned<T> {
    /// Waits for the thread's end and returns its result.
    ///
    /// # Panics
    /// With the thread's own panic, if it panicked; under virtual time, naming the blocked threads, if it can never
    /// end.
    #[track_caller]
    pub fn join(self) -> T {
        let outcome = self.ended.wait();
        assert!(outcome == WaitOutcome::Signalled, "a thread that is waited for can never end");
        // It has done everything but leave: this takes no time that could be noticed.
        let _ = self.thread.join();
        match self.result.lock().take().expect("invariant: a thread leaves its result before it sets its event") {
            Ok(value) => value,
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Whether the thread has ended.
    pub fn is_ended(&self) -> bool {
        self.ended.is_set()
    }
}

impl<T> fmt::Debug for Spawned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawned").field("ended", &self.is_ended()).finish_non_exhaustive()
    }
}
