//! The queue of a pin: requests with their frames, and the pointers into them.
//!
//! A request enters with all of its frames. Each frame is held by its place in the window of each edge (from its arrival
//! until the edge has passed it; only a pin that asks for it has a trailing edge) and by every clone on it; when nothing
//! holds it, it has left; when the last frame of a request has left, the request goes out: completed if it has a caller,
//! to the next hop if it belongs to a circuit. A frame that a pointer has locked cannot be cancelled.
//!
//! The request of a circuit has one frame and no caller. It is kept in its entry, and handed to the leading edge while
//! that is locked on it, so the common path counts no references.
//!
//! Source: "Leading and trailing edge stream pointers", "Locking and unlocking stream pointers".

mod changes;
mod clones;
mod closing;
mod ends;
mod leading;
mod lent;
mod timeouts;
mod trailing;

use crate::descriptor::PinFlags;
use crate::format::DataFormat;
use crate::pin::Pin;
use crate::statistics::Counters;
use crate::stream_pointer::{CloneId, PointerBlock, STREAM_POINTER_BYTES, Units};
use clones::{CloneState, OutFrame};
use ends::Ends;
use ks_abi::{
    KSSTREAM_HEADER_OPTIONSF_TYPECHANGED, NtStatus, STATUS_CANCELLED, STATUS_INSUFFICIENT_RESOURCES, STATUS_SUCCESS,
};
use ks_io::sync::{
    Arc, Mutex, Weak,
    atomic::{AtomicU32, Ordering},
};
use ks_io::{CancelTarget, Irp, StreamFrame, StreamFrames};
use ks_mem::{Learning, fallible};
use std::collections::VecDeque;
use timeouts::Scheduled;
use trailing::Trailing;

pub(crate) use changes::{format_in, is_change};
pub(crate) use leading::{Eject, LockedFrame, Moved};
pub use lent::{FrameRequest, Step};
pub use timeouts::PointerId;

/// The queue of one standard-transport pin.
pub(crate) struct Queue {
    pin: Weak<Pin>,
    me: Weak<Queue>,
    data_sink: bool,
    fifo: bool,
    /// Every request is in the table, also those of a circuit with one frame.
    tabled: bool,
    /// Innermost lock of the class driver: nothing is called under it but the cancel state of an IRP.
    state: Mutex<State>,
    /// Threads that have taken what goes out and have not sent it on yet, but for the one that processes.
    sending: AtomicU32,
}

struct State {
    /// Why nothing enters: the pin is stopped, in reset, or gone.
    closed: Option<NtStatus>,
    /// The pin is gone: a state change that was on its way does not open the queue any more.
    closed_for_good: bool,
    /// Frames in order of arrival; those that have left stay until they are at the front.
    entries: VecDeque<Entry>,
    /// Sequence number of the first entry.
    base: u64,
    /// Sequence number at which the leading edge stands; behind the last entry when there is no frame.
    leading: u64,
    leading_locked: bool,
    leading_block: PointerBlock,
    /// Of a pin with a distinct trailing edge.
    trailing: Option<Box<Trailing>>,
    /// How many entries are changes of format, and [`changes::TURNING`]; see `changes.rs`.
    changes: u32,
    /// A format that the next empty frame is to tell of.
    announce: Option<Box<DataFormat>>,
    /// Headers of frames by which the class driver told of a format; the others are the driver's own.
    told: Vec<u64>,
    clones: Vec<CloneState>,
    /// Only where there are clones.
    out: Option<OutFrame>,
    next_clone: u64,
    /// Timeouts of pointers that nobody has claimed.
    timeouts: Vec<Scheduled>,
    /// Blocks of clones that were deleted while a callback has their address.
    deleted: Vec<(CloneId, PointerBlock)>,
    /// Requests of callers, and those of several frames.
    requests: Vec<Option<Queued>>,
    free: Vec<u32>,
    /// Keys in order of arrival; kept only for a pin that enforces it.
    order: VecDeque<u32>,
    next_generation: u32,
    outgoing: Outgoing,
    /// A process callback runs: what goes out waits for its return.
    processing: bool,
    /// The running process callback has consumed something.
    progress: bool,
    counters: Counters,
    ends: Ends,
}

