//! `wav-reader`: the samples of a WAV file, as they are.

use std::path::PathBuf;
use std::sync::Arc;

use ks_abi::{
    KSCATEGORY_FILESYSTEM, KSSTREAM_HEADER_OPTIONSF_DURATIONVALID, KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM,
    KSSTREAM_HEADER_OPTIONSF_TIMEVALID, KsPinDataFlow, KsState, NtStatus, STATUS_BUFFER_TOO_SMALL, STATUS_DATA_ERROR,
    STATUS_NO_MATCH, STATUS_PENDING, STATUS_SHARING_VIOLATION,
};
use ks_io::sync::Mutex;
use ks_io::{Aspect, Refusal, Ticks, Time};
use ks_stream::{
    AutomationTable, DataFormat, DataRange, Filter, FilterDescriptor, FilterDispatch, FilterInstance, Framing, Locked,
    Pin, PinDescriptor, PinId, PinInstance,
};

use crate::audio_format;
use crate::media::audio::AudioFormat;
use crate::media::wav::{DataEnd, WavReader};
use crate::settings::{Setting, SettingError, Settings, file_refusal, no_path};

/// The name of the filter.
pub const NAME: &str = "wav-reader";

/// What the filter says of itself.
pub fn descriptor() -> FilterDescriptor {
    let mut pin = PinDescriptor::new(KsPinDataFlow::OUT, Vec::new());
    pin.name = Some("Samples");
    FilterDescriptor::new(NAME, "WAV reader", &[KSCATEGORY_FILESYSTEM], vec![pin], Arc::new(Dispatch))
}

struct Dispatch;

impl FilterDispatch for Dispatch {
    fn create(&self, _filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        let settings = Settings::new(NAME, SETTINGS, None);
        let automation = settings.automation();
        Ok(Arc::new(Instance { settings, automation }))
    }
}

/// A file that was opened when its path was set. It stays open, so that nothing overwrites it before it is read.
#[derive(Clone)]
struct Opened {
    path: PathBuf,
    format: AudioFormat,
    reader: Arc<Mutex<Option<WavReader>>>,
}

static SETTINGS: &[Setting<Option<Opened>>] = &[Setting {
    name: "path",
    kind: "text",
    default: "",
    help: "the WAV file to read",
    read: |values| values.as_ref().map_or_else(String::new, |opened| opened.path.display().to_string()),
    write: |values, text| {
        let reader = WavReader::open(text).map_err(SettingError::File)?;
        let format = *reader.format();
        *values = Some(Opened { path: text.into(), format, reader: Arc::new(Mutex::new(Some(reader))) });
        Ok(())
    },
}];

struct Instance {
    settings: Arc<Settings<Option<Opened>>>,
    automation: AutomationTable<Filter>,
}

impl Instance {
    fn opened(&self) -> Result<Opened, Refusal> {
        self.settings.values().ok_or_else(|| no_path(NAME))
    }
}

impl FilterInstance for Instance {
    fn data_ranges(&self, _pin: PinId) -> Option<Vec<DataRange>> {
        let opened = self.settings.values();
        Some(opened.map_or_else(audio_format::whole_ranges, |opened| vec![audio_format::exact_range(&opened.format)]))
    }

    fn intersect(&self, _pin: PinId, range: &DataRange, _matching: &DataRange) -> Result<DataFormat, Refusal> {
        audio_format::intersect_source(NAME, &self.opened()?.format, range)
    }

    fn accept_format(&self, _pin: PinId, format: &DataFormat, _range: &DataRange) -> Result<(), Refusal> {
        let refuse = |problem| Refusal::new(STATUS_NO_MATCH, Aspect::FormatBlock, format!("{NAME}: {problem}"));
        let opened = self.opened()?;
        match audio_format::parse(format) {
            Ok(asked) if asked == opened.format => Ok(()),
            Ok(_) => Err(refuse(format!("{} has samples of another format", opened.path.display()))),
            Err(problem) => Err(refuse(problem)),
        }
    }

    fn create_pin(&self, _pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        Ok(Arc::new(ReaderPin { opened: self.opened()?, stream: Mutex::new(None) }))
    }

    fn automation(&self) -> Option<&AutomationTable<Filter>> {
        Some(&self.automation)
    }
}

/// Bytes of a frame, less what is no whole block.
const FRAME_BYTES: usize = 64 * 1024;

struct ReaderPin {
    opened: Opened,
    /// Taken out while the pin processes, which the processing mutex keeps to one thread.
    stream: Mutex<Option<Stream>>,
}

