//! Requests of the other side: looked up, dispatched into this engine, and answered.

use super::event::{Change, Distant};
use super::export::{Life, Opened, Used};
use super::file::RemoteFile;
use super::looped::{self, Mapped, Registration};
use super::peer::{Belief, Inner};
use super::refusal;
use super::stamp::DATA;
use ks_abi::{
    IoControlCode, KSPROPERTY_TYPE_GET, NtStatus, STATUS_ACCESS_DENIED, STATUS_INVALID_BUFFER_SIZE,
    STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_HANDLE, STATUS_NOT_SUPPORTED, STATUS_OBJECT_NAME_NOT_FOUND,
    STATUS_SUCCESS,
};
use ks_io::sync::Arc;
use ks_io::{
    AccessMask, Aspect, CompletedRequest, CompletionRoutine, Event, EventKind, FileObject, Handle, Irp, LentEvent,
    Origin, Outcome, Refusal, Reply, RequestParts, RequestorMode, Session, Signal, deferred,
};
use ks_mem::Frame;
use ks_stream::{Direction, Pin, asks_to_follow, probe_headers};
use ks_wire::{
    Completion, Control, Create, Embedded, InterfaceEntry, Message, Named, Open, RequestId, Requestor, Stream,
    WireError, encode_interfaces,
};
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use zerocopy::IntoBytes;

/// Where a stream header has its Size.
const SIZE: usize = 0;

thread_local! {
    /// Room for a list of headers, kept for the next.
    static LIST: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// The answerer of a stream request that this thread has answered, kept for the next. It knows no connection.
    static SPARE: Cell<Option<Arc<Answering>>> = const { Cell::new(None) };
}

/// The most bytes that a thread keeps for its next list.
const MOST_KEPT_BYTES: usize = 64 << 10;

/// Has `work` work with a list of headers in memory of this thread. What it holds at first is left over.
fn with_list<T>(work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut list = LIST.try_with(RefCell::take).unwrap_or_default();
    let done = work(&mut list);
    if list.capacity() <= MOST_KEPT_BYTES {
        let _ = LIST.try_with(|kept| kept.replace(list));
    }
    done
}

/// A completion without answer.
fn bare(request: RequestId, status: NtStatus) -> Completion<'static> {
    Completion { request, status: status.0, information: 0, file: 0, granted: 0, answer: &[], refusal: None }
}

/// True for what may take long or wait for other requests of the same side: another thread receives meanwhile.
pub(super) fn may_wait(message: &Message<'_>) -> bool {
    match message {
        Message::Open(_) | Message::Create(_) | Message::Cleanup { .. } | Message::Close { .. } => true,
        Message::Service { .. } | Message::Report { .. } => true,
        Message::Control(control) => control_may_wait(control),
        _ => false,
    }
}

fn control_may_wait(control: &Control<'_>) -> bool {
    match IoControlCode(control.code) {
        IoControlCode::KS_PROPERTY => {
            let flags = control.input.get(20..24).and_then(|bytes| bytes.try_into().ok());
            flags.map_or(0, u32::from_le_bytes) & KSPROPERTY_TYPE_GET == 0
        }
        IoControlCode::KS_ENABLE_EVENT | IoControlCode::KS_DISABLE_EVENT => false,
        _ => true,
    }
}

