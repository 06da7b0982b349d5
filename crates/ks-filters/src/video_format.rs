//! Video formats as KS data formats, and back; [`ranges`] of them, and what two ranges [`intersect`] in.

mod intersect;
mod ranges;

use ks_abi::{
    Guid, KS_INTERLACE_1FieldPerSample, KS_INTERLACE_Field1First, KS_INTERLACE_FieldPatBothIrregular,
    KS_INTERLACE_FieldPatBothRegular, KS_INTERLACE_FieldPatternMask, KS_INTERLACE_IsInterlaced,
    KSDATAFORMAT_SPECIFIER_VIDEOINFO, KSDATAFORMAT_SPECIFIER_VIDEOINFO2, KSDATAFORMAT_SUBTYPE_ARGB32,
    KSDATAFORMAT_SUBTYPE_I420, KSDATAFORMAT_SUBTYPE_IYUV, KSDATAFORMAT_SUBTYPE_NV12, KSDATAFORMAT_SUBTYPE_RGB24,
    KSDATAFORMAT_SUBTYPE_YUY2, KSDATAFORMAT_TYPE_VIDEO, KsBitmapInfoHeader, KsDataFormat, KsDataFormatVideoInfoHeader,
    KsDataFormatVideoInfoHeader2, KsVideoInfoHeader, KsVideoInfoHeader2, Rect, fourcc,
};
use ks_stream::{DataFormat, Framing};

use crate::media::video::{Interlacing, PixelLayout, Ratio, RowOrder, VideoFormat};

pub(crate) use intersect::{in_proportion, intersect_sink, intersect_source, nearest};
pub(crate) use ranges::{
    LAYOUTS, converted_ranges, exact_range, exact_range_in, exact_ranges, sized_ranges, whole_ranges,
};

/// The longest frame that a range names: an hour.
const LONGEST_INTERVAL_100NS: i64 = 3600 * 10_000_000;

/// The subformat of a layout.
pub(crate) fn subtype(layout: PixelLayout) -> Guid {
    match layout {
        PixelLayout::I420 => KSDATAFORMAT_SUBTYPE_I420,
        PixelLayout::Nv12 => KSDATAFORMAT_SUBTYPE_NV12,
        PixelLayout::Yuy2 => KSDATAFORMAT_SUBTYPE_YUY2,
        PixelLayout::Rgb24 => KSDATAFORMAT_SUBTYPE_RGB24,
        PixelLayout::Bgra => KSDATAFORMAT_SUBTYPE_ARGB32,
    }
}

fn layout_of(subtype: Guid) -> Option<PixelLayout> {
    match subtype {
        KSDATAFORMAT_SUBTYPE_I420 | KSDATAFORMAT_SUBTYPE_IYUV => Some(PixelLayout::I420),
        KSDATAFORMAT_SUBTYPE_NV12 => Some(PixelLayout::Nv12),
        KSDATAFORMAT_SUBTYPE_YUY2 => Some(PixelLayout::Yuy2),
        KSDATAFORMAT_SUBTYPE_RGB24 => Some(PixelLayout::Rgb24),
        KSDATAFORMAT_SUBTYPE_ARGB32 => Some(PixelLayout::Bgra),
        _ => None,
    }
}

/// Which of the two blocks describes the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Block {
    /// KS_VIDEOINFOHEADER: size and rate.
    First,
    /// KS_VIDEOINFOHEADER2: interlacing and aspect too.
    Second,
}

impl Block {
    /// The block that says all there is to say of a format.
    fn of(format: &VideoFormat) -> Self {
        let aspect = format.pixel_aspect;
        let is_interlaced = !matches!(format.interlacing, Interlacing::Unknown | Interlacing::Progressive);
        if is_interlaced || aspect.numerator != aspect.denominator { Self::Second } else { Self::First }
    }

    /// The block that a specifier names.
    pub(crate) fn named(specifier: Guid) -> Option<Self> {
        match specifier {
            KSDATAFORMAT_SPECIFIER_VIDEOINFO => Some(Self::First),
            KSDATAFORMAT_SPECIFIER_VIDEOINFO2 => Some(Self::Second),
            _ => None,
        }
    }
}

/// The complete data format of a video format.
pub(crate) fn data_format(format: &VideoFormat, block: Block) -> DataFormat {
    let data_format = head(format, block);
    match block {
        Block::First => DataFormat::of(&KsDataFormatVideoInfoHeader { data_format, video_info: video_info(format) }),
        Block::Second => {
            DataFormat::of(&KsDataFormatVideoInfoHeader2 { data_format, video_info: video_info_2(format) })
        }
    }
}

