//! A rig of small filters whose process callback, states and answers a test scripts.

use ks_abi::{
    KSCATEGORY_CAPTURE, KSDATAFORMAT_SPECIFIER_NONE, KSDATAFORMAT_SUBTYPE_NV12, KSDATAFORMAT_TYPE_VIDEO, KsDataFormat,
    KsIdentifier, KsPinCommunication, KsPinDataFlow, KsState, STATUS_SUCCESS,
};
use ks_client::{Client, Connect, Format, StreamFrame};
use ks_io::sync::{Arc, Mutex};
use ks_io::{IoManager, Services, Session, Ticks, WaitOutcome, dropped_irps};
use ks_stream::{DataFormat, DescribeFilter, Device, FilterDescriptor, FilterFlags, PinDescriptor, PinFlags};
use std::sync::atomic::Ordering::SeqCst;

#[path = "rig/probe.rs"]
mod probe;
pub use probe::*;

pub const FRAME_BYTES: u32 = 64;
pub const FRAMES: u32 = 4;
pub const SEEDS: std::ops::Range<u64> = 1..6;
pub const UP: [KsState; 3] = [KsState::ACQUIRE, KsState::PAUSE, KsState::RUN];
pub const DOWN: [KsState; 3] = [KsState::PAUSE, KsState::ACQUIRE, KsState::STOP];

pub fn video() -> DataFormat {
    let head = KsDataFormat {
        sample_size: FRAME_BYTES,
        ..KsDataFormat::new(KSDATAFORMAT_TYPE_VIDEO, KSDATAFORMAT_SUBTYPE_NV12, KSDATAFORMAT_SPECIFIER_NONE, 0)
    };
    DataFormat::new(head, &[])
}

/// Which end issues the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requests {
    /// The data source sends filled frames.
    FromSource,
    /// The data sink asks for frames.
    FromSink,
}

pub const BOTH_WAYS: [Requests; 2] = [Requests::FromSource, Requests::FromSink];

pub struct Setup {
    pub seed: u64,
    pub requests: Requests,
    pub source_flags: PinFlags,
    pub sink_flags: PinFlags,
    /// Of the middle's input and output.
    pub middle_flags: [PinFlags; 2],
    pub middle_filter_flags: FilterFlags,
    /// Do the pins of the middle share their frames?
    pub middle_in_place: Option<(u32, u32)>,
    /// A fourth filter, `changer`, which is as the middle usually is.
    pub changer: bool,
    /// The source's device has a driver that is told of its life.
    pub driven: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            seed: 1,
            requests: Requests::FromSource,
            source_flags: PinFlags::empty(),
            sink_flags: PinFlags::GENERATE_EOS_EVENTS,
            middle_flags: [PinFlags::empty(); 2],
            middle_filter_flags: FilterFlags::empty(),
            middle_in_place: Some((0, 1)),
            changer: false,
            driven: false,
        }
    }
}

/// An engine with the filters `source`, `middle` (in place) and `sink`, each on a device of its own.
pub struct Rig {
    pub io: Arc<IoManager>,
    pub session: Arc<Session>,
    pub source: Arc<Probe>,
    pub middle: Arc<Probe>,
    pub sink: Arc<Probe>,
    pub changer: Arc<Probe>,
    /// In the order source, middle, sink; the changer behind them.
    pub devices: Vec<Arc<Device>>,
    pub log: Log,
    requests: Requests,
    dropped_before: u64,
    expected: Mutex<Vec<ks_stream::Rule>>,
}

/// A source connected to a sink, with everything a client holds of it.
pub struct Pair {
    pub sink: ks_client::Pin,
    pub source: ks_client::Pin,
    pub filters: Vec<ks_client::Filter>,
}

impl Rig {
    pub fn new(seed: u64) -> Rig {
        Rig::with(Setup { seed, ..Setup::default() })
    }

    pub fn with(setup: Setup) -> Rig {
        Rig::on(Services::virtual_time(setup.seed), setup)
    }

