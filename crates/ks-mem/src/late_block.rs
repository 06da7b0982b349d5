//! A pinned block of memory that is not there before somebody looks at it.

use crate::{BlockPrefix, MemoryError};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicPtr, Ordering};

/// A [`crate::Block`] of `BYTES` bytes, aligned to 16, for a structure that a driver may never be shown: it takes memory
/// from when it is made or first looked at, and then stays at its address.
pub struct LateBlock<const BYTES: usize> {
    /// Null until the block is made. Acquire pairs with the release of whoever made it.
    start: AtomicPtr<u8>,
}

impl<const BYTES: usize> LateBlock<BYTES> {
    const LAYOUT: Layout = match Layout::from_size_align(BYTES, 16) {
        Ok(layout) if BYTES > 0 => layout,
        _ => panic!("a block has a size that there is"),
    };

    /// Without memory yet.
    pub const fn new() -> LateBlock<BYTES> {
        LateBlock { start: AtomicPtr::new(null_mut()) }
    }

    /// The block, if it was made.
    #[inline]
    pub fn get(&self) -> Option<BlockPrefix<'_, BYTES>> {
        let start = NonNull::new(self.start.load(Ordering::Acquire))?;
        // SAFETY: whoever stored `start` allocated it zeroed with `LAYOUT`; it is freed when `self` is dropped, and nobody
        // touches it but through atomics.
        Some(unsafe { BlockPrefix::at(start) })
    }

    /// The block. If it was not made, `fill` writes what stands in it from the beginning; of two threads that make it at
    /// once one's is kept.
    #[cold]
    #[cfg_attr(feature = "faults", track_caller)]
    pub fn make(&self, fill: impl FnOnce(BlockPrefix<'_, BYTES>)) -> Result<BlockPrefix<'_, BYTES>, MemoryError> {
        if let Some(there) = self.get() {
            return Ok(there);
        }
        // SAFETY: the layout has a size above zero.
        let start = crate::fallible(|| unsafe { alloc_zeroed(Self::LAYOUT) });
        let start = NonNull::new(start).ok_or(MemoryError::Exhausted { bytes: BYTES })?;
        Ok(self.keep(start, fill))
    }

    /// As [`LateBlock::make`], where nobody copes: without memory the process ends, as for a `Box`.
    #[cold]
    pub fn made(&self, fill: impl FnOnce(BlockPrefix<'_, BYTES>)) -> BlockPrefix<'_, BYTES> {
        if let Some(there) = self.get() {
            return there;
        }
        // SAFETY: the layout has a size above zero.
        let start = unsafe { alloc_zeroed(Self::LAYOUT) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(Self::LAYOUT) };
        self.keep(start, fill)
    }

    /// `start` is fresh, of `LAYOUT`.
    fn keep(&self, start: NonNull<u8>, fill: impl FnOnce(BlockPrefix<'_, BYTES>)) -> BlockPrefix<'_, BYTES> {
        // SAFETY: fresh memory of `BYTES` zeroed bytes, that nobody else knows and that is not freed before `fill` returns.
        fill(unsafe { BlockPrefix::at(start) });
        let outcome = self.start.compare_exchange(null_mut(), start.as_ptr(), Ordering::AcqRel, Ordering::Acquire);
        let kept = match outcome.map_err(NonNull::new) {
            Err(Some(other)) => {
                // SAFETY: allocated with this very layout, and known to nobody.
                unsafe { dealloc(start.as_ptr(), Self::LAYOUT) };
                other
            }
            Ok(_) | Err(None) => start,
        };
        // SAFETY: `kept` is what `self` keeps until it is dropped; see `get`.
        unsafe { BlockPrefix::at(kept) }
    }
}

impl<const BYTES: usize> Default for LateBlock<BYTES> {
    fn default() -> LateBlock<BYTES> {
        LateBlock::new()
    }
}

impl<const BYTES: usize> Drop for LateBlock<BYTES> {
    fn drop(&mut self) {
        if let Some(start) = NonNull::new(*self.start.get_mut()) {
            // SAFETY: allocated with this very layout, and freed only here.
            unsafe { dealloc(start.as_ptr(), Self::LAYOUT) }
        }
    }
}

impl<const BYTES: usize> std::fmt::Debug for LateBlock<BYTES> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LateBlock").field("bytes", &BYTES).field("made", &self.get().is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_block_is_zero_but_for_what_fills_it_and_keeps_its_address() {
        let block = LateBlock::<64>::new();
        assert!(block.get().is_none());
        let made = block.make(|fields| fields.store_u16(2, 7)).unwrap();
        assert_eq!((made.address() % 16, made.load_u16(2), made.load_u64(56)), (0, 7, 0));
        made.store_u64(56, 9);
        let again = block.made(|_| panic!("it was made"));
        assert_eq!((again.address(), again.load_u64(56)), (made.address(), 9));
    }

    #[test]
    fn threads_that_look_at_once_see_one_block() {
        for _ in 0..50 {
            let block = LateBlock::<32>::new();
            let look = || block.made(|fields| fields.store_u32(0, 5));
            let seen: Vec<(u64, u32)> = std::thread::scope(|scope| {
                let all: Vec<_> = (0..4)
                    .map(|_| {
                        scope.spawn(|| {
                            let made = look();
                            (made.address(), made.load_u32(0))
                        })
                    })
                    .collect();
                all.into_iter().map(|one| one.join().unwrap()).collect()
            });
            assert!(seen.iter().all(|one| *one == (seen[0].0, 5)));
        }
    }
}