impl Inner {
    /// Does what a message asks for. An error is the other side's fault and ends the connection.
    pub(super) fn execute(
        self: &Arc<Inner>,
        message: &Message<'_>,
        descriptor: Option<OwnedFd>,
    ) -> Result<(), WireError> {
        match *message {
            Message::Hello { version: ks_wire::VERSION } => self.greeted()?,
            Message::Hello { version } => return Err(WireError::Version { theirs: version }),
            _ if !self.is_greeted() => return Err(WireError::Protocol("the first message is no greeting")),
            Message::Completion(done) => {
                let waiting = self.pending.take(done.request);
                self.finish(waiting.ok_or(WireError::Protocol("an answer without a question"))?, &done);
            }
            Message::Control(control) => self.serve_control(&control)?,
            Message::Stream(stream) => self.serve_stream(&stream)?,
            Message::Cancel { request } => {
                let cell = self.incoming.lock().get(request);
                if let Some(cell) = cell {
                    let _inside = deferred::enter();
                    cell.cancel();
                }
            }
            Message::AnnounceRegion { region, cut } => {
                self.memory.learn(region, cut, descriptor.ok_or(WireError::Descriptor)?)?;
            }
            Message::RetireRegion { region } => self.memory.forget(region)?,
            Message::SetEvent { number } => self.events.change(number, Change::Set)?,
            Message::ClearEvent { number } => self.events.change(number, Change::Clear)?,
            Message::PulseEvent { number } => self.events.change(number, Change::Pulse)?,
            Message::ForgetEvent { number } => self.events.forget(number)?,
            Message::ListInterfaces { request } => self.serve_interfaces(request),
            Message::Open(open) => self.serve_open(&open),
            Message::Create(create) => self.serve_create(&create)?,
            Message::Cleanup { request, file } => {
                {
                    let _inside = deferred::enter();
                    if let Some(opened) = self.exports.take_handle(file) {
                        opened.close();
                    }
                    self.registered.forget(file);
                }
                self.send(&Message::Completion(bare(request, STATUS_SUCCESS)));
            }
            Message::Close { request, file } => {
                let peer = self.clone();
                let told = move || {
                    // What a looped pin had mapped for its client is gone with it.
                    looped::retire(&peer);
                    peer.send(&Message::Completion(bare(request, STATUS_SUCCESS)));
                };
                let closed = {
                    let _inside = deferred::enter();
                    self.exports.remove(file, Box::new(told))
                };
                drop(closed.ok_or(WireError::Protocol("an unknown file object was closed"))?);
            }
            Message::Log { level, text } => self.options.handler.log(level, text),
            Message::Report { bytes } => self.options.handler.report(bytes),
            Message::Service { request, operation, body } => {
                let (status, answer) = self.options.handler.service(operation, body);
                let information = answer.len() as u64;
                let done = Completion { information, answer: &answer, ..bare(request, status) };
                self.send(&Message::Completion(done));
            }
            Message::Heartbeat { number } => {
                let mut answer = self.crew.heartbeat(number, self.io.services().now());
                if let Some(busy_ms) = self.options.handler.busy_ms() {
                    answer.executing += 1;
                    answer.oldest_ms = answer.oldest_ms.max(busy_ms);
                }
                self.send(&Message::HeartbeatAnswer(answer));
            }
            Message::HeartbeatAnswer(beat) => self.heard(beat),
        }
        Ok(())
    }

    fn serve_interfaces(&self, request: RequestId) {
        let mut answer = Vec::new();
        if self.options.exports.all() {
            let entries: Vec<_> = self
                .io
                .interfaces(None)
                .into_iter()
                .map(|one| InterfaceEntry {
                    device: one.device,
                    category: one.category.as_bytes().try_into().unwrap_or_default(),
                    reference: one.reference,
                    friendly_name: one.friendly_name,
                })
                .collect();
            encode_interfaces(&entries, &mut answer);
        }
        let done = Completion { answer: &answer, ..bare(request, STATUS_SUCCESS) };
        self.send(&Message::Completion(done));
    }

    /// The local client that stands for a requestor of the other side, who is what this side believes it to be.
    fn client(&self, requestor: Requestor) -> Result<Arc<Session>, NtStatus> {
        let kernel_mode = requestor.kernel_mode && self.options.belief == Belief::Everything;
        self.exports.client(Requestor { kernel_mode, ..requestor }, &self.io)
    }

    fn serve_open(&self, open: &Open<'_>) {
        let _inside = deferred::enter();
        let cancel = self.noted(open.request);
        let opened = self.client(open.requestor).map_err(Outcome::status).and_then(|session| {
            let interfaces = if self.options.exports.all() { self.io.interfaces(None) } else { Vec::new() };
            let wanted = interfaces
                .into_iter()
                .find(|one| one.device == open.device && one.reference.eq_ignore_ascii_case(open.reference));
            let Some(wanted) = wanted else {
                let reason = format!("there is no filter {} of a device {}", open.reference, open.device);
                return Err(Outcome::refused(Refusal::new(STATUS_OBJECT_NAME_NOT_FOUND, Aspect::Name, reason)));
            };
            let handle = session.open_cancelable(&wanted.symbolic_link, AccessMask(open.access), &cancel)?;
            Ok((session, handle))
        });
        self.answer_create(open.request, opened);
    }

