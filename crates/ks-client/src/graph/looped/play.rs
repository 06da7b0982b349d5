//! Sound of a pin that streams, played by a looped pin.
//!
//! The client reads frames and copies them into the buffer, up to a cycle ahead of the device. Behind the sound that there
//! is, silence is written: a source that is late is heard as silence and not as what was played before. What the source
//! gives then is played behind it, and nothing of it is lost; the gap is counted.
//!
//! The device is started when the buffer is full, or the sound whole. Of a source that gives its sound as it comes into
//! being, the buffer would take as long to fill as it holds, and the sound be as late ever after: there a [`LEAD`] is enough.

use super::place::Place;
use super::{Counted, FRAME, LoopedLink, failed};
use crate::error::ClientError;
use crate::graph::error::GraphError;
use crate::looped::WrittenPacket;
use crate::pin::Pin;
use crate::stream::{StreamFrame, StreamRequest};
use ks_abi::{
    KSPROPERTY_CONNECTION_ALLOCATORFRAMING, KSPROPSETID_Connection, KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM,
    KSSTREAM_HEADER_OPTIONSF_TYPECHANGED, KsAllocatorFraming, KsState, STATUS_DATA_LATE_ERROR, STATUS_DATA_OVERRUN,
    STATUS_NOT_SUPPORTED, STATUS_SHARING_VIOLATION,
};
use ks_io::{Ticks, Time};
use std::collections::VecDeque;
use std::future::Future;
use std::task::{Context, Poll, Waker};

/// Frames that the client waits for at a time.
const READS: usize = 4;
/// The most bytes of one of them.
const MOST_FRAME_BYTES: u64 = 1 << 20;
/// What is ahead of the device when a source begins that is no faster than the device, and when one goes on that was late.
const LEAD: Ticks = Ticks::from_millis(100);
/// Silence that is written at a time.
const SILENCE_BYTES: usize = 4096;

/// Plays the stream of `source` into the buffer of `looped`.
pub(in crate::graph) struct Player<'a> {
    link: &'a LoopedLink,
    source: &'a Pin,
    looped: &'a Pin,
    waker: Waker,
    place: Place<'a>,
    /// Oldest first.
    reads: VecDeque<StreamRequest>,
    /// A frame of which the rest is still to be written.
    taken: Option<Taken>,
    /// Where the sound in the buffer ends, in bytes of the device's stream.
    written: u64,
    /// Where the silence behind it ends.
    silent: u64,
    /// Where the stream ends, once that is written.
    end: Option<u64>,
    /// The next packet that the driver is told of; `None`: it is told of none any more.
    packet: Option<u64>,
    /// When the source gave its first sound.
    begun: Option<Time>,
    running: bool,
    ended: bool,
    counted: Counted,
}

struct Taken {
    frame: StreamFrame,
    /// How many bytes of it are written.
    from: usize,
    /// How many there are.
    bytes: usize,
    last: bool,
}

impl<'a> Player<'a> {
    pub(super) fn new(link: &'a LoopedLink, source: &'a Pin, looped: &'a Pin, waker: Waker) -> Player<'a> {
        Player {
            link,
            source,
            looped,
            waker,
            place: Place::new(looped, link),
            reads: VecDeque::new(),
            taken: None,
            written: 0,
            silent: 0,
            end: None,
            packet: link.packet_bytes().map(|_| 0),
            begun: None,
            running: false,
            ended: false,
            counted: Counted::default(),
        }
    }

    pub(super) fn link(&self) -> &'a LoopedLink {
        self.link
    }

    pub(super) fn counted(&self) -> Counted {
        self.counted
    }

