//! Clock objects, and the master clock of a pin.

mod support;

use ks_abi::*;
use ks_io::{Event, Handle, Services, Ticks, Time, Transport};
use ks_stream::{ClockObject, ClockParts, ClockSource, ClockTimer, DefaultClock};
use support::specimen::*;
use zerocopy::IntoBytes;

const GET: u32 = KSPROPERTY_TYPE_GET;
const SET: u32 = KSPROPERTY_TYPE_SET;

fn create_clock(bench: &Bench, pin: Handle) -> Handle {
    bench.session.create(pin, KSSTRING_CLOCK, &[0; 4], both_accesses()).expect("the pin has a clock")
}

#[test]
fn a_master_clock_is_set_in_stop_only() {
    let bench = bench();
    let (master, slave) = (bench.pin(OUT), bench.pin(IN));
    let clock = create_clock(&bench, master);
    let set = |pin, handle: u64| {
        let request = property(KSPROPSETID_Stream, KSPROPERTY_STREAM_MASTERCLOCK, SET);
        bench.property(pin, request.as_bytes(), &mut handle.to_le_bytes()).status
    };
    let get = property(KSPROPSETID_Stream, KSPROPERTY_STREAM_MASTERCLOCK, GET);
    assert_eq!(set(slave, clock.0), STATUS_SUCCESS);
    assert_eq!(bench.value::<u64>(slave, get.as_bytes()), 0, "success is the answer; the handle is NULL");
    assert_eq!(bench.set_state(slave, KsState::ACQUIRE).status, STATUS_SUCCESS);
    assert_eq!(set(slave, clock.0), STATUS_INVALID_DEVICE_STATE);
    assert_eq!(set(slave, 0), STATUS_INVALID_DEVICE_STATE);
    assert_eq!(bench.set_state(slave, KsState::STOP).status, STATUS_SUCCESS);
    for no_clock in [bench.filter, slave, master, Handle(u64::MAX), Handle(2)] {
        assert_eq!(set(slave, no_clock.0), STATUS_INVALID_HANDLE);
    }
    // The pin keeps the clock; the client closes its handle itself.
    let _ = bench.session.close(clock);
    assert_eq!(bench.state(slave), KsState::STOP);
    let _ = bench.session.close(master);
    bench.script.taken();
    assert_eq!(set(slave, 0), STATUS_SUCCESS);
    assert_eq!(bench.script.taken(), ["close 0"], "the last reference to the clock was the last to its pin");
}

#[test]
fn a_pin_that_follows_its_own_clock_still_closes() {
    let bench = bench();
    let pin = bench.pin(OUT);
    let clock = create_clock(&bench, pin);
    let request = property(KSPROPSETID_Stream, KSPROPERTY_STREAM_MASTERCLOCK, SET);
    let set = bench.property(pin, request.as_bytes(), &mut clock.0.to_le_bytes());
    assert_eq!(set.status, STATUS_SUCCESS);
    bench.script.taken();
    let _ = bench.session.close(clock);
    let _ = bench.session.close(pin);
    assert_eq!(bench.script.taken(), ["close 0"]);
}

