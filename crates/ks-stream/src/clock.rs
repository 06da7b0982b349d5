//! The default clock: stream time that counts in RUN, on the engine's injected time or on its owner's.
//!
//! Source: "Default clocks", nf-ks-ksallocatedefaultclockex, nf-ks-kssetdefaultclocktime.

mod alarm;
mod distant;
mod followers;
mod marks;

use ks_abi::{KsResolution, KsState, NtStatus, STATUS_INVALID_PARAMETER};
use ks_io::sync::{Arc, Mutex, Weak};
use ks_io::{CancelSafeQueue, Dpc, Level, Services, Ticks, Time, Timer, Work, WorkQueue};
use std::sync::OnceLock;

pub use alarm::ClockAlarm;
pub(crate) use distant::{Following, MasterClock};
pub use followers::asks_to_follow;
pub(crate) use marks::{MarkListener, Marks, TimeMark};

/// Stream time: 0 from its create, running in RUN, held in PAUSE, back to 0 in STOP. Each pin has one; a driver may make
/// others. Any number of [`crate::ClockObject`]s share it, and none of them keeps the pin's stream.
#[derive(Debug)]
pub struct DefaultClock {
    services: Services,
    /// `None`: all is the engine's.
    parts: Option<Box<ClockParts>>,
    state: Mutex<ClockState>,
    /// Taken before `state`. Made with the first mark: a thousand streams have a thousand clocks without one.
    marks: OnceLock<Box<Mutex<Marks>>>,
    /// Made with the first mark.
    timer: OnceLock<Box<Timer>>,
    /// Requests of who follows the clock from elsewhere, each until the next change. Made with the first.
    followers: OnceLock<Arc<CancelSafeQueue>>,
    /// This clock shows what one of another process does.
    following: Option<Arc<Following>>,
    me: Weak<DefaultClock>,
}

/// What the owner of a clock brings along instead of the engine's time.
#[derive(Default, Clone)]
pub struct ClockParts {
    /// Tells the time; the state only says then whether marks are signalled.
    pub source: Option<Arc<dyn ClockSource>>,
    /// Wakes the clock; `None`: the engine's timers.
    pub timer: Option<Arc<dyn ClockTimer>>,
    /// Another granularity (with a source) or error (with a timer) than the best; zero: the best.
    pub resolution: KsResolution,
}

/// Tells the time of a clock. Called at DISPATCH level too, so it may not wait.
#[doc(alias = "PFNKSCORRELATEDTIME")]
pub trait ClockSource: Send + Sync {
    /// The clock's time, and the engine's monotonic time at the same moment.
    fn correlated_time(&self) -> (Ticks, Time);

    /// Its granularity and error, asked at each use; `None`: what [`ClockParts::resolution`] says.
    #[doc(alias = "KSCLOCK_DISPATCH.Resolution")]
    fn resolution(&self) -> Option<KsResolution> {
        None
    }

    /// The time is read where it cannot be read at once: [`ClockSource::correlated_time`] counts on from the last
    /// [`ClockSource::read_anew`].
    fn is_distant(&self) -> bool {
        false
    }

    /// Reads the time where it is, and may wait for it: both times of one moment. Not called at DISPATCH level. `None`: it
    /// cannot be had.
    fn read_anew(&self) -> Option<(Ticks, Time)> {
        None
    }
}

/// Calls a procedure when so much of a clock's time has passed. Legal at every level.
pub trait ClockTimer: Send + Sync {
    /// Sets the timer, replacing an earlier setting.
    #[doc(alias = "PFNKSSETTIMER")]
    fn set(&self, after: Ticks, dpc: Arc<dyn Dpc>);

    /// Stops it.
    #[doc(alias = "PFNKSCANCELTIMER")]
    fn cancel(&self);
}

impl std::fmt::Debug for ClockParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClockParts").field("resolution", &self.resolution).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy)]
struct ClockState {
    state: KsState,
    /// Stream time when it last stood still.
    held: Ticks,
    /// When it started to run.
    since: Time,
    /// Counts what has changed, from 1.
    version: u64,
}

