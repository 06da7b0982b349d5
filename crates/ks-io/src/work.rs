//! Work: what runs later, on a worker thread or at DISPATCH level.

use crate::sync::Arc;
use crate::time::Time;

/// An item of work. Queueing the same item again before it ran runs it twice; who wants it once counts.
///
/// Called on a worker thread at PASSIVE level with no lock held, once for each time it was queued.
#[doc(alias = "WORK_QUEUE_ITEM")]
pub trait Work: Send + Sync {
    /// Does the work.
    fn run(self: Arc<Self>);

    /// The work runs soon on this thread: a place for [`Footprint::fetch`](ks_mem::Footprint::fetch). Called under the lock
    /// of the queue, so it calls nobody and waits for nothing.
    #[inline]
    fn approach(&self) {}
}

/// A deferred procedure: what a timer calls when it expires.
///
/// Called at DISPATCH level on the one thread that runs DPCs: it may not wait, take a ranked mutex or change a state,
/// and every other timer waits for its return. It typically sets an event or queues work.
#[doc(alias = "KDPC")]
pub trait Dpc: Send + Sync {
    /// The timer expired; `now` is the time at which it was noticed, never before the timer was due.
    fn expired(self: Arc<Self>, now: Time);
}

/// Which workers take an item of work.
#[doc(alias = "WORK_QUEUE_TYPE")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WorkQueue {
    /// Several threads, in no order between them.
    #[doc(alias = "DelayedWorkQueue")]
    Delayed,
    /// One thread: items run in the order they were queued, undisturbed by delayed work.
    #[doc(alias = "CriticalWorkQueue")]
    Critical,
    /// One thread of its own, for what must not wait even for critical work.
    #[doc(alias = "HyperCriticalWorkQueue")]
    HyperCritical,
}

impl WorkQueue {
    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    pub(crate) const fn thread_name(self) -> &'static str {
        match self {
            Self::Delayed => "ks-delayed",
            Self::Critical => "ks-critical",
            Self::HyperCritical => "ks-hyper",
        }
    }
}