    fn serve_create(self: &Arc<Inner>, create: &Create<'_>) -> Result<(), WireError> {
        let used = self.exports.used(create.parent).ok_or(WireError::Protocol("an unknown parent"))?;
        let _inside = deferred::enter();
        let cancel = self.noted(create.request);
        let created = self.client(create.requestor).map_err(Outcome::status).and_then(|session| {
            let mut parameters = Cow::Borrowed(create.parameters);
            let lent = self.lend(&session, &used.file, create.embedded, &mut parameters).map_err(Outcome::status)?;
            let access = AccessMask(create.access);
            let handle = session.create_below(&used.file, create.class, &parameters, access, &cancel);
            drop(lent);
            handle.map(|handle| (session, handle))
        });
        self.answer_create(create.request, created);
        Ok(())
    }

    fn answer_create(&self, request: RequestId, created: Result<(Arc<Session>, Handle), Outcome>) {
        let exported = created.and_then(|(session, handle)| {
            let Some(file) = session.file_object(handle) else {
                return Err(Outcome::status(STATUS_INVALID_HANDLE));
            };
            let granted = file.granted().specific();
            let number = self.exports.add(file, Some(Opened { session, handle })).map_err(Outcome::status)?;
            Ok((number, granted))
        });
        // Its number is free for the other side as soon as it has the completion.
        drop(self.incoming.lock().remove(request));
        match exported {
            Ok((file, granted)) => {
                let done = Completion { file, granted: granted.0, ..bare(request, STATUS_SUCCESS) };
                self.send(&Message::Completion(done));
            }
            Err(outcome) => {
                let told = outcome.refusal.as_deref();
                let told = told.map(|refusal| (refusal::number(refusal.aspect), refusal.reason.as_str()));
                self.send(&Message::Completion(Completion { refusal: told, ..bare(request, outcome.status) }));
            }
        }
    }

    /// Makes a handle of `session` for an object that a request names, and writes it where it belongs. An event is found in
    /// the table of who opened the `target` of the request: a client of this engine, where the other side was handed it.
    fn lend(
        self: &Arc<Inner>,
        session: &Arc<Session>,
        target: &FileObject,
        embedded: Embedded,
        bytes: &mut Cow<'_, [u8]>,
    ) -> Result<Option<Lent>, NtStatus> {
        let (offset, handle) = match embedded {
            Embedded::Nothing | Embedded::Registered(..) => return Ok(None),
            Embedded::File(offset, Named::Yours(number)) => {
                let file = self.exports.file(number).ok_or(STATUS_INVALID_HANDLE)?;
                (offset, session.lend(&file)?)
            }
            Embedded::File(offset, Named::Mine(number)) => {
                let access = AccessMask::GENERIC_READ.union(AccessMask::GENERIC_WRITE);
                (offset, session.adopt(RemoteFile::new(self, number), access)?)
            }
            Embedded::Event(offset, number) => {
                let observer = Box::new(Distant { peer: self.me.clone(), number });
                let event = self.io.services().observed_event(EventKind::Notification, Signal::Clear, observer);
                let lent = target.lend_event(&event)?;
                write_handle(bytes, offset, lent.handle())?;
                return Ok(Some(Lent::ToOpener(lent)));
            }
        };
        let lent = Lent::ToClient { session: session.clone(), handle };
        write_handle(bytes, offset, handle)?;
        Ok(Some(lent))
    }

    /// The file object that a request is for, and who it comes from. The access that its code demands is checked.
    fn target(&self, file: u64, code: IoControlCode) -> Result<Result<Used, NtStatus>, WireError> {
        let used = self.exports.used(file).ok_or(WireError::Protocol("a request for an unknown file object"))?;
        let demanded = AccessMask::demanded_by(code);
        Ok(if used.file.granted().allows(demanded) { Ok(used) } else { Err(STATUS_ACCESS_DENIED) })
    }

    fn refuse(&self, request: RequestId, status: NtStatus) {
        drop(self.incoming.lock().remove(request));
        self.send(&Message::Completion(bare(request, status)));
    }

