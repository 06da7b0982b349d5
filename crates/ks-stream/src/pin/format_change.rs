//! The format of a living pin, and how it changes while frames flow.
//!
//! A change travels in the stream, as the data of a frame of its own, so that each pin changes its format between the
//! last frame of the old one and the first of the new. The pin that fills the frames decides: a client that sets
//! KSPROPERTY_CONNECTION_DATAFORMAT on any pin of a circuit asks its head.
//!
//! Source: ns-ks-ksstream_header (TYPECHANGED), "Handling data type negotiation in AVStream codecs",
//! nc-ks-pfnkspinsetdataformat.

use super::Pin;
use super::state::HELD_FOR_A_FORMAT;
use crate::descriptor::PinFlags;
use crate::foreign;
use crate::format::{DataFormat, attributes_agree, falls_into};
use crate::property;
use crate::queue::{Outgoing, format_in, is_change};
use ks_abi::{
    KSPROPERTY_CONNECTION_PROPOSEDATAFORMAT, KSPROPERTY_TYPE_SET, KSPROPSETID_Connection, KsPinDataFlow, KsProperty,
    KsState, STATUS_DEVICE_BUSY, STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_PARAMETER, STATUS_NO_MATCH,
    STATUS_NOT_FOUND, STATUS_PROPSET_NOT_FOUND,
};
use ks_io::sync::{Arc, atomic::Ordering};
use ks_io::{Aspect, FileReference, IrpParts, Level, Origin, Output, Refusal, StreamFrame, deferred};
use zerocopy::IntoBytes;

/// The most pins that a connected graph is walked over.
const MOST_PINS: usize = 1024;

impl Pin {
    /// Does a format fall into one of the pin's ranges?
    pub(crate) fn has_range_for(&self, format: &DataFormat) -> bool {
        let own = self.instance().and_then(|instance| instance.data_ranges(self));
        own.unwrap_or_else(|| self.filter.data_ranges(self.id()))
            .iter()
            .any(|range| falls_into(format.head(), range.head()).is_ok() && attributes_agree(format, range).is_ok())
    }

    /// A client sets the format: of the pin alone if nobody else fills or takes its frames, else of the whole circuit,
    /// in the place of the stream at which its head is now. A pin that refuses leaves everything as it was.
    pub(crate) fn request_format(self: &Arc<Pin>, new: DataFormat) -> Result<(), Refusal> {
        let head = self.filling_pin();
        let followers = head.followers();
        head.check_borders(&new)?;
        if followers.is_empty() && head.foreign_file().is_none() {
            if Arc::ptr_eq(&head, self) {
                return self.change_format(new);
            }
            let reason = format!("{}: its stream comes to {} from elsewhere", self.describe(), head.describe());
            return Err(Refusal::new(STATUS_INVALID_DEVICE_REQUEST, Aspect::Driver, reason));
        }
        head.check_range(&new)?;
        followers.iter().try_for_each(|pin| pin.would_follow(&new))?;
        if head.agreed_state() > KsState::STOP {
            if head.is_entry() {
                return Err(head.busy("its frames come from outside; a header with TYPECHANGED comes in turn".into()));
            }
            return head.change_running(new);
        }
        if let Some(busy) = followers.iter().find(|pin| pin.agreed_state() > KsState::STOP) {
            return Err(busy.busy(format!("it is in {} and {} in STOP", busy.agreed_state(), head.describe())));
        }
        let pins: Vec<Arc<Pin>> = [head].into_iter().chain(followers).flat_map(with_outputs).collect();
        for (at, pin) in pins.iter().enumerate() {
            let old = pin.format();
            if let Err(refusal) = pin.change_format(new.clone()) {
                for done in pins[..at].iter().rev() {
                    // They had it before.
                    let _ = done.change_format(old.clone());
                }
                return Err(refusal);
            }
        }
        if pins[0].data_flow() == KsPinDataFlow::OUT
            && let Some(queue) = pins[0].queue()
        {
            // A change of before may still be on its way, and come when they are started.
            queue.announce(new);
        }
        Ok(())
    }

