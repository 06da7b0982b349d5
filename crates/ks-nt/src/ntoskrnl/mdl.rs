//! Memory descriptor lists, and what the memory manager tells about addresses.
//!
//! There is one address space and nothing is paged: locking changes flags, mapping gives the address that the memory has
//! already, and a physical address is the virtual one.

#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "each routine trusts its caller's addresses, as its documentation page says"
)]

use core::mem::size_of;
use core::ptr;

use ks_abi::kernel::{
    Irp, MDL_MAPPED_TO_SYSTEM_VA, MDL_PAGES_LOCKED, MDL_PARENT_MAPPED_SYSTEM_VA, MDL_PARTIAL,
    MDL_PARTIAL_HAS_BEEN_MAPPED, MDL_SOURCE_IS_NONPAGED_POOL, MDL_WRITE_OPERATION, Mdl,
};
use ks_abi::pointer::Ptr64;
use ks_abi::status::{NtStatus, STATUS_ACCESS_VIOLATION, STATUS_DATATYPE_MISALIGNMENT, STATUS_SUCCESS};

use super::driver_memory::{allocate_pool, field, free_pool, put, set_field};
use super::mdl_pages;
use crate::exports;
use crate::exports::Export;
use crate::report::{self, BugCheck};

/// Exports of this file.
pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl:
    IoAllocateMdl, IoFreeMdl, IoBuildPartialMdl, MmSizeOfMdl, MmBuildMdlForNonPagedPool, MmProbeAndLockPages,
    MmUnlockPages, MmMapLockedPages, MmMapLockedPagesSpecifyCache, MmUnmapLockedPages, MmProtectMdlSystemAddress,
    MmGetPhysicalAddress, MmGetVirtualForPhysical, MmIsAddressValid, MmIsNonPagedSystemAddressValid, MmMapIoSpace, MmUnmapIoSpace, ProbeForRead, ProbeForWrite,
);

pub(super) const TAG: u32 = u32::from_le_bytes(*b"Mdl ");
pub(super) const PAGE: u64 = 4096;
/// Most bytes that one list describes.
const MOST: u64 = 0xFFFF_F000;

fn pages(address: u64, length: u64) -> u64 {
    (address % PAGE + length).div_ceil(PAGE)
}

fn mdl_bytes(address: u64, length: u64) -> usize {
    size_of::<Mdl>() + pages(address, length) as usize * 8
}

unsafe fn has(mdl: *const Mdl, flag: u16) -> bool {
    field!(mdl, flags) as u16 & flag != 0
}

pub(super) unsafe fn set(mdl: *mut Mdl, on: u16, off: u16) {
    set_field!(mdl, flags, (field!(mdl, flags) as u16 & !off | on) as i16);
}

unsafe fn start(mdl: *const Mdl) -> u64 {
    field!(mdl, start_va).0 + u64::from(field!(mdl, byte_offset))
}

pub(super) unsafe fn fill_pages(mdl: *mut Mdl) {
    let first = field!(mdl, start_va).0 / PAGE;
    let numbers = mdl.wrapping_add(1).cast::<u64>();
    for at in 0..pages(start(mdl), field!(mdl, byte_count).into()) {
        put(numbers.wrapping_add(at as usize), first + at);
    }
}

pub(super) unsafe fn make(address: u64, length: u64) -> *mut Mdl {
    if length > MOST || address.checked_add(length).is_none() {
        return ptr::null_mut();
    }
    let bytes = mdl_bytes(address, length);
    let mdl = allocate_pool(bytes, TAG).cast::<Mdl>();
    if !mdl.is_null() {
        mdl.cast::<u8>().write_bytes(0, bytes);
        put(
            mdl,
            Mdl {
                size: bytes as i16,
                start_va: Ptr64(address & !(PAGE - 1)),
                byte_count: length as u32,
                byte_offset: (address % PAGE) as u32,
                ..Default::default()
            },
        );
    }
    mdl
}

/// A list for a buffer, which the request gets as its first or, if `secondary`, as its last.
pub(crate) unsafe extern "win64" fn IoAllocateMdl(
    address: u64,
    length: u32,
    secondary: u8,
    _charge_quota: u8,
    irp: *mut Irp,
) -> *mut Mdl {
    let mdl = make(address, length.into());
    if mdl.is_null() || irp.is_null() {
        return mdl;
    }
    let mut last = field!(irp, mdl_address).0 as *mut Mdl;
    if secondary == 0 || last.is_null() {
        set_field!(irp, mdl_address, Ptr64(mdl as u64));
        return mdl;
    }
    while !field!(last, next).is_null() {
        last = field!(last, next).0 as *mut Mdl;
    }
    set_field!(last, next, Ptr64(mdl as u64));
    mdl
}

