//! Driver Verifier's rules for AVStream, asserted of minidrivers in Rust while they run.
//!
//! What can be seen where the class driver calls a minidriver anyway is looked at always: a panic, and a status that the
//! callback may not return. The rest (levels, mutexes, stream pointers, states) is looked at once [`enable`] was called,
//! which is one load and a branch where it was not. A broken rule is a [`Violation`]: it is kept by the device, and
//! stops the filter of the minidriver.
//!
//! `ks-nt` asserts the same rules of Windows drivers at their own border: the routines that they import and the routines
//! of theirs that are called.
//!
//! Source: "Rules for AVStream drivers" and the page of each rule.

use crate::callback::{self, Callback, PinCallbacks};
use crate::filter::Filter;
use crate::pin::Pin;
use ks_abi::{KsPinDataFlow, KsState};
use ks_io::sync::Weak;
use ks_io::{Level, LockRank, Misuse, StreamFrame};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

/// A rule that a minidriver keeps.
#[doc(alias = "DRIVER_VERIFIER_DETECTED_VIOLATION")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Each KsAcquireDevice has its KsReleaseDevice.
    DeviceMutex,
    /// Every clone of a stream pointer is deleted before its pin is gone.
    StreamPointerClone,
    /// No locked stream pointer is locked, and no unlocked one unlocked.
    StreamPointerLock,
    /// Every edge is unlocked before its pin is gone.
    StreamPointerUnlock,
    /// A callback returns one of the statuses that it may return.
    CallbackReturn,
    /// A callback of a device returns at the level at which it was called.
    IrqlDeviceCallbacks,
    /// A callback of a filter returns at the level at which it was called.
    IrqlFilterCallbacks,
    /// A callback of a pin returns at the level at which it was called.
    IrqlPinCallbacks,
    /// Each routine of the class driver is called at a level that it allows.
    IrqlDdis,
    /// The filter control mutex is not taken twice, and given back by who has it.
    FilterMutex,
    /// The processing mutex is not taken twice, given back by who has it, and its holder takes no filter control mutex.
    ProcessingMutex,
    /// A stream pointer that is passed is an edge or a living clone; only clones are deleted.
    InvalidStreamPointer,
    /// STATUS_PENDING of a create or close follows IoMarkIrpPending.
    MarkPendingIrp,
    /// Where a routine needs a mutex, its caller has it.
    RequiredMutex,
    /// The requests in a queue are completed by the class driver alone.
    QueuedRequests,
    /// States change by single steps, and data moves from PAUSE on only.
    StateSteps,
}

impl Rule {
    /// All of them, in the order of their numbers.
    pub const ALL: [Rule; 16] = [
        Rule::DeviceMutex,
        Rule::StreamPointerClone,
        Rule::StreamPointerLock,
        Rule::StreamPointerUnlock,
        Rule::CallbackReturn,
        Rule::IrqlDeviceCallbacks,
        Rule::IrqlFilterCallbacks,
        Rule::IrqlPinCallbacks,
        Rule::IrqlDdis,
        Rule::FilterMutex,
        Rule::ProcessingMutex,
        Rule::InvalidStreamPointer,
        Rule::MarkPendingIrp,
        Rule::RequiredMutex,
        Rule::QueuedRequests,
        Rule::StateSteps,
    ];

    /// Our number, the documented name, the code that Driver Verifier stops with. The last three rules are no rules of
    /// Driver Verifier's: their codes are ours, and the last two digits are their numbers.
    const fn parts(self) -> (&'static str, &'static str, u32) {
        match self {
            Rule::DeviceMutex => ("V01", "KsDeviceMutex", 0x81001),
            Rule::StreamPointerClone => ("V02", "KsStreamPointerClone", 0x81002),
            Rule::StreamPointerLock => ("V03", "KsStreamPointerLock", 0x81003),
            Rule::StreamPointerUnlock => ("V04", "KsStreamPointerUnlock", 0x81004),
            Rule::CallbackReturn => ("V05", "KsCallbackReturn", 0x81005),
            Rule::IrqlDeviceCallbacks => ("V06", "KsIrqlDeviceCallbacks", 0x81006),
            Rule::IrqlFilterCallbacks => ("V07", "KsIrqlFilterCallbacks", 0x81007),
            Rule::IrqlPinCallbacks => ("V08", "KsIrqlPinCallbacks", 0x81008),
            Rule::IrqlDdis => ("V09", "KsIrqlDDIs", 0x81009),
            Rule::FilterMutex => ("V10", "KsFilterMutex", 0x8100A),
            Rule::ProcessingMutex => ("V11", "KsProcessingMutex", 0x8100B),
            Rule::InvalidStreamPointer => ("V12", "KsInvalidStreamPointer", 0x8100C),
            // The page has the code of KsIrqlPinCallbacks.
            Rule::MarkPendingIrp => ("V18", "KsMarkPendingIrp", 0x81008),
            Rule::RequiredMutex => ("V19", "RequiredMutex", 0x8F019),
            Rule::QueuedRequests => ("V20", "QueuedRequests", 0x8F020),
            Rule::StateSteps => ("V21", "StateSteps", 0x8F021),
        }
    }