    /// Has the device played all of it?
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// The source runs. The device is started here.
    pub(super) fn step(&mut self, now: Time) -> Result<Option<Time>, GraphError> {
        if self.ended {
            return Ok(None);
        }
        self.ask_for_frames().map_err(|error| failed(self.source, &error))?;
        if self.running {
            self.place.read(now).map_err(|error| failed(self.looped, &error))?;
        }
        self.fill()?;
        self.tell_packets();
        if !self.running && self.may_begin(now) {
            self.looped.set_state(KsState::RUN).map_err(GraphError::Request)?;
            self.place.begin(now);
            self.running = true;
        }
        let Some(end) = self.end.filter(|_| self.running) else { return Ok(self.link.look_again(now)) };
        if self.place.bytes() >= end {
            self.ended = true;
            return Ok(None);
        }
        let heard = self.place.time_of(end, now);
        Ok(Some(self.link.look_again(now).map_or(heard, |look| look.min(heard))))
    }

    /// Is there enough in the buffer to begin with?
    fn may_begin(&mut self, now: Time) -> bool {
        if self.end.is_some() || self.written >= self.link.cycle_bytes() {
            return true;
        }
        if self.written == 0 {
            return false;
        }
        let elapsed = now.since(*self.begun.get_or_insert(now));
        let given = self.link.samples.time_of(self.written);
        // One that has given twice as much as it took to do so will fill the buffer.
        elapsed >= LEAD && given >= LEAD && given < elapsed + elapsed
    }

    /// Keeps requests with the source, until its stream has ended.
    fn ask_for_frames(&mut self) -> Result<(), ClientError> {
        if self.end.is_some() || self.taken.as_ref().is_some_and(|taken| taken.last) {
            return Ok(());
        }
        while self.reads.len() + usize::from(self.taken.is_some()) < READS {
            let bytes = frame_bytes(self.source, self.link);
            let frame = self.source.allocate(bytes as usize)?;
            self.reads.push_back(self.source.read_stream(vec![frame])?);
        }
        Ok(())
    }

    fn ask_again(&mut self, mut frame: StreamFrame) -> Result<(), ClientError> {
        frame.rewind();
        self.reads.push_back(self.source.read_stream(vec![frame])?);
        Ok(())
    }

    /// Writes what the source has given, as far as there is room, and silence where it has given nothing.
    fn fill(&mut self) -> Result<(), GraphError> {
        while self.end.is_none() && self.take()? {
            self.close_gap();
            if !self.write_taken()? {
                return Ok(());
            }
        }
        if self.running || self.end.is_some() {
            self.silence_up_to(self.place.bytes() + self.link.cycle_bytes());
        }
        Ok(())
    }

    /// Is there a frame to be written? Takes the oldest one that was read.
    fn take(&mut self) -> Result<bool, GraphError> {
        while self.taken.is_none() {
            let Some(read) = self.reads.front_mut() else { return Ok(false) };
            let Poll::Ready(outcome) = std::pin::Pin::new(read).poll(&mut Context::from_waker(&self.waker)) else {
                return Ok(false);
            };
            self.reads.pop_front();
            let frames = outcome.map_err(|error| failed(self.source, &error))?;
            let Some(frame) = frames.into_iter().next() else { continue };
            let flags = frame.header.options_flags;
            if flags & KSSTREAM_HEADER_OPTIONSF_TYPECHANGED != 0 {
                let reason =
                    "its format changes in the stream, and a looped pin keeps the one it was created with".into();
                let (pin, status) = (self.source.name().to_owned(), STATUS_NOT_SUPPORTED);
                return Err(GraphError::Stream { pin, status, reason });
            }
            let given = (frame.header.data_used as usize).min(frame.buffer().len());
            let limit = self.link.limit;
            let left = limit.bytes.map_or(u64::MAX, |most| most.saturating_sub(self.counted.bytes));
            let bytes = given.min(usize::try_from(left).unwrap_or(usize::MAX));
            self.counted.frames += u64::from(bytes > 0);
            self.counted.bytes += bytes as u64;
            let limited = bytes as u64 == left || limit.frames.is_some_and(|most| self.counted.frames >= most);
            let last = limited || flags & KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM != 0;
            self.taken = Some(Taken { frame, from: 0, bytes, last });
        }
        Ok(true)
    }

