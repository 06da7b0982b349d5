//! The audio host with our looped speaker and microphone.

use crate::audio_host::Path;
use crate::client::*;
use crate::looped_host::*;
use ks_abi::*;
use ks_io::{Ticks, Transport};
use zerocopy::IntoBytes;

/// Samples that count, stereo, so that one that is missing, twice or at the wrong place is seen.
pub(crate) fn counting(first: u32, blocks: usize) -> Vec<u8> {
    (first..)
        .take(blocks)
        .flat_map(|block| (block as u16).to_le_bytes().into_iter().chain((!block as u16).to_le_bytes()))
        .collect()
}

/// The samples of a WAV file, which has only the two chunks that it must have.
pub(crate) fn wav_samples(path: &std::path::Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    let at = bytes.windows(4).position(|four| four == b"data").unwrap();
    assert_eq!(word(&bytes, at + 4) as usize, bytes.len() - at - 8);
    bytes[at + 8..].to_vec()
}

/// Each sample was played once and in order.
#[track_caller]
pub(crate) fn same(played: &[u8], written: &[u8]) {
    let differs = played.chunks(4).zip(written.chunks(4)).position(|(one, other)| one != other);
    assert_eq!((differs, played.len()), (None, written.len()), "the first block that differs, and the bytes");
}