pub(crate) unsafe extern "win64" fn IoFreeMdl(mdl: *mut Mdl) {
    if has(mdl, MDL_PAGES_LOCKED) {
        report::misuse(
            BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION,
            "IoFreeMdl",
            format!("the pages of the MDL at {mdl:?} are still locked"),
        );
    }
    free_pool(mdl.cast());
}

/// Unlocks and frees a list of a request that ends by itself.
pub(super) unsafe fn release(mdl: *mut Mdl) {
    set(mdl, 0, MDL_PAGES_LOCKED);
    IoFreeMdl(mdl);
}

pub(crate) unsafe extern "win64" fn MmSizeOfMdl(address: u64, length: usize) -> usize {
    mdl_bytes(address, length as u64)
}

/// The target, made large enough by its driver, describes a part of the source; a length of 0 is the rest of it.
pub(crate) unsafe extern "win64" fn IoBuildPartialMdl(source: *mut Mdl, target: *mut Mdl, address: u64, length: u32) {
    let offset = address.wrapping_sub(start(source));
    let rest = u64::from(field!(source, byte_count)).saturating_sub(offset);
    let length = if length == 0 { rest } else { length.into() };
    if length > rest {
        report::misuse(
            BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION,
            "IoBuildPartialMdl",
            format!("{length} bytes at {address:#x} are not within the MDL at {source:?}"),
        );
        return;
    }
    set_field!(target, start_va, Ptr64(address & !(PAGE - 1)));
    set_field!(target, byte_offset, (address % PAGE) as u32);
    set_field!(target, byte_count, length as u32);
    set_field!(target, process, field!(source, process));
    let mapped = has(source, MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL | MDL_PARENT_MAPPED_SYSTEM_VA);
    let inherited = if mapped {
        set_field!(target, mapped_system_va, Ptr64(field!(source, mapped_system_va).0 + offset));
        MDL_PARENT_MAPPED_SYSTEM_VA
    } else {
        0
    };
    let write = if has(source, MDL_WRITE_OPERATION) { MDL_WRITE_OPERATION } else { 0 };
    set(
        target,
        MDL_PARTIAL | inherited | write,
        MDL_PAGES_LOCKED | MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL,
    );
    fill_pages(target);
}

pub(crate) unsafe extern "win64" fn MmBuildMdlForNonPagedPool(mdl: *mut Mdl) {
    fill_pages(mdl);
    set_field!(mdl, mapped_system_va, Ptr64(start(mdl)));
    set(mdl, MDL_SOURCE_IS_NONPAGED_POOL, 0);
}

/// `operation`: 0 reads, 1 writes, 2 does both. Memory that is not there raises an exception.
pub(crate) unsafe extern "win64" fn MmProbeAndLockPages(mdl: *mut Mdl, _mode: u8, operation: u32) {
    if has(mdl, MDL_PAGES_LOCKED) {
        report::misuse(
            BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION,
            "MmProbeAndLockPages",
            format!("the pages of the MDL at {mdl:?} are locked already"),
        );
    }
    let (address, length) = (start(mdl), field!(mdl, byte_count).into());
    if !is_mapped(address, length) {
        raise(STATUS_ACCESS_VIOLATION, "MmProbeAndLockPages", address, length);
        return;
    }
    fill_pages(mdl);
    set(mdl, MDL_PAGES_LOCKED | if operation == 0 { 0 } else { MDL_WRITE_OPERATION }, 0);
}

pub(crate) unsafe extern "win64" fn MmUnlockPages(mdl: *mut Mdl) {
    if !has(mdl, MDL_PAGES_LOCKED) {
        report::misuse(
            BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION,
            "MmUnlockPages",
            format!("the pages of the MDL at {mdl:?} are not locked"),
        );
    }
    set(mdl, 0, MDL_PAGES_LOCKED | MDL_MAPPED_TO_SYSTEM_VA | MDL_PARTIAL_HAS_BEEN_MAPPED | MDL_WRITE_OPERATION);
}

