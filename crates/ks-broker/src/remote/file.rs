//! A file object of the other engine: requests leave here, and complete here.

use super::event::{self, Notified};
use super::looped::{self, Mapped};
use super::peer::{Inner, with_record};
use super::pending::{Answer, Bounced, Waiting};
use super::refusal;
use ks_abi::{
    Guid, IoControlCode, KSNAME_Pin, KSPROPERTY_STREAM_ALLOCATOR, KSPROPERTY_STREAM_MASTERCLOCK,
    KSPROPERTY_STREAM_QUALITY, KSPROPERTY_TYPE_SET, KSPROPSETID_Stream, KsProperty, NtStatus, STATUS_ACCESS_VIOLATION,
    STATUS_DEVICE_PROTOCOL_ERROR, STATUS_DEVICE_REMOVED, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_BUFFER_SIZE,
    STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_HANDLE, STATUS_NOT_SUPPORTED, STATUS_PENDING,
};
use ks_io::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};
use ks_io::{
    AccessMask, Aspect, CreateRequest, Created, Dispatch, Dispatched, FileObject, Irp, Refusal, STREAM_HEADER_BYTES,
    deferred,
};
use ks_mem::{Frame, FrameMemory};
use ks_stream::{AllocatorObject, Direction, allocator_of_another_process, memory_of, probe_headers};
use ks_wire::{Completion, Control, Create, Embedded, FramePart, Message, Named, Parts, RequestId, Stream, UNNUMBERED};
use std::borrow::Cow;
use std::cell::Cell;
use zerocopy::FromBytes;

/// Where a KSPIN_CONNECT has its PinToHandle.
const PIN_TO_HANDLE: usize = 56;
/// Header sizes that a pin can have.
const STRIDES: std::ops::RangeInclusive<usize> = STREAM_HEADER_BYTES..=4096;
/// The most bytes that an answer of the other side may have.
const MOST_OUTPUT_BYTES: usize = 16 << 20;

/// The most bytes of headers that a thread keeps for its next request.
const MOST_KEPT_BYTES: usize = 64 << 10;

/// What a stream request says of its frames.
#[derive(Default)]
struct Places {
    headers: Vec<u8>,
    parts: Vec<u8>,
}

thread_local! {
    /// Room for what the thread says of its next frames.
    static PLACES: Cell<Places> = const { Cell::new(Places { headers: Vec::new(), parts: Vec::new() }) };
}

/// Stands for an object of another process that is open there: every request goes over, and waits here until its answer
/// comes. When that process ends, what waits completes with STATUS_DEVICE_REMOVED.
pub struct RemoteFile {
    peer: Arc<Inner>,
    /// The number that the other side exported it by.
    file: u64,
    /// Frames of private memory whose bytes went over in a shared frame. Relaxed: it is only counted.
    copied: AtomicU64,
    /// Memory of the other side that clients of this file object have mapped. A leaf.
    mapped: Mutex<Vec<Frame>>,
}

impl RemoteFile {
    pub(super) fn new(peer: &Arc<Inner>, file: u64) -> Arc<RemoteFile> {
        Arc::new(RemoteFile { peer: peer.clone(), file, copied: AtomicU64::new(0), mapped: Mutex::default() })
    }

    /// Keeps memory mapped until the file object is closed; false when it has its most.
    pub(super) fn keep(&self, frame: Frame, most: usize) -> bool {
        let mut mapped = self.mapped.lock();
        let room = mapped.len() < most;
        if room {
            mapped.push(frame);
        }
        room
    }

    /// How the other side of `peer` names a file object of this engine: by its own number, if it is one of its own.
    pub(super) fn named(peer: &Arc<Inner>, file: &Arc<FileObject>) -> Result<Named, NtStatus> {
        if let Some(remote) = file.object_as::<RemoteFile>()
            && Arc::ptr_eq(&remote.peer, peer)
        {
            return Ok(Named::Yours(remote.file));
        }
        peer.exports.add(file.clone(), None).map(Named::Mine)
    }

    /// Is a file object of this engine one of the other side's?
    fn is_of_my_peer(&self, file: &FileObject) -> bool {
        file.object_as::<RemoteFile>().is_some_and(|remote| Arc::ptr_eq(&remote.peer, &self.peer))
    }