    fn serve_control(self: &Arc<Inner>, control: &Control<'_>) -> Result<(), WireError> {
        if !control_may_wait(control) {
            self.must_be_new(control.request)?;
        }
        let code = IoControlCode(control.code);
        let used = match self.target(control.file, code)? {
            Ok(_) if matches!(code, IoControlCode::KS_READ_STREAM | IoControlCode::KS_WRITE_STREAM) => {
                // Frames come with the places of their bytes.
                self.refuse(control.request, STATUS_INVALID_DEVICE_REQUEST);
                return Ok(());
            }
            Ok(used) => used,
            Err(status) => {
                self.refuse(control.request, status);
                return Ok(());
            }
        };
        let _inside = deferred::enter();
        let mut data = Cow::Borrowed(control.data);
        let mut input = Cow::Borrowed(control.input);
        let mut registration = None;
        // A client's own request is a client's here as well.
        let follows = control.requestor.kernel_mode && asks_to_follow(code, control.input);
        let session = self.client(control.requestor);
        let ready = session.and_then(|session| {
            let lent = self.lend(&session, &used.file, control.embedded, &mut data)?;
            registration = self.registered_event(&session, control.file, control.embedded, &mut input)?;
            let life = Some(used.life.clone());
            let peer = Some(self.clone());
            let mapped = Mapped::of(code, control.input).map(|mapped| (mapped, session.origin().client()));
            let form = Form::Control { mapped, registration };
            let answering = Answering { peer, request: control.request, form, lent, life };
            // A pin of the other side follows a clock that its client named: it is no request of the client's.
            let origin = if follows { Origin::class_driver() } else { session.origin().clone() };
            let parts = RequestParts {
                code,
                input: &input,
                output: &data,
                output_bytes: control.output_bytes as usize,
                input_token: control.input_token,
                output_token: control.output_token,
            };
            Irp::device_control(&used.file, &origin, parts, Reply::Routine(Arc::new(answering)))
        });
        match ready {
            Ok(mut irp) if follows => {
                self.note_running(control.request, &mut irp);
                drop(used.file.dispatch_by_reference(irp));
            }
            Ok(irp) => self.dispatch(control.request, &used.file, irp),
            Err(status) => {
                if let Some(registration) = registration {
                    self.registration_ended(registration, status);
                }
                self.refuse(control.request, status);
            }
        }
        Ok(())
    }

    fn serve_stream(self: &Arc<Inner>, stream: &Stream<'_>) -> Result<(), WireError> {
        self.must_be_new(stream.request)?;
        let code = IoControlCode(stream.code);
        let direction = match code {
            IoControlCode::KS_READ_STREAM => Direction::Read,
            IoControlCode::KS_WRITE_STREAM => Direction::Write,
            _ => return Err(WireError::Protocol("frames with a request that takes none")),
        };
        // The places are checked first: a wrong one ends the connection, whatever becomes of the request.
        let mut parts = stream.parts.iter();
        if let (1, Some(only)) = (stream.parts.len(), parts.next()) {
            // Most requests have one frame, which needs no list.
            let mut buffers = [self.memory.find(only)?];
            return self.serve_frames(stream, code, direction, &mut buffers);
        }
        let mut buffers = Vec::with_capacity(stream.parts.len());
        for part in stream.parts.iter() {
            buffers.push(self.memory.find(part)?);
        }
        self.serve_frames(stream, code, direction, &mut buffers)
    }

