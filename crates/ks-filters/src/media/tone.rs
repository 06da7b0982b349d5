//! Test signals of the test microphone: sine, white noise and silence in every PCM format.
//!
//! Every sample follows from its index alone, so a signal can be taken up anywhere and never drifts.

use std::f64::consts::TAU;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::audio::{AudioFormat, SampleKind};
use super::error::FieldError;

/// What a [`Tone`] sounds like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Signal {
    /// A sine of this frequency, in thousandths of a Hz, the same in all channels; it begins at 0 and rises.
    Sine {
        /// The frequency in thousandths of a Hz.
        frequency_mhz: u64,
    },
    /// White noise, evenly distributed, different in each channel, the same for the same seed.
    Noise {
        /// Which noise.
        seed: u64,
    },
    /// Nothing.
    Silence,
}

impl Signal {
    /// The usual test tone: 997 Hz, which meets ever new sample values at all common rates.
    pub const SINE_997_HZ: Self = Self::Sine { frequency_mhz: 997_000 };
}

/// The level of a test signal if nothing else is asked for, in dB below full scale.
pub const DEFAULT_LEVEL_DB: f64 = -6.0;

/// A test signal in one format.
#[derive(Debug, Clone)]
pub struct Tone {
    format: AudioFormat,
    signal: Signal,
    /// The peak value; 1 is full scale.
    amplitude: f64,
    /// For a sine; tones of one frequency and rate have them together.
    steps: Option<Arc<Steps>>,
}

/// Sines and cosines of the phases of the first blocks, and of the block behind them.
#[derive(Debug, Clone)]
struct Steps {
    sines: [f64; STEPS],
    cosines: [f64; STEPS],
    run: (f64, f64),
}

impl Steps {
    /// Those of this frequency in parts of a second's turns. Many streams have one tone, and then one table.
    fn of(frequency_mhz: u64, second: u64) -> Arc<Steps> {
        struct Known {
            of: (u64, u64),
            steps: Weak<Steps>,
        }
        static KNOWN: Mutex<Vec<Known>> = Mutex::new(Vec::new());
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let of = (frequency_mhz, second);
        if let Some(steps) = known.iter().find(|known| known.of == of).and_then(|known| known.steps.upgrade()) {
            return steps;
        }
        let turn = |block: usize| (block as u64 * frequency_mhz % second) as f64 / second as f64;
        let sines = std::array::from_fn(|block| (turn(block) * TAU).sin());
        let cosines = std::array::from_fn(|block| (turn(block) * TAU).cos());
        let steps = Arc::new(Steps { sines, cosines, run: (turn(STEPS) * TAU).sin_cos() });
        known.retain(|known| known.steps.strong_count() > 0);
        known.push(Known { of, steps: Arc::downgrade(&steps) });
        steps
    }
}

/// The blocks of a run: their sines are those of its first block and of a step, by the sum of two angles.
const STEPS: usize = 32;

/// The sine itself is computed for the first of so many runs; each of the others is a turn on from the one before. Which run
/// that is follows from its index, and so a sample still follows from its index alone.
const RUNS: u64 = 8;

impl Tone {
    /// Prepares `signal` at `level_db`, the level of its peaks relative to full scale.
    ///
    /// # Errors
    /// Refuses a frequency above half the sample rate, and a level that is no number or above 0 dB.
    pub fn new(signal: Signal, level_db: f64, format: &AudioFormat) -> Result<Self, FieldError> {
        if level_db.is_nan() || level_db > 0.0 {
            return Err(FieldError::new("the level in dB", level_db, "0 or less"));
        }
        let amplitude = 10f64.powf(level_db / 20.0);
        let mut tone = Self { format: *format, signal, amplitude, steps: None };
        if let Signal::Sine { frequency_mhz } = signal {
            let second = tone.second_mhz();
            if frequency_mhz > second / 2 {
                let expected = format!("at most half the sample rate of {} Hz", format.sample_rate());
                let value = frequency_mhz as f64 / 1000.0;
                return Err(FieldError::new("the frequency in Hz", value, expected));
            }
            tone.steps = Some(Steps::of(frequency_mhz, second));
        }
        Ok(tone)
    }

    /// The format of the samples.
    pub fn format(&self) -> &AudioFormat {
        &self.format
    }

