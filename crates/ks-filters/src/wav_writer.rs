//! `wav-writer`: PCM of any kind into a WAV file, bit for bit.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ks_abi::{KSCATEGORY_FILESYSTEM, KSCATEGORY_RENDER, KsPinDataFlow, STATUS_NO_MATCH};
use ks_io::{Aspect, Refusal};
use ks_stream::{
    AutomationTable, DataFormat, DataRange, Filter, FilterDescriptor, FilterDispatch, FilterInstance, Framing, Pin,
    PinDescriptor, PinFlags, PinId, PinInstance,
};

use crate::audio_format;
use crate::file_writer::{SETTINGS, Writer, WriterPin};
use crate::media::Result;
use crate::media::audio::AudioFormat;
use crate::media::wav::WavWriter;
use crate::settings::{Settings, no_path};

/// The name of the filter.
pub const NAME: &str = "wav-writer";

/// What the filter says of itself.
pub fn descriptor() -> FilterDescriptor {
    let mut pin = PinDescriptor::new(KsPinDataFlow::IN, audio_format::whole_ranges());
    pin.name = Some("Samples");
    pin.flags = PinFlags::GENERATE_EOS_EVENTS;
    let categories = [KSCATEGORY_FILESYSTEM, KSCATEGORY_RENDER];
    FilterDescriptor::new(NAME, "WAV writer", &categories, vec![pin], Arc::new(Dispatch))
}

struct Dispatch;

impl FilterDispatch for Dispatch {
    fn create(&self, _filter: &Arc<Filter>) -> std::result::Result<Arc<dyn FilterInstance>, Refusal> {
        let settings = Settings::new(NAME, SETTINGS, None);
        let automation = settings.automation();
        Ok(Arc::new(Instance { settings, automation }))
    }
}

struct Instance {
    settings: Arc<Settings<Option<PathBuf>>>,
    automation: AutomationTable<Filter>,
}

impl FilterInstance for Instance {
    fn intersect(&self, _pin: PinId, range: &DataRange, own: &DataRange) -> std::result::Result<DataFormat, Refusal> {
        audio_format::intersect_sink(NAME, range, own)
    }

    fn accept_format(&self, _pin: PinId, format: &DataFormat, _range: &DataRange) -> std::result::Result<(), Refusal> {
        parse(format).map(drop)
    }

    fn create_pin(&self, pin: &Arc<Pin>) -> std::result::Result<Arc<dyn PinInstance>, Refusal> {
        let path = self.settings.values().ok_or_else(|| no_path(NAME))?;
        let pin = WriterPin::<WavWriter>::create(path, parse(&pin.format())?)?;
        Ok(pin)
    }

    fn automation(&self) -> Option<&AutomationTable<Filter>> {
        Some(&self.automation)
    }
}

fn parse(format: &DataFormat) -> std::result::Result<AudioFormat, Refusal> {
    let refuse = |problem| Refusal::new(STATUS_NO_MATCH, Aspect::FormatBlock, format!("{NAME}: {problem}"));
    audio_format::parse(format).map_err(refuse)
}

impl Writer for WavWriter {
    type Format = AudioFormat;
    const FILTER: &'static str = NAME;

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
