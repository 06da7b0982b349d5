//! Keys by handle.

#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "each routine trusts its caller's addresses, as its documentation page says"
)]

use core::ptr;
use std::sync::Arc;

use ks_abi::kernel::UnicodeString;
use ks_abi::pointer::Ptr64;
use ks_abi::status::{
    NtStatus, STATUS_BUFFER_OVERFLOW, STATUS_BUFFER_TOO_SMALL, STATUS_INVALID_HANDLE, STATUS_INVALID_PARAMETER,
    STATUS_NO_MORE_ENTRIES, STATUS_SUCCESS,
};

use super::driver_memory::{bytes, field, put, put_bytes, put_optional, text};
use super::object_manager::{self, Kind, Object};
use super::registry::{self, KeyId, Value};
use crate::exports;
use crate::exports::Export;

/// Exports of this file.
pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    ZwOpenKey, ZwOpenKeyEx, ZwCreateKey, ZwQueryValueKey, ZwSetValueKey, ZwEnumerateKey, ZwEnumerateValueKey, ZwQueryKey,
    ZwDeleteKey, ZwDeleteValueKey, ZwFlushKey, IoOpenDeviceRegistryKey, IoOpenDeviceInterfaceRegistryKey,
    IoOpenDriverRegistryKey,
);

/// What a routine that opens something is told.
#[doc(alias = "OBJECT_ATTRIBUTES")]
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct ObjectAttributes {
    length: u32,
    _padding1: u32,
    /// A handle that the name is relative to.
    pub(crate) root: u64,
    /// The name.
    pub(crate) name: Ptr64,
    /// `OBJ_*`.
    pub(crate) attributes: u32,
    _padding2: u32,
    security_descriptor: Ptr64,
    security_qos: Ptr64,
}

/// An open key.
struct OpenKey(KeyId);

impl Object for OpenKey {
    fn kind(&self) -> Kind {
        Kind::Key
    }

    fn address(&self) -> *mut u8 {
        ptr::null_mut()
    }
}

/// A new handle of a key.
pub(super) fn open_handle(key: KeyId, access: u32) -> u64 {
    object_manager::open(Arc::new(OpenKey(key)), access)
}

/// The key of a handle.
pub(crate) fn key_of(handle: u64) -> Result<KeyId, NtStatus> {
    object_manager::typed::<OpenKey>(handle).map(|key| key.0)
}

fn status(result: Result<(), NtStatus>) -> NtStatus {
    result.err().unwrap_or(STATUS_SUCCESS)
}

