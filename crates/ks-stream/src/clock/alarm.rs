//! An alarm on a clock, for whoever goes by it.

use super::{DefaultClock, MarkListener, ReferenceClock, TimeMark};
use crate::event::EventToken;
use ks_abi::NtStatus;
use ks_io::sync::{Arc, Weak};
use ks_io::{Dpc, Ticks};

/// Calls a procedure when a clock has reached a time, also if it stands now and runs later, or is set to another time in
/// between. It keeps the clock's time, and no handle open; nothing is called once it is dropped.
pub struct ClockAlarm {
    clock: Arc<DefaultClock>,
    ring: Arc<Ring>,
}

struct Ring {
    clock: Weak<DefaultClock>,
    dpc: Arc<dyn Dpc>,
}

impl MarkListener for Ring {
    fn reached(&self, _: EventToken) {
        if let Some(clock) = self.clock.upgrade() {
            self.dpc.clone().expired(clock.physical_time());
        }
    }
}

impl ReferenceClock {
    /// An alarm that calls `dpc`, at DISPATCH level; not set yet.
    pub fn alarm(&self, dpc: Arc<dyn Dpc>) -> ClockAlarm {
        let ring = Arc::new(Ring { clock: Arc::downgrade(&self.0), dpc });
        ClockAlarm { clock: self.0.clone(), ring }
    }
}

impl ClockAlarm {
    /// Has the procedure called once, when the running clock shows `time` or more. Replaces an earlier setting.
    ///
    /// STATUS_INSUFFICIENT_RESOURCES: the clock has as many alarms and events as it may. An error, too, where the clock is
    /// lost, see [`ReferenceClock::lost`]; an alarm that is set then is called.
    pub fn set(&self, time: Ticks) -> Result<(), NtStatus> {
        self.cancel();
        let ring: Weak<Ring> = Arc::downgrade(&self.ring);
        self.clock.add_mark(TimeMark { listener: ring, token: EventToken::NONE, time, interval: None, once: true })?;
        // Lost later than here, the clock calls the alarm.
        match self.clock.lost() {
            None => Ok(()),
            Some(status) => {
                self.cancel();
                Err(status)
            }
        }
    }

    /// Forgets the time. A call that is on its way may still come.
    pub fn cancel(&self) {
        let own = Arc::as_ptr(&self.ring).cast::<()>();
        self.clock.remove_marks(|mark| mark.listener.as_ptr().cast::<()>() == own);
    }
}

impl Drop for ClockAlarm {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl std::fmt::Debug for ClockAlarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClockAlarm").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;
    use ks_abi::KsState;
    use ks_io::sync::Mutex;
    use ks_io::{Services, Time};

    struct Calls(Mutex<Vec<Time>>);

    impl Dpc for Calls {
        fn expired(self: Arc<Self>, now: Time) {
            self.0.lock().push(now);
        }
    }

    #[test]
    fn an_alarm_follows_its_clock_wherever_that_goes() {
        let services = Services::virtual_time(1);
        let pass = |millis| {
            let _ = services.delay_until(services.now() + Ticks::from_millis(millis));
        };
        let clock = DefaultClock::new(services.clone());
        let reference = ReferenceClock::new(clock.clone());
        let calls = Arc::new(Calls(Mutex::default()));
        let count = || calls.0.lock().len();
        let (alarm, other) = (reference.alarm(calls.clone()), reference.alarm(calls.clone()));
        assert_eq!(alarm.set(Ticks::from_millis(10)), Ok(()));
        pass(50);
        assert_eq!(count(), 0, "the clock stands");
        clock.set_state(KsState::RUN);
        pass(9);
        assert_eq!(count(), 0);
        clock.set_state(KsState::PAUSE);
        pass(9);
        clock.set_state(KsState::RUN);
        pass(2);
        assert_eq!(count(), 1);
        pass(50);
        assert_eq!(count(), 1, "once");
        assert_eq!(alarm.set(Ticks::from_millis(5)), Ok(()));
        pass(1);
        assert_eq!(count(), 2, "a time that is past is reached at once");
        assert_eq!(alarm.set(Ticks::from_millis(900)), Ok(()));
        assert_eq!(other.set(Ticks::from_millis(800)), Ok(()));
        assert_eq!(alarm.set(Ticks::from_millis(500)), Ok(()));
        clock.set_time(Ticks::from_millis(499));
        pass(3);
        assert_eq!(count(), 3, "the later setting holds, and the clock was set");
        assert_eq!(alarm.set(Ticks::from_millis(510)), Ok(()));
        drop(alarm);
        other.cancel();
        pass(900);
        assert_eq!(count(), 3);
    }
}
