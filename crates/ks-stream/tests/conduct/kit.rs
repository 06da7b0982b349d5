//! Filters in a row, each with a probe: `source`, any number of `middle` that work in place, `sink`.

use ks_abi::{
    Guid, KSCATEGORY_CAPTURE, KSDATAFORMAT_SPECIFIER_NONE, KSDATAFORMAT_TYPE_VIDEO, KSFILTER_NODE, KsDataFormat,
    KsIdentifier, KsPinDataFlow, KsState, KsTopologyConnection, NtStatus, STATUS_NO_MATCH, STATUS_PENDING,
    STATUS_SUCCESS, STATUS_UNSUCCESSFUL,
};
use ks_client::{Client, ClientError, Connect, Format};
use ks_io::sync::{Arc, Mutex};
use ks_io::{Aspect, IoManager, Refusal, Services, Session, StreamFrame, Ticks, WaitOutcome};
use ks_stream::{
    AutomationTable, DataFormat, DataRange, Device, Filter, FilterDescriptor, FilterDispatch, FilterInstance, Framing,
    Pin, PinDescriptor, PinFlags, PinInstance,
};
use std::sync::Weak;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};

pub const FRAME_BYTES: u32 = 256;
pub const FRAMES: u32 = 4;
pub const FORMATS: u32 = 5;
pub const UP: [KsState; 3] = [KsState::ACQUIRE, KsState::PAUSE, KsState::RUN];
pub const DOWN: [KsState; 3] = [KsState::PAUSE, KsState::ACQUIRE, KsState::STOP];

const SUB: u128 = 0x7a1d_3c55_0b0e_4f0a_9d33_51c2_8e60_0000;

/// One of the formats, which differ in their subformat.
pub fn format(index: u32) -> DataFormat {
    let sub = Guid::from_u128(SUB + u128::from(index));
    let head = KsDataFormat::new(KSDATAFORMAT_TYPE_VIDEO, sub, KSDATAFORMAT_SPECIFIER_NONE, 0);
    DataFormat::new(KsDataFormat { sample_size: FRAME_BYTES, ..head }, &[])
}

/// The range that holds them all.
pub fn range() -> DataRange {
    DataFormat::new(KsDataFormat::new(KSDATAFORMAT_TYPE_VIDEO, Guid::NULL, Guid::NULL, 0), &[])
}

pub fn index_of(format: &DataFormat) -> u32 {
    (0..).find(|index| self::format(*index).head().sub_format == format.head().sub_format).unwrap()
}

pub fn client_format(index: u32) -> Format {
    Format::from_bytes(format(index).bytes()).unwrap()
}

pub type OnState = Arc<dyn Fn(KsState) + Send + Sync>;
pub type Process = Arc<dyn Fn(&Probe, &Arc<Pin>) -> NtStatus + Send + Sync>;

/// What one filter saw, and is to do.
pub struct Probe {
    pub name: &'static str,
    pub log: Arc<Mutex<Vec<String>>>,
    pub process: Mutex<Process>,
    /// The format that its pin agreed to last, as the minidriver itself knows it.
    pub agreed: AtomicU32,
    /// Formats that its pins do not take: when they are asked before, or when the change comes.
    pub would_not: Mutex<Vec<u32>>,
    pub refuses: Mutex<Vec<u32>>,
    /// Frames whose number of the format is not the one that was agreed to.
    pub mismatches: AtomicU64,
    pub seen: Mutex<Vec<u32>>,
    pub next: AtomicU32,
    /// Frames that the source may still fill.
    pub allowed: AtomicU32,
    /// The step of a state that is refused, of the pin with this number.
    pub refuse_step: Mutex<Option<(u32, KsState, KsState)>>,
    pub automation: Mutex<Option<Arc<AutomationTable<Pin>>>>,
    pub on_state: Mutex<Option<OnState>>,
    pub pins: Mutex<Vec<Weak<Pin>>>,
}

