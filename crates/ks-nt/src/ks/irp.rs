//! Requests as a driver is lent them: a packet with its stack location, known in the live table while it is lent.

use crate::exports;
use crate::exports::Export;
use crate::ks::address::Address;
use crate::ks::filter::HostedFilter;
use crate::ks::misuse;
use crate::ks::objects::{self, Object};
use crate::ks::pin::HostedPin;
use crate::machine;
use crate::ntoskrnl::io_request;
use crate::ntoskrnl::scheduler::Changed;
use ks_abi::kernel::{CreateParameters, IO_TYPE_IRP, IRP_MJ_CREATE, IoSecurityContext, Irp, KsObjectType};
use ks_abi::{NtStatus, Ptr64, STATUS_INSUFFICIENT_RESOURCES, STATUS_PENDING};
use ks_io::{AccessMask, RequestorMode};
use ks_mem::Block;
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) const EXPORTS: &[Export] = exports!(Ks:
    KsGetFilterFromIrp, KsGetPinFromIrp, KsGetNodeIdFromIrp, KsGetObjectTypeFromIrp, KsCompletePendingRequest,
    KsGetObjectFromFileObject, KsGetObjectTypeFromFileObject,
);

/// KSFILTER_NODE: the filter itself, no node of it.
pub(crate) const FILTER_NODE: u32 = u32::MAX;

const IRP_BYTES: usize = 208;
const STACK_LOCATION_BYTES: usize = 72;
/// Two, so that a driver that forwards it finds a next one.
const STACK_LOCATIONS: usize = 2;
const CURRENT: usize = IRP_BYTES + (STACK_LOCATIONS - 1) * STACK_LOCATION_BYTES;
/// Where the IO_SECURITY_CONTEXT of a create stands, behind the request.
const SECURITY: usize = IRP_BYTES + STACK_LOCATIONS * STACK_LOCATION_BYTES;
/// What a create does with an object that is there.
const FILE_OPEN: u32 = 1;

mod offset {
    pub(super) const SYSTEM_BUFFER: usize = 24;
    pub(super) const STATUS: usize = 48;
    pub(super) const INFORMATION: usize = 56;
    pub(super) const REQUESTOR_MODE: usize = 64;
    pub(super) const STACK_COUNT: usize = 66;
    pub(super) const CURRENT_LOCATION: usize = 67;
    pub(super) const USER_BUFFER: usize = 112;
    pub(super) const DRIVER_CONTEXT: usize = 120;
    pub(super) const CURRENT_STACK_LOCATION: usize = 184;
    pub(super) const MAJOR: usize = super::CURRENT;
    pub(super) const CONTROL: usize = super::CURRENT + 3;
    pub(super) const PARAMETERS: usize = super::CURRENT + 8;
    pub(super) const DEVICE: usize = super::CURRENT + 40;
    pub(super) const FILE: usize = super::CURRENT + 48;
}

/// SL_PENDING_RETURNED
const PENDING_RETURNED: u8 = 1;

/// Whom a request is for.
#[derive(Clone)]
pub(crate) enum Target {
    Filter(Arc<HostedFilter>),
    Pin(Arc<HostedPin>),
}

impl Target {
    /// Who opened it, with the access that was asked for; `None` when it is gone.
    fn opener(&self) -> Option<(RequestorMode, AccessMask)> {
        match self {
            Target::Filter(filter) => filter.engine().map(|filter| (filter.origin().mode(), filter.asked_access())),
            Target::Pin(pin) => pin.engine().map(|pin| (pin.origin().mode(), pin.asked_access())),
        }
    }
}

/// The requestor mode of a lent request: 0 for the kernel, 1 for a user.
fn mode_byte(mode: RequestorMode) -> u8 {
    u8::from(mode == RequestorMode::User)
}

