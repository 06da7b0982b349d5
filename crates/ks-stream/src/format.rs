//! Data formats and data ranges as values: the plain structure, its format block and its attributes, parsed once.

use ks_abi::{
    Guid, KSDATAFORMAT_ATTRIBUTES, KSDATARANGE_REQUIRED_ATTRIBUTES, KsAttribute, KsDataFormat, KsDataRange,
    KsMultipleItem, NtStatus, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_PARAMETER,
};
use ks_io::Aspect;
use ks_mem::fallible;
use std::sync::Arc;
use zerocopy::{FromBytes, IntoBytes};

/// Bytes of `KSDATAFORMAT` without its block.
pub(crate) const HEAD_BYTES: usize = size_of::<KsDataFormat>();

/// One complete data format: `KSDATAFORMAT`, the block that its specifier names, and the attribute list behind it.
///
/// A clone shares the bytes. What a client sent was parsed by [`DataFormat::parse`]; after that the sizes can be relied
/// on: the bytes are at least `FormatSize` long and `FormatSize` is at least 64.
#[derive(Clone, PartialEq, Eq)]
#[doc(alias = "KSDATAFORMAT")]
pub struct DataFormat {
    bytes: Arc<Box<[u8]>>,
    head: KsDataFormat,
}

/// One data range: a `KSDATARANGE` and what follows it. Null GUIDs are wildcards.
#[doc(alias = "KSDATARANGE")]
pub type DataRange = DataFormat;

impl DataFormat {
    /// A format from its head and block; `FormatSize` is set to the length of both.
    pub fn new(head: KsDataFormat, block: &[u8]) -> DataFormat {
        let format_size = u32::try_from(HEAD_BYTES + block.len()).unwrap_or(u32::MAX);
        let head = KsDataFormat { format_size, ..head };
        let bytes = [head.as_bytes(), block].concat().into_boxed_slice();
        DataFormat { bytes: Arc::new(bytes), head }
    }

    /// A format from one of the plain structures of the headers (`KS_DATAFORMAT_VIDEOINFOHEADER`, say), which start
    /// with a `KSDATAFORMAT`.
    pub fn of<T: IntoBytes + zerocopy::Immutable>(format: &T) -> DataFormat {
        let bytes = format.as_bytes();
        let (head, block) = bytes.split_at(HEAD_BYTES.min(bytes.len()));
        let head = KsDataFormat::read_from_bytes(head).unwrap_or_default();
        DataFormat::new(head, block)
    }

    /// Parses a format that a client sent, with its attribute list if it has one. `bytes` may be longer than the
    /// format; the second value is where the next one may start (a multiple of eight).
    ///
    /// Fails when a size leaves the bytes, is below its minimum, or an attribute list does not add up.
    pub fn parse(bytes: &[u8]) -> Result<(DataFormat, usize), NtStatus> {
        let (head, _) = KsDataFormat::read_from_prefix(bytes).map_err(|_| STATUS_INVALID_BUFFER_SIZE)?;
        let size = head.format_size as usize;
        if size < HEAD_BYTES {
            return Err(STATUS_INVALID_PARAMETER);
        }
        if size > bytes.len() {
            return Err(STATUS_INVALID_BUFFER_SIZE);
        }
        let mut end = size;
        if head.flags & KSDATAFORMAT_ATTRIBUTES != 0 {
            let start = size.next_multiple_of(8);
            let list = bytes.get(start..).ok_or(STATUS_INVALID_BUFFER_SIZE)?;
            end = start + checked_attribute_list(list)?;
        }
        let mut kept = Vec::new();
        fallible(|| kept.try_reserve_exact(end)).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        kept.extend_from_slice(&bytes[..end]);
        let format = DataFormat { bytes: Arc::new(kept.into_boxed_slice()), head };
        Ok((format, end.next_multiple_of(8)))
    }

    /// The plain structure.
    pub fn head(&self) -> &KsDataFormat {
        &self.head
    }

