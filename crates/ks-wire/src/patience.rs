//! How long a receiver looks at its ring before it sleeps.
//!
//! A sleep and the wake that ends it cost the two processors five to ten microseconds together; looking costs only the
//! time until the record comes. So a receiver looks where the other side will answer sooner than that: where it was seen
//! awake. Where it had to be woken, a look pays only if both stay awake from then on, so that is a trial, and trials
//! that find nothing become rare.

use std::time::Duration;

/// How the other side was found when the last record went to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OtherSide {
    /// It sleeps, and nothing has been sent that would wake it.
    Asleep,
    /// It had to be woken.
    Woken,
    /// It was awake.
    Awake,
}

/// The longest look at a side that is awake: about what a sleep costs.
const LOOK: Duration = Duration::from_micros(8);
/// The longest look at a side that was woken: its wake, and its answer.
const TRIAL: Duration = Duration::from_micros(20);
/// Looks in a row that may find nothing before the receiver rests.
const MOST_MISSES: u32 = 4;
/// Sleeps without a look after the first rest, and at most.
const LEAST_REST: u32 = 64;
const MOST_REST: u32 = 2048;

/// What a receiver has learned about looking.
#[derive(Debug)]
pub(crate) struct Patience {
    misses: u32,
    /// Sleeps until the next look.
    resting: u32,
    /// The length of the next rest.
    rest: u32,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { misses: 0, resting: 0, rest: LEAST_REST }
    }
}

impl Patience {
    /// How long to look now.
    pub(crate) fn look(&mut self, other: OtherSide) -> Option<Duration> {
        if self.resting > 0 {
            self.resting -= 1;
            return None;
        }
        match other {
            OtherSide::Asleep => None,
            OtherSide::Woken => Some(TRIAL),
            OtherSide::Awake => Some(LOOK),
        }
    }

    /// The look found a record.
    pub(crate) fn paid(&mut self) {
        self.misses = 0;
        self.rest = LEAST_REST;
    }

    /// The look found nothing.
    pub(crate) fn missed(&mut self) {
        self.misses += 1;
        if self.misses == MOST_MISSES {
            // One look after the rest decides.
            self.misses = MOST_MISSES - 1;
            self.resting = self.rest;
            self.rest = (self.rest * 2).min(MOST_REST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sleeps before the next look, where looks find nothing.
    fn sleeps_before_a_look(patience: &mut Patience) -> u32 {
        (0..).find(|_| patience.look(OtherSide::Woken).is_some()).unwrap()
    }

    #[test]
    fn a_side_that_sleeps_is_not_looked_at() {
        assert_eq!(Patience::default().look(OtherSide::Asleep), None);
    }

    #[test]
    fn looks_that_find_nothing_become_rare() {
        let mut patience = Patience::default();
        let rests: Vec<u32> = (0..12)
            .map(|_| {
                let sleeps = sleeps_before_a_look(&mut patience);
                patience.missed();
                sleeps
            })
            .collect();
        assert_eq!(rests, [0, 0, 0, 0, 64, 128, 256, 512, 1024, 2048, 2048, 2048]);
    }

    #[test]
    fn a_look_that_pays_is_followed_by_others() {
        let mut patience = Patience::default();
        (0..MOST_MISSES).for_each(|_| patience.missed());
        assert_eq!(sleeps_before_a_look(&mut patience), LEAST_REST);
        patience.paid();
        for _ in 1..MOST_MISSES {
            assert_eq!(sleeps_before_a_look(&mut patience), 0);
            patience.missed();
        }
        assert_eq!(sleeps_before_a_look(&mut patience), 0);
    }
}
