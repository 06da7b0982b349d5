//! The queue of a pin: requests with their frames, and the pointers into them.
//!
//! A request enters with all of its frames. Each frame is held by its place in the window (from its arrival until the
//! leading edge has passed it) and by every clone on it; when nothing holds it, it has left; when the last frame of a
//! request has left, the request goes out: completed if it has a caller, to the next hop if it belongs to a circuit.
//! A frame that a pointer has locked cannot be cancelled.
//!
//! Source: "Leading and trailing edge stream pointers", "Locking and unlocking stream pointers".

use crate::pin::Pin;
use crate::statistics::Counters;
use crate::stream_pointer::{CloneId, PointerBlock};
use ks_abi::{KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM, NtStatus, STATUS_CANCELLED};
use ks_io::sync::{Arc, Mutex, MutexGuard, Weak};
use ks_io::{CancelTarget, Irp, StreamFrame};
use std::collections::VecDeque;

/// The queue of one standard-transport pin.
pub(crate) struct Queue {
    pin: Weak<Pin>,
    me: Weak<Queue>,
    data_sink: bool,
    fifo: bool,
    state: Mutex<State>,
}

struct State {
    /// Why nothing enters: the pin is stopped, in reset, or gone.
    closed: Option<NtStatus>,
    /// Frames in order of arrival; those that have left stay until they are at the front.
    entries: VecDeque<Entry>,
    /// Sequence number of the first entry.
    base: u64,
    /// Sequence number at which the leading edge stands; behind the last entry when there is no frame.
    leading: u64,
    leading_locked: bool,
    leading_block: PointerBlock,
    clones: Vec<CloneState>,
    next_clone: u64,
    requests: Vec<Option<Queued>>,
    free: Vec<u32>,
    /// Keys in order of arrival; kept only for a pin that enforces it.
    order: VecDeque<u32>,
    next_generation: u32,
    /// Requests whose frames have all left, waiting to go out.
    outgoing: Vec<Irp>,
    /// A process callback runs: what goes out waits for its return.
    processing: bool,
    /// The running process callback has consumed something.
    progress: bool,
    counters: Counters,
}

struct Entry {
    key: u32,
    frame: Arc<StreamFrame>,
    /// The window's hold and one a clone; 0: the frame has left.
    holds: u32,
    locks: u32,
}

struct Queued {
    irp: Irp,
    generation: u32,
    frames_left: u32,
    cancelled: bool,
}

struct CloneState {
    id: CloneId,
    sequence: u64,
    locked: bool,
    block: PointerBlock,
}

/// What an arrival means for the pin.
pub(crate) struct Arrival {
    /// A frame arrived with nothing at or ahead of the leading edge.
    pub(crate) into_empty: bool,
    /// The requests that were not taken, because the queue is closed or they were cancelled before.
    pub(crate) refused: Vec<(Irp, NtStatus)>,
}

/// How a pointer moved.
pub(crate) struct Moved {
    /// The frame that it is now locked on; `None` at the end of the queue.
    pub(crate) locked: Option<Arc<StreamFrame>>,
    /// Something is to go out and no process callback runs that would take it along.
    pub(crate) flush: bool,
}

impl Queue {
    pub(crate) fn new(pin: Weak<Pin>, data_sink: bool, fifo: bool) -> Result<Arc<Queue>, NtStatus> {
        let state = State {
            closed: Some(ks_abi::STATUS_INVALID_DEVICE_STATE),
            entries: VecDeque::new(),
            base: 0,
            leading: 0,
            leading_locked: false,
            leading_block: PointerBlock::new()?,
            clones: Vec::new(),
            next_clone: 1,
            requests: Vec::new(),
            free: Vec::new(),
            order: VecDeque::new(),
            next_generation: 0,
            outgoing: Vec::new(),
            processing: false,
            progress: false,
            counters: Counters::default(),
        };
        Ok(Arc::new_cyclic(|me| Queue { pin, me: me.clone(), data_sink, fifo, state: Mutex::new(state) }))
    }