    pub fn on(services: Services, setup: Setup) -> Rig {
        ks_io::watch_lock_order();
        ks_stream::verifier::enable();
        let io = IoManager::new(services);
        let log = Log::default();
        let (out_role, in_role) = match setup.requests {
            Requests::FromSource => (KsPinCommunication::BOTH, KsPinCommunication::BOTH),
            Requests::FromSink => (KsPinCommunication::SINK, KsPinCommunication::BOTH),
        };
        let source = Probe::new(log.clone(), Arc::new(fill));
        let middle = Probe::new(log.clone(), Arc::new(add_one));
        let sink = Probe::new(log.clone(), Arc::new(take));
        let pin = |flow, communication, flags| {
            let mut pin = PinDescriptor { communication, ..PinDescriptor::new(flow, vec![video()]) };
            pin.flags = flags;
            pin.instances_possible = PinDescriptor::UNLIMITED;
            pin
        };
        let (out, into) = (KsPinDataFlow::OUT, KsPinDataFlow::IN);
        let both = KsPinCommunication::BOTH;
        let through = vec![pin(into, both, setup.middle_flags[0]), pin(out, both, setup.middle_flags[1])];
        let descriptor = |name: &'static str, pins, probe: &Arc<Probe>| {
            FilterDescriptor::new(name, name, &[KSCATEGORY_CAPTURE], pins, Arc::new(Kind(probe.clone())))
        };
        let first = descriptor("source", vec![pin(out, out_role, setup.source_flags)], &source);
        let mut second = descriptor("middle", through, &middle);
        second.in_place = setup.middle_in_place;
        second.flags = setup.middle_filter_flags;
        let third = descriptor("sink", vec![pin(into, in_role, setup.sink_flags)], &sink);
        let changer = Probe::new(log.clone(), Arc::new(add_one));
        let none = PinFlags::empty();
        let mut fourth = descriptor("changer", vec![pin(into, both, none), pin(out, both, none)], &changer);
        fourth.in_place = Some((0, 1));
        let devices = [("first", first), ("second", second), ("third", third), ("fourth", fourth)]
            .into_iter()
            .take(if setup.changer { 4 } else { 3 })
            .map(|(name, descriptor)| match name {
                "first" if setup.driven => {
                    source.driven.store(true, SeqCst);
                    let driver = Arc::new(Driver(source.clone()));
                    let device = Device::add_driven(&io, name, driver, vec![Arc::new(descriptor)]).unwrap();
                    device.start_device().unwrap();
                    device
                }
                _ => Device::start(&io, name, vec![Arc::new(descriptor)]).unwrap(),
            })
            .collect();
        let session = io.session();
        let (requests, dropped_before) = (setup.requests, dropped_irps());
        let expected = Mutex::default();
        Rig { io, session, source, middle, sink, changer, devices, log, requests, dropped_before, expected }
    }

    pub fn services(&self) -> &Services {
        self.io.services()
    }

    pub fn open(&self, name: &str) -> ks_client::Filter {
        Client::new(self.session.clone()).open_by_name(name).unwrap()
    }

    /// Source and sink, connected in the direction of the setup.
    pub fn pair(&self) -> Pair {
        let _ = self.source.last.compare_exchange(0, 1000, SeqCst, SeqCst);
        let (from, to) = (self.open("source"), self.open("sink"));
        let (sink, source) = match self.requests {
            Requests::FromSource => {
                let sink = create(&to, 0, KsPinDataFlow::IN, None);
                let source = create(&from, 0, KsPinDataFlow::OUT, Some(&sink));
                (sink, source)
            }
            Requests::FromSink => {
                let source = create(&from, 0, KsPinDataFlow::OUT, None);
                let sink = create(&to, 0, KsPinDataFlow::IN, Some(&source));
                (sink, source)
            }
        };
        Pair { sink, source, filters: vec![from, to] }
    }

    /// A client's own pin on the source or the sink.
    pub fn alone(&self, name: &str) -> (ks_client::Filter, ks_client::Pin) {
        let filter = self.open(name);
        let flow = if name == "source" { KsPinDataFlow::OUT } else { KsPinDataFlow::IN };
        let pin = create(&filter, 0, flow, None);
        (filter, pin)
    }

    /// Waits until every thread but this one has nothing to do.
    pub fn settle(&self) {
        let services = self.services();
        let outcome = services.delay_until(services.now() + Ticks::MILLISECOND);
        assert_eq!(outcome, WaitOutcome::TimedOut, "{}", services.deadlock_report().unwrap_or_default());
    }

    fn probes(&self) -> [(&'static str, &Arc<Probe>); 4] {
        [("source", &self.source), ("middle", &self.middle), ("sink", &self.sink), ("changer", &self.changer)]
    }

    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock())
    }

    /// The filters have broken the rules that the test expects, and no others.
    pub fn assert_clean(&self) {
        let mut broken: Vec<_> = self.devices.iter().flat_map(|device| device.violations()).collect();
        broken.retain(|violation| !self.expected.lock().contains(&violation.rule));
        assert_eq!(broken, []);
    }

    /// The test has its driver break this rule.
    pub fn expect_broken(&self, rule: ks_stream::Rule) {
        self.expected.lock().push(rule);
    }

    /// Nothing is left of what the clients had open.
    pub fn assert_quiescent(&self) {
        self.settle();
        for (name, probe) in self.probes() {
            let left = probe.pins.lock().iter().filter(|pin| pin.strong_count() > 0).count();
            assert_eq!(left, 0, "{left} pins of {name} live on");
            assert_eq!(probe.instances.load(SeqCst), 0, "instances of {name} live on");
        }
        for device in &self.devices {
            assert_eq!(device.open_filters(), 0, "{} has open filters", device.device_name());
        }
        assert_eq!(self.session.open_handles(), 0);
        self.assert_clean();
        assert_eq!(self.services().work_panics(), 0);
        // The tests of this program run side by side, so the count is compared only where it says something.
        assert_eq!(dropped_irps(), self.dropped_before, "a request was dropped instead of completed");
    }
}

