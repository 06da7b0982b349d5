//! Clocks of one engine that pins of another go by.

use crate::rig::{Host, camera, client, client_pin, engine, host};
use ks_abi::{
    IoControlCode, KSCATEGORY_RENDER, KSDATAFORMAT_SPECIFIER_NONE, KSDATAFORMAT_TYPE_VIDEO, KSPROPERTY_TYPE_GET,
    KsDataFormat, KsPinDataFlow, KsProperty, KsState, NtStatus, STATUS_ACCESS_DENIED, STATUS_DEVICE_REMOVED,
    STATUS_INVALID_HANDLE, STATUS_PENDING, USERKS_CLOCK_FOLLOW, USERKS_PROPSET_CLOCK, UserksClockFollow,
    UserksClockReading,
};
use ks_broker::remote::Peer;
use ks_client::{Client, Clock, Connect, Filter as ClientFilter, Pin as ClientPin};
use ks_io::{Dpc, IoManager, Refusal, Session, Ticks, Time};
use ks_stream::{
    DataFormat, DataRange, Filter, FilterDescriptor, FilterDispatch, FilterInstance, Pin, PinDescriptor, PinInstance,
    ReferenceClock,
};
use ks_wire::WireError;
use std::sync::{Arc, Mutex, mpsc};
use zerocopy::IntoBytes;

/// A sink that shows the clock that it goes by.
#[derive(Clone, Default)]
struct Follower(Arc<Mutex<Option<ReferenceClock>>>);

fn format() -> DataFormat {
    let head = KsDataFormat::new(KSDATAFORMAT_TYPE_VIDEO, KSDATAFORMAT_TYPE_VIDEO, KSDATAFORMAT_SPECIFIER_NONE, 0);
    DataFormat::new(KsDataFormat { sample_size: 64, ..head }, &[])
}

impl FilterDispatch for Follower {
    fn create(&self, _: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        Ok(Arc::new(self.clone()))
    }
}

impl FilterInstance for Follower {
    fn create_pin(&self, _: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        Ok(Arc::new(self.clone()))
    }
    fn intersect(&self, _: u32, _: &DataRange, _: &DataRange) -> Result<DataFormat, Refusal> {
        Ok(format())
    }
}

impl PinInstance for Follower {
    fn process(&self, _: &Arc<Pin>) -> NtStatus {
        STATUS_PENDING
    }
    fn set_device_state(&self, pin: &Arc<Pin>, to: KsState, _: KsState) -> Result<(), Refusal> {
        if to == KsState::ACQUIRE {
            *self.0.lock().unwrap() = pin.reference_clock().ok();
        }
        Ok(())
    }
}

impl Follower {
    fn descriptor(&self) -> FilterDescriptor {
        let pin = PinDescriptor::new(KsPinDataFlow::IN, vec![format()]);
        FilterDescriptor::new("follower", "follower", &[KSCATEGORY_RENDER], vec![pin], Arc::new(self.clone()))
    }

    fn clock(&self) -> ReferenceClock {
        self.0.lock().unwrap().clone().expect("a clock that it goes by")
    }
}

/// Where the clock and the pin that goes by it are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Here,
    There,
    /// In a third engine, which knows the second through the first.
    Elsewhere,
}

const PLACES: [(Place, Place); 3] =
    [(Place::Here, Place::There), (Place::There, Place::Here), (Place::There, Place::Elsewhere)];

/// A camera, whose pin has a clock, and a follower, each in its engine. Fields are dropped in order.
struct Scene {
    master: ClientPin,
    pin: ClientPin,
    follower: Follower,
    _filters: [ClientFilter; 2],
    _client: Client,
    session: Arc<Session>,
    peers: Vec<(Host, Peer)>,
    parent: Arc<IoManager>,
}

