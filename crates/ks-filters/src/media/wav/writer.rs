//! Writing WAV files that stay readable to their last whole block, whatever happens.

use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};

use crate::media::audio::{AudioFormat, SampleKind};
use crate::media::error::{MediaError, Result};
use crate::media::file::{LockedFile, Output, create_output, write_counted};

/// Writes raw interleaved PCM bytes to a WAV file.
///
/// The sizes in the header are brought up to date with every buffer written (at most one second of sound, or 256 KiB),
/// at [`finish`](Self::finish), on drop and after a failed write, so that the file is complete to its last whole block
/// even if the program is killed. A file ends below 4 GiB, where the format's sizes end.
#[derive(Debug)]
pub struct WavWriter<W: Output = LockedFile> {
    output: W,
    path: PathBuf,
    header: Header,
    block_bytes: usize,
    buffer: Vec<u8>,
    buffer_bytes: usize,
    /// The data bytes that are in the file.
    written_bytes: u64,
    max_data_bytes: u64,
    seekable: Seekable,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Writing,
    Failed,
    Finished,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seekable {
    Yes,
    No,
}

const MAX_BUFFER_BYTES: usize = 256 * 1024;

impl WavWriter<LockedFile> {
    /// Creates, or empties, the file at `path` and writes the header.
    ///
    /// # Errors
    /// What the system says, or that the file is open elsewhere.
    pub fn create(path: impl AsRef<Path>, format: &AudioFormat) -> Result<Self> {
        let path = path.as_ref();
        Self::new(create_output(path)?, path, format)
    }
}

impl<W: Output> WavWriter<W> {
    /// Writes a WAV file to the empty `output`; errors call it `path`.
    ///
    /// # Errors
    /// What the system says when the header is written.
    pub fn new(mut output: W, path: impl AsRef<Path>, format: &AudioFormat) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let seekable = match output.seek(SeekFrom::Start(0)) {
            Ok(_) => Seekable::Yes,
            Err(_) => Seekable::No,
        };
        let header = Header::new(format);
        let block_bytes = format.block_bytes();
        let second_bytes = format.bytes_per_second() as usize;
        let buffer_blocks = (second_bytes.min(MAX_BUFFER_BYTES) / block_bytes).max(1);
        // One byte is kept for the padding of an odd size.
        let room_bytes = u64::from(u32::MAX) - header.bytes.len() as u64 - 1;
        let mut writer = Self {
            output,
            path,
            block_bytes,
            buffer: Vec::new(),
            buffer_bytes: buffer_blocks * block_bytes,
            written_bytes: 0,
            max_data_bytes: room_bytes - room_bytes % block_bytes as u64,
            seekable,
            state: State::Writing,
            header,
        };
        let sizes = match seekable {
            Seekable::Yes => Some(0),
            Seekable::No => None,
        };
        writer.header.set_data_bytes(sizes);
        let (_, outcome) = write_counted(&mut writer.output, &writer.header.bytes);
        outcome.map_err(|error| writer.fail(error))?;
        Ok(writer)
    }

    /// The bytes of whole blocks taken so far, buffered ones included.
    pub fn data_bytes(&self) -> u64 {
        let bytes = self.written_bytes + self.buffer.len() as u64;
        bytes - bytes % self.block_bytes as u64
    }

