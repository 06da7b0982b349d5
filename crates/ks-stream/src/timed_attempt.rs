//! Processing that a timer asks for.

use crate::pin::Pin;
use ks_io::sync::{Arc, Weak, atomic::Ordering};
use ks_io::{Dpc, Services, Time, Timer, Work, WorkQueue};
use ks_mem::Footprint;

/// A pin that attempts to process, on a worker, when a timer or a [`crate::ClockAlarm`] expires. It may be kept for as long
/// as the pin's stream needs to be woken, and keeps no pin.
///
/// The thread of the timers looks at nothing of the pin: of many pins that are due together each would otherwise be fetched
/// into the cache of that thread, and then again into that of the worker. And what a turn of the pin touches is fetched while
/// the pin before it has its turn (decision 0126).
#[derive(Debug)]
pub struct TimedAttempt {
    pin: Weak<Pin>,
    services: Services,
    queue: WorkQueue,
    footprint: Footprint,
}

impl TimedAttempt {
    /// A timer of this attempt; it is not set yet.
    pub fn timer(self: &Arc<Self>) -> Timer {
        self.services.work_timer(self.queue, self.clone())
    }
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
        let mut learning = self.footprint.learn();
        pin.footprint(&mut learning);
        if let Some(clock) = pin.clock_if_made() {
            learning.object(&**clock);
        }
        if let Some(next) = pin.pipe().next_pin() {
            next.footprint(&mut learning);
        }
    }

    #[inline]
    fn approach(&self) {
        self.footprint.fetch();
    }
}

impl Pin {
    /// What has the pin attempt to process when a timer calls it.
    #[doc(alias = "KsPinAttemptProcessing")]
    pub fn timed_attempt(self: &Arc<Pin>) -> Arc<TimedAttempt> {
        let services = self.services().clone();
        let (pin, queue) = (Arc::downgrade(self), self.work_queue());
        Arc::new(TimedAttempt { pin, services, queue, footprint: Footprint::default() })
    }
}
