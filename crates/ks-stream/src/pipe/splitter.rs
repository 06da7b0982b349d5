//! A splitter: an input whose frames go to several outputs at once, each the head of a branch of the circuit.
//!
//! A frame that leaves the input waits here, and to each branch goes a *share* of it: a request with a header of its
//! own, over the same bytes under a read-only name. When the last share is back, the frame goes on as it would have
//! without branches. A branch whose filters change bytes in place, or that needs other memory, gets copies instead. So
//! the slowest branch sets the pace once it has all frames of the circuit; a branch that is stopped, or whose stream has
//! ended, holds none.
//!
//! Source: "AVStream splitters": headers of their own over the same buffers for branches that only read, a pipe of their
//! own for those that write.

use super::external::{self, GuestShares};
use super::{AllocatorReport, Hop};
use crate::batch;
use crate::injection::Homecoming;
use crate::pin::Pin;
use ks_abi::{STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER, STATUS_SUCCESS};
use ks_io::sync::{Arc, Mutex, Weak};
use ks_io::{Aspect, CircuitPlace, FrameLender, Irp, Refusal, StreamFrame, StreamFrames, Work, deferred};
use ks_mem::{Frame, FrameMemory, FramePool, PoolSpec};
use std::sync::atomic::AtomicU64;

/// The branches of an input, and the frames that are with them.
pub(crate) struct Splitter {
    lent: Arc<Lent>,
    /// Where a frame goes that every branch has given back.
    after: Hop,
    /// The section has no frames of its own: callers or a driver bring them, and each share is made for its frame.
    splits_guests: bool,
    branches: Mutex<Arc<Vec<Arc<Branch>>>>,
    /// Room for what goes to a branch, kept between two batches.
    room: Mutex<Vec<Irp>>,
}

/// The frames of a circuit that branches have.
struct Lent {
    me: Weak<Lent>,
    input: Weak<Pin>,
    head: Weak<Pin>,
    /// The frames, by index. Nothing is called under it.
    kept: Mutex<Vec<Kept>>,
}

/// A frame of which shares may be out.
#[derive(Default)]
struct Kept {
    frame: Option<Irp>,
    /// How many shares of it are out, and one more while it is being split. Counted under the lock, which is taken once a batch, where an atomic counter would be
    /// touched twice a share.
    out: u32,
}

/// One branch: the shares of an output, and those that are at home.
pub(crate) struct Branch {
    /// Tells its shares from every other request of a circuit.
    number: u64,
    output: Weak<Pin>,
    lent: Arc<Lent>,
    /// The bytes of its shares, by the index of their frame.
    pub(super) frames: Vec<Frame>,
    pub(super) header_bytes: usize,
    /// The shares that are not out, by the index of their frame. Nothing is called under it.
    home: Mutex<Vec<Option<Irp>>>,
    /// Somebody wants to know of the shares that come home.
    watched: Option<Arc<Homecoming>>,
    /// Its bytes are its own, and those of the circuit are copied to them.
    pub(super) is_copied: bool,
    /// Of a splitter that gets frames from outside: nothing is at home, each share is made for its frame.
    guests: GuestShares,
}

/// What a circuit offers its branches.
pub(super) struct Offer<'a> {
    /// The frames, by index.
    pub(super) frames: &'a [Frame],
    /// Bytes of their headers.
    pub(super) header_bytes: usize,
}

pub(super) fn frame_of(irp: &Irp) -> Option<&Arc<StreamFrame>> {
    irp.stream().and_then(|frames| frames.frame(0))
}

/// Which of its circuit's frames a request carries.
fn number_of(irp: &Irp) -> usize {
    irp.place().frame as usize
}

impl Splitter {
    pub(super) fn new(input: &Arc<Pin>, head: &Arc<Pin>, frames: usize, after: Hop) -> Arc<Splitter> {
        let lent = Arc::new_cyclic(|me| Lent {
            me: me.clone(),
            input: Arc::downgrade(input),
            head: Arc::downgrade(head),
            kept: Mutex::new((0..frames).map(|_| Kept::default()).collect()),
        });
        let splits_guests = frames == 0;
        Arc::new(Splitter { lent, after, splits_guests, branches: Mutex::default(), room: Mutex::default() })
    }

    pub(super) fn after(&self) -> &Hop {
        &self.after
    }

    pub(super) fn branches(&self) -> Arc<Vec<Arc<Branch>>> {
        self.branches.lock().clone()
    }

    /// Adds a branch, in the place of an earlier one of the same output. Branches whose output is gone are forgotten.
    pub(super) fn join(&self, branch: Arc<Branch>) {
        let mut branches = self.branches.lock();
        let others = branches
            .iter()
            .filter(|other| other.output.strong_count() > 0 && !Weak::ptr_eq(&other.output, &branch.output));
        *branches = Arc::new(others.cloned().chain([branch.clone()]).collect());
    }