pub(crate) fn scratch_file(name: &str) -> std::path::PathBuf {
    let directory = std::env::temp_dir().join(format!("userks-looped-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    directory.join(name)
}

/// How often the left channel changes its sign.
fn sign_changes(samples: &[u8]) -> usize {
    let left: Vec<i16> = samples.chunks_exact(4).map(|block| i16::from_le_bytes([block[0], block[1]])).collect();
    left.windows(2).filter(|pair| (pair[0] < 0) != (pair[1] < 0)).count()
}

#[test]
fn a_host_finds_looped_devices_and_one_for_each_input_of_a_multiplexer() {
    let client = client();
    let devices = client.audio_devices(Path::Looped);
    let found: Vec<_> = devices
        .iter()
        .map(|(interface, pin)| {
            let mux = pin.mux.as_ref().map(|mux| (mux.node, mux.pin));
            (interface.reference.as_str(), pin.endpoint.as_str(), pin.category, pin.flow, mux)
        })
        .collect();
    let (heard, played) = (KsPinDataFlow::OUT, KsPinDataFlow::IN);
    assert_eq!(
        found,
        [
            ("looped-speaker", "Looped speaker", KSNODETYPE_SPEAKER, played, None),
            ("looped-microphone", "Looped microphone", KSNODETYPE_MICROPHONE, heard, Some((0, 1))),
            ("looped-microphone", "Looped line", KSNODETYPE_LINE_CONNECTOR, heard, Some((0, 2))),
        ]
    );
    let link = &devices[1].1.mux.as_ref().unwrap().filter;
    let topology = client.session.interfaces(Some(KSCATEGORY_TOPOLOGY));
    assert_eq!(topology.iter().filter(|one| one.symbolic_link == *link).count(), 1, "{link}");
    assert_eq!(client.session.open_handles(), 0);
}

#[test]
fn a_host_plays_into_a_looped_speaker_by_notifications() {
    let client = client();
    let path = scratch_file("notified.wav");
    let (interface, pin) = client.device("looped-speaker", "Looped speaker");
    assert_eq!(pin.rate, 44100);
    let filter = client.session.open(&interface.symbolic_link, READ_WRITE).unwrap();
    client.set(filter, 1, path.to_str().unwrap());
    let looped = client.open_looped(filter, &pin, 2 * 441 * 4);
    assert_eq!(looped.bytes, 3528, "two packets of ten milliseconds");
    for half in 0..2 {
        looped.memory.write(looped.half(half).0, &counting(441 * half, 441));
    }
    let begun = client.session.services().now();
    looped.run();
    for packet in 2..102 {
        looped.wait_for_packet();
        // The half that was played is free, and the position is at the beginning of the other.
        let (free, bytes) = looped.half(packet);
        assert_eq!(looped.position().play_offset, u64::from(packet + 1) % 2 * bytes as u64);
        looped.memory.write(free, &counting(441 * packet, 441));
    }
    let elapsed = client.session.services().now().since(begun);
    assert_eq!(elapsed, Ticks::SECOND, "a hundred packets");
    looped.stop();
    assert_eq!(looped.position().play_offset, 0, "a stop resets it");
    looped.close();
    same(&wav_samples(&path), &counting(0, 44100));
    assert_eq!(client.session.open_handles(), 0);
}

#[test]
fn a_host_captures_from_each_input_of_a_multiplexer() {
    let client = client();
    let mut changes = Vec::new();
    for endpoint in ["Looped microphone", "Looped line"] {
        let (interface, pin) = client.device("looped-microphone", endpoint);
        client.select(pin.mux.as_ref().unwrap());
        let filter = client.session.open(&interface.symbolic_link, READ_WRITE).unwrap();
        let looped = client.open_looped(filter, &pin, 2 * 441 * 4);
        looped.run();
        let mut heard = Vec::new();
        for packet in 0..100 {
            looped.wait_for_packet();
            let (whole, bytes) = looped.half(packet);
            heard.extend(looped.memory.read(whole, bytes));
        }
        looped.stop();
        looped.close();
        assert_eq!(heard.len(), 44100 * 4);
        changes.push(sign_changes(&heard));
    }
    // A tone of 997 Hz changes its sign 1994 times a second, and white noise at every other sample.
    assert!((1992..=1995).contains(&changes[0]), "{changes:?}");
    assert!((21_000..23_100).contains(&changes[1]), "{changes:?}");
}

#[test]
fn a_polled_host_reads_a_position_that_begins_at_zero() {
    let client = client();
    let path = scratch_file("polled.wav");
    let (interface, pin) = client.device("looped-speaker", "Looped speaker");
    let filter = client.session.open(&interface.symbolic_link, READ_WRITE).unwrap();
    client.set(filter, 1, path.to_str().unwrap());
    client.set(filter, 2, "false");
    let looped = client.open_looped(filter, &pin, 8820);
    assert!(looped.notified.is_none());
    let bytes = looped.bytes as usize;
    looped.memory.write(looped.address, &counting(0, bytes / 4));
    looped.run();
    // Every five milliseconds it writes what was played since it looked last.
    let (mut written, mut free) = (bytes, 0_usize);
    while written < 44100 * 4 {
        client.wait(Ticks::from_millis(5));
        let position = looped.position();
        let played = (position.play_offset as usize + bytes - free) % bytes;
        let ahead = (position.write_offset + bytes as u64 - position.play_offset) % bytes as u64;
        assert_eq!(ahead, 45 * 4, "the device has taken a millisecond that must not be written");
        for block in 0..played / 4 {
            let sample = counting((written / 4) as u32, 1);
            looped.memory.write(looped.address + ((free + 4 * block) % bytes) as u64, &sample);
            written += 4;
        }
        free = (free + played) % bytes;
    }
    looped.stop();
    looped.close();
    let played = wav_samples(&path);
    same(&played, &counting(0, played.len() / 4));
    assert!(played.len() >= 44100 * 4 - bytes, "{}", played.len());
}

#[test]
fn a_device_without_notification_and_with_odd_sizes_drives_the_host_through_its_fallbacks() {
    let client = client();
    let (interface, pin) = client.device("looped-speaker", "Looped speaker");
    // Which attempt succeeds, and the size of the buffer: 128 and a block of four bytes have the multiple 128.
    let cases = [
        ("true", "rounded", true, 3528),
        ("false", "rounded", false, 3528),
        ("true", "strict", true, 3584),
        ("false", "strict", false, 3584),
    ];
    for (notifications, sizes, notified, bytes) in cases {
        let filter = client.session.open(&interface.symbolic_link, READ_WRITE).unwrap();
        client.set(filter, 2, notifications);
        client.set(filter, 3, sizes);
        let looped = client.open_looped(filter, &pin, 3527);
        assert_eq!((looped.notified.is_some(), looped.bytes), (notified, bytes), "{notifications} {sizes}");
        let query = rt_audio(KSPROPERTY_RTAUDIO_QUERY_NOTIFICATION_SUPPORT, KSPROPERTY_TYPE_GET);
        assert_eq!(client.fixed::<u32>(looped.pin, query.as_bytes()), Ok(u32::from(notified)));
        looped.close();
    }
    assert_eq!(client.session.open_handles(), 0);
}

#[test]
fn registers_are_mapped_once_and_follow_the_device() {
    let client = client();
    let (interface, pin) = client.device("looped-speaker", "Looped speaker");
    let filter = client.session.open(&interface.symbolic_link, READ_WRITE).unwrap();
    let looped = client.open_looped(filter, &pin, 8820);
    let map = |id| {
        let request = register_request(id, KSPROPERTY_TYPE_GET, 0);
        let register: KsRtAudioHwRegister = client.fixed(looped.pin, &request).unwrap();
        assert_eq!(register.width, 64);
        assert_eq!(client.status(looped.pin, &request, 40), STATUS_INVALID_DEVICE_STATE, "once in the life of a pin");
        register
    };
    let position = map(KSPROPERTY_RTAUDIO_POSITIONREGISTER);
    assert_eq!((looped.memory.number(position.register.0), position.accuracy), (0, 45 * 4));
    let clock = map(KSPROPERTY_RTAUDIO_CLOCKREGISTER);
    assert_eq!((clock.numerator, clock.denominator, clock.accuracy), (10_000_000, 1, 10_000));
    // A clock runs whatever the stream does.
    client.wait(Ticks::from_micros(7500));
    let before = looped.memory.number(clock.register.0);
    client.wait(Ticks::from_millis(20));
    assert_eq!(looped.memory.number(clock.register.0) - before, 200_000);
    looped.run();
    for _ in 0..100 {
        client.wait(Ticks::from_millis(3));
        assert_eq!(looped.memory.number(position.register.0), looped.position().play_offset);
    }
    client.set_state(looped.pin, KsState::PAUSE);
    let far = looped.position().play_offset;
    assert!(far > 0);
    client.wait(Ticks::from_millis(20));
    assert_eq!(looped.memory.number(position.register.0), far, "it stands still in a pause");
    client.set_state(looped.pin, KsState::RUN);
    client.wait(Ticks::from_millis(10));
    let moved = (looped.memory.number(position.register.0) + 8820 - far) % 8820;
    assert!((395 * 4..=442 * 4).contains(&moved), "{moved}: and goes on from there");
    looped.stop();
    assert_eq!(looped.memory.number(position.register.0), 0);
    let registers = [position.register.0, clock.register.0];
    let memory = Memory::new();
    looped.close();
    assert!(registers.iter().all(|address| !memory.is_mapped(*address)), "they go with the pin");
}

#[test]
fn functions_registers_and_odd_requests_are_refused() {
    let client = client();
    let (interface, pin) = client.device("looped-speaker", "Looped speaker");
    let filter = client.session.open(&interface.symbolic_link, READ_WRITE).unwrap();
    client.set(filter, 4, "false");
    let stream =
        client.create_pin(filter, (0, KSINTERFACE_STANDARD_LOOPED_STREAMING), &pin.format(), READ_WRITE).unwrap();
    let get = |id| rt_audio(id, KSPROPERTY_TYPE_GET).as_bytes().to_vec();
    let event = |id, handle| register_request(id, KSPROPERTY_TYPE_SET, handle);
    let (with, without) = (KSPROPERTY_RTAUDIO_BUFFER_WITH_NOTIFICATION, KSPROPERTY_RTAUDIO_BUFFER);
    let (register, unregister) =
        (KSPROPERTY_RTAUDIO_REGISTER_NOTIFICATION_EVENT, KSPROPERTY_RTAUDIO_UNREGISTER_NOTIFICATION_EVENT);
    let (handle, _event) = client.session.create_event().unwrap();
    let refused = [
        ("no routine for user mode", get(KSPROPERTY_RTAUDIO_GETPOSITIONFUNCTION), STATUS_INVALID_DEVICE_REQUEST),
        ("this device has none", register_request(KSPROPERTY_RTAUDIO_POSITIONREGISTER, 1, 0), STATUS_NOT_SUPPORTED),
        ("nor a clock", register_request(KSPROPERTY_RTAUDIO_CLOCKREGISTER, 1, 0), STATUS_NOT_SUPPORTED),
        ("no buffer yet", event(register, handle.0), STATUS_DEVICE_NOT_READY),
        ("no packets yet", register_request(KSPROPERTY_RTAUDIO_PACKETVREGISTER, 1, 0), STATUS_NOT_SUPPORTED),
        ("no packets yet", get(KSPROPERTY_RTAUDIO_PACKETCOUNT), STATUS_NOT_SUPPORTED),
        ("it captures nothing", get(KSPROPERTY_RTAUDIO_GETREADPACKET), STATUS_NOT_FOUND),
        ("no size", buffer_request(with, 0, 0, 2), STATUS_UNSUCCESSFUL),
        ("a place of the client's choice", buffer_request(without, 0x1000, 4096, 0), STATUS_UNSUCCESSFUL),
        ("three notifications", buffer_request(with, 0, 4096, 3), STATUS_UNSUCCESSFUL),
        ("none", buffer_request(with, 0, 4096, 0), STATUS_UNSUCCESSFUL),
        ("too much", buffer_request(with, 0, u32::MAX, 2), STATUS_INSUFFICIENT_RESOURCES),
        ("too much", buffer_request(without, 0, (16 << 20) + 1, 0), STATUS_INSUFFICIENT_RESOURCES),
        ("cut off", buffer_request(with, 0, 4096, 2)[..39].to_vec(), STATUS_INVALID_BUFFER_SIZE),
        ("by SET", register_request(without, KSPROPERTY_TYPE_SET, 0), STATUS_NOT_FOUND),
    ];
    for (why, request, status) in refused {
        assert_eq!(client.status(stream, &request, 40), status, "{why}");
    }
    assert_eq!(client.status(stream, &buffer_request(with, 0, 4096, 2), 15), STATUS_BUFFER_TOO_SMALL);
    let buffer: KsRtAudioBuffer = client.fixed(stream, &buffer_request(with, 0, 4096, 1)).unwrap();
    assert_eq!((buffer.actual_buffer_size, buffer.call_memory_barrier), (4096, 0));
    let again = [
        ("a second buffer", buffer_request(without, 0, 4096, 0), STATUS_INVALID_DEVICE_STATE),
        ("no event", event(register, 0xDEAD), STATUS_INVALID_HANDLE),
        ("a pin is no event", event(register, stream.0), STATUS_INVALID_HANDLE),
        ("an event", event(register, handle.0), STATUS_SUCCESS),
        ("twice", event(register, handle.0), STATUS_INVALID_PARAMETER),
        ("not registered", event(unregister, 0xDEAD), STATUS_NOT_FOUND),
        ("registered", event(unregister, handle.0), STATUS_SUCCESS),
        ("not any more", event(unregister, handle.0), STATUS_NOT_FOUND),
    ];
    for (why, request, status) in again {
        assert_eq!(client.status(stream, &request, 40), status, "{why}");
    }
    for _ in 0..16 {
        let (handle, _event) = client.session.create_event().unwrap();
        assert_eq!(client.status(stream, &event(register, handle.0), 0), STATUS_SUCCESS);
    }
    assert_eq!(client.status(stream, &event(register, handle.0), 0), STATUS_INSUFFICIENT_RESOURCES, "16 are the most");
    // Another client of the engine can neither see nor name the buffer; a client that may, keeps it as long as it likes.
    let other = client._system.as_ref().unwrap().session();
    assert!(other.frame_at(buffer.buffer_address.0, 4096).is_none());
    let kept = client.session.frame_at(buffer.buffer_address.0, 4096).unwrap();
    assert!(kept.read().is_none(), "no slice of memory that a device writes");
    assert!(client.session.close(stream).status.is_success());
    assert!(kept.copy_in(0, b"still mine") && Memory::new().is_mapped(buffer.buffer_address.0));
    let place = buffer.buffer_address.0;
    drop(kept);
    assert!(client.session.frame_at(place, 1).is_none() && !Memory::new().is_mapped(place));
}

#[test]
fn a_looped_request_is_played_round_and_round_until_stop() {
    let client = client();
    let path = scratch_file("requested.wav");
    let (interface, pin) = client.device("looped-speaker", "Looped speaker");
    let filter = client.session.open(&interface.symbolic_link, READ_WRITE).unwrap();
    client.set(filter, 1, path.to_str().unwrap());
    let stream =
        client.create_pin(filter, (0, KSINTERFACE_STANDARD_LOOPED_STREAMING), &pin.format(), READ_WRITE).unwrap();
    let frame = client.session.allocate(441 * 4, 64).unwrap();
    assert!(frame.copy_in(0, &counting(0, 441)));
    for state in [KsState::ACQUIRE, KsState::PAUSE] {
        client.set_state(stream, state);
    }
    let request = client.submit(stream, WRITE_STREAM, &frame, 441 * 4, 56, 0);
    client.set_state(stream, KsState::RUN);
    client.wait(Ticks::from_millis(25));
    let position: KsAudioPosition =
        client.fixed(stream, &property(KSPROPSETID_Audio, KSPROPERTY_AUDIO_POSITION)).unwrap();
    assert!(!request.is_done(), "it comes back when the pin stops");
    assert!((176 * 4..=221 * 4).contains(&position.play_offset), "{position:?}: two rounds and a half");
    client.wait(Ticks::from_millis(5));
    client.set_state(stream, KsState::PAUSE);
    assert!(!request.is_done());
    client.set_state(stream, KsState::STOP);
    assert_eq!(used(&request.wait()), 441 * 4);
    let heard = wav_samples(&path);
    same(&heard, &counting(0, 441).repeat(3));
    assert!(client.session.close(stream).status.is_success());
    assert!(client.session.close(filter).status.is_success());
}
