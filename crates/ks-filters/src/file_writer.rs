//! What the writers of files have in common: a filter that is told a path, and a pin that has a file from its create to
//! the end of the stream.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ks_abi::{
    KSCATEGORY_FILESYSTEM, KSCATEGORY_RENDER, KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM, KsPinDataFlow, KsState, NtStatus,
    STATUS_INVALID_DEVICE_REQUEST, STATUS_NO_MATCH, STATUS_PENDING, STATUS_SHARING_VIOLATION,
};
use ks_io::sync::Mutex;
use ks_io::{Aspect, Refusal, StreamFrame};
use ks_stream::{
    AutomationTable, DataFormat, DataRange, Filter, FilterDescriptor, FilterDispatch, FilterInstance, Framing, Pin,
    PinDescriptor, PinFlags, PinId, PinInstance,
};

use crate::media::Result;
use crate::settings::{self, HasSettings, Setting, SettingError, Settings, Write, file_refusal, no_path};

/// A kind of file that frames are written to.
pub(crate) trait Writer: Send + Sized + 'static {
    /// What is known of the data ahead of it.
    type Format: Send + Sync + 'static;
    /// The name of the filter.
    const FILTER: &'static str;
    /// The name of the filter, for a person.
    const TITLE: &'static str;
    /// The name of its pin.
    const PIN: &'static str;

    /// What may be asked of its format.
    type Wish: Clone + Default + Send + Sync + 'static;
    /// The settings of the filter: [`path`], and those that make the wish.
    const SETTINGS: &'static [Setting<Values<Self::Wish>>];

    /// The ranges of what can be written and is wished for, the preferred one first.
    fn ranges(wish: &Self::Wish) -> Vec<DataRange>;
    /// Whether a format is what is wished for; what is not.
    fn check(wish: &Self::Wish, format: &Self::Format) -> std::result::Result<(), String>;
    /// The data format that lies in `range`, which a client asks for, and in `own`, one of the ranges.
    fn intersect(range: &DataRange, own: &DataRange) -> std::result::Result<DataFormat, Refusal>;
    /// Checks a format from a client.
    fn parse(format: &DataFormat) -> std::result::Result<Self::Format, String>;
    /// Creates the file.
    fn create(path: &Path, format: &Self::Format) -> Result<Self>;
    /// Appends the data of one frame.
    fn write(&mut self, data: &[u8]) -> Result<()>;
    /// Completes the file.
    fn finish(self) -> Result<()>;
    /// What a pin asks of its allocator.
    fn framing(format: &Self::Format) -> Framing;
    /// How much is in the file, for a message: "12 frames".
    fn extent(&self) -> String;
}

/// What a writer is told: where to write, and what it is to take.
#[derive(Clone, Default)]
pub(crate) struct Values<T> {
    pub(crate) path: Option<PathBuf>,
    pub(crate) wish: T,
}

/// The setting that every writer has.
pub(crate) const fn path<T>() -> Setting<Values<T>> {
    Setting {
        name: "path",
        kind: "text",
        default: "",
        help: "the file to write; one that exists is overwritten",
        read: |values| values.path.as_ref().map_or_else(String::new, |path| path.display().to_string()),
        write: Write::Value(|values, text| {
            if text.is_empty() {
                return Err(SettingError::Expected("the name of a file".into()));
            }
            values.path = Some(text.into());
            Ok(())
        }),
    }
}

/// What the filter says of itself.
pub(crate) fn descriptor<W: Writer>() -> FilterDescriptor {
    let mut pin = PinDescriptor::new(KsPinDataFlow::IN, W::ranges(&W::Wish::default()));
    pin.name = Some(W::PIN);
    pin.flags = PinFlags::GENERATE_EOS_EVENTS;
    let categories = [KSCATEGORY_FILESYSTEM, KSCATEGORY_RENDER];
    let automation = settings::automation::<Instance<W>>(W::SETTINGS);
    let dispatch = Dispatch::<W>(Arc::new(automation), PhantomData);
    FilterDescriptor::new(W::FILTER, W::TITLE, &categories, vec![pin], Arc::new(dispatch))
}

struct Dispatch<W>(Arc<AutomationTable<Filter>>, PhantomData<fn() -> W>);

impl<W: Writer> FilterDispatch for Dispatch<W> {
    fn create(&self, _filter: &Arc<Filter>) -> std::result::Result<Arc<dyn FilterInstance>, Refusal> {
        let settings = Settings::new(W::FILTER, Values::default());
        Ok(Arc::new(Instance::<W> { settings, automation: self.0.clone() }))
    }
}

struct Instance<W: Writer> {
    settings: Arc<Settings<Values<W::Wish>>>,
    automation: Arc<AutomationTable<Filter>>,
}

impl<W: Writer> HasSettings for Instance<W> {
    type Values = Values<W::Wish>;

    fn settings(&self) -> &Settings<Values<W::Wish>> {
        &self.settings
    }
}

impl<W: Writer> FilterInstance for Instance<W> {
    fn data_ranges(&self, _pin: PinId) -> Option<Vec<DataRange>> {
        Some(W::ranges(&self.settings.values().wish))
    }

    fn intersect(&self, _pin: PinId, range: &DataRange, own: &DataRange) -> std::result::Result<DataFormat, Refusal> {
        W::intersect(range, own)
    }

