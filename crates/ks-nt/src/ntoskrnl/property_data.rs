//! Properties of the unified device property model, of devices and of device interfaces: what a driver sets, it reads.

#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "each routine trusts its caller's addresses, as its documentation page says"
)]

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ks_abi::kernel::UnicodeString;
use ks_abi::status::{
    NtStatus, STATUS_BUFFER_TOO_SMALL, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER,
    STATUS_OBJECT_NAME_NOT_FOUND, STATUS_SUCCESS,
};

use super::driver_memory::{bytes, get, put_bytes, put_optional, text};
use super::io_interface;
use crate::exports;
use crate::exports::Export;

/// Exports of this file.
pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    IoGetDevicePropertyData, IoSetDevicePropertyData, IoGetDeviceInterfacePropertyData,
    IoSetDeviceInterfacePropertyData,
);

/// `DEVPROP_TYPE_EMPTY`: setting it deletes the property.
const EMPTY: u32 = 0;
/// The most properties that a driver's devices have together, and the most bytes of one.
const MOST_PROPERTIES: usize = 4096;
const MOST_BYTES: u32 = 64 << 10;

/// Whose property.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Device(u64),
    /// By its symbolic link, in small letters.
    Interface(String),
}

/// A `DEVPROPKEY`: the GUID of its category and its number.
type Key = [u8; 20];

struct Property {
    kind: u32,
    data: Vec<u8>,
}

static PROPERTIES: Mutex<BTreeMap<(Owner, Key, u32), Property>> = Mutex::new(BTreeMap::new());

fn properties() -> MutexGuard<'static, BTreeMap<(Owner, Key, u32), Property>> {
    PROPERTIES.lock().unwrap_or_else(PoisonError::into_inner)
}

unsafe fn set(owner: Owner, key: *const Key, locale: u32, kind: u32, length: u32, data: *const u8) -> NtStatus {
    if key.is_null() || length > MOST_BYTES || (data.is_null() && length > 0) {
        return STATUS_INVALID_PARAMETER;
    }
    let place = (owner, get(key), locale);
    let mut properties = properties();
    if kind == EMPTY {
        return match properties.remove(&place) {
            Some(_) => STATUS_SUCCESS,
            None => STATUS_OBJECT_NAME_NOT_FOUND,
        };
    }
    if properties.len() >= MOST_PROPERTIES && !properties.contains_key(&place) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let data = if length == 0 { Vec::new() } else { bytes(data, length as usize) };
    properties.insert(place, Property { kind, data });
    STATUS_SUCCESS
}

unsafe fn read(
    owner: Owner,
    key: *const Key,
    locale: u32,
    room: u32,
    to: *mut u8,
    needed: *mut u32,
    kind: *mut u32,
) -> NtStatus {
    if key.is_null() || (to.is_null() && room > 0) {
        return STATUS_INVALID_PARAMETER;
    }
    put_optional(needed, 0);
    put_optional(kind, EMPTY);
    let properties = properties();
    let Some(property) = properties.get(&(owner, get(key), locale)) else { return STATUS_OBJECT_NAME_NOT_FOUND };
    put_optional(needed, property.data.len() as u32);
    put_optional(kind, property.kind);
    if (room as usize) < property.data.len() {
        return STATUS_BUFFER_TOO_SMALL;
    }
    put_bytes(to, &property.data);
    STATUS_SUCCESS
}

/// The interface that a link names; `None`: there is none, neither the driver's own nor one of the engine's filters.
unsafe fn interface(link: *const UnicodeString) -> Option<Owner> {
    if link.is_null() {
        return None;
    }
    let link = text(link);
    io_interface::is_link(&link).then(|| Owner::Interface(link.to_lowercase()))
}

/// Reads what [`IoSetDevicePropertyData`] has set.
pub(crate) unsafe extern "win64" fn IoGetDevicePropertyData(
    device: u64,
    key: *const Key,
    locale: u32,
    _flags: u32,
    room: u32,
    to: *mut u8,
    needed: *mut u32,
    kind: *mut u32,
) -> NtStatus {
    if device == 0 {
        return STATUS_INVALID_PARAMETER;
    }
    read(Owner::Device(device), key, locale, room, to, needed, kind)
}

/// Sets a property of a device, or deletes it; persistent or not, it lasts as long as this process.
pub(crate) unsafe extern "win64" fn IoSetDevicePropertyData(
    device: u64,
    key: *const Key,
    locale: u32,
    _flags: u32,
    kind: u32,
    length: u32,
    data: *const u8,
) -> NtStatus {
    if device == 0 {
        return STATUS_INVALID_PARAMETER;
    }
    set(Owner::Device(device), key, locale, kind, length, data)
}

/// Reads what [`IoSetDeviceInterfacePropertyData`] has set.
pub(crate) unsafe extern "win64" fn IoGetDeviceInterfacePropertyData(
    link: *const UnicodeString,
    key: *const Key,
    locale: u32,
    _flags: u32,
    room: u32,
    to: *mut u8,
    needed: *mut u32,
    kind: *mut u32,
) -> NtStatus {
    match interface(link) {
        Some(owner) => read(owner, key, locale, room, to, needed, kind),
        None => STATUS_OBJECT_NAME_NOT_FOUND,
    }
}

/// Sets a property of a device interface, or deletes it; persistent or not, it lasts as long as this process.
pub(crate) unsafe extern "win64" fn IoSetDeviceInterfacePropertyData(
    link: *const UnicodeString,
    key: *const Key,
    locale: u32,
    _flags: u32,
    kind: u32,
    length: u32,
    data: *const u8,
) -> NtStatus {
    match interface(link) {
        Some(owner) => set(owner, key, locale, kind, length, data),
        None => STATUS_OBJECT_NAME_NOT_FOUND,
    }
}
