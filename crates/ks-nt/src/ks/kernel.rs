//! What `ks.sys` itself takes from the kernel, by name, as a driver does.

use crate::exports;
use crate::ks::address::{Address, Routine, status};
use crate::ntoskrnl::block::Block;
use crate::ntoskrnl::{fast_mutex, io_request, mutex, resource, spin_lock, wait};
use ks_abi::kernel::KsEventsLockType;
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

/// A spin lock of a driver's.
#[derive(Clone, Copy)]
pub(crate) struct SpinLock(Block);

/// A spin lock is held, at DISPATCH_LEVEL, until this is dropped.
pub(crate) struct Held {
    lock: Block,
    level: u8,
}

impl SpinLock {
    /// The lock at an address that a driver passed as one.
    pub(crate) fn at(lock: Address) -> SpinLock {
        // SAFETY: the driver's promise, as the pages of the routines with a lock say.
        SpinLock(unsafe { Block::at(lock.0 as *mut u8) })
    }

    pub(crate) fn acquire(self) -> Held {
        // SAFETY: a KSPIN_LOCK, as above.
        let level = unsafe { spin_lock::KeAcquireSpinLockRaiseToDpc(self.0) };
        Held { lock: self.0, level }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: the lock was acquired by this thread, which has not given it back.
        unsafe { spin_lock::KeReleaseSpinLock(self.lock, self.level) }
    }
}

/// The lock of a driver's list of events, see KSEVENTS_LOCKTYPE.
#[derive(Clone, Copy)]
pub(crate) struct ListLock {
    kind: KsEventsLockType,
    lock: Block,
}

impl ListLock {
    pub(crate) fn new(kind: u32, lock: Address) -> ListLock {
        // SAFETY: the driver's promise, as the pages of the routines with a lock say.
        ListLock { kind: KsEventsLockType(kind), lock: unsafe { Block::at(lock.0 as *mut u8) } }
    }

    /// Does something while the lock is held. There is no interrupt whose lock could be taken.
    pub(crate) fn with<R>(&self, what: impl FnOnce() -> R) -> R {
        if self.lock.is_null() {
            return what();
        }
        match self.kind {
            KsEventsLockType::SPINLOCK => {
                let _held = SpinLock(self.lock).acquire();
                what()
            }
            KsEventsLockType::MUTEX => {
                // SAFETY: a KMUTEX, as above.
                let _ = unsafe { wait::KeWaitForSingleObject(self.lock, 0, 0, 0, Block::NULL) };
                let result = what();
                // SAFETY: it was just acquired by this thread.
                unsafe { mutex::KeReleaseMutex(self.lock, 0) };
                result
            }
            KsEventsLockType::FMUTEX => {
                // SAFETY: a FAST_MUTEX, as above.
                unsafe { fast_mutex::ExAcquireFastMutex(self.lock) };
                let result = what();
                // SAFETY: it was just acquired by this thread.
                unsafe { fast_mutex::ExReleaseFastMutex(self.lock) };
                result
            }
            KsEventsLockType::FMUTEXUNSAFE => {
                // SAFETY: a FAST_MUTEX, as above.
                unsafe { fast_mutex::ExAcquireFastMutexUnsafe(self.lock) };
                let result = what();
                // SAFETY: it was just acquired by this thread.
                unsafe { fast_mutex::ExReleaseFastMutexUnsafe(self.lock) };
                result
            }
            KsEventsLockType::ERESOURCE => {
                // SAFETY: an ERESOURCE, as above.
                unsafe { resource::ExEnterCriticalRegionAndAcquireResourceExclusive(self.lock) };
                let result = what();
                // SAFETY: it was just acquired by this thread.
                unsafe { resource::ExReleaseResourceAndLeaveCriticalRegion(self.lock) };
                result
            }
            _ => what(),
        }
    }
}

/// Releases a semaphore of the driver's.
pub(crate) fn release_semaphore(semaphore: Address, adjustment: u32) {
    if let Some(release) = routine("KeReleaseSemaphore") {
        release.call4(semaphore.0, 0, u64::from(adjustment), 0);
    }
}

/// Queues a DPC of the driver's with one argument.
pub(crate) fn queue_dpc(dpc: Address, argument: Address) {
    if let Some(queue) = routine("KeInsertQueueDpc") {
        queue.call3(dpc.0, argument.0, 0);
    }
}

/// The cancel lock is held until this is dropped.
pub(crate) struct CancelLock(u8);

/// Takes the one lock of cancellation.
pub(crate) fn hold_cancel_lock() -> CancelLock {
    let mut level = 0;
    // SAFETY: the place is a local.
    unsafe { io_request::IoAcquireCancelSpinLock(&raw mut level) };
    CancelLock(level)
}

