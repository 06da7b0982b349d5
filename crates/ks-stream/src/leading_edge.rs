//! The leading edge as an object with an address, for a driver that keeps it locked across calls.

use crate::pin::Pin;
use crate::queue::{Eject, FrameRequest, LockedFrame, Moved, PointerId, Queue, Step};
use crate::stream_pointer::ClonePointer;
use crate::verifier;
use ks_abi::NtStatus;
use ks_io::Ticks;
use ks_io::sync::{Arc, Mutex, Weak};

/// The leading edge of a pin whose driver is lent its address. What it has locked stays here between two calls.
///
/// Every method is legal at DISPATCH level. [`crate::Locked`] is the same edge as a borrow: whichever locks it first has
/// it.
#[doc(alias = "KSSTREAM_POINTER")]
pub struct LeadingEdge {
    pin: Weak<Pin>,
    queue: Arc<Queue>,
    address: u64,
    /// Taken before the lock of the queue. Nothing is called under it but the queue.
    held: Mutex<Option<LockedFrame>>,
}

/// What becomes of a frame whose offsets moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterAdvance {
    /// The edge moves on when nothing remains of the frame.
    WhenUsedUp,
    /// The edge moves on in any case.
    Always,
}

impl LeadingEdge {
    /// The edge of a pin; `None` for a pin without queue.
    #[doc(alias = "KsPinGetLeadingEdgeStreamPointer")]
    pub fn of(pin: &Arc<Pin>) -> Option<LeadingEdge> {
        let queue = pin.queue()?.clone();
        let address = queue.lend_leading(pin.address());
        Some(LeadingEdge { pin: Arc::downgrade(pin), queue, address, held: Mutex::new(None) })
    }

    /// Address of the KSSTREAM_POINTER.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// True while the edge has a frame that cannot be cancelled.
    pub fn is_locked(&self) -> bool {
        self.held.lock().is_some()
    }

    /// Locks the edge on its frame; its block then shows the frame. False when there is none.
    #[doc(alias = "KsStreamPointerLock")]
    pub fn lock(&self) -> bool {
        verifier::edge_is_used(&self.pin);
        let mut held = self.held.lock();
        let was_locked = held.is_some();
        if !was_locked {
            *held = self.queue.lock_leading();
        }
        let is_locked = held.as_ref().map(|locked| self.queue.stand_leading(locked)).is_some();
        drop(held);
        if was_locked {
            verifier::edge_is_already(&self.pin, "locked");
        }
        is_locked
    }

    /// Unlocks the edge where it is. False when it was not locked.
    #[doc(alias = "KsStreamPointerUnlock")]
    pub fn unlock(&self) -> bool {
        self.give_up(Eject::Stay)
    }

    /// Unlocks the edge and lets its frame go.
    #[doc(alias = "KsStreamPointerUnlock")]
    pub fn eject(&self) -> bool {
        self.give_up(Eject::Next)
    }

    fn give_up(&self, eject: Eject) -> bool {
        verifier::edge_is_used(&self.pin);
        let Some(locked) = self.held.lock().take() else {
            verifier::edge_is_already(&self.pin, "unlocked");
            return false;
        };
        let flush = self.queue.unlock_leading(locked, eject);
        self.flush(flush);
        true
    }

    /// Lets the frame go and stands on the next one, locked if it was.
    #[doc(alias = "KsStreamPointerAdvance")]
    pub fn advance(&self) -> Step {
        verifier::edge_is_used(&self.pin);
        let (step, flush) = {
            let mut held = self.held.lock();
            match held.take() {
                Some(locked) => {
                    let moved = self.queue.advance_leading(locked);
                    self.keep(&mut held, moved)
                }
                None => self.queue.pass_unlocked(),
            }
        };
        self.flush(flush);
        step
    }

    /// Moves the locked edge by bytes, see [`crate::Locked::advance_offsets`]; `None` when it is not locked.
    #[doc(alias = "KsStreamPointerAdvanceOffsets")]
    pub fn advance_offsets(&self, in_bytes: u32, out_bytes: u32, after: AfterAdvance) -> Option<Step> {
        verifier::edge_is_used(&self.pin);
        let eject = if after == AfterAdvance::Always { Eject::Next } else { Eject::Stay };
        let (step, flush) = {
            let mut held = self.held.lock();
            let locked = held.take()?;
            match self.queue.advance_leading_by(locked, (in_bytes, out_bytes), eject) {
                Ok(moved) => self.keep(&mut held, moved),
                Err(locked) => {
                    *held = Some(locked);
                    (Step::OnFrame, false)
                }
            }
        };
        self.flush(flush);
        Some(step)
    }

    fn keep(&self, held: &mut Option<LockedFrame>, moved: Moved) -> (Step, bool) {
        let step = if moved.locked.is_some() { Step::OnFrame } else { Step::AtEnd };
        *held = moved.locked;
        if let Some(locked) = held.as_ref() {
            self.queue.stand_leading(locked);
        }
        (step, moved.flush)
    }

    /// A clone on the edge's frame, locked as the edge is, with room for the driver behind its block.
    #[doc(alias = "KsStreamPointerClone")]
    pub fn clone_pointer(&self, context_bytes: usize) -> Option<ClonePointer> {
        let pin = self.pin.upgrade()?;
        let held = self.held.lock();
        let (id, locked) = match &*held {
            Some(locked) => {
                let (id, frame) = self.queue.clone_leading(locked, context_bytes)?;
                (id, Some(frame))
            }
            None => (self.queue.clone_unlocked_leading(context_bytes)?, None),
        };
        Some(ClonePointer::made(pin, id, locked, context_bytes))
    }

    /// The status with which the frame's request will complete.
    #[doc(alias = "KsStreamPointerSetStatusCode")]
    pub fn set_status_code(&self, status: NtStatus) {
        self.queue.set_status_code(status);
    }

    /// The request of the frame that the edge has locked.
    #[doc(alias = "KsStreamPointerGetIrp")]
    pub fn request(&self) -> Option<FrameRequest> {
        self.queue.leading_request(self.held.lock().as_ref()?)
    }

    /// Bytes ahead of the edge: to be read, and to be filled. Of the frame that it stands on those that its offsets have
    /// not passed.
    #[doc(alias = "KsPinGetAvailableByteCount")]
    pub fn available_bytes(&self) -> (u64, u64) {
        self.queue.available_bytes(self.held.lock().as_ref())
    }

    /// As [`ClonePointer::schedule_timeout`], for the edge.
    #[doc(alias = "KsStreamPointerScheduleTimeout")]
    pub fn schedule_timeout(&self, context: u64, interval: Ticks) {
        if let Some(pin) = self.pin.upgrade() {
            self.queue.schedule_timeout(pin.services(), PointerId::LeadingEdge, context, interval);
        }
    }

    /// As [`ClonePointer::cancel_timeout`], for the edge.
    #[doc(alias = "KsStreamPointerCancelTimeout")]
    pub fn cancel_timeout(&self) {
        self.queue.cancel_timeout(PointerId::LeadingEdge);
    }

    fn flush(&self, flush: bool) {
        if flush && let Some(pin) = self.pin.upgrade() {
            pin.send_outgoing();
        }
    }
}

impl std::fmt::Debug for LeadingEdge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeadingEdge").field("locked", &self.is_locked()).finish_non_exhaustive()
    }
}
