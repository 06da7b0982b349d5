//! Audio formats and ranges.

use zerocopy::IntoBytes;

use crate::define::{abi_consts, abi_struct};
use crate::format::{KsDataFormat, KsDataRange};
use crate::guid::Guid;
use crate::guid::formats::{KSDATAFORMAT_SPECIFIER_WAVEFORMATEX, KSDATAFORMAT_SUBTYPE_PCM, KSDATAFORMAT_TYPE_AUDIO};

abi_struct! {
    /// A wave format; `extra_bytes` more bytes follow.
    pub struct WaveFormatEx = "WAVEFORMATEX", "ns-mmreg-waveformatex" [packed(1)] {
        /// `WAVE_FORMAT_*`.
        format_tag: u16 = "wFormatTag",
        /// Number of channels.
        channels: u16 = "nChannels",
        /// Frames (one sample a channel) in a second.
        samples_per_sec: u32 = "nSamplesPerSec",
        /// Bytes in a second.
        avg_bytes_per_sec: u32 = "nAvgBytesPerSec",
        /// Bytes of one frame.
        block_align: u16 = "nBlockAlign",
        /// Bits of one sample's container.
        bits_per_sample: u16 = "wBitsPerSample",
        /// Bytes that follow.
        extra_bytes: u16 = "cbSize",
    }
}

impl WaveFormatEx {
    /// A format without extra bytes; `None` when the byte rates do not fit their fields.
    #[must_use]
    pub fn uncompressed(format_tag: u16, channels: u16, samples_per_sec: u32, bits_per_sample: u16) -> Option<Self> {
        let block_align = channels.checked_mul(bits_per_sample.div_ceil(8))?;
        Some(Self {
            format_tag,
            channels,
            samples_per_sec,
            avg_bytes_per_sec: samples_per_sec.checked_mul(block_align.into())?,
            block_align,
            bits_per_sample,
            extra_bytes: 0,
        })
    }
}

abi_struct! {
    /// A wave format with valid bits, speaker positions and sub-format.
    pub struct WaveFormatExtensible = "WAVEFORMATEXTENSIBLE", "ns-mmreg-waveformatextensible" [packed(1)] {
        /// The plain part; its tag is [`WAVE_FORMAT_EXTENSIBLE`] and its extra bytes are 22.
        format: WaveFormatEx = "Format",
        /// Bits of a sample that carry sound; or samples in a block of compressed data.
        valid_bits_per_sample: u16 = "Samples.wValidBitsPerSample" | "Samples.wSamplesPerBlock",
        /// `SPEAKER_*` of the channels, in order.
        channel_mask: u32 = "dwChannelMask",
        /// The encoding.
        sub_format: Guid = "SubFormat",
    }
}

abi_consts! {
    "Wave format tag"
    pub(crate) WAVE_FORMATS: u16 {
        /// Integer PCM.
        WAVE_FORMAT_PCM = 1,
        /// Floating point PCM.
        WAVE_FORMAT_IEEE_FLOAT = 3,
        /// See the sub-format.
        WAVE_FORMAT_EXTENSIBLE = 0xFFFE,
    }
}

abi_struct! {
    /// A data format with a wave format: 82 bytes, packed as in the header.
    pub struct KsDataFormatWaveFormatEx = "KSDATAFORMAT_WAVEFORMATEX", "ns-ksmedia-ksdataformat_waveformatex" [packed(1)] {
        /// The bytes of a [`KsDataFormat`]; see [`KsDataFormatWaveFormatEx::data_format`].
        data_format_bytes: [u8; 64] = "DataFormat",
        /// The wave format.
        wave_format: WaveFormatEx = "WaveFormatEx",
    }
}

impl KsDataFormatWaveFormatEx {
    /// Puts the two together as they are.
    #[must_use]
    pub fn new(data_format: KsDataFormat, wave_format: WaveFormatEx) -> Self {
        Self { data_format_bytes: bytes_of(data_format), wave_format }
    }

    /// The format in front.
    #[must_use]
    pub fn data_format(&self) -> KsDataFormat {
        zerocopy::transmute!(self.data_format_bytes)
    }

    /// Integer PCM; `None` when the byte rates do not fit their fields.
    #[must_use]
    pub fn pcm(channels: u16, samples_per_sec: u32, bits_per_sample: u16) -> Option<Self> {
        let wave_format = WaveFormatEx::uncompressed(WAVE_FORMAT_PCM, channels, samples_per_sec, bits_per_sample)?;
        let mut data_format = KsDataFormat::new(
            KSDATAFORMAT_TYPE_AUDIO,
            KSDATAFORMAT_SUBTYPE_PCM,
            KSDATAFORMAT_SPECIFIER_WAVEFORMATEX,
            size_of::<WaveFormatEx>() as u32,
        );
        data_format.sample_size = wave_format.block_align.into();
        Some(Self::new(data_format, wave_format))
    }
}

abi_struct! {
    /// A data format with an extensible wave format: 104 bytes, packed as in the header.
    ///
    /// The headers have no name for this pair; the name follows `KSDATAFORMAT_WAVEFORMATEX`.
    pub struct KsDataFormatWaveFormatExtensible = "KSDATAFORMAT_WAVEFORMATEXTENSIBLE", "ns-ksmedia-ksdataformat_waveformatex" [packed(1)] {
        /// The bytes of a [`KsDataFormat`]; see [`KsDataFormatWaveFormatExtensible::data_format`].
        data_format_bytes: [u8; 64] = "DataFormat",
        /// The wave format.
        wave_format: WaveFormatExtensible = "WaveFormatExt",
    }
}