impl Drop for CancelLock {
    fn drop(&mut self) {
        // SAFETY: it was acquired by this thread at this level.
        unsafe { io_request::IoReleaseCancelSpinLock(self.0) }
    }
}

/// Gives the cancel lock back that was acquired to call the cancel routine of a request.
pub(crate) fn release_cancel_lock(irp: Address) {
    let level: u8 = irp.get(std::mem::offset_of!(ks_abi::kernel::Irp, cancel_irql));
    // SAFETY: whoever called the cancel routine acquired the lock at this level.
    unsafe { io_request::IoReleaseCancelSpinLock(level) }
}

/// Exchanges a request's cancel routine.
pub(crate) fn swap_cancel_routine(irp: Address, routine: u64) -> u64 {
    // SAFETY: the request is alive, for the driver has it.
    let cell = unsafe { io_request::cancel_routine(irp.0 as *mut ks_abi::kernel::Irp) };
    cell.swap(routine as *mut (), std::sync::atomic::Ordering::SeqCst) as u64
}

/// Calls a cancel routine that was taken out of its request.
pub(crate) fn run_cancel_routine(irp: Address, routine: u64) {
    // SAFETY: the request waits for nobody else, because its routine was taken; the routine is one.
    unsafe { io_request::run_cancel_routine(irp.0 as *mut ks_abi::kernel::Irp, routine) }
}

/// Puts an MDL of memory at the end of a request's chain; whether there was memory for it.
pub(crate) fn chain_mdl(irp: Address, data: Address, bytes: u32) -> bool {
    let secondary = u64::from(!irp.follow(std::mem::offset_of!(ks_abi::kernel::Irp, mdl_address)).is_null());
    let made = routine("IoAllocateMdl").map_or(0, |make| make.call5(data.0, u64::from(bytes), secondary, 0, irp.0));
    made != 0
}

/// Locks an MDL for an access, unless it is locked, and maps it if it is to be.
pub(crate) fn lock_mdl(mdl: Address, access: u64, mapped: bool) {
    /// MDL_PAGES_LOCKED, MDL_SOURCE_IS_NONPAGED_POOL
    const LOCKED: u16 = 0x2 | 0x4;
    /// MDL_MAPPED_TO_SYSTEM_VA, MDL_SOURCE_IS_NONPAGED_POOL
    const MAPPED: u16 = 0x1 | 0x4;
    let flags = |mdl: Address| mdl.get::<u16>(std::mem::offset_of!(ks_abi::kernel::Mdl, flags));
    if flags(mdl) & LOCKED == 0
        && let Some(lock) = routine("MmProbeAndLockPages")
    {
        lock.call3(mdl.0, 0, access);
    }
    if mapped
        && flags(mdl) & MAPPED == 0
        && let Some(map) = routine("MmMapLockedPages")
    {
        map.call2(mdl.0, 0);
    }
}

/// Hands a request to a device's driver.
pub(crate) fn call_driver(device: Address, irp: Address) -> NtStatus {
    call_to(device, irp, "IofCallDriver")
}

/// Hands a power request to a device's driver.
pub(crate) fn call_power_driver(device: Address, irp: Address) -> NtStatus {
    call_to(device, irp, "PoCallDriver")
}

fn call_to(device: Address, irp: Address, name: &'static str) -> NtStatus {
    routine(name).map_or(ks_abi::STATUS_INVALID_DEVICE_REQUEST, |call| status(call.call2(device.0, irp.0)))
}

/// The top of the stack of a file object's device.
pub(crate) fn related_device(file: Address) -> Address {
    Address(routine("IoGetRelatedDeviceObject").map_or(0, |related| related.call1(file.0)))
}

/// Takes a device off the one below, and deletes it.
pub(crate) fn detach_and_delete(below: Address, device: Address) {
    if let (Some(detach), Some(delete)) = (routine("IoDetachDevice"), routine("IoDeleteDevice")) {
        detach.call1(below.0);
        delete.call1(device.0);
    }
}

/// Makes a KTIMER and the KDPC that it is to queue, whose routine and context these are.
pub(crate) fn initialize_timer(timer: u64, dpc: u64, deferred: u64) {
    if let Some(initialize) = routine("KeInitializeTimer") {
        initialize.call1(timer);
    }
    if let Some(initialize) = routine("KeInitializeDpc") {
        initialize.call3(dpc, deferred, 0);
    }
}

/// Takes a KTIMER and a KDPC from the kernel, whose memory goes.
pub(crate) fn forget_timer(timer: u64, dpc: u64) {
    if let Some(cancel) = routine("KeCancelTimer") {
        cancel.call1(timer);
    }
    if let Some(remove) = routine("KeRemoveQueueDpc") {
        remove.call1(dpc);
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
