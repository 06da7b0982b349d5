//! A14, a caller's length that is trusted for a copy: every control code with buffers of every length, and every length
//! inside them.

use crate::support::specimen::*;
use crate::{bounded, bytes_of};
use ks_abi::*;
use ks_io::CallerMemory;
use std::cell::Cell;

const CODES: [IoControlCode; 8] = [
    IoControlCode::KS_PROPERTY,
    IoControlCode::KS_METHOD,
    IoControlCode::KS_ENABLE_EVENT,
    IoControlCode::KS_DISABLE_EVENT,
    IoControlCode::KS_RESET_STATE,
    IoControlCode::KS_HANDSHAKE,
    IoControlCode::KS_READ_STREAM,
    IoControlCode::KS_WRITE_STREAM,
];

/// Lengths around the size of a structure, and around what is copied in one piece.
fn lengths(own: usize) -> Vec<usize> {
    let mut lengths = vec![0, 1, own.saturating_sub(1), own, own + 1, 1 << 16, (1 << 16) + 1];
    lengths.sort_unstable();
    lengths.dedup();
    lengths
}

/// Requests that are right for some object, and the length of their structure.
fn requests() -> Vec<Vec<u8>> {
    let event = KsEvent::new(KSEVENTSETID_Connection, KSEVENT_CONNECTION_ENDOFSTREAM, KSEVENT_TYPE_ENABLE);
    vec![
        bytes_of(&property(KSPROPSETID_Pin, KSPROPERTY_PIN_CTYPES, KSPROPERTY_TYPE_GET)),
        bytes_of(&of_pin(KSPROPERTY_PIN_DATARANGES, IN)),
        bytes_of(&property(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_STATE, KSPROPERTY_TYPE_SET)),
        bytes_of(&property(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_DATAFORMAT, KSPROPERTY_TYPE_SET)),
        bytes_of(&property(Guid::NULL, 0, KSPROPERTY_TYPE_SETSUPPORT)),
        bytes_of(&event),
        bytes_of(&KsMethod::new(KSMETHODSETID_StreamIo, 0, KSMETHOD_TYPE_SEND)),
        bytes_of(&KsHandshake::default()),
        vec![1, 0, 0, 0],
    ]
}

#[test]
fn a14_every_code_with_every_length_of_both_buffers() {
    let bench = bench();
    let handles = [bench.filter, bench.pin(OUT), bench.pin(IN)];
    let mut output = vec![0xC5; (1 << 16) + 1 + 64];
    for (request, own) in requests().iter().map(|request| (request, request.len())) {
        for input_length in lengths(own) {
            let mut input = request.clone();
            input.resize(input_length, 0);
            for output_length in lengths(56) {
                for (code, handle) in CODES.iter().flat_map(|code| handles.map(|handle| (*code, handle))) {
                    let carried = input_length + 2 * output_length;
                    let room = &mut output[..output_length + 64];
                    room.fill(0xC5);
                    let outcome = bounded(carried, "a request", || {
                        bench.control(handle, code, &input, &mut room[..output_length])
                    });
                    let what = || format!("{code:?} with {input_length} and {output_length} bytes");
                    assert_ne!(outcome.status, STATUS_PENDING, "{}", what());
                    let is_query = outcome.status == STATUS_BUFFER_OVERFLOW && output_length == 0;
                    assert!(outcome.information <= output_length || is_query, "{}: {outcome:?}", what());
                    assert!(room[output_length..].iter().all(|byte| *byte == 0xC5), "{}", what());
                }
            }
        }
    }
}

/// A buffer of a length that no client has: it can be asked for, and must not be.
struct Claimed(usize);

impl CallerMemory for Claimed {
    fn length(&self) -> usize {
        self.0
    }
    fn copy_to(&self, to: &mut [u8]) {
        panic!("{} bytes were taken from a buffer that is only room", to.len());
    }
}