    /// Adds requests in order and leaves `batch` empty. Those with a caller can be cancelled from here on.
    pub(crate) fn add(&self, batch: &mut Vec<Irp>) -> Arrival {
        let mut state = self.state.lock();
        let into_empty = state.leading == state.end();
        let mut refused = Vec::new();
        for irp in batch.drain(..) {
            if let Some(status) = state.closed {
                refused.push((irp, status));
                continue;
            }
            if self.data_sink && state.counters.ended {
                refused.push((irp, ks_abi::STATUS_SUCCESS));
                continue;
            }
            if let Err(irp) = self.take_in(&mut state, irp) {
                refused.push((irp, STATUS_CANCELLED));
            }
        }
        let into_empty = into_empty && state.leading != state.end();
        Arrival { into_empty, refused }
    }

    fn take_in(&self, state: &mut State, irp: Irp) -> Result<(), Irp> {
        let key = state.free.pop().unwrap_or_else(|| {
            state.requests.push(None);
            (state.requests.len() - 1) as u32
        });
        let generation = state.next_generation;
        if irp.has_caller() {
            let me: Weak<dyn CancelTarget> = self.me.clone();
            if irp.arm(me, u64::from(generation) << 32 | u64::from(key)).is_err() {
                state.free.push(key);
                return Err(irp);
            }
        }
        state.next_generation = generation.wrapping_add(1);
        let frames = irp.stream().map_or(0, |stream| stream.len());
        for index in 0..frames {
            let Some(frame) = irp.stream().and_then(|stream| stream.frame(index)).cloned() else { continue };
            if self.data_sink {
                state.counters.pass(&frame);
            }
            state.entries.push_back(Entry { key, frame, holds: 1, locks: 0 });
        }
        if self.fifo {
            state.order.push_back(key);
        }
        let queued = Queued { irp, generation, frames_left: frames as u32, cancelled: false };
        state.requests[key as usize] = Some(queued);
        if frames == 0 {
            self.finish(state, key);
        }
        Ok(())
    }

    /// Opens the queue for requests.
    pub(crate) fn open(&self) {
        let mut state = self.state.lock();
        state.closed = None;
    }

    /// Closes the queue and lets go of every frame that is not locked; `status` is what callers get, now and later.
    /// Returns the unlocked clones whose frames are gone, for the driver to delete.
    pub(crate) fn close(&self, status: NtStatus) -> Vec<CloneId> {
        let mut state = self.state.lock();
        state.closed = Some(status);
        self.let_go(&mut state, |_| true, status)
    }

    /// A closed queue refuses with this status from now on.
    pub(crate) fn refuse_with(&self, status: NtStatus) {
        let mut state = self.state.lock();
        if state.closed.is_some() {
            state.closed = Some(status);
        }
    }

    /// Drops the window's hold on the frames of the chosen requests, from the leading edge on.
    fn let_go(&self, state: &mut State, chosen: impl Fn(&Queued) -> bool, status: NtStatus) -> Vec<CloneId> {
        for queued in state.requests.iter_mut().flatten().filter(|queued| chosen(queued)) {
            queued.cancelled = true;
            queued.irp.set_status(status);
        }
        let leading_locked = state.leading_locked.then_some(state.leading);
        let mut orphans = Vec::new();
        for index in 0..state.entries.len() {
            let sequence = state.base + index as u64;
            let entry = &state.entries[index];
            let cancelled = state.requests[entry.key as usize].as_ref().is_some_and(|queued| queued.cancelled);
            if entry.holds == 0 || !cancelled {
                continue;
            }
            orphans.extend(state.clones.iter().filter(|c| c.sequence == sequence && !c.locked).map(|c| c.id));
            if sequence >= state.leading && leading_locked != Some(sequence) && entry.locks == 0 {
                if sequence > state.leading {
                    // Ahead of the edge: only the window holds it; mark it so that the edge skips it.
                    self.drop_hold(state, index);
                } else {
                    state.leading += 1;
                    self.drop_hold(state, index);
                }
            }
        }
        state.skip_left();
        orphans
    }

