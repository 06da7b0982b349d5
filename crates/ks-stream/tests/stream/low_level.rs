//! A Kernel Streaming driver without AVStream, in Rust: over the public routines of the class driver that AVStream itself
//! uses, with file objects, tables and a queue of its own. One pin takes frames of AVStream's as a foreign peer, the other
//! sends some to AVStream.

use crate::rig::{DOWN, Rig, SEEDS, UP, create};
use ks_abi::{
    Guid, IoControlCode, KSCATEGORY_RENDER, KSDATAFORMAT_SPECIFIER_NONE, KSDATAFORMAT_SUBTYPE_NV12,
    KSDATAFORMAT_TYPE_VIDEO, KSINSTANCE_INDETERMINATE, KSPROPERTY_CONNECTION_STATE, KSPROPERTY_PIN_CATEGORY,
    KSPROPERTY_PIN_CINSTANCES, KSPROPERTY_PIN_COMMUNICATION, KSPROPERTY_PIN_CTYPES, KSPROPERTY_PIN_DATAFLOW,
    KSPROPERTY_PIN_DATAINTERSECTION, KSPROPERTY_PIN_DATARANGES, KSPROPERTY_PIN_INTERFACES, KSPROPERTY_PIN_MEDIUMS,
    KSPROPERTY_PIN_NAME, KSPROPERTY_PIN_NECESSARYINSTANCES, KSPROPSETID_Connection, KSPROPSETID_Pin, KsDataFormat,
    KsMethod, KsPinCInstances, KsPinCommunication, KsPinDataFlow, KsPinInterface, KsPinMedium, KsReset, KsState,
    KspPin, NtStatus, STATUS_CANCELLED, STATUS_DEVICE_NOT_READY, STATUS_INVALID_BUFFER_SIZE,
    STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_DEVICE_STATE, STATUS_INVALID_PARAMETER, STATUS_NO_MATCH,
    STATUS_NOT_FOUND, STATUS_PROPSET_NOT_FOUND, STATUS_SUCCESS,
};
use ks_client::{Client, Connect};
use ks_io::sync::{Arc, Mutex, Weak};
use ks_io::{
    CancelSafeQueue, CompletedRequest, CompletionRoutine, CreateRequest, Created, DeviceObject, Dispatch, Dispatched,
    FileObject, InterfaceRecord, IoManager, Irp, IrpParts, Origin, Output, Refusal, Reply, Services, StreamFrames,
};
use ks_mem::RegionOwner;
use ks_stream::{
    AutomationTable, DataFormat, DataRange, DescribePin, Direction, Framing, PinFactories, PinFlags, PinId,
    PropertyCall, PropertyItem, PropertySet, answer_pin_property, answer_property, default_completion, first_match,
    probe_headers, reset_value, validate,
};
use std::any::Any;
use std::borrow::Cow;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use zerocopy::IntoBytes;

const FRAME_BYTES: u32 = 32;

fn range() -> DataRange {
    let head = KsDataFormat {
        sample_size: FRAME_BYTES,
        ..KsDataFormat::new(KSDATAFORMAT_TYPE_VIDEO, KSDATAFORMAT_SUBTYPE_NV12, KSDATAFORMAT_SPECIFIER_NONE, 0)
    };
    DataFormat::new(head, &[])
}

/// A pin factory: an IRP sink that takes data, or an IRP source that gives it.
struct Factory(KsPinDataFlow, KsPinCommunication);

static FACTORIES: [Factory; 2] =
    [Factory(KsPinDataFlow::IN, KsPinCommunication::SINK), Factory(KsPinDataFlow::OUT, KsPinCommunication::SOURCE)];

impl DescribePin for Factory {
    fn data_flow(&self) -> KsPinDataFlow {
        self.0
    }
    fn communication(&self) -> KsPinCommunication {
        self.1
    }
    fn interfaces(&self) -> Cow<'_, [KsPinInterface]> {
        vec![KsPinInterface::STANDARD_STREAMING].into()
    }
    fn mediums(&self) -> Cow<'_, [KsPinMedium]> {
        vec![KsPinMedium::STANDARD_DEVIO].into()
    }
    fn data_ranges(&self) -> Cow<'_, [DataRange]> {
        vec![range()].into()
    }
    fn category(&self) -> Option<Guid> {
        None
    }
    fn name(&self) -> Option<Cow<'_, str>> {
        None
    }
    fn flags(&self) -> PinFlags {
        PinFlags::empty()
    }
    fn instances_possible(&self) -> u32 {
        KSINSTANCE_INDETERMINATE
    }
    fn instances_necessary(&self) -> u32 {
        0
    }
    fn framing(&self) -> Option<Framing> {
        None
    }
}

