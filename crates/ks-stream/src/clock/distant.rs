//! A clock of another process, as the pins of this one see it.
//!
//! The pin's process keeps a clock of its own that shows the same: a request waits at the other until that changes, its
//! answer says what it shows since when, and the next request waits. All processes of a machine have one monotonic clock, so
//! nothing is asked in between, and times, alarms and marks are those of this process. A clock with a time of its owner's is
//! sampled instead, whenever somebody reads it who may wait.

use super::{ClockParts, ClockSource, ClockState, DefaultClock};
use crate::clock_object::ClockObject;
use crate::pin::connect::is_no_clock;
use ks_abi::{
    IoControlCode, KSPROPERTY_TYPE_GET, KsProperty, KsResolution, KsState, NtStatus, STATUS_CANCELLED,
    STATUS_DEVICE_PROTOCOL_ERROR, STATUS_DEVICE_REMOVED, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_HANDLE,
    STATUS_IO_TIMEOUT, USERKS_CLOCK_FOLLOW, USERKS_CLOCK_SAMPLED, USERKS_PROPSET_CLOCK, UserksClockFollow,
    UserksClockReading,
};
use ks_io::sync::{Arc, Mutex, Weak};
use ks_io::{
    CancelCell, CompletedRequest, CompletionRoutine, Dispatched, Event, EventKind, FileObject, Irp, Level, Origin,
    Reply, RequestParts, Services, Signal, Ticks, Time, WaitOutcome, Work, WorkQueue, deferred, holds_ranked_mutex,
};
use std::sync::OnceLock;
use zerocopy::{FromBytes, IntoBytes};

/// How long the other process has for an answer that it can give at once.
const PATIENCE: Ticks = Ticks::from_secs(5);

/// The master clock of a pin.
#[derive(Debug, Clone)]
pub(crate) struct MasterClock {
    file: Arc<FileObject>,
    clock: Arc<DefaultClock>,
}

impl MasterClock {
    /// The clock that a file object is, here or elsewhere. STATUS_INVALID_HANDLE: it is none. Waits, with no mutex held.
    pub(crate) fn of(file: &Arc<FileObject>, services: &Services) -> Result<MasterClock, NtStatus> {
        let clock = match file.object_as::<ClockObject>() {
            Some(object) => object.clock().clone(),
            None if is_no_clock(file) => return Err(STATUS_INVALID_HANDLE),
            None => Following::start(file, services)?,
        };
        Ok(MasterClock { file: file.clone(), clock })
    }

    pub(crate) fn file(&self) -> &Arc<FileObject> {
        &self.file
    }

    pub(crate) fn clock(&self) -> &Arc<DefaultClock> {
        &self.clock
    }

    /// The pin has another or none. A clock of another process is followed no more when this returns, unless somebody else
    /// goes by it. Not called with a mutex held.
    pub(crate) fn let_go(self) {
        let MasterClock { file, clock } = self;
        let is_last = Arc::strong_count(&clock) == 1;
        let ending = clock.following.as_ref().map(|following| following.ending());
        drop(clock);
        if let Some((ended, deadline)) = ending.filter(|_| is_last && Level::current() < Level::Dispatch) {
            // The file object is to go here, where its closing can be waited for.
            let _ = ended.wait_until(deadline);
        }
        drop(file);
    }
}

impl DefaultClock {
    /// A clock that shows what another does. It keeps on as long as it is kept.
    fn distant(services: &Services, first: &UserksClockReading, following: &Arc<Following>) -> Arc<DefaultClock> {
        let sampled = first.flags & USERKS_CLOCK_SAMPLED != 0;
        let resolution = KsResolution { granularity: first.granularity.max(0), error: first.error.max(0) };
        let source = sampled.then(|| following.clone() as Arc<dyn ClockSource>);
        let parts = ClockParts { source, timer: None, resolution };
        let clock = DefaultClock::make(services.clone(), Some(Box::new(parts)), Some(following.clone()));
        clock.show(first);
        clock
    }

    /// Shows what the other clock does.
    fn show(&self, reading: &UserksClockReading) {
        let told = ClockState {
            state: reading.state,
            held: Ticks(reading.time),
            since: Time(reading.since),
            version: reading.version,
        };
        let jumps = {
            let mut state = self.state.lock();
            let goes_on = state.time_at(told.since) == told.held;
            *state = told;
            !goes_on
        };
        self.follow_state(jumps.then(|| self.time()));
    }

