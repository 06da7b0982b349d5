//! Each structure of a control request, cut off at each byte and with every size and count at its limits.

use crate::support::specimen::*;
use crate::support::video;
use crate::{BEYOND_INPUT_BYTES, Word, bounded, bytes_of, hostile_values, set_request, with_word, word};
use ks_abi::*;
use ks_io::{Handle, Transport};
use ks_mem::peak_of_this_thread;
use ks_stream::DataFormat;
use zerocopy::IntoBytes;

/// What was done to a request.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Change {
    InputCut(usize),
    OutputCut(usize),
    /// A word of the input: offset and new value.
    Input(usize, u64),
    /// A word of the output.
    Output(usize, u64),
}

/// A valid request, and how it may be changed.
struct Case {
    what: &'static str,
    handle: Handle,
    code: IoControlCode,
    input: Vec<u8>,
    output: Vec<u8>,
    input_words: Vec<Word>,
    output_words: Vec<Word>,
    /// Changes that leave the request valid by the documentation.
    harmless: fn(Change) -> bool,
}

/// Every change of a case with the input and output that it makes.
fn changes(case: &Case) -> Vec<(Change, Vec<u8>, Vec<u8>)> {
    let (input, output) = (&case.input, &case.output);
    let mut all = Vec::new();
    all.extend((0..input.len()).map(|cut| (Change::InputCut(cut), input[..cut].to_vec(), output.clone())));
    all.extend((0..output.len()).map(|cut| (Change::OutputCut(cut), input.clone(), output[..cut].to_vec())));
    for &at in &case.input_words {
        for value in hostile_values(word(input, at), at.1) {
            all.push((Change::Input(at.0, value), with_word(input, at, value), output.clone()));
        }
    }
    for &at in &case.output_words {
        for value in hostile_values(word(output, at), at.1) {
            all.push((Change::Output(at.0, value), input.clone(), with_word(output, at, value)));
        }
    }
    all
}

/// Sends the request valid, then with every change, and checks each outcome.
fn attack(bench: &Bench, case: &Case) {
    let valid = bench.control(case.handle, case.code, &case.input, &mut case.output.clone());
    assert_eq!(valid.status, STATUS_SUCCESS, "{} as it should be: {:?}", case.what, valid.refusal);
    let handles = bench.session.open_handles();
    for (change, input, mut output) in changes(case) {
        let what = format!("{}, {change:x?}", case.what);
        let room = output.len();
        let carried = input.len() + output.len();
        let outcome = bounded(carried, &what, || bench.control(case.handle, case.code, &input, &mut output));
        assert_ne!(outcome.status, STATUS_PENDING);
        if outcome.status.is_success() {
            assert!((case.harmless)(change), "{what} was accepted");
            assert!(outcome.information <= room, "{what} answers more than there is room for");
        }
        assert_eq!(bench.session.open_handles(), handles, "{what}");
    }
}

fn never(_: Change) -> bool {
    false
}

/// The words of a KSIDENTIFIER that select: the set as four words, the item and the flags.
fn identifier_words() -> Vec<Word> {
    vec![(0, 4), (4, 4), (8, 4), (12, 4), (16, 4), (20, 4)]
}

#[test]
fn ksproperty() {
    let bench = bench();
    let case = Case {
        what: "KSPROPERTY",
        handle: bench.filter,
        code: IoControlCode::KS_PROPERTY,
        input: bytes_of(&property(KSPROPSETID_Pin, KSPROPERTY_PIN_CTYPES, KSPROPERTY_TYPE_GET)),
        output: vec![0; 4],
        input_words: identifier_words(),
        output_words: vec![],
        harmless: never,
    };
    attack(&bench, &case);
}

