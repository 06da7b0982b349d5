//! A pipe section: the pins that share one allocator, and the frames that travel round them.
//!
//! The section belongs to its head, the data source whose frames are filled first. The circuit of a frame is: the
//! head's queue, the queue of each pin downstream, and from the last data sink back to the head. It is found by walking
//! the connections when the head acquires, and pins of an in-place filter are walked through.

mod section;
mod splitter;

use crate::allocator::AllocatorObject;
use crate::batch;
use crate::descriptor::Framing;
use crate::injection::Homecoming;
use crate::pin::Pin;
use crate::queue::{Arrival, Outgoing};
use ks_abi::{KsPinDataFlow, KsState, STATUS_INVALID_PARAMETER, STATUS_NOT_IMPLEMENTED, STATUS_NOT_SUPPORTED};
use ks_io::sync::{Arc, Weak};
use ks_io::{Aspect, Irp, Refusal, Work, deferred};
use ks_mem::{Frame, FrameMemory};
use section::{Circulation, rewind};
use splitter::{Branch, Splitter};

pub use section::AllocatorReport;
pub(crate) use section::PipeSection;

/// Frames in a circuit when no pin asks for a number.
const DEFAULT_FRAMES: u32 = 8;
/// The most frames of a circuit.
const MOST_FRAMES: u32 = 1024;
/// The most memory that the frames of a circuit have together, unless the device says another number: eight frames of
/// the largest picture in use (7680 by 4320, 12 bits a pixel).
pub(crate) const MOST_CIRCUIT_BYTES: u64 = 512 << 20;

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
    /// Back to the head, and somebody wants to know.
    Home(Arc<Homecoming>),
    /// To the branches of a splitter, of which this is the input.
    Split(Arc<Splitter>),
    /// Home to the branch that shared it.
    GiveBack(Arc<Branch>),
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

/// A circuit that is made and not in use yet.
pub(crate) struct PreparedCircuit {
    /// In the order of the data, the head first.
    pins: Vec<Arc<Pin>>,
    /// `None`: the allocator of the last time still fits.
    fresh: Option<Circulation>,
}

impl PreparedCircuit {
    /// The minidriver refused: the memory goes back.
    pub(crate) fn abandon(self) {
        self.fresh.into_iter().for_each(Circulation::retire);
    }
}

