//! Creates and closes that a minidriver pends: who asked waits, no mutex is held, and what is marked is what is returned.

use crate::misbehaving::broken;
use crate::rig::{Rig, Setup, try_create, video};
use ks_abi::{
    KSCATEGORY_CAPTURE, KsPinDataFlow, STATUS_DEVICE_BUSY, STATUS_DEVICE_REMOVED, STATUS_OBJECT_NAME_NOT_FOUND,
    STATUS_UNSUCCESSFUL,
};
use ks_client::Client;
use ks_io::sync::{Arc, Mutex};
use ks_io::{Aspect, Refusal, Services};
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

impl FilterDispatch for Instance {
    fn create(&self, filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        let driver = self.0.clone();
        let (later, pending) = filter.pend_create();
        match driver.filter {
            Answer::MarkedOnly => return Ok(Arc::new(Instance(driver))),
            Answer::WhenRemoved => *driver.kept_filter.lock() = Some(later),
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
    let rig = Rig::on(Services::real(), Setup::default());
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
