//! The machine's clock and threads: a small pool that all graphs share, started as it is needed.

use std::cell::Cell;
use std::collections::VecDeque;

use rustix::time::{ClockId, clock_gettime};

use super::{Core, ParkOutcome, spawn_os_thread};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::thread::{self, JoinHandle, ThreadId};
use crate::sync::{Arc, Condvar, Mutex, thread_local};
use crate::time::{Ticks, Time};
use crate::timer::{Expiry, TimerId, TimerQueue, WasSet};
use crate::work::{Work, WorkQueue};

/// More delayed workers than this only contend with each other.
const MOST_DELAYED_WORKERS: usize = 4;

/// How often a worker looks for work before it sleeps, where that pays: for about as long as a wake takes. A model sees
/// every order without it.
const LOOKS: u32 = if cfg!(shuttle) { 0 } else { 300 };

/// A sleep that ended so soon would better have been waited out.
const SHORT_SLEEP: Ticks = Ticks(500);

/// So many short sleeps in a row, and workers look for work before they sleep; looking once in vain ends it.
const SHORT_SLEEPS: u32 = 4;

/// So many procedures of timers, or so long a time, and the workers that they need are woken in between.
const MOST_HELD: u32 = 256;
const LONGEST_HELD: Ticks = Ticks::MILLISECOND;

/// So many timers go by one look at the clock.
const DUE_TOGETHER: u32 = 16;

/// So many items that timers queued at once are for one worker, which has the next one's memory fetched while it runs one;
/// two workers would contend for the lot. Others join after this time, if there is anything left.
const BURST_ITEMS: usize = 16;
const ALONE: Ticks = Ticks::MILLISECOND;

/// How many workers are woken for what waits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wake {
    /// For a burst one is enough.
    One,
    /// As many as there is work for.
    All,
}