struct Entry {
    held: Held,
    /// One a window that the frame is in and one a clone; 0: the frame has left.
    holds: u32,
    /// The edges that have not passed the frame: [`LEADING`], [`TRAILING`].
    windows: u8,
    locks: u32,
    /// The request was cancelled, or its pin stopped; STATUS_SUCCESS: it was not.
    cancelled: NtStatus,
}

/// In the window of the leading edge.
const LEADING: u8 = 1;
/// In the window of the trailing edge.
const TRAILING: u8 = 2;

enum Held {
    /// The only frame of a circuit's request.
    Own(Irp),
    /// As above, with the locked leading edge right now.
    Out,
    /// A frame of a request in the table.
    Shared { key: u32, frame: Arc<StreamFrame> },
    /// A change of format, in the place of a sample: no pointer is ever locked on it.
    Change(Box<Held>),
    /// The frame has left.
    Left,
}

impl Held {
    /// What is held, be it a change of format or not.
    fn plain(&self) -> &Held {
        match self {
            Held::Change(held) => held,
            held => held,
        }
    }
}

struct Queued {
    irp: Irp,
    generation: u32,
    frames_left: u32,
    cancelled: bool,
}

#[inline]
fn only_frame(irp: &Irp) -> &Arc<StreamFrame> {
    irp.stream().and_then(|stream| stream.frame(0)).expect("invariant: a request of a circuit has one frame")
}

/// What an arrival means for the pin.
#[derive(Default)]
pub(crate) struct Arrival {
    /// A frame arrived with nothing at or ahead of the leading edge.
    pub(crate) into_empty: bool,
    /// A change of format is among them, or something goes out because of one.
    pub(crate) change: bool,
    /// The requests that were not taken, because the queue is closed or they were cancelled before.
    pub(crate) refused: Vec<(Irp, NtStatus)>,
}

/// Requests on their way out of a queue.
#[derive(Default)]
pub(crate) struct Outgoing {
    /// Of the circuit, to the next hop.
    pub(crate) onward: Vec<Irp>,
    /// With a caller, to be completed with the status that they carry.
    pub(crate) callers: Vec<Irp>,
    /// Of the circuit, cancelled: back to the head of the section.
    pub(crate) parked: Vec<Irp>,
}

impl Outgoing {
    pub(crate) const fn none() -> Outgoing {
        Outgoing { onward: Vec::new(), callers: Vec::new(), parked: Vec::new() }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.onward.is_empty() && self.callers.is_empty() && self.parked.is_empty()
    }
}

/// What a thread that may process finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    /// A frame: the process callback runs.
    Process,
    /// A change of format, before the leading edge or on its way out.
    Turn,
    /// Nothing.
    Nothing,
}

/// What is left after processing.
#[derive(Default)]
pub(crate) struct More {
    /// Frames are left to process, and the last callback consumed something: without that it would be called for ever.
    pub(crate) frames: bool,
    /// Options flags that raise events, of frames that have left.
    pub(crate) raised: u32,
}

impl Queue {
    pub(crate) fn new(pin: Weak<Pin>, data_sink: bool, flags: PinFlags, units: Units) -> Result<Arc<Queue>, NtStatus> {
        let fifo = flags.contains(PinFlags::ENFORCE_FIFO);
        let distinct = flags.contains(PinFlags::DISTINCT_TRAILING_EDGE);
        let state = State {
            closed: Some(ks_abi::STATUS_INVALID_DEVICE_STATE),
            closed_for_good: false,
            entries: VecDeque::new(),
            base: 0,
            leading: 0,
            leading_locked: false,
            leading_block: PointerBlock::new(units.clone())?,
            trailing: if distinct { Some(Box::new(Trailing::new(units)?)) } else { None },
            changes: 0,
            announce: None,
            told: Vec::new(),
            clones: Vec::new(),
            out: None,
            next_clone: 1,
            timeouts: Vec::new(),
            deleted: Vec::new(),
            requests: Vec::new(),
            free: Vec::new(),
            order: VecDeque::new(),
            next_generation: 0,
            outgoing: Outgoing::default(),
            processing: false,
            progress: false,
            counters: Counters::default(),
            ends: Ends::default(),
        };
        let (tabled, state) = (fifo || distinct, Mutex::new(state));
        Ok(Arc::new_cyclic(|me| Queue {
            pin,
            me: me.clone(),
            data_sink,
            fifo,
            tabled,
            state,
            sending: AtomicU32::new(0),
        }))
    }