impl Probe {
    fn new(name: &'static str, log: &Arc<Mutex<Vec<String>>>, process: Process) -> Arc<Probe> {
        Arc::new(Probe {
            name,
            log: log.clone(),
            process: Mutex::new(process),
            agreed: AtomicU32::new(0),
            would_not: Mutex::default(),
            refuses: Mutex::default(),
            mismatches: AtomicU64::new(0),
            seen: Mutex::default(),
            next: AtomicU32::new(0),
            allowed: AtomicU32::new(0),
            refuse_step: Mutex::default(),
            automation: Mutex::default(),
            on_state: Mutex::default(),
            pins: Mutex::default(),
        })
    }

    pub fn script(&self, process: impl Fn(&Probe, &Arc<Pin>) -> NtStatus + Send + Sync + 'static) {
        *self.process.lock() = Arc::new(process);
    }

    pub fn pin(&self) -> Arc<Pin> {
        self.pins.lock().iter().rev().find_map(Weak::upgrade).expect("a pin lives")
    }

    /// Lets the source fill so many frames more.
    pub fn allow(&self, frames: u32) {
        self.allowed.fetch_add(frames, SeqCst);
        self.pin().attempt_processing();
    }

    fn note(&self, what: String) {
        self.log.lock().push(what);
    }

    pub fn check(&self, frame: &StreamFrame) {
        let Some(bytes) = frame.buffer().and_then(|buffer| buffer.read()) else { return };
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        if word(4) != self.agreed.load(SeqCst) {
            self.mismatches.fetch_add(1, SeqCst);
            let agreed = self.agreed.load(SeqCst);
            self.note(format!("{}: frame {} of format {} under {agreed}", self.name, word(0), word(4)));
        }
        self.seen.lock().push(word(0));
    }
}

/// Writes the number of the frame and that of the format which the minidriver has agreed to.
pub fn put(probe: &Probe, frame: &StreamFrame) {
    let number = probe.next.fetch_add(1, SeqCst);
    if let Some(mut bytes) = frame.buffer().and_then(|buffer| buffer.write()) {
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        bytes[4..8].copy_from_slice(&probe.agreed.load(SeqCst).to_le_bytes());
    }
    frame.set_data_used(FRAME_BYTES);
}

/// Fills what it is allowed to.
pub fn fill(probe: &Probe, pin: &Arc<Pin>) -> NtStatus {
    while probe.allowed.load(SeqCst) > 0 {
        let Some(frame) = pin.leading_edge() else { return STATUS_PENDING };
        probe.allowed.fetch_sub(1, SeqCst);
        put(probe, &frame);
        frame.eject();
    }
    STATUS_PENDING
}

/// Looks at every frame.
pub fn look(probe: &Probe, pin: &Arc<Pin>) -> NtStatus {
    let mut edge = pin.leading_edge();
    while let Some(frame) = edge {
        if frame.data_used() > 0 {
            probe.check(&frame);
        }
        edge = frame.advance();
    }
    STATUS_PENDING
}

struct Kind(Arc<Probe>);

impl FilterDispatch for Kind {
    fn create(&self, _: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        Ok(Arc::new(Kind(self.0.clone())))
    }
}

impl FilterInstance for Kind {
    fn create_pin(&self, pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        self.0.agreed.store(index_of(&pin.format()), SeqCst);
        self.0.pins.lock().push(Arc::downgrade(pin));
        let automation = self.0.automation.lock().clone();
        Ok(Arc::new(KitPin { probe: self.0.clone(), automation }))
    }
    fn intersect(&self, _: u32, _: &DataRange, _: &DataRange) -> Result<DataFormat, Refusal> {
        Ok(format(0))
    }
}

struct KitPin {
    probe: Arc<Probe>,
    automation: Option<Arc<AutomationTable<Pin>>>,
}

fn not_this(format: &DataFormat) -> Refusal {
    Refusal::new(STATUS_NO_MATCH, Aspect::FormatBlock, format!("format {} is not taken", index_of(format)))
}

