//! What pins behind a border ask of the frames that come to them: those of another process, or one that is none of AVStream's.
//!
//! A pin of another process is asked for the wishes of the whole section that it heads there, by a property of our own; it
//! asks on over the borders behind it. Any other pin is asked for its framing, as by any client. That happens when the head
//! of the section is about to leave STOP and holds no mutex. The answers are wishes among those of the section's pins, at
//! the end where the frames leave the section or come into it.
//!
//! Source: "KSPROPERTY_CONNECTION_ALLOCATORFRAMING_EX", "KSPROPERTY_CONNECTION_ALLOCATORFRAMING".

use super::framing::{Agreed, SAME, Wish, agree, refuse};
use super::wishes::{reaches, wishes_of};
use crate::descriptor::ExtendedFraming;
use crate::foreign;
use crate::pin::Pin;
use ks_abi::{
    Guid, KSALLOCATOR_FLAG_INSIST_ON_FRAMESIZE_RATIO, KSALLOCATOR_REQUIREMENTF_INPLACE_MODIFIER,
    KSPROPERTY_CONNECTION_ALLOCATORFRAMING, KSPROPERTY_CONNECTION_ALLOCATORFRAMING_EX, KSPROPERTY_TYPE_GET,
    KSPROPSETID_Connection, KsAllocatorFraming, KsAllocatorFramingEx, KsFramingItem, KsFramingRange, KsPinDataFlow,
    KsProperty, USERKS_PIN_WISHES, USERKS_PROPSET_PIN, UserksPinWish,
};
use ks_io::sync::Arc;
use ks_io::{FileObject, Refusal};
use ks_mem::FrameMemory;
use std::mem::offset_of;
use zerocopy::{FromBytes, IntoBytes};

/// The most bytes of a circuit's frames that foreign pins may ask for.
const MOST_FOREIGN_BYTES: u64 = 64 << 20;
/// Room for an answer: items of every kind of memory that there is a name for, and more.
const ANSWER_BYTES: usize = 4096;
/// The most wishes that one border lets through, and bytes of a name.
const MOST_WISHES: usize = 64;
const MOST_NAME_BYTES: usize = 256;
/// Room for that many wishes.
const WISHES_BYTES: usize = MOST_WISHES * (size_of::<UserksPinWish>() + MOST_NAME_BYTES);
/// Over how many borders pins are asked. A loop of pins that send to each other has no head; a client may ask one.
const MOST_BORDERS: u32 = 8;
/// The wish has no other before it.
const NONE: u32 = u32::MAX;

impl Pin {
    /// Asks behind every border at an end of the section that this pin heads, and keeps what is said for the negotiation. No
    /// mutex is held.
    pub(crate) fn ask_foreign_framing(self: &Arc<Pin>) {
        if self.is_head() && !self.is_entry() {
            self.ask_behind_borders(MOST_BORDERS);
        }
    }

    fn ask_behind_borders(self: &Arc<Pin>, borders: u32) {
        let (mut heads, mut known) = (vec![self.clone()], vec![self.clone()]);
        while let Some(head) = heads.pop() {
            for pin in head.circuit() {
                for output in pin.splitter_outputs().into_iter().flatten() {
                    // An output may be connected to its own input.
                    if !known.iter().any(|known| Arc::ptr_eq(known, &output)) {
                        known.push(output.clone());
                        heads.push(output);
                    }
                }
                let output = pin.in_place_counterpart().filter(|_| pin.data_flow() == KsPinDataFlow::IN);
                for end in [Some(pin), output].into_iter().flatten() {
                    let wishes = end.foreign_file().and_then(|file| ask(&file, &end, borders)).unwrap_or_default();
                    end.pipe().set_foreign_wishes(wishes);
                }
            }
        }
    }
}

