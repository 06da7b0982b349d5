//! Semaphores: counters that threads wait for, and take one from.

use crate::services::Services;
use crate::sync::{Arc, Mutex};
use crate::time::Time;
use crate::wait::{Event, EventKind, Signal, WaitOutcome};
use ks_abi::{NtStatus, STATUS_INVALID_PARAMETER, STATUS_SEMAPHORE_LIMIT_EXCEEDED};

/// A semaphore: a wait takes one off its count, and blocks while that is zero. A clone is the same semaphore.
///
/// Releasing is legal at every level; waiting is not legal at [`Level::Dispatch`](crate::Level::Dispatch).
#[doc(alias = "KSEMAPHORE")]
#[derive(Clone, Debug)]
pub struct Semaphore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Innermost lock but for the event's own.
    count: Mutex<u32>,
    limit: u32,
    /// Set while the count may be above zero; a thread that takes one and leaves some sets it again for the next.
    above_zero: Event,
}

impl Semaphore {
    /// A semaphore with a count that never exceeds `limit`. STATUS_INVALID_PARAMETER: the limit is zero, or exceeded.
    pub fn new(services: &Services, count: u32, limit: u32) -> Result<Semaphore, NtStatus> {
        if limit == 0 || count > limit {
            return Err(STATUS_INVALID_PARAMETER);
        }
        let signal = if count > 0 { Signal::Set } else { Signal::Clear };
        let above_zero = services.event(EventKind::Synchronization, signal);
        Ok(Semaphore(Arc::new(Inner { count: Mutex::new(count), limit, above_zero })))
    }

    /// Adds to the count and lets as many threads go; gives the count before. STATUS_SEMAPHORE_LIMIT_EXCEEDED: the count
    /// would exceed its limit, and stays.
    #[doc(alias = "KeReleaseSemaphore")]
    pub fn release(&self, adjustment: u32) -> Result<u32, NtStatus> {
        let before = {
            let mut count = self.0.count.lock();
            let before = *count;
            let after = before.checked_add(adjustment).filter(|after| *after <= self.0.limit);
            *count = after.ok_or(STATUS_SEMAPHORE_LIMIT_EXCEEDED)?;
            before
        };
        if adjustment > 0 {
            self.0.above_zero.set();
        }
        Ok(before)
    }

    /// The count now.
    #[doc(alias = "KeReadStateSemaphore")]
    pub fn count(&self) -> u32 {
        *self.0.count.lock()
    }

    /// Waits until one can be taken, and takes it, or until the services' clock shows `deadline`. A deadline in the past
    /// only tries.
    pub fn wait_until(&self, deadline: Time) -> WaitOutcome {
        loop {
            if self.take() {
                return WaitOutcome::Signalled;
            }
            match self.0.above_zero.wait_until(deadline) {
                WaitOutcome::Signalled => {}
                // The count may have risen in the last moment.
                ended => return if self.take() { WaitOutcome::Signalled } else { ended },
            }
        }
    }

    fn take(&self) -> bool {
        let mut count = self.0.count.lock();
        if *count == 0 {
            return false;
        }
        *count -= 1;
        let left = *count > 0;
        drop(count);
        if left {
            self.0.above_zero.set();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Ticks;

    #[test]
    fn a_semaphore_lets_as_many_go_as_were_released() {
        let services = Services::virtual_time(1);
        let semaphore = Semaphore::new(&services, 1, 3).unwrap();
        assert_eq!(semaphore.wait_until(services.now()), WaitOutcome::Signalled);
        assert_eq!(semaphore.wait_until(services.now()), WaitOutcome::TimedOut);
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let (semaphore, deadline) = (semaphore.clone(), services.now() + Ticks::from_secs(3600));
                services.spawn("waits", move || semaphore.wait_until(deadline)).unwrap()
            })
            .collect();
        assert_eq!(semaphore.release(3), Ok(0));
        assert!(waiting.into_iter().all(|thread| thread.join() == WaitOutcome::Signalled));
        assert_eq!(semaphore.count(), 0);
    }

    #[test]
    fn a_count_never_exceeds_its_limit() {
        let services = Services::virtual_time(1);
        assert_eq!(Semaphore::new(&services, 0, 0).unwrap_err(), STATUS_INVALID_PARAMETER);
        assert_eq!(Semaphore::new(&services, 3, 2).unwrap_err(), STATUS_INVALID_PARAMETER);
        let semaphore = Semaphore::new(&services, 1, 2).unwrap();
        assert_eq!(semaphore.release(2), Err(STATUS_SEMAPHORE_LIMIT_EXCEEDED));
        assert_eq!(semaphore.release(u32::MAX), Err(STATUS_SEMAPHORE_LIMIT_EXCEEDED));
        assert_eq!((semaphore.release(1), semaphore.count()), (Ok(1), 2));
    }
}
