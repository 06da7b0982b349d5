//! The pool: memory by tag, with an account of every block.
//!
//! A block is aligned to 16 bytes, or to a page if it has the size of one. Every block is known by its address, so that
//! a free of something else, a second free and a free under a wrong tag are reported, and what a driver never freed is
//! told by tag when it is unloaded.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{LazyLock, Mutex, PoisonError};

use super::block::Block;
use super::{dispatcher, irql, mdl, mdl_pages};
use crate::exports;
use crate::exports::Export;
use crate::report::{self, BugCheck};

pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    ExAllocatePool, ExAllocatePoolWithTag, ExAllocatePoolWithQuota, ExAllocatePoolWithQuotaTag,
    ExAllocatePoolWithTagPriority, ExAllocatePool2, ExAllocatePool3, ExFreePool, ExFreePoolWithTag, ExFreePool2,
    ExQueryPoolBlockSize,
);

const PAGE: usize = 4096;
/// Tag of what a driver allocates without one.
const NO_TAG: u32 = u32::from_le_bytes(*b"None");
/// The bit of a tag that protects it in old versions of Windows; it is no part of the name.
const PROTECTED: u32 = 1 << 31;

/// The bits of a POOL_TYPE that are read: paged, zeroed, and to be raised for.
const PAGED_POOL: u32 = 1;
const POOL_QUOTA_FAIL_INSTEAD_OF_RAISE: u32 = 8;
const POOL_RAISE_IF_ALLOCATION_FAILURE: u32 = 16;
const POOL_ZERO_ALLOCATION: u32 = 1024;

/// The bits of POOL_FLAGS that are read.
const POOL_FLAG_UNINITIALIZED: u64 = 0x2;
const POOL_FLAG_RAISE_ON_FAILURE: u64 = 0x20;
const POOL_FLAG_NON_PAGED: u64 = 0x40;
const POOL_FLAG_NON_PAGED_EXECUTE: u64 = 0x80;
const POOL_FLAG_PAGED: u64 = 0x100;

/// What is in a new block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contents {
    /// Whatever was there.
    Anything,
    Zeros,
}

/// Whether a block may be used above APC_LEVEL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Residence {
    Paged,
    NonPaged,
}

#[derive(Clone, Copy)]
struct Allocation {
    tag: u32,
    bytes: usize,
    residence: Residence,
}

/// Blocks of one tag that have not been freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leak {
    /// The tag, as the driver wrote it: the first letter is the lowest byte.
    pub tag: u32,
    /// Number of blocks.
    pub blocks: usize,
    /// Bytes that the driver asked for.
    pub bytes: usize,
}

impl Leak {
    /// The tag as text.
    pub fn name(&self) -> String {
        tag_name(self.tag)
    }
}

#[derive(Default)]
struct Pool {
    blocks: HashMap<usize, Allocation>,
    /// The last blocks that were freed, to tell a second free from a wild one.
    freed: VecDeque<(usize, u32)>,
}

/// Freed blocks that are remembered.
const REMEMBERED: usize = 256;

static POOL: LazyLock<Mutex<Pool>> = LazyLock::new(Mutex::default);

fn pool() -> std::sync::MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tag_name(tag: u32) -> String {
    let letters = (tag & !PROTECTED).to_le_bytes();
    letters.iter().map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' }).collect()
}

/// What was allocated and not freed, by tag, in the order of the tags' names.
pub fn leaks() -> Vec<Leak> {
    let mut by_tag: BTreeMap<[u8; 4], Leak> = BTreeMap::new();
    let of_pool: Vec<_> = pool().blocks.values().map(|allocation| (allocation.tag, allocation.bytes)).collect();
    let of_lists = mdl_pages::shared_left().into_iter().map(|bytes| (mdl::TAG, bytes));
    for (tag, bytes) in of_pool.into_iter().chain(of_lists) {
        let leak = by_tag.entry(tag.to_le_bytes()).or_insert(Leak { tag, blocks: 0, bytes: 0 });
        leak.blocks += 1;
        leak.bytes += bytes;
    }
    by_tag.into_values().collect()
}

fn layout(bytes: usize) -> Option<Layout> {
    let align = if bytes >= PAGE { PAGE } else { 16 };
    Layout::from_size_align(bytes.max(16).checked_next_multiple_of(16)?, align).ok()
}

/// Allocates non-paged memory for the kernel's own objects in a driver's name; null if there is none.
pub(crate) fn allocate(bytes: usize, tag: u32, contents: Contents) -> Block {
    make(bytes, tag, contents, Residence::NonPaged)
}

