//! Ranges of video formats: of one format, of a layout, of what a converter makes.

use ks_abi::{
    KS_VIDEOSTREAM_CAPTURE, KSDATAFORMAT_TYPE_VIDEO, KsDataRangeVideo, KsDataRangeVideo2, KsVideoStreamConfigCaps, Size,
};
use ks_stream::{DataFormat, DataRange};

use super::{Block, LONGEST_INTERVAL_100NS, head, interval_100ns, video_info, video_info_2};
use crate::media::video::{MAX_DIMENSION, PixelLayout, Ratio, VideoFormat};

/// The range that holds one format only, of which the first block says all.
pub(crate) fn exact_range(format: &VideoFormat) -> DataRange {
    exact_range_in(format, Block::First)
}

/// The range that holds one format only.
pub(crate) fn exact_range_in(format: &VideoFormat, block: Block) -> DataRange {
    let size = Size { width: format.width() as i32, height: format.height() as i32 };
    let interval = interval_100ns(format.frame_rate);
    range(format, block, size, size, interval, interval)
}

/// The ranges of one format, the one that says most of it first.
pub(crate) fn exact_ranges(format: &VideoFormat) -> Vec<DataRange> {
    let blocks: &[Block] = match Block::of(format) {
        Block::First => &[Block::First],
        Block::Second => &[Block::Second, Block::First],
    };
    blocks.iter().map(|block| exact_range_in(format, *block)).collect()
}

/// The range of all sizes and rates of one layout.
pub(crate) fn whole_range(layout: PixelLayout, block: Block) -> DataRange {
    let largest = Size { width: MAX_DIMENSION as i32, height: MAX_DIMENSION as i32 };
    let smallest = Size { width: 1, height: 1 };
    range(&usual(layout), block, smallest, largest, 0, LONGEST_INTERVAL_100NS)
}

/// The ranges of everything in these layouts, what says most first, so that nothing is lost where both ends can say it.
pub(crate) fn whole_ranges(layouts: &[PixelLayout]) -> Vec<DataRange> {
    let blocks = [Block::Second, Block::First];
    layouts.iter().flat_map(|layout| blocks.map(|block| whole_range(*layout, block))).collect()
}

/// The ranges of a writer that is told a size, either part of it or none: what says most first.
pub(crate) fn sized_ranges(layouts: &[PixelLayout], width: Option<u32>, height: Option<u32>) -> Vec<DataRange> {
    let side = |settled: Option<u32>, usual: u32| match settled {
        Some(settled) => (settled, settled, settled),
        None => (1, usual, MAX_DIMENSION),
    };
    let each = |layout: &PixelLayout| {
        let format = usual(*layout);
        let (least_width, width, most_width) = side(width, format.width());
        let (least_height, height, most_height) = side(height, format.height());
        let least = Size { width: least_width as i32, height: least_height as i32 };
        let most = Size { width: most_width as i32, height: most_height as i32 };
        let format = format.resized(width, height).unwrap_or(format);
        [Block::Second, Block::First].map(|block| range(&format, block, least, most, 0, LONGEST_INTERVAL_100NS))
    };
    layouts.iter().flat_map(each).collect()
}

/// The ranges of what pictures in a format can be converted to: all sizes at its rate, in its own layout first; or only
/// those that are settled.
pub(crate) fn converted_ranges(
    input: &VideoFormat,
    layout: Option<PixelLayout>,
    sides: Option<(u32, u32)>,
) -> Vec<DataRange> {
    let size = |(width, height): (u32, u32)| Size { width: width as i32, height: height as i32 };
    let least = size(sides.unwrap_or((1, 1)));
    let most = size(sides.unwrap_or((MAX_DIMENSION, MAX_DIMENSION)));
    let interval = interval_100ns(input.frame_rate);
    let others = LAYOUTS.into_iter().filter(|layout| *layout != input.layout());
    let layouts = std::iter::once(input.layout()).chain(others);
    let layouts = layouts.filter(|one| layout.is_none_or(|layout| layout == *one));
    let formats = layouts.filter_map(|layout| {
        let format = input.in_layout(layout).ok()?;
        sides.map_or(Some(format), |(width, height)| format.resized(width, height).ok())
    });
    let blocks = [Block::Second, Block::First];
    formats.flat_map(|format| blocks.map(|block| range(&format, block, least, most, interval, interval))).collect()
}

/// Every layout, those that need the least bytes first.
pub(crate) const LAYOUTS: [PixelLayout; 5] =
    [PixelLayout::I420, PixelLayout::Nv12, PixelLayout::Yuy2, PixelLayout::Bgra, PixelLayout::Rgb24];

/// What a range holds if nobody asks for anything in particular.
pub(super) fn usual(layout: PixelLayout) -> VideoFormat {
    let mut format =
        VideoFormat::new(layout, 640, 480).expect("invariant: a size that is far below the limits is accepted");
    format.frame_rate = Ratio::new(30, 1);
    format
}

fn range(format: &VideoFormat, block: Block, least: Size, most: Size, shortest: i64, longest: i64) -> DataRange {
    let data_range = head(format, block);
    let config_caps = KsVideoStreamConfigCaps {
        guid: data_range.specifier,
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
    };
    match block {
        Block::First => DataFormat::of(&KsDataRangeVideo {
            data_range,
            fixed_size_samples: 1,
            stream_description_flags: KS_VIDEOSTREAM_CAPTURE,
            config_caps,
            video_info: video_info(format),
            ..KsDataRangeVideo::default()
        }),
        Block::Second => DataFormat::of(&KsDataRangeVideo2 {
            data_range,
            fixed_size_samples: 1,
            stream_description_flags: KS_VIDEOSTREAM_CAPTURE,
            config_caps,
            video_info: video_info_2(format),
            ..KsDataRangeVideo2::default()
        }),
    }
}

/// The sizes and rates of a range of video formats; `None` if it names none.
pub(super) fn caps(range: &DataRange) -> Option<KsVideoStreamConfigCaps> {
    let head = range.head();
    match Block::named(head.specifier).filter(|_| head.major_format == KSDATAFORMAT_TYPE_VIDEO)? {
        Block::First => range.read::<KsDataRangeVideo>().map(|range| range.config_caps),
        Block::Second => range.read::<KsDataRangeVideo2>().map(|range| range.config_caps),
    }
}
