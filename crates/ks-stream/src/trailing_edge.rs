//! The trailing edge as an object, for a driver that lets frames go later than its leading edge passes them.

use crate::leading_edge::AfterAdvance;
use crate::pin::Pin;
use crate::queue::{Eject, FrameRequest, PointerId, Queue, Step};
use crate::stream_pointer::ClonePointer;
use crate::verifier;
use ks_abi::NtStatus;
use ks_io::sync::{Arc, Weak};
use ks_io::{StreamFrame, Ticks};

/// The trailing edge of a pin with [`crate::PinFlags::DISTINCT_TRAILING_EDGE`]: it stands on the oldest frame, and a
/// frame leaves the queue when both edges have passed it and no clone is on it. Frames between the edges can be
/// cancelled while nothing has them locked.
///
/// A queue has one trailing edge, however often it is asked for: two of these are the same pointer. Every method is
/// legal at DISPATCH level.
///
/// Decision: the edges move independently, and what the trailing edge has passed before the leading edge did leaves when
/// that passes it. Source: nf-ks-kspingettrailingedgestreampointer, "Leading and trailing edge stream pointers".
// ks-coverage: KsPinGetTrailingEdgeStreamPointer done test=frames_stay_until_the_trailing_edge_has_passed_them,a_driver_keeps_frames_between_its_edges
#[doc(alias = "KsPinGetTrailingEdgeStreamPointer")]
pub struct TrailingEdge {
    pin: Weak<Pin>,
    queue: Arc<Queue>,
    address: u64,
}

impl TrailingEdge {
    /// The trailing edge of a pin; `None` for a pin that has none.
    #[doc(alias = "KsPinGetTrailingEdgeStreamPointer")]
    pub fn of(pin: &Arc<Pin>) -> Option<TrailingEdge> {
        let queue = pin.queue()?.clone();
        let address = queue.lend_trailing(pin.address())?;
        Some(TrailingEdge { pin: Arc::downgrade(pin), queue, address })
    }

    /// Address of the KSSTREAM_POINTER.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// The frame, while the edge is locked.
    pub fn frame(&self) -> Option<Arc<StreamFrame>> {
        self.queue.trailing_frame()
    }

    /// Locks the edge on its frame; `None` when there is none.
    #[doc(alias = "KsStreamPointerLock")]
    pub fn lock(&self) -> Option<Arc<StreamFrame>> {
        verifier::edge_is_used(&self.pin);
        if verifier::is_enabled() && self.frame().is_some() {
            verifier::edge_is_already(&self.pin, "locked");
        }
        self.queue.lock_trailing()
    }

    /// Unlocks the edge where it is. False when it was not locked.
    #[doc(alias = "KsStreamPointerUnlock")]
    pub fn unlock(&self) -> bool {
        self.give_up(Eject::Stay)
    }

    /// Unlocks the edge and moves it on. False when it was not locked.
    #[doc(alias = "KsStreamPointerUnlock")]
    pub fn eject(&self) -> bool {
        self.give_up(Eject::Next)
    }

    fn give_up(&self, eject: Eject) -> bool {
        verifier::edge_is_used(&self.pin);
        let flush = self.queue.unlock_trailing(eject);
        if flush.is_none() {
            verifier::edge_is_already(&self.pin, "unlocked");
        }
        self.flush(flush.unwrap_or(false));
        flush.is_some()
    }

    /// Moves to the next frame, locked if it was.
    #[doc(alias = "KsStreamPointerAdvance")]
    pub fn advance(&self) -> Step {
        verifier::edge_is_used(&self.pin);
        let (step, flush) = self.queue.advance_trailing();
        self.flush(flush);
        step
    }

    /// Moves the locked edge by bytes, see [`crate::Locked::advance_offsets`]; `None` when it is not locked.
    #[doc(alias = "KsStreamPointerAdvanceOffsets")]
    pub fn advance_offsets(&self, in_bytes: u32, out_bytes: u32, after: AfterAdvance) -> Option<Step> {
        let eject = if after == AfterAdvance::Always { Eject::Next } else { Eject::Stay };
        verifier::edge_is_used(&self.pin);
        let (step, flush) = self.queue.advance_trailing_offsets((in_bytes, out_bytes), eject)?;
        self.flush(flush);
        Some(step)
    }

    /// A clone on the edge's frame, locked as the edge is, with room for the driver behind its block.
    #[doc(alias = "KsStreamPointerClone")]
    pub fn clone_pointer(&self, context_bytes: usize) -> Option<ClonePointer> {
        let pin = self.pin.upgrade()?;
        let (id, locked) = self.queue.clone_trailing(context_bytes)?;
        Some(ClonePointer::made(pin, id, locked, context_bytes))
    }

    /// The status with which the request of the locked edge's frame will complete.
    #[doc(alias = "KsStreamPointerSetStatusCode")]
    pub fn set_status_code(&self, status: NtStatus) {
        self.queue.set_trailing_status(status);
    }

    /// The request of the frame that the edge has locked.
    #[doc(alias = "KsStreamPointerGetIrp")]
    pub fn request(&self) -> Option<FrameRequest> {
        self.queue.trailing_request()
    }

    /// As [`ClonePointer::schedule_timeout`], for the edge.
    #[doc(alias = "KsStreamPointerScheduleTimeout")]
    pub fn schedule_timeout(&self, context: u64, interval: Ticks) {
        if let Some(pin) = self.pin.upgrade() {
            self.queue.schedule_timeout(pin.services(), PointerId::TrailingEdge, context, interval);
        }
    }

    /// As [`ClonePointer::cancel_timeout`], for the edge.
    #[doc(alias = "KsStreamPointerCancelTimeout")]
    pub fn cancel_timeout(&self) {
        self.queue.cancel_timeout(PointerId::TrailingEdge);
    }

    fn flush(&self, flush: bool) {
        if flush && let Some(pin) = self.pin.upgrade() {
            pin.send_outgoing();
        }
    }
}

impl std::fmt::Debug for TrailingEdge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrailingEdge").field("locked", &self.frame().is_some()).finish_non_exhaustive()
    }
}