impl PinInstance for KitPin {
    fn process(&self, pin: &Arc<Pin>) -> NtStatus {
        let script = self.probe.process.lock().clone();
        script(&self.probe, pin)
    }
    fn set_device_state(&self, pin: &Arc<Pin>, to: KsState, from: KsState) -> Result<(), Refusal> {
        self.probe.note(format!("{} {from}->{to}", pin.describe()));
        if *self.probe.refuse_step.lock() == Some((pin.id(), from, to)) {
            return Err(Refusal::new(STATUS_UNSUCCESSFUL, Aspect::Driver, "told to refuse"));
        }
        let hook = self.probe.on_state.lock().clone();
        if let Some(hook) = hook {
            hook(to);
        }
        Ok(())
    }
    fn would_take(&self, _: &Arc<Pin>, new: &DataFormat) -> Result<(), Refusal> {
        if self.probe.would_not.lock().contains(&index_of(new)) { Err(not_this(new)) } else { Ok(()) }
    }
    fn set_data_format(&self, _: &Arc<Pin>, _: &DataFormat, new: &DataFormat) -> Result<(), Refusal> {
        if self.probe.refuses.lock().contains(&index_of(new)) {
            return Err(not_this(new));
        }
        self.probe.note(format!("{} agrees to format {}", self.probe.name, index_of(new)));
        self.probe.agreed.store(index_of(new), SeqCst);
        Ok(())
    }
    fn format_changed(&self, _: &Arc<Pin>, _: &DataFormat, new: &DataFormat) {
        self.probe.note(format!("{} changes to format {}", self.probe.name, index_of(new)));
        self.probe.agreed.store(index_of(new), SeqCst);
    }
    fn reset(&self, pin: &Arc<Pin>) {
        self.probe.note(format!("{} reset {}", pin.describe(), pin.reset_state()));
    }
    fn framing(&self, _: &Pin) -> Option<Framing> {
        Some(Framing { frames: FRAMES, frame_bytes: FRAME_BYTES, alignment: 64 })
    }
    fn automation(&self) -> Option<&AutomationTable<Pin>> {
        self.automation.as_deref()
    }
}

const MIDDLES: [&str; 3] = ["middle", "second", "third"];

/// An engine and the filters of a row.
pub struct Row {
    pub io: Arc<IoManager>,
    pub session: Arc<Session>,
    pub log: Arc<Mutex<Vec<String>>>,
    /// In the order of the data.
    pub probes: Vec<Arc<Probe>>,
    devices: Vec<Arc<Device>>,
}

/// A row that is connected: its pins in the order of the data.
pub struct Connected {
    pub pins: Vec<ks_client::Pin>,
    filters: Vec<ks_client::Filter>,
}

impl Row {
    /// With so many filters in the middle that work in place; their descriptors may be changed.
    pub fn new(seed: u64, middles: usize, change: impl Fn(&mut FilterDescriptor)) -> Row {
        ks_stream::verifier::enable();
        let io = IoManager::new(Services::virtual_time(seed));
        let log = Arc::default();
        let names = ["source"].into_iter().chain(MIDDLES.into_iter().take(middles)).chain(["sink"]);
        let (mut probes, mut devices) = (Vec::new(), Vec::new());
        for name in names {
            let process: Process = if name == "source" { Arc::new(fill) } else { Arc::new(look) };
            let probe = Probe::new(name, &log, process);
            let pin = |flow| PinDescriptor {
                instances_possible: PinDescriptor::UNLIMITED,
                flags: if name == "sink" { PinFlags::GENERATE_EOS_EVENTS } else { PinFlags::empty() },
                ..PinDescriptor::new(flow, vec![range()])
            };
            let pins = match name {
                "source" => vec![pin(KsPinDataFlow::OUT)],
                "sink" => vec![pin(KsPinDataFlow::IN)],
                _ => vec![pin(KsPinDataFlow::IN), pin(KsPinDataFlow::OUT)],
            };
            let kind = Arc::new(Kind(probe.clone()));
            let mut descriptor = FilterDescriptor::new(name, name, &[KSCATEGORY_CAPTURE], pins, kind);
            if MIDDLES.contains(&name) {
                descriptor.in_place = Some((0, 1));
            }
            change(&mut descriptor);
            devices.push(Device::start(&io, name, vec![Arc::new(descriptor)]).unwrap());
            probes.push(probe);
        }
        let session = io.session();
        Row { io, session, log, probes, devices }
    }

