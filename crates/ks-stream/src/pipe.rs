//! A pipe section: the pins that share one allocator, and the frames that travel round them.
//!
//! The section belongs to its head, the data source whose frames are filled first. The circuit of a frame is: the
//! head's queue, the queue of each pin downstream, and from the last data sink back to the head. It is found by walking
//! the connections when the head acquires, and pins of an in-place filter are walked through.

mod branches;
mod copies;
mod delegates;
mod external;
mod foreign_framing;
mod frame_size;
mod framing;
mod owner;
mod report;
mod section;
mod splitter;
mod wishes;

use crate::batch;
use crate::descriptor::Framing;
use crate::foreign::ForeignPeer;
use crate::injection::Homecoming;
use crate::pin::Pin;
use crate::queue::{Arrival, Outgoing};
use ks_abi::{KsPinDataFlow, KsState, NtStatus, STATUS_INVALID_PARAMETER, STATUS_SUCCESS};
use ks_io::sync::{Arc, Weak};
use ks_io::{Aspect, Irp, Refusal, Work, deferred};
use ks_mem::{Frame, FrameMemory};
use section::{Circulation, rewind};
use splitter::{Branch, Splitter};

pub(crate) use copies::Copies;
pub(crate) use foreign_framing::wishes as tell_wishes;
pub(crate) use framing::is_process_memory;
pub use section::AllocatorReport;
pub(crate) use section::PipeSection;

/// What the frames of a section's own allocator are aligned to at least.
const LEAST_ALIGNMENT: u32 = 64;
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
    /// To a data sink that is none of AVStream's, as requests of their own.
    Foreign(Arc<ForeignPeer>),
    /// Back to the head, which has a foreign data source fill them again.
    Ask,
    /// To the caller whose request it is.
    Complete(Option<Arc<Homecoming>>),
}

/// Whose frames travel in a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum FramesOf {
    /// The section's, from its allocator or its driver.
    #[default]
    Section,
    /// Those of requests that callers send to its entry.
    Callers,
}

impl FramesOf {
    fn of(head: &Pin) -> FramesOf {
        if head.is_entry() { FramesOf::Callers } else { FramesOf::Section }
    }
}

/// A pin's place in a circuit.
#[derive(Clone, Default)]
pub(crate) struct Route {
    pub(crate) hop: Hop,
    pub(crate) head: Weak<Pin>,
    pub(crate) frames_of: FramesOf,
}

/// A circuit that is made and not in use yet.
#[derive(Default)]
pub(crate) struct PreparedCircuit {
    /// In the order of the data, the head first.
    pins: Vec<Arc<Pin>>,
    /// `None`: the allocator of the last time still fits.
    fresh: Option<Circulation>,
    /// For those who ask what the section is.
    description: String,
    /// The output whose frames this head is to share, instead of having its own.
    leader: Option<Arc<Pin>>,
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
    /// The pins of the circuit that this pin heads, in the order of the data, itself first; of a filter that works in
    /// place only the input.
    pub(crate) fn circuit(self: &Arc<Pin>) -> Vec<Arc<Pin>> {
        let mut pins = vec![self.clone()];
        let mut source = match self.data_flow() {
            KsPinDataFlow::OUT => self.clone(),
            // A data sink that heads a section: its filter may work in place.
            _ => match self.in_place_counterpart() {
                Some(output) => output,
                None => return pins,
            },
        };
        while let Some(sink) = source.transport_peer() {
            pins.push(sink.clone());
            match sink.in_place_counterpart() {
                Some(next) if next.is_connected() && !pins.iter().any(|pin| Arc::ptr_eq(pin, &next)) => source = next,
                _ => break,
            }
        }
        pins
    }

    /// True for a data source whose frames are filled first, and not by a filter that works in place on its input; and
    /// for a data sink that is the first of AVStream's pins that frames of a foreign source come to.
    pub(crate) fn is_head(self: &Arc<Pin>) -> bool {
        if self.queue().is_none() {
            return false;
        }
        if !self.is_connected() {
            return self.is_entry();
        }
        if self.data_flow() != KsPinDataFlow::OUT {
            // A data sink that asks a foreign source for frames owns them.
            return self.peer().is_none();
        }
        self.in_place_counterpart()
            .is_none_or(|input| input.queue().is_none() || !input.is_connected() && !input.is_entry())
    }

