//! Where a stream ends: limits, the end of the stream, stopped sinks and failures.

use crate::rig::{BOTH_WAYS, Requests, Rig, SEEDS, Setup, UP, bring, fill, frames, put, take, wait};
use ks_abi::{
    KSEVENT_CONNECTION_ENDOFSTREAM, KSEVENTSETID_Connection, KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM, KsState,
    STATUS_DISK_FULL, STATUS_PENDING, STATUS_UNSUCCESSFUL, USERKS_EVENT_PIN_FAILED, USERKS_EVENTSET_PIN,
};
use ks_io::{Aspect, Refusal, Ticks};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

/// Runs a pair to its end with a limit at one pin, and says what the sink saw; the end is told exactly once.
fn limited(seed: u64, requests: Requests, at_sink: bool, frames: u64, time_100ns: i64) -> Vec<u32> {
    let rig = Rig::with(Setup { seed, requests, ..Setup::default() });
    let pair = rig.pair();
    let end = pair.sink.enable_event(KSEVENTSETID_Connection, KSEVENT_CONNECTION_ENDOFSTREAM).unwrap();
    let pin = if at_sink { &pair.sink } else { &pair.source };
    pin.set_limit(frames, time_100ns).unwrap();
    let mut seen = Vec::new();
    for round in 0..2 {
        rig.sink.seen.lock().clear();
        end.event().clear();
        pair.bring(&UP);
        rig.settle();
        assert!(end.event().is_set(), "round {round}");
        end.event().clear();
        let calls = (rig.source.calls(), rig.sink.calls());
        rig.settle();
        assert_eq!((rig.source.calls(), rig.sink.calls()), calls, "nothing runs after the end");
        assert!(!end.event().is_set(), "the end is told once");
        seen = rig.sink.seen_now();
        assert_eq!(pair.sink.statistics().unwrap().frames, seen.len() as u64);
        assert_eq!(pair.sink.statistics().unwrap().ended, 1);
        if !at_sink {
            assert_eq!(pair.source.statistics().unwrap().frames, seen.len() as u64);
        }
        pair.bring(&[KsState::STOP]);
    }
    pair.sink.disable_event(end).unwrap();
    drop(pair);
    rig.assert_quiescent();
    seen
}

#[test]
fn a_limit_of_frames_or_time_ends_the_stream_at_either_pin() {
    for seed in SEEDS {
        for requests in BOTH_WAYS {
            for at_sink in [false, true] {
                for frames in [1, 2, 4, 5, 99] {
                    let wanted: Vec<u32> = (0..frames as u32).collect();
                    assert_eq!(limited(seed, requests, at_sink, frames, 0), wanted, "{requests:?} at sink: {at_sink}");
                }
                // Frames of 40 ms: 100 ms are reached within the third.
                assert_eq!(limited(seed, requests, at_sink, 0, 1_000_000), [0, 1, 2]);
                assert_eq!(limited(seed, requests, at_sink, 2, 1_000_000), [0, 1]);
                assert_eq!(limited(seed, requests, at_sink, 7, 1_000_000), [0, 1, 2]);
            }
        }
    }
}

#[test]
fn frames_that_carry_no_time_are_limited_by_the_time_of_their_passing() {
    let rig = Rig::new(1);
    rig.source.script(|_, pin| {
        let Some(frame) = pin.leading_edge() else { return STATUS_PENDING };
        put(&frame, 0, false);
        frame.set_options_flags(0);
        frame.eject();
        STATUS_PENDING
    });
    let (_filter, pin) = rig.alone("source");
    pin.set_limit(0, 10_000_000).unwrap();
    bring(&pin, &UP);
    let services = rig.services();
    let mut ends = Vec::new();
    for _ in 0..3 {
        let read = pin.read_stream(frames(&pin, 1)).unwrap().wait().unwrap();
        ends.push(read[0].header.options_flags & KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM != 0);
        let _ = services.delay_until(services.now() + Ticks(6_000_000));
    }
    assert_eq!(ends, [false, false, true], "the third comes 1.2 s after the first");
}

#[test]
fn reads_beyond_a_limit_wait_until_the_pin_stops() {
    let rig = Rig::new(1);
    let (_filter, pin) = rig.alone("source");
    pin.set_limit(3, 0).unwrap();
    bring(&pin, &UP);
    let requests: Vec<_> = (0..5).map(|_| pin.read_stream(frames(&pin, 1)).unwrap()).collect();
    rig.settle();
    let done: Vec<_> = requests.iter().map(ks_client::StreamRequest::is_done).collect();
    assert_eq!(done, [true, true, true, false, false]);
    let mut flags = requests.into_iter().take(3).map(|request| request.wait().unwrap()[0].header.options_flags);
    assert!(flags.by_ref().take(2).all(|flags| flags & KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM == 0));
    assert_ne!(flags.next().unwrap() & KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM, 0);
}

