//! From one PCM format to another: sample type, channels and rate.

use super::audio::AudioFormat;
use super::error::FieldError;
use super::mix::{Matrix, usual_mask};
use super::resample::Resampler;
use super::samples::{decode, encode};

/// A stream on its way from one format to another.
///
/// `Decision:` all of it is in 64-bit floating point, which holds every integer sample exactly; a conversion that changes
/// neither channels nor rate, to a type that holds the input's samples, therefore loses nothing.
pub struct AudioConversion {
    input: AudioFormat,
    output: AudioFormat,
    matrix: Option<Matrix>,
    resampler: Option<Resampler>,
    /// Whether the channels are mixed before the rate is changed: when they become fewer.
    mixes_first: bool,
    /// Converted bytes that wait for room, from `ready_from`.
    ready: Vec<u8>,
    ready_from: usize,
    decoded: Vec<f64>,
    mixed: Vec<f64>,
    resampled: Vec<f64>,
}

/// Whether more input follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum More {
    /// It does, sooner or later.
    Follows,
    /// This is the last of it.
    Ends,
}

/// What came of a call of [`AudioConversion::convert`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Converted {
    /// Bytes of the input that were read: whole blocks.
    pub read: usize,
    /// Bytes of the output that were written: whole blocks.
    pub written: usize,
}

/// Blocks that are converted at once.
const STEP_BLOCKS: usize = 256;

impl AudioConversion {
    /// A conversion between two formats.
    ///
    /// # Errors
    /// Names the sample rate that is too far from the other ([`super::resample::MAX_FACTOR`]).
    pub fn new(input: &AudioFormat, output: &AudioFormat) -> Result<Self, FieldError> {
        let matrix = Matrix::new(input, output);
        let mixes_first = output.channels() < input.channels();
        let channels = input.channels().min(output.channels());
        let (from, to) = (input.sample_rate(), output.sample_rate());
        let resampler = if from == to { None } else { Some(Resampler::new(channels, from, to)?) };
        Ok(Self {
            input: *input,
            output: *output,
            matrix: (!matrix.is_identity()).then_some(matrix),
            resampler,
            mixes_first,
            ready: Vec::new(),
            ready_from: 0,
            decoded: Vec::new(),
            mixed: Vec::new(),
            resampled: Vec::new(),
        })
    }

    /// Converts as much of `data` as `room` has place for. Of an incomplete block at the end of either nothing is used.
    ///
    /// With [`More::Ends`] it gives what was held back, too; once all of `data` is read and nothing is written any more,
    /// that was all.
    pub fn convert(&mut self, data: &[u8], more: More, room: &mut [u8]) -> Converted {
        let (block, out_block) = (self.input.block_bytes(), self.output.block_bytes());
        let room_bytes = room.len() - room.len() % out_block;
        let mut done = Converted { read: 0, written: 0 };
        while done.written < room_bytes {
            if self.ready_from < self.ready.len() {
                let bytes = (self.ready.len() - self.ready_from).min(room_bytes - done.written);
                let ready = &self.ready[self.ready_from..self.ready_from + bytes];
                room[done.written..done.written + bytes].copy_from_slice(ready);
                self.ready_from += bytes;
                done.written += bytes;
                continue;
            }
            self.ready.clear();
            self.ready_from = 0;
            if self.pull() {
                continue;
            }
            let left = &data[done.read..];
            let bytes = (left.len() / block).min(STEP_BLOCKS) * block;
            if bytes > 0 {
                self.push(&left[..bytes]);
                done.read += bytes;
            } else if let (More::Ends, Some(resampler)) = (more, &mut self.resampler) {
                resampler.end();
                if !self.pull() {
                    break;
                }
            } else {
                break;
            }
        }
        done
    }

    /// Takes the next step out of the resampler, if there is one.
    fn pull(&mut self) -> bool {
        let Some(resampler) = &mut self.resampler else { return false };
        self.resampled.clear();
        if !resampler.pull(&mut self.resampled) {
            return false;
        }
        let samples = match &self.matrix {
            Some(matrix) if !self.mixes_first => {
                self.mixed.clear();
                matrix.mix(&self.resampled, &mut self.mixed);
                &self.mixed
            }
            _ => &self.resampled,
        };
        encode(&self.output, samples, &mut self.ready);
        true
    }

