//! The state machine of a pin: steps, jumps, refusals that leave nothing changed, and requests that are none.

mod support;

use ks_abi::*;
use ks_io::{Aspect, Handle, Ticks, Transport};
use ks_stream::FilterDescriptor;
use support::specimen::*;
use zerocopy::IntoBytes;

const STATES: [KsState; 4] = [KsState::STOP, KsState::ACQUIRE, KsState::PAUSE, KsState::RUN];

/// The single steps from one state to another.
fn steps(from: KsState, to: KsState) -> Vec<(KsState, KsState)> {
    let mut steps = Vec::new();
    let mut now = from;
    while now != to {
        let next = if to > now { KsState(now.0 + 1) } else { KsState(now.0 - 1) };
        steps.push((now, next));
        now = next;
    }
    steps
}

fn written(steps: &[(KsState, KsState)]) -> Vec<String> {
    steps.iter().map(|(from, to)| format!("{from}->{to}")).collect()
}

/// Brings a pin to a state and forgets what was noted.
fn prepare(bench: &Bench, pin: Handle, state: KsState) {
    assert_eq!(bench.set_state(pin, state).status, STATUS_SUCCESS);
    bench.script.taken();
}

#[test]
fn a_client_may_jump_and_the_driver_sees_single_steps() {
    for from in STATES {
        for to in STATES {
            let bench = bench();
            let pin = bench.pin(OUT);
            prepare(&bench, pin, from);
            assert_eq!(bench.set_state(pin, to).status, STATUS_SUCCESS);
            assert_eq!(bench.script.taken(), written(&steps(from, to)), "{from} to {to}");
            let pin = bench.engine_pin(pin);
            assert_eq!((pin.state(), pin.device_state(), pin.clock().state()), (to, to, to));
            assert_eq!(pin.and_gate().is_open(), to >= KsState::PAUSE, "processing is allowed from PAUSE on");
        }
    }
}

#[test]
fn a_state_that_is_reached_already_is_no_step() {
    let bench = bench();
    let pin = bench.pin(OUT);
    for state in STATES {
        prepare(&bench, pin, state);
        for _ in 0..3 {
            assert_eq!(bench.set_state(pin, state).status, STATUS_SUCCESS);
        }
        assert!(bench.script.taken().is_empty());
    }
    for _ in 0..100 {
        prepare(&bench, pin, KsState::PAUSE);
        prepare(&bench, pin, KsState::RUN);
    }
    assert!(bench.engine_pin(pin).and_gate().is_open());
}

#[test]
fn a_pin_without_the_standard_transport_is_told_of_jumps() {
    for from in STATES {
        for to in STATES {
            let bench = bench();
            let pin = bench.pin(NON_STANDARD);
            prepare(&bench, pin, from);
            assert_eq!(bench.set_state(pin, to).status, STATUS_SUCCESS);
            let told = if from == to { vec![] } else { vec![format!("{from}->{to}")] };
            assert_eq!(bench.script.taken(), told);
            assert_eq!(bench.engine_pin(pin).and_gate().is_open(), to >= KsState::PAUSE);
            *bench.script.refuse.lock() = STATES.iter().map(|next| (to, *next)).collect();
            for next in STATES.into_iter().filter(|next| *next != to) {
                assert_eq!(bench.set_state(pin, next).status, STATUS_UNSUCCESSFUL);
                assert_eq!(bench.state(pin), to);
                assert_eq!(bench.engine_pin(pin).and_gate().is_open(), to >= KsState::PAUSE);
            }
        }
    }
}

/// A read with one header and a buffer, sent to the pin.
fn read(bench: &Bench, pin: Handle) -> ks_io::Request {
    let buffer = bench.session.allocate(64, 64).expect("memory for a frame");
    let header = KsStreamHeader {
        size: 56,
        presentation_time: KsTime { time: 0, numerator: 1, denominator: 1 },
        frame_extent: 64,
        data: Ptr64(buffer.address()),
        ..Default::default()
    };
    bench.session.submit(pin, IoControlCode::KS_READ_STREAM, &[], header.as_bytes().to_vec())
}

