//! Reads and writes of memory that a driver points at.
//!
//! The addresses are the driver's. No alignment is assumed; an address that is not mapped faults here as it would in
//! Windows, and the report names the routine that the driver had called.

use ks_abi::kernel::UnicodeString;

use super::block::Block;
use super::pool::{self, Contents};

/// The value at an address.
///
/// # Safety
/// `from` is readable for the size of `T`, and every bit pattern is a `T`.
pub(crate) unsafe fn get<T>(from: *const T) -> T {
    // SAFETY: the caller's promise; alignment is not needed.
    unsafe { from.read_unaligned() }
}

/// Writes a value at an address.
///
/// # Safety
/// `to` is writable for the size of `T`.
pub(crate) unsafe fn put<T>(to: *mut T, value: T) {
    // SAFETY: the caller's promise; alignment is not needed.
    unsafe { to.write_unaligned(value) }
}

/// Writes a value where the driver asked for one: at NULL nothing happens.
///
/// # Safety
/// `to` is NULL or writable for the size of `T`.
pub(crate) unsafe fn put_optional<T>(to: *mut T, value: T) {
    if !to.is_null() {
        // SAFETY: the caller's promise.
        unsafe { put(to, value) }
    }
}

/// A copy of bytes.
///
/// # Safety
/// `from` is readable for `length` bytes, or `length` is 0.
pub(crate) unsafe fn bytes(from: *const u8, length: usize) -> Vec<u8> {
    let mut copy = vec![0; length];
    if length != 0 {
        // SAFETY: the source is the caller's promise; the target was just made and has that length.
        unsafe { from.copy_to_nonoverlapping(copy.as_mut_ptr(), length) }
    }
    copy
}

/// Writes bytes, of which `to` may overlap none.
///
/// # Safety
/// `to` is writable for the length of `from`.
pub(crate) unsafe fn put_bytes(to: *mut u8, from: &[u8]) {
    if !from.is_empty() {
        // SAFETY: the target is the caller's promise; a driver's memory is none of a Rust slice.
        unsafe { to.copy_from(from.as_ptr(), from.len()) }
    }
}

/// A copy of UTF-16 units.
///
/// # Safety
/// `from` is readable for `units` units, or `units` is 0.
pub(crate) unsafe fn wide(from: *const u16, units: usize) -> Vec<u16> {
    // SAFETY: the caller's promise, for each unit.
    (0..units).map(|at| unsafe { get(from.wrapping_add(at)) }).collect()
}

/// Writes UTF-16 units.
///
/// # Safety
/// `to` is writable for the length of `from`.
pub(crate) unsafe fn put_wide(to: *mut u16, from: &[u16]) {
    for (at, unit) in from.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { put(to.wrapping_add(at), *unit) }
    }
}

/// Units before the terminating zero.
///
/// # Safety
/// `from` is readable up to and with a zero unit.
pub(crate) unsafe fn wide_length(from: *const u16) -> usize {
    let mut units = 0;
    // SAFETY: no unit before this one was zero, so it is within the caller's promise.
    while unsafe { get(from.wrapping_add(units)) } != 0 {
        units += 1;
    }
    units
}

/// Bytes before the terminating zero.
///
/// # Safety
/// `from` is readable up to and with a zero byte.
pub(crate) unsafe fn byte_length(from: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: no byte before this one was zero, so it is within the caller's promise.
    while unsafe { get(from.wrapping_add(length)) } != 0 {
        length += 1;
    }
    length
}

/// A copy of a zero-terminated wide string, without its terminator; empty at NULL.
///
/// # Safety
/// `from` is NULL or readable up to and with a zero unit.
pub(crate) unsafe fn wide_string(from: *const u16) -> Vec<u16> {
    if from.is_null() {
        return Vec::new();
    }
    // SAFETY: the caller's promise.
    let units = unsafe { wide_length(from) };
    // SAFETY: that many units were just read.
    unsafe { wide(from, units) }
}

/// A copy of a zero-terminated string, without its terminator; empty at NULL.
///
/// # Safety
/// `from` is NULL or readable up to and with a zero byte.
pub(crate) unsafe fn byte_string(from: *const u8) -> Vec<u8> {
    if from.is_null() {
        return Vec::new();
    }
    // SAFETY: the caller's promise.
    let length = unsafe { byte_length(from) };
    // SAFETY: that many bytes were just read.
    unsafe { bytes(from, length) }
}

/// A copy of a counted string; empty at NULL.
///
/// # Safety
/// `from` is NULL or a UNICODE_STRING whose buffer is readable for its length.
pub(crate) unsafe fn unicode_string(from: *const UnicodeString) -> Vec<u16> {
    if from.is_null() {
        return Vec::new();
    }
    // SAFETY: the caller's promise.
    let string = unsafe { get(from) };
    if string.buffer.is_null() {
        return Vec::new();
    }
    // SAFETY: the caller's promise.
    unsafe { wide(string.buffer.0 as *const u16, usize::from(string.length / 2)) }
}

/// The text of a counted string, with replacement characters for what is no UTF-16.
///
/// # Safety
/// As [`unicode_string`].
pub(crate) unsafe fn text(from: *const UnicodeString) -> String {
    // SAFETY: the caller's promise.
    String::from_utf16_lossy(&unsafe { unicode_string(from) })
}

/// Pool memory of the driver, which it may free; NULL when there is none.
pub(crate) fn allocate_pool(bytes: usize, tag: u32) -> *mut u8 {
    pool::allocate(bytes, tag, Contents::Anything).pointer()
}

/// Frees pool memory.
///
/// # Safety
/// Nothing uses the memory any more; what is no block of the pool is reported.
pub(crate) unsafe fn free_pool(address: *mut u8) {
    // SAFETY: the caller's promise.
    pool::free(unsafe { Block::at(address) }, 0, "ExFreePool");
}

/// Reads a field of a structure that a driver points at: `field!(irp, io_status.status)`.
macro_rules! field {
    ($at:expr, $($name:ident).+) => {
        $crate::ntoskrnl::driver_memory::get(&raw const (*$at).$($name).+)
    };
}

/// Writes such a field: `set_field!(irp, cancel, 1)`.
macro_rules! set_field {
    ($at:expr, $($name:ident).+, $value:expr) => {
        $crate::ntoskrnl::driver_memory::put(&raw mut (*$at).$($name).+, $value)
    };
}

pub(crate) use {field, set_field};
