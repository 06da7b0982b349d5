//! Requests that were sent to the other side and wait for their completion.

use ks_abi::{NtStatus, STATUS_CANCELLED, STATUS_DEVICE_REMOVED, STATUS_INSUFFICIENT_RESOURCES};
use ks_io::sync::{Arc, Mutex, Weak};
use ks_io::{CancelTarget, Event, Irp, Refusal};
use ks_mem::Frame;
use ks_wire::RequestId;

/// The most requests that one side has on their way.
pub(super) const MOST_REQUESTS: usize = 4096;

const INDEX_BITS: u32 = 16;

/// What waits.
pub(super) enum Waiting {
    /// A device-control request.
    Control(Irp),
    /// A stream request, and the frames that stand for private memory of its client.
    Stream(Irp, Vec<Bounced>),
    /// A thread.
    Call(Arc<Call>),
    /// Nobody.
    Nobody,
}

/// A frame of a request, and the shared one that travels in its place.
pub(super) struct Bounced {
    pub(super) index: usize,
    pub(super) frame: Frame,
}

/// The answer to a call, and the event that says that it is there.
pub(super) struct Call {
    pub(super) done: Event,
    pub(super) answer: Mutex<Option<Answer>>,
}

/// The answer to a call.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: NtStatus,
    pub(super) file: u64,
    pub(super) granted: u32,
    pub(super) bytes: Vec<u8>,
    pub(super) refusal: Option<Refusal>,
}

impl Answer {
    pub(super) fn status(status: NtStatus) -> Answer {
        Answer { status, file: 0, granted: 0, bytes: Vec::new(), refusal: None }
    }
}

#[derive(Default)]
pub(super) struct Pending {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    slots: Vec<Slot>,
    free: Vec<u32>,
    closed: bool,
}

struct Slot {
    generation: u64,
    waiting: Option<Waiting>,
}

impl State {
    fn slot(&mut self, id: RequestId) -> Option<&mut Slot> {
        let slot = self.slots.get_mut((id & ((1 << INDEX_BITS) - 1)) as usize)?;
        (slot.generation == id >> INDEX_BITS).then_some(slot)
    }

    fn free(&mut self, id: RequestId) {
        if let Some(slot) = self.slot(id) {
            slot.generation += 1;
            self.free.push((id & ((1 << INDEX_BITS) - 1)) as u32);
        }
    }
}

impl Pending {
    /// Lets a request wait, and gives it a number. Refused when the other side is gone, when too many wait, or when the
    /// IRP was cancelled before: then the status says what to complete it with.
    pub(super) fn insert(
        &self,
        waiting: Waiting,
        target: impl FnOnce() -> Weak<dyn CancelTarget>,
    ) -> Result<RequestId, (Waiting, NtStatus)> {
        let mut state = self.state.lock();
        if state.closed {
            return Err((waiting, STATUS_DEVICE_REMOVED));
        }
        let index = match state.free.pop() {
            Some(index) => index as usize,
            None if state.slots.len() >= MOST_REQUESTS => return Err((waiting, STATUS_INSUFFICIENT_RESOURCES)),
            None => {
                state.slots.push(Slot { generation: 1, waiting: None });
                state.slots.len() - 1
            }
        };
        let id = state.slots[index].generation << INDEX_BITS | index as u64;
        if let Waiting::Control(irp) | Waiting::Stream(irp, _) = &waiting
            && irp.arm(target(), id).is_err()
        {
            state.free.push(index as u32);
            return Err((waiting, STATUS_CANCELLED));
        }
        state.slots[index].waiting = Some(waiting);
        Ok(id)
    }

    /// Takes what waits under a number; `None` when nothing does.
    pub(super) fn take(&self, id: RequestId) -> Option<Waiting> {
        let mut state = self.state.lock();
        let waiting = state.slot(id)?.waiting.take()?;
        state.free(id);
        drop(state);
        if let Waiting::Control(irp) | Waiting::Stream(irp, _) = &waiting {
            irp.disarm();
        }
        Some(waiting)
    }

    /// True while something waits under the number.
    pub(super) fn contains(&self, id: RequestId) -> bool {
        self.state.lock().slot(id).is_some_and(|slot| slot.waiting.is_some())
    }

    /// Nothing waits here any more; what did is given back.
    pub(super) fn close(&self) -> Vec<Waiting> {
        let mut state = self.state.lock();
        state.closed = true;
        state.slots.iter_mut().filter_map(|slot| slot.waiting.take()).collect()
    }

    /// How many requests wait.
    pub(super) fn len(&self) -> usize {
        let state = self.state.lock();
        state.slots.iter().filter(|slot| slot.waiting.is_some()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_target() -> Weak<dyn CancelTarget> {
        unreachable!("only an IRP can be cancelled")
    }

    #[test]
    fn a_number_is_never_used_twice() {
        let pending = Pending::default();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1000 {
            let id = pending.insert(Waiting::Nobody, no_target).ok().unwrap();
            assert!(seen.insert(id));
            assert!(pending.contains(id));
            assert!(pending.take(id).is_some());
            assert!(pending.take(id).is_none(), "answered twice");
        }
        assert!(pending.take(u64::MAX).is_none());
    }

    #[test]
    fn no_more_than_the_limit_wait_and_none_after_the_end() {
        let pending = Pending::default();
        for _ in 0..MOST_REQUESTS {
            assert!(pending.insert(Waiting::Nobody, no_target).is_ok());
        }
        let refused = |pending: &Pending| pending.insert(Waiting::Nobody, no_target).err().unwrap().1;
        assert_eq!(refused(&pending), STATUS_INSUFFICIENT_RESOURCES);
        assert_eq!(pending.len(), MOST_REQUESTS);
        assert_eq!(pending.close().len(), MOST_REQUESTS);
        assert_eq!(refused(&pending), STATUS_DEVICE_REMOVED);
    }
}
