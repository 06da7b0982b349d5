//! File objects of the devices that drivers of this process made.

#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "each routine trusts its caller's addresses, as its documentation page says"
)]

use core::ptr;
use std::any::Any;
use std::cell::UnsafeCell;
use std::sync::Arc;

use ks_abi::kernel::{
    CreateParameters, DeviceObject, FileObject, IO_TYPE_FILE, IRP_MJ_CLEANUP, IRP_MJ_CLOSE, IRP_MJ_CREATE, IRP_MJ_READ,
    IRP_MJ_WRITE, IoSecurityContext, IoStatusBlock, Irp, ReadWriteParameters, UnicodeString,
};
use ks_abi::pointer::Ptr64;
use ks_abi::status::{NtStatus, STATUS_INSUFFICIENT_RESOURCES, STATUS_SUCCESS};

use super::driver_memory::{field, get, put, set_field, text};
use super::event;
use super::file::ControlRequest;
use super::io_build::{IoBuildDeviceIoControlRequest, IoBuildSynchronousFsdRequest, send_until_cancelled};
use super::io_device::IoGetAttachedDevice;
use super::io_request::{IoSetCompletionRoutineEx, IofCallDriver, next_location};
use super::object_manager::{self, Kind, Object};
use super::{io_name, wait};
use crate::exports;
use crate::exports::Export;
use crate::ntoskrnl::block::Block;
use ks_io::CancelCell;

/// Exports of this file.
pub(crate) const EXPORTS: &[Export] =
    exports!(Ntoskrnl: IoGetDeviceObjectPointer, IoGetRelatedDeviceObject, IoGetBaseFileSystemDeviceObject);

/// What an open asks for: access, create options, and the mode of who asks.
pub(crate) struct Asked {
    pub(crate) access: u32,
    pub(crate) options: u32,
    pub(crate) mode: u8,
    /// By which the create can be cancelled.
    pub(crate) cancel: Option<std::sync::Arc<CancelCell>>,
}

/// An open device.
pub(crate) struct DeviceFile {
    object: Box<UnsafeCell<FileObject>>,
    /// The name, which the object points at; what follows a class in it is not text.
    name: Box<[u16]>,
    /// The file that this one was opened below is not closed before it.
    _related: Option<Arc<DeviceFile>>,
    /// The top of the device's stack, held as long as the file.
    device: *mut DeviceObject,
    opened: bool,
}

// SAFETY: the object is a driver's, which accesses it from any thread by its own rules; the rest does not change.
unsafe impl Send for DeviceFile {}
// SAFETY: as above.
unsafe impl Sync for DeviceFile {}

impl Object for DeviceFile {
    fn kind(&self) -> Kind {
        Kind::File
    }

    fn address(&self) -> *mut u8 {
        self.object.get().cast()
    }

    fn last_handle_closed(&self) {
        // SAFETY: the device is held, and the request takes nothing of its own.
        unsafe { self.send(IRP_MJ_CLEANUP, None, |_| ()) };
    }
}

impl Drop for DeviceFile {
    fn drop(&mut self) {
        if self.opened {
            // SAFETY: as in `last_handle_closed`.
            unsafe { self.send(IRP_MJ_CLOSE, None, |_| ()) };
        }
        // SAFETY: the reference was taken when the file was made.
        unsafe { object_manager::ObfDereferenceObject(self.device.cast()) };
    }
}

impl DeviceFile {
    /// Opens a device; its driver is asked.
    ///
    /// # Safety
    /// `device` is the address of a device object.
    pub(crate) unsafe fn create(device: usize, rest: &str, access: u32, options: u32) -> Result<Arc<Self>, NtStatus> {
        let name: Vec<u8> = rest.encode_utf16().flat_map(u16::to_le_bytes).collect();
        Self::create_below(device, None, &name, Asked { access, options, mode: 0, cancel: None })
    }

