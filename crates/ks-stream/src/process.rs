//! Pin-centric processing: when a pin's process callback runs, on which thread, and for how long.
//!
//! Processing runs where the frame arrives, except that no client's thread pumps a circuit: there the attempt is queued
//! to a worker, which runs the circuit by trampoline (each hop is a delivery on its own list) for a budget, and then
//! lets other work go first. The client that sets the state from which on a circuit runs gives it its first turn, a short
//! one (decision 0102).
//!
//! Source: "Pin-centric processing", "Restarting processing in AVStream", nf-ks-kspinattemptprocessing.

use crate::descriptor::PinFlags;
use crate::pin::Pin;
use crate::queue::{Begin, Outgoing};
use crate::watchdog;
use ks_abi::{KSSTREAM_HEADER_OPTIONSF_TYPECHANGED, KsPinDataFlow, STATUS_SUCCESS};
use ks_io::sync::{Arc, Weak, atomic::Ordering, thread_local};
use ks_io::{Held, Level, Origin, RankedMutex, Services, Ticks, Time, Work, WorkQueue, deferred};
use std::cell::{Cell, RefCell};

/// How many frames a worker moves, and for how long, before other work may go first.
pub(crate) const BUDGET_FRAMES: u32 = 64;
const BUDGET_TIME: Ticks = Ticks::MILLISECOND;

/// For how long a client's thread begins further callbacks of the circuit that it set going: a few times as long as two
/// wakes of threads take, which it saves where the frames come to an end, or to a stop, by then.
const FIRST_TURN_TIME: Ticks = Ticks(1000);

thread_local! {
    /// The budget of the turn that this thread has; `None` on a thread that has none.
    static BUDGET: Cell<Option<Budget>> = const { Cell::new(None) };
    /// Room for the requests of one hop, kept between hops.
    static OUTGOING: RefCell<Outgoing> = const { RefCell::new(Outgoing::none()) };
}

#[derive(Clone, Copy)]
pub(crate) struct Budget {
    frames: u32,
    since: Time,
    /// Where other work waits for the thread.
    queue: WorkQueue,
    /// The level at which the thread processes.
    level: Level,
    whose: Whose,
}

/// Whose thread it is that has a turn.
#[derive(Clone, Copy, PartialEq)]
enum Whose {
    /// It goes on for as long as no other work waits for it.
    Workers,
    /// It is wanted elsewhere.
    Clients,
}

impl Budget {
    /// The queue of the worker whose turn it is.
    pub(crate) fn queue(&self) -> WorkQueue {
        self.queue
    }

    /// The level at which somebody may process in this turn, who asks whether he may at DISPATCH level; `None`: not any
    /// more, or not here.
    #[inline]
    pub(crate) fn level(&self, at_dispatch: impl FnOnce() -> bool) -> Option<Level> {
        (self.frames > 0 && (self.level == Level::Passive || at_dispatch())).then_some(self.level)
    }
}

/// The entry of a pin in a work queue.
pub(crate) struct WorkerItem(pub(crate) Weak<Pin>);

impl Work for WorkerItem {
    fn run(self: Arc<Self>) {
        let Some(pin) = self.0.upgrade() else { return };
        pin.worker_queued.store(false, Ordering::SeqCst);
        pin.process_on_worker(pin.work_queue());
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
        Turn::with(now, WorkQueue::Delayed, Level::Passive, Whose::Workers)
    }

    /// The turn of a worker of this queue.
    pub(crate) fn of_queue(services: &Services, queue: WorkQueue) -> Turn {
        Turn::with(services.now(), queue, Level::Passive, Whose::Workers)
    }

    /// The turn of a thread that processes at DISPATCH level.
    pub(crate) fn at_dispatch(services: &Services) -> Option<Turn> {
        turn().is_none().then(|| Turn::with(services.now(), WorkQueue::Delayed, Level::Dispatch, Whose::Workers))
    }

    fn with(since: Time, queue: WorkQueue, level: Level, whose: Whose) -> Turn {
        BUDGET.with(|budget| budget.set(Some(Budget { frames: BUDGET_FRAMES, since, queue, level, whose })));
        Turn(())
    }
}

/// The turn of a client's thread that has set a circuit going: what follows from that while the thread leaves the engine
/// is processed there, for one budget that is not renewed; a worker has the rest.
///
/// Not where a watchdog may have to give the thread up: a worker can be replaced, a client cannot.
pub(crate) struct FirstTurn(Services);

impl FirstTurn {
    /// Has the request of `client` that this thread executes, and that is about to let frames of a pin go, give them
    /// their first turn.
    pub(crate) fn follows(client: &Origin, services: &Services) {
        if client.is_client_here() && !watchdog::is_watching() {
            deferred::run_later(Arc::new(FirstTurn(services.clone())));
        }
    }
}