    /// The input whose frames are split.
    pub(super) fn input(&self) -> Option<Arc<Pin>> {
        self.lent.input.upgrade()
    }

    /// Sends a share of each frame to every branch that streams. What no branch takes is left in `batch`.
    pub(super) fn split(&self, batch: &mut Vec<Irp>) {
        if self.splits_guests {
            return external::split(self, &self.lent.input, batch);
        }
        let branches = self.branches();
        let mut shares = std::mem::take(&mut *self.room.lock());
        self.lent.begin(batch);
        // One branch after the other, each as a whole: its shares are still in the processor's cache when they are queued.
        for branch in branches.iter() {
            branch.share(batch, &mut shares);
            if !shares.is_empty() {
                branch.send(&mut shares);
            }
        }
        self.lent.keep(batch);
        *self.room.lock() = shares;
    }

    /// Sends a share of each frame to every branch that streams, beside the frames: those go on themselves, and when they
    /// are home [`Splitter::hold`] is asked.
    pub(super) fn share_beside(&self, batch: &[Irp]) {
        let branches = self.branches();
        if branches.is_empty() {
            return;
        }
        let mut shares = std::mem::take(&mut *self.room.lock());
        self.lent.begin(batch);
        for branch in branches.iter() {
            let Some(output) = branch.output.upgrade().filter(|output| output.has_shares_of(branch)) else { continue };
            branch.share(batch, &mut shares);
            if !shares.is_empty() {
                output.send_as_own(branch, &mut shares);
            }
        }
        *self.room.lock() = shares;
    }

    /// A frame that was shared has come round. It waits here for the shares that are out, and goes on when the last is back;
    /// without any it is given back.
    pub(super) fn hold(&self, irp: Irp) -> Option<Irp> {
        Lent::comes_round(&mut self.lent.kept.lock(), irp)
    }

    /// The same of several. Those that need not wait are left in `batch`, in their order.
    pub(super) fn hold_those_shared(&self, batch: &mut Vec<Irp>) {
        let mut free = std::mem::take(&mut *self.room.lock());
        {
            let mut kept = self.lent.kept.lock();
            free.extend(batch.drain(..).filter_map(|irp| Lent::comes_round(&mut kept, irp)));
        }
        batch.append(&mut free);
        *self.room.lock() = free;
    }
}

impl Lent {
    /// Frames are split from here on: none goes on before [`Lent::keep`], however fast its shares come home.
    fn begin(&self, batch: &[Irp]) {
        let mut kept = self.kept.lock();
        for irp in batch {
            if let Some(kept) = kept.get_mut(number_of(irp)) {
                kept.out += 1;
            }
        }
    }

    /// The frames are split. Keeps those of which shares are out; the others are left in `batch`, in their order.
    fn keep(&self, batch: &mut Vec<Irp>) {
        batch::with(|onward| {
            let mut kept = self.kept.lock();
            for irp in batch.drain(..) {
                match kept.get_mut(number_of(&irp)) {
                    Some(place) if place.out > 1 => {
                        place.out -= 1;
                        place.frame = Some(irp);
                    }
                    Some(place) => {
                        place.out = 0;
                        onward.push(irp);
                    }
                    None => onward.push(irp),
                }
            }
            batch.append(onward);
        });
    }

    /// A frame whose shares were made beside it: `None` while some are out.
    fn comes_round(kept: &mut [Kept], irp: Irp) -> Option<Irp> {
        let Some(place) = kept.get_mut(number_of(&irp)) else { return Some(irp) };
        place.out = place.out.saturating_sub(1);
        if place.out == 0 {
            return Some(irp);
        }
        place.frame = Some(irp);
        None
    }

    /// The last share of a frame is back or gone: the frame.
    fn returned(kept: &mut [Kept], index: usize) -> Option<Irp> {
        let kept = kept.get_mut(index)?;
        kept.out = kept.out.saturating_sub(1);
        if kept.out == 0 { kept.frame.take() } else { None }
    }

    /// Frames of which no share is out go on from the input.
    fn go_on(&self, batch: &mut Vec<Irp>) {
        if batch.is_empty() {
            return;
        }
        match (self.input.upgrade(), self.head.upgrade()) {
            (Some(input), _) => input.go_on_after_split(batch),
            (None, Some(head)) => head.pipe().park(batch.drain(..)),
            (None, None) => batch.drain(..).for_each(Irp::retire),
        }
    }
}

