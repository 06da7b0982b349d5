//! Minidrivers that misbehave: each does so in its own filter, which says in which callback, and another graph goes on.

use crate::rig::{FRAME_BYTES, Pair, Rig, UP, fill, video, wait};
use ks_abi::{
    Guid, IoControlCode, KSCATEGORY_CAPTURE, KSPROPERTY_TYPE_GET, KsHandshake, KsIdentifier, KsPinCommunication,
    KsPinDataFlow, KsState, NtStatus, STATUS_PENDING, STATUS_SUCCESS, STATUS_TIMEOUT, STATUS_UNSUCCESSFUL,
};
use ks_client::Connect;
use ks_io::sync::{Arc, Mutex};
use ks_io::{Aspect, Refusal, RequestorMode};
use ks_stream::{
    AutomationTable, CloneId, ClonePointer, DataFormat, DataRange, Device, EventItem, EventSet, Filter,
    FilterDescriptor, FilterDispatch, FilterInstance, Framing, LeadingEdge, Pin, PinDescriptor, PinInstance,
    ProcessPins, PropertyItem, PropertySet, Rule, Violation,
};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{MutexGuard, PoisonError};
use zerocopy::IntoBytes;

/// A set of the minidriver, with one property and one event on filter and pin.
pub const SET: Guid = Guid::from_u128(0x6a3b_9b20_12f1_4b39_8d34_0c5f_2e7d_9a01);

/// What it does where. A hook is called in each callback, by its name, and may answer in its place.
pub type Hook = Arc<dyn Fn(&Place<'_>) -> NtStatus + Send + Sync>;

/// A callback that runs, and what it was given.
pub struct Place<'p> {
    pub name: &'static str,
    pub filter: Option<&'p Filter>,
    pub pin: Option<&'p Pin>,
    pub shared: Option<&'p Arc<Pin>>,
    pub to: Option<KsState>,
    pub kept: &'p Kept,
}

/// What it keeps between two callbacks.
#[derive(Default)]
pub struct Kept {
    pub clones: Mutex<Vec<ClonePointer>>,
    pub edges: Mutex<Vec<LeadingEdge>>,
}

struct Driver {
    hook: Hook,
    /// The filter of the sink processes as a whole.
    sink_is_whole: bool,
    kept: Arc<Kept>,
}

impl Driver {
    fn at(&self, name: &'static str, filter: Option<&Filter>, pin: Option<&Pin>) -> NtStatus {
        (self.hook)(&Place { name, filter, pin, shared: None, to: None, kept: &self.kept })
    }

    fn with(&self, name: &'static str, pin: &Arc<Pin>, to: Option<KsState>) -> NtStatus {
        (self.hook)(&Place { name, filter: None, pin: Some(pin), shared: Some(pin), to, kept: &self.kept })
    }
}

fn outcome(status: NtStatus) -> Result<(), Refusal> {
    match status {
        STATUS_SUCCESS => Ok(()),
        other => Err(Refusal::new(other, Aspect::Driver, "the hook says so")),
    }
}

struct Kind(Arc<Driver>);

impl FilterDispatch for Kind {
    fn create(&self, filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        outcome(self.0.at("filter Create", Some(filter), None))?;
        let on_filter =
            |driver: Arc<Driver>| move |filter: &Filter, name: &'static str| driver.at(name, Some(filter), None);
        let on_pin = |driver: Arc<Driver>| move |pin: &Pin, name: &'static str| driver.at(name, None, Some(pin));
        Ok(Arc::new(Instance {
            driver: self.0.clone(),
            is_whole: self.0.sink_is_whole && filter.name().contains("sink"),
            filter: table(on_filter(self.0.clone())),
            pin: Arc::new(table(on_pin(self.0.clone()))),
        }))
    }
}

/// Property 0 and event 0 of the set.
fn table<T: 'static>(at: impl Fn(&T, &'static str) -> NtStatus + Clone + Send + Sync + 'static) -> AutomationTable<T> {
    let (get, add) = (at.clone(), at);
    let property = PropertyItem::new(0).get(move |object: &T, _| get(object, "handler"));
    let mut event = EventItem::new(0);
    event.add = Some(Box::new(move |object, _| add(object, "event")));
    AutomationTable {
        properties: vec![PropertySet { set: SET, items: vec![property] }],
        events: vec![EventSet { set: SET, items: vec![event] }],
        ..AutomationTable::default()
    }
}

