//! Regions: memory that is cut into frames of one size.

use super::Frame;
use crate::shared::SharedMemory;
use crate::sync::{Arc, AtomicI32, Ordering};
use crate::{MAX_ALIGNMENT, MemoryError};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64};

/// What any allocation is aligned to.
const USUAL_ALIGNMENT: usize = 16;

/// A zeroed run of frame memory, cut into frames of one size. Lives as long as a [`Frame`] of it.
pub struct Region {
    /// Tells this region from every other one of the process.
    number: u64,
    pub(super) start: NonNull<u8>,
    bytes: usize,
    pub(super) backing: Backing,
    /// A process that may still write here is dead or stuck: the frames are used for nothing new.
    quarantined: AtomicBool,
    stride_bytes: usize,
    frame_bytes: usize,
    /// One borrow state a frame: 0 free, n > 0 that many readers, -1 one writer. Pairs acquire (taking) with release
    /// (giving back).
    pub(super) borrows: Box<[AtomicI32]>,
}

/// Where a region's memory comes from.
pub(super) enum Backing {
    /// An allocation of this process; the region's start is its first aligned byte.
    Private { allocation: NonNull<u8>, layout: Layout },
    /// Memory that another process may have mapped.
    Shared(Arc<SharedMemory>),
    /// Memory of somebody who is told when it is used no more.
    Lent { release: Option<Release> },
}

/// Takes lent memory back.
pub(super) type Release = Box<dyn FnOnce() + Send + Sync>;

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
    fn a_cut_that_leaves_the_memory_is_refused() {
        let memory = SharedMemory::create("test", 4096).unwrap();
        let cut = |frames, frame_bytes, stride_bytes| Cut { frames, frame_bytes, stride_bytes };
        for bad in [cut(0, 1, 1), cut(1, 0, 1), cut(1, 2, 1), cut(2, 1, 4096), cut(usize::MAX, 1, 2), cut(5000, 0, 0)] {
            assert!(Region::over_shared(memory.clone(), bad).is_err(), "{bad:?}");
        }
        assert!(Region::over_shared(memory, cut(4, 1000, 1024)).is_ok());
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
}