    fn drop_hold(&self, state: &mut State, index: usize) {
        let entry = &mut state.entries[index];
        entry.holds -= 1;
        if entry.holds > 0 {
            return;
        }
        let key = entry.key;
        if !self.data_sink {
            let cancelled = state.requests[key as usize].as_ref().is_some_and(|queued| queued.cancelled);
            if !cancelled {
                state.counters.pass(&state.entries[index].frame);
            }
        } else if state.entries[index].frame.options_flags() & KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM != 0 {
            state.counters.end_of_stream_left = true;
        }
        if let Some(queued) = state.requests[key as usize].as_mut() {
            queued.frames_left -= 1;
            if queued.frames_left == 0 {
                self.finish(state, key);
            }
        }
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

    /// Locks the leading edge onto its frame; `None` without a frame or when it is locked already.
    #[inline]
    pub(crate) fn lock_leading(&self) -> Option<Arc<StreamFrame>> {
        let mut state = self.state.lock();
        if state.leading_locked { None } else { state.lock_leading() }
    }

    /// Moves the locked leading edge to the next frame and locks it there; without a frame it stays unlocked.
    pub(crate) fn advance_leading(&self) -> Moved {
        let mut state = self.state.lock();
        self.pass_leading(&mut state);
        let locked = state.lock_leading();
        Moved { locked, flush: state.must_flush() }
    }

    /// Unlocks the leading edge, where it is or one frame on. True when something is to go out.
    pub(crate) fn unlock_leading(&self, eject: Eject) -> bool {
        let mut state = self.state.lock();
        match eject {
            Eject::Stay => {
                state.unlock_leading();
                self.let_go_if_cancelled(&mut state);
            }
            Eject::Next => self.pass_leading(&mut state),
        }
        state.must_flush()
    }

    fn pass_leading(&self, state: &mut State) {
        state.unlock_leading();
        if state.leading < state.end() {
            let index = (state.leading - state.base) as usize;
            state.leading += 1;
            state.progress = true;
            self.drop_hold(state, index);
            state.skip_left();
        }
    }

    /// A frame whose request was cancelled while it was locked goes now.
    fn let_go_if_cancelled(&self, state: &mut State) {
        let index = (state.leading - state.base) as usize;
        let key = state.entries.get(index).map(|entry| entry.key);
        let cancelled =
            key.and_then(|key| state.requests[key as usize].as_ref()).is_some_and(|queued| queued.cancelled);
        if cancelled {
            self.pass_leading(state);
        }
    }

    /// Moves the locked leading edge by bytes; see [`crate::Locked::advance_offsets`]. `None`: it stays on its frame.
    pub(crate) fn advance_leading_offsets(&self, in_bytes: u32, out_bytes: u32, eject: Eject) -> Option<Moved> {
        let mut state = self.state.lock();
        let index = (state.leading - state.base) as usize;
        let frame = state.entries.get(index)?.frame.clone();
        let remaining = state.leading_block.advance(&frame, in_bytes, out_bytes, self.data_sink);
        state.progress = true;
        if remaining > 0 && eject == Eject::Stay {
            return None;
        }
        self.pass_leading(&mut state);
        let locked = state.lock_leading();
        Some(Moved { locked, flush: state.must_flush() })
    }

    /// Bytes of the leading edge's frame that its offset has not passed.
    pub(crate) fn leading_remaining(&self) -> u32 {
        self.state.lock().leading_block.remaining(self.data_sink)
    }

    /// A clone on the locked leading edge's frame, locked like it.
    pub(crate) fn clone_leading(&self) -> Option<(CloneId, Arc<StreamFrame>)> {
        let mut state = self.state.lock();
        let index = (state.leading - state.base) as usize;
        if !state.leading_locked {
            return None;
        }
        let block = PointerBlock::copy_of(&state.leading_block).ok()?;
        let entry = state.entries.get_mut(index)?;
        entry.holds += 1;
        entry.locks += 1;
        let frame = entry.frame.clone();
        let id = CloneId(state.next_clone);
        state.next_clone += 1;
        let sequence = state.leading;
        state.clones.push(CloneState { id, sequence, locked: true, block });
        Some((id, frame))
    }

    /// Locks a clone; `None` when its frame was cancelled.
    pub(crate) fn lock_clone(&self, id: CloneId) -> Option<Arc<StreamFrame>> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let clone = state.clones.iter_mut().find(|clone| clone.id == id && !clone.locked)?;
        let entry = state.entries.get_mut((clone.sequence - state.base) as usize)?;
        let cancelled = state.requests[entry.key as usize].as_ref().is_none_or(|queued| queued.cancelled);
        if cancelled {
            return None;
        }
        clone.locked = true;
        entry.locks += 1;
        Some(entry.frame.clone())
    }

