//! What an allocator is asked for: KSALLOCATOR_FRAMING and KSALLOCATOR_FRAMING_EX, and what becomes of them.

use crate::descriptor::Framing;
use crate::pipe::is_process_memory;
use ks_abi::{
    KSALLOCATOR_FLAG_2D_BUFFER_REQUIRED, KSALLOCATOR_OPTIONF_SYSTEM_MEMORY, KSALLOCATOR_OPTIONF_VALID,
    KsAllocatorFraming, KsAllocatorFramingEx, KsFramingItem, KsFramingRange, NtStatus, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_PARAMETER,
};
use ks_io::{Aspect, Refusal};
use std::mem::offset_of;
use zerocopy::FromBytes;

/// The most frames that one allocator has out.
const MOST_FRAMES: u32 = 1024;
/// Where the items of a KSALLOCATOR_FRAMING_EX start.
const ITEMS: usize = offset_of!(KsAllocatorFramingEx, framing_item);

/// The framing that an allocator was created with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AskedFraming {
    /// By the class string of an allocator.
    #[doc(alias = "KSALLOCATOR_FRAMING")]
    Plain(KsAllocatorFraming),
    /// By that of an extended one; of several items the one that is served.
    #[doc(alias = "KSALLOCATOR_FRAMING_EX")]
    Extended(KsAllocatorFramingEx),
}

/// What an allocator was asked for, and what it does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AllocatorFraming {
    /// As it was asked for.
    pub asked: AskedFraming,
    /// The most frames that are out; above zero.
    pub frames: u32,
    /// Bytes of one frame; above zero.
    pub frame_bytes: u32,
    /// Alignment of a frame in bytes, a power of two up to 4096.
    pub alignment: u32,
}

fn refuse(status: NtStatus, aspect: Aspect, reason: impl Into<String>) -> Refusal {
    Refusal::new(status, aspect, reason)
}

/// The parameters of an allocator create: a KSALLOCATOR_FRAMING with valid options and alignment.
///
/// Decision: options outside KSALLOCATOR_OPTIONF_VALID are STATUS_INVALID_PARAMETER, as the name of that mask says.
#[doc(alias = "KsValidateAllocatorCreateRequest")]
pub fn validate_allocator_create(parameters: &[u8]) -> Result<KsAllocatorFraming, Refusal> {
    let Ok(framing) = KsAllocatorFraming::read_from_bytes(parameters) else {
        let reason = format!("a KSALLOCATOR_FRAMING has 24 bytes, the request {}", parameters.len());
        return Err(refuse(STATUS_INVALID_BUFFER_SIZE, Aspect::Request, reason));
    };
    let unknown = framing.flags & !KSALLOCATOR_OPTIONF_VALID;
    if unknown != 0 || framing.reserved != 0 {
        let reason = format!("OptionsFlags has {unknown:#x} beyond 0x3, Reserved is {:#x}", framing.reserved);
        return Err(refuse(STATUS_INVALID_PARAMETER, Aspect::Request, reason));
    }
    alignment_of_mask(framing.file_alignment)?;
    Ok(framing)
}

impl AllocatorFraming {
    /// Framing in system memory by a KSALLOCATOR_FRAMING. What it leaves open (zero) is what the pin asks for; alignment is
    /// the stricter one of the two. `most_bytes` bounds all frames together.
    ///
    /// Decision: the default allocator has nothing but system memory, so a request without
    /// KSALLOCATOR_OPTIONF_SYSTEM_MEMORY, which speaks of memory on a device, is refused.
    pub fn plain(parameters: &[u8], pin: Framing, most_bytes: u64) -> Result<AllocatorFraming, Refusal> {
        let framing = validate_allocator_create(parameters)?;
        if framing.flags & KSALLOCATOR_OPTIONF_SYSTEM_MEMORY == 0 {
            let reason = "the allocator has system memory only, and OptionsFlags does not ask for that";
            return Err(refuse(STATUS_INVALID_PARAMETER, Aspect::Memory, reason));
        }
        let alignment = alignment_of_mask(framing.file_alignment)?.max(pin.alignment);
        let frame_bytes = if framing.frame_size == 0 { pin.frame_bytes } else { framing.frame_size };
        Self::bounded(AskedFraming::Plain(framing), framing.frames, frame_bytes, alignment, most_bytes)
    }