impl Work for FirstTurn {
    /// The first delivery of the request; the attempts that it led to are behind it.
    fn run(self: Arc<Self>) {
        // A wait of the request may have sent it to a worker, or a driver may have made the request in a callback.
        if turn().is_some() || ks_io::holds_ranked_mutex() || Level::current() != Level::Passive {
            return;
        }
        let _turn = Turn::with(self.0.now(), WorkQueue::Delayed, Level::Passive, Whose::Clients);
        deferred::deliver_now();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        BUDGET.with(|budget| budget.set(None));
    }
}

/// The turn of this thread, if it has one.
#[inline]
pub(crate) fn turn() -> Option<Budget> {
    BUDGET.with(Cell::get)
}

/// Takes the processing mutex, at DISPATCH level only if nobody has it.
#[inline]
pub(crate) fn hold_at(mutex: &RankedMutex, level: Level) -> Option<Held<'_>> {
    if level == Level::Dispatch { mutex.try_hold() } else { Some(mutex.hold()) }
}

/// A deferred attempt: the next hop of a circuit, or one that had to wait for a lock to be released.
impl Work for Pin {
    fn run(self: Arc<Self>) {
        if self.filter().processing().is_some() {
            match self.flags().contains(PinFlags::ASYNCHRONOUS_PROCESSING) {
                true => self.filter().attempt_processing_later(),
                false => self.filter().attempt_processing(),
            }
        } else {
            match self.level_here() {
                Some(Level::Dispatch) => {
                    let _turn = Turn::at_dispatch(self.services());
                    self.process_here(Level::Dispatch);
                }
                Some(level) => self.process_here(level),
                None => self.queue_attempt(),
            }
        }
    }
}

impl Pin {
    /// Tries to start processing; never a promise that it will.
    ///
    /// It runs on this thread when that is allowed (PASSIVE level, and for the pins of a circuit only on a worker, or
    /// where a client has just set the state), else a worker is asked. An attempt made while the pin is processing is honoured when the callback returns.
    // ks-coverage: KsPinAttemptProcessing done test=without_initiation_only_an_attempt_processes,an_attempt_during_processing_is_honoured_when_the_callback_returns,every_flag_of_a_driver_does_what_its_page_says_and_nothing_of_it_without
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

    /// The level at which this thread may process; `None`: it may not.
    fn level_here(&self) -> Option<Level> {
        let flags = self.flags();
        if flags.contains(PinFlags::ASYNCHRONOUS_PROCESSING) {
            // Also on a worker: what brought the frames goes on without waiting for this pin.
            return None;
        }
        if ks_io::holds_ranked_mutex() {
            // The thread is inside of a driver's callback: another mutex of processing rank would be one too many.
            return None;
        }
        let at_dispatch = || flags.contains(PinFlags::DISPATCH_LEVEL_PROCESSING);
        if let Some(turn) = turn() {
            return turn.level(at_dispatch);
        }
        if self.worker_queued.load(Ordering::SeqCst) {
            // A worker that was asked already sees every attempt made before it begins.
            return None;
        }
        match Level::current() {
            Level::Passive => (!self.in_circuit()).then_some(Level::Passive),
            Level::Dispatch => at_dispatch().then_some(Level::Dispatch),
            _ => None,
        }
    }

    /// The workers that processing is left to.
    pub(crate) fn work_queue(&self) -> WorkQueue {
        let flags = self.flags();
        if flags.contains(PinFlags::HYPERCRITICAL_PROCESSING) {
            WorkQueue::HyperCritical
        } else if flags.contains(PinFlags::CRITICAL_PROCESSING) {
            WorkQueue::Critical
        } else {
            WorkQueue::Delayed
        }
    }

    pub(crate) fn queue_attempt(self: &Arc<Pin>) {
        if !self.worker_queued.swap(true, Ordering::SeqCst) {
            self.services().queue_work(self.work_queue(), self.worker_item());
        }
    }

    /// The turn of a worker of `queue`, which has nothing else to do.
    pub(crate) fn process_on_worker(self: &Arc<Pin>, queue: WorkQueue) {
        let _turn = Turn::of_queue(self.services(), queue);
        // Attempts of the next pins join this thread's list and run when this one has let go of its mutex.
        let _inside = deferred::enter();
        self.process_here(Level::Passive);
    }

