//! Creates and closes that a minidriver pends: who asked waits, no mutex is held, and what is marked is what is returned.

use crate::misbehaving::broken;
use crate::rig::{Rig, Setup, try_create, video};
use ks_abi::{
    KSCATEGORY_CAPTURE, KsPinDataFlow, NtStatus, STATUS_CANCELLED, STATUS_DEVICE_BUSY, STATUS_DEVICE_REMOVED,
    STATUS_OBJECT_NAME_NOT_FOUND, STATUS_UNSUCCESSFUL,
};
use ks_client::Client;
use ks_io::sync::{Arc, Mutex};
use ks_io::{Aspect, CancelCreates, Refusal, Services, Session, Transport};
use ks_stream::{
    Device, DeviceDispatch, Filter, FilterDescriptor, FilterDispatch, FilterInstance, PendedCreate, Pin, PinDescriptor,
    PinInstance, PnpState, Rule,
};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// How a minidriver answers its creates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Later,
    RefusedLater,
    /// What was marked is dropped.
    Dropped,
    /// Marked, and answered at once all the same.
    MarkedOnly,
    /// What was marked is kept until the device is removed, and ended then.
    WhenRemoved,
    /// As before, and a client that cancels has it ended.
    WhenCancelled,
}

/// A minidriver that pends. What it ends later it ends on a thread of its own, which takes the mutexes first.
#[derive(Clone)]
struct Pends {
    filter: Answer,
    pin: Answer,
    log: Arc<Mutex<Vec<&'static str>>>,
    kept_filter: Arc<Mutex<Option<PendedCreate<dyn FilterInstance>>>>,
    kept_pin: Arc<Mutex<Option<PendedCreate<dyn PinInstance>>>>,
    late: Arc<Mutex<Vec<bool>>>,
    closes: Arc<AtomicBool>,
}

impl Pends {
    fn new(filter: Answer, pin: Answer) -> Arc<Pends> {
        Arc::new(Pends {
            filter,
            pin,
            log: Arc::default(),
            kept_filter: Arc::default(),
            kept_pin: Arc::default(),
            late: Arc::default(),
            closes: Arc::default(),
        })
    }

    fn note(&self, what: &'static str) {
        self.log.lock().push(what);
    }

    /// Keeps what was marked, and ends it when the client cancels.
    fn keep<I: ?Sized + Send + Sync + 'static>(
        self: &Arc<Pends>,
        place: &Arc<Mutex<Option<PendedCreate<I>>>>,
        later: PendedCreate<I>,
    ) {
        let cancelled = || Err(Refusal::new(STATUS_CANCELLED, Aspect::Driver, "as you like"));
        let (driver, kept) = (self.clone(), place.clone());
        let mut place = place.lock();
        let routine = move || {
            let later = kept.lock().take();
            driver.note("cancelled");
            if let Some(later) = later {
                assert!(later.is_cancelled());
                driver.late.lock().push(later.complete(cancelled()));
            }
        };
        match later.when_cancelled(routine) {
            Ok(()) => *place = Some(later),
            Err(_) => {
                self.note("was cancelled");
                assert!(later.complete(cancelled()));
            }
        }
    }

    fn end<I: ?Sized + Send + Sync + 'static>(
        self: &Arc<Pends>,
        answer: Answer,
        later: PendedCreate<I>,
        instance: Arc<I>,
    ) {
        let ended = match answer {
            Answer::Later => later.complete(Ok(instance)),
            Answer::RefusedLater => later.complete(Err(Refusal::new(STATUS_DEVICE_BUSY, Aspect::Driver, "later: no"))),
            _ => {
                drop(later);
                true
            }
        };
        self.late.lock().push(ended);
    }
}

struct Instance(Arc<Pends>);

/// A filter without more.
struct Plain;

impl FilterInstance for Plain {
    fn create_pin(&self, _: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        Err(Refusal::new(STATUS_DEVICE_BUSY, Aspect::Driver, "no"))
    }
}

impl FilterDispatch for Instance {
    fn create(&self, filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        let driver = self.0.clone();
        let (later, pending) = filter.pend_create();
        match driver.filter {
            Answer::MarkedOnly => return Ok(Arc::new(Instance(driver))),
            Answer::WhenRemoved => *driver.kept_filter.lock() = Some(later),
            Answer::WhenCancelled => driver.keep(&driver.kept_filter, later),
            answer => {
                let filter = filter.clone();
                std::thread::spawn(move || {
                    filter.device().mutex().acquire();
                    filter.control().acquire();
                    driver.note("filter create ends");
                    filter.control().release();
                    filter.device().mutex().release();
                    driver.clone().end(answer, later, Arc::new(Instance(driver)));
                });
            }
        }
        Err(pending)
    }
}

