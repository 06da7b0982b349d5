//! Enabling, raising and disabling events.

mod support;

use ks_abi::*;
use ks_io::{Event, Handle, Outcome, Transport};
use support::specimen::*;
use zerocopy::IntoBytes;

const FAILED: KsEvent = KsEvent::new(USERKS_EVENTSET_PIN, USERKS_EVENT_PIN_FAILED, KSEVENT_TYPE_ENABLE);

fn data(event: Handle) -> Box<KsEventData> {
    Box::new(KsEventData { notification_type: KSEVENTF_EVENT_HANDLE, object: event.0, ..Default::default() })
}

fn enable(bench: &Bench, pin: Handle, request: KsEvent, data: &mut KsEventData) -> NtStatus {
    bench.control(pin, IoControlCode::KS_ENABLE_EVENT, request.as_bytes(), data.as_mut_bytes()).status
}

fn disable(bench: &Bench, pin: Handle, data: &KsEventData) -> NtStatus {
    bench.control(pin, IoControlCode::KS_DISABLE_EVENT, data.as_bytes(), &mut []).status
}

fn disable_all(bench: &Bench, pin: Handle) -> Outcome {
    bench.control(pin, IoControlCode::KS_DISABLE_EVENT, &[], &mut [])
}

/// Raises the failure event of a pin and tells which of `events` were signalled; they are cleared.
fn raise(bench: &Bench, pin: Handle, events: &[&Event]) -> Vec<bool> {
    bench.engine_pin(pin).fail(refusal());
    let signalled = events.iter().map(|event| event.is_set()).collect();
    events.iter().for_each(|event| event.clear());
    signalled
}

#[test]
fn an_enabled_event_signals_until_it_is_disabled() {
    let bench = bench();
    let pin = bench.pin(OUT);
    let (handle, event) = bench.session.create_event().unwrap();
    let mut token = data(handle);
    assert_eq!(raise(&bench, pin, &[&event]), [false]);
    assert_eq!(enable(&bench, pin, FAILED, &mut token), STATUS_SUCCESS);
    for _ in 0..3 {
        assert_eq!(raise(&bench, pin, &[&event]), [true]);
    }
    assert_eq!(disable(&bench, pin, &token), STATUS_SUCCESS);
    assert_eq!(raise(&bench, pin, &[&event]), [false]);
    assert_eq!(disable(&bench, pin, &token), STATUS_UNSUCCESSFUL, "not enabled any more");
}

#[test]
fn an_event_is_known_by_the_address_of_its_data() {
    let bench = bench();
    let pin = bench.pin(OUT);
    let (one_handle, one) = bench.session.create_event().unwrap();
    let (other_handle, other) = bench.session.create_event().unwrap();
    let (mut first, mut second) = (data(one_handle), data(other_handle));
    assert_eq!(enable(&bench, pin, FAILED, &mut first), STATUS_SUCCESS);
    assert_eq!(enable(&bench, pin, FAILED, &mut second), STATUS_SUCCESS);
    let copy = Box::new(*first);
    assert_eq!(disable(&bench, pin, &copy), STATUS_UNSUCCESSFUL, "the same content elsewhere is another event");
    // The content may have changed since; only the address counts.
    first.notification_type = 0;
    assert_eq!(disable(&bench, pin, &first), STATUS_SUCCESS);
    assert_eq!(raise(&bench, pin, &[&one, &other]), [false, true]);
    // Each object has its own list.
    let elsewhere = bench.pin(IN);
    assert_eq!(disable(&bench, elsewhere, &second), STATUS_UNSUCCESSFUL);
    assert_eq!(raise(&bench, pin, &[&one, &other]), [false, true]);
}

