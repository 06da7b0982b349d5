//! Engines with some built-in filters, and connections between them.

use ks_abi::{KSEVENT_CONNECTION_ENDOFSTREAM, KSEVENTSETID_Connection, KsPinCommunication, KsPinDataFlow, KsState};
use ks_broker::remote::{Handler, Peer};
use ks_client::{Client, Connect, Filter, Pin};

use ks_client::graph::grammar::parse;
use ks_client::graph::run::{GraphRunner, Options, Report};

use ks_io::{IoManager, Services, Session};
use ks_stream::{Device, FilterDescriptor};
use ks_wire::Connection;
use std::sync::Arc;

pub(crate) struct Quiet;

impl Handler for Quiet {}

/// An engine with a device for each of these filters.
pub(crate) fn engine(filters: Vec<FilterDescriptor>) -> Arc<IoManager> {
    ks_stream::verifier::enable();
    let io = IoManager::new(Services::real());
    for descriptor in filters {
        Device::start(&io, descriptor.reference, vec![Arc::new(descriptor)]).unwrap();
    }
    io
}

pub(crate) fn camera() -> FilterDescriptor {
    ks_filters::test_camera::descriptor()
}

pub(crate) fn renderer() -> FilterDescriptor {
    ks_filters::null_renderer::descriptor()
}

/// An engine whose devices are to be used from another one.
pub(crate) struct Host {
    pub(crate) _io: Arc<IoManager>,
    pub(crate) peer: Peer,
}

/// Hosts filters in an engine of their own, and attaches `parent` to it.
pub(crate) fn host(parent: &Arc<IoManager>, filters: Vec<FilterDescriptor>) -> (Host, Peer) {
    let io = engine(filters);
    let (ours, theirs) = Connection::pair().unwrap();
    let theirs = Connection::join(theirs).unwrap();
    let serving = Peer::serve(&io, theirs, Arc::new(Quiet)).unwrap();
    let attached = Peer::attach(parent, ours, Arc::new(Quiet)).unwrap();
    (Host { _io: io, peer: serving }, attached)
}

pub(crate) fn client(io: &Arc<IoManager>) -> (Client, Arc<Session>) {
    let session = io.session();
    (Client::new(session.clone()), session)
}

/// Runs a graph to its end.
pub(crate) fn run(client: &Client, text: &str) -> Report {
    let graph = parse(text).unwrap();
    let runner = GraphRunner::build(client, &graph, Options::default()).unwrap();
    runner.run(&mut |_| {})
}

/// Connects the first output of one filter to the first input of another; either end may take the requests.
pub(crate) fn connect(source: &Filter, sink: &Filter, source_takes_requests: bool) -> (Pin, Pin) {
    let (out, into) = (source.pin(0).unwrap(), sink.pin(0).unwrap());
    assert_eq!((out.communication, into.communication), (KsPinCommunication::BOTH, KsPinCommunication::BOTH));
    let format = source.intersect(0, &into.data_ranges).unwrap();
    let at =
        |pin_to| Connect { pin_id: 0, interface: out.interfaces[0], medium: out.mediums[0], pin_to, format: &format };
    if source_takes_requests {
        let from = source.create_pin(at(None), KsPinDataFlow::OUT).unwrap();
        let to = sink.create_pin(at(Some(&from)), KsPinDataFlow::IN).unwrap();
        (from, to)
    } else {
        let to = sink.create_pin(at(None), KsPinDataFlow::IN).unwrap();
        let from = source.create_pin(at(Some(&to)), KsPinDataFlow::OUT).unwrap();
        (from, to)
    }
}

/// An output pin whose other end is the client.
pub(crate) fn client_pin(filter: &Filter, id: u32) -> Pin {
    let out = filter.pin(id).unwrap();
    let format = filter.intersect(id, &out.data_ranges).unwrap();
    let at =
        Connect { pin_id: id, interface: out.interfaces[0], medium: out.mediums[0], pin_to: None, format: &format };
    filter.create_pin(at, KsPinDataFlow::OUT).unwrap()
}

/// Streams so many frames, and stops.
pub(crate) fn stream(from: &Pin, to: &Pin, frames: u64) {
    to.set_limit(frames, 0).unwrap();
    let end = to.enable_event(KSEVENTSETID_Connection, KSEVENT_CONNECTION_ENDOFSTREAM).unwrap();
    for state in [KsState::ACQUIRE, KsState::PAUSE, KsState::RUN] {
        to.set_state(state).unwrap();
        from.set_state(state).unwrap();
    }
    assert_eq!(end.event().wait(), ks_io::WaitOutcome::Signalled);
    for pin in [from, to] {
        pin.set_state(KsState::STOP).unwrap();
    }
}