#[test]
fn a_clock_follows_its_pin_on_injected_time() {
    let bench = bench();
    let pin = bench.pin(OUT);
    let clock = create_clock(&bench, pin);
    let services = bench.session.services().clone();
    let pass = |millis| {
        let _ = services.delay_until(services.now() + Ticks::from_millis(millis));
    };
    let ask = |id| property(KSPROPSETID_Clock, id, GET);
    let time = || bench.value::<i64>(clock, ask(KSPROPERTY_CLOCK_TIME).as_bytes());
    let physical = || bench.value::<i64>(clock, ask(KSPROPERTY_CLOCK_PHYSICALTIME).as_bytes());
    let state = || bench.value::<KsState>(clock, ask(KSPROPERTY_CLOCK_STATE).as_bytes());
    let go = |to| assert_eq!(bench.set_state(pin, to).status, STATUS_SUCCESS);
    assert_eq!((time(), state()), (0, KsState::STOP));
    go(KsState::PAUSE);
    pass(5);
    assert_eq!((time(), state()), (0, KsState::PAUSE));
    go(KsState::RUN);
    let before = physical();
    pass(7);
    assert_eq!((time(), state(), physical() - before), (70_000, KsState::RUN, 70_000), "100-ns units");
    go(KsState::PAUSE);
    pass(100);
    assert_eq!((time(), physical() - before), (70_000, 1_070_000), "presentation time stands, physical time does not");
    go(KsState::RUN);
    pass(1);
    let both: KsCorrelatedTime = bench.value(clock, ask(KSPROPERTY_CLOCK_CORRELATEDTIME).as_bytes());
    assert_eq!((both.time, both.system_time), (80_000, physical()));
    let both: KsCorrelatedTime = bench.value(clock, ask(KSPROPERTY_CLOCK_CORRELATEDPHYSICALTIME).as_bytes());
    assert_eq!((both.time, both.system_time), (physical(), physical()));
    let resolution: KsResolution = bench.value(clock, ask(KSPROPERTY_CLOCK_RESOLUTION).as_bytes());
    assert_eq!((resolution.granularity, resolution.error), (1, 0), "the best there is");
    go(KsState::STOP);
    assert_eq!((time(), state()), (0, KsState::STOP));
    for id in 0..=5 {
        let (outcome, _) = bench.ask(clock, ask(id).as_bytes(), 3);
        assert_eq!(outcome.status, STATUS_BUFFER_TOO_SMALL, "item {id}");
        let (outcome, _) = bench.ask(clock, property(KSPROPSETID_Clock, id, SET).as_bytes(), 16);
        assert_eq!(outcome.status, STATUS_NOT_FOUND, "a clock's item {id} cannot be set");
    }
    // A closed pin's clock lives on while its handle does; there is no more state to follow.
    let _ = bench.session.close(pin);
    assert_eq!(time(), 0);
    for (parameters, status) in [
        (&[0u8; 3][..], STATUS_INVALID_BUFFER_SIZE),
        (&[0; 5], STATUS_INVALID_BUFFER_SIZE),
        (&[1, 0, 0, 0], STATUS_INVALID_PARAMETER),
    ] {
        let pin = bench.pin(OUT);
        let refused = bench.session.create(pin, KSSTRING_CLOCK, parameters, both_accesses()).unwrap_err();
        assert_eq!(refused.status, status);
        let _ = bench.session.close(pin);
    }
    let without = bench.session.create(bench.pin(IN), KSSTRING_CLOCK, &[0; 4], both_accesses()).unwrap_err();
    assert_eq!(without.status, STATUS_INVALID_DEVICE_REQUEST, "only pins with the clock flag have one");
}

