//! Who follows a clock from another process: each has a request here, which is answered with the next change.
//!
//! The clock counts the machine's time while it runs, and so can who follows it: what it shows is told when its state changes
//! or its time is set, and not in between.

use super::DefaultClock;
use ks_abi::{
    IoControlCode, KSPROPERTY_TYPE_GET, KsProperty, NtStatus, STATUS_ACCESS_DENIED, STATUS_BUFFER_TOO_SMALL,
    STATUS_INVALID_BUFFER_SIZE, USERKS_CLOCK_FOLLOW, USERKS_CLOCK_SAMPLED, USERKS_PROPSET_CLOCK, UserksClockFollow,
    UserksClockReading,
};
use ks_io::sync::{Arc, Weak};
use ks_io::{CancelSafeQueue, Dispatched, Irp, RequestorMode, Work, WorkQueue, deferred, holds_ranked_mutex};
use zerocopy::FromBytes;

/// Is this the request of a class driver that follows a clock? It outlives the handle of the client that named the clock.
pub fn asks_to_follow(code: IoControlCode, input: &[u8]) -> bool {
    code == IoControlCode::KS_PROPERTY
        && input.len() == size_of::<UserksClockFollow>()
        && KsProperty::read_from_prefix(input).is_ok_and(|(property, _)| {
            (property.set, property.id, property.flags)
                == (USERKS_PROPSET_CLOCK, USERKS_CLOCK_FOLLOW, KSPROPERTY_TYPE_GET)
        })
}

impl DefaultClock {
    /// Answers a request of who follows the clock, at once if the clock has changed since the version that it knows. A
    /// client has no use for it: its request could wait without end.
    pub(crate) fn tell(&self, irp: Irp) -> Dispatched {
        let known = match UserksClockFollow::read_from_bytes(irp.input()) {
            Ok(follow) => follow.version,
            Err(_) => return irp.done(STATUS_INVALID_BUFFER_SIZE),
        };
        if irp.origin().mode() != RequestorMode::Kernel {
            return irp.done(STATUS_ACCESS_DENIED);
        }
        if irp.output().limit() < size_of::<UserksClockReading>() {
            return irp.done(STATUS_BUFFER_TOO_SMALL);
        }
        if self.version() != known {
            return self.answer(irp, Irp::done);
        }
        self.followers.get_or_init(CancelSafeQueue::new).insert(irp);
        // It may have changed before the request was there.
        if self.version() != known {
            self.tell_followers();
        }
        Dispatched::Pending
    }

    fn version(&self) -> u64 {
        self.state.lock().version
    }

    fn reading(&self) -> UserksClockReading {
        let state = *self.state.lock();
        let resolution = self.resolution();
        let (time, since, flags) = match self.source() {
            Some(source) => (source.correlated_time().0, self.services.now(), USERKS_CLOCK_SAMPLED),
            None => (state.held, state.since, 0),
        };
        UserksClockReading {
            version: state.version,
            time: time.0,
            since: since.0,
            granularity: resolution.granularity,
            error: resolution.error,
            state: state.state,
            flags,
        }
    }

    fn answer<T>(&self, mut irp: Irp, complete: impl FnOnce(Irp, NtStatus) -> T) -> T {
        let status = irp.parts().output.answer_value(&self.reading());
        complete(irp, status)
    }

    fn tell_followers(&self) {
        while let Some(irp) = self.followers.get().and_then(|followers| followers.remove()) {
            drop(self.answer(irp, Irp::complete));
        }
    }

    /// The state or the time is another. Legal at every level and with every mutex held.
    pub(super) fn note_change(&self) {
        if self.followers.get().is_some_and(|followers| !followers.is_empty()) {
            deferred::run_later(Arc::new(Tell(self.me.clone())));
        }
    }
}

/// Tells the followers when the thread that changed the clock holds no mutex.
struct Tell(Weak<DefaultClock>);

impl Work for Tell {
    fn run(self: Arc<Self>) {
        let Some(clock) = self.0.upgrade() else { return };
        if holds_ranked_mutex() {
            return clock.services.queue_work(WorkQueue::Delayed, self);
        }
        let _inside = deferred::enter();
        clock.tell_followers();
    }
}
