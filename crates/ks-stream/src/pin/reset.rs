//! IOCTL_KS_RESET_STATE: a flush that goes with the data, from pin to pin and through filters.
//!
//! A reset of a data source reaches the sink that it is connected to; one of a data sink reaches those outputs of its
//! filter that the declared topology joins it to, and so on. It begins where it was asked for and goes down; it ends at
//! the last pins first, so that what flows again finds everybody ready.
//!
//! An output whose driver has ended its stream hears of a reset that ends, without one that began.
//!
//! Source: ni-ks-ioctl_ks_reset_state, "Resetting state in AVStream codecs", "Handling end of stream in AVStream codecs",
//! nc-ks-pfnkspinreset, nc-ks-pfnksfiltervoid.

use super::{Connection, Pin, offset};
use crate::descriptor::DescribeFilter;
use crate::filter::Filter;
use crate::io_control::reset_value;
use crate::{foreign, process};
use ks_abi::{
    KSFILTER_NODE, KsPinDataFlow, KsReset, KsState, STATUS_CANCELLED, STATUS_DEVICE_NOT_READY, STATUS_SUCCESS,
};
use ks_io::sync::{Arc, Weak};
use ks_io::{Dispatched, Irp, Level, Work, WorkQueue};

/// The most pins that one reset reaches.
const MOST_PINS: usize = 1024;

impl Pin {
    pub(super) fn reset_request(self: &Arc<Pin>, irp: Irp) -> Dispatched {
        let reset = match reset_value(irp.input()) {
            Ok(reset) => reset,
            Err(status) => return irp.done(status),
        };
        let mut pins = self.reached_by_reset();
        if reset == KsReset::END {
            pins.reverse();
        }
        pins.iter().for_each(|pin| pin.set_reset(reset));
        irp.done(STATUS_SUCCESS)
    }

    /// This pin and those downstream, in the order of the data.
    fn reached_by_reset(self: &Arc<Pin>) -> Vec<Arc<Pin>> {
        let mut pins = vec![self.clone()];
        let mut at = 0;
        while let Some(pin) = pins.get(at).cloned()
            && pins.len() < MOST_PINS
        {
            let next = match pin.data_flow() {
                KsPinDataFlow::OUT => pin.peer().into_iter().collect(),
                _ => pin.outputs_in_topology(),
            };
            for pin in next {
                if !pins.iter().any(|known| Arc::ptr_eq(known, &pin)) {
                    pins.push(pin);
                }
            }
            at += 1;
        }
        pins
    }

    /// The outputs that the filter's declared topology joins this input to, and those that send on its frames.
    ///
    /// Decision: the default topology, which joins every pin to one node, says nothing of how data goes, and passes no
    /// reset.
    fn outputs_in_topology(&self) -> Vec<Arc<Pin>> {
        let descriptor = self.filter.descriptor();
        let reached = outputs_reached(descriptor, self.id());
        let shares = |id| descriptor.in_place() == Some((self.id(), id));
        let outputs = (0..descriptor.pin_count()).filter(|id| shares(*id) || reached.contains(id));
        let is_output = |pin: &Arc<Pin>| pin.data_flow() == KsPinDataFlow::OUT;
        outputs.flat_map(|id| self.filter.pins(id)).filter(is_output).collect()
    }

    fn set_reset(self: &Arc<Pin>, reset: KsReset) {
        if reset == KsReset::END && self.reset_state() != reset {
            self.reset_foreign(reset);
            if let Err(refusal) = self.bring_to_format() {
                // What comes when it is open is of a format that it does not take.
                self.fail(refusal);
            }
        }
        {
            let _control = self.filter.control().hold();
            if self.reset_state() == reset {
                return;
            }
            self.block.store_u32(offset::RESET_STATE, reset.0);
            self.flush_for(reset);
            self.tell_reset();
        }
        if reset == KsReset::END {
            // A change of format that the flush has left at the edge.
            if self.queue().is_some_and(|queue| queue.is_turning()) {
                self.attempt_processing();
            }
        } else {
            self.reset_foreign(reset);
        }
    }

    fn flush_for(self: &Arc<Pin>, reset: KsReset) {
        let Some(queue) = &self.queue else { return };
        match reset {
            KsReset::BEGIN => {
                self.forget_owed_flags();
                let orphans = queue.close(STATUS_CANCELLED, STATUS_DEVICE_NOT_READY);
                queue.with_counters(|counters| counters.begin_next_stream());
                self.orphaned(orphans);
                self.send_outgoing();
                self.leaves_copies();
                if self.data_flow() == KsPinDataFlow::OUT {
                    // With what the driver had for it.
                    self.say_end_to_inputs();
                }
            }
            // A pin that has failed takes nothing until it has been in STOP.
            _ if self.agreed_state() >= KsState::ACQUIRE && self.failure.lock().is_none() => {
                queue.open();
                self.start_circuit();
            }
            _ => {}
        }
    }

    /// The minidriver hears of a flush: the pin, or the filter where that processes as a whole. Filter control mutex held.
    pub(super) fn tell_reset(self: &Arc<Pin>) {
        if let Some(instance) = self.instance() {
            instance.reset(self);
        }
        if self.filter.processing().is_some()
            && let Some(instance) = self.filter.instance()
        {
            instance.reset(&self.filter);
        }
    }

    /// The frame by which the driver ends its stream has left this output, and is on its way.
    ///
    /// A worker that processes the pin tells the driver here, so that nothing is processed before it knows; whoever else
    /// let the frame go may hold locks of the driver, and a worker is asked.
    pub(super) fn output_ended(self: &Arc<Pin>) {
        let by_limit = self.queue().is_none_or(|queue| queue.with_counters(|counters| counters.is_limited()));
        if by_limit {
            // The driver knows of no end.
            return self.say_end_to_inputs();
        }
        if process::turn().is_some() && Level::current() == Level::Passive && !ks_io::holds_ranked_mutex() {
            self.tell_end_of_output();
            self.say_end_to_inputs();
        } else {
            self.services().queue_work(WorkQueue::Delayed, Arc::new(OutputEnded(Arc::downgrade(self))));
        }
    }

