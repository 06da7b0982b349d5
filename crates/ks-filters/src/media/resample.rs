//! From one sample rate to another, at exact length: a stream of `n` blocks becomes one of `n * to / from`, rounded to the
//! nearest, and its first block stays the first.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{
    Async, FixedAsync, Indexing, Resampler as _, SincInterpolationParameters, SincInterpolationType, WindowFunction,
    calculate_cutoff,
};

use super::error::FieldError;

/// How much higher or lower a rate may become.
pub const MAX_FACTOR: u32 = 64;

/// Points of the filter at the lower of both rates; its stop band lies 150 dB down, its pass band ends 5 % below the
/// lower Nyquist frequency.
const FILTER_POINTS: usize = 256;
/// Filters between two points.
const OVERSAMPLING: usize = 256;
/// Blocks of a step, at the higher of both rates.
const STEP_BLOCKS: usize = 256;
/// The most blocks of silence ahead of a stream that shift it onto the output's blocks.
const MOST_SHIFT: u32 = 4096;

/// A stream on its way from one rate to another. Holds a filter's length and one step of it, whatever is put in.
pub struct Resampler {
    inner: Async<f64>,
    channels: usize,
    from_rate: u32,
    to_rate: u32,
    /// Interleaved blocks that wait for the next step.
    waiting: Vec<f64>,
    step: Vec<f64>,
    /// Blocks of output that came of the silence ahead, and are yet to be left out.
    to_skip: u64,
    taken: u64,
    given: u64,
    ended: bool,
}

impl Resampler {
    /// A resampler of so many channels.
    ///
    /// # Errors
    /// Names the rate that is 0, or more than [`MAX_FACTOR`] times the other.
    pub fn new(channels: u16, from_rate: u32, to_rate: u32) -> Result<Self, FieldError> {
        let (low, high) = rates_from(from_rate);
        if from_rate == 0 || !(low..=high).contains(&to_rate) {
            return Err(FieldError::new("the sample rate", to_rate, format!("{low} to {high}, from {from_rate}")));
        }
        let channels = usize::from(channels.max(1));
        let ratio = f64::from(to_rate) / f64::from(from_rate);
        // Downwards the filter is as long as it is in time at the lower rate.
        let points = (FILTER_POINTS as f64 / ratio.min(1.0)).ceil() as usize;
        let points = points.next_multiple_of(8);
        let parameters = SincInterpolationParameters {
            sinc_len: points,
            f_cutoff: Some(calculate_cutoff(FILTER_POINTS, WindowFunction::BlackmanHarris2)),
            oversampling_factor: OVERSAMPLING,
            interpolation: SincInterpolationType::Cubic,
            window: WindowFunction::BlackmanHarris2,
        };
        let fixed = if ratio > 1.0 { FixedAsync::Output } else { FixedAsync::Input };
        let inner = Async::new_sinc(ratio, 1.0, &parameters, STEP_BLOCKS, channels, fixed)
            .map_err(|error| FieldError::new("the sample rate", to_rate, error.to_string()))?;
        let (ahead, to_skip) = alignment(points, from_rate, to_rate);
        Ok(Self {
            inner,
            channels,
            from_rate,
            to_rate,
            waiting: vec![0.0; ahead * channels],
            step: Vec::new(),
            to_skip,
            taken: 0,
            given: 0,
            ended: false,
        })
    }

    /// Puts whole interleaved blocks in.
    pub fn push(&mut self, samples: &[f64]) {
        self.taken += (samples.len() / self.channels) as u64;
        self.waiting.extend_from_slice(samples);
    }

    /// Says that nothing more comes, so that [`pull`](Self::pull) gives all that is left.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Appends the next blocks to `samples`, at most a step of them. False when there are none: more input is needed,
    /// or all was given.
    pub fn pull(&mut self, samples: &mut Vec<f64>) -> bool {
        let length = resampled_blocks(self.taken, self.from_rate, self.to_rate);
        loop {
            if self.ended && self.given >= length {
                return false;
            }
            let needed = self.inner.input_frames_next();
            let there = (self.waiting.len() / self.channels).min(needed);
            if there < needed && !self.ended {
                return false;
            }
            let before = samples.len();
            if !self.run_step(there, samples) {
                return false;
            }
            if self.ended {
                let most = (length - self.given) as usize * self.channels;
                samples.truncate(before + most.min(samples.len() - before));
            }
            let blocks = (samples.len() - before) / self.channels;
            self.given += blocks as u64;
            if blocks > 0 {
                return true;
            }
        }
    }

