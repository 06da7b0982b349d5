//! What an object does with the requests that reach its file object.

use crate::access::AccessMask;
use crate::completion::Dispatched;
use crate::file_object::FileObject;
use crate::irp::Irp;
use crate::origin::Origin;
use crate::refusal::{Aspect, Refusal};
use crate::sync::Arc;
use ks_abi::{STATUS_INVALID_DEVICE_REQUEST, STATUS_OBJECT_NAME_NOT_FOUND};
use ks_mem::FrameMemory;

/// A create request: which object, below which parent, for whom.
#[derive(Debug, Clone, Copy)]
pub struct CreateRequest<'a> {
    /// Class string (below a parent) or reference string (on a device).
    pub name: &'a str,
    /// The parameter block behind the class string, captured.
    pub parameters: &'a [u8],
    /// The access that is asked for.
    pub access: AccessMask,
    /// Who asks.
    pub origin: &'a Origin,
    /// The file object that is being made; it dispatches nothing until the create succeeded.
    pub file: &'a Arc<FileObject>,
    /// The parent's file object; `None` on a device.
    pub related: Option<&'a Arc<FileObject>>,
}

/// The routines of an object, called through its file object.
#[doc(alias = "KSDISPATCH_TABLE")]
pub trait Dispatch: Send + Sync {
    /// `IRP_MJ_DEVICE_CONTROL`: the universal entry.
    fn device_io_control(&self, irp: Irp) -> Dispatched;

    /// `IRP_MJ_CREATE` below this object. Default: the object has no children.
    fn create_child(&self, request: &CreateRequest<'_>) -> Result<Created, Refusal> {
        let reason = format!("this object has no sub-object of class {}", request.name);
        Err(Refusal::new(STATUS_OBJECT_NAME_NOT_FOUND, Aspect::Name, reason))
    }

    /// `IRP_MJ_CLEANUP`: the last handle is closed. Pending requests end; references by other objects may remain.
    fn cleanup(&self) {}

    /// `IRP_MJ_CLOSE`: nobody refers to the file object any more.
    fn close(&self) {}

    /// Where the frames of stream requests to this object should lie: shared for one in another process.
    fn frame_memory(&self) -> FrameMemory {
        FrameMemory::Private
    }

    /// Frames of stream requests to this object whose bytes had to be copied on their way, since it was opened.
    fn copied_frames(&self) -> u64 {
        0
    }

    /// The object itself, for the class driver that made it.
    fn as_any(self: Arc<Self>) -> Arc<dyn std::any::Any + Send + Sync>;
}

/// A created object and the access that it grants.
pub struct Created {
    /// The object.
    pub object: Arc<dyn Dispatch>,
    /// The rights that reads and writes are checked against.
    pub granted: AccessMask,
}

impl std::fmt::Debug for Created {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Created").field("granted", &self.granted).finish_non_exhaustive()
    }
}

/// A device: where creates without a parent go.
pub trait DeviceObject: Send + Sync {
    /// Name for messages.
    fn name(&self) -> &str;

    /// `IRP_MJ_CREATE` with a reference string.
    fn create(&self, request: &CreateRequest<'_>) -> Result<Created, Refusal>;

    /// The engine ends, and has forgotten the device's interfaces: pending requests end, later ones are refused.
    #[doc(alias = "IRP_MN_SURPRISE_REMOVAL")]
    fn remove(&self) {}
}

/// Completes a request that the object does not know.
// ks-coverage: KsDispatchInvalidDeviceRequest done test=creates_and_requests_are_routed_by_headers_items_and_dispatch_tables
#[doc(alias = "KsDispatchInvalidDeviceRequest")]
pub fn invalid_device_request(irp: Irp) -> Dispatched {
    irp.done(STATUS_INVALID_DEVICE_REQUEST)
}