/// A request that a driver has been lent.
pub(crate) struct LentIrp {
    block: Block,
    target: Target,
    /// The node that it is for, or [`FILTER_NODE`].
    node: u32,
    completed: Mutex<bool>,
    wake: Changed,
    /// What a driver's completion of it leads to, where nobody waits for it.
    ended: Mutex<Option<Ended>>,
}

type Ended = Box<dyn FnOnce(NtStatus) + Send>;

/// What has become of a request that a routine was called with.
pub(crate) enum Answer {
    /// It has ended with this status.
    Now(NtStatus),
    /// The driver completes it later.
    Later(Lending),
}

/// A request that stays in the live table until this is dropped.
pub(crate) struct Lending(Arc<LentIrp>);

impl LentIrp {
    /// A request of a major function by whoever asks, without parameters.
    pub(crate) fn lend(target: Target, major: u8, mode: RequestorMode) -> Result<Lending, NtStatus> {
        LentIrp::lend_to_node(target, FILTER_NODE, major, mode)
    }

    /// The create or the close of an object, by its opener.
    ///
    /// Decision: a create opens what is there and shares nothing: the object is its opener's alone.
    pub(crate) fn lend_of_opener(target: Target, major: u8) -> Result<Lending, NtStatus> {
        let (mode, access) = target.opener().unwrap_or((RequestorMode::Kernel, AccessMask::NONE));
        let lent = LentIrp::lend(target, major, mode)?;
        if major == IRP_MJ_CREATE {
            let security = IoSecurityContext { desired_access: access.0, ..IoSecurityContext::default() };
            lent.block.write(SECURITY, &security);
            let create = CreateParameters {
                security_context: Ptr64(lent.address() + SECURITY as u64),
                options: FILE_OPEN << 24,
                ..CreateParameters::default()
            };
            lent.block.write(offset::PARAMETERS, &create);
        }
        Ok(lent)
    }

    /// As [`LentIrp::lend`], for a node of the target.
    pub(crate) fn lend_to_node(target: Target, node: u32, major: u8, mode: RequestorMode) -> Result<Lending, NtStatus> {
        let bytes = SECURITY;
        let block = Block::zeroed(bytes + size_of::<IoSecurityContext>(), 16);
        let block = block.map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        block.store_u16(0, IO_TYPE_IRP);
        block.store_u16(2, bytes as u16);
        block.store_u8(offset::STACK_COUNT, STACK_LOCATIONS as u8);
        block.store_u8(offset::CURRENT_LOCATION, STACK_LOCATIONS as u8);
        block.store_u64(offset::CURRENT_STACK_LOCATION, block.address() + CURRENT as u64);
        block.store_u8(offset::MAJOR, major);
        block.store_u8(offset::REQUESTOR_MODE, mode_byte(mode));
        let (device, file) = match &target {
            Target::Filter(filter) => (filter.device().functional(), filter.file_object()),
            Target::Pin(pin) => (pin.filter().device().functional(), pin.file_object()),
        };
        block.store_u64(offset::DEVICE, device);
        block.store_u64(offset::FILE, file);
        let lent = Arc::new(LentIrp {
            block,
            target,
            node,
            completed: Mutex::new(false),
            wake: Changed::new(),
            ended: Mutex::new(None),
        });
        objects::insert(lent.address(), Object::Irp(lent.clone()));
        let completed = Arc::downgrade(&lent);
        let finish = Box::new(move |_| {
            if let Some(lent) = completed.upgrade() {
                lent.complete();
            }
        });
        io_request::adopt(lent.address() as *mut Irp, finish);
        Ok(Lending(lent))
    }

    /// Whom it is for.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// What the driver is lent.
    pub(crate) fn address(&self) -> u64 {
        self.block.address()
    }

    /// Sets one of the four parameters of the stack location.
    pub(crate) fn set_parameter(&self, index: usize, value: u64) {
        self.block.store_u64(offset::PARAMETERS + 8 * (index & 3), value);
    }

    /// Sets the buffers that a handler may look at.
    pub(crate) fn set_buffers(&self, system: u64, user: u64) {
        self.block.store_u64(offset::SYSTEM_BUFFER, system);
        self.block.store_u64(offset::USER_BUFFER, user);
    }

