//! Device objects and their stacks.

#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "each routine trusts its caller's addresses, as its documentation page says"
)]

use core::mem::size_of;
use core::ptr;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use ks_abi::kernel::{DO_DEVICE_INITIALIZING, DO_EXCLUSIVE, DeviceObject, DriverObject, IO_TYPE_DEVICE, UnicodeString};
use ks_abi::pointer::Ptr64;
use ks_abi::status::{
    NtStatus, STATUS_DEVICE_ALREADY_ATTACHED, STATUS_INSUFFICIENT_RESOURCES, STATUS_NO_SUCH_DEVICE,
    STATUS_OBJECT_NAME_COLLISION, STATUS_OBJECT_NAME_NOT_FOUND, STATUS_SUCCESS,
};

use super::driver_memory::{allocate_pool, field, put, set_field, text};
use super::io_name;
use super::object_manager::{self, Kind, Object};
use crate::exports;
use crate::exports::Export;
use crate::report::{self, BugCheck};

/// Exports of this file.
pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    IoCreateDevice, IoDeleteDevice, IoAttachDevice, IoAttachDeviceToDeviceStack, IoAttachDeviceToDeviceStackSafe,
    IoDetachDevice, IoGetAttachedDevice, IoGetAttachedDeviceReference, IoGetLowerDeviceObject,
    IoGetDeviceAttachmentBaseRef, IoAllocateDriverObjectExtension, IoGetDriverObjectExtension,
    IoRegisterDriverReinitialization, IoRegisterBootDriverReinitialization, IoSetStartIoAttributes,
    IoRegisterShutdownNotification, IoRegisterLastChanceShutdownNotification, IoUnregisterShutdownNotification,
    IoIsWdmVersionAvailable, IoGetConfigurationInformation,
);

/// The memory of a device object with its extension; it lives as long as a reference to it.
struct Device {
    memory: *mut u8,
    layout: Layout,
}

// SAFETY: the memory is a driver's; whoever accesses it does so by the driver's rules.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

impl Object for Device {
    fn kind(&self) -> Kind {
        Kind::Device
    }

    fn address(&self) -> *mut u8 {
        self.memory
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: the memory was allocated with this layout, and nothing refers to the device any more.
        unsafe { dealloc(self.memory, self.layout) }
    }
}

#[derive(Default)]
struct Devices {
    /// Devices that were not deleted.
    alive: HashMap<usize, Arc<dyn Object>>,
    /// The device that each is attached to.
    lower: HashMap<usize, usize>,
    /// Extensions of driver objects, by driver and by the driver's key.
    extensions: HashMap<(usize, u64), usize>,
}

static DEVICES: LazyLock<Mutex<Devices>> = LazyLock::new(Mutex::default);

fn devices() -> MutexGuard<'static, Devices> {
    DEVICES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Devices of a driver that it did not delete, for a report at its unload.
#[allow(dead_code, reason = "for whoever hosts the driver")]
pub(crate) fn alive() -> usize {
    devices().alive.len()
}

pub(crate) unsafe extern "win64" fn IoCreateDevice(
    driver: *mut DriverObject,
    extension_bytes: u32,
    name: *const UnicodeString,
    device_type: u32,
    characteristics: u32,
    exclusive: u8,
    device: *mut *mut DeviceObject,
) -> NtStatus {
    put(device, ptr::null_mut());
    let bytes = size_of::<DeviceObject>() + extension_bytes as usize;
    let Ok(layout) = Layout::from_size_align(bytes, 16) else { return STATUS_INSUFFICIENT_RESOURCES };
    let memory = alloc_zeroed(layout);
    if memory.is_null() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let made: Arc<dyn Object> = Arc::new(Device { memory, layout });
    if !name.is_null() && !io_name::insert_device(&text(name), memory as usize) {
        return STATUS_OBJECT_NAME_COLLISION;
    }
    let object = memory.cast::<DeviceObject>();
    set_field!(object, object_type, IO_TYPE_DEVICE as i16);
    set_field!(object, object_size, bytes as u16);
    set_field!(object, flags, DO_DEVICE_INITIALIZING | if exclusive != 0 { DO_EXCLUSIVE } else { 0 });
    set_field!(object, characteristics, characteristics);
    set_field!(object, device_type, device_type);
    set_field!(object, stack_size, 1);
    if extension_bytes != 0 {
        set_field!(object, device_extension, Ptr64(object.wrapping_add(1) as u64));
    }
    let list = Ptr64(&raw mut (*object).device_queue.device_list_head as u64);
    set_field!(object, device_queue.device_list_head.next, list);
    set_field!(object, device_queue.device_list_head.previous, list);
    set_field!(object, driver_object, Ptr64(driver as u64));
    if !driver.is_null() {
        set_field!(object, next_device, field!(driver, device_object));
        set_field!(driver, device_object, Ptr64(object as u64));
    }
    object_manager::publish(&made);
    devices().alive.insert(memory as usize, made);
    put(device, object);
    STATUS_SUCCESS
}