    /// The handle in a request's data that names an object of this engine, in the terms of the other side. The bytes of
    /// the handle are cleared.
    fn embedded(&self, irp: &Irp, code: IoControlCode, data: &mut [u8]) -> Result<Embedded, NtStatus> {
        let Some(file) = irp.file_object() else { return Ok(Embedded::Nothing) };
        if let Some(enabled) = event::enabled_event(code, irp.input(), data) {
            let notified = match enabled.adjustment {
                None => file.event_by_handle(enabled.handle).map(Notified::Event),
                Some(adjustment) => {
                    event::name_an_event(data);
                    let semaphore = file.semaphore_by_handle(enabled.handle);
                    semaphore.map(|semaphore| Notified::Semaphore(semaphore, adjustment))
                }
            };
            let notified = notified.ok_or(STATUS_INVALID_HANDLE)?;
            clear(data, enabled.offset as usize);
            return Ok(Embedded::Event(enabled.offset, self.peer.events.add(notified, enabled.tells)?));
        }
        if let Some(registered) = RemoteFile::registers(&self.peer.events, &file, code, irp.input())? {
            return Ok(registered);
        }
        if let Some(handle) = named_by_property(code, irp.input(), data) {
            let named = file.file_by_handle(handle).ok_or(STATUS_INVALID_HANDLE)?;
            if names_allocator(irp.input()) && !self.is_of_my_peer(&named) {
                return Err(no_allocator_there(&named));
            }
            clear(data, 0);
            return Ok(Embedded::File(0, RemoteFile::named(&self.peer, &named)?));
        }
        Ok(Embedded::Nothing)
    }

    fn control(&self, irp: Irp) -> Dispatched {
        let code = irp.io_control_code();
        let mut data = irp.output().data().to_vec();
        let embedded = match self.embedded(&irp, code, &mut data) {
            Ok(embedded) => embedded,
            // Nothing else of another process is refused by this status.
            Err(STATUS_NOT_SUPPORTED) => return Dispatched::Completed(irp.refuse(allocator_of_another_process())),
            Err(status) => return irp.done(status),
        };
        self.submit(
            irp,
            |irp, record| {
                Message::Control(Control {
                    request: UNNUMBERED,
                    requestor: Inner::requestor(irp.origin()),
                    file: self.file,
                    code: code.0,
                    input_token: irp.input_token(),
                    output_token: irp.output_token(),
                    output_bytes: irp.output().limit().min(MOST_OUTPUT_BYTES) as u32,
                    input: irp.input(),
                    data: &data[..data.len().min(MOST_OUTPUT_BYTES)],
                    embedded,
                })
                .encode(record);
            },
            Waiting::Control,
        )
    }

    fn stream(&self, mut irp: Irp, direction: Direction) -> Dispatched {
        let code = irp.io_control_code();
        // A driver sends frames; a client sends a list of headers.
        let any_header_size = irp.stream().is_some();
        if !any_header_size && let Err(refusal) = self.probe(&mut irp, direction) {
            return Dispatched::Completed(irp.refuse(refusal));
        }
        let mut bounced = Vec::new();
        let mut places = PLACES.try_with(Cell::take).unwrap_or_default();
        let stride = match self.places(&irp, direction, &mut bounced, &mut places) {
            Ok(stride) => stride,
            Err(status) => {
                bounced.into_iter().for_each(|bounced| self.peer.memory.give_back(bounced.frame));
                return irp.done(status);
            }
        };
        if !bounced.is_empty() {
            self.copied.fetch_add(bounced.len() as u64, Ordering::Relaxed);
        }
        let submitted = self.submit(
            irp,
            |irp, record| {
                Message::Stream(Stream {
                    request: UNNUMBERED,
                    requestor: Inner::requestor(irp.origin()),
                    file: self.file,
                    code: code.0,
                    any_header_size,
                    stride,
                    headers: &places.headers,
                    parts: Parts::new(&places.parts),
                })
                .encode(record);
            },
            |irp| Waiting::Stream(irp, bounced),
        );
        if places.headers.capacity() <= MOST_KEPT_BYTES {
            let _ = PLACES.try_with(|kept| kept.set(places));
        }
        submitted
    }

    /// Checks a client's headers and finds their buffers; what size a header has says the first.
    fn probe(&self, irp: &mut Irp, direction: Direction) -> Result<(), Refusal> {
        let list = irp.output().data();
        let stride = list.first_chunk().map_or(0, |size| u32::from_le_bytes(*size));
        if !STRIDES.contains(&(stride as usize)) {
            let reason = format!("stream header 0: Size is {stride}");
            return Err(Refusal::new(STATUS_INVALID_BUFFER_SIZE, Aspect::Request, reason));
        }
        let regions = self.peer.io.regions();
        let origin = irp.origin();
        let frames = probe_headers(list, direction, stride, |_, header| memory_of(origin, header, regions))?;
        irp.set_stream(frames);
        Ok(())
    }