    /// Makes what the circuit needs, and changes nothing: an allocator over all pins' framing, with its requests.
    pub(crate) fn prepare_circuit(self: &Arc<Pin>) -> Result<PreparedCircuit, Refusal> {
        if self.is_splitter_output() {
            // Its frames are those of the circuit that its input is in.
            return Ok(PreparedCircuit::default());
        }
        if let Some(leader) = self.leader() {
            // What it had of its own goes.
            let fresh = self.pipe().prepare_none();
            return Ok(PreparedCircuit { fresh, leader: Some(leader), ..PreparedCircuit::default() });
        }
        let pins = self.circuit();
        if self.is_entry() {
            let fresh = self.pipe().prepare_none();
            let description = report::of_callers(&pins);
            return Ok(PreparedCircuit { description, pins, fresh, leader: None });
        }
        let (wishes, all) = wishes::wishes_of(self);
        if self.returns().injects() {
            let fresh = self.pipe().prepare_none();
            let description = report::of_injection(&pins);
            return Ok(PreparedCircuit { description, pins, fresh, leader: None });
        }
        let (agreed, all) = match self.agree_with_delegates() {
            Some(agreed) => agreed,
            None => (foreign_framing::agree_with_foreign(&wishes)?, all),
        };
        let asked = agreed.framing;
        let memory = Pin::memory_of(&all);
        let owner = self.owner_of(&agreed, &all, memory)?;
        let framing = match &owner.allocator {
            Some(allocator) => self.lent_framing(allocator, asked)?,
            None => Framing { alignment: asked.alignment.max(LEAST_ALIGNMENT), ..asked },
        };
        if !self.has_room_for(framing) || !framing.alignment.is_power_of_two() {
            let most_bytes = self.filter().device().most_circuit_bytes();
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
        let description = report::of_section(&pins, &agreed, framing, memory, &owner.words);
        let fresh = self.pipe().prepare(self, framing, Pin::header_bytes_of(&all), memory, owner.allocator)?;
        Ok(PreparedCircuit { pins, fresh, description, leader: None })
    }

    /// Bytes of a stream header that is long enough for each pin of a circuit.
    pub(crate) fn header_bytes_of(pins: &[Arc<Pin>]) -> usize {
        pins.iter().map(|pin| pin.stream_header_bytes() as usize).max().unwrap_or(0)
    }

    /// Which memory the frames of a circuit lie in: frames that cross to another process in memory that it can map.
    pub(crate) fn memory_of(pins: &[Arc<Pin>]) -> FrameMemory {
        let outputs = pins.iter().filter_map(|pin| pin.in_place_counterpart());
        let mut foreign = pins.iter().cloned().chain(outputs).filter_map(|pin| pin.foreign_peer(&None));
        let crosses = foreign.any(|peer| peer.frame_memory() == FrameMemory::Shared);
        if crosses { FrameMemory::Shared } else { FrameMemory::Private }
    }

    /// Puts the prepared circuit into use: its allocator, and each pin's next hop.
    pub(crate) fn bind_circuit(self: &Arc<Pin>, prepared: PreparedCircuit) -> Replaced {
        if let Some(fresh) = prepared.fresh {
            self.pipe().install(fresh);
        }
        let mut replaced = Replaced::default();
        if self.is_entry() {
            // The requests that come are to have headers that are long enough for every pin.
            let bytes = Pin::header_bytes_of(&prepared.pins) as u32;
            self.set_stream_header_bytes(bytes.max(self.stream_header_bytes()));
        }
        if let Some(leader) = &prepared.leader {
            self.join_leader(leader, &mut replaced);
        } else if !self.is_splitter_output() {
            if self.copies().is_some() && self.pipe().branch().is_some() {
                replaced.branches.push((self.clone(), self.pipe().set_branch(None)));
            }
            self.pipe().set_description(prepared.description);
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
        let frames_of = FramesOf::of(self);
        let asked = if self.data_flow() == KsPinDataFlow::IN { self.foreign_peer(&home) } else { None };
        let end = match (&home, end) {
            _ if frames_of == FramesOf::Callers => Hop::Complete(home.clone()),
            _ if asked.is_some() => Hop::Ask,
            (Some(home), Hop::Return) => Hop::Home(home.clone()),
            _ => end.clone(),
        };
        drop(self.pipe().set_asked(asked));
        for pin in pins {
            let hop = match pin.data_flow() {
                KsPinDataFlow::OUT => match (pin.transport_peer(), pin.foreign_peer(&home)) {
                    (Some(peer), _) => Hop::Peer(peer),
                    (_, Some(foreign)) => Hop::Foreign(foreign),
                    _ => Hop::None,
                },
                _ => match pin.in_place_counterpart() {
                    Some(next) => match (next.transport_peer(), next.foreign_peer(&home)) {
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
                let route = Route { hop, head: Arc::downgrade(self), frames_of };
                replaced.routes.push((pin.clone(), pin.pipe().set_route(route)));
            };
            set(pin, hop);
            // An output that a client reads has the client's frames.
            if let Some(output) = pin.in_place_counterpart().filter(|output| output.is_connected()) {
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
            match (parked.is_empty(), head.pipe().asked()) {
                (true, _) => {}
                (_, Some(peer)) => peer.send(&mut parked),
                _ => head.receive(&mut parked),
            }
        }
    }

    /// Requests that left this pin's queue: to their callers, to the next hop, or back to the head to wait. `outgoing` is
    /// empty afterwards.
    #[inline]
    pub(crate) fn forward(self: &Arc<Pin>, outgoing: &mut Outgoing) {
        match self.copies() {
            None => self.forward_on(outgoing),
            Some(copies) => self.forward_with_copies(copies, outgoing),
        }
    }

    /// As [`Pin::forward`], when no other output waits for a copy.
    fn forward_on(self: &Arc<Pin>, outgoing: &mut Outgoing) {
        // Attempts of the next pin run when this guard goes, after the route below is released.
        let _inside = deferred::enter();
        if !outgoing.callers.is_empty() {
            self.pass_callers(outgoing);
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
                    drop(route);
                    return peer.send(&mut outgoing.onward);
                }
                Hop::Ask => {
                    let known = route.clone();
                    drop(route);
                    return self.ask_again(&known, &mut outgoing.onward);
                }
                Hop::Complete(home) => {
                    let home = home.clone();
                    drop(route);
                    return external::complete(home.as_ref(), &mut outgoing.onward);
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
        let mut callers = Vec::new();
        let own = batch.into_iter().filter_map(|irp| {
            if irp.has_caller() {
                callers.push(irp);
                return None;
            }
            Some(irp)
        });
        match route.head.upgrade() {
            Some(head) if head.returns().injects() => head.take_back(own),
            Some(head) => head.pipe().park(own),
            None => own.for_each(Irp::retire),
        }
        external::turn_back(callers);
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
        let (generation, shared) = head.pipe().travelling();
        if batch.iter().any(|irp| irp.place().circuit != generation) {
            // Those of the circuit of now go on: an output that shared another's frames may have its own since.
            head.pipe().park(batch.extract_if(.., |irp| irp.place().circuit != generation));
            if batch.is_empty() {
                return None;
            }
        }
        if let Some(splitter) = shared {
            splitter.hold_those_shared(batch);
            if batch.is_empty() {
                return None;
            }
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
                head.begin_again(batch);
            }
        });
    }

    /// Frames of this head begin their next turn.
    pub(crate) fn begin_again(self: Arc<Pin>, batch: &mut Vec<Irp>) {
        match self.pipe().asked() {
            Some(peer) => peer.send(batch),
            None => self.receive(batch),
        }
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

    /// What was refused because the stream has ended here is taken if it is of the next one.
    #[cold]
    fn take_in_next_stream(&self, arrival: &mut Arrival) {
        let carries = |irp: &Irp| irp.stream().is_some_and(|stream| stream.iter().any(|frame| frame.data_used() > 0));
        let is_behind_the_end = |(irp, status): &(Irp, NtStatus)| *status == STATUS_SUCCESS && carries(irp);
        if !arrival.refused.iter().any(is_behind_the_end) || !self.begins_next_stream() {
            return;
        }
        let mut batch = arrival.refused.drain(..).map(|(irp, _)| irp).collect();
        let again = self.take_in(&mut batch);
        arrival.into_empty |= again.into_empty;
        arrival.change |= again.change;
        arrival.refused = again.refused;
    }

    /// Frames have arrived, and no lock is held.
    fn arrived(self: Arc<Pin>, mut arrival: Arrival) {
        if !arrival.refused.is_empty() {
            self.take_in_next_stream(&mut arrival);
        }
        if !arrival.refused.is_empty() {
            let route = self.pipe().route();
            let refused = arrival.refused.into_iter().map(|(irp, status)| {
                irp.set_status(status);
                irp
            });
            self.park_at(&route, refused);
            self.start_again_if_open();
        }
        if self.asks_for_copies() {
            return;
        }
        if arrival.change || self.triggers(arrival.into_empty) {
            self.again.store(true, ks_io::sync::atomic::Ordering::SeqCst);
            deferred::run_later(self);
        }
    }
}
