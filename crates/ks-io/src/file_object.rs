//! An open instance of an object: what handles, requests and connected pins refer to.

use crate::access::AccessMask;
use crate::cancel::CancelCell;
use crate::completion::Dispatched;
use crate::deferred;
use crate::dispatch::Dispatch;
use crate::handle_table::{Handle, HandleTable, Object};
use crate::irp::Irp;
use crate::origin::Origin;
use crate::semaphore::Semaphore;
use crate::sync::{Arc, Mutex, Weak, atomic::AtomicBool, atomic::Ordering};
use crate::wait::Event;
use ks_abi::{NtStatus, STATUS_FILE_CLOSED, STATUS_INVALID_HANDLE};
use std::sync::OnceLock;

/// A file object. Every reference is an `Arc`: the handle's, a request's in flight (or that of the thread that waits
/// for it, see [`FileReference`]), a connected source pin's, a child's. When the last one goes, the object's close routine runs, deferred and with no lock held; the parent is
/// let go only after that.
#[doc(alias = "FILE_OBJECT")]
pub struct FileObject {
    object: OnceLock<Arc<dyn Dispatch>>,
    related: Option<Arc<FileObject>>,
    granted: OnceLock<AccessMask>,
    origin: Origin,
    /// The handles of the client that opened it, for requests that name an object by handle.
    handles: Weak<HandleTable>,
    /// Set when the last handle is closed; pairs with the load in `dispatch`. Queues re-check under their own lock.
    cleaned_up: AtomicBool,
    /// Overlapped requests that may still be running, for a cancel of all of them.
    running: Mutex<Vec<Weak<CancelCell>>>,
    /// Of the create that makes it.
    create: Arc<CancelCell>,
}

impl FileObject {
    /// A file object without object yet; see [`FileObject::attach`].
    pub(crate) fn new(related: Option<Arc<FileObject>>, origin: Origin, handles: Weak<HandleTable>) -> FileObject {
        FileObject {
            object: OnceLock::new(),
            related,
            granted: OnceLock::new(),
            origin,
            handles,
            cleaned_up: AtomicBool::new(false),
            running: Mutex::new(Vec::new()),
            create: Arc::default(),
        }
    }

    /// With the cancel state of its create.
    pub(crate) fn of_create(mut self, create: &Arc<CancelCell>) -> FileObject {
        self.create = create.clone();
        self
    }

    /// The cancel state of the create that makes this file object. Who pends the create arms it, and a client that cancels
    /// its creates, or ends, finds it there: nobody has a handle yet that could be closed.
    #[doc(alias = "IoSetCancelRoutine")]
    pub fn create_cancel(&self) -> &Arc<CancelCell> {
        &self.create
    }

    /// Gives the file object its object, when the create succeeded.
    pub(crate) fn attach(&self, object: Arc<dyn Dispatch>, granted: AccessMask) {
        let _ = self.granted.set(granted);
        let _ = self.object.set(object);
    }

    /// The object; `None` until its create succeeded.
    #[inline]
    pub fn object(&self) -> Option<&Arc<dyn Dispatch>> {
        self.object.get()
    }

