//! The formats of PCM audio that the built-in filters stream.

use super::error::FieldError;

/// How one sample is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SampleKind {
    /// Integer PCM, little-endian: unsigned in 8-bit containers, two's complement in wider ones.
    Int,
    /// IEEE 754 floating point, little-endian, full scale at 1.0.
    Float,
}

/// One PCM format: what WAVEFORMATEX or WAVEFORMATEXTENSIBLE says, checked.
///
/// A value of this type is always consistent: containers are whole bytes, the valid bits fit the container, and the
/// sizes below cannot overflow. Samples are interleaved; one sample of every channel is a *block*.
#[doc(alias = "WAVEFORMATEX")]
#[doc(alias = "WAVEFORMATEXTENSIBLE")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AudioFormat {
    sample_kind: SampleKind,
    container_bits: u16,
    valid_bits: u16,
    channels: u16,
    channel_mask: u32,
    sample_rate: u32,
}

/// The most channels that a format may have.
pub const MAX_CHANNELS: u16 = 32;
/// The highest sample rate, in Hz, that a format may have.
pub const MAX_SAMPLE_RATE: u32 = 4_000_000;

const TAG_PCM: u16 = 1;
const TAG_FLOAT: u16 = 3;
const TAG_EXTENSIBLE: u16 = 0xFFFE;
/// The last 14 bytes of every sub-format GUID that stands for a format tag; the tag is the first two.
const SUBFORMAT_TAIL: [u8; 14] = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xAA, 0, 0x38, 0x9B, 0x71];

impl AudioFormat {
    /// An integer format of 8, 16, 24 or 32 bits a sample, all valid, with no channel mask.
    ///
    /// # Errors
    /// Names the parameter that is out of range.
    pub fn int(bits: u16, channels: u16, sample_rate: u32) -> Result<Self, FieldError> {
        Self::checked(SampleKind::Int, bits, bits, channels, 0, sample_rate)
    }

    /// A floating-point format of 32 or 64 bits a sample, with no channel mask.
    ///
    /// # Errors
    /// Names the parameter that is out of range.
    pub fn float(bits: u16, channels: u16, sample_rate: u32) -> Result<Self, FieldError> {
        Self::checked(SampleKind::Float, bits, bits, channels, 0, sample_rate)
    }

    /// The same format with its channels at the given speaker positions (0: unspecified).
    #[must_use]
    pub fn with_channel_mask(self, channel_mask: u32) -> Self {
        Self { channel_mask, ..self }
    }

    /// The same format with only the upper `valid_bits` of each container used.
    ///
    /// # Errors
    /// Refuses more bits than the container has, none, and any other than all of a floating-point container.
    pub fn with_valid_bits(self, valid_bits: u16) -> Result<Self, FieldError> {
        Self::checked(
            self.sample_kind,
            self.container_bits,
            valid_bits,
            self.channels,
            self.channel_mask,
            self.sample_rate,
        )
    }

    fn checked(
        sample_kind: SampleKind,
        container_bits: u16,
        valid_bits: u16,
        channels: u16,
        channel_mask: u32,
        sample_rate: u32,
    ) -> Result<Self, FieldError> {
        let (containers, expected): (&[u16], _) = match sample_kind {
            SampleKind::Int => (&[8, 16, 24, 32], "8, 16, 24 or 32 for integer samples"),
            SampleKind::Float => (&[32, 64], "32 or 64 for floating-point samples"),
        };
        if !containers.contains(&container_bits) {
            return Err(FieldError::new("wBitsPerSample", container_bits, expected));
        }
        let fewest_bits = match sample_kind {
            SampleKind::Int => 1,
            SampleKind::Float => container_bits,
        };
        if !(fewest_bits..=container_bits).contains(&valid_bits) {
            return Err(FieldError::new(
                "wValidBitsPerSample",
                valid_bits,
                format!("{fewest_bits} to {container_bits}"),
            ));
        }
        if !(1..=MAX_CHANNELS).contains(&channels) {
            return Err(FieldError::new("nChannels", channels, format!("1 to {MAX_CHANNELS}")));
        }
        if !(1..=MAX_SAMPLE_RATE).contains(&sample_rate) {
            return Err(FieldError::new("nSamplesPerSec", sample_rate, format!("1 to {MAX_SAMPLE_RATE}")));
        }
        Ok(Self { sample_kind, container_bits, valid_bits, channels, channel_mask, sample_rate })
    }

    /// How one sample is coded.
    pub fn sample_kind(&self) -> SampleKind {
        self.sample_kind
    }

    /// The bits that one sample takes in memory.
    #[doc(alias = "wBitsPerSample")]
    pub fn container_bits(&self) -> u16 {
        self.container_bits
    }

    /// The bits of each container that carry the sample, from the top.
    #[doc(alias = "wValidBitsPerSample")]
    pub fn valid_bits(&self) -> u16 {
        self.valid_bits
    }