/// What the pin that `end` is connected to says; `None`: nothing.
fn ask(file: &Arc<FileObject>, end: &Pin, borders: u32) -> Option<Vec<Wish>> {
    let here = end.describe();
    let crosses = file.object().is_some_and(|object| object.frame_memory() == FrameMemory::Shared);
    if crosses && borders > 0 {
        let property = KsProperty::new(USERKS_PROPSET_PIN, USERKS_PIN_WISHES, KSPROPERTY_TYPE_GET);
        let request = [property.as_bytes(), (borders - 1).as_bytes()].concat();
        let told = foreign::property(file, end, &request, WISHES_BYTES).ok().and_then(|answer| parse(&answer, &here));
        if told.is_some() {
            return told;
        }
    }
    let get = |id, room| {
        let request = KsProperty::new(KSPROPSETID_Connection, id, KSPROPERTY_TYPE_GET);
        foreign::property(file, end, request.as_bytes(), room).ok()
    };
    let framing = get(KSPROPERTY_CONNECTION_ALLOCATORFRAMING_EX, ANSWER_BYTES)
        .and_then(|answer| parse_framing(&answer))
        .or_else(|| {
            get(KSPROPERTY_CONNECTION_ALLOCATORFRAMING, size_of::<KsAllocatorFraming>())
                .and_then(|answer| parse_plain(&answer))
        })?;
    let mut wish = Wish { is_foreign: true, ..Wish::nothing(behind(&here)) };
    // Of a data source, too: what its filter makes of sizes is made elsewhere.
    wish.extend(&framing, KsPinDataFlow::IN);
    wish.is_modified = wish.is(KSALLOCATOR_REQUIREMENTF_INPLACE_MODIFIER);
    Some(vec![wish])
}

fn behind(here: &str) -> String {
    format!("the pin behind {here}")
}

