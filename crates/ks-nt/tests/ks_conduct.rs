//! How a Windows driver's pins conduct themselves in a graph: formats that change in the stream, resets along its topology,
//! a state that pends, and a filter that grows while it is open.
#![expect(clippy::unwrap_used, reason = "tests")]

mod ks_rig;

use ks_abi::{
    Guid, KSPROPERTY_TYPE_GET, KSSTREAM_HEADER_OPTIONSF_TYPECHANGED, KsIdentifier, KsReset, KsState, STATUS_NO_MATCH,
};
use ks_client::{Connect, Format, Object, Pin, StreamFrame};
use ks_rig::{Created, Rig};
use zerocopy::IntoBytes;

/// The checks of the drivers in `tests/avs`.
const CHECKS: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e60);
const DRIVER: &str = "tests/avs/conduct.c";

fn failure(object: &Object, check: u32) -> String {
    let request = KsIdentifier { set: CHECKS, id: check, flags: KSPROPERTY_TYPE_GET };
    let mut answer = [0; 200];
    let outcome = object.control(ks_abi::IoControlCode::KS_PROPERTY, request.as_bytes(), &mut answer);
    assert!(outcome.status.is_success(), "check {check}: {}", outcome.status);
    String::from_utf8(answer[..outcome.information].to_vec()).unwrap()
}

/// Frames travel on other threads: asked until it holds. The test program's own limit ends a wait for what never comes.
fn eventually(object: &Object, check: u32) {
    while !failure(object, check).is_empty() {
        std::thread::yield_now();
    }
}

/// The pin's format with another sample size.
fn sized(created: &Created, bytes: u32) -> Format {
    let mut format = created.format.bytes().to_vec();
    format[8..12].copy_from_slice(&bytes.to_le_bytes());
    Format::from_bytes(&format).unwrap()
}

fn write(pin: &Pin, bytes: &[u8], flags: u32) -> Result<(), ks_abi::NtStatus> {
    let mut frame = pin.allocate(64).unwrap();
    assert!(frame.fill(bytes));
    frame.header.options_flags = flags;
    pin.write_stream(vec![frame]).unwrap().wait().map(drop).map_err(|error| error.status)
}

fn read(pin: &Pin) -> StreamFrame {
    let frames = vec![pin.allocate(64).unwrap()];
    pin.read_stream(frames).unwrap().wait().unwrap().remove(0)
}

#[test]
fn a_written_format_reaches_set_data_format_in_its_turn() {
    let rig = Rig::start(DRIVER);
    let filter = rig.open();
    let sink = rig.create(&filter, 0, None);
    assert_eq!(failure(sink.pin.object(), 6), "");
    sink.pin.set_state(KsState::RUN).unwrap();
    write(&sink.pin, &[64], 0).unwrap();
    write(&sink.pin, sized(&sink, 32).bytes(), KSSTREAM_HEADER_OPTIONSF_TYPECHANGED).unwrap();
    write(&sink.pin, &[32], 0).unwrap();
    write(&sink.pin, &[32], 0).unwrap();
    assert_eq!(failure(sink.pin.object(), 0), "");
    assert_eq!(sink.pin.format().unwrap().bytes(), sized(&sink, 32).bytes());
    let refused = write(&sink.pin, sized(&sink, 13).bytes(), KSSTREAM_HEADER_OPTIONSF_TYPECHANGED);
    assert_eq!(refused, Err(STATUS_NO_MATCH));
    assert!(write(&sink.pin, &[13], 0).is_err(), "nothing of a format that was refused");
    assert_eq!(failure(sink.pin.object(), 0), "", "the old one is shown");
    drop((sink, filter));
    rig.unload();
}

