//! `y4m-writer`: I420, NV12 and YUY2 frames into a YUV4MPEG2 file, without loss.

use std::path::Path;

use ks_abi::KSDATAFORMAT_SPECIFIER_VIDEOINFO;
use ks_io::Refusal;
use ks_stream::{DataFormat, DataRange, FilterDescriptor, Framing};

use crate::file_writer::{self, Values, Writer};
use crate::media::Result;
use crate::media::video::{Interlacing, PixelLayout, Ratio, VideoFormat};
use crate::media::y4m::Y4mWriter;
use crate::settings::Setting;
use crate::video_format;

/// The name of the filter.
pub const NAME: &str = "y4m-writer";

/// What the filter says of itself.
pub fn descriptor() -> FilterDescriptor {
    file_writer::descriptor::<Y4mWriter>()
}

impl Writer for Y4mWriter {
    type Format = VideoFormat;
    const FILTER: &'static str = NAME;
    const TITLE: &'static str = "Y4M writer";
    const PIN: &'static str = "Frames";
    type Wish = ();
    const SETTINGS: &'static [Setting<Values<()>>] = &[file_writer::path()];

    fn check(_wish: &(), _format: &VideoFormat) -> std::result::Result<(), String> {
        Ok(())
    }

    fn ranges(_wish: &()) -> Vec<DataRange> {
        // I420 first: it is written as it is, the others are taken apart.
        video_format::whole_ranges(&[PixelLayout::I420, PixelLayout::Nv12, PixelLayout::Yuy2])
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