    /// Unlocks a clone.
    pub(crate) fn unlock_clone(&self, id: CloneId) -> bool {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(clone) = state.clones.iter_mut().find(|clone| clone.id == id && clone.locked) else { return false };
        clone.locked = false;
        let sequence = clone.sequence;
        if let Some(entry) = state.entries.get_mut((sequence - state.base) as usize) {
            entry.locks -= 1;
        }
        self.settle(state, sequence);
        state.must_flush()
    }

    /// A frame whose request was cancelled while a clone had it locked leaves the window when the lock goes.
    fn settle(&self, state: &mut State, sequence: u64) {
        let index = (sequence - state.base) as usize;
        let Some(entry) = state.entries.get(index) else { return };
        let cancelled = state.requests[entry.key as usize].as_ref().is_some_and(|queued| queued.cancelled);
        let windowed = sequence >= state.leading && !(state.leading_locked && sequence == state.leading);
        if cancelled && windowed && entry.locks == 0 && entry.holds > 0 {
            if sequence == state.leading {
                state.leading += 1;
            }
            self.drop_hold(state, index);
            state.skip_left();
        }
    }

    /// Deletes a clone, locked or not.
    pub(crate) fn delete_clone(&self, id: CloneId) -> bool {
        let mut state = self.state.lock();
        let Some(at) = state.clones.iter().position(|clone| clone.id == id) else { return false };
        let clone = state.clones.swap_remove(at);
        let index = (clone.sequence - state.base) as usize;
        if clone.locked
            && let Some(entry) = state.entries.get_mut(index)
        {
            entry.locks -= 1;
        }
        if index < state.entries.len() {
            self.drop_hold(&mut state, index);
            self.settle(&mut state, clone.sequence);
            state.skip_left();
        }
        state.must_flush()
    }

    /// Adds to the used bytes of a clone's frame; see [`crate::ClonePointer::advance_offsets`]. Returns what remains.
    pub(crate) fn advance_clone_offsets(&self, id: CloneId, in_bytes: u32, out_bytes: u32) -> u32 {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(clone) = state.clones.iter_mut().find(|clone| clone.id == id && clone.locked) else { return 0 };
        match state.entries.get((clone.sequence - state.base) as usize) {
            Some(entry) => clone.block.advance(&entry.frame, in_bytes, out_bytes, self.data_sink),
            None => 0,
        }
    }

    /// Clones that live.
    pub(crate) fn clone_count(&self) -> usize {
        self.state.lock().clones.len()
    }

    /// Sets the status with which the request of the leading edge's frame will complete.
    pub(crate) fn set_status_code(&self, status: NtStatus) {
        let state = self.state.lock();
        let key = state.entries.get((state.leading - state.base) as usize).map(|entry| entry.key);
        if let Some(queued) = key.and_then(|key| state.requests[key as usize].as_ref()) {
            queued.irp.set_status(status);
        }
    }

