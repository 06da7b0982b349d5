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

/// Which memory frames lie in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum FrameMemory {
    /// Memory of this process alone.
    #[default]
    Private,
    /// Memory that another process can map: for frames that cross over.
    Shared,
}

/// A fixed set of equal frames. Taking and giving back never allocates.
#[derive(Debug)]
pub struct FramePool {
    region: Arc<Region>,
    spec: PoolSpec,
    /// Indices of the frames that are not out; the next one last.
    free: Mutex<Vec<u32>>,
}

impl FramePool {
    /// Allocates all frames at once, zeroed, and makes their addresses known to `table`.
    pub fn new(spec: PoolSpec, table: &RegionTable) -> Result<FramePool, MemoryError> {
        FramePool::in_memory(FrameMemory::Private, spec, table)
    }

    /// As [`FramePool::new`], in memory of either kind.
    pub fn in_memory(memory: FrameMemory, spec: PoolSpec, table: &RegionTable) -> Result<FramePool, MemoryError> {
        let PoolSpec { frames, frame_bytes, alignment } = spec;
        let shape = MemoryError::Shape { frames, frame_bytes, alignment };
        let region = match memory {
            FrameMemory::Private => Region::zeroed(spec.frames, spec.frame_bytes, spec.alignment)?,
            FrameMemory::Shared => Region::shared(spec.frames, spec.frame_bytes, spec.alignment)?,
        };
        let mut free = Vec::new();
        let reserved = crate::fallible(|| free.try_reserve_exact(spec.frames));
        reserved.map_err(|_| MemoryError::Exhausted { bytes: spec.frames * size_of::<u32>() })?;
        let indices = 0..u32::try_from(spec.frames).map_err(|_| shape)?;
        table.register(&region);
        free.extend(indices.rev());
        Ok(FramePool { region, spec, free: Mutex::new(free) })
    }

    /// Which memory the frames lie in.
    pub fn memory(&self) -> FrameMemory {
        match self.region.shared_memory() {
            Some(_) => FrameMemory::Shared,
            None => FrameMemory::Private,
        }
    }

    /// True when the frames must go to nobody new, see [`Region::quarantine`].
    pub fn is_quarantined(&self) -> bool {
        self.region.is_quarantined()
    }

    /// What the pool was made with.
    pub fn spec(&self) -> PoolSpec {
        self.spec
    }

    /// Takes a free frame; `None` when all are out.
    pub fn take(&self) -> Option<Frame> {
        let index = self.free.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop()?;
        self.region.frame(index as usize)
    }

    /// Another name of the frame with this index, free or out; `None` past the last.
    pub fn name(&self, index: usize) -> Option<Frame> {
        self.region.frame(index)
    }

    /// Gives a frame back. A frame of another pool is refused and returned.
    pub fn put(&self, frame: Frame) -> Result<(), Frame> {
        if !Arc::ptr_eq(frame.region(), &self.region) {
            return Err(frame);
        }
        self.free.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(frame.index() as u32);
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