fn scene(clock_at: Place, pin_at: Place) -> Scene {
    let follower = Follower::default();
    let of = |place| {
        let camera = (clock_at == place).then(camera);
        camera.into_iter().chain((pin_at == place).then(|| follower.descriptor())).collect()
    };
    let parent = engine(of(Place::Here));
    let peers = [Place::There, Place::Elsewhere].map(|place| host(&parent, of(place))).into();
    let (client, session) = client(&parent);
    let camera = client.open_by_name("test-camera").unwrap();
    let master = client_pin(&camera, 0);
    let filter = client.open_by_name("follower").unwrap();
    let factory = filter.pin(0).unwrap();
    let agreed = filter.intersect(0, &factory.data_ranges).unwrap();
    let (interface, medium) = (factory.interfaces[0], factory.mediums[0]);
    let connect = Connect { pin_id: 0, interface, medium, pin_to: None, format: &agreed };
    let pin = filter.create_pin(connect, KsPinDataFlow::IN).unwrap();
    Scene { master, pin, follower, _filters: [camera, filter], _client: client, session, peers, parent }
}

impl Scene {
    /// The pin goes by the clock of the other from now on.
    fn follow(&self) -> (Clock, ReferenceClock) {
        let clock = self.master.create_clock().unwrap();
        self.pin.set_master_clock(Some(&clock)).unwrap();
        self.pin.set_state(KsState::ACQUIRE).unwrap();
        (clock, self.follower.clock())
    }

    fn run(&self, reference: &ReferenceClock, state: KsState) {
        self.master.set_state(state).unwrap();
        // It is told at once, but nobody waits until it has arrived.
        while reference.state() != state {
            std::thread::yield_now();
        }
    }
}

struct Bell(Mutex<mpsc::Sender<Time>>);

impl Bell {
    fn new() -> (Arc<Bell>, mpsc::Receiver<Time>) {
        let (ring, rung) = mpsc::channel();
        (Arc::new(Bell(Mutex::new(ring))), rung)
    }
}

impl Dpc for Bell {
    fn expired(self: Arc<Self>, now: Time) {
        let _ = self.0.lock().unwrap().send(now);
    }
}

#[test]
fn a_pin_goes_by_a_clock_of_another_engine() {
    for (clock_at, pin_at) in PLACES {
        let scene = scene(clock_at, pin_at);
        let (clock, reference) = scene.follow();
        assert_eq!((reference.state(), reference.time(), reference.lost()), (KsState::STOP, Ticks::ZERO, None));
        assert_eq!(reference.resolution(), clock.resolution().unwrap());
        scene.run(&reference, KsState::RUN);
        // Both count the time of one machine: between two reads lies what lies between their system times, to the tick.
        let far = clock.correlated_time().unwrap();
        let (time, system) = reference.correlated_time();
        assert_eq!(time.0 - far.time, system.0 - far.system_time, "{clock_at:?} {pin_at:?}");
        assert!(system.0 >= far.system_time && reference.physical_time() >= system);

        // The pin keeps the clock; its client need not.
        drop(clock);
        let (bell, rung) = Bell::new();
        let alarm = reference.alarm(bell);
        let due = reference.time() + Ticks::from_millis(3);
        alarm.set(due).unwrap();
        rung.recv().unwrap();
        assert!(reference.time() >= due);
        scene.run(&reference, KsState::PAUSE);
        let other = scene.master.create_clock().unwrap();
        assert_eq!(reference.time().0, other.time_100ns().unwrap(), "it stands where the other does");
        alarm.set(reference.time() + Ticks(1)).unwrap();
        scene.run(&reference, KsState::RUN);
        rung.recv().unwrap();
        scene.run(&reference, KsState::STOP);
        assert_eq!(reference.time(), Ticks::ZERO);

        // Nothing is left of it when another clock is named, and when the driver has let go of its own.
        scene.pin.set_state(KsState::STOP).unwrap();
        drop((alarm, reference, scene.follower.0.lock().unwrap().take()));
        scene.pin.set_master_clock(None).unwrap();
        drop(other);
        let waiting = |(host, peer): &(Host, Peer)| host.peer.pending_requests() + peer.pending_requests();
        // The cancel of what waited for the clock's next change is on its way.
        while scene.peers.iter().map(waiting).sum::<usize>() > 0 {
            std::thread::yield_now();
        }
    }
}

