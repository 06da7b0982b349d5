//! Requests of the other side: looked up, dispatched into this engine, and answered.

use super::event::Distant;
use super::export::{Life, Opened, Used};
use super::file::RemoteFile;
use super::peer::{Belief, Inner};
use super::refusal;
use ks_abi::{
    IoControlCode, KSPROPERTY_TYPE_GET, NtStatus, STATUS_ACCESS_DENIED, STATUS_INVALID_BUFFER_SIZE,
    STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_HANDLE, STATUS_OBJECT_NAME_NOT_FOUND, STATUS_SUCCESS,
};
use ks_io::sync::Arc;
use ks_io::{
    AccessMask, Aspect, CompletedRequest, CompletionRoutine, EventKind, FileObject, Handle, Irp, Origin, Outcome,
    Refusal, Reply, RequestParts, RequestorMode, Session, Signal, Transport, deferred,
};
use ks_stream::{Direction, Pin, probe_headers};
use ks_wire::{
    Completion, Control, Create, Embedded, InterfaceEntry, Message, Named, Open, Received, RequestId, Requestor,
    Stream, WireError, encode_interfaces,
};
use std::borrow::Cow;
use zerocopy::IntoBytes;

/// Where a stream header has its Size and its Data.
const SIZE: usize = 0;
const DATA: usize = 40;

/// A completion without answer.
fn bare(request: RequestId, status: NtStatus) -> Completion<'static> {
    Completion { request, status: status.0, information: 0, file: 0, granted: 0, answer: &[], refusal: None }
}

/// True for what may take long or wait for other requests of the same side: another thread receives meanwhile.
pub(super) fn may_wait(message: &Message<'_>) -> bool {
    match message {
        Message::Open(_) | Message::Create(_) | Message::Cleanup { .. } | Message::Close { .. } => true,
        Message::Service { .. } | Message::Report { .. } => true,
        Message::Control(control) => match IoControlCode(control.code) {
            IoControlCode::KS_PROPERTY => {
                let flags = control.input.get(20..24).and_then(|bytes| bytes.try_into().ok());
                flags.map_or(0, u32::from_le_bytes) & KSPROPERTY_TYPE_GET == 0
            }
            IoControlCode::KS_ENABLE_EVENT | IoControlCode::KS_DISABLE_EVENT => false,
            _ => true,
        },
        _ => false,
    }
}