struct Old {
    me: Weak<Old>,
    io: Arc<IoManager>,
    /// Frames that have arrived: the first byte of each.
    seen: Mutex<Vec<u8>>,
    /// Statuses of the requests that were sent.
    ended: Mutex<Vec<NtStatus>>,
    /// What resets have asked for.
    resets: Mutex<Vec<KsReset>>,
    /// Pins that are open.
    pins: AtomicU32,
    /// Requests that were sent.
    sent: AtomicU32,
}

impl DeviceObject for Old {
    fn name(&self) -> &str {
        "old"
    }
    fn create(&self, request: &CreateRequest<'_>) -> Result<Created, Refusal> {
        let filter = OldFilter { device: self.me.upgrade().unwrap(), table: filter_table() };
        Ok(Created { object: Arc::new(filter), granted: request.access })
    }
}

struct OldFilter {
    device: Arc<Old>,
    table: AutomationTable<OldFilter>,
}

impl PinFactories for OldFilter {
    fn name(&self) -> Cow<'_, str> {
        "old".into()
    }
    fn count(&self) -> u32 {
        FACTORIES.len() as u32
    }
    fn factory(&self, id: PinId) -> Option<&dyn DescribePin> {
        FACTORIES.get(id as usize).map(|factory| factory as &dyn DescribePin)
    }
    fn ranges(&self, id: PinId) -> Vec<DataRange> {
        self.factory(id).map_or_else(Vec::new, |pin| pin.data_ranges().into_owned())
    }
    fn instances(&self, _id: PinId) -> u32 {
        0
    }
}

/// The set of pins: a table like any other, whose static items the class driver knows how to answer.
fn filter_table() -> AutomationTable<OldFilter> {
    let fixed = [
        KSPROPERTY_PIN_CTYPES,
        KSPROPERTY_PIN_DATAFLOW,
        KSPROPERTY_PIN_DATARANGES,
        KSPROPERTY_PIN_INTERFACES,
        KSPROPERTY_PIN_MEDIUMS,
        KSPROPERTY_PIN_COMMUNICATION,
        KSPROPERTY_PIN_CATEGORY,
        KSPROPERTY_PIN_NAME,
        KSPROPERTY_PIN_NECESSARYINSTANCES,
    ];
    let mut items: Vec<PropertyItem<OldFilter>> = fixed
        .into_iter()
        .map(|id| {
            PropertyItem::new(id).get(|filter: &OldFilter, call: &mut PropertyCall<'_>| {
                let mut output = Output::new(call.answer_limit(), &[]).unwrap();
                let (origin, file) = (call.origin().clone(), ks_io::FileReference::default());
                let parts = IrpParts { input: call.request(), output: &mut output, origin: &origin, file: &file };
                let status = answer_pin_property(filter, parts).unwrap_or_else(|refusal| call.refuse(refusal));
                if status == STATUS_SUCCESS {
                    return call.answer(output.answered());
                }
                call.set_information(output.information());
                status
            })
        })
        .collect();
    items.push(PropertyItem::new(KSPROPERTY_PIN_CINSTANCES).get(|_: &OldFilter, call: &mut PropertyCall<'_>| {
        call.answer_value(&KsPinCInstances { possible_count: KSINSTANCE_INDETERMINATE, current_count: 0 })
    }));
    items.push(PropertyItem::new(KSPROPERTY_PIN_DATAINTERSECTION).request_bytes(size_of::<KspPin>()).get(
        |filter: &OldFilter, call: &mut PropertyCall<'_>| {
            let list = call.request()[size_of::<KspPin>()..].to_vec();
            match first_match(filter, 0, &list, |_, _, own| Ok(own.clone())) {
                Ok(format) => call.answer(format.bytes()),
                Err(refusal) => call.refuse(refusal),
            }
        },
    ));
    AutomationTable::of_properties(vec![PropertySet { set: KSPROPSETID_Pin, items }])
}

