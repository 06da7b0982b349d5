//! What has passed a pin, and where the client wants it to end.

use ks_abi::{
    KSSTREAM_HEADER_OPTIONSF_DATADISCONTINUITY, KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM,
    KSSTREAM_HEADER_OPTIONSF_TIMEDISCONTINUITY, KSSTREAM_HEADER_OPTIONSF_TIMEVALID,
    KSSTREAM_HEADER_OPTIONSF_TYPECHANGED,
};
use ks_io::{Services, StreamFrame, Time};

/// Gaps in the stream, each of which raises an event.
const DISCONTINUITIES: u32 = KSSTREAM_HEADER_OPTIONSF_DATADISCONTINUITY | KSSTREAM_HEADER_OPTIONSF_TIMEDISCONTINUITY;
/// What a data source is told of when such a frame has left it.
const LEAVES_SOURCE: u32 =
    DISCONTINUITIES | KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM | KSSTREAM_HEADER_OPTIONSF_TYPECHANGED;
/// Frames that the rest of the stream depends on.
const TURNING_POINTS: u32 = KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM | KSSTREAM_HEADER_OPTIONSF_TYPECHANGED;

/// Counters of one pin. A data source counts frames as they leave it, a data sink as they reach it.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    pub(crate) dropped: u64,
    /// Frames whose bytes the engine had to copy on the way here.
    pub(crate) copies: u64,
    /// Frames that had been copied on the way to a foreign pin, or from it, when this stream began.
    pub(crate) copied_before: u64,
    /// The stream has ended here: the frame with ENDOFSTREAM has passed.
    pub(crate) ended: bool,
    /// Options flags that raise events, of frames that have left; taken by whoever raises them.
    pub(crate) raised: u32,
    limit: Limit,
    /// Frames with a new format have passed, or one is to be made, that the queue has not dealt with.
    pub(crate) type_changed: bool,
    /// The pin fills frames for callers, each of whom fetches a new format before the stream goes on.
    pub(crate) fills_for_callers: bool,
    /// The stream stands until the new format has been fetched.
    awaits_fetch: bool,
    /// An end was not the last one: behind it the pin fills another stream.
    goes_on: bool,
    /// The limit ended the stream, not its data.
    limited: bool,
    first_time: Option<Time>,
    /// Tells the time of frames that say none of themselves; there while a time limits the stream.
    clock: Option<Services>,
    latency: Option<Box<Latency>>,
}

/// Where a stream ends although its source would go on. Zero: no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) frames: u64,
    pub(crate) time_100ns: i64,
}

/// What a pin does for the latency of a connection: the time from leaving the data source, or a filter that works in
/// place, to reaching the data sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measures {
    /// Notes when a frame leaves: a data source.
    Leaving,
    /// Reads how long a frame has been under way: a data sink.
    Arriving,
    /// Both: the input of a filter that works in place, from where a frame goes to the next data sink.
    Both,
}

struct Latency {
    services: Services,
    histogram: Histogram,
    measures: Measures,
}

impl Counters {
    /// A frame passes.
    #[inline]
    pub(crate) fn pass(&mut self, frame: &StreamFrame) {
        let used = frame.data_used();
        if used > 0 {
            self.frames += 1;
            self.bytes += u64::from(used);
        }
        let flags = frame.options_flags();
        if flags & TURNING_POINTS != 0 {
            self.turn(flags, used);
        } else if self.limit != Limit::default() && self.reaches_limit(frame, flags) {
            frame.set_options_flags(flags | KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM);
            self.ended = true;
            self.limited = true;
        }
        if let Some(latency) = &mut self.latency {
            latency.pass(frame);
        }
    }

    /// The stream ends here, or goes on in another format: what then stands in the frame is no data.
    #[cold]
    fn turn(&mut self, flags: u32, used: u32) {
        if flags & KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM != 0 {
            self.ended = true;
        }
        if flags & KSSTREAM_HEADER_OPTIONSF_TYPECHANGED != 0 {
            self.frames -= u64::from(used > 0);
            self.bytes -= u64::from(used);
            self.type_changed = true;
            if self.fills_for_callers && !self.ended {
                (self.ended, self.awaits_fetch) = (true, true);
            }
        }
    }

    /// The new format was fetched: the stream goes on. True when it stood.
    pub(crate) fn fetched(&mut self) -> bool {
        let stood = std::mem::take(&mut self.awaits_fetch);
        if stood {
            self.ended = false;
        }
        stood
    }

    /// A frame leaves a data source in good order.
    #[inline]
    pub(crate) fn leave_source(&mut self, frame: &StreamFrame) {
        self.pass(frame);
        self.raised |= frame.options_flags() & LEAVES_SOURCE;
    }

    /// A frame leaves a data sink in good order.
    #[inline]
    pub(crate) fn leave_sink(&mut self, frame: &StreamFrame) {
        self.raised |= frame.options_flags() & (DISCONTINUITIES | KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM);
        if let Some(latency) = &self.latency
            && latency.measures == Measures::Both
        {
            frame.set_stamp(latency.services.now());
        }
    }

