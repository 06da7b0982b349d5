//! The registry without handles: `RtlQueryRegistryValues` and its relatives.

#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "each routine trusts its caller's addresses, as its documentation page says"
)]

use ks_abi::kernel::UnicodeString;
use ks_abi::status::{
    NtStatus, STATUS_BUFFER_TOO_SMALL, STATUS_INVALID_PARAMETER, STATUS_NO_MEMORY, STATUS_OBJECT_NAME_NOT_FOUND,
    STATUS_OBJECT_TYPE_MISMATCH, STATUS_SUCCESS,
};

use super::driver_memory::{bytes, get, put, put_bytes, wide_length, wide_string};
use super::registry::{self, KeyId, REG_EXPAND_SZ, REG_MULTI_SZ, REG_NONE, REG_SZ, Value, string_data};
use super::registry_key::key_of;
use super::rtl_string::{allocate, header};
use crate::exports;
use crate::exports::Export;

/// Exports of this file.
pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    RtlQueryRegistryValues, RtlQueryRegistryValuesEx, RtlCheckRegistryKey, RtlCreateRegistryKey, RtlWriteRegistryValue,
    RtlDeleteRegistryValue,
);

/// What is done with a value.
type QueryRoutine = unsafe extern "win64" fn(*const u16, u32, *const u8, u32, u64, u64) -> NtStatus;

/// One line of a query.
#[doc(alias = "RTL_QUERY_REGISTRY_TABLE")]
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Query {
    routine: Option<QueryRoutine>,
    flags: u32,
    _padding1: u32,
    name: *const u16,
    entry_context: u64,
    default_type: u32,
    _padding2: u32,
    default_data: *const u8,
    default_length: u32,
    _padding3: u32,
}

const SUBKEY: u32 = 0x1;
const TOPKEY: u32 = 0x2;
const REQUIRED: u32 = 0x4;
const NOVALUE: u32 = 0x8;
const NOEXPAND: u32 = 0x10;
const DIRECT: u32 = 0x20;
const DELETE: u32 = 0x40;
const TYPECHECK: u32 = 0x100;

/// Where paths of `relative_to` begin.
const ROOTS: [&str; 6] = [
    "",
    "\\Registry\\Machine\\System\\CurrentControlSet\\Services",
    "\\Registry\\Machine\\System\\CurrentControlSet\\Control",
    "\\Registry\\Machine\\Software\\Microsoft\\Windows NT\\CurrentVersion",
    "\\Registry\\Machine\\Hardware\\DeviceMap",
    "\\Registry\\User\\.Default",
];
const OPTIONAL: u32 = 0x8000_0000;
const HANDLE: u32 = 0x4000_0000;

unsafe fn text(from: *const u16) -> String {
    String::from_utf16_lossy(&wide_string(from))
}

/// Root and path that `relative_to` and `path` mean; with HANDLE, the path is a handle.
unsafe fn place(relative_to: u32, path: *const u16) -> Result<(KeyId, String), NtStatus> {
    let relative_to = relative_to & !OPTIONAL;
    if relative_to & HANDLE != 0 {
        return Ok((key_of(path as u64)?, String::new()));
    }
    let root = ROOTS.get(relative_to as usize).ok_or(STATUS_INVALID_PARAMETER)?;
    let path = text(path);
    Ok((0, if root.is_empty() { path } else { format!("{root}\\{path}") }))
}

unsafe fn open(relative_to: u32, path: *const u16) -> Result<KeyId, NtStatus> {
    let (root, path) = place(relative_to, path)?;
    if root != 0 { Ok(root) } else { registry::tree().open(0, &path) }
}

unsafe fn create(relative_to: u32, path: *const u16) -> Result<KeyId, NtStatus> {
    let (root, path) = place(relative_to, path)?;
    if root != 0 { Ok(root) } else { registry::tree().create(0, &path) }
}

fn status(result: Result<(), NtStatus>) -> NtStatus {
    result.err().unwrap_or(STATUS_SUCCESS)
}

pub(crate) unsafe extern "win64" fn RtlCheckRegistryKey(relative_to: u32, path: *const u16) -> NtStatus {
    status(open(relative_to, path).map(|_| ()))
}

pub(crate) unsafe extern "win64" fn RtlCreateRegistryKey(relative_to: u32, path: *const u16) -> NtStatus {
    status(create(relative_to, path).map(|_| ()))
}

/// Makes the key if it is not there.
pub(crate) unsafe extern "win64" fn RtlWriteRegistryValue(
    relative_to: u32,
    path: *const u16,
    name: *const u16,
    kind: u32,
    data: *const u8,
    length: u32,
) -> NtStatus {
    let data = bytes(data, length as usize);
    status(create(relative_to, path).and_then(|key| registry::tree().set(key, &text(name), kind, data)))
}