#[test]
fn what_is_no_clock_of_another_engine_is_refused() {
    for (clock_at, pin_at) in PLACES {
        let scene = scene(clock_at, pin_at);
        for handle in [scene.master.object().handle().0, scene._filters[0].object().handle().0] {
            let named = scene.pin.object().set_property(
                ks_abi::KSPROPSETID_Stream,
                ks_abi::KSPROPERTY_STREAM_MASTERCLOCK,
                &handle,
            );
            assert_eq!(named.unwrap_err().status, STATUS_INVALID_HANDLE, "{clock_at:?} {pin_at:?}");
        }
        // Following is for class drivers: a client could wait without end.
        let clock = scene.master.create_clock().unwrap();
        let property = KsProperty::new(USERKS_PROPSET_CLOCK, USERKS_CLOCK_FOLLOW, KSPROPERTY_TYPE_GET);
        let follow = UserksClockFollow { property, version: 0 };
        let mut answer = [0; size_of::<UserksClockReading>()];
        let outcome = clock.object().control(IoControlCode::KS_PROPERTY, follow.as_bytes(), &mut answer);
        assert_eq!(outcome.status, STATUS_ACCESS_DENIED, "{clock_at:?} {pin_at:?}");
    }
}

#[test]
fn the_clock_of_an_engine_that_ends_is_lost_and_nobody_waits_for_it() {
    for (clock_at, pin_at) in PLACES {
        let scene = scene(clock_at, pin_at);
        let (clock, reference) = scene.follow();
        scene.run(&reference, KsState::RUN);
        let (bell, rung) = Bell::new();
        let alarm = reference.alarm(bell);
        alarm.set(Ticks::from_secs(3600)).unwrap();
        scene.peers[0].0.peer.disconnect(WireError::Closed);
        // Who waits for a time that will not come is called, and sees why.
        rung.recv().unwrap();
        assert_eq!((reference.lost(), reference.state()), (Some(STATUS_DEVICE_REMOVED), KsState::STOP));
        assert_eq!((reference.time(), reference.due(Ticks(1))), (Ticks::ZERO, None));
        assert_eq!(alarm.set(Ticks(1)), Err(STATUS_DEVICE_REMOVED));
        if clock_at == Place::There {
            // The pin is still there, and has no clock.
            scene.pin.set_state(KsState::STOP).unwrap();
            let again = scene.pin.set_master_clock(Some(&clock));
            assert_eq!(again.unwrap_err().status, STATUS_DEVICE_REMOVED);
            scene.pin.set_state(KsState::ACQUIRE).unwrap();
            assert!(scene.follower.0.lock().unwrap().is_none(), "{clock_at:?} {pin_at:?}");
            scene.pin.set_state(KsState::STOP).unwrap();
            scene.pin.set_master_clock(None).unwrap();
        }
        drop(clock);
        drop(scene.parent.clone());
        assert!(scene.session.open_handles() > 0);
    }
}

#[test]
fn a_live_camera_whose_master_clock_is_lost_fails_and_says_why() {
    let parent = engine(vec![camera()]);
    let (other, _peer) = host(&parent, vec![camera()]);
    let (client, _session) = client(&parent);
    let far = parent.interfaces(None).into_iter().find(|one| one.device == "test-camera-2").unwrap();
    let far = client.open(&far.symbolic_link).unwrap();
    let near = client.open_by_name("test-camera").unwrap();
    near.set_setting("fps", "1000").unwrap();
    let (master, pin) = (client_pin(&far, 0), client_pin(&near, 0));
    let clock = master.create_clock().unwrap();
    pin.set_master_clock(Some(&clock)).unwrap();
    master.set_state(KsState::RUN).unwrap();
    pin.set_state(KsState::RUN).unwrap();
    let bytes = pin.format().unwrap().head().sample_size as usize;
    let read = || pin.read_stream(vec![pin.allocate(bytes).unwrap()]).unwrap().wait();
    for _ in 0..3 {
        read().unwrap();
    }
    other.peer.disconnect(WireError::Closed);
    while read().is_ok() {}
    let (status, reason) = pin.failure().unwrap();
    assert_eq!(status, STATUS_DEVICE_REMOVED);
    assert!(reason.contains("the process of the master clock has ended"), "{reason}");
}
