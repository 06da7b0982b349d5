//! Flow-control gates: counters that say whether processing may start.
//!
//! Source: "Flow control gates in AVStream", ns-ks-_ksgate.

use ks_abi::{NtStatus, STATUS_INSUFFICIENT_RESOURCES};
use ks_io::sync::{Arc, Mutex, Weak};
use ks_mem::{Block, Learning};

/// A gate: open while its count is above zero. The count stands at the offset of `KSGATE.Count`, where a driver's
/// inline functions change it.
///
/// An AND gate starts at 1 and loses one for each input that is off; an OR gate starts at 0 and gains one for each that
/// is on. A gate that opens or closes turns the matching input of the next gate.
#[doc(alias = "KSGATE")]
pub struct Gate {
    block: Block,
    /// The word beside the count tells whether there is one.
    next: Mutex<Option<Weak<Gate>>>,
}

const COUNT: usize = 0;
const NEXT: usize = 8;
const GATE_BYTES: usize = 16;

impl Gate {
    /// An AND gate without inputs: open.
    // ks-coverage: KsGateInitializeAnd done test=an_and_gate_is_open_while_no_input_is_off,pins_behind_a_drivers_gate_process_as_the_gate_says
    #[doc(alias = "KsGateInitializeAnd")]
    pub fn and() -> Result<Arc<Gate>, NtStatus> {
        Gate::with_count(1)
    }

    /// An OR gate without inputs: closed.
    // ks-coverage: KsGateInitializeOr done test=an_or_gate_follows_the_and_gates_that_feed_it,pins_behind_a_drivers_gate_process_as_the_gate_says
    #[doc(alias = "KsGateInitializeOr")]
    pub fn or() -> Result<Arc<Gate>, NtStatus> {
        Gate::with_count(0)
    }

    fn with_count(count: u32) -> Result<Arc<Gate>, NtStatus> {
        let block = Block::zeroed(GATE_BYTES, 16).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        block.store_u32(COUNT, count);
        Ok(Arc::new(Gate { block, next: Mutex::new(None) }))
    }

    /// Notes what somebody touches who captures the gate.
    pub(crate) fn footprint(&self, learning: &mut Learning<'_>) {
        learning.object(self);
        learning.bytes(self.block.address(), GATE_BYTES);
    }

    /// Address of the KSGATE, as a driver is lent it.
    pub fn address(&self) -> u64 {
        self.block.address()
    }

    /// Feeds this gate into `next`, once; a gate that is closed turns an input of an AND gate off, one that is open
    /// turns an input of an OR gate on: the caller says which by adding the input there.
    pub fn attach(&self, next: &Arc<Gate>) -> bool {
        let mut known = self.next.lock();
        if known.is_some() {
            return false;
        }
        *known = Some(Arc::downgrade(next));
        self.block.store_u64(NEXT, next.address());
        true
    }

    /// Feeds this gate into `next` from now on, or into nothing.
    pub(crate) fn set_next(&self, next: Option<&Arc<Gate>>) {
        let mut known = self.next.lock();
        *known = next.map(Arc::downgrade);
        self.block.store_u64(NEXT, next.map_or(0, |next| next.address()));
    }

    /// The gate that this one feeds; without one no lock is taken.
    #[inline]
    fn next(&self) -> Option<Arc<Gate>> {
        if self.block.load_u64(NEXT) == 0 {
            return None;
        }
        self.next.lock().as_ref().and_then(Weak::upgrade)
    }

    /// Is the count above zero? Without synchronisation.
    // ks-coverage: KsGateGetStateUnsafe done test=an_and_gate_is_open_while_no_input_is_off,pins_behind_a_drivers_gate_process_as_the_gate_says
    #[doc(alias = "KsGateGetStateUnsafe")]
    #[inline]
    pub fn is_open(&self) -> bool {
        self.block.load_u32(COUNT).cast_signed() > 0
    }

    /// One more input is on. True when this opened the gate.
    // ks-coverage: KsGateTurnInputOn done test=an_and_gate_is_open_while_no_input_is_off,pins_behind_a_drivers_gate_process_as_the_gate_says
    #[doc(alias = "KsGateTurnInputOn")]
    pub fn turn_input_on(&self) -> bool {
        let opened = self.block.fetch_add_u32(COUNT, 1) == 0;
        if opened && let Some(next) = self.next() {
            next.turn_input_on();
        }
        opened
    }

    /// One more input is off. True when this closed the gate.
    // ks-coverage: KsGateTurnInputOff done test=an_and_gate_is_open_while_no_input_is_off,pins_behind_a_drivers_gate_process_as_the_gate_says
    #[doc(alias = "KsGateTurnInputOff")]
    pub fn turn_input_off(&self) -> bool {
        let closed = self.block.fetch_sub_u32(COUNT, 1) == 1;
        if closed && let Some(next) = self.next() {
            next.turn_input_off();
        }
        closed
    }

    /// Takes an open gate for oneself: 1 becomes 0. False when it is closed or taken.
    // ks-coverage: KsGateCaptureThreshold done test=only_one_captures_an_open_gate,every_inline_function_of_the_headers_works_on_living_objects
    #[doc(alias = "KsGateCaptureThreshold")]
    #[inline]
    pub fn capture_threshold(&self) -> bool {
        let captured = self.block.replace_u32(COUNT, 1, 0).is_ok();
        if captured && let Some(next) = self.next() {
            next.turn_input_off();
        }
        captured
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("count", &self.block.load_u32(COUNT).cast_signed()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_and_gate_is_open_while_no_input_is_off() {
        let gate = Gate::and().unwrap();
        assert!(gate.is_open());
        assert!(gate.turn_input_off());
        assert!(!gate.turn_input_off());
        assert!(!gate.turn_input_on());
        assert!(!gate.is_open());
        assert!(gate.turn_input_on());
        assert!(gate.is_open());
    }

    #[test]
    fn only_one_captures_an_open_gate() {
        let gate = Gate::and().unwrap();
        assert!(gate.capture_threshold());
        assert!(!gate.capture_threshold());
        gate.turn_input_on();
        assert!(gate.capture_threshold());
    }

    #[test]
    fn an_or_gate_follows_the_and_gates_that_feed_it() {
        let or = Gate::or().unwrap();
        let and = Gate::and().unwrap();
        or.turn_input_on();
        assert!(and.attach(&or));
        assert!(or.is_open());
        and.turn_input_off();
        assert!(!or.is_open());
        and.turn_input_on();
        assert!(or.is_open());
    }
}
