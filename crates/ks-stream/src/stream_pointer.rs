//! Stream pointers: a driver's place in a queue.
//!
//! A [`Locked`] pointer is the leading edge on a frame that cannot go away; it gives access to the frame's header and
//! bytes. A [`ClonePointer`] stays on its frame while the leading edge moves on, and keeps the frame's request from
//! completing until it is dropped.

use crate::mapping::{AdapterSlot, Mapping, MappingTable};
use crate::pin::Pin;
use crate::queue::{Eject, FrameRequest, LockedFrame, Moved, PointerId, Queue, Step};
use crate::verifier;
use ks_abi::{KsPinDataFlow, NtStatus, STATUS_INSUFFICIENT_RESOURCES};
use ks_io::sync::Arc;
use ks_io::{StreamFrame, Ticks};
use ks_mem::Block;
use std::ops::Deref;

/// The public part of a stream pointer, at the offsets of `KSSTREAM_POINTER`.
pub(crate) struct PointerBlock {
    block: Block,
    /// The frame that the offsets belong to; `u64::MAX`: none yet.
    sequence: u64,
    units: Units,
    /// The mappings of the frame, where the offsets count those.
    mappings: Option<Arc<MappingTable>>,
}

/// What the offsets of a queue's pointers count.
#[derive(Clone)]
pub(crate) enum Units {
    Bytes,
    Mappings(Arc<AdapterSlot>),
}

mod offset {
    pub(super) const CONTEXT: usize = 0;
    pub(super) const PIN: usize = 8;
    pub(super) const OFFSET: usize = 24;
    pub(super) const STREAM_HEADER: usize = 16;
    pub(super) const OFFSET_IN: usize = 32;
    pub(super) const OFFSET_OUT: usize = 48;
    // Inside KSSTREAM_POINTER_OFFSET.
    pub(super) const COUNT: usize = 8;
    pub(super) const REMAINING: usize = 12;
}

pub(crate) const STREAM_POINTER_BYTES: usize = 64;

impl PointerBlock {
    pub(crate) fn new(units: Units) -> Result<PointerBlock, NtStatus> {
        let block = Block::zeroed(STREAM_POINTER_BYTES, 16).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        Ok(PointerBlock { block, sequence: u64::MAX, units, mappings: None })
    }

    /// A clone's block: the same frame and offsets, as they are now, and room for the driver behind them.
    pub(crate) fn copy_of(other: &PointerBlock, context_bytes: usize) -> Result<PointerBlock, NtStatus> {
        let bytes = STREAM_POINTER_BYTES.checked_add(context_bytes).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        let block = Block::zeroed(bytes, 16).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        let mut bytes = [0; STREAM_POINTER_BYTES];
        other.block.read_bytes(0, &mut bytes);
        block.write_bytes(0, &bytes);
        let (units, mappings) = (other.units.clone(), other.mappings.clone());
        Ok(PointerBlock { block, sequence: other.sequence, units, mappings })
    }

    /// Address of the block.
    pub(crate) fn address(&self) -> u64 {
        self.block.address()
    }

    /// Address of the block, whose links to its pin, its context and its own offsets are now written.
    pub(crate) fn lend(&self, pin: u64, data_sink: bool, context_bytes: usize) -> u64 {
        let address = self.block.address();
        let context = if context_bytes > 0 { address + STREAM_POINTER_BYTES as u64 } else { 0 };
        self.block.store_u64(offset::CONTEXT, context);
        self.block.store_u64(offset::PIN, pin);
        let own = if data_sink { offset::OFFSET_IN } else { offset::OFFSET_OUT };
        self.block.store_u64(offset::OFFSET, address + own as u64);
        address
    }

    /// Stands on a frame: offsets start anew, unless it is the frame that it stood on before.
    #[inline]
    pub(crate) fn stand_on(&mut self, frame: &StreamFrame, sequence: u64, data_sink: bool) {
        if self.sequence == sequence {
            return;
        }
        self.sequence = sequence;
        if let Units::Mappings(adapter) = &self.units {
            let bytes = if data_sink { frame.data_used() } else { frame.frame_extent() };
            self.mappings = MappingTable::of(frame, bytes, adapter).map(Arc::new);
            return self.stand_on_mappings(frame);
        }
        let data = frame.buffer().map_or(0, |buffer| buffer.address());
        let used = frame.data_used();
        let extent = frame.frame_extent();
        self.block.store_u64(offset::STREAM_HEADER, frame.header_address());
        self.block.store_u64(offset::OFFSET_IN, data);
        self.block.store_u64(offset::OFFSET_IN + offset::COUNT, u64::from(used) << 32 | u64::from(used));
        self.block.store_u64(offset::OFFSET_OUT, data);
        self.block.store_u64(offset::OFFSET_OUT + offset::COUNT, u64::from(extent) << 32 | u64::from(extent));
    }