    /// Opens a device, or an object below another of its files, by a name that may have parameters in it.
    ///
    /// # Safety
    /// `device` is the address of a device object.
    pub(crate) unsafe fn create_below(
        device: usize,
        related: Option<Arc<DeviceFile>>,
        name: &[u8],
        asked: Asked,
    ) -> Result<Arc<Self>, NtStatus> {
        let Ok(bytes) = u16::try_from(name.len()) else { return Err(NtStatus::STATUS_INVALID_PARAMETER) };
        let device = IoGetAttachedDevice(device as *mut DeviceObject);
        object_manager::ObfReferenceObject(device.cast());
        let unit = |pair: &[u8]| u16::from_le_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
        let name: Box<[u16]> = name.chunks(2).map(unit).collect();
        let access = asked.access;
        let object = FileObject {
            object_type: IO_TYPE_FILE as i16,
            object_size: size_of::<FileObject>() as i16,
            device_object: Ptr64(device as u64),
            related_file_object: Ptr64(related.as_ref().map_or(0, |related| related.address() as u64)),
            read_access: u8::from(access & 0x9000_0001 != 0),
            write_access: u8::from(access & 0x5000_0006 != 0),
            file_name: UnicodeString {
                length: bytes,
                maximum_length: bytes,
                buffer: Ptr64(name.as_ptr() as u64),
                ..Default::default()
            },
            ..Default::default()
        };
        let mut file =
            Self { object: Box::new(UnsafeCell::new(object)), name, _related: related, device, opened: false };
        debug_assert!(file.name.len() * 2 >= usize::from(bytes));
        let options = asked.options;
        let security = IoSecurityContext { desired_access: access, full_create_options: options, ..Default::default() };
        let answer = file.send(IRP_MJ_CREATE, asked.cancel.as_deref(), |irp| {
            let stack = next_location(irp);
            let mut location = get(stack);
            location.set_create(CreateParameters {
                security_context: Ptr64(&raw const security as u64),
                options: 1 << 24 | options & 0x00FF_FFFF,
                ..Default::default()
            });
            put(stack, location);
            set_field!(irp, requestor_mode, asked.mode);
        });
        // The parent is one only while the create lasts.
        set_field!(file.object.get(), related_file_object, Ptr64(0));
        if !answer.status.is_success() {
            return Err(answer.status);
        }
        file.opened = true;
        Ok(Arc::new(file))
    }

    /// The device that requests go to.
    pub(crate) fn device(&self) -> *mut DeviceObject {
        self.device
    }

    /// Address of the FILE_OBJECT.
    pub(crate) fn address_of(&self) -> u64 {
        self.object.get() as u64
    }

    unsafe fn send(&self, major: u8, cancel: Option<&CancelCell>, prepare: impl FnOnce(*mut Irp)) -> IoStatusBlock {
        send_until_cancelled(self.device, cancel, |irp| {
            let stack = next_location(irp);
            set_field!(stack, major_function, major);
            set_field!(stack, file_object, Ptr64(self.address() as u64));
            set_field!(irp, original_file_object, Ptr64(self.address() as u64));
            prepare(irp);
        })
    }

    /// A control request.
    ///
    /// # Safety
    /// The buffers are as the request says.
    pub(crate) unsafe fn control(&self, request: &ControlRequest) -> IoStatusBlock {
        control_at(self.device as u64, self.address() as u64, 0, request)
    }

    /// A read or a write.
    ///
    /// # Safety
    /// The buffer has that length.
    pub(crate) unsafe fn transfer(&self, writes: bool, buffer: *mut u8, length: u32, offset: i64) -> IoStatusBlock {
        let transfer = Transfer { writes, buffer: buffer as u64, length, key: 0, offset };
        transfer_at(self.device as u64, self.address() as u64, 0, &transfer)
    }
}

/// A read or a write of a file.
pub(crate) struct Transfer {
    pub(crate) writes: bool,
    pub(crate) buffer: u64,
    pub(crate) length: u32,
    /// Of a locked range.
    pub(crate) key: u32,
    pub(crate) offset: i64,
}

/// Sends a request that ends by itself, and waits.
unsafe fn call(
    device: *mut DeviceObject,
    file: u64,
    mode: u8,
    build: impl FnOnce(u64, *mut IoStatusBlock) -> *mut Irp,
) -> IoStatusBlock {
    let mut ended = [0u64; 3];
    let mut answer = IoStatusBlock::default();
    let block = Block::at(ended.as_mut_ptr().cast());
    event::KeInitializeEvent(block, 0, 0);
    let irp = build(ended.as_mut_ptr() as u64, &raw mut answer);
    let status = start(device, file, mode, irp);
    if irp.is_null() {
        return IoStatusBlock { status, ..Default::default() };
    }
    let _ = wait::KeWaitForSingleObject(block, 0, 0, 0, Block::NULL);
    if answer.status == STATUS_SUCCESS && status.is_error() { IoStatusBlock { status, ..answer } } else { answer }
}

/// Sends a request that ends by itself.
unsafe fn start(device: *mut DeviceObject, file: u64, mode: u8, irp: *mut Irp) -> NtStatus {
    if irp.is_null() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    set_field!(next_location(irp), file_object, Ptr64(file));
    set_field!(irp, original_file_object, Ptr64(file));
    set_field!(irp, requestor_mode, mode);
    IofCallDriver(device, irp)
}

/// A control request of a requestor of this mode on a file of a device, and its end.
///
/// # Safety
/// `device` is the address of a device object, `file` of a file object of it, and the buffers are as the request says.
pub(crate) unsafe fn control_at(device: u64, file: u64, mode: u8, request: &ControlRequest) -> IoStatusBlock {
    let device = device as *mut DeviceObject;
    call(device, file, mode, |event, answer| build_control(device, request, event, answer))
}

unsafe fn build_control(
    device: *mut DeviceObject,
    request: &ControlRequest,
    event: u64,
    answer: *mut IoStatusBlock,
) -> *mut Irp {
    let (input, output) = (request.input as *const u8, request.output as *mut u8);
    let (input_bytes, output_bytes) = (request.input_bytes, request.output_bytes);
    IoBuildDeviceIoControlRequest(request.code, device, input, input_bytes, output, output_bytes, 0, event, answer)
}

