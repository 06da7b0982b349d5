//! A client in this process: its handle table, and the entry of every request.

use crate::access::AccessMask;
use crate::buffers::{CallerMemory, Capture};
use crate::cancel::CancelCell;
use crate::completion::{Completed, Dispatched, Reply};
use crate::deferred;
use crate::dispatch::{CreateRequest, Created, Dispatch};
use crate::file_object::FileObject;
use crate::handle_table::{Handle, HandleTable, Object};
use crate::io_manager::IoManager;
use crate::irp::{Body, Irp, RequestParts};
use crate::lock::RequestOrder;
use crate::namespace::InterfaceInfo;
use crate::origin::{Origin, Place, RequestorMode};
use crate::refusal::{Aspect, Refusal};
use crate::request::{Outcome, PendingRequest, Request, deliver};
use crate::semaphore::Semaphore;
use crate::services::Services;
use crate::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
    thread_local,
};
use crate::transport::{CancelCreates, Transport};
use crate::wait::{Event, EventKind, Signal};
use crate::wait_help;
use ks_abi::{
    Guid, IoControlCode, NtStatus, STATUS_INVALID_HANDLE, STATUS_INVALID_PARAMETER, STATUS_OBJECT_NAME_NOT_FOUND,
    STATUS_SUCCESS, STATUS_TIMEOUT,
};
use ks_mem::{Frame, MemoryError, RegionOwner};
use std::cell::Cell;

/// The most bytes that a create's parameter block may have.
const PARAMETERS_LIMIT: usize = 1 << 20;

/// A client of an engine in the same process. Dropping it closes its handles, newest first.
pub struct Session {
    io: Arc<IoManager>,
    origin: Origin,
    handles: Arc<HandleTable>,
    /// Creates that are under way. A leaf.
    creates: Mutex<Vec<Arc<CancelCell>>>,
    /// The client ends: no create waits for a driver. Pairs with the lock of `creates`.
    ends: AtomicBool,
}

impl Session {
    pub(crate) fn new(io: Arc<IoManager>, mode: RequestorMode, place: Place) -> Arc<Session> {
        Arc::new(Session {
            io,
            origin: Origin::new_requestor(mode, place),
            handles: Arc::new(HandleTable::default()),
            creates: Mutex::default(),
            ends: AtomicBool::new(false),
        })
    }

    /// Who the requests of this client come from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// A handle of this client for a file object that somebody else opened, so that a request can name it. It is given
    /// back by [`Session::forget`].
    #[doc(alias = "ObOpenObjectByPointer")]
    pub fn lend(&self, file: &Arc<FileObject>) -> Result<Handle, NtStatus> {
        self.handles.insert(Object::File(file.clone()))
    }

    /// A new file object of this client for an object that exists already: one of another process, say. Nobody's
    /// create routine runs. The handle is closed, or given back by [`Session::forget`].
    pub fn adopt(&self, object: Arc<dyn Dispatch>, granted: AccessMask) -> Result<Handle, NtStatus> {
        let file = Arc::new(FileObject::new(None, self.origin.clone(), Arc::downgrade(&self.handles)));
        file.attach(object, granted);
        self.handles.insert(Object::File(file))
    }

    /// Frees a handle without closing what it names: the object goes on for those who refer to it.
    pub fn forget(&self, handle: Handle) {
        let _inside = deferred::enter();
        drop(self.handles.remove(handle));
    }

    /// A handle for an event that exists already.
    pub fn lend_event(&self, event: &Event) -> Result<Handle, NtStatus> {
        self.handles.insert(Object::Event(event.clone()))
    }

    /// As [`Transport::open`]; who has `cancel` can cancel it.
    pub fn open_cancelable(
        &self,
        symbolic_link: &str,
        access: AccessMask,
        cancel: &Arc<CancelCell>,
    ) -> Result<Handle, Outcome> {
        let Some((device, reference)) = self.io.resolve(symbolic_link) else {
            let reason = format!("no device interface has the name {symbolic_link}");
            return Err(Outcome::refused(Refusal::new(STATUS_OBJECT_NAME_NOT_FOUND, Aspect::Name, reason)));
        };
        self.create_file(None, &reference, &[], access, cancel, |request| device.create(request))
    }

