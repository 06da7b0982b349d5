//! `wav-writer`: PCM of any kind into a WAV file, bit for bit.

use std::path::Path;

use ks_io::Refusal;
use ks_stream::{DataFormat, DataRange, FilterDescriptor, Framing};

use crate::audio_format;
use crate::audio_wish::{self, AudioWish};
use crate::file_writer::{self, Values, Writer};
use crate::media::Result;
use crate::media::audio::AudioFormat;
use crate::media::wav::WavWriter;
use crate::settings::{ANY, Setting, Write};

/// The name of the filter.
pub const NAME: &str = "wav-writer";

/// What the filter says of itself.
pub fn descriptor() -> FilterDescriptor {
    file_writer::descriptor::<WavWriter>()
}

impl Writer for WavWriter {
    type Format = AudioFormat;
    const FILTER: &'static str = NAME;
    const TITLE: &'static str = "WAV writer";
    const PIN: &'static str = "Samples";
    type Wish = AudioWish;
    const SETTINGS: &'static [Setting<Values<AudioWish>>] = &[
        file_writer::path(),
        Setting {
            name: "rate",
            kind: "number|any",
            default: ANY,
            help: "samples a second that the file is to have",
            read: |values| audio_wish::shown(values.wish.rate),
            write: Write::Value(|values, text| values.wish.set_rate(text)),
        },
        Setting {
            name: "channels",
            kind: "number|any",
            default: ANY,
            help: "channels that the file is to have",
            read: |values| audio_wish::shown(values.wish.channels),
            write: Write::Value(|values, text| values.wish.set_channels(text)),
        },
        Setting {
            name: "bits",
            kind: "8|16|24|32|64|any",
            default: ANY,
            help: "bits of a sample that the file is to have",
            read: |values| audio_wish::shown(values.wish.bits),
            write: Write::Value(|values, text| values.wish.set_bits(text)),
        },
        Setting {
            name: "format",
            kind: "any|int|float|u8|s16|s24|s32|f32|f64",
            default: ANY,
            help: "type of a sample that the file is to have: integer or float, and its bits",
            read: |values| values.wish.format_name(),
            write: Write::Value(|values, text| values.wish.set_format(text)),
        },
    ];

    fn ranges(wish: &AudioWish) -> Vec<DataRange> {
        wish.ranges()
    }

    fn check(wish: &AudioWish, format: &AudioFormat) -> std::result::Result<(), String> {
        wish.check(format)
    }

    fn intersect(range: &DataRange, own: &DataRange) -> std::result::Result<DataFormat, Refusal> {
        audio_format::intersect_sink(NAME, range, own)
    }

    fn parse(format: &DataFormat) -> std::result::Result<AudioFormat, String> {
        audio_format::parse(format)
    }

    fn create(path: &Path, format: &AudioFormat) -> Result<Self> {
        WavWriter::create(path, format)
    }

    fn write(&mut self, data: &[u8]) -> Result<()> {
        WavWriter::write(self, data)
    }

    fn finish(self) -> Result<()> {
        WavWriter::finish(self)
    }

    fn framing(format: &AudioFormat) -> Framing {
        // A tenth of a second if the source has no opinion, within reason.
        let tenth_bytes = (format.bytes_per_second() / 10).min(64 * 1024);
        let frame_bytes = tenth_bytes.next_multiple_of(format.block_bytes() as u32);
        Framing { frames: 8, frame_bytes, alignment: 64 }
    }

    fn extent(&self) -> String {
        format!("{} bytes of samples", self.data_bytes())
    }
}