    /// Framing by a KSALLOCATOR_FRAMING_EX: of the items whose memory the allocator has, the one with the largest
    /// MemoryTypeWeight, the first of equals. The frame size is what the pin asks for, or else the least, made to fit the
    /// item's ranges and steps.
    pub fn extended(parameters: &[u8], pin: Framing, most_bytes: u64) -> Result<AllocatorFraming, Refusal> {
        let item = best_item(parameters)?;
        let two_dimensional = item.flags & KSALLOCATOR_FLAG_2D_BUFFER_REQUIRED != 0;
        // With that flag the member is the pitch of a line.
        let asked = if two_dimensional { 1 } else { alignment_of_mask(item.file_alignment)? };
        let frame_bytes = fitting_size(&item, pin.frame_bytes)?;
        let (mut head, _) = KsAllocatorFramingEx::read_from_prefix(parameters)
            .map_err(|_| refuse(STATUS_INVALID_BUFFER_SIZE, Aspect::Request, "the framing has no item"))?;
        head.count_items = 1;
        head.framing_item = [item];
        let alignment = asked.max(pin.alignment);
        Self::bounded(AskedFraming::Extended(head), item.frames, frame_bytes, alignment, most_bytes)
    }

    fn bounded(
        asked: AskedFraming,
        frames: u32,
        frame_bytes: u32,
        alignment: u32,
        most_bytes: u64,
    ) -> Result<AllocatorFraming, Refusal> {
        if frame_bytes == 0 {
            let reason = "neither the framing nor the pin says how large a frame is";
            return Err(refuse(STATUS_INVALID_PARAMETER, Aspect::Memory, reason));
        }
        if alignment as usize > ks_mem::MAX_ALIGNMENT {
            let most = ks_mem::MAX_ALIGNMENT;
            let reason = format!("the pin asks for frames aligned to {alignment} bytes; {most} is the most");
            return Err(refuse(STATUS_INVALID_PARAMETER, Aspect::Memory, reason));
        }
        let room = u32::try_from(most_bytes / u64::from(frame_bytes)).unwrap_or(u32::MAX).min(MOST_FRAMES);
        // Zero: as many as there may be.
        let frames = if frames == 0 { room } else { frames };
        if frames > room || frames == 0 {
            let reason = format!(
                "{frames} frames of {frame_bytes} bytes; an allocator has at most {MOST_FRAMES} of {most_bytes} bytes \
                 together"
            );
            return Err(refuse(STATUS_INSUFFICIENT_RESOURCES, Aspect::Memory, reason));
        }
        Ok(AllocatorFraming { asked, frames, frame_bytes, alignment: alignment.max(1) })
    }
}

/// An alignment in bytes of its mask (`FILE_*_ALIGNMENT`).
fn alignment_of_mask(mask: u32) -> Result<u32, Refusal> {
    match mask.checked_add(1) {
        Some(alignment) if alignment.is_power_of_two() && alignment as usize <= ks_mem::MAX_ALIGNMENT => Ok(alignment),
        _ => {
            let reason = format!("FileAlignment {mask:#x} is no mask of an alignment up to 4096");
            Err(refuse(STATUS_INVALID_PARAMETER, Aspect::Memory, reason))
        }
    }
}

fn best_item(parameters: &[u8]) -> Result<KsFramingItem, Refusal> {
    let short = || {
        let reason = format!("a KSALLOCATOR_FRAMING_EX with its items does not fit {} bytes", parameters.len());
        refuse(STATUS_INVALID_BUFFER_SIZE, Aspect::Request, reason)
    };
    let (count, _) = u32::read_from_prefix(parameters).map_err(|_| short())?;
    let items = parameters.get(ITEMS..).ok_or_else(short)?;
    if items.len() / size_of::<KsFramingItem>() < count as usize {
        return Err(short());
    }
    let items = items.chunks_exact(size_of::<KsFramingItem>()).take(count as usize);
    let mut best: Option<KsFramingItem> = None;
    for item in items.filter_map(|bytes| KsFramingItem::read_from_bytes(bytes).ok()) {
        let better = best.is_none_or(|best| item.memory_type_weight > best.memory_type_weight);
        if is_process_memory(item.memory_type) && better {
            best = Some(item);
        }
    }
    best.ok_or_else(|| {
        let reason = format!("none of {count} framing items is for system memory");
        refuse(STATUS_INVALID_PARAMETER, Aspect::Memory, reason)
    })
}