struct Instance {
    driver: Arc<Driver>,
    is_whole: bool,
    filter: AutomationTable<Filter>,
    pin: Arc<AutomationTable<Pin>>,
}

impl FilterInstance for Instance {
    fn is_filter_centric(&self) -> bool {
        self.is_whole
    }
    fn process(&self, filter: &Arc<Filter>, pins: &ProcessPins<'_>) -> NtStatus {
        match self.driver.at("filter Process", Some(filter), None) {
            STATUS_SUCCESS => {
                pins.iter().for_each(|pin| pin.terminate());
                STATUS_PENDING
            }
            other => other,
        }
    }
    fn reset(&self, filter: &Arc<Filter>) {
        let _ = self.driver.at("filter Reset", Some(filter), None);
    }
    fn create_pin(&self, pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        outcome(self.driver.with("pin Create", pin, None))?;
        Ok(Arc::new(DriverPin { made: AtomicU32::new(0), driver: self.driver.clone(), table: self.pin.clone() }))
    }
    fn accept_format(&self, _: u32, _: &DataFormat, _: &DataRange) -> Result<(), Refusal> {
        outcome(self.driver.at("pin SetDataFormat", None, None))
    }
    fn data_ranges(&self, _: u32) -> Option<Vec<DataRange>> {
        self.driver.at("filter data ranges", None, None).is_error().then(Vec::new)
    }
    fn intersect(&self, _: u32, _: &DataRange, _: &DataRange) -> Result<DataFormat, Refusal> {
        outcome(self.driver.at("intersect", None, None)).map(|()| video())
    }
    fn automation(&self) -> Option<&AutomationTable<Filter>> {
        Some(&self.filter)
    }
    fn close(&self, filter: &Filter) {
        let _ = self.driver.at("filter Close", Some(filter), None);
    }
}

/// Frames that an output makes.
const MOST_FRAMES: u32 = 12;

struct DriverPin {
    made: AtomicU32,
    driver: Arc<Driver>,
    table: Arc<AutomationTable<Pin>>,
}

impl PinInstance for DriverPin {
    fn process(&self, pin: &Arc<Pin>) -> NtStatus {
        match self.driver.with("pin Process", pin, None) {
            STATUS_SUCCESS => {
                let mut edge = pin.leading_edge();
                while let Some(frame) = edge {
                    // A pair that never ends never lets virtual time go on.
                    if pin.data_flow() == KsPinDataFlow::OUT && self.made.fetch_add(1, SeqCst) >= MOST_FRAMES {
                        return STATUS_PENDING;
                    }
                    frame.set_data_used(FRAME_BYTES);
                    edge = frame.advance();
                }
                STATUS_PENDING
            }
            other => other,
        }
    }
    fn set_device_state(&self, pin: &Arc<Pin>, to: KsState, _: KsState) -> Result<(), Refusal> {
        outcome(self.driver.with("pin SetDeviceState", pin, Some(to)))
    }
    fn framing(&self, pin: &Pin) -> Option<Framing> {
        let _ = self.driver.at("pin framing", None, Some(pin));
        Some(Framing { frames: 4, frame_bytes: FRAME_BYTES, alignment: 64 })
    }
    fn reset(&self, pin: &Arc<Pin>) {
        let _ = self.driver.with("pin Reset", pin, None);
    }
    fn connect(&self, pin: &Arc<Pin>) -> Result<(), Refusal> {
        outcome(self.driver.with("pin Connect", pin, None))
    }
    fn disconnect(&self, pin: &Pin) {
        let _ = self.driver.at("pin Disconnect", None, Some(pin));
    }
    fn close(&self, pin: &Pin) {
        let _ = self.driver.at("pin Close", None, Some(pin));
    }
    fn clone_cancelled(&self, pin: &Pin, _: CloneId) {
        let _ = self.driver.at("clone cancel", None, Some(pin));
        self.driver.kept.clones.lock().clear();
    }
    fn handshake(&self, pin: &Arc<Pin>, offer: &KsHandshake) -> Result<KsHandshake, NtStatus> {
        match self.driver.with("handshake", pin, None) {
            STATUS_SUCCESS => Ok(*offer),
            other => Err(other),
        }
    }
    fn automation(&self) -> Option<&AutomationTable<Pin>> {
        Some(&self.table)
    }
}

