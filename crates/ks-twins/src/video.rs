//! What the twins for video share, as `drivers/include/video.h`: ranges, formats, and what two pins agree on.

use std::sync::Arc;

use ks_abi::{
    KS_VIDEOSTREAM_CAPTURE, KSDATAFORMAT_SPECIFIER_VIDEOINFO, KSDATAFORMAT_SUBTYPE_NV12, KSDATAFORMAT_SUBTYPE_YUY2,
    KSDATAFORMAT_TYPE_VIDEO, KsBitmapInfoHeader, KsDataFormat, KsDataFormatVideoInfoHeader, KsDataRangeVideo,
    KsFrameInfo, KsVideoInfoHeader, KsVideoStreamConfigCaps, STATUS_NO_MATCH, Size, fourcc,
};
use ks_io::{Aspect, Refusal, STREAM_HEADER_BYTES, StreamFrame};
use ks_stream::{DataFormat, DataRange, Filter, PinId};

/// How a picture lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// A plane of brightness, and one of both colours at half the size: 12 bits a pixel.
    Nv12,
    /// Two pixels in four bytes: brightness, blue, brightness, red.
    Yuy2,
}

impl Layout {
    fn bits(self) -> u32 {
        match self {
            Layout::Nv12 => 12,
            Layout::Yuy2 => 16,
        }
    }

    fn code(self) -> u32 {
        match self {
            Layout::Nv12 => fourcc(b"NV12"),
            Layout::Yuy2 => fourcc(b"YUY2"),
        }
    }

    fn subtype(self) -> ks_abi::Guid {
        match self {
            Layout::Nv12 => KSDATAFORMAT_SUBTYPE_NV12,
            Layout::Yuy2 => KSDATAFORMAT_SUBTYPE_YUY2,
        }
    }
}

/// Sizes and rates that a driver takes; sizes are even.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) least: Size,
    pub(crate) most: Size,
    /// Shortest and longest time of a picture, in 100-ns units.
    pub(crate) interval_100ns: (i64, i64),
}

impl Limits {
    /// Any picture.
    pub(crate) const ANY: Limits = Limits {
        least: Size { width: 2, height: 2 },
        most: Size { width: 16_384, height: 16_384 },
        interval_100ns: (1, 36_000_000_000),
    };
}

/// A data range: pictures of 640 by 480 at 30 a second, or any even size and rate within the limits.
pub(crate) fn range(layout: Layout, limits: Limits) -> DataRange {
    let video_info = picture_of(layout, Size { width: 640, height: 480 }, 333_333);
    let specifier = KSDATAFORMAT_SPECIFIER_VIDEOINFO;
    DataFormat::of(&KsDataRangeVideo {
        data_range: head(layout, video_info.bitmap.size_image),
        fixed_size_samples: 1,
        stream_description_flags: KS_VIDEOSTREAM_CAPTURE,
        config_caps: KsVideoStreamConfigCaps {
            guid: specifier,
            input_size: limits.most,
            min_cropping_size: limits.least,
            max_cropping_size: limits.most,
            crop_granularity_x: 2,
            crop_granularity_y: 2,
            crop_align_x: 2,
            crop_align_y: 2,
            min_output_size: limits.least,
            max_output_size: limits.most,
            output_granularity_x: 2,
            output_granularity_y: 2,
            min_frame_interval: limits.interval_100ns.0,
            max_frame_interval: limits.interval_100ns.1,
            ..KsVideoStreamConfigCaps::default()
        },
        video_info,
        ..KsDataRangeVideo::default()
    })
}

fn head(layout: Layout, sample_bytes: u32) -> KsDataFormat {
    let head = KsDataFormat::new(KSDATAFORMAT_TYPE_VIDEO, layout.subtype(), KSDATAFORMAT_SPECIFIER_VIDEOINFO, 0);
    KsDataFormat { sample_size: sample_bytes, ..head }
}

fn picture_of(layout: Layout, size: Size, interval_100ns: i64) -> KsVideoInfoHeader {
    let bytes = size.width.unsigned_abs() * size.height.unsigned_abs() * layout.bits() / 8;
    let bit_rate = u64::from(bytes) * 8 * 10_000_000 / interval_100ns.max(1).unsigned_abs();
    KsVideoInfoHeader {
        bit_rate: u32::try_from(bit_rate).unwrap_or(u32::MAX),
        avg_time_per_frame: interval_100ns,
        bitmap: KsBitmapInfoHeader {
            size: size_of::<KsBitmapInfoHeader>() as u32,
            width: size.width,
            height: size.height,
            planes: 1,
            bit_count: layout.bits() as u16,
            compression: layout.code(),
            size_image: bytes,
            ..KsBitmapInfoHeader::default()
        },
        ..KsVideoInfoHeader::default()
    }
}

/// What a format says of its pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) layout: Layout,
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// Bytes of a picture.
    pub(crate) frame_bytes: usize,
    pub(crate) interval_100ns: i64,
}

impl Picture {
    /// Bytes of the plane of brightness, or of all lines where there is one plane.
    pub(crate) fn luma_bytes(&self) -> usize {
        match self.layout {
            Layout::Nv12 => self.width * self.height,
            Layout::Yuy2 => self.frame_bytes,
        }
    }

    /// [`Picture::frame_bytes`] as the headers have it.
    pub(crate) fn frame_size(&self) -> u32 {
        self.frame_bytes as u32
    }
}

