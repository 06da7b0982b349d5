//! Memory that another process has mapped too: a sealed memfd, touched only by copies and atomics.

use crate::sync::Arc;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};
use std::ffi::c_void;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Why shared memory cannot be made or taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SharedMemoryError {
    /// A size of zero, or one that the caller does not take.
    #[error("{bytes} bytes of shared memory; from 1 to {most} are taken")]
    Size {
        /// Bytes that the descriptor has, or that were asked for.
        bytes: u64,
        /// The most that the caller takes.
        most: u64,
    },
    /// The descriptor is no memfd, or its size can still be changed.
    #[error("the descriptor is not sealed against a change of its size")]
    NotSealed,
    /// The pages behind the size are not there: mapping them would cost memory that nobody has paid for.
    #[error("the memory has holes")]
    Holes,
    /// A system call failed.
    #[error("shared memory: {0}")]
    System(rustix::io::Errno),
}

/// A mapping of a memfd whose size can never change again, so that no access can fault.
///
/// Everything in it may change at any time under the hand of another process. Numbers are read and written as atomics,
/// bytes are copied, and no reference into it ever leaves this type.
pub struct SharedMemory {
    start: NonNull<u8>,
    bytes: usize,
    descriptor: OwnedFd,
}

// SAFETY: the mapping is owned, and all access to it is atomic or a copy that tolerates races.
unsafe impl Send for SharedMemory {}
// SAFETY: as above.
unsafe impl Sync for SharedMemory {}

const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

impl SharedMemory {
    /// New zeroed memory of `bytes` bytes, all pages present, sealed.
    #[doc(alias = "memfd_create")]
    pub fn create(name: &str, bytes: usize) -> Result<Arc<SharedMemory>, SharedMemoryError> {
        let size = bytes as u64;
        if bytes == 0 || bytes > isize::MAX as usize {
            return Err(SharedMemoryError::Size { bytes: size, most: isize::MAX as u64 });
        }
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let descriptor = rustix::fs::memfd_create(name, flags).map_err(SharedMemoryError::System)?;
        rustix::fs::ftruncate(&descriptor, size).map_err(SharedMemoryError::System)?;
        // Where there is no memory, this says so now; a page missing later would be a signal.
        rustix::fs::fallocate(&descriptor, rustix::fs::FallocateFlags::empty(), 0, size)
            .map_err(SharedMemoryError::System)?;
        rustix::fs::fcntl_add_seals(&descriptor, SEALS).map_err(SharedMemoryError::System)?;
        SharedMemory::map(descriptor, bytes)
    }

