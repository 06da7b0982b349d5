//! What a Windows driver is told of connections, resets and handshakes, and where its stream pointers go between requests.
#![expect(clippy::unwrap_used, reason = "tests")]

mod ks_rig;

use ks_abi::{
    Guid, IoControlCode, KSPROPERTY_TYPE_GET, KsHandshake, KsIdentifier, KsReset, KsState, NtStatus, Ptr64,
    STATUS_DEVICE_BUSY, STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_DEVICE_REQUEST, STATUS_NOT_IMPLEMENTED,
    STATUS_SUCCESS, STATUS_UNSUCCESSFUL,
};
use ks_client::{Filter, Object, StreamRequest};
use ks_rig::{Created, Rig, each_seed};
use zerocopy::{FromBytes, IntoBytes};

/// The checks of the drivers in `tests/avs`.
const CHECKS: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e60);
/// The notes of `told.c`.
const TOLD: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e92);
const UP: [KsState; 3] = [KsState::ACQUIRE, KsState::PAUSE, KsState::RUN];
/// The pin that gives and the one that takes.
const GIVES: u32 = 0;
const TAKES: u32 = 1;

fn text_of(object: &Object, set: Guid, id: u32) -> String {
    let request = KsIdentifier { set, id, flags: KSPROPERTY_TYPE_GET };
    let mut answer = [0; 1000];
    let outcome = object.control(IoControlCode::KS_PROPERTY, request.as_bytes(), &mut answer);
    assert!(outcome.status.is_success(), "item {id}: {}", outcome.status);
    String::from_utf8(answer[..outcome.information].to_vec()).unwrap()
}

/// What failed of a check of the driver's own.
fn failure(object: &Object, check: u32) -> String {
    text_of(object, CHECKS, check)
}

/// What the driver was told since the last time.
fn told(filter: &Filter) -> String {
    text_of(filter.object(), TOLD, 0)
}

/// Only the sink hears of a connection, once, before any state; it is disconnected before either pin closes. A context goes
/// from the filter to its pins when they are made.
#[test]
fn a_driver_is_told_of_a_connection_at_its_sink_once_and_in_order() {
    each_seed(|| {
        let rig = Rig::start("tests/avs/told.c");
        let (from, to) = (rig.open(), rig.open());
        assert_eq!(told(&from), "filter-create filter-create");
        // A client is the other end of both.
        let pins = [rig.create(&from, GIVES, None), rig.create(&to, TAKES, None)];
        drop(pins);
        assert_eq!(told(&from), "create0 create1 close0 close1");
        let sink = rig.create(&to, TAKES, None);
        let source = rig.create(&from, GIVES, Some(&sink));
        assert_eq!(told(&from), "create1 create0 connect1");
        for state in UP {
            [&sink, &source].iter().for_each(|pin| pin.pin.set_state(state).unwrap());
        }
        [&source, &sink].iter().for_each(|pin| pin.pin.set_state(KsState::STOP).unwrap());
        assert!(!told(&from).contains("connect"), "states change nothing of it");
        drop(source);
        assert_eq!(told(&from), "disconnect1 close0");
        // The sink is free again.
        let source = rig.create(&from, GIVES, Some(&sink));
        assert_eq!(told(&from), "create0 connect1");
        drop(sink);
        assert_eq!(told(&from), "", "its source has it still");
        drop(source);
        assert_eq!(told(&from), "disconnect1 close1 close0");
        drop((from, to));
        rig.unload();
    });
}

/// A pin is told of a reset that begins and ends, once each, and of a queue that is flushed; the filter only if it processes
/// as a whole.
#[test]
fn a_drivers_filter_is_told_of_resets_if_it_processes_as_a_whole() {
    each_seed(|| {
        let rig = Rig::start("tests/avs/told.c");
        for (filter, wanted) in
            [(0, ["reset-begin1", "reset-end1"]), (1, ["reset-begin1 filter-reset", "reset-end1 filter-reset"])]
        {
            let filter = rig.open_filter(filter);
            let pin = rig.create(&filter, TAKES, None);
            UP.iter().for_each(|state| pin.pin.set_state(*state).unwrap());
            told(&filter);
            let reset = |reset| {
                pin.pin.reset(reset).unwrap();
                told(&filter)
            };
            assert_eq!([reset(KsReset::BEGIN), reset(KsReset::BEGIN), reset(KsReset::END)], [wanted[0], "", wanted[1]]);
            pin.pin.set_state(KsState::STOP).unwrap();
            assert_eq!(told(&filter), wanted[1], "the queue is flushed");
            drop((pin, filter));
        }
        rig.unload();
    });
}