#[test]
fn a_driver_changes_the_format_in_its_stream_and_its_reader_fetches_it() {
    let rig = Rig::start(DRIVER);
    let filter = rig.open();
    let source = rig.create(&filter, 1, None);
    assert_eq!(failure(source.pin.object(), 6), "");
    source.pin.set_state(KsState::RUN).unwrap();
    assert_eq!(failure(source.pin.object(), 1), "");
    let told = read(&source.pin);
    assert_ne!(told.header.options_flags & KSSTREAM_HEADER_OPTIONSF_TYPECHANGED, 0);
    assert_eq!(told.data(), sized(&source, 32).bytes());
    assert_eq!(failure(source.pin.object(), 2), "");
    assert_eq!(source.pin.format().unwrap().bytes(), sized(&source, 32).bytes());
    assert_eq!(read(&source.pin).data(), [32]);
    drop((source, filter));
    rig.unload();
}

#[test]
fn a_driver_follows_what_another_of_its_filters_changes_in_the_stream() {
    let rig = Rig::start(DRIVER);
    let (from, to) = (rig.open(), rig.open());
    let sink = rig.create(&to, 0, None);
    let source = rig.create(&from, 1, Some(&sink));
    assert_eq!(failure(source.pin.object(), 6), "");
    for pin in [&sink.pin, &source.pin] {
        pin.set_state(KsState::RUN).unwrap();
    }
    assert_eq!(failure(source.pin.object(), 1), "");
    eventually(sink.pin.object(), 3);
    for pin in [&sink, &source] {
        assert_eq!(pin.pin.format().unwrap().bytes(), sized(pin, 32).bytes());
    }
    for pin in [&source.pin, &sink.pin] {
        pin.set_state(KsState::STOP).unwrap();
    }
    drop((source, sink, from, to));
    rig.unload();
}

#[test]
fn a_reset_reaches_the_pins_that_a_drivers_topology_leads_to() {
    let rig = Rig::start(DRIVER);
    let filter = rig.open();
    let (sink, source) = (rig.create(&filter, 0, None), rig.create(&filter, 1, None));
    assert_eq!(failure(sink.pin.object(), 6), "");
    sink.pin.reset(KsReset::BEGIN).unwrap();
    sink.pin.reset(KsReset::END).unwrap();
    assert_eq!(failure(sink.pin.object(), 4), "");
    drop((sink, source, filter));
    rig.unload();
}

#[test]
fn a_driver_that_answers_its_state_itself_may_let_acquire_pend() {
    let rig = Rig::start(DRIVER);
    let filter = rig.open();
    let pin = rig.create(&filter, 2, None);
    pin.pin.set_state(KsState::ACQUIRE).unwrap();
    assert_eq!(pin.pin.state().unwrap(), KsState::ACQUIRE, "the request was completed when its worker was done");
    drop((pin, filter));
    rig.unload();
}

#[test]
fn a_driver_adds_factories_nodes_and_connections_while_its_filter_streams() {
    let rig = Rig::start(DRIVER);
    let filter = rig.open();
    let sink = rig.create(&filter, 0, None);
    assert_eq!(failure(sink.pin.object(), 6), "");
    sink.pin.set_state(KsState::RUN).unwrap();
    write(&sink.pin, &[64], 0).unwrap();
    let before = filter.topology().unwrap();
    assert_eq!((filter.pin_count().unwrap(), before.nodes.len(), before.connections.len()), (3, 0, 1));
    assert_eq!(failure(sink.pin.object(), 5), "");
    let after = filter.topology().unwrap();
    assert_eq!((filter.pin_count().unwrap(), after.nodes.len(), after.connections.len()), (4, 1, 3));
    let factory = filter.pin(3).unwrap();
    let connect = Connect {
        pin_id: 3,
        interface: factory.interfaces[0],
        medium: factory.mediums[0],
        pin_to: None,
        format: &sink.format,
    };
    let grown = filter.create_pin(connect, factory.data_flow).unwrap();
    grown.set_state(KsState::RUN).unwrap();
    write(&grown, &[64], 0).unwrap();
    write(&sink.pin, &[64], 0).unwrap();
    drop((grown, sink, filter));
    rig.unload();
}
