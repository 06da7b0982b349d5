//! `audio-reader`: the samples of a FLAC, MP3, Ogg Vorbis or AAC file. There with the feature `symphonia`.

use std::path::Path;

use ks_io::Refusal;
use ks_stream::{DataFormat, DataRange, FilterDescriptor, Framing};

use crate::audio_format;
use crate::file_reader::{self, Next, Opened, Piece, Reader, SplicePoint};
use crate::media::Result;
use crate::media::audio::AudioFormat;
use crate::media::compressed::CompressedReader;
use crate::settings::Setting;

/// The name of the filter.
pub const NAME: &str = "audio-reader";

/// What the filter says of itself.
pub fn descriptor() -> FilterDescriptor {
    file_reader::descriptor::<CompressedReader>()
}

/// Bytes of a frame, less what is no whole block.
const FRAME_BYTES: usize = 64 * 1024;

impl Reader for CompressedReader {
    type Format = AudioFormat;
    const FILTER: &'static str = NAME;
    const TITLE: &'static str = "Compressed audio reader";
    const PIN: &'static str = "Samples";
    const SETTINGS: &'static [Setting<Option<Opened<Self>>>] =
        &[file_reader::path("the FLAC, MP3, Ogg Vorbis or AAC file to read")];

    fn open(path: &Path) -> Result<Self> {
        CompressedReader::open(path)
    }

    fn format(&self) -> &AudioFormat {
        CompressedReader::format(self)
    }

    fn read(&mut self, data: &mut [u8]) -> Result<Piece> {
        let from = self.next_block();
        let used = CompressedReader::read(self, data)?;
        let format = self.format();
        let time_100ns = Some((format.block_time_100ns(from), format.block_time_100ns(self.next_block())));
        let next = if self.is_at_end() { Next::EndOfFile } else { Next::Frame };
        Ok(Piece { used, time_100ns, splice_point: SplicePoint::NotTold, next })
    }

    fn truncation(&self) -> Option<String> {
        match (self.is_cut_off(), self.damaged_packets()) {
            (true, _) => Some("it ends in the middle of a packet; what is there was read".into()),
            (false, 0) => None,
            (false, 1) => Some("a packet is damaged; what is there was read".into()),
            (false, packets) => Some(format!("{packets} packets are damaged; what is there was read")),
        }
    }

    fn whole_ranges() -> Vec<DataRange> {
        audio_format::whole_ranges()
    }

    fn exact_ranges(format: &AudioFormat) -> Vec<DataRange> {
        vec![audio_format::exact_range(format)]
    }

    fn intersect(format: &AudioFormat, range: &DataRange) -> std::result::Result<DataFormat, Refusal> {
        audio_format::intersect_source(NAME, format, range)
    }

    fn accept(format: &AudioFormat, asked: &DataFormat, path: &Path) -> std::result::Result<(), String> {
        if audio_format::parse(asked)? == *format {
            return Ok(());
        }
        Err(format!("{} has samples of another format", path.display()))
    }

    fn framing(format: &AudioFormat) -> Framing {
        let frame_bytes = FRAME_BYTES - FRAME_BYTES % format.block_bytes();
        Framing { frames: 8, frame_bytes: frame_bytes as u32, alignment: 64 }
    }

    fn least_room(format: &AudioFormat) -> usize {
        format.block_bytes()
    }
}
