//! A filter for tests, fuzzing and benchmarks: it produces and consumes bytes of no meaning, without a clock.
//!
//! Its pins take the bare format: major format STREAM, no block behind it.

use std::sync::Arc;

use ks_abi::{
    Guid, KSCATEGORY_DATATRANSFORM, KSDATAFORMAT_SPECIFIER_NONE, KSDATAFORMAT_TYPE_STREAM, KsDataFormat,
    KsPinCommunication, KsPinDataFlow, NtStatus, STATUS_PENDING, STATUS_SUCCESS,
};
use ks_io::{IoManager, Refusal};
use ks_stream::{
    DataFormat, Device, Filter, FilterDescriptor, FilterDispatch, FilterInstance, Framing, Pin, PinDescriptor,
    PinInstance,
};

/// The reference string of the filter.
pub const REFERENCE: &str = "probe";

/// The pin that data leaves by; the client reads from it.
pub const READ_PIN: u32 = 0;
/// The pin that data enters by; the client writes to it, or another pin is connected to it.
pub const WRITE_PIN: u32 = 1;
/// A pin that data leaves by and that issues the requests itself: it needs a sink pin to connect to.
pub const PUSH_PIN: u32 = 2;

/// Bytes of a frame that the filter asks of an allocator.
pub const FRAME_BYTES: u32 = 256;

/// Starts the device of the probe filter.
///
/// # Errors
/// The status with which the class driver refused the device.
pub fn start(io: &Arc<IoManager>) -> Result<Arc<Device>, NtStatus> {
    let pin = |flow, communication| {
        let framing = Framing { frames: 4, frame_bytes: FRAME_BYTES, alignment: 64 };
        let instances_possible = 4;
        PinDescriptor {
            communication,
            instances_possible,
            framing: Some(framing),
            ..PinDescriptor::new(flow, vec![format()])
        }
    };
    let pins = vec![
        pin(KsPinDataFlow::OUT, KsPinCommunication::SINK),
        pin(KsPinDataFlow::IN, KsPinCommunication::BOTH),
        pin(KsPinDataFlow::OUT, KsPinCommunication::SOURCE),
    ];
    let categories: [Guid; 1] = [KSCATEGORY_DATATRANSFORM];
    let filter = FilterDescriptor::new(REFERENCE, "Probe", &categories, pins, Arc::new(Probe));
    Device::start(io, "probe", vec![Arc::new(filter)])
}

/// The one format of the probe's pins.
#[must_use]
pub fn format() -> DataFormat {
    let head = KsDataFormat {
        major_format: KSDATAFORMAT_TYPE_STREAM,
        specifier: KSDATAFORMAT_SPECIFIER_NONE,
        ..KsDataFormat::default()
    };
    DataFormat::new(head, &[])
}

struct Probe;

impl FilterDispatch for Probe {
    fn create(&self, _filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        Ok(Arc::new(Probe))
    }
}

impl FilterInstance for Probe {
    fn create_pin(&self, _pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        Ok(Arc::new(Probe))
    }
}

impl PinInstance for Probe {
    fn process(&self, pin: &Arc<Pin>) -> NtStatus {
        let Some(frame) = pin.leading_edge() else {
            return STATUS_PENDING;
        };
        let is_source = pin.data_flow() == KsPinDataFlow::OUT;
        let bytes = frame.remaining();
        if is_source {
            if let Some(mut memory) = frame.buffer().and_then(|buffer| buffer.write()) {
                memory.fill(0x5A);
            }
            drop(frame.advance_offsets(0, bytes));
        } else {
            drop(frame.advance_offsets(bytes, 0));
        }
        STATUS_SUCCESS
    }
}
