//! Clones: pointers that stay on one frame while the leading edge moves on.

use super::timeouts::Calls;
use super::{LockedFrame, PointerId, Queue, State, only_frame};
use crate::stream_pointer::{CloneId, PointerBlock};
use ks_abi::STATUS_SUCCESS;
use ks_io::sync::Arc;
use ks_io::{Irp, StreamFrame};

pub(super) struct CloneState {
    pub(super) id: CloneId,
    pub(super) sequence: u64,
    pub(super) locked: bool,
    /// The driver was told, or is about to be, that the frame's request was cancelled.
    pub(super) told: bool,
    pub(super) calls: Calls,
    block: PointerBlock,
    frame: Arc<StreamFrame>,
}

/// The frame of a circuit that the leading edge has locked, where clones are that may ask for it: its request is not in
/// its entry meanwhile.
pub(super) struct OutFrame {
    sequence: u64,
    frame: Arc<StreamFrame>,
    request: u64,
}

impl Queue {
    /// A clone on the locked leading edge's frame, locked like it.
    pub(crate) fn clone_leading(
        &self,
        locked: &LockedFrame,
        context_bytes: usize,
    ) -> Option<(CloneId, Arc<StreamFrame>)> {
        let mut state = self.state.lock();
        let (index, sequence) = (state.leading_index()?, state.leading);
        if !state.leading_locked {
            return None;
        }
        state.leading_block.stand_on(locked.frame(), sequence, self.data_sink);
        let block = PointerBlock::copy_of(&state.leading_block, context_bytes).ok()?;
        let entry = &mut state.entries[index];
        entry.holds += 1;
        entry.locks += 1;
        if let LockedFrame::Own(irp) = locked {
            state.note_out(irp);
        }
        let frame = locked.shared();
        let id = state.add_clone(sequence, true, block, frame.clone());
        Some((id, frame))
    }

    /// An unlocked clone on the frame at the unlocked leading edge.
    pub(crate) fn clone_unlocked_leading(&self, context_bytes: usize) -> Option<CloneId> {
        let mut state = self.state.lock();
        if state.ends.hold {
            return None;
        }
        let (index, sequence) = (state.leading_index()?, state.leading);
        let frame = state.frame_at(sequence)?;
        state.leading_block.stand_on(&frame, sequence, self.data_sink);
        let block = PointerBlock::copy_of(&state.leading_block, context_bytes).ok()?;
        state.entries[index].holds += 1;
        Some(state.add_clone(sequence, false, block, frame))
    }

    /// A clone of a clone, locked as it is.
    pub(crate) fn clone_clone(&self, id: CloneId, context_bytes: usize) -> Option<(CloneId, Option<Arc<StreamFrame>>)> {
        let mut state = self.state.lock();
        let of = state.clones.iter().find(|clone| clone.id == id)?;
        let (sequence, locked, frame) = (of.sequence, of.locked, of.frame.clone());
        let block = PointerBlock::copy_of(&of.block, context_bytes).ok()?;
        let index = state.index(sequence)?;
        let entry = &mut state.entries[index];
        entry.holds += 1;
        entry.locks += u32::from(locked);
        let id = state.add_clone(sequence, locked, block, frame.clone());
        Some((id, locked.then_some(frame)))
    }

    /// Address of a clone's block, which now names its pin and its context.
    pub(crate) fn lend_clone(&self, id: CloneId, pin: u64, context_bytes: usize) -> Option<u64> {
        let state = self.state.lock();
        let clone = state.clones.iter().find(|clone| clone.id == id)?;
        Some(clone.block.lend(pin, self.data_sink, context_bytes))
    }

    /// Moves a clone to the next frame, locked as it is; `None`: there is none, and the clone waits unlocked for the next
    /// that comes. The flag is true when something is to go out.
    pub(crate) fn advance_clone(&self, id: CloneId) -> (Option<Arc<StreamFrame>>, bool) {
        let mut state = self.state.lock();
        let Some(at) = state.clones.iter().position(|clone| clone.id == id) else { return (None, false) };
        let (from, locked) = (state.clones[at].sequence, state.clones[at].locked);
        let next = state.next_frame(from.saturating_add(1));
        let to = next.as_ref().map_or(state.end(), |(sequence, _)| *sequence);
        if let Some(index) = state.index(to) {
            state.entries[index].holds += 1;
            state.entries[index].locks += u32::from(locked);
        }
        let clone = &mut state.clones[at];
        clone.sequence = to;
        clone.told = false;
        clone.calls.forget_cancel();
        clone.locked = locked && next.is_some();
        if let Some((sequence, frame)) = &next {
            clone.frame = frame.clone();
            clone.block.stand_on(frame, *sequence, self.data_sink);
        }
        if let Some(index) = state.index(from) {
            state.entries[index].locks -= u32::from(locked);
            self.drop_hold(&mut state, index);
            self.settle(&mut state, from);
            state.skip_left();
        }
        let flush = state.must_flush();
        (next.map(|(_, frame)| frame), flush)
    }

