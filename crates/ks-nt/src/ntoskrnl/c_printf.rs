//! `sprintf` and its relatives.

#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "each routine trusts its caller's addresses, as its documentation page says"
)]

use core::arch::naked_asm;

use super::c_string::{TRUNCATE, Unit};
use super::code_page;
use super::driver_memory::{byte_string, put, wide_string};
use super::format::{Flavor, Formatted, format};
use crate::exports;
use crate::exports::Export;

/// Exports of this file.
pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    sprintf, sprintf_s, swprintf, swprintf_s, _swprintf, _snprintf, _snprintf_s, _snwprintf, _snwprintf_s,
    vsprintf, vsprintf_s, vswprintf_s, _vswprintf, _vsnprintf, _vsnprintf_s, _vsnwprintf, _vsnwprintf_s,
);

/// A routine with variable arguments: they are in registers and, after those, on the stack; the registers go to the room
/// that the caller left for them, so that all arguments lie in one array, whose address the target gets in the place
/// after the fixed ones.
macro_rules! variadic {
    ($($(#[$meta:meta])* $name:ident($($fixed:ty),*) $place:literal => $target:ident;)*) => {
        $($(#[$meta])*
        #[unsafe(naked)]
        pub(crate) unsafe extern "win64" fn $name($(_: $fixed),*) -> i32 {
            core::arch::naked_asm!(
                "mov [rsp + 8], rcx",
                "mov [rsp + 16], rdx",
                "mov [rsp + 24], r8",
                "mov [rsp + 32], r9",
                $place,
                "sub rsp, 40",
                "call {target}",
                "add rsp, 40",
                "ret",
                target = sym $target,
            )
        })*
    };
}
pub(crate) use variadic;

variadic! {
    sprintf(*mut u8, *const u8) "lea r8, [rsp + 24]" => vsprintf;
    sprintf_s(*mut u8, usize, *const u8) "lea r9, [rsp + 32]" => vsprintf_s;
    swprintf(*mut u16, *const u16) "lea r8, [rsp + 24]" => _vswprintf;
    _swprintf(*mut u16, *const u16) "lea r8, [rsp + 24]" => _vswprintf;
    swprintf_s(*mut u16, usize, *const u16) "lea r9, [rsp + 32]" => vswprintf_s;
    _snprintf(*mut u8, usize, *const u8) "lea r9, [rsp + 32]" => _vsnprintf;
    _snwprintf(*mut u16, usize, *const u16) "lea r9, [rsp + 32]" => _vsnwprintf;
}

/// As [`variadic`], for four fixed arguments: the list is the fifth, on the stack.
macro_rules! variadic_after_four {
    ($($name:ident($unit:ty) => $target:ident;)*) => {
        $(#[unsafe(naked)]
        pub(crate) unsafe extern "win64" fn $name(_: *mut $unit, _: usize, _: usize, _: *const $unit) -> i32 {
            naked_asm!(
                "lea rax, [rsp + 40]",
                "sub rsp, 56",
                "mov [rsp + 32], rax",
                "call {target}",
                "add rsp, 56",
                "ret",
                target = sym $target,
            )
        })*
    };
}

variadic_after_four! {
    _snprintf_s(u8) => _vsnprintf_s;
    _snwprintf_s(u16) => _vsnwprintf_s;
}

/// A format and the text that comes of it, in one kind of unit.
trait Text: Unit {
    unsafe fn print(format: *const Self, arguments: *const u64, limit: usize) -> Formatted;
    fn narrowed(unit: u16) -> Self;
}

impl Text for u8 {
    unsafe fn print(text: *const Self, arguments: *const u64, limit: usize) -> Formatted {
        let text: Vec<u16> = byte_string(text).into_iter().map(code_page::to_unicode).collect();
        format(&text, Flavor::Narrow, arguments, limit)
    }
    fn narrowed(unit: u16) -> Self {
        code_page::from_unicode(unit).unwrap_or(code_page::DEFAULT)
    }
}

impl Text for u16 {
    unsafe fn print(text: *const Self, arguments: *const u64, limit: usize) -> Formatted {
        format(&wide_string(text), Flavor::Wide, arguments, limit)
    }
    fn narrowed(unit: u16) -> Self {
        unit
    }
}

unsafe fn put_units<U: Text>(to: *mut U, units: &[u16]) {
    for (at, unit) in units.iter().enumerate() {
        put(to.wrapping_add(at), U::narrowed(*unit));
    }
}

/// With room for all: the text and a terminator.
unsafe fn print<U: Text>(to: *mut U, text: *const U, arguments: *const u64) -> i32 {
    let formatted = U::print(text, arguments, usize::MAX);
    put_units(to, &formatted.units);
    put(to.wrapping_add(formatted.units.len()), U::ZERO);
    formatted.units.len() as i32
}

/// At most `room` units: a terminator only where there is room for it, and -1 for a text that was cut.
unsafe fn print_counted<U: Text>(to: *mut U, room: usize, text: *const U, arguments: *const u64) -> i32 {
    let formatted = U::print(text, arguments, if to.is_null() { 0 } else { room });
    if to.is_null() {
        return if room == 0 { formatted.total as i32 } else { -1 };
    }
    put_units(to, &formatted.units);
    if formatted.total < room {
        put(to.wrapping_add(formatted.total), U::ZERO);
    }
    if formatted.total > room { -1 } else { formatted.total as i32 }
}

/// Always terminated; a text that does not fit is refused, or cut when `most` allows it.
unsafe fn print_checked<U: Text>(to: *mut U, room: usize, most: usize, text: *const U, arguments: *const u64) -> i32 {
    if to.is_null() || room == 0 || text.is_null() {
        return -1;
    }
    let formatted = U::print(text, arguments, room);
    let kept = formatted.total.min(most).min(room - 1);
    if formatted.total.min(most) >= room && most != TRUNCATE {
        put(to, U::ZERO);
        return -1;
    }
    put_units(to, &formatted.units[..kept]);
    put(to.wrapping_add(kept), U::ZERO);
    if kept < formatted.total { -1 } else { kept as i32 }
}

/// The forms that take an argument list.
macro_rules! lists {
    ($($unit:ty: $plain:ident $checked:ident $counted:ident $counted_checked:ident;)*) => {
        $(pub(crate) unsafe extern "win64" fn $plain(to: *mut $unit, text: *const $unit, arguments: *const u64) -> i32 {
            print(to, text, arguments)
        }

        pub(crate) unsafe extern "win64" fn $checked(
            to: *mut $unit,
            room: usize,
            text: *const $unit,
            arguments: *const u64,
        ) -> i32 {
            print_checked(to, room, usize::MAX - 1, text, arguments)
        }

        pub(crate) unsafe extern "win64" fn $counted(
            to: *mut $unit,
            room: usize,
            text: *const $unit,
            arguments: *const u64,
        ) -> i32 {
            print_counted(to, room, text, arguments)
        }

        pub(crate) unsafe extern "win64" fn $counted_checked(
            to: *mut $unit,
            room: usize,
            most: usize,
            text: *const $unit,
            arguments: *const u64,
        ) -> i32 {
            print_checked(to, room, most, text, arguments)
        })*
    };
}

lists! {
    u8: vsprintf vsprintf_s _vsnprintf _vsnprintf_s;
    u16: _vswprintf vswprintf_s _vsnwprintf _vsnwprintf_s;
}