impl FilterInstance for Instance {
    fn create_pin(&self, pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        let driver = self.0.clone();
        let (later, pending) = pin.pend_create();
        match driver.pin {
            Answer::MarkedOnly => return Err(Refusal::new(STATUS_DEVICE_BUSY, Aspect::Driver, "no")),
            Answer::WhenRemoved => *driver.kept_pin.lock() = Some(later),
            Answer::WhenCancelled => driver.keep(&driver.kept_pin, later),
            answer => {
                let pin = pin.clone();
                std::thread::spawn(move || {
                    pin.filter().control().acquire();
                    driver.note("pin create ends");
                    pin.filter().control().release();
                    drop(pin);
                    driver.clone().end(answer, later, Arc::new(Instance(driver)));
                });
            }
        }
        Err(pending)
    }
    fn close(&self, filter: &Filter) {
        let (driver, device, later) = (self.0.clone(), filter.device().clone(), filter.pend_close());
        driver.note("filter Close");
        std::thread::spawn(move || {
            device.mutex().acquire();
            driver.note("filter close ends");
            device.mutex().release();
            driver.closes.store(true, SeqCst);
            later.complete();
        });
    }
}

impl PinInstance for Instance {
    fn close(&self, pin: &Pin) {
        let (driver, filter, later) = (self.0.clone(), pin.filter().clone(), pin.pend_close());
        driver.note("pin Close");
        std::thread::spawn(move || {
            filter.control().acquire();
            driver.note("pin close ends");
            filter.control().release();
            drop(filter);
            later.complete();
        });
    }
}

impl DeviceDispatch for Instance {
    fn surprise_removal(&self, _: &Arc<Device>) {
        self.0.note("SurpriseRemoval");
    }
    fn remove(&self, _: &Arc<Device>) {
        self.0.note("Remove");
    }
}

struct Scene {
    rig: Rig,
    device: Arc<Device>,
    driver: Arc<Pends>,
}

fn scene(filter: Answer, pin: Answer) -> Scene {
    scene_on(Services::real(), filter, pin)
}

fn scene_on(services: Services, filter: Answer, pin: Answer) -> Scene {
    let rig = Rig::on(services, Setup::default());
    let driver = Pends::new(filter, pin);
    let own = || Arc::new(Instance(driver.clone()));
    let pins = vec![PinDescriptor::new(KsPinDataFlow::OUT, vec![video()])];
    let factory = FilterDescriptor::new("pends", "pends", &[KSCATEGORY_CAPTURE], pins, own());
    let device = Device::add_driven(&rig.io, "pends", own(), vec![Arc::new(factory)]).unwrap();
    device.start_device().unwrap();
    Scene { rig, device, driver }
}

impl Scene {
    fn open(&self) -> Result<ks_client::Filter, ks_client::ClientError> {
        Client::new(self.rig.session.clone()).open_by_name("pends")
    }
}

#[test]
fn creates_and_closes_that_a_minidriver_pends_are_waited_for_with_no_mutex_held() {
    let Scene { rig, device, driver } = scene(Answer::Later, Answer::Later);
    let client = Client::new(rig.session.clone());
    let filter = client.open_by_name("pends").unwrap();
    assert_eq!(*driver.log.lock(), ["filter create ends"]);
    let pin = try_create(&filter, 0, KsPinDataFlow::OUT, None).unwrap();
    assert_eq!(pin.state().unwrap(), ks_abi::KsState::STOP, "it is a pin as any other");
    drop(pin);
    drop(filter);
    let wanted =
        ["filter create ends", "pin create ends", "pin Close", "pin close ends", "filter Close", "filter close ends"];
    assert_eq!(*driver.log.lock(), wanted, "each is over when its client goes on");
    assert!(driver.closes.load(SeqCst));
    assert_eq!(*driver.late.lock(), [true, true], "somebody waited");
    assert_eq!((device.open_filters(), device.violations()), (0, Vec::new()));
    device.disable().unwrap();
    assert_eq!(device.pnp_state(), PnpState::Deleted);
}

#[test]
fn what_a_pended_create_ends_with_is_the_clients_answer() {
    for (answer, status) in [(Answer::RefusedLater, STATUS_DEVICE_BUSY), (Answer::Dropped, STATUS_UNSUCCESSFUL)] {
        let refused = scene(answer, Answer::Later);
        assert_eq!(refused.open().unwrap_err().status, status, "{answer:?}");
        refused.device.disable().unwrap();
        let scene = scene(Answer::Later, answer);
        let filter = scene.open().unwrap();
        for _ in 0..3 {
            // The only instance of the factory: one that is refused is not counted.
            let error = try_create(&filter, 0, KsPinDataFlow::OUT, None).map(drop).unwrap_err();
            assert_eq!(error.status, status, "{answer:?}");
        }
        drop(filter);
        assert_eq!((scene.device.open_filters(), scene.device.violations()), (0, Vec::new()));
        scene.device.disable().unwrap();
    }
}

