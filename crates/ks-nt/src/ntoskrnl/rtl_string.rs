//! Counted UTF-16 strings.

#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "each routine trusts its caller's addresses, as its documentation page says"
)]

use core::cmp::Ordering;

use ks_abi::kernel::UnicodeString;
use ks_abi::pointer::Ptr64;
use ks_abi::status::{
    NtStatus, STATUS_BUFFER_OVERFLOW, STATUS_BUFFER_TOO_SMALL, STATUS_INVALID_PARAMETER, STATUS_NAME_TOO_LONG,
    STATUS_NO_MEMORY, STATUS_SUCCESS,
};

use super::c_runtime::digits;
use super::code_page;
use super::driver_memory::{self, get, put, put_wide, unicode_string, wide, wide_length};
use crate::exports;
use crate::exports::Export;

/// Exports of this file.
pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    RtlInitUnicodeString, RtlInitUnicodeStringEx, RtlCreateUnicodeString, RtlCopyUnicodeString,
    RtlDuplicateUnicodeString, RtlFreeUnicodeString, RtlCompareUnicodeString, RtlCompareUnicodeStrings,
    RtlEqualUnicodeString, RtlPrefixUnicodeString, RtlAppendUnicodeToString, RtlAppendUnicodeStringToString,
    RtlUpcaseUnicodeString, RtlUpcaseUnicodeChar, RtlDowncaseUnicodeString, RtlDowncaseUnicodeChar,
    RtlValidateUnicodeString, RtlHashUnicodeString, RtlIntegerToUnicodeString, RtlInt64ToUnicodeString,
    RtlUnicodeStringToInteger,
);

/// Tag of the strings that these routines allocate.
const TAG: u32 = u32::from_le_bytes(*b"Strg");
/// Most bytes of a counted string.
const MOST: usize = 0xFFFE;

/// A string header.
pub(super) fn header(length: usize, maximum: usize, buffer: *const u8) -> UnicodeString {
    UnicodeString {
        length: length as u16,
        maximum_length: maximum as u16,
        buffer: Ptr64(buffer as u64),
        ..Default::default()
    }
}

/// Memory for the buffer of a string.
pub(super) fn allocate(bytes: usize) -> *mut u8 {
    driver_memory::allocate_pool(bytes.max(1), TAG)
}

/// Frees the buffer of a string of these routines, and empties it.
pub(super) unsafe fn free(string: *mut UnicodeString) {
    let buffer = get(string).buffer;
    if !buffer.is_null() {
        driver_memory::free_pool(buffer.0 as *mut u8);
        put(string, UnicodeString::default());
    }
}