impl Inner {
    /// Does what a message asks for. An error is the other side's fault and ends the connection.
    pub(super) fn execute(self: &Arc<Inner>, received: &mut Received) -> Result<(), WireError> {
        let descriptor = received.take_descriptor();
        let message = received.message()?;
        match message {
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
                let cell = self.incoming.lock().get(&request).cloned();
                if let Some(cell) = cell {
                    let _inside = deferred::enter();
                    cell.cancel();
                }
            }
            Message::AnnounceRegion { region, cut } => {
                self.memory.learn(region, cut, descriptor.ok_or(WireError::Descriptor)?)?;
            }
            Message::RetireRegion { region } => self.memory.forget(region)?,
            Message::SetEvent { number } => self.events.set(number)?,
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
                }
                self.send(&Message::Completion(bare(request, STATUS_SUCCESS)));
            }
            Message::Close { request, file } => {
                let peer = self.clone();
                let told = move || peer.send(&Message::Completion(bare(request, STATUS_SUCCESS)));
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
        let opened = self.client(open.requestor).map_err(Outcome::status).and_then(|session| {
            let interfaces = if self.options.exports.all() { self.io.interfaces(None) } else { Vec::new() };
            let wanted = interfaces
                .into_iter()
                .find(|one| one.device == open.device && one.reference.eq_ignore_ascii_case(open.reference));
            let Some(wanted) = wanted else {
                let reason = format!("there is no filter {} of a device {}", open.reference, open.device);
                return Err(Outcome::refused(Refusal::new(STATUS_OBJECT_NAME_NOT_FOUND, Aspect::Name, reason)));
            };
            let handle = session.open(&wanted.symbolic_link, AccessMask(open.access))?;
            Ok((session, handle))
        });
        self.answer_create(open.request, opened);
    }

    fn serve_create(self: &Arc<Inner>, create: &Create<'_>) -> Result<(), WireError> {
        let used = self.exports.used(create.parent).ok_or(WireError::Protocol("an unknown parent"))?;
        let _inside = deferred::enter();
        let created = self.client(create.requestor).map_err(Outcome::status).and_then(|session| {
            let mut parameters = Cow::Borrowed(create.parameters);
            let lent = self.lend(&session, create.embedded, &mut parameters).map_err(Outcome::status)?;
            let handle = session.create_below(&used.file, create.class, &parameters, AccessMask(create.access));
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

    /// Makes a handle of `session` for an object that a request names, and writes it where it belongs.
    fn lend(
        self: &Arc<Inner>,
        session: &Arc<Session>,
        embedded: Embedded,
        bytes: &mut Cow<'_, [u8]>,
    ) -> Result<Option<Lent>, NtStatus> {
        let (offset, handle) = match embedded {
            Embedded::Nothing => return Ok(None),
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
                (offset, session.lend_event(&event)?)
            }
        };
        let lent = Lent { session: session.clone(), handle };
        let place = bytes.to_mut().get_mut(offset as usize..).and_then(|rest| rest.first_chunk_mut());
        *place.ok_or(STATUS_INVALID_BUFFER_SIZE)? = handle.0.to_le_bytes();
        Ok(Some(lent))
    }

    /// The file object that a request is for, and who it comes from. The access that its code demands is checked.
    fn target(&self, file: u64, code: IoControlCode) -> Result<Result<Used, NtStatus>, WireError> {
        let used = self.exports.used(file).ok_or(WireError::Protocol("a request for an unknown file object"))?;
        let demanded = AccessMask::demanded_by(code);
        Ok(if used.file.granted().allows(demanded) { Ok(used) } else { Err(STATUS_ACCESS_DENIED) })
    }

    /// A number that a running request has names no other.
    fn must_be_new(&self, request: RequestId) -> Result<(), WireError> {
        let incoming = self.incoming.lock();
        if incoming.contains_key(&request) {
            return Err(WireError::Protocol("the number of a running request was used again"));
        }
        if incoming.len() >= super::pending::MOST_REQUESTS {
            return Err(WireError::Protocol("too many requests at once"));
        }
        Ok(())
    }

    fn refuse(&self, request: RequestId, status: NtStatus) {
        self.send(&Message::Completion(bare(request, status)));
    }

    fn serve_control(self: &Arc<Inner>, control: &Control<'_>) -> Result<(), WireError> {
        self.must_be_new(control.request)?;
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
        let session = self.client(control.requestor);
        let ready = session.and_then(|session| {
            let lent = self.lend(&session, control.embedded, &mut data)?;
            let answering = Answering {
                peer: self.clone(),
                request: control.request,
                form: Form::Control,
                lent,
                _life: used.life.clone(),
            };
            let parts = RequestParts {
                code,
                input: control.input,
                output: &data,
                output_bytes: control.output_bytes as usize,
                input_token: control.input_token,
                output_token: control.output_token,
            };
            Irp::device_control(&used.file, session.origin(), parts, Reply::Routine(Arc::new(answering)))
        });
        match ready {
            Ok(irp) => self.dispatch(control.request, &used.file, irp),
            Err(status) => self.refuse(control.request, status),
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
        let mut buffers = Vec::with_capacity(stream.parts.len());
        for part in stream.parts.iter() {
            buffers.push(self.memory.find(part)?);
        }
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
        let mut list = restride(stream.headers, theirs, ours);
        for (header, buffer) in list.chunks_exact_mut(ours).zip(&buffers) {
            header[SIZE..SIZE + 4].copy_from_slice(&(ours as u32).to_le_bytes());
            let address = buffer.as_ref().map_or(0, |buffer| buffer.address());
            header[DATA..DATA + 8].copy_from_slice(&address.to_le_bytes());
        }
        let probed = probe_headers(&list, direction, ours as u32, |index, _| buffers.get_mut(index)?.take());
        let frames = match probed {
            Ok(frames) => frames,
            Err(refusal) => {
                let told = Some((refusal::number(refusal.aspect), refusal.reason.as_str()));
                let done = Completion { refusal: told, ..bare(stream.request, refusal.status) };
                self.send(&Message::Completion(done));
                return Ok(());
            }
        };
        let ready = self.client(stream.requestor).and_then(|session| {
            let form = Form::Stream { theirs };
            let answering =
                Answering { peer: self.clone(), request: stream.request, form, lent: None, _life: used.life.clone() };
            Irp::stream_request(&used.file, session.origin(), code, frames, Reply::Routine(Arc::new(answering)))
        });
        match ready {
            Ok(irp) => self.dispatch(stream.request, &used.file, irp),
            Err(status) => self.refuse(stream.request, status),
        }
        Ok(())
    }

    fn dispatch(&self, request: RequestId, file: &Arc<FileObject>, mut irp: Irp) {
        drop(self.incoming.lock().insert(request, irp.cancel_cell()));
        drop(file.dispatch(irp));
    }

    pub(super) fn requestor(origin: &Origin) -> Requestor {
        Requestor { client: origin.client(), kernel_mode: origin.mode() == RequestorMode::Kernel }
    }
}

/// A list of headers of another size: extensions are cut or filled with zeros.
fn restride(list: &[u8], from: usize, to: usize) -> Vec<u8> {
    if from == to {
        return list.to_vec();
    }
    let mut out = vec![0; list.len() / from * to];
    let count = from.min(to);
    for (new, old) in out.chunks_exact_mut(to).zip(list.chunks_exact(from)) {
        new[..count].copy_from_slice(&old[..count]);
    }
    out
}

/// A handle that exists for one request.
struct Lent {
    session: Arc<Session>,
    handle: Handle,
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.session.forget(self.handle);
    }
}

/// Sends the completion of a request of the other side.
struct Answering {
    peer: Arc<Inner>,
    request: RequestId,
    form: Form,
    lent: Option<Lent>,
    /// Until the completed request, which holds the file object, is gone.
    _life: Arc<Life>,
}

enum Form {
    Control,
    /// The other side's size of a header.
    Stream {
        theirs: usize,
    },
}

impl CompletionRoutine for Answering {
    fn completed(self: Arc<Self>, mut request: CompletedRequest) {
        // Its number is free for the other side as soon as it has the completion.
        drop(self.peer.incoming.lock().remove(&self.request));
        let status = request.status();
        let headers;
        let answer = match (&self.form, request.take_stream()) {
            (Form::Stream { theirs }, Some(stream)) => {
                let mut list = restride(&stream.headers(), stream.stride(), *theirs);
                for header in list.chunks_exact_mut(*theirs) {
                    header[SIZE..SIZE + 4].copy_from_slice(&(*theirs as u32).to_le_bytes());
                    // No address leaves the process.
                    header[DATA..DATA + 8].fill(0);
                }
                headers = list;
                headers.as_slice()
            }
            _ if status.is_error() => &[],
            _ => request.answer(),
        };
        let told = request.refusal().map(|refusal| (refusal::number(refusal.aspect), refusal.reason.as_str()));
        let done = Completion {
            information: request.information() as u64,
            answer,
            refusal: told,
            ..bare(self.request, status)
        };
        self.peer.send(&Message::Completion(done));
        let _ = &self.lent;
    }
}