/// A minidriver with two filters, `bad` with an output and `bad-sink` with an input, beside the well-behaved ones of the
/// rig.
pub struct Bad {
    pub rig: Rig,
    pub device: Arc<Device>,
    pub kept: Arc<Kept>,
    /// Some leave requests behind, which the rig counts for the process: one at a time.
    _alone: MutexGuard<'static, ()>,
}

impl Bad {
    pub fn new(hook: impl Fn(&Place<'_>) -> NtStatus + Send + Sync + 'static) -> Bad {
        Bad::of(Arc::new(hook), false)
    }

    /// As [`Bad::new`]; the filter of the sink processes as a whole.
    pub fn whole(hook: impl Fn(&Place<'_>) -> NtStatus + Send + Sync + 'static) -> Bad {
        Bad::of(Arc::new(hook), true)
    }

    fn of(hook: Hook, sink_is_whole: bool) -> Bad {
        static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let rig = Rig::new(1);
        let kept = Arc::<Kept>::default();
        let driver = Arc::new(Driver { hook, sink_is_whole, kept: kept.clone() });
        let pin = |flow, communication| {
            let mut pin = PinDescriptor { communication, ..PinDescriptor::new(flow, vec![video()]) };
            pin.instances_possible = PinDescriptor::UNLIMITED;
            pin
        };
        let filter = |name, flow| {
            let pins = vec![pin(flow, KsPinCommunication::BOTH)];
            let dispatch = Arc::new(Kind(driver.clone()));
            Arc::new(FilterDescriptor::new(name, name, &[KSCATEGORY_CAPTURE], pins, dispatch))
        };
        let filters: Vec<Arc<dyn ks_stream::DescribeFilter>> =
            vec![filter("bad", KsPinDataFlow::OUT), filter("bad-sink", KsPinDataFlow::IN)];
        let device = Device::start(&rig.io, "bad", filters).unwrap();
        Bad { rig, device, kept, _alone: alone }
    }

    /// Everything that a client does with a filter: it opens both, asks, connects, streams, closes and asks again. What
    /// is refused is left out; what was said of a refusal or a failed pin is returned.
    pub fn run(&self) -> Vec<String> {
        let mut said = Vec::new();
        let client = ks_client::Client::new(self.rig.session.clone());
        let mut note = |error: ks_client::ClientError| said.push(error.to_string());
        let open =
            |name: &str, note: &mut dyn FnMut(ks_client::ClientError)| client.open_by_name(name).map_err(note).ok();
        let Some(filter) = open("bad", &mut note) else { return said };
        let Some(sink) = open("bad-sink", &mut note) else { return said };
        let _ = get(filter.object());
        let ranges = filter.data_ranges(0).unwrap_or_default();
        let format = match filter.intersect(0, &ranges) {
            Ok(format) => Some(format),
            Err(error) => {
                note(error);
                None
            }
        };
        let format = format.unwrap_or_else(|| ks_client::Format::from_bytes(video().bytes()).unwrap());
        let connect = |pin_to| Connect {
            pin_id: 0,
            interface: KsIdentifier::STANDARD_STREAMING,
            medium: KsIdentifier::STANDARD_DEVIO,
            pin_to,
            format: &format,
        };
        let input = sink.create_pin(connect(None), KsPinDataFlow::IN).map_err(&mut note).ok();
        let output = input
            .as_ref()
            .and_then(|input| filter.create_pin(connect(Some(input)), KsPinDataFlow::OUT).map_err(&mut note).ok());
        for pin in [input.as_ref(), output.as_ref()].into_iter().flatten() {
            for state in UP {
                if let Err(error) = pin.set_state(state) {
                    note(error);
                }
                self.rig.settle_briefly();
                let _ = (get(pin.object()), pin.enable_event(SET, 0));
            }
        }
        self.rig.settle_briefly();
        if let Some(input) = &input {
            // As a driver would: clients may not.
            let _ = input.reset(ks_abi::KsReset::BEGIN);
            let _ = input.reset(ks_abi::KsReset::END);
        }
        let pins = [output, input];
        for pin in pins.iter().flatten() {
            said.extend(pin.failure().map(|(_, reason)| reason));
            if let Err(error) = pin.set_state(KsState::STOP) {
                note_to(&mut said, error);
            }
            said.extend(pin.failure().map(|(_, reason)| reason));
        }
        for pin in pins {
            drop(pin);
            self.rig.settle_briefly();
        }
        let _ = get(filter.object());
        drop((filter, sink));
        self.rig.settle_briefly();
        self.kept.edges.lock().clear();
        self.kept.clones.lock().clear();
        said
    }
}

fn note_to(said: &mut Vec<String>, error: ks_client::ClientError) {
    said.push(error.to_string());
}

fn get(object: &ks_client::Object) -> NtStatus {
    let request = KsIdentifier { set: SET, id: 0, flags: KSPROPERTY_TYPE_GET };
    object.control(IoControlCode::KS_PROPERTY, request.as_bytes(), &mut [0; 8]).status
}

impl Rig {
    /// Lets what is queued run; a pair that streams without end does not hold it up.
    pub fn settle_briefly(&self) {
        let services = self.services();
        let _ = services.delay_until(services.now() + ks_io::Ticks::MILLISECOND);
    }
}

/// Frames that the well-behaved pair streams meanwhile.
const FRAMES: u32 = 200;

/// The well-behaved pair streams all of its frames, and breaks no rule.
fn assert_the_other_graph_goes_on(rig: &Rig, pair: Pair, what: &str) {
    rig.settle();
    let seen = rig.sink.seen_now();
    assert_eq!(seen, (0..FRAMES).collect::<Vec<_>>(), "{what}");
    pair.bring(&crate::rig::DOWN);
    drop(pair);
    rig.assert_quiescent();
}

fn other_graph(rig: &Rig) -> Pair {
    rig.source.last.store(FRAMES, SeqCst);
    let pair = rig.pair();
    rig.source.script(fill);
    pair.bring(&UP[..2]);
    pair
}

/// Each callback, as reports name it.
const CALLBACKS: [(&str, &str); 18] = [
    ("filter Create", "filter Create callback of bad"),
    ("filter data ranges", "filter data ranges callback of bad"),
    ("intersect", "intersect callback of bad"),
    ("pin SetDataFormat", "pin SetDataFormat callback of bad"),
    ("pin Create", "pin Create callback of bad-sink.0"),
    ("pin Connect", "pin Connect callback of bad-sink.0"),
    ("pin framing", "pin framing callback of bad"),
    ("pin SetDeviceState", "pin SetDeviceState callback of bad-sink.0"),
    ("pin Process", "pin Process callback of bad.0"),
    ("filter Process", "filter Process callback of bad-sink"),
    ("filter Reset", "filter Reset callback of bad-sink"),
    ("handler", "property, method or event callback of bad"),
    ("event", "property, method or event callback of bad"),
    ("pin Reset", "pin Reset callback of bad"),
    ("clone cancel", "clone cancel callback of bad"),
    ("pin Disconnect", "pin Disconnect callback of bad-sink.0"),
    ("pin Close", "pin Close callback of bad"),
    ("filter Close", "filter Close callback of bad"),
];

/// Those of a filter that processes as a whole.
const OF_WHOLE: [&str; 2] = ["filter Process", "filter Reset"];

/// Has the callback `clone cancel` called, where it is the one that is to misbehave.
fn have_clones_cancelled(callback: &str, place: &Place<'_>) {
    if place.name == "pin Process"
        && callback == "clone cancel"
        && let Some(mut clone) = place.shared.and_then(|pin| pin.leading_edge()?.clone_pointer())
    {
        // Unlocked, so that a reset cancels its frame.
        clone.unlock();
        place.kept.clones.lock().push(clone);
    }
    if place.name == "clone cancel" {
        place.kept.clones.lock().clear();
    }
}

#[test]
fn a_panic_in_any_callback_ends_in_its_own_filter_and_other_graphs_go_on() {
    for (callback, named) in CALLBACKS {
        let reached = Arc::new(AtomicU32::new(0));
        let count = reached.clone();
        let hook = move |place: &Place<'_>| {
            have_clones_cancelled(callback, place);
            if place.name == callback {
                count.fetch_add(1, SeqCst);
                std::panic::resume_unwind(Box::new("told to panic"));
            }
            STATUS_SUCCESS
        };
        let bad = if OF_WHOLE.contains(&callback) { Bad::whole(hook) } else { Bad::new(hook) };
        let other = other_graph(&bad.rig);
        other.bring(&UP[2..]);
        let said = bad.run();
        assert!(reached.load(SeqCst) > 0, "{callback} is called");
        let stops = bad.device.stops();
        let expected = format!("the minidriver panicked in the {named}");
        assert!(
            stops.iter().any(|reason| reason.starts_with(&expected) && reason.ends_with("told to panic")),
            "{callback}: {stops:?}, {said:?}"
        );
        let blamed = expected.split(" of bad").next().unwrap();
        assert!(stops.iter().all(|reason| reason.starts_with(blamed)), "nothing else is blamed: {stops:?}");
        assert_eq!(bad.device.violations(), [], "a panic is no broken rule");
        assert_eq!(bad.rig.services().work_panics(), 0, "{callback}");
        assert_the_other_graph_goes_on(&bad.rig, other, callback);
    }
}

#[test]
fn an_edge_of_a_closed_pin_that_is_used_in_any_callback_is_told_with_the_callback() {
    for (callback, named) in CALLBACKS {
        // Of a pin of the first run, used in the second.
        let stale = Arc::new(Mutex::new(None::<LeadingEdge>));
        let second = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (keep, is_second) = (stale.clone(), second.clone());
        let hook = move |place: &Place<'_>| {
            have_clones_cancelled(callback, place);
            match is_second.load(SeqCst) {
                false if place.name == "pin Create" => *keep.lock() = place.shared.and_then(LeadingEdge::of),
                true if place.name == callback => {
                    let edge = keep.lock();
                    assert!(!edge.as_ref().is_some_and(LeadingEdge::lock), "nothing is locked");
                }
                _ => {}
            }
            STATUS_SUCCESS
        };
        let bad = if OF_WHOLE.contains(&callback) { Bad::whole(hook) } else { Bad::new(hook) };
        assert_eq!(bad.run(), Vec::<String>::new(), "{callback}");
        assert_eq!(bad.device.violations(), [], "{callback}: nothing is wrong yet");
        second.store(true, SeqCst);
        let other = other_graph(&bad.rig);
        other.bring(&UP[2..]);
        let _ = bad.run();
        let violations = bad.device.violations();
        assert_eq!(broken(&violations), [Rule::InvalidStreamPointer], "{callback}");
        let is_named = |one: &Violation| format!("{} callback of {}", one.callback, one.object).starts_with(named);
        assert!(violations.iter().any(is_named), "{callback}: {violations:?}");
        let blamed = named.split(" of bad").next().unwrap();
        assert!(violations.iter().all(|one| format!("{} callback", one.callback) == blamed), "{violations:?}");
        stale.lock().take();
        assert_the_other_graph_goes_on(&bad.rig, other, callback);
    }
}

