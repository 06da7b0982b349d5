//! `mirror`: shows each picture as in a mirror. A filter-centric minidriver: the filter's process callback is given the
//! frames of both pins. Where the two pins share a frame it is changed in place, else it is copied over.
//!
//! The twin of `drivers/mirror/mirror.c`.

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

/// What the filter says of itself.
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
    let reference = "{1A4F3E52-7F0B-4C60-9D35-2B5E84110C02}";
    let mut filter = FilterDescriptor::new(reference, "mirror", &categories, pins, Arc::new(Mirror));
    filter.in_place = Some((INPUT, OUTPUT));
    Ok(filter)
}

struct Mirror;

impl FilterDispatch for Mirror {
    fn create(&self, filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        Ok(Arc::new(MirrorFilter { filter: Arc::downgrade(filter), picture: Mutex::new(None) }))
    }
}

struct MirrorFilter {
    filter: Weak<Filter>,
    /// What both pins are connected with.
    picture: Mutex<Option<Picture>>,
}

impl FilterInstance for MirrorFilter {
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
        pin.set_stream_header_bytes(video::HEADER_BYTES);
        Ok(Arc::new(MirrorPin))
    }

    /// One frame of each pin.
    fn process(&self, _filter: &Arc<Filter>, pins: &ProcessPins<'_>) -> NtStatus {
        let Some(picture) = *self.picture.lock() else { return STATUS_PENDING };
        let (Some(input), Some(output)) = (pins.of(INPUT).next(), pins.of(OUTPUT).next()) else {
            return STATUS_PENDING;
        };
        let (Some(from), Some(to)) = (pins.frame(input), pins.frame(output)) else { return STATUS_PENDING };
        let is_whole = input.bytes_available() >= picture.frame_size();
        let mirrored = if !is_whole || output.bytes_available() < picture.frame_size() {
            None
        } else if pins.in_place(input, output) {
            mirror_in_place(&picture, &from)
        } else {
            // In place the header is the same one, too.
            video::copy_header(&from, &to);
            mirror_over(&picture, &from, &to)
        };
        if mirrored.is_some() {
            output.set_bytes_used(picture.frame_size());
        }
        // Each frame is done whole, whatever its size.
        input.set_bytes_used(input.bytes_available());
        input.terminate();
        output.terminate();
        STATUS_SUCCESS
    }
}

struct MirrorPin;

impl PinInstance for MirrorPin {}

fn mirror_in_place(picture: &Picture, frame: &StreamFrame) -> Option<()> {
    let mut bytes = frame.buffer()?.bytes_in_place(picture.frame_bytes)?;
    mirror(picture, &mut bytes);
    Some(())
}

fn mirror_over(picture: &Picture, from: &StreamFrame, to: &StreamFrame) -> Option<()> {
    let from = from.buffer()?.bytes(picture.frame_bytes)?;
    let mut to = to.buffer()?.bytes_mut(picture.frame_bytes)?;
    to.copy_from_slice(&from);
    mirror(picture, &mut to);
    Some(())
}

/// Turns each line of a picture around.
fn mirror(picture: &Picture, bytes: &mut [u8]) {
    match picture.layout {
        Layout::Nv12 => {
            let (luma, colour) = bytes.split_at_mut(picture.luma_bytes());
            luma.chunks_exact_mut(picture.width).for_each(<[u8]>::reverse);
            for line in colour.chunks_exact_mut(picture.width) {
                line.as_chunks_mut::<2>().0.reverse();
            }
        }
        Layout::Yuy2 => {
            for line in bytes.chunks_exact_mut(2 * picture.width) {
                let units = line.as_chunks_mut::<4>().0;
                units.reverse();
                // The two luma samples of a unit change places, too.
                units.iter_mut().for_each(|unit| unit.swap(0, 2));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(layout: Layout, bytes: usize) -> Picture {
        Picture { layout, width: 4, height: 2, frame_bytes: bytes, interval_100ns: 333_333 }
    }

    #[test]
    fn each_line_of_each_plane_is_turned_around() {
        let mut nv12 = *b"abcdefghUVuv";
        mirror(&picture(Layout::Nv12, 12), &mut nv12);
        assert_eq!(&nv12, b"dcbahgfeuvUV");
        let mut yuy2 = *b"aUbVcudveUfVguhv";
        mirror(&picture(Layout::Yuy2, 16), &mut yuy2);
        assert_eq!(&yuy2, b"ducvbUaVhugvfUeV");
    }
}
