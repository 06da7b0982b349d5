//! Pointers by their address: for drivers that keep a locked pointer across calls instead of borrowing it.

use super::leading::{LockedFrame, Moved};
use super::{Held, Queue, State, only_frame};
use crate::stream_pointer::CloneId;
use ks_abi::NtStatus;
use ks_io::StreamFrame;
use ks_io::sync::Arc;

/// How one step of a pointer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It stands on a frame.
    OnFrame,
    /// It has run off the queue and is unlocked.
    AtEnd,
}

/// The request of the frame that a pointer has locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameRequest {
    /// Address of the IRP.
    pub irp: u64,
    /// The frame is the first of its request.
    pub first: bool,
    /// The frame is the last of its request.
    pub last: bool,
}

impl Queue {
    /// Address of the leading edge's block, which now names its pin.
    pub(crate) fn lend_leading(&self, pin: u64) -> u64 {
        let state = self.state.lock();
        state.leading_block.lend(pin, self.data_sink, 0)
    }

    /// Fills the block of the locked leading edge.
    pub(crate) fn stand_leading(&self, locked: &LockedFrame) {
        let mut state = self.state.lock();
        let sequence = state.leading;
        state.leading_block.stand_on(locked.frame(), sequence, self.data_sink);
    }

    /// Passes the frame at the unlocked leading edge.
    pub(crate) fn pass_unlocked(&self) -> (Step, bool) {
        let mut state = self.state.lock();
        if state.leading_locked {
            return (Step::AtEnd, false);
        }
        let Some(locked) = state.lock_leading(self.data_sink) else { return (Step::AtEnd, false) };
        self.pass_leading(&mut state, locked);
        let step = if state.leading < state.end() && !state.at_change() { Step::OnFrame } else { Step::AtEnd };
        (step, state.must_flush())
    }

    /// As [`Queue::advance_leading_offsets`], and on to the next frame also when `eject` says so.
    pub(crate) fn advance_leading_by(
        &self,
        locked: LockedFrame,
        bytes: (u32, u32),
        eject: super::Eject,
    ) -> Result<Moved, LockedFrame> {
        let (in_bytes, out_bytes) = bytes;
        match self.advance_leading_offsets(locked, in_bytes, out_bytes) {
            Err(locked) if eject == super::Eject::Next => Ok(self.advance_leading(locked)),
            other => other,
        }
    }

    /// The request of the locked leading edge's frame.
    pub(crate) fn leading_request(&self, locked: &LockedFrame) -> Option<FrameRequest> {
        let state = self.state.lock();
        if let LockedFrame::Own(irp) = locked {
            return Some(FrameRequest { irp: irp.address(), first: true, last: true });
        }
        state.request_at(state.leading)
    }

    /// The request of a clone's frame.
    pub(crate) fn clone_request(&self, id: CloneId) -> Option<FrameRequest> {
        let state = self.state.lock();
        let sequence = state.clones.iter().find(|clone| clone.id == id)?.sequence;
        state.request_at(sequence)
    }

    /// Sets the status with which the request of a clone's frame will complete.
    pub(crate) fn set_clone_status(&self, id: CloneId, status: NtStatus) {
        let state = self.state.lock();
        let Some(sequence) = state.clones.iter().find(|clone| clone.id == id).map(|clone| clone.sequence) else {
            return;
        };
        state.set_status_at(sequence, status);
    }

    /// Bytes ahead of the leading edge, with what its offsets have left of the frame that it stands on: to be read of an
    /// input, to be filled of an output.
    pub(crate) fn available_bytes(&self, locked: Option<&LockedFrame>) -> (u64, u64) {
        let state = self.state.lock();
        let (mut to_read, mut room) = (0, 0);
        // Of the frame at the edge only.
        let mut passed = state.leading_block.passed(state.leading);
        let mut count = |frame: &StreamFrame| {
            let (of_input, of_output) = std::mem::take(&mut passed);
            to_read += u64::from(frame.data_used().saturating_sub(of_input));
            room += u64::from(frame.frame_extent().saturating_sub(of_output));
        };
        for index in state.leading_index().into_iter().flat_map(|first| first..state.entries.len()) {
            match (&state.entries[index].held, locked) {
                (Held::Own(irp), _) => count(only_frame(irp)),
                (Held::Shared { frame, .. }, _) => count(frame),
                (Held::Out, Some(locked)) => count(locked.frame()),
                _ => {}
            }
        }
        (to_read, room)
    }
}

impl State {
    /// Sets the status of the request of a frame. A circuit's request has nobody to complete to.
    pub(super) fn set_status_at(&self, sequence: u64, status: NtStatus) {
        let Some(index) = self.index(sequence) else { return };
        if let Held::Shared { key, .. } = self.entries[index].held
            && let Some(queued) = &self.requests[key as usize]
            && !queued.cancelled
        {
            queued.irp.set_status(status);
        }
    }

    pub(super) fn request_at(&self, sequence: u64) -> Option<FrameRequest> {
        let index = self.index(sequence)?;
        match &self.entries[index].held {
            Held::Own(irp) => Some(FrameRequest { irp: irp.address(), first: true, last: true }),
            Held::Shared { key, frame } => {
                let irp = &self.requests[*key as usize].as_ref()?.irp;
                let frames = irp.stream()?;
                let place = frames.iter().position(|known| Arc::ptr_eq(known, frame))?;
                Some(FrameRequest { irp: irp.address(), first: place == 0, last: place + 1 == frames.len() })
            }
            Held::Out => self.out_at(sequence).map(|(_, irp)| FrameRequest { irp, first: true, last: true }),
            Held::Change(_) | Held::Left => None,
        }
    }

    /// The frame of an entry that stays in the queue.
    pub(super) fn frame_at(&self, sequence: u64) -> Option<Arc<StreamFrame>> {
        match &self.entries[self.index(sequence)?].held {
            Held::Own(irp) => Some(only_frame(irp).clone()),
            Held::Shared { frame, .. } => Some(frame.clone()),
            Held::Out => self.out_at(sequence).map(|(frame, _)| frame.clone()),
            Held::Change(_) | Held::Left => None,
        }
    }
}