impl Dispatch for OldFilter {
    fn device_io_control(&self, mut irp: Irp) -> Dispatched {
        let code = irp.io_control_code();
        if code != IoControlCode::KS_PROPERTY {
            return irp.done(default_completion(code));
        }
        match answer_property(self, irp.parts(), &[&self.table]) {
            Ok(status) => irp.done(status),
            Err(refusal) => Dispatched::Completed(irp.refuse(refusal)),
        }
    }
    fn create_child(&self, request: &CreateRequest<'_>) -> Result<Created, Refusal> {
        let valid = validate::connect(self, request.parameters, request.access, request.origin.mode())?;
        if valid.communication == KsPinCommunication::SOURCE {
            let other = request.file.file_by_handle(valid.connect.pin_to_handle).unwrap();
            let pin = Arc::new_cyclic(|me| Sender {
                me: me.clone(),
                device: self.device.clone(),
                other,
                state: Mutex::new(KsState::STOP),
                sent: AtomicU32::new(0),
                table: sender_table(),
            });
            self.device.pins.fetch_add(1, SeqCst);
            return Ok(Created { object: pin, granted: request.access });
        }
        self.device.pins.fetch_add(1, SeqCst);
        let pin = OldPin {
            device: self.device.clone(),
            state: Mutex::new(KsState::STOP),
            queue: CancelSafeQueue::new(),
            resetting: Mutex::new(false),
            table: pin_table(),
        };
        Ok(Created { object: Arc::new(pin), granted: request.access })
    }
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

struct OldPin {
    device: Arc<Old>,
    state: Mutex<KsState>,
    /// Requests that wait for the pin to run.
    queue: Arc<CancelSafeQueue>,
    /// A reset has begun and has not ended.
    resetting: Mutex<bool>,
    table: AutomationTable<OldPin>,
}

fn pin_table() -> AutomationTable<OldPin> {
    let state = PropertyItem::new(KSPROPERTY_CONNECTION_STATE)
        .data_bytes(4)
        .get(|pin: &OldPin, call: &mut PropertyCall<'_>| call.answer_value(&*pin.state.lock()))
        .set(|pin: &OldPin, call: &mut PropertyCall<'_>| match call.data_as::<KsState>() {
            Ok(state) => {
                *pin.state.lock() = state;
                pin.serve();
                STATUS_SUCCESS
            }
            Err(status) => status,
        });
    AutomationTable::of_properties(vec![PropertySet { set: KSPROPSETID_Connection, items: vec![state] }])
}

impl OldPin {
    /// Takes what waits, as long as the pin runs.
    fn serve(&self) {
        while *self.state.lock() == KsState::RUN {
            let Some(irp) = self.queue.remove() else { return };
            for frame in irp.stream().unwrap().iter() {
                let bytes = frame.buffer().and_then(|buffer| buffer.bytes(frame.data_used() as usize)).unwrap();
                self.device.seen.lock().push(bytes[0]);
            }
            drop(irp.complete(STATUS_SUCCESS));
        }
    }
}

impl Dispatch for OldPin {
    fn device_io_control(&self, mut irp: Irp) -> Dispatched {
        match irp.io_control_code() {
            IoControlCode::KS_PROPERTY => match answer_property(self, irp.parts(), &[&self.table]) {
                Ok(status) => irp.done(status),
                Err(refusal) => Dispatched::Completed(irp.refuse(refusal)),
            },
            IoControlCode::KS_WRITE_STREAM if *self.state.lock() == KsState::STOP => {
                irp.done(STATUS_INVALID_DEVICE_STATE)
            }
            IoControlCode::KS_WRITE_STREAM if *self.resetting.lock() => irp.done(STATUS_DEVICE_NOT_READY),
            IoControlCode::KS_WRITE_STREAM => {
                // A client sends headers; a pin of AVStream's brings its frames.
                if irp.stream().is_none() {
                    let client = irp.origin().client();
                    let frames = probe_headers(irp.output().data(), Direction::Write, 56, |_, header| {
                        let bytes = header.frame_extent as usize;
                        self.device.io.regions().resolve_for(client, header.data.0, bytes)
                    });
                    match frames {
                        Ok(frames) => irp.set_stream(frames),
                        Err(refusal) => return Dispatched::Completed(irp.refuse(refusal)),
                    }
                }
                self.queue.insert(irp);
                self.serve();
                Dispatched::Pending
            }
            IoControlCode::KS_RESET_STATE => match reset_value(irp.input()) {
                Ok(reset) => {
                    self.device.resets.lock().push(reset);
                    *self.resetting.lock() = reset == KsReset::BEGIN;
                    if reset == KsReset::BEGIN {
                        while let Some(waiting) = self.queue.remove() {
                            drop(waiting.complete(STATUS_CANCELLED));
                        }
                    }
                    irp.done(STATUS_SUCCESS)
                }
                Err(status) => irp.done(status),
            },
            code => irp.done(default_completion(code)),
        }
    }
    fn cleanup(&self) {
        self.queue.close(STATUS_CANCELLED);
    }
    fn close(&self) {
        self.device.pins.fetch_sub(1, SeqCst);
    }
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// A pin that sends frames to the one that it was created for, the next when the one before has come back.
struct Sender {
    me: Weak<Sender>,
    device: Arc<Old>,
    other: Arc<FileObject>,
    state: Mutex<KsState>,
    sent: AtomicU32,
    table: AutomationTable<Sender>,
}

const FRAMES_SENT: u32 = 50;

fn sender_table() -> AutomationTable<Sender> {
    let state = PropertyItem::new(KSPROPERTY_CONNECTION_STATE)
        .data_bytes(4)
        .get(|pin: &Sender, call: &mut PropertyCall<'_>| call.answer_value(&*pin.state.lock()))
        .set(|pin: &Sender, call: &mut PropertyCall<'_>| match call.data_as::<KsState>() {
            Ok(state) => {
                *pin.state.lock() = state;
                pin.send_next();
                STATUS_SUCCESS
            }
            Err(status) => status,
        });
    AutomationTable::of_properties(vec![PropertySet { set: KSPROPSETID_Connection, items: vec![state] }])
}

impl Sender {
    fn send_next(&self) {
        if *self.state.lock() != KsState::RUN || self.sent.load(SeqCst) == FRAMES_SENT {
            return;
        }
        let number = self.sent.fetch_add(1, SeqCst);
        self.device.sent.fetch_add(1, SeqCst);
        let bytes = FRAME_BYTES as usize;
        let frame = self.device.io.regions().allocate_for(RegionOwner::Everyone, bytes, 16).unwrap();
        assert!(frame.copy_in(0, &number.to_le_bytes()));
        let frames = StreamFrames::empty(ks_io::STREAM_HEADER_BYTES, frame).unwrap();
        frames.iter().for_each(|frame| frame.set_data_used(FRAME_BYTES));
        let (reply, code) = (Reply::Routine(self.me.upgrade().unwrap()), IoControlCode::KS_WRITE_STREAM);
        let irp = Irp::stream_request(&self.other, &Origin::class_driver(), code, frames, reply).unwrap();
        drop(self.other.dispatch(irp));
    }
}

impl CompletionRoutine for Sender {
    fn completed(self: Arc<Self>, request: CompletedRequest) {
        self.device.ended.lock().push(request.status());
        self.send_next();
    }
}

impl Dispatch for Sender {
    fn device_io_control(&self, mut irp: Irp) -> Dispatched {
        let code = irp.io_control_code();
        if code != IoControlCode::KS_PROPERTY {
            return irp.done(default_completion(code));
        }
        match answer_property(self, irp.parts(), &[&self.table]) {
            Ok(status) => irp.done(status),
            Err(refusal) => Dispatched::Completed(irp.refuse(refusal)),
        }
    }
    fn cleanup(&self) {
        *self.state.lock() = KsState::STOP;
    }
    fn close(&self) {
        self.device.pins.fetch_sub(1, SeqCst);
    }
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

fn start(io: &Arc<IoManager>) -> Arc<Old> {
    let make = |me: &Weak<Old>| {
        let me = me.clone();
        Old {
            me,
            io: io.for_device(),
            seen: Mutex::default(),
            ended: Mutex::default(),
            resets: Mutex::default(),
            pins: AtomicU32::new(0),
            sent: AtomicU32::new(0),
        }
    };
    let old = Arc::new_cyclic(make);
    assert!(io.register_interface(InterfaceRecord {
        category: KSCATEGORY_RENDER,
        reference: "old".into(),
        friendly_name: "old".into(),
        device: old.clone(),
    }));
    old
}

#[test]
fn a_rust_driver_without_avstream_answers_and_streams_by_the_routines_that_avstream_uses() {
    let io = IoManager::new(Services::real());
    let old = start(&io);
    let client = Client::new(io.session());
    let filter = client.open_by_name("old").unwrap();
    let pins = filter.pins().unwrap();
    assert_eq!((pins.len(), pins[0].data_flow, pins[1].data_flow), (2, KsPinDataFlow::IN, KsPinDataFlow::OUT));
    let format = filter.intersect(0, &pins[0].data_ranges).unwrap();
    assert_eq!(format.head().sample_size, FRAME_BYTES);
    let connect =
        |interface| Connect { pin_id: 0, interface, medium: pins[0].mediums[0], pin_to: None, format: &format };
    let wrong = KsPinInterface { id: 7, ..pins[0].interfaces[0] };
    let refused = filter.create_pin(connect(wrong), KsPinDataFlow::IN).unwrap_err();
    assert_eq!(refused.status, STATUS_NO_MATCH, "the connect checks are those of AVStream");
    assert!(refused.refusal.is_some(), "and they explain themselves");
    let pin = filter.create_pin(connect(pins[0].interfaces[0]), KsPinDataFlow::IN).unwrap();
    let write = |number: u8| {
        let mut frame = pin.allocate(FRAME_BYTES as usize).unwrap();
        assert!(frame.fill(&[number; FRAME_BYTES as usize]));
        pin.write_stream(vec![frame]).unwrap()
    };
    assert_eq!(write(1).wait().unwrap_err().status, STATUS_INVALID_DEVICE_STATE);
    pin.set_state(KsState::PAUSE).unwrap();
    let (waiting, cancelled) = (write(2), write(3));
    cancelled.cancel();
    assert_eq!(cancelled.wait().unwrap_err().status, STATUS_CANCELLED);
    pin.set_state(KsState::RUN).unwrap();
    waiting.wait().unwrap();
    write(4).wait().unwrap();
    assert_eq!(*old.seen.lock(), [2, 4]);
    assert_eq!(pin.state().unwrap(), KsState::RUN);
    let unknown = pin.object().property::<u32>(KSPROPSETID_Connection, 99).unwrap_err();
    assert_eq!(unknown.status, STATUS_NOT_FOUND);
}

#[test]
fn a_rust_driver_without_avstream_takes_the_frames_of_an_avstream_source_by_requests() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        let old = start(&rig.io);
        rig.source.last.store(50, SeqCst);
        let (filter, source_filter) = (rig.open("old"), rig.open("source"));
        let sink = create(&filter, 0, KsPinDataFlow::IN, None);
        let source = create(&source_filter, 0, KsPinDataFlow::OUT, Some(&sink));
        assert!(rig.source.pin().connection_is_external(), "the handshake was refused");
        for state in UP {
            sink.set_state(state).unwrap();
            source.set_state(state).unwrap();
        }
        rig.settle();
        assert_eq!(*old.seen.lock(), (0..50).collect::<Vec<u8>>());
        for state in DOWN {
            source.set_state(state).unwrap();
            sink.set_state(state).unwrap();
        }
    }
}

#[test]
fn a_rust_driver_without_avstream_sends_frames_to_an_avstream_sink_by_requests() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        let old = start(&rig.io);
        let (sink_filter, filter) = (rig.open("sink"), rig.open("old"));
        let sink = create(&sink_filter, 0, KsPinDataFlow::IN, None);
        let source = create(&filter, 1, KsPinDataFlow::OUT, Some(&sink));
        assert!(rig.sink.pin().connection_is_external(), "nobody has shaken its hand");
        for state in UP {
            sink.set_state(state).unwrap();
            source.set_state(state).unwrap();
        }
        rig.settle();
        assert_eq!(*rig.sink.seen.lock(), (0..FRAMES_SENT).collect::<Vec<u32>>());
        assert_eq!(*old.ended.lock(), vec![STATUS_SUCCESS; FRAMES_SENT as usize]);
        for state in DOWN {
            source.set_state(state).unwrap();
            sink.set_state(state).unwrap();
        }
    }
}

