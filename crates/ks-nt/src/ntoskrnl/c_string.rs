//! The C runtime's strings of the kernel, of bytes and of UTF-16 units. The locale is "C": case is that of ASCII.

#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "each routine trusts its caller's addresses, as its documentation page says"
)]

use core::ptr;

use super::driver_memory::{get, put};
use super::rtl_memory::{EINVAL, ERANGE};
use crate::exports;
use crate::exports::Export;

/// Exports of this file.
pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    strlen, strnlen, strcmp, strncmp, _stricmp, _strnicmp, strcpy, strncpy, strcat, strncat, strchr, strrchr, strstr,
    strspn, strcpy_s, strncpy_s, strcat_s, strncat_s, _strlwr, _strupr, _strrev, _strset, _strnset, strtok_s,
    wcslen, wcsnlen, wcscmp, wcsncmp, _wcsicmp, _wcsnicmp, wcscpy, wcsncpy, wcscat, wcsncat, wcschr, wcsrchr, wcsstr,
    wcsspn, wcscspn, wcscpy_s, wcsncpy_s, wcscat_s, wcsncat_s, _wcslwr, _wcsupr, _wcsrev, _wcsnset,
);

/// `_TRUNCATE`: as much as fits.
pub(crate) const TRUNCATE: usize = usize::MAX;
/// STRUNCATE of the C runtime.
pub(crate) const STRUNCATE: i32 = 80;

/// A character of a string: a byte or a UTF-16 unit.
pub(crate) trait Unit: Copy + Eq {
    /// The terminator.
    const ZERO: Self;
    /// Its number.
    fn number(self) -> u32;
    /// The unit of a number.
    fn of(number: u32) -> Self;
    /// In lower case.
    fn lower(self) -> Self {
        let number = self.number();
        Self::of(if (0x41..=0x5A).contains(&number) { number + 0x20 } else { number })
    }
    /// In upper case.
    fn upper(self) -> Self {
        let number = self.number();
        Self::of(if (0x61..=0x7A).contains(&number) { number - 0x20 } else { number })
    }
}

impl Unit for u8 {
    const ZERO: Self = 0;
    fn number(self) -> u32 {
        self.into()
    }
    fn of(number: u32) -> Self {
        number as u8
    }
}

impl Unit for u16 {
    const ZERO: Self = 0;
    fn number(self) -> u32 {
        self.into()
    }
    fn of(number: u32) -> Self {
        number as u16
    }
}

/// Units before the terminator, at most `most`.
pub(crate) unsafe fn length<U: Unit>(string: *const U, most: usize) -> usize {
    let mut units = 0;
    while units < most && get(string.wrapping_add(units)) != U::ZERO {
        units += 1;
    }
    units
}

unsafe fn compare<U: Unit>(left: *const U, right: *const U, most: usize, case: fn(U) -> U) -> i32 {
    for at in 0..most {
        let (a, b) = (case(get(left.wrapping_add(at))), case(get(right.wrapping_add(at))));
        if a != b {
            return if a.number() < b.number() { -1 } else { 1 };
        }
        if a == U::ZERO {
            break;
        }
    }
    0
}

unsafe fn copy<U: Unit>(to: *mut U, from: *const U, units: usize) {
    for at in 0..units {
        put(to.wrapping_add(at), get(from.wrapping_add(at)));
    }
}

/// Copies at most `most` units and a terminator, of which `strcpy_s` and `strcat_s` are cases: refuses what does not fit.
unsafe fn append_checked<U: Unit>(to: *mut U, used: usize, room: usize, from: *const U, most: usize) -> i32 {
    if to.is_null() || room == 0 {
        return EINVAL;
    }
    if from.is_null() {
        put(to, U::ZERO);
        return EINVAL;
    }
    if used >= room {
        put(to, U::ZERO);
        return EINVAL;
    }
    let left = room - used;
    let units = length(from, most.min(left));
    let whole = units < left && (units == most || get(from.wrapping_add(units)) == U::ZERO);
    if !whole && most != TRUNCATE {
        put(to, U::ZERO);
        return ERANGE;
    }
    let units = units.min(left - 1);
    copy(to.wrapping_add(used), from, units);
    put(to.wrapping_add(used + units), U::ZERO);
    if whole { 0 } else { STRUNCATE }
}

