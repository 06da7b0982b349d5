//! Base relocations: adds the distance between where an image lies and where it was linked to every address in it.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use object::pe;
use object::read::pe::RelocationBlockIterator;

use super::error::Cause;
use super::parse::u64_at;

/// Applies the blocks of a relocation table. They are checked even where nothing has to move.
pub(super) fn relocate(memory: &mut [u8], blocks: &[u8], distance: u64) -> Result<(), Cause> {
    for block in RelocationBlockIterator::new(blocks) {
        let block = block.map_err(|error| Cause::malformed(format!("the relocation table: {error}")))?;
        for relocation in block {
            let rva = relocation.virtual_address;
            match relocation.typ {
                pe::IMAGE_REL_BASED_ABSOLUTE => {}
                pe::IMAGE_REL_BASED_DIR64 => add(memory, rva, distance)?,
                other => {
                    return Err(Cause::malformed(format!("a relocation of type {} at {rva:#x}", other.0)));
                }
            }
        }
    }
    Ok(())
}

fn add(memory: &mut [u8], rva: u32, distance: u64) -> Result<(), Cause> {
    let outside = || Cause::malformed(format!("a relocation at {rva:#x}, outside of the image"));
    let moved = u64_at(memory, rva.into()).ok_or_else(outside)?.wrapping_add(distance);
    let start = rva as usize;
    let place = memory.get_mut(start..start.saturating_add(8)).ok_or_else(outside)?;
    place.copy_from_slice(&moved.to_le_bytes());
    Ok(())
}