#[test]
fn a_removal_ends_creates_that_pend_and_what_comes_later_is_told() {
    let scene = scene(Answer::Later, Answer::WhenRemoved);
    let filter = scene.open().unwrap();
    let (device, driver) = (scene.device.clone(), scene.driver.clone());
    let creates = std::thread::spawn(move || {
        let status = try_create(&filter, 0, KsPinDataFlow::OUT, None).map(drop).unwrap_err().status;
        drop(filter);
        status
    });
    let later = loop {
        if let Some(later) = driver.kept_pin.lock().take() {
            break later;
        }
        std::thread::yield_now();
    };
    device.surprise_remove();
    assert_eq!(creates.join().unwrap(), STATUS_DEVICE_REMOVED);
    assert!(!later.complete(Ok(Arc::new(Instance(driver.clone())))), "nobody waits any more");
    assert_eq!(device.pnp_state(), PnpState::Deleted);
    let log = driver.log.lock().join(" ");
    // The pin was never made, so it is not closed.
    assert_eq!(log, "filter create ends SurpriseRemoval filter Close filter close ends Remove");
    assert_eq!(scene.open().unwrap_err().status, STATUS_OBJECT_NAME_NOT_FOUND);
}

#[test]
fn a_removal_ends_the_create_of_a_filter_that_pends() {
    let scene = scene(Answer::WhenRemoved, Answer::Later);
    let (rig, driver) = (scene.rig.session.clone(), scene.driver.clone());
    let opens = std::thread::spawn(move || Client::new(rig).open_by_name("pends").map(drop).unwrap_err().status);
    let later = loop {
        if let Some(later) = driver.kept_filter.lock().take() {
            break later;
        }
        std::thread::yield_now();
    };
    // It is listed once the callback has returned, which is what the device mutex tells.
    scene.device.mutex().acquire();
    scene.device.mutex().release();
    scene.device.surprise_remove();
    assert_eq!(opens.join().unwrap(), STATUS_DEVICE_REMOVED);
    assert!(!later.complete(Ok(Arc::new(Instance(driver.clone())))), "nobody waits any more");
    assert_eq!(*driver.log.lock(), ["SurpriseRemoval", "Remove"]);
    assert_eq!(scene.device.pnp_state(), PnpState::Deleted);
}

/// Opens the filter and creates a pin, or says why not.
fn create_both(session: Arc<Session>) -> Result<(), NtStatus> {
    let filter = Client::new(session).open_by_name("pends").map_err(|error| error.status)?;
    try_create(&filter, 0, KsPinDataFlow::OUT, None).map(drop).map_err(|error| error.status)
}

fn wait_until(what: impl Fn() -> bool) {
    while !what() {
        std::thread::yield_now();
    }
}

#[test]
fn a_cancel_of_the_client_has_the_minidriver_end_a_create_that_pends() {
    for (filter, pin) in [(Answer::WhenCancelled, Answer::Later), (Answer::Later, Answer::WhenCancelled)] {
        let scene = scene(filter, pin);
        let (session, driver) = (scene.rig.session.clone(), scene.driver.clone());
        let other = scene.rig.io.session();
        for round in 1..4 {
            let opener = session.clone();
            let creates = std::thread::spawn(move || create_both(opener));
            wait_until(|| driver.kept_filter.lock().is_some() || driver.kept_pin.lock().is_some());
            // Another client's cancel is none of this one.
            Client::new(other.clone()).cancel_creates(CancelCreates::FromNowOn);
            assert!(!creates.is_finished());
            Client::new(session.clone()).cancel_creates(CancelCreates::UnderWay);
            assert_eq!(creates.join().unwrap(), Err(STATUS_CANCELLED), "round {round}");
            assert_eq!(driver.log.lock().iter().filter(|call| **call == "cancelled").count(), round);
        }
        // From now on: what pends is cancelled before it waits, and what does not is made.
        session.cancel_creates(CancelCreates::FromNowOn);
        assert_eq!(create_both(session.clone()), Err(STATUS_CANCELLED));
        assert_eq!(driver.log.lock().iter().filter(|call| **call == "was cancelled").count(), 1);
        assert!(Client::new(session).open_by_name("source").is_ok());
        assert_eq!((scene.device.open_filters(), scene.device.violations()), (0, Vec::new()));
        scene.device.disable().unwrap();
        assert!(!driver.log.lock().contains(&"pin Close"), "a pin that was never made is not closed");
    }
}

