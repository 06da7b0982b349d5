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
    Guid, IoControlCode, KSNODETYPE_LINE_CONNECTOR, KSNODETYPE_MICROPHONE, KSNODETYPE_SPEAKER, KSPROPERTY_AUDIO_MUTE,
    KSPROPERTY_PIN_PHYSICALCONNECTION, KSPROPERTY_TYPE_GET, KSPROPERTY_TYPE_SET, KSPROPERTY_TYPE_TOPOLOGY,
    KSPROPSETID_Audio, KSSTRING_TOPOLOGY_NODE, KsIdentifier, KsNodeCreate, KsPinDataFlow, KsProperty, KsState, KspNode,
    STATUS_INVALID_PARAMETER, STATUS_NOT_SUPPORTED,
};
use ks_client::graph::grammar;
use ks_client::graph::run::{GraphRunner, Options, Progress, Report, RunStatus};
use ks_client::{LoopedBuffer, Pin};
use ks_io::{Ticks, Transport};
use zerocopy::IntoBytes;

use audio_host::Path;
use client::{Client, READ_WRITE, of_pin};
use driver_rig::{Hosted, Rig, of_tests};
use looped_host::Looped;
use support::{Scratch, ks};

const CHECKS: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e60);

/// What the driver's own check says has failed.
fn said(pin: &Pin) -> String {
    said_of(pin, 0)
}

/// The same, of the check of this number.
fn said_of(pin: &Pin, id: u32) -> String {
    let request = KsIdentifier { set: CHECKS, id, flags: KSPROPERTY_TYPE_GET };
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
    for options in [&["-DNOTIFY"][..], &["-DNOTIFY", "-DNARROW"]] {
        plays_by_notifications(options);
    }
}

