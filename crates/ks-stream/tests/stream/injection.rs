//! Frames that a driver submits itself, and what it is told of requests that came round.

use crate::rig::{BOTH_WAYS, DOWN, FRAME_BYTES, FRAMES, Rig, SEEDS, Setup, UP, bring, create, wait};
use ks_abi::{
    KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM, KsPinDataFlow, KsState, KsStreamHeader, NtStatus, STATUS_CANCELLED,
    STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_DEVICE_STATE, STATUS_INVALID_PARAMETER, STATUS_SUCCESS,
};
use ks_io::sync::Arc;
use ks_mem::Frame;
use ks_stream::{InjectedFrame, Pin};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use zerocopy::IntoBytes;

fn numbered(buffer: Frame, number: u32, options: u32) -> InjectedFrame {
    buffer.write().unwrap()[..4].copy_from_slice(&number.to_le_bytes());
    let header = KsStreamHeader { data_used: FRAME_BYTES, options_flags: options, ..KsStreamHeader::default() };
    InjectedFrame { buffer: Some(buffer), header: Some(header.as_bytes().to_vec()), context: u64::from(number) + 100 }
}

pub fn submit(pin: &Arc<Pin>, number: u32) -> Result<(), NtStatus> {
    pin.submit_frame(numbered(pin.allocate_injected(FRAME_BYTES as usize).unwrap(), number, 0))
}

#[test]
fn injected_frames_go_round_and_come_back() {
    for (seed, requests) in SEEDS.flat_map(|seed| BOTH_WAYS.map(|way| (seed, way))) {
        let rig = Rig::with(Setup { seed, requests, ..Setup::default() });
        rig.source.injects.store(true, SeqCst);
        let pair = rig.pair();
        let pin = rig.source.pin();
        assert_eq!(submit(&pin, 0), Err(STATUS_INVALID_DEVICE_STATE), "there is no circuit in STOP");
        pair.bring(&UP);
        rig.settle();
        assert_eq!(pin.inject_frames(), Err(STATUS_INVALID_DEVICE_STATE), "only in STOP");
        assert_eq!(pair.source.statistics().unwrap().frames, 0, "no frames of an allocator travel");
        for number in 0..3 {
            submit(&pin, number).unwrap();
        }
        let end = KsStreamHeader { options_flags: KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM, ..KsStreamHeader::default() };
        let end = InjectedFrame { buffer: None, header: Some(end.as_bytes().to_vec()), context: 7 };
        pin.submit_frame(end).unwrap();
        rig.settle();
        assert_eq!(rig.sink.seen_now(), [0, 1, 2]);
        let back = std::mem::take(&mut *rig.source.returned.lock());
        assert_eq!(back, [100, 101, 102, 7].map(|context| (context, STATUS_SUCCESS)));
        assert_eq!(rig.source.calls(), 0, "its process routine is not called");
        assert_eq!(pair.source.statistics().unwrap().frames, 3);
        pair.bring(&DOWN);
        assert_eq!(submit(&pin, 0), Err(STATUS_INVALID_DEVICE_STATE));
        drop((pin, pair));
        rig.assert_quiescent();
    }
}

#[test]
fn a_driver_submits_the_same_memory_again_from_its_callback() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        rig.source.injects.store(true, SeqCst);
        let next = Arc::new(AtomicU32::new(1));
        *rig.source.on_returned.lock() = Some(Arc::new(move |pin, frame| {
            let number = next.fetch_add(1, SeqCst);
            if frame.status == STATUS_SUCCESS && number < 50 {
                pin.submit_frame(numbered(frame.buffer.unwrap(), number, 0)).unwrap();
            }
        }));
        let pair = rig.pair();
        pair.bring(&UP);
        let pin = rig.source.pin();
        submit(&pin, 0).unwrap();
        rig.settle();
        assert_eq!(rig.sink.seen_now(), (0..50).collect::<Vec<u32>>());
        drop((pin, pair));
        rig.assert_quiescent();
    }
}

