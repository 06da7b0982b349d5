//! Frames of memory, with a borrow state.

mod region;

use crate::shared::{copy, count_copied};
use crate::sync::{Arc, Ordering};
use crate::{Learning, MemoryError};
use region::Backing;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

pub use region::{Cut, MOST_SHARED_FRAMES, Region, quarantined_regions};

/// The bytes of a frame that are fetched for its writer; it goes on in order, which the processor sees by itself.
const FIRST_BYTES: usize = 512;

/// One frame buffer (or a part of one). A clone is a second name of the same bytes.
///
/// [`Frame::read`] and [`Frame::write`] borrow the bytes: many readers or one writer at a time, over all clones and
/// parts of the frame. They never wait; a refused borrow is `None`, and the caller has a rule to report. Memory that
/// another process can write is never lent: there [`Frame::bytes`] and [`Frame::bytes_mut`] go over a copy.
#[derive(Clone, Debug)]
pub struct Frame {
    region: Arc<Region>,
    index: usize,
    offset: usize,
    bytes: usize,
    /// By this name nobody writes.
    read_only: bool,
}

impl Frame {
    /// A frame in a region of its own.
    pub fn zeroed(bytes: usize, alignment: usize) -> Result<Frame, MemoryError> {
        let region = Region::zeroed(1, bytes, alignment)?;
        region.frame(0).ok_or(MemoryError::Exhausted { bytes })
    }

    /// Notes what a writer of the frame touches first.
    pub fn footprint(&self, learning: &mut Learning<'_>) {
        learning.object(&*self.region);
        learning.object(&*self.region.borrows);
        learning.bytes(self.address(), self.bytes.min(FIRST_BYTES));
    }

    /// Size in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// True for a part of length zero.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Address of the first byte: the `Data` member of a stream header.
    #[inline]
    pub fn address(&self) -> u64 {
        self.region.address() + self.offset as u64
    }

    /// Which frame of its region this is, or is a part of.
    #[inline]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Another name of the same bytes, by which they cannot be written: [`Frame::write`], [`Frame::bytes_mut`] and
    /// [`Frame::copy_in`] refuse.
    #[must_use]
    pub fn read_only(&self) -> Frame {
        Frame { read_only: true, ..self.clone() }
    }

    /// Whether this is a name by which the bytes cannot be written.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// The region that this frame is cut from.
    pub fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// True when another process may have the bytes mapped.
    #[inline]
    pub fn is_shared(&self) -> bool {
        matches!(self.region.backing, Backing::Shared(_))
    }

    /// The first `count` bytes (at most all) for reading: a borrow, or of shared memory a copy. `None` while a writer
    /// holds them, or without memory for the copy.
    pub fn bytes(&self, count: usize) -> Option<FrameBytes<'_>> {
        let count = count.min(self.bytes);
        if !self.is_shared() {
            return Some(FrameBytes(Bytes::Borrowed(self.read()?, count)));
        }
        let mut scratch = Scratch::take(count)?;
        self.copy_out(0, scratch.bytes_mut()).then_some(FrameBytes(Bytes::Copied(scratch)))
    }

    /// The first `count` bytes (at most all) for writing: a borrow, or for shared memory a scratch buffer of undefined
    /// content that is copied in when it is dropped. `None` while anyone else holds them, without memory, and for a name
    /// that is read-only.
    pub fn bytes_mut(&self, count: usize) -> Option<FrameBytesMut<'_>> {
        let count = count.min(self.bytes);
        if !self.is_shared() {
            return Some(FrameBytesMut(BytesMut::Borrowed(self.write()?, count)));
        }
        if self.read_only {
            return None;
        }
        Some(FrameBytesMut(BytesMut::Copied(self, Scratch::take(count)?)))
    }

    /// The first `count` bytes (at most all) to be changed: a borrow, or of shared memory a copy that is copied back when
    /// it is dropped. `None` while anyone else holds them, or without memory for the copy.
    pub fn bytes_in_place(&self, count: usize) -> Option<FrameBytesMut<'_>> {
        let mut bytes = self.bytes_mut(count)?;
        if let BytesMut::Copied(frame, scratch) = &mut bytes.0 {
            frame.copy_out(0, scratch.bytes_mut());
        }
        Some(bytes)
    }

    /// Copies bytes out, starting at `offset`. False when they leave the frame, or while a writer holds it.
    pub fn copy_out(&self, offset: usize, into: &mut [u8]) -> bool {
        if offset.checked_add(into.len()).is_none_or(|end| end > self.bytes) {
            return false;
        }
        if !self.is_shared() {
            let Some(bytes) = self.read() else { return false };
            into.copy_from_slice(&bytes[offset..offset + into.len()]);
            return true;
        }
        count_copied(into.len());
        // SAFETY: checked to lie inside the frame, which lies inside the mapping; `into` is a slice of this process.
        unsafe { copy(self.start().as_ptr().wrapping_add(offset), into.as_mut_ptr(), into.len()) };
        true
    }

    /// Copies bytes in, starting at `offset`. False when they leave the frame, while anyone else holds it, and for a name
    /// that is read-only.
    pub fn copy_in(&self, offset: usize, from: &[u8]) -> bool {
        if self.read_only || offset.checked_add(from.len()).is_none_or(|end| end > self.bytes) {
            return false;
        }
        if !self.is_shared() {
            let Some(mut bytes) = self.write() else { return false };
            bytes[offset..offset + from.len()].copy_from_slice(from);
            return true;
        }
        count_copied(from.len());
        // SAFETY: checked to lie inside the frame, which lies inside the mapping; `from` is a slice of this process.
        unsafe { copy(from.as_ptr(), self.start().as_ptr().wrapping_add(offset), from.len()) };
        true
    }

    /// Borrows the bytes for reading; `None` while a writer holds them, and for memory that another process can write.
    #[inline]
    pub fn read(&self) -> Option<FrameRead<'_>> {
        if self.is_shared() {
            return None;
        }
        let state = &self.region.borrows[self.index];
        let mut seen = state.load(Ordering::Relaxed);
        loop {
            if seen < 0 || seen == i32::MAX {
                return None;
            }
            match state.compare_exchange_weak(seen, seen + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(FrameRead { frame: self }),
                Err(now) => seen = now,
            }
        }
    }

    /// Borrows the bytes for writing; `None` while anyone else holds them, for memory that another process can write, and
    /// for a name that is read-only.
    #[inline]
    pub fn write(&self) -> Option<FrameWrite<'_>> {
        if self.read_only || self.is_shared() {
            return None;
        }
        let state = &self.region.borrows[self.index];
        state.compare_exchange(0, -1, Ordering::Acquire, Ordering::Relaxed).ok()?;
        Some(FrameWrite { frame: self })
    }

    #[inline]
    fn start(&self) -> NonNull<u8> {
        // SAFETY: `offset + bytes` lies inside the region: `Region::frame` and `Region::part` cut it so.
        unsafe { self.region.start.add(self.offset) }
    }
}

