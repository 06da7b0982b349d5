//! Data formats and ranges as a client keeps them.

use ks_abi::{KsDataFormat, KsMultipleItem};
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

/// The ranges of a `KSMULTIPLE_ITEM` list. Steps by FormatSize rounded up to eight, as far as the bytes go.
pub(crate) fn parse_ranges(bytes: &[u8]) -> Vec<Range> {
    let Ok((head, mut rest)) = KsMultipleItem::read_from_prefix(bytes) else { return Vec::new() };
    let mut ranges = Vec::new();
    while ranges.len() < head.count as usize {
        let Some(range) = Format::from_bytes(rest) else { break };
        let size = range.head().format_size as usize;
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
