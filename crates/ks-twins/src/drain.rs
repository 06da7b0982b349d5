//! `drain`: takes bytes and keeps a sum of them. A pin-centric renderer: it consumes what has arrived by offsets, raises
//! the end of the stream by the class driver's flag, and tells by a property how much it has taken.
//!
//! The twin of `drivers/drain/drain.c`.

use std::sync::Arc;

use ks_abi::{Guid, KSCATEGORY_RENDER, KsPinDataFlow, NtStatus, STATUS_PENDING};
use ks_io::Refusal;
use ks_io::sync::Mutex;
use ks_stream::{
    AutomationTable, Filter, FilterDescriptor, FilterDispatch, FilterInstance, Framing, Pin, PinDescriptor, PinFlags,
    PinInstance, PropertyCall, PropertyItem, PropertySet,
};
use zerocopy::{Immutable, IntoBytes};

use crate::{Surroundings, bytes};

/// Item 0 is [`Totals`].
const DRAIN_SET: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e01);

#[derive(Clone, Copy, Default, IntoBytes, Immutable)]
#[repr(C)]
struct Totals {
    bytes: u64,
    frames: u64,
    sum: u64,
}

/// What the filter says of itself.
pub(crate) fn descriptor(_: &Surroundings) -> Result<FilterDescriptor, String> {
    let mut pin = PinDescriptor::new(KsPinDataFlow::IN, vec![bytes::range(4096)]);
    pin.flags = PinFlags::RENDERER;
    pin.instances_possible = 4;
    pin.framing = Some(Framing { frames: 8, frame_bytes: 4096, alignment: 0 });
    let reference = "{1A4F3E52-7F0B-4C60-9D35-2B5E84110C05}";
    Ok(FilterDescriptor::new(reference, "drain", &[KSCATEGORY_RENDER], vec![pin], Arc::new(Drain)))
}

struct Drain;

impl FilterDispatch for Drain {
    fn create(&self, _filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        Ok(Arc::new(Drain))
    }
}

impl FilterInstance for Drain {
    fn create_pin(&self, _pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        let totals = Arc::new(Mutex::new(Totals::default()));
        let told = totals.clone();
        let item =
            PropertyItem::new(0).data_bytes(size_of::<Totals>()).get(move |pin: &Pin, call: &mut PropertyCall<'_>| {
                // What is told belongs to whole calls of the process callback.
                let _processing = pin.processing_mutex().hold();
                let totals = *told.lock();
                call.answer_value(&totals)
            });
        let automation = AutomationTable::of_properties(vec![PropertySet { set: DRAIN_SET, items: vec![item] }]);
        Ok(Arc::new(DrainPin { totals, automation }))
    }
}

struct DrainPin {
    totals: Arc<Mutex<Totals>>,
    automation: AutomationTable<Pin>,
}

impl PinInstance for DrainPin {
    fn process(&self, pin: &Arc<Pin>) -> NtStatus {
        let mut leading = pin.leading_edge();
        while let Some(frame) = leading {
            let count = frame.remaining();
            let bytes = frame.buffer().and_then(|buffer| buffer.bytes(count as usize));
            let sum: u64 = bytes.iter().flat_map(|bytes| bytes.iter()).map(|byte| u64::from(*byte)).sum();
            drop(bytes);
            {
                let mut totals = self.totals.lock();
                totals.sum += sum;
                totals.bytes += u64::from(count);
                totals.frames += 1;
            }
            // Nothing remains, so this goes to the next frame; a frame without bytes has to be told to go.
            leading = if count > 0 { frame.advance_offsets(count, 0) } else { frame.advance() };
        }
        STATUS_PENDING
    }

    fn automation(&self) -> Option<&AutomationTable<Pin>> {
        Some(&self.automation)
    }
}