/// What lives from ACQUIRE to STOP.
struct Stream {
    reader: WavReader,
    next_block: u64,
    ended: bool,
}

impl ReaderPin {
    /// The file at its first sample: the one that is open already, or opened again for another stream.
    fn open(&self) -> Result<WavReader, Refusal> {
        if let Some(reader) = self.opened.reader.lock().take() {
            return Ok(reader);
        }
        let reader = WavReader::open(&self.opened.path).map_err(|error| file_refusal(NAME, &error))?;
        if *reader.format() != self.opened.format {
            let reason = format!("{NAME}: {} has become a file of another format", self.opened.path.display());
            return Err(Refusal::new(STATUS_DATA_ERROR, Aspect::File, reason));
        }
        Ok(reader)
    }

    fn fill_frames(&self, pin: &Arc<Pin>, stream: &mut Stream) {
        let mut leading = pin.leading_edge();
        while let Some(frame) = leading {
            if stream.ended {
                return;
            }
            if let Err(refusal) = self.fill(&frame, stream) {
                drop(frame);
                stream.ended = true;
                pin.fail(refusal);
                return;
            }
            leading = frame.advance();
        }
    }

    fn fill(&self, frame: &Locked<'_>, stream: &mut Stream) -> Result<(), Refusal> {
        let room = frame.frame_extent() as usize;
        if room < self.opened.format.block_bytes() {
            // The request of a client, with a buffer that nothing fits into; the stream goes on.
            frame.set_status_code(STATUS_BUFFER_TOO_SMALL);
            return Ok(());
        }
        let buffer = frame.buffer().and_then(|buffer| buffer.write());
        let mut buffer = buffer.ok_or_else(|| {
            Refusal::new(STATUS_SHARING_VIOLATION, Aspect::Memory, format!("{NAME}: a frame has no memory to write to"))
        })?;
        let used = stream.reader.read(&mut buffer[..room]).map_err(|error| file_refusal(NAME, &error))?;
        drop(buffer);
        let format = &self.opened.format;
        let end = stream.next_block + (used / format.block_bytes()) as u64;
        let time = |block| Ticks(i64::try_from(format.block_time_100ns(block)).unwrap_or(i64::MAX));
        let (from, to) = (time(stream.next_block), time(end));
        let mut flags = KSSTREAM_HEADER_OPTIONSF_TIMEVALID | KSSTREAM_HEADER_OPTIONSF_DURATIONVALID;
        stream.ended = stream.reader.remaining_bytes() == 0;
        if stream.ended {
            flags |= KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM;
        }
        frame.set_presentation(Time(from.0), to + -from);
        frame.set_data_used(used as u32);
        frame.set_options_flags(flags);
        stream.next_block = end;
        Ok(())
    }

    /// What there is to say of the file once it was read: it ends before its header says.
    fn truncation(&self, stream: &Stream) -> Option<Refusal> {
        match stream.reader.data_end() {
            DataEnd::Truncated { declared_bytes, present_bytes } if stream.ended => {
                let path = self.opened.path.display();
                let reason = format!(
                    "{NAME}: {path} is cut off: its header says {declared_bytes} bytes of samples, and there are \
                     {present_bytes}; what is there was read"
                );
                Some(Refusal::new(STATUS_DATA_ERROR, Aspect::File, reason))
            }
            _ => None,
        }
    }
}

impl PinInstance for ReaderPin {
    fn framing(&self, _pin: &Pin) -> Option<Framing> {
        let frame_bytes = FRAME_BYTES - FRAME_BYTES % self.opened.format.block_bytes();
        Some(Framing { frames: 8, frame_bytes: frame_bytes as u32, alignment: 64 })
    }

    fn set_device_state(&self, pin: &Arc<Pin>, to: KsState, from: KsState) -> Result<(), Refusal> {
        if to == KsState::ACQUIRE && from == KsState::STOP {
            let reader = self.open()?;
            *self.stream.lock() = Some(Stream { reader, next_block: 0, ended: false });
        } else if to == KsState::STOP {
            let stream = self.stream.lock().take();
            // Told only now: a failure stops a stream at once, and the last blocks were still on their way.
            if let Some(refusal) = stream.and_then(|stream| self.truncation(&stream)) {
                pin.fail(refusal);
            }
        }
        Ok(())
    }

    fn process(&self, pin: &Arc<Pin>) -> NtStatus {
        let Some(mut stream) = self.stream.lock().take() else { return STATUS_PENDING };
        self.fill_frames(pin, &mut stream);
        *self.stream.lock() = Some(stream);
        STATUS_PENDING
    }
}