    /// Opens an object below `parent`, which need not be one of this client's handles, see [`Transport::create`]. Who has
    /// `cancel` can cancel it.
    pub fn create_below(
        &self,
        parent: &Arc<FileObject>,
        class: &str,
        parameters: &[u8],
        access: AccessMask,
        cancel: &Arc<CancelCell>,
    ) -> Result<Handle, Outcome> {
        if parameters.len() > PARAMETERS_LIMIT {
            let reason =
                format!("a parameter block of {} bytes; at most {PARAMETERS_LIMIT} are taken", parameters.len());
            return Err(Outcome::refused(Refusal::new(STATUS_INVALID_PARAMETER, Aspect::Request, reason)));
        }
        let Some(object) = parent.object().cloned() else { return Err(Outcome::status(STATUS_INVALID_HANDLE)) };
        self.create_file(Some(parent), class, parameters, access, cancel, |request| object.create_child(request))
    }

    /// Sends a request to a file object, which need not be one of this client's handles, and waits for its end, see
    /// [`Transport::device_io_control`]. Nobody compares the access that the control code demands. `tokens` stand for the
    /// addresses of the caller's input and output, which identify events.
    pub fn control(
        &self,
        file: &Arc<FileObject>,
        code: IoControlCode,
        input: &[u8],
        output: &mut [u8],
        tokens: [u64; 2],
    ) -> Outcome {
        let [input_token, output_token] = tokens;
        let parts = RequestParts { code, input, output, output_bytes: output.len(), input_token, output_token };
        let make = |file: &Arc<FileObject>, reply| Irp::synchronous(file, &self.origin, parts, reply);
        match self.send_to(file.clone(), make) {
            Ok(body) => deliver(body, output),
            Err(status) => Outcome::status(status),
        }
    }

    /// A control request out of buffers that others may change while it runs. Each byte of them is read at most once;
    /// what was read then is what the request is, and its answer goes to `answer`.
    pub fn control_captured<I: CallerMemory + ?Sized, O: CallerMemory + ?Sized>(
        &self,
        handle: Handle,
        code: IoControlCode,
        (input, output): (&I, &O),
        answer: &mut [u8],
    ) -> Outcome {
        let output_bytes = output.length();
        let parts = RequestParts { code, input: &[], output: &[], output_bytes, input_token: 0, output_token: 0 };
        let make =
            |file: &Arc<FileObject>, reply| Irp::synchronous_from(file, &self.origin, (input, output), parts, reply);
        match self.send(handle, code, make) {
            Ok(body) => deliver(body, answer),
            Err(status) => Outcome::status(status),
        }
    }

    /// Opens an object below a handle's with parameters that others may change while it runs, see
    /// [`Session::control_captured`].
    pub fn create_captured<P: CallerMemory + ?Sized>(
        &self,
        parent: Handle,
        class: &str,
        parameters: &P,
        access: AccessMask,
    ) -> Result<Handle, Outcome> {
        let mut capture = Capture::default();
        if parameters.length() <= PARAMETERS_LIMIT {
            capture.fill(parameters).map_err(Outcome::status)?;
            self.create(parent, class, capture.bytes(), access)
        } else {
            let reason = format!("a parameter block of {} bytes; at most {PARAMETERS_LIMIT}", parameters.length());
            Err(Outcome::refused(Refusal::new(STATUS_INVALID_PARAMETER, Aspect::Request, reason)))
        }
    }

    /// Makes a request on a handle's file object, dispatches it and waits for its end.
    #[inline(always)]
    fn send(
        &self,
        handle: Handle,
        code: IoControlCode,
        make: impl FnOnce(&Arc<FileObject>, Reply) -> Result<Irp, NtStatus>,
    ) -> Result<Box<Body>, NtStatus> {
        self.send_to(self.handles.file(handle, AccessMask::demanded_by(code))?, make)
    }

    #[inline(always)]
    fn send_to(
        &self,
        file: Arc<FileObject>,
        make: impl FnOnce(&Arc<FileObject>, Reply) -> Result<Irp, NtStatus>,
    ) -> Result<Box<Body>, NtStatus> {
        let (place, sent) = WaitingPlace::take(&self.io);
        let irp = make(&file, Reply::Client(sent))?;
        let _order = self.order();
        let inside = deferred::enter();
        let body = match file.dispatch(irp) {
            Dispatched::Completed(completed) => place.returned(completed),
            Dispatched::Pending => place.wait(),
        };
        // The file object is let go inside the engine: this may have been its last reference.
        drop(file);
        drop(inside);
        body.ok_or(STATUS_TIMEOUT)
    }

    /// The engine.
    pub fn io_manager(&self) -> &Arc<IoManager> {
        &self.io
    }

    /// How many handles are open.
    pub fn open_handles(&self) -> usize {
        self.handles.len()
    }

    /// The file object of one of this client's handles.
    pub fn file_object(&self, handle: Handle) -> Option<Arc<FileObject>> {
        self.handles.file(handle, AccessMask::NONE).ok()
    }