    /// The pin, a data source that heads its circuit, goes on in another format; to be called by its minidriver, in the
    /// process callback with the leading edge unlocked. What is filled from now on is of the new format: the next empty
    /// frame tells everybody behind of it, and no other pin sees a frame before it has agreed.
    ///
    /// Refused, with nothing changed, where a pin behind does not take the format, where the circuit's frames are too
    /// small for it, and with STATUS_DEVICE_BUSY while frames of the old format are held by clones or a locked edge.
    ///
    /// Decision: pins behind are asked by [`crate::PinInstance::would_take`] before the change and by
    /// [`crate::PinInstance::set_data_format`] when it reaches them; one that refuses then fails.
    #[doc(alias = "KSSTREAM_HEADER_OPTIONSF_TYPECHANGED")]
    pub fn change_stream_format(self: &Arc<Pin>, new: DataFormat) -> Result<(), Refusal> {
        self.check_range(&new)?;
        self.followers().iter().try_for_each(|pin| pin.would_follow(&new))?;
        self.check_borders(&new)?;
        self.check_room(&new, 0)?;
        self.check_unheld()?;
        self.note_format(new.clone());
        if let Some(queue) = self.queue() {
            queue.announce(new);
        }
        // Inside of the callback its end takes the frame along.
        self.attempt_processing();
        Ok(())
    }

    /// The client has read the new format: what its pin fills goes on.
    pub(crate) fn format_fetched(self: &Arc<Pin>) {
        if self.queue().is_some_and(|queue| queue.with_counters(|counters| counters.fetched())) {
            self.attempt_processing();
        }
    }

    /// Agrees to the change that the leading edge stands before; the pin fails if its minidriver refuses. True when there
    /// was one. Called by the thread that processes the pin.
    pub(crate) fn meet_format_change(self: &Arc<Pin>) -> bool {
        let Some(queue) = self.queue() else { return false };
        let Some(change) = queue.change_at_edge() else { return false };
        if Level::current() != Level::Passive || ks_io::holds_ranked_mutex() {
            // The filter control mutex is taken by a thread that has none and may wait.
            self.attempt_processing_later();
            return false;
        }
        let outcome = {
            let _control = self.filter.control().hold();
            self.follow(&change)
        };
        match outcome {
            Ok(()) => queue.pass_change(&change),
            Err(refusal) => self.fail(refusal),
        }
        true
    }

    /// Frames that go out of a data source: its format is what its driver says in them.
    #[cold]
    pub(crate) fn adopt_formats(self: &Arc<Pin>, outgoing: &Outgoing) {
        let Some(queue) = self.queue() else { return };
        let irps = outgoing.onward.iter().chain(&outgoing.callers);
        let frames = irps.flat_map(|irp| irp.stream()).flat_map(|stream| stream.iter());
        let own = frames.filter(|frame| is_change(frame) && queue.is_the_drivers(frame));
        if let Some(format) = own.filter_map(|frame| format_in(frame)).last()
            && format != self.format()
        {
            self.note_format(format);
        }
    }

    /// The next empty frame says again what the format is: the pin behind was not there to hear it.
    pub(crate) fn announce_again(self: &Arc<Pin>) {
        if let Some(queue) = self.queue() {
            queue.announce(self.format());
            self.attempt_processing();
        }
    }

    /// Brings the pins that are about to start to the format in which frames come to them: they heard of no change while
    /// they stood. So it is with a splitter's branch, and with pins behind an entry: a caller that writes a change does not
    /// wait for a pin that stands or is being flushed.
    pub(super) fn bring_to_format(self: &Arc<Pin>) -> Result<(), Refusal> {
        let (format, pins) = match self.data_flow() {
            KsPinDataFlow::OUT if self.is_splitter_output() => (self.format(), self.followers()),
            KsPinDataFlow::OUT => match self.copied_from() {
                Some(first) => (first.format(), [self.clone()].into_iter().chain(self.followers()).collect()),
                None => return Ok(()),
            },
            KsPinDataFlow::IN => match self.peer() {
                Some(source) if source.format() != self.format() && self.comes_from_outside() => {
                    (source.format(), self.sinks_reached())
                }
                _ => return Ok(()),
            },
            _ => return Ok(()),
        };
        for pin in pins.into_iter().flat_map(with_outputs).filter(|pin| pin.format() != format) {
            let sink = pin.data_flow() == KsPinDataFlow::IN;
            if sink && pin.queue().is_some_and(|queue| queue.has_samples()) {
                return Err(pin.busy("frames of the format before the change wait in it".into()));
            }
            pin.check_range(&format)?;
            pin.change_format(format.clone())?;
        }
        Ok(())
    }

