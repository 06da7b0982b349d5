//! Processing that a timer asks for.

use crate::pin::Pin;
use ks_io::sync::{Arc, Weak, atomic::Ordering};
use ks_io::{Dpc, Services, Time, Work, WorkQueue};

/// The procedure of a timer, and the work that it leaves to a worker.
///
/// The thread of the timers looks at nothing of the pin: of many pins that are due together each would otherwise be fetched
/// into the cache of that thread, and then again into that of the worker.
struct TimedAttempt {
    pin: Weak<Pin>,
    services: Services,
    queue: WorkQueue,
}

impl Dpc for TimedAttempt {
    fn expired(self: Arc<Self>, _now: Time) {
        self.services.queue_work(self.queue, self.clone());
    }
}

impl Work for TimedAttempt {
    fn run(self: Arc<Self>) {
        let Some(pin) = self.pin.upgrade() else { return };
        if pin.filter().processing().is_some() {
            return pin.filter().attempt_processing_later();
        }
        pin.again.store(true, Ordering::SeqCst);
        pin.process_on_worker(self.queue);
    }
}

impl Pin {
    /// What has the pin attempt to process, on a worker, when a timer or a [`crate::ClockAlarm`] calls it. It may be kept
    /// for as long as the pin's stream needs to be woken, and keeps no pin.
    #[doc(alias = "KsPinAttemptProcessing")]
    pub fn timed_attempt(self: &Arc<Pin>) -> Arc<dyn Dpc> {
        let services = self.services().clone();
        Arc::new(TimedAttempt { pin: Arc::downgrade(self), services, queue: self.work_queue() })
    }
}
