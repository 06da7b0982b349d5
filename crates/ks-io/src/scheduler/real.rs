//! The machine's clock and threads: a small pool that all graphs share, started as it is needed.

use std::collections::VecDeque;
use std::sync::OnceLock;
use std::time::Instant;

use super::{Core, ParkOutcome, spawn_os_thread};
use crate::sync::thread::{self, JoinHandle, ThreadId};
use crate::sync::{Arc, Condvar, Mutex};
use crate::time::{Ticks, Time};
use crate::timer::{TimerId, TimerQueue, WasSet};
use crate::work::{Dpc, Work, WorkQueue};

/// More delayed workers than this only contend with each other.
const MOST_DELAYED_WORKERS: usize = 4;

/// Whether threads still take what comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    Stopping,
}

pub(super) struct Real {
    queues: [Queue; 3],
    timers: Timers,
}

/// One work queue. Its lock is innermost: nothing is called under it.
struct Queue {
    state: Mutex<QueueState>,
    arrived: Condvar,
    most_workers: usize,
}

struct QueueState {
    items: VecDeque<Arc<dyn Work>>,
    workers: Vec<JoinHandle<()>>,
    /// Workers that sleep and were not told to wake.
    idle: usize,
    /// Workers that were told to wake and have not yet. A worker that is awake looks for more before it sleeps, so one
    /// wake serves a burst of items.
    waking: usize,
    phase: Phase,
}

/// The timers. Their lock is innermost: nothing is called under it.
struct Timers {
    state: Mutex<TimersState>,
    changed: Condvar,
}

struct TimersState {
    queue: TimerQueue,
    thread: Option<JoinHandle<()>>,
    phase: Phase,
}

impl Real {
    pub(super) fn new() -> Self {
        let delayed = thread_count().min(MOST_DELAYED_WORKERS);
        Self {
            queues: [Queue::new(delayed), Queue::new(1), Queue::new(1)],
            timers: Timers {
                state: Mutex::new(TimersState { queue: TimerQueue::default(), thread: None, phase: Phase::Running }),
                changed: Condvar::new(),
            },
        }
    }

    /// All real services of a process share one clock, so that instants may cross between them.
    #[inline]
    pub(super) fn now(&self) -> Time {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        Time::ORIGIN + Ticks::from_std(ORIGIN.get_or_init(Instant::now).elapsed())
    }

    pub(super) fn park(&self, deadline: Option<Time>) -> ParkOutcome {
        let Some(deadline) = deadline.filter(|deadline| *deadline != Time::NEVER) else {
            thread::park();
            return ParkOutcome::Woken;
        };
        let left = deadline - self.now();
        if left <= Ticks::ZERO {
            return ParkOutcome::TimedOut;
        }
        thread::park_timeout(left.to_std());
        ParkOutcome::Woken
    }

    pub(super) fn queue_work(
        &self,
        core: &Arc<Core>,
        queue: WorkQueue,
        work: Arc<dyn Work>,
    ) -> Result<(), Arc<dyn Work>> {
        self.queues[queue.index()].push(core, queue, work)
    }

    pub(super) fn has_queued_work(&self, queue: WorkQueue) -> bool {
        !self.queues[queue.index()].state.lock().items.is_empty()
    }

    pub(super) fn timer_insert(&self, core: &Arc<Core>, dpc: Arc<dyn Dpc>) -> TimerId {
        let mut state = self.timers.state.lock();
        if state.thread.is_none() && state.phase == Phase::Running {
            let for_thread = Arc::clone(core);
            // Where the machine refuses a thread, the next timer asks again.
            state.thread = spawn_os_thread("ks-dpc", move || {
                if let super::Scheduler::Real(scheduler) = &for_thread.scheduler {
                    scheduler.timers.run(&for_thread);
                }
            })
            .ok();
        }
        state.queue.insert(dpc)
    }

    pub(super) fn timer_set(&self, id: TimerId, due: Time, period: Option<Ticks>) -> WasSet {
        let mut state = self.timers.state.lock();
        if state.phase == Phase::Stopping {
            return WasSet::No;
        }
        let first = state.queue.next_due();
        let was = state.queue.set(id, due, period);
        let earlier = first.is_none_or(|first| due < first);
        drop(state);
        if earlier {
            self.timers.changed.notify_one();
        }
        was
    }

