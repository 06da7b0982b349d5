//! Reset: the flush that is independent of the state.

use crate::rig::{DOWN, Pair, Rig, SEEDS, UP, bring, fill, frames, numbers, wait};
use ks_abi::{KsReset, KsState, STATUS_CANCELLED, STATUS_DEVICE_NOT_READY, STATUS_PENDING};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

#[test]
fn begin_cancels_and_refuses_and_end_opens_again() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        rig.source.script(wait);
        let (filter, pin) = rig.alone("source");
        bring(&pin, &UP);
        let queued: Vec<_> = (1..4).map(|count| pin.read_stream(frames(&pin, count)).unwrap()).collect();
        rig.take_log();
        pin.reset(KsReset::BEGIN).unwrap();
        for request in queued {
            assert_eq!(request.wait().unwrap_err().status, STATUS_CANCELLED);
        }
        let refused = pin.read_stream(frames(&pin, 1)).unwrap().wait().unwrap_err();
        assert_eq!(refused.status, STATUS_DEVICE_NOT_READY);
        pin.reset(KsReset::BEGIN).unwrap();
        pin.reset(KsReset::END).unwrap();
        assert_eq!(rig.take_log().iter().filter(|call| call.contains("reset")).count(), 2, "once a change");
        rig.source.script(fill);
        assert_eq!(numbers(&pin.read_stream(frames(&pin, 1)).unwrap().wait().unwrap()), [0]);
        drop((pin, filter));
        rig.assert_quiescent();
    }
}

#[test]
fn a_change_of_state_does_not_end_a_reset() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        let (_filter, pin) = rig.alone("source");
        pin.reset(KsReset::BEGIN).unwrap();
        bring(&pin, &UP);
        let refuse = |pin: &ks_client::Pin| pin.read_stream(frames(pin, 1)).unwrap().wait().unwrap_err().status;
        assert_eq!(refuse(&pin), STATUS_DEVICE_NOT_READY);
        bring(&pin, &DOWN);
        assert_eq!(refuse(&pin), STATUS_DEVICE_NOT_READY);
        bring(&pin, &[KsState::RUN]);
        pin.reset(KsReset::END).unwrap();
        assert_eq!(pin.read_stream(frames(&pin, 1)).unwrap().wait().unwrap().len(), 1);
    }
}

#[test]
fn a_reset_of_either_pin_parks_the_circuit_and_its_end_starts_it_with_every_frame() {
    for seed in SEEDS {
        for at_sink in [false, true] {
            let rig = Rig::new(seed);
            let pair = rig.pair();
            pair.bring(&UP);
            rig.settle();
            assert_eq!(rig.sink.seen_now().len(), 1000);
            let Pair { sink, source, .. } = &pair;
            let pin = if at_sink { sink } else { source };
            pin.reset(KsReset::BEGIN).unwrap();
            rig.settle();
            rig.source.next.store(0, std::sync::atomic::Ordering::SeqCst);
            rig.sink.seen.lock().clear();
            rig.settle();
            assert_eq!(rig.sink.seen_now().len(), 0);
            // The end of the first stream is forgotten where the reset went; the other end is told by its own.
            sink.reset(KsReset::BEGIN).unwrap();
            source.reset(KsReset::BEGIN).unwrap();
            sink.reset(KsReset::END).unwrap();
            source.reset(KsReset::END).unwrap();
            rig.settle();
            assert_eq!(rig.sink.seen_now().len(), 1000);
            drop(pair);
            rig.assert_quiescent();
        }
    }
}

/// The frames that a reset cancels under a running callback come out at its return, after the reset has ended: they
/// still go on their way.
#[test]
fn a_reset_that_ends_under_a_running_callback_loses_no_frame() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        let Pair { sink, source, filters } = rig.pair();
        let source = Arc::new(source);
        let (reset, done) = (source.clone(), AtomicBool::new(false));
        rig.source.script(move |probe, pin| {
            if !done.swap(true, SeqCst) {
                let edge = pin.leading_edge();
                let reset = reset.clone();
                let both = move || {
                    reset.reset(KsReset::BEGIN).unwrap();
                    reset.reset(KsReset::END).unwrap();
                };
                pin.services().spawn("reset", both).unwrap().join();
                drop(edge);
                return STATUS_PENDING;
            }
            fill(probe, pin)
        });
        for state in UP {
            sink.set_state(state).unwrap();
            source.set_state(state).unwrap();
        }
        rig.settle();
        assert_eq!(rig.sink.seen_now().len(), 1000);
        rig.source.script(wait);
        drop((sink, source, filters));
        rig.assert_quiescent();
    }
}
