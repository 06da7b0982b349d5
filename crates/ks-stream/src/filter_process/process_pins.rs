//! The process pins of one call of a filter's process callback.

use crate::descriptor::{PinFlags, PinId};
use crate::pin::Pin;
use crate::queue::Eject;
use crate::stream_pointer::Locked;
use ks_abi::KsPinDataFlow;
use ks_io::StreamFrame;
use ks_io::sync::Arc;
use ks_mem::Block;
use std::cell::{Cell, Ref, RefCell};
use std::ops::Deref;

/// Bytes of a `KSPROCESSPIN`.
pub(super) const BLOCK_BYTES: usize = offset::BYTES;

/// Offsets of `KSPROCESSPIN`.
mod offset {
    pub(super) const PIN: usize = 0;
    pub(super) const STREAM_POINTER: usize = 8;
    pub(super) const IN_PLACE_COUNTERPART: usize = 16;
    pub(super) const DELEGATE_BRANCH: usize = 24;
    pub(super) const COPY_SOURCE: usize = 32;
    pub(super) const DATA: usize = 40;
    pub(super) const BYTES_AVAILABLE: usize = 48;
    pub(super) const BYTES_USED: usize = 52;
    pub(super) const FLAGS: usize = 56;
    pub(super) const TERMINATE: usize = 60;
    pub(super) const BYTES: usize = 64;
}

/// One pin in a call of the process callback, with the frame that stands at its leading edge.
#[doc(alias = "KSPROCESSPIN")]
pub struct ProcessPin<'r> {
    pub(super) pin: &'r Arc<Pin>,
    pub(super) block: Arc<Block>,
    /// `None`: no frame, or the output of a filter that works in place.
    pub(super) locked: RefCell<Option<Locked<'r>>>,
    /// Index of the other pin that has the same frame.
    pub(super) counterpart: Option<usize>,
    /// A later output of a splitter, of which the class driver takes care: how its frames relate to those of which.
    pub(super) follows: Option<(CopyRelationship, usize)>,
}

/// How the frames of an output of a splitter come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyRelationship {
    /// They are those of the other output, under another header.
    #[doc(alias = "DelegateBranch")]
    Delegated,
    /// They are copies of those of the other output.
    #[doc(alias = "CopySource")]
    Copied,
}

/// The frame of a process pin, until it is given up. [`ProcessPins::update`] does nothing meanwhile.
pub struct ProcessFrame<'p>(Ref<'p, StreamFrame>);

impl Deref for ProcessFrame<'_> {
    type Target = StreamFrame;

    fn deref(&self) -> &StreamFrame {
        &self.0
    }
}

impl ProcessPin<'_> {
    /// The pin.
    pub fn pin(&self) -> &Arc<Pin> {
        self.pin
    }

    /// Address of the KSPROCESSPIN, as a driver is lent it.
    pub fn address(&self) -> u64 {
        self.block.address()
    }

    /// Bytes to be read, or room to be filled.
    #[doc(alias = "BytesAvailable")]
    pub fn bytes_available(&self) -> u32 {
        self.block.load_u32(offset::BYTES_AVAILABLE)
    }

    /// Options of the input frame.
    #[doc(alias = "Flags")]
    pub fn flags(&self) -> u32 {
        self.block.load_u32(offset::FLAGS)
    }

    /// So many bytes were read or written.
    #[doc(alias = "BytesUsed")]
    pub fn set_bytes_used(&self, bytes: u32) {
        self.block.store_u32(offset::BYTES_USED, bytes);
    }

    /// The frame goes on after this call, whether it is used up or not.
    #[doc(alias = "Terminate")]
    pub fn terminate(&self) {
        self.block.store_u8(offset::TERMINATE, 1);
    }

    fn bytes_used(&self) -> u32 {
        self.block.load_u32(offset::BYTES_USED).min(self.bytes_available())
    }

    fn is_terminated(&self) -> bool {
        self.block.load_u8(offset::TERMINATE) != 0
    }
}

