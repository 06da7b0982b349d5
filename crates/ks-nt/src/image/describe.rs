//! What is at an offset of an image: the routine, by the symbols of its file, and the line, by its debug information.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fmt;

use addr2line::gimli::{self, EndianSlice, LittleEndian};
use object::read::pe::{ExportTarget, PeFile64};
use object::{Object, ObjectSection, ObjectSymbol, SectionIndex, SymbolSection};

/// More are not looked at.
const MOST_SYMBOLS: usize = 1 << 20;

/// What the file of an image says of a place in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Description {
    /// The nearest symbol before it, and the distance.
    pub symbol: Option<(String, u64)>,
    /// Source file and line.
    pub line: Option<(String, u32)>,
}

impl Description {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.symbol.is_none() && self.line.is_none()
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.symbol, &self.line) {
            (Some((name, distance)), Some((file, line))) => write!(f, "{name}+{distance:#x} ({file}:{line})"),
            (Some((name, distance)), None) => write!(f, "{name}+{distance:#x}"),
            (None, Some((file, line))) => write!(f, "{file}:{line}"),
            (None, None) => f.write_str("no symbol"),
        }
    }
}

/// Says what is at `offset` of the image in `file`. For a return address, ask for the byte before it.
///
/// Symbols are those of the COFF table, which mingw-w64 leaves in a file that is not stripped, and else the exports.
/// Nothing in the file is believed; what cannot be read is left out.
pub fn describe(file: &[u8], offset: u64) -> Description {
    let Ok(image) = PeFile64::parse(file) else {
        return Description::default();
    };
    let Some(address) = image.relative_address_base().checked_add(offset) else {
        return Description::default();
    };
    Description {
        symbol: coff_symbol(&image, address).or_else(|| exported(&image, offset)),
        line: line(&image, address).unwrap_or_default(),
    }
}

/// Whether a call stands right before `offset` of the image in `file`: then it may be a return address.
pub fn follows_call(file: &[u8], offset: u64) -> bool {
    const EXECUTABLE: u32 = 0x2000_0000;
    let Ok(image) = PeFile64::parse(file) else { return false };
    let before = (2..=7).rev().filter_map(|bytes| {
        let address = image.relative_address_base().checked_add(offset)?.checked_sub(bytes)?;
        let section = image.section_by_index(section_of(&image, address)?).ok()?;
        let object::SectionFlags::Coff { characteristics } = section.flags() else { return None };
        let is_code = characteristics.0 & EXECUTABLE != 0;
        section.data_range(address, bytes).ok().flatten().filter(|_| is_code)
    });
    before.into_iter().any(|bytes| match bytes {
        [0xE8, _, _, _, _] => true,
        // An indirect call: the middle bits of what follows say 2.
        [0xFF, form, ..] => form & 0x38 == 0x10,
        [0x41, 0xFF, form, ..] => form & 0x38 == 0x10,
        _ => false,
    })
}

/// The nearest symbol in the section of an address.
fn coff_symbol(image: &PeFile64<'_>, address: u64) -> Option<(String, u64)> {
    let section = section_of(image, address)?;
    let mut nearest = None;
    for symbol in image.symbols().take(MOST_SYMBOLS) {
        let is_there = symbol.section() == SymbolSection::Section(section) && symbol.is_definition();
        let at = symbol.address();
        if !is_there || at > address || nearest.is_some_and(|(best, _)| best >= at) {
            continue;
        }
        // Sections have symbols of their own.
        let name = symbol.name().ok().filter(|name| !name.is_empty() && !name.starts_with('.'));
        if let Some(name) = name {
            nearest = Some((at, name));
        }
    }
    nearest.map(|(at, name)| (shown(name), address.saturating_sub(at)))
}

fn section_of(image: &PeFile64<'_>, address: u64) -> Option<SectionIndex> {
    let covers = |start: u64, bytes: u64| address.checked_sub(start).is_some_and(|distance| distance < bytes);
    image.sections().find(|section| covers(section.address(), section.size())).map(|section| section.index())
}

fn exported(image: &PeFile64<'_>, offset: u64) -> Option<(String, u64)> {
    let table = image.export_table().ok()??;
    let exports =
        table.name_iter().take(MOST_SYMBOLS).filter_map(|(name, index)| match table.target_by_index(index).ok()? {
            ExportTarget::Address(rva) if u64::from(rva) <= offset => Some((rva, name)),
            _ => None,
        });
    let (rva, name) = exports.max_by_key(|(rva, _)| *rva)?;
    let name = std::str::from_utf8(table.name_from_pointer(name).ok()?).ok()?;
    Some((shown(name), offset.saturating_sub(rva.into())))
}

/// Names go into reports: no control characters, and not a book.
fn shown(name: &str) -> String {
    name.chars().filter(|character| !character.is_control()).take(256).collect()
}

fn line(image: &PeFile64<'_>, address: u64) -> gimli::Result<Option<(String, u32)>> {
    let load = |id: gimli::SectionId| {
        let section = image.section_by_name(id.name());
        let data = section.and_then(|section| section.data().ok()).unwrap_or_default();
        Ok::<_, gimli::Error>(EndianSlice::new(data, LittleEndian))
    };
    let context = addr2line::Context::from_dwarf(gimli::Dwarf::load(load)?)?;
    let location = context.find_location(address)?;
    Ok(location.and_then(|location| Some((shown(location.file?), location.line?))))
}
