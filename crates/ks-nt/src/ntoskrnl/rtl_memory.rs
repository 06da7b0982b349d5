//! Memory: compare, copy, fill.

#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "each routine trusts its caller's addresses, as its documentation page says"
)]

use super::driver_memory::{get, put};
use crate::exports;
use crate::exports::Export;

/// Exports of this file.
pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    RtlCompareMemory, RtlCompareMemoryUlong, RtlCopyMemory, RtlCopyMemoryNonTemporal, RtlFillMemory,
    RtlFillMemoryUlong, RtlFillMemoryUlonglong, RtlMoveMemory, RtlZeroMemory, RtlSecureZeroMemory,
    RtlPrefetchMemoryNonTemporal, RtlUlongByteSwap, RtlUlonglongByteSwap, RtlUshortByteSwap,
    memchr, memcmp, memcpy, memcpy_s, memmove, memmove_s, memset,
);

/// EINVAL of the C runtime.
pub(crate) const EINVAL: i32 = 22;
/// ERANGE of the C runtime.
pub(crate) const ERANGE: i32 = 34;

/// Bytes that are equal from the start.
pub(crate) unsafe extern "win64" fn RtlCompareMemory(source1: *const u8, source2: *const u8, length: usize) -> usize {
    (0..length).find(|at| get(source1.wrapping_add(*at)) != get(source2.wrapping_add(*at))).unwrap_or(length)
}

/// Bytes that repeat the pattern from the start; a rest of less than four bytes is not looked at.
pub(crate) unsafe extern "win64" fn RtlCompareMemoryUlong(source: *const u32, length: usize, pattern: u32) -> usize {
    let words = length / 4;
    (0..words).find(|at| get(source.wrapping_add(*at)) != pattern).unwrap_or(words) * 4
}

pub(crate) unsafe extern "win64" fn RtlCopyMemory(destination: *mut u8, source: *const u8, length: usize) {
    memmove(destination, source, length);
}

pub(crate) unsafe extern "win64" fn RtlCopyMemoryNonTemporal(destination: *mut u8, source: *const u8, length: usize) {
    memmove(destination, source, length);
}

pub(crate) unsafe extern "win64" fn RtlMoveMemory(destination: *mut u8, source: *const u8, length: usize) {
    memmove(destination, source, length);
}

pub(crate) unsafe extern "win64" fn RtlFillMemory(destination: *mut u8, length: usize, fill: i32) {
    memset(destination, fill, length);
}

pub(crate) unsafe extern "win64" fn RtlFillMemoryUlong(destination: *mut u32, length: usize, pattern: u32) {
    for at in 0..length / 4 {
        put(destination.wrapping_add(at), pattern);
    }
}

pub(crate) unsafe extern "win64" fn RtlFillMemoryUlonglong(destination: *mut u64, length: usize, pattern: u64) {
    for at in 0..length / 8 {
        put(destination.wrapping_add(at), pattern);
    }
}

pub(crate) unsafe extern "win64" fn RtlZeroMemory(destination: *mut u8, length: usize) {
    memset(destination, 0, length);
}

/// Zeroes, and is never optimised away.
pub(crate) unsafe extern "win64" fn RtlSecureZeroMemory(destination: *mut u8, length: usize) -> *mut u8 {
    for at in 0..length {
        destination.wrapping_add(at).write_volatile(0);
    }
    destination
}

/// A hint; the caches do without.
pub(crate) unsafe extern "win64" fn RtlPrefetchMemoryNonTemporal(_source: *const u8, _length: usize) {}

pub(crate) unsafe extern "win64" fn RtlUshortByteSwap(value: u16) -> u16 {
    value.swap_bytes()
}

pub(crate) unsafe extern "win64" fn RtlUlongByteSwap(value: u32) -> u32 {
    value.swap_bytes()
}

pub(crate) unsafe extern "win64" fn RtlUlonglongByteSwap(value: u64) -> u64 {
    value.swap_bytes()
}

pub(crate) unsafe extern "win64" fn memcpy(destination: *mut u8, source: *const u8, length: usize) -> *mut u8 {
    memmove(destination, source, length)
}

pub(crate) unsafe extern "win64" fn memmove(destination: *mut u8, source: *const u8, length: usize) -> *mut u8 {
    if length != 0 {
        destination.copy_from(source, length);
    }
    destination
}

pub(crate) unsafe extern "win64" fn memset(destination: *mut u8, fill: i32, length: usize) -> *mut u8 {
    if length != 0 {
        destination.write_bytes(fill as u8, length);
    }
    destination
}

pub(crate) unsafe extern "win64" fn memcmp(left: *const u8, right: *const u8, length: usize) -> i32 {
    for at in 0..length {
        let (a, b) = (get(left.wrapping_add(at)), get(right.wrapping_add(at)));
        if a != b {
            return if a < b { -1 } else { 1 };
        }
    }
    0
}

pub(crate) unsafe extern "win64" fn memchr(bytes: *const u8, wanted: i32, length: usize) -> *const u8 {
    (0..length).map(|at| bytes.wrapping_add(at)).find(|at| get(*at) == wanted as u8).unwrap_or(core::ptr::null())
}

/// Copies if it fits; else zeroes the whole destination and says why.
pub(crate) unsafe extern "win64" fn memcpy_s(to: *mut u8, room: usize, from: *const u8, count: usize) -> i32 {
    if count == 0 {
        return 0;
    }
    if to.is_null() {
        return EINVAL;
    }
    if from.is_null() || room < count {
        memset(to, 0, room);
        return if from.is_null() { EINVAL } else { ERANGE };
    }
    memmove(to, from, count);
    0
}

/// As `memcpy_s`, for memory that may overlap; a refused call changes nothing.
pub(crate) unsafe extern "win64" fn memmove_s(to: *mut u8, room: usize, from: *const u8, count: usize) -> i32 {
    if count == 0 {
        return 0;
    }
    if to.is_null() || from.is_null() {
        return EINVAL;
    }
    if room < count {
        return ERANGE;
    }
    memmove(to, from, count);
    0
}