    /// Without mappings there is nothing to count.
    #[cold]
    fn stand_on_mappings(&mut self, frame: &StreamFrame) {
        let (table, count) = self.mappings.as_ref().map_or((0, 0), |table| (table.address(), table.count()));
        self.block.store_u64(offset::STREAM_HEADER, frame.header_address());
        for at in [offset::OFFSET_IN, offset::OFFSET_OUT] {
            self.block.store_u64(at, table);
            self.block.store_u64(at + offset::COUNT, u64::from(count) << 32 | u64::from(count));
        }
    }

    /// Moves the offsets by bytes or mappings, never past the end of the frame. Returns what remains in the pin's own
    /// direction.
    ///
    /// Decision: on an output pin DataUsed becomes what the offset has passed, Count minus Remaining in bytes. Where bytes
    /// are counted the driver is responsible for it: a value that it has written is left as it is (decision 0136).
    pub(crate) fn advance(&mut self, frame: &StreamFrame, in_bytes: u32, out_bytes: u32, data_sink: bool) -> u32 {
        self.step(offset::OFFSET_IN, in_bytes);
        if data_sink {
            self.step(offset::OFFSET_OUT, out_bytes);
        } else {
            let before = self.passed_at(offset::OFFSET_OUT);
            self.step(offset::OFFSET_OUT, out_bytes);
            let passed = self.passed_at(offset::OFFSET_OUT);
            if passed != before && (self.mappings.is_some() || frame.data_used() == before) {
                frame.set_data_used(passed);
            }
        }
        self.remaining(data_sink)
    }

    /// Moves one offset.
    fn step(&mut self, at: usize, units: u32) {
        let remaining = self.block.load_u32(at + offset::REMAINING);
        let units = units.min(remaining);
        let stride = self.mappings.as_ref().map_or(1, |table| u64::from(table.stride()));
        self.block.store_u64(at, self.block.load_u64(at) + u64::from(units) * stride);
        self.block.store_u32(at + offset::REMAINING, remaining - units);
    }

    /// Bytes that one offset has passed.
    fn passed_at(&self, at: usize) -> u32 {
        let count = self.block.load_u32(at + offset::COUNT);
        let units = count.saturating_sub(self.block.load_u32(at + offset::REMAINING));
        self.mappings.as_ref().map_or(units, |table| table.bytes(0, units))
    }

    /// Where the pointer stands, for a pin of this direction.
    pub(crate) fn place(&self, flow: KsPinDataFlow) -> Place {
        let at = if flow == KsPinDataFlow::OUT { offset::OFFSET_OUT } else { offset::OFFSET_IN };
        Place {
            pointer: self.block.address(),
            data: self.block.load_u64(at),
            remaining: self.block.load_u32(at + offset::REMAINING),
        }
    }

    /// The mappings that the offset of this direction has not passed.
    pub(crate) fn mappings(&self, data_sink: bool) -> Vec<Mapping> {
        let remaining = self.remaining(data_sink);
        let list = |table: &Arc<MappingTable>| table.list(table.count().saturating_sub(remaining));
        self.mappings.as_ref().map_or_else(Vec::new, list)
    }

    /// Bytes of a frame that the offsets have passed, of input and of output.
    pub(crate) fn passed(&self, sequence: u64) -> (u32, u32) {
        if self.sequence != sequence {
            return (0, 0);
        }
        (self.passed_at(offset::OFFSET_IN), self.passed_at(offset::OFFSET_OUT))
    }

    pub(crate) fn remaining(&self, data_sink: bool) -> u32 {
        let at = if data_sink { offset::OFFSET_IN } else { offset::OFFSET_OUT };
        self.block.load_u32(at + offset::REMAINING)
    }
}

/// Where a stream pointer stands.
#[derive(Clone, Copy, Default)]
pub(crate) struct Place {
    /// Address of its KSSTREAM_POINTER.
    pub(crate) pointer: u64,
    /// Address of the next byte.
    pub(crate) data: u64,
    /// Bytes from there on.
    pub(crate) remaining: u32,
}

