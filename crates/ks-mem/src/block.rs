//! A pinned block of memory that a driver may share: read and written only through atomic accessors.

use crate::MemoryError;
use crate::sync::Arc;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use zerocopy::{FromBytes, IntoBytes};

/// A zeroed allocation at a fixed address for one public structure (or an array of them).
///
/// The address stays the same until the block is dropped, so it can be lent to a driver. Every access is atomic for
/// its width and relaxed unless the name says otherwise: a driver that writes at the same time gives an old or a new
/// field, never undefined behaviour. Accesses outside the block, or at an offset that is not a multiple of the width,
/// are a bug of the caller and panic; offsets are therefore constants of the ABI or checked by the caller.
pub struct Block {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the block owns its allocation, and all access to the memory is atomic.
unsafe impl Send for Block {}
// SAFETY: as above: shared access goes through atomics only.
unsafe impl Sync for Block {}

macro_rules! field_accessors {
    ($load:ident, $store:ident, $int:ty, $atomic:ty) => {
        #[doc = concat!("Reads a `", stringify!($int), "` at `offset`, relaxed.")]
        #[inline]
        pub fn $load(&self, offset: usize) -> $int {
            let field = self.field_ptr::<$atomic>(offset);
            // SAFETY: `field_ptr` checked bounds and alignment; the memory lives as long as `self`.
            unsafe { field.as_ref() }.load(Ordering::Relaxed)
        }

        #[doc = concat!("Writes a `", stringify!($int), "` at `offset`, relaxed.")]
        #[inline]
        pub fn $store(&self, offset: usize, value: $int) {
            let field = self.field_ptr::<$atomic>(offset);
            // SAFETY: `field_ptr` checked bounds and alignment; the memory lives as long as `self`.
            unsafe { field.as_ref() }.store(value, Ordering::Relaxed);
        }
    };
}

impl Block {
    /// Allocates `bytes` zeroed bytes, aligned to `alignment`.
    ///
    /// Fails when the shape is impossible or when there is no memory; never aborts.
    #[cfg_attr(feature = "faults", track_caller)]
    pub fn zeroed(bytes: usize, alignment: usize) -> Result<Block, MemoryError> {
        let shape = MemoryError::Shape { frames: 1, frame_bytes: bytes, alignment };
        if bytes == 0 || alignment > crate::MAX_ALIGNMENT || !alignment.is_power_of_two() {
            return Err(shape);
        }
        let layout = Layout::from_size_align(bytes, alignment.max(8)).map_err(|_| shape)?;
        // SAFETY: the layout has a size above zero.
        let start = crate::fallible(|| unsafe { alloc_zeroed(layout) });
        let start = NonNull::new(start).ok_or(MemoryError::Exhausted { bytes })?;
        Ok(Block { start, layout })
    }

    /// Size in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.layout.size()
    }

    /// Never true: a block has at least one byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Address of the first byte, as a driver sees it.
    #[inline]
    pub fn address(&self) -> u64 {
        self.start.as_ptr() as u64
    }

    field_accessors!(load_u8, store_u8, u8, AtomicU8);
    field_accessors!(load_u16, store_u16, u16, AtomicU16);
    field_accessors!(load_u32, store_u32, u32, AtomicU32);
    field_accessors!(load_u64, store_u64, u64, AtomicU64);

    /// Reads an `i64` at `offset`, relaxed.
    #[inline]
    pub fn load_i64(&self, offset: usize) -> i64 {
        self.load_u64(offset).cast_signed()
    }

    /// Writes an `i64` at `offset`, relaxed.
    #[inline]
    pub fn store_i64(&self, offset: usize, value: i64) {
        self.store_u64(offset, value.cast_unsigned());
    }

    /// Adds to the `u32` at `offset` (sequentially consistent) and returns the value before; wraps.
    #[inline]
    pub fn fetch_add_u32(&self, offset: usize, value: u32) -> u32 {
        let field = self.field_ptr::<AtomicU32>(offset);
        // SAFETY: `field_ptr` checked bounds and alignment; the memory lives as long as `self`.
        unsafe { field.as_ref() }.fetch_add(value, Ordering::SeqCst)
    }