    /// Takes memory that another process made. Its seals, its size (at most `most_bytes`) and its pages are checked
    /// before it is mapped.
    pub fn open(descriptor: OwnedFd, most_bytes: u64) -> Result<Arc<SharedMemory>, SharedMemoryError> {
        // Only a memfd has seals; a pipe, a directory or a device gives an error here.
        let seals = rustix::fs::fcntl_get_seals(&descriptor).map_err(|_| SharedMemoryError::NotSealed)?;
        if !seals.contains(SEALS) {
            return Err(SharedMemoryError::NotSealed);
        }
        let stat = rustix::fs::fstat(&descriptor).map_err(SharedMemoryError::System)?;
        let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        let too_big = SharedMemoryError::Size { bytes: size, most: most_bytes };
        if size == 0 || size > most_bytes {
            return Err(too_big);
        }
        if u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512) < size {
            return Err(SharedMemoryError::Holes);
        }
        SharedMemory::map(descriptor, usize::try_from(size).map_err(|_| too_big)?)
    }

    fn map(descriptor: OwnedFd, bytes: usize) -> Result<Arc<SharedMemory>, SharedMemoryError> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: a fresh mapping at an address that the system chooses, of a file whose size is sealed at `bytes`.
        let start = unsafe { rustix::mm::mmap(std::ptr::null_mut(), bytes, protection, flags, &descriptor, 0) };
        let start = start.map_err(SharedMemoryError::System)?;
        let start = NonNull::new(start.cast::<u8>()).ok_or(SharedMemoryError::System(rustix::io::Errno::NOMEM))?;
        Ok(Arc::new(SharedMemory { start, bytes, descriptor }))
    }

    /// Size in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Never true: there is at least one byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Address of the first byte in this process.
    pub fn address(&self) -> u64 {
        self.start.as_ptr() as u64
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// The descriptor, to be sent to another process.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// Reads a number with acquire.
    #[inline]
    pub fn load_u32(&self, offset: usize) -> u32 {
        self.word(offset).load(Ordering::Acquire)
    }

    /// Reads a number in the one order of all sequentially consistent operations.
    #[inline]
    pub fn load_ordered_u32(&self, offset: usize) -> u32 {
        self.word(offset).load(Ordering::SeqCst)
    }

    /// Writes a number with release.
    #[inline]
    pub fn store_u32(&self, offset: usize, value: u32) {
        self.word(offset).store(value, Ordering::Release);
    }

    /// Writes a number in the one order of all sequentially consistent operations.
    #[inline]
    pub fn store_ordered_u32(&self, offset: usize, value: u32) {
        self.word(offset).store(value, Ordering::SeqCst);
    }

    /// Replaces a number and gives the old one, sequentially consistent.
    #[inline]
    pub fn swap_u32(&self, offset: usize, value: u32) -> u32 {
        self.word(offset).swap(value, Ordering::SeqCst)
    }

    /// Sleeps while the number at `offset` is `expected`, until a [`SharedMemory::wake`] of any process or for no
    /// reason. The caller looks again.
    #[doc(alias = "FUTEX_WAIT")]
    pub fn wait(&self, offset: usize, expected: u32) {
        // Every error is a reason to look again.
        let _ = rustix::thread::futex::wait(self.word(offset), rustix::thread::futex::Flags::empty(), expected, None);
    }

    /// Wakes one sleeper of any process.
    #[doc(alias = "FUTEX_WAKE")]
    pub fn wake(&self, offset: usize) {
        let _ = rustix::thread::futex::wake(self.word(offset), rustix::thread::futex::Flags::empty(), 1);
    }

    /// Copies bytes out: each is old or new where another process writes at the same time. Outside of the memory is a
    /// bug of the caller and panics.
    #[inline]
    pub fn copy_out(&self, offset: usize, into: &mut [u8]) {
        self.check(offset, into.len());
        // SAFETY: the bytes lie inside the mapping, and `into` is a slice of this process.
        unsafe { copy(self.start.as_ptr().wrapping_add(offset), into.as_mut_ptr(), into.len()) };
    }

    /// Copies bytes in, as [`SharedMemory::copy_out`] copies them out.
    #[inline]
    pub fn copy_in(&self, offset: usize, from: &[u8]) {
        self.check(offset, from.len());
        // SAFETY: the bytes lie inside the mapping, and `from` is a slice of this process.
        unsafe { copy(from.as_ptr(), self.start.as_ptr().wrapping_add(offset), from.len()) };
    }

    #[inline]
    fn check(&self, offset: usize, bytes: usize) {
        let inside = offset.checked_add(bytes).is_some_and(|end| end <= self.bytes);
        assert!(inside, "invariant: {offset}+{bytes} lies outside of {} shared bytes", self.bytes);
    }

    /// Reads a 64-bit number with acquire.
    #[inline]
    pub fn load_u64(&self, offset: usize) -> u64 {
        self.long(offset).load(Ordering::Acquire)
    }

    /// Writes a 64-bit number with release.
    #[inline]
    pub fn store_u64(&self, offset: usize, value: u64) {
        self.long(offset).store(value, Ordering::Release);
    }

    #[inline]
    fn long(&self, offset: usize) -> &AtomicU64 {
        self.check(offset, 8);
        assert!(offset.is_multiple_of(8), "invariant: offset {offset} is not aligned for a number");
        // SAFETY: inside the mapping, aligned, and an atomic tolerates every other writer.
        unsafe { AtomicU64::from_ptr(self.start.as_ptr().wrapping_add(offset).cast()) }
    }

    #[inline]
    fn word(&self, offset: usize) -> &AtomicU32 {
        self.check(offset, 4);
        assert!(offset.is_multiple_of(4), "invariant: offset {offset} is not aligned for a number");
        // SAFETY: inside the mapping, aligned, and an atomic tolerates every other writer.
        unsafe { AtomicU32::from_ptr(self.start.as_ptr().wrapping_add(offset).cast()) }
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: mapped in `map` with this size, and unmapped only here.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast::<c_void>(), self.bytes) };
    }
}

