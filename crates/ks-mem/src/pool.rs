//! Pools of equal frames, mapped once.

use crate::frame::{Frame, Region};
use crate::sync::{Arc, Mutex};
use crate::{MemoryError, RegionTable};

/// What a pool is asked to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSpec {
    /// Number of frames, at least one.
    pub frames: usize,
    /// Bytes of one frame, at least one.
    pub frame_bytes: usize,
    /// Alignment of each frame in bytes, a power of two up to [`crate::MAX_ALIGNMENT`].
    pub alignment: usize,
}

/// A fixed set of equal frames. Taking and giving back never allocates.
#[derive(Debug)]
pub struct FramePool {
    region: Arc<Region>,
    spec: PoolSpec,
    free: Mutex<Vec<Frame>>,
}

impl FramePool {
    /// Allocates all frames at once, zeroed, and makes their addresses known to `table`.
    pub fn new(spec: PoolSpec, table: &RegionTable) -> Result<FramePool, MemoryError> {
        let region = Region::zeroed(spec.frames, spec.frame_bytes, spec.alignment)?;
        table.register(&region);
        let free = (0..spec.frames).rev().filter_map(|index| region.frame(index)).collect();
        Ok(FramePool { region, spec, free: Mutex::new(free) })
    }

    /// What the pool was made with.
    pub fn spec(&self) -> PoolSpec {
        self.spec
    }

    /// Takes a free frame; `None` when all are out.
    pub fn take(&self) -> Option<Frame> {
        self.free.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop()
    }

    /// Gives a frame back. A frame of another pool is refused and returned.
    pub fn put(&self, frame: Frame) -> Result<(), Frame> {
        if !Arc::ptr_eq(frame.region(), &self.region) {
            return Err(frame);
        }
        self.free.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(frame);
        Ok(())
    }

    /// Frames that are not out.
    pub fn free_frames(&self) -> usize {
        self.free.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_gives_each_frame_once_and_takes_only_its_own_back() {
        let table = RegionTable::new();
        let pool = FramePool::new(PoolSpec { frames: 3, frame_bytes: 10, alignment: 256 }, &table).unwrap();
        let frames: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!(frames.len(), 3);
        assert!(frames.iter().all(|frame| frame.address().is_multiple_of(256)));
        assert!(pool.put(Frame::zeroed(10, 256).unwrap()).is_err());
        for frame in frames {
            pool.put(frame).unwrap();
        }
        assert_eq!(pool.free_frames(), 3);
    }
}
