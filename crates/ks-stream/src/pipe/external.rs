//! Sections whose frames come from outside: from a client, or from a pin that is none of AVStream's.
//!
//! Such a section is headed by a data sink that takes requests, its *entry*, whose filter works in place or splits. It has
//! no allocator: what travels are the callers' own requests, from queue to queue, where a cancel finds them as at the
//! entry. Behind the last pin each completes to its caller. A foreign pin on the way gets a request in the place of the
//! caller's, which waits for it; the branches of a splitter get shares, and the request goes on when the last is back.
//!
//! Source: "AVStream pipes and circuits": of a mixed connection the request enters the circuit at the sink, and completes
//! when it comes round.

use super::FramesOf;
use super::splitter::{Branch, Splitter};
use crate::batch;
use crate::injection::Homecoming;
use crate::pin::Pin;
use crate::queue::Outgoing;
use crate::stream_io;
use ks_abi::{KsPinCommunication, KsPinDataFlow, NtStatus, STATUS_CANCELLED, STATUS_INSUFFICIENT_RESOURCES};
use ks_io::sync::{
    Arc, Mutex, Weak,
    atomic::{AtomicU32, Ordering},
};
use ks_io::{CircuitPlace, FrameLender, Irp, StreamFrame, StreamFrames, Work, deferred};
use ks_mem::{Frame, FrameMemory, FramePool, PoolSpec};

impl Pin {
    /// Does this pin head a section whose frames are those of requests that others send here?
    pub(crate) fn is_entry(&self) -> bool {
        self.data_flow() == KsPinDataFlow::IN
            && self.communication() == KsPinCommunication::SINK
            && self.queue().is_some()
            && !self.is_connected()
            && (self.splitter_outputs().is_some()
                || self.in_place_counterpart().is_some_and(|output| output.is_connected()))
    }

    /// Requests of callers have left this pin's queue. In a section of their own those that are well go on; everywhere
    /// else, and with an error, they complete.
    pub(super) fn pass_callers(&self, outgoing: &mut Outgoing) {
        let go_on = self.pipe().frames_of() == FramesOf::Callers && self.in_circuit();
        for irp in outgoing.callers.drain(..) {
            if go_on && irp.status().is_success() {
                outgoing.onward.push(irp);
            } else {
                stream_io::complete(irp, self.data_flow());
            }
        }
    }
}

/// Requests that have been at every pin of their section complete; no lock is held. `batch` is empty afterwards.
pub(super) fn complete(home: Option<&Arc<Homecoming>>, batch: &mut Vec<Irp>) {
    if let Some(home) = home {
        home.tell(batch);
    }
    for irp in batch.drain(..) {
        stream_io::complete(irp, KsPinDataFlow::IN);
    }
}

/// Requests that cannot go on and have nowhere to wait: their callers hear of it.
pub(super) fn turn_back(callers: impl IntoIterator<Item = Irp>) {
    for irp in callers {
        if irp.status().is_success() {
            irp.set_status(STATUS_CANCELLED);
        }
        stream_io::complete(irp, KsPinDataFlow::IN);
    }
}

/// What the shares of an output look like whose splitter gets callers' requests.
pub(super) struct GuestShares {
    /// The branch changes bytes: its shares are copies.
    copies: bool,
    /// Where they must lie.
    memory: FrameMemory,
}

impl GuestShares {
    pub(super) fn of(pins: &[Arc<Pin>]) -> GuestShares {
        GuestShares { copies: Pin::branch_changes_frames(pins), memory: Pin::memory_of(pins) }
    }

    /// Does the branch change bytes?
    pub(super) fn are_copies(&self) -> bool {
        self.copies
    }