#[test]
fn a14_room_of_any_length_is_neither_read_nor_set_aside() {
    let bench = bench();
    let pin = bench.pin(OUT);
    for length in [1 << 31, u32::MAX as usize, 1 << 40, usize::MAX] {
        let request = bytes_of(&property(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_STATE, KSPROPERTY_TYPE_GET));
        let mut answer = [0; 4];
        let outcome = bounded(request.len(), "a long answer", || {
            let buffers = (request.as_slice(), &Claimed(length));
            bench.session.control_captured(pin, IoControlCode::KS_PROPERTY, buffers, &mut answer)
        });
        assert_eq!((outcome.status, outcome.information), (STATUS_SUCCESS, 4), "{length:#x}");
    }
}

#[test]
fn a14_data_of_an_impossible_length_is_refused_before_it_is_read() {
    let bench = bench();
    let pin = bench.pin(IN);
    for length in [isize::MAX as usize, usize::MAX - 15, usize::MAX] {
        let request =
            bytes_of(&property(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_DATAFORMAT, KSPROPERTY_TYPE_SET));
        let buffers = (request.as_slice(), &Claimed(length));
        let outcome = bounded(request.len(), "long data", || {
            bench.session.control_captured(pin, IoControlCode::KS_PROPERTY, buffers, &mut [])
        });
        assert_eq!(outcome.status, STATUS_INSUFFICIENT_RESOURCES, "{length:#x}");
        let outcome = bounded(0, "a long request", || {
            bench.session.control_captured(pin, IoControlCode::KS_PROPERTY, (&Claimed(length), [].as_slice()), &mut [])
        });
        assert_eq!(outcome.status, STATUS_INSUFFICIENT_RESOURCES, "{length:#x}");
    }
}

/// A second buffer that tells whether it was read.
#[derive(Default)]
struct Watched(Cell<bool>);

impl CallerMemory for Watched {
    fn length(&self) -> usize {
        96
    }
    fn copy_to(&self, _to: &mut [u8]) {
        self.0.set(true);
    }
}

#[test]
fn a14_every_code_with_lengths_that_no_buffer_has() {
    let bench = bench();
    let handles = [bench.filter, bench.pin(OUT), bench.pin(IN)];
    let (mut rooms, mut data) = (0, 0);
    for (code, request) in CODES.iter().flat_map(|code| requests().into_iter().map(|request| (*code, request))) {
        // What is read of a buffer must have been set aside before; what is only room costs nothing.
        let watched = Watched::default();
        let _ = bench.session.control_captured(bench.pin(NON_STANDARD), code, (&request[..], &watched), &mut [0; 96]);
        let is_data = watched.0.get();
        let lengths = match is_data {
            true => [isize::MAX as usize, usize::MAX - 15, usize::MAX - 1, usize::MAX],
            false => [1 << 31, u32::MAX as usize, 1 << 40, usize::MAX],
        };
        for (handle, length) in handles.iter().flat_map(|handle| lengths.map(|length| (*handle, length))) {
            let mut answer = [0xC5; 4096];
            let outcome = bounded(request.len() + answer.len(), "a length", || {
                bench.session.control_captured(handle, code, (request.as_slice(), &Claimed(length)), &mut answer)
            });
            let what = || format!("{code:?}, {:x?}, {length:#x} bytes: {outcome:?}", &request);
            if is_data {
                assert_eq!((outcome.status, outcome.information), (STATUS_INSUFFICIENT_RESOURCES, 0), "{}", what());
                data += 1;
            } else {
                assert_ne!(outcome.status, STATUS_PENDING, "{}", what());
                assert!(outcome.information <= answer.len(), "{}", what());
                assert!(answer[outcome.information..].iter().all(|byte| *byte == 0xC5), "{}", what());
                rooms += 1;
            }
        }
    }
    assert!(rooms > 100 && data > 100, "{rooms} rooms, {data} data");
}