    /// Decision: the flush of which the page speaks takes nothing: what waits behind the end are empty frames. An output
    /// that the declared topology leads to from an input goes on with the next stream, without a reset in between; any
    /// other has ended until STOP or a reset.
    fn tell_end_of_output(self: &Arc<Pin>) {
        if self.filter.is_given_up() {
            return;
        }
        {
            let _control = self.filter.control().hold();
            if self.is_gone() || self.agreed_state() == KsState::STOP || self.reset_state() == KsReset::BEGIN {
                // It has been told of a flush since.
                return;
            }
            self.tell_reset();
        }
        if !self.fed_by().is_empty()
            && let Some(queue) = self.queue()
        {
            queue.with_counters(|counters| counters.go_on());
            self.attempt_processing();
        }
    }

    /// The factories of the inputs that the declared topology leads to this output from.
    fn fed_by(&self) -> Vec<u32> {
        let descriptor = self.filter.descriptor();
        let is_input = |id| self.filter.pin_descriptor(id).is_some_and(|pin| pin.data_flow() == KsPinDataFlow::IN);
        let feeds = |id: &u32| is_input(*id) && outputs_reached(descriptor, *id).contains(&self.id());
        (0..descriptor.pin_count()).filter(feeds).collect()
    }

    /// What waits at the inputs behind the end of their stream goes on: this output has said it, or cannot any more.
    pub(crate) fn say_end_to_inputs(&self) {
        for input in self.fed_by().into_iter().flat_map(|id| self.filter.pins(id)) {
            if input.queue().is_some_and(|queue| queue.end_is_said()) {
                input.attempt_processing();
            }
        }
    }

    /// Frames with data came behind the end of the stream, in a circuit. True when they are the next stream, because the
    /// pin that fills them goes on behind an end; else they are what is left of the last.
    #[cold]
    pub(crate) fn begins_next_stream(&self) -> bool {
        let mut head = self.pipe().route().head.upgrade();
        // The output of a splitter has the frames of its input's section.
        for _ in 0..MOST_PINS {
            let Some(input) = head.as_ref().and_then(|head| head.splitter_input()) else { break };
            head = input.pipe().route().head.upgrade();
        }
        let goes_on = |pin: &Pin| pin.queue().is_some_and(|queue| queue.with_counters(|counters| counters.goes_on()));
        head.is_some_and(|head| goes_on(&head))
            && self.queue().is_some_and(|queue| queue.with_counters(|counters| counters.begin_next_stream()))
    }

    /// A data sink of another driver gets the reset as a request.
    fn reset_foreign(&self, reset: KsReset) {
        let file = match &*self.connection.lock() {
            Connection::To { file, pin: None } if self.data_flow() == KsPinDataFlow::OUT => file.clone(),
            _ => return,
        };
        foreign::reset(&file, self, reset);
    }
}

impl Filter {
    /// An output has begun or ended to stream: at the inputs that feed one that does, frames wait behind the end of a
    /// stream until an output has said it.
    ///
    /// Decision: not where frames are shared in place, which carry their end themselves; and not where the declared
    /// topology leads nowhere, because nobody would say it.
    pub(super) fn see_whose_ends_are_said(&self) {
        let descriptor = self.descriptor();
        if descriptor.connections().is_empty() {
            return;
        }
        let shares = |id| descriptor.in_place().is_some_and(|(input, output)| [input, output].contains(&id));
        let says = |id: &u32| {
            let outputs = if shares(*id) { Vec::new() } else { self.pins(*id) };
            outputs.iter().any(|pin| pin.data_flow() == KsPinDataFlow::OUT && pin.agreed_state() > KsState::STOP)
        };
        for pin in self.all_pins().iter().filter(|pin| pin.data_flow() == KsPinDataFlow::IN && !shares(pin.id())) {
            let are_said = outputs_reached(descriptor, pin.id()).iter().any(says);
            if pin.queue().is_some_and(|queue| queue.set_ends_are_said(are_said)) {
                pin.attempt_processing();
            }
        }
    }
}

/// A driver that is to hear that the stream of its output has ended.
struct OutputEnded(Weak<Pin>);

impl Work for OutputEnded {
    fn run(self: Arc<Self>) {
        if let Some(pin) = self.0.upgrade() {
            pin.tell_end_of_output();
            pin.say_end_to_inputs();
        }
    }
}

/// The pin ids that data of pin `input` may reach through the declared connections: a node passes what comes in at any of
/// its pins to all of them.
fn outputs_reached(filter: &dyn DescribeFilter, input: u32) -> Vec<u32> {
    let connections = filter.connections();
    let (mut nodes, mut outputs) = (Vec::new(), Vec::new());
    let mut leads_on = |from_node: u32, from_pin: Option<u32>| {
        let starts = connections
            .iter()
            .filter(|one| one.from_node == from_node && from_pin.is_none_or(|pin| one.from_node_pin == pin));
        let mut found = Vec::new();
        for connection in starts {
            match connection.to_node {
                KSFILTER_NODE => outputs.push(connection.to_node_pin),
                node => found.push(node),
            }
        }
        found
    };
    let mut open = leads_on(KSFILTER_NODE, Some(input));
    while let Some(node) = open.pop() {
        if !nodes.contains(&node) {
            nodes.push(node);
            open.extend(leads_on(node, None));
        }
    }
    outputs
}