    /// The device has played more than there was: the sound goes on where it will be in a moment.
    fn close_gap(&mut self) {
        let played = self.place.bytes();
        if played <= self.written || self.taken.as_ref().is_none_or(|taken| taken.bytes == 0) {
            return;
        }
        let samples = &self.link.samples;
        let moment = samples.bytes_in(LEAD).max(2 * self.link.fifo_bytes).min(self.link.cycle_bytes() / 2);
        let gap = (played - self.written + moment).next_multiple_of(samples.block_bytes);
        self.counted.gaps += 1;
        self.counted.gap_bytes += gap;
        // What is being played is not to be touched any more.
        self.silent = self.silent.max(played);
        self.silence_up_to(self.written + gap);
        self.written += gap;
        if let (Some(packet), Some(bytes)) = (&mut self.packet, self.link.packet_bytes()) {
            *packet = (*packet).max(played / bytes + 1);
        }
    }

    fn silence_up_to(&mut self, to: u64) {
        let mut from = self.written.max(self.silent);
        let silence = [self.link.samples.silence; SILENCE_BYTES];
        while from < to {
            let count = (to - from).min(SILENCE_BYTES as u64);
            self.link.buffer.write((from % self.link.cycle_bytes()) as usize, &silence[..count as usize]);
            from += count;
        }
        self.silent = from;
    }

    /// Writes of the frame that was taken what there is room for. True when it is done with.
    fn write_taken(&mut self) -> Result<bool, GraphError> {
        let Some(mut taken) = self.taken.take() else { return Ok(true) };
        let cycle = self.link.cycle_bytes();
        let room = (self.place.bytes() + cycle).saturating_sub(self.written);
        let count = (taken.bytes - taken.from).min(room as usize);
        let Some(bytes) = taken.frame.buffer().read() else {
            let (pin, status) = (self.source.name().to_owned(), STATUS_SHARING_VIOLATION);
            return Err(GraphError::Stream { pin, status, reason: "a frame that it gave is still in use".into() });
        };
        self.link.buffer.write((self.written % cycle) as usize, &bytes[taken.from..taken.from + count]);
        drop(bytes);
        taken.from += count;
        self.written += count as u64;
        if taken.from < taken.bytes {
            self.taken = Some(taken);
            return Ok(false);
        }
        if taken.last {
            self.end = Some(self.written);
            self.reads.drain(..).for_each(|read| read.cancel());
        } else {
            self.ask_again(taken.frame).map_err(|error| failed(self.source, &error))?;
        }
        Ok(true)
    }

    /// Tells the driver which packets are written, and where the last one ends. A driver that is not interested says so.
    fn tell_packets(&mut self) {
        let (Some(bytes), Some(mut number)) = (self.link.packet_bytes(), self.packet) else { return };
        let held = self.link.cycle_bytes() / bytes;
        // One that is to come to where another is being played has to wait.
        while number < self.place.bytes() / bytes + held {
            let start = number * bytes;
            let packet = match self.end {
                Some(end) if end <= start + bytes => WrittenPacket::Last(end.saturating_sub(start) as u32),
                _ if self.written >= start + bytes => WrittenPacket::Whole,
                _ => break,
            };
            // The number wraps, as a ULONG does.
            let told = self.looped.packet_written(number as u32, packet);
            match told.map_err(|error| error.status) {
                Ok(()) | Err(STATUS_DATA_LATE_ERROR) if packet == WrittenPacket::Whole => number += 1,
                Err(STATUS_DATA_OVERRUN) => break,
                _ => {
                    self.packet = None;
                    return;
                }
            }
        }
        self.packet = Some(number);
    }
}

/// Bytes of a frame: what the source asks for, or a hundredth of a second.
fn frame_bytes(source: &Pin, link: &LoopedLink) -> u64 {
    let (set, id) = (KSPROPSETID_Connection, KSPROPERTY_CONNECTION_ALLOCATORFRAMING);
    let framing = source.object().property::<KsAllocatorFraming>(set, id);
    let asked = framing.map_or(0, |framing| u64::from(framing.frame_size)).min(MOST_FRAME_BYTES);
    let asked = link.samples.whole_blocks(asked);
    if asked > 0 { asked } else { link.samples.bytes_in(FRAME).max(link.samples.block_bytes) }
}