#[test]
fn a_oneshot_event_signals_once_and_is_gone() {
    let bench = bench();
    let pin = bench.pin(OUT);
    let (handle, event) = bench.session.create_event().unwrap();
    let mut token = data(handle);
    let oneshot = KsEvent { flags: KSEVENT_TYPE_ONESHOT, ..FAILED };
    assert_eq!(enable(&bench, pin, oneshot, &mut token), STATUS_SUCCESS);
    assert_eq!(raise(&bench, pin, &[&event]), [true]);
    assert_eq!(raise(&bench, pin, &[&event]), [false]);
    assert_eq!(disable(&bench, pin, &token), STATUS_UNSUCCESSFUL);
    // Before it signals it can be disabled.
    assert_eq!(enable(&bench, pin, oneshot, &mut token), STATUS_SUCCESS);
    assert_eq!(disable(&bench, pin, &token), STATUS_SUCCESS);
    assert_eq!(raise(&bench, pin, &[&event]), [false]);
}

#[test]
fn no_input_disables_every_event_of_the_object() {
    let bench = bench();
    let (pin, elsewhere) = (bench.pin(OUT), bench.pin(OUT));
    let made: Vec<_> = (0..5).map(|_| bench.session.create_event().unwrap()).collect();
    let mut tokens: Vec<_> = made.iter().map(|(handle, _)| data(*handle)).collect();
    for token in &mut tokens[..4] {
        assert_eq!(enable(&bench, pin, FAILED, token), STATUS_SUCCESS);
    }
    assert_eq!(enable(&bench, elsewhere, FAILED, &mut tokens[4]), STATUS_SUCCESS);
    let outcome = disable_all(&bench, pin);
    assert_eq!((outcome.status, outcome.information), (STATUS_SUCCESS, 0));
    let events: Vec<_> = made.iter().map(|(_, event)| event).collect();
    assert_eq!(raise(&bench, pin, &events), [false; 5]);
    assert_eq!(raise(&bench, elsewhere, &events), [false, false, false, false, true]);
    assert_eq!(disable_all(&bench, pin).status, STATUS_SUCCESS, "nothing to disable is no error");
}

#[test]
fn only_event_handles_notify() {
    let bench = bench();
    let pin = bench.pin(OUT);
    let (handle, _event) = bench.session.create_event().unwrap();
    let bits = (0..32).map(|bit| 1u32 << bit);
    let combinations = 0..=0xFFu32;
    for kind in bits.chain(combinations) {
        for object in [handle.0, 0, 1, std::ptr::from_ref(&bench) as u64, 0xFFFF_8000_0000_0000] {
            let mut token = data(handle);
            token.notification_type = kind;
            token.object = object;
            let before = *token;
            let expected = match (kind, object) {
                (KSEVENTF_EVENT_HANDLE, object) if object == handle.0 => STATUS_SUCCESS,
                (KSEVENTF_EVENT_HANDLE, _) => STATUS_INVALID_HANDLE,
                _ => STATUS_INVALID_PARAMETER,
            };
            assert_eq!(enable(&bench, pin, FAILED, &mut token), expected, "kind {kind:#x}, object {object:#x}");
            assert_eq!(token.as_bytes(), before.as_bytes(), "the client's memory is not written");
            assert_eq!(disable_all(&bench, pin).status, STATUS_SUCCESS);
        }
    }
}

#[test]
fn the_reserved_words_of_event_data_are_zero() {
    let bench = bench();
    let pin = bench.pin(OUT);
    let (handle, _event) = bench.session.create_event().unwrap();
    for words in [[1, 0], [0, 1], [u64::MAX, u64::MAX], [0, 1 << 63]] {
        let mut token = data(handle);
        token.data = words;
        assert_eq!(enable(&bench, pin, FAILED, &mut token), STATUS_INVALID_PARAMETER);
    }
}

#[test]
fn a_handle_that_is_no_event_of_this_client_is_refused() {
    let bench = bench();
    let pin = bench.pin(OUT);
    let (closed, event) = bench.session.create_event().unwrap();
    let _ = bench.session.close(closed);
    let other = bench.io.session();
    let others: Vec<_> = (0..20).map(|_| other.create_event().unwrap().0).collect();
    let foreign = others[19];
    for handle in [pin, bench.filter, closed, foreign, Handle(0), Handle(1), Handle(u64::MAX)] {
        assert_eq!(enable(&bench, pin, FAILED, &mut data(handle)), STATUS_INVALID_HANDLE, "{handle:?}");
    }
    assert_eq!(raise(&bench, pin, &[&event]), [false]);
}

