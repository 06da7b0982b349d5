//! Reading Y4M files that may be long, cut short, or lying.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::io::{BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use crate::media::error::{FieldError, MediaError, Result, printable};
use crate::media::file::{LockedFile, open_input};
use crate::media::video::{ChromaSiting, ColorRange, Interlacing, PixelLayout, Ratio, VideoFormat};
use crate::media::y4m::picture_bytes;

/// How the frames of a file end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FramesEnd {
    /// The end has not been reached yet.
    NotReached,
    /// The file ends where a frame ends.
    Complete,
    /// The file ends within a frame, which is not given.
    Truncated {
        /// The index of the frame that is not whole.
        frame_index: u64,
        /// The bytes of its picture that are there.
        present_bytes: u64,
        /// The bytes that a whole picture has.
        expected_bytes: u64,
    },
}

/// Reads the frames of a Y4M file one by one.
///
/// A 4:2:0 file gives I420 frames, which are the file's bytes; a 4:2:2 file gives YUY2 frames. Buffers of the reader do
/// not depend on the header; who makes frames by its format may rely on it that an opened file holds at least one.
#[derive(Debug)]
pub struct Y4mReader<R = LockedFile> {
    input: BufReader<R>,
    path: PathBuf,
    format: VideoFormat,
    frame_index: u64,
    end: FramesEnd,
    /// The line ahead of the picture that is being read.
    frame_line: Vec<u8>,
    row: Vec<u8>,
}

const MAGIC: &[u8] = b"YUV4MPEG2";
const FRAME_MAGIC: &[u8] = b"FRAME";
const MAX_HEADER_BYTES: u64 = 4096;
/// For lines, and for the rows of small pictures; larger pieces go past it.
const INPUT_BUFFER_BYTES: usize = 16 * 1024;

impl Y4mReader<LockedFile> {
    /// Opens the Y4M file at `path` and reads up to the first frame.
    ///
    /// # Errors
    /// A file that cannot be opened, is no Y4M file, has a colour space other than 8-bit 4:2:0 and 4:2:2, or is too short
    /// for a single frame of the size that its header says; the error names the field.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = open_input(path)?;
        let file_bytes = file.metadata().map_err(|error| MediaError::io("read", path, error))?.len();
        let mut reader = Self::new(file, path)?;
        reader.hold_one_frame(file_bytes)?;
        Ok(reader)
    }

    /// Refuses a file that ends within its first frame: its header lies, or nothing was ever written behind it.
    fn hold_one_frame(&mut self, file_bytes: u64) -> Result<()> {
        let header_bytes = self.input.stream_position().map_err(|error| MediaError::io("read", &self.path, error))?;
        let record_bytes = picture_bytes(&self.format).saturating_add(FRAME_MAGIC.len() as u64).saturating_add(1);
        let least_bytes = header_bytes.saturating_add(record_bytes);
        if file_bytes >= least_bytes {
            return Ok(());
        }
        let (width, height) = (self.format.width(), self.format.height());
        let expected =
            format!("at least {least_bytes} for the header and one frame of {width}x{height}, which it says");
        let problem = FieldError::new("the file size", format!("{file_bytes} bytes"), expected);
        Err(MediaError::field("read", &self.path, problem))
    }
}

impl<R: Read> Y4mReader<R> {
    /// Reads a Y4M stream from `input`; errors call it `path`.
    ///
    /// # Errors
    /// As [`Y4mReader::open`].
    pub fn new(input: R, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let mut input = BufReader::with_capacity(INPUT_BUFFER_BYTES, input);
        let line = read_line(&mut input, &path)?;
        let format = parse_header(&line).map_err(|problem| MediaError::field("read", &path, problem))?;
        Ok(Self {
            input,
            path,
            format,
            frame_index: 0,
            end: FramesEnd::NotReached,
            frame_line: Vec::new(),
            row: Vec::new(),
        })
    }

