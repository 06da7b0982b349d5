//! Creates that a minidriver of another process pends: the client's cancel goes over, and so does its end.

use crate::rig::{Host, client, engine, host};
use ks_abi::{KSCATEGORY_CAPTURE, NtStatus, STATUS_CANCELLED, STATUS_DEVICE_REMOVED};
use ks_broker::remote::Peer;
use ks_client::Client;
use ks_io::{Aspect, CancelCreates, IoManager, Refusal};
use ks_stream::{Filter, FilterDescriptor, FilterDispatch, FilterInstance, PendedCreate, Pin, PinInstance};
use std::sync::{Arc, Mutex};

/// A minidriver that ends its creates when they are cancelled.
#[derive(Default)]
struct Holds {
    kept: Arc<Mutex<Option<PendedCreate<dyn FilterInstance>>>>,
    /// Of each routine that ran: had the create still to be ended?
    cancels: Arc<Mutex<Vec<bool>>>,
}

struct Opened;

impl FilterInstance for Opened {
    fn create_pin(&self, _: &ks_io::sync::Arc<Pin>) -> Result<ks_io::sync::Arc<dyn PinInstance>, Refusal> {
        Err(Refusal::new(STATUS_CANCELLED, Aspect::Driver, "no pins"))
    }
}

fn cancelled() -> Refusal {
    Refusal::new(STATUS_CANCELLED, Aspect::Driver, "the client has cancelled")
}

impl FilterDispatch for Holds {
    fn create(&self, filter: &ks_io::sync::Arc<Filter>) -> Result<ks_io::sync::Arc<dyn FilterInstance>, Refusal> {
        let (later, pending) = filter.pend_create();
        let (kept, cancels) = (self.kept.clone(), self.cancels.clone());
        let mut place = self.kept.lock().unwrap();
        let routine = move || {
            let later = kept.lock().unwrap().take();
            cancels.lock().unwrap().push(later.is_some_and(|later| later.complete(Err(cancelled()))));
        };
        match later.when_cancelled(routine) {
            Ok(()) => *place = Some(later),
            Err(_) => assert!(later.complete(Err(cancelled()))),
        }
        Err(pending)
    }
}

struct Scene {
    parent: Arc<IoManager>,
    host: Host,
    attached: Peer,
    kept: Arc<Mutex<Option<PendedCreate<dyn FilterInstance>>>>,
    cancels: Arc<Mutex<Vec<bool>>>,
}

fn scene() -> Scene {
    let driver = Arc::new(Holds::default());
    let (kept, cancels) = (driver.kept.clone(), driver.cancels.clone());
    let filter = FilterDescriptor::new("holds", "holds", &[KSCATEGORY_CAPTURE], Vec::new(), driver);
    let parent = engine(Vec::new());
    let (host, attached) = host(&parent, vec![filter]);
    attached.register_devices().unwrap();
    Scene { parent, host, attached, kept, cancels }
}

impl Scene {
    fn open(&self) -> (Client, std::thread::JoinHandle<Result<(), NtStatus>>) {
        let (client, _) = client(&self.parent);
        let opener = client.clone();
        let opens = move || opener.open_by_name("holds").map(drop).map_err(|error| error.status);
        (client, std::thread::spawn(opens))
    }

    fn wait_until_held(&self) {
        while self.kept.lock().unwrap().is_none() {
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_cancel_goes_to_the_process_that_holds_the_create() {
    let scene = scene();
    for round in 1..4 {
        let (client, opens) = scene.open();
        scene.wait_until_held();
        client.cancel_creates(CancelCreates::UnderWay);
        assert_eq!(opens.join().unwrap(), Err(STATUS_CANCELLED));
        assert_eq!(*scene.cancels.lock().unwrap(), vec![true; round]);
    }
    // The cancel and the create go over right behind each other, however the threads there are scheduled.
    for _ in 0..200 {
        let (client, opens) = scene.open();
        client.cancel_creates(CancelCreates::FromNowOn);
        assert_eq!(opens.join().unwrap(), Err(STATUS_CANCELLED));
    }
    // What the driver ends by itself is made.
    let (client, opens) = scene.open();
    scene.wait_until_held();
    let later = scene.kept.lock().unwrap().take().unwrap();
    assert!(later.complete(Ok(ks_io::sync::Arc::new(Opened))));
    assert_eq!(opens.join().unwrap(), Ok(()));
    client.cancel_creates(CancelCreates::UnderWay);
}

#[test]
fn the_end_of_the_client_cancels_what_it_was_creating() {
    let Scene { parent, host, attached, kept, cancels } = scene();
    let opener = client(&parent).0;
    let opens = std::thread::spawn(move || opener.open_by_name("holds").map(drop).map_err(|error| error.status));
    while kept.lock().unwrap().is_none() {
        std::thread::yield_now();
    }
    // As when its process ends.
    drop(attached);
    assert_eq!(opens.join().unwrap(), Err(STATUS_DEVICE_REMOVED));
    host.peer.wait_for_end();
    while cancels.lock().unwrap().is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(*cancels.lock().unwrap(), [true], "the driver was told, and somebody waited for it still");
}
