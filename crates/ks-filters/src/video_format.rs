//! Video formats as KS data formats and ranges, and back.

use ks_abi::{
    Guid, KS_VIDEOSTREAM_CAPTURE, KSDATAFORMAT_SPECIFIER_VIDEOINFO, KSDATAFORMAT_SUBTYPE_I420,
    KSDATAFORMAT_SUBTYPE_IYUV, KSDATAFORMAT_SUBTYPE_NV12, KSDATAFORMAT_SUBTYPE_YUY2, KSDATAFORMAT_TYPE_VIDEO,
    KsBitmapInfoHeader, KsDataFormat, KsDataFormatVideoInfoHeader, KsDataRangeVideo, KsVideoInfoHeader,
    KsVideoStreamConfigCaps, Rect, STATUS_NO_MATCH, Size, fourcc,
};
use ks_io::{Aspect, Refusal};
use ks_stream::{DataFormat, DataRange, Framing};

use crate::media::video::{MAX_DIMENSION, PixelLayout, Ratio, VideoFormat};

/// The longest frame that a range names: an hour.
const LONGEST_INTERVAL_100NS: i64 = 3600 * 10_000_000;

/// The subformat of a layout.
pub(crate) fn subtype(layout: PixelLayout) -> Guid {
    match layout {
        PixelLayout::I420 => KSDATAFORMAT_SUBTYPE_I420,
        PixelLayout::Nv12 => KSDATAFORMAT_SUBTYPE_NV12,
        PixelLayout::Yuy2 => KSDATAFORMAT_SUBTYPE_YUY2,
    }
}

fn layout_of(subtype: Guid) -> Option<PixelLayout> {
    match subtype {
        KSDATAFORMAT_SUBTYPE_I420 | KSDATAFORMAT_SUBTYPE_IYUV => Some(PixelLayout::I420),
        KSDATAFORMAT_SUBTYPE_NV12 => Some(PixelLayout::Nv12),
        KSDATAFORMAT_SUBTYPE_YUY2 => Some(PixelLayout::Yuy2),
        _ => None,
    }
}

/// The complete data format of a video format.
pub(crate) fn data_format(format: &VideoFormat) -> DataFormat {
    DataFormat::of(&KsDataFormatVideoInfoHeader { data_format: head(format), video_info: video_info(format) })
}

fn head(format: &VideoFormat) -> KsDataFormat {
    KsDataFormat {
        sample_size: format.frame_bytes() as u32,
        ..KsDataFormat::new(
            KSDATAFORMAT_TYPE_VIDEO,
            subtype(format.layout()),
            KSDATAFORMAT_SPECIFIER_VIDEOINFO,
            size_of::<KsVideoInfoHeader>() as u32,
        )
    }
}

fn video_info(format: &VideoFormat) -> KsVideoInfoHeader {
    let interval = interval_100ns(format.frame_rate);
    let bits = format.frame_bytes() as u64 * 8;
    let bit_rate = (bits * 10_000_000).checked_div(interval.unsigned_abs()).unwrap_or(0);
    KsVideoInfoHeader {
        bit_rate: u32::try_from(bit_rate).unwrap_or(u32::MAX),
        avg_time_per_frame: interval,
        bitmap: KsBitmapInfoHeader {
            size: size_of::<KsBitmapInfoHeader>() as u32,
            width: format.width() as i32,
            height: format.height() as i32,
            planes: 1,
            bit_count: format.layout().bits_per_pixel(),
            compression: fourcc(&format.layout().fourcc()),
            size_image: format.frame_bytes() as u32,
            ..KsBitmapInfoHeader::default()
        },
        ..KsVideoInfoHeader::default()
    }
}

/// The range that holds one format only.
pub(crate) fn exact_range(format: &VideoFormat) -> DataRange {
    let size = Size { width: format.width() as i32, height: format.height() as i32 };
    let interval = interval_100ns(format.frame_rate);
    range(format, size, size, interval, interval)
}

