//! The trailing edge: what the leading edge has passed stays until the trailing edge passes it too.

use crate::rig::{
    BOTH_WAYS, DOWN, FRAME_BYTES, Rig, SEEDS, Setup, UP, bring, filled, frames, numbers, put, take, wait,
};
use ks_abi::{KsReset, STATUS_CANCELLED, STATUS_PENDING, STATUS_UNSUCCESSFUL};
use ks_stream::{AfterAdvance, PinFlags, Step};

fn distinct(seed: u64) -> Rig {
    Rig::with(Setup { seed, source_flags: PinFlags::DISTINCT_TRAILING_EDGE, ..Setup::default() })
}

#[test]
fn frames_stay_until_the_trailing_edge_has_passed_them() {
    let rig = distinct(1);
    // At the end it is ejected once more than it was locked.
    rig.expect_broken(ks_stream::Rule::StreamPointerLock);
    rig.source.script(wait);
    let (filter, client) = rig.alone("source");
    bring(&client, &UP);
    let pin = rig.source.pin();
    let trailing = pin.trailing_edge().unwrap();
    assert!(trailing.lock().is_none(), "there is no frame");
    let first = client.read_stream(frames(&client, 2)).unwrap();
    let second = client.read_stream(frames(&client, 1)).unwrap();
    let mut edge = pin.leading_edge();
    let mut number = 0;
    while let Some(frame) = edge {
        put(&frame, number, false);
        number += 1;
        edge = frame.advance();
    }
    drop(edge);
    assert!(pin.leading_edge().is_none(), "the leading edge has passed everything");
    assert!(!first.is_done() && !second.is_done());
    let oldest = trailing.lock().unwrap();
    assert_eq!(crate::rig::number(&oldest), Some(0));
    assert!(trailing.request().is_some_and(|request| request.first && !request.last));
    assert_eq!(trailing.advance(), Step::OnFrame);
    assert_eq!(crate::rig::number(&trailing.frame().unwrap()), Some(1));
    assert!(!first.is_done(), "its second frame is there");
    assert_eq!(trailing.advance(), Step::OnFrame);
    assert!(first.is_done() && !second.is_done());
    trailing.set_status_code(STATUS_UNSUCCESSFUL);
    assert!(trailing.eject());
    assert!(trailing.frame().is_none() && !trailing.eject());
    assert_eq!(numbers(&first.wait().unwrap()), [0, 1]);
    assert_eq!(second.wait().unwrap_err().status, STATUS_UNSUCCESSFUL);
    assert_eq!(trailing.advance(), Step::AtEnd);
    drop((oldest, trailing, pin, client, filter));
    rig.assert_quiescent();
}

#[test]
fn what_the_trailing_edge_passed_first_leaves_with_the_leading_edge() {
    let rig = distinct(1);
    rig.source.script(wait);
    let (_filter, client) = rig.alone("source");
    bring(&client, &UP);
    let request = client.read_stream(frames(&client, 1)).unwrap();
    let pin = rig.source.pin();
    let trailing = pin.trailing_edge().unwrap();
    assert_eq!(trailing.advance(), Step::AtEnd);
    assert!(!request.is_done());
    pin.leading_edge().unwrap().eject();
    assert!(request.is_done());
}

#[test]
fn frames_between_the_edges_can_be_cancelled_unless_the_trailing_edge_has_them_locked() {
    for seed in SEEDS {
        let rig = distinct(seed);
        rig.source.script(wait);
        let (filter, client) = rig.alone("source");
        bring(&client, &UP);
        let requests: Vec<_> = (0..3).map(|_| client.read_stream(frames(&client, 1)).unwrap()).collect();
        let pin = rig.source.pin();
        let trailing = pin.trailing_edge().unwrap();
        let addresses: Vec<u64> = {
            let mut edge = pin.leading_edge();
            let mut addresses = Vec::new();
            while let Some(frame) = edge {
                addresses.push(frame.header_address());
                edge = frame.advance();
            }
            addresses
        };
        trailing.lock().unwrap();
        requests[0].cancel();
        requests[1].cancel();
        assert!(!requests[0].is_done(), "a locked frame cannot be cancelled");
        assert!(requests[1].is_done() && !requests[2].is_done());
        assert_eq!(trailing.advance(), Step::OnFrame);
        assert!(requests[0].is_done());
        assert_eq!(trailing.frame().unwrap().header_address(), addresses[2], "the cancelled frame is passed over");
        trailing.unlock();
        requests[2].cancel();
        assert!(requests[2].is_done() && trailing.lock().is_none());
        for request in requests {
            assert_eq!(request.wait().unwrap_err().status, STATUS_CANCELLED);
        }
        drop((trailing, pin, client, filter));
        rig.assert_quiescent();
    }
}