/// A frame size in both ranges of an item, on the steps of the wanted one, as near above `wish` as they allow.
fn fitting_size(item: &KsFramingItem, wish: u32) -> Result<u32, Refusal> {
    let (wanted, physical) = (item.framing_range.range, item.physical_range);
    let no_size = || {
        let reason = format!("no frame size fits {} and {}", words(&wanted), words(&physical));
        refuse(STATUS_INVALID_PARAMETER, Aspect::Memory, reason)
    };
    let bounds = |range: &KsFramingRange| match range.max_frame_size {
        // No requirement.
        0 => (0, u32::MAX),
        most => (range.min_frame_size, most),
    };
    let ((least, most), (physical_least, physical_most)) = (bounds(&wanted), bounds(&physical));
    if least > most || wanted.stepping > (most - least).max(1) {
        return Err(no_size());
    }
    let (low, high) = (least.max(physical_least), most.min(physical_most));
    let wish = if wish == 0 { low } else { wish };
    if low > high {
        return Err(no_size());
    }
    let step = u64::from(wanted.stepping.max(1));
    let steps = |to: u32, up: u64| (u64::from(to) - u64::from(least) + up) / step;
    let size_of_steps = |steps: u64| u64::from(least) + steps * step;
    let above = size_of_steps(steps(wish.clamp(low, high), step - 1));
    let size = if above > u64::from(high) { size_of_steps(steps(high, 0)) } else { above };
    match u32::try_from(size) {
        Ok(size) if size >= low => Ok(size),
        _ => Err(no_size()),
    }
}

fn words(range: &KsFramingRange) -> String {
    format!("{}..={} by {}", range.min_frame_size, range.max_frame_size, range.stepping)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ks_abi::Guid;

    fn item(least: u32, most: u32, step: u32, physical: (u32, u32)) -> KsFramingItem {
        let simple = KsAllocatorFramingEx::simple(Guid::NULL, 0, 0, 0, least, most);
        let mut item = simple.framing_item[0];
        item.framing_range.range.stepping = step;
        (item.physical_range.min_frame_size, item.physical_range.max_frame_size) = physical;
        item
    }

    #[test]
    fn a_frame_size_lies_in_both_ranges_and_on_a_step() {
        let size = |item: KsFramingItem, wish| fitting_size(&item, wish).map_err(|refusal| refusal.status);
        let free = (0, u32::MAX);
        assert_eq!(size(item(100, 1000, 50, free), 120), Ok(150));
        assert_eq!(size(item(100, 1000, 50, free), 0), Ok(100), "the least, if the pin does not care");
        assert_eq!(size(item(100, 1000, 50, free), 5000), Ok(1000));
        assert_eq!(size(item(100, 1010, 50, free), 1005), Ok(1000), "the last step");
        assert_eq!(size(item(64, 64, 1, free), 7), Ok(64));
        assert_eq!(size(item(0, 0, 0, free), 7), Ok(7), "no requirement");
        assert_eq!(size(item(100, 1000, 50, (170, 380)), 0), Ok(200));
        assert_eq!(size(item(100, 1000, 50, (170, 380)), 900), Ok(350));
        for impossible in [
            item(100, 1000, 50, (170, 180)),
            item(100, 1000, 50, (1001, 2000)),
            item(1000, 100, 1, free),
            item(100, 200, 101, free),
        ] {
            assert_eq!(size(impossible, 0), Err(STATUS_INVALID_PARAMETER), "{impossible:?}");
        }
        assert_eq!(size(item(1, u32::MAX, u32::MAX - 1, free), u32::MAX), Ok(u32::MAX));
    }
}
