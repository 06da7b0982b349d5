//! Every kind of handle with every control code: each cell has its outcome.

use crate::support::specimen::*;
use crate::{bytes_of, set_request};
use ks_abi::*;
use ks_io::{AccessMask, Transport};
use zerocopy::IntoBytes;

/// The kinds of handle of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Filter,
    Pin,
    Clock,
    Event,
    Closed,
    Foreign,
}

#[test]
fn every_kind_of_handle_has_an_outcome_for_every_code() {
    use Kind::{Clock, Closed, Event, Filter, Foreign, Pin};
    let bench = bench();
    let pin = bench.pin(OUT);
    let clock = bench.session.create(pin, KSSTRING_CLOCK, &[0; 4], both_accesses()).unwrap();
    let (event, _) = bench.session.create_event().unwrap();
    let closed = bench.pin(OUT);
    let _ = bench.session.close(closed);
    let other = bench.io.session();
    let filter = other.open(&bench.link, both_accesses()).unwrap();
    let parameters = pin_create(NON_STANDARD).parameters();
    let others: Vec<_> = (0..30).map(|_| other.create(filter, KSSTRING_PIN, &parameters, both_accesses())).collect();
    let foreign = *others[29].as_ref().unwrap();
    let handles =
        [(Filter, bench.filter), (Pin, pin), (Clock, clock), (Event, event), (Closed, closed), (Foreign, foreign)];

    let sets = bytes_of(&property(Guid::NULL, 0, KSPROPERTY_TYPE_SETSUPPORT));
    let ours = bytes_of(&KsEvent::new(USERKS_EVENTSET_PIN, 0, KSEVENT_TYPE_SETSUPPORT));
    let method = bytes_of(&KsMethod::new(KSMETHODSETID_StreamIo, 0, KSMETHOD_TYPE_SEND));
    let handshake = bytes_of(&KsHandshake::default());
    // A code, its input, and the outcome for a filter, a pin and a clock.
    let invalid = STATUS_INVALID_DEVICE_REQUEST;
    let no_set = STATUS_PROPSET_NOT_FOUND;
    let matrix = [
        (IoControlCode::KS_PROPERTY, sets.clone(), [STATUS_BUFFER_OVERFLOW; 3]),
        (IoControlCode::KS_PROPERTY, set_request(ATTRIBUTE, 0), [no_set; 3]),
        (IoControlCode::KS_ENABLE_EVENT, ours, [no_set, STATUS_SUCCESS, no_set]),
        (IoControlCode::KS_DISABLE_EVENT, vec![0; 32], [STATUS_UNSUCCESSFUL; 3]),
        (IoControlCode::KS_METHOD, method, [no_set; 3]),
        (IoControlCode::KS_WRITE_STREAM, vec![], [invalid; 3]),
        (IoControlCode::KS_READ_STREAM, vec![], [invalid, STATUS_INVALID_BUFFER_SIZE, invalid]),
        (IoControlCode::KS_RESET_STATE, vec![0; 4], [invalid, STATUS_SUCCESS, invalid]),
        (IoControlCode::KS_RESET_STATE, vec![1, 0, 0, 0], [invalid, STATUS_SUCCESS, invalid]),
        (IoControlCode::KS_HANDSHAKE, handshake, [invalid; 3]),
        (IoControlCode(0), vec![], [invalid; 3]),
        (IoControlCode(0x002F_0023), vec![0; 64], [invalid; 3]),
        (IoControlCode(u32::MAX), vec![], [invalid; 3]),
    ];
    for (code, input, outcomes) in &matrix {
        for (kind, handle) in handles {
            let expected = match kind {
                Filter => outcomes[0],
                Pin => outcomes[1],
                Clock => outcomes[2],
                Event => STATUS_OBJECT_TYPE_MISMATCH,
                Closed | Foreign => STATUS_INVALID_HANDLE,
            };
            let outcome = bench.control(handle, *code, input, &mut []);
            assert_eq!(outcome.status, expected, "{kind:?}, {code:?}");
            let finished = bench.session.submit(handle, *code, input, vec![]).wait();
            assert_eq!(finished.outcome.status, expected, "{kind:?}, {code:?}, overlapped");
        }
    }
    // Creates below each kind, and property sets of another kind of object.
    for (kind, handle) in handles {
        let created = bench.session.create(handle, KSSTRING_PIN, &pin_create(OUT).parameters(), both_accesses());
        let expected = match kind {
            Filter => Ok(()),
            Pin | Clock => Err(STATUS_OBJECT_NAME_NOT_FOUND),
            Event => Err(STATUS_OBJECT_TYPE_MISMATCH),
            Closed | Foreign => Err(STATUS_INVALID_HANDLE),
        };
        assert_eq!(created.map(drop).map_err(|outcome| outcome.status), expected, "{kind:?}");
        let sets = [
            (KSPROPSETID_Pin, Filter),
            (KSPROPSETID_Topology, Filter),
            (KSPROPSETID_General, Filter),
            (KSPROPSETID_Connection, Pin),
            (KSPROPSETID_Stream, Pin),
            (KSPROPSETID_StreamInterface, Pin),
            (USERKS_PROPSET_PIN, Pin),
            (KSPROPSETID_Clock, Clock),
        ];
        for (set, of) in sets {
            let request = property(set, 0, KSPROPERTY_TYPE_SETSUPPORT);
            let expected = match kind {
                Event => STATUS_OBJECT_TYPE_MISMATCH,
                Closed | Foreign => STATUS_INVALID_HANDLE,
                _ if kind == of => STATUS_SUCCESS,
                _ => STATUS_PROPSET_NOT_FOUND,
            };
            assert_eq!(bench.property(handle, request.as_bytes(), &mut []).status, expected, "{kind:?}, {set}");
        }
    }
}

#[test]
fn a_stream_code_needs_its_right_of_the_handle() {
    let bench = bench();
    let only = |id, access| bench.create(&PinCreate { access, ..pin_create(id) }).unwrap();
    let (read, write) = (only(OUT, AccessMask::GENERIC_READ), only(IN, AccessMask::GENERIC_WRITE));
    let status = |pin, code| bench.control(pin, code, &[], &mut []).status;
    assert_eq!(status(read, IoControlCode::KS_WRITE_STREAM), STATUS_ACCESS_DENIED);
    assert_eq!(status(write, IoControlCode::KS_READ_STREAM), STATUS_ACCESS_DENIED);
    assert_eq!(status(read, IoControlCode::KS_READ_STREAM), STATUS_INVALID_BUFFER_SIZE, "allowed, and empty");
    assert_eq!(status(write, IoControlCode::KS_WRITE_STREAM), STATUS_INVALID_BUFFER_SIZE);
    for pin in [read, write] {
        assert_eq!(bench.state(pin), KsState::STOP, "properties need no right");
    }
}
