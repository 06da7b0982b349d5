//! The default clock: stream time that counts in RUN, on the engine's injected time.
//!
//! Source: "Default clocks", nf-ks-ksallocatedefaultclock.

use ks_abi::{KsResolution, KsState};
use ks_io::sync::{Arc, Mutex};
use ks_io::{Services, Ticks, Time};

/// Stream time of one pin: 0 from its create, running in RUN, held in PAUSE, back to 0 in STOP.
#[derive(Debug)]
pub struct DefaultClock {
    services: Services,
    state: Mutex<ClockState>,
}

#[derive(Debug, Clone, Copy)]
struct ClockState {
    state: KsState,
    /// Stream time when it last stood still.
    held: Ticks,
    /// When it started to run.
    since: Time,
}

impl DefaultClock {
    /// A clock in STOP at time 0.
    // ks-coverage: KsAllocateDefaultClock done test=stream_time_counts_in_run_only_and_starts_again_after_stop
    #[doc(alias = "KsAllocateDefaultClock")]
    pub fn new(services: Services) -> DefaultClock {
        let state = ClockState { state: KsState::STOP, held: Ticks::ZERO, since: Time::ORIGIN };
        DefaultClock { services, state: Mutex::new(state) }
    }

    /// Stream time in 100-ns units.
    // ks-coverage: KsGetDefaultClockTime done test=stream_time_counts_in_run_only_and_starts_again_after_stop
    #[doc(alias = "KsGetDefaultClockTime")]
    pub fn time(&self) -> Ticks {
        self.correlated_time().0
    }

    /// Stream time, and the engine's monotonic time at that moment.
    ///
    /// Decision: the system time of a correlated time is the engine's monotonic time; the pages disagree.
    pub fn correlated_time(&self) -> (Ticks, Time) {
        let state = *self.state.lock();
        let now = self.services.now();
        match state.state {
            KsState::RUN => (state.held + now.since(state.since), now),
            _ => (state.held, now),
        }
    }

    /// The engine's monotonic time: never goes back, whatever the state.
    pub fn physical_time(&self) -> Time {
        self.services.now()
    }

    /// One unit of 100 ns is the best a clock can do; the default clock adds no error to it.
    pub fn resolution(&self) -> KsResolution {
        KsResolution { granularity: 1, error: 0 }
    }

    /// The moment on the engine's clock at which the stream time will be `time`, if the clock runs on.
    pub fn due(&self, time: Ticks) -> Time {
        let state = *self.state.lock();
        state.since + Ticks(time.0.saturating_sub(state.held.0))
    }

    /// The clock's state.
    // ks-coverage: KsGetDefaultClockState done test=stream_time_counts_in_run_only_and_starts_again_after_stop
    #[doc(alias = "KsGetDefaultClockState")]
    pub fn state(&self) -> KsState {
        self.state.lock().state
    }

    /// Follows the state of its pin.
    // ks-coverage: KsSetDefaultClockState done test=stream_time_counts_in_run_only_and_starts_again_after_stop
    #[doc(alias = "KsSetDefaultClockState")]
    pub fn set_state(&self, to: KsState) {
        let mut state = self.state.lock();
        let now = self.services.now();
        if state.state == KsState::RUN {
            state.held = state.held + now.since(state.since);
        }
        if to == KsState::STOP {
            state.held = Ticks::ZERO;
        }
        state.since = now;
        state.state = to;
    }
}

/// The clock that a pin goes by: the master clock that its client named, or its own where it implements one.
///
/// It may be kept; it keeps neither pin nor clock handle open. Once the pin of the clock is closed it stands in STOP.
#[doc(alias = "IKsReferenceClock")]
#[derive(Debug, Clone)]
pub struct ReferenceClock(Arc<DefaultClock>);

impl ReferenceClock {
    pub(crate) fn new(clock: Arc<DefaultClock>) -> ReferenceClock {
        ReferenceClock(clock)
    }

    /// Stream time in 100-ns units.
    // ks-coverage: IKsReferenceClock.GetTime done test=a_pin_goes_by_its_master_clock
    #[doc(alias = "IKsReferenceClock::GetTime")]
    pub fn time(&self) -> Ticks {
        self.0.time()
    }

    /// Time that never stands, whatever the state.
    // ks-coverage: IKsReferenceClock.GetPhysicalTime done test=a_pin_goes_by_its_master_clock
    #[doc(alias = "IKsReferenceClock::GetPhysicalTime")]
    pub fn physical_time(&self) -> Time {
        self.0.physical_time()
    }

    /// Stream time, and the engine's monotonic time at that moment.
    // ks-coverage: IKsReferenceClock.GetCorrelatedTime done test=a_pin_goes_by_its_master_clock
    #[doc(alias = "IKsReferenceClock::GetCorrelatedTime")]
    pub fn correlated_time(&self) -> (Ticks, Time) {
        self.0.correlated_time()
    }

    /// Physical time, and the engine's monotonic time at that moment: the same for a default clock.
    // ks-coverage: IKsReferenceClock.GetCorrelatedPhysicalTime done test=a_pin_goes_by_its_master_clock
    #[doc(alias = "IKsReferenceClock::GetCorrelatedPhysicalTime")]
    pub fn correlated_physical_time(&self) -> (Time, Time) {
        let now = self.0.physical_time();
        (now, now)
    }

    /// Granularity and error in 100-ns units.
    // ks-coverage: IKsReferenceClock.GetResolution done test=a_pin_goes_by_its_master_clock
    #[doc(alias = "IKsReferenceClock::GetResolution")]
    pub fn resolution(&self) -> KsResolution {
        self.0.resolution()
    }

    /// The state of the clock.
    // ks-coverage: IKsReferenceClock.GetState done test=a_pin_goes_by_its_master_clock
    #[doc(alias = "IKsReferenceClock::GetState")]
    pub fn state(&self) -> KsState {
        self.0.state()
    }

    /// The moment on the engine's clock at which the stream time will be `time`; `None` while the clock stands.
    pub fn due(&self, time: Ticks) -> Option<Time> {
        (self.state() == KsState::RUN).then(|| self.0.due(time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_time_counts_in_run_only_and_starts_again_after_stop() {
        let services = Services::virtual_time(1);
        let clock = DefaultClock::new(services.clone());
        let pass = |millis| {
            let _ = services.delay_until(services.now() + Ticks::from_millis(millis));
        };
        pass(5);
        assert_eq!(clock.time(), Ticks::ZERO);
        clock.set_state(KsState::RUN);
        pass(10);
        assert_eq!(clock.time(), Ticks::from_millis(10));
        clock.set_state(KsState::PAUSE);
        pass(10);
        assert_eq!(clock.time(), Ticks::from_millis(10));
        clock.set_state(KsState::RUN);
        pass(3);
        assert_eq!(clock.time(), Ticks::from_millis(13));
        assert_eq!(clock.due(Ticks::from_millis(20)), services.now() + Ticks::from_millis(7));
        clock.set_state(KsState::STOP);
        assert_eq!(clock.time(), Ticks::ZERO);
    }
}