/// The leading edge of a pin's queue, locked on a frame: the frame cannot be cancelled and its header can be read and
/// written through [`StreamFrame`]. Dropping it unlocks the edge where it is.
#[doc(alias = "KSSTREAM_POINTER")]
pub struct Locked<'p> {
    pin: &'p Arc<Pin>,
    queue: &'p Queue,
    /// `None` only while it is being given up.
    held: Option<LockedFrame>,
}

impl<'p> Locked<'p> {
    #[inline]
    pub(crate) fn lead(pin: &'p Arc<Pin>) -> Option<Locked<'p>> {
        let queue = pin.queue()?;
        let held = queue.lock_leading()?;
        Some(Locked { pin, queue, held: Some(held) })
    }

    #[inline]
    fn moved(pin: &'p Arc<Pin>, queue: &'p Queue, moved: Moved) -> Option<Locked<'p>> {
        pin.send_outgoing_if(moved.flush);
        let held = moved.locked?;
        Some(Locked { pin, queue, held: Some(held) })
    }

    /// Lets the frame go and locks the next one; `None` at the end of the queue.
    // ks-coverage: KsStreamPointerAdvance done test=the_leading_edge_locks_advances_ejects_and_stays,stream_pointers_lock_move_clone_and_time_out
    #[doc(alias = "KsStreamPointerAdvance")]
    #[inline(always)]
    pub fn advance(mut self) -> Option<Locked<'p>> {
        let (pin, queue) = (self.pin, self.queue);
        let held = self.held.take()?;
        if verifier::is_enabled() {
            verifier::frame_goes(pin, held.frame());
        }
        // Nothing is left to drop.
        std::mem::forget(self);
        queue.step_leading(held).map(|held| Locked { pin, queue, held: Some(held) })
    }

    /// Lets the frame go and unlocks the edge.
    // ks-coverage: KsStreamPointerUnlock done test=the_leading_edge_locks_advances_ejects_and_stays,stream_pointers_lock_move_clone_and_time_out
    #[doc(alias = "KsStreamPointerUnlock")]
    pub fn eject(mut self) {
        if let Some(held) = self.held.take() {
            if verifier::is_enabled() {
                verifier::frame_goes(self.pin, held.frame());
            }
            let flush = self.queue.unlock_leading(held, Eject::Next);
            self.pin.send_outgoing_if(flush);
        }
    }

    /// Moves on by bytes, or by mappings where the pin generates them: `in_bytes` consumed of an input frame, `out_bytes`
    /// produced in an output frame, whose DataUsed follows, unless the driver has written another. When nothing remains of
    /// the frame the edge goes to the next one, at most one. `None`: there is no next frame, and the edge is unlocked.
    // ks-coverage: KsStreamPointerAdvanceOffsets done test=offsets_of_an_output_raise_the_used_bytes_and_move_on_when_nothing_remains,used_bytes_that_a_driver_writes_into_a_header_are_not_added_to,offsets_of_an_input_follow_its_valid_bytes,offsets_of_a_driver_go_over_the_end_of_a_request
    #[doc(alias = "KsStreamPointerAdvanceOffsets")]
    pub fn advance_offsets(mut self, in_bytes: u32, out_bytes: u32) -> Option<Locked<'p>> {
        let (pin, queue) = (self.pin, self.queue);
        let held = self.held.take()?;
        match queue.advance_leading_offsets(held, in_bytes, out_bytes) {
            Ok(moved) => Locked::moved(pin, queue, moved),
            Err(held) => {
                self.held = Some(held);
                Some(self)
            }
        }
    }

    /// Moves on by bytes, and to the next frame if nothing remains or `eject` says so; unlocks the edge.
    pub(crate) fn consume(mut self, in_bytes: u32, out_bytes: u32, eject: Eject) {
        if let Some(held) = self.held.take() {
            let flush = self.queue.consume_leading(held, in_bytes, out_bytes, eject);
            self.pin.send_outgoing_if(flush);
        }
    }

    /// Where the edge stands, as a pin of this direction sees it.
    pub(crate) fn place(&self, flow: KsPinDataFlow) -> Place {
        self.held.as_ref().map_or_else(Place::default, |held| self.queue.leading_place(held, flow))
    }

    /// Bytes, or mappings, of the frame that the offset has not passed, in the direction of the pin.
    pub fn remaining(&self) -> u32 {
        self.held.as_ref().map_or(0, |held| self.queue.leading_remaining(held))
    }

    /// The mappings of the frame that the offset has not passed; of a pin with
    /// [`crate::PinFlags::GENERATE_MAPPINGS`].
    pub fn mappings(&self) -> Vec<Mapping> {
        self.held.as_ref().map_or_else(Vec::new, |held| self.queue.leading_mappings(held))
    }

    /// A second pointer on the same frame, locked like this one.
    // ks-coverage: KsStreamPointerClone done test=a_clone_keeps_the_request_after_the_edge_has_moved_on,stream_pointers_lock_move_clone_and_time_out
    #[doc(alias = "KsStreamPointerClone")]
    pub fn clone_pointer(&self) -> Option<ClonePointer> {
        let (id, frame) = self.queue.clone_leading(self.held.as_ref()?, 0)?;
        Some(ClonePointer { pin: self.pin.clone(), id, locked: Some(frame), context_bytes: 0 })
    }

    /// The status with which the frame's request will complete.
    // ks-coverage: KsStreamPointerSetStatusCode done test=a_status_code_is_what_the_request_completes_with,a_status_code_of_a_driver_is_what_its_request_completes_with
    #[doc(alias = "KsStreamPointerSetStatusCode")]
    pub fn set_status_code(&self, status: NtStatus) {
        self.queue.set_status_code(status);
    }
}

