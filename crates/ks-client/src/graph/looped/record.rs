//! Sound that a looped pin captures, written to a pin that takes frames.
//!
//! The client copies what the device has captured out of the buffer, in frames of a hundredth of a second. Of a device that
//! was faster by a whole cycle, the oldest sound is gone: the gap is counted, and the frame behind it says so. Whatever the
//! buffer holds, the client looks once a frame, so that what is heard is late by two frames at most.

use super::place::Place;
use super::{Counted, FRAME, LoopedLink, failed};
use crate::error::ClientError;
use crate::graph::error::GraphError;
use crate::pin::Pin;
use crate::stream::{StreamFrame, StreamRequest};
use ks_abi::{
    KSSTREAM_HEADER_OPTIONSF_DATADISCONTINUITY, KSSTREAM_HEADER_OPTIONSF_DURATIONVALID,
    KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM, KSSTREAM_HEADER_OPTIONSF_TIMEVALID, KsTime, STATUS_SHARING_VIOLATION,
};
use ks_io::Time;
use std::collections::VecDeque;
use std::future::Future;
use std::task::{Context, Poll, Waker};

/// Frames that the sink has at a time; what is more waits in the buffer.
const MOST_FRAMES: usize = 64;

/// Writes what is captured into the buffer of `looped` to `sink`.
pub(in crate::graph) struct Recorder<'a> {
    link: &'a LoopedLink,
    looped: &'a Pin,
    sink: &'a Pin,
    waker: Waker,
    place: Place<'a>,
    begun: bool,
    /// Bytes of the device's stream that were taken.
    taken: u64,
    /// Bytes of a frame.
    frame_bytes: u64,
    /// Oldest first.
    writes: VecDeque<StreamRequest>,
    spare: Vec<StreamFrame>,
    /// Sound was lost before the next frame.
    after_gap: bool,
    ended: bool,
    counted: Counted,
}

