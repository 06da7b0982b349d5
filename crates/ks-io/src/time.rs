//! Time in units of 100 nanoseconds, and where it comes from.
//!
//! All arithmetic saturates: a time that a client sends can be anything, and must not wrap into the past.

use std::fmt;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};
use std::time::Duration;

/// An instant on a [`TimeSource`], in units of 100 nanoseconds since an origin that the source chooses.
///
/// Instants of two sources cannot be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub i64);

/// A span of time in units of 100 nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticks(pub i64);

/// A monotonic clock: two calls on any two threads, one after the other, never see time run backwards.
pub trait TimeSource: Send + Sync {
    /// The time now.
    fn now(&self) -> Time;
}

impl Time {
    /// The origin of the source.
    pub const ORIGIN: Self = Self(0);
    /// Later than every other time; as a deadline it means "never".
    pub const NEVER: Self = Self(i64::MAX);

    /// How long after `earlier` this is; negative if it is before.
    #[inline]
    pub const fn since(self, earlier: Self) -> Ticks {
        Ticks(self.0.saturating_sub(earlier.0))
    }
}

impl Ticks {
    /// No time.
    pub const ZERO: Self = Self(0);
    /// One second.
    pub const SECOND: Self = Self(10_000_000);
    /// One millisecond.
    pub const MILLISECOND: Self = Self(10_000);
    /// One microsecond.
    pub const MICROSECOND: Self = Self(10);
    /// More than every other span.
    pub const MAX: Self = Self(i64::MAX);

    /// A span of whole seconds.
    #[inline]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(Self::SECOND.0))
    }

    /// A span of whole milliseconds.
    #[inline]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(Self::MILLISECOND.0))
    }

    /// A span of whole microseconds.
    #[inline]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros.saturating_mul(Self::MICROSECOND.0))
    }

    /// A span of nanoseconds, cut towards zero to whole ticks.
    #[inline]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos / 100)
    }

    /// The span in nanoseconds.
    #[inline]
    pub const fn as_nanos(self) -> i64 {
        self.0.saturating_mul(100)
    }

    /// The span in whole milliseconds, cut towards zero.
    #[inline]
    pub const fn as_millis(self) -> i64 {
        self.0 / Self::MILLISECOND.0
    }

    /// The span in seconds, as a fraction.
    #[inline]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / Self::SECOND.0 as f64
    }

    /// The span as the standard library has it; a negative one is zero.
    #[inline]
    pub const fn to_std(self) -> Duration {
        if self.0 <= 0 {
            return Duration::ZERO;
        }
        let ticks = self.0.unsigned_abs();
        let second = Self::SECOND.0.unsigned_abs();
        Duration::new(ticks / second, (ticks % second) as u32 * 100)
    }

    /// A standard span, cut to whole ticks; one that is too long is [`Ticks::MAX`].
    #[inline]
    pub fn from_std(span: Duration) -> Self {
        Self(i64::try_from(span.as_nanos() / 100).unwrap_or(i64::MAX))
    }
}

impl Add<Ticks> for Time {
    type Output = Self;
    #[inline]
    fn add(self, span: Ticks) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl AddAssign<Ticks> for Time {
    #[inline]
    fn add_assign(&mut self, span: Ticks) {
        *self = *self + span;
    }
}

impl Sub<Ticks> for Time {
    type Output = Self;
    #[inline]
    fn sub(self, span: Ticks) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

impl Sub for Time {
    type Output = Ticks;
    #[inline]
    fn sub(self, earlier: Self) -> Ticks {
        self.since(earlier)
    }
}

impl Add for Ticks {
    type Output = Self;
    #[inline]
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Ticks {
    type Output = Self;
    #[inline]
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Mul<i64> for Ticks {
    type Output = Self;
    #[inline]
    fn mul(self, times: i64) -> Self {
        Self(self.0.saturating_mul(times))
    }
}

impl Div<i64> for Ticks {
    type Output = Self;
    /// Divides, cutting towards zero; division by zero gives the farthest span of the same sign.
    #[inline]
    fn div(self, parts: i64) -> Self {
        match (self.0, parts) {
            (0, _) => Self::ZERO,
            (span, 0) => Self(if span > 0 { i64::MAX } else { i64::MIN }),
            (span, parts) => Self(span.saturating_div(parts)),
        }
    }
}

impl Neg for Ticks {
    type Output = Self;
    #[inline]
    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ticks(self.0).fmt(f)
    }
}

impl fmt::Display for Ticks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ticks = self.0.unsigned_abs();
        let second = Self::SECOND.0.unsigned_abs();
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{}.{:07} s", ticks / second, ticks % second)
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Time(i64::MAX - 1) + Ticks(5), Time::NEVER);
        assert_eq!(Time(i64::MIN) - Ticks(1), Time(i64::MIN));
        assert_eq!(Time(i64::MIN) - Time(i64::MAX), Ticks(i64::MIN));
        assert_eq!(Ticks::from_secs(i64::MAX), Ticks::MAX);
        assert_eq!(Ticks(i64::MIN) / -1, Ticks::MAX);
        assert_eq!(Ticks(7) / 0, Ticks::MAX);
        assert_eq!(-Ticks(i64::MIN), Ticks::MAX);
    }

    #[test]
    fn units_convert_both_ways() {
        assert_eq!(Ticks::from_millis(3).as_nanos(), 3_000_000);
        assert_eq!(Ticks::from_nanos(1_999), Ticks(19));
        assert_eq!(Ticks::from_micros(2), Ticks(20));
        assert_eq!(Ticks(12_345_678).to_std(), Duration::from_nanos(1_234_567_800));
        assert_eq!(Ticks::from_std(Duration::from_millis(4)), Ticks::from_millis(4));
        assert_eq!(Ticks(-1).to_std(), Duration::ZERO);
        assert_eq!(Ticks::from_std(Duration::MAX), Ticks::MAX);
    }

    #[test]
    fn times_print_as_seconds() {
        assert_eq!(Time(10_000_001).to_string(), "1.0000001 s");
        assert_eq!(Ticks(-5_000_000).to_string(), "-0.5000000 s");
    }
}