/// What a new circuit replaced.
#[derive(Default)]
pub(crate) struct Replaced {
    routes: Vec<(Arc<Pin>, Route)>,
    branches: Vec<(Arc<Pin>, Option<Arc<Branch>>)>,
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

impl Pin {
    /// The pins of the circuit that this data source heads, in the order of the data, itself first.
    pub(crate) fn circuit(self: &Arc<Pin>) -> Vec<Arc<Pin>> {
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

    /// Makes what the circuit needs, and changes nothing: an allocator over all pins' framing, with its requests.
    pub(crate) fn prepare_circuit(self: &Arc<Pin>) -> Result<PreparedCircuit, Refusal> {
        if self.is_splitter_output() {
            // Its frames are those of the circuit that its input is in.
            return Ok(PreparedCircuit { pins: Vec::new(), fresh: None });
        }
        if self.data_flow() != KsPinDataFlow::OUT
            && self.in_place_counterpart().is_some_and(|output| output.is_connected())
        {
            let reason = format!(
                "{}: frames that are asked of another driver's pin cannot go on through a filter that works in place yet; \
                 behind a tee they can",
                self.describe()
            );
            return Err(Refusal::new(STATUS_NOT_IMPLEMENTED, Aspect::Driver, reason));
        }
        let pins = self.tree();
        if self.returns().injects() {
            if pins.iter().any(|pin| pin.splitter_outputs().is_some()) {
                let reason = format!("{}: frames that a driver injects cannot be split yet", self.describe());
                return Err(Refusal::new(STATUS_NOT_IMPLEMENTED, Aspect::Driver, reason));
            }
            // The driver brings the frames.
            let fresh = self.pipe().prepare_none();
            return Ok(PreparedCircuit { pins, fresh });
        }
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
        let lender = pins.iter().find_map(|pin| pin.named_allocator());
        framing = match &lender {
            Some(allocator) => self.lent_framing(allocator, framing)?,
            None => Framing { alignment: framing.alignment.max(64), ..framing },
        };
        let bytes = u64::from(framing.frames) * u64::from(framing.frame_bytes);
        let most_bytes = self.filter().device().most_circuit_bytes();
        if framing.frame_bytes == 0 || bytes > most_bytes || !framing.alignment.is_power_of_two() {
            let reason = format!(
                "{}: no allocator for {} frames of {} bytes aligned to {} (at most {} bytes); give the pins a framing",
                self.describe(),
                framing.frames,
                framing.frame_bytes,
                framing.alignment,
                most_bytes
            );
            return Err(Refusal::new(STATUS_INVALID_PARAMETER, Aspect::Memory, reason));
        }
        let memory = Pin::memory_of(&pins);
        if lender.is_some() && memory == FrameMemory::Shared {
            let reason = format!("{}: an allocator object has no memory that another process can map", self.describe());
            return Err(Refusal::new(STATUS_NOT_SUPPORTED, Aspect::Memory, reason));
        }
        let fresh = self.pipe().prepare(self, framing, Pin::header_bytes_of(&pins), memory, lender)?;
        let pins = self.circuit();
        Ok(PreparedCircuit { pins, fresh })
    }

    /// What a circuit has of an allocator object that a client named, which must do for what the pins ask.
    fn lent_framing(&self, allocator: &AllocatorObject, asked: Framing) -> Result<Framing, Refusal> {
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

    /// Bytes of a stream header that is long enough for each pin of a circuit.
    pub(crate) fn header_bytes_of(pins: &[Arc<Pin>]) -> usize {
        pins.iter().map(|pin| pin.stream_header_bytes() as usize).max().unwrap_or(0)
    }

    /// Which memory the frames of a circuit lie in: frames that cross to another process in memory that it can map.
    pub(crate) fn memory_of(pins: &[Arc<Pin>]) -> FrameMemory {
        let outputs = pins.iter().filter_map(|pin| pin.in_place_counterpart());
        let foreign = pins.iter().cloned().chain(outputs).find_map(|pin| pin.foreign_peer(&None));
        foreign.map_or(FrameMemory::Private, |peer| peer.frame_memory())
    }

    /// Puts the prepared circuit into use: its allocator, and each pin's next hop.
    pub(crate) fn bind_circuit(self: &Arc<Pin>, prepared: PreparedCircuit) -> Replaced {
        if let Some(fresh) = prepared.fresh {
            self.pipe().install(fresh);
        }
        let mut replaced = Replaced::default();
        if !self.is_splitter_output() {
            self.bind_pins(&prepared.pins, &Hop::Return, &|| self.pipe().frames(), &mut replaced);
        } else if let Some(input) = self.splitter_input() {
            self.join_splitter(&input, &mut replaced);
        }
        replaced
    }

    /// Writes the route of each pin that is headed by this one; `end` is where a frame goes behind the last of them, and
    /// `frames` tells the frames by index, with the bytes of their headers.
    fn bind_pins(
        self: &Arc<Pin>,
        pins: &[Arc<Pin>],
        end: &Hop,
        frames: &dyn Fn() -> (Vec<Frame>, usize),
        replaced: &mut Replaced,
    ) {
        let home = Homecoming::of(self, pins);
        let end = match (&home, end) {
            (Some(home), Hop::Return) => &Hop::Home(home.clone()),
            _ => end,
        };
        let foreign = self.foreign_peer(&home);
        for pin in pins {
            let hop = match pin.data_flow() {
                _ if Arc::ptr_eq(pin, self) && foreign.is_some() => Hop::from_foreign(&foreign),
                KsPinDataFlow::OUT => match pin.peer() {
                    Some(peer) => Hop::Peer(peer),
                    None => Hop::None,
                },
                _ => match pin.in_place_counterpart() {
                    Some(next) => match (next.peer(), next.foreign_peer(&home)) {
                        (Some(peer), _) => Hop::Peer(peer),
                        (_, Some(foreign)) => Hop::Foreign(foreign),
                        _ => end.clone(),
                    },
                    None => end.clone(),
                },
            };
            if let Some(outputs) = pin.splitter_outputs() {
                pin.bind_splitter(self, &outputs, hop, frames, replaced);
                continue;
            }
            let mut set = |pin: &Arc<Pin>, hop| {
                let route = Route { hop, head: Arc::downgrade(self) };
                replaced.routes.push((pin.clone(), pin.pipe().set_route(route)));
            };
            set(pin, hop);
            if let Some(output) = pin.in_place_counterpart() {
                set(&output, Hop::None);
            }
        }
    }

    /// The state change that bound the circuit succeeded.
    pub(crate) fn keep_circuit(&self, replaced: Replaced) {
        drop(replaced);
        self.pipe().settle();
    }

    /// The state change that bound the circuit was taken back: so is the circuit.
    pub(crate) fn unbind_circuit(&self, replaced: Replaced) {
        self.pipe().restore();
        // The last route that was written is the first to be taken back: a pin may be there twice.
        for (pin, route) in replaced.routes.into_iter().rev() {
            drop(pin.pipe().set_route(route));
        }
        for (pin, branch) in replaced.branches.into_iter().rev() {
            drop(pin.pipe().set_branch(branch));
        }
    }

    /// Sends every parked request of this head to its queue, if all pins of the section take part.
    pub(crate) fn start_circuit(self: &Arc<Pin>) {
        let Some(head) = self.pipe().route().head.upgrade() else { return };
        let ready = head.circuit().iter().all(|pin| pin.agreed_state() >= KsState::ACQUIRE && !pin.is_gone());
        if ready {
            let mut parked = head.pipe().take_parked();
            let hop = match head.pipe().route().hop {
                Hop::Split(splitter) => splitter.after().clone(),
                hop => hop,
            };
            match (parked.is_empty(), head.data_flow(), hop) {
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
        let (next, arrival) = {
            // Held while the frames go into the next queue, which calls nobody.
            let route = self.pipe().route.read();
            let next = match &route.hop {
                Hop::Peer(peer) => peer.clone(),
                Hop::Return => match self.emptied(&route, &mut outgoing.onward) {
                    Some(head) => head,
                    None => return,
                },
                Hop::Home(home) => {
                    let home = home.clone();
                    drop(route);
                    return self.come_home(&home, &mut outgoing.onward);
                }
                Hop::Foreign(peer) => {
                    let peer = peer.clone();
                    if peer.is_source()
                        && let Some(home) = peer.home()
                    {
                        let known = route.clone();
                        drop(route);
                        return self.ask_again(home, &known, &peer, &mut outgoing.onward);
                    }
                    // A data sink asks again with the frames that it has read: they are empty.
                    if peer.is_source() && self.emptied(&route, &mut outgoing.onward).is_none() {
                        return;
                    }
                    drop(route);
                    return peer.send(&mut outgoing.onward);
                }
                Hop::GiveBack(branch) => {
                    let branch = branch.clone();
                    drop(route);
                    branch.tell(&outgoing.onward);
                    return branch.give_back(&mut outgoing.onward);
                }
                Hop::Split(splitter) => {
                    let splitter = splitter.clone();
                    drop(route);
                    splitter.split(&mut outgoing.onward);
                    if !outgoing.onward.is_empty() {
                        self.go_on_after_split(&mut outgoing.onward);
                    }
                    return;
                }
                Hop::None => return self.park_at(&route, outgoing.onward.drain(..)),
            };
            let arrival = next.take_in(&mut outgoing.onward);
            (next, arrival)
        };
        next.arrived(arrival);
    }

    /// The queue may have been opened, and the section started, between a refusal and the parking of its frames: then
    /// nobody else would start them.
    fn start_again_if_open(&self) {
        if self.queue().is_some_and(|queue| queue.accepts()) {
            deferred::run_later(Arc::new(Restart(self.pipe().route().head)));
        }
    }

    pub(crate) fn park_at(&self, route: &Route, batch: impl IntoIterator<Item = Irp>) {
        match route.head.upgrade() {
            Some(head) if head.returns().injects() => head.take_back(batch),
            Some(head) => head.pipe().park(batch),
            None => batch.into_iter().for_each(Irp::retire),
        }
    }

    /// Empties requests that go back to the head. Without one, or when they are of an earlier allocator, they go no
    /// further.
    pub(crate) fn emptied(&self, route: &Route, batch: &mut Vec<Irp>) -> Option<Arc<Pin>> {
        let Some(head) = route.head.upgrade() else {
            batch.drain(..).for_each(Irp::retire);
            return None;
        };
        if let Some(branch) = head.pipe().branch() {
            // The foreign end of a branch.
            branch.give_back(batch);
            return None;
        }
        let generation = head.pipe().generation();
        if batch.iter().any(|irp| irp.place().circuit != generation) {
            head.pipe().park(batch.drain(..));
            return None;
        }
        for irp in batch.iter() {
            rewind(irp);
        }
        Some(head)
    }

    /// A frame that came back from a foreign data sink.
    pub(crate) fn recirculate_own(&self, irp: Irp) {
        batch::of_one(irp, |batch| {
            if let Some(head) = self.emptied(&self.pipe().route(), batch) {
                head.receive(batch);
            }
        });
    }

    /// Frames of the circuit arrive at this pin.
    pub(crate) fn receive(self: Arc<Pin>, batch: &mut Vec<Irp>) {
        let arrival = self.take_in(batch);
        self.arrived(arrival);
    }

    /// Puts frames of the circuit into the queue; `batch` is empty afterwards. The route of the pin before may be held:
    /// nobody is called, and what follows from the arrival is for [`Pin::arrived`].
    fn take_in(&self, batch: &mut Vec<Irp>) -> Arrival {
        match self.queue() {
            Some(queue) => queue.add(batch),
            None => {
                self.park_at(&self.pipe().route(), batch.drain(..));
                Arrival::default()
            }
        }
    }

    /// Frames have arrived, and no lock is held.
    fn arrived(self: Arc<Pin>, arrival: Arrival) {
        if !arrival.refused.is_empty() {
            let route = self.pipe().route();
            let refused = arrival.refused.into_iter().map(|(irp, status)| {
                irp.set_status(status);
                irp
            });
            self.park_at(&route, refused);
            self.start_again_if_open();
        }
        if self.triggers(arrival.into_empty) {
            self.again.store(true, ks_io::sync::atomic::Ordering::SeqCst);
            deferred::run_later(self);
        }
    }
}
