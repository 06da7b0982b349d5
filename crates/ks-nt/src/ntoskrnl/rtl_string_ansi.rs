//! Counted strings of bytes, and conversions between code pages and UTF-16.

#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "each routine trusts its caller's addresses, as its documentation page says"
)]

use ks_abi::kernel::UnicodeString;
use ks_abi::status::{
    NtStatus, STATUS_BUFFER_OVERFLOW, STATUS_BUFFER_TOO_SMALL, STATUS_INVALID_PARAMETER, STATUS_NAME_TOO_LONG,
    STATUS_NO_MEMORY, STATUS_SOME_NOT_MAPPED, STATUS_SUCCESS,
};

use super::code_page::{self, DEFAULT};
use super::driver_memory::{byte_length, bytes, get, put, put_bytes, put_optional, put_wide, unicode_string, wide};
use super::rtl_string::{allocate, deliver, free, header, parse};
use crate::exports;
use crate::exports::Export;

/// STRING, ANSI_STRING and OEM_STRING have the layout of UNICODE_STRING.
pub(crate) type AnsiString = UnicodeString;

/// Exports of this file.
pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    RtlInitAnsiString, RtlInitAnsiStringEx, RtlInitString, RtlCopyString, RtlCompareString, RtlEqualString,
    RtlPrefixString, RtlUpperString, RtlUpperChar, RtlAppendAsciizToString, RtlAppendStringToString, RtlFreeAnsiString,
    RtlFreeOemString, RtlCharToInteger, RtlAnsiCharToUnicodeChar, RtlAnsiStringToUnicodeString,
    RtlOemStringToUnicodeString, RtlUnicodeStringToAnsiString, RtlUnicodeStringToOemString,
    RtlUpcaseUnicodeStringToAnsiString, RtlUpcaseUnicodeStringToOemString, RtlAnsiStringToUnicodeSize,
    RtlxAnsiStringToUnicodeSize, RtlOemStringToUnicodeSize, RtlxOemStringToUnicodeSize, RtlUnicodeStringToAnsiSize,
    RtlxUnicodeStringToAnsiSize, RtlUnicodeStringToOemSize, RtlxUnicodeStringToOemSize, RtlMultiByteToUnicodeN,
    RtlMultiByteToUnicodeSize, RtlUnicodeToMultiByteN, RtlUnicodeToMultiByteSize, RtlUpcaseUnicodeToMultiByteN,
    RtlOemToUnicodeN, RtlUnicodeToOemN, RtlUTF8ToUnicodeN, RtlUnicodeToUTF8N,
);

/// Most bytes of a counted string of bytes, with its terminator.
const MOST: usize = 0xFFFF;

unsafe fn ansi_string(from: *const AnsiString) -> Vec<u8> {
    if from.is_null() {
        return Vec::new();
    }
    let string = get(from);
    if string.buffer.is_null() {
        return Vec::new();
    }
    bytes(string.buffer.0 as *const u8, string.length.into())
}

fn narrow(units: &[u16]) -> Vec<u8> {
    units.iter().map(|unit| code_page::from_unicode(*unit).unwrap_or(DEFAULT)).collect()
}

fn widen(bytes: &[u8]) -> Vec<u16> {
    bytes.iter().map(|byte| code_page::to_unicode(*byte)).collect()
}

fn upper(units: &[u16]) -> Vec<u16> {
    units.iter().map(|unit| code_page::upcase(*unit)).collect()
}

fn upper_byte(byte: u8) -> u8 {
    code_page::from_unicode(code_page::upcase(code_page::to_unicode(byte))).unwrap_or(byte)
}

pub(crate) unsafe extern "win64" fn RtlInitAnsiString(string: *mut AnsiString, source: *const u8) {
    let length = if source.is_null() { 0 } else { byte_length(source).min(MOST - 1) };
    put(string, header(length, if source.is_null() { 0 } else { length + 1 }, source));
}

