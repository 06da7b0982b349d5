//! The size, count and content protocol of answers that are a `KSMULTIPLE_ITEM` list.
//!
//! Source: nf-ks-kshandlesizedlistquery.

use ks_abi::{KsMultipleItem, NtStatus, STATUS_BUFFER_TOO_SMALL, STATUS_INSUFFICIENT_RESOURCES};
use ks_io::Output;
use ks_mem::fallible;
use zerocopy::IntoBytes;

/// Answers with a list: no room gives STATUS_BUFFER_OVERFLOW and the size; room for the head alone gives size and
/// count; room for less than all gives STATUS_BUFFER_TOO_SMALL; else everything, each item at a multiple of eight.
// ks-coverage: KsHandleSizedListQuery done test=relations_are_a_sized_list,workers_run_their_items_and_are_waited_for
#[doc(alias = "KsHandleSizedListQuery")]
pub fn answer<'i>(output: &mut Output, items: impl Iterator<Item = &'i [u8]> + Clone) -> NtStatus {
    let head_bytes = size_of::<KsMultipleItem>();
    let mut size = head_bytes;
    let mut count = 0u32;
    for item in items.clone() {
        size = size.next_multiple_of(8) + item.len();
        count += 1;
    }
    let Ok(size_word) = u32::try_from(size) else { return STATUS_INSUFFICIENT_RESOURCES };
    let head = KsMultipleItem { size: size_word, count };
    match output.limit() {
        0 => output.too_small(size),
        limit if limit >= size => {
            let mut bytes = Vec::new();
            if fallible(|| bytes.try_reserve_exact(size)).is_err() {
                return STATUS_INSUFFICIENT_RESOURCES;
            }
            bytes.extend_from_slice(head.as_bytes());
            for item in items {
                bytes.resize(bytes.len().next_multiple_of(8), 0);
                bytes.extend_from_slice(item);
            }
            output.answer(&bytes)
        }
        limit if limit == head_bytes => output.answer_value(&head),
        _ => STATUS_BUFFER_TOO_SMALL,
    }
}
