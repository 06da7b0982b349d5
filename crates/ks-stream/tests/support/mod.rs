//! A small counting source, an in-place filter and a collecting sink, and an engine with them.
#![allow(missing_docs, unreachable_pub, dead_code, reason = "each test file uses its own part")]

pub mod specimen;

use ks_abi::{
    Guid, KSCATEGORY_CAPTURE, KSDATAFORMAT_SPECIFIER_NONE, KSDATAFORMAT_SUBTYPE_NV12, KSDATAFORMAT_TYPE_VIDEO,
    KSSTREAM_HEADER_OPTIONSF_DURATIONVALID, KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM, KSSTREAM_HEADER_OPTIONSF_TIMEVALID,
    KsComponentId, KsDataFormat, KsPinCommunication, KsPinDataFlow, KsState, NtStatus, STATUS_PENDING,
    STATUS_UNSUCCESSFUL,
};
use ks_io::sync::{Arc, Mutex};
use ks_io::{Aspect, IoManager, Refusal, Services, Session, Ticks, Time};
use ks_stream::{
    DataFormat, DataRange, Device, Filter, FilterDescriptor, FilterDispatch, FilterInstance, Framing, Pin,
    PinDescriptor, PinFlags, PinInstance,
};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

pub const FRAME_BYTES: u32 = 64;

pub fn video() -> DataFormat {
    let head = KsDataFormat {
        sample_size: FRAME_BYTES,
        ..KsDataFormat::new(KSDATAFORMAT_TYPE_VIDEO, KSDATAFORMAT_SUBTYPE_NV12, KSDATAFORMAT_SPECIFIER_NONE, 0)
    };
    DataFormat::new(head, &[])
}

/// What the test filters did, and what they are told to do.
#[derive(Default)]
pub struct Journal {
    pub calls: Mutex<Vec<String>>,
    pub seen: Mutex<Vec<u32>>,
    pub extents: Mutex<Vec<u32>>,
    pub last_frame: AtomicU64,
    /// The state step that the sink refuses, as `from * 4 + to`; 0: none.
    pub refuse_step: AtomicU32,
    pub header_bytes: AtomicU32,
    /// Frames that a sink takes in one process call before it pends; 0: all.
    pub sink_batch: AtomicU32,
    pub keep_clones: AtomicU32,
    pub clones: Mutex<Vec<ks_stream::ClonePointer>>,
    pub cancelled: Mutex<Vec<ks_stream::CloneId>>,
    pub hold: AtomicU32,
}

impl Journal {
    pub fn note(&self, call: impl Into<String>) {
        self.calls.lock().push(call.into());
    }
    pub fn taken(&self) -> Vec<String> {
        std::mem::take(&mut *self.calls.lock())
    }
}

pub struct Kind(pub Arc<Journal>);

impl FilterDispatch for Kind {
    fn create(&self, _filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        self.0.note("filter create");
        Ok(Arc::new(Instance(self.0.clone())))
    }
}

struct Instance(Arc<Journal>);

impl FilterInstance for Instance {
    fn create_pin(&self, pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        self.0.note(format!("{} create", pin.describe()));
        let bytes = self.0.header_bytes.load(Ordering::Relaxed);
        if bytes > 0 {
            pin.set_stream_header_bytes(bytes);
        }
        Ok(Arc::new(TestPin { journal: self.0.clone(), next: AtomicU32::new(0) }))
    }
    fn intersect(&self, _pin: u32, _range: &DataRange, _matching: &DataRange) -> Result<DataFormat, Refusal> {
        Ok(video())
    }
    fn close(&self, filter: &Filter) {
        self.0.note(format!("{} close", filter.name()));
    }
}

struct TestPin {
    journal: Arc<Journal>,
    next: AtomicU32,
}

impl PinInstance for TestPin {
    fn process(&self, pin: &Arc<Pin>) -> NtStatus {
        if self.journal.hold.load(Ordering::SeqCst) != 0 {
            return STATUS_PENDING;
        }
        let mut done = 0;
        let mut edge = pin.leading_edge();
        while let Some(frame) = edge {
            if pin.filter().descriptor().in_place().is_some() {
                let bytes = frame.buffer().and_then(|buffer| buffer.write().map(|mut bytes| bytes[4] += 1));
                assert!(bytes.is_some(), "the frame is nobody else's");
            } else if pin.data_flow() == KsPinDataFlow::OUT {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                if let Some(mut bytes) = frame.buffer().and_then(|buffer| buffer.write()) {
                    let len = bytes.len().min(8);
                    bytes[..len].fill(0);
                    bytes[..4].copy_from_slice(&number.to_le_bytes());
                }
                self.journal.extents.lock().push(frame.frame_extent());
                frame.set_data_used(FRAME_BYTES);
                frame.set_presentation(Time(i64::from(number) * 400_000), Ticks(400_000));
                let last = self.journal.last_frame.load(Ordering::Relaxed);
                let mut flags = KSSTREAM_HEADER_OPTIONSF_TIMEVALID | KSSTREAM_HEADER_OPTIONSF_DURATIONVALID;
                if last > 0 && u64::from(number) + 1 >= last {
                    flags |= KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM;
                }
                frame.set_options_flags(flags);
                if u64::from(number) < u64::from(self.journal.keep_clones.load(Ordering::Relaxed)) {
                    let clone = frame.clone_pointer().expect("the edge is locked");
                    self.journal.clones.lock().push(clone);
                }
            } else if frame.data_used() > 0 {
                let bytes = frame.buffer().expect("a frame with data has a buffer").read().expect("nobody writes");
                let number = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                self.journal.seen.lock().push(number | u32::from(bytes[4]) << 24);
            }
            done += 1;
            let batch = self.journal.sink_batch.load(Ordering::Relaxed);
            if pin.data_flow() == KsPinDataFlow::IN && batch > 0 && done >= batch {
                frame.eject();
                return ks_abi::STATUS_SUCCESS;
            }
            edge = frame.advance();
        }
        STATUS_PENDING
    }

