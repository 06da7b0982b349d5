//! Driver Verifier's rules for AVStream, asserted of Windows drivers while they run.
//!
//! Everything is looked at where the driver's code ends: the routines that it imports are bound to thunks that look at
//! the call first (`thunk`, `calls`), and each routine of the driver's is looked at when it has returned. A process
//! whose drivers are not verified binds them to the routines themselves.
//!
//! A broken rule is a [`crate::report::Report`] with bug check 0xC4 and the rule: in a driver host it ends the process,
//! with the callback, the object and the call stack; a reporter that returns lets the driver go on.

mod calls;
mod levels;
mod places;
mod thunk;

use crate::exports::Export;
use crate::ks::address::Address;
use crate::ks::irp::Target;
use crate::ks::objects::{self, Object};
use crate::ks::pin::HostedPin;
use crate::report::{self, Broken};
use ks_abi::{NtStatus, STATUS_PENDING};
use ks_io::Level;
use ks_stream::{DescribeFilter, Rule};
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use calls::Taken;
pub(crate) use places::{pointer_gone, pointer_made};

static ON: AtomicBool = AtomicBool::new(false);

/// Has every rule looked at, for drivers that are mapped from now on.
#[doc(alias = "verifier /domain ks")]
pub fn enable() {
    ON.store(true, Ordering::SeqCst);
}

/// Are drivers that are mapped now verified?
#[inline]
pub fn is_enabled() -> bool {
    // Relaxed: it is set before the first driver is mapped.
    ON.load(Ordering::Relaxed)
}

/// What an import of this export is bound to.
pub(crate) fn address_of(export: &Export) -> u64 {
    if is_enabled() { thunk::address_of(export) } else { export.target.address() }
}

/// The callbacks of a device, as `ks/device.rs` names them.
const DEVICE_CALLBACKS: [&str; 14] = [
    "Add",
    "Start",
    "PostStart",
    "QueryStop",
    "CancelStop",
    "Stop",
    "QueryRemove",
    "CancelRemove",
    "Remove",
    "QueryCapabilities",
    "SurpriseRemoval",
    "QueryPower",
    "SetPower",
    "QueryInterface",
];

/// Is a callback of a device on its way on this thread? The documentation has the device mutex held in them.
fn in_device_callback() -> bool {
    report::in_hand().is_some_and(|in_hand| DEVICE_CALLBACKS.contains(&in_hand.routine))
}

/// A routine of the driver's that was called and has returned.
#[derive(Clone, Copy)]
pub(crate) struct Called {
    pub(crate) routine: &'static str,
    /// Of its code.
    pub(crate) address: u64,
}

impl Called {
    /// It broke a rule, and is on no stack any more.
    #[track_caller]
    fn broke(self, rule: Rule, object: u64, what: &str) {
        tell(Broken::by(rule, self.routine).done_at(Some(self.address)), object, what);
    }
}

/// Reports that a callback returned at another level. False: it is none that a rule is about, or nobody looks.
pub(crate) fn returned_at(called: Called, object: u64, what: &str) -> bool {
    let callback = called.routine;
    let rule = if !is_enabled() {
        None
    } else if DEVICE_CALLBACKS.contains(&callback) {
        Some(Rule::IrqlDeviceCallbacks)
    } else if callback.starts_with("filter ") {
        Some(Rule::IrqlFilterCallbacks)
    } else if callback.starts_with("pin ") {
        Some(Rule::IrqlPinCallbacks)
    } else {
        None
    };
    if let Some(rule) = rule {
        called.broke(rule, object, what);
    }
    rule.is_some()
}