#[test]
fn a_refused_step_leaves_the_pin_where_it_was() {
    for from in STATES {
        for to in STATES {
            for (index, refused) in steps(from, to).into_iter().enumerate() {
                let bench = bench();
                let handle = bench.pin(OUT);
                prepare(&bench, handle, from);
                let pin = bench.engine_pin(handle);
                let queued = (from > KsState::STOP).then(|| read(&bench, handle));
                let before = (pin.queued_requests(), pin.and_gate().is_open(), pin.clock().time());
                *bench.script.refuse.lock() = vec![refused];
                let outcome = bench.set_state(handle, to);
                let case = format!("{from} to {to}, refused at {} to {}", refused.0, refused.1);
                assert_eq!(outcome.status, STATUS_UNSUCCESSFUL, "{case}");
                assert_eq!(outcome.refusal.unwrap().reason, "told to refuse");
                // Each step that was taken is taken back, in reverse order.
                let mut expected = steps(from, to)[..=index].to_vec();
                expected.extend(steps(refused.0, from));
                assert_eq!(bench.script.taken(), written(&expected), "{case}");
                assert_eq!((pin.state(), pin.device_state(), pin.clock().state()), (from, from, from), "{case}");
                let after = (pin.queued_requests(), pin.and_gate().is_open(), pin.clock().time());
                assert_eq!(after, before, "{case}");
                if let Some(request) = &queued {
                    assert!(!request.is_done(), "{case}: the queued read goes on waiting");
                }
                // The pin works as if nothing had happened.
                bench.script.refuse.lock().clear();
                for state in [KsState::RUN, KsState::STOP, from] {
                    assert_eq!(bench.set_state(handle, state).status, STATUS_SUCCESS, "{case}");
                }
                if let Some(request) = queued {
                    assert_eq!(request.wait().outcome.status, STATUS_CANCELLED, "{case}: STOP ended the read");
                }
            }
        }
    }
}

#[test]
fn a_stopped_pin_takes_no_reads_even_after_a_refused_start() {
    let bench = bench();
    let pin = bench.pin(OUT);
    let fresh = read(&bench, pin).wait().outcome.status;
    assert!(fresh.is_error());
    *bench.script.refuse.lock() = vec![(KsState::ACQUIRE, KsState::PAUSE)];
    assert_eq!(bench.set_state(pin, KsState::RUN).status, STATUS_UNSUCCESSFUL);
    assert_eq!(read(&bench, pin).wait().outcome.status, fresh);
    bench.script.refuse.lock().clear();
    prepare(&bench, pin, KsState::ACQUIRE);
    let request = read(&bench, pin);
    assert!(!request.is_done());
    prepare(&bench, pin, KsState::STOP);
    assert_eq!(request.wait().outcome.status, STATUS_CANCELLED);
    assert_eq!(read(&bench, pin).wait().outcome.status, fresh);
}

#[test]
fn stream_time_survives_a_refused_pause() {
    let bench = bench();
    let pin = bench.pin(OUT);
    prepare(&bench, pin, KsState::RUN);
    let services = bench.session.services().clone();
    let _ = services.delay_until(services.now() + Ticks::from_millis(9));
    *bench.script.refuse.lock() = vec![(KsState::PAUSE, KsState::ACQUIRE)];
    assert_eq!(bench.set_state(pin, KsState::STOP).status, STATUS_UNSUCCESSFUL);
    let _ = services.delay_until(services.now() + Ticks::from_millis(1));
    assert_eq!(bench.engine_pin(pin).clock().time(), Ticks::from_millis(10));
}

fn needing(pin: usize, count: u32) -> impl FnOnce(&mut FilterDescriptor) {
    move |filter| filter.pins[pin].instances_necessary = count
}

#[test]
fn a_filter_leaves_stop_only_with_its_necessary_pins() {
    let bench = bench_with(needing(IN as usize, 2), None, None);
    let pin = bench.pin(OUT);
    bench.script.taken();
    for have in 0..2 {
        for state in [KsState::ACQUIRE, KsState::PAUSE, KsState::RUN] {
            let outcome = bench.set_state(pin, state);
            let refusal = outcome.refusal.unwrap();
            assert_eq!((outcome.status, refusal.aspect), (STATUS_INVALID_DEVICE_STATE, Aspect::Instances));
            assert!(refusal.reason.contains("specimen.1 needs 2 pins"), "{}", refusal.reason);
            assert_eq!(bench.state(pin), KsState::STOP);
        }
        assert_eq!(bench.set_state(pin, KsState::STOP).status, STATUS_SUCCESS, "STOP is always there");
        assert!(!bench.script.taken().iter().any(|call| call.contains("->")), "{have} pins");
        bench.pin(IN);
    }
    let last = bench.create(&pin_create(IN)).unwrap_err();
    assert_eq!(last.status, STATUS_INVALID_DEVICE_STATE, "both exist now");
    prepare(&bench, pin, KsState::RUN);
}

