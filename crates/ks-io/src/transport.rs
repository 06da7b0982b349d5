//! How a client reaches an engine: the same verbs in this process and across processes.

use crate::access::AccessMask;
use crate::handle_table::Handle;
use crate::namespace::InterfaceInfo;
use crate::request::{Outcome, Request};
use crate::semaphore::Semaphore;
use crate::services::Services;
use crate::wait::Event;
use ks_abi::{Guid, IoControlCode};
use ks_mem::{Frame, MemoryError};

/// Which creates of a client are cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelCreates {
    /// Those that are under way now.
    UnderWay,
    /// These, and each later one that a driver pends: the client ends.
    FromNowOn,
}

/// The verbs of a client. Handles belong to the transport that made them; another's are invalid.
pub trait Transport: Send + Sync {
    /// The registered device interfaces of one category, or all.
    fn interfaces(&self, category: Option<Guid>) -> Vec<InterfaceInfo>;

    /// The first interface whose reference string, friendly name or symbolic link this is. Case does not matter.
    fn interface_named(&self, name: &str) -> Option<InterfaceInfo> {
        self.interfaces(None).into_iter().find(|one| one.is_named(name))
    }

    /// Opens a device interface by its symbolic link.
    #[doc(alias = "CreateFile")]
    fn open(&self, symbolic_link: &str, access: AccessMask) -> Result<Handle, Outcome>;

    /// Opens an object below `parent`: class string, and the parameter block of that class.
    fn create(&self, parent: Handle, class: &str, parameters: &[u8], access: AccessMask) -> Result<Handle, Outcome>;

    /// Opens an object below a device interface in one call: the interface's symbolic link, the class string, and the
    /// parameter block of that class. Nothing stays open beside the object, which keeps its filter.
    #[doc(alias = "CreateFile")]
    fn open_object(
        &self,
        symbolic_link: &str,
        class: &str,
        parameters: &[u8],
        access: AccessMask,
    ) -> Result<Handle, Outcome> {
        let filter = self.open(symbolic_link, access)?;
        let created = self.create(filter, class, parameters, access);
        let _ = self.close(filter);
        created
    }

    /// Sends a request and waits for its end. `output` holds data going in where the request says so, and the answer
    /// coming out. Its address is a token that identifies an event.
    #[doc(alias = "DeviceIoControl")]
    fn device_io_control(&self, handle: Handle, code: IoControlCode, input: &[u8], output: &mut [u8]) -> Outcome;

    /// Sends a request and does not wait. The output buffer comes back with the result.
    fn submit(&self, handle: Handle, code: IoControlCode, input: &[u8], output: Vec<u8>) -> Request;

    /// Cancels every overlapped request that was sent to this handle's object and still runs.
    #[doc(alias = "CancelIo")]
    fn cancel_all(&self, handle: Handle) -> Outcome;

    /// Closes a handle. Pending requests on it end; the object goes when nobody refers to it.
    #[doc(alias = "CloseHandle")]
    fn close(&self, handle: Handle) -> Outcome;

    /// Cancels creates of this client that a driver pends: on Windows the cancel of a thread's synchronous request, or the
    /// end of the thread. A driver that has a cancel routine ends them with STATUS_CANCELLED; one that has none goes on.
    /// Any thread may call it.
    #[doc(alias = "CancelSynchronousIo")]
    fn cancel_creates(&self, which: CancelCreates);

    /// Memory that stream headers of this client may point to.
    fn allocate(&self, bytes: usize, alignment: usize) -> Result<Frame, MemoryError>;

    /// The memory of a frame that an allocator object gave by its address; `None` when the engine, and so the memory, is
    /// in another process.
    fn frame_at(&self, address: u64, bytes: usize) -> Option<Frame> {
        let _ = (address, bytes);
        None
    }

    /// An event that the engine can signal, with the handle that names it in a KSEVENTDATA.
    fn create_event(&self) -> Result<(Handle, Event), Outcome>;

    /// A semaphore that the engine can release, with the handle that names it in a KSEVENTDATA.
    #[doc(alias = "CreateSemaphore")]
    fn create_semaphore(&self, count: u32, limit: u32) -> Result<(Handle, Semaphore), Outcome>;

    /// Time and waiting of the engine behind this transport.
    fn services(&self) -> &Services;
}
