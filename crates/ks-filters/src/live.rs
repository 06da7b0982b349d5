//! The pace of live sources: when a frame is due, and which frames are missed.

use std::sync::{Arc, Weak};

use ks_io::{Dpc, Ticks, Time, Timer};
use ks_stream::Pin;

/// Makes a pin process at a time.
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: Timer,
}

/// The procedure of the timer. It runs at DISPATCH level, so it only asks a worker to process.
struct Ring(Weak<Pin>);

impl Dpc for Ring {
    fn expired(self: Arc<Self>, _now: Time) {
        if let Some(pin) = self.0.upgrade() {
            pin.attempt_processing_later();
        }
    }
}

impl Alarm {
    /// An alarm of this pin; not set yet.
    pub(crate) fn new(pin: &Arc<Pin>) -> Self {
        Self { timer: pin.services().timer(Arc::new(Ring(Arc::downgrade(pin)))) }
    }

    /// Has the pin process at this time.
    pub(crate) fn set(&self, due: Time) {
        let _ = self.timer.set(due, None);
    }

    /// Forgets the time.
    pub(crate) fn cancel(&self) {
        let _ = self.timer.cancel();
    }
}

/// Which frame of a live stream is next, and which ones there was no buffer for.
///
/// A frame is missed if it became due while no buffer was free, and the next one was due too before a buffer came. A
/// frame that is late although a buffer waited for it (a busy machine, say) is delivered late instead.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    next: u64,
    starved_since: Option<Ticks>,
    /// From when until when there was no buffer, for frames that are not judged yet.
    without_buffer: Option<(Ticks, Ticks)>,
}

impl Pace {
    /// The number of the next frame.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The frame is delivered.
    pub(crate) fn advance(&mut self) {
        self.next += 1;
    }

    /// No buffer is left at this stream time.
    pub(crate) fn starve(&mut self, now: Ticks) {
        self.starved_since.get_or_insert(now);
    }

    /// There is a buffer at this stream time. Passes over the frames that were missed and returns their number; `due`
    /// gives the stream time at which a frame is due.
    pub(crate) fn pass_missed(&mut self, now: Ticks, due: impl Fn(u64) -> Ticks) -> u64 {
        if let Some(since) = self.starved_since.take() {
            let since = self.without_buffer.map_or(since, |(earlier, _)| earlier.min(since));
            self.without_buffer = Some((since, now));
        }
        let first = self.next;
        while let Some((since, until)) = self.without_buffer {
            if due(self.next) < since {
                break;
            }
            if due(self.next + 1) <= until {
                self.next += 1;
            } else {
                self.without_buffer = None;
            }
        }
        self.next - first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(frame: u64) -> Ticks {
        Ticks::from_millis(10) * frame as i64
    }

    fn at(millis: i64) -> Ticks {
        Ticks::from_millis(millis)
    }

    #[test]
    fn a_frame_that_is_late_with_a_buffer_waiting_is_not_missed() {
        let mut pace = Pace::default();
        assert_eq!(pace.pass_missed(at(500), due), 0);
        assert_eq!(pace.next(), 0);
    }

    #[test]
    fn frames_that_became_due_without_a_buffer_are_missed_but_for_the_last() {
        let mut pace = Pace::default();
        pace.advance();
        pace.starve(at(5));
        assert_eq!(pace.pass_missed(at(45), due), 3);
        assert_eq!(pace.next(), 4, "frame 4, due at 40, is delivered at 45");
        pace.advance();
        assert_eq!(pace.pass_missed(at(46), due), 0);
    }

    #[test]
    fn a_stream_that_is_behind_catches_up_at_the_frames_that_had_no_buffer() {
        let mut pace = Pace::default();
        // Frames 0 to 4 are late, and their buffers run out at 100.
        for _ in 0..5 {
            assert_eq!(pace.pass_missed(at(100), due), 0);
            pace.advance();
        }
        pace.starve(at(100));
        for next in 5..10 {
            assert_eq!(pace.pass_missed(at(200), due), 0, "frame {next} was due before the buffers ran out");
            pace.advance();
        }
        assert_eq!(pace.pass_missed(at(200), due), 10);
        assert_eq!(pace.next(), 20);
    }

    #[test]
    fn a_sink_that_is_too_slow_for_good_does_not_fall_behind_for_good() {
        let mut pace = Pace::default();
        let mut missed = 0;
        let mut now = at(0);
        for _ in 0..1000 {
            missed += pace.pass_missed(now, due);
            assert!(due(pace.next()) <= now && now.0 - due(pace.next()).0 < at(11).0);
            pace.advance();
            pace.starve(now);
            now = now + at(25);
        }
        assert!((1480..1500).contains(&missed), "{missed}");
    }
}
