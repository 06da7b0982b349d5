//! Bitmaps: a count of bits and the address of their 32-bit words.

#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "each routine trusts its caller's addresses, as its documentation page says"
)]

use super::driver_memory::{get, put};
use crate::exports;
use crate::exports::Export;

/// Exports of this file.
pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    RtlInitializeBitMap, RtlClearAllBits, RtlSetAllBits, RtlClearBit, RtlSetBit, RtlTestBit, RtlClearBits, RtlSetBits,
    RtlAreBitsClear, RtlAreBitsSet, RtlFindClearBits, RtlFindSetBits, RtlFindClearBitsAndSet, RtlFindSetBitsAndClear,
    RtlFindClearRuns, RtlFindFirstRunClear, RtlFindLongestRunClear, RtlFindNextForwardRunClear,
    RtlFindLastBackwardRunClear, RtlNumberOfClearBits, RtlNumberOfSetBits, RtlNumberOfSetBitsUlongPtr,
    RtlFindLeastSignificantBit, RtlFindMostSignificantBit,
);

/// What the find routines return for nothing.
const NONE: u32 = u32::MAX;

/// RTL_BITMAP.
#[doc(alias = "RTL_BITMAP")]
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct BitMap {
    bits: u32,
    _padding: u32,
    words: *mut u32,
}

/// RTL_BITMAP_RUN.
#[doc(alias = "RTL_BITMAP_RUN")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Run {
    start: u32,
    bits: u32,
}

impl BitMap {
    unsafe fn test(&self, at: u32) -> bool {
        get(self.words.wrapping_add(at as usize / 32)) >> (at % 32) & 1 != 0
    }

    unsafe fn assign(&self, at: u32, value: bool) {
        let word = self.words.wrapping_add(at as usize / 32);
        let mask = 1 << (at % 32);
        put(word, if value { get(word) | mask } else { get(word) & !mask });
    }

    unsafe fn assign_all(&self, start: u32, count: u32, value: bool) {
        for at in start..start.saturating_add(count).min(self.bits) {
            self.assign(at, value);
        }
    }

    unsafe fn are(&self, start: u32, count: u32, value: bool) -> bool {
        let Some(end) = start.checked_add(count) else { return false };
        end <= self.bits && count != 0 && (start..end).all(|at| self.test(at) == value)
    }

    /// The first run of at least `count` bits of this value that starts at or after `from`.
    unsafe fn run_of(&self, count: u32, from: u32, value: bool) -> Option<u32> {
        let mut length = 0;
        for at in from..self.bits {
            length = if self.test(at) == value { length + 1 } else { 0 };
            if length == count {
                return Some(at + 1 - count);
            }
        }
        None
    }

    /// As `run_of`, from the start again if there is none behind the hint.
    unsafe fn find(&self, count: u32, hint: u32, value: bool) -> u32 {
        let hint = if hint < self.bits { hint } else { 0 };
        if count == 0 {
            return hint & !7;
        }
        self.run_of(count, hint, value).or_else(|| self.run_of(count, 0, value)).unwrap_or(NONE)
    }

    /// All runs of clear bits, in order.
    unsafe fn clear_runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for at in (0..self.bits).filter(|at| !self.test(*at)) {
            match runs.last_mut() {
                Some(run) if run.start + run.bits == at => run.bits += 1,
                _ => runs.push(Run { start: at, bits: 1 }),
            }
        }
        runs
    }
}

pub(crate) unsafe extern "win64" fn RtlInitializeBitMap(map: *mut BitMap, words: *mut u32, bits: u32) {
    put(map, BitMap { bits, _padding: 0, words });
}

pub(crate) unsafe extern "win64" fn RtlClearAllBits(map: *mut BitMap) {
    let map = get(map);
    map.words.write_bytes(0, map.bits.div_ceil(32) as usize);
}

pub(crate) unsafe extern "win64" fn RtlSetAllBits(map: *mut BitMap) {
    let map = get(map);
    map.words.write_bytes(0xFF, map.bits.div_ceil(32) as usize);
}

pub(crate) unsafe extern "win64" fn RtlClearBit(map: *mut BitMap, at: u32) {
    get(map).assign_all(at, 1, false);
}

pub(crate) unsafe extern "win64" fn RtlSetBit(map: *mut BitMap, at: u32) {
    get(map).assign_all(at, 1, true);
}

pub(crate) unsafe extern "win64" fn RtlTestBit(map: *const BitMap, at: u32) -> u8 {
    u8::from(at < get(map).bits && get(map).test(at))
}

pub(crate) unsafe extern "win64" fn RtlClearBits(map: *mut BitMap, start: u32, count: u32) {
    get(map).assign_all(start, count, false);
}

