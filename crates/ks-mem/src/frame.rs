//! Frame memory: regions, and frames of them with a borrow state.

use crate::shared::{SharedMemory, copy, count_copied};
use crate::sync::{Arc, AtomicI32, Ordering};
use crate::{Learning, MAX_ALIGNMENT, MemoryError};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64};

/// The bytes of a frame that are fetched for its writer; it goes on in order, which the processor sees by itself.
const FIRST_BYTES: usize = 512;

/// What any allocation is aligned to.
const USUAL_ALIGNMENT: usize = 16;

/// A zeroed run of frame memory, cut into frames of one size. Lives as long as a [`Frame`] of it.
pub struct Region {
    /// Tells this region from every other one of the process.
    number: u64,
    start: NonNull<u8>,
    bytes: usize,
    backing: Backing,
    /// A process that may still write here is dead or stuck: the frames are used for nothing new.
    quarantined: AtomicBool,
    stride_bytes: usize,
    frame_bytes: usize,
    /// One borrow state a frame: 0 free, n > 0 that many readers, -1 one writer. Pairs acquire (taking) with release
    /// (giving back).
    borrows: Box<[AtomicI32]>,
}

/// Where a region's memory comes from.
enum Backing {
    /// An allocation of this process; the region's start is its first aligned byte.
    Private { allocation: NonNull<u8>, layout: Layout },
    /// Memory that another process may have mapped.
    Shared(Arc<SharedMemory>),
    /// Memory of somebody who is told when it is used no more.
    Lent { release: Option<Release> },
}

/// Takes lent memory back.
type Release = Box<dyn FnOnce() + Send + Sync>;

/// How the bytes of a shared region are cut into frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Number of frames.
    pub frames: usize,
    /// Bytes of one frame.
    pub frame_bytes: usize,
    /// Bytes from one frame to the next.
    pub stride_bytes: usize,
}

/// The most frames that one shared region is cut into.
pub const MOST_SHARED_FRAMES: usize = 4096;

/// Regions that were quarantined since the process started.
static QUARANTINED: AtomicU64 = AtomicU64::new(0);

