//! A pipe section: the pins that share one allocator, and the frames that travel round them.
//!
//! The section belongs to its head, the data source whose frames are filled first. The circuit of a frame is: the
//! head's queue, the queue of each pin downstream, and from the last data sink back to the head. It is found by walking
//! the connections when the head acquires, and pins of an in-place filter are walked through.

use crate::descriptor::Framing;
use crate::pin::Pin;
use crate::queue::Outgoing;
use ks_abi::{KsPinDataFlow, KsState, NtStatus, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER};
use ks_io::sync::{Arc, Mutex, RwLock, Weak};
use ks_io::{Aspect, Irp, Refusal, StreamFrames, Work, deferred};
use ks_mem::{FramePool, PoolSpec};

/// Frames in a circuit when no pin asks for a number.
const DEFAULT_FRAMES: u32 = 8;
/// The most frames of a circuit, and the most memory that they may have together.
const MOST_FRAMES: u32 = 1024;
const MOST_BYTES: u64 = 4 << 30;

/// Where a pin's frames go when they leave its queue.
#[derive(Clone, Default)]
pub(crate) enum Hop {
    /// Nowhere: the pin is in no circuit.
    #[default]
    None,
    /// To the queue of the connected AVStream pin.
    Peer(Arc<Pin>),
    /// Back to the head of the section.
    Return,
    /// To a pin that is none of AVStream's, as requests of their own.
    Foreign(Arc<crate::foreign::ForeignPeer>),
}

impl Hop {
    fn from_foreign(peer: &Option<Arc<crate::foreign::ForeignPeer>>) -> Hop {
        peer.clone().map_or(Hop::None, Hop::Foreign)
    }
}

/// A pin's place in a circuit.
#[derive(Clone, Default)]
pub(crate) struct Route {
    pub(crate) hop: Hop,
    pub(crate) head: Weak<Pin>,
}

/// The section that a pin heads. It exists from the pin's create, also while it has one pin and no frames.
#[derive(Default)]
pub(crate) struct PipeSection {
    state: Mutex<State>,
    /// Read at each hop, written when the circuit is bound or let go.
    route: RwLock<Route>,
}

#[derive(Default)]
struct State {
    allocator: Option<Allocator>,
    /// Requests that do not travel: the section is stopped, or a pin downstream does not take them.
    parked: Vec<Irp>,
    generation: u64,
}

struct Allocator {
    pool: FramePool,
    header_bytes: usize,
}

/// What the section's allocator made, for a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AllocatorReport {
    /// Frames in the circuit.
    pub frames: u32,
    /// Bytes of one.
    pub frame_bytes: u32,
}

/// The word of an IRP that says for which allocator it was made.
pub(crate) const GENERATION: usize = 3;

impl PipeSection {
    pub(crate) fn route(&self) -> Route {
        self.route.read().clone()
    }

    pub(crate) fn set_route(&self, route: Route) {
        *self.route.write() = route;
    }

    #[inline]
    pub(crate) fn in_circuit(&self) -> bool {
        !matches!(self.route.read().hop, Hop::None)
    }

    pub(crate) fn report(&self) -> AllocatorReport {
        let state = self.state.lock();
        state.allocator.as_ref().map_or_else(AllocatorReport::default, |allocator| {
            let spec = allocator.pool.spec();
            AllocatorReport { frames: spec.frames as u32, frame_bytes: spec.frame_bytes as u32 }
        })
    }

    /// Keeps requests until the section runs again. Those of an earlier allocator go.
    pub(crate) fn park(&self, batch: impl IntoIterator<Item = Irp>) {
        let mut state = self.state.lock();
        for irp in batch {
            if irp.driver_context(GENERATION) == state.generation {
                rewind(&irp);
                irp.set_status(ks_abi::STATUS_SUCCESS);
                state.parked.push(irp);
            } else {
                irp.retire();
            }
        }
    }

    pub(crate) fn take_parked(&self) -> Vec<Irp> {
        std::mem::take(&mut self.state.lock().parked)
    }