fn no_match(reason: &str) -> Refusal {
    Refusal::new(STATUS_NO_MATCH, Aspect::FormatBlock, reason)
}

/// Reads a format of NV12 or YUY2 pictures, of an even size within the limits.
pub(crate) fn read(format: &DataFormat, limits: &Limits) -> Result<Picture, Refusal> {
    let whole: KsDataFormatVideoInfoHeader =
        format.read().ok_or_else(|| no_match("the format has no KS_VIDEOINFOHEADER"))?;
    let (video, bitmap) = (whole.video_info, whole.video_info.bitmap);
    let layout = [Layout::Nv12, Layout::Yuy2].into_iter().find(|layout| {
        (layout.subtype(), layout.code(), layout.bits())
            == (whole.data_format.sub_format, bitmap.compression, u32::from(bitmap.bit_count))
    });
    let layout = layout.ok_or_else(|| no_match("the pictures are no NV12 and no YUY2"))?;
    let even = |value: i32, least: i32, most: i32| (least..=most).contains(&value) && value % 2 == 0;
    let (least, most) = (limits.least, limits.most);
    if !even(bitmap.width, least.width, most.width) || !even(bitmap.height, least.height, most.height) {
        return Err(no_match("the size of the pictures is odd or beyond the limits"));
    }
    if !(limits.interval_100ns.0..=limits.interval_100ns.1).contains(&video.avg_time_per_frame) {
        return Err(no_match("the rate of the pictures is beyond the limits"));
    }
    let (width, height) = (bitmap.width as usize, bitmap.height as usize);
    let frame_bytes = width * height * layout.bits() as usize / 8;
    if (bitmap.size_image as usize) < frame_bytes {
        return Err(no_match("biSizeImage is smaller than a picture"));
    }
    Ok(Picture { layout, width, height, frame_bytes, interval_100ns: video.avg_time_per_frame })
}

/// The format in `own` that comes nearest to what the client names in its range; the work of an intersect handler.
pub(crate) fn intersect(asked: &DataRange, own: &DataRange) -> Result<DataFormat, Refusal> {
    let whole = |range: &DataRange| range.read::<KsDataRangeVideo>();
    let (Some(wanted), Some(own)) = (whole(asked), whole(own)) else {
        return Err(no_match("the range has no KS_DATARANGE_VIDEO"));
    };
    let layout = [Layout::Nv12, Layout::Yuy2].into_iter().find(|one| one.subtype() == own.data_range.sub_format);
    let layout = layout.filter(|layout| layout.subtype() == wanted.data_range.sub_format);
    let layout = layout.ok_or_else(|| no_match("the range is for pictures of another layout"))?;
    let (least, most) = (own.config_caps.min_output_size, own.config_caps.max_output_size);
    let even = |value: i32, least: i32, most: i32| value.clamp(least, most) & !1;
    let bitmap = wanted.video_info.bitmap;
    let size = Size {
        width: even(bitmap.width, least.width, most.width),
        height: even(bitmap.height, least.height, most.height),
    };
    let intervals = own.config_caps.min_frame_interval..=own.config_caps.max_frame_interval;
    let interval = Some(wanted.video_info.avg_time_per_frame).filter(|wanted| intervals.contains(wanted));
    let video_info = picture_of(layout, size, interval.unwrap_or(own.video_info.avg_time_per_frame));
    let data_format = head(layout, video_info.bitmap.size_image);
    Ok(DataFormat::of(&KsDataFormatVideoInfoHeader { data_format, video_info }))
}

/// Stream headers with room for KS_FRAME_INFO.
pub(crate) const HEADER_BYTES: u32 = (STREAM_HEADER_BYTES + size_of::<KsFrameInfo>()) as u32;

/// Gives a frame the times, flags and frame information of another.
pub(crate) fn copy_header(from: &StreamFrame, to: &StreamFrame) {
    to.set_presentation(from.presentation_time(), from.duration());
    to.set_options_flags(from.options_flags());
    let mut info = [0; size_of::<KsFrameInfo>()];
    let count = from.read_extension(&mut info);
    to.write_extension(&info[..count]);
}

/// The format of the pin that is on the other side of a transform, if there is one.
pub(crate) fn other_format(filter: Option<&Arc<Filter>>, pin: PinId) -> Option<DataFormat> {
    let other = filter?.pins(1 - pin).into_iter().next()?;
    Some(other.format())
}

/// What a transform says to a new format: the pictures of the other pin, where that is connected, and no others.
pub(crate) fn accept_as_other(format: &DataFormat, other: Option<&DataFormat>) -> Result<(), Refusal> {
    let picture = read(format, &Limits::ANY)?;
    let Some(other) = other else { return Ok(()) };
    let other = read(other, &Limits::ANY)?;
    if (other.layout, other.width, other.height) == (picture.layout, picture.width, picture.height) {
        return Ok(());
    }
    Err(no_match("both pins have pictures of one layout and size"))
}

/// A transform's answer to an intersection: what the other pin is connected with is the only format there is.
pub(crate) fn intersect_as_other(
    asked: &DataRange,
    own: &DataRange,
    other: Option<DataFormat>,
) -> Result<DataFormat, Refusal> {
    let nearest = intersect(asked, own)?;
    match other {
        Some(other) if other.head().sub_format == asked.head().sub_format => Ok(other),
        Some(_) => Err(no_match("the other pin has pictures of another layout")),
        None => Ok(nearest),
    }
}