#[test]
fn ksp_pin() {
    let bench = bench();
    for item in [
        KSPROPERTY_PIN_CINSTANCES,
        KSPROPERTY_PIN_DATAFLOW,
        KSPROPERTY_PIN_DATARANGES,
        KSPROPERTY_PIN_INTERFACES,
        KSPROPERTY_PIN_MEDIUMS,
        KSPROPERTY_PIN_COMMUNICATION,
        KSPROPERTY_PIN_NECESSARYINSTANCES,
        KSPROPERTY_PIN_CATEGORY,
        KSPROPERTY_PIN_NAME,
        KSPROPERTY_PIN_CONSTRAINEDDATARANGES,
    ] {
        let request = bytes_of(&of_pin(item, OUT));
        let fixed = matches!(
            item,
            KSPROPERTY_PIN_CINSTANCES
                | KSPROPERTY_PIN_DATAFLOW
                | KSPROPERTY_PIN_COMMUNICATION
                | KSPROPERTY_PIN_NECESSARYINSTANCES
                | KSPROPERTY_PIN_CATEGORY
        );
        let size = bench.ask(bench.filter, &request, 0).0.information;
        let case = Case {
            what: "KSP_PIN",
            handle: bench.filter,
            code: IoControlCode::KS_PROPERTY,
            input: request,
            output: vec![0; size],
            input_words: vec![(24, 4), (28, 4)],
            output_words: vec![],
            // Another pin that exists; the reserved word; the head of a list.
            harmless: |change| match change {
                Change::Input(24, id) => id < u64::from(PIN_COUNT),
                Change::Input(28, _) => true,
                Change::OutputCut(8) => true,
                _ => false,
            },
        };
        assert!(!fixed || size <= 16);
        attack(&bench, &case);
    }
}

#[test]
fn ksp_node() {
    let bench = bench_with(|filter| filter.nodes = vec![KSNODETYPE_VOLUME], None, None);
    let node = KspNode {
        property: property(KSPROPSETID_Topology, KSPROPERTY_TOPOLOGY_NAME, KSPROPERTY_TYPE_GET),
        node_id: 0,
        reserved: 0,
    };
    let size = bench.ask(bench.filter, node.as_bytes(), 0).0.information;
    let case = Case {
        what: "KSP_NODE",
        handle: bench.filter,
        code: IoControlCode::KS_PROPERTY,
        input: bytes_of(&node),
        output: vec![0; size],
        input_words: vec![(20, 4), (24, 4), (28, 4)],
        output_words: vec![],
        harmless: |change| match change {
            Change::Input(28, _) => true,
            // BASICSUPPORT and its like never are among the values; SETSUPPORT is not either.
            _ => false,
        },
    };
    attack(&bench, &case);
}

#[test]
fn ksmultiple_item_and_ranges() {
    let bench = bench();
    let plain = range_list(&[video(), audio()]);
    let with_attributes = range_list(&[attributed(&video(), 0, 1, ATTRIBUTE)]);
    for (pin, list, words) in [
        (IN, plain, vec![(32, 4), (36, 4), (40, 4), (44, 4), (104, 4)]),
        (ATTRIBUTED, with_attributes, vec![(32, 4), (36, 4), (40, 4), (104, 4), (108, 4), (112, 4)]),
    ] {
        let mut input = bytes_of(&of_pin(KSPROPERTY_PIN_DATAINTERSECTION, pin));
        input.extend_from_slice(&list);
        let case = Case {
            what: "KSMULTIPLE_ITEM of KSDATARANGE",
            handle: bench.filter,
            code: IoControlCode::KS_PROPERTY,
            input,
            output: vec![0; 64],
            input_words: words,
            output_words: vec![],
            harmless: |change| match change {
                // Fewer ranges than there are bytes for; flags without meaning; an empty attribute list.
                Change::Input(36 | 108, count) => count <= 1,
                Change::Input(44, flags) => flags & u64::from(KSDATAFORMAT_ATTRIBUTES) == 0,
                // The second range is not reached when the first gives a format, but it was checked; a size in it that
                // still fits is its driver's matter.
                Change::Input(104, size) => (64..=82).contains(&size),
                _ => false,
            },
        };
        attack(&bench, &case);
    }
}

