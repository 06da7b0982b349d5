//! `counter`: frames that hold a number each, ascending at one pin, descending at the other.
//!
//! The twin of `drivers/counter/counter.cpp`, whose virtual functions are a trait here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ks_abi::{KSCATEGORY_CAPTURE, KsPinDataFlow, NtStatus, STATUS_PENDING, STATUS_SUCCESS};
use ks_io::Refusal;
use ks_stream::{Filter, FilterDescriptor, FilterDispatch, FilterInstance, Framing, Pin, PinDescriptor, PinInstance};

use crate::{Surroundings, bytes};

const FIRST: u32 = 1_000_000;
const FRAME_BYTES: u32 = 64;
/// Bytes of a number.
const USED_BYTES: u32 = 4;

/// What the filter says of itself: two pins that differ in the object behind them only.
pub(crate) fn descriptor(_: &Surroundings) -> Result<FilterDescriptor, String> {
    let mut pin = PinDescriptor::new(KsPinDataFlow::OUT, vec![bytes::range(FRAME_BYTES)]);
    pin.instances_possible = 2;
    pin.framing = Some(Framing { frames: 4, frame_bytes: FRAME_BYTES, alignment: 0 });
    let pins = vec![pin.clone(), pin];
    let reference = "{1A4F3E52-7F0B-4C60-9D35-2B5E84110C07}";
    Ok(FilterDescriptor::new(reference, "counter", &[KSCATEGORY_CAPTURE], pins, Arc::new(Counter)))
}

/// What comes after a number.
trait Sequence: Send + Sync {
    fn next(&self) -> u32;
}

struct Ascending(AtomicU32);

impl Sequence for Ascending {
    fn next(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

struct Descending(AtomicU32);

impl Sequence for Descending {
    fn next(&self) -> u32 {
        self.0.fetch_sub(1, Ordering::Relaxed)
    }
}

struct Counter;

impl FilterDispatch for Counter {
    fn create(&self, _filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        Ok(Arc::new(Counter))
    }
}

impl FilterInstance for Counter {
    fn create_pin(&self, pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        let first = AtomicU32::new(FIRST);
        let sequence: Box<dyn Sequence> =
            if pin.id() == 0 { Box::new(Ascending(first)) } else { Box::new(Descending(first)) };
        Ok(Arc::new(CounterPin { sequence }))
    }
}

struct CounterPin {
    sequence: Box<dyn Sequence>,
}

impl PinInstance for CounterPin {
    /// One frame a call.
    fn process(&self, pin: &Arc<Pin>) -> NtStatus {
        let Some(frame) = pin.leading_edge() else { return STATUS_PENDING };
        if frame.remaining() < USED_BYTES {
            frame.eject();
            return STATUS_SUCCESS;
        }
        if let Some(mut bytes) = frame.buffer().and_then(|buffer| buffer.bytes_mut(USED_BYTES as usize)) {
            bytes.copy_from_slice(&self.sequence.next().to_le_bytes());
        }
        // The bytes become used, and the rest of the frame stays empty.
        frame.set_data_used(USED_BYTES);
        frame.eject();
        STATUS_SUCCESS
    }
}