impl ClockState {
    fn time_at(&self, now: Time) -> Ticks {
        match self.state {
            KsState::RUN => self.held + now.since(self.since),
            _ => self.held,
        }
    }
}

impl DefaultClock {
    /// A clock in STOP at time 0, on the engine's time.
    // ks-coverage: KsAllocateDefaultClock done test=stream_time_counts_in_run_only_and_starts_again_after_stop
    #[doc(alias = "KsAllocateDefaultClock")]
    pub fn new(services: Services) -> Arc<DefaultClock> {
        Self::make(services, None, None)
    }

    /// A clock in STOP with parts of its owner's. STATUS_INVALID_PARAMETER: a granularity without a source, an error
    /// without a timer, or one below zero.
    #[doc(alias = "KsAllocateDefaultClockEx")]
    pub fn with_parts(services: Services, parts: ClockParts) -> Result<Arc<DefaultClock>, NtStatus> {
        let KsResolution { granularity, error } = parts.resolution;
        let fits = |value: i64, owned: bool| value == 0 || (value > 0 && owned);
        if fits(granularity, parts.source.is_some()) && fits(error, parts.timer.is_some()) {
            Ok(Self::make(services, Some(Box::new(parts)), None))
        } else {
            Err(STATUS_INVALID_PARAMETER)
        }
    }

    fn make(
        services: Services,
        parts: Option<Box<ClockParts>>,
        following: Option<Arc<Following>>,
    ) -> Arc<DefaultClock> {
        let state = ClockState { state: KsState::STOP, held: Ticks::ZERO, since: Time::ORIGIN, version: 1 };
        Arc::new_cyclic(|me| DefaultClock {
            services,
            parts,
            state: Mutex::new(state),
            marks: OnceLock::new(),
            timer: OnceLock::new(),
            followers: OnceLock::new(),
            following,
            me: me.clone(),
        })
    }

    /// Its owner's time.
    #[inline]
    fn source(&self) -> Option<&Arc<dyn ClockSource>> {
        self.parts.as_ref()?.source.as_ref()
    }

    /// What its owner has to wake it.
    fn waker(&self) -> Option<&Arc<dyn ClockTimer>> {
        self.parts.as_ref()?.timer.as_ref()
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
        if let Some(source) = self.source() {
            return source.correlated_time();
        }
        let state = *self.state.lock();
        let now = self.services.now();
        (state.time_at(now), now)
    }

    /// The engine's monotonic time: never goes back, whatever the state.
    pub fn physical_time(&self) -> Time {
        self.services.now()
    }

    /// One unit of 100 ns is the best a clock can do; the default clock adds no error to it.
    pub fn resolution(&self) -> KsResolution {
        let own = self.source().and_then(|source| source.resolution());
        let brought = || self.parts.as_ref().map_or_else(KsResolution::default, |parts| parts.resolution);
        let KsResolution { granularity, error } = own.unwrap_or_else(brought);
        KsResolution { granularity: granularity.max(1), error }
    }

    /// The moment on the engine's clock at which the stream time will be `time`, if the clock runs on.
    pub fn due(&self, time: Ticks) -> Time {
        if self.source().is_some() {
            let (now, system) = self.correlated_time();
            return system + Ticks(time.0.saturating_sub(now.0));
        }
        let state = *self.state.lock();
        state.since + Ticks(time.0.saturating_sub(state.held.0))
    }

    /// The clock's state.
    // ks-coverage: KsGetDefaultClockState done test=stream_time_counts_in_run_only_and_starts_again_after_stop
    #[doc(alias = "KsGetDefaultClockState")]
    pub fn state(&self) -> KsState {
        self.state.lock().state
    }

    /// Follows the state of its pin. Marks are signalled in RUN only. Legal at every level.
    // ks-coverage: KsSetDefaultClockState done test=stream_time_counts_in_run_only_and_starts_again_after_stop
    #[doc(alias = "KsSetDefaultClockState")]
    pub fn set_state(&self, to: KsState) {
        {
            let mut state = self.state.lock();
            let now = self.services.now();
            state.held = if to == KsState::STOP { Ticks::ZERO } else { state.time_at(now) };
            state.since = now;
            state.state = to;
            state.version += 1;
        }
        self.note_change();
        self.follow_state((to == KsState::STOP).then_some(Ticks::ZERO));
    }

