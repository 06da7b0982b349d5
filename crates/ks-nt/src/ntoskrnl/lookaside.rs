//! Lookaside lists: blocks of one size that a driver keeps for the next time.
//!
//! The allocation and the free themselves are inline in a driver: they pop and push the sequenced list, and call the
//! functions at +48 and +56 when it is empty or full. The rest is here.

use ks_abi::NtStatus;

use super::block::Block;
use super::lists::{ExQueryDepthSList, ExpInterlockedPopEntrySList, ExpInterlockedPushEntrySList};
use super::{irql, pool};
use crate::exports;
use crate::exports::Export;

pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    ExInitializeNPagedLookasideList, ExDeleteNPagedLookasideList, ExInitializePagedLookasideList,
    ExDeletePagedLookasideList, ExAllocateFromPagedLookasideList, ExFreeToPagedLookasideList,
    ExAllocateFromNPagedLookasideList, ExFreeToNPagedLookasideList, ExInitializeLookasideListEx,
    ExDeleteLookasideListEx, ExFlushLookasideListEx, ExAllocateFromLookasideListEx, ExFreeToLookasideListEx,
);

/// Size of what is behind the list head of every kind of list.
const BYTES: usize = 96;
const DEPTH: usize = 16;
const MAXIMUM_DEPTH: usize = 18;
const TOTAL_ALLOCATES: usize = 20;
const ALLOCATE_MISSES: usize = 24;
const TOTAL_FREES: usize = 28;
const FREE_MISSES: usize = 32;
const POOL_TYPE: usize = 36;
const TAG: usize = 40;
const SIZE: usize = 44;
const ALLOCATE: usize = 48;
const FREE: usize = 56;

/// Blocks that a list keeps. Windows begins with few and adapts; this is enough for the frames of a stream.
const KEPT: u16 = 32;
const MAXIMUM_KEPT: u16 = 256;
const NON_PAGED_POOL_NX: u32 = 512;
const PAGED_POOL: u32 = 1;

type Allocate = unsafe extern "win64" fn(pool_type: u32, bytes: usize, tag: u32) -> Block;
type Free = unsafe extern "win64" fn(block: Block);
type AllocateEx = unsafe extern "win64" fn(pool_type: u32, bytes: usize, tag: u32, list: Block) -> Block;
type FreeEx = unsafe extern "win64" fn(block: Block, list: Block);

/// What a list is made with.
struct Made {
    allocate: usize,
    free: usize,
    pool_type: u32,
    bytes: usize,
    tag: u32,
}

fn make(list: Block, made: Made) {
    list.clear(BYTES);
    list.put(DEPTH, KEPT);
    list.put(MAXIMUM_DEPTH, MAXIMUM_KEPT);
    list.put(POOL_TYPE, made.pool_type);
    list.put(TAG, made.tag);
    // An entry must hold the link of the list that it waits in.
    list.put(SIZE, made.bytes.max(16) as u32);
    list.put(ALLOCATE, made.allocate);
    list.put(FREE, made.free);
    list.put_empty_list(64);
}

fn or(function: usize, default: *const ()) -> usize {
    if function == 0 { default as usize } else { function }
}

/// Frees everything that the list keeps.
fn drain(list: Block, free: impl Fn(Block)) {
    loop {
        // SAFETY: the list begins with its sequenced list.
        let entry = unsafe { ExpInterlockedPopEntrySList(list) };
        if entry.is_null() {
            return;
        }
        free(entry);
    }
}

fn drain_plain(list: Block) {
    drain(list, |entry| free_plain(list, entry));
}

fn free_plain(list: Block, entry: Block) {
    // SAFETY: the address is the default's, or the one that the driver gave as its free function.
    let free: Free = unsafe { std::mem::transmute(list.get::<usize>(FREE)) };
    // SAFETY: the entry came from the list's own allocate function.
    unsafe { free(entry) };
}

fn free_ex(list: Block, entry: Block) {
    // SAFETY: the address is the default's, or the one that the driver gave as its free function.
    let free: FreeEx = unsafe { std::mem::transmute(list.get::<usize>(FREE)) };
    // SAFETY: the entry came from the list's own allocate function.
    unsafe { free(entry, list) };
}

fn count(list: Block, counter: usize) {
    list.put(counter, list.get::<u32>(counter).wrapping_add(1));
}

fn take(list: Block, allocate: impl FnOnce() -> Block) -> Block {
    count(list, TOTAL_ALLOCATES);
    // SAFETY: the list begins with its sequenced list.
    let entry = unsafe { ExpInterlockedPopEntrySList(list) };
    if entry.is_null() {
        count(list, ALLOCATE_MISSES);
        return allocate();
    }
    entry
}

fn give(list: Block, entry: Block, free: impl FnOnce()) {
    count(list, TOTAL_FREES);
    // SAFETY: the list begins with its sequenced list.
    if unsafe { ExQueryDepthSList(list) } >= list.get::<u16>(DEPTH) {
        count(list, FREE_MISSES);
        free();
    } else {
        // SAFETY: as above; an entry has room for the link.
        unsafe { ExpInterlockedPushEntrySList(list, entry) };
    }
}

fn take_plain(list: Block) -> Block {
    take(list, || {
        // SAFETY: the address is the default's, or the one that the driver gave as its allocate function.
        let allocate: Allocate = unsafe { std::mem::transmute(list.get::<usize>(ALLOCATE)) };
        // SAFETY: with what the list was made with.
        unsafe { allocate(list.get(POOL_TYPE), list.get::<u32>(SIZE) as usize, list.get(TAG)) }
    })
}

