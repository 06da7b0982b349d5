//! The negotiation of an allocator: what every pin of a pipe section asks for becomes one framing, or a refusal that names
//! the pins that do not agree.
//!
//! Sizes are those of the frames that reach the pin. A filter that works in place and makes its frames larger or smaller
//! (KS_COMPRESSION at its output) has one buffer on both sides: it must hold what comes in and what goes out.
//!
//! Source: ns-ks-ksallocator_framing_ex, ns-ks-ks_framing_item, ns-ks-ks_compression, "Specifying allocator framing in
//! AVStream codecs". What the pages leave open is decided in ADR 0072.

use super::frame_size;
use crate::descriptor::{ExtendedFraming, Framing};
use crate::pin::Pin;
use ks_abi::{
    Guid, KSALLOCATOR_FLAG_2D_BUFFER_REQUIRED, KSALLOCATOR_FLAG_CAN_ALLOCATE,
    KSALLOCATOR_FLAG_INSIST_ON_FRAMESIZE_RATIO, KSALLOCATOR_REQUIREMENTF_FRAME_INTEGRITY,
    KSALLOCATOR_REQUIREMENTF_MUST_ALLOCATE, KSALLOCATOR_REQUIREMENTF_PREFERENCES_ONLY, KSMEMORY_TYPE_KERNEL_NONPAGED,
    KSMEMORY_TYPE_KERNEL_PAGED, KSMEMORY_TYPE_SYSTEM, KSMEMORY_TYPE_USER, KsCompression, KsFramingItem, KsFramingRange,
    KsPinDataFlow, STATUS_INVALID_PARAMETER, STATUS_NOT_SUPPORTED, describe,
};
use ks_io::sync::Arc;
use ks_io::{Aspect, Refusal};

/// Frames in a circuit when no pin asks for a number.
const DEFAULT_FRAMES: u32 = 8;
/// The most frames of a circuit.
const MOST_FRAMES: u32 = 1024;

/// Memory of these types is all the same to a process.
pub(crate) fn is_process_memory(memory_type: Guid) -> bool {
    let types = [KSMEMORY_TYPE_SYSTEM, KSMEMORY_TYPE_USER, KSMEMORY_TYPE_KERNEL_PAGED, KSMEMORY_TYPE_KERNEL_NONPAGED];
    memory_type.is_null() || types.contains(&memory_type)
}

/// Of several kinds of memory that a process has the one with the largest weight, the first of equals.
pub(super) fn best_item(framing: &ExtendedFraming) -> Option<&KsFramingItem> {
    let usable = framing.items.iter().filter(|item| is_process_memory(item.memory_type));
    usable.reduce(|best, item| if item.memory_type_weight > best.memory_type_weight { item } else { best })
}

/// What one pin asks for.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    /// The pin, for messages.
    pub(super) name: String,
    /// Frames; 0: no opinion.
    pub(super) frames: u32,
    /// The fewest bytes that are of use: what it declares, moved to a sample of its format.
    pub(super) bytes: u32,
    /// Bytes of a frame, and the steps above the least.
    pub(super) range: KsFramingRange,
    /// What the device behind the pin can do.
    pub(super) physical: KsFramingRange,
    /// Bytes, a power of two; 0: no opinion.
    pub(super) alignment: u32,
    /// `KSALLOCATOR_REQUIREMENTF_*` and `KSALLOCATOR_FLAG_*`.
    pub(super) flags: u32,
    /// The kinds of memory that it can use, none of which a process has; empty: it can use a process's.
    pub(super) other_memory: Vec<Guid>,
    /// What its filter makes of the size of a frame, before the frame reaches this pin.
    pub(super) compression: KsCompression,
    /// The only size that it takes, because of a ratio that it or its filter insists on, and why.
    pub(super) exact: Option<(u64, String)>,
    /// Where its frames come from: the index of the wish of the pin before it.
    pub(super) after: Option<usize>,
    /// Its filter writes to the frames that come to it: the output of one that works in place, or a last pin.
    pub(super) is_modified: bool,
    /// It begins a branch that has copies: what is done to frames behind it is done to those.
    pub(super) is_copied: bool,
    /// It is none of AVStream's, or of another process: it says what it needs, and no more than that is its affair.
    pub(super) is_foreign: bool,
}