/// The range of all sizes and rates of one layout.
pub(crate) fn whole_range(layout: PixelLayout) -> DataRange {
    let largest = Size { width: MAX_DIMENSION as i32, height: MAX_DIMENSION as i32 };
    let smallest = Size { width: 1, height: 1 };
    range(&usual(layout), smallest, largest, 0, LONGEST_INTERVAL_100NS)
}

/// What a range holds if nobody asks for anything in particular.
fn usual(layout: PixelLayout) -> VideoFormat {
    let mut format =
        VideoFormat::new(layout, 640, 480).expect("invariant: a size that is far below the limits is accepted");
    format.frame_rate = Ratio::new(30, 1);
    format
}

fn range(format: &VideoFormat, least: Size, most: Size, shortest: i64, longest: i64) -> DataRange {
    DataFormat::of(&KsDataRangeVideo {
        data_range: head(format),
        fixed_size_samples: 1,
        stream_description_flags: KS_VIDEOSTREAM_CAPTURE,
        config_caps: KsVideoStreamConfigCaps {
            guid: KSDATAFORMAT_SPECIFIER_VIDEOINFO,
            input_size: most,
            min_cropping_size: most,
            max_cropping_size: most,
            crop_granularity_x: 1,
            crop_granularity_y: 1,
            crop_align_x: 1,
            crop_align_y: 1,
            min_output_size: least,
            max_output_size: most,
            output_granularity_x: 1,
            output_granularity_y: 1,
            min_frame_interval: shortest,
            max_frame_interval: longest,
            ..KsVideoStreamConfigCaps::default()
        },
        video_info: video_info(format),
        ..KsDataRangeVideo::default()
    })
}

/// Checks a format from a client to its last field.
///
/// Source: ns-ksmedia-tagks_videoinfoheader, ns-ksmedia-tagks_bitmapinfoheader.
pub(crate) fn parse(format: &DataFormat) -> Result<VideoFormat, String> {
    let layout = layout_of(format.head().sub_format).ok_or("the subformat is none of NV12, I420 and YUY2")?;
    if format.head().specifier != KSDATAFORMAT_SPECIFIER_VIDEOINFO {
        return Err("the specifier is not VIDEOINFO".into());
    }
    let Some(whole) = format.read::<KsDataFormatVideoInfoHeader>() else {
        return Err(format!("FormatSize is {}, too small for a KS_VIDEOINFOHEADER", format.head().format_size));
    };
    check_picture(&whole.video_info, layout)
}

fn check_picture(info: &KsVideoInfoHeader, layout: PixelLayout) -> Result<VideoFormat, String> {
    let bitmap = &info.bitmap;
    if (bitmap.size as usize) < size_of::<KsBitmapInfoHeader>() {
        return Err(format!("biSize is {}, less than 40", bitmap.size));
    }
    let width = u32::try_from(bitmap.width).map_err(|_| format!("biWidth is {}, not positive", bitmap.width))?;
    // The sign of the height tells the order of rows for RGB only.
    let mut picture = VideoFormat::new(layout, width, bitmap.height.unsigned_abs()).map_err(|e| e.to_string())?;
    let fourccs = match layout {
        PixelLayout::I420 => [fourcc(b"I420"), fourcc(b"IYUV")],
        other => [fourcc(&other.fourcc()); 2],
    };
    if !fourccs.contains(&bitmap.compression) {
        let code = bitmap.compression.to_le_bytes().escape_ascii().to_string();
        return Err(format!("biCompression is '{code}', which is not the subformat"));
    }
    if bitmap.bit_count != layout.bits_per_pixel() || bitmap.planes > 1 {
        let expected = layout.bits_per_pixel();
        return Err(format!(
            "biBitCount is {} in {} planes, expected {expected} in 1",
            bitmap.bit_count, bitmap.planes
        ));
    }
    let bytes = picture.frame_bytes();
    if bitmap.size_image != 0 && bitmap.size_image as usize != bytes {
        return Err(format!("biSizeImage is {}, a picture of this size has {bytes} bytes", bitmap.size_image));
    }
    let whole = Rect { left: 0, top: 0, right: bitmap.width, bottom: bitmap.height.saturating_abs() };
    for (name, rect) in [("rcSource", info.source), ("rcTarget", info.target)] {
        if rect != whole && rect != Rect::default() {
            return Err(format!("{name} is a part of the picture, and cutting is not supported"));
        }
    }
    if !(0..=LONGEST_INTERVAL_100NS).contains(&info.avg_time_per_frame) {
        return Err(format!("AvgTimePerFrame is {}, expected 0 to an hour", info.avg_time_per_frame));
    }
    picture.frame_rate = rate_of(info.avg_time_per_frame);
    Ok(picture)
}