#[test]
fn an_event_outlives_its_closed_handle() {
    let bench = bench();
    let pin = bench.pin(OUT);
    let (handle, event) = bench.session.create_event().unwrap();
    let mut token = data(handle);
    assert_eq!(enable(&bench, pin, FAILED, &mut token), STATUS_SUCCESS);
    let _ = bench.session.close(handle);
    assert_eq!(raise(&bench, pin, &[&event]), [true], "the entry references the event itself");
    assert_eq!(disable(&bench, pin, &token), STATUS_SUCCESS);
}

#[test]
fn closing_a_pin_frees_its_events() {
    let bench = bench();
    let pin = bench.pin(OUT);
    let (handle, event) = bench.session.create_event().unwrap();
    assert_eq!(enable(&bench, pin, FAILED, &mut data(handle)), STATUS_SUCCESS);
    let engine = bench.engine_pin(pin);
    let _ = bench.session.close(pin);
    engine.fail(refusal());
    assert!(!event.is_set());
}

#[test]
fn a_removed_device_signals_the_failure_of_its_pins() {
    let bench = bench();
    let pin = bench.pin(OUT);
    let (handle, event) = bench.session.create_event().unwrap();
    assert_eq!(enable(&bench, pin, FAILED, &mut data(handle)), STATUS_SUCCESS);
    bench.device.surprise_remove();
    assert!(event.is_set());
    assert_eq!(enable(&bench, pin, FAILED, &mut data(handle)), STATUS_DEVICE_REMOVED);
    assert_eq!(disable_all(&bench, pin).status, STATUS_DEVICE_REMOVED);
}

#[test]
fn an_object_holds_a_limited_number_of_events() {
    let bench = bench();
    let pin = bench.pin(OUT);
    let (handle, _event) = bench.session.create_event().unwrap();
    let mut token = data(handle);
    let accepted = (0..1000).take_while(|_| enable(&bench, pin, FAILED, &mut token) == STATUS_SUCCESS).count();
    assert_eq!(accepted, 256);
    assert_eq!(enable(&bench, pin, FAILED, &mut token), STATUS_INSUFFICIENT_RESOURCES);
    assert_eq!(enable(&bench, bench.pin(OUT), FAILED, &mut token), STATUS_SUCCESS, "another object has its own list");
    assert_eq!(disable_all(&bench, pin).status, STATUS_SUCCESS);
    assert_eq!(enable(&bench, pin, FAILED, &mut token), STATUS_SUCCESS);
}