/// Whom a request that goes on by itself tells of its end: an event, the place of the answer, and a completion routine with
/// its context and when it is called, as IoSetCompletionRoutine has it.
pub(crate) struct Told {
    pub(crate) event: u64,
    pub(crate) answer: u64,
    pub(crate) routine: u64,
    pub(crate) context: u64,
    pub(crate) on: [u8; 3],
}

/// Starts a control request; its end is told.
///
/// # Safety
/// As of [`control_at`], and what is told is there until then.
pub(crate) unsafe fn start_control(
    device: u64,
    file: u64,
    mode: u8,
    request: &ControlRequest,
    told: &Told,
) -> NtStatus {
    let device = device as *mut DeviceObject;
    let irp = build_control(device, request, told.event, told.answer as *mut IoStatusBlock);
    tell(device, irp, told);
    start(device, file, mode, irp)
}

/// As [`control_at`], with a completion routine that is told; its event and place of the answer are not used.
///
/// # Safety
/// As of [`start_control`].
pub(crate) unsafe fn control_and_tell(
    device: u64,
    file: u64,
    mode: u8,
    request: &ControlRequest,
    told: &Told,
) -> IoStatusBlock {
    let device = device as *mut DeviceObject;
    call(device, file, mode, |event, answer| {
        let irp = build_control(device, request, event, answer);
        tell(device, irp, told);
        irp
    })
}

unsafe fn tell(device: *mut DeviceObject, irp: *mut Irp, told: &Told) {
    if !irp.is_null() && told.routine != 0 {
        let [success, error, cancel] = told.on;
        let _ = IoSetCompletionRoutineEx(device, irp, told.routine, told.context, success, error, cancel);
    }
}

unsafe fn build_transfer(
    device: *mut DeviceObject,
    transfer: &Transfer,
    event: u64,
    answer: *mut IoStatusBlock,
) -> *mut Irp {
    let major = if transfer.writes { IRP_MJ_WRITE } else { IRP_MJ_READ };
    let (buffer, offset) = (transfer.buffer as *mut u8, &raw const transfer.offset);
    let irp = IoBuildSynchronousFsdRequest(major.into(), device, buffer, transfer.length, offset, event, answer);
    if !irp.is_null() {
        let stack = next_location(irp);
        let mut location = get(stack);
        let parameters = location.read_write();
        location.set_read_write(ReadWriteParameters { key: transfer.key, ..parameters });
        put(stack, location);
    }
    irp
}

/// A read or a write of a file of a device, and its end.
///
/// # Safety
/// `device` is the address of a device object, `file` of a file object of it, and the buffer has that length.
pub(crate) unsafe fn transfer_at(device: u64, file: u64, mode: u8, transfer: &Transfer) -> IoStatusBlock {
    let device = device as *mut DeviceObject;
    call(device, file, mode, |event, answer| build_transfer(device, transfer, event, answer))
}

/// Starts a read or a write; at its end the answer is written and the event set.
///
/// # Safety
/// As of [`transfer_at`], and the event and the place of the answer are there until then.
pub(crate) unsafe fn start_transfer(
    device: u64,
    file: u64,
    mode: u8,
    transfer: &Transfer,
    event: u64,
    answer: u64,
) -> NtStatus {
    let device = device as *mut DeviceObject;
    start(device, file, mode, build_transfer(device, transfer, event, answer as *mut IoStatusBlock))
}

/// Opens a device by name; the file object has a reference, which keeps the device.
pub(crate) unsafe extern "win64" fn IoGetDeviceObjectPointer(
    name: *const UnicodeString,
    access: u32,
    file: *mut *mut u8,
    device: *mut *mut DeviceObject,
) -> NtStatus {
    put(file, ptr::null_mut());
    put(device, ptr::null_mut());
    let Some((found, rest)) = io_name::device(&text(name)) else { return NtStatus::STATUS_OBJECT_NAME_NOT_FOUND };
    match DeviceFile::create(found, &rest, access, 0) {
        Ok(opened) => {
            put(file, opened.address());
            put(device, opened.device);
            object_manager::reference(opened);
            STATUS_SUCCESS
        }
        Err(status) => status,
    }
}

/// The top of the stack of a file object's device.
pub(crate) unsafe extern "win64" fn IoGetRelatedDeviceObject(file: *mut FileObject) -> *mut DeviceObject {
    IoGetAttachedDevice(field!(file, device_object).0 as *mut DeviceObject)
}

/// No file object has a volume of its own.
pub(crate) unsafe extern "win64" fn IoGetBaseFileSystemDeviceObject(file: *mut FileObject) -> *mut DeviceObject {
    field!(file, device_object).0 as *mut DeviceObject
}

/// The device file of an object, if it is one.
#[allow(dead_code, reason = "for whoever hosts the driver")]
pub(crate) fn of(object: Arc<dyn Object>) -> Option<Arc<DeviceFile>> {
    let object: Arc<dyn Any + Send + Sync> = object;
    object.downcast().ok()
}