    /// Finds the headers without addresses and where the bytes of each lie, and gives the size of a header. Frames in
    /// private memory get a shared one that travels in their place.
    fn places(
        &self,
        irp: &Irp,
        direction: Direction,
        bounced: &mut Vec<Bounced>,
        Places { headers, parts }: &mut Places,
    ) -> Result<u32, NtStatus> {
        let Some(stream) = irp.stream() else { return Err(STATUS_INVALID_DEVICE_REQUEST) };
        let stride = stream.stride();
        stream.copy_headers(headers);
        parts.clear();
        if !STRIDES.contains(&stride) {
            return Err(STATUS_INVALID_BUFFER_SIZE);
        }
        for (index, (frame, header)) in stream.iter().zip(headers.chunks_exact_mut(stride)).enumerate() {
            self.peer.clock.tell(frame, header);
            let part = match frame.buffer() {
                None => FramePart::default(),
                Some(buffer) if buffer.is_shared() => self.place(buffer, buffer.len())?,
                Some(buffer) => {
                    let room = buffer.len();
                    let shared = self.peer.memory.borrow(room, &self.peer.io).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
                    let filled = direction == Direction::Read
                        || buffer.bytes(frame.data_used() as usize).is_some_and(|data| shared.copy_in(0, &data));
                    let part = self.place(&shared, room);
                    bounced.push(Bounced { index, frame: shared });
                    if !filled {
                        return Err(STATUS_ACCESS_VIOLATION);
                    }
                    part?
                }
            };
            Parts::push(parts, part);
        }
        Ok(stride as u32)
    }

    fn place(&self, frame: &Frame, bytes: usize) -> Result<FramePart, NtStatus> {
        match self.peer.memory.place(frame, &self.peer.sender) {
            Ok(part) => Ok(FramePart { bytes: part.bytes.min(u32::try_from(bytes).unwrap_or(u32::MAX)), ..part }),
            Err(error) => {
                self.peer.break_off(error);
                Err(STATUS_DEVICE_REMOVED)
            }
        }
    }

    /// Sends a request over; it waits until its answer comes, a cancel goes the same way, and it completes at once when
    /// there is nobody any more.
    fn submit(
        &self,
        irp: Irp,
        encode: impl FnOnce(&Irp, &mut Vec<u8>),
        waiting: impl FnOnce(Irp) -> Waiting,
    ) -> Dispatched {
        let peer = &self.peer;
        let ticket = if irp.stream().is_none() { irp.help_ticket() } else { None };
        let sent = with_record(|record| {
            encode(&irp, record);
            peer.send_request(record, waiting(irp))
        });
        match sent {
            Ok(request) => {
                // The thread that waits for the answer may receive it.
                if let Some(ticket) = ticket {
                    ticket.offer(peer.me.clone(), request);
                }
                Dispatched::Pending
            }
            Err((waiting, status)) => match peer.take_apart(waiting) {
                Some(irp) => irp.done(status),
                None => Dispatched::Pending,
            },
        }
    }

    fn answer_of(&self, message: impl FnOnce(RequestId) -> Message<'static>) -> Answer {
        self.peer.call(message)
    }
}

impl Dispatch for RemoteFile {
    fn device_io_control(&self, irp: Irp) -> Dispatched {
        match irp.io_control_code() {
            // Across processes no pin is an AVStream peer: frames go as requests.
            IoControlCode::KS_HANDSHAKE => irp.done(STATUS_INVALID_DEVICE_REQUEST),
            IoControlCode::KS_READ_STREAM => self.stream(irp, Direction::Read),
            IoControlCode::KS_WRITE_STREAM => self.stream(irp, Direction::Write),
            IoControlCode::KS_PROPERTY if looped::asks_for_routine(irp.input()) => {
                let reason = "a routine of a driver in another process cannot be called";
                Dispatched::Completed(irp.refuse(Refusal::new(STATUS_NOT_SUPPORTED, Aspect::Device, reason)))
            }
            _ => self.control(irp),
        }
    }

