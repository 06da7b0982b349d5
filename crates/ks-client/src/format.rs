//! Data formats and ranges as a client keeps them.

use ks_abi::{KSDATAFORMAT_ATTRIBUTES, KsDataFormat, KsMultipleItem};
use zerocopy::{FromBytes, IntoBytes};

/// The bytes of a `KSDATAFORMAT` or `KSDATARANGE` with what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[doc(alias = "KSDATAFORMAT")]
pub struct Format(Vec<u8>);

/// A `KSDATARANGE`: null GUIDs are wildcards.
pub type Range = Format;

impl Format {
    /// A format from its bytes. `None` if they are too few for their FormatSize.
    pub fn from_bytes(bytes: &[u8]) -> Option<Format> {
        let (head, _) = KsDataFormat::read_from_prefix(bytes).ok()?;
        let size = head.format_size as usize;
        (size >= size_of::<KsDataFormat>() && size <= bytes.len()).then(|| Format(bytes.to_vec()))
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The plain structure.
    pub fn head(&self) -> KsDataFormat {
        KsDataFormat::read_from_prefix(&self.0).map(|(head, _)| head).unwrap_or_default()
    }

    /// The whole as one of the plain structures of the headers.
    pub fn read<T: FromBytes>(&self) -> Option<T> {
        T::read_from_prefix(&self.0).ok().map(|(value, _)| value)
    }

    /// The format in words.
    pub fn describe(&self) -> String {
        ks_abi::describe::format(&self.0)
    }

    /// The range in words.
    pub fn describe_range(&self) -> String {
        ks_abi::describe::range(&self.0)
    }
}

/// Bytes of a format with the attribute list behind it, if its flags promise one.
fn whole_bytes(format: &Format) -> Option<usize> {
    let head = format.head();
    let size = head.format_size as usize;
    if head.flags & KSDATAFORMAT_ATTRIBUTES == 0 {
        return Some(size);
    }
    let start = size.next_multiple_of(8);
    let (list, _) = KsMultipleItem::read_from_prefix(format.bytes().get(start..)?).ok()?;
    let end = start.checked_add(list.size as usize)?;
    (list.size as usize >= size_of::<KsMultipleItem>() && end <= format.bytes().len()).then_some(end)
}

/// The ranges of a `KSMULTIPLE_ITEM` list, attributes included; the next one starts at a multiple of eight. As far as
/// the bytes go.
pub(crate) fn parse_ranges(bytes: &[u8]) -> Vec<Range> {
    let Ok((head, mut rest)) = KsMultipleItem::read_from_prefix(bytes) else { return Vec::new() };
    let mut ranges = Vec::new();
    while ranges.len() < head.count as usize {
        let Some(range) = Format::from_bytes(rest) else { break };
        let Some(size) = whole_bytes(&range) else { break };
        ranges.push(Format(range.0[..size].to_vec()));
        rest = &rest[size.next_multiple_of(8).min(rest.len())..];
    }
    ranges
}

/// A `KSMULTIPLE_ITEM` list of ranges, for a data intersection.
pub(crate) fn range_list(ranges: &[Range]) -> Vec<u8> {
    let mut items = Vec::new();
    for range in ranges {
        items.resize(items.len().next_multiple_of(8), 0);
        items.extend_from_slice(range.bytes());
    }
    let size = (size_of::<KsMultipleItem>() + items.len()) as u32;
    let mut list = KsMultipleItem { size, count: ranges.len() as u32 }.as_bytes().to_vec();
    list.extend_from_slice(&items);
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use ks_abi::{Guid, KSDATAFORMAT_TYPE_AUDIO, KSDATAFORMAT_TYPE_VIDEO, KsAttribute};

    #[test]
    fn a_range_keeps_its_attributes_and_the_next_one_is_found() {
        let plain = KsDataFormat::new(KSDATAFORMAT_TYPE_AUDIO, Guid::NULL, Guid::NULL, 2);
        let mut first = KsDataFormat { flags: KSDATAFORMAT_ATTRIBUTES, ..plain }.as_bytes().to_vec();
        first.resize(72, 0);
        first.extend_from_slice(KsMultipleItem { size: 32, count: 1 }.as_bytes());
        first.extend_from_slice(KsAttribute { size: 24, flags: 1, attribute: KSDATAFORMAT_TYPE_AUDIO }.as_bytes());
        let second = KsDataFormat::new(KSDATAFORMAT_TYPE_VIDEO, Guid::NULL, Guid::NULL, 0);
        let ranges = [Format::from_bytes(&first).unwrap(), Format::from_bytes(second.as_bytes()).unwrap()];
        let list = range_list(&ranges);
        assert_eq!(parse_ranges(&list), ranges);
        for cut in 0..list.len() {
            assert!(parse_ranges(&list[..cut]).len() < 2, "cut at {cut}");
        }
        for (at, value) in [(8 + 72, 0u32), (8 + 72, 7), (8 + 72, u32::MAX), (8, u32::MAX), (4, u32::MAX)] {
            let mut bad = list.clone();
            bad[at..at + 4].copy_from_slice(&value.to_le_bytes());
            assert!(parse_ranges(&bad).len() <= 2, "{value} at {at}");
        }
    }
}
