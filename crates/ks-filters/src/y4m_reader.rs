//! `y4m-reader`: the frames of a YUV4MPEG2 file, 4:2:0 as I420 and 4:2:2 as YUY2.

use std::path::Path;

use ks_io::Refusal;
use ks_stream::{DataFormat, DataRange, FilterDescriptor, Framing};

use crate::file_reader::{self, Next, Opened, Piece, Reader, SplicePoint};
use crate::media::Result;
use crate::media::video::{PixelLayout, VideoFormat};
use crate::media::y4m::{FramesEnd, Y4mReader};
use crate::settings::Setting;
use crate::video_format;

/// The name of the filter.
pub const NAME: &str = "y4m-reader";

/// What the filter says of itself.
pub fn descriptor() -> FilterDescriptor {
    file_reader::descriptor::<Y4mReader>()
}

impl Reader for Y4mReader {
    type Format = VideoFormat;
    const FILTER: &'static str = NAME;
    const TITLE: &'static str = "Y4M reader";
    const PIN: &'static str = "Frames";
    const SETTINGS: &'static [Setting<Option<Opened<Self>>>] =
        &[file_reader::path("the YUV4MPEG2 file to read: 4:2:0 comes as I420, 4:2:2 as YUY2")];

    fn open(path: &Path) -> Result<Self> {
        Y4mReader::open(path)
    }

    fn format(&self) -> &VideoFormat {
        Y4mReader::format(self)
    }

    /// A file that ends within a frame gives the end of the stream on a frame without data.
    fn read(&mut self, data: &mut [u8]) -> Result<Piece> {
        let number = self.frame_index();
        let used = self.read_frame(data)?;
        let next = if used == 0 || self.is_at_end()? { Next::EndOfFile } else { Next::Frame };
        let time = |number| self.format().frame_rate.frame_time_100ns(number);
        let time_100ns = time(number).zip(time(number + 1));
        Ok(Piece { used, time_100ns, splice_point: SplicePoint::Yes, next })
    }

    fn truncation(&self) -> Option<String> {
        match self.frames_end() {
            FramesEnd::Truncated { frame_index, present_bytes, expected_bytes } => Some(format!(
                "it ends within frame {frame_index}, {present_bytes} of {expected_bytes} bytes; the frames before it \
                 were read"
            )),
            FramesEnd::NotReached | FramesEnd::Complete => None,
        }
    }

    fn whole_ranges() -> Vec<DataRange> {
        video_format::whole_ranges(&[PixelLayout::I420, PixelLayout::Yuy2])
    }

    fn exact_ranges(format: &VideoFormat) -> Vec<DataRange> {
        video_format::exact_ranges(format)
    }

    fn intersect(format: &VideoFormat, range: &DataRange) -> std::result::Result<DataFormat, Refusal> {
        video_format::intersect_source(NAME, format, range)
    }

    fn accept(own: &VideoFormat, asked: &DataFormat, path: &Path) -> std::result::Result<(), String> {
        let asked = video_format::parse(asked)?;
        if (asked.layout(), asked.width(), asked.height()) == (own.layout(), own.width(), own.height()) {
            return Ok(());
        }
        let (width, height) = (own.width(), own.height());
        Err(format!("{} has frames of {width}x{height}, not {}x{}", path.display(), asked.width(), asked.height()))
    }

    fn framing(format: &VideoFormat) -> Framing {
        video_format::framing(format)
    }

    fn least_room(format: &VideoFormat) -> usize {
        format.frame_bytes()
    }
}