    /// The object as the class driver's own type, if it is one.
    pub fn object_as<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.object.get()?.clone().as_any().downcast().ok()
    }

    /// The parent.
    pub fn related(&self) -> Option<&Arc<FileObject>> {
        self.related.as_ref()
    }

    /// The access of the first opener.
    // ks-coverage: KsQueryObjectAccessMask done test=a_stream_code_needs_its_right_of_the_handle
    #[doc(alias = "KsQueryObjectAccessMask")]
    pub fn granted(&self) -> AccessMask {
        self.granted.get().copied().unwrap_or_default()
    }

    /// Who opened it.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The file object that a request on this one names by handle: one of the same client's, or nothing.
    #[doc(alias = "ObReferenceObjectByHandle")]
    pub fn file_by_handle(&self, handle: u64) -> Option<Arc<FileObject>> {
        self.handles.upgrade()?.file(Handle(handle), AccessMask::NONE).ok()
    }

    /// The event that a request on this file object names by handle.
    pub fn event_by_handle(&self, handle: u64) -> Option<Event> {
        self.handles.upgrade()?.event(Handle(handle))
    }

    /// A handle of the opener's for an event of somebody else's, until what is given back is dropped: so a driver's
    /// request on this file object names an event of the driver's.
    pub fn lend_event(&self, event: &Event) -> Result<LentEvent, NtStatus> {
        let handles = self.handles.upgrade().ok_or(STATUS_INVALID_HANDLE)?;
        let handle = handles.insert(Object::Event(event.clone()))?;
        Ok(LentEvent { handles: self.handles.clone(), handle })
    }

    /// The semaphore that a request on this file object names by handle.
    pub fn semaphore_by_handle(&self, handle: u64) -> Option<Semaphore> {
        self.handles.upgrade()?.semaphore(Handle(handle))
    }

    /// True once the last handle is closed.
    pub fn is_cleaned_up(&self) -> bool {
        self.cleaned_up.load(Ordering::Acquire)
    }

    /// Sends a request to the object.
    #[inline]
    #[doc(alias = "IoCallDriver")]
    pub fn dispatch(&self, irp: Irp) -> Dispatched {
        match self.object.get() {
            Some(object) if !self.is_cleaned_up() => object.device_io_control(irp),
            _ => irp.done(STATUS_FILE_CLOSED),
        }
    }

    /// As [`FileObject::dispatch`], from a driver that refers to the file object and goes on with it when its client has
    /// closed the last handle.
    #[doc(alias = "ObReferenceObject")]
    pub fn dispatch_by_reference(&self, irp: Irp) -> Dispatched {
        match self.object.get() {
            Some(object) => object.device_io_control(irp),
            None => irp.done(STATUS_FILE_CLOSED),
        }
    }

    pub(crate) fn remember(&self, cancel: &Arc<CancelCell>) {
        let mut running = self.running.lock();
        if running.len() == running.capacity() {
            // A request in flight keeps its cell, also when its client has thrown the answer away.
            running.retain(|cell| cell.strong_count() > 0);
        }
        running.push(Arc::downgrade(cancel));
    }

    /// Cancels every overlapped request that still runs.
    #[doc(alias = "CancelIo")]
    pub fn cancel_all(&self) {
        let running = std::mem::take(&mut *self.running.lock());
        for cell in running.iter().filter_map(Weak::upgrade) {
            cell.cancel();
        }
    }

    /// The last handle is closed: no new request, the pending ones end.
    pub(crate) fn cleanup(&self) {
        if self.cleaned_up.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(object) = self.object.get() {
            object.cleanup();
        }
        self.cancel_all();
    }
}

/// A handle that an opener has for as long as a request of another names an event by it.
#[derive(Debug)]
pub struct LentEvent {
    handles: Weak<HandleTable>,
    handle: Handle,
}

impl LentEvent {
    /// The handle.
    pub fn handle(&self) -> Handle {
        self.handle
    }
}

impl Drop for LentEvent {
    fn drop(&mut self) {
        if let Some(handles) = self.handles.upgrade() {
            drop(handles.remove(self.handle));
        }
    }
}

/// A request's reference to the file object that it was sent to.
///
/// A request that its client does not wait for keeps the file object. One that it waits for has it lent: the waiting
/// thread keeps it until the request came back, so no reference is counted on the shortest path.
#[derive(Debug, Default)]
pub struct FileReference(Reference);

#[derive(Debug, Default)]
enum Reference {
    #[default]
    None,
    Kept(Arc<FileObject>),
    Lent(Weak<FileObject>),
}

impl FileReference {
    /// The file object; `None` for a circuit's request.
    #[inline]
    pub fn upgrade(&self) -> Option<Arc<FileObject>> {
        match &self.0 {
            Reference::None => None,
            Reference::Kept(file) => Some(file.clone()),
            Reference::Lent(file) => file.upgrade(),
        }
    }

    /// Refers to `file` and keeps it.
    pub(crate) fn keep(&mut self, file: &Arc<FileObject>) {
        self.0 = Reference::Kept(file.clone());
    }

    /// Refers to `file`, which the caller keeps as long as the request is on its way.
    #[inline]
    pub(crate) fn borrow(&mut self, file: &Arc<FileObject>) {
        // What the memory's last request was lent is often the same.
        match &self.0 {
            Reference::Lent(last) if std::ptr::eq(last.as_ptr(), Arc::as_ptr(file)) => {}
            _ => self.0 = Reference::Lent(Arc::downgrade(file)),
        }
    }

    /// The request is over. What was lent is remembered for the next one; it keeps nothing open.
    #[inline]
    pub(crate) fn let_go(&mut self) {
        if let Reference::Kept(_) = self.0 {
            self.0 = Reference::None;
        }
    }

    /// Refers to nothing.
    pub(crate) fn clear(&mut self) {
        self.0 = Reference::None;
    }
}

impl Drop for FileObject {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            deferred::push(deferred::Delivery::Close { object, parent: self.related.take() });
        }
    }
}

impl std::fmt::Debug for FileObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileObject").field("granted", &self.granted()).finish_non_exhaustive()
    }
}
