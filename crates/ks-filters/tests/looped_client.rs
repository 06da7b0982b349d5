//! Looped pins by the client library: what safe code can do with a buffer that a device uses at the same time.
#![expect(clippy::unwrap_used, reason = "tests")]

use ks_abi::{
    KsIdentifier, KsPinDataFlow, KsState, STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_DEVICE_STATE,
    STATUS_NOT_SUPPORTED, STATUS_UNSUCCESSFUL,
};
use ks_client::{Client, Connect, Filter, LoopedBuffer, Pin};
use ks_io::{Services, Ticks};

fn client() -> (ks_filters::System, Client) {
    ks_stream::verifier::enable();
    let system = ks_filters::system(Services::virtual_time(3)).unwrap();
    let client = Client::new(system.session());
    (system, client)
}

/// A pin of the format that the filter prefers: 48000 samples a second.
fn pin_of(filter: &Filter) -> Pin {
    filter.create_client_pin(0).unwrap()
}

fn wait_for_packet(buffer: &LoopedBuffer) {
    let event = buffer.notification().unwrap();
    let _ = event.wait();
    event.clear();
}

#[test]
fn what_a_microphone_hears_is_played_by_a_speaker_over_two_buffers() {
    let (_system, client) = client();
    let path = std::env::temp_dir().join(format!("userks-looped-client-{}.wav", std::process::id()));
    let (from, to) =
        (client.open_by_name("looped-microphone").unwrap(), client.open_by_name("looped-speaker").unwrap());
    to.set_setting("path", path.to_str().unwrap()).unwrap();
    let (heard, played) = (pin_of(&from), pin_of(&to));
    assert_eq!(heard.format().unwrap().bytes(), played.format().unwrap().bytes());
    let block = heard.format().unwrap().head().sample_size as usize;
    let packet = 480 * block;
    let (ears, mouth) = (
        heard.looped_buffer(2 * packet as u32, Some(2)).unwrap(),
        played.looped_buffer(4 * packet as u32, None).unwrap(),
    );
    assert_eq!((ears.bytes(), ears.packet_bytes()), (2 * packet, Some(packet)));
    assert_eq!((mouth.bytes(), mouth.packet_bytes()), (4 * packet, None));
    assert!(mouth.notification().is_none() && mouth.address() % 4096 == 0);
    let register = played.position_register().unwrap();
    heard.set_state(KsState::RUN).unwrap();
    let mut recorded = Vec::new();
    for number in 0..50 {
        wait_for_packet(&ears);
        let mut bytes = vec![0; packet];
        ears.read(number * packet, &mut bytes);
        mouth.write(number * packet, &bytes);
        recorded.extend(bytes);
        if number == 1 {
            played.set_state(KsState::RUN).unwrap();
        }
        assert_eq!(register.offset(), played.audio_position().unwrap().play_offset);
    }
    // Two packets behind; what is played is what was heard.
    played.set_state(KsState::STOP).unwrap();
    heard.set_state(KsState::STOP).unwrap();
    let file = std::fs::read(&path).unwrap();
    let sound = &file[file.len() - 48 * packet..];
    assert!(sound == &recorded[..48 * packet], "48 packets of ten milliseconds");
    assert!(recorded.iter().any(|byte| *byte != 0));
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_buffer_goes_round_its_end_and_outlives_its_pin() {
    let (_system, client) = client();
    let filter = client.open_by_name("looped-speaker").unwrap();
    let pin = pin_of(&filter);
    assert_eq!(pin.looped_buffer(4096, Some(3)).unwrap_err().status, STATUS_UNSUCCESSFUL);
    let buffer = pin.looped_buffer(4096, Some(1)).unwrap();
    assert_eq!(pin.looped_buffer(4096, None).unwrap_err().status, STATUS_INVALID_DEVICE_STATE);
    let size = buffer.bytes();
    buffer.write(size - 3, b"abcdef");
    let mut round = [0; 6];
    buffer.read(2 * size - 3, &mut round);
    assert_eq!(&round, b"abcdef");
    let mut start = [0; 3];
    buffer.read(0, &mut start);
    assert_eq!(&start, b"def");
    // More than all of it: the rest is left alone.
    buffer.write(1, &vec![7; 2 * size]);
    let mut more = vec![1; size + 2];
    buffer.read(0, &mut more);
    assert!(more[..size].iter().all(|byte| *byte == 7) && more[size..] == [1, 1]);
    drop((pin, filter));
    buffer.read(0, &mut start);
    assert_eq!(start, [7; 3]);
}

#[test]
fn a_looped_pin_is_not_connected_to_one_that_streams() {
    let (system, client) = client();
    // No engine connects them; a graph has its client in between, see looped_graphs.rs.
    let (from, to) = (client.open_by_name("test-microphone").unwrap(), client.open_by_name("looped-speaker").unwrap());
    let source = from.create_client_pin(0).unwrap();
    let format = source.format().unwrap();
    let (interface, medium) = (KsIdentifier::STANDARD_LOOPED_STREAMING, KsIdentifier::STANDARD_DEVIO);
    let connect = Connect { pin_id: 0, interface, medium, pin_to: Some(&source), format: &format };
    let refused = to.create_pin(connect, KsPinDataFlow::IN).unwrap_err();
    assert_eq!(refused.status, STATUS_INVALID_DEVICE_REQUEST, "{refused}");
    let filter = client.open_by_name("looped-speaker").unwrap();
    filter.set_setting("notifications", "false").unwrap();
    filter.set_setting("registers", "false").unwrap();
    let pin = pin_of(&filter);
    assert_eq!(pin.looped_buffer(4096, Some(2)).unwrap_err().status, STATUS_NOT_SUPPORTED);
    assert_eq!(pin.position_register().unwrap_err().status, STATUS_NOT_SUPPORTED);
    let buffer = pin.looped_buffer(4096, None).unwrap();
    assert!(pin.hardware_latency().unwrap().fifo_size > 0);
    pin.set_state(KsState::RUN).unwrap();
    let services = system.io().services().clone();
    let _ = services.delay_until(services.now() + Ticks::from_millis(10));
    assert!(pin.audio_position().unwrap().play_offset > 0);
    drop(buffer);
}