/// How many regions were quarantined since the process started: a process that could write them died or got stuck.
pub fn quarantined_regions() -> u64 {
    QUARANTINED.load(Ordering::Relaxed)
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
        let mut stride_bytes = frame_bytes.checked_next_multiple_of(alignment.max(64)).ok_or(shape)?;
        if frames > 1 && stride_bytes.is_multiple_of(MAX_ALIGNMENT) && alignment <= 64 {
            // Whole pages apart, the same bytes of all frames would share one set of the processor's first cache.
            stride_bytes = stride_bytes.checked_add(64).ok_or(shape)?;
        }
        let bytes = stride_bytes.checked_mul(frames).ok_or(shape)?;
        // The allocator takes fresh zeroed pages from the system, and touches none, only for an alignment that is
        // usual to it; for a greater one it writes all the zeros itself. So the alignment is made here.
        let alignment = alignment.max(64);
        let layout = bytes.checked_add(alignment).and_then(|room| Layout::from_size_align(room, USUAL_ALIGNMENT).ok());
        let layout = layout.ok_or(shape)?;
        let mut borrows = Vec::new();
        let reserved = crate::fallible(|| borrows.try_reserve_exact(frames));
        reserved.map_err(|_| MemoryError::Exhausted { bytes: frames * 4 })?;
        borrows.resize_with(frames, || AtomicI32::new(0));
        // SAFETY: the layout has a size above zero.
        let allocation = crate::fallible(|| unsafe { alloc_zeroed(layout) });
        let allocation = NonNull::new(allocation).ok_or(MemoryError::Exhausted { bytes })?;
        // Less than `alignment`, which is what was allocated beyond `bytes`.
        let skipped = allocation.as_ptr() as usize % alignment;
        let skipped = if skipped == 0 { 0 } else { alignment - skipped };
        // SAFETY: `skipped + bytes` lies inside the allocation.
        let start = unsafe { allocation.add(skipped) };
        let backing = Backing::Private { allocation, layout };
        let cut = Cut { frames, frame_bytes, stride_bytes };
        Ok(Arc::new(Region::over(start, bytes, backing, cut, borrows)))
    }

    /// A zeroed region in memory that can be shared with another process.
    pub(crate) fn shared(frames: usize, frame_bytes: usize, alignment: usize) -> Result<Arc<Region>, MemoryError> {
        let shape = MemoryError::Shape { frames, frame_bytes, alignment };
        if frames == 0 || frame_bytes == 0 || alignment > MAX_ALIGNMENT || !alignment.is_power_of_two() {
            return Err(shape);
        }
        let stride_bytes = frame_bytes.checked_next_multiple_of(alignment.max(64)).ok_or(shape)?;
        let bytes = stride_bytes.checked_mul(frames).ok_or(shape)?;
        let memory = SharedMemory::create("ks-frames", bytes).map_err(|_| MemoryError::Exhausted { bytes })?;
        Region::over_shared(memory, Cut { frames, frame_bytes, stride_bytes })
    }

    /// A region over memory that another process cut so; `Err` when the cut does not fit the memory.
    pub fn over_shared(memory: Arc<SharedMemory>, cut: Cut) -> Result<Arc<Region>, MemoryError> {
        let Cut { frames, frame_bytes, stride_bytes } = cut;
        let shape = MemoryError::Shape { frames, frame_bytes, alignment: 1 };
        let bytes = stride_bytes.checked_mul(frames).ok_or(shape)?;
        if frames == 0
            || frames > MOST_SHARED_FRAMES
            || frame_bytes == 0
            || frame_bytes > stride_bytes
            || bytes > memory.len()
        {
            return Err(shape);
        }
        let mut borrows = Vec::new();
        let reserved = crate::fallible(|| borrows.try_reserve_exact(frames));
        reserved.map_err(|_| MemoryError::Exhausted { bytes: frames * 4 })?;
        borrows.resize_with(frames, || AtomicI32::new(0));
        let start = memory.start();
        Ok(Arc::new(Region::over(start, bytes, Backing::Shared(memory), cut, borrows)))
    }

    /// A region of one frame over memory that somebody else has allocated. `release` is called once, when the last frame
    /// of it is gone, by whoever drops that; also when no region was made.
    ///
    /// # Safety
    /// The `bytes` bytes from `address` on are readable and writable until `release` is called, and no Rust reference to
    /// any of them exists or comes into being but through this region.
    pub unsafe fn over_lent(
        address: u64,
        bytes: usize,
        release: impl FnOnce() + Send + Sync + 'static,
    ) -> Result<Arc<Region>, MemoryError> {
        let start = usize::try_from(address).ok().and_then(|address| NonNull::new(address as *mut u8));
        let fits = start.is_some_and(|start| (start.as_ptr() as usize).checked_add(bytes).is_some());
        let (Some(start), true) = (start.filter(|_| fits), bytes > 0 && isize::try_from(bytes).is_ok()) else {
            release();
            return Err(MemoryError::Shape { frames: 1, frame_bytes: bytes, alignment: 1 });
        };
        let backing = Backing::Lent { release: Some(Box::new(release)) };
        let cut = Cut { frames: 1, frame_bytes: bytes, stride_bytes: bytes };
        Ok(Arc::new(Region::over(start, bytes, backing, cut, vec![AtomicI32::new(0)])))
    }

    fn over(start: NonNull<u8>, bytes: usize, backing: Backing, cut: Cut, borrows: Vec<AtomicI32>) -> Region {
        // Relaxed: the number only has to be unique.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Region {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            start,
            bytes,
            backing,
            quarantined: AtomicBool::new(false),
            stride_bytes: cut.stride_bytes,
            frame_bytes: cut.frame_bytes,
            borrows: borrows.into_boxed_slice(),
        }
    }

    /// Tells this region from every other one of the process.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How it is cut into frames.
    pub fn cut(&self) -> Cut {
        Cut { frames: self.frames(), frame_bytes: self.frame_bytes, stride_bytes: self.stride_bytes }
    }

    /// The memory behind it, when another process may have it mapped.
    pub fn shared_memory(&self) -> Option<&Arc<SharedMemory>> {
        match &self.backing {
            Backing::Shared(memory) => Some(memory),
            Backing::Private { .. } | Backing::Lent { .. } => None,
        }
    }

    /// A process that could write here is dead or stuck: the frames go to nobody new from now on.
    pub fn quarantine(&self) {
        if !self.quarantined.swap(true, Ordering::Relaxed) {
            QUARANTINED.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether [`Region::quarantine`] was called.
    pub fn is_quarantined(&self) -> bool {
        self.quarantined.load(Ordering::Relaxed)
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
        let (offset, bytes) = (index * self.stride_bytes, self.frame_bytes);
        Some(Frame { region: self.clone(), index, offset, bytes, read_only: false })
    }

    /// The part of one frame that starts at `address` and has `bytes` bytes; `None` if it leaves that frame.
    pub fn part(self: &Arc<Region>, address: u64, bytes: usize) -> Option<Frame> {
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
        match &mut self.backing {
            // SAFETY: allocated in `zeroed` with this very layout, and freed only here.
            Backing::Private { allocation, layout } => unsafe { dealloc(allocation.as_ptr(), *layout) },
            Backing::Shared(_) => {}
            Backing::Lent { release } => {
                if let Some(release) = release.take() {
                    release();
                }
            }
        }
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

    #[test]
    fn lent_memory_goes_back_once_its_last_frame_is_gone() {
        use std::sync::atomic::AtomicUsize;
        let mut memory = Box::new([7u8; 64]);
        let (address, released) = (memory.as_mut_ptr() as u64, std::sync::Arc::new(AtomicUsize::new(0)));
        let release = || {
            let released = released.clone();
            move || {
                released.fetch_add(1, Ordering::SeqCst);
            }
        };
        // SAFETY: the box lives until the region is gone, and nobody looks into it meanwhile.
        let region = unsafe { Region::over_lent(address, 64, release()) }.unwrap();
        let frame = region.part(address, 64).unwrap();
        drop(region);
        assert!(!frame.is_shared());
        assert_eq!(frame.bytes(64).unwrap()[..], [7; 64], "as it was: it is nobody's to clear");
        frame.bytes_mut(1).unwrap()[0] = 9;
        let other = frame.clone();
        assert!(frame.region().part(address + 1, 64).is_none());
        drop(frame);
        assert_eq!(released.load(Ordering::SeqCst), 0);
        drop(other);
        assert_eq!((released.load(Ordering::SeqCst), memory[0]), (1, 9));
        for (address, bytes) in [(0, 64), (address, 0), (u64::MAX - 8, 64)] {
            // SAFETY: what cannot be memory is refused, and not touched.
            assert!(unsafe { Region::over_lent(address, bytes, release()) }.is_err());
        }
        assert_eq!(released.load(Ordering::SeqCst), 4, "what no region was made of is given back too");
    }

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
    fn a_cut_that_leaves_the_memory_is_refused() {
        let memory = SharedMemory::create("test", 4096).unwrap();
        let cut = |frames, frame_bytes, stride_bytes| Cut { frames, frame_bytes, stride_bytes };
        for bad in [cut(0, 1, 1), cut(1, 0, 1), cut(1, 2, 1), cut(2, 1, 4096), cut(usize::MAX, 1, 2), cut(5000, 0, 0)] {
            assert!(Region::over_shared(memory.clone(), bad).is_err(), "{bad:?}");
        }
        assert!(Region::over_shared(memory, cut(4, 1000, 1024)).is_ok());
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
    fn frames_of_whole_pages_do_not_share_a_cache_set_unless_they_must() {
        let apart = |alignment| Region::zeroed(2, 8192, alignment).unwrap().cut().stride_bytes;
        assert_eq!((apart(1), apart(64), apart(128), apart(4096)), (8256, 8256, 8192, 8192));
        assert_eq!(Region::zeroed(1, 4096, 64).unwrap().len(), 4096);
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