    /// Adds requests in order and leaves `batch` empty. Those with a caller can be cancelled from here on.
    pub(crate) fn add(&self, batch: &mut Vec<Irp>) -> Arrival {
        let mut state = self.state.lock();
        let was_empty = state.leading == state.end();
        let first = state.end();
        let mut refused = Vec::new();
        if state.closed.is_none() && !self.tabled {
            self.add_own(&mut state, batch);
        }
        for irp in batch.drain(..) {
            if let Some(status) = state.closed {
                if let Some(irp) = self.keep_change(&mut state, irp) {
                    refused.push((irp, status));
                }
            } else if self.data_sink
                && state.counters.ended
                && !(irp.has_caller() && state.counters.begin_next_stream())
            {
                // The stream has ended here; what comes after it waits for the next one.
                refused.push((irp, STATUS_SUCCESS));
            } else if irp.has_caller() || self.tabled || irp.stream().is_none_or(|stream| stream.len() != 1) {
                if let Err(refusal) = self.take_in(&mut state, irp) {
                    refused.push(refusal);
                }
            } else {
                if self.data_sink {
                    state.counters.pass(only_frame(&irp));
                }
                state.entries.push_back(Entry { held: Held::Own(irp), ..Entry::ARRIVING });
            }
        }
        let into_empty = was_empty && state.leading != state.end();
        let change = state.counters.type_changed && self.find_changes(&mut state, first);
        if !state.clones.is_empty() {
            self.clones_meet(&mut state, first);
        }
        Arrival { into_empty, change, refused }
    }

    /// Takes the requests of a circuit at the front of the batch, which are all of it but where a stream ends. The rest is
    /// left in `batch`.
    fn add_own(&self, state: &mut State, batch: &mut Vec<Irp>) {
        let mut taken = 0;
        for irp in &*batch {
            if irp.has_caller() || irp.stream().is_none_or(|stream| stream.len() != 1) {
                break;
            }
            if self.data_sink {
                if state.counters.ended {
                    break;
                }
                state.counters.pass(only_frame(irp));
            }
            taken += 1;
        }
        let arriving = |irp| Entry { held: Held::Own(irp), ..Entry::ARRIVING };
        state.entries.extend(batch.drain(..taken).map(arriving));
    }

    /// A request of a caller, or of several frames.
    fn take_in(&self, state: &mut State, irp: Irp) -> Result<(), (Irp, NtStatus)> {
        let frames = irp.stream().map_or(0, StreamFrames::len);
        if frames > 1 && fallible(|| state.entries.try_reserve(frames)).is_err() {
            return Err((irp, STATUS_INSUFFICIENT_RESOURCES));
        }
        let key = state.free.pop().unwrap_or_else(|| {
            state.requests.push(None);
            (state.requests.len() - 1) as u32
        });
        let generation = state.next_generation;
        if irp.has_caller() {
            let me: Weak<dyn CancelTarget> = self.me.clone();
            if irp.arm(me, u64::from(generation) << 32 | u64::from(key)).is_err() {
                state.free.push(key);
                return Err((irp, STATUS_CANCELLED));
            }
        }
        state.next_generation = generation.wrapping_add(1);
        let (holds, windows) = if state.trailing.is_some() { (2, LEADING | TRAILING) } else { (1, LEADING) };
        let mut frames_left = 0;
        for frame in irp.stream().into_iter().flat_map(|stream| stream.iter()) {
            if self.data_sink {
                state.counters.pass(frame);
            }
            let held = Held::Shared { key, frame: frame.clone() };
            state.entries.push_back(Entry { held, holds, windows, ..Entry::ARRIVING });
            frames_left += 1;
        }
        if self.fifo {
            state.order.push_back(key);
        }
        state.requests[key as usize] = Some(Queued { irp, generation, frames_left, cancelled: false });
        if frames_left == 0 {
            self.finish(state, key);
        }
        Ok(())
    }