pub(super) const ANY: KsFramingRange = KsFramingRange { min_frame_size: 0, max_frame_size: 0, stepping: 0 };
pub(super) const SAME: KsCompression =
    KsCompression { ratio_numerator: 1, ratio_denominator: 1, ratio_constant_margin: 0 };

/// What a section's pins agree on, and who asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Agreed {
    pub(super) framing: Framing,
    /// Who decided the number, the size and the alignment of frames; empty: nobody asked.
    pub(super) frames_by: String,
    pub(super) bytes_by: String,
    pub(super) alignment_by: String,
    /// Wishes that must allocate, by index.
    pub(super) must_allocate: Vec<usize>,
    /// Those that can, and need not.
    pub(super) can_allocate: Vec<usize>,
    /// Preferences that were not met.
    pub(super) notes: Vec<String>,
}

impl Wish {
    /// What a pin asks for, as the minidriver says it now.
    pub(super) fn of(pin: &Arc<Pin>, after: Option<usize>) -> Wish {
        let plain = pin.framing();
        let mut wish = Wish {
            frames: plain.frames,
            bytes: plain.frame_bytes,
            alignment: plain.alignment,
            after,
            ..Wish::nothing(pin.describe())
        };
        if let Some(extended) = pin.extended_framing() {
            wish.extend(&extended, pin.data_flow());
        }
        if pin.instance().is_some_and(|instance| instance.can_allocate(pin)) {
            wish.flags |= KSALLOCATOR_FLAG_CAN_ALLOCATE;
        }
        wish
    }

    /// A wish for nothing.
    pub(super) fn nothing(name: String) -> Wish {
        Wish {
            name,
            frames: 0,
            bytes: 0,
            range: ANY,
            physical: ANY,
            alignment: 0,
            flags: 0,
            other_memory: Vec::new(),
            compression: SAME,
            exact: None,
            after: None,
            is_modified: false,
            is_copied: false,
            is_foreign: false,
        }
    }

    /// Of several kinds of memory the one with the largest weight counts that a process has, the first of equals.
    pub(super) fn extend(&mut self, extended: &ExtendedFraming, flow: KsPinDataFlow) {
        let best = best_item(extended);
        let Some(item) = best.or_else(|| extended.items.first()) else { return };
        if best.is_none() {
            self.other_memory = extended.items.iter().map(|item| item.memory_type).collect();
        }
        self.frames = item.frames;
        self.range = item.framing_range.range;
        if flow == KsPinDataFlow::OUT {
            // That of an input is ignored, as the page on codecs says.
            self.physical = item.physical_range;
            self.compression = extended.compression;
        }
        self.flags = item.flags | (item.memory_flags & KSALLOCATOR_REQUIREMENTF_MUST_ALLOCATE);
        if flow != KsPinDataFlow::OUT {
            // There is no ratio to insist on.
            self.flags &= !KSALLOCATOR_FLAG_INSIST_ON_FRAMESIZE_RATIO;
        }
        self.alignment = alignment_of(item);
    }