    /// A process callback starts, if there is a frame for it. Until [`Queue::end_processing`] nothing goes out.
    pub(crate) fn begin_processing(&self) -> bool {
        let mut state = self.state.lock();
        let ready = state.leading < state.end() && state.closed.is_none() && (self.data_sink || !state.counters.ended);
        state.processing = ready;
        state.progress = false;
        ready
    }

    /// The process callback has returned: what goes out, and whether there is more to process.
    pub(crate) fn end_processing(&self, batch: &mut Vec<Irp>) -> More {
        let mut state = self.state.lock();
        state.processing = false;
        let more = state.leading < state.end() && state.closed.is_none() && (self.data_sink || !state.counters.ended);
        let ended = std::mem::take(&mut state.counters.end_of_stream_left);
        std::mem::swap(&mut state.outgoing, batch);
        More { frames: more && state.progress, end_of_stream: ended }
    }

    /// What goes out now, unless a process callback is running (its end takes it along).
    pub(crate) fn take_outgoing(&self) -> (Vec<Irp>, More) {
        let mut state = self.state.lock();
        if state.processing {
            return (Vec::new(), More { frames: false, end_of_stream: false });
        }
        let ended = std::mem::take(&mut state.counters.end_of_stream_left);
        let more = More { frames: state.leading < state.end(), end_of_stream: ended };
        (std::mem::take(&mut state.outgoing), more)
    }

    /// The counters, locked.
    pub(crate) fn with_counters<R>(&self, read: impl FnOnce(&mut Counters) -> R) -> R {
        read(&mut self.state.lock().counters)
    }

    /// Requests that are in the queue.
    pub(crate) fn request_count(&self) -> usize {
        self.state.lock().requests.iter().flatten().count()
    }
}

/// What is left after processing.
pub(crate) struct More {
    /// Frames are left to process, and the last callback consumed something: without that it would be called for ever.
    pub(crate) frames: bool,
    /// The last frame of the stream has left this data sink.
    pub(crate) end_of_stream: bool,
}

/// Whether unlocking also moves on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Eject {
    Stay,
    Next,
}

impl State {
    fn end(&self) -> u64 {
        self.base + self.entries.len() as u64
    }

    #[inline]
    fn lock_leading(&mut self) -> Option<Arc<StreamFrame>> {
        let entry = self.entries.get_mut((self.leading - self.base) as usize)?;
        entry.locks += 1;
        self.leading_locked = true;
        self.leading_block.stand_on(&entry.frame, self.leading);
        Some(entry.frame.clone())
    }

    fn must_flush(&self) -> bool {
        !self.processing && !self.outgoing.is_empty()
    }

    fn unlock_leading(&mut self) {
        if std::mem::take(&mut self.leading_locked)
            && let Some(entry) = self.entries.get_mut((self.leading - self.base) as usize)
        {
            entry.locks -= 1;
        }
    }

    /// Moves the leading edge over frames that have left, and forgets those at the front.
    fn skip_left(&mut self) {
        while !self.leading_locked
            && let Some(entry) = self.entries.get((self.leading - self.base) as usize)
            && entry.holds == 0
        {
            self.leading += 1;
        }
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
        }
        self.outgoing.push(queued.irp);
    }
}

impl CancelTarget for Queue {
    fn cancel(&self, key: u64) {
        let (index, generation) = (key as u32, (key >> 32) as u32);
        let orphans = {
            let mut state: MutexGuard<'_, State> = self.state.lock();
            let found = state.requests.get(index as usize).and_then(Option::as_ref);
            if found.is_none_or(|queued| queued.generation != generation) {
                return;
            }
            self.let_go(&mut state, |queued| queued.generation == generation, STATUS_CANCELLED)
        };
        if let Some(pin) = self.pin.upgrade() {
            pin.orphaned(orphans);
            pin.send_outgoing();
        }
    }
}