impl<'a> Recorder<'a> {
    pub(super) fn new(link: &'a LoopedLink, looped: &'a Pin, sink: &'a Pin, waker: Waker) -> Recorder<'a> {
        let samples = &link.samples;
        let most = samples.whole_blocks(link.cycle_bytes() / 4);
        Recorder {
            link,
            looped,
            sink,
            waker,
            place: Place::new(looped, link),
            begun: false,
            taken: 0,
            frame_bytes: samples.bytes_in(FRAME).min(most).max(samples.block_bytes),
            writes: VecDeque::new(),
            spare: Vec::new(),
            after_gap: false,
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

    /// Both pins run.
    pub(super) fn step(&mut self, now: Time) -> Result<Option<Time>, GraphError> {
        if !std::mem::replace(&mut self.begun, true) {
            self.place.begin(now);
        }
        self.take_back().map_err(|error| failed(self.sink, &error))?;
        if self.ended {
            return Ok(None);
        }
        let heard = self.place.read(now).map_err(|error| failed(self.looped, &error))?;
        self.skip_lost(heard);
        let batch = self.copy(self.link.samples.whole_blocks(heard)).map_err(|error| failed(self.sink, &error))?;
        let Some(batch) = batch else { return Err(self.busy()) };
        if !batch.is_empty() {
            // What was overwritten while it was copied is not what it was.
            let begins = self.taken - bytes_of(&batch);
            let heard = self.place.read(now).map_err(|error| failed(self.looped, &error))?;
            if heard > begins + self.link.cycle_bytes() {
                self.put_back(batch, begins);
                self.skip_lost(heard);
            } else {
                self.send(batch).map_err(|error| failed(self.sink, &error))?;
            }
        }
        // Not only when the device notifies: its buffer may hold much more than a frame.
        let next = now + FRAME;
        let goes_on = Some(self.link.look_again(now).map_or(next, |look| look.min(next)));
        let last = self.link.limit.bytes.map(|limit| {
            let left = limit.saturating_sub(self.counted.bytes);
            self.place.time_of(self.taken + left, now)
        });
        Ok(match (goes_on, last) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        })
    }

    /// Frames that the sink has done with.
    fn take_back(&mut self) -> Result<(), ClientError> {
        while let Some(write) = self.writes.front_mut() {
            let Poll::Ready(outcome) = std::pin::Pin::new(write).poll(&mut Context::from_waker(&self.waker)) else {
                return Ok(());
            };
            self.writes.pop_front();
            self.spare.extend(outcome?);
        }
        Ok(())
    }

    /// The device is about to overwrite, or has overwritten, what was not taken.
    fn skip_lost(&mut self, heard: u64) {
        let cycle = self.link.cycle_bytes();
        if heard <= self.taken + cycle - self.frame_bytes {
            return;
        }
        let samples = &self.link.samples;
        let lost = samples.whole_blocks(heard - cycle / 2 - self.taken);
        self.taken += lost;
        self.counted.gaps += 1;
        self.counted.gap_bytes += lost;
        self.after_gap = true;
    }

    /// Whole frames of what was captured, and a part of one only where the limit ends it. `None`: the sink still uses the
    /// memory of one that it has given back.
    fn copy(&mut self, heard: u64) -> Result<Option<Vec<StreamFrame>>, ClientError> {
        let mut batch = Vec::new();
        while !self.ended
            && self.writes.iter().map(StreamRequest::frame_count).sum::<usize>() + batch.len() < MOST_FRAMES
        {
            let limit = self.link.limit;
            let left = limit.bytes.map_or(u64::MAX, |most| most.saturating_sub(self.counted.bytes));
            let count = self.frame_bytes.min(left);
            if heard.saturating_sub(self.taken) < count {
                break;
            }
            let mut frame = match self.spare.pop() {
                Some(frame) => frame,
                None => self.sink.allocate(self.frame_bytes as usize)?,
            };
            let Some(mut bytes) = frame.buffer().write() else { return Ok(None) };
            let at = (self.taken % self.link.cycle_bytes()) as usize;
            self.link.buffer.read(at, &mut bytes[..count as usize]);
            drop(bytes);
            self.describe(&mut frame, count);
            self.taken += count;
            self.counted.frames += 1;
            self.counted.bytes += count;
            if count == left || limit.frames.is_some_and(|most| self.counted.frames >= most) {
                frame.header.options_flags |= KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM;
                self.ended = true;
            }
            batch.push(frame);
        }
        Ok(Some(batch))
    }

    /// Fills in the header of the next `count` bytes.
    fn describe(&mut self, frame: &mut StreamFrame, count: u64) {
        let samples = &self.link.samples;
        let (from, to) = (samples.time_of(self.taken), samples.time_of(self.taken + count));
        frame.rewind();
        frame.header.data_used = count as u32;
        frame.header.presentation_time = KsTime::from_100ns(from.0);
        frame.header.duration = to.0 - from.0;
        frame.header.options_flags = KSSTREAM_HEADER_OPTIONSF_TIMEVALID | KSSTREAM_HEADER_OPTIONSF_DURATIONVALID;
        if std::mem::take(&mut self.after_gap) {
            frame.header.options_flags |= KSSTREAM_HEADER_OPTIONSF_DATADISCONTINUITY;
        }
    }

    /// What was copied is not sent.
    fn put_back(&mut self, batch: Vec<StreamFrame>, begins: u64) {
        self.counted.frames -= batch.len() as u64;
        self.counted.bytes -= bytes_of(&batch);
        self.taken = begins;
        self.ended = false;
        self.spare.extend(batch);
    }

    fn send(&mut self, batch: Vec<StreamFrame>) -> Result<(), ClientError> {
        self.writes.push_back(self.sink.write_stream(batch)?);
        // What is done already wakes nobody.
        self.take_back()
    }

    fn busy(&self) -> GraphError {
        let (pin, status) = (self.sink.name().to_owned(), STATUS_SHARING_VIOLATION);
        GraphError::Stream { pin, status, reason: "a frame that it has given back is still in use".into() }
    }
}

fn bytes_of(batch: &[StreamFrame]) -> u64 {
    batch.iter().map(|frame| u64::from(frame.header.data_used)).sum()
}
