//! Reading WAV files that may be long, cut short, still being written, or lying.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::io::{BufReader, ErrorKind, Read, SeekFrom};
use std::path::{Path, PathBuf};

use crate::media::audio::AudioFormat;
use crate::media::error::{FieldError, MediaError, Result, printable};
use crate::media::file::{Input, LockedFile, open_input};

/// How the sample data of a file ends, compared with what its header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataEnd {
    /// The header's size is right.
    Complete,
    /// The header says no size, as that of a stream or of a recording that was interrupted: the data ends with the file.
    Unsized,
    /// The file is shorter than its header says; what is there can be read.
    Truncated {
        /// The data bytes that the header promises.
        declared_bytes: u64,
        /// The data bytes that are there.
        present_bytes: u64,
    },
}

/// Reads the samples of a WAV file as raw interleaved bytes.
///
/// Understands RIFF and RF64 files with WAVEFORMATEX or WAVEFORMATEXTENSIBLE formats of integer and floating-point PCM;
/// chunks that it does not know are passed over. Never allocates by what a header claims.
#[derive(Debug)]
pub struct WavReader<R = LockedFile> {
    input: BufReader<R>,
    path: PathBuf,
    format: AudioFormat,
    end: DataEnd,
    present_bytes: u64,
    remaining_bytes: u64,
    next_block: u64,
}

/// So many chunks may come before the data; a file with more is not meant to be read.
const MAX_CHUNKS: u32 = 4096;
/// For chunk headers and small reads; larger ones go past it.
const INPUT_BUFFER_BYTES: usize = 16 * 1024;
const UNSIZED: u32 = u32::MAX;

impl WavReader<LockedFile> {
    /// Opens the WAV file at `path` and reads up to the first sample.
    ///
    /// # Errors
    /// A file that cannot be opened, is no WAV file, or has a format that is not PCM; the error names the field.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::new(open_input(path)?, path)
    }
}

impl<R: Input> WavReader<R> {
    /// Reads a WAV file from its first byte in `input`; errors call it `path`.
    ///
    /// # Errors
    /// As [`WavReader::open`].
    pub fn new(mut input: R, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let io = |error| MediaError::io("read", &path, error);
        let file_bytes = input.seek(SeekFrom::End(0)).map_err(io)?;
        input.seek(SeekFrom::Start(0)).map_err(io)?;
        let mut parser =
            Parser { input: BufReader::with_capacity(INPUT_BUFFER_BYTES, input), path, file_bytes, position: 0 };
        let (format, end, present_bytes) = parser.parse_to_data()?;
        let block_bytes = format.block_bytes() as u64;
        let whole_bytes = present_bytes.checked_div(block_bytes).unwrap_or(0);
        Ok(Self {
            input: parser.input,
            path: parser.path,
            format,
            end,
            present_bytes,
            remaining_bytes: whole_bytes.saturating_mul(block_bytes),
            next_block: 0,
        })
    }

    /// The format of the samples.
    pub fn format(&self) -> &AudioFormat {
        &self.format
    }

    /// The blocks read so far, which is the index of the next one.
    pub fn next_block(&self) -> u64 {
        self.next_block
    }

    /// The bytes of whole blocks that are still to be read.
    pub fn remaining_bytes(&self) -> u64 {
        self.remaining_bytes
    }

    /// How the data ends; final once [`read`](Self::read) returned 0.
    pub fn data_end(&self) -> DataEnd {
        self.end
    }

    /// The bytes after the last whole block, which are never returned.
    pub fn partial_block_bytes(&self) -> u64 {
        let block_bytes = self.format.block_bytes() as u64;
        self.present_bytes.checked_rem(block_bytes).unwrap_or(0)
    }

    /// Reads as many whole blocks as fit into `buffer` and the file has; returns their bytes, 0 at the end.
    ///
    /// # Errors
    /// A buffer that is smaller than one block, and what the system says.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let block_bytes = self.format.block_bytes();
        let whole = |bytes: usize| bytes.saturating_sub(bytes.checked_rem(block_bytes).unwrap_or(0));
        let room_bytes = whole(buffer.len());
        if room_bytes == 0 {
            return Err(FieldError::new(
                "the size of the read buffer",
                buffer.len(),
                format!("at least one block of {block_bytes} bytes"),
            )
            .into());
        }
        let wanted = usize::try_from(self.remaining_bytes).map_or(room_bytes, |r| r.min(room_bytes));
        let target = buffer.get_mut(..wanted).unwrap_or_default();
        let count = read_fully(&mut self.input, target).map_err(|error| MediaError::io("read", &self.path, error))?;
        self.remaining_bytes = self.remaining_bytes.saturating_sub(count as u64);
        if count < wanted {
            // The file became shorter while it was read.
            let declared_bytes = match self.end {
                DataEnd::Truncated { declared_bytes, .. } => declared_bytes,
                DataEnd::Complete | DataEnd::Unsized => self.present_bytes,
            };
            self.present_bytes = self.present_bytes.saturating_sub(self.remaining_bytes);
            self.end = DataEnd::Truncated { declared_bytes, present_bytes: self.present_bytes };
            self.remaining_bytes = 0;
        }
        let count = whole(count);
        self.next_block = self.next_block.saturating_add(count.checked_div(block_bytes).unwrap_or(0) as u64);
        Ok(count)
    }
}

