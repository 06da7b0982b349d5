//! Answers to the intersection of two ranges: of a source, a sink and a converter.

use ks_abi::{KsDataRangeVideo, KsDataRangeVideo2, STATUS_NO_MATCH};
use ks_io::{Aspect, Refusal};
use ks_stream::{DataFormat, DataRange};

use super::ranges::{caps, usual};
use super::{Block, check_picture, check_picture_2, data_format, interval_100ns, layout_of, scaled};
use crate::media::video::{MAX_DIMENSION, VideoFormat};

/// A converter's answer to an intersection: its input, changed as little as the client's range asks for.
///
/// A range that settles one side of the picture and leaves the other open gets the other in proportion. `sides` settles
/// both.
pub(crate) fn nearest(
    owner: &str,
    input: &VideoFormat,
    asked: &DataRange,
    own: &DataRange,
    sides: Option<(u32, u32)>,
) -> Result<DataFormat, Refusal> {
    let refuse = |problem: String| Refusal::new(STATUS_NO_MATCH, Aspect::FormatBlock, format!("{owner}: {problem}"));
    let layout = [asked, own].iter().find_map(|range| layout_of(range.head().sub_format)).unwrap_or(input.layout());
    let block = [asked, own].iter().find_map(|range| Block::named(range.head().specifier));
    let (mut width, mut height) = sides.unwrap_or((input.width(), input.height()));
    if let Some(caps) = caps(asked) {
        let interval = interval_100ns(input.frame_rate);
        if !(caps.min_frame_interval..=caps.max_frame_interval).contains(&interval) {
            return Err(refuse("the rate of its input lies outside of the range asked for".into()));
        }
        let side = |least: i32, most: i32, side: u32| {
            let least = least.max(1).unsigned_abs();
            side.clamp(least, most.max(1).unsigned_abs().max(least))
        };
        let (least, most) = (caps.min_output_size, caps.max_output_size);
        width = side(least.width, most.width, width);
        height = side(least.height, most.height, height);
        if let Some(sides) = sides {
            if sides != (width, height) {
                return Err(refuse(format!("the size that is set, {}x{}, was not asked for", sides.0, sides.1)));
            }
        } else if width != input.width() && height == input.height() {
            height = side(least.height, most.height, in_proportion(height, input.width(), width));
        } else if height != input.height() && width == input.width() {
            width = side(least.width, most.width, in_proportion(width, input.height(), height));
        }
    }
    let sized = input.in_layout(layout).and_then(|format| format.resized(width, height));
    let mut format = sized.map_err(|problem| refuse(problem.to_string()))?;
    // The picture is as wide and high as it was.
    let aspect = scaled(input.pixel_aspect, input.width(), width);
    format.pixel_aspect = scaled(aspect, height, input.height());
    Ok(data_format(&format, block.unwrap_or_else(|| Block::of(&format))))
}

/// `side` of a picture whose `other` side becomes `to`, even.
pub(crate) fn in_proportion(side: u32, other: u32, to: u32) -> u32 {
    let exact = u64::from(side) * u64::from(to) / u64::from(other.max(1));
    u32::try_from(exact.next_multiple_of(2)).unwrap_or(u32::MAX).clamp(2, MAX_DIMENSION)
}

/// A source's answer to an intersection: its format, if it lies in the client's range.
pub(crate) fn intersect_source(owner: &str, format: &VideoFormat, asked: &DataRange) -> Result<DataFormat, Refusal> {
    if let Some(caps) = caps(asked) {
        let interval = interval_100ns(format.frame_rate);
        let fits = |value: u32, least: i32, most: i32| (i64::from(least)..=i64::from(most)).contains(&i64::from(value));
        let size_fits = fits(format.width(), caps.min_output_size.width, caps.max_output_size.width)
            && fits(format.height(), caps.min_output_size.height, caps.max_output_size.height);
        if !size_fits || !(caps.min_frame_interval..=caps.max_frame_interval).contains(&interval) {
            let reason = format!("{owner} has one format, which is outside of the range asked for");
            return Err(Refusal::new(STATUS_NO_MATCH, Aspect::FormatBlock, reason));
        }
    }
    Ok(data_format(format, Block::named(asked.head().specifier).unwrap_or_else(|| Block::of(format))))
}

/// A sink's answer to an intersection: the default of the client's range, or the usual one.
pub(crate) fn intersect_sink(owner: &str, asked: &DataRange, own: &DataRange) -> Result<DataFormat, Refusal> {
    let refuse = |problem: String| Refusal::new(STATUS_NO_MATCH, Aspect::FormatBlock, format!("{owner}: {problem}"));
    let layout = layout_of(own.head().sub_format).or_else(|| layout_of(asked.head().sub_format));
    let layout = layout.ok_or_else(|| refuse("no layout of pixels is named".into()))?;
    let named = |range: &DataRange| Block::named(range.head().specifier);
    let block = named(asked).or_else(|| named(own)).unwrap_or(Block::First);
    let default = if caps(asked).is_none() {
        None
    } else if block == Block::Second {
        asked.read::<KsDataRangeVideo2>().map(|range| check_picture_2(&range.video_info, layout))
    } else {
        asked.read::<KsDataRangeVideo>().map(|range| check_picture(&range.video_info, layout))
    };
    let format = default.unwrap_or_else(|| Ok(usual(layout))).map_err(refuse)?;
    Ok(data_format(&format, block))
}
