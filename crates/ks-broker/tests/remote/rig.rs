//! Engines with some built-in filters, and connections between them.

use ks_broker::remote::{Handler, Peer};
use ks_client::Client;
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
