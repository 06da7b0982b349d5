//! A flush goes with the data: over connections, and through filters along their declared topology.

use crate::kit::*;
use ks_abi::{KSFILTER_NODE, KSNODETYPE_VOLUME, KsReset, KsTopologyConnection};
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
