//! Looped pins of Windows drivers: their pages, registers and events cross the border of their process.
#![expect(clippy::unwrap_used, reason = "tests")]

// The script of the audio host, which a driver's filters are asked by as ours are.
#[path = "../../ks-filters/tests/real_clients/audio_host.rs"]
mod audio_host;
#[path = "../../ks-filters/tests/real_clients/client.rs"]
mod client;
mod driver_rig;
#[path = "../../ks-filters/tests/real_clients/looped_host.rs"]
mod looped_host;
mod support;

use ks_abi::{
    Guid, IoControlCode, KSNODETYPE_LINE_CONNECTOR, KSNODETYPE_MICROPHONE, KSPROPERTY_TYPE_GET, KsIdentifier,
    KsPinDataFlow, KsState, STATUS_NOT_SUPPORTED,
};
use ks_client::{LoopedBuffer, Pin};
use ks_io::Transport;
use zerocopy::IntoBytes;

use audio_host::Path;
use client::{Client, READ_WRITE};
use driver_rig::{Rig, of_tests};
use looped_host::Looped;

/// What the driver's own check says has failed.
fn said(pin: &Pin) -> String {
    const CHECKS: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e60);
    let request = KsIdentifier { set: CHECKS, id: 0, flags: KSPROPERTY_TYPE_GET };
    let mut answer = [0; 200];
    let outcome = pin.object().control(IoControlCode::KS_PROPERTY, request.as_bytes(), &mut answer);
    assert!(outcome.status.is_success(), "{}", outcome.status);
    String::from_utf8_lossy(&answer[..outcome.information]).into_owned()
}

fn wait_for_packets(buffer: &LoopedBuffer, count: usize) {
    let event = buffer.notification().expect("a buffer with notification");
    for _ in 0..count {
        let _ = event.wait();
        event.clear();
    }
}

#[test]
fn a_client_plays_by_notifications_into_the_pages_of_a_driver_in_its_process() {
    let rig = Rig::new();
    let hosted = rig.start(&of_tests("avs/looped", &["-DNOTIFY"]));
    let filter = hosted.open();
    let pin = filter.create_client_pin(0).expect("a looped pin");
    let buffer = pin.looped_buffer(5000, Some(2)).expect("a buffer");
    assert_eq!(buffer.bytes(), 8192, "whole pages");
    let register = pin.position_register().expect("a register");
    buffer.write(0, &[3; 8192]);
    pin.set_state(KsState::RUN).expect("RUN");
    wait_for_packets(&buffer, 3);
    pin.set_state(KsState::PAUSE).expect("PAUSE");
    assert_eq!(said(&pin), "", "it has read what was written here");
    assert_eq!(register.offset(), pin.audio_position().expect("a position").play_offset);
    pin.set_state(KsState::STOP).expect("STOP");
    drop((register, buffer, pin, filter));
    hosted.stop_in_order();
}

#[test]
fn what_a_driver_captures_into_its_pages_is_read_in_the_process_of_its_client() {
    let rig = Rig::new();
    let hosted = rig.start(&of_tests("avs/looped", &["-DNOTIFY", "-DCAPTURE"]));
    let filter = hosted.open();
    let pin = filter.create_client_pin(0).expect("a looped pin");
    let buffer = pin.looped_buffer(8192, Some(1)).expect("a buffer");
    pin.set_state(KsState::RUN).expect("RUN");
    wait_for_packets(&buffer, 2);
    pin.set_state(KsState::PAUSE).expect("PAUSE");
    let mut heard = vec![0; 8192];
    buffer.read(0, &mut heard);
    // Each byte is its place in the stream, and the buffer is a multiple of 256.
    assert!(heard.iter().enumerate().all(|(at, byte)| *byte == at as u8));
    // The memory stays as long as somebody has it, also when the pin and its driver are gone.
    drop((pin, filter));
    hosted.stop_in_order();
    buffer.read(0, &mut heard);
    assert_eq!(heard[5], 5);
}

