//! The state machine of a pin: single steps, each agreed by the minidriver, taken back when a later one fails.
//!
//! Source: nc-ks-pfnkspinsetdevicestate, "State transitions".

use super::{Pin, offset};
use crate::descriptor::PinFlags;
use crate::pipe::Replaced;
use ks_abi::{
    KsPinDataFlow, KsReset, KsState, STATUS_CANCELLED, STATUS_DEVICE_NOT_READY, STATUS_DEVICE_REMOVED,
    STATUS_INVALID_DEVICE_STATE, STATUS_INVALID_PARAMETER, STATUS_UNSUCCESSFUL,
};
use ks_io::sync::{Arc, atomic::Ordering};
use ks_io::{Aspect, Refusal, deferred};

/// Bits of `Pin::gate_held`.
pub(super) const HELD_BELOW_ITS_STATE: u32 = 1;
pub(super) const HELD_FOR_A_FORMAT: u32 = 2;

impl Pin {
    /// Brings the pin to a state, in single steps up or down; a pin without the standard transport is told of the jump. A
    /// step that the minidriver refuses leaves the pin where it was before the request: the steps taken are taken back.
    ///
    /// Decision: what `KSPIN` shows while the minidriver is asked is what its page says: DeviceState the state of the
    /// request, ClientState that of the step. Both come back with a refusal, and nobody but the minidriver sees them
    /// before: the engine and clients go by the state that was agreed to.
    pub(crate) fn set_state(self: &Arc<Pin>, to: KsState) -> Result<(), Refusal> {
        if to > KsState::RUN {
            let reason = format!("{} is no KSSTATE", to.0);
            return Err(Refusal::new(STATUS_INVALID_PARAMETER, Aspect::State, reason));
        }
        if self.is_gone() {
            return Err(Refusal::new(STATUS_DEVICE_REMOVED, Aspect::State, format!("{} is closing", self.describe())));
        }
        if self.filter.is_given_up() {
            // Its mutexes may never be free again.
            let reason = format!("a callback of {} does not return", self.filter.describe_object(None));
            return Err(self.failure().unwrap_or_else(|| Refusal::new(STATUS_UNSUCCESSFUL, Aspect::Driver, reason)));
        }
        if to > KsState::STOP && self.agreed_state() == KsState::STOP {
            self.bring_to_format()?;
            self.ask_foreign_framing();
        }
        // Deliveries made during the change (attempts of the first frames) run after the control mutex is released.
        let _inside = deferred::enter();
        let _control = self.filter.control().hold();
        let from = self.agreed_state();
        if to > from {
            if self.filter.device().is_held() {
                return self.wait_for_device(to);
            }
            self.check_instances()?;
        }
        let told = self.device_state();
        self.block.store_u32(offset::DEVICE_STATE, to.0);
        let mut replaced = None;
        let outcome = self.steps(to, &mut replaced);
        if outcome.is_err() {
            // Another refusal on the way back leaves the pin where that is made.
            let _ = self.steps(from, &mut None);
            self.block.store_u32(offset::DEVICE_STATE, told.0);
        }
        match replaced {
            Some(replaced) if self.agreed_state() == KsState::STOP => self.unbind_circuit(replaced),
            Some(replaced) => self.keep_circuit(replaced),
            None => {}
        }
        outcome
    }

    /// A state above that of a pin whose device is stopped or asleep: one from which it was taken down comes back by itself.
    fn wait_for_device(&self, to: KsState) -> Result<(), Refusal> {
        if to <= self.device_state() {
            self.block.store_u32(offset::DEVICE_STATE, to.0);
            return Ok(());
        }
        let reason = format!("the device of {} is stopped or asleep", self.describe());
        Err(Refusal::new(STATUS_DEVICE_NOT_READY, Aspect::State, reason))
    }

