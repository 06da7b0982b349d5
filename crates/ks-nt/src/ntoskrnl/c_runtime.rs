//! The rest of the C runtime that the kernel exports: characters, numbers in text, sorting, searching, random numbers.

#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "each routine trusts its caller's addresses, as its documentation page says"
)]

use core::arch::naked_asm;
use core::ffi::c_void;
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::c_string::Unit;
use super::code_page;
use super::driver_memory::{get, put, put_optional};
use super::rtl_memory::{EINVAL, ERANGE};
use crate::exports;
use crate::exports::Export;

/// Exports of this file.
pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    __chkstk, isdigit, islower, isprint, isspace, isupper, isxdigit, tolower, toupper, towlower, towupper,
    atoi, atol, _wtoi, _wtol, wcstoul, _strtoui64, _itoa, _itow, _itoa_s, _itow_s, _ltoa_s, _ltow_s, _ultoa_s, _ultow_s,
    _i64toa_s, _i64tow_s, _ui64toa_s, _ui64tow_s, mbstowcs, wcstombs, mbtowc, wctomb, qsort, bsearch, rand, srand,
);

/// Called in the prologue of a function with a large frame, with its bytes in rax: touches each page that the frame will
/// have, so that a stack that ends is found at its guard. Every register keeps its value.
#[unsafe(naked)]
pub(crate) unsafe extern "win64" fn __chkstk() {
    naked_asm!(
        "push rcx",
        "push rax",
        "lea rcx, [rsp + 24]",
        "cmp rax, 4096",
        "jb 3f",
        "2:",
        "sub rcx, 4096",
        "test byte ptr [rcx], cl",
        "sub rax, 4096",
        "cmp rax, 4096",
        "jae 2b",
        "3:",
        "sub rcx, rax",
        "test byte ptr [rcx], cl",
        "pop rax",
        "pop rcx",
        "ret",
    )
}

/// The classes of characters, in the "C" locale.
macro_rules! classes {
    ($($name:ident $class:expr;)*) => {
        $(pub(crate) unsafe extern "win64" fn $name(character: i32) -> i32 {
            let class: fn(&u8) -> bool = $class;
            i32::from(u8::try_from(character).is_ok_and(|byte| class(&byte)))
        })*
    };
}

classes! {
    isdigit u8::is_ascii_digit;
    islower u8::is_ascii_lowercase;
    isupper u8::is_ascii_uppercase;
    isxdigit u8::is_ascii_hexdigit;
    isprint |byte| (0x20..0x7F).contains(byte);
    isspace |byte| matches!(byte, 9..=13 | b' ');
}

pub(crate) unsafe extern "win64" fn tolower(character: i32) -> i32 {
    u8::try_from(character).map_or(character, |byte| byte.to_ascii_lowercase().into())
}

pub(crate) unsafe extern "win64" fn toupper(character: i32) -> i32 {
    u8::try_from(character).map_or(character, |byte| byte.to_ascii_uppercase().into())
}

pub(crate) unsafe extern "win64" fn towlower(character: u16) -> u16 {
    code_page::downcase(character)
}

pub(crate) unsafe extern "win64" fn towupper(character: u16) -> u16 {
    code_page::upcase(character)
}

/// A number in text: whether it is negative, its amount (saturating) and where it ends.
struct Number<U> {
    negative: bool,
    amount: u64,
    end: *const U,
}

/// Reads white space, a sign, the prefix of a base and digits. Without a digit the end is the start.
unsafe fn number<U: Unit>(text: *const U, base: u32) -> Number<U> {
    let unit = |at: *const U| get(at).number();
    let mut at = text;
    while matches!(unit(at), 9..=13 | 0x20) {
        at = at.wrapping_add(1);
    }
    let negative = unit(at) == u32::from(b'-');
    if negative || unit(at) == u32::from(b'+') {
        at = at.wrapping_add(1);
    }
    let hexadecimal = unit(at) == u32::from(b'0')
        && unit(at.wrapping_add(1)) | 0x20 == u32::from(b'x')
        && digit(unit(at.wrapping_add(2)), 16).is_some();
    let base = match base {
        0 if hexadecimal => 16,
        0 if unit(at) == u32::from(b'0') => 8,
        0 => 10,
        base => base,
    };
    if base == 16 && hexadecimal {
        at = at.wrapping_add(2);
    }
    let first = at;
    let mut amount = 0u64;
    while let Some(value) = digit(unit(at), base) {
        amount = amount.checked_mul(base.into()).and_then(|amount| amount.checked_add(value)).unwrap_or(u64::MAX);
        at = at.wrapping_add(1);
    }
    Number { negative, amount, end: if at == first { text } else { at } }
}

