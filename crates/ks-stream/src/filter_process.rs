//! Filter-centric processing: when a filter's process callback runs, and what becomes of the frames that it was given.
//!
//! The pins of such a filter share the filter's processing mutex and never process by themselves: an attempt at one of
//! them is an attempt at the filter. It runs when enough pins of each factory are in their processing state and each of
//! those has a frame, where its factory does not say that it needs none.
//!
//! Source: "Filter-centric processing", nc-ks-pfnksfilterprocess, ns-ks-_ksprocesspin.

mod empty_frames;
mod process_pins;

use crate::attached_gate::Attachments;
use crate::callback::FilterCallbacks;
use crate::descriptor::{FilterFlags, PinFlags};
use crate::filter::Filter;
use crate::gate::Gate;
use crate::pin::Pin;
use crate::process::{self, Turn};
use crate::queue::Outgoing;
use empty_frames::bypass;
use ks_abi::{KsState, NtStatus, STATUS_INSUFFICIENT_RESOURCES, STATUS_SUCCESS};
use ks_io::sync::{
    Arc, Mutex, Weak,
    atomic::{AtomicBool, Ordering},
};
use ks_io::{Level, LockRank, RankedMutex, Services, Work, WorkQueue, deferred};
use ks_mem::Block;
use process_pins::settle;
use std::cell::{Cell, RefCell};
use std::sync::OnceLock;

pub use process_pins::{CopyRelationship, ProcessFrame, ProcessPin, ProcessPins};

/// What a filter needs to process as a whole.
pub(crate) struct FilterProcessing {
    gate: Arc<Gate>,
    /// Rank processing; the pins hold it, too.
    mutex: Arc<RankedMutex>,
    again: AtomicBool,
    worker_queued: AtomicBool,
    worker: OnceLock<Arc<FilterWorkerItem>>,
    attachments: Attachments,
    /// The public block of each process pin, kept from round to round. Taken under the processing mutex only.
    blocks: Mutex<Vec<(Weak<Pin>, Arc<Block>)>>,
}

impl FilterProcessing {
    pub(crate) fn new(services: &Services) -> Result<FilterProcessing, NtStatus> {
        Ok(FilterProcessing {
            gate: Gate::and()?,
            mutex: Arc::new(services.mutex(LockRank::Processing, "filter processing")),
            again: AtomicBool::new(false),
            worker_queued: AtomicBool::new(false),
            worker: OnceLock::new(),
            attachments: Attachments::default(),
            blocks: Mutex::new(Vec::new()),
        })
    }

    pub(crate) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    pub(crate) fn attachments(&self) -> &Attachments {
        &self.attachments
    }

    pub(crate) fn mutex(&self) -> &Arc<RankedMutex> {
        &self.mutex
    }

    /// Takes the gate, if it is open now.
    fn capture(&self) -> bool {
        self.attachments.refresh();
        self.gate.capture_threshold()
    }

    /// The block of a pin, from the last round or new; blocks of pins that are gone are forgotten.
    fn block(&self, pin: &Arc<Pin>) -> Result<Arc<Block>, NtStatus> {
        let mut blocks = self.blocks.lock();
        if let Some((_, block)) = blocks.iter().find(|(known, _)| std::ptr::eq(known.as_ptr(), &**pin)) {
            return Ok(block.clone());
        }
        blocks.retain(|(known, _)| known.strong_count() > 0);
        let block = Block::zeroed(process_pins::BLOCK_BYTES, 16).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        let block = Arc::new(block);
        blocks.push((Arc::downgrade(pin), block.clone()));
        Ok(block)
    }
}

/// The entry of a filter in a work queue.
struct FilterWorkerItem(Weak<Filter>);

impl Work for FilterWorkerItem {
    fn run(self: Arc<Self>) {
        let Some(filter) = self.0.upgrade() else { return };
        let Some(processing) = filter.processing() else { return };
        processing.worker_queued.store(false, Ordering::SeqCst);
        let _turn = Turn::of_queue(filter.services(), filter.work_queue());
        let _inside = deferred::enter();
        filter.process_here(processing, Level::Passive);
    }
}