#[test]
fn a_stopped_sink_in_a_running_graph_parks_the_frames_and_goes_on_when_started() {
    for seed in SEEDS {
        for requests in BOTH_WAYS {
            let rig = Rig::with(Setup { seed, requests, ..Setup::default() });
            rig.source.last.store(100, SeqCst);
            let pair = rig.pair();
            pair.source.set_state(KsState::RUN).unwrap();
            rig.settle();
            // A source that heads its section has nothing to fill before its sink takes part.
            let calls = rig.source.calls();
            rig.settle();
            assert_eq!((rig.source.calls(), rig.sink.calls()), (calls, 0), "nothing spins while the sink is stopped");
            for round in 0..3 {
                rig.sink.seen.lock().clear();
                rig.source.next.store(0, SeqCst);
                pair.sink.set_state(KsState::RUN).unwrap();
                if round == 1 {
                    // Stopped again in mid-stream, without a pause.
                    pair.sink.set_state(KsState::STOP).unwrap();
                    rig.settle();
                    let calls = (rig.source.calls(), rig.sink.calls());
                    rig.settle();
                    assert_eq!((rig.source.calls(), rig.sink.calls()), calls);
                    pair.source.set_state(KsState::STOP).unwrap();
                    pair.source.set_state(KsState::RUN).unwrap();
                    rig.sink.seen.lock().clear();
                    pair.sink.set_state(KsState::RUN).unwrap();
                }
                rig.settle();
                assert_eq!(rig.sink.seen_now(), (0..100).collect::<Vec<_>>(), "round {round}");
                pair.sink.set_state(KsState::STOP).unwrap();
                pair.source.set_state(KsState::STOP).unwrap();
                pair.source.set_state(KsState::RUN).unwrap();
            }
            drop(pair);
            rig.assert_quiescent();
        }
    }
}

#[test]
fn a_sink_that_waits_for_frames_holds_the_circuit_without_spinning() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        rig.sink.script(wait);
        let pair = rig.pair();
        pair.bring(&UP);
        rig.settle();
        let calls = (rig.source.calls(), rig.sink.calls());
        rig.settle();
        assert_eq!((rig.source.calls(), rig.sink.calls()), calls);
        rig.sink.script(take);
        rig.sink.pin().attempt_processing();
        rig.settle();
        assert_eq!(rig.sink.seen_now().len(), 1000);
        drop(pair);
        rig.assert_quiescent();
    }
}

#[test]
fn a_failure_reaches_the_client_ends_its_requests_and_stops_the_stream() {
    for seed in SEEDS {
        for requests in BOTH_WAYS {
            let rig = Rig::with(Setup { seed, requests, ..Setup::default() });
            let taken = AtomicU32::new(0);
            rig.sink.script(move |probe, pin| {
                if taken.fetch_add(1, SeqCst) == 3 {
                    pin.fail(Refusal::new(STATUS_DISK_FULL, Aspect::Driver, "no space left"));
                    return STATUS_PENDING;
                }
                crate::rig::take_one(probe, pin)
            });
            let pair = rig.pair();
            let failed = pair.sink.enable_event(USERKS_EVENTSET_PIN, USERKS_EVENT_PIN_FAILED).unwrap();
            pair.bring(&UP);
            rig.settle();
            assert!(failed.event().is_set());
            assert_eq!(pair.sink.failure(), Some((STATUS_DISK_FULL, "no space left".into())));
            assert_eq!(pair.sink.statistics().unwrap().failed, 1);
            let calls = (rig.source.calls(), rig.sink.calls());
            rig.settle();
            assert_eq!((rig.source.calls(), rig.sink.calls()), calls, "nothing runs after the failure");
            pair.sink.disable_event(failed).unwrap();
            drop(pair);
            rig.assert_quiescent();
        }
        let rig = Rig::new(seed);
        rig.source.script(wait);
        let (filter, pin) = rig.alone("source");
        bring(&pin, &UP);
        let request = pin.read_stream(frames(&pin, 2)).unwrap();
        rig.source.pin().fail(Refusal::new(STATUS_UNSUCCESSFUL, Aspect::Driver, "broken"));
        assert_eq!(request.wait().unwrap_err().status, STATUS_UNSUCCESSFUL);
        let refused = pin.read_stream(frames(&pin, 1)).unwrap().wait().unwrap_err();
        assert_eq!(refused.status, STATUS_UNSUCCESSFUL);
        // The next stream begins without the failure of the last.
        rig.source.script(fill);
        bring(&pin, &[KsState::STOP, KsState::RUN]);
        assert_eq!(pin.failure(), None);
        assert_eq!(pin.read_stream(frames(&pin, 1)).unwrap().wait().unwrap().len(), 1);
        drop((pin, filter));
        rig.assert_quiescent();
    }
}
