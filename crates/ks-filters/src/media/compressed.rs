//! Reading FLAC, MP3, Ogg Vorbis and AAC files, decoded by `symphonia`.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use symphonia::core::audio::sample::i24;
use symphonia::core::audio::{Channels, GenericAudioBufferRef};
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream};
use symphonia::core::meta::MetadataOptions;

use crate::media::audio::{AudioFormat, SampleKind};
use crate::media::error::{FieldError, MediaError, Result};
use crate::media::file::{LockedFile, open_input};

/// Reads the samples of a compressed audio file as raw interleaved bytes.
///
/// What was lossless comes in the integers that it was made of, what was lossy in 32-bit floating point. A packet that
/// is damaged is left out, and counted. What delays an encoder adds at either end is cut off, where the file tells it.
pub struct CompressedReader {
    path: PathBuf,
    container: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    format: AudioFormat,
    /// Decoded bytes that were not read yet, from `taken` on. Empty only at the end.
    decoded: Vec<u8>,
    taken: usize,
    next_block: u64,
    damaged_packets: u64,
    /// The file ended in the middle of something.
    cut_off: bool,
}

const DOING: &str = "read";

impl MediaSource for LockedFile {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        self.metadata().ok().map(|metadata| metadata.len())
    }
}

impl CompressedReader {
    /// Opens the file and decodes up to its first sample.
    ///
    /// # Errors
    /// A file that cannot be opened, or has no audio of a kind that is known.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = open_input(path)?;
        let mut hint = Hint::new();
        if let Some(extension) = path.extension().and_then(|extension| extension.to_str()) {
            hint.with_extension(extension);
        }
        let (container, decoder, track) = guarded(path, || {
            let stream = MediaSourceStream::new(Box::new(file), Default::default());
            let (format, metadata) = (FormatOptions::default(), MetadataOptions::default());
            let container = symphonia::default::get_probe().probe(&hint, stream, format, metadata)?;
            let track = container.default_track(TrackType::Audio).ok_or(Error::Unsupported("no audio in the file"))?;
            let parameters = track.codec_params.as_ref().and_then(|parameters| parameters.audio());
            let parameters = parameters.ok_or(Error::Unsupported("the codec of the audio"))?;
            let options = AudioDecoderOptions::default();
            let decoder = symphonia::default::get_codecs().make_audio_decoder(parameters, &options)?;
            let track = track.id;
            Ok((container, decoder, track))
        })?;
        // Known better by the first packet.
        let unknown = AudioFormat::float(32, 1, 48_000)?;
        let mut reader = Self {
            path: path.to_owned(),
            container,
            decoder,
            track,
            format: unknown,
            decoded: Vec::new(),
            taken: 0,
            next_block: 0,
            damaged_packets: 0,
            cut_off: false,
        };
        match reader.next_packet(None)? {
            Some(format) => reader.format = format,
            None => {
                let problem = FieldError::new("the audio", "empty", "at least one packet that can be decoded");
                return Err(MediaError::field(DOING, path, problem));
            }
        }
        Ok(reader)
    }

    /// The format of the samples.
    pub fn format(&self) -> &AudioFormat {
        &self.format
    }

    /// The blocks read so far, which is the index of the next one.
    pub fn next_block(&self) -> u64 {
        self.next_block
    }

    /// Whether all was read.
    pub fn is_at_end(&self) -> bool {
        self.taken >= self.decoded.len()
    }

    /// Packets that were damaged and left out so far.
    pub fn damaged_packets(&self) -> u64 {
        self.damaged_packets
    }

    /// Whether the file ended in the middle of something.
    pub fn is_cut_off(&self) -> bool {
        self.cut_off
    }

    /// Reads as many whole blocks as fit into `buffer` and the file has; returns their bytes, 0 at the end.
    ///
    /// # Errors
    /// What the system says, and a file that changes its format in the middle.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let block_bytes = self.format.block_bytes();
        let mut used = 0;
        while !self.is_at_end() && buffer.len() - used >= block_bytes {
            let rest = &self.decoded[self.taken..];
            let room = buffer.len() - used;
            let count = rest.len().min(room - room % block_bytes);
            buffer[used..used + count].copy_from_slice(&rest[..count]);
            (used, self.taken) = (used + count, self.taken + count);
            if self.is_at_end() {
                self.next_packet(Some(self.format))?;
            }
        }
        self.next_block += (used / block_bytes) as u64;
        Ok(used)
    }

    /// Decodes the next packet that has samples, which must be of `wanted`; `None`: the file has ended.
    fn next_packet(&mut self, wanted: Option<AudioFormat>) -> Result<Option<AudioFormat>> {
        self.decoded.clear();
        self.taken = 0;
        loop {
            let Self { path, container, decoder, track, decoded, .. } = self;
            let step = guarded(path, || {
                let Some(packet) = container.next_packet()? else { return Ok(Step::End) };
                if packet.track_id != *track {
                    return Ok(Step::Nothing);
                }
                let bits = decoder.codec_params().bits_per_sample;
                let buffer = match decoder.decode(&packet) {
                    Ok(buffer) => buffer,
                    Err(Error::DecodeError(_)) => return Ok(Step::Damaged),
                    Err(error) => return Err(error),
                };
                if buffer.frames() == 0 {
                    return Ok(Step::Nothing);
                }
                Ok(Step::Decoded(take(&buffer, bits, decoded)))
            });
            match step {
                Ok(Step::Nothing) => {}
                Ok(Step::Damaged) => self.damaged_packets += 1,
                Ok(Step::End) => return Ok(None),
                Ok(Step::Decoded(format)) => {
                    let format = format.map_err(|problem| MediaError::field(DOING, &self.path, problem))?;
                    if wanted.is_some_and(|wanted| wanted != format) {
                        self.decoded.clear();
                        let (is, was) = (format.sample_rate(), self.format.sample_rate());
                        let value = format!("{} channels at {is} Hz in the middle of the file", format.channels());
                        let expected = format!("{} channels at {was} Hz as before", self.format.channels());
                        let problem = FieldError::new("the format", value, expected);
                        return Err(MediaError::field(DOING, &self.path, problem));
                    }
                    return Ok(Some(format));
                }
                Err(error) if error.io_kind() == Some(std::io::ErrorKind::UnexpectedEof) => {
                    self.cut_off = true;
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl std::fmt::Debug for CompressedReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CompressedReader")
            .field("path", &self.path)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

enum Step {
    /// A packet of another track, or without samples.
    Nothing,
    Damaged,
    Decoded(std::result::Result<AudioFormat, FieldError>),
    End,
}

/// Copies decoded samples out and says what they are.
fn take(
    buffer: &GenericAudioBufferRef<'_>,
    bits: Option<u32>,
    into: &mut Vec<u8>,
) -> std::result::Result<AudioFormat, FieldError> {
    let spec = buffer.spec();
    let channels = u16::try_from(spec.channels().count()).unwrap_or(u16::MAX);
    let kind = match buffer {
        GenericAudioBufferRef::F32(_) | GenericAudioBufferRef::F64(_) => SampleKind::Float,
        _ => SampleKind::Int,
    };
    let format = match kind {
        SampleKind::Float => AudioFormat::float(32, channels, spec.rate())?,
        SampleKind::Int => {
            let bits = bits.unwrap_or(32).clamp(1, 32) as u16;
            AudioFormat::int(bits.next_multiple_of(8), channels, spec.rate())?.with_valid_bits(bits)?
        }
    };
    match (kind, format.container_bits()) {
        (SampleKind::Float, _) => buffer.copy_bytes_to_vec_interleaved_as::<f32>(into),
        (_, 8) => buffer.copy_bytes_to_vec_interleaved_as::<u8>(into),
        (_, 16) => buffer.copy_bytes_to_vec_interleaved_as::<i16>(into),
        (_, 24) => buffer.copy_bytes_to_vec_interleaved_as::<i24>(into),
        _ => buffer.copy_bytes_to_vec_interleaved_as::<i32>(into),
    }
    Ok(match spec.channels() {
        // Mono and stereo need no mask; the positions have the bits that a WAV file gives them.
        Channels::Positioned(positions) if channels > 2 => {
            let mask = u32::try_from(positions.bits()).ok().filter(|mask| mask >> 18 == 0);
            format.with_channel_mask(mask.unwrap_or(0))
        }
        _ => format,
    })
}

/// Runs the decoder on bytes that somebody else made: neither its errors nor a panic go further than this file.
fn guarded<T>(path: &Path, work: impl FnOnce() -> std::result::Result<T, Error>) -> Result<T> {
    let refuse = |what: String| {
        let expected = "a FLAC, MP3, Ogg Vorbis or AAC file that can be decoded";
        MediaError::field(DOING, path, FieldError::new("the file", what, expected))
    };
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(Error::IoError(error))) => Err(MediaError::io(DOING, path, error)),
        Ok(Err(error)) => Err(refuse(error.to_string())),
        Err(panic) => Err(refuse(format!("one that the decoder fails at ({})", message(&*panic)))),
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("for no reason that it told")
}