/// A routine of the driver's has returned: its status, and the mutexes that it has taken since `taken`.
pub(crate) fn returned(called: Called, [object, second]: [u64; 2], result: u64, taken: Taken) {
    let routine = called.routine;
    calls::check_taken(called, taken);
    let status = NtStatus(result as u32);
    if matches!(routine, "pin Close" | "filter Close") && status != ks_abi::STATUS_SUCCESS && status != STATUS_PENDING {
        called.broke(Rule::CallbackReturn, object, &format!("returned {status}, and a close cannot fail"));
        return;
    }
    // Any failure is a documented answer; of successes some are.
    if !status.is_success() || status == ks_abi::STATUS_SUCCESS {
        return;
    }
    let wrong = match routine {
        "pin Process" | "filter Process" => (status != STATUS_PENDING).then_some(Rule::CallbackReturn),
        "pin Create" | "pin Close" | "filter Create" | "filter Close" if status == STATUS_PENDING => {
            (!crate::ks::irp::is_marked_pending(second)).then_some(Rule::MarkPendingIrp)
        }
        "pin Create" | "filter Create" | "pin SetDeviceState" | "pin SetDataFormat" | "pin Connect" | "Add"
        | "Start" => Some(Rule::CallbackReturn),
        // Pages of these forbid STATUS_PENDING, or nobody could wait for them; of other successes nothing is said.
        "PostStart"
        | "QueryStop"
        | "QueryRemove"
        | "QueryCapabilities"
        | "QueryPower"
        | "QueryInterface"
        | "pin handshake"
        | "pin IntersectHandler" => (status == STATUS_PENDING).then_some(Rule::CallbackReturn),
        _ => None,
    };
    match wrong {
        Some(Rule::MarkPendingIrp) => {
            let what = format!("returned {status} without IoMarkIrpPending");
            called.broke(Rule::MarkPendingIrp, object, &what);
        }
        Some(rule) => called.broke(rule, object, &format!("returned {status}, which it may not")),
        None => {}
    }
}

/// A pin is closed: what it leaves behind.
pub(crate) fn closing(pin: &HostedPin) {
    if !is_enabled() {
        return;
    }
    let (clones, first) = {
        let clones = pin.clones();
        (clones.len(), clones.first().map(|clone| clone.address()))
    };
    let routine = "pin Close";
    if let Some(first) = first {
        let broken = Broken::by(Rule::StreamPointerClone, routine).done_at(places::last_of(first));
        tell(broken, pin.address(), &format!("{clones} clones of stream pointers are not deleted"));
    } else if let Some(edge) = pin.locked_edge() {
        let broken = Broken::by(Rule::StreamPointerUnlock, routine).done_at(places::last_of(edge.address()));
        tell(broken, pin.address(), "an edge of the queue is locked");
    }
}

/// Reports a rule that is broken by a call that is under way, with the object that the call is about.
#[track_caller]
fn broken(rule: Rule, routine: &'static str, object: u64, what: &str) {
    tell(Broken::by(rule, routine), object, what);
}

/// Reports a broken rule with its object: that of the call, or else that of the callback that makes it.
fn tell(broken: Broken, object: u64, what: &str) {
    let callback = || Some(format!("in a callback of {}", report::in_hand()?.object()?));
    let what = match describe(Address(object)).or_else(|| places::owner_of_gone(object)).or_else(callback) {
        Some(object) => format!("{what} ({object})"),
        None => what.to_owned(),
    };
    report::broken(broken, what);
}

/// An object of AVStream, for a report.
pub(crate) fn describe(object: Address) -> Option<String> {
    Some(match objects::find(object)? {
        Object::Device(device) | Object::Functional(device) => format!("device {}", device.engine().device_name()),
        Object::Factory(factory) => format!("filter factory {}", factory.view().reference()),
        Object::Filter(filter) => format!("filter {}", filter.view().reference()),
        Object::Pin(pin) => format!("pin {}", pin.name()),
        Object::Irp(irp) => match irp.target() {
            Target::Filter(filter) => format!("filter {}", filter.view().reference()),
            Target::Pin(pin) => format!("pin {}", pin.name()),
        },
        Object::Pointer(pointer) => format!("a stream pointer of pin {}", pointer.pin()?.name()),
        Object::Bag(bag) => format!("the bag of {}", describe(calls::owner_of_bag(bag.handle())?)?),
        _ => return None,
    })
}

/// What a rule says of a level.
fn level_name(level: Level) -> &'static str {
    match level {
        Level::Passive => "PASSIVE_LEVEL",
        Level::Apc => "APC_LEVEL",
        Level::Dispatch => "DISPATCH_LEVEL",
    }
}