impl FrameLender for Lent {
    fn lost(&self, share: CircuitPlace) {
        let index = share.frame as usize;
        let is_last = {
            let mut kept = self.kept.lock();
            kept.get_mut(index).is_some_and(|kept| {
                kept.out = kept.out.saturating_sub(1);
                kept.out == 0
            })
        };
        if is_last && let Some(me) = self.me.upgrade() {
            // Whoever dropped the share may hold anything.
            deferred::run_later(me);
        }
    }
}

/// Looks for frames whose last share was lost.
impl Work for Lent {
    fn run(self: Arc<Self>) {
        let mut batch = {
            let mut kept = self.kept.lock();
            kept.iter_mut().filter(|kept| kept.out == 0).filter_map(|kept| kept.frame.take()).collect()
        };
        self.go_on(&mut batch);
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.kept.lock().drain(..).filter_map(|kept| kept.frame).for_each(Irp::retire);
    }
}

impl Branch {
    /// The pin whose frames are shared.
    pub(super) fn input(&self) -> Option<Arc<Pin>> {
        self.lent.input.upgrade()
    }

    /// The branch of a connected output, whose pins are given: with shares of what is offered, or with copies.
    pub(super) fn new(
        output: &Arc<Pin>,
        splitter: &Splitter,
        pins: &[Arc<Pin>],
        offer: &Offer<'_>,
    ) -> Result<Arc<Branch>, Refusal> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let no_memory = |_| {
            let reason = format!("{}: no memory for its branch", output.describe());
            Refusal::new(STATUS_INSUFFICIENT_RESOURCES, Aspect::Memory, reason)
        };
        let copies = match copy_spec(pins, offer) {
            Some((memory, spec)) => {
                let bytes = spec.frames as u64 * spec.frame_bytes as u64;
                if bytes > output.filter().device().most_circuit_bytes() {
                    let reason =
                        format!("{}: its branch needs {bytes} bytes for copies, which is too much", output.describe());
                    return Err(Refusal::new(STATUS_INVALID_PARAMETER, Aspect::Memory, reason));
                }
                let pool = FramePool::in_memory(memory, spec, output.io().regions());
                Some(pool.map_err(|_| no_memory(STATUS_INSUFFICIENT_RESOURCES))?)
            }
            None => None,
        };
        // The top bit is in no number of an allocator.
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed) | 1 << 63;
        let header_bytes = pins.iter().map(|pin| pin.stream_header_bytes() as usize).max().unwrap_or(0);
        let header_bytes = header_bytes.max(offer.header_bytes);
        let lender: Arc<dyn FrameLender> = splitter.lent.clone();
        let frames: Vec<Frame> = match &copies {
            Some(pool) => (0..offer.frames.len()).filter_map(|index| pool.name(index)).collect(),
            None => offer.frames.iter().map(Frame::read_only).collect(),
        };
        let mut home = Vec::with_capacity(frames.len());
        for made in StreamFrames::row(header_bytes, frames.iter().cloned()).map_err(no_memory)? {
            let place = CircuitPlace { circuit: number, frame: home.len() as u32 };
            match Irp::circuit(output.origin(), made.of_circuit(place).on_loan_from(&lender)) {
                Ok(irp) => home.push(Some(irp)),
                Err(status) => {
                    home.drain(..).flatten().for_each(Irp::retire);
                    return Err(no_memory(status));
                }
            }
        }
        let watched = Homecoming::of(output, pins);
        let guests = GuestShares::of(pins);
        let (output, lent) = (Arc::downgrade(output), splitter.lent.clone());
        let home = Mutex::new(home);
        let is_copied = copies.is_some();
        Ok(Arc::new(Branch { number, output, lent, frames, header_bytes, home, watched, is_copied, guests }))
    }

    /// The word that tells its shares.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn header_bytes(&self) -> usize {
        self.header_bytes
    }

    pub(super) fn guests(&self) -> &GuestShares {
        &self.guests
    }

    /// Its output, if the branch streams.
    pub(super) fn streaming_output(&self) -> Option<Arc<Pin>> {
        self.output.upgrade().filter(|output| output.sends())
    }

    /// How many frames of how many bytes.
    pub(super) fn report(&self) -> AllocatorReport {
        let frame_bytes = self.frames.first().map_or(0, Frame::len);
        AllocatorReport { frames: self.frames.len() as u32, frame_bytes: frame_bytes as u32 }
    }

    /// Takes a share of each frame out, if the branch streams.
    fn share(&self, batch: &[Irp], shares: &mut Vec<Irp>) {
        let Some(output) = self.streaming_output() else { return };
        {
            let mut home = self.home.lock();
            let mut kept = self.lent.kept.lock();
            for irp in batch {
                let index = number_of(irp);
                let (Some(place), Some(kept)) = (home.get_mut(index), kept.get_mut(index)) else { continue };
                let Some(share) = place.take() else { continue };
                if let (Some(frame), Some(mine)) = (frame_of(irp), frame_of(&share)) {
                    mine.mirror(frame);
                    mine.lend();
                }
                kept.out += 1;
                shares.push(share);
            }
        }
        if self.is_copied {
            self.copy(batch, shares, &output);
        }
    }

    /// Copies the bytes of the frames to their shares, both in one order; a share that was lost is missing.
    fn copy(&self, batch: &[Irp], shares: &[Irp], output: &Pin) {
        let mut frames = batch.iter();
        let mut copied = 0;
        for share in shares {
            let frame = frames.find(|frame| number_of(frame) == number_of(share)).and_then(frame_of);
            if let (Some(frame), Some(share)) = (frame, frame_of(share)) {
                copied += copy(frame, share);
            }
        }
        if copied > 0
            && let Some(queue) = output.queue()
        {
            queue.with_counters(|counters| counters.copies += copied);
        }
    }

    /// Sends shares to the pin behind the output; `shares` is empty afterwards.
    pub(super) fn send(&self, shares: &mut Vec<Irp>) {
        match self.output.upgrade() {
            Some(output) => output.send_shares(self, shares),
            None => self.give_back(shares),
        }
    }

    /// Tells who wants to know that shares come home; no lock is held.
    pub(super) fn tell(&self, shares: &[Irp]) {
        if let Some(watched) = &self.watched {
            watched.tell(shares);
        }
    }

    /// Shares that come home; `shares` is empty afterwards.
    pub(super) fn give_back(&self, shares: &mut Vec<Irp>) {
        if self.frames.is_empty() {
            // Made for callers' requests: who waits for them hears of it as they go.
            return shares.drain(..).for_each(Irp::retire);
        }
        // Shares of an earlier branch: their lender hears of it.
        for stale in shares.extract_if(.., |irp| irp.place().circuit != self.number) {
            stale.retire();
        }
        batch::with(|free| {
            {
                let mut home = self.home.lock();
                let mut kept = self.lent.kept.lock();
                for share in shares.drain(..) {
                    let index = number_of(&share);
                    if let Some(frame) = frame_of(&share) {
                        frame.rewind();
                        frame.take_back();
                    }
                    share.set_status(STATUS_SUCCESS);
                    if let Some(place) = home.get_mut(index) {
                        *place = Some(share);
                    }
                    if let Some(frame) = Lent::returned(&mut kept, index) {
                        free.push(frame);
                    }
                }
            }
            self.lent.go_on(free);
        });
    }
}

