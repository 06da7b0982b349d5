//! Properties, pins and frames across a connection.

use crate::rig::{camera, client, engine, host, renderer, run};
use ks_abi::{KsPinDataFlow, KsState};
use ks_client::graph::run::{ConnectionReport, RunStatus};
use ks_stream::Pin;

#[test]
fn the_filters_of_the_other_engine_open_and_describe_themselves() {
    let parent = engine(vec![renderer()]);
    let (host, peer) = host(&parent, vec![camera()]);
    let (client, session) = client(&parent);
    let filter = client.open_by_name("test-camera").unwrap();
    let pins = filter.pins().unwrap();
    assert!(!pins.is_empty());
    assert_eq!(pins[0].data_flow, KsPinDataFlow::OUT);
    assert!(!pins[0].data_ranges.is_empty());
    assert!(!filter.settings().unwrap().is_empty());
    filter.set_setting("width", "320").unwrap();
    let refused = filter.set_setting("width", "none").unwrap_err();
    assert!(refused.to_string().contains("width"), "{refused}");
    drop(filter);
    assert_eq!(session.open_handles(), 0);
    assert_eq!(host.peer.exported_files(), 0, "a closed handle closes over there too");
    assert_eq!(peer.pending_requests(), 0);
}

/// The time from the source in one engine to the sink in another is known.
#[track_caller]
fn assert_measured(connection: &ConnectionReport) {
    let (p50, p99) = (connection.latency_p50_ns, connection.latency_p99_ns);
    assert!(0 < p50 && p50 <= p99, "{connection:?}");
}

#[test]
fn a_thousand_frames_come_from_the_other_engine_to_a_sink_of_this_one() {
    let parent = engine(vec![renderer()]);
    let (host, peer) = host(&parent, vec![camera()]);
    let (client, _session) = client(&parent);
    let report = run(&client, "test-camera live=false width=160 height=120 ! null-renderer frames=1000");
    assert_eq!(report.status, RunStatus::Completed, "{:?}", report.error);
    assert_eq!(report.connections[0].frames, 1000);
    assert_measured(&report.connections[0]);
    assert_eq!(peer.death(), None);
    assert_eq!(peer.regions().1, 1, "one region was mapped for all frames");
    assert_eq!(host.peer.exported_files(), 0);
}

#[test]
fn a_thousand_frames_go_to_a_sink_of_the_other_engine() {
    let parent = engine(vec![camera()]);
    let (_host, peer) = host(&parent, vec![renderer()]);
    let (client, _session) = client(&parent);
    let report = run(&client, "test-camera live=false width=160 height=120 ! null-renderer frames=1000");
    assert_eq!(report.status, RunStatus::Completed, "{:?}", report.error);
    assert_eq!(report.connections[0].frames, 1000);
    assert_measured(&report.connections[0]);
    assert_eq!(peer.death(), None);
}

#[test]
fn two_engines_exchange_frames_through_a_third() {
    let parent = engine(vec![]);
    let (_cameras, first) = host(&parent, vec![camera()]);
    let (_renderers, second) = host(&parent, vec![renderer()]);
    let (client, _session) = client(&parent);
    let report = run(&client, "test-camera live=false width=160 height=120 ! null-renderer frames=1000");
    assert_eq!(report.status, RunStatus::Completed, "{:?}", report.error);
    assert_eq!(report.connections[0].frames, 1000);
    assert_measured(&report.connections[0]);
    assert_eq!((first.death(), second.death()), (None, None));
}

#[test]
fn two_filters_of_one_other_engine_connect_there() {
    let parent = engine(vec![]);
    let (host, peer) = host(&parent, vec![camera(), renderer()]);
    let (client, _session) = client(&parent);
    let report = run(&client, "test-camera live=false width=160 height=120 ! null-renderer frames=1000");
    assert_eq!(report.status, RunStatus::Completed, "{:?}", report.error);
    assert_eq!(peer.regions(), (0, 0), "no frame crosses");
    assert_eq!(host.peer.regions(), (0, 0));
}

#[test]
fn a_client_reads_frames_of_the_other_engine_into_its_own_memory() {
    let parent = engine(vec![]);
    let (_host, peer) = host(&parent, vec![camera()]);
    let (client, _session) = client(&parent);
    let filter = client.open_by_name("test-camera").unwrap();
    filter.set_setting("width", "160").unwrap();
    let captured = ks_client::graph::capture::capture_one(&filter).unwrap();
    assert!(captured.bytes.iter().any(|byte| *byte != captured.bytes[0]), "a picture has more than one value");
    assert_eq!(peer.death(), None);
}

#[test]
fn states_go_over_and_a_closed_pin_can_be_made_again_at_once() {
    let parent = engine(vec![renderer()]);
    let (host, _peer) = host(&parent, vec![camera()]);
    let (client, session) = client(&parent);
    for _ in 0..20 {
        let report = run(&client, "test-camera live=false width=160 height=120 ! null-renderer frames=3");
        assert_eq!(report.status, RunStatus::Completed, "{:?}", report.error);
    }
    assert_eq!(session.open_handles(), 0);
    assert_eq!(host.peer.exported_files(), 0);
    let _ = (KsState::RUN, std::any::type_name::<Pin>());
}

#[test]
fn an_engine_that_ends_lets_go_of_the_other() {
    let parent = engine(vec![]);
    let (host, peer) = host(&parent, vec![camera()]);
    let (client, session) = client(&parent);
    let filter = client.open_by_name("test-camera").unwrap();
    parent.shut_down();
    assert_eq!(peer.wait().cause, ks_wire::WireError::Closed);
    assert!(filter.pin_count().is_err());
    drop((filter, client, session));
    assert_eq!(host.peer.wait().cause, ks_wire::WireError::Closed);
}