pub(crate) unsafe extern "win64" fn RtlInitAnsiStringEx(string: *mut AnsiString, source: *const u8) -> NtStatus {
    if !source.is_null() && byte_length(source) > MOST - 1 {
        put(string, AnsiString::default());
        return STATUS_NAME_TOO_LONG;
    }
    RtlInitAnsiString(string, source);
    STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn RtlInitString(string: *mut AnsiString, source: *const u8) {
    RtlInitAnsiString(string, source);
}

pub(crate) unsafe extern "win64" fn RtlCopyString(to: *mut AnsiString, from: *const AnsiString) {
    let mut target = get(to);
    let mut source = ansi_string(from);
    source.truncate(target.maximum_length.into());
    target.length = source.len() as u16;
    put(to, target);
    put_bytes(target.buffer.0 as *mut u8, &source);
}

pub(crate) unsafe extern "win64" fn RtlCompareString(
    left: *const AnsiString,
    right: *const AnsiString,
    ignore: u8,
) -> i32 {
    let (mut left, mut right) = (ansi_string(left), ansi_string(right));
    if ignore != 0 {
        left.iter_mut().for_each(|byte| *byte = upper_byte(*byte));
        right.iter_mut().for_each(|byte| *byte = upper_byte(*byte));
    }
    left.cmp(&right) as i32
}

pub(crate) unsafe extern "win64" fn RtlEqualString(
    left: *const AnsiString,
    right: *const AnsiString,
    ignore: u8,
) -> u8 {
    u8::from(RtlCompareString(left, right, ignore) == 0)
}

pub(crate) unsafe extern "win64" fn RtlPrefixString(
    prefix: *const AnsiString,
    string: *const AnsiString,
    ignore: u8,
) -> u8 {
    let case = |byte: &u8| if ignore != 0 { upper_byte(*byte) } else { *byte };
    let (prefix, string) = (ansi_string(prefix), ansi_string(string));
    let same = |start: &[u8]| start.iter().map(case).eq(prefix.iter().map(case));
    u8::from(string.get(..prefix.len()).is_some_and(same))
}

pub(crate) unsafe extern "win64" fn RtlUpperString(to: *mut AnsiString, from: *const AnsiString) {
    let mut target = get(to);
    let mut source = ansi_string(from);
    source.truncate(target.maximum_length.into());
    source.iter_mut().for_each(|byte| *byte = upper_byte(*byte));
    target.length = source.len() as u16;
    put(to, target);
    put_bytes(target.buffer.0 as *mut u8, &source);
}

pub(crate) unsafe extern "win64" fn RtlUpperChar(character: u8) -> u8 {
    upper_byte(character)
}

unsafe fn append(to: *mut AnsiString, source: &[u8]) -> NtStatus {
    let mut target = get(to);
    let used = usize::from(target.length);
    if used + source.len() > target.maximum_length.into() {
        return STATUS_BUFFER_TOO_SMALL;
    }
    put_bytes((target.buffer.0 as *mut u8).wrapping_add(used), source);
    target.length = (used + source.len()) as u16;
    put(to, target);
    STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn RtlAppendAsciizToString(to: *mut AnsiString, from: *const u8) -> NtStatus {
    append(to, &super::driver_memory::byte_string(from))
}

pub(crate) unsafe extern "win64" fn RtlAppendStringToString(to: *mut AnsiString, from: *const AnsiString) -> NtStatus {
    append(to, &ansi_string(from))
}

pub(crate) unsafe extern "win64" fn RtlFreeAnsiString(string: *mut AnsiString) {
    free(string);
}

pub(crate) unsafe extern "win64" fn RtlFreeOemString(string: *mut AnsiString) {
    free(string);
}

pub(crate) unsafe extern "win64" fn RtlCharToInteger(text: *const u8, base: u32, value: *mut u32) -> NtStatus {
    if ![0, 2, 8, 10, 16].contains(&base) {
        return STATUS_INVALID_PARAMETER;
    }
    put(value, parse(&widen(&super::driver_memory::byte_string(text)), base));
    STATUS_SUCCESS
}

/// Takes one character and moves the caller's pointer behind it.
pub(crate) unsafe extern "win64" fn RtlAnsiCharToUnicodeChar(source: *mut *const u8) -> u16 {
    let at = get(source);
    put(source, at.wrapping_add(1));
    code_page::to_unicode(get(at))
}

pub(crate) unsafe extern "win64" fn RtlAnsiStringToUnicodeString(
    to: *mut UnicodeString,
    from: *const AnsiString,
    allocate: u8,
) -> NtStatus {
    let units = widen(&ansi_string(from));
    if units.len() * 2 + 2 > MOST {
        return STATUS_INVALID_PARAMETER;
    }
    deliver(to, &units, allocate)
}

pub(crate) unsafe extern "win64" fn RtlOemStringToUnicodeString(
    to: *mut UnicodeString,
    from: *const AnsiString,
    allocate: u8,
) -> NtStatus {
    RtlAnsiStringToUnicodeString(to, from, allocate)
}

/// Writes a string of bytes with its terminator. What does not fit is cut, with a warning.
unsafe fn deliver_bytes(to: *mut AnsiString, source: &[u8], allocated: u8) -> NtStatus {
    let mut source = source.to_vec();
    if source.len() + 1 > MOST {
        return STATUS_INVALID_PARAMETER;
    }
    let mut status = STATUS_SUCCESS;
    if allocated != 0 {
        let buffer = allocate(source.len() + 1);
        if buffer.is_null() {
            return STATUS_NO_MEMORY;
        }
        put(to, header(source.len(), source.len() + 1, buffer));
    } else {
        let room = usize::from(get(to).maximum_length);
        if room == 0 {
            return STATUS_BUFFER_OVERFLOW;
        }
        if source.len() >= room {
            source.truncate(room - 1);
            status = STATUS_BUFFER_OVERFLOW;
        }
    }
    let mut target = get(to);
    target.length = source.len() as u16;
    put(to, target);
    source.push(0);
    put_bytes(target.buffer.0 as *mut u8, &source);
    status
}

pub(crate) unsafe extern "win64" fn RtlUnicodeStringToAnsiString(
    to: *mut AnsiString,
    from: *const UnicodeString,
    allocate: u8,
) -> NtStatus {
    deliver_bytes(to, &narrow(&unicode_string(from)), allocate)
}

pub(crate) unsafe extern "win64" fn RtlUnicodeStringToOemString(
    to: *mut AnsiString,
    from: *const UnicodeString,
    allocate: u8,
) -> NtStatus {
    RtlUnicodeStringToAnsiString(to, from, allocate)
}

pub(crate) unsafe extern "win64" fn RtlUpcaseUnicodeStringToAnsiString(
    to: *mut AnsiString,
    from: *const UnicodeString,
    allocate: u8,
) -> NtStatus {
    deliver_bytes(to, &narrow(&upper(&unicode_string(from))), allocate)
}

pub(crate) unsafe extern "win64" fn RtlUpcaseUnicodeStringToOemString(
    to: *mut AnsiString,
    from: *const UnicodeString,
    allocate: u8,
) -> NtStatus {
    RtlUpcaseUnicodeStringToAnsiString(to, from, allocate)
}

/// Bytes that a conversion needs, with its terminator.
macro_rules! sizes {
    ($unicode:ident: $($to_unicode:ident)*; $ansi:ident: $($to_ansi:ident)*) => {
        $(pub(crate) unsafe extern "win64" fn $to_unicode($unicode: *const AnsiString) -> u32 {
            (u32::from(get($unicode).length) + 1) * 2
        })*
        $(pub(crate) unsafe extern "win64" fn $to_ansi($ansi: *const UnicodeString) -> u32 {
            u32::from(get($ansi).length) / 2 + 1
        })*
    };
}

sizes! {
    string: RtlAnsiStringToUnicodeSize RtlxAnsiStringToUnicodeSize RtlOemStringToUnicodeSize RtlxOemStringToUnicodeSize;
    string: RtlUnicodeStringToAnsiSize RtlxUnicodeStringToAnsiSize RtlUnicodeStringToOemSize RtlxUnicodeStringToOemSize
}

/// Sizes are in bytes; what does not fit is cut.
pub(crate) unsafe extern "win64" fn RtlMultiByteToUnicodeN(
    to: *mut u16,
    room: u32,
    written: *mut u32,
    from: *const u8,
    length: u32,
) -> NtStatus {
    let mut units = widen(&bytes(from, length as usize));
    units.truncate(room as usize / 2);
    put_wide(to, &units);
    put_optional(written, units.len() as u32 * 2);
    STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn RtlOemToUnicodeN(
    to: *mut u16,
    room: u32,
    written: *mut u32,
    from: *const u8,
    length: u32,
) -> NtStatus {
    RtlMultiByteToUnicodeN(to, room, written, from, length)
}

pub(crate) unsafe extern "win64" fn RtlMultiByteToUnicodeSize(
    size: *mut u32,
    _from: *const u8,
    length: u32,
) -> NtStatus {
    put(size, length.saturating_mul(2));
    STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn RtlUnicodeToMultiByteSize(
    size: *mut u32,
    _from: *const u16,
    length: u32,
) -> NtStatus {
    put(size, length / 2);
    STATUS_SUCCESS
}

unsafe fn put_narrow(to: *mut u8, room: u32, written: *mut u32, mut text: Vec<u8>) -> NtStatus {
    let status = if text.len() > room as usize { STATUS_BUFFER_OVERFLOW } else { STATUS_SUCCESS };
    text.truncate(room as usize);
    put_bytes(to, &text);
    put_optional(written, text.len() as u32);
    status
}

pub(crate) unsafe extern "win64" fn RtlUnicodeToMultiByteN(
    to: *mut u8,
    room: u32,
    written: *mut u32,
    from: *const u16,
    length: u32,
) -> NtStatus {
    put_narrow(to, room, written, narrow(&wide(from, length as usize / 2)))
}

pub(crate) unsafe extern "win64" fn RtlUnicodeToOemN(
    to: *mut u8,
    room: u32,
    written: *mut u32,
    from: *const u16,
    length: u32,
) -> NtStatus {
    RtlUnicodeToMultiByteN(to, room, written, from, length)
}

pub(crate) unsafe extern "win64" fn RtlUpcaseUnicodeToMultiByteN(
    to: *mut u8,
    room: u32,
    written: *mut u32,
    from: *const u16,
    length: u32,
) -> NtStatus {
    put_narrow(to, room, written, narrow(&upper(&wide(from, length as usize / 2))))
}

/// With no destination, only the bytes needed. Bad input becomes U+FFFD, and the status says so.
pub(crate) unsafe extern "win64" fn RtlUTF8ToUnicodeN(
    to: *mut u16,
    room: u32,
    written: *mut u32,
    from: *const u8,
    length: u32,
) -> NtStatus {
    if from.is_null() || (to.is_null() && written.is_null()) {
        return STATUS_INVALID_PARAMETER;
    }
    let source = bytes(from, length as usize);
    let text = String::from_utf8_lossy(&source);
    let clean = if text.as_bytes() == source { STATUS_SUCCESS } else { STATUS_SOME_NOT_MAPPED };
    let units: Vec<u16> = text.encode_utf16().collect();
    if to.is_null() {
        put(written, units.len() as u32 * 2);
        return clean;
    }
    let fits = units.len().min(room as usize / 2);
    put_wide(to, &units[..fits]);
    put_optional(written, fits as u32 * 2);
    if fits < units.len() { STATUS_BUFFER_TOO_SMALL } else { clean }
}

/// With no destination, only the bytes needed. A lone surrogate becomes U+FFFD, and the status says so.
pub(crate) unsafe extern "win64" fn RtlUnicodeToUTF8N(
    to: *mut u8,
    room: u32,
    written: *mut u32,
    from: *const u16,
    length: u32,
) -> NtStatus {
    if from.is_null() || !length.is_multiple_of(2) || (to.is_null() && written.is_null()) {
        return STATUS_INVALID_PARAMETER;
    }
    let units = wide(from, length as usize / 2);
    let clean = if String::from_utf16(&units).is_ok() { STATUS_SUCCESS } else { STATUS_SOME_NOT_MAPPED };
    let text = String::from_utf16_lossy(&units);
    if to.is_null() {
        put(written, text.len() as u32);
        return clean;
    }
    let mut fits = text.len().min(room as usize);
    while !text.is_char_boundary(fits) {
        fits -= 1;
    }
    put_bytes(to, &text.as_bytes()[..fits]);
    put_optional(written, fits as u32);
    if fits < text.len() { STATUS_BUFFER_TOO_SMALL } else { clean }
}
