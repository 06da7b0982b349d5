//! Every kind of handle with every control code: each cell has its outcome.

use crate::support::specimen::*;
use crate::{bytes_of, set_request};
use ks_abi::*;
use ks_io::{AccessMask, Transport};
use ks_stream::{AutomationTable, PropertyItem, PropertySet};
use zerocopy::IntoBytes;

/// The kinds of handle of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Filter,
    Pin,
    Clock,
    Allocator,
    Node,
    Event,
    Closed,
    Foreign,
}

#[test]
fn every_kind_of_handle_has_an_outcome_for_every_code() {
    use Kind::{Allocator, Clock, Closed, Event, Filter, Foreign, Node, Pin};
    let own = || PropertySet { set: OTHER_MEDIUM.set, items: vec![PropertyItem::new(0)] };
    let table = AutomationTable::of_properties(vec![own()]);
    let bench = bench_with(|filter| filter.nodes = vec![KSNODETYPE_VOLUME; 2], Some(table), None);
    let pin = bench.pin(OUT);
    let below = |parent, class, parameters: &[u8]| bench.session.create(parent, class, parameters, both_accesses());
    let clock = below(pin, KSSTRING_CLOCK, &[0; 4]).unwrap();
    let framing = KsAllocatorFraming { flags: KSALLOCATOR_OPTIONF_SYSTEM_MEMORY, frames: 1, ..Default::default() };
    let allocator = below(pin, KSSTRING_ALLOCATOR, framing.as_bytes()).unwrap();
    let node = below(bench.filter, KSSTRING_TOPOLOGY_NODE, &[0, 0, 0, 0, 1, 0, 0, 0]).unwrap();
    let (event, _) = bench.session.create_event().unwrap();
    let closed = bench.pin(OUT);
    let _ = bench.session.close(closed);
    let other = bench.io.session();
    let filter = other.open(&bench.link, both_accesses()).unwrap();
    let parameters = pin_create(NON_STANDARD).parameters();
    let others: Vec<_> = (0..30).map(|_| other.create(filter, KSSTRING_PIN, &parameters, both_accesses())).collect();
    let foreign = *others[29].as_ref().unwrap();
    let handles = [
        (Filter, bench.filter),
        (Pin, pin),
        (Clock, clock),
        (Allocator, allocator),
        (Node, node),
        (Event, event),
        (Closed, closed),
        (Foreign, foreign),
    ];

    let sets = bytes_of(&property(Guid::NULL, 0, KSPROPERTY_TYPE_SETSUPPORT));
    let ours = bytes_of(&KsEvent::new(USERKS_EVENTSET_PIN, 0, KSEVENT_TYPE_SETSUPPORT));
    let method = bytes_of(&KsMethod::new(KSMETHODSETID_StreamIo, 0, KSMETHOD_TYPE_SEND));
    let handshake = bytes_of(&KsHandshake::default());
    let frame_event = bytes_of(&KsEvent::new(KSEVENTSETID_StreamAllocator, 1, KSEVENT_TYPE_SETSUPPORT));
    let mark_event = bytes_of(&KsEvent::new(KSEVENTSETID_Clock, 1, KSEVENT_TYPE_SETSUPPORT));
    let alloc = bytes_of(&KsMethod::new(KSMETHODSETID_StreamAllocator, 0, KSMETHOD_TYPE_SEND));
    // A code, its input, and the outcome for a filter, a pin, a clock, an allocator and a node.
    let invalid = STATUS_INVALID_DEVICE_REQUEST;
    let no_set = STATUS_PROPSET_NOT_FOUND;
    let no_event = STATUS_UNSUCCESSFUL;
    let (short, over) = (STATUS_INVALID_BUFFER_SIZE, STATUS_BUFFER_OVERFLOW);
    let matrix = [
        (IoControlCode::KS_PROPERTY, sets.clone(), [over; 5]),
        (IoControlCode::KS_PROPERTY, set_request(ATTRIBUTE, 0), [no_set; 5]),
        (IoControlCode::KS_ENABLE_EVENT, ours, [no_set, STATUS_SUCCESS, no_set, no_set, no_set]),
        (IoControlCode::KS_ENABLE_EVENT, mark_event, [no_set, no_set, STATUS_SUCCESS, no_set, no_set]),
        (IoControlCode::KS_ENABLE_EVENT, frame_event, [no_set, no_set, no_set, STATUS_SUCCESS, no_set]),
        (IoControlCode::KS_DISABLE_EVENT, vec![0; 32], [no_event; 5]),
        (IoControlCode::KS_METHOD, method, [no_set; 5]),
        (IoControlCode::KS_METHOD, alloc, [no_set, no_set, no_set, over, no_set]),
        (IoControlCode::KS_WRITE_STREAM, vec![], [invalid; 5]),
        (IoControlCode::KS_READ_STREAM, vec![], [invalid, short, invalid, invalid, invalid]),
        (IoControlCode::KS_RESET_STATE, vec![0; 4], [invalid, STATUS_SUCCESS, invalid, invalid, invalid]),
        (IoControlCode::KS_RESET_STATE, vec![1, 0, 0, 0], [invalid, STATUS_SUCCESS, invalid, invalid, invalid]),
        (IoControlCode::KS_HANDSHAKE, handshake, [invalid; 5]),
        (IoControlCode(0), vec![], [invalid; 5]),
        (IoControlCode(0x002F_0023), vec![0; 64], [invalid; 5]),
        (IoControlCode(u32::MAX), vec![], [invalid; 5]),
    ];
    for (code, input, outcomes) in &matrix {
        for (kind, handle) in handles {
            let expected = match kind {
                Filter => outcomes[0],
                Pin => outcomes[1],
                Clock => outcomes[2],
                Allocator => outcomes[3],
                Node => outcomes[4],
                Event => STATUS_OBJECT_TYPE_MISMATCH,
                Closed | Foreign => STATUS_INVALID_HANDLE,
            };
            let outcome = bench.control(handle, *code, input, &mut []);
            assert_eq!(outcome.status, expected, "{kind:?}, {code:?}");
            let finished = bench.session.submit(handle, *code, input, vec![]).wait();
            assert_eq!(finished.outcome.status, expected, "{kind:?}, {code:?}, overlapped");
        }
    }
    // Creates of each class below each kind, and property sets of another kind of object.
    let pin_parameters = pin_create(OUT).parameters();
    let extended = KsAllocatorFramingEx::simple(Guid::NULL, 0, 1, 0, 64, 64);
    let classes: [(&str, &[u8], &[Kind]); 6] = [
        (KSSTRING_PIN, &pin_parameters, &[Filter]),
        (KSSTRING_TOPOLOGY_NODE, &[0; 8], &[Filter, Pin]),
        (KSSTRING_CLOCK, &[0; 4], &[Pin]),
        (KSSTRING_ALLOCATOR, framing.as_bytes(), &[Pin]),
        (KSSTRING_ALLOCATOR_EX, extended.as_bytes(), &[Pin]),
        (KSSTRING_FILTER, &[], &[]),
    ];
    for (kind, handle) in handles {
        for (class, parameters, parents) in classes {
            let created = below(handle, class, parameters);
            let expected = match kind {
                Event => Err(STATUS_OBJECT_TYPE_MISMATCH),
                Closed | Foreign => Err(STATUS_INVALID_HANDLE),
                _ if parents.contains(&kind) => Ok(()),
                _ => Err(STATUS_OBJECT_NAME_NOT_FOUND),
            };
            let made = created.map(|made| assert_eq!(bench.session.close(made).status, STATUS_SUCCESS));
            assert_eq!(made.map_err(|outcome| outcome.status), expected, "{class} below {kind:?}");
        }
        let sets = [
            (KSPROPSETID_Pin, Filter),
            (KSPROPSETID_Topology, Filter),
            (KSPROPSETID_General, Filter),
            (KSPROPSETID_Connection, Pin),
            (KSPROPSETID_Stream, Pin),
            (KSPROPSETID_StreamInterface, Pin),
            (USERKS_PROPSET_PIN, Pin),
            (KSPROPSETID_Clock, Clock),
            (KSPROPSETID_StreamAllocator, Allocator),
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
