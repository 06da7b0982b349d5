//! The memory of a circuit: its allocator, and the requests that do not travel.

use super::framing::Wish;
use super::splitter::{Branch, Splitter};
use super::{FramesOf, Hop, Route};
use crate::allocator::AllocatorObject;
use crate::batch;
use crate::descriptor::Framing;
use crate::foreign::ForeignPeer;
use crate::pin::Pin;
use ks_abi::{NtStatus, STATUS_INSUFFICIENT_RESOURCES, STATUS_NOT_SUPPORTED, STATUS_SUCCESS};
use ks_io::sync::{
    Arc, Mutex, RwLock,
    atomic::{AtomicBool, Ordering},
};
use ks_io::{Aspect, CircuitPlace, Irp, Refusal, StreamFrames};
use ks_mem::{Frame, FrameMemory, FramePool, Part, PoolSpec};

/// The section that a pin heads. It exists from the pin's create, also while it has one pin and no frames.
#[derive(Default)]
pub(crate) struct PipeSection {
    state: Mutex<State>,
    /// Read at each hop, written when the circuit is bound or let go.
    pub(super) route: RwLock<Route>,
    /// Whose frames come by, as the route says; for those who do not read it.
    callers: AtomicBool,
    /// The foreign data source that this head asks for frames.
    asked: Mutex<Option<Arc<ForeignPeer>>>,
    /// What the foreign pin that this one is connected to asks of the frames, and those behind it.
    foreign_wishes: Mutex<Option<Arc<[Wish]>>>,
    /// What the section was when it was last bound, for a client.
    description: Mutex<Box<str>>,
    /// A foreign pin was not ready for the frames that are parked.
    not_ready: AtomicBool,
    /// What this head, an output of a splitter, sends its shares by.
    branch: Mutex<Option<Arc<Branch>>>,
    /// There was a branch: the others need no lock to know that there is none.
    has_branch: AtomicBool,
    /// Held while the branch is made and put into use. No lock of a pin upstream is taken under it.
    pub(super) joining: Mutex<()>,
}

#[derive(Default)]
struct State {
    current: Circulation,
    /// What the running state change replaced. It comes back if the minidriver refuses a later step.
    former: Option<Box<Circulation>>,
    /// Allocators that were made here, so that no two have one number.
    made: u64,
}

/// An allocator with its requests.
#[derive(Default)]
pub(crate) struct Circulation {
    /// There for the head of a section.
    allocator: Option<Box<Allocator>>,
    /// Requests that do not travel: the section is stopped, or a pin downstream does not take them.
    parked: Vec<Irp>,
    generation: u64,
    /// Other outputs have shares of its frames.
    shared: Option<Arc<Splitter>>,
}

struct Allocator {
    memory: Memory,
    header_bytes: usize,
}

/// Where the frames of a circuit come from.
enum Memory {
    Pool(FramePool),
    /// The allocator object that a client named to one of the pins.
    Lent(Lease),
}

/// Frames of an allocator object, which go back to it when the last request that carries one is gone.
pub(crate) struct Lease {
    allocator: Arc<AllocatorObject>,
    spec: PoolSpec,
    names: Vec<Frame>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.names.clear();
        self.allocator.reclaim();
    }
}

impl Memory {
    fn spec(&self) -> PoolSpec {
        match self {
            Memory::Pool(pool) => pool.spec(),
            Memory::Lent(lease) => lease.spec,
        }
    }

    /// How many frames there are: of an allocator object it may be fewer than were asked for.
    fn count(&self) -> usize {
        match self {
            Memory::Pool(pool) => pool.spec().frames,
            Memory::Lent(lease) => lease.names.len(),
        }
    }

    /// Names of all frames, by index.
    fn names(&self) -> Vec<Frame> {
        match self {
            Memory::Pool(pool) => (0..pool.spec().frames).filter_map(|index| pool.name(index)).collect(),
            Memory::Lent(lease) => lease.names.clone(),
        }
    }

    /// Is it what another start of the circuit would make again?
    fn fits(&self, spec: PoolSpec, memory: FrameMemory, lender: Option<&Arc<AllocatorObject>>) -> bool {
        match (self, lender) {
            (Memory::Pool(pool), None) => pool.spec() == spec && pool.memory() == memory && !pool.is_quarantined(),
            (Memory::Lent(lease), Some(lender)) => {
                lease.allocator.shares_source(lender) && lease.spec == spec && are_in(memory, &lease.names)
            }
            _ => false,
        }
    }
}

