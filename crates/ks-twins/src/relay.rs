//! `relay`: shows the pictures of another camera with their brightness turned over. A driver that opens and uses another
//! filter: it finds one by its device interface, creates a pin on it, keeps reads waiting there, and gives what came to
//! its own capture pin.
//!
//! The link of the other filter is the setting `Source` of `Parameters`. Without one it tries each interface of the
//! category of capture filters, in which it is not itself.
//!
//! The twin of `drivers/relay/relay.c`. Where that has a thread that waits for its reads, a read is a future here, whose
//! waker queues a work item.

use std::collections::VecDeque;
use std::pin::Pin as Pinned;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};

use ks_abi::{
    Guid, IoControlCode, KSCATEGORY_CAPTURE, KSCATEGORY_VIDEO, KSNAME_Pin, KSPROPERTY_CONNECTION_STATE,
    KSPROPERTY_STREAMINTERFACE_HEADERSIZE, KSPROPERTY_TYPE_GET, KSPROPERTY_TYPE_SET, KSPROPSETID_Connection,
    KSPROPSETID_StreamInterface, KsIdentifier, KsPinConnect, KsPinDataFlow, KsPriority, KsProperty, KsState,
    KsStreamHeader, KsTime, NtStatus, Ptr64, STATUS_BUFFER_TOO_SMALL, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_OBJECT_NAME_NOT_FOUND, STATUS_PENDING, Size,
};
use ks_io::sync::Mutex;
use ks_io::{
    AccessMask, Aspect, Finished, Handle, IoManager, Outcome, Refusal, Request, RequestorMode, STREAM_HEADER_BYTES,
    Session, Ticks, Time, Transport, Work, WorkQueue,
};
use ks_mem::Frame;
use ks_stream::{
    ClonePointer, DataFormat, DataRange, Filter, FilterDescriptor, FilterDispatch, FilterInstance, Framing, Locked,
    Pin, PinDescriptor, PinId, PinInstance,
};
use zerocopy::{FromBytes, IntoBytes};

use crate::Surroundings;
use crate::video::{self, Layout, Limits, Picture};

/// Reads that wait at the other filter, and frames of our own.
const READS: usize = 8;
/// The longest stream header that there can be.
const MOST_HEADER_BYTES: u32 = 4096;
const LIMITS: Limits = Limits {
    least: Size { width: 64, height: 32 },
    most: Size { width: 1920, height: 1080 },
    interval_100ns: (10_000_000 / 240, 10_000_000),
};

