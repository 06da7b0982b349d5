//! `agile`: takes another format while it runs. Its frames are full of one byte, the sample size of the format that they
//! were made in; a frame of a new format begins with the next one.
//!
//! The twin of `drivers/agile/agile.c`.

use std::sync::Arc;

use ks_abi::{
    KSCATEGORY_CAPTURE, KsDataFormat, KsPinDataFlow, KsState, NtStatus, STATUS_NO_MATCH, STATUS_PENDING, STATUS_SUCCESS,
};
use ks_io::sync::Mutex;
use ks_io::{Aspect, Refusal, Ticks};
use ks_stream::{
    DataFormat, DataRange, Filter, FilterDescriptor, FilterDispatch, FilterInstance, Framing, Pin, PinDescriptor,
    PinId, PinInstance,
};

use crate::{Surroundings, bytes};

const SAMPLE_SIZES: [u32; 2] = [16, 64];

/// What the filter says of itself.
pub(crate) fn descriptor(_: &Surroundings) -> Result<FilterDescriptor, String> {
    let mut pin = PinDescriptor::new(KsPinDataFlow::OUT, SAMPLE_SIZES.map(bytes::range).to_vec());
    pin.framing = Some(Framing { frames: 4, frame_bytes: 64, alignment: 0 });
    let reference = "{1A4F3E52-7F0B-4C60-9D35-2B5E84110C09}";
    Ok(FilterDescriptor::new(reference, "agile", &[KSCATEGORY_CAPTURE], vec![pin], Arc::new(Agile)))
}

/// The sample size of a format, if it is one of the two.
fn sample_size(format: &DataFormat) -> Result<u32, Refusal> {
    let head = format.head();
    let is_known = head.format_size as usize == size_of::<KsDataFormat>() && SAMPLE_SIZES.contains(&head.sample_size);
    let no_match = || Refusal::new(STATUS_NO_MATCH, Aspect::FormatBlock, "samples have 16 or 64 bytes");
    is_known.then_some(head.sample_size).ok_or_else(no_match)
}

struct Agile;

impl FilterDispatch for Agile {
    fn create(&self, _filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        Ok(Arc::new(Agile))
    }
}

impl FilterInstance for Agile {
    fn accept_format(&self, _pin: PinId, format: &DataFormat, _range: &DataRange) -> Result<(), Refusal> {
        sample_size(format).map(drop)
    }

    fn intersect(&self, _pin: PinId, _range: &DataRange, matching: &DataRange) -> Result<DataFormat, Refusal> {
        Ok(matching.clone())
    }

    fn create_pin(&self, pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        let stream = Stream { sample_size: sample_size(&pin.format())?, changes: 0 };
        Ok(Arc::new(AgilePin { stream: Mutex::new(stream) }))
    }
}

struct AgilePin {
    stream: Mutex<Stream>,
}

#[derive(Clone, Copy)]
struct Stream {
    sample_size: u32,
    /// Changes made while the pin was above STOP.
    changes: i64,
}

impl PinInstance for AgilePin {
    fn process(&self, pin: &Arc<Pin>) -> NtStatus {
        let Some(frame) = pin.leading_edge() else { return STATUS_PENDING };
        let stream = *self.stream.lock();
        let count = frame.remaining();
        if let Some(mut bytes) = frame.buffer().and_then(|buffer| buffer.bytes_mut(count as usize)) {
            bytes.fill(stream.sample_size as u8);
        }
        frame.set_presentation(frame.presentation_time(), Ticks(stream.changes));
        drop(frame.advance_offsets(0, count));
        STATUS_SUCCESS
    }

    /// The next frame has the new size.
    fn set_data_format(&self, pin: &Arc<Pin>, _old: &DataFormat, new: &DataFormat) -> Result<(), Refusal> {
        let sample_size = sample_size(new)?;
        // No frame is made while this changes.
        let _processing = pin.processing_mutex().hold();
        let mut stream = self.stream.lock();
        stream.sample_size = sample_size;
        stream.changes += i64::from(pin.state() > KsState::STOP);
        Ok(())
    }
}