    /// The format of the frames; its layout is I420 or YUY2.
    pub fn format(&self) -> &VideoFormat {
        &self.format
    }

    /// The frames read so far, which is the index of the next one.
    pub fn frame_index(&self) -> u64 {
        self.frame_index
    }

    /// How the frames end; final once [`read_frame`](Self::read_frame) returned 0.
    pub fn frames_end(&self) -> FramesEnd {
        self.end
    }

    /// Looks ahead: is there nothing after the last frame read? A file that ends within a frame says no.
    ///
    /// # Errors
    /// What the system says.
    pub fn is_at_end(&mut self) -> Result<bool> {
        if self.end == FramesEnd::NotReached {
            let ahead = self.input.fill_buf().map_err(|error| MediaError::io("read", &self.path, error))?;
            if ahead.is_empty() {
                self.end = FramesEnd::Complete;
            }
        }
        Ok(self.end != FramesEnd::NotReached)
    }

    /// Reads the next frame to the start of `frame`; returns its bytes, or 0 at the end of the file.
    ///
    /// At 0 the buffer may hold a part of a frame that is not whole.
    ///
    /// # Errors
    /// A buffer that is smaller than a frame, a damaged frame header, and what the system says.
    pub fn read_frame(&mut self, frame: &mut [u8]) -> Result<usize> {
        let frame_bytes = self.format.frame_bytes();
        let buffer_bytes = frame.len();
        let Some(frame) = frame.get_mut(..frame_bytes) else {
            return Err(FieldError::new(
                "the size of the frame buffer",
                buffer_bytes,
                format!("at least {frame_bytes}"),
            )
            .into());
        };
        if self.end != FramesEnd::NotReached || !self.read_frame_header()? {
            return Ok(0);
        }
        let outcome = match self.format.layout() {
            PixelLayout::Yuy2 => read_yuy2(&mut self.input, frame, self.format.width() as usize, &mut self.row),
            // A reader has I420 and YUY2 only.
            _ => read_counted(&mut self.input, frame),
        };
        let present_bytes = outcome.map_err(|error| MediaError::io("read", &self.path, error))?;
        let expected_bytes = picture_bytes(&self.format);
        if present_bytes < expected_bytes {
            self.end = FramesEnd::Truncated { frame_index: self.frame_index, present_bytes, expected_bytes };
            return Ok(0);
        }
        self.frame_index = self.frame_index.saturating_add(1);
        Ok(frame_bytes)
    }

    /// Reads the line ahead of a picture; false at the end of the file.
    fn read_frame_header(&mut self) -> Result<bool> {
        let line = &mut self.frame_line;
        line.clear();
        (&mut self.input)
            .take(MAX_HEADER_BYTES)
            .read_until(b'\n', line)
            .map_err(|error| MediaError::io("read", &self.path, error))?;
        if line.is_empty() {
            self.end = FramesEnd::Complete;
            return Ok(false);
        }
        let parameters = line.strip_prefix(FRAME_MAGIC);
        if line.ends_with(b"\n") && parameters.is_some_and(|p| p.starts_with(b" ") || p == b"\n") {
            return Ok(true);
        }
        let at_end = self.input.fill_buf().map_err(|error| MediaError::io("read", &self.path, error))?.is_empty();
        if at_end && (FRAME_MAGIC.starts_with(line) || parameters.is_some()) {
            self.end = FramesEnd::Truncated {
                frame_index: self.frame_index,
                present_bytes: 0,
                expected_bytes: picture_bytes(&self.format),
            };
            return Ok(false);
        }
        let problem = FieldError::new(
            "a frame header",
            format!("{} ahead of frame {}", printable(line), self.frame_index),
            "\"FRAME\" at the start of a line",
        );
        Err(MediaError::field("read", &self.path, problem))
    }
}

/// Reads until `target` is full or the input ends; returns the bytes read.
fn read_counted(input: &mut impl Read, target: &mut [u8]) -> std::io::Result<u64> {
    let mut filled = 0usize;
    while let Some(rest) = target.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(count) => filled = filled.saturating_add(count),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled as u64)
}