    /// Makes the allocator and its requests, all parked; keeps those of the last time when they still fit.
    pub(crate) fn allocate(&self, head: &Pin, framing: Framing, header_bytes: usize) -> Result<(), Refusal> {
        let spec = PoolSpec {
            frames: framing.frames as usize,
            frame_bytes: framing.frame_bytes as usize,
            alignment: framing.alignment as usize,
        };
        let mut state = self.state.lock();
        if state.allocator.as_ref().is_some_and(|kept| kept.pool.spec() == spec && kept.header_bytes == header_bytes) {
            return Ok(());
        }
        let no_memory = |status: NtStatus| {
            let reason = format!("no memory for {} frames of {} bytes", framing.frames, framing.frame_bytes);
            Refusal::new(status, Aspect::Memory, reason)
        };
        let pool = FramePool::new(spec, head.io().regions()).map_err(|_| no_memory(STATUS_INSUFFICIENT_RESOURCES))?;
        let generation = state.generation + 1;
        let mut fresh = Vec::with_capacity(spec.frames);
        while let Some(frame) = pool.take() {
            let frames = StreamFrames::empty(header_bytes, frame).map_err(no_memory)?;
            let irp = Irp::circuit(head.origin(), frames).map_err(no_memory)?;
            irp.set_driver_context(GENERATION, generation);
            fresh.push(irp);
        }
        state.generation = generation;
        for old in std::mem::replace(&mut state.parked, fresh) {
            old.retire();
        }
        state.allocator = Some(Allocator { pool, header_bytes });
        Ok(())
    }

    /// Gives the frames back; those still travelling go when they return.
    pub(crate) fn free(&self) {
        let mut state = self.state.lock();
        state.generation += 1;
        state.allocator = None;
        for irp in state.parked.drain(..) {
            irp.retire();
        }
    }
}

/// A start of a section that a thread could not make while it held a route.
struct Restart(Weak<Pin>);

impl Work for Restart {
    fn run(self: Arc<Self>) {
        if let Some(head) = self.0.upgrade() {
            head.start_circuit();
        }
    }
}

fn rewind(irp: &Irp) {
    for frame in irp.stream().into_iter().flat_map(StreamFrames::iter) {
        frame.rewind();
    }
}

impl Pin {
    /// The pins of the circuit that this data source heads, in the order of the data, itself first.
    fn circuit(self: &Arc<Pin>) -> Vec<Arc<Pin>> {
        let mut pins = vec![self.clone()];
        let mut source = self.clone();
        while let Some(sink) = source.peer() {
            pins.push(sink.clone());
            match sink.in_place_counterpart() {
                Some(next) if next.is_connected() && !pins.iter().any(|pin| Arc::ptr_eq(pin, &next)) => source = next,
                _ => break,
            }
        }
        pins
    }

    /// True for a data source whose frames are filled first, and not by a filter that works in place on its input.
    pub(crate) fn is_head(self: &Arc<Pin>) -> bool {
        if !self.is_connected() {
            return false;
        }
        if self.data_flow() != KsPinDataFlow::OUT {
            // A data sink that asks a foreign source for frames owns them.
            return self.peer().is_none();
        }
        self.in_place_counterpart().is_none_or(|input| !input.is_connected())
    }

    /// Builds the circuit: allocator over all pins' framing, requests, and each pin's next hop.
    pub(crate) fn bind_circuit(self: &Arc<Pin>) -> Result<(), Refusal> {
        let pins = self.circuit();
        let mut framing = Framing::default();
        for pin in &pins {
            let asked = pin.framing();
            framing.frames = framing.frames.max(asked.frames);
            framing.frame_bytes = framing.frame_bytes.max(asked.frame_bytes);
            framing.alignment = framing.alignment.max(asked.alignment);
        }
        if framing.frames == 0 {
            framing.frames = DEFAULT_FRAMES;
        }
        framing.frames = framing.frames.min(MOST_FRAMES);
        framing.alignment = framing.alignment.max(64);
        let bytes = u64::from(framing.frames) * u64::from(framing.frame_bytes);
        if framing.frame_bytes == 0 || bytes > MOST_BYTES || !framing.alignment.is_power_of_two() {
            let reason = format!(
                "{}: no allocator for {} frames of {} bytes aligned to {}; give the pins a framing",
                self.describe(),
                framing.frames,
                framing.frame_bytes,
                framing.alignment
            );
            return Err(Refusal::new(STATUS_INVALID_PARAMETER, Aspect::Memory, reason));
        }
        let header_bytes = pins.iter().map(|pin| pin.stream_header_bytes() as usize).max().unwrap_or(0);
        self.pipe().allocate(self, framing, header_bytes)?;
        let head = Arc::downgrade(self);
        let foreign = self.foreign_peer();
        for pin in &pins {
            let hop = match pin.data_flow() {
                _ if Arc::ptr_eq(pin, self) && foreign.is_some() => Hop::from_foreign(&foreign),
                KsPinDataFlow::OUT => match pin.peer() {
                    Some(peer) => Hop::Peer(peer),
                    None => Hop::None,
                },
                _ => match pin.in_place_counterpart().and_then(|next| next.peer()) {
                    Some(peer) => Hop::Peer(peer),
                    None => Hop::Return,
                },
            };
            pin.pipe().set_route(Route { hop, head: head.clone() });
            if let Some(output) = pin.in_place_counterpart() {
                output.pipe().set_route(Route { hop: Hop::None, head: head.clone() });
            }
        }
        Ok(())
    }