/// The bytes of a frame, borrowed for reading.
#[derive(Debug)]
pub struct FrameRead<'a> {
    frame: &'a Frame,
}

impl Deref for FrameRead<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let start = self.frame.start().as_ptr();
        // SAFETY: the frame's bytes are initialised and live in the region; the reader count forbids any writer.
        unsafe { std::slice::from_raw_parts(start, self.frame.bytes) }
    }
}

impl Drop for FrameRead<'_> {
    #[inline]
    fn drop(&mut self) {
        self.frame.region.borrows[self.frame.index].fetch_sub(1, Ordering::Release);
    }
}

/// The bytes of a frame, borrowed for writing.
#[derive(Debug)]
pub struct FrameWrite<'a> {
    frame: &'a Frame,
}

impl Deref for FrameWrite<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let start = self.frame.start().as_ptr();
        // SAFETY: the frame's bytes are initialised and live in the region; the writer mark forbids everyone else.
        unsafe { std::slice::from_raw_parts(start, self.frame.bytes) }
    }
}

impl DerefMut for FrameWrite<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        let start = self.frame.start().as_ptr();
        // SAFETY: as in `deref`, and `&mut self` makes this the only slice.
        unsafe { std::slice::from_raw_parts_mut(start, self.frame.bytes) }
    }
}

impl Drop for FrameWrite<'_> {
    #[inline]
    fn drop(&mut self) {
        self.frame.region.borrows[self.frame.index].store(0, Ordering::Release);
    }
}

/// Bytes of a frame for reading: borrowed, or copied out of shared memory.
#[derive(Debug)]
pub struct FrameBytes<'a>(Bytes<'a>);

#[derive(Debug)]
enum Bytes<'a> {
    Borrowed(FrameRead<'a>, usize),
    Copied(Scratch),
}

impl Deref for FrameBytes<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Borrowed(bytes, count) => &bytes[..*count],
            Bytes::Copied(scratch) => scratch.bytes(),
        }
    }
}

/// Bytes of a frame for writing: borrowed, or a scratch buffer that is copied into shared memory when this is dropped.
#[derive(Debug)]
pub struct FrameBytesMut<'a>(BytesMut<'a>);

#[derive(Debug)]
enum BytesMut<'a> {
    Borrowed(FrameWrite<'a>, usize),
    Copied(&'a Frame, Scratch),
}

impl Deref for FrameBytesMut<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            BytesMut::Borrowed(bytes, count) => &bytes[..*count],
            BytesMut::Copied(_, scratch) => scratch.bytes(),
        }
    }
}

impl DerefMut for FrameBytesMut<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            BytesMut::Borrowed(bytes, count) => &mut bytes[..*count],
            BytesMut::Copied(_, scratch) => scratch.bytes_mut(),
        }
    }
}

