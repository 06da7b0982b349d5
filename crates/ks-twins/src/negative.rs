//! `negative`: shows each picture with its brightness turned over. A filter-centric minidriver that copies: its pins
//! never share frames, so each output frame is made from an input frame.
//!
//! The twin of `drivers/negative/negative.c`.

use std::sync::{Arc, Weak};

use ks_abi::{KSCATEGORY_DATATRANSFORM, KSCATEGORY_VIDEO, KsPinDataFlow, NtStatus, STATUS_PENDING, STATUS_SUCCESS};
use ks_io::sync::Mutex;
use ks_io::{Refusal, StreamFrame};
use ks_stream::{
    DataFormat, DataRange, Filter, FilterDescriptor, FilterDispatch, FilterInstance, Framing, Pin, PinDescriptor,
    PinId, PinInstance, ProcessPins,
};

use crate::Surroundings;
use crate::video::{self, Layout, Limits, Picture};

const INPUT: PinId = 0;
const OUTPUT: PinId = 1;

/// What the filter says of itself. It is a filter that copies because nothing says that it works in place.
pub(crate) fn descriptor(_: &Surroundings) -> Result<FilterDescriptor, String> {
    let pin = |flow| {
        let ranges = [Layout::Nv12, Layout::Yuy2].map(|layout| video::range(layout, Limits::ANY));
        let mut pin = PinDescriptor::new(flow, ranges.to_vec());
        pin.instances_necessary = 1;
        pin.framing = Some(Framing { frames: 4, ..Framing::default() });
        pin
    };
    let pins = vec![pin(KsPinDataFlow::IN), pin(KsPinDataFlow::OUT)];
    let categories = [KSCATEGORY_DATATRANSFORM, KSCATEGORY_VIDEO];
    let reference = "{1A4F3E52-7F0B-4C60-9D35-2B5E84110C03}";
    Ok(FilterDescriptor::new(reference, "negative", &categories, pins, Arc::new(Negative)))
}

struct Negative;

impl FilterDispatch for Negative {
    fn create(&self, filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        Ok(Arc::new(NegativeFilter { filter: Arc::downgrade(filter), picture: Mutex::new(None) }))
    }
}

struct NegativeFilter {
    filter: Weak<Filter>,
    /// What the input is connected with.
    picture: Mutex<Option<Picture>>,
}

impl FilterInstance for NegativeFilter {
    fn is_filter_centric(&self) -> bool {
        true
    }

    fn accept_format(&self, pin: PinId, format: &DataFormat, _range: &DataRange) -> Result<(), Refusal> {
        let other = video::other_format(self.filter.upgrade().as_ref(), pin);
        video::accept_as_other(format, other.as_ref())
    }

    fn intersect(&self, pin: PinId, range: &DataRange, matching: &DataRange) -> Result<DataFormat, Refusal> {
        video::intersect_as_other(range, matching, video::other_format(self.filter.upgrade().as_ref(), pin))
    }

    fn create_pin(&self, pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        *self.picture.lock() = Some(video::read(&pin.format(), &Limits::ANY)?);
        Ok(Arc::new(NegativePin))
    }

    fn process(&self, _filter: &Arc<Filter>, pins: &ProcessPins<'_>) -> NtStatus {
        let Some(picture) = *self.picture.lock() else { return STATUS_PENDING };
        let (Some(input), Some(output)) = (pins.of(INPUT).next(), pins.of(OUTPUT).next()) else {
            return STATUS_PENDING;
        };
        let (Some(from), Some(to)) = (pins.frame(input), pins.frame(output)) else { return STATUS_PENDING };
        to.set_presentation(from.presentation_time(), from.duration());
        to.set_options_flags(from.options_flags());
        let is_whole = input.bytes_available() >= picture.frame_size();
        if is_whole && output.bytes_available() >= picture.frame_size() && turn_over(&picture, &from, &to).is_some() {
            output.set_bytes_used(picture.frame_size());
        }
        input.set_bytes_used(input.bytes_available());
        output.terminate();
        STATUS_SUCCESS
    }
}

struct NegativePin;

impl PinInstance for NegativePin {}

/// 16 to 235 is turned over; what lies outside stays outside.
fn turn_over(picture: &Picture, from: &StreamFrame, to: &StreamFrame) -> Option<()> {
    let from = from.buffer()?.bytes(picture.frame_bytes)?;
    let mut to = to.buffer()?.bytes_mut(picture.frame_bytes)?;
    to.copy_from_slice(&from);
    let step = if picture.layout == Layout::Nv12 { 1 } else { 2 };
    to[..picture.luma_bytes()].iter_mut().step_by(step).for_each(|luma| *luma = 251u8.wrapping_sub(*luma));
    Some(())
}