/// Writes a result into a string that the caller made, or into one that is allocated here, always with room for a
/// terminator where there is room.
pub(super) unsafe fn deliver(to: *mut UnicodeString, units: &[u16], allocated: u8) -> NtStatus {
    let bytes = units.len() * 2;
    if allocated != 0 {
        if bytes > MOST {
            return STATUS_INVALID_PARAMETER;
        }
        let buffer = allocate(bytes + 2);
        if buffer.is_null() {
            return STATUS_NO_MEMORY;
        }
        put(to, header(bytes, (bytes + 2).min(MOST), buffer));
    } else if bytes > usize::from(get(to).maximum_length) {
        return STATUS_BUFFER_OVERFLOW;
    }
    let mut target = get(to);
    target.length = bytes as u16;
    put(to, target);
    put_wide(target.buffer.0 as *mut u16, units);
    if bytes + 2 <= usize::from(target.maximum_length) {
        put((target.buffer.0 as *mut u16).wrapping_add(units.len()), 0);
    }
    STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn RtlInitUnicodeString(string: *mut UnicodeString, source: *const u16) {
    let bytes = if source.is_null() { 0 } else { (wide_length(source) * 2).min(MOST - 2) };
    put(string, header(bytes, if source.is_null() { 0 } else { bytes + 2 }, source.cast()));
}

pub(crate) unsafe extern "win64" fn RtlInitUnicodeStringEx(string: *mut UnicodeString, source: *const u16) -> NtStatus {
    if !source.is_null() && wide_length(source) * 2 > MOST - 2 {
        put(string, UnicodeString::default());
        return STATUS_NAME_TOO_LONG;
    }
    RtlInitUnicodeString(string, source);
    STATUS_SUCCESS
}

/// Copies a zero-terminated string into memory of its own.
pub(crate) unsafe extern "win64" fn RtlCreateUnicodeString(string: *mut UnicodeString, source: *const u16) -> u8 {
    if source.is_null() {
        return 0;
    }
    let units = driver_memory::wide_string(source);
    if units.len() * 2 > MOST - 2 {
        return 0;
    }
    u8::from(deliver(string, &units, 1).is_success())
}

/// Copies as much as there is room for. A source of NULL empties the target.
pub(crate) unsafe extern "win64" fn RtlCopyUnicodeString(to: *mut UnicodeString, from: *const UnicodeString) {
    let mut target = get(to);
    let room = usize::from(target.maximum_length);
    let mut units = unicode_string(from);
    units.truncate(room / 2);
    target.length = (units.len() * 2) as u16;
    put(to, target);
    let buffer = target.buffer.0 as *mut u16;
    put_wide(buffer, &units);
    if units.len() * 2 + 2 <= room {
        put(buffer.wrapping_add(units.len()), 0);
    }
}

/// Flags: 1 adds a terminator, 2 gives a buffer to an empty string also.
pub(crate) unsafe extern "win64" fn RtlDuplicateUnicodeString(
    flags: u32,
    from: *const UnicodeString,
    to: *mut UnicodeString,
) -> NtStatus {
    const NULL_TERMINATE: u32 = 1;
    const ALLOCATE_NULL_STRING: u32 = 2;
    if flags & !3 != 0 || flags == ALLOCATE_NULL_STRING || from.is_null() || to.is_null() {
        return STATUS_INVALID_PARAMETER;
    }
    let units = unicode_string(from);
    if units.is_empty() && flags & ALLOCATE_NULL_STRING == 0 {
        put(to, UnicodeString::default());
        return STATUS_SUCCESS;
    }
    let (bytes, terminator) = (units.len() * 2, if flags & NULL_TERMINATE != 0 { 2 } else { 0 });
    if bytes + terminator > MOST {
        return STATUS_NAME_TOO_LONG;
    }
    let buffer = allocate(bytes + terminator);
    if buffer.is_null() {
        return STATUS_NO_MEMORY;
    }
    put_wide(buffer.cast(), &units);
    if terminator != 0 {
        put(buffer.wrapping_add(bytes).cast::<u16>(), 0);
    }
    put(to, header(bytes, bytes + terminator, buffer));
    STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn RtlFreeUnicodeString(string: *mut UnicodeString) {
    free(string);
}

fn ordering(left: &[u16], right: &[u16], ignore_case: u8) -> Ordering {
    if ignore_case == 0 {
        left.cmp(right)
    } else {
        let upper = |units: &[u16]| units.iter().map(|unit| code_page::upcase(*unit)).collect::<Vec<_>>();
        upper(left).cmp(&upper(right))
    }
}

pub(crate) unsafe extern "win64" fn RtlCompareUnicodeString(
    left: *const UnicodeString,
    right: *const UnicodeString,
    ignore_case: u8,
) -> i32 {
    ordering(&unicode_string(left), &unicode_string(right), ignore_case) as i32
}

/// Lengths are in characters.
pub(crate) unsafe extern "win64" fn RtlCompareUnicodeStrings(
    left: *const u16,
    left_length: usize,
    right: *const u16,
    right_length: usize,
    ignore_case: u8,
) -> i32 {
    ordering(&wide(left, left_length), &wide(right, right_length), ignore_case) as i32
}

pub(crate) unsafe extern "win64" fn RtlEqualUnicodeString(
    left: *const UnicodeString,
    right: *const UnicodeString,
    ignore_case: u8,
) -> u8 {
    u8::from(RtlCompareUnicodeString(left, right, ignore_case) == 0)
}

/// Whether the first string is a prefix of the second.
pub(crate) unsafe extern "win64" fn RtlPrefixUnicodeString(
    prefix: *const UnicodeString,
    string: *const UnicodeString,
    ignore_case: u8,
) -> u8 {
    let (prefix, string) = (unicode_string(prefix), unicode_string(string));
    u8::from(string.get(..prefix.len()).is_some_and(|start| ordering(&prefix, start, ignore_case).is_eq()))
}

unsafe fn append(to: *mut UnicodeString, units: &[u16]) -> NtStatus {
    let mut target = get(to);
    let (used, room) = (usize::from(target.length), usize::from(target.maximum_length));
    let bytes = units.len() * 2;
    if used + bytes > room {
        return STATUS_BUFFER_TOO_SMALL;
    }
    put_wide((target.buffer.0 as *mut u8).wrapping_add(used).cast(), units);
    target.length = (used + bytes) as u16;
    put(to, target);
    if used + bytes + 2 <= room {
        put((target.buffer.0 as *mut u8).wrapping_add(used + bytes).cast::<u16>(), 0);
    }
    STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn RtlAppendUnicodeToString(to: *mut UnicodeString, from: *const u16) -> NtStatus {
    append(to, &driver_memory::wide_string(from))
}

pub(crate) unsafe extern "win64" fn RtlAppendUnicodeStringToString(
    to: *mut UnicodeString,
    from: *const UnicodeString,
) -> NtStatus {
    append(to, &unicode_string(from))
}

pub(crate) unsafe extern "win64" fn RtlUpcaseUnicodeString(
    to: *mut UnicodeString,
    from: *const UnicodeString,
    allocate: u8,
) -> NtStatus {
    let units: Vec<u16> = unicode_string(from).into_iter().map(code_page::upcase).collect();
    deliver(to, &units, allocate)
}

pub(crate) unsafe extern "win64" fn RtlDowncaseUnicodeString(
    to: *mut UnicodeString,
    from: *const UnicodeString,
    allocate: u8,
) -> NtStatus {
    let units: Vec<u16> = unicode_string(from).into_iter().map(code_page::downcase).collect();
    deliver(to, &units, allocate)
}

pub(crate) unsafe extern "win64" fn RtlUpcaseUnicodeChar(character: u16) -> u16 {
    code_page::upcase(character)
}

pub(crate) unsafe extern "win64" fn RtlDowncaseUnicodeChar(character: u16) -> u16 {
    code_page::downcase(character)
}

/// Refuses an odd length, a length above the maximum, and a length without a buffer. Flags are reserved.
pub(crate) unsafe extern "win64" fn RtlValidateUnicodeString(flags: u32, string: *const UnicodeString) -> NtStatus {
    if flags != 0 {
        return STATUS_INVALID_PARAMETER;
    }
    if string.is_null() {
        return STATUS_SUCCESS;
    }
    let string = get(string);
    let odd = !string.length.is_multiple_of(2) || !string.maximum_length.is_multiple_of(2);
    let hollow = string.buffer.is_null() && (string.length != 0 || string.maximum_length != 0);
    if odd || hollow || string.length > string.maximum_length { STATUS_INVALID_PARAMETER } else { STATUS_SUCCESS }
}

/// Algorithms: 0, the default, and 1 are the x65599 hash: the value so far times 65599 plus the character.
pub(crate) unsafe extern "win64" fn RtlHashUnicodeString(
    string: *const UnicodeString,
    ignore_case: u8,
    algorithm: u32,
    hash: *mut u32,
) -> NtStatus {
    if string.is_null() || hash.is_null() || algorithm > 1 {
        return STATUS_INVALID_PARAMETER;
    }
    let value = unicode_string(string).into_iter().fold(0u32, |value, unit| {
        let unit = if ignore_case != 0 { code_page::upcase(unit) } else { unit };
        value.wrapping_mul(65599).wrapping_add(unit.into())
    });
    put(hash, value);
    STATUS_SUCCESS
}

unsafe fn put_number(value: u64, base: u32, to: *mut UnicodeString) -> NtStatus {
    let base = if base == 0 { 10 } else { base };
    if ![2, 8, 10, 16].contains(&base) {
        return STATUS_INVALID_PARAMETER;
    }
    let units: Vec<u16> = digits(value, base).iter().map(|digit| digit.to_ascii_uppercase().into()).collect();
    deliver(to, &units, 0)
}

pub(crate) unsafe extern "win64" fn RtlIntegerToUnicodeString(
    value: u32,
    base: u32,
    to: *mut UnicodeString,
) -> NtStatus {
    put_number(value.into(), base, to)
}

pub(crate) unsafe extern "win64" fn RtlInt64ToUnicodeString(value: u64, base: u32, to: *mut UnicodeString) -> NtStatus {
    put_number(value, base, to)
}

/// Skips what is not above a space, takes a sign and, in base 0, the prefix 0x, 0o or 0b; ends at the first character
/// that is no digit. No digit at all is 0.
pub(crate) unsafe extern "win64" fn RtlUnicodeStringToInteger(
    string: *const UnicodeString,
    base: u32,
    value: *mut u32,
) -> NtStatus {
    if ![0, 2, 8, 10, 16].contains(&base) {
        return STATUS_INVALID_PARAMETER;
    }
    let units = unicode_string(string);
    put(value, parse(&units, base));
    STATUS_SUCCESS
}

/// The number at the start of a text, for [`RtlUnicodeStringToInteger`] and its byte form.
pub(super) fn parse(units: &[u16], base: u32) -> u32 {
    let text: Vec<char> =
        units.iter().map(|unit| char::from_u32((*unit).into()).unwrap_or('\0')).skip_while(|c| *c <= ' ').collect();
    let (negative, rest) = match text.split_first() {
        Some(('-', rest)) => (true, rest),
        Some(('+', rest)) => (false, rest),
        _ => (false, &text[..]),
    };
    let (base, rest) = match (base, rest) {
        (0, ['0', 'x', rest @ ..]) => (16, rest),
        (0, ['0', 'o', rest @ ..]) => (8, rest),
        (0, ['0', 'b', rest @ ..]) => (2, rest),
        (0, rest) => (10, rest),
        (base, rest) => (base, rest),
    };
    let amount = rest
        .iter()
        .map_while(|c| c.to_digit(base))
        .fold(0u32, |amount, digit| amount.wrapping_mul(base).wrapping_add(digit));
    if negative { amount.wrapping_neg() } else { amount }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(text: &str) -> Vec<u16> {
        text.encode_utf16().collect()
    }

    #[test]
    fn a_number_ends_at_the_first_character_that_is_no_digit() {
        assert_eq!(parse(&units("  -12x"), 10), 12u32.wrapping_neg());
        assert_eq!(parse(&units("0x1F"), 0), 0x1F);
        assert_eq!(parse(&units("0b101"), 0), 5);
        assert_eq!(parse(&units("0o17"), 0), 15);
        assert_eq!(parse(&units("12"), 8), 10);
        assert_eq!(parse(&units("z"), 10), 0);
    }
}