    /// Notes what the next turn of the pin touches.
    pub(crate) fn footprint(&self, learning: &mut Learning<'_>) {
        learning.object(self);
        let state = self.state.lock();
        learning.bytes(state.leading_block.address(), STREAM_POINTER_BYTES);
        if let Some(front) = state.entries.front() {
            learning.object(front);
            if let Held::Own(irp) = &front.held {
                irp.footprint(learning);
            }
        }
    }

    /// A frame is no longer in the window of an edge.
    fn leave_window(&self, state: &mut State, index: usize, window: u8) {
        let entry = &mut state.entries[index];
        if entry.windows & window != 0 {
            entry.windows &= !window;
            self.drop_hold(state, index);
        }
    }

    fn drop_hold(&self, state: &mut State, index: usize) {
        let entry = &mut state.entries[index];
        entry.holds -= 1;
        if entry.holds > 0 {
            return;
        }
        let cancelled = entry.cancelled;
        let mut held = std::mem::replace(&mut entry.held, Held::Left);
        if let Held::Change(change) = held {
            state.changes -= 1;
            held = *change;
        }
        match held {
            Held::Own(irp) => {
                if cancelled == STATUS_SUCCESS {
                    self.leave(&mut state.counters, only_frame(&irp));
                    state.outgoing.onward.push(irp);
                } else {
                    irp.set_status(cancelled);
                    state.outgoing.parked.push(irp);
                }
            }
            Held::Shared { key, frame } => {
                let queued = state.requests[key as usize].as_mut();
                let (cancelled, done) = queued.map_or((true, false), |queued| {
                    queued.frames_left -= 1;
                    (queued.cancelled, queued.frames_left == 0)
                });
                if !cancelled {
                    self.leave(&mut state.counters, &frame);
                }
                if done {
                    self.finish(state, key);
                }
            }
            Held::Out | Held::Change(_) | Held::Left => {}
        }
    }

    /// A frame leaves in good order.
    #[inline]
    fn leave(&self, counters: &mut Counters, frame: &StreamFrame) {
        if self.data_sink { counters.leave_sink(frame) } else { counters.leave_source(frame) }
    }

    fn finish(&self, state: &mut State, key: u32) {
        if !self.fifo {
            state.send_out(key);
            return;
        }
        while let Some(&first) = state.order.front() {
            let done = state.requests[first as usize].as_ref().is_none_or(|queued| queued.frames_left == 0);
            if !done {
                break;
            }
            state.order.pop_front();
            state.send_out(first);
        }
    }

    /// A process callback starts, if there is a frame for it. Until [`Queue::end_processing`] nothing goes out.
    pub(crate) fn begin_processing(&self) -> Begin {
        let mut state = self.state.lock();
        let ready = state.is_ready(self.data_sink);
        state.processing = ready;
        state.progress = false;
        match ready {
            true => Begin::Process,
            false if state.changes != 0 => Begin::Turn,
            false => Begin::Nothing,
        }
    }

    /// The process callback has returned: what goes out, and whether there is more to process. `outgoing` is empty and
    /// gives its room to the queue.
    pub(crate) fn end_processing(&self, outgoing: &mut Outgoing) -> More {
        let mut state = self.state.lock();
        state.processing = false;
        if state.changes != 0 && !self.may_turn(&mut state) {
            return More { frames: false, raised: KSSTREAM_HEADER_OPTIONSF_TYPECHANGED };
        }
        std::mem::swap(&mut state.outgoing, outgoing);
        let frames = state.progress && state.is_ready(self.data_sink);
        More { frames, raised: state.take_raised() }
    }