    /// The number of channels, from 1 to [`MAX_CHANNELS`].
    #[doc(alias = "nChannels")]
    pub fn channels(&self) -> u16 {
        self.channels
    }

    /// The speaker positions of the channels; 0 where they are unspecified.
    #[doc(alias = "dwChannelMask")]
    pub fn channel_mask(&self) -> u32 {
        self.channel_mask
    }

    /// Blocks a second.
    #[doc(alias = "nSamplesPerSec")]
    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// The bytes of one sample.
    pub fn sample_bytes(&self) -> usize {
        usize::from(self.container_bits >> 3)
    }

    /// The bytes of one block: one sample of every channel.
    #[doc(alias = "nBlockAlign")]
    pub fn block_bytes(&self) -> usize {
        self.sample_bytes().saturating_mul(usize::from(self.channels))
    }

    /// The bytes of one second.
    #[doc(alias = "nAvgBytesPerSec")]
    pub fn bytes_per_second(&self) -> u32 {
        // At most 4,000,000 * 32 * 8, which fits.
        self.sample_rate.saturating_mul(self.block_bytes() as u32)
    }

    /// The time, in 100-ns units since the first, at which block `block_index` begins.
    pub fn block_time_100ns(&self, block_index: u64) -> u64 {
        if let Some(scaled) = block_index.checked_mul(10_000_000) {
            return scaled / u64::from(self.sample_rate);
        }
        let time = u128::from(block_index).saturating_mul(10_000_000) / u128::from(self.sample_rate);
        u64::try_from(time).unwrap_or(u64::MAX)
    }

    /// Reads a WAVEFORMATEX or WAVEFORMATEXTENSIBLE, as a WAV file and a KSDATAFORMAT_WAVEFORMATEX hold it.
    ///
    /// Bytes beyond the structure are ignored, and so is `nAvgBytesPerSec`, which follows from the rest and is wrong
    /// in many files. A plain format whose bits are no multiple of 8 takes the next wider container.
    ///
    /// # Errors
    /// Names the first field that is missing, inconsistent or not supported.
    pub fn from_wave_format(bytes: &[u8]) -> Result<Self, FieldError> {
        let too_short = |needed: usize| {
            let expected = format!("at least {needed} bytes");
            FieldError::new("the fmt size", format!("{} bytes", bytes.len()), expected)
        };
        let tag = u16_at(bytes, 0).ok_or_else(|| too_short(16))?;
        let channels = u16_at(bytes, 2).ok_or_else(|| too_short(16))?;
        let sample_rate = u32_at(bytes, 4).ok_or_else(|| too_short(16))?;
        let block_align = u16_at(bytes, 12).ok_or_else(|| too_short(16))?;
        let bits = u16_at(bytes, 14).ok_or_else(|| too_short(16))?;

        let (tag, container_bits, valid_bits, channel_mask) = if tag == TAG_EXTENSIBLE {
            let extra_bytes = u16_at(bytes, 16).ok_or_else(|| too_short(40))?;
            if extra_bytes < 22 {
                return Err(FieldError::new("cbSize", extra_bytes, "at least 22"));
            }
            let valid_bits = u16_at(bytes, 18).ok_or_else(|| too_short(40))?;
            let mask = u32_at(bytes, 20).ok_or_else(|| too_short(40))?;
            let subformat = bytes.get(24..40).ok_or_else(|| too_short(40))?;
            if !subformat.ends_with(&SUBFORMAT_TAIL) {
                let hex: String = subformat.iter().map(|b| format!("{b:02x}")).collect();
                return Err(FieldError::new("SubFormat", hex, "the GUID of PCM or of IEEE float"));
            }
            let tag = u16_at(bytes, 24).ok_or_else(|| too_short(40))?;
            let valid_bits = if valid_bits == 0 { bits } else { valid_bits };
            (tag, bits, valid_bits, mask)
        } else {
            (tag, bits.div_ceil(8).saturating_mul(8), bits, 0)
        };
        let sample_kind = match tag {
            TAG_PCM => SampleKind::Int,
            TAG_FLOAT => SampleKind::Float,
            _ => {
                return Err(FieldError::new(
                    "wFormatTag",
                    format!("{tag:#06x}"),
                    "1 (PCM), 3 (IEEE float) or 0xfffe (extensible) of these; decode the file to PCM first",
                ));
            }
        };
        let format = Self::checked(sample_kind, container_bits, valid_bits, channels, channel_mask, sample_rate)?;
        if usize::from(block_align) != format.block_bytes() {
            let expected = format!("{} for {channels} channels of {container_bits} bits", format.block_bytes());
            return Err(FieldError::new("nBlockAlign", block_align, expected));
        }
        Ok(format)
    }