/// A deferred attempt, as that of a pin.
impl Work for Filter {
    fn run(self: Arc<Self>) {
        let Some(processing) = self.processing() else { return };
        match self.level_here(processing) {
            Some(Level::Dispatch) => {
                let _turn = Turn::at_dispatch(self.services());
                self.process_here(processing, Level::Dispatch);
            }
            Some(level) => self.process_here(processing, level),
            None => self.queue_attempt(processing),
        }
    }
}

/// What one round came to.
#[derive(PartialEq)]
enum Round {
    /// Not every pin that must have a frame has one, or the driver waits for the next trigger.
    Pending,
    /// The driver goes on.
    Again,
    /// Somebody has the processing mutex, and this thread cannot wait.
    Taken,
}

impl Filter {
    /// Tries to start filter-centric processing; never a promise that it will. Without effect on a filter whose pins
    /// process by themselves.
    // ks-coverage: KsFilterAttemptProcessing done test=an_attempt_at_the_filter_processes_what_waits,every_flag_of_a_driver_does_what_its_page_says_and_nothing_of_it_without
    #[doc(alias = "KsFilterAttemptProcessing")]
    pub fn attempt_processing(self: &Arc<Filter>) {
        if let Some(processing) = self.processing() {
            processing.again.store(true, Ordering::SeqCst);
            deferred::run_later(self.clone());
        }
    }

    /// [`Filter::attempt_processing`], always on a worker.
    #[doc(alias = "KsFilterAttemptProcessing")]
    pub fn attempt_processing_later(self: &Arc<Filter>) {
        if let Some(processing) = self.processing() {
            processing.again.store(true, Ordering::SeqCst);
            self.queue_attempt(processing);
        }
    }

    /// The filter's AND gate; `None` for a filter whose pins process by themselves.
    // ks-coverage: KsFilterGetAndGate done test=a_closed_filter_gate_holds_processing_back,pins_behind_a_drivers_gate_process_as_the_gate_says
    #[doc(alias = "KsFilterGetAndGate")]
    pub fn and_gate(&self) -> Option<&Arc<Gate>> {
        self.processing().map(FilterProcessing::gate)
    }

    /// The mutex that is held while the filter processes; `None` for a filter whose pins process by themselves.
    #[doc(alias = "KsFilterAcquireProcessingMutex")]
    pub fn processing_mutex(&self) -> Option<&RankedMutex> {
        self.processing().map(|processing| &*processing.mutex)
    }

    /// The level at which this thread may process; `None`: it may not. No request of a client pumps a circuit.
    fn level_here(&self, processing: &FilterProcessing) -> Option<Level> {
        if ks_io::holds_ranked_mutex() {
            // The thread waits inside of a driver's callback.
            return None;
        }
        let at_dispatch = || self.descriptor().flags().contains(FilterFlags::DISPATCH_LEVEL_PROCESSING);
        if let Some(turn) = process::turn() {
            return turn.level(at_dispatch);
        }
        if processing.worker_queued.load(Ordering::SeqCst) {
            return None;
        }
        match Level::current() {
            Level::Passive => (!self.all_pins().iter().any(|pin| pin.in_circuit())).then_some(Level::Passive),
            Level::Dispatch => at_dispatch().then_some(Level::Dispatch),
            _ => None,
        }
    }

    fn work_queue(&self) -> WorkQueue {
        let flags = self.descriptor().flags();
        if flags.contains(FilterFlags::HYPERCRITICAL_PROCESSING) {
            WorkQueue::HyperCritical
        } else if flags.contains(FilterFlags::CRITICAL_PROCESSING) {
            WorkQueue::Critical
        } else {
            WorkQueue::Delayed
        }
    }

