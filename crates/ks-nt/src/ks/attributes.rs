//! The attributes of a format, as a driver is lent them.

use ks_abi::kernel::KsAttributeList;
use ks_abi::{KsMultipleItem, NtStatus, Ptr64, STATUS_INSUFFICIENT_RESOURCES};
use ks_mem::Block;
use ks_stream::DataFormat;

/// A KSATTRIBUTE_LIST with its pointers and attributes behind it; `None` for a format without attributes.
pub(crate) fn list(format: &DataFormat) -> Result<Option<Block>, NtStatus> {
    let attributes = format.attributes();
    if attributes.is_empty() {
        return Ok(None);
    }
    let start = format.format_bytes().len().next_multiple_of(8) + size_of::<KsMultipleItem>();
    let raw = format.bytes().get(start..).unwrap_or_default();
    let pointers = size_of::<KsAttributeList>();
    let data = pointers + 8 * attributes.len();
    let block = Block::zeroed(data + raw.len(), 16).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
    let head = KsAttributeList {
        count: attributes.len() as u32,
        attributes: Ptr64(block.address() + pointers as u64),
        ..KsAttributeList::default()
    };
    block.write(0, &head);
    block.write_bytes(data, raw);
    let mut at = data;
    for (index, attribute) in attributes.iter().enumerate() {
        block.store_u64(pointers + 8 * index, block.address() + at as u64);
        at += (attribute.size as usize).next_multiple_of(8);
    }
    Ok(Some(block))
}