/// Reads three planes of 4:2:2 and weaves them into YUY2; returns the bytes read.
fn read_yuy2(input: &mut impl Read, frame: &mut [u8], width: usize, row: &mut Vec<u8>) -> std::io::Result<u64> {
    let chroma_width = width.div_ceil(2);
    let stride_bytes = chroma_width.saturating_mul(4);
    let mut total_bytes = 0u64;
    for plane in [Plane::Y, Plane::U, Plane::V] {
        let row_bytes = match plane {
            Plane::Y => width,
            Plane::U | Plane::V => chroma_width,
        };
        row.resize(row_bytes, 0);
        for target in frame.chunks_exact_mut(stride_bytes) {
            let count = read_counted(input, row)?;
            total_bytes = total_bytes.saturating_add(count);
            if count < row_bytes as u64 {
                return Ok(total_bytes);
            }
            plane.weave(row, target);
        }
    }
    Ok(total_bytes)
}

#[derive(Clone, Copy)]
enum Plane {
    Y,
    U,
    V,
}

impl Plane {
    /// Puts a row of the plane into its places of Y0 U Y1 V, luma first. Whole groups are written, which the compiler can
    /// turn into vector instructions.
    fn weave(self, row: &[u8], target: &mut [u8]) {
        match self {
            Self::Y => {
                for (pair, value) in target.as_chunks_mut().0.iter_mut().zip(row) {
                    *pair = [*value, 0];
                }
                if row.len() % 2 == 1
                    && let (Some(last), [.., padding, _]) = (row.last(), target)
                {
                    *padding = *last;
                }
            }
            Self::U => {
                for (quad, value) in target.as_chunks_mut().0.iter_mut().zip(row) {
                    let other = u32::from_le_bytes(*quad) & 0xFFFF_00FF;
                    *quad = (other | u32::from(*value) << 8).to_le_bytes();
                }
            }
            Self::V => {
                for (quad, value) in target.as_chunks_mut().0.iter_mut().zip(row) {
                    let other = u32::from_le_bytes(*quad) & 0x00FF_FFFF;
                    *quad = (other | u32::from(*value) << 24).to_le_bytes();
                }
            }
        }
    }
}

/// Reads the header line, without its end.
fn read_line(input: &mut impl BufRead, path: &Path) -> Result<Vec<u8>> {
    let mut line = Vec::new();
    input.take(MAX_HEADER_BYTES).read_until(b'\n', &mut line).map_err(|error| MediaError::io("read", path, error))?;
    let magic_bytes = line.len().min(MAGIC.len());
    let problem = if line.is_empty() {
        FieldError::new("the file size", "0 bytes", "a Y4M file, which begins with \"YUV4MPEG2\"")
    } else if !line.starts_with(MAGIC) {
        FieldError::new("the file magic", printable(line.get(..magic_bytes).unwrap_or_default()), "\"YUV4MPEG2\"")
    } else if line.pop_if(|last| *last == b'\n').is_none() {
        FieldError::new(
            "the header line",
            format!("without an end after {} bytes", line.len()),
            format!("a line of less than {MAX_HEADER_BYTES} bytes"),
        )
    } else {
        return Ok(line);
    };
    Err(MediaError::field("read", path, problem))
}