unsafe fn find<U: Unit>(string: *const U, wanted: U) -> *const U {
    let mut at = string;
    loop {
        let unit = get(at);
        if unit == wanted {
            return at;
        }
        if unit == U::ZERO {
            return ptr::null();
        }
        at = at.wrapping_add(1);
    }
}

unsafe fn find_last<U: Unit>(string: *const U, wanted: U) -> *const U {
    let units = length(string, usize::MAX);
    (0..=units).rev().map(|at| string.wrapping_add(at)).find(|at| get(*at) == wanted).unwrap_or(ptr::null())
}

unsafe fn find_string<U: Unit>(string: *const U, wanted: *const U) -> *const U {
    let wanted_units = length(wanted, usize::MAX);
    let units = length(string, usize::MAX);
    (0..=units.saturating_sub(wanted_units))
        .filter(|_| wanted_units <= units)
        .map(|at| string.wrapping_add(at))
        .find(|at| (0..wanted_units).all(|unit| get(at.wrapping_add(unit)) == get(wanted.wrapping_add(unit))))
        .unwrap_or(ptr::null())
}

unsafe fn contains<U: Unit>(set: *const U, unit: U) -> bool {
    unit != U::ZERO && !find(set, unit).is_null()
}

/// Units from the start that are all in the set, or all not in it.
unsafe fn span<U: Unit>(string: *const U, set: *const U, member: bool) -> usize {
    (0..length(string, usize::MAX))
        .find(|at| contains(set, get(string.wrapping_add(*at))) != member)
        .unwrap_or_else(|| length(string, usize::MAX))
}

unsafe fn change<U: Unit>(string: *mut U, most: usize, with: impl Fn(U) -> U) -> *mut U {
    for at in 0..length(string, most) {
        put(string.wrapping_add(at), with(get(string.wrapping_add(at))));
    }
    string
}

unsafe fn reverse<U: Unit>(string: *mut U) -> *mut U {
    let units = length(string, usize::MAX);
    for at in 0..units / 2 {
        let (low, high) = (string.wrapping_add(at), string.wrapping_add(units - 1 - at));
        let (a, b) = (get(low), get(high));
        put(low, b);
        put(high, a);
    }
    string
}

unsafe fn token<U: Unit>(string: *mut U, delimiters: *const U, context: *mut *mut U) -> *mut U {
    let mut at = if string.is_null() { get(context) } else { string };
    if at.is_null() {
        return ptr::null_mut();
    }
    at = at.wrapping_add(span(at, delimiters, true));
    if get(at) == U::ZERO {
        put(context, at);
        return ptr::null_mut();
    }
    let end = at.wrapping_add(span(at, delimiters, false));
    if get(end) == U::ZERO {
        put(context, end);
    } else {
        put(end, U::ZERO);
        put(context, end.wrapping_add(1));
    }
    at
}

