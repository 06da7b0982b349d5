//! When a frame left its data source, told to another process: in the place of a header's Data, which is an address and
//! stays here. Nobody notes it, and the place is zero, unless a client asked for the latency of a connection.

use ks_io::{Services, StreamFrame, Time};
use rustix::time::{ClockId, clock_gettime};

/// Offset of Data in a stream header.
pub(super) const DATA: usize = 40;

/// No machine has run for so long, in 100-ns units: what claims to is none of our making.
const MOST: i64 = 1 << 55;

/// How far the clock of the machine, which both processes have, is ahead of the engine's, in 100-ns units.
///
/// Read once: both clocks count alike, so that telling a time costs an addition and no look at a clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct MachineClock(i64);

impl MachineClock {
    pub(super) fn of(services: &Services) -> MachineClock {
        let ours = services.now();
        let machine = clock_gettime(ClockId::Monotonic);
        MachineClock((machine.tv_sec * 10_000_000 + machine.tv_nsec / 100).saturating_sub(ours.0))
    }

    /// Takes the time from the frame into the header that goes to the other side, which has no address then.
    pub(super) fn tell(self, frame: &StreamFrame, header: &mut [u8]) {
        let stamp = frame.take_stamp().map_or(0, |stamp| stamp.0.saturating_add(self.0));
        if let Some(place) = header.get_mut(DATA..DATA + 8) {
            place.copy_from_slice(&stamp.to_le_bytes());
        }
    }

    /// Gives the frame the time that the other side's header tells, if it tells one.
    pub(super) fn hear(self, frame: &StreamFrame, header: &[u8]) {
        let place = header.get(DATA..DATA + 8).and_then(|bytes| bytes.first_chunk());
        let stamp = place.map_or(0, |bytes| i64::from_le_bytes(*bytes));
        if (1..MOST).contains(&stamp) {
            frame.set_stamp(Time(stamp.saturating_sub(self.0)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ks_io::StreamFrames;

    fn frames() -> StreamFrames {
        StreamFrames::captured(&[0; 56], 56, [None]).unwrap()
    }

    #[test]
    fn a_time_arrives_by_the_clock_of_the_other_engine() {
        let (sent, taken) = (frames(), frames());
        let (sender, receiver) = (MachineClock(1000), MachineClock(400));
        let (from, to) = (sent.frame(0).unwrap(), taken.frame(0).unwrap());
        let mut header = [0xFF; 56];
        from.set_stamp(Time(50));
        sender.tell(from, &mut header);
        receiver.hear(to, &header);
        assert_eq!(to.take_stamp(), Some(Time(650)), "1050 by the machine's");
        // It is told once, and what nobody measures says nothing.
        sender.tell(from, &mut header);
        assert_eq!(header[DATA..DATA + 8], [0; 8]);
        receiver.hear(to, &header);
        assert_eq!(to.take_stamp(), None);
    }

    #[test]
    fn a_time_that_no_machine_has_is_not_heard() {
        let frames = frames();
        let frame = frames.frame(0).unwrap();
        for stamp in [i64::MIN, -1, 0, MOST, i64::MAX] {
            let mut header = [0; 56];
            header[DATA..DATA + 8].copy_from_slice(&stamp.to_le_bytes());
            MachineClock(-7).hear(frame, &header);
            assert_eq!(frame.take_stamp(), None, "{stamp}");
        }
        MachineClock(0).hear(frame, &[0xFF; 12]);
        assert_eq!(frame.take_stamp(), None);
    }
}