#[test]
fn a_list_of_many_ranges_is_not_copied_whole() {
    let bench = bench();
    let yuy2 = KsDataFormat { sub_format: KSDATAFORMAT_SUBTYPE_YUY2, ..*video().head() };
    let ranges = vec![DataFormat::new(yuy2, &[]); 1024];
    let mut input = bytes_of(&of_pin(KSPROPERTY_PIN_DATAINTERSECTION, OUT));
    input.extend_from_slice(&range_list(&ranges));
    let outcome = bounded(input.len(), "1024 ranges", || bench.property(bench.filter, &input, &mut []));
    assert_eq!(outcome.status, STATUS_NO_MATCH);
    let mut list = range_list(&ranges);
    list.resize(1 << 20, 0);
    for (size, count) in [(8u32, u32::MAX), (1 << 20, u32::MAX), (1 << 20, 1025), (0xFFFF_FFF8, 0x1FFF_FFFF), (7, 0)] {
        list[..4].copy_from_slice(&size.to_le_bytes());
        list[4..8].copy_from_slice(&count.to_le_bytes());
        let mut input = bytes_of(&of_pin(KSPROPERTY_PIN_DATAINTERSECTION, OUT));
        input.extend_from_slice(&list);
        let outcome = bounded(input.len(), "a long list", || bench.property(bench.filter, &input, &mut []));
        assert!(outcome.status.is_error());
    }
}

#[test]
fn formats_of_a_living_pin() {
    let bench = bench();
    let pin = bench.pin(IN);
    for (what, id) in [
        ("KSPROPERTY_CONNECTION_DATAFORMAT", KSPROPERTY_CONNECTION_DATAFORMAT),
        ("KSPROPERTY_CONNECTION_PROPOSEDATAFORMAT", KSPROPERTY_CONNECTION_PROPOSEDATAFORMAT),
    ] {
        let case = Case {
            what,
            handle: pin,
            code: IoControlCode::KS_PROPERTY,
            input: set_request(KSPROPSETID_Connection, id),
            output: audio().bytes().to_vec(),
            input_words: vec![],
            output_words: vec![(0, 4), (4, 4), (16, 4), (32, 4), (48, 4)],
            harmless: |change| match change {
                Change::Output(0, size) => (64..82).contains(&size),
                Change::Output(4, flags) => flags & u64::from(KSDATAFORMAT_ATTRIBUTES) == 0,
                _ => false,
            },
        };
        attack(&bench, &case);
    }
}

#[test]
fn ksevent_and_kseventdata() {
    let bench = bench();
    let pin = bench.pin(OUT);
    let (event, _) = bench.session.create_event().unwrap();
    let data = KsEventData { notification_type: KSEVENTF_EVENT_HANDLE, object: event.0, ..Default::default() };
    let case = Case {
        what: "KSEVENT",
        handle: pin,
        code: IoControlCode::KS_ENABLE_EVENT,
        input: bytes_of(&KsEvent::new(KSEVENTSETID_Connection, KSEVENT_CONNECTION_ENDOFSTREAM, KSEVENT_TYPE_ENABLE)),
        output: bytes_of(&data),
        input_words: identifier_words(),
        output_words: vec![(0, 4), (8, 8), (16, 8), (24, 8)],
        harmless: |change| match change {
            // A question for the sets; another event of the same set; once instead of always, and with data.
            Change::InputCut(0) => true,
            Change::Input(16, id) => [KSEVENT_CONNECTION_DATADISCONTINUITY, KSEVENT_CONNECTION_TIMEDISCONTINUITY]
                .map(u64::from)
                .contains(&id),
            Change::Input(20, flags) => {
                let (once, buffered) = (KSEVENT_TYPE_ONESHOT, KSEVENT_TYPE_ENABLEBUFFERED);
                let valid = [once, buffered, once | buffered, KSEVENT_TYPE_ENABLE | buffered];
                valid.map(u64::from).contains(&flags)
            }
            _ => false,
        },
    };
    attack(&bench, &case);
    let disable = |input: &[u8]| bench.control(pin, IoControlCode::KS_DISABLE_EVENT, input, &mut []).status;
    let elsewhere = bytes_of(&data);
    for cut in 1..=elsewhere.len() {
        assert_eq!(disable(&elsewhere[..cut]), STATUS_UNSUCCESSFUL);
    }
    assert_eq!(disable(&[]), STATUS_SUCCESS);
}