fn digit(unit: u32, base: u32) -> Option<u64> {
    char::from_u32(unit).filter(char::is_ascii).and_then(|c| c.to_digit(36)).filter(|d| *d < base).map(u64::from)
}

/// The C library's `atoi`: decimal, and at a limit when it does not fit.
unsafe fn decimal<U: Unit>(text: *const U) -> i32 {
    let read = number(text, 10);
    if read.negative {
        i32::try_from(-i128::from(read.amount)).unwrap_or(i32::MIN)
    } else {
        i32::try_from(read.amount).unwrap_or(i32::MAX)
    }
}

pub(crate) unsafe extern "win64" fn atoi(text: *const u8) -> i32 {
    decimal(text)
}

pub(crate) unsafe extern "win64" fn atol(text: *const u8) -> i32 {
    decimal(text)
}

pub(crate) unsafe extern "win64" fn _wtoi(text: *const u16) -> i32 {
    decimal(text)
}

pub(crate) unsafe extern "win64" fn _wtol(text: *const u16) -> i32 {
    decimal(text)
}

/// At `ULONG_MAX` when the number does not fit in 32 bits.
pub(crate) unsafe extern "win64" fn wcstoul(text: *const u16, end: *mut *const u16, base: i32) -> u32 {
    if text.is_null() || base == 1 || !(0..=36).contains(&base) {
        put_optional(end, text);
        return 0;
    }
    let read = number(text, base as u32);
    put_optional(end, read.end);
    match u32::try_from(read.amount) {
        Ok(amount) if read.negative => amount.wrapping_neg(),
        Ok(amount) => amount,
        Err(_) => u32::MAX,
    }
}

pub(crate) unsafe extern "win64" fn _strtoui64(text: *const u8, end: *mut *const u8, base: i32) -> u64 {
    if text.is_null() || base == 1 || !(0..=36).contains(&base) {
        put_optional(end, text);
        return 0;
    }
    let read = number(text, base as u32);
    put_optional(end, read.end);
    if read.negative && read.amount != u64::MAX { read.amount.wrapping_neg() } else { read.amount }
}

/// Digits of an amount, most significant first; nothing for a base that is none.
pub(crate) fn digits(mut amount: u64, base: u32) -> Vec<u8> {
    let mut text = Vec::new();
    while (2..=36).contains(&base) {
        text.push(char::from_digit((amount % u64::from(base)) as u32, base).unwrap_or('0') as u8);
        amount /= u64::from(base);
        if amount == 0 {
            break;
        }
    }
    text.reverse();
    text
}

/// What the `_itoa` family writes: a sign in base 10 only, `mask`ed to its width in every other.
fn itoa_text(value: i64, mask: u64, base: i32) -> Vec<u8> {
    let negative = value < 0 && base == 10;
    let amount = if negative { value.unsigned_abs() } else { value as u64 & mask };
    let mut text = if negative { vec![b'-'] } else { Vec::new() };
    text.extend(digits(amount, base.try_into().unwrap_or(0)));
    text
}

unsafe fn put_text<U: Unit>(to: *mut U, text: &[u8]) {
    for (at, byte) in text.iter().chain(&[0]).enumerate() {
        put(to.wrapping_add(at), U::of((*byte).into()));
    }
}

unsafe fn put_text_checked<U: Unit>(to: *mut U, room: usize, text: &[u8], base: i32) -> i32 {
    if to.is_null() || room == 0 {
        return EINVAL;
    }
    if !(2..=36).contains(&base) || text.len() >= room {
        put(to, U::ZERO);
        return if text.len() >= room { ERANGE } else { EINVAL };
    }
    put_text(to, text);
    0
}

pub(crate) unsafe extern "win64" fn _itoa(value: i32, to: *mut u8, base: i32) -> *mut u8 {
    put_text(to, &itoa_text(value.into(), u32::MAX.into(), base));
    to
}

pub(crate) unsafe extern "win64" fn _itow(value: i32, to: *mut u16, base: i32) -> *mut u16 {
    put_text(to, &itoa_text(value.into(), u32::MAX.into(), base));
    to
}

/// The checked forms: value, buffer, its units, base.
macro_rules! to_text {
    ($($name:ident $unit:ty, $value:ty, $text:expr;)*) => {
        $(pub(crate) unsafe extern "win64" fn $name(value: $value, to: *mut $unit, room: usize, base: i32) -> i32 {
            let text: fn($value, i32) -> Vec<u8> = $text;
            put_text_checked(to, room, &text(value, base), base)
        })*
    };
}

