//! The headers of an image, checked. Whoever has [`Headers`] need not doubt what is in them; the contents of sections
//! are still only bytes.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use object::LittleEndian as LE;
use object::pe;
use object::read::pe::{DataDirectories, ImageNtHeaders, ImageOptionalHeader, SectionTable};

use super::error::Cause;

/// What is reserved and protected at a time.
pub(super) const PAGE_BYTES: u64 = 4096;

/// No driver is larger.
const MOST_IMAGE_BYTES: u64 = 256 << 20;

/// Room that any image may ask for, and how much more for each byte of its file.
const FREE_IMAGE_BYTES: u64 = 16 << 20;
const IMAGE_BYTES_PER_FILE_BYTE: u64 = 64;

/// What the Windows loader takes.
const MOST_SECTIONS: usize = 96;

/// A part of an image with its own protection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Up to eight characters, `.text`.
    pub name: String,
    /// Offset in the image.
    pub rva: u32,
    /// Size in memory.
    pub bytes: u32,
    /// What may be done with it.
    pub protection: Protection,
    file_offset: u32,
    file_bytes: u32,
}

/// What may be done with a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Protection {
    /// It can be read.
    pub read: bool,
    /// It can be written.
    pub write: bool,
    /// It is code.
    pub execute: bool,
}

impl Protection {
    /// What both allow together.
    pub(super) fn union(self, other: Self) -> Self {
        Self { read: self.read || other.read, write: self.write || other.write, execute: self.execute || other.execute }
    }
}

impl Section {
    /// First offset behind it.
    pub fn end(&self) -> u32 {
        self.rva.saturating_add(self.bytes)
    }

    /// Its bytes in the file; the rest of it is zero.
    pub(super) fn contents<'d>(&self, file: &'d [u8]) -> &'d [u8] {
        let start = self.file_offset as usize;
        file.get(start..start.saturating_add(self.file_bytes as usize)).unwrap_or_default()
    }
}

/// The headers of an image that can be loaded.
#[derive(Debug)]
pub(super) struct Headers<'d> {
    pub(super) preferred_base: u64,
    /// A multiple of the page size.
    pub(super) image_bytes: u64,
    pub(super) header_bytes: u32,
    pub(super) entry_rva: u32,
    pub(super) is_relocatable: bool,
    pub(super) sections: Vec<Section>,
    pub(super) directories: DataDirectories<'d>,
    table: SectionTable<'d>,
}

impl<'d> Headers<'d> {
    /// Reads and checks the headers of a file.
    pub(super) fn parse(file: &'d [u8]) -> Result<Self, Cause> {
        let mut offset = identify(file)?;
        let truncated =
            |what: &str, end: u64| Cause::Truncated { what: what.to_owned(), end, file_bytes: file.len() as u64 };
        let start = offset;
        let (nt, directories) = pe::ImageNtHeaders64::parse(file, &mut offset)
            .map_err(|_| truncated("the optional header", start.saturating_add(264)))?;
        let optional = nt.optional_header();
        if optional.subsystem() != pe::IMAGE_SUBSYSTEM_NATIVE {
            return Err(Cause::NotNative(optional.subsystem().0));
        }
        let count = usize::from(nt.file_header().number_of_sections.get(LE));
        if count == 0 || count > MOST_SECTIONS {
            return Err(Cause::malformed(format!("{count} sections; an image has 1 to {MOST_SECTIONS}")));
        }
        let table_end = offset.saturating_add((count as u64).saturating_mul(40));
        let table = nt.sections(file, offset).map_err(|_| truncated("the section table", table_end))?;

        let image_bytes = image_bytes(optional, file.len() as u64)?;
        let header_bytes = optional.size_of_headers();
        if u64::from(header_bytes) > file.len() as u64 {
            return Err(truncated("the headers", header_bytes.into()));
        }
        if u64::from(header_bytes) > image_bytes {
            return Err(Cause::malformed("headers larger than the image"));
        }
        let sections = sections(&table, optional, file)?;
        let entry_rva = optional.address_of_entry_point();
        let is_code =
            |section: &Section| section.protection.execute && (section.rva..section.end()).contains(&entry_rva);
        if !sections.iter().any(is_code) {
            return Err(Cause::malformed(format!("the entry point {entry_rva:#x} is in no section of code")));
        }
        let tls = directories.get(pe::IMAGE_DIRECTORY_ENTRY_TLS);
        if tls.is_some_and(|tls| tls.size.get(LE) != 0) {
            return Err(Cause::ThreadLocalStorage);
        }
        let flags = nt.file_header().characteristics.get(LE);
        Ok(Self {
            preferred_base: optional.image_base(),
            image_bytes,
            header_bytes,
            entry_rva,
            is_relocatable: flags.0 & pe::IMAGE_FILE_RELOCS_STRIPPED.0 == 0,
            sections,
            directories,
            table,
        })
    }

    /// Place and size of a directory in the image, if it has one.
    pub(super) fn directory(&self, index: usize) -> Option<(u32, u32)> {
        self.directories.get(index).map(|directory| directory.address_range())
    }