    fn queue_attempt(self: &Arc<Filter>, processing: &FilterProcessing) {
        if !processing.worker_queued.swap(true, Ordering::SeqCst) {
            let item = processing.worker.get_or_init(|| Arc::new(FilterWorkerItem(Arc::downgrade(self))));
            self.services().queue_work(self.work_queue(), item.clone());
        }
    }

    /// As a pin does it: `again` is read after the gate is given back, so no attempt is lost.
    fn process_here(self: &Arc<Filter>, processing: &FilterProcessing, level: Level) {
        let mut rounds = 0;
        while processing.again.load(Ordering::SeqCst) && processing.capture() {
            processing.again.store(false, Ordering::SeqCst);
            let mut spent = false;
            while !spent {
                let round = self.round(processing, level);
                processing.attachments.refresh();
                spent = match round {
                    Round::Pending => break,
                    Round::Again => process::spend(1, self.services()),
                    Round::Taken => true,
                };
            }
            processing.gate.turn_input_on();
            rounds += 1;
            if spent {
                processing.again.store(true, Ordering::SeqCst);
            } else if rounds < process::BUDGET_FRAMES || !processing.again.load(Ordering::SeqCst) {
                continue;
            }
            self.queue_attempt(processing);
            return;
        }
    }

    fn round(self: &Arc<Filter>, processing: &FilterProcessing, level: Level) -> Round {
        let pins = self.all_pins();
        let Some(instance) = self.instance() else { return Round::Pending };
        let mut outgoing: Vec<Outgoing> = Vec::new();
        let mut raised = Vec::new();
        let round = {
            let Some(held) = process::hold_at(&processing.mutex, level) else { return Round::Taken };
            let taking_part: Vec<&Arc<Pin>> = pins.iter().filter(|pin| pin.is_processing()).collect();
            let is_open = processing.attachments.are_open();
            // Said before the minidriver sees the frame, and without it.
            let owing: Vec<_> =
                taking_part.iter().filter(|pin| is_open && pin.owes_flags() && pin.has_frame()).collect();
            if owing.is_empty() && !(is_open && self.is_ready(processing, &pins, &taking_part)) {
                drop(held);
                // A change of format holds its pin back like a frame that is missing.
                let mut met = false;
                for pin in taking_part {
                    met |= pin.queue().is_some_and(|queue| queue.is_turning()) && pin.turn();
                }
                return if met { Round::Again } else { Round::Pending };
            }
            for pin in &pins {
                if let Some(queue) = pin.queue() {
                    queue.hold_outgoing();
                }
            }
            let round = if owing.is_empty() {
                self.call(processing, instance, &taking_part)
            } else {
                let said = owing.into_iter().filter(|pin| pin.say_owed_flags()).count();
                if said > 0 { Round::Again } else { Round::Pending }
            };
            for pin in &pins {
                let (mut out, mut flags) = (Outgoing::default(), 0);
                if let Some(queue) = pin.queue() {
                    flags = queue.end_processing(&mut out).raised;
                }
                outgoing.push(out);
                raised.push(flags);
            }
            round
        };
        // The hops come after the processing mutex is released.
        for ((pin, out), flags) in pins.iter().zip(&mut outgoing).zip(raised) {
            match flags {
                0 => pin.forward(out),
                raised => {
                    pin.forward_raising(out, raised);
                    pin.turn();
                }
            }
        }
        round
    }