to_text! {
    _itoa_s u8, i32, |value, base| itoa_text(value.into(), u32::MAX.into(), base);
    _itow_s u16, i32, |value, base| itoa_text(value.into(), u32::MAX.into(), base);
    _ltoa_s u8, i32, |value, base| itoa_text(value.into(), u32::MAX.into(), base);
    _ltow_s u16, i32, |value, base| itoa_text(value.into(), u32::MAX.into(), base);
    _ultoa_s u8, u32, |value, base| digits(value.into(), base.try_into().unwrap_or(0));
    _ultow_s u16, u32, |value, base| digits(value.into(), base.try_into().unwrap_or(0));
    _i64toa_s u8, i64, |value, base| itoa_text(value, u64::MAX, base);
    _i64tow_s u16, i64, |value, base| itoa_text(value, u64::MAX, base);
    _ui64toa_s u8, u64, |value, base| digits(value, base.try_into().unwrap_or(0));
    _ui64tow_s u16, u64, |value, base| digits(value, base.try_into().unwrap_or(0));
}

/// Characters converted, without the terminator; with no destination, characters needed.
pub(crate) unsafe extern "win64" fn mbstowcs(to: *mut u16, from: *const u8, most: usize) -> usize {
    let mut at = 0;
    while to.is_null() || at < most {
        let unit = code_page::to_unicode(get(from.wrapping_add(at)));
        if !to.is_null() {
            put(to.wrapping_add(at), unit);
        }
        if unit == 0 {
            break;
        }
        at += 1;
    }
    at
}

/// Bytes converted, without the terminator; -1 at a character that the code page does not have.
pub(crate) unsafe extern "win64" fn wcstombs(to: *mut u8, from: *const u16, most: usize) -> usize {
    let mut at = 0;
    while to.is_null() || at < most {
        let Some(byte) = code_page::from_unicode(get(from.wrapping_add(at))) else { return usize::MAX };
        if !to.is_null() {
            put(to.wrapping_add(at), byte);
        }
        if byte == 0 {
            break;
        }
        at += 1;
    }
    at
}

pub(crate) unsafe extern "win64" fn mbtowc(to: *mut u16, from: *const u8, most: usize) -> i32 {
    if from.is_null() || most == 0 {
        return 0;
    }
    let byte = get(from);
    put_optional(to, code_page::to_unicode(byte));
    i32::from(byte != 0)
}

pub(crate) unsafe extern "win64" fn wctomb(to: *mut u8, character: u16) -> i32 {
    if to.is_null() {
        return 0;
    }
    match code_page::from_unicode(character) {
        Some(byte) => {
            put(to, byte);
            1
        }
        None => -1,
    }
}

/// Compares two elements: negative, zero or positive.
type Compare = unsafe extern "win64" fn(*const c_void, *const c_void) -> i32;

/// Sorts in place (a heap sort: no memory, and no bad case for a bad comparison).
pub(crate) unsafe extern "win64" fn qsort(base: *mut u8, count: usize, width: usize, compare: Compare) {
    let element = |at: usize| base.wrapping_add(at.wrapping_mul(width));
    let less = |a: usize, b: usize| compare(element(a).cast(), element(b).cast()) < 0;
    let sift = |mut root: usize, end: usize| loop {
        let mut child = 2 * root + 1;
        if child >= end {
            return;
        }
        if child + 1 < end && less(child, child + 1) {
            child += 1;
        }
        if !less(root, child) {
            return;
        }
        swap(element(root), element(child), width);
        root = child;
    };
    for root in (0..count / 2).rev() {
        sift(root, count);
    }
    for end in (1..count).rev() {
        swap(element(0), element(end), width);
        sift(0, end);
    }
}

unsafe fn swap(a: *mut u8, b: *mut u8, width: usize) {
    for at in 0..width {
        let (low, high) = (get(a.wrapping_add(at)), get(b.wrapping_add(at)));
        put(a.wrapping_add(at), high);
        put(b.wrapping_add(at), low);
    }
}

pub(crate) unsafe extern "win64" fn bsearch(
    key: *const c_void,
    base: *const u8,
    count: usize,
    width: usize,
    compare: Compare,
) -> *const c_void {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        let element = base.wrapping_add(middle.wrapping_mul(width)).cast();
        match compare(key, element) {
            0 => return element,
            order if order < 0 => high = middle,
            _ => low = middle + 1,
        }
    }
    ptr::null()
}

static RAND: AtomicU32 = AtomicU32::new(1);

/// 0 to 0x7FFF, from the linear congruence that the C runtime of Windows is known for.
pub(crate) unsafe extern "win64" fn rand() -> i32 {
    let step = |seed: u32| seed.wrapping_mul(214_013).wrapping_add(2_531_011);
    let before = RAND.fetch_update(Relaxed, Relaxed, |seed| Some(step(seed))).unwrap_or_else(|seed| seed);
    (step(before) >> 16 & 0x7FFF) as i32
}

pub(crate) unsafe extern "win64" fn srand(seed: u32) {
    RAND.store(seed, Relaxed);
}