#[test]
fn sets_and_items_can_be_asked_for() {
    let bench = bench();
    let pin = bench.pin(OUT);
    let ask = |handle, input: &[u8], room: usize| {
        let mut output = vec![0; room];
        let outcome = bench.control(handle, IoControlCode::KS_ENABLE_EVENT, input, &mut output);
        (outcome.status, outcome.information, output)
    };
    let flags = |set, id, flags| KsEvent::new(set, id, flags);
    let all = flags(Guid::NULL, 0, KSEVENT_TYPE_SETSUPPORT);
    let sets = [KSEVENTSETID_Connection, USERKS_EVENTSET_PIN];
    for input in [all.as_bytes(), &[]] {
        assert_eq!(ask(pin, input, 0).0, STATUS_BUFFER_OVERFLOW);
        assert_eq!(ask(pin, input, 0).1, 32);
        assert_eq!(ask(pin, input, 31).0, STATUS_BUFFER_TOO_SMALL);
        assert_eq!(ask(pin, input, 32), (STATUS_SUCCESS, 32, sets.as_bytes().to_vec()));
        assert_eq!(ask(bench.filter, input, 32).1, 0, "a filter has no events");
    }
    let status = |set, id, verb| ask(pin, flags(set, id, verb).as_bytes(), 32).0;
    for set in sets {
        assert_eq!(status(set, 0, KSEVENT_TYPE_SETSUPPORT), STATUS_SUCCESS);
        assert_eq!(status(set, 99, KSEVENT_TYPE_BASICSUPPORT), STATUS_NOT_FOUND);
        assert_eq!(status(set, 99, KSEVENT_TYPE_ENABLE), STATUS_NOT_FOUND);
    }
    for verb in [KSEVENT_TYPE_SETSUPPORT, KSEVENT_TYPE_BASICSUPPORT, KSEVENT_TYPE_ENABLE, KSEVENT_TYPE_ONESHOT] {
        assert_eq!(status(ATTRIBUTE, 0, verb), STATUS_PROPSET_NOT_FOUND);
    }
    let end = KSEVENT_CONNECTION_ENDOFSTREAM;
    assert_eq!(status(KSEVENTSETID_Connection, end, KSEVENT_TYPE_BASICSUPPORT), STATUS_SUCCESS);
    let other = ask(bench.pin(IN), flags(KSEVENTSETID_Connection, end, KSEVENT_TYPE_BASICSUPPORT).as_bytes(), 0);
    assert_eq!(other.0, STATUS_NOT_FOUND, "only pins with the end-of-stream flag raise that event");
    let gap = KSEVENT_CONNECTION_DATADISCONTINUITY;
    let without = flags(KSEVENTSETID_Connection, gap, KSEVENT_TYPE_BASICSUPPORT);
    let other = ask(bench.pin(NON_STANDARD), without.as_bytes(), 0);
    assert_eq!(other.0, STATUS_PROPSET_NOT_FOUND, "no frame passes through the class driver at that pin");
}

#[test]
fn an_event_request_asks_for_one_thing() {
    let bench = bench();
    let pin = bench.pin(OUT);
    let (handle, _event) = bench.session.create_event().unwrap();
    let status = |flags| enable(&bench, pin, KsEvent { flags, ..FAILED }, &mut data(handle));
    let (enable, oneshot) = (KSEVENT_TYPE_ENABLE, KSEVENT_TYPE_ONESHOT);
    for flags in [0, enable | oneshot, enable | KSEVENT_TYPE_SETSUPPORT, 0x8, 0x8000] {
        assert_eq!(status(flags), STATUS_INVALID_PARAMETER, "{flags:#x}");
    }
    let buffered = KSEVENT_TYPE_ENABLEBUFFERED;
    for flags in [enable | oneshot | buffered, KSEVENT_TYPE_BASICSUPPORT | buffered, 0x8 | buffered] {
        assert_eq!(status(flags), STATUS_INVALID_PARAMETER, "{flags:#x}");
    }
    assert_eq!(status(KSEVENT_TYPE_QUERYBUFFER), STATUS_INVALID_BUFFER_SIZE, "a query is a KSQUERYBUFFER");
    assert_eq!(status(enable | KSEVENT_TYPE_TOPOLOGY), STATUS_INVALID_BUFFER_SIZE, "a node needs a KSE_NODE");
    assert_eq!(disable(&bench, pin, &data(handle)), STATUS_UNSUCCESSFUL, "none of them enabled anything");
}

#[test]
fn an_event_request_cut_off_anywhere_is_refused() {
    let bench = bench();
    let pin = bench.pin(OUT);
    let (handle, event) = bench.session.create_event().unwrap();
    let token = data(handle);
    for cut in 1..24 {
        let request = &FAILED.as_bytes()[..cut];
        let outcome = bench.control(pin, IoControlCode::KS_ENABLE_EVENT, request, &mut token.as_bytes().to_vec());
        assert_eq!(outcome.status, STATUS_INVALID_BUFFER_SIZE, "KSEVENT cut at {cut}");
    }
    for cut in 0..32 {
        let mut short = token.as_bytes()[..cut].to_vec();
        let outcome = bench.control(pin, IoControlCode::KS_ENABLE_EVENT, FAILED.as_bytes(), &mut short);
        assert_eq!(outcome.status, STATUS_BUFFER_TOO_SMALL, "KSEVENTDATA cut at {cut}");
    }
    assert_eq!(raise(&bench, pin, &[&event]), [false]);
}