fn plays_by_notifications(options: &[&str]) {
    let rig = Rig::new();
    let hosted = rig.start(&of_tests("avs/looped", options));
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
    assert_eq!(register.offset(), pin.audio_position().expect("a position").play_offset, "{options:?}");
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

/// What a driver does to an event by its address, happens to the event of the client, which is in another process.
#[test]
fn a_driver_sets_clears_resets_and_pulses_the_event_of_a_client() {
    const SET: u32 = 1;
    const CLEAR: u32 = 2;
    const RESET: u32 = 3;
    const PULSE: u32 = 4;
    let rig = Rig::new();
    let hosted = rig.start(&of_tests("avs/looped", &["-DNOTIFY"]));
    let filter = hosted.open();
    let pin = filter.create_client_pin(0).expect("a looped pin");
    let buffer = pin.looped_buffer(4096, Some(2)).expect("a buffer");
    let event = buffer.notification().expect("a buffer with notification").clone();
    for takes_back in [CLEAR, RESET] {
        assert_eq!((said_of(&pin, SET), event.is_set()), (String::new(), true));
        assert_eq!((said_of(&pin, takes_back), event.is_set()), (String::new(), false));
    }
    // Whoever waits when it is pulsed goes on, and nobody who comes later.
    let waiter = std::thread::spawn({
        let event = event.clone();
        move || event.wait()
    });
    while !waiter.is_finished() {
        assert_eq!((said_of(&pin, PULSE), event.is_set()), (String::new(), false));
    }
    assert_eq!(waiter.join().unwrap(), ks_io::WaitOutcome::Signalled);
    // It is one event: what it is called by in the other process goes with the pin.
    drop((buffer, pin, filter));
    hosted.stop_in_order();
    assert!(!event.is_set());
}

/// Bytes of a WAV file: 16 bits, stereo, 48 kHz, each byte its place in the stream.
fn counted(blocks: u32) -> Vec<u8> {
    let bytes = 4 * blocks;
    let mut file = b"RIFF".to_vec();
    file.extend((36 + bytes).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x02\0");
    file.extend(48_000_u32.to_le_bytes());
    file.extend(192_000_u32.to_le_bytes());
    file.extend(b"\x04\0\x10\0data");
    file.extend(bytes.to_le_bytes());
    file.extend((0..bytes).map(|at| at as u8));
    file
}

#[test]
fn ks_plays_a_file_into_the_pages_of_a_driver_byte_for_byte() {
    let scratch = Scratch::new();
    let (file, blocks) = (scratch.path("a.wav"), 33_601);
    std::fs::write(&file, counted(blocks)).unwrap();
    for options in [&["-DTOPOLOGY", "-DRENDER", "-DNOTIFY"][..], &["-DTOPOLOGY", "-DRENDER"]] {
        let driver = of_tests("avs/looped", options);
        let ran = ks(&["play", &file, "-o", &driver, "--verifier", "--fail-on-leak"]).done();
        let played = format!("played {} bytes in their order, ", 4 * blocks);
        assert!(ran.stderr.contains(&played) && ran.stderr.contains(" and 0 others behind"), "{ran}");
        assert!(ran.stdout.contains("completed") && ran.stdout.contains("looped streaming"), "{ran}");
    }
}

#[test]
fn ks_records_what_a_driver_captures_byte_for_byte() {
    let scratch = Scratch::new();
    let file = scratch.path("a.wav");
    for options in [&["-DTOPOLOGY", "-DNOTIFY"][..], &["-DTOPOLOGY"]] {
        let driver = of_tests("avs/looped", options);
        let ran = ks(&["record", &driver, "-o", &file, "--seconds", "0.4", "--verifier", "--fail-on-leak"]).done();
        let bytes = std::fs::read(&file).unwrap();
        let data = bytes.windows(4).position(|four| four == b"data").unwrap() + 8;
        assert_eq!(bytes.len() - data, 76_800, "0.4 s\n{ran}");
        assert!(bytes[data..].iter().enumerate().all(|(at, byte)| *byte == at as u8), "{ran}");
    }
}

/// Two fifths of a second of the driver's format, in whole pages.
const CYCLE_BYTES: u32 = 19 * 4096;

/// A graph with a looped pin of a driver at one end, of which the client is late once: it comes back when the device has gone
/// round twice. `text` has `{}` in the place of the driver's filter. Answers how it went, and what the driver kept.
fn late_once(options: &[&str], text: &str) -> (Report, Vec<u8>) {
    let rig = Rig::new();
    let driver = rig.start(&of_tests("avs/looped", options));
    let devices = ks_filters::descriptors().into_iter().filter(|one| one.reference.starts_with("wav-"));
    let _built_in: Vec<_> = devices
        .map(|one| {
            let name = one.reference;
            ks_stream::Device::start(&rig.io, name, vec![std::sync::Arc::new(one) as _]).unwrap()
        })
        .collect();
    let filter = driver.open();
    let moved = || filter.object().property::<u32>(CHECKS, 0).expect("bytes that were moved");
    let graph = grammar::parse(&text.replace("{}", &format!("'{}'", driver.link().replace('\\', r"\\")))).unwrap();
    let options = Options { cycle: Some(Ticks::from_millis(400)), ..Options::default() };
    let runner = GraphRunner::build(&rig.client, &graph, options).unwrap_or_else(|error| panic!("{error}"));
    let mut late = false;
    let report = runner.run(&mut |_: &Progress| {
        if !late && moved() > 0 {
            late = true;
            let begun = moved();
            while moved() - begun < 2 * CYCLE_BYTES {
                std::thread::yield_now();
            }
        }
    });
    drop(runner);
    let mut kept = vec![0; 1 << 20];
    let request = KsIdentifier { set: CHECKS, id: 1, flags: KSPROPERTY_TYPE_GET };
    let outcome = filter.object().control(IoControlCode::KS_PROPERTY, request.as_bytes(), &mut kept);
    assert!(outcome.status.is_success(), "{}", outcome.status);
    kept.truncate(outcome.information);
    drop(filter);
    driver.stop_in_order();
    assert_eq!((report.status, &report.error), (RunStatus::Completed, &None));
    (report, kept)
}

/// The blocks of a stream of which no two rounds of a buffer are alike: they are their numbers.
fn numbers(stream: &[u8]) -> impl Iterator<Item = u32> {
    stream.chunks_exact(4).map(|block| u32::from_le_bytes([block[0], block[1], block[2], block[3]]))
}

#[test]
fn an_underrun_of_a_drivers_buffer_is_heard_counted_and_loses_no_sound() {
    let scratch = Scratch::new();
    let (file, blocks) = (scratch.path("a.wav"), 96_000);
    let mut sound = counted(blocks);
    let head = sound.len() - 4 * blocks as usize;
    // No block is silence.
    sound.splice(head.., (1..=blocks).flat_map(u32::to_le_bytes));
    std::fs::write(&file, &sound).unwrap();
    let options = ["-DTOPOLOGY", "-DRENDER", "-DKEEP", "-DNOTIFY"];
    let (report, played) = late_once(&options, &format!("wav-reader path={file} ! {{}}"));
    let looped = report.connections[0].looped.unwrap();
    assert!(looped.gaps >= 1 && looped.gap_bytes > u64::from(CYCLE_BYTES), "{looped:?}");
    let (mut heard, mut others) = (0, 0);
    for number in numbers(&played) {
        match number {
            // What stood in the buffer is played again, or silence; the sound goes on behind it.
            _ if number == heard + 1 => heard = number,
            _ if heard < blocks => others += 4,
            _ => break,
        }
    }
    assert_eq!(heard, blocks, "all of it was heard, in order");
    assert_eq!(others, looped.gap_bytes, "and what else was heard was counted");
}

#[test]
fn an_overrun_of_a_drivers_buffer_is_told_of_with_what_was_lost() {
    let scratch = Scratch::new();
    let file = scratch.path("a.wav");
    let options = ["-DTOPOLOGY", "-DKEEP", "-DNOTIFY"];
    let (report, _) = late_once(&options, &format!("{{}} seconds=0.5 ! wav-writer path={file}"));
    let looped = report.connections[0].looped.unwrap();
    assert!(looped.gaps >= 1 && looped.gap_bytes > u64::from(CYCLE_BYTES), "{looped:?}");
    let bytes = std::fs::read(&file).unwrap();
    let recorded = &bytes[bytes.windows(4).position(|four| four == b"data").unwrap() + 8..];
    assert_eq!(recorded.len(), 24_000 * 4, "half a second of what was taken");
    let (mut next, mut gaps, mut lost) = (0, 0, 0);
    for number in numbers(recorded) {
        assert!(number >= next, "{number} comes again where {next} is next, with {looped:?}");
        gaps += u64::from(number > next);
        lost += 4 * u64::from(number - next);
        next = number + 1;
    }
    assert_eq!((gaps, lost), (looped.gaps, looped.gap_bytes));
}

#[test]
fn two_looped_pins_of_drivers_are_refused_by_both_names() {
    let (from, to) = (of_tests("avs/looped", &["-DTOPOLOGY"]), of_tests("avs/looped", &["-DTOPOLOGY", "-DRENDER"]));
    ks(&["run", &format!("{from} ! {to}")]).refused(1, &["a buffer of its own", "are looped", "audio-converter"]);
}

/// The script over a wave filter of a driver, and over the topology filter behind its bridge pin.
fn an_audio_host_captures_each_input(options: &[&str], wait_for_a_buffer: impl Fn(&Looped<'_>)) {
    let rig = Rig::new();
    let hosted = rig.start(&of_tests("avs/looped", options));
    let host = Client { _system: None, session: rig.io.session() };
    captures_each_input(&host, wait_for_a_buffer);
    hosted.stop_in_order();
}

const WISHED: u32 = 2 * 480 * 4;

fn captures_each_input(host: &Client, wait_for_a_buffer: impl Fn(&Looped<'_>)) {
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
}

/// Both publish the link of their topology filter under the name of their device, and it leads to their own.
#[test]
fn two_devices_of_one_driver_file_lead_each_to_its_own_topology_filter() {
    let rig = Rig::new();
    let driver = of_tests("avs/looped", &["-DTOPOLOGY", "-DNOTIFY"]);
    let hosted = [rig.start(&driver), rig.start(&driver)];
    let host = Client { _system: None, session: rig.io.session() };
    let devices = host.audio_devices(Path::Looped);
    let (links, endpoints): (Vec<_>, Vec<_>) = devices
        .iter()
        .map(|(interface, pin)| ((interface.device.as_str(), &pin.mux.as_ref().unwrap().filter), &pin.endpoint))
        .unzip();
    assert_eq!(endpoints, ["Front microphone", "Rear line", "Front microphone", "Rear line"]);
    for (device, link) in &links {
        assert!(link.contains(&format!("#{device}#")), "{device}: {link}");
    }
    assert_ne!(links[0], links[2], "two devices");
    // The line of one, and the microphone of the other: the multiplexers are two.
    host.select(devices[1].1.mux.as_ref().unwrap());
    host.select(devices[2].1.mux.as_ref().unwrap());
    for ((interface, pin), heard_as) in [(&devices[1], !0_u8), (&devices[2], 0)] {
        let filter = host.session.open(&interface.symbolic_link, READ_WRITE).unwrap();
        let looped = host.open_looped(filter, pin, WISHED);
        looped.run();
        (0..3).for_each(|_| looped.wait_for_packet());
        host.set_state(looped.pin, KsState::PAUSE);
        let heard = looped.memory.read(looped.address, looped.bytes as usize);
        assert!(heard.iter().enumerate().all(|(at, byte)| *byte == at as u8 ^ heard_as), "{}", interface.device);
        looped.stop();
        looped.close();
    }
    assert_eq!(host.session.open_handles(), 0);
    hosted.into_iter().for_each(Hosted::stop_in_order);
}

/// The script over a wave filter that renders, whose sound goes on through a topology filter to a speaker.
fn an_audio_host_plays_through_a_topology_filter(options: &[&str]) {
    let rig = Rig::new();
    let hosted = rig.start(&of_tests("avs/looped", options));
    let host = Client { _system: None, session: rig.io.session() };
    let devices = host.audio_devices(Path::Looped);
    let [(interface, pin)] = &devices[..] else { panic!("one device: {devices:?}") };
    let found = (pin.endpoint.as_str(), pin.category, pin.flow, pin.rate, &pin.mux);
    assert_eq!(found, ("Desk speaker", KSNODETYPE_SPEAKER, KsPinDataFlow::IN, 48000, &None));
    let filter = host.session.open(&interface.symbolic_link, READ_WRITE).unwrap();
    let wire = host.sized(filter, &of_pin(KSPROPERTY_PIN_PHYSICALCONNECTION, 1)).unwrap();
    let link: Vec<u16> = wire[8..].chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    let link = String::from_utf16(&link).unwrap().trim_end_matches('\0').replacen(r"\??\", r"\\?\", 1);
    let mute = |on: u32| {
        let topology = host.session.open(&link, READ_WRITE).unwrap();
        let flags = KSPROPERTY_TYPE_SET | KSPROPERTY_TYPE_TOPOLOGY;
        let property = KsProperty::new(KSPROPSETID_Audio, KSPROPERTY_AUDIO_MUTE, flags);
        let node = KspNode { property, node_id: 0, reserved: 0 };
        let code = IoControlCode::KS_PROPERTY;
        let outcome = host.session.device_io_control(topology, code, node.as_bytes(), &mut on.to_le_bytes());
        assert!(outcome.status.is_success(), "{}", outcome.status);
        // The node behind a handle of its own tells the same.
        let parameters = KsNodeCreate { create_flags: 0, node: 0 };
        let below =
            |node: KsNodeCreate| host.session.create(topology, KSSTRING_TOPOLOGY_NODE, node.as_bytes(), READ_WRITE);
        let object = below(parameters).unwrap();
        let flags = KSPROPERTY_TYPE_GET | KSPROPERTY_TYPE_TOPOLOGY;
        let get = KspNode { property: KsProperty { flags, ..property }, ..node };
        assert_eq!(host.fixed::<u32>(object, get.as_bytes()), Ok(on));
        assert_eq!(below(KsNodeCreate { node: 1, ..parameters }).unwrap_err().status, STATUS_INVALID_PARAMETER);
        for handle in [object, topology] {
            assert!(host.session.close(handle).status.is_success());
        }
    };
    let looped = host.open_looped(filter, pin, WISHED);
    let silent = || {
        let request = KsIdentifier { set: CHECKS, id: 0, flags: KSPROPERTY_TYPE_GET };
        let (outcome, _) = host.ask(looped.pin, request.as_bytes(), 200);
        assert!(outcome.status.is_success(), "{}", outcome.status);
        outcome.information > 0
    };
    // A buffer goes round while the topology filter mutes, and none of it is heard.
    mute(1);
    looped.memory.write(looped.address, &vec![3; looped.bytes as usize]);
    looped.run();
    go_round(&looped);
    assert!(silent(), "what is muted is not heard");
    mute(0);
    go_round(&looped);
    assert!(!silent(), "the speaker hears what the wave filter plays");
    looped.stop();
    looped.close();
    assert_eq!(host.session.open_handles(), 0);
    hosted.stop_in_order();
}

/// Until the whole buffer was played once more.
fn go_round(looped: &Looped<'_>) {
    if looped.notified.is_some() {
        // Two halves and one that may have been set before.
        return (0..3).for_each(|_| looped.wait_for_packet());
    }
    let (mut rounds, mut last) = (0, 0);
    while rounds < 2 {
        let now = looped.position().play_offset;
        rounds += u32::from(now < last);
        last = now;
        std::thread::yield_now();
    }
}

#[test]
fn an_audio_host_plays_by_notifications_through_the_topology_filter_of_a_driver() {
    an_audio_host_plays_through_a_topology_filter(&["-DTOPOLOGY", "-DRENDER", "-DNOTIFY"]);
}

#[test]
fn a_polled_audio_host_plays_through_the_topology_filter_of_a_driver() {
    an_audio_host_plays_through_a_topology_filter(&["-DTOPOLOGY", "-DRENDER"]);
}

#[test]
fn an_audio_host_captures_by_notifications_from_a_driver_with_a_topology_filter() {
    an_audio_host_captures_each_input(&["-DTOPOLOGY", "-DNOTIFY"], go_round);
}

#[test]
fn a_polled_audio_host_captures_from_a_driver_with_a_topology_filter() {
    an_audio_host_captures_each_input(&["-DTOPOLOGY"], |looped| {
        assert!(looped.notified.is_none());
        go_round(looped);
    });
}
