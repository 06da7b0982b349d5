//! Virtual time: real threads of which one runs at a time, in an order that a seed decides, on a clock that moves only
//! when none of them can run.
//!
//! The right to run is a baton. A thread passes it on where it blocks: a wait, a contended ranked mutex, an idle
//! worker, its end, a yield. Who gets it is drawn from the threads that are ready, by a generator that the seed starts;
//! so one seed is one interleaving. When no thread is ready, the clock jumps to the next deadline or timer. When there
//! is none either, the threads that still wait are told so (`Deadlock`). So they are when workers go round and round at one
//! instant, which would never end: what they are given from then on is dropped.
//!
//! The thread that makes the services, and every thread that they start, are known from the beginning. Any other thread
//! becomes known when it first blocks here, and counts as running from then on until it blocks again or ends; what such
//! a thread does in between is not decided by the seed. A known thread that blocks anywhere else (in a channel, a join)
//! keeps the baton, and everything stands still.

use std::cell::RefCell;
use std::io;
use std::sync::atomic::AtomicU64 as IdCounter;

use super::threads::{MOST_AT_AN_INSTANT, Phase, Role, State, Status};
use super::{Core, ParkOutcome, Scheduler, replay, spawn_os_thread};
use crate::sync::atomic::{AtomicI64, Ordering};
use crate::sync::thread::JoinHandle;
use crate::sync::{Arc, Mutex, MutexGuard, Weak, thread_local};
use crate::time::{Ticks, Time};
use crate::timer::{Expiry, TimerId, WasSet};
use crate::wait::WaitNode;
use crate::work::{Work, WorkQueue};

/// Two delayed workers show every order that more of them do, and shorter traces.
const WORKERS: [usize; 3] = [2, 1, 1];

/// One open mutex in this many acquisitions lets another thread go first.
const PREEMPT_ONE_IN: u64 = 4;

pub(super) struct Virtual {
    id: u64,
    seed: u64,
    /// The clock, in ticks. Written under the lock of `state`.
    now: AtomicI64,
    /// Innermost lock: nothing is called under it.
    state: Mutex<State>,
}

/// The schedulers that the calling thread is known to.
struct Known(RefCell<Vec<(u64, usize, Weak<Core>)>>);

thread_local! {
    static KNOWN: Known = const { Known(RefCell::new(Vec::new())) };
}

/// The calling thread takes part in no virtual time any more; it may have the baton of one.
pub(crate) fn leave() {
    let _ = KNOWN.try_with(Known::leave);
}

impl Drop for Known {
    /// A thread that came from outside ends.
    fn drop(&mut self) {
        self.leave();
    }
}

impl Known {
    fn leave(&self) {
        for (_, slot, core) in self.0.take() {
            if let Some(core) = core.upgrade()
                && let Scheduler::Virtual(scheduler) = &core.scheduler
            {
                scheduler.end(slot);
            }
        }
    }
}

impl Virtual {
    pub(super) fn new(seed: u64) -> Self {
        static LAST: IdCounter = IdCounter::new(0);
        let seed = replay::chosen(seed);
        Self {
            seed,
            id: LAST.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
            now: AtomicI64::new(0),
            state: Mutex::new(State::new(seed)),
        }
    }

    #[inline]
    pub(super) fn now(&self) -> Time {
        Time(self.now.load(Ordering::Acquire))
    }

    pub(super) fn register_creator(&self, core: &Arc<Core>) {
        let name = std::thread::current().name().unwrap_or("the creating thread").to_owned();
        let mut state = self.state.lock();
        let slot = state.add(name, Role::Guest, Status::Running);
        state.running = Some(slot);
        drop(state);
        self.remember(core, slot);
    }

    /// The calling thread's slot; a thread that is not known yet becomes known.
    pub(super) fn current(&self, core: &Arc<Core>) -> usize {
        if let Some(slot) = self.known_slot() {
            return slot;
        }
        let name = std::thread::current().name().unwrap_or("a thread from outside").to_owned();
        let slot = self.state.lock().add(name, Role::Guest, Status::Running);
        self.remember(core, slot);
        slot
    }

    fn known_slot(&self) -> Option<usize> {
        KNOWN
            .try_with(|known| known.0.borrow().iter().find(|(id, ..)| *id == self.id).map(|(_, slot, _)| *slot))
            .ok()
            .flatten()
    }

    fn remember(&self, core: &Arc<Core>, slot: usize) {
        replay::takes_part(self.seed);
        let _ = KNOWN.try_with(|known| known.0.borrow_mut().push((self.id, slot, Arc::downgrade(core))));
    }

    fn forget(&self) {
        let _ = KNOWN.try_with(|known| known.0.borrow_mut().retain(|(id, ..)| *id != self.id));
    }

