//! How long frames are under way between two filters, where a client asks for it.

use crate::rig::{Probe, Rig, SEEDS, UP, create, fill, put};
use ks_abi::{KsPinDataFlow, KsState, NtStatus, STATUS_SUCCESS};
use ks_io::Ticks;
use ks_io::sync::Arc;
use ks_stream::Pin;
use std::sync::atomic::Ordering::SeqCst;

/// Lets one frame go and returns some time after.
fn slow(act: impl Fn(&Probe, &ks_io::StreamFrame), millis: i64) -> impl Fn(&Probe, &Arc<Pin>) -> NtStatus {
    move |probe, pin| {
        let Some(frame) = pin.leading_edge() else { return STATUS_SUCCESS };
        act(probe, &frame);
        frame.eject();
        let services = pin.services();
        let _ = services.delay_until(services.now() + Ticks::from_millis(millis));
        STATUS_SUCCESS
    }
}

/// Within a sixteenth below, as the histogram has it.
fn about(nanos: u64, millis: u64) -> bool {
    let truth = millis * 1_000_000;
    nanos <= truth && truth - nanos <= truth / 16
}

#[test]
fn latency_is_measured_on_both_sides_of_a_filter_that_works_in_place() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        let number = |probe: &Probe, frame: &ks_io::StreamFrame| {
            let number = probe.next.fetch_add(1, SeqCst);
            put(frame, number, number == 99);
        };
        rig.source.script(slow(number, 3));
        rig.middle.script(slow(|_, _| (), 5));
        let (from, through, to) = (rig.open("source"), rig.open("middle"), rig.open("sink"));
        let sink = create(&to, 0, KsPinDataFlow::IN, None);
        let middle_out = create(&through, 1, KsPinDataFlow::OUT, Some(&sink));
        let middle_in = create(&through, 0, KsPinDataFlow::IN, None);
        let source = create(&from, 0, KsPinDataFlow::OUT, Some(&middle_in));
        let pins = [&sink, &middle_out, &middle_in, &source];
        pins.iter().for_each(|pin| pin.measure_latency().unwrap());
        for state in UP {
            pins.iter().for_each(|pin| pin.set_state(state).unwrap());
        }
        let services = rig.services();
        let _ = services.delay_until(services.now() + Ticks::from_secs(10));
        assert_eq!(rig.sink.seen_now().len(), 100);
        let (first, second) = (middle_in.statistics().unwrap(), sink.statistics().unwrap());
        assert!(about(first.latency_p50_ns, 3), "{} ns from the source to the filter", first.latency_p50_ns);
        assert!(about(second.latency_p50_ns, 5), "{} ns from the filter to the sink", second.latency_p50_ns);
        pins.iter().rev().for_each(|pin| pin.set_state(KsState::STOP).unwrap());
        drop((source, middle_in, middle_out, sink, from, through, to));
        rig.assert_quiescent();
    }
}

#[test]
fn a_latency_below_the_clocks_resolution_is_told_from_one_that_nobody_measured() {
    let rig = Rig::new(1);
    rig.source.script(fill);
    let pair = rig.pair();
    pair.bring(&UP);
    rig.settle();
    assert_eq!(pair.sink.statistics().unwrap().latency_p99_ns, 0, "nobody asked for it");
    pair.bring(&[KsState::STOP]);
    pair.source.measure_latency().unwrap();
    pair.sink.measure_latency().unwrap();
    pair.bring(&UP);
    rig.settle();
    assert_eq!(pair.sink.statistics().unwrap().latency_p99_ns, 1, "virtual time stood still");
}
