//! Samples of every PCM format as numbers, and back.
//!
//! Full scale is 1.0. Each integer and each 32-bit floating-point sample has its number exactly, so that a conversion to
//! a wider format and back changes nothing.

use super::audio::{AudioFormat, SampleKind};

/// Appends the samples of `data` to `samples`; what is no whole sample at its end is left out.
pub fn decode(format: &AudioFormat, data: &[u8], samples: &mut Vec<f64>) {
    let bytes = format.sample_bytes();
    let each = data.chunks_exact(bytes);
    match (format.sample_kind(), bytes) {
        (SampleKind::Int, 1) => samples.extend(data.iter().map(|byte| (f64::from(*byte) - 128.0) / 128.0)),
        (SampleKind::Int, 2) => samples.extend(each.map(|s| f64::from(i16::from_le_bytes([s[0], s[1]])) / 32_768.0)),
        (SampleKind::Int, 3) => {
            samples.extend(each.map(|s| f64::from(i32::from_le_bytes([0, s[0], s[1], s[2]])) / 2_147_483_648.0));
        }
        (SampleKind::Int, _) => {
            samples.extend(each.map(|s| f64::from(i32::from_le_bytes([s[0], s[1], s[2], s[3]])) / 2_147_483_648.0));
        }
        (SampleKind::Float, 4) => {
            samples.extend(each.map(|s| f64::from(f32::from_le_bytes([s[0], s[1], s[2], s[3]]))));
        }
        (SampleKind::Float, _) => {
            samples.extend(each.map(|s| f64::from_le_bytes([s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]])))
        }
    }
}

/// Appends samples to `data` in a format.
///
/// Decision: what an integer cannot hold is rounded to the nearest value that it can, halves away from zero, without
/// dither, so that the same input always gives the same bytes; what is beyond full scale is clipped, and what is no
/// number is silence. Floating-point formats keep values beyond full scale.
pub fn encode(format: &AudioFormat, samples: &[f64], data: &mut Vec<u8>) {
    let bits = u32::from(format.valid_bits());
    let full = 2_f64.powi(bits as i32 - 1);
    // The valid bits are the upper ones of the container.
    let unused = u32::from(format.container_bits()) - bits;
    let integer = |sample: f64| ((sample * full).round().clamp(-full, full - 1.0) as i32) << unused;
    match (format.sample_kind(), format.sample_bytes()) {
        (SampleKind::Int, 1) => data.extend(samples.iter().map(|sample| (integer(*sample) + 128) as u8)),
        (SampleKind::Int, bytes) => {
            for sample in samples {
                data.extend_from_slice(&integer(*sample).to_le_bytes()[..bytes]);
            }
        }
        (SampleKind::Float, 4) => data.extend(samples.iter().flat_map(|sample| (*sample as f32).to_le_bytes())),
        (SampleKind::Float, _) => data.extend(samples.iter().flat_map(|sample| sample.to_le_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(format: &AudioFormat, data: &[u8]) -> Vec<u8> {
        let (mut samples, mut back) = (Vec::new(), Vec::new());
        decode(format, data, &mut samples);
        encode(format, &samples, &mut back);
        back
    }

    #[test]
    fn every_sample_survives_the_way_to_a_number_and_back() {
        let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        for bits in [8, 16, 24, 32] {
            let format = AudioFormat::int(bits, 1, 48_000).unwrap();
            let whole = all.len() / format.sample_bytes() * format.sample_bytes();
            assert_eq!(there_and_back(&format, &all[..whole]), all[..whole], "{bits} bits");
        }
        for bits in [32, 64] {
            let format = AudioFormat::float(bits, 1, 48_000).unwrap();
            let data: Vec<u8> = [0.0_f64, -1.5, 0.1, 1e-30]
                .iter()
                .flat_map(|v| if bits == 32 { (*v as f32).to_le_bytes().to_vec() } else { v.to_le_bytes().to_vec() })
                .collect();
            assert_eq!(there_and_back(&format, &data), data);
        }
    }

    #[test]
    fn what_an_integer_cannot_hold_is_rounded_and_clipped() {
        let format = AudioFormat::int(16, 1, 48_000).unwrap();
        let mut data = Vec::new();
        encode(&format, &[1.0, -1.0, 9.0, f64::NAN, 0.5 / 32_768.0, -0.4 / 32_768.0], &mut data);
        let values: Vec<i16> = data.chunks_exact(2).map(|s| i16::from_le_bytes([s[0], s[1]])).collect();
        assert_eq!(values, [32_767, -32_768, 32_767, 0, 1, 0]);
    }

    #[test]
    fn only_the_valid_bits_of_a_container_are_used() {
        let format = AudioFormat::int(32, 1, 48_000).unwrap().with_valid_bits(20).unwrap();
        let mut data = Vec::new();
        encode(&format, &[1.0, 0.123_456_789], &mut data);
        for sample in data.chunks_exact(4) {
            assert_eq!(i32::from_le_bytes(sample.try_into().unwrap()) & 0xFFF, 0);
        }
    }
}
