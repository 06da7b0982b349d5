//! A flush goes with the data: over connections, and through filters along their declared topology.

use crate::kit::*;
use ks_abi::{
    KSEVENT_CONNECTION_ENDOFSTREAM, KSEVENTSETID_Connection, KSFILTER_NODE, KSNODETYPE_VOLUME,
    KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM, KsPinDataFlow, KsReset, KsState, KsTopologyConnection, STATUS_PENDING,
};
use ks_io::sync::{Arc, Mutex};
use std::collections::VecDeque;
use std::sync::atomic::Ordering::SeqCst;

/// A row whose middle has frames of its own on each side, with this topology.
fn row(connections: &'static [KsTopologyConnection]) -> Row {
    Row::new(3, 1, |filter| {
        if filter.reference == "middle" {
            filter.in_place = None;
            filter.nodes = vec![KSNODETYPE_VOLUME; 2];
            filter.connections = connections.to_vec();
        }
    })
}

const fn join(from_node: u32, from_node_pin: u32, to_node: u32, to_node_pin: u32) -> KsTopologyConnection {
    KsTopologyConnection { from_node, from_node_pin, to_node, to_node_pin }
}

fn resets(row: &Row) -> Vec<String> {
    row.take_log().into_iter().filter(|call| call.contains("reset")).collect()
}

#[test]
fn a_reset_passes_through_a_filter_where_its_topology_leads() {
    const STRAIGHT: &[KsTopologyConnection] = &[join(KSFILTER_NODE, 0, KSFILTER_NODE, 1)];
    const BY_NODES: &[KsTopologyConnection] =
        &[join(KSFILTER_NODE, 0, 0, 1), join(0, 0, 1, 1), join(1, 0, 0, 1), join(1, 0, KSFILTER_NODE, 1)];
    for connections in [STRAIGHT, BY_NODES] {
        let row = row(connections);
        let graph = row.connect();
        graph.bring(&UP);
        row.take_log();
        graph.source().reset(KsReset::BEGIN).unwrap();
        assert_eq!(
            resets(&row),
            ["source.0 reset BEGIN", "middle.0 reset BEGIN", "middle.1 reset BEGIN", "sink.0 reset BEGIN"]
        );
        graph.source().reset(KsReset::END).unwrap();
        assert_eq!(
            resets(&row),
            ["sink.0 reset END", "middle.1 reset END", "middle.0 reset END", "source.0 reset END"]
        );
        // From the middle it goes down, not up.
        graph.pins[2].reset(KsReset::BEGIN).unwrap();
        assert_eq!(resets(&row), ["middle.1 reset BEGIN", "sink.0 reset BEGIN"]);
        graph.pins[2].reset(KsReset::END).unwrap();
        // What is in reset already is not told again, and what is behind it is.
        graph.pins[1].reset(KsReset::BEGIN).unwrap();
        resets(&row);
        graph.source().reset(KsReset::BEGIN).unwrap();
        assert_eq!(resets(&row), ["source.0 reset BEGIN"]);
    }
}

#[test]
fn a_reset_ends_at_a_filter_whose_topology_does_not_lead_on() {
    const BACKWARDS: &[KsTopologyConnection] = &[join(KSFILTER_NODE, 1, 0, 1), join(0, 0, KSFILTER_NODE, 0)];
    for connections in [&[][..], BACKWARDS] {
        let row = row(connections);
        let graph = row.connect();
        graph.bring(&UP);
        row.take_log();
        graph.source().reset(KsReset::BEGIN).unwrap();
        assert_eq!(resets(&row), ["source.0 reset BEGIN", "middle.0 reset BEGIN"]);
        graph.source().reset(KsReset::END).unwrap();
        assert_eq!(resets(&row), ["middle.0 reset END", "source.0 reset END"]);
    }
}

#[test]
fn pins_that_share_their_frames_are_flushed_together_and_stream_on() {
    for seed in 1..6 {
        let row = Row::plain(seed, 3);
        let graph = row.connect();
        graph.bring(&UP);
        row.source().allow(20);
        row.settle();
        row.take_log();
        graph.source().reset(KsReset::BEGIN).unwrap();
        assert_eq!(resets(&row).len(), 8, "every pin of five filters");
        row.source().allow(5);
        row.settle();
        assert_eq!(row.sink().seen.lock().len(), 20);
        graph.source().reset(KsReset::END).unwrap();
        row.settle();
        assert_eq!(row.sink().seen.lock().len(), 25, "seed {seed}: and no frame of the circuit is lost");
        row.source().allow(50);
        row.settle();
        assert_eq!(row.source().allowed.load(SeqCst), 0);
        assert_eq!(row.sink().seen.lock().len(), 75);
    }
}

/// Fills what it is allowed to, and ends the stream with the fifth frame.
fn end_with_the_fifth(row: &Row) {
    row.source().script(|probe, pin| {
        while probe.allowed.load(SeqCst) > 0 {
            let Some(frame) = pin.leading_edge() else { return STATUS_PENDING };
            probe.allowed.fetch_sub(1, SeqCst);
            put(probe, &frame);
            if probe.next.load(SeqCst) == 5 {
                frame.set_options_flags(KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM);
            }
            frame.eject();
        }
        STATUS_PENDING
    });
}