    /// A driver makes requests while it is called. `None` for clients, who are never called under a mutex.
    #[inline]
    fn order(&self) -> Option<RequestOrder> {
        (cfg!(debug_assertions) && self.origin.mode() == RequestorMode::Kernel).then(RequestOrder::begin)
    }

    fn create_file(
        &self,
        related: Option<&Arc<FileObject>>,
        name: &str,
        parameters: &[u8],
        access: AccessMask,
        cancel: &Arc<CancelCell>,
        create: impl FnOnce(&CreateRequest<'_>) -> Result<Created, Refusal>,
    ) -> Result<Handle, Outcome> {
        let _order = self.order();
        let _inside = deferred::enter();
        let handles = Arc::downgrade(&self.handles);
        let file = Arc::new(FileObject::new(related.cloned(), self.origin.clone(), handles).of_create(cancel));
        let request = CreateRequest { name, parameters, access, origin: &self.origin, file: &file, related };
        let created = {
            let _under_way = UnderWay::begin(self, cancel);
            create(&request).map_err(Outcome::refused)?
        };
        file.attach(created.object, created.granted);
        self.handles.insert(Object::File(file.clone())).map_err(|status| {
            file.cleanup();
            Outcome::status(status)
        })
    }
}

impl Transport for Session {
    fn interfaces(&self, category: Option<Guid>) -> Vec<InterfaceInfo> {
        self.io.interfaces(category)
    }

    fn interface_named(&self, name: &str) -> Option<InterfaceInfo> {
        self.io.interface_named(name)
    }

    fn open(&self, symbolic_link: &str, access: AccessMask) -> Result<Handle, Outcome> {
        self.open_cancelable(symbolic_link, access, &Arc::default())
    }

    fn create(&self, parent: Handle, class: &str, parameters: &[u8], access: AccessMask) -> Result<Handle, Outcome> {
        let parent = self.handles.file(parent, AccessMask::NONE).map_err(Outcome::status)?;
        self.create_below(&parent, class, parameters, access, &Arc::default())
    }

    fn device_io_control(&self, handle: Handle, code: IoControlCode, input: &[u8], output: &mut [u8]) -> Outcome {
        let parts = RequestParts {
            code,
            input,
            output,
            output_bytes: output.len(),
            input_token: input.as_ptr() as u64,
            output_token: output.as_ptr() as u64,
        };
        let body = self.send(handle, code, |file, reply| Irp::synchronous(file, &self.origin, parts, reply));
        match body {
            Ok(body) => deliver(body, output),
            Err(status) => Outcome::status(status),
        }
    }

    fn submit(&self, handle: Handle, code: IoControlCode, input: &[u8], output: Vec<u8>) -> Request {
        let file = match self.handles.file(handle, AccessMask::demanded_by(code)) {
            Ok(file) => file,
            Err(status) => return Request::finished(Outcome::status(status), output),
        };
        let _order = self.order();
        let _inside = deferred::enter();
        let pending = PendingRequest::new(&self.io);
        let parts = RequestParts {
            code,
            input,
            output: &output,
            output_bytes: output.len(),
            input_token: input.as_ptr() as u64,
            output_token: output.as_ptr() as u64,
        };
        let mut irp = match Irp::device_control(&file, &self.origin, parts, Reply::Client(pending.clone())) {
            Ok(irp) => irp,
            Err(status) => return Request::finished(Outcome::status(status), output),
        };
        let cancel = irp.cancel_cell();
        file.remember(&cancel);
        // A completion that comes back on this call stack is delivered like any other: the client sees one way only.
        drop(file.dispatch(irp));
        Request::running(pending, cancel, output)
    }

    fn cancel_all(&self, handle: Handle) -> Outcome {
        let _order = self.order();
        let _inside = deferred::enter();
        match self.handles.file(handle, AccessMask::NONE) {
            Ok(file) => {
                file.cancel_all();
                Outcome::status(STATUS_SUCCESS)
            }
            Err(status) => Outcome::status(status),
        }
    }

    fn close(&self, handle: Handle) -> Outcome {
        let _order = self.order();
        let _inside = deferred::enter();
        match self.handles.remove(handle) {
            Ok(Object::File(file)) => {
                file.cleanup();
                Outcome::status(STATUS_SUCCESS)
            }
            Ok(Object::Event(_) | Object::Semaphore(_)) => Outcome::status(STATUS_SUCCESS),
            Err(status) => Outcome::status(status),
        }
    }

    fn cancel_creates(&self, which: CancelCreates) {
        let _order = self.order();
        let _inside = deferred::enter();
        let creates = {
            let creates = self.creates.lock();
            if which == CancelCreates::FromNowOn {
                self.ends.store(true, Ordering::Relaxed);
            }
            creates.clone()
        };
        creates.iter().for_each(|create| create.cancel());
    }