/// The pins that take part in one call of the process callback.
#[doc(alias = "KSPROCESSPIN_INDEXENTRY")]
pub struct ProcessPins<'r> {
    /// In the order of their pin ids.
    pub(super) entries: Vec<ProcessPin<'r>>,
    pub(super) takes_empty_frames: bool,
    /// Something was consumed by an update.
    pub(super) progress: Cell<bool>,
}

impl<'r> ProcessPins<'r> {
    /// The process pins of one factory; none while its pins are stopped.
    pub fn of(&self, id: PinId) -> impl Iterator<Item = &ProcessPin<'r>> {
        self.entries.iter().filter(move |entry| entry.pin.id() == id)
    }

    /// All of them, in the order of their pin ids.
    pub fn iter(&self) -> impl Iterator<Item = &ProcessPin<'r>> {
        self.entries.iter()
    }

    /// The frame of a process pin: its own, or the one that it shares with its counterpart.
    pub fn frame(&self, entry: &ProcessPin<'_>) -> Option<ProcessFrame<'_>> {
        let locked = self.holder(entry)?.locked.try_borrow().ok()?;
        Ref::filter_map(locked, |locked| locked.as_deref()).ok().map(ProcessFrame)
    }

    /// Takes from a process pin what was used of it, as it is taken when the callback returns, and gives it what comes next:
    /// the rest of its frame, or another. True when it may be processed as its descriptor says; false while its frame is
    /// still held, and for a stopped pin.
    ///
    /// Frames that go on leave when the callback returns. Source: nf-ks-ksprocesspinupdate.
    #[doc(alias = "KsProcessPinUpdate")]
    pub fn update(&self, entry: &ProcessPin<'_>) -> bool {
        let Some(holder) = self.holder(entry) else { return false };
        let Ok(mut held) = holder.locked.try_borrow_mut() else { return false };
        if let Some(locked) = held.take() {
            let progress = self.consume(holder, locked);
            self.progress.set(self.progress.get() || progress);
        }
        if holder.pin.is_processing() {
            *held = holder.pin.leading_edge();
        }
        drop(held);
        for one in &self.entries {
            if self.holder(one).is_some_and(|its| std::ptr::eq(its, holder)) {
                self.fill(one);
            }
        }
        if holder.is_bypassed() && !self.takes_empty_frames {
            // It goes by the minidriver when the callback has returned.
            *holder.locked.borrow_mut() = None;
            self.fill(holder);
        }
        self.may_process(holder)
    }

    /// [`ProcessPins::update`] of the process pin at this address; `None`: there is none.
    pub fn update_at(&self, address: u64) -> Option<bool> {
        let entry = self.entries.iter().find(|entry| entry.address() == address)?;
        Some(self.update(entry))
    }

    /// Has a process pin what its descriptor says that it needs?
    fn may_process(&self, entry: &ProcessPin<'_>) -> bool {
        let has_frame = |entry: &ProcessPin<'_>| entry.locked.borrow().is_some();
        let flags = entry.pin.flags();
        let of_factory = |flag| flags.contains(flag) && entry.pin.is_processing();
        has_frame(entry)
            || of_factory(PinFlags::FRAMES_NOT_REQUIRED_FOR_PROCESSING)
            || (of_factory(PinFlags::SOME_FRAMES_REQUIRED_FOR_PROCESSING) && self.of(entry.pin.id()).any(has_frame))
    }

    /// How the frames of this output of a splitter come about, if the class driver takes care of it; and of which output.
    pub fn follows<'p>(&'p self, entry: &ProcessPin<'_>) -> Option<(CopyRelationship, &'p ProcessPin<'r>)> {
        let (relationship, index) = entry.follows?;
        Some((relationship, self.entries.get(index)?))
    }

    /// Do these two share one frame that is changed in place?
    #[doc(alias = "InPlaceCounterpart")]
    pub fn in_place(&self, input: &ProcessPin<'_>, output: &ProcessPin<'_>) -> bool {
        let named = input.counterpart.and_then(|index| self.entries.get(index));
        named.is_some_and(|named| Arc::ptr_eq(named.pin, output.pin))
    }

    fn holder<'p>(&'p self, entry: &ProcessPin<'_>) -> Option<&'p ProcessPin<'r>> {
        let known = self.entries.iter().find(|known| Arc::ptr_eq(known.pin, entry.pin))?;
        if known.counterpart.is_none() && known.follows.is_some() {
            // Its frames are the class driver's affair.
            return None;
        }
        // The output of a filter that works in place has no frame of its own.
        match known.counterpart {
            Some(other) if known.pin.data_flow() == KsPinDataFlow::OUT => self.entries.get(other),
            _ => Some(known),
        }
    }
}