    pub(super) fn is(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    pub(super) fn prefers(&self) -> bool {
        self.is(KSALLOCATOR_REQUIREMENTF_PREFERENCES_ONLY)
    }

    /// The most bytes of a frame, by its own range or its device's.
    pub(super) fn most(&self) -> u32 {
        let bound = |range: &KsFramingRange| if range.max_frame_size == 0 { u32::MAX } else { range.max_frame_size };
        bound(&self.range).min(bound(&self.physical))
    }

    /// The fewest bytes of a frame.
    pub(super) fn least(&self) -> u32 {
        self.bytes.max(self.range.min_frame_size).max(self.physical.min_frame_size)
    }

    /// The next size from `bytes` on that is on a step of this pin.
    pub(super) fn on_a_step(&self, bytes: u64) -> u64 {
        let (base, step) = (u64::from(self.range.min_frame_size), u64::from(self.range.stepping.max(1)));
        let steps = bytes.saturating_sub(base).checked_next_multiple_of(step);
        steps.and_then(|bytes| base.checked_add(bytes)).unwrap_or(u64::MAX)
    }

    pub(super) fn compressed(&self, bytes: u64) -> u64 {
        let KsCompression { ratio_numerator: over, ratio_denominator: under, ratio_constant_margin: margin } =
            self.compression;
        if over == 0 || under == 0 {
            return bytes;
        }
        let scaled = (u128::from(bytes) * u128::from(over)).div_ceil(u128::from(under));
        u64::try_from(scaled).unwrap_or(u64::MAX).saturating_add(margin.into())
    }
}

/// An alignment in bytes of a mask (`FILE_*_ALIGNMENT`).
///
/// Decision: what is no mask counts as a number of bytes, and is rounded up to a power of two; with
/// KSALLOCATOR_FLAG_2D_BUFFER_REQUIRED the member is the pitch of a line, and says nothing of alignment.
fn alignment_of(item: &KsFramingItem) -> u32 {
    if item.flags & KSALLOCATOR_FLAG_2D_BUFFER_REQUIRED != 0 {
        return 0;
    }
    item.file_alignment.checked_add(1).and_then(u32::checked_next_power_of_two).unwrap_or(u32::MAX)
}

pub(super) fn refuse<T>(reason: String) -> Result<T, Refusal> {
    Err(Refusal::new(STATUS_INVALID_PARAMETER, Aspect::Memory, reason))
}

/// One framing for all pins. A wish stands behind those whose frames it gets.
pub(super) fn agree(wishes: &[Wish]) -> Result<Agreed, Refusal> {
    let mut agreed = Agreed::default();
    check_memory(wishes, &mut agreed)?;
    check_integrity(wishes, &mut agreed)?;
    for wish in wishes {
        if wish.frames > agreed.framing.frames {
            agreed.framing.frames = wish.frames;
            agreed.frames_by.clone_from(&wish.name);
        }
        let is_possible = wish.alignment as usize <= ks_mem::MAX_ALIGNMENT;
        if !is_possible && wish.prefers() {
            agreed.notes.push(format!("{} asks for frames aligned to {}", wish.name, wish.alignment));
        } else if wish.alignment > agreed.framing.alignment {
            agreed.framing.alignment = wish.alignment;
            agreed.alignment_by.clone_from(&wish.name);
        }
    }
    if agreed.framing.frames == 0 {
        agreed.framing.frames = DEFAULT_FRAMES;
    }
    if agreed.framing.frames > MOST_FRAMES {
        agreed.notes.push(format!("{} asks for {} frames", agreed.frames_by, agreed.framing.frames));
        agreed.framing.frames = MOST_FRAMES;
    }
    if agreed.framing.alignment as usize > ks_mem::MAX_ALIGNMENT {
        let (who, most) = (&agreed.alignment_by, ks_mem::MAX_ALIGNMENT);
        return refuse(format!("{who} asks for frames aligned to {}; {most} is the most", agreed.framing.alignment));
    }
    frame_size::agree(wishes, &mut agreed)?;
    for wish in wishes.iter().filter(|wish| wish.is_foreign && wish.is(KSALLOCATOR_REQUIREMENTF_MUST_ALLOCATE)) {
        agreed.notes.push(format!("{} must allocate, and has no frames that this process could use", wish.name));
    }
    for (index, wish) in wishes.iter().enumerate().filter(|(_, wish)| !wish.is_foreign) {
        if wish.is(KSALLOCATOR_REQUIREMENTF_MUST_ALLOCATE) {
            agreed.must_allocate.push(index);
        } else if wish.is(KSALLOCATOR_FLAG_CAN_ALLOCATE) {
            agreed.can_allocate.push(index);
        }
    }
    Ok(agreed)
}

/// A wish and those before it, up to where the frames are no copies of others.
pub(super) fn same_frames(wishes: &[Wish], index: usize) -> impl Iterator<Item = &Wish> {
    std::iter::successors(wishes.get(index), |wish| if wish.is_copied { None } else { wishes.get(wish.after?) })
}

fn check_memory(wishes: &[Wish], agreed: &mut Agreed) -> Result<(), Refusal> {
    for wish in wishes.iter().filter(|wish| !wish.other_memory.is_empty()) {
        let kinds: Vec<String> = wish.other_memory.iter().map(|kind| describe::guid(*kind)).collect();
        let reason =
            format!("{} asks for memory of the type {}; there is system memory only", wish.name, kinds.join(", "));
        if !wish.prefers() {
            return Err(Refusal::new(STATUS_NOT_SUPPORTED, Aspect::Memory, reason));
        }
        agreed.notes.push(reason);
    }
    Ok(())
}

/// A pin that wants its frames kept whole, and a filter behind it that changes them.
fn check_integrity(wishes: &[Wish], agreed: &mut Agreed) -> Result<(), Refusal> {
    for (index, modified) in wishes.iter().enumerate().filter(|(_, wish)| wish.is_modified) {
        // The input of the modifying filter speaks of what comes behind itself, too.
        for before in same_frames(wishes, index).skip(1) {
            if !before.is(KSALLOCATOR_REQUIREMENTF_FRAME_INTEGRITY) {
                continue;
            }
            let reason = format!(
                "{} asks that its frames are kept as they are, and {} is of a filter that changes them in place; a branch \
                 of a tee gets copies",
                before.name, modified.name
            );
            if !before.prefers() {
                return Err(Refusal::new(STATUS_NOT_SUPPORTED, Aspect::Memory, reason));
            }
            agreed.notes.push(reason);
        }
    }
    Ok(())
}

impl Pin {
    /// What the pin asks of its allocator: its own framing, else its descriptor's, else one sample of its format.
    pub(crate) fn framing(&self) -> Framing {
        let own = self.instance().and_then(|instance| instance.framing(self));
        let declared = own.or_else(|| self.filter().pin_descriptor(self.id()).and_then(|pin| pin.framing()));
        let mut framing = declared.unwrap_or_default();
        if framing.frame_bytes == 0 {
            framing.frame_bytes = self.format().head().sample_size;
        }
        framing
    }