    /// Subtracts from the `u32` at `offset` (sequentially consistent) and returns the value before; wraps.
    #[inline]
    pub fn fetch_sub_u32(&self, offset: usize, value: u32) -> u32 {
        let field = self.field_ptr::<AtomicU32>(offset);
        // SAFETY: `field_ptr` checked bounds and alignment; the memory lives as long as `self`.
        unsafe { field.as_ref() }.fetch_sub(value, Ordering::SeqCst)
    }

    /// Replaces the `u32` at `offset` by `new` if it is `current` (sequentially consistent). True when it was.
    #[inline]
    pub fn replace_u32(&self, offset: usize, current: u32, new: u32) -> Result<u32, u32> {
        let field = self.field_ptr::<AtomicU32>(offset);
        // SAFETY: `field_ptr` checked bounds and alignment; the memory lives as long as `self`.
        unsafe { field.as_ref() }.compare_exchange(current, new, Ordering::SeqCst, Ordering::SeqCst)
    }

    /// Reads the `u32` at `offset` sequentially consistent; its partners are [`Block::fetch_add_u32`] and its kin.
    #[inline]
    pub fn load_ordered_u32(&self, offset: usize) -> u32 {
        let field = self.field_ptr::<AtomicU32>(offset);
        // SAFETY: `field_ptr` checked bounds and alignment; the memory lives as long as `self`.
        unsafe { field.as_ref() }.load(Ordering::SeqCst)
    }

    /// Copies `into.len()` bytes out, starting at `offset`.
    ///
    /// Aligned eight-byte groups are each read at once, the rest byte by byte; the copy as a whole is no snapshot.
    pub fn read_bytes(&self, offset: usize, into: &mut [u8]) {
        self.check(offset, into.len());
        let mut at = 0;
        while at < into.len() {
            let here = offset + at;
            if here.is_multiple_of(8) && into.len() - at >= 8 {
                into[at..at + 8].copy_from_slice(&self.load_u64(here).to_ne_bytes());
                at += 8;
            } else {
                into[at] = self.load_u8(here);
                at += 1;
            }
        }
    }

    /// Copies `from` in, starting at `offset`, with the granularity of [`Block::read_bytes`].
    pub fn write_bytes(&self, offset: usize, from: &[u8]) {
        self.check(offset, from.len());
        let mut at = 0;
        while at < from.len() {
            let here = offset + at;
            if here.is_multiple_of(8) && from.len() - at >= 8 {
                let mut group = [0; 8];
                group.copy_from_slice(&from[at..at + 8]);
                self.store_u64(here, u64::from_ne_bytes(group));
                at += 8;
            } else {
                self.store_u8(here, from[at]);
                at += 1;
            }
        }
    }

    /// Reads a plain structure at `offset`: a snapshot field group by field group, see [`Block::read_bytes`].
    pub fn read<T: FromBytes + IntoBytes>(&self, offset: usize) -> T {
        let mut value = T::new_zeroed();
        self.read_bytes(offset, value.as_mut_bytes());
        value
    }

    /// Writes a plain structure at `offset`.
    pub fn write<T: IntoBytes + zerocopy::Immutable>(&self, offset: usize, value: &T) {
        self.write_bytes(offset, value.as_bytes());
    }

    /// The first `BYTES` bytes. For those who access many fields at constant offsets: the size is checked here, once.
    ///
    /// A size above the block's is a bug of the caller and panics.
    #[inline]
    pub fn prefix<const BYTES: usize>(&self) -> BlockPrefix<'_, BYTES> {
        self.check(0, BYTES);
        BlockPrefix { start: self.start, block: PhantomData }
    }

    #[inline]
    fn check(&self, offset: usize, bytes: usize) {
        check(offset, bytes, self.len());
    }

    #[inline]
    fn field_ptr<A>(&self, offset: usize) -> NonNull<A> {
        check_field::<A>(offset, self.len());
        // SAFETY: the check showed that the offset lies inside the allocation.
        unsafe { self.start.add(offset) }.cast()
    }
}

/// The first `BYTES` bytes of a [`Block`], with its accessors: a constant offset costs no check when the program runs.
#[derive(Clone, Copy)]
pub struct BlockPrefix<'a, const BYTES: usize> {
    start: NonNull<u8>,
    block: PhantomData<&'a Block>,
}