unsafe fn named(attributes: *const ObjectAttributes) -> Result<(KeyId, String), NtStatus> {
    if attributes.is_null() {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let root = match field!(attributes, root) {
        0 => 0,
        root => key_of(root)?,
    };
    Ok((root, text(field!(attributes, name).0 as *const UnicodeString)))
}

pub(crate) unsafe extern "win64" fn ZwOpenKey(
    handle: *mut u64,
    access: u32,
    attributes: *const ObjectAttributes,
) -> NtStatus {
    put(handle, 0);
    let opened = named(attributes).and_then(|(root, path)| registry::tree().open(root, &path));
    status(opened.map(|key| put(handle, open_handle(key, access))))
}

pub(crate) unsafe extern "win64" fn ZwOpenKeyEx(
    handle: *mut u64,
    access: u32,
    attributes: *const ObjectAttributes,
    _options: u32,
) -> NtStatus {
    ZwOpenKey(handle, access, attributes)
}

/// Makes only the last key of the path; disposition: 1 it was made, 2 it was there.
pub(crate) unsafe extern "win64" fn ZwCreateKey(
    handle: *mut u64,
    access: u32,
    attributes: *const ObjectAttributes,
    _title: u32,
    _class: *const UnicodeString,
    _options: u32,
    disposition: *mut u32,
) -> NtStatus {
    put(handle, 0);
    let made = named(attributes).and_then(|(root, path)| {
        let mut tree = registry::tree();
        if let Ok(key) = tree.open(root, &path) {
            return Ok((key, 2));
        }
        let (parent, name) = path.trim_end_matches('\\').rsplit_once('\\').unwrap_or(("", &path));
        let parent = tree.open(root, parent)?;
        tree.create(parent, name).map(|key| (key, 1))
    });
    status(made.map(|(key, how)| {
        put(handle, open_handle(key, access));
        put_optional(disposition, how);
    }))
}

/// Writes what fits of an answer whose first `fixed` bytes must fit, and its size.
unsafe fn answer(to: *mut u8, room: u32, needed: *mut u32, fixed: usize, whole: &[u8]) -> NtStatus {
    put_optional(needed, whole.len() as u32);
    let room = room as usize;
    if room < fixed.min(whole.len()) {
        return STATUS_BUFFER_TOO_SMALL;
    }
    put_bytes(to, &whole[..room.min(whole.len())]);
    if room < whole.len() { STATUS_BUFFER_OVERFLOW } else { STATUS_SUCCESS }
}

fn units(name: &str) -> Vec<u8> {
    name.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A value as KEY_VALUE_*_INFORMATION, and the size of its fixed part.
fn value_information(value: &Value, class: u32) -> Option<(usize, Vec<u8>)> {
    let name = units(&value.name);
    let (name_length, length) = (name.len() as u32, value.data.len() as u32);
    Some(match class {
        0 => (12, [words(&[0, value.kind, name_length]), name].concat()),
        // KeyValueFullInformation, and the form whose data is aligned.
        1 | 3 => {
            let offset = (20 + name.len()).next_multiple_of(if class == 3 { 8 } else { 4 });
            let mut whole = [words(&[0, value.kind, offset as u32, length, name_length]), name].concat();
            whole.resize(offset, 0);
            whole.extend(&value.data);
            (20, whole)
        }
        2 => (12, [words(&[0, value.kind, length]), value.data.clone()].concat()),
        4 => (8, [words(&[value.kind, length]), value.data.clone()].concat()),
        _ => return None,
    })
}

pub(crate) unsafe extern "win64" fn ZwQueryValueKey(
    handle: u64,
    name: *const UnicodeString,
    class: u32,
    to: *mut u8,
    room: u32,
    needed: *mut u32,
) -> NtStatus {
    let value = match key_of(handle).and_then(|key| registry::tree().value(key, &text(name))) {
        Ok(value) => value,
        Err(status) => return status,
    };
    match value_information(&value, class) {
        Some((fixed, whole)) => answer(to, room, needed, fixed, &whole),
        None => STATUS_INVALID_PARAMETER,
    }
}

pub(crate) unsafe extern "win64" fn ZwEnumerateValueKey(
    handle: u64,
    index: u32,
    class: u32,
    to: *mut u8,
    room: u32,
    needed: *mut u32,
) -> NtStatus {
    let value = key_of(handle)
        .and_then(|key| registry::tree().values(key)?.get(index as usize).cloned().ok_or(STATUS_NO_MORE_ENTRIES));
    let value = match value {
        Ok(value) => value,
        Err(status) => return status,
    };
    match value_information(&value, class) {
        Some((fixed, whole)) => answer(to, room, needed, fixed, &whole),
        None => STATUS_INVALID_PARAMETER,
    }
}

/// A key as KEY_*_INFORMATION, and the size of its fixed part.
fn key_information(key: KeyId, class: u32) -> Result<(usize, Vec<u8>), NtStatus> {
    let tree = registry::tree();
    let name = units(&tree.name(key)?);
    let time = 0u64.to_le_bytes().to_vec();
    let none = u32::MAX;
    Ok(match class {
        0 => (16, [time, words(&[0, name.len() as u32]), name].concat()),
        1 => (24, [time, words(&[0, none, 0, name.len() as u32]), name].concat()),
        2 => {
            let children = tree.children(key)?;
            let longest_child =
                children.iter().filter_map(|child| tree.name(*child).ok()).map(|name| units(&name).len());
            let values = tree.values(key)?;
            let longest_name = values.iter().map(|value| units(&value.name).len()).max().unwrap_or(0);
            let longest_data = values.iter().map(|value| value.data.len()).max().unwrap_or(0);
            let counts = [
                0,
                none,
                0,
                children.len() as u32,
                longest_child.max().unwrap_or(0) as u32,
                0,
                values.len() as u32,
                longest_name as u32,
                longest_data as u32,
            ];
            (44, [time, words(&counts)].concat())
        }
        3 => {
            let path = units(&tree.path(key)?);
            (4, [words(&[path.len() as u32]), path].concat())
        }
        _ => return Err(STATUS_INVALID_PARAMETER),
    })
}

pub(crate) unsafe extern "win64" fn ZwEnumerateKey(
    handle: u64,
    index: u32,
    class: u32,
    to: *mut u8,
    room: u32,
    needed: *mut u32,
) -> NtStatus {
    let child = key_of(handle)
        .and_then(|key| registry::tree().children(key)?.get(index as usize).copied().ok_or(STATUS_NO_MORE_ENTRIES));
    match child.and_then(|child| key_information(child, class)) {
        Ok((fixed, whole)) => answer(to, room, needed, fixed, &whole),
        Err(status) => status,
    }
}

pub(crate) unsafe extern "win64" fn ZwQueryKey(
    handle: u64,
    class: u32,
    to: *mut u8,
    room: u32,
    needed: *mut u32,
) -> NtStatus {
    match key_of(handle).and_then(|key| key_information(key, class)) {
        Ok((fixed, whole)) => answer(to, room, needed, fixed, &whole),
        Err(status) => status,
    }
}

pub(crate) unsafe extern "win64" fn ZwSetValueKey(
    handle: u64,
    name: *const UnicodeString,
    _title: u32,
    kind: u32,
    data: *const u8,
    length: u32,
) -> NtStatus {
    let data = bytes(data, length as usize);
    status(key_of(handle).and_then(|key| registry::tree().set(key, &text(name), kind, data)))
}

pub(crate) unsafe extern "win64" fn ZwDeleteKey(handle: u64) -> NtStatus {
    status(key_of(handle).and_then(|key| registry::tree().delete(key)))
}

pub(crate) unsafe extern "win64" fn ZwDeleteValueKey(handle: u64, name: *const UnicodeString) -> NtStatus {
    status(key_of(handle).and_then(|key| registry::tree().delete_value(key, &text(name))))
}

/// There is nothing behind the memory.
pub(crate) unsafe extern "win64" fn ZwFlushKey(handle: u64) -> NtStatus {
    if key_of(handle).is_ok() { STATUS_SUCCESS } else { STATUS_INVALID_HANDLE }
}

unsafe fn open_known(which: registry::Known, subkey: &str, access: u32, handle: *mut u64) -> NtStatus {
    put(handle, 0);
    let path = format!("{}{subkey}", registry::known_path(which));
    let key = registry::tree().create(0, &path);
    status(key.map(|key| put(handle, open_handle(key, access))))
}

/// `which`: bit 0 asks for the hardware key of a device, bit 1 for its driver key.
pub(crate) unsafe extern "win64" fn IoOpenDeviceRegistryKey(
    device: u64,
    which: u32,
    access: u32,
    handle: *mut u64,
) -> NtStatus {
    const DEVICE: u32 = 1;
    const DRIVER: u32 = 2;
    put(handle, 0);
    match which & 3 {
        _ if device == 0 => STATUS_INVALID_PARAMETER,
        DEVICE => open_known(registry::Known::Device, "", access, handle),
        DRIVER => open_known(registry::Known::Driver, "", access, handle),
        _ => STATUS_INVALID_PARAMETER,
    }
}

/// All interfaces share one key, that which the registry file may fill.
pub(crate) unsafe extern "win64" fn IoOpenDeviceInterfaceRegistryKey(
    link: *const UnicodeString,
    access: u32,
    handle: *mut u64,
) -> NtStatus {
    put(handle, 0);
    if link.is_null() || field!(link, length) == 0 {
        return STATUS_INVALID_PARAMETER;
    }
    open_known(registry::Known::Interface, "", access, handle)
}

/// `which`: 0 the key of parameters, 1 that of persistent state.
pub(crate) unsafe extern "win64" fn IoOpenDriverRegistryKey(
    _driver: u64,
    which: u32,
    access: u32,
    _flags: u32,
    handle: *mut u64,
) -> NtStatus {
    put(handle, 0);
    match which {
        0 => open_known(registry::Known::Parameters, "", access, handle),
        1 => open_known(registry::Known::Parameters, "\\PersistentState", access, handle),
        _ => STATUS_INVALID_PARAMETER,
    }
}
