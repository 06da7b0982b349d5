//! Pin-centric processing: when a pin's process callback runs, on which thread, and for how long.
//!
//! Processing runs where the frame arrives, except that no client's thread pumps a circuit: there the attempt is queued
//! to a worker, which runs the circuit by trampoline (each hop is a delivery on its own list) for a budget, and then
//! lets other work go first.
//!
//! Source: "Pin-centric processing", "Restarting processing in AVStream", nf-ks-kspinattemptprocessing.

use crate::descriptor::PinFlags;
use crate::pin::Pin;
use crate::queue::Outgoing;
use ks_abi::{STATUS_SUCCESS, STATUS_UNSUCCESSFUL};
use ks_io::sync::{Arc, Weak, atomic::Ordering, thread_local};
use ks_io::{Aspect, Level, Refusal, Services, Ticks, Time, Work, WorkQueue, deferred};
use std::cell::{Cell, RefCell};

/// How many frames a worker moves, and for how long, before other work may go first.
pub(crate) const BUDGET_FRAMES: u32 = 64;
const BUDGET_TIME: Ticks = Ticks::MILLISECOND;

thread_local! {
    /// The budget of the worker that runs on this thread; `None` on every other thread.
    static BUDGET: Cell<Option<Budget>> = const { Cell::new(None) };
    /// Room for the requests of one hop, kept between hops.
    static OUTGOING: RefCell<Outgoing> = const { RefCell::new(Outgoing::none()) };
}

#[derive(Clone, Copy)]
struct Budget {
    frames: u32,
    since: Time,
}

/// The entry of a pin in a work queue.
pub(crate) struct WorkerItem(pub(crate) Weak<Pin>);

impl Work for WorkerItem {
    fn run(self: Arc<Self>) {
        let Some(pin) = self.0.upgrade() else { return };
        pin.worker_queued.store(false, Ordering::SeqCst);
        let _turn = Turn::begin(pin.services());
        // Attempts of the next pins join this thread's list and run when this one has let go of its mutex.
        let _inside = deferred::enter();
        pin.process_here();
    }
}

/// The turn of a worker: while it lasts, the thread has a budget, and circuits run on it.
///
/// For a thread that is woken to move frames and is nobody's client: a worker of the services, or one that takes frames
/// from another process. What the budget does not cover goes to a worker.
#[derive(Debug)]
#[must_use = "the turn ends when this is dropped"]
pub struct Turn(());

impl Turn {
    /// Begins a turn of the calling thread.
    pub fn begin(services: &Services) -> Turn {
        Turn::begin_at(services.now())
    }

    /// As [`Turn::begin`], by a thread that knows the time.
    pub fn begin_at(now: Time) -> Turn {
        BUDGET.with(|budget| budget.set(Some(Budget { frames: BUDGET_FRAMES, since: now })));
        Turn(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        BUDGET.with(|budget| budget.set(None));
    }
}

/// Is this a worker that has budget left?
pub(crate) fn has_budget() -> Option<bool> {
    BUDGET.with(Cell::get).map(|budget| budget.frames > 0)
}

/// A deferred attempt: the next hop of a circuit, or one that had to wait for a lock to be released.
impl Work for Pin {
    fn run(self: Arc<Self>) {
        if self.filter().processing().is_some() {
            self.filter().attempt_processing();
        } else if self.runs_here() {
            self.process_here();
        } else {
            self.queue_attempt();
        }
    }
}

impl Pin {
    /// Tries to start processing; never a promise that it will.
    ///
    /// It runs on this thread when that is allowed (PASSIVE level, and for the pins of a circuit only on a worker),
    /// else a worker is asked. An attempt made while the pin is processing is honoured when the callback returns.
    // ks-coverage: KsPinAttemptProcessing done test=without_initiation_only_an_attempt_processes,an_attempt_during_processing_is_honoured_when_the_callback_returns
    #[doc(alias = "KsPinAttemptProcessing")]
    pub fn attempt_processing(self: &Arc<Pin>) {
        self.again.store(true, Ordering::SeqCst);
        deferred::run_later(self.clone());
    }

    /// [`Pin::attempt_processing`], always on a worker.
    #[doc(alias = "KsPinAttemptProcessing")]
    pub fn attempt_processing_later(self: &Arc<Pin>) {
        if self.filter().processing().is_some() {
            return self.filter().attempt_processing_later();
        }
        self.again.store(true, Ordering::SeqCst);
        self.queue_attempt();
    }

