//! Looped pins of the other engine: a buffer, registers and events that cross the border.

use crate::rig::{client, engine, host, renderer};
use ks_abi::{
    IoControlCode, KSPROPERTY_RTAUDIO_BUFFER, KSPROPERTY_RTAUDIO_GETPOSITIONFUNCTION,
    KSPROPERTY_RTAUDIO_PACKETVREGISTER, KSPROPERTY_RTAUDIO_REGISTER_NOTIFICATION_EVENT,
    KSPROPERTY_RTAUDIO_UNREGISTER_NOTIFICATION_EVENT, KSPROPERTY_TYPE_GET, KSPROPERTY_TYPE_SET, KSPROPSETID_RtAudio,
    KsProperty, KsRtAudioPacketVRegister, KsState, NtStatus, STATUS_INVALID_DEVICE_STATE, STATUS_INVALID_HANDLE,
    STATUS_INVALID_PARAMETER, STATUS_NOT_FOUND, STATUS_NOT_SUPPORTED, STATUS_SUCCESS,
};
use ks_client::{LoopedBuffer, Pin};
use ks_io::{Handle, Transport};
use zerocopy::IntoBytes;

fn set(pin: &Pin, id: u32, handle: Handle) -> NtStatus {
    let property = KsProperty::new(KSPROPSETID_RtAudio, id, KSPROPERTY_TYPE_SET);
    let request = [property.as_bytes(), &handle.0.to_le_bytes()].concat();
    pin.object().control(IoControlCode::KS_PROPERTY, &request, &mut []).status
}

fn wait_for_packets(buffer: &LoopedBuffer, count: usize) {
    let event = buffer.notification().unwrap();
    for _ in 0..count {
        let _ = event.wait();
        event.clear();
    }
}

