//! Surprise removal at every point of a stream's life.

use crate::rig::{BOTH_WAYS, FRAMES, Pair, Requests, Rig, SEEDS, Setup, UP, bring, frames, try_create, wait};
use ks_abi::{
    KsPinDataFlow, KsState, STATUS_DEVICE_REMOVED, STATUS_OBJECT_NAME_NOT_FOUND, USERKS_EVENT_PIN_FAILED,
    USERKS_EVENTSET_PIN,
};
use ks_client::Client;

#[test]
fn pending_and_new_requests_end_as_removed_and_handles_close() {
    for seed in SEEDS {
        for states in 0..=UP.len() {
            let rig = Rig::new(seed);
            rig.source.script(wait);
            let (filter, pin) = rig.alone("source");
            bring(&pin, &UP[..states]);
            let requests: Vec<_> = match states {
                0 => Vec::new(),
                _ => (1..4).map(|count| pin.read_stream(frames(&pin, count)).unwrap()).collect(),
            };
            let failed = pin.enable_event(USERKS_EVENTSET_PIN, USERKS_EVENT_PIN_FAILED).unwrap();
            let list = frames(&pin, 1);
            rig.devices[0].surprise_remove();
            assert!(failed.event().is_set());
            for request in requests {
                assert!(request.is_done());
                assert_eq!(request.wait().unwrap_err().status, STATUS_DEVICE_REMOVED);
            }
            let handle = pin.object().handle();
            let code = ks_abi::IoControlCode::KS_READ_STREAM;
            let late = pin.object().transport().submit(handle, code, &[], vec![0; 56]).wait();
            assert_eq!(late.outcome.status, STATUS_DEVICE_REMOVED);
            drop(list);
            assert_eq!(pin.set_state(KsState::STOP).unwrap_err().status, STATUS_DEVICE_REMOVED);
            assert_eq!(pin.state().unwrap_err().status, STATUS_DEVICE_REMOVED);
            assert_eq!(filter.pin_count().unwrap_err().status, STATUS_DEVICE_REMOVED);
            assert_eq!(try_create(&filter, 0, KsPinDataFlow::OUT, None).unwrap_err().status, STATUS_DEVICE_REMOVED);
            let open = Client::new(rig.session.clone()).open_by_name("source").unwrap_err();
            assert_eq!(open.status, STATUS_OBJECT_NAME_NOT_FOUND, "its interfaces are gone");
            drop((failed_handle(&rig, failed, &pin), pin, filter));
            rig.assert_quiescent();
        }
    }
}

/// A removed pin cannot disable an event; its handle goes by itself.
fn failed_handle(rig: &Rig, event: ks_client::PinEvent, pin: &ks_client::Pin) {
    assert_eq!(pin.disable_event(event).unwrap_err().status, STATUS_DEVICE_REMOVED);
    let _ = rig;
}

#[test]
fn the_other_filter_of_the_graph_lives_on() {
    for seed in SEEDS {
        for requests in BOTH_WAYS {
            for states in 0..=UP.len() {
                for removed in [0, 2] {
                    let rig = Rig::with(Setup { seed, requests, ..Setup::default() });
                    let Pair { sink, source, filters } = rig.pair();
                    for &state in &UP[..states] {
                        sink.set_state(state).unwrap();
                        source.set_state(state).unwrap();
                    }
                    for _ in 0..seed {
                        rig.services().yield_now();
                    }
                    rig.devices[removed].surprise_remove();
                    rig.settle();
                    let (dead, alive) = if removed == 0 { (source, sink) } else { (sink, source) };
                    assert_eq!(dead.state().unwrap_err().status, STATUS_DEVICE_REMOVED);
                    bring(&alive, &[KsState::STOP, KsState::RUN]);
                    let calls = (rig.source.calls(), rig.sink.calls());
                    rig.settle();
                    assert_eq!((rig.source.calls(), rig.sink.calls()), calls, "nobody spins");
                    drop(dead);
                    bring(&alive, &[KsState::STOP]);
                    drop((alive, filters));
                    rig.assert_quiescent();
                    let log = rig.take_log();
                    assert_eq!(log.iter().filter(|call| call.ends_with(" close")).count(), 4, "{log:?}");
                }
            }
        }
    }
}

#[test]
fn a_removal_that_races_with_state_changes_and_requests_loses_nothing() {
    for seed in 0..40 {
        let rig = Rig::with(Setup { seed, requests: Requests::FromSource, ..Setup::default() });
        let device = rig.devices[0].clone();
        let services = rig.services().clone();
        let removes = services.spawn("removes", move || device.surprise_remove()).unwrap();
        let Ok(filter) = Client::new(rig.session.clone()).open_by_name("source") else {
            removes.join();
            continue;
        };
        if let Ok(pin) = try_create(&filter, 0, KsPinDataFlow::OUT, None) {
            let mut requests = Vec::new();
            for state in UP {
                let _ = pin.set_state(state);
                services.yield_now();
                if let (Ok(frame), Ok(_)) = (pin.allocate(64), pin.header_bytes()) {
                    requests.extend(pin.read_stream(vec![frame]));
                }
            }
            removes.join();
            for request in requests {
                assert!(request.is_done(), "no request outlives the removal");
            }
            drop(pin);
        } else {
            removes.join();
        }
        drop(filter);
        rig.assert_quiescent();
    }
}

#[test]
fn a_removal_in_the_middle_of_a_callback_waits_for_what_the_driver_has_locked() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        rig.source.script(wait);
        let (filter, client) = rig.alone("source");
        bring(&client, &UP);
        let request = client.read_stream(frames(&client, FRAMES as usize)).unwrap();
        let pin = rig.source.pin();
        let edge = pin.leading_edge().unwrap();
        rig.devices[0].surprise_remove();
        assert!(!request.is_done(), "the driver may still write into the frame");
        drop(edge);
        assert_eq!(request.wait().unwrap_err().status, STATUS_DEVICE_REMOVED);
        drop((pin, client, filter));
        rig.assert_quiescent();
    }
}
