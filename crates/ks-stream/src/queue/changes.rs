//! Changes of format in a queue: frames whose data is the format of what follows them.
//!
//! Such a frame (KSSTREAM_HEADER_OPTIONSF_TYPECHANGED) takes its place in the order of arrival, and no pointer gets onto
//! it: the leading edge stands before it until the pin has agreed to the format, see `pin/format_change.rs`. A circuit's
//! change is not lost when the queue is closed: the frames behind it would be taken for the old format.

use super::{Entry, Held, LEADING, LockedFrame, Outgoing, Queue, State, TRAILING, only_frame};
use crate::format::DataFormat;
use ks_abi::KSSTREAM_HEADER_OPTIONSF_TYPECHANGED;
use ks_io::sync::{Arc, atomic::Ordering};
use ks_io::{Irp, StreamFrame};

/// A change of format goes out: what is behind it waits, and only the thread that processes sends it on, when nobody else
/// has frames in his hands.
pub(super) const TURNING: u32 = 1 << 31;

/// What becomes of a circuit's changes when a queue is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Changes {
    /// They wait for the queue to open.
    Stay,
    /// Everything goes.
    Go,
}

impl Held {
    /// The request in the table; `None`: the entry has its own.
    pub(super) fn key(&self) -> Option<u32> {
        match self {
            Held::Shared { key, .. } => Some(*key),
            _ => None,
        }
    }

    fn frame(&self) -> Option<&Arc<StreamFrame>> {
        match self.plain() {
            Held::Own(irp) => Some(only_frame(irp)),
            Held::Shared { frame, .. } => Some(frame),
            Held::Out | Held::Change(_) | Held::Left => None,
        }
    }
}

/// Does the frame say what format follows it?
pub(crate) fn is_change(frame: &StreamFrame) -> bool {
    frame.options_flags() & KSSTREAM_HEADER_OPTIONSF_TYPECHANGED != 0
}

/// The format that a frame tells of; `None`: what stands there is none.
pub(crate) fn format_in(frame: &StreamFrame) -> Option<DataFormat> {
    let bytes = frame.buffer()?.bytes(frame.data_used() as usize)?;
    DataFormat::parse(&bytes).ok().map(|(format, _)| format)
}

/// Makes a frame tell of a format; false: it has no room, or no memory that can be written now.
pub(crate) fn write_format(frame: &StreamFrame, format: &DataFormat) -> bool {
    let bytes = format.bytes();
    if (frame.frame_extent() as usize) < bytes.len() {
        return false;
    }
    let Some(mut room) = frame.buffer().and_then(|buffer| buffer.bytes_mut(bytes.len())) else { return false };
    room.copy_from_slice(bytes);
    drop(room);
    frame.set_data_used(bytes.len() as u32);
    frame.set_options_flags(KSSTREAM_HEADER_OPTIONSF_TYPECHANGED);
    true
}

impl Queue {
    /// Changes of format have arrived in the entries from `first` on, or one is to be told of. True when the pin has to
    /// look.
    #[cold]
    pub(super) fn find_changes(&self, state: &mut State, first: u64) -> bool {
        state.counters.type_changed = false;
        if !self.data_sink {
            return self.tell(state);
        }
        for index in (first.saturating_sub(state.base) as usize)..state.entries.len() {
            if state.entries[index].held.frame().is_some_and(|frame| is_change(frame)) {
                state.make_change(index);
            }
        }
        state.changes & !TURNING > 0
    }

    /// A closed queue takes a circuit's change all the same: what is behind it comes when the queue is open.
    pub(super) fn keep_change(&self, state: &mut State, irp: Irp) -> Option<Irp> {
        let ours = self.data_sink && !state.closed_for_good && !irp.has_caller() && !self.tabled;
        let one = irp.stream().filter(|stream| stream.len() == 1).and_then(|stream| stream.frame(0));
        if !ours || !one.is_some_and(|frame| is_change(frame)) {
            return Some(irp);
        }
        state.entries.push_back(Entry { held: Held::Own(irp), ..Entry::ARRIVING });
        let last = state.entries.len() - 1;
        state.make_change(last);
        None
    }

    /// A change of format is here, or goes out.
    pub(crate) fn is_turning(&self) -> bool {
        self.state.lock().changes != 0
    }

    /// The change of format that the leading edge stands before.
    pub(crate) fn change_at_edge(&self) -> Option<Arc<StreamFrame>> {
        let state = self.state.lock();
        if state.changes & !TURNING == 0 || state.closed.is_some() || !state.at_change() {
            return None;
        }
        state.entries[state.leading_index()?].held.frame().cloned()
    }

    /// The pin has agreed to the change that the leading edge stands before: it goes out, and the edge on.
    pub(crate) fn pass_change(&self, change: &Arc<StreamFrame>) {
        let mut state = self.state.lock();
        let Some(index) = state.leading_index() else { return };
        let here = state.entries[index].held.frame().is_some_and(|frame| Arc::ptr_eq(frame, change));
        if !here || !state.at_change() {
            // It was flushed meanwhile.
            return;
        }
        let sequence = state.base + index as u64;
        state.leading += 1;
        state.changes |= TURNING;
        for window in [LEADING, TRAILING] {
            if let Some(index) = state.index(sequence) {
                self.leave_window(&mut state, index, window);
            }
        }
        state.skip_left();
    }

