//! What takes frames out of a queue before their time: a stop, a recall, a removal, a cancel.

use super::changes::{self, Changes};
use super::{Held, LEADING, Queue, State, TRAILING};
use crate::stream_pointer::CloneId;
use ks_abi::{NtStatus, STATUS_CANCELLED, STATUS_SUCCESS};
use ks_io::CancelTarget;

impl Queue {
    /// Opens the queue for requests, unless it is closed for good.
    pub(crate) fn open(&self) {
        let mut state = self.state.lock();
        if !state.closed_for_good {
            state.closed = None;
        }
    }

    /// Closes the queue and lets go of every frame that is not locked: callers get `status`, and those that come later
    /// `later`. Returns the unlocked clones whose frames are gone, for the driver to delete.
    pub(crate) fn close(&self, status: NtStatus, later: NtStatus) -> Vec<CloneId> {
        let mut state = self.state.lock();
        if !state.closed_for_good {
            state.closed = Some(later);
        }
        state.ends.forget();
        self.cancel_all(&mut state, status, Changes::Stay)
    }

    /// As [`Queue::close`], and nothing opens the queue again.
    pub(crate) fn close_for_good(&self, status: NtStatus) -> Vec<CloneId> {
        let mut state = self.state.lock();
        if !state.closed_for_good {
            state.closed = Some(status);
            state.closed_for_good = true;
        }
        state.changes &= !changes::TURNING;
        self.cancel_all(&mut state, status, Changes::Go)
    }

    /// Lets go of every frame of a circuit that is not locked; it goes back to the head as after a cancel. Returns the
    /// unlocked clones whose frames are gone, for the driver to delete.
    pub(crate) fn recall(&self) -> Vec<CloneId> {
        let mut state = self.state.lock();
        let mut keys = Vec::new();
        for (key, queued) in state.requests.iter_mut().enumerate() {
            if let Some(queued) = queued
                && !queued.irp.has_caller()
            {
                queued.cancelled = true;
                queued.irp.set_status(STATUS_CANCELLED);
                keys.push(key as u32);
            }
        }
        self.let_go(&mut state, STATUS_CANCELLED, |held| match held.plain() {
            Held::Shared { key, .. } => keys.contains(key),
            _ => true,
        })
    }

    /// Would a frame of the circuit be taken now?
    pub(crate) fn accepts(&self) -> bool {
        let state = self.state.lock();
        state.closed.is_none() && !(self.data_sink && state.counters.ended)
    }

    /// Is there a stream to fill frames for?
    pub(crate) fn may_fill(&self) -> bool {
        let state = self.state.lock();
        state.closed.is_none() && !state.counters.ended
    }

    fn cancel_all(&self, state: &mut State, status: NtStatus, changes: Changes) -> Vec<CloneId> {
        let staying = if changes == Changes::Stay && state.changes > 0 { state.staying() } else { Vec::new() };
        for (key, queued) in state.requests.iter_mut().enumerate() {
            if let Some(queued) = queued
                && !staying.contains(&Some(key as u32))
            {
                queued.cancelled = true;
                queued.irp.set_status(status);
            }
        }
        self.let_go(state, status, |held| match held {
            Held::Change(change) if !staying.is_empty() => !staying.contains(&change.key()),
            _ => true,
        })
    }

    /// Drops the windows' holds on the chosen frames; a locked one goes when it is unlocked.
    fn let_go(&self, state: &mut State, status: NtStatus, chosen: impl Fn(&Held) -> bool) -> Vec<CloneId> {
        let mut orphans = Vec::new();
        for index in 0..state.entries.len() {
            let sequence = state.base + index as u64;
            let entry = &mut state.entries[index];
            if entry.holds == 0 || !chosen(&entry.held) {
                continue;
            }
            entry.cancelled = status;
            // A cancel and a stop may both let go of one frame, and its driver deletes a clone once.
            for clone in state.clones.iter_mut().filter(|c| c.sequence == sequence && !c.locked && !c.told) {
                clone.told = true;
                if clone.calls.begin_cancel() {
                    orphans.push(clone.id);
                }
            }
            self.settle(state, sequence);
        }
        state.skip_left();
        orphans
    }