    /// The relocation blocks, as they are in the file.
    pub(super) fn relocations(&self, file: &'d [u8]) -> Result<&'d [u8], Cause> {
        match self.directories.get(pe::IMAGE_DIRECTORY_ENTRY_BASERELOC) {
            Some(directory) if directory.size.get(LE) != 0 => {
                directory.data(file, &self.table).map_err(|_| Cause::malformed("the relocation table is in no section"))
            }
            _ => Ok(&[]),
        }
    }
}

/// Says what the file is if it is not a 64-bit PE image for this processor; otherwise where its PE header begins.
fn identify(file: &[u8]) -> Result<u64, Cause> {
    if file.get(..2) != Some(b"MZ") {
        return Err(Cause::NotPe("it does not begin with 'MZ'"));
    }
    let truncated =
        |what: &str, end: u64| Cause::Truncated { what: what.to_owned(), end, file_bytes: file.len() as u64 };
    let offset = u32_at(file, 0x3C).ok_or_else(|| truncated("the DOS header", 0x40))?;
    let at = |bytes: u64| u64::from(offset).saturating_add(bytes);
    let signature = u32_at(file, at(0)).ok_or_else(|| truncated("the PE header", at(24)))?;
    if signature != pe::IMAGE_NT_SIGNATURE {
        return Err(Cause::NotPe("there is no 'PE' where its DOS header points"));
    }
    let machine = u16_at(file, at(4)).ok_or_else(|| truncated("the PE header", at(24)))?;
    if machine != pe::IMAGE_FILE_MACHINE_AMD64.0 {
        return Err(Cause::WrongMachine(machine));
    }
    let magic = u16_at(file, at(24)).ok_or_else(|| truncated("the optional header", at(264)))?;
    if magic != pe::IMAGE_NT_OPTIONAL_HDR64_MAGIC {
        return Err(Cause::NotPe32Plus(magic));
    }
    Ok(offset.into())
}

fn image_bytes(optional: &pe::ImageOptionalHeader64, file_bytes: u64) -> Result<u64, Cause> {
    let image_bytes = u64::from(optional.size_of_image());
    let worth = file_bytes.saturating_mul(IMAGE_BYTES_PER_FILE_BYTE).saturating_add(FREE_IMAGE_BYTES);
    let limit_bytes = worth.min(MOST_IMAGE_BYTES);
    if image_bytes > limit_bytes {
        return Err(Cause::TooLarge { image_bytes, file_bytes, limit_bytes });
    }
    if image_bytes == 0 {
        return Err(Cause::malformed("an image of no bytes"));
    }
    Ok(image_bytes.next_multiple_of(PAGE_BYTES))
}

/// The sections: in ascending order, apart, aligned, inside the image and whole in the file.
fn sections(
    table: &SectionTable<'_>,
    optional: &pe::ImageOptionalHeader64,
    file: &[u8],
) -> Result<Vec<Section>, Cause> {
    let alignment = optional.section_alignment();
    if !alignment.is_power_of_two() {
        return Err(Cause::malformed(format!("a section alignment of {alignment:#x}")));
    }
    let mut free_from = optional.size_of_headers();
    let mut sections = Vec::with_capacity(table.len());
    for header in table.iter() {
        let section = section(header);
        let (name, rva) = (&section.name, section.rva);
        let file_end = u64::from(section.file_offset).saturating_add(section.file_bytes.into());
        if file_end > file.len() as u64 {
            let what = format!("section {name}");
            return Err(Cause::Truncated { what, end: file_end, file_bytes: file.len() as u64 });
        }
        if rva & alignment.saturating_sub(1) != 0 {
            return Err(Cause::malformed(format!("section {name} at {rva:#x} is not aligned to {alignment:#x}")));
        }
        if rva < free_from {
            return Err(Cause::malformed(format!("section {name} at {rva:#x} begins before {free_from:#x} is free")));
        }
        let end = rva.checked_add(section.bytes).filter(|end| *end <= optional.size_of_image());
        free_from = end.ok_or_else(|| Cause::malformed(format!("section {name} at {rva:#x} ends behind the image")))?;
        sections.push(section);
    }
    Ok(sections)
}

fn section(header: &pe::ImageSectionHeader) -> Section {
    let has = |flag: pe::SectionFlags| header.characteristics.get(LE).0 & flag.0 != 0;
    let raw_bytes = if header.pointer_to_raw_data.get(LE) == 0 { 0 } else { header.size_of_raw_data.get(LE) };
    let bytes = match header.virtual_size.get(LE) {
        0 => raw_bytes,
        bytes => bytes,
    };
    Section {
        // Names go into messages.
        name: header
            .raw_name()
            .iter()
            .map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '?' })
            .collect(),
        rva: header.virtual_address.get(LE),
        bytes,
        protection: Protection {
            // A processor cannot do the others without reading.
            read: has(pe::IMAGE_SCN_MEM_READ) || has(pe::IMAGE_SCN_MEM_WRITE) || has(pe::IMAGE_SCN_MEM_EXECUTE),
            write: has(pe::IMAGE_SCN_MEM_WRITE),
            execute: has(pe::IMAGE_SCN_MEM_EXECUTE),
        },
        file_offset: header.pointer_to_raw_data.get(LE),
        file_bytes: raw_bytes.min(bytes),
    }
}

/// The bytes from `offset` on, at most `most`, if there is one.
pub(super) fn bytes_at(bytes: &[u8], offset: u64, most: usize) -> Option<&[u8]> {
    let rest = bytes.get(usize::try_from(offset).ok()?..)?;
    rest.get(..most.min(rest.len()))
}

pub(super) fn u16_at(bytes: &[u8], offset: u64) -> Option<u16> {
    bytes_at(bytes, offset, 2)?.try_into().ok().map(u16::from_le_bytes)
}

pub(super) fn u32_at(bytes: &[u8], offset: u64) -> Option<u32> {
    bytes_at(bytes, offset, 4)?.try_into().ok().map(u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], offset: u64) -> Option<u64> {
    bytes_at(bytes, offset, 8)?.try_into().ok().map(u64::from_le_bytes)
}