    /// The format as a WAVEFORMATEX (18 bytes), or as a WAVEFORMATEXTENSIBLE (40 bytes) where the former cannot say it:
    /// more than two channels, a channel mask, integers of more than 16 bits, or bits of the container unused.
    pub fn wave_format(&self) -> Vec<u8> {
        let tag = match self.sample_kind {
            SampleKind::Int => TAG_PCM,
            SampleKind::Float => TAG_FLOAT,
        };
        let extensible = self.needs_extensible();
        let mut bytes = Vec::with_capacity(40);
        let outer_tag = if extensible { TAG_EXTENSIBLE } else { tag };
        bytes.extend_from_slice(&outer_tag.to_le_bytes());
        bytes.extend_from_slice(&self.channels.to_le_bytes());
        bytes.extend_from_slice(&self.sample_rate.to_le_bytes());
        bytes.extend_from_slice(&self.bytes_per_second().to_le_bytes());
        bytes.extend_from_slice(&(self.block_bytes() as u16).to_le_bytes());
        bytes.extend_from_slice(&self.container_bits.to_le_bytes());
        if extensible {
            bytes.extend_from_slice(&22u16.to_le_bytes());
            bytes.extend_from_slice(&self.valid_bits.to_le_bytes());
            bytes.extend_from_slice(&self.channel_mask.to_le_bytes());
            bytes.extend_from_slice(&tag.to_le_bytes());
            bytes.extend_from_slice(&SUBFORMAT_TAIL);
        } else {
            bytes.extend_from_slice(&0u16.to_le_bytes());
        }
        bytes
    }

    fn needs_extensible(&self) -> bool {
        self.channels > 2
            || self.channel_mask != 0
            || self.valid_bits != self.container_bits
            || (self.sample_kind == SampleKind::Int && self.container_bits > 16)
    }
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    let field = bytes.get(offset..)?.first_chunk()?;
    Some(u16::from_le_bytes(*field))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let field = bytes.get(offset..)?.first_chunk()?;
    Some(u32::from_le_bytes(*field))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_format_reads_back_as_it_was_written() {
        for channels in 1..=8 {
            for bits in [8, 16, 24, 32] {
                let format = AudioFormat::int(bits, channels, 48_000).unwrap();
                assert_eq!(AudioFormat::from_wave_format(&format.wave_format()), Ok(format));
            }
            for bits in [32, 64] {
                let format = AudioFormat::float(bits, channels, 44_100).unwrap().with_channel_mask(0x60F);
                assert_eq!(AudioFormat::from_wave_format(&format.wave_format()), Ok(format));
            }
        }
        let format = AudioFormat::int(32, 2, 96_000).unwrap();
        let format = format.with_valid_bits(24).unwrap();
        assert_eq!(AudioFormat::from_wave_format(&format.wave_format()), Ok(format));
    }

    #[test]
    fn plain_stereo_of_16_bits_is_the_plain_structure() {
        let format = AudioFormat::int(16, 2, 44_100).unwrap();
        let bytes = format.wave_format();
        assert_eq!(bytes, [1, 0, 2, 0, 0x44, 0xAC, 0, 0, 0x10, 0xB1, 2, 0, 4, 0, 16, 0, 0, 0]);
        assert_eq!(format.block_time_100ns(44_100), 10_000_000);
        // A WAV file may leave the cbSize of plain PCM out.
        assert_eq!(AudioFormat::from_wave_format(&bytes[..16]), Ok(format));
    }

    #[test]
    fn twenty_bits_take_a_container_of_three_bytes() {
        let mut bytes = AudioFormat::int(16, 1, 8000).unwrap().wave_format();
        bytes[12] = 3;
        bytes[14] = 20;
        let format = AudioFormat::from_wave_format(&bytes).unwrap();
        assert_eq!((format.container_bits(), format.valid_bits()), (24, 20));
    }

    #[test]
    fn each_refusal_names_its_field() {
        let plain = AudioFormat::int(16, 2, 44_100).unwrap().wave_format();
        let refuse = |offset: usize, value: u8, field: &str| {
            let mut bytes = plain.clone();
            bytes[offset] = value;
            let error = AudioFormat::from_wave_format(&bytes).unwrap_err();
            assert_eq!(error.field, field);
        };
        refuse(0, 0x55, "wFormatTag");
        refuse(2, 0, "nChannels");
        refuse(2, 33, "nChannels");
        refuse(7, 0xFF, "nSamplesPerSec");
        refuse(12, 5, "nBlockAlign");
        refuse(14, 0, "wBitsPerSample");
        refuse(14, 40, "wBitsPerSample");
        refuse(0, 3, "wBitsPerSample");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_refused_or_consistent(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(format) = AudioFormat::from_wave_format(&bytes) {
                prop_assert!(format.block_bytes() > 0);
                let again = AudioFormat::from_wave_format(&format.wave_format());
                prop_assert_eq!(again, Ok(format));
            }
        }

        #[test]
        fn a_cut_structure_is_refused(cut in 0usize..40) {
            let format = AudioFormat::int(24, 6, 48_000).unwrap();
            prop_assert!(AudioFormat::from_wave_format(&format.wave_format()[..cut]).is_err());
        }
    }
}
