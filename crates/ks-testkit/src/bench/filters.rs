//! The filters of the benchmarks: a source that fills nothing, a filter in place, and a sink that touches every page.

use ks_abi::{
    Guid, KSCATEGORY_DATATRANSFORM, KSDATAFORMAT_SPECIFIER_NONE, KSDATAFORMAT_TYPE_STREAM,
    KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM, KsDataFormat, KsPinDataFlow, KsState, NtStatus, STATUS_PENDING,
    STATUS_SUCCESS,
};
use ks_io::sync::{Arc, Mutex};
use ks_io::{IoManager, Refusal};
use ks_stream::{
    AutomationTable, DataFormat, Device, Filter, FilterDescriptor, FilterDispatch, FilterInstance, Framing, Pin,
    PinDescriptor, PinFlags, PinInstance, PropertyCall, PropertyItem, PropertySet,
};
use std::sync::atomic::{AtomicU64, Ordering};

const PAGE: usize = 4096;

/// Frames in a circuit.
pub(crate) const FRAMES: u32 = 8;

/// What the filters of one engine share.
pub(crate) struct Plan {
    pub(crate) frame_bytes: u32,
    /// Frames in the circuit; `None`: as many as suits their size.
    circuit_frames: Option<u32>,
    crossing: Crossing,
    /// Frames after which the source ends its stream.
    pub(crate) frames: AtomicU64,
    made: AtomicU64,
    /// What the sink read, so that reading is not optimised away.
    pub(crate) sum: AtomicU64,
}

/// Whether frames go from one thread to another on their way.
#[derive(Clone, Copy, PartialEq)]
enum Crossing {
    /// They are processed where they arrive.
    None,
    /// Source and sink ask for workers, each of another queue.
    Threads,
}

impl Plan {
    pub(crate) fn new(frame_bytes: u32, frames: u64) -> Arc<Self> {
        Self::with(frame_bytes, None, frames, Crossing::None)
    }

    /// Source and sink are processed by two threads, with at most so many frames under way.
    pub(crate) fn across_threads(frame_bytes: u32, circuit_frames: u32, frames: u64) -> Arc<Self> {
        Self::with(frame_bytes, Some(circuit_frames), frames, Crossing::Threads)
    }

    /// A stream without an end.
    pub(crate) fn endless(frame_bytes: u32, circuit_frames: Option<u32>) -> Arc<Self> {
        Self::with(frame_bytes, circuit_frames, u64::MAX, Crossing::None)
    }

    fn with(frame_bytes: u32, circuit_frames: Option<u32>, frames: u64, crossing: Crossing) -> Arc<Self> {
        let (made, sum) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { frame_bytes, circuit_frames, crossing, frames: AtomicU64::new(frames), made, sum })
    }

    /// What a pin asks for whose frames go to a worker of its own.
    fn worker(&self, of: PinFlags) -> PinFlags {
        match self.crossing {
            Crossing::None => PinFlags::empty(),
            Crossing::Threads => PinFlags::ASYNCHRONOUS_PROCESSING | of,
        }
    }
}

/// Starts those of the three devices: `source`, `pass`, `sink`.
pub(crate) fn start(io: &Arc<IoManager>, plan: &Arc<Plan>, kinds: &[Kind]) -> Result<Vec<Arc<Device>>, NtStatus> {
    let start = |kind: &Kind| Device::start(io, kind.name(), vec![Arc::new(describe(*kind, plan))]);
    kinds.iter().map(start).collect()
}

/// The format of all pins: bytes of one size.
pub(crate) fn format(frame_bytes: u32) -> DataFormat {
    let plain =
        KsDataFormat::new(KSDATAFORMAT_TYPE_STREAM, ks_abi::KSDATAFORMAT_SUBTYPE_NONE, KSDATAFORMAT_SPECIFIER_NONE, 0);
    DataFormat::new(KsDataFormat { sample_size: frame_bytes, ..plain }, &[])
}

/// What a filter does.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// Lets go of empty frames, whose bytes it says are used.
    Source,
    /// Works in place, and does nothing.
    Pass,
    /// Works in place, and gives each frame to all of its outputs.
    Split,
    /// Reads a byte of every page that no other process has.
    Sink,
    /// Lets go of each frame and looks at none, as GStreamer's fakesink does.
    Drain,
    /// Has no pin, and a property that is written.
    Settable,
}

/// The property of a filter that is written: four bytes.
pub(crate) const SETTABLE_SET: Guid = Guid::from_u128(0x2d7e1c40_9a53_4f0b_8e16_6b0c5c5a9f02);
pub(crate) const SETTABLE_VALUE: u32 = 1;

impl Kind {
    pub(crate) const ALL: &'static [Kind] = &[Kind::Source, Kind::Pass, Kind::Sink];

    fn name(self) -> &'static str {
        match self {
            Kind::Source => "source",
            Kind::Pass => "pass",
            Kind::Split => "split",
            Kind::Settable => "settable",
            Kind::Sink => "sink",
            Kind::Drain => "drain",
        }
    }
}

