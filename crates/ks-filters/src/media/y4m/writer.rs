//! Writing Y4M files that stay readable to their last whole frame, whatever happens.

use std::io;
use std::path::{Path, PathBuf};

use crate::media::error::{FieldError, MediaError, Result};
use crate::media::file::{LockedFile, Output, create_output, write_counted};
use crate::media::video::{ChromaSiting, ColorRange, Interlacing, PixelLayout, VideoFormat};
use crate::media::y4m::picture_bytes;

/// Writes frames to a Y4M file: I420 as it is, NV12 with its chroma taken apart, YUY2 as 4:2:2.
///
/// Small frames are gathered and written many at once, large ones go to the file without a copy. After a failed write
/// the file is cut back to its last whole frame, where it can be cut.
#[derive(Debug)]
pub struct Y4mWriter<W: Output = LockedFile> {
    output: W,
    path: PathBuf,
    format: VideoFormat,
    header_bytes: u64,
    /// The bytes of one frame in the file, its header line included.
    record_bytes: u64,
    /// The bytes that are in the file.
    written_bytes: u64,
    frames: u64,
    buffer: Vec<u8>,
    planes: Vec<u8>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Writing,
    Failed,
    Finished,
}

const FRAME_HEADER: &[u8] = b"FRAME\n";
const BUFFER_BYTES: usize = 256 * 1024;

impl Y4mWriter<LockedFile> {
    /// Creates, or empties, the file at `path` and writes the header.
    ///
    /// # Errors
    /// What the system says, or that the file is open elsewhere.
    pub fn create(path: impl AsRef<Path>, format: &VideoFormat) -> Result<Self> {
        let path = path.as_ref();
        Self::new(create_output(path)?, path, format)
    }
}

impl<W: Output> Y4mWriter<W> {
    /// Writes a Y4M stream to the empty `output`; errors call it `path`.
    ///
    /// # Errors
    /// Refuses RGB, which such a file does not hold; what the system says when the header is written.
    pub fn new(output: W, path: impl AsRef<Path>, format: &VideoFormat) -> Result<Self> {
        if format.layout().is_rgb() {
            return Err(FieldError::new("the layout", "RGB", "I420, NV12 or YUY2; convert the frames first").into());
        }
        let header = header_line(format);
        let mut writer = Self {
            output,
            path: path.as_ref().to_owned(),
            format: *format,
            header_bytes: header.len() as u64,
            record_bytes: FRAME_HEADER.len() as u64 + picture_bytes(format),
            written_bytes: 0,
            frames: 0,
            buffer: Vec::new(),
            planes: Vec::new(),
            state: State::Writing,
        };
        writer.append(header.as_bytes())?;
        Ok(writer)
    }

    /// The format of the frames.
    pub fn format(&self) -> &VideoFormat {
        &self.format
    }

    /// The frames taken so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Appends one frame in the format's layout.
    ///
    /// # Errors
    /// A frame of another size than the format's (the file is not harmed), and what the system says; after that the
    /// file ends at its last whole frame and every later write fails too.
    pub fn write_frame(&mut self, frame: &[u8]) -> Result<()> {
        if self.state != State::Writing {
            return Err(MediaError::Limit {
                doing: "write",
                path: self.path.clone(),
                limit: "an earlier write to this file failed".to_owned(),
                advice: "see the first error",
            });
        }
        let frame_bytes = self.format.frame_bytes();
        if frame.len() != frame_bytes {
            let problem = FieldError::new(
                "the frame size",
                format!("{} bytes", frame.len()),
                format!("{frame_bytes} bytes, as of every frame of this format"),
            );
            return Err(MediaError::field("write", &self.path, problem));
        }
        // Made by the first frame: who only creates a file pays for its header alone.
        self.buffer.reserve_exact(BUFFER_BYTES - self.buffer.len());
        self.append(FRAME_HEADER)?;
        let (width, height) = (self.format.width() as usize, self.format.height() as usize);
        match self.format.layout() {
            PixelLayout::I420 | PixelLayout::Rgb24 | PixelLayout::Bgra => self.append(frame)?,
            PixelLayout::Nv12 => {
                let (luma, chroma) = frame.split_at(width * height);
                self.append(luma)?;
                let mut planes = std::mem::take(&mut self.planes);
                planes.resize(chroma.len(), 0);
                let (u_plane, v_plane) = planes.split_at_mut(chroma.len() / 2);
                split_pairs(chroma, u_plane, v_plane);
                let outcome = self.append(&planes);
                self.planes = planes;
                outcome?;
            }
            PixelLayout::Yuy2 => {
                let mut planes = std::mem::take(&mut self.planes);
                planes.resize(self.record_bytes as usize - FRAME_HEADER.len(), 0);
                split_yuy2(frame, &mut planes, width, height);
                let outcome = self.append(&planes);
                self.planes = planes;
                outcome?;
            }
        }
        self.frames += 1;
        Ok(())
    }