pub(crate) unsafe extern "win64" fn RtlDeleteRegistryValue(
    relative_to: u32,
    path: *const u16,
    name: *const u16,
) -> NtStatus {
    status(open(relative_to, path).and_then(|key| registry::tree().delete_value(key, &text(name))))
}

pub(crate) unsafe extern "win64" fn RtlQueryRegistryValuesEx(
    relative_to: u32,
    path: *const u16,
    table: *const Query,
    context: u64,
    environment: *const u8,
) -> NtStatus {
    RtlQueryRegistryValues(relative_to, path, table, context, environment)
}

/// Goes through the table: a line names a subkey for the lines after it, or a value that is handed to a routine or
/// stored directly. The first error ends it.
pub(crate) unsafe extern "win64" fn RtlQueryRegistryValues(
    relative_to: u32,
    path: *const u16,
    table: *const Query,
    context: u64,
    _environment: *const u8,
) -> NtStatus {
    status(query_all(relative_to, path, table, context))
}

unsafe fn query_all(relative_to: u32, path: *const u16, table: *const Query, context: u64) -> Result<(), NtStatus> {
    let top = match open(relative_to, path) {
        Ok(key) => Some(key),
        // Without its key, an optional query has the defaults.
        Err(STATUS_OBJECT_NAME_NOT_FOUND) if relative_to & OPTIONAL != 0 => None,
        Err(status) => return Err(status),
    };
    let mut key = top;
    let mut at = table;
    loop {
        let query = get(at);
        at = at.wrapping_add(1);
        if query.routine.is_none() && query.flags & (SUBKEY | DIRECT) == 0 {
            return Ok(());
        }
        if query.flags & DIRECT != 0 && (query.name.is_null() || query.flags & SUBKEY != 0) {
            return Err(STATUS_INVALID_PARAMETER);
        }
        if query.flags & (TOPKEY | SUBKEY) != 0 {
            key = top;
        }
        if query.flags & SUBKEY != 0 {
            let Some(parent) = top else { continue };
            let name = text(query.name);
            match registry::tree().open(parent, &name) {
                Ok(child) => key = Some(child),
                Err(status) if query.flags & REQUIRED != 0 => return Err(status),
                Err(_) => key = None,
            }
            if let (Some(key), Some(_)) = (key, query.routine) {
                query_every(key, &query, context)?;
            }
        } else if query.flags & NOVALUE != 0 {
            call(&query, None, context)?;
        } else if query.name.is_null() {
            if let Some(key) = key {
                query_every(key, &query, context)?;
            }
        } else {
            query_one(key, &query, context)?;
        }
    }
}

unsafe fn query_every(key: KeyId, query: &Query, context: u64) -> Result<(), NtStatus> {
    let values = registry::tree().values(key)?.to_vec();
    if values.is_empty() && query.flags & REQUIRED != 0 {
        return Err(STATUS_OBJECT_NAME_NOT_FOUND);
    }
    for value in values {
        deliver(query, &value, context)?;
        if query.flags & DELETE != 0 {
            registry::tree().delete_value(key, &value.name)?;
        }
    }
    Ok(())
}

unsafe fn query_one(key: Option<KeyId>, query: &Query, context: u64) -> Result<(), NtStatus> {
    let name = text(query.name);
    let found = match key {
        Some(key) => registry::tree().value(key, &name),
        None => Err(STATUS_OBJECT_NAME_NOT_FOUND),
    };
    let default_type = query.default_type & 0x00FF_FFFF;
    match (found, key) {
        (Ok(value), Some(key)) => {
            let expected = query.default_type >> 24;
            if query.flags & TYPECHECK != 0 && value.kind != expected {
                return Err(STATUS_OBJECT_TYPE_MISMATCH);
            }
            deliver(query, &value, context)?;
            if query.flags & DELETE != 0 {
                registry::tree().delete_value(key, &name)?;
            }
            Ok(())
        }
        _ if query.flags & REQUIRED != 0 => Err(STATUS_OBJECT_NAME_NOT_FOUND),
        _ if default_type == REG_NONE => Ok(()),
        _ => {
            let data = query.default_data;
            // A length of 0 is that of the string.
            let length = match query.default_length {
                0 if data.is_null() => 0,
                0 if default_type == REG_MULTI_SZ => multi_string_bytes(data.cast()),
                0 => (wide_length(data.cast()) + 1) * 2,
                length => length as usize,
            };
            let value = Value { name, kind: default_type, data: bytes(data, length) };
            deliver(query, &value, context)
        }
    }
}