    /// Fills `out` with as many whole blocks as fit, the first being block `first_block` of the signal; returns their
    /// bytes. What follows them in `out` is left alone.
    pub fn fill(&self, first_block: u64, out: &mut [u8]) -> usize {
        let block_bytes = self.format.block_bytes();
        let whole_bytes = out.len() - out.len() % block_bytes;
        let out = &mut out[..whole_bytes];
        match self.signal {
            Signal::Sine { frequency_mhz } => self.fill_sine(frequency_mhz, first_block, out),
            Signal::Noise { seed } => {
                let first = first_block.wrapping_mul(u64::from(self.format.channels()));
                let samples = out.chunks_exact_mut(self.format.sample_bytes());
                for (sample, index) in samples.zip(0u64..) {
                    self.put(noise(seed, first.wrapping_add(index)), sample);
                }
            }
            Signal::Silence => {
                let samples = out.chunks_exact_mut(self.format.sample_bytes());
                samples.for_each(|sample| self.put(0.0, sample));
            }
        }
        whole_bytes
    }

    /// A second in the unit of frequencies: the phase of a sine is a whole number of these parts of a turn.
    fn second_mhz(&self) -> u64 {
        u64::from(self.format.sample_rate()) * 1000
    }

    /// Fills whole blocks with the sine.
    fn fill_sine(&self, frequency_mhz: u64, first_block: u64, out: &mut [u8]) {
        let Some(steps) = &self.steps else { return };
        let second = self.second_mhz();
        let block_bytes = self.format.block_bytes();
        let is_16_bit = self.format.sample_kind() == SampleKind::Int
            && (self.format.container_bits(), self.format.valid_bits()) == (16, 16);
        let mut within = (first_block % STEPS as u64) as usize;
        let mut run = first_block / STEPS as u64 % RUNS;
        // Where the runs begin that the first block is in, in parts of a turn; the others follow, exactly.
        let (rows, row) = (first_block / (STEPS as u64 * RUNS), STEPS as u64 * RUNS * frequency_mhz);
        let mut phase = match rows.checked_mul(row) {
            Some(begin) => begin % second,
            None => u64::try_from(u128::from(rows) * u128::from(row) % u128::from(second)).unwrap_or(0),
        };
        let stride = STEPS as u64 * RUNS * frequency_mhz % second;
        let computed = |phase: u64| (phase as f64 / second as f64 * TAU).sin_cos();
        let turned = |(sine, cosine): (f64, f64)| {
            (sine * steps.run.1 + cosine * steps.run.0, cosine * steps.run.1 - sine * steps.run.0)
        };
        let mut first = (0..run).fold(computed(phase), |angle, _| turned(angle));
        let mut rest = out;
        while !rest.is_empty() {
            let bytes = rest.len().min((STEPS - within) * block_bytes);
            let (blocks, behind) = rest.split_at_mut(bytes);
            let (sine, cosine) = first;
            let value = |step: usize| sine * steps.cosines[step] + cosine * steps.sines[step];
            if is_16_bit {
                let coded: [i16; STEPS] = std::array::from_fn(|step| self.code_16(value(step)));
                put_in_all(&coded[within..], blocks, usize::from(self.format.channels()));
            } else {
                for (block, step) in blocks.chunks_exact_mut(block_bytes).zip(within..) {
                    let (one, others) = block.split_at_mut(self.format.sample_bytes());
                    self.put(value(step), one);
                    others.chunks_exact_mut(one.len()).for_each(|sample| sample.copy_from_slice(one));
                }
            }
            within = 0;
            rest = behind;
            run += 1;
            if run < RUNS {
                first = turned(first);
            } else {
                run = 0;
                phase = if phase >= second - stride { phase - (second - stride) } else { phase + stride };
                first = computed(phase);
            }
        }
    }

    /// `value`, from -1 to 1, at the tone's amplitude in 16 bits.
    #[inline]
    fn code_16(&self, value: f64) -> i16 {
        /// Added to a number of up to 51 bits it leaves that number, rounded, in the lowest bits.
        const ROUNDING: f64 = ((1u64 << 52) + (1u64 << 51)) as f64;
        (value * self.amplitude * f64::from(i16::MAX) + ROUNDING).to_bits() as i16
    }