    /// The other clock is gone: this one is as that of a pin that is closed, and whoever waits for a time is called.
    fn lose(&self) {
        let version = self.state.lock().version;
        self.show(&UserksClockReading { version, state: KsState::STOP, ..UserksClockReading::default() });
        let waiting = self.marks.get().map(|marks| marks.lock().take_all()).unwrap_or_default();
        for (listener, token) in waiting {
            if let Some(listener) = listener.upgrade() {
                listener.reached(token);
            }
        }
    }
}

/// What keeps a clock of this process and one of another alike.
pub(crate) struct Following {
    file: Arc<FileObject>,
    services: Services,
    state: Mutex<State>,
    /// Set when no request is on its way any more, and none will be.
    ended: Event,
    clock: OnceLock<Weak<DefaultClock>>,
}

struct State {
    last: UserksClockReading,
    /// Of the request that waits for a change.
    waiting: Option<Arc<CancelCell>>,
    lost: Option<NtStatus>,
}

impl Following {
    /// Begins to follow the clock that a file object of another process is.
    fn start(file: &Arc<FileObject>, services: &Services) -> Result<Arc<DefaultClock>, NtStatus> {
        let first = read(file, services).map_err(|status| match status {
            STATUS_DEVICE_REMOVED | STATUS_INSUFFICIENT_RESOURCES | STATUS_IO_TIMEOUT => status,
            // What it is, it is no clock.
            _ => STATUS_INVALID_HANDLE,
        })?;
        let following = Arc::new(Following {
            file: file.clone(),
            services: services.clone(),
            state: Mutex::new(State { last: first, waiting: None, lost: None }),
            ended: services.event(EventKind::Notification, Signal::Clear),
            clock: OnceLock::new(),
        });
        let clock = DefaultClock::distant(services, &first, &following);
        let _ = following.clock.set(Arc::downgrade(&clock));
        following.wait_for_change();
        Ok(clock)
    }

    pub(super) fn lost(&self) -> Option<NtStatus> {
        self.state.lock().lost
    }

    /// What tells that nothing of this is left, and how long to wait for it.
    fn ending(&self) -> (Event, Time) {
        (self.ended.clone(), self.services.now() + PATIENCE)
    }

    /// Sends the request that waits for the next change.
    fn wait_for_change(self: &Arc<Following>) {
        let routine = Arc::new(Change { following: Arc::downgrade(self), ended: self.ended.clone() });
        let irp = {
            let mut state = self.state.lock();
            match request(&self.file, state.last.version, Reply::Routine(routine)) {
                Ok((irp, cancel)) => {
                    state.waiting = Some(cancel);
                    Ok(irp)
                }
                Err(status) => Err(status),
            }
        };
        match irp {
            Ok(irp) => drop(self.file.dispatch_by_reference(irp)),
            Err(status) => self.lose(status),
        }
    }

    fn heard(self: &Arc<Following>, answer: Result<UserksClockReading, NtStatus>) {
        match answer {
            Ok(reading) => {
                self.state.lock().last = reading;
                self.show(&reading);
                let ended = self.ended.clone();
                deferred::run_later(Arc::new(Next(Change { following: Arc::downgrade(self), ended })));
            }
            // Nobody cancels it but the end of the other process: this side asks for no more then.
            Err(STATUS_CANCELLED) => self.lose(STATUS_DEVICE_REMOVED),
            Err(status) => self.lose(status),
        }
    }

    fn show(&self, reading: &UserksClockReading) {
        if let Some(clock) = self.clock.get().and_then(Weak::upgrade) {
            clock.show(reading);
        }
    }

    fn lose(&self, status: NtStatus) {
        {
            let mut state = self.state.lock();
            state.lost = Some(status);
            state.last = UserksClockReading { state: KsState::STOP, ..UserksClockReading::default() };
        }
        self.ended.set();
        if let Some(clock) = self.clock.get().and_then(Weak::upgrade) {
            clock.lose();
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let waiting = self.state.lock().waiting.take();
        if let Some(waiting) = waiting {
            waiting.cancel();
        }
    }
}

impl std::fmt::Debug for Following {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Following").field("lost", &self.lost()).finish_non_exhaustive()
    }
}

