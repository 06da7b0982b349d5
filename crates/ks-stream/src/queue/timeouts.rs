//! Timeouts of stream pointers, and which callback of its driver a clone is in.
//!
//! A driver lets a clone go in its cancel routine and in its timeout routine alike, so it hears of one of the two at a
//! time: whoever is about to call takes the clone under the queue's lock, and what comes meanwhile waits for the
//! callback's return. If that has deleted the clone, nothing is told any more. A timeout is claimed in the same way: one
//! that was cancelled, replaced, or gone with its clone is not in the list, whatever its timer still does.
//!
//! Source: nf-ks-ksstreampointerscheduletimeout, nf-ks-ksstreampointercanceltimeout, nc-ks-pfnksstreampointer.

use super::clones::CloneState;
use super::{Queue, State};
use crate::pin::Pin;
use crate::stream_pointer::CloneId;
use ks_io::sync::{Arc, Weak};
use ks_io::{Dpc, Level, Services, Ticks, Time, Timer};

/// Which of a pin's stream pointers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PointerId {
    /// The leading edge.
    LeadingEdge,
    /// The trailing edge, of a pin that has one.
    TrailingEdge,
    /// A clone.
    Clone(CloneId),
}

/// A timeout as its driver scheduled it: the procedure of its timer.
struct Timeout {
    pin: Weak<Pin>,
    pointer: PointerId,
    context: u64,
}

impl Dpc for Timeout {
    fn expired(self: Arc<Self>, _now: Time) {
        if let Some(pin) = self.pin.upgrade()
            && pin.queue().is_some_and(|queue| queue.claim_timeout(&self))
        {
            pin.tell(self.pointer, News::TimedOut(self.context));
        }
    }
}

/// A timeout that nobody has claimed.
pub(super) struct Scheduled {
    timeout: Arc<Timeout>,
    /// Dropping the last reference stops it.
    _timer: Arc<Timer>,
    /// It passed while its clone was in a callback.
    is_due: bool,
}

/// What a driver is told of a stream pointer.
#[derive(Clone, Copy)]
enum News {
    Cancelled,
    TimedOut(u64),
}

/// A clone and the callbacks of its driver.
#[derive(Default)]
pub(super) struct Calls {
    /// A callback runs, or is about to.
    is_in_one: bool,
    /// The cancel waits for the return of the timeout's.
    cancel_waits: bool,
}

impl Calls {
    /// The clone's frame is cancelled. True when the driver is to be told by whoever asks.
    pub(super) fn begin_cancel(&mut self) -> bool {
        self.cancel_waits = self.is_in_one;
        !std::mem::replace(&mut self.is_in_one, true)
    }

    /// The clone has another frame.
    pub(super) fn forget_cancel(&mut self) {
        self.cancel_waits = false;
    }

    pub(super) fn is_in_one(&self) -> bool {
        self.is_in_one
    }
}

impl Queue {
    /// Has the driver told, when the interval has passed, by [`crate::PinInstance::pointer_timed_out`]; in the place of
    /// what was scheduled before. Nothing happens for a clone that is deleted.
    pub(crate) fn schedule_timeout(&self, services: &Services, pointer: PointerId, context: u64, interval: Ticks) {
        let timeout = Arc::new(Timeout { pin: self.pin.clone(), pointer, context });
        let timer = Arc::new(services.timer(timeout.clone()));
        let due = services.now() + interval;
        let before = {
            let mut state = self.state.lock();
            if !state.has(pointer) {
                return;
            }
            let before = state.take_timeout(pointer);
            state.timeouts.push(Scheduled { timeout, _timer: timer.clone(), is_due: false });
            before
        };
        drop(before);
        // Without the lock. Where another has taken its place meanwhile, this was the last reference, which ends here.
        timer.set(due, None);
    }

    /// What was scheduled for the pointer does not come any more; who has claimed it before is telling the driver now.
    pub(crate) fn cancel_timeout(&self, pointer: PointerId) {
        let gone = self.state.lock().take_timeout(pointer);
        drop(gone);
    }