    /// The same in full; `None`: the pin says no more than [`Pin::framing`].
    pub(crate) fn extended_framing(&self) -> Option<ExtendedFraming> {
        self.instance()?.extended_framing(self).filter(|framing| !framing.items.is_empty())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A wish for nothing but the size of a frame.
    pub(in crate::pipe) fn wish(name: &str, bytes: u32) -> Wish {
        Wish { bytes, ..Wish::nothing(name.into()) }
    }

    fn range(least: u32, most: u32, step: u32) -> KsFramingRange {
        KsFramingRange { min_frame_size: least, max_frame_size: most, stepping: step }
    }

    /// Each behind the one before it.
    fn chain(mut wishes: Vec<Wish>) -> Vec<Wish> {
        for (index, wish) in wishes.iter_mut().enumerate() {
            wish.after = index.checked_sub(1);
        }
        wishes
    }

    fn bytes(wishes: Vec<Wish>) -> Result<u32, String> {
        agree(&chain(wishes)).map(|agreed| agreed.framing.frame_bytes).map_err(|refusal| refusal.reason)
    }

    #[test]
    fn the_largest_wish_of_each_kind_decides_and_is_named() {
        let few = Wish { frames: 3, alignment: 16, ..wish("a.0", 1000) };
        let many = Wish { frames: 12, alignment: 512, ..wish("b.0", 10) };
        let agreed = agree(&[few, many]).unwrap();
        assert_eq!(agreed.framing, Framing { frames: 12, frame_bytes: 1000, alignment: 512 });
        assert_eq!((&*agreed.frames_by, &*agreed.bytes_by, &*agreed.alignment_by), ("b.0", "a.0", "b.0"));
        assert!(agreed.notes.is_empty() && agreed.must_allocate.is_empty());
        let nothing = agree(&[wish("a.0", 5)]).unwrap();
        assert_eq!(nothing.framing, Framing { frames: 8, frame_bytes: 5, alignment: 0 }, "what nobody asks for");
        assert_eq!((&*nothing.frames_by, &*nothing.alignment_by), ("", ""));
    }

    #[test]
    fn a_size_that_a_pin_does_not_take_is_refused_with_both_pins_unless_it_only_prefers() {
        let most = |flags| Wish { range: range(16, 512, 0), flags, ..wish("b.0", 16) };
        assert_eq!(bytes(vec![wish("a.0", 512), most(0)]), Ok(512));
        let reason = bytes(vec![wish("a.0", 513), most(0)]).unwrap_err();
        assert_eq!(reason, "a.0 asks for frames of at least 513 bytes, b.0 takes at most 512");
        let agreed = agree(&[wish("a.0", 513), most(KSALLOCATOR_REQUIREMENTF_PREFERENCES_ONLY)]).unwrap();
        assert_eq!(agreed.framing.frame_bytes, 513);
        assert_eq!(agreed.notes, [reason]);
        let device = Wish { physical: range(0, 100, 1), ..wish("c.1", 0) };
        assert!(bytes(vec![wish("a.0", 101), device]).unwrap_err().contains("c.1 takes at most 100"));
    }

    #[test]
    fn a_size_is_on_a_step_of_every_pin() {
        let steps = |name, least, step| Wish { range: range(least, 10_000, step), ..wish(name, 0) };
        assert_eq!(bytes(vec![wish("a.0", 101), steps("b.0", 0, 64), steps("c.0", 0, 48)]), Ok(192));
        assert_eq!(bytes(vec![wish("a.0", 101), steps("b.0", 100, 50)]), Ok(150));
        assert_eq!(bytes(vec![steps("b.0", 100, 50)]), Ok(100), "the least");
        let reason = bytes(vec![wish("a.0", 3), steps("b.0", 0, 64), steps("c.0", 1, 64)]).unwrap_err();
        assert_eq!(reason, "no size of a frame suits all pins: b.0 in steps of 64, c.0 in steps of 64");
        let beyond = bytes(vec![wish("a.0", 9_999), steps("b.0", 0, 64)]).unwrap_err();
        assert!(beyond.contains("at least 10048 bytes, b.0 takes at most 10000"), "{beyond}");
    }

    #[test]
    fn a_buffer_holds_what_comes_in_and_what_goes_out() {
        let times = |over, under, margin| KsCompression {
            ratio_numerator: over,
            ratio_denominator: under,
            ratio_constant_margin: margin,
        };
        let output = |compression, bytes| Wish { compression, ..wish("codec.1", bytes) };
        assert_eq!(bytes(vec![wish("a.0", 100), output(times(3, 1, 0), 0), wish("b.0", 0)]), Ok(300));
        assert_eq!(bytes(vec![wish("a.0", 100), output(times(3, 2, 8), 0)]), Ok(158));
        assert_eq!(bytes(vec![wish("a.0", 300), output(times(1, 3, 0), 0), wish("b.0", 50)]), Ok(300));
        assert_eq!(bytes(vec![wish("a.0", 100), output(times(0, 0, 0), 0)]), Ok(100), "no ratio");
        // Behind a compressor less arrives.
        let small = Wish { range: range(0, 100, 0), ..wish("b.0", 0) };
        assert_eq!(bytes(vec![wish("a.0", 300), output(times(1, 3, 0), 0), small.clone()]), Ok(300));
        let reason = bytes(vec![wish("a.0", 303), output(times(1, 3, 0), 0), small]).unwrap_err();
        assert!(reason.contains("b.0 takes at most 100"), "{reason}");
        let huge = bytes(vec![wish("a.0", u32::MAX), output(times(u32::MAX, 1, u32::MAX), 0)]).unwrap_err();
        assert!(huge.contains("a.0 asks for frames"), "{huge}");
    }

    #[test]
    fn memory_of_a_device_is_refused_unless_it_is_a_preference() {
        let device = Guid::from_u128(7);
        let asks = |flags| Wish { other_memory: vec![device], flags, ..wish("card.1", 10) };
        let refusal = agree(&[asks(0)]).unwrap_err();
        assert_eq!(refusal.status, STATUS_NOT_SUPPORTED);
        assert!(refusal.reason.contains("card.1 asks for memory of the type"), "{}", refusal.reason);
        assert_eq!(agree(&[asks(KSALLOCATOR_REQUIREMENTF_PREFERENCES_ONLY)]).unwrap().notes.len(), 1);
    }

    #[test]
    fn of_several_kinds_of_memory_the_heaviest_that_a_process_has_counts() {
        let simple = |kind, weight, frames| {
            let framing = ks_abi::KsAllocatorFramingEx::simple(kind, 0, frames, 4095, 10, 20);
            KsFramingItem { memory_type_weight: weight, ..framing.framing_item[0] }
        };
        let items = vec![
            simple(Guid::from_u128(7), 9, 1),
            simple(KSMEMORY_TYPE_SYSTEM, 2, 2),
            simple(KSMEMORY_TYPE_KERNEL_NONPAGED, 3, 3),
            simple(Guid::NULL, 3, 4),
        ];
        let mut wish = wish("a.0", 0);
        wish.extend(&ExtendedFraming { compression: SAME, items: items.clone() }, KsPinDataFlow::OUT);
        assert_eq!((wish.frames, wish.alignment, wish.other_memory.len()), (3, 4096, 0));
        wish.extend(&ExtendedFraming { compression: SAME, items: items[..1].to_vec() }, KsPinDataFlow::OUT);
        assert_eq!((wish.frames, wish.other_memory.len()), (1, 1), "the first, of which nothing can be had");
    }

    #[test]
    fn an_alignment_is_a_mask_and_a_pitch_is_none() {
        let aligned = |file_alignment, flags| {
            let framing = ks_abi::KsAllocatorFramingEx::simple(Guid::NULL, flags, 0, file_alignment, 0, 0);
            alignment_of(&framing.framing_item[0])
        };
        assert_eq!([aligned(0, 0), aligned(63, 0), aligned(64, 0), aligned(4095, 0)], [1, 64, 128, 4096]);
        assert_eq!(aligned(720, KSALLOCATOR_FLAG_2D_BUFFER_REQUIRED), 0);
        let refusal = agree(&[Wish { alignment: aligned(u32::MAX, 0), ..wish("a.0", 1) }]).unwrap_err();
        assert!(refusal.reason.starts_with("a.0 asks for frames aligned to"), "{}", refusal.reason);
        let prefers = KSALLOCATOR_REQUIREMENTF_PREFERENCES_ONLY;
        let agreed = agree(&[Wish { alignment: 8192, flags: prefers, ..wish("a.0", 1) }]).unwrap();
        assert_eq!((agreed.framing.alignment, agreed.notes.len()), (0, 1));
    }

    #[test]
    fn frames_that_must_be_kept_whole_are_not_changed_behind_the_pin_that_says_so() {
        let whole = |flags| Wish { flags: KSALLOCATOR_REQUIREMENTF_FRAME_INTEGRITY | flags, ..wish("a.0", 9) };
        let modifier = Wish { is_modified: true, ..wish("b.1", 9) };
        let refusal = agree(&chain(vec![whole(0), wish("b.0", 9), modifier.clone()])).unwrap_err();
        assert_eq!(refusal.status, STATUS_NOT_SUPPORTED);
        assert!(refusal.reason.contains("a.0") && refusal.reason.contains("b.1"), "{}", refusal.reason);
        let preferred = whole(KSALLOCATOR_REQUIREMENTF_PREFERENCES_ONLY);
        assert_eq!(agree(&chain(vec![preferred, wish("b.0", 9), modifier.clone()])).unwrap().notes.len(), 1);
        // What is changed before it reaches the pin is none of its business.
        agree(&chain(vec![wish("s.0", 9), wish("b.0", 9), modifier, whole(0)])).unwrap();
        agree(&chain(vec![whole(0), wish("b.0", 9), wish("b.1", 9)])).unwrap();
    }

    #[test]
    fn who_must_allocate_is_told_by_flags_or_memory_flags() {
        let must = Wish { flags: KSALLOCATOR_REQUIREMENTF_MUST_ALLOCATE, ..wish("b.0", 9) };
        assert_eq!(agree(&[wish("a.0", 9), must]).unwrap().must_allocate, [1]);
        let framing = ks_abi::KsAllocatorFramingEx::simple(Guid::NULL, 0, 0, 0, 0, 0);
        let item = KsFramingItem { memory_flags: KSALLOCATOR_REQUIREMENTF_MUST_ALLOCATE, ..framing.framing_item[0] };
        let mut named = wish("a.0", 9);
        named.extend(&ExtendedFraming { compression: SAME, items: vec![item] }, KsPinDataFlow::IN);
        assert_eq!(agree(&[named]).unwrap().must_allocate, [0]);
    }
}