pub(crate) unsafe extern "win64" fn RtlSetBits(map: *mut BitMap, start: u32, count: u32) {
    get(map).assign_all(start, count, true);
}

pub(crate) unsafe extern "win64" fn RtlAreBitsClear(map: *const BitMap, start: u32, count: u32) -> u8 {
    get(map).are(start, count, false).into()
}

pub(crate) unsafe extern "win64" fn RtlAreBitsSet(map: *const BitMap, start: u32, count: u32) -> u8 {
    get(map).are(start, count, true).into()
}

pub(crate) unsafe extern "win64" fn RtlFindClearBits(map: *const BitMap, count: u32, hint: u32) -> u32 {
    get(map).find(count, hint, false)
}

pub(crate) unsafe extern "win64" fn RtlFindSetBits(map: *const BitMap, count: u32, hint: u32) -> u32 {
    get(map).find(count, hint, true)
}

pub(crate) unsafe extern "win64" fn RtlFindClearBitsAndSet(map: *mut BitMap, count: u32, hint: u32) -> u32 {
    let found = get(map).find(count, hint, false);
    if found != NONE {
        get(map).assign_all(found, count, true);
    }
    found
}

pub(crate) unsafe extern "win64" fn RtlFindSetBitsAndClear(map: *mut BitMap, count: u32, hint: u32) -> u32 {
    let found = get(map).find(count, hint, true);
    if found != NONE {
        get(map).assign_all(found, count, false);
    }
    found
}

/// Fills an array with the first runs, or with the longest, longest first.
pub(crate) unsafe extern "win64" fn RtlFindClearRuns(map: *const BitMap, to: *mut Run, room: u32, longest: u8) -> u32 {
    let mut runs = get(map).clear_runs();
    if longest != 0 {
        runs.sort_by_key(|run| core::cmp::Reverse(run.bits));
    }
    runs.truncate(room as usize);
    for (at, run) in runs.iter().enumerate() {
        put(to.wrapping_add(at), *run);
    }
    runs.len() as u32
}

pub(crate) unsafe extern "win64" fn RtlFindFirstRunClear(map: *const BitMap, start: *mut u32) -> u32 {
    RtlFindNextForwardRunClear(map, 0, start)
}

pub(crate) unsafe extern "win64" fn RtlFindLongestRunClear(map: *const BitMap, start: *mut u32) -> u32 {
    let runs = get(map).clear_runs();
    let longest = runs.iter().rev().max_by_key(|run| run.bits).copied().unwrap_or(Run { start: 0, bits: 0 });
    put(start, longest.start);
    longest.bits
}

/// The run that starts at or after `from`; without one, no bits, and the start is the end of the map.
pub(crate) unsafe extern "win64" fn RtlFindNextForwardRunClear(map: *const BitMap, from: u32, start: *mut u32) -> u32 {
    let map = get(map);
    let first = (from..map.bits).find(|at| !map.test(*at)).unwrap_or(map.bits);
    let end = (first..map.bits).find(|at| map.test(*at)).unwrap_or(map.bits);
    put(start, first);
    end - first
}

/// The run that ends at or before `from`.
pub(crate) unsafe extern "win64" fn RtlFindLastBackwardRunClear(map: *const BitMap, from: u32, start: *mut u32) -> u32 {
    let map = get(map);
    let end = from.saturating_add(1).min(map.bits);
    let Some(last) = (0..end).rev().find(|at| !map.test(*at)) else {
        put(start, 0);
        return 0;
    };
    let first = (0..last).rev().find(|at| map.test(*at)).map_or(0, |at| at + 1);
    put(start, first);
    last + 1 - first
}

pub(crate) unsafe extern "win64" fn RtlNumberOfClearBits(map: *const BitMap) -> u32 {
    get(map).bits - RtlNumberOfSetBits(map)
}

pub(crate) unsafe extern "win64" fn RtlNumberOfSetBits(map: *const BitMap) -> u32 {
    let map = get(map);
    (0..map.bits).filter(|at| map.test(*at)).count() as u32
}

pub(crate) unsafe extern "win64" fn RtlNumberOfSetBitsUlongPtr(value: u64) -> u32 {
    value.count_ones()
}

/// -1 for no bit.
pub(crate) unsafe extern "win64" fn RtlFindLeastSignificantBit(value: u64) -> i8 {
    if value == 0 { -1 } else { value.trailing_zeros() as i8 }
}

/// -1 for no bit.
pub(crate) unsafe extern "win64" fn RtlFindMostSignificantBit(value: u64) -> i8 {
    63 - value.leading_zeros() as i8
}
