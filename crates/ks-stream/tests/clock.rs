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
