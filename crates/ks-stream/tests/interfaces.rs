//! Interfaces and mediums: what a pin of each is, what connects, and what each refuses.
#![expect(clippy::unwrap_used, reason = "tests")]

use ks_abi::{
    Guid, KSCATEGORY_CAPTURE, KSDATAFORMAT_SPECIFIER_NONE, KSDATAFORMAT_SUBTYPE_NV12, KSDATAFORMAT_TYPE_VIDEO,
    KSMEDIUM_TYPE_ANYINSTANCE, KsDataFormat, KsHandshake, KsIdentifier, KsPinDataFlow, KsState, NtStatus, Ptr64,
    STATUS_INVALID_DEVICE_REQUEST, STATUS_NO_MATCH, STATUS_NOT_SUPPORTED, STATUS_PENDING,
};
use ks_client::graph::grammar::parse;
use ks_client::graph::run::{GraphRunner, Options};
use ks_client::{Client, ClientError, Connect, Format};
use ks_io::sync::{Arc, Mutex};
use ks_io::{Aspect, IoManager, Refusal, Services, Session};
use ks_stream::{
    DataFormat, Device, Filter, FilterDescriptor, FilterDispatch, FilterInstance, Framing, Interface, Pin,
    PinDescriptor, PinFlags, PinInstance,
};
use std::sync::Weak;

const WIRES: Guid = Guid::from_u128(0x41d2_7f00_1c52_4f7b_8a83_0b55_92d6_7a01);
const OWN: KsIdentifier = KsIdentifier::new(Guid::from_u128(0x41d2_7f00_1c52_4f7b_8a83_0b55_92d6_7a02), 5, 0);
const PROTOCOL: Guid = Guid::from_u128(0x41d2_7f00_1c52_4f7b_8a83_0b55_92d6_7a03);
const STREAMING: KsIdentifier = KsIdentifier::STANDARD_STREAMING;
const LOOPED: KsIdentifier = KsIdentifier::STANDARD_LOOPED_STREAMING;
const CONTROL: KsIdentifier = KsIdentifier::STANDARD_CONTROL;
const DEVIO: KsIdentifier = KsIdentifier::STANDARD_DEVIO;

const fn wire(device: u32) -> KsIdentifier {
    KsIdentifier::new(WIRES, device, 0)
}

fn video() -> DataFormat {
    let head = KsDataFormat::new(KSDATAFORMAT_TYPE_VIDEO, KSDATAFORMAT_SUBTYPE_NV12, KSDATAFORMAT_SPECIFIER_NONE, 0);
    DataFormat::new(KsDataFormat { sample_size: 64, ..head }, &[])
}

/// What the pins were told.
#[derive(Default)]
struct Journal {
    calls: Mutex<Vec<String>>,
    pins: Mutex<Vec<Weak<Pin>>>,
}

impl Journal {
    fn note(&self, call: String) {
        self.calls.lock().push(call);
    }

    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut *self.calls.lock())
    }

    /// The newest living pin of this factory.
    fn pin(&self, id: u32) -> Arc<Pin> {
        self.pins.lock().iter().rev().filter_map(Weak::upgrade).find(|pin| pin.id() == id).unwrap()
    }
}

/// The memory behind a private wire, which one pin writes and the other reads.
#[derive(Default)]
struct Bus(Mutex<Vec<u8>>);

struct Kind(Arc<Journal>);
struct Wired(Arc<Journal>);
struct WiredPin(Arc<Journal>, Arc<Bus>);

impl FilterDispatch for Kind {
    fn create(&self, _filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        Ok(Arc::new(Wired(self.0.clone())))
    }
}

impl FilterInstance for Wired {
    fn create_pin(&self, pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        self.0.pins.lock().push(Arc::downgrade(pin));
        Ok(Arc::new(WiredPin(self.0.clone(), Arc::default())))
    }
}

impl PinInstance for WiredPin {
    fn process(&self, pin: &Arc<Pin>) -> NtStatus {
        self.0.note(format!("process {}", pin.id()));
        while let Some(frame) = pin.leading_edge() {
            drop(frame.advance());
        }
        STATUS_PENDING
    }

    fn framing(&self, _pin: &Pin) -> Option<Framing> {
        Some(Framing { frames: 2, frame_bytes: 64, alignment: 64 })
    }