    /// Sets one of the four words of the current owner.
    pub(crate) fn set_driver_context(&self, index: usize, value: u64) {
        self.block.store_u64(offset::DRIVER_CONTEXT + 8 * (index & 3), value);
    }

    /// Information, as the driver left it.
    pub(crate) fn information(&self) -> u64 {
        self.block.load_u64(offset::INFORMATION)
    }

    /// Sets Information before the driver is asked.
    pub(crate) fn set_information(&self, bytes: u64) {
        self.block.store_u64(offset::INFORMATION, bytes);
    }

    /// Has a routine that returned this pended it, so that it ends later?
    pub(crate) fn is_pended(&self, returned: NtStatus) -> bool {
        returned == STATUS_PENDING && self.block.load_u8(offset::CONTROL) & PENDING_RETURNED != 0
    }

    /// What a routine returned, once the request is done: a pended one is waited for.
    pub(crate) fn outcome(&self, returned: NtStatus) -> NtStatus {
        if returned != STATUS_PENDING && self.block.load_u8(offset::CONTROL) & PENDING_RETURNED == 0 {
            return returned;
        }
        ks_io::deferred::drain_before_wait();
        let mut completed = self.completed.lock().unwrap_or_else(PoisonError::into_inner);
        while !*completed {
            completed = self.wake.wait(&self.completed, completed);
        }
        self.status()
    }

    /// The driver has finished what it pended.
    pub(crate) fn complete(&self) -> bool {
        let mut completed = self.completed.lock().unwrap_or_else(PoisonError::into_inner);
        let first = !*completed;
        *completed = true;
        self.wake.notify_all();
        drop(completed);
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(ended) = ended {
            ended(self.status());
        }
        first
    }

    fn status(&self) -> NtStatus {
        NtStatus(self.block.load_u32(offset::STATUS))
    }
}

impl Lending {
    /// What a routine that returned this leaves: one that pends without a mark is waited for.
    pub(crate) fn answer(self, returned: NtStatus) -> Answer {
        if self.is_pended(returned) { Answer::Later(self) } else { Answer::Now(self.outcome(returned)) }
    }

    /// Cancels the request, as the I/O manager does: its routine, if the driver has set one, completes it.
    pub(crate) fn canceller(&self) -> impl FnOnce() + Send + 'static {
        let lent = Arc::downgrade(&self.0);
        move || {
            let Some(lent) = lent.upgrade() else { return };
            machine::enter_thread();
            // SAFETY: the packet lives as long as it is held here; a complete one has no cancel routine.
            unsafe { io_request::IoCancelIrp(lent.address() as *mut Irp) };
        }
    }

    /// Has `ended` called with the status of a request that was pended, once the driver completes it: on its thread, at its
    /// level. The request is lent until then.
    pub(crate) fn when_completed(self, ended: impl FnOnce(NtStatus) + Send + 'static) {
        let lent = self.0.clone();
        let ended: Ended = Box::new(move |status| {
            ended(status);
            drop(self);
        });
        let completed = lent.completed.lock().unwrap_or_else(PoisonError::into_inner);
        if *completed {
            drop(completed);
            ended(lent.status());
        } else {
            *lent.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended);
        }
    }
}

impl std::ops::Deref for Lending {
    type Target = LentIrp;

    fn deref(&self) -> &LentIrp {
        &self.0
    }
}

impl Drop for Lending {
    fn drop(&mut self) {
        io_request::disown(self.0.address() as *mut Irp);
        drop(objects::remove(self.0.address()));
    }
}

/// Completes a lent request for `IoCompleteRequest`; false when the address is none.
pub(crate) fn complete_lent(address: u64, routine: &'static str) -> bool {
    match objects::find(Address(address)) {
        Some(Object::Irp(irp)) => {
            if !irp.complete() {
                misuse::misuse(
                    crate::report::BugCheck::MULTIPLE_IRP_COMPLETE_REQUESTS,
                    routine,
                    format!("the request at {address:#x} was completed before"),
                );
            }
            true
        }
        _ => false,
    }
}

