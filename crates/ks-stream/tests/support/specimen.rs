//! A filter with one pin factory for each rule of connecting, that does what its script says, and raw requests to it.

use super::video;
use ks_abi::{
    Guid, IoControlCode, KSCATEGORY_CAPTURE, KSCATEGORY_VIDEO, KSDATAFORMAT_ATTRIBUTES,
    KSDATAFORMAT_SPECIFIER_WAVEFORMATEX, KSDATAFORMAT_SUBTYPE_PCM, KSDATAFORMAT_TYPE_AUDIO, KSDATAFORMAT_TYPE_VIDEO,
    KSDATARANGE_REQUIRED_ATTRIBUTES, KsAttribute, KsComponentId, KsDataFormat, KsIdentifier, KsMultipleItem,
    KsPinCommunication, KsPinConnect, KsPinDataFlow, KsPriority, KsProperty, KsState, KspPin, STATUS_NO_MATCH,
    STATUS_UNSUCCESSFUL,
};
use ks_io::sync::{Arc, Mutex};
use ks_io::{AccessMask, Aspect, Handle, IoManager, Outcome, Refusal, Services, Session, Transport};
use ks_stream::{
    AutomationTable, DataFormat, DataRange, Device, Filter, FilterDescriptor, FilterDispatch, FilterInstance, Framing,
    Pin, PinDescriptor, PinFlags, PinInstance,
};
use zerocopy::{FromBytes, IntoBytes};

/// Numbers of the pin factories.
pub const OUT: u32 = 0;
pub const IN: u32 = 1;
pub const OUT_SOURCE_ONLY: u32 = 2;
pub const NO_COMMUNICATION: u32 = 3;
pub const BRIDGE: u32 = 4;
pub const ATTRIBUTED: u32 = 5;
pub const KERNEL_ONLY: u32 = 6;
pub const FIXED: u32 = 7;
pub const WILD: u32 = 8;
pub const NON_STANDARD: u32 = 9;
pub const PIN_COUNT: u32 = 10;

/// An attribute that [`ATTRIBUTED`] demands.
pub const ATTRIBUTE: Guid = Guid::from_u128(0x11111111_2222_3333_4444_555555555555);
pub const OTHER_MEDIUM: KsIdentifier = KsIdentifier::new(Guid::from_u128(0x99999999_2222_3333_4444_555555555555), 3, 0);
pub const LOOPED: KsIdentifier =
    KsIdentifier::new(ks_abi::KSINTERFACESETID_Standard, ks_abi::KSINTERFACE_STANDARD_LOOPED_STREAMING, 0);

pub fn audio() -> DataFormat {
    let head =
        KsDataFormat::new(KSDATAFORMAT_TYPE_AUDIO, KSDATAFORMAT_SUBTYPE_PCM, KSDATAFORMAT_SPECIFIER_WAVEFORMATEX, 0);
    DataFormat::new(KsDataFormat { sample_size: 4, ..head }, &[0x5A; 18])
}