impl Deref for Locked<'_> {
    type Target = StreamFrame;

    #[inline]
    fn deref(&self) -> &StreamFrame {
        self.held.as_ref().expect("invariant: only giving the pointer up takes its frame").frame()
    }
}

impl Drop for Locked<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            let flush = self.queue.unlock_leading(held, Eject::Stay);
            self.pin.send_outgoing_if(flush);
        }
    }
}

/// Number of a clone on its pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CloneId(pub(crate) u64);

/// What leaves the queue of a pin because of a clone. Whose request it was may be completed, and the next pin called:
/// nothing of that happens before it is sent, which is for a thread that holds no lock.
#[derive(Debug)]
#[must_use = "what leaves is to be sent"]
pub struct Leaving(Option<Arc<Pin>>);

impl Leaving {
    /// Both go at once.
    pub fn and(self, other: Leaving) -> Leaving {
        Leaving(self.0.or(other.0))
    }

    /// Sends it, if there is anything.
    pub fn send(self) {
        if let Some(pin) = self.0 {
            pin.send_outgoing();
        }
    }
}

/// A pointer that stays on one frame. Dropping it deletes it; the frame leaves when nothing else holds it.
///
/// It is made locked. Unlocked, its frame may be cancelled: then [`crate::PinInstance::clone_cancelled`] names it.
pub struct ClonePointer {
    pin: Arc<Pin>,
    id: CloneId,
    locked: Option<Arc<StreamFrame>>,
    context_bytes: usize,
}

impl ClonePointer {
    /// Its number, as [`crate::PinInstance::clone_cancelled`] names it.
    pub fn id(&self) -> CloneId {
        self.id
    }

    /// A clone that was just made in the pin's queue.
    pub(crate) fn made(
        pin: Arc<Pin>,
        id: CloneId,
        locked: Option<Arc<StreamFrame>>,
        context_bytes: usize,
    ) -> ClonePointer {
        ClonePointer { pin, id, locked, context_bytes }
    }

    /// Address of the KSSTREAM_POINTER, as a driver is lent it; its context is behind it.
    pub fn address(&self) -> u64 {
        let queue = self.pin.queue();
        queue.and_then(|queue| queue.lend_clone(self.id, self.pin.address(), self.context_bytes)).unwrap_or(0)
    }

    /// True while the frame cannot be cancelled.
    pub fn is_locked(&self) -> bool {
        self.locked.is_some()
    }

    /// Another clone on the same frame, locked as this one, with room for the driver behind its block.
    #[doc(alias = "KsStreamPointerClone")]
    pub fn clone_pointer(&self, context_bytes: usize) -> Option<ClonePointer> {
        let (id, locked) = self.pin.queue()?.clone_clone(self.id, context_bytes)?;
        Some(ClonePointer::made(self.pin.clone(), id, locked, context_bytes))
    }

    /// Moves to the next frame and stays locked if it was. Behind the last frame it stands on the one that comes next,
    /// and is not locked.
    #[doc(alias = "KsStreamPointerAdvance")]
    pub fn advance(&mut self) -> Step {
        let (step, leaving) = self.advance_holding();
        leaving.send();
        step
    }