    /// The process callback of the filter begins: what goes out waits for its end, frames or not.
    pub(crate) fn hold_outgoing(&self) {
        let mut state = self.state.lock();
        state.processing = true;
        state.progress = false;
    }

    /// Is there a frame to process?
    pub(crate) fn is_ready(&self) -> bool {
        self.state.lock().is_ready(self.data_sink)
    }

    /// A process callback does not return: what goes out goes without waiting for it.
    pub(crate) fn abandon_processing(&self) {
        self.state.lock().processing = false;
    }

    /// Is the leading or the trailing edge locked?
    pub(crate) fn has_locked_edge(&self) -> bool {
        let state = self.state.lock();
        state.leading_locked || state.trailing.as_ref().is_some_and(|trailing| trailing.locked.is_some())
    }

    /// What goes out now, unless a process callback is running (its end takes it along). [`Queue::sent`] follows when it
    /// has been sent on.
    pub(crate) fn take_outgoing(&self) -> (Outgoing, More) {
        // Paired with `may_turn`, under the lock.
        self.sending.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.lock();
        if state.processing {
            return (Outgoing::default(), More::default());
        }
        if state.changes & changes::TURNING != 0 {
            return (state.take_ended(), More::default());
        }
        let raised = state.take_raised();
        let more = More { frames: state.is_ready(self.data_sink), raised };
        (std::mem::take(&mut state.outgoing), more)
    }

    /// What [`Queue::take_outgoing`] gave has been sent on.
    pub(crate) fn sent(&self) {
        self.sending.fetch_sub(1, Ordering::Release);
    }

    /// The counters, locked.
    pub(crate) fn with_counters<R>(&self, read: impl FnOnce(&mut Counters) -> R) -> R {
        read(&mut self.state.lock().counters)
    }

    /// Requests that are in the queue.
    pub(crate) fn request_count(&self) -> usize {
        let state = self.state.lock();
        let own = state.entries.iter().filter(|entry| matches!(entry.held.plain(), Held::Own(_) | Held::Out)).count();
        own + state.requests.iter().flatten().count()
    }
}

impl Entry {
    const ARRIVING: Entry = Entry { held: Held::Out, holds: 1, windows: LEADING, locks: 0, cancelled: STATUS_SUCCESS };
}

impl State {
    #[inline]
    fn end(&self) -> u64 {
        self.base + self.entries.len() as u64
    }

    #[inline]
    fn index(&self, sequence: u64) -> Option<usize> {
        let index = sequence.checked_sub(self.base)? as usize;
        (index < self.entries.len()).then_some(index)
    }

    #[inline]
    fn leading_index(&self) -> Option<usize> {
        self.index(self.leading)
    }

    fn is_ready(&self, data_sink: bool) -> bool {
        self.leading < self.end()
            && self.closed.is_none()
            && !self.ends.hold
            && if data_sink { self.changes == 0 || !self.at_change() } else { !self.counters.ended }
    }

    fn must_flush(&self) -> bool {
        !self.processing && !self.outgoing.is_empty()
    }

    /// Moves the edges over frames that are not in their windows any more, and forgets those at the front that have left.
    fn skip_left(&mut self) {
        while !self.leading_locked
            && let Some(index) = self.leading_index()
            && self.entries[index].windows & LEADING == 0
        {
            self.leading += 1;
        }
        self.skip_trailing();
        while self.base < self.leading && self.entries.front().is_some_and(|entry| entry.holds == 0) {
            self.entries.pop_front();
            self.base += 1;
        }
    }

    fn send_out(&mut self, key: u32) {
        let Some(queued) = self.requests[key as usize].take() else { return };
        self.free.push(key);
        if queued.irp.has_caller() {
            queued.irp.disarm();
            self.outgoing.callers.push(queued.irp);
        } else if queued.cancelled {
            self.outgoing.parked.push(queued.irp);
        } else {
            self.outgoing.onward.push(queued.irp);
        }
    }
}
