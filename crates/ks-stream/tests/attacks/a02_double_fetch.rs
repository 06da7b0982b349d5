//! A2, double fetch: a request whose bytes change after they were read once is the request that was read.

use crate::evil_memory::EvilMemory;
use crate::support::specimen::*;
use crate::support::video;
use crate::{bytes_of, with};
use ks_abi::*;
use ks_io::{Handle, Outcome, Transport};
use zerocopy::IntoBytes;

/// A request by its bytes.
struct Asked {
    what: &'static str,
    handle: Handle,
    code: IoControlCode,
    input: Vec<u8>,
    output: Vec<u8>,
}

/// One request of each kind that a parser of the class driver reads, on fresh objects.
fn requests(bench: &Bench) -> Vec<Asked> {
    let (out, into) = (bench.pin(OUT), bench.pin(IN));
    let (event, _) = bench.session.create_event().expect("an event");
    let data = KsEventData { notification_type: KSEVENTF_EVENT_HANDLE, object: event.0, ..Default::default() };
    let of = |what, handle, code, input: Vec<u8>, output: Vec<u8>| Asked { what, handle, code, input, output };
    let property_of = |what, handle, input, output| of(what, handle, IoControlCode::KS_PROPERTY, input, output);
    let mut intersection = bytes_of(&of_pin(KSPROPERTY_PIN_DATAINTERSECTION, IN));
    intersection.extend(range_list(&[video(), audio()]));
    let mut attributed_list = bytes_of(&of_pin(KSPROPERTY_PIN_DATAINTERSECTION, ATTRIBUTED));
    attributed_list.extend(range_list(&[attributed(&video(), 0, 1, ATTRIBUTE)]));
    let set = |set, id| bytes_of(&property(set, id, KSPROPERTY_TYPE_SET));
    let enable = KsEvent::new(KSEVENTSETID_Connection, KSEVENT_CONNECTION_ENDOFSTREAM, KSEVENT_TYPE_ENABLE);
    let mut proposed = of_pin(KSPROPERTY_PIN_PROPOSEDATAFORMAT, IN);
    proposed.property.flags = KSPROPERTY_TYPE_SET;
    vec![
        property_of(
            "a number",
            bench.filter,
            bytes_of(&property(KSPROPSETID_Pin, KSPROPERTY_PIN_CTYPES, KSPROPERTY_TYPE_GET)),
            vec![0; 4],
        ),
        property_of("a list", bench.filter, bytes_of(&of_pin(KSPROPERTY_PIN_DATARANGES, IN)), vec![0; 512]),
        property_of("its size", bench.filter, bytes_of(&of_pin(KSPROPERTY_PIN_DATARANGES, IN)), vec![]),
        property_of("an intersection", bench.filter, intersection, vec![0; 128]),
        property_of("an intersection with attributes", bench.filter, attributed_list, vec![0; 128]),
        property_of("a proposed format", bench.filter, bytes_of(&proposed), audio().bytes().to_vec()),
        property_of(
            "the sets",
            bench.filter,
            bytes_of(&property(Guid::NULL, 0, KSPROPERTY_TYPE_SETSUPPORT)),
            vec![0; 512],
        ),
        property_of(
            "basic support",
            bench.filter,
            bytes_of(&KspPin {
                property: property(KSPROPSETID_Pin, KSPROPERTY_PIN_CTYPES, KSPROPERTY_TYPE_BASICSUPPORT),
                ..Default::default()
            }),
            vec![0; 4],
        ),
        property_of("a new state", out, set(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_STATE), vec![1, 0, 0, 0]),
        property_of(
            "a new format",
            into,
            set(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_DATAFORMAT),
            audio().bytes().to_vec(),
        ),
        of("an event", out, IoControlCode::KS_ENABLE_EVENT, bytes_of(&enable), bytes_of(&data)),
        of("a reset", out, IoControlCode::KS_RESET_STATE, vec![1, 0, 0, 0], vec![]),
        of("the end of a reset", out, IoControlCode::KS_RESET_STATE, vec![0, 0, 0, 0], vec![]),
        of("a handshake", out, IoControlCode::KS_HANDSHAKE, bytes_of(&KsHandshake::default()), vec![0; 32]),
        of("a method", out, IoControlCode::KS_METHOD, bytes_of(&KsMethod::new(Guid::NULL, 0, 1)), vec![0; 16]),
    ]
}