#[test]
fn ksreset_ksstate_and_handles() {
    let bench = bench();
    let pin = bench.pin(OUT);
    let clock = bench.session.create(pin, KSSTRING_CLOCK, &[0; 4], both_accesses()).unwrap();
    let property_case = |what, set, id, output: Vec<u8>, words, harmless| Case {
        what,
        handle: pin,
        code: IoControlCode::KS_PROPERTY,
        input: set_request(set, id),
        output,
        input_words: vec![],
        output_words: words,
        harmless,
    };
    let reset = Case {
        what: "KSRESET",
        handle: pin,
        code: IoControlCode::KS_RESET_STATE,
        input: vec![1, 0, 0, 0],
        output: vec![],
        input_words: vec![(0, 4)],
        output_words: vec![],
        harmless: |change| change == Change::Input(0, 0),
    };
    attack(&bench, &reset);
    assert_eq!(bench.control(pin, IoControlCode::KS_RESET_STATE, &[1, 0, 0, 0], &mut []).status, STATUS_SUCCESS);
    let (connection, stream) = (KSPROPSETID_Connection, KSPROPSETID_Stream);
    let state =
        property_case("KSSTATE", connection, KSPROPERTY_CONNECTION_STATE, vec![2, 0, 0, 0], vec![(0, 4)], |c| {
            matches!(c, Change::Output(0, 0..=3))
        });
    attack(&bench, &state);
    assert_eq!(bench.set_state(pin, KsState::STOP).status, STATUS_SUCCESS);
    let handle = clock.0.to_le_bytes().to_vec();
    let master = property_case("a clock handle", stream, KSPROPERTY_STREAM_MASTERCLOCK, handle, vec![(0, 8)], |c| {
        matches!(c, Change::Output(0, 0))
    });
    attack(&bench, &master);
    let limit = vec![5, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0];
    let limit = property_case(
        "USERKS_PIN_LIMIT",
        USERKS_PROPSET_PIN,
        USERKS_PIN_LIMIT,
        limit,
        vec![(0, 8), (8, 8)],
        |c| match c {
            Change::Output(0, _) => true,
            Change::Output(8, time) => time <= i64::MAX as u64,
            _ => false,
        },
    );
    attack(&bench, &limit);
    let latency = property_case(
        "USERKS_PIN_LATENCY",
        USERKS_PROPSET_PIN,
        USERKS_PIN_LATENCY,
        vec![1, 0, 0, 0],
        vec![(0, 4)],
        |c| matches!(c, Change::Output(0, 1..)),
    );
    attack(&bench, &latency);
}

#[test]
fn room_that_a_client_claims_costs_nothing() {
    let bench = bench();
    let mut room = vec![0; 8 << 20];
    let request = bytes_of(&of_pin(KSPROPERTY_PIN_DATARANGES, IN));
    let outcome = bounded(request.len(), "much room", || bench.property(bench.filter, &request, &mut room));
    assert_eq!(outcome.status, STATUS_SUCCESS);
    // What was captured of a large SET is let go with its request.
    let mut set = of_pin(KSPROPERTY_PIN_PROPOSEDATAFORMAT, IN);
    set.property.flags = KSPROPERTY_TYPE_SET;
    let ((), peak) = peak_of_this_thread(|| {
        for _ in 0..20 {
            let _ = bench.property(bench.filter, set.as_bytes(), &mut room);
        }
    });
    assert!(peak <= room.len() as u64 + BEYOND_INPUT_BYTES, "{peak} bytes");
}

#[test]
fn kshandshake_is_for_drivers_only() {
    let bench = bench();
    let handles = [bench.filter, bench.pin(OUT), bench.pin(IN)];
    let handshake = KsHandshake { protocol_id: ATTRIBUTE, argument1: Ptr64(1), argument2: Ptr64(u64::MAX) };
    for handle in handles {
        for length in [0, 1, 31, 32, 33] {
            let mut bytes = handshake.as_bytes().to_vec();
            bytes.resize(length, 0);
            let outcome = bench.control(handle, IoControlCode::KS_HANDSHAKE, &bytes.clone(), &mut bytes);
            assert_eq!(outcome.status, STATUS_INVALID_DEVICE_REQUEST, "{length} bytes");
        }
    }
}
