//! The leading edge: the pointer that the driver moves over the frames of a queue.

use super::{Entry, Held, LEADING, Queue, State, only_frame};
use crate::mapping::Mapping;
use crate::stream_pointer::Place;
use ks_abi::{KsPinDataFlow, NtStatus, STATUS_SUCCESS};
use ks_io::sync::Arc;
use ks_io::{Irp, StreamFrame};

/// A frame as the locked leading edge holds it.
pub(crate) enum LockedFrame {
    /// The only frame of a circuit's request, with its request.
    Own(Irp),
    /// A frame of a request that stays in the queue.
    Shared(Arc<StreamFrame>),
}

impl LockedFrame {
    #[inline]
    pub(crate) fn frame(&self) -> &StreamFrame {
        match self {
            LockedFrame::Own(irp) => only_frame(irp),
            LockedFrame::Shared(frame) => frame,
        }
    }

    pub(super) fn shared(&self) -> Arc<StreamFrame> {
        match self {
            LockedFrame::Own(irp) => only_frame(irp).clone(),
            LockedFrame::Shared(frame) => frame.clone(),
        }
    }
}

/// How a pointer moved.
pub(crate) struct Moved {
    /// The frame that it is now locked on; `None` at the end of the queue.
    pub(crate) locked: Option<LockedFrame>,
    /// Something is to go out and no process callback runs that would take it along.
    pub(crate) flush: bool,
}

/// Whether unlocking also moves on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Eject {
    Stay,
    Next,
}

impl Queue {
    /// Locks the leading edge onto its frame; `None` without a frame or when it is locked already.
    #[inline]
    pub(crate) fn lock_leading(&self) -> Option<LockedFrame> {
        let mut state = self.state.lock();
        if state.leading_locked { None } else { state.lock_leading(self.data_sink) }
    }

    /// Moves the locked leading edge to the next frame and locks it there, and sends on at once what no process callback
    /// will take along. The common step of a driver: what it gives fits into two registers, so nothing goes through memory.
    #[inline]
    pub(crate) fn step_leading(&self, locked: LockedFrame) -> Option<LockedFrame> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        self.pass_leading(state, locked);
        let locked = state.lock_leading(self.data_sink);
        if state.must_flush() {
            drop(guard);
            self.flush();
        }
        locked
    }

    #[cold]
    #[inline(never)]
    fn flush(&self) {
        if let Some(pin) = self.pin.upgrade() {
            pin.send_outgoing();
        }
    }

    /// Moves the locked leading edge to the next frame and locks it there; without a frame it stays unlocked.
    #[inline]
    pub(crate) fn advance_leading(&self, locked: LockedFrame) -> Moved {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        self.pass_leading(state, locked);
        let locked = state.lock_leading(self.data_sink);
        Moved { locked, flush: state.must_flush() }
    }

    /// Unlocks the leading edge, where it is or one frame on. True when something is to go out.
    pub(crate) fn unlock_leading(&self, locked: LockedFrame, eject: Eject) -> bool {
        let mut state = self.state.lock();
        if eject == Eject::Next {
            self.pass_leading(&mut state, locked);
        } else if let Some(index) = state.leading_index() {
            let entry = &mut state.entries[index];
            entry.give_back(locked);
            entry.locks -= 1;
            state.leading_locked = false;
            let leading = state.leading;
            self.settle(&mut state, leading);
            state.skip_left();
        }
        state.must_flush()
    }

    #[inline(always)]
    pub(super) fn pass_leading(&self, state: &mut State, locked: LockedFrame) {
        match locked {
            LockedFrame::Own(irp) if state.front_can_leave() => {
                // The common path: only the window holds the frame, and nothing before it is left.
                state.leading_locked = false;
                state.progress = true;
                if state.ends.are_said {
                    state.ends.pass(only_frame(&irp).options_flags());
                }
                self.leave(&mut state.counters, only_frame(&irp));
                state.outgoing.onward.push(irp);
                // Its request is out of it: there is nothing to drop.
                std::mem::forget(state.entries.pop_front());
                state.leading += 1;
                state.base += 1;
                if state.entries.front().is_some_and(|next| next.holds == 0) {
                    state.skip_left();
                }
            }
            locked => self.pass_any(state, locked),
        }
    }

    #[inline(never)]
    fn pass_any(&self, state: &mut State, locked: LockedFrame) {
        let Some(index) = state.leading_index() else { return };
        state.leading_locked = false;
        state.progress = true;
        if state.ends.are_said {
            state.ends.pass(locked.frame().options_flags());
        }
        let entry = &mut state.entries[index];
        entry.locks -= 1;
        state.leading += 1;
        if let LockedFrame::Own(irp) = locked {
            entry.held = Held::Own(irp);
        }
        let sequence = state.base + index as u64;
        self.leave_window(state, index, LEADING);
        // A cancel may have waited for the lock, and the trailing edge is behind.
        self.settle(state, sequence);
        state.skip_left();
    }

    /// Moves the locked leading edge by bytes; see [`crate::Locked::advance_offsets`]. Gives `locked` back when the edge
    /// stays on its frame.
    pub(crate) fn advance_leading_offsets(
        &self,
        locked: LockedFrame,
        in_bytes: u32,
        out_bytes: u32,
    ) -> Result<Moved, LockedFrame> {
        let mut state = self.state.lock();
        let sequence = state.leading;
        let block = &mut state.leading_block;
        block.stand_on(locked.frame(), sequence, self.data_sink);
        let remaining = block.advance(locked.frame(), in_bytes, out_bytes, self.data_sink);
        state.progress = true;
        if remaining > 0 {
            return Err(locked);
        }
        self.pass_leading(&mut state, locked);
        let locked = state.lock_leading(self.data_sink);
        Ok(Moved { locked, flush: state.must_flush() })
    }

    /// Moves the offsets of the locked leading edge, and the edge one frame on if nothing remains or `eject` says so;
    /// unlocks it. True when something is to go out.
    pub(crate) fn consume_leading(&self, locked: LockedFrame, in_bytes: u32, out_bytes: u32, eject: Eject) -> bool {
        let remaining = {
            let mut state = self.state.lock();
            let sequence = state.leading;
            let block = &mut state.leading_block;
            block.stand_on(locked.frame(), sequence, self.data_sink);
            block.advance(locked.frame(), in_bytes, out_bytes, self.data_sink)
        };
        let used_up = remaining == 0 && (in_bytes > 0 || out_bytes > 0);
        self.unlock_leading(locked, if used_up { Eject::Next } else { eject })
    }

    /// Where the locked leading edge stands, for a pin of this direction.
    pub(crate) fn leading_place(&self, locked: &LockedFrame, flow: KsPinDataFlow) -> Place {
        let mut state = self.state.lock();
        let sequence = state.leading;
        state.leading_block.stand_on(locked.frame(), sequence, self.data_sink);
        state.leading_block.place(flow)
    }

    /// Mappings of the leading edge's frame that its offset has not passed.
    pub(crate) fn leading_mappings(&self, locked: &LockedFrame) -> Vec<Mapping> {
        let mut state = self.state.lock();
        let sequence = state.leading;
        state.leading_block.stand_on(locked.frame(), sequence, self.data_sink);
        state.leading_block.mappings(self.data_sink)
    }

    /// Bytes of the leading edge's frame that its offset has not passed.
    pub(crate) fn leading_remaining(&self, locked: &LockedFrame) -> u32 {
        let mut state = self.state.lock();
        let sequence = state.leading;
        state.leading_block.stand_on(locked.frame(), sequence, self.data_sink);
        state.leading_block.remaining(self.data_sink)
    }

    /// Sets the status with which the request of the locked leading edge's frame will complete. A circuit's request has
    /// nobody to complete to.
    pub(crate) fn set_status_code(&self, status: NtStatus) {
        let state = self.state.lock();
        state.set_status_at(state.leading, status);
    }
}