/// The memory goes with the last reference.
pub(crate) unsafe extern "win64" fn IoDeleteDevice(device: *mut DeviceObject) {
    let removed = devices().alive.remove(&(device as usize));
    if removed.is_none() {
        report::misuse(
            BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION,
            "IoDeleteDevice",
            format!("there is no device at {device:?}; was it deleted before?"),
        );
        return;
    }
    if devices().lower.contains_key(&(device as usize)) {
        report::misuse(
            BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION,
            "IoDeleteDevice",
            format!("the device at {device:?} is still attached to another"),
        );
    }
    io_name::remove_device(device as usize);
    unlink(device);
}

unsafe fn unlink(device: *mut DeviceObject) {
    let driver = field!(device, driver_object).0 as *mut DriverObject;
    if driver.is_null() {
        return;
    }
    let next = field!(device, next_device);
    if field!(driver, device_object).0 == device as u64 {
        set_field!(driver, device_object, next);
        return;
    }
    let mut at = field!(driver, device_object).0 as *mut DeviceObject;
    while !at.is_null() {
        if field!(at, next_device).0 == device as u64 {
            set_field!(at, next_device, next);
            return;
        }
        at = field!(at, next_device).0 as *mut DeviceObject;
    }
}

/// The top of a stack.
pub(crate) unsafe extern "win64" fn IoGetAttachedDevice(device: *mut DeviceObject) -> *mut DeviceObject {
    let mut top = device;
    while !field!(top, attached_device).is_null() {
        top = field!(top, attached_device).0 as *mut DeviceObject;
    }
    top
}

pub(crate) unsafe extern "win64" fn IoGetAttachedDeviceReference(device: *mut DeviceObject) -> *mut DeviceObject {
    let top = IoGetAttachedDevice(device);
    object_manager::ObfReferenceObject(top.cast());
    top
}

/// The device that this one is attached to, with a reference; NULL at the bottom.
pub(crate) unsafe extern "win64" fn IoGetLowerDeviceObject(device: *mut DeviceObject) -> *mut DeviceObject {
    let lower = devices().lower.get(&(device as usize)).copied().unwrap_or(0) as *mut DeviceObject;
    if !lower.is_null() {
        object_manager::ObfReferenceObject(lower.cast());
    }
    lower
}

/// The bottom of a stack, with a reference.
pub(crate) unsafe extern "win64" fn IoGetDeviceAttachmentBaseRef(device: *mut DeviceObject) -> *mut DeviceObject {
    let mut bottom = device as usize;
    let devices = devices();
    while let Some(lower) = devices.lower.get(&bottom) {
        bottom = *lower;
    }
    drop(devices);
    object_manager::ObfReferenceObject(bottom as *mut u8);
    bottom as *mut DeviceObject
}

/// Puts a device on top of a stack, and returns what it now is on top of.
pub(crate) unsafe extern "win64" fn IoAttachDeviceToDeviceStack(
    source: *mut DeviceObject,
    target: *mut DeviceObject,
) -> *mut DeviceObject {
    let top = IoGetAttachedDevice(target);
    set_field!(top, attached_device, Ptr64(source as u64));
    set_field!(source, stack_size, field!(top, stack_size).saturating_add(1));
    set_field!(source, alignment_requirement, field!(top, alignment_requirement));
    devices().lower.insert(source as usize, top as usize);
    top
}

pub(crate) unsafe extern "win64" fn IoAttachDeviceToDeviceStackSafe(
    source: *mut DeviceObject,
    target: *mut DeviceObject,
    attached_to: *mut *mut DeviceObject,
) -> NtStatus {
    if devices().lower.contains_key(&(source as usize)) {
        return STATUS_DEVICE_ALREADY_ATTACHED;
    }
    put(attached_to, IoAttachDeviceToDeviceStack(source, target));
    STATUS_SUCCESS
}