    /// One step over the first `there` waiting blocks, and silence where it needs more.
    fn run_step(&mut self, there: usize, samples: &mut Vec<f64>) -> bool {
        let room = self.inner.output_frames_next();
        self.step.clear();
        self.step.resize(room * self.channels, 0.0);
        let indexing = Indexing::new().partial_len(there);
        let waiting = &self.waiting[..there * self.channels];
        let (Ok(input), Ok(mut output)) = (
            InterleavedSlice::new(waiting, self.channels, there),
            InterleavedSlice::new_mut(&mut self.step, self.channels, room),
        ) else {
            return false;
        };
        let Ok((_, blocks)) = self.inner.process_into_buffer(&input, &mut output, Some(&indexing)) else {
            return false;
        };
        self.waiting.drain(..there * self.channels);
        let skipped = (blocks as u64).min(self.to_skip);
        self.to_skip -= skipped;
        samples.extend_from_slice(&self.step[skipped as usize * self.channels..blocks * self.channels]);
        true
    }
}

/// The lowest and the highest rate that `rate` can become.
pub fn rates_from(rate: u32) -> (u32, u32) {
    (rate.div_ceil(MAX_FACTOR).max(1), rate.saturating_mul(MAX_FACTOR))
}

/// The blocks that so many become.
pub fn resampled_blocks(blocks: u64, from_rate: u32, to_rate: u32) -> u64 {
    let (from, to) = (u128::from(from_rate.max(1)), u128::from(to_rate));
    u64::try_from((u128::from(blocks) * to + from / 2) / from).unwrap_or(u64::MAX)
}