    pub(super) fn timer_cancel(&self, id: TimerId) -> WasSet {
        // The thread may wake once for nothing.
        self.timers.state.lock().queue.cancel(id)
    }

    pub(super) fn timer_remove(&self, id: TimerId) -> Option<Arc<dyn Dpc>> {
        self.timers.state.lock().queue.remove(id)
    }

    pub(super) fn shut_down(&self) {
        let mut threads = Vec::new();
        {
            let mut state = self.timers.state.lock();
            state.phase = Phase::Stopping;
            state.queue.cancel_all();
            threads.extend(state.thread.take());
        }
        self.timers.changed.notify_all();
        for queue in &self.queues {
            let mut state = queue.state.lock();
            state.phase = Phase::Stopping;
            threads.append(&mut state.workers);
            drop(state);
            queue.arrived.notify_all();
        }
        let me: ThreadId = thread::current().id();
        if threads.iter().any(|thread| thread.thread().id() == me) || std::thread::panicking() {
            return;
        }
        for thread in threads {
            // Panics of work are caught and counted; a worker itself has none.
            let _ = thread.join();
        }
    }
}

impl Queue {
    fn new(most_workers: usize) -> Self {
        Self {
            state: Mutex::new(QueueState {
                items: VecDeque::new(),
                workers: Vec::new(),
                idle: 0,
                waking: 0,
                phase: Phase::Running,
            }),
            arrived: Condvar::new(),
            most_workers,
        }
    }

    fn push(&self, core: &Arc<Core>, which: WorkQueue, work: Arc<dyn Work>) -> Result<(), Arc<dyn Work>> {
        let mut state = self.state.lock();
        if state.phase == Phase::Stopping {
            return Err(work);
        }
        state.items.push_back(work);
        let wake = state.idle > 0 && state.items.len() > state.waking;
        if wake {
            state.idle -= 1;
            state.waking += 1;
        } else if state.idle == 0 && state.items.len() > state.waking && state.workers.len() < self.most_workers {
            let for_thread = Arc::clone(core);
            let started = spawn_os_thread(which.thread_name(), move || {
                if let super::Scheduler::Real(scheduler) = &for_thread.scheduler {
                    scheduler.queues[which.index()].work(&for_thread);
                }
            });
            // Where the machine refuses a thread, those that run do the work, and the next item asks again.
            state.workers.extend(started.ok());
        }
        drop(state);
        if wake {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// A worker's life: it ends when the queue is stopping and empty.
    fn work(&self, core: &Core) {
        let mut state = self.state.lock();
        loop {
            if let Some(work) = state.items.pop_front() {
                drop(state);
                core.run_work(work);
                state = self.state.lock();
            } else if state.phase == Phase::Stopping {
                return;
            } else {
                state.idle += 1;
                while state.waking == 0 && state.phase == Phase::Running {
                    state = self.arrived.wait(state);
                }
                // Whoever wakes first takes the wake; who sleeps on stays counted as idle.
                match state.waking.checked_sub(1) {
                    Some(rest) => state.waking = rest,
                    None => state.idle -= 1,
                }
            }
        }
    }
}

impl Timers {
    /// The DPC thread's life.
    fn run(&self, core: &Arc<Core>) {
        let mut state = self.state.lock();
        while state.phase == Phase::Running {
            let now = core.now();
            if let Some(dpc) = state.queue.pop_due(now) {
                drop(state);
                core.run_dpc(dpc, now);
                state = self.state.lock();
                continue;
            }
            state = match state.queue.next_due().filter(|due| *due != Time::NEVER) {
                Some(due) => self.changed.wait_timeout(state, (due - now).to_std()),
                None => self.changed.wait(state),
            };
        }
    }
}

#[cfg(not(shuttle))]
fn thread_count() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// A model has its own idea of parallelism; two workers show every race that four do.
#[cfg(shuttle)]
fn thread_count() -> usize {
    2
}