#[test]
fn offsets_and_clones_of_the_trailing_edge_are_its_own() {
    let rig = Rig::with(Setup { sink_flags: PinFlags::DISTINCT_TRAILING_EDGE, ..Setup::default() });
    rig.sink.script(wait);
    let (filter, client) = rig.alone("sink");
    bring(&client, &UP);
    let request = client.write_stream(vec![filled(&client, 1), filled(&client, 2)]).unwrap();
    let pin = rig.sink.pin();
    let trailing = pin.trailing_edge().unwrap();
    assert_eq!(trailing.advance_offsets(1, 0, AfterAdvance::WhenUsedUp), None, "not locked");
    trailing.lock().unwrap();
    assert_eq!(trailing.advance_offsets(10, 0, AfterAdvance::WhenUsedUp), Some(Step::OnFrame));
    let edge = pin.leading_edge().unwrap();
    assert_eq!(edge.remaining(), FRAME_BYTES, "the leading edge did not move");
    let mut clone = trailing.clone_pointer(0).unwrap();
    assert!(clone.is_locked());
    assert_eq!(clone.advance_offsets(4, 0), FRAME_BYTES - 14);
    let edge = edge.advance().unwrap();
    assert_eq!(trailing.advance_offsets(FRAME_BYTES, 0, AfterAdvance::WhenUsedUp), Some(Step::OnFrame));
    assert_eq!(crate::rig::number(&trailing.frame().unwrap()), Some(2));
    assert_eq!(trailing.advance_offsets(1, 0, AfterAdvance::Always), Some(Step::AtEnd));
    drop(edge.advance());
    assert!(!request.is_done(), "the clone has the first frame");
    drop(clone);
    assert!(request.is_done());
    request.wait().unwrap();
    drop((trailing, pin, client, filter));
    rig.assert_quiescent();
}

#[test]
fn stop_and_reset_empty_the_window_behind_the_leading_edge() {
    for way in 0..2 {
        let rig = distinct(1);
        rig.source.script(wait);
        let (filter, client) = rig.alone("source");
        bring(&client, &UP);
        let request = client.read_stream(frames(&client, 2)).unwrap();
        let pin = rig.source.pin();
        pin.leading_edge().unwrap().eject();
        if way == 0 {
            client.reset(KsReset::BEGIN).unwrap()
        } else {
            bring(&client, &DOWN)
        }
        assert_eq!(request.wait().unwrap_err().status, STATUS_CANCELLED);
        assert!(pin.trailing_edge().unwrap().lock().is_none());
        assert_eq!(pin.queued_requests(), 0);
        drop((pin, client, filter));
        rig.assert_quiescent();
    }
}

#[test]
fn a_circuit_goes_round_by_the_trailing_edges_of_its_pins() {
    for (seed, requests) in SEEDS.flat_map(|seed| BOTH_WAYS.map(|way| (seed, way))) {
        let flags = PinFlags::DISTINCT_TRAILING_EDGE;
        let sink_flags = flags | PinFlags::GENERATE_EOS_EVENTS;
        let rig = Rig::with(Setup { seed, requests, source_flags: flags, sink_flags, ..Setup::default() });
        rig.source.last.store(20, std::sync::atomic::Ordering::SeqCst);
        rig.source.script(|probe, pin| {
            let _ = crate::rig::fill(probe, pin);
            // The last that was filled is kept back until the next one is, but for the end of the stream.
            let trailing = pin.trailing_edge().unwrap();
            while let Some(frame) = trailing.lock() {
                let newest = crate::rig::number(&frame) == probe.seen.lock().last().copied();
                if frame.data_used() == 0 || (newest && probe.seen.lock().len() < 20) {
                    trailing.unlock();
                    break;
                }
                trailing.eject();
            }
            STATUS_PENDING
        });
        rig.sink.script(|probe, pin| {
            let _ = take(probe, pin);
            let trailing = pin.trailing_edge().unwrap();
            while trailing.lock().is_some() {
                trailing.eject();
            }
            STATUS_PENDING
        });
        let pair = rig.pair();
        pair.bring(&UP);
        rig.settle();
        assert_eq!(rig.sink.seen_now(), (0..20).collect::<Vec<u32>>());
        pair.bring(&DOWN);
        drop(pair);
        rig.assert_quiescent();
    }
}