/// How many blocks of silence to put ahead, and how many blocks of output to leave out, so that the first block that is
/// given stands where the first one stood that was put in.
///
/// The filter's first output stands half its length, less one step, before its first input (and a part of a block after
/// that, one over [`OVERSAMPLING`], which nothing is done about). Rarely is that a whole number of output blocks; with the
/// right amount of silence ahead it is. Where both rates have hardly a divisor in
/// common that would be a lot of silence, and the nearest block is taken: less than half a block off.
fn alignment(points: usize, from_rate: u32, to_rate: u32) -> (usize, u64) {
    let divisor = greatest_common_divisor(from_rate, to_rate);
    let (from, to) = (u64::from(from_rate / divisor), u64::from(to_rate / divisor));
    let before = points as u64 / 2;
    // Output block `k` stands at `(k + 1) * from / to - before` blocks of the input.
    let ahead = if from <= u64::from(MOST_SHIFT) { before.next_multiple_of(from) - before } else { 0 };
    let skip = ((before + ahead) * to + from / 2) / from;
    (ahead as usize, skip.saturating_sub(1))
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::TAU;

    fn whole(from_rate: u32, to_rate: u32, samples: &[f64], pieces: usize) -> Vec<f64> {
        let mut resampler = Resampler::new(1, from_rate, to_rate).unwrap();
        let mut result = Vec::new();
        for piece in samples.chunks(pieces) {
            resampler.push(piece);
            while resampler.pull(&mut result) {}
        }
        resampler.end();
        while resampler.pull(&mut result) {}
        result
    }

    fn tone(rate: u32, hertz: f64, blocks: usize) -> Vec<f64> {
        let amplitude = 10_f64.powf(-1.0 / 20.0);
        (0..blocks).map(|n| amplitude * (TAU * hertz * n as f64 / f64::from(rate)).sin()).collect()
    }

    /// The tone that is nearest to what is there, without the ends, which ring: how many blocks late it is, and how far
    /// below it everything else lies, in dB.
    fn late_and_residual_db(result: &[f64], rate: u32, hertz: f64) -> (f64, f64) {
        let step = TAU * hertz / f64::from(rate);
        let ends = rate as usize / 50;
        let range = ends..result.len() - ends;
        let (mut ss, mut sc, mut cc, mut ys, mut yc) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for n in range.clone() {
            let (sin, cos) = (step * n as f64).sin_cos();
            (ss, sc, cc) = (ss + sin * sin, sc + sin * cos, cc + cos * cos);
            (ys, yc) = (ys + result[n] * sin, yc + result[n] * cos);
        }
        let determinant = ss * cc - sc * sc;
        let (a, b) = ((ys * cc - yc * sc) / determinant, (yc * ss - ys * sc) / determinant);
        let error: f64 = range
            .clone()
            .map(|n| {
                let (sin, cos) = (step * n as f64).sin_cos();
                (result[n] - a * sin - b * cos).powi(2)
            })
            .sum();
        let amplitude = a.hypot(b);
        assert!((20.0 * amplitude.log10() + 1.0).abs() < 0.001, "the level has changed: {amplitude}");
        let residual = 10.0 * (error / range.len() as f64 / (amplitude * amplitude / 2.0)).log10();
        (-b.atan2(a) / step, residual)
    }

    #[test]
    fn a_tone_keeps_its_place_and_leaves_a_residual_below_90_db() {
        for (from, to) in
            [(44_100, 48_000), (48_000, 44_100), (48_000, 96_000), (96_000, 8000), (8000, 48_000), (11_025, 192_000)]
        {
            let result = whole(from, to, &tone(from, 997.0, from as usize), 1000);
            assert_eq!(result.len(), to as usize);
            let (late, residual) = late_and_residual_db(&result, to, 997.0);
            assert!(residual < -110.0, "{from} to {to}: {residual} dB");
            assert!(late.abs() < 0.1, "{from} to {to}: {late} blocks late");
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_hold_is_gone() {
        for (from, to, hertz) in [(48_000, 8000, 4500.0), (192_000, 44_100, 23_500.0), (44_100, 8000, 15_000.0)] {
            let result = whole(from, to, &tone(from, hertz, from as usize), 777);
            let ends = to as usize / 50;
            let loudest = result[ends..result.len() - ends].iter().fold(0.0_f64, |most, value| most.max(value.abs()));
            assert!(20.0 * loudest.log10() < -100.0, "{from} to {to}: {loudest}");
        }
    }

    #[test]
    fn every_length_is_exact_whatever_the_pieces() {
        for blocks in [0, 1, 2, 146, 147, 1000, 4411] {
            let samples = tone(44_100, 100.0, blocks);
            let one = whole(44_100, 48_000, &samples, 4096);
            assert_eq!(one.len() as u64, resampled_blocks(blocks as u64, 44_100, 48_000));
            assert_eq!(one, whole(44_100, 48_000, &samples, 7));
            assert_eq!(
                whole(48_000, 11_025, &samples, 64).len() as u64,
                resampled_blocks(blocks as u64, 48_000, 11_025)
            );
            assert_eq!(
                whole(44_100, 48_001, &samples, 64).len() as u64,
                resampled_blocks(blocks as u64, 44_100, 48_001)
            );
        }
    }

    #[test]
    fn channels_stay_apart() {
        let mut resampler = Resampler::new(2, 44_100, 48_000).unwrap();
        let left = tone(44_100, 997.0, 4410);
        let both: Vec<f64> = left.iter().flat_map(|sample| [*sample, 0.0]).collect();
        resampler.push(&both);
        resampler.end();
        let mut result = Vec::new();
        while resampler.pull(&mut result) {}
        assert_eq!(result.len(), 2 * 4800);
        assert!(result.chunks_exact(2).all(|block| block[1] == 0.0));
        assert!(result.chunks_exact(2).any(|block| block[0] > 0.8));
    }

    #[test]
    fn rates_too_far_apart_are_refused() {
        for (from, to) in [(0, 1), (1, 0), (1, 65), (48_000, 749), (4_000_000, 48_000)] {
            assert!(Resampler::new(1, from, to).is_err(), "{from} to {to}");
        }
        for (from, to) in [(1, 64), (48_000, 750), (44_100, 44_101)] {
            assert!(Resampler::new(1, from, to).is_ok(), "{from} to {to}");
        }
    }
}