    /// Hands what is buffered to the system.
    ///
    /// # Errors
    /// As [`write_frame`](Self::write_frame).
    pub fn flush(&mut self) -> Result<()> {
        if self.state != State::Writing {
            return Ok(());
        }
        self.write_buffer()?;
        self.output.flush().map_err(|error| self.fail(error))
    }

    /// Completes the file.
    ///
    /// # Errors
    /// As [`write_frame`](Self::write_frame). After an earlier failure the file is already as complete as it can be,
    /// and this is Ok.
    pub fn finish(mut self) -> Result<()> {
        self.flush()?;
        self.state = State::Finished;
        Ok(())
    }

    /// Buffers small pieces; sends large ones on directly.
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.write_buffer()?;
        }
        if bytes.len() >= BUFFER_BYTES / 2 {
            // The buffered header line goes first, so that order is kept.
            self.write_buffer()?;
            return self.write_out(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn write_buffer(&mut self) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let outcome = self.write_out(&buffer);
        buffer.clear();
        self.buffer = buffer;
        outcome
    }

    fn write_out(&mut self, bytes: &[u8]) -> Result<()> {
        let (count, outcome) = write_counted(&mut self.output, bytes);
        self.written_bytes += count;
        outcome.map_err(|error| self.fail(error))
    }

    /// After a failed write: cuts the file to whole frames, best effort, and gives the error to return.
    fn fail(&mut self, error: io::Error) -> MediaError {
        self.state = State::Failed;
        self.buffer.clear();
        if let Some(picture_bytes) = self.written_bytes.checked_sub(self.header_bytes) {
            let whole_bytes = picture_bytes - picture_bytes % self.record_bytes;
            self.frames = whole_bytes / self.record_bytes;
            self.written_bytes = self.header_bytes + whole_bytes;
            // A pipe cannot be cut; its reader sees a frame that is not whole.
            let _ = self.output.truncate(self.written_bytes);
        }
        MediaError::io("write", &self.path, error)
    }
}

impl<W: Output> Drop for Y4mWriter<W> {
    fn drop(&mut self) {
        // The file ends at its last whole frame either way, and nobody is left to tell.
        let _ = self.flush();
    }
}

/// Takes pairs of bytes apart, in pieces that stay in the cache, each half by itself: so the compiler can use vector
/// instructions.
fn split_pairs(pairs: &[u8], first: &mut [u8], second: &mut [u8]) {
    const PIECE: usize = 2048;
    let halves = first.chunks_mut(PIECE).zip(second.chunks_mut(PIECE));
    for (pairs, (first, second)) in pairs.chunks(2 * PIECE).zip(halves) {
        for ([byte, _], target) in pairs.as_chunks().0.iter().zip(first) {
            *target = *byte;
        }
        for (pair, target) in pairs.as_chunks().0.iter().zip(second) {
            *target = (u16::from_le_bytes(*pair) >> 8) as u8;
        }
    }
}