    /// Changes the format of the living pin alone, if the minidriver agrees. While frames wait in a data sink they are of
    /// the old format, and it is refused.
    pub(crate) fn change_format(self: &Arc<Pin>, new: DataFormat) -> Result<(), Refusal> {
        // Attempts to process run after the control mutex is released.
        let _inside = deferred::enter();
        let _control = self.filter.control().hold();
        let _quiet = self.quiet();
        let sink = self.data_flow() == KsPinDataFlow::IN;
        if sink && self.queue().is_some_and(|queue| queue.has_samples()) {
            return Err(
                self.busy("frames of the old format wait in it; a header with TYPECHANGED comes in turn".into())
            );
        }
        self.take_format(&new)
    }

    fn change_running(self: &Arc<Pin>, new: DataFormat) -> Result<(), Refusal> {
        let _inside = deferred::enter();
        {
            let _control = self.filter.control().hold();
            let _quiet = self.quiet();
            self.check_unheld()?;
            self.check_room(&new, 0)?;
            let old = self.format();
            self.take_format(&new)?;
            if let Err(refusal) = self.check_room(&new, self.framing().frame_bytes) {
                self.take_format(&old)?;
                return Err(refusal);
            }
            if let Some(queue) = self.queue() {
                queue.announce(new);
            }
        }
        self.attempt_processing();
        Ok(())
    }

    /// The change that the leading edge stands before, and the same of what shares the pin's frames. Filter control mutex
    /// held.
    fn follow(self: &Arc<Pin>, change: &StreamFrame) -> Result<(), Refusal> {
        let Some(new) = format_in(change) else {
            let reason =
                format!("{}: a frame says that the format changes, and its data is no format", self.describe());
            return Err(Refusal::new(STATUS_INVALID_PARAMETER, Aspect::FormatBlock, reason));
        };
        let old = self.format();
        self.check_range(&new)?;
        if old != new {
            self.take_format(&new)?;
        }
        for output in self.outputs_of_the_same_frames().iter().filter(|output| output.format() != new) {
            if let Err(refusal) = output.take_format(&new) {
                let _ = self.take_format(&old);
                return Err(refusal);
            }
        }
        Ok(())
    }

    /// Asks the minidriver, and goes by its answer. Filter control mutex held.
    fn take_format(self: &Arc<Pin>, new: &DataFormat) -> Result<(), Refusal> {
        if self.flags().contains(PinFlags::FIXED_FORMAT) {
            let reason = format!("{} keeps the format that it was created with", self.describe());
            return Err(Refusal::new(STATUS_INVALID_DEVICE_REQUEST, Aspect::Driver, reason));
        }
        let old = self.format();
        if let Some(instance) = self.instance() {
            instance.set_data_format(self, &old, new)?;
        }
        *self.format.write() = new.clone();
        Ok(())
    }

    /// The minidriver has changed the format itself.
    fn note_format(self: &Arc<Pin>, new: DataFormat) {
        let old = std::mem::replace(&mut *self.format.write(), new.clone());
        if let Some(instance) = self.instance() {
            instance.format_changed(self, &old, &new);
        }
    }

