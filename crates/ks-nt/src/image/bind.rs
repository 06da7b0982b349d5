//! Imports: writes the address of every imported name into the import address tables.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::HashMap;

use object::pe;

use super::error::{Cause, MissingImport};
use super::parse::{Headers, bytes_at, u32_at, u64_at};

/// A driver imports a few hundred names.
const MOST_IMPORTS: usize = 16_384;

/// Longer than any decorated name of a driver's imports.
const MOST_NAME_BYTES: usize = 512;

const DESCRIPTOR_BYTES: u64 = 20;
const BY_ORDINAL: u64 = 1 << 63;

/// Finds the address of a name of a module.
pub type Resolver<'r> = dyn Fn(&str, &str) -> Option<u64> + 'r;

/// Imports that nothing exports, each with the places that wait for its address.
#[derive(Debug, Default)]
pub(super) struct Missing {
    pub(super) imports: Vec<MissingImport>,
    /// Place in the image, index in `imports`.
    pub(super) places: Vec<(u32, usize)>,
    /// How many were found after the list was as long as the file.
    pub(super) more: usize,
    indices: HashMap<MissingImport, usize>,
    text_bytes: usize,
}

impl Missing {
    fn add(&mut self, place: u32, import: MissingImport, most_text_bytes: usize) {
        let known = self.indices.get(&import).copied();
        if known.is_none() && self.text_bytes >= most_text_bytes {
            self.more = self.more.saturating_add(1);
            return;
        }
        let index = known.unwrap_or_else(|| {
            self.text_bytes = self.text_bytes.saturating_add(import.module.len()).saturating_add(import.name.len());
            self.imports.push(import.clone());
            let index = self.imports.len().saturating_sub(1);
            self.indices.insert(import, index);
            index
        });
        self.places.push((place, index));
    }
}

/// Binds every import of an image and returns those that cannot be.
pub(super) fn bind(
    memory: &mut [u8],
    headers: &Headers<'_>,
    resolver: &Resolver<'_>,
    file_bytes: usize,
) -> Result<Missing, Cause> {
    let mut missing = Missing::default();
    let Some((table, _)) = headers.directory(pe::IMAGE_DIRECTORY_ENTRY_IMPORT) else {
        return Ok(missing);
    };
    let mut left = MOST_IMPORTS;
    let mut descriptor = u64::from(table);
    loop {
        let wild = || Cause::malformed(format!("the import table at {table:#x} runs out of the image"));
        let field = |offset: u64| u32_at(memory, descriptor.saturating_add(offset)).ok_or_else(wild);
        let (lookup, module, addresses) = (field(0)?, field(12)?, field(16)?);
        if module == 0 && addresses == 0 {
            return Ok(missing);
        }
        let module = name_at(memory, module)?;
        let lookup = if lookup == 0 { addresses } else { lookup };
        bind_module(memory, &module, lookup, addresses, &mut left, &mut |place, name| {
            let address = resolver(&module, name);
            if address.is_none() {
                let import = MissingImport { module: module.clone(), name: name.to_owned() };
                missing.add(place, import, file_bytes);
            }
            address
        })?;
        descriptor = descriptor.saturating_add(DESCRIPTOR_BYTES);
    }
}

fn bind_module(
    memory: &mut [u8],
    module: &str,
    lookup: u32,
    addresses: u32,
    left: &mut usize,
    resolve: &mut dyn FnMut(u32, &str) -> Option<u64>,
) -> Result<(), Cause> {
    let wild = || Cause::malformed(format!("the imports from {module} run out of the image"));
    let mut offset = 0_u32;
    loop {
        let thunk = u64_at(memory, u64::from(lookup).saturating_add(offset.into())).ok_or_else(wild)?;
        if thunk == 0 {
            return Ok(());
        }
        *left = left.checked_sub(1).ok_or_else(|| Cause::malformed(format!("more than {MOST_IMPORTS} imports")))?;
        let place = addresses.checked_add(offset).ok_or_else(wild)?;
        let address = if thunk & BY_ORDINAL != 0 {
            resolve(place, &format!("#{}", thunk & 0xFFFF))
        } else {
            // Two bytes of a hint stand before the name.
            let name = u32::try_from(thunk).ok().and_then(|rva| rva.checked_add(2)).ok_or_else(wild)?;
            resolve(place, &name_at(memory, name)?)
        };
        write(memory, place, address.unwrap_or(0)).ok_or_else(wild)?;
        offset = offset.checked_add(8).ok_or_else(wild)?;
    }
}

/// Writes an address into the image.
pub(super) fn write(memory: &mut [u8], place: u32, address: u64) -> Option<()> {
    let start = place as usize;
    memory.get_mut(start..start.checked_add(8)?)?.copy_from_slice(&address.to_le_bytes());
    Some(())
}

pub(super) fn name_at(memory: &[u8], rva: u32) -> Result<String, Cause> {
    let text = bytes_at(memory, rva.into(), MOST_NAME_BYTES).unwrap_or_default();
    let end = text.iter().position(|byte| *byte == 0).filter(|end| *end > 0);
    let text = end.and_then(|end| text.get(..end)).filter(|text| text.iter().all(u8::is_ascii_graphic));
    let text = text.and_then(|text| std::str::from_utf8(text).ok());
    text.map(str::to_owned).ok_or_else(|| Cause::malformed(format!("there is no import's name at {rva:#x}")))
}
