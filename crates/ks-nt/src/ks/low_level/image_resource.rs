//! Resources of an image, and a question about the process.

use crate::exports;
use crate::exports::Export;
use crate::ks::address::Address;
use crate::ntoskrnl::{irql, pool};
use ks_abi::{
    NtStatus, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_IMAGE_FORMAT, STATUS_RESOURCE_DATA_NOT_FOUND,
    STATUS_RESOURCE_NAME_NOT_FOUND, STATUS_RESOURCE_TYPE_NOT_FOUND, STATUS_SUCCESS,
};

pub(crate) const EXPORTS: &[Export] = exports!(Ks: KsLoadResource, KsIsCurrentProcessFrameServer);

/// Offsets in a PE32+ image that is mapped.
mod offset {
    pub(super) const HEADERS: usize = 0x3C;
    /// From the signature on: the magic of the optional header, the size of the image, and the directory of resources.
    pub(super) const MAGIC: usize = 24;
    pub(super) const IMAGE_BYTES: usize = 24 + 56;
    pub(super) const DIRECTORIES: usize = 24 + 108;
    pub(super) const RESOURCES: usize = 24 + 112 + 2 * 8;
    /// In a table of resources: how many entries have a name and how many a number, and the first.
    pub(super) const NAMED: usize = 12;
    pub(super) const NUMBERED: usize = 14;
    pub(super) const ENTRIES: usize = 16;
}

const SIGNATURE: u32 = u32::from_le_bytes(*b"PE\0\0");
const PE32_PLUS: u16 = 0x20B;
/// The high bit of an entry's words: it has a name; it leads to another table.
const HIGH: u32 = 1 << 31;
const TAG: u32 = u32::from_le_bytes(*b"KsRe");

/// What an entry is looked for by.
enum Wanted {
    Number(u32),
    Name(String),
    First,
}

impl Wanted {
    /// A number, or the address of a string.
    fn of(word: u64) -> Wanted {
        if word >> 16 == 0 {
            return Wanted::Number(word as u32);
        }
        let string = Address(word);
        let units = (0..usize::from(u16::MAX)).map(|at| string.get::<u16>(2 * at)).take_while(|unit| *unit != 0);
        Wanted::Name(String::from_utf16_lossy(&units.collect::<Vec<_>>()))
    }
}

/// The resources of an image: its bytes, and where their directory is.
struct Resources {
    image: Address,
    image_bytes: u32,
    at: u32,
}

impl Resources {
    fn of(image: Address) -> Result<Resources, NtStatus> {
        let headers = image.at(image.get::<u32>(offset::HEADERS) as usize);
        if image.get::<u16>(0) != u16::from_le_bytes(*b"MZ")
            || headers.get::<u32>(0) != SIGNATURE
            || headers.get::<u16>(offset::MAGIC) != PE32_PLUS
        {
            return Err(STATUS_INVALID_IMAGE_FORMAT);
        }
        let image_bytes = headers.get(offset::IMAGE_BYTES);
        let at: u32 = headers.get(offset::RESOURCES);
        if headers.get::<u32>(offset::DIRECTORIES) < 3 || at == 0 {
            return Err(STATUS_RESOURCE_DATA_NOT_FOUND);
        }
        Ok(Resources { image, image_bytes, at })
    }

    /// So many bytes of the image.
    fn bytes(&self, at: u32, bytes: u32) -> Result<Address, NtStatus> {
        match at.checked_add(bytes) {
            Some(end) if end <= self.image_bytes => Ok(self.image.at(at as usize)),
            _ => Err(STATUS_INVALID_IMAGE_FORMAT),
        }
    }

    /// Of the directory.
    fn part(&self, at: u32, bytes: u32) -> Result<Address, NtStatus> {
        self.bytes(self.at.checked_add(at & !HIGH).ok_or(STATUS_INVALID_IMAGE_FORMAT)?, bytes)
    }

    fn is_named(&self, at: u32, name: &str) -> Result<bool, NtStatus> {
        let units = u32::from(self.part(at, 2)?.get::<u16>(0));
        let string = self.part(at, 2 + 2 * units)?.at(2);
        let units: Vec<u16> = (0..units as usize).map(|unit| string.get(2 * unit)).collect();
        Ok(String::from_utf16_lossy(&units).eq_ignore_ascii_case(name))
    }

    /// Where an entry of a table leads.
    fn entry(&self, table: u32, wanted: &Wanted) -> Result<Option<u32>, NtStatus> {
        let head = self.part(table, offset::ENTRIES as u32)?;
        let count = u32::from(head.get::<u16>(offset::NAMED)) + u32::from(head.get::<u16>(offset::NUMBERED));
        let entries = self.part(table, offset::ENTRIES as u32 + 8 * count)?.at(offset::ENTRIES);
        for at in 0..count as usize {
            let [name, leads]: [u32; 2] = entries.get(8 * at);
            let is_it = match wanted {
                Wanted::First => true,
                Wanted::Number(number) => name == *number,
                Wanted::Name(wanted) => name & HIGH != 0 && self.is_named(name, wanted)?,
            };
            if is_it {
                return Ok(Some(leads));
            }
        }
        Ok(None)
    }

    /// The bytes of a resource in the first language that it is there in.
    fn find(&self, kind: u32, name: u64) -> Result<(Address, u32), NtStatus> {
        let names = self.entry(0, &Wanted::Number(kind))?.ok_or(STATUS_RESOURCE_TYPE_NOT_FOUND)?;
        let languages = self.entry(names, &Wanted::of(name))?.ok_or(STATUS_RESOURCE_NAME_NOT_FOUND)?;
        let data = self.entry(languages, &Wanted::First)?.ok_or(STATUS_RESOURCE_NAME_NOT_FOUND)?;
        if names & languages & HIGH == 0 || data & HIGH != 0 {
            return Err(STATUS_INVALID_IMAGE_FORMAT);
        }
        let [at, bytes]: [u32; 2] = self.part(data, 8)?.get(0);
        Ok((self.bytes(at, bytes)?, bytes))
    }
}

/// Copies a resource of an image that is mapped to pool memory, which the driver frees.
// ks-coverage: KsLoadResource done test=a_driver_loads_resources_of_its_image
pub(crate) unsafe extern "win64" fn KsLoadResource(
    image: Address,
    pool_type: u32,
    name: u64,
    kind: u64,
    resource: Address,
    size: Address,
) -> NtStatus {
    irql::at_most(irql::PASSIVE, "KsLoadResource");
    let found = Resources::of(image).and_then(|resources| resources.find(kind as u32, name));
    let (from, bytes) = match found {
        Ok(found) => found,
        Err(status) => return status,
    };
    // SAFETY: any type of pool and any size may be asked for.
    let copy = unsafe { pool::ExAllocatePoolWithTag(pool_type, (bytes as usize).max(1), TAG) };
    if copy.is_null() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let copy = Address(copy.pointer() as u64);
    copy.write_bytes(&from.bytes(bytes as usize));
    resource.put(0, copy.0);
    if let Some(size) = size.some() {
        size.put(0, bytes);
    }
    STATUS_SUCCESS
}

/// Drivers run in a process of their own, which is none of a camera service.
pub(crate) unsafe extern "win64" fn KsIsCurrentProcessFrameServer() -> u8 {
    0
}