#[test]
fn a_pin_goes_by_its_master_clock() {
    let bench = bench();
    let (master, slave, other) = (bench.pin(OUT), bench.pin(IN), bench.pin(OUT));
    let services = bench.session.services().clone();
    let pass = |millis| {
        let _ = services.delay_until(services.now() + Ticks::from_millis(millis));
    };
    let follow = |pin, clock: u64| {
        let request = property(KSPROPSETID_Stream, KSPROPERTY_STREAM_MASTERCLOCK, SET);
        let set = bench.property(pin, request.as_bytes(), &mut clock.to_le_bytes());
        assert_eq!(set.status, STATUS_SUCCESS);
    };
    let go = |pin, to| assert_eq!(bench.set_state(pin, to).status, STATUS_SUCCESS);
    let engine_pin = bench.engine_pin(slave);
    assert_eq!(engine_pin.reference_clock().unwrap_err(), STATUS_DEVICE_NOT_READY, "nobody named a clock yet");
    let own = bench.engine_pin(master).reference_clock().expect("the pin implements one");
    let handle = create_clock(&bench, master);
    follow(slave, handle.0);
    let clock = engine_pin.reference_clock().expect("the client named it");
    assert_eq!((clock.time(), clock.state(), clock.due(Ticks::ZERO)), (Ticks::ZERO, KsState::STOP, None));
    go(slave, KsState::RUN);
    pass(5);
    assert_eq!(clock.time(), Ticks::ZERO, "the master stands");
    go(master, KsState::RUN);
    pass(7);
    assert_eq!((clock.time(), clock.state()), (Ticks::from_millis(7), KsState::RUN));
    assert_eq!(clock.time(), own.time());
    assert_eq!(clock.correlated_time(), (Ticks::from_millis(7), services.now()));
    assert_eq!(clock.correlated_physical_time(), (clock.physical_time(), services.now()));
    assert_eq!(clock.due(Ticks::from_millis(9)), Some(services.now() + Ticks::from_millis(2)));
    assert_eq!((clock.resolution().granularity, clock.resolution().error), (1, 0));
    go(master, KsState::PAUSE);
    pass(1);
    assert_eq!((clock.time(), clock.due(Ticks::ZERO)), (Ticks::from_millis(7), None));
    // The client's choice goes before the pin's own clock.
    go(other, KsState::RUN);
    go(other, KsState::PAUSE);
    go(other, KsState::STOP);
    follow(other, handle.0);
    assert_eq!(bench.engine_pin(other).reference_clock().unwrap().time(), Ticks::from_millis(7));
    // Nobody is kept open by a clock that a driver keeps, and one whose pin is closed stands.
    go(slave, KsState::STOP);
    follow(slave, 0);
    follow(other, 0);
    assert_eq!(engine_pin.reference_clock().unwrap_err(), STATUS_DEVICE_NOT_READY);
    bench.script.taken();
    let _ = bench.session.close(handle);
    let _ = bench.session.close(master);
    assert_eq!(bench.script.taken().last().unwrap(), "close 0");
    assert_eq!((clock.time(), clock.state()), (Ticks::ZERO, KsState::STOP));
}

/// A mark with its event, enabled on a clock.
struct Mark {
    event: Event,
    /// Its address identifies the event.
    data: Vec<u8>,
}

impl Mark {
    fn data(bench: &Bench, times: &[i64]) -> (Event, Vec<u8>) {
        let (handle, event) = bench.session.create_event().expect("a handle is free");
        let head = KsEventData { notification_type: KSEVENTF_EVENT_HANDLE, object: handle.0, ..Default::default() };
        let mut data = head.as_bytes().to_vec();
        times.iter().for_each(|time| data.extend_from_slice(&time.to_le_bytes()));
        (event, data)
    }

    fn enable(bench: &Bench, clock: Handle, id: u32, flags: u32, times: &[i64]) -> Result<Mark, NtStatus> {
        let (event, mut data) = Mark::data(bench, times);
        let request = KsEvent::new(KSEVENTSETID_Clock, id, flags);
        let outcome = bench.control(clock, IoControlCode::KS_ENABLE_EVENT, request.as_bytes(), &mut data);
        if outcome.status == STATUS_SUCCESS { Ok(Mark { event, data }) } else { Err(outcome.status) }
    }

    fn disable(&self, bench: &Bench, clock: Handle) -> NtStatus {
        bench.control(clock, IoControlCode::KS_DISABLE_EVENT, &self.data, &mut []).status
    }

    /// Waits for the signal and says when it came.
    fn signalled_at(&self, bench: &Bench) -> Time {
        let _ = self.event.wait();
        self.event.clear();
        bench.session.services().now()
    }

    /// Was it signalled since the last time it was asked?
    fn taken(&self) -> bool {
        let was = self.event.is_set();
        self.event.clear();
        was
    }
}

const POSITION: u32 = KSEVENT_CLOCK_POSITION_MARK;
const INTERVAL: u32 = KSEVENT_CLOCK_INTERVAL_MARK;
const EACH: u32 = KSEVENT_TYPE_ENABLE;
const ONCE: u32 = KSEVENT_TYPE_ONESHOT;
const MS: i64 = 10_000;

/// A bench with a pin that has a clock, and steps of its time.
fn with_clock() -> (Bench, Handle, Handle) {
    let bench = bench();
    let pin = bench.pin(OUT);
    let clock = create_clock(&bench, pin);
    (bench, pin, clock)
}