    /// A cancelled frame leaves the windows, but that of an edge which has it locked; a clone keeps it as any other. The
    /// edges move on in [`State::skip_left`], so that none is locked on a frame that was cancelled.
    pub(super) fn settle(&self, state: &mut State, sequence: u64) {
        let Some(index) = state.index(sequence) else { return };
        if state.entries[index].cancelled == STATUS_SUCCESS {
            return;
        }
        if !(state.leading_locked && state.leading == sequence) {
            self.leave_window(state, index, LEADING);
        }
        if !state.trailing_has(sequence) {
            self.leave_window(state, index, TRAILING);
        }
    }
}

impl CancelTarget for Queue {
    fn cancel(&self, key: u64) {
        let (index, generation) = (key as u32, (key >> 32) as u32);
        let orphans = {
            let mut state = self.state.lock();
            match state.requests.get_mut(index as usize).and_then(Option::as_mut) {
                Some(queued) if queued.generation == generation => {
                    queued.cancelled = true;
                    queued.irp.set_status(STATUS_CANCELLED);
                }
                _ => return,
            }
            let own = |held: &Held| matches!(held.plain(), Held::Shared { key, .. } if *key == index);
            self.let_go(&mut state, STATUS_CANCELLED, own)
        };
        if let Some(pin) = self.pin.upgrade() {
            pin.orphaned(orphans);
            pin.send_outgoing();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::PinFlags;
    use crate::stream_pointer::Units;
    use ks_abi::{STATUS_DEVICE_REMOVED, STATUS_INVALID_DEVICE_STATE};
    use ks_io::sync::Weak;
    use ks_io::{IoManager, Irp, Origin, Services, StreamFrames};
    use ks_mem::{FramePool, PoolSpec};

    /// Two requests of a circuit, without a pin.
    fn requests() -> Vec<Irp> {
        let io = IoManager::new(Services::virtual_time(1));
        let pool = FramePool::new(PoolSpec { frames: 2, frame_bytes: 64, alignment: 64 }, io.regions()).unwrap();
        let frames = std::iter::from_fn(|| pool.take());
        let origin = Origin::class_driver();
        frames.map(|frame| Irp::circuit(&origin, StreamFrames::empty(56, frame).unwrap()).unwrap()).collect()
    }

    /// The statuses with which two requests are refused.
    fn refused(queue: &Queue) -> Vec<NtStatus> {
        let arrival = queue.add(&mut requests());
        arrival.refused.into_iter().map(|(irp, status)| (irp.retire(), status).1).collect()
    }

    #[test]
    fn a_queue_that_is_closed_for_good_is_not_opened_again() {
        let queue = Queue::new(Weak::new(), false, PinFlags::empty(), Units::Bytes).unwrap();
        assert_eq!(refused(&queue), [STATUS_INVALID_DEVICE_STATE; 2], "a new queue is stopped");
        queue.open();
        assert!(queue.accepts());
        queue.close(STATUS_CANCELLED, STATUS_INVALID_DEVICE_STATE);
        assert_eq!(refused(&queue), [STATUS_INVALID_DEVICE_STATE; 2]);
        queue.open();
        assert!(queue.accepts(), "a stop is undone by the next start");
        queue.close_for_good(STATUS_DEVICE_REMOVED);
        // A state change that was on its way when the pin went.
        queue.open();
        assert!(!queue.accepts());
        assert_eq!(refused(&queue), [STATUS_DEVICE_REMOVED; 2]);
        queue.close(STATUS_CANCELLED, STATUS_INVALID_DEVICE_STATE);
        assert_eq!(refused(&queue), [STATUS_DEVICE_REMOVED; 2], "the first reason stays");
        assert_eq!(queue.request_count(), 0);
    }
}
