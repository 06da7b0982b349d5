//! The Rust twin of the sample driver `counter`: the same pin, the same frames, the same steps a frame.

use super::filters::{self, Plan};
use ks_abi::{KSCATEGORY_CAPTURE, KsPinDataFlow, NtStatus, STATUS_PENDING, STATUS_SUCCESS};
use ks_io::sync::Arc;
use ks_io::{IoManager, Refusal};
use ks_stream::{
    Device, Filter, FilterDescriptor, FilterDispatch, FilterInstance, Framing, Pin, PinDescriptor, PinInstance,
};
use std::sync::atomic::{AtomicU32, Ordering};

const FRAME_BYTES: u32 = 64;
const FRAMES: u32 = 4;

/// What the driver's first number is.
const FIRST: u32 = 1_000_000;

/// The plan of the sink for it and for the driver.
pub(super) fn plan() -> Arc<Plan> {
    Plan::endless(FRAME_BYTES, Some(FRAMES))
}

/// Starts its device.
pub(super) fn start(io: &Arc<IoManager>) -> Result<Vec<Arc<Device>>, NtStatus> {
    let pin = PinDescriptor::new(KsPinDataFlow::OUT, vec![filters::format(FRAME_BYTES)]);
    let filter = FilterDescriptor::new("twin", "Twin", &[KSCATEGORY_CAPTURE], vec![pin], Arc::new(Twin));
    Ok(vec![Device::start(io, "twin", vec![Arc::new(filter)])?])
}

struct Twin;

impl FilterDispatch for Twin {
    fn create(&self, _filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        Ok(Arc::new(Twin))
    }
}

impl FilterInstance for Twin {
    fn create_pin(&self, _pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        Ok(Arc::new(TwinPin { next: AtomicU32::new(FIRST) }))
    }
}

struct TwinPin {
    next: AtomicU32,
}

impl PinInstance for TwinPin {
    /// One frame a call, as the driver does.
    fn process(&self, pin: &Arc<Pin>) -> NtStatus {
        let Some(frame) = pin.leading_edge() else { return STATUS_PENDING };
        let number = self.next.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        if let Some(mut bytes) = frame.buffer().and_then(|buffer| buffer.bytes_mut(number.len())) {
            bytes.copy_from_slice(&number);
            frame.set_data_used(number.len() as u32);
        }
        drop(frame.advance());
        STATUS_SUCCESS
    }

    fn framing(&self, _pin: &Pin) -> Option<Framing> {
        Some(Framing { frames: FRAMES, frame_bytes: FRAME_BYTES, alignment: 64 })
    }
}