impl Drop for FrameBytesMut<'_> {
    fn drop(&mut self) {
        if let BytesMut::Copied(frame, scratch) = &self.0 {
            frame.copy_in(0, scratch.bytes());
        }
    }
}

/// A buffer of this thread, kept for its next copy.
#[derive(Debug)]
struct Scratch {
    bytes: Vec<u8>,
    count: usize,
}

thread_local! {
    static SCRATCH: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
}

impl Scratch {
    fn take(count: usize) -> Option<Scratch> {
        let mut bytes = SCRATCH.try_with(|kept| std::mem::take(&mut *kept.borrow_mut())).unwrap_or_default();
        if bytes.len() < count {
            crate::fallible(|| bytes.try_reserve_exact(count - bytes.len())).ok()?;
            bytes.resize(count, 0);
        }
        Some(Scratch { bytes, count })
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.count]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.count]
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let _ = SCRATCH.try_with(|kept| *kept.borrow_mut() = bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SharedMemory;

    #[test]
    fn shared_memory_is_copied_and_never_lent() {
        let region = Region::shared(2, 100, 64).unwrap();
        let other = region.shared_memory().unwrap().descriptor().try_clone_to_owned().unwrap();
        let other = Region::over_shared(SharedMemory::open(other, 4096).unwrap(), region.cut()).unwrap();
        let (here, there) = (region.frame(1).unwrap(), other.frame(1).unwrap());
        assert!(here.is_shared() && here.read().is_none() && here.write().is_none());
        here.bytes_mut(3).unwrap().copy_from_slice(b"abc");
        assert_eq!(&*there.bytes(3).unwrap(), b"abc");
        assert!(there.copy_in(97, b"xyz") && !there.copy_in(98, b"xyz"));
        here.bytes_in_place(3).unwrap()[1] = b'B';
        assert_eq!(&*there.bytes(3).unwrap(), b"aBc", "what was there stays");
        let mut end = [0; 3];
        assert!(here.copy_out(97, &mut end) && !here.copy_out(usize::MAX, &mut end));
        assert_eq!(&end, b"xyz");
        assert!(!region.is_quarantined());
        region.quarantine();
        assert!(region.is_quarantined() && quarantined_regions() > 0);
    }

    #[test]
    fn private_bytes_are_lent_not_copied() {
        let frame = Frame::zeroed(100, 64).unwrap();
        frame.bytes_mut(2).unwrap().copy_from_slice(b"ab");
        frame.bytes_in_place(2).unwrap()[0] = b'A';
        let bytes = frame.bytes(2).unwrap();
        assert_eq!(&*bytes, b"Ab");
        assert!(frame.bytes_mut(1).is_none(), "the reader holds them");
        assert!(!frame.copy_in(0, b"x"));
    }

    #[test]
    fn a_writer_excludes_readers_and_readers_exclude_a_writer() {
        let frame = Frame::zeroed(100, 64).unwrap();
        let other = frame.clone();
        let mut write = frame.write().unwrap();
        write[99] = 5;
        assert!(other.read().is_none() && other.write().is_none());
        drop(write);
        let first = frame.read().unwrap();
        let second = other.read().unwrap();
        assert_eq!((first[99], second[99]), (5, 5));
        assert!(frame.write().is_none());
        drop((first, second));
        assert!(frame.write().is_some());
    }

    #[test]
    fn a_read_only_name_reads_what_another_name_writes() {
        let region = Region::zeroed(2, 100, 64).unwrap();
        let frame = region.frame(1).unwrap();
        let name = frame.read_only();
        assert!(name.is_read_only() && !frame.is_read_only());
        assert_eq!((name.index(), name.address()), (1, frame.address()));
        assert!(name.write().is_none() && name.clone().bytes_mut(1).is_none() && !name.copy_in(0, &[1]));
        frame.write().unwrap()[0] = 7;
        assert_eq!(name.read().unwrap()[0], 7);
        let shared = Region::shared(1, 100, 64).unwrap().frame(0).unwrap();
        assert!(shared.read_only().bytes_mut(1).is_none() && !shared.read_only().copy_in(0, &[1]));
        assert!(shared.copy_in(0, &[1]));
    }

    #[test]
    fn a_part_shares_the_borrow_of_its_frame_and_never_leaves_it() {
        let region = Region::zeroed(2, 100, 64).unwrap();
        let second = region.frame(1).unwrap();
        let part = region.part(second.address() + 90, 10).unwrap();
        assert_eq!(part.len(), 10);
        let write = second.write().unwrap();
        assert!(part.read().is_none());
        drop(write);
        assert!(region.part(second.address() + 91, 10).is_none());
        assert!(region.part(region.address() + 100, 1).is_none(), "the gap between two frames belongs to nobody");
        assert!(region.part(region.address() - 1, 1).is_none());
        assert!(region.part(u64::MAX, usize::MAX).is_none());
    }
}
