//! The end of an engine: everything that was made for it goes.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

#[path = "stream/rig.rs"]
#[allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "the rig of the other tests")]
mod rig;

use ks_abi::{KsState, STATUS_DEVICE_REMOVED, STATUS_OBJECT_NAME_NOT_FOUND};
use ks_client::Client;
use ks_io::sync::{Arc, Weak};
use ks_io::{IoManager, Services, Transport};
use ks_mem::{CountingAllocator, held_by_the_process};
use ks_stream::Device;
use rig::{Rig, Setup, UP};

#[global_allocator]
static COUNTING: CountingAllocator = CountingAllocator;

/// What outlives an engine, if anything does.
struct Left {
    io: Weak<IoManager>,
    devices: Vec<Weak<Device>>,
}

impl Left {
    fn of(rig: &Rig) -> Left {
        Left { io: Arc::downgrade(&rig.io), devices: rig.devices.iter().map(Arc::downgrade).collect() }
    }

    fn assert_nothing(&self) {
        assert_eq!(self.io.strong_count(), 0, "the engine lives on");
        assert!(self.devices.iter().all(|device| device.strong_count() == 0), "a device lives on");
    }
}

/// Streams until the frames of a circuit have gone round, and lets everything go in the order of its declaration.
fn stream_and_drop(services: Services) -> Left {
    let rig = Rig::on(services, Setup::default());
    let left = Left::of(&rig);
    let pair = rig.pair();
    pair.bring(&UP);
    // The machine's threads may need more than one turn.
    let ran = (0..10_000).any(|_| {
        rig.settle();
        pair.sink.statistics().unwrap().frames > 0
    });
    assert!(ran, "the stream ran");
    drop(pair);
    left
}

/// The only test of this program that counts, and the only one that runs: another would allocate in between.
#[test]
fn an_engine_takes_everything_with_it() {
    // In virtual time, without a removal of any device.
    let mut held = Vec::new();
    for _ in 0..4 {
        stream_and_drop(Services::virtual_time(1)).assert_nothing();
        held.push(held_by_the_process());
    }
    assert_eq!(held[2], held[3], "bytes held after each engine: {held:?}");

    // With the machine's threads, which end with the services.
    for _ in 0..2 {
        stream_and_drop(Services::real()).assert_nothing();
    }

    dropping_a_session_last_ends_the_engine();
    an_engine_that_is_shut_down_refuses_what_its_clients_still_hold();
}

fn dropping_a_session_last_ends_the_engine() {
    let rig = Rig::new(1);
    let left = Left::of(&rig);
    let session = rig.session.clone();
    drop(rig);
    // The devices are there as long as a client is.
    let client = Client::new(session.clone());
    drop(client.open_by_name("source").unwrap());
    drop((client, session));
    left.assert_nothing();
}

fn an_engine_that_is_shut_down_refuses_what_its_clients_still_hold() {
    let rig = Rig::new(1);
    let left = Left::of(&rig);
    let pair = rig.pair();
    pair.bring(&UP);
    rig.io.shut_down();
    assert!(rig.devices.iter().all(|device| device.is_removed()));
    assert!(rig.session.interfaces(None).is_empty());
    let status = pair.source.set_state(KsState::STOP).unwrap_err().status;
    assert_eq!(status, STATUS_DEVICE_REMOVED);
    let again = Device::start(&rig.io, "late", Vec::new()).unwrap();
    drop(again);
    rig.io.shut_down();
    drop(pair);
    rig.assert_quiescent();
    let gone = rig.session.open(r"\\?\userks#first", ks_io::AccessMask::NONE).unwrap_err();
    assert_eq!(gone.status, STATUS_OBJECT_NAME_NOT_FOUND);
    drop(rig);
    left.assert_nothing();
}