    /// Appends sample bytes. They need not end at a block boundary; a last partial block is left out of the file.
    ///
    /// # Errors
    /// What the system says, once it says it; the file then ends at its last whole block, and every later write fails
    /// too. At the format's limit of 4 GiB, what fits is written and the rest refused.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        if self.state != State::Writing {
            return Err(self.ended());
        }
        // Made by the first write: who only creates a file pays for its header alone.
        self.buffer.reserve_exact(self.buffer_bytes - self.buffer.len());
        let taken_bytes = self.written_bytes + self.buffer.len() as u64;
        let room_bytes = self.max_data_bytes - taken_bytes;
        let too_long = bytes.len() as u64 > room_bytes;
        if too_long {
            bytes = &bytes[..room_bytes as usize];
        }
        if !self.buffer.is_empty() {
            let (head, rest) = bytes.split_at(bytes.len().min(self.buffer_bytes - self.buffer.len()));
            self.buffer.extend_from_slice(head);
            bytes = rest;
            if self.buffer.len() == self.buffer_bytes {
                self.flush()?;
            }
        }
        if bytes.len() >= self.buffer_bytes {
            let (_, outcome) = self.append(bytes);
            outcome.and_then(|()| self.update_header()).map_err(|error| self.fail(error))?;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        if too_long {
            self.flush()?;
            self.state = State::Failed;
            self.close().map_err(|error| MediaError::io("write", &self.path, error))?;
            return Err(self.ended());
        }
        Ok(())
    }

    /// Writes what is buffered and brings the header up to date.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn flush(&mut self) -> Result<()> {
        if self.state != State::Writing {
            return Ok(());
        }
        let buffer = std::mem::take(&mut self.buffer);
        let (_, outcome) = self.append(&buffer);
        self.buffer = buffer;
        self.buffer.clear();
        outcome.and_then(|()| self.update_header()).map_err(|error| self.fail(error))
    }

    /// Completes the file: what is buffered, the padding, the final sizes.
    ///
    /// # Errors
    /// As [`write`](Self::write). After an earlier failure the file is already as complete as it can be, and this is Ok.
    pub fn finish(mut self) -> Result<()> {
        self.complete()
    }

    fn complete(&mut self) -> Result<()> {
        self.flush()?;
        if self.state == State::Writing {
            self.state = State::Finished;
            self.close().map_err(|error| MediaError::io("write", &self.path, error))?;
        }
        Ok(())
    }

    /// Cuts what follows the last whole block, pads an odd size and writes the final sizes.
    fn close(&mut self) -> io::Result<()> {
        if self.seekable == Seekable::No {
            return self.output.flush();
        }
        let partial_bytes = self.written_bytes % self.block_bytes as u64;
        let mut cut = Ok(());
        if partial_bytes != 0 {
            self.written_bytes -= partial_bytes;
            let end = self.header.bytes.len() as u64 + self.written_bytes;
            cut = self.output.truncate(end);
        }
        self.update_header()?;
        cut?;
        if self.written_bytes % 2 == 1 {
            write_counted(&mut self.output, &[0]).1?;
        }
        self.output.flush()
    }

    fn append(&mut self, bytes: &[u8]) -> (u64, io::Result<()>) {
        let (count, outcome) = write_counted(&mut self.output, bytes);
        self.written_bytes += count;
        (count, outcome)
    }

    fn update_header(&mut self) -> io::Result<()> {
        if self.seekable == Seekable::No {
            return Ok(());
        }
        let whole_bytes = self.written_bytes - self.written_bytes % self.block_bytes as u64;
        self.header.set_data_bytes(Some(whole_bytes as u32));
        self.output.seek(SeekFrom::Start(0))?;
        write_counted(&mut self.output, &self.header.bytes).1?;
        let end = self.header.bytes.len() as u64 + self.written_bytes;
        self.output.seek(SeekFrom::Start(end)).map(drop)
    }

    /// After a failed write: makes the file as good as it can be, best effort, and gives the error to return.
    fn fail(&mut self, error: io::Error) -> MediaError {
        self.state = State::Failed;
        self.buffer.clear();
        // The header lies in space that the file already has, so this works on a full disk.
        let _ = self.close();
        MediaError::io("write", &self.path, error)
    }

    fn ended(&self) -> MediaError {
        let at_limit = self.written_bytes >= self.max_data_bytes;
        MediaError::Limit {
            doing: "write",
            path: self.path.clone(),
            limit: if at_limit {
                format!("a WAV file of this format ends at {} bytes of samples, just below 4 GiB", self.max_data_bytes)
            } else {
                "an earlier write to this file failed".to_owned()
            },
            advice: if at_limit { "write several files, or fewer seconds" } else { "see the first error" },
        }
    }
}

impl<W: Output> Drop for WavWriter<W> {
    fn drop(&mut self) {
        // The file ends at its last whole block either way, and nobody is left to tell.
        let _ = self.complete();
    }
}

