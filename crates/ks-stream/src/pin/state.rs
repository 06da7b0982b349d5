//! The state machine of a pin: single steps, each agreed by the minidriver, taken back when a later one fails.
//!
//! Source: nc-ks-pfnkspinsetdevicestate, "State transitions".

use super::{Pin, offset};
use crate::descriptor::PinFlags;
use ks_abi::{
    KsReset, KsState, STATUS_CANCELLED, STATUS_DEVICE_NOT_READY, STATUS_DEVICE_REMOVED, STATUS_INVALID_DEVICE_STATE,
    STATUS_INVALID_PARAMETER,
};
use ks_io::sync::{Arc, atomic::Ordering};
use ks_io::{Aspect, Refusal, deferred};

impl Pin {
    /// Brings the pin to a state, in single steps up or down; a pin without the standard transport is told of the jump. A
    /// step that the minidriver refuses leaves the pin where it
    /// was before the request: the steps taken are taken back.
    pub(crate) fn set_state(self: &Arc<Pin>, to: KsState) -> Result<(), Refusal> {
        if to > KsState::RUN {
            let reason = format!("{} is no KSSTATE", to.0);
            return Err(Refusal::new(STATUS_INVALID_PARAMETER, Aspect::State, reason));
        }
        if self.is_gone() {
            return Err(Refusal::new(STATUS_DEVICE_REMOVED, Aspect::State, format!("{} is closing", self.describe())));
        }
        // Deliveries made during the change (attempts of the first frames) run after the control mutex is released.
        let _inside = deferred::enter();
        let _control = self.filter.control().hold();
        let from = self.state();
        if to > from {
            self.check_instances()?;
        }
        while self.state() != to {
            let now = self.state();
            if let Err(refusal) = self.step(now, self.towards(to)) {
                while self.state() != from {
                    if self.step(self.state(), self.towards(from)).is_err() {
                        break;
                    }
                }
                return Err(refusal);
            }
        }
        self.block.store_u32(offset::DEVICE_STATE, to.0);
        Ok(())
    }

    /// The state that comes next on the way to `to`.
    fn towards(&self, to: KsState) -> KsState {
        let now = self.state();
        match self.queue() {
            None => to,
            Some(_) if to > now => KsState(now.0 + 1),
            Some(_) => KsState(now.0.saturating_sub(1)),
        }
    }

    /// STOP in any case: the pin is closing, and what the minidriver says changes nothing.
    pub(super) fn force_stop(self: &Arc<Pin>) {
        let _inside = deferred::enter();
        let _control = self.filter.control().hold();
        while self.state() > KsState::STOP {
            let now = self.state();
            let next = self.towards(KsState::STOP);
            if self.step(now, next).is_err() {
                // The refusal let processing go on; a pin that closes does not.
                self.hold_gate();
                self.block.store_u32(offset::CLIENT_STATE, next.0);
                self.clock().set_state(next);
                if next == KsState::STOP {
                    self.flush(STATUS_INVALID_DEVICE_STATE);
                }
            }
        }
        self.block.store_u32(offset::DEVICE_STATE, KsState::STOP.0);
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

    /// One step. What the engine prepares it prepares before the minidriver is asked and exposes after it agreed; what
    /// it stops it stops before, and resumes if the minidriver refuses.
    fn step(self: &Arc<Pin>, from: KsState, to: KsState) -> Result<(), Refusal> {
        let acquires = from == KsState::STOP;
        if acquires {
            // A new stream begins without the failure of the last.
            *self.failure.lock() = None;
        }
        if acquires && self.is_head() {
            self.bind_circuit()?;
        }
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
            if leaves {
                self.release_gate();
            }
            return Err(refusal);
        }
        self.clock().set_state(to);
        if acquires {
            if let Some(queue) = self.queue() {
                queue.with_counters(|counters| counters.restart());
                if self.reset_state() == KsReset::END {
                    queue.open();
                }
            }
            self.start_circuit();
        }
        if enters {
            self.release_gate();
        }
        if to == KsState::STOP {
            self.flush(STATUS_INVALID_DEVICE_STATE);
        }
        Ok(())
    }

    /// The state from which on the process callback may run.
    fn least_processing_state(&self) -> KsState {
        match self.flags().contains(PinFlags::PROCESS_IN_RUN_STATE_ONLY) {
            true => KsState::RUN,
            false => KsState::PAUSE,
        }
    }

    /// Turns the state's input of the gate off and waits until a running process callback has returned.
    fn hold_gate(&self) {
        if !self.gate_held.swap(true, Ordering::SeqCst) {
            self.and_gate().turn_input_off();
        }
        drop(self.processing.hold());
    }

    /// Turns the state's input on and tries to process what is queued already: no request of a client runs it here.
    fn release_gate(self: &Arc<Pin>) {
        if self.gate_held.swap(false, Ordering::SeqCst) {
            self.and_gate().turn_input_on();
        }
        if !self.flags().contains(PinFlags::DO_NOT_INITIATE_PROCESSING) {
            self.attempt_processing();
        }
    }

    /// Everything queued ends: callers get STATUS_CANCELLED, frames of a circuit go back to its head. What comes later
    /// is refused with `later`.
    fn flush(self: &Arc<Pin>, later: ks_abi::NtStatus) {
        let Some(queue) = self.queue() else { return };
        let in_reset = self.reset_state() == KsReset::BEGIN;
        let orphans = queue.close(STATUS_CANCELLED, if in_reset { STATUS_DEVICE_NOT_READY } else { later });
        self.orphaned(orphans);
        self.send_outgoing();
        if let Some(instance) = self.instance() {
            instance.reset(self);
        }
    }
}