fn parse_header(line: &[u8]) -> std::result::Result<VideoFormat, FieldError> {
    let (mut width, mut height) = (None, None);
    let mut layout = PixelLayout::I420;
    let mut siting = ChromaSiting::Unknown;
    let mut frame_rate = Ratio::UNKNOWN;
    let mut pixel_aspect = Ratio::UNKNOWN;
    let mut interlacing = Interlacing::Unknown;
    let mut color_range = ColorRange::Unknown;
    for parameter in line.split(|byte| *byte == b' ').skip(1) {
        let Some((tag, value)) = parameter.split_first() else {
            continue;
        };
        match tag {
            b'W' => width = Some(parse_number("the width (W)", value)?),
            b'H' => height = Some(parse_number("the height (H)", value)?),
            b'F' => frame_rate = parse_ratio("the frame rate (F)", value)?,
            b'A' => pixel_aspect = parse_ratio("the pixel aspect (A)", value)?,
            b'C' => (layout, siting) = parse_color_space(value)?,
            b'I' => interlacing = parse_interlacing(value)?,
            b'X' if value == b"COLORRANGE=LIMITED" => color_range = ColorRange::Limited,
            b'X' if value == b"COLORRANGE=FULL" => color_range = ColorRange::Full,
            // Extensions, and tags of times to come, do not change what is read here.
            _ => {}
        }
    }
    let missing = |field| FieldError::new(field, "missing", "a number of pixels in the header line");
    let width = width.ok_or_else(|| missing("the width (W)"))?;
    let height = height.ok_or_else(|| missing("the height (H)"))?;
    let mut format = VideoFormat::new(layout, width, height)?;
    format.frame_rate = frame_rate;
    format.pixel_aspect = pixel_aspect;
    format.interlacing = interlacing;
    format.chroma_siting = siting;
    format.color_range = color_range;
    Ok(format)
}

fn parse_number(field: &'static str, value: &[u8]) -> std::result::Result<u32, FieldError> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value)
        .ok()
        .filter(|_| digits)
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| FieldError::new(field, printable(value), "a decimal number of 32 bits"))
}

fn parse_ratio(field: &'static str, value: &[u8]) -> std::result::Result<Ratio, FieldError> {
    let refuse = || FieldError::new(field, printable(value), "as in 30000:1001, or 0:0 for unknown");
    let colon = value.iter().position(|byte| *byte == b':').ok_or_else(refuse)?;
    let (numerator, denominator) = value.split_at_checked(colon).ok_or_else(refuse)?;
    let denominator = denominator.get(1..).ok_or_else(refuse)?;
    let ratio = Ratio::new(
        parse_number(field, numerator).map_err(|_| refuse())?,
        parse_number(field, denominator).map_err(|_| refuse())?,
    );
    if ratio.is_known() || ratio == Ratio::UNKNOWN { Ok(ratio) } else { Err(refuse()) }
}

fn parse_color_space(value: &[u8]) -> std::result::Result<(PixelLayout, ChromaSiting), FieldError> {
    match value {
        b"420" => Ok((PixelLayout::I420, ChromaSiting::Unknown)),
        b"420jpeg" => Ok((PixelLayout::I420, ChromaSiting::Jpeg)),
        b"420mpeg2" => Ok((PixelLayout::I420, ChromaSiting::Mpeg2)),
        b"420paldv" => Ok((PixelLayout::I420, ChromaSiting::PalDv)),
        b"422" => Ok((PixelLayout::Yuy2, ChromaSiting::Unknown)),
        _ => Err(FieldError::new(
            "the colour space (C)",
            printable(value),
            "420, 420jpeg, 420mpeg2, 420paldv or 422; convert the file first, as with ffmpeg -pix_fmt yuv420p",
        )),
    }
}