    fn push(&mut self, data: &[u8]) {
        self.decoded.clear();
        decode(&self.input, data, &mut self.decoded);
        let samples = match &self.matrix {
            Some(matrix) if self.mixes_first || self.resampler.is_none() => {
                self.mixed.clear();
                matrix.mix(&self.decoded, &mut self.mixed);
                &self.mixed
            }
            _ => &self.decoded,
        };
        match &mut self.resampler {
            Some(resampler) => resampler.push(samples),
            None => encode(&self.output, samples, &mut self.ready),
        }
    }
}

/// `format` with other channels, at their usual positions if there are more than two.
///
/// # Errors
/// Refuses a number of channels that no format has.
pub fn with_channels(format: AudioFormat, channels: u16) -> Result<AudioFormat, FieldError> {
    if channels == format.channels() {
        return Ok(format);
    }
    let mask = if channels > 2 { usual_mask(channels) } else { 0 };
    let made = match format.sample_kind() {
        super::audio::SampleKind::Int => AudioFormat::int(format.container_bits(), channels, format.sample_rate()),
        super::audio::SampleKind::Float => AudioFormat::float(format.container_bits(), channels, format.sample_rate()),
    };
    Ok(made?.with_channel_mask(mask))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(input: &AudioFormat, output: &AudioFormat, data: &[u8], room: usize) -> Vec<u8> {
        let mut conversion = AudioConversion::new(input, output).unwrap();
        let (mut read, mut result, mut buffer) = (0, Vec::new(), vec![0; room]);
        loop {
            let done = conversion.convert(&data[read..], More::Ends, &mut buffer);
            read += done.read;
            result.extend_from_slice(&buffer[..done.written]);
            if done.written == 0 {
                assert_eq!(read, data.len() / input.block_bytes() * input.block_bytes());
                return result;
            }
        }
    }

    #[test]
    fn wider_and_back_changes_nothing() {
        let data: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let narrow = AudioFormat::int(16, 2, 44_100).unwrap();
        for wide in [
            AudioFormat::int(24, 2, 44_100).unwrap(),
            AudioFormat::int(32, 2, 44_100).unwrap(),
            AudioFormat::float(32, 2, 44_100).unwrap(),
            AudioFormat::float(64, 2, 44_100).unwrap(),
        ] {
            let there = all(&narrow, &wide, &data, 1000);
            assert_eq!(there.len(), data.len() / 2 * wide.sample_bytes());
            assert_eq!(all(&wide, &narrow, &there, 777), data);
        }
    }

    #[test]
    fn channels_rate_and_type_change_together_at_exact_length() {
        let input = AudioFormat::int(16, 6, 44_100).unwrap();
        let output = AudioFormat::float(32, 2, 48_000).unwrap();
        let data: Vec<u8> = (0..441 * 6).flat_map(|n: i32| ((n * 7 % 1000) as i16).to_le_bytes()).collect();
        for room in [8, 100, 1 << 20] {
            assert_eq!(all(&input, &output, &data, room).len(), 480 * output.block_bytes());
        }
        assert_eq!(all(&output, &input, &vec![0; 480 * 8], 4096).len(), 441 * input.block_bytes());
    }

    #[test]
    fn an_incomplete_block_is_left_and_no_room_is_no_harm() {
        let stereo = AudioFormat::int(16, 2, 48_000).unwrap();
        let mut conversion = AudioConversion::new(&stereo, &with_channels(stereo, 1).unwrap()).unwrap();
        let mut room = [0; 3];
        let done = conversion.convert(&[2, 0, 4, 0, 9, 9, 9], More::Follows, &mut room);
        assert_eq!((done, room), (Converted { read: 4, written: 2 }, [3, 0, 0]));
        assert_eq!(conversion.convert(&[0; 8], More::Ends, &mut room[..1]), Converted { read: 0, written: 0 });
    }
}