/// By the name of a device of this process.
pub(crate) unsafe extern "win64" fn IoAttachDevice(
    source: *mut DeviceObject,
    target: *const UnicodeString,
    attached_to: *mut *mut DeviceObject,
) -> NtStatus {
    match io_name::device(&text(target)) {
        Some((device, rest)) if rest.is_empty() => {
            IoAttachDeviceToDeviceStackSafe(source, device as *mut DeviceObject, attached_to)
        }
        _ => STATUS_OBJECT_NAME_NOT_FOUND,
    }
}

/// Takes off whatever is attached to a device.
pub(crate) unsafe extern "win64" fn IoDetachDevice(target: *mut DeviceObject) {
    let upper = field!(target, attached_device);
    if upper.is_null() {
        report::misuse(
            BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION,
            "IoDetachDevice",
            format!("nothing is attached to the device at {target:?}"),
        );
        return;
    }
    set_field!(target, attached_device, Ptr64::NULL);
    devices().lower.remove(&(upper.0 as usize));
}

const EXTENSION_TAG: u32 = u32::from_le_bytes(*b"DrvE");

/// Zeroed memory for a driver object, found again by its key.
pub(crate) unsafe extern "win64" fn IoAllocateDriverObjectExtension(
    driver: *mut DriverObject,
    key: u64,
    bytes: u32,
    extension: *mut *mut u8,
) -> NtStatus {
    put(extension, ptr::null_mut());
    let mut devices = devices();
    if devices.extensions.contains_key(&(driver as usize, key)) {
        return STATUS_OBJECT_NAME_COLLISION;
    }
    let memory = allocate_pool(bytes as usize, EXTENSION_TAG);
    if memory.is_null() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    memory.write_bytes(0, bytes as usize);
    devices.extensions.insert((driver as usize, key), memory as usize);
    put(extension, memory);
    STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn IoGetDriverObjectExtension(driver: *mut DriverObject, key: u64) -> *mut u8 {
    devices().extensions.get(&(driver as usize, key)).copied().unwrap_or(0) as *mut u8
}

/// Frees the extensions of a driver object that goes away.
#[allow(dead_code, reason = "for whoever hosts the driver")]
pub(crate) unsafe fn free_extensions(driver: *mut DriverObject) {
    let mut devices = devices();
    let keys: Vec<_> = devices.extensions.keys().copied().filter(|(owner, _)| *owner == driver as usize).collect();
    for key in keys {
        if let Some(memory) = devices.extensions.remove(&key) {
            super::driver_memory::free_pool(memory as *mut u8);
        }
    }
}

/// No driver starts so early here that it must come again.
pub(crate) unsafe extern "win64" fn IoRegisterDriverReinitialization(_driver: u64, _routine: u64, _context: u64) {}

pub(crate) unsafe extern "win64" fn IoRegisterBootDriverReinitialization(_driver: u64, _routine: u64, _context: u64) {}

pub(crate) unsafe extern "win64" fn IoSetStartIoAttributes(_device: u64, _deferred: u8, _non_cancelable: u8) {}

/// The machine is never shut down under a driver; it is unloaded.
pub(crate) unsafe extern "win64" fn IoRegisterShutdownNotification(device: *mut DeviceObject) -> NtStatus {
    if device.is_null() { STATUS_NO_SUCH_DEVICE } else { STATUS_SUCCESS }
}

pub(crate) unsafe extern "win64" fn IoRegisterLastChanceShutdownNotification(device: *mut DeviceObject) -> NtStatus {
    IoRegisterShutdownNotification(device)
}

pub(crate) unsafe extern "win64" fn IoUnregisterShutdownNotification(_device: *mut DeviceObject) {}

/// WDM 6.0, that of Windows Vista and later, and what came before.
pub(crate) unsafe extern "win64" fn IoIsWdmVersionAvailable(major: u8, minor: u8) -> u8 {
    u8::from((major, minor) <= (6, 0))
}

/// CONFIGURATION_INFORMATION: counts of legacy devices, which drivers may raise. There are none.
static CONFIGURATION: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];

pub(crate) unsafe extern "win64" fn IoGetConfigurationInformation() -> *const AtomicU64 {
    CONFIGURATION.as_ptr()
}