impl Pair {
    pub fn bring(&self, states: &[KsState]) {
        for &state in states {
            self.sink.set_state(state).unwrap();
            self.source.set_state(state).unwrap();
        }
    }
}

pub fn create(
    filter: &ks_client::Filter,
    pin_id: u32,
    flow: KsPinDataFlow,
    pin_to: Option<&ks_client::Pin>,
) -> ks_client::Pin {
    try_create(filter, pin_id, flow, pin_to).unwrap()
}

/// A pair whose source's device has a driver that is told of its life.
pub fn driven(seed: u64) -> Setup {
    Setup { seed, driven: true, ..Setup::default() }
}

/// The same driver on another device.
pub fn add_driven(rig: &Rig, probe: &Arc<Probe>, name: &str, factories: &[&'static str]) -> Arc<Device> {
    let pins = || vec![PinDescriptor::new(KsPinDataFlow::OUT, vec![video()])];
    let factory = |name: &&'static str| factory(probe, name, pins());
    Device::add_driven(&rig.io, name, Arc::new(Driver(probe.clone())), factories.iter().map(factory).collect()).unwrap()
}

/// A filter factory of its own.
pub fn factory(probe: &Arc<Probe>, name: &'static str, pins: Vec<PinDescriptor>) -> Arc<dyn DescribeFilter> {
    Arc::new(FilterDescriptor::new(name, name, &[KSCATEGORY_CAPTURE], pins, Arc::new(Kind(probe.clone()))))
}

pub fn try_create(
    filter: &ks_client::Filter,
    pin_id: u32,
    flow: KsPinDataFlow,
    pin_to: Option<&ks_client::Pin>,
) -> Result<ks_client::Pin, ks_client::ClientError> {
    let format = Format::from_bytes(video().bytes()).unwrap();
    let connect = Connect {
        pin_id,
        interface: KsIdentifier::STANDARD_STREAMING,
        medium: KsIdentifier::STANDARD_DEVIO,
        pin_to,
        format: &format,
    };
    filter.create_pin(connect, flow)
}

pub fn bring(pin: &ks_client::Pin, states: &[KsState]) {
    for &state in states {
        pin.set_state(state).unwrap();
    }
}

/// Frames of a client, empty.
pub fn frames(pin: &ks_client::Pin, count: usize) -> Vec<StreamFrame> {
    (0..count).map(|_| pin.allocate(FRAME_BYTES as usize).unwrap()).collect()
}

/// A frame of a client, numbered.
pub fn filled(pin: &ks_client::Pin, number: u32) -> StreamFrame {
    let mut frame = pin.allocate(FRAME_BYTES as usize).unwrap();
    let mut bytes = [0; FRAME_BYTES as usize];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    assert!(frame.fill(&bytes));
    frame
}

pub fn numbers(frames: &[StreamFrame]) -> Vec<u32> {
    let number = |frame: &StreamFrame| frame.data()[..4].try_into().map(u32::from_le_bytes).unwrap();
    frames.iter().map(number).collect()
}

/// The state of a pin, asked by its handle.
pub fn state_of(session: &Session, pin: ks_io::Handle) -> KsState {
    use ks_io::Transport;
    use zerocopy::{FromBytes, IntoBytes};
    let request = ks_abi::KsProperty::new(ks_abi::KSPROPSETID_Connection, ks_abi::KSPROPERTY_CONNECTION_STATE, 1);
    let mut state = [0; 4];
    let code = ks_abi::IoControlCode::KS_PROPERTY;
    assert_eq!(session.device_io_control(pin, code, request.as_bytes(), &mut state).status, STATUS_SUCCESS);
    KsState::read_from_bytes(&state).unwrap()
}
