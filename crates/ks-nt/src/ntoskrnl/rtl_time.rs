//! Dates.
//!
//! Decision: the local time zone is UTC, whatever the Linux locale says, so that a driver prints the same everywhere.

#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "each routine trusts its caller's addresses, as its documentation page says"
)]

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::driver_memory::{get, put};
use crate::exports;
use crate::exports::Export;
use ks_abi::status::{NtStatus, STATUS_SUCCESS};

/// Exports of this file.
pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    RtlTimeToTimeFields, RtlTimeFieldsToTime, RtlTimeToElapsedTimeFields, RtlTimeToSecondsSince1970,
    RtlTimeToSecondsSince1980, RtlSecondsSince1970ToTime, RtlSecondsSince1980ToTime, ExSystemTimeToLocalTime,
    ExLocalTimeToSystemTime, RtlSystemTimeToLocalTime, RtlLocalTimeToSystemTime,
);

/// A date in parts.
#[doc(alias = "TIME_FIELDS")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct TimeFields {
    year: i16,
    month: i16,
    day: i16,
    hour: i16,
    minute: i16,
    second: i16,
    milliseconds: i16,
    weekday: i16,
}

/// 100-ns units of a second.
const SECOND: i64 = 10_000_000;
/// Days from 1601-01-01 to 1970-01-01.
const DAYS_TO_1970: i64 = 134_774;
/// Seconds from 1601-01-01 to 1970-01-01 and to 1980-01-01.
const TO_1970: i64 = DAYS_TO_1970 * 86_400;
const TO_1980: i64 = TO_1970 + 3652 * 86_400;

/// Year, month and day of a day after 1601-01-01, in the Gregorian calendar.
fn date(day: i64) -> (i64, i64, i64) {
    // 400 years have 146,097 days, and 1601 begins such a period.
    let (era, mut day) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let century = (day / 36_524).min(3);
    day -= century * 36_524;
    let leap = day / 1461;
    day -= leap * 1461;
    let year_of_four = (day / 365).min(3);
    day -= year_of_four * 365;
    let year = 1601 + era * 400 + century * 100 + leap * 4 + year_of_four;
    let mut month = 1;
    while day >= days_of_month(year, month) {
        day -= days_of_month(year, month);
        month += 1;
    }
    (year, month, day + 1)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_before_year(year: i64) -> i64 {
    let years = year - 1601;
    years * 365 + years / 4 - years / 100 + years / 400
}

fn parts(time: i64) -> TimeFields {
    let milliseconds = time.div_euclid(SECOND / 1000);
    let (day, rest) = (milliseconds.div_euclid(86_400_000), milliseconds.rem_euclid(86_400_000));
    let (year, month, day_of_month) = date(day);
    TimeFields {
        year: year as i16,
        month: month as i16,
        day: day_of_month as i16,
        hour: (rest / 3_600_000) as i16,
        minute: (rest / 60_000 % 60) as i16,
        second: (rest / 1000 % 60) as i16,
        milliseconds: (rest % 1000) as i16,
        // 1601-01-01 was a Monday; Sunday is 0.
        weekday: (day + 1).rem_euclid(7) as i16,
    }
}

fn whole(fields: &TimeFields) -> Option<i64> {
    let [year, month, day] = [fields.year, fields.month, fields.day].map(i64::from);
    let [hour, minute, second, ms] = [fields.hour, fields.minute, fields.second, fields.milliseconds].map(i64::from);
    let valid = (1601..=30827).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_of_month(year, month)).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..60).contains(&second)
        && (0..1000).contains(&ms);
    if !valid {
        return None;
    }
    let days = days_before_year(year) + (1..month).map(|month| days_of_month(year, month)).sum::<i64>() + day - 1;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * SECOND + ms * (SECOND / 1000))
}

pub(crate) unsafe extern "win64" fn RtlTimeToTimeFields(time: *const i64, fields: *mut TimeFields) {
    put(fields, parts(get(time)));
}

/// The weekday is not looked at.
pub(crate) unsafe extern "win64" fn RtlTimeFieldsToTime(fields: *const TimeFields, time: *mut i64) -> u8 {
    match whole(&get(fields)) {
        Some(value) => {
            put(time, value);
            1
        }
        None => 0,
    }
}

/// A duration: days in `Day`, no year, month or weekday.
pub(crate) unsafe extern "win64" fn RtlTimeToElapsedTimeFields(time: *const i64, fields: *mut TimeFields) {
    let time = get(time);
    let days = (time / (86_400 * SECOND)) as i16;
    put(fields, TimeFields { year: 0, month: 0, day: days, weekday: 0, ..parts(time) });
}

unsafe fn seconds_since(time: *const i64, start: i64, seconds: *mut u32) -> u8 {
    match u32::try_from(get(time).div_euclid(SECOND) - start) {
        Ok(value) => {
            put(seconds, value);
            1
        }
        Err(_) => 0,
    }
}

pub(crate) unsafe extern "win64" fn RtlTimeToSecondsSince1970(time: *const i64, seconds: *mut u32) -> u8 {
    seconds_since(time, TO_1970, seconds)
}

pub(crate) unsafe extern "win64" fn RtlTimeToSecondsSince1980(time: *const i64, seconds: *mut u32) -> u8 {
    seconds_since(time, TO_1980, seconds)
}

pub(crate) unsafe extern "win64" fn RtlSecondsSince1970ToTime(seconds: u32, time: *mut i64) {
    put(time, (i64::from(seconds) + TO_1970) * SECOND);
}

pub(crate) unsafe extern "win64" fn RtlSecondsSince1980ToTime(seconds: u32, time: *mut i64) {
    put(time, (i64::from(seconds) + TO_1980) * SECOND);
}

pub(crate) unsafe extern "win64" fn ExSystemTimeToLocalTime(system: *const i64, local: *mut i64) {
    put(local, get(system));
}

pub(crate) unsafe extern "win64" fn ExLocalTimeToSystemTime(local: *const i64, system: *mut i64) {
    put(system, get(local));
}

pub(crate) unsafe extern "win64" fn RtlSystemTimeToLocalTime(system: *const i64, local: *mut i64) -> NtStatus {
    put(local, get(system));
    STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn RtlLocalTimeToSystemTime(local: *const i64, system: *mut i64) -> NtStatus {
    put(system, get(local));
    STATUS_SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_eight_centuries_comes_back() {
        for day in 0..292_194 {
            let time = day * 86_400 * SECOND + 12_345 * SECOND + 7 * 10_000;
            let fields = parts(time);
            assert_eq!(whole(&fields), Some(time), "{fields:?}");
            assert_eq!(i64::from(fields.weekday), (day + 1) % 7);
        }
    }

    #[test]
    fn known_dates() {
        let fields = parts((TO_1970 + 951_782_400) * SECOND);
        assert_eq!((fields.year, fields.month, fields.day, fields.weekday), (2000, 2, 29, 2));
        assert_eq!(whole(&TimeFields { year: 1601, month: 1, day: 1, ..Default::default() }), Some(0));
        assert_eq!(whole(&TimeFields { year: 2001, month: 2, day: 29, ..Default::default() }), None);
    }
}
