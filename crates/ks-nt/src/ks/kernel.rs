//! What `ks.sys` itself takes from the kernel, by name, as a driver does.

use crate::exports;
use crate::ks::address::{Address, Routine};

/// POOL_TYPE NonPagedPoolNx
const NON_PAGED_POOL_NX: u64 = 512;

fn routine(name: &'static str) -> Option<Routine> {
    let export = exports::find(name)?;
    Routine::optional(Address(export.target.address()), name)
}

/// Pool memory that a driver may free; `None` when there is none.
pub(crate) fn allocate_pool(bytes: usize, tag: u32) -> Option<Address> {
    let allocate = routine("ExAllocatePoolWithTag")?;
    Address(allocate.call3(NON_PAGED_POOL_NX, bytes as u64, u64::from(tag))).some()
}

/// Frees pool memory of any tag.
pub(crate) fn free_pool(item: u64) {
    if let Some(free) = routine("ExFreePool") {
        free.call1(item);
    }
}