#[test]
fn a_running_pin_goes_down_without_the_others() {
    let bench = bench_with(needing(IN as usize, 1), None, None);
    let (pin, needed) = (bench.pin(OUT), bench.pin(IN));
    prepare(&bench, pin, KsState::RUN);
    let _ = bench.session.close(needed);
    assert_eq!(bench.set_state(pin, KsState::PAUSE).status, STATUS_SUCCESS);
    assert_eq!(bench.set_state(pin, KsState::RUN).status, STATUS_INVALID_DEVICE_STATE);
    assert_eq!(bench.set_state(pin, KsState::STOP).status, STATUS_SUCCESS);
}

#[test]
fn numbers_that_are_no_states_are_refused() {
    let bench = bench();
    let pin = bench.pin(OUT);
    prepare(&bench, pin, KsState::PAUSE);
    for number in [4, 5, 0x100, 0x1_0000, 1 << 31, u32::MAX] {
        let outcome = bench.set_state(pin, KsState(number));
        let refusal = outcome.refusal.unwrap();
        assert_eq!((outcome.status, refusal.aspect), (STATUS_INVALID_PARAMETER, Aspect::State));
        assert_eq!(bench.state(pin), KsState::PAUSE);
    }
    assert!(bench.script.taken().is_empty());
}

#[test]
fn a_state_request_has_four_bytes_of_data() {
    let bench = bench();
    let pin = bench.pin(OUT);
    bench.script.taken();
    let set = property(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_STATE, KSPROPERTY_TYPE_SET);
    let run = [3, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF];
    for (room, status) in [(0, STATUS_BUFFER_OVERFLOW), (1, STATUS_BUFFER_TOO_SMALL), (3, STATUS_BUFFER_TOO_SMALL)] {
        assert_eq!(bench.property(pin, set.as_bytes(), &mut run[..room].to_vec()).status, status);
        assert_eq!(bench.state(pin), KsState::STOP);
    }
    assert!(bench.script.taken().is_empty());
    assert_eq!(bench.property(pin, set.as_bytes(), &mut run.to_vec()).status, STATUS_SUCCESS, "the rest is not read");
    assert_eq!(bench.state(pin), KsState::RUN);
}

#[test]
fn a_closed_or_removed_pin_has_no_state() {
    let bench = bench();
    let closed = bench.pin(OUT);
    prepare(&bench, closed, KsState::RUN);
    let _ = bench.session.close(closed);
    let calls = bench.script.taken();
    assert_eq!(calls, ["RUN->PAUSE", "PAUSE->ACQUIRE", "ACQUIRE->STOP", "close 0"].map(String::from));
    assert_eq!(bench.set_state(closed, KsState::STOP).status, STATUS_INVALID_HANDLE);
    let removed = bench.pin(OUT);
    prepare(&bench, removed, KsState::RUN);
    bench.device.surprise_remove();
    for state in STATES {
        assert_eq!(bench.set_state(removed, state).status, STATUS_DEVICE_REMOVED);
    }
    let get = property(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_STATE, KSPROPERTY_TYPE_GET);
    assert_eq!(bench.ask(removed, get.as_bytes(), 4).0.status, STATUS_DEVICE_REMOVED);
}

#[test]
fn a_driver_that_refuses_to_stop_is_closed_all_the_same() {
    let bench = bench();
    let pin = bench.pin(OUT);
    prepare(&bench, pin, KsState::RUN);
    *bench.script.refuse.lock() = STATES.iter().flat_map(|from| STATES.map(|to| (*from, to))).collect();
    let _ = bench.session.close(pin);
    assert_eq!(bench.script.taken().last().unwrap(), "close 0");
    bench.script.refuse.lock().clear();
    bench.pin(OUT);
    bench.pin(OUT);
}