    /// The bytes of a share: a name of those of the frame, or a copy; `true` with a copy.
    fn bytes(&self, pin: &Pin, frame: &StreamFrame) -> Result<(Frame, bool), NtStatus> {
        let no_memory = |_| STATUS_INSUFFICIENT_RESOURCES;
        let Some(buffer) = frame.buffer() else {
            // A header alone; what carries it has a byte that nobody uses.
            return Frame::zeroed(1, 64).map(|byte| (byte.read_only(), false)).map_err(no_memory);
        };
        let crosses = self.memory == FrameMemory::Shared && !buffer.is_shared();
        if !self.copies && !crosses {
            return Ok((buffer.read_only(), false));
        }
        // Who else has the frame, and for how long, is the caller's affair: there is no pool that would be enough.
        let spec = PoolSpec { frames: 1, frame_bytes: buffer.len().max(1), alignment: 64 };
        let pool = FramePool::in_memory(self.memory, spec, pin.io().regions());
        let copy = pool.ok().and_then(|pool| pool.take()).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        let bytes = buffer.bytes(frame.data_used() as usize).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        if copy.copy_in(0, &bytes) { Ok((copy, true)) } else { Err(STATUS_INSUFFICIENT_RESOURCES) }
    }
}

/// A caller's request, or one by which a driver injects, whose frames branches have.
struct Guest {
    me: Weak<Guest>,
    input: Weak<Pin>,
    request: Mutex<Option<Irp>>,
    /// Shares that are out, and one while they are sent.
    shares: AtomicU32,
}

impl Guest {
    fn is_over(&self) -> bool {
        self.shares.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

impl FrameLender for Guest {
    fn lost(&self, _: CircuitPlace) {
        if self.is_over()
            && let Some(me) = self.me.upgrade()
        {
            // Whoever let go of the share may hold anything.
            deferred::run_later(me);
        }
    }
}

/// The last share is back.
impl Work for Guest {
    fn run(self: Arc<Self>) {
        let Some(irp) = self.request.lock().take() else { return };
        match self.input.upgrade() {
            Some(input) => batch::of_one(irp, |batch| input.go_on_after_split(batch)),
            None => turn_back([irp]),
        }
    }
}

/// Sends shares of requests from outside to the branches. What no branch takes is left in `batch`.
pub(super) fn split(splitter: &Splitter, input: &Weak<Pin>, batch: &mut Vec<Irp>) {
    let branches = splitter.branches();
    let mut alone = Vec::new();
    for irp in batch.drain(..) {
        let guest = Arc::new_cyclic(|me| Guest {
            me: me.clone(),
            input: input.clone(),
            request: Mutex::new(None),
            shares: AtomicU32::new(1),
        });
        let lender: Arc<dyn FrameLender> = guest.clone();
        let mut shares: Vec<(&Arc<Branch>, Vec<Irp>)> = Vec::with_capacity(branches.len());
        for branch in branches.iter() {
            let Some(output) = branch.streaming_output() else { continue };
            let made = irp.stream().into_iter().flat_map(StreamFrames::iter);
            let made: Result<Vec<Irp>, NtStatus> = made.map(|frame| share(branch, &output, frame, &lender)).collect();
            match made {
                Ok(made) => shares.push((branch, made)),
                // The branch misses the frame: that is told, and the others go on.
                Err(_) => output.count_drops(1),
            }
        }
        for share in shares.iter().flat_map(|(_, shares)| shares) {
            for frame in share.stream().into_iter().flat_map(StreamFrames::iter) {
                guest.shares.fetch_add(1, Ordering::Relaxed);
                frame.lend();
            }
        }
        *guest.request.lock() = Some(irp);
        for (branch, mut shares) in shares {
            branch.send(&mut shares);
        }
        if guest.is_over() {
            alone.extend(guest.request.lock().take());
        }
    }
    batch.append(&mut alone);
}

/// One frame of a caller's request, for one branch.
fn share(
    branch: &Branch,
    output: &Arc<Pin>,
    frame: &StreamFrame,
    lender: &Arc<dyn FrameLender>,
) -> Result<Irp, NtStatus> {
    let stride = branch.header_bytes();
    let (bytes, is_copy) = branch.guests().bytes(output, frame)?;
    let place = CircuitPlace { circuit: branch.number(), frame: 0 };
    let frames = StreamFrames::empty(stride, bytes)?.of_circuit(place).on_loan_from(lender);
    if let Some(share) = frames.frame(0) {
        share.mirror(frame);
        if is_copy && let Some(queue) = output.queue() {
            queue.with_counters(|counters| counters.copies += 1);
        }
    }
    Irp::circuit(output.origin(), frames)
}
