//! How far a stream is that goes by the clock.

use ks_io::{Ticks, Time};

/// Counts the blocks of a stream: they pass at its rate while it runs, and not while it pauses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor {
    rate: u32,
    /// How long it has run before.
    run: Ticks,
    since: Option<Time>,
}

impl Cursor {
    /// A stream of so many blocks a second, at its beginning.
    pub(crate) fn new(rate: u32) -> Cursor {
        Cursor { rate, run: Ticks::ZERO, since: None }
    }

    /// It runs from now on.
    pub(crate) fn run(&mut self, now: Time) {
        self.since.get_or_insert(now);
    }

    /// It stands still from now on.
    pub(crate) fn pause(&mut self, now: Time) {
        if let Some(since) = self.since.take() {
            self.run = self.run + now.since(since);
        }
    }

    /// At its beginning again; it runs on if it did.
    pub(crate) fn rewind(&mut self, now: Time) {
        self.run = Ticks::ZERO;
        self.since = self.since.map(|_| now);
    }

    pub(crate) fn is_running(&self) -> bool {
        self.since.is_some()
    }

    /// Blocks that have passed.
    pub(crate) fn blocks(&self, now: Time) -> u64 {
        let run = self.run + self.since.map_or(Ticks::ZERO, |since| now.since(since));
        let blocks = i128::from(run.0.max(0)) * i128::from(self.rate) / i128::from(Ticks::SECOND.0);
        u64::try_from(blocks).unwrap_or(u64::MAX)
    }

    /// When so many blocks have passed, for a stream that runs.
    pub(crate) fn time_of(&self, blocks: u64) -> Option<Time> {
        let ticks = (u128::from(blocks) * Ticks::SECOND.0.unsigned_abs() as u128).div_ceil(u128::from(self.rate));
        let ticks = Ticks(i64::try_from(ticks).ok()?);
        Some(self.since? + ticks + -self.run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_pass_at_their_rate_and_not_in_a_pause() {
        let mut cursor = Cursor::new(44_100);
        assert_eq!(cursor.blocks(Time(99)), 0);
        cursor.run(Time(1000));
        assert_eq!(cursor.blocks(Time(1000) + Ticks::SECOND), 44_100);
        cursor.pause(Time(1000) + Ticks::from_millis(1500));
        assert_eq!(cursor.blocks(Time(1000) + Ticks::from_secs(9)), 66_150);
        cursor.run(Time(1000) + Ticks::from_secs(9));
        assert_eq!(cursor.blocks(Time(1000) + Ticks::from_millis(9500)), 88_200, "half a second and one and a half");
        cursor.rewind(Time(5));
        assert_eq!((cursor.blocks(Time(5)), cursor.is_running()), (0, true));
    }

    #[test]
    fn no_part_of_a_block_is_lost_by_pausing_often() {
        let mut cursor = Cursor::new(44_100);
        let mut now = Time(0);
        for _ in 0..10_000 {
            cursor.run(now);
            now += Ticks::from_micros(100);
            cursor.pause(now);
        }
        assert_eq!(cursor.blocks(now), 44_100);
    }

    #[test]
    fn the_time_of_a_block_is_the_first_at_which_it_has_passed() {
        for rate in [8_000, 44_100, 48_000, 192_000] {
            let mut cursor = Cursor::new(rate);
            cursor.run(Time(7));
            cursor.pause(Time(777));
            cursor.run(Time(1_000_000));
            for block in [1, 2, 3, 441, 44_100, 1 << 40] {
                let time = cursor.time_of(block).expect("it runs");
                assert_eq!(cursor.blocks(time), block, "{rate}: block {block}");
                assert_eq!(cursor.blocks(Time(time.0 - 1)), block - 1, "{rate}: before block {block}");
            }
        }
    }
}