fn go(bench: &Bench, pin: Handle, to: KsState) {
    assert_eq!(bench.set_state(pin, to).status, STATUS_SUCCESS);
}

fn pass(bench: &Bench, ticks: i64) {
    let services = bench.session.services();
    let _ = services.delay_until(services.now() + Ticks(ticks));
}

#[test]
fn a_position_mark_is_signalled_when_the_clock_reaches_it() {
    let (bench, pin, clock) = with_clock();
    let enable = |flags, time| Mark::enable(&bench, clock, POSITION, flags, &[time]).unwrap();
    let (each, once, start) = (enable(EACH, 5 * MS), enable(ONCE, 5 * MS), enable(EACH, 0));
    go(&bench, pin, KsState::PAUSE);
    pass(&bench, 20 * MS);
    assert!(![&each, &once, &start].into_iter().any(Mark::taken), "a clock that stands reaches nothing");
    go(&bench, pin, KsState::RUN);
    let began = bench.session.services().now();
    pass(&bench, 5 * MS - 1);
    assert_eq!((start.taken(), each.taken(), once.taken()), (true, false, false), "a tick before");
    assert_eq!(each.signalled_at(&bench), began + Ticks(5 * MS));
    pass(&bench, 1);
    assert_eq!((start.taken(), once.taken()), (false, true));
    // A mark that is passed already is signalled at once; none is signalled twice.
    let late = enable(ONCE, 2 * MS);
    pass(&bench, 10 * MS);
    assert_eq!((late.taken(), each.taken(), once.taken()), (true, false, false));
    assert_eq!(once.disable(&bench, clock), STATUS_UNSUCCESSFUL, "a one-shot event is gone when it was signalled");
    // The clock that starts again passes its marks again.
    go(&bench, pin, KsState::STOP);
    go(&bench, pin, KsState::RUN);
    pass(&bench, 4 * MS);
    go(&bench, pin, KsState::PAUSE);
    pass(&bench, 4 * MS);
    assert_eq!((start.taken(), each.taken()), (true, false), "4 ms of stream time");
    go(&bench, pin, KsState::RUN);
    pass(&bench, MS + 1);
    assert_eq!((each.taken(), once.taken()), (true, false));
    go(&bench, pin, KsState::STOP);
    assert_eq!(each.disable(&bench, clock), STATUS_SUCCESS);
    go(&bench, pin, KsState::RUN);
    pass(&bench, 10 * MS);
    assert!(!each.taken(), "disabled");
}

#[test]
fn an_interval_mark_is_signalled_at_its_base_and_at_each_interval() {
    let (bench, pin, clock) = with_clock();
    let enable = |flags, base, interval| Mark::enable(&bench, clock, INTERVAL, flags, &[base, interval]).unwrap();
    let (mark, once) = (enable(EACH, 3 * MS, 2 * MS), enable(ONCE, 3 * MS, 2 * MS));
    go(&bench, pin, KsState::RUN);
    let began = bench.session.services().now();
    let signalled = [(); 4].map(|()| mark.signalled_at(&bench).since(began).as_millis());
    assert_eq!(signalled, [3, 5, 7, 9]);
    assert!(once.taken(), "at its base");
    pass(&bench, 6 * MS);
    assert!(!once.taken(), "and never again");
    // Enabled between two times: the phase is the base's. An interval may have begun before the clock did.
    let (between, early) = (enable(EACH, 0, 4 * MS), enable(EACH, -7 * MS, 10 * MS));
    assert_eq!(between.signalled_at(&bench).since(began).as_millis(), 16);
    assert_eq!(early.signalled_at(&bench).since(began).as_millis(), 23);
    // What is finer than a millisecond is signalled once in one.
    let fine = enable(EACH, 0, 1);
    let signalled = [(); 4].map(|()| fine.signalled_at(&bench).0);
    assert!(signalled.windows(2).all(|two| two[1] - two[0] == MS), "{signalled:?}");
    // No distance to the next time, or none at all.
    for interval in [0, -1, i64::MIN] {
        let refused = Mark::enable(&bench, clock, INTERVAL, EACH, &[0, interval]).err();
        assert_eq!(refused, Some(STATUS_INVALID_PARAMETER), "{interval}");
    }
    for (base, interval) in [(i64::MAX, 1), (i64::MIN, i64::MAX), (i64::MAX - 1, i64::MAX), (i64::MIN, 1)] {
        let _ = enable(EACH, base, interval);
        pass(&bench, MS);
    }
}