/// Has a driver marked the request that it was lent as pending?
pub(crate) fn is_marked_pending(irp: u64) -> bool {
    target(Address(irp)).is_some_and(|irp| irp.block.load_u8(offset::CONTROL) & PENDING_RETURNED != 0)
}

/// Is it a request of the engine's that a driver has been lent?
pub(crate) fn is_lent(irp: Address) -> bool {
    matches!(objects::find(irp), Some(Object::Irp(_)))
}

fn target(irp: Address) -> Option<Arc<LentIrp>> {
    match objects::find(irp) {
        Some(Object::Irp(irp)) => Some(irp),
        _ => None,
    }
}

// ks-coverage: KsGetFilterFromIrp done test=every_inline_function_of_the_headers_works_on_living_objects
pub(crate) unsafe extern "win64" fn KsGetFilterFromIrp(irp: Address) -> u64 {
    match target(irp).map(|irp| irp.target.clone()) {
        Some(Target::Filter(filter)) => filter.address(),
        Some(Target::Pin(pin)) => pin.filter().address(),
        _ => 0,
    }
}

// ks-coverage: KsGetPinFromIrp done test=every_inline_function_of_the_headers_works_on_living_objects
pub(crate) unsafe extern "win64" fn KsGetPinFromIrp(irp: Address) -> u64 {
    match target(irp).map(|irp| irp.target.clone()) {
        Some(Target::Pin(pin)) => pin.address(),
        _ => 0,
    }
}

// ks-coverage: KsGetNodeIdFromIrp done test=every_inline_function_of_the_headers_works_on_living_objects
pub(crate) unsafe extern "win64" fn KsGetNodeIdFromIrp(irp: Address) -> u32 {
    target(irp).map_or(FILTER_NODE, |irp| irp.node)
}

// ks-coverage: KsGetObjectTypeFromIrp done test=every_inline_function_of_the_headers_works_on_living_objects
pub(crate) unsafe extern "win64" fn KsGetObjectTypeFromIrp(irp: Address) -> u32 {
    match target(irp).map(|irp| irp.target.clone()) {
        Some(Target::Filter(_)) => KsObjectType::FILTER.0,
        Some(Target::Pin(_)) => KsObjectType::PIN.0,
        _ => KsObjectType::DEVICE.0,
    }
}

// ks-coverage: KsCompletePendingRequest done test=a_driver_adds_factories_and_nodes_to_an_open_filter
pub(crate) unsafe extern "win64" fn KsCompletePendingRequest(irp: Address) {
    if !complete_lent(irp.0, "KsCompletePendingRequest") {
        misuse::dead("KsCompletePendingRequest", "request", irp.0);
    }
}

// ks-coverage: KsGetObjectFromFileObject done test=every_inline_function_of_the_headers_works_on_living_objects
// ks-coverage: KsGetFilterFromFileObject done test=every_inline_function_of_the_headers_works_on_living_objects
// ks-coverage: KsGetPinFromFileObject done test=every_inline_function_of_the_headers_works_on_living_objects
pub(crate) unsafe extern "win64" fn KsGetObjectFromFileObject(file: Address) -> u64 {
    match objects::find(file) {
        Some(Object::FilterFile(filter)) => filter.address(),
        Some(Object::PinFile(pin)) => pin.address(),
        _ => 0,
    }
}

// ks-coverage: KsGetObjectTypeFromFileObject done test=every_inline_function_of_the_headers_works_on_living_objects
pub(crate) unsafe extern "win64" fn KsGetObjectTypeFromFileObject(file: Address) -> u32 {
    match objects::find(file) {
        Some(Object::PinFile(_)) => KsObjectType::PIN.0,
        _ => KsObjectType::FILTER.0,
    }
}