/// What a pin of frames in this format asks of its allocator.
pub(crate) fn framing(format: &VideoFormat) -> Framing {
    // A quarter of a gigabyte is enough for pictures of the largest sizes.
    const MOST_BYTES: u32 = 0x1000_0000;
    let frame_bytes = format.frame_bytes() as u32;
    Framing { frames: (MOST_BYTES / frame_bytes).clamp(1, 8), frame_bytes, alignment: 64 }
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
    Ok(data_format(format))
}

/// A sink's answer to an intersection: the default of the client's range, or the usual one.
pub(crate) fn intersect_sink(owner: &str, asked: &DataRange, own: &DataRange) -> Result<DataFormat, Refusal> {
    let refuse = |problem: String| Refusal::new(STATUS_NO_MATCH, Aspect::FormatBlock, format!("{owner}: {problem}"));
    let layout = layout_of(own.head().sub_format).or_else(|| layout_of(asked.head().sub_format));
    let layout = layout.ok_or_else(|| refuse("no layout of pixels is named".into()))?;
    match asked.read::<KsDataRangeVideo>().filter(|_| caps(asked).is_some()) {
        Some(range) => check_picture(&range.video_info, layout).map(|f| data_format(&f)).map_err(refuse),
        None => Ok(data_format(&usual(layout))),
    }
}

/// The sizes and rates of a range of video formats; `None` if it names none.
fn caps(range: &DataRange) -> Option<KsVideoStreamConfigCaps> {
    let head = range.head();
    let named = head.major_format == KSDATAFORMAT_TYPE_VIDEO && head.specifier == KSDATAFORMAT_SPECIFIER_VIDEOINFO;
    range.read::<KsDataRangeVideo>().filter(|_| named).map(|range| range.config_caps)
}

/// Frame duration in 100-ns units, to the nearest; 0 if the rate is not known.
pub(crate) fn interval_100ns(rate: Ratio) -> i64 {
    if !rate.is_known() {
        return 0;
    }
    let twice = 20_000_000 * u64::from(rate.denominator) / u64::from(rate.numerator);
    i64::try_from(twice.div_ceil(2)).unwrap_or(i64::MAX).clamp(1, LONGEST_INTERVAL_100NS)
}