fn head(format: &VideoFormat, block: Block) -> KsDataFormat {
    let (specifier, bytes) = match block {
        Block::First => (KSDATAFORMAT_SPECIFIER_VIDEOINFO, size_of::<KsVideoInfoHeader>()),
        Block::Second => (KSDATAFORMAT_SPECIFIER_VIDEOINFO2, size_of::<KsVideoInfoHeader2>()),
    };
    KsDataFormat {
        sample_size: format.frame_bytes() as u32,
        ..KsDataFormat::new(KSDATAFORMAT_TYPE_VIDEO, subtype(format.layout()), specifier, bytes as u32)
    }
}

fn video_info_2(format: &VideoFormat) -> KsVideoInfoHeader2 {
    let info = video_info(format);
    let aspect = picture_aspect(format);
    KsVideoInfoHeader2 {
        source: info.source,
        target: info.target,
        bit_rate: info.bit_rate,
        bit_error_rate: info.bit_error_rate,
        avg_time_per_frame: info.avg_time_per_frame,
        interlace_flags: interlace_flags(format.interlacing),
        pict_aspect_ratio_x: aspect.numerator,
        pict_aspect_ratio_y: aspect.denominator,
        bitmap: info.bitmap,
        ..KsVideoInfoHeader2::default()
    }
}

/// Decision: field 1 is the top one, as in PAL; the documentation says that in NTSC it is the other.
fn interlace_flags(interlacing: Interlacing) -> u32 {
    const REGULAR: u32 = KS_INTERLACE_IsInterlaced | KS_INTERLACE_FieldPatBothRegular;
    match interlacing {
        Interlacing::Unknown | Interlacing::Progressive => 0,
        Interlacing::TopFirst => REGULAR | KS_INTERLACE_Field1First,
        Interlacing::BottomFirst => REGULAR,
        Interlacing::Mixed => KS_INTERLACE_IsInterlaced | KS_INTERLACE_FieldPatBothIrregular,
    }
}

fn interlacing(flags: u32) -> Result<Interlacing, String> {
    if flags & KS_INTERLACE_IsInterlaced == 0 {
        return Ok(Interlacing::Progressive);
    }
    if flags & KS_INTERLACE_1FieldPerSample != 0 {
        return Err("dwInterlaceFlags says one field a sample, and samples are whole frames here".into());
    }
    let pattern = flags & KS_INTERLACE_FieldPatternMask;
    if pattern == KS_INTERLACE_FieldPatBothIrregular {
        Ok(Interlacing::Mixed)
    } else if pattern != KS_INTERLACE_FieldPatBothRegular {
        Err("dwInterlaceFlags says only one of the fields, and samples are whole frames here".into())
    } else if flags & KS_INTERLACE_Field1First != 0 {
        Ok(Interlacing::TopFirst)
    } else {
        Ok(Interlacing::BottomFirst)
    }
}

/// The aspect of the whole picture, which the block has, from that of a pixel, which files have; 0:0 if not known.
fn picture_aspect(format: &VideoFormat) -> Ratio {
    scaled(format.pixel_aspect, format.width(), format.height())
}

/// Multiplies a ratio by `by` over `over`.
fn scaled(ratio: Ratio, by: u32, over: u32) -> Ratio {
    if !ratio.is_known() {
        return Ratio::UNKNOWN;
    }
    let above = u64::from(ratio.numerator) * u64::from(by);
    let below = u64::from(ratio.denominator) * u64::from(over);
    let divisor = greatest_common_divisor(above, below);
    match (u32::try_from(above / divisor), u32::try_from(below / divisor)) {
        (Ok(above), Ok(below)) => Ratio::new(above, below),
        _ => Ratio::UNKNOWN,
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
            height: match (format.layout().is_rgb(), format.row_order) {
                (true, RowOrder::TopDown) => -(format.height() as i32),
                _ => format.height() as i32,
            },
            planes: 1,
            bit_count: format.layout().bits_per_pixel(),
            compression: fourcc(&format.layout().fourcc()),
            size_image: format.frame_bytes() as u32,
            ..KsBitmapInfoHeader::default()
        },
        ..KsVideoInfoHeader::default()
    }
}

/// Checks a format from a client to its last field. Interlacing and aspect are known from the second block only.
///
/// Source: ns-ksmedia-tagks_videoinfoheader, ns-ksmedia-tagks_videoinfoheader2, ns-ksmedia-tagks_bitmapinfoheader.
pub(crate) fn parse(format: &DataFormat) -> Result<VideoFormat, String> {
    let layout =
        layout_of(format.head().sub_format).ok_or("the subformat is none of NV12, I420, YUY2, RGB24 and ARGB32")?;
    let too_small = |block: &str| format!("FormatSize is {}, too small for a KS_{block}", format.head().format_size);
    match Block::named(format.head().specifier) {
        None => Err("the specifier is neither VIDEOINFO nor VIDEOINFO2".into()),
        Some(Block::First) => {
            let whole: KsDataFormatVideoInfoHeader = format.read().ok_or_else(|| too_small("VIDEOINFOHEADER"))?;
            check_picture(&whole.video_info, layout)
        }
        Some(Block::Second) => {
            let whole: KsDataFormatVideoInfoHeader2 = format.read().ok_or_else(|| too_small("VIDEOINFOHEADER2"))?;
            check_picture_2(&whole.video_info, layout)
        }
    }
}