impl ProcessPin<'_> {
    /// An input frame without data.
    pub(super) fn is_bypassed(&self) -> bool {
        self.pin.data_flow() == KsPinDataFlow::IN && self.locked.borrow().is_some() && self.bytes_available() == 0
    }
}

impl ProcessPins<'_> {
    /// Writes the public block of one process pin.
    pub(super) fn fill(&self, entry: &ProcessPin<'_>) {
        let block = &entry.block;
        let output = entry.pin.data_flow() == KsPinDataFlow::OUT;
        block.store_u64(offset::PIN, entry.pin.address());
        let address_of =
            |index: Option<usize>| index.and_then(|at| self.entries.get(at)).map_or(0, ProcessPin::address);
        let counterpart = if entry.follows.is_none() { entry.counterpart } else { None };
        block.store_u64(offset::IN_PLACE_COUNTERPART, address_of(counterpart));
        let follows = |one| entry.follows.filter(|(relationship, _)| *relationship == one).map(|(_, first)| first);
        block.store_u64(offset::DELEGATE_BRANCH, address_of(follows(CopyRelationship::Delegated)));
        block.store_u64(offset::COPY_SOURCE, address_of(follows(CopyRelationship::Copied)));
        let place = self.holder(entry).and_then(|holder| {
            let locked = holder.locked.borrow();
            let locked = locked.as_ref()?;
            Some(locked.place(if output { KsPinDataFlow::OUT } else { KsPinDataFlow::IN }))
        });
        let place = place.unwrap_or_default();
        block.store_u64(offset::STREAM_POINTER, place.pointer);
        block.store_u64(offset::DATA, place.data);
        block.store_u32(offset::BYTES_AVAILABLE, place.remaining);
        block.store_u32(offset::BYTES_USED, 0);
        let flags = entry.locked.borrow().as_ref().filter(|_| !output).map_or(0, |frame| frame.options_flags());
        block.store_u32(offset::FLAGS, flags);
        block.store_u8(offset::TERMINATE, 0);
    }
}

impl ProcessPins<'_> {
    /// Takes from one process pin what the driver used, and lets go of its frame if it is done. True when something was
    /// consumed.
    fn consume(&self, entry: &ProcessPin<'_>, locked: Locked<'_>) -> bool {
        let (used, mut terminated) = (entry.bytes_used(), entry.is_terminated());
        let output = entry.pin.data_flow() == KsPinDataFlow::OUT;
        // Of a frame without data all is used.
        terminated |= !output && entry.bytes_available() == 0;
        if let Some(counterpart) = entry.counterpart.and_then(|other| self.entries.get(other)) {
            // One frame: the output says how much of it is valid, and either lets it go.
            let written = counterpart.bytes_used();
            terminated |= counterpart.is_terminated() || used == entry.bytes_available();
            if terminated {
                locked.set_data_used(written);
            }
        }
        let (in_bytes, out_bytes) = if output { (0, used) } else { (used, 0) };
        let eject = if terminated { Eject::Next } else { Eject::Stay };
        locked.consume(in_bytes, out_bytes, eject);
        used > 0 || terminated
    }
}

/// Takes from each process pin what the driver used, and lets go of the frames that are done. True when something was
/// consumed.
pub(super) fn settle(pins: &ProcessPins<'_>) -> bool {
    let mut progress = false;
    for entry in &pins.entries {
        if let Some(locked) = entry.locked.take() {
            progress |= pins.consume(entry, locked);
        }
    }
    progress
}