thread_local! {
    /// This thread runs the procedures of timers one after the other, and wakes workers when it is through: they would
    /// only contend with it before.
    static HOLDS_WAKES: Cell<bool> = const { Cell::new(false) };
}

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
    /// How many items wait. Written under the lock, read without it by those who only look.
    waiting: AtomicUsize,
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
    /// Workers that look for work and do not sleep yet; they need no wake.
    looking: usize,
    /// Sleeps in a row that ended soon after they began.
    short_sleeps: u32,
    /// When a worker went to sleep last.
    asleep_since: Time,
    /// Workers that will not come back from their items.
    lost: u16,
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

    /// All real services of a machine share one clock, so that instants may cross between them, and between processes.
    #[inline]
    pub(super) fn now(&self) -> Time {
        let machine = clock_gettime(ClockId::Monotonic);
        Time(machine.tv_sec * Ticks::SECOND.0 + machine.tv_nsec / 100)
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

    pub(super) fn replace_worker(&self, core: &Arc<Core>, queue: WorkQueue) {
        let mut state = self.queues[queue.index()].state.lock();
        if state.phase == Phase::Running {
            state.lost = state.lost.saturating_add(1);
            state.workers.extend(start_worker(core, queue));
        }
    }

    pub(super) fn has_queued_work(&self, queue: WorkQueue) -> bool {
        self.queues[queue.index()].has_items()
    }

    pub(super) fn timer_insert(&self, core: &Arc<Core>) -> TimerId {
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
        state.queue.insert()
    }

    pub(super) fn timer_set(&self, id: TimerId, expiry: &Expiry, due: Time, period: Option<Ticks>) -> WasSet {
        let mut state = self.timers.state.lock();
        if state.phase == Phase::Stopping {
            return WasSet::No;
        }
        let first = state.queue.next_due();
        let was = state.queue.set(id, expiry, due, period);
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

    pub(super) fn timer_remove(&self, id: TimerId) {
        self.timers.state.lock().queue.remove(id);
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
            let workers = std::mem::take(&mut state.workers);
            if state.lost == 0 {
                threads.extend(workers);
            }
            // Of those of which one is lost nobody knows which: they end by themselves.
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
                looking: 0,
                short_sleeps: 0,
                asleep_since: Time::ORIGIN,
                lost: 0,
                phase: Phase::Running,
            }),
            arrived: Condvar::new(),
            waiting: AtomicUsize::new(0),
            most_workers,
        }
    }

    /// Adds an item, and sees to it that somebody takes it.
    fn push(&self, core: &Arc<Core>, which: WorkQueue, work: Arc<dyn Work>) -> Result<(), Arc<dyn Work>> {
        let mut state = self.state.lock();
        if state.phase == Phase::Stopping {
            return Err(work);
        }
        state.items.push_back(work);
        self.waiting.store(state.items.len(), Ordering::Release);
        let needed = state.needs_a_worker();
        let wake = needed && state.idle > 0 && !HOLDS_WAKES.with(Cell::get);
        if wake {
            state.wake_one(core.now());
        } else if needed && state.idle == 0 && state.workers.len() < self.most_workers + usize::from(state.lost) {
            // Where the machine refuses a thread, those that run do the work, and the next item asks again.
            state.workers.extend(start_worker(core, which));
        }
        drop(state);
        if wake {
            self.arrived.notify_one();
        }
        Ok(())
    }

    #[inline]
    fn has_items(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }

    /// Wakes workers for items that came while wakes were held. True when more could be woken for them later.
    fn wake_held(&self, core: &Core, how: Wake) -> bool {
        if !self.has_items() {
            return false;
        }
        let mut woken = 0;
        let mut state = self.state.lock();
        let one_is_enough = how == Wake::One && state.items.len() > BURST_ITEMS;
        while state.idle > 0 && state.needs_a_worker() && !(one_is_enough && state.is_anybody_awake()) {
            state.wake_one(core.now());
            woken += 1;
        }
        let more = one_is_enough && state.idle > 0;
        drop(state);
        (0..woken).for_each(|_| self.arrived.notify_one());
        more
    }

    /// Looks for work for about as long as a wake takes. True when there was some.
    fn look(&self) -> bool {
        (0..LOOKS).any(|_| {
            std::hint::spin_loop();
            self.has_items()
        })
    }

    /// A worker's life: it ends when the queue is stopping and empty.
    fn work(&self, core: &Core) {
        let mut state = self.state.lock();
        loop {
            if let Some(work) = state.items.pop_front() {
                self.waiting.store(state.items.len(), Ordering::Release);
                state.approach();
                drop(state);
                core.run_work(work);
                state = self.state.lock();
            } else if state.phase == Phase::Stopping {
                return;
            } else if LOOKS > 0 && state.short_sleeps >= SHORT_SLEEPS && state.looking == 0 {
                state.looking += 1;
                drop(state);
                let found = self.look();
                state = self.state.lock();
                state.looking -= 1;
                if !found && state.items.is_empty() {
                    state.short_sleeps = 0;
                }
            } else {
                state.idle += 1;
                state.asleep_since = core.now();
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

impl QueueState {
    /// Has what the next items touch fetched while the one before them runs: first the item, which then knows the rest.
    #[inline]
    fn approach(&self) {
        if let Some(later) = self.items.get(1) {
            ks_mem::fetch(&**later);
        }
        if let Some(next) = self.items.front() {
            next.approach();
        }
    }

    fn is_anybody_awake(&self) -> bool {
        self.workers.len() > self.idle
    }

    /// Are there more items than workers on their way to them?
    fn needs_a_worker(&self) -> bool {
        self.items.len() > self.waking + self.looking
    }

    /// A sleeping worker is about to be told.
    fn wake_one(&mut self, now: Time) {
        self.idle -= 1;
        self.waking += 1;
        let is_short = now.since(self.asleep_since) <= SHORT_SLEEP;
        self.short_sleeps = if is_short { (self.short_sleeps + 1).min(SHORT_SLEEPS) } else { 0 };
    }
}

/// Starts a worker of a queue; `None` where the machine refuses a thread.
fn start_worker(core: &Arc<Core>, which: WorkQueue) -> Option<JoinHandle<()>> {
    let for_thread = Arc::clone(core);
    let started = spawn_os_thread(which.thread_name(), move || {
        if let super::Scheduler::Real(scheduler) = &for_thread.scheduler {
            scheduler.queues[which.index()].work(&for_thread);
        }
    });
    started.ok()
}

impl Timers {
    /// The DPC thread's life.
    fn run(&self, core: &Arc<Core>) {
        // By default the kernel adds up to 50 us to each wait. Who can be later says so, see `Timer::set_tolerant`.
        #[cfg(not(shuttle))]
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZero::new(1));
        let mut state = self.state.lock();
        let (mut held, mut since) = (0_u32, Time::ORIGIN);
        // When more workers join the one that has a burst.
        let mut join = Time::NEVER;
        let mut now = core.now();
        while state.phase == Phase::Running {
            // Of those that are due together most go by one look at the clock.
            if held.is_multiple_of(DUE_TOGETHER) {
                now = core.now();
            }
            if join <= now {
                drop(state);
                join = Time::NEVER;
                wake_workers(core, Wake::All);
                state = self.state.lock();
                continue;
            }
            let due = if held < MOST_HELD && (held == 0 || now.since(since) < LONGEST_HELD) {
                state.queue.pop_due(now)
            } else {
                None
            };
            if let Some(expiry) = due {
                drop(state);
                if held == 0 {
                    since = now;
                    HOLDS_WAKES.with(|holds| holds.set(true));
                }
                held += 1;
                core.expire(expiry, now);
                state = self.state.lock();
                continue;
            }
            if held > 0 {
                drop(state);
                held = 0;
                HOLDS_WAKES.with(|holds| holds.set(false));
                if wake_workers(core, Wake::One) {
                    join = join.min(core.now() + ALONE);
                }
                state = self.state.lock();
                continue;
            }
            state = match state.queue.next_due().map_or(join, |due| due.min(join)) {
                Time::NEVER => self.changed.wait(state),
                until => self.changed.wait_timeout(state, (until - now).to_std()),
            };
        }
    }
}

/// Wakes workers for what the procedures of timers queued. True when more could be woken later.
fn wake_workers(core: &Arc<Core>, how: Wake) -> bool {
    let super::Scheduler::Real(scheduler) = &core.scheduler else { return false };
    let more = scheduler.queues.each_ref().map(|queue| queue.wake_held(core, how));
    more.contains(&true)
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

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;
    use crate::work::Dpc;
    use crate::{Event, EventKind, Services, Signal, WaitOutcome};
    use std::sync::atomic::AtomicU32;

    /// Counts down, and sets the event at the end.
    struct Countdown {
        services: Services,
        left: AtomicU32,
        done: Event,
    }

    impl Countdown {
        fn from(count: u32) -> Arc<Countdown> {
            let services = Services::real();
            let done = services.event(EventKind::Notification, Signal::Clear);
            Arc::new(Countdown { services, left: AtomicU32::new(count), done })
        }

        fn one_less(&self) -> u32 {
            let left = self.left.fetch_sub(1, Ordering::SeqCst) - 1;
            if left == 0 {
                self.done.set();
            }
            left
        }
    }

    /// Goes on at the other queue.
    struct Relay(Arc<Countdown>);

    impl Work for Relay {
        fn run(self: Arc<Self>) {
            let left = self.0.one_less();
            let queue = if left.is_multiple_of(2) { WorkQueue::Delayed } else { WorkQueue::Critical };
            if left > 0 {
                let services = self.0.services.clone();
                services.queue_work(queue, self);
            }
        }
    }

    #[test]
    fn two_workers_that_hand_one_item_to_and_fro_lose_it_never() {
        let countdown = Countdown::from(50_000);
        countdown.services.queue_work(WorkQueue::Delayed, Arc::new(Relay(countdown.clone())));
        assert_eq!(countdown.done.wait(), WaitOutcome::Signalled);
    }

    /// A timer's procedure that asks a worker.
    struct Ask(Arc<Countdown>);

    impl Dpc for Ask {
        fn expired(self: Arc<Self>, _now: Time) {
            let services = self.0.services.clone();
            services.queue_work(WorkQueue::Delayed, self);
        }
    }

    impl Work for Ask {
        fn run(self: Arc<Self>) {
            self.0.one_less();
        }
    }

    #[test]
    fn what_timers_that_expire_together_ask_for_is_all_done() {
        // More than wakes are held for.
        let countdown = Countdown::from(3 * MOST_HELD);
        let ask = |_| countdown.services.timer(Arc::new(Ask(countdown.clone())));
        let timers: Vec<_> = (0..3 * MOST_HELD).map(ask).collect();
        let due = countdown.services.now() + Ticks::MILLISECOND;
        timers.iter().for_each(|timer| _ = timer.set(due, None));
        assert_eq!(countdown.done.wait(), WaitOutcome::Signalled);
    }

    /// One of many that are due together: the first ends only after the last has begun.
    struct InBurst {
        countdown: Arc<Countdown>,
        last_began: Event,
        begun: Arc<AtomicU32>,
    }

    impl Work for InBurst {
        fn run(self: Arc<Self>) {
            match self.begun.fetch_add(1, Ordering::SeqCst) {
                0 => assert_eq!(self.last_began.wait(), WaitOutcome::Signalled),
                last if last == 2 * BURST_ITEMS as u32 - 1 => self.last_began.set(),
                _ => {}
            }
            self.countdown.one_less();
        }
    }

    #[test]
    fn others_join_the_worker_of_a_burst_that_does_not_come_on() {
        if thread_count() < 2 {
            // One worker is all there is: nobody could let it go on.
            return;
        }
        let items = 2 * BURST_ITEMS as u32;
        // Often: the workers that the first burst started sleep when the next comes.
        for _ in 0..20 {
            let countdown = Countdown::from(items);
            let services = countdown.services.clone();
            for _ in 0..3 {
                let last_began = services.event(EventKind::Notification, Signal::Clear);
                countdown.left.store(items, Ordering::SeqCst);
                countdown.done.clear();
                let (countdown, begun) = (countdown.clone(), Arc::new(AtomicU32::new(0)));
                let item = Arc::new(InBurst { countdown: countdown.clone(), last_began, begun });
                let timer = |_| services.work_timer(WorkQueue::Delayed, item.clone());
                let timers: Vec<_> = (0..items).map(timer).collect();
                let due = services.now() + Ticks::MILLISECOND;
                timers.iter().for_each(|timer| _ = timer.set(due, None));
                assert_eq!(countdown.done.wait(), WaitOutcome::Signalled);
            }
        }
    }

    /// Notes whether its worker came near before it ran.
    struct Approached {
        is_near: AtomicU32,
        log: Arc<Mutex<Vec<u32>>>,
        done: Event,
    }

    impl Work for Approached {
        fn run(self: Arc<Self>) {
            self.log.lock().push(self.is_near.load(Ordering::SeqCst));
            if self.log.lock().len() == 4 {
                self.done.set();
            }
        }

        fn approach(&self) {
            self.is_near.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Holds its worker until it is let go.
    struct Hold(Event);

    impl Work for Hold {
        fn run(self: Arc<Self>) {
            assert_eq!(self.0.wait(), WaitOutcome::Signalled);
        }
    }

    #[test]
    fn a_worker_approaches_each_item_while_it_has_the_one_before() {
        let services = Services::real();
        let event = || services.event(EventKind::Notification, Signal::Clear);
        let (go, done, log) = (event(), event(), Arc::new(Mutex::new(Vec::new())));
        // One worker takes these in order, and is held until all have come.
        services.queue_work(WorkQueue::Critical, Arc::new(Hold(go.clone())));
        for _ in 0..4 {
            let (log, done) = (log.clone(), done.clone());
            let item = Approached { is_near: AtomicU32::new(0), log, done };
            services.queue_work(WorkQueue::Critical, Arc::new(item));
        }
        go.set();
        assert_eq!(done.wait(), WaitOutcome::Signalled);
        // Nobody may have been there when the worker took what held it.
        assert_eq!(log.lock()[1..], [1, 1, 1]);
    }
}