#[test]
fn a_create_whose_minidriver_has_no_cancel_routine_goes_on() {
    let scene = scene(Answer::WhenRemoved, Answer::Later);
    let (session, driver) = (scene.rig.session.clone(), scene.driver.clone());
    let opener = session.clone();
    let opens = std::thread::spawn(move || Client::new(opener).open_by_name("pends").map(drop));
    wait_until(|| driver.kept_filter.lock().is_some());
    session.cancel_creates(CancelCreates::UnderWay);
    assert!(driver.kept_filter.lock().as_ref().unwrap().is_cancelled() && !opens.is_finished());
    let later = driver.kept_filter.lock().take().unwrap();
    assert!(later.complete(Ok(Arc::new(Instance(driver.clone())))), "somebody waits");
    assert!(opens.join().unwrap().is_ok());
    scene.device.disable().unwrap();
}

// A cancel, the driver's own end and a removal come at once; in virtual time, with many seeds.
#[test]
fn a_create_ends_once_whoever_is_first() {
    let mut ends = std::collections::BTreeSet::new();
    for seed in 0..120 {
        let Scene { rig, device, driver } =
            scene_on(Services::virtual_time(seed), Answer::WhenCancelled, Answer::WhenCancelled);
        let services = rig.services().clone();
        let (session, opener) = (rig.session.clone(), rig.session.clone());
        let creates = services.spawn("creates", move || {
            Client::new(opener).open_by_name("pends").map(drop).map_err(|error| error.status)
        });
        let (ending, first) = (driver.kept_filter.clone(), services.clone());
        let ends_it = services.spawn("driver", move || {
            (0..seed % 7).for_each(|_| first.yield_now());
            let later = ending.lock().take();
            later.is_some_and(|later| later.complete(Ok(Arc::new(Plain))))
        });
        let second = services.clone();
        let cancels = services.spawn("cancels", move || {
            (0..seed % 5).for_each(|_| second.yield_now());
            session.cancel_creates(CancelCreates::FromNowOn);
        });
        let (pulled, third) = (device.clone(), services.clone());
        let removes = services.spawn("removes", move || {
            (0..seed % 11).for_each(|_| third.yield_now());
            if seed % 3 == 0 {
                pulled.surprise_remove();
            }
        });
        let ended = creates.unwrap().join();
        let by_driver = ends_it.unwrap().join();
        cancels.unwrap().join();
        removes.unwrap().join();
        assert!(!by_driver || ended == Ok(()), "seed {seed}: {ended:?}");
        let name = match ended {
            Ok(()) => "made",
            Err(STATUS_CANCELLED) => "cancelled",
            Err(STATUS_DEVICE_REMOVED | STATUS_OBJECT_NAME_NOT_FOUND) => "removed",
            Err(other) => panic!("seed {seed}: {other}"),
        };
        ends.insert(name);
        assert_eq!(device.violations(), Vec::new(), "seed {seed}");
        drop(driver.kept_filter.lock().take());
        device.surprise_remove();
        rig.settle();
        assert_eq!(device.pnp_state(), PnpState::Deleted, "seed {seed}");
    }
    assert_eq!(ends.into_iter().collect::<Vec<_>>(), ["cancelled", "made", "removed"], "each way out was taken");
}

#[test]
fn a_create_that_is_marked_and_answered_at_once_breaks_its_rule_and_no_other() {
    let opens = scene(Answer::MarkedOnly, Answer::Later);
    assert_eq!(opens.open().unwrap_err().status, STATUS_UNSUCCESSFUL);
    let scene = scene(Answer::Later, Answer::MarkedOnly);
    let filter = scene.open().unwrap();
    let error = try_create(&filter, 0, KsPinDataFlow::OUT, None).map(drop).unwrap_err();
    assert_eq!(error.status, STATUS_UNSUCCESSFUL);
    for (device, callback, object, returned) in [
        (&opens.device, "filter Create", "pends", "STATUS_SUCCESS"),
        (&scene.device, "pin Create", "pends.0", "STATUS_DEVICE_BUSY"),
    ] {
        let violations = device.violations();
        assert_eq!(broken(&violations), [Rule::MarkPendingIrp]);
        assert_eq!((violations[0].callback, violations[0].object.as_str()), (callback, object));
        assert!(violations[0].what.starts_with("it marked its request pending and returned "), "{violations:?}");
        assert!(violations[0].what.contains(returned), "{violations:?}");
    }
}
