//! Events of pins in the other engine: by semaphore, and fetched from their buffer.

use crate::rig::{camera, client, connect, engine, host, renderer};
use ks_abi::{
    IoControlCode, KSEVENT_CONNECTION_ENDOFSTREAM, KSEVENT_TYPE_ENABLE, KSEVENT_TYPE_ENABLEBUFFERED,
    KSEVENT_TYPE_QUERYBUFFER, KSEVENTF_SEMAPHORE_HANDLE, KSEVENTSETID_Connection, KsEvent, KsEventData, KsQueryBuffer,
    NtStatus, Ptr64, STATUS_INVALID_HANDLE, STATUS_INVALID_PARAMETER, STATUS_NO_MORE_ENTRIES, STATUS_NOT_FOUND,
    STATUS_SUCCESS,
};
use ks_client::Pin;
use ks_io::{Handle, Transport};
use zerocopy::IntoBytes;

fn end(verb: u32) -> KsEvent {
    KsEvent::new(KSEVENTSETID_Connection, KSEVENT_CONNECTION_ENDOFSTREAM, verb)
}

fn enable(pin: &Pin, verb: u32, data: &mut KsEventData) -> NtStatus {
    pin.object().control(IoControlCode::KS_ENABLE_EVENT, end(verb).as_bytes(), data.as_mut_bytes()).status
}

fn fetch(pin: &Pin, data: &KsEventData) -> NtStatus {
    let query = KsQueryBuffer {
        event: end(KSEVENT_TYPE_QUERYBUFFER),
        event_data: Ptr64(std::ptr::from_ref(data) as u64),
        reserved: Ptr64(0),
    };
    pin.object().control(IoControlCode::KS_ENABLE_EVENT, query.as_bytes(), &mut [0; 8]).status
}

fn by_semaphore(handle: Handle, adjustment: u64) -> Box<KsEventData> {
    Box::new(KsEventData {
        notification_type: KSEVENTF_SEMAPHORE_HANDLE,
        object: handle.0,
        data: [adjustment << 32, 0],
        ..Default::default()
    })
}

#[test]
fn a_semaphore_is_released_and_a_buffer_fetched_across_a_connection() {
    let parent = engine(vec![camera()]);
    let (_host, peer) = host(&parent, vec![renderer()]);
    let (client, session) = client(&parent);
    let (camera, renderer) =
        (client.open_by_name("test-camera").unwrap(), client.open_by_name("null-renderer").unwrap());
    camera.set_setting("live", "false").unwrap();
    let (from, to) = connect(&camera, &renderer, false);
    let (handle, semaphore) = session.create_semaphore(0, 10).unwrap();
    let mut released = by_semaphore(handle, 3);
    let sent = *released;
    assert_eq!(enable(&to, KSEVENT_TYPE_ENABLE, &mut released), STATUS_SUCCESS);
    assert_eq!(released.as_bytes(), sent.as_bytes(), "the client's memory is not written");
    let mut looked_at = Box::<KsEventData>::default();
    assert_eq!(enable(&to, KSEVENT_TYPE_ENABLEBUFFERED, &mut looked_at), STATUS_SUCCESS);
    assert_eq!(fetch(&to, &looked_at), STATUS_NO_MORE_ENTRIES);
    crate::rig::stream(&from, &to, 5);
    let (later, services) = (ks_io::Ticks::from_secs(3600), session.services());
    for _ in 0..3 {
        assert_eq!(semaphore.wait_until(services.now() + later), ks_io::WaitOutcome::Signalled);
    }
    assert_eq!(semaphore.count(), 0);
    assert_eq!(fetch(&to, &looked_at), STATUS_SUCCESS, "the end was raised without data");
    assert_eq!(fetch(&to, &looked_at), STATUS_NO_MORE_ENTRIES);
    assert_eq!(fetch(&to, &released), STATUS_INVALID_PARAMETER, "it is not buffered");
    assert_eq!(fetch(&to, &sent), STATUS_NOT_FOUND, "the same content elsewhere is another event");
    // What is wrong is refused as it is in one engine.
    assert_eq!(enable(&to, KSEVENT_TYPE_ENABLE, &mut by_semaphore(handle, 0)), STATUS_INVALID_PARAMETER);
    let event = session.create_event().unwrap().0;
    assert_eq!(enable(&to, KSEVENT_TYPE_ENABLE, &mut by_semaphore(event, 1)), STATUS_INVALID_HANDLE);
    assert_eq!(peer.death(), None);
}