#[test]
fn marks_go_with_the_handle_of_their_clock_and_are_bounded() {
    let (bench, pin, clock) = with_clock();
    let other = create_clock(&bench, pin);
    go(&bench, pin, KsState::RUN);
    let (own, theirs) = (
        Mark::enable(&bench, clock, POSITION, EACH, &[5 * MS]).unwrap(),
        Mark::enable(&bench, other, POSITION, EACH, &[5 * MS]).unwrap(),
    );
    let _ = bench.session.close(clock);
    pass(&bench, 6 * MS);
    assert_eq!((own.taken(), theirs.taken()), (false, true), "one clock, two handles");
    assert_eq!(own.disable(&bench, other), STATUS_UNSUCCESSFUL, "the other handle's event");
    // Too little data for the mark.
    for (id, times) in [(POSITION, &[][..]), (INTERVAL, &[1][..])] {
        assert_eq!(Mark::enable(&bench, other, id, EACH, times).err(), Some(STATUS_BUFFER_TOO_SMALL));
    }
    // One-shot marks that were signalled leave room for others, however many there were.
    for _ in 0..1000 {
        let mark = Mark::enable(&bench, other, POSITION, ONCE, &[0]).unwrap();
        mark.signalled_at(&bench);
    }
    let mut kept = Vec::new();
    let refused = loop {
        match Mark::enable(&bench, other, INTERVAL, EACH, &[i64::MAX / 2, MS]) {
            Ok(mark) => kept.push(mark),
            Err(status) => break status,
        }
    };
    assert_eq!((refused, kept.len()), (STATUS_INSUFFICIENT_RESOURCES, 255), "256 events of one object");
    // The clock has its own bound over all of its handles.
    let (mut clocks, mut total) = (vec![other], 256);
    let refused = loop {
        match Mark::enable(&bench, *clocks.last().unwrap(), INTERVAL, EACH, &[i64::MAX / 2, MS]) {
            Ok(_) => total += 1,
            Err(status) if total % 256 != 0 || total >= 4096 => break status,
            Err(_) => clocks.push(create_clock(&bench, pin)),
        }
    };
    assert_eq!((refused, total), (STATUS_INSUFFICIENT_RESOURCES, 4096));
    let _ = bench.session.close(clocks.pop().unwrap());
    assert!(Mark::enable(&bench, clocks[1], POSITION, ONCE, &[0]).is_err(), "that handle has its 256");
    let fresh = create_clock(&bench, pin);
    assert!(Mark::enable(&bench, fresh, POSITION, ONCE, &[0]).is_ok(), "a closed handle's marks are gone");
}

#[test]
fn a_removed_device_answers_no_clock_request() {
    let (bench, _, clock) = with_clock();
    bench.device.surprise_remove();
    let request = property(KSPROPSETID_Clock, KSPROPERTY_CLOCK_TIME, GET);
    assert_eq!(bench.ask(clock, request.as_bytes(), 8).0.status, STATUS_DEVICE_REMOVED);
    assert_eq!(Mark::enable(&bench, clock, POSITION, EACH, &[0]).err(), Some(STATUS_DEVICE_REMOVED));
}

/// A clock of a driver's own: the time that it says, and a timer that counts it.
struct Crystal {
    services: Services,
    /// Stream time in thousandths of the engine's.
    rate: i64,
    set: ks_io::sync::Mutex<Option<ks_io::Timer>>,
    cancelled: std::sync::atomic::AtomicU32,
}

