//! Gates that a driver puts between pins and their filter: a pin's readiness turns an input of the gate, and the gate is
//! an input of the filter's.
//!
//! The inputs are looked at whenever processing is attempted and after each call of the process callback, in a filter
//! that has such gates; no other filter knows of them.
//!
//! Source: "Flow control gates in AVStream", nf-ks-kspinattachandgate, nf-ks-kspinattachorgate.

use crate::descriptor::PinFlags;
use crate::filter_process::FilterProcessing;
use crate::gate::Gate;
use crate::pin::Pin;
use ks_abi::{KsState, NtStatus, STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_DEVICE_STATE};
use ks_io::sync::{
    Arc, Mutex, Weak,
    atomic::{AtomicBool, Ordering},
};

/// A gate that pins can be attached to: one of the engine's, or a KSGATE in a driver's memory.
#[doc(alias = "KSGATE")]
pub trait AttachedGate: Send + Sync {
    /// Tells this gate from others.
    fn address(&self) -> u64;
    /// Is the count above zero?
    fn is_open(&self) -> bool;
    /// One more input is on.
    fn turn_input_on(&self);
    /// One more input is off.
    fn turn_input_off(&self);
    /// What opens or closes from now on turns an input of `next`; `None`: of nothing.
    fn feed(&self, next: Option<&Arc<Gate>>);
}

impl AttachedGate for Arc<Gate> {
    fn address(&self) -> u64 {
        Gate::address(self)
    }
    fn is_open(&self) -> bool {
        Gate::is_open(self)
    }
    fn turn_input_on(&self) {
        Gate::turn_input_on(self);
    }
    fn turn_input_off(&self) {
        Gate::turn_input_off(self);
    }
    fn feed(&self, next: Option<&Arc<Gate>>) {
        self.set_next(next);
    }
}

/// What a gate does with its inputs, and so what a new one that is off means to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// An input that is off closes it.
    And,
    /// An input that is on opens it.
    Or,
}

struct Attachment {
    pin: Weak<Pin>,
    gate: Arc<dyn AttachedGate>,
    kind: Kind,
    /// How the pin's input of the gate is turned.
    on: bool,
}

/// The gates of a filter's pins.
#[derive(Default)]
pub(crate) struct Attachments {
    any: AtomicBool,
    /// Under it are the pin's gate and queue, and the counters of gates; nobody is called.
    list: Mutex<Vec<Attachment>>,
}

impl Attachments {
    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::SeqCst)
    }

    /// Turns the input of each pin whose readiness is not what it was.
    pub(crate) fn refresh(&self) {
        if !self.any() {
            return;
        }
        for attachment in self.list.lock().iter_mut() {
            let on = attachment.pin.upgrade().is_some_and(|pin| pin.is_ready_for_gate());
            if on != attachment.on {
                attachment.on = on;
                if on { attachment.gate.turn_input_on() } else { attachment.gate.turn_input_off() }
            }
        }
    }

    /// Is the pin's readiness the affair of a gate of the driver's?
    pub(crate) fn has(&self, pin: &Arc<Pin>) -> bool {
        self.any() && self.list.lock().iter().any(|known| std::ptr::eq(known.pin.as_ptr(), &**pin))
    }

    /// Does no gate hold the filter back?
    pub(crate) fn are_open(&self) -> bool {
        !self.any() || self.list.lock().iter().all(|attachment| attachment.gate.is_open())
    }
}

impl FilterProcessing {
    fn attach(&self, pin: &Pin, gate: Arc<dyn AttachedGate>, kind: Kind) {
        let mut list = self.attachments().list.lock();
        let known = list.iter().any(|known| known.gate.address() == gate.address());
        if !known {
            gate.feed(Some(self.gate()));
            if !gate.is_open() {
                // An input of the filter's gate that is off.
                self.gate().turn_input_off();
            }
        }
        if kind == Kind::And {
            gate.turn_input_off();
        }
        if let Some(pin) = pin.me() {
            list.push(Attachment { pin: Arc::downgrade(&pin), gate, kind, on: false });
        }
        self.attachments().any.store(true, Ordering::SeqCst);
    }