fn parse_interlacing(value: &[u8]) -> std::result::Result<Interlacing, FieldError> {
    match value {
        b"?" => Ok(Interlacing::Unknown),
        b"p" => Ok(Interlacing::Progressive),
        b"t" => Ok(Interlacing::TopFirst),
        b"b" => Ok(Interlacing::BottomFirst),
        b"m" => Ok(Interlacing::Mixed),
        _ => Err(FieldError::new("the interlacing (I)", printable(value), "?, p, t, b or m")),
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests")]
mod tests {
    use super::*;
    use crate::media::file::tests::Scratch;
    use proptest::prelude::*;

    fn reader(bytes: &[u8]) -> Result<Y4mReader<&[u8]>> {
        Y4mReader::new(bytes, "test.y4m")
    }

    #[test]
    fn a_header_is_read_with_all_it_says() {
        let line = b"YUV4MPEG2 W720 H576 F25:1 It A16:11 C420mpeg2 XYSCSS=420MPEG2 XCOLORRANGE=LIMITED\n";
        let format = *reader(line).unwrap().format();
        let mut expected = VideoFormat::new(PixelLayout::I420, 720, 576).unwrap();
        expected.frame_rate = Ratio::new(25, 1);
        expected.pixel_aspect = Ratio::new(16, 11);
        expected.interlacing = Interlacing::TopFirst;
        expected.chroma_siting = ChromaSiting::Mpeg2;
        expected.color_range = ColorRange::Limited;
        assert_eq!(format, expected);
    }

    #[test]
    fn a_file_of_two_frames_ends_complete() {
        let bytes = b"YUV4MPEG2 W3 H1\nFRAME\nabcUUVVFRAME Ip\ndefuuvv";
        let mut reader = reader(bytes).unwrap();
        let mut frame = [0; 7];
        assert_eq!(reader.read_frame(&mut frame).unwrap(), 7);
        assert_eq!(&frame, b"abcUUVV");
        assert!(!reader.is_at_end().unwrap());
        assert_eq!(reader.read_frame(&mut frame).unwrap(), 7);
        assert_eq!(&frame, b"defuuvv");
        assert!(reader.is_at_end().unwrap());
        assert_eq!(reader.read_frame(&mut frame).unwrap(), 0);
        assert_eq!(reader.frames_end(), FramesEnd::Complete);
        assert_eq!(reader.frame_index(), 2);
    }

    #[test]
    fn planes_of_422_are_woven_into_yuy2() {
        let bytes = b"YUV4MPEG2 W3 H2 C422\nFRAME\nabcdefUVWXuvwx";
        let mut reader = reader(bytes).unwrap();
        let mut frame = [0; 16];
        assert_eq!(reader.read_frame(&mut frame).unwrap(), 16);
        assert_eq!(&frame, b"aUbucVcvdWewfXfx");
    }

    #[test]
    fn a_cut_frame_is_not_given_but_reported() {
        for header in [&b"YUV4MPEG2 W4 H2 C420\n"[..], b"YUV4MPEG2 W3 H2 C422\n"] {
            let mut file = header.to_vec();
            let picture_bytes = if header.ends_with(b"C420\n") { 12 } else { 14 };
            for _ in 0..2 {
                file.extend(b"FRAME\n");
                file.extend(vec![1; picture_bytes]);
            }
            let second = file.len() - picture_bytes - 6;
            for length in second + 1..file.len() {
                let mut reader = reader(&file[..length]).unwrap();
                let mut frame = [0; 16];
                assert!(reader.read_frame(&mut frame).unwrap() > 0);
                assert_eq!(reader.read_frame(&mut frame).unwrap(), 0);
                let expected = FramesEnd::Truncated {
                    frame_index: 1,
                    present_bytes: length.saturating_sub(second + 6) as u64,
                    expected_bytes: picture_bytes as u64,
                };
                assert_eq!(reader.frames_end(), expected, "cut at {length}");
                assert_eq!(reader.read_frame(&mut frame).unwrap(), 0);
            }
        }
    }

    #[test]
    fn each_refusal_names_the_file_and_the_culprit() {
        let refusal = |bytes: &[u8], said: &str| {
            let error = reader(bytes).unwrap_err().to_string();
            assert!(error.contains("test.y4m"), "{error}");
            assert!(error.contains(said), "{error}");
        };
        refusal(b"", "the file size is 0 bytes");
        refusal(b"RIFFxxxxAVI LIST", "\"RIFFxxxxA\"");
        refusal(b"YUV4MPEG2 W2 H2", "without an end");
        refusal(&[b"YUV4MPEG2".as_slice(), &[b' '; 9000]].concat(), "without an end");
        refusal(b"YUV4MPEG2 H2\n", "the width (W) is missing");
        refusal(b"YUV4MPEG2 W2\n", "the height (H) is missing");
        refusal(b"YUV4MPEG2 W-2 H2\n", "\"-2\"");
        refusal(b"YUV4MPEG2 W+2 H2\n", "\"+2\"");
        refusal(b"YUV4MPEG2 W99999999999 H2\n", "\"99999999999\"");
        refusal(b"YUV4MPEG2 W16385 H2\n", "the width is 16385");
        refusal(b"YUV4MPEG2 W2 H0\n", "the height is 0");
        refusal(b"YUV4MPEG2 W2 H2 F30:0\n", "\"30:0\"");
        refusal(b"YUV4MPEG2 W2 H2 F30\n", "\"30\"");
        refusal(b"YUV4MPEG2 W2 H2 Ix\n", "\"x\"");
        refusal(b"YUV4MPEG2 W2 H2 Cmono\n", "\"mono\"");
        refusal(b"YUV4MPEG2 W2 H2 C444\n", "\"444\"");
        refusal(b"YUV4MPEG2 W2 H2 C420p10\n", "\"420p10\"");
    }

    #[test]
    fn a_file_too_short_for_the_frame_that_its_header_says_is_refused_when_it_is_opened() {
        let scratch = Scratch::new("y4m-short");
        let path = scratch.file("lying.y4m");
        let open = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            Y4mReader::open(&path)
        };
        let header = b"YUV4MPEG2 W16384 H16384 F30:1 C420\n";
        let said = open(header).unwrap_err().to_string();
        for words in ["lying.y4m", "16384x16384", "the file size is 35 bytes", "at least 402653225"] {
            assert!(said.contains(words), "{said}");
        }
        for (header, picture_bytes) in [(&b"YUV4MPEG2 W4 H2\n"[..], 12), (b"YUV4MPEG2 W3 H2 C422\n", 14)] {
            let file = [header, b"FRAME\n", &vec![1; picture_bytes]].concat();
            assert!(open(&file[..file.len() - 1]).is_err());
            let mut reader = open(&file).unwrap();
            assert!(reader.read_frame(&mut [0; 16]).unwrap() > 0);
        }
    }

    #[test]
    fn garbage_between_frames_is_refused_with_the_frame_number() {
        let mut reader = reader(b"YUV4MPEG2 W1 H1\nFRAME\nabcGARBAGE\nabc").unwrap();
        let mut frame = [0; 3];
        assert_eq!(reader.read_frame(&mut frame).unwrap(), 3);
        let error = reader.read_frame(&mut frame).unwrap_err().to_string();
        assert!(error.contains("ahead of frame 1"), "{error}");
    }

    #[test]
    fn a_buffer_smaller_than_a_frame_is_refused() {
        let mut reader = reader(b"YUV4MPEG2 W4 H4\nFRAME\n").unwrap();
        assert!(reader.read_frame(&mut [0; 23]).is_err());
    }

    proptest! {
        #[test]
        fn a_damaged_file_never_panics(
            damage in prop::collection::vec((0usize..70, any::<u8>()), 1..8),
        ) {
            let mut file = b"YUV4MPEG2 W3 H2 F30:1 Ip A1:1 C422\nFRAME\nabcdefUVWXuvwxFRAME\nabcdefUVWXuvwx".to_vec();
            for (offset, value) in damage {
                let length = file.len();
                file[offset % length] = value;
            }
            if let Ok(mut reader) = reader(&file) {
                let mut frame = vec![0; reader.format().frame_bytes().min(1 << 20)];
                while matches!(reader.read_frame(&mut frame), Ok(1..)) {}
            }
        }

        #[test]
        fn arbitrary_parameters_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let file = [b"YUV4MPEG2 ".as_slice(), &bytes, b"\n"].concat();
            let _ = reader(&file);
        }
    }
}