    /// Sends every parked request of this head to its queue, if all pins of the section take part.
    pub(crate) fn start_circuit(self: &Arc<Pin>) {
        let Some(head) = self.pipe().route().head.upgrade() else { return };
        let ready = head.circuit().iter().all(|pin| pin.state() >= KsState::ACQUIRE && !pin.is_gone());
        if ready {
            let mut parked = head.pipe().take_parked();
            match (parked.is_empty(), head.data_flow(), head.pipe().route().hop) {
                (true, ..) => {}
                (_, KsPinDataFlow::IN, Hop::Foreign(peer)) => peer.send(&mut parked),
                _ => head.receive(&mut parked),
            }
        }
    }

    /// Requests that left this pin's queue: to their callers, to the next hop, or back to the head to wait. `outgoing` is
    /// empty afterwards.
    pub(crate) fn forward(self: &Arc<Pin>, outgoing: &mut Outgoing) {
        // Attempts of the next pin run when this guard goes, after the route below is released.
        let _inside = deferred::enter();
        for irp in outgoing.callers.drain(..) {
            crate::stream_io::complete(irp, self.data_flow());
        }
        if !outgoing.parked.is_empty() {
            self.park_at(&self.pipe().route(), outgoing.parked.drain(..));
            self.start_again_if_open();
        }
        if outgoing.onward.is_empty() {
            return;
        }
        let foreign = {
            // Held while the frames go into the next queue, which calls nobody: no reference is counted a hop.
            let route = self.pipe().route.read();
            match &route.hop {
                Hop::Peer(peer) => return peer.receive(&mut outgoing.onward),
                Hop::Return => return self.recirculate(&route, &mut outgoing.onward),
                Hop::Foreign(peer) => peer.clone(),
                Hop::None => return self.park_at(&route, outgoing.onward.drain(..)),
            }
        };
        foreign.send(&mut outgoing.onward);
    }

    /// The queue may have been opened, and the section started, between a refusal and the parking of its frames: then
    /// nobody else would start them.
    fn start_again_if_open(&self) {
        if self.queue().is_some_and(|queue| queue.accepts()) {
            deferred::run_later(Arc::new(Restart(self.pipe().route().head)));
        }
    }

    fn park_at(&self, route: &Route, batch: impl IntoIterator<Item = Irp>) {
        match route.head.upgrade() {
            Some(head) => head.pipe().park(batch),
            None => batch.into_iter().for_each(Irp::retire),
        }
    }

    /// Back to the head, empty again.
    fn recirculate(&self, route: &Route, batch: &mut Vec<Irp>) {
        let Some(head) = route.head.upgrade() else {
            batch.drain(..).for_each(Irp::retire);
            return;
        };
        let generation = head.pipe().state.lock().generation;
        if batch.iter().any(|irp| irp.driver_context(GENERATION) != generation) {
            head.pipe().park(batch.drain(..));
            return;
        }
        for irp in batch.iter() {
            rewind(irp);
        }
        head.receive(batch);
    }

    /// A frame that came back from a foreign data sink.
    pub(crate) fn recirculate_own(self: &Arc<Pin>, irp: Irp) {
        self.recirculate(&self.pipe().route(), &mut vec![irp]);
    }

    /// Frames of the circuit arrive at this pin.
    pub(crate) fn receive(self: &Arc<Pin>, batch: &mut Vec<Irp>) {
        let Some(queue) = self.queue() else {
            let route = self.pipe().route();
            self.park_at(&route, batch.drain(..));
            return;
        };
        let arrival = queue.add(batch);
        if !arrival.refused.is_empty() {
            let route = self.pipe().route();
            self.park_at(&route, arrival.refused.into_iter().map(|(irp, _)| irp));
            self.start_again_if_open();
        }
        if self.triggers(arrival.into_empty) {
            self.again.store(true, ks_io::sync::atomic::Ordering::SeqCst);
            deferred::run_later(self.clone());
        }
    }
}
