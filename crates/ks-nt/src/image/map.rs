//! The memory of an image: one reservation, written by the loader, then given the protections of its sections.

use std::io;
use std::ptr::{self, NonNull};

use super::Placement;
use super::error::Cause;
use super::parse::{Headers, PAGE_BYTES, Protection, Section};

/// Where Linux lets a process map anything.
const USER_ADDRESSES: std::ops::Range<u64> = 0x1_0000..0x7FFF_FFFF_0000;

/// Memory that nobody else knows of yet.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping is memory without an owning thread.
unsafe impl Send for Mapping {}
// SAFETY: through a shared reference only addresses are given out.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Zeroed memory that can be read and written, at `address` or, for None, anywhere.
    pub(crate) fn new(bytes: u64, address: Option<u64>) -> io::Result<Self> {
        let bytes = usize::try_from(bytes).map_err(io::Error::other)?;
        let fixed = if address.is_some() { libc::MAP_FIXED_NOREPLACE } else { 0 };
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | fixed;
        let hint = ptr::without_provenance_mut(address.unwrap_or(0) as usize);
        // SAFETY: a new mapping; NOREPLACE keeps it off what is mapped already.
        let start = unsafe { libc::mmap(hint, bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at zero"))?;
        let mapping = Self { start, bytes };
        match address {
            Some(address) if mapping.address() != address => Err(io::ErrorKind::AddrInUse.into()),
            _ => Ok(mapping),
        }
    }

    pub(crate) fn address(&self) -> u64 {
        self.start.as_ptr() as u64
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    /// The memory, while only the loader knows it.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the whole mapping is readable and writable until `protect`, which the loader calls last, and its
        // address has not been given to anybody.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }

    /// Sets the protection of whole pages of the mapping.
    pub(crate) fn protect(&self, pages: std::ops::Range<u64>, protection: Protection) -> io::Result<()> {
        let mut flags = libc::PROT_NONE;
        for (is_set, flag) in [
            (protection.read, libc::PROT_READ),
            (protection.write, libc::PROT_WRITE),
            (protection.execute, libc::PROT_EXEC),
        ] {
            flags |= if is_set { flag } else { 0 };
        }
        let end = pages.end.min(self.bytes as u64);
        if pages.start >= end {
            return Ok(());
        }
        let start = self.start.as_ptr().wrapping_add(pages.start as usize);
        // SAFETY: the pages are inside of the mapping, which this object owns.
        match unsafe { libc::mprotect(start.cast(), (end - pages.start) as usize, flags) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this object's own; whoever drops it vouches that nobody uses it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// Reserves room for the image and copies headers and sections to their places.
pub(super) fn map(headers: &Headers<'_>, file: &[u8], placement: Placement) -> Result<Mapping, Cause> {
    let mut mapping = reserve(headers, placement)?;
    let memory = mapping.bytes();
    copy(memory, 0, file.get(..headers.header_bytes as usize).unwrap_or_default());
    for section in &headers.sections {
        copy(memory, section.rva, section.contents(file));
    }
    Ok(mapping)
}

fn reserve(headers: &Headers<'_>, placement: Placement) -> Result<Mapping, Cause> {
    let base = headers.preferred_base;
    let is_possible = base.is_multiple_of(PAGE_BYTES)
        && USER_ADDRESSES.contains(&base)
        && base.checked_add(headers.image_bytes).is_some_and(|end| end < USER_ADDRESSES.end);
    if is_possible && (placement == Placement::Preferred || !headers.is_relocatable) {
        // Any refusal means that the place is not free.
        if let Ok(mapping) = Mapping::new(headers.image_bytes, Some(base)) {
            return Ok(mapping);
        }
    }
    if !headers.is_relocatable {
        return Err(Cause::NotRelocatable(base));
    }
    Mapping::new(headers.image_bytes, None).map_err(Cause::NoMemory)
}

fn copy(memory: &mut [u8], rva: u32, contents: &[u8]) {
    let start = rva as usize;
    if let Some(place) = memory.get_mut(start..start.saturating_add(contents.len())) {
        place.copy_from_slice(contents);
    }
}

/// Gives every page the protection of the section in it. A page that several sections share, which only images with a
/// small section alignment have, allows what any of them does; one without a section allows nothing.
pub(super) fn protect(mapping: &Mapping, headers: &Headers<'_>) -> Result<(), Cause> {
    let read_only = Protection { read: true, ..Protection::default() };
    let mut parts = vec![(0, page_end(headers.header_bytes), read_only)];
    parts.extend(
        headers.sections.iter().map(|section| (page_start(section), page_end(section.end()), section.protection)),
    );
    let mut borders: Vec<u64> = parts.iter().flat_map(|(start, end, _)| [*start, *end]).collect();
    borders.extend([0, headers.image_bytes]);
    borders.sort_unstable();
    borders.dedup();
    for border in borders.windows(2) {
        let &[start, end] = border else { continue };
        let inside = parts.iter().filter(|part| part.0 <= start && end <= part.1);
        let protection = inside.fold(Protection::default(), |all, part| all.union(part.2));
        mapping.protect(start..end, protection).map_err(Cause::NoMemory)?;
    }
    Ok(())
}

fn page_start(section: &Section) -> u64 {
    u64::from(section.rva) / PAGE_BYTES * PAGE_BYTES
}

fn page_end(rva: u32) -> u64 {
    u64::from(rva).next_multiple_of(PAGE_BYTES)
}
