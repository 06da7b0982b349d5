//! From some loudspeakers to others: the matrix that the audio converter mixes channels by.
//!
//! `Decision:` the rules are these, and [`Matrix::new`] has no others.
//!
//! - A channel whose position the output has, too, goes there as it is.
//! - One that it has not is shared out: the centre to left and right at -3 dB each, or as it is where it is the only
//!   channel; left and right to the centre at -3 dB; back left to side left and the other way round as it is, or to
//!   front left at -3 dB; the back centre to both backs, both sides or both fronts; a front left of centre to front
//!   left; anything above to what is below it. Where that position is missing too, the same rule is used for it.
//! - The low-frequency channel goes to no other.
//! - If a row's gains come to more than 1, all of the matrix is made smaller by that, so that nothing clips that did not
//!   clip before.
//! - Channels without positions (more than eight channels and no mask, or fewer bits in the mask than channels) go to
//!   the channel of the same number.

use super::audio::AudioFormat;

/// Gains from each input channel to each output channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    inputs: usize,
    /// A row of gains an output channel.
    rows: Vec<Vec<f64>>,
}

const FRONT_LEFT: u32 = 0x1;
const FRONT_RIGHT: u32 = 0x2;
const FRONT_CENTER: u32 = 0x4;
const LOW_FREQUENCY: u32 = 0x8;
const BACK_LEFT: u32 = 0x10;
const BACK_RIGHT: u32 = 0x20;
const FRONT_LEFT_OF_CENTER: u32 = 0x40;
const FRONT_RIGHT_OF_CENTER: u32 = 0x80;
const BACK_CENTER: u32 = 0x100;
const SIDE_LEFT: u32 = 0x200;
const SIDE_RIGHT: u32 = 0x400;
const TOP_CENTER: u32 = 0x800;
const TOP_FRONT_LEFT: u32 = 0x1000;
const TOP_FRONT_CENTER: u32 = 0x2000;
const TOP_FRONT_RIGHT: u32 = 0x4000;
const TOP_BACK_LEFT: u32 = 0x8000;
const TOP_BACK_CENTER: u32 = 0x1_0000;
const TOP_BACK_RIGHT: u32 = 0x2_0000;

/// The positions of so many channels where nothing says them; 0 if there is no custom.
pub fn usual_mask(channels: u16) -> u32 {
    match channels {
        1 => FRONT_CENTER,
        2 => FRONT_LEFT | FRONT_RIGHT,
        3 => FRONT_LEFT | FRONT_RIGHT | FRONT_CENTER,
        4 => FRONT_LEFT | FRONT_RIGHT | BACK_LEFT | BACK_RIGHT,
        5 => FRONT_LEFT | FRONT_RIGHT | FRONT_CENTER | BACK_LEFT | BACK_RIGHT,
        6 => FRONT_LEFT | FRONT_RIGHT | FRONT_CENTER | LOW_FREQUENCY | BACK_LEFT | BACK_RIGHT,
        7 => FRONT_LEFT | FRONT_RIGHT | FRONT_CENTER | LOW_FREQUENCY | BACK_CENTER | SIDE_LEFT | SIDE_RIGHT,
        8 => FRONT_LEFT | FRONT_RIGHT | FRONT_CENTER | LOW_FREQUENCY | BACK_LEFT | BACK_RIGHT | SIDE_LEFT | SIDE_RIGHT,
        _ => 0,
    }
}

/// The position of each channel, in the order in which they are interleaved: that of the bits. `None`: not all have one.
fn positions(format: &AudioFormat) -> Option<Vec<u32>> {
    let mask = match format.channel_mask() {
        0 => usual_mask(format.channels()),
        mask => mask,
    };
    let positions: Vec<u32> = (0..32).map(|bit| 1 << bit).filter(|bit| mask & bit != 0).collect();
    (positions.len() >= usize::from(format.channels()))
        .then(|| positions.into_iter().take(usize::from(format.channels())).collect())
}