    fn create_child(&self, request: &CreateRequest<'_>) -> Result<Created, Refusal> {
        let mut parameters = request.parameters.to_vec();
        let mut embedded = Embedded::Nothing;
        if let Some(handle) = pin_to_handle(request.name, &parameters) {
            let named = request.file.file_by_handle(handle).filter(|file| !file.is_cleaned_up());
            let named = named.ok_or(STATUS_INVALID_HANDLE).and_then(|file| RemoteFile::named(&self.peer, &file));
            match named {
                Ok(named) => embedded = Embedded::File(PIN_TO_HANDLE as u32, named),
                Err(status) => {
                    let reason = format!("PinToHandle {handle:#x} is no open pin of this client");
                    return Err(Refusal::new(status, Aspect::Name, reason));
                }
            }
            clear(&mut parameters, PIN_TO_HANDLE);
        }
        let requestor = Inner::requestor(request.origin);
        let cancel = Some(&**request.file.create_cancel());
        let answer = self.peer.call_until_cancelled(cancel, |id| {
            Message::Create(Create {
                request: id,
                requestor,
                parent: self.file,
                access: request.access.0,
                class: request.name,
                parameters: &parameters,
                embedded,
            })
        });
        if answer.status.is_success() && answer.file != 0 {
            let granted = AccessMask(answer.granted & request.access.specific().0);
            return Ok(Created { object: RemoteFile::new(&self.peer, answer.file), granted });
        }
        Err(answer.refusal.unwrap_or_else(|| {
            let reason = match answer.status {
                STATUS_DEVICE_REMOVED => "the process of the device has ended",
                _ => "the process of the device refuses to create the object",
            };
            Refusal::new(failure(answer.status), Aspect::Device, reason)
        }))
    }

    fn cleanup(&self) {
        let file = self.file;
        let mapped = std::mem::take(&mut *self.mapped.lock());
        drop(mapped);
        let _ = self.answer_of(|request| Message::Cleanup { request, file });
    }

    fn close(&self) {
        let file = self.file;
        let _ = self.answer_of(|request| Message::Close { request, file });
    }

    fn frame_memory(&self) -> FrameMemory {
        FrameMemory::Shared
    }

    fn copied_frames(&self) -> u64 {
        self.copied.load(Ordering::Relaxed)
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn std::any::Any + Send + Sync> {
        self
    }
}

impl std::fmt::Debug for RemoteFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteFile").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Inner {
    /// A request of this side has ended over there. What the other side says of it is checked against what was asked.
    pub(super) fn finish(&self, waiting: Waiting, done: &Completion<'_>) {
        let _inside = deferred::enter();
        let status = believed_status(done.status);
        match waiting {
            Waiting::Control(irp) => self.finish_control(irp, status, done),
            Waiting::Stream(irp, bounced) => self.finish_stream(irp, bounced, status, done),
            Waiting::Nobody => {}
            Waiting::Call(call) => {
                let refusal = done.refusal.map(|told| refusal::from_wire(failure(status), told));
                let answer = Answer {
                    status,
                    file: done.file,
                    granted: done.granted,
                    bytes: done.answer.to_vec(),
                    refusal: refusal.filter(|_| !status.is_success()),
                };
                *call.answer.lock() = Some(answer);
                call.done.set();
            }
        }
    }

    fn finish_stream(&self, mut irp: Irp, bounced: Vec<Bounced>, status: NtStatus, done: &Completion<'_>) {
        let mut status = status;
        let mut extent = 0;
        if let Some(stream) = irp.stream() {
            let stride = stream.stride();
            if done.answer.len() == stride * stream.len() {
                for (frame, header) in stream.iter().zip(done.answer.chunks_exact(stride)) {
                    frame.absorb(header);
                    self.clock.hear(frame, header);
                    extent += frame.frame_extent() as usize;
                }
                let reads = irp.io_control_code() == IoControlCode::KS_READ_STREAM;
                let filled = reads && status.is_success();
                for bounced in bounced.iter().filter(|_| filled) {
                    let Some(frame) = stream.frame(bounced.index) else { continue };
                    let used = frame.data_used() as usize;
                    let mut bytes = frame.buffer().and_then(|buffer| buffer.bytes_mut(used));
                    if !bytes.as_mut().is_some_and(|bytes| bounced.frame.copy_out(0, bytes)) {
                        status = STATUS_ACCESS_VIOLATION;
                    }
                }
            } else if status.is_success() {
                status = STATUS_DEVICE_PROTOCOL_ERROR;
            }
            extent = extent.max(done.answer.len());
        }
        bounced.into_iter().for_each(|bounced| self.memory.give_back(bounced.frame));
        if let Some(told) = done.refusal
            && !status.is_success()
        {
            irp.explain(refusal::from_wire(status, told));
        }
        irp.parts().output.set_information(usize::try_from(done.information).unwrap_or(usize::MAX).min(extent));
        drop(irp.complete(status));
    }