fn check_picture_2(info: &KsVideoInfoHeader2, layout: PixelLayout) -> Result<VideoFormat, String> {
    let first = KsVideoInfoHeader {
        source: info.source,
        target: info.target,
        bit_rate: info.bit_rate,
        bit_error_rate: info.bit_error_rate,
        avg_time_per_frame: info.avg_time_per_frame,
        bitmap: info.bitmap,
    };
    let mut picture = check_picture(&first, layout)?;
    for (name, value) in [("dwCopyProtectFlags", info.copy_protect_flags), ("dwReserved2", info.reserved2)] {
        if value != 0 {
            return Err(format!("{name} is {value}, expected 0"));
        }
    }
    picture.interlacing = interlacing(info.interlace_flags)?;
    let aspect = Ratio::new(info.pict_aspect_ratio_x, info.pict_aspect_ratio_y);
    if !aspect.is_known() && aspect != Ratio::UNKNOWN {
        return Err(format!("the picture's aspect is {}:{}", aspect.numerator, aspect.denominator));
    }
    picture.pixel_aspect = scaled(aspect, picture.height(), picture.width());
    Ok(picture)
}

fn check_picture(info: &KsVideoInfoHeader, layout: PixelLayout) -> Result<VideoFormat, String> {
    let bitmap = &info.bitmap;
    if (bitmap.size as usize) < size_of::<KsBitmapInfoHeader>() {
        return Err(format!("biSize is {}, less than 40", bitmap.size));
    }
    let width = u32::try_from(bitmap.width).map_err(|_| format!("biWidth is {}, not positive", bitmap.width))?;
    // The sign of the height tells the order of rows for RGB only.
    let mut picture = VideoFormat::new(layout, width, bitmap.height.unsigned_abs()).map_err(|e| e.to_string())?;
    if layout.is_rgb() && bitmap.height > 0 {
        picture.row_order = RowOrder::BottomUp;
    }
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
    scaled(Ratio::new(10_000_000, interval), 1, 1)
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::ranges::{usual, whole_range};
    use super::*;
    use ks_stream::DataRange;
    use zerocopy::IntoBytes;

    fn nv12() -> VideoFormat {
        let mut format = VideoFormat::new(PixelLayout::Nv12, 1280, 720).unwrap();
        format.frame_rate = Ratio::new(30_000, 1001);
        format
    }

    #[test]
    fn a_format_survives_the_way_to_ks_and_back() {
        assert_eq!(parse(&data_format(&nv12(), Block::First)), Ok(nv12()));
        let odd = VideoFormat::new(PixelLayout::Yuy2, 33, 17).unwrap();
        assert_eq!(parse(&data_format(&odd, Block::First)), Ok(odd));
    }

    fn pal() -> VideoFormat {
        let mut format = VideoFormat::new(PixelLayout::I420, 720, 576).unwrap();
        format.frame_rate = Ratio::new(25, 1);
        format.interlacing = Interlacing::TopFirst;
        format.pixel_aspect = Ratio::new(16, 11);
        format
    }

    #[test]
    fn interlacing_and_aspect_survive_in_the_second_block() {
        for interlacing in
            [Interlacing::Progressive, Interlacing::TopFirst, Interlacing::BottomFirst, Interlacing::Mixed]
        {
            for aspect in [Ratio::new(16, 11), Ratio::new(1, 1), Ratio::UNKNOWN] {
                let mut format = pal();
                (format.interlacing, format.pixel_aspect) = (interlacing, aspect);
                assert_eq!(parse(&data_format(&format, Block::Second)), Ok(format));
            }
        }
        let info = video_info_2(&pal());
        assert_eq!((info.pict_aspect_ratio_x, info.pict_aspect_ratio_y), (20, 11), "720 * 16 to 576 * 11");
        let mut too_fine = pal();
        too_fine.pixel_aspect = Ratio::new(u32::MAX, u32::MAX - 1);
        assert_eq!(picture_aspect(&too_fine), Ratio::UNKNOWN);
    }

    #[test]
    fn only_a_format_that_needs_it_offers_the_second_block() {
        let specifiers = |format| exact_ranges(&format).iter().map(|range| range.head().specifier).collect::<Vec<_>>();
        assert_eq!(specifiers(nv12()), [KSDATAFORMAT_SPECIFIER_VIDEOINFO]);
        assert_eq!(specifiers(pal()), [KSDATAFORMAT_SPECIFIER_VIDEOINFO2, KSDATAFORMAT_SPECIFIER_VIDEOINFO]);
        for block in [Block::First, Block::Second] {
            let whole = whole_range(PixelLayout::I420, block);
            assert_eq!(intersect_source("reader", &pal(), &whole), Ok(data_format(&pal(), block)));
            let default = &exact_ranges(&pal())[usize::from(block == Block::First)];
            assert_eq!(intersect_sink("writer", default, &whole), Ok(data_format(&pal(), block)));
        }
    }

    #[test]
    fn every_field_of_the_second_block_is_checked() {
        let good: KsDataFormatVideoInfoHeader2 = data_format(&pal(), Block::Second).read().unwrap();
        let refused = |change: fn(&mut KsVideoInfoHeader2)| {
            let mut format = good;
            change(&mut format.video_info);
            assert!(parse(&DataFormat::of(&format)).is_err(), "{format:?}");
        };
        refused(|info| info.interlace_flags |= KS_INTERLACE_1FieldPerSample);
        refused(|info| info.interlace_flags = KS_INTERLACE_IsInterlaced);
        refused(|info| info.copy_protect_flags = 1);
        refused(|info| info.reserved2 = 1);
        refused(|info| info.pict_aspect_ratio_x = 0);
        refused(|info| info.pict_aspect_ratio_y = 0);
        refused(|info| info.bitmap.width = 0);
        refused(|info| info.avg_time_per_frame = -1);
        let bytes = good.as_bytes();
        let mut short = bytes[..bytes.len() - 1].to_vec();
        short[..4].copy_from_slice(&(bytes.len() as u32 - 1).to_le_bytes());
        let (short, _) = DataFormat::parse(&short).unwrap();
        assert!(parse(&short).is_err());
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
        let good: KsDataFormatVideoInfoHeader = data_format(&nv12(), Block::First).read().unwrap();
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
        let whole = whole_range(PixelLayout::Nv12, Block::First);
        assert_eq!(intersect_source("camera", &nv12(), &whole), Ok(data_format(&nv12(), Block::First)));
        let other = exact_ranges(&VideoFormat::new(PixelLayout::Nv12, 64, 48).unwrap()).remove(0);
        assert!(intersect_source("camera", &nv12(), &other).is_err());
    }

    #[test]
    fn the_sign_of_an_rgb_height_is_the_order_of_its_rows() {
        for layout in [PixelLayout::Rgb24, PixelLayout::Bgra] {
            for row_order in [RowOrder::TopDown, RowOrder::BottomUp] {
                let mut format = nv12().in_layout(layout).unwrap();
                format.row_order = row_order;
                assert_eq!(parse(&data_format(&format, Block::First)), Ok(format));
                assert_eq!(parse(&data_format(&format, Block::Second)).map(|picture| picture.row_order), Ok(row_order));
            }
        }
    }

    #[test]
    fn a_converter_changes_as_little_as_a_range_asks_for() {
        let whole = &whole_ranges(&[PixelLayout::Bgra])[0];
        let found =
            |asked: &DataRange| nearest("converter", &pal(), asked, whole, None).map(|format| parse(&format).unwrap());
        let own = &converted_ranges(&pal(), None, None)[0];
        assert_eq!(nearest("converter", &pal(), own, own, None).map(|format| parse(&format).unwrap()), Ok(pal()));
        assert_eq!(found(whole).map(|format| (format.layout(), format.width())), Ok((PixelLayout::Bgra, 720)));
        let narrow = &sized_ranges(&[PixelLayout::I420], Some(360), None)[0];
        let half = found(narrow).unwrap();
        assert_eq!((half.width(), half.height(), half.pixel_aspect), (360, 288, Ratio::new(16, 11)));
        let square = &sized_ranges(&[PixelLayout::I420], Some(768), Some(432))[0];
        let square = found(square).unwrap();
        assert_eq!((square.width(), square.height(), square.pixel_aspect), (768, 432, Ratio::new(45, 44)));
    }

    #[test]
    fn a_sink_takes_the_default_of_a_source() {
        let whole = whole_range(PixelLayout::Nv12, Block::First);
        assert_eq!(intersect_sink("writer", &exact_ranges(&nv12())[0], &whole), Ok(data_format(&nv12(), Block::First)));
        let bare = DataFormat::new(*whole.head(), &[]);
        assert_eq!(intersect_sink("writer", &bare, &whole), Ok(data_format(&usual(PixelLayout::Nv12), Block::First)));
    }
}