    fn set_device_state(&self, pin: &Arc<Pin>, to: KsState, from: KsState) -> Result<(), Refusal> {
        self.0.note(format!("{} from {from} to {to}", pin.id()));
        // The source of a private wire writes where the sink says.
        if to == KsState::RUN
            && pin.data_flow() == KsPinDataFlow::OUT
            && let Ok(bus) = pin.connected_pin_interface(PROTOCOL)
        {
            bus.downcast::<Bus>().unwrap().0.lock().extend(b"by wire");
        }
        Ok(())
    }

    fn connect(&self, pin: &Arc<Pin>) -> Result<(), Refusal> {
        self.0.note(format!("{} connected", pin.id()));
        Ok(())
    }

    fn disconnect(&self, pin: &Pin) {
        self.0.note(format!("{} disconnected", pin.id()));
    }

    fn handshake(&self, _pin: &Arc<Pin>, offer: &KsHandshake) -> Result<KsHandshake, NtStatus> {
        if offer.protocol_id == PROTOCOL {
            return Ok(KsHandshake { argument1: Ptr64(offer.argument1.0 + 1), ..*offer });
        }
        Err(STATUS_INVALID_DEVICE_REQUEST)
    }

    fn interface(&self, _pin: &Arc<Pin>, id: Guid) -> Option<Interface> {
        (id == PROTOCOL).then(|| self.1.clone() as Interface)
    }
}

struct Bench {
    io: Arc<IoManager>,
    session: Arc<Session>,
    journal: Arc<Journal>,
    _device: Arc<Device>,
}

fn factory(
    flow: KsPinDataFlow,
    interfaces: &[KsIdentifier],
    mediums: &[KsIdentifier],
    flags: PinFlags,
) -> PinDescriptor {
    PinDescriptor {
        interfaces: interfaces.to_vec(),
        mediums: mediums.to_vec(),
        flags,
        instances_possible: PinDescriptor::UNLIMITED,
        ..PinDescriptor::new(flow, vec![video()])
    }
}

const SOURCE: u32 = 0;
const SINK: u32 = 1;
const FORCED: u32 = 2;

/// A filter with an output and an input that list everything, and an input whose transport is forced.
fn bench() -> Bench {
    let (out, into) = (KsPinDataFlow::OUT, KsPinDataFlow::IN);
    let interfaces = [STREAMING, LOOPED, CONTROL, OWN];
    let mediums = [wire(7), wire(8), wire(KSMEDIUM_TYPE_ANYINSTANCE), DEVIO];
    let pins = vec![
        factory(out, &interfaces, &mediums, PinFlags::empty()),
        factory(into, &interfaces, &mediums, PinFlags::empty()),
        factory(into, &interfaces, &mediums, PinFlags::USE_STANDARD_TRANSPORT),
    ];
    start(vec![("wired", pins)])
}