    fn serve_frames(
        self: &Arc<Inner>,
        stream: &Stream<'_>,
        code: IoControlCode,
        direction: Direction,
        buffers: &mut [Option<Frame>],
    ) -> Result<(), WireError> {
        let used = match self.target(stream.file, code)? {
            Ok(used) => used,
            Err(status) => {
                self.refuse(stream.request, status);
                return Ok(());
            }
        };
        let _inside = deferred::enter();
        let theirs = stream.stride as usize;
        let ours = match used.file.object_as::<Pin>() {
            Some(pin) => pin.stream_header_bytes() as usize,
            None => theirs,
        };
        if ours != theirs && !stream.any_header_size {
            self.refuse(stream.request, STATUS_INVALID_BUFFER_SIZE);
            return Ok(());
        }
        let probed = with_list(|list| {
            restride(stream.headers, theirs, ours, list);
            for (header, buffer) in list.chunks_exact_mut(ours).zip(buffers.iter()) {
                header[SIZE..SIZE + 4].copy_from_slice(&(ours as u32).to_le_bytes());
                let address = buffer.as_ref().map_or(0, |buffer| buffer.address());
                header[DATA..DATA + 8].copy_from_slice(&address.to_le_bytes());
            }
            probe_headers(list, direction, ours as u32, |index, _| buffers.get_mut(index)?.take())
        });
        let frames = match probed {
            Ok(frames) => frames,
            Err(refusal) => {
                let told = Some((refusal::number(refusal.aspect), refusal.reason.as_str()));
                let done = Completion { refusal: told, ..bare(stream.request, refusal.status) };
                self.send(&Message::Completion(done));
                return Ok(());
            }
        };
        for (frame, header) in frames.iter().zip(stream.headers.chunks_exact(theirs)) {
            self.clock.hear(frame, header);
        }
        let ready = self.client(stream.requestor).and_then(|session| {
            let answering = Answering::to_frames(self, stream.request, theirs, used.life.clone());
            Irp::stream_request(&used.file, session.origin(), code, frames, Reply::Routine(answering))
        });
        match ready {
            Ok(irp) => self.dispatch(stream.request, &used.file, irp),
            Err(status) => self.refuse(stream.request, status),
        }
        Ok(())
    }

    fn dispatch(&self, request: RequestId, file: &Arc<FileObject>, mut irp: Irp) {
        self.note_running(request, &mut irp);
        drop(file.dispatch(irp));
    }

    fn note_running(&self, request: RequestId, irp: &mut Irp) {
        let noted = self.incoming.lock().insert(request, irp.cancel_cell());
        if noted.is_some_and(|noted| noted.is_cancelled()) {
            irp.cancel_cell().cancel();
        }
    }

    pub(super) fn requestor(origin: &Origin) -> Requestor {
        Requestor { client: origin.client(), kernel_mode: origin.mode() == RequestorMode::Kernel }
    }
}

/// Makes `out` a list of headers of another size: extensions are cut or filled with zeros.
fn restride(list: &[u8], from: usize, to: usize, out: &mut Vec<u8>) {
    out.clear();
    if from == to {
        return out.extend_from_slice(list);
    }
    out.resize(list.len() / from * to, 0);
    let count = from.min(to);
    for (new, old) in out.chunks_exact_mut(to).zip(list.chunks_exact(from)) {
        new[..count].copy_from_slice(&old[..count]);
    }
}

/// A handle that exists for one request, or as long as an event is registered.
pub(super) enum Lent {
    /// Of the client that stands for who sent the request.
    ToClient { session: Arc<Session>, handle: Handle },
    /// Of who opened the file object that the request is for.
    ToOpener(LentEvent),
}

impl Lent {
    pub(super) fn event(session: &Arc<Session>, event: &Event) -> Result<Lent, NtStatus> {
        Ok(Lent::ToClient { session: session.clone(), handle: session.lend_event(event)? })
    }

    pub(super) fn handle(&self) -> u64 {
        match self {
            Lent::ToClient { handle, .. } => handle.0,
            Lent::ToOpener(lent) => lent.handle().0,
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Lent::ToClient { session, handle } = self {
            session.forget(*handle);
        }
    }
}

/// Writes a handle where a request has it.
fn write_handle(bytes: &mut Cow<'_, [u8]>, offset: u32, handle: Handle) -> Result<(), NtStatus> {
    let place = bytes.to_mut().get_mut(offset as usize..).and_then(|rest| rest.first_chunk_mut());
    *place.ok_or(STATUS_INVALID_BUFFER_SIZE)? = handle.0.to_le_bytes();
    Ok(())
}

/// Sends the completion of a request of the other side.
struct Answering {
    /// `None` while it waits for the next request.
    peer: Option<Arc<Inner>>,
    request: RequestId,
    form: Form,
    lent: Option<Lent>,
    /// Until the completed request, which holds the file object, is gone.
    life: Option<Arc<Life>>,
}

enum Form {
    Control {
        /// The answer has addresses, for this client.
        mapped: Option<(Mapped, u64)>,
        registration: Option<Registration>,
    },
    /// The other side's size of a header.
    Stream { theirs: usize },
}

impl Answering {
    /// Answers a stream request; made of one that has answered on this thread, if there is one.
    fn to_frames(peer: &Arc<Inner>, request: RequestId, theirs: usize, life: Arc<Life>) -> Arc<Answering> {
        let (peer, life) = (Some(peer.clone()), Some(life));
        let fresh = Answering { peer, request, form: Form::Stream { theirs }, lent: None, life };
        if let Some(mut spare) = SPARE.try_with(Cell::take).ok().flatten()
            && let Some(place) = Arc::get_mut(&mut spare)
        {
            *place = fresh;
            return spare;
        }
        Arc::new(fresh)
    }