    /// Makes it `time`, from which the clock goes on. Marks that lie ahead again are signalled again. Legal at every level.
    ///
    /// A clock with a source of its own keeps its time: only its marks are looked at anew.
    #[doc(alias = "KsSetDefaultClockTime")]
    pub fn set_time(&self, time: Ticks) {
        {
            let mut state = self.state.lock();
            state.held = time;
            state.since = self.services.now();
            state.version += 1;
        }
        self.note_change();
        self.follow_state(Some(time));
    }

    /// Adds a mark, which is signalled when the running clock has reached it. STATUS_INSUFFICIENT_RESOURCES: the clock has
    /// as many as it may.
    pub(crate) fn add_mark(&self, mark: TimeMark) -> Result<(), NtStatus> {
        let _ = self.read_anew();
        let mut marks = self.marks.get_or_init(Box::default).lock();
        marks.add(mark, self.time())?;
        self.wake_for(&marks);
        Ok(())
    }

    /// Forgets the marks of one listener, or one of them.
    pub(crate) fn remove_marks(&self, chosen: impl Fn(&TimeMark) -> bool) {
        let Some(marks) = self.marks.get() else { return };
        let mut marks = marks.lock();
        let gone = marks.remove(chosen);
        self.wake_for(&marks);
        drop(marks);
        drop(gone);
    }

    /// Why there is nothing to follow any more, for a clock that shows what one of another process does.
    pub(crate) fn lost(&self) -> Option<NtStatus> {
        self.following.as_ref().and_then(|following| following.lost())
    }

    /// The state has changed, or the time has jumped.
    fn follow_state(&self, jumped_to: Option<Ticks>) {
        let Some(marks) = self.marks.get() else { return };
        let mut marks = marks.lock();
        if marks.is_empty() {
            return;
        }
        if let Some(time) = jumped_to {
            // A source goes on where it was.
            let time = if self.source().is_some() { self.time() } else { time };
            marks.jump(time);
        }
        self.wake_for(&marks);
    }

    /// Sets the timer for the next mark. The lock of the marks is held, so that no other setting comes between.
    fn wake_for(&self, marks: &Marks) {
        let running = self.state() == KsState::RUN;
        match marks.next().filter(|_| running) {
            Some(next) => {
                let due = self.due(next);
                if due == Time::NEVER {
                    return self.stop_waking();
                }
                let dpc = || Arc::new(MarkTimer(self.me.clone()));
                match self.waker() {
                    // By its own time: the system time of a source need not be the engine's.
                    Some(timer) => timer.set(Ticks(next.0.saturating_sub(self.time().0).max(0)), dpc()),
                    None => _ = self.timer.get_or_init(|| Box::new(self.services.timer(dpc()))).set(due, None),
                }
            }
            None => self.stop_waking(),
        }
    }

    fn stop_waking(&self) {
        match (self.waker(), self.timer.get()) {
            (Some(timer), _) => timer.cancel(),
            (None, Some(timer)) => _ = timer.cancel(),
            (None, None) => {}
        }
    }

    /// Reads a distant time where it is, if this thread may wait for it.
    fn read_anew(&self) -> Option<(Ticks, Time)> {
        let source = self.source().filter(|source| source.is_distant())?;
        if Level::current() < Level::Dispatch { source.read_anew() } else { None }
    }

    /// Its time at this level: read where it is, if that is elsewhere and this thread may wait.
    fn time_here(&self) -> (Ticks, Time) {
        self.read_anew().unwrap_or_else(|| self.correlated_time())
    }

    /// Signals what the clock has reached.
    fn signal_marks(&self) {
        let Some(marks) = self.marks.get() else { return };
        let reached = {
            let mut marks = marks.lock();
            if self.state() != KsState::RUN {
                return;
            }
            let reached = marks.take_reached(self.time());
            self.wake_for(&marks);
            reached
        };
        for (listener, token) in reached {
            if let Some(listener) = listener.upgrade() {
                listener.reached(token);
            }
        }
    }
}