#[test]
fn a_stop_calls_back_what_waits_downstream() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        rig.source.injects.store(true, SeqCst);
        rig.sink.script(wait);
        let pair = rig.pair();
        pair.bring(&UP);
        let pin = rig.source.pin();
        for number in 0..3 {
            submit(&pin, number).unwrap();
        }
        let sink = rig.sink.pin();
        let locked = sink.leading_edge().unwrap();
        bring(&pair.source, &DOWN);
        let back = std::mem::take(&mut *rig.source.returned.lock());
        assert_eq!(back, [101, 102].map(|context| (context, STATUS_CANCELLED)), "one is locked");
        locked.eject();
        rig.settle();
        assert_eq!(*rig.source.returned.lock(), [(100, STATUS_CANCELLED)]);
        drop((pin, sink, pair));
        rig.assert_quiescent();
    }
}

#[test]
fn a_frame_that_the_sink_does_not_take_comes_back_with_its_reason() {
    let rig = Rig::new(1);
    rig.source.injects.store(true, SeqCst);
    let pair = rig.pair();
    bring(&pair.source, &[KsState::ACQUIRE]);
    let pin = rig.source.pin();
    submit(&pin, 0).unwrap();
    assert_eq!(*rig.source.returned.lock(), [(100, STATUS_INVALID_DEVICE_STATE)], "the sink is in STOP");
}

#[test]
fn only_a_connected_source_that_injects_takes_frames() {
    let rig = Rig::new(1);
    let pair = rig.pair();
    pair.bring(&UP);
    let frame = || InjectedFrame { buffer: None, header: None, context: 0 };
    assert_eq!(rig.source.pin().submit_frame(frame()), Err(STATUS_INVALID_DEVICE_REQUEST), "it does not inject");
    assert_eq!(rig.sink.pin().submit_frame(frame()), Err(STATUS_INVALID_DEVICE_REQUEST));
    rig.source.injects.store(true, SeqCst);
    let (_filter, client) = rig.alone("source");
    bring(&client, &UP);
    assert_eq!(rig.source.pin().submit_frame(frame()), Err(STATUS_INVALID_DEVICE_REQUEST), "a client is its other end");
    let pair = rig.pair();
    pair.bring(&UP);
    let cut_off = InjectedFrame { header: Some(vec![0; 20]), ..frame() };
    assert_eq!(rig.source.pin().submit_frame(cut_off), Err(STATUS_INVALID_PARAMETER));
}

#[test]
fn injected_frames_pass_a_filter_that_works_in_place() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        rig.source.injects.store(true, SeqCst);
        let (from, through, to) = (rig.open("source"), rig.open("middle"), rig.open("sink"));
        let last = create(&to, 0, KsPinDataFlow::IN, None);
        let output = create(&through, 1, KsPinDataFlow::OUT, Some(&last));
        let input = create(&through, 0, KsPinDataFlow::IN, None);
        let first = create(&from, 0, KsPinDataFlow::OUT, Some(&input));
        for state in UP {
            [&last, &output, &input, &first].into_iter().for_each(|pin| pin.set_state(state).unwrap());
        }
        let pin = rig.source.pins.lock()[0].upgrade().unwrap();
        let changed = Arc::new(AtomicU32::new(0));
        let seen = changed.clone();
        *rig.source.on_returned.lock() = Some(Arc::new(move |_, frame| {
            seen.store(u32::from(frame.buffer.unwrap().read().unwrap()[4]), SeqCst);
        }));
        submit(&pin, 9).unwrap();
        rig.settle();
        assert_eq!((rig.middle.seen_now(), rig.sink.seen_now()), (vec![9], vec![9]));
        assert_eq!(changed.load(SeqCst), 1, "the driver sees what was changed in place");
        drop((pin, first, input, output, last, from, through, to));
        rig.assert_quiescent();
    }
}

#[test]
fn a_watcher_is_told_of_each_request_that_came_round() {
    for (seed, requests) in SEEDS.flat_map(|seed| BOTH_WAYS.map(|way| (seed, way))) {
        let rig = Rig::with(Setup { seed, requests, ..Setup::default() });
        rig.source.watches.store(true, SeqCst);
        rig.source.last.store(20, SeqCst);
        let pair = rig.pair();
        pair.bring(&UP);
        rig.settle();
        assert_eq!(*rig.source.watched.lock(), (0..20).collect::<Vec<u32>>());
        assert_eq!(rig.sink.seen_now().len(), 20);
        assert!(rig.sink.watched.lock().is_empty(), "nobody else is told");
        pair.bring(&DOWN);
        drop(pair);
        rig.assert_quiescent();
    }
    assert_eq!(FRAMES, 4, "twenty frames are several turns");
}
