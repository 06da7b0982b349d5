//! A3, notifications that only drivers may ask for: of every kind that a client names with a number for an address, only the
//! handles of its own objects are taken.

use crate::bytes_of;
use crate::support::specimen::*;
use ks_abi::*;
use ks_io::Transport;

/// Addresses and handles that are no object of the client.
fn no_objects(heap: &[u64]) -> [u64; 5] {
    [0, 1, heap.as_ptr() as u64, 0xFFFF_8000_0000_0000, u64::MAX]
}

#[test]
fn a3_only_handles_of_the_clients_own_objects_notify() {
    let bench = bench();
    let pin = bench.pin(OUT);
    let (handle, event) = bench.session.create_event().unwrap();
    let heap = vec![0xC5C5_C5C5_C5C5_C5C5_u64; 512];
    let kinds: Vec<u32> = (0..256).chain((8..32).map(|bit| 1 << bit)).collect();
    let request = bytes_of(&KsEvent::new(KSEVENTSETID_Connection, KSEVENT_CONNECTION_ENDOFSTREAM, KSEVENT_TYPE_ENABLE));
    for kind in kinds {
        for object in no_objects(&heap).into_iter().chain([handle.0, bench.filter.0, pin.0]) {
            let data = KsEventData { notification_type: kind, object, ..Default::default() };
            let mut data = bytes_of(&data);
            let outcome = bench.control(pin, IoControlCode::KS_ENABLE_EVENT, &request, &mut data);
            let is_own = kind == KSEVENTF_EVENT_HANDLE && object == handle.0;
            assert_eq!(outcome.status.is_success(), is_own, "kind {kind:#x}, object {object:#x}: {}", outcome.status);
            // A semaphore that is raised by nothing is refused before its handle is looked at.
            let expected = match kind {
                _ if is_own => STATUS_SUCCESS,
                KSEVENTF_EVENT_HANDLE => STATUS_INVALID_HANDLE,
                _ => STATUS_INVALID_PARAMETER,
            };
            assert_eq!(outcome.status, expected, "kind {kind:#x}, object {object:#x}");
        }
    }
    for object in no_objects(&heap).into_iter().chain([bench.filter.0, pin.0]) {
        // The raise stands behind a reserved word.
        let raised = [1 << 32, 0];
        let data =
            KsEventData { notification_type: KSEVENTF_SEMAPHORE_HANDLE, object, data: raised, ..Default::default() };
        let outcome = bench.control(pin, IoControlCode::KS_ENABLE_EVENT, &request, &mut bytes_of(&data));
        assert_eq!(outcome.status, STATUS_INVALID_HANDLE, "a semaphore at {object:#x}");
    }
    bench.engine_pin(pin).generate_events(KSEVENTSETID_Connection, KSEVENT_CONNECTION_ENDOFSTREAM);
    assert!(event.is_set(), "the one that was taken is raised");
    assert!(heap.iter().all(|word| *word == 0xC5C5_C5C5_C5C5_C5C5), "no memory of the client changed");
}
