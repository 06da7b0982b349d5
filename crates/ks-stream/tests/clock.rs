//! Clock objects, and the master clock of a pin.

mod support;

use ks_abi::*;
use ks_io::{Handle, Ticks, Transport};
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