    /// No timeout of this queue comes any more.
    pub(crate) fn forget_timeouts(&self) {
        let gone = std::mem::take(&mut self.state.lock().timeouts);
        drop(gone);
    }

    /// A timer has expired. True for whoever is to tell the driver: its timeout was still the pointer's, and is it no
    /// more.
    fn claim_timeout(&self, timeout: &Arc<Timeout>) -> bool {
        let claimed = {
            let mut state = self.state.lock();
            let Some(at) = state.timeouts.iter().position(|known| Arc::ptr_eq(&known.timeout, timeout)) else {
                return false;
            };
            if let Some(clone) = state.clone_of(timeout.pointer)
                && std::mem::replace(&mut clone.calls.is_in_one, true)
            {
                state.timeouts[at].is_due = true;
                return false;
            }
            state.timeouts.swap_remove(at)
        };
        drop(claimed);
        true
    }

    /// A callback of a pointer has returned: what its driver is to be told next.
    fn callback_returned(&self, pointer: PointerId) -> Option<News> {
        let PointerId::Clone(id) = pointer else { return None };
        let (news, passed) = self.state.lock().after_callback(id);
        // Not under the lock.
        drop(passed);
        news
    }
}

impl State {
    /// Does the pointer live?
    fn has(&mut self, pointer: PointerId) -> bool {
        !matches!(pointer, PointerId::Clone(_)) || self.clone_of(pointer).is_some()
    }

    fn clone_of(&mut self, pointer: PointerId) -> Option<&mut CloneState> {
        let PointerId::Clone(id) = pointer else { return None };
        self.clones.iter_mut().find(|clone| clone.id == id)
    }

    /// Takes out what is scheduled for a pointer, for the caller to drop without the lock.
    pub(super) fn take_timeout(&mut self, pointer: PointerId) -> Option<Scheduled> {
        let at = self.timeouts.iter().position(|known| known.timeout.pointer == pointer)?;
        Some(self.timeouts.swap_remove(at))
    }

    fn after_callback(&mut self, id: CloneId) -> (Option<News>, Option<Scheduled>) {
        let pointer = PointerId::Clone(id);
        let passed = self.timeouts.iter().position(|known| known.is_due && known.timeout.pointer == pointer);
        let Some(clone) = self.clone_of(pointer) else {
            // The driver had the address until now.
            self.deleted.retain(|(deleted, _)| *deleted != id);
            return (None, None);
        };
        if std::mem::take(&mut clone.calls.cancel_waits) {
            return (Some(News::Cancelled), None);
        }
        clone.calls.is_in_one = passed.is_some();
        let passed = passed.map(|at| self.timeouts.swap_remove(at));
        (passed.as_ref().map(|passed| News::TimedOut(passed.timeout.context)), passed)
    }
}

impl Pin {
    /// Clones whose frames were cancelled: the driver is told, outside of every lock.
    pub(crate) fn orphaned(self: &Arc<Pin>, clones: Vec<CloneId>) {
        for clone in clones {
            self.tell(PointerId::Clone(clone), News::Cancelled);
        }
    }

    /// Tells the driver of a pointer, and then of what came meanwhile.
    fn tell(self: &Arc<Pin>, pointer: PointerId, mut news: News) {
        let Some(queue) = self.queue() else { return };
        loop {
            match (self.instance(), news, pointer) {
                (Some(instance), News::Cancelled, PointerId::Clone(clone)) => instance.clone_cancelled(self, clone),
                (Some(instance), News::TimedOut(context), _) => {
                    let _level = (Level::current() < Level::Dispatch).then(|| Level::Dispatch.raise());
                    instance.pointer_timed_out(self, pointer, context);
                }
                _ => {}
            }
            match queue.callback_returned(pointer) {
                Some(next) => news = next,
                None => return,
            }
        }
    }
}