/// What the timer of a clock calls; it keeps no clock.
struct MarkTimer(Weak<DefaultClock>);

impl Dpc for MarkTimer {
    fn expired(self: Arc<Self>, _now: Time) {
        let Some(clock) = self.0.upgrade() else { return };
        if clock.source().is_some_and(|source| source.is_distant()) {
            // What it shows by now, a worker has to ask.
            return clock.services.queue_work(WorkQueue::Delayed, self);
        }
        clock.signal_marks();
    }
}

impl Work for MarkTimer {
    fn run(self: Arc<Self>) {
        if let Some(clock) = self.0.upgrade() {
            let _ = clock.read_anew();
            clock.signal_marks();
        }
    }
}

/// The clock that a pin goes by: the master clock that its client named, or its own where it implements one.
///
/// It may be kept; it keeps neither pin nor clock handle open. Once the pin of the clock is closed it stands in STOP.
///
/// The clock may be in another process. Its time is that of the machine, so reading it costs the same; only a clock whose
/// owner brings a time of its own is asked there each time, below DISPATCH level, and counted on from the last answer at it.
/// Such a clock stands in STOP, too, when its process has ended, and its alarms ring.
#[doc(alias = "IKsReferenceClock")]
#[derive(Debug, Clone)]
pub struct ReferenceClock(Arc<DefaultClock>);

impl ReferenceClock {
    pub(crate) fn new(clock: Arc<DefaultClock>) -> ReferenceClock {
        ReferenceClock(clock)
    }

    /// Stream time in 100-ns units.
    // ks-coverage: IKsReferenceClock.GetTime done test=a_pin_goes_by_its_master_clock,a_pins_own_clock_tells_its_time_and_sets_its_timers
    #[doc(alias = "IKsReferenceClock::GetTime")]
    pub fn time(&self) -> Ticks {
        self.0.time_here().0
    }

    /// Time that never stands, whatever the state.
    // ks-coverage: IKsReferenceClock.GetPhysicalTime done test=a_pin_goes_by_its_master_clock,every_inline_function_of_the_headers_works_on_living_objects
    #[doc(alias = "IKsReferenceClock::GetPhysicalTime")]
    pub fn physical_time(&self) -> Time {
        self.0.physical_time()
    }

    /// Stream time, and the engine's monotonic time at that moment.
    // ks-coverage: IKsReferenceClock.GetCorrelatedTime done test=a_pin_goes_by_its_master_clock,a_pins_own_clock_tells_its_time_and_sets_its_timers
    #[doc(alias = "IKsReferenceClock::GetCorrelatedTime")]
    pub fn correlated_time(&self) -> (Ticks, Time) {
        self.0.time_here()
    }

    /// Physical time, and the engine's monotonic time at that moment: the same for a default clock.
    // ks-coverage: IKsReferenceClock.GetCorrelatedPhysicalTime done test=a_pin_goes_by_its_master_clock,every_inline_function_of_the_headers_works_on_living_objects
    #[doc(alias = "IKsReferenceClock::GetCorrelatedPhysicalTime")]
    pub fn correlated_physical_time(&self) -> (Time, Time) {
        let now = self.0.physical_time();
        (now, now)
    }

    /// Granularity and error in 100-ns units.
    // ks-coverage: IKsReferenceClock.GetResolution done test=a_pin_goes_by_its_master_clock,a_pins_own_clock_tells_its_time_and_sets_its_timers
    #[doc(alias = "IKsReferenceClock::GetResolution")]
    pub fn resolution(&self) -> KsResolution {
        self.0.resolution()
    }

    /// The state of the clock.
    // ks-coverage: IKsReferenceClock.GetState done test=a_pin_goes_by_its_master_clock,every_inline_function_of_the_headers_works_on_living_objects
    #[doc(alias = "IKsReferenceClock::GetState")]
    pub fn state(&self) -> KsState {
        self.0.state()
    }

    /// Why the clock shows nothing any more: that of another process is gone with it.
    pub fn lost(&self) -> Option<NtStatus> {
        self.0.lost()
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
        assert_eq!(clock.state(), KsState::RUN);
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