fn describe(kind: Kind, plan: &Arc<Plan>) -> FilterDescriptor {
    let name = kind.name();
    let pin = |flow| PinDescriptor::new(flow, vec![format(plan.frame_bytes)]);
    let pins = match kind {
        Kind::Source => {
            vec![PinDescriptor { flags: plan.worker(PinFlags::empty()), ..pin(KsPinDataFlow::OUT) }]
        }
        Kind::Pass => vec![pin(KsPinDataFlow::IN), pin(KsPinDataFlow::OUT)],
        Kind::Split => {
            let branches = PinDescriptor { instances_possible: PinDescriptor::UNLIMITED, ..pin(KsPinDataFlow::OUT) };
            vec![pin(KsPinDataFlow::IN), PinDescriptor { flags: PinFlags::SPLITTER, ..branches }]
        }
        Kind::Settable => Vec::new(),
        Kind::Sink | Kind::Drain => {
            let flags = PinFlags::GENERATE_EOS_EVENTS | plan.worker(PinFlags::CRITICAL_PROCESSING);
            vec![PinDescriptor { flags, ..pin(KsPinDataFlow::IN) }]
        }
    };
    let dispatch = Arc::new(BenchFilter { kind, plan: plan.clone(), automation: None });
    let mut descriptor = FilterDescriptor::new(name, name, &[KSCATEGORY_DATATRANSFORM], pins, dispatch);
    if matches!(kind, Kind::Pass | Kind::Split) {
        descriptor.in_place = Some((0, 1));
        descriptor.modifies_in_place = false;
    }
    descriptor
}

struct BenchFilter {
    kind: Kind,
    plan: Arc<Plan>,
    automation: Option<AutomationTable<Filter>>,
}

/// A property that is kept as most drivers keep theirs: under a lock.
fn settable() -> AutomationTable<Filter> {
    let value = Arc::new(Mutex::new(0_u32));
    let kept = value.clone();
    let item = PropertyItem::new(SETTABLE_VALUE)
        .data_bytes(4)
        .get(move |_: &Filter, call: &mut PropertyCall<'_>| call.answer_value(&*value.lock()))
        .set(move |_: &Filter, call: &mut PropertyCall<'_>| match call.data_as::<u32>() {
            Ok(value) => {
                *kept.lock() = value;
                STATUS_SUCCESS
            }
            Err(status) => status,
        });
    AutomationTable::of_properties(vec![PropertySet { set: SETTABLE_SET, items: vec![item] }])
}

impl FilterDispatch for BenchFilter {
    fn create(&self, _filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        let automation = (self.kind == Kind::Settable).then(settable);
        Ok(Arc::new(BenchFilter { kind: self.kind, plan: self.plan.clone(), automation }))
    }
}

impl FilterInstance for BenchFilter {
    fn create_pin(&self, _pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        Ok(match self.kind {
            Kind::Source => Arc::new(Source(self.plan.clone())),
            Kind::Pass | Kind::Split | Kind::Settable | Kind::Drain => Arc::new(Pass(self.plan.clone())),
            Kind::Sink => Arc::new(Sink(self.plan.clone())),
        })
    }

    fn automation(&self) -> Option<&AutomationTable<Filter>> {
        self.automation.as_ref()
    }
}

fn framing(plan: &Plan) -> Option<Framing> {
    // Small frames of a long stream travel in a deeper circuit; large ones in as many as a camera asks for.
    let long = plan.frames.load(Ordering::Relaxed) > 1;
    let usual = if long && plan.frame_bytes <= 64 << 10 { 4 * FRAMES } else { FRAMES };
    let frames = plan.circuit_frames.unwrap_or(usual);
    Some(Framing { frames, frame_bytes: plan.frame_bytes, alignment: 64 })
}

struct Source(Arc<Plan>);

impl PinInstance for Source {
    fn process(&self, pin: &Arc<Pin>) -> NtStatus {
        let last = self.0.frames.load(Ordering::Relaxed);
        let mut made = self.0.made.load(Ordering::Relaxed);
        let mut edge = pin.leading_edge();
        while let Some(frame) = edge {
            made += 1;
            frame.set_data_used(self.0.frame_bytes);
            if made == last {
                frame.set_options_flags(KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM);
            }
            edge = frame.advance();
        }
        self.0.made.store(made, Ordering::Relaxed);
        STATUS_PENDING
    }

    fn set_device_state(&self, _pin: &Arc<Pin>, to: KsState, _from: KsState) -> Result<(), Refusal> {
        if to == KsState::ACQUIRE {
            self.0.made.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    fn framing(&self, _pin: &Pin) -> Option<Framing> {
        framing(&self.0)
    }
}

struct Pass(Arc<Plan>);

impl PinInstance for Pass {
    fn process(&self, pin: &Arc<Pin>) -> NtStatus {
        let mut edge = pin.leading_edge();
        while let Some(frame) = edge {
            edge = frame.advance();
        }
        STATUS_PENDING
    }

    fn framing(&self, _pin: &Pin) -> Option<Framing> {
        framing(&self.0)
    }
}

struct Sink(Arc<Plan>);

impl PinInstance for Sink {
    fn process(&self, pin: &Arc<Pin>) -> NtStatus {
        let mut sum = 0;
        let mut edge = pin.leading_edge();
        while let Some(frame) = edge {
            if let Some(bytes) = frame.buffer().and_then(|buffer| buffer.read()) {
                sum += byte_of_every_page(&bytes);
            }
            edge = frame.advance();
        }
        if sum > 0 {
            self.0.sum.fetch_add(sum, Ordering::Relaxed);
        }
        STATUS_PENDING
    }

    fn framing(&self, _pin: &Pin) -> Option<Framing> {
        framing(&self.0)
    }
}

/// The sum of one byte of every page.
pub(crate) fn byte_of_every_page(bytes: &[u8]) -> u64 {
    bytes.chunks(PAGE).map(|page| u64::from(page[0])).sum()
}