/// Do frames of an allocator object lie where a circuit needs them?
fn are_in(memory: FrameMemory, frames: &[Frame]) -> bool {
    memory == FrameMemory::Private || frames.iter().all(Frame::is_shared)
}

/// What the section's allocator made, for a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AllocatorReport {
    /// Frames in the circuit.
    pub frames: u32,
    /// Bytes of one.
    pub frame_bytes: u32,
}

impl PipeSection {
    /// What a frame that passes by touches.
    pub(crate) fn passing_part(&self) -> Part {
        Part::of(&self.route)
    }

    /// The AVStream pin that frames go to from here.
    pub(crate) fn next_pin(&self) -> Option<Arc<Pin>> {
        match &self.route.read().hop {
            Hop::Peer(next) => Some(next.clone()),
            _ => None,
        }
    }

    pub(crate) fn route(&self) -> Route {
        self.route.read().clone()
    }

    /// Gives the old route back, which may hold the last reference to a pin and is dropped outside of the lock.
    pub(crate) fn set_route(&self, route: Route) -> Route {
        let mut current = self.route.write();
        self.callers.store(route.frames_of == FramesOf::Callers, Ordering::SeqCst);
        std::mem::replace(&mut *current, route)
    }

    /// Whose frames come by.
    #[inline]
    pub(super) fn frames_of(&self) -> FramesOf {
        if self.callers.load(Ordering::SeqCst) { FramesOf::Callers } else { FramesOf::Section }
    }

    pub(crate) fn description(&self) -> String {
        self.description.lock().to_string()
    }

    pub(super) fn set_description(&self, text: String) {
        *self.description.lock() = text.into_boxed_str();
    }

    /// What the pins behind the border asked of the frames when they were last asked, the connected one first.
    pub(super) fn foreign_wishes(&self) -> Option<Arc<[Wish]>> {
        self.foreign_wishes.lock().clone()
    }

    pub(super) fn set_foreign_wishes(&self, wishes: Vec<Wish>) {
        let wishes = (!wishes.is_empty()).then(|| wishes.into());
        *self.foreign_wishes.lock() = wishes;
    }

    /// The foreign data source that this head asks for frames.
    pub(crate) fn asked(&self) -> Option<Arc<ForeignPeer>> {
        self.asked.lock().clone()
    }

    /// Gives back whom it asked before, to be dropped outside of the lock.
    pub(crate) fn set_asked(&self, peer: Option<Arc<ForeignPeer>>) -> Option<Arc<ForeignPeer>> {
        std::mem::replace(&mut *self.asked.lock(), peer)
    }

    /// The branch that this head sends shares by.
    pub(super) fn branch(&self) -> Option<Arc<Branch>> {
        if !self.has_branch.load(Ordering::Acquire) {
            return None;
        }
        self.branch.lock().clone()
    }

    /// Gives the old branch back, which is dropped outside of the lock.
    pub(super) fn set_branch(&self, branch: Option<Arc<Branch>>) -> Option<Arc<Branch>> {
        let mut current = self.branch.lock();
        let old = std::mem::replace(&mut *current, branch);
        self.has_branch.store(true, Ordering::Release);
        old
    }

    /// In a section of another pin, whose frames are sent on from the queue of this one's counterpart.
    pub(crate) fn is_walked_through(&self) -> bool {
        let route = self.route.read();
        matches!(route.hop, Hop::None) && route.head.strong_count() > 0
    }

    /// Notes that a foreign pin was not ready for frames that are about to be parked.
    pub(crate) fn note_not_ready(&self) {
        self.not_ready.store(true, Ordering::SeqCst);
    }

    /// Whether [`PipeSection::note_not_ready`] was called since.
    pub(crate) fn take_not_ready(&self) -> bool {
        self.not_ready.swap(false, Ordering::SeqCst)
    }

    #[inline]
    pub(crate) fn in_circuit(&self) -> bool {
        !matches!(self.route.read().hop, Hop::None)
    }

    pub(crate) fn report(&self) -> AllocatorReport {
        if let Some(branch) = self.branch() {
            return branch.report();
        }
        let state = self.state.lock();
        state.current.allocator.as_ref().map_or_else(AllocatorReport::default, |allocator| {
            let spec = allocator.memory.spec();
            AllocatorReport { frames: allocator.memory.count() as u32, frame_bytes: spec.frame_bytes as u32 }
        })
    }

