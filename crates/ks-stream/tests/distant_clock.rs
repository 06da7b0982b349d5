//! Clocks that a pin's engine does not have itself, on virtual time: the same object, behind one that only passes on.

mod support;

use ks_abi::*;
use ks_io::sync::{Arc, Mutex};
use ks_io::{
    CancelCell, Dispatch, Dispatched, Dpc, Handle, Irp, Level, RequestorMode, Services, Ticks, Time, Transport,
};
use ks_stream::{ClockObject, ClockParts, ClockSource, DefaultClock, ReferenceClock};
use std::any::Any;
use support::specimen::*;
use zerocopy::IntoBytes;

const MS: i64 = 10_000;

/// Stands for a clock object of another process.
struct Far {
    object: Arc<ClockObject>,
    state: Mutex<FarState>,
}

#[derive(Default)]
struct FarState {
    sent: Vec<Arc<CancelCell>>,
    requests: u32,
    manner: Manner,
    /// Requests that nobody will answer.
    kept: Vec<Irp>,
}

#[derive(Default, Clone, Copy, PartialEq)]
enum Manner {
    #[default]
    Answers,
    /// Its process has ended.
    Gone,
    /// It takes requests and does nothing.
    Silent,
    /// It answers what no clock does.
    Lies,
}

impl Dispatch for Far {
    fn device_io_control(&self, mut irp: Irp) -> Dispatched {
        let manner = {
            let mut state = self.state.lock();
            state.requests += 1;
            state.sent.push(irp.cancel_cell());
            state.manner
        };
        match manner {
            Manner::Answers => self.object.clone().device_io_control(irp),
            Manner::Gone => irp.done(STATUS_DEVICE_REMOVED),
            Manner::Silent => {
                self.state.lock().kept.push(irp);
                Dispatched::Pending
            }
            Manner::Lies => {
                let reading = UserksClockReading { version: 9, state: KsState(77), ..Default::default() };
                let status = irp.parts().output.answer_value(&reading);
                irp.done(status)
            }
        }
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl Far {
    fn end(&self) {
        let sent = {
            let mut state = self.state.lock();
            state.manner = Manner::Gone;
            std::mem::take(&mut state.sent)
        };
        sent.iter().for_each(|cell| cell.cancel());
    }

    fn requests(&self) -> u32 {
        self.state.lock().requests
    }
}

fn far(bench: &Bench, clock: &Arc<DefaultClock>) -> (Arc<Far>, Handle) {
    let far = Arc::new(Far { object: ClockObject::new(clock.clone()), state: Mutex::default() });
    let handle = bench.session.adopt(far.clone(), both_accesses()).expect("a handle is free");
    (far, handle)
}

fn follow(bench: &Bench, pin: Handle, clock: u64) -> NtStatus {
    let request = property(KSPROPSETID_Stream, KSPROPERTY_STREAM_MASTERCLOCK, KSPROPERTY_TYPE_SET);
    bench.property(pin, request.as_bytes(), &mut clock.to_le_bytes()).status
}

fn pass(bench: &Bench, ticks: i64) {
    let services = bench.session.services();
    let _ = services.delay_until(services.now() + Ticks(ticks));
}

/// A pin that goes by a clock of elsewhere.
fn following(bench: &Bench, clock: &Arc<DefaultClock>) -> (Arc<Far>, Handle, Handle, ReferenceClock) {
    let (far, handle) = far(bench, clock);
    let pin = bench.pin(IN);
    assert_eq!(follow(bench, pin, handle.0), STATUS_SUCCESS);
    let reference = bench.engine_pin(pin).reference_clock().expect("the client named it");
    (far, handle, pin, reference)
}

struct Bell(Mutex<Vec<Time>>);

impl Dpc for Bell {
    fn expired(self: Arc<Self>, now: Time) {
        self.0.lock().push(now);
    }
}

#[test]
fn a_distant_clock_is_followed_to_the_tick_and_asked_only_when_it_changes() {
    let bench = bench();
    let clock = DefaultClock::new(bench.session.services().clone());
    let (far, _, _, reference) = following(&bench, &clock);
    let agree = |what: &str| {
        for _ in 0..5 {
            assert_eq!(reference.correlated_time(), clock.correlated_time(), "{what}");
            assert_eq!((reference.state(), reference.resolution()), (clock.state(), clock.resolution()), "{what}");
            assert_eq!((reference.time(), reference.physical_time()), (clock.time(), clock.physical_time()), "{what}");
            pass(&bench, 3 * MS + 7);
        }
    };
    agree("in STOP");
    let before = far.requests();
    for state in [KsState::PAUSE, KsState::RUN, KsState::PAUSE, KsState::RUN, KsState::STOP, KsState::RUN] {
        clock.set_state(state);
        agree(&format!("{state}"));
    }
    clock.set_time(Ticks(1_234_567));
    agree("set ahead");
    clock.set_time(Ticks(-5));
    agree("set back");
    assert_eq!(far.requests() - before, 8, "one a change, and none for the times that were read");
    // Changes that follow on each other are told as one, and the last of them counts.
    for _ in 0..100 {
        clock.set_state(KsState::PAUSE);
        clock.set_state(KsState::RUN);
    }
    agree("after many");
}

#[test]
fn an_alarm_on_a_distant_clock_rings_by_its_time() {
    let bench = bench();
    let clock = DefaultClock::new(bench.session.services().clone());
    let (_, _, _, reference) = following(&bench, &clock);
    let bell = Arc::new(Bell(Mutex::default()));
    let count = || bell.0.lock().len();
    let alarm = reference.alarm(bell.clone());
    assert_eq!(alarm.set(Ticks(10 * MS)), Ok(()));
    pass(&bench, 50 * MS);
    clock.set_state(KsState::RUN);
    let began = bench.session.services().now();
    pass(&bench, 6 * MS);
    clock.set_state(KsState::PAUSE);
    pass(&bench, 50 * MS);
    assert_eq!(count(), 0, "6 ms of 10");
    clock.set_state(KsState::RUN);
    pass(&bench, 5 * MS);
    assert_eq!(*bell.0.lock(), [began + Ticks(60 * MS)]);
    assert_eq!(alarm.set(Ticks(500 * MS)), Ok(()));
    clock.set_time(Ticks(499 * MS));
    pass(&bench, 2 * MS);
    assert_eq!(count(), 2, "the clock was set");
}

/// The time of somebody else's: half as fast.
struct Slow(Services);

impl ClockSource for Slow {
    fn correlated_time(&self) -> (Ticks, Time) {
        let now = self.0.now();
        (Ticks(now.0 / 2), now)
    }
}

#[test]
fn a_distant_clock_of_another_pace_is_asked_where_a_thread_may_wait_and_counted_on_where_it_may_not() {
    let bench = bench();
    let services = bench.session.services().clone();
    let parts = ClockParts {
        source: Some(Arc::new(Slow(services.clone()))),
        resolution: KsResolution { granularity: 40, error: 0 },
        timer: None,
    };
    let clock = DefaultClock::with_parts(services.clone(), parts).unwrap();
    let (far, _, _, reference) = following(&bench, &clock);
    assert_eq!(reference.resolution().granularity, 40);
    clock.set_state(KsState::RUN);
    for _ in 0..5 {
        pass(&bench, 8 * MS);
        assert_eq!(reference.correlated_time(), clock.correlated_time());
    }
    let asked = far.requests();
    let sample = reference.time();
    pass(&bench, 8 * MS);
    {
        let _dispatch = Level::Dispatch.raise();
        assert_eq!(reference.time(), sample + Ticks(8 * MS), "it counts on from the last sample at the machine's pace");
    }
    assert_eq!(far.requests(), asked + 1);
    assert_eq!(reference.time(), clock.time(), "asked again, it goes by the other's");
    // An alarm rings when the other clock has the time, however this one would have counted.
    let bell = Arc::new(Bell(Mutex::default()));
    let alarm = reference.alarm(bell.clone());
    alarm.set(clock.time() + Ticks(20 * MS)).unwrap();
    let due = services.now() + Ticks(40 * MS);
    pass(&bench, 39 * MS);
    assert_eq!(bell.0.lock().len(), 0);
    pass(&bench, 2 * MS);
    let rung = bell.0.lock().clone();
    assert!(rung.len() == 1 && rung[0] >= due && rung[0] <= due + Ticks(MS), "{rung:?}, due at {due:?}");
}

#[test]
fn a_distant_clock_that_ends_is_lost_and_wakes_who_waits_for_it() {
    let bench = bench();
    let clock = DefaultClock::new(bench.session.services().clone());
    let (far, handle, pin, reference) = following(&bench, &clock);
    clock.set_state(KsState::RUN);
    pass(&bench, 5 * MS);
    let bell = Arc::new(Bell(Mutex::default()));
    let alarm = reference.alarm(bell.clone());
    alarm.set(Ticks::from_secs(1000)).unwrap();
    far.end();
    assert_eq!(bell.0.lock().len(), 1, "it will not come");
    assert_eq!(reference.lost(), Some(STATUS_DEVICE_REMOVED));
    assert_eq!((reference.state(), reference.time(), reference.due(Ticks(1))), (KsState::STOP, Ticks::ZERO, None));
    assert_eq!(alarm.set(Ticks(1)), Err(STATUS_DEVICE_REMOVED));
    assert_eq!(bench.engine_pin(pin).reference_clock().unwrap_err(), STATUS_DEVICE_REMOVED);
    assert_eq!(follow(&bench, pin, handle.0), STATUS_DEVICE_REMOVED);
    assert_eq!(follow(&bench, pin, 0), STATUS_SUCCESS);
    assert_eq!(bench.engine_pin(pin).reference_clock().unwrap_err(), STATUS_DEVICE_NOT_READY, "none is named");
}

#[test]
fn a_pin_that_lets_a_distant_clock_go_leaves_nothing_there() {
    let bench = bench();
    let clock = DefaultClock::new(bench.session.services().clone());
    let (far, handle, pin, reference) = following(&bench, &clock);
    // The client's handle is not the pin's.
    let _ = bench.session.close(handle);
    clock.set_state(KsState::RUN);
    pass(&bench, MS);
    assert_eq!(reference.correlated_time(), clock.correlated_time());
    let weak = Arc::downgrade(&far);
    drop(far);
    assert_eq!(follow(&bench, pin, 0), STATUS_SUCCESS);
    clock.set_state(KsState::PAUSE);
    assert_eq!(reference.state(), KsState::PAUSE, "the driver keeps what it was given");
    drop(reference);
    assert!(weak.upgrade().is_none(), "its file object is closed");
    // A pin that closes lets go as well.
    let (far, handle, pin, reference) = following(&bench, &clock);
    let weak = Arc::downgrade(&far);
    drop((far, reference));
    let _ = bench.session.close(handle);
    assert!(weak.upgrade().is_some());
    let _ = bench.session.close(pin);
    assert!(weak.upgrade().is_none());
}

#[test]
fn what_does_not_answer_as_a_clock_is_no_master_clock() {
    let bench = bench();
    let clock = DefaultClock::new(bench.session.services().clone());
    let (far, handle) = far(&bench, &clock);
    let pin = bench.pin(IN);
    let services = bench.session.services().clone();
    for (manner, status) in [
        (Manner::Gone, STATUS_DEVICE_REMOVED),
        (Manner::Lies, STATUS_INVALID_HANDLE),
        (Manner::Silent, STATUS_IO_TIMEOUT),
        (Manner::Answers, STATUS_SUCCESS),
    ] {
        far.state.lock().manner = manner;
        let asked = services.now();
        assert_eq!(follow(&bench, pin, handle.0), status);
        let waited = services.now().since(asked);
        assert_eq!(waited, if manner == Manner::Silent { Ticks::from_secs(5) } else { Ticks::ZERO });
        let cancelled = far.state.lock().sent.last().unwrap().is_cancelled();
        assert_eq!(cancelled, manner == Manner::Silent, "nobody waits for it any more");
        for irp in std::mem::take(&mut far.state.lock().kept) {
            drop(irp.complete(STATUS_CANCELLED));
        }
    }
    // What it says later is checked as well.
    far.state.lock().manner = Manner::Lies;
    clock.set_state(KsState::RUN);
    let lost = bench.engine_pin(pin).reference_clock().unwrap_err();
    assert_eq!(lost, STATUS_DEVICE_PROTOCOL_ERROR);
}

#[test]
fn only_a_class_driver_waits_for_the_changes_of_a_clock() {
    let bench = bench();
    let clock = DefaultClock::new(bench.session.services().clone());
    let property = KsProperty::new(USERKS_PROPSET_CLOCK, USERKS_CLOCK_FOLLOW, KSPROPERTY_TYPE_GET);
    let ask = |session: &Arc<ks_io::Session>, input: &[u8], room: usize| {
        let handle = session.adopt(ClockObject::new(clock.clone()), both_accesses()).unwrap();
        let mut answer = vec![0; room];
        let outcome = session.device_io_control(handle, IoControlCode::KS_PROPERTY, input, &mut answer);
        (outcome.status, answer)
    };
    let whole = UserksClockFollow { property, version: 0 };
    let room = size_of::<UserksClockReading>();
    assert_eq!(ask(&bench.session, whole.as_bytes(), room).0, STATUS_ACCESS_DENIED);
    let kernel = bench.session.io_manager().session_as(RequestorMode::Kernel);
    let (status, answer) = ask(&kernel, whole.as_bytes(), room);
    assert_eq!((status, &answer[..8]), (STATUS_SUCCESS, 1u64.to_le_bytes().as_slice()));
    assert_eq!(ask(&kernel, whole.as_bytes(), room - 1).0, STATUS_BUFFER_TOO_SMALL);
    assert_eq!(ask(&kernel, property.as_bytes(), room).0, STATUS_PROPSET_NOT_FOUND, "no version is named");
}