    /// Processes until the driver pends, the frames are gone, or the budget is.
    ///
    /// `again` is set before the gate is tried and read after it is given back, so an attempt that finds the gate taken
    /// is seen by whoever holds it.
    fn process_here(self: &Arc<Pin>, level: Level) {
        if self.copies().is_some() && self.asks_for_copies() {
            // The class driver fills its frames.
            self.again.store(false, Ordering::SeqCst);
            return;
        }
        let mut rounds = 0;
        while self.again.load(Ordering::SeqCst) && self.and_gate().capture_threshold() {
            self.again.store(false, Ordering::SeqCst);
            let left = self.process_until_pending(level);
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

    fn process_until_pending(self: &Arc<Pin>, level: Level) -> Left {
        let (Some(queue), Some(instance)) = (self.queue(), self.instance()) else { return Left::Nothing };
        let mut outgoing = OUTGOING.with(RefCell::take);
        let left = loop {
            let status;
            let more;
            {
                // Where it cannot wait, a worker does.
                let Some(processing) = hold_at(&self.processing, level) else { break Left::BudgetSpent };
                // The gate was captured before: the pin may have left its state since.
                if self.is_held() {
                    break Left::Nothing;
                }
                match queue.begin_processing() {
                    Begin::Process => {}
                    Begin::Nothing => break Left::Nothing,
                    Begin::Turn => {
                        drop(processing);
                        if self.turn() {
                            continue;
                        }
                        break Left::Nothing;
                    }
                }
                status = instance.process(self);
                more = queue.end_processing(&mut outgoing);
            }
            // The hop comes after the processing mutex is released.
            let frames = outgoing.onward.len() as u32;
            match more.raised {
                0 => self.forward(&mut outgoing),
                raised => {
                    self.forward_raising(&mut outgoing, raised);
                    if raised & KSSTREAM_HEADER_OPTIONSF_TYPECHANGED != 0 && self.turn() {
                        continue;
                    }
                }
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
        if more.raised != 0 {
            self.forward_raising(&mut outgoing, more.raised);
            if more.raised & KSSTREAM_HEADER_OPTIONSF_TYPECHANGED != 0 {
                // Whoever processes the pin deals with it.
                self.attempt_processing();
            }
        } else if !outgoing.is_empty() {
            self.forward(&mut outgoing);
        }
        queue.sent();
    }

    /// Sends on what has gone out, with a change of format among it, and agrees to those that arrived: on the thread that
    /// processes the pin, so that nothing overtakes. True when there was anything to do.
    #[cold]
    pub(crate) fn turn(self: &Arc<Pin>) -> bool {
        let Some(queue) = self.queue() else { return false };
        let mut turned = false;
        loop {
            match queue.take_turn() {
                Some((mut outgoing, raised)) => {
                    turned |= !outgoing.is_empty();
                    self.forward_raising(&mut outgoing, raised);
                }
                None => {
                    self.attempt_processing_later();
                    return turned;
                }
            }
            if !self.meet_format_change() {
                return turned;
            }
            turned = true;
        }
    }

    /// As [`Pin::forward`], of frames that somebody is told of.
    #[cold]
    pub(crate) fn forward_raising(self: &Arc<Pin>, outgoing: &mut Outgoing, raised: u32) {
        if self.data_flow() == KsPinDataFlow::OUT && raised & KSSTREAM_HEADER_OPTIONSF_TYPECHANGED != 0 {
            // Before anybody who reads of the change can ask for the format.
            self.adopt_formats(outgoing);
        }
        self.forward(outgoing);
        self.stream_events(raised & !KSSTREAM_HEADER_OPTIONSF_TYPECHANGED);
    }

    #[inline]
    pub(crate) fn send_outgoing_if(self: &Arc<Pin>, flush: bool) {
        if flush {
            self.send_outgoing();
        }
    }
}

#[derive(PartialEq)]
enum Left {
    Nothing,
    BudgetSpent,
}

/// Takes frames off this thread's budget. True when it is spent; a worker's is set anew if nobody else waits for the
/// worker.
pub(crate) fn spend(frames: u32, services: &Services) -> bool {
    let Some(mut budget) = BUDGET.with(Cell::get) else { return false };
    budget.frames = budget.frames.saturating_sub(frames.max(1));
    if budget.whose == Whose::Clients {
        if services.now().since(budget.since) >= FIRST_TURN_TIME {
            budget.frames = 0;
        }
        BUDGET.with(|left| left.set(Some(budget)));
        return budget.frames == 0;
    }
    // The clock is read only while somebody waits: reading it costs as much as a hop.
    if services.has_queued_work(budget.queue) {
        if services.now().since(budget.since) >= BUDGET_TIME {
            budget.frames = 0;
        }
    } else if budget.frames == 0 && budget.level == Level::Passive {
        budget = Budget { frames: BUDGET_FRAMES, since: services.now(), ..budget };
    }
    BUDGET.with(|left| left.set(Some(budget)));
    budget.frames == 0
}
