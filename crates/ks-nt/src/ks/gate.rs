//! Gates in a driver's memory, as the engine turns their inputs.

use crate::exports;
use crate::exports::Export;
use crate::ks::address::Address;
use crate::ks::misuse::misuse;
use crate::ks::objects;
use crate::report::BugCheck;
use ks_abi::{NtStatus, STATUS_INVALID_DEVICE_STATE};
use ks_stream::{AttachedGate, Gate, Pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

pub(crate) const EXPORTS: &[Export] = exports!(Ks: KsPinAttachAndGate, KsPinAttachOrGate);

/// Offset of KSGATE.NextGate.
const NEXT: usize = 8;
/// More gates than this in a row are a ring.
const MOST_GATES: usize = 64;

/// A KSGATE of a driver's. What its inputs do to the gates behind it happens as in the inline functions of the headers,
/// by the addresses in the gates; the engine's own gates have the same shape.
struct DriverGate(Address);

impl DriverGate {
    // What the inline functions of the headers do to a gate that a pin is attached to counts here as well.
    // ks-coverage: KsGateInitialize done test=pins_behind_a_drivers_gate_process_as_the_gate_says
    // ks-coverage: KsGateAddOnInputToAnd done test=pins_behind_a_drivers_gate_process_as_the_gate_says
    // ks-coverage: KsGateAddOffInputToAnd done test=pins_behind_a_drivers_gate_process_as_the_gate_says
    // ks-coverage: KsGateRemoveOnInputFromAnd done test=pins_behind_a_drivers_gate_process_as_the_gate_says
    // ks-coverage: KsGateRemoveOffInputFromAnd done test=pins_behind_a_drivers_gate_process_as_the_gate_says
    // ks-coverage: KsGateAddOnInputToOr done test=pins_behind_a_drivers_gate_process_as_the_gate_says
    // ks-coverage: KsGateAddOffInputToOr done test=pins_behind_a_drivers_gate_process_as_the_gate_says
    // ks-coverage: KsGateRemoveOnInputFromOr done test=pins_behind_a_drivers_gate_process_as_the_gate_says
    // ks-coverage: KsGateRemoveOffInputFromOr done test=pins_behind_a_drivers_gate_process_as_the_gate_says
    // ks-coverage: KsGateTerminateAnd done test=pins_behind_a_drivers_gate_process_as_the_gate_says
    // ks-coverage: KsGateTerminateOr done test=pins_behind_a_drivers_gate_process_as_the_gate_says
    /// Adds to the count, and to that of each next gate as long as a gate changes from closed to open or back.
    fn turn(&self, by: i32) {
        let mut gate = self.0;
        for _ in 0..MOST_GATES {
            let before = count(gate).fetch_add(by, Ordering::SeqCst);
            let changed = if by > 0 { before == 0 } else { before == 1 };
            gate = gate.follow(NEXT);
            if !changed || gate.is_null() {
                return;
            }
        }
    }
}

fn count(gate: Address) -> &'static AtomicI32 {
    // SAFETY: the promise of the type: a KSGATE, which starts with its count; a driver keeps it while a pin is attached,
    // and everybody who changes it does so atomically.
    unsafe { AtomicI32::from_ptr(gate.0 as *mut i32) }
}

impl AttachedGate for DriverGate {
    fn address(&self) -> u64 {
        self.0.0
    }

    fn is_open(&self) -> bool {
        count(self.0).load(Ordering::SeqCst) > 0
    }

    fn turn_input_on(&self) {
        self.turn(1);
    }

    fn turn_input_off(&self) {
        self.turn(-1);
    }

    fn feed(&self, next: Option<&Arc<Gate>>) {
        self.0.put(NEXT, next.map_or(0, |next| next.address()));
    }
}

type Attach = fn(&Pin, Option<Arc<dyn AttachedGate>>) -> Result<(), NtStatus>;

fn attach(pin: Address, gate: Address, name: &'static str, how: Attach) {
    let Some(pin) = objects::pin(pin, name).and_then(|pin| pin.engine()) else { return };
    if !gate.0.is_multiple_of(8) {
        return misuse(BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION, name, "the KSGATE is not aligned");
    }
    let gate = gate.some().map(|gate| Arc::new(DriverGate(gate)) as Arc<dyn AttachedGate>);
    let what = match how(&pin, gate) {
        Err(STATUS_INVALID_DEVICE_STATE) => "the pin has left STOP; gates are attached before",
        Err(_) if pin.filter().and_gate().is_some() => {
            "pins of KSPIN_FLAG_SOME_FRAMES_REQUIRED_FOR_PROCESSING have their gate by the flag"
        }
        _ => return,
    };
    misuse(BugCheck::DRIVER_VERIFIER_DETECTED_VIOLATION, name, what);
}

pub(crate) unsafe extern "win64" fn KsPinAttachAndGate(pin: Address, gate: Address) {
    attach(pin, gate, "KsPinAttachAndGate", Pin::attach_and_gate);
}

pub(crate) unsafe extern "win64" fn KsPinAttachOrGate(pin: Address, gate: Address) {
    attach(pin, gate, "KsPinAttachOrGate", Pin::attach_or_gate);
}