fn start(filters: Vec<(&'static str, Vec<PinDescriptor>)>) -> Bench {
    let io = IoManager::new(Services::virtual_time(5));
    let journal = Arc::new(Journal::default());
    let factories = filters.into_iter().map(|(name, pins)| {
        let kind = Arc::new(Kind(journal.clone()));
        Arc::new(FilterDescriptor::new(name, name, &[KSCATEGORY_CAPTURE], pins, kind)) as _
    });
    let device = Device::start(&io, "bench", factories.collect()).unwrap();
    Bench { session: io.session(), io, journal, _device: device }
}

impl Bench {
    fn open(&self) -> ks_client::Filter {
        Client::new(self.session.clone()).open_by_name("wired").unwrap()
    }
}

fn create(
    filter: &ks_client::Filter,
    pin_id: u32,
    (interface, medium): (KsIdentifier, KsIdentifier),
    pin_to: Option<&ks_client::Pin>,
) -> Result<ks_client::Pin, ClientError> {
    let format = Format::from_bytes(video().bytes()).unwrap();
    let flow = if pin_id == SOURCE { KsPinDataFlow::OUT } else { KsPinDataFlow::IN };
    filter.create_pin(Connect { pin_id, interface, medium, pin_to, format: &format }, flow)
}

#[track_caller]
fn refused(outcome: Result<ks_client::Pin, ClientError>, status: NtStatus, aspect: Aspect, words: &str) {
    let error = outcome.unwrap_err();
    assert_eq!((error.status, error.aspect()), (status, Some(aspect)), "{error}");
    assert!(error.reason().contains(words), "{error}");
}

#[test]
fn pins_of_one_wire_find_each_other_and_no_frame_passes_the_engine() {
    for own in [(STREAMING, wire(7)), (OWN, DEVIO), (OWN, wire(7))] {
        let bench = bench();
        let filter = bench.open();
        let sink = create(&filter, SINK, own, None).unwrap();
        let source = create(&filter, SOURCE, own, Some(&sink)).unwrap();
        assert_eq!(bench.journal.taken(), ["1 connected"]);
        let (from, to) = (bench.journal.pin(SOURCE), bench.journal.pin(SINK));
        assert!(!from.connection_is_external() && !to.connection_is_external());
        assert!(Arc::ptr_eq(&from.peer().unwrap(), &to) && Arc::ptr_eq(&to.peer().unwrap(), &from));
        assert!(from.connected_file().is_some(), "KsPinGetConnectedPinFileObject");
        for pin in [&from, &to] {
            let offer = KsHandshake { protocol_id: PROTOCOL, argument1: Ptr64(41), ..Default::default() };
            assert_eq!(pin.handshake(&offer).unwrap().argument1, Ptr64(42));
        }
        // Who has no transport is told of the jump, and asked to process nothing.
        for pin in [&sink, &source] {
            pin.set_state(KsState::RUN).unwrap();
        }
        assert_eq!(bench.journal.taken(), ["1 from STOP to RUN", "0 from STOP to RUN"].map(String::from));
        let bus = from.connected_pin_interface(PROTOCOL).unwrap().downcast::<Bus>().unwrap();
        assert_eq!(*bus.0.lock(), b"by wire");
        let frame = source.allocate(64).unwrap();
        let request = source.read_stream(vec![frame]).unwrap();
        assert_eq!(request.wait().unwrap_err().status, STATUS_INVALID_DEVICE_REQUEST);
        for pin in [&source, &sink] {
            pin.set_state(KsState::STOP).unwrap();
        }
        bench.journal.taken();
        drop((from, to, source));
        assert_eq!(bench.journal.taken(), ["1 disconnected"]);
        drop((sink, filter));
        assert_eq!(bench.session.open_handles(), 0);
        assert_eq!(bench.io.regions().resolve(0, 1).map(|frame| frame.len()), None);
    }
}

#[test]
fn wires_of_two_devices_do_not_connect() {
    let bench = bench();
    let filter = bench.open();
    let any = wire(KSMEDIUM_TYPE_ANYINSTANCE);
    for (ours, theirs) in [(wire(7), wire(8)), (wire(7), DEVIO), (DEVIO, wire(8)), (any, wire(7)), (wire(7), any)] {
        let sink = create(&filter, SINK, (STREAMING, theirs), None).unwrap();
        let source = create(&filter, SOURCE, (STREAMING, ours), Some(&sink));
        refused(source, STATUS_NO_MATCH, Aspect::Medium, "wired.0 has the medium");
        assert!(!bench.journal.pin(SINK).is_connected(), "the sink is as it was");
        assert!(create(&filter, SOURCE, (STREAMING, theirs), Some(&sink)).is_ok());
    }
    // The same wire of a device that the factory does not list.
    refused(create(&filter, SINK, (STREAMING, wire(9)), None), STATUS_NO_MATCH, Aspect::Medium, "offers the mediums");
}

#[test]
fn both_ends_have_the_same_interface() {
    let bench = bench();
    let filter = bench.open();
    for (ours, theirs) in [(STREAMING, LOOPED), (LOOPED, STREAMING), (OWN, STREAMING), (STREAMING, OWN)] {
        let sink = create(&filter, SINK, (theirs, DEVIO), None).unwrap();
        let source = create(&filter, SOURCE, (ours, DEVIO), Some(&sink));
        refused(source, STATUS_NO_MATCH, Aspect::Interface, "wired.0 has the interface");
    }
}

/// The page of the looped interface speaks of a client's one buffer. Of two drivers that list it and send requests, a
/// request is one as any other.
#[test]
fn two_looped_pins_of_drivers_that_send_requests_are_peers_with_frames() {
    let bench = bench();
    let filter = bench.open();
    let sink = create(&filter, SINK, (LOOPED, DEVIO), None).unwrap();
    let source = create(&filter, SOURCE, (LOOPED, DEVIO), Some(&sink)).unwrap();
    let (from, to) = (bench.journal.pin(SOURCE), bench.journal.pin(SINK));
    assert!(Arc::ptr_eq(&from.peer().unwrap(), &to) && !from.connection_is_external());
    for pin in [&sink, &source] {
        pin.set_state(KsState::ACQUIRE).unwrap();
    }
    let made = source.statistics().unwrap();
    assert_eq!((made.allocator_frames, made.allocator_frame_bytes), (2, 64));
    for pin in [&source, &sink] {
        pin.set_state(KsState::STOP).unwrap();
    }
}

#[test]
fn the_control_interface_is_not_supported_though_a_pin_lists_it() {
    let bench = bench();
    let filter = bench.open();
    assert!(filter.pin(SINK).unwrap().interfaces.contains(&CONTROL), "its list is its own affair");
    refused(create(&filter, SINK, (CONTROL, DEVIO), None), STATUS_NOT_SUPPORTED, Aspect::Interface, "not supported");
    let unlisted = KsIdentifier { id: 3, ..CONTROL };
    refused(
        create(&filter, SINK, (unlisted, DEVIO), None),
        STATUS_NO_MATCH,
        Aspect::Interface,
        "offers the interfaces",
    );
}

#[test]
fn a_looped_pin_has_a_queue_and_an_own_interface_has_one_if_it_is_forced() {
    let bench = bench();
    let filter = bench.open();
    for (id, identity, queue) in [
        (SINK, (LOOPED, DEVIO), true),
        (SINK, (OWN, DEVIO), false),
        (SINK, (STREAMING, wire(7)), false),
        (FORCED, (OWN, DEVIO), true),
        (FORCED, (OWN, wire(7)), true),
    ] {
        let pin = create(&filter, id, identity, None).unwrap();
        pin.set_state(KsState::RUN).unwrap();
        let outcome = pin.write_stream(vec![pin.allocate(64).unwrap()]).unwrap().wait();
        assert_eq!(outcome.is_ok(), queue, "{id} {identity:?}");
        assert!(queue || outcome.unwrap_err().status == STATUS_INVALID_DEVICE_REQUEST);
    }
}

#[test]
fn one_end_with_transport_and_one_without_exchange_nothing() {
    let bench = bench();
    let filter = bench.open();
    let sink = create(&filter, FORCED, (OWN, DEVIO), None).unwrap();
    let source = create(&filter, SOURCE, (OWN, DEVIO), Some(&sink)).unwrap();
    let from = bench.journal.pin(SOURCE);
    assert!(from.connection_is_external() && from.peer().is_none(), "each is foreign to the other");
    for pin in [&sink, &source] {
        pin.set_state(KsState::RUN).unwrap();
    }
    assert_eq!(bench.journal.pin(FORCED).queued_requests(), 0);
    assert!(!bench.journal.taken().iter().any(|call| call.starts_with("process")));
}

#[test]
fn a_graph_takes_the_wire_that_both_have_and_else_what_they_have_in_common() {
    let flags = PinFlags::GENERATE_EOS_EVENTS;
    for (sinks, medium) in [(wire(7), wire(7)), (wire(8), DEVIO)] {
        let source = factory(KsPinDataFlow::OUT, &[], &[wire(7), DEVIO], flags);
        let sink = factory(KsPinDataFlow::IN, &[], &[sinks, DEVIO], flags);
        let bench = start(vec![("from", vec![source]), ("to", vec![sink])]);
        let client = Client::new(bench.session.clone());
        let graph = parse("from ! to").unwrap();
        let runner = GraphRunner::build(&client, &graph, Options::default()).unwrap();
        let pins: Vec<_> = bench.journal.pins.lock().iter().filter_map(Weak::upgrade).collect();
        assert_eq!(pins.iter().map(|pin| pin.medium()).collect::<Vec<_>>(), [medium; 2]);
        drop((pins, runner));
    }
    let source = factory(KsPinDataFlow::OUT, &[], &[wire(7)], flags);
    let sink = factory(KsPinDataFlow::IN, &[], &[wire(8)], flags);
    let bench = start(vec![("from", vec![source]), ("to", vec![sink])]);
    let client = Client::new(bench.session.clone());
    let refused = GraphRunner::build(&client, &parse("from ! to").unwrap(), Options::default()).err().unwrap();
    assert!(refused.to_string().contains("refused: Medium"), "{refused}");
}