pub(crate) unsafe extern "win64" fn ExInitializeNPagedLookasideList(
    list: Block,
    allocate: usize,
    free: usize,
    _flags: u32,
    bytes: usize,
    tag: u32,
    _depth: u16,
) {
    irql::at_most(irql::DISPATCH, "ExInitializeNPagedLookasideList");
    let allocate = or(allocate, pool::ExAllocatePoolWithTag as *const ());
    let free = or(free, pool::ExFreePool as *const ());
    make(list, Made { allocate, free, pool_type: NON_PAGED_POOL_NX, bytes, tag });
}

pub(crate) unsafe extern "win64" fn ExDeleteNPagedLookasideList(list: Block) {
    irql::at_most(irql::DISPATCH, "ExDeleteNPagedLookasideList");
    drain_plain(list);
}

pub(crate) unsafe extern "win64" fn ExInitializePagedLookasideList(
    list: Block,
    allocate: usize,
    free: usize,
    _flags: u32,
    bytes: usize,
    tag: u32,
    _depth: u16,
) {
    irql::at_most(irql::APC, "ExInitializePagedLookasideList");
    let allocate = or(allocate, pool::ExAllocatePoolWithTag as *const ());
    let free = or(free, pool::ExFreePool as *const ());
    make(list, Made { allocate, free, pool_type: PAGED_POOL, bytes, tag });
}

pub(crate) unsafe extern "win64" fn ExDeletePagedLookasideList(list: Block) {
    irql::at_most(irql::APC, "ExDeletePagedLookasideList");
    drain_plain(list);
}

pub(crate) unsafe extern "win64" fn ExAllocateFromPagedLookasideList(list: Block) -> Block {
    take_plain(list)
}

pub(crate) unsafe extern "win64" fn ExFreeToPagedLookasideList(list: Block, entry: Block) {
    give(list, entry, || free_plain(list, entry));
}

pub(crate) unsafe extern "win64" fn ExAllocateFromNPagedLookasideList(list: Block) -> Block {
    take_plain(list)
}

pub(crate) unsafe extern "win64" fn ExFreeToNPagedLookasideList(list: Block, entry: Block) {
    give(list, entry, || free_plain(list, entry));
}

unsafe extern "win64" fn default_allocate(pool_type: u32, bytes: usize, tag: u32, _list: Block) -> Block {
    // SAFETY: the same contract.
    unsafe { pool::ExAllocatePoolWithTag(pool_type, bytes, tag) }
}

unsafe extern "win64" fn default_free(block: Block, _list: Block) {
    // SAFETY: the same contract.
    unsafe { pool::ExFreePool(block) }
}

/// STATUS_INVALID_PARAMETER_5 and _8.
const INVALID_PARAMETER_5: NtStatus = NtStatus(0xC000_00F3);
const INVALID_PARAMETER_8: NtStatus = NtStatus(0xC000_00F6);

/// The flags that may not be given together: to raise when there is no memory, and to fail without.
const RAISE_ON_FAIL: u32 = 1;
const FAIL_NO_RAISE: u32 = 2;
const POOL_QUOTA_FAIL_INSTEAD_OF_RAISE: u32 = 8;
const POOL_RAISE_IF_ALLOCATION_FAILURE: u32 = 16;

pub(crate) unsafe extern "win64" fn ExInitializeLookasideListEx(
    list: Block,
    allocate: usize,
    free: usize,
    pool_type: u32,
    flags: u32,
    bytes: usize,
    tag: u32,
    depth: u16,
) -> NtStatus {
    irql::at_most(irql::DISPATCH, "ExInitializeLookasideListEx");
    if depth != 0 {
        return INVALID_PARAMETER_8;
    }
    let pool_type = match flags {
        0 => pool_type,
        RAISE_ON_FAIL => pool_type | POOL_RAISE_IF_ALLOCATION_FAILURE,
        FAIL_NO_RAISE => pool_type | POOL_QUOTA_FAIL_INSTEAD_OF_RAISE,
        _ => return INVALID_PARAMETER_5,
    };
    let allocate = or(allocate, default_allocate as *const ());
    let free = or(free, default_free as *const ());
    make(list, Made { allocate, free, pool_type, bytes, tag });
    NtStatus::STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn ExDeleteLookasideListEx(list: Block) {
    irql::at_most(irql::DISPATCH, "ExDeleteLookasideListEx");
    drain(list, |entry| free_ex(list, entry));
}

pub(crate) unsafe extern "win64" fn ExFlushLookasideListEx(list: Block) {
    irql::at_most(irql::DISPATCH, "ExFlushLookasideListEx");
    drain(list, |entry| free_ex(list, entry));
}

pub(crate) unsafe extern "win64" fn ExAllocateFromLookasideListEx(list: Block) -> Block {
    take(list, || {
        // SAFETY: the address is the default's, or the one that the driver gave as its allocate function.
        let allocate: AllocateEx = unsafe { std::mem::transmute(list.get::<usize>(ALLOCATE)) };
        // SAFETY: with what the list was made with.
        unsafe { allocate(list.get(POOL_TYPE), list.get::<u32>(SIZE) as usize, list.get(TAG), list) }
    })
}

pub(crate) unsafe extern "win64" fn ExFreeToLookasideListEx(list: Block, entry: Block) {
    give(list, entry, || free_ex(list, entry));
}