/// The bytes ahead of the samples, with the places of its sizes.
#[derive(Debug)]
struct Header {
    bytes: Vec<u8>,
    fact_offset: Option<usize>,
    block_bytes: u64,
}

impl Header {
    fn new(format: &AudioFormat) -> Self {
        let mut wave_format = format.wave_format();
        if wave_format.len() == 18 && format.sample_kind() == SampleKind::Int {
            // The oldest form, which every reader knows: no cbSize.
            wave_format.truncate(16);
        }
        let mut bytes = b"RIFF\0\0\0\0WAVEfmt ".to_vec();
        bytes.extend_from_slice(&(wave_format.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&wave_format);
        let mut fact_offset = None;
        if format.sample_kind() == SampleKind::Float {
            bytes.extend_from_slice(b"fact\x04\0\0\0");
            fact_offset = Some(bytes.len());
            bytes.extend_from_slice(&[0; 4]);
        }
        bytes.extend_from_slice(b"data\0\0\0\0");
        Self { bytes, fact_offset, block_bytes: format.block_bytes() as u64 }
    }

    /// Sets the sizes for so many bytes of samples, or for a stream of unknown length.
    fn set_data_bytes(&mut self, data_bytes: Option<u32>) {
        let length = self.bytes.len();
        let riff_bytes = data_bytes.map_or(u32::MAX, |data| data + (data & 1) + length as u32 - 8);
        let blocks = data_bytes.map_or(u32::MAX, |data| (u64::from(data) / self.block_bytes) as u32);
        let data_bytes = data_bytes.unwrap_or(u32::MAX);
        self.bytes[4..8].copy_from_slice(&riff_bytes.to_le_bytes());
        self.bytes[length - 4..].copy_from_slice(&data_bytes.to_le_bytes());
        if let Some(offset) = self.fact_offset {
            self.bytes[offset..offset + 4].copy_from_slice(&blocks.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::file::tests::{Scratch, SmallDisk};
    use crate::media::wav::{DataEnd, WavReader};
    use proptest::prelude::*;
    use std::io::Cursor;

    fn read_all(bytes: &[u8]) -> (AudioFormat, Vec<u8>, DataEnd) {
        let mut reader = WavReader::new(Cursor::new(bytes.to_vec()), "test.wav").unwrap();
        let mut samples = vec![0; bytes.len().max(512)];
        let count = reader.read(&mut samples).unwrap();
        samples.truncate(count);
        (*reader.format(), samples, reader.data_end())
    }

    fn formats() -> Vec<AudioFormat> {
        let mut formats = Vec::new();
        for channels in 1..=8 {
            for bits in [8, 16, 24, 32] {
                formats.push(AudioFormat::int(bits, channels, 44_100).unwrap());
            }
            for bits in [32, 64] {
                formats.push(AudioFormat::float(bits, channels, 44_100).unwrap());
            }
        }
        formats.push(AudioFormat::int(16, 6, 48_000).unwrap().with_channel_mask(0x3F));
        formats
    }

    #[test]
    fn every_sample_type_and_channel_count_comes_back_bit_exact() {
        let scratch = Scratch::new("wav-round-trip");
        let samples: Vec<u8> = (0..131_072u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for format in formats() {
            let path = scratch.file("a.wav");
            let whole = &samples[..samples.len() - samples.len() % format.block_bytes()];
            let mut writer = WavWriter::create(&path, &format).unwrap();
            for part in whole.chunks(4099) {
                writer.write(part).unwrap();
            }
            writer.finish().unwrap();
            let file = std::fs::read(&path).unwrap();
            assert_eq!(file.len() % 2, 0);
            assert_eq!(read_all(&file), (format, whole.to_vec(), DataEnd::Complete));
        }
    }

    #[test]
    fn an_odd_size_is_padded_and_a_partial_block_left_out() {
        let mut file = Cursor::new(Vec::new());
        let format = AudioFormat::int(8, 3, 8000).unwrap();
        let mut output = SmallDisk::new(u64::MAX);
        let mut writer = WavWriter::new(&mut output, "test.wav", &format).unwrap();
        writer.write(&[1, 2, 3, 4, 5]).unwrap();
        assert_eq!(writer.data_bytes(), 3);
        writer.finish().unwrap();
        std::mem::swap(&mut file, &mut output.file);
        let file = file.into_inner();
        assert_eq!(read_all(&file), (format, vec![1, 2, 3], DataEnd::Complete));
        assert_eq!(file.last(), Some(&0));
        assert_eq!(u32::from_le_bytes(*file[4..].first_chunk().unwrap()) as usize + 8, file.len());
    }

    #[test]
    fn a_writer_that_is_forgotten_leaves_all_but_its_last_buffer_readable() {
        let format = AudioFormat::int(16, 2, 48_000).unwrap();
        let mut output = SmallDisk::new(u64::MAX);
        let mut writer = WavWriter::new(&mut output, "test.wav", &format).unwrap();
        for _ in 0..100 {
            writer.write(&[3; 4096]).unwrap();
        }
        std::mem::forget(writer);
        let (_, samples, end) = read_all(output.file.get_ref());
        assert_eq!(end, DataEnd::Complete);
        assert!(samples.len() >= 409_600 - 192_000, "{}", samples.len());
    }

    #[test]
    fn dropping_a_writer_completes_the_file() {
        let format = AudioFormat::float(32, 1, 48_000).unwrap();
        let mut output = SmallDisk::new(u64::MAX);
        let mut writer = WavWriter::new(&mut output, "test.wav", &format).unwrap();
        writer.write(&[3; 40]).unwrap();
        drop(writer);
        assert_eq!(read_all(output.file.get_ref()), (format, vec![3; 40], DataEnd::Complete));
    }

    #[test]
    fn a_full_device_is_an_error_that_names_it() {
        let format = AudioFormat::int(16, 2, 48_000).unwrap();
        let error = WavWriter::create("/dev/full", &format).unwrap_err();
        assert_eq!(error.io_kind(), Some(io::ErrorKind::StorageFull));
        assert!(error.to_string().contains("/dev/full"), "{error}");
    }

    #[test]
    fn at_the_end_of_the_format_what_fits_is_kept_and_the_rest_refused() {
        let format = AudioFormat::int(16, 2, 48_000).unwrap();
        let mut output = SmallDisk::new(u64::MAX);
        let mut writer = WavWriter::new(&mut output, "long.wav", &format).unwrap();
        assert!(u64::from(u32::MAX) - writer.max_data_bytes < 100);
        writer.max_data_bytes = 1000;
        writer.write(&[1; 900]).unwrap();
        let error = writer.write(&[2; 200]).unwrap_err().to_string();
        assert!(error.contains("long.wav") && error.contains("4 GiB"), "{error}");
        assert!(writer.write(&[3; 4]).is_err());
        writer.finish().unwrap();
        let (_, samples, end) = read_all(output.file.get_ref());
        assert_eq!((samples.len(), end), (1000, DataEnd::Complete));
    }

    proptest! {
        #[test]
        fn a_disk_that_fills_up_leaves_a_file_that_ends_at_a_whole_block(
            capacity_bytes in 60u64..2_000_000,
            part_bytes in 1usize..300_000,
        ) {
            let format = AudioFormat::int(24, 5, 44_100).unwrap();
            let mut output = SmallDisk::new(capacity_bytes);
            let Ok(mut writer) = WavWriter::new(&mut output, "test.wav", &format) else {
                return Ok(());
            };
            let part = vec![9; part_bytes];
            let error = (0..3_000_000).find_map(|_| writer.write(&part).err()).unwrap();
            prop_assert_eq!(error.io_kind(), Some(io::ErrorKind::StorageFull));
            prop_assert!(writer.write(&part).is_err());
            drop(writer);
            let (found, samples, end) = read_all(output.file.get_ref());
            prop_assert_eq!((found, end), (format, DataEnd::Complete));
            prop_assert_eq!(samples.len() % 15, 0);
            prop_assert!(samples.len() as u64 + 68 + 15 > capacity_bytes);
        }
    }
}