    fn detach(&self, pin: &Pin) {
        if !self.attachments().any() {
            return;
        }
        let mut list = self.attachments().list.lock();
        let Some(at) = list.iter().position(|known| std::ptr::eq(known.pin.as_ptr(), pin)) else { return };
        let gone = list.swap_remove(at);
        match (gone.kind, gone.on) {
            (Kind::And, false) => gone.gate.turn_input_on(),
            (Kind::Or, true) => gone.gate.turn_input_off(),
            _ => {}
        }
        if !list.iter().any(|known| known.gate.address() == gone.gate.address()) {
            gone.gate.feed(None);
            if !gone.gate.is_open() {
                self.gate().turn_input_on();
            }
        }
        self.attachments().any.store(!list.is_empty(), Ordering::SeqCst);
    }
}

impl Pin {
    /// Makes this pin an input of an AND gate, and that an input of the filter's gate; `None` detaches. The pin alone
    /// holds its filter back no more, the gate does: until every pin that is attached to it is ready.
    ///
    /// Only in STOP: STATUS_INVALID_DEVICE_STATE. STATUS_INVALID_DEVICE_REQUEST: the pins of this filter process by
    /// themselves, and nothing asks its gate; or the pin's factory has SOME_FRAMES_REQUIRED_FOR_PROCESSING, which is an
    /// OR gate already. Source: nf-ks-kspinattachandgate, ns-ks-_kspin_descriptor_ex.
    // ks-coverage: KsPinAttachAndGate done test=pins_behind_an_and_gate_are_ready_together,pins_behind_a_drivers_gate_process_as_the_gate_says
    #[doc(alias = "KsPinAttachAndGate")]
    pub fn attach_and_gate(&self, gate: Option<Arc<dyn AttachedGate>>) -> Result<(), NtStatus> {
        self.attach_gate(gate, Kind::And)
    }

    /// Makes this pin an input of an OR gate, and that an input of the filter's gate; `None` detaches. Of the pins that
    /// are attached to it one that is ready is enough.
    ///
    /// Errors as [`Pin::attach_and_gate`]. Source: nf-ks-kspinattachorgate.
    // ks-coverage: KsPinAttachOrGate done test=of_pins_behind_an_or_gate_one_that_is_ready_is_enough,pins_behind_a_drivers_gate_process_as_the_gate_says
    #[doc(alias = "KsPinAttachOrGate")]
    pub fn attach_or_gate(&self, gate: Option<Arc<dyn AttachedGate>>) -> Result<(), NtStatus> {
        self.attach_gate(gate, Kind::Or)
    }

    fn attach_gate(&self, gate: Option<Arc<dyn AttachedGate>>, kind: Kind) -> Result<(), NtStatus> {
        let processing = self.filter().processing().ok_or(STATUS_INVALID_DEVICE_REQUEST)?;
        if self.flags().contains(PinFlags::SOME_FRAMES_REQUIRED_FOR_PROCESSING) {
            return Err(STATUS_INVALID_DEVICE_REQUEST);
        }
        if self.agreed_state() != KsState::STOP {
            return Err(STATUS_INVALID_DEVICE_STATE);
        }
        processing.detach(self);
        if let Some(gate) = gate {
            processing.attach(self, gate, kind);
        }
        Ok(())
    }

    /// The pin closes: a driver may free its gates after that.
    pub(crate) fn leave_gates(&self) {
        if let Some(processing) = self.filter().processing() {
            processing.detach(self);
        }
    }

    fn is_ready_for_gate(&self) -> bool {
        let needs_frame = !self.flags().contains(PinFlags::FRAMES_NOT_REQUIRED_FOR_PROCESSING);
        self.is_processing() && self.and_gate().is_open() && (!needs_frame || self.has_frame())
    }
}