/// A format or range with one attribute behind it.
pub fn attributed(format: &DataFormat, range_flags: u32, attribute_flags: u32, attribute: Guid) -> DataFormat {
    let mut bytes = format.bytes().to_vec();
    let flags = KSDATAFORMAT_ATTRIBUTES | range_flags;
    bytes[4..8].copy_from_slice(&flags.to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend_from_slice(KsMultipleItem { size: 32, count: 1 }.as_bytes());
    bytes.extend_from_slice(KsAttribute { size: 24, flags: attribute_flags, attribute }.as_bytes());
    DataFormat::parse(&bytes).expect("the list adds up").0
}

type Intersect = dyn Fn(&DataRange, &DataRange) -> Result<DataFormat, Refusal> + Send + Sync;
type Accept = dyn Fn(&DataFormat, &DataRange) -> Result<(), Refusal> + Send + Sync;

/// What the specimen did, and what it is told to do.
#[derive(Default)]
pub struct Script {
    pub calls: Mutex<Vec<String>>,
    pub intersect: Mutex<Option<Box<Intersect>>>,
    pub accept: Mutex<Option<Box<Accept>>>,
    /// The state steps that are refused.
    pub refuse: Mutex<Vec<(KsState, KsState)>>,
    pub refuse_create: Mutex<bool>,
    pub refuse_connect: Mutex<bool>,
    /// Answers for the nodes as a whole, too.
    pub nodes_as_a_whole: Mutex<bool>,
}

impl Script {
    pub fn note(&self, call: impl Into<String>) {
        self.calls.lock().push(call.into());
    }
    pub fn taken(&self) -> Vec<String> {
        std::mem::take(&mut *self.calls.lock())
    }
    fn answers(&self, node: u32) -> bool {
        node == 1 || node == ks_abi::KSALL_NODES && *self.nodes_as_a_whole.lock()
    }
}

pub fn refusal() -> Refusal {
    Refusal::new(STATUS_UNSUCCESSFUL, Aspect::Driver, "told to refuse")
}

pub fn no_match() -> Refusal {
    Refusal::new(STATUS_NO_MATCH, Aspect::FormatBlock, "told to find no match")
}

type Tables = (Option<Arc<AutomationTable<Filter>>>, Option<Arc<AutomationTable<Pin>>>);

struct Kind {
    script: Arc<Script>,
    tables: Tables,
}

struct Instance {
    script: Arc<Script>,
    table: Option<Arc<AutomationTable<Filter>>>,
    pin_table: Option<Arc<AutomationTable<Pin>>>,
}

impl FilterDispatch for Kind {
    fn create(&self, _filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        let (table, pin_table) = self.tables.clone();
        Ok(Arc::new(Instance { script: self.script.clone(), table, pin_table }))
    }
}

impl FilterInstance for Instance {
    fn create_pin(&self, pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        self.script.note(format!("create {}", pin.id()));
        if *self.script.refuse_create.lock() {
            return Err(refusal());
        }
        Ok(Arc::new(SpecimenPin { script: self.script.clone(), table: self.pin_table.clone() }))
    }
    fn accept_format(&self, pin: u32, format: &DataFormat, range: &DataRange) -> Result<(), Refusal> {
        self.script.note(format!("accept {pin}"));
        self.script.accept.lock().as_ref().map_or(Ok(()), |accept| accept(format, range))
    }
    fn intersect(&self, _pin: u32, range: &DataRange, matching: &DataRange) -> Result<DataFormat, Refusal> {
        match &*self.script.intersect.lock() {
            Some(intersect) => intersect(range, matching),
            None => Ok(video()),
        }
    }
    fn automation(&self) -> Option<&AutomationTable<Filter>> {
        self.table.as_deref()
    }
    fn node_automation(&self, node: u32) -> Option<&AutomationTable<Filter>> {
        // Node 1, where there is one, answers what the filter does.
        self.table.as_deref().filter(|_| self.script.answers(node))
    }
    fn close(&self, _filter: &Filter) {
        self.script.note("filter close");
    }
}

struct SpecimenPin {
    script: Arc<Script>,
    table: Option<Arc<AutomationTable<Pin>>>,
}

impl PinInstance for SpecimenPin {
    fn set_device_state(&self, pin: &Arc<Pin>, to: KsState, from: KsState) -> Result<(), Refusal> {
        self.script.note(format!("{from}->{to}"));
        assert_eq!(pin.state(), to, "the pin shows the state of the step while it is told of it");
        if self.script.refuse.lock().contains(&(from, to)) {
            return Err(refusal());
        }
        Ok(())
    }
    fn set_data_format(&self, _pin: &Arc<Pin>, _old: &DataFormat, _new: &DataFormat) -> Result<(), Refusal> {
        self.script.note("format");
        Ok(())
    }
    fn connect(&self, pin: &Arc<Pin>) -> Result<(), Refusal> {
        self.script.note(format!("connect {}", pin.id()));
        if *self.script.refuse_connect.lock() { Err(refusal()) } else { Ok(()) }
    }
    fn disconnect(&self, pin: &Pin) {
        self.script.note(format!("disconnect {}", pin.id()));
    }
    fn close(&self, pin: &Pin) {
        self.script.note(format!("close {}", pin.id()));
    }
    fn automation(&self) -> Option<&AutomationTable<Pin>> {
        self.table.as_deref()
    }
    fn node_automation(&self, node: u32) -> Option<&AutomationTable<Pin>> {
        self.table.as_deref().filter(|_| self.script.answers(node))
    }
}

/// An engine with one device and one open specimen filter.
pub struct Bench {
    pub io: Arc<IoManager>,
    pub session: Arc<Session>,
    pub device: Arc<Device>,
    pub filter: Handle,
    pub script: Arc<Script>,
    pub link: String,
}

impl Drop for Bench {
    /// Whatever a test does, its drivers have broken no rule.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.device.violations(), []);
        }
    }
}

pub fn bench() -> Bench {
    bench_with(|_| (), None, None)
}