/// Mapped for user mode, pages of a list's own become such that a client can name.
pub(crate) unsafe extern "win64" fn MmMapLockedPages(mdl: *mut Mdl, mode: u8) -> u64 {
    if mode != 0 {
        mdl_pages::map_for_user(mdl);
    }
    let partial = if has(mdl, MDL_PARTIAL) { MDL_PARTIAL_HAS_BEEN_MAPPED } else { 0 };
    set_field!(mdl, mapped_system_va, Ptr64(start(mdl)));
    set(mdl, MDL_MAPPED_TO_SYSTEM_VA | partial, 0);
    start(mdl)
}

pub(crate) unsafe extern "win64" fn MmMapLockedPagesSpecifyCache(
    mdl: *mut Mdl,
    mode: u8,
    _cache: u32,
    _requested: u64,
    _bug_check: u32,
    _priority: u32,
) -> u64 {
    MmMapLockedPages(mdl, mode)
}

pub(crate) unsafe extern "win64" fn MmUnmapLockedPages(address: u64, mdl: *mut Mdl) {
    if address != field!(mdl, mapped_system_va).0 {
        report::misuse(
            BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION,
            "MmUnmapLockedPages",
            format!("{address:#x} is not where the MDL at {mdl:?} is mapped"),
        );
    }
    set(mdl, 0, MDL_MAPPED_TO_SYSTEM_VA | MDL_PARTIAL_HAS_BEEN_MAPPED);
}

/// Protections of such mappings are not changed; nothing shares the pages.
pub(crate) unsafe extern "win64" fn MmProtectMdlSystemAddress(_mdl: *mut Mdl, _protection: u32) -> NtStatus {
    STATUS_SUCCESS
}

pub(crate) unsafe extern "win64" fn MmGetPhysicalAddress(address: u64) -> u64 {
    address
}

pub(crate) unsafe extern "win64" fn MmGetVirtualForPhysical(address: u64) -> u64 {
    address
}

pub(crate) unsafe extern "win64" fn MmIsAddressValid(address: u64) -> u8 {
    is_mapped(address, 1).into()
}

pub(crate) unsafe extern "win64" fn MmIsNonPagedSystemAddressValid(address: u64) -> u8 {
    is_mapped(address, 1).into()
}

/// Refused, as on a machine without room for it: there is no device memory.
pub(crate) unsafe extern "win64" fn MmMapIoSpace(_physical: u64, _bytes: usize, _cache: u32) -> u64 {
    0
}

pub(crate) unsafe extern "win64" fn MmUnmapIoSpace(_address: u64, _bytes: usize) {}

unsafe fn probe(address: u64, length: usize, alignment: u32, routine: &'static str) {
    if length == 0 {
        return;
    }
    if !address.is_multiple_of(u64::from(alignment).max(1)) {
        raise(STATUS_DATATYPE_MISALIGNMENT, routine, address, length as u64);
    } else if !is_mapped(address, length as u64) {
        raise(STATUS_ACCESS_VIOLATION, routine, address, length as u64);
    }
}

pub(crate) unsafe extern "win64" fn ProbeForRead(address: u64, length: usize, alignment: u32) {
    probe(address, length, alignment, "ProbeForRead");
}

pub(crate) unsafe extern "win64" fn ProbeForWrite(address: u64, length: usize, alignment: u32) {
    probe(address, length, alignment, "ProbeForWrite");
}

/// An exception that a driver would have to catch, which it cannot here.
#[cold]
fn raise(status: NtStatus, routine: &'static str, address: u64, length: u64) {
    report::misuse(
        BugCheck::KMODE_EXCEPTION_NOT_HANDLED,
        routine,
        format!("{status} is raised for {length} bytes at {address:#x}"),
    );
}

/// Whether every page of a range is mapped. Where the system does not tell, it is taken to be.
pub(crate) fn is_mapped(address: u64, length: u64) -> bool {
    let first = address & !(PAGE - 1);
    let Some(end) = address.checked_add(length) else { return false };
    if first == 0 || end > 1 << 47 {
        return false;
    }
    let mut residence = [0u8; 512];
    let mut at = first;
    while at < end {
        let bytes = (end - at).min(residence.len() as u64 * PAGE).next_multiple_of(PAGE);
        // SAFETY: the system looks at the range's pages without touching them, and writes one byte for each.
        let answer = unsafe { libc::mincore(at as *mut _, bytes as usize, residence.as_mut_ptr()) };
        if answer != 0 {
            return std::io::Error::last_os_error().raw_os_error() != Some(libc::ENOMEM);
        }
        at += bytes;
    }
    true
}
