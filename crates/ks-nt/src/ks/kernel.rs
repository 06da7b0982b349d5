//! What `ks.sys` itself takes from the kernel, by name, as a driver does.

use crate::exports;
use crate::ks::address::{Address, Routine, status};
use ks_abi::{NtStatus, STATUS_INSUFFICIENT_RESOURCES};

/// POOL_TYPE NonPagedPoolNx
const NON_PAGED_POOL_NX: u64 = 512;

fn routine(name: &'static str) -> Option<Routine> {
    let export = exports::find(name)?;
    Routine::optional(Address(export.target.address()), name)
}

/// Pool memory that a driver may free; `None` when there is none.
pub(crate) fn allocate_pool(bytes: usize, tag: u32) -> Option<Address> {
    let allocate = routine("ExAllocatePoolWithTag")?;
    Address(allocate.call3(NON_PAGED_POOL_NX, bytes as u64, u64::from(tag))).some()
}

/// Frees pool memory of any tag.
pub(crate) fn free_pool(item: u64) {
    if let Some(free) = routine("ExFreePool") {
        free.call1(item);
    }
}

/// A device object of the kernel's; it is deleted when this is dropped.
pub(crate) struct KernelDevice(u64);

impl KernelDevice {
    /// Makes a device object of a driver (0: of the bus).
    pub(crate) fn new(driver: u64, extension_bytes: u32) -> Result<KernelDevice, NtStatus> {
        const FILE_DEVICE_KS: u64 = 0x2F;
        let create = routine("IoCreateDevice").ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        let mut device = 0u64;
        let place = std::ptr::from_mut(&mut device) as u64;
        // Its first word is the device header.
        let extension_bytes = u64::from(extension_bytes.max(8));
        let made = status(create.call7(driver, extension_bytes, 0, FILE_DEVICE_KS, 0, 0, place));
        if made.is_success() { Ok(KernelDevice(device)) } else { Err(made) }
    }

    /// Puts it on top of the stack of another; what it stands on.
    pub(crate) fn attach_to(&self, other: u64) -> u64 {
        routine("IoAttachDeviceToDeviceStack").map_or(0, |attach| attach.call2(self.0, other))
    }

    /// Takes whatever stands on this device off it.
    pub(crate) fn detach_from(&self, below: u64) {
        if below != 0
            && let Some(detach) = routine("IoDetachDevice")
        {
            detach.call1(below);
        }
    }

    pub(crate) fn address(&self) -> u64 {
        self.0
    }
}

impl Drop for KernelDevice {
    fn drop(&mut self) {
        if let Some(delete) = routine("IoDeleteDevice") {
            delete.call1(self.0);
        }
    }
}

/// An MDL over memory that does not move; it is freed when this is dropped.
pub(crate) struct Mdl(u64);

impl Mdl {
    pub(crate) fn new(start: u64, bytes: u32) -> Option<Mdl> {
        let mdl = routine("IoAllocateMdl")?.call5(start, u64::from(bytes), 0, 0, 0);
        let mdl = (mdl != 0).then_some(Mdl(mdl))?;
        routine("MmBuildMdlForNonPagedPool")?.call1(mdl.0);
        Some(mdl)
    }

    pub(crate) fn address(&self) -> u64 {
        self.0
    }
}

impl Drop for Mdl {
    fn drop(&mut self) {
        if let Some(free) = routine("IoFreeMdl") {
            free.call1(self.0);
        }
    }
}

/// Sets an event of the driver's; 0 is none.
pub(crate) fn set_event(event: u64) {
    if event != 0
        && let Some(set) = routine("KeSetEvent")
    {
        set.call3(event, 0, 0);
    }
}

/// Gives a work item to the kernel's workers.
pub(crate) fn queue_work_item(item: u64, queue: u32) {
    if let Some(queue_item) = routine("ExQueueWorkItem") {
        queue_item.call2(item, u64::from(queue));
    }
}

/// Completes a request that a driver's routine is given.
pub(crate) fn complete_request(irp: u64) {
    if let Some(complete) = routine("IofCompleteRequest") {
        complete.call2(irp, 0);
    }
}