    /// `value`, from -1 to 1, at the tone's amplitude as an integer of the format's width.
    #[inline]
    fn code(&self, value: f64) -> i64 {
        let valid_bits = self.format.valid_bits();
        let full_scale = ((1i64 << (valid_bits - 1)) - 1) as f64;
        let unused_bits = self.format.container_bits() - valid_bits;
        let scaled = value * self.amplitude * full_scale;
        // Rounded half away from zero; `f64::round` is a call.
        ((scaled + 0.5_f64.copysign(scaled)) as i64) << unused_bits
    }

    /// Codes `value`, from -1 to 1, at the tone's amplitude.
    fn put(&self, value: f64, sample: &mut [u8]) {
        match (self.format.sample_kind(), sample.len()) {
            (SampleKind::Float, 8) => sample.copy_from_slice(&(value * self.amplitude).to_le_bytes()),
            (SampleKind::Float, _) => sample.copy_from_slice(&((value * self.amplitude) as f32).to_le_bytes()),
            (SampleKind::Int, bytes) => {
                let coded = self.code(value);
                // Samples of 8 bits are unsigned with silence at 128.
                let coded = if bytes == 1 { coded + 128 } else { coded };
                sample.copy_from_slice(&coded.to_le_bytes()[..bytes]);
            }
        }
    }
}

/// Puts each sample in all channels of its block.
#[inline]
fn put_in_all(samples: &[i16], blocks: &mut [u8], channels: usize) {
    match channels {
        1 => put_in(samples, blocks.as_chunks_mut::<2>().0),
        2 => put_in(samples, blocks.as_chunks_mut::<4>().0),
        _ => {
            for (block, sample) in blocks.chunks_exact_mut(2 * channels).zip(samples) {
                block.as_chunks_mut().0.fill(sample.to_le_bytes());
            }
        }
    }
}

#[inline]
fn put_in<const BYTES: usize>(samples: &[i16], blocks: &mut [[u8; BYTES]]) {
    for (block, sample) in blocks.iter_mut().zip(samples) {
        block.as_chunks_mut().0.fill(sample.to_le_bytes());
    }
}