    pub(super) fn park(&self, node: &WaitNode, deadline: Option<Time>, on: &'static str) -> ParkOutcome {
        let me = node.slot.load(Ordering::Relaxed);
        let mut state = self.state.lock();
        if std::mem::take(&mut state.threads[me].token) {
            return ParkOutcome::Woken;
        }
        let deadline = deadline.unwrap_or(Time::NEVER);
        if deadline <= self.now() {
            return ParkOutcome::TimedOut;
        }
        self.block(state, me, Status::Blocked { deadline, on })
    }

    pub(super) fn unpark(&self, node: &WaitNode) {
        let slot = node.slot.load(Ordering::Relaxed);
        let mut state = self.state.lock();
        match state.threads[slot].status {
            Status::Blocked { .. } => state.make_ready(slot, ParkOutcome::Woken),
            Status::Running | Status::Ready => state.threads[slot].token = true,
            Status::Idle | Status::Ended => {}
        }
        self.kick(&mut state);
    }

    pub(super) fn preempt(&self) {
        let Some(me) = self.known_slot() else { return };
        let mut state = self.state.lock();
        if state.random.below(PREEMPT_ONE_IN) == 0 {
            self.block(state, me, Status::Ready);
        }
    }

    pub(super) fn yield_now(&self, core: &Arc<Core>) {
        let me = self.current(core);
        self.block(self.state.lock(), me, Status::Ready);
    }

    pub(super) fn spawn(
        &self,
        core: &Arc<Core>,
        name: &str,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        self.start(core, name, Role::Spawned, move |_, _| body())
    }

    pub(super) fn has_queued_work(&self, queue: WorkQueue) -> bool {
        !self.state.lock().work[queue.index()].is_empty()
    }

    pub(super) fn queue_work(
        &self,
        core: &Arc<Core>,
        queue: WorkQueue,
        work: Arc<dyn Work>,
    ) -> Result<(), Arc<dyn Work>> {
        let mut state = self.state.lock();
        if state.phase != Phase::Running {
            return Err(work);
        }
        state.work[queue.index()].push_back(work);
        let role = Role::Worker(queue);
        let workers = state.threads.iter().filter(|thread| thread.role == role && thread.status != Status::Ended);
        if let Some(idle) = state.idle(role) {
            state.make_ready(idle, ParkOutcome::Woken);
            self.kick(&mut state);
        } else if workers.count() < WORKERS[queue.index()] {
            drop(state);
            self.start_service(core, queue.thread_name(), role, move |core, me| {
                if let Scheduler::Virtual(scheduler) = &core.scheduler {
                    scheduler.work(core, queue, me);
                }
            });
        }
        Ok(())
    }

    pub(super) fn timer_insert(&self, core: &Arc<Core>) -> TimerId {
        let mut state = self.state.lock();
        let id = state.timers.insert();
        let known = state.threads.iter().any(|thread| thread.role == Role::Dpc && thread.status != Status::Ended);
        let start = !known && state.phase == Phase::Running;
        drop(state);
        if start {
            self.start_service(core, "ks-dpc", Role::Dpc, move |core, me| {
                if let Scheduler::Virtual(scheduler) = &core.scheduler {
                    scheduler.run_timers(core, me);
                }
            });
        }
        id
    }

    pub(super) fn timer_set(&self, id: TimerId, expiry: &Expiry, due: Time, period: Option<Ticks>) -> WasSet {
        let mut state = self.state.lock();
        if state.phase != Phase::Running {
            return WasSet::No;
        }
        let was = state.timers.set(id, expiry, due, period);
        self.kick(&mut state);
        was
    }

    pub(super) fn timer_cancel(&self, id: TimerId) -> WasSet {
        self.state.lock().timers.cancel(id)
    }

    pub(super) fn timer_remove(&self, id: TimerId) {
        self.state.lock().timers.remove(id);
    }

    pub(super) fn deadlock_report(&self) -> Option<String> {
        self.state.lock().report.clone()
    }

    /// Runs the service threads to their end; the calling thread waits for that like any other.
    pub(super) fn shut_down(&self, core: &Arc<Core>) {
        let known = self.known_slot();
        let mut state = self.state.lock();
        state.phase = Phase::Stopping;
        state.timers.cancel_all();
        for slot in 0..state.threads.len() {
            if state.threads[slot].status == Status::Idle {
                state.make_ready(slot, ParkOutcome::Woken);
            }
        }
        let role = known.map(|slot| state.threads[slot].role);
        if matches!(role, Some(Role::Worker(_) | Role::Dpc)) {
            return;
        }
        drop(state);
        let me = self.current(core);
        loop {
            let state = self.state.lock();
            if state.live_service_threads == 0 {
                break;
            }
            let on = "the services to shut down";
            if self.block(state, me, Status::Blocked { deadline: Time::NEVER, on }) == ParkOutcome::Deadlock {
                // The others were told; they run to their end now.
                self.block(self.state.lock(), me, Status::Ready);
            }
        }
        let threads = std::mem::take(&mut self.state.lock().service_threads);
        for thread in threads {
            let _ = thread.join();
        }
        if role != Some(Role::Spawned) {
            self.end(me);
            self.forget();
        }
    }