    fn accept_format(&self, _pin: PinId, format: &DataFormat, _range: &DataRange) -> std::result::Result<(), Refusal> {
        let parsed = parse::<W>(format)?;
        W::check(&self.settings.values().wish, &parsed)
            .map_err(|problem| Refusal::new(STATUS_NO_MATCH, Aspect::Setting, format!("{}: {problem}", W::FILTER)))
    }

    fn create_pin(&self, pin: &Arc<Pin>) -> std::result::Result<Arc<dyn PinInstance>, Refusal> {
        let path = self.settings.values().path.ok_or_else(|| no_path(W::FILTER))?;
        Ok(WriterPin::<W>::create(path, parse::<W>(&pin.format())?)?)
    }

    fn automation(&self) -> Option<&AutomationTable<Filter>> {
        Some(&self.automation)
    }
}

fn parse<W: Writer>(format: &DataFormat) -> std::result::Result<W::Format, Refusal> {
    W::parse(format)
        .map_err(|problem| Refusal::new(STATUS_NO_MATCH, Aspect::FormatBlock, format!("{}: {problem}", W::FILTER)))
}

/// A file says once what is in it.
fn one_format<W: Writer>() -> Refusal {
    let reason = format!("{}: what is in its file has one format; a converter ahead of it keeps it so", W::FILTER);
    Refusal::new(STATUS_INVALID_DEVICE_REQUEST, Aspect::FormatBlock, reason)
}

/// The pin of a writer.
struct WriterPin<W: Writer> {
    path: PathBuf,
    format: W::Format,
    /// Open from the create, or from ACQUIRE for a second stream, to the end of the stream or STOP. Taken out while the
    /// pin processes, which the processing mutex keeps to one thread.
    writer: Mutex<Option<W>>,
}

impl<W: Writer> WriterPin<W> {
    /// Creates the file, so that one that cannot be is known before anything streams.
    fn create(path: PathBuf, format: W::Format) -> std::result::Result<Arc<Self>, Refusal> {
        let writer = W::create(&path, &format).map_err(|error| file_refusal(W::FILTER, &error))?;
        Ok(Arc::new(Self { path, format, writer: Mutex::new(Some(writer)) }))
    }

    /// Writes the frames that are there. Returns the writer while the stream goes on.
    fn write_frames(pin: &Arc<Pin>, mut writer: W) -> Option<W> {
        let mut leading = pin.leading_edge();
        while let Some(frame) = leading {
            if let Err(mut refusal) = Self::write_frame(&frame, &mut writer) {
                drop(frame);
                refusal.reason += &format!("; the file has {}", writer.extent());
                pin.fail(refusal);
                return None;
            }
            let ended = frame.options_flags() & KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM != 0;
            if ended {
                // Before the frame goes: with it goes the news that the stream has ended.
                let finished = writer.finish();
                drop(frame.advance());
                if let Err(error) = finished {
                    pin.fail(file_refusal(W::FILTER, &error));
                }
                return None;
            }
            leading = frame.advance();
        }
        Some(writer)
    }

    fn write_frame(frame: &StreamFrame, writer: &mut W) -> std::result::Result<(), Refusal> {
        let used = frame.data_used() as usize;
        if used == 0 {
            return Ok(());
        }
        let Some(data) = frame.buffer().and_then(|buffer| buffer.bytes(used)) else {
            let reason = format!("{}: a frame is still being written by another", W::FILTER);
            return Err(Refusal::new(STATUS_SHARING_VIOLATION, Aspect::Memory, reason));
        };
        writer.write(&data).map_err(|error| file_refusal(W::FILTER, &error))
    }
}

impl<W: Writer> PinInstance for WriterPin<W> {
    fn framing(&self, _pin: &Pin) -> Option<Framing> {
        Some(W::framing(&self.format))
    }

    fn would_take(&self, _pin: &Arc<Pin>, _new: &DataFormat) -> std::result::Result<(), Refusal> {
        Err(one_format::<W>())
    }

    fn set_data_format(
        &self,
        _pin: &Arc<Pin>,
        _old: &DataFormat,
        _new: &DataFormat,
    ) -> std::result::Result<(), Refusal> {
        Err(one_format::<W>())
    }

    fn set_device_state(&self, pin: &Arc<Pin>, to: KsState, from: KsState) -> std::result::Result<(), Refusal> {
        if to == KsState::ACQUIRE && from == KsState::STOP {
            if self.writer.lock().is_none() {
                let writer = W::create(&self.path, &self.format).map_err(|error| file_refusal(W::FILTER, &error))?;
                *self.writer.lock() = Some(writer);
            }
        } else if to == KsState::STOP {
            let writer = self.writer.lock().take();
            if let Some(Err(error)) = writer.map(W::finish) {
                pin.fail(file_refusal(W::FILTER, &error));
            }
        }
        Ok(())
    }

    fn process(&self, pin: &Arc<Pin>) -> NtStatus {
        let writer = self.writer.lock().take();
        if let Some(writer) = writer {
            let writer = Self::write_frames(pin, writer);
            *self.writer.lock() = writer;
        }
        STATUS_PENDING
    }

    fn close(&self, _pin: &Pin) {
        // A pin that never left STOP: its empty file is completed when the writer is dropped.
        let writer = self.writer.lock().take();
        drop(writer);
    }
}
