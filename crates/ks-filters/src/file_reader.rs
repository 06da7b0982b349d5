//! What the readers of files have in common: a filter whose `path` is opened when it is set, and a pin that gives the
//! file frame by frame, from ACQUIRE to the end of the file or STOP.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
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

use crate::media::Result;
use crate::settings::{self, HasSettings, Setting, SettingError, Settings, Write, file_refusal, no_path};

/// A kind of file that frames are read from.
pub(crate) trait Reader: Send + Sized + 'static {
    /// What is known of the data when the file is open.
    type Format: Copy + PartialEq + Send + Sync + 'static;
    /// The name of the filter.
    const FILTER: &'static str;
    /// The name of the filter, for a person.
    const TITLE: &'static str;
    /// The name of its pin.
    const PIN: &'static str;
    /// The settings of the filter: [`path`] with a line of help.
    const SETTINGS: &'static [Setting<Option<Opened<Self>>>];

    /// Opens the file at its first frame.
    fn open(path: &Path) -> Result<Self>;
    /// The format of what is read.
    fn format(&self) -> &Self::Format;
    /// Reads the next frame to the start of `data`, which has at least [`least_room`](Self::least_room) bytes.
    fn read(&mut self, data: &mut [u8]) -> Result<Piece>;
    /// Where the file ended before it should: what to tell after its name.
    fn truncation(&self) -> Option<String>;

    /// The ranges of a filter whose path is not set.
    fn whole_ranges() -> Vec<DataRange>;
    /// The ranges that have this format only, the preferred one first.
    fn exact_ranges(format: &Self::Format) -> Vec<DataRange>;
    /// The data format that lies in `range`, which a client asks for.
    fn intersect(format: &Self::Format, range: &DataRange) -> std::result::Result<DataFormat, Refusal>;
    /// Whether frames of `format` are what a client asks for; why not, after the file's name.
    fn accept(format: &Self::Format, asked: &DataFormat, path: &Path) -> std::result::Result<(), String>;
    /// What a pin asks of its allocator.
    fn framing(format: &Self::Format) -> Framing;
    /// The smallest buffer that something fits into.
    fn least_room(format: &Self::Format) -> usize;
}

/// What a read put into a frame.
pub(crate) struct Piece {
    /// Bytes.
    pub(crate) used: usize,
    /// Its presentation time and the end of it, if the file has times.
    pub(crate) time_100ns: Option<(u64, u64)>,
    /// Whether every frame can be understood without the ones before, as a picture can.
    pub(crate) splice_point: SplicePoint,
    /// Whether more follows.
    pub(crate) next: Next,
}

/// Whether a frame is one that a stream can be taken up at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum SplicePoint {
    Yes,
    NotTold,
}

/// What follows a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Frame,
    EndOfFile,
}

/// A file that was opened when its path was set. It stays open, so that nothing overwrites it before it is read.
pub(crate) struct Opened<R: Reader> {
    path: PathBuf,
    format: R::Format,
    reader: Arc<Mutex<Option<R>>>,
}

impl<R: Reader> Clone for Opened<R> {
    fn clone(&self) -> Self {
        Self { path: self.path.clone(), format: self.format, reader: self.reader.clone() }
    }
}

/// The one setting of a reader.
pub(crate) const fn path<R: Reader>(help: &'static str) -> Setting<Option<Opened<R>>> {
    Setting {
        name: "path",
        kind: "text",
        default: "",
        help,
        read: |values| values.as_ref().map_or_else(String::new, |opened| opened.path.display().to_string()),
        write: Write::Opens(|text| {
            if text.is_empty() {
                return Err(SettingError::Expected("the name of a file".into()));
            }
            let reader = R::open(Path::new(text)).map_err(SettingError::File)?;
            let format = *reader.format();
            Ok(Some(Opened { path: text.into(), format, reader: Arc::new(Mutex::new(Some(reader))) }))
        }),
    }
}

/// What the filter says of itself.
pub(crate) fn descriptor<R: Reader>() -> FilterDescriptor {
    let mut pin = PinDescriptor::new(KsPinDataFlow::OUT, Vec::new());
    pin.name = Some(R::PIN);
    let automation = settings::automation::<Instance<R>>(R::SETTINGS);
    let dispatch = Dispatch::<R>(Arc::new(automation), PhantomData);
    FilterDescriptor::new(R::FILTER, R::TITLE, &[KSCATEGORY_FILESYSTEM], vec![pin], Arc::new(dispatch))
}

struct Dispatch<R>(Arc<AutomationTable<Filter>>, PhantomData<fn() -> R>);

impl<R: Reader> FilterDispatch for Dispatch<R> {
    fn create(&self, _filter: &Arc<Filter>) -> std::result::Result<Arc<dyn FilterInstance>, Refusal> {
        let settings = Settings::new(R::FILTER, None);
        Ok(Arc::new(Instance::<R> { settings, automation: self.0.clone() }))
    }
}

struct Instance<R: Reader> {
    settings: Arc<Settings<Option<Opened<R>>>>,
    automation: Arc<AutomationTable<Filter>>,
}

impl<R: Reader> HasSettings for Instance<R> {
    type Values = Option<Opened<R>>;

    fn settings(&self) -> &Settings<Option<Opened<R>>> {
        &self.settings
    }
}

impl<R: Reader> Instance<R> {
    fn opened(&self) -> std::result::Result<Opened<R>, Refusal> {
        self.settings.values().ok_or_else(|| no_path(R::FILTER))
    }
}