    /// The device is to be stopped or goes to sleep: a pin in RUN goes to PAUSE, and nothing processes. What the
    /// minidriver says changes nothing. DeviceState stays what the client asked for. Filter control mutex held.
    ///
    /// Source: "Power and State Changes in AVStream".
    pub(crate) fn hold_stream(self: &Arc<Pin>) {
        if self.stream_held.swap(true, Ordering::SeqCst) {
            return;
        }
        if self.agreed_state() > KsState::PAUSE && self.step(KsState::RUN, KsState::PAUSE, &mut None).is_err() {
            self.block.store_u32(offset::CLIENT_STATE, KsState::PAUSE.0);
            self.agree(KsState::PAUSE);
        }
        self.and_gate().turn_input_off();
        drop(self.processing.hold());
    }

    /// The device works again: processing goes on, and the pin goes where its client has it. A minidriver that refuses has
    /// the pin fail. Filter control mutex held.
    pub(crate) fn let_stream_go(self: &Arc<Pin>) {
        if !self.stream_held.swap(false, Ordering::SeqCst) {
            return;
        }
        self.and_gate().turn_input_on();
        let to = self.device_state();
        if self.agreed_state() < to
            && !self.is_gone()
            && let Err(refusal) = self.steps(to, &mut None)
        {
            self.block.store_u32(offset::DEVICE_STATE, self.agreed_state().0);
            self.fail(refusal);
        }
        self.initiate();
    }

    fn steps(self: &Arc<Pin>, to: KsState, replaced: &mut Option<Replaced>) -> Result<(), Refusal> {
        while self.agreed_state() != to {
            self.step(self.agreed_state(), self.towards(to), replaced)?;
        }
        Ok(())
    }

    /// The state that comes next on the way to `to`.
    fn towards(&self, to: KsState) -> KsState {
        let now = self.agreed_state();
        match self.queue() {
            None => to,
            Some(_) if to > now => KsState(now.0 + 1),
            Some(_) => KsState(now.0.saturating_sub(1)),
        }
    }

    /// STOP in any case: the pin is closing, and what the minidriver says changes nothing.
    pub(super) fn force_stop(self: &Arc<Pin>) {
        if self.filter.is_given_up() {
            return;
        }
        let _inside = deferred::enter();
        let _control = self.filter.control().hold();
        self.block.store_u32(offset::DEVICE_STATE, KsState::STOP.0);
        while self.agreed_state() > KsState::STOP {
            let next = self.towards(KsState::STOP);
            if self.step(self.agreed_state(), next, &mut None).is_err() {
                // The refusal let processing go on; a pin that closes does not.
                self.hold_gate();
                self.block.store_u32(offset::CLIENT_STATE, next.0);
                self.agree(next);
                if next == KsState::STOP {
                    self.flush(STATUS_INVALID_DEVICE_STATE);
                    self.recall_injected();
                    self.settle_other_outputs();
                }
            }
        }
    }

    fn agree(&self, state: KsState) {
        self.agreed.store(state.0, Ordering::SeqCst);
        self.clock().set_state(state);
    }

    fn check_instances(&self) -> Result<(), Refusal> {
        let filter = &self.filter;
        for id in 0..filter.descriptor().pin_count() {
            let needed = filter.pin_descriptor(id).map_or(0, |pin| pin.instances_necessary());
            if filter.pin_count(id) < needed {
                let reason = format!("{}.{id} needs {needed} pins before the filter can leave STOP", filter.name());
                return Err(Refusal::new(STATUS_INVALID_DEVICE_STATE, Aspect::Instances, reason));
            }
        }
        Ok(())
    }

