//! Memory of a driver in which the kernel keeps an object: an event, a timer, a list head.

use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU8, AtomicU32, AtomicU64};

use zerocopy::{FromBytes, IntoBytes};

use crate::report::{self, BugCheck};

/// The address of an object in a driver's memory, as the driver passed it.
///
/// What it stands for: memory that is mapped, writable and as large as the documented structure, for as long as the
/// routine documents it. A value is made by a driver's call (whose safety contract is that of the routine) or by
/// [`Block::at`]; a driver that breaks the contract faults here, as it would in Windows, and the fault is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub(crate) struct Block(*mut u8);

// SAFETY: an address; what it points at is shared between the threads of the driver in any case, and is accessed by
// atomics or under the lock that the routine documents.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    /// The block at an address.
    ///
    /// # Safety
    /// The address is null or keeps the promise of the type.
    pub(crate) const unsafe fn at(address: *mut u8) -> Self {
        Self(address)
    }

    /// No block.
    pub(crate) const NULL: Self = Self(std::ptr::null_mut());

    pub(crate) fn address(self) -> usize {
        self.0 as usize
    }

    pub(crate) fn pointer(self) -> *mut u8 {
        self.0
    }

    pub(crate) fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// The block, unless the driver passed NULL.
    pub(crate) fn optional(self) -> Option<Self> {
        (!self.is_null()).then_some(self)
    }

    /// The address of a field that is a block itself.
    pub(crate) fn field(self, offset: usize) -> Self {
        Self(self.0.wrapping_add(offset))
    }

    /// Reads a field that nobody writes meanwhile.
    pub(crate) fn get<T: FromBytes>(self, offset: usize) -> T {
        // SAFETY: the field is within the block, every bit pattern is a value, and no alignment is needed.
        unsafe { self.0.wrapping_add(offset).cast::<T>().read_unaligned() }
    }

    /// Reads a field that is an address.
    pub(crate) fn get_block(self, offset: usize) -> Self {
        Self(self.get::<usize>(offset) as *mut u8)
    }

    /// Writes a field that nobody else reads or writes meanwhile.
    pub(crate) fn put<T: IntoBytes + Copy>(self, offset: usize, value: T) {
        // SAFETY: the field is within the block, which is writable; no alignment is needed.
        unsafe { self.0.wrapping_add(offset).cast::<T>().write_unaligned(value) }
    }

    /// Writes a field that is an address.
    pub(crate) fn put_block(self, offset: usize, value: Self) {
        self.put(offset, value.address());
    }

    /// Fills the start of the block with zeros.
    pub(crate) fn clear(self, bytes: usize) {
        // SAFETY: the caller names no more than the structure has.
        unsafe { self.0.write_bytes(0, bytes) }
    }

    /// Makes a list head at `offset` that is empty.
    pub(crate) fn put_empty_list(self, offset: usize) {
        let head = self.field(offset);
        head.put_block(0, head);
        head.put_block(8, head);
    }

    pub(crate) fn u8(self, offset: usize) -> &'static AtomicU8 {
        // SAFETY: as for `cell`; a byte is always aligned.
        unsafe { AtomicU8::from_ptr(self.cell(offset)) }
    }

    pub(crate) fn u32(self, offset: usize) -> &'static AtomicU32 {
        // SAFETY: as for `cell`.
        unsafe { AtomicU32::from_ptr(self.cell(offset)) }
    }

    pub(crate) fn i32(self, offset: usize) -> &'static AtomicI32 {
        // SAFETY: as for `cell`.
        unsafe { AtomicI32::from_ptr(self.cell(offset)) }
    }

    pub(crate) fn u64(self, offset: usize) -> &'static AtomicU64 {
        // SAFETY: as for `cell`.
        unsafe { AtomicU64::from_ptr(self.cell(offset)) }
    }

    pub(crate) fn word(self, offset: usize) -> &'static AtomicPtr<u8> {
        // SAFETY: as for `cell`.
        unsafe { AtomicPtr::from_ptr(self.cell(offset)) }
    }

    /// The address of a field that threads race for, aligned for its type.
    ///
    /// References made of it are used at once and never kept: the block may be gone when its routine returns.
    fn cell<T>(self, offset: usize) -> *mut T {
        let cell = self.0.wrapping_add(offset).cast::<T>();
        if !cell.is_aligned() {
            report::bug_check(
                BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION,
                [self.address() as u64, offset as u64, 0, 0],
                "kernel",
                format!("an object at {:#x} is not aligned for its type", self.address()),
            );
        }
        cell
    }
}
