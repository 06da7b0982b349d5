//! Frame memory: regions, and frames of them with a borrow state.

use crate::sync::{Arc, AtomicI32, Ordering};
use crate::{MAX_ALIGNMENT, MemoryError};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// What any allocation is aligned to.
const USUAL_ALIGNMENT: usize = 16;

/// A zeroed run of frame memory, cut into frames of one size. Lives as long as a [`Frame`] of it.
pub struct Region {
    start: NonNull<u8>,
    bytes: usize,
    /// What was allocated; `start` is its first aligned byte.
    allocation: NonNull<u8>,
    layout: Layout,
    stride_bytes: usize,
    frame_bytes: usize,
    /// One borrow state a frame: 0 free, n > 0 that many readers, -1 one writer. Pairs acquire (taking) with release
    /// (giving back).
    borrows: Box<[AtomicI32]>,
}

// SAFETY: the region owns its allocation; access to a frame's bytes is arbitrated by `borrows`.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    pub(crate) fn zeroed(frames: usize, frame_bytes: usize, alignment: usize) -> Result<Arc<Region>, MemoryError> {
        let shape = MemoryError::Shape { frames, frame_bytes, alignment };
        if frames == 0 || frame_bytes == 0 || alignment > MAX_ALIGNMENT || !alignment.is_power_of_two() {
            return Err(shape);
        }
        let stride_bytes = frame_bytes.checked_next_multiple_of(alignment.max(64)).ok_or(shape)?;
        let bytes = stride_bytes.checked_mul(frames).ok_or(shape)?;
        // The allocator takes fresh zeroed pages from the system, and touches none, only for an alignment that is
        // usual to it; for a greater one it writes all the zeros itself. So the alignment is made here.
        let alignment = alignment.max(64);
        let layout = bytes.checked_add(alignment).and_then(|room| Layout::from_size_align(room, USUAL_ALIGNMENT).ok());
        let layout = layout.ok_or(shape)?;
        let mut borrows = Vec::new();
        borrows.try_reserve_exact(frames).map_err(|_| MemoryError::Exhausted { bytes: frames * 4 })?;
        borrows.resize_with(frames, || AtomicI32::new(0));
        // SAFETY: the layout has a size above zero.
        let allocation = unsafe { alloc_zeroed(layout) };
        let allocation = NonNull::new(allocation).ok_or(MemoryError::Exhausted { bytes })?;
        // Less than `alignment`, which is what was allocated beyond `bytes`.
        let skipped = allocation.as_ptr() as usize % alignment;
        let skipped = if skipped == 0 { 0 } else { alignment - skipped };
        // SAFETY: `skipped + bytes` lies inside the allocation.
        let start = unsafe { allocation.add(skipped) };
        let borrows = borrows.into_boxed_slice();
        Ok(Arc::new(Region { start, bytes, allocation, layout, stride_bytes, frame_bytes, borrows }))
    }

    /// Number of frames.
    pub fn frames(&self) -> usize {
        self.borrows.len()
    }

    /// Address of the first byte.
    pub fn address(&self) -> u64 {
        self.start.as_ptr() as u64
    }

    /// Bytes from the first to behind the last.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Never true: a region has at least one frame of at least one byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The frame with this index, or `None` past the last.
    pub(crate) fn frame(self: &Arc<Region>, index: usize) -> Option<Frame> {
        if index >= self.frames() {
            return None;
        }
        Some(Frame { region: self.clone(), index, offset: index * self.stride_bytes, bytes: self.frame_bytes })
    }

    /// The part of one frame that starts at `address` and has `bytes` bytes; `None` if it leaves that frame.
    pub(crate) fn part(self: &Arc<Region>, address: u64, bytes: usize) -> Option<Frame> {
        let offset = usize::try_from(address.checked_sub(self.address())?).ok()?;
        let index = offset / self.stride_bytes;
        let frame = self.frame(index)?;
        let inside = offset - frame.offset;
        let end = inside.checked_add(bytes)?;
        (end <= frame.bytes).then_some(Frame { offset, bytes, ..frame })
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with this very layout, and freed only here.
        unsafe { dealloc(self.allocation.as_ptr(), self.layout) }
    }
}

impl std::fmt::Debug for Region {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Region").field("frames", &self.frames()).field("frame_bytes", &self.frame_bytes).finish()
    }
}

/// One frame buffer (or a part of one). A clone is a second name of the same bytes.
///
/// [`Frame::read`] and [`Frame::write`] borrow the bytes: many readers or one writer at a time, over all clones and
/// parts of the frame. They never wait; a refused borrow is `None`, and the caller has a rule to report.
#[derive(Clone, Debug)]
pub struct Frame {
    region: Arc<Region>,
    index: usize,
    offset: usize,
    bytes: usize,
}

impl Frame {
    /// A frame in a region of its own.
    pub fn zeroed(bytes: usize, alignment: usize) -> Result<Frame, MemoryError> {
        let region = Region::zeroed(1, bytes, alignment)?;
        region.frame(0).ok_or(MemoryError::Exhausted { bytes })
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

    /// The region that this frame is cut from.
    pub fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// Borrows the bytes for reading; `None` while a writer holds them.
    #[inline]
    pub fn read(&self) -> Option<FrameRead<'_>> {
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

    /// Borrows the bytes for writing; `None` while anyone else holds them.
    #[inline]
    pub fn write(&self) -> Option<FrameWrite<'_>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_zeroed_and_aligned_as_it_was_asked() {
        for alignment in [1, 64, 4096] {
            let region = Region::zeroed(3, 5000, alignment).unwrap();
            assert!(region.address().is_multiple_of(alignment.max(64) as u64));
            assert_eq!(region.len(), 3 * 5000_usize.next_multiple_of(alignment.max(64)));
            let last = region.frame(2).unwrap();
            assert!(last.read().unwrap().iter().all(|byte| *byte == 0));
        }
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