    /// One step. What the engine needs it makes before the minidriver is asked and puts into use after it agreed;
    /// processing, which must not run while the minidriver leaves its least state, is held before and goes on if it
    /// refuses. The circuit that a step from STOP binds is in `replaced`.
    fn step(self: &Arc<Pin>, from: KsState, to: KsState, replaced: &mut Option<Replaced>) -> Result<(), Refusal> {
        let acquires = from == KsState::STOP;
        let circuit = match acquires && self.is_head() {
            true => Some(self.prepare_circuit()?),
            false => None,
        };
        // A new stream begins without the failure of the last, and may fail at once.
        let failure = if acquires { self.failure.lock().take() } else { None };
        let least = self.least_processing_state();
        let (enters, leaves) = (from < least && to >= least, from >= least && to < least);
        if leaves {
            self.hold_gate();
        }
        self.block.store_u32(offset::CLIENT_STATE, to.0);
        let agreed = match self.instance() {
            Some(instance) => instance.set_device_state(self, to, from),
            None => Ok(()),
        };
        if let Err(refusal) = agreed {
            self.block.store_u32(offset::CLIENT_STATE, from.0);
            if let Some(circuit) = circuit {
                circuit.abandon();
            }
            if let Some(failure) = failure {
                self.failure.lock().get_or_insert(failure);
            }
            if leaves {
                self.release_gate();
            }
            return Err(refusal);
        }
        if let Some(circuit) = circuit {
            *replaced = Some(self.bind_circuit(circuit));
        }
        self.agree(to);
        if acquires {
            self.filter.see_whose_ends_are_said();
            self.settle_other_outputs();
            self.tell_other_outputs();
            if let Some(queue) = self.queue() {
                let fills_for_callers = self.data_flow() == KsPinDataFlow::OUT && !self.in_circuit();
                let copied_before = self.copied_on_the_way();
                queue.with_counters(|counters| {
                    counters.fills_for_callers = fills_for_callers;
                    counters.restart();
                    counters.copied_before = copied_before;
                });
                if self.reset_state() == KsReset::END {
                    queue.open();
                }
            }
            self.start_circuit();
        } else if to > from && self.pipe().take_not_ready() {
            // The foreign pin did not take requests before; it may be up by now.
            self.start_circuit();
        }
        if enters {
            self.release_gate();
        } else if to == KsState::RUN && self.flags().contains(PinFlags::PROCESS_IF_ANY_IN_RUN_STATE) {
            // The first of its factory in RUN lets the filter go on.
            self.initiate();
        }
        if to == KsState::STOP {
            self.flush(STATUS_INVALID_DEVICE_STATE);
            self.recall_injected();
            self.settle_other_outputs();
        }
        Ok(())
    }

    /// Is the gate's input off, of the state or of the device? What is said under the processing mutex holds under it.
    #[inline]
    pub(crate) fn is_held(&self) -> bool {
        self.gate_held.load(Ordering::SeqCst) != 0 || self.stream_held.load(Ordering::SeqCst)
    }

    /// The state from which on the process callback may run.
    pub(crate) fn least_processing_state(&self) -> KsState {
        match self.flags().contains(PinFlags::PROCESS_IN_RUN_STATE_ONLY) {
            true => KsState::RUN,
            false => KsState::PAUSE,
        }
    }

    /// Turns the state's input of the gate off and waits until a running process callback has returned.
    fn hold_gate(&self) {
        if self.gate_held.fetch_or(HELD_BELOW_ITS_STATE, Ordering::SeqCst) & HELD_BELOW_ITS_STATE == 0 {
            self.and_gate().turn_input_off();
        }
        drop(self.processing.hold());
    }

    /// Turns the state's input on and tries to process what is queued already: no request of a client runs it here.
    fn release_gate(self: &Arc<Pin>) {
        if self.gate_held.fetch_and(!HELD_BELOW_ITS_STATE, Ordering::SeqCst) & HELD_BELOW_ITS_STATE != 0 {
            self.and_gate().turn_input_on();
        }
        self.initiate();
    }

    pub(super) fn initiate(self: &Arc<Pin>) {
        let change = || self.queue().is_some_and(|queue| queue.is_turning());
        if !self.flags().contains(PinFlags::DO_NOT_INITIATE_PROCESSING) || change() {
            self.attempt_processing();
        }
    }

    /// Everything queued ends: callers get STATUS_CANCELLED, frames of a circuit go back to its head. What comes later
    /// is refused with `later`.
    fn flush(self: &Arc<Pin>, later: ks_abi::NtStatus) {
        let Some(queue) = self.queue() else { return };
        self.forget_owed_flags();
        self.filter.see_whose_ends_are_said();
        let in_reset = self.reset_state() == KsReset::BEGIN;
        let orphans = queue.close(STATUS_CANCELLED, if in_reset { STATUS_DEVICE_NOT_READY } else { later });
        self.orphaned(orphans);
        self.send_outgoing();
        self.leaves_copies();
        self.tell_reset();
    }
}