    fn set_device_state(&self, pin: &Arc<Pin>, to: KsState, from: KsState) -> Result<(), Refusal> {
        self.journal.note(format!("{} {from}->{to}", pin.describe()));
        if self.journal.refuse_step.load(Ordering::Relaxed) == from.0 * 4 + to.0 && from != to {
            return Err(Refusal::new(STATUS_UNSUCCESSFUL, Aspect::Driver, "told to refuse"));
        }
        if to == KsState::ACQUIRE && from == KsState::STOP {
            self.next.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    fn reset(&self, pin: &Arc<Pin>) {
        self.journal.note(format!("{} reset {}", pin.describe(), pin.reset_state()));
    }
    fn connect(&self, pin: &Arc<Pin>) -> Result<(), Refusal> {
        self.journal.note(format!("{} connect", pin.describe()));
        Ok(())
    }
    fn disconnect(&self, pin: &Pin) {
        self.journal.note(format!("{} disconnect", pin.describe()));
    }
    fn close(&self, pin: &Pin) {
        self.journal.note(format!("{} close", pin.describe()));
    }
    fn clone_cancelled(&self, _pin: &Pin, clone: ks_stream::CloneId) {
        self.journal.cancelled.lock().push(clone);
    }
    fn framing(&self, _pin: &Pin) -> Option<Framing> {
        Some(Framing { frames: 4, frame_bytes: FRAME_BYTES, alignment: 64 })
    }
}

pub struct World {
    pub io: Arc<IoManager>,
    pub session: Arc<Session>,
    pub source: Arc<Journal>,
    pub middle: Arc<Journal>,
    pub sink: Arc<Journal>,
    pub devices: Vec<Arc<Device>>,
}

impl Drop for World {
    /// Whatever a test does, its drivers have broken no rule.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.devices.iter().for_each(|device| assert_eq!(device.violations(), []));
        }
    }
}

pub fn pin(flow: KsPinDataFlow, communication: KsPinCommunication) -> PinDescriptor {
    PinDescriptor { communication, ..PinDescriptor::new(flow, vec![video()]) }
}

pub fn world(services: Services) -> World {
    world_with(services, KsPinCommunication::BOTH, KsPinCommunication::BOTH)
}

pub fn world_with(services: Services, source_role: KsPinCommunication, sink_role: KsPinCommunication) -> World {
    ks_stream::verifier::enable();
    let io = IoManager::new(services);
    let journals: Vec<Arc<Journal>> = (0..3).map(|_| Arc::default()).collect();
    let category: &[Guid] = &[KSCATEGORY_CAPTURE];
    let mut out = pin(KsPinDataFlow::OUT, source_role);
    out.flags |= PinFlags::IMPLEMENT_CLOCK;
    out.name = Some("Capture");
    out.category = Some(ks_abi::PINNAME_VIDEO_CAPTURE);
    let mut source =
        FilterDescriptor::new("source", "Test source", category, vec![out], Arc::new(Kind(journals[0].clone())));
    source.component_id = Some(KsComponentId { version: 7, revision: 3, ..Default::default() });
    let pins =
        vec![pin(KsPinDataFlow::IN, KsPinCommunication::BOTH), pin(KsPinDataFlow::OUT, KsPinCommunication::BOTH)];
    let mut middle =
        FilterDescriptor::new("middle", "Test in-place", category, pins, Arc::new(Kind(journals[1].clone())));
    middle.in_place = Some((0, 1));
    let mut input = pin(KsPinDataFlow::IN, sink_role);
    input.flags |= PinFlags::GENERATE_EOS_EVENTS;
    let sink = FilterDescriptor::new("sink", "Test sink", category, vec![input], Arc::new(Kind(journals[2].clone())));
    let devices = [("source", source), ("middle", middle), ("sink", sink)]
        .into_iter()
        .map(|(name, descriptor)| Device::start(&io, name, vec![Arc::new(descriptor)]).expect("a device starts"))
        .collect();
    let session = io.session();
    World { io, session, source: journals[0].clone(), middle: journals[1].clone(), sink: journals[2].clone(), devices }
}