/// The rate behind a duration: a whole number of frames a second, that by 1.001, or else exactly what the duration says.
///
/// Decision: a duration in 100-ns units cannot hold 30000/1001; common rates are recognised, so that files keep theirs.
pub(crate) fn rate_of(interval_100ns: i64) -> Ratio {
    if interval_100ns <= 0 {
        return Ratio::UNKNOWN;
    }
    let matches = |rate: &Ratio| {
        let down = 10_000_000 * i64::from(rate.denominator) / i64::from(rate.numerator);
        interval_100ns == down || interval_100ns == self::interval_100ns(*rate)
    };
    let nearest = u32::try_from((10_000_000 + interval_100ns / 2) / interval_100ns).unwrap_or(u32::MAX);
    if (1..=1000).contains(&nearest) {
        let common = [Ratio::new(nearest, 1), Ratio::new(nearest * 1000, 1001)];
        if let Some(rate) = common.into_iter().find(matches) {
            return rate;
        }
    }
    let interval = u32::try_from(interval_100ns).unwrap_or(u32::MAX);
    let divisor = greatest_common_divisor(10_000_000, interval);
    Ratio::new(10_000_000 / divisor, interval / divisor)
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    fn nv12() -> VideoFormat {
        let mut format = VideoFormat::new(PixelLayout::Nv12, 1280, 720).unwrap();
        format.frame_rate = Ratio::new(30_000, 1001);
        format
    }

    #[test]
    fn a_format_survives_the_way_to_ks_and_back() {
        assert_eq!(parse(&data_format(&nv12())), Ok(nv12()));
        let odd = VideoFormat::new(PixelLayout::Yuy2, 33, 17).unwrap();
        assert_eq!(parse(&data_format(&odd)), Ok(odd));
    }

    #[test]
    fn common_rates_are_recognised_and_others_kept() {
        for (numerator, denominator) in
            [(30, 1), (25, 1), (24, 1), (60, 1), (30_000, 1001), (24_000, 1001), (25, 2), (1, 1), (7, 1)]
        {
            let rate = Ratio::new(numerator, denominator);
            assert_eq!(rate_of(interval_100ns(rate)), rate);
        }
        assert_eq!(rate_of(333_333), Ratio::new(30, 1));
        assert_eq!(rate_of(333_666), Ratio::new(30_000, 1001), "rounded down, as some programs do");
        assert_eq!(rate_of(0), Ratio::UNKNOWN);
        assert_eq!(rate_of(-5), Ratio::UNKNOWN);
        for interval in [1, 2, 9_999_999, i64::MAX] {
            assert!(rate_of(interval).is_known());
        }
    }

    #[test]
    fn every_field_of_the_block_is_checked() {
        let good: KsDataFormatVideoInfoHeader = data_format(&nv12()).read().unwrap();
        let mut bad = Vec::new();
        let mut with = |change: fn(&mut KsVideoInfoHeader)| {
            let mut format = good;
            change(&mut format.video_info);
            bad.push(DataFormat::of(&format));
        };
        with(|info| info.bitmap.size = 39);
        with(|info| info.bitmap.width = 0);
        with(|info| info.bitmap.width = -1280);
        with(|info| info.bitmap.width = i32::MAX);
        with(|info| info.bitmap.height = i32::MIN);
        with(|info| info.bitmap.bit_count = 16);
        with(|info| info.bitmap.planes = 3);
        with(|info| info.bitmap.compression = fourcc(b"YUY2"));
        with(|info| info.bitmap.size_image -= 1);
        with(|info| info.avg_time_per_frame = -1);
        with(|info| info.source.right = 5);
        for format in bad {
            assert!(parse(&format).is_err(), "{format:?}");
        }
        let bytes = good.as_bytes();
        let mut short = bytes[..bytes.len() - 1].to_vec();
        short[..4].copy_from_slice(&(bytes.len() as u32 - 1).to_le_bytes());
        let (short, _) = DataFormat::parse(&short).unwrap();
        assert!(parse(&short).is_err());
    }

    #[test]
    fn a_source_gives_its_format_only_to_a_range_that_holds_it() {
        let whole = whole_range(PixelLayout::Nv12);
        assert_eq!(intersect_source("camera", &nv12(), &whole), Ok(data_format(&nv12())));
        let other = exact_range(&VideoFormat::new(PixelLayout::Nv12, 64, 48).unwrap());
        assert!(intersect_source("camera", &nv12(), &other).is_err());
    }

    #[test]
    fn a_sink_takes_the_default_of_a_source() {
        let whole = whole_range(PixelLayout::Nv12);
        assert_eq!(intersect_sink("writer", &exact_range(&nv12()), &whole), Ok(data_format(&nv12())));
        let bare = DataFormat::new(*whole.head(), &[]);
        assert_eq!(intersect_sink("writer", &bare, &whole), Ok(data_format(&usual(PixelLayout::Nv12))));
    }
}