/// A clock with a time of its owner's, sampled.
impl ClockSource for Following {
    /// Counts on from the last sample: at DISPATCH level too.
    fn correlated_time(&self) -> (Ticks, Time) {
        let last = self.state.lock().last;
        let now = self.services.now();
        let passed = if last.state == KsState::RUN { now.since(Time(last.since)) } else { Ticks::ZERO };
        (Ticks(last.time) + passed, now)
    }

    fn is_distant(&self) -> bool {
        true
    }

    fn read_anew(&self) -> Option<(Ticks, Time)> {
        if self.lost().is_some() {
            return None;
        }
        // Why it cannot be had, the request that waits will hear.
        let sample = read(&self.file, &self.services).ok()?;
        let mut state = self.state.lock();
        if state.lost.is_some() {
            return None;
        }
        if sample.since >= state.last.since {
            // The version and the state stay: the change is still to be told.
            let UserksClockReading { version, state: told, .. } = state.last;
            state.last = UserksClockReading { version, state: told, ..sample };
        }
        Some((Ticks(sample.time), Time(sample.since)))
    }
}

/// Hears of a change.
struct Change {
    following: Weak<Following>,
    ended: Event,
}

impl CompletionRoutine for Change {
    fn completed(self: Arc<Self>, request: CompletedRequest) {
        match self.following.upgrade() {
            Some(following) => following.heard(answered(&request)),
            None => self.ended.set(),
        }
    }
}

/// Waits for the next change, where the thread may send requests.
struct Next(Change);

impl Work for Next {
    fn run(self: Arc<Self>) {
        let Some(following) = self.0.following.upgrade() else { return self.0.ended.set() };
        if holds_ranked_mutex() || Level::current() != Level::Passive {
            let services = following.services.clone();
            return services.queue_work(WorkQueue::Delayed, self);
        }
        let _inside = deferred::enter();
        following.wait_for_change();
    }
}

/// Asks what the clock shows, and waits for the answer.
fn read(file: &Arc<FileObject>, services: &Services) -> Result<UserksClockReading, NtStatus> {
    let done = services.event(EventKind::Notification, Signal::Clear);
    let asked = Arc::new(Asked { answer: Mutex::new(None), done: done.clone() });
    let (irp, cancel) = request(file, 0, Reply::Routine(asked.clone()))?;
    if let Dispatched::Completed(completed) = file.dispatch_by_reference(irp) {
        drop(completed);
    } else if done.wait_until(services.now() + PATIENCE) != WaitOutcome::Signalled {
        cancel.cancel();
        return Err(STATUS_IO_TIMEOUT);
    }
    let answer = asked.answer.lock().take();
    answer.unwrap_or(Err(STATUS_IO_TIMEOUT))
}

struct Asked {
    answer: Mutex<Option<Result<UserksClockReading, NtStatus>>>,
    done: Event,
}

impl CompletionRoutine for Asked {
    fn completed(self: Arc<Self>, request: CompletedRequest) {
        *self.answer.lock() = Some(answered(&request));
        self.done.set();
    }
}

/// The request that is answered when the clock has another version.
fn request(file: &Arc<FileObject>, version: u64, reply: Reply) -> Result<(Irp, Arc<CancelCell>), NtStatus> {
    let property = KsProperty::new(USERKS_PROPSET_CLOCK, USERKS_CLOCK_FOLLOW, KSPROPERTY_TYPE_GET);
    let follow = UserksClockFollow { property, version };
    let parts = RequestParts {
        code: IoControlCode::KS_PROPERTY,
        input: follow.as_bytes(),
        output: &[],
        output_bytes: size_of::<UserksClockReading>(),
        input_token: 0,
        output_token: 0,
    };
    let mut irp = Irp::device_control(file, &Origin::class_driver(), parts, reply)?;
    let cancel = irp.cancel_cell();
    Ok((irp, cancel))
}

/// What the other clock says of itself, as far as it can be.
fn answered(request: &CompletedRequest) -> Result<UserksClockReading, NtStatus> {
    let status = request.status();
    if status.is_error() {
        return Err(status);
    }
    match UserksClockReading::read_from_bytes(request.answer()) {
        Ok(reading) if reading.state <= KsState::RUN && reading.version != 0 => Ok(reading),
        _ => Err(STATUS_DEVICE_PROTOCOL_ERROR),
    }
}