/// The rules that were broken, each once.
pub fn broken(violations: &[Violation]) -> Vec<Rule> {
    let mut rules: Vec<Rule> = violations.iter().map(|violation| violation.rule).collect();
    rules.sort_unstable();
    rules.dedup();
    rules
}

#[test]
fn a_status_that_a_callback_may_not_return_stops_its_filter_by_name_and_other_graphs_go_on() {
    let cases: [(&str, NtStatus, Rule); 16] = [
        ("pin SetDeviceState", STATUS_TIMEOUT, Rule::CallbackReturn),
        ("pin SetDataFormat", STATUS_TIMEOUT, Rule::CallbackReturn),
        ("pin Connect", STATUS_TIMEOUT, Rule::CallbackReturn),
        ("pin Create", STATUS_TIMEOUT, Rule::CallbackReturn),
        ("filter Create", STATUS_TIMEOUT, Rule::CallbackReturn),
        ("intersect", STATUS_TIMEOUT, Rule::CallbackReturn),
        ("pin Process", STATUS_TIMEOUT, Rule::CallbackReturn),
        ("filter Process", STATUS_TIMEOUT, Rule::CallbackReturn),
        ("pin SetDeviceState", STATUS_PENDING, Rule::CallbackReturn),
        ("pin SetDataFormat", STATUS_PENDING, Rule::CallbackReturn),
        ("pin Connect", STATUS_PENDING, Rule::CallbackReturn),
        ("pin Create", STATUS_PENDING, Rule::MarkPendingIrp),
        ("filter Create", STATUS_PENDING, Rule::MarkPendingIrp),
        ("handler", STATUS_PENDING, Rule::CallbackReturn),
        ("event", STATUS_PENDING, Rule::CallbackReturn),
        ("intersect", STATUS_PENDING, Rule::CallbackReturn),
    ];
    for (callback, status, rule) in cases {
        let hook = move |place: &Place<'_>| if place.name == callback { status } else { STATUS_SUCCESS };
        let bad = if OF_WHOLE.contains(&callback) { Bad::whole(hook) } else { Bad::new(hook) };
        let other = other_graph(&bad.rig);
        other.bring(&UP[2..]);
        let _ = bad.run();
        let violations = bad.device.violations();
        assert_eq!(broken(&violations), [rule], "{callback}");
        let name = if ["handler", "event"].contains(&callback) { "property, method or event" } else { callback };
        for violation in &violations {
            assert!(violation.callback == name && violation.object.starts_with("bad"), "{violation}");
            assert!(violation.what.contains(&status.to_string()), "{violation}");
        }
        assert_the_other_graph_goes_on(&bad.rig, other, callback);
    }
}

