//! Circuits whose frames come from an allocator object that a client named.

use crate::rig::{BOTH_WAYS, FRAME_BYTES, FRAMES, Requests, Rig, SEEDS, Setup, UP};
use ks_abi::{
    KSALLOCATOR_OPTIONF_SYSTEM_MEMORY, KsAllocatorFraming, KsState, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_PARAMETER,
};
use ks_client::{Allocator, Pin};

fn framing(frames: u32, frame_size: u32, file_alignment: u32) -> KsAllocatorFraming {
    let flags = KSALLOCATOR_OPTIONF_SYSTEM_MEMORY;
    KsAllocatorFraming { flags, frames, frame_size, file_alignment, ..Default::default() }
}

/// The pin that takes the requests, which has the allocator, and the one that sends them, which uses it.
fn ends(pair: &crate::rig::Pair, requests: Requests) -> (&Pin, &Pin) {
    match requests {
        Requests::FromSource => (&pair.sink, &pair.source),
        _ => (&pair.source, &pair.sink),
    }
}

fn out(allocator: &Allocator) -> u32 {
    allocator.status().unwrap().allocated_frames
}

#[test]
fn a_circuit_takes_its_frames_from_the_allocator_that_was_named() {
    for seed in SEEDS {
        for requests in BOTH_WAYS {
            let rig = Rig::with(Setup { seed, requests, ..Setup::default() });
            let pair = rig.pair();
            let (taker, sender) = ends(&pair, requests);
            let allocator = taker.create_allocator(&framing(3, 4096, 0xFFF)).unwrap();
            sender.set_allocator(Some(&allocator)).unwrap();
            pair.source.set_limit(10, 0).unwrap();
            for _ in 0..2 {
                rig.sink.seen.lock().clear();
                pair.bring(&UP);
                rig.settle();
                assert_eq!(rig.sink.seen_now(), (0..10).collect::<Vec<u32>>(), "{requests:?}");
                let report = rig.source.pin().allocator_report();
                assert_eq!((report.frames, report.frame_bytes), (3, 4096));
                assert_eq!(out(&allocator), 3, "all that there are");
                pair.bring(&[KsState::STOP]);
            }
            // Who waits gets a frame when the circuit gives them back.
            let waits = allocator.submit_allocate();
            assert!(!waits.is_done(), "kept for the next start");
            sender.set_allocator(None).unwrap();
            assert!(waits.wait().outcome.status.is_success());
            assert_eq!(out(&allocator), 1);
            rig.sink.seen.lock().clear();
            pair.bring(&UP);
            rig.settle();
            assert_eq!(rig.sink.seen_now().len(), 10);
            assert_eq!(rig.source.pin().allocator_report().frame_bytes, FRAME_BYTES, "the engine's own again");
            assert_eq!(out(&allocator), 1);
            drop(allocator);
            drop(pair);
            rig.assert_quiescent();
        }
    }
}

#[test]
fn a_circuit_goes_on_with_an_allocator_whose_handle_is_closed() {
    let rig = Rig::with(Setup { requests: Requests::FromSource, ..Setup::default() });
    let pair = rig.pair();
    let allocator = pair.sink.create_allocator(&framing(2, FRAME_BYTES, 0)).unwrap();
    pair.source.set_allocator(Some(&allocator)).unwrap();
    drop(allocator);
    pair.source.set_limit(7, 0).unwrap();
    pair.bring(&UP);
    rig.settle();
    assert_eq!(rig.sink.seen_now().len(), 7);
    assert_eq!(rig.source.pin().allocator_report().frames, 2);
    drop(pair);
    rig.assert_quiescent();
}

#[test]
fn an_allocator_that_does_not_do_keeps_the_circuit_in_stop() {
    let rig = Rig::with(Setup { requests: Requests::FromSource, ..Setup::default() });
    let pair = rig.pair();
    let refused = |allocator: &Allocator| {
        pair.source.set_allocator(Some(allocator)).unwrap();
        let error = pair.source.set_state(KsState::ACQUIRE).unwrap_err();
        assert_eq!(pair.source.state().unwrap(), KsState::STOP);
        error.status
    };
    let small = pair.sink.create_allocator(&framing(4, FRAME_BYTES - 1, 0xFFF)).unwrap();
    assert_eq!(refused(&small), STATUS_INVALID_PARAMETER, "frames too small");
    let empty = pair.sink.create_allocator(&framing(1, FRAME_BYTES, 0xFFF)).unwrap();
    let frame = empty.allocate().unwrap();
    assert_eq!(refused(&empty), STATUS_INSUFFICIENT_RESOURCES, "all of them are out");
    empty.free(frame).unwrap();
    pair.source.set_state(KsState::ACQUIRE).unwrap();
    assert_eq!(out(&empty), 1, "one is enough");
    pair.source.set_state(KsState::STOP).unwrap();
    // More than the pins ask for stays with the allocator.
    let large = pair.sink.create_allocator(&framing(100, FRAME_BYTES, 0xFFF)).unwrap();
    pair.source.set_allocator(Some(&large)).unwrap();
    assert_eq!(out(&empty), 0, "given back when another is named");
    pair.source.set_state(KsState::ACQUIRE).unwrap();
    assert_eq!(out(&large), FRAMES);
}
