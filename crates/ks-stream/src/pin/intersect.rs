//! Data intersection: the first pair of a client's and a factory's range that gives a format.
//!
//! Source: nf-ks-kspindataintersection, nc-ks-pfnksintersecthandlerex.

use crate::describe;
use crate::descriptor::PinId;
use crate::factories::PinFactories;
use crate::filter::Filter;
use crate::format::{DataFormat, DataRange, attributes_agree, ranges_meet};
use crate::minidriver::Intersection;
use ks_abi::{
    KSDATAFORMAT_SPECIFIER_NONE, KsDataFormat, KsMultipleItem, NtStatus, STATUS_INVALID_BUFFER_SIZE,
    STATUS_INVALID_PARAMETER, STATUS_NO_MATCH,
};
use ks_io::{Aspect, Origin, Refusal};
use zerocopy::FromBytes;

/// The most ranges that a client may send.
const MOST_RANGES: u32 = 1024;

/// A client's list of ranges, checked as a whole; each range is copied only when its turn comes.
pub(crate) struct RangeList<'a> {
    items: &'a [u8],
    count: u32,
}

impl<'a> RangeList<'a> {
    /// Checks the `KSMULTIPLE_ITEM` list of ranges behind a `KSP_PIN`.
    pub(crate) fn parse(list: &'a [u8]) -> Result<RangeList<'a>, Refusal> {
        let bad = |status, reason: &str| Err(Refusal::new(status, Aspect::Request, reason));
        let Ok((head, _)) = KsMultipleItem::read_from_prefix(list) else {
            return bad(STATUS_INVALID_BUFFER_SIZE, "the list of data ranges is cut off");
        };
        let Some(items) = list.get(size_of::<KsMultipleItem>()..head.size as usize) else {
            return bad(STATUS_INVALID_BUFFER_SIZE, "the size of the list of data ranges does not fit");
        };
        if head.count > MOST_RANGES {
            return bad(STATUS_INVALID_PARAMETER, "the list of data ranges is too long");
        }
        let mut rest = items;
        for _ in 0..head.count {
            match DataFormat::parse(rest) {
                Ok((_, next)) => rest = rest.get(next..).unwrap_or(&[]),
                Err(status) => return bad(status, "a data range of the list does not fit"),
            }
        }
        Ok(RangeList { items, count: head.count })
    }

    /// Copies of the ranges. The list was checked as a whole: what can fail is the memory for a copy.
    fn iter(&self) -> impl Iterator<Item = Result<DataRange, NtStatus>> + '_ {
        let mut rest = self.items;
        (0..self.count).map(move |_| {
            let (range, next) = DataFormat::parse(rest)?;
            rest = rest.get(next..).unwrap_or(&[]);
            Ok(range)
        })
    }

    /// The first ranges in words: enough to see what was asked for.
    fn describe(&self) -> String {
        const SHOWN: u32 = 8;
        let shown: Vec<DataRange> = self.iter().take(SHOWN as usize).flatten().collect();
        match self.count.saturating_sub(SHOWN) {
            0 => describe::ranges(&shown),
            more => format!("{} and {more} more", describe::ranges(&shown)),
        }
    }
}

/// Runs the client's ranges (outer loop) over the factory's (inner loop); the first pair whose handler gives a format
/// wins, a hard error ends the search.
// ks-coverage: KsPinDataIntersectionEx done test=data_intersection_takes_the_first_pair_that_gives_a_format
#[doc(alias = "KsPinDataIntersectionEx")]
pub(crate) fn intersect(
    filter: &Filter,
    pin: PinId,
    ranges: &RangeList<'_>,
    origin: &Origin,
) -> Result<DataFormat, Refusal> {
    let Some(instance) = filter.instance() else {
        return Err(Refusal::new(STATUS_NO_MATCH, Aspect::Driver, "the filter is not open yet"));
    };
    search(filter, pin, ranges, |(_, matching_index), range, matching| {
        instance.intersect(&Intersection { pin, range, matching, matching_index, origin })
    })
}

/// Finds the first pair of a client's and a factory's range that `ask` makes something of. `ranges` is a KSMULTIPLE_ITEM
/// list; `ask` is also told the number of each of the two.
pub fn first_match<R>(
    factories: &dyn PinFactories,
    pin: PinId,
    ranges: &[u8],
    ask: impl FnMut((usize, usize), &DataRange, &DataRange) -> Result<R, Refusal>,
) -> Result<R, Refusal> {
    search(factories, pin, &RangeList::parse(ranges)?, ask)
}

fn search<R>(
    factories: &dyn PinFactories,
    pin: PinId,
    ranges: &RangeList<'_>,
    mut ask: impl FnMut((usize, usize), &DataRange, &DataRange) -> Result<R, Refusal>,
) -> Result<R, Refusal> {
    let offered = factories.ranges(pin);
    let mut nearest = Aspect::MajorFormat;
    let mut last = None;
    for (at, range) in ranges.iter().enumerate() {
        let range = range.map_err(|status| Refusal::new(status, Aspect::Memory, "no memory for a data range"))?;
        for (own, matching) in offered.iter().enumerate() {
            match ranges_meet(range.head(), matching.head()).and_then(|()| attributes_agree(&range, matching)) {
                Err(aspect) => {
                    if aspect != Aspect::MajorFormat {
                        nearest = aspect;
                    }
                }
                Ok(()) => match ask((at, own), &range, matching) {
                    Ok(format) => return Ok(format),
                    Err(refusal) if refusal.status == STATUS_NO_MATCH => last = Some(refusal),
                    Err(refusal) => return Err(refusal),
                },
            }
        }
    }
    let aspect = last.as_ref().map_or(nearest, |refusal| refusal.aspect);
    let reason = format!(
        "{}.{pin} has {}; the other side has {}; refused: {aspect}",
        factories.name(),
        describe::ranges(&offered),
        ranges.describe()
    );
    Err(Refusal::new(STATUS_NO_MATCH, aspect, reason))
}

/// What the class driver intersects without the minidriver: ranges without a format block.
///
/// Decision: the result has the non-wildcard members of both ranges.
pub(crate) fn default_handler(range: &DataRange, matching: &DataRange) -> Result<DataFormat, Refusal> {
    let (client, factory) = (range.head(), matching.head());
    if factory.specifier != KSDATAFORMAT_SPECIFIER_NONE {
        let reason = "the minidriver has no intersect handler for a range with a format block";
        return Err(Refusal::new(STATUS_NO_MATCH, Aspect::Specifier, reason));
    }
    let either = |one: ks_abi::Guid, other| if one.is_null() { other } else { one };
    let head = KsDataFormat {
        sample_size: factory.sample_size.max(client.sample_size),
        ..KsDataFormat::new(
            either(factory.major_format, client.major_format),
            either(factory.sub_format, client.sub_format),
            KSDATAFORMAT_SPECIFIER_NONE,
            0,
        )
    };
    Ok(DataFormat::new(head, &[]))
}