/// Sample `index` of the noise `seed`: from -1 to below 1. The finaliser of SplitMix64 over a Weyl sequence.
fn noise(seed: u64, index: u64) -> f64 {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    // The 53 bits that a double holds.
    (z >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn formats() -> Vec<AudioFormat> {
        let mut formats = Vec::new();
        for channels in [1, 2, 5] {
            for bits in [8, 16, 24, 32] {
                formats.push(AudioFormat::int(bits, channels, 44_100).unwrap());
            }
            for bits in [32, 64] {
                formats.push(AudioFormat::float(bits, channels, 44_100).unwrap());
            }
        }
        formats.push(AudioFormat::int(32, 2, 44_100).unwrap().with_valid_bits(24).unwrap());
        formats
    }

    fn samples_16(tone: &Tone, first_block: u64, count: usize) -> Vec<i16> {
        let mut bytes = vec![0; count * 2];
        assert_eq!(tone.fill(first_block, &mut bytes), count * 2);
        bytes.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect()
    }

    #[test]
    fn a_sine_has_its_level_its_frequency_and_no_offset() {
        let format = AudioFormat::int(16, 1, 48_000).unwrap();
        let tone = Tone::new(Signal::SINE_997_HZ, DEFAULT_LEVEL_DB, &format).unwrap();
        let samples = samples_16(&tone, 0, 48_000);
        let peak = (32767.0 * 10f64.powf(-0.3)).round() as i16;
        assert_eq!(samples.iter().max(), Some(&peak));
        assert_eq!(samples.iter().min(), Some(&-peak));
        assert_eq!(samples[0], 0);
        assert_eq!(samples.iter().map(|s| i64::from(*s)).sum::<i64>(), 0);
        let rises = samples.windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count();
        assert_eq!(rises, 996);
        let expected = |n: f64| (f64::from(peak) * (n * 997.0 / 48_000.0 * TAU).sin()).round() as i16;
        assert!(samples[12_345].abs_diff(expected(12_345.0)) <= 1);
    }

    #[test]
    fn a_sine_has_not_drifted_after_a_year() {
        let format = AudioFormat::int(16, 1, 44_100).unwrap();
        let year = 44_100 * 86_400 * 365;
        for frequency_mhz in [997_000, 440_123] {
            let tone = Tone::new(Signal::Sine { frequency_mhz }, -6.0, &format).unwrap();
            assert_eq!(samples_16(&tone, 0, 100), samples_16(&tone, year * 1000, 100));
        }
    }

    #[test]
    fn a_signal_in_parts_of_any_size_is_the_signal() {
        for signal in [Signal::SINE_997_HZ, Signal::Noise { seed: 7 }, Signal::Silence] {
            for format in formats() {
                let tone = Tone::new(signal, -3.0, &format).unwrap();
                let block_bytes = format.block_bytes();
                let mut whole = vec![0; block_bytes * 1000];
                tone.fill(43_700, &mut whole);
                let mut parts = Vec::new();
                for blocks in [1, 399, 2, 598] {
                    let mut part = vec![0; block_bytes * blocks + block_bytes - 1];
                    let first = 43_700 + (parts.len() / block_bytes) as u64;
                    assert_eq!(tone.fill(first, &mut part), block_bytes * blocks);
                    parts.extend_from_slice(&part[..block_bytes * blocks]);
                }
                assert!(parts == whole, "{signal:?} {format:?}");
            }
        }
    }

    #[test]
    fn silence_is_128_in_8_bits_and_0_elsewhere() {
        for format in formats() {
            let tone = Tone::new(Signal::Silence, 0.0, &format).unwrap();
            let mut bytes = [1; 80];
            let count = tone.fill(5, &mut bytes);
            let silence = if format.container_bits() == 8 { 128 } else { 0 };
            assert!(bytes[..count].iter().all(|byte| *byte == silence), "{format:?}");
        }
    }

    #[test]
    fn full_scale_does_not_overflow() {
        let format = AudioFormat::int(32, 1, 48_000).unwrap();
        let signal = Signal::Sine { frequency_mhz: 12_000_000 };
        let tone = Tone::new(signal, 0.0, &format).unwrap();
        let mut bytes = [0; 16];
        tone.fill(0, &mut bytes);
        let samples: Vec<_> = bytes.chunks_exact(4).map(|b| i32::from_le_bytes(b.try_into().unwrap())).collect();
        assert_eq!((samples[1], samples[3]), (i32::MAX, -i32::MAX));
    }

    #[test]
    fn noise_uses_its_range_and_differs_by_channel_and_seed() {
        let format = AudioFormat::int(16, 2, 48_000).unwrap();
        let noise = |seed| {
            let tone = Tone::new(Signal::Noise { seed }, 0.0, &format).unwrap();
            samples_16(&tone, 0, 20_000)
        };
        let samples = noise(1);
        assert_eq!(samples, noise(1));
        assert_ne!(samples, noise(2));
        let mean = samples.iter().map(|s| f64::from(*s)).sum::<f64>() / 20_000.0;
        let power = samples.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 500.0, "{mean}");
        // Even distribution over the range: a third of the square of full scale.
        assert!((power / 32767f64.powi(2) - 1.0 / 3.0).abs() < 0.01, "{power}");
        let product: f64 = samples.chunks_exact(2).map(|b| f64::from(b[0]) * f64::from(b[1])).sum();
        assert!((product / 10_000.0 / power).abs() < 0.05);
    }

    #[test]
    fn impossible_tones_are_refused_by_name() {
        let format = AudioFormat::int(16, 1, 48_000).unwrap();
        let refused = |signal, level_db| Tone::new(signal, level_db, &format).unwrap_err().field;
        assert_eq!(refused(Signal::Silence, 0.1), "the level in dB");
        assert_eq!(refused(Signal::Silence, f64::NAN), "the level in dB");
        let too_high = Signal::Sine { frequency_mhz: 24_000_001 };
        assert_eq!(refused(too_high, 0.0), "the frequency in Hz");
    }

    proptest! {
        #[test]
        fn any_tone_at_any_block_fills_without_panic(
            frequency_mhz in 0u64..5_000_000,
            first_block in any::<u64>(),
            sample_rate in 10_000u32..=4_000_000,
            level_db in -200f64..=0.0,
        ) {
            let format = AudioFormat::int(24, 2, sample_rate).unwrap();
            let tone = Tone::new(Signal::Sine { frequency_mhz }, level_db, &format).unwrap();
            let mut bytes = [0; 61];
            prop_assert_eq!(tone.fill(first_block, &mut bytes), 60);
        }
    }
}