fn make(bytes: usize, tag: u32, contents: Contents, residence: Residence) -> Block {
    let Some(layout) = layout(bytes) else { return Block::NULL };
    let memory = match contents {
        // SAFETY: the size is not zero.
        Contents::Zeros => unsafe { alloc_zeroed(layout) },
        // SAFETY: the size is not zero.
        Contents::Anything => unsafe { alloc(layout) },
    };
    // SAFETY: null, or memory of that size until it is freed.
    let block = unsafe { Block::at(memory) };
    if !block.is_null() {
        pool().blocks.insert(block.address(), Allocation { tag: tag & !PROTECTED, bytes, residence });
    }
    block
}

/// Frees a block; a tag of 0 is any tag.
pub(crate) fn free(block: Block, tag: u32, routine: &'static str) {
    let address = block.address();
    let mut pool = pool();
    let Some(allocation) = pool.blocks.get(&address).copied() else {
        let freed = pool.freed.iter().rev().find(|(freed, _)| *freed == address).copied();
        let inside = pool.blocks.iter().find(|(start, block)| (**start..**start + block.bytes).contains(&address));
        let inside = inside.map(|(start, block)| (*start, block.tag));
        drop(pool);
        return not_a_block(address, freed, inside, routine);
    };
    if tag & !PROTECTED != 0 && tag & !PROTECTED != allocation.tag {
        drop(pool);
        report::misuse(
            BugCheck::BAD_POOL_CALLER,
            routine,
            format!(
                "the block at {address:#x} was allocated as '{}' and is freed as '{}'",
                tag_name(allocation.tag),
                tag_name(tag)
            ),
        );
        // Whoever goes on has the block freed, as the driver meant.
        return free(block, 0, routine);
    }
    pool.blocks.remove(&address);
    if pool.freed.len() == REMEMBERED {
        pool.freed.pop_front();
    }
    pool.freed.push_back((address, allocation.tag));
    drop(pool);
    check_free(address, allocation, routine);
    if let Some(layout) = layout(allocation.bytes) {
        // SAFETY: the block was in the table, so it was allocated with this layout and is freed once.
        unsafe { dealloc(block.pointer(), layout) };
    }
}

fn check_free(address: usize, allocation: Allocation, routine: &'static str) {
    if allocation.residence == Residence::Paged {
        irql::at_most(irql::APC, routine);
    } else {
        irql::at_most(irql::DISPATCH, routine);
    }
    let in_use = dispatcher::lock().in_use(address, allocation.bytes);
    if let Some((object, what)) = in_use {
        report::misuse(
            BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION,
            routine,
            format!(
                "the block at {address:#x} ('{}') is freed, but {what} is in it, at {object:#x}",
                tag_name(allocation.tag)
            ),
        );
        dispatcher::lock().give_up(address, allocation.bytes);
    }
}

#[cold]
fn not_a_block(address: usize, freed: Option<(usize, u32)>, inside: Option<(usize, u32)>, routine: &'static str) {
    let what = match (freed, inside) {
        (Some((_, tag)), _) => format!("the block at {address:#x} ('{}') was freed before", tag_name(tag)),
        (None, Some((start, tag))) => {
            format!("{address:#x} is inside of the block at {start:#x} ('{}'), not its start", tag_name(tag))
        }
        (None, None) => format!("{address:#x} is no block of the pool"),
    };
    report::misuse(BugCheck::BAD_POOL_CALLER, routine, what);
}

/// Size of the block that begins at an address.
pub(crate) fn block_bytes(block: Block) -> Option<usize> {
    pool().blocks.get(&block.address()).map(|allocation| allocation.bytes)
}

fn by_type(pool_type: u32, bytes: usize, tag: u32, routine: &'static str) -> Block {
    let residence = if pool_type & PAGED_POOL != 0 { Residence::Paged } else { Residence::NonPaged };
    irql::at_most(if residence == Residence::Paged { irql::APC } else { irql::DISPATCH }, routine);
    if tag == 0 {
        report::misuse(BugCheck::BAD_POOL_CALLER, routine, "allocates with a tag of zero");
    }
    let contents = if pool_type & POOL_ZERO_ALLOCATION != 0 { Contents::Zeros } else { Contents::Anything };
    let block = make(bytes, tag, contents, residence);
    if block.is_null() && pool_type & POOL_RAISE_IF_ALLOCATION_FAILURE != 0 {
        raise_no_memory(bytes, routine);
    }
    block
}

#[cold]
fn raise_no_memory(bytes: usize, routine: &'static str) {
    report::misuse(
        BugCheck::KMODE_EXCEPTION_NOT_HANDLED,
        routine,
        format!("STATUS_INSUFFICIENT_RESOURCES is raised: there is no memory of {bytes} bytes"),
    );
}

pub(crate) unsafe extern "win64" fn ExAllocatePool(pool_type: u32, bytes: usize) -> Block {
    by_type(pool_type, bytes, NO_TAG, "ExAllocatePool")
}