/// What the filter says of itself, after its settings were read.
pub(crate) fn descriptor(surroundings: &Surroundings) -> Result<FilterDescriptor, String> {
    let settings: toml::Table = surroundings.settings.parse().map_err(|error| format!("its settings: {error}"))?;
    let link = settings.get("Parameters").and_then(|table| table.get("Source")).and_then(toml::Value::as_str);
    let mut pin = PinDescriptor::new(KsPinDataFlow::OUT, vec![video::range(Layout::Nv12, LIMITS)]);
    pin.framing = Some(Framing { frames: READS as u32, ..Framing::default() });
    let relay = Relay { link: link.map(|link| link.replacen(r"\??\", r"\\?\", 1)) };
    let reference = "{1A4F3E52-7F0B-4C60-9D35-2B5E84110C0A}";
    Ok(FilterDescriptor::new(reference, "relay", &[KSCATEGORY_VIDEO], vec![pin], Arc::new(relay)))
}

#[derive(Clone)]
struct Relay {
    link: Option<String>,
}

impl FilterDispatch for Relay {
    fn create(&self, _filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        Ok(Arc::new(self.clone()))
    }
}

impl FilterInstance for Relay {
    fn accept_format(&self, _pin: PinId, format: &DataFormat, _range: &DataRange) -> Result<(), Refusal> {
        video::read(format, &LIMITS).map(drop)
    }

    fn intersect(&self, _pin: PinId, range: &DataRange, matching: &DataRange) -> Result<DataFormat, Refusal> {
        video::intersect(range, matching)
    }

    fn create_pin(&self, pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        let picture = video::read(&pin.format(), &LIMITS)?;
        let source = Source::find(pin.io(), self.link.as_deref(), &pin.format())?;
        let stream = Stream { pin: Arc::downgrade(pin), picture, source, reads: Mutex::default() };
        Ok(Arc::new(RelayPin { stream: Arc::new(stream) }))
    }
}

/// The other filter and our pin on it, as the handles of a driver.
struct Source {
    session: Arc<Session>,
    filter: Handle,
    pin: Handle,
    /// Bytes of the other pin's stream headers.
    header_bytes: u32,
}

impl Source {
    /// The source that is named, else the first capture filter that takes the format.
    fn find(io: &Arc<IoManager>, link: Option<&str>, format: &DataFormat) -> Result<Source, Refusal> {
        let session = io.session_as(RequestorMode::Kernel);
        let links = match link {
            Some(link) => vec![link.to_owned()],
            None => session.interfaces(Some(KSCATEGORY_CAPTURE)).into_iter().map(|one| one.symbolic_link).collect(),
        };
        let nobody = Refusal::new(STATUS_OBJECT_NAME_NOT_FOUND, Aspect::Name, "there is no capture filter to relay");
        let mut refused = nobody;
        for link in links {
            match Source::open(&session, &link, format) {
                Ok(source) => return Ok(source),
                Err(refusal) => refused = refusal,
            }
        }
        Err(refused)
    }

    /// Opens the filter with this link and creates its first pin.
    fn open(session: &Arc<Session>, link: &str, format: &DataFormat) -> Result<Source, Refusal> {
        let filter = session.open(link, AccessMask::GENERIC_READ).map_err(|outcome| refused(link, outcome))?;
        let connect = KsPinConnect {
            interface: KsIdentifier::STANDARD_STREAMING,
            medium: KsIdentifier::STANDARD_DEVIO,
            priority: KsPriority::NORMAL,
            ..KsPinConnect::default()
        };
        let parameters = [connect.as_bytes(), format.bytes()].concat();
        let pin = match session.create(filter, &KSNAME_Pin.to_string(), &parameters, AccessMask::GENERIC_READ) {
            Ok(pin) => pin,
            Err(outcome) => {
                let _ = session.close(filter);
                return Err(refused(link, outcome));
            }
        };
        let mut source = Source { session: session.clone(), filter, pin, header_bytes: 0 };
        let mut size = [0; 4];
        source.property(
            KSPROPSETID_StreamInterface,
            KSPROPERTY_STREAMINTERFACE_HEADERSIZE,
            KSPROPERTY_TYPE_GET,
            &mut size,
        )?;
        // A pin can have more to say of a frame than fits into the plain header, and takes no shorter ones.
        source.header_bytes = u32::from_le_bytes(size).clamp(STREAM_HEADER_BYTES as u32, MOST_HEADER_BYTES);
        Ok(source)
    }

    fn property(&self, set: Guid, id: u32, flags: u32, data: &mut [u8]) -> Result<(), Refusal> {
        let request = KsProperty::new(set, id, flags);
        let outcome = self.session.device_io_control(self.pin, IoControlCode::KS_PROPERTY, request.as_bytes(), data);
        if outcome.status.is_error() { Err(refused("the source", outcome)) } else { Ok(()) }
    }

    fn set_state(&self, state: KsState) -> Result<(), Refusal> {
        let mut data = state.0.to_le_bytes();
        self.property(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_STATE, KSPROPERTY_TYPE_SET, &mut data)
    }

    /// Sends a read of one frame.
    fn read(&self, buffer: &Frame) -> Request {
        let header = KsStreamHeader {
            size: self.header_bytes,
            presentation_time: KsTime { numerator: 1, denominator: 1, ..KsTime::default() },
            frame_extent: buffer.len() as u32,
            data: Ptr64(buffer.address()),
            ..KsStreamHeader::default()
        };
        let mut bytes = header.as_bytes().to_vec();
        bytes.resize(self.header_bytes as usize, 0);
        self.session.submit(self.pin, IoControlCode::KS_READ_STREAM, &[], bytes)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        for handle in [self.pin, self.filter] {
            let _ = self.session.close(handle);
        }
    }
}

/// What the other filter said, as our own refusal.
fn refused(link: &str, outcome: Outcome) -> Refusal {
    let why = outcome.refusal.map_or_else(|| outcome.status.to_string(), |refusal| refusal.reason);
    Refusal::new(outcome.status, Aspect::Driver, format!("{link}: {why}"))
}

struct RelayPin {
    stream: Arc<Stream>,
}

/// What the pin, its reads and the work item share.
struct Stream {
    pin: Weak<Pin>,
    picture: Picture,
    source: Source,
    reads: Mutex<Reads>,
}

#[derive(Default)]
struct Reads {
    /// In the order in which they were sent and will end.
    waiting: VecDeque<Read>,
    /// Buffers of reads that are done.
    buffers: Vec<Frame>,
}

/// A read at the other filter, and the frame that is for its picture.
struct Read {
    request: Request,
    buffer: Frame,
    clone: ClonePointer,
}

impl PinInstance for RelayPin {
    /// Frames came: each is sent to be filled, as far as there are places.
    fn process(&self, pin: &Arc<Pin>) -> NtStatus {
        while self.stream.has_place()
            && let Some(frame) = pin.leading_edge()
        {
            if frame.buffer().is_some() && self.stream.send(&frame).is_none() {
                frame.set_status_code(STATUS_INSUFFICIENT_RESOURCES);
            }
            frame.eject();
        }
        STATUS_PENDING
    }

    /// The other pin goes the same steps. In STOP it gives up the reads that it has.
    fn set_device_state(&self, _pin: &Arc<Pin>, to: KsState, _from: KsState) -> Result<(), Refusal> {
        let outcome = self.stream.source.set_state(to);
        if to == KsState::STOP {
            let gone = std::mem::take(&mut *self.stream.reads.lock());
            // The clones let their frames go here, with no lock held.
            drop(gone);
        }
        outcome
    }
}

/// A read may be done: the critical queue has one thread, so reads are finished one after the other.
impl Wake for Stream {
    fn wake(self: Arc<Self>) {
        if let Some(pin) = self.pin.upgrade() {
            pin.services().queue_work(WorkQueue::Critical, self);
        }
    }
}

impl Work for Stream {
    fn run(self: Arc<Self>) {
        let waker = Waker::from(self.clone());
        while let Some((read, finished)) = self.take_finished(&mut Context::from_waker(&waker)) {
            if let Err(status) = self.deliver(&read, &finished) {
                read.clone.set_status_code(status);
            }
            let Read { buffer, clone, .. } = read;
            self.reads.lock().buffers.push(buffer);
            // Its frame goes on.
            drop(clone);
            // A frame may wait for the place.
            if let Some(pin) = self.pin.upgrade() {
                pin.attempt_processing();
            }
        }
    }
}

impl Stream {
    fn has_place(&self) -> bool {
        self.reads.lock().waiting.len() < READS
    }

    /// The oldest read if it is done; else the work is queued when it is.
    fn take_finished(&self, context: &mut Context<'_>) -> Option<(Read, Finished)> {
        let mut reads = self.reads.lock();
        let Poll::Ready(finished) = Pinned::new(&mut reads.waiting.front_mut()?.request).poll(context) else {
            return None;
        };
        reads.waiting.pop_front().map(|read| (read, finished))
    }

    /// Sends a read that will fill a frame.
    fn send(self: &Arc<Self>, frame: &Locked<'_>) -> Option<()> {
        let spare = self.reads.lock().buffers.pop();
        let buffer = spare.or_else(|| self.buffer())?;
        let clone = frame.clone_pointer()?;
        frame.set_data_used(0);
        let request = self.source.read(&buffer);
        let mut reads = self.reads.lock();
        reads.waiting.push_back(Read { request, buffer, clone });
        let is_first = reads.waiting.len() == 1;
        drop(reads);
        if is_first {
            // Nobody waits for it yet.
            self.clone().wake();
        }
        Some(())
    }

    fn buffer(&self) -> Option<Frame> {
        self.source.session.allocate(self.picture.frame_bytes, 64).ok()
    }

    /// Copies what was read to our frame, and turns its brightness over.
    fn deliver(&self, read: &Read, finished: &Finished) -> Result<(), NtStatus> {
        if finished.outcome.status.is_error() {
            return Err(finished.outcome.status);
        }
        let header = KsStreamHeader::read_from_prefix(&finished.output).map(|(header, _)| header);
        let header = header.ok().filter(|header| header.data_used >= self.picture.frame_size());
        let (Some(header), Some(frame)) = (header, read.clone.frame()) else { return Err(STATUS_BUFFER_TOO_SMALL) };
        if frame.frame_extent() < self.picture.frame_size() {
            return Err(STATUS_BUFFER_TOO_SMALL);
        }
        let from = read.buffer.bytes(self.picture.frame_bytes);
        let to = frame.buffer().and_then(|buffer| buffer.bytes_mut(self.picture.frame_bytes));
        let (Some(from), Some(mut to)) = (from, to) else { return Err(STATUS_INSUFFICIENT_RESOURCES) };
        let ((luma, colours), (to_luma, to_colours)) =
            (from.split_at(self.picture.luma_bytes()), to.split_at_mut(self.picture.luma_bytes()));
        to_luma.iter_mut().zip(luma).for_each(|(to, from)| *to = 251u8.wrapping_sub(*from));
        to_colours.copy_from_slice(colours);
        frame.set_data_used(self.picture.frame_size());
        frame.set_presentation(Time(header.presentation_time.time), Ticks(header.duration));
        frame.set_options_flags(header.options_flags);
        Ok(())
    }
}