#[test]
fn a_client_plays_into_the_buffer_of_a_looped_pin_of_the_other_engine() {
    let parent = engine(vec![renderer()]);
    let (_host, _peer) = host(&parent, ks_filters::looped_speaker::descriptors());
    let (client, session) = client(&parent);
    let path = std::env::temp_dir().join(format!("userks-remote-looped-{}.wav", std::process::id()));
    let filter = client.open_by_name("looped-speaker").unwrap();
    filter.set_setting("path", path.to_str().unwrap()).unwrap();
    let pin = filter.create_client_pin(0).unwrap();
    let buffer = pin.looped_buffer(19_200, Some(2)).unwrap();
    assert!(buffer.bytes() >= 19_200 && buffer.address() % 4096 == 0);
    assert_eq!(pin.looped_buffer(19_200, None).unwrap_err().status, STATUS_INVALID_DEVICE_STATE);
    let sound: Vec<u8> = (0..buffer.bytes()).map(|at| (at % 251) as u8).collect();
    buffer.write(0, &sound);
    let register = pin.position_register().unwrap();
    assert_eq!(register.offset(), 0);
    assert!(pin.hardware_latency().unwrap().fifo_size > 0);
    pin.set_state(KsState::RUN).unwrap();
    wait_for_packets(&buffer, 3);
    pin.set_state(KsState::PAUSE).unwrap();
    let position = pin.audio_position().unwrap();
    assert_eq!(register.offset(), position.play_offset, "the driver writes the page that is mapped here");
    assert!(position.play_offset > 0);
    pin.set_state(KsState::STOP).unwrap();
    let address = buffer.address();
    assert!(session.frame_at(address, 4096).is_some());
    drop((register, buffer, pin, filter));
    assert!(session.frame_at(address, 1).is_none(), "it went with the pin");
    let file = std::fs::read(&path).unwrap();
    assert!(file.windows(sound.len()).any(|played| played == sound), "what was written here was played there");
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn events_are_registered_under_the_clients_own_handle_and_taken_back_by_it() {
    let parent = engine(vec![renderer()]);
    let (host, peer) = host(&parent, ks_filters::looped_microphone::descriptors());
    let (client, session) = client(&parent);
    let filter = client.open_by_name("looped-microphone").unwrap();
    let pin = filter.create_client_pin(0).unwrap();
    let (register, unregister) =
        (KSPROPERTY_RTAUDIO_REGISTER_NOTIFICATION_EVENT, KSPROPERTY_RTAUDIO_UNREGISTER_NOTIFICATION_EVENT);
    let buffer = pin.looped_buffer(3_840, Some(1)).unwrap();
    let (handle, event) = session.create_event().unwrap();
    let (other, unheard) = session.create_event().unwrap();
    assert_eq!(set(&pin, register, Handle(0xDEAD)), STATUS_INVALID_HANDLE);
    assert_eq!(set(&pin, unregister, handle), STATUS_NOT_FOUND, "not registered");
    assert_eq!(set(&pin, register, handle), STATUS_SUCCESS);
    assert_eq!(set(&pin, register, handle), STATUS_INVALID_PARAMETER, "twice");
    assert_eq!(set(&pin, register, other), STATUS_SUCCESS);
    assert_eq!(set(&pin, unregister, other), STATUS_SUCCESS);
    assert_eq!(set(&pin, unregister, other), STATUS_NOT_FOUND, "not any more");
    pin.set_state(KsState::RUN).unwrap();
    let _ = event.wait();
    wait_for_packets(&buffer, 2);
    pin.set_state(KsState::STOP).unwrap();
    assert!(!unheard.is_set());
    let mut heard = vec![0; buffer.bytes()];
    buffer.read(0, &mut heard);
    assert!(heard.iter().any(|byte| *byte != 0), "the tone that was captured there is here");
    // The 17th is refused: the other two were given back, or are counted.
    let more: Vec<_> = (0..14).map(|_| session.create_event().unwrap().0).collect();
    assert!(more.iter().all(|handle| set(&pin, register, *handle) == STATUS_SUCCESS));
    assert_eq!(set(&pin, register, other), ks_abi::STATUS_INSUFFICIENT_RESOURCES);
    drop((buffer, pin, filter));
    for handle in more.into_iter().chain([handle, other]) {
        assert!(session.close(handle).status.is_success());
    }
    assert_eq!((host.peer.exported_files(), peer.pending_requests(), session.open_handles()), (0, 0, 0));
}

#[test]
fn packet_registers_are_three_places_of_one_page_and_routines_stay_where_they_are() {
    let parent = engine(vec![renderer()]);
    let (_host, _peer) = host(&parent, ks_filters::looped_speaker::descriptors());
    let (client, session) = client(&parent);
    let pin = client.open_by_name("looped-speaker").unwrap().create_client_pin(0).unwrap();
    let (object, set) = (pin.object(), KSPROPSETID_RtAudio);
    let get = |id, more: &[u8]| [KsProperty::new(set, id, KSPROPERTY_TYPE_GET).as_bytes(), more].concat();
    let function = get(KSPROPERTY_RTAUDIO_GETPOSITIONFUNCTION, &[]);
    let refused = object.control(IoControlCode::KS_PROPERTY, &function, &mut [0; 8]);
    assert_eq!(refused.status, STATUS_NOT_SUPPORTED);
    let _buffer = pin.looped_buffer(3_840, Some(2)).unwrap();
    let id = KSPROPERTY_RTAUDIO_PACKETVREGISTER;
    let registers: KsRtAudioPacketVRegister = object.property_at(&get(id, &[0; 8]), set, id).unwrap();
    let first = registers.completed_packet_count.0;
    assert_eq!((registers.completed_packet_qpc.0, registers.completed_packet_hash.0), (first + 8, first + 16));
    let page = session.frame_at(first, 24).unwrap();
    pin.set_state(KsState::RUN).unwrap();
    let mut count = [0; 8];
    while u64::from_le_bytes(count) < 3 {
        assert!(page.copy_out(0, &mut count));
        std::thread::yield_now();
    }
    // A size query has no addresses.
    let id = KSPROPERTY_RTAUDIO_BUFFER;
    let outcome = object.control(IoControlCode::KS_PROPERTY, &get(id, &[0; 12]), &mut []);
    assert!(!outcome.status.is_success());
}
