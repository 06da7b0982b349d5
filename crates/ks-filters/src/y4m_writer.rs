//! `y4m-writer`: I420, NV12 and YUY2 frames into a YUV4MPEG2 file, without loss.

use std::path::Path;

use ks_abi::KSDATAFORMAT_SPECIFIER_VIDEOINFO;
use ks_io::Refusal;
use ks_stream::{DataFormat, DataRange, FilterDescriptor, Framing};

use crate::file_writer::{self, Values, Writer};
use crate::media::Result;
use crate::media::video::{Interlacing, MAX_DIMENSION, PixelLayout, Ratio, VideoFormat};
use crate::media::y4m::Y4mWriter;
use crate::settings::{ANY, Setting, Write, choice, number, or_any};
use crate::video_format;

/// The name of the filter.
pub const NAME: &str = "y4m-writer";

/// What the filter says of itself.
pub fn descriptor() -> FilterDescriptor {
    file_writer::descriptor::<Y4mWriter>()
}

/// What the writer is told to take; what is `None` may be anything.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PictureWish {
    layout: Option<PixelLayout>,
    width: Option<u32>,
    height: Option<u32>,
}

const LAYOUTS: &[(&str, PixelLayout)] =
    &[("i420", PixelLayout::I420), ("nv12", PixelLayout::Nv12), ("yuy2", PixelLayout::Yuy2)];

impl Writer for Y4mWriter {
    type Format = VideoFormat;
    const FILTER: &'static str = NAME;
    const TITLE: &'static str = "Y4M writer";
    const PIN: &'static str = "Frames";
    type Wish = PictureWish;
    const SETTINGS: &'static [Setting<Values<PictureWish>>] = &[
        file_writer::path(),
        Setting {
            name: "format",
            kind: "any|i420|nv12|yuy2",
            default: ANY,
            help: "layout of the pixels that it is to be given: 4:2:0 for i420 and nv12, 4:2:2 for yuy2",
            read: |values| {
                let named = LAYOUTS.iter().find(|(_, layout)| values.wish.layout == Some(*layout));
                named.map_or(ANY, |(name, _)| name).to_owned()
            },
            write: Write::Value(|values, text| {
                values.wish.layout = or_any(text, |text| choice(text, LAYOUTS))?;
                Ok(())
            }),
        },
        Setting {
            name: "width",
            kind: "number|any",
            default: ANY,
            help: "pixels a row that the file is to have",
            read: |values| values.wish.width.map_or_else(|| ANY.to_owned(), |width| width.to_string()),
            write: Write::Value(|values, text| {
                values.wish.width = or_any(text, |text| number(text, 1..=MAX_DIMENSION))?;
                Ok(())
            }),
        },
        Setting {
            name: "height",
            kind: "number|any",
            default: ANY,
            help: "rows that the file is to have",
            read: |values| values.wish.height.map_or_else(|| ANY.to_owned(), |height| height.to_string()),
            write: Write::Value(|values, text| {
                values.wish.height = or_any(text, |text| number(text, 1..=MAX_DIMENSION))?;
                Ok(())
            }),
        },
    ];

    fn ranges(wish: &PictureWish) -> Vec<DataRange> {
        // I420 first: it is written as it is, the others are taken apart.
        let layouts = LAYOUTS.iter().map(|(_, layout)| *layout);
        let wished: Vec<_> = layouts.filter(|layout| wish.layout.is_none_or(|wished| wished == *layout)).collect();
        video_format::sized_ranges(&wished, wish.width, wish.height)
    }

    fn check(wish: &PictureWish, format: &VideoFormat) -> std::result::Result<(), String> {
        let sides = [("width", wish.width, format.width()), ("height", wish.height, format.height())];
        for (name, wished, is) in sides {
            if let Some(wished) = wished.filter(|wished| *wished != is) {
                let advice = "a video-converter ahead of it makes it so";
                return Err(format!("{name}={wished} was asked for and {is} came; {advice}"));
            }
        }
        Ok(())
    }

    fn intersect(range: &DataRange, own: &DataRange) -> std::result::Result<DataFormat, Refusal> {
        video_format::intersect_sink(NAME, range, own)
    }

    fn parse(format: &DataFormat) -> std::result::Result<VideoFormat, String> {
        let mut picture = video_format::parse(format)?;
        if format.head().specifier == KSDATAFORMAT_SPECIFIER_VIDEOINFO {
            // It has no interlacing and square pixels.
            picture.interlacing = Interlacing::Progressive;
            picture.pixel_aspect = Ratio::new(1, 1);
        }
        Ok(picture)
    }

    fn create(path: &Path, format: &VideoFormat) -> Result<Self> {
        Y4mWriter::create(path, format)
    }

    fn write(&mut self, data: &[u8]) -> Result<()> {
        self.write_frame(data)
    }

    fn finish(self) -> Result<()> {
        Y4mWriter::finish(self)
    }

    fn framing(format: &VideoFormat) -> Framing {
        video_format::framing(format)
    }

    fn extent(&self) -> String {
        match self.frames() {
            1 => "1 whole frame".into(),
            frames => format!("{frames} whole frames"),
        }
    }
}