    /// The frames of the allocator, by index, and the bytes of their headers.
    pub(super) fn frames(&self) -> (Vec<Frame>, usize) {
        let state = self.state.lock();
        state
            .current
            .allocator
            .as_ref()
            .map_or_else(Default::default, |allocator| (allocator.memory.names(), allocator.header_bytes))
    }

    /// Number of the allocator whose requests travel.
    pub(crate) fn generation(&self) -> u64 {
        self.state.lock().current.generation
    }

    /// The same, and what those of its frames wait for that other outputs have shares of.
    #[inline]
    pub(super) fn travelling(&self) -> (u64, Option<Arc<Splitter>>) {
        let state = self.state.lock();
        (state.current.generation, state.current.shared.clone())
    }

    /// What other outputs have shares of this one's frames by.
    pub(super) fn shared(&self) -> Option<Arc<Splitter>> {
        self.state.lock().current.shared.clone()
    }

    /// The same, made with the number of the frames if there is none; `None`: there are no frames.
    pub(super) fn share(&self, make: impl FnOnce(usize) -> Arc<Splitter>) -> Option<Arc<Splitter>> {
        let mut state = self.state.lock();
        let frames = state.current.allocator.as_ref().map(|allocator| allocator.memory.count())?;
        Some(state.current.shared.get_or_insert_with(|| make(frames)).clone())
    }

    /// Keeps requests until the section runs again. Those of an allocator that is gone go too.
    pub(crate) fn park(&self, batch: impl IntoIterator<Item = Irp>) {
        if let Some(branch) = self.branch() {
            return batch::with(|shares| {
                shares.extend(batch);
                branch.give_back(shares);
            });
        }
        // Of an allocator that is gone: with the last of them its memory goes back, which may be a driver's.
        let mut stale = Vec::new();
        let mut state = self.state.lock();
        for irp in batch {
            let generation = irp.place().circuit;
            let State { current, former, .. } = &mut *state;
            match [Some(current), former.as_deref_mut()]
                .into_iter()
                .flatten()
                .find(|kept| kept.generation == generation)
            {
                Some(kept) => {
                    let home = match &kept.shared {
                        Some(splitter) => splitter.hold(irp),
                        None => Some(irp),
                    };
                    let Some(irp) = home else { continue };
                    rewind(&irp);
                    irp.set_status(STATUS_SUCCESS);
                    kept.parked.push(irp);
                }
                None => stale.push(irp),
            }
        }
        drop(state);
        stale.into_iter().for_each(Irp::retire);
    }

    pub(crate) fn take_parked(&self) -> Vec<Irp> {
        std::mem::take(&mut self.state.lock().current.parked)
    }

    /// Makes an allocator and its requests, which are not used before [`PipeSection::install`]; `None`: what there is
    /// fits.
    pub(super) fn prepare(
        &self,
        head: &Arc<Pin>,
        framing: Framing,
        header_bytes: usize,
        memory: FrameMemory,
        lender: Option<Arc<AllocatorObject>>,
    ) -> Result<Option<Circulation>, Refusal> {
        let spec = PoolSpec {
            frames: framing.frames as usize,
            frame_bytes: framing.frame_bytes as usize,
            alignment: framing.alignment as usize,
        };
        let generation = {
            let mut state = self.state.lock();
            let fits =
                |kept: &Allocator| kept.header_bytes == header_bytes && kept.memory.fits(spec, memory, lender.as_ref());
            if state.current.allocator.as_deref().is_some_and(fits) {
                return Ok(None);
            }
            state.made += 1;
            state.made
        };
        let no_memory = |status: NtStatus| {
            let reason = format!("no memory for {} frames of {} bytes", framing.frames, framing.frame_bytes);
            Refusal::new(status, Aspect::Memory, reason)
        };
        let (memory, frames) = match lender {
            Some(allocator) => {
                let frames = allocator.lend(spec.frames).map_err(|status| {
                    if status != STATUS_NOT_SUPPORTED {
                        return no_memory(status);
                    }
                    let what =
                        "is memory that is not there, not aligned as agreed, in use already, or none of the engine's";
                    Refusal::new(status, Aspect::Memory, format!("a frame of the allocator {what}"))
                })?;
                if !are_in(memory, &frames) {
                    let reason = "a frame of the allocator is none that another process can map";
                    return Err(Refusal::new(STATUS_NOT_SUPPORTED, Aspect::Memory, reason));
                }
                (Memory::Lent(Lease { allocator, spec, names: frames.clone() }), frames)
            }
            None => {
                let pool = FramePool::in_memory(memory, spec, head.io().regions())
                    .map_err(|_| no_memory(STATUS_INSUFFICIENT_RESOURCES))?;
                let frames: Vec<Frame> = std::iter::from_fn(|| pool.take()).collect();
                (Memory::Pool(pool), frames)
            }
        };
        let parked = Vec::with_capacity(spec.frames);
        let mut fresh = Circulation { allocator: None, parked, generation, shared: None };
        let is_pool = matches!(memory, Memory::Pool(_));
        // As `Memory::names` counts them: each frame of an allocator object is the first of its own region.
        let numbers: Vec<usize> =
            frames.iter().enumerate().map(|(at, frame)| if is_pool { frame.index() } else { at }).collect();
        let made = StreamFrames::row(header_bytes, frames.into_iter()).map_err(no_memory)?;
        for (frames, number) in made.zip(numbers) {
            let place = CircuitPlace { circuit: generation, frame: number as u32 };
            match Irp::circuit(head.origin(), frames.of_circuit(place)) {
                Ok(irp) => fresh.parked.push(irp),
                Err(status) => {
                    fresh.retire();
                    return Err(no_memory(status));
                }
            }
        }
        fresh.allocator = Some(Box::new(Allocator { memory, header_bytes }));
        Ok(Some(fresh))
    }