    /// Frames wait here that are of the format of now.
    pub(crate) fn has_samples(&self) -> bool {
        let state = self.state.lock();
        state.entries.iter().any(|entry| entry.holds > 0 && !matches!(entry.held, Held::Change(_)))
    }

    /// Everything that goes out, for the thread that processes; `None` while another has frames in his hands, which are
    /// ahead of a change.
    pub(crate) fn take_turn(&self) -> Option<(Outgoing, u32)> {
        let mut state = self.state.lock();
        if state.processing || (state.changes != 0 && !self.may_turn(&mut state)) {
            return None;
        }
        let raised = state.take_raised();
        Some((std::mem::take(&mut state.outgoing), raised))
    }

    /// May a change of format go out that is waiting to? Then it is about to.
    #[cold]
    pub(super) fn may_turn(&self, state: &mut State) -> bool {
        if state.changes & TURNING == 0 {
            return true;
        }
        let alone = self.sending.load(Ordering::Acquire) == 0;
        if alone {
            state.changes &= !TURNING;
        }
        alone
    }

    /// Of frames that go out, is this one by which the driver itself changes the format?
    pub(crate) fn is_the_drivers(&self, change: &StreamFrame) -> bool {
        let mut state = self.state.lock();
        match state.told.iter().position(|told| *told == change.header_address()) {
            Some(at) => {
                state.told.swap_remove(at);
                false
            }
            None => true,
        }
    }

    /// The driver holds frames: by clones, or by the locked edge.
    pub(crate) fn is_held(&self) -> bool {
        let state = self.state.lock();
        state.leading_locked || !state.clones.is_empty() || state.entries.iter().any(|entry| entry.locks > 0)
    }

    /// The next empty frame tells of `format`, ahead of everything that is filled from now on.
    pub(crate) fn announce(&self, format: DataFormat) {
        let mut state = self.state.lock();
        state.announce = Some(Box::new(format));
        self.tell(&mut state);
    }

    /// Tells of the format with the frame at the leading edge; without one, or while the edge is locked, later. True when
    /// something goes out.
    fn tell(&self, state: &mut State) -> bool {
        let Some(format) = state.announce.take() else { return false };
        let told = state.closed.is_none()
            && !state.leading_locked
            && match state.lock_leading(self.data_sink) {
                Some(locked) => {
                    let written = write_format(locked.frame(), &format);
                    if written {
                        state.told.push(locked.frame().header_address());
                        state.changes |= TURNING;
                        self.pass_leading(state, locked);
                    } else {
                        state.unlock(locked);
                    }
                    written
                }
                None => false,
            };
        // The frame that left has said that a format was told of; one that is still to be told keeps saying so.
        state.counters.type_changed = !told;
        if !told {
            state.announce = Some(format);
        }
        told
    }
}

impl State {
    fn make_change(&mut self, index: usize) {
        let entry = &mut self.entries[index];
        let held = std::mem::replace(&mut entry.held, Held::Left);
        entry.held = Held::Change(Box::new(held));
        self.changes += 1;
    }

    /// The leading edge stands before a change of format.
    pub(super) fn at_change(&self) -> bool {
        self.leading_index().is_some_and(|index| matches!(self.entries[index].held, Held::Change(_)))
    }

    /// Options flags of frames that have left, and TYPECHANGED while the leading edge stands before a change.
    #[inline]
    pub(super) fn take_raised(&mut self) -> u32 {
        let raised = std::mem::take(&mut self.counters.raised);
        if self.changes != 0 && self.closed.is_none() && self.at_change() {
            raised | KSSTREAM_HEADER_OPTIONSF_TYPECHANGED
        } else {
            raised
        }
    }

    /// What is at its end and goes back: it need not wait for a change of format.
    pub(super) fn take_ended(&mut self) -> Outgoing {
        // Those that are well may have to go on, in their turn.
        let callers = self.outgoing.callers.extract_if(.., |irp| !irp.status().is_success()).collect();
        Outgoing { onward: Vec::new(), callers, parked: std::mem::take(&mut self.outgoing.parked) }
    }

    /// Which requests stay when the queue is closed: changes of format that no caller waits for. `None` stands for those
    /// that are not in the table.
    pub(super) fn staying(&self) -> Vec<Option<u32>> {
        let circuit = |key: &Option<u32>| {
            key.is_none_or(|key| self.requests[key as usize].as_ref().is_some_and(|queued| !queued.irp.has_caller()))
        };
        let changes = self.entries.iter().filter(|entry| matches!(entry.held, Held::Change(_)));
        changes.map(|entry| entry.held.plain().key()).filter(circuit).collect()
    }

    /// The leading edge lets go of its frame and stays before it.
    fn unlock(&mut self, locked: LockedFrame) {
        if let Some(index) = self.leading_index() {
            let entry = &mut self.entries[index];
            entry.give_back(locked);
            entry.locks -= 1;
        }
        self.leading_locked = false;
    }
}