#[test]
fn a_rust_driver_without_avstream_answers_codes_that_it_does_not_know_as_avstream_does() {
    let rig = Rig::new(1);
    let _old = start(&rig.io);
    for (name, pin_id, flow) in [("old", 0, KsPinDataFlow::IN), ("sink", 0, KsPinDataFlow::IN)] {
        let filter = rig.open(name);
        let pin = create(&filter, pin_id, flow, None);
        for object in [filter.object(), pin.object()] {
            let ask = |code, input: &[u8]| object.control(code, input, &mut []).status;
            let method = KsMethod::new(KSPROPSETID_Pin, 0, ks_abi::KSMETHOD_TYPE_SEND);
            assert_eq!(ask(IoControlCode::KS_METHOD, method.as_bytes()), STATUS_PROPSET_NOT_FOUND, "{name}");
            assert_eq!(ask(IoControlCode(0x002F_0777), &[]), STATUS_INVALID_DEVICE_REQUEST, "{name}");
        }
        let reset = |input: &[u8]| pin.object().control(IoControlCode::KS_RESET_STATE, input, &mut []).status;
        assert_eq!(reset(&[0; 3]), STATUS_INVALID_BUFFER_SIZE, "{name}");
        assert_eq!(reset(&[2, 0, 0, 0]), STATUS_INVALID_PARAMETER, "{name}");
    }
}