fn honest(bench: &Bench, asked: &Asked) -> (Outcome, Vec<u8>) {
    let mut output = asked.output.clone();
    let outcome = bench.control(asked.handle, asked.code, &asked.input, &mut output);
    (outcome, output)
}

/// How a byte changes by being read: to its opposite, to nothing, to all ones, to the next number.
const TWISTS: [fn(u8) -> u8; 4] = [|byte| !byte, |_| 0, |_| 0xFF, |byte| byte.wrapping_add(1)];

#[test]
fn a2_every_request_is_what_was_read_first_and_no_byte_is_read_twice() {
    let count = requests(&bench()).len();
    for (index, twist) in (0..count).flat_map(|index| TWISTS.map(|twist| (index, twist))) {
        // Two engines of one seed: the objects and their numbers are the same in both.
        let (plain, evil) = (bench(), bench());
        let (asked, same) = (requests(&plain).swap_remove(index), requests(&evil).swap_remove(index));
        let (expected, expected_answer) = honest(&plain, &asked);
        let input = EvilMemory::new(&same.input, twist);
        let output = EvilMemory::new(&same.output, twist);
        let mut answer = same.output.clone();
        let outcome = evil.session.control_captured(same.handle, same.code, (&input, &output), &mut answer);
        assert_eq!((outcome.status, outcome.information), (expected.status, expected.information), "{}", asked.what);
        assert_eq!(answer, expected_answer, "{}", asked.what);
        assert_eq!(input.most_reads(), 1, "{}", asked.what);
        assert!(output.most_reads() <= 1, "{}", asked.what);
        assert_eq!(evil.script.taken(), plain.script.taken(), "{}: the driver was asked the same", asked.what);
    }
}

#[test]
fn a2_the_parameters_of_a_create_are_what_was_read_first() {
    let formats = [(IN, audio()), (OUT, video()), (ATTRIBUTED, attributed(&video(), 0, 1, ATTRIBUTE))];
    for ((pin, format), twist) in formats.iter().flat_map(|of| TWISTS.map(|twist| (of, twist))) {
        let create = pin_create(*pin).format(format);
        for parameters in [create.parameters(), with(&create.parameters(), 40, &[200]), vec![0; 71]] {
            let bench = bench();
            let expected = bench.session.create(bench.filter, &create.class, &parameters, create.access);
            let memory = EvilMemory::new(&parameters, twist);
            let made = bench.session.create_captured(bench.filter, &create.class, &memory, create.access);
            assert_eq!(made.is_ok(), expected.is_ok());
            assert_eq!(made.err().map(|refused| refused.status), expected.err().map(|refused| refused.status));
            assert_eq!(memory.most_reads(), 1);
        }
    }
}

#[test]
fn a2_the_meaning_of_the_second_buffer_follows_the_flags_that_were_read_first() {
    let bench = bench();
    let pin = bench.pin(OUT);
    // Read as SET it carries a state; read again as GET it would only offer room.
    let request = property(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_STATE, KSPROPERTY_TYPE_SET);
    let input = EvilMemory::new(request.as_bytes(), |byte| if byte == 2 { 1 } else { byte });
    let data = EvilMemory::new(&KsState::ACQUIRE.0.to_le_bytes(), |_| 0);
    let outcome = bench.session.control_captured(pin, IoControlCode::KS_PROPERTY, (&input, &data), &mut [0; 4]);
    assert_eq!(outcome.status, STATUS_SUCCESS);
    assert_eq!(bench.state(pin), KsState::ACQUIRE);
    assert_eq!((input.most_reads(), data.most_reads()), (1, 1));
}
