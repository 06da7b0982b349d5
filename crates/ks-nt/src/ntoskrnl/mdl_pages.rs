//! Pages that belong to a memory descriptor list: a driver allocates them with the list, and maps them for itself and for its
//! client.
//!
//! They lie in shared memory, so that a client in another process can map them too.

#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "each routine trusts its caller's addresses, as its documentation page says"
)]

use core::ptr;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use ks_abi::kernel::{MDL_MAPPED_TO_SYSTEM_VA, MDL_PAGES_LOCKED, Mdl};
use ks_mem::{Cut, Region, SharedMemory};

use super::driver_memory::{allocate_pool, free_pool};
use super::mdl::{self, PAGE, TAG};
use crate::exports;
use crate::exports::Export;
use crate::report::{self, BugCheck};

/// Exports of this file.
pub(crate) const EXPORTS: &[Export] =
    exports!(Ntoskrnl: MmAllocatePagesForMdl, MmAllocatePagesForMdlEx, MmFreePagesFromMdl);

/// The most lists at a time whose pages can be shared: each has a descriptor, of which a host has few. Pages of more, and
/// larger ones, are of the pool.
const MOST_SHARED: usize = 64;
const MOST_SHARED_BYTES: usize = ks_stream::MOST_LOOPED_BYTES as usize;

enum Pages {
    Pool(usize),
    Shared {
        region: Arc<Region>,
        /// They were mapped for user mode.
        for_user: bool,
    },
}

/// The pages of each list that has some.
static PAGES: LazyLock<Mutex<HashMap<usize, Pages>>> = LazyLock::new(Mutex::default);

fn pages() -> MutexGuard<'static, HashMap<usize, Pages>> {
    PAGES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn shared(bytes: usize) -> Option<Arc<Region>> {
    let count = pages().values().filter(|pages| matches!(pages, Pages::Shared { .. })).count();
    if bytes > MOST_SHARED_BYTES || count >= MOST_SHARED {
        return None;
    }
    let memory = SharedMemory::create("ks-driver-pages", bytes).ok()?;
    Region::over_shared(memory, Cut { frames: 1, frame_bytes: bytes, stride_bytes: bytes }).ok()
}

/// Sizes of the shared pages that were not freed, for the report of what a driver leaves behind.
pub(super) fn shared_left() -> Vec<usize> {
    let size = |pages: &Pages| match pages {
        Pages::Pool(_) => None,
        Pages::Shared { region, .. } => Some(region.cut().frame_bytes),
    };
    pages().values().filter_map(size).collect()
}

/// The memory at an address, if it was mapped for user mode and can be shared.
pub(crate) fn mapped_for_user(address: u64) -> Option<Arc<Region>> {
    let lies_in = |region: &Region| {
        address.checked_sub(region.address()).is_some_and(|offset| offset < region.cut().frame_bytes as u64)
    };
    pages().values().find_map(|pages| match pages {
        Pages::Shared { region, for_user: true } if lies_in(region) => Some(region.clone()),
        _ => None,
    })
}

/// The pages of a list are mapped for user mode. Pages that are none of its own stay this process's.
pub(super) fn map_for_user(mdl: *mut Mdl) {
    if let Some(Pages::Shared { for_user, .. }) = pages().get_mut(&(mdl as usize)) {
        *for_user = true;
    }
}

/// Zeroed pages; the driver frees them by `MmFreePagesFromMdl` and the list by `ExFreePool`.
pub(crate) unsafe extern "win64" fn MmAllocatePagesForMdlEx(
    _low: u64,
    _high: u64,
    _skip: u64,
    bytes: usize,
    _cache: u32,
    _flags: u32,
) -> *mut Mdl {
    let Some(bytes) = bytes.checked_next_multiple_of(PAGE as usize).filter(|bytes| *bytes != 0) else {
        return ptr::null_mut();
    };
    let own = match shared(bytes) {
        Some(region) => Pages::Shared { region, for_user: false },
        None => {
            let memory = allocate_pool(bytes, TAG);
            if memory.is_null() {
                return ptr::null_mut();
            }
            memory.write_bytes(0, bytes);
            Pages::Pool(memory as usize)
        }
    };
    let start = match &own {
        Pages::Pool(memory) => *memory as u64,
        Pages::Shared { region, .. } => region.address(),
    };
    let list = mdl::make(start, bytes as u64);
    if list.is_null() {
        release(own);
        return list;
    }
    mdl::fill_pages(list);
    mdl::set(list, MDL_PAGES_LOCKED, 0);
    pages().insert(list as usize, own);
    list
}

unsafe fn release(own: Pages) {
    match own {
        Pages::Pool(memory) => free_pool(memory as *mut u8),
        Pages::Shared { region, .. } => drop(region),
    }
}

pub(crate) unsafe extern "win64" fn MmAllocatePagesForMdl(low: u64, high: u64, skip: u64, bytes: usize) -> *mut Mdl {
    MmAllocatePagesForMdlEx(low, high, skip, bytes, 1, 0)
}

pub(crate) unsafe extern "win64" fn MmFreePagesFromMdl(mdl: *mut Mdl) {
    let own = pages().remove(&(mdl as usize));
    match own {
        Some(own) => {
            mdl::set(mdl, 0, MDL_PAGES_LOCKED | MDL_MAPPED_TO_SYSTEM_VA);
            release(own);
        }
        None => report::misuse(
            BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION,
            "MmFreePagesFromMdl",
            format!("the MDL at {mdl:?} has no pages of its own"),
        ),
    }
}