#[test]
fn a_reset_of_an_avstream_source_reaches_a_rust_driver_without_avstream() {
    for seed in SEEDS {
        let rig = Rig::new(seed);
        let old = start(&rig.io);
        rig.source.last.store(50, SeqCst);
        let (filter, source_filter) = (rig.open("old"), rig.open("source"));
        let sink = create(&filter, 0, KsPinDataFlow::IN, None);
        let source = create(&source_filter, 0, KsPinDataFlow::OUT, Some(&sink));
        // The sink pauses: what is sent to it waits there.
        for pin in [&sink, &source] {
            pin.set_state(KsState::ACQUIRE).unwrap();
            pin.set_state(KsState::PAUSE).unwrap();
        }
        source.set_state(KsState::RUN).unwrap();
        rig.settle();
        assert_eq!(*old.seen.lock(), []);
        source.reset(KsReset::BEGIN).unwrap();
        rig.settle();
        assert_eq!(*old.resets.lock(), [KsReset::BEGIN]);
        source.reset(KsReset::END).unwrap();
        rig.settle();
        assert_eq!(*old.resets.lock(), [KsReset::BEGIN, KsReset::END]);
        sink.set_state(KsState::RUN).unwrap();
        rig.settle();
        let seen = old.seen.lock().clone();
        assert!(
            !seen.is_empty() && seen[0] > 0 && seen.is_sorted(),
            "what waited was cancelled, the rest comes: {seen:?}"
        );
        assert_eq!(seen.last(), Some(&49));
        for state in DOWN {
            source.set_state(state).unwrap();
            sink.set_state(state).unwrap();
        }
        drop((source, sink, source_filter, filter));
        rig.assert_quiescent();
        assert_eq!(old.pins.load(SeqCst), 0);
    }
}

