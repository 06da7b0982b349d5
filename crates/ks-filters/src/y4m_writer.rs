//! `y4m-writer`: I420, NV12 and YUY2 frames into a YUV4MPEG2 file, without loss.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ks_abi::{KSCATEGORY_FILESYSTEM, KSCATEGORY_RENDER, KsPinDataFlow, STATUS_NO_MATCH};
use ks_io::{Aspect, Refusal};
use ks_stream::{
    AutomationTable, DataFormat, DataRange, Filter, FilterDescriptor, FilterDispatch, FilterInstance, Framing, Pin,
    PinDescriptor, PinFlags, PinId, PinInstance,
};

use crate::file_writer::{SETTINGS, Writer, WriterPin};
use crate::media::Result;
use crate::media::video::{Interlacing, PixelLayout, Ratio, VideoFormat};
use crate::media::y4m::Y4mWriter;
use crate::settings::{Settings, no_path};
use crate::video_format;

/// The name of the filter.
pub const NAME: &str = "y4m-writer";

/// What the filter says of itself.
pub fn descriptor() -> FilterDescriptor {
    // I420 first: it is written as it is, the others are taken apart.
    let ranges = [PixelLayout::I420, PixelLayout::Nv12, PixelLayout::Yuy2].map(video_format::whole_range);
    let mut pin = PinDescriptor::new(KsPinDataFlow::IN, ranges.to_vec());
    pin.name = Some("Frames");
    pin.flags = PinFlags::GENERATE_EOS_EVENTS;
    let categories = [KSCATEGORY_FILESYSTEM, KSCATEGORY_RENDER];
    FilterDescriptor::new(NAME, "Y4M writer", &categories, vec![pin], Arc::new(Dispatch))
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
        video_format::intersect_sink(NAME, range, own)
    }

    fn accept_format(&self, _pin: PinId, format: &DataFormat, _range: &DataRange) -> std::result::Result<(), Refusal> {
        parse(format).map(drop)
    }

    fn create_pin(&self, pin: &Arc<Pin>) -> std::result::Result<Arc<dyn PinInstance>, Refusal> {
        let path = self.settings.values().ok_or_else(|| no_path(NAME))?;
        let mut format = parse(&pin.format())?;
        // A VIDEOINFO format has no interlacing and square pixels.
        format.interlacing = Interlacing::Progressive;
        format.pixel_aspect = Ratio::new(1, 1);
        let pin = WriterPin::<Y4mWriter>::create(path, format)?;
        Ok(pin)
    }

    fn automation(&self) -> Option<&AutomationTable<Filter>> {
        Some(&self.automation)
    }
}

fn parse(format: &DataFormat) -> std::result::Result<VideoFormat, Refusal> {
    let refuse = |problem| Refusal::new(STATUS_NO_MATCH, Aspect::FormatBlock, format!("{NAME}: {problem}"));
    video_format::parse(format).map_err(refuse)
}

impl Writer for Y4mWriter {
    type Format = VideoFormat;
    const FILTER: &'static str = NAME;

    fn create(path: &Path, format: &VideoFormat) -> Result<Self> {
        Y4mWriter::create(path, format)
    }

    fn write(&mut self, data: &[u8]) -> Result<()> {
        self.write_frame(data)
    }

    fn finish(self) -> Result<()> {
        Y4mWriter::finish(self)
    }

    fn framing(format: &VideoFormat) -> Framing {
        let frame_bytes = format.frame_bytes() as u32;
        Framing { frames: (0x1000_0000 / frame_bytes).clamp(3, 8), frame_bytes, alignment: 64 }
    }

    fn extent(&self) -> String {
        format!("{} whole frames", self.frames())
    }
}