/// The wishes of the section that `pin` heads, as bytes for the other side of a border. Those behind it are asked first,
/// over so many borders. No mutex is held.
pub(crate) fn wishes(pin: &Arc<Pin>, borders: u32) -> Vec<u8> {
    if borders > 0 {
        pin.ask_behind_borders(borders.min(MOST_BORDERS));
    }
    let (wishes, _) = wishes_of(pin);
    let mut bytes = Vec::new();
    for (index, wish) in wishes.iter().take(MOST_WISHES).enumerate() {
        let end = (0..=wish.name.len().min(MOST_NAME_BYTES)).rev().find(|end| wish.name.is_char_boundary(*end));
        let name = wish.name.get(..end.unwrap_or(0)).unwrap_or_default();
        // The only size that a pin takes is its range.
        let exact = wish.exact.as_ref().map(|(bytes, _)| u32::try_from(*bytes).unwrap_or(u32::MAX).max(1));
        let only = exact.map(|bytes| KsFramingRange { min_frame_size: bytes, max_frame_size: bytes, stepping: 0 });
        let told = UserksPinWish {
            after: wish.after.and_then(|after| u32::try_from(after).ok()).unwrap_or(NONE),
            name_bytes: name.len() as u32,
            flags: wish.flags,
            frames: wish.frames,
            bytes: wish.bytes,
            alignment: wish.alignment,
            is_modified: u32::from(reaches(&wishes, index, 0)),
            range: only.unwrap_or(wish.range),
            physical: wish.physical,
            compression: wish.compression,
            other_memory: wish.other_memory.first().copied().unwrap_or(Guid::NULL),
        };
        bytes.extend_from_slice(told.as_bytes());
        bytes.extend_from_slice(name.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

/// An alignment that makes sense, or one that is refused by name.
fn power_of_two(alignment: u32) -> u32 {
    alignment.checked_next_power_of_two().unwrap_or(u32::MAX)
}

/// The wishes that the other side told; `None`: it does not follow its own description. A wish that names none before it, or
/// one that is not, is behind the first.
fn parse(answer: &[u8], here: &str) -> Option<Vec<Wish>> {
    let mut wishes: Vec<Wish> = Vec::new();
    let mut rest = answer;
    while !rest.is_empty() {
        let (told, after) = UserksPinWish::read_from_prefix(rest).ok()?;
        let name_bytes = told.name_bytes as usize;
        if name_bytes > MOST_NAME_BYTES || wishes.len() == MOST_WISHES {
            return None;
        }
        let name = std::str::from_utf8(after.get(..name_bytes)?).ok()?;
        if name.chars().any(char::is_control) {
            return None;
        }
        rest = after.get(name_bytes.next_multiple_of(4)..)?;
        let is_first = wishes.is_empty();
        let before = usize::try_from(told.after).ok().filter(|before| *before < wishes.len()).unwrap_or(0);
        wishes.push(Wish {
            frames: told.frames,
            bytes: told.bytes,
            range: told.range,
            // What the filter of the first makes of sizes, if it is a data source, is made elsewhere.
            physical: if is_first { super::framing::ANY } else { told.physical },
            compression: if is_first { SAME } else { told.compression },
            alignment: if told.alignment == 0 { 0 } else { power_of_two(told.alignment) },
            flags: if is_first { told.flags & !KSALLOCATOR_FLAG_INSIST_ON_FRAMESIZE_RATIO } else { told.flags },
            other_memory: Some(told.other_memory).filter(|memory| !memory.is_null()).into_iter().collect(),
            after: (!is_first).then_some(before),
            is_modified: told.is_modified != 0,
            is_foreign: true,
            ..Wish::nothing(if is_first { behind(here) } else { format!("{name} behind {here}") })
        });
    }
    (!wishes.is_empty()).then_some(wishes)
}

/// As [`agree`], where foreign pins have a say: they are of drivers that need not be trusted, and the section's memory is
/// none of theirs.
///
/// Decision: with their wishes a section has at most 64 MiB of frames, or what its own pins ask for.
pub(super) fn agree_with_foreign(wishes: &[Wish]) -> Result<Agreed, Refusal> {
    let agreed = agree(wishes)?;
    let bytes = |agreed: &Agreed| u64::from(agreed.framing.frames) * u64::from(agreed.framing.frame_bytes);
    if bytes(&agreed) <= MOST_FOREIGN_BYTES || !wishes.iter().any(|wish| wish.is_foreign) {
        return Ok(agreed);
    }
    let own: Vec<Wish> =
        wishes.iter().filter(|wish| !wish.is_foreign).map(|wish| Wish { after: None, ..wish.clone() }).collect();
    if agree(&own).is_ok_and(|own| bytes(&own) >= bytes(&agreed)) {
        return Ok(agreed);
    }
    let framing = agreed.framing;
    let (frames_by, bytes_by) = (&agreed.frames_by, &agreed.bytes_by);
    refuse(format!("{} frames for {frames_by}, of {} bytes for {bytes_by}", framing.frames, framing.frame_bytes))
}

/// A KSALLOCATOR_FRAMING_EX with the items that are really there.
///
/// Decision: a range of one size only is the size of the pin's frames, as every pin tells it that has no more to say than
/// a KSALLOCATOR_FRAMING; larger frames do.
fn parse_framing(answer: &[u8]) -> Option<ExtendedFraming> {
    let (head, _) = KsAllocatorFramingEx::read_from_prefix(answer).ok()?;
    let items = answer.get(offset_of!(KsAllocatorFramingEx, framing_item)..)?.chunks_exact(size_of::<KsFramingItem>());
    let items: Vec<KsFramingItem> = items
        .take(head.count_items as usize)
        .filter_map(|bytes| KsFramingItem::read_from_bytes(bytes).ok())
        .map(|mut item| {
            let range = &mut item.framing_range.range;
            if range.max_frame_size == range.min_frame_size {
                range.max_frame_size = 0;
            }
            item
        })
        .collect();
    (!items.is_empty()).then_some(ExtendedFraming { compression: head.output_compression, items })
}

/// A KSALLOCATOR_FRAMING as an item.
fn parse_plain(answer: &[u8]) -> Option<ExtendedFraming> {
    let (framing, _) = KsAllocatorFraming::read_from_prefix(answer).ok()?;
    let simple = KsAllocatorFramingEx::simple(
        Guid::NULL,
        framing.flags,
        framing.frames,
        framing.file_alignment,
        framing.frame_size,
        framing.frame_size,
    );
    parse_framing(simple.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::framing::{ANY, tests::wish};
    use super::*;
    use ks_abi::KSALLOCATOR_REQUIREMENTF_MUST_ALLOCATE;

    #[test]
    fn an_answer_has_as_many_items_as_fit_into_it() {
        let mut framing = KsAllocatorFramingEx::simple(Guid::NULL, 0, 4, 63, 100, 200);
        framing.count_items = u32::MAX;
        let parsed = parse_framing(framing.as_bytes()).unwrap();
        assert_eq!((parsed.items.len(), parsed.items[0].frames), (1, 4));
        assert_eq!(parsed.items[0].framing_range.range.max_frame_size, 200);
        for cut in 0..size_of::<KsAllocatorFramingEx>() {
            assert_eq!(parse_framing(&framing.as_bytes()[..cut]), None);
        }
        framing.count_items = 0;
        assert_eq!(parse_framing(framing.as_bytes()), None, "nothing is asked for");
    }

    fn told(after: u32, name: &str) -> Vec<u8> {
        let wish = UserksPinWish { after, name_bytes: name.len() as u32, frames: 7, ..UserksPinWish::default() };
        let mut bytes = [wish.as_bytes(), name.as_bytes()].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn what_the_other_side_tells_of_its_pins_is_believed_as_far_as_it_makes_sense() {
        let list = [told(NONE, "in.0"), told(0, "in.1"), told(1, "sink.0"), told(99, "odd.0")].concat();
        let parsed = parse(&list, "tee.1").unwrap();
        let seen: Vec<_> = parsed.iter().map(|wish| (wish.name.as_str(), wish.after)).collect();
        let behind = |name| format!("{name} behind tee.1");
        let names = ["in.1", "sink.0", "odd.0"].map(behind);
        let [first, second, third] = &names;
        let expected = [("the pin behind tee.1", None), (&**first, Some(0)), (&**second, Some(1)), (&**third, Some(0))];
        assert_eq!(seen, expected);
        assert!(parsed.iter().all(|wish| wish.is_foreign && wish.frames == 7));
        let whole: Vec<usize> = (1..4)
            .map(|count| [told(NONE, "in.0"), told(0, "in.1"), told(1, "sink.0")][..count].concat().len())
            .collect();
        for cut in 1..list.len() {
            // Also the zeros behind a name may not be missing.
            assert_eq!(parse(&list[..cut], "tee.1").is_some(), whole.contains(&cut), "{cut}");
        }
        assert!(parse(&[], "tee.1").is_none());
        assert!(parse(&told(0, "a\tb"), "tee.1").is_none(), "no name ends a line of a report");
        assert!(parse(&told(0, &"x".repeat(MOST_NAME_BYTES + 1)), "tee.1").is_none());
        assert!(parse(&told(0, "x").repeat(MOST_WISHES + 1), "tee.1").is_none());
    }

    #[test]
    fn a_single_size_is_no_limit() {
        let plain = KsAllocatorFraming { frames: 3, frame_size: 640, file_alignment: 7, ..Default::default() };
        let parsed = parse_plain(plain.as_bytes()).unwrap();
        let range = parsed.items[0].framing_range.range;
        assert_eq!((parsed.items[0].frames, range.min_frame_size, range.max_frame_size), (3, 640, 0));
        assert_eq!(parse_plain(&plain.as_bytes()[..20]), None);
    }

    /// The second behind the first.
    fn chain(mut wishes: Vec<Wish>) -> Vec<Wish> {
        wishes[1].after = Some(0);
        wishes
    }

    #[test]
    fn a_foreign_pin_has_a_say_within_limits_and_allocates_nothing_here() {
        let own = || Wish { frames: 4, ..wish("a.0", 1000) };
        let foreign = |frames, bytes, flags| Wish {
            frames,
            flags,
            range: KsFramingRange { min_frame_size: bytes, ..ANY },
            is_foreign: true,
            ..wish("the pin behind a.0", 0)
        };
        let agreed = agree_with_foreign(&chain(vec![own(), foreign(9, 4096, 0)])).unwrap();
        assert_eq!((agreed.framing.frames, agreed.framing.frame_bytes), (9, 4096));
        assert_eq!((&*agreed.frames_by, &*agreed.bytes_by), ("the pin behind a.0", "the pin behind a.0"));
        let refusal = agree_with_foreign(&chain(vec![own(), foreign(1024, 65_537, 0)])).unwrap_err();
        assert!(refusal.reason.contains("1024 frames for the pin behind a.0"), "{}", refusal.reason);
        // A section whose own pins ask for as much may have it.
        let large = Wish { frames: 8, ..wish("a.0", 49_766_400) };
        agree_with_foreign(&chain(vec![large, foreign(4, 49_766_400, 0)])).unwrap();
        let must = foreign(2, 10, KSALLOCATOR_REQUIREMENTF_MUST_ALLOCATE);
        let agreed = agree_with_foreign(&chain(vec![own(), must])).unwrap();
        assert_eq!((agreed.must_allocate.len(), agreed.notes.len()), (0, 1));
    }
}
