//! The pace of live sources: the clock that they go by, when a frame is due, and which frames are missed.

use std::sync::Arc;

use ks_abi::{KsState, STATUS_INVALID_DEVICE_STATE};
use ks_io::sync::Mutex;
use ks_io::{Aspect, Refusal, Ticks, Timer};
use ks_stream::{ClockAlarm, Pin, ReferenceClock, TimedAttempt};

/// The time that a live pin goes by: that of the master clock which its client named, else that of its own.
///
/// The times of a stream count from when it begins to run. By its own clock that is zero, and a pause stops it. A master
/// clock may have run for long, and goes on while the pin pauses: its time at the moment when the pin runs (again) is
/// the time of the next frame.
#[derive(Debug)]
pub(crate) struct Beat {
    timer: Timer,
    /// The procedure of the timer and of the alarm.
    ring: Arc<TimedAttempt>,
    master: Mutex<Option<Master>>,
}

#[derive(Debug)]
struct Master {
    clock: ReferenceClock,
    alarm: ClockAlarm,
    /// What the clock showed at the beginning of the stream; `None`: the next look at it tells.
    origin: Option<Ticks>,
}

/// How late a live source may be woken. The times of its frames are those of the clock in any case; many sources are
/// woken together.
const TOLERANCE: Ticks = Ticks::from_millis(4);

impl Beat {
    /// The beat of this pin, by its own clock for now.
    pub(crate) fn new(pin: &Arc<Pin>) -> Self {
        let ring = pin.timed_attempt();
        Self { timer: ring.timer(), ring, master: Mutex::new(None) }
    }

    /// Follows the pin's state: chooses the clock on the way to ACQUIRE, and forgets what was to come on the way down.
    pub(crate) fn set_state(&self, pin: &Pin, to: KsState, from: KsState) -> Result<(), Refusal> {
        if to < from {
            self.cancel();
        }
        if to == KsState::ACQUIRE && from == KsState::STOP {
            let master = match pin.master_clock_file() {
                Some(_) => Some(self.follow(pin)?),
                None => None,
            };
            *self.master.lock() = master;
        } else if to == KsState::STOP {
            *self.master.lock() = None;
        } else if to == KsState::RUN
            && let Some(master) = &mut *self.master.lock()
        {
            master.origin = None;
        }
        Ok(())
    }

    fn follow(&self, pin: &Pin) -> Result<Master, Refusal> {
        let clock = pin.reference_clock().map_err(|status| {
            let reason = format!("{}: the master clock that was set cannot be followed ({status})", pin.describe());
            Refusal::new(STATUS_INVALID_DEVICE_STATE, Aspect::State, reason)
        })?;
        Ok(Master { alarm: clock.alarm(self.ring.clone()), clock, origin: None })
    }

    /// How long the stream has run, if its next frame is due at `next`.
    pub(crate) fn time(&self, pin: &Pin, next: Ticks) -> Ticks {
        match &mut *self.master.lock() {
            None => pin.clock().time(),
            Some(master) => {
                let now = master.clock.time();
                now + -*master.origin.get_or_insert(now + -next)
            }
        }
    }

    /// What the clock shows when the stream has run for no time.
    pub(crate) fn origin(&self) -> Ticks {
        self.master.lock().as_ref().and_then(|master| master.origin).unwrap_or(Ticks::ZERO)
    }

    /// Has the pin process when the stream has run so long.
    pub(crate) fn wake_at(&self, pin: &Pin, due: Ticks) -> Result<(), Refusal> {
        match &*self.master.lock() {
            None => _ = self.timer.set_tolerant(pin.clock().due(due), TOLERANCE),
            Some(master) => {
                let origin = master.origin.unwrap_or(Ticks::ZERO);
                master.alarm.set(due + origin).map_err(|status| {
                    let (aspect, said) = match master.clock.lost() {
                        Some(_) => (Aspect::Device, "the process of the master clock has ended"),
                        None => (Aspect::Memory, "the master clock takes no alarm"),
                    };
                    Refusal::new(status, aspect, format!("{}: {said}", pin.describe()))
                })?;
            }
        }
        Ok(())
    }

    fn cancel(&self) {
        let _ = self.timer.cancel();
        if let Some(master) = &*self.master.lock() {
            master.alarm.cancel();
        }
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