    fn answer(&self, peer: &Inner, mut request: CompletedRequest) {
        // Its number is free for the other side as soon as it has the completion.
        drop(peer.incoming.lock().remove(self.request));
        match (&self.form, request.take_stream()) {
            (Form::Stream { theirs }, Some(stream)) => with_list(|list| {
                stream.copy_headers(list);
                if stream.stride() != *theirs {
                    let ours = std::mem::take(list);
                    restride(&ours, stream.stride(), *theirs, list);
                }
                for (frame, header) in stream.iter().zip(list.chunks_exact_mut(*theirs)) {
                    header[SIZE..SIZE + 4].copy_from_slice(&(*theirs as u32).to_le_bytes());
                    // No address leaves the process.
                    peer.clock.tell(frame, header);
                }
                // The other side may retire their region and announce another as soon as it has the answer.
                drop(stream);
                self.send(peer, &request, list);
            }),
            (Form::Control { mapped, registration }, _) => {
                if let Some(registration) = *registration {
                    peer.registration_ended(registration, request.status());
                }
                match *mapped {
                    Some(mapped) if request.status().is_success() => self.send_mapped(peer, mapped, &request),
                    _ if request.status().is_error() => self.send(peer, &request, &[]),
                    _ => self.send(peer, &request, request.answer()),
                }
            }
            _ if request.status().is_error() => self.send(peer, &request, &[]),
            _ => self.send(peer, &request, request.answer()),
        }
    }

    /// Sends an answer whose addresses mean nothing to the other side.
    fn send_mapped(&self, peer: &Inner, (mapped, client): (Mapped, u64), request: &CompletedRequest) {
        let mut answer = request.answer().to_vec();
        if answer.is_empty() {
            return self.send(peer, request, &[]);
        }
        match peer.places_for_addresses(mapped, client, &mut answer) {
            Ok(file) => {
                let information = request.information() as u64;
                let done = Completion { information, answer: &answer, file, ..bare(self.request, request.status()) };
                peer.send(&Message::Completion(done));
            }
            Err(STATUS_NOT_SUPPORTED) => {
                let refusal = looped::not_shared();
                let told = Some((refusal::number(refusal.aspect), refusal.reason.as_str()));
                let done = Completion { refusal: told, ..bare(self.request, STATUS_NOT_SUPPORTED) };
                peer.send(&Message::Completion(done));
            }
            Err(status) => peer.send(&Message::Completion(bare(self.request, status))),
        }
    }

    fn send(&self, peer: &Inner, request: &CompletedRequest, answer: &[u8]) {
        let told = request.refusal().map(|refusal| (refusal::number(refusal.aspect), refusal.reason.as_str()));
        let done = Completion {
            information: request.information() as u64,
            answer,
            refusal: told,
            ..bare(self.request, request.status())
        };
        peer.send(&Message::Completion(done));
    }
}

impl CompletionRoutine for Answering {
    fn completed(mut self: Arc<Self>, request: CompletedRequest) {
        if let Some(peer) = &self.peer {
            self.answer(peer, request);
        }
        if let Some(answered) = Arc::get_mut(&mut self)
            && answered.lent.take().is_none()
        {
            answered.life = None;
            answered.peer = None;
            let _ = SPARE.try_with(|spare| spare.set(Some(self)));
        }
    }
}