#[test]
fn either_end_of_a_connection_with_a_rust_driver_without_avstream_closes_first_while_both_run() {
    for (seed, old_gives, sink_first) in
        SEEDS.flat_map(|seed| [(seed, false, false), (seed, false, true), (seed, true, false), (seed, true, true)])
    {
        let rig = Rig::new(seed);
        let old = start(&rig.io);
        let (from, to) = if old_gives { ("old", "sink") } else { ("source", "old") };
        let (source_filter, sink_filter) = (rig.open(from), rig.open(to));
        rig.source.last.store(1000, SeqCst);
        let sink = create(&sink_filter, 0, KsPinDataFlow::IN, None);
        let source = create(&source_filter, u32::from(old_gives), KsPinDataFlow::OUT, Some(&sink));
        for state in UP {
            sink.set_state(state).unwrap();
            source.set_state(state).unwrap();
        }
        let (first, second) = if sink_first { (sink, source) } else { (source, sink) };
        drop(first);
        rig.settle();
        second.set_state(KsState::STOP).expect("who is left can be stopped");
        drop((second, source_filter, sink_filter));
        rig.assert_quiescent();
        assert_eq!(old.pins.load(SeqCst), 0, "the driver's pin is closed, too: {from} to {to}");
        assert_eq!(old.ended.lock().len(), old.sent.load(SeqCst) as usize, "what was sent has ended");
    }
}