    /// Starts a thread. It is known, and ready, when this returns.
    fn start(
        &self,
        core: &Arc<Core>,
        name: &str,
        role: Role,
        body: impl FnOnce(&Arc<Core>, usize) + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        let slot = {
            let mut state = self.state.lock();
            let slot = state.add(name.to_owned(), role, Status::Ready);
            state.live_service_threads += usize::from(role.is_service());
            slot
        };
        let for_thread = Arc::clone(core);
        let started = spawn_os_thread(name, move || {
            let Scheduler::Virtual(scheduler) = &for_thread.scheduler else { return };
            scheduler.remember(&for_thread, slot);
            // Ends the thread's part even if its body panics.
            let _end = EndOnDrop { scheduler, slot };
            scheduler.await_turn(scheduler.state.lock(), slot);
            body(&for_thread, slot);
        });
        match &started {
            Ok(_) => self.kick(&mut self.state.lock()),
            Err(_) => self.end(slot),
        }
        started
    }

    fn start_service(
        &self,
        core: &Arc<Core>,
        name: &str,
        role: Role,
        body: impl FnOnce(&Arc<Core>, usize) + Send + 'static,
    ) {
        // Where the machine refuses a thread, the next item or timer asks again.
        if let Ok(thread) = self.start(core, name, role, body) {
            self.state.lock().service_threads.push(thread);
        }
    }

    /// A worker's life: it ends when the services stop and its queue is empty.
    fn work(&self, core: &Core, queue: WorkQueue, me: usize) {
        loop {
            let mut state = self.state.lock();
            if let Some(work) = state.work[queue.index()].pop_front() {
                state.at_this_instant += 1;
                if state.at_this_instant == MOST_AT_AN_INSTANT && state.phase == Phase::Running {
                    state.tell_circling(self.now(), queue);
                }
                drop(state);
                core.run_work(work);
                // Between two items anybody may run.
                self.block(self.state.lock(), me, Status::Ready);
            } else if state.phase == Phase::Stopping {
                return;
            } else {
                self.block(state, me, Status::Idle);
            }
        }
    }

    /// The DPC thread's life.
    fn run_timers(&self, core: &Arc<Core>, me: usize) {
        loop {
            let mut state = self.state.lock();
            let now = self.now();
            if let Some(expiry) = state.timers.pop_due(now) {
                drop(state);
                core.expire(expiry, now);
            } else if state.phase == Phase::Stopping {
                return;
            } else {
                self.block(state, me, Status::Idle);
            }
        }
    }

    /// Passes the baton on and waits until it is back; says why the thread became ready.
    fn block(&self, mut state: MutexGuard<'_, State>, me: usize, status: Status) -> ParkOutcome {
        state.threads[me].status = status;
        state.threads[me].outcome = ParkOutcome::Woken;
        // A thread from outside may block while another one has the baton.
        if state.running.is_none_or(|running| running == me) {
            self.pass(&mut state);
        }
        self.await_turn(state, me)
    }

    fn await_turn(&self, mut state: MutexGuard<'_, State>, me: usize) -> ParkOutcome {
        let turn = Arc::clone(&state.threads[me].turn);
        while state.running != Some(me) {
            state = turn.wait(state);
        }
        state.threads[me].outcome
    }

    /// The thread of this slot is no more.
    fn end(&self, slot: usize) {
        let mut state = self.state.lock();
        if state.threads[slot].role.is_service() && state.threads[slot].status != Status::Ended {
            state.live_service_threads -= 1;
            if state.live_service_threads == 0 {
                state.wake_shut_down();
            }
        }
        state.threads[slot].status = Status::Ended;
        state.threads[slot].token = false;
        if state.running.is_none_or(|running| running == slot) {
            self.pass(&mut state);
        }
    }

    /// Passes the baton if nobody has it.
    fn kick(&self, state: &mut State) {
        if state.running.is_none() {
            self.pass(state);
        }
    }

    /// Gives the baton to a thread that is ready, moving the clock until there is one.
    fn pass(&self, state: &mut State) {
        state.running = None;
        loop {
            if let Some(next) = state.draw() {
                let thread = &mut state.threads[next];
                thread.status = Status::Running;
                thread.turn.notify_one();
                state.running = Some(next);
                return;
            }
            match state.next_time() {
                Some(time) => {
                    let now = self.now().max(time);
                    self.now.store(now.0, Ordering::Release);
                    state.at_this_instant = 0;
                    state.expire(now);
                }
                None if state.tell_deadlocked() => {}
                None => return,
            }
        }
    }
}

struct EndOnDrop<'a> {
    scheduler: &'a Virtual,
    slot: usize,
}

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.scheduler.forget();
        self.scheduler.end(self.slot);
    }
}