fn split_yuy2(frame: &[u8], planes: &mut [u8], width: usize, height: usize) {
    let chroma_width = width.div_ceil(2);
    let (luma, chroma) = planes.split_at_mut(width * height);
    let (u_plane, v_plane) = chroma.split_at_mut(chroma_width * height);
    let rows = frame.chunks_exact(chroma_width * 4);
    let targets = luma
        .chunks_exact_mut(width)
        .zip(u_plane.chunks_exact_mut(chroma_width))
        .zip(v_plane.chunks_exact_mut(chroma_width));
    for (row, ((luma, u_row), v_row)) in rows.zip(targets) {
        for ([from, _], value) in row.as_chunks().0.iter().zip(luma) {
            *value = *from;
        }
        for (([_, from_u, _, from_v], u), v) in row.as_chunks().0.iter().zip(u_row).zip(v_row) {
            (*u, *v) = (*from_u, *from_v);
        }
    }
}

fn header_line(format: &VideoFormat) -> String {
    let interlacing = match format.interlacing {
        // A mixed file would have to say for every frame how its lines were taken, which frames do not carry here.
        Interlacing::Unknown | Interlacing::Mixed => '?',
        Interlacing::Progressive => 'p',
        Interlacing::TopFirst => 't',
        Interlacing::BottomFirst => 'b',
    };
    let color_space = match (format.layout(), format.chroma_siting) {
        (PixelLayout::Yuy2, _) => "422",
        (_, ChromaSiting::Unknown | ChromaSiting::Jpeg) => "420jpeg",
        (_, ChromaSiting::Mpeg2) => "420mpeg2",
        (_, ChromaSiting::PalDv) => "420paldv",
    };
    let color_range = match format.color_range {
        ColorRange::Unknown => "",
        ColorRange::Limited => " XCOLORRANGE=LIMITED",
        ColorRange::Full => " XCOLORRANGE=FULL",
    };
    let (rate, aspect) = (format.frame_rate, format.pixel_aspect);
    format!(
        "YUV4MPEG2 W{} H{} F{}:{} I{interlacing} A{}:{} C{color_space}{color_range}\n",
        format.width(),
        format.height(),
        rate.numerator,
        rate.denominator,
        aspect.numerator,
        aspect.denominator,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::file::tests::{Scratch, SmallDisk};
    use crate::media::video::Ratio;
    use crate::media::y4m::{FramesEnd, Y4mReader};
    use proptest::prelude::*;

    fn format(layout: PixelLayout, width: u32, height: u32) -> VideoFormat {
        let mut format = VideoFormat::new(layout, width, height).unwrap();
        format.frame_rate = Ratio::new(30_000, 1001);
        format.pixel_aspect = Ratio::new(1, 1);
        format.interlacing = Interlacing::Progressive;
        format
    }

    fn noise(count: usize, seed: u32) -> Vec<u8> {
        (0..count as u32).map(|i| (i.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 24) as u8).collect()
    }

    #[test]
    fn files_are_as_other_programs_write_them() {
        let mut output = SmallDisk::new(u64::MAX);
        let mut writer = Y4mWriter::new(&mut output, "test.y4m", &format(PixelLayout::Nv12, 3, 2)).unwrap();
        writer.write_frame(b"abcdefUVuv").unwrap();
        writer.finish().unwrap();
        assert_eq!(
            output.file.get_ref().as_slice(),
            b"YUV4MPEG2 W3 H2 F30000:1001 Ip A1:1 C420jpeg\nFRAME\nabcdefUuVv"
        );
        let mut output = SmallDisk::new(u64::MAX);
        let mut writer = Y4mWriter::new(&mut output, "test.y4m", &format(PixelLayout::Yuy2, 3, 2)).unwrap();
        writer.write_frame(b"aUbucVcvdWewfXfx").unwrap();
        writer.finish().unwrap();
        assert_eq!(
            output.file.get_ref().as_slice(),
            b"YUV4MPEG2 W3 H2 F30000:1001 Ip A1:1 C422\nFRAME\nabcdefUVWXuvwx"
        );
    }

    #[test]
    fn frames_come_back_as_they_were_written_at_small_large_and_odd_sizes() {
        let scratch = Scratch::new("y4m-round-trip");
        for layout in [PixelLayout::I420, PixelLayout::Yuy2] {
            for (width, height) in [(1, 1), (2, 2), (5, 3), (64, 49), (721, 576)] {
                let format = format(layout, width, height);
                let path = scratch.file("a.y4m");
                let mut frames: Vec<_> = (0..5).map(|i| noise(format.frame_bytes(), i * 77)).collect();
                let mut writer = Y4mWriter::create(&path, &format).unwrap();
                for frame in &mut frames {
                    if layout == PixelLayout::Yuy2 && width % 2 == 1 {
                        for row in frame.chunks_exact_mut(width as usize * 2 + 2) {
                            row[width as usize * 2] = row[width as usize * 2 - 2];
                        }
                    }
                    writer.write_frame(frame).unwrap();
                }
                writer.finish().unwrap();
                let mut reader = Y4mReader::open(&path).unwrap();
                let mut expected = format;
                if layout != PixelLayout::Yuy2 {
                    expected.chroma_siting = ChromaSiting::Jpeg;
                }
                assert_eq!(*reader.format(), expected);
                let mut frame = vec![0; format.frame_bytes()];
                for expected in &frames {
                    assert_eq!(reader.read_frame(&mut frame).unwrap(), frame.len());
                    assert!(&frame == expected, "{layout:?} {width}x{height}");
                }
                assert_eq!(reader.read_frame(&mut frame).unwrap(), 0);
                assert_eq!(reader.frames_end(), FramesEnd::Complete);
            }
        }
    }

    #[test]
    fn a_frame_of_another_size_is_refused_and_the_file_unharmed() {
        let mut output = SmallDisk::new(u64::MAX);
        let mut writer = Y4mWriter::new(&mut output, "test.y4m", &format(PixelLayout::I420, 2, 2)).unwrap();
        writer.write_frame(b"abcdef").unwrap();
        let error = writer.write_frame(b"abcdefg").unwrap_err().to_string();
        assert!(error.contains("the frame size is 7 bytes, expected 6"), "{error}");
        writer.write_frame(b"ghijkl").unwrap();
        drop(writer);
        assert!(output.file.get_ref().ends_with(b"FRAME\nabcdefFRAME\nghijkl"));
    }

    #[test]
    fn a_full_device_is_an_error_that_names_it() {
        let format = format(PixelLayout::I420, 2, 2);
        let writer = Y4mWriter::create("/dev/full", &format).unwrap();
        let error = writer.finish().unwrap_err();
        assert_eq!(error.io_kind(), Some(io::ErrorKind::StorageFull));
        assert!(error.to_string().contains("/dev/full"), "{error}");
    }

    proptest! {
        #[test]
        fn a_disk_that_fills_up_leaves_a_file_of_whole_frames(
            capacity_bytes in 60u64..2_000_000,
            width in 1u32..700,
            height in 1u32..500,
            layout in prop::sample::select(&[PixelLayout::I420, PixelLayout::Nv12, PixelLayout::Yuy2][..]),
        ) {
            let format = format(layout, width, height);
            let frame = noise(format.frame_bytes(), 5);
            let mut output = SmallDisk::new(capacity_bytes);
            let mut writer = Y4mWriter::new(&mut output, "test.y4m", &format).unwrap();
            let error = (0..3_000_000).find_map(|_| writer.write_frame(&frame).err()).unwrap();
            prop_assert_eq!(error.io_kind(), Some(io::ErrorKind::StorageFull));
            prop_assert!(writer.write_frame(&frame).is_err());
            let frames = writer.frames();
            drop(writer);
            let file = output.file.get_ref();
            prop_assert!(file.len() as u64 + picture_bytes(&format) + 6 > capacity_bytes);
            let mut reader = Y4mReader::new(file.as_slice(), "test.y4m").unwrap();
            let mut buffer = vec![0; format.frame_bytes()];
            while reader.read_frame(&mut buffer).unwrap() > 0 {}
            prop_assert_eq!(reader.frame_index(), frames);
            prop_assert_eq!(reader.frames_end(), FramesEnd::Complete);
        }
    }
}