impl ClockSource for Crystal {
    fn correlated_time(&self) -> (Ticks, Time) {
        let now = self.services.now();
        (Ticks(now.0 * self.rate / 1000), now)
    }
}

impl ClockTimer for Crystal {
    fn set(&self, after: Ticks, dpc: std::sync::Arc<dyn ks_io::Dpc>) {
        let timer = self.services.timer(dpc);
        timer.set(self.services.now() + after, None);
        drop(self.set.lock().replace(timer));
    }
    fn cancel(&self) {
        self.cancelled.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        drop(self.set.lock().take());
    }
}

#[test]
fn a_clock_goes_by_the_time_and_timer_of_its_owner() {
    let bench = bench();
    let services = bench.session.services().clone();
    let crystal = std::sync::Arc::new(Crystal {
        services: services.clone(),
        rate: 500,
        set: Default::default(),
        cancelled: Default::default(),
    });
    let parts = |granularity, error| ClockParts {
        source: Some(crystal.clone()),
        timer: Some(crystal.clone()),
        resolution: KsResolution { granularity, error },
    };
    let clock = DefaultClock::with_parts(services.clone(), parts(100, 3)).unwrap();
    let object = ClockObject::new(clock.clone());
    let handle = bench.session.adopt(object, both_accesses()).unwrap();
    let resolution = property(KSPROPSETID_Clock, KSPROPERTY_CLOCK_RESOLUTION, GET);
    assert_eq!(bench.value::<KsResolution>(handle, resolution.as_bytes()), KsResolution { granularity: 100, error: 3 });
    pass(&bench, 4 * MS);
    assert_eq!(clock.time(), Ticks(2 * MS), "half as fast");
    let mark = Mark::enable(&bench, handle, POSITION, EACH, &[6 * MS]).unwrap();
    clock.set_state(KsState::RUN);
    pass(&bench, 8 * MS - 1);
    assert!(!mark.taken());
    pass(&bench, MS);
    assert!(mark.taken(), "6 ms of its own time");
    clock.set_time(Ticks::ZERO);
    assert!(clock.time() > Ticks(6 * MS), "its time is its owner's");
    clock.set_state(KsState::STOP);
    assert!(crystal.cancelled.load(std::sync::atomic::Ordering::Relaxed) > 0);
    // A granularity belongs to a source, an error to a timer, and neither is below zero.
    let alone = |parts| DefaultClock::with_parts(services.clone(), parts).err();
    assert_eq!(alone(ClockParts { source: None, ..parts(1, 1) }), Some(STATUS_INVALID_PARAMETER));
    assert_eq!(alone(ClockParts { timer: None, ..parts(1, 1) }), Some(STATUS_INVALID_PARAMETER));
    assert_eq!(alone(parts(-1, 0)), Some(STATUS_INVALID_PARAMETER));
    assert_eq!(alone(ClockParts::default()), None);
}

#[test]
fn the_owner_of_a_clock_sets_its_time() {
    let bench = bench();
    let clock = DefaultClock::new(bench.session.services().clone());
    let handle = bench.session.adopt(ClockObject::new(clock.clone()), both_accesses()).unwrap();
    clock.set_time(Ticks(7 * MS));
    pass(&bench, MS);
    assert_eq!(clock.time(), Ticks(7 * MS));
    clock.set_state(KsState::RUN);
    let mark = Mark::enable(&bench, handle, POSITION, EACH, &[10 * MS]).unwrap();
    pass(&bench, 2 * MS);
    assert_eq!(clock.time(), Ticks(9 * MS));
    // Back: the mark is farther away than it was.
    clock.set_time(Ticks(5 * MS));
    pass(&bench, 4 * MS);
    assert_eq!((clock.time(), mark.taken()), (Ticks(9 * MS), false));
    // Forward, over the mark.
    clock.set_time(Ticks(20 * MS));
    pass(&bench, 1);
    assert!(mark.taken());
    clock.set_time(Ticks(5 * MS));
    // Who waits for the very moment of the mark may wake before it is signalled.
    pass(&bench, 5 * MS + 1);
    assert!(mark.taken(), "it passed the mark again");
}