    /// A request that is not on its way after all.
    pub(super) fn take_apart(&self, waiting: Waiting) -> Option<Irp> {
        match waiting {
            Waiting::Control(irp) => Some(irp),
            Waiting::Stream(irp, bounced) => {
                bounced.into_iter().for_each(|bounced| self.memory.give_back(bounced.frame));
                Some(irp)
            }
            Waiting::Call(call) => {
                *call.answer.lock() = Some(Answer::status(STATUS_DEVICE_REMOVED));
                call.done.set();
                None
            }
            Waiting::Nobody => None,
        }
    }

    fn finish_control(&self, mut irp: Irp, status: NtStatus, done: &Completion<'_>) {
        let mut status = status;
        let mut answer = Cow::Borrowed(done.answer);
        let mut information = usize::try_from(done.information).unwrap_or(usize::MAX);
        if status.is_success()
            && !answer.is_empty()
            && let Some(mapped) = Mapped::of(irp.io_control_code(), irp.input())
            && let Err(refused) = self.addresses_for_places(mapped, &irp, done.file, answer.to_mut())
        {
            status = refused;
            (answer, information) = (Cow::Owned(Vec::new()), 0);
        }
        let output = irp.parts().output;
        let limit = output.limit();
        // More bytes than there is room for, or bytes that are not there: the other side does not follow the protocol.
        let excess = answer.len() > limit || (status.is_success() && information > limit);
        if excess {
            status = STATUS_DEVICE_PROTOCOL_ERROR;
        } else {
            if !answer.is_empty() {
                let answered = output.answer(&answer);
                if answered.is_error() {
                    status = answered;
                }
            }
            output.set_information(information);
        }
        if let Some(told) = done.refusal
            && !status.is_success()
        {
            irp.explain(refusal::from_wire(status, told));
        }
        drop(irp.complete(status));
    }
}

/// A completion has no status that says that there is none.
fn believed_status(status: u32) -> NtStatus {
    match NtStatus(status) {
        STATUS_PENDING => STATUS_DEVICE_PROTOCOL_ERROR,
        status => status,
    }
}

/// The status of a refusal: a success that brought nothing is none. A warning, such as STATUS_DEVICE_BUSY, refuses.
pub(super) fn failure(status: NtStatus) -> NtStatus {
    if status.is_success() { STATUS_DEVICE_PROTOCOL_ERROR } else { status }
}

fn clear(bytes: &mut [u8], at: usize) {
    if let Some(word) = bytes.get_mut(at..at + 8) {
        word.fill(0);
    }
}

/// PinToHandle of a pin's create.
fn pin_to_handle(class: &str, parameters: &[u8]) -> Option<u64> {
    let class = class.strip_suffix('\\').unwrap_or(class);
    if !class.eq_ignore_ascii_case(&KSNAME_Pin.to_string()) {
        return None;
    }
    let handle = parameters.get(PIN_TO_HANDLE..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))?;
    (handle != 0).then_some(handle)
}

/// Does a request of KSPROPSETID_Stream name an allocator? Its frames are memory of one process.
fn names_allocator(input: &[u8]) -> bool {
    KsProperty::read_from_prefix(input).is_ok_and(|(property, _)| property.id == KSPROPERTY_STREAM_ALLOCATOR)
}

/// Why what a client names to a pin of the other side is no allocator for it.
fn no_allocator_there(named: &FileObject) -> NtStatus {
    let may_be_one = named.object_as::<AllocatorObject>().is_some() || named.object_as::<RemoteFile>().is_some();
    if may_be_one { STATUS_NOT_SUPPORTED } else { STATUS_INVALID_HANDLE }
}

/// The handle of what a request makes a pin's master clock, allocator or quality manager: all stand first.
fn named_by_property(code: IoControlCode, input: &[u8], data: &[u8]) -> Option<u64> {
    const SET: Guid = KSPROPSETID_Stream;
    if code != IoControlCode::KS_PROPERTY {
        return None;
    }
    let (property, _) = KsProperty::read_from_prefix(input).ok()?;
    let sets = property.set == SET
        && matches!(
            property.id,
            KSPROPERTY_STREAM_ALLOCATOR | KSPROPERTY_STREAM_MASTERCLOCK | KSPROPERTY_STREAM_QUALITY
        )
        && property.flags & KSPROPERTY_TYPE_SET != 0;
    let handle = data.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))?;
    (sets && handle != 0).then_some(handle)
}
