//! `wav-writer`: PCM of any kind into a WAV file, bit for bit.

use std::path::Path;

use ks_io::Refusal;
use ks_stream::{DataFormat, DataRange, FilterDescriptor, Framing};

use crate::audio_format;
use crate::file_writer::{self, Writer};
use crate::media::Result;
use crate::media::audio::AudioFormat;
use crate::media::wav::WavWriter;

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

    fn ranges() -> Vec<DataRange> {
        audio_format::whole_ranges()
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
