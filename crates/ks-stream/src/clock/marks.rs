//! The time marks of a clock: positions and intervals that its clients want to hear of.
//!
//! Source: "KSEVENT_CLOCK_POSITION_MARK", "KSEVENT_CLOCK_INTERVAL_MARK".

use crate::event::EventToken;
use ks_abi::{NtStatus, STATUS_INSUFFICIENT_RESOURCES};
use ks_io::Ticks;
use ks_io::sync::Weak;
use std::collections::BTreeMap;

/// The most marks that one clock has, over all of its handles.
const MOST_MARKS: usize = 4096;
/// An interval below this is signalled at this distance: no client keeps the timer's thread busy.
const LEAST_DISTANCE: i64 = Ticks::MILLISECOND.0;

/// Who hears that a mark is reached.
pub(crate) trait MarkListener: Send + Sync {
    /// Called at DISPATCH level, with no lock held.
    fn reached(&self, token: EventToken);
}

/// One mark of one enabled event.
pub(crate) struct TimeMark {
    pub(crate) listener: Weak<dyn MarkListener>,
    pub(crate) token: EventToken,
    /// The position, or the first of the interval's.
    pub(crate) time: Ticks,
    /// Above zero; `None`: a position.
    pub(crate) interval: Option<Ticks>,
    /// Signalled once and then forgotten.
    pub(crate) once: bool,
}

impl TimeMark {
    /// The first time of the mark that is not before `from`; `None`: there is none.
    fn first_from(&self, from: i64) -> Option<i64> {
        let first = self.time.0;
        match self.interval {
            _ if from <= first => Some(first),
            None => None,
            Some(interval) => {
                let interval = i128::from(interval.0.max(1));
                let passed = i128::from(from) - i128::from(first);
                let steps = (passed + interval - 1) / interval;
                i64::try_from(i128::from(first) + steps * interval).ok()
            }
        }
    }
}

/// The marks by the time at which they are next signalled.
///
/// Decision: a mark is signalled while the clock runs. A position that the clock has passed already when it is enabled
/// is signalled at once. An interval that has missed times is signalled once for all of them and keeps its phase, like a
/// timer. When the clock goes back, as it does in STOP, what lies ahead of it again is signalled again.
#[derive(Default)]
pub(crate) struct Marks {
    ahead: BTreeMap<(i64, u64), TimeMark>,
    /// Positions that the clock has passed, and intervals without a further time.
    passed: Vec<TimeMark>,
    /// Marks of one time are signalled in the order they were set.
    settings: u64,
}

impl Marks {
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        self.ahead.len() + self.passed.len()
    }

    /// The stream time of the next mark.
    pub(crate) fn next(&self) -> Option<Ticks> {
        self.ahead.keys().next().map(|(time, _)| Ticks(*time))
    }

    pub(crate) fn add(&mut self, mark: TimeMark, now: Ticks) -> Result<(), NtStatus> {
        if self.len() >= MOST_MARKS {
            return Err(STATUS_INSUFFICIENT_RESOURCES);
        }
        let next = match mark.interval {
            None => Some(mark.time.0),
            Some(_) => mark.first_from(now.0),
        };
        self.put(mark, next);
        Ok(())
    }

    fn put(&mut self, mark: TimeMark, next: Option<i64>) {
        match next {
            Some(next) => {
                self.settings += 1;
                self.ahead.insert((next, self.settings), mark);
            }
            None => self.passed.push(mark),
        }
    }

    /// Takes the chosen marks out.
    pub(crate) fn remove(&mut self, chosen: impl Fn(&TimeMark) -> bool) -> Vec<TimeMark> {
        let keys: Vec<_> = self.ahead.iter().filter(|(_, mark)| chosen(mark)).map(|(key, _)| *key).collect();
        let mut gone: Vec<TimeMark> = keys.iter().filter_map(|key| self.ahead.remove(key)).collect();
        gone.extend(self.passed.extract_if(.., |mark| chosen(mark)));
        gone
    }

    /// Who is to hear that the clock shows `now`.
    pub(crate) fn take_reached(&mut self, now: Ticks) -> Vec<(Weak<dyn MarkListener>, EventToken)> {
        let later = self.ahead.split_off(&(now.0.saturating_add(1), 0));
        let reached = std::mem::replace(&mut self.ahead, later);
        let mut signals = Vec::with_capacity(reached.len());
        for mark in reached.into_values() {
            signals.push((mark.listener.clone(), mark.token));
            if mark.once {
                continue;
            }
            let next = mark.interval.and_then(|interval| {
                let distance = if interval.0 < LEAST_DISTANCE { LEAST_DISTANCE } else { 1 };
                mark.first_from(now.0.checked_add(distance)?)
            });
            self.put(mark, next);
        }
        signals
    }

    /// Everybody who waits, to be told that nothing more comes.
    pub(crate) fn take_all(&mut self) -> Vec<(Weak<dyn MarkListener>, EventToken)> {
        let ahead = std::mem::take(&mut self.ahead);
        ahead.into_values().map(|mark| (mark.listener, mark.token)).collect()
    }

    /// The clock shows `now` without having passed what lies between.
    pub(crate) fn jump(&mut self, now: Ticks) {
        let ahead = std::mem::take(&mut self.ahead);
        let passed = std::mem::take(&mut self.passed);
        for ((time, _), mark) in ahead {
            let next = match mark.interval {
                None => Some(time),
                Some(_) => mark.first_from(now.0),
            };
            self.put(mark, next);
        }
        for mark in passed {
            let next = mark.first_from(now.0);
            self.put(mark, next);
        }
    }
}

impl std::fmt::Debug for Marks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Marks").field("ahead", &self.ahead.len()).field("passed", &self.passed.len()).finish()
    }
}