/// The routines that exist for bytes and for UTF-16 units.
macro_rules! strings {
    ($unit:ty; $len:ident $nlen:ident $cmp:ident $ncmp:ident $icmp:ident $nicmp:ident $cpy:ident $ncpy:ident $cat:ident
     $ncat:ident $chr:ident $rchr:ident $str:ident $spn:ident $cpy_s:ident $ncpy_s:ident $cat_s:ident $ncat_s:ident
     $lwr:ident $upr:ident $rev:ident $nset:ident) => {
        pub(crate) unsafe extern "win64" fn $len(string: *const $unit) -> usize {
            length(string, usize::MAX)
        }

        pub(crate) unsafe extern "win64" fn $nlen(string: *const $unit, most: usize) -> usize {
            if string.is_null() { 0 } else { length(string, most) }
        }

        pub(crate) unsafe extern "win64" fn $cmp(left: *const $unit, right: *const $unit) -> i32 {
            compare(left, right, usize::MAX, |unit| unit)
        }

        pub(crate) unsafe extern "win64" fn $ncmp(left: *const $unit, right: *const $unit, most: usize) -> i32 {
            compare(left, right, most, |unit| unit)
        }

        pub(crate) unsafe extern "win64" fn $icmp(left: *const $unit, right: *const $unit) -> i32 {
            compare(left, right, usize::MAX, Unit::lower)
        }

        pub(crate) unsafe extern "win64" fn $nicmp(left: *const $unit, right: *const $unit, most: usize) -> i32 {
            compare(left, right, most, Unit::lower)
        }

        pub(crate) unsafe extern "win64" fn $cpy(to: *mut $unit, from: *const $unit) -> *mut $unit {
            copy(to, from, length(from, usize::MAX) + 1);
            to
        }

        /// Fills the rest with zeroes; adds no terminator when there is no rest.
        pub(crate) unsafe extern "win64" fn $ncpy(to: *mut $unit, from: *const $unit, most: usize) -> *mut $unit {
            let units = length(from, most);
            copy(to, from, units);
            for at in units..most {
                put(to.wrapping_add(at), 0);
            }
            to
        }

        pub(crate) unsafe extern "win64" fn $cat(to: *mut $unit, from: *const $unit) -> *mut $unit {
            $cpy(to.wrapping_add(length(to, usize::MAX)), from);
            to
        }

        pub(crate) unsafe extern "win64" fn $ncat(to: *mut $unit, from: *const $unit, most: usize) -> *mut $unit {
            let (used, units) = (length(to, usize::MAX), length(from, most));
            copy(to.wrapping_add(used), from, units);
            put(to.wrapping_add(used + units), 0);
            to
        }

        pub(crate) unsafe extern "win64" fn $rchr(string: *const $unit, wanted: i32) -> *const $unit {
            find_last(string, wanted as $unit)
        }

        pub(crate) unsafe extern "win64" fn $chr(string: *const $unit, wanted: i32) -> *const $unit {
            find(string, wanted as $unit)
        }

        pub(crate) unsafe extern "win64" fn $str(string: *const $unit, wanted: *const $unit) -> *const $unit {
            find_string(string, wanted)
        }

        pub(crate) unsafe extern "win64" fn $spn(string: *const $unit, set: *const $unit) -> usize {
            span(string, set, true)
        }

        pub(crate) unsafe extern "win64" fn $cpy_s(to: *mut $unit, room: usize, from: *const $unit) -> i32 {
            append_checked(to, 0, room, from, usize::MAX - 1)
        }

        pub(crate) unsafe extern "win64" fn $ncpy_s(
            to: *mut $unit,
            room: usize,
            from: *const $unit,
            most: usize,
        ) -> i32 {
            append_checked(to, 0, room, from, most)
        }

        pub(crate) unsafe extern "win64" fn $cat_s(to: *mut $unit, room: usize, from: *const $unit) -> i32 {
            append_checked(to, $nlen(to, room), room, from, usize::MAX - 1)
        }

        pub(crate) unsafe extern "win64" fn $ncat_s(
            to: *mut $unit,
            room: usize,
            from: *const $unit,
            most: usize,
        ) -> i32 {
            append_checked(to, $nlen(to, room), room, from, most)
        }

        pub(crate) unsafe extern "win64" fn $lwr(string: *mut $unit) -> *mut $unit {
            change(string, usize::MAX, Unit::lower)
        }

        pub(crate) unsafe extern "win64" fn $upr(string: *mut $unit) -> *mut $unit {
            change(string, usize::MAX, Unit::upper)
        }

        pub(crate) unsafe extern "win64" fn $rev(string: *mut $unit) -> *mut $unit {
            reverse(string)
        }

        pub(crate) unsafe extern "win64" fn $nset(string: *mut $unit, fill: i32, most: usize) -> *mut $unit {
            change(string, most, |_| fill as $unit)
        }
    };
}

strings!(u8; strlen strnlen strcmp strncmp _stricmp _strnicmp strcpy strncpy strcat strncat strchr strrchr strstr strspn
    strcpy_s strncpy_s strcat_s strncat_s _strlwr _strupr _strrev _strnset);
strings!(u16; wcslen wcsnlen wcscmp wcsncmp _wcsicmp _wcsnicmp wcscpy wcsncpy wcscat wcsncat wcschr wcsrchr wcsstr wcsspn
    wcscpy_s wcsncpy_s wcscat_s wcsncat_s _wcslwr _wcsupr _wcsrev _wcsnset);

pub(crate) unsafe extern "win64" fn _strset(string: *mut u8, fill: i32) -> *mut u8 {
    change(string, usize::MAX, |_| fill as u8)
}

pub(crate) unsafe extern "win64" fn wcscspn(string: *const u16, set: *const u16) -> usize {
    span(string, set, false)
}

pub(crate) unsafe extern "win64" fn strtok_s(string: *mut u8, delimiters: *const u8, context: *mut *mut u8) -> *mut u8 {
    token(string, delimiters, context)
}