    /// Frames have arrived in the entries from `first` on: clones that ran off the queue there stand on them.
    pub(super) fn clones_meet(&self, state: &mut State, first: u64) {
        if state.clones.iter().all(|clone| clone.sequence < first) {
            return;
        }
        let Some((sequence, frame)) = state.next_frame(first) else {
            // Changes of format only: they wait behind those.
            let end = state.end();
            state.clones.iter_mut().filter(|clone| clone.sequence >= first).for_each(|clone| clone.sequence = end);
            return;
        };
        let mut waiting = 0;
        for clone in state.clones.iter_mut().filter(|clone| clone.sequence >= first) {
            clone.sequence = sequence;
            clone.frame = frame.clone();
            clone.block.stand_on(&frame, sequence, self.data_sink);
            waiting += 1;
        }
        if let Some(index) = state.index(sequence) {
            state.entries[index].holds += waiting;
        }
    }

    /// Locks a clone; `None` when its frame was cancelled.
    pub(crate) fn lock_clone(&self, id: CloneId) -> Option<Arc<StreamFrame>> {
        let mut state = self.state.lock();
        let at = state.clones.iter().position(|clone| clone.id == id && !clone.locked)?;
        let index = state.index(state.clones[at].sequence)?;
        if state.entries[index].cancelled != STATUS_SUCCESS {
            return None;
        }
        state.entries[index].locks += 1;
        state.clones[at].locked = true;
        Some(state.clones[at].frame.clone())
    }

    /// Unlocks a clone. True when something is to go out.
    pub(crate) fn unlock_clone(&self, id: CloneId) -> bool {
        let mut state = self.state.lock();
        let Some(at) = state.clones.iter().position(|clone| clone.id == id && clone.locked) else { return false };
        state.clones[at].locked = false;
        let sequence = state.clones[at].sequence;
        if let Some(index) = state.index(sequence) {
            state.entries[index].locks -= 1;
        }
        self.settle(&mut state, sequence);
        state.skip_left();
        state.must_flush()
    }

    /// Deletes a clone, locked or not. True when something is to go out.
    pub(crate) fn delete_clone(&self, id: CloneId) -> bool {
        let mut state = self.state.lock();
        let Some(at) = state.clones.iter().position(|clone| clone.id == id) else { return false };
        let clone = state.clones.swap_remove(at);
        if state.clones.is_empty() {
            state.out = None;
        }
        let timeout = state.take_timeout(PointerId::Clone(id));
        if let Some(index) = state.index(clone.sequence) {
            if clone.locked {
                state.entries[index].locks -= 1;
            }
            self.drop_hold(&mut state, index);
            self.settle(&mut state, clone.sequence);
            state.skip_left();
        }
        if clone.calls.is_in_one() {
            state.deleted.push((id, clone.block));
        }
        let flush = state.must_flush();
        drop(state);
        drop(timeout);
        flush
    }

    /// Adds to the used bytes of a clone's frame; see [`crate::ClonePointer::advance_offsets`]. Returns what remains.
    pub(crate) fn advance_clone_offsets(&self, id: CloneId, in_bytes: u32, out_bytes: u32) -> u32 {
        let mut state = self.state.lock();
        let found = state.clones.iter_mut().find(|clone| clone.id == id && clone.locked);
        found.map_or(0, |clone| clone.block.advance(&clone.frame, in_bytes, out_bytes, self.data_sink))
    }

    /// Clones that live.
    pub(crate) fn clone_count(&self) -> usize {
        self.state.lock().clones.len()
    }
}

impl State {
    /// The first frame from a place on that a pointer may stand on: it has not left, and nobody has cancelled it.
    fn next_frame(&self, from: u64) -> Option<(u64, Arc<StreamFrame>)> {
        (from.max(self.base)..self.end()).find_map(|sequence| {
            let entry = &self.entries[self.index(sequence)?];
            let is_there = entry.holds > 0 && entry.cancelled == STATUS_SUCCESS;
            is_there.then(|| self.frame_at(sequence)).flatten().map(|frame| (sequence, frame))
        })
    }

    /// The leading edge has locked this request.
    #[cold]
    pub(super) fn note_out(&mut self, irp: &Irp) {
        let (frame, request) = (only_frame(irp).clone(), irp.address());
        self.out = Some(OutFrame { sequence: self.leading, frame, request });
    }

    /// The frame that the leading edge has locked, and its request, if it is the one at this place.
    pub(super) fn out_at(&self, sequence: u64) -> Option<(&Arc<StreamFrame>, u64)> {
        let out = self.out.as_ref().filter(|out| out.sequence == sequence)?;
        Some((&out.frame, out.request))
    }

    pub(super) fn add_clone(
        &mut self,
        sequence: u64,
        locked: bool,
        block: PointerBlock,
        frame: Arc<StreamFrame>,
    ) -> CloneId {
        let id = CloneId(self.next_clone);
        self.next_clone += 1;
        self.clones.push(CloneState { id, sequence, locked, told: false, calls: Calls::default(), block, frame });
        id
    }
}