/// Where a position that the output lacks goes: the first of these of which the output has any, each with its gain.
fn substitutes(position: u32) -> &'static [&'static [(u32, f64)]] {
    const HALF: f64 = std::f64::consts::FRAC_1_SQRT_2;
    match position {
        FRONT_CENTER => &[&[(FRONT_LEFT, HALF), (FRONT_RIGHT, HALF)]],
        FRONT_LEFT | FRONT_RIGHT => &[&[(FRONT_CENTER, HALF)]],
        BACK_LEFT => &[&[(SIDE_LEFT, 1.0)], &[(FRONT_LEFT, HALF)], &[(FRONT_CENTER, 0.5)]],
        BACK_RIGHT => &[&[(SIDE_RIGHT, 1.0)], &[(FRONT_RIGHT, HALF)], &[(FRONT_CENTER, 0.5)]],
        SIDE_LEFT => &[&[(BACK_LEFT, 1.0)], &[(FRONT_LEFT, HALF)], &[(FRONT_CENTER, 0.5)]],
        SIDE_RIGHT => &[&[(BACK_RIGHT, 1.0)], &[(FRONT_RIGHT, HALF)], &[(FRONT_CENTER, 0.5)]],
        BACK_CENTER | TOP_BACK_CENTER => &[
            &[(BACK_LEFT, HALF), (BACK_RIGHT, HALF)],
            &[(SIDE_LEFT, HALF), (SIDE_RIGHT, HALF)],
            &[(FRONT_LEFT, 0.5), (FRONT_RIGHT, 0.5)],
            &[(FRONT_CENTER, HALF)],
        ],
        FRONT_LEFT_OF_CENTER | TOP_FRONT_LEFT => &[&[(FRONT_LEFT, 1.0)], &[(FRONT_CENTER, HALF)]],
        FRONT_RIGHT_OF_CENTER | TOP_FRONT_RIGHT => &[&[(FRONT_RIGHT, 1.0)], &[(FRONT_CENTER, HALF)]],
        TOP_CENTER | TOP_FRONT_CENTER => &[&[(FRONT_CENTER, 1.0)], &[(FRONT_LEFT, HALF), (FRONT_RIGHT, HALF)]],
        TOP_BACK_LEFT => &[&[(BACK_LEFT, 1.0)], &[(SIDE_LEFT, 1.0)], &[(FRONT_LEFT, HALF)], &[(FRONT_CENTER, 0.5)]],
        TOP_BACK_RIGHT => &[&[(BACK_RIGHT, 1.0)], &[(SIDE_RIGHT, 1.0)], &[(FRONT_RIGHT, HALF)], &[(FRONT_CENTER, 0.5)]],
        _ => &[],
    }
}

impl Matrix {
    /// The gains from the channels of one format to those of another.
    pub fn new(from: &AudioFormat, to: &AudioFormat) -> Self {
        let (inputs, outputs) = (usize::from(from.channels()), usize::from(to.channels()));
        let mut rows = vec![vec![0.0; inputs]; outputs];
        match (positions(from), positions(to)) {
            (Some(sources), Some(targets)) => {
                for (input, position) in sources.iter().enumerate() {
                    share_out(*position, sources.len() == 1, &targets, |output, gain| rows[output][input] += gain);
                }
            }
            _ => (0..inputs.min(outputs)).for_each(|channel| rows[channel][channel] = 1.0),
        }
        let loudest = rows.iter().map(|row| row.iter().sum::<f64>()).fold(1.0, f64::max);
        rows.iter_mut().flatten().for_each(|gain| *gain /= loudest);
        Self { inputs, rows }
    }

    /// Whether every channel goes to that of the same number as it is, and nowhere else.
    pub fn is_identity(&self) -> bool {
        let same = |(output, row): (usize, &Vec<f64>)| {
            row.iter().enumerate().all(|(input, gain)| *gain == if input == output { 1.0 } else { 0.0 })
        };
        self.inputs == self.rows.len() && self.rows.iter().enumerate().all(same)
    }

    /// The gain from an input channel to an output channel.
    pub fn gain(&self, input: usize, output: usize) -> f64 {
        self.rows.get(output).and_then(|row| row.get(input)).copied().unwrap_or(0.0)
    }