unsafe fn multi_string_bytes(from: *const u16) -> usize {
    let mut units = 0;
    while get(from.wrapping_add(units)) != 0 {
        units += wide_length(from.wrapping_add(units)) + 1;
    }
    (units + 1) * 2
}

/// A value goes where its line says, in the forms that the flags ask for.
unsafe fn deliver(query: &Query, value: &Value, context: u64) -> Result<(), NtStatus> {
    if query.flags & DIRECT != 0 {
        return store(query, value);
    }
    match value.kind {
        REG_MULTI_SZ if query.flags & NOEXPAND == 0 => {
            for text in strings(&value.data) {
                let one = Value { name: value.name.clone(), kind: REG_SZ, data: string_data(&text) };
                call(query, Some(&one), context)?;
            }
            Ok(())
        }
        REG_EXPAND_SZ if query.flags & NOEXPAND == 0 => {
            let text = strings(&value.data).into_iter().next().unwrap_or_default();
            let expanded = Value { name: value.name.clone(), kind: REG_SZ, data: string_data(&expand(&text)) };
            call(query, Some(&expanded), context)
        }
        _ => call(query, Some(value), context),
    }
}

/// The strings before the first empty one.
fn strings(data: &[u8]) -> Vec<String> {
    let units: Vec<u16> = data.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    units.split(|unit| *unit == 0).take_while(|text| !text.is_empty()).map(String::from_utf16_lossy).collect()
}

/// Replaces the variables that a driver knows of a Windows machine.
fn expand(text: &str) -> String {
    text.replace("%SystemRoot%", "\\SystemRoot").replace("%SYSTEMROOT%", "\\SystemRoot")
}

unsafe fn call(query: &Query, value: Option<&Value>, context: u64) -> Result<(), NtStatus> {
    let Some(routine) = query.routine else { return Ok(()) };
    let status = match value {
        Some(value) => {
            let name: Vec<u16> = value.name.encode_utf16().chain([0]).collect();
            let length = value.data.len() as u32;
            // The driver may read a string a little further than its data says.
            let data: Vec<u8> = value.data.iter().copied().chain([0; 8]).collect();
            routine(name.as_ptr(), value.kind, data.as_ptr(), length, context, query.entry_context)
        }
        None => routine(query.name, REG_NONE, core::ptr::null(), 0, context, query.entry_context),
    };
    if status.is_error() { Err(status) } else { Ok(()) }
}

/// Stores a value in the driver's variable: strings in a UNICODE_STRING, up to four bytes as they are, and more in a
/// buffer whose first LONG tells its size, and by its sign whether size and type are stored before the data.
unsafe fn store(query: &Query, value: &Value) -> Result<(), NtStatus> {
    let to = query.entry_context as *mut u8;
    match value.kind {
        REG_SZ | REG_EXPAND_SZ | REG_MULTI_SZ => {
            let mut data = value.data.clone();
            if value.kind == REG_EXPAND_SZ && query.flags & NOEXPAND == 0 {
                data = string_data(&expand(&strings(&data).into_iter().next().unwrap_or_default()));
            }
            if data.is_empty() || !data.ends_with(&[0, 0]) {
                data.extend([0, 0]);
            }
            if data.len() > 0xFFFE {
                return Err(STATUS_BUFFER_TOO_SMALL);
            }
            let string = to.cast::<UnicodeString>();
            let mut target = get(string);
            if target.buffer.is_null() {
                let buffer = allocate(data.len());
                if buffer.is_null() {
                    return Err(STATUS_NO_MEMORY);
                }
                target = header(0, data.len(), buffer);
            } else if data.len() > target.maximum_length.into() {
                return Err(STATUS_BUFFER_TOO_SMALL);
            }
            target.length = (data.len() - 2) as u16;
            put_bytes(target.buffer.0 as *mut u8, &data);
            put(string, target);
        }
        _ if value.data.len() <= 4 => put_bytes(to, &value.data),
        _ => {
            let size = get(to.cast::<i32>());
            let room = size.unsigned_abs() as usize;
            if size < 0 {
                if room < value.data.len() {
                    return Err(STATUS_BUFFER_TOO_SMALL);
                }
                put_bytes(to, &value.data);
            } else {
                if room < value.data.len() + 8 {
                    return Err(STATUS_BUFFER_TOO_SMALL);
                }
                put(to.cast::<u32>(), value.data.len() as u32);
                put(to.wrapping_add(4).cast::<u32>(), value.kind);
                put_bytes(to.wrapping_add(8), &value.data);
            }
        }
    }
    Ok(())
}
