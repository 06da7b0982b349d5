//! Cancellation: the meeting point of a request's canceller and the queue that holds its IRP.

use crate::sync::{Mutex, Weak};

/// A queue that holds cancelable IRPs.
pub trait CancelTarget: Send + Sync {
    /// The IRP that was armed with `key` is cancelled. If it still waits here, the queue takes it out and completes it
    /// with STATUS_CANCELLED; if it does not, whoever took it out owns it and nothing happens.
    fn cancel(&self, key: u64);
}

/// The cancel state of one IRP, or of one create, shared by its token and by whoever may cancel it.
///
/// The mutex makes arming and cancelling one after the other: either the canceller finds the target, or arming finds
/// the flag. The target is called after the mutex is released, so queue locks may be held while arming.
#[derive(Default)]
pub struct CancelCell {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    cancelled: bool,
    target: Option<(Weak<dyn CancelTarget>, u64)>,
}

/// The IRP was cancelled before it could wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlreadyCancelled;

impl CancelCell {
    /// Makes `target` the place where a cancel finds the IRP. Refused if the IRP is cancelled already: then the caller
    /// must not queue it.
    pub fn arm(&self, target: Weak<dyn CancelTarget>, key: u64) -> Result<(), AlreadyCancelled> {
        let mut state = self.state.lock();
        if state.cancelled {
            return Err(AlreadyCancelled);
        }
        state.target = Some((target, key));
        Ok(())
    }

    /// The IRP waits nowhere any more. A cancel that comes later only leaves its mark.
    pub fn disarm(&self) {
        self.state.lock().target = None;
    }

    /// True once a cancel was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.state.lock().cancelled
    }

    /// Asks for the IRP to be cancelled. Returns at once; the IRP completes when its holder lets go of it.
    pub fn cancel(&self) {
        let target = {
            let mut state = self.state.lock();
            state.cancelled = true;
            state.target.take()
        };
        if let Some((queue, key)) = target.and_then(|(queue, key)| Some((queue.upgrade()?, key))) {
            queue.cancel(key);
        }
    }

    /// Ready for the next request.
    pub(crate) fn reset(&mut self) {
        *self.state.get_mut() = State::default();
    }
}

impl std::fmt::Debug for CancelCell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CancelCell").finish_non_exhaustive()
    }
}
