//! The trailing edge: frames stay in the queue until it, too, has passed them.

use super::{Eject, FrameRequest, Queue, State, Step, TRAILING};
use crate::stream_pointer::{CloneId, PointerBlock, Units};
use ks_abi::{NtStatus, STATUS_SUCCESS};
use ks_io::StreamFrame;
use ks_io::sync::Arc;

/// The trailing edge of a queue that has one.
pub(super) struct Trailing {
    /// Sequence number at which it stands.
    sequence: u64,
    /// The frame that it has locked.
    pub(super) locked: Option<Arc<StreamFrame>>,
    block: PointerBlock,
}

impl Trailing {
    pub(super) fn new(units: Units) -> Result<Trailing, NtStatus> {
        Ok(Trailing { sequence: 0, locked: None, block: PointerBlock::new(units)? })
    }
}

impl Queue {
    /// Address of the trailing edge's block, which now names its pin; `None`: the queue has none.
    pub(crate) fn lend_trailing(&self, pin: u64) -> Option<u64> {
        let state = self.state.lock();
        Some(state.trailing.as_ref()?.block.lend(pin, self.data_sink, 0))
    }

    /// The frame that the trailing edge has locked.
    pub(crate) fn trailing_frame(&self) -> Option<Arc<StreamFrame>> {
        self.state.lock().trailing.as_ref()?.locked.clone()
    }

    /// Locks the trailing edge on its frame, where it may be locked already; `None` without a frame.
    pub(crate) fn lock_trailing(&self) -> Option<Arc<StreamFrame>> {
        self.state.lock().lock_trailing(self.data_sink)
    }

    /// Unlocks the trailing edge, where it is or one frame on; `None` when it was not locked. The flag is true when
    /// something is to go out.
    pub(crate) fn unlock_trailing(&self, eject: Eject) -> Option<bool> {
        let mut state = self.state.lock();
        let sequence = state.unlock_trailing()?;
        if eject == Eject::Next {
            self.pass_trailing(&mut state, sequence);
        } else {
            self.settle(&mut state, sequence);
            state.skip_left();
        }
        Some(state.must_flush())
    }

    /// Moves the trailing edge to the next frame, locked as it is.
    pub(crate) fn advance_trailing(&self) -> (Step, bool) {
        let mut state = self.state.lock();
        let step = self.step_trailing(&mut state);
        (step, state.must_flush())
    }

    /// Moves the offsets of the locked trailing edge, and the edge one frame on if nothing remains or `eject` says so;
    /// `None` when it is not locked.
    pub(crate) fn advance_trailing_offsets(&self, bytes: (u32, u32), eject: Eject) -> Option<(Step, bool)> {
        let mut state = self.state.lock();
        let trailing = state.trailing.as_mut()?;
        let frame = trailing.locked.as_ref()?;
        trailing.block.stand_on(frame, trailing.sequence, self.data_sink);
        let remaining = trailing.block.advance(frame, bytes.0, bytes.1, self.data_sink);
        state.progress = true;
        let step = if remaining > 0 && eject == Eject::Stay { Step::OnFrame } else { self.step_trailing(&mut state) };
        Some((step, state.must_flush()))
    }

    /// A clone on the trailing edge's frame, locked as it is.
    pub(crate) fn clone_trailing(&self, context_bytes: usize) -> Option<(CloneId, Option<Arc<StreamFrame>>)> {
        let mut state = self.state.lock();
        let (sequence, locked) = state.trailing.as_ref().map(|edge| (edge.sequence, edge.locked.clone()))?;
        let frame = state.frame_at(sequence)?;
        let index = state.index(sequence)?;
        let trailing = state.trailing.as_mut()?;
        trailing.block.stand_on(&frame, sequence, self.data_sink);
        let block = PointerBlock::copy_of(&trailing.block, context_bytes).ok()?;
        let entry = &mut state.entries[index];
        entry.holds += 1;
        entry.locks += u32::from(locked.is_some());
        let id = state.add_clone(sequence, locked.is_some(), block, frame);
        Some((id, locked))
    }

    /// Sets the status with which the request of the locked trailing edge's frame will complete.
    pub(crate) fn set_trailing_status(&self, status: NtStatus) {
        let state = self.state.lock();
        if let Some(edge) = state.trailing.as_ref().filter(|edge| edge.locked.is_some()) {
            state.set_status_at(edge.sequence, status);
        }
    }

    /// The request of the locked trailing edge's frame.
    pub(crate) fn trailing_request(&self) -> Option<FrameRequest> {
        let state = self.state.lock();
        let edge = state.trailing.as_ref().filter(|edge| edge.locked.is_some())?;
        state.request_at(edge.sequence)
    }

    fn step_trailing(&self, state: &mut State) -> Step {
        let Some(sequence) = state.trailing.as_ref().map(|edge| edge.sequence) else { return Step::AtEnd };
        let locked = state.unlock_trailing().is_some();
        self.pass_trailing(state, sequence);
        let on_frame = match locked {
            true => state.lock_trailing(self.data_sink).is_some(),
            false => state.trailing.as_ref().is_some_and(|edge| edge.sequence < state.end()),
        };
        if on_frame { Step::OnFrame } else { Step::AtEnd }
    }

    /// The unlocked trailing edge goes on from the frame at `sequence`, if there is one.
    fn pass_trailing(&self, state: &mut State, sequence: u64) {
        let Some(index) = state.index(sequence) else { return };
        state.progress = true;
        if let Some(edge) = &mut state.trailing {
            edge.sequence = sequence + 1;
        }
        self.leave_window(state, index, TRAILING);
        // A cancel may have waited for the lock that is gone.
        self.settle(state, sequence);
        state.skip_left();
    }
}

impl State {
    fn lock_trailing(&mut self, data_sink: bool) -> Option<Arc<StreamFrame>> {
        let edge = self.trailing.as_ref()?;
        if let Some(locked) = &edge.locked {
            return Some(locked.clone());
        }
        let sequence = edge.sequence;
        let index = self.index(sequence)?;
        if self.entries[index].cancelled != STATUS_SUCCESS {
            // Another pointer has it locked; it goes when that lets it go.
            return None;
        }
        let frame = self.frame_at(sequence)?;
        self.entries[index].locks += 1;
        let edge = self.trailing.as_mut()?;
        edge.block.stand_on(&frame, sequence, data_sink);
        edge.locked = Some(frame.clone());
        Some(frame)
    }

    /// Has the trailing edge the frame at this place locked?
    pub(super) fn trailing_has(&self, sequence: u64) -> bool {
        self.trailing.as_ref().is_some_and(|edge| edge.locked.is_some() && edge.sequence == sequence)
    }

    /// Takes the lock off; where the edge stands, if it was locked.
    fn unlock_trailing(&mut self) -> Option<u64> {
        let edge = self.trailing.as_mut()?;
        edge.locked.take()?;
        let sequence = edge.sequence;
        if let Some(index) = self.index(sequence) {
            self.entries[index].locks -= 1;
        }
        Some(sequence)
    }

    /// Moves the unlocked trailing edge over frames that are not in its window any more.
    pub(super) fn skip_trailing(&mut self) {
        let Some(edge) = &self.trailing else { return };
        if edge.locked.is_some() {
            return;
        }
        let mut sequence = edge.sequence;
        while let Some(index) = self.index(sequence)
            && self.entries[index].windows & TRAILING == 0
        {
            sequence += 1;
        }
        if let Some(edge) = &mut self.trailing {
            edge.sequence = sequence;
        }
    }
}