    /// Appends the mix of whole blocks of `samples` to `mixed`.
    pub fn mix(&self, samples: &[f64], mixed: &mut Vec<f64>) {
        for block in samples.chunks_exact(self.inputs) {
            mixed.extend(
                self.rows.iter().map(|row| row.iter().zip(block).map(|(gain, sample)| gain * sample).sum::<f64>()),
            );
        }
    }
}

fn share_out(position: u32, is_alone: bool, targets: &[u32], mut add: impl FnMut(usize, f64)) {
    let place = |position: u32| targets.iter().position(|target| *target == position);
    if let Some(output) = place(position) {
        return add(output, 1.0);
    }
    for choice in substitutes(position) {
        let found: Vec<_> = choice.iter().filter_map(|(to, gain)| Some((place(*to)?, *gain))).collect();
        if !found.is_empty() {
            let as_it_is = is_alone && position == FRONT_CENTER;
            return found.into_iter().for_each(|(output, gain)| add(output, if as_it_is { 1.0 } else { gain }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(from: u16, to: u16) -> Matrix {
        let format = |channels| AudioFormat::float(32, channels, 48_000).unwrap();
        Matrix::new(&format(from), &format(to))
    }

    #[test]
    fn the_same_channels_go_through_as_they_are() {
        for channels in 1..=32 {
            assert!(matrix(channels, channels).is_identity(), "{channels}");
        }
        assert!(!matrix(1, 2).is_identity() && !matrix(2, 1).is_identity());
    }

    #[test]
    fn mono_goes_to_both_sides_and_stereo_to_mono_at_half() {
        let up = matrix(1, 2);
        assert_eq!((up.gain(0, 0), up.gain(0, 1)), (1.0, 1.0));
        let down = matrix(2, 1);
        assert!((down.gain(0, 0) - 0.5).abs() < 1e-15 && (down.gain(1, 0) - 0.5).abs() < 1e-15);
    }

    #[test]
    fn surround_comes_down_to_stereo_without_its_low_frequencies() {
        let down = matrix(6, 2);
        let sum = 1.0 + 2.0 * std::f64::consts::FRAC_1_SQRT_2;
        let expected = [[1.0, 0.0, 0.707, 0.0, 0.707, 0.0], [0.0, 1.0, 0.707, 0.0, 0.0, 0.707]];
        for (output, row) in expected.iter().enumerate() {
            for (input, gain) in row.iter().enumerate() {
                assert!((down.gain(input, output) - gain / sum).abs() < 1e-3, "{input} to {output}");
            }
        }
    }

    #[test]
    fn no_mix_is_louder_than_its_loudest_input() {
        for from in 1..=8 {
            for to in 1..=8 {
                let matrix = matrix(from, to);
                for output in 0..usize::from(to) {
                    let sum: f64 = (0..usize::from(from)).map(|input| matrix.gain(input, output)).sum();
                    assert!(sum <= 1.0 + 1e-12, "{from} to {to}");
                }
                let low = if matches!(from, 6..=8) { Some(3) } else { None };
                for input in (0..usize::from(from)).filter(|input| Some(*input) != low) {
                    let heard: f64 = (0..usize::from(to)).map(|output| matrix.gain(input, output)).sum();
                    assert!(heard > 0.0, "channel {input} of {from} is lost on the way to {to}");
                }
            }
        }
    }

    #[test]
    fn side_and_back_stand_in_for_each_other() {
        let sides = AudioFormat::int(16, 4, 48_000).unwrap().with_channel_mask(0x603);
        let backs = AudioFormat::int(16, 4, 48_000).unwrap().with_channel_mask(0x33);
        assert!(Matrix::new(&sides, &backs).is_identity());
    }

    #[test]
    fn channels_without_positions_keep_their_numbers() {
        let many = matrix(12, 2);
        let mut mixed = Vec::new();
        many.mix(&(0..24).map(f64::from).collect::<Vec<_>>(), &mut mixed);
        assert_eq!(mixed, [0.0, 1.0, 12.0, 13.0]);
        let short = AudioFormat::int(16, 3, 48_000).unwrap().with_channel_mask(0x3);
        let stereo = AudioFormat::int(16, 2, 48_000).unwrap();
        assert_eq!(Matrix::new(&short, &stereo).gain(2, 0), 0.0);
    }
}