    /// [`ClonePointer::advance`], for one who holds a lock: what leaves is to be sent without it.
    pub fn advance_holding(&mut self) -> (Step, Leaving) {
        let Some(queue) = self.pin.queue() else { return (Step::AtEnd, Leaving(None)) };
        let (frame, flush) = queue.advance_clone(self.id);
        let step = if frame.is_some() { Step::OnFrame } else { Step::AtEnd };
        self.locked = if self.locked.is_some() { frame } else { None };
        (step, self.leaving(flush))
    }

    fn leaving(&self, flush: bool) -> Leaving {
        Leaving(flush.then(|| self.pin.clone()))
    }

    /// The status with which the frame's request will complete.
    #[doc(alias = "KsStreamPointerSetStatusCode")]
    pub fn set_status_code(&self, status: NtStatus) {
        if let Some(queue) = self.pin.queue() {
            queue.set_clone_status(self.id, status);
        }
    }

    /// The request of the frame.
    #[doc(alias = "KsStreamPointerGetIrp")]
    pub fn request(&self) -> Option<FrameRequest> {
        self.pin.queue()?.clone_request(self.id)
    }

    /// The frame, while locked.
    pub fn frame(&self) -> Option<&StreamFrame> {
        self.locked.as_deref()
    }

    /// Locks the pointer. `None` when the frame's request was cancelled: the clone is to be dropped.
    // ks-coverage: KsStreamPointerLock done test=a_clone_keeps_the_request_after_the_edge_has_moved_on,stream_pointers_lock_move_clone_and_time_out
    #[doc(alias = "KsStreamPointerLock")]
    pub fn lock(&mut self) -> Option<&StreamFrame> {
        if self.locked.is_some() {
            if verifier::is_enabled() {
                verifier::pointer_is_already(&self.pin, "locked");
            }
        } else {
            self.locked = self.pin.queue().and_then(|queue| queue.lock_clone(self.id));
        }
        self.locked.as_deref()
    }

    /// Unlocks the pointer.
    #[doc(alias = "KsStreamPointerUnlock")]
    pub fn unlock(&mut self) {
        self.unlock_holding().send();
    }

    /// [`ClonePointer::unlock`], for one who holds a lock: what leaves is to be sent without it.
    pub fn unlock_holding(&mut self) -> Leaving {
        if self.locked.is_none() && verifier::is_enabled() {
            verifier::pointer_is_already(&self.pin, "unlocked");
        }
        match (self.locked.take(), self.pin.queue()) {
            (Some(_), Some(queue)) => self.leaving(queue.unlock_clone(self.id)),
            _ => Leaving(None),
        }
    }

    /// Has the driver told by [`crate::PinInstance::pointer_timed_out`] when the interval has passed, with a word of its
    /// own; in the place of what was scheduled for this clone before. Deleting the clone, and closing its pin, ends it.
    ///
    /// Legal at DISPATCH level, also in that callback. Source: nf-ks-ksstreampointerscheduletimeout.
    #[doc(alias = "KsStreamPointerScheduleTimeout")]
    pub fn schedule_timeout(&self, context: u64, interval: Ticks) {
        if let Some(queue) = self.pin.queue() {
            queue.schedule_timeout(self.pin.services(), PointerId::Clone(self.id), context, interval);
        }
    }

    /// What was scheduled does not come any more. A callback that has begun goes on.
    #[doc(alias = "KsStreamPointerCancelTimeout")]
    pub fn cancel_timeout(&self) {
        if let Some(queue) = self.pin.queue() {
            queue.cancel_timeout(PointerId::Clone(self.id));
        }
    }

    /// Moves the clone's own offsets; on an output pin DataUsed of the frame follows, unless the driver has written
    /// another. Returns what remains; 0 when it is not locked.
    #[doc(alias = "KsStreamPointerAdvanceOffsets")]
    pub fn advance_offsets(&mut self, in_bytes: u32, out_bytes: u32) -> u32 {
        match (&self.locked, self.pin.queue()) {
            (Some(_), Some(queue)) => queue.advance_clone_offsets(self.id, in_bytes, out_bytes),
            _ => 0,
        }
    }
}

// ks-coverage: KsStreamPointerDelete done test=a_closed_pin_waits_for_the_clones_that_its_driver_has,stream_pointers_lock_move_clone_and_time_out
impl Drop for ClonePointer {
    fn drop(&mut self) {
        self.locked = None;
        if let Some(queue) = self.pin.queue() {
            let flush = queue.delete_clone(self.id);
            self.pin.send_outgoing_if(flush);
        }
    }
}

impl std::fmt::Debug for ClonePointer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClonePointer").field("id", &self.id.0).field("locked", &self.locked.is_some()).finish()
    }
}