    /// All bytes, attributes included.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes of `FormatSize`, without attributes.
    pub fn format_bytes(&self) -> &[u8] {
        &self.bytes[..self.head.format_size as usize]
    }

    /// The block behind the plain structure.
    pub fn block(&self) -> &[u8] {
        &self.bytes[HEAD_BYTES..self.head.format_size as usize]
    }

    /// The whole format as one of the plain structures of the headers; `None` if it is shorter.
    pub fn read<T: FromBytes>(&self) -> Option<T> {
        T::read_from_prefix(self.format_bytes()).ok().map(|(value, _)| value)
    }

    /// The attributes: identity and whether they are required.
    pub fn attributes(&self) -> Vec<KsAttribute> {
        let start = (self.head.format_size as usize).next_multiple_of(8);
        let Some((list, mut rest)) =
            self.bytes.get(start..).and_then(|bytes| KsMultipleItem::read_from_prefix(bytes).ok())
        else {
            return Vec::new();
        };
        let mut attributes = Vec::new();
        for _ in 0..list.count {
            let Ok((attribute, _)) = KsAttribute::read_from_prefix(rest) else { break };
            attributes.push(attribute);
            let step = (attribute.size as usize).next_multiple_of(8).min(rest.len());
            rest = &rest[step..];
        }
        attributes
    }
}

/// Checks an attribute list and returns its length.
fn checked_attribute_list(list: &[u8]) -> Result<usize, NtStatus> {
    let (item, _) = KsMultipleItem::read_from_prefix(list).map_err(|_| STATUS_INVALID_BUFFER_SIZE)?;
    let size = item.size as usize;
    let mut rest = list.get(size_of::<KsMultipleItem>()..size).ok_or(STATUS_INVALID_BUFFER_SIZE)?;
    for _ in 0..item.count {
        let (attribute, _) = KsAttribute::read_from_prefix(rest).map_err(|_| STATUS_INVALID_BUFFER_SIZE)?;
        let bytes = attribute.size as usize;
        if bytes < size_of::<KsAttribute>() || bytes > rest.len() {
            return Err(STATUS_INVALID_PARAMETER);
        }
        // The last attribute need not be padded.
        rest = &rest[bytes.next_multiple_of(8).min(rest.len())..];
    }
    Ok(size)
}

/// Does a format fall into `range`? `Err` names the first field that does not.
///
/// Accepted when the range's major format is a wildcard; or the majors are equal and its subformat is a wildcard; or
/// major, sub and specifier are all equal, where a wildcard specifier of the range is equal to any. Wildcards are for
/// ranges: one in the format matches nothing but a wildcard.
///
/// Source: nf-ks-ksvalidateconnectrequest.
pub fn falls_into(format: &KsDataFormat, range: &KsDataRange) -> Result<(), Aspect> {
    if range.major_format.is_null() {
        return Ok(());
    }
    if format.major_format != range.major_format {
        return Err(Aspect::MajorFormat);
    }
    if range.sub_format.is_null() {
        return Ok(());
    }
    if format.sub_format != range.sub_format {
        return Err(Aspect::SubFormat);
    }
    if format.specifier != range.specifier && !range.specifier.is_null() {
        return Err(Aspect::Specifier);
    }
    Ok(())
}

/// Do two ranges meet? `Err` names the first field in which they do not: each of the three must be equal, or a wildcard
/// on either side.
///
/// Source: nf-ks-kspindataintersection.
pub fn ranges_meet(one: &KsDataRange, other: &KsDataRange) -> Result<(), Aspect> {
    let meet = |one: Guid, other: Guid| one == other || one.is_null() || other.is_null();
    if !meet(one.major_format, other.major_format) {
        return Err(Aspect::MajorFormat);
    }
    if !meet(one.sub_format, other.sub_format) {
        return Err(Aspect::SubFormat);
    }
    if !meet(one.specifier, other.specifier) {
        return Err(Aspect::Specifier);
    }
    Ok(())
}