#[test]
fn an_output_whose_driver_ends_the_stream_is_told_of_a_reset_that_ends() {
    for seed in 1..6 {
        let row = Row::plain(seed, 1);
        end_with_the_fifth(&row);
        let graph = row.connect();
        graph.bring(&UP);
        row.take_log();
        row.source().allow(9);
        row.settle();
        assert_eq!(resets(&row), ["source.0 reset END"], "once, and nobody else");
        assert_eq!(row.sink().seen.lock().len(), 5, "a source that nothing flows into has ended");
        // Another stream begins with a reset, or with STOP.
        graph.source().reset(KsReset::BEGIN).unwrap();
        graph.source().reset(KsReset::END).unwrap();
        row.settle();
        assert_eq!(row.sink().seen.lock().len(), 9, "seed {seed}");
        graph.bring(&DOWN);
        row.take_log();
        row.source().next.store(0, SeqCst);
        graph.bring(&UP);
        row.source().allow(9);
        row.settle();
        assert_eq!(resets(&row), ["source.0 reset END"], "seed {seed}");
        assert_eq!(row.sink().seen.lock().len(), 14);
    }
}

#[test]
fn an_end_by_a_limit_is_no_reset_of_the_driver() {
    let row = Row::plain(1, 0);
    let graph = row.connect();
    graph.source().set_limit(3, 0).unwrap();
    graph.bring(&UP);
    row.take_log();
    row.source().allow(9);
    row.settle();
    assert_eq!(row.sink().seen.lock().len(), 3);
    assert_eq!(resets(&row), [""; 0]);
}

/// A middle with frames of its own: what comes in waits in a list of its driver, and goes out when there is a frame for it.
fn copy_through_a_list(row: &Row) {
    let list = Arc::new(Mutex::new(VecDeque::new()));
    row.probes[1].script(move |probe, pin| {
        if pin.data_flow() == KsPinDataFlow::IN {
            let mut edge = pin.leading_edge();
            while let Some(frame) = edge {
                list.lock().push_back(frame.options_flags() & KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM);
                edge = frame.advance();
            }
            pin.filter().pins(1).iter().for_each(ks_stream::Pin::attempt_processing);
            return STATUS_PENDING;
        }
        while !list.lock().is_empty() {
            let Some(frame) = pin.leading_edge() else { break };
            put(probe, &frame);
            frame.set_options_flags(list.lock().pop_front().unwrap());
            frame.eject();
        }
        STATUS_PENDING
    });
}

fn written(pin: &ks_client::Pin, frames: usize) -> Vec<ks_client::StreamRequest> {
    let write = |last| {
        let mut frame = pin.allocate(FRAME_BYTES as usize).unwrap();
        assert!(frame.fill(&[7; 8]));
        frame.header.options_flags = if last { KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM } else { 0 };
        pin.write_stream(vec![frame]).unwrap()
    };
    (0..frames).map(|at| write(at + 1 == frames)).collect()
}

#[test]
fn behind_the_end_of_its_stream_a_filter_goes_on_with_the_next_where_its_topology_leads() {
    const STRAIGHT: &[KsTopologyConnection] = &[join(KSFILTER_NODE, 0, KSFILTER_NODE, 1)];
    for (connections, streams) in [(STRAIGHT, 3), (&[][..], 1)] {
        for seed in 1..6 {
            let row = Row::new(seed, 1, |filter| {
                if filter.reference == "middle" {
                    filter.in_place = None;
                    filter.connections = connections.to_vec();
                }
            });
            copy_through_a_list(&row);
            let (middle, last) = (row.open("middle"), row.open("sink"));
            let input = create(&middle, 0, KsPinDataFlow::IN, None).unwrap();
            let sink = create(&last, 0, KsPinDataFlow::IN, None).unwrap();
            let output = create(&middle, 1, KsPinDataFlow::OUT, Some(&sink)).unwrap();
            for pin in [&sink, &output, &input] {
                pin.set_state(KsState::RUN).unwrap();
            }
            row.take_log();
            let end = sink.enable_event(KSEVENTSETID_Connection, KSEVENT_CONNECTION_ENDOFSTREAM).unwrap();
            let mut arrived = 0;
            // One of a single frame, which begins and ends it.
            for (stream, frames) in [(1, 6), (2, 1), (3, 4)] {
                for request in written(&input, frames) {
                    drop(request.wait().unwrap());
                }
                row.settle();
                arrived += if stream <= streams { frames } else { 0 };
                assert_eq!(row.sink().seen.lock().len(), arrived, "seed {seed}, stream {stream}");
                let told = resets(&row);
                assert_eq!(told, vec!["middle.1 reset END"; usize::from(stream <= streams)], "seed {seed}");
                assert_eq!(end.event().is_set(), stream <= streams, "seed {seed}, stream {stream}");
                end.event().clear();
            }
        }
    }
}
