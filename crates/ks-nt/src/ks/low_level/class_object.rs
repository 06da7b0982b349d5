//! Objects of the class driver's that stand behind a file object of a driver's own: the default clock and the default
//! allocator. Their requests come by the driver's dispatch routines to a table of ours, and go on to the engine.

use super::dispatch::{
    KsDispatchFastIoDeviceControlFailure, KsDispatchFastReadFailure, KsDispatchInvalidDeviceRequest, complete,
};
use super::header::ObjectHeader;
use super::request::DriverIrp;
use super::security::{KsDispatchQuerySecurity, KsDispatchSetSecurity};
use crate::ks::address::Address;
use crate::ks::engine_device;
use crate::ks::engine_file::{self, EngineFile};
use crate::ks::objects::{self, Object};
use ks_abi::kernel::{FileObject, Irp as Packet};
use ks_abi::{NtStatus, Ptr64, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER, STATUS_SUCCESS};
use ks_io::{Dispatch, IoManager, RequestorMode};
use ks_mem::Block;
use std::mem::offset_of;
use std::sync::Arc;

/// An object of the class driver's, and what the driver's FsContext points at.
pub(crate) struct ClassObject {
    /// Its first word is the object header.
    context: Block,
    header: u64,
    engine: Arc<EngineFile>,
}

type Major = unsafe extern "win64" fn(u64, Address) -> NtStatus;
type Fast = unsafe extern "win64" fn() -> u8;

/// A KSDISPATCH_TABLE.
#[repr(C)]
struct Table {
    device_io_control: Major,
    read: Major,
    write: Major,
    flush: Major,
    close: Major,
    query_security: Major,
    set_security: Major,
    fast_device_io_control: Fast,
    fast_read: Fast,
    fast_write: Fast,
}

static TABLE: Table = Table {
    device_io_control: control,
    read: KsDispatchInvalidDeviceRequest,
    write: KsDispatchInvalidDeviceRequest,
    flush: KsDispatchInvalidDeviceRequest,
    close,
    query_security: KsDispatchQuerySecurity,
    set_security: KsDispatchSetSecurity,
    fast_device_io_control: KsDispatchFastIoDeviceControlFailure,
    fast_read: KsDispatchFastReadFailure,
    fast_write: KsDispatchFastReadFailure,
};

/// Answers a create request with an object that `make` makes in the engine that drivers have. The request is neither
/// completed nor given a status.
///
/// Decision: requests on the object are judged by the mode of who opened it.
pub(super) fn create(
    irp: Address,
    make: impl FnOnce(&Arc<IoManager>) -> Result<Arc<dyn Dispatch>, NtStatus>,
) -> NtStatus {
    let request = DriverIrp::new(irp);
    let Some(file) = request.file_object().some() else { return STATUS_INVALID_PARAMETER };
    let user = irp.get::<u8>(offset_of!(Packet, requestor_mode)) != 0;
    let mode = if user { RequestorMode::User } else { RequestorMode::Kernel };
    let io = engine_file::engine();
    let made = make(&io).and_then(|object| engine_file::adopt(&io, mode, object));
    let engine = match made {
        Ok(engine) => engine,
        Err(status) => return status,
    };
    let Ok(context) = Block::zeroed(16, 16) else { return STATUS_INSUFFICIENT_RESOURCES };
    let header = match ObjectHeader::make(0, Address::NULL, irp, Address(std::ptr::from_ref(&TABLE) as u64)) {
        Ok(header) => header,
        Err(status) => return status,
    };
    context.store_u64(0, header);
    let address = context.address();
    objects::insert(address, Object::ClassDrivers(Arc::new(ClassObject { context, header, engine })));
    file.put(offset_of!(FileObject, fs_context), Ptr64(address));
    STATUS_SUCCESS
}

fn of_file(file: Address) -> Option<Arc<ClassObject>> {
    match objects::find(file.some()?.follow(offset_of!(FileObject, fs_context))) {
        Some(Object::ClassDrivers(object)) => Some(object),
        _ => None,
    }
}

/// The engine's object behind a driver's file object, if it is one of these.
pub(crate) fn engine_of(file: Address) -> Option<Arc<EngineFile>> {
    of_file(file).map(|object| object.engine.clone())
}

unsafe extern "win64" fn control(_device: u64, irp: Address) -> NtStatus {
    match of_file(DriverIrp::new(irp).file_object()) {
        Some(object) => engine_device::pass_on(&object.engine, irp),
        None => complete(irp, STATUS_INVALID_PARAMETER),
    }
}

unsafe extern "win64" fn close(_device: u64, irp: Address) -> NtStatus {
    let file = DriverIrp::new(irp).file_object();
    if let Some(object) = of_file(file) {
        file.put(offset_of!(FileObject, fs_context), Ptr64(0));
        drop(objects::remove(object.context.address()));
        ObjectHeader::free(object.header);
    }
    complete(irp, STATUS_SUCCESS)
}
