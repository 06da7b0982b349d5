//! Whose the frames of a section are.
//!
//! Source: "AVStream allocators": a pin's own allocator may be chosen where the connection stays in kernel mode, and is not
//! initialized where it is not chosen; ns-ks-_ksallocator_dispatch. The order is decided in ADR 0072.

use super::framing::{Agreed, best_item};
use crate::allocator::{AllocatorFraming, AllocatorObject, AskedFraming, FrameSource};
use crate::descriptor::Framing;
use crate::pin::Pin;
use ks_abi::kernel::PoolType;
use ks_abi::{
    KSALLOCATOR_OPTIONF_SYSTEM_MEMORY, KSMEMORY_TYPE_KERNEL_PAGED, KsAllocatorFraming, KsState,
    STATUS_INVALID_PARAMETER, STATUS_NOT_SUPPORTED,
};
use ks_io::sync::Arc;
use ks_io::{Aspect, Refusal};
use ks_mem::FrameMemory;

/// Splitters one behind the other whose frames are looked for: a filter may be connected to itself.
const MOST_SPLITTERS: usize = 64;

/// Whose frames a section has, and why.
pub(super) struct Owner {
    /// `None`: the section makes them.
    pub(super) allocator: Option<Arc<AllocatorObject>>,
    /// The pin and the reason, for a report.
    pub(super) words: String,
}

impl Pin {
    /// Whose the frames of this head are: of the allocator that a client named; of a pin that must allocate; of one that
    /// can; the section's.
    pub(super) fn owner_of(
        self: &Arc<Pin>,
        agreed: &Agreed,
        pins: &[Arc<Pin>],
        memory: FrameMemory,
    ) -> Result<Owner, Refusal> {
        if let Some((pin, allocator)) = pins.iter().find_map(|pin| Some((pin, pin.named_allocator()?))) {
            if memory == FrameMemory::Shared {
                let reason =
                    format!("{}: an allocator object has no memory that another process can map", self.describe());
                return Err(Refusal::new(STATUS_NOT_SUPPORTED, Aspect::Memory, reason));
            }
            return Ok(Owner { allocator: Some(allocator), words: format!("{}\tnamed by a client", pin.describe()) });
        }
        let of = |pin: &Arc<Pin>, source, why| Owner {
            allocator: Some(AllocatorObject::of_pin(pin.frames_to_bring(agreed.framing), source, pin)),
            words: format!("{}\t{why}", pin.describe()),
        };
        let mut owner = Owner { allocator: None, words: format!("{}\theads the section", self.describe()) };
        if !self.has_room_for(agreed.framing) {
            // That is refused, and nobody is asked for it.
            return Ok(owner);
        }
        for pin in agreed.must_allocate.iter().filter_map(|index| pins.get(*index)) {
            match (pin.frames_for(agreed.framing, memory)?, &owner.allocator) {
                (Some(source), None) => owner = of(pin, source, "must allocate"),
                (Some(_), Some(_)) => {
                    let (first, _) = owner.words.split_once('\t').unwrap_or_default();
                    let reason = format!("{first} and {} both must allocate the frames of one pipe", pin.describe());
                    return Err(Refusal::new(STATUS_NOT_SUPPORTED, Aspect::Memory, reason));
                }
                (None, None) => {
                    let leave = if memory == FrameMemory::Shared { ", as the frames leave the process" } else { "" };
                    owner.words = format!("{}\tmust allocate, and the class driver does{leave}", pin.describe());
                }
                (None, Some(_)) => {}
            }
        }
        if agreed.must_allocate.is_empty() && memory == FrameMemory::Private {
            // One that can is asked, and the next if it has none now: nobody depends on its frames.
            let mut can = agreed.can_allocate.iter().filter_map(|index| pins.get(*index));
            let found = can.find_map(|pin| Some((pin, pin.frames_for(agreed.framing, memory).ok().flatten()?)));
            if let Some((pin, source)) = found {
                owner = of(pin, source, "can allocate");
            }
        }
        Ok(owner)
    }

    fn frames_for(
        self: &Arc<Pin>,
        agreed: Framing,
        memory: FrameMemory,
    ) -> Result<Option<Arc<dyn FrameSource>>, Refusal> {
        let framing = self.frames_to_bring(agreed);
        self.instance().map_or(Ok(None), |instance| instance.circuit_frames(self, &framing, memory))
    }

    /// What this pin is told to bring: what all agreed on, of the pool that corresponds to the memory which its framing names.
    fn frames_to_bring(&self, agreed: Framing) -> AllocatorFraming {
        let framing = self.extended_framing();
        let memory = framing.as_ref().and_then(best_item).map(|item| item.memory_type);
        let pool = if memory == Some(KSMEMORY_TYPE_KERNEL_PAGED) { PoolType::PAGED } else { PoolType::NON_PAGED };
        let Framing { frames, frame_bytes, alignment } = agreed;
        let asked = KsAllocatorFraming {
            flags: KSALLOCATOR_OPTIONF_SYSTEM_MEMORY,
            pool_type: pool.0,
            frames,
            frame_size: frame_bytes,
            file_alignment: alignment.max(1) - 1,
            ..KsAllocatorFraming::default()
        };
        AllocatorFraming { asked: AskedFraming::Plain(asked), frames, frame_bytes, alignment: alignment.max(1) }
    }

    /// What a circuit has of an allocator object that a client named, which must do for what the pins ask.
    pub(super) fn lent_framing(&self, allocator: &AllocatorObject, asked: Framing) -> Result<Framing, Refusal> {
        let has = allocator.framing();
        if has.frame_bytes < asked.frame_bytes || !has.alignment.is_multiple_of(asked.alignment.max(1)) {
            let reason = format!(
                "{}: the allocator that was named has frames of {} bytes aligned to {}; the pins need {} aligned to {}",
                self.describe(),
                has.frame_bytes,
                has.alignment,
                asked.frame_bytes,
                asked.alignment
            );
            return Err(Refusal::new(STATUS_INVALID_PARAMETER, Aspect::Memory, reason));
        }
        let frames = asked.frames.min(has.frames);
        Ok(Framing { frames, frame_bytes: has.frame_bytes, alignment: has.alignment })
    }

    /// The pin was given another allocator: a circuit that stands gives back what it had of the old one.
    pub(crate) fn give_lent_frames_back(&self) {
        if let Some(head) = self.pipe().route().head.upgrade()
            && head.agreed_state() == KsState::STOP
        {
            head.pipe().free_lent();
        }
    }

    /// This pin closes: a circuit gives back the frames that it brought, also those that travel, as they come home.
    pub(crate) fn take_frames_back(&self) {
        let head_of = |pin: &Pin| pin.pipe().route().head.upgrade();
        // Behind a splitter, the circuits that each branch or output shares.
        let heads = std::iter::successors(head_of(self), |head| {
            head_of(&*head.splitter_input().or_else(|| head.shared_from())?)
        });
        heads.take(MOST_SPLITTERS).for_each(|head| head.pipe().free_frames_of(self));
    }

    /// May a circuit have these frames?
    pub(super) fn has_room_for(&self, framing: Framing) -> bool {
        let bytes = u64::from(framing.frames) * u64::from(framing.frame_bytes);
        framing.frame_bytes > 0 && bytes <= self.filter().device().most_circuit_bytes()
    }
}
