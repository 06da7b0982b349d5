//! YUV4MPEG2 (`.y4m`) files: uncompressed video with a one-line header, as ffmpeg, mjpegtools and x264 speak it.
//!
//! A reader gives 4:2:0 files as I420 and 4:2:2 files as YUY2, losslessly; other colour spaces are refused by name. A
//! writer takes I420, NV12 and YUY2.
//!
//! `Decision:` own parser instead of a crate: a file that ends within a frame must give its whole frames and say so, no
//! header may decide how much is allocated, and a failed write must leave a file of whole frames.

mod reader;
mod writer;

pub use reader::{FramesEnd, Y4mReader};
pub use writer::Y4mWriter;

use super::video::{PixelLayout, VideoFormat};

/// The bytes of a picture in the file, without the line ahead of it.
fn picture_bytes(format: &VideoFormat) -> u64 {
    match format.layout() {
        PixelLayout::I420 | PixelLayout::Nv12 | PixelLayout::Rgb24 | PixelLayout::Bgra => format.frame_bytes() as u64,
        PixelLayout::Yuy2 => {
            let width = u64::from(format.width());
            (width + 2 * width.div_ceil(2)) * u64::from(format.height())
        }
    }
}