    pub fn plain(seed: u64, middles: usize) -> Row {
        Row::new(seed, middles, |_| ())
    }

    pub fn source(&self) -> &Arc<Probe> {
        &self.probes[0]
    }

    pub fn sink(&self) -> &Arc<Probe> {
        self.probes.last().unwrap()
    }

    pub fn open(&self, name: &str) -> ks_client::Filter {
        Client::new(self.session.clone()).open_by_name(name).unwrap()
    }

    /// Connects everything, in format 0.
    pub fn connect(&self) -> Connected {
        let names: Vec<&str> = self.probes.iter().map(|probe| probe.name).collect();
        let filters: Vec<_> = names.iter().map(|name| self.open(name)).collect();
        let mut pins = Vec::new();
        for (from, to) in filters.iter().zip(&filters[1..]) {
            let out = u32::from(from.name() != "source");
            let sink = create(to, 0, KsPinDataFlow::IN, None).unwrap();
            let source = create(from, out, KsPinDataFlow::OUT, Some(&sink)).unwrap();
            pins.extend([source, sink]);
        }
        Connected { pins, filters }
    }

    /// Waits until every thread but this one has nothing to do.
    pub fn settle(&self) {
        let services = self.io.services();
        let outcome = services.delay_until(services.now() + Ticks::MILLISECOND);
        assert_eq!(outcome, WaitOutcome::TimedOut, "{}", services.deadlock_report().unwrap_or_default());
    }

    pub fn mismatches(&self) -> u64 {
        self.probes.iter().map(|probe| probe.mismatches.load(SeqCst)).sum()
    }

    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock())
    }
}

impl Drop for Row {
    /// Whatever a test does, its drivers have broken no rule.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.devices.iter().for_each(|device| assert_eq!(device.violations(), []));
        }
    }
}

impl Connected {
    pub fn source(&self) -> &ks_client::Pin {
        &self.pins[0]
    }

    pub fn sink(&self) -> &ks_client::Pin {
        self.pins.last().unwrap()
    }

    /// Sinks first.
    pub fn bring(&self, states: &[KsState]) {
        for state in states {
            self.pins.iter().rev().for_each(|pin| pin.set_state(*state).unwrap());
        }
    }
}

pub fn create(
    filter: &ks_client::Filter,
    pin_id: u32,
    flow: KsPinDataFlow,
    pin_to: Option<&ks_client::Pin>,
) -> Result<ks_client::Pin, ClientError> {
    let format = client_format(0);
    let connect = Connect {
        pin_id,
        interface: KsIdentifier::STANDARD_STREAMING,
        medium: KsIdentifier::STANDARD_DEVIO,
        pin_to,
        format: &format,
    };
    filter.create_pin(connect, flow)
}

pub fn index_at(pin: &ks_client::Pin) -> u32 {
    index_of(&DataFormat::parse(pin.format().unwrap().bytes()).unwrap().0)
}

/// A connection from one pin of a filter straight to another.
pub fn wire(from: u32, to: u32) -> KsTopologyConnection {
    KsTopologyConnection { from_node: KSFILTER_NODE, from_node_pin: from, to_node: KSFILTER_NODE, to_node_pin: to }
}

/// Numbers that look random, the same for each seed.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, below: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32 % below
    }
}

pub fn is_success(status: NtStatus) -> bool {
    status == STATUS_SUCCESS
}
