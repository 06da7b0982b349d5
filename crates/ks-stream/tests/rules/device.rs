//! Callbacks of a device that misbehave: each ends in its own device, whose streams say which callback it was, and
//! another graph goes on.

use crate::misbehaving::broken;
use crate::rig::{Pair, Rig, UP, create, fill, video};
use ks_abi::kernel::{DeviceCapabilities, DevicePowerState};
use ks_abi::{
    Guid, KSCATEGORY_CAPTURE, KsPinDataFlow, KsState, NtStatus, STATUS_PENDING, STATUS_SUCCESS, STATUS_TIMEOUT,
    STATUS_UNSUCCESSFUL,
};
use ks_client::Client;
use ks_io::sync::Arc;
use ks_io::{Aspect, Level, Refusal, Services};
use ks_stream::{
    Device, DeviceDispatch, Filter, FilterDescriptor, FilterDispatch, FilterInstance, Interface, LeadingEdge, Pin,
    PinDescriptor, PinInstance, Rule, Watchdog,
};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::Duration;

type Hook = Arc<dyn Fn(&'static str, &Arc<Device>) -> NtStatus + Send + Sync>;

/// A driver whose hook is called in each callback of its device and of its factory, and answers where one may refuse.
struct Driver(Hook);

impl Driver {
    fn at(&self, name: &'static str, device: &Arc<Device>) -> Result<(), Refusal> {
        match (self.0)(name, device) {
            STATUS_SUCCESS => Ok(()),
            other => Err(Refusal::new(other, Aspect::Driver, "the hook says so")),
        }
    }
}

impl DeviceDispatch for Driver {
    fn add(&self, device: &Arc<Device>) -> Result<(), Refusal> {
        self.at("device Add", device)
    }
    fn start(&self, device: &Arc<Device>) -> Result<(), Refusal> {
        self.at("device Start", device)
    }
    fn post_start(&self, device: &Arc<Device>) -> Result<(), Refusal> {
        self.at("device PostStart", device)
    }
    fn query_stop(&self, device: &Arc<Device>) -> Result<(), Refusal> {
        self.at("device QueryStop", device)
    }
    fn cancel_stop(&self, device: &Arc<Device>) {
        let _ = self.at("device CancelStop", device);
    }
    fn stop(&self, device: &Arc<Device>) {
        let _ = self.at("device Stop", device);
    }
    fn query_remove(&self, device: &Arc<Device>) -> Result<(), Refusal> {
        self.at("device QueryRemove", device)
    }
    fn cancel_remove(&self, device: &Arc<Device>) {
        let _ = self.at("device CancelRemove", device);
    }
    fn remove(&self, device: &Arc<Device>) {
        let _ = self.at("device Remove", device);
    }
    fn query_capabilities(&self, device: &Arc<Device>, _: &mut DeviceCapabilities) -> Result<(), Refusal> {
        self.at("device QueryCapabilities", device)
    }
    fn surprise_removal(&self, device: &Arc<Device>) {
        let _ = self.at("device SurpriseRemoval", device);
    }
    fn query_power(&self, device: &Arc<Device>, _: DevicePowerState, _: DevicePowerState) -> Result<(), Refusal> {
        self.at("device QueryPower", device)
    }
    fn set_power(&self, device: &Arc<Device>, _: DevicePowerState, _: DevicePowerState) {
        let _ = self.at("device SetPower", device);
    }
    fn query_interface(&self, device: &Arc<Device>, _: Guid) -> Option<Interface> {
        let _ = self.at("device QueryInterface", device);
        None
    }
}

impl FilterDispatch for Driver {
    fn create(&self, _: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        Ok(Arc::new(Idle))
    }
    fn sleep(&self, device: &Arc<Device>, _: DevicePowerState) {
        let _ = self.at("factory Sleep", device);
    }
    fn wake(&self, device: &Arc<Device>, _: DevicePowerState) {
        let _ = self.at("factory Wake", device);
    }
}

/// A filter whose pins wait for ever.
struct Idle;

impl FilterInstance for Idle {
    fn create_pin(&self, _: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        Ok(Arc::new(Idle))
    }
}

impl PinInstance for Idle {}

fn add(rig: &Rig, hook: &Hook) -> Result<Arc<Device>, Refusal> {
    let driver = Arc::new(Driver(hook.clone()));
    let pins = vec![PinDescriptor::new(KsPinDataFlow::OUT, vec![video()])];
    let filter = FilterDescriptor::new("idle", "idle", &[KSCATEGORY_CAPTURE], pins, driver.clone());
    Device::add_driven(&rig.io, "bad", driver, vec![Arc::new(filter)])
}

/// A pin that a client streams from, as long as it works.
fn stream(rig: &Rig) -> Option<(ks_client::Filter, ks_client::Pin)> {
    let filter = Client::new(rig.session.clone()).open_by_name("idle").ok()?;
    let pin = create(&filter, 0, KsPinDataFlow::OUT, None);
    UP.iter().for_each(|state| drop(pin.set_state(*state)));
    Some((filter, pin))
}

/// Everything that is asked of a device in its life, with a stream where there may be one. What is refused is left out.
/// Returns why the stream failed.
fn live(rig: &Rig, device: &Arc<Device>) -> Vec<String> {
    let _ = device.start_device();
    let streamed = stream(rig);
    device.query_capabilities();
    let _ = device.query_interface(Guid::from_u128(1));
    let _ = device.query_stop();
    let _ = device.cancel_stop();
    let _ = device.rebalance();
    let _ = device.sleep(DevicePowerState::D3);
    let _ = device.wake();
    let said = streamed.iter().filter_map(|(_, pin)| pin.failure()).map(|(_, reason)| reason).collect();
    drop(streamed);
    rig.settle();
    let _ = device.query_remove();
    let _ = device.cancel_remove();
    device.surprise_remove();
    said
}

const CALLBACKS: [&str; 16] = [
    "device Add",
    "device Start",
    "device PostStart",
    "device QueryStop",
    "device CancelStop",
    "device Stop",
    "device QueryRemove",
    "device CancelRemove",
    "device Remove",
    "device QueryCapabilities",
    "device SurpriseRemoval",
    "device QueryPower",
    "device SetPower",
    "device QueryInterface",
    "factory Sleep",
    "factory Wake",
];

/// Those during which a stream is open.
const IN_MID_STREAM: [&str; 9] = [
    "device QueryStop",
    "device CancelStop",
    "device Stop",
    "device QueryCapabilities",
    "device QueryPower",
    "device SetPower",
    "device QueryInterface",
    "factory Sleep",
    "factory Wake",
];

const FRAMES: u32 = 100;

fn other_graph(rig: &Rig) -> Pair {
    rig.source.last.store(FRAMES, SeqCst);
    let pair = rig.pair();
    rig.source.script(fill);
    pair.bring(&UP);
    pair
}

/// What becomes of a device whose callback `name` does `what`: the device, if it came to be, and what its stream said.
/// Another graph streams meanwhile, to its end.
fn with_defect(
    name: &'static str,
    what: impl Fn(&Arc<Device>) -> NtStatus + Send + Sync + 'static,
) -> (Option<Arc<Device>>, Arc<Device>, Vec<String>) {
    let rig = Rig::new(1);
    let other = other_graph(&rig);
    let reached = Arc::new(AtomicU32::new(0));
    let (count, seen) = (reached.clone(), Arc::new(ks_io::sync::Mutex::new(None)));
    let keep = seen.clone();
    let hook: Hook = Arc::new(move |at, device| {
        *keep.lock() = Some(device.clone());
        if at != name {
            return STATUS_SUCCESS;
        }
        count.fetch_add(1, SeqCst);
        what(device)
    });
    let device = add(&rig, &hook).ok();
    let said = device.as_ref().map_or_else(Vec::new, |device| live(&rig, device));
    assert!(reached.load(SeqCst) > 0, "{name} is called");
    rig.settle();
    assert_eq!(rig.sink.seen_now(), (0..FRAMES).collect::<Vec<_>>(), "{name}: the other graph goes on");
    other.bring(&crate::rig::DOWN);
    drop(other);
    rig.assert_quiescent();
    let seen = seen.lock().take().unwrap();
    (device, seen, said)
}

#[test]
fn a_panic_in_any_callback_of_a_device_ends_in_the_device_and_its_streams_name_it() {
    for name in CALLBACKS {
        let (made, device, said) = with_defect(name, |_| std::panic::resume_unwind(Box::new("told to panic")));
        assert_eq!(made.is_some(), name != "device Add", "{name}");
        let reason = format!("the minidriver panicked in the {name} callback of bad: told to panic");
        assert_eq!(device.stops().first(), Some(&reason), "{name}");
        assert!(device.stops().iter().all(|stop| *stop == reason), "nothing else is blamed: {:?}", device.stops());
        assert_eq!(said, if IN_MID_STREAM.contains(&name) { vec![reason] } else { Vec::new() }, "{name}");
        assert_eq!(device.violations(), [], "a panic is no broken rule");
    }
}

#[test]
fn a_level_that_a_callback_of_a_device_leaves_behind_breaks_its_rule_and_no_other() {
    for name in CALLBACKS {
        let (_, device, _) = with_defect(name, |_| {
            Level::Apc.set_current();
            STATUS_SUCCESS
        });
        assert_eq!(Level::current(), Level::Passive, "{name}");
        let rule = if name.starts_with("factory") { Rule::IrqlFilterCallbacks } else { Rule::IrqlDeviceCallbacks };
        let violations = device.violations();
        assert_eq!(broken(&violations), [rule], "{name}");
        assert!(violations.iter().all(|one| one.callback == name && one.object == "bad"), "{violations:?}");
    }
}

#[test]
fn a_status_that_a_callback_of_a_device_may_not_return_is_refused_by_name() {
    let refusing = [
        "device Add",
        "device Start",
        "device PostStart",
        "device QueryStop",
        "device QueryRemove",
        "device QueryCapabilities",
        "device QueryPower",
    ];
    for (name, status) in refusing.into_iter().flat_map(|name| [(name, STATUS_PENDING), (name, STATUS_TIMEOUT)]) {
        let (_, device, said) = with_defect(name, move |_| status);
        let violations = device.violations();
        assert_eq!(broken(&violations), [Rule::CallbackReturn], "{name}");
        assert!(violations.iter().all(|one| one.callback == name && one.object == "bad"), "{violations:?}");
        assert!(violations.iter().all(|one| one.what.contains(&status.to_string())), "{violations:?}");
        assert!(said.iter().all(|reason| reason.contains(name)), "{said:?}");
    }
}

#[test]
fn an_edge_of_a_closed_pin_that_is_used_in_any_callback_of_a_device_is_told_with_the_callback() {
    for name in CALLBACKS {
        let rig = Rig::new(1);
        let stale = Arc::new(ks_io::sync::Mutex::new(None));
        let keep = stale.clone();
        rig.source.script(move |_, pin| {
            *keep.lock() = LeadingEdge::of(pin);
            STATUS_PENDING
        });
        let (filter, pin) = rig.alone("source");
        crate::rig::bring(&pin, &UP);
        let request = pin.read_stream(crate::rig::frames(&pin, 1)).unwrap();
        rig.settle();
        drop((pin, filter));
        assert!(request.wait().is_err() && stale.lock().is_some(), "{name}");
        let used = stale.clone();
        let (_, device, _) = with_defect(name, move |_| {
            assert!(!used.lock().as_ref().is_some_and(LeadingEdge::lock), "nothing is locked");
            STATUS_SUCCESS
        });
        let violations = device.violations();
        assert_eq!(broken(&violations), [Rule::InvalidStreamPointer], "{name}");
        assert!(violations.iter().all(|one| one.callback == name && one.object == "bad"), "{violations:?}");
        stale.lock().take();
    }
}

#[test]
fn the_device_mutex_is_paired_in_callbacks_of_a_device_and_a_factory_may_be_added_in_them() {
    // Held already; not held, and not given back.
    for name in ["device Start", "device SetPower", "device Stop", "device SurpriseRemoval", "factory Sleep"] {
        let (_, device, _) = with_defect(name, |device| {
            device.mutex().acquire();
            STATUS_SUCCESS
        });
        assert_eq!(broken(&device.violations()), [Rule::DeviceMutex], "{name}");
        assert!(device.mutex().try_acquire(), "{name}: the next one gets it");
        device.mutex().release();
    }
    for name in CALLBACKS {
        let (_, device, _) = with_defect(name, |device| {
            let pins = vec![PinDescriptor::new(KsPinDataFlow::OUT, vec![video()])];
            let driver = Arc::new(Driver(Arc::new(|_, _| STATUS_SUCCESS)));
            let filter = FilterDescriptor::new("more", "more", &[KSCATEGORY_CAPTURE], pins, driver);
            device.add_factory(Arc::new(filter));
            STATUS_SUCCESS
        });
        assert_eq!((device.violations(), device.stops()), (Vec::new(), Vec::new()), "{name}");
    }
}

#[test]
fn routines_for_passive_level_are_not_called_above_it() {
    for name in ["device Start", "device PostStart", "factory Wake"] {
        let (_, device, _) = with_defect(name, |device| {
            let pins = vec![PinDescriptor::new(KsPinDataFlow::OUT, vec![video()])];
            let driver = Arc::new(Driver(Arc::new(|_, _| STATUS_SUCCESS)));
            let filter = FilterDescriptor::new("more", "more", &[KSCATEGORY_CAPTURE], pins, driver);
            let _level = Level::Dispatch.raise();
            device.add_factory(Arc::new(filter));
            STATUS_SUCCESS
        });
        let violations = device.violations();
        assert_eq!(broken(&violations), [Rule::IrqlDdis], "{name}");
        assert!(violations[0].what.starts_with("Device::add_factory may be called at Passive"), "{violations:?}");
    }
}

/// Lets the endless callback end when the test does, however it does.
struct Release(Arc<AtomicBool>);

impl Drop for Release {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

#[test]
fn an_endless_callback_of_a_device_gives_its_filters_up_by_name_and_other_graphs_go_on() {
    const FRAMES: u32 = 50;
    let (tell, told) = std::sync::mpsc::channel();
    let _watchdog = Watchdog::telling(Duration::from_millis(200), move |hang| drop(tell.send(hang.clone()))).unwrap();
    let rig = Rig::on(Services::real(), crate::rig::Setup::default());
    rig.source.last.store(FRAMES, SeqCst);
    let release = Release(Arc::default());
    let end = release.0.clone();
    let hook: Hook = Arc::new(move |name, _| {
        while name == "device SetPower" && !end.load(SeqCst) {
            std::hint::spin_loop();
        }
        STATUS_SUCCESS
    });
    let device = add(&rig, &hook).unwrap();
    device.start_device().unwrap();
    let (filter, pin) = stream(&rig).unwrap();
    let power = {
        let device = device.clone();
        std::thread::spawn(move || device.sleep(DevicePowerState::D3))
    };
    while pin.failure().is_none() {
        std::thread::yield_now();
    }
    let (status, reason) = pin.failure().unwrap();
    assert_eq!(status, STATUS_UNSUCCESSFUL);
    assert!(reason.starts_with("the device SetPower callback of bad has been computing for "), "{reason}");
    assert_eq!(device.stops(), std::slice::from_ref(&reason));
    // Other tests of this program have watchdogs and hangs of their own.
    let told = told.iter().find(|hang| hang.reason == reason).unwrap();
    assert!(std::fs::exists(format!("/proc/self/task/{}", told.thread)).unwrap(), "a thread of this process");
    // Nobody waits for the mutex that it holds.
    let refused = Client::new(rig.session.clone()).open_by_name("idle").unwrap_err();
    assert!(refused.to_string().contains("a callback of the device bad does not return"), "{refused}");
    assert!(pin.set_state(KsState::STOP).is_err());
    drop((pin, filter));
    let other = rig.pair();
    rig.source.script(fill);
    other.bring(&UP);
    while (rig.sink.seen_now().len() as u32) < FRAMES {
        std::thread::yield_now();
    }
    other.bring(&crate::rig::DOWN);
    drop((other, release));
    power.join().unwrap().unwrap();
}