pub(crate) unsafe extern "win64" fn ExAllocatePoolWithTag(pool_type: u32, bytes: usize, tag: u32) -> Block {
    by_type(pool_type, bytes, tag, "ExAllocatePoolWithTag")
}

fn with_quota(pool_type: u32, bytes: usize, tag: u32, routine: &'static str) -> Block {
    let block = by_type(pool_type & !POOL_QUOTA_FAIL_INSTEAD_OF_RAISE, bytes, tag, routine);
    if block.is_null() && pool_type & POOL_QUOTA_FAIL_INSTEAD_OF_RAISE == 0 {
        raise_no_memory(bytes, routine);
    }
    block
}

// There are no quotas: only how these fail is different.
pub(crate) unsafe extern "win64" fn ExAllocatePoolWithQuota(pool_type: u32, bytes: usize) -> Block {
    with_quota(pool_type, bytes, NO_TAG, "ExAllocatePoolWithQuota")
}

pub(crate) unsafe extern "win64" fn ExAllocatePoolWithQuotaTag(pool_type: u32, bytes: usize, tag: u32) -> Block {
    with_quota(pool_type, bytes, tag, "ExAllocatePoolWithQuotaTag")
}

pub(crate) unsafe extern "win64" fn ExAllocatePoolWithTagPriority(
    pool_type: u32,
    bytes: usize,
    tag: u32,
    _priority: u32,
) -> Block {
    by_type(pool_type, bytes, tag, "ExAllocatePoolWithTagPriority")
}

fn by_flags(flags: u64, bytes: usize, tag: u32, routine: &'static str) -> Block {
    let residence = match flags & (POOL_FLAG_NON_PAGED | POOL_FLAG_NON_PAGED_EXECUTE | POOL_FLAG_PAGED) {
        POOL_FLAG_NON_PAGED | POOL_FLAG_NON_PAGED_EXECUTE => Residence::NonPaged,
        POOL_FLAG_PAGED => Residence::Paged,
        // No kind of memory, or several: an invalid request has no memory.
        _ => return Block::NULL,
    };
    irql::at_most(if residence == Residence::Paged { irql::APC } else { irql::DISPATCH }, routine);
    if tag == 0 || bytes == 0 {
        return Block::NULL;
    }
    let contents = if flags & POOL_FLAG_UNINITIALIZED != 0 { Contents::Anything } else { Contents::Zeros };
    let block = make(bytes, tag, contents, residence);
    if block.is_null() && flags & POOL_FLAG_RAISE_ON_FAILURE != 0 {
        raise_no_memory(bytes, routine);
    }
    block
}

pub(crate) unsafe extern "win64" fn ExAllocatePool2(flags: u64, bytes: usize, tag: u32) -> Block {
    by_flags(flags, bytes, tag, "ExAllocatePool2")
}

/// As `ExAllocatePool2`; of the extended parameters (a count of POOL_EXTENDED_PARAMETER) all are permissions.
pub(crate) unsafe extern "win64" fn ExAllocatePool3(
    flags: u64,
    bytes: usize,
    tag: u32,
    _parameters: Block,
    _count: u32,
) -> Block {
    by_flags(flags, bytes, tag, "ExAllocatePool3")
}

pub(crate) unsafe extern "win64" fn ExFreePool(block: Block) {
    free(block, 0, "ExFreePool");
}

pub(crate) unsafe extern "win64" fn ExFreePoolWithTag(block: Block, tag: u32) {
    free(block, tag, "ExFreePoolWithTag");
}

pub(crate) unsafe extern "win64" fn ExFreePool2(block: Block, tag: u32, _parameters: Block, _count: u32) {
    free(block, tag, "ExFreePool2");
}

/// Size of a block of the pool; no quota was charged for it.
pub(crate) unsafe extern "win64" fn ExQueryPoolBlockSize(block: Block, quota_charged: Block) -> usize {
    quota_charged.put(0, 0u8);
    block_bytes(block).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: u32 = u32::from_le_bytes(*b"tstA");

    #[test]
    fn what_is_not_freed_is_told_by_tag() {
        let ours = || leaks().into_iter().find(|leak| leak.tag == TAG);
        let [small, large] = [24, 5000].map(|bytes| allocate(bytes, TAG, Contents::Zeros));
        assert_eq!((small.address() % 16, large.address() % PAGE), (0, 0));
        assert_eq!(ours(), Some(Leak { tag: TAG, blocks: 2, bytes: 5024 }));
        assert_eq!(ours().unwrap().name(), "tstA");
        free(small, TAG, "test");
        free(large, 0, "test");
        assert_eq!(ours(), None);
    }

    #[test]
    fn more_than_the_machine_has_is_refused() {
        assert!(allocate(usize::MAX, TAG, Contents::Zeros).is_null());
        assert!(allocate(isize::MAX as usize - 5000, TAG, Contents::Anything).is_null());
    }
}