/// A pin of `exchange_sink.c` that nobody is connected to.
#[test]
fn another_driver_offers_a_protocol_to_a_drivers_unconnected_pin_and_user_mode_cannot() {
    each_seed(|| {
        const PROTOCOL: Guid = Guid::from_u128(0x6b1d0c52_93f4_4e6d_9b7e_1c40d7a85e01);
        let rig = Rig::start("tests/avs/exchange_sink.c");
        let offer = KsHandshake { protocol_id: PROTOCOL, argument1: Ptr64(3), argument2: Ptr64(42) };
        let ask = |pin: &Created, offer: &[u8], room: usize| -> (NtStatus, usize, Vec<u8>) {
            let mut answer = vec![0; room];
            let outcome = pin.pin.object().control(IoControlCode::KS_HANDSHAKE, offer, &mut answer);
            (outcome.status, outcome.information, answer)
        };
        let filter = rig.open_as_driver();
        let pin = rig.create(&filter, 0, None);
        let (status, information, answer) = ask(&pin, offer.as_bytes(), 32);
        assert_eq!((status, information), (STATUS_SUCCESS, 32));
        let answer = KsHandshake::read_from_bytes(&answer).unwrap();
        assert_eq!((answer.protocol_id, answer.argument1, answer.argument2), (PROTOCOL, Ptr64(2), Ptr64(42)));
        for (bytes, room) in [(31, 32), (33, 32), (32, 31), (32, 33), (0, 32), (32, 0)] {
            let mut input = offer.as_bytes().to_vec();
            input.resize(bytes, 0);
            let (status, information, _) = ask(&pin, &input, room);
            assert_eq!((status, information), (STATUS_INVALID_BUFFER_SIZE, 0), "{bytes} for {room}");
        }
        let another = KsHandshake { protocol_id: CHECKS, ..offer };
        assert_eq!(ask(&pin, another.as_bytes(), 32).0, STATUS_INVALID_DEVICE_REQUEST, "as the driver answers");
        for status in [STATUS_DEVICE_BUSY, STATUS_NOT_IMPLEMENTED] {
            let refused = KsHandshake { argument1: Ptr64(77), argument2: Ptr64(status.0.into()), ..offer };
            assert_eq!(ask(&pin, refused.as_bytes(), 32).0, status, "as its callback refuses");
        }
        let silent = rig.create(&filter, 1, None);
        assert_eq!(ask(&silent, offer.as_bytes(), 32).0, STATUS_INVALID_DEVICE_REQUEST, "it has no callback");
        drop((pin, silent, filter));
        let filter = rig.open();
        let pin = rig.create(&filter, 0, None);
        assert_eq!(ask(&pin, offer.as_bytes(), 32).0, STATUS_INVALID_DEVICE_REQUEST, "user mode");
        drop((pin, filter));
        rig.unload();
    });
}

fn short_and_whole(pin: &Created) -> [StreamRequest; 2] {
    [(1u8, 40), (2, 64)].map(|(byte, bytes)| {
        let mut frame = pin.pin.allocate(64).unwrap();
        assert!(frame.fill(&[byte; 64]));
        frame.header.data_used = bytes;
        pin.pin.write_stream(vec![frame]).unwrap()
    })
}

#[test]
fn offsets_of_a_driver_go_over_the_end_of_a_request() {
    each_seed(|| {
        let rig = Rig::start("tests/avs/offsets.c");
        let filter = rig.open();
        let output = rig.create(&filter, 0, None);
        UP.iter().for_each(|state| output.pin.set_state(*state).unwrap());
        let reads = [output.read(1), output.read(1)];
        assert_eq!(failure(output.pin.object(), 0), "");
        let used = reads.map(|read| read.wait().unwrap()[0].header.data_used);
        assert_eq!(used, [64, 1]);
        for input in [1, 2] {
            let pin = rig.create(&filter, input, None);
            UP.iter().for_each(|state| pin.pin.set_state(*state).unwrap());
            let writes = short_and_whole(&pin);
            assert_eq!(failure(pin.pin.object(), input), "");
            assert_eq!(writes.map(|write| write.wait().unwrap()[0].header.data_used), [40, 64]);
        }
        drop((output, filter));
        rig.unload();
    });
}

#[test]
fn a_status_code_of_a_driver_is_what_its_request_completes_with() {
    each_seed(|| {
        let rig = Rig::start("tests/avs/offsets.c");
        let filter = rig.open();
        let output = rig.create(&filter, 0, None);
        UP.iter().for_each(|state| output.pin.set_state(*state).unwrap());
        let (read, next) = (output.read(1), output.read(1));
        assert_eq!(failure(output.pin.object(), 3), "");
        assert_eq!(read.wait().unwrap_err().status, STATUS_UNSUCCESSFUL);
        assert!(!next.is_done(), "the one behind it waits on");
        output.pin.set_state(KsState::STOP).unwrap();
        assert!(next.wait().is_err());
        drop((output, filter));
        rig.unload();
    });
}