    fn runs_here(&self) -> bool {
        if self.flags().contains(PinFlags::ASYNCHRONOUS_PROCESSING) {
            // Also on a worker: what brought the frames goes on without waiting for this pin.
            return false;
        }
        if ks_io::holds_ranked_mutex() {
            // The thread is inside of a driver's callback: another mutex of processing rank would be one too many.
            return false;
        }
        if let Some(budget) = BUDGET.with(Cell::get) {
            return budget.frames > 0;
        }
        // A worker that was asked already sees every attempt made before it begins.
        let asked = self.worker_queued.load(Ordering::SeqCst);
        !asked && !self.in_circuit() && Level::current() == Level::Passive
    }

    pub(crate) fn queue_attempt(self: &Arc<Pin>) {
        if !self.worker_queued.swap(true, Ordering::SeqCst) {
            self.services().queue_work(WorkQueue::Delayed, self.worker_item());
        }
    }

    /// Processes until the driver pends, the frames are gone, or the budget is.
    ///
    /// `again` is set before the gate is tried and read after it is given back, so an attempt that finds the gate taken
    /// is seen by whoever holds it.
    fn process_here(self: &Arc<Pin>) {
        let mut rounds = 0;
        while self.again.load(Ordering::SeqCst) && self.and_gate().capture_threshold() {
            self.again.store(false, Ordering::SeqCst);
            let left = self.process_until_pending();
            self.and_gate().turn_input_on();
            rounds += 1;
            if left == Left::BudgetSpent {
                self.again.store(true, Ordering::SeqCst);
            } else if rounds < BUDGET_FRAMES || !self.again.load(Ordering::SeqCst) {
                continue;
            }
            // Also a driver that attempts anew in each callback lets other work go first, and the client go on.
            self.queue_attempt();
            return;
        }
    }

    fn process_until_pending(self: &Arc<Pin>) -> Left {
        let (Some(queue), Some(instance)) = (self.queue(), self.instance()) else { return Left::Nothing };
        let mut outgoing = OUTGOING.with(RefCell::take);
        let left = loop {
            let status;
            let more;
            {
                let _processing = self.processing.hold();
                if !queue.begin_processing() {
                    break Left::Nothing;
                }
                let unwinding = Unwinding(self);
                status = instance.process(self);
                std::mem::forget(unwinding);
                more = queue.end_processing(&mut outgoing);
            }
            // The hop comes after the processing mutex is released.
            let frames = outgoing.onward.len() as u32;
            self.forward(&mut outgoing);
            if more.raised != 0 {
                self.stream_events(more.raised);
            }
            let spent = spend(frames, self.services());
            if status != STATUS_SUCCESS || !more.frames {
                break Left::Nothing;
            }
            if spent {
                break Left::BudgetSpent;
            }
        };
        OUTGOING.with(|kept| kept.replace(outgoing));
        left
    }

    /// Sends on what has gone out of the queue outside of a process callback.
    pub(crate) fn send_outgoing(self: &Arc<Pin>) {
        let Some(queue) = self.queue() else { return };
        let (mut outgoing, more) = queue.take_outgoing();
        if !outgoing.is_empty() {
            self.forward(&mut outgoing);
        }
        if more.raised != 0 {
            self.stream_events(more.raised);
        }
    }

    #[inline]
    pub(crate) fn send_outgoing_if(self: &Arc<Pin>, flush: bool) {
        if flush {
            self.send_outgoing();
        }
    }
}

/// Dropped only when a process callback panics: the pin fails and lets go of its requests, so that nobody waits for
/// them for ever. The panic goes on to whoever runs the thread.
struct Unwinding<'p>(&'p Arc<Pin>);

impl Drop for Unwinding<'_> {
    fn drop(&mut self) {
        let pin = self.0;
        if let Some(queue) = pin.queue() {
            queue.abandon_processing();
        }
        pin.and_gate().turn_input_on();
        let reason = format!("the minidriver panicked in the process callback of {}", pin.describe());
        pin.fail(Refusal::new(STATUS_UNSUCCESSFUL, Aspect::Driver, reason));
    }
}

#[derive(PartialEq)]
enum Left {
    Nothing,
    BudgetSpent,
}

/// Takes frames off this worker's budget. True when it is spent; then it is set anew if nobody else waits for the
/// worker.
pub(crate) fn spend(frames: u32, services: &Services) -> bool {
    let Some(mut budget) = BUDGET.with(Cell::get) else { return false };
    budget.frames = budget.frames.saturating_sub(frames.max(1));
    // The clock is read only while somebody waits: reading it costs as much as a hop.
    if services.has_queued_work(WorkQueue::Delayed) {
        if services.now().since(budget.since) >= BUDGET_TIME {
            budget.frames = 0;
        }
    } else if budget.frames == 0 {
        budget = Budget { frames: BUDGET_FRAMES, since: services.now() };
    }
    BUDGET.with(|left| left.set(Some(budget)));
    budget.frames == 0
}