impl<const BYTES: usize> BlockPrefix<'_, BYTES> {
    /// Address of the first byte, as a driver sees it.
    #[inline]
    pub fn address(&self) -> u64 {
        self.start.as_ptr() as u64
    }

    field_accessors!(load_u8, store_u8, u8, AtomicU8);
    field_accessors!(load_u16, store_u16, u16, AtomicU16);
    field_accessors!(load_u32, store_u32, u32, AtomicU32);
    field_accessors!(load_u64, store_u64, u64, AtomicU64);

    #[inline]
    fn field_ptr<A>(&self, offset: usize) -> NonNull<A> {
        check_field::<A>(offset, BYTES);
        // SAFETY: the check showed that the offset lies inside the prefix, and `Block::prefix` that the prefix lies
        // inside the allocation.
        unsafe { self.start.add(offset) }.cast()
    }
}

impl<const BYTES: usize> std::fmt::Debug for BlockPrefix<'_, BYTES> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockPrefix").field("bytes", &BYTES).finish_non_exhaustive()
    }
}

impl<'a, const BYTES: usize> BlockPrefix<'a, BYTES> {
    /// # Safety
    ///
    /// `start` begins `BYTES` bytes that are aligned to eight, were zeroed, and are touched by atomics only, all through `'a`.
    pub(crate) unsafe fn at(start: NonNull<u8>) -> BlockPrefix<'a, BYTES> {
        BlockPrefix { start, block: PhantomData }
    }
}

/// A part of a [`Block`] that keeps it: one structure of an array. Its place is found once, when it is made.
pub struct BlockPart {
    start: NonNull<u8>,
    bytes: usize,
    block: Arc<Block>,
}

// SAFETY: the part keeps the block that it points into, and all access to the memory is atomic.
unsafe impl Send for BlockPart {}
// SAFETY: as above: shared access goes through atomics only.
unsafe impl Sync for BlockPart {}

impl BlockPart {
    /// The `bytes` bytes of `block` at `offset`, which is a multiple of eight.
    ///
    /// A part that leaves the block, or an odd offset, is a bug of the caller and panics.
    pub fn new(block: &Arc<Block>, offset: usize, bytes: usize) -> BlockPart {
        check(offset, bytes, block.len());
        if !offset.is_multiple_of(8) {
            misaligned(offset);
        }
        // SAFETY: the check showed that the offset lies inside the allocation.
        let start = unsafe { block.start.add(offset) };
        BlockPart { start, bytes, block: block.clone() }
    }

    /// Address of the first byte, as a driver sees it.
    #[inline]
    pub fn address(&self) -> u64 {
        self.start.as_ptr() as u64
    }

    /// Size in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Is there no byte?
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The block, and where the part begins in it.
    pub fn place(&self) -> (&Block, usize) {
        (&self.block, self.start.as_ptr() as usize - self.block.start.as_ptr() as usize)
    }

    /// As [`Block::prefix`], of the part.
    #[inline]
    pub fn prefix<const BYTES: usize>(&self) -> BlockPrefix<'_, BYTES> {
        check(0, BYTES, self.bytes);
        BlockPrefix { start: self.start, block: PhantomData }
    }

    field_accessors!(load_u64, store_u64, u64, AtomicU64);

    #[inline]
    fn field_ptr<A>(&self, offset: usize) -> NonNull<A> {
        check_field::<A>(offset, self.bytes);
        // SAFETY: the check showed that the offset lies inside the part, and `new` that the part lies inside the block.
        unsafe { self.start.add(offset) }.cast()
    }
}

impl std::fmt::Debug for BlockPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockPart").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

#[inline]
fn check(offset: usize, bytes: usize, length: usize) {
    if offset.checked_add(bytes).is_none_or(|end| end > length) {
        outside(offset, bytes, length);
    }
}

#[inline]
fn check_field<A>(offset: usize, length: usize) {
    check(offset, size_of::<A>(), length);
    if !offset.is_multiple_of(size_of::<A>()) {
        misaligned(offset);
    }
}

/// Apart, so that an access that is inside prepares nothing for the message.
#[cold]
#[inline(never)]
fn outside(offset: usize, bytes: usize, length: usize) -> ! {
    panic!("invariant: {offset}+{bytes} lies outside a block of {length}");
}