impl KsDataFormatWaveFormatExtensible {
    /// Puts the two together as they are.
    #[must_use]
    pub fn new(data_format: KsDataFormat, wave_format: WaveFormatExtensible) -> Self {
        Self { data_format_bytes: bytes_of(data_format), wave_format }
    }

    /// The format in front.
    #[must_use]
    pub fn data_format(&self) -> KsDataFormat {
        zerocopy::transmute!(self.data_format_bytes)
    }

    /// An extensible format of the given encoding; `None` when the byte rates do not fit their fields.
    #[must_use]
    pub fn extensible(
        sub_format: Guid,
        channels: u16,
        samples_per_sec: u32,
        container_bits: u16,
        valid_bits: u16,
        channel_mask: u32,
    ) -> Option<Self> {
        let mut format = WaveFormatEx::uncompressed(WAVE_FORMAT_EXTENSIBLE, channels, samples_per_sec, container_bits)?;
        format.extra_bytes = 22;
        let mut data_format = KsDataFormat::new(
            KSDATAFORMAT_TYPE_AUDIO,
            sub_format,
            KSDATAFORMAT_SPECIFIER_WAVEFORMATEX,
            size_of::<WaveFormatExtensible>() as u32,
        );
        data_format.sample_size = format.block_align.into();
        let wave_format = WaveFormatExtensible { format, valid_bits_per_sample: valid_bits, channel_mask, sub_format };
        Some(Self::new(data_format, wave_format))
    }
}

fn bytes_of(data_format: KsDataFormat) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes.copy_from_slice(data_format.as_bytes());
    bytes
}

abi_struct! {
    /// A range of audio formats.
    pub struct KsDataRangeAudio = "KSDATARANGE_AUDIO", "ns-ksmedia-ksdatarange_audio" {
        /// The range in general.
        data_range: KsDataRange = "DataRange",
        /// Most channels; `u32::MAX` when there is no limit.
        maximum_channels: u32 = "MaximumChannels",
        /// Fewest bits of a sample.
        minimum_bits_per_sample: u32 = "MinimumBitsPerSample",
        /// Most bits of a sample.
        maximum_bits_per_sample: u32 = "MaximumBitsPerSample",
        /// Lowest rate in Hz.
        minimum_sample_frequency: u32 = "MinimumSampleFrequency",
        /// Highest rate in Hz.
        maximum_sample_frequency: u32 = "MaximumSampleFrequency",
        #[doc(hidden)]
        _padding: u32 = "",
    }
}

abi_consts! {
    "Speaker position, a bit of a channel mask"
    pub(crate) SPEAKERS: u32 {
        SPEAKER_FRONT_LEFT = 0x1,
        SPEAKER_FRONT_RIGHT = 0x2,
        SPEAKER_FRONT_CENTER = 0x4,
        SPEAKER_LOW_FREQUENCY = 0x8,
        SPEAKER_BACK_LEFT = 0x10,
        SPEAKER_BACK_RIGHT = 0x20,
        SPEAKER_FRONT_LEFT_OF_CENTER = 0x40,
        SPEAKER_FRONT_RIGHT_OF_CENTER = 0x80,
        SPEAKER_BACK_CENTER = 0x100,
        SPEAKER_SIDE_LEFT = 0x200,
        SPEAKER_SIDE_RIGHT = 0x400,
        SPEAKER_TOP_CENTER = 0x800,
        SPEAKER_TOP_FRONT_LEFT = 0x1000,
        SPEAKER_TOP_FRONT_CENTER = 0x2000,
        SPEAKER_TOP_FRONT_RIGHT = 0x4000,
        SPEAKER_TOP_BACK_LEFT = 0x8000,
        SPEAKER_TOP_BACK_CENTER = 0x1_0000,
        SPEAKER_TOP_BACK_RIGHT = 0x2_0000,
        SPEAKER_ALL = 0x8000_0000,
    }
}

abi_consts! {
    "Usual channel mask"
    pub(crate) SPEAKER_LAYOUTS: u32 {
        KSAUDIO_SPEAKER_DIRECTOUT = 0,
        KSAUDIO_SPEAKER_MONO = SPEAKER_FRONT_CENTER,
        KSAUDIO_SPEAKER_STEREO = SPEAKER_FRONT_LEFT | SPEAKER_FRONT_RIGHT,
        KSAUDIO_SPEAKER_QUAD = KSAUDIO_SPEAKER_STEREO | SPEAKER_BACK_LEFT | SPEAKER_BACK_RIGHT,
        KSAUDIO_SPEAKER_SURROUND = KSAUDIO_SPEAKER_STEREO | SPEAKER_FRONT_CENTER | SPEAKER_BACK_CENTER,
        KSAUDIO_SPEAKER_5POINT1 = KSAUDIO_SPEAKER_QUAD | SPEAKER_FRONT_CENTER | SPEAKER_LOW_FREQUENCY,
        KSAUDIO_SPEAKER_7POINT1 =
            KSAUDIO_SPEAKER_5POINT1 | SPEAKER_FRONT_LEFT_OF_CENTER | SPEAKER_FRONT_RIGHT_OF_CENTER,
        KSAUDIO_SPEAKER_5POINT1_SURROUND = KSAUDIO_SPEAKER_STEREO
            | SPEAKER_FRONT_CENTER
            | SPEAKER_LOW_FREQUENCY
            | SPEAKER_SIDE_LEFT
            | SPEAKER_SIDE_RIGHT,
        KSAUDIO_SPEAKER_7POINT1_SURROUND = KSAUDIO_SPEAKER_5POINT1 | SPEAKER_SIDE_LEFT | SPEAKER_SIDE_RIGHT,
    }
}