impl std::fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedMemory").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Frames' bytes that were copied because they lie in shared memory, since the process started.
static COPIED_BYTES: AtomicU64 = AtomicU64::new(0);

/// How many bytes of frames were copied between shared and private memory since the process started.
pub fn copied_frame_bytes() -> u64 {
    COPIED_BYTES.load(Ordering::Relaxed)
}

pub(crate) fn count_copied(bytes: usize) {
    COPIED_BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
}

/// Copies bytes that another process may write at the same time.
///
/// # Safety
/// Both ranges are mapped, and they do not overlap.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
pub(crate) unsafe fn copy(from: *const u8, to: *mut u8, bytes: usize) {
    // An instruction that the compiler does not look into: it assumes nothing of what the bytes are between two reads.
    // SAFETY: the caller's promise; the direction flag is clear by the calling convention.
    unsafe {
        std::arch::asm!(
            "rep movsb",
            inout("rcx") bytes => _,
            inout("rdi") to => _,
            inout("rsi") from => _,
            options(nostack, preserves_flags)
        );
    }
}

/// Copies bytes that another process may write at the same time.
///
/// # Safety
/// Both ranges are mapped, and they do not overlap.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
pub(crate) unsafe fn copy(from: *const u8, to: *mut u8, bytes: usize) {
    use std::sync::atomic::AtomicU8;
    for at in 0..bytes {
        // SAFETY: inside the first range.
        let byte = unsafe { AtomicU8::from_ptr(from.wrapping_add(at).cast_mut()) }.load(Ordering::Relaxed);
        // SAFETY: inside the second range.
        unsafe { AtomicU8::from_ptr(to.wrapping_add(at)) }.store(byte, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memfd(bytes: u64, seals: SealFlags) -> OwnedFd {
        let fd = rustix::fs::memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&fd, bytes).unwrap();
        rustix::fs::fcntl_add_seals(&fd, seals).unwrap();
        fd
    }

    #[test]
    fn both_mappings_of_a_memory_show_the_same_bytes() {
        let first = SharedMemory::create("test", 8192).unwrap();
        let second = SharedMemory::open(first.descriptor().try_clone_to_owned().unwrap(), 8192).unwrap();
        assert_ne!(first.address(), second.address());
        first.copy_in(4090, b"across a page");
        let mut seen = [0; 13];
        second.copy_out(4090, &mut seen);
        assert_eq!(&seen, b"across a page");
        second.store_u32(8188, 7);
        assert_eq!(first.swap_u32(8188, 8), 7);
        assert_eq!(second.load_u32(8188), 8);
        first.store_u64(8, u64::MAX - 1);
        assert_eq!((second.load_u64(8), second.load_u32(8), second.load_u64(16)), (u64::MAX - 1, u32::MAX - 1, 0));
    }

    #[test]
    fn only_sealed_memory_of_an_agreed_size_is_taken() {
        let refused = |fd, most| SharedMemory::open(fd, most).unwrap_err();
        assert_eq!(refused(memfd(4096, SealFlags::empty()), 4096), SharedMemoryError::NotSealed);
        assert_eq!(refused(memfd(4096, SealFlags::SHRINK | SealFlags::GROW), 4096), SharedMemoryError::NotSealed);
        assert_eq!(refused(memfd(8192, SEALS), 4096), SharedMemoryError::Size { bytes: 8192, most: 4096 });
        assert_eq!(refused(memfd(0, SEALS), 4096), SharedMemoryError::Size { bytes: 0, most: 4096 });
        assert_eq!(refused(memfd(4096, SEALS), 4096), SharedMemoryError::Holes);
        let null = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(refused(null.into(), 4096), SharedMemoryError::NotSealed);
        let directory = std::fs::File::open("/").unwrap();
        assert_eq!(refused(directory.into(), 4096), SharedMemoryError::NotSealed);
    }

    #[test]
    fn a_sleeper_is_woken_through_the_other_mapping() {
        let first = SharedMemory::create("test", 4096).unwrap();
        let second = SharedMemory::open(first.descriptor().try_clone_to_owned().unwrap(), 4096).unwrap();
        let sleeper = std::thread::spawn(move || {
            while second.load_ordered_u32(64) == 0 {
                second.wait(64, 0);
            }
        });
        first.store_ordered_u32(64, 1);
        first.wake(64);
        sleeper.join().unwrap();
    }
}