    /// Gives back frames of an allocator object; a pool of the section's own stays.
    pub(super) fn free_lent(&self) {
        let lent = {
            let state = self.state.lock();
            state.current.allocator.as_ref().is_some_and(|kept| matches!(kept.memory, Memory::Lent(_)))
        };
        if lent {
            self.free();
        }
    }

    /// Gives back what `pin` brought, which closes.
    pub(super) fn free_frames_of(&self, pin: &Pin) {
        let brought = |kept: &Circulation| match kept.allocator.as_deref() {
            Some(Allocator { memory: Memory::Lent(lease), .. }) => lease.allocator.is_of(pin),
            _ => false,
        };
        let is_any = {
            let state = self.state.lock();
            brought(&state.current) || state.former.as_deref().is_some_and(brought)
        };
        if is_any {
            self.free();
        }
    }

    /// No allocator and no requests; `None`: there are none.
    pub(super) fn prepare_none(&self) -> Option<Circulation> {
        let mut state = self.state.lock();
        state.current.allocator.as_ref()?;
        state.made += 1;
        Some(Circulation { generation: state.made, ..Circulation::default() })
    }

    /// Puts a prepared allocator in the place of the one that there is, which is kept until [`PipeSection::settle`] or
    /// [`PipeSection::restore`].
    pub(super) fn install(&self, fresh: Circulation) {
        let gone = {
            let mut state = self.state.lock();
            let old = std::mem::replace(&mut state.current, fresh);
            state.former.replace(Box::new(old))
        };
        gone.into_iter().for_each(|gone| gone.retire());
    }

    /// The state change succeeded: what it replaced goes.
    pub(super) fn settle(&self) {
        let gone = self.state.lock().former.take();
        gone.into_iter().for_each(|gone| gone.retire());
    }

    /// The state change was taken back: what it replaced is there again. Its own requests go, those that still travel
    /// when they return.
    pub(super) fn restore(&self) {
        let gone = {
            let mut state = self.state.lock();
            state.former.take().map(|old| std::mem::replace(&mut state.current, *old))
        };
        gone.into_iter().for_each(Circulation::retire);
    }

    /// Gives the frames back; those still travelling go when they return.
    pub(crate) fn free(&self) {
        let branch = if self.branch().is_some() { self.set_branch(None) } else { None };
        drop(branch);
        let gone = {
            let mut state = self.state.lock();
            state.made += 1;
            let none = Circulation { generation: state.made, ..Circulation::default() };
            [Some(std::mem::replace(&mut state.current, none)), state.former.take().map(|former| *former)]
        };
        gone.into_iter().flatten().for_each(Circulation::retire);
    }
}

impl Circulation {
    /// The requests go, and with the last of them the allocator's memory.
    pub(super) fn retire(self) {
        self.parked.into_iter().for_each(Irp::retire);
    }
}

/// The request's frames are empty again.
pub(super) fn rewind(irp: &Irp) {
    for frame in irp.stream().into_iter().flat_map(StreamFrames::iter) {
        frame.rewind();
    }
}
