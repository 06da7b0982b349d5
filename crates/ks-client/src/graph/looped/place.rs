//! Where a device is in its stream: counted in bytes since it began, of a device that tells where in its buffer it is.

use super::{Counting, LoopedLink};
use crate::error::ClientError;
use crate::pin::Pin;
use ks_io::{Ticks, Time};

/// How often a packet may end while both numbers are read.
const MOST_READINGS: usize = 4;

/// Follows a device.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pin: &'a Pin,
    link: &'a LoopedLink,
    /// Where it was last.
    total: u64,
    /// When that was.
    at: Time,
}

impl<'a> Place<'a> {
    /// At the beginning of a stream.
    pub(super) fn new(pin: &'a Pin, link: &'a LoopedLink) -> Place<'a> {
        Place { pin, link, total: 0, at: Time::ORIGIN }
    }

    /// The stream begins now.
    pub(super) fn begin(&mut self, now: Time) {
        (self.total, self.at) = (0, now);
    }

    /// Where the device was when it was last asked.
    pub(super) fn bytes(&self) -> u64 {
        self.total
    }

    /// Asks where it is.
    pub(super) fn read(&mut self, now: Time) -> Result<u64, ClientError> {
        let mut packets = self.packets()?;
        let mut offset = self.offset()?;
        // A packet that ended in between belongs to neither number.
        for _ in 0..MOST_READINGS {
            let again = self.packets()?;
            if again == packets {
                break;
            }
            packets = again;
            offset = self.offset()?;
        }
        let cycle = self.link.cycle_bytes();
        let total = match (packets, self.link.packet_bytes()) {
            (Some(packets), Some(packet)) => by_packets(self.total, packets, packet, offset, cycle),
            _ => {
                let expected = self.link.samples.bytes_in(now.since(self.at));
                by_time(self.total, expected, offset, cycle)
            }
        };
        // No device plays backwards.
        self.total = self.total.max(total);
        self.at = self.at.max(now);
        Ok(self.total)
    }

    fn offset(&self) -> Result<u64, ClientError> {
        let offset = match &self.link.register {
            Some(register) => register.offset(),
            None => self.pin.audio_position()?.play_offset,
        };
        Ok(offset % self.link.cycle_bytes())
    }

    /// Packets that are complete, as far as 32 bits count.
    fn packets(&self) -> Result<Option<u32>, ClientError> {
        Ok(match &self.link.counting {
            Counting::Register(register) => Some(register.completed() as u32),
            Counting::Property => Some(self.pin.packet_count()?),
            Counting::Time => None,
        })
    }

    /// When the device will have reached a place, by its rate.
    pub(super) fn time_of(&self, bytes: u64, now: Time) -> Time {
        now + self.link.samples.time_of(bytes.saturating_sub(self.total)).max(Ticks::MILLISECOND)
    }
}

/// The first place at `offset` that is not before `base`.
fn at_or_behind(base: u64, offset: u64, cycle: u64) -> u64 {
    base + (offset + cycle - base % cycle) % cycle
}

/// The place of a device that has completed so many packets, at or behind the last of them.
fn by_packets(last: u64, packets: u32, packet: u64, offset: u64, cycle: u64) -> u64 {
    let known = last / packet;
    let since = packets.wrapping_sub(known as u32).cast_signed();
    at_or_behind(known.saturating_add_signed(since.into()) * packet, offset, cycle)
}

/// The place of a device that was at `last` and should have moved by `expected`: that of all rounds which is nearest.
fn by_time(last: u64, expected: u64, offset: u64, cycle: u64) -> u64 {
    let near = at_or_behind(last, offset, cycle);
    let behind = i128::from(expected) - i128::from(near - last);
    let rounds = (behind + i128::from(cycle / 2)).div_euclid(cycle.into());
    u64::try_from(i128::from(near) + rounds * i128::from(cycle)).unwrap_or(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_counts_packets_is_where_they_say() {
        // 100 bytes in two packets.
        assert_eq!(by_packets(0, 0, 50, 0, 100), 0);
        assert_eq!(by_packets(0, 0, 50, 49, 100), 49);
        assert_eq!(by_packets(30, 7, 50, 60, 100), 360, "three rounds were missed");
        // The offset was read when the packet had ended already.
        assert_eq!(by_packets(30, 1, 50, 3, 100), 103);
        // The count has wrapped.
        let last = u64::from(u32::MAX) * 50 + 10;
        assert_eq!(by_packets(last, 0, 50, 20, 100), (1 << 32) * 50 + 20);
    }

    #[test]
    fn a_device_that_does_not_count_is_where_its_rate_would_have_it() {
        assert_eq!(by_time(0, 0, 0, 100), 0);
        assert_eq!(by_time(90, 25, 10, 100), 110);
        assert_eq!(by_time(90, 320, 10, 100), 410, "three rounds were missed");
        // It is a little late or early, and is not thought to be a round off.
        assert_eq!(by_time(90, 15, 10, 100), 110);
        assert_eq!(by_time(90, 60, 10, 100), 110);
        // It stands still, or shows a place before the last one.
        assert_eq!(by_time(90, 10, 90, 100), 90);
        assert_eq!(by_time(90, 1, 88, 100), 88);
    }
}