/// Required attributes of either side must be among the other's.
pub fn attributes_agree(one: &DataFormat, other: &DataFormat) -> Result<(), Aspect> {
    let needs = |range: &DataFormat, offered: &DataFormat| {
        if range.head.flags & KSDATARANGE_REQUIRED_ATTRIBUTES == 0
            && range.attributes().iter().all(|a| a.flags & 1 == 0)
        {
            return true;
        }
        let offered = offered.attributes();
        range
            .attributes()
            .iter()
            .filter(|a| a.flags & 1 != 0)
            .all(|a| offered.iter().any(|o| o.attribute == a.attribute))
    };
    if needs(one, other) && needs(other, one) { Ok(()) } else { Err(Aspect::Attribute) }
}

impl std::fmt::Debug for DataFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DataFormat({})", crate::describe::format(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ks_abi::{KSDATAFORMAT_SPECIFIER_NONE, KSDATAFORMAT_TYPE_AUDIO, KSDATAFORMAT_TYPE_VIDEO};

    fn plain() -> KsDataFormat {
        KsDataFormat::new(KSDATAFORMAT_TYPE_VIDEO, Guid::NULL, KSDATAFORMAT_SPECIFIER_NONE, 0)
    }

    #[test]
    fn a_format_cut_at_any_byte_is_refused() {
        let whole = DataFormat::new(plain(), &[7; 40]);
        for cut in 0..whole.bytes().len() {
            assert!(DataFormat::parse(&whole.bytes()[..cut]).is_err(), "cut at {cut}");
        }
        assert_eq!(DataFormat::parse(whole.bytes()).unwrap().0, whole);
    }

    #[test]
    fn sizes_that_do_not_add_up_are_refused() {
        let whole = DataFormat::new(plain(), &[7; 40]);
        for size in [0, 1, 63, 105, 1 << 31, u32::MAX] {
            let mut bytes = whole.bytes().to_vec();
            bytes[..4].copy_from_slice(&size.to_le_bytes());
            assert!(DataFormat::parse(&bytes).is_err(), "FormatSize {size}");
        }
    }

    #[test]
    fn an_attribute_list_is_checked_entry_by_entry() {
        let attribute = KsAttribute { size: 24, flags: 1, attribute: KSDATAFORMAT_TYPE_AUDIO };
        let list = KsMultipleItem { size: 32, count: 1 };
        let mut bytes =
            DataFormat::new(KsDataFormat { flags: KSDATAFORMAT_ATTRIBUTES, ..plain() }, &[]).bytes().to_vec();
        assert!(DataFormat::parse(&bytes).is_err(), "the flag promises a list");
        bytes.extend_from_slice(list.as_bytes());
        bytes.extend_from_slice(attribute.as_bytes());
        let (format, end) = DataFormat::parse(&bytes).unwrap();
        assert_eq!((format.attributes(), end), (vec![attribute], 96));
        for (at, value) in
            [(64, 0u32), (64, 31), (64, 33), (64, u32::MAX), (68, 2), (68, u32::MAX), (72, 23), (72, 25), (72, 0)]
        {
            let mut bad = bytes.clone();
            bad[at..at + 4].copy_from_slice(&value.to_le_bytes());
            assert!(DataFormat::parse(&bad).is_err(), "{value} at {at}");
        }
    }

    #[test]
    fn wildcards_of_a_range_match_and_the_first_difference_is_named() {
        let range = KsDataFormat { major_format: Guid::NULL, ..plain() };
        assert_eq!(falls_into(&plain(), &range), Ok(()));
        let audio = KsDataFormat { major_format: KSDATAFORMAT_TYPE_AUDIO, ..plain() };
        assert_eq!(falls_into(&audio, &plain()), Err(Aspect::MajorFormat));
        let sub = |sub_format| KsDataFormat { sub_format, ..plain() };
        let (one, other) = (sub(ks_abi::KSDATAFORMAT_SUBTYPE_NV12), sub(ks_abi::KSDATAFORMAT_SUBTYPE_YUY2));
        assert_eq!(falls_into(&one, &other), Err(Aspect::SubFormat));
    }
}
