//! Memory for devices: contiguous and uncached, which to a driver without a device is memory.

use ks_abi::NtStatus;

use super::block::Block;
use super::{irql, pool};
use crate::exports;
use crate::exports::Export;

pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    MmAllocateContiguousMemory, MmAllocateContiguousMemorySpecifyCache, MmAllocateContiguousMemorySpecifyCacheNode,
    MmAllocateContiguousNodeMemory, MmFreeContiguousMemory, MmFreeContiguousMemorySpecifyCache,
    MmAllocateNonCachedMemory, MmFreeNonCachedMemory,
    MmLockPagableDataSection, MmLockPagableImageSection, MmLockPagableSectionByHandle, MmUnlockPagableImageSection,
    MmPageEntireDriver, MmResetDriverPaging, MmQuerySystemSize, MmIsThisAnNtAsSystem, MmIsDriverVerifying,
    MmIsDriverVerifyingByAddress, MmIsVerifierEnabled,
);

const TAG: u32 = u32::from_le_bytes(*b"MmCo");

/// Always page aligned, as such memory is documented to be.
fn allocate(bytes: usize, routine: &'static str) -> Block {
    irql::at_most(irql::DISPATCH, routine);
    pool::allocate(bytes.max(4096), TAG, pool::Contents::Anything)
}

pub(crate) unsafe extern "win64" fn MmAllocateContiguousMemory(bytes: usize, _highest: u64) -> Block {
    allocate(bytes, "MmAllocateContiguousMemory")
}

pub(crate) unsafe extern "win64" fn MmAllocateContiguousMemorySpecifyCache(
    bytes: usize,
    _lowest: u64,
    _highest: u64,
    _boundary: u64,
    _cache: u32,
) -> Block {
    allocate(bytes, "MmAllocateContiguousMemorySpecifyCache")
}

pub(crate) unsafe extern "win64" fn MmAllocateContiguousMemorySpecifyCacheNode(
    bytes: usize,
    _lowest: u64,
    _highest: u64,
    _boundary: u64,
    _cache: u32,
    _node: u32,
) -> Block {
    allocate(bytes, "MmAllocateContiguousMemorySpecifyCacheNode")
}

pub(crate) unsafe extern "win64" fn MmAllocateContiguousNodeMemory(
    bytes: usize,
    _lowest: u64,
    _highest: u64,
    _boundary: u64,
    _protect: u32,
    _node: u32,
) -> Block {
    allocate(bytes, "MmAllocateContiguousNodeMemory")
}

pub(crate) unsafe extern "win64" fn MmFreeContiguousMemory(memory: Block) {
    pool::free(memory, TAG, "MmFreeContiguousMemory");
}

pub(crate) unsafe extern "win64" fn MmFreeContiguousMemorySpecifyCache(memory: Block, _bytes: usize, _cache: u32) {
    pool::free(memory, TAG, "MmFreeContiguousMemorySpecifyCache");
}

pub(crate) unsafe extern "win64" fn MmAllocateNonCachedMemory(bytes: usize) -> Block {
    allocate(bytes, "MmAllocateNonCachedMemory")
}

pub(crate) unsafe extern "win64" fn MmFreeNonCachedMemory(memory: Block, _bytes: usize) {
    pool::free(memory, TAG, "MmFreeNonCachedMemory");
}

// Nothing is ever paged out: locking a section is naming it.
pub(crate) unsafe extern "win64" fn MmLockPagableDataSection(address: Block) -> Block {
    address
}

pub(crate) unsafe extern "win64" fn MmLockPagableImageSection(address: Block) -> Block {
    address
}

pub(crate) unsafe extern "win64" fn MmLockPagableSectionByHandle(_section: Block) {}

pub(crate) unsafe extern "win64" fn MmUnlockPagableImageSection(_section: Block) {}

/// Returns where the image is said to begin: the address that was given names it.
pub(crate) unsafe extern "win64" fn MmPageEntireDriver(address: Block) -> Block {
    address
}

pub(crate) unsafe extern "win64" fn MmResetDriverPaging(_address: Block) {}

/// MmLargeSystem
pub(crate) unsafe extern "win64" fn MmQuerySystemSize() -> u32 {
    2
}

pub(crate) unsafe extern "win64" fn MmIsThisAnNtAsSystem() -> u8 {
    0
}

// What Driver Verifier checks is checked here always; a driver that behaves otherwise under it need not.
pub(crate) unsafe extern "win64" fn MmIsDriverVerifying(_driver: Block) -> u32 {
    0
}

pub(crate) unsafe extern "win64" fn MmIsDriverVerifyingByAddress(_address: Block) -> u32 {
    0
}

pub(crate) unsafe extern "win64" fn MmIsVerifierEnabled(flags: Block) -> NtStatus {
    flags.put(0, 0u32);
    NtStatus::STATUS_NOT_SUPPORTED
}