impl Entry {
    /// The locked leading edge gives its frame back.
    pub(super) fn give_back(&mut self, locked: LockedFrame) {
        if let LockedFrame::Own(irp) = locked {
            self.held = Held::Own(irp);
        }
    }
}

impl State {
    /// Does the locked leading edge stand on the first frame of all, which nothing else holds?
    #[inline]
    fn front_can_leave(&self) -> bool {
        let is_alone =
            |entry: &Entry| entry.holds == 1 && entry.cancelled == STATUS_SUCCESS && matches!(entry.held, Held::Out);
        self.leading == self.base && self.entries.front().is_some_and(is_alone)
    }

    #[inline(always)]
    pub(super) fn lock_leading(&mut self, data_sink: bool) -> Option<LockedFrame> {
        if (self.counters.ended && !data_sink) || self.ends.hold {
            // A limit may end the stream in the middle of a process call: no frame is filled after the last. Behind the
            // last of an input, the outputs come first.
            return None;
        }
        let index = self.leading_index()?;
        let entry = &mut self.entries[index];
        entry.locks += 1;
        self.leading_locked = true;
        Some(match std::mem::replace(&mut entry.held, Held::Out) {
            Held::Own(irp) => {
                if !self.clones.is_empty() {
                    self.note_out(&irp);
                }
                LockedFrame::Own(irp)
            }
            Held::Shared { key, frame } => {
                let shared = frame.clone();
                entry.held = Held::Shared { key, frame };
                LockedFrame::Shared(shared)
            }
            // The edge never stands on a frame that has left or is out: `skip_left` moved it on. A change of format is
            // for the class driver.
            other @ (Held::Out | Held::Change(_) | Held::Left) => {
                entry.held = other;
                entry.locks -= 1;
                self.leading_locked = false;
                return None;
            }
        })
    }
}
