//! What an image itself exports, by name.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;

use object::pe;
use object::read::pe::ExportTable;

use super::bind::name_at;
use super::error::Cause;
use super::parse::{Headers, bytes_at};

const MOST_EXPORTS: usize = 16_384;

/// Names and places of the exports. A name that is forwarded to another module is left out: nobody here follows it.
pub(super) fn exports(memory: &[u8], headers: &Headers<'_>, file_bytes: usize) -> Result<BTreeMap<String, u32>, Cause> {
    let mut exports = BTreeMap::new();
    let Some((start, bytes)) = headers.directory(pe::IMAGE_DIRECTORY_ENTRY_EXPORT) else {
        return Ok(exports);
    };
    let malformed = |error: object::Error| Cause::malformed(format!("the export table at {start:#x}: {error}"));
    let directory = bytes_at(memory, start.into(), bytes as usize).unwrap_or_default();
    let table = ExportTable::parse(directory, start).map_err(malformed)?;
    let mut text_bytes = 0_usize;
    for (name, index) in table.name_iter() {
        let name = name_at(memory, name)?;
        let rva = table.address_by_index(index).map_err(malformed)?;
        text_bytes = text_bytes.saturating_add(name.len());
        if exports.len() >= MOST_EXPORTS || text_bytes > file_bytes {
            return Err(Cause::malformed("more exports than a file of its size has"));
        }
        if !table.is_forward(rva) && u64::from(rva) < headers.image_bytes {
            exports.insert(name, rva);
        }
    }
    Ok(exports)
}