/// A bench whose descriptor was edited, with automation tables of the driver's own.
pub fn bench_with(
    edit: impl FnOnce(&mut FilterDescriptor),
    table: Option<AutomationTable<Filter>>,
    pin_table: Option<AutomationTable<Pin>>,
) -> Bench {
    bench_on(Services::virtual_time(7), edit, table, pin_table)
}

/// A bench on other time and threads.
pub fn bench_on(
    services: Services,
    edit: impl FnOnce(&mut FilterDescriptor),
    table: Option<AutomationTable<Filter>>,
    pin_table: Option<AutomationTable<Pin>>,
) -> Bench {
    ks_io::watch_lock_order();
    ks_stream::verifier::enable();
    let io = IoManager::new(services);
    let script: Arc<Script> = Arc::default();
    let dispatch = Arc::new(Kind { script: script.clone(), tables: (table.map(Arc::new), pin_table.map(Arc::new)) });
    let categories = [KSCATEGORY_CAPTURE, KSCATEGORY_VIDEO];
    let mut descriptor = FilterDescriptor::new("specimen", "Specimen", &categories, factories(), dispatch);
    descriptor.component_id =
        Some(KsComponentId { component: ATTRIBUTE, version: 7, revision: 3, ..Default::default() });
    edit(&mut descriptor);
    let device = Device::start(&io, "specimen", vec![Arc::new(descriptor)]).expect("the device starts");
    let session = io.session();
    let link = io.interfaces(None)[0].symbolic_link.clone();
    let filter = session.open(&link, both_accesses()).expect("the filter opens");
    Bench { io, session, device, filter, script, link }
}

pub fn both_accesses() -> AccessMask {
    AccessMask::GENERIC_READ.union(AccessMask::GENERIC_WRITE)
}

fn factories() -> Vec<PinDescriptor> {
    let pin = |flow, communication, ranges: Vec<DataRange>| PinDescriptor {
        communication,
        instances_possible: 2,
        ..PinDescriptor::new(flow, ranges)
    };
    let (inward, outward) = (KsPinDataFlow::IN, KsPinDataFlow::OUT);
    let wild = KsDataFormat::new(KSDATAFORMAT_TYPE_VIDEO, Guid::NULL, Guid::NULL, 0);
    let attributed_range = attributed(&video(), KSDATARANGE_REQUIRED_ATTRIBUTES, 1, ATTRIBUTE);
    vec![
        PinDescriptor {
            name: Some("Capture"),
            category: Some(ks_abi::PINNAME_VIDEO_CAPTURE),
            flags: PinFlags::IMPLEMENT_CLOCK | PinFlags::GENERATE_EOS_EVENTS,
            framing: Some(Framing { frames: 5, frame_bytes: 1000, alignment: 64 }),
            ..pin(outward, KsPinCommunication::BOTH, vec![video()])
        },
        PinDescriptor {
            interfaces: vec![KsIdentifier::STANDARD_STREAMING, LOOPED],
            mediums: vec![OTHER_MEDIUM, KsIdentifier::STANDARD_DEVIO],
            ..pin(inward, KsPinCommunication::SINK, vec![video(), audio()])
        },
        pin(outward, KsPinCommunication::SOURCE, vec![video()]),
        pin(inward, KsPinCommunication::NONE, vec![video()]),
        pin(inward, KsPinCommunication::BRIDGE, vec![video()]),
        pin(inward, KsPinCommunication::SINK, vec![attributed_range]),
        PinDescriptor { flags: PinFlags::DENY_USERMODE_ACCESS, ..pin(inward, KsPinCommunication::SINK, vec![video()]) },
        PinDescriptor {
            flags: PinFlags::FIXED_FORMAT,
            ..pin(outward, KsPinCommunication::BOTH, vec![video(), audio()])
        },
        pin(inward, KsPinCommunication::BOTH, vec![DataFormat::new(wild, &[])]),
        PinDescriptor {
            flags: PinFlags::DO_NOT_USE_STANDARD_TRANSPORT,
            instances_possible: PinDescriptor::UNLIMITED,
            ..pin(outward, KsPinCommunication::BOTH, vec![video()])
        },
    ]
}

/// The parameters of a pin create, each member to be changed by the test.
pub struct PinCreate {
    pub connect: KsPinConnect,
    pub format: Vec<u8>,
    pub access: AccessMask,
    pub class: String,
}

pub fn pin_create(id: u32) -> PinCreate {
    let connect = KsPinConnect {
        interface: KsIdentifier::STANDARD_STREAMING,
        medium: KsIdentifier::STANDARD_DEVIO,
        pin_id: id,
        priority: KsPriority::NORMAL,
        ..Default::default()
    };
    let format = if id == ATTRIBUTED { attributed(&video(), 0, 1, ATTRIBUTE) } else { video() };
    let class = ks_abi::KSSTRING_PIN.to_string();
    PinCreate { connect, format: format.bytes().to_vec(), access: both_accesses(), class }
}