/// Reads until `target` is full or the input ends.
fn read_fully(input: &mut impl Read, target: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0usize;
    while let Some(rest) = target.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(count) => filled = filled.saturating_add(count),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

struct Parser<R> {
    input: BufReader<R>,
    path: PathBuf,
    file_bytes: u64,
    position: u64,
}

/// What a container's first twelve bytes say.
#[derive(PartialEq, Eq)]
enum Container {
    Riff,
    Rf64,
}

impl<R: Input> Parser<R> {
    fn refuse<T>(&self, problem: FieldError) -> Result<T> {
        Err(MediaError::field("read", &self.path, problem))
    }

    /// Reads into the front of `target` what the file still has; returns the bytes read.
    fn take(&mut self, target: &mut [u8]) -> Result<usize> {
        let count = read_fully(&mut self.input, target).map_err(|error| MediaError::io("read", &self.path, error))?;
        self.position = self.position.saturating_add(count as u64);
        Ok(count)
    }

    fn left_bytes(&self) -> u64 {
        self.file_bytes.saturating_sub(self.position)
    }

    fn skip(&mut self, bytes: u64) -> Result<()> {
        let bytes = bytes.min(self.left_bytes());
        let offset = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.input.seek_relative(offset).map_err(|error| MediaError::io("read", &self.path, error))?;
        self.position = self.position.saturating_add(bytes);
        Ok(())
    }

    fn parse_to_data(&mut self) -> Result<(AudioFormat, DataEnd, u64)> {
        let (container, riff_bytes) = self.parse_container()?;
        let mut format = None;
        let mut long_data_bytes = None;
        for _ in 0..MAX_CHUNKS {
            let mut header = [0u8; 8];
            let count = self.take(&mut header)?;
            let [i0, i1, i2, i3, s0, s1, s2, s3] = header;
            let id = [i0, i1, i2, i3];
            let size = u32::from_le_bytes([s0, s1, s2, s3]);
            if count < header.len() {
                let missing = if format.is_none() { "fmt" } else { "data" };
                return self.refuse(FieldError::new(
                    "the list of chunks",
                    format!("at its end after {} bytes", self.file_bytes),
                    format!("a {missing} chunk before that"),
                ));
            }
            if &id == b"data" {
                let Some(format) = format else {
                    return self.refuse(FieldError::new(
                        "the first chunk of sample data",
                        "ahead of the format",
                        "a fmt chunk before the data chunk",
                    ));
                };
                let (end, present_bytes) = self.data_end(size, riff_bytes, long_data_bytes);
                return Ok((format, end, present_bytes));
            }
            // Chunks are padded to even sizes; the pad byte may be missing at the very end.
            let padded_bytes = u64::from(size).saturating_add(u64::from(size & 1));
            if u64::from(size) > self.left_bytes() {
                return self.refuse(FieldError::new(
                    "a chunk size",
                    format!("{size} in chunk {}", printable(&id)),
                    format!("at most the {} bytes left in the file", self.left_bytes()),
                ));
            }
            let mut body = [0u8; 40];
            let wanted = usize::try_from(size).map_or(body.len(), |size| size.min(body.len()));
            let is_format = &id == b"fmt " && format.is_none();
            let is_long_sizes = &id == b"ds64" && container == Container::Rf64;
            if !is_format && !is_long_sizes {
                self.skip(padded_bytes)?;
                continue;
            }
            let count = self.take(body.get_mut(..wanted).unwrap_or_default())?;
            let body = body.get(..count).unwrap_or_default();
            if is_format {
                match AudioFormat::from_wave_format(body) {
                    Ok(found) => format = Some(found),
                    Err(problem) => return self.refuse(problem),
                }
            } else {
                long_data_bytes = body.get(8..).and_then(<[u8]>::first_chunk).map(|bytes| u64::from_le_bytes(*bytes));
            }
            self.skip(padded_bytes.saturating_sub(count as u64))?;
        }
        self.refuse(FieldError::new("the number of chunks before the data", format!("more than {MAX_CHUNKS}"), "fewer"))
    }

    fn parse_container(&mut self) -> Result<(Container, u32)> {
        let mut header = [0u8; 12];
        let count = self.take(&mut header)?;
        let [i0, i1, i2, i3, s0, s1, s2, s3, form @ ..] = header;
        let id = [i0, i1, i2, i3];
        if count < header.len() {
            return self.refuse(FieldError::new(
                "the file size",
                format!("{} bytes", self.file_bytes),
                "a WAV file, which has at least a header of 12 bytes and two chunks",
            ));
        }
        let container = match &id {
            b"RIFF" => Container::Riff,
            b"RF64" | b"BW64" => Container::Rf64,
            b"RIFX" => {
                return self.refuse(FieldError::new(
                    "the file magic",
                    "RIFX (big-endian)",
                    "RIFF or RF64; convert the file to a little-endian WAV first",
                ));
            }
            _ => {
                return self.refuse(FieldError::new(
                    "the file magic",
                    printable(&id),
                    "\"RIFF\" or \"RF64\", as a WAV file begins",
                ));
            }
        };
        if &form != b"WAVE" {
            return self.refuse(FieldError::new("the RIFF form type", printable(&form), "\"WAVE\""));
        }
        Ok((container, u32::from_le_bytes([s0, s1, s2, s3])))
    }

    /// Weighs the size that the data chunk claims against the file.
    fn data_end(&self, size: u32, riff_bytes: u32, long_data_bytes: Option<u64>) -> (DataEnd, u64) {
        let left_bytes = self.left_bytes();
        let declared_bytes = match (size, long_data_bytes) {
            (UNSIZED, Some(long)) if long != u64::MAX && long != 0 => long,
            (UNSIZED, _) => return (DataEnd::Unsized, left_bytes),
            // An empty data chunk in a file whose size is right is empty; otherwise nobody came back to write the sizes.
            (0, _) => {
                let told_bytes = u64::from(riff_bytes).saturating_add(8);
                let told_right = told_bytes.abs_diff(self.file_bytes) <= 1;
                if left_bytes == 0 || told_right {
                    return (DataEnd::Complete, 0);
                }
                return (DataEnd::Unsized, left_bytes);
            }
            (size, _) => u64::from(size),
        };
        if declared_bytes > left_bytes {
            let end = DataEnd::Truncated { declared_bytes, present_bytes: left_bytes };
            return (end, left_bytes);
        }
        (DataEnd::Complete, declared_bytes)
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests")]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    fn chunk(id: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let mut bytes = id.to_vec();
        bytes.extend((body.len() as u32).to_le_bytes());
        bytes.extend(body);
        if body.len() % 2 == 1 {
            bytes.push(0);
        }
        bytes
    }

    fn riff(chunks: &[Vec<u8>]) -> Vec<u8> {
        let body: Vec<u8> = chunks.concat();
        let mut bytes = b"RIFF".to_vec();
        bytes.extend((body.len() as u32 + 4).to_le_bytes());
        bytes.extend(b"WAVE");
        bytes.extend(body);
        bytes
    }

    fn stereo_16() -> Vec<u8> {
        AudioFormat::int(16, 2, 48_000).unwrap().wave_format()
    }

    fn read_all(bytes: Vec<u8>) -> Result<(Vec<u8>, DataEnd)> {
        let mut reader = WavReader::new(Cursor::new(bytes), "test.wav")?;
        let mut samples = Vec::new();
        let mut buffer = [0u8; 1000];
        loop {
            let count = reader.read(&mut buffer)?;
            if count == 0 {
                return Ok((samples, reader.data_end()));
            }
            samples.extend(&buffer[..count]);
        }
    }

    #[test]
    fn chunks_before_and_after_the_data_are_passed_over() {
        let data: Vec<u8> = (0..=255).cycle().take(4096).collect();
        let file = riff(&[
            chunk(b"LIST", b"odd"),
            chunk(b"fmt ", &stereo_16()),
            chunk(b"fact", &[0, 4, 0, 0]),
            chunk(b"\xFF\0zz", &[]),
            chunk(b"data", &data),
            chunk(b"LIST", b"after"),
        ]);
        assert_eq!(read_all(file).unwrap(), (data, DataEnd::Complete));
    }

    #[test]
    fn a_file_cut_in_its_data_gives_its_whole_blocks_and_says_so() {
        let file = riff(&[chunk(b"fmt ", &stereo_16()), chunk(b"data", &[7; 400])]);
        let cut = file[..file.len() - 101].to_vec();
        let (samples, end) = read_all(cut).unwrap();
        assert_eq!(samples, [7; 296]);
        let expected = DataEnd::Truncated { declared_bytes: 400, present_bytes: 299 };
        assert_eq!(end, expected);
    }

    #[test]
    fn data_without_a_size_runs_to_the_end_of_the_file() {
        for (riff_size, data_size) in [(u32::MAX, u32::MAX), (0, 0), (36, 0), (u32::MAX, 0)] {
            let mut file = riff(&[chunk(b"fmt ", &stereo_16()[..16]), chunk(b"data", &[9; 64])]);
            file[4..8].copy_from_slice(&riff_size.to_le_bytes());
            file[40..44].copy_from_slice(&data_size.to_le_bytes());
            assert_eq!(read_all(file).unwrap(), (vec![9; 64], DataEnd::Unsized));
        }
    }

    #[test]
    fn an_empty_data_chunk_ahead_of_another_chunk_is_empty() {
        let file = riff(&[chunk(b"fmt ", &stereo_16()), chunk(b"data", &[]), chunk(b"LIST", b"trailer!")]);
        assert_eq!(read_all(file).unwrap(), (vec![], DataEnd::Complete));
    }

    #[test]
    fn the_long_sizes_of_rf64_are_used() {
        let mut long_sizes = [0u8; 28];
        long_sizes[8..16].copy_from_slice(&64u64.to_le_bytes());
        let mut file = riff(&[
            chunk(b"ds64", &long_sizes),
            chunk(b"fmt ", &stereo_16()),
            chunk(b"data", &[5; 64]),
            chunk(b"LIST", b"after"),
        ]);
        file[..8].copy_from_slice(b"RF64\xFF\xFF\xFF\xFF");
        let data_size = 12 + 36 + 26 + 4;
        file[data_size..data_size + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(read_all(file).unwrap(), (vec![5; 64], DataEnd::Complete));
    }

    #[test]
    fn each_refusal_names_the_file_and_the_culprit() {
        let refusal = |bytes: Vec<u8>, said: &str| {
            let error = read_all(bytes).unwrap_err().to_string();
            assert!(error.contains("test.wav"), "{error}");
            assert!(error.contains(said), "{error}");
        };
        refusal(vec![], "the file size is 0 bytes");
        refusal(b"OggS\0\0\0\0\0\0\0\0\0\0".to_vec(), "\"OggS\"");
        refusal(b"RIFX\0\0\0\0WAVE".to_vec(), "RIFX");
        refusal(b"RIFF\0\0\0\0AVI ".to_vec(), "\"AVI \"");
        refusal(riff(&[]), "a fmt chunk before that");
        refusal(riff(&[chunk(b"fmt ", &stereo_16())]), "a data chunk before that");
        refusal(riff(&[chunk(b"data", &[0; 4])]), "a fmt chunk before the data");
        refusal(riff(&[chunk(b"fmt ", &stereo_16()[..12])]), "the fmt size is 12 bytes");
        let mut lying = riff(&[chunk(b"LIST", b"1234")]);
        lying[16..20].copy_from_slice(&0xFFFF_FFF0u32.to_le_bytes());
        refusal(lying, "4294967280 in chunk \"LIST\"");
        refusal(riff(&vec![chunk(b"junk", &[]); MAX_CHUNKS as usize + 1]), "more than 4096");
    }

    #[test]
    fn a_buffer_smaller_than_a_block_is_refused_rather_than_taken_for_the_end() {
        let file = riff(&[chunk(b"fmt ", &stereo_16()), chunk(b"data", &[7; 400])]);
        let mut reader = WavReader::new(Cursor::new(file), "test.wav").unwrap();
        assert!(reader.read(&mut [0; 3]).is_err());
        assert_eq!(reader.read(&mut [0; 7]).unwrap(), 4);
        assert_eq!(reader.remaining_bytes(), 396);
    }

    #[test]
    fn every_cut_of_a_file_is_an_error_or_whole_blocks() {
        let file = riff(&[chunk(b"LIST", b"odd"), chunk(b"fmt ", &stereo_16()), chunk(b"data", &[7; 40])]);
        for length in 0..file.len() {
            if let Ok((samples, end)) = read_all(file[..length].to_vec()) {
                assert_eq!(samples.len() % 4, 0);
                assert!(matches!(end, DataEnd::Truncated { .. }), "{length}: {end:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_damaged_file_never_panics(
            damage in prop::collection::vec((0usize..120, any::<u8>()), 1..8),
        ) {
            let mut file = riff(&[
                chunk(b"LIST", b"odd"),
                chunk(b"fmt ", &AudioFormat::int(24, 6, 48_000).unwrap().wave_format()),
                chunk(b"data", &[7; 36]),
            ]);
            for (offset, value) in damage {
                let length = file.len();
                file[offset % length] = value;
            }
            let _ = read_all(file);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0".to_vec();
            file.extend(bytes);
            let _ = read_all(file);
        }
    }
}