    /// `V01`: its number in `docs/verifier.md`.
    pub const fn number(self) -> &'static str {
        self.parts().0
    }

    /// `KsDeviceMutex`: the name that its page has.
    pub const fn name(self) -> &'static str {
        self.parts().1
    }

    /// The first parameter of bug check 0xC4, by which Driver Verifier tells the rule.
    pub const fn code(self) -> u32 {
        self.parts().2
    }

    /// The rule with this number or name.
    pub fn named(text: &str) -> Option<Rule> {
        Rule::ALL.into_iter().find(|rule| rule.number() == text || rule.name() == text)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {:#x})", self.name(), self.number(), self.code())
    }
}

/// A rule that was broken, by whom and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// The callback of the minidriver in which it was broken.
    pub callback: &'static str,
    /// Filter or pin, as messages name it: `name` or `name.0`.
    pub object: String,
    /// What was done, in a sentence.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} callback of {} broke the rule {}: {}", self.callback, self.object, self.rule, self.what)
    }
}

static ON: AtomicBool = AtomicBool::new(false);

/// Has every rule looked at, for all minidrivers of the process and for good. To be called before the first one starts.
#[doc(alias = "verifier /domain ks")]
pub fn enable() {
    ks_io::observe_misuse(misused);
    ON.store(true, Ordering::SeqCst);
}

/// Is every rule looked at?
#[inline]
pub fn is_enabled() -> bool {
    // Relaxed: it is set before the first minidriver starts.
    ON.load(Ordering::Relaxed)
}

/// A minidriver has used a mutex or a level against its rules: its callback ends here.
fn misused(misuse: &Misuse) {
    let rule = match misuse {
        Misuse::LevelTooHigh { .. } => Rule::IrqlDdis,
        Misuse::OutOfOrder { rank: LockRank::FilterControl, held_rank: LockRank::Processing, .. } => {
            Rule::ProcessingMutex
        }
        Misuse::TakenAgain { rank, .. } | Misuse::OutOfOrder { rank, .. } | Misuse::NotHeld { rank, .. } => {
            of_mutex(*rank)
        }
    };
    callback::abandon(rule, || misuse.to_string());
}

/// The rule about the mutexes of a rank.
pub(crate) fn of_mutex(rank: LockRank) -> Rule {
    match rank {
        LockRank::Device => Rule::DeviceMutex,
        LockRank::FilterControl => Rule::FilterMutex,
        LockRank::Processing => Rule::ProcessingMutex,
    }
}

/// A stream pointer is locked or unlocked that is so already.
#[cold]
pub(crate) fn pointer_is_already(pin: &Pin, locked: &str) {
    broken_by(pin, Rule::StreamPointerLock, || format!("a stream pointer is {locked} that is {locked} already"));
}

/// An edge of a queue is used: is its pin open?
#[inline]
pub(crate) fn edge_is_used(pin: &Weak<Pin>) {
    if is_enabled() && pin.upgrade().is_none_or(|pin| pin.instance().is_some_and(PinCallbacks::is_closed)) {
        let what = || "an edge of a queue is used after its pin was closed".to_owned();
        callback::broken_here(Rule::InvalidStreamPointer, what);
    }
}

/// An edge of a queue is locked or unlocked that is so already.
#[inline]
pub(crate) fn edge_is_already(pin: &Weak<Pin>, locked: &str) {
    if is_enabled()
        && let Some(pin) = pin.upgrade()
    {
        pointer_is_already(&pin, locked);
    }
}

/// A routine that is for passive level is called.
#[inline]
pub(crate) fn at_passive(routine: &'static str) {
    if is_enabled() {
        Level::Passive.assert_at_most(routine);
    }
}

/// Something that needs the device mutex is called by a minidriver that does not have it. Callbacks of the device count
/// as having it.
#[cold]
pub(crate) fn needs_device_mutex(routine: &str) {
    if callback::is_of_device() {
        return;
    }
    let mutex = "device";
    callback::broken_here(Rule::RequiredMutex, || format!("{routine} is called without the {mutex} mutex"));
}

/// A minidriver lets a frame of an output go: with data in it, only from PAUSE on.
#[cold]
pub(crate) fn frame_goes(pin: &Pin, frame: &StreamFrame) {
    let below = |state: KsState| state < KsState::PAUSE;
    if pin.data_flow() == KsPinDataFlow::OUT
        && frame.data_used() > 0
        && below(pin.agreed_state())
        && below(pin.state())
        && callback::current() != Some(Callback::SET_DEVICE_STATE)
    {
        let state = pin.agreed_state();
        broken_by(pin, Rule::StateSteps, || format!("a frame with data leaves the pin in {state}"));
    }
}

/// What a pin leaves behind when its Close callback has returned.
pub(crate) fn check_closed(pin: &Pin, filter: &Filter) {
    let Some(queue) = pin.queue() else { return };
    let clones = queue.clone_count();
    if clones > 0 {
        let what = format!("{clones} clones of stream pointers are not deleted");
        filter.broke(Rule::StreamPointerClone, "pin Close", Some(pin.id()), what);
    } else if queue.has_locked_edge() {
        let what = "an edge of the queue is locked".to_owned();
        filter.broke(Rule::StreamPointerUnlock, "pin Close", Some(pin.id()), what);
    }
}

/// A rule that was broken on a pin, in the callback that runs, if one does.
fn broken_by(pin: &Pin, rule: Rule, what: impl FnOnce() -> String) {
    let callback = callback::current().map_or("no", Callback::name);
    pin.filter().broke(rule, callback, Some(pin.id()), what());
}