impl PinCreate {
    pub fn to(mut self, pin: Handle) -> Self {
        self.connect.pin_to_handle = pin.0;
        self
    }
    pub fn format(mut self, format: &DataFormat) -> Self {
        self.format = format.bytes().to_vec();
        self
    }
    pub fn parameters(&self) -> Vec<u8> {
        [self.connect.as_bytes(), &self.format].concat()
    }
}

impl Bench {
    pub fn create(&self, create: &PinCreate) -> Result<Handle, Outcome> {
        self.session.create(self.filter, &create.class, &create.parameters(), create.access)
    }

    pub fn pin(&self, id: u32) -> Handle {
        self.create(&pin_create(id)).expect("the pin is created")
    }

    pub fn control(&self, handle: Handle, code: IoControlCode, input: &[u8], output: &mut [u8]) -> Outcome {
        self.session.device_io_control(handle, code, input, output)
    }

    pub fn property(&self, handle: Handle, request: &[u8], data: &mut [u8]) -> Outcome {
        self.control(handle, IoControlCode::KS_PROPERTY, request, data)
    }

    /// A property request with room for so many bytes; gives the outcome and the bytes answered.
    pub fn ask(&self, handle: Handle, request: &[u8], room: usize) -> (Outcome, Vec<u8>) {
        let mut answer = vec![0xEE; room];
        let outcome = self.property(handle, request, &mut answer);
        if outcome.status.is_success() {
            answer.truncate(outcome.information);
        }
        (outcome, answer)
    }

    /// The whole answer by the two-call protocol.
    pub fn whole(&self, handle: Handle, request: &[u8]) -> Vec<u8> {
        let (size, _) = self.ask(handle, request, 0);
        assert_eq!(size.status, ks_abi::STATUS_BUFFER_OVERFLOW, "the first call asks for the size");
        let (outcome, answer) = self.ask(handle, request, size.information);
        assert_eq!(outcome.status, ks_abi::STATUS_SUCCESS);
        assert_eq!(outcome.information, size.information);
        answer
    }

    pub fn value<T: FromBytes>(&self, handle: Handle, request: &[u8]) -> T {
        let (outcome, answer) = self.ask(handle, request, size_of::<T>());
        assert_eq!((outcome.status, outcome.information), (ks_abi::STATUS_SUCCESS, size_of::<T>()));
        T::read_from_bytes(&answer).expect("as many bytes as the value has")
    }

    pub fn set_state(&self, pin: Handle, state: KsState) -> Outcome {
        let request = property(ks_abi::KSPROPSETID_Connection, ks_abi::KSPROPERTY_CONNECTION_STATE, 2);
        self.property(pin, request.as_bytes(), &mut state.0.to_le_bytes())
    }

    pub fn state(&self, pin: Handle) -> KsState {
        let request = property(ks_abi::KSPROPSETID_Connection, ks_abi::KSPROPERTY_CONNECTION_STATE, 1);
        self.value(pin, request.as_bytes())
    }

    /// The engine's pin behind a handle.
    pub fn engine_filter(&self, handle: Handle) -> Arc<Filter> {
        let file = self.session.file_object(handle).expect("the handle is open");
        file.object_as::<Filter>().expect("it is a filter")
    }

    pub fn engine_pin(&self, handle: Handle) -> Arc<Pin> {
        let file = self.session.file_object(handle).expect("the handle is open");
        file.object_as::<Pin>().expect("it is a pin")
    }
}

pub fn property(set: Guid, id: u32, flags: u32) -> KsProperty {
    KsProperty::new(set, id, flags)
}

/// A `KSP_PIN` request for reading.
pub fn of_pin(item: u32, pin_id: u32) -> KspPin {
    KspPin { property: property(ks_abi::KSPROPSETID_Pin, item, ks_abi::KSPROPERTY_TYPE_GET), pin_id, flags: 0 }
}

/// A `KSMULTIPLE_ITEM` list of ranges, each at a multiple of eight.
pub fn range_list(ranges: &[DataRange]) -> Vec<u8> {
    let mut items: Vec<u8> = Vec::new();
    for range in ranges {
        items.resize(items.len().next_multiple_of(8), 0);
        items.extend_from_slice(range.bytes());
    }
    let head = KsMultipleItem { size: (8 + items.len()) as u32, count: ranges.len() as u32 };
    [head.as_bytes(), &items].concat()
}