#[test]
fn a_handshake_that_pends_is_refused_by_name() {
    let bad = Bad::new(|place| if place.name == "handshake" { STATUS_PENDING } else { STATUS_SUCCESS });
    let kernel = ks_client::Client::new(bad.rig.io.session_as(RequestorMode::Kernel));
    let filter = kernel.open_by_name("bad").unwrap();
    let pin = crate::rig::create(&filter, 0, KsPinDataFlow::OUT, None);
    let offer = KsHandshake { protocol_id: SET, ..Default::default() };
    let mut answer = [0; size_of::<KsHandshake>()];
    let outcome = pin.object().control(IoControlCode::KS_HANDSHAKE, offer.as_bytes(), &mut answer);
    assert_eq!(outcome.status, STATUS_UNSUCCESSFUL);
    let violations = bad.device.violations();
    assert_eq!(broken(&violations), [Rule::CallbackReturn]);
    assert_eq!((violations[0].callback, violations[0].object.as_str()), ("handshake", "bad.0"));
    assert!(pin.failure().unwrap().1.contains("the handshake callback of bad.0"));
}

#[test]
fn the_pin_of_a_stopped_filter_says_which_callback_broke_which_rule() {
    let rig = Rig::new(1);
    rig.source.script(|_, _| STATUS_TIMEOUT);
    let (filter, pin) = rig.alone("source");
    crate::rig::bring(&pin, &UP);
    let request = pin.read_stream(crate::rig::frames(&pin, 2)).unwrap();
    assert_eq!(request.wait().unwrap_err().status, STATUS_UNSUCCESSFUL, "nobody waits for ever");
    let (status, reason) = pin.failure().unwrap();
    assert_eq!(status, STATUS_UNSUCCESSFUL);
    assert_eq!(
        reason,
        "the pin Process callback of source.0 broke the rule KsCallbackReturn (V05, 0x81005): it returned \
         STATUS_TIMEOUT (0x00000102), which it may not"
    );
    rig.source.script(fill);
    crate::rig::bring(&pin, &[KsState::STOP, KsState::RUN]);
    assert_eq!(pin.read_stream(crate::rig::frames(&pin, 1)).unwrap().wait().unwrap().len(), 1, "it may start anew");
    rig.source.script(wait);
    drop((pin, filter));
    rig.settle();
    assert_eq!(rig.session.open_handles(), 0);
}