    /// Enough pins of each factory process, no pin is on its way, and the frames are there.
    fn is_ready(&self, processing: &FilterProcessing, pins: &[Arc<Pin>], taking_part: &[&Arc<Pin>]) -> bool {
        // Of these the gate says what is needed, which is open.
        let gated = |pin: &Arc<Pin>| processing.attachments.has(pin);
        for id in 0..self.descriptor().pin_count() {
            let Some(factory) = self.pin_descriptor(id) else { continue };
            let count = taking_part.iter().filter(|pin| pin.id() == id).count();
            if (count as u64) < u64::from(factory.instances_necessary()) {
                return false;
            }
            let flags = factory.flags();
            let own = taking_part.iter().filter(|pin| pin.id() == id && !gated(pin) && pin.copied_from().is_none());
            let (count, with_frame) =
                own.fold((0, 0), |(all, with), pin| (all + 1, with + usize::from(pin.has_frame())));
            if flags.contains(PinFlags::SOME_FRAMES_REQUIRED_FOR_PROCESSING) {
                if count > 0 && with_frame == 0 {
                    return false;
                }
            } else if !flags.contains(PinFlags::FRAMES_NOT_REQUIRED_FOR_PROCESSING) && with_frame < count {
                return false;
            }
            let any_in_run = flags.contains(PinFlags::PROCESS_IF_ANY_IN_RUN_STATE);
            if any_in_run
                && count > 0
                && !taking_part.iter().any(|pin| pin.id() == id && pin.agreed_state() == KsState::RUN)
            {
                return false;
            }
        }
        // A pin between STOP and its least processing state holds the filter up, as a closed gate does; a stopped one
        // does not.
        let holds_up = |pin: &Arc<Pin>| match pin.is_processing() {
            true => !pin.and_gate().is_open(),
            false => pin.agreed_state() > KsState::STOP,
        };
        !taking_part.is_empty() && !pins.iter().any(|pin| holds_up(pin) && !gated(pin))
    }

    fn call(
        self: &Arc<Filter>,
        processing: &FilterProcessing,
        instance: &FilterCallbacks,
        taking_part: &[&Arc<Pin>],
    ) -> Round {
        let Some(pins) = self.lock_frames(processing, taking_part) else { return Round::Pending };
        if pins.entries.iter().any(ProcessPin::is_bypassed) && !self.takes_empty_frames() {
            bypass(&pins);
            return Round::Again;
        }
        let status = instance.process(self, &pins);
        let progress = settle(&pins) || pins.progress.get();
        // A driver that wants more but consumed nothing would be called for ever.
        if status == STATUS_SUCCESS && progress { Round::Again } else { Round::Pending }
    }

    fn takes_empty_frames(&self) -> bool {
        self.descriptor().flags().contains(crate::descriptor::FilterFlags::RECEIVE_ZERO_LENGTH_SAMPLES)
    }

    /// Locks each pin's leading edge and fills its process pin.
    fn lock_frames<'r>(
        &self,
        processing: &FilterProcessing,
        taking_part: &'r [&'r Arc<Pin>],
    ) -> Option<ProcessPins<'r>> {
        let mut entries: Vec<ProcessPin<'r>> = Vec::with_capacity(taking_part.len());
        for &pin in taking_part {
            let block = processing.block(pin).ok()?;
            let first = pin.copied_from().and_then(|_| pin.first_branch());
            // The class driver fills the frames of an output that gets copies or shares.
            let locked = RefCell::new(if first.is_none() { pin.leading_edge() } else { None });
            let first = first.and_then(|first| entries.iter().position(|entry| Arc::ptr_eq(entry.pin, &first)));
            let follows = first.and_then(|first| Some((pin.copy_relationship()?, first)));
            entries.push(ProcessPin { pin, block, locked, counterpart: None, follows });
        }
        for index in 0..entries.len() {
            let other = entries[index].pin.shares_frames_with();
            let other = other.and_then(|other| entries.iter().position(|entry| Arc::ptr_eq(entry.pin, &other)));
            let Some(other) = other else { continue };
            // Of the outputs of a splitter the first one counts; what becomes of the others is the class driver's affair.
            let first = *entries[other].counterpart.get_or_insert(index);
            entries[index].counterpart = Some(other);
            if first != index {
                entries[index].follows =
                    entries[index].pin.copy_relationship().map(|relationship| (relationship, first));
            }
        }
        let pins = ProcessPins { entries, takes_empty_frames: self.takes_empty_frames(), progress: Cell::new(false) };
        for entry in &pins.entries {
            pins.fill(entry);
        }
        Some(pins)
    }
}