    fn reaches_limit(&mut self, frame: &StreamFrame, flags: u32) -> bool {
        if self.limit.frames > 0 && self.frames >= self.limit.frames {
            return true;
        }
        if self.limit.time_100ns <= 0 {
            return false;
        }
        let (begin, end) = match (&self.clock, flags & KSSTREAM_HEADER_OPTIONSF_TIMEVALID) {
            (Some(clock), 0) => {
                let now = clock.now();
                (now, now)
            }
            _ => (frame.presentation_time(), frame.presentation_time() + frame.duration()),
        };
        let first = *self.first_time.get_or_insert(begin);
        end.since(first).0 >= self.limit.time_100ns
    }

    /// The driver has ended its stream and knows it: what it fills now is the next.
    pub(crate) fn go_on(&mut self) {
        self.goes_on = self.begin_next_stream();
    }

    /// Is what comes behind an end another stream?
    pub(crate) fn goes_on(&self) -> bool {
        self.goes_on && !self.limited
    }

    /// Did the limit end the stream, and not its data?
    pub(crate) fn is_limited(&self) -> bool {
        self.limited
    }

    /// What follows the end of a stream is the next stream, unless the limit ended it. True when there is one.
    pub(crate) fn begin_next_stream(&mut self) -> bool {
        if !self.limited {
            (self.ended, self.awaits_fetch) = (false, false);
            self.raised &= !KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM;
        }
        !self.limited
    }

    /// Frames that carry no time are counted by the time of their passing.
    pub(crate) fn set_limit(&mut self, limit: Limit, services: &Services) {
        self.limit = limit;
        self.clock = (limit.time_100ns > 0).then(|| services.clone());
    }

    /// A new stream: the counters of the last one start again.
    pub(crate) fn restart(&mut self) {
        let latency = self.latency.take().map(|kept| {
            Box::new(Latency { services: kept.services, measures: kept.measures, histogram: Histogram::default() })
        });
        let (limit, clock, fills_for_callers) = (self.limit, self.clock.take(), self.fills_for_callers);
        // A format that is still to be told of is one of the next stream, too.
        let type_changed = self.type_changed;
        *self = Counters { limit, clock, fills_for_callers, type_changed, latency, ..Counters::default() };
    }

    /// Measures latency from here on.
    pub(crate) fn measure(&mut self, services: Services, measures: Measures) {
        self.latency = Some(Box::new(Latency { services, histogram: Histogram::default(), measures }));
    }

    /// The latency below which this share of the frames stayed, in nanoseconds; 0 when nothing was measured, and 1 for a
    /// time that the clock cannot tell from none.
    pub(crate) fn latency_ns(&self, per_hundred: u64) -> u64 {
        self.latency.as_ref().map_or(0, |latency| latency.histogram.percentile(per_hundred))
    }
}

impl Latency {
    fn pass(&mut self, frame: &StreamFrame) {
        let now = self.services.now();
        if self.measures == Measures::Leaving {
            frame.set_stamp(now);
        } else if let Some(stamp) = frame.take_stamp() {
            self.histogram.add(now.since(stamp).as_nanos().max(1).cast_unsigned());
        }
    }
}

/// A histogram with sixteen steps an octave: every value within 1/16 of the truth.
struct Histogram {
    buckets: Box<[u64; 64 * 16]>,
    count: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: Box::new([0; 1024]), count: 0 }
    }
}

impl Histogram {
    fn index(value: u64) -> usize {
        if value < 16 {
            return value as usize;
        }
        let octave = 63 - value.leading_zeros() as usize;
        let step = (value >> (octave - 4)) as usize & 15;
        (octave - 3) * 16 + step
    }

    fn value(index: usize) -> u64 {
        if index < 16 {
            return index as u64;
        }
        let (octave, step) = (index / 16 + 3, index as u64 % 16);
        (16 + step) << (octave - 4)
    }

    fn add(&mut self, value: u64) {
        self.buckets[Histogram::index(value)] += 1;
        self.count += 1;
    }

    fn percentile(&self, per_hundred: u64) -> u64 {
        let wanted = (self.count * per_hundred).div_ceil(100);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return Histogram::value(index);
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_within_a_sixteenth_of_the_truth() {
        let mut histogram = Histogram::default();
        for value in 1..=100_000u64 {
            histogram.add(value * 7);
        }
        for per_hundred in [1, 50, 99, 100] {
            let truth = 7 * 1000 * per_hundred;
            let found = histogram.percentile(per_hundred);
            assert!(found <= truth && truth - found <= truth / 16 + 1, "{per_hundred}: {found} for {truth}");
        }
        assert_eq!(Histogram::default().percentile(99), 0);
        let mut largest = Histogram::default();
        largest.add(u64::MAX);
        assert!(largest.percentile(50) >= u64::MAX / 16 * 15);
    }
}