    fn allocate(&self, bytes: usize, alignment: usize) -> Result<Frame, MemoryError> {
        self.io.regions().allocate_for(RegionOwner::Client(self.origin.client()), bytes, alignment)
    }

    fn frame_at(&self, address: u64, bytes: usize) -> Option<Frame> {
        match self.origin.mode() {
            RequestorMode::User => self.io.regions().resolve_for(self.origin.client(), address, bytes),
            RequestorMode::Kernel => self.io.regions().resolve(address, bytes),
        }
    }

    fn create_event(&self) -> Result<(Handle, Event), Outcome> {
        let event = self.io.services().event(EventKind::Notification, Signal::Clear);
        let handle = self.handles.insert(Object::Event(event.clone())).map_err(Outcome::status)?;
        Ok((handle, event))
    }

    fn create_semaphore(&self, count: u32, limit: u32) -> Result<(Handle, Semaphore), Outcome> {
        let semaphore = Semaphore::new(self.io.services(), count, limit).map_err(Outcome::status)?;
        let handle = self.handles.insert(Object::Semaphore(semaphore.clone())).map_err(Outcome::status)?;
        Ok((handle, semaphore))
    }

    fn services(&self) -> &Services {
        self.io.services()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _order = self.order();
        let _inside = deferred::enter();
        for object in self.handles.drain() {
            if let Object::File(file) = object {
                file.cleanup();
            }
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("client", &self.origin.client()).finish_non_exhaustive()
    }
}

/// A create of a client that is under way, until this is dropped.
struct UnderWay<'s> {
    session: &'s Session,
    cancel: &'s Arc<CancelCell>,
}

impl<'s> UnderWay<'s> {
    fn begin(session: &'s Session, cancel: &'s Arc<CancelCell>) -> UnderWay<'s> {
        let mut creates = session.creates.lock();
        creates.push(cancel.clone());
        if session.ends.load(Ordering::Relaxed) {
            drop(creates);
            cancel.cancel();
        }
        UnderWay { session, cancel }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.session.creates.lock().retain(|create| !Arc::ptr_eq(create, self.cancel));
    }
}

thread_local! {
    /// The place where this thread's synchronous request waits, kept for the next one on the same engine.
    static WAITING_PLACE: Cell<Option<WaitingPlace>> = const { Cell::new(None) };
}

/// Where a thread waits for its synchronous request, by two references: the thread's own and the one that travels in
/// the request. A request that is completed at once brings the second one back, so that nothing is counted.
struct WaitingPlace {
    own: Arc<PendingRequest>,
    travelling: Option<Arc<PendingRequest>>,
}

impl WaitingPlace {
    /// Takes the thread's waiting place, and the reference that the request takes along; a request made inside another
    /// one gets a new place.
    #[inline(always)]
    fn take(io: &IoManager) -> (WaitingPlace, Arc<PendingRequest>) {
        match WAITING_PLACE.try_with(Cell::take).ok().flatten() {
            Some(WaitingPlace { own, travelling: Some(sent) }) if own.engine() == io.number() => {
                (WaitingPlace { own, travelling: None }, sent)
            }
            _ => Self::new(io),
        }
    }

    #[cold]
    fn new(io: &IoManager) -> (WaitingPlace, Arc<PendingRequest>) {
        let own = PendingRequest::new(io);
        let sent = own.clone();
        (WaitingPlace { own, travelling: None }, sent)
    }

    /// Keeps the place for the next request: nothing of this one can reach it any more.
    #[inline(always)]
    fn keep(mut self, sent: Arc<PendingRequest>) {
        self.travelling = Some(sent);
        let _ = WAITING_PLACE.try_with(|place| place.set(Some(self)));
    }

    /// The dispatch routine came back with a completed request.
    #[inline(always)]
    fn returned(self, completed: Completed) -> Option<Box<Body>> {
        match completed.into_body_of(&self.own) {
            Ok((body, sent)) => {
                self.keep(sent);
                Some(body)
            }
            // It is another one's; ours is still on its way.
            Err(other) => self.wait_after(other),
        }
    }

    #[cold]
    fn wait_after(self, other: Completed) -> Option<Box<Body>> {
        drop(other);
        self.wait()
    }

    /// Waits for the completion, and delivers first what this thread has put off. `None`: the wait itself failed, so
    /// the request may still come; the place is given up.
    #[cold]
    fn wait(self) -> Option<Box<Body>> {
        wait_help::accept(&self.own);
        let body = self.own.wait()?;
        // The completion has set the event and does not look at it again.
        self.own.reset();
        let sent = self.own.clone();
        self.keep(sent);
        Some(body)
    }
}