impl Drop for Branch {
    fn drop(&mut self) {
        self.home.lock().drain(..).flatten().for_each(Irp::retire);
    }
}

/// Copies the valid bytes of a frame; 1 if there were any. Without memory the share says that it has none.
pub(super) fn copy(frame: &StreamFrame, share: &StreamFrame) -> u64 {
    let used = frame.data_used() as usize;
    let bytes = frame.buffer().and_then(|buffer| buffer.bytes(used));
    let copied = bytes.zip(share.buffer()).is_some_and(|(bytes, to)| to.copy_in(0, &bytes));
    if copied {
        u64::from(used > 0)
    } else {
        share.set_data_used(0);
        0
    }
}

/// The memory that a branch needs of its own; `None`: it reads the frames of the circuit.
pub(super) fn copy_spec(pins: &[Arc<Pin>], offer: &Offer<'_>) -> Option<(FrameMemory, PoolSpec)> {
    let first = offer.frames.first()?;
    let mut spec = PoolSpec { frames: offer.frames.len(), frame_bytes: first.len(), alignment: 64 };
    let mut memory = FrameMemory::Private;
    let is_needed = Pin::branch_changes_frames(pins);
    for pin in pins {
        let framing = pin.framing();
        spec.frame_bytes = spec.frame_bytes.max(framing.frame_bytes as usize);
        spec.alignment = spec.alignment.max(framing.alignment as usize);
        let counterpart = pin.in_place_counterpart();
        let foreign = pin.foreign_peer(&None).or_else(|| counterpart.and_then(|pin| pin.foreign_peer(&None)));
        if let Some(peer) = foreign {
            memory = peer.frame_memory();
        }
    }
    let fits = first.len() >= spec.frame_bytes && first.address().is_multiple_of(spec.alignment as u64);
    let crosses = memory == FrameMemory::Shared && !first.is_shared();
    if crosses || first.is_shared() {
        memory = FrameMemory::Shared;
    }
    (is_needed || crosses || !fits).then_some((memory, spec))
}
