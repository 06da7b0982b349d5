//! `y4m-reader`: the frames of a YUV4MPEG2 file, 4:2:0 as I420 and 4:2:2 as YUY2.

use std::path::PathBuf;
use std::sync::Arc;

use ks_abi::{
    KSCATEGORY_FILESYSTEM, KSSTREAM_HEADER_OPTIONSF_DURATIONVALID, KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM,
    KSSTREAM_HEADER_OPTIONSF_SPLICEPOINT, KSSTREAM_HEADER_OPTIONSF_TIMEVALID, KsPinDataFlow, KsState, NtStatus,
    STATUS_BUFFER_TOO_SMALL, STATUS_DATA_ERROR, STATUS_NO_MATCH, STATUS_PENDING, STATUS_SHARING_VIOLATION,
};
use ks_io::sync::Mutex;
use ks_io::{Aspect, Refusal, Ticks, Time};
use ks_stream::{
    AutomationTable, DataFormat, DataRange, Filter, FilterDescriptor, FilterDispatch, FilterInstance, Framing, Locked,
    Pin, PinDescriptor, PinId, PinInstance,
};

use crate::media::video::{PixelLayout, VideoFormat};
use crate::media::y4m::{FramesEnd, Y4mReader};
use crate::settings::{Setting, SettingError, Settings, file_refusal, no_path};
use crate::video_format;

/// The name of the filter.
pub const NAME: &str = "y4m-reader";

/// What the filter says of itself.
pub fn descriptor() -> FilterDescriptor {
    let mut pin = PinDescriptor::new(KsPinDataFlow::OUT, Vec::new());
    pin.name = Some("Frames");
    FilterDescriptor::new(NAME, "Y4M reader", &[KSCATEGORY_FILESYSTEM], vec![pin], Arc::new(Dispatch))
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
    format: VideoFormat,
    reader: Arc<Mutex<Option<Y4mReader>>>,
}

static SETTINGS: &[Setting<Option<Opened>>] = &[Setting {
    name: "path",
    kind: "text",
    default: "",
    help: "the YUV4MPEG2 file to read: 4:2:0 comes as I420, 4:2:2 as YUY2",
    read: |values| values.as_ref().map_or_else(String::new, |opened| opened.path.display().to_string()),
    write: |values, text| {
        let reader = Y4mReader::open(text).map_err(SettingError::File)?;
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
        Some(match self.settings.values() {
            Some(opened) => vec![video_format::exact_range(&opened.format)],
            None => [PixelLayout::I420, PixelLayout::Yuy2].map(video_format::whole_range).to_vec(),
        })
    }

    fn intersect(&self, _pin: PinId, range: &DataRange, _matching: &DataRange) -> Result<DataFormat, Refusal> {
        video_format::intersect_source(NAME, &self.opened()?.format, range)
    }

    fn accept_format(&self, _pin: PinId, format: &DataFormat, _range: &DataRange) -> Result<(), Refusal> {
        let refuse = |problem| Refusal::new(STATUS_NO_MATCH, Aspect::FormatBlock, format!("{NAME}: {problem}"));
        let opened = self.opened()?;
        let own = &opened.format;
        match video_format::parse(format) {
            Ok(asked)
                if (asked.layout(), asked.width(), asked.height()) == (own.layout(), own.width(), own.height()) =>
            {
                Ok(())
            }
            Ok(asked) => Err(refuse(format!(
                "{} has frames of {}x{}, not {}x{}",
                opened.path.display(),
                own.width(),
                own.height(),
                asked.width(),
                asked.height()
            ))),
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

struct ReaderPin {
    opened: Opened,
    /// Taken out while the pin processes, which the processing mutex keeps to one thread.
    stream: Mutex<Option<Stream>>,
}

/// What lives from ACQUIRE to STOP.
struct Stream {
    reader: Y4mReader,
    ended: bool,
}

impl ReaderPin {
    /// The file at its first frame: the one that is open already, or opened again for another stream.
    fn open(&self) -> Result<Y4mReader, Refusal> {
        if let Some(reader) = self.opened.reader.lock().take() {
            return Ok(reader);
        }
        let reader = Y4mReader::open(&self.opened.path).map_err(|error| file_refusal(NAME, &error))?;
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

    /// Reads the next frame of the file. The last one carries the end of the stream; a file that ends within a frame, or
    /// has none, gives it on a frame without data.
    fn fill(&self, frame: &Locked<'_>, stream: &mut Stream) -> Result<(), Refusal> {
        let room = frame.frame_extent() as usize;
        if room < self.opened.format.frame_bytes() {
            // The request of a client, with a buffer that nothing fits into; the stream goes on.
            frame.set_status_code(STATUS_BUFFER_TOO_SMALL);
            return Ok(());
        }
        let buffer = frame.buffer().and_then(|buffer| buffer.write());
        let mut buffer = buffer.ok_or_else(|| {
            Refusal::new(STATUS_SHARING_VIOLATION, Aspect::Memory, format!("{NAME}: a frame has no memory to write to"))
        })?;
        let file_error = |error| file_refusal(NAME, &error);
        let number = stream.reader.frame_index();
        let used = stream.reader.read_frame(&mut buffer[..room]).map_err(file_error)?;
        drop(buffer);
        stream.ended = used == 0 || stream.reader.is_at_end().map_err(file_error)?;
        let mut flags = 0;
        if stream.ended {
            flags |= KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM;
        }
        if used > 0 {
            flags |= KSSTREAM_HEADER_OPTIONSF_SPLICEPOINT;
        }
        let rate = self.opened.format.frame_rate;
        let time = |number| rate.frame_time_100ns(number).and_then(|time| i64::try_from(time).ok()).map(Ticks);
        if let (Some(from), Some(to)) = (time(number), time(number + 1)) {
            flags |= KSSTREAM_HEADER_OPTIONSF_TIMEVALID | KSSTREAM_HEADER_OPTIONSF_DURATIONVALID;
            frame.set_presentation(Time(from.0), to + -from);
        }
        frame.set_data_used(used as u32);
        frame.set_options_flags(flags);
        Ok(())
    }

    /// What there is to say of the file once it was read: it ends within a frame.
    fn truncation(&self, stream: &Stream) -> Option<Refusal> {
        match stream.reader.frames_end() {
            FramesEnd::Truncated { frame_index, present_bytes, expected_bytes } if stream.ended => {
                let path = self.opened.path.display();
                let reason = format!(
                    "{NAME}: {path} is cut off: it ends within frame {frame_index}, {present_bytes} of \
                     {expected_bytes} bytes; the {frame_index} frames before it were read"
                );
                Some(Refusal::new(STATUS_DATA_ERROR, Aspect::File, reason))
            }
            _ => None,
        }
    }
}

impl PinInstance for ReaderPin {
    fn framing(&self, _pin: &Pin) -> Option<Framing> {
        let frame_bytes = self.opened.format.frame_bytes() as u32;
        // A quarter of a gigabyte is enough for pictures of the largest sizes.
        let frames = (0x1000_0000 / frame_bytes).clamp(3, 8);
        Some(Framing { frames, frame_bytes, alignment: 64 })
    }

    fn set_device_state(&self, pin: &Arc<Pin>, to: KsState, from: KsState) -> Result<(), Refusal> {
        if to == KsState::ACQUIRE && from == KsState::STOP {
            let reader = self.open()?;
            *self.stream.lock() = Some(Stream { reader, ended: false });
        } else if to == KsState::STOP {
            let stream = self.stream.lock().take();
            // Told only now: a failure stops a stream at once, and the last frames were still on their way.
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