#[cold]
#[inline(never)]
fn misaligned(offset: usize) -> ! {
    panic!("invariant: offset {offset} is not aligned for its field");
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with this very layout, and freed only here.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Block").field("bytes", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_block_is_zero_and_keeps_what_is_written() {
        let block = Block::zeroed(64, 16).unwrap();
        assert_eq!(block.address() % 16, 0);
        assert_eq!((0..8).map(|i| block.load_u64(i * 8)).sum::<u64>(), 0);
        block.store_u32(4, 0xAABB_CCDD);
        block.store_u16(2, 7);
        assert_eq!(block.load_u32(4), 0xAABB_CCDD);
        assert_eq!(block.load_u64(0) >> 32, 0xAABB_CCDD);
    }

    #[test]
    fn bytes_survive_a_round_trip_at_every_offset_and_length() {
        let pattern: Vec<u8> = (1..=40).collect();
        for offset in 0..20 {
            for length in 0..=20 {
                let block = Block::zeroed(64, 8).unwrap();
                block.write_bytes(offset, &pattern[..length]);
                let mut back = vec![0; length];
                block.read_bytes(offset, &mut back);
                assert_eq!(back, pattern[..length]);
                let mut all = vec![0; 64];
                block.read_bytes(0, &mut all);
                assert!(all[..offset].iter().chain(&all[offset + length..]).all(|&byte| byte == 0));
            }
        }
    }

    #[test]
    fn impossible_shapes_are_refused() {
        assert!(Block::zeroed(0, 8).is_err());
        assert!(Block::zeroed(8, 3).is_err());
        assert!(Block::zeroed(8, 8192).is_err());
        assert!(Block::zeroed(usize::MAX, 8).is_err());
    }

    #[test]
    fn a_prefix_is_the_same_memory() {
        let block = Block::zeroed(64, 16).unwrap();
        block.prefix::<64>().store_u32(60, 7);
        assert_eq!(block.load_u32(60), 7);
        assert_eq!(block.prefix::<32>().load_u64(24), 0);
    }

    #[test]
    fn a_part_is_the_same_memory_and_keeps_it() {
        let block = Arc::new(Block::zeroed(64, 16).unwrap());
        let part = BlockPart::new(&block, 24, 16);
        assert_eq!((part.address(), part.len()), (block.address() + 24, 16));
        part.prefix::<16>().store_u32(8, 5);
        assert_eq!(block.load_u32(32), 5);
        block.store_u64(24, 9);
        drop(block);
        assert_eq!(part.load_u64(0), 9);
        let (whole, offset) = part.place();
        assert_eq!((whole.load_u32(32), offset), (5, 24));
    }

    #[test]
    #[should_panic(expected = "56+16 lies outside a block of 64")]
    fn a_part_does_not_leave_its_block() {
        let _ = BlockPart::new(&Arc::new(Block::zeroed(64, 8).unwrap()), 56, 16);
    }

    #[test]
    #[should_panic(expected = "16+8 lies outside a block of 16")]
    fn a_part_ends_where_it_says() {
        BlockPart::new(&Arc::new(Block::zeroed(64, 8).unwrap()), 8, 16).load_u64(16);
    }

    #[test]
    #[should_panic(expected = "8+8 lies outside a block of 12")]
    fn a_prefix_ends_where_it_says() {
        Block::zeroed(64, 8).unwrap().prefix::<12>().load_u64(8);
    }

    #[test]
    #[should_panic(expected = "0+65 lies outside a block of 64")]
    fn a_prefix_is_not_longer_than_its_block() {
        let _ = Block::zeroed(64, 8).unwrap().prefix::<65>();
    }

    #[test]
    #[should_panic(expected = "offset 2 is not aligned")]
    fn an_access_between_two_fields_is_a_bug_of_the_caller() {
        Block::zeroed(8, 8).unwrap().load_u32(2);
    }

    #[test]
    #[should_panic(expected = "outside a block")]
    fn an_access_past_the_end_is_a_bug_of_the_caller() {
        Block::zeroed(8, 8).unwrap().load_u64(8);
    }
}