    /// Nothing processes the pin until this is dropped, and the processing mutex is free for its driver. Filter control
    /// mutex held.
    fn quiet<'p>(self: &'p Arc<Pin>) -> Quiet<'p> {
        self.gate_held.fetch_or(HELD_FOR_A_FORMAT, Ordering::SeqCst);
        self.and_gate().turn_input_off();
        // A callback that runs has returned.
        drop(self.processing.hold());
        Quiet(self)
    }

    fn check_range(&self, new: &DataFormat) -> Result<(), Refusal> {
        if self.has_range_for(new) {
            return Ok(());
        }
        let reason = format!("{}: {new:?} is in none of its data ranges", self.describe());
        Err(Refusal::new(STATUS_NO_MATCH, Aspect::FormatBlock, reason))
    }

    /// Would the pin follow a change that is about to be made? Asked without a mutex.
    fn would_follow(self: &Arc<Pin>, new: &DataFormat) -> Result<(), Refusal> {
        self.check_range(new)?;
        for pin in [self.clone()].into_iter().chain(self.outputs_of_the_same_frames()) {
            if pin.flags().contains(PinFlags::FIXED_FORMAT) {
                let reason = format!("{} keeps the format that it was created with", pin.describe());
                return Err(Refusal::new(STATUS_INVALID_DEVICE_REQUEST, Aspect::Driver, reason));
            }
            if let Some(instance) = pin.instance() {
                instance.would_take(&pin, new)?;
            }
            pin.propose(new)?;
        }
        Ok(())
    }

    /// Could the pin, and what shares its frames, be set to this format? Nothing changes. A client asks, or the pin at the
    /// other end of a border.
    pub(crate) fn proposed_format(self: &Arc<Pin>, new: &DataFormat) -> Result<(), Refusal> {
        let followers = if self.is_entry() { self.followers() } else { Vec::new() };
        match self.would_follow(new) {
            // What it does not while it streams, it may in STOP.
            Err(refusal)
                if refusal.status == STATUS_INVALID_DEVICE_REQUEST
                    && self.agreed_state() == KsState::STOP
                    && followers.is_empty()
                    && !self.flags().contains(PinFlags::FIXED_FORMAT) => {}
            other => other?,
        }
        followers.iter().try_for_each(|pin| pin.would_follow(new))?;
        if self.data_flow() == KsPinDataFlow::OUT { Ok(()) } else { self.check_borders(new) }
    }

    /// Would the pins that are not the engine's, or another process's, follow a change of this pin's frames? They are asked
    /// by the property that a client would use. One that does not know it is told of the change when that comes, and so is
    /// any where this thread holds a mutex.
    fn check_borders(self: &Arc<Pin>, new: &DataFormat) -> Result<(), Refusal> {
        if ks_io::holds_ranked_mutex() || Level::current() != Level::Passive {
            return Ok(());
        }
        let property = KSPROPERTY_CONNECTION_PROPOSEDATAFORMAT;
        let request = KsProperty::new(KSPROPSETID_Connection, property, KSPROPERTY_TYPE_SET);
        for end in self.sending_ends() {
            let Some(file) = end.foreign_file() else { continue };
            match foreign::set_property(&file, &end, request.as_bytes(), new.bytes()) {
                Ok(()) | Err(STATUS_NOT_FOUND | STATUS_PROPSET_NOT_FOUND | STATUS_INVALID_DEVICE_REQUEST) => {}
                Err(status) => {
                    let reason = format!("{}: the pin that it is connected to does not take {new:?}", end.describe());
                    return Err(Refusal::new(status, Aspect::FormatBlock, reason));
                }
            }
        }
        Ok(())
    }

    /// The data sources that this pin's frames pass, itself if it is one, over every branch.
    fn sending_ends(self: &Arc<Pin>) -> Vec<Arc<Pin>> {
        let mut pins = vec![self.clone()];
        for sink in self.followers() {
            pins.push(sink.clone());
            pins.extend(sink.outputs_of_the_same_frames());
            pins.extend(sink.splitter_outputs().into_iter().flatten());
        }
        if self.is_entry() {
            pins.extend(self.outputs_of_the_same_frames());
        }
        pins.retain(|pin| pin.data_flow() == KsPinDataFlow::OUT);
        pins
    }

    /// A driver that can tell beforehand whether it takes a format has KSPROPERTY_CONNECTION_PROPOSEDATAFORMAT in its own
    /// table: a Windows driver has no other way.
    fn propose(self: &Arc<Pin>, new: &DataFormat) -> Result<(), Refusal> {
        let Some(table) = self.instance().and_then(|instance| instance.automation()) else { return Ok(()) };
        let mut items =
            table.properties.iter().filter(|set| set.set == KSPROPSETID_Connection).flat_map(|set| &set.items);
        if !items.any(|item| item.id == KSPROPERTY_CONNECTION_PROPOSEDATAFORMAT && item.set.is_some()) {
            return Ok(());
        }
        let id = KSPROPERTY_CONNECTION_PROPOSEDATAFORMAT;
        let request = KsProperty::new(KSPROPSETID_Connection, id, KSPROPERTY_TYPE_SET);
        let refuse = |status| {
            let reason = format!("{}: its driver does not take {new:?}", self.describe());
            Refusal::new(status, Aspect::FormatBlock, reason)
        };
        let mut output = Output::new(new.bytes().len(), new.bytes()).map_err(refuse)?;
        let (origin, file) = (Origin::class_driver(), FileReference::default());
        let parts = IrpParts { input: request.as_bytes(), output: &mut output, origin: &origin, file: &file };
        match property::answer(&**self, parts, &[table])? {
            status if status.is_success() => Ok(()),
            status => Err(refuse(status)),
        }
    }

    /// Frames of the new format, and of at least this many bytes, fit into those that the circuit has, and so does what
    /// tells of it; before there are any, everything does.
    fn check_room(&self, new: &DataFormat, frame_bytes: u32) -> Result<(), Refusal> {
        let told = u32::try_from(new.bytes().len()).unwrap_or(u32::MAX);
        let frame_bytes = frame_bytes.max(new.head().sample_size).max(told);
        let has = self.allocator_report().frame_bytes;
        if has == 0 || frame_bytes <= has {
            return Ok(());
        }
        let reason = format!(
            "{}: the circuit's frames have {has} bytes and the new format needs {frame_bytes}; it can change in STOP",
            self.describe()
        );
        Err(Refusal::new(STATUS_DEVICE_BUSY, Aspect::Memory, reason))
    }

    /// Nothing of the old format is still being filled.
    fn check_unheld(&self) -> Result<(), Refusal> {
        match self.queue() {
            Some(queue) if queue.is_held() => Err(self.busy("its driver holds frames of the old format".into())),
            _ => Ok(()),
        }
    }

    fn busy(&self, why: String) -> Refusal {
        let reason = format!("{}: the format cannot change now: {why}", self.describe());
        Refusal::new(STATUS_DEVICE_BUSY, Aspect::State, reason)
    }

    /// Outputs of the filter that send on the frames of this input.
    fn outputs_of_the_same_frames(&self) -> Vec<Arc<Pin>> {
        match self.filter.descriptor().in_place() {
            Some((input, output)) if input == self.id() => self.filter.pins(output),
            _ => Vec::new(),
        }
    }

    /// The pin that fills the frames which pass this one.
    fn filling_pin(self: &Arc<Pin>) -> Arc<Pin> {
        let mut pin = self.clone();
        for _ in 0..MOST_PINS {
            let before = match pin.data_flow() {
                KsPinDataFlow::OUT => {
                    let input = pin.in_place_counterpart().or_else(|| pin.splitter_input());
                    input.filter(|input| input.is_connected()).or_else(|| pin.copied_from())
                }
                _ => pin.peer(),
            };
            match before {
                Some(before) => pin = before,
                None => break,
            }
        }
        pin
    }

    /// Do callers bring the frames that pass this pin?
    fn comes_from_outside(self: &Arc<Pin>) -> bool {
        let first = self.filling_pin();
        let input = first.in_place_counterpart().or_else(|| first.splitter_input());
        first.is_entry() || first.data_flow() == KsPinDataFlow::OUT && input.is_some_and(|input| input.is_entry())
    }

    /// The data sinks that the frames of this pin reach, over every branch; of a sink that others send to, those behind its
    /// filter. The outputs that have copies or shares of them, with their sinks, are among these.
    fn followers(self: &Arc<Pin>) -> Vec<Arc<Pin>> {
        let mut pins = match self.data_flow() {
            KsPinDataFlow::OUT if self.peer().is_none() => Vec::new(),
            KsPinDataFlow::IN if !self.is_entry() => Vec::new(),
            _ => self.sinks_reached(),
        };
        for output in self.outputs_that_follow() {
            pins.push(output.clone());
            if output.peer().is_some() {
                pins.extend(output.sinks_reached());
            }
        }
        pins.retain(|pin| !Arc::ptr_eq(pin, self));
        pins
    }

    /// The data sinks of the circuit from this pin on, over every branch.
    pub(crate) fn sinks_reached(self: &Arc<Pin>) -> Vec<Arc<Pin>> {
        let mut pins = self.circuit();
        let mut at = 0;
        while let Some(pin) = pins.get(at)
            && pins.len() < MOST_PINS
        {
            for output in pin.splitter_outputs().into_iter().flatten() {
                let new = output.circuit().into_iter().filter(|one| !pins.iter().any(|known| Arc::ptr_eq(known, one)));
                let new: Vec<_> = new.collect();
                pins.extend(new);
            }
            at += 1;
        }
        pins.retain(|pin| pin.data_flow() != KsPinDataFlow::OUT);
        pins
    }
}

/// A pin and the outputs that send on its frames.
fn with_outputs(pin: Arc<Pin>) -> impl Iterator<Item = Arc<Pin>> {
    let outputs = pin.outputs_of_the_same_frames();
    [pin].into_iter().chain(outputs)
}

/// The pin's gate is closed meanwhile; attempts of that time are made good.
struct Quiet<'p>(&'p Arc<Pin>);

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        self.0.gate_held.fetch_and(!HELD_FOR_A_FORMAT, Ordering::SeqCst);
        self.0.and_gate().turn_input_on();
        self.0.initiate();
    }
}
