//! What a pin that is none of AVStream's, or of another process, asks of the frames that come to it.
//!
//! It is asked by the property that any client would use, when the head of the section is about to leave STOP and holds
//! no mutex. Its answer is one wish among those of the section's pins, at the end where the frames leave the section or
//! come into it.
//!
//! Source: "KSPROPERTY_CONNECTION_ALLOCATORFRAMING_EX", "KSPROPERTY_CONNECTION_ALLOCATORFRAMING".

use super::framing::{Agreed, Wish, agree, refuse};
use crate::descriptor::ExtendedFraming;
use crate::foreign;
use crate::pin::Pin;
use ks_abi::{
    Guid, KSPROPERTY_CONNECTION_ALLOCATORFRAMING, KSPROPERTY_CONNECTION_ALLOCATORFRAMING_EX, KSPROPERTY_TYPE_GET,
    KSPROPSETID_Connection, KsAllocatorFraming, KsAllocatorFramingEx, KsFramingItem, KsPinDataFlow, KsProperty,
};
use ks_io::Refusal;
use ks_io::sync::Arc;
use std::mem::offset_of;
use zerocopy::{FromBytes, IntoBytes};

/// The most bytes of a circuit's frames that foreign pins may ask for.
const MOST_FOREIGN_BYTES: u64 = 64 << 20;
/// Room for an answer: items of every kind of memory that there is a name for, and more.
const ANSWER_BYTES: usize = 4096;

impl Pin {
    /// Asks every foreign pin at an end of the section that this pin heads, and keeps what each says for the negotiation.
    /// No mutex is held.
    pub(crate) fn ask_foreign_framing(self: &Arc<Pin>) {
        if !self.is_head() || self.is_entry() {
            return;
        }
        let mut heads = vec![self.clone()];
        while let Some(head) = heads.pop() {
            for pin in head.circuit() {
                heads.extend(pin.splitter_outputs().into_iter().flatten());
                let output = pin.in_place_counterpart().filter(|_| pin.data_flow() == KsPinDataFlow::IN);
                for end in [Some(pin), output].into_iter().flatten() {
                    let framing = end.foreign_file().and_then(|file| {
                        let ask = |id, room| {
                            let request = KsProperty::new(KSPROPSETID_Connection, id, KSPROPERTY_TYPE_GET);
                            foreign::property(&file, &end, request.as_bytes(), room).ok()
                        };
                        ask(KSPROPERTY_CONNECTION_ALLOCATORFRAMING_EX, ANSWER_BYTES)
                            .and_then(|answer| parse(&answer))
                            .or_else(|| {
                                ask(KSPROPERTY_CONNECTION_ALLOCATORFRAMING, size_of::<KsAllocatorFraming>())
                                    .and_then(|answer| parse_plain(&answer))
                            })
                    });
                    end.pipe().set_foreign_framing(framing);
                }
            }
        }
    }
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
fn parse(answer: &[u8]) -> Option<ExtendedFraming> {
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
    parse(simple.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::framing::{ANY, tests::wish};
    use super::*;
    use ks_abi::{KSALLOCATOR_REQUIREMENTF_MUST_ALLOCATE, KsFramingRange};

    #[test]
    fn an_answer_has_as_many_items_as_fit_into_it() {
        let mut framing = KsAllocatorFramingEx::simple(Guid::NULL, 0, 4, 63, 100, 200);
        framing.count_items = u32::MAX;
        let parsed = parse(framing.as_bytes()).unwrap();
        assert_eq!((parsed.items.len(), parsed.items[0].frames), (1, 4));
        assert_eq!(parsed.items[0].framing_range.range.max_frame_size, 200);
        for cut in 0..size_of::<KsAllocatorFramingEx>() {
            assert_eq!(parse(&framing.as_bytes()[..cut]), None);
        }
        framing.count_items = 0;
        assert_eq!(parse(framing.as_bytes()), None, "nothing is asked for");
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