impl<R: Reader> FilterInstance for Instance<R> {
    fn data_ranges(&self, _pin: PinId) -> Option<Vec<DataRange>> {
        let opened = self.settings.values();
        Some(opened.map_or_else(R::whole_ranges, |opened| R::exact_ranges(&opened.format)))
    }

    fn intersect(
        &self,
        _pin: PinId,
        range: &DataRange,
        _matching: &DataRange,
    ) -> std::result::Result<DataFormat, Refusal> {
        R::intersect(&self.opened()?.format, range)
    }

    fn accept_format(&self, _pin: PinId, format: &DataFormat, _range: &DataRange) -> std::result::Result<(), Refusal> {
        let opened = self.opened()?;
        R::accept(&opened.format, format, &opened.path)
            .map_err(|problem| Refusal::new(STATUS_NO_MATCH, Aspect::FormatBlock, format!("{}: {problem}", R::FILTER)))
    }

    fn create_pin(&self, _pin: &Arc<Pin>) -> std::result::Result<Arc<dyn PinInstance>, Refusal> {
        Ok(Arc::new(ReaderPin { opened: self.opened()?, stream: Mutex::new(None) }))
    }

    fn automation(&self) -> Option<&AutomationTable<Filter>> {
        Some(&self.automation)
    }
}

struct ReaderPin<R: Reader> {
    opened: Opened<R>,
    /// Taken out while the pin processes, which the processing mutex keeps to one thread.
    stream: Mutex<Option<Stream<R>>>,
}

/// What lives from ACQUIRE to STOP.
struct Stream<R> {
    reader: R,
    next: Next,
}

impl<R: Reader> ReaderPin<R> {
    /// The file at its first frame: the one that is open already, or opened again for another stream.
    fn open(&self) -> std::result::Result<R, Refusal> {
        if let Some(reader) = self.opened.reader.lock().take() {
            return Ok(reader);
        }
        let reader = R::open(&self.opened.path).map_err(|error| file_refusal(R::FILTER, &error))?;
        if *reader.format() != self.opened.format {
            let reason = format!("{}: {} has become a file of another format", R::FILTER, self.opened.path.display());
            return Err(Refusal::new(STATUS_DATA_ERROR, Aspect::File, reason));
        }
        Ok(reader)
    }

    fn fill_frames(&self, pin: &Arc<Pin>, stream: &mut Stream<R>) {
        let mut leading = pin.leading_edge();
        while let Some(frame) = leading {
            if stream.next == Next::EndOfFile {
                return;
            }
            if let Err(refusal) = self.fill(&frame, stream) {
                drop(frame);
                stream.next = Next::EndOfFile;
                pin.fail(refusal);
                return;
            }
            leading = frame.advance();
        }
    }

    /// Reads the next frame of the file; the last one carries the end of the stream.
    fn fill(&self, frame: &Locked<'_>, stream: &mut Stream<R>) -> std::result::Result<(), Refusal> {
        let room = frame.frame_extent() as usize;
        if room < R::least_room(&self.opened.format) {
            // The request of a client, with a buffer that nothing fits into; the stream goes on.
            frame.set_status_code(STATUS_BUFFER_TOO_SMALL);
            return Ok(());
        }
        let buffer = frame.buffer().and_then(|buffer| buffer.bytes_mut(room));
        let mut buffer = buffer.ok_or_else(|| {
            let reason = format!("{}: a frame has no memory to write to", R::FILTER);
            Refusal::new(STATUS_SHARING_VIOLATION, Aspect::Memory, reason)
        })?;
        let piece = stream.reader.read(&mut buffer).map_err(|error| file_refusal(R::FILTER, &error))?;
        drop(buffer);
        stream.next = piece.next;
        let mut flags = 0;
        if piece.next == Next::EndOfFile {
            flags |= KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM;
        }
        if piece.splice_point == SplicePoint::Yes && piece.used > 0 {
            flags |= KSSTREAM_HEADER_OPTIONSF_SPLICEPOINT;
        }
        if let Some((from, to)) = piece.time_100ns {
            let ticks = |time| Ticks(i64::try_from(time).unwrap_or(i64::MAX));
            flags |= KSSTREAM_HEADER_OPTIONSF_TIMEVALID | KSSTREAM_HEADER_OPTIONSF_DURATIONVALID;
            frame.set_presentation(Time(ticks(from).0), ticks(to) + -ticks(from));
        }
        frame.set_data_used(piece.used as u32);
        frame.set_options_flags(flags);
        Ok(())
    }

    /// What there is to say of the file once it was read: it ends before it should.
    fn truncation(&self, stream: &Stream<R>) -> Option<Refusal> {
        let problem = stream.reader.truncation().filter(|_| stream.next == Next::EndOfFile)?;
        let reason = format!("{}: {} is cut off: {problem}", R::FILTER, self.opened.path.display());
        Some(Refusal::new(STATUS_DATA_ERROR, Aspect::File, reason))
    }
}

impl<R: Reader> PinInstance for ReaderPin<R> {
    fn framing(&self, _pin: &Pin) -> Option<Framing> {
        Some(R::framing(&self.opened.format))
    }

    fn set_device_state(&self, pin: &Arc<Pin>, to: KsState, from: KsState) -> std::result::Result<(), Refusal> {
        if to == KsState::ACQUIRE && from == KsState::STOP {
            let reader = self.open()?;
            *self.stream.lock() = Some(Stream { reader, next: Next::Frame });
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