#[test]
fn a_polling_client_finds_no_notification_and_reads_positions() {
    let rig = Rig::new();
    let hosted = rig.start(&of_tests("avs/looped", &[]));
    let filter = hosted.open();
    let pin = filter.create_client_pin(0).expect("a looped pin");
    assert_eq!(pin.looped_buffer(5000, Some(2)).expect_err("no notification").status, STATUS_NOT_SUPPORTED);
    let buffer = pin.looped_buffer(5000, None).expect("a buffer");
    buffer.write(0, &[3; 8192]);
    pin.set_state(KsState::RUN).expect("RUN");
    while pin.audio_position().expect("a position").play_offset == 0 || !said(&pin).is_empty() {
        std::thread::yield_now();
    }
    pin.set_state(KsState::STOP).expect("STOP");
    drop((buffer, pin, filter));
    hosted.stop_in_order();
}

#[test]
fn a_buffer_that_no_other_process_can_map_is_refused_with_what_can_be() {
    let rig = Rig::new();
    let hosted = rig.start(&of_tests("avs/looped", &["-DNOTIFY", "-DPRIVATE"]));
    let filter = hosted.open();
    let pin = filter.create_client_pin(0).expect("a looped pin");
    let refused = pin.looped_buffer(5000, None).expect_err("memory of the pool");
    assert_eq!(refused.status, STATUS_NOT_SUPPORTED);
    assert!(refused.reason().contains("MmAllocatePagesForMdlEx"), "{refused}");
    drop((pin, filter));
    hosted.stop_in_order();
}

/// The script over a wave filter of a driver, and over the topology filter behind its bridge pin.
fn an_audio_host_captures_each_input(options: &[&str], wait_for_a_buffer: impl Fn(&Looped<'_>)) {
    const WISHED: u32 = 2 * 480 * 4;
    let rig = Rig::new();
    let hosted = rig.start(&of_tests("avs/looped", options));
    let host = Client { _system: None, session: rig.io.session() };
    let devices = host.audio_devices(Path::Looped);
    let found: Vec<_> = devices
        .iter()
        .map(|(_, pin)| (pin.endpoint.as_str(), pin.category, pin.flow, pin.rate, pin.mux.as_ref().unwrap().pin))
        .collect();
    let out = KsPinDataFlow::OUT;
    let wanted = [
        ("Front microphone", KSNODETYPE_MICROPHONE, out, 48000, 1),
        ("Rear line", KSNODETYPE_LINE_CONNECTOR, out, 48000, 2),
    ];
    assert_eq!(found, wanted);
    for (interface, pin) in &devices {
        let mux = pin.mux.as_ref().unwrap();
        host.select(mux);
        let filter = host.session.open(&interface.symbolic_link, READ_WRITE).unwrap();
        let looped = host.open_looped(filter, pin, WISHED);
        assert_eq!(looped.bytes, 4096, "whole pages");
        looped.run();
        wait_for_a_buffer(&looped);
        host.set_state(looped.pin, KsState::PAUSE);
        let heard = looped.memory.read(looped.address, looped.bytes as usize);
        // Each byte is its place in the stream, counted up or down, and the buffer is a multiple of 256.
        let sample = |at: usize| if mux.pin == 1 { at as u8 } else { !at as u8 };
        assert!(heard.iter().enumerate().all(|(at, byte)| *byte == sample(at)), "{}", pin.endpoint);
        looped.stop();
        looped.close();
    }
    assert_eq!(host.session.open_handles(), 0);
    hosted.stop_in_order();
}

#[test]
fn an_audio_host_captures_by_notifications_from_a_driver_with_a_topology_filter() {
    an_audio_host_captures_each_input(&["-DTOPOLOGY", "-DNOTIFY"], |looped| {
        // Two halves and one that may have been set before.
        (0..3).for_each(|_| looped.wait_for_packet());
    });
}

#[test]
fn a_polled_audio_host_captures_from_a_driver_with_a_topology_filter() {
    an_audio_host_captures_each_input(&["-DTOPOLOGY"], |looped| {
        assert!(looped.notified.is_none());
        let (mut rounds, mut last) = (0, 0);
        while rounds < 2 {
            let now = looped.position().play_offset;
            rounds += u32::from(now < last);
            last = now;
            std::thread::yield_now();
        }
    });
}
